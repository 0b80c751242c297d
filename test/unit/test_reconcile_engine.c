/* What the engine answers, fails to answer or does not keep: asked again in measure, and never in the way of others. */
#include "reconcile_fixture.h"

/* -------- images that cannot be read -------- */

static void an_image_whose_inspect_fails_for_ever_is_not_asked_for_in_a_circle(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *pattern = NULL;

	w->backoff_cap_ms = 60000;
	fake_add_image(w, "bad:1");
	fake_add_image(w, "good:1");
	pattern = mem_printf("GET /images/sha256*%s/json", strchr(w->images[0].id, ':') + 1);
	rule_add(w, pattern, RULE_ANSWER, 500, -1);
	world_open(w, "nonce-1");
	offer(w, "1 r1: main=bad:1; 2 r1: web=good:1");
	RUN_UNTIL(w->loop, reconcile_app_settled(w->r, 2));
	assert_string_equal(fake_of(w, "web")->state, "running");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF)); /* tried a few times, then slowly */
	asked_clear(w);
	world_pass(w, 100);
	check_run_turns(w->loop, 500);
	assert_in_range(asked_count(w, "*"), 0, 8);
	assert_false(reconcile_app_settled(w->r, 1));
	assert_null(fake_of(w, "main"));
}

static void an_image_that_cannot_be_read_is_pulled_again_and_then_used(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	rule_add(w, "GET /images/sha256*/json", RULE_ANSWER, 500, 1);
	world_open(w, "nonce-1");
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, PULLS), 1);
	assert_int_equal(asked_count(w, "GET /images/sha256*/json"), 2);
	assert_string_equal(fake_of(w, "main")->state, "running");
}

static void an_image_whose_inspect_is_cut_off_for_ever_is_not_asked_for_in_a_circle(void **state)
{
	struct world *w = *state;

	w->backoff_cap_ms = 60000;
	fake_add_image(w, "img:1");
	rule_add(w, "GET /images/sha256*/json", RULE_CUT, 0, -1);
	world_open(w, "nonce-1");
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF)); /* tried a few times, then slowly */
	assert_in_range(asked_count(w, "GET /images/sha256*/json"), 1, 30);
	asked_clear(w);
	world_pass(w, 100);
	assert_in_range(asked_count(w, "*"), 0, 8);
	rules_end(w);
	reconcile_update(w->r, false, false); /* the pause ends */
	reconcile_look_done(w->r);
	fake_say(w, "image", "pull", "img:1");
	RUN_UNTIL(w->loop, world_settled(w));
}

static void a_pull_that_brings_nothing_is_not_done_in_a_circle(void **state)
{
	struct world *w = *state;

	w->backoff_cap_ms = 60000;
	rule_add(w, PULLS, RULE_ANSWER, 200, -1);
	world_open(w, "nonce-1");
	offer(w, "1 r1: main=far:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF));
	world_pass(w, 50);
	assert_int_equal(asked_count(w, PULLS), 3);
	assert_int_equal(logged(w, " step_without_effect "), 1);
}

/* -------- lists that fail -------- */

static int64_t asked_ms[16];
static size_t n_asked_ms;

static void on_networks_asked(struct world *w, const char *line)
{
	if (strcmp(line, "GET /networks") == 0 && n_asked_ms < ARRAY_LEN(asked_ms))
		asked_ms[n_asked_ms++] = loop_now_ms(w->loop);
}

static int64_t locked_since(struct world *w)
{
	const struct plan_wait *wait = wait_of(w, WAIT_LOCKED);

	assert_non_null(wait);
	return reconcile_wait_since(w->r, (size_t)(wait - reconcile_plan(w->r)->waits));
}

static void a_list_that_fails_is_asked_again_after_growing_pauses_and_a_wait_goes_on_as_it_was(void **state)
{
	struct world *w = *state;
	int64_t since;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	since = locked_since(w);
	asked_clear(w);
	n_asked_ms = 0;
	w->on_asked = on_networks_asked;
	rule_add(w, "GET /networks", RULE_ANSWER, 500, 3);
	fake_say(w, "network", "create", "n");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_ENGINE));
	assert_null(wait_of(w, WAIT_LOCKED)); /* nobody can tell now */
	RUN_UNTIL(w->loop, n_asked_ms == 4);
	assert_false(reconcile_current(w->r)->known);
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_true(asked_ms[1] - asked_ms[0] >= 240);
	assert_true(asked_ms[2] - asked_ms[1] >= 490);
	assert_true(asked_ms[3] - asked_ms[2] >= 990);
	assert_int_equal(locked_since(w), since);
	assert_int_equal(logged(w, " update_blocked "), 1);
	assert_int_equal(logged(w, " update_resumed "), 0);
	assert_int_equal(asked_count(w, CHANGES), 0);
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(logged(w, " update_blocked "), 1);
	assert_int_equal(logged(w, " update_resumed "), 1);
}

