/*
 * One event as a JSON object. Members are named as in the other bodies, and are absent when there is nothing to say;
 * `what` says what happened to the thing that the type names.
 */
#include "api/internal.h"

#include <stdio.h>
#include <string.h>

#include "util/str.h"

const char *event_type_name(enum reconcile_event_type type)
{
	static const char *const names[RECONCILE_EVENT_TYPE_COUNT] = {
		[RECONCILE_EVENT_STEP] = "step",     [RECONCILE_EVENT_WAIT] = "wait",
		[RECONCILE_EVENT_LOCK] = "lock",     [RECONCILE_EVENT_PULL] = "pull",
		[RECONCILE_EVENT_APP] = "app",       [RECONCILE_EVENT_CONTAINER] = "container",
		[RECONCILE_EVENT_TARGET] = "target",
	};

	return names[type];
}

static void kv_str_if(struct json_writer *w, const char *key, const char *value)
{
	if (value)
		json_kv_str(w, key, value);
}

static void add_step(const struct reconcile_event *e, struct json_writer *w)
{
	kv_str_if(w, "kind", e->kind);
	kv_str_if(w, "image", e->image);
	kv_str_if(w, "name", e->name);
	kv_str_if(w, "reason", e->reason);
	if (!str_eq(e->what, "started"))
		json_kv_i64(w, "tookMs", e->took_ms);
	kv_str_if(w, "error", e->err);
}

static void add_wait(const struct reconcile_event *e, struct json_writer *w)
{
	kv_str_if(w, "kind", e->kind);
	if (e->services && e->services->n > 0) {
		json_key(w, "serviceNames");
		json_open_array(w);
		for (size_t i = 0; i < e->services->n; i++)
			json_add_str(w, e->services->v[i]);
		json_close_array(w);
	}
	view_kv_time(w, "since", e->since_ms);
	kv_str_if(w, "detail", e->detail);
}

static void add_lock(const struct lock_event *l, struct json_writer *w)
{
	bool of_application =
		l->kind == LOCK_EVENT_SEEN || l->kind == LOCK_EVENT_GONE || l->kind == LOCK_EVENT_OVERRIDDEN;
	bool is_there = l->kind == LOCK_EVENT_SEEN || l->kind == LOCK_EVENT_OVERRIDDEN;

	kv_str_if(w, "path", l->path);
	if (l->kind != LOCK_EVENT_PROBLEM)
		json_kv_str(w, "owner", of_application ? "application" : "supervisor");
	if (is_there) {
		json_kv_str(w, "kind", lock_kind_name(l->lock_kind));
		json_kv_i64(w, "uid", l->uid);
		view_kv_time(w, "since", l->since_ms);
	}
	if (l->kind == LOCK_EVENT_GONE)
		json_kv_i64(w, "heldMs", l->held_ms);
	if (l->kind == LOCK_EVENT_OVERRIDDEN)
		json_kv_str(w, "by", l->by ? l->by : "api");
	if (l->pid)
		json_kv_i64(w, "pid", l->pid);
	kv_str_if(w, "command", l->command);
	kv_str_if(w, "reason", l->reason);
	kv_str_if(w, "error", l->detail);
}

static void add_members(const struct reconcile_event *e, struct json_writer *w)
{
	switch (e->type) {
	case RECONCILE_EVENT_STEP:
		add_step(e, w);
		break;
	case RECONCILE_EVENT_WAIT:
		add_wait(e, w);
		break;
	case RECONCILE_EVENT_LOCK:
		add_lock(e->lock, w);
		break;
	case RECONCILE_EVENT_PULL:
		kv_str_if(w, "image", e->image);
		json_kv_i64(w, "percent", e->percent);
		break;
	case RECONCILE_EVENT_CONTAINER:
		kv_str_if(w, "containerId", e->id);
		kv_str_if(w, "name", e->name);
		kv_str_if(w, "state", e->state);
		kv_str_if(w, "health", e->health);
		if (str_eq(e->state, "exited"))
			json_kv_i64(w, "exitCode", e->exit_code);
		break;
	case RECONCILE_EVENT_APP:
		kv_str_if(w, "name", e->name);
		kv_str_if(w, "release", e->release);
		json_kv_i64(w, "seq", e->seq);
		json_kv_i64(w, "tookMs", e->took_ms);
		break;
	default:
		json_kv_i64(w, "seq", e->seq);
		kv_str_if(w, "error", e->err);
	}
}

static void write_event(const struct reconcile_event *e, int64_t wall_ms, bool whole, struct buf *to)
{
	struct json_writer *w;

	buf_clear(to);
	w = json_writer_new(to);
	json_open_object(w);
	json_kv_str(w, "what", e->what);
	view_kv_time(w, "time", wall_ms);
	if (e->app_id)
		json_kv_i64(w, "appId", e->app_id);
	if (!whole) {
		kv_str_if(w, "kind", e->kind);
		json_kv_bool(w, "truncated", true);
	} else if (e->service || (e->type == RECONCILE_EVENT_LOCK && e->app_id)) {
		json_kv_str(w, "serviceName", e->service); /* null: a lock of the app as a whole */
	}
	if (whole)
		add_members(e, w);
	json_close_object(w);
	json_writer_free(w);
}

void event_view(const struct reconcile_event *e, int64_t wall_ms, struct buf *to)
{
	write_event(e, wall_ms, true, to);
	if (to->failed)
		write_event(e, wall_ms, false, to);
}
