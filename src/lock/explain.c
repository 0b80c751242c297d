/*
 * Who holds the locks: one scan at a time, on the pool, with questions copied from the slots; its answers go back into
 * the slots that still are what was asked for. Nothing here runs by itself: no scan without a call, and none sooner than a
 * second after the last, whatever appears meanwhile: a lock that flaps must not cost a look at all processes each time.
 */
#include <fcntl.h>
#include <unistd.h>

#include "lock/set.h"
#include "loop/file.h"
#include "util/mem.h"

#define SCAN_EVERY_MS 1000

struct lock_waiter {
	loop_fn *done;
	void *ctx;
	struct lock_waiter *next;
};
struct job { /* owns what the pool works on */
	struct lock_set *set;
	struct holder_scan scan;
};

static void wait_in(struct lock_waiter **list, loop_fn *done, void *ctx)
{
	struct lock_waiter *w = mem_new(1, sizeof(*w));

	*w = (struct lock_waiter){.done = done, .ctx = ctx};
	while (*list)
		list = &(*list)->next;
	*list = w;
}

static void call_all(struct lock_waiter *list)
{
	while (list) {
		struct lock_waiter *w = list;

		list = w->next;
		w->done(w->ctx);
		free(w);
	}
}

/* -------- what is asked -------- */

static void containers_free(struct lock_explain *x)
{
	for (size_t i = 0; i < x->n_containers; i++) {
		free(x->containers[i].service);
		free(x->containers[i].id);
	}
	free(STEAL(x->containers));
	x->n_containers = 0;
}

