/* Update locks in the planner: who is waited for, when ours are taken, kept and given back. */
#include "plan_dsl.h"

static const struct dsl_row rows[] = {
	{"a lock of an application holds back the whole app, downloads go on", "web image=a; db image=b; lock db",
	 "web image=a2; db image=b", "pull a2 | locked db"},
	{"only the services of the app count", "web image=a env=1; lock web app=2", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"a lock in the directory of a service that is gone does not count", "web image=a env=1; lock old",
	 "web image=a env=2", "lock; stop web; remove web; create web; start web; unlock"},
	{"a lock of a service that is to be added holds back", "web image=a env=1; image b; lock db",
	 "web image=a env=2; db image=b", "| locked db"},
	{"force goes past an application's lock", "web image=a env=1; lock web; force", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"the override variable of the device goes past it", "web image=a env=1; lock web",
	 "override; web image=a env=2", "lock; stop web; remove web; create web; start web; unlock"},
	{"it holds for every app, also for one on its way out",
	 "web image=a; lock web; web image=a app=2; lock web app=2", "override; none",
	 "lock + lock 2; stop web + stop 2/web; remove web + remove 2/web; -net default + -net 2/default; "
	 "unlock + unlock 2; rmi a"},
	{"the override variable in a service goes past the locks of its app alone",
	 "web image=a env=1 override; db image=b; lock db; web image=a app=2 env=1; lock web app=2",
	 "web image=a env=2 override; db image=b; web image=a app=2 env=2",
	 "lock; stop web; remove web; create web; start web; unlock | locked web (2)"},
	{"an override with nothing to do breaks nothing", "web image=a; lock web", "override; web image=a", ""},
	{"a lock that does not count holds back nothing", "web image=a env=1; lock web ignored", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"a lock of the app as a whole holds it back", "web image=a env=1; legacy; lock whole", "web image=a env=2",
	 "| locked"},
	{"a lock of the app as a whole holds back the first container, too",
	 "image a; legacy; lock whole; network default", "web image=a", "| locked"},
	{"where an old supervisor had the app, its first container needs the locks", "image a; legacy; network default",
	 "web image=a", "lock; create web; start web; unlock"},
	{"a legacy directory with nothing to do needs nothing", "web image=a; legacy", "web image=a", ""},
	{"giving back that failed is tried again later", "web image=a; held; fail unlock 1", "web image=a",
	 "| backoff unlock 1"},
	{"giving back that failed does not put off taking", "web image=a env=1; held; fail unlock 1",
	 "web image=a env=2", "lock; stop web; remove web; create web; start web | backoff unlock 1"},
	{"a locked app that has nothing to do waits for nothing", "web image=a; lock web", "web image=a", ""},
	{"a locked app is not renamed", "web image=a commit=c1; lock web", "web image=a commit=c2", "| locked web"},
	{"a locked app is not removed", "web image=a; lock web", "", "| dependency, locked web"},
	{"a locked app gets no further service", "web image=a; image b; lock web", "web image=a; db image=b",
	 "| locked web"},
	{"networks and volumes are made under a lock", "web image=a; lock web; network x; volume v",
	 "web image=a vol=w net=y", "+net y + -net x + +vol w | locked web"},
	{"locks with nothing to do are released", "web image=a; held", "web image=a", "unlock"},
	{"leftovers with nothing to do are released", "web image=a; leftover", "web image=a", "unlock"},
	{"leftovers of an app without any object are released", "leftover app=9", "web image=a; none app=9",
	 "pull a + +net default + unlock 9; create web; start web"},
	{"leftovers count as held once what is stopped is recorded", "web image=a env=1; leftover; removed web",
	 "web image=a env=2", "stop web; remove web; create web; start web; unlock"},
	{"held locks are taken again before a stop that was not recorded", "web image=a env=1; held",
	 "web image=a env=2", "lock; stop web; remove web; create web; start web; unlock"},
	{"lost locks are taken again before the next stop", "web image=a env=1; lost; removed web", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"lost to an application, nothing more is stopped and the rest of ours is given back",
	 "web image=a env=1; db image=b; lost; lock db", "web image=a env=2; db image=b", "unlock | locked db"},
	{"lost to an application, a stopped service still comes back",
	 "web image=a env=1; db image=b exited env=1; lost; lock web; removed db", "web image=a env=2; db image=b",
	 "remove db; create db; start db; unlock | locked web"},
	{"lost to an application, a removed service is made and started",
	 "web image=a env=1; image b; lost; lock web; removed db", "web image=a env=2; db image=b",
	 "create db; start db; unlock | locked web"},
	{"lost locks are broken by a forced update", "web image=a env=1; lost; lock web; force; removed web",
	 "web image=a env=2", "lock; stop web; remove web; create web; start web; unlock"},
	{"held locks are given back while a new release is pulled", "web image=a; held; fail image b:latest",
	 "web image=b", "unlock | backoff image b:latest"},
	{"held locks are given back for a whole backoff", "web image=a env=1; held; removed web; fail service 1/web",
	 "web image=a env=2", "unlock | backoff service 1/web"},
	{"one service backing off does not give back the locks of the others at work",
	 "web image=a env=1; db image=b env=1; held; removed web; removed db; fail service 1/web",
	 "web image=a env=2; db image=b env=2",
	 "stop db; remove db; create db; start db; unlock | backoff service 1/web"},
	{"taking that failed with the file system backs off", "web image=a env=1; fail locks 1", "web image=a env=2",
	 "| backoff locks 1"},
	{"locks stay while a stop of an earlier run may be at work", "web image=a stopping=5; leftover", "web image=a",
	 "| operation web"},
	{"locks stay during an earlier stop also when another service waits",
	 "web image=a stopping=5; db image=b env=1; leftover; fail service 1/db", "web image=a; db image=b env=2",
	 "| backoff service 1/db, operation web"},
};

