/*
 * The life of a step: it begins (one per subject), the engine answers, the subject is read again and merged, and only
 * then it leaves the flight. What a step needs is copied when it begins; the plan that asked for it may be gone.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"
#include "util/mem.h"

/* A container that would not stop this often is removed by force; the locks are held. */
#define FORCE_REMOVE_AFTER 3

void running_free(struct running *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_joins; i++) {
		free(s->joins[i].network);
		free(s->joins[i].body);
	}
	free(s->joins);
	free(s->subject);
	free(s->service);
	free(s->image);
	free(s->name);
	free(s->container_id);
	free(s->reason);
	free(s);
}

/* Not every step is about an app. */
static struct kv kv_app(int64_t app_id)
{
	return app_id ? kv_i64("app", app_id) : kv_str("app", NULL);
}

static void unlink_running(struct running *s)
{
	struct running **at;

	for (at = &s->r->running; *at != s; at = &(*at)->next)
		;
	*at = s->next;
}

static void log_end(const struct running *s)
{
	const struct kv fields[] = {kv_str("kind", plan_step_kind_name(s->kind)),
				    kv_app(s->app_id),
				    kv_str("service", s->service),
				    kv_str("image", s->image),
				    kv_str("name", s->name),
				    kv_i64("took_ms", loop_now_ms(s->r->o.loop) - s->started_ms),
				    kv_str("err", s->err.code ? s->err.msg : NULL),
				    {.type = KV_END}};

	event_step(s, !s->err.code ? "done" : s->err.code == -ECANCELED ? "cancelled" : "failed");
	if (s->err.code == -ECANCELED)
		log_write(LOG_LEVEL_INFO, "step_cancelled", fields);
	else if (s->err.code)
		log_write(LOG_LEVEL_WARN, "step_failed", fields);
	else
		log_write(LOG_LEVEL_INFO, "step_done", fields);
}

static void note_success(const struct running *s)
{
	struct made_row *made;

	switch (s->kind) {
	case STEP_REMOVE_IMAGE:
		ledger_forget_image(s->r, s->image);
		break;
	case STEP_CREATE:
		made = ledger_made(s->r, s->app_id, s->service);
		free(made->container_id);
		made->container_id = mem_strdup(s->container_id);
		break;
	case STEP_START: /* from here on an exit is its own */
		ledger_clear_removed_service(s->r, s->app_id, s->service);
		break;
	default:
		break;
	}
}

/* The step leaves the flight; its memory goes once no call of it is under way. */
static void over(struct running *s)
{
	struct reconcile *r = s->r;

	if (s->over)
		return;
	s->over = true;
	log_end(s);
	if (!s->err.code) {
		failure_clear(r, s->subject);
		history_add(r, s->subject, s->kind, s->app_id);
		note_success(s);
	} else if (s->err.code != -ECANCELED) {
		failure_add(r, s->subject, s->app_id, s->err.msg);
		if (s->kind == STEP_STOP && s->sent)
			failure_find(r, s->subject)->stops++;
	}
	reconcile_mark_changed(r);
	reconcile_poke(r);
	if (!s->call) {
		unlink_running(s);
		running_free(s);
	}
}

static void on_refreshed(void *ctx)
{
	struct running *s = ctx;
	struct reconcile *r = s->r;

	s->settling = false;
	over(s);
	reconcile_drop(r);
}

static void refresh(struct running *s)
{
	struct reconcile *r = s->r;

	if (r->stopping || s->err.code == -ECANCELED) {
		over(s);
		return;
	}
	s->settling = true;
	reconcile_hold(r);
	switch (s->kind) {
	case STEP_PULL:
	case STEP_REMOVE_IMAGE:
		cache_refresh(r, LIST_IMAGES, on_refreshed, s);
		break;
	case STEP_CREATE_NETWORK:
	case STEP_REMOVE_NETWORK:
		cache_refresh(r, LIST_NETWORKS, on_refreshed, s);
		break;
	case STEP_CREATE_VOLUME:
	case STEP_REMOVE_VOLUME:
		cache_refresh(r, LIST_VOLUMES, on_refreshed, s);
		break;
	default:
		if (s->container_id)
			cache_refresh_container(r, s->container_id, on_refreshed, s);
		else /* a create that failed, or of which we do not know how it ended */
			cache_refresh(r, LIST_CONTAINERS, on_refreshed, s);
	}
}

