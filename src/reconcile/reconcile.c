/*
 * The round: gather what is known, ask the planner, start what is not in flight, keep the waits. It runs as a deferred
 * call whenever something changed, at most a few times a turn; nothing here sleeps or remembers what it was about to
 * do.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/lock_rules.h"
#include "util/log.h"

/* Synchronous steps (locks) make a new plan possible at once; more than this many in a turn wait for the next. */
#define ROUNDS_A_TURN 8
/* A step that outlives this is stuck: every call has its own timeout well below (a pull's is between its pieces). */
#define STUCK_MS (20 * 60 * 1000)

static void finish(struct reconcile *r);

void reconcile_hold(struct reconcile *r)
{
	r->pending++;
}

void reconcile_drop(struct reconcile *r)
{
	if (!--r->pending && r->stopping)
		loop_deferred_schedule(&r->round);
}

void reconcile_mark_changed(struct reconcile *r)
{
	r->changed = true;
	r->version++;
}

void reconcile_poke(struct reconcile *r)
{
	if (r->started && !r->stopping)
		loop_deferred_schedule(&r->round);
}

/* ---- the round ---- */

static void arm_timer(struct reconcile *r)
{
	int64_t now = loop_now_ms(r->o.loop), next = 0;

	for (size_t i = 0; i < r->plan.n_waits; i++)
		if (r->plan.waits[i].until_ms > now && (!next || r->plan.waits[i].until_ms < next))
			next = r->plan.waits[i].until_ms;
	for (size_t i = 0; i < r->n_failures; i++)
		if (r->failures[i].retry_at_ms > now && (!next || r->failures[i].retry_at_ms < next))
			next = r->failures[i].retry_at_ms;
	if (next)
		loop_timer_start(&r->timer, next - now);
	else
		loop_timer_stop(&r->timer);
}

static void note_settled(struct reconcile *r)
{
	if (!r->plan.settled || !r->cache.current.known)
		return;
	history_clear(r, 0);
	if (r->looks || r->settled_seq == r->ledger.seq)
		return;
	r->settled_seq = r->ledger.seq;
	event_target(r, "settled", NULL);
	ledger_forget_images(r);
	reconcile_mark_changed(r);
}

static void record_replaced(struct reconcile *r)
{
	for (size_t i = 0; i < r->plan.n_apps; i++)
		if (r->plan.apps[i].replaces.n)
			ledger_record_removed(r, r->plan.apps[i].app_id, &r->plan.apps[i].replaces);
}

/* One plan and its steps. */
static void plan_once(struct reconcile *r)
{
	struct plan_input in;

	input_gather(r, r->target, false, &in);
	plan_deinit(&r->plan);
	plan_make(&in, &r->plan);
	input_deinit(&in);
	steps_drop_unwanted(r, &r->plan);
	waits_update(r);
	apps_update(r);
	record_replaced(r);
	for (size_t i = 0; i < r->plan.n_steps; i++)
		if (!r->plan.steps[i].in_flight)
			steps_start(r, &r->plan.steps[i]);
	note_settled(r);
}

static void run_round(struct reconcile *r)
{
	if (cache_images_ready(r)) {
		declare_locks(r);
		for (int i = 0; i < ROUNDS_A_TURN; i++) {
			plan_once(r);
			if (!r->round.queued)
				break;
			if (i + 1 < ROUNDS_A_TURN)
				loop_deferred_cancel(&r->round);
		}
		reconcile_mark_changed(r);
		arm_timer(r);
	}
	loop_deferred_schedule(&r->save);
	if (r->changed) {
		r->changed = false;
		if (r->o.changed)
			r->o.changed(r->o.ctx);
	}
}

static void on_round(void *ctx)
{
	struct reconcile *r = ctx;

	if (r->stopping) {
		if (!r->pending)
			finish(r);
		return;
	}
	log_hold(); /* what was begun is on its way before it is told of */
	run_round(r);
	log_release();
}

/* After the requests that this round began are on their way: nothing of them waits for the disk here. */
static void on_save(void *ctx)
{
	ledger_save(ctx);
}

static void on_timer(void *ctx)
{
	reconcile_poke(ctx);
}

