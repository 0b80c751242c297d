/*
 * What an event costs, counted in system calls by ptrace: a child does the work between two marks, its parent counts.
 * The number must be the same however many directories are watched, and however full the directory is.
 */
#include "lock_fixture.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MARKS = 5 };
struct counts {
	unsigned seen, gone, taken,
		released; /* system calls: of the event of a lock, of its end, of a take, of a release */
};

static void mark(void)
{
	syscall(SYS_getppid);
}

/* Runs in the child: -1 in an exit status says what went wrong. */
static int child_works(struct lock_fixture *f)
{
	struct err err = {0};

	app_locks(f, "1/web/updates.lock");
	mark();
	loop_run_once(f->loop, false);
	mark();
	if (!is_blocked(f, 1))
		return 1;
	loop_run_once(f->loop, false); /* spares are made */
	if (unlink(below(f, "1/web/updates.lock")) < 0)
		return 2;
	mark();
	loop_run_once(f->loop, false);
	mark();
	if (is_blocked(f, 1))
		return 3;
	if (lock_take(f->set, 1, LOCK_FORCE_NONE, &err) != 0)
		return 4;
	mark();
	return lock_release(f->set, 1, &err) == 0 ? 0 : 5;
}

/* Counts the child's calls between its marks; the last is its exit_group(). */
static int count_calls(pid_t pid, unsigned n[MARKS + 1])
{
	unsigned marks = 0;
	bool entering = true;
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
	for (;;) {
		struct __ptrace_syscall_info info;

		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status))
			return marks == MARKS ? WEXITSTATUS(status) : 99;
		assert_true(WIFSTOPPED(status));
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		entering = !entering;
		if (entering)
			continue;
		assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) > 0);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_getppid)
			marks++;
		else
			n[marks]++;
	}
}

static const char *const one[] = {"web", NULL}, *const five[] = {"a", "b", "c", "d", "web", NULL};

/* A set of its own in the child, whose loop the parent never runs: nothing is shared but files. App 1 has one service,
 * the others have five. */
static struct counts count(struct lock_fixture *f, int apps)
{
	unsigned n[MARKS + 1] = {0};
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		f->loop = loop_new();
		if (set_open(f, THIS_NONCE) < 0)
			_exit(90);
		for (int i = 1; i <= apps; i++)
			declare(f, i, i == 1 ? one : five);
		for (int i = 0; i < 10; i++)
			loop_run_once(f->loop, false);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0)
			_exit(91);
		_exit(child_works(f));
	}
	assert_int_equal(count_calls(pid, n), 0);
	return (struct counts){.seen = n[1], .gone = n[3], .taken = n[4], .released = n[5]};
}

static void assert_same(const struct counts *a, const struct counts *b)
{
	assert_int_equal(a->seen, b->seen);
	assert_int_equal(a->gone, b->gone);
	assert_int_equal(a->taken, b->taken);
	assert_int_equal(a->released, b->released);
	assert_true(a->seen > 0 && a->gone > 0 && a->taken > 0 && a->released > 0);
}

static void directories_made(struct lock_fixture *f, int apps)
{
	char path[64];

	assert_int_equal(set_open(f, THIS_NONCE), 0);
	prepare(f, 1, "web");
	for (int i = 2; i <= apps; i++)
		for (size_t n = 0; five[n]; n++)
			prepare(f, i, five[n]);
	set_close(f);
	for (int i = 2; f->legacy_root && i <= apps; i++) {
		snprintf(path, sizeof(path), LEGACY_ROOT "/%d", i);
		make_dir(f, path);
	}
}

static void an_event_costs_the_same_among_500_directories_as_alone(void **state)
{
	struct lock_fixture *f = *state;
	struct counts alone, among;

	directories_made(f, 1);
	alone = count(f, 1);
	directories_made(f, 101);
	among = count(f, 101);
	assert_same(&alone, &among);
	print_message("system calls: lock seen %u, gone %u, taken %u, released %u\n", alone.seen, alone.gone,
		      alone.taken, alone.released);
}

static void so_it_does_with_a_legacy_directory_for_every_app(void **state)
{
	struct lock_fixture *f = *state;
	struct counts alone, among;

	directories_made(f, 1);
	f->legacy_root = LEGACY_ROOT;
	make_dir(f, LEGACY_ROOT);
	alone = count(f, 1);
	directories_made(f, 51);
	among = count(f, 51);
	assert_same(&alone, &among);
}

static void a_place_that_is_not_there_costs_no_call(void **state)
{
	struct lock_fixture *f = *state;
	struct counts without, with;

	directories_made(f, 1);
	without = count(f, 1);
	f->legacy_root = LEGACY_ROOT;
	with = count(f, 1);
	assert_same(&without, &with);
}

static void an_event_costs_the_same_in_a_directory_with_100000_entries(void **state)
{
	struct lock_fixture *f = *state;
	struct counts empty, full;
	char path[64];
	int dir, fd;

	directories_made(f, 1);
	empty = count(f, 1);
	dir = open(below(f, "1/web"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 100000; i++) {
		snprintf(path, sizeof(path), "%d", i);
		fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		assert_true(fd >= 0);
		close(fd);
	}
	close(dir);
	full = count(f, 1);
	assert_same(&empty, &full);
	assert_true(exists(f, "1/web/99999"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST_NO_SET(an_event_costs_the_same_among_500_directories_as_alone),
		LOCK_TEST_NO_SET(so_it_does_with_a_legacy_directory_for_every_app),
		LOCK_TEST_NO_SET(a_place_that_is_not_there_costs_no_call),
		LOCK_TEST_NO_SET(an_event_costs_the_same_in_a_directory_with_100000_entries),
	};

	return cmocka_run_group_tests(tests, root_only, NULL);
}
