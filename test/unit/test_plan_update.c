/* The life of an update, and when a service is left alone: rows of plan_dsl.h. */
#include "plan_dsl.h"

static const struct dsl_row rows[] = {
	{"nothing happens when nothing differs", "web image=a", "web image=a", ""},
	{"a new image is pulled before the old container stops", "web image=a", "web image=b",
	 "pull b; lock; stop web; remove web; create web; start web; unlock; rmi a"},
	{"a local image is not pulled", "web image=a; image b", "web image=b",
	 "lock; stop web; remove web; create web; start web; unlock; rmi a"},
	{"nothing stops before every image of the release is here", "web image=a; db image=b; image a2; pulls 1",
	 "web image=a2; db image=b2 env=1",
	 "pull b2; lock; stop db + stop web; remove db + remove web; create db + create web; start db + start web; "
	 "unlock; "
	 "rmi a + rmi b"},
	{"a changed variable replaces the container without a pull", "web image=a env=1", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"an unchanged service runs on while another is replaced", "web image=a; db image=b env=1",
	 "web image=a; db image=b env=2", "lock; stop db; remove db; create db; start db; unlock"},
	{"a first install makes the network, then all containers, and starts them side by side", "",
	 "web image=a; db image=b; log image=c",
	 "pull a + pull b + pull c + +net default; create db + create log + create web; start db + start log; start "
	 "web"},
	{"a first install takes no locks", "image a", "web image=a", "+net default; create web; start web"},
	{"a service added to an app with containers is created under locks", "web image=a; image b",
	 "web image=a; db image=b", "lock; create db; start db; unlock"},
	{"a service that left the target is stopped and removed", "web image=a; db image=b", "web image=a",
	 "lock; stop db; remove db; unlock; rmi b"},
	{"a stopped service that left the target is removed under locks", "web image=a; db image=b exited",
	 "web image=a", "lock; remove db; unlock; rmi b"},
	{"an app that left the target goes with its networks and keeps its volumes",
	 "web image=a vol=d; network x; volume d", "web image=b app=2; none app=1",
	 "pull b + +net 2/default + -net x + lock; stop web + create 2/web; remove web + start 2/web; -net default; "
	 "unlock; "
	 "rmi a"},
	{"volumes of an app that left are removed only when the device does not keep them",
	 "web image=a vol=d; volume d; delete-volumes", "",
	 "lock; stop web; remove web; -net default + -vol d; unlock; rmi a"},
	{"an app without a release keeps its volumes whatever the device does",
	 "web image=a vol=d; volume d; delete-volumes", "none",
	 "lock; stop web; remove web; -net default; unlock; rmi a"},
	{"same configuration and a new commit is a rename under locks", "web image=a commit=c1",
	 "web image=a commit=c2", "lock; rename web; unlock"},
	{"a rename waits for the images of the release", "web image=a commit=c1; db image=b commit=c1",
	 "web image=a commit=c2; db image=b2 commit=c2",
	 "pull b2; lock; stop db + rename web; remove db; create db; start db; unlock; rmi b"},
	{"a created container of the release before is started first and renamed later",
	 "web image=a created commit=c1; lock web", "web image=a commit=c2", "start web | locked web"},
	{"a container renamed by hand gets its name back, under the locks", "web image=a named=mine", "web image=a",
	 "lock; rename web; unlock"},
	{"a container renamed by hand keeps that name while its app is locked", "web image=a named=mine; lock web",
	 "web image=a", "| locked web"},
	{"a container renamed by hand that was not started yet is started first", "web image=a created named=mine",
	 "web image=a", "start web; lock; rename web; unlock"},
	{"a container renamed by hand and changed is replaced", "web image=a env=1 named=mine", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"a name that differs in its ids alone stays", "web image=a named=web_8_9_c1", "web image=a", ""},
	{"what an engine keeps different is accepted", "web image=a env=1; accepted web", "web image=a env=2", ""},
	{"what is accepted does not wait for a lock", "web image=a env=1; accepted web; lock web", "web image=a env=2",
	 ""},
	{"what is accepted is started when it was created", "web image=a env=1 created; accepted web",
	 "web image=a env=2", "start web"},
	{"what is accepted is renamed for a new release", "web image=a env=1 commit=c1; accepted web",
	 "web image=a env=2 commit=c2", "lock; rename web; unlock"},
	{"what is accepted is stopped when it is not to run", "web image=a env=1; accepted web",
	 "web image=a env=2 off", "lock; stop web; unlock"},
	{"what is accepted goes when it left the target", "web image=a env=1; db image=a; accepted web", "db image=a",
	 "lock; stop web; remove web; unlock"},
	{"what is accepted is replaced when its network changes",
	 "web image=a env=1 net=x; network x driver=bridge; accepted web",
	 "web image=a env=2 net=x; network x driver=macvlan",
	 "lock; stop web; remove web; -net x; +net x; create web; start web; unlock"},
	{"only the service that was accepted is", "web image=a env=1; web image=a env=1 app=2; accepted web app=2",
	 "web image=a env=2; web image=a env=2 app=2", "lock; stop web; remove web; create web; start web; unlock"},
	{"a service that is not to run is renamed before it is stopped", "web image=a commit=c1",
	 "web image=a off commit=c2", "lock; rename web; stop web; unlock"},
	{"a service that is not to run is stopped and stays", "web image=a", "web image=a off",
	 "lock; stop web; unlock"},
	{"a new service that is not to run is created and not started", "web image=a; image b",
	 "web image=a; db image=b off", "lock; create db; unlock"},
	{"a service that is to run again after off is left to people", "web image=a exited", "web image=a", ""},
	{"a created container that is not to run is left alone", "web image=a created", "web image=a off", ""},
	{"an exited container that is not to run is left alone", "web image=a exited", "web image=a off", ""},
	{"a created container is started without locks", "web image=a created; lock web", "web image=a", "start web"},
	{"a container that somebody stopped stays stopped", "web image=a exited", "web image=a", ""},
	{"a stopped container whose configuration changed is replaced and started", "web image=a exited env=1",
	 "web image=a env=2", "lock; remove web; create web; start web; unlock"},
	{"a container that this update stopped is started again when the target turns back",
	 "web image=a exited; removed web", "web image=a", "start web"},
	{"a container that lost its port is started again",
	 "web image=a exited "
	 "error=driver_failed:_Error_starting_userland_proxy:_listen_tcp:_Cannot_assign_requested_address",
	 "web image=a", "start web"},
	{"another error is not a reason to start", "web image=a exited error=userland_proxy:_port_is_already_allocated",
	 "web image=a", ""},
	{"the right ending without the proxy is not a reason to start",
	 "web image=a exited error=cannot_assign_requested_address", "web image=a", ""},
	{"a dead container is removed without locks and made again", "web image=a dead; db image=b",
	 "web image=a; db image=b", "remove web; lock; create web; start web; unlock"},
	{"a dead container of a locked app is removed, its successor waits", "web image=a dead; db image=b; lock db",
	 "web image=a; db image=b", "remove web | locked db"},
	{"a container being removed is waited for", "web image=a removing; db image=b env=1",
	 "web image=a; db image=b env=2", "lock; stop db; remove db; create db; start db; unlock | operation web"},
	{"of two containers of a service the older one goes", "web image=a; web image=a", "web image=a",
	 "lock; stop web; remove web; unlock"},
	{"of two containers the newest is compared", "web image=a env=2; web image=a env=1", "web image=a env=2",
	 "lock; stop web; remove web; stop web; remove web; create web; start web; unlock"},
	{"an older dead container goes without locks", "web image=a dead; web image=a; lock web", "web image=a",
	 "remove web"},
	{"a service that the update stopped is brought back under a lock", "db image=b; image a; removed web; lock db",
	 "web image=a; db image=b", "create web; start web"},
	{"the leftover of a service that the update stopped is replaced under a lock",
	 "web image=a exited; db image=b; image a2; removed web; lock db", "web image=a2; db image=b",
	 "remove web; create web; start web; rmi a"},
	{"a service that the update stopped waits for its own image only",
	 "db image=b; image a; removed web; fail image c:latest; lock db", "web image=a; db image=c",
	 "create web; start web | backoff image c:latest"},
	{"what the update stopped is not removed before its own next image is here",
	 "web image=a exited; db image=b; removed web; fail image a2:latest", "web image=a2; db image=b",
	 "| backoff image a2:latest"},
	{"apps are independent of each other", "web image=a env=1; web image=a app=2 env=1; lock web",
	 "web image=a env=2; web image=a app=2 env=2",
	 "lock 2; stop 2/web; remove 2/web; create 2/web; start 2/web; unlock 2 | locked web"},
	{"a foreign app is never touched", "web image=a app=7; foreign", "web image=b",
	 "pull b + +net default; create web; start web"},
	{"a foreign app is ours with adopt", "web image=a app=7; foreign; adopt", "web image=b",
	 "pull b + +net default + lock 7; create web + stop 7/web; start web + remove 7/web; -net 7/default; unlock 7; "
	 "rmi a"},
	{"a managed device owns every app", "web image=a app=7; foreign; managed", "web image=b",
	 "pull b + +net default + lock 7; create web + stop 7/web; start web + remove 7/web; -net 7/default; unlock 7; "
	 "rmi a"},
	{"the supervisor itself is left alone, whatever its labels say",
	 "sv image=a app=7 named=balena_supervisor; foreign; adopt", "web image=b",
	 "pull b + +net default; create web; start web"},
	{"the container that the supervisor runs in is left alone, whatever its name",
	 "sv image=a app=7; inside sv app=7; foreign; managed; delete-volumes", "web image=b",
	 "pull b + +net default; create web; start web"},
	{"the supervisor among the services of an app is left alone while they are updated",
	 "sv image=a named=balena_supervisor; web image=a env=1", "web image=b",
	 "pull b; lock; stop web; remove web; create web; start web; unlock"},
	{"the supervisor deployed as a service is neither updated nor started a second time",
	 "sv image=a env=1; inside sv; web image=a env=1", "sv image=b env=2; web image=a env=2 after=sv",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"an app with the supervisor in it can be removed all the same",
	 "sv image=a app=7 named=resin_supervisor; web image=a app=7; owned 7", "",
	 "lock 7; stop 7/web; remove 7/web; unlock 7"},
	{"an app that was ever in a target is ours", "web image=a app=7; foreign; owned 7", "",
	 "lock 7; stop 7/web; remove 7/web; -net 7/default; unlock 7; rmi a"},
	{"an app that the target names is ours at once", "web image=a; foreign", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
};

struct planned {
	struct world w;
	struct plan p;
};

static void make(struct planned *f, const char *current, const char *target)
{
	struct plan_input in;

	dsl_setup(&f->w, current);
	if (target)
		world_set_target(&f->w, dsl_target(target));
	in = world_input(&f->w);
	plan_make(&in, &f->p);
	world_check_plan(&f->w, &f->p);
}

static void drop(struct planned *f)
{
	plan_deinit(&f->p);
	world_deinit(&f->w);
}

static void an_engine_that_is_away_is_the_only_wait(void **state)
{
	struct plan_input in;
	struct planned f;

	(void)state;
	dsl_setup(&f.w, "web image=a; image b; fail image c:latest");
	world_set_target(&f.w, dsl_target("web image=b"));
	f.w.now.known = false;
	in = world_input(&f.w);
	plan_make(&in, &f.p);
	assert_int_equal(f.p.n_steps, 0);
	assert_int_equal(f.p.n_waits, 1);
	assert_int_equal(f.p.waits[0].kind, WAIT_ENGINE);
	assert_false(f.p.settled);
	assert_int_equal(f.p.n_apps, 1);
	assert_false(f.p.apps[0].settled); /* nobody knows: what was recorded as stopped must not be forgotten */
	drop(&f);
}

static void again(struct planned *f)
{
	struct plan_input in = world_input(&f->w);

	plan_deinit(&f->p);
	plan_make(&in, &f->p);
	world_check_plan(&f->w, &f->p);
}

static void what_is_in_flight_goes_on_while_the_engine_is_away(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a; db image=a env=1 app=2; held app=2; removed db app=2",
	     "web image=b; db image=a env=2 app=2");
	assert_int_equal(f.p.n_steps, 2);
	for (size_t i = 0; i < f.p.n_steps; i++)
		world_begin(&f.w, &f.p.steps[i]);
	f.w.now.known = false;
	again(&f);
	assert_int_equal(f.p.n_steps, 2);
	assert_int_equal(f.p.steps[0].kind, STEP_PULL);
	assert_true(f.p.steps[0].in_flight);
	assert_int_equal(f.p.steps[1].kind, STEP_STOP);
	assert_true(f.p.steps[1].in_flight);
	assert_int_equal(f.p.n_waits, 1);
	assert_int_equal(f.p.waits[0].kind, WAIT_ENGINE);
	drop(&f);
}

