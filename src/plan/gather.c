/*
 * Apps and their services: everything the target wants beside everything that is there, each exactly once, sorted, so
 * that the passes after this one walk flat arrays and never search twice.
 */
#include "plan/internal.h"

#include <string.h>

#include "model/lock_rules.h"
#include "model/own.h"

static int compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int64_t *sorted_ids(const int64_t *ids, size_t n)
{
	int64_t *copy = mem_new(n + 1, sizeof(*copy));

	if (n)
		memcpy(copy, ids, n * sizeof(*copy));
	qsort(copy, n, sizeof(*copy), compare_ids);
	return copy;
}

static bool has_id(const int64_t *sorted, size_t n, int64_t id)
{
	return n && bsearch(&id, sorted, n, sizeof(*sorted), compare_ids);
}

static bool counts_as_ours(const struct plan_ctx *c, int64_t id)
{
	const struct device_facts *f = c->in->facts;

	return f->adopt || f->owns_all || has_id(c->owned, c->in->n_owned_apps, id) ||
	       (c->in->target && target_find_app(c->in->target, id));
}

static int compare_containers(const void *a, const void *b)
{
	const struct container *x = *(const struct container *const *)a, *y = *(const struct container *const *)b;
	int d = (x->app_id > y->app_id) - (x->app_id < y->app_id);

	if (!d)
		d = strcmp(x->service, y->service);
	if (!d)
		d = (x->created_ms < y->created_ms) - (x->created_ms > y->created_ms);
	return d ? d : strcmp(y->id, x->id);
}

static void gather_containers(struct plan_ctx *c)
{
	const struct current *now = c->in->current;

	c->containers = mem_new(now->n_containers + 1, sizeof(*c->containers));
	c->own = mem_new(now->n_containers + 1, sizeof(*c->own));
	for (size_t i = 0; i < now->n_containers; i++) {
		const struct container *k = &now->containers[i];

		if (!k->service || !k->id)
			continue;
		if (own_container(k, c->in->facts))
			c->own[c->n_own++] = k;
		else
			c->containers[c->n_containers++] = k;
	}
	qsort(c->containers, c->n_containers, sizeof(*c->containers), compare_containers);
}

/* Every app id that may matter; not sorted, not unique. */
static size_t collect_ids(const struct plan_ctx *c, int64_t *ids)
{
	const struct plan_input *in = c->in;
	const struct current *now = in->current;
	size_t n = 0;

	for (size_t i = 0; in->target && i < in->target->n_apps; i++)
		ids[n++] = in->target->apps[i].id;
	for (size_t i = 0; i < c->n_containers; i++)
		ids[n++] = c->containers[i]->app_id;
	for (size_t i = 0; i < now->n_networks; i++)
		if (now->networks[i].supervised && now->networks[i].key && now->networks[i].app_id)
			ids[n++] = now->networks[i].app_id;
	for (size_t i = 0; i < now->n_volumes; i++)
		if (now->volumes[i].supervised && now->volumes[i].key && now->volumes[i].app_id)
			ids[n++] = now->volumes[i].app_id;
	for (size_t i = 0; in->locks && i < in->locks->n_apps; i++)
		if (in->locks->apps[i].state != LOCK_FREE)
			ids[n++] = in->locks->apps[i].app_id;
	for (size_t i = 0; i < in->n_in_flight; i++)
		if (in->in_flight[i].app_id)
			ids[n++] = in->in_flight[i].app_id;
	for (size_t i = 0; i < in->n_removed;
	     i++) /* an app that is gone is told to be settled, so that notes of it end */
		ids[n++] = in->removed[i].app_id;
	for (size_t i = 0; i < in->n_forced_apps; i++)
		ids[n++] = in->forced_apps[i];
	return n;
}

static void add_foreign(struct plan_ctx *c, int64_t id)
{
	struct plan *p = c->out;

	mem_reserve(&p->foreign, &p->foreign_capacity, p->n_foreign + 1, sizeof(*p->foreign));
	p->foreign[p->n_foreign++] = id;
}

