/*
 * The places of a whole app: L2, where supervisors before v7.22 had their locks, and L3, where those before v4 had
 * them. We make nothing there. A directory of an app that exists counts, and one at L2 makes its app known even when no
 * container of it does. The root of such a place may be missing for good, and its parent is /tmp, which somebody writes
 * into all the time: so a missing root wakes nobody when it appears, it is looked for when there is reason to.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

const struct lock_place lock_place_service = {
	.names = {"resin-updates.lock", "updates.lock", NULL},
	.dir_mode = 01777, /* a service that is not root locks too */
	.makes_known = true,
};
const struct lock_place lock_place_legacy = {
	.names = {"resin-updates.lock", NULL},
	.makes_known = true,
};
const struct lock_place lock_place_data = {
	/* the data of an app stay when the app has gone */
	.names = {"resin-updates.lock", NULL},
	.persistent = true,
};

static void base_init(struct lock_base *b, struct lock_set *s, const struct lock_place *place, const char *path)
{
	*b = (struct lock_base){.set = s, .place = place, .path = mem_strdup(path), .fd = -1};
	for (size_t len = path ? strlen(path) : 0; len > 1 && b->path[len - 1] == '/';)
		b->path[--len] = '\0';
}

void lock_bases_init(struct lock_set *s, const struct lock_options *o)
{
	base_init(&s->bases[0], s, &lock_place_data, o->data_root);
	base_init(&s->bases[1], s, &lock_place_legacy, o->legacy_root);
}

void lock_bases_deinit(struct lock_set *s)
{
	for (size_t i = 0; i < LOCK_BASES; i++) {
		struct lock_base *b = &s->bases[i];

		lock_watch_drop(&b->watch);
		if (b->fd >= 0)
			close(b->fd);
		free(b->path);
		free(b->problem);
	}
}

static bool has_entry(const struct lock_base *b, const char *name)
{
	struct stat st;

	return b->fd >= 0 && (fstatat(b->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT);
}

/* One that nobody knew: it counts until it turns out to be no directory. */
static struct lock_dir *dir_found(struct lock_app *a, struct lock_base *b)
{
	struct lock_dir *d = lock_dir_get_in(a, b);

	d->declared = true;
	b->set->views_stale = b->set->dirty = true;
	return d;
}

void lock_bases_find(struct lock_app *a)
{
	for (size_t i = 0; i < LOCK_BASES; i++) {
		struct lock_base *b = &a->set->bases[i];

		if (!lock_dir_find_in(a, b) && has_entry(b, a->name))
			dir_found(a, b);
	}
}

/* The directory of one app in `b`: new, as it was, replaced or gone. The app may be gone after. */
static void app_check(struct lock_base *b, struct lock_app *a)
{
	struct lock_dir *d = lock_dir_find_in(a, b);

	if (!d && has_entry(b, a->name))
		d = dir_found(a, b);
	else if (!d)
		return;
	if (d->problem || !lock_watch_matches(&d->watch, b->fd, a->name)) {
		lock_dir_refresh(d, -ENOENT);
		lock_app_recount(a);
	}
	if (!d->declared)
		lock_app_trim(a);
}

static void base_check(struct lock_base *b)
{
	if (b->fd >= 0 && b->place->makes_known)
		lock_scan_base(b);
	for (size_t i = b->set->n_apps; i-- > 0;)
		app_check(b, b->set->apps[i]);
}

static bool is_same_directory(int fd, int other)
{
	struct stat a, b;

	return fd >= 0 && other >= 0 && fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

/* As it was, there or not. One that was removed has no link left: its watch is silent as long as we have it open. */
static bool is_still_there(const struct lock_base *b)
{
	struct stat st;

	if (b->path && b->fd < 0) { /* one that is missing for good costs one call */
		AUTO_FREE char *path = mem_printf("%s%s", b->set->host_root, b->path);

		return lstat(path, &st) < 0 && errno == ENOENT;
	}
	return b->fd >= 0 && b->watch.entry && fstat(b->fd, &st) == 0 && st.st_nlink > 0;
}

/* Opens the root, or finds it gone. True: it is another one than it was. */
bool lock_base_open(struct lock_base *b)
{
	struct err err = {0};
	AUTO_CLOSE int fd = -1;
	int rc, old;

	if (!b->path)
		return false;
	rc = lock_root_find(b->set->host_root, b->path, &fd, &err);
	lock_base_problem(b, rc < 0 && rc != -ENOENT ? err.msg : NULL);
	if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM) /* nothing was learnt */
		return false;
	if (is_same_directory(fd, b->fd)) {
		lock_watch_arm_base(b);
		return false;
	}
	if (rc < 0 && b->fd < 0)
		return false;
	lock_watch_drop(&b->watch);
	old = b->fd;
	b->fd = fd;
	fd = old; /* is closed */
	if (b->fd >= 0)
		lock_watch_arm_base(b);
	return true;
}

void lock_bases_look(struct lock_set *s)
{
	for (size_t i = 0; i < LOCK_BASES; i++) {
		struct lock_base *b = &s->bases[i];

		if (!is_still_there(b) && lock_base_open(b))
			base_check(b);
	}
}

void lock_set_look(struct lock_set *s)
{
	lock_bases_look(s);
	lock_set_settle(s);
}

void lock_base_on_event(void *base, unsigned events)
{
	struct lock_base *b = base;
	struct lock_set *s = b->set;

	if (events & DIRWATCH_GONE) {
		lock_watch_drop(&b->watch);
		lock_base_open(b);
	}
	base_check(b);
	lock_watch_report(s);
}
