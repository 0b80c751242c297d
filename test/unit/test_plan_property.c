/*
 * The planner under random weather: targets change, steps overlap, fail and are forgotten, applications lock and unlock,
 * containers and images vanish, become unreadable or are renamed, the engine goes away, the supervisor restarts.
 * Whatever the order, the rules of plan_model_engine.h hold at each step, and once the weather is calm everything ends
 * at the target with all locks free. A failure prints its seed; PLAN_SEED=<seed> runs that case alone, PLAN_TRACE=1
 * shows its steps, PLAN_CASES=<n> runs more.
 */
#include "plan_dsl.h"

#include <stdlib.h>

#define POOL        48
#define CASES       300
#define TURNS       60
#define CALM_ROUNDS 400

struct ghost { /* a stop that outlived the supervisor that sent it */
	char *id;
	int64_t until_ms;
};
struct weather {
	struct world w;
	uint64_t random;
	struct target *const *pool;
	size_t n_pool;
	struct ghost ghosts[64];
	size_t n_ghosts;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)(next_random(state) >> 11) % n;
}

static bool chance(uint64_t *state, unsigned percent)
{
	return below(state, 100) < percent;
}

/* ---- targets ---- */

static void print_random_service(struct buf *to, uint64_t *r, int app, char name, bool simple)
{
	buf_printf(to, "%c image=%c env=%u app=%d commit=c%u", name, 'i' + (int)below(r, 3), below(r, 2), app,
		   below(r, 3));
	if (chance(r, 10))
		buf_adds(to, " off");
	if (!simple && chance(r, 40) && name > 'a')
		buf_printf(to, " after=%c", 'a' + (int)below(r, 4));
	if (!simple && chance(r, 30))
		buf_printf(to, " net=%s", chance(r, 50) ? "x" : "x,y");
	if (!simple && chance(r, 20))
		buf_adds(to, " vol=v");
	if (!simple && chance(r, 15))
		buf_adds(to, " api");
	buf_adds(to, ";");
}

static struct target *random_target(uint64_t *r, bool simple)
{
	struct target *t;
	struct buf text;

	buf_init(&text, 1 << 16);
	for (int app = 1; app <= 3; app++) {
		if (chance(r, 25))
			continue;
		for (char name = 'a'; name < 'e'; name++)
			if (chance(r, 75))
				print_random_service(&text, r, app, name, simple);
		if (!simple && chance(r, 50))
			buf_printf(&text, "network x app=%d driver=%s;", app, chance(r, 50) ? "bridge" : "macvlan");
		if (chance(r, 5))
			buf_printf(&text, "none app=%d;", app);
	}
	t = dsl_target(buf_str(&text));
	buf_deinit(&text);
	return t;
}

/* ---- the start ---- */

static bool is_there(struct world *w, int64_t app_id, const char *service)
{
	return world_service(w, app_id, service) != NULL;
}

static void spawn_networks(struct weather *x, const struct target_app *a)
{
	for (size_t i = 0; i < a->n_networks; i++)
		if (!world_find_network(&x->w, a->networks[i].name))
			world_add_network(&x->w, a, &a->networks[i]);
	for (size_t i = 0; i < a->n_volumes; i++)
		if (!world_find_volume(&x->w, a->volumes[i].name))
			world_add_volume(&x->w, a, &a->volumes[i]);
}

static void spawn_app(struct weather *x, const struct target *t, const struct target_app *a, bool all_run)
{
	static const enum container_state states[] = {CONTAINER_RUNNING, CONTAINER_RUNNING, CONTAINER_RUNNING,
						      CONTAINER_CREATED, CONTAINER_EXITED,  CONTAINER_DEAD};

	for (size_t i = 0; i < a->n_services; i++) {
		if (!all_run &&
		    (chance(&x->random, 30) || (is_there(&x->w, a->id, a->services[i].name) && chance(&x->random, 80))))
			continue;
		world_spawn(&x->w, t, a, &a->services[i],
			    all_run ? CONTAINER_RUNNING : states[below(&x->random, ARRAY_LEN(states))]);
		world_own(&x->w, a->id);
	}
	if (all_run || chance(&x->random, 80))
		spawn_networks(x, a);
}

