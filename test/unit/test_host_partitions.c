/* Which partition is meant by a label. */
#include "check.h"

#include "host/partitions.h"
#include "host/probe.h"
#include "util/mem.h"

static void only_the_two_prefixes_with_the_whole_name_fit(void **state)
{
	static const char *const not_data[] = {NULL,
					       "",
					       "data",
					       "resin-",
					       "resin-data2",
					       "resin-boot",
					       "RESIN-DATA",
					       " resin-data",
					       "xresin-data",
					       "balena_data",
					       "resin-balena-data"};

	(void)state;
	assert_true(partition_label_fits("resin-data", PARTITION_DATA));
	assert_true(partition_label_fits("balena-data", PARTITION_DATA));
	assert_true(partition_label_fits("balena-boot", PARTITION_BOOT));
	assert_true(partition_label_fits("resin-state", PARTITION_STATE));
	for (size_t i = 0; i < ARRAY_LEN(not_data); i++)
		assert_false(partition_label_fits(not_data[i], PARTITION_DATA));
}

struct choose_row {
	const char *about;
	struct probe_result results[3];
	int want;
};

static void the_label_of_the_file_system_counts_first(void **state)
{
	char ext4[] = "ext4", data[] = "resin-data", balena[] = "balena-data", other[] = "other";
	const struct choose_row rows[] = {
		{"nothing", {{0}}, -1},
		{"by file system", {{ext4, other, NULL}, {ext4, data, NULL}}, 1},
		{"by partition", {{ext4, NULL, NULL}, {0}, {ext4, NULL, balena}}, 2},
		{"file system before partition", {{ext4, other, data}, {ext4, balena, other}}, 1},
		{"the first of two", {{0}, {ext4, balena, NULL}, {ext4, data, NULL}}, 1},
		{"no file system", {{NULL, NULL, data}}, -2},
		{"encrypted, and the mapping with what is in it", {{NULL, NULL, data}, {ext4, NULL, data}}, 1},
		{"a label of what is no file system", {{NULL, data, NULL}}, -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int got = partition_choose(rows[i].results, 3, PARTITION_DATA);

		if (got != rows[i].want)
			fail_msg("%s: %d", rows[i].about, got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_two_prefixes_with_the_whole_name_fit),
		cmocka_unit_test(the_label_of_the_file_system_counts_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
