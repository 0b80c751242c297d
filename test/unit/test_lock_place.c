/* The places of a whole app: L2 (what old supervisors used) and L3 (what the oldest did), beside L1. */
#include "lock_fixture.h"

#include "lock/set.h"

#define L2 LEGACY_ROOT "/1/resin-updates.lock"
#define L3 DATA_ROOT "/1/resin-updates.lock"

/* Roots of all places, and an app with a directory in each; the set is not open yet. */
static void all_places(struct lock_fixture *f)
{
	f->legacy_root = LEGACY_ROOT;
	f->data_root = DATA_ROOT;
	make_dir(f, "/tmp/balena-supervisor");
	make_dir(f, LOCK_ROOT);
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	make_dir(f, DATA_ROOT);
	make_dir(f, DATA_ROOT "/1");
}

static void opened(struct lock_fixture *f)
{
	if (set_open(f, THIS_NONCE) < 0)
		fail_msg("%s", f->err.msg);
}

static void a_legacy_directory_is_honoured_without_any_container(void **state)
{
	struct lock_fixture *f = *state;
	const struct lock_views *v;

	all_places(f);
	app_locks(f, L2);
	opened(f);
	ASSERT_TOLD(f, "seen 1 L2 resin-updates.lock");
	assert_true(is_blocked(f, 1));
	assert_true(app_view(f, 1)->legacy);
	v = lock_set_views(f->set);
	assert_int_equal(v->n, 1);
	assert_null(v->v[0].service);
	assert_string_equal(v->v[0].path, L2);
	assert_true(v->v[0].counts);
	RUN_UNTIL(f->loop, f->changed == 1); /* somebody must hear of it */
	assert_int_equal(take(f, 1, false), 1);
	app_unlocks(f, L2);
	loop_run_once(f->loop, true); /* one turn: the event is there already */
	assert_int_equal(f->changed, 2);
	assert_false(is_blocked(f, 1));
	assert_int_equal(take(f, 1, false), 0);
	assert_true(exists(f, L2));
	assert_int_equal(release(f, 1), 0);
	assert_false(exists(f, L2));
	assert_non_null(app_view(f, 1)); /* as long as the directory is there */
}

static void all_places_are_taken_persistent_first_and_given_back(void **state)
{
	struct lock_fixture *f = *state;
	const struct lock_views *v;

	all_places(f);
	opened(f);
	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	told_clear(f);
	assert_int_equal(take(f, 1, false), 0);
	ASSERT_TOLD(f, "taken 1 L3 resin-updates.lock", "taken 1 L2 resin-updates.lock",
		    "taken 1 web resin-updates.lock", "taken 1 web updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_false(exists(f, LEGACY_ROOT "/1/updates.lock") || exists(f, DATA_ROOT "/1/updates.lock"));
	v = lock_set_views(f->set);
	assert_int_equal(v->n, 4);
	for (size_t i = 1; i < v->n; i++) /* sorted by service, path */
		assert_true(v->v[i].service ? !v->v[i - 1].service || strcmp(v->v[i - 1].path, v->v[i].path) < 0
					    : strcmp(v->v[i - 1].path, v->v[i].path) < 0);
	assert_int_equal(release(f, 1), 0);
	ASSERT_TOLD(f, "released 1 L3 resin-updates.lock", "released 1 L2 resin-updates.lock",
		    "released 1 web resin-updates.lock", "released 1 web updates.lock");
	check_run_turns(f->loop, 3);
	assert_int_equal(f->n_told, 0);
}

static void one_lock_in_any_place_holds_back_all_and_nothing_of_ours_remains(void **state)
{
	static const char *const paths[] = {L3, L2, "1/web/resin-updates.lock", "1/web/updates.lock"};
	struct lock_fixture *f = *state;

	all_places(f);
	opened(f);
	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		check_run_turns(f->loop, 2);
		told_clear(f);
		app_locks(f, paths[i]); /* and not told by the loop yet: the take finds it */
		assert_int_equal(take(f, 1, false), 1);
		assert_int_equal(told_count(f, "taken"), 0);
		for (size_t n = 0; n < ARRAY_LEN(paths); n++)
			assert_int_equal(exists(f, paths[n]), n == i);
		app_unlocks(f, paths[i]);
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
	}
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(count_ours(f, 1), 4);
}

