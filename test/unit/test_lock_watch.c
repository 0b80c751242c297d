/* What the set sees of applications' locks: every kind of tool, directories that come and go, storms, overflow. */
#include "lock_fixture.h"

#include <sys/resource.h>

static void prepared(struct lock_fixture *f)
{
	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	told_clear(f);
}

static void a_lock_is_seen_and_its_release_is_told_without_a_timer(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, f->changed == 1);
	assert_true(is_blocked(f, 1));
	ASSERT_TOLD(f, "seen 1 web updates.lock");
	app_unlocks(f, "1/web/updates.lock");
	loop_run_once(f->loop, true); /* one turn: the event is there already */
	assert_int_equal(f->changed, 2);
	assert_false(is_blocked(f, 1));
	ASSERT_TOLD(f, "gone 1 web updates.lock");
}

static void a_view_says_what_who_and_since_when(void **state)
{
	struct lock_fixture *f = *state;
	const struct lock_views *v;
	struct stat st;

	prepared(f);
	prepare(f, 1, "api");
	DECLARE(f, 1, "web", "api");
	assert_int_equal(mkdir(below(f, "1/web/updates.lock"), 0755), 0);
	assert_int_equal(symlink("nowhere", below(f, "1/web/resin-updates.lock")), 0);
	app_locks(f, "1/api/updates.lock");
	if (geteuid() == 0)
		assert_int_equal(chown(below(f, "1/api/updates.lock"), 65534, 65534), 0);
	assert_int_equal(lstat(below(f, "1/api/updates.lock"), &st), 0);
	RUN_UNTIL(f->loop, lock_set_views(f->set)->n == 3);
	v = lock_set_views(f->set);
	assert_string_equal(v->v[0].path, LOCK_ROOT "/1/api/updates.lock");
	assert_string_equal(v->v[1].path, LOCK_ROOT "/1/web/resin-updates.lock");
	assert_string_equal(v->v[2].path, LOCK_ROOT "/1/web/updates.lock");
	assert_string_equal(v->v[0].service, "api");
	assert_int_equal(v->v[0].app_id, 1);
	assert_int_equal(v->v[0].kind, LOCK_FILE);
	assert_int_equal(v->v[1].kind, LOCK_SYMLINK);
	assert_int_equal(v->v[2].kind, LOCK_DIRECTORY);
	assert_int_equal(v->v[0].uid, st.st_uid);
	assert_false(v->v[0].ours);
	assert_int_equal(v->v[0].since_ms, (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000);
	assert_int_equal(v->n_apps, 1);
	assert_true(v->apps[0].blocked);
	assert_int_equal(v->apps[0].state, LOCK_FREE);
}

static void touching_a_held_lock_keeps_its_since(void **state)
{
	struct lock_fixture *f = *state;
	int64_t since;

	prepared(f);
	assert_int_equal(mkdir(below(f, "1/web/updates.lock"), 0755), 0);
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	since = lock_set_views(f->set)->v[0].since_ms;
	told_clear(f);
	f->changed = 0;
	do { /* proper-lockfile does this every few seconds: until the clock has gone on */
		assert_int_equal(utimensat(AT_FDCWD, below(f, "1/web/updates.lock"), NULL, 0), 0);
		check_run_turns(f->loop, 1);
	} while (loop_wall_ms() <= since + 20);
	assert_int_equal(lock_set_views(f->set)->v[0].since_ms, since);
	assert_int_equal(f->n_told, 0);
	assert_int_equal(f->changed, 0);
}

static void a_lock_that_was_there_first_is_seen_at_declaration(void **state)
{
	struct lock_fixture *f = *state;

	prepare(f, 1, "web");
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(lock_set_views(f->set)->n, 0); /* no service declared: it does not count */
	DECLARE(f, 1, "web");
	ASSERT_TOLD(f, "seen 1 web updates.lock");
	assert_true(is_blocked(f, 1));
	assert_int_equal(f->changed, 0); /* never from inside the call */
	check_run_turns(f->loop, 2);
	assert_int_equal(f->changed, 1);
	DECLARE(f, 1, "web");
	FORGET(f, 1);
	assert_int_equal(lock_set_views(f->set)->n_apps, 0);
	assert_true(exists(f, "1/web/updates.lock")); /* ignored, not removed */
}

static void other_names_cost_no_call(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	app_locks(f, "1/web/host-1.2345");
	assert_int_equal(link(below(f, "1/web/host-1.2345"), below(f, "1/web/updates.lock")), 0);
	app_unlocks(f, "1/web/host-1.2345");
	RUN_UNTIL(f->loop, f->changed == 1);
	check_run_turns(f->loop, 3);
	assert_int_equal(f->changed, 1);
	ASSERT_TOLD(f, "seen 1 web updates.lock");
}

static void a_directory_that_appears_later_is_watched(void **state)
{
	struct lock_fixture *f = *state;

	DECLARE(f, 7, "web", "api");
	assert_int_equal(mkdir(below(f, "7"), 0755), 0);
	assert_int_equal(mkdir(below(f, "7/web"), 0755), 0);
	check_run_turns(f->loop, 3);
	app_locks(f, "7/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 7));
	app_unlocks(f, "7/web/updates.lock");
	RUN_UNTIL(f->loop, !is_blocked(f, 7));
	assert_int_equal(mkdir(below(f, "7/api"), 0755), 0); /* and all in one turn */
	app_locks(f, "7/api/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 7));
}

static void a_directory_that_is_replaced_is_watched_again(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	for (int round = 0; round < 3; round++) {
		app_locks(f, "1/web/updates.lock");
		RUN_UNTIL(f->loop, is_blocked(f, 1));
		if (round == 1) {
			assert_int_equal(rename(below(f, "1/web"), below(f, "1/moved")), 0);
			RUN_UNTIL(f->loop, !is_blocked(f, 1));
		} else {
			app_unlocks(f, "1/web/updates.lock");
			assert_int_equal(rmdir(below(f, "1/web")), 0);
		}
		assert_int_equal(mkdir(below(f, "1/web"), 0755), 0);
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
	}
	assert_int_equal(unlink(below(f, "1/moved/updates.lock")), 0);
	assert_int_equal(rmdir(below(f, "1/moved")), 0);
	for (int round = 0; round < 3; round++) { /* the inode numbers may well come again */
		assert_int_equal(rmdir(below(f, "1/web")), 0);
		assert_int_equal(rmdir(below(f, "1")), 0);
		assert_int_equal(mkdir(below(f, "1"), 0755), 0);
		check_run_turns(f->loop, 3);
		assert_int_equal(mkdir(below(f, "1/web"), 0755), 0);
		app_locks(f, "1/web/updates.lock");
		RUN_UNTIL(f->loop, is_blocked(f, 1));
		app_unlocks(f, "1/web/updates.lock");
	}
	assert_int_equal(rename(below(f, "1"), below(f, "9")), 0); /* the app's own directory too */
	assert_int_equal(mkdir(below(f, "1"), 0755), 0);
	assert_int_equal(mkdir(below(f, "1/web"), 0755), 0);
	check_run_turns(f->loop, 3);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
}

static void a_lock_root_that_is_removed_is_made_and_watched_anew(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	check_rm_dir(strdup(below(f, "")));
	RUN_UNTIL(f->loop, !is_blocked(f, 1));
	RUN_UNTIL(f->loop, exists(f, ".supervisor"));
	prepare(f, 1, "web");
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
}

static void a_base_that_is_moved_away_is_made_and_watched_anew(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	assert_int_equal(rename(below(f, "/tmp/balena-supervisor"), below(f, "/tmp/moved")), 0);
	RUN_UNTIL(f->loop, !is_blocked(f, 1));
	assert_true(exists(f, ".supervisor"));
	assert_true(exists(f, "/tmp/moved/services/1/web/updates.lock"));
	make_dir(f, "1");
	make_dir(f, "1/web");
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
}

static void a_lock_directory_that_is_a_link_is_refused(void **state)
{
	struct lock_fixture *f = *state;
	char text[300];

	prepare(f, 1, "other");
	assert_int_equal(symlink("other", below(f, "1/web")), 0);
	app_locks(f, "1/other/updates.lock");
	DECLARE(f, 1, "web");
	ASSERT_TOLD(f, "problem 1 web");
	assert_non_null(app_view(f, 1)->problem);
	assert_false(is_blocked(f, 1));
	f->err = (struct err){0};
	assert_int_equal(lock_set_prepare(f->set, 1, "web", &f->err), -ENOTDIR);
	snprintf(text, sizeof(text), "make lock directory " LOCK_ROOT "/1/web: Not a directory");
	assert_string_equal(f->err.msg, text);
	assert_int_equal(take(f, 1, true), -ENOTDIR);
	assert_int_equal(f->n_told, 0); /* told once */
	assert_int_equal(unlink(below(f, "1/web")), 0);
	RUN_UNTIL(f->loop, !app_view(f, 1)->problem);
}

static void a_service_name_that_is_no_directory_name_is_a_problem_not_a_path(void **state)
{
	static char too_long[300];
	const char *const bad[] = {"..", ".", "", "a/b", "../../etc", too_long};
	struct lock_fixture *f = *state;

	memset(too_long, 'a', 256);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		told_clear(f);
		declare(f, 1, (const char *const[]){"web", bad[i], NULL});
		ASSERT_TOLD(f, "problem 1 -");
		assert_non_null(app_view(f, 1)->problem);
		assert_int_equal(take(f, 1, false), -EINVAL);
		assert_int_equal(lock_set_prepare(f->set, 1, bad[i], &f->err), -EINVAL);
		FORGET(f, 1);
	}
	too_long[255] = '\0';
	prepare(f, 1, too_long);
	DECLARE(f, 1, too_long);
	assert_null(app_view(f, 1)->problem);
}

static unsigned mode_of(const struct lock_fixture *f, const char *path)
{
	struct stat st;

	assert_int_equal(lstat(below(f, path), &st), 0);
	return st.st_mode & 07777;
}

static void modes_are_repaired_at_prepare_and_at_declaration(void **state)
{
	struct lock_fixture *f = *state;
	mode_t old = umask(0077);

	prepare(f, 1, "web");
	umask(old);
	assert_int_equal(mode_of(f, "1"), 0755);
	assert_int_equal(mode_of(f, "1/web"), 01777);
	assert_int_equal(chmod(below(f, "1/web"), 0755), 0);
	DECLARE(f, 1, "web");
	assert_int_equal(mode_of(f, "1/web"), 01777);
	assert_int_equal(chmod(below(f, "1/web"), 0755), 0);
	prepare(f, 1, "web");
	assert_int_equal(mode_of(f, "1/web"), 01777);
}

static void empty_directories_of_gone_services_are_removed_and_others_kept(void **state)
{
	struct lock_fixture *f = *state;

	prepare(f, 1, "web");
	prepare(f, 1, "api");
	prepare(f, 1, "db");
	app_locks(f, "1/db/data");
	DECLARE(f, 1, "web", "api", "db");
	DECLARE(f, 1, "web");
	assert_true(exists(f, "1/web"));
	assert_false(exists(f, "1/api"));
	assert_true(exists(f, "1/db/data"));
	FORGET(f, 1);
	assert_true(exists(f, "1/db"));
	assert_false(exists(f, "1/web"));
	assert_int_equal(lock_set_views(f->set)->n_apps, 0);
}

static void a_storm_of_takes_and_releases_ends_in_the_truth(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	for (int i = 0; i < 100000; i++) { /* more events than the queue holds (16,384 by default) between two turns */
		app_locks(f, "1/web/updates.lock");
		app_unlocks(f, "1/web/updates.lock");
		if (i % 25000 == 0)
			check_run_turns(f->loop, 1);
	}
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	assert_int_equal(take(f, 1, false), 1);
	app_unlocks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, !is_blocked(f, 1));
}

static void an_overflow_makes_every_directory_be_read(void **state)
{
	struct lock_fixture *f = *state;
	char other[64];

	prepared(f);
	prepare(f, 2, "quiet");
	DECLARE(f, 2, "quiet");
	check_run_turns(f->loop, 2);
	for (int i = 0; i < 20000; i++) { /* fill the queue with what nobody wants */
		snprintf(other, sizeof(other), "1/web/x%d", i % 2);
		app_locks(f, other);
		app_unlocks(f, other);
	}
	app_locks(f, "2/quiet/updates.lock"); /* no room for this one */
	RUN_UNTIL(f->loop, is_blocked(f, 2));
	app_unlocks(f, "2/quiet/updates.lock");
	RUN_UNTIL(f->loop, !is_blocked(f, 2));
}

static void take_all(struct lock_fixture *f)
{
	if (f->changed >= 1 && !is_blocked(f, 1))
		FORGET(f, 1); /* the very directory that is being told about */
}

static void the_change_callback_may_forget_the_app_it_is_about(void **state)
{
	struct lock_fixture *f = *state;

	prepared(f);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, f->changed == 1);
	f->on_changed = take_all;
	app_unlocks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, lock_set_views(f->set)->n_apps == 0);
	assert_false(exists(f, "1/web"));
}

