/* Child processes: argv only, never a shell; environment, working directory and standard streams are explicit. */
#ifndef LOOP_CHILD_H
#define LOOP_CHILD_H

#include "loop/loop.h"
#include "util/buf.h"

struct loop_child;
/*
 * err is NULL when it ran; `status` is the exit code, or 128 + signal. `output`: what it wrote to stdout, at most the
 * limit (the rest is read and dropped). Runs after the process has ended and its output too (a grandchild may hold that
 * open); after SIGKILL or a timeout the end of the process is enough. The child is not to be used from here on.
 */
typedef void loop_child_fn(void *ctx, const struct err *err, int status, const struct buf *output);
/* Standard input is /dev/null, standard error is ours. */
struct loop_child_options {
	const char *const *argv; /* NULL-ended; copied */
	const char *const *env;  /* NULL-ended; NULL: ours */
	size_t output_max;       /* bytes of stdout kept; 0: stdout goes to /dev/null */
	int64_t timeout_ms;      /* then SIGKILL and -ETIMEDOUT; 0: none */
};
/* Starting cannot fail: every result goes through `done`, once, from the loop, never before this returns. */
struct loop_child *loop_child_run(struct loop *l, const struct loop_child_options *o, loop_child_fn *done, void *ctx);
void loop_child_kill(struct loop_child *c, int signo); /* `done` still follows */

#endif
