/*
 * What we assume about the engine, asked of a real one: every typed call, a real pull from a real registry, and events
 * across a crash. One dockerd serves the whole program; networks are config-only, so that nothing outside is touched.
 */
#include "check.h"
#include "private_engine.h"

#include "engine/engine.h"
#include "util/buf.h"
#include "util/str.h"

static struct private_engine real;
static char registry_port[16];

struct client {
	struct check_fixture *f;
	struct engine *engine;
	bool stopped;
	/* the last answer */
	bool answered, failed;
	struct err err;
	char id[80], text[1024];
	size_t n;
	enum container_state state;
	/* progress and events */
	int percent, progresses, ups, losts;
	char events[65536];
};

static void take(struct client *c, const struct err *err)
{
	c->answered = true;
	c->failed = err != NULL;
	c->err = err ? *err : (struct err){0};
}

static void on_done(void *ctx, const struct err *err)
{
	take(ctx, err);
}

static void on_id(void *ctx, const struct err *err, const char *id)
{
	struct client *c = ctx;

	take(c, err);
	snprintf(c->id, sizeof(c->id), "%s", id ? id : "");
}

static void on_version(void *ctx, const struct err *err, const struct engine_version *v)
{
	struct client *c = ctx;

	take(c, err);
	snprintf(c->text, sizeof(c->text), "%s", v ? v->api : "");
}

static void on_container(void *ctx, const struct err *err, struct container *v)
{
	struct client *c = ctx;

	take(c, err);
	snprintf(c->text, sizeof(c->text), "%s", v ? v->name : "");
	if (v)
		c->state = v->state;
}

static void on_containers(void *ctx, const struct err *err, struct container *v, size_t n)
{
	struct client *c = ctx;

	take(c, err);
	c->n = n;
	c->text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(c->text + strlen(c->text), 256, "%s ", v[i].service);
}

static void on_networks(void *ctx, const struct err *err, struct network *v, size_t n)
{
	struct client *c = ctx;

	take(c, err);
	c->text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(c->text + strlen(c->text), 256, "%s ", v[i].name);
}

static void on_volumes(void *ctx, const struct err *err, struct volume *v, size_t n)
{
	struct client *c = ctx;

	take(c, err);
	c->text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		if (v[i].supervised)
			snprintf(c->text + strlen(c->text), 256, "%s ", v[i].name);
}

static void on_images(void *ctx, const struct err *err, struct image *v, size_t n)
{
	struct client *c = ctx;
	struct strv tags = {0};

	take(c, err);
	for (size_t i = 0; i < n; i++)
		for (size_t t = 0; t < v[i].tags.n; t++)
			strv_add(&tags, v[i].tags.v[t]);
	strv_sort(&tags);
	c->text[0] = '\0';
	for (size_t t = 0; t < tags.n; t++)
		snprintf(c->text + strlen(c->text), 256, "%s ", tags.v[t]);
	strv_deinit(&tags);
}

static void on_image(void *ctx, const struct err *err, struct image *i)
{
	struct client *c = ctx;

	take(c, err);
	c->text[0] = '\0';
	for (size_t t = 0; i && t < i->tags.n; t++)
		snprintf(c->text + strlen(c->text), 256, "%s ", i->tags.v[t]);
}

static void on_kills(void *ctx, const struct err *err, const struct engine_kill *v, size_t n)
{
	struct client *c = ctx;

	take(c, err);
	c->n = 0;
	for (size_t i = 0; i < n; i++)
		c->n += str_eq(v[i].id, c->id) && v[i].at_ms > 0;
}

static void on_progress(void *ctx, int percent)
{
	struct client *c = ctx;

	assert_true(percent > c->percent && percent <= 100);
	c->percent = percent;
	c->progresses++;
}

static void on_up(void *ctx, const struct engine_version *v)
{
	struct client *c = ctx;

	assert_string_equal(v->api, "1.41");
	c->ups++;
}

static void on_lost(void *ctx, const struct err *why)
{
	struct client *c = ctx;

	assert_int_equal(why->code, -EHOSTDOWN);
	c->losts++;
}