static void without_a_target_nothing_is_planned(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a; db image=a created", NULL);
	assert_int_equal(f.p.n_steps, 0);
	assert_int_equal(f.p.n_waits, 0);
	assert_true(f.p.settled);
	drop(&f);
}

static void without_a_target_locks_of_an_earlier_run_are_given_back(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a; leftover; held app=2", NULL);
	assert_int_equal(f.p.n_steps, 2);
	assert_int_equal(f.p.steps[0].kind, STEP_RELEASE_LOCKS);
	assert_string_equal(f.p.steps[0].subject, "locks 1");
	assert_string_equal(f.p.steps[0].reason, "left by an earlier run");
	assert_string_equal(f.p.steps[1].subject, "locks 2");
	assert_string_equal(f.p.steps[1].reason, "there is no target");
	assert_false(f.p.apps[0].settled);
	f.w.now.known = false;
	again(&f);
	assert_int_equal(f.p.n_steps, 0); /* not before it is known what may be stopping */
	f.w.now.known = true;
	again(&f);
	dsl_round(&f.w, &f.p);
	again(&f);
	assert_true(f.p.settled);
	assert_true(f.p.apps[0].settled);
	drop(&f);
}

static void without_a_target_locks_stay_until_an_earlier_stop_is_over(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a stopping=5; db image=a stopping=3; leftover", NULL);
	assert_int_equal(f.p.n_steps, 0);
	assert_int_equal(f.p.n_waits, 1);
	assert_int_equal(f.p.waits[0].kind, WAIT_OPERATION);
	assert_int_equal(f.p.waits[0].until_ms, f.w.now_ms + 5000);
	assert_false(f.p.apps[0].settled);
	f.w.now_ms += 5000;
	again(&f);
	assert_int_equal(f.p.n_steps, 1);
	assert_int_equal(f.p.steps[0].kind, STEP_RELEASE_LOCKS);
	drop(&f);
}

