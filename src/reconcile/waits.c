/*
 * Waits and apps from one plan to the next: since when something waits, when an update was blocked and resumed, when an
 * app settled. One line each, at the change, never at a retry.
 */
#include "reconcile/internal.h"

#include <string.h>

#include "util/log.h"

struct app_row *app_row(struct reconcile *r, int64_t app_id)
{
	for (size_t i = 0; i < r->n_apps; i++)
		if (r->apps[i].app_id == app_id)
			return &r->apps[i];
	mem_reserve(&r->apps, &r->apps_capacity, r->n_apps + 1, sizeof(*r->apps));
	r->apps[r->n_apps] = (struct app_row){.app_id = app_id};
	return &r->apps[r->n_apps++];
}

static void log_resumed(struct reconcile *r, const struct wait_row *row)
{
	int64_t now = loop_now_ms(r->o.loop), gone = app_row(r, row->app_id)->lock_gone_ms;

	log_info("update_resumed", kv_i64("app", row->app_id), kv_str("service", row->services),
		 kv_str("path", row->path), kv_i64("blocked_ms", now - row->since_loop),
		 kv_i64("lag_ms", gone && gone >= row->since_loop ? now - gone : 0));
}

static void row_free(struct wait_row *row)
{
	free(row->subject);
	free(row->services);
	free(row->service);
	free(row->path);
	free(row->lock_service);
}

static struct wait_row *find(struct reconcile *r, const char *subject)
{
	for (size_t i = 0; i < r->n_waits; i++)
		if (strcmp(r->waits[i].subject, subject) == 0)
			return &r->waits[i];
	return NULL;
}

/* A lock keeps an update waiting whatever becomes of the supervisor meanwhile: its wait goes on, it does not begin. */
static void row_begin(struct reconcile *r, struct wait_row *row, const struct plan_wait *w)
{
	int64_t now = loop_wall_ms();

	*row = (struct wait_row){
		.subject = mem_strdup(w->subject),
		.kind = w->kind,
		.app_id = w->app_id,
		.since_ms = w->kind == WAIT_LOCKED ? ledger_wait_began(r, w->subject, now) : now,
		.services = strv_join(&w->services, ","),
		.service = mem_strdup(w->service),
	};
	row->since_loop = loop_now_ms(r->o.loop) - (now - row->since_ms);
}

void waits_update(struct reconcile *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->n_waits; i++)
		r->waits[i].seen = !r->cache.current.known && r->waits[i].kind == WAIT_LOCKED; /* nobody can tell now */
	for (size_t i = 0; i < r->plan.n_waits; i++) {
		const struct plan_wait *w = &r->plan.waits[i];
		struct wait_row *row = find(r, w->subject);

		if (!row) {
			mem_reserve(&r->waits, &r->waits_capacity, r->n_waits + 1, sizeof(*r->waits));
			row = &r->waits[r->n_waits++];
			row_begin(r, row, w);
			event_wait_began(r, w, row);
			if (w->kind == WAIT_LOCKED)
				holders_wait_began(r, row);
		}
		row->seen = true;
	}
	for (size_t i = 0; i < r->n_waits; i++) {
		if (r->waits[i].seen) {
			r->waits[kept++] = r->waits[i];
			continue;
		}
		event_wait_ended(r, &r->waits[i]);
		if (r->waits[i].kind == WAIT_LOCKED) {
			holders_tell_blocked(r, &r->waits[i]); /* if it was not yet */
			log_resumed(r, &r->waits[i]);
			ledger_wait_ended(r, r->waits[i].subject);
		}
		row_free(&r->waits[i]);
	}
	r->n_waits = kept;
	if (r->cache.current.known && r->target)
		ledger_drop_waits(r);
}

void waits_deinit(struct reconcile *r)
{
	for (size_t i = 0; i < r->n_waits; i++)
		row_free(&r->waits[i]);
	free(r->waits);
}

static bool uses_api(const struct reconcile *r, const struct target_service *s)
{
	const struct current *c = &r->cache.current;

	for (size_t i = 0; i < c->n_images; i++)
		if (c->images[i].has_config && image_matches(&c->images[i], s->image))
			return service_wants_api(s, &c->images[i]);
	return service_wants_api(s, NULL);
}

/* Keys of services that are no more, or use the API no more, are worth nothing to anybody but a thief. */
static void prune_keys(struct reconcile *r, int64_t app_id, const struct target_app *a)
{
	const char **keep = mem_new((a ? a->n_services : 0) + 1, sizeof(*keep));
	size_t n = 0;

	for (size_t i = 0; a && i < a->n_services; i++)
		if (uses_api(r, &a->services[i]))
			keep[n++] = a->services[i].name;
	keys_prune_app(r->o.keys, app_id, keep);
	free(keep);
}

static void app_settled(struct reconcile *r, struct app_row *row)
{
	const struct target_app *a = r->target ? target_find_app(r->target, row->app_id) : NULL;

	ledger_clear_removed(r, row->app_id);
	ledger_clear_force(r, row->app_id);
	history_clear(r, row->app_id);
	ledger_calm_made(r, row->app_id);
	prune_keys(r, row->app_id, a);
	if (a)
		ledger_set_commit(r, row->app_id, a->commit);
	event_app_settled(r, row, a);
	log_info("app_settled", kv_i64("app", row->app_id), kv_str("name", a ? a->name : NULL),
		 kv_str("release", a ? a->commit : NULL), kv_i64("seq", (int64_t)r->ledger.seq),
		 kv_i64("took_ms", loop_now_ms(r->o.loop) - row->busy_since));
}

static void app_update(struct reconcile *r, struct app_row *row, bool settled)
{
	if (settled && row->settled && row->announced_seq == r->ledger.seq)
		return;
	if (!row->busy_since) /* it became unsettled, or somebody asks anew: not since it was last heard of */
		row->busy_since = loop_now_ms(r->o.loop);
	row->settled = settled;
	if (!settled)
		return;
	row->announced_seq = r->ledger.seq;
	app_settled(r, row);
	row->busy_since = 0;
}

void apps_update(struct reconcile *r)
{
	if (!r->target) /* nothing is wanted yet: what was being done for the last one is not over */
		return;
	for (size_t i = 0; i < r->plan.n_apps; i++)
		app_update(r, app_row(r, r->plan.apps[i].app_id), r->plan.apps[i].settled);
}
