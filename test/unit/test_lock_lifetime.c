/* Locks that do not count: of a service that does not run, or too old. Off by default. */
#include "lock_fixture.h"

#include "lock/set.h"

static void two_services(struct lock_fixture *f)
{
	prepare(f, 1, "api");
	prepare(f, 1, "web");
	DECLARE(f, 1, "api", "web");
	check_run_turns(f->loop, 2);
	told_clear(f);
	f->changed = 0;
}

/* As the set sees it. */
static void app_locks_and_is_seen(struct lock_fixture *f, const char *path)
{
	size_t before = lock_set_views(f->set)->n;

	app_locks(f, path);
	RUN_UNTIL(f->loop, lock_set_views(f->set)->n == before + 1);
}

static struct lock_slot *slot_of(struct lock_fixture *f, const char *service, size_t i)
{
	return &lock_dir_find(lock_app_find(f->set, 1), service)->slots[i];
}

static void a_lock_in_the_directory_of_a_stopped_service_does_not_count_when_asked(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	assert_true(is_blocked(f, 1)); /* off by default */
	assert_int_equal(take(f, 1, false), 1);
	lock_set_lifetime(f->set, 1, "web", true, 0);
	assert_false(is_blocked(f, 1));
	assert_int_equal(lock_set_views(f->set)->n, 1);
	assert_false(lock_set_views(f->set)->v[0].counts);
	lock_set_lifetime(f->set, 1, "web", false, 0); /* it runs again */
	assert_true(is_blocked(f, 1));
	assert_true(lock_set_views(f->set)->v[0].counts);
	assert_int_equal(take(f, 1, false), 1);
	assert_int_equal(told_count(f, "overridden"), 0);
	lock_set_lifetime(f->set, 1, "web", true, 0);
	assert_int_equal(take(f, 1, false), 0);
	assert_int_equal(told_count(f, "overridden"), 1);
	assert_string_equal(told_find(f, "overridden 1 web updates.lock")->by, "ignore-when-stopped");
	assert_int_equal(count_ours(f, 1), 4);
}

/* The engine may have started its container again, and the event of that be on the way. */
static void a_lock_that_appears_after_the_stop_counts_until_a_start_would_have_been_told(void **state)
{
	struct lock_fixture *f = *state;
	struct lock_slot *slot;

	two_services(f);
	lock_set_lifetime(f->set, 1, "web", true, 0);
	a_moment_passes(f);
	app_locks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 1); /* found by the take itself */
	assert_int_equal(take(f, 1, false), 1);
	assert_true(is_blocked(f, 1));
	assert_true(exists(f, "1/web/updates.lock"));
	slot = slot_of(f, "web", 1);
	assert_int_equal(lock_app_find(f->set, 1)->age_at_ms, slot->observed_ms + 10000);
	slot->observed_ms -= 10000; /* ten seconds go by */
	f->changed = 0;
	lock_set_running(f->set, 1, false);
	assert_false(is_blocked(f, 1));
	RUN_UNTIL(f->loop, f->changed == 1);
	assert_int_equal(take(f, 1, false), 0);
	assert_string_equal(told_find(f, "overridden 1 web updates.lock")->by, "ignore-when-stopped");
}

static void a_lock_that_does_not_count_stays_while_another_is_in_the_way(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks_and_is_seen(f, "1/api/updates.lock");
	lock_set_lifetime(f->set, 1, "api", true, 0);
	app_locks(f, "1/web/updates.lock"); /* not told by the loop yet */
	assert_int_equal(take(f, 1, false), 1);
	assert_true(exists(f, "1/api/updates.lock"));
	assert_int_equal(told_count(f, "overridden"), 0);
	app_unlocks(f, "1/web/updates.lock");
	assert_int_equal(take(f, 1, false), 0);
}

