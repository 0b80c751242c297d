/* Log lines, read back from a pipe. */
#include "check.h"

#include "util/buf.h"
#include "util/json.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

static int reader, writer;

static int pipe_setup(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	reader = fds[0];
	writer = fds[1];
	return 0;
}

static int pipe_teardown(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, STDOUT_FILENO);
	close(reader);
	close(writer);
	return 0;
}

/* All that was logged since the last call, to be freed. */
static char *logged(void)
{
	struct buf b;
	char bytes[4096];
	ssize_t n;

	buf_init(&b, 1 << 20);
	while ((n = read(reader, bytes, sizeof(bytes))) > 0)
		buf_add(&b, bytes, (size_t)n);
	return buf_steal(&b);
}

/* The line starts with the time; the rest is `want`. */
static void assert_line(const char *want)
{
	AUTO_FREE char *line = logged();
	AUTO_FREE char *time_text = mem_strndup(line, 24);
	int64_t ms;

	assert_true(str_parse_time(time_text, &ms));
	assert_true(ms > INT64_C(1600000000000));
	assert_int_equal(line[24], ' ');
	assert_string_equal(line + 25, want);
}

static void a_text_line_has_time_level_event_and_fields(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	log_info("app_settled");
	assert_line("info app_settled\n");
	log_warn("update_blocked", kv_str("service", "main"), kv_i64("took_ms", -5), kv_bool("ok", false),
		 kv_bool("force", true), kv_time("since", 1));
	assert_line("warn update_blocked service=main took_ms=-5 ok=false force=true since=1970-01-01T00:00:00.001Z\n");
	log_error("step_failed", kv_str("err", "no: such thing"));
	assert_line("error step_failed err=\"no: such thing\"\n");
}

static void microseconds_are_written_as_milliseconds(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	log_info("stopped", kv_us("a_ms", 0), kv_us("b_ms", 7), kv_us("c_ms", 1234567));
	assert_line("info stopped a_ms=0.000 b_ms=0.007 c_ms=1234.567\n");
}

static void absent_values_leave_no_field(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	log_info("lock_seen", kv_str("holder", NULL), kv_time("since", 0), kv_i64("uid", 0), kv_str("path", "/x"));
	assert_line("info lock_seen uid=0 path=/x\n");
}

static void text_values_are_quoted_only_when_needed(void **state)
{
	static const struct {
		const char *value, *want;
	} rows[] = {
		{"plain", "plain"},
		{"é€😀/path:1,2;{}", "é€😀/path:1,2;{}"},
		{"back\\slash", "back\\slash"},
		{"", "\"\""},
		{"two words", "\"two words\""},
		{"a=b", "\"a=b\""},
		{"say \"hi\"", "\"say \\\"hi\\\"\""},
		{"\"", "\"\\\"\""},
		{"line\nend", "\"line\\nend\""},
		{"\x1B[31m", "\"\\u001b[31m\""}, /* no terminal is steered */
		{"\x7F", "\"\\u007f\""},
		{"\xC2\x9B"
		 "31m",
		 "\"\\u009b31m\""},
		{"bad\xFF", "\"bad\xEF\xBF\xBD\""},
		{"cut\xC3", "\"cut\xEF\xBF\xBD\""},
	};

	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *want = mem_printf("info said v=%s\n", rows[i].want);

		log_info("said", kv_str("v", rows[i].value));
		assert_line(want);
	}
}

static void a_json_line_is_one_object_with_typed_fields(void **state)
{
	AUTO_FREE char *line = NULL;
	struct json *v;
	struct err err;
	int64_t n;

	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, writer);
	log_warn("step_failed", kv_str("service", "a \"b\"\n\xFF"), kv_i64("took_ms", 12), kv_bool("force", true),
		 kv_str("none", NULL), kv_time("since", 1));
	line = logged();
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
	assert_int_equal(json_parse(line, strlen(line), 10000, &v, &err), 0);
	assert_int_equal(json_size(v), 7);
	assert_string_equal(json_key_at(v, 0), "ts");
	assert_true(str_parse_time(json_str(json_get(v, "ts")), &n));
	assert_string_equal(json_str(json_get(v, "level")), "warn");
	assert_string_equal(json_str(json_get(v, "event")), "step_failed");
	assert_string_equal(json_str(json_get(v, "service")), "a \"b\"\n\xEF\xBF\xBD");
	assert_true(json_i64(json_get(v, "took_ms"), &n));
	assert_int_equal(n, 12);
	assert_true(json_bool(json_get(v, "force")));
	assert_string_equal(json_str(json_get(v, "since")), "1970-01-01T00:00:00.001Z");
	json_free(v);
}