static void init_app(struct plan_ctx *c, struct plan_app *a, int64_t id, bool ours)
{
	AUTO_FREE char *unlock_subject = mem_printf("unlock %lld", (long long)id);

	*a = (struct plan_app){.id = id, .ours = ours};
	a->target = c->in->target ? target_find_app(c->in->target, id) : NULL;
	a->want = a->target && a->target->commit ? a->target : NULL;
	a->lock_subject = mem_printf("locks %lld", (long long)id);
	a->lock_flight = plan_flight(c, a->lock_subject);
	a->lock_failure = plan_backoff(c, a->lock_subject);
	a->unlock_failure = plan_backoff(c, unlock_subject);
	a->locks = c->in->locks ? lock_views_app(c->in->locks, id) : NULL;
	if (has_id(c->forced, c->in->n_forced_apps, id))
		a->forced = LOCK_FORCE_API;
	else if (c->override || target_app_overrides_locks(a->target))
		a->forced = LOCK_FORCE_CONFIG;
}

static void gather_apps(struct plan_ctx *c)
{
	const struct plan_input *in = c->in;
	size_t most = c->n_containers + in->current->n_networks + in->current->n_volumes + in->n_in_flight +
		      in->n_removed + in->n_forced_apps + (in->target ? in->target->n_apps : 0) +
		      (in->locks ? in->locks->n_apps : 0);
	AUTO_FREE int64_t *ids = mem_new(most + 1, sizeof(*ids));
	size_t n = collect_ids(c, ids), next = 0;

	qsort(ids, n, sizeof(*ids), compare_ids);
	c->apps = mem_new(n + 1, sizeof(*c->apps));
	for (size_t i = 0; i < n; i++) {
		bool ours = counts_as_ours(c, ids[i]);

		if (i && ids[i] == ids[i - 1])
			continue;
		while (next < c->n_containers && c->containers[next]->app_id < ids[i])
			next++;
		if (!ours && next < c->n_containers && c->containers[next]->app_id == ids[i])
			add_foreign(c, ids[i]);
		init_app(c, &c->apps[c->n_apps], ids[i], ours);
		if (ours || (c->apps[c->n_apps].locks && c->apps[c->n_apps].locks->state != LOCK_FREE))
			c->n_apps++;
		else
			free(c->apps[c->n_apps].lock_subject);
	}
}

static void add_service(struct plan_ctx *c, struct plan_app *a, const struct target_service *want,
			const struct container **containers, size_t n)
{
	struct plan_service *s = &c->services[c->n_services];

	s->app = a;
	s->name = want ? want->name : containers[0]->service;
	s->subject = mem_printf("service %lld/%s", (long long)a->id, s->name);
	s->want = want;
	s->containers = containers;
	s->n_containers = n;
	s->current = n ? containers[0] : NULL;
	s->flight = plan_flight(c, s->subject);
	s->failure = plan_backoff(c, s->subject);
	s->removed = plan_index_get(&c->removed, s->subject);
	s->accepted = plan_index_get(&c->accepted, s->subject);
	s->next = STEP_KIND_COUNT;
	s->unit = c->n_services++;
	s->wait = WAIT_KIND_COUNT;
	a->n_services++;
	a->n_containers += n;
}

static int compare_wanted(const void *a, const void *b)
{
	return strcmp((*(const struct target_service *const *)a)->name,
		      (*(const struct target_service *const *)b)->name);
}

/* Somebody deployed the supervisor as a service of an app: there is one already, and another would not start. */
static bool is_supervisor(const struct plan_ctx *c, int64_t app_id, const char *service)
{
	for (size_t i = 0; i < c->n_own; i++)
		if (c->own[i]->app_id == app_id && strcmp(c->own[i]->service, service) == 0)
			return true;
	return false;
}

