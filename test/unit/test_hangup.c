/* loop/hangup: the last reader of a pipe goes while nobody writes. */
#include "check.h"

#include <sys/socket.h>

#include "loop/hangup.h"

struct seen {
	unsigned gone;
};

static void on_gone(void *ctx)
{
	((struct seen *)ctx)->gone++;
}

static void it_is_told_once_when_the_last_reader_closes(void **state)
{
	struct check_fixture *f = *state;
	struct seen seen = {0};
	struct loop_hangup *h;
	int fds[2], second;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	second = dup(fds[0]);
	h = loop_hangup_new(f->loop, fds[1], on_gone, &seen);
	assert_non_null(h);
	assert_int_equal(write(fds[1], "x", 1), 1);
	close(fds[0]);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.gone, 0);
	close(second);
	RUN_UNTIL(f->loop, seen.gone);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.gone, 1);
	loop_hangup_free(h);
	check_run_turns(f->loop, 2);
	close(fds[1]);
}

static void the_pipe_stays_blocking(void **state)
{
	struct check_fixture *f = *state;
	struct seen seen = {0};
	struct loop_hangup *h;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	h = loop_hangup_new(f->loop, fds[1], on_gone, &seen);
	assert_non_null(h);
	assert_false(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	loop_hangup_free(h);
	check_run_turns(f->loop, 2);
	close(fds[0]);
	close(fds[1]);
}

static void what_is_no_pipe_is_not_watched(void **state)
{
	struct check_fixture *f = *state;
	struct seen seen = {0};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_null(loop_hangup_new(f->loop, fds[0], on_gone, &seen));
	assert_null(loop_hangup_new(f->loop, f->dir_fd, on_gone, &seen));
	assert_null(loop_hangup_new(f->loop, -1, on_gone, &seen));
	loop_hangup_free(NULL);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_is_told_once_when_the_last_reader_closes, check_setup,
						check_teardown),
		cmocka_unit_test_setup_teardown(the_pipe_stays_blocking, check_setup, check_teardown),
		cmocka_unit_test_setup_teardown(what_is_no_pipe_is_not_watched, check_setup, check_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
