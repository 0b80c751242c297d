/* What the API tells about state, plan and locks, word for word. */
#include "test_api_fake.h"

static const struct key_scope global = {.global = true}, app_2 = {.app_id = 2};

static char *written(view_fn *view, struct key_scope scope, bool all_apps)
{
	static char text[16384];
	struct view v = {
		.reconcile = &fake, .scope = scope, .all_apps = all_apps, .wall_ms = 1767323046000, .loop_ms = 5000};
	struct json_writer *w;
	struct buf b;

	buf_init(&b, sizeof(text) - 1);
	w = json_writer_new(&b);
	view(&v, w);
	json_writer_free(w);
	assert_int_equal(b.failed, 0);
	strcpy(text, buf_str(&b));
	buf_deinit(&b);
	return text;
}

static int setup(void **state)
{
	(void)state;
	fake_device();
	return 0;
}

/* ---- /v2/state/status ---- */

static void status_shows_the_lowest_app_whatever_the_engine_lists_first(void **state)
{
	(void)state;
	fake.commit = COMMIT_OLD;
	assert_string_equal(
		written(view_status, global, false),
		"{\"status\":\"success\",\"appState\":\"applied\",\"containers\":["
		"{\"status\":\"Running\",\"serviceName\":\"db\",\"appId\":1,\"imageId\":112,\"serviceId\":12,"
		"\"containerId\":\"c1db\",\"createdAt\":\"2026-01-02T03:04:05.678Z\"},"
		"{\"status\":\"Running\",\"serviceName\":\"main\",\"appId\":1,\"imageId\":110,\"serviceId\":11,"
		"\"containerId\":\"c1main\",\"createdAt\":\"2026-01-02T03:04:05.678Z\"}],\"images\":["
		"{\"name\":\"reg/db:1\",\"appId\":1,\"serviceName\":\"db\",\"imageId\":112,"
		"\"dockerImageId\":\"sha256:db\",\"status\":\"Downloaded\",\"downloadProgress\":null},"
		"{\"name\":\"reg/main:1\",\"appId\":1,\"serviceName\":\"main\",\"imageId\":110,"
		"\"dockerImageId\":\"sha256:old\",\"status\":\"Downloaded\",\"downloadProgress\":null}],"
		"\"overallDownloadProgress\":null,\"release\":\"" COMMIT_OLD "\"}");
}

static void status_with_a_service_key_shows_its_app(void **state)
{
	const char *text = written(view_status, app_2, false);

	(void)state;
	assert_non_null(strstr(text, "\"containerId\":\"c2web\""));
	assert_null(strstr(text, "\"appId\":1"));
	assert_null(strstr(text, "\"release\""));
}

static void status_of_all_apps_shows_every_app_a_key_covers(void **state)
{
	const char *text = written(view_status, global, true);

	(void)state;
	assert_non_null(strstr(text, "c2web"));
	assert_non_null(strstr(text, "c1db"));
	assert_non_null(strstr(text, "\"releases\":[{\"appId\":1,\"release\":null},{\"appId\":2,\"release\":null}]"));
	assert_null(strstr(written(view_status, app_2, true), "c1db"));
}

static void a_pull_shows_as_downloading_with_its_percentage(void **state)
{
	const char *text;

	(void)state;
	fake.pulled_image = "reg/main:2";
	fake.percent = 41;
	text = written(view_status, global, false);
	assert_non_null(strstr(text, "{\"name\":\"reg/main:2\",\"appId\":1,\"serviceName\":\"main\",\"imageId\":111,"
				     "\"status\":\"Downloading\",\"downloadProgress\":41}"));
	assert_non_null(strstr(text, "\"overallDownloadProgress\":41}"));
	text = written(view_applications, global, false);
	assert_non_null(strstr(text, "\"main\":{\"status\":\"Downloading\",\"image\":\"reg/main:2\","
				     "\"downloadProgress\":41,\"releaseId\":100}"));
	assert_non_null(strstr(text, "\"updateStatus\":\"downloading\""));
}

