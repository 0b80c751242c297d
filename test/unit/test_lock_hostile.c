/* What an application may put in our way: nothing hangs, nothing outside its lock directory is touched, and a sentence
 * says what is wrong. */
#include "lock_fixture.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static void prepared(struct lock_fixture *f)
{
	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	check_run_turns(f->loop, 2);
	told_clear(f);
}

static bool make_special(const struct lock_fixture *f, const char *path, unsigned type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (type != S_IFSOCK)
		return mknod(below(f, path), type | 0666, type == S_IFIFO ? 0 : makedev(1, type == S_IFCHR ? 5 : 1)) ==
		       0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s", below(f, path)) >=
	    sizeof(address.sun_path))
		fail_msg("the path is too long for a socket");
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	return true;
}

static void a_fifo_device_or_socket_is_a_lock_like_any_other(void **state)
{
	static const unsigned types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	static const char *const names[] = {"1/web/updates.lock", "1/web/resin-updates.lock"};
	struct lock_fixture *f = *state;

	prepared(f);
	for (size_t i = 0; i < 2 * ARRAY_LEN(types); i++) {
		const char *name = names[i % 2];

		if (!make_special(f, name, types[i / 2])) { /* no devices in this sandbox */
			assert_true(types[i / 2] == S_IFCHR || types[i / 2] == S_IFBLK);
			continue;
		}
		assert_int_equal(lchown(below(f, name), LOCK_OWNER_UID, LOCK_OWNER_UID), 0); /* as ours are */
		RUN_UNTIL(f->loop, is_blocked(f, 1));
		assert_int_equal(lock_set_views(f->set)->v[0].kind, LOCK_OTHER);
		assert_int_equal(take(f, 1, false), 1);
		assert_int_equal(release(f, 1), 0);
		assert_true(exists(f, name));
		assert_int_equal(take(f, 1, true), 0);
		assert_int_equal(told_count(f, "overridden"), 1);
		assert_int_equal(release(f, 1), 0);
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
		told_clear(f);
	}
}

/* With such a thing in the place of a directory that is scanned at start. */
static void a_fifo_in_the_place_of_a_directory_does_not_hang_the_start(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	set_close(f);
	assert_int_equal(rmdir(below(f, "1/web")), 0);
	assert_true(make_special(f, "1/web", S_IFIFO));
	assert_true(make_special(f, "2", S_IFIFO));
	make_dir(f, LEGACY_ROOT);
	assert_true(make_special(f, LEGACY_ROOT "/3", S_IFIFO));
	f->legacy_root = LEGACY_ROOT;
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	ASSERT_TOLD(f, "problem 3 L2");
	DECLARE(f, 1, "web");
	DECLARE(f, 2, "web");
	ASSERT_TOLD(f, "problem 1 web", "problem 2 -");
	assert_int_equal(take(f, 1, true), -ENOTDIR);
	assert_int_equal(take(f, 2, true), -ENOTDIR);
	assert_string_equal(f->err.msg, "make lock directory " LOCK_ROOT "/2: Not a directory");
	assert_string_equal(app_view(f, 2)->problem, "not a directory (a file or a symbolic link is in its place)");
	assert_int_equal(unlink(below(f, "2")), 0);
	assert_int_equal(unlink(below(f, "1/web")), 0);
	RUN_UNTIL(f->loop, !app_view(f, 1)->problem && !app_view(f, 2)->problem);
	assert_int_equal(take(f, 2, false), 0);
}

