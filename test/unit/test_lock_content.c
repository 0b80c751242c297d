/* The form of our lock files: rows of what is ours and what is not. */
#include "check.h"

#include "lock/content.h"
#include "util/mem.h"

#define T64 "0123456789012345678901234567890123456789012345678901234567890123"

static void what_is_written_is_read_back(void **state)
{
	struct lock_content c;
	char text[LOCK_CONTENT_MAX];
	size_t len = lock_content_format(text, "boot-1", "f00d");

	(void)state;
	assert_string_equal(text, "lockkeeper-supervisor 1 boot-1 f00d\n");
	assert_true(lock_content_parse(text, len, &c));
	assert_string_equal(c.boot_id, "boot-1");
	assert_string_equal(c.nonce, "f00d");
}

static void the_longest_tokens_fit(void **state)
{
	struct lock_content c;
	char text[LOCK_CONTENT_MAX];
	size_t len = lock_content_format(text, T64, T64);

	(void)state;
	assert_true(len < LOCK_CONTENT_MAX);
	assert_true(lock_content_parse(text, len, &c));
	assert_string_equal(c.nonce, T64);
}

static void only_the_exact_form_is_ours(void **state)
{
	static const char *const foreign[] = {
		"",
		"0",
		"1234\n",
		"update-lock 1 1234\n",
		"update-lock 1 1234\nlockkeeper-supervisor 1 a b\n",
		"lockkeeper-supervisor",
		"lockkeeper-supervisor 1 ",
		"lockkeeper-supervisor 1 a",
		"lockkeeper-supervisor 1 a\n",
		"lockkeeper-supervisor 1 a ",
		"lockkeeper-supervisor 1 a \n",
		"lockkeeper-supervisor 1  b\n",
		"lockkeeper-supervisor 1 a b",
		"lockkeeper-supervisor 1 a b \n",
		"lockkeeper-supervisor 1 a b\n\n",
		"lockkeeper-supervisor 1 a b\nreason\n",
		"lockkeeper-supervisor 1 a b c\n",
		"lockkeeper-supervisor 2 a b\n",
		"Lockkeeper-supervisor 1 a b\n",
		" lockkeeper-supervisor 1 a b\n",
		"lockkeeper-supervisor 1 a_ b\n",
		"lockkeeper-supervisor 1 ../x b\n",
		"lockkeeper-supervisor 1 " T64 "0 b\n",
		"lockkeeper-supervisor 1 a " T64 "0\n",
	};
	struct lock_content c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (lock_content_parse(foreign[i], strlen(foreign[i]), &c))
			fail_msg("taken for ours: %s", foreign[i]);
	assert_false(lock_content_parse("lockkeeper-supervisor 1 a\0 b\n", 29, &c));
}

static void a_token_has_a_limit_and_an_alphabet(void **state)
{
	(void)state;
	assert_true(lock_token_valid("a"));
	assert_true(lock_token_valid(T64));
	assert_false(lock_token_valid(T64 "0"));
	assert_false(lock_token_valid(""));
	assert_false(lock_token_valid(NULL));
	assert_false(lock_token_valid("a b"));
	assert_false(lock_token_valid("a/b"));
	assert_false(lock_token_valid("a\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(the_longest_tokens_fit),
		cmocka_unit_test(only_the_exact_form_is_ours),
		cmocka_unit_test(a_token_has_a_limit_and_an_alphabet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
