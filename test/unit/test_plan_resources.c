/* Networks, volumes and images in the planner. */
#include "plan_dsl.h"

static const struct dsl_row rows[] = {
	{"a missing network is made before its user is touched", "web image=a; image a", "web image=a net=x",
	 "+net x; lock; stop web; remove web; create web; start web; unlock"},
	{"a user waits for all of its networks", "image a", "web image=a net=x,y",
	 "+net x + +net y + +net default; create web; start web"},
	{"a network that fails does not take its user down",
	 "web image=a; fail network 00000000000000000000000000000001_x", "web image=a net=x",
	 "| backoff network 00000000000000000000000000000001_x, dependency web"},
	{"a network nobody wants any more goes after its users left it", "web image=a net=x; network x", "web image=a",
	 "lock; stop web; remove web; -net x + create web; start web; unlock"},
	{"a network without users goes at once", "web image=a; network x", "web image=a", "-net x"},
	{"a changed network is made anew between its users' stop and start, also of those that did not change",
	 "web image=a net=x; db image=b; network x driver=bridge",
	 "web image=a net=x; db image=b; network x driver=macvlan",
	 "lock; stop web; remove web; -net x; +net x; create web; start web; unlock"},
	{"all users of a changed network are one unit",
	 "a image=i net=x; b image=i net=x; c image=i net=x; network x driver=bridge; processors 1",
	 "a image=i net=x; b image=i net=x; c image=i net=x; network x driver=macvlan",
	 "lock; stop a + stop b + stop c; remove a + remove b + remove c; -net x; +net x; create a; start a; create b; "
	 "start b; create "
	 "c; start c; unlock"},
	{"users of two changed networks that share a user are one unit",
	 "a image=i net=x; b image=i net=x,y; c image=i net=y; network x driver=bridge; network y driver=bridge; "
	 "processors 1",
	 "a image=i net=x; b image=i net=x,y; c image=i net=y; network x driver=macvlan; network y driver=macvlan",
	 "lock; stop a + stop b + stop c; remove a + remove b + remove c; -net x + -net y; +net x + +net y; create a; "
	 "start a; "
	 "create b; start b; create c; start c; unlock"},
	{"a changed network waits for a lock like everything that stops",
	 "web image=a net=x; network x driver=bridge; lock web", "web image=a net=x; network x driver=macvlan",
	 "| dependency, locked web"},
	{"a changed network without users needs no lock", "web image=a; network x driver=bridge; lock web",
	 "web image=a; network x driver=macvlan", "-net x; +net x"},
	{"a missing volume is made before its user", "image a", "web image=a vol=v",
	 "+net default + +vol v; create web; start web"},
	{"a volume that left the target of a kept app stays", "web image=a; volume v; delete-volumes", "web image=a",
	 ""},
	{"a volume of another driver is left as it is", "web image=a vol=v; volume v driver=local",
	 "web image=a vol=v; volume v driver=nfs", ""},
	{"supervisor0 is made when a service uses the API", "image a; network default", "web image=a api",
	 "+net supervisor0; create web; start web"},
	{"supervisor0 is not needed by a service in the host's network", "db image=a",
	 "db image=a; web image=a api host", "lock; create web; start web; unlock"},
	{"a wrong supervisor0 is made anew between its users' stop and start",
	 "web image=a api; db image=a; supervisor0 wrong", "web image=a api; db image=a",
	 "lock; stop web; remove web; -net supervisor0; +net supervisor0; create web; start web; unlock"},
	{"a wrong supervisor0 that nobody uses is left alone", "web image=a; supervisor0 wrong", "web image=a", ""},
	{"a wrong supervisor0 used by two apps takes both down or none",
	 "web image=a api; db image=a api app=2; supervisor0 wrong; lock db app=2",
	 "web image=a api; db image=a api app=2", "| dependency, dependency web, locked db (2)"},
	{"a wrong supervisor0 used by two apps waits for both locks",
	 "web image=a api; db image=a api app=2; supervisor0 wrong; processors 1",
	 "web image=a api; db image=a api app=2",
	 "lock + lock 2; stop web + stop 2/db; remove web + remove 2/db; -net supervisor0; +net supervisor0; create "
	 "web; start web; "
	 "create 2/db + unlock; start 2/db; unlock 2"},
	{"an image is pulled once for all who name it", "", "a image=i; b image=i; c image=i app=2",
	 "pull i + +net default + +net 2/default; create a + create b + create 2/c; start a + start b; start 2/c"},
	{"pulls are limited", "pulls 1; network default; network default app=2",
	 "a image=i; b image=j; c image=k app=2",
	 "pull i; pull j; pull k + create a + create b; start a + start b + create 2/c; start 2/c"},
	{"an old image that a container of somebody uses stays",
	 "web image=a; image b; x image=b app=7; foreign; owned 1", "web image=a", ""},
	{"the supervisor's next image stays although nothing runs from it yet",
	 "web image=a; image balena_supervisor; image b", "web image=a", "rmi b"},
	{"an image that the target names again is not removed", "web image=a; image b", "web image=a; db image=b off",
	 "lock; create db; unlock"},
	{"old images go a few at a time", "web image=a; image b; image c; image d; processors 2", "web image=a",
	 "rmi b + rmi c; rmi d"},
	{"an image that cannot be removed keeps nothing from going on",
	 "web image=a; image b; image c; fail image b:latest", "web image=a", "rmi c"},
	{"an image that failed to be removed does not hold back a later update",
	 "web image=a env=1; image b; fail image b:latest", "web image=a env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"old images stay while a service is not up again", "web image=a created; image b; fail service 1/web",
	 "web image=a", "| backoff service 1/web"},
	{"old images go although another app is locked", "web image=a; image b; db image=c env=1 app=2; lock db app=2",
	 "web image=a; db image=c env=2 app=2", "rmi b | locked db (2)"},
	{"an image that cannot be read is pulled again before anything is made from it",
	 "image a unreadable; network default", "web image=a", "pull a; create web; start web"},
	{"an image that cannot be read is pulled again and its container left alone", "web image=a; image a unreadable",
	 "web image=a", "pull a"},
	{"a network is not made anew while a user of it backs off: the others stay up",
	 "a image=i net=x; b image=i net=x; network x driver=bridge; fail service 1/a",
	 "a image=i net=x; b image=i net=x; network x driver=macvlan",
	 "| dependency, backoff service 1/a, dependency b"},
	{"a service that needs supervisor0 stays up while a user of it in another app backs off",
	 "web image=a api; db image=a api app=2; supervisor0 wrong; fail service 2/db app=2",
	 "web image=a api; db image=a api app=2", "| dependency, dependency web, backoff service 2/db (2)"},
	{"locks are given back while supervisor0 waits for another app that backs off",
	 "web image=a; image a; held; removed api; db image=a api app=2; supervisor0 wrong; fail service 2/db app=2",
	 "web image=a; api image=a api; db image=a api app=2",
	 "unlock | dependency, dependency api, backoff service 2/db (2)"},
	{"locks are given back while supervisor0 waits for another app that is locked",
	 "web image=a; image a; held; removed api; db image=a api app=2; supervisor0 wrong; lock db app=2",
	 "web image=a; api image=a api; db image=a api app=2", "unlock | dependency, dependency api, locked db (2)"},
	{"two apps that wait for the same failing image both say so",
	 "web image=a; db image=a app=2; fail image z:latest", "web image=z; db image=z app=2",
	 "| backoff image z:latest, backoff image z:latest for 2 (2)"},
};

