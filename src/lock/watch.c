/*
 * Who wakes us: one watch on each directory with locks, on the directory of its app and on the lock root, so that a
 * directory which appears, goes or is replaced is noticed from above. Descriptors are closed after arming: an open one
 * would keep a removed directory alive, and its watch silent. No timer takes part in an unlock; one serves only
 * directories that the kernel would not watch, and a slow pass over apps that are blocked.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

#define POLL_MS   1000
#define SAFETY_MS 60000

void lock_watch_drop(struct lock_watch *w)
{
	dirwatch_remove(w->entry);
	*w = (struct lock_watch){0};
}

void lock_watch_report(struct lock_set *s)
{
	bool dirty = s->dirty;

	s->dirty = false;
	lock_set_settle(s);
	if (dirty)
		s->changed(s->ctx);
}

static void on_dir_event(void *ctx, unsigned events)
{
	struct lock_dir *d = ctx;
	struct lock_set *s = d->app->set;
	AUTO_CLOSE int app_fd = -1;

	if (events & DIRWATCH_GONE)
		lock_watch_drop(&d->watch);
	if (!lock_dir_reread(d)) {
		app_fd = d->base ? -ENOENT : lock_app_open(d->app);
		lock_dir_refresh(d, app_fd);
	}
	lock_app_recount(d->app);
	if (d->base && !d->declared)
		lock_app_trim(d->app); /* may free both */
	lock_watch_report(s);
}

/* What happened inside a watched directory its own watch tells. */
bool lock_watch_matches(const struct lock_watch *w, int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT && !w->entry && !w->refused;
	return w->entry && w->dev == st.st_dev && w->ino == st.st_ino;
}

static void on_app_event(void *ctx, unsigned events)
{
	struct lock_app *a = ctx;
	struct lock_set *s = a->set;
	AUTO_CLOSE int fd = -1;

	if (events & DIRWATCH_GONE)
		lock_watch_drop(&a->watch);
	fd = lock_watch_matches(&a->watch, s->root_fd, a->name) ? lock_app_open(a) : -ENOENT;
	if (fd < 0) {
		lock_app_refresh(a);
	} else {
		for (size_t i = 0; i < a->n_dirs; i++) {
			struct lock_dir *d = a->dirs[i];

			if (!d->base && (d->problem || !lock_watch_matches(&d->watch, fd, d->service)))
				lock_dir_refresh(d, fd);
		}
		lock_app_recount(a);
	}
	lock_watch_report(s);
}

static void refresh_all(struct lock_set *s)
{
	for (size_t i = 0; i < s->n_apps; i++)
		if (s->apps[i]->dir_problem || !lock_watch_matches(&s->apps[i]->watch, s->root_fd, s->apps[i]->name))
			lock_app_refresh(s->apps[i]);
}

static void on_root_event(void *ctx, unsigned events)
{
	struct lock_set *s = ctx;

	if (events & DIRWATCH_GONE)
		lock_watch_drop(&s->root_watch);
	refresh_all(s);
	lock_watch_report(s);
}

/* Somebody removed or replaced the lock root: make it anew, so that later containers and locks have their place. */
static void root_reopen(struct lock_set *s)
{
	AUTO_CLOSE int parent = -1, fd = -1, claim = -1;
	struct stat before, now;
	struct err err = {0};

	if (lock_root_open(s->host_root, s->lock_root, &parent, &fd, &err) < 0)
		goto out;
	if (fstat(fd, &now) == 0 && fstat(s->root_fd, &before) == 0 &&
	    (now.st_ino != before.st_ino || now.st_dev != before.st_dev)) {
		if (lock_root_claim(fd, s->lock_root, &claim, &err) < 0)
			goto out;
		close(s->root_fd);
		close(s->claim_fd);
		s->root_fd = fd;
		s->claim_fd = claim;
		fd = claim = -1;
		lock_watch_drop(&s->root_watch);
	}
	lock_watch_arm_root(s, parent);
out:
	lock_problem(s, NULL, NULL, &s->root_problem, err.code ? err.msg : NULL);
}

