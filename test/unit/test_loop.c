/* The loop: deferred calls, stalls, stopping, and what loop_free() notices. */
#include "check.h"

#include <signal.h>
#include <time.h>

#include "util/log.h"

/* -------- deferred calls -------- */

struct calls {
	struct loop *loop;
	struct loop_deferred a, b, c;
	char order[64];
	struct loop_deferred *schedule, *cancel; /* what `a` does */
	int left;
};

static void called(struct calls *k, char what)
{
	size_t n = strlen(k->order);

	assert_true(n + 1 < sizeof(k->order));
	k->order[n] = what;
}

static void on_a(void *ctx)
{
	struct calls *k = ctx;

	called(k, 'a');
	if (k->schedule)
		loop_deferred_schedule(k->schedule);
	if (k->cancel)
		loop_deferred_cancel(k->cancel);
}

static void on_b(void *ctx)
{
	called(ctx, 'b');
}

static void on_c(void *ctx)
{
	called(ctx, 'c');
}

static void calls_init(struct calls *k, struct loop *l)
{
	*k = (struct calls){.loop = l};
	loop_deferred_init(l, &k->a, on_a, k);
	loop_deferred_init(l, &k->b, on_b, k);
	loop_deferred_init(l, &k->c, on_c, k);
}

static void deferred_calls_run_in_order_and_never_at_once(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;

	calls_init(&k, f->loop);
	loop_deferred_schedule(&k.b);
	loop_deferred_schedule(&k.a);
	loop_deferred_schedule(&k.c);
	assert_string_equal(k.order, "");
	loop_run(f->loop); /* ends by itself: nothing is left */
	assert_string_equal(k.order, "bac");
}

static void scheduling_twice_calls_once(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;

	calls_init(&k, f->loop);
	loop_deferred_schedule(&k.b);
	loop_deferred_schedule(&k.b);
	loop_run(f->loop);
	assert_string_equal(k.order, "b");
	loop_deferred_schedule(&k.b);
	loop_run(f->loop);
	assert_string_equal(k.order, "bb");
}

static void a_cancelled_call_does_not_run(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;

	calls_init(&k, f->loop);
	loop_deferred_schedule(&k.a);
	loop_deferred_schedule(&k.b);
	loop_deferred_cancel(&k.b);
	loop_deferred_cancel(&k.b);
	loop_deferred_cancel(&k.c);
	loop_deferred_cancel(NULL);
	loop_run(f->loop);
	assert_string_equal(k.order, "a");
}

static void a_call_may_cancel_another_of_its_batch(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;

	calls_init(&k, f->loop);
	k.cancel = &k.b;
	loop_deferred_schedule(&k.a);
	loop_deferred_schedule(&k.b);
	loop_deferred_schedule(&k.c);
	loop_run(f->loop);
	assert_string_equal(k.order, "ac");
}

static void a_call_that_schedules_another_has_it_run_in_the_next_turn(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;

	calls_init(&k, f->loop);
	k.schedule = &k.b;
	loop_deferred_schedule(&k.a);
	loop_run_once(f->loop, false);
	assert_string_equal(k.order, "a");
	loop_run_once(f->loop, true); /* would hang here if the loop slept */
	assert_string_equal(k.order, "ab");
}

static void a_call_may_schedule_itself_for_ever_and_starves_nobody(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;
	struct loop_timer timer;

	calls_init(&k, f->loop);
	k.schedule = &k.a;
	loop_deferred_schedule(&k.a);
	loop_timer_init(f->loop, &timer, on_c, &k);
	loop_timer_start(&timer, 0);
	for (int i = 0; i < 3; i++)
		loop_run_once(f->loop, true);
	assert_non_null(strchr(k.order, 'c'));
	assert_true(strlen(k.order) >= 4);
	loop_deferred_cancel(&k.a);
	check_close_timer(f->loop, &timer);
}

static void on_end(void *ctx)
{
	struct calls *k = ctx;

	called(k, 'e');
	if (--k->left > 0)
		loop_deferred_schedule(&k->a);
}

static void a_waiting_turn_ends_with_the_deferred_call_that_its_timer_made(void **state)
{
	struct check_fixture *f = *state;
	struct calls k;
	struct loop_timer timer;

	calls_init(&k, f->loop);
	k.left = 2;
	loop_timer_init(f->loop, &timer, on_end, &k);
	loop_timer_start(&timer, 0);
	RUN_UNTIL(f->loop, strcmp(k.order, "ea") == 0);
	check_close_timer(f->loop, &timer);
}

/* -------- stopping -------- */

static void on_stop(void *ctx)
{
	loop_stop(ctx);
}

static void the_loop_runs_until_it_is_stopped(void **state)
{
	struct check_fixture *f = *state;
	struct loop_timer endless, soon;
	struct calls k;

	calls_init(&k, f->loop);
	loop_timer_init(f->loop, &endless, on_b, &k);
	loop_timer_start(&endless, 1000000);
	loop_timer_init(f->loop, &soon, on_stop, f->loop);
	loop_timer_start(&soon, 0);
	loop_run(f->loop);
	assert_string_equal(k.order, "");
	assert_true(loop_timer_active(&endless));
	check_close_timer(f->loop, &endless);
	check_close_timer(f->loop, &soon);
	loop_run(f->loop); /* and may run again */
}

