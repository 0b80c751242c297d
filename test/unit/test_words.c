/* Command lines into words (spec engine.md 1.3). */
#include "model_fixture.h"

static void a_command_line_is_split_as_a_shell_would_and_nothing_expanded(void **state)
{
	static const struct {
		const char *composition, *words;
	} rows[] = {
		{"\"\"", ""},
		{"\"  \"", ""},
		{"\"sleep 100\"", "sleep|100"},
		{"\" a\\t b\\n\"", "a|b"},
		{"\"a 'b c' d\"", "a|b c|d"},
		{"\"a \\\"b \\\\\\\"c\\\\$ \\\\n\\\"\"", "a|b \"c$ \\n"},
		{"\"a\\\\ b ''\"", "a b|"},
		{"\"echo $X ${Y z} *\"", "echo|$X|${Y z}|*"},
		{"\"a&&b|c;d > e\"", "a|&&|b|||c|;|d|>|e"},
		{"\"a#b # comment\"", "a#b"},
		{"[\"a b\",\"\"]", "a b|"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *composition = mem_printf("{\"command\":%s}", rows[i].composition);
		AUTO_FREE char *text = fixture_composition(composition), *joined = NULL;
		struct target *t = fixture_target(text);

		joined = strv_join(&t->apps[0].services[0].spec.command, "|");
		assert_string_equal(joined, rows[i].words);
		assert_true(t->apps[0].services[0].has_command);
		target_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_line_is_split_as_a_shell_would_and_nothing_expanded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
