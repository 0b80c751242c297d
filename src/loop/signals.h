/* Signals as loop callbacks. SIGPIPE is ignored by loop_new(). */
#ifndef LOOP_SIGNALS_H
#define LOOP_SIGNALS_H

#include "loop/loop.h"

struct loop_signals;
typedef void loop_signal_fn(void *ctx, int signo);
/* Watch the signals of the 0-ended list (SIGKILL or SIGSTOP among them: abort). That alone does not keep the loop
 * running. */
struct loop_signals *loop_signals_new(struct loop *l, const int *signos, loop_signal_fn *fn, void *ctx);
void loop_signals_free(struct loop_signals *s); /* closes; memory goes from the loop */

#endif