static bool is_running_set(const struct lock_explain *x, const struct lock_container *running, size_t n, bool known)
{
	if (x->known != known || x->n_containers != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (x->containers[i].app_id != running[i].app_id || !str_eq(x->containers[i].id, running[i].id))
			return false;
	return true;
}

static void note_running(struct lock_explain *x, const struct lock_container *running, size_t n, bool known)
{
	if (is_running_set(x, running, n, known))
		return;
	containers_free(x);
	x->containers = mem_new(n + 1, sizeof(*x->containers));
	for (size_t i = 0; i < n; i++)
		x->containers[i] = (struct holder_container){.app_id = running[i].app_id,
							     .service = mem_strdup(running[i].service),
							     .id = mem_strdup(running[i].id)};
	x->n_containers = n;
	x->known = known;
	x->outdated = true;
}

static bool is_question(const struct lock_slot *slot)
{
	return slot->e.exists && !slot->e.ours;
}

/* All slots with a lock of an application, one call each. */
static void each_question(struct lock_set *s, void (*fn)(struct lock_dir *d, size_t i, void *ctx), void *ctx)
{
	for (size_t a = 0; a < s->n_apps; a++)
		for (size_t n = 0; n < s->apps[a]->n_dirs; n++) {
			struct lock_dir *d = s->apps[a]->dirs[n];

			for (size_t i = 0; d->place->names[i]; i++)
				if (is_question(&d->slots[i]))
					fn(d, i, ctx);
		}
}

struct count {
	size_t n, unknown;
};

static void count_question(struct lock_dir *d, size_t i, void *ctx)
{
	struct count *c = ctx;

	c->n++;
	c->unknown += !d->slots[i].asked;
}

/* A descriptor of this root for the scan: the set's own may be closed while the pool works. -1: none to be had. */
static int scan_root(struct holder_scan *scan, int fd)
{
	for (size_t i = 0; i < ARRAY_LEN(scan->roots); i++) {
		if (scan->roots[i] >= 0 && scan->root_of[i] == fd)
			return scan->roots[i];
		if (scan->roots[i] < 0) {
			scan->root_of[i] = fd;
			scan->roots[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
			return scan->roots[i];
		}
	}
	return -1;
}

static void add_question(struct lock_dir *d, size_t i, void *ctx)
{
	struct holder_scan *scan = ctx;
	struct lock_slot *slot = &d->slots[i];
	int from = lock_dir_root(d), root = from < 0 ? -1 : scan_root(scan, from);

	slot->asked = true; /* also when it is one too many: asking again would not help */
	slot->question = 0;
	if (root < 0 || scan->n_questions == HOLDER_QUESTIONS_MAX)
		return;
	mem_reserve(&scan->questions, &scan->questions_capacity, scan->n_questions + 1, sizeof(*scan->questions));
	scan->questions[scan->n_questions++] = (struct holder_question){
		.app_id = d->app->id,
		.service = mem_strdup(d->service),
		.root_fd = root,
		.below = mem_strdup(d->below),
		.name = mem_strdup(d->place->names[i]),
		.dev = slot->e.dev,
		.ino = slot->e.ino,
		.ctime_ms = slot->since_ms,
		.seen_ms = loop_now_ms(d->app->set->loop) - slot->observed_ms,
	};
	slot->question = scan->n_questions;
}

/* -------- the scan -------- */

static void on_work(void *ctx)
{
	struct job *job = ctx;

	holder_scan_run(&job->scan);
}

static void take_answer(struct lock_dir *d, size_t i, void *ctx)
{
	struct holder_scan *scan = ctx;
	struct lock_slot *slot = &d->slots[i];

	if (!slot->question) /* another lock than the one asked for */
		return;
	lock_holder_deinit(&slot->holder);
	slot->holder = scan->questions[slot->question - 1].found;
	scan->questions[slot->question - 1].found = (struct lock_holder){0};
	slot->question = 0;
}

static void begin_in_time(struct lock_set *s);

static void on_worked(void *ctx)
{
	struct job *job = ctx;
	struct lock_set *s = job->set;
	struct lock_waiter *answered;

	s->explain.working = false;
	if (!s->explain.closed) {
		each_question(s, take_answer, &job->scan);
		s->views_stale = true;
	}
	holder_scan_deinit(&job->scan);
	free(job);
	if (s->explain.closed) {
		s->explain.closed(s); /* the set may be gone after */
		return;
	}
	answered = STEAL(s->explain.now);
	s->explain.now = STEAL(s->explain.later);
	if (s->explain.now)
		begin_in_time(s);
	call_all(answered); /* last: they may free the set */
}

static void begin(struct lock_set *s)
{
	struct job *job = mem_new(1, sizeof(*job));
	struct lock_explain *x = &s->explain;

	job->set = s;
	holder_scan_init(&job->scan, s->proc);
	each_question(s, add_question, &job->scan);
	job->scan.containers_known = x->known;
	job->scan.containers = mem_new(x->n_containers + 1, sizeof(*job->scan.containers));
	for (size_t i = 0; i < x->n_containers; i++)
		job->scan.containers[i] = (struct holder_container){.app_id = x->containers[i].app_id,
								    .service = mem_strdup(x->containers[i].service),
								    .id = mem_strdup(x->containers[i].id)};
	job->scan.n_containers = x->n_containers;
	x->outdated = false;
	x->working = true;
	x->began = true;
	x->began_ms = loop_now_ms(s->loop);
	loop_work(s->loop, on_work, on_worked, job);
}

static void on_pace(void *ctx)
{
	begin(ctx);
}

static void begin_in_time(struct lock_set *s)
{
	struct lock_explain *x = &s->explain;
	int64_t rest_ms = x->began ? x->began_ms + SCAN_EVERY_MS - loop_now_ms(s->loop) : 0;

	if (rest_ms <= 0)
		begin(s);
	else if (!loop_timer_active(&x->pace))
		loop_timer_start(&x->pace, rest_ms);
}

static void on_answer(void *ctx)
{
	struct lock_set *s = ctx;

	call_all(STEAL(s->explain.known_already));
}

void lock_set_explain_hurry(struct lock_set *s)
{
	struct lock_explain *x = &s->explain;
	struct lock_waiter **rest = x->working ? &x->later : &x->now, **end = &x->known_already;

	loop_timer_stop(&x->pace);
	while (*end)
		end = &(*end)->next;
	*end = STEAL(*rest);
	if (x->known_already)
		loop_deferred_schedule(&x->answer);
}

bool lock_set_explain_is_due(const struct lock_set *s)
{
	return !s->explain.began || loop_now_ms(s->loop) - s->explain.began_ms >= SCAN_EVERY_MS;
}

void lock_set_explain(struct lock_set *s, const struct lock_container *running, size_t n, bool known, loop_fn *done,
		      void *ctx)
{
	struct lock_explain *x = &s->explain;
	struct count c = {0};

	note_running(x, running, n, known);
	each_question(s, count_question, &c);
	if (x->working) {
		wait_in(c.unknown || x->outdated ? &x->later : &x->now, done, ctx);
	} else if (c.n == 0 || (!c.unknown && !x->outdated && loop_now_ms(s->loop) - x->began_ms < SCAN_EVERY_MS)) {
		wait_in(&x->known_already, done, ctx);
		loop_deferred_schedule(&x->answer);
	} else {
		wait_in(&x->now, done, ctx);
		begin_in_time(s);
	}
}

/* -------- life -------- */

void lock_explain_init(struct lock_set *s)
{
	loop_deferred_init(s->loop, &s->explain.answer, on_answer, s);
	loop_timer_init(s->loop, &s->explain.pace, on_pace, s);
}

unsigned lock_explain_close(struct lock_set *s, loop_fn *closed)
{
	loop_timer_deinit(&s->explain.pace, closed, s);
	loop_deferred_cancel(&s->explain.answer);
	containers_free(&s->explain);
	if (s->explain.working)
		s->explain.closed = closed;
	return 1 + s->explain.working;
}

void lock_explain_deinit(struct lock_set *s)
{
	struct lock_explain *x = &s->explain;

	call_all(STEAL(x->known_already));
	call_all(STEAL(x->now));
	call_all(STEAL(x->later));
}
