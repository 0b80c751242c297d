/*
 * The set: its life, which services count, and the directories made for them. The tree of set.h is tree.c's, reading
 * the disk observe.c's, waking up watch.c's, taking and releasing take.c's and release.c's.
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

bool lock_service_valid(const char *service)
{
	return service && service[0] && strnlen(service, NAME_MAX + 1) <= NAME_MAX && !strchr(service, '/') &&
	       !str_eq(service, ".") && !str_eq(service, "..");
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
	s->proc = o->proc ? mem_strdup(o->proc) : mem_printf("%s/proc", o->host_root);
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
	lock_explain_init(s);
	loop_timer_init(l, &s->timer, lock_watch_on_timer, s);
	lock_bases_init(s, o);
	if (dirwatch_new(l, &s->watcher, &watch_err) < 0) {
		s->watcher = NULL;
		s->watch_problem_told = true;
		lock_problem(s, NULL, NULL, &s->root_problem, watch_err.msg);
	}
	lock_watch_arm_root(s, parent_fd);
	lock_scan_leftovers(s, o->adopt_reference);
	lock_set_settle(s);
	*out = s;
	return 0;
}

/* The timer is closed, or the scan under way has ended. */
static void on_part_closed(void *ctx)
{
	struct lock_set *s = ctx;
	loop_fn *closed = s->closed;
	void *closed_ctx = s->closed_ctx;

	if (--s->parts_open)
		return;
	lock_explain_deinit(s);
	free(s);
	if (closed)
		closed(closed_ctx);
}

void lock_set_free(struct lock_set *s, loop_fn *closed, void *ctx)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_apps; i++)
		lock_app_free(s->apps[i]);
	lock_watch_drop(&s->root_watch);
	lock_watch_drop(&s->parent_watch);
	lock_bases_deinit(s);
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
	free(s->proc);
	free(s->boot_id);
	free(s->nonce);
	free(s->root_problem);
	s->closed = closed;
	s->closed_ctx = ctx;
	s->parts_open = 1 + lock_explain_close(s, on_part_closed);
	loop_timer_deinit(&s->timer, on_part_closed, s);
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
		if (!a->dirs[i]->base)
			a->dirs[i]->declared = false;
	for (size_t i = 0; i < services->n; i++) {
		if (lock_service_valid(services->v[i]))
			lock_dir_get(a, services->v[i])->declared = true;
		else if (!bad)
			bad = mem_printf("service name \"%.64s\" cannot be a directory", services->v[i]);
	}
	lock_problem(a->set, a, NULL, &a->problem, bad);
	app_fd = lock_app_open(a);
	for (size_t i = 0; i < a->n_dirs; i++)
		if (a->dirs[i]->declared && !a->dirs[i]->base)
			dir_repair(app_fd, a->dirs[i]);
}

void lock_set_services(struct lock_set *s, int64_t app_id, const struct strv *services)
{
	struct lock_app *a;

	lock_bases_look(s);
	a = lock_app_find(s, app_id);
	if (a ? strv_eq(&a->declared, services) : services->n == 0) {
		lock_set_settle(s);
		return;
	}
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
