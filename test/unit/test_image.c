/* Image references (spec engine.md 3.1) and local images. */
#include <errno.h>

#include "model_fixture.h"

#define HEX32 "0123456789abcdef0123456789abcdef"

static void a_reference_is_normalised(void **state)
{
	static const struct {
		const char *ref, *want;
	} rows[] = {
		{"busybox", "busybox:latest"},
		{"busybox:1.36", "busybox:1.36"},
		{"host:5000/a/b", "host:5000/a/b:latest"},
		{"Host.io/a/b:T", "Host.io/a/b:T"},
		{"a/b:tag@sha256:" HEX32, "a/b@sha256:" HEX32},
		{"[::1]:5000/a", "[::1]:5000/a:latest"},
		{"", NULL},
		{":x", NULL},
		{"a:", NULL},
		{"a/", NULL},
		{"/a", NULL},
		{"a//b", NULL},
		{"a b", NULL},
		{"UPPER", NULL},
		{"a:b:c", NULL},
		{"a@sha256:0123", NULL},
		{"a@" HEX32, NULL},
		{"a@sha256:" HEX32 "x", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		AUTO_FREE char *got = image_normalise(rows[i].ref, &err);

		if (!str_eq(got, rows[i].want))
			fail_msg("%s: %s", rows[i].ref, got);
		assert_int_equal(err.code, rows[i].want ? 0 : -EINVAL);
	}
}

static void a_normalised_reference_is_split_for_the_engine(void **state)
{
	static const struct {
		const char *ref, *repo, *tag;
	} rows[] = {
		{"a:1", "a", "1"},
		{"h:5000/a/b:latest", "h:5000/a/b", "latest"},
		{"a/b@sha256:" HEX32, "a/b", "sha256:" HEX32},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *repo = NULL, *tag = NULL;

		image_split(rows[i].ref, &repo, &tag);
		assert_string_equal(repo, rows[i].repo);
		assert_string_equal(tag, rows[i].tag);
	}
}

static void names_with_one_digest_are_one_image(void **state)
{
	(void)state;
	assert_true(image_same_name("a:1", "a:1"));
	assert_false(image_same_name("a:1", "a:2"));
	assert_true(image_same_name("a@sha256:" HEX32, "r/b@sha256:" HEX32));
	assert_false(image_same_name("a@sha256:" HEX32, "a:1"));
}

static void a_local_image_is_found_by_tag_digest_and_id(void **state)
{
	struct json *v = fixture_parse("{\"Id\":\"sha256:1\",\"RepoTags\":[\"busybox:latest\",\"r.io/x:2\"],"
				       "\"RepoDigests\":[\"busybox@sha256:" HEX32 "\"],\"Config\":null}");
	struct image i;
	struct err err = {0};

	(void)state;
	assert_int_equal(image_from_engine(v, &i, &err), 0);
	assert_true(i.has_config);
	assert_true(image_matches(&i, "busybox:latest"));
	assert_true(image_matches(&i, "docker.io/library/busybox:latest"));
	assert_true(image_matches(&i, "r.io/x:2"));
	assert_true(image_matches(&i, "mirror/busybox@sha256:" HEX32));
	assert_true(image_matches(&i, "sha256:1"));
	assert_false(image_matches(&i, "library/x/busybox:latest"));
	assert_false(image_matches(&i, "r.io/x:3"));
	image_deinit(&i);
	json_free(v);
}

static void an_image_gives_its_configuration(void **state)
{
	struct image i = fixture_image("image-rich");

	(void)state;
	assert_string_equal(i.entrypoint.v[0], "/bin/sh");
	assert_string_equal(i.command.v[1], "99");
	assert_string_equal(strmap_get(&i.env, "BAR"), "b=c");
	assert_string_equal(i.volumes.v[0], "/data");
	assert_string_equal(i.working_dir, "/tmp");
	assert_true(str_starts(i.id, "sha256:"));
	image_deinit(&i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reference_is_normalised),
		cmocka_unit_test(a_normalised_reference_is_split_for_the_engine),
		cmocka_unit_test(names_with_one_digest_are_one_image),
		cmocka_unit_test(a_local_image_is_found_by_tag_digest_and_id),
		cmocka_unit_test(an_image_gives_its_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