/* `levels` directories one in the other, with a link to /precious in each. */
static void make_nested(const struct lock_fixture *f, const char *path, int levels)
{
	int parent = open(below(f, path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; i < levels; i++) {
		int fd;

		assert_int_equal(symlinkat(below(f, "/precious"), parent, "link"), 0);
		assert_int_equal(mkdirat(parent, "d", 0755), 0);
		fd = openat(parent, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(fd >= 0);
		close(parent);
		parent = fd;
	}
	close(parent);
}

static void a_lock_deeper_than_force_goes_is_an_error_and_nothing_else_is_touched(void **state)
{
	struct lock_fixture *f = *state;

	make_dir(f, "/precious");
	app_locks(f, "/precious/file");
	prepared(f);
	make_dir(f, "1/web/updates.lock");
	make_nested(f, "1/web/updates.lock", 40);
	app_locks(f, "1/web/beside");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(take(f, 1, true), -ELOOP);
		assert_string_equal(f->err.msg,
				    "break lock " LOCK_ROOT "/1/web/updates.lock: d: more than 32 directories deep");
		assert_int_equal(count_ours(f, 1), 0);
	}
	assert_true(exists(f, "/precious/file") && exists(f, "1/web/beside"));
	assert_true(is_blocked(f, 1));
}

/* ----- links, there or put there between two calls ----- */

static void links_are_never_followed_at_any_level(void **state)
{
	static const char *const links[] = {"1", "1/web"};
	struct lock_fixture *f = *state;

	make_dir(f, "/precious");
	make_dir(f, "/precious/web");
	app_locks(f, "/precious/updates.lock");
	app_locks(f, "/precious/web/updates.lock");
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		if (i == 1)
			make_dir(f, "1");
		assert_int_equal(symlink(below(f, "/precious"), below(f, links[i])), 0);
		DECLARE(f, 1, "web");
		assert_int_equal(told_count(f, "problem"), 1);
		assert_non_null(app_view(f, 1)->problem);
		assert_false(is_blocked(f, 1));
		assert_int_equal(take(f, 1, true), -ENOTDIR);
		assert_int_equal(lock_set_prepare(f->set, 1, "web", &f->err), -ENOTDIR);
		assert_int_equal(release(f, 1), 0);
		FORGET(f, 1);
		assert_int_equal(unlink(below(f, links[i])), 0);
		told_clear(f);
	}
	assert_true(exists(f, "/precious/updates.lock") && exists(f, "/precious/web/updates.lock"));
	assert_false(exists(f, "/precious/resin-updates.lock") || exists(f, "/precious/web/resin-updates.lock"));
	prepared(f);
	assert_int_equal(symlink(below(f, "/precious"), below(f, "1/web/updates.lock")), 0);
	assert_int_equal(take(f, 1, true), 0); /* the lock itself a link: it goes, not what it leads to */
	assert_true(exists(f, "/precious/updates.lock"));
	assert_int_equal(count_ours(f, 1), 2);
}

static void a_release_follows_no_link_put_there_before_the_loop_told(void **state)
{
	struct lock_fixture *f = *state;

	make_dir(f, "/precious");
	leave_behind(f, "/precious/updates.lock"); /* it even looks like ours */
	prepared(f);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(rename(below(f, "1/web"), below(f, "1/moved")), 0);
	assert_int_equal(symlink(below(f, "/precious"), below(f, "1/web")), 0);
	assert_int_equal(release(f, 1), 0);
	assert_true(exists(f, "/precious/updates.lock"));
	assert_int_equal(state_of(f, 1), LOCK_FREE);
	assert_int_equal(told_count(f, "lost"), 2);
	assert_int_equal(told_count(f, "released"), 0);
}

static void a_start_follows_no_link(void **state)
{
	struct lock_fixture *f = *state;

	make_dir(f, "/precious");
	make_dir(f, "/precious/web");
	leave_behind(f, "/precious/updates.lock");
	leave_behind(f, "/precious/web/updates.lock");
	lock_with(f, "/precious/.lk-" EARLIER_NONCE, "", 0);
	make_dir(f, "1");
	assert_int_equal(symlink(below(f, "/precious"), below(f, "1/web")), 0);
	assert_int_equal(symlink(below(f, "/precious"), below(f, "2")), 0);
	set_close(f);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(lock_set_views(f->set)->n_apps, 0);
	assert_true(exists(f, "/precious/.lk-" EARLIER_NONCE));
}

static void a_directory_given_to_another_user_is_a_lock_directory_still(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	assert_int_equal(chown(below(f, "1/web"), 1000, 1000), 0); /* an application may: it is root in there */
	assert_int_equal(chmod(below(f, "1/web"), 0700), 0);
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 1);
	app_unlocks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(release(f, 1), 0);
	assert_false(exists(f, "1/web/updates.lock"));
}

static void what_looks_like_ours_but_names_us_as_a_directory_stays_an_applications(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	make_dir(f, "1/web/updates.lock");
	leave_behind(f, "1/web/updates.lock/updates.lock");
	assert_int_equal(chown(below(f, "1/web/updates.lock"), LOCK_OWNER_UID, LOCK_OWNER_UID), 0);
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(release(f, 1), 0);
	assert_true(exists(f, "1/web/updates.lock/updates.lock"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(a_fifo_device_or_socket_is_a_lock_like_any_other),
		LOCK_TEST(a_fifo_in_the_place_of_a_directory_does_not_hang_the_start),
		LOCK_TEST(a_lock_deeper_than_force_goes_is_an_error_and_nothing_else_is_touched),
		LOCK_TEST(links_are_never_followed_at_any_level),
		LOCK_TEST(a_release_follows_no_link_put_there_before_the_loop_told),
		LOCK_TEST(a_start_follows_no_link),
		LOCK_TEST(a_directory_given_to_another_user_is_a_lock_directory_still),
		LOCK_TEST(what_looks_like_ours_but_names_us_as_a_directory_stays_an_applications),
	};

	return cmocka_run_group_tests(tests, root_only, NULL);
}
