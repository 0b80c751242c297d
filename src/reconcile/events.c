/*
 * What happens, told to whoever follows it live. Each function here is called at the one place where the matching line
 * is logged, or where a value that the outside can read is replaced; it copies nothing, and does nothing when nobody
 * listens.
 */
#include "reconcile/internal.h"

#include <string.h>

#define PULL_EVENT_MS 300 /* between two events of one pull; its last percent is always told */

static void tell(const struct reconcile *r, const struct reconcile_event *e)
{
	r->o.event(r->o.ctx, e);
}

void event_step(const struct running *s, const char *what)
{
	bool started = str_eq(what, "started");

	if (s->r->o.event)
		tell(s->r, &(struct reconcile_event){
				   .type = RECONCILE_EVENT_STEP,
				   .what = what,
				   .app_id = s->app_id,
				   .service = s->service,
				   .kind = plan_step_kind_name(s->kind),
				   .image = s->image,
				   .name = s->name,
				   .reason = s->reason,
				   .took_ms = started ? 0 : loop_now_ms(s->r->o.loop) - s->started_ms,
				   .err = s->err.code ? s->err.msg : NULL,
			   });
}

/* Taking locks is over in the call that begins it: it shows as the events of the locks, but for its failure. */
void event_locks_failed(struct reconcile *r, const struct plan_step *step, const char *err)
{
	if (r->o.event)
		tell(r, &(struct reconcile_event){
				.type = RECONCILE_EVENT_STEP,
				.what = "failed",
				.app_id = step->app_id,
				.kind = plan_step_kind_name(step->kind),
				.reason = step->reason,
				.err = err,
			});
}

void event_pull(struct running *s)
{
	int64_t now = loop_now_ms(s->r->o.loop);

	if (!s->r->o.event || (s->percent < 100 && s->percent_told_ms && now - s->percent_told_ms < PULL_EVENT_MS))
		return;
	s->percent_told_ms = now;
	tell(s->r, &(struct reconcile_event){
			   .type = RECONCILE_EVENT_PULL,
			   .what = "progress",
			   .app_id = s->app_id,
			   .service = s->service,
			   .image = s->image,
			   .percent = s->percent,
		   });
}

/* No name of a service has a comma. */
static void split(const char *joined, struct strv *to)
{
	while (*joined) {
		size_t len = strcspn(joined, ",");

		strv_take(to, mem_strndup(joined, len));
		joined += len + (joined[len] == ',');
	}
}

static void tell_wait(struct reconcile *r, const char *what, const struct wait_row *row, const struct plan_wait *w)
{
	struct strv services = {0};

	if (!r->o.event)
		return;
	split(row->services ? row->services : "", &services);
	tell(r, &(struct reconcile_event){
			.type = RECONCILE_EVENT_WAIT,
			.what = what,
			.app_id = row->app_id,
			.service = row->service,
			.kind = plan_wait_kind_name(row->kind),
			.wait_kind = row->kind,
			.services = &services,
			.detail = w ? w->detail : NULL,
			.since_ms = row->since_ms,
		});
	strv_deinit(&services);
}

void event_wait_began(struct reconcile *r, const struct plan_wait *w, const struct wait_row *row)
{
	tell_wait(r, "began", row, w);
}

void event_wait_ended(struct reconcile *r, const struct wait_row *row)
{
	tell_wait(r, "ended", row, NULL);
}

/* A look at the source shows among the waits of the plan. */
void event_look(struct reconcile *r, const char *what)
{
	if (r->o.event)
		tell(r, &(struct reconcile_event){
				.type = RECONCILE_EVENT_WAIT,
				.what = what,
				.kind = plan_wait_kind_name(WAIT_OPERATION),
				.wait_kind = WAIT_OPERATION,
				.detail = "looking for a new target",
				.since_ms = r->looking_since,
			});
}

void event_lock(struct reconcile *r, const struct lock_event *e)
{
	static const char *const words[] = {
		[LOCK_EVENT_SEEN] = "seen",
		[LOCK_EVENT_GONE] = "gone",
		[LOCK_EVENT_TAKEN] = "taken",
		[LOCK_EVENT_RELEASED] = "released",
		[LOCK_EVENT_OVERRIDDEN] = "overridden",
		[LOCK_EVENT_LEFTOVER_REMOVED] = "leftover_removed",
		[LOCK_EVENT_LOST] = "lost",
		[LOCK_EVENT_PROBLEM] = "problem",
	};

	if (r->o.event)
		tell(r, &(struct reconcile_event){
				.type = RECONCILE_EVENT_LOCK,
				.what = words[e->kind],
				.app_id = e->app_id,
				.service = e->service,
				.lock = e,
			});
}

static void tell_container(struct reconcile *r, const char *what, const struct container *c)
{
	tell(r, &(struct reconcile_event){
			.type = RECONCILE_EVENT_CONTAINER,
			.what = what,
			.app_id = c->app_id,
			.service = c->service,
			.id = c->id,
			.name = c->name,
			.state = c->state_text,
			.health = c->health,
			.exit_code = c->exit_code,
		});
}

/* `before` NULL: it was not known. */
void event_container(struct reconcile *r, const struct container *before, const struct container *now)
{
	if (!r->o.event || !now->service)
		return;
	if (!before || before->state != now->state || !str_eq(before->state_text, now->state_text) ||
	    !str_eq(before->health, now->health) || !str_eq(before->name, now->name))
		tell_container(r, "changed", now);
}

void event_container_gone(struct reconcile *r, const struct container *c)
{
	if (r->o.event && c->service)
		tell_container(r, "gone", c);
}

void event_app_settled(struct reconcile *r, const struct app_row *row, const struct target_app *a)
{
	if (r->o.event)
		tell(r, &(struct reconcile_event){
				.type = RECONCILE_EVENT_APP,
				.what = "settled",
				.app_id = row->app_id,
				.name = a ? a->name : NULL,
				.release = a ? a->commit : NULL,
				.seq = (int64_t)r->ledger.seq,
				.took_ms = loop_now_ms(r->o.loop) - row->busy_since,
			});
}

void event_target(struct reconcile *r, const char *what, const char *err)
{
	if (r->o.event)
		tell(r, &(struct reconcile_event){
				.type = RECONCILE_EVENT_TARGET,
				.what = what,
				.seq = (int64_t)r->ledger.seq,
				.err = err,
			});
}
