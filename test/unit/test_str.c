/* Strings: tables of input and answer. */
#include "check.h"

#include "util/mem.h"
#include "util/str.h"

static void comparisons_take_null(void **state)
{
	(void)state;
	assert_true(str_eq("a", "a"));
	assert_false(str_eq("a", "b"));
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq("a", NULL));
	assert_false(str_eq(NULL, ""));
	assert_true(str_starts("abc", "ab"));
	assert_true(str_starts("abc", ""));
	assert_false(str_starts("ab", "abc"));
	assert_false(str_starts(NULL, "a"));
	assert_true(str_ends("abc", "bc"));
	assert_false(str_ends("c", "bc"));
	assert_false(str_ends(NULL, "bc"));
}

static void only_the_references_words_are_true(void **state)
{
	(void)state;
	assert_true(str_truthy("1") && str_truthy("true") && str_truthy("TRUE") && str_truthy("on") &&
		    str_truthy("On"));
	assert_false(str_truthy(NULL) || str_truthy("") || str_truthy("0") || str_truthy("yes") ||
		     str_truthy("true ") || str_truthy("10"));
}

static void a_number_is_the_whole_string_and_within_its_range(void **state)
{
	static const struct {
		const char *s;
		int64_t min, max;
		bool ok;
		int64_t want;
	} rows[] = {
		{"0", 0, 9, true, 0},
		{"-0", 0, 9, true, 0},
		{"007", 0, 9, true, 7},
		{"9", 0, 9, true, 9},
		{"10", 0, 9, false, 0},
		{"-1", 0, 9, false, 0},
		{"-9223372036854775808", INT64_MIN, INT64_MAX, true, INT64_MIN},
		{"9223372036854775807", INT64_MIN, INT64_MAX, true, INT64_MAX},
		{"9223372036854775808", INT64_MIN, INT64_MAX, false, 0},
		{"-9223372036854775809", INT64_MIN, INT64_MAX, false, 0},
		{"", 0, 9, false, 0},
		{NULL, 0, 9, false, 0},
		{" 1", 0, 9, false, 0},
		{"1 ", 0, 9, false, 0},
		{"+1", 0, 9, false, 0},
		{"- 1", -9, 9, false, 0},
		{"-", -9, 9, false, 0},
		{"0x1", 0, 9, false, 0},
		{"1e1", 0, 99, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t n = 4711;

		assert_int_equal(str_to_i64(rows[i].s, rows[i].min, rows[i].max, &n), rows[i].ok);
		assert_int_equal(n, rows[i].ok ? rows[i].want : 4711);
	}
}

static void utf8_is_checked_strictly_and_the_first_bad_byte_named(void **state)
{
	static const struct {
		const char *s;
		int bad; /* -1: valid */
	} rows[] = {
		{"", -1},
		{"plain", -1},
		{"é€😀", -1},
		{"\x7F", -1},
		{"\xC2\x80\xDF\xBF", -1},
		{"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", -1},
		{"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", -1},
		{"\x80", 0},             /* continuation alone */
		{"a\xC0\x80", 1},        /* overlong */
		{"ab\xC1\xBF", 2},       /* overlong */
		{"abc\xE0\x9F\xBF", 3},  /* overlong */
		{"\xF0\x8F\xBF\xBF", 0}, /* overlong */
		{"\xED\xA0\x80", 0},     /* surrogate */
		{"\xF4\x90\x80\x80", 0}, /* past U+10FFFF */
		{"\xF5\x80\x80\x80", 0},
		{"\xFF", 0},
		{"12345678\xC3", 8}, /* cut, right behind a whole word */
		{"1234567\xE2\x82", 7},
		{"123456\xF0\x9F\x98", 6},
		{"\xC3(", 0},
		{"\xE2\x82(", 0},
		{"\xF0\x9F\x98(", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t bad = 4711;

		assert_int_equal(str_is_utf8(rows[i].s, strlen(rows[i].s), &bad), rows[i].bad < 0);
		assert_int_equal(bad, rows[i].bad < 0 ? 4711 : rows[i].bad);
	}
	assert_true(str_is_utf8("a\0b", 3, NULL));
	assert_false(str_is_utf8("\xFF", 1, NULL));
}

static void the_length_of_a_character_is_known(void **state)
{
	(void)state;
	assert_int_equal(str_utf8_char("a", 1), 1);
	assert_int_equal(str_utf8_char("é", 2), 2);
	assert_int_equal(str_utf8_char("é", 1), 0);
	assert_int_equal(str_utf8_char("€", 3), 3);
	assert_int_equal(str_utf8_char("😀", 4), 4);
	assert_int_equal(str_utf8_char("", 0), 0);
}

static void the_checksum_is_the_common_one(void **state)
{
	(void)state;
	assert_int_equal(str_crc32(""), 0);
	assert_int_equal(str_crc32("a"), 0xE8B7BE43);
	assert_int_equal(str_crc32("123456789"), 0xCBF43926);
	assert_int_equal(str_crc32("The quick brown fox jumps over the lazy dog"), 0x414FA339);
}

static void random_text_is_hex_of_the_asked_length_and_differs(void **state)
{
	char a[201], b[201];

	(void)state;
	str_random_hex(a, 100);
	str_random_hex(b, 100);
	assert_int_equal(strlen(a), 200);
	assert_int_equal(strspn(a, "0123456789abcdef"), 200);
	assert_string_not_equal(a, b);
	str_random_hex(a, 0);
	assert_string_equal(a, "");
}

static void constant_time_comparison_gives_the_right_answer(void **state)
{
	(void)state;
	assert_true(str_eq_constant_time("abc", "abc"));
	assert_true(str_eq_constant_time("", ""));
	assert_false(str_eq_constant_time("abc", "abd"));
	assert_false(str_eq_constant_time("abc", "ab"));
	assert_false(str_eq_constant_time("ab", "abc"));
	assert_false(str_eq_constant_time("", "a"));
	assert_false(str_eq_constant_time(NULL, "a"));
	assert_false(str_eq_constant_time("a", NULL));
	assert_false(str_eq_constant_time(NULL, NULL)); /* a key that is missing matches nothing */
}

static void times_are_written_and_read(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
		{0, "1970-01-01T00:00:00.000Z"},
		{-1, "1969-12-31T23:59:59.999Z"},
		{1767322985678, "2026-01-02T03:03:05.678Z"},
		{951782400000, "2000-02-29T00:00:00.000Z"},
		{4107542400000, "2100-03-01T00:00:00.000Z"},
		{-62135596800000, "0001-01-01T00:00:00.000Z"},
		{253402300799999, "9999-12-31T23:59:59.999Z"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[STR_TIME_SIZE];
		int64_t ms = 4711;

		assert_string_equal(str_time(rows[i].ms, text), rows[i].text);
		assert_true(str_parse_time(rows[i].text, &ms));
		assert_int_equal(ms, rows[i].ms);
	}
}

static void every_day_of_four_centuries_survives_the_round_trip(void **state)
{
	char text[STR_TIME_SIZE], before[STR_TIME_SIZE] = "";
	int64_t ms;

	(void)state;
	for (int64_t day = -80000; day < 80000; day++) {
		str_time(day * 86400000 + 12345, text);
		assert_true(str_parse_time(text, &ms));
		assert_int_equal(ms, day * 86400000 + 12345);
		assert_true(strcmp(before, text) < 0);
		strcpy(before, text);
	}
}

static void times_out_of_range_are_clamped(void **state)
{
	char text[STR_TIME_SIZE];

	(void)state;
	assert_string_equal(str_time(INT64_MAX, text), "9999-12-31T23:59:59.999Z");
	assert_string_equal(str_time(INT64_MIN, text), "0000-01-01T00:00:00.000Z");
}

static void other_ways_to_write_a_time_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{"1970-01-01T00:00:01Z", 1000},
		{"1970-01-01t00:00:01z", 1000},
		{"1970-01-01 00:00:01Z", 1000},
		{"1970-01-01T00:00:00.5Z", 500},
		{"1970-01-01T00:00:00.123456789Z", 123}, /* as the engine writes */
		{"1970-01-01T00:00:00.0009999999999999999999Z", 0},
		{"1970-01-01T02:00:00+02:00", 0},
		{"1969-12-31T18:30:00-05:30", 0},
		{"1969-12-31T23:59:60Z", 0}, /* leap second */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = 4711;

		assert_true(str_parse_time(rows[i].text, &ms));
		assert_int_equal(ms, rows[i].ms);
	}
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const rows[] = {
		NULL,
		"",
		"2026",
		"2026-01-02",
		"2026-01-02T03:04:05",
		"2026-01-02T03:04:05.Z",
		"2026-01-02T03:04:05.1",
		"2026-13-02T03:04:05Z",
		"2026-00-02T03:04:05Z",
		"2026-01-00T03:04:05Z",
		"2026-02-29T03:04:05Z",
		"1900-02-29T03:04:05Z",
		"2026-04-31T03:04:05Z",
		"2026-01-02T24:04:05Z",
		"2026-01-02T03:60:05Z",
		"2026-01-02T03:04:61Z",
		"2026-01-02T03:04:05Zx",
		"2026-01-02T03:04:05+2:00",
		"2026-01-02T03:04:05+02:60",
		"2026-01-02T03:04:05+24:00",
		"2026-01-02T03:04:05+0200",
		"2026-01-02T03:04:05+02:00x",
		"2026-1-02T03:04:05Z",
		"2026/01/02T03:04:05Z",
		" 2026-01-02T03:04:05Z",
		"-026-01-02T03:04:05Z",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = 4711;

		assert_false(str_parse_time(rows[i], &ms));
		assert_int_equal(ms, 4711);
	}
}

