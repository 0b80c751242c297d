/*
 * The loop: libuv's, with deferred calls and a clock for stalls. Deferred calls run in the check phase, right after the
 * turn's I/O; while any is queued an idle handle keeps libuv from sleeping. Both phases' handles are unreferenced, so
 * that they alone never keep a loop running. The time of a turn's callbacks runs from one prepare phase, the last thing
 * before libuv sleeps, to the next, less what libuv reports as slept.
 */
#include "loop/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "util/log.h"
#include "util/mem.h"

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;             /* active while calls are deferred */
	struct loop_deferred queue; /* head of the circle of deferred calls */
	struct loop_deferred end;   /* in the circle while its calls run: where this turn's end */
	struct loop_stalls stalls;
	uint64_t turn_wall_ns, turn_idle_ns, turn_cpu_ns; /* at the last prepare phase */
};

/* -------- deferred calls -------- */

static void append(struct loop *l, struct loop_deferred *d)
{
	d->next = &l->queue;
	d->prev = l->queue.prev;
	d->prev->next = d;
	d->next->prev = d;
}

static void take_out(struct loop_deferred *d)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what is in the queue has neighbours */
	d->prev->next = d->next;
	d->next->prev = d->prev;
	d->prev = d->next = NULL;
}

static bool has_deferred(const struct loop *l)
{
	return l->queue.next != &l->queue;
}

static void on_idle(uv_idle_t *idle)
{
	(void)idle; /* being active is its work: libuv polls without waiting */
}

static void on_check(uv_check_t *check)
{
	struct loop *l = check->data;
	struct loop_deferred *d;

	if (!has_deferred(l))
		return;
	if (l->end.next) /* a failed test jumped out of a call */
		take_out(&l->end);
	append(l, &l->end); /* what the calls defer comes behind it: next turn */
	while ((d = l->queue.next) != &l->end) {
		take_out(d);
		d->queued = false;
		d->fn(d->ctx);
	}
	take_out(&l->end);
	if (!has_deferred(l))
		uv_idle_stop(&l->idle);
}

void loop_deferred_init(struct loop *l, struct loop_deferred *d, loop_fn *fn, void *ctx)
{
	*d = (struct loop_deferred){.loop = l, .fn = fn, .ctx = ctx};
}

void loop_deferred_schedule(struct loop_deferred *d)
{
	if (d->queued)
		return;
	d->queued = true;
	append(d->loop, d);
	uv_idle_start(&d->loop->idle, on_idle); /* no-op while active */
}

void loop_deferred_cancel(struct loop_deferred *d)
{
	if (!d || !d->queued)
		return;
	d->queued = false;
	take_out(d);
	if (!has_deferred(d->loop))
		uv_idle_stop(&d->loop->idle);
}

/* -------- stalls -------- */

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void begin_turn(struct loop *l)
{
	l->turn_wall_ns = uv_hrtime();
	l->turn_idle_ns = uv_metrics_idle_time(&l->uv);
	l->turn_cpu_ns = thread_cpu_ns();
}

static void end_turn(struct loop *l)
{
	uint64_t wall = l->turn_wall_ns, idle = l->turn_idle_ns, cpu = l->turn_cpu_ns;
	int64_t cpu_us, wall_us;

	begin_turn(l);
	cpu_us = (int64_t)(l->turn_cpu_ns - cpu) / 1000;
	wall_us = ((int64_t)(l->turn_wall_ns - wall) - (int64_t)(l->turn_idle_ns - idle)) / 1000;
	if (cpu_us > l->stalls.worst_cpu_us)
		l->stalls.worst_cpu_us = cpu_us;
	if (wall_us > l->stalls.worst_wall_us)
		l->stalls.worst_wall_us = wall_us;
	l->stalls.turns++;
}

static void on_prepare(uv_prepare_t *prepare)
{
	end_turn(prepare->data);
}

void loop_stalls(const struct loop *l, struct loop_stalls *out)
{
	*out = l->stalls;
}

/* -------- life -------- */

static void must(int r)
{
	if (r < 0) {
		log_error("loop_failed", kv_str("err", uv_strerror(r)));
		abort();
	}
}

struct loop *loop_new(void)
{
	struct loop *l = mem_new(1, sizeof(*l));

	signal(SIGPIPE, SIG_IGN);
	must(uv_loop_init(&l->uv));
	must(uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME));
	l->uv.data = l;
	l->queue.prev = l->queue.next = &l->queue;
	must(uv_prepare_init(&l->uv, &l->prepare));
	must(uv_check_init(&l->uv, &l->check));
	must(uv_idle_init(&l->uv, &l->idle));
	l->prepare.data = l->check.data = l->idle.data = l;
	must(uv_prepare_start(&l->prepare, on_prepare));
	must(uv_check_start(&l->check, on_check));
	uv_unref((uv_handle_t *)&l->prepare);
	uv_unref((uv_handle_t *)&l->check);
	return l;
}

static void run(struct loop *l, uv_run_mode mode)
{
	begin_turn(l); /* what came before is not of the loop */
	uv_run(&l->uv, mode);
	end_turn(l);
}

void loop_run(struct loop *l)
{
	run(l, UV_RUN_DEFAULT);
}

void loop_run_once(struct loop *l, bool wait)
{
	run(l, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

static void on_leftover(uv_handle_t *h, void *ctx)
{
	struct loop *l = ctx;

	if (h != (uv_handle_t *)&l->prepare && h != (uv_handle_t *)&l->check && h != (uv_handle_t *)&l->idle)
		log_error("handle_left", kv_str("type", uv_handle_type_name(h->type)));
}

/* Ends what is on its way to its end: closing handles, deferred calls, and what these start. Never waits. */
static void finish(struct loop *l)
{
	for (int turn = 0; turn < 64 && uv_loop_alive(&l->uv); turn++)
		uv_run(&l->uv, UV_RUN_NOWAIT);
	if (has_deferred(l) || uv_is_closing((uv_handle_t *)&l->idle))
		return;
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_run(&l->uv, UV_RUN_NOWAIT);
}

int loop_free(struct loop *l)
{
	if (!l)
		return 0;
	finish(l);
	if (uv_loop_close(&l->uv) < 0) {
		uv_walk(&l->uv, on_leftover, l);
		if (l->uv.active_reqs.count > 0)
			log_error("handle_left", kv_str("type", "request"));
		if (has_deferred(l))
			log_error("handle_left", kv_str("type", "deferred"));
		return -EBUSY;
	}
	free(l);
	return 0;
}

uv_loop_t *loop_uv(struct loop *l)
{
	return &l->uv;
}

int64_t loop_now_ms(const struct loop *l)
{
	return (int64_t)uv_now(&l->uv);
}

int64_t loop_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *loop_library_version(void)
{
	return uv_version_string();
}