/* Runs with no descriptor left for inotify: the set must work by its timer, and say so once. */
static void without_inotify_a_blocked_app_is_looked_at_by_timer(void **state)
{
	struct lock_fixture *f = *state;
	struct rlimit old, none;
	int probe = dup(0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	close(probe);
	/* root, claim, and what is open only for a moment: then inotify_init1() fails with EMFILE, but nothing before
	 * it */
	none.rlim_cur = (rlim_t)probe + 3;
	setrlimit(RLIMIT_NOFILE, &none);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	setrlimit(RLIMIT_NOFILE, &old);
	ASSERT_TOLD(f, "problem 0 -");
	DECLARE(f, 1, "web");
	prepare(f, 1, "web");
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 1);
	app_unlocks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, !is_blocked(f, 1));
	assert_int_equal(told_count(f, "problem"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(a_lock_is_seen_and_its_release_is_told_without_a_timer),
		LOCK_TEST(a_view_says_what_who_and_since_when),
		LOCK_TEST(touching_a_held_lock_keeps_its_since),
		LOCK_TEST(a_lock_that_was_there_first_is_seen_at_declaration),
		LOCK_TEST(other_names_cost_no_call),
		LOCK_TEST(a_directory_that_appears_later_is_watched),
		LOCK_TEST(a_directory_that_is_replaced_is_watched_again),
		LOCK_TEST(a_lock_root_that_is_removed_is_made_and_watched_anew),
		LOCK_TEST(a_base_that_is_moved_away_is_made_and_watched_anew),
		LOCK_TEST(a_lock_directory_that_is_a_link_is_refused),
		LOCK_TEST(a_service_name_that_is_no_directory_name_is_a_problem_not_a_path),
		LOCK_TEST(modes_are_repaired_at_prepare_and_at_declaration),
		LOCK_TEST(empty_directories_of_gone_services_are_removed_and_others_kept),
		LOCK_TEST(a_storm_of_takes_and_releases_ends_in_the_truth),
		LOCK_TEST(an_overflow_makes_every_directory_be_read),
		LOCK_TEST(the_change_callback_may_forget_the_app_it_is_about),
		LOCK_TEST_NO_SET(without_inotify_a_blocked_app_is_looked_at_by_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