static void each_lock_that_is_broken_says_by_whom(void **state)
{
	static const struct {
		enum lock_force force;
		const char *by;
	} cases[] = {{LOCK_FORCE_API, "api"}, {LOCK_FORCE_CONFIG, "config"}};
	struct lock_fixture *f = *state;

	two_services(f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		lock_set_lifetime(f->set, 1, "api", false, 0);
		app_locks_and_is_seen(f, "1/api/updates.lock");
		lock_set_lifetime(f->set, 1, "api", true, 0); /* it has stopped */
		app_locks(f, "1/web/updates.lock");
		assert_int_equal(lock_take(f->set, 1, cases[i].force, &f->err), 0);
		assert_string_equal(told_find(f, "overridden 1 api updates.lock")->by, "ignore-when-stopped");
		assert_string_equal(told_find(f, "overridden 1 web updates.lock")->by, cases[i].by);
		assert_null(told_find(f, "taken 1 web updates.lock")->by);
		assert_int_equal(release(f, 1), 0);
		told_clear(f);
	}
}

static void a_lock_that_reaches_its_age_is_told_and_broken(void **state)
{
	struct lock_fixture *f = *state;
	const struct lock_view *v;

	two_services(f);
	lock_set_lifetime(f->set, 1, "web", false, 20);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	f->changed = 0;
	RUN_UNTIL(f->loop, f->changed >= 1);
	assert_false(is_blocked(f, 1));
	v = &lock_set_views(f->set)->v[0];
	assert_false(v->counts);
	assert_true(loop_now_ms(f->loop) - v->observed_ms >= 20);
	told_clear(f);
	assert_int_equal(take(f, 1, false), 0);
	assert_string_equal(told_find(f, "overridden 1 web updates.lock")->by, "max-age");
}

static void an_age_that_is_told_later_counts_from_first_sight(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	do
		check_run_turns(f->loop, 1);
	while (loop_now_ms(f->loop) - lock_set_views(f->set)->v[0].observed_ms < 5);
	assert_true(is_blocked(f, 1));
	lock_set_lifetime(f->set, 1, "web", false, 5);
	assert_false(is_blocked(f, 1));
	lock_set_lifetime(f->set, 1, "web", false, 3600000);
	assert_true(is_blocked(f, 1));
	lock_set_lifetime(f->set, 1, "web", false, INT64_MAX);
	assert_true(is_blocked(f, 1));
	lock_set_lifetime(f->set, 1, "web", false, -1); /* none */
	assert_true(is_blocked(f, 1));
}

/* Touches the lock until the set has read it, at a later loop time than before. */
static void touch(struct lock_fixture *f, struct lock_slot *slot, const struct timespec *mtime)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, *mtime}; /* mtime alone wakes nobody: see below */
	int64_t before = slot->read_ms;

	do
		check_run_turns(f->loop, 1);
	while (loop_now_ms(f->loop) < before + 5);
	assert_int_equal(utimensat(AT_FDCWD, below(f, "1/web/updates.lock"), times, 0), 0);
	RUN_UNTIL(f->loop, slot->read_ms > before);
}

static void touching_the_lock_makes_it_young_whatever_time_it_says(void **state)
{
	static const struct timespec values[] = {
		{.tv_nsec = UTIME_NOW},       {.tv_sec = 1}, {.tv_sec = INT64_MAX}, {.tv_sec = INT64_MIN},
		{.tv_sec = INT64_C(1) << 60},
	};
	struct lock_fixture *f = *state;
	struct lock_slot *slot;

	two_services(f);
	lock_set_lifetime(f->set, 1, "web", false, 3600000);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	slot = slot_of(f, "web", 1);
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		int64_t read = slot->read_ms;

		touch(f, slot, &values[i]);
		assert_in_range(slot->young_ms, read, loop_now_ms(f->loop));
		if (values[i].tv_nsec == UTIME_NOW || values[i].tv_sec > 1)
			assert_true(slot->young_ms > read);
	}
	assert_true(is_blocked(f, 1));
	assert_int_equal(lock_app_find(f->set, 1)->age_at_ms, slot->young_ms + 3600000);
}

static void a_touch_found_only_by_the_take_saves_the_lock(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	lock_set_lifetime(f->set, 1, "web", false, 3600000);
	slot_of(f, "web", 1)->young_ms -= 3600000; /* an hour goes by */
	lock_set_running(f->set, 1, false);        /* and something makes it count again */
	assert_false(is_blocked(f, 1));
	assert_int_equal(utimensat(AT_FDCWD, below(f, "1/web/updates.lock"), /* as "touch -m" */
				   (const struct timespec[]){{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}}, 0),
			 0);
	assert_int_equal(take(f, 1, false), 1);
	assert_true(is_blocked(f, 1));
	assert_true(exists(f, "1/web/updates.lock"));
}

