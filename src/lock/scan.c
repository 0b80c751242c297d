/*
 * Start-up: what an earlier run left behind, and which apps have a directory of the old kind. Locks of ours are adopted
 * before anything else, because a stop which that run sent may still be going on in the engine; nothing of an
 * application is touched.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

typedef void entry_fn(void *ctx, int dir_fd, const char *name);

static void each_entry(int dir_fd, entry_fn *fn, void *ctx)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((d = readdir(dir)))
		if (lock_service_valid(d->d_name))
			fn(ctx, dir_fd, d->d_name);
	closedir(dir);
}

struct app_scan {
	struct lock_set *set;
	bool adopt_reference;
	const char *name; /* of the app's directory */
	int64_t id;
};

/* Only the canonical form: "007" is nobody's. */
static bool is_app_name(const char *name, int64_t *id)
{
	char canonical[24];

	if (!str_to_i64(name, 0, INT64_MAX, id))
		return false;
	snprintf(canonical, sizeof(canonical), "%lld", (long long)*id);
	return str_eq(name, canonical);
}

/* The locks of one directory that are an earlier run's. `base` NULL: of `service`. */
static void adopt(const struct app_scan *scan, int fd, struct lock_base *base, const char *service)
{
	const struct lock_place *place = base ? base->place : &lock_place_service;
	struct lock_entry e;
	struct lock_app *a;
	struct lock_dir *d;

	lock_entry_sweep(fd);
	for (size_t i = 0; place->names[i]; i++) {
		bool reference;

		if (lock_entry_read(fd, place->names[i], &e) < 0)
			continue;
		reference = e.reference && scan->adopt_reference;
		if (!e.ours && !reference)
			continue;
		a = lock_app_get(scan->set, scan->id);
		a->holding = a->leftover = true;
		d = base ? lock_dir_get_in(a, base) : lock_dir_get(a, service);
		d->declared |= base != NULL;
		if (reference) {
			d->slots[i].adopted_ino = e.ino;
			d->slots[i].adopted_ctime_ms = e.ctime_ms;
		}
	}
}

static void on_service(void *ctx, int app_fd, const char *service)
{
	AUTO_CLOSE int fd = -1;

	if (lock_dir_at(app_fd, service, O_PATH, &fd) == 0)
		adopt(ctx, fd, NULL, service);
}

static void on_app(void *ctx, int root_fd, const char *name)
{
	struct app_scan *scan = ctx;
	AUTO_CLOSE int fd = -1;

	if (is_app_name(name, &scan->id) && lock_dir_at(root_fd, name, O_PATH, &fd) == 0)
		each_entry(fd, on_service, scan);
}

struct base_scan {
	struct app_scan app;
	struct lock_base *base;
};

static void on_app_of_base(void *ctx, int root_fd, const char *name)
{
	struct base_scan *scan = ctx;
	AUTO_CLOSE int fd = -1;

	if (is_app_name(name, &scan->app.id) && lock_dir_at(root_fd, name, O_PATH, &fd) == 0)
		adopt(&scan->app, fd, scan->base, NULL);
}

static void on_name(void *ctx, int root_fd, const char *name)
{
	struct lock_base *b = ctx;
	int64_t id;

	(void)root_fd;
	if (is_app_name(name, &id))
		lock_app_get(b->set, id);
}

void lock_scan_base(struct lock_base *b)
{
	each_entry(b->fd, on_name, b);
}

/* Everything is found before anything is read, so that no leftover is taken for an application's in between. */
void lock_scan_leftovers(struct lock_set *s, bool adopt_reference)
{
	struct app_scan scan = {.set = s, .adopt_reference = adopt_reference};

	s->taking = true;
	for (size_t i = 0; i < LOCK_BASES; i++) {
		struct lock_base *b = &s->bases[i];
		struct base_scan base_scan = {.app = scan, .base = b};

		lock_base_open(b);
		if (b->fd < 0)
			continue;
		each_entry(b->fd, on_app_of_base, &base_scan);
		if (b->place->makes_known)
			lock_scan_base(b);
	}
	each_entry(s->root_fd, on_app, &scan);
	for (size_t i = 0; i < s->n_apps; i++)
		lock_app_refresh(s->apps[i]);
	s->taking = false;
}
