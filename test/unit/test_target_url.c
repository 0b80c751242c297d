/* A target behind a URL: real client, real sockets; the web server is ours and follows a script. */
#include "check.h"

#include <time.h>

#include "cloud/target_source.h"
#include "net/http_server.h"
#include "util/mem.h"
#include "util/str.h"

#define MAX_BYTES 64
#define FAR_MS    600000 /* a poll that must not come by itself */

struct web {
	struct check_fixture *f;
	struct http_server *server;
	struct target_source *source;
	uint16_t port;
	/* the next answer */
	int status;
	const char *body, *etag, *retry_after;
	bool holds;
	struct http_exchange *held;
	/* what was asked: "path etag token\n" each */
	char asked[4096];
	int polls;
	/* what the owner was told */
	char told[4096];
	int calls;
	bool refuses, source_stopped, server_stopped;
};

static void answer(struct web *w, struct http_exchange *x)
{
	struct http_header headers[4] = {0};
	size_t n = 0;

	if (w->etag)
		headers[n++] = (struct http_header){"ETag", w->etag};
	if (w->retry_after)
		headers[n++] = (struct http_header){"Retry-After", w->retry_after};
	http_respond(x, w->status, w->body ? "application/json" : NULL, w->body, w->body ? strlen(w->body) : 0,
		     headers);
}

static void on_request(void *ctx, struct http_exchange *x)
{
	struct web *w = ctx;
	const char *etag = http_exchange_header(x, "If-None-Match"), *token = http_exchange_header(x, "Authorization");

	w->polls++;
	snprintf(w->asked + strlen(w->asked), 512, "%s %s %s\n", http_exchange_path(x), etag ? etag : "-",
		 token ? token : "-");
	if (!w->holds) {
		answer(w, x);
		return;
	}
	assert_null(w->held);
	w->held = x;
}

static void let_go(struct web *w)
{
	answer(w, STEAL(w->held));
}

static bool on_document(void *ctx, const char *text, size_t len)
{
	struct web *w = ctx;

	w->calls++;
	snprintf(w->told + strlen(w->told), 512, "D:%.*s\n", (int)len, text);
	return !w->refuses;
}

static void on_failed(void *ctx, const struct err *err)
{
	struct web *w = ctx;
	char prefix[64];

	w->calls++;
	assert_true(err->code < 0);
	snprintf(prefix, sizeof(prefix), "target from http://127.0.0.1:%u: ", w->port);
	snprintf(w->told + strlen(w->told), 512, "F:%s\n",
		 str_starts(err->msg, prefix) ? err->msg + strlen(prefix) : err->msg);
}

static void on_unchanged(void *ctx)
{
	struct web *w = ctx;

	w->calls++;
	strcat(w->told, "U\n");
}

static void on_flag(void *ctx)
{
	*(bool *)ctx = true;
}

static int setup(void **state)
{
	struct web *w = calloc(1, sizeof(*w));
	struct err err = {0};

	check_setup((void **)&w->f);
	w->server = http_server_new(w->f->loop, NULL, on_request, w);
	assert_int_equal(http_server_listen_tcp(w->server, "127.0.0.1", 0, &w->port, &err), 0);
	*state = w;
	return 0;
}

static void stop_server(struct web *w)
{
	http_server_stop(w->server, on_flag, &w->server_stopped);
	if (w->held)
		let_go(w);
	RUN_UNTIL(w->f->loop, w->server_stopped);
	w->server = NULL;
}

static int teardown(void **state)
{
	struct web *w = *state;
	void *f = w->f;

	if (w->source && !w->source_stopped) {
		target_source_stop(w->source, on_flag, &w->source_stopped);
		assert_false(w->source_stopped);
		RUN_UNTIL(w->f->loop, w->source_stopped);
	}
	if (w->server)
		stop_server(w);
	check_run_turns(w->f->loop, 5);
	free(w);
	return check_teardown(&f);
}

static void start(struct web *w, int64_t interval_ms, const char *token_file)
{
	AUTO_FREE char *url = mem_printf("http://127.0.0.1:%u/fleet/t.json?secret=1", w->port);
	struct target_source_options options = {
		.location = url,
		.user_agent = "test",
		.token_file = token_file,
		.poll_interval_ms = interval_ms,
		.max_bytes = MAX_BYTES,
		.document = on_document,
		.failed = on_failed,
		.unchanged = on_unchanged,
		.ctx = w,
	};
	struct err err = {0};

	assert_int_equal(target_source_new(w->f->loop, &options, &w->source, &err), 0);
	assert_true(target_source_is_url(w->source));
	assert_int_equal(target_source_last_ok_ms(w->source), 0);
}

