/*
 * Notices that nobody reads a pipe of ours any more, also while there is nothing to write into it. Only pipes: a file
 * never goes away, a terminal says so by a signal, and the peer of a socket may close one direction only.
 */
#ifndef LOOP_HANGUP_H
#define LOOP_HANGUP_H

#include "loop/loop.h"

struct loop_hangup;
/* `gone` once, from the loop. NULL: `fd` is no pipe. The descriptor stays the caller's, and blocking if it was. */
struct loop_hangup *loop_hangup_new(struct loop *l, int fd, loop_fn *gone, void *ctx);
void loop_hangup_free(struct loop_hangup *h); /* NULL is fine; closes from the loop */

#endif
