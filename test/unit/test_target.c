/* Target documents that are fine: what they mean. */
#include "model_fixture.h"

static void a_bare_device_part_gets_its_defaults(void **state)
{
	struct target *t = fixture_target("{\"apps\":{\"my-app\":{\"name\":\"n\",\"releases\":{\"r1\":{\"services\":{"
					  "\"main\":{\"image\":\"a\",\"environment\":{},\"labels\":{}}}},"
					  "\"r0\":{}}}}}");
	const struct target_app *a = &t->apps[0];
	AUTO_FREE char *name = service_container_name(a, &a->services[0]), *want = NULL;

	(void)state;
	assert_null(t->uuid);
	assert_string_equal(t->name, "local");
	assert_int_equal(a->id, str_crc32("my-app") & 0x7fffffff);
	assert_int_equal(a->release_id, str_crc32("r1") & 0x7fffffff);
	assert_int_equal(a->services[0].id, str_crc32("mainmy-app") & 0x7fffffff);
	assert_string_equal(a->commit, "r1"); /* the first one counts */
	assert_string_equal(a->app_class, "fleet");
	assert_true(a->services[0].running);
	want = mem_printf("main_%lld_%lld_r1", (long long)a->services[0].image_id, (long long)a->release_id);
	assert_string_equal(name, want);
	assert_ptr_equal(target_find_app(t, a->id), a);
	assert_ptr_equal(target_app_find_service(a, "main"), &a->services[0]);
	assert_null(target_find_app(t, 1));
	assert_null(target_app_find_service(a, "x"));
	target_free(t);
}

static void a_whole_document_names_the_device(void **state)
{
	struct target *t = fixture_target("{\"151e\":{\"name\":\"lab\",\"config\":{\"A:1\":\"x\"},\"apps\":{}}}");

	(void)state;
	assert_string_equal(t->uuid, "151e");
	assert_string_equal(t->name, "lab");
	assert_string_equal(strmap_get(&t->config, "A:1"), "x");
	assert_int_equal(t->n_apps, 0);
	target_free(t);
}

static void null_means_the_default_where_the_schema_says_so(void **state)
{
	struct target *t = fixture_target("{\"apps\":{\"a\":{\"id\":5,\"name\":\"\",\"class\":null,\"releases\":null},"
					  "\"b\":{\"id\":4,\"name\":\"\",\"releases\":{\"c\":{\"services\":null,"
					  "\"volumes\":null,\"networks\":null}}}}}");

	(void)state;
	assert_int_equal(t->apps[0].id, 4); /* sorted by id */
	assert_string_equal(t->apps[0].commit, "c");
	assert_int_equal(t->apps[0].n_networks, 1);
	assert_string_equal(t->apps[0].networks[0].name, "b_default");
	assert_null(t->apps[1].commit); /* no release: everything of it goes */
	target_free(t);
}

#define SERVICE(name, labels) "\"" name "\":{\"image\":\"a\",\"environment\":{},\"labels\":{" labels "}}"

static void services_of_the_host_and_the_supervisor_are_left_out(void **state)
{
	struct target *t = fixture_target(
		"{\"apps\":{\"aa\":{\"id\":1,\"name\":\"\",\"is_host\":true,\"releases\":{\"c\":{"
		"\"services\":{" SERVICE("os", "\"io.balena.image.class\":\"hostapp\"") "," SERVICE(
			"root",
			"\"io.balena.image.store\":"
			"\"root\"") "," SERVICE("plain", "") "}}}},\"52e35121417640b1b28a680504e4039b\":{\"id\":"
							     "2,\"name\":\"\",\"releases\":{\"c\":{\"services\":"
							     "{" SERVICE("core", "\"io.balena.features.dbus\":"
										 "\"1\"") ",\"other\":{\"image\":"
											  "\"a\",\"environment\":"
											  "{},\"labels\":{},"
											  "\"composition\":"
											  "{\"depends_on\":["
											  "\"core\"]}}}}}}}}");

	(void)state;
	assert_int_equal(t->apps[0].n_services, 1);
	assert_string_equal(t->apps[0].services[0].name, "plain");
	assert_int_equal(t->apps[1].n_services, 1);
	assert_string_equal(t->apps[1].services[0].name, "other");
	assert_int_equal(t->apps[1].services[0].depends_on.n, 0);
	target_free(t);
}