/* The engine's answer to a step of one call. */
static void on_answer(void *ctx, const struct err *err)
{
	struct running *s = ctx;
	struct reconcile *r = s->r;

	s->call = NULL;
	if (s->over) { /* a stop whose container was seen dead before the answer came */
		unlink_running(s);
		running_free(s);
	} else {
		if (err)
			s->err = *err;
		if (err && s->kind == STEP_STOP &&
		    err->code != -ECANCELED) /* it may have been carried out, or still be */
			cache_mark_stopping(r, s->container_id, loop_now_ms(r->o.loop));
		if (!err && s->kind == STEP_REMOVE) { /* the answer is the proof */
			cache_container_gone(r, s->container_id);
			over(s);
		} else {
			refresh(s);
		}
	}
	reconcile_drop(r);
}

/* A container was read again: a stop whose container is dead is done, whatever the engine still has to say about it. */
void steps_container_changed(struct reconcile *r, const char *id)
{
	for (struct running *s = r->running, *next; s; s = next) {
		const struct container *c;

		next = s->next;
		if (s->over || s->settling || s->kind != STEP_STOP || !str_eq(s->container_id, id))
			continue;
		c = cache_find_container(r, id);
		if (!c || c->state == CONTAINER_EXITED || c->state == CONTAINER_DEAD)
			over(s);
	}
}

bool steps_will_look(const struct reconcile *r, const struct engine_event *ev)
{
	for (const struct running *s = r->running; s; s = s->next) {
		if (s->over || s->settling)
			continue;
		if (s->kind == STEP_CREATE && str_eq(ev->action, "create") && str_eq(ev->name, s->name))
			return true;
		if (s->kind == STEP_START && str_eq(ev->action, "start") && str_eq(ev->id, s->container_id))
			return true;
		if (s->kind == STEP_RENAME && str_eq(ev->action, "rename") && str_eq(ev->id, s->container_id))
			return true;
	}
	return false;
}

static void on_progress(void *ctx, int percent)
{
	struct running *s = ctx;

	if (s->percent != percent) {
		s->percent = percent;
		event_pull(s);
		reconcile_mark_changed(s->r);
	}
}

/* ---- create: the container, then its further networks; a half-joined one is taken away again ---- */

static void join_next(struct running *s);

static void on_half_made_removed(void *ctx, const struct err *err)
{
	struct running *s = ctx;
	struct reconcile *r = s->r;

	(void)err; /* what is left shows in the next inspect */
	s->call = NULL;
	refresh(s);
	reconcile_drop(r);
}

static void on_joined(void *ctx, const struct err *err)
{
	struct running *s = ctx;
	struct reconcile *r = s->r;

	s->call = NULL;
	if (err) {
		s->err = *err;
		err_wrap(&s->err, "join network %s", s->joins[s->next_join].network);
		reconcile_hold(r);
		s->call = engine_container_remove(r->o.engine, s->container_id, true, on_half_made_removed, s);
	} else {
		s->next_join++;
		join_next(s);
	}
	reconcile_drop(r);
}

static void join_next(struct running *s)
{
	struct reconcile *r = s->r;
	struct join *j = &s->joins[s->next_join];
	struct buf body;

	if (s->next_join == s->n_joins || r->stopping) {
		refresh(s);
		return;
	}
	buf_init(&body, 1 << 20);
	buf_adds(&body, j->body);
	reconcile_hold(r);
	s->call = engine_network_connect(r->o.engine, j->network, &body, on_joined, s);
	buf_deinit(&body);
}

static void on_created(void *ctx, const struct err *err, const char *id)
{
	struct running *s = ctx;
	struct reconcile *r = s->r;

	s->call = NULL;
	if (err) {
		s->err = *err;
		refresh(s);
	} else {
		s->container_id = mem_strdup(id);
		join_next(s);
	}
	reconcile_drop(r);
}

static void begin_create(struct running *s, const struct plan_step *step)
{
	struct reconcile *r = s->r;
	struct err err = {0};
	struct buf body;

	if (lock_set_prepare(r->o.locks, s->app_id, s->service, &err) < 0) {
		s->err = err;
		over(s);
		return;
	}
	for (size_t i = 0; i < step->config.n_networks; i++) {
		const struct network_join *n = &step->config.networks[i];
		struct buf join;

		if (str_eq(n->name, step->config.network_mode)) /* the main one comes with the container */
			continue;
		buf_init(&join, 1 << 20);
		service_connect_body(n, s->name, &join);
		s->joins = realloc(s->joins, (s->n_joins + 1) * sizeof(*s->joins));
		if (!s->joins)
			abort();
		s->joins[s->n_joins++] = (struct join){.network = mem_strdup(n->name), .body = buf_steal(&join)};
	}
	buf_init(&body, 8 << 20);
	if (service_create_body(&step->config, r->target ? r->target->name : NULL, &body, &err) < 0) {
		s->err = err;
		over(s);
	} else {
		reconcile_hold(r);
		s->call = engine_container_create(r->o.engine, s->name, &body, on_created, s);
	}
	buf_deinit(&body);
}

