/* Child processes: their end, their output and its limit, time limits, and what cannot start. */
#include "check.h"

#include <signal.h>

#include "loop/child.h"
#include "util/mem.h"
#include "util/str.h"

struct result {
	int count, code, status;
	char msg[480];
	char *output;
	size_t output_len;
};

static void on_child_done(void *ctx, const struct err *err, int status, const struct buf *output)
{
	struct result *r = ctx;

	r->count++;
	r->code = err ? err->code : 0;
	snprintf(r->msg, sizeof(r->msg), "%s", err ? err->msg : "");
	r->status = status;
	free(r->output);
	r->output = mem_strndup(buf_str(output), output->len);
	r->output_len = output->len;
}

static void run(struct check_fixture *f, const struct loop_child_options *o, struct result *r)
{
	loop_child_run(f->loop, o, on_child_done, r);
	assert_int_equal(r->count, 0); /* never before it returns */
	RUN_UNTIL(f->loop, r->count == 1);
	check_run_turns(f->loop, 3);
	assert_int_equal(r->count, 1);
}

#define SHELL(script) ((const char *const[]){"/bin/sh", "-c", script, NULL})

static void a_child_reports_its_exit_code(void **state)
{
	struct check_fixture *f = *state;
	struct result ok = {0}, bad = {0};

	run(f, &(struct loop_child_options){.argv = SHELL("exit 0")}, &ok);
	assert_int_equal(ok.code, 0);
	assert_int_equal(ok.status, 0);
	run(f, &(struct loop_child_options){.argv = SHELL("exit 7")}, &bad);
	assert_int_equal(bad.code, 0); /* it ran: no error of ours */
	assert_int_equal(bad.status, 7);
	free(ok.output);
	free(bad.output);
}

static void a_child_that_dies_of_a_signal_reports_128_and_the_signal(void **state)
{
	struct check_fixture *f = *state;
	struct result r = {0};

	run(f, &(struct loop_child_options){.argv = SHELL("kill -TERM $$")}, &r);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.status, 128 + SIGTERM);
	free(r.output);
}

static void its_output_is_kept_up_to_the_limit_and_the_rest_is_read(void **state)
{
	struct check_fixture *f = *state;
	struct result fits = {0}, cut = {0}, large = {0};

	run(f,
	    &(struct loop_child_options){.argv = SHELL("printf 12345; printf \"(on stderr)\\n\" >&2"), .output_max = 5},
	    &fits);
	assert_string_equal(fits.output, "12345");
	run(f, &(struct loop_child_options){.argv = SHELL("printf 123456; exit 3"), .output_max = 5}, &cut);
	assert_string_equal(cut.output, "12345");
	assert_int_equal(cut.status, 3);
	/* far more than a pipe holds: it would block, were the rest not read */
	run(f, &(struct loop_child_options){.argv = SHELL("head -c 1000000 /dev/zero"), .output_max = 100000}, &large);
	assert_int_equal(large.output_len, 100000);
	assert_int_equal(large.status, 0);
	free(fits.output);
	free(cut.output);
	free(large.output);
}

static void without_a_limit_output_goes_nowhere(void **state)
{
	struct check_fixture *f = *state;
	struct result r = {0};

	run(f,
	    &(struct loop_child_options){
		    .argv = SHELL("echo into the void; test $(readlink /proc/self/fd/0) = /dev/null")},
	    &r);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.output, "");
	free(r.output);
}

static void the_end_waits_for_the_rest_of_the_output(void **state)
{
	struct check_fixture *f = *state;
	struct result r = {0};

	/* the process ends at once, its own child writes later */
	run(f, &(struct loop_child_options){.argv = SHELL("(sleep 0.1; echo late) & echo soon"), .output_max = 100},
	    &r);
	assert_string_equal(r.output, "soon\nlate\n");
	assert_int_equal(r.status, 0);
	free(r.output);
}

static void arguments_are_passed_as_they_are(void **state)
{
	const char *const argv[] = {"printf", "%s|", "a b", "", "$HOME;'\"*", NULL};
	struct check_fixture *f = *state;
	struct result r = {0};

	run(f, &(struct loop_child_options){.argv = argv, .output_max = 100}, &r); /* found in PATH */
	assert_string_equal(r.output, "a b||$HOME;'\"*|");
	free(r.output);
}

static void the_environment_is_ours_or_the_given_one(void **state)
{
	const char *const argv[] = {"/usr/bin/env", NULL}, *const env[] = {"A=1", "B=two words", NULL};
	struct check_fixture *f = *state;
	struct result given = {0}, ours = {0};

	run(f, &(struct loop_child_options){.argv = argv, .env = env, .output_max = 10000}, &given);
	assert_string_equal(given.output, "A=1\nB=two words\n");
	setenv("LOCKKEEPER_TEST", "here", 1);
	run(f, &(struct loop_child_options){.argv = argv, .output_max = 100000}, &ours);
	assert_non_null(strstr(ours.output, "LOCKKEEPER_TEST=here\n"));
	free(given.output);
	free(ours.output);
}

