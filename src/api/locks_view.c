/*
 * GET /v2/locks: every update lock that exists, and who waits because of one. Who holds a lock is told only when it is
 * known: a container that runs now need not be the one that made the file.
 */
#include "api/internal.h"

#include <string.h>

static void add_lock(const struct view *v, const struct lock_view *l, struct json_writer *w)
{
	int64_t age = l->since_ms ? v->wall_ms - l->since_ms : 0;

	json_open_object(w);
	json_kv_i64(w, "appId", l->app_id);
	json_kv_str(w, "appUuid", view_app_uuid(v, l->app_id));
	json_kv_str(w, "serviceName", l->service);
	json_kv_str(w, "path", l->path);
	json_kv_str(w, "kind", lock_kind_name(l->kind));
	json_kv_str(w, "owner", l->ours ? "supervisor" : "application");
	json_kv_i64(w, "uid", l->uid);
	view_kv_time(w, "since", l->since_ms);
	json_kv_i64(w, "ageMs", age > 0 ? age : 0);
	json_kv_null(w, "pid");
	json_kv_null(w, "command");
	json_kv_null(w, "containerId");
	json_kv_null(w, "reason");
	json_kv_null(w, "stale");
	json_close_object(w);
}

static void add_waiting(const struct view *v, const struct plan_wait *wait, int64_t since_ms, struct json_writer *w)
{
	json_open_object(w);
	json_kv_i64(w, "appId", wait->app_id);
	json_kv_str(w, "appUuid", view_app_uuid(v, wait->app_id));
	json_key(w, "serviceNames");
	json_open_array(w);
	for (size_t i = 0; i < wait->services.n; i++)
		json_add_str(w, wait->services.v[i]);
	json_close_array(w);
	view_kv_time(w, "since", since_ms);
	json_kv_str(w, "action", wait->action ? wait->action : "update");
	json_close_object(w);
}

void view_locks(const struct view *v, struct json_writer *w)
{
	const struct lock_views *locks = reconcile_locks(v->reconcile);
	const struct plan *p = reconcile_plan(v->reconcile);

	json_open_object(w);
	json_kv_bool(w, "override", false);
	json_key(w, "locks");
	json_open_array(w);
	for (size_t i = 0; locks && i < locks->n; i++)
		if (key_scope_covers(&v->scope, locks->v[i].app_id))
			add_lock(v, &locks->v[i], w);
	json_close_array(w);
	json_key(w, "waiting");
	json_open_array(w);
	for (size_t i = 0; p && i < p->n_waits; i++)
		if (p->waits[i].kind == WAIT_LOCKED && key_scope_covers(&v->scope, p->waits[i].app_id))
			add_waiting(v, &p->waits[i], reconcile_wait_since(v->reconcile, i), w);
	json_close_array(w);
	json_close_object(w);
}