/* Also one that is about to: what it does from its first moment on comes after the start that we are at. */
static bool app_runs(const struct running *start)
{
	const struct reconcile *r = start->r;

	for (const struct running *s = r->running; s; s = s->next)
		if (s != start && s->app_id == start->app_id && s->kind == STEP_START && !s->over)
			return true;
	for (size_t i = 0; i < r->cache.current.n_containers; i++)
		if (r->cache.current.containers[i].app_id == start->app_id &&
		    r->cache.current.containers[i].state == CONTAINER_RUNNING)
			return true;
	return false;
}

static void begin_start(struct running *s)
{
	if (!app_runs(s))
		lock_set_starting(s->r->o.locks, s->app_id);
	if (lock_set_prepare(s->r->o.locks, s->app_id, s->service, &s->err) < 0) {
		over(s);
		return;
	}
	reconcile_hold(s->r);
	s->call = engine_container_start(s->r->o.engine, s->container_id, on_answer, s);
}

static void begin_stop(struct running *s)
{
	struct reconcile *r = s->r;
	const struct container *c = cache_find_container(r, s->container_id);
	const struct failure *f = failure_find(r, s->subject);

	if (steps_check_locks(s) < 0) {
		over(s);
		return;
	}
	reconcile_hold(r);
	s->sent = true;
	if (f && f->stops >= FORCE_REMOVE_AFTER)
		s->call = engine_container_remove(r->o.engine, s->container_id, true, on_answer, s);
	else
		s->call = engine_container_stop(r->o.engine, s->container_id, c ? c->stop_timeout_s : 10, on_answer, s);
}

static const struct target_app *app_of(const struct running *s)
{
	return s->r->target ? target_find_app(s->r->target, s->app_id) : NULL;
}

static void begin_create_network(struct running *s)
{
	const struct target_app *a = app_of(s);
	struct buf body;

	buf_init(&body, 1 << 20);
	if (str_eq(s->name, SUPERVISOR_NETWORK))
		supervisor0_create_body(&body);
	for (size_t i = 0; a && i < a->n_networks; i++)
		if (str_eq(a->networks[i].name, s->name))
			network_create_body(a, &a->networks[i], &body);
	reconcile_hold(s->r);
	s->call = engine_network_create(s->r->o.engine, &body, on_answer, s);
	buf_deinit(&body);
}

static void begin_create_volume(struct running *s)
{
	const struct target_app *a = app_of(s);
	struct buf body;

	buf_init(&body, 1 << 20);
	for (size_t i = 0; a && i < a->n_volumes; i++)
		if (str_eq(a->volumes[i].name, s->name))
			volume_create_body(a, &a->volumes[i], &body);
	reconcile_hold(s->r);
	s->call = engine_volume_create(s->r->o.engine, &body, on_answer, s);
	buf_deinit(&body);
}

static void begin_call(struct running *s)
{
	struct engine *e = s->r->o.engine;

	reconcile_hold(s->r);
	switch (s->kind) {
	case STEP_PULL:
		s->call = engine_image_pull(e, s->image, NULL, on_progress, on_answer, s);
		break;
	case STEP_REMOVE_IMAGE:
		s->call = engine_image_remove(e, s->image, on_answer, s);
		break;
	case STEP_REMOVE:
		s->call = engine_container_remove(e, s->container_id, false, on_answer, s);
		break;
	case STEP_RENAME:
		s->call = engine_container_rename(e, s->container_id, s->name, on_answer, s);
		break;
	case STEP_REMOVE_NETWORK:
		s->call = engine_network_remove(e, s->name, on_answer, s);
		break;
	case STEP_REMOVE_VOLUME:
		s->call = engine_volume_remove(e, s->name, on_answer, s);
		break;
	default: /* the planner of this version makes no other */
		reconcile_drop(s->r);
		err_set(&s->err, -ENOSYS, "no runner for step %s", plan_step_kind_name(s->kind));
		over(s);
	}
}

