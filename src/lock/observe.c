/*
 * From disk into the slots. The rule of the whole folder: an event of the kernel, a timer and a call all end here, in
 * reading the one or two names of a directory again, and only a difference to what we knew is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

void lock_event_slot(struct lock_dir *d, size_t i, enum lock_event_kind kind, const char *by)
{
	struct lock_set *s = d->app->set;
	const struct lock_slot *slot = &d->slots[i];

	s->event(s->ctx, &(struct lock_event){
				 .kind = kind,
				 .app_id = d->app->id,
				 .service = d->service,
				 .path = slot->path,
				 .lock_kind = slot->e.kind,
				 .uid = slot->e.uid,
				 .since_ms = slot->since_ms,
				 .held_ms = loop_now_ms(s->loop) - slot->observed_ms,
				 .by = by,
				 .pid = slot->holder.pid,
				 .command = slot->holder.command,
				 .reason = slot->holder.reason,
			 });
}

/* Keeps the sentence, and tells a new one: it concerns `path` on the host. */
static void problem_note(struct lock_set *s, const char *path, const struct lock_app *a, const struct lock_dir *d,
			 char **problem, const char *sentence)
{
	if (str_eq(*problem, sentence))
		return;
	free(*problem);
	*problem = mem_strdup(sentence);
	s->views_stale = s->dirty = true;
	if (!sentence)
		return;
	s->event(s->ctx, &(struct lock_event){
				 .kind = LOCK_EVENT_PROBLEM,
				 .app_id = a ? a->id : 0,
				 .service = d ? d->service : NULL,
				 .path = path,
				 .detail = sentence,
			 });
}

void lock_problem(struct lock_set *s, struct lock_app *a, struct lock_dir *d, char **problem, const char *sentence)
{
	AUTO_FREE char *path = NULL;

	if (str_eq(*problem, sentence))
		return;
	path = d ? lock_dir_path(d) : mem_printf("%s%s%s", s->lock_root, a ? "/" : "", a ? a->name : "");
	problem_note(s, path, a, d, problem, sentence);
}

void lock_base_problem(struct lock_base *b, const char *sentence)
{
	problem_note(b->set, b->path, NULL, NULL, &b->problem, sentence);
}

int lock_app_open(const struct lock_app *a)
{
	int fd = -1, rc = lock_dir_at(a->set->root_fd, a->name, O_PATH, &fd);

	return rc < 0 ? rc : fd;
}

int lock_dir_open_watched(const struct lock_dir *d, unsigned *mode, int *out)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (!d->watch.entry || lock_dir_at_path(lock_dir_root(d), d->below, &fd) < 0 || fstat(fd, &st) < 0 ||
	    st.st_ino != d->watch.ino || st.st_dev != d->watch.dev)
		return -ESTALE;
	*mode = st.st_mode & 07777;
	*out = fd;
	fd = -1;
	return 0;
}

/* Component by component. */
static int dir_open_slowly(const struct lock_dir *d, int app_fd, int *out)
{
	if (d->base)
		return d->base->fd < 0 ? -ENOENT : lock_dir_at(d->base->fd, d->below, O_PATH, out);
	return app_fd < 0 ? app_fd : lock_dir_at(app_fd, d->service, O_PATH, out);
}

int lock_dir_open(const struct lock_dir *d, int *out)
{
	AUTO_CLOSE int app_fd = -1;
	unsigned mode;

	if (lock_dir_open_watched(d, &mode, out) == 0)
		return 0;
	app_fd = d->base ? -ENOENT : lock_app_open(d->app);
	return dir_open_slowly(d, app_fd, out);
}

void lock_slot_set(struct lock_dir *d, size_t i, const struct lock_entry *e)
{
	struct lock_slot *slot = &d->slots[i];

	slot->e = *e;
	slot->since_ms = e->ctime_ms;
	slot->observed_ms = slot->read_ms = slot->young_ms = loop_now_ms(d->app->set->loop);
	slot->breaking = LOCK_COUNTS;
	if (!e->ours)
		slot->adopted_ino = 0;
	lock_holder_deinit(&slot->holder);
	slot->asked = false;
	slot->question = 0;
	d->app->set->views_stale = true;
}