static void on_event(void *ctx, const struct engine_event *ev)
{
	static const char *const types[] = {"container", "image", "network", "volume"};
	struct client *c = ctx;

	assert_true(ev->time_ms > INT64_C(1700000000000));
	snprintf(c->events + strlen(c->events), 512, "%s %s %s\n", types[ev->type], ev->action, ev->name);
}

/* Wait for the answer of the call before; it must be success. */
static void succeeds(struct client *c)
{
	RUN_UNTIL(c->f->loop, c->answered);
	c->answered = false;
	if (c->failed)
		fail_msg("%s", c->err.msg);
}

/* ... must be this error, with this in its sentence. */
static void fails(struct client *c, int code, const char *part)
{
	RUN_UNTIL(c->f->loop, c->answered);
	c->answered = false;
	assert_true(c->failed);
	if (c->err.code != code || !strstr(c->err.msg, part))
		fail_msg("%d: %s", c->err.code, c->err.msg);
}

static void on_stopped(void *ctx)
{
	((struct client *)ctx)->stopped = true;
}

static int setup(void **state)
{
	struct client *c = calloc(1, sizeof(*c));

	check_setup((void **)&c->f);
	c->engine = engine_new(c->f->loop, real.socket);
	c->percent = -1;
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct client *c = *state;
	void *f = c->f;

	engine_stop(c->engine, on_stopped, c);
	RUN_UNTIL(c->f->loop, c->stopped);
	check_run_turns(c->f->loop, 3);
	free(c);
	return check_teardown(&f);
}

static struct buf *body_of(const char *text)
{
	static struct buf b;

	buf_deinit(&b);
	buf_init(&b, 4096);
	buf_adds(&b, text);
	return &b;
}

#define OURS                                                                                                           \
	"\"io.balena.supervised\":\"true\",\"io.balena.app-id\":\"1\",\"io.balena.service-id\":\"3\","                 \
	"\"io.balena.app-uuid\":\"aa\""

static void create(struct client *c, const char *name, const char *command, const char *labels)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"Image\":\"lk/bb:1\",\"Cmd\":[%s],\"StopSignal\":\"SIGKILL\",\"Labels\":{%s},\"HostConfig\":{"
		 "\"NetworkMode\":\"none\"}}",
		 command, labels);
	engine_container_create(c->engine, name, body_of(text), on_id, c);
}

static void remove_container(struct client *c, const char *id)
{
	engine_container_remove(c->engine, id, true, on_done, c);
	succeeds(c);
}

/* -------- the tests -------- */

static void the_engine_agrees_on_a_version(void **state)
{
	struct client *c = *state;

	engine_negotiate(c->engine, on_version, c);
	succeeds(c);
	assert_string_equal(c->text, "1.41");
	engine_images_list(c->engine, on_images, c); /* and understands its prefix */
	succeeds(c);
	assert_string_equal(c->text, "lk/bb:1 ");
}

static void a_container_lives_from_create_to_remove(void **state)
{
	struct client *c = *state;
	int64_t before = loop_wall_ms();

	create(c, "main_1_2_abcdef", "\"sleep\",\"1000\"", OURS ",\"io.balena.service-name\":\"main\"");
	succeeds(c);
	assert_int_equal(strlen(c->id), 64);
	engine_container_inspect(c->engine, c->id, on_container, c);
	succeeds(c);
	assert_string_equal(c->text, "main_1_2_abcdef");
	assert_int_equal(c->state, CONTAINER_CREATED);
	engine_container_stop(c->engine, c->id, 10, on_done, c); /* 304: it never ran */
	succeeds(c);
	engine_container_start(c->engine, c->id, on_done, c);
	succeeds(c);
	engine_container_start(c->engine, c->id, on_done, c); /* 304 */
	succeeds(c);
	engine_container_inspect(c->engine, c->id, on_container, c);
	succeeds(c);
	assert_int_equal(c->state, CONTAINER_RUNNING);
	engine_container_remove(c->engine, c->id, false, on_done, c);
	fails(c, -EBUSY, "You cannot remove a running container");
	engine_container_rename(c->engine, c->id, "old_main_1_2_abcdef", on_done, c);
	succeeds(c);
	engine_container_stop(c->engine, c->id, 10, on_done, c);
	succeeds(c);
	engine_container_stop(c->engine, c->id, 10, on_done, c); /* 304 */
	succeeds(c);
	engine_container_inspect(c->engine, c->id, on_container, c);
	succeeds(c);
	assert_int_equal(c->state, CONTAINER_EXITED);
	assert_string_equal(c->text, "old_main_1_2_abcdef");
	engine_kills_since(c->engine, before, on_kills, c);
	succeeds(c);
	assert_true(c->n > 0);
	engine_kills_since(c->engine, loop_wall_ms() + 1, on_kills, c);
	succeeds(c);
	assert_int_equal(c->n, 0);
	engine_container_remove(c->engine, c->id, false, on_done, c);
	succeeds(c);
	engine_container_remove(c->engine, c->id, false, on_done, c); /* 404 */
	succeeds(c);
	engine_container_stop(c->engine, c->id, 10, on_done, c); /* 404 */
	succeeds(c);
	engine_container_start(c->engine, c->id, on_done, c);
	fails(c, -ENOENT, "No such container");
	engine_container_inspect(c->engine, c->id, on_container, c);
	fails(c, -ENOENT, "No such container");
}

