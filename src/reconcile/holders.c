/*
 * Who holds the locks that keep us waiting. /proc is read once when a wait begins, and when somebody asks; never while
 * things merely wait. The line that says what blocks an update is written when the answer is there, or the wait is over
 * before: always once, and always before the line that says it goes on.
 */
#include "reconcile/internal.h"

#include <inttypes.h>

#include "util/log.h"

struct ask {
	struct reconcile *r;
	loop_fn *done;
	void *ctx;
};

char *holder_text(int64_t pid, const char *command)
{
	return pid && command ? mem_printf("%s (pid %" PRId64 ")", command, pid) : NULL;
}

static void on_explained(void *ctx)
{
	struct ask *a = ctx;

	a->done(a->ctx);
	reconcile_drop(a->r);
	free(a);
}

void reconcile_explain_locks(struct reconcile *r, loop_fn *done, void *ctx)
{
	const struct current *c = &r->cache.current;
	struct lock_container *running = mem_new(c->n_containers + 1, sizeof(*running));
	struct ask *a = mem_new(1, sizeof(*a));
	size_t n = 0;

	for (size_t i = 0; i < c->n_containers; i++)
		if (c->containers[i].service && c->containers[i].state == CONTAINER_RUNNING)
			running[n++] = (struct lock_container){.app_id = c->containers[i].app_id,
							       .service = c->containers[i].service,
							       .id = c->containers[i].id};
	*a = (struct ask){.r = r, .done = done, .ctx = ctx};
	reconcile_hold(r);
	lock_set_explain(r->o.locks, running, n, c->known, on_explained, a);
	free(running);
}

/* -------- what blocks an update -------- */

/* The oldest lock of an application that stands in the way of `app_id`. */
static const struct lock_view *lock_in_the_way(struct reconcile *r, int64_t app_id)
{
	const struct lock_views *views = lock_set_views(r->o.locks);
	const struct lock_view *oldest = NULL;

	for (size_t i = 0; i < views->n; i++)
		if (views->v[i].app_id == app_id && views->v[i].counts &&
		    (!oldest || views->v[i].since_ms < oldest->since_ms))
			oldest = &views->v[i];
	return oldest;
}

/* The lock that began the wait, if it still is the same. */
static const struct lock_view *lock_of(struct reconcile *r, const struct wait_row *row)
{
	const struct lock_views *views = lock_set_views(r->o.locks);

	for (size_t i = 0; row->path && i < views->n; i++)
		if (views->v[i].since_ms == row->lock_since_ms && !views->v[i].ours &&
		    str_eq(views->v[i].path, row->path))
			return &views->v[i];
	return NULL;
}

void holders_tell_blocked(struct reconcile *r, struct wait_row *row)
{
	AUTO_FREE char *holder = NULL, *container = NULL;
	const struct lock_view *lock;

	if (row->blocked_told)
		return;
	row->blocked_told = true;
	lock = lock_of(r, row);
	if (lock) {
		holder = holder_text(lock->pid, lock->command);
		container = mem_strndup(lock->container_id, 12);
	}
	log_warn("update_blocked", kv_i64("app", row->app_id), kv_str("service", row->lock_service),
		 kv_str("path", row->path), kv_str("services", *row->services ? row->services : NULL),
		 kv_str("holder", holder), kv_str("container", container), kv_str("reason", lock ? lock->reason : NULL),
		 kv_time("since", row->lock_since_ms));
}

struct telling {
	struct reconcile *r;
	uint64_t number;
};

static void on_blocked_explained(void *ctx)
{
	struct telling *t = ctx;

	for (size_t i = 0; i < t->r->n_waits; i++)
		if (t->r->waits[i].explaining == t->number)
			holders_tell_blocked(t->r, &t->r->waits[i]);
	free(t);
}

void holders_wait_began(struct reconcile *r, struct wait_row *row)
{
	const struct lock_view *lock = lock_in_the_way(r, row->app_id);
	struct telling *t;

	row->path = mem_strdup(lock ? lock->path : NULL);
	row->lock_service = mem_strdup(lock ? lock->service : row->services);
	row->lock_since_ms = lock ? lock->since_ms : 0;
	if (!lock_set_explain_is_due(r->o.locks)) { /* one wait after the other: none of them is worth a delay */
		holders_tell_blocked(r, row);
		return;
	}
	t = mem_new(1, sizeof(*t));
	row->explaining = ++r->explains; /* rows move: a number stays */
	*t = (struct telling){.r = r, .number = row->explaining};
	reconcile_explain_locks(r, on_blocked_explained, t);
}

void holders_tell_all(struct reconcile *r)
{
	for (size_t i = 0; i < r->n_waits; i++)
		if (r->waits[i].kind == WAIT_LOCKED)
			holders_tell_blocked(r, &r->waits[i]);
}