static void serve(struct web *w, int status, const char *body, const char *etag)
{
	w->status = status;
	w->body = body;
	w->etag = etag;
}

#define TOLD(w, n, expected)                                                                                           \
	do {                                                                                                           \
		RUN_UNTIL((w)->f->loop, (w)->calls >= (n));                                                            \
		check_run_turns((w)->f->loop, 5);                                                                      \
		assert_int_equal((w)->calls, n);                                                                       \
		assert_string_equal((w)->told, expected);                                                              \
		(w)->calls = 0;                                                                                        \
		(w)->told[0] = '\0';                                                                                   \
	} while (0)
#define ASKED(w, expected)                                                                                             \
	do {                                                                                                           \
		assert_string_equal((w)->asked, expected);                                                             \
		(w)->asked[0] = '\0';                                                                                  \
	} while (0)

static void only_the_etag_of_an_accepted_document_is_sent(void **state)
{
	struct web *w = *state;

	w->refuses = true;
	serve(w, 200, "one", "W/\"1\"");
	start(w, FAR_MS, NULL);
	TOLD(w, 1, "D:one\n");
	ASKED(w, "/fleet/t.json - -\n");
	w->refuses = false;
	target_source_poll(w->source); /* the refused one is offered again */
	TOLD(w, 1, "D:one\n");
	ASKED(w, "/fleet/t.json - -\n");
	assert_true(target_source_last_ok_ms(w->source) > 0);
	serve(w, 304, NULL, NULL);
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
	ASKED(w, "/fleet/t.json W/\"1\" -\n"); /* a weak one, verbatim */
	w->refuses = true;
	serve(w, 200, "two", "\"2\"");
	target_source_poll(w->source);
	TOLD(w, 1, "D:two\n");
	ASKED(w, "/fleet/t.json W/\"1\" -\n");
	serve(w, 304, NULL, NULL); /* the server took it back */
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
	ASKED(w, "/fleet/t.json W/\"1\" -\n");
}

static void the_same_document_again_is_unchanged_whatever_its_etag(void **state)
{
	struct web *w = *state;

	serve(w, 200, "one", "\"1\"");
	start(w, FAR_MS, NULL);
	TOLD(w, 1, "D:one\n");
	target_source_poll(w->source); /* a server that knows no 304 */
	TOLD(w, 1, "U\n");
	serve(w, 200, "one", "\"2\"");
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
	serve(w, 200, "one", NULL);
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
	ASKED(w, "/fleet/t.json - -\n/fleet/t.json \"1\" -\n/fleet/t.json \"1\" -\n/fleet/t.json \"2\" -\n"
		 "/fleet/t.json - -\n");
}

static void it_polls_by_itself_and_says_only_what_is_new(void **state)
{
	struct web *w = *state;

	serve(w, 200, "one", NULL);
	start(w, 5, NULL);
	RUN_UNTIL(w->f->loop, w->polls == 5);
	assert_string_equal(w->told, "D:one\n");
	serve(w, 200, "two", NULL);
	RUN_UNTIL(w->f->loop, w->calls == 2);
	assert_string_equal(w->told, "D:one\nD:two\n");
}

static void a_failure_is_retried_and_told_each_time(void **state)
{
	struct web *w = *state;

	serve(w, 500, "oops", NULL);
	start(w, 5, NULL); /* min(15 s * 2^n, interval) is the interval here */
	RUN_UNTIL(w->f->loop, w->calls == 3);
	assert_true(str_starts(w->told, "F:status 500\nF:status 500\nF:status 500\n"));
	w->told[0] = '\0';
	assert_int_equal(target_source_last_ok_ms(w->source), 0);
	serve(w, 200, "one", NULL);
	RUN_UNTIL(w->f->loop, strstr(w->told, "D:one\n"));
}

static void a_server_that_is_back_with_the_accepted_document_is_news(void **state)
{
	struct web *w = *state;

	w->holds = true; /* one poll after the other, none of them asked for */
	serve(w, 200, "one", "\"1\"");
	start(w, 5, NULL);
	RUN_UNTIL(w->f->loop, w->held);
	let_go(w);
	TOLD(w, 1, "D:one\n");
	RUN_UNTIL(w->f->loop, w->held);
	serve(w, 503, NULL, NULL);
	let_go(w);
	TOLD(w, 1, "F:status 503\n");
	RUN_UNTIL(w->f->loop, w->held);
	serve(w, 304, NULL, NULL);
	let_go(w);
	TOLD(w, 1, "U\n");
	RUN_UNTIL(w->f->loop, w->held);
	let_go(w); /* the second time it is none */
	RUN_UNTIL(w->f->loop, w->held);
	assert_int_equal(w->calls, 0);
}

