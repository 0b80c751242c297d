/* Giving back when the system refuses, and the locks of every app at once. */
#include "lock_fixture.h"

#include <sys/resource.h>

static void two_services(struct lock_fixture *f)
{
	prepare(f, 1, "api");
	prepare(f, 1, "web");
	DECLARE(f, 1, "api", "web");
	check_run_turns(f->loop, 2);
	told_clear(f);
	f->changed = 0;
}

/* From now on only `n` more descriptors can be had; restored by descriptors_back(). */
static struct rlimit rlimit_before;

static void descriptors_left(unsigned n)
{
	struct rlimit few;
	int probe = dup(0);

	assert_true(probe >= 0);
	close(probe);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &rlimit_before), 0);
	few = rlimit_before;
	few.rlim_cur = (rlim_t)probe + n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
}

static void descriptors_back(void)
{
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &rlimit_before), 0);
}

static void what_cannot_be_given_back_for_want_of_descriptors_stays_known_and_held(void **state)
{
	static const char *const sentences[] = {
		"open lock directory " LOCK_ROOT "/1/api: Too many open files",
		"remove update lock " LOCK_ROOT "/1/api/resin-updates.lock: Too many open files",
	};
	struct lock_fixture *f = *state;

	two_services(f);
	for (unsigned left = 0; left < ARRAY_LEN(sentences); left++) { /* the directory's; then that of its content */
		int rc;

		assert_int_equal(take(f, 1, false), 0);
		told_clear(f);
		descriptors_left(left);
		rc = release(f, 1);
		descriptors_back();
		assert_int_equal(rc, -EMFILE);
		assert_string_equal(f->err.msg, sentences[left]);
		assert_int_equal(f->n_told, 0); /* neither lost nor released */
		assert_int_equal(state_of(f, 1), LOCK_HELD);
		assert_int_equal(count_ours(f, 1), 4);
		assert_int_equal(release(f, 1), 0); /* again, later */
		ASSERT_TOLD(f, "released 1 api resin-updates.lock", "released 1 api updates.lock",
			    "released 1 web resin-updates.lock", "released 1 web updates.lock");
		assert_int_equal(state_of(f, 1), LOCK_FREE);
		assert_false(exists(f, "1/web/updates.lock"));
	}
}

static void a_leftover_that_cannot_be_removed_stays_a_leftover(void **state)
{
	struct lock_fixture *f = *state;
	int rc;

	two_services(f);
	set_close(f);
	leave_behind(f, "1/api/updates.lock");
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	descriptors_left(0);
	rc = release(f, 1);
	descriptors_back();
	assert_int_equal(rc, -EMFILE);
	assert_true(app_view(f, 1)->leftover);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_int_equal(release(f, 1), 0);
	assert_null(app_view(f, 1));
}

static void a_take_without_descriptors_is_an_error_and_makes_nothing(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	for (unsigned left = 0; left < 4; left++) {
		int rc;

		descriptors_left(left);
		rc = take(f, 1, false);
		descriptors_back();
		if (rc == 0) /* as many as that are enough */
			assert_int_equal(release(f, 1), 0);
		else
			assert_int_equal(rc, -EMFILE);
		assert_true(left > 0 || rc < 0);
		assert_int_equal(state_of(f, 1), LOCK_FREE);
		assert_false(exists(f, "1/api/resin-updates.lock") || exists(f, "1/api/updates.lock"));
		assert_false(exists(f, "1/web/resin-updates.lock") || exists(f, "1/web/updates.lock"));
		told_clear(f);
	}
	assert_int_equal(take(f, 1, false), 0);
	assert_null(app_view(f, 1)->problem);
}

/* The event comes while no directory can be opened: what was known stays, and is looked at again. */
static void an_unlock_that_could_not_be_looked_at_is_found_later(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	told_clear(f);
	app_unlocks(f, "1/web/updates.lock");
	descriptors_left(0);
	check_run_turns(f->loop, 3);
	descriptors_back();
	assert_true(is_blocked(f, 1));
	assert_int_equal(told_count(f, "gone"), 0);
	assert_string_equal(app_view(f, 1)->problem, "Too many open files");
	RUN_UNTIL(f->loop, !is_blocked(f, 1));
	assert_null(app_view(f, 1)->problem);
	assert_int_equal(told_count(f, "gone"), 1);
}

