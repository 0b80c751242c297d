/*
 * What we asked a real engine for, read back: equal, for every form of a composition. data/target.json is the document,
 * data/container-<service>-<phase>.json what the engine (20.10) answered after creating and starting from our bodies.
 */
#include <errno.h>

#include "model_fixture.h"

static const char *const created[] = {
	"plain-plain", "none-plain", "all-rich",     "none-rich",     "host-rich", "hosth-rich",
	"bridge-rich", "ports-rich", "vols-rich",    "nets-rich",     "net1-rich", "six-rich",
	"res-rich",    "resno-rich", "unl-rich",     "misc-rich",     "api-rich",  "sec-rich",
	"ep-rich",     "plain-rich", "apihost-rich", "emptycmd-rich",
};
static const char *const started[] = {"host-rich", "api-rich", "nets-rich", "bridge-rich"};

static void check_equal(const struct target *t, const char *service, const char *phase)
{
	AUTO_FREE char *name = mem_printf("container-%s-%s", service, phase);
	struct device_facts facts = fixture_facts();
	struct image image = fixture_image(str_ends(service, "-plain") ? "image-plain" : "image-rich");
	struct container c = fixture_container(name);
	struct field_changes changes = {0};
	struct service_config want;

	assert_string_equal(c.service, service);
	assert_string_equal(c.app_uuid, "cafe01");
	assert_string_equal(c.commit, "deadbeef");
	assert_int_equal(c.app_id, 7);
	assert_int_equal(c.image_id, 11);
	assert_int_equal(c.release_id, 1);
	assert_int_equal(c.stop_timeout_s, 10);
	assert_true(c.created_ms > 0);
	service_resolve(t, &t->apps[0], target_app_find_service(&t->apps[0], service), &image, &facts, "secretkey",
			&want);
	if (!service_config_diff(&c.config, &want, &changes))
		fail_msg("%s: %s: %s, want %s", name, changes.v[0].field, changes.v[0].current, changes.v[0].target);
	assert_int_equal(changes.n, 0);
	service_config_deinit(&want);
	container_deinit(&c);
	image_deinit(&image);
}

static void a_container_made_from_our_body_reads_back_equal(void **state)
{
	AUTO_FREE char *text = fixture_text("target");
	struct target *t = fixture_target(text);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(created); i++)
		check_equal(t, created[i], "created");
	for (size_t i = 0; i < ARRAY_LEN(started); i++)
		check_equal(t, started[i], "started");
	target_free(t);
}

static struct container read_text(const char *text, int want)
{
	struct json *v = fixture_parse(text);
	struct container c;
	struct err err = {0};

	assert_int_equal(container_from_engine(v, &c, &err), want);
	json_free(v);
	return c;
}

#define LABELS(app, service)                                                                                           \
	"\"Labels\":{\"io.resin.supervised\":\"true\",\"io.balena.app-id\":\"" app                                     \
	"\",\"io.resin.service-id\":\"3\",\"io.balena.service-name\":\"" service "\"}"
#define CONTAINER(name, labels)                                                                                        \
	"{\"Id\":\"0123456789abcdef\",\"Name\":\"" name "\",\"Image\":\"sha256:1\",\"State\":{\"Status\":\"paused\","  \
	"\"Running\":true},\"HostConfig\":{},\"Config\":{\"Image\":\"x\"," labels "}}"

