/* Spans of time as people write them. */
#include "check.h"

#include "model/duration.h"
#include "util/mem.h"

static void a_duration_is_numbers_with_units_added_up(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{"0", 0},
		{"90", 90000},
		{"1.5", 1500},
		{"1s", 1000},
		{"1h30m", 5400000},
		{"1m1s1ms", 61001},
		{"2d", 172800000},
		{"1w", 604800000},
		{"1.5s", 1500},
		{"0.0001s", 0},
		{"0.999999999999999999w", 604799999},
		{"1.000000000000000001w", 604800000},
		{"0.05d", 4320000},
		{"0.0011111h", 3999},
		{"999us", 0},
		{"1000us", 1},
		{"1000\u00b5s", 1},
		{"1000\u03bcs", 1},
		{"1999999ns", 1},
		{"500us500us", 1},
		{"36500d", DURATION_MAX_MS},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = -1;

		if (!duration_parse(rows[i].text, &ms) || ms != rows[i].ms)
			fail_msg("%s gave %lld", rows[i].text, (long long)ms);
	}
}

static void what_is_no_duration_is_refused(void **state)
{
	static const char *const rows[] = {
		"",
		" ",
		"s",
		"-1s",
		"+1s",
		"1x",
		"1s ",
		" 1s",
		"1s1",
		"1 s",
		"1.s",
		".5s",
		"1,5s",
		"1e3",
		"0x1",
		"1sec",
		"1.5.5s",
		"36501d",
		"36500d1ns",
		"36500.1d",
		"18250d18250.1d",
		"9999999999999999999s",
		"1.9999999999999999999s",
		"99999999999999w",
		"99999999999999w99999999999999w",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = -1;

		if (duration_parse(rows[i], &ms))
			fail_msg("'%s' was taken for %lld ms", rows[i], (long long)ms);
		assert_int_equal(ms, -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_duration_is_numbers_with_units_added_up),
		cmocka_unit_test(what_is_no_duration_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
