/* Columns, colours and spans of time for people. */
#include "check.h"

#include "cli/text.h"
#include "util/mem.h"

static void spans_read_like_people_say_them(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
		{-5, "0 s"},           {999, "0 s"},           {59999, "59 s"},         {60000, "1 min"},
		{3599999, "59 min"},   {3600000, "1 h 0 min"}, {7860000, "2 h 11 min"}, {86399999, "23 h 59 min"},
		{86400000, "1 d 0 h"}, {266400000, "3 d 2 h"},
	};
	char out[TEXT_SPAN_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(text_span(rows[i].ms, out), rows[i].text);
	assert_string_equal(text_ago("no time", out), "-");
	assert_string_equal(text_ago(NULL, out), "-");
	assert_string_equal(text_ago("2999-01-01T00:00:00Z", out), "0 s");
}

static void control_characters_from_outside_do_not_reach_the_terminal(void **state)
{
	static const char *const rows[][2] = {
		{"plain", "plain"},        {"a\033[2Jb", "a?[2Jb"},        {"tab\tnew\nline", "tab?new?line"},
		{"\177\302\233x", "???x"}, {"caf\303\251", "caf\303\251"}, {NULL, "-"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *clean = text_clean(rows[i][0]);

		assert_string_equal(clean, rows[i][1]);
	}
}

static char *printed(const struct table *t, bool colours)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	table_print(t, to, "  ", colours);
	fclose(to);
	return text;
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
	static const char *const cells[] = {"A", "B", "long name", "x", "caf\303\251", "y", "last"};
	AUTO_FREE char *plain = NULL;
	AUTO_FREE char *colourful = NULL;
	struct table t;

	(void)state;
	table_init(&t, 2);
	for (size_t i = 0; i < ARRAY_LEN(cells); i++)
		table_add(&t, i == 2 ? TEXT_GOOD : TEXT_PLAIN, cells[i]);
	plain = printed(&t, false);
	assert_string_equal(plain, "  A          B\n"
				   "  long name  x\n"
				   "  caf\303\251       y\n"
				   "  last\n");
	colourful = printed(&t, true);
	assert_non_null(strstr(colourful, "  \033[32mlong name\033[0m  x\n"));
	table_deinit(&t);
}

static void colours_need_a_terminal_and_no_objection(void **state)
{
	int terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int file = open("/dev/null", O_WRONLY | O_CLOEXEC);

	(void)state;
	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	assert_false(text_wants_colours(file));
	if (terminal >= 0) {
		assert_true(text_wants_colours(terminal));
		setenv("TERM", "dumb", 1);
		assert_false(text_wants_colours(terminal));
		setenv("TERM", "xterm", 1);
		setenv("NO_COLOR", "1", 1);
		assert_false(text_wants_colours(terminal));
		close(terminal);
	}
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_read_like_people_say_them),
		cmocka_unit_test(control_characters_from_outside_do_not_reach_the_terminal),
		cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(colours_need_a_terminal_and_no_objection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