static void a_container_that_cannot_be_read_is_looked_at_again_with_everything(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	rule_add(w, "GET /containers/*0/json", RULE_ANSWER, 500, 1);
	fake_say(w, "container", "oom", fake_of(w, "main")->id);
	RUN_UNTIL(w->loop, !reconcile_current(w->r)->known);
	RUN_UNTIL(w->loop, reconcile_current(w->r)->known);
	RUN_UNTIL(w->loop, reconcile_plan(w->r)->settled);
	assert_int_equal(reconcile_current(w->r)->n_containers, 1);
	assert_int_equal(asked_count(w, CHANGES), 0);
}

static void a_container_whose_inspect_is_cut_off_is_looked_at_again(void **state)
{
	struct world *w = *state;
	struct fake_container *c;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	c = fake_of(w, "main");
	rule_add(w, "GET /containers/*0/json", RULE_CUT, 0, -1);
	fake_die(w, c);
	RUN_UNTIL(w->loop, asked_count(w, "GET /containers/*0/json") > 0);
	world_pass(w, 50);
	assert_in_range(asked_count(w, "GET /containers/*0/json"), 1, 4);
	rules_end(w);
	RUN_UNTIL(w->loop,
		  reconcile_current(w->r)->known && reconcile_current(w->r)->containers[0].state == CONTAINER_EXITED);
}

static void an_engine_that_goes_away_and_comes_back_is_listed_before_anything_is_done(void **state)
{
	struct world *w = *state;
	struct fake_container *c;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
	c = fake_of(w, "main");
	http_exchange_on_close(w->events, NULL, NULL);
	http_stream_abort(STEAL(w->events));
	RUN_UNTIL(w->loop, reconcile_engine_problem(w->r));
	offer(w, "1 r2: main=img:2");
	check_run_turns(w->loop, 10);
	assert_int_equal(asked_count(w, CHANGES), 0);
	fake_forget(w, c); /* meanwhile somebody removed it */
	RUN_UNTIL(w->loop, world_settled(w));
	assert_null(reconcile_engine_problem(w->r));
	assert_int_equal(asked_count(w, STOPS), 0);
	assert_int_equal(asked_count(w, CREATES), 1);
	assert_true(asked_at(w, CREATES) > asked_at(w, "GET /containers/json*"));
}

/* -------- settings that are not kept -------- */

