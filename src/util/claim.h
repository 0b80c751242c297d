/* One process at a time: a file under flock(2) that says who has it. */
#ifndef UTIL_CLAIM_H
#define UTIL_CLAIM_H

#include <sys/types.h>

#include "util/err.h"

/*
 * Open (and make, `mode`) `name` in the directory, take its flock and write who we are into it; *out holds the claim
 * until it is closed. `where` names the directory for people. -EBUSY: another supervisor has it; the sentence says which
 * pid, and that it means nothing here when it was written in another pid name space.
 */
int claim_take(int dir_fd, const char *name, mode_t mode, const char *where, int *out, struct err *err);

#endif
