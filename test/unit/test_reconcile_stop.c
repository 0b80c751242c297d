/* Stops that cannot be recalled: whose locks stay and for how long; and how the reconciler itself ends. */
#include "reconcile_fixture.h"

/* Two releases of one service; the first runs. */
static void run_first(struct world *w)
{
	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
}

/* -------- an answer that never comes -------- */

static int64_t stop_ms[8];
static size_t n_stop_ms;

static void on_stop_asked(struct world *w, const char *line)
{
	if (fnmatch(STOPS, line, 0) == 0 && n_stop_ms < ARRAY_LEN(stop_ms))
		stop_ms[n_stop_ms++] = loop_now_ms(w->loop);
}

static int64_t stop_over_ms(struct world *w)
{
	const struct plan_wait *wait = wait_of(w, WAIT_OPERATION);

	return wait ? wait->until_ms : 0;
}

static void the_locks_stay_after_a_stop_whose_answer_is_lost_until_it_is_over_at_the_latest(void **state)
{
	struct world *w = *state;
	int64_t first;

	run_first(w);
	n_stop_ms = 0;
	w->on_asked = on_stop_asked;
	rule_add(w, STOPS, RULE_CUT, 0, 2);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, stop_over_ms(w));
	first = stop_over_ms(w);
	assert_in_range(first - stop_ms[0], 3000, 3500); /* its stop timeout, and a margin */
	while (n_stop_ms == 1) {
		assert_false(app_locks(w, 1, "main"));
		loop_run_once(w->loop, true);
	}
	assert_true(stop_ms[1] >= first);
	RUN_UNTIL(w->loop, stop_over_ms(w) > first); /* the second counts from its own time */
	assert_in_range(stop_over_ms(w) - stop_ms[1], 3000, 3500);
	assert_false(app_locks(w, 1, "main"));
	fake_die(w, fake_of(w, "main")); /* the engine carried it out after all */
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(n_stop_ms, 2);
	assert_true(app_locks(w, 1, "main"));
	assert_string_equal(fake_of(w, "main")->state, "running");
}

static void a_stop_that_the_engine_refuses_keeps_the_locks_too(void **state)
{
	struct world *w = *state;

	run_first(w);
	rule_add(w, STOPS, RULE_ANSWER, 500, 1);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, stop_over_ms(w));
	world_pass(w, 100);
	assert_false(app_locks(w, 1, "main"));
	fake_die(w, fake_of(w, "main"));
	RUN_UNTIL(w->loop, world_settled(w));
}

static void a_lock_that_an_application_put_in_the_place_of_ours_stops_the_stop(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	w->facts.processors = 1;
	world_run(w, "1 r1: one=img:1 two=img:1");
	rule_add(w, STARTS, RULE_HOLD, 0, 1); /* the first is replaced; the second has its turn after that */
	offer(w, "1 r2: one=img:2 two=img:2");
	RUN_UNTIL(w->loop, held_find(w, STARTS));
	assert_int_equal(asked_count(w, STOPS), 1);
	app_unlocks(w, 1, "two");
	assert_true(app_locks(w, 1, "two"));
	fake_of(w, "one")->state = "running";
	fake_answer(held_take(w, STARTS), 204, NULL); /* comes together with the news of the lock, or before */
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	world_pass(w, 50);
	assert_int_equal(asked_count(w, STOPS), 1);
	app_unlocks(w, 1, "two");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, STOPS), 2);
}

static struct loop_deferred before_round; /* runs in every turn, before the round of that turn */
static bool swapped;

static void on_turn(void *ctx)
{
	struct world *w = ctx;

	if (!swapped && reconcile_service_step(w->r, 1, "one") == STEP_KIND_COUNT) {
		app_unlocks(w, 1, "two");
		swapped = app_locks(w, 1, "two");
	}
	if (!swapped)
		loop_deferred_schedule(&before_round);
}

static void a_lock_that_changed_hands_in_the_very_turn_of_a_stop_stops_it(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	w->facts.processors = 1;
	world_run(w, "1 r1: one=img:1 two=img:1");
	rule_add(w, STARTS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: one=img:2 two=img:2");
	RUN_UNTIL(w->loop, held_find(w, STARTS));
	world_pass(w, 10);
	swapped = false;
	loop_deferred_init(w->loop, &before_round, on_turn, w);
	loop_deferred_schedule(&before_round);
	fake_of(w, "one")->state = "running";
	fake_answer(held_take(w, STARTS), 204, NULL);
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_true(swapped);
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_string_equal(fake_of(w, "two")->state, "running");
	app_unlocks(w, 1, "two");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, STOPS), 2);
}

/* -------- stops of an earlier run -------- */

