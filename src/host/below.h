/* Files of the host, found as the host itself would find them: links below its root, absolute ones too, stay below it. */
#ifndef HOST_BELOW_H
#define HOST_BELOW_H

#include <stdbool.h>

/*
 * Open a file to read it, without ever blocking on what is no file. Both return an open descriptor (close-on-exec) or
 * negative errno; `path` of the second is one below `host_root`, with or without a slash in front.
 */
int host_open(const char *path);
int host_open_below(const char *host_root, const char *path);

/*
 * The whole text of a regular (or /proc) file with at most `max` bytes, NUL-terminated. `fd`: open or negative errno,
 * as from the functions above; closed in every case. Returns its length, or negative errno: -EFBIG longer than `max`,
 * -EINVAL no regular file, or a NUL in it.
 */
long host_read_text(int fd, unsigned long max, char **out);

/* Value of `key` in a text of the form of os-release: split at the first "=", trimmed, one pair of double quotes taken
 * off. NULL if it has none; to be freed. */
char *os_release_value(const char *text, const char *key);

/* Does the text describe balenaOS, or resin OS as it was called? */
bool os_release_is_balena(const char *text);

#endif