static struct plan_step *find(struct plan *p, enum plan_step_kind kind)
{
	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].kind == kind)
			return &p->steps[i];
	return NULL;
}

static struct plan_wait *find_wait(struct plan *p, enum plan_wait_kind kind)
{
	for (size_t i = 0; i < p->n_waits; i++)
		if (p->waits[i].kind == kind)
			return &p->waits[i];
	return NULL;
}

static void plan_again(struct world *w, struct plan *p)
{
	struct plan_input in = world_input(w);

	plan_deinit(p);
	plan_make(&in, p);
	world_check_plan(w, p);
}

static void setup(struct world *w, struct plan *p, const char *current, const char *target)
{
	dsl_setup(w, current);
	world_set_target(w, dsl_target(target));
	*p = (struct plan){0};
	plan_again(w, p);
}

static void taking_names_all_services_and_those_it_will_stop(void **state)
{
	const struct plan_step *s;
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; db image=b; old image=b; off image=b exited env=1; image c",
	      "web image=a env=2; db image=b; new image=c; off image=b env=2");
	s = find(&p, STEP_TAKE_LOCKS);
	assert_non_null(s);
	assert_string_equal(s->subject, "locks 1");
	assert_int_equal(s->locks.n, 5);
	assert_string_equal(s->locks.v[0], "db");
	assert_string_equal(s->locks.v[1], "new");
	assert_string_equal(s->locks.v[4], "web");
	assert_int_equal(s->replaces.n, 2); /* running ones only */
	assert_string_equal(s->replaces.v[0], "old");
	assert_string_equal(s->replaces.v[1], "web");
	assert_false(s->force);
	assert_int_equal(p.n_apps, 1);
	assert_true(strv_eq(&p.apps[0].replaces, &s->replaces));
	plan_deinit(&p);
	world_deinit(&w);
}

static void what_will_be_stopped_is_known_while_still_blocked(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; db image=b; lock db", "web image=a env=2; db image=b");
	assert_int_equal(p.apps[0].replaces.n, 1);
	assert_string_equal(p.apps[0].replaces.v[0], "web");
	assert_string_equal(find_wait(&p, WAIT_LOCKED)->action, "update");
	assert_string_equal(find_wait(&p, WAIT_LOCKED)->subject, "locked 1");
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "web image=a; lock web", "none");
	assert_string_equal(find_wait(&p, WAIT_LOCKED)->action, "remove");
	plan_deinit(&p);
	world_deinit(&w);
}