static void conflicts_and_missing_things_have_their_codes(void **state)
{
	struct client *c = *state;
	char first[80], second[80];

	create(c, "taken", "\"true\"", "");
	succeeds(c);
	snprintf(first, sizeof(first), "%s", c->id);
	create(c, "taken", "\"true\"", "");
	fails(c, -EEXIST, "is already in use by container");
	create(c, "other", "\"true\"", "");
	succeeds(c);
	snprintf(second, sizeof(second), "%s", c->id);
	engine_container_rename(c->engine, c->id, "taken", on_done, c);
	fails(c, -EEXIST, "is already in use by container");
	engine_container_rename(c->engine, second, "no/good name", on_done, c);
	RUN_UNTIL(c->f->loop, c->answered);
	c->answered = false;
	assert_true(c->failed && strstr(c->err.msg, "Invalid container name"));
	engine_container_create(c->engine, "x", body_of("{\"Image\":\"lk/none:1\"}"), on_id, c);
	fails(c, -ENOENT, "No such image");
	engine_container_create(c->engine, "x", body_of("{\"Image\":\"lk/bb:1\"}"), on_id, c);
	fails(c, -EINVAL, "create container x: No command specified");
	remove_container(c, second);
	remove_container(c, first);
	create(c, "bad", "\"/no/such/program\"", "");
	succeeds(c);
	snprintf(first, sizeof(first), "%s", c->id);
	engine_container_start(c->engine, first, on_done, c);
	RUN_UNTIL(c->f->loop, c->answered);
	c->answered = false;
	assert_true(c->failed && strstr(c->err.msg, "/no/such/program"));
	remove_container(c, first);
}

static void supervised_containers_of_both_labels_are_listed(void **state)
{
	struct client *c = *state;
	char ids[14][80];

	create(c, "foreign", "\"true\"", "");
	succeeds(c);
	strcpy(ids[0], c->id);
	create(c, "malformed", "\"true\"", "\"io.balena.supervised\":\"true\"");
	succeeds(c);
	strcpy(ids[1], c->id);
	create(c, "resin_1_2_ab", "\"true\"",
	       "\"io.resin.supervised\":\"true\",\"io.resin.app-id\":\"1\",\"io.resin.service-id\":\"3\","
	       "\"io.resin.service-name\":\"resin\",\"io.resin.app-uuid\":\"aa\"");
	succeeds(c);
	strcpy(ids[2], c->id);
	for (int i = 3; i < 14; i++) {
		char name[40], labels[400];

		snprintf(name, sizeof(name), "s%d_1_2_ab", i);
		snprintf(labels, sizeof(labels),
			 OURS ",\"io.resin.supervised\":\"1\",\"io.balena.service-name\":\"s%d\"", i);
		create(c, name, "\"true\"", labels);
		succeeds(c);
		strcpy(ids[i], c->id);
	}
	engine_containers_list(c->engine, on_containers, c);
	succeeds(c);
	if (c->n != 12)
		fail_msg("%zu: %s", c->n, c->text);
	assert_non_null(strstr(c->text, "resin "));
	assert_non_null(strstr(c->text, "s13 "));
	for (int i = 0; i < 14; i++)
		remove_container(c, ids[i]);
	engine_containers_list(c->engine, on_containers, c);
	succeeds(c);
	assert_int_equal(c->n, 0);
}

