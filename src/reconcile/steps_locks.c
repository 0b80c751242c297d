/*
 * Taking and giving back the locks of an app: a few system calls, over before the call returns, so that the plan is
 * made anew in the same turn. And the look at them right before a stop.
 */
#include "reconcile/internal.h"

#include <errno.h>

#include "util/log.h"

static void failed(struct reconcile *r, const struct plan_step *step, const char *subject, const struct err *err)
{
	failure_add(r, subject, step->app_id, err->msg);
	log_warn("step_failed", kv_str("kind", plan_step_kind_name(step->kind)), kv_i64("app", step->app_id),
		 kv_str("err", err->msg));
	event_locks_failed(r, step, err->msg);
}

static void run_release(struct reconcile *r, const struct plan_step *step)
{
	AUTO_FREE char *subject = mem_printf("unlock %lld", (long long)step->app_id);
	struct err err = {0};

	if (!ledger_keeps_what_is_down(r, step->app_id))
		return;
	if (lock_release(r->o.locks, step->app_id, &err) < 0) {
		failed(r, step, subject, &err);
	} else {
		failure_clear(r, subject);
		ledger_disarm_running(r, step->app_id);
	}
	reconcile_poke(r);
}

/* Is it durable which services this update stops? If not, nothing is stopped that a crash would leave down. */
static bool is_recorded(struct reconcile *r, const struct plan_step *step)
{
	const struct failure *f;
	struct err err = {0};

	if (ledger_record_removed(r, step->app_id, &step->replaces))
		return true;
	f = failure_find(r, "store ledger");
	if (f) {
		err_set(&err, -EIO, "cannot record what is about to be stopped: %s", f->error);
		failure_add(r, step->subject, step->app_id, err.msg);
		reconcile_poke(r);
	}
	return false; /* else it is being written, and its end comes back here */
}

/* A lock that does not count is in the way no more than as long as it takes to remove it, piece by piece. */
static bool is_being_broken(struct reconcile *r, int64_t app_id)
{
	const struct lock_views *views = lock_set_views(r->o.locks);

	for (size_t i = 0; i < views->n; i++)
		if (views->v[i].app_id == app_id && !views->v[i].ours && !views->v[i].counts)
			return true;
	return false;
}

static void run_take(struct reconcile *r, const struct plan_step *step)
{
	const struct lock_app_view *view;
	struct err err = {0};
	int rc;

	declare_app(r, step->app_id, &step->locks);
	rc = lock_take(r->o.locks, step->app_id, step->force, &err);
	view = lock_views_app(lock_set_views(r->o.locks), step->app_id);
	if (rc < 0) {
		failed(r, step, step->subject, &err);
	} else if (rc == 0) {
		failure_clear(r, step->subject);
		ledger_arm_removed(r, step->app_id);
		app_row(r, step->app_id)->taken_ms = loop_now_ms(r->o.loop);
	} else if (!view || !view->blocked) {
		if (is_being_broken(r, step->app_id))
			return; /* the set calls again, in another turn */
		/* cannot be explained by what is seen: try again later, not at once */
		failure_add(r, step->subject, step->app_id, "a lock is in the way that cannot be seen");
	}
	reconcile_poke(r);
}

void steps_run_locks(struct reconcile *r, const struct plan_step *step)
{
	if (step->kind == STEP_RELEASE_LOCKS)
		run_release(r, step);
	else if (is_recorded(r, step))
		run_take(r, step);
}

int steps_check_locks(struct running *s)
{
	struct reconcile *r = s->r;
	const struct lock_app_view *view;
	int rc;

	if (app_row(r, s->app_id)->taken_ms == loop_now_ms(r->o.loop))
		return 0;
	rc = lock_take(r->o.locks, s->app_id, LOCK_FORCE_NONE, &s->err);
	if (rc == 0)
		app_row(r, s->app_id)->taken_ms = loop_now_ms(r->o.loop);
	if (rc <= 0)
		return rc;
	view = lock_views_app(lock_set_views(r->o.locks), s->app_id);
	if (view && (view->blocked || view->state != LOCK_HELD)) /* the planner sees it, too: its turn */
		return err_set(&s->err, -ECANCELED, "its update lock was taken away");
	return err_set(&s->err, -EBUSY, "a lock is in the way that cannot be seen");
}