void reconcile_when_saved(struct reconcile *r, loop_fn *done, void *ctx)
{
	cache_wait_add(&r->ledger.waiters, done, ctx);
	r->ledger.dirty = true;
	loop_deferred_schedule(&r->save);
}

/* ---- life ---- */

struct reconcile *reconcile_new(const struct reconcile_options *o)
{
	struct reconcile *r = mem_new(1, sizeof(*r));

	r->o = *o;
	r->memo = plan_memo_new();
	loop_deferred_init(o->loop, &r->round, on_round, r);
	loop_deferred_init(o->loop, &r->save, on_save, r);
	loop_timer_init(o->loop, &r->timer, on_timer, r);
	flapping_init(r);
	cache_init(r);
	ledger_load(r);
	targets_load(r);
	if (r->target)
		log_info("target_restored", kv_i64("seq", (int64_t)r->ledger.seq),
			 kv_i64("apps", (int64_t)r->target->n_apps));
	return r;
}

void reconcile_start(struct reconcile *r)
{
	r->started = true;
	cache_watch(r);
	reconcile_poke(r);
}

static bool stop_was_sent(const struct reconcile *r, int64_t app_id)
{
	for (const struct running *s = r->running; s; s = s->next)
		if (s->app_id == app_id && s->kind == STEP_STOP && !s->over)
			return true;
	for (size_t i = 0; i < r->cache.current.n_containers; i++) {
		const struct container *c = &r->cache.current.containers[i];

		if (c->app_id == app_id && c->state == CONTAINER_RUNNING &&
		    c->stopping_until_ms > loop_now_ms(r->o.loop))
			return true;
	}
	/* What an earlier run left behind may guard a stop still under way: not asked yet, or not seen yet. */
	return !r->cache.kills_read || (!r->cache.current.known && r->cache.n_stopping > 0);
}

/* One line for each lock of ours that stays; `failure` NULL: on purpose. */
static void tell_left_behind(struct reconcile *r, int64_t app_id, const char *failure)
{
	const struct lock_views *views = lock_set_views(r->o.locks);

	for (size_t i = 0; i < views->n; i++) {
		const struct lock_view *v = &views->v[i];

		if (v->app_id != app_id || !v->ours)
			continue;
		if (failure)
			log_warn("lock_left_behind", kv_i64("app", app_id), kv_str("service", v->service),
				 kv_str("path", v->path), kv_str("err", failure));
		else
			log_info("lock_left_behind", kv_i64("app", app_id), kv_str("service", v->service),
				 kv_str("path", v->path), kv_str("reason", "a stop was sent and cannot be recalled"));
	}
}

static void release_at_stop(struct reconcile *r, int64_t app_id)
{
	struct err err = {0};

	if (lock_release(r->o.locks, app_id, &err) < 0)
		tell_left_behind(r, app_id, err.msg);
}

static void give_back_locks(struct reconcile *r)
{
	const struct lock_views *views = lock_set_views(r->o.locks);
	int64_t *ids = mem_new(views->n_apps + 1, sizeof(*ids));
	size_t n = 0;

	for (size_t i = 0; i < views->n_apps; i++)
		if (views->apps[i].state != LOCK_FREE)
			ids[n++] = views->apps[i].app_id;
	for (size_t i = 0; i < n; i++) {
		if (stop_was_sent(r, ids[i]))
			tell_left_behind(r, ids[i], NULL);
		else
			release_at_stop(r, ids[i]);
	}
	free(ids);
}

static void on_timer_closed(void *ctx)
{
	reconcile_drop(ctx);
}

void reconcile_stop(struct reconcile *r, loop_fn *stopped, void *ctx)
{
	r->stopping = true;
	r->stopped = stopped;
	r->stopped_ctx = ctx;
	steps_cancel_pulls(r);
	holders_tell_all(r);
	flapping_tell_all(r);
	lock_set_explain_hurry(r->o.locks);
	give_back_locks(r);
	if (!r->started) /* nothing was changed by us yet */
		r->ledger.dirty = false;
	ledger_save(r);
	reconcile_hold(r);
	loop_timer_deinit(&r->timer, on_timer_closed, r);
	reconcile_hold(r);
	loop_timer_deinit(&r->flap_timer, on_timer_closed, r);
	reconcile_hold(r);
	loop_timer_deinit(&r->cache.sync_timer, on_timer_closed, r);
}