static void ours_that_could_not_be_read_is_not_lost(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	check_run_turns(f->loop, 2);
	told_clear(f);
	for (unsigned left = 0; left < 3; left++) {
		assert_int_equal(utimensat(AT_FDCWD, below(f, "1/web/updates.lock"), NULL, 0), 0);
		descriptors_left(left);
		check_run_turns(f->loop, 3);
		descriptors_back();
		assert_int_equal(told_count(f, "lost"), 0);
		assert_int_equal(state_of(f, 1), LOCK_HELD);
	}
	assert_true(told_count(f, "problem") > 0);
	RUN_UNTIL(f->loop, !app_view(f, 1)->problem);
	app_unlocks(f, "1/web/updates.lock"); /* and the watch is still there */
	RUN_UNTIL(f->loop, state_of(f, 1) == LOCK_LOST);
}

/* -------- of every app -------- */

static int take_all(struct lock_fixture *f, enum lock_force force, int64_t *blocked)
{
	f->err = (struct err){0};
	return lock_take_all(f->set, force, blocked, &f->err);
}

static int release_all(struct lock_fixture *f)
{
	f->err = (struct err){0};
	return lock_release_all(f->set, &f->err);
}

/* App 1 with two services, app 2 with one, app 3 known by its legacy directory. */
static void three_apps(struct lock_fixture *f)
{
	make_dir(f, "/tmp/balena-supervisor");
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/3");
	f->legacy_root = LEGACY_ROOT;
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	prepare(f, 2, "main");
	DECLARE(f, 2, "main");
	two_services(f);
}

static void assert_states(struct lock_fixture *f, enum lock_app_state one, enum lock_app_state two,
			  enum lock_app_state three)
{
	assert_int_equal(state_of(f, 1), one);
	assert_int_equal(state_of(f, 2), two);
	assert_int_equal(state_of(f, 3), three);
}

static void the_locks_of_every_app_are_taken_and_given_back(void **state)
{
	struct lock_fixture *f = *state;

	three_apps(f);
	assert_int_equal(take_all(f, LOCK_FORCE_NONE, NULL), 0);
	assert_states(f, LOCK_HELD, LOCK_HELD, LOCK_HELD);
	assert_int_equal(told_count(f, "taken"), 7);
	assert_true(exists(f, LEGACY_ROOT "/3/resin-updates.lock") && exists(f, "2/main/updates.lock"));
	assert_int_equal(take_all(f, LOCK_FORCE_NONE, NULL), 0); /* they are ours already */
	assert_int_equal(told_count(f, "taken"), 7);
	assert_int_equal(release_all(f), 0);
	assert_states(f, LOCK_FREE, LOCK_FREE, LOCK_FREE);
	assert_int_equal(told_count(f, "released"), 7);
	assert_int_equal(release_all(f), 0);
	assert_int_equal(told_count(f, "released"), 7);
}

static void one_lock_of_any_app_holds_back_all_and_no_app_is_held_after(void **state)
{
	static const char *const paths[] = {"1/web/updates.lock", "2/main/resin-updates.lock",
					    LEGACY_ROOT "/3/resin-updates.lock"};
	struct lock_fixture *f = *state;

	three_apps(f);
	for (size_t i = 0; i < 2 * ARRAY_LEN(paths); i++) {
		size_t n = i / 2;
		int64_t blocked = 0;

		app_locks(f, paths[n]);
		if (i % 2) /* told by the loop, or found by the take */
			RUN_UNTIL(f->loop, is_blocked(f, (int64_t)n + 1));
		assert_int_equal(take_all(f, LOCK_FORCE_NONE, &blocked), 1);
		assert_int_equal(blocked, n + 1);
		assert_states(f, LOCK_FREE, LOCK_FREE, LOCK_FREE);
		assert_int_equal(told_count(f, "taken") + told_count(f, "released"), 0);
		assert_int_equal(lock_set_views(f->set)->n, 1);
		for (size_t k = 0; k < ARRAY_LEN(paths); k++)
			assert_int_equal(exists(f, paths[k]), k == n);
		app_unlocks(f, paths[n]);
		RUN_UNTIL(f->loop, !is_blocked(f, (int64_t)n + 1));
	}
	assert_int_equal(take_all(f, LOCK_FORCE_NONE, NULL), 0);
}

