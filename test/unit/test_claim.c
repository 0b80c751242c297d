/* One process at a time, and whoever comes second is told who the first is. */
#include "check.h"

#include <sys/file.h>

#include "util/claim.h"
#include "util/mem.h"

struct claim_test { /* no loop: this folder has none */
	char *dir;
	int dir_fd;
};

static int setup(void **state)
{
	struct claim_test *f = mem_new(1, sizeof(*f));

	f->dir = check_tmp_dir();
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dir_fd >= 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct claim_test *f = *state;

	close(f->dir_fd);
	check_rm_dir(f->dir);
	free(f);
	return 0;
}

static void the_second_is_told_the_pid_of_the_first_until_it_lets_go(void **state)
{
	struct claim_test *f = *state;
	AUTO_FREE char *want = mem_printf("another supervisor (pid %d) uses /there", (int)getpid());
	struct err err = {0};
	int first = -1, second = -1;

	assert_int_equal(claim_take(f->dir_fd, "lock", 0600, "/there", &first, &err), 0);
	assert_int_equal(claim_take(f->dir_fd, "lock", 0600, "/there", &second, &err), -EBUSY);
	assert_string_equal(err.msg, want);
	assert_int_equal(second, -1);
	close(first);
	assert_int_equal(claim_take(f->dir_fd, "lock", 0600, "/there", &second, &err), 0);
	close(second);
}

static void a_pid_that_means_nothing_here_is_told_so(void **state)
{
	static const struct {
		const char *text, *sentence;
	} rows[] = {
		{"1\npid:[77]\n",
		 "another supervisor (pid 1 of another container, or of the host: not a pid of here) uses /there"},
		{"1\n\n", "another supervisor (pid 1) uses /there"},
		{"1\n", "another supervisor (pid 1) uses /there"}, /* as earlier versions wrote it */
		{"1", "another supervisor (pid 1) uses /there"},
		{"", "another supervisor uses /there"},
		{"x\npid:[77]\n", "another supervisor uses /there"},
		{"0\n", "another supervisor uses /there"},
	};
	struct claim_test *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		int holder, fd = -1;

		check_write_file(f->dir_fd, "lock", rows[i].text);
		holder = openat(f->dir_fd, "lock", O_RDWR | O_CLOEXEC);
		assert_int_equal(flock(holder, LOCK_EX | LOCK_NB), 0);
		assert_int_equal(claim_take(f->dir_fd, "lock", 0600, "/there", &fd, &err), -EBUSY);
		assert_string_equal(err.msg, rows[i].sentence);
		close(holder);
	}
}

static void a_link_is_not_followed(void **state)
{
	struct claim_test *f = *state;
	struct err err = {0};
	int fd = -1;

	assert_int_equal(symlinkat("elsewhere", f->dir_fd, "lock"), 0);
	assert_true(claim_take(f->dir_fd, "lock", 0600, "/there", &fd, &err) < 0);
	assert_int_equal(faccessat(f->dir_fd, "elsewhere", F_OK, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_second_is_told_the_pid_of_the_first_until_it_lets_go, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_pid_that_means_nothing_here_is_told_so, setup, teardown),
		cmocka_unit_test_setup_teardown(a_link_is_not_followed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
