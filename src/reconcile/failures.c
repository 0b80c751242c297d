/*
 * What went wrong, by subject: min(500 ms * 2^n, cap) until the next attempt, ended early by a new target, a force or
 * the engine coming back. Beside it the brake: a step that keeps succeeding without its app ever settling (an engine
 * that discards a setting, say) becomes a failure too, so that nothing is stopped over and over.
 */
#include "reconcile/internal.h"

#include <errno.h>

#include "util/backoff.h"
#include "util/log.h"

#define BACKOFF_UNIT_MS 500
#define BRAKE_AFTER     3

struct failure *failure_find(struct reconcile *r, const char *subject)
{
	for (size_t i = 0; i < r->n_failures; i++)
		if (str_eq(r->failures[i].subject, subject))
			return &r->failures[i];
	return NULL;
}

static void add(struct reconcile *r, const char *subject, int64_t app_id, unsigned attempts, const char *error)
{
	int64_t now = loop_now_ms(r->o.loop);
	struct failure *f = failure_find(r, subject);

	if (!f) {
		mem_reserve(&r->failures, &r->failures_capacity, r->n_failures + 1, sizeof(*r->failures));
		f = &r->failures[r->n_failures++];
		*f = (struct failure){.subject = mem_strdup(subject), .app_id = app_id};
	}
	free(f->error);
	f->error = mem_strdup(error);
	f->attempts = attempts ? attempts : f->attempts + 1;
	f->since_ms = now;
	f->retry_at_ms = now + backoff_ms(BACKOFF_UNIT_MS, f->attempts, r->o.backoff_cap_ms);
}

void failure_add(struct reconcile *r, const char *subject, int64_t app_id, const char *error)
{
	add(r, subject, app_id, 0, error);
}

static void remove_at(struct reconcile *r, size_t i)
{
	free(r->failures[i].subject);
	free(r->failures[i].error);
	r->failures[i] = r->failures[--r->n_failures];
}

void failure_clear(struct reconcile *r, const char *subject)
{
	for (size_t i = 0; i < r->n_failures; i++)
		if (str_eq(r->failures[i].subject, subject)) {
			remove_at(r, i);
			return;
		}
}

void failures_clear_all(struct reconcile *r)
{
	while (r->n_failures)
		remove_at(r, r->n_failures - 1);
}

static struct history *history_find(struct reconcile *r, const char *subject, enum plan_step_kind kind)
{
	for (size_t i = 0; i < r->n_history; i++)
		if (r->history[i].kind == kind && str_eq(r->history[i].subject, subject))
			return &r->history[i];
	return NULL;
}

/* What was stopped is always brought back at once: only what comes before is held. */
static bool begins_a_cycle(enum plan_step_kind kind)
{
	return kind == STEP_STOP || kind == STEP_RENAME || kind == STEP_PULL || kind == STEP_CREATE_NETWORK ||
	       kind == STEP_REMOVE_NETWORK || kind == STEP_CREATE_VOLUME || kind == STEP_REMOVE_IMAGE;
}

bool history_brakes(struct reconcile *r, const struct plan_step *s)
{
	struct history *h = history_find(r, s->subject, s->kind);
	struct buf text;

	if (!h || !begins_a_cycle(s->kind) || h->times < BRAKE_AFTER + h->brakes)
		return false;
	h->brakes++; /* one more try after the backoff, which grows with each */
	buf_init(&text, 512);
	buf_printf(&text, "%s was done %u times without the app settling: %s", plan_step_kind_name(s->kind), h->times,
		   s->reason ? s->reason : "");
	for (size_t i = 0; i < s->changes.n; i++)
		buf_printf(&text, "%s%s", i ? ", " : " in ", s->changes.v[i].field);
	add(r, s->subject, s->app_id, h->brakes, buf_str(&text));
	log_warn("step_without_effect", kv_str("kind", plan_step_kind_name(s->kind)), kv_i64("app", s->app_id),
		 kv_str("service", s->service), kv_str("err", buf_str(&text)));
	buf_deinit(&text);
	return true;
}

void history_add(struct reconcile *r, const char *subject, enum plan_step_kind kind, int64_t app_id)
{
	struct history *h = history_find(r, subject, kind);

	if (!h) {
		mem_reserve(&r->history, &r->history_capacity, r->n_history + 1, sizeof(*r->history));
		h = &r->history[r->n_history++];
		*h = (struct history){.subject = mem_strdup(subject), .kind = kind, .app_id = app_id};
	}
	h->times++;
}

void history_clear(struct reconcile *r, int64_t app_id)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->n_history; i++) {
		if (r->history[i].app_id == app_id)
			free(r->history[i].subject);
		else
			r->history[kept++] = r->history[i];
	}
	r->n_history = kept;
}

void history_clear_all(struct reconcile *r)
{
	for (size_t i = 0; i < r->n_history; i++)
		free(r->history[i].subject);
	r->n_history = 0;
}