static void taking_says_what_it_is_for(void **state)
{
	const struct plan_step *s;
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "db image=a; off image=a exited env=1; old image=a; web image=a env=1; image b",
	      "db image=b; off image=a env=2; web image=a env=2; new image=a");
	s = find(&p, STEP_TAKE_LOCKS);
	assert_int_equal(s->changes.n, 3);
	assert_string_equal(s->changes.v[0].field, "db: image");
	assert_string_equal(s->changes.v[1].field, "off: environment.K");
	assert_string_equal(s->changes.v[2].field, "web: environment.K");
	assert_string_equal(s->changes.v[2].current, "1");
	assert_string_equal(s->changes.v[2].target, "2");
	assert_string_equal(s->reason, "to stop db, old, web (new: new service; old: no longer in the target)");
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "web image=a commit=c1", "web image=a commit=c2");
	s = find(&p, STEP_TAKE_LOCKS);
	assert_int_equal(s->changes.n, 0);
	assert_string_equal(s->reason, "to change what does not run (web: release c1 -> c2, nothing else changed)");
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_plan_says_why_while_still_blocked(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; db image=b; lock db", "web image=a env=2; db image=b");
	assert_string_equal(find_wait(&p, WAIT_LOCKED)->detail,
			    "an application holds the update lock of db: /tmp/locks/1/db/updates.lock; the update goes "
			    "on when it is released (web: environment.K)");
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "web image=a; lock web", "none");
	assert_string_equal(find_wait(&p, WAIT_LOCKED)->detail,
			    "an application holds the update lock of web: /tmp/locks/1/web/updates.lock; the remove "
			    "goes on when it is released (web: no longer in the target)");
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "web image=a env=1; db image=b", "web image=a env=2; db image=c");
	assert_string_equal(find_wait(&p, WAIT_PULLING)->detail,
			    "image c:latest of the release is not here yet (db: image; web: environment.K)");
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "", "web image=a");
	assert_string_equal(find_wait(&p, WAIT_PULLING)->detail, "image a:latest of the release is not here yet");
	plan_deinit(&p);
	world_deinit(&w);
}

/* What stands in the last brackets of a wait for a lock, with `n` variables of db changed beside one of web. */
static void check_why(unsigned n, const char *want)
{
	struct world w;
	struct plan p;
	char key[] = "A";

	dsl_setup(&w, "db image=a; web image=a env=1; lock db");
	world_set_target(&w, dsl_target("db image=a; web image=a env=2"));
	for (unsigned i = 0; i < n; i++, key[0]++)
		strmap_set(&world_service(&w, 1, "db")->config.env, key, "x");
	p = (struct plan){0};
	plan_again(&w, &p);
	assert_string_equal(strrchr(find_wait(&p, WAIT_LOCKED)->detail, '('), want);
	plan_deinit(&p);
	world_deinit(&w);
}

static void no_more_than_five_reasons_are_named(void **state)
{
#define FOUR "(db: environment.A, environment.B, environment.C, environment.D"
	(void)state;
	check_why(4, FOUR "; web: environment.K)");
	check_why(5, FOUR ", environment.E; …)");
	check_why(6, FOUR ", environment.E, …)");
#undef FOUR
}

static void what_will_be_stopped_is_not_known_before_the_images_are_here(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a", "web image=b");
	assert_int_equal(p.apps[0].replaces.n, 0);
	plan_deinit(&p);
	world_deinit(&w);
}

static void force_is_told_to_the_lock_step(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; lock web; force", "web image=a env=2");
	assert_int_equal(find(&p, STEP_TAKE_LOCKS)->force, LOCK_FORCE_API);
	assert_null(find_wait(&p, WAIT_LOCKED));
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "web image=a env=1; lock web", "override; web image=a env=2");
	assert_int_equal(find(&p, STEP_TAKE_LOCKS)->force, LOCK_FORCE_CONFIG);
	plan_deinit(&p);
	world_deinit(&w);
	setup(&w, &p, "web image=a env=1; lock web; force", "override; web image=a env=2");
	assert_int_equal(find(&p, STEP_TAKE_LOCKS)->force, LOCK_FORCE_API); /* a person is more than a variable */
	plan_deinit(&p);
	world_deinit(&w);
}

