/* The pure part of src/engine: cutting streams into messages, what a pull's messages mean, what an event says. */
#include "check.h"

#include "engine/event.h"
#include "engine/progress.h"
#include "engine/splitter.h"
#include "util/json.h"
#include "util/mem.h"
#include "util/str.h"

struct cut {
	struct strv messages;
	int end_after; /* return 7 after this many */
};

static int on_cut(void *ctx, const char *text, size_t len)
{
	struct cut *c = ctx;

	strv_take(&c->messages, text ? mem_strndup(text, len) : mem_strdup("TOO LONG"));
	return c->end_after && (int)c->messages.n == c->end_after ? 7 : 0;
}

/* Feeds `text` in pieces of `piece` bytes and gives the messages joined by "|". */
static char *cut_text(const char *text, size_t piece, size_t max)
{
	struct splitter s;
	struct cut c = {0};
	size_t len = strlen(text);
	char *joined;

	splitter_init(&s, max);
	for (size_t at = 0; at < len; at += piece)
		assert_int_equal(splitter_feed(&s, text + at, len - at < piece ? len - at : piece, on_cut, &c), 0);
	if (splitter_is_inside(&s))
		strv_add(&c.messages, "INSIDE");
	joined = strv_join(&c.messages, "|");
	strv_deinit(&c.messages);
	splitter_deinit(&s);
	return joined;
}

static void messages_are_cut_wherever_the_reads_fall(void **state)
{
	static const struct {
		const char *text, *messages;
	} rows[] = {
		{"", ""},
		{"\n\r\n \n", ""},
		{"{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}|{\"b\":2}"},
		{"{\"a\":1}\r\n{\"b\":2}\r\n", "{\"a\":1}|{\"b\":2}"},
		{"{\"a\":1}{\"b\":2}", "{\"a\":1}|{\"b\":2}"},
		{"{\"a\":{\"b\":[{}]}}{}", "{\"a\":{\"b\":[{}]}}|{}"},
		{"{\"a\":\"}{\"}{}", "{\"a\":\"}{\"}|{}"},
		{"{\"a\":\"\\\"}{\\\\\"}{}", "{\"a\":\"\\\"}{\\\\\"}|{}"},
		{"{\"a\":1", "INSIDE"},
		{"{\"a\":\"b\n{\"c\":1}\n", "{\"a\":\"b\n|{\"c\":1}"},
		{"{\"a\":[\n{\"c\":1}\n", "{\"a\":[\n|{\"c\":1}"},
		{"}]\n{}", "}]\n|{}"},
		{"null\n1\n", "null\n|1\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t piece = 1; piece < 20; piece++) {
			AUTO_FREE char *got = cut_text(rows[i].text, piece, 64);

			assert_string_equal(got, rows[i].messages);
		}
}

static void a_message_over_the_limit_is_dropped_and_the_next_one_is_seen(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 30; piece++) {
		AUTO_FREE char *fits = cut_text("{\"a\":\"12\"}{}\n", piece, 10);
		AUTO_FREE char *one_more = cut_text("{\"a\":\"123\"}{}\n", piece, 10);
		AUTO_FREE char *endless = cut_text("{\"a\":\"123456789012345678901234567890", piece, 10);
		AUTO_FREE char *broken = cut_text("{{{{{{{{{{{{{{{\n{}", piece, 10);

		assert_string_equal(fits, "{\"a\":\"12\"}|{}");
		assert_string_equal(one_more, "TOO LONG|{}");
		assert_string_equal(endless, "INSIDE");
		assert_string_equal(broken, "TOO LONG|{}");
	}
}

static void the_reader_can_end_the_feed(void **state)
{
	struct splitter s;
	struct cut c = {.end_after = 1};

	(void)state;
	splitter_init(&s, 64);
	assert_int_equal(splitter_feed(&s, "{}{}{}", 6, on_cut, &c), 7);
	assert_int_equal(c.messages.n, 1);
	strv_deinit(&c.messages);
	splitter_deinit(&s);
}

