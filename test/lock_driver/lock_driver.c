/*
 * One short life of src/lock, for test/system/test_lock_kill.py: it is run under strace, which kills it at one system
 * call after the other. Each variant is a way to take and release; `check` is the next run, which must find itself
 * alone, adopt what is there and give all of it back.
 *
 *	lock_driver DIRECTORY VARIANT
 *
 * The directory is a host's root, made by the test. Calls of access() tell it where in a trace the set is opened
 * ("begin"), where the variant acts ("act") and where that is over ("over"). Exit status: 0, or 1 with a sentence on
 * standard error.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/lock.h"
#include "lock/set.h" /* to have it believe that the file system has no O_TMPFILE */
#include "util/mem.h"

#define LOCK_ROOT   "/tmp/balena-supervisor/services"
#define LEGACY_ROOT "/tmp/resin-supervisor"
#define DATA_ROOT   "/mnt/data"
#define BOOT_ID     "0e4dd5f2-0000-4000-8000-000000000001"

struct driver {
	struct loop *loop;
	struct lock_set *set;
	const char *root;
	int changed;
	bool closed;
};

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void on_changed(void *ctx)
{
	((struct driver *)ctx)->changed++;
}

static void on_event(void *ctx, const struct lock_event *e)
{
	(void)ctx;
	if (e->kind == LOCK_EVENT_PROBLEM)
		fail("a problem: %s", e->detail);
}

static void on_closed(void *ctx)
{
	((struct driver *)ctx)->closed = true;
}

static void set_open(struct driver *d, const char *nonce)
{
	struct lock_options o = {
		.host_root = d->root,
		.lock_root = LOCK_ROOT,
		.legacy_root = LEGACY_ROOT,
		.data_root = DATA_ROOT,
		.boot_id = BOOT_ID,
		.nonce = nonce,
		.changed = on_changed,
		.event = on_event,
		.ctx = d,
	};
	struct err err = {0};

	if (lock_set_new(d->loop, &o, &d->set, &err) < 0)
		fail("lock_set_new: %s", err.msg);
}

static void declare(struct driver *d, int64_t app_id, const char *const *services)
{
	struct strv list = {0};

	for (; *services; services++)
		strv_add(&list, *services);
	lock_set_services(d->set, app_id, &list);
	strv_deinit(&list);
}
#define DECLARE(d, app_id, ...) declare(d, app_id, (const char *const[]){__VA_ARGS__, NULL})

static void take(struct driver *d, int64_t app_id, enum lock_force force, int wanted)
{
	struct err err = {0};
	int rc = lock_take(d->set, app_id, force, &err);

	if (rc != wanted)
		fail("lock_take(%lld): %d, not %d; %s", (long long)app_id, rc, wanted, err.msg);
}

static void release(struct driver *d, int64_t app_id)
{
	struct err err = {0};

	if (lock_release(d->set, app_id, &err) != 0)
		fail("lock_release(%lld): %s", (long long)app_id, err.msg);
}

static const char *below_root(const struct driver *d, const char *path)
{
	static char full[4096];

	snprintf(full, sizeof(full), "%s%s", d->root, path);
	return full;
}

/* -------- variants -------- */

static void quick(struct driver *d)
{
	take(d, 1, LOCK_FORCE_NONE, 0);
	release(d, 1);
}

/* While an application's lock is waited for, files are made ahead; the take names them. */
static void spares(struct driver *d)
{
	const char *lock = below_root(d, LOCK_ROOT "/1/web/updates.lock");
	int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("the application cannot lock %s", lock);
	close(fd);
	for (int seen = d->changed; seen == d->changed;)
		loop_run_once(d->loop, true);
	take(d, 1, LOCK_FORCE_NONE, 1);
	loop_run_once(d->loop, false);
	if (unlink(lock) < 0)
		fail("the application cannot unlock %s", lock);
	for (int seen = d->changed; seen == d->changed;)
		loop_run_once(d->loop, true);
	quick(d);
}

/* Its directories are not as they were: everything is looked at again. */
static void thorough(struct driver *d)
{
	if (chmod(below_root(d, LOCK_ROOT "/1/web"), 0755) < 0 || rmdir(below_root(d, LOCK_ROOT "/1/api")) < 0)
		fail("cannot change the directories");
	quick(d);
}

