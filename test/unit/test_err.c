/* Errors: a code and a sentence that gains context on its way up. */
#include "check.h"

#include "util/err.h"
#include "util/str.h"

static void an_error_has_a_code_and_a_sentence(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(err_set(&err, -EINVAL, "port %d is %s", 7, "taken"), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.msg, "port 7 is taken");
}

static void a_system_error_adds_the_systems_words(void **state)
{
	struct err err = {0};

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_sys(&err, "open %s", "x"), -ENOENT);
	assert_string_equal(err.msg, "open x: No such file or directory");
}

static void a_system_error_without_errno_is_still_an_error(void **state)
{
	struct err err = {0};

	(void)state;
	errno = 0;
	assert_int_equal(err_sys(&err, "open"), -EIO);
	errno = 99999;
	assert_int_equal(err_sys(&err, "open"), -99999);
	assert_string_equal(err.msg, "open: Unknown error");
}

static void context_goes_in_front_and_keeps_the_code(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, -ENOSPC, "write a: full");
	assert_int_equal(err_wrap(&err, "keep %s", "target"), -ENOSPC);
	assert_int_equal(err.code, -ENOSPC);
	assert_string_equal(err.msg, "keep target: write a: full");
}

static void a_message_may_quote_the_one_it_replaces(void **state)
{
	struct err err = {0};

	(void)state;
	err_set(&err, -EIO, "broken");
	err_set(&err, -EPROTO, "<%s>", err.msg);
	assert_string_equal(err.msg, "<broken>");
	err_wrap(&err, "%s again", err.msg);
	assert_string_equal(err.msg, "<broken> again: <broken>");
}

static void a_long_message_is_cut_between_characters(void **state)
{
	static const char *const characters[] = {"x", "é", "€", "😀"};
	struct err err = {0};
	char text[1000];

	(void)state;
	for (size_t c = 0; c < 4; c++) {
		for (size_t shift = 0; shift < 4; shift++) {
			memset(text, 'a', shift);
			text[shift] = '\0';
			while (strlen(text) < 900)
				strcat(text, characters[c]);
			err_set(&err, -EINVAL, "%s", text);
			assert_true(strlen(err.msg) > sizeof(err.msg) - 6);
			assert_true(str_is_utf8(err.msg, strlen(err.msg), NULL));
			assert_memory_equal(err.msg, text, strlen(err.msg));
			err_wrap(&err, "b");
			assert_true(str_is_utf8(err.msg, strlen(err.msg), NULL));
			errno = EIO;
			err_sys(&err, "%s", text);
			assert_true(str_is_utf8(err.msg, strlen(err.msg), NULL));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_has_a_code_and_a_sentence),
		cmocka_unit_test(a_system_error_adds_the_systems_words),
		cmocka_unit_test(a_system_error_without_errno_is_still_an_error),
		cmocka_unit_test(context_goes_in_front_and_keeps_the_code),
		cmocka_unit_test(a_message_may_quote_the_one_it_replaces),
		cmocka_unit_test(a_long_message_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
