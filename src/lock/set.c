/*
 * The set: which apps and directories count, and what the rest of the program sees of them. It owns the tree of set.h;
 * reading the disk is observe.c's, waking up watch.c's, taking and releasing take.c's.
 */
#include "lock/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lock/root.h"
#include "lock/set.h"
#include "util/mem.h"

const struct lock_place lock_place_service = {
	.names = {"resin-updates.lock", "updates.lock", NULL},
	.dir_mode = 01777, /* a service that is not root locks too */
};

bool lock_service_valid(const char *service)
{
	return service && service[0] && strnlen(service, NAME_MAX + 1) <= NAME_MAX && !strchr(service, '/') &&
	       !str_eq(service, ".") && !str_eq(service, "..");
}

/* Index of the first app with an id of at least `id`. */
static size_t app_position(const struct lock_set *s, int64_t id)
{
	size_t low = 0, high = s->n_apps;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->apps[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct lock_app *lock_app_find(const struct lock_set *s, int64_t id)
{
	size_t i = app_position(s, id);

	return i < s->n_apps && s->apps[i]->id == id ? s->apps[i] : NULL;
}

struct lock_app *lock_app_get(struct lock_set *s, int64_t id)
{
	size_t i = app_position(s, id);
	struct lock_app *a;

	if (i < s->n_apps && s->apps[i]->id == id)
		return s->apps[i];
	a = mem_new(1, sizeof(*a));
	a->set = s;
	a->id = id;
	snprintf(a->name, sizeof(a->name), "%lld", (long long)id);
	mem_reserve(&s->apps, &s->apps_capacity, s->n_apps + 1, sizeof(s->apps[0]));
	memmove(&s->apps[i + 1], &s->apps[i], (s->n_apps - i) * sizeof(s->apps[0]));
	s->apps[i] = a;
	s->n_apps++;
	s->views_stale = true;
	return a;
}

static size_t dir_position(const struct lock_app *a, const char *service)
{
	size_t low = 0, high = a->n_dirs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(a->dirs[mid]->service, service) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct lock_dir *lock_dir_find(const struct lock_app *a, const char *service)
{
	size_t i = dir_position(a, service);

	return i < a->n_dirs && str_eq(a->dirs[i]->service, service) ? a->dirs[i] : NULL;
}

struct lock_dir *lock_dir_get(struct lock_app *a, const char *service)
{
	size_t i = dir_position(a, service);
	struct lock_dir *d;

	if (i < a->n_dirs && str_eq(a->dirs[i]->service, service))
		return a->dirs[i];
	d = mem_new(1, sizeof(*d));
	d->app = a;
	d->place = &lock_place_service;
	d->service = mem_strdup(service);
	d->below = mem_printf("%s/%s", a->name, service);
	for (size_t n = 0; d->place->names[n]; n++)
		d->slots[n].path = mem_printf("%s/%s/%s/%s", a->set->lock_root, a->name, service, d->place->names[n]);
	mem_reserve(&a->dirs, &a->dirs_capacity, a->n_dirs + 1, sizeof(a->dirs[0]));
	memmove(&a->dirs[i + 1], &a->dirs[i], (a->n_dirs - i) * sizeof(a->dirs[0]));
	a->dirs[i] = d;
	a->n_dirs++;
	return d;
}

static void dir_free(struct lock_dir *d)
{
	lock_watch_drop(&d->watch);
	for (size_t i = 0; i < LOCK_NAMES_MAX; i++)
		free(d->slots[i].path);
	free(d->service);
	free(d->below);
	free(d->problem);
	free(d);
}

static void app_free(struct lock_app *a)
{
	for (size_t i = 0; i < a->n_dirs; i++)
		dir_free(a->dirs[i]);
	lock_watch_drop(&a->watch);
	strv_deinit(&a->declared);
	free(a->dirs);
	free(a->problem);
	free(a);
}

static bool dir_has_ours(const struct lock_dir *d)
{
	for (size_t i = 0; d->place->names[i]; i++)
		if (d->slots[i].e.exists && d->slots[i].e.ours)
			return true;
	return false;
}

void lock_app_trim(struct lock_app *a)
{
	struct lock_set *s = a->set;
	AUTO_CLOSE int app_fd = -1;
	size_t kept = 0, i;

	if (lock_dir_at(s->root_fd, a->name, O_PATH, &app_fd) < 0)
		app_fd = -1;
	for (i = 0; i < a->n_dirs; i++) {
		struct lock_dir *d = a->dirs[i];

		if (d->declared || dir_has_ours(d)) {
			a->dirs[kept++] = d;
			continue;
		}
		if (app_fd >= 0)
			unlinkat(app_fd, d->service, AT_REMOVEDIR); /* only an empty one can go: no error */
		dir_free(d);
	}
	a->n_dirs = kept;
	s->views_stale = true;
	if (a->n_dirs || a->declared.n || a->holding)
		return;
	unlinkat(s->root_fd, a->name, AT_REMOVEDIR);
	i = app_position(s, a->id);
	memmove(&s->apps[i], &s->apps[i + 1], (s->n_apps - i - 1) * sizeof(s->apps[0]));
	s->n_apps--;
	app_free(a);
}

void lock_app_recount(struct lock_app *a)
{
	a->n_foreign = a->n_ours = a->n_wanted_missing = 0;
	a->n_refused = a->watch.refused;
	for (size_t i = 0; i < a->n_dirs; i++) {
		const struct lock_dir *d = a->dirs[i];

		a->n_refused += d->watch.refused;
		for (size_t n = 0; d->place->names[n]; n++) {
			bool ours = d->slots[n].e.exists && d->slots[n].e.ours;

			a->n_ours += ours;
			a->n_foreign += d->slots[n].e.exists && !ours;
			a->n_wanted_missing += d->declared && !ours;
		}
	}
}

static void on_notify(void *ctx)
{
	struct lock_set *s = ctx;

	if (s->dirty) {
		s->dirty = false;
		s->changed(s->ctx);
	}
}

void lock_set_settle(struct lock_set *s)
{
	lock_watch_timer(s);
	if (lock_spares_short(s))
		loop_deferred_schedule(&s->stock);
	if (s->dirty)
		loop_deferred_schedule(&s->notify);
}

static int options_check(const struct lock_options *o, struct err *err)
{
	if (!lock_token_valid(o->boot_id))
		return err_set(err, -EINVAL, "the boot id is not 1 to %d letters, digits and dashes", LOCK_TOKEN_MAX);
	if (!lock_token_valid(o->nonce))
		return err_set(err, -EINVAL, "the nonce is not 1 to %d letters, digits and dashes", LOCK_TOKEN_MAX);
	return 0;
}

int lock_set_new(struct loop *l, const struct lock_options *o, struct lock_set **out, struct err *err)
{
	AUTO_CLOSE int parent_fd = -1, root_fd = -1, claim_fd = -1;
	struct err watch_err = {0};
	struct lock_set *s;

	if (options_check(o, err) < 0 || lock_root_open(o->host_root, o->lock_root, &parent_fd, &root_fd, err) < 0 ||
	    lock_root_claim(root_fd, o->lock_root, &claim_fd, err) < 0)
		return err->code;
	s = mem_new(1, sizeof(*s));
	s->loop = l;
	s->host_root = mem_strdup(o->host_root);
	s->lock_root = mem_strdup(o->lock_root);
	for (size_t len = strlen(s->lock_root); s->lock_root[len - 1] == '/';) /* it is not "/" alone */
		s->lock_root[--len] = '\0';
	s->boot_id = mem_strdup(o->boot_id);
	s->nonce = mem_strdup(o->nonce);
	s->changed = o->changed;
	s->event = o->event;
	s->ctx = o->ctx;
	s->root_fd = root_fd;
	s->claim_fd = claim_fd;
	root_fd = claim_fd = -1;
	loop_deferred_init(l, &s->notify, on_notify, s);
	loop_deferred_init(l, &s->stock, lock_spares_on_stock, s);
	loop_timer_init(l, &s->timer, lock_watch_on_timer, s);
	if (dirwatch_new(l, &s->watcher, &watch_err) < 0) {
		s->watcher = NULL;
		s->watch_problem_told = true;
		lock_problem(s, NULL, NULL, &s->root_problem, watch_err.msg);
	}
	lock_watch_arm_root(s, parent_fd);
	lock_scan_leftovers(s);
	lock_set_settle(s);
	*out = s;
	return 0;
}

static void on_timer_closed(void *ctx)
{
	struct lock_set *s = ctx;
	loop_fn *closed = s->closed;
	void *closed_ctx = s->closed_ctx;

	free(s);
	if (closed)
		closed(closed_ctx);
}

void lock_set_free(struct lock_set *s, loop_fn *closed, void *ctx)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_apps; i++)
		app_free(s->apps[i]);
	lock_watch_drop(&s->root_watch);
	lock_watch_drop(&s->parent_watch);
	if (s->watcher)
		dirwatch_free(s->watcher);
	loop_deferred_cancel(&s->notify);
	loop_deferred_cancel(&s->stock);
	lock_spares_drop(s);
	close(s->root_fd);
	close(s->claim_fd);
	free(s->apps);
	free(s->views.v); /* its strings are borrowed from the tree */
	free(s->views.apps);
	free(s->host_root);
	free(s->lock_root);
	free(s->boot_id);
	free(s->nonce);
	free(s->root_problem);
	s->closed = closed;
	s->closed_ctx = ctx;
	loop_timer_deinit(&s->timer, on_timer_closed, s);
}

/* After a reboot the engine may have made the directory, as its own: then a service that is not root cannot lock. */
static void dir_repair(int app_fd, const struct lock_dir *d)
{
	int fd;

	if (app_fd >= 0 && lock_dir_ensure(app_fd, d->service, d->place->dir_mode, false, &fd) == 0)
		close(fd);
}

static void declare_all(struct lock_app *a, const struct strv *services)
{
	AUTO_CLOSE int app_fd = -1;
	AUTO_FREE char *bad = NULL;

	strv_deinit(&a->declared);
	strv_copy(&a->declared, services);
	for (size_t i = 0; i < a->n_dirs; i++)
		a->dirs[i]->declared = false;
	for (size_t i = 0; i < services->n; i++) {
		if (lock_service_valid(services->v[i]))
			lock_dir_get(a, services->v[i])->declared = true;
		else if (!bad)
			bad = mem_printf("service name \"%.64s\" cannot be a directory", services->v[i]);
	}
	lock_problem(a->set, a, NULL, &a->problem, bad);
	if (lock_dir_at(a->set->root_fd, a->name, O_PATH, &app_fd) < 0)
		app_fd = -1;
	for (size_t i = 0; i < a->n_dirs; i++)
		if (a->dirs[i]->declared)
			dir_repair(app_fd, a->dirs[i]);
}

void lock_set_services(struct lock_set *s, int64_t app_id, const struct strv *services)
{
	struct lock_app *a = lock_app_find(s, app_id);

	if (a ? strv_eq(&a->declared, services) : services->n == 0)
		return;
	a = lock_app_get(s, app_id);
	s->views_stale = true;
	declare_all(a, services);
	lock_app_refresh(a);
	lock_app_trim(a); /* may free it */
	lock_set_settle(s);
}

int lock_set_prepare(struct lock_set *s, int64_t app_id, const char *service, struct err *err)
{
	struct lock_app *a = lock_app_find(s, app_id);
	AUTO_CLOSE int app_fd = -1, fd = -1;
	char name[24];
	int rc;

	if (app_id < 0 || !lock_service_valid(service))
		return err_set(err, -EINVAL, "app %lld, service \"%.64s\": no name for a lock directory",
			       (long long)app_id, service ? service : "");
	snprintf(name, sizeof(name), "%lld", (long long)app_id);
	rc = lock_dir_ensure(s->root_fd, name, 0755, true, &app_fd);
	if (rc == 0)
		rc = lock_dir_ensure(app_fd, service, lock_place_service.dir_mode, true, &fd);
	if (rc < 0) {
		errno = -rc;
		return err_sys(err, "make lock directory %s/%s/%s", s->lock_root, name, service);
	}
	if (a) {
		struct lock_dir *d = lock_dir_find(a, service);

		lock_watch_arm_app(a, app_fd);
		if (d)
			lock_dir_refresh(d, app_fd);
		lock_app_recount(a);
		lock_set_settle(s);
	}
	return 0;
}