static void without_a_target_locks_stay_while_a_step_is_in_flight(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a env=1; held; removed web", "web image=a env=2");
	world_begin(&f.w, &f.p.steps[0]);
	world_set_target(&f.w, NULL);
	again(&f);
	assert_int_equal(f.p.n_steps, 1);
	assert_true(f.p.steps[0].in_flight);
	assert_int_equal(f.p.steps[0].kind, STEP_STOP);
	world_end(&f.w, 0, NULL);
	again(&f);
	assert_int_equal(f.p.n_steps, 1);
	assert_int_equal(f.p.steps[0].kind, STEP_RELEASE_LOCKS);
	drop(&f);
}

static void what_is_accepted_is_noted_once_and_stops_nothing(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a env=3 dead; web image=a env=1; accepted web", "web image=a env=2 vol=v");
	assert_int_equal(f.p.notes.n, 1);
	assert_string_equal(f.p.notes.v[0],
			    "service web of app 1: the engine keeps another environment.K, volumes; left as it is");
	assert_int_equal(f.p.apps[0].replaces.n, 0);
	drop(&f);
}

static void a_note_of_what_is_accepted_names_a_few_fields_only(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a; accepted web", "web image=a");
	assert_int_equal(f.p.notes.n, 0); /* nothing differs */
	for (char key[] = "A"; key[0] <= 'F'; key[0]++) {
		strmap_set(&world_service(&f.w, 1, "web")->config.env, key, "1");
		again(&f);
		assert_true(f.p.settled);
		assert_int_equal(f.p.notes.n, 1);
		assert_int_equal(strstr(f.p.notes.v[0], ", …;") != NULL, key[0] == 'F');
	}
	assert_string_equal(f.p.notes.v[0],
			    "service web of app 1: the engine keeps another environment.A, environment.B, "
			    "environment.C, environment.D, environment.E, …; left as it is");
	drop(&f);
}