static void our_own_step_overlays_the_state_of_the_container(void **state)
{
	static const struct {
		enum plan_step_kind kind;
		const char *word;
	} rows[] = {{STEP_STOP, "Stopping"},
		    {STEP_REMOVE, "Stopping"},
		    {STEP_START, "Starting"},
		    {STEP_TAKE_LOCKS, "Running"}};
	char wanted[64];

	(void)state;
	fake.stepped_service = "main";
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		fake.step = rows[i].kind;
		snprintf(wanted, sizeof(wanted), "{\"status\":\"%s\",\"serviceName\":\"main\"", rows[i].word);
		assert_non_null(strstr(written(view_status, global, false), wanted));
	}
}

static void a_step_on_another_container_of_the_service_does_not_overlay(void **state)
{
	struct plan_step step = {.kind = STEP_STOP,
				 .app_id = 1,
				 .service = TEXT("main"),
				 .container_id = TEXT("elsewhere"),
				 .in_flight = true};

	(void)state;
	fake.stepped_service = "main";
	fake.step = STEP_STOP;
	fake.plan.steps = &step;
	fake.plan.n_steps = 1;
	assert_non_null(
		strstr(written(view_status, global, false), "{\"status\":\"Running\",\"serviceName\":\"main\""));
}

static void applied_means_that_every_app_has_settled(void **state)
{
	(void)state;
	fake.unsettled_app = 2;
	assert_non_null(strstr(written(view_status, global, false), "\"appState\":\"applying\""));
	fake.unsettled_app = 0;
	assert_non_null(strstr(written(view_status, global, false), "\"appState\":\"applied\""));
}

static void without_the_engine_the_last_known_state_is_shown_as_applying(void **state)
{
	const char *text;

	(void)state;
	fake.engine_problem = "the engine does not answer";
	text = written(view_status, global, false);
	assert_non_null(strstr(text, "\"appState\":\"applying\""));
	assert_non_null(strstr(text, "c1db"));
	assert_non_null(strstr(text, "\"engineProblem\":\"the engine does not answer\"}"));
}

static void when_nothing_was_ever_known_the_lists_are_empty(void **state)
{
	(void)state;
	fake = (struct reconcile){.step = STEP_KIND_COUNT};
	assert_string_equal(written(view_status, global, false),
			    "{\"status\":\"success\",\"appState\":\"applying\",\"containers\":[],\"images\":[],"
			    "\"overallDownloadProgress\":null}");
	assert_string_equal(written(view_applications, global, false), "{}");
}

static void a_foreign_app_is_listed_and_never_the_one_shown(void **state)
{
	int64_t foreign[] = {1};
	const char *text;

	(void)state;
	fake.target = NULL;
	fake.plan.foreign = foreign;
	fake.plan.n_foreign = 1;
	text = written(view_status, global, false);
	assert_non_null(strstr(text, "c2web"));
	assert_null(strstr(text, "c1db"));
	assert_non_null(strstr(text, "\"foreign\":[1]}"));
	assert_null(strstr(written(view_status, app_2, false), "foreign"));
}

static void the_supervisor_itself_is_shown_as_such_and_never_the_one_shown(void **state)
{
	struct container kept[8];
	size_t n = fake.current.n_containers;
	const char *text;

	(void)state;
	assert_in_range(n, 1, 8);
	memcpy(kept, fake.current.containers, n * sizeof(*kept));
	fake.target = NULL;
	for (size_t i = 0; i < n; i++)
		if (kept[i].app_id == 1)
			fake.current.containers[i].name = TEXT("balena_supervisor");
	text = written(view_status, global, false);
	assert_non_null(strstr(text, "c2web"));
	assert_null(strstr(text, "supervisor"));
	text = written(view_status, global, true);
	assert_non_null(strstr(text, "\"containerId\":\"c1main\",\"createdAt\":\"2026-01-02T03:04:05.678Z\","
				     "\"supervisor\":true}"));
	assert_null(strstr(text, "\"foreign\""));
	memcpy(fake.current.containers, kept, n * sizeof(*kept));
}

static void what_the_target_leaves_to_the_host_is_reported_as_running(void **state)
{
	struct target_left_out left_out[] = {{TEXT("core"), TEXT("reg/supervisor:9")}};
	struct target_app app = {.id = 5,
				 .release_id = 50,
				 .uuid = TEXT("u"),
				 .name = TEXT("sv"),
				 .commit = TEXT("c"),
				 .left_out = left_out,
				 .n_left_out = 1};
	struct target target = {.apps = &app, .n_apps = 1};

	(void)state;
	fake.target = &target;
	assert_string_equal(written(view_applications, global, false),
			    "{\"sv\":{\"appId\":5,\"appUuid\":\"u\",\"commit\":\"c\",\"services\":{\"core\":{"
			    "\"status\":\"Running\",\"image\":\"reg/supervisor:9\",\"downloadProgress\":null,"
			    "\"releaseId\":50}},\"updateStatus\":\"done\"}}");
}