static void a_lock_that_took_the_place_of_an_old_one_is_not_broken_for_it(void **state)
{
	struct lock_fixture *f = *state;

	two_services(f);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	lock_set_lifetime(f->set, 1, "web", false, 3600000);
	slot_of(f, "web", 1)->young_ms -= 3600000;
	lock_set_running(f->set, 1, false);
	assert_false(is_blocked(f, 1));
	app_locks(f, "1/web/mine"); /* both at once, so another inode */
	assert_int_equal(rename(below(f, "1/web/mine"), below(f, "1/web/updates.lock")), 0);
	assert_int_equal(take(f, 1, false), 1);
	assert_true(exists(f, "1/web/updates.lock"));
	assert_int_equal(told_count(f, "overridden"), 0);
}

/* Emptying a directory touches it: it must not become young by that. */
static void an_old_lock_too_large_for_one_call_is_broken_in_later_turns(void **state)
{
	struct lock_fixture *f = *state;
	char path[64];
	int calls = 0, rc;

	prepare(f, 1, "web");
	DECLARE(f, 1, "web");
	make_dir(f, "1/web/updates.lock");
	for (int i = 0; i < 4500; i++) {
		snprintf(path, sizeof(path), "1/web/updates.lock/%d", i);
		app_locks(f, path);
	}
	RUN_UNTIL(f->loop, is_blocked(f, 1));
	lock_set_lifetime(f->set, 1, "web", false, 3600000);
	slot_of(f, "web", 1)->young_ms -= 3600000;
	do {
		f->changed = 0;
		rc = take(f, 1, false);
		calls++;
		if (rc == 1)
			RUN_UNTIL(f->loop, f->changed >= 1);
	} while (rc == 1 && calls < 10);
	assert_int_equal(rc, 0);
	assert_int_equal(calls, 3);
	assert_string_equal(told_find(f, "overridden 1 web updates.lock")->by, "max-age");
}

static void lifetimes_outlive_another_declaration_and_unknown_services_are_ignored(void **state)
{
	struct lock_fixture *f = *state;

	lock_set_lifetime(f->set, 1, "web", true, 5);
	lock_set_running(f->set, 1, false);
	assert_null(app_view(f, 1));
	two_services(f);
	lock_set_lifetime(f->set, 1, "other", true, 5);
	lock_set_lifetime(f->set, 1, NULL, true, 5);
	app_locks_and_is_seen(f, "1/web/updates.lock");
	lock_set_lifetime(f->set, 1, "web", true, 0);
	DECLARE(f, 1, "web");
	assert_false(is_blocked(f, 1));
	FORGET(f, 1);
	DECLARE(f, 1, "web"); /* it begins anew */
	assert_true(is_blocked(f, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST(a_lock_in_the_directory_of_a_stopped_service_does_not_count_when_asked),
		LOCK_TEST(a_lock_that_appears_after_the_stop_counts_until_a_start_would_have_been_told),
		LOCK_TEST(a_lock_that_does_not_count_stays_while_another_is_in_the_way),
		LOCK_TEST(each_lock_that_is_broken_says_by_whom),
		LOCK_TEST(a_lock_that_reaches_its_age_is_told_and_broken),
		LOCK_TEST(an_age_that_is_told_later_counts_from_first_sight),
		LOCK_TEST(touching_the_lock_makes_it_young_whatever_time_it_says),
		LOCK_TEST(a_touch_found_only_by_the_take_saves_the_lock),
		LOCK_TEST(a_lock_that_took_the_place_of_an_old_one_is_not_broken_for_it),
		LOCK_TEST(an_old_lock_too_large_for_one_call_is_broken_in_later_turns),
		LOCK_TEST(lifetimes_outlive_another_declaration_and_unknown_services_are_ignored),
	};

	return cmocka_run_group_tests(tests, root_only, NULL);
}
