/*
 * What unit tests share: cmocka, running the real loop until something is true, a temporary directory, and a fixture
 * whose teardown proves that nothing is left: loop_free() gives 0 and no descriptor stays open.
 *
 *	static void a_child_reports_its_exit_code(void **state)
 *	{
 *		struct check_fixture *f = *state;
 *		...
 *		RUN_UNTIL(f->loop, done);
 *	}
 *	cmocka_unit_test_setup_teardown(a_child_reports_its_exit_code, check_setup, check_teardown)
 *
 * Everything here is static inline, so that a test that uses no loop needs none to link.
 */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/loop.h"
#include "util/log.h"

#define CHECK_DEADLINE_MS 5000

/* -------- files -------- */

/* Descriptors this process has open now. */
static inline int check_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", ".." and the one that reads */
}

/* A new empty directory; free it with check_rm_dir(). */
static inline char *check_tmp_dir(void)
{
	const char *base = getenv("TMPDIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/lockkeeper-test-XXXXXX", base && *base ? base : "/tmp");
	assert_non_null(mkdtemp(path));
	return strdup(path);
}

static inline int check_rm_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Removes the directory with all that is in it, and frees the name. */
static inline void check_rm_dir(char *path)
{
	if (!path)
		return;
	assert_int_equal(nftw(path, check_rm_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
	free(path);
}

/* `name` below `dir_fd` holds exactly `text` after. */
static inline void check_write_file(int dir_fd, const char *name, const char *text)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

/* The content (at most 1 MiB), to be freed; NULL if there is no such file. */
static inline char *check_read_file(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	size_t len = 0, max = 1 << 20;
	char *text;
	ssize_t n;

	if (fd < 0)
		return NULL;
	text = calloc(1, max + 1);
	assert_non_null(text);
	while (len < max && (n = read(fd, text + len, max - len)) > 0)
		len += (size_t)n;
	close(fd);
	return text;
}

/* -------- the loop -------- */

struct check_deadline {
	struct loop_timer timer;
	bool passed;
};

static inline void check_deadline_passed(void *ctx)
{
	((struct check_deadline *)ctx)->passed = true;
}

static inline struct check_deadline *check_deadline_new(struct loop *l)
{
	struct check_deadline *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	uv_update_time(loop_uv(l)); /* the loop may not have run for a while */
	loop_timer_init(l, &d->timer, check_deadline_passed, d);
	loop_timer_start(&d->timer, CHECK_DEADLINE_MS);
	return d;
}

static inline void check_deadline_free(struct check_deadline *d)
{
	loop_timer_deinit(&d->timer, free, d); /* the loop's next turn frees it */
}

/* Runs the loop until `condition`; fails the test after 5 s. Never sleeps, and does not run a turn too many. */
#define RUN_UNTIL(l, condition)                                                                                        \
	do {                                                                                                           \
		struct check_deadline *_deadline = check_deadline_new(l);                                              \
		bool _met;                                                                                             \
		while (!(_met = (condition)) && !_deadline->passed)                                                    \
			loop_run_once(l, true);                                                                        \
		check_deadline_free(_deadline);                                                                        \
		if (!_met)                                                                                             \
			fail_msg("not within %d ms: %s", CHECK_DEADLINE_MS, #condition);                               \
	} while (0)

/* Turns that find nothing to wait for: what was deferred or is closing gets done, what must not happen had its chance. */
static inline void check_run_turns(struct loop *l, int turns)
{
	while (turns-- > 0)
		loop_run_once(l, false);
}

static inline void check_set_flag(void *ctx)
{
	*(bool *)ctx = true;
}

/* Closes a timer that lies on the test's stack, and waits until libuv has let go of it. */
static inline void check_close_timer(struct loop *l, struct loop_timer *t)
{
	bool closed = false;

	loop_timer_deinit(t, check_set_flag, &closed);
	RUN_UNTIL(l, closed);
}

struct check_fixture {
	struct loop *loop;
	char *dir;      /* temporary, empty */
	int dir_fd;     /* the same */
	int fds_before; /* open before anything was set up */
	void *test;     /* the test's own */
};

static inline int check_setup(void **state)
{
	static bool warm; /* libuv opens a signal pipe with the first loop, the log its own way to a pipe; both stay */
	struct check_fixture *f = calloc(1, sizeof(*f));

	if (!warm) {
		assert_int_equal(loop_free(loop_new()), 0);
		log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, STDOUT_FILENO);
	}
	warm = true;
	assert_non_null(f);
	f->fds_before = check_open_fds();
	f->loop = loop_new();
	f->dir = check_tmp_dir();
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dir_fd >= 0);
	*state = f;
	return 0;
}

static inline int check_teardown(void **state)
{
	struct check_fixture *f = *state;

	assert_int_equal(loop_free(f->loop), 0);
	assert_int_equal(close(f->dir_fd), 0);
	check_rm_dir(f->dir);
	assert_int_equal(check_open_fds(), f->fds_before);
	free(f);
	return 0;
}

#endif
