/*
 * Directory watch on inotify. The kernel gives one number for one directory, however often it is added, so entries hang
 * on a `watch`, kept sorted by that number. A readable descriptor is drained first, which only marks entries; then each
 * marked entry is told once. Callbacks may add and remove entries meanwhile: the marked ones are a list of their own
 * that removal unlinks from.
 */
#include "loop/dirwatch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "util/mem.h"
#include "util/str.h"

#define MASK_ENTRIES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB)
#define MASK_SELF    (IN_DELETE_SELF | IN_MOVE_SELF)
#define MASK_GONE    (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)
#define READS_MAX    16 /* a turn; a busy directory must not keep the others waiting */

struct watch { /* one directory, as the kernel sees it */
	int wd;
	bool kernel_gone; /* IN_IGNORED: the number is dead */
	struct dirwatch_entry *entries;
};

struct dirwatch_entry {
	struct dirwatch *owner;
	struct watch *watch;
	struct dirwatch_entry *next;                       /* of the same directory */
	struct dirwatch_entry *next_marked, **marked_link; /* of the owner's marked list; link NULL while unmarked */
	struct strv names;                                 /* none: all */
	bool content, dead;
	unsigned pending;
	dirwatch_fn *fn;
	void *ctx;
};

struct dirwatch {
	uv_poll_t poll;
	int fd;
	struct watch **watches; /* by number */
	size_t n, capacity, n_entries;
	struct dirwatch_entry *marked, **marked_end; /* in the order of their events */
};

/* -------- the table of watches -------- */

static size_t lower_bound(const struct dirwatch *w, int wd)
{
	size_t low = 0, high = w->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (w->watches[mid]->wd < wd)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct watch *find_watch(const struct dirwatch *w, int wd)
{
	size_t at = lower_bound(w, wd);

	return at < w->n && w->watches[at]->wd == wd ? w->watches[at] : NULL;
}

static struct watch *get_watch(struct dirwatch *w, int wd)
{
	struct watch *watch = find_watch(w, wd);
	size_t at = lower_bound(w, wd);

	if (watch)
		return watch;
	watch = mem_new(1, sizeof(*watch));
	watch->wd = wd;
	mem_reserve(&w->watches, &w->capacity, w->n + 1, sizeof(struct watch *));
	memmove(w->watches + at + 1, w->watches + at, (w->n - at) * sizeof(struct watch *));
	w->watches[at] = watch;
	w->n++;
	return watch;
}

static void drop_watch(struct dirwatch *w, struct watch *watch)
{
	size_t at = lower_bound(w, watch->wd);

	if (!watch->kernel_gone)
		inotify_rm_watch(w->fd, watch->wd);
	w->n--;
	memmove(w->watches + at, w->watches + at + 1, (w->n - at) * sizeof(struct watch *));
	free(watch);
}

/* -------- from the kernel's events to marks -------- */

static void mark(struct dirwatch_entry *e, unsigned events)
{
	struct dirwatch *w = e->owner;

	if (e->dead)
		return;
	e->pending |= events;
	if (events & DIRWATCH_GONE)
		e->dead = true;
	if (e->marked_link)
		return;
	e->next_marked = NULL;
	e->marked_link = w->marked_end;
	*w->marked_end = e;
	w->marked_end = &e->next_marked;
}

static void unmark(struct dirwatch_entry *e)
{
	if (!e->marked_link)
		return;
	*e->marked_link = e->next_marked;
	if (e->next_marked)
		e->next_marked->marked_link = e->marked_link;
	else
		e->owner->marked_end = e->marked_link;
	e->marked_link = NULL;
}

static bool concerns(const struct dirwatch_entry *e, const struct inotify_event *ev)
{
	if (!(ev->mask & (MASK_ENTRIES | (e->content ? IN_CLOSE_WRITE : 0))))
		return false;
	return !ev->len || !e->names.n || strv_has(&e->names, ev->name); /* without a name: the directory itself */
}

static void take_event(struct dirwatch *w, const struct inotify_event *ev)
{
	struct watch *watch;

	if (ev->mask & IN_Q_OVERFLOW) {
		for (size_t i = 0; i < w->n; i++)
			for (struct dirwatch_entry *e = w->watches[i]->entries; e; e = e->next)
				mark(e, DIRWATCH_OVERFLOW);
		return;
	}
	watch = find_watch(w, ev->wd);
	if (!watch)
		return; /* removed, with events still in the queue */
	if (ev->mask & IN_IGNORED)
		watch->kernel_gone = true;
	for (struct dirwatch_entry *e = watch->entries; e; e = e->next) {
		if (ev->mask & MASK_GONE)
			mark(e, DIRWATCH_GONE);
		else if (concerns(e, ev))
			mark(e, DIRWATCH_CHANGED);
	}
}

static void drain(struct dirwatch *w)
{
	_Alignas(struct inotify_event) char bytes[16384];

	for (int reads = 0; reads < READS_MAX; reads++) {
		ssize_t n = read(w->fd, bytes, sizeof(bytes));

		if (n <= 0)
			return; /* EAGAIN; nothing else can be */
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const void *)(bytes + at);

			take_event(w, ev);
			at += (ssize_t)sizeof(*ev) + ev->len;
		}
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct dirwatch *w = poll->data;
	struct dirwatch_entry *e;

	(void)status;
	(void)events;
	drain(w);
	while ((e = w->marked)) {
		unsigned pending = e->pending;

		unmark(e);
		e->pending = 0;
		e->fn(e->ctx,
		      pending); /* may remove any entry, and free `w`, which lives until its handle has closed */
	}
}