static void what_is_no_document_is_a_failure(void **state)
{
	static const struct {
		int status;
		const char *body, *told;
	} rows[] = {
		{204, NULL, "F:status 204\n"},
		{200, "", "F:the document is empty\n"},
		{304, NULL, "F:status 304, but the request was unconditional\n"},
		{401, "{}", "F:status 401\n"},
		{404, "one", "F:status 404\n"},
		{206, "one", "F:status 206\n"},
	};
	struct web *w = *state;

	serve(w, rows[0].status, rows[0].body, "\"x\"");
	start(w, FAR_MS, NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		serve(w, rows[i].status, rows[i].body, "\"x\"");
		if (i > 0)
			target_source_poll(w->source);
		TOLD(w, 1, rows[i].told);
	}
}

static void the_size_limit_is_exact(void **state)
{
	struct web *w = *state;
	char text[MAX_BYTES + 2] = "", expected[MAX_BYTES + 8];

	memset(text, 'x', MAX_BYTES);
	serve(w, 200, text, NULL);
	start(w, FAR_MS, NULL);
	snprintf(expected, sizeof(expected), "D:%s\n", text);
	TOLD(w, 1, expected);
	text[MAX_BYTES] = 'x';
	target_source_poll(w->source);
	TOLD(w, 1, "F:the document is larger than 64 bytes\n");
}

/* The answer under way may be older than the question: one more poll follows, and serves all looks asked meanwhile. */
static void looks_during_a_poll_get_one_of_their_own(void **state)
{
	struct web *w = *state;

	w->holds = true;
	serve(w, 200, "one", NULL);
	start(w, FAR_MS, NULL);
	RUN_UNTIL(w->f->loop, w->held);
	target_source_poll(w->source);
	target_source_poll(w->source);
	check_run_turns(w->f->loop, 5);
	assert_int_equal(w->polls, 1);
	assert_true(target_source_pending(w->source));
	let_go(w);
	RUN_UNTIL(w->f->loop, w->held);
	assert_string_equal(w->told, "D:one\n");
	assert_int_equal(w->polls, 2);
	assert_false(target_source_pending(w->source));
	let_go(w);
	TOLD(w, 2, "D:one\nU\n");
	assert_int_equal(w->polls, 2);
}

/* With an interval of 5 ms only Retry-After can keep the next poll away. */
static void assert_keeps_away(struct web *w, int status, const char *retry_after)
{
	struct loop_timer timer;
	bool passed = false;

	serve(w, status, NULL, NULL);
	w->retry_after = retry_after;
	target_source_poll(w->source);
	RUN_UNTIL(w->f->loop, strstr(w->told, status == 429 ? "F:status 429\n" : "F:status 503\n"));
	w->told[0] = '\0';
	w->polls = 0;
	loop_timer_init(w->f->loop, &timer, on_flag, &passed);
	loop_timer_start(&timer, 100);
	RUN_UNTIL(w->f->loop, passed);
	assert_int_equal(w->polls, 0);
	passed = false;
	loop_timer_deinit(&timer, on_flag, &passed);
	RUN_UNTIL(w->f->loop, passed);
}