static void without_a_data_root_a_file_there_is_ignored_completely(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	f->data_root = NULL;
	app_locks(f, L3);
	opened(f);
	DECLARE(f, 1, "web");
	assert_int_equal(lock_set_views(f->set)->n, 0);
	assert_int_equal(take(f, 1, false), 0);
	lock_set_starting(f->set, 1);
	assert_int_equal(release(f, 1), 0);
	assert_true(exists(f, L3));
}

static void directories_of_a_whole_app_are_never_made_nor_changed(void **state)
{
	struct lock_fixture *f = *state;
	struct stat st;

	all_places(f);
	assert_int_equal(chmod(below(f, LEGACY_ROOT "/1"), 0711), 0);
	opened(f);
	DECLARE(f, 1, "web");
	DECLARE(f, 2, "web");
	prepare(f, 1, "web");
	prepare(f, 2, "web");
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(take(f, 2, false), 0);
	assert_int_equal(count_ours(f, 1), 4);
	assert_int_equal(count_ours(f, 2), 2);
	assert_false(exists(f, LEGACY_ROOT "/2") || exists(f, DATA_ROOT "/2"));
	assert_int_equal(lstat(below(f, LEGACY_ROOT "/1"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(release(f, 1), 0);
	FORGET(f, 1);
	assert_true(exists(f, LEGACY_ROOT "/1") && exists(f, DATA_ROOT "/1"));
	assert_non_null(app_view(f, 1)); /* L2 is there */
}

static void roots_that_are_missing_are_no_problem_and_nothing_is_made(void **state)
{
	struct lock_fixture *f = *state;

	f->legacy_root = LEGACY_ROOT;
	f->data_root = DATA_ROOT;
	opened(f);
	DECLARE(f, 1, "web");
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(told_count(f, "problem"), 0);
	assert_false(exists(f, LEGACY_ROOT) || exists(f, DATA_ROOT));
}

/* Its parent is /tmp: a watch there would wake us for every temporary file of the device. */
static void a_legacy_root_that_appears_later_is_found_when_there_is_reason_to_look(void **state)
{
	struct lock_fixture *f = *state;

	f->legacy_root = LEGACY_ROOT;
	opened(f);
	DECLARE(f, 1, "web");
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	make_dir(f, LEGACY_ROOT "/3");
	app_locks(f, L2);
	check_run_turns(f->loop, 3);
	assert_false(is_blocked(f, 1));
	DECLARE(f, 2, "web"); /* whatever app */
	assert_true(is_blocked(f, 1));
	assert_non_null(app_view(f, 3));
	make_dir(f, LEGACY_ROOT "/4"); /* and from now on it is watched */
	RUN_UNTIL(f->loop, app_view(f, 4));
}

static void a_legacy_directory_whose_event_is_unread_is_found_by_the_take(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	assert_int_equal(rmdir(below(f, LEGACY_ROOT "/1")), 0);
	opened(f);
	DECLARE(f, 1, "web");
	prepare(f, 1, "web");
	make_dir(f, LEGACY_ROOT "/1");
	app_locks(f, L2);
	assert_int_equal(take(f, 1, false), 1);
	assert_true(is_blocked(f, 1));
	assert_int_equal(count_ours(f, 1), 0);
}

static void what_is_ours_and_comes_back_in_sight_is_to_be_released(void **state)
{
	struct lock_fixture *f = *state;

	opened(f);
	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(rename(below(f, "1/web"), below(f, "away")), 0);
	assert_int_equal(release(f, 1), 0);
	assert_int_equal(state_of(f, 1), LOCK_FREE);
	assert_int_equal(rename(below(f, "away"), below(f, "1/web")), 0);
	RUN_UNTIL(f->loop, state_of(f, 1) == LOCK_LOST); /* so that the planner has it released */
	assert_int_equal(release(f, 1), 0);
	assert_int_equal(state_of(f, 1), LOCK_FREE);
	assert_false(exists(f, "1/web/updates.lock"));
}

static void a_look_finds_a_root_that_appeared(void **state)
{
	struct lock_fixture *f = *state;

	f->legacy_root = LEGACY_ROOT;
	opened(f);
	lock_set_look(f->set);
	assert_int_equal(f->n_told, 0);
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	app_locks(f, L2);
	lock_set_look(f->set);
	assert_true(is_blocked(f, 1));
	RUN_UNTIL(f->loop, f->changed); /* and somebody hears of it */
}

static void a_take_that_looks_closely_finds_a_legacy_root_that_appeared(void **state)
{
	struct lock_fixture *f = *state;

	f->legacy_root = LEGACY_ROOT;
	opened(f);
	DECLARE(f, 1, "web");
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	app_locks(f, L2);
	assert_int_equal(take(f, 1, false), 1); /* the directory of web has to be made: the long way */
	assert_false(exists(f, "1/web/updates.lock"));
}

static void the_new_base_may_be_a_link_to_the_old_one(void **state)
{
	struct lock_fixture *f = *state;
	char target[64] = "";

	f->legacy_root = LEGACY_ROOT;
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	app_locks(f, L2);
	opened(f);
	assert_int_equal(readlink(below(f, "/tmp/balena-supervisor"), target, sizeof(target) - 1), 16);
	DECLARE(f, 1, "web");
	prepare(f, 1, "web");
	assert_int_equal(lock_set_views(f->set)->n_apps, 1); /* "services" is no app */
	assert_int_equal(take(f, 1, false), 1);
	app_unlocks(f, L2);
	RUN_UNTIL(f->loop, !is_blocked(f, 1));
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(count_ours(f, 1), 3);
	assert_true(exists(f, LEGACY_ROOT "/services/1/web/updates.lock") && exists(f, L2));
	make_dir(f, LEGACY_ROOT "/2");
	RUN_UNTIL(f->loop, app_view(f, 2));
	check_rm_dir(strdup(below(f, LEGACY_ROOT "/services"))); /* both watches of the one directory work */
	RUN_UNTIL(f->loop, exists(f, ".supervisor"));
}

static void a_root_that_others_could_have_made_is_told_once_and_does_not_count(void **state)
{
	static const struct {
		const char *detail;
		unsigned mode;
		uid_t uid;
		bool link, file;
	} bad[] = {
		{LEGACY_ROOT " belongs to uid 1000, not to root: no place for update locks", 0755, 1000, false, false},
		{LEGACY_ROOT " (mode 0777) is writable by others: no place for update locks", 0777, 0, false, false},
		{LEGACY_ROOT " is a symbolic link: no place for update locks", 0, 0, true, false},
		{LEGACY_ROOT " is not a directory", 0, 0, false, true},
	};
	struct lock_fixture *f = *state;

	all_places(f);
	app_locks(f, L2);
	assert_int_equal(rename(below(f, LEGACY_ROOT), below(f, "/good")), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (bad[i].link) {
			assert_int_equal(symlink("/good", below(f, LEGACY_ROOT)), 0);
		} else if (bad[i].file) {
			check_write_file(f->base->dir_fd, &LEGACY_ROOT[1], "");
		} else {
			make_dir(f, LEGACY_ROOT);
			make_dir(f, LEGACY_ROOT "/1");
			app_locks(f, L2);
			assert_int_equal(chmod(below(f, LEGACY_ROOT), bad[i].mode), 0);
			assert_int_equal(chown(below(f, LEGACY_ROOT), bad[i].uid, 0), 0);
		}
		opened(f);
		assert_int_equal(f->n_told, 1);
		assert_string_equal(f->told[0].text, "problem 0 -");
		assert_string_equal(f->told[0].path, LEGACY_ROOT);
		assert_string_equal(f->told[0].detail, bad[i].detail);
		DECLARE(f, 1, "web");
		DECLARE(f, 1, "web", "api");
		assert_int_equal(told_count(f, "problem"), 1);
		assert_null(app_view(f, 1)->problem);
		assert_int_equal(take(f, 1, false), 0);
		assert_int_equal(release(f, 1), 0);
		set_close(f);
		told_clear(f);
		if (bad[i].link || bad[i].file)
			app_unlocks(f, LEGACY_ROOT);
		else
			check_rm_dir(strdup(below(f, LEGACY_ROOT)));
	}
}

static void a_link_in_the_place_of_an_apps_directory_is_told_once_and_not_followed(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	assert_int_equal(rename(below(f, LEGACY_ROOT "/1"), below(f, "/elsewhere")), 0);
	assert_int_equal(symlink("/elsewhere", below(f, LEGACY_ROOT "/1")), 0);
	app_locks(f, "/elsewhere/resin-updates.lock");
	opened(f);
	ASSERT_TOLD(f, "problem 1 L2");
	DECLARE(f, 1, "web");
	assert_int_equal(take(f, 1, true), 0);
	assert_int_equal(told_count(f, "problem") + told_count(f, "overridden"), 0);
	assert_true(exists(f, "/elsewhere/resin-updates.lock"));
	assert_int_equal(count_ours(f, 1), 3); /* L3 and L1 */
	app_unlocks(f, LEGACY_ROOT "/1");
	make_dir(f, LEGACY_ROOT "/1");
	RUN_UNTIL(f->loop, state_of(f, 1) == LOCK_LOST); /* a directory now: it counts, and is not ours yet */
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(count_ours(f, 1), 4);
}

/* -------- directories that come and go -------- */

static void a_directory_that_appears_counts_and_one_that_goes_does_not(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	opened(f);
	make_dir(f, LEGACY_ROOT "/5");
	RUN_UNTIL(f->loop, app_view(f, 5) && app_view(f, 5)->legacy);
	app_locks(f, LEGACY_ROOT "/5/resin-updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 5));
	app_unlocks(f, LEGACY_ROOT "/5/resin-updates.lock");
	RUN_UNTIL(f->loop, !is_blocked(f, 5));
	assert_int_equal(rmdir(below(f, LEGACY_ROOT "/5")), 0);
	RUN_UNTIL(f->loop, !app_view(f, 5));
	make_dir(f, LEGACY_ROOT "/5"); /* and all in one turn */
	app_locks(f, LEGACY_ROOT "/5/resin-updates.lock");
	RUN_UNTIL(f->loop, is_blocked(f, 5));
	DECLARE(f, 6, "web");
	make_dir(f, DATA_ROOT "/6");
	RUN_UNTIL(f->loop, app_view(f, 6)->legacy);
	make_dir(f, DATA_ROOT "/7");
	check_run_turns(f->loop, 3);
	assert_null(app_view(f, 7)); /* data alone are no app */
}

static void a_directory_that_is_replaced_is_watched_again(void **state)
{
	static const char *const dirs[] = {LEGACY_ROOT "/1", DATA_ROOT "/1"};
	static const char *const locks[] = {L2, L3};
	struct lock_fixture *f = *state;

	all_places(f);
	opened(f);
	DECLARE(f, 1, "web");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		app_locks(f, locks[i]);
		RUN_UNTIL(f->loop, is_blocked(f, 1));
		assert_int_equal(rename(below(f, dirs[i]), below(f, i ? "/old3" : "/old2")), 0);
		make_dir(f, dirs[i]);
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
		app_locks(f, locks[i]);
		RUN_UNTIL(f->loop, is_blocked(f, 1));
		app_unlocks(f, locks[i]);
		RUN_UNTIL(f->loop, !is_blocked(f, 1));
	}
}

static void a_root_that_is_replaced_is_opened_again(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	app_locks(f, L2);
	opened(f);
	make_dir(f, "/new");
	make_dir(f, "/new/1");
	make_dir(f, "/new/2");
	assert_int_equal(rename(below(f, LEGACY_ROOT), below(f, "/old")), 0);
	assert_int_equal(rename(below(f, "/new"), below(f, LEGACY_ROOT)), 0);
	RUN_UNTIL(f->loop, app_view(f, 2));
	assert_false(is_blocked(f, 1));
	app_locks(f, L2);
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	app_unlocks(f, L2);
	assert_int_equal(rename(below(f, LEGACY_ROOT), below(f, "/old2")), 0);
	RUN_UNTIL(f->loop, lock_set_views(f->set)->n_apps == 0);
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/3");
	DECLARE(f, 9, "web");
	assert_non_null(app_view(f, 3));
	assert_int_equal(rmdir(below(f, LEGACY_ROOT "/3")), 0); /* removed, which is silent while we have it open */
	assert_int_equal(rmdir(below(f, LEGACY_ROOT)), 0);
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/4");
	DECLARE(f, 9, "web", "api");
	assert_non_null(app_view(f, 4));
}

static void a_directory_that_appears_while_held_makes_the_set_incomplete(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	opened(f);
	DECLARE(f, 2, "web");
	assert_int_equal(take(f, 2, false), 0);
	make_dir(f, LEGACY_ROOT "/2");
	RUN_UNTIL(f->loop, state_of(f, 2) == LOCK_LOST);
	assert_int_equal(take(f, 2, false), 0);
	assert_int_equal(state_of(f, 2), LOCK_HELD);
	told_clear(f);
	check_rm_dir(strdup(below(f, LEGACY_ROOT "/2"))); /* our lock with it */
	RUN_UNTIL(f->loop, !app_view(f, 2)->legacy);
	ASSERT_TOLD(f, "lost 2 L2 resin-updates.lock");
	assert_int_equal(state_of(f, 2), LOCK_HELD); /* nothing is held there any more, by nobody */
}

static void ours_stolen_from_a_whole_apps_directory_is_lost_and_taken_again(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	opened(f);
	assert_int_equal(take(f, 1, false), 0);
	told_clear(f);
	app_unlocks(f, L2);
	RUN_UNTIL(f->loop, state_of(f, 1) == LOCK_LOST);
	ASSERT_TOLD(f, "lost 1 L2 resin-updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	ASSERT_TOLD(f, "taken 1 L2 resin-updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
}

static void a_directory_that_went_before_the_loop_told_does_not_hinder_the_take(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	opened(f);
	DECLARE(f, 1, "web");
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(release(f, 1), 0);
	assert_int_equal(rmdir(below(f, LEGACY_ROOT "/1")), 0);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_int_equal(count_ours(f, 1), 3);
	assert_false(exists(f, LEGACY_ROOT "/1"));
	FORGET(f, 1);
	assert_int_equal(release(f, 1), 0);
	RUN_UNTIL(f->loop, !app_view(f, 1));
}

static void an_app_whose_directory_went_before_its_take_is_forgotten_when_the_loop_tells(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	f->data_root = NULL;
	app_locks(f, L2); /* so that the take looks closely */
	opened(f);
	app_unlocks(f, L2);
	assert_int_equal(rmdir(below(f, LEGACY_ROOT "/1")), 0);
	assert_int_equal(take(f, 1, false), 0);
	RUN_UNTIL(f->loop, !app_view(f, 1));
}

/* -------- leftovers -------- */

static void leftovers_in_every_place_are_adopted(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	make_dir(f, DATA_ROOT "/2");
	make_dir(f, DATA_ROOT "/3");
	make_dir(f, DATA_ROOT "/007");
	leave_behind(f, L2);
	leave_behind(f, L3);
	leave_behind(f, DATA_ROOT "/2/resin-updates.lock");
	leave_behind(f, DATA_ROOT "/007/resin-updates.lock");
	opened(f);
	assert_int_equal(f->n_told, 0);
	assert_int_equal(lock_set_views(f->set)->n_apps, 2);
	for (int id = 1; id <= 2; id++) {
		assert_int_equal(state_of(f, id), LOCK_HELD);
		assert_true(app_view(f, id)->leftover);
		assert_int_equal(release(f, id), 0);
	}
	ASSERT_TOLD(f, "leftover_removed 1 L3 resin-updates.lock", "leftover_removed 1 L2 resin-updates.lock",
		    "leftover_removed 2 L3 resin-updates.lock");
	assert_null(app_view(f, 2)); /* its data alone keep no app known */
	assert_false(exists(f, L2) || exists(f, L3));
	assert_true(exists(f, DATA_ROOT "/007/resin-updates.lock"));
}

static void an_applications_data_are_no_temporaries_of_ours(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	lock_with(f, DATA_ROOT "/1/.lk-" EARLIER_NONCE, "lockkeeper-", 0);
	lock_with(f, DATA_ROOT "/1/.lk-precious", "data", 0);
	opened(f);
	assert_false(exists(f, DATA_ROOT "/1/.lk-" EARLIER_NONCE));
	assert_true(exists(f, DATA_ROOT "/1/.lk-precious"));
}

/* -------- what outlives a reboot -------- */

static void while_nothing_of_the_app_runs_a_lock_at_l3_does_not_count_and_is_broken(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	app_locks(f, L3);
	opened(f);
	DECLARE(f, 1, "web");
	assert_true(is_blocked(f, 1)); /* until told that nothing runs */
	lock_set_running(f->set, 1, false);
	assert_false(is_blocked(f, 1));
	assert_int_equal(lock_set_views(f->set)->n, 1); /* but shown */
	assert_false(lock_set_views(f->set)->v[0].counts);
	lock_set_running(f->set, 1, true);
	assert_true(is_blocked(f, 1));
	assert_int_equal(take(f, 1, false), 1);
	lock_set_running(f->set, 1, false);
	told_clear(f);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(told_count(f, "overridden"), 1);
	assert_string_equal(told_find(f, "overridden 1 L3 resin-updates.lock")->by, "stopped");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
}

static void a_lock_at_l2_or_l1_counts_whether_anything_runs_or_not(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	app_locks(f, L2);
	opened(f);
	DECLARE(f, 1, "web");
	prepare(f, 1, "web");
	lock_set_running(f->set, 1, false);
	assert_true(is_blocked(f, 1));
	app_locks(f, "1/web/updates.lock");
	app_unlocks(f, L2);
	assert_int_equal(take(f, 1, false), 1);
	lock_set_starting(f->set, 1);
	assert_true(exists(f, "1/web/updates.lock"));
}

static void before_the_start_a_lock_at_l3_is_removed_and_no_other(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	app_locks(f, L2);
	make_dir(f, L3);
	app_locks(f, L3 "/host-1.1");
	app_locks(f, DATA_ROOT "/1/precious");
	opened(f);
	DECLARE(f, 1, "web");
	prepare(f, 1, "web");
	app_locks(f, "1/web/updates.lock");
	told_clear(f);
	lock_set_starting(f->set, 1);
	assert_string_equal(told_find(f, "overridden 1 L3 resin-updates.lock")->by, "stopped");
	assert_false(exists(f, L3));
	assert_true(exists(f, DATA_ROOT "/1/precious") && exists(f, L2) && exists(f, "1/web/updates.lock"));
	lock_set_starting(f->set, 1);
	lock_set_starting(f->set, 99); /* nobody knows it */
	assert_int_equal(told_count(f, "overridden"), 1);
	app_unlocks(f, L2);
	app_unlocks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	lock_set_starting(f->set, 1); /* ours stays */
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_true(exists(f, L3));
}

static void a_lock_at_l3_that_is_too_large_to_be_removed_before_the_start_is_told(void **state)
{
	struct lock_fixture *f = *state;
	char path[64];

	all_places(f);
	make_dir(f, L3);
	for (int i = 0; i < 20001; i++) {
		snprintf(path, sizeof(path), L3 "/%d", i);
		app_locks(f, path);
	}
	opened(f);
	DECLARE(f, 1, "web");
	told_clear(f);
	lock_set_starting(f->set, 1);
	ASSERT_TOLD(f, "problem 1 L3");
	assert_true(exists(f, L3));
	lock_set_starting(f->set, 1); /* the rest of it */
	ASSERT_TOLD(f, "overridden 1 L3 resin-updates.lock");
	assert_false(exists(f, L3));
}

/* -------- the reference -------- */

static void locks_of_the_reference_are_leftovers_at_the_start_that_adopts_them(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	make_dir(f, "1");
	make_dir(f, "1/web");
	make_dir(f, "1/api");
	lock_with(f, "1/web/updates.lock", "0", 65534);
	lock_with(f, "1/web/resin-updates.lock", "0\n", 65534);
	lock_with(f, "1/api/updates.lock", "0", 0);
	lock_with(f, L2, "0", 65534);
	opened(f);
	assert_int_equal(count_ours(f, 1), 0); /* not told to */
	set_close(f);
	told_clear(f);
	f->adopt_reference = true;
	opened(f);
	assert_int_equal(count_ours(f, 1), 2);
	assert_true(app_view(f, 1)->leftover);
	assert_int_equal(f->n_told, 0);
	DECLARE(f, 1, "web", "api");
	assert_true(is_blocked(f, 1)); /* the other two are of applications */
	told_clear(f);
	assert_int_equal(release(f, 1), 0);
	ASSERT_TOLD(f, "leftover_removed 1 L2 resin-updates.lock", "leftover_removed 1 web updates.lock");
	assert_true(exists(f, "1/web/resin-updates.lock") && exists(f, "1/api/updates.lock"));
	lock_with(f, "1/web/updates.lock", "0", 65534); /* later ones are of an application */
	RUN_UNTIL(f->loop, told_find(f, "seen 1 web updates.lock"));
	assert_int_equal(count_ours(f, 1), 0);
}

static void an_adopted_lock_that_somebody_made_anew_is_no_longer_ours(void **state)
{
	struct lock_fixture *f = *state;

	all_places(f);
	lock_with(f, L2, "0", 65534);
	f->adopt_reference = true;
	opened(f);
	assert_int_equal(count_ours(f, 1), 1);
	app_unlocks(f, L2);
	lock_with(f, L2, "0", 65534); /* before the loop told, maybe with the same inode */
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(release(f, 1), 0);
	assert_true(exists(f, L2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST_NO_SET(a_legacy_directory_is_honoured_without_any_container),
		LOCK_TEST_NO_SET(all_places_are_taken_persistent_first_and_given_back),
		LOCK_TEST_NO_SET(one_lock_in_any_place_holds_back_all_and_nothing_of_ours_remains),
		LOCK_TEST_NO_SET(without_a_data_root_a_file_there_is_ignored_completely),
		LOCK_TEST_NO_SET(directories_of_a_whole_app_are_never_made_nor_changed),
		LOCK_TEST_NO_SET(roots_that_are_missing_are_no_problem_and_nothing_is_made),
		LOCK_TEST_NO_SET(a_legacy_root_that_appears_later_is_found_when_there_is_reason_to_look),
		LOCK_TEST_NO_SET(a_legacy_directory_whose_event_is_unread_is_found_by_the_take),
		LOCK_TEST_NO_SET(what_is_ours_and_comes_back_in_sight_is_to_be_released),
		LOCK_TEST_NO_SET(a_look_finds_a_root_that_appeared),
		LOCK_TEST_NO_SET(a_take_that_looks_closely_finds_a_legacy_root_that_appeared),
		LOCK_TEST_NO_SET(the_new_base_may_be_a_link_to_the_old_one),
		LOCK_TEST_NO_SET(a_root_that_others_could_have_made_is_told_once_and_does_not_count),
		LOCK_TEST_NO_SET(a_link_in_the_place_of_an_apps_directory_is_told_once_and_not_followed),
		LOCK_TEST_NO_SET(a_directory_that_appears_counts_and_one_that_goes_does_not),
		LOCK_TEST_NO_SET(a_directory_that_is_replaced_is_watched_again),
		LOCK_TEST_NO_SET(a_root_that_is_replaced_is_opened_again),
		LOCK_TEST_NO_SET(a_directory_that_appears_while_held_makes_the_set_incomplete),
		LOCK_TEST_NO_SET(ours_stolen_from_a_whole_apps_directory_is_lost_and_taken_again),
		LOCK_TEST_NO_SET(a_directory_that_went_before_the_loop_told_does_not_hinder_the_take),
		LOCK_TEST_NO_SET(an_app_whose_directory_went_before_its_take_is_forgotten_when_the_loop_tells),
		LOCK_TEST_NO_SET(leftovers_in_every_place_are_adopted),
		LOCK_TEST_NO_SET(an_applications_data_are_no_temporaries_of_ours),
		LOCK_TEST_NO_SET(while_nothing_of_the_app_runs_a_lock_at_l3_does_not_count_and_is_broken),
		LOCK_TEST_NO_SET(a_lock_at_l2_or_l1_counts_whether_anything_runs_or_not),
		LOCK_TEST_NO_SET(before_the_start_a_lock_at_l3_is_removed_and_no_other),
		LOCK_TEST_NO_SET(a_lock_at_l3_that_is_too_large_to_be_removed_before_the_start_is_told),
		LOCK_TEST_NO_SET(locks_of_the_reference_are_leftovers_at_the_start_that_adopts_them),
		LOCK_TEST_NO_SET(an_adopted_lock_that_somebody_made_anew_is_no_longer_ours),
	};

	return cmocka_run_group_tests(tests, root_only, NULL);
}