static struct plan plan_of(struct world *w)
{
	struct plan_input in = world_input(w);
	struct plan p;

	plan_make(&in, &p);
	world_check_plan(w, &p);
	return p;
}

static void a_volume_that_differs_is_noted_once(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	dsl_setup(&w, "web image=a vol=v; volume v driver=local");
	world_set_target(&w, dsl_target("web image=a vol=v; volume v driver=nfs"));
	p = plan_of(&w);
	assert_true(p.settled);
	assert_int_equal(p.notes.n, 1);
	assert_string_equal(p.notes.v[0],
			    "volume 1_v: driver differs (local, the target says nfs); kept, data is never deleted "
			    "implicitly");
	plan_deinit(&p);
	world_deinit(&w);
}

static void an_image_that_cannot_be_removed_is_noted_and_tried_again(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	dsl_setup(&w, "web image=a; image b; fail image b:latest");
	world_set_target(&w, dsl_target("web image=a"));
	p = plan_of(&w);
	assert_true(p.settled);
	assert_int_equal(p.notes.n, 1);
	assert_string_equal(p.notes.v[0], "image b:latest is kept: it did not work; tried again later");
	plan_deinit(&p);
	w.now_ms = w.failures[0].retry_at_ms;
	p = plan_of(&w);
	assert_int_equal(p.notes.n, 0);
	assert_int_equal(p.n_steps, 1);
	assert_int_equal(p.steps[0].kind, STEP_REMOVE_IMAGE);
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_network_that_somebody_else_uses_is_noted_and_left(void **state)
{
	struct container *k;
	struct world w;
	struct plan p;

	(void)state;
	dsl_setup(&w, "web image=a net=x; network x driver=bridge; other image=a net=x");
	world_set_target(&w, dsl_target("web image=a net=x; network x driver=macvlan"));
	k = world_service(&w, 1, "other");
	k->app_id = 7; /* not ours, on our network */
	p = plan_of(&w);
	assert_true(p.settled);
	assert_int_equal(p.notes.n, 1);
	assert_non_null(strstr(p.notes.v[0], "is not ours"));
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_pull_nobody_wants_any_more_is_not_echoed(void **state)
{
	struct world w;
	struct plan p;

	(void)state;
	dsl_setup(&w, "web image=a");
	world_set_target(&w, dsl_target("web image=b"));
	p = plan_of(&w);
	assert_int_equal(p.steps[0].kind, STEP_PULL);
	world_begin(&w, &p.steps[0]);
	plan_deinit(&p);
	p = plan_of(&w);
	assert_int_equal(p.n_steps, 1);
	assert_true(p.steps[0].in_flight);
	assert_string_equal(p.steps[0].image, "b:latest");
	assert_int_equal(p.waits[0].kind, WAIT_PULLING);
	plan_deinit(&p);
	world_set_target(&w, dsl_target("web image=a"));
	p = plan_of(&w);
	assert_int_equal(p.n_steps, 0);
	plan_deinit(&p);
	world_deinit(&w);
}

static void an_image_that_lost_its_name_is_pulled_and_nothing_restarts(void **state)
{
	struct buf trace;
	struct world w;

	(void)state;
	buf_init(&trace, 4096);
	dsl_setup(&w, "web image=a");
	world_set_target(&w, dsl_target("web image=a"));
	world_remove_image(&w, "a:latest");
	dsl_run(&w, &trace);
	assert_string_equal(buf_str(&trace), "pull a");
	buf_deinit(&trace);
	world_deinit(&w);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(a_volume_that_differs_is_noted_once),
		cmocka_unit_test(an_image_that_cannot_be_removed_is_noted_and_tried_again),
		cmocka_unit_test(a_network_that_somebody_else_uses_is_noted_and_left),
		cmocka_unit_test(a_pull_nobody_wants_any_more_is_not_echoed),
		cmocka_unit_test(an_image_that_lost_its_name_is_pulled_and_nothing_restarts),
	};

	return dsl_run_tests("plan_resources", rows, ARRAY_LEN(rows), more, ARRAY_LEN(more));
}
