/* What a service is to run as: document, then what the device gives, then the image (spec engine.md 1.4, 1.5b, 1.9). */
#include "model_fixture.h"

static struct service_config resolve(const char *text, const struct image *image, const char *api_key)
{
	struct target *t = fixture_target(text);
	struct device_facts facts = fixture_facts();
	struct service_config c;

	service_resolve(t, &t->apps[0], &t->apps[0].services[0], image, &facts, api_key, &c);
	target_free(t);
	return c;
}

static struct service_config resolve_composition(const char *composition, const struct image *image)
{
	AUTO_FREE char *text = fixture_composition(composition);

	return resolve(text, image, "key");
}

static void the_environment_is_injected_twice_and_the_document_wins(void **state)
{
	static const struct {
		const char *key, *value;
	} rows[] = {
		{"BALENA", "1"},
		{"RESIN", "1"},
		{"USER", "root"},
		{"BALENA_APP_ID", "7"},
		{"RESIN_APP_ID", "7"},
		{"BALENA_APP_UUID", "cafe"},
		{"RESIN_APP_NAME", "mine"},
		{"BALENA_APP_NAME", "my app"},
		{"BALENA_SERVICE_NAME", "main"},
		{"RESIN_DEVICE_UUID", "devuuid"},
		{"BALENA_DEVICE_TYPE", "qemux86-64"},
		{"BALENA_DEVICE_ARCH", "amd64"},
		{"RESIN_HOST_OS_VERSION", "balenaOS 5"},
		{"RESIN_APP_LOCK_PATH", "/tmp/balena/updates.lock"},
		{"RESIN_SERVICE_KILL_ME_PATH", "/tmp/balena/handover-complete"},
		{"BALENA_SERVICE_HANDOVER_COMPLETE_PATH", "/tmp/balena/handover-complete"},
		{"BALENA_SERVICE_KILL_ME_PATH", NULL},
		{"RESIN_SERVICE_HANDOVER_COMPLETE_PATH", NULL},
		{"BALENA_DEVICE_NAME_AT_INIT", NULL},
		{"BALENA_SUPERVISOR_PORT", NULL},
		{"FOO", "doc"},
		{"BAR", "b=c"},
		{"N", "5"},
		{"Z", NULL},
	};
	struct image image = fixture_image("image-rich");
	struct service_config c = resolve_composition(
		"{\"environment\":{\"FOO\":\"doc\",\"RESIN_APP_NAME\":\"mine\",\"N\":5,\"Z\":null}}", &image);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!str_eq(strmap_get(&c.env, rows[i].key), rows[i].value))
			fail_msg("%s: %s", rows[i].key, strmap_get(&c.env, rows[i].key));
	for (size_t i = 1; i < c.env.n; i++)
		assert_true(strcmp(c.env.v[i - 1].key, c.env.v[i].key) < 0);
	service_config_deinit(&c);
	image_deinit(&image);
}

static void labels_are_forced_then_filled_from_the_image_under_their_new_names(void **state)
{
	struct image image = fixture_image("image-rich");
	struct service_config c = resolve_composition(
		"{\"labels\":{\"io.resin.a.resin-b\":\"1\",\"io.balena.app-id\":\"9\",\"plainl\":\"doc\"}}", &image);

	(void)state;
	assert_string_equal(strmap_get(&c.labels, "io.balena.a.balena-b"), "1");
	assert_string_equal(strmap_get(&c.labels, "io.balena.app-id"), "7");
	assert_string_equal(strmap_get(&c.labels, "io.balena.service-id"), "3");
	assert_string_equal(strmap_get(&c.labels, "io.balena.service-name"), "main");
	assert_string_equal(strmap_get(&c.labels, "io.balena.app-uuid"), "cafe");
	assert_string_equal(strmap_get(&c.labels, "io.balena.supervised"), "true");
	assert_string_equal(strmap_get(&c.labels, "io.balena.x"), "1");
	assert_string_equal(strmap_get(&c.labels, "plainl"), "doc");
	service_config_deinit(&c);
	image_deinit(&image);
}