static void begin_case(struct weather *x, uint64_t seed, struct target *const *pool, size_t n_pool)
{
	*x = (struct weather){.random = seed * 0x9e3779b97f4a7c15u + 1, .pool = pool, .n_pool = n_pool};
	world_init(&x->w);
	x->w.seed = seed;
	x->w.target_is_borrowed = true;
	x->w.memo = plan_memo_new();
	for (int i = 0; i < 8; i++)
		next_random(&x->random);
	x->w.facts.processors = 1 + below(&x->random, 3);
	x->w.facts.keep_volumes = chance(&x->random, 50);
	x->w.pulls_max = 1 + below(&x->random, 3);
}

/* ---- what must never happen to a service that did not change ---- */

static bool network_stays(struct world *w, const struct target_app *a, const char *name)
{
	const struct network *n = world_find_network(w, name);

	if (n && strcmp(name, SUPERVISOR_NETWORK) == 0)
		return network_is_supervisor0(n);
	for (size_t i = 0; i < a->n_networks; i++)
		if (strcmp(a->networks[i].name, name) == 0)
			return n && network_equal(n, &a->networks[i], NULL);
	return false;
}

static bool is_unchanged(struct world *w, const struct container *k)
{
	const struct target_app *a = target_find_app(w->target, k->app_id);
	const struct target_service *s = a && a->commit ? target_app_find_service(a, k->service) : NULL;
	struct service_config want;
	const struct image *image;
	bool equal;

	if (!s || k != world_newest(w, k->app_id, k->service) || k->state == CONTAINER_DEAD ||
	    (!s->running && k->state == CONTAINER_RUNNING))
		return false;
	image = world_find_image(w, s->image);
	service_resolve(w->target, a, s, image, &w->facts, service_wants_api(s, image) ? "secret" : NULL, &want);
	equal = service_config_diff(&k->config, &want, NULL);
	service_config_deinit(&want);
	for (size_t i = 0; i < k->config.n_networks; i++)
		equal = equal && network_stays(w, a, k->config.networks[i].name);
	return equal;
}

static void check_step(struct weather *x, const struct plan_step *s)
{
	struct world *w = &x->w;
	const struct container *k = s->container_id ? world_find_container(w, s->container_id) : NULL;

	if (k && (s->kind == STEP_STOP || s->kind == STEP_REMOVE))
		WORLD_CHECK(w, !is_unchanged(w, k), "%s of %s, which did not change (%s)", plan_step_kind_name(s->kind),
			    s->subject, s->reason);
	for (size_t i = 0; s->kind == STEP_RELEASE_LOCKS && i < x->n_ghosts; i++) {
		k = world_find_container(w, x->ghosts[i].id);
		WORLD_CHECK(w, !k || k->app_id != s->app_id || k->state != CONTAINER_RUNNING,
			    "locks of %lld are released while an earlier stop is at work", (long long)s->app_id);
	}
}

/* ---- one turn ---- */

static void drop_unwanted_pulls(struct world *w, const struct plan *p)
{
	for (size_t i = w->n_flights; i-- > 0;) {
		bool wanted = w->flights[i].kind != STEP_PULL;

		for (size_t j = 0; j < p->n_steps && !wanted; j++)
			wanted = p->steps[j].in_flight && strcmp(p->steps[j].subject, w->flights[i].subject) == 0;
		if (wanted)
			continue;
		world_flight_deinit(&w->flights[i]);
		w->flights[i] = w->flights[--w->n_flights];
	}
}

static bool is_echoed(const struct world_flight *f, const struct plan *p)
{
	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].in_flight && strcmp(p->steps[i].subject, f->subject) == 0)
			return true;
	return false;
}

