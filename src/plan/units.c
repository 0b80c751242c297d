/*
 * Order among services. A unit is what goes down and comes up together: one changing service, or several that depend on
 * each other or share a network that is made anew. Inside it, dependents stop first and dependencies start first.
 * Whether the next step of a service can begin is decided here; how many units go at a time, in slots.c.
 *
 * What may take long (a backoff, a pull, a lock) must hold back only those that need it: `stuck` is spread along
 * dependencies first, and nobody waits for a stuck service but those that depend on it.
 */
#include "plan/internal.h"

#include <string.h>

static size_t find_unit(struct plan_ctx *c, size_t i)
{
	while (c->services[i].unit != i) {
		c->services[i].unit = c->services[c->services[i].unit].unit;
		i = c->services[i].unit;
	}
	return i;
}

static void tie(struct plan_ctx *c, size_t a, size_t b)
{
	a = find_unit(c, a);
	b = find_unit(c, b);
	c->services[a > b ? a : b].unit = a > b ? b : a;
}

static size_t index_of(const struct plan_ctx *c, const struct plan_service *s)
{
	return (size_t)(s - c->services);
}

static void find_dependencies(struct plan_ctx *c)
{
	size_t most = 0;

	for (size_t i = 0; i < c->n_services; i++)
		most += c->services[i].want ? c->services[i].want->depends_on.n : 0;
	c->deps = mem_new(most + 1, sizeof(*c->deps));
	for (size_t i = 0; i < c->n_services; i++) {
		struct plan_service *s = &c->services[i];

		s->first_dep = c->n_deps;
		for (size_t j = 0; s->want && j < s->want->depends_on.n; j++) {
			const struct plan_service *on = plan_find_service(s->app, s->want->depends_on.v[j]);

			if (on && on != s && on->want)
				c->deps[c->n_deps++] = index_of(c, on);
		}
		s->n_deps = c->n_deps - s->first_dep;
	}
}

struct walk {
	size_t *stack, *next; /* next: dependencies of a service already followed */
	unsigned char *seen;  /* 0 not yet, 1 on the stack, 2 done */
	size_t depth, n_order;
};

/* Depth first without recursion: a document may be a chain of any length. A dependency that closes a cycle is dropped.
 */
static void visit(struct plan_ctx *c, struct walk *w, size_t root)
{
	w->stack[w->depth++] = root;
	w->seen[root] = 1;
	while (w->depth) {
		size_t i = w->stack[w->depth - 1];
		struct plan_service *s = &c->services[i];
		size_t *dep;

		if (w->next[i] == s->n_deps) {
			w->seen[i] = 2;
			c->order[w->n_order++] = i;
			w->depth--;
			continue;
		}
		dep = &c->deps[s->first_dep + w->next[i]++];
		if (w->seen[*dep] == 0) {
			w->seen[*dep] = 1;
			w->stack[w->depth++] = *dep;
		} else if (w->seen[*dep] == 1) {
			plan_add_note(c, "app %lld: services depend on each other in a circle; %s does not wait for %s",
				      (long long)s->app->id, s->name, c->services[*dep].name);
			*dep = SIZE_MAX;
		}
	}
}

static void order_services(struct plan_ctx *c)
{
	struct walk w = {0};

	c->order = mem_new(c->n_services + 1, sizeof(*c->order));
	w.stack = mem_new(c->n_services + 1, sizeof(*w.stack));
	w.next = mem_new(c->n_services + 1, sizeof(*w.next));
	w.seen = mem_new(c->n_services + 1, 1);
	for (size_t i = 0; i < c->n_services; i++)
		if (!w.seen[i])
			visit(c, &w, i);
	free(w.stack);
	free(w.next);
	free(w.seen);
}

static bool in_unit(const struct plan_service *s)
{
	return plan_service_has_work(s) && s->next != STEP_RENAME;
}

static struct plan_service *dependency(const struct plan_ctx *c, const struct plan_service *s, size_t i)
{
	size_t d = c->deps[s->first_dep + i];

	return d == SIZE_MAX ? NULL : &c->services[d];
}

