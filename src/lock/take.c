/*
 * Taking. The files are made one by one in a fixed order; the first one in the way undoes those made by this very call,
 * each only while it is still the file we made. Between the calls nothing is assumed: a name counts as ours when it
 * says so on disk, also after a kill in the middle.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

#define ATTEMPTS_MAX      8    /* an application may take and release while we try */
#define BREAK_ENTRIES_MAX 2000 /* of a lock directory broken by force, in one call: some 5 ms */

struct made { /* one lock made by this call */
	struct lock_dir *dir;
	size_t slot;
	struct lock_entry e;
};
struct taking { /* the locks of one app, or of all */
	struct lock_set *set;
	struct lock_app *app; /* whose turn it is */
	enum lock_force force;
	bool quick; /* by the directories that are watched; the slots are as the last event found them */
	unsigned break_budget;
	struct made *made;
	size_t n_made, made_capacity;
};

static int cannot(struct err *err, const char *what, const struct lock_dir *d, int rc)
{
	AUTO_FREE char *path = lock_dir_path(d);

	errno = -rc;
	return err_sys(err, "%s lock directory %s", what, path);
}

/* Every directory declared is there and has been read just now. */
static int dirs_ready(struct lock_app *a, struct err *err)
{
	AUTO_CLOSE int app_fd = -1;
	int rc = a->declared.n ? lock_dir_ensure(a->set->root_fd, a->name, 0755, true, &app_fd) : 0;

	if (rc < 0) {
		lock_app_refresh(a); /* keeps the sentence for the views */
		errno = -rc;
		return err_sys(err, "make lock directory %s/%s", a->set->lock_root, a->name);
	}
	for (size_t i = 0; i < a->n_dirs; i++) {
		struct lock_dir *d = a->dirs[i];
		AUTO_CLOSE int fd = -1;

		if (!d->declared || d->base)
			continue;
		rc = lock_dir_ensure(app_fd, d->service, d->place->dir_mode, true, &fd);
		if (rc < 0) {
			lock_dir_refresh(d, app_fd);
			return cannot(err, "make", d, rc);
		}
	}
	lock_bases_look(a->set);
	lock_app_refresh(a);
	return 0;
}

static const char *force_name(enum lock_force force)
{
	return force == LOCK_FORCE_CONFIG ? "config" : force == LOCK_FORCE_API ? "api" : NULL;
}

/*
 * May what is in the way go? Then it goes, and that is told. It is judged by what is there at this moment: another lock
 * than the one whose time was over is judged anew. 1: it stays, or not all of it is gone yet.
 */
static int slot_clear(struct taking *t, struct lock_dir *d, size_t i, int fd, struct err *err)
{
	struct lock_slot *slot = &d->slots[i];
	enum lock_lapse lapse;
	int rc = lock_slot_read(d, i, fd);

	if (rc < 0) {
		errno = -rc;
		return err_sys(err, "look at lock %s", slot->path);
	}
	if (!slot->e.exists || slot->e.ours)
		return 0;
	lapse = lock_slot_lapse(d, i);
	if (lapse == LOCK_COUNTS && !t->force)
		return 1;
	rc = lock_entry_break(fd, d->place->names[i], &t->break_budget, err);
	if (rc < 0)
		return err_wrap(err, "break lock %s", slot->path);
	if (rc == 1) {
		slot->breaking = lapse;
		t->set->dirty = true; /* so that somebody asks again */
		return 1;
	}
	lock_event_slot(d, i, LOCK_EVENT_OVERRIDDEN,
			lapse == LOCK_COUNTS ? force_name(t->force) : lock_lapse_name(lapse));
	lock_slot_set(d, i, &(struct lock_entry){0});
	return 0;
}

static int slot_make(struct taking *t, struct lock_dir *d, size_t i, int fd, struct err *err)
{
	struct made made = {.dir = d, .slot = i};
	int rc = lock_spares_make(d, fd, d->place->names[i], &made.e, err);

	if (rc < 0)
		return rc == -EEXIST ? rc : err_wrap(err, "make update lock %s", d->slots[i].path);
	mem_reserve(&t->made, &t->made_capacity, t->n_made + 1, sizeof(t->made[0]));
	t->made[t->n_made++] = made;
	return 0;
}

static int slot_take(struct taking *t, struct lock_dir *d, size_t i, int fd, struct err *err)
{
	struct lock_slot *slot = &d->slots[i];
	int rc = 0;

	if (t->quick && slot->e.exists) /* a name believed free needs no look: making it is exclusive */
		rc = lock_slot_read(d, i, fd);
	for (int attempt = 0; attempt < ATTEMPTS_MAX && rc == 0; attempt++) {
		if (slot->e.exists && slot->e.ours)
			return 0;
		if (slot->e.exists) {
			rc = slot_clear(t, d, i, fd, err);
			if (rc)
				return rc;
		}
		rc = slot_make(t, d, i, fd, err);
		if (rc != -EEXIST)
			return rc;
		*err = (struct err){0};
		rc = lock_slot_read(d, i, fd);
	}
	if (rc == 0)
		return 1;
	errno = -rc;
	return err_sys(err, "look at lock %s", slot->path);
}

/* -ESTALE, in a quick take only: this directory is not as it was, or its mode needs repair. */
static int dir_enter(const struct taking *t, const struct lock_dir *d, int *out)
{
	unsigned mode;

	if (!t->quick)
		return lock_dir_open(d, out);
	if (d->problem || lock_dir_open_watched(d, &mode, out) < 0)
		return -ESTALE;
	return d->base || mode == d->place->dir_mode ? 0 : -ESTALE;
}