static void finish(struct reconcile *r)
{
	loop_fn *stopped = r->stopped;
	void *ctx = r->stopped_ctx;

	loop_deferred_cancel(&r->round);
	loop_deferred_cancel(&r->save);
	cache_wait_run(STEAL(r->ledger.waiters));
	while (r->running) {
		struct running *s = r->running;

		r->running = s->next;
		running_free(s);
	}
	failures_clear_all(r);
	history_clear_all(r);
	waits_deinit(r);
	flapping_deinit(r);
	cache_deinit(r);
	plan_deinit(&r->plan);
	plan_memo_free(r->memo);
	ledger_deinit(&r->ledger);
	target_free(r->target);
	strmap_deinit(&r->declared);
	free(r->failures);
	free(r->history);
	free(r->apps);
	free(r->target_text);
	free(r->target_problem);
	free(r->engine_problem);
	free(r);
	stopped(ctx);
}

/* ---- what is told ---- */

const struct target *reconcile_target(const struct reconcile *r)
{
	return r->target;
}

const struct current *reconcile_current(const struct reconcile *r)
{
	return &r->cache.current;
}

const struct plan *reconcile_plan(const struct reconcile *r)
{
	return &r->plan;
}

const struct lock_views *reconcile_locks(const struct reconcile *r)
{
	return lock_set_views(r->o.locks);
}

const struct device_facts *reconcile_facts(const struct reconcile *r)
{
	return r->o.facts;
}

const char *reconcile_target_problem(const struct reconcile *r)
{
	return r->target_problem;
}

const char *reconcile_engine_problem(const struct reconcile *r)
{
	return r->engine_problem;
}

uint64_t reconcile_seq(const struct reconcile *r)
{
	return r->ledger.seq;
}

uint64_t reconcile_settled_seq(const struct reconcile *r)
{
	return r->settled_seq;
}

uint64_t reconcile_version(const struct reconcile *r)
{
	return r->version;
}

bool reconcile_app_settled(const struct reconcile *r, int64_t app_id)
{
	for (size_t i = 0; i < r->plan.n_apps; i++)
		if (r->plan.apps[i].app_id == app_id)
			return r->plan.apps[i].settled;
	return false;
}

int64_t reconcile_wait_since(const struct reconcile *r, size_t i)
{
	for (size_t j = 0; j < r->n_waits; j++)
		if (str_eq(r->waits[j].subject, r->plan.waits[i].subject))
			return r->waits[j].since_ms;
	return 0;
}

int64_t reconcile_wait_until(const struct reconcile *r, size_t i)
{
	int64_t until = r->plan.waits[i].until_ms;

	return until ? loop_wall_ms() + until - loop_now_ms(r->o.loop) : 0;
}

int64_t reconcile_looking_since(const struct reconcile *r)
{
	return r->looking_since;
}

int reconcile_pull_percent(const struct reconcile *r, const char *image)
{
	for (const struct running *s = r->running; s; s = s->next)
		if (s->kind == STEP_PULL && !s->over && str_eq(s->image, image))
			return s->percent;
	return -1;
}

enum plan_step_kind reconcile_service_step(const struct reconcile *r, int64_t app_id, const char *service)
{
	for (const struct running *s = r->running; s; s = s->next)
		if (!s->over && s->app_id == app_id && str_eq(s->service, service))
			return s->kind;
	return STEP_KIND_COUNT;
}

const char *reconcile_settled_commit(const struct reconcile *r, int64_t app_id)
{
	for (size_t i = 0; i < r->ledger.n_commits; i++)
		if (r->ledger.commits[i].app_id == app_id)
			return r->ledger.commits[i].commit;
	return NULL;
}

bool reconcile_lock_override(const struct reconcile *r)
{
	return target_overrides_locks(r->target);
}

bool reconcile_healthy(const struct reconcile *r)
{
	for (const struct running *s = r->running; s; s = s->next)
		if (!s->over && s->kind != STEP_PULL && loop_now_ms(r->o.loop) - s->started_ms > STUCK_MS)
			return false;
	return true;
}

void reconcile_dry_run(const struct reconcile *r, const struct target *t, struct plan *out)
{
	struct plan_input in;

	input_gather(r, t, true, &in);
	plan_make(&in, out);
	input_deinit(&in);
}
