/*
 * Taking and giving back. The files are made one by one in a fixed order; the first one in the way undoes those made by
 * this very call, each only while it is still the file we made. Between the calls nothing is assumed: a name counts as
 * ours when it says so on disk, also after a kill in the middle.
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
struct taking {
	struct lock_app *app;
	bool force;
	bool quick; /* by the directories that are watched; the slots are as the last event found them */
	unsigned break_budget;
	struct made *made;
	size_t n_made;
};

/* Every directory declared is there and has been read just now. */
static int dirs_ready(struct lock_app *a, struct err *err)
{
	AUTO_CLOSE int app_fd = -1;
	int rc = a->declared.n ? lock_dir_ensure(a->set->root_fd, a->name, 0755, true, &app_fd) : 0;

	for (size_t i = 0; i < a->n_dirs && rc == 0; i++) {
		struct lock_dir *d = a->dirs[i];
		AUTO_CLOSE int fd = -1;

		if (d->declared)
			rc = lock_dir_ensure(app_fd, d->service, d->place->dir_mode, true, &fd);
		if (rc < 0) {
			lock_dir_refresh(d, app_fd); /* keeps the sentence for the views */
			errno = -rc;
			return err_sys(err, "make lock directory %s/%s/%s", a->set->lock_root, a->name, d->service);
		}
	}
	if (rc < 0) {
		errno = -rc;
		return err_sys(err, "make lock directory %s/%s", a->set->lock_root, a->name);
	}
	lock_app_refresh(a);
	return 0;
}

/* What is in the way goes, and is told. 1: not all of it yet. */
static int slot_break(struct taking *t, struct lock_dir *d, size_t i, int fd, struct err *err)
{
	int rc = lock_entry_break(fd, d->place->names[i], &t->break_budget, err);

	if (rc < 0)
		return err_wrap(err, "break lock %s", d->slots[i].path);
	if (rc == 1) {
		t->app->set->dirty = true; /* so that somebody asks again */
		return 1;
	}
	lock_event_slot(d, i, LOCK_EVENT_OVERRIDDEN);
	lock_slot_set(d, i, &(struct lock_entry){0});
	return 0;
}

static int slot_take(struct taking *t, struct lock_dir *d, size_t i, int fd, struct err *err)
{
	struct lock_set *s = t->app->set;
	struct lock_slot *slot = &d->slots[i];
	struct made *made = &t->made[t->n_made];
	int rc;

	if (t->quick && slot->e.exists) /* a name believed free needs no look: making it is exclusive */
		lock_slot_read(d, i, fd);
	for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
		if (slot->e.exists && slot->e.ours)
			return 0;
		if (slot->e.exists) {
			rc = t->force ? slot_break(t, d, i, fd, err) : 1;
			if (rc)
				return rc;
		}
		*made = (struct made){.dir = d, .slot = i};
		rc = lock_spares_make(s, fd, d->place->names[i], &made->e, err);
		if (rc == 0) {
			t->n_made++;
			return 0;
		}
		if (rc != -EEXIST)
			return err_wrap(err, "make update lock %s", slot->path);
		*err = (struct err){0};
		lock_slot_read(d, i, fd);
	}
	return 1;
}

/* -ESTALE, in a quick take only: this directory is not as it was, or its mode needs repair. */
static int dir_enter(const struct taking *t, const struct lock_dir *d, int *out)
{
	unsigned mode;

	if (!t->quick)
		return lock_dir_open(d, out);
	if (d->problem || lock_dir_open_watched(d, &mode, out) < 0)
		return -ESTALE;
	return mode == d->place->dir_mode ? 0 : -ESTALE;
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
		if (rc < 0) {
			errno = -rc;
			return err_sys(err, "open lock directory %s/%s/%s", t->app->set->lock_root, t->app->name,
				       d->service);
		}
		for (size_t i = 0; d->place->names[i] && rc == 0; i++)
			rc = slot_take(t, d, i, fd, err);
	}
	return rc;
}

