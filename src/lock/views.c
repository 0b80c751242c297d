/*
 * What the rest of the program sees of the locks: flat values, made from the tree when somebody looks and something has
 * changed since. Strings are borrowed from the tree; nothing is read from disk for it.
 */
#include <string.h>

#include "lock/set.h"
#include "util/mem.h"

static enum lock_app_state app_state(const struct lock_app *a)
{
	bool removed = a->leftover && !a->n_ours && !a->n_wanted_missing; /* what was adopted, by somebody else */

	if (!a->holding && a->n_ours) /* back in sight (a directory moved away and back): to be released */
		return LOCK_LOST;
	if (!a->holding || removed)
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
				.counts = !slot->e.ours && slot->lapse == LOCK_COUNTS,
				.uid = slot->e.uid,
				.since_ms = slot->since_ms,
				.observed_ms = slot->observed_ms,
				.pid = slot->holder.pid,
				.command = slot->holder.command,
				.container_id = slot->holder.container_id,
				.reason = slot->holder.reason,
				.stale = slot->holder.stale,
			};
	}
}

static const char *app_problem(const struct lock_app *a)
{
	const char *problem = a->problem;

	problem = problem ? problem : a->dir_problem;
	for (size_t i = 0; i < a->n_dirs && !problem; i++)
		if (a->dirs[i]->declared) /* else nothing is wanted there */
			problem = a->dirs[i]->problem;
	return problem;
}

static bool app_is_legacy(const struct lock_app *a)
{
	for (size_t i = 0; i < a->n_dirs; i++)
		if (a->dirs[i]->base && a->dirs[i]->declared)
			return true;
	return false;
}

/* The views are sorted by path, the directories of a whole app by place. */
static void sort_whole(struct lock_view *v, size_t n)
{
	if (n >= 2 && !v[1].service && strcmp(v[0].path, v[1].path) > 0) {
		struct lock_view first = v[0];

		v[0] = v[1];
		v[1] = first;
	}
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
		size_t first;

		mem_reserve(&v->v, &s->views_capacity, v->n + a->n_dirs * LOCK_NAMES_MAX, sizeof(v->v[0]));
		first = v->n;
		for (size_t n = 0; n < a->n_dirs; n++)
			views_add_dir(v, a->dirs[n]);
		if (v->n > first)
			sort_whole(v->v + first, v->n - first);
		v->apps[v->n_apps++] = (struct lock_app_view){
			.app_id = a->id,
			.state = app_state(a),
			.leftover = a->leftover,
			.blocked = a->n_blocking > 0,
			.legacy = app_is_legacy(a),
			.problem = app_problem(a),
		};
	}
	return v;
}