static void networks_are_created_listed_and_removed(void **state)
{
	static const char *const body =
		"{\"Name\":\"aa_default\",\"CheckDuplicate\":true,\"ConfigOnly\":true,\"Driver\":"
		"\"bridge\",\"Labels\":{\"io.balena.supervised\":\"true\",\"io.balena.app-id\":\"1\"}}";
	struct client *c = *state;

	engine_network_create(c->engine, body_of(body), on_done, c);
	succeeds(c);
	engine_network_create(c->engine, body_of(body), on_done, c);
	fails(c, -EEXIST, "network with name aa_default already exists");
	engine_network_create(c->engine, body_of("{\"Name\":\"foreign\",\"ConfigOnly\":true}"), on_done, c);
	succeeds(c);
	engine_networks_list(c->engine, on_networks, c);
	succeeds(c);
	assert_string_equal(c->text, "aa_default ");
	engine_network_connect(c->engine, "no network", body_of("{\"Container\":\"x\"}"), on_done, c);
	fails(c, -ENOENT, "connect to network no network: No such container: x");
	engine_network_remove(c->engine, "foreign", on_done, c);
	succeeds(c);
	engine_network_remove(c->engine, "aa_default", on_done, c);
	succeeds(c);
	engine_network_remove(c->engine, "aa_default", on_done, c); /* 404 */
	succeeds(c);
	engine_networks_list(c->engine, on_networks, c);
	succeeds(c);
	assert_string_equal(c->text, "");
}

static void volumes_are_created_listed_and_removed(void **state)
{
	struct client *c = *state;
	char text[400];

	engine_volumes_list(c->engine, on_volumes, c);
	succeeds(c);
	assert_string_equal(c->text, "");
	engine_volume_create(c->engine, body_of("{\"Name\":\"1_data\",\"Labels\":{\"io.balena.supervised\":\"true\"}}"),
			     on_done, c);
	succeeds(c);
	engine_volumes_list(c->engine, on_volumes, c);
	succeeds(c);
	assert_string_equal(c->text, "1_data ");
	snprintf(text, sizeof(text),
		 "{\"Image\":\"lk/bb:1\",\"Cmd\":[\"true\"],\"HostConfig\":{\"Binds\":[\"1_data:/d\"]}}");
	engine_container_create(c->engine, "user", body_of(text), on_id, c);
	succeeds(c);
	engine_volume_remove(c->engine, "1_data", on_done, c);
	fails(c, -EBUSY, "volume is in use");
	remove_container(c, c->id);
	engine_volume_remove(c->engine, "1_data", on_done, c);
	succeeds(c);
	engine_volume_remove(c->engine, "1_data", on_done, c); /* 404 */
	succeeds(c);
	engine_volume_create(c->engine, body_of("{\"Name\":\"no/good\"}"), on_done, c);
	RUN_UNTIL(c->f->loop, c->answered);
	assert_true(c->failed && strstr(c->err.msg, "includes invalid characters"));
}

static void an_image_is_pulled_inspected_and_removed(void **state)
{
	struct client *c = *state;
	char ref[64];

	snprintf(ref, sizeof(ref), "127.0.0.1:%s/a/bb:1", registry_port);
	engine_image_inspect(c->engine, ref, on_image, c);
	fails(c, -ENOENT, "No such image");
	engine_image_pull(c->engine, ref, NULL, on_progress, on_done, c);
	succeeds(c);
	assert_int_equal(c->percent, 100);
	assert_true(c->progresses > 1);
	engine_image_inspect(c->engine, ref, on_image, c);
	succeeds(c);
	assert_non_null(strstr(c->text, ref));
	c->percent = -1;
	engine_image_pull(c->engine, ref, NULL, on_progress, on_done, c); /* up to date */
	succeeds(c);
	assert_int_equal(c->percent, 100);
	engine_image_remove(c->engine, ref, on_done, c);
	succeeds(c);
	engine_image_remove(c->engine, ref, on_done, c); /* 404 */
	succeeds(c);
}