static void by_force_the_locks_of_every_app_are_broken(void **state)
{
	struct lock_fixture *f = *state;

	three_apps(f);
	app_locks(f, "1/web/updates.lock");
	app_locks(f, "2/main/resin-updates.lock");
	app_locks(f, LEGACY_ROOT "/3/resin-updates.lock");
	assert_int_equal(take_all(f, LOCK_FORCE_CONFIG, NULL), 0);
	assert_states(f, LOCK_HELD, LOCK_HELD, LOCK_HELD);
	assert_int_equal(told_count(f, "overridden"), 3);
	assert_string_equal(told_find(f, "overridden 3 L2 resin-updates.lock")->by, "config");
}

static void an_app_that_was_held_before_stays_held_whatever_becomes_of_the_others(void **state)
{
	struct lock_fixture *f = *state;
	int64_t blocked;

	three_apps(f);
	assert_int_equal(take(f, 1, false), 0);
	app_locks(f, "2/main/updates.lock");
	assert_int_equal(take_all(f, LOCK_FORCE_NONE, &blocked), 1);
	assert_int_equal(blocked, 2);
	assert_states(f, LOCK_HELD, LOCK_FREE, LOCK_FREE);
	app_unlocks(f, "2/main/updates.lock");
	assert_int_equal(take_all(f, LOCK_FORCE_NONE, NULL), 0);
	assert_int_equal(take(f, 2, false), 0); /* an update of it began meanwhile */
	assert_int_equal(release_all(f), 0);
	assert_states(f, LOCK_HELD, LOCK_HELD, LOCK_FREE);
	assert_int_equal(count_ours(f, 1), 4);
}

static void a_directory_that_cannot_be_used_holds_back_all_and_is_named(void **state)
{
	struct lock_fixture *f = *state;
	int64_t blocked = 0;

	three_apps(f);
	assert_int_equal(rmdir(below(f, "2/main")), 0);
	assert_int_equal(symlink("/", below(f, "2/main")), 0);
	assert_int_equal(take_all(f, LOCK_FORCE_API, &blocked), -ENOTDIR);
	assert_int_equal(blocked, 2);
	assert_string_equal(f->err.msg, "app 2: make lock directory " LOCK_ROOT "/2/main: Not a directory");
	assert_states(f, LOCK_FREE, LOCK_FREE, LOCK_FREE);
	assert_false(exists(f, "1/web/updates.lock"));
}

static void where_no_app_is_known_there_is_nothing_to_take(void **state)
{
	struct lock_fixture *f = *state;

	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(take_all(f, LOCK_FORCE_NONE, NULL), 0);
	assert_int_equal(release_all(f), 0);
	assert_int_equal(lock_set_views(f->set)->n_apps, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(what_cannot_be_given_back_for_want_of_descriptors_stays_known_and_held),
		LOCK_TEST(a_leftover_that_cannot_be_removed_stays_a_leftover),
		LOCK_TEST(a_take_without_descriptors_is_an_error_and_makes_nothing),
		LOCK_TEST(an_unlock_that_could_not_be_looked_at_is_found_later),
		LOCK_TEST(ours_that_could_not_be_read_is_not_lost),
		LOCK_TEST_NO_SET(the_locks_of_every_app_are_taken_and_given_back),
		LOCK_TEST_NO_SET(one_lock_of_any_app_holds_back_all_and_no_app_is_held_after),
		LOCK_TEST_NO_SET(by_force_the_locks_of_every_app_are_broken),
		LOCK_TEST_NO_SET(an_app_that_was_held_before_stays_held_whatever_becomes_of_the_others),
		LOCK_TEST_NO_SET(a_directory_that_cannot_be_used_holds_back_all_and_is_named),
		LOCK_TEST_NO_SET(where_no_app_is_known_there_is_nothing_to_take),
	};

	return cmocka_run_group_tests(tests, root_only, NULL);
}
