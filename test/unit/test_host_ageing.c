/* The host's housekeeping is told to leave the lock directories alone. */
#include "check.h"

#include "host/ageing.h"
#include "util/mem.h"

#define CONF "run/tmpfiles.d/lockkeeper-balena-supervisor.conf"

static const char *const usual[] = {"/tmp/balena-supervisor/services", "/tmp/resin-supervisor", NULL};

static void host_runs_systemd(struct check_fixture *f)
{
	assert_int_equal(mkdirat(f->dir_fd, "run", 0755), 0);
	assert_int_equal(mkdirat(f->dir_fd, "run/systemd", 0755), 0);
	assert_int_equal(mkdirat(f->dir_fd, "run/systemd/system", 0755), 0);
}

static char *text_of(struct check_fixture *f, const char *name)
{
	AUTO_CLOSE int fd = openat(f->dir_fd, name, O_RDONLY | O_CLOEXEC);
	char *text = mem_new(4096, 1);

	if (fd < 0) {
		free(text);
		return NULL;
	}
	assert_true(read(fd, text, 4095) >= 0);
	return text;
}

static bool is_there(struct check_fixture *f, const char *name)
{
	struct stat st;

	return fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void the_lock_directories_are_excluded_where_systemd_runs(void **state)
{
	struct check_fixture *f = *state;
	AUTO_FREE char *text = NULL;
	struct err err = {0};

	host_runs_systemd(f);
	assert_int_equal(host_keep_from_ageing(f->dir, usual, &err), 0);
	text = text_of(f, CONF);
	assert_non_null(text);
	assert_non_null(strstr(text, "\nx /tmp/balena-supervisor\nx /tmp/resin-supervisor\n"));
	assert_false(is_there(f, CONF ".new"));
}

static void a_file_that_says_so_already_is_left_and_another_text_is_replaced(void **state)
{
	struct check_fixture *f = *state;
	AUTO_FREE char *first = NULL, *last = NULL;
	struct stat before, after;
	struct err err = {0};

	host_runs_systemd(f);
	assert_int_equal(host_keep_from_ageing(f->dir, usual, &err), 0);
	first = text_of(f, CONF);
	assert_int_equal(fstatat(f->dir_fd, CONF, &before, 0), 0);
	assert_int_equal(host_keep_from_ageing(f->dir, usual, &err), 0);
	assert_int_equal(fstatat(f->dir_fd, CONF, &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(unlinkat(f->dir_fd, CONF, 0), 0);
	check_write_file(f->dir_fd, CONF, "x /something/else\n");
	assert_int_equal(host_keep_from_ageing(f->dir, usual, &err), 0);
	last = text_of(f, CONF);
	assert_string_equal(first, last);
}

static void nothing_is_written_where_nothing_is_aged(void **state)
{
	static const char *const elsewhere[] = {"/var/lib/locks", "/run/locks", "/tmp", "/tmp/", NULL};
	struct check_fixture *f = *state;
	struct err err = {0};

	assert_int_equal(host_keep_from_ageing(f->dir, usual, &err), 0); /* no run at all */
	assert_false(is_there(f, "run"));
	assert_int_equal(mkdirat(f->dir_fd, "run", 0755), 0);
	assert_int_equal(host_keep_from_ageing(f->dir, usual, &err), 0); /* no systemd */
	assert_false(is_there(f, "run/tmpfiles.d"));
	assert_int_equal(mkdirat(f->dir_fd, "run/systemd", 0755), 0);
	assert_int_equal(mkdirat(f->dir_fd, "run/systemd/system", 0755), 0);
	assert_int_equal(host_keep_from_ageing(f->dir, elsewhere, &err), 0);
	assert_false(is_there(f, "run/tmpfiles.d"));
}

static void a_name_that_would_be_a_pattern_and_a_link_in_the_way_are_errors(void **state)
{
	static const char *const pattern[] = {"/tmp/*/services", NULL};
	struct check_fixture *f = *state;
	struct err err = {0};

	host_runs_systemd(f);
	assert_int_equal(host_keep_from_ageing(f->dir, pattern, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "/tmp/*"));
	err = (struct err){0};
	assert_int_equal(symlinkat("/tmp", f->dir_fd, "run/tmpfiles.d"), 0);
	assert_true(host_keep_from_ageing(f->dir, usual, &err) < 0);
	assert_non_null(strstr(err.msg, "run/tmpfiles.d"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_lock_directories_are_excluded_where_systemd_runs),
		TEST(a_file_that_says_so_already_is_left_and_another_text_is_replaced),
		TEST(nothing_is_written_where_nothing_is_aged),
		TEST(a_name_that_would_be_a_pattern_and_a_link_in_the_way_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