static void a_pull_that_fails_says_why(void **state)
{
	struct client *c = *state;
	char ref[64];

	snprintf(ref, sizeof(ref), "127.0.0.1:%s/a/bb:none", registry_port);
	engine_image_pull(c->engine, ref, NULL, NULL, on_done, c);
	fails(c, -ENOENT, "manifest unknown");
	snprintf(ref, sizeof(ref), "127.0.0.1:%s/nobody/here:1", registry_port);
	engine_image_pull(c->engine, ref, NULL, NULL, on_done, c);
	fails(c, -ENOENT, "not found");
	engine_image_pull(c->engine, "127.0.0.1:1/a:1", NULL, NULL, on_done, c);
	fails(c, -EIO, "connection refused");
}

static void events_come_and_a_crash_of_the_engine_is_survived(void **state)
{
	struct client *c = *state;
	const struct engine_watch w = {.up = on_up, .lost = on_lost, .event = on_event, .ctx = c};

	engine_watch_start(c->engine, &w);
	RUN_UNTIL(c->f->loop, c->ups == 1); /* with no event yet: the engine sends the head at once */
	create(c, "main_1_2_ab", "\"sleep\",\"1000\"", "");
	succeeds(c);
	engine_container_start(c->engine, c->id, on_done, c);
	succeeds(c);
	RUN_UNTIL(c->f->loop, strstr(c->events, "container start main_1_2_ab\n"));
	engine_container_stop(c->engine, c->id, 10, on_done, c);
	succeeds(c);
	RUN_UNTIL(c->f->loop, strstr(c->events, "container stop main_1_2_ab\n"));
	assert_non_null(strstr(c->events, "container create main_1_2_ab\n"));
	assert_non_null(strstr(c->events, "container kill main_1_2_ab\n"));
	assert_non_null(strstr(c->events, "container die main_1_2_ab\n"));

	assert_string_equal(private_engine_do(&real, "kill"), "stopped");
	RUN_UNTIL(c->f->loop, c->losts == 1);
	engine_container_start(c->engine, c->id, on_done, c);
	fails(c, -EHOSTDOWN, "the engine is away: connect");
	assert_string_equal(private_engine_do(&real, "start"), "ready");
	RUN_UNTIL(c->f->loop, c->ups == 2); /* a new socket file */
	assert_int_equal(c->losts, 1);
	remove_container(c, c->id);
	RUN_UNTIL(c->f->loop, strstr(c->events, "container destroy main_1_2_ab\n"));

	assert_string_equal(private_engine_do(&real, "stop"), "stopped");
	RUN_UNTIL(c->f->loop, c->losts == 2);
	assert_string_equal(private_engine_do(&real, "start"), "ready");
	RUN_UNTIL(c->f->loop, c->ups == 3);
}

static int start_engine(void **state)
{
	(void)state;
	if (!private_engine_start(&real))
		return -1;
	assert_string_equal(private_engine_do(&real, "import lk/bb:1"), "done");
	assert_true(str_starts(private_engine_do(&real, "registry"), "registry "));
	snprintf(registry_port, sizeof(registry_port), "%.5s", real.reply + strlen("registry "));
	/* another image than lk/bb:1, so that its layer is really pulled */
	assert_string_equal(private_engine_do(&real, "import 127.0.0.1:%s/a/bb:1", registry_port), "done");
	assert_string_equal(private_engine_do(&real, "docker push 127.0.0.1:%s/a/bb:1", registry_port), "done");
	assert_string_equal(private_engine_do(&real, "docker rmi 127.0.0.1:%s/a/bb:1", registry_port), "done");
	return 0;
}

static int end_engine(void **state)
{
	(void)state;
	buf_deinit(body_of(""));
	private_engine_end(&real);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_engine_agrees_on_a_version),
		TEST(a_container_lives_from_create_to_remove),
		TEST(conflicts_and_missing_things_have_their_codes),
		TEST(supervised_containers_of_both_labels_are_listed),
		TEST(networks_are_created_listed_and_removed),
		TEST(volumes_are_created_listed_and_removed),
		TEST(an_image_is_pulled_inspected_and_removed),
		TEST(a_pull_that_fails_says_why),
		TEST(events_come_and_a_crash_of_the_engine_is_survived),
	};

	if (!private_engine_possible())
		return 77; /* skipped */
	return cmocka_run_group_tests(tests, start_engine, end_engine);
}