static void a_target_problem_is_quoted_to_the_global_key_only(void **state)
{
	(void)state;
	fake.target_problem = "apps.secret: expected an object";
	assert_non_null(strstr(written(view_status, global, false), "\"targetProblem\":\"apps.secret: expected"));
	assert_null(strstr(written(view_status, app_2, false), "apps.secret"));
	assert_non_null(strstr(written(view_status, app_2, false), "\"targetProblem\":"));
}

/* ---- /v2/applications/state ---- */

static void applications_show_the_services_of_the_target_release_only(void **state)
{
	(void)state;
	assert_string_equal(written(view_applications, app_2, false),
			    "{\"other\":{\"appId\":2,\"appUuid\":\"uuid-other\",\"commit\":\"" COMMIT_NEW
			    "\",\"services\":{\"web\":{\"status\":\"Running\",\"image\":\"reg/web:1\","
			    "\"downloadProgress\":null,\"releaseId\":200}},\"updateStatus\":\"done\"}}");
	/* main still runs its old release, and its new image is not here */
	fake.unsettled_app = 1;
	assert_string_equal(strstr(written(view_applications, (struct key_scope){.app_id = 1}, false), "\"services\""),
			    "\"services\":{\"main\":{\"image\":\"reg/main:2\",\"downloadProgress\":null,"
			    "\"releaseId\":100},\"db\":{\"status\":\"Running\",\"image\":\"reg/db:1\","
			    "\"downloadProgress\":null,\"releaseId\":100}},\"updateStatus\":\"applying changes\"}}");
}

static void an_image_without_its_container_is_downloaded_then_installing(void **state)
{
	(void)state;
	fake.current.n_containers = 1; /* web only */
	assert_non_null(strstr(written(view_applications, global, false),
			       "\"db\":{\"status\":\"Downloaded\",\"image\":\"reg/db:1\""));
	assert_non_null(strstr(written(view_applications, global, false), "\"updateStatus\":\"downloaded\""));
	fake.stepped_service = "db";
	fake.step = STEP_CREATE;
	assert_non_null(strstr(written(view_applications, global, false), "\"db\":{\"status\":\"Installing\""));
}

static void two_apps_of_one_name_do_not_hide_each_other(void **state)
{
	const char *text;

	(void)state;
	device_apps[1].name = TEXT("shop");
	text = written(view_applications, global, false);
	device_apps[1].name = TEXT("other");
	assert_non_null(strstr(text, "{\"shop\":{\"appId\":1,"));
	assert_non_null(strstr(text, "\"shop (2)\":{\"appId\":2,"));
}

static void an_app_without_a_release_has_a_null_commit_and_no_services(void **state)
{
	const char *text;

	(void)state;
	device_apps[1].commit = NULL;
	text = written(view_applications, app_2, false);
	device_apps[1].commit = TEXT(COMMIT_NEW);
	assert_non_null(strstr(text, "\"commit\":null,\"services\":{},\"updateStatus\":\"done\""));
}

/* ---- /v2/locks ---- */

static char *blocking[] = {TEXT("main")};
static struct plan_wait locked_wait = {.kind = WAIT_LOCKED,
				       .app_id = 1,
				       .services = {blocking, 1, 1},
				       .action = "update",
				       .detail = TEXT("the lock of main")};
static struct lock_view one_lock = {.app_id = 1,
				    .service = TEXT("main"),
				    .path = TEXT("/tmp/balena-supervisor/services/1/main/updates.lock"),
				    .kind = LOCK_FILE,
				    .uid = 1000,
				    .since_ms = 1767323045678};