static void a_broken_pipe_does_not_kill_us(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[0]);
	assert_int_equal(write(fds[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	close(fds[1]);
}

/* -------- the end -------- */

/* Runs `free_it` with the log in a pipe, and gives what was logged, to be freed. */
static char *log_of_free(struct loop *l, int want)
{
	char *text = calloc(1, 4096);
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, fds[1]);
	assert_int_equal(loop_free(l), want);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, STDOUT_FILENO);
	assert_true(read(fds[0], text, 4095) >= (want ? 1 : -1));
	close(fds[0]);
	close(fds[1]);
	return text;
}

static void leftover_handles_are_named_and_may_be_closed_later(void **state)
{
	struct loop *l = loop_new();
	struct loop_timer timer;
	char *text;

	(void)state;
	loop_timer_init(l, &timer, on_b, NULL);
	text = log_of_free(l, -EBUSY);
	assert_non_null(strstr(text, " error handle_left type=timer\n"));
	assert_null(strstr(text, "prepare"));
	free(text);
	loop_timer_start(&timer, 1000000);
	text = log_of_free(l, -EBUSY);
	assert_non_null(strstr(text, " error handle_left type=timer\n"));
	free(text);
	loop_timer_deinit(&timer, NULL, NULL);
	text = log_of_free(l, 0);
	assert_string_equal(text, "");
	free(text);
}

static void on_again(void *ctx)
{
	loop_deferred_schedule(ctx);
}

static void a_deferred_call_that_never_ends_is_a_leftover(void **state)
{
	struct loop *l = loop_new();
	struct calls k;
	char *text;

	(void)state;
	loop_deferred_init(l, &k.a, on_again, &k.a);
	loop_deferred_schedule(&k.a);
	text = log_of_free(l, -EBUSY);
	assert_non_null(strstr(text, " error handle_left type=deferred\n"));
	assert_null(strstr(text, "idle"));
	free(text);
	loop_deferred_cancel(&k.a);
	assert_int_equal(loop_free(l), 0);
}

static void freeing_runs_what_is_still_deferred(void **state)
{
	struct loop *l = loop_new();
	struct calls k;

	(void)state;
	calls_init(&k, l);
	k.schedule = &k.b;
	loop_deferred_schedule(&k.a);
	assert_int_equal(loop_free(l), 0);
	assert_string_equal(k.order, "ab");
	assert_int_equal(loop_free(NULL), 0);
}

/* -------- time -------- */

static void on_busy(void *ctx)
{
	struct timespec start, now;
	int64_t us;

	(void)ctx;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
		us = (now.tv_sec - start.tv_sec) * INT64_C(1000000) + (now.tv_nsec - start.tv_nsec) / 1000;
	} while (us < 20000);
}

static void busy_callbacks_show_as_stalls_and_waiting_does_not(void **state)
{
	struct check_fixture *f = *state;
	struct loop_stalls stalls;
	struct loop_timer timer;
	struct calls k;

	calls_init(&k, f->loop);
	loop_timer_init(f->loop, &timer, on_b, &k);
	loop_timer_start(&timer, 500);
	RUN_UNTIL(f->loop, *k.order);
	loop_stalls(f->loop, &stalls);
	assert_true(stalls.turns > 0);
	assert_true(stalls.worst_cpu_us < 500000); /* of 500 ms waited, the callbacks took next to nothing */
	assert_true(stalls.worst_wall_us < 500000);
	loop_deferred_init(f->loop, &k.c, on_busy, NULL);
	loop_deferred_schedule(&k.c);
	loop_run_once(f->loop, true);
	loop_stalls(f->loop, &stalls);
	assert_true(stalls.worst_cpu_us >= 20000);
	assert_true(stalls.worst_wall_us >= stalls.worst_cpu_us / 2);
	check_close_timer(f->loop, &timer);
}

static void the_clocks_are_what_they_say(void **state)
{
	struct check_fixture *f = *state;
	int64_t before = loop_now_ms(f->loop), wall = loop_wall_ms();

	assert_true(before > 0);
	assert_true(wall / 1000 >= time(NULL) - 60 && wall / 1000 <= time(NULL) + 60);
	loop_run_once(f->loop, false);
	assert_true(loop_now_ms(f->loop) >= before);
	assert_int_equal(loop_now_ms(f->loop), uv_now(loop_uv(f->loop)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(deferred_calls_run_in_order_and_never_at_once),
		TEST(scheduling_twice_calls_once),
		TEST(a_cancelled_call_does_not_run),
		TEST(a_call_may_cancel_another_of_its_batch),
		TEST(a_call_that_schedules_another_has_it_run_in_the_next_turn),
		TEST(a_call_may_schedule_itself_for_ever_and_starves_nobody),
		TEST(a_waiting_turn_ends_with_the_deferred_call_that_its_timer_made),
		TEST(the_loop_runs_until_it_is_stopped),
		TEST(a_broken_pipe_does_not_kill_us),
		TEST(leftover_handles_are_named_and_may_be_closed_later),
		TEST(a_deferred_call_that_never_ends_is_a_leftover),
		TEST(freeing_runs_what_is_still_deferred),
		TEST(busy_callbacks_show_as_stalls_and_waiting_does_not),
		TEST(the_clocks_are_what_they_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