static void every_cut_of_a_time_is_refused_without_reading_past_it(void **state)
{
	static const char text[] = "2026-01-02T03:04:05.678+01:00";

	(void)state;
	for (size_t n = 0; n < strlen(text); n++) {
		AUTO_FREE char *cut = mem_strndup(text, n); /* the sanitizer sees a read behind it */
		int64_t ms;

		assert_false(str_parse_time(cut, &ms));
	}
}

static void lists_copy_compare_sort_and_join(void **state)
{
	struct strv a = {0}, b = {0};
	char *joined;

	(void)state;
	joined = strv_join(&a, ", ");
	assert_string_equal(joined, "");
	free(joined);
	for (int i = 20; i > 0; i--)
		strv_take(&a, mem_printf("%02d", i));
	assert_true(strv_has(&a, "07"));
	assert_false(strv_has(&a, "21"));
	strv_copy(&b, &a);
	assert_true(strv_eq(&a, &b));
	strv_sort(&a);
	assert_false(strv_eq(&a, &b));
	assert_string_equal(a.v[0], "01");
	assert_string_equal(a.v[19], "20");
	strv_add(&b, "x");
	assert_false(strv_eq(&a, &b));
	strv_deinit(&b);
	strv_deinit(&b);
	strv_deinit(NULL);
	strv_add(&b, "x");
	strv_add(&b, "");
	strv_add(&b, "y");
	joined = strv_join(&b, ", ");
	assert_string_equal(joined, "x, , y");
	free(joined);
	strv_deinit(&a);
	strv_deinit(&b);
}

