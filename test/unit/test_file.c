/* Files replaced durably, and work on the pool. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "loop/file.h"
#include "util/mem.h"

struct result {
	int count, code;
	char msg[480];
};

static void on_replaced(void *ctx, const struct err *err)
{
	struct result *r = ctx;

	r->count++;
	r->code = err ? err->code : 0;
	snprintf(r->msg, sizeof(r->msg), "%s", err ? err->msg : "");
}

static struct result replace(struct check_fixture *f, int dir_fd, const char *name, const void *data, size_t len)
{
	struct result r = {0};

	loop_file_replace(f->loop, dir_fd, name, 0640, data, len, on_replaced, &r);
	assert_int_equal(r.count, 0); /* never before it returns */
	RUN_UNTIL(f->loop, r.count == 1);
	check_run_turns(f->loop, 3);
	assert_int_equal(r.count, 1);
	return r;
}

static void assert_content(struct check_fixture *f, const char *name, const char *want)
{
	AUTO_FREE char *text = check_read_file(f->dir_fd, name);

	if (!want)
		assert_null(text);
	else
		assert_string_equal(text, want);
}

static void a_file_is_made_and_then_replaced(void **state)
{
	struct check_fixture *f = *state;
	struct stat st;

	assert_int_equal(replace(f, f->dir_fd, "a.json", "first, and long", 15).code, 0);
	assert_content(f, "a.json", "first, and long");
	assert_int_equal(replace(f, f->dir_fd, "a.json", "second", 6).code, 0);
	assert_content(f, "a.json", "second");
	assert_content(f, "a.json.new", NULL);
	assert_int_equal(fstatat(f->dir_fd, "a.json", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(replace(f, f->dir_fd, "a.json", NULL, 0).code, 0);
	assert_content(f, "a.json", "");
}

static void the_mode_does_not_depend_on_the_umask(void **state)
{
	struct check_fixture *f = *state;
	mode_t before = umask(0777);
	struct result r = replace(f, f->dir_fd, "a", "x", 1);
	struct stat st;

	umask(before);
	assert_int_equal(r.code, 0);
	assert_int_equal(fstatat(f->dir_fd, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_longer_leftover_of_an_earlier_run_does_not_show_through(void **state)
{
	struct check_fixture *f = *state;

	check_write_file(f->dir_fd, "a.new", "left by a kill in the middle of a long write");
	assert_int_equal(replace(f, f->dir_fd, "a", "short", 5).code, 0);
	assert_content(f, "a", "short");
	assert_content(f, "a.new", NULL);
}

static void the_data_is_copied(void **state)
{
	struct check_fixture *f = *state;
	size_t len = 3000000;
	char *data = mem_new(len + 1, 1), *back;
	struct result r = {0};

	memset(data, 'x', len);
	loop_file_replace(f->loop, f->dir_fd, "a", 0600, data, len, on_replaced, &r);
	memset(data, 'y', len);
	free(data);
	RUN_UNTIL(f->loop, r.count == 1);
	back = check_read_file(f->dir_fd, "a"); /* the first MiB of it */
	assert_int_equal(strspn(back, "x"), 1 << 20);
	free(back);
}

static void readers_see_the_old_file_or_the_new_one(void **state)
{
	struct check_fixture *f = *state;
	int old;
	struct stat before, after;
	char text[10] = "";

	assert_int_equal(replace(f, f->dir_fd, "a", "old", 3).code, 0);
	old = openat(f->dir_fd, "a", O_RDONLY | O_CLOEXEC);
	assert_int_equal(replace(f, f->dir_fd, "a", "new", 3).code, 0);
	assert_int_equal(fstat(old, &before), 0);
	assert_int_equal(fstatat(f->dir_fd, "a", &after, 0), 0);
	assert_int_not_equal(before.st_ino, after.st_ino); /* another file, not one rewritten in place */
	assert_int_equal(read(old, text, 9), 3);
	assert_string_equal(text, "old");
	close(old);
}

static void a_directory_without_read_access_will_do(void **state)
{
	struct check_fixture *f = *state;
	int path_fd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(replace(f, path_fd, "a", "x", 1).code, 0);
	assert_content(f, "a", "x");
	close(path_fd);
}

static void failures_name_the_file_and_leave_the_old_one(void **state)
{
	struct check_fixture *f = *state;
	struct result r;

	assert_int_equal(mkdirat(f->dir_fd, "dir", 0755), 0);
	r = replace(f, f->dir_fd, "dir", "x", 1); /* a file cannot replace a directory */
	assert_int_equal(r.code, -EISDIR);
	assert_string_equal(r.msg, "replace dir: Is a directory");
	assert_content(f, "dir.new", NULL);

	check_write_file(f->dir_fd, "a", "old");
	assert_int_equal(symlinkat("elsewhere", f->dir_fd, "a.new"), 0);
	r = replace(f, f->dir_fd, "a", "x", 1); /* somebody wants us to write elsewhere */
	assert_int_equal(r.code, -ELOOP);
	assert_content(f, "a", "old");
	assert_content(f, "elsewhere", NULL);

	r = replace(f, -1, "a", "x", 1);
	assert_int_equal(r.code, -EBADF);
	assert_string_equal(r.msg, "create a.new: Bad file descriptor");
}

static void a_full_disk_is_an_error_and_leaves_no_rubbish(void **state)
{
	struct check_fixture *f = *state;
	struct rlimit old, small;
	struct result r;

	check_write_file(f->dir_fd, "a", "old");
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small); /* the file size limit stands in for the disk: a short write, then an error */
	{
		AUTO_FREE char *data = mem_new(10000, 1);

		r = replace(f, f->dir_fd, "a", data, 10000);
	}
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(r.code, -EFBIG);
	assert_string_equal(r.msg, "write a.new: File too large");
	assert_content(f, "a", "old");
	assert_content(f, "a.new", NULL);
}

static void only_a_plain_name_is_taken(void **state)
{
	static const char *const names[] = {"", "a/b", "/a", "../a", ".", ".."};
	struct check_fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(replace(f, f->dir_fd, names[i], "x", 1).code, -EINVAL);
}

/* -------- work -------- */

struct work {
	pthread_t worked_on, done_on;
	bool worked, done;
};

static void on_work(void *ctx)
{
	struct work *w = ctx;

	w->worked_on = pthread_self();
	w->worked = true;
}

static void on_work_done(void *ctx)
{
	struct work *w = ctx;

	assert_true(w->worked);
	w->done_on = pthread_self();
	w->done = true;
}

static void work_runs_elsewhere_and_ends_on_the_loop(void **state)
{
	struct check_fixture *f = *state;
	struct work w = {0};

	loop_work(f->loop, on_work, on_work_done, &w);
	assert_false(w.done);
	RUN_UNTIL(f->loop, w.done);
	assert_false(pthread_equal(w.worked_on, pthread_self()));
	assert_true(pthread_equal(w.done_on, pthread_self()));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_is_made_and_then_replaced),
		TEST(the_mode_does_not_depend_on_the_umask),
		TEST(a_longer_leftover_of_an_earlier_run_does_not_show_through),
		TEST(the_data_is_copied),
		TEST(readers_see_the_old_file_or_the_new_one),
		TEST(a_directory_without_read_access_will_do),
		TEST(failures_name_the_file_and_leave_the_old_one),
		TEST(a_full_disk_is_an_error_and_leaves_no_rubbish),
		TEST(only_a_plain_name_is_taken),
		TEST(work_runs_elsewhere_and_ends_on_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