static void the_supervisor_itself_is_neither_foreign_nor_worth_a_note(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "sv image=a app=7 named=balena_supervisor; db image=a app=5; foreign", "web image=a");
	assert_int_equal(f.p.n_foreign, 1);
	assert_int_equal(f.p.foreign[0], 5);
	drop(&f);
	make(&f, "sv image=a app=7 net=x named=balena_supervisor; network x app=7; owned 7", "web image=a");
	assert_int_equal(f.p.notes.n, 0);
	drop(&f);
}

static void foreign_apps_are_listed(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a app=7; web image=a app=5; db image=a app=7; foreign", "web image=a");
	assert_int_equal(f.p.n_foreign, 2);
	assert_int_equal(f.p.foreign[0], 5);
	assert_int_equal(f.p.foreign[1], 7);
	assert_int_equal(f.p.n_apps, 1);
	assert_int_equal(f.p.apps[0].app_id, 1);
	drop(&f);
}

static const struct plan_step *step(const struct planned *f, enum plan_step_kind kind)
{
	for (size_t i = 0; i < f->p.n_steps; i++)
		if (f->p.steps[i].kind == kind)
			return &f->p.steps[i];
	fail_msg("no step %s", plan_step_kind_name(kind));
	return NULL;
}

static void a_stop_says_which_fields_differ(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "web image=a env=1; held; removed web", "web image=a env=2");
	assert_string_equal(step(&f, STEP_STOP)->reason, "environment changed");
	assert_int_equal(step(&f, STEP_STOP)->changes.n, 1);
	assert_non_null(step(&f, STEP_STOP)->container_id);
	assert_non_null(strstr(step(&f, STEP_STOP)->changes.v[0].field, "environment"));
	drop(&f);
}