static void on_parent_event(void *ctx, unsigned events)
{
	struct lock_set *s = ctx;

	if (events & DIRWATCH_GONE)
		lock_watch_drop(&s->parent_watch);
	root_reopen(s);
	refresh_all(s);
	lock_watch_report(s);
}

/* Watch the directory open as `fd` unless that very one is watched already. */
static void arm(struct lock_set *s, struct lock_watch *w, int fd, const char *const *names, dirwatch_fn *fn, void *ctx)
{
	struct err err = {0};
	struct stat st;
	char *told = NULL;

	if (fstat(fd, &st) < 0 || (w->entry && w->dev == st.st_dev && w->ino == st.st_ino))
		return;
	lock_watch_drop(w);
	w->dev = st.st_dev;
	w->ino = st.st_ino;
	if (s->watcher && dirwatch_add(s->watcher, fd, names, false, fn, ctx, &w->entry, &err) == 0)
		return;
	w->entry = NULL;
	w->refused = true;
	if (s->watch_problem_told || !s->watcher) /* without a watcher it was told at start */
		return;
	s->watch_problem_told = true;
	lock_problem(s, NULL, NULL, &told, err.msg);
	free(told);
}

void lock_watch_arm_dir(struct lock_dir *d, int fd)
{
	arm(d->app->set, &d->watch, fd, d->place->names, on_dir_event, d);
}

void lock_watch_arm_app(struct lock_app *a, int fd)
{
	arm(a->set, &a->watch, fd, NULL, on_app_event, a);
}

void lock_watch_arm_root(struct lock_set *s, int parent_fd)
{
	const char *names[] = {strrchr(s->lock_root, '/') + 1, NULL};

	arm(s, &s->parent_watch, parent_fd, names, on_parent_event, s);
	arm(s, &s->root_watch, s->root_fd, NULL, on_root_event, s);
}

void lock_watch_arm_base(struct lock_base *b)
{
	arm(b->set, &b->watch, b->fd, NULL, lock_base_on_event, b);
}

static bool needs_poll(const struct lock_set *s, const struct lock_app *a)
{
	bool refused = a->n_refused || s->root_watch.refused || s->parent_watch.refused;

	for (size_t i = 0; i < LOCK_BASES; i++)
		refused |= s->bases[i].watch.refused;
	return a->n_unsure || (refused && (a->n_foreign || a->holding));
}

static int64_t app_delay_ms(const struct lock_set *s, const struct lock_app *a)
{
	int64_t delay_ms = needs_poll(s, a) ? POLL_MS : a->n_blocking ? SAFETY_MS : INT64_MAX, age_ms;

	if (!a->age_at_ms)
		return delay_ms;
	age_ms = a->age_at_ms - loop_now_ms(s->loop);
	return age_ms < 1 ? 1 : age_ms < delay_ms ? age_ms : delay_ms;
}

void lock_watch_timer(struct lock_set *s)
{
	int64_t delay_ms = s->root_problem && s->watcher ? SAFETY_MS : INT64_MAX, at_ms;

	for (size_t i = 0; i < s->n_apps; i++) {
		int64_t app_ms = app_delay_ms(s, s->apps[i]);

		delay_ms = app_ms < delay_ms ? app_ms : delay_ms;
	}
	if (delay_ms == INT64_MAX) {
		loop_timer_stop(&s->timer);
		return;
	}
	at_ms = loop_now_ms(s->loop) + delay_ms;
	if (loop_timer_active(&s->timer) &&
	    s->timer_at_ms <= at_ms) /* a lock that flaps must not put it off for ever */
		return;
	s->timer_at_ms = at_ms;
	loop_timer_start(&s->timer, delay_ms);
}

void lock_watch_on_timer(void *set)
{
	struct lock_set *s = set;

	if (s->root_watch.refused || s->parent_watch.refused || s->root_problem)
		root_reopen(s);
	for (size_t i = 0; i < s->n_apps; i++)
		if (s->apps[i]->n_foreign || needs_poll(s, s->apps[i]))
			lock_app_refresh(s->apps[i]);
	lock_watch_report(s);
}
