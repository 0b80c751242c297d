/*
 * Units side by side: starting containers is the engine's CPU time, so more at once only makes each downtime longer.
 * What is under way or already down comes first, then what could go down. A unit that only waits for something long
 * takes no slot.
 */
#include "plan/internal.h"

struct unit {
	bool flight, ready, lock, waits, down, granted;
};

static void sum_up(const struct plan_ctx *c, struct unit *units)
{
	for (size_t i = 0; i < c->n_services; i++) {
		const struct plan_service *s = &c->services[i];
		struct unit *u = &units[s->unit];

		if (s->flight ? s->flight->kind == STEP_RENAME : s->next == STEP_RENAME)
			continue; /* nothing goes down for a new name */
		u->flight |= s->outcome == OUT_FLIGHT;
		u->ready |= s->outcome == OUT_READY && !s->slot_free;
		u->lock |= s->outcome == OUT_READY_LOCK;
		u->waits |= s->outcome == OUT_SHORT;
		u->down |= plan_service_is_down(s);
	}
}

enum rank { RANK_FLIGHT, RANK_DOWN, RANK_READY, RANK_LOCK, RANK_COUNT };

static bool has_rank(const struct unit *u, enum rank rank)
{
	switch (rank) {
	case RANK_FLIGHT:
		return u->flight;
	case RANK_DOWN:
		return u->down && (u->ready || u->lock || u->waits);
	case RANK_READY:
		return u->ready;
	case RANK_LOCK:
		return u->lock;
	case RANK_COUNT:
		break;
	}
	return false;
}

/* Steps still under way on services that neither exist nor are wanted any more. */
static size_t count_strays(const struct plan_ctx *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->in->n_in_flight; i++)
		n += str_starts(c->in->in_flight[i].subject, "service ");
	for (size_t i = 0; i < c->n_services; i++)
		n -= c->services[i].flight != NULL;
	return n;
}

static void grant(const struct plan_ctx *c, struct unit *units)
{
	size_t slots = c->in->facts->processors ? c->in->facts->processors : 1, strays = count_strays(c);

	slots -= strays < slots ? strays : slots;

	for (enum rank rank = RANK_FLIGHT; rank < RANK_COUNT; rank++)
		for (size_t i = 0; i < c->n_services; i++) {
			struct unit *u = &units[i];

			if (u->granted || !has_rank(u, rank) || (!slots && rank != RANK_FLIGHT))
				continue;
			u->granted = true;
			slots -= slots > 0;
		}
}

static void emit_step(struct plan_ctx *c, struct plan_service *s)
{
	struct plan_step *step = plan_add_step(c, s->next, s->subject, s->app->id);

	step->service = mem_strdup(s->name);
	step->reason = mem_strdup(s->reason);
	plan_copy_changes(&step->changes, &s->changes);
	if (s->on && s->next != STEP_CREATE) {
		step->container_id = mem_strdup(s->on->id);
		step->name = mem_strdup(s->on->name);
	}
	if (s->next == STEP_CREATE || s->next == STEP_START)
		step->image = mem_strdup(s->want->image);
	if (s->next == STEP_CREATE || s->next == STEP_RENAME) {
		free(step->name);
		step->name = service_container_name(s->app->want, s->want);
	}
	if (s->next == STEP_CREATE)
		plan_service_config(c, s, &step->config);
}

static void emit_turn(struct plan_ctx *c, const struct plan_service *s)
{
	struct plan_wait *w = plan_add_wait(c, WAIT_OPERATION, s->app->id, "turn %s", s->subject);

	s->app->holds_locks = true;
	w->service = mem_strdup(s->name);
	w->detail = mem_printf("its turn comes when another service is done: %u at a time", c->in->facts->processors);
}

static void emit_wait(struct plan_ctx *c, const struct plan_service *s)
{
	struct plan_wait *w;

	if (s->outcome == OUT_SHORT)
		s->app->holds_locks = true;
	if (s->wait == WAIT_KIND_COUNT)
		return;
	if (s->wait == WAIT_BACKOFF) {
		plan_add_backoff(c, s->failure, s->app->id, s->name, "");
		return;
	}
	w = plan_add_wait(c, s->wait, s->app->id, "%s %s", plan_wait_kind_name(s->wait), s->subject);
	w->service = mem_strdup(s->name);
	w->until_ms = s->wait_until;
	w->detail = mem_strdup(s->wait_detail);
}

static void emit(struct plan_ctx *c, struct plan_service *s, bool granted)
{
	switch (s->outcome) {
	case OUT_READY:
		if (granted)
			emit_step(c, s);
		else
			emit_turn(c, s);
		break;
	case OUT_READY_LOCK:
		if (granted)
			s->app->want_take = true;
		else
			emit_turn(c, s);
		break;
	case OUT_SHORT:
	case OUT_LONG:
		emit_wait(c, s);
		break;
	case OUT_NONE:
	case OUT_FLIGHT:
		break;
	}
}

void plan_units_emit(struct plan_ctx *c)
{
	AUTO_FREE struct unit *units = mem_new(c->n_services + 1, sizeof(*units));

	sum_up(c, units);
	grant(c, units);
	for (size_t i = 0; i < c->n_services; i++) {
		struct plan_service *s = &c->services[i];

		emit(c, s, units[s->unit].granted || s->slot_free || s->next == STEP_RENAME);
	}
}
