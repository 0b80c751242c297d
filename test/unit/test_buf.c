/* The bounded buffer, and the allocation helpers below it. */
#include "check.h"

#include "util/buf.h"
#include "util/mem.h"

static void an_empty_buffer_reads_as_an_empty_text(void **state)
{
	struct buf b;
	char *s;

	(void)state;
	buf_init(&b, 10);
	assert_string_equal(buf_str(&b), "");
	s = buf_steal(&b);
	assert_string_equal(s, "");
	free(s);
	buf_consume(&b, 5);
	buf_clear(&b);
	buf_deinit(&b);
	buf_deinit(&b);
	buf_deinit(NULL);
}

static void appends_join(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(buf_add(&b, "ab", 2), 0);
	assert_int_equal(buf_add(&b, NULL, 0), 0);
	assert_int_equal(buf_adds(&b, "cd"), 0);
	assert_int_equal(buf_printf(&b, "%d-%s", 12, "x"), 0);
	assert_string_equal(buf_str(&b), "abcd12-x");
	assert_int_equal(b.len, 8);
	buf_deinit(&b);
	assert_int_equal(b.len, 0);
}

static void the_limit_fits_and_one_byte_more_does_not(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4);
	assert_int_equal(buf_add(&b, "abcd", 4), 0);
	assert_int_equal(buf_add(&b, "e", 1), -E2BIG);
	assert_string_equal(buf_str(&b), "abcd");
	buf_clear(&b);
	assert_int_equal(buf_printf(&b, "%s", "abcde"), -E2BIG);
	assert_int_equal(b.len, 0);
	buf_deinit(&b);
}

static void after_a_failure_everything_is_refused_until_cleared(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4);
	assert_int_equal(buf_adds(&b, "ab"), 0);
	assert_int_equal(buf_adds(&b, "cde"), -E2BIG);
	assert_int_equal(buf_adds(&b, "c"), -E2BIG); /* a hole in the text would be worse than its end */
	assert_int_equal(buf_printf(&b, "c"), -E2BIG);
	assert_int_equal(b.failed, -E2BIG);
	assert_string_equal(buf_str(&b), "ab");
	buf_clear(&b);
	assert_int_equal(b.failed, 0);
	assert_int_equal(buf_adds(&b, "cdef"), 0);
	buf_deinit(&b);
}

static void printf_takes_long_texts(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 5000);
	for (int len = 250; len < 260; len++) {
		buf_clear(&b);
		assert_int_equal(buf_printf(&b, "%0*d", len, 7), 0);
		assert_int_equal(strlen(buf_str(&b)), len);
		assert_int_equal(b.len, len);
	}
	assert_int_equal(buf_printf(&b, "%0*d", 4741, 7), 0);
	assert_int_equal(buf_printf(&b, "%0*d", 1, 7), -E2BIG);
	buf_deinit(&b);
}

static void consuming_takes_from_the_front(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	buf_adds(&b, "abcdef");
	buf_consume(&b, 2);
	assert_string_equal(buf_str(&b), "cdef");
	buf_consume(&b, 0);
	buf_consume(&b, 4);
	assert_string_equal(buf_str(&b), "");
	buf_adds(&b, "x");
	buf_consume(&b, 100);
	assert_int_equal(b.len, 0);
	buf_deinit(&b);
}

static void stealing_leaves_a_usable_buffer(void **state)
{
	struct buf b;
	char *s;

	(void)state;
	buf_init(&b, 4);
	buf_adds(&b, "abcd");
	s = buf_steal(&b);
	assert_string_equal(s, "abcd");
	free(s);
	assert_int_equal(buf_adds(&b, "efgh"), 0); /* with the same limit */
	assert_int_equal(buf_adds(&b, "i"), -E2BIG);
	buf_deinit(&b);
}

static void reserved_elements_are_zeroed_and_old_ones_kept(void **state)
{
	size_t capacity = 0;
	int *v = NULL;

	(void)state;
	mem_reserve(&v, &capacity, 3, sizeof(*v));
	assert_true(capacity >= 3);
	for (size_t i = 0; i < capacity; i++)
		v[i] = 7;
	mem_reserve(&v, &capacity, 1000, sizeof(*v));
	assert_true(capacity >= 1000);
	assert_int_equal(v[2], 7);
	assert_int_equal(v[999], 0);
	free(v);
}

static void copies_of_nothing_are_nothing(void **state)
{
	char *s = mem_strndup("abc", 2);

	(void)state;
	assert_null(mem_strdup(NULL));
	assert_null(mem_strndup(NULL, 3));
	assert_string_equal(s, "ab");
	free(s);
	s = mem_printf("%s-%d", "a", 5);
	assert_string_equal(s, "a-5");
	free(s);
	s = mem_new(0, 0);
	assert_non_null(s);
	free(s);
}

static void stealing_a_pointer_empties_its_variable(void **state)
{
	AUTO_FREE char *a = mem_strdup("x");
	AUTO_FREE char *b = STEAL(a);

	(void)state;
	assert_null(a);
	assert_string_equal(b, "x");
}

static void an_automatic_descriptor_is_closed(void **state)
{
	int before = check_open_fds(), number;

	(void)state;
	{
		AUTO_CLOSE int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		AUTO_CLOSE int none = -1;

		number = fd;
		assert_int_equal(none, -1);
		assert_int_equal(check_open_fds(), before + 1);
	}
	assert_int_equal(fcntl(number, F_GETFD), -1);
	assert_int_equal(check_open_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_reads_as_an_empty_text),
		cmocka_unit_test(appends_join),
		cmocka_unit_test(the_limit_fits_and_one_byte_more_does_not),
		cmocka_unit_test(after_a_failure_everything_is_refused_until_cleared),
		cmocka_unit_test(printf_takes_long_texts),
		cmocka_unit_test(consuming_takes_from_the_front),
		cmocka_unit_test(stealing_leaves_a_usable_buffer),
		cmocka_unit_test(reserved_elements_are_zeroed_and_old_ones_kept),
		cmocka_unit_test(copies_of_nothing_are_nothing),
		cmocka_unit_test(stealing_a_pointer_empties_its_variable),
		cmocka_unit_test(an_automatic_descriptor_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