static void commit(struct taking *t)
{
	for (size_t n = 0; n < t->n_made; n++) {
		lock_slot_set(t->made[n].dir, t->made[n].slot, &t->made[n].e);
		lock_event_slot(t->made[n].dir, t->made[n].slot, LOCK_EVENT_TAKEN);
	}
	t->app->holding = true;
	t->app->leftover = false;
	t->app->set->views_stale = true;
}

static void roll_back(struct taking *t)
{
	while (t->n_made) {
		struct made *m = &t->made[--t->n_made];
		AUTO_CLOSE int fd = -1;

		if (lock_dir_open(m->dir, &fd) == 0 &&
		    lock_entry_remove(fd, m->dir->place->names[m->slot], &m->e) < 0) {
			lock_slot_set(m->dir, m->slot, &m->e);
			t->app->holding = true; /* ours is there: the planner must know, to have it released */
		}
	}
}

/*
 * First the quick way: no look at anything beforehand, so only while no lock is known that would be in the way or be
 * broken. Where something turns out not to be as it was, the long way begins from nothing.
 */
static int all_take(struct taking *t, struct err *err)
{
	struct lock_app *a = t->app;
	int rc = -ESTALE;

	if (a->problem)
		return err_set(err, -EINVAL, "%s", a->problem);
	t->quick = !t->force && !a->n_foreign;
	if (t->quick)
		rc = names_take(t, err);
	if (rc != -ESTALE)
		return rc;
	roll_back(t);
	t->quick = false;
	*err = (struct err){0};
	rc = dirs_ready(a, err);
	if (rc == 0)
		rc = !t->force && a->n_foreign ? 1 : names_take(t, err);
	return rc;
}

int lock_take(struct lock_set *s, int64_t app_id, bool force, struct err *err)
{
	struct taking t = {.force = force, .break_budget = BREAK_ENTRIES_MAX};
	struct lock_app *a;
	int rc;

	if (app_id < 0)
		return err_set(err, -EINVAL, "app %lld: no name for a lock directory", (long long)app_id);
	t.app = a = lock_app_get(s, app_id);
	t.made = mem_new(a->n_dirs * LOCK_NAMES_MAX + 1, sizeof(t.made[0]));
	rc = all_take(&t, err);
	if (rc == 0)
		commit(&t);
	else
		roll_back(&t);
	free(t.made);
	lock_app_recount(a);
	if (rc != 0)
		lock_app_trim(a); /* may free it */
	lock_set_settle(s);
	return rc;
}

static void slot_release(struct lock_dir *d, size_t i, int fd)
{
	struct lock_slot *slot = &d->slots[i];
	struct lock_set *s = d->app->set;
	char *told = NULL;
	int rc;

	lock_slot_read(d, i, fd); /* somebody may have replaced it: then this tells, and it stays */
	if (!slot->e.exists || !slot->e.ours)
		return;
	rc = lock_entry_remove(fd, d->place->names[i], &slot->e);
	if (rc < 0) {
		lock_problem(s, d->app, d, &told, strerror(-rc));
		free(told);
	} else if (rc == 0) {
		lock_event_slot(d, i,
				str_eq(slot->e.nonce, s->nonce) ? LOCK_EVENT_RELEASED : LOCK_EVENT_LEFTOVER_REMOVED);
		lock_slot_set(d, i, &(struct lock_entry){0});
	}
}

void lock_release(struct lock_set *s, int64_t app_id)
{
	struct lock_app *a = lock_app_find(s, app_id);

	if (!a || (!a->holding && !a->n_ours))
		return;
	for (size_t n = 0; n < a->n_dirs; n++) {
		AUTO_CLOSE int fd = -1;

		if (lock_dir_open(a->dirs[n], &fd) < 0) { /* it went, and all in it */
			lock_dir_refresh(a->dirs[n], -1);
			continue;
		}
		for (size_t i = 0; a->dirs[n]->place->names[i]; i++)
			slot_release(a->dirs[n], i, fd);
	}
	a->holding = a->leftover = false;
	s->views_stale = true;
	lock_app_recount(a);
	lock_app_trim(a); /* may free it */
	lock_set_settle(s);
}