static void locks_tell_what_is_known_and_never_guess(void **state)
{
	(void)state;
	fake.locks = (struct lock_views){.v = &one_lock, .n = 1};
	fake.plan.waits = &locked_wait;
	fake.plan.n_waits = 1;
	fake.wait_since[0] = 1767323045999;
	assert_string_equal(
		written(view_locks, global, false),
		"{\"override\":false,\"locks\":[{\"appId\":1,\"appUuid\":\"uuid-shop\",\"serviceName\":\"main\","
		"\"path\":\"/tmp/balena-supervisor/services/1/main/updates.lock\",\"kind\":\"file\","
		"\"owner\":\"application\",\"uid\":1000,\"since\":\"2026-01-02T03:04:05.678Z\",\"ageMs\":322,"
		"\"pid\":null,\"command\":null,\"containerId\":null,\"reason\":null,\"stale\":null}],"
		"\"waiting\":[{\"appId\":1,\"appUuid\":\"uuid-shop\",\"serviceNames\":[\"main\"],"
		"\"since\":\"2026-01-02T03:04:05.999Z\",\"action\":\"update\"}]}");
	assert_string_equal(written(view_locks, app_2, false), "{\"override\":false,\"locks\":[],\"waiting\":[]}");
}

static void locks_tell_who_holds_them_when_that_is_known(void **state)
{
	struct lock_view lock = one_lock;

	(void)state;
	lock.pid = 1234;
	lock.command = TEXT("python3");
	lock.container_id = TEXT("c1main");
	lock.reason = TEXT("copying \"files\"");
	lock.stale = LOCK_STALE_NO;
	fake.locks = (struct lock_views){.v = &lock, .n = 1};
	fake.override = true;
	assert_string_equal(
		written(view_locks, global, false),
		"{\"override\":true,\"locks\":[{\"appId\":1,\"appUuid\":\"uuid-shop\",\"serviceName\":\"main\","
		"\"path\":\"/tmp/balena-supervisor/services/1/main/updates.lock\",\"kind\":\"file\","
		"\"owner\":\"application\",\"uid\":1000,\"since\":\"2026-01-02T03:04:05.678Z\",\"ageMs\":322,"
		"\"pid\":1234,\"command\":\"python3\",\"containerId\":\"c1main\",\"reason\":\"copying \\\"files\\\"\","
		"\"stale\":false}],\"waiting\":[]}");
}

static void a_lock_of_the_whole_app_has_no_service_and_a_stale_one_says_so(void **state)
{
	struct lock_view lock = one_lock;
	const char *text;

	(void)state;
	lock.service = NULL;
	lock.stale = LOCK_STALE_YES;
	fake.locks = (struct lock_views){.v = &lock, .n = 1};
	text = written(view_locks, global, false);
	assert_non_null(strstr(text, "\"serviceName\":null,"));
	assert_non_null(strstr(text, "\"pid\":null,\"command\":null,"));
	assert_non_null(strstr(text, "\"stale\":true}"));
}

static void a_lock_of_ours_says_so_and_a_clock_set_back_gives_no_negative_age(void **state)
{
	struct lock_view ours = one_lock;
	const char *text;

	(void)state;
	ours.ours = true;
	ours.since_ms = 1767323099000;
	fake.locks = (struct lock_views){.v = &ours, .n = 1};
	text = written(view_locks, global, false);
	assert_non_null(strstr(text, "\"owner\":\"supervisor\""));
	assert_non_null(strstr(text, "\"ageMs\":0,"));
}

/* ---- /v2/plan ---- */

