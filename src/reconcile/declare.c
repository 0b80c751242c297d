/*
 * Which lock directories count: those of the services that an app has or is to have; and for how long a lock in them
 * does, by the labels of those services. Told in every round; the lock set does nothing where nothing changed.
 */
#include "reconcile/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/lock_rules.h"
#include "model/own.h"
#include "model/read.h"

struct declared { /* one service of the app */
	const char *name;
	const struct container *newest;
	bool running;
};

static void add_names(struct strv *names, const struct reconcile *r, int64_t app_id)
{
	const struct target_app *a = r->target ? target_find_app(r->target, app_id) : NULL;
	const struct current *c = &r->cache.current;

	for (size_t i = 0; a && i < a->n_services; i++)
		strv_add(names, a->services[i].name);
	for (size_t i = 0; i < c->n_containers; i++)
		if (c->containers[i].app_id == app_id && c->containers[i].service &&
		    !own_container(&c->containers[i], r->o.facts))
			strv_add(names, c->containers[i].service);
	strv_sort_unique(names);
}

void declare_app(struct reconcile *r, int64_t app_id, const struct strv *names)
{
	AUTO_FREE char *joined = strv_join(names, "/");
	const char *before;
	char key[24];

	snprintf(key, sizeof(key), "%" PRId64, app_id);
	before = strmap_get(&r->declared, key);
	if (str_eq(before ? before : "", joined))
		return;
	lock_set_services(r->o.locks, app_id, names);
	strmap_set(&r->declared, key, joined);
}

static int by_name(const void *key, const void *row)
{
	return strcmp(key, ((const struct declared *)row)->name);
}

/* What runs, service by service. Returns whether anything of the app does. */
static bool match_containers(const struct current *c, int64_t app_id, struct declared *rows, size_t n)
{
	bool any = false;

	for (size_t i = 0; i < c->n_containers; i++) {
		const struct container *k = &c->containers[i];
		struct declared *row;

		if (k->app_id != app_id || !k->service)
			continue;
		any |= k->state == CONTAINER_RUNNING;
		row = n ? bsearch(k->service, rows, n, sizeof(*rows), by_name) : NULL;
		if (!row)
			continue;
		/* between two of its crashes nobody of it can hold anything */
		row->running |= k->state == CONTAINER_RUNNING && !str_eq(k->state_text, "restarting");
		if (!row->newest || k->created_ms > row->newest->created_ms)
			row->newest = k;
	}
	return any;
}

/* As long as the engine does not tell what runs, nothing changes. */
static void declare_lifetimes(struct reconcile *r, int64_t app_id, const struct strv *names)
{
	const struct target_app *a = r->target ? target_find_app(r->target, app_id) : NULL;
	AUTO_FREE struct declared *rows = mem_new(names->n + 1, sizeof(*rows));

	if (!r->cache.current.known)
		return;
	for (size_t i = 0; i < names->n; i++)
		rows[i].name = names->v[i];
	lock_set_running(r->o.locks, app_id, match_containers(&r->cache.current, app_id, rows, names->n));
	for (size_t i = 0; i < names->n; i++) {
		const struct target_service *s = a ? target_app_find_service(a, rows[i].name) : NULL;
		struct lock_lifetime l = lock_lifetime_of(s ? &s->spec.labels : NULL,
							  rows[i].newest ? &rows[i].newest->config.labels : NULL);

		lock_set_lifetime(r->o.locks, app_id, rows[i].name, l.ignore_when_stopped && !rows[i].running,
				  l.max_age_ms);
	}
}

/* Apps that were never in a target become ours by --adopt or by the kind of device. */
static void note_adopted(struct reconcile *r)
{
	const struct current *c = &r->cache.current;

	for (size_t i = 0; (r->o.facts->adopt || r->o.facts->owns_all) && i < c->n_containers; i++)
		if (c->containers[i].service && !own_container(&c->containers[i], r->o.facts))
			ledger_note_app(r, c->containers[i].app_id);
}

void declare_locks(struct reconcile *r)
{
	note_adopted(r);
	lock_set_look(r->o.locks);
	for (size_t i = 0; i < r->ledger.n_apps; i++) {
		int64_t id = r->ledger.apps[i];
		const struct lock_app_view *locks = lock_views_app(lock_set_views(r->o.locks), id);
		struct strv names = {0};

		add_names(&names, r, id);
		if (names.n || !locks || locks->state == LOCK_FREE) { /* else it is given back first */
			declare_app(r, id, &names);
			declare_lifetimes(r, id, &names);
		}
		strv_deinit(&names);
	}
}
