/* What is told to those who follow live: each change once, in order, and only changes. */
#include "reconcile_fixture.h"

#include "reconcile/internal.h"

static struct strv told;

static void add(const char *text, struct buf *to)
{
	if (text)
		buf_printf(to, " %s", text);
}

/* "step started stop main", "lock seen main", "wait began locked main", "container changed main running", … */
static void on_event(void *ctx, const struct reconcile_event *e)
{
	static const char *const types[] = {"step", "wait", "lock", "pull", "container", "app", "target"};
	AUTO_FREE char *services = e->services ? strv_join(e->services, ",") : NULL;
	struct buf b;

	(void)ctx;
	buf_init(&b, 1024);
	buf_printf(&b, "%s %s", types[e->type], e->what);
	add(e->kind, &b);
	add(e->service, &b);
	add(services && *services ? services : NULL, &b);
	add(e->image, &b);
	add(e->state, &b);
	add(e->release, &b);
	add(e->err, &b);
	strv_add(&told, buf_str(&b));
	buf_deinit(&b);
}

static int setup(void **state)
{
	int rc = world_setup(state);

	((struct world *)*state)->on_event = on_event;
	return rc;
}

static int teardown(void **state)
{
	int rc = world_teardown(state);

	strv_deinit(&told);
	told = (struct strv){0};
	return rc;
}

/* From `from` on, these in this order, whatever stands between them; returns the place behind the last. */
static size_t expect(size_t from, const char *const *wanted)
{
	for (; *wanted; wanted++) {
		while (from < told.n && fnmatch(*wanted, told.v[from], 0) != 0)
			from++;
		if (from == told.n) {
			for (size_t i = 0; i < told.n; i++)
				print_message("%s\n", told.v[i]);
			fail_msg("not told: %s", *wanted);
		}
		from++;
	}
	return from;
}
#define EXPECT(from, ...) expect(from, (const char *const[]){__VA_ARGS__, NULL})

static unsigned count(const char *pattern)
{
	unsigned n = 0;

	for (size_t i = 0; i < told.n; i++)
		n += fnmatch(pattern, told.v[i], 0) == 0;
	return n;
}

static void an_update_is_told_from_its_target_to_its_end(void **state)
{
	struct world *w = *state;
	size_t from;

	fake_add_image(w, "img:1");
	fake_add_image(w, "img:2");
	world_run(w, "1 r1: main=img:1");
	EXPECT(0, "target accepted", "step started create main*", "container changed main created",
	       "step done create main*", "step started start main*", "container changed main running",
	       "step done start main*", "app settled r1", "target settled");
	from = told.n;
	assert_true(app_locks(w, 1, "main"));
	offer(w, "1 r2: main=img:2");
	RUN_UNTIL(w->loop, wait_of(w, WAIT_LOCKED));
	app_unlocks(w, 1, "main");
	RUN_UNTIL(w->loop, world_settled(w));
	EXPECT(from, "target accepted", "wait began locked main", "lock gone main", "wait ended locked main",
	       "lock taken main", "step started stop main*", "container changed main exited", "step done stop main*",
	       "step started remove main*", "container gone main exited", "step done remove main*",
	       "step started create main*", "step started start main*", "lock released main", "app settled r2",
	       "target settled");
	assert_int_equal(count("wait began locked*"), 1);
	assert_int_equal(count("app settled r2"), 1);
	assert_int_equal(count("container gone*"), 1);
}

static void a_step_that_fails_tells_its_error_and_one_that_is_cancelled_that(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	rule_add(w, CREATES, RULE_ANSWER, 500, 1);
	world_run(w, "1 r1: main=img:1");
	EXPECT(0, "step started create main*", "step failed create main*as the test says", "wait began backoff*",
	       "wait ended backoff*", "step done create main*");
	rule_add(w, PULLS, RULE_HOLD, 0, 1);
	offer(w, "1 r2: main=far:2");
	RUN_UNTIL(w->loop, held_find(w, PULLS));
	offer(w, "1 r1: main=img:1");
	RUN_UNTIL(w->loop, count("step cancelled*"));
	EXPECT(0, "step started pull*far:2*", "step cancelled pull*far:2*");
}

static void a_container_is_told_of_when_it_changed_not_when_it_was_read(void **state)
{
	struct world *w = *state;
	size_t from;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	world_pass(w, 20);
	from = told.n;
	asked_clear(w);
	fake_say(w, "container", "update", fake_of(w, "main")->id);
	RUN_UNTIL(w->loop, asked_count(w, "GET /containers/*/json"));
	world_pass(w, 20);
	assert_int_equal(told.n, from);
	fake_die(w, fake_of(w, "main"));
	RUN_UNTIL(w->loop, count("container changed main exited"));
}

static void the_source_and_its_documents_are_told_of(void **state)
{
	struct world *w = *state;
	struct err err = {.code = -EIO, .msg = "cannot be read"};
	struct target_errors errors = {0};

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	reconcile_update(w->r, false, false);
	assert_true(reconcile_offer_target(w->r, "{", 1, &errors) < 0);
	target_errors_deinit(&errors);
	reconcile_look_done(w->r);
	reconcile_target_failed(w->r, &err);
	reconcile_target_failed(w->r, &err); /* the same words: nothing new */
	reconcile_target_unchanged(w->r);
	reconcile_target_unchanged(w->r);
	RUN_UNTIL(w->loop, world_settled(w));
	EXPECT(0, "wait began operation", "target requested", "target refused *", "wait ended operation",
	       "target refused cannot be read", "target unchanged", "target settled");
	assert_int_equal(count("target refused*"), 2);
	assert_int_equal(count("target unchanged"), 1);
}

static void an_engine_that_goes_is_a_wait_that_ends(void **state)
{
	struct world *w = *state;

	fake_add_image(w, "img:1");
	world_run(w, "1 r1: main=img:1");
	http_stream_abort(STEAL(w->events));
	RUN_UNTIL(w->loop, count("wait began engine*"));
	RUN_UNTIL(w->loop, count("wait ended engine*"));
	assert_int_equal(count("container gone*"), 0);
}

static void the_progress_of_a_pull_is_told_a_few_times_a_second_and_at_its_end(void **state)
{
	struct world *w = *state;
	struct reconcile r = {.o = {.loop = w->loop, .event = on_event}};
	struct running s = {.r = &r, .kind = STEP_PULL, .image = (char *)(uintptr_t) "far:1"};

	for (s.percent = 1; s.percent <= 100; s.percent++)
		event_pull(&s);
	assert_int_equal(count("pull progress far:1"), 2);
	s.percent = 7; /* another layer turned up */
	s.percent_told_ms -= 1000;
	event_pull(&s);
	assert_int_equal(count("pull progress far:1"), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_update_is_told_from_its_target_to_its_end),
		TEST(a_step_that_fails_tells_its_error_and_one_that_is_cancelled_that),
		TEST(a_container_is_told_of_when_it_changed_not_when_it_was_read),
		TEST(the_source_and_its_documents_are_told_of),
		TEST(an_engine_that_goes_is_a_wait_that_ends),
		TEST(the_progress_of_a_pull_is_told_a_few_times_a_second_and_at_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
