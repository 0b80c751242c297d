/* Networks and volumes: what a real engine made of our bodies, what counts as a difference, whose they are. */
#include "model_fixture.h"

static struct network read_fixture(const char *name)
{
	struct json *v = fixture_json(name);
	struct network n;
	struct err err = {0};

	if (network_from_engine(v, &n, &err) < 0)
		fail_msg("%s", err.msg);
	json_free(v);
	return n;
}

static const struct target_network *find(const struct target *t, const char *key)
{
	for (size_t i = 0; i < t->apps[0].n_networks; i++)
		if (str_eq(t->apps[0].networks[i].key, key))
			return &t->apps[0].networks[i];
	fail_msg("no network %s", key);
	return NULL;
}

static void a_network_made_from_our_body_reads_back_equal(void **state)
{
	static const char *const keys[] = {"front", "back", "six", "default"};
	AUTO_FREE char *text = fixture_text("target");
	struct target *t = fixture_target(text);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		AUTO_FREE char *name = mem_printf("network-cafe01_%s", keys[i]);
		struct network n = read_fixture(name);
		struct field_changes changes = {0};

		assert_true(n.supervised);
		assert_string_equal(n.key, keys[i]);
		assert_string_equal(n.app_uuid, "cafe01");
		assert_int_equal(n.app_id, 7);
		assert_true(network_equal(&n, find(t, keys[i]), &changes));
		assert_int_equal(changes.n, 0);
		network_deinit(&n);
	}
	target_free(t);
}

static void a_difference_of_a_network_is_named(void **state)
{
	static const struct {
		const char *front, *field;
	} rows[] = {
		{"{\"ipam\":{\"config\":[{\"subnet\":\"172.30.8.0/24\"}]}}", "ipam.config"},
		{"{\"ipam\":{\"config\":[{\"subnet\":\"172.30.7.0/24\",\"aux_addresses\":{\"rt\":\"172.30.7.6\"}}]}}",
		 "ipam.config"},
		{"{}", "labels.io.balena.private.ipam.config"}, /* custom pools -> none */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *more = mem_printf(",\"networks\":{\"front\":%s}", rows[i].front);
		AUTO_FREE char *text = fixture_document("", more);
		struct target *t = fixture_target(text);
		struct network n = read_fixture("network-cafe01_front");
		struct field_changes changes = {0};

		assert_false(network_equal(&n, find(t, "front"), &changes));
		assert_int_equal(changes.n, 1);
		assert_string_equal(changes.v[0].field, rows[i].field);
		assert_false(network_equal(&n, find(t, "front"), NULL));
		field_changes_deinit(&changes);
		network_deinit(&n);
		target_free(t);
	}
}

static void the_supervisors_network_is_known_by_its_constants(void **state)
{
	struct network n = read_fixture("network-supervisor0");

	(void)state;
	assert_true(network_is_supervisor0(&n));
	assert_false(n.supervised);
	assert_null(n.key);
	n.spec.pools[0].gateway[0] = '9';
	assert_false(network_is_supervisor0(&n));
	network_deinit(&n);
}

static void the_default_network_is_for_configuration_only_if_all_services_use_the_hosts(void **state)
{
#define SERVICE(name, mode)                                                                                            \
	"\"" name "\":{\"image\":\"a\",\"environment\":{},\"labels\":{},\"composition\":{\"network_mode\":\"" mode     \
	"\"}}"
	static const struct {
		const char *services;
		bool config_only;
	} rows[] = {
		{"", false},
		{SERVICE("a", "host"), true},
		{SERVICE("a", "host") "," SERVICE("b", "none"), false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text = fixture_document(rows[i].services, "");
		struct target *t = fixture_target(text);

		assert_int_equal(find(t, "default")->config_only, rows[i].config_only);
		target_free(t);
	}
}

static void a_volume_is_ours_by_its_whole_name_and_label(void **state)
{
	static const struct {
		const char *name, *key;
		int64_t app;
	} rows[] = {{"7_v1", "v1", 7},
		    {"7_a_b", "a_b", 7},
		    {"proj2_db", NULL, 0},
		    {"7_", NULL, 0},
		    {"_x", NULL, 0},
		    {"0_x", NULL, 0},
		    {"7_a b", NULL, 0},
		    {"extra-firmware", NULL, 0},
		    {"99999999999999999999_x", NULL, 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text =
			mem_printf("{\"Name\":\"%s\",\"Driver\":\"local\",\"Labels\":null}", rows[i].name);
		struct json *v = fixture_parse(text);
		struct volume out;
		struct err err = {0};

		assert_int_equal(volume_from_engine(v, &out, &err), 0);
		assert_true(str_eq(out.key, rows[i].key));
		assert_int_equal(out.app_id, rows[i].app);
		assert_false(out.supervised);
		volume_deinit(&out);
		json_free(v);
	}
}

static void a_volume_made_from_our_body_reads_back(void **state)
{
	struct json *v = fixture_json("volume-7_v2");
	struct volume out;
	struct err err = {0};

	(void)state;
	assert_int_equal(volume_from_engine(v, &out, &err), 0);
	assert_true(out.supervised);
	assert_string_equal(out.key, "v2");
	assert_string_equal(out.app_uuid, "cafe01");
	assert_string_equal(strmap_get(&out.labels, "io.balena.q"), "1");
	volume_deinit(&out);
	json_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_network_made_from_our_body_reads_back_equal),
		cmocka_unit_test(a_difference_of_a_network_is_named),
		cmocka_unit_test(the_supervisors_network_is_known_by_its_constants),
		cmocka_unit_test(the_default_network_is_for_configuration_only_if_all_services_use_the_hosts),
		cmocka_unit_test(a_volume_is_ours_by_its_whole_name_and_label),
		cmocka_unit_test(a_volume_made_from_our_body_reads_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