static void reasons_tell_new_services_from_replaced_ones(void **state)
{
	struct planned f;

	(void)state;
	make(&f, "network default; image a", "web image=a");
	assert_string_equal(step(&f, STEP_CREATE)->reason, "new service");
	drop(&f);
	make(&f, "network default; image a; removed web", "web image=a");
	assert_string_equal(step(&f, STEP_CREATE)->reason, "replaces the container removed by this update");
	drop(&f);
	make(&f, "web image=a commit=c1; held", "web image=a commit=c2");
	assert_string_equal(step(&f, STEP_RENAME)->reason, "release c1 -> c2, nothing else changed");
	drop(&f);
	make(&f, "web image=a named=mine; held", "web image=a");
	assert_string_equal(step(&f, STEP_RENAME)->reason, "its name mine tells no release");
	assert_string_equal(step(&f, STEP_RENAME)->name, "web_1_1_c1");
	drop(&f);
	make(&f, "web image=a; db image=a; held; removed db", "web image=a");
	assert_string_equal(step(&f, STEP_STOP)->reason, "no longer in the target");
	drop(&f);
}

static void a_create_carries_everything_the_engine_needs(void **state)
{
	const struct plan_step *s;
	struct planned f;

	(void)state;
	make(&f, "network default; image a", "web image=a commit=c7");
	s = step(&f, STEP_CREATE);
	assert_string_equal(s->subject, "service 1/web");
	assert_string_equal(s->service, "web");
	assert_string_equal(s->image, "a:latest");
	assert_string_equal(s->name, "web_1_1_c7");
	assert_string_equal(s->config.image, f.w.now.images[0].id);
	drop(&f);
}