static int names_take(struct taking *t, struct err *err)
{
	int rc = 0;

	for (size_t n = 0; n < t->app->n_dirs && rc == 0; n++) {
		struct lock_dir *d = t->app->dirs[n];
		AUTO_CLOSE int fd = -1;

		if (!d->declared)
			continue;
		rc = dir_enter(t, d, &fd);
		if (rc == -ENOENT && d->base) { /* gone since we looked: then nothing is held there */
			lock_dir_refresh(d, -ENOENT);
			rc = 0;
			continue;
		}
		if (rc < 0)
			return cannot(err, "open", d, rc);
		for (size_t i = 0; d->place->names[i] && rc == 0; i++)
			rc = slot_take(t, d, i, fd, err);
	}
	return rc;
}

static void commit(struct taking *t)
{
	for (size_t n = 0; n < t->n_made; n++) {
		lock_slot_set(t->made[n].dir, t->made[n].slot, &t->made[n].e);
		lock_event_slot(t->made[n].dir, t->made[n].slot, LOCK_EVENT_TAKEN, NULL);
	}
	t->set->views_stale = true;
}

/* What cannot be undone is kept known: the planner must see that it is ours, to have it released. */
static void roll_back(struct taking *t, size_t to)
{
	while (t->n_made > to) {
		struct made *m = &t->made[--t->n_made];
		AUTO_CLOSE int fd = -1;
		int rc = lock_dir_open(m->dir, &fd);

		if (rc == 0)
			rc = lock_entry_remove(fd, m->dir->place->names[m->slot], &m->e);
		if (rc < 0 && rc != -ENOENT && rc != -ENOTDIR) {
			lock_slot_set(m->dir, m->slot, &m->e);
			m->dir->app->holding = true;
		}
	}
}

/*
 * First the quick way: no look at anything beforehand, so only while no lock is known that would be in the way or be
 * broken. Where something turns out not to be as it was, the long way begins from nothing.
 */
static int app_take(struct taking *t, struct err *err)
{
	struct lock_app *a = t->app;
	size_t before = t->n_made;
	int rc = -ESTALE;

	if (a->problem)
		return err_set(err, -EINVAL, "%s", a->problem);
	lock_bases_find(a); /* an app's directory that appeared in a root: its event may be unread */
	t->quick = !t->force && !a->n_foreign && !a->n_unsure;
	if (t->quick)
		rc = names_take(t, err);
	if (rc != -ESTALE)
		return rc;
	roll_back(t, before);
	t->quick = false;
	*err = (struct err){0};
	rc = dirs_ready(a, err);
	if (rc == 0)
		rc = !t->force && a->n_blocking ? 1 : names_take(t, err);
	return rc;
}

int lock_take(struct lock_set *s, int64_t app_id, enum lock_force force, struct err *err)
{
	struct taking t = {.set = s, .force = force, .break_budget = BREAK_ENTRIES_MAX};
	struct lock_app *a;
	int rc;

	if (app_id < 0)
		return err_set(err, -EINVAL, "app %lld: no name for a lock directory", (long long)app_id);
	t.app = a = lock_app_get(s, app_id);
	s->taking = true;
	rc = app_take(&t, err);
	if (rc == 0) {
		commit(&t);
		a->holding = true;
		a->leftover = a->for_all = false;
	} else {
		roll_back(&t, 0);
	}
	s->taking = false;
	free(t.made);
	lock_app_recount(a);
	if (rc != 0)
		lock_app_trim(a); /* may free it */
	lock_set_settle(s);
	return rc;
}

/* -------- of every app -------- */

static void all_commit(struct lock_set *s)
{
	for (size_t i = 0; i < s->n_apps; i++) {
		struct lock_app *a = s->apps[i];

		a->for_all |= !a->holding;
		a->holding = true;
	}
}

/* All that are known to be in the way before anything is made: while we wait, nobody is held back by us. */
static struct lock_app *all_look(struct lock_set *s)
{
	struct lock_app *blocked = NULL;

	lock_bases_look(s);
	for (size_t i = 0; i < s->n_apps; i++) {
		if (s->apps[i]->n_foreign || s->apps[i]->n_unsure)
			lock_app_refresh(s->apps[i]);
		if (s->apps[i]->n_blocking && !blocked)
			blocked = s->apps[i];
	}
	return blocked;
}

int lock_take_all(struct lock_set *s, enum lock_force force, int64_t *blocked_app, struct err *err)
{
	struct taking t = {.set = s, .force = force, .break_budget = BREAK_ENTRIES_MAX};
	int rc;

	s->taking = true;
	t.app = all_look(s);
	rc = t.app && !force ? 1 : 0;
	for (size_t i = 0; i < s->n_apps && rc == 0; i++) {
		t.app = s->apps[i];
		rc = app_take(&t, err);
	}
	if (rc == 0) {
		commit(&t);
		all_commit(s);
	} else {
		roll_back(&t, 0);
	}
	s->taking = false;
	free(t.made);
	if (rc != 0 && blocked_app)
		*blocked_app = t.app->id;
	if (rc < 0)
		err_wrap(err, "app %lld", (long long)t.app->id);
	for (size_t i = s->n_apps; i-- > 0;) {
		lock_app_recount(s->apps[i]);
		if (rc != 0)
			lock_app_trim(s->apps[i]);
	}
	lock_set_settle(s);
	return rc;
}
