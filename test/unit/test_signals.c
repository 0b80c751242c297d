/* Signals as callbacks. */
#include "check.h"

#include <signal.h>

#include "loop/signals.h"

struct seen {
	int count, last;
	struct loop_signals *free_these;
};

static void on_signal(void *ctx, int signo)
{
	struct seen *s = ctx;

	s->count++;
	s->last = signo;
	loop_signals_free(s->free_these);
	s->free_these = NULL;
}

static void a_signal_arrives_as_a_callback_from_the_loop(void **state)
{
	static const int signos[] = {SIGUSR1, SIGUSR2, 0};
	struct check_fixture *f = *state;
	struct seen seen = {0};
	struct loop_signals *s = loop_signals_new(f->loop, signos, on_signal, &seen);

	raise(SIGUSR2);
	assert_int_equal(seen.count, 0);
	RUN_UNTIL(f->loop, seen.count == 1);
	assert_int_equal(seen.last, SIGUSR2);
	raise(SIGUSR1);
	RUN_UNTIL(f->loop, seen.count == 2);
	assert_int_equal(seen.last, SIGUSR1);
	loop_signals_free(s);
}

static void two_watchers_of_one_signal_both_hear_it(void **state)
{
	static const int signos[] = {SIGUSR1, 0};
	struct check_fixture *f = *state;
	struct seen one = {0}, two = {0};
	struct loop_signals *a = loop_signals_new(f->loop, signos, on_signal, &one);
	struct loop_signals *b = loop_signals_new(f->loop, signos, on_signal, &two);

	raise(SIGUSR1);
	RUN_UNTIL(f->loop, one.count == 1 && two.count == 1);
	loop_signals_free(a);
	raise(SIGUSR1);
	RUN_UNTIL(f->loop, two.count == 2);
	assert_int_equal(one.count, 1);
	loop_signals_free(b);
}

static void a_callback_may_free_its_watch(void **state)
{
	static const int signos[] = {SIGUSR1, SIGUSR2, 0};
	struct check_fixture *f = *state;
	struct seen seen = {0};

	seen.free_these = loop_signals_new(f->loop, signos, on_signal, &seen);
	raise(SIGUSR1);
	raise(SIGUSR2); /* already on its way when the first is handled */
	RUN_UNTIL(f->loop, seen.count == 1);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.count, 1);
}

static void watching_signals_does_not_keep_the_loop_running(void **state)
{
	static const int signos[] = {SIGUSR1, 0}, none[] = {0};
	struct check_fixture *f = *state;
	struct seen seen = {0};
	struct loop_signals *s = loop_signals_new(f->loop, signos, on_signal, &seen);

	loop_run(f->loop); /* would not come back */
	loop_signals_free(s);
	loop_signals_free(loop_signals_new(f->loop, none, on_signal, &seen));
	loop_signals_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_signal_arrives_as_a_callback_from_the_loop),
		TEST(two_watchers_of_one_signal_both_hear_it),
		TEST(a_callback_may_free_its_watch),
		TEST(watching_signals_does_not_keep_the_loop_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
