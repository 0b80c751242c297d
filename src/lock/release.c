/*
 * Giving back. Only what is ours on disk at this moment is removed, and what could not be looked at is kept as ours:
 * a lock forgotten here would hold back its application until the next start.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

static int slot_release(struct lock_dir *d, size_t i, int fd, struct err *err)
{
	struct lock_slot *slot = &d->slots[i];
	int rc = lock_slot_read(d, i, fd); /* somebody may have replaced it: then this tells, and it stays */

	if (!slot->e.exists || !slot->e.ours)
		return 0;
	if (rc == 0)
		rc = lock_entry_remove(fd, d->place->names[i], &slot->e);
	if (rc < 0) {
		errno = -rc;
		return err_sys(err, "remove update lock %s", slot->path);
	}
	if (rc == 0) {
		lock_event_slot(d, i,
				str_eq(slot->e.nonce, d->app->set->nonce) ? LOCK_EVENT_RELEASED
									  : LOCK_EVENT_LEFTOVER_REMOVED,
				NULL);
		lock_slot_set(d, i, &(struct lock_entry){0});
	}
	return 0;
}

static bool has_ours(const struct lock_dir *d)
{
	for (size_t i = 0; d->place->names[i]; i++)
		if (d->slots[i].e.exists && d->slots[i].e.ours)
			return true;
	return false;
}

static int dir_release(struct lock_dir *d, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int rc = lock_dir_open(d, &fd);

	if (rc == -ENOENT || rc == -ENOTDIR) { /* it went, and all in it */
		lock_dir_refresh(d, rc);
		return 0;
	}
	if (rc < 0 && has_ours(d)) {
		AUTO_FREE char *path = lock_dir_path(d);

		errno = -rc;
		return err_sys(err, "open lock directory %s", path);
	}
	for (size_t i = 0; rc >= 0 && d->place->names[i]; i++)
		if (slot_release(d, i, fd, err) < 0)
			return err->code;
	return 0;
}

/* `a` may be gone after. */
static int app_release(struct lock_app *a, struct err *err)
{
	struct err first = {0};

	for (size_t n = 0; n < a->n_dirs; n++) { /* one that fails does not keep the others */
		struct err e = {0};

		if (dir_release(a->dirs[n], &e) < 0 && !first.code)
			first = e;
	}
	a->set->views_stale = true;
	if (!first.code)
		a->holding = a->leftover = a->for_all = false;
	lock_app_recount(a);
	lock_app_trim(a);
	if (first.code)
		*err = first;
	return first.code;
}

int lock_release(struct lock_set *s, int64_t app_id, struct err *err)
{
	struct lock_app *a = lock_app_find(s, app_id);
	int rc;

	if (!a || (!a->holding && !a->n_ours))
		return 0;
	rc = app_release(a, err);
	lock_set_settle(s);
	return rc;
}

int lock_release_all(struct lock_set *s, struct err *err)
{
	int rc = 0;

	for (size_t i = s->n_apps; i-- > 0;) {
		struct err e = {0};

		if (s->apps[i]->for_all && app_release(s->apps[i], &e) < 0) {
			*err = e;
			rc = e.code;
		}
	}
	lock_set_settle(s);
	return rc;
}