static bool is_same_lock(const struct lock_entry *a, const struct lock_entry *b)
{
	return a->exists && b->exists && a->ino == b->ino && a->dev == b->dev && a->kind == b->kind &&
	       a->ours == b->ours;
}

static void slot_update(struct lock_dir *d, size_t i, const struct lock_entry *now)
{
	struct lock_slot *slot = &d->slots[i];
	struct lock_set *s = d->app->set;

	if (!slot->e.exists && !now->exists)
		return;
	if (is_same_lock(&slot->e, now)) { /* since stays: tools touch the lock they hold */
		s->views_stale |= slot->e.uid != now->uid;
		slot->e.uid = now->uid;
		lock_slot_renew(d, i, now);
		return;
	}
	if (slot->e.exists && slot->e.ours && !now->ours && d->app->holding)
		lock_event_slot(d, i, LOCK_EVENT_LOST, NULL);
	if (slot->e.exists && !slot->e.ours)
		lock_event_slot(d, i, LOCK_EVENT_GONE, NULL);
	lock_slot_set(d, i, now);
	s->dirty = true;
	if (now->exists && !now->ours)
		lock_event_slot(d, i, LOCK_EVENT_SEEN, NULL);
}

int lock_slot_read(struct lock_dir *d, size_t i, int dir_fd)
{
	struct lock_slot *slot = &d->slots[i];
	struct lock_entry now;
	int rc = lock_entry_read(dir_fd, d->place->names[i], &now);

	if (rc < 0 && slot->e.exists)
		return rc;
	if (slot->adopted_ino && now.reference && now.ino == slot->adopted_ino &&
	    now.ctime_ms == slot->adopted_ctime_ms)
		now.ours = true;
	if (!d->declared && !now.ours) /* a lock of others counts only where a service is declared */
		now = (struct lock_entry){0};
	slot_update(d, i, &now);
	return rc;
}

static const char *reason_unusable(int rc)
{
	return rc == -ENOTDIR ? "not a directory (a file or a symbolic link is in its place)" : strerror(-rc);
}

bool lock_dir_reread(struct lock_dir *d)
{
	AUTO_CLOSE int fd = -1;
	unsigned mode;
	int rc = 0;

	if (d->problem || lock_dir_open_watched(d, &mode, &fd) < 0)
		return false;
	for (size_t i = 0; d->place->names[i] && rc == 0; i++)
		rc = lock_slot_read(d, i, fd);
	return rc == 0;
}

void lock_dir_refresh(struct lock_dir *d, int app_fd)
{
	AUTO_CLOSE int fd = -1;
	int rc = dir_open_slowly(d, app_fd, &fd);
	bool gone = rc == -ENOENT || rc == -ENOTDIR;
	int read_rc;

	if (rc == 0) /* before reading: what happens after the look is told by the watch */
		lock_watch_arm_dir(d, fd);
	else if (gone)
		lock_watch_drop(&d->watch);
	if (d->base && d->declared == gone) {
		d->declared = !gone; /* what is not there holds back nobody, and we make nothing there */
		d->app->set->views_stale = d->app->set->dirty = true;
	}
	for (size_t i = 0; d->place->names[i]; i++) {
		if (fd < 0) {
			if (gone)
				slot_update(d, i, &(struct lock_entry){0});
			continue;
		}
		read_rc = lock_slot_read(d, i, fd);
		rc = rc ? rc : read_rc;
	}
	d->unsure = rc < 0 && !gone;
	lock_problem(d->app->set, d->app, d, &d->problem, rc == 0 || rc == -ENOENT ? NULL : reason_unusable(rc));
}

void lock_app_refresh(struct lock_app *a)
{
	AUTO_CLOSE int fd = lock_app_open(a);

	if (fd >= 0)
		lock_watch_arm_app(a, fd);
	else if (fd == -ENOENT || fd == -ENOTDIR)
		lock_watch_drop(&a->watch);
	lock_problem(a->set, a, NULL, &a->dir_problem, fd == -ENOTDIR ? reason_unusable(fd) : NULL);
	lock_bases_find(a);
	for (size_t i = 0; i < a->n_dirs; i++)
		lock_dir_refresh(a->dirs[i], fd == -ENOTDIR ? -ENOENT : fd); /* told once, for all of them */
	lock_app_recount(a);
}
