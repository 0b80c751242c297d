/*
 * The tree of apps and directories: finding, making and forgetting its parts. Apps are sorted by id, the directories of
 * an app in the order of taking, so that two takes never meet crosswise and the views come out sorted.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

/* -------- apps -------- */

/* Index of the first app with an id of at least `id`. */
static size_t app_position(const struct lock_set *s, int64_t id)
{
	size_t low = 0, high = s->n_apps;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->apps[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct lock_app *lock_app_find(const struct lock_set *s, int64_t id)
{
	size_t i = app_position(s, id);

	return i < s->n_apps && s->apps[i]->id == id ? s->apps[i] : NULL;
}

struct lock_app *lock_app_get(struct lock_set *s, int64_t id)
{
	size_t i = app_position(s, id);
	struct lock_app *a;

	if (i < s->n_apps && s->apps[i]->id == id)
		return s->apps[i];
	a = mem_new(1, sizeof(*a));
	a->set = s;
	a->id = id;
	snprintf(a->name, sizeof(a->name), "%lld", (long long)id);
	mem_reserve(&s->apps, &s->apps_capacity, s->n_apps + 1, sizeof(s->apps[0]));
	memmove(&s->apps[i + 1], &s->apps[i], (s->n_apps - i) * sizeof(s->apps[0]));
	s->apps[i] = a;
	s->n_apps++;
	s->views_stale = true;
	return a;
}

/* -------- directories -------- */

static int compare(const struct lock_dir *d, const struct lock_base *base, const char *service)
{
	if (d->base != base) /* the bases are an array in the order of taking, and come first */
		return !base || (d->base && d->base < base) ? -1 : 1;
	return base || !service ? 0 : strcmp(d->service, service);
}

static size_t dir_position(const struct lock_app *a, const struct lock_base *base, const char *service)
{
	size_t low = 0, high = a->n_dirs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare(a->dirs[mid], base, service) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct lock_dir *dir_find(const struct lock_app *a, const struct lock_base *base, const char *service)
{
	size_t i = dir_position(a, base, service);

	return i < a->n_dirs && compare(a->dirs[i], base, service) == 0 ? a->dirs[i] : NULL;
}

static struct lock_dir *dir_get(struct lock_app *a, struct lock_base *base, const char *service)
{
	size_t i = dir_position(a, base, service);
	AUTO_FREE char *path = NULL;
	struct lock_dir *d;

	if (i < a->n_dirs && compare(a->dirs[i], base, service) == 0)
		return a->dirs[i];
	d = mem_new(1, sizeof(*d));
	d->app = a;
	d->base = base;
	d->place = base ? base->place : &lock_place_service;
	d->service = mem_strdup(service);
	d->below = base ? mem_strdup(a->name) : mem_printf("%s/%s", a->name, service);
	path = lock_dir_path(d);
	for (size_t n = 0; d->place->names[n]; n++)
		d->slots[n].path = mem_printf("%s/%s", path, d->place->names[n]);
	mem_reserve(&a->dirs, &a->dirs_capacity, a->n_dirs + 1, sizeof(a->dirs[0]));
	memmove(&a->dirs[i + 1], &a->dirs[i], (a->n_dirs - i) * sizeof(a->dirs[0]));
	a->dirs[i] = d;
	a->n_dirs++;
	return d;
}

struct lock_dir *lock_dir_find(const struct lock_app *a, const char *service)
{
	return dir_find(a, NULL, service);
}

struct lock_dir *lock_dir_get(struct lock_app *a, const char *service)
{
	return dir_get(a, NULL, service);
}

struct lock_dir *lock_dir_find_in(const struct lock_app *a, const struct lock_base *b)
{
	return dir_find(a, b, NULL);
}

struct lock_dir *lock_dir_get_in(struct lock_app *a, struct lock_base *b)
{
	return dir_get(a, b, NULL);
}

int lock_dir_root(const struct lock_dir *d)
{
	return d->base ? d->base->fd : d->app->set->root_fd;
}

char *lock_dir_path(const struct lock_dir *d)
{
	return mem_printf("%s/%s", d->base ? d->base->path : d->app->set->lock_root, d->below);
}

static void dir_free(struct lock_dir *d)
{
	lock_watch_drop(&d->watch);
	for (size_t i = 0; i < LOCK_NAMES_MAX; i++) {
		free(d->slots[i].path);
		lock_holder_deinit(&d->slots[i].holder);
	}
	free(d->service);
	free(d->below);
	free(d->problem);
	free(d);
}

void lock_app_free(struct lock_app *a)
{
	for (size_t i = 0; i < a->n_dirs; i++)
		dir_free(a->dirs[i]);
	lock_watch_drop(&a->watch);
	strv_deinit(&a->declared);
	free(a->dirs);
	free(a->problem);
	free(a->dir_problem);
	free(a);
}

/* -------- forgetting and counting -------- */

static bool dir_has_ours(const struct lock_dir *d)
{
	for (size_t i = 0; d->place->names[i]; i++)
		if (d->slots[i].e.exists && d->slots[i].e.ours)
			return true;
	return false;
}

/* What is told once must be remembered. */
static bool dir_is_kept(const struct lock_dir *d)
{
	return d->declared || dir_has_ours(d) || (d->base && d->problem);
}

static bool app_is_kept(const struct lock_app *a)
{
	for (size_t i = 0; i < a->n_dirs; i++)
		if (a->dirs[i]->place->makes_known || dir_has_ours(a->dirs[i]))
			return true;
	return a->declared.n || a->holding;
}

void lock_app_trim(struct lock_app *a)
{
	struct lock_set *s = a->set;
	AUTO_CLOSE int app_fd = -1;
	size_t kept = 0, before = a->n_dirs, i;

	if (s->taking)
		return;
	app_fd = lock_app_open(a);
	for (i = 0; i < before; i++) {
		struct lock_dir *d = a->dirs[i];

		if (dir_is_kept(d)) {
			a->dirs[kept++] = d;
			continue;
		}
		if (app_fd >= 0 && d->service)
			unlinkat(app_fd, d->service, AT_REMOVEDIR); /* only an empty one can go: no error */
		dir_free(d);
	}
	a->n_dirs = kept;
	s->views_stale = true;
	lock_app_recount(a);
	if (kept < before && !a->n_ours && !a->declared.n) /* leftovers that somebody removed */
		a->holding = a->leftover = a->for_all = false;
	if (app_is_kept(a))
		return;
	unlinkat(s->root_fd, a->name, AT_REMOVEDIR);
	i = app_position(s, a->id);
	memmove(&s->apps[i], &s->apps[i + 1], (s->n_apps - i - 1) * sizeof(s->apps[0]));
	s->n_apps--;
	lock_app_free(a);
}

static void recount_slot(struct lock_app *a, const struct lock_dir *d, size_t i, struct lock_slot *slot)
{
	bool ours = slot->e.exists && slot->e.ours, foreign = slot->e.exists && !ours;
	enum lock_lapse lapse = foreign ? lock_slot_lapse(d, i) : LOCK_COUNTS;

	a->n_ours += ours;
	a->n_foreign += foreign;
	a->n_blocking += foreign && lapse == LOCK_COUNTS;
	a->n_wanted_missing += d->declared && !ours;
	if (slot->lapse != lapse) {
		a->set->views_stale = true;
		a->set->dirty |= lapse != LOCK_COUNTS;
		slot->lapse = lapse;
	}
	if (foreign && lapse == LOCK_COUNTS) {
		int64_t at_ms = lock_slot_lapses_at(d, i);

		if (at_ms && (!a->age_at_ms || at_ms < a->age_at_ms))
			a->age_at_ms = at_ms;
	}
}

void lock_app_recount(struct lock_app *a)
{
	a->n_foreign = a->n_blocking = a->n_ours = a->n_wanted_missing = a->n_unsure = 0;
	a->n_refused = a->watch.refused;
	a->age_at_ms = 0;
	for (size_t i = 0; i < a->n_dirs; i++) {
		struct lock_dir *d = a->dirs[i];

		a->n_refused += d->watch.refused;
		a->n_unsure += d->unsure;
		for (size_t n = 0; d->place->names[n]; n++)
			recount_slot(a, d, n, &d->slots[n]);
	}
}
