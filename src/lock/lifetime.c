/*
 * Locks that do not count: of a service that does not run, too old, or from before the reboot (L3). Nothing is removed
 * here: such a lock is shown and holds nobody back, and the take that finds it in its way breaks it. Ages are of the
 * monotonic clock and begin at first sight; the clock of the wall, which may jump, can only make a lock younger.
 */
#include "lock/lock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lock/set.h"
#include "util/mem.h"

/*
 * A lock that appears although its service is said to be stopped: the engine may have started it again, and its event
 * be on the way. The lock counts, until so much time has passed that the event would have come.
 */
#define START_IS_TOLD_MS     10000
#define AGE_MAX_MS           (INT64_C(1000) * 86400 * 365 * 1000) /* what is more is for ever as well */
#define STARTING_ENTRIES_MAX 20000

const char *lock_lapse_name(enum lock_lapse lapse)
{
	static const char *const names[] = {
		[LOCK_COUNTS] = NULL,
		[LOCK_LAPSE_STOPPED] = "stopped",
		[LOCK_LAPSE_IGNORED] = "ignore-when-stopped",
		[LOCK_LAPSE_AGE] = "max-age",
	};

	return names[lapse];
}

/* Is the lock from before its application stopped, as far as we were told? */
static bool is_from_before(const struct lock_dir *d, size_t i, int64_t stopped_ms)
{
	int64_t seen_ms = d->slots[i].observed_ms;

	return seen_ms <= stopped_ms || loop_now_ms(d->app->set->loop) - seen_ms >= START_IS_TOLD_MS;
}

enum lock_lapse lock_slot_lapse(const struct lock_dir *d, size_t i)
{
	const struct lock_slot *slot = &d->slots[i];

	if (slot->breaking != LOCK_COUNTS) /* emptying a directory touches it */
		return slot->breaking;
	if (d->place->persistent && d->app->stopped && is_from_before(d, i, d->app->stopped_ms))
		return LOCK_LAPSE_STOPPED;
	if (d->ignored && is_from_before(d, i, d->ignored_ms))
		return LOCK_LAPSE_IGNORED;
	if (d->max_age_ms && loop_now_ms(d->app->set->loop) - slot->young_ms >= d->max_age_ms)
		return LOCK_LAPSE_AGE;
	return LOCK_COUNTS;
}

int64_t lock_slot_lapses_at(const struct lock_dir *d, size_t i)
{
	const struct lock_slot *slot = &d->slots[i];
	int64_t age_ms = d->max_age_ms ? slot->young_ms + d->max_age_ms : 0, told_ms = 0;

	if (d->ignored || (d->place->persistent && d->app->stopped))
		told_ms = slot->observed_ms + START_IS_TOLD_MS;
	return told_ms && (!age_ms || told_ms < age_ms) ? told_ms : age_ms;
}

void lock_slot_renew(struct lock_dir *d, size_t i, const struct lock_entry *now)
{
	struct lock_slot *slot = &d->slots[i];
	int64_t now_ms = loop_now_ms(d->app->set->loop), wall_ms = loop_wall_ms(), since_read = now_ms - slot->read_ms;
	const struct timespec *m = &now->mtime;
	int64_t touched_ago;

	slot->read_ms = now_ms;
	if (slot->e.mtime.tv_sec == m->tv_sec && slot->e.mtime.tv_nsec == m->tv_nsec)
		return;
	slot->e.mtime = *m;
	if (m->tv_sec > wall_ms / 1000) /* it may be any number: compared before it is multiplied */
		touched_ago = 0;
	else if (m->tv_sec < (wall_ms - since_read) / 1000)
		touched_ago = since_read;
	else
		touched_ago = wall_ms - ((int64_t)m->tv_sec * 1000 + m->tv_nsec / 1000000);
	touched_ago = touched_ago < 0 ? 0 : touched_ago > since_read ? since_read : touched_ago;
	slot->young_ms = now_ms - touched_ago;
}

void lock_set_lifetime(struct lock_set *s, int64_t app_id, const char *service, bool ignored, int64_t max_age_ms)
{
	struct lock_app *a = lock_app_find(s, app_id);
	struct lock_dir *d = a && service ? lock_dir_find(a, service) : NULL;
	int64_t age = max_age_ms < 0 ? 0 : max_age_ms > AGE_MAX_MS ? AGE_MAX_MS : max_age_ms;

	if (!d || !d->declared || (d->ignored == ignored && d->max_age_ms == age))
		return;
	if (ignored && !d->ignored)
		d->ignored_ms = loop_now_ms(s->loop);
	d->ignored = ignored;
	d->max_age_ms = age;
	lock_app_recount(a);
	lock_set_settle(s);
}

void lock_set_running(struct lock_set *s, int64_t app_id, bool running)
{
	struct lock_app *a = lock_app_find(s, app_id);

	if (!a || a->stopped == !running)
		return;
	a->stopped = !running;
	a->stopped_ms = loop_now_ms(s->loop);
	lock_app_recount(a);
	lock_set_settle(s);
}

/* Not with `d` holding ours: that one is wanted. */
static void slot_clear(struct lock_dir *d, size_t i, int fd)
{
	unsigned budget = STARTING_ENTRIES_MAX;
	struct err err = {0};
	AUTO_FREE char *told = NULL;
	int rc;

	if (lock_slot_read(d, i, fd) < 0 || !d->slots[i].e.exists || d->slots[i].e.ours)
		return;
	rc = lock_entry_break(fd, d->place->names[i], &budget, &err);
	if (rc == 0) {
		lock_event_slot(d, i, LOCK_EVENT_OVERRIDDEN, lock_lapse_name(LOCK_LAPSE_STOPPED));
		lock_slot_set(d, i, &(struct lock_entry){0});
		return;
	}
	if (rc == 1)
		err_set(&err, -EFBIG, "a lock from before the start has too many entries to be removed in time");
	lock_problem(d->app->set, d->app, d, &told, err.msg);
}

void lock_set_starting(struct lock_set *s, int64_t app_id)
{
	struct lock_app *a = lock_app_find(s, app_id);

	if (!a)
		return;
	for (size_t n = 0; n < a->n_dirs; n++) {
		struct lock_dir *d = a->dirs[n];
		AUTO_CLOSE int fd = -1;

		if (!d->place->persistent || !d->declared || lock_dir_open(d, &fd) < 0)
			continue;
		for (size_t i = 0; d->place->names[i]; i++)
			slot_clear(d, i, fd);
	}
	lock_app_recount(a);
	lock_set_settle(s);
}
