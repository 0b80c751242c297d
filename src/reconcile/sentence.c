/*
 * The state as one sentence for a person who looks at many services at once: what keeps us from the target, else what
 * is being done, else that nothing is. The most lasting obstacle comes first; how much there is besides it is counted.
 */
#include "reconcile/reconcile.h"

#include <stdio.h>

#include "util/mem.h"

static const struct plan_wait *find_wait(const struct plan *p, enum plan_wait_kind kind, size_t *at)
{
	for (*at = 0; *at < p->n_waits; ++*at)
		if (p->waits[*at].kind == kind)
			return &p->waits[*at];
	return NULL;
}

/* "app 1 waits for the lock of main since 2026-01-02T03:04:05Z" */
static char *locked(const struct reconcile *r, const struct plan_wait *w, size_t at, size_t others)
{
	AUTO_FREE char *names = strv_join(&w->services, ", ");
	int64_t since_ms = reconcile_wait_since(r, at);
	char since[STR_TIME_SIZE] = "", more[64] = "";

	if (since_ms) {
		str_time(since_ms, since);
		since[19] = 'Z'; /* the second will do */
		since[20] = '\0';
	}
	if (others)
		snprintf(more, sizeof(more), "; %zu more %s", others, others == 1 ? "wait" : "waits");
	return mem_printf("app %lld waits for the lock of %s%s%s%s", (long long)w->app_id,
			  *names ? names : "the whole app", since_ms ? " since " : "", since, more);
}

static char *waiting(const struct reconcile *r, const struct plan *p)
{
	const struct plan_wait *w;
	size_t at;

	w = find_wait(p, WAIT_LOCKED, &at);
	if (w)
		return locked(r, w, at, p->n_waits - 1);
	w = find_wait(p, WAIT_BACKOFF, &at);
	if (w)
		return mem_printf("%s: %s", str_starts(w->subject, "backoff ") ? w->subject + 8 : w->subject,
				  w->detail);
	return NULL;
}

static char *working(const struct plan *p)
{
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct plan_step *s = &p->steps[i];

		if (s->kind == STEP_PULL)
			return mem_printf("pulling %s", s->image);
		if (s->app_id)
			return mem_printf("updating app %lld", (long long)s->app_id);
	}
	if (p->n_waits && p->waits[0].detail)
		return mem_strdup(p->waits[0].detail);
	return p->settled ? NULL : mem_strdup("working");
}

static char *settled(const struct plan *p, const char *problem)
{
	size_t ours = p->n_apps;

	return mem_printf("%zu %s settled%s%s", ours, ours == 1 ? "app" : "apps",
			  problem ? "; the newest target is not used: " : "", problem ? problem : "");
}

char *reconcile_sentence(const struct reconcile *r)
{
	const struct plan *p = reconcile_plan(r);
	const char *problem = reconcile_target_problem(r);
	char *text;

	if (!reconcile_healthy(r))
		return mem_strdup("not healthy: a step has outlived every time limit of its own");
	if (reconcile_engine_problem(r))
		return mem_printf("engine unreachable: %s", reconcile_engine_problem(r));
	if (!reconcile_target(r))
		return mem_printf("waits for a target%s%s", problem ? ": " : "", problem ? problem : "");
	if (!reconcile_current(r)->known)
		return mem_strdup("reading the engine's state");
	text = waiting(r, p);
	if (!text)
		text = working(p);
	return text ? text : settled(p, problem);
}
