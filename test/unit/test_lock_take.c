/* Taking, losing, overriding and giving back: all or none, never somebody else's. */
#include "lock_fixture.h"

#include <sys/inotify.h>

#include "lock/set.h"

static void two_services(struct lock_fixture *f)
{
	prepare(f, 1, "api");
	prepare(f, 1, "web");
	DECLARE(f, 1, "web", "api");
	check_run_turns(f->loop, 2);
	told_clear(f);
	f->changed = 0;
}

static void taking_makes_both_names_of_every_service_in_order(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	ASSERT_TOLD(f, "taken 1 api resin-updates.lock", "taken 1 api updates.lock", "taken 1 web resin-updates.lock",
		    "taken 1 web updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_false(app_view(f, 1)->blocked);
	assert_int_equal(count_ours(f, 1), 4);
	assert_int_equal(take(f, 1, false), 0); /* already ours */
	assert_int_equal(f->n_told, 0);
	release(f, 1);
	ASSERT_TOLD(f, "released 1 api resin-updates.lock", "released 1 api updates.lock",
		    "released 1 web resin-updates.lock", "released 1 web updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_FREE);
	assert_false(exists(f, "1/web/updates.lock") || exists(f, "1/web/resin-updates.lock"));
	release(f, 1); /* none is ours: nothing */
	release(f, 99);
	check_run_turns(f->loop, 3);
	assert_int_equal(f->n_told, 0);
	assert_int_equal(f->changed, 0); /* our own doing wakes nobody */
}

static void one_lock_anywhere_holds_back_all_and_nothing_of_ours_remains(void **state)
{
	static const char *const paths[] = {"1/api/updates.lock", "1/api/resin-updates.lock", "1/web/updates.lock",
					    "1/web/resin-updates.lock"};
	struct lock_fixture *f = *state;

	two_services(f);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		app_locks(f, paths[i]);
		assert_int_equal(take(f, 1, false), 1);
		assert_int_equal(told_count(f, "seen"), 1);
		assert_int_equal(told_count(f, "taken"), 0);
		assert_int_equal(count_ours(f, 1), 0);
		for (size_t n = 0; n < ARRAY_LEN(paths); n++)
			assert_int_equal(exists(f, paths[n]), n == i);
		app_unlocks(f, paths[i]);
		f->changed = 0;
		RUN_UNTIL(f->loop, f->changed >= 1);
		told_clear(f);
	}
	assert_int_equal(take(f, 1, false), 0);
}

static void an_application_cannot_lock_while_ours_is_held(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(open(below(f, "1/web/updates.lock"), O_CREAT | O_EXCL | O_WRONLY, 0644), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(mkdir(below(f, "1/web/updates.lock"), 0755), -1);
	assert_int_equal(symlink("x", below(f, "1/web/updates.lock")), -1);
}

static void a_lock_of_uid_65534_is_honoured(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(chown(below(f, "1/web/updates.lock"), 65534, 65534), 0);
	assert_int_equal(take(f, 1, false), 1);
	release(f, 1);
	assert_true(exists(f, "1/web/updates.lock"));
}

static void apps_do_not_hold_each_other_back(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	prepare(f, 2, "web");
	DECLARE(f, 2, "web");
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(take(f, 2, false), 0);
	assert_int_equal(state_of(f, 2), LOCK_HELD);
}

static void a_missing_directory_is_made_for_the_take(void **state)
{
	struct lock_fixture *f = *state;
	struct stat st;

	DECLARE(f, 5, "new");
	assert_int_equal(take(f, 5, false), 0);
	assert_int_equal(lstat(below(f, "5/new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_true(exists(f, "5/new/updates.lock"));
}

static void an_app_without_services_is_held_by_nothing(void **state)
{
	struct lock_fixture *f = *state;

	assert_int_equal(take(f, 3, false), 0);
	assert_int_equal(state_of(f, 3), LOCK_HELD);
	assert_false(exists(f, "3"));
	release(f, 3);
	assert_null(app_view(f, 3));
}

static void ours_removed_behind_our_back_is_lost_and_taken_again(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	told_clear(f);
	app_unlocks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, f->changed == 1);
	ASSERT_TOLD(f, "lost 1 web updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_LOST);
	assert_int_equal(take(f, 1, false), 0);
	ASSERT_TOLD(f, "taken 1 web updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
}

static void ours_replaced_by_an_application_is_lost_and_theirs_stays(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	told_clear(f);
	app_locks(f, "1/web/mine");
	assert_int_equal(rename(below(f, "1/web/mine"), below(f, "1/web/updates.lock")), 0);
	RUN_UNTIL(f->loop, f->changed == 1);
	ASSERT_TOLD(f, "lost 1 web updates.lock", "seen 1 web updates.lock");
	assert_int_equal(state_of(f, 1), LOCK_LOST);
	assert_true(app_view(f, 1)->blocked);
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(count_ours(f, 1), 3); /* what was held before the call stays */
	release(f, 1);
	assert_true(exists(f, "1/web/updates.lock"));
	assert_false(exists(f, "1/web/resin-updates.lock") || exists(f, "1/api/updates.lock"));
}

static void a_release_that_finds_ours_replaced_leaves_it_and_says_so(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	told_clear(f);
	app_unlocks(f, "1/api/resin-updates.lock");
	app_locks(f, "1/api/resin-updates.lock");
	release(f, 1); /* before the loop told us */
	ASSERT_TOLD(f, "lost 1 api resin-updates.lock", "seen 1 api resin-updates.lock", "released 1 api updates.lock",
		    "released 1 web resin-updates.lock", "released 1 web updates.lock");
	assert_true(exists(f, "1/api/resin-updates.lock"));
}

/* As a shell's "echo $$ >updates.lock" does, for root; the kernel tells nobody. */
static void overwrite(const struct lock_fixture *f, const char *path, const char *text)
{
	int fd = open(below(f, path), O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* So that there are files made ahead. */
static void block_for_a_while(struct lock_fixture *f, const char *path)
{
	app_locks(f, path);
	RUN_UNTIL(f->loop, app_view(f, 1)->blocked);
	check_run_turns(f->loop, 2);
	app_unlocks(f, path);
	RUN_UNTIL(f->loop, !app_view(f, 1)->blocked);
}

static void what_is_done_to_one_name_does_not_touch_the_other(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	for (size_t spares = 0; spares <= 4; spares += 4) {
		if (spares)
			block_for_a_while(f, "1/web/updates.lock");
		assert_int_equal(f->set->n_spares, spares);
		assert_int_equal(take(f, 1, false), 0);
		check_run_turns(f->loop, 2); /* the events of our own making are over */
		told_clear(f);
		f->changed = 0;
		overwrite(f, "1/web/updates.lock", "4711\n");
		app_unlocks(f, "1/api/resin-updates.lock");
		RUN_UNTIL(f->loop, f->changed == 1);
		ASSERT_TOLD(f, "lost 1 api resin-updates.lock");
		release(f, 1);
		ASSERT_TOLD(f, "released 1 api updates.lock", "released 1 web resin-updates.lock",
			    "lost 1 web updates.lock", "seen 1 web updates.lock");
		assert_false(exists(f, "1/api/updates.lock") || exists(f, "1/web/resin-updates.lock"));
		assert_true(exists(f, "1/web/updates.lock")); /* whose it is now we cannot know */
		assert_int_equal(take(f, 1, false), 1);
		app_unlocks(f, "1/web/updates.lock"); /* and that ends it */
		assert_int_equal(take(f, 1, false), 0);
		assert_int_equal(state_of(f, 1), LOCK_HELD);
		release(f, 1);
		lock_spares_drop(f->set);
	}
}

static void all_of_ours_gone_is_lost_not_free(void **state)
{
	struct lock_fixture *f = *state;

	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	assert_int_equal(take(f, 1, false), 0);
	check_rm_dir(strdup(below(f, "1/web")));
	RUN_UNTIL(f->loop, state_of(f, 1) == LOCK_LOST);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
}

static void a_held_set_that_grows_is_incomplete_until_taken_again(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	prepare(f, 1, "db");
	app_locks(f, "1/db/updates.lock");
	DECLARE(f, 1, "web", "api", "db");
	assert_int_equal(state_of(f, 1), LOCK_LOST);
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(count_ours(f, 1), 4);
	assert_false(exists(f, "1/db/resin-updates.lock"));
	app_unlocks(f, "1/db/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_int_equal(count_ours(f, 1), 6);
}

static void ours_in_a_service_that_left_is_kept_until_the_release(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	DECLARE(f, 1, "web");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_true(exists(f, "1/api/updates.lock"));
	FORGET(f, 1);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	release(f, 1);
	assert_null(app_view(f, 1));
	assert_false(exists(f, "1"));
}

/* -------- what changed since the last event -------- */

static void a_take_repairs_the_mode_of_its_directory(void **state)
{
	struct lock_fixture *f = *state;
	struct stat st;

	two_services(f);
	assert_int_equal(chmod(below(f, "1/web"), 0755), 0);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(lstat(below(f, "1/web"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_int_equal(count_ours(f, 1), 4);
	assert_int_equal(told_count(f, "taken"), 4); /* api's were made, undone and made again: told once */
}

static void a_take_finds_a_directory_that_was_replaced_before_the_loop_told(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(rename(below(f, "1/web"), below(f, "1/old")), 0);
	assert_int_equal(mkdir(below(f, "1/web"), 0755), 0);
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(count_ours(f, 1), 0);
	assert_false(exists(f, "1/old/updates.lock") || exists(f, "1/old/resin-updates.lock"));
	assert_false(exists(f, "1/api/updates.lock") || exists(f, "1/web/resin-updates.lock"));
	app_unlocks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	assert_true(exists(f, "1/web/updates.lock") && exists(f, "1/web/resin-updates.lock"));
	assert_false(exists(f, "1/old/updates.lock"));
}

static void a_take_watches_the_directory_that_it_takes(void **state)
{
	struct lock_fixture *f = *state;
	struct stat st;

	two_services(f);
	assert_int_equal(rename(below(f, "1/web"), below(f, "1/old")), 0);
	assert_int_equal(mkdir(below(f, "1/web"), 0755), 0);
	assert_int_equal(chmod(below(f, "1/web"), 01777), 0);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(lstat(below(f, "1/web"), &st), 0);
	assert_int_equal(lock_dir_find(f->set->apps[0], "web")->watch.ino, st.st_ino);
}

static void a_take_looks_again_at_what_was_ours(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	told_clear(f);
	app_unlocks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	ASSERT_TOLD(f, "lost 1 web updates.lock", "taken 1 web updates.lock");
	assert_true(exists(f, "1/web/updates.lock"));
}

/* Else an application that locks at this moment would fail for nothing. */
static void while_a_lock_is_known_a_take_makes_nothing_not_even_for_a_moment(void **state)
{
	struct lock_fixture *f = *state;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	char events[4096];

	two_services(f);
	app_locks(f, "1/web/updates.lock");
	RUN_UNTIL(f->loop, app_view(f, 1)->blocked);
	assert_true(inotify_add_watch(fd, below(f, "1/api"), IN_CREATE) >= 0);
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(read(fd, events, sizeof(events)), -1);
	assert_int_equal(errno, EAGAIN);
	app_unlocks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
	assert_true(read(fd, events, sizeof(events)) > 0);
	close(fd);
}

static void force_breaks_nothing_when_a_directory_cannot_be_used(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks(f, "1/api/updates.lock");
	assert_int_equal(rename(below(f, "1/web"), below(f, "1/old")), 0);
	assert_int_equal(symlink("old", below(f, "1/web")), 0);
	assert_int_equal(take(f, 1, true), -ENOTDIR);
	assert_int_equal(told_count(f, "overridden"), 0);
	assert_true(exists(f, "1/api/updates.lock"));
}

/* Also where the link leads to the very directory that is watched. */
static void a_take_follows_no_link_put_there_before_the_loop_told(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(rename(below(f, "1/web"), below(f, "1/old")), 0);
	assert_int_equal(symlink("old", below(f, "1/web")), 0);
	assert_int_equal(take(f, 1, false), -ENOTDIR);
	assert_false(exists(f, "1/old/updates.lock") || exists(f, "1/api/updates.lock"));
	assert_int_equal(unlink(below(f, "1/web")), 0);
	assert_int_equal(rename(below(f, "1/old"), below(f, "1/web")), 0);
	assert_int_equal(take(f, 1, false), 0);
	release(f, 1);
	assert_int_equal(rename(below(f, "1"), below(f, "moved")), 0);
	assert_int_equal(symlink("moved", below(f, "1")), 0);
	assert_int_equal(take(f, 1, false), -ENOTDIR);
	assert_false(exists(f, "moved/web/updates.lock") || exists(f, "moved/api/updates.lock"));
}

/* -------- spares -------- */

static void blocked_services(struct lock_fixture *f, size_t n)
{
	struct strv services = {0};

	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *service = mem_printf("s%02zu", i);

		prepare(f, 1, service);
		strv_add(&services, service);
	}
	lock_set_services(f->set, 1, &services);
	strv_deinit(&services);
	block_for_a_while(f, "1/s00/updates.lock");
}

static void spares_are_made_while_an_app_is_blocked_and_used_by_its_take(void **state)
{
	struct lock_fixture *f = *state;

	prepare(f, 1, "s00");
	check_run_turns(f->loop, 2);
	assert_int_equal(f->set->n_spares, 0); /* nobody waits */
	blocked_services(f, 2);
	assert_int_equal(f->set->n_spares, 4);
	for (int i = 0; i < 3; i++) { /* an application that comes and goes costs no more of them */
		app_locks(f, "1/s01/updates.lock");
		RUN_UNTIL(f->loop, app_view(f, 1)->blocked);
		app_unlocks(f, "1/s01/updates.lock");
		RUN_UNTIL(f->loop, !app_view(f, 1)->blocked);
		assert_int_equal(f->set->n_spares, 4);
	}
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(count_ours(f, 1), 4);
	check_run_turns(f->loop, 2);
	assert_int_equal(f->set->n_spares, 0);
}

static void spares_are_limited_and_the_take_makes_the_rest(void **state)
{
	struct lock_fixture *f = *state;

	blocked_services(f, LOCK_SPARES_MAX / LOCK_NAMES_MAX + 1);
	assert_int_equal(f->set->n_spares, LOCK_SPARES_MAX);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(count_ours(f, 1), LOCK_SPARES_MAX + LOCK_NAMES_MAX);
	assert_int_equal(f->set->n_spares, 0);
}

static void a_spare_of_another_file_system_is_no_hindrance(void **state)
{
	struct lock_fixture *f = *state;
	int shm = open("/dev/shm", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat there, here;

	two_services(f);
	if (shm < 0 || fstat(shm, &there) < 0 || lstat(below(f, "1"), &here) < 0 || there.st_dev == here.st_dev)
		skip();
	for (; f->set->n_spares < 2; f->set->n_spares++)
		assert_int_equal(lock_entry_spare(shm, BOOT_ID, THIS_NONCE, &f->set->spares[f->set->n_spares], &f->err),
				 0);
	close(shm);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(count_ours(f, 1), 4);
	assert_int_equal(f->set->n_spares, 0);
}

/* -------- force -------- */

static void force_breaks_what_it_finds_and_tells_whose_it_was(void **state)
{
	struct lock_fixture *f = *state;
	const struct told *t;
	struct stat st;

	two_services(f);
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(chown(below(f, "1/web/updates.lock"), 1234, 0), 0);
	assert_int_equal(lstat(below(f, "1/web/updates.lock"), &st), 0);
	assert_int_equal(mkdir(below(f, "1/api/updates.lock"), 0755), 0);
	app_locks(f, "1/api/updates.lock/host-1.2");
	assert_int_equal(symlink("gone", below(f, "1/api/resin-updates.lock")), 0);
	assert_int_equal(take(f, 1, true), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_int_equal(count_ours(f, 1), 4);
	assert_int_equal(told_count(f, "overridden"), 3);
	assert_int_equal(told_count(f, "gone"), 0);
	t = told_find(f, "overridden 1 web updates.lock");
	assert_non_null(t);
	assert_int_equal(t->uid, 1234);
	assert_int_equal(t->lock_kind, LOCK_FILE);
	assert_int_equal(t->since_ms, (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000);
	assert_int_equal(told_find(f, "overridden 1 api updates.lock")->lock_kind, LOCK_DIRECTORY);
	assert_int_equal(told_find(f, "overridden 1 api resin-updates.lock")->lock_kind, LOCK_SYMLINK);
	release(f, 1);
	app_locks(f, "1/web/updates.lock"); /* and then it is free to lock again */
}

static void a_tree_too_large_for_one_call_is_broken_in_later_turns(void **state)
{
	struct lock_fixture *f = *state;
	char path[64];
	int calls = 0, rc;

	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	assert_int_equal(mkdir(below(f, "1/web/updates.lock"), 0755), 0);
	for (int i = 0; i < 4500; i++) {
		snprintf(path, sizeof(path), "1/web/updates.lock/%d", i);
		app_locks(f, path);
	}
	do {
		f->changed = 0;
		rc = take(f, 1, true);
		calls++;
		if (rc == 1) {
			assert_false(exists(f, "1/web/resin-updates.lock")); /* none while waiting */
			RUN_UNTIL(f->loop, f->changed >= 1);
		}
	} while (rc == 1 && calls < 10);
	assert_int_equal(rc, 0);
	assert_int_equal(calls, 3);
	assert_int_equal(told_count(f, "overridden"), 1);
}

static void what_force_cannot_remove_is_an_error_that_names_the_lock(void **state)
{
	struct lock_fixture *f = *state;
	char path[600];

	two_services(f);
	snprintf(path, sizeof(path), "1/web/updates.lock");
	for (int i = 0; i < LOCK_BREAK_DEPTH_MAX + 2; i++) {
		assert_int_equal(mkdir(below(f, path), 0755), 0);
		strcat(path, "/d");
	}
	assert_int_equal(take(f, 1, true), -ELOOP);
	assert_non_null(strstr(f->err.msg, "break lock " LOCK_ROOT "/1/web/updates.lock: "));
	assert_int_equal(count_ours(f, 1), 0); /* what was made before it is undone */
	assert_false(exists(f, "1/api/updates.lock"));
}

/* -------- leftovers of an earlier run -------- */

static void leftovers_are_adopted_and_told_when_released(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	set_close(f);
	leave_behind(f, "1/api/updates.lock");
	leave_behind(f, "1/api/resin-updates.lock");
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_true(app_view(f, 1)->leftover);
	assert_false(app_view(f, 1)->blocked);
	assert_int_equal(count_ours(f, 1), 2);
	told_clear(f);
	release(f, 1);
	ASSERT_TOLD(f, "leftover_removed 1 api resin-updates.lock", "leftover_removed 1 api updates.lock");
	assert_null(app_view(f, 1));
	assert_false(exists(f, "1/api/updates.lock"));
	assert_true(exists(f, "1/web")); /* never known to this run: not ours to remove */
}

static void half_a_leftover_set_is_incomplete_once_declared_and_can_be_completed(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	set_close(f);
	leave_behind(f, "1/api/resin-updates.lock");
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	DECLARE(f, 1, "api", "web");
	assert_int_equal(state_of(f, 1), LOCK_LOST);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_false(app_view(f, 1)->leftover);
	told_clear(f);
	release(f, 1);
	ASSERT_TOLD(f, "leftover_removed 1 api resin-updates.lock", "released 1 api updates.lock",
		    "released 1 web resin-updates.lock", "released 1 web updates.lock");
}

static void an_applications_lock_beside_a_leftover_is_honoured(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	set_close(f);
	leave_behind(f, "1/api/resin-updates.lock");
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	DECLARE(f, 1, "api", "web");
	assert_int_equal(state_of(f, 1), LOCK_LOST);
	assert_true(app_view(f, 1)->blocked);
	assert_int_equal(take(f, 1, false), 1);
	release(f, 1);
	assert_int_equal(state_of(f, 1), LOCK_FREE);
	assert_true(exists(f, "1/web/updates.lock"));
	assert_false(exists(f, "1/api/resin-updates.lock"));
}

static void only_numbered_directories_hold_leftovers(void **state)
{
	static const char *const others[] = {"007", "x", "-1", "+1", "99999999999999999999"};
	struct lock_fixture *f = *state;
	char path[100];

	set_close(f);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		snprintf(path, sizeof(path), "%s", others[i]);
		assert_int_equal(mkdir(below(f, path), 0755), 0);
		strcat(path, "/web");
		assert_int_equal(mkdir(below(f, path), 0755), 0);
		strcat(path, "/updates.lock");
		leave_behind(f, path);
	}
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(lock_set_views(f->set)->n_apps, 0);
}

static void locks_left_on_purpose_outlive_the_set(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	assert_int_equal(take(f, 1, false), 0);
	set_close(f);
	assert_true(exists(f, "1/web/updates.lock"));
	assert_int_equal(set_open(f, EARLIER_NONCE), 0);
	DECLARE(f, 1, "api", "web");
	assert_int_equal(state_of(f, 1), LOCK_HELD);
	assert_true(app_view(f, 1)->leftover);
}

/* -------- cost -------- */

static void one_change_among_500_directories_is_told_by_one_call(void **state)
{
	struct lock_fixture *f = *state;

	for (int i = 1; i <= 100; i++) {
		for (int n = 0; n < 5; n++)
			prepare(f, i, (const char *const[]){"a", "b", "c", "d", "e"}[n]);
		DECLARE(f, i, "a", "b", "c", "d", "e");
	}
	check_run_turns(f->loop, 3);
	told_clear(f);
	f->changed = 0;
	app_locks(f, "50/c/updates.lock");
	RUN_UNTIL(f->loop, f->changed == 1);
	ASSERT_TOLD(f, "seen 50 c updates.lock");
	assert_int_equal(lock_set_views(f->set)->n, 1);
	assert_int_equal(lock_set_views(f->set)->n_apps, 100);
	for (int i = 1; i <= 100; i++)
		assert_int_equal(app_view(f, i)->blocked, i == 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(taking_makes_both_names_of_every_service_in_order),
		LOCK_TEST(one_lock_anywhere_holds_back_all_and_nothing_of_ours_remains),
		LOCK_TEST(an_application_cannot_lock_while_ours_is_held),
		LOCK_TEST(a_lock_of_uid_65534_is_honoured),
		LOCK_TEST(apps_do_not_hold_each_other_back),
		LOCK_TEST(a_missing_directory_is_made_for_the_take),
		LOCK_TEST(an_app_without_services_is_held_by_nothing),
		LOCK_TEST(ours_removed_behind_our_back_is_lost_and_taken_again),
		LOCK_TEST(ours_replaced_by_an_application_is_lost_and_theirs_stays),
		LOCK_TEST(a_release_that_finds_ours_replaced_leaves_it_and_says_so),
		LOCK_TEST(what_is_done_to_one_name_does_not_touch_the_other),
		LOCK_TEST(all_of_ours_gone_is_lost_not_free),
		LOCK_TEST(a_held_set_that_grows_is_incomplete_until_taken_again),
		LOCK_TEST(ours_in_a_service_that_left_is_kept_until_the_release),
		LOCK_TEST(a_take_repairs_the_mode_of_its_directory),
		LOCK_TEST(a_take_finds_a_directory_that_was_replaced_before_the_loop_told),
		LOCK_TEST(a_take_watches_the_directory_that_it_takes),
		LOCK_TEST(a_take_looks_again_at_what_was_ours),
		LOCK_TEST(while_a_lock_is_known_a_take_makes_nothing_not_even_for_a_moment),
		LOCK_TEST(force_breaks_nothing_when_a_directory_cannot_be_used),
		LOCK_TEST(a_take_follows_no_link_put_there_before_the_loop_told),
		LOCK_TEST(spares_are_made_while_an_app_is_blocked_and_used_by_its_take),
		LOCK_TEST(spares_are_limited_and_the_take_makes_the_rest),
		LOCK_TEST(a_spare_of_another_file_system_is_no_hindrance),
		LOCK_TEST(force_breaks_what_it_finds_and_tells_whose_it_was),
		LOCK_TEST(a_tree_too_large_for_one_call_is_broken_in_later_turns),
		LOCK_TEST(what_force_cannot_remove_is_an_error_that_names_the_lock),
		LOCK_TEST(leftovers_are_adopted_and_told_when_released),
		LOCK_TEST(half_a_leftover_set_is_incomplete_once_declared_and_can_be_completed),
		LOCK_TEST(an_applications_lock_beside_a_leftover_is_honoured),
		LOCK_TEST(only_numbered_directories_hold_leftovers),
		LOCK_TEST(locks_left_on_purpose_outlive_the_set),
		LOCK_TEST(one_change_among_500_directories_is_told_by_one_call),
	};

	return cmocka_run_group_tests(tests, root_only, NULL);
}