static void a_plan_names_steps_with_their_changes_and_waits(void **state)
{
	struct field_change change = {TEXT("image"), TEXT("sha256:old"), TEXT("reg/main:2")};
	struct plan_step steps[] = {
		{.kind = STEP_STOP,
		 .app_id = 1,
		 .service = TEXT("main"),
		 .name = TEXT("main_110"),
		 .reason = TEXT("image changed"),
		 .changes = {&change, 1, 1},
		 .in_flight = true},
		{.kind = STEP_REMOVE_IMAGE, .image = TEXT("reg/gone:1"), .reason = TEXT("not used any more")},
	};
	struct plan_wait waits[] = {
		locked_wait, {.kind = WAIT_BACKOFF, .service = TEXT("web"), .app_id = 2, .detail = TEXT("later")}};

	(void)state;
	fake.plan.steps = steps;
	fake.plan.n_steps = 2;
	fake.plan.waits = waits;
	fake.plan.n_waits = 2;
	fake.seq = 7;
	fake.settled_seq = 6;
	fake.wait_since[0] = fake.wait_since[1] = 1767323045678;
	fake.wait_until[1] = 1767323045999;
	assert_string_equal(
		written(view_plan, global, false),
		"{\"seq\":7,\"settledSeq\":6,\"steps\":[{\"kind\":\"stop\",\"appId\":1,\"serviceName\":\"main\","
		"\"name\":\"main_110\",\"reason\":\"image changed\",\"changes\":[{\"field\":\"image\","
		"\"current\":\"sha256:old\",\"target\":\"reg/main:2\"}],\"inFlight\":true},"
		"{\"kind\":\"remove_image\",\"appId\":null,\"image\":\"reg/gone:1\",\"reason\":\"not used any more\","
		"\"inFlight\":false}],\"waits\":[{\"kind\":\"locked\",\"appId\":1,\"serviceName\":\"main\","
		"\"since\":\"2026-01-02T03:04:05.678Z\",\"detail\":\"the lock of main\"},{\"kind\":\"backoff\","
		"\"appId\":2,\"serviceName\":\"web\",\"since\":\"2026-01-02T03:04:05.678Z\","
		"\"until\":\"2026-01-02T03:04:05.999Z\",\"detail\":\"later\"}]}");
	assert_string_equal(written(view_plan, app_2, false),
			    "{\"seq\":7,\"settledSeq\":6,\"steps\":[],\"waits\":[{\"kind\":\"backoff\",\"appId\":2,"
			    "\"serviceName\":\"web\",\"since\":\"2026-01-02T03:04:05.678Z\","
			    "\"until\":\"2026-01-02T03:04:05.999Z\",\"detail\":\"later\"}]}");
}

static void a_look_at_the_source_is_something_to_wait_for(void **state)
{
	(void)state;
	fake.looking_since = 1767323045678;
	assert_non_null(strstr(written(view_plan, app_2, false),
			       "\"waits\":[{\"kind\":\"operation\",\"since\":\"2026-01-02T03:04:05.678Z\","
			       "\"detail\":\"looking for a new target\"}]"));
}

static void waits_of_no_app_reach_a_service_key_only_when_the_whole_device_waits(void **state)
{
	struct plan_wait waits[] = {{.kind = WAIT_ENGINE, .detail = TEXT("the engine")},
				    {.kind = WAIT_BACKOFF, .detail = TEXT("removing reg/secret:1")}};
	const char *text;

	(void)state;
	fake.plan.waits = waits;
	fake.plan.n_waits = 2;
	text = written(view_plan, app_2, false);
	assert_non_null(strstr(text, "the engine"));
	assert_null(strstr(text, "secret"));
	assert_non_null(strstr(written(view_plan, global, false), "secret"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(status_shows_the_lowest_app_whatever_the_engine_lists_first),
		TEST(status_with_a_service_key_shows_its_app),
		TEST(status_of_all_apps_shows_every_app_a_key_covers),
		TEST(a_pull_shows_as_downloading_with_its_percentage),
		TEST(our_own_step_overlays_the_state_of_the_container),
		TEST(a_step_on_another_container_of_the_service_does_not_overlay),
		TEST(applied_means_that_every_app_has_settled),
		TEST(without_the_engine_the_last_known_state_is_shown_as_applying),
		TEST(when_nothing_was_ever_known_the_lists_are_empty),
		TEST(a_foreign_app_is_listed_and_never_the_one_shown),
		TEST(the_supervisor_itself_is_shown_as_such_and_never_the_one_shown),
		TEST(what_the_target_leaves_to_the_host_is_reported_as_running),
		TEST(a_target_problem_is_quoted_to_the_global_key_only),
		TEST(applications_show_the_services_of_the_target_release_only),
		TEST(an_image_without_its_container_is_downloaded_then_installing),
		TEST(two_apps_of_one_name_do_not_hide_each_other),
		TEST(an_app_without_a_release_has_a_null_commit_and_no_services),
		TEST(locks_tell_what_is_known_and_never_guess),
		TEST(locks_tell_who_holds_them_when_that_is_known),
		TEST(a_lock_of_the_whole_app_has_no_service_and_a_stale_one_says_so),
		TEST(a_lock_of_ours_says_so_and_a_clock_set_back_gives_no_negative_age),
		TEST(a_plan_names_steps_with_their_changes_and_waits),
		TEST(a_look_at_the_source_is_something_to_wait_for),
		TEST(waits_of_no_app_reach_a_service_key_only_when_the_whole_device_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
