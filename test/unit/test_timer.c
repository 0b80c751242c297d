/* One-shot timers. */
#include "check.h"

struct fired {
	struct loop_timer timer;
	struct loop_timer *other;
	int count, closed;
	int *sequence, place; /* among those that count together */
};

static void on_fired(void *ctx)
{
	struct fired *t = ctx;

	t->count++;
	if (t->sequence)
		t->place = ++*t->sequence;
}

static void on_closed(void *ctx)
{
	((struct fired *)ctx)->closed++;
}

static void a_timer_fires_once_from_the_loop(void **state)
{
	struct check_fixture *f = *state;
	struct fired t = {0};

	loop_timer_init(f->loop, &t.timer, on_fired, &t);
	assert_false(loop_timer_active(&t.timer));
	loop_timer_start(&t.timer, 0);
	assert_true(loop_timer_active(&t.timer));
	assert_int_equal(t.count, 0);
	RUN_UNTIL(f->loop, t.count == 1);
	assert_false(loop_timer_active(&t.timer));
	check_run_turns(f->loop, 5);
	assert_int_equal(t.count, 1);
	check_close_timer(f->loop, &t.timer);
}

static void timers_fire_in_the_order_of_their_times(void **state)
{
	struct check_fixture *f = *state;
	struct fired late = {0}, soon = {0}, later = {0};
	int sequence = 0;

	late.sequence = soon.sequence = later.sequence = &sequence;
	loop_timer_init(f->loop, &late.timer, on_fired, &late);
	loop_timer_init(f->loop, &later.timer, on_fired, &later);
	loop_timer_init(f->loop, &soon.timer, on_fired, &soon);
	loop_timer_start(&late.timer, 20);
	loop_timer_start(&later.timer, 20);
	loop_timer_start(&soon.timer, 1);
	RUN_UNTIL(f->loop, sequence == 3);
	assert_int_equal(soon.place, 1);
	assert_int_equal(late.place, 2); /* of equal times, the first started */
	assert_int_equal(later.place, 3);
	check_close_timer(f->loop, &late.timer);
	check_close_timer(f->loop, &later.timer);
	check_close_timer(f->loop, &soon.timer);
}

static void a_stopped_timer_does_not_fire_and_may_start_again(void **state)
{
	struct check_fixture *f = *state;
	struct fired t = {0};

	loop_timer_init(f->loop, &t.timer, on_fired, &t);
	loop_timer_start(&t.timer, 0);
	loop_timer_stop(&t.timer);
	loop_timer_stop(&t.timer);
	check_run_turns(f->loop, 5);
	assert_int_equal(t.count, 0);
	loop_timer_start(&t.timer, 1000000);
	loop_timer_start(&t.timer, -5); /* the last start counts; a time that is over is now */
	RUN_UNTIL(f->loop, t.count == 1);
	check_close_timer(f->loop, &t.timer);
}

static void on_stop_other(void *ctx)
{
	struct fired *t = ctx;

	t->count++;
	loop_timer_stop(t->other);
}

static void a_timer_may_stop_another_that_is_due(void **state)
{
	struct check_fixture *f = *state;
	struct fired a = {0}, b = {0};

	loop_timer_init(f->loop, &a.timer, on_stop_other, &a);
	loop_timer_init(f->loop, &b.timer, on_fired, &b);
	a.other = &b.timer;
	loop_timer_start(&a.timer, 0);
	loop_timer_start(&b.timer, 0);
	RUN_UNTIL(f->loop, a.count == 1);
	check_run_turns(f->loop, 5);
	assert_int_equal(b.count, 0);
	check_close_timer(f->loop, &a.timer);
	check_close_timer(f->loop, &b.timer);
}

static void a_closed_timer_does_not_fire_and_gives_its_memory_back(void **state)
{
	struct check_fixture *f = *state;
	struct fired *t = calloc(1, sizeof(*t)), seen = {0};

	loop_timer_init(f->loop, &t->timer, on_fired, &seen);
	loop_timer_start(&t->timer, 0);
	loop_timer_deinit(&t->timer, free, t); /* the sanitizers see a late use */
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.count, 0);
}

static void closing_calls_back_from_the_loop(void **state)
{
	struct check_fixture *f = *state;
	struct fired t = {0};

	loop_timer_init(f->loop, &t.timer, on_fired, &t);
	loop_timer_deinit(&t.timer, on_closed, &t);
	assert_int_equal(t.closed, 0);
	RUN_UNTIL(f->loop, t.closed == 1);
}

static void a_timer_that_never_was_is_closed_at_once(void **state)
{
	struct fired t = {0};

	(void)state;
	loop_timer_deinit(NULL, NULL, NULL);
	loop_timer_stop(&t.timer);
	assert_false(loop_timer_active(&t.timer));
	loop_timer_deinit(&t.timer, NULL, NULL);
	loop_timer_deinit(&t.timer, on_closed, &t);
	assert_int_equal(t.closed, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_timer_fires_once_from_the_loop),
		TEST(timers_fire_in_the_order_of_their_times),
		TEST(a_stopped_timer_does_not_fire_and_may_start_again),
		TEST(a_timer_may_stop_another_that_is_due),
		TEST(a_closed_timer_does_not_fire_and_gives_its_memory_back),
		TEST(closing_calls_back_from_the_loop),
		TEST(a_timer_that_never_was_is_closed_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