static void options_may_go_after_the_call(void **state)
{
	struct check_fixture *f = *state;
	struct result r = {0};
	char script[] = "echo fine";

	{
		const char *argv[] = {"/bin/sh", "-c", script, NULL};
		struct loop_child_options o = {.argv = argv, .output_max = 10};

		loop_child_run(f->loop, &o, on_child_done, &r);
		memset(script, 'x', sizeof(script) - 1);
		memset(argv, 0, sizeof(argv));
	}
	RUN_UNTIL(f->loop, r.count == 1);
	assert_string_equal(r.output, "fine\n");
	free(r.output);
}

static void what_cannot_start_is_an_error_from_the_loop(void **state)
{
	const char *const missing[] = {"/nonexistent/program", "x", NULL}, *const nothing[] = {NULL};
	const char *const directory[] = {"/usr", NULL};
	struct check_fixture *f = *state;
	struct result r = {0}, none = {0}, denied = {0};

	run(f, &(struct loop_child_options){.argv = missing, .output_max = 10, .timeout_ms = 1000000}, &r);
	assert_int_equal(r.code, -ENOENT);
	assert_string_equal(r.msg, "run /nonexistent/program: no such file or directory");
	run(f, &(struct loop_child_options){.argv = nothing}, &none);
	assert_int_equal(none.code, -EINVAL);
	run(f, &(struct loop_child_options){.argv = directory}, &denied);
	assert_int_equal(denied.code, -EACCES);
	free(r.output);
	free(none.output);
	free(denied.output);
}

static void a_child_that_takes_too_long_is_killed(void **state)
{
	struct check_fixture *f = *state;
	struct result r = {0};

	run(f,
	    &(struct loop_child_options){
		    .argv = SHELL("trap '' TERM; echo started; exec sleep 1000"), .output_max = 100, .timeout_ms = 200},
	    &r);
	assert_int_equal(r.code, -ETIMEDOUT);
	assert_string_equal(r.msg, "/bin/sh: killed after 200 ms");
	assert_int_equal(r.status, 128 + SIGKILL);
	free(r.output);
}

static void output_held_open_by_a_grandchild_does_not_outlast_the_time_limit(void **state)
{
	struct check_fixture *f = *state;
	struct result r = {0};

	run(f,
	    &(struct loop_child_options){.argv = SHELL("sleep 1000 & echo $!"), .output_max = 100, .timeout_ms = 1000},
	    &r);
	assert_int_equal(r.code, -ETIMEDOUT);
	assert_true(atoi(r.output) > 1);
	assert_int_equal(kill(atoi(r.output), SIGKILL), 0);
	free(r.output);
}

static void a_child_may_be_killed_and_still_reports(void **state)
{
	struct check_fixture *f = *state;
	struct result soft = {0}, hard = {0};
	struct loop_child *c;

	c = loop_child_run(f->loop, &(struct loop_child_options){.argv = SHELL("exec sleep 1000")}, on_child_done,
			   &soft);
	loop_child_kill(c, SIGTERM);
	RUN_UNTIL(f->loop, soft.count == 1);
	assert_int_equal(soft.code, 0);
	assert_int_equal(soft.status, 128 + SIGTERM);
	c = loop_child_run(f->loop, &(struct loop_child_options){.argv = SHELL("exec sleep 1000"), .output_max = 10},
			   on_child_done, &hard);
	loop_child_kill(c, SIGKILL);
	loop_child_kill(c, SIGKILL);
	RUN_UNTIL(f->loop, hard.count == 1);
	assert_int_equal(hard.status, 128 + SIGKILL);
	free(soft.output);
	free(hard.output);
}

static void killing_what_did_not_start_changes_nothing(void **state)
{
	const char *const missing[] = {"/nonexistent/program", NULL};
	struct check_fixture *f = *state;
	struct result r = {0};
	struct loop_child *c =
		loop_child_run(f->loop, &(struct loop_child_options){.argv = missing}, on_child_done, &r);

	loop_child_kill(c, SIGKILL);
	RUN_UNTIL(f->loop, r.count == 1);
	assert_int_equal(r.code, -ENOENT);
	free(r.output);
}

static void many_children_run_side_by_side(void **state)
{
	struct check_fixture *f = *state;
	struct result r[20] = {0};
	size_t done = 0;

	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		AUTO_FREE char *script = mem_printf("echo %zu; exit %zu", i, i);

		loop_child_run(f->loop, &(struct loop_child_options){.argv = SHELL(script), .output_max = 10},
			       on_child_done, &r[i]);
	}
	while (done < ARRAY_LEN(r))
		RUN_UNTIL(f->loop, r[done].count == 1 && ++done);
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		assert_int_equal(r[i].status, i);
		assert_int_equal(atoi(r[i].output), i);
		free(r[i].output);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_child_reports_its_exit_code),
		TEST(a_child_that_dies_of_a_signal_reports_128_and_the_signal),
		TEST(its_output_is_kept_up_to_the_limit_and_the_rest_is_read),
		TEST(without_a_limit_output_goes_nowhere),
		TEST(the_end_waits_for_the_rest_of_the_output),
		TEST(arguments_are_passed_as_they_are),
		TEST(the_environment_is_ours_or_the_given_one),
		TEST(options_may_go_after_the_call),
		TEST(what_cannot_start_is_an_error_from_the_loop),
		TEST(a_child_that_takes_too_long_is_killed),
		TEST(output_held_open_by_a_grandchild_does_not_outlast_the_time_limit),
		TEST(a_child_may_be_killed_and_still_reports),
		TEST(killing_what_did_not_start_changes_nothing),
		TEST(many_children_run_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
