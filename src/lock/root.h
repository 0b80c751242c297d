/* The lock root: the directory that holds <appId>/<service>, made and checked component by component below the host's
 * root; and the instance lock in it. */
#ifndef LOCK_ROOT_H
#define LOCK_ROOT_H

#include <stdbool.h>

#include "util/err.h"

/*
 * Open the lock root (O_PATH, *root_fd) and the directory it is in (*parent_fd), making what is missing (0755). Each
 * component must belong to root (or to us), be writable by its owner only (or sticky) and be no link, except that
 * `balena-supervisor` may be the relative link to `resin-supervisor`; it is made such a link if only the latter is
 * there. -EPERM: a component breaks these rules; -ENOTDIR. Sentences carry host paths.
 */
int lock_root_open(const char *host_root, const char *lock_root, int *parent_fd, int *root_fd, struct err *err);
/* The same for the root of another place, of which nothing is made: -ENOENT when it is missing. */
int lock_root_find(const char *host_root, const char *root, int *root_fd, struct err *err);
/* flock on <lock root>/.supervisor, our pid as its content. -EBUSY: another supervisor, with its pid when known. */
int lock_root_claim(int root_fd, const char *lock_root, int *claim_fd, struct err *err);
/* A directory to which only names below it lead: -ENOTDIR for a link or anything else. `flags`: O_PATH or O_RDONLY. */
int lock_dir_at(int dir_fd, const char *name, int flags, int *out);
/* The same by several components at once (O_PATH), no link in any of them. Negative also where the kernel, or a seccomp
 * profile, does not let us: then go component by component. */
int lock_dir_at_path(int dir_fd, const char *path, int *out);
/* Open (O_RDONLY) directory `name`, give it exactly `mode`, and `make` it if missing, else -ENOENT. */
int lock_dir_ensure(int dir_fd, const char *name, unsigned mode, bool make, int *out);

#endif
