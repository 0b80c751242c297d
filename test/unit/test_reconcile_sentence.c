/* The state as one sentence, for the service manager. */
#include "reconcile_fixture.h"

static bool says(const struct world *w, const char *pattern)
{
	AUTO_FREE char *text = reconcile_sentence(w->r);

	return fnmatch(pattern, text, 0) == 0;
}

static void it_names_the_way_to_a_target_and_that_it_is_reached(void **state)
{
	struct world *w = *state;

	world_open(w, "one");
	assert_true(says(w, "waits for a target"));
	RUN_UNTIL(w->loop, reconcile_current(w->r)->known);
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, says(w, "pulling img:1"));
	RUN_UNTIL(w->loop, says(w, "updating app 1"));
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(says(w, "1 app settled"));
	offer(w, "1 r1: main=img:1; 2 r1: other=img:1");
	RUN_UNTIL(w->loop, world_settled(w));
	assert_true(says(w, "2 apps settled"));
}

static void a_lock_that_is_waited_for_comes_before_what_else_is_waited_for(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	assert_true(says(w, "app 1 waits for the lock of main since 20[0-9][0-9]-*T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z"));
	rule_add(w, CREATES, RULE_ANSWER, 500, -1);
	offer(w, "1 r2: main=img:2; 2 r1: other=img:1");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_BACKOFF));
	assert_true(says(w, "app 1 waits for the lock of main since *; 1 more wait"));
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, !wait_of(w, WAIT_LOCKED));
	RUN_UNTIL(w->loop, says(w, "service */*: attempt * failed: *as the test says*"));
}

static void what_is_wrong_with_the_target_or_the_engine_is_quoted(void **state)
{
	struct world *w = *state;
	struct err err = {0};

	fake_add_image(w, "img:1");
	world_open(w, "one");
	err_set(&err, -ENOENT, "no such thing");
	reconcile_target_failed(w->r, &err);
	assert_true(says(w, "waits for a target: no such thing"));
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, world_settled(w));
	reconcile_target_failed(w->r, &err);
	assert_true(says(w, "1 app settled; the newest target is not used: no such thing"));
	http_exchange_on_close(w->events, NULL, NULL);
	http_stream_abort(STEAL(w->events));
	RUN_UNTIL(w->loop, says(w, "engine unreachable: ?*"));
	RUN_UNTIL(w->loop, says(w, "1 app settled; *"));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(it_names_the_way_to_a_target_and_that_it_is_reached),
		TEST(a_lock_that_is_waited_for_comes_before_what_else_is_waited_for),
		TEST(what_is_wrong_with_the_target_or_the_engine_is_quoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