static void an_engine_that_discards_a_setting_is_given_up_after_two_replacements_until_the_next_target(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	w->drops_tty = true;
	offer(w, "1 r2: main=img:1+tty");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_string_equal(fake_of(w, "main")->state, "running");
	assert_in_range(asked_count(w, CREATES), 1, 3);
	assert_int_equal(asked_count(w, STOPS), 1); /* of the old one: what differs is seen before it is started */
	assert_int_equal(logged(w, " setting_not_kept "), 1);
	assert_int_equal(reconcile_plan(w->r)->notes.n, 1);
	asked_clear(w);
	fake_say(w, "container", "oom", fake_of(w, "main")->id); /* looked at again: left alone */
	RUN_UNTIL(w->loop, asked_count(w, "GET /containers/*0/json") == 1);
	world_pass(w, 50);
	assert_int_equal(asked_count(w, CHANGES), 0);
	assert_false(lock_exists(w, 1, "main"));

	offer(w, "1 r3: main=img:1+tty");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_in_range(asked_count(w, STOPS), 1, 2);
	assert_in_range(asked_count(w, CREATES), 1, 3);
	assert_string_equal(fake_of(w, "main")->state, "running");
	assert_int_equal(logged(w, " setting_not_kept "), 2);

	asked_clear(w);
	w->drops_tty = false; /* an engine that learned it */
	offer(w, "1 r4: main=img:1+tty");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_int_equal(reconcile_plan(w->r)->notes.n, 0);
}

static void a_setting_that_was_given_up_stays_so_after_a_restart(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	w->drops_tty = true;
	world_run(w, "1 r1: main=img:1+tty");
	world_close(w);
	world_open(w, "nonce-2");
	RUN_UNTIL(w->loop, reconcile_current(w->r)->known && reconcile_plan(w->r)->settled);
	assert_int_equal(asked_count(w, CHANGES), 0);
}

/* -------- events -------- */

static void an_event_storm_of_foreign_containers_plans_nothing(void **state)
{
	struct world *w = *state;
	struct fake_container *theirs;
	uint64_t version;
	int n_changed;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	theirs = &w->containers[w->n_containers++];
	*theirs = (struct fake_container){.name = mem_strdup("theirs"),
					  .body = mem_strdup("{\"Image\":\"img:1\",\"HostConfig\":{}}"),
					  .state = "running"};
	snprintf(theirs->id, sizeof(theirs->id), "%064d", 7);
	world_pass(w, 50); /* what the beginning wrote is durable */
	version = reconcile_version(w->r);
	n_changed = w->n_changed;
	for (int i = 0; i < 200; i++) {
		fake_say(w, "container", i % 2 ? "die" : "start", theirs->id);
		fake_say(w, "container", "exec_create: sh", theirs->id);
		fake_say(w, "container", "destroy", "0000000000000000000000000000000000000000000000000000000000000008");
		if (i % 10 == 0)
			fake_say(w, "container", "die",
				 "0000000000000000000000000000000000000000000000000000000000000009");
		check_run_turns(w->loop, 3);
	}
	world_pass(w, 20);
	assert_true(asked_count(w, "GET /containers/*7/json") > 0);
	assert_int_equal(reconcile_version(w->r), version);
	assert_int_equal(w->n_changed, n_changed);
}

static void a_health_change_of_ours_is_seen(void **state)
{
	struct world *w = *state;
	uint64_t version;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	world_pass(w, 50); /* what the beginning wrote is durable */
	version = reconcile_version(w->r);
	fake_say(w, "container", "health_status: healthy", fake_of(w, "main")->id);
	RUN_UNTIL(w->loop, reconcile_version(w->r) != version);
	assert_int_equal(asked_count(w, "GET /containers/*0/json"), 1);
}

/* -------- the life of a step -------- */

static void what_a_step_was_about_is_read_again_before_the_next_one_without_any_event(void **state)
{
	struct world *w = *state;
	AUTO_FREE char *inspect = NULL;
	size_t removed, created, started;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
	w->quiet = true;
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, world_settled(w));
	inspect = mem_printf("GET /containers/%s/json", fake_of(w, "main")->id);
	removed = asked_at(w, REMOVALS);
	created = asked_at(w, CREATES);
	started = asked_at(w, STARTS);
	assert_in_range(asked_at(w, "GET /containers/*0/json"), asked_at(w, STOPS) + 1, removed - 1);
	assert_in_range(asked_at(w, inspect), created + 1, started - 1);
	assert_int_equal(asked_count(w, inspect), 2); /* … and after the start */
	assert_true(removed < created);
}