static void named(struct driver *d)
{
	d->set->make = LOCK_MAKE_NAMED;
	for (size_t i = 0; i < LOCK_BASES; i++)
		d->set->bases[i].make = LOCK_MAKE_NAMED;
	quick(d);
}

static void blocked(struct driver *d)
{
	take(d, 2, LOCK_FORCE_NONE, 1);
}

/* It locked unseen: the quick way runs into it after the first links, and takes them back. */
static void blocked_late(struct driver *d)
{
	const char *lock = below_root(d, LOCK_ROOT "/1/web/updates.lock");
	int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("the application cannot lock %s", lock);
	close(fd);
	take(d, 1, LOCK_FORCE_NONE, 1);
}

static void forced(struct driver *d)
{
	take(d, 2, LOCK_FORCE_API, 0);
	release(d, 2);
}

/* The test put leftovers there, and temporaries. */
static void adopt(struct driver *d)
{
	const struct lock_app_view *v = lock_views_app(lock_set_views(d->set), 1);

	if (v && v->leftover)
		take(d, 1, LOCK_FORCE_NONE, 0);
	release(d, 1);
}

/* Places L2 and L3, together with L1. */
static void legacy(struct driver *d)
{
	DECLARE(d, 3, "main");
	take(d, 3, LOCK_FORCE_NONE, 0);
	release(d, 3);
}

static void grow(struct driver *d)
{
	take(d, 1, LOCK_FORCE_NONE, 0);
	DECLARE(d, 1, "api", "new", "web");
	take(d, 1, LOCK_FORCE_NONE, 0);
	DECLARE(d, 1, "web");
	release(d, 1);
}

static void all(struct driver *d)
{
	struct err err = {0};
	int64_t who = 0;

	if (lock_take_all(d->set, LOCK_FORCE_NONE, &who, &err) != 1 || who != 2)
		fail("lock_take_all: app %lld, %s", (long long)who, err.msg);
	if (lock_take_all(d->set, LOCK_FORCE_API, &who, &err) != 0)
		fail("lock_take_all: app %lld, %s", (long long)who, err.msg);
	if (lock_release_all(d->set, &err) != 0)
		fail("lock_release_all: %s", err.msg);
}

/* The next run. What it finds of ours it must know as left over, and what it gives back must be gone. */
static void check(struct driver *d)
{
	int64_t ids[8];
	size_t n = 0;

	for (size_t i = 0; i < lock_set_views(d->set)->n_apps && n < 8; i++) {
		const struct lock_app_view *v = &lock_set_views(d->set)->apps[i];

		if (v->state != LOCK_FREE && !v->leftover)
			fail("app %lld is held, but not as left over", (long long)v->app_id);
		ids[n++] = v->app_id;
	}
	for (size_t i = 0; i < n; i++)
		release(d, ids[i]);
	for (size_t i = 0; i < lock_set_views(d->set)->n; i++)
		if (lock_set_views(d->set)->v[i].ours)
			fail("still ours: %s", lock_set_views(d->set)->v[i].path);
}

static const struct variant {
	const char *name;
	void (*run)(struct driver *d);
} variants[] = {
	{"quick", quick},   {"spares", spares},   {"thorough", thorough},
	{"named", named},   {"blocked", blocked}, {"blocked_late", blocked_late},
	{"forced", forced}, {"adopt", adopt},     {"legacy", legacy},
	{"grow", grow},     {"all", all},
};

int main(int argc, char **argv)
{
	struct driver d = {.root = argc == 3 ? argv[1] : NULL};
	void (*run)(struct driver * d) = NULL;

	for (size_t i = 0; argc == 3 && i < ARRAY_LEN(variants); i++)
		if (strcmp(argv[2], variants[i].name) == 0)
			run = variants[i].run;
	if (argc == 3 && strcmp(argv[2], "check") == 0)
		run = check;
	if (!run)
		fail("usage: lock_driver DIRECTORY VARIANT");
	umask(022);
	d.loop = loop_new();
	(void)!access("begin", F_OK);
	set_open(&d, run == check ? "cccc000000000003" : "aaaa000000000001");
	DECLARE(&d, 1, "api", "web");
	DECLARE(&d, 2, "main", "side");
	(void)!access("act", F_OK);
	run(&d);
	(void)!access("over", F_OK);
	lock_set_free(d.set, on_closed, &d);
	while (!d.closed)
		loop_run_once(d.loop, true);
	if (loop_free(d.loop) != 0)
		fail("the loop has handles left");
	return 0;
}