static void check_units(struct world *w, bool simple)
{
	unsigned at_work = 0;

	for (size_t i = 0; i < w->n_flights; i++)
		at_work += w->flights[i].service && !w->flights[i].dead && w->flights[i].kind != STEP_RENAME &&
			   w->flights[i].kind != STEP_CREATE;
	WORLD_CHECK(w, !simple || at_work <= w->facts.processors, "%u units at work, %u processors", at_work,
		    w->facts.processors);
}

/* What an earlier plan worked out changes nothing: the same plan comes without it. */
static void check_memo(struct world *w, struct plan_input in, const struct plan *p)
{
	struct plan q;

	in.memo = NULL;
	plan_make(&in, &q);
	WORLD_CHECK(w, p->n_steps == q.n_steps && p->n_waits == q.n_waits, "%zu steps, without a memo %zu", p->n_steps,
		    q.n_steps);
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct plan_step *a = &p->steps[i], *b = &q.steps[i];

		WORLD_CHECK(w, a->kind == b->kind && str_eq(a->subject, b->subject) && str_eq(a->reason, b->reason),
			    "%s (%s), without a memo %s (%s)", a->subject, a->reason, b->subject, b->reason);
		WORLD_CHECK(w, service_config_diff(&a->config, &b->config, NULL), "another configuration of %s",
			    a->subject);
	}
	for (size_t i = 0; i < p->n_waits; i++)
		WORLD_CHECK(w, str_eq(p->waits[i].subject, q.waits[i].subject), "%s, without a memo %s",
			    p->waits[i].subject, q.waits[i].subject);
	plan_deinit(&q);
}

/* Plan, and begin everything that may start, as the reconciler does. Returns how many steps there were. */
static size_t turn(struct weather *x, bool simple, bool calm, struct plan *keep)
{
	struct world *w = &x->w;
	struct plan_input in = world_input(w);
	struct plan p;
	size_t n;

	plan_make(&in, &p);
	world_check_plan(w, &p);
	check_memo(w, in, &p);
	for (size_t i = 0; i < w->n_flights; i++)
		WORLD_CHECK(w,
			    w->flights[i].dead || (w->now.known && w->flights[i].kind == STEP_PULL) ||
				    is_echoed(&w->flights[i], &p),
			    "%s in flight is not in the plan", w->flights[i].subject);
	drop_unwanted_pulls(w, &p);
	for (size_t i = 0; i < p.n_steps; i++) {
		struct plan_step *s = &p.steps[i];

		if (s->in_flight)
			continue;
		if (getenv("PLAN_TRACE"))
			print_message("%s %s: %s\n", plan_step_kind_name(s->kind), s->subject, s->reason);
		check_step(x, s);
		world_begin(w, s);
		if (s->kind == STEP_RELEASE_LOCKS || (s->kind == STEP_TAKE_LOCKS && (calm || chance(&x->random, 70))))
			world_end(w, w->n_flights - 1, NULL);
	}
	check_units(w, simple);
	world_settle_apps(w, &p);
	n = p.n_steps;
	if (keep)
		*keep = p;
	else
		plan_deinit(&p);
	return n;
}

static void end_ghosts(struct weather *x, bool all)
{
	for (size_t i = x->n_ghosts; i-- > 0;) {
		struct container *k = world_find_container(&x->w, x->ghosts[i].id);

		if (k && !all && x->ghosts[i].until_ms > x->w.now_ms)
			continue;
		if (k) {
			k->stopping_until_ms = 0;
			if (k->state == CONTAINER_RUNNING)
				k->state = CONTAINER_EXITED;
		}
		free(x->ghosts[i].id);
		x->ghosts[i] = x->ghosts[--x->n_ghosts];
	}
}

