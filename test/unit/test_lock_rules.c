/* What a target says about update locks: variables that override them, labels that limit their life. */
#include "check.h"

#include "model/lock_rules.h"
#include "util/mem.h"

static struct strmap map(const char *const *pairs)
{
	struct strmap m = {0};

	for (; *pairs; pairs += 2)
		strmap_set(&m, pairs[0], pairs[1]);
	return m;
}
#define MAP(...) map((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void the_device_overrides_locks_by_a_variable_of_any_of_its_names(void **state)
{
	static const struct {
		const char *first, *first_value, *second, *second_value;
		bool want;
	} rows[] = {
		{"OTHER", "1", "ELSE", "1", false},
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "1", "X", "", true},
		{"RESIN_SUPERVISOR_OVERRIDE_LOCK", "true", "X", "", true},
		{"SUPERVISOR_OVERRIDE_LOCK", "on", "X", "", true},
		{"RESIN_OVERRIDE_LOCK", "1", "X", "", true},
		{"BALENA_OVERRIDE_LOCK", "1", "X", "", true},
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "0", "X", "", false},
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "", "X", "", false},
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "0", "RESIN_SUPERVISOR_OVERRIDE_LOCK", "1", false},
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "1", "RESIN_SUPERVISOR_OVERRIDE_LOCK", "0", true},
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "1", "RESIN_OVERRIDE_LOCK", "0", false}, /* copied over it */
		{"BALENA_SUPERVISOR_OVERRIDE_LOCK", "0", "OVERRIDE_LOCK", "1", true},
	};

	(void)state;
	assert_false(target_overrides_locks(NULL));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct target t = {
			.config = MAP(rows[i].first, rows[i].first_value, rows[i].second, rows[i].second_value)};

		if (target_overrides_locks(&t) != rows[i].want)
			fail_msg("%s=%s %s=%s", rows[i].first, rows[i].first_value, rows[i].second,
				 rows[i].second_value);
		strmap_deinit(&t.config);
	}
}

static void an_app_overrides_its_locks_by_the_environment_of_any_of_its_services(void **state)
{
	struct target_service services[2] = {0};
	struct target_app a = {.services = services, .n_services = 2};

	(void)state;
	assert_false(target_app_overrides_locks(NULL));
	assert_false(target_app_overrides_locks(&a));
	services[0].spec.env = MAP("BALENA_SUPERVISOR_OVERRIDE_LOCK", "1"); /* a variable of the device, not here */
	assert_false(target_app_overrides_locks(&a));
	services[1].spec.env = MAP("RESIN_OVERRIDE_LOCK", "1");
	assert_true(target_app_overrides_locks(&a));
	strmap_set(&services[1].spec.env, "RESIN_OVERRIDE_LOCK", "0");
	assert_false(target_app_overrides_locks(&a));
	strmap_set(&services[1].spec.env, "BALENA_OVERRIDE_LOCK", "true");
	assert_true(target_app_overrides_locks(&a));
	strmap_deinit(&services[0].spec.env);
	strmap_deinit(&services[1].spec.env);
}

static void a_lifetime_is_off_unless_a_label_asks_for_it_and_the_targets_label_counts_first(void **state)
{
	static const struct {
		const char *target_key, *target, *current_key, *current;
		bool ignore;
		int64_t max_age_ms;
	} rows[] = {
		{"x", "1", "x", "1", false, 0},
		{LABEL_LOCK_IGNORE_WHEN_STOPPED, "1", "x", "", true, 0},
		{"x", "", LABEL_LOCK_IGNORE_WHEN_STOPPED, "1", true, 0},
		{LABEL_LOCK_IGNORE_WHEN_STOPPED, "0", LABEL_LOCK_IGNORE_WHEN_STOPPED, "1", false, 0},
		{LABEL_LOCK_MAX_AGE, "1h", "x", "", false, 3600000},
		{"x", "", LABEL_LOCK_MAX_AGE, "90", false, 90000},
		{LABEL_LOCK_MAX_AGE, "2s", LABEL_LOCK_MAX_AGE, "1h", false, 2000},
		{"x", "", LABEL_LOCK_MAX_AGE, "soon", false, 0}, /* of a container that somebody else made */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct strmap target = MAP(rows[i].target_key, rows[i].target);
		struct strmap current = MAP(rows[i].current_key, rows[i].current);
		struct lock_lifetime l = lock_lifetime_of(&target, &current);

		if (l.ignore_when_stopped != rows[i].ignore || l.max_age_ms != rows[i].max_age_ms)
			fail_msg("row %zu: ignore %d, max age %lld", i, l.ignore_when_stopped, (long long)l.max_age_ms);
		strmap_deinit(&target);
		strmap_deinit(&current);
	}
	assert_false(lock_lifetime_of(NULL, NULL).ignore_when_stopped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_device_overrides_locks_by_a_variable_of_any_of_its_names),
		cmocka_unit_test(an_app_overrides_its_locks_by_the_environment_of_any_of_its_services),
		cmocka_unit_test(a_lifetime_is_off_unless_a_label_asks_for_it_and_the_targets_label_counts_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
