/*
 * Out of watches. The limit is of a user name space of our own, in which root is root and uid 65534 is 65534, so nobody
 * else on this machine runs short of them. Where the kernel gives none (inside a chroot, say) the call itself, which
 * this program then has in front of the C library's, refuses as the kernel would.
 */
#include "lock_fixture.h"

#include <sched.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LIMIT_FILE "/proc/sys/user/max_inotify_watches"

static bool kernel_limits; /* else: */
static int watches_left = INT32_MAX;

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	int watch;

	if (!kernel_limits && watches_left == 0) {
		errno = ENOSPC;
		return -1;
	}
	watch = (int)syscall(SYS_inotify_add_watch, fd, path, mask);
	watches_left -= watch >= 0;
	return watch;
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Only who stays outside may map all ids. */
static bool enter_user_namespace(void)
{
	int ready[2], status;
	char path[64], c;
	pid_t me = getpid(), helper;
	bool entered;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return false;
	fflush(NULL);
	helper = fork();
	if (helper == 0) {
		bool done;

		close(ready[1]);
		done = read(ready[0], &c, 1) == 1;
		snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)me);
		done = done && write_text(path, "0 0 4294967295");
		snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)me);
		_exit(done && write_text(path, "0 0 4294967295") ? 0 : 1);
	}
	entered = helper > 0 && unshare(CLONE_NEWUSER) == 0 && write(ready[1], "x", 1) == 1;
	close(ready[0]);
	close(ready[1]); /* it ends, whether there was something to read or not */
	return helper > 0 && waitpid(helper, &status, 0) == helper && entered && status == 0 && geteuid() == 0;
}

static void allow_watches(int n)
{
	char text[24];

	watches_left = n;
	if (!kernel_limits)
		return;
	snprintf(text, sizeof(text), "%d", n);
	assert_true(write_text(LIMIT_FILE, text));
}

static bool enters(void)
{
	return enter_user_namespace() && write_text(LIMIT_FILE, "1000");
}

/* In a process of its own first: there is no way back out of a name space that turned out to be of no use. */
static bool would_enter(void)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0)
		_exit(enters() ? 0 : 1);
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static int enter(void **state)
{
	root_only(state);
	kernel_limits = !getenv("LK_NO_USER_NAMESPACE") && would_enter() && enters();
	return 0;
}

static void without_watches_left_a_blocked_app_is_looked_at_by_timer(void **state)
{
	struct lock_fixture *f = *state;

	for (int watches = 0; watches < 5; watches++) { /* none; the roots; the app; the service */
		allow_watches(watches);
		assert_int_equal(set_open(f, THIS_NONCE), 0);
		DECLARE(f, 1, "web");
		prepare(f, 1, "web");
		assert_int_equal(told_count(f, "problem"), watches < 4); /* once */
		if (watches < 4)
			assert_string_equal(told_find(f, "problem 0 -")->detail,
					    "watch directory: No space left on device");
		app_locks(f, "1/web/updates.lock");
		assert_int_equal(take(f, 1, false), 1);
		app_unlocks(f, "1/web/updates.lock");
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
		assert_int_equal(take(f, 1, false), 0);
		app_unlocks(f, "1/web/updates.lock"); /* a thief */
		RUN_UNTIL(f->loop, state_of(f, 1) == LOCK_LOST);
		assert_int_equal(release(f, 1), 0);
		set_close(f);
		told_clear(f);
	}
}

static void a_legacy_directory_that_cannot_be_watched_is_looked_at_by_timer(void **state)
{
	struct lock_fixture *f = *state;

	f->legacy_root = LEGACY_ROOT;
	make_dir(f, "/tmp/balena-supervisor");
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	app_locks(f, LEGACY_ROOT "/1/resin-updates.lock");
	for (int watches = 2; watches < 4; watches++) { /* not of the base; not of the app's directory in it */
		allow_watches(watches);
		assert_int_equal(set_open(f, THIS_NONCE), 0);
		assert_int_equal(told_count(f, "problem"), 1);
		assert_true(is_blocked(f, 1));
		app_unlocks(f, LEGACY_ROOT "/1/resin-updates.lock");
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
		assert_int_equal(take(f, 1, false), 0);
		assert_int_equal(release(f, 1), 0);
		set_close(f);
		told_clear(f);
		app_locks(f, LEGACY_ROOT "/1/resin-updates.lock");
	}
}

static void watches_that_are_to_be_had_again_are_used(void **state)
{
	struct lock_fixture *f = *state;

	allow_watches(3);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	DECLARE(f, 1, "web");
	prepare(f, 1, "web");
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 1); /* the watch is refused */
	allow_watches(1000);
	assert_int_equal(take(f, 1, false), 1); /* and had */
	app_unlocks(f, "1/web/updates.lock");
	loop_run_once(f->loop, true);
	assert_false(is_blocked(f, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST_NO_SET(without_watches_left_a_blocked_app_is_looked_at_by_timer),
		LOCK_TEST_NO_SET(a_legacy_directory_that_cannot_be_watched_is_looked_at_by_timer),
		LOCK_TEST_NO_SET(watches_that_are_to_be_had_again_are_used),
	};

	return cmocka_run_group_tests(tests, enter, NULL);
}