/* What was in flight is forgotten: stops go on in the engine, of the others some reached it. Locks stay on disk. */
static void restart(struct weather *x)
{
	struct world *w = &x->w;

	while (w->n_flights) {
		struct world_flight *f = &w->flights[w->n_flights - 1];
		struct container *k = f->container_id ? world_find_container(w, f->container_id) : NULL;

		if (f->kind == STEP_STOP && k && !f->dead && x->n_ghosts < ARRAY_LEN(x->ghosts)) {
			k->stopping_until_ms = w->now_ms + WORLD_STOP_MS;
			x->ghosts[x->n_ghosts++] = (struct ghost){mem_strdup(k->id), k->stopping_until_ms};
		} else if (f->kind != STEP_PULL && (f->kind == STEP_STOP || chance(&x->random, 50))) {
			world_effect(w, f);
		}
		world_flight_deinit(f);
		w->n_flights--;
	}
	while (w->n_failures)
		world_clear_failure(w, w->failures[0].subject);
	for (size_t i = 0; i < w->n_locks; i++)
		w->locks[i].leftover = w->locks[i].state != LOCK_FREE;
}

static void application_locks(struct weather *x)
{
	struct world *w = &x->w;
	int64_t app = 1 + below(&x->random, 3);
	AUTO_FREE char *row = mem_printf("%lld/%c", (long long)app, 'a' + (int)below(&x->random, 4));

	if (strv_has(&w->held_by_apps, row)) {
		world_drop_rows(&w->held_by_apps, app, strchr(row, '/') + 1);
		return;
	}
	if (world_lock(w, app)->state == LOCK_HELD) {
		if (!chance(&x->random, 10))
			return;                        /* the exclusive create fails */
		world_lock(w, app)->state = LOCK_LOST; /* somebody replaced ours */
	}
	strv_add(&w->held_by_apps, row);
}

static void something_vanishes(struct weather *x)
{
	struct world *w = &x->w;
	struct container *k =
		w->now.n_containers ? &w->now.containers[below(&x->random, (unsigned)w->now.n_containers)] : NULL;

	switch (below(&x->random, 6)) {
	case 0:
		if (k)
			world_remove_container(w, k);
		break;
	case 1:
		if (k && k->state == CONTAINER_RUNNING)
			k->state = CONTAINER_EXITED;
		break;
	case 2:
		if (k && k->state == CONTAINER_EXITED)
			k->state = CONTAINER_DEAD;
		break;
	case 3:
		if (k)
			world_rename(k, k->id);
		break;
	case 4:
		if (w->now.n_images)
			w->now.images[below(&x->random, (unsigned)w->now.n_images)].unreadable = true;
		break;
	default:
		if (w->now.n_images)
			world_remove_image(w, w->now.images[below(&x->random, (unsigned)w->now.n_images)].tags.v[0]);
		break;
	}
}

static void something_happens(struct weather *x)
{
	struct world *w = &x->w;
	unsigned what = below(&x->random, 100);

	if (what < 60 && w->n_flights) {
		size_t i = below(&x->random, (unsigned)w->n_flights);
		struct container *k =
			w->flights[i].container_id ? world_find_container(w, w->flights[i].container_id) : NULL;

		if (w->flights[i].kind == STEP_STOP && k && !w->flights[i].dead && chance(&x->random, 30)) {
			k->state = CONTAINER_EXITED; /* the die event comes before the answer */
			w->flights[i].dead = true;
		} else {
			world_end(w, i, chance(&x->random, 15) && !w->flights[i].dead ? "bad weather" : NULL);
		}
	} else if (what < 75) {
		application_locks(x);
	} else if (what < 82) {
		w->now_ms += below(&x->random, 8000);
		end_ghosts(x, false);
	} else if (what < 88) {
		something_vanishes(x);
	} else if (what < 92) {
		world_set_target(w, x->pool[below(&x->random, (unsigned)x->n_pool)]);
		while (w->n_failures)
			world_clear_failure(w, w->failures[0].subject);
	} else if (what < 94) {
		restart(x);
	} else if (what < 95 && w->n_forced == 0) {
		w->forced[w->n_forced++] = 1 + below(&x->random, 3);
	} else if (what >= 97) {
		w->now.known = !w->now.known; /* the engine goes away, or is back */
	}
}

