/*
 * May an app be stopped now, and what about its locks: taken, all or none, when a step that needs them could start but
 * for them; given back when nothing is under way or about to be, so that an application is never locked out for as long
 * as we merely wait. While a stop may be at work in the engine they stay, whatever else (spec update-locks.md 3).
 */
#include "plan/internal.h"

/* Held beside a lock of an application (of a service that the set did not know yet, say) is not held. */
static enum lock_app_state lock_state(const struct plan_app *a)
{
	enum lock_app_state state = a->locks ? a->locks->state : LOCK_FREE;

	return state == LOCK_HELD && a->blocked ? LOCK_LOST : state;
}

static void find_blocked(struct plan_ctx *c)
{
	const struct lock_views *l = c->in->locks;

	for (size_t i = 0; i < c->n_apps; i++)
		c->apps[i].blocked = c->apps[i].locks && c->apps[i].locks->blocked;
	for (size_t i = 0; l && i < l->n; i++) {
		struct plan_app *a = l->v[i].counts ? plan_find_app(c, l->v[i].app_id) : NULL;

		if (a && (!l->v[i].service || plan_find_service(a, l->v[i].service)))
			a->blocked = true;
	}
}

static enum plan_guard guard_of(const struct plan_app *a)
{
	if (a->n_missing)
		return GUARD_PULLING;
	if (!a->needs_locks)
		return GUARD_OPEN;
	if (a->lock_flight)
		return GUARD_TAKING;
	if (lock_state(a) == LOCK_HELD && !a->unrecorded)
		return GUARD_OPEN;
	if (a->blocked && !a->forced)
		return GUARD_LOCKED;
	return a->lock_failure ? GUARD_BACKOFF : GUARD_TAKE;
}

/* Making supervisor0 anew takes down every service that uses it: all of their apps may be stopped, or none is. */
static void guard_supervisor0(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_apps; i++) {
		const struct plan_app *a = &c->apps[i];

		if (!a->uses_supervisor0 || a->guard == GUARD_OPEN)
			continue;
		if (a->guard != GUARD_TAKE && a->guard != GUARD_TAKING) {
			c->supervisor0_waits_long = true;
			c->supervisor0_waits_for = a;
			return;
		}
		c->supervisor0_waits_short = true;
		c->supervisor0_waits_for = a;
	}
}

void plan_locks_guard(struct plan_ctx *c)
{
	find_blocked(c);
	for (size_t i = 0; i < c->n_apps; i++)
		c->apps[i].guard = guard_of(&c->apps[i]);
	guard_supervisor0(c);
}

static void emit_wait(struct plan_ctx *c, struct plan_app *a, size_t *next_view)
{
	const struct lock_views *l = c->in->locks;
	struct plan_wait *w = plan_add_wait(c, WAIT_LOCKED, a->id, "locked %lld", (long long)a->id);
	AUTO_FREE char *names = NULL, *why = plan_app_why(a, true);
	const char *path = NULL;

	w->action = a->want ? "update" : "remove";
	for (; l && *next_view < l->n && l->v[*next_view].app_id <= a->id; ++*next_view) {
		const struct lock_view *v = &l->v[*next_view];

		if (v->app_id == a->id && v->counts && !path)
			path = v->path;
		if (v->app_id == a->id && v->counts && v->service &&
		    !(w->services.n && str_eq(w->services.v[w->services.n - 1], v->service)))
			strv_add(&w->services, v->service);
	}
	names = strv_join(&w->services, ", ");
	w->detail =
		mem_printf("an application holds the update lock of %s%s%s; the %s goes on when it is released (%s)",
			   *names ? names : "the app", path ? ": " : "", path ? path : "", w->action, why ? why : "");
}

/* What the locks are taken for, so that a plan says why before the first stop: "main: image". */
static void add_changes(struct plan_step *step, const struct plan_service *s)
{
	for (size_t i = 0; (s->guarded || plan_service_will_stop(s)) && i < s->changes.n; i++) {
		const struct field_change *f = &s->changes.v[i];
		AUTO_FREE char *field = mem_printf("%s: %s", s->name, f->field);

		field_changes_add(&step->changes, field, f->current, f->target);
	}
}