static char *kill_event(const char *id, int64_t at_ms)
{
	return mem_printf(
		"{\"Type\":\"container\",\"Action\":\"kill\",\"Actor\":{\"ID\":\"%s\"},\"timeNano\":%lld000000}\n", id,
		(long long)at_ms);
}

/* A run that ends with a stop under way, and the next one begins. */
static void leave_a_stop_behind(struct world *w)
{
	run_first(w);
	rule_add(w, STOPS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, held_find(w, STOPS));
	world_close(w);
	assert_true(lock_exists(w, 1, "main"));
	http_stream_abort(held_take(w, STOPS));
	asked_clear(w);
	n_stop_ms = 0;
	w->on_asked = on_stop_asked;
}

static void a_stop_of_an_earlier_run_is_over_when_the_last_of_its_signals_has_timed_out(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *hup = NULL, *term = NULL;
	int64_t term_ms;

	leave_a_stop_behind(w);
	uv_update_time(loop_uv(w->loop));
	hup = kill_event(fake_of(w, "main")->id, loop_wall_ms() - 2900); /* sent by somebody */
	term = kill_event(fake_of(w, "main")->id, loop_wall_ms() - 500);
	term_ms = loop_now_ms(w->loop) - 500;
	snprintf(w->past, sizeof(w->past), "%s%s", hup, term);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, stop_over_ms(w));
	assert_in_range(stop_over_ms(w) - term_ms, 2980, 3500);
	while (!n_stop_ms) {
		assert_false(app_locks(w, 1, "main"));
		loop_run_once(w->loop, true);
	}
	assert_in_range(stop_ms[0] - term_ms, 2980, 4000);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(app_locks(w, 1, "main"));
}

static void a_signal_that_comes_after_the_start_counts_as_well(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *hup = NULL;
	int64_t first;

	leave_a_stop_behind(w);
	hup = kill_event(fake_of(w, "main")->id, loop_wall_ms() - 1000);
	snprintf(w->past, sizeof(w->past), "%s", hup);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, stop_over_ms(w));
	first = stop_over_ms(w);
	fake_say(w, "container", "kill", fake_of(w, "main")->id); /* the TERM of the old stop */
	fake_say(w, "container", "health_status: starting", fake_of(w, "main")->id);
	RUN_UNTIL(w->loop, stop_over_ms(w) > first + 500);
	assert_false(app_locks(w, 1, "main"));
	fake_die(w, fake_of(w, "main"));
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(n_stop_ms, 0);
}

static void a_stop_that_an_earlier_run_never_sent_keeps_nothing(void **state)
{
	struct world *w = *state;

	leave_a_stop_behind(w); /* the request was lost before the engine read it: no signal was sent */
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(n_stop_ms, 1);
	assert_true(app_locks(w, 1, "main"));
}

static void the_past_is_asked_again_until_it_is_told_and_the_locks_stay_meanwhile(void **state)
{
	struct world *w = *state;

	leave_a_stop_behind(w);
	rule_add(w, "GET /events?since*", RULE_ANSWER, 500, 2);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, asked_count(w, "GET /events?since*") == 2);
	check_run_turns(w->loop, 5);
	assert_false(reconcile_current(w->r)->known);
	assert_false(app_locks(w, 1, "main"));
	assert_int_equal(asked_count(w, CHANGES), 0);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, "GET /events?since*"), 3);
}

static void ending_before_the_past_was_told_leaves_the_locks_of_the_earlier_run(void **state)
{
	struct world *w = *state;

	leave_a_stop_behind(w);
	rule_add(w, "GET /events?since*", RULE_HOLD, 0, 1);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, held_find(w, "GET /events?since*"));
	world_close(w);
	assert_true(lock_exists(w, 1, "main"));
}

/* -------- ending -------- */

static void it_ends_in_every_phase_of_an_update(void **state)
{
	static const char *const phases[] = {
		"GET /version",
		"GET /events*",
		"GET /containers/json*",
		"GET /networks",
		"GET /volumes",
		"GET /images/json*",
		"GET /images/sha256*/json",
		PULLS,
		"GET /containers/*0/json",
		REMOVALS,
		CREATES,
		STARTS,
		"POST /networks/create",
	};
	struct world *w = *state;

	fake_add_image(w, "img:1");
	for (size_t i = 0; i < ARRAY_LEN(phases); i++) {
		AUTO_FREE char *nonce = mem_printf("nonce-%zu", i);
		/* every second phase with another image, so that each of them is reached; the last but one is pulled */
		AUTO_FREE char *text = mem_printf("1 r%zu: main=pulled:%zu; %zu r1: web=img:1", i, i, i + 2);

		rule_add(w, phases[i], RULE_HOLD, 0, 1);
		world_open(w, nonce);
		offer(w, text);
		RUN_UNTIL(w->loop, held_find(w, phases[i]));
		check_run_turns(w->loop, 3);
		world_close(w);
		assert_false(lock_exists(w, 1, "main"));
		http_stream_abort(held_take(w, phases[i]));
		rules_end(w);
		check_run_turns(w->loop, 3);
		world_open(w, nonce); /* and the next run brings it to its end */
		RUN_UNTIL(w->loop, world_settled(w));
		assert_string_equal(fake_of(w, "main")->state, "running");
		world_close(w);
		asked_clear(w);
	}
}

