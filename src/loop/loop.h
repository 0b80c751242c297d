/*
 * The one event loop and what every module needs of it: time, timers, calls in the next turn. Everything runs on the
 * thread that calls loop_run(). Stalls (the thread's CPU time of one turn's callbacks) are measured here.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "util/err.h"

struct loop;
typedef void loop_fn(void *ctx);

struct loop *loop_new(void); /* aborts if the kernel refuses */
/* Runs until loop_stop() or until nothing is left. */
void loop_run(struct loop *l);
void loop_run_once(struct loop *l, bool wait); /* one turn, for tests */
void loop_stop(struct loop *l);
/*
 * Closes the loop, after a few turns that let closing handles and deferred calls end; it never waits. Returns 0; -EBUSY
 * when handles are left: each is named in a log_error("handle_left", type), nothing is freed, and it may be called
 * again.
 */
int loop_free(struct loop *l);
uv_loop_t *loop_uv(struct loop *l);

int64_t loop_now_ms(const struct loop *l); /* monotonic, cached for the turn */
int64_t loop_wall_ms(void);                /* Unix time */
const char *loop_library_version(void);    /* of libuv: "1.44.2" */
struct loop_stalls {
	int64_t worst_cpu_us, worst_wall_us; /* of one turn's callbacks since start */
	uint64_t turns;
};
void loop_stalls(const struct loop *l, struct loop_stalls *out);

/* One-shot timer, embedded in its owner. init before use; deinit closes it: `closed` (may be NULL) is called from the
 * loop once its memory may go. A zeroed timer (never initialised) has nothing to close: `closed` is called at once. */
struct loop_timer {
	uv_timer_t uv;
	loop_fn *fn;
	void *ctx;
	loop_fn *closed;
	void *closed_ctx;
};
void loop_timer_init(struct loop *l, struct loop_timer *t, loop_fn *fn, void *ctx);
void loop_timer_start(struct loop_timer *t, int64_t delay_ms); /* restarts a running one */
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_active(const struct loop_timer *t);
void loop_timer_deinit(struct loop_timer *t, loop_fn *closed, void *ctx);

/*
 * A call in this turn or the next, embedded in its owner and coalesced: scheduling twice before it runs calls once.
 * Runs after the I/O of the turn, before the loop sleeps. What runs may schedule again (next batch, without sleeping).
 * Cancel before the memory goes.
 */
struct loop_deferred {
	struct loop *loop;
	struct loop_deferred *prev, *next;
	loop_fn *fn;
	void *ctx;
	bool queued;
};
void loop_deferred_init(struct loop *l, struct loop_deferred *d, loop_fn *fn, void *ctx);
void loop_deferred_schedule(struct loop_deferred *d);
void loop_deferred_cancel(struct loop_deferred *d);

#endif