static void retry_after_is_honoured_in_seconds_and_as_a_date(void **state)
{
	struct web *w = *state;
	time_t in_an_hour = time(NULL) + 3600;
	struct tm tm;
	char date[64];

	gmtime_r(&in_an_hour, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	serve(w, 200, "one", NULL);
	start(w, 5, NULL);
	RUN_UNTIL(w->f->loop, w->calls == 1);
	assert_keeps_away(w, 503, "3600");
	assert_keeps_away(w, 429, date); /* asked for, it looks at once none the less */
	assert_keeps_away(w, 503, "99999999999");
	serve(w, 200, "two", NULL);
	target_source_poll(w->source);
	RUN_UNTIL(w->f->loop, strstr(w->told, "D:two\n"));
}

static void a_retry_after_that_makes_no_sense_or_is_past_does_not_delay(void **state)
{
	static const char *const texts[] = {"soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "0"};
	struct web *w = *state;

	serve(w, 503, NULL, NULL);
	w->retry_after = texts[0];
	start(w, 5, NULL);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		w->retry_after = texts[i];
		w->polls = 0;
		RUN_UNTIL(w->f->loop, w->polls >= 2);
	}
	w->retry_after = "3600"; /* of an answer that is no 429 or 503 */
	w->status = 500;
	w->polls = 0;
	RUN_UNTIL(w->f->loop, w->polls >= 3);
}

static void the_bearer_token_is_read_at_every_poll(void **state)
{
	struct web *w = *state;
	AUTO_FREE char *path = mem_printf("%s/token", w->f->dir), *expected = NULL;
	char longest[8194];

	serve(w, 200, "one", NULL);
	start(w, FAR_MS, path);
	expected = mem_printf("F:open token file %s: No such file or directory\n", path);
	TOLD(w, 1, expected);
	check_write_file(w->f->dir_fd, "token", "abc.def\n");
	target_source_poll(w->source);
	TOLD(w, 1, "D:one\n");
	check_write_file(w->f->dir_fd, "token", "rotated");
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
	ASKED(w, "/fleet/t.json - Bearer abc.def\n/fleet/t.json - Bearer rotated\n");

	check_write_file(w->f->dir_fd, "token", " \n");
	target_source_poll(w->source);
	free(expected);
	expected = mem_printf("F:token file %s is empty\n", path);
	TOLD(w, 1, expected);
	check_write_file(w->f->dir_fd, "token", "a\r\nX-Evil: 1");
	target_source_poll(w->source);
	free(expected);
	expected = mem_printf("F:token file %s holds more than one token\n", path);
	TOLD(w, 1, expected);
	memset(longest, 'a', sizeof(longest));
	longest[8193] = '\0';
	check_write_file(w->f->dir_fd, "token", longest);
	target_source_poll(w->source);
	free(expected);
	expected = mem_printf("F:token file %s is larger than 8192 bytes\n", path);
	TOLD(w, 1, expected);
	longest[8192] = '\0';
	check_write_file(w->f->dir_fd, "token", longest);
	target_source_poll(w->source);
	TOLD(w, 1, "U\n");
}

static void a_server_that_is_away_is_a_failure_and_found_again(void **state)
{
	struct web *w = *state;
	struct err err = {0};

	serve(w, 200, "one", NULL);
	start(w, FAR_MS, NULL);
	TOLD(w, 1, "D:one\n");
	stop_server(w);
	target_source_poll(w->source);
	RUN_UNTIL(w->f->loop, w->calls == 1);
	assert_true(str_starts(w->told, "F:"));
	assert_null(strstr(w->told, "secret")); /* the query may hold one */
	w->calls = 0;
	w->told[0] = '\0';
	w->server_stopped = false;
	w->server = http_server_new(w->f->loop, NULL, on_request, w);
	assert_int_equal(http_server_listen_tcp(w->server, "127.0.0.1", w->port, NULL, &err), 0);
	serve(w, 200, "two", NULL);
	target_source_poll(w->source);
	TOLD(w, 1, "D:two\n");
}

static void nothing_is_said_after_stop_even_with_a_poll_in_flight(void **state)
{
	struct web *w = *state;

	w->holds = true;
	serve(w, 200, "one", NULL);
	start(w, FAR_MS, NULL);
	RUN_UNTIL(w->f->loop, w->held);
	target_source_poll(w->source);
	target_source_stop(w->source, on_flag, &w->source_stopped);
	assert_false(w->source_stopped);
	RUN_UNTIL(w->f->loop, w->source_stopped);
	assert_int_equal(w->calls, 0);
}

static void it_can_be_stopped_before_it_ever_polled(void **state)
{
	struct web *w = *state;

	start(w, FAR_MS, NULL);
	target_source_stop(w->source, on_flag, &w->source_stopped);
	RUN_UNTIL(w->f->loop, w->source_stopped);
	assert_int_equal(w->polls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_the_etag_of_an_accepted_document_is_sent),
		TEST(the_same_document_again_is_unchanged_whatever_its_etag),
		TEST(it_polls_by_itself_and_says_only_what_is_new),
		TEST(a_failure_is_retried_and_told_each_time),
		TEST(a_server_that_is_back_with_the_accepted_document_is_news),
		TEST(what_is_no_document_is_a_failure),
		TEST(the_size_limit_is_exact),
		TEST(looks_during_a_poll_get_one_of_their_own),
		TEST(retry_after_is_honoured_in_seconds_and_as_a_date),
		TEST(a_retry_after_that_makes_no_sense_or_is_past_does_not_delay),
		TEST(the_bearer_token_is_read_at_every_poll),
		TEST(a_server_that_is_away_is_a_failure_and_found_again),
		TEST(nothing_is_said_after_stop_even_with_a_poll_in_flight),
		TEST(it_can_be_stopped_before_it_ever_polled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