struct tying {
	struct plan_ctx *c;
	size_t service;
	size_t *first; /* for each resource: index + 1 of its first user */
};

static void on_shared(struct plan_resource *r, void *ctx)
{
	struct tying *t = ctx;
	size_t *first = &t->first[r - t->c->resources];

	if (r->work != RESOURCE_CHANGE)
		return;
	if (*first)
		tie(t->c, t->service, *first - 1);
	else
		*first = t->service + 1;
}

static void tie_services(struct plan_ctx *c)
{
	AUTO_FREE size_t *first = mem_new(c->n_resources + 1, sizeof(*first));

	for (size_t i = 0; i < c->n_services; i++) {
		const struct plan_service *s = &c->services[i];
		struct tying t = {.c = c, .service = i, .first = first};

		if (!in_unit(s))
			continue;
		for (size_t j = 0; j < s->n_deps; j++)
			if (dependency(c, s, j) && in_unit(dependency(c, s, j)))
				tie(c, i, index_of(c, dependency(c, s, j)));
		if (!c->n_resources)
			continue;
		for (size_t j = 0; j < s->n_containers; j++)
			plan_each_use(c, &s->containers[j]->config, on_shared, &t);
		if (s->want)
			plan_each_use(c, s->config, on_shared, &t);
	}
}

/* Something that depends on it has to wait until it is up. */
static bool is_awaited(const struct plan_service *s)
{
	switch (s->work) {
	case WORK_DEAD:
	case WORK_REPLACE:
	case WORK_CREATE:
	case WORK_START:
	case WORK_WAIT:
		return s->want && s->want->running;
	case WORK_NONE:
	case WORK_GONE:
	case WORK_STOP:
	case WORK_RENAME:
		break;
	}
	return false;
}

static bool fails(const struct plan_resource *r)
{
	return r && (r->failure || r->held_long);
}

static bool takes_long(const struct plan_ctx *c, const struct plan_resource *r)
{
	return fails(r) || (r && !r->app && c->supervisor0_waits_long);
}

/* A network is made anew after its last user is gone: all of them wait for one that backs off. */
static void find_held_long(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_services; i++) {
		const struct plan_service *s = &c->services[i];

		if (s->doomed && s->failure && !s->flight)
			c->resources[s->doomed - c->resources].held_long = true;
	}
}

static void spread_stuck(const struct plan_ctx *c, struct plan_service *s)
{
	bool comes_up = is_awaited(s);

	for (size_t i = 0; comes_up && i < s->n_deps; i++) {
		const struct plan_service *d = dependency(c, s, i);

		if (!d || !is_awaited(d))
			continue;
		if (!s->start_after)
			s->start_after = d;
		if (d->stuck && !s->stuck_on)
			s->stuck_on = d;
	}
	if (!plan_service_has_work(s) || s->flight)
		return;
	s->stuck = s->failure || s->stuck_on || takes_long(c, s->making) || takes_long(c, s->remaking) ||
		   (comes_up && !s->image) || (s->work == WORK_WAIT && !s->wait_until);
}

void plan_units_order(struct plan_ctx *c)
{
	find_dependencies(c);
	order_services(c);
	tie_services(c);
	find_held_long(c);
	for (size_t i = 0; i < c->n_services; i++)
		c->services[i].unit = find_unit(c, i);
	for (size_t i = 0; i < c->n_services; i++)
		spread_stuck(c, &c->services[c->order[i]]);
	for (size_t i = 0; i < c->n_services; i++) {
		const struct plan_service *s = &c->services[i];

		for (size_t j = 0; j < s->n_deps && !s->stuck && plan_service_will_stop(s); j++)
			if (dependency(c, s, j) && !dependency(c, s, j)->stop_after)
				dependency(c, s, j)->stop_after = s;
	}
}

static enum plan_outcome wait_here(struct plan_service *s, enum plan_outcome outcome, char *detail)
{
	s->wait = WAIT_DEPENDENCY;
	s->wait_detail = detail;
	return outcome;
}