static void locks_are_given_back_at_the_end_but_those_of_an_app_with_a_stop_under_way(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: db=img:1 main=img:1; 2 r1: web=img:1");
	rule_add(w, STOPS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: db=img:1 main=img:2; 2 r1: web=img:1");
	RUN_UNTIL(w->loop, held_find(w, STOPS));
	rule_add(w, CREATES, RULE_HOLD, 0, 1);
	offer(w, "1 r2: db=img:1 main=img:2; 2 r2: web=img:2");
	RUN_UNTIL(w->loop, held_find(w, CREATES));
	assert_true(lock_exists(w, 1, "main") && lock_exists(w, 2, "web"));
	world_close(w);
	assert_true(lock_exists(w, 1, "main") && lock_exists(w, 1, "db"));
	assert_false(lock_exists(w, 2, "web"));
	assert_int_equal(logged(w, " info lock_left_behind "), 4); /* each lock has two names */
	assert_int_equal(logged(w, " lock_left_behind app=1 service=db path=/"), 2);
	assert_int_equal(logged(w, " lock_left_behind app=1 service=main path=/"), 2);
}

static void ending_after_a_stop_whose_answer_was_lost_leaves_the_lock(void **state)
{
	struct world *w = *state;

	run_first(w);
	rule_add(w, STOPS, RULE_CUT, 0, 1);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, stop_over_ms(w));
	world_close(w);
	assert_true(lock_exists(w, 1, "main"));
}

static void it_waits_for_what_the_engine_is_still_asked_and_then_ends_once(void **state)
{
	struct world *w = *state;

	run_first(w);
	rule_add(w, STOPS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, held_find(w, STOPS));
	w->parts_left = 1;
	reconcile_stop(w->r, world_on_stopped, w);
	world_pass(w, 20);
	assert_int_equal(w->n_stopped, 0);
	reconcile_poke(w->r); /* nothing begins any more */
	asked_clear(w);
	fake_die(w, fake_of(w, "main"));
	fake_answer(held_take(w, STOPS), 204, NULL);
	RUN_UNTIL(w->loop, w->n_stopped);
	world_pass(w, 20);
	assert_int_equal(w->n_stopped, 1);
	assert_int_equal(asked_count(w, "*"), 0); /* not even what became of it */
	w->parts_left = 1;
	engine_stop(STEAL(w->engine), world_on_part_closed, w);
	RUN_UNTIL(w->loop, !w->parts_left);
	w->parts_left = 2;
	lock_set_free(STEAL(w->locks), world_on_part_closed, w);
	keys_free(STEAL(w->keys));
	store_close(STEAL(w->store), world_on_part_closed, w);
	RUN_UNTIL(w->loop, !w->parts_left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(the_locks_stay_after_a_stop_whose_answer_is_lost_until_it_is_over_at_the_latest),
		WORLD_TEST(a_stop_that_the_engine_refuses_keeps_the_locks_too),
		WORLD_TEST(a_lock_that_an_application_put_in_the_place_of_ours_stops_the_stop),
		WORLD_TEST(a_lock_that_changed_hands_in_the_very_turn_of_a_stop_stops_it),
		WORLD_TEST(a_stop_of_an_earlier_run_is_over_when_the_last_of_its_signals_has_timed_out),
		WORLD_TEST(a_signal_that_comes_after_the_start_counts_as_well),
		WORLD_TEST(a_stop_that_an_earlier_run_never_sent_keeps_nothing),
		WORLD_TEST(the_past_is_asked_again_until_it_is_told_and_the_locks_stay_meanwhile),
		WORLD_TEST(ending_before_the_past_was_told_leaves_the_locks_of_the_earlier_run),
		WORLD_TEST(it_ends_in_every_phase_of_an_update),
		WORLD_TEST(locks_are_given_back_at_the_end_but_those_of_an_app_with_a_stop_under_way),
		WORLD_TEST(ending_after_a_stop_whose_answer_was_lost_leaves_the_lock),
		WORLD_TEST(it_waits_for_what_the_engine_is_still_asked_and_then_ends_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
