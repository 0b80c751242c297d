/* Backoff: rows of unit, attempt, cap and delay. */
#include "check.h"

#include <limits.h>

#include "util/backoff.h"

static void a_delay_doubles_up_to_its_cap_for_any_attempt(void **state)
{
	static const struct {
		int64_t unit;
		unsigned n;
		int64_t cap, want;
	} rows[] = {
		{1000, 0, 60000, 1000},
		{1000, 1, 60000, 2000},
		{1000, 5, 60000, 32000},
		{1000, 6, 60000, 60000},
		{1000, 63, 60000, 60000},
		{1000, 64, 60000, 60000},
		{1000, UINT_MAX, 60000, 60000},
		{1000, 0, 500, 500},
		{1, 62, INT64_MAX, INT64_C(1) << 62},
		{1, 63, INT64_MAX, INT64_MAX},
		{3, UINT_MAX, INT64_MAX, INT64_MAX},
		{INT64_MAX, 3, INT64_MAX, INT64_MAX},
		{0, UINT_MAX, 1000, 0},
		{-5, 3, 1000, 0},
		{1000, 3, 0, 0},
		{1000, 3, -1, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(backoff_ms(rows[i].unit, rows[i].n, rows[i].cap), rows[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delay_doubles_up_to_its_cap_for_any_attempt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