/* ---- the end ---- */

static void advance(struct weather *x, const struct plan *p)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < p->n_waits; i++)
		if (p->waits[i].until_ms && p->waits[i].until_ms < first)
			first = p->waits[i].until_ms;
	WORLD_CHECK(&x->w, first != INT64_MAX, "nothing ends %s: %s", p->waits[0].subject, p->waits[0].detail);
	x->w.now_ms = first;
	end_ghosts(x, false);
}

static void calm_down(struct weather *x, bool simple)
{
	struct world *w = &x->w;

	w->now.known = true;
	for (int64_t app = 1; app <= 3; app++)
		world_drop_rows(&w->held_by_apps, app, NULL);
	for (unsigned round = 0; round < CALM_ROUNDS; round++) {
		struct plan p;

		turn(x, simple, true, &p);
		if (p.settled) {
			plan_deinit(&p);
			return;
		}
		if (!w->n_flights && !p.n_steps)
			advance(x, &p);
		while (w->n_flights)
			world_end(w, 0, NULL);
		plan_deinit(&p);
	}
	WORLD_CHECK(w, false, "it does not come to rest");
}

static void check_service(struct world *w, const struct target_app *a, const struct target_service *s)
{
	const struct container *k = world_service(w, a->id, s->name);
	size_t n = 0;

	for (size_t i = 0; i < w->now.n_containers; i++)
		n += w->now.containers[i].app_id == a->id && strcmp(w->now.containers[i].service, s->name) == 0;
	WORLD_CHECK(w, n == 1, "%s has %zu containers", s->name, n);
	WORLD_CHECK(w, strcmp(k->commit, a->commit) == 0, "%s is of release %s, not %s", s->name, k->commit, a->commit);
	WORLD_CHECK(w,
		    s->running ? k->state == CONTAINER_RUNNING || k->state == CONTAINER_EXITED
			       : k->state == CONTAINER_CREATED || k->state == CONTAINER_EXITED,
		    "%s is %d", s->name, k->state);
	if (s->running == (k->state == CONTAINER_RUNNING))
		WORLD_CHECK(w, is_unchanged(w, k), "%s differs from the target", s->name);
}

static void check_end(struct world *w)
{
	size_t wanted = 0;

	for (size_t i = 0; i < w->target->n_apps; i++) {
		const struct target_app *a = &w->target->apps[i];

		for (size_t j = 0; a->commit && j < a->n_services; j++, wanted++)
			check_service(w, a, &a->services[j]);
		for (size_t j = 0; a->commit && j < a->n_networks; j++)
			WORLD_CHECK(w, network_stays(w, a, a->networks[j].name), "network %s", a->networks[j].name);
	}
	WORLD_CHECK(w, w->now.n_containers == wanted, "%zu containers, %zu wanted", w->now.n_containers, wanted);
	for (size_t i = 0; i < w->n_locks; i++)
		WORLD_CHECK(w, w->locks[i].state == LOCK_FREE, "locks of %lld are still held",
			    (long long)w->locks[i].app_id);
	WORLD_CHECK(w, w->removed.n == 0, "%s is still recorded as stopped", w->removed.v[0]);
}

static void drop_case(struct weather *x)
{
	end_ghosts(x, true);
	world_deinit(&x->w);
}