static void a_container_that_dies_before_its_stop_is_answered_is_removed_at_once(void **state)
{
	struct world *w = *state;
	struct fake_container *c;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
	rule_add(w, STOPS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, held_find(w, STOPS));
	c = fake_of(w, "main");
	check_run_turns(w->loop, 10);
	assert_int_equal(asked_count(w, REMOVALS), 0);
	fake_die(w, c);
	RUN_UNTIL(w->loop, asked_count(w, STARTS) == 1); /* the answer is still to come */
	assert_non_null(held_find(w, STOPS));
	assert_true(asked_at(w, STOPS) < asked_at(w, "GET /containers/*0/json"));
	assert_true(asked_at(w, "GET /containers/*0/json") < asked_at(w, REMOVALS));
	RUN_UNTIL(w->loop, world_settled(w));
	fake_answer(held_take(w, STOPS), 204, NULL);
	world_pass(w, 20);
	assert_int_equal(asked_count(w, STOPS), 1);
	assert_string_equal(fake_of(w, "main")->state, "running");
	assert_true(reconcile_plan(w->r)->settled);
}

static void a_create_that_fails_backs_off_and_other_apps_go_on(void **state)
{
	struct world *w = *state;

	w->backoff_cap_ms = 60000;
	fake_add_image(w, "img:1");
	world_open(w, "nonce-1");
	rule_add(w, "POST /containers/create?name=main*", RULE_ANSWER, 500, -1);
	offer(w, "1 r1: main=img:1; 2 r1: web=img:1");
	RUN_UNTIL(w->loop, reconcile_app_settled(w->r, 2) && wait_of(w, WAIT_BACKOFF));
	assert_int_equal(asked_count(w, "POST /containers/create?name=main*"), 1);
	assert_non_null(strstr(wait_of(w, WAIT_BACKOFF)->detail, "as the test says"));
	rules_end(w);
	reconcile_update(w->r, false, false); /* somebody wants it now: the pause ends */
	reconcile_look_done(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	assert_string_equal(fake_of(w, "main")->state, "running");
}

static void a_container_whose_create_was_never_answered_is_found_and_started(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_open(w, "nonce-1");
	w->silent_creates = true;
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, held_find(w, "created"));
	world_pass(w, 20); /* its event was read */
	http_stream_abort(held_take(w, "created"));
	w->silent_creates = false;
	RUN_UNTIL(w->loop, world_settled(w));
	assert_int_equal(asked_count(w, CREATES), 1);
	assert_string_equal(fake_of(w, "main")->state, "running");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(an_image_whose_inspect_fails_for_ever_is_not_asked_for_in_a_circle),
		WORLD_TEST(an_image_that_cannot_be_read_is_pulled_again_and_then_used),
		WORLD_TEST(a_pull_that_brings_nothing_is_not_done_in_a_circle),
		WORLD_TEST(an_image_whose_inspect_is_cut_off_for_ever_is_not_asked_for_in_a_circle),
		WORLD_TEST(a_list_that_fails_is_asked_again_after_growing_pauses_and_a_wait_goes_on_as_it_was),
		WORLD_TEST(a_container_that_cannot_be_read_is_looked_at_again_with_everything),
		WORLD_TEST(a_container_whose_inspect_is_cut_off_is_looked_at_again),
		WORLD_TEST(an_engine_that_goes_away_and_comes_back_is_listed_before_anything_is_done),
		WORLD_TEST(an_engine_that_discards_a_setting_is_given_up_after_two_replacements_until_the_next_target),
		WORLD_TEST(a_setting_that_was_given_up_stays_so_after_a_restart),
		WORLD_TEST(an_event_storm_of_foreign_containers_plans_nothing),
		WORLD_TEST(a_health_change_of_ours_is_seen),
		WORLD_TEST(what_a_step_was_about_is_read_again_before_the_next_one_without_any_event),
		WORLD_TEST(a_container_that_dies_before_its_stop_is_answered_is_removed_at_once),
		WORLD_TEST(a_create_that_fails_backs_off_and_other_apps_go_on),
		WORLD_TEST(a_container_whose_create_was_never_answered_is_found_and_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
