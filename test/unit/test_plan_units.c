/* Order among services, units side by side, and who waits for whom when something fails. */
#include "plan_dsl.h"

static const struct dsl_row rows[] = {
	{"each service is stopped just before its successor starts, so many at a time",
	 "a image=i env=1; b image=i env=1; c image=i env=1; processors 1",
	 "a image=i env=2; b image=i env=2; c image=i env=2",
	 "lock; stop a; remove a; create a; start a; stop b; remove b; create b; start b; stop c; remove c; create c; "
	 "start "
	 "c; unlock"},
	{"units run side by side up to the number of processors",
	 "a image=i env=1; b image=i env=1; c image=i env=1; processors 2",
	 "a image=i env=2; b image=i env=2; c image=i env=2",
	 "lock; stop a + stop b; remove a + remove b; create a + create b; start a + start b; stop c; remove c; create "
	 "c; start "
	 "c; unlock"},
	{"a group stops in reverse order and starts in order",
	 "web image=i after=db env=1; db image=i env=1; processors 1", "web image=i after=db env=2; db image=i env=2",
	 "lock; stop web; stop db + remove web; remove db + create web; create db; start db; start web; unlock"},
	{"a chain of three is one unit",
	 "a image=i env=1; b image=i env=1; c image=i env=1; d image=i env=1; processors 1",
	 "a image=i env=2; b image=i after=a env=2; c image=i after=b env=2; d image=i env=2",
	 "lock; stop c; stop b + remove c; stop a + remove b + create c; remove a + create b; create a; start a; start "
	 "b; start "
	 "c; stop d; remove d; create d; start d; unlock"},
	{"an unchanged dependency is left alone", "web image=i after=db env=1; db image=i",
	 "web image=i after=db env=2; db image=i", "lock; stop web; remove web; create web; start web; unlock"},
	{"an unchanged dependent is left alone", "web image=i after=db; db image=i env=1",
	 "web image=i after=db; db image=i env=2", "lock; stop db; remove db; create db; start db; unlock"},
	{"a dependency that ran and exited has started", "db image=i exited; image i",
	 "db image=i; web image=i after=db", "lock; create web; start web; unlock"},
	{"a dependency that exists nowhere is met", "web image=i after=ghost env=1", "web image=i after=ghost env=2",
	 "lock; stop web; remove web; create web; start web; unlock"},
	{"a dependency that is not to run is met", "db image=i created; image i",
	 "db image=i off; web image=i after=db", "lock; create web; start web; unlock"},
	{"a first install starts dependencies first", "image i; network default",
	 "web image=i after=db; db image=i; log image=i after=web",
	 "create db + create log + create web; start db; start web; start log"},
	{"a service that depends on itself starts", "image i; network default", "web image=i after=web",
	 "create web; start web"},
	{"a circle is broken and everything starts", "image i; network default",
	 "a image=i after=b; b image=i after=c; c image=i after=a",
	 "create a + create b + create c; start c; start b; start a"},
	{"a running circle is replaced", "a image=i after=b env=1; b image=i after=a env=1",
	 "a image=i after=b env=2; b image=i after=a env=2",
	 "lock; stop a; remove a + stop b; create a + remove b; create b; start b; start a; unlock"},
	{"a failing service does not hold back those that do not depend on it",
	 "a image=i env=1; b image=i env=1; processors 1; fail service 1/a; held; removed a; removed b",
	 "a image=i env=2; b image=i env=2", "stop b; remove b; create b; start b; unlock | backoff service 1/a"},
	{"a failing service takes no slot while it is down",
	 "a image=i created; b image=i env=1; processors 1; fail service 1/a", "a image=i; b image=i env=2",
	 "lock; stop b; remove b; create b; start b; unlock | backoff service 1/a"},
	{"a dependent of a failing service is not stopped in vain",
	 "db image=i created; web image=i env=1; fail service 1/db", "db image=i; web image=i env=2 after=db",
	 "| backoff service 1/db, dependency web"},
	{"a dependent of a failing service that is down waits for it",
	 "db image=i created; web image=i created; fail service 1/db", "db image=i; web image=i after=db",
	 "| backoff service 1/db, dependency web"},
	{"a failing dependent does not hold back what it depends on",
	 "db image=i env=1; web image=i env=1 after=db; fail service 1/web",
	 "db image=i env=2; web image=i env=2 after=db",
	 "lock; stop db; remove db; create db; start db; unlock | backoff service 1/web"},
	{"what a stuck dependent also depends on is not held back",
	 "db image=i env=1; cache image=i created; web image=i env=1; fail service 1/cache",
	 "db image=i env=2; cache image=i; web image=i env=2 after=db,cache",
	 "lock; stop db; remove db; create db; start db; unlock | backoff service 1/cache, dependency web"},
	{"what is down comes before what still runs", "z image=i created; a image=i env=1; processors 1",
	 "z image=i; a image=i env=2", "start z; lock; stop a; remove a; create a; start a; unlock"},
	{"a stop of an earlier run keeps its slot",
	 "z image=i stopping=5; a image=i env=1; processors 1; leftover; removed a; removed z",
	 "z image=i; a image=i env=2", "| operation a, operation z"},
	{"apps share the slots", "a image=i env=1; b image=i app=2 env=1; processors 1",
	 "a image=i env=2; b image=i app=2 env=2",
	 "lock; stop a; remove a; create a; start a; unlock + lock 2; stop 2/b; remove 2/b; create 2/b; start 2/b; "
	 "unlock 2"},
	{"a blocked app takes no slot", "a image=i env=1; lock a; b image=i app=2 env=1; processors 1",
	 "a image=i env=2; b image=i app=2 env=2",
	 "lock 2; stop 2/b; remove 2/b; create 2/b; start 2/b; unlock 2 | locked a"},
	{"removals take turns as well", "a image=i; b image=i; processors 1; k image=i", "k image=i",
	 "lock; stop a; remove a; stop b; remove b; unlock"},
	{"no processors told counts as one", "a image=i env=1; b image=i env=1; processors 0",
	 "a image=i env=2; b image=i env=2",
	 "lock; stop a; remove a; create a; start a; stop b; remove b; create b; start b; unlock"},
};