static int evaluated;

static const char *evaluate(void)
{
	evaluated++;
	return "x";
}

static void levels_above_the_chosen_one_print_and_evaluate_nothing(void **state)
{
	AUTO_FREE char *lines = NULL;

	(void)state;
	evaluated = 0;
	log_setup(LOG_LEVEL_WARN, LOG_FORMAT_TEXT, writer);
	log_error("e");
	log_warn("w");
	log_info("i", kv_str("v", evaluate()));
	log_debug("d", kv_str("v", evaluate()));
	lines = logged();
	assert_non_null(strstr(lines, " error e\n"));
	assert_non_null(strstr(lines, " warn w\n"));
	assert_null(strstr(lines, "info"));
	assert_null(strstr(lines, "debug"));
	assert_int_equal(evaluated, 0);
	assert_false(log_enabled(LOG_LEVEL_INFO));
	log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, writer);
	log_debug("d", kv_str("v", evaluate()));
	assert_line("debug d v=x\n");
	assert_int_equal(evaluated, 1);
}

static void names_of_levels_and_formats_are_read(void **state)
{
	enum log_level level = LOG_LEVEL_ERROR;
	enum log_format format = LOG_FORMAT_TEXT;

	(void)state;
	assert_true(log_level_parse("debug", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_true(log_level_parse("error", &level) && level == LOG_LEVEL_ERROR);
	assert_true(log_level_parse("warn", &level) && level == LOG_LEVEL_WARN);
	assert_true(log_level_parse("info", &level) && level == LOG_LEVEL_INFO);
	assert_false(log_level_parse("loud", &level) || log_level_parse("", &level) || log_level_parse(NULL, &level));
	assert_int_equal(level, LOG_LEVEL_INFO);
	assert_true(log_format_parse("json", &format));
	assert_int_equal(format, LOG_FORMAT_JSON);
	assert_true(log_format_parse("text", &format) && format == LOG_FORMAT_TEXT);
	assert_false(log_format_parse("xml", &format) || log_format_parse(NULL, &format));
}

static void a_value_is_cut_at_its_limit_between_characters(void **state)
{
	static const char *const characters[] = {"x", "é", "€", "😀"};

	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	for (size_t c = 0; c < ARRAY_LEN(characters); c++) {
		size_t n = strlen(characters[c]), fit = 4096 / n;
		AUTO_FREE char *value = mem_new(8192, 1);
		AUTO_FREE char *want = NULL;

		while (strlen(value) < 4096)
			strcat(value, characters[c]);
		if (4096 % n == 0) {
			want = mem_printf("info said v=%s\n", value);
			log_info("said", kv_str("v", value));
			assert_line(want);
			free(STEAL(want));
		}
		strcat(value, characters[c]);
		want = mem_printf("info said v=%.*s…\n", (int)(fit * n), value);
		log_info("said", kv_str("v", value));
		assert_line(want);
	}
}

static void many_large_values_still_give_one_whole_line(void **state)
{
	AUTO_FREE char *value = mem_new(5000, 1);
	struct kv fields[41];
	AUTO_FREE char *line = NULL;
	struct json *v;
	struct err err;

	(void)state;
	fcntl(writer, F_SETPIPE_SZ, 1 << 20);
	memset(value, 1, 4999); /* each byte becomes six */
	for (int i = 0; i < 40; i++)
		fields[i] = kv_str("v", value);
	for (int i = 0; i < 40; i++)
		fields[i].key = &"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"[i]; /* all different */
	fields[39] = kv_i64("last", 1);
	fields[40] = (struct kv){.type = KV_END};
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, writer);
	log_write(LOG_LEVEL_INFO, "said", fields);
	line = logged();
	assert_true(strlen(line) <= 262144 + 2);
	assert_int_equal(json_parse(line, strlen(line), 1 << 20, &v, &err), 0);
	assert_true(json_size(v) > 10 && json_size(v) < 43);
	assert_non_null(json_get(v, "last")); /* what fits is there */
	json_free(v);
}

/* How often `word` stands in the lines, and the sum of the counts of dropped lines. */
static int occurrences(const char *lines, const char *word)
{
	int n = 0;

	while ((lines = strstr(lines, word))) {
		lines += strlen(word);
		n++;
	}
	return n;
}

static int dropped(const char *lines)
{
	static const char report[] = " warn log_lines_dropped count=";
	int n = 0;

	while ((lines = strstr(lines, report))) {
		lines += strlen(report);
		n += atoi(lines);
	}
	return n;
}

static void a_reader_that_does_not_keep_up_costs_lines_that_are_counted(void **state)
{
	AUTO_FREE char *value = mem_new(4001, 1);
	AUTO_FREE char *during = NULL;
	AUTO_FREE char *after = NULL;
	int written, sent = 40;

	(void)state;
	memset(value, 'x', 4000);
	fcntl(writer, F_SETPIPE_SZ, 65536);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	for (int i = 0; i < sent; i++)
		log_info("said", kv_str("v", value));
	during = logged();
	written = occurrences(during, value);
	assert_true(written > 0 && written < sent);
	log_info("after");
	after = logged();
	assert_int_equal(written + dropped(during) + dropped(after), sent);
	assert_true(dropped(after) > 0);
	assert_int_equal(occurrences(after, " info after\n"), 1);
	log_info("again");
	assert_line("info again\n");
}

/* Were it written as it is, this test would never end. */
static void a_blocking_pipe_that_nobody_reads_does_not_block_us(void **state)
{
	AUTO_FREE char *value = mem_new(4001, 1);
	AUTO_FREE char *during = NULL;

	(void)state;
	memset(value, 'x', 4000);
	fcntl(writer, F_SETFL, 0);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	for (int i = 0; i < 400; i++)
		log_info("said", kv_str("v", value));
	assert_int_equal(fcntl(writer, F_GETFL) & O_NONBLOCK, 0); /* others may share it */
	during = logged();
	assert_true(occurrences(during, value) > 0);
}

static void a_line_after_a_torn_one_stands_alone(void **state)
{
	AUTO_FREE char *value = mem_new(4097, 1);
	AUTO_FREE char *during = NULL;
	AUTO_FREE char *after = NULL;
	struct kv fields[] = {{0}, {0}, {0}, {.type = KV_END}};

	(void)state;
	memset(value, 'x', 4096);
	for (int i = 0; i < 3; i++)
		fields[i] = kv_str("v", value);
	fcntl(writer, F_SETPIPE_SZ, 8192);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	log_write(LOG_LEVEL_INFO, "said", fields); /* more than the pipe holds, and than it takes whole */
	during = logged();
	assert_null(strchr(during, '\n'));
	log_info("after");
	after = logged();
	assert_int_equal(after[0], '\n');
	assert_int_equal(dropped(after), 1);
	assert_int_equal(occurrences(after, " info after\n"), 1);
}

static void held_lines_leave_together_at_the_outermost_release(void **state)
{
	AUTO_FREE char *nothing = NULL, *all = NULL;
	const char *two;

	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	log_hold();
	log_info("one");
	log_hold();
	log_info("two");
	log_release();
	nothing = logged();
	assert_string_equal(nothing, "");
	log_release();
	all = logged();
	two = strstr(all, "info two\n");
	assert_non_null(two);
	assert_true(strstr(all, "info one\n") < two);
	log_info("three");
	assert_line("info three\n");
}

static void much_held_text_is_written_before_its_time_and_nothing_is_lost(void **state)
{
	AUTO_FREE char *value = mem_new(1, 4001);
	size_t lines = 0;

	(void)state;
	memset(value, 'x', 4000);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, writer);
	fcntl(writer, F_SETPIPE_SZ, 1 << 20);
	log_hold();
	for (int i = 0; i < 100; i++)
		log_info("big", kv_str("v", value));
	log_release();
	AUTO_FREE char *all = logged();

	for (const char *p = all; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 100);
}

static void logging_keeps_errno(void **state)
{
	(void)state;
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, -1);
	errno = ENOENT;
	log_info("said");
	assert_int_equal(errno, ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pipe_setup, pipe_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_text_line_has_time_level_event_and_fields),
		TEST(microseconds_are_written_as_milliseconds),
		TEST(absent_values_leave_no_field),
		TEST(text_values_are_quoted_only_when_needed),
		TEST(a_json_line_is_one_object_with_typed_fields),
		TEST(levels_above_the_chosen_one_print_and_evaluate_nothing),
		TEST(names_of_levels_and_formats_are_read),
		TEST(a_value_is_cut_at_its_limit_between_characters),
		TEST(many_large_values_still_give_one_whole_line),
		TEST(a_reader_that_does_not_keep_up_costs_lines_that_are_counted),
		TEST(a_blocking_pipe_that_nobody_reads_does_not_block_us),
		TEST(a_line_after_a_torn_one_stands_alone),
		TEST(held_lines_leave_together_at_the_outermost_release),
		TEST(much_held_text_is_written_before_its_time_and_nothing_is_lost),
		TEST(logging_keeps_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