static void stormy_case(uint64_t seed, struct target *const *pool, bool simple)
{
	struct weather x;

	begin_case(&x, seed, pool, POOL);
	for (int i = 0; i < 2; i++) {
		const struct target *t = pool[below(&x.random, POOL)];

		for (size_t j = 0; j < t->n_apps; j++)
			spawn_app(&x, t, &t->apps[j], false);
	}
	if (!simple && chance(&x.random, 50))
		world_add_supervisor0(&x.w, chance(&x.random, 70));
	world_set_target(&x.w, pool[below(&x.random, POOL)]);
	for (int i = 0; i < TURNS; i++) {
		turn(&x, simple, false, NULL);
		for (unsigned n = 1 + below(&x.random, 3); n > 0; n--)
			something_happens(&x);
	}
	calm_down(&x, simple);
	check_end(&x.w);
	drop_case(&x);
}

/* How many services that ran at first are down: each only for its own time. */
static unsigned count_down(struct weather *x, const struct strv *ran)
{
	unsigned n = 0;

	for (size_t i = 0; i < ran->n; i++) {
		char *name;
		int64_t app_id = strtoll(ran->v[i], &name, 10);
		const struct target_app *a = target_find_app(x->w.target, app_id);
		const struct target_service *s = a && a->commit ? target_app_find_service(a, name + 1) : NULL;
		const struct container *k = world_service(&x->w, app_id, name + 1);

		n += s && s->running && (!k || k->state != CONTAINER_RUNNING);
	}
	return n;
}

static void quiet_case(uint64_t seed, struct target *const *pool)
{
	struct strv ran = {0};
	struct weather x;
	const struct target *t;

	begin_case(&x, seed, pool, POOL);
	t = pool[below(&x.random, POOL)];
	for (size_t j = 0; j < t->n_apps; j++)
		if (t->apps[j].commit)
			spawn_app(&x, t, &t->apps[j], true);
	for (size_t i = 0; i < x.w.now.n_containers; i++)
		strv_take(&ran, mem_printf("%lld/%s", (long long)x.w.now.containers[i].app_id,
					   x.w.now.containers[i].service));
	world_set_target(&x.w, pool[below(&x.random, POOL)]);
	for (unsigned i = 0; i < CALM_ROUNDS && (turn(&x, true, true, NULL) || x.w.n_flights); i++) {
		if (x.w.n_flights)
			world_end(&x.w, below(&x.random, (unsigned)x.w.n_flights), NULL);
		WORLD_CHECK(&x.w, count_down(&x, &ran) <= x.w.facts.processors, "%u services down, %u processors",
			    count_down(&x, &ran), x.w.facts.processors);
	}
	calm_down(&x, true);
	check_end(&x.w);
	strv_deinit(&ran);
	drop_case(&x);
}

static void fill_pool(struct target **pool, bool simple)
{
	uint64_t random = 0x5eed;

	for (size_t i = 0; i < POOL; i++)
		pool[i] = random_target(&random, simple);
}

static void drop_pool(struct target **pool)
{
	for (size_t i = 0; i < POOL; i++)
		target_free(pool[i]);
}

static uint64_t environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

enum scenario { STORMY, STORMY_SIMPLE, QUIET };

static void run_cases(enum scenario scenario)
{
	uint64_t only = environment("PLAN_SEED", 0), n = environment("PLAN_CASES", CASES);
	struct target *pool[POOL];

	fill_pool(pool, scenario != STORMY);
	for (uint64_t seed = only ? only : 1; seed <= (only ? only : n); seed++) {
		if (scenario == QUIET)
			quiet_case(seed, pool);
		else
			stormy_case(seed, pool, scenario == STORMY_SIMPLE);
	}
	drop_pool(pool);
}

static void whatever_happens_rules_hold_and_it_ends_at_the_target(void **state)
{
	(void)state;
	run_cases(STORMY);
}

static void independent_services_never_take_more_slots_than_processors(void **state)
{
	(void)state;
	run_cases(STORMY_SIMPLE);
}

static void no_more_services_are_down_at_once_than_processors(void **state)
{
	(void)state;
	run_cases(QUIET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_happens_rules_hold_and_it_ends_at_the_target),
		cmocka_unit_test(independent_services_never_take_more_slots_than_processors),
		cmocka_unit_test(no_more_services_are_down_at_once_than_processors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
