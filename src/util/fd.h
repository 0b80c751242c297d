/* What libc leaves to the caller of a descriptor. */
#ifndef UTIL_FD_H
#define UTIL_FD_H

#include <stddef.h>

/* All of it, however often the kernel takes less. For files: waits where writing waits. 0, or -1 with errno. */
int fd_write_all(int fd, const char *data, size_t len);

#endif
