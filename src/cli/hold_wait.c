/*
 * Waiting for the lock with inotify. Each pass watches first, then tries, then sleeps: a release between two steps is
 * seen by one of them. Watches are set by path in every pass, so a directory that was replaced is watched anew; its
 * parent is watched to notice one that comes back.
 */
#include "cli/hold.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define DIRECTORY_MASK (IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define PARENT_MASK    (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR)
#define LOOK_AGAIN_MS  1000 /* where there is nothing to watch with */

struct watch {
	const struct hold_options *o;
	int fd, dir, parent;               /* -1: none */
	char parent_path[PATH_MAX], *name; /* of the directory, in its parent; NULL: a path without a parent */
	bool blind;                        /* changes come without an event */
	bool said_blind;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void watch_init(struct watch *w, const struct hold_options *o)
{
	size_t len = strlen(o->dir);
	char *slash;

	*w = (struct watch){.o = o, .fd = -1, .dir = -1, .parent = -1};
	while (len > 1 && o->dir[len - 1] == '/')
		len--;
	if (len + 3 > sizeof(w->parent_path))
		return;
	snprintf(w->parent_path, sizeof(w->parent_path), "%s%.*s", o->dir[0] == '/' ? "" : "./", (int)len, o->dir);
	slash = strrchr(w->parent_path, '/');
	if (!slash[1])
		return; /* the root itself */
	w->name = slash + 1;
	memmove(w->name + 1, w->name, strlen(w->name) + 1); /* room for a NUL behind a slash that is the whole parent */
	w->name++;
	slash[1] = '\0';
}

static void watch_deinit(struct watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void watch_path(struct watch *w, int *wd, const char *path, uint32_t mask)
{
	int now = inotify_add_watch(w->fd, path, mask), error = errno;

	if (*wd >= 0 && *wd != now)
		inotify_rm_watch(w->fd, *wd); /* of a directory that has gone away or stands elsewhere now */
	*wd = now;
	errno = error;
}

static void watch_again(struct watch *w)
{
	if (w->fd < 0)
		w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	w->blind = w->fd < 0;
	if (w->fd < 0)
		return;
	if (w->name)
		watch_path(w, &w->parent, w->parent_path, PARENT_MASK);
	watch_path(w, &w->dir, w->o->dir, DIRECTORY_MASK);
	w->blind = w->dir < 0 && (w->parent < 0 || errno != ENOENT);
}

/* Takes in all events. Is one of them about the lock or its directory? Other files of the directory come and go. */
static bool watch_read(struct watch *w)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool about_us = false;
	ssize_t n;

	while ((n = read(w->fd, buf, sizeof(buf))) > 0) {
		const struct inotify_event *e;

		for (char *at = buf; at < buf + n; at += sizeof(*e) + e->len) {
			e = (const struct inotify_event *)at;
			if (e->len == 0) /* of the directory itself, or the queue ran over */
				about_us = true;
			else if (e->wd == w->dir)
				about_us = about_us || !strcmp(e->name, HOLD_NAME);
			else
				about_us = about_us || (w->name && !strcmp(e->name, w->name));
		}
	}
	return about_us;
}

/* Until something changed or `deadline` has passed: 0. Else the signal that ends us. */
static int sleep_until_change(struct watch *w, struct hold_signals *s, int64_t deadline)
{
	struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = w->fd, .events = POLLIN}};
	int64_t now, until = deadline;
	int signal;

	now = now_ms();
	if (w->blind && deadline > now + LOOK_AGAIN_MS)
		until = now + LOOK_AGAIN_MS;
	for (; now < until; now = now_ms()) {
		poll(p, 2, until - now > INT_MAX ? INT_MAX : (int)(until - now));
		signal = hold_signals_read(s);
		if (signal != 0)
			return signal;
		if (w->fd >= 0 && watch_read(w))
			break;
	}
	return 0;
}

static int give_up(const struct hold_options *o, int taken)
{
	if (taken == HOLD_HELD) {
		hold_explain(o, "not run");
		return HOLD_LOCKED;
	}
	if (taken == HOLD_NO_DIRECTORY)
		hold_say(o,
			 "there is no lock directory %s: is this inside a service that a supervisor started? (--dir "
			 "names another)",
			 o->dir);
	return HOLD_ERROR;
}

int hold_acquire(const struct hold_options *o, struct hold_signals *s, struct hold_lock *lock)
{
	int64_t deadline = now_ms() + o->wait_ms;
	bool waiting = false;
	struct watch w;
	int rc;

	watch_init(&w, o);
	for (;;) {
		if (o->wait_ms > 0)
			watch_again(&w);
		rc = hold_take(o, lock);
		if (rc == HOLD_TAKEN || rc < 0 || (rc == HOLD_NO_DIRECTORY && !waiting) || now_ms() >= deadline)
			break;
		if (!waiting)
			hold_explain(o, "waiting");
		if (w.blind && !w.said_blind)
			hold_say(o, "warning: no inotify watch could be had: looking once a second");
		w.said_blind = w.said_blind || w.blind;
		waiting = true;
		rc = sleep_until_change(&w, s, deadline);
		if (rc != 0) {
			watch_deinit(&w);
			return HOLD_SIGNAL + rc;
		}
	}
	watch_deinit(&w);
	return rc == HOLD_TAKEN ? 0 : give_up(o, rc);
}