static void a_map_is_sorted_and_holds_one_value_a_key(void **state)
{
	struct strmap m = {0}, copy = {0};

	(void)state;
	strmap_set(&m, "b", "1");
	strmap_set(&m, "a", "2");
	strmap_set(&m, "c", "3");
	strmap_set(&m, "b", "4");
	strmap_set(&m, "b", strmap_get(&m, "b")); /* its own value */
	assert_int_equal(m.n, 3);
	assert_string_equal(m.v[0].key, "a");
	assert_string_equal(m.v[2].key, "c");
	assert_string_equal(strmap_get(&m, "b"), "4");
	assert_null(strmap_get(&m, "d"));
	assert_null(strmap_get(&m, NULL));
	strmap_set_default(&m, "b", "5");
	strmap_set_default(&m, "d", "6");
	assert_string_equal(strmap_get(&m, "b"), "4");
	assert_string_equal(strmap_get(&m, "d"), "6");
	strmap_copy(&copy, &m);
	assert_true(strmap_eq(&m, &copy));
	strmap_set(&copy, "d", "7");
	assert_false(strmap_eq(&m, &copy));
	strmap_unset(&m, "a");
	strmap_unset(&m, "nothing");
	assert_int_equal(m.n, 3);
	assert_null(strmap_get(&m, "a"));
	assert_false(strmap_eq(&m, &copy));
	strmap_deinit(&m);
	strmap_deinit(&m);
	strmap_deinit(NULL);
	strmap_deinit(&copy);
	assert_null(strmap_get(&m, "a"));
}

static void a_map_finds_all_of_many_keys_in_any_order_of_insertion(void **state)
{
	struct strmap m = {0};
	char key[16];

	(void)state;
	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof(key), "%d", i * 7919 % 500);
		strmap_set(&m, key, key);
	}
	assert_int_equal(m.n, 500);
	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof(key), "%d", i);
		assert_string_equal(strmap_get(&m, key), key);
	}
	for (size_t i = 1; i < m.n; i++)
		assert_true(strcmp(m.v[i - 1].key, m.v[i].key) < 0);
	strmap_deinit(&m);
}

static void white_space_at_both_ends_is_taken_off(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *want;
	} rows[] = {{" a b\t\n", 6, "a b"}, {"abc", 2, "ab"}, {"a  b", 3, "a"}, {" \n", 2, NULL}, {"x", 0, NULL}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *got = str_trimmed(rows[i].text, rows[i].len);

		assert_true(str_eq(got, rows[i].want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(white_space_at_both_ends_is_taken_off),
		cmocka_unit_test(comparisons_take_null),
		cmocka_unit_test(only_the_references_words_are_true),
		cmocka_unit_test(a_number_is_the_whole_string_and_within_its_range),
		cmocka_unit_test(utf8_is_checked_strictly_and_the_first_bad_byte_named),
		cmocka_unit_test(the_length_of_a_character_is_known),
		cmocka_unit_test(the_checksum_is_the_common_one),
		cmocka_unit_test(random_text_is_hex_of_the_asked_length_and_differs),
		cmocka_unit_test(constant_time_comparison_gives_the_right_answer),
		cmocka_unit_test(times_are_written_and_read),
		cmocka_unit_test(every_day_of_four_centuries_survives_the_round_trip),
		cmocka_unit_test(times_out_of_range_are_clamped),
		cmocka_unit_test(other_ways_to_write_a_time_are_read),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(every_cut_of_a_time_is_refused_without_reading_past_it),
		cmocka_unit_test(lists_copy_compare_sort_and_join),
		cmocka_unit_test(a_map_is_sorted_and_holds_one_value_a_key),
		cmocka_unit_test(a_map_finds_all_of_many_keys_in_any_order_of_insertion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
