/*
 * GET /v2/locks: every update lock that exists, who holds it, and who waits because of one. Somebody asks, so this is
 * when /proc is read: the answer is written when that has ended. What is not known stays null.
 */
#include "api/internal.h"

#include <string.h>

#include "util/mem.h"

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
	if (l->pid)
		json_kv_i64(w, "pid", l->pid);
	else
		json_kv_null(w, "pid");
	json_kv_str(w, "command", l->command);
	json_kv_str(w, "containerId", l->container_id);
	json_kv_str(w, "reason", l->reason);
	if (l->stale == LOCK_STALE_UNKNOWN)
		json_kv_null(w, "stale");
	else
		json_kv_bool(w, "stale", l->stale == LOCK_STALE_YES);
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
	json_kv_bool(w, "override", reconcile_lock_override(v->reconcile));
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

/* -------- asking first -------- */

struct locks_ask {
	struct locks_ask *next, **self; /* `self`: what points to it */
	const struct api_options *o;
	struct http_exchange *x; /* NULL: answered already */
	struct key_scope scope;
};

static void ask_unlink(struct locks_ask *a)
{
	*a->self = a->next;
	if (a->next)
		a->next->self = a->self;
}

/* The peer may be gone by now; then the exchange drops the answer. */
static void on_explained(void *ctx)
{
	AUTO_FREE struct locks_ask *a = ctx;
	struct view v;
	struct json_writer *w;
	struct buf body;

	if (!a->x)
		return;
	v = (struct view){
		.reconcile = a->o->reconcile,
		.scope = a->scope,
		.wall_ms = loop_wall_ms(),
		.loop_ms = loop_now_ms(a->o->loop),
	};
	buf_init(&body, API_ANSWER_MAX_BYTES);
	w = json_writer_new(&body);
	view_locks(&v, w);
	json_writer_free(w);
	ask_unlink(a);
	answer_json(a->x, 200, &body);
	buf_deinit(&body);
}

void locks_answer(struct locks_ask **asks, const struct api_options *o, struct http_exchange *x,
		  const struct key_scope *scope)
{
	struct locks_ask *a = mem_new(1, sizeof(*a));

	*a = (struct locks_ask){.next = *asks, .self = asks, .o = o, .x = x, .scope = *scope};
	if (a->next)
		a->next->self = &a->next;
	*asks = a;
	reconcile_explain_locks(o->reconcile, on_explained, a);
}

void locks_abandon(struct locks_ask **asks)
{
	while (*asks) {
		struct locks_ask *a = *asks;
		struct http_exchange *x = STEAL(a->x);

		ask_unlink(a);
		answer_failed(x, 503, "the supervisor is stopping");
	}
}