/* Walks the wanted services and the containers of one app side by side, both sorted by name. */
static void gather_services(struct plan_ctx *c, struct plan_app *a, const struct container **first, size_t n)
{
	size_t most = a->want ? a->want->n_services : 0, n_wanted = 0, w = 0, i = 0;
	AUTO_FREE const struct target_service **wanted = mem_new(most + 1, sizeof(*wanted));

	for (size_t j = 0; j < most; j++)
		if (!is_supervisor(c, a->id, a->want->services[j].name))
			wanted[n_wanted++] = &a->want->services[j];
	qsort(wanted, n_wanted, sizeof(*wanted), compare_wanted);
	a->services = c->services + c->n_services;
	while (w < n_wanted || i < n) {
		int d = w == n_wanted ? 1 : i == n ? -1 : strcmp(wanted[w]->name, first[i]->service);
		size_t end = i;

		while (d >= 0 && end < n && strcmp(first[end]->service, first[i]->service) == 0)
			end++;
		add_service(c, a, d <= 0 ? wanted[w] : NULL, first + i, end - i);
		w += d <= 0;
		i = end;
	}
}

static void index_listed(struct plan_ctx *c, struct plan_index *x, const struct plan_removed *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *subject = mem_printf("service %lld/%s", (long long)list[i].app_id, list[i].service);

		strv_take(&c->listed_subjects, subject);
		plan_index_add(x, subject, &list[i]);
	}
	plan_index_sort(x);
}

static void index_inputs(struct plan_ctx *c)
{
	const struct plan_input *in = c->in;

	c->owned = sorted_ids(in->owned_apps, in->n_owned_apps);
	c->forced = sorted_ids(in->forced_apps, in->n_forced_apps);
	for (size_t i = 0; i < in->n_in_flight; i++)
		plan_index_add(&c->flights, in->in_flight[i].subject, &in->in_flight[i]);
	for (size_t i = 0; i < in->n_failures; i++)
		plan_index_add(&c->failures, in->failures[i].subject, &in->failures[i]);
	plan_index_sort(&c->flights);
	plan_index_sort(&c->failures);
	index_listed(c, &c->removed, in->removed, in->n_removed);
	index_listed(c, &c->accepted, in->accepted, in->n_accepted);
}

void plan_gather(struct plan_ctx *c)
{
	size_t most, next = 0;

	index_inputs(c);
	c->override = target_overrides_locks(c->in->target);
	gather_containers(c);
	gather_apps(c);
	most = c->n_containers;
	for (size_t i = 0; i < c->n_apps; i++)
		most += c->apps[i].want ? c->apps[i].want->n_services : 0;
	c->services = mem_new(most + 1, sizeof(*c->services));
	for (size_t i = 0; i < c->n_apps; i++) {
		struct plan_app *a = &c->apps[i];
		size_t end;

		while (next < c->n_containers && c->containers[next]->app_id < a->id)
			next++;
		for (end = next; end < c->n_containers && c->containers[end]->app_id == a->id;)
			end++;
		if (a->ours)
			gather_services(c, a, c->containers + next, end - next);
		a->needs_locks = a->n_containers || (a->locks && a->locks->legacy);
		for (; next < end; next++)
			a->stopping |= c->containers[next]->state == CONTAINER_RUNNING &&
				       c->containers[next]->stopping_until_ms > c->in->now_ms;
	}
	for (size_t i = 0; i < c->in->n_in_flight; i++) {
		struct plan_app *a = plan_find_app(c, c->in->in_flight[i].app_id);

		if (a && c->in->in_flight[i].kind == STEP_STOP)
			a->stopping = true;
	}
}

struct plan_app *plan_find_app(const struct plan_ctx *c, int64_t id)
{
	size_t low = 0, high = c->n_apps;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->apps[middle].id == id)
			return &c->apps[middle];
		if (c->apps[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct plan_service *plan_find_service(const struct plan_app *a, const char *name)
{
	size_t low = 0, high = a->n_services;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = strcmp(a->services[middle].name, name);

		if (d == 0)
			return &a->services[middle];
		if (d < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct plan_in_flight *plan_flight(const struct plan_ctx *c, const char *subject)
{
	return plan_index_get(&c->flights, subject);
}

const struct plan_failure *plan_backoff(const struct plan_ctx *c, const char *subject)
{
	const struct plan_failure *f = plan_index_get(&c->failures, subject);

	return f && f->retry_at_ms > c->in->now_ms ? f : NULL;
}
