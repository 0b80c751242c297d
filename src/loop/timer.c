/* One-shot timers, embedded in their owners: the owner's memory lives until libuv has let go of the handle. */
#include "loop/loop.h"

#include "util/mem.h"

static void on_timeout(uv_timer_t *uv)
{
	struct loop_timer *t = uv->data;

	t->fn(t->ctx);
}

static void on_timer_closed(uv_handle_t *uv)
{
	struct loop_timer *t = uv->data;

	if (t->closed)
		t->closed(t->closed_ctx); /* may free the timer */
}

void loop_timer_init(struct loop *l, struct loop_timer *t, loop_fn *fn, void *ctx)
{
	*t = (struct loop_timer){.fn = fn, .ctx = ctx};
	uv_timer_init(loop_uv(l), &t->uv); /* cannot fail */
	t->uv.data = t;
}

void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
	uv_timer_start(&t->uv, on_timeout, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

void loop_timer_stop(struct loop_timer *t)
{
	if (t->uv.data)
		uv_timer_stop(&t->uv);
}

bool loop_timer_active(const struct loop_timer *t)
{
	return t->uv.data && uv_is_active((const uv_handle_t *)&t->uv);
}

void loop_timer_deinit(struct loop_timer *t, loop_fn *closed, void *ctx)
{
	if (!t || !t->uv.data) {
		if (closed)
			closed(ctx);
		return;
	}
	t->closed = closed;
	t->closed_ctx = ctx;
	uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}
