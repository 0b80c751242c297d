/*
 * Start-up: what an earlier run left behind. Locks of ours are adopted before anything else, because a stop which that
 * run sent may still be going on in the engine; nothing of an application is touched.
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
	int64_t id;
};

static void on_service(void *ctx, int app_fd, const char *service)
{
	struct app_scan *scan = ctx;
	AUTO_CLOSE int fd = -1;
	struct lock_entry e;
	struct lock_app *a;

	if (lock_dir_at(app_fd, service, O_PATH, &fd) < 0)
		return;
	lock_entry_sweep(fd);
	for (size_t i = 0; lock_place_service.names[i]; i++) {
		if (lock_entry_read(fd, lock_place_service.names[i], &e) < 0 || !e.ours)
			continue;
		a = lock_app_get(scan->set, scan->id);
		a->holding = a->leftover = true;
		lock_dir_get(a, service);
	}
}

static void on_app(void *ctx, int root_fd, const char *name)
{
	struct app_scan scan = {.set = ctx};
	AUTO_CLOSE int fd = -1;
	struct lock_app *a;
	char canonical[24];

	if (!str_to_i64(name, 0, INT64_MAX, &scan.id) || lock_dir_at(root_fd, name, O_PATH, &fd) < 0)
		return;
	snprintf(canonical, sizeof(canonical), "%lld", (long long)scan.id);
	if (!str_eq(name, canonical)) /* "007" is nobody's */
		return;
	each_entry(fd, on_service, &scan);
	a = lock_app_find(scan.set, scan.id);
	if (a)
		lock_app_refresh(a);
}

void lock_scan_leftovers(struct lock_set *s)
{
	each_entry(s->root_fd, on_app, s);
}