static enum plan_outcome wait_resource(const struct plan_ctx *c, struct plan_service *s, const struct plan_resource *r)
{
	return wait_here(s, takes_long(c, r) ? OUT_LONG : OUT_SHORT,
			 mem_printf("needs %s, which is not ready", r->subject));
}

static enum plan_outcome evaluate_supervisor0(const struct plan_ctx *c, struct plan_service *s)
{
	const struct plan_app *other = c->supervisor0_waits_for;

	if (!other || (!c->supervisor0_waits_long && s->app->guard != GUARD_OPEN))
		return OUT_READY; /* also: its own locks are what the others wait for */
	return wait_here(s, c->supervisor0_waits_long ? OUT_LONG : OUT_SHORT,
			 mem_printf("network " SUPERVISOR_NETWORK " is made anew once app %lld may be stopped as well",
				    (long long)other->id));
}

/* Nothing is stopped that could not come up again at once. */
static enum plan_outcome evaluate_stop(const struct plan_ctx *c, struct plan_service *s)
{
	if (s->work == WORK_REPLACE) {
		if (s->making)
			return wait_resource(c, s, s->making);
		if (fails(s->remaking))
			return wait_resource(c, s, s->remaking);
		if (s->stuck_on)
			return wait_here(s, OUT_LONG,
					 mem_printf("depends on %s, which cannot start now", s->stuck_on->name));
	}
	if (s->stop_after)
		return wait_here(s, OUT_SHORT, mem_printf("stops after %s, which depends on it", s->stop_after->name));
	return s->doomed && !s->doomed->app ? evaluate_supervisor0(c, s) : OUT_READY;
}

static enum plan_outcome evaluate_create(const struct plan_ctx *c, struct plan_service *s)
{
	bool first_install = !s->app->n_containers && !s->removed;

	if (!s->image || (first_install && s->app->n_missing))
		return OUT_LONG; /* its app says that it is pulling */
	if (s->making || s->remaking)
		return wait_resource(c, s, s->making ? s->making : s->remaking);
	if (first_install && s->app->n_making)
		return wait_here(s, OUT_SHORT, mem_strdup("networks and volumes of the app are made first"));
	s->slot_free = first_install;
	return OUT_READY;
}

static enum plan_outcome evaluate_step(const struct plan_ctx *c, struct plan_service *s)
{
	switch (s->next) {
	case STEP_STOP:
		return s->n_containers > 1 && s->on != s->current ? OUT_READY : evaluate_stop(c, s);
	case STEP_REMOVE:
		return s->work == WORK_REPLACE && s->on == s->current && !s->image ? OUT_LONG : OUT_READY;
	case STEP_CREATE:
		return evaluate_create(c, s);
	case STEP_START:
		if (!s->start_after)
			return OUT_READY;
		return wait_here(s, s->stuck_on ? OUT_LONG : OUT_SHORT,
				 mem_printf("starts after %s", (s->stuck_on ? s->stuck_on : s->start_after)->name));
	default:
		return OUT_READY;
	}
}

static enum plan_outcome evaluate(const struct plan_ctx *c, struct plan_service *s)
{
	enum plan_guard guard = s->guarded ? s->app->guard : GUARD_OPEN;
	enum plan_outcome outcome;

	if (s->flight)
		return OUT_FLIGHT;
	if (s->work == WORK_WAIT)
		return s->wait_until ? OUT_SHORT : OUT_LONG;
	if (s->next == STEP_KIND_COUNT)
		return OUT_NONE;
	if (s->failure) {
		s->wait = WAIT_BACKOFF;
		return OUT_LONG;
	}
	s->app->want_lock_wait |= guard == GUARD_LOCKED;
	s->app->want_lock_backoff |= guard == GUARD_BACKOFF;
	if (guard == GUARD_LOCKED || guard == GUARD_BACKOFF || guard == GUARD_PULLING)
		return OUT_LONG;
	outcome = evaluate_step(c, s);
	if (outcome != OUT_READY || guard == GUARD_OPEN)
		return outcome;
	return guard == GUARD_TAKING ? OUT_SHORT : OUT_READY_LOCK;
}

void plan_units_evaluate(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_services; i++)
		c->services[i].outcome = evaluate(c, &c->services[i]);
}
