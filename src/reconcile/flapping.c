/*
 * A path whose lock comes and goes all the time: its first twenty lines are written, then one lock_flapping with counts
 * for every ten seconds. When such a time has ended the log also says how things stand now, so that its last word is
 * true; after ten quiet seconds the path has its twenty lines again. The timer runs only while lines are held back.
 */
#include "reconcile/internal.h"

#include "util/log.h"

#define FLAP_LINES     20
#define FLAP_WINDOW_MS 10000
#define FLAP_PATHS_MAX 1024

struct flap_row {
	char *path, *service;
	int64_t app_id;
	unsigned lines, seen, gone; /* written; held back in this window */
	int64_t window_ms;          /* loop time when it began */
};

static struct flap_row *flap_row(struct reconcile *r, const struct lock_event *e)
{
	for (size_t i = 0; i < r->n_flaps; i++)
		if (str_eq(r->flaps[i].path, e->path))
			return &r->flaps[i];
	if (r->n_flaps == FLAP_PATHS_MAX)
		return NULL;
	mem_reserve(&r->flaps, &r->flaps_capacity, r->n_flaps + 1, sizeof(*r->flaps));
	r->flaps[r->n_flaps] = (struct flap_row){
		.path = mem_strdup(e->path),
		.service = mem_strdup(e->service),
		.app_id = e->app_id,
		.window_ms = loop_now_ms(r->o.loop),
	};
	return &r->flaps[r->n_flaps++];
}

static void arm(struct reconcile *r)
{
	int64_t now = loop_now_ms(r->o.loop), first = 0;

	for (size_t i = 0; i < r->n_flaps; i++) {
		int64_t end = r->flaps[i].window_ms + FLAP_WINDOW_MS;

		if ((r->flaps[i].seen || r->flaps[i].gone) && (!first || end < first))
			first = end;
	}
	if (first && !r->stopping)
		loop_timer_start(&r->flap_timer, first > now ? first - now : 0);
}

bool flapping_allows(struct reconcile *r, const struct lock_event *e)
{
	int64_t now = loop_now_ms(r->o.loop);
	struct flap_row *f = flap_row(r, e);
	bool held_back;

	if (!f)
		return true;
	held_back = f->seen || f->gone;
	if (!held_back && now - f->window_ms >= FLAP_WINDOW_MS) {
		f->window_ms = now;
		f->lines = 0;
	}
	if (f->lines < FLAP_LINES) {
		f->lines++;
		return true;
	}
	f->seen += e->kind == LOCK_EVENT_SEEN;
	f->gone += e->kind == LOCK_EVENT_GONE;
	if (!held_back)
		arm(r);
	return false;
}

static const struct lock_view *lock_at(struct reconcile *r, const char *path)
{
	const struct lock_views *views = lock_set_views(r->o.locks);

	for (size_t i = 0; i < views->n; i++)
		if (!views->v[i].ours && str_eq(views->v[i].path, path))
			return &views->v[i];
	return NULL;
}

static void tell(struct reconcile *r, struct flap_row *f)
{
	const struct lock_view *v = lock_at(r, f->path);

	log_info("lock_flapping", kv_i64("app", f->app_id), kv_str("service", f->service), kv_str("path", f->path),
		 kv_i64("seen", f->seen), kv_i64("gone", f->gone));
	if (v)
		log_info("lock_seen", kv_i64("app", f->app_id), kv_str("service", f->service), kv_str("path", f->path),
			 kv_str("kind", lock_kind_name(v->kind)), kv_i64("uid", v->uid), kv_time("since", v->since_ms));
	else
		log_info("lock_gone", kv_i64("app", f->app_id), kv_str("service", f->service), kv_str("path", f->path));
	f->seen = f->gone = 0;
	f->window_ms = loop_now_ms(r->o.loop);
}

static void on_flap_timer(void *ctx)
{
	struct reconcile *r = ctx;
	int64_t now = loop_now_ms(r->o.loop);

	for (size_t i = 0; i < r->n_flaps; i++) {
		struct flap_row *f = &r->flaps[i];

		if ((f->seen || f->gone) && now - f->window_ms >= FLAP_WINDOW_MS)
			tell(r, f);
	}
	arm(r);
}

void flapping_init(struct reconcile *r)
{
	loop_timer_init(r->o.loop, &r->flap_timer, on_flap_timer, r);
}

void flapping_tell_all(struct reconcile *r)
{
	for (size_t i = 0; i < r->n_flaps; i++)
		if (r->flaps[i].seen || r->flaps[i].gone)
			tell(r, &r->flaps[i]);
}

void flapping_deinit(struct reconcile *r)
{
	for (size_t i = 0; i < r->n_flaps; i++) {
		free(r->flaps[i].path);
		free(r->flaps[i].service);
	}
	free(r->flaps);
}