/*
 * A container that we made for this very target, and that reads back different: the engine (or the kernel) does not
 * keep a setting. It is made anew once more, in case somebody was in between; after that it is taken as it is until the
 * next target.
 */
static bool accepts_as_it_is(struct reconcile *r, const struct plan_step *step)
{
	struct made_row *made;

	if ((step->kind != STEP_STOP && step->kind != STEP_REMOVE) || !step->changes.n || !step->service)
		return false;
	made = ledger_made(r, step->app_id, step->service);
	if (!str_eq(made->container_id, step->container_id))
		return false;
	free(STEAL(made->container_id));
	if (++made->futile < 2)
		return false;
	made->accepted = r->ledger.dirty = true;
	log_warn("setting_not_kept", kv_i64("app", step->app_id), kv_str("service", step->service),
		 kv_str("name", step->changes.v[0].field), kv_str("current", step->changes.v[0].current),
		 kv_str("target", step->changes.v[0].target));
	return true;
}

static void on_identity_written(void *ctx, const struct err *err)
{
	struct reconcile *r = ctx;

	(void)err; /* told by whoever saved it; a service that runs until our next start beats one that does not run */
	r->identity_write = false; /* the other file may be next */
	reconcile_poke(r);
	reconcile_drop(r);
}

/*
 * A container carries the uuid of the device and the key of its service. Were one made before these are on disk, a
 * crash would make them anew, and the container would be stopped and replaced for nothing.
 */
static bool identity_is_kept(struct reconcile *r)
{
	static const char *const names[] = {"device", "keys"};
	bool waits = r->identity_write;

	for (size_t i = 0; i < ARRAY_LEN(names) && !waits; i++)
		if (store_wait(r->o.store, names[i], on_identity_written, r)) {
			waits = r->identity_write = true;
			reconcile_hold(r);
		}
	return !waits;
}

void steps_start(struct reconcile *r, struct plan_step *step)
{
	struct running *s;

	if (step->kind == STEP_TAKE_LOCKS || step->kind == STEP_RELEASE_LOCKS) {
		steps_run_locks(r, step);
		return;
	}
	if (step->kind == STEP_PULL && r->cache.lists[LIST_IMAGES].in_flight)
		return; /* the end of the list comes back here */
	if (step->kind == STEP_CREATE && !identity_is_kept(r))
		return; /* the end of the write comes back here */
	if (accepts_as_it_is(r, step) || history_brakes(r, step)) {
		reconcile_poke(r);
		return;
	}
	step->in_flight = true;
	s = mem_new(1, sizeof(*s));
	*s = (struct running){
		.r = r,
		.next = r->running,
		.kind = step->kind,
		.app_id = step->app_id,
		.started_ms = loop_now_ms(r->o.loop),
		.percent = 0,
		.subject = mem_strdup(step->subject),
		.service = mem_strdup(step->service),
		.image = mem_strdup(step->image),
		.name = mem_strdup(step->name),
		.container_id = mem_strdup(step->container_id),
		.reason = mem_strdup(step->reason),
	};
	r->running = s;
	event_step(s, "started");
	log_info("step_started", kv_str("kind", plan_step_kind_name(s->kind)), kv_app(s->app_id),
		 kv_str("service", s->service), kv_str("image", s->image), kv_str("name", s->name),
		 kv_str("reason", s->reason));
	switch (s->kind) {
	case STEP_CREATE:
		begin_create(s, step);
		break;
	case STEP_START:
		begin_start(s);
		break;
	case STEP_STOP:
		begin_stop(s);
		break;
	case STEP_CREATE_NETWORK:
		begin_create_network(s);
		break;
	case STEP_CREATE_VOLUME:
		begin_create_volume(s);
		break;
	default:
		begin_call(s);
	}
}

/* A pull that no plan names any more is cancelled; everything else that was begun runs to its end. */
void steps_drop_unwanted(struct reconcile *r, const struct plan *p)
{
	for (struct running *s = r->running; s; s = s->next) {
		bool wanted = false;

		if (s->kind != STEP_PULL || s->over || !s->call)
			continue;
		for (size_t i = 0; i < p->n_steps && !wanted; i++)
			wanted = p->steps[i].kind == STEP_PULL && str_eq(p->steps[i].subject, s->subject);
		if (!wanted)
			http_call_cancel(s->call);
	}
}

void steps_cancel_pulls(struct reconcile *r)
{
	for (struct running *s = r->running; s; s = s->next)
		if (s->kind == STEP_PULL && s->call && !s->over)
			http_call_cancel(s->call);
}
