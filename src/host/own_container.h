/* The container we run in, if we do. */
#ifndef HOST_OWN_CONTAINER_H
#define HOST_OWN_CONTAINER_H

#include <stdbool.h>

/*
 * Its id, from files as in /proc/self (`proc`), else from a host name that is one's first 12 digits; NULL: we are in
 * none, or it cannot be told. Caller frees. Start-up only.
 */
char *host_own_container(const char *proc, const char *hostname);
/* Does this path lie in the very file system that is our root: in a container, in what is thrown away with it? False
 * also where it cannot be told. */
bool host_is_in_own_root(const char *path);

#endif