#define STATUS(id, status) "{\"status\":\"" status "\",\"progressDetail\":{},\"id\":\"" id "\"}"
#define MOVED(id, status, current, total)                                                                              \
	"{\"status\":\"" status "\",\"progressDetail\":{\"current\":" #current ",\"total\":" #total "},\"id\":\"" id   \
	"\"}"

static int feed(struct pull_progress *p, const char *text)
{
	struct err err = {0};

	assert_int_equal(pull_progress_message(p, text, strlen(text), &err), 0);
	return p->percent;
}

static void progress_is_the_mean_of_download_and_extraction_over_layers(void **state)
{
	static const struct {
		const char *message;
		int percent;
	} rows[] = {
		{"{\"status\":\"Pulling from a/b\",\"id\":\"latest\"}", 0},
		{STATUS("l1", "Pulling fs layer"), 0},
		{STATUS("l2", "Pulling fs layer"), 0},
		{STATUS("l2", "Waiting"), 0},
		{MOVED("l1", "Downloading", 1000000, 4000000), 6}, /* (12.5 + 0) / 2 */
		{MOVED("l1", "Downloading", 4000000, 4000000), 25},
		{STATUS("l1", "Verifying Checksum"), 25},
		{STATUS("l1", "Download complete"), 25},
		{MOVED("l2", "Downloading", 1000000, 2000000), 37},
		{MOVED("l1", "Extracting", 2000000, 4000000), 50},
		{STATUS("l1", "Pull complete"), 62},
		{STATUS("l2", "Download complete"), 75},
		{STATUS("l2", "Pull complete"), 100},
		{"{\"status\":\"Digest: sha256:00\"}", 100},
		{"{\"status\":\"Status: Downloaded newer image for a/b:latest\"}", 100},
	};
	struct pull_progress p;

	(void)state;
	pull_progress_init(&p, false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(feed(&p, rows[i].message), rows[i].percent);
	pull_progress_deinit(&p);
}

static void tiny_layers_do_not_count_while_others_do(void **state)
{
	struct pull_progress p;

	(void)state;
	pull_progress_init(&p, false);
	feed(&p, STATUS("big", "Pulling fs layer"));
	feed(&p, STATUS("tiny", "Pulling fs layer"));
	assert_int_equal(feed(&p, MOVED("tiny", "Downloading", 102399, 102399)), 0);
	assert_int_equal(feed(&p, MOVED("big", "Downloading", 1000000, 2000000)), 25);
	assert_int_equal(feed(&p, MOVED("big", "Downloading", 2000000, 2000000)), 50);
	/* below 1 MiB its extraction does not count either */
	assert_int_equal(feed(&p, MOVED("tiny", "Extracting", 500, 1048575)), 50);
	assert_int_equal(feed(&p, MOVED("big", "Extracting", 1000000, 2000000)), 75);
	pull_progress_deinit(&p);

	pull_progress_init(&p, false); /* exactly at the limit it counts */
	feed(&p, STATUS("big", "Pulling fs layer"));
	feed(&p, MOVED("other", "Downloading", 102400, 102400));
	assert_int_equal(p.percent, 25);
	pull_progress_deinit(&p);

	pull_progress_init(&p, false); /* nothing but tiny ones: they are all there is */
	feed(&p, MOVED("tiny", "Downloading", 50, 100));
	assert_int_equal(p.percent, 25);
	pull_progress_deinit(&p);
}

static void progress_never_falls_and_ignores_odd_numbers(void **state)
{
	struct pull_progress p;

	(void)state;
	pull_progress_init(&p, false);
	feed(&p, MOVED("a", "Downloading", 1500000, 2000000));
	assert_int_equal(p.percent, 37);
	feed(&p, STATUS("b", "Pulling fs layer"));
	assert_int_equal(p.percent, 37);
	feed(&p, MOVED("a", "Downloading", -5, 2000000));
	feed(&p, MOVED("a", "Downloading", 5, 0));
	feed(&p, MOVED("a", "Downloading", 5, -1));
	feed(&p, MOVED("a", "Downloading", 1e300, 1e300));
	feed(&p, "{\"status\":5,\"id\":{},\"progressDetail\":[]}");
	assert_int_equal(p.percent, 37);
	feed(&p, MOVED("a", "Downloading", 9000000, 2000000)); /* more than all is all */
	feed(&p, MOVED("b", "Downloading", 2000000, 2000000));
	assert_int_equal(p.percent, 50);
	pull_progress_deinit(&p);
}

static void an_image_that_is_there_already_is_complete(void **state)
{
	struct pull_progress p;

	(void)state;
	pull_progress_init(&p, false);
	assert_int_equal(feed(&p, "{\"status\":\"Status: Image is up to date for a/b:latest\"}"), 100);
	pull_progress_deinit(&p);
	pull_progress_init(&p, false);
	assert_int_equal(feed(&p, STATUS("l1", "Already exists")), 100);
	pull_progress_deinit(&p);
}

static void balena_engine_tells_the_total(void **state)
{
	struct pull_progress p;

	(void)state;
	pull_progress_init(&p, true);
	assert_int_equal(feed(&p, MOVED("l1", "Downloading", 2000000, 2000000)), 0);
	assert_int_equal(feed(&p, MOVED("Total", "Downloading", 199, 1000)), 19);
	assert_int_equal(feed(&p, MOVED("Total", "Downloading", 100, 1000)), 19);
	assert_int_equal(feed(&p, "{\"status\":\"Status: Downloaded newer image for a\"}"), 100);
	pull_progress_deinit(&p);
}

static void more_layers_than_any_image_has_are_not_counted(void **state)
{
	struct pull_progress p;
	char text[128];

	(void)state;
	pull_progress_init(&p, false);
	for (int i = 0; i < PULL_LAYERS_MAX + 1; i++) {
		snprintf(text, sizeof(text), "{\"status\":\"Waiting\",\"id\":\"l%d\"}", i);
		feed(&p, text);
	}
	assert_int_equal(p.n_layers, PULL_LAYERS_MAX);
	pull_progress_deinit(&p);
}

static void a_failure_in_the_stream_keeps_the_engines_sentence(void **state)
{
	static const struct {
		const char *message, *sentence;
		int code;
	} rows[] = {
		{"{\"errorDetail\":{\"message\":\"manifest for r/a:1 not found: manifest unknown\"},\"error\":\"x\"}",
		 "manifest for r/a:1 not found: manifest unknown", -ENOENT},
		{"{\"error\":\"pull access denied for a, repository does not exist or may require 'docker login'\"}",
		 "pull access denied for a, repository does not exist or may require 'docker login'", -EACCES},
		{"{\"error\":\"Get https://r/v2/: unauthorized: authentication required\"}",
		 "Get https://r/v2/: unauthorized: authentication required", -EACCES},
		{"{\"error\":\"write /var/lib/docker/tmp/x: no space left on device\"}",
		 "write /var/lib/docker/tmp/x: no space left on device", -ENOSPC},
		{"{\"error\":\"unexpected EOF\"}", "unexpected EOF", -EIO},
		{"{\"error\":5}", "the pull failed, the engine does not say why", -EIO},
		{"{\"errorDetail\":{}}", "the pull failed, the engine does not say why", -EIO},
		{"[]", "a message of the pull is not a JSON object", -EPROTO},
		{"{\"status\":", "a message of the pull is not a JSON object", -EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pull_progress p;
		struct err err = {0};

		pull_progress_init(&p, false);
		assert_int_equal(pull_progress_message(&p, rows[i].message, strlen(rows[i].message), &err),
				 rows[i].code);
		assert_int_equal(err.code, rows[i].code);
		assert_string_equal(err.msg, rows[i].sentence);
		pull_progress_deinit(&p);
	}
}

static bool parse(const char *text, struct json **tree, struct engine_event *ev)
{
	struct err err = {0};

	assert_int_equal(json_parse(text, strlen(text), 4096, tree, &err), 0);
	return engine_event_parse(*tree, ev);
}

static void an_event_tells_type_action_subject_and_time(void **state)
{
	struct json *tree;
	struct engine_event ev;

	(void)state;
	assert_true(parse("{\"status\":\"die\",\"id\":\"abc\",\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{"
			  "\"ID\":\"abc\","
			  "\"Attributes\":{\"exitCode\":\"0\",\"name\":\"web\"}},\"time\":1700000000,"
			  "\"timeNano\":1700000000123456789}",
			  &tree, &ev));
	assert_int_equal(ev.type, ENGINE_CONTAINER);
	assert_string_equal(ev.action, "die");
	assert_string_equal(ev.id, "abc");
	assert_string_equal(ev.name, "web");
	assert_int_equal(ev.time_ms, INT64_C(1700000000123));
	json_free(tree);

	assert_true(parse("{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{\"ID\":\"1_data\"},\"time\":17}",
			  &tree, &ev));
	assert_int_equal(ev.type, ENGINE_VOLUME);
	assert_string_equal(ev.name, "");
	assert_int_equal(ev.time_ms, 17000);
	json_free(tree);
}

static void podmans_words_in_an_event_become_dockers(void **state)
{
	struct json *tree;
	struct engine_event ev;

	(void)state;
	assert_true(parse("{\"status\":\"remove\",\"id\":\"abc\",\"Type\":\"container\",\"Action\":\"remove\","
			  "\"Actor\":{\"ID\":\"abc\",\"Attributes\":{\"name\":\"web\",\"podId\":\"\"}},\"time\":17}",
			  &tree, &ev));
	assert_string_equal(ev.action, "destroy");
	assert_string_equal(ev.id, "abc");
	json_free(tree);
	assert_true(parse("{\"Type\":\"container\",\"Action\":\"died\",\"Actor\":{\"ID\":\"abc\"}}", &tree, &ev));
	assert_string_equal(ev.action, "die");
	json_free(tree);
	assert_true(parse("{\"status\":\"remove\",\"Type\":\"volume\",\"Action\":\"remove\",\"Actor\":{\"ID\":\"\","
			  "\"Attributes\":{\"containerExitCode\":\"0\",\"name\":\"1_data\"}},\"time\":17}",
			  &tree, &ev));
	assert_string_equal(ev.action, "destroy");
	assert_string_equal(ev.id, "1_data");
	json_free(tree);
}

static void what_is_no_event_of_ours_is_ignored(void **state)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		"5",
		"{\"Type\":\"container\"}",
		"{\"Type\":\"container\",\"Action\":\"die\"}",
		"{\"Type\":\"plugin\",\"Action\":\"enable\",\"Actor\":{\"ID\":\"x\"}}",
		"{\"Type\":5,\"Action\":\"die\",\"Actor\":{\"ID\":\"x\"}}",
		"{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":5}}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct json *tree;
		struct engine_event ev;

		assert_false(parse(texts[i], &tree, &ev));
		json_free(tree);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_cut_wherever_the_reads_fall),
		cmocka_unit_test(a_message_over_the_limit_is_dropped_and_the_next_one_is_seen),
		cmocka_unit_test(the_reader_can_end_the_feed),
		cmocka_unit_test(progress_is_the_mean_of_download_and_extraction_over_layers),
		cmocka_unit_test(tiny_layers_do_not_count_while_others_do),
		cmocka_unit_test(progress_never_falls_and_ignores_odd_numbers),
		cmocka_unit_test(an_image_that_is_there_already_is_complete),
		cmocka_unit_test(balena_engine_tells_the_total),
		cmocka_unit_test(more_layers_than_any_image_has_are_not_counted),
		cmocka_unit_test(a_failure_in_the_stream_keeps_the_engines_sentence),
		cmocka_unit_test(an_event_tells_type_action_subject_and_time),
		cmocka_unit_test(podmans_words_in_an_event_become_dockers),
		cmocka_unit_test(what_is_no_event_of_ours_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
