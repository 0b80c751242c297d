/*
 * Lock events as log lines: how developers watch lock state. A path that flaps prints twenty lines, then one
 * lock_flapping per ten seconds with counts (interface.md "Log lines").
 */
#include "reconcile/internal.h"

#include "util/log.h"

#define FLAP_LINES     20
#define FLAP_WINDOW_MS 10000
#define FLAP_PATHS_MAX 1024

static struct flap_row *flap_row(struct reconcile *r, const char *path)
{
	for (size_t i = 0; i < r->n_flaps; i++)
		if (str_eq(r->flaps[i].path, path))
			return &r->flaps[i];
	if (r->n_flaps == FLAP_PATHS_MAX)
		return NULL;
	mem_reserve(&r->flaps, &r->flaps_capacity, r->n_flaps + 1, sizeof(*r->flaps));
	r->flaps[r->n_flaps] = (struct flap_row){.path = mem_strdup(path), .window_ms = loop_now_ms(r->o.loop)};
	return &r->flaps[r->n_flaps++];
}

/* Whether this line is printed. Quiet for a window gives the path its twenty lines back. */
static bool flap_allows(struct reconcile *r, const struct lock_event *e)
{
	int64_t now = loop_now_ms(r->o.loop);
	struct flap_row *f = flap_row(r, e->path);

	if (!f)
		return true;
	if (now - f->window_ms >= FLAP_WINDOW_MS) {
		if (f->suppressed_seen || f->suppressed_gone)
			log_info("lock_flapping", kv_i64("app", e->app_id), kv_str("service", e->service),
				 kv_str("path", e->path), kv_i64("seen", f->suppressed_seen),
				 kv_i64("gone", f->suppressed_gone));
		else
			f->lines = 0;
		f->window_ms = now;
		f->suppressed_seen = f->suppressed_gone = 0;
	}
	if (f->lines < FLAP_LINES) {
		f->lines++;
		return true;
	}
	if (e->kind == LOCK_EVENT_SEEN)
		f->suppressed_seen++;
	else
		f->suppressed_gone++;
	return false;
}

static const struct {
	const char *name;
	enum log_level level;
} lines[] = {
	[LOCK_EVENT_SEEN] = {"lock_seen", LOG_LEVEL_INFO},
	[LOCK_EVENT_GONE] = {"lock_gone", LOG_LEVEL_INFO},
	[LOCK_EVENT_TAKEN] = {"lock_taken", LOG_LEVEL_INFO},
	[LOCK_EVENT_RELEASED] = {"lock_released", LOG_LEVEL_INFO},
	[LOCK_EVENT_OVERRIDDEN] = {"lock_overridden", LOG_LEVEL_WARN},
	[LOCK_EVENT_LEFTOVER_REMOVED] = {"lock_leftover_removed", LOG_LEVEL_INFO},
	[LOCK_EVENT_LOST] = {"lock_lost", LOG_LEVEL_WARN},
	[LOCK_EVENT_PROBLEM] = {"lock_problem", LOG_LEVEL_WARN},
};

void reconcile_lock_event(struct reconcile *r, const struct lock_event *e)
{
	bool by_application = e->kind == LOCK_EVENT_SEEN || e->kind == LOCK_EVENT_GONE;
	bool with_owner = e->kind == LOCK_EVENT_SEEN || e->kind == LOCK_EVENT_OVERRIDDEN;
	struct kv held = kv_i64("held_ms", e->held_ms), uid = kv_i64("uid", e->uid);

	if (e->kind == LOCK_EVENT_GONE)
		app_row(r, e->app_id)->lock_gone_ms = loop_now_ms(r->o.loop);
	if (!log_enabled(lines[e->kind].level) || (by_application && !flap_allows(r, e)))
		return;
	if (e->kind != LOCK_EVENT_GONE)
		held = kv_str("held_ms", NULL);
	if (!with_owner)
		uid = kv_str("uid", NULL);
	log_write(lines[e->kind].level, lines[e->kind].name,
		  (const struct kv[]){
			  kv_i64("app", e->app_id),
			  kv_str("service", e->service),
			  kv_str("path", e->path),
			  kv_str("kind", with_owner ? lock_kind_name(e->lock_kind) : NULL),
			  uid,
			  kv_str("by", e->kind == LOCK_EVENT_OVERRIDDEN ? "api" : NULL),
			  kv_time("since", with_owner ? e->since_ms : 0),
			  held,
			  kv_str("err", e->kind == LOCK_EVENT_PROBLEM || e->kind == LOCK_EVENT_LOST ? e->detail : NULL),
			  {.type = KV_END},
		  });
}

void lock_log_deinit(struct reconcile *r)
{
	for (size_t i = 0; i < r->n_flaps; i++)
		free(r->flaps[i].path);
	free(r->flaps);
}