static void who_a_container_is_comes_from_labels_and_name(void **state)
{
	static const struct {
		const char *text, *service, *commit;
		int64_t image_id, release_id;
	} rows[] = {
		{CONTAINER("/web_11_1_beef", LABELS("7", "web")), "web", "beef", 11, 1},
		{CONTAINER("/old_web_11_1_beef", LABELS("7", "web")), "web", "beef", 11, 1},
		{CONTAINER("/web_11_1", LABELS("7", "web")), "web", NULL, 11, 1},
		{CONTAINER("/a_1_2_11_1_c_3_4", LABELS("7", "a_1_2")), "a_1_2", "c_3_4", 11, 1},
		{CONTAINER("/old_1_2_b", LABELS("7", "old")), "old", "b", 1, 2},
		{CONTAINER("/web_11_1_", LABELS("7", "web")), "web", NULL, 0, 0},
		{CONTAINER("/web_11_beef", LABELS("7", "web")), "web", NULL, 0, 0},
		{CONTAINER("/web_11_1beef", LABELS("7", "web")), "web", NULL, 0, 0},
		{CONTAINER("/other_11_1_beef", LABELS("7", "web")), "web", NULL, 0, 0},
		{CONTAINER("/mine", LABELS("7", "web")), "web", NULL, 0, 0},
		{CONTAINER("/", LABELS("7", "web")), "web", NULL, 0, 0},
		{CONTAINER("/web_11_1_beef", LABELS("x", "web")), NULL, NULL, 0, 0},
		{CONTAINER("/web_11_1_beef", LABELS("0", "web")), NULL, NULL, 0, 0},
		{CONTAINER("/web_11_1_beef", "\"Labels\":null"), NULL, NULL, 0, 0},
		{CONTAINER("/web_11_1_beef", "\"Labels\":{\"io.balena.app-id\":\"7\"}"), NULL, NULL, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct container c = read_text(rows[i].text, 0);

		assert_true(str_eq(c.service, rows[i].service));
		assert_true(str_eq(c.commit, rows[i].commit));
		assert_int_equal(c.image_id, rows[i].image_id);
		assert_int_equal(c.release_id, rows[i].release_id);
		assert_int_equal(c.state, CONTAINER_RUNNING);
		assert_string_equal(container_status(&c), "Running");
		assert_string_equal(c.state_text, "paused");
		container_deinit(&c);
	}
}

static void a_foreign_container_of_any_shape_is_not_an_error(void **state)
{
	struct container c;

	(void)state;
	c = read_text("{\"Id\":\"1\",\"Name\":\"/x\",\"State\":{\"Status\":\"dead\"},\"HostConfig\":{\"Binds\":5},"
		      "\"Config\":{}}",
		      0);
	assert_null(c.service);
	assert_string_equal(container_status(&c), "Dead");
	container_deinit(&c);
}

static void a_member_of_another_type_is_named(void **state)
{
	static const struct {
		const char *text, *msg;
	} rows[] = {
		{"{}", "Id: expected string, got null"},
		{"{\"Id\":\"1\"}", "State: expected object, got null"},
		{"{\"Id\":\"1\",\"State\":{\"ExitCode\":\"x\"}}", "State.ExitCode: expected an integer, got string"},
		{"{\"Id\":\"1\",\"State\":{},\"Config\":{\"Labels\":[]}}", "Config.Labels: expected object, got array"},
		{"{\"Id\":\"1\",\"Name\":\"/"
		 "web_1_1_c\",\"State\":{},\"HostConfig\":{\"Binds\":[5]},\"Config\":{" LABELS("7", "web") "}}",
		 "HostConfig.Binds[0]: expected string, got number"},
		{"{\"Id\":\"1\",\"Name\":\"/web_1_1_c\",\"State\":{},\"HostConfig\":{\"PortBindings\":{\"0/tcp\":[]}},"
		 "\"Config\":{" LABELS("7", "web") "}}",
		 "HostConfig.PortBindings: \"0/tcp\" is no port"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json *v = fixture_parse(rows[i].text);
		struct container c;
		struct err err = {0};

		assert_int_equal(container_from_engine(v, &c, &err), -EPROTO);
		assert_string_equal(err.msg, rows[i].msg);
		assert_null(c.id);
		json_free(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_container_made_from_our_body_reads_back_equal),
		cmocka_unit_test(who_a_container_is_comes_from_labels_and_name),
		cmocka_unit_test(a_foreign_container_of_any_shape_is_not_an_error),
		cmocka_unit_test(a_member_of_another_type_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
