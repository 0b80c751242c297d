/* Deadlines of many connections on one timer; a timer that fires too early (its deadline moved on) just looks again. */
#include "net/deadline.h"

static void arm(struct deadlines *s, int64_t at_ms)
{
	int64_t delay = at_ms - loop_now_ms(s->loop);

	s->armed_ms = at_ms;
	loop_timer_start(&s->timer, delay > 0 ? delay : 0);
}

static void on_timer(void *ctx)
{
	struct deadlines *s = ctx;
	int64_t now = loop_now_ms(s->loop), next = DEADLINE_NONE;
	struct deadline *d;

	s->armed_ms = DEADLINE_NONE;
	for (d = LIST_FIRST(&s->all); d; d = s->cursor) {
		s->cursor = LIST_NEXT(d, link);
		if (d->at_ms > now) {
			next = d->at_ms < next ? d->at_ms : next;
			continue;
		}
		d->at_ms = DEADLINE_NONE;
		s->fn(s->ctx, d);
	}
	s->cursor = NULL;
	if (next < s->armed_ms)
		arm(s, next);
}

void deadlines_init(struct deadlines *s, struct loop *l, deadline_fn *fn, void *ctx)
{
	*s = (struct deadlines){.loop = l, .armed_ms = DEADLINE_NONE, .fn = fn, .ctx = ctx};
	LIST_INIT(&s->all);
	loop_timer_init(l, &s->timer, on_timer, s);
}

void deadlines_deinit(struct deadlines *s, loop_fn *closed, void *ctx)
{
	loop_timer_deinit(&s->timer, closed, ctx);
}

void deadline_add(struct deadlines *s, struct deadline *d)
{
	d->at_ms = DEADLINE_NONE;
	LIST_INSERT_HEAD(&s->all, d, link);
}

void deadline_remove(struct deadlines *s, struct deadline *d)
{
	if (s->cursor == d)
		s->cursor = LIST_NEXT(d, link);
	LIST_REMOVE(d, link);
}

void deadline_set(struct deadlines *s, struct deadline *d, int64_t at_ms)
{
	d->at_ms = at_ms;
	if (at_ms < s->armed_ms)
		arm(s, at_ms);
}
