/* What differs between two compositions: exactly the field that was changed, and nothing the engine decides. */
#include "model_fixture.h"

static struct service_config config_of(const char *composition)
{
	AUTO_FREE char *text = fixture_composition(composition);
	struct target *t = fixture_target(text);
	struct device_facts facts = fixture_facts();
	struct service_config c;

	service_resolve(t, &t->apps[0], &t->apps[0].services[0], NULL, &facts, "old", &c);
	target_free(t);
	return c;
}

static void check(const char *current, const char *target, const char *field, const char *from, const char *to)
{
	struct service_config c = config_of(current), t = config_of(target);
	struct field_changes changes = {0};

	assert_int_equal(service_config_diff(&c, &t, &changes), field == NULL);
	assert_int_equal(service_config_diff(&c, &t, NULL), field == NULL);
	if (changes.n != (field ? 1 : 0) ||
	    (field && (!str_eq(changes.v[0].field, field) || !str_eq(changes.v[0].current, from) ||
		       !str_eq(changes.v[0].target, to))))
		fail_msg("%s -> %s: %zu changes: %s: %s | %s", current, target, changes.n,
			 changes.n ? changes.v[0].field : NULL, changes.n ? changes.v[0].current : NULL,
			 changes.n ? changes.v[0].target : NULL);
	field_changes_deinit(&changes);
	service_config_deinit(&c);
	service_config_deinit(&t);
}

static void a_changed_field_is_named_with_both_values(void **state)
{
	static const struct {
		const char *current, *target, *field, *from, *to;
	} rows[] = {
		{"{\"command\":\"a b\"}", "{\"command\":\"'a b'\"}", "command", "[\"a\",\"b\"]", "[\"a b\"]"},
		{"{}", "{\"entrypoint\":\"x\"}", "entrypoint", "[]", "[\"x\"]"},
		{"{}", "{\"environment\":{\"FOO\":\"1\"}}", "environment.FOO", NULL, "1"},
		{"{\"environment\":[\"FOO=1\"]}", "{}", "environment.FOO", "1", NULL},
		{"{\"environment\":[\"X_API_KEY=a\"]}", "{\"environment\":[\"X_API_KEY=b\"]}", "environment.X_API_KEY",
		 "(secret)", "(secret)"},
		{"{}", "{\"labels\":{\"a\":\"\"}}", "labels.a", NULL, ""},
		{"{\"restart\":\"no\"}", "{\"restart\":\"on-failure:3\"}", "restart", "no", "on-failure:3"},
		{"{\"restart\":\"on-failure:2\"}", "{\"restart\":\"on-failure:3\"}", "restart", "on-failure:2",
		 "on-failure:3"},
		{"{}", "{\"ports\":[\"[::1]:80:81\"]}", "ports", "[]", "[\"[::1]:80:81/tcp\"]"},
		{"{}", "{\"privileged\":true}", "privileged", "false", "true"},
		{"{}", "{\"tty\":false}", "tty", "true", "false"},
		{"{}", "{\"stop_grace_period\":\"1m\"}", "stop_grace_period", "10 s", "60 s"},
		{"{\"stop_grace_period\":\"0\"}", "{}", "stop_grace_period", "0 s", "10 s"},
		{"{}", "{\"hostname\":\"x\"}", "hostname", NULL, "x"},
		{"{}", "{\"user\":0}", "user", NULL, "0"},
		{"{\"working_dir\":\"/a/\"}", "{\"working_dir\":\"/b\"}", "working_dir", "/a", "/b"},
		{"{\"networks\":[\"front\",\"back\"]}", "{\"networks\":[\"front\"]}", "networks.cafe_back",
		 "aliases [\"main\"]", NULL},
		{"{\"networks\":[\"front\"]}", "{\"networks\":{\"front\":{\"aliases\":[\"x\"]}}}",
		 "networks.cafe_front", "aliases [\"main\"]", "aliases [\"main\",\"x\"]"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(rows[i].current, rows[i].target, rows[i].field, rows[i].from, rows[i].to);
}

static void volumes_differ_by_what_they_are(void **state)
{
	static const char *const targets[] = {
		"{\"volumes\":[\"vol:/x:ro\"]}",
		"{\"volumes\":[\"db:/x\"]}",
		"{\"volumes\":[\"vol:/x\",\"/anon\"]}",
		"{\"volumes\":[{\"type\":\"volume\",\"source\":\"vol\",\"target\":\"/x\"}]}",
		"{}",
	};
	struct service_config c = config_of("{\"volumes\":[\"vol:/x\"]}");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		struct service_config t = config_of(targets[i]);
		struct field_changes changes = {0};

		assert_false(service_config_diff(&c, &t, &changes));
		assert_int_equal(changes.n, 1);
		assert_string_equal(changes.v[0].field, "volumes");
		field_changes_deinit(&changes);
		service_config_deinit(&t);
	}
	service_config_deinit(&c);
}

static void what_only_looks_different_is_equal(void **state)
{
	static const struct {
		const char *current, *target;
	} rows[] = {
		{"{\"ports\":[\"80-82\"]}", "{\"ports\":[\"82\",\"80-81\"]}"},
		{"{\"volumes\":[\"vol:/x\",\"db:/y\"]}", "{\"volumes\":[\"db:/y:rw\",\"vol:/x\"]}"},
		{"{\"volumes\":[{\"type\":\"volume\",\"source\":\"vol\",\"target\":\"/x\",\"read_only\":false}]}",
		 "{\"volumes\":[{\"type\":\"volume\",\"source\":\"vol\",\"target\":\"/x\",\"volume\":{}}]}"},
		{"{\"networks\":[\"front\",\"back\"]}", "{\"networks\":[\"back\",\"front\"]}"},
		{"{\"networks\":{\"front\":{\"aliases\":[\"a\",\"b\"]}}}",
		 "{\"networks\":{\"front\":{\"aliases\":[\"b\"]}}}"},
		{"{\"restart\":false}", "{\"restart\":\" NO \"}"},
		{"{\"command\":[]}", "{\"command\":\"\"}"},
		{"{\"working_dir\":\"/a/b/..\"}", "{\"workingDir\":\"/a\"}"},
		{"{}", "{\"stop_grace_period\":10}"},
		{"{\"stop_grace_period\":\"1m30s\"}", "{\"stopGracePeriod\":\"90.9s\"}"},
		{"{\"environment\":[\"A=1\"]}", "{\"environment\":{\"A\":1}}"},
		{"{\"depends_on\":[]}", "{}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(rows[i].current, rows[i].target, NULL, NULL, NULL);
}

static void a_network_somebody_else_joined_does_not_count(void **state)
{
	struct service_config c = config_of("{}"), t = config_of("{}");

	(void)state;
	c.networks[0].name[0] = 'x'; /* not of the app any more, and the app's is missing */
	assert_false(service_config_diff(&c, &t, NULL));
	t.n_networks = 0;
	free(c.network_mode);
	c.network_mode = mem_strdup(t.network_mode);
	assert_true(service_config_diff(&c, &t, NULL));
	t.n_networks = 1;
	service_config_deinit(&c);
	service_config_deinit(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_changed_field_is_named_with_both_values),
		cmocka_unit_test(volumes_differ_by_what_they_are),
		cmocka_unit_test(what_only_looks_different_is_equal),
		cmocka_unit_test(a_network_somebody_else_joined_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
