/*
 * Killed anywhere: a child takes and releases without end and is killed with SIGKILL somewhere in it, many times. After
 * each kill the next run must find itself alone, adopt what is there, and leave no lock of ours and every lock of an
 * application.
 */
#include "lock_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define ROUNDS     100
#define ROUNDS_MAX 3000 /* where the scheduler lets all of the first hundred kills fall between two calls */

static void on_nothing(void *ctx)
{
	(void)ctx;
}

static void on_no_event(void *ctx, const struct lock_event *e)
{
	(void)ctx;
	(void)e;
}

/* Never returns. `named`: as on a file system without O_TMPFILE. Tells by `ready` that it is at work. */
static void child_works(struct lock_fixture *f, enum lock_make how, int ready)
{
	struct lock_options o = {
		.host_root = f->base->dir,
		.lock_root = LOCK_ROOT,
		.boot_id = BOOT_ID,
		.nonce = EARLIER_NONCE,
		.changed = on_nothing,
		.event = on_no_event,
	};
	struct err err = {0};
	struct lock_entry made;
	int dir_fd;

	if (how == LOCK_MAKE_NAMED) { /* the temporary's life, straight */
		dir_fd = open(below(f, "1/api"), O_PATH | O_DIRECTORY | O_CLOEXEC);
		for (;;) {
			if (lock_entry_make(dir_fd, "updates.lock", BOOT_ID, EARLIER_NONCE, &how, &made, &err) < 0)
				_exit(1);
			if (write(ready, "x", 1) != 1 || lock_entry_remove(dir_fd, "updates.lock", &made) != 0)
				_exit(2);
		}
	}
	f->loop = loop_new();
	if (lock_set_new(f->loop, &o, &f->set, &err) < 0)
		_exit(3);
	DECLARE(f, 1, "api", "web");
	DECLARE(f, 2, "main", "side");
	for (;;) {
		if (lock_take(f->set, 1, LOCK_FORCE_NONE, &err) != 0)
			_exit(4);
		release(f, 1);
		if (lock_take(f->set, 2, LOCK_FORCE_NONE, &err) != 1) /* an application holds one of these */
			_exit(5);
		loop_run_once(f->loop, false); /* makes spares for the blocked app; the next take uses them */
		if (write(ready, "x", 1) != 1)
			_exit(6);
	}
}

/* Kills the child after a moment that differs from round to round. */
static void kill_somewhere(struct lock_fixture *f, enum lock_make how, unsigned round)
{
	int ends[2], status;
	unsigned spin = (round * 2654435761u) % 400000; /* spread over some take/release cycles */
	char c;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		child_works(f, how, ends[1]);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 1);
	for (volatile unsigned i = 0; i < spin; i++)
		;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ends[0]);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* not by its own error */
}

static int names_in(const struct lock_fixture *f, const char *path)
{
	DIR *d = opendir(below(f, path));
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void check_next_run(struct lock_fixture *f, unsigned *leftovers)
{
	const struct lock_app_view *v;

	assert_int_equal(set_open(f, THIS_NONCE), 0);
	v = app_view(f, 1);
	if (v) {
		assert_true(v->leftover);
		assert_int_equal(v->state, LOCK_HELD);
		++*leftovers;
	}
	DECLARE(f, 1, "api", "web");
	DECLARE(f, 2, "main", "side");
	v = app_view(f, 1);
	assert_true(v->leftover ? v->state != LOCK_FREE : v->state == LOCK_FREE);
	assert_true(app_view(f, 2)->blocked);
	release(f, 1);
	release(f, 2);
	assert_int_equal(state_of(f, 1), LOCK_FREE);
	assert_int_equal(state_of(f, 2), LOCK_FREE);
	assert_int_equal(names_in(f, "1/api") + names_in(f, "1/web"), 0); /* no lock, no temporary */
	assert_int_equal(names_in(f, "2/main") + names_in(f, "2/side"), 1);
	assert_true(exists(f, "2/side/updates.lock"));
	set_close(f);
	told_clear(f);
}

static void make_places(struct lock_fixture *f)
{
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	prepare(f, 1, "api");
	prepare(f, 1, "web");
	prepare(f, 2, "main");
	prepare(f, 2, "side");
	app_locks(f, "2/side/updates.lock");
	set_close(f);
}

static void killed_while_taking_or_releasing_nothing_of_ours_stays(void **state)
{
	struct lock_fixture *f = *state;
	unsigned leftovers = 0;

	NEEDS_ROOT();
	make_places(f);
	for (unsigned i = 0; i < ROUNDS || (!leftovers && i < ROUNDS_MAX); i++) {
		kill_somewhere(f, LOCK_MAKE_ANONYMOUS, i);
		check_next_run(f, &leftovers);
	}
	assert_true(leftovers > 0); /* else the kills were all between the calls and the test shows nothing */
}

static void killed_with_a_temporary_name_nothing_of_ours_stays(void **state)
{
	struct lock_fixture *f = *state;
	unsigned leftovers = 0;

	NEEDS_ROOT();
	make_places(f);
	for (unsigned i = 0; i < ROUNDS || (!leftovers && i < ROUNDS_MAX); i++) {
		kill_somewhere(f, LOCK_MAKE_NAMED, i);
		check_next_run(f, &leftovers);
	}
	assert_true(leftovers > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST_NO_SET(killed_while_taking_or_releasing_nothing_of_ours_stays),
		LOCK_TEST_NO_SET(killed_with_a_temporary_name_nothing_of_ours_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