static void emit_take(struct plan_ctx *c, struct plan_app *a)
{
	struct plan_step *s = plan_add_step(c, STEP_TAKE_LOCKS, a->lock_subject, a->id);
	AUTO_FREE char *names = strv_join(&a->replaces, ", "), *why = plan_app_why(a, false);
	AUTO_FREE char *tail = why ? mem_printf(" (%s)", why) : mem_strdup("");
	const char *lost = lock_state(a) == LOCK_LOST ? "a lock of ours was taken away; " : "";

	s->force = a->forced;
	for (size_t i = 0; i < a->n_services; i++)
		strv_add(&s->locks, a->services[i].name);
	strv_copy(&s->replaces, &a->replaces);
	for (size_t i = 0; i < a->n_services; i++)
		add_changes(s, &a->services[i]);
	if (a->replaces.n)
		s->reason = mem_printf("%sto stop %s%s", lost, names, tail);
	else
		s->reason = mem_printf("%sto change what does not run%s", lost, tail);
}

static void emit_release(struct plan_ctx *c, struct plan_app *a)
{
	const char *reason = a->unsettled                     ? "nothing of the app can be done now"
			     : a->locks && a->locks->leftover ? "left by an earlier run"
			     : !c->in->target                 ? "there is no target"
							      : "all services of the app are as wanted";

	if (a->unlock_failure) {
		plan_add_backoff(c, a->unlock_failure, a->id, NULL, "");
		return;
	}
	plan_add_step(c, STEP_RELEASE_LOCKS, a->lock_subject, a->id)->reason = mem_strdup(reason);
}

static void emit_app(struct plan_ctx *c, struct plan_app *a, size_t *next_view)
{
	enum lock_app_state state = lock_state(a);
	bool lost = state == LOCK_LOST && (a->busy || a->stopping);

	if (a->want_lock_wait)
		emit_wait(c, a, next_view);
	if (a->lock_flight)
		return;
	if ((a->want_take || lost) && a->ours && (!a->blocked || a->forced)) {
		if (!a->lock_failure) {
			emit_take(c, a);
			return;
		}
		a->want_lock_backoff = true;
	}
	if (a->want_lock_backoff)
		plan_add_backoff(c, a->lock_failure, a->id, NULL, "");
	if (state != LOCK_FREE && !a->stopping && !a->busy && !a->holds_locks)
		emit_release(c, a);
}

/* Last of an app: by now it is known whether anything is under way. */
void plan_locks_emit(struct plan_ctx *c)
{
	size_t next_view = 0;

	for (size_t i = 0; i < c->n_apps; i++)
		emit_app(c, &c->apps[i], &next_view);
}

/* A stop of an earlier run may be at work: the time at which it is over at the latest; 0: there is none. */
static int64_t stop_over_at(const struct plan_ctx *c, const struct plan_app *a)
{
	int64_t until = 0;

	for (size_t i = 0; i < c->n_containers; i++) {
		const struct container *k = c->containers[i];

		if (k->app_id == a->id && k->state == CONTAINER_RUNNING && k->stopping_until_ms > c->in->now_ms &&
		    k->stopping_until_ms > until)
			until = k->stopping_until_ms;
	}
	return until;
}

/* Nothing is wanted of any app, so no lock of ours is either. */
void plan_locks_give_back(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_apps; i++) {
		struct plan_app *a = &c->apps[i];
		int64_t until = stop_over_at(c, a);
		struct plan_wait *w;

		if (lock_state(a) == LOCK_FREE || a->lock_flight || a->busy)
			continue;
		if (!until) {
			emit_release(c, a);
			continue;
		}
		w = plan_add_wait(c, WAIT_OPERATION, a->id, "operation %s", a->lock_subject);
		w->until_ms = until;
		w->detail = mem_strdup("a stop sent earlier may be at work; the locks are given back after it");
	}
}
