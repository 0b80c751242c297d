/* What is the supervisor's own, by each of its signs. */
#include "model_fixture.h"

#include "model/own.h"

#define AMD64 "52e35121417640b1b28a680504e4039b"
#define ID    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_container_is_known_by_id_name_or_labels(void **state)
{
	static const struct {
		const char *what, *id, *name, *uuid, *service, *own_id;
		bool own;
	} rows[] = {
		{"nothing known", ID, "main_1_2_c", "app", "main", NULL, false},
		{"the whole id", ID, "anything", "app", "main", ID, true},
		{"its first twelve digits", ID, "anything", "app", "main", "0123456789ab", true},
		{"too few of them", ID, "anything", "app", "main", "0123456789", false},
		{"another id", ID, "anything", "app", "main", "0123456789ac", false},
		{"the host's name for it", ID, "balena_supervisor", "app", "main", NULL, true},
		{"the older name", ID, "resin_supervisor", NULL, NULL, NULL, true},
		{"a name that begins like it", ID, "balena_supervisor_1_2", "app", "main", NULL, false},
		{"a supervisor app", ID, "main_1_2_c", AMD64, "main", NULL, true},
		{"… by its other name", ID, "x_1_2_c", AMD64, "balena-supervisor", NULL, true},
		{"… by its third", ID, "core_1_2_c", AMD64, "core", NULL, true},
		{"another service of that app", ID, "relay_1_2_c", AMD64, "relay", NULL, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct container c = {.id = (char *)(uintptr_t)rows[i].id,
				      .name = (char *)(uintptr_t)rows[i].name,
				      .app_uuid = (char *)(uintptr_t)rows[i].uuid,
				      .service = (char *)(uintptr_t)rows[i].service};
		struct device_facts f = {.own_container = (char *)(uintptr_t)rows[i].own_id};

		if (own_container(&c, &f) != rows[i].own)
			fail_msg("%s", rows[i].what);
	}
}

static void an_image_is_known_by_the_tag_of_the_host_or_by_our_own_repository(void **state)
{
	static const struct {
		const char *tag, *own;
		bool is_own;
	} rows[] = {
		{"balena_supervisor:19.0.5", NULL, true},
		{"resin_supervisor:7", NULL, true},
		{"registry:5000/x/balena_supervisor:1", NULL, true},
		{"my_balena_supervisor:1", NULL, false},
		{"app:1", NULL, false},
		{"registry:5000/sv/amd64:2", "registry:5000/sv/amd64:1", true},
		{"registry:5000/sv/amd64@sha256:aa", "registry:5000/sv/amd64:1", true},
		{"registry:5000/sv/armv7:1", "registry:5000/sv/amd64:1", false},
		{"registry:5000/sv:1", "registry:5000/other:1", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct image image = {.id = (char *)(uintptr_t) "sha256:1"};
		struct device_facts f = {.own_image = (char *)(uintptr_t)rows[i].own};

		strv_add(strchr(rows[i].tag, '@') ? &image.digests : &image.tags, rows[i].tag);
		if (own_image(&image, &f) != rows[i].is_own)
			fail_msg("%s", rows[i].tag);
		strv_deinit(&image.tags);
		strv_deinit(&image.digests);
	}
}

static void what_the_target_leaves_to_the_host_is_remembered_with_its_image(void **state)
{
	struct target *t =
		fixture_target("{\"apps\":{\"" AMD64 "\":{\"id\":2,\"name\":\"\",\"releases\":{\"c\":{"
			       "\"services\":{\"main\":{\"image\":\"sv:2\",\"environment\":{},\"labels\":{}},"
			       "\"relay\":{\"image\":\"r\",\"environment\":{},\"labels\":{}}}}}},"
			       "\"aa\":{\"id\":3,\"name\":\"\",\"is_host\":true,\"releases\":{\"c\":{"
			       "\"services\":{\"os\":{\"image\":\"o\",\"environment\":{},\"labels\":"
			       "{\"io.balena.image.class\":\"hostapp\"}}}}}}}}");

	(void)state;
	assert_int_equal(t->apps[0].n_services, 1);
	assert_string_equal(t->apps[0].services[0].name, "relay");
	assert_int_equal(t->apps[0].n_left_out, 1);
	assert_string_equal(t->apps[0].left_out[0].name, "main");
	assert_string_equal(t->apps[0].left_out[0].image, "sv:2");
	assert_int_equal(t->apps[1].n_left_out, 0); /* the host's own is nobody's to report */
	target_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_container_is_known_by_id_name_or_labels),
		cmocka_unit_test(an_image_is_known_by_the_tag_of_the_host_or_by_our_own_repository),
		cmocka_unit_test(what_the_target_leaves_to_the_host_is_remembered_with_its_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
