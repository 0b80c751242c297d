/*
 * GET and POST /v2/plan: what would be done now, or for another document, and what is waited for. The same function
 * writes both: the planner that decides is the one that explains.
 */
#include "api/internal.h"

static void add_changes(const struct field_changes *changes, struct json_writer *w)
{
	json_key(w, "changes");
	json_open_array(w);
	for (size_t i = 0; i < changes->n; i++) {
		json_open_object(w);
		json_kv_str(w, "field", changes->v[i].field);
		json_kv_str(w, "current", changes->v[i].current);
		json_kv_str(w, "target", changes->v[i].target);
		json_close_object(w);
	}
	json_close_array(w);
}

static void kv_str_if(struct json_writer *w, const char *key, const char *value)
{
	if (value)
		json_kv_str(w, key, value);
}

static void add_step(const struct plan_step *s, struct json_writer *w)
{
	json_open_object(w);
	json_kv_str(w, "kind", plan_step_kind_name(s->kind));
	if (s->app_id)
		json_kv_i64(w, "appId", s->app_id);
	else
		json_kv_null(w, "appId"); /* an image nobody uses any more */
	kv_str_if(w, "serviceName", s->service);
	kv_str_if(w, "image", s->image);
	kv_str_if(w, "name", s->name);
	json_kv_str(w, "reason", s->reason ? s->reason : "");
	if (s->changes.n > 0)
		add_changes(&s->changes, w);
	json_kv_bool(w, "inFlight", s->in_flight);
	json_close_object(w);
}

bool view_wait_is_everybodys(enum plan_wait_kind kind)
{
	return kind == WAIT_ENGINE || kind == WAIT_OPERATION || kind == WAIT_REBOOT;
}

/* Other waits of no app (an unused image) concern only who sees all. */
static bool shows_wait(const struct view *v, const struct plan_wait *wait)
{
	if (wait->app_id)
		return key_scope_covers(&v->scope, wait->app_id);
	return v->scope.global || view_wait_is_everybodys(wait->kind);
}

/* What a document nobody applies would wait for begins now; its deadlines are loop time. */
static int64_t wait_since(const struct view *v, size_t i)
{
	return v->dry_plan ? v->wall_ms : reconcile_wait_since(v->reconcile, i);
}

static int64_t wait_until(const struct view *v, const struct plan_wait *wait, size_t i)
{
	if (!v->dry_plan)
		return reconcile_wait_until(v->reconcile, i);
	return wait->until_ms ? v->wall_ms + wait->until_ms - v->loop_ms : 0;
}

static void add_wait(const struct view *v, const struct plan_wait *wait, size_t i, struct json_writer *w)
{
	int64_t until = wait_until(v, wait, i);

	json_open_object(w);
	json_kv_str(w, "kind", plan_wait_kind_name(wait->kind));
	if (wait->app_id)
		json_kv_i64(w, "appId", wait->app_id);
	if (wait->service)
		json_kv_str(w, "serviceName", wait->service);
	else if (wait->services.n == 1)
		json_kv_str(w, "serviceName", wait->services.v[0]);
	view_kv_time(w, "since", wait_since(v, i));
	if (until)
		view_kv_time(w, "until", until);
	json_kv_str(w, "detail", wait->detail ? wait->detail : "");
	json_close_object(w);
}

static void add_look(const struct view *v, struct json_writer *w)
{
	int64_t since = reconcile_looking_since(v->reconcile);

	if (!since || v->dry_plan)
		return;
	json_open_object(w);
	json_kv_str(w, "kind", plan_wait_kind_name(WAIT_OPERATION));
	view_kv_time(w, "since", since);
	json_kv_str(w, "detail", "looking for a new target");
	json_close_object(w);
}

void view_plan(const struct view *v, struct json_writer *w)
{
	const struct plan *p = v->dry_plan ? v->dry_plan : reconcile_plan(v->reconcile);

	json_open_object(w);
	json_kv_i64(w, "seq", (int64_t)reconcile_seq(v->reconcile));
	json_kv_i64(w, "settledSeq", (int64_t)reconcile_settled_seq(v->reconcile));
	json_key(w, "steps");
	json_open_array(w);
	for (size_t i = 0; p && i < p->n_steps; i++)
		if (p->steps[i].app_id ? key_scope_covers(&v->scope, p->steps[i].app_id) : v->scope.global)
			add_step(&p->steps[i], w);
	json_close_array(w);
	json_key(w, "waits");
	json_open_array(w);
	for (size_t i = 0; p && i < p->n_waits; i++)
		if (shows_wait(v, &p->waits[i]))
			add_wait(v, &p->waits[i], i, w);
	add_look(v, w);
	json_close_array(w);
	view_add_problems(v, w);
	json_close_object(w);
}