static void commands_are_merged_as_the_engine_does(void **state)
{
	static const struct {
		const char *composition, *entrypoint, *command;
	} rows[] = {
		{"{}", "/bin/sh -c", "sleep 99"},
		{"{\"command\":\"x\"}", "/bin/sh -c", "x"},
		{"{\"command\":[]}", "/bin/sh -c", ""},
		{"{\"entrypoint\":\"y\"}", "y", "sleep 99"},
		{"{\"entrypoint\":\"\"}", "", "sleep 99"},
		{"{\"entrypoint\":[\"\"],\"command\":\"\"}", "", "sleep 99"},
		{"{\"entrypoint\":[],\"command\":\"x\"}", "", "x"},
	};
	struct image image = fixture_image("image-rich");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct service_config c = resolve_composition(rows[i].composition, &image);
		AUTO_FREE char *entrypoint = strv_join(&c.entrypoint, " "), *command = strv_join(&c.command, " ");

		assert_string_equal(entrypoint, rows[i].entrypoint);
		assert_string_equal(command, rows[i].command);
		service_config_deinit(&c);
	}
	image_deinit(&image);
}

static void names_are_prefixed_and_lock_directories_mounted(void **state)
{
	struct service_config c = resolve_composition("{\"networks\":{\"front\":{\"aliases\":[\"x\"],\"ipv4_address\":"
						      "\"1.2.3.4\"},\"back\":null},\"volumes\":[\"vol : /x:rw\"]}",
						      NULL);

	(void)state;
	assert_string_equal(c.image, "a/b:latest");
	assert_string_equal(c.network_mode, "cafe_front");
	assert_int_equal(c.n_networks, 2);
	assert_string_equal(c.networks[0].name, "cafe_back");
	assert_string_equal(c.networks[0].aliases.v[0], "main");
	assert_string_equal(c.networks[1].ipv4, "1.2.3.4");
	assert_int_equal(c.networks[1].aliases.n, 2);
	assert_int_equal(c.binds.n, 3);
	assert_string_equal(c.binds.v[0], "/tmp/dC/locks/7/main:/tmp/balena");
	assert_string_equal(c.binds.v[1], "/tmp/dC/locks/7/main:/tmp/resin");
	assert_string_equal(c.binds.v[2], "7_vol:/x");
	assert_true(c.tty);
	assert_string_equal(c.restart, "always");
	service_config_deinit(&c);
}

static void supervisor_api_is_told_where_it_is(void **state)
{
	static const struct {
		const char *mode, *host;
		size_t n_networks;
	} rows[] = {
		{"default", "10.114.104.1", 2},
		{"bridge", "10.114.104.1", 1},
		{"host", "127.0.0.1", 0},
		{"none", "127.0.0.1", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *composition =
			mem_printf("{\"network_mode\":\"%s\",\"environment\":{\"RESIN_SUPERVISOR_HOST\":\"x\"},"
				   "\"labels\":{\"io.resin.features.supervisor-api\":true}}",
				   rows[i].mode);
		AUTO_FREE char *address = mem_printf("http://%s:48484", rows[i].host);
		struct service_config c = resolve_composition(composition, NULL);

		assert_string_equal(strmap_get(&c.env, "RESIN_SUPERVISOR_HOST"), rows[i].host);
		assert_string_equal(strmap_get(&c.env, "BALENA_SUPERVISOR_ADDRESS"), address);
		assert_string_equal(strmap_get(&c.env, "BALENA_SUPERVISOR_PORT"), "48484");
		assert_string_equal(strmap_get(&c.env, "BALENA_SUPERVISOR_API_KEY"), "key");
		assert_int_equal(c.n_networks, rows[i].n_networks);
		service_config_deinit(&c);
	}
}

static void the_image_may_ask_for_the_api_and_the_document_refuse_it(void **state)
{
	static const struct {
		const char *composition;
		bool wants;
	} rows[] = {{"{}", true}, {"{\"labels\":{\"io.balena.features.supervisor-api\":\"0\"}}", false}};
	struct image image = {0};

	(void)state;
	strmap_set(&image.labels, "io.resin.features.supervisor-api", "on");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text = fixture_composition(rows[i].composition);
		struct target *t = fixture_target(text);

		assert_int_equal(service_wants_api(&t->apps[0].services[0], &image), rows[i].wants);
		assert_false(service_wants_api(&t->apps[0].services[0], NULL));
		target_free(t);
	}
	image_deinit(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_environment_is_injected_twice_and_the_document_wins),
		cmocka_unit_test(labels_are_forced_then_filled_from_the_image_under_their_new_names),
		cmocka_unit_test(commands_are_merged_as_the_engine_does),
		cmocka_unit_test(names_are_prefixed_and_lock_directories_mounted),
		cmocka_unit_test(supervisor_api_is_told_where_it_is),
		cmocka_unit_test(the_image_may_ask_for_the_api_and_the_document_refuse_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