static void dependencies_come_as_list_and_as_map(void **state)
{
	AUTO_FREE char *text = fixture_document(
		SERVICE("b", "") ",\"a\":{\"image\":\"a\",\"environment\":{},\"labels\":{},\"composition\":{"
				 "\"depends_on\":{\"b\":{\"condition\":\"service_started\",\"required\":true},"
				 "\"c\":null}}},\"c\":{\"image\":\"a\",\"environment\":{},\"labels\":{},"
				 "\"composition\":{\"dependsOn\":[\"b\",\"b\"]}}",
		"");
	struct target *t = fixture_target(text);

	(void)state;
	assert_string_equal(t->apps[0].services[0].name, "a"); /* sorted by name */
	assert_int_equal(t->apps[0].services[0].depends_on.n, 2);
	assert_int_equal(t->apps[0].services[2].depends_on.n, 1);
	target_free(t);
}

static void networks_and_volumes_are_declared_in_both_spellings(void **state)
{
	AUTO_FREE char *text = fixture_document(
		"", ",\"networks\":{\"n\":{\"driver\":\"macvlan\",\"driver_opts\":{\"parent\":\"eth0\"},\"enableIpv6\":"
		    "true,\"ipam\":{\"config\":[{\"subnet\":\"10.0.0.0/8\",\"ipRange\":\"10.1.0.0/16\","
		    "\"aux_addresses\":{\"r\":\"10.0.0.9\"}}]}},\"default\":{\"internal\":true}},"
		    "\"volumes\":{\"v\":{\"driverOpts\":{\"a\":1},\"labels\":[\"io.resin.x=1\"]}}");
	struct target *t = fixture_target(text);
	const struct target_app *a = &t->apps[0];
	struct buf b;

	(void)state;
	assert_int_equal(a->n_networks, 2);
	assert_string_equal(strmap_get(&a->networks[0].labels, "io.balena.private.ipam.config"), "true");
	buf_init(&b, 1 << 16);
	network_create_body(a, &a->networks[0], &b);
	assert_string_equal(
		buf_str(&b),
		"{\"Name\":\"cafe_n\",\"CheckDuplicate\":true,\"Driver\":\"macvlan\",\"Options\":{\"parent\":"
		"\"eth0\"},\"IPAM\":{\"Driver\":\"default\",\"Options\":{},\"Config\":[{\"Subnet\":"
		"\"10.0.0.0/8\",\"IPRange\":\"10.1.0.0/16\",\"AuxiliaryAddresses\":{\"r\":\"10.0.0.9\"}}]},"
		"\"EnableIPv6\":true,\"Internal\":false,\"ConfigOnly\":false,\"Labels\":{\"io.balena.app-id\":"
		"\"7\",\"io.balena.private.ipam.config\":\"true\",\"io.balena.supervised\":\"true\"}}");
	assert_true(a->networks[1].internal);
	buf_clear(&b);
	volume_create_body(a, &a->volumes[0], &b);
	assert_string_equal(buf_str(&b),
			    "{\"Name\":\"7_v\",\"Driver\":\"local\",\"DriverOpts\":{\"a\":\"1\"},\"Labels\":"
			    "{\"io.balena.app-uuid\":\"cafe\",\"io.balena.supervised\":\"true\","
			    "\"io.balena.x\":\"1\"}}");
	buf_deinit(&b);
	target_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bare_device_part_gets_its_defaults),
		cmocka_unit_test(a_whole_document_names_the_device),
		cmocka_unit_test(null_means_the_default_where_the_schema_says_so),
		cmocka_unit_test(services_of_the_host_and_the_supervisor_are_left_out),
		cmocka_unit_test(dependencies_come_as_list_and_as_map),
		cmocka_unit_test(networks_and_volumes_are_declared_in_both_spellings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