/* -------- entries -------- */

int dirwatch_add(struct dirwatch *w, int dir_fd, const char *const *names, bool content, dirwatch_fn *fn, void *ctx,
		 struct dirwatch_entry **out, struct err *err)
{
	/* With two entries on a directory the kernel keeps one mask: add to it, filter on our side. */
	uint32_t mask = MASK_ENTRIES | MASK_SELF | IN_ONLYDIR | IN_MASK_ADD | (content ? IN_CLOSE_WRITE : 0);
	struct dirwatch_entry *e;
	char path[40];
	int wd;

	*out = NULL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
	wd = inotify_add_watch(w->fd, path, mask);
	if (wd < 0)
		return err_sys(err, "watch directory");
	e = mem_new(1, sizeof(*e));
	e->owner = w;
	e->watch = get_watch(w, wd);
	e->content = content;
	e->fn = fn;
	e->ctx = ctx;
	for (; names && *names; names++)
		strv_add(&e->names, *names);
	e->next = e->watch->entries;
	e->watch->entries = e;
	if (w->n_entries++ == 0)
		uv_poll_start(&w->poll, UV_READABLE, on_readable);
	*out = e;
	return 0;
}

void dirwatch_remove(struct dirwatch_entry *e)
{
	struct dirwatch_entry **link;
	struct dirwatch *w;

	if (!e)
		return;
	w = e->owner;
	unmark(e);
	for (link = &e->watch->entries; *link != e; link = &(*link)->next)
		;
	*link = e->next;
	if (!e->watch->entries)
		drop_watch(w, e->watch);
	if (--w->n_entries == 0)
		uv_poll_stop(&w->poll); /* late events of what is gone wake nobody */
	strv_deinit(&e->names);
	free(e);
}

/* -------- life -------- */

int dirwatch_new(struct loop *l, struct dirwatch **out, struct err *err)
{
	struct dirwatch *w;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	*out = NULL;
	if (fd < 0)
		return err_sys(err, "inotify");
	w = mem_new(1, sizeof(*w));
	w->fd = fd;
	w->marked_end = &w->marked;
	uv_poll_init(loop_uv(l), &w->poll, fd);
	w->poll.data = w;
	*out = w;
	return 0;
}

static void on_poll_closed(uv_handle_t *h)
{
	struct dirwatch *w = h->data;

	free(w->watches);
	free(w);
}

void dirwatch_free(struct dirwatch *w)
{
	if (!w)
		return;
	if (w->n_entries > 0)
		abort(); /* somebody would wait for ever */
	uv_close((uv_handle_t *)&w->poll, on_poll_closed);
	close(w->fd); /* only after libuv has forgotten it */
}