static void a_subject_in_flight_gets_no_other_step(void **state)
{
	struct planned f;
	struct plan_input in;

	(void)state;
	make(&f, "web image=a env=1; db image=b env=1; held; removed web; removed db",
	     "web image=a env=2; db image=b env=2");
	world_begin(&f.w, &f.p.steps[0]);
	plan_deinit(&f.p);
	in = world_input(&f.w);
	plan_make(&in, &f.p);
	world_check_plan(&f.w, &f.p);
	assert_int_equal(f.p.n_steps, 2);
	assert_true(f.p.steps[0].in_flight);
	assert_string_equal(f.p.steps[0].service, "db");
	assert_string_equal(f.p.steps[0].reason, "begun");
	assert_int_equal(f.p.steps[0].changes.n, 1);
	assert_false(f.p.steps[1].in_flight);
	assert_string_equal(f.p.steps[1].service, "web");
	assert_true(f.p.apps[0].stopping);
	drop(&f);
}

static void every_kind_has_the_name_of_the_interface(void **state)
{
	(void)state;
	for (int k = 0; k < STEP_KIND_COUNT; k++)
		assert_string_not_equal(plan_step_kind_name((enum plan_step_kind)k), "none");
	for (int k = 0; k < WAIT_KIND_COUNT; k++)
		assert_string_not_equal(plan_wait_kind_name((enum plan_wait_kind)k), "none");
	assert_string_equal(plan_step_kind_name(STEP_TAKE_LOCKS), "take_locks");
	assert_string_equal(plan_wait_kind_name(WAIT_OPERATION), "operation");
	assert_string_equal(plan_step_kind_name(STEP_KIND_COUNT), "none");
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(an_engine_that_is_away_is_the_only_wait),
		cmocka_unit_test(what_is_in_flight_goes_on_while_the_engine_is_away),
		cmocka_unit_test(without_a_target_nothing_is_planned),
		cmocka_unit_test(without_a_target_locks_of_an_earlier_run_are_given_back),
		cmocka_unit_test(without_a_target_locks_stay_until_an_earlier_stop_is_over),
		cmocka_unit_test(without_a_target_locks_stay_while_a_step_is_in_flight),
		cmocka_unit_test(what_is_accepted_is_noted_once_and_stops_nothing),
		cmocka_unit_test(a_note_of_what_is_accepted_names_a_few_fields_only),
		cmocka_unit_test(foreign_apps_are_listed),
		cmocka_unit_test(the_supervisor_itself_is_neither_foreign_nor_worth_a_note),
		cmocka_unit_test(a_stop_says_which_fields_differ),
		cmocka_unit_test(reasons_tell_new_services_from_replaced_ones),
		cmocka_unit_test(a_create_carries_everything_the_engine_needs),
		cmocka_unit_test(a_subject_in_flight_gets_no_other_step),
		cmocka_unit_test(every_kind_has_the_name_of_the_interface),
	};

	return dsl_run_tests("plan_update", rows, ARRAY_LEN(rows), more, ARRAY_LEN(more));
}