static void locks_stay_while_a_stop_is_in_flight_whatever_the_target_says(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; held; removed web", "web image=a env=2");
	world_begin(&w, find(&p, STEP_STOP));
	world_set_target(&w, dsl_target("web image=a env=1"));
	plan_again(&w, &p);
	assert_true(p.apps[0].stopping);
	assert_false(p.apps[0].settled);
	assert_null(find(&p, STEP_RELEASE_LOCKS));
	world_end(&w, 0, NULL);
	plan_again(&w, &p);
	assert_false(p.apps[0].stopping);
	assert_non_null(find(&p, STEP_START)); /* we stopped it: it is brought back as it was */
	plan_deinit(&p);
	world_deinit(&w);
}

static void lost_during_a_stop_they_are_taken_again_at_once(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; held; removed web", "web image=a env=2");
	world_begin(&w, find(&p, STEP_STOP));
	world_lock(&w, 1)->state = LOCK_LOST;
	plan_again(&w, &p);
	assert_non_null(find(&p, STEP_TAKE_LOCKS));
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_stop_of_an_earlier_run_is_waited_for_until_its_time_is_over(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1 stopping=5; leftover; removed web", "web image=a env=2");
	assert_int_equal(p.n_steps, 0);
	assert_int_equal(find_wait(&p, WAIT_OPERATION)->until_ms, w.now_ms + 5000);
	assert_true(p.apps[0].stopping);
	w.now_ms += 5000;
	plan_again(&w, &p);
	assert_false(p.apps[0].stopping);
	assert_non_null(find(&p, STEP_STOP));
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_locked_app_is_free_of_steps_after_every_failure(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a env=1; held; removed web", "web image=a env=2");
	world_begin(&w, find(&p, STEP_STOP));
	world_end(&w, 0, "the engine said no");
	plan_again(&w, &p);
	assert_non_null(find(&p, STEP_RELEASE_LOCKS));
	world_begin(&w, find(&p, STEP_RELEASE_LOCKS));
	world_end(&w, 0, NULL);
	plan_again(&w, &p);
	assert_int_equal(p.n_steps, 0);
	assert_string_equal(find_wait(&p, WAIT_BACKOFF)->subject, "backoff service 1/web");
	assert_string_equal(find_wait(&p, WAIT_BACKOFF)->detail, "attempt 1 failed: the engine said no");
	assert_int_equal(find_wait(&p, WAIT_BACKOFF)->until_ms, w.now_ms + 1000);
	w.now_ms += 1000;
	plan_again(&w, &p);
	assert_non_null(find(&p, STEP_TAKE_LOCKS));
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_failure_that_nothing_wants_is_ignored(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	setup(&w, &p, "web image=a; fail service 1/web; fail image z:latest; fail network x", "web image=a");
	assert_true(p.settled);
	plan_deinit(&p);
	world_deinit(&w);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(taking_names_all_services_and_those_it_will_stop),
		cmocka_unit_test(what_will_be_stopped_is_known_while_still_blocked),
		cmocka_unit_test(taking_says_what_it_is_for),
		cmocka_unit_test(a_plan_says_why_while_still_blocked),
		cmocka_unit_test(no_more_than_five_reasons_are_named),
		cmocka_unit_test(what_will_be_stopped_is_not_known_before_the_images_are_here),
		cmocka_unit_test(force_is_told_to_the_lock_step),
		cmocka_unit_test(locks_stay_while_a_stop_is_in_flight_whatever_the_target_says),
		cmocka_unit_test(lost_during_a_stop_they_are_taken_again_at_once),
		cmocka_unit_test(a_stop_of_an_earlier_run_is_waited_for_until_its_time_is_over),
		cmocka_unit_test(a_locked_app_is_free_of_steps_after_every_failure),
		cmocka_unit_test(a_failure_that_nothing_wants_is_ignored),
	};

	return dsl_run_tests("plan_locks", rows, ARRAY_LEN(rows), more, ARRAY_LEN(more));
}