static void a_step_in_flight_keeps_its_slot(void **state)
{
	struct plan_input in;
	struct world w;
	struct plan p;

	(void)state;
	dsl_setup(&w, "a image=i env=1; b image=i env=1; held; removed a; removed b; processors 1");
	world_set_target(&w, dsl_target("a image=i env=2; b image=i env=2"));
	in = world_input(&w);
	plan_make(&in, &p);
	assert_int_equal(p.n_steps, 1);
	world_begin(&w, &p.steps[0]);
	plan_deinit(&p);
	in = world_input(&w);
	plan_make(&in, &p);
	assert_int_equal(p.n_steps, 1);
	assert_true(p.steps[0].in_flight);
	assert_int_equal(p.n_waits, 1);
	assert_string_equal(p.waits[0].subject, "turn service 1/b");
	plan_deinit(&p);
	world_deinit(&w);
}

static void a_circle_is_noted(void **state)
{
	struct plan_input in;
	struct world w;
	struct plan p;

	(void)state;
	dsl_setup(&w, "");
	world_set_target(&w, dsl_target("a image=i after=b; b image=i after=a"));
	in = world_input(&w);
	plan_make(&in, &p);
	assert_int_equal(p.notes.n, 1);
	assert_non_null(strstr(p.notes.v[0], "circle"));
	plan_deinit(&p);
	world_deinit(&w);
}

int main(void)
{
	static const struct CMUnitTest more[] = {
		cmocka_unit_test(a_step_in_flight_keeps_its_slot),
		cmocka_unit_test(a_circle_is_noted),
	};

	return dsl_run_tests("plan_units", rows, ARRAY_LEN(rows), more, ARRAY_LEN(more));
}
