/*
 * What the rest of the program sees of the locks: flat values, made from the tree when somebody looks and something has
 * changed since. Strings are borrowed from the tree; nothing is read from disk for it.
 */
#include "lock/set.h"
#include "util/mem.h"

static enum lock_app_state app_state(const struct lock_app *a)
{
	if (!a->holding ||
	    (!a->n_ours && a->n_dirs && !a->declared.n)) /* the latter: leftovers that somebody removed */
		return LOCK_FREE;
	return a->n_wanted_missing ? LOCK_LOST : LOCK_HELD;
}

static void views_add_dir(struct lock_views *v, const struct lock_dir *d)
{
	for (size_t i = 0; d->place->names[i]; i++) {
		const struct lock_slot *slot = &d->slots[i];

		if (slot->e.exists)
			v->v[v->n++] = (struct lock_view){
				.app_id = d->app->id,
				.service = d->service,
				.path = slot->path,
				.kind = slot->e.kind,
				.ours = slot->e.ours,
				.uid = slot->e.uid,
				.since_ms = slot->since_ms,
				.observed_ms = slot->observed_ms,
			};
	}
}

static const char *app_problem(const struct lock_app *a)
{
	const char *problem = a->problem;

	for (size_t i = 0; i < a->n_dirs && !problem; i++)
		problem = a->dirs[i]->problem;
	return problem;
}

const struct lock_views *lock_set_views(struct lock_set *s)
{
	struct lock_views *v = &s->views;

	if (!s->views_stale)
		return v;
	s->views_stale = false;
	v->n = v->n_apps = 0;
	mem_reserve(&v->apps, &s->views_apps_capacity, s->n_apps, sizeof(v->apps[0]));
	for (size_t i = 0; i < s->n_apps; i++) {
		const struct lock_app *a = s->apps[i];

		mem_reserve(&v->v, &s->views_capacity, v->n + a->n_dirs * LOCK_NAMES_MAX, sizeof(v->v[0]));
		for (size_t n = 0; n < a->n_dirs; n++)
			views_add_dir(v, a->dirs[n]);
		v->apps[v->n_apps++] = (struct lock_app_view){
			.app_id = a->id,
			.state = app_state(a),
			.leftover = a->leftover,
			.blocked = a->n_foreign > 0,
			.problem = app_problem(a),
		};
	}
	return v;
}
