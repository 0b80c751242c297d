/* Where a target is: what can be one, and what of it may be shown. */
#include "check.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "util/location.h"
#include "util/mem.h"

static void a_scheme_makes_a_url_and_everything_else_is_a_path(void **state)
{
	(void)state;
	assert_true(location_is_url("http://h"));
	assert_true(location_is_url("HTTPS://h/t.json"));
	assert_true(location_is_url("gopher://"));
	assert_false(location_is_url("t.json"));
	assert_false(location_is_url(""));
	assert_false(location_is_url("http:/h"));
	assert_false(location_is_url("://h"));
	assert_false(location_is_url("/srv/http://h"));
	assert_false(location_is_url("./http://h"));
}

static void what_can_never_be_a_target_is_refused_in_words_without_the_url(void **state)
{
	static const char *const rows[][2] = {
		{"", "no name"},
		{"/etc/", "/etc/ names a directory"},
		{"ftp://u:secret@h/t", "neither a path nor an http or https URL"},
		{"http://", "names no host"},
		{"http:///secret", "names no host"},
		{"https://u:secret@/t", "names no host"},
		{"https://:443/secret", "names no host"},
		{"http://?secret", "names no host"},
		{"http://h/secret t", "space or control character at byte 15"},
		{"http://h/secret\x7f", "space or control character at byte 15"},
		{"http://h:secret/", "a port that is no number"},
		{"http://h:65536/secret", "a port that is no number"},
		{"http://[::1]:0/secret", "a port that is no number"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};

		assert_int_equal(location_check(rows[i][0], &err), -EINVAL);
		assert_non_null(strstr(err.msg, rows[i][1]));
		assert_null(strstr(err.msg, "secret"));
	}
}

static void paths_and_urls_of_web_servers_are_targets(void **state)
{
	static const char *const rows[] = {
		"t.json",     "./a b.json",           "/srv/http://h",           "http://h",         "HTTP://h:80?x=1",
		"https://h:", "https://u:p@h:8443/t", "http://[fe80::1]/t.json", "http://[::1]:80/", "http://h/a:b@c",
	};
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(location_check(rows[i], &err), 0);
		assert_int_equal(err.code, 0);
	}
}

static void a_location_has_a_limit(void **state)
{
	char text[LOCATION_URL_MAX + 2];
	struct err err = {0};

	(void)state;
	memset(text, 'a', sizeof(text));
	text[PATH_MAX - 1] = '\0';
	assert_int_equal(location_check(text, &err), 0);
	text[PATH_MAX - 1] = 'a';
	text[PATH_MAX] = '\0';
	assert_int_equal(location_check(text, &err), -EINVAL);
	text[PATH_MAX] = 'a';
	memcpy(text, "http://", 7);
	text[LOCATION_URL_MAX] = '\0';
	assert_int_equal(location_check(text, &err), 0);
	text[LOCATION_URL_MAX] = 'a';
	text[LOCATION_URL_MAX + 1] = '\0';
	assert_int_equal(location_check(text, &err), -EINVAL);
}

static void of_a_url_only_the_origin_is_shown(void **state)
{
	static const char *const rows[][2] = {
		{"/etc/target.json", "/etc/target.json"},
		{"u:p@h/t", "u:p@h/t"},
		{"https://h/t.json?token=x", "https://h"},
		{"http://user:pass@h:8080/t#x", "http://h:8080"},
		{"http://a@b@h?x=/y@z", "http://h"},
		{"ftp://u:p@h/t", "ftp://h"},
		{"http://[::1]:80/t", "http://[::1]:80"},
		{"http://", "http://"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *shown = location_shown(rows[i][0]);

		assert_string_equal(shown, rows[i][1]);
	}
	assert_null(location_shown(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scheme_makes_a_url_and_everything_else_is_a_path),
		cmocka_unit_test(what_can_never_be_a_target_is_refused_in_words_without_the_url),
		cmocka_unit_test(paths_and_urls_of_web_servers_are_targets),
		cmocka_unit_test(a_location_has_a_limit),
		cmocka_unit_test(of_a_url_only_the_origin_is_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
