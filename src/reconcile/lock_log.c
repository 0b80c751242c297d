/* Lock events as log lines: how developers watch lock state (interface.md "Log lines"). */
#include "reconcile/internal.h"

#include "util/log.h"

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
	bool with_holder = with_owner || e->kind == LOCK_EVENT_GONE;
	struct kv held = kv_i64("held_ms", e->held_ms), uid = kv_i64("uid", e->uid);
	AUTO_FREE char *holder = with_holder ? holder_text(e->pid, e->command) : NULL;

	if (r)
		event_lock(r, e);
	if (r && e->kind == LOCK_EVENT_GONE)
		app_row(r, e->app_id)->lock_gone_ms = loop_now_ms(r->o.loop);
	if (!log_enabled(lines[e->kind].level) || (r && by_application && !flapping_allows(r, e)))
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
			  kv_str("by", e->kind == LOCK_EVENT_OVERRIDDEN ? e->by : NULL),
			  kv_str("holder", holder),
			  kv_str("reason", with_holder ? e->reason : NULL),
			  kv_time("since", with_owner ? e->since_ms : 0),
			  held,
			  kv_str("err", e->kind == LOCK_EVENT_PROBLEM || e->kind == LOCK_EVENT_LOST ? e->detail : NULL),
			  {.type = KV_END},
		  });
}
