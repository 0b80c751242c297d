/*
 * Requests as they come over the wire: the real server, real keys in a real store; only the reconciler is played. The
 * exact answers are those of spec device-api.md 15.
 */
#include "test_api_fake.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <zlib.h>

#include "util/version.h"

struct world {
	struct check_fixture *f;
	struct store *store;
	struct keys *keys;
	struct http_server *server;
	struct api *api;
	uint16_t port;
	bool closed;
	unsigned updates;
	bool force, cancel;
	char global[KEY_LENGTH + 1], app_1[KEY_LENGTH + 1];
	char answer[65536];
};

static uint64_t on_update_asked(void *ctx, bool force, bool cancel)
{
	struct world *w = ctx;

	w->updates++;
	w->force = force;
	w->cancel = cancel;
	return 42;
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void start(struct world *w, bool key_needed)
{
	struct api_options o = {.loop = w->f->loop,
				.reconcile = &fake,
				.keys = w->keys,
				.key_needed = key_needed,
				.update = on_update_asked,
				.ctx = w,
				.version = LOCKKEEPER_API_VERSION};
	struct err err = {0};

	fake.loop = w->f->loop;
	w->api = api_new(&o);
	w->server = http_server_new(w->f->loop, NULL, api_handle, w->api);
	assert_int_equal(http_server_listen_tcp(w->server, "127.0.0.1", 0, &w->port, &err), 0);
}

static void stop(struct world *w)
{
	bool stopped = false;

	http_server_stop(w->server, on_closed, &stopped);
	RUN_UNTIL(w->f->loop, stopped);
	api_free(w->api);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err err = {0};

	assert_int_equal(check_setup(state), 0);
	w->f = *state;
	fake_device();
	assert_int_equal(store_open(w->f->loop, w->f->dir, &w->store, &err), 0);
	assert_int_equal(keys_open(w->store, &w->keys, &err), 0);
	strcpy(w->global, keys_global(w->keys));
	strcpy(w->app_1, keys_for_service(w->keys, 1, "main"));
	start(w, true);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	bool closed = false;

	stop(w);
	keys_free(w->keys);
	store_close(w->store, on_closed, &closed);
	RUN_UNTIL(w->f->loop, closed);
	*state = w->f;
	free(w);
	return check_teardown(state);
}

/* ---- one request, as text ---- */

struct ask {
	const char *method, *path, *key;
	const char *headers; /* whole lines */
	const char *body;
	size_t body_len; /* 0: of the string */
};

static size_t compose(const struct world *w, const struct ask *a, char *to, size_t size)
{
	size_t len = a->body_len ? a->body_len : a->body ? strlen(a->body) : 0;
	int n = snprintf(to, size, "%s %s HTTP/1.1\r\nConnection: close\r\n", a->method, a->path);

	if (!a->headers || !strstr(a->headers, "Host:"))
		n += snprintf(to + n, size - (size_t)n, "Host: 127.0.0.1:%u\r\n", w->port);
	if (a->key)
		n += snprintf(to + n, size - (size_t)n, "Authorization: Bearer %s\r\n", a->key);
	if (a->body)
		n += snprintf(to + n, size - (size_t)n, "Content-Length: %zu\r\n", len);
	n += snprintf(to + n, size - (size_t)n, "%s\r\n", a->headers ? a->headers : "");
	assert_true((size_t)n + len < size);
	if (len)
		memcpy(to + n, a->body, len);
	return (size_t)n + len;
}

/* Sends it and reads until the server closes. The whole answer, head and body. */
static const char *exchange(struct world *w, struct ask a)
{
	static char request[65536];
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->port)};
	size_t len = compose(w, &a, request, sizeof(request)), got = 0;
	struct check_deadline *deadline = check_deadline_new(w->f->loop);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n = -1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), (ssize_t)len);
	while (n != 0 && !deadline->passed) {
		loop_run_once(w->f->loop, false);
		n = recv(fd, w->answer + got, sizeof(w->answer) - 1 - got, MSG_DONTWAIT);
		if (n > 0)
			got += (size_t)n;
	}
	w->answer[got] = '\0';
	close(fd);
	check_deadline_free(deadline);
	check_run_turns(w->f->loop, 3);
	assert_int_equal(n, 0);
	return w->answer;
}

static const char *ask(struct world *w, const char *method, const char *path, const char *key, const char *headers,
		       const char *body)
{
	return exchange(w, (struct ask){method, path, key, headers, body, 0});
}

static int status_of(const char *answer)
{
	int status = 0;

	assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
	return status;
}

static const char *body_of(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

/* Case matters in none of the header names we compare. */
static bool has_header(const char *answer, const char *line)
{
	const char *found = strcasestr(answer, line);

	return found && found < body_of(answer) && found[-1] == '\n' && found[strlen(line)] == '\r';
}

#define ASSERT_FAILED(answer, code)                                                                                    \
	do {                                                                                                           \
		const char *_a = (answer);                                                                             \
		assert_int_equal(status_of(_a), code);                                                                 \
		assert_true(has_header(_a, "Content-Type: application/json; charset=utf-8"));                          \
		assert_int_equal(strncmp(body_of(_a), "{\"status\":\"failed\",\"message\":\"", 30), 0);                \
	} while (0)

/* ---- keys ---- */

static void ping_and_healthy_need_no_key(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "GET", "/ping", NULL, NULL, NULL);

	assert_int_equal(status_of(a), 200);
	assert_string_equal(body_of(a), "OK");
	assert_true(has_header(a, "Content-Type: text/html; charset=utf-8"));
	assert_true(has_header(a, "X-Content-Type-Options: nosniff"));
	a = ask(w, "GET", "/v1/healthy", NULL, NULL, NULL);
	assert_int_equal(status_of(a), 200);
	assert_string_equal(body_of(a), "OK");
	assert_true(has_header(a, "Content-Type: text/plain; charset=utf-8"));
}

static void unhealthy_is_500(void **state)
{
	struct world *w = *state;
	const char *a;

	fake.unhealthy = true;
	a = ask(w, "GET", "/v1/healthy", NULL, NULL, NULL);
	assert_int_equal(status_of(a), 500);
	assert_string_equal(body_of(a), "Unhealthy");
	assert_true(has_header(a, "Content-Type: text/html; charset=utf-8"));
}

static void without_a_key_everything_else_is_401_even_what_does_not_exist(void **state)
{
	static const struct {
		const char *method, *path, *key;
	} rows[] = {
		{"GET", "/v2/version", NULL},      {"GET", "/nope", NULL},
		{"POST", "/ping", NULL},           {"OPTIONS", "/ping", NULL},
		{"GET", "/v2/state/status", NULL}, {"POST", "/v1/update", NULL},
		{"POST", "/v2/plan", NULL},        {"GET", "/v2/version", "bad"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *a = ask(w, rows[i].method, rows[i].path, rows[i].key, NULL, NULL);

		assert_int_equal(status_of(a), 401);
		assert_string_equal(body_of(a), "Unauthorized");
		assert_true(has_header(a, "Content-Type: text/plain; charset=utf-8"));
	}
	assert_int_equal(w->updates, 0);
}

static void the_key_of_the_query_wins_over_the_header(void **state)
{
	struct world *w = *state;
	char path[128];

	assert_int_equal(status_of(ask(w, "GET", "/v2/version?apikey=bad", w->global, NULL, NULL)), 401);
	assert_int_equal(status_of(ask(w, "GET", "/v2/version?apikey=", w->global, NULL, NULL)), 200);
	snprintf(path, sizeof(path), "/v2/version?apikey=%s", w->app_1);
	assert_int_equal(status_of(ask(w, "GET", path, NULL, NULL, NULL)), 200);
	snprintf(path, sizeof(path), "/v2/version?apikey=%s&apikey=%s", w->app_1, w->app_1);
	assert_int_equal(status_of(ask(w, "GET", path, NULL, NULL, NULL)), 401);
}

static void only_the_global_key_may_plan_for_a_document(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "POST", "/v2/plan", w->app_1, NULL, "{\"apps\":{}}");

	ASSERT_FAILED(a, 401);
	assert_int_equal(fake.dry_runs, 0);
	a = ask(w, "POST", "/v2/plan", w->global, NULL, "{\"apps\":{}}");
	assert_int_equal(status_of(a), 200);
	assert_int_equal(fake.dry_runs, 1);
	assert_string_equal(body_of(a), "{\"seq\":0,\"settledSeq\":0,\"steps\":[{\"kind\":\"create\",\"appId\":5,"
					"\"serviceName\":\"new\",\"reason\":\"not there yet\",\"inFlight\":false}],"
					"\"waits\":[]}");
}

static void a_service_key_sees_its_app_only(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "GET", "/v2/applications/state", w->app_1, NULL, NULL);

	assert_non_null(strstr(a, "\"shop\""));
	assert_null(strstr(a, "\"other\""));
	a = ask(w, "GET", "/v2/applications/state", w->global, NULL, NULL);
	assert_non_null(strstr(a, "\"shop\""));
	assert_non_null(strstr(a, "\"other\""));
}

/* ---- where no key is needed ---- */

static void a_web_page_is_refused_where_no_key_is_needed(void **state)
{
	static const struct {
		const char *headers;
		int status;
	} rows[] = {
		{"", 200},
		{"Host: localhost:48484\r\n", 200},
		{"Host: [::1]:48484\r\n", 200},
		{"Host: evil.example:48484\r\n", 403},
		{"Host: 127.0.0.1.evil.example\r\n", 403},
		{"Host: localhost\r\nOrigin: http://localhost\r\n", 403},
		{"Origin: null\r\n", 403},
	};
	struct world *w = *state;

	stop(w);
	start(w, false);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *a = ask(w, "GET", "/v2/version", NULL, rows[i].headers, NULL);

		assert_int_equal(status_of(a), rows[i].status);
	}
	ASSERT_FAILED(ask(w, "GET", "/v2/version", "bad", "Origin: null\r\n", NULL), 403);
	assert_int_equal(status_of(ask(w, "GET", "/v2/version", w->global, "Origin: null\r\n", NULL)), 200);
	/* everybody covers every app there */
	assert_non_null(strstr(ask(w, "GET", "/v2/applications/state", w->app_1, NULL, NULL), "\"other\""));
}

static void with_keys_in_force_origin_and_host_do_not_matter(void **state)
{
	struct world *w = *state;

	assert_int_equal(status_of(ask(w, "GET", "/v2/version", w->app_1, "Host: supervisor\r\nOrigin: x\r\n", NULL)),
			 200);
}

/* ---- routes ---- */

static void paths_match_in_any_case_with_one_trailing_slash(void **state)
{
	static const struct {
		const char *path;
		int status;
	} rows[] = {
		{"/v2/version", 200},
		{"/V2/Version/", 200},
		{"/v2/version?x=1", 200},
		{"/v2/version//", 404},
		{"/v2//version", 404},
		{"/v2/versio", 404},
		{"/v2/version2", 404},
		{"/", 404},
		{"/v2/devices/with/a/path/that/is/longer/than/any/path/of/ours/could/be", 404},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(status_of(ask(w, "GET", rows[i].path, w->global, NULL, NULL)), rows[i].status);
}

static void an_unknown_path_or_method_is_404_as_json(void **state)
{
	struct world *w = *state;

	ASSERT_FAILED(ask(w, "GET", "/nope", w->global, NULL, NULL), 404);
	ASSERT_FAILED(ask(w, "POST", "/ping", w->global, NULL, NULL), 404);
	ASSERT_FAILED(ask(w, "DELETE", "/v2/version", w->global, NULL, NULL), 404);
	ASSERT_FAILED(ask(w, "OPTIONS", "/nope", w->global, NULL, NULL), 404);
}

static void head_is_answered_like_get_without_a_body(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "HEAD", "/v2/version", w->global, NULL, NULL);

	assert_int_equal(status_of(a), 200);
	assert_string_equal(body_of(a), "");
	assert_true(has_header(a, "Content-Type: application/json; charset=utf-8"));
}

static void options_names_the_methods_of_a_path(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "OPTIONS", "/v2/plan", w->global, NULL, NULL);

	assert_int_equal(status_of(a), 200);
	assert_true(has_header(a, "Allow: GET,HEAD,POST"));
	assert_string_equal(body_of(a), "GET,HEAD,POST");
}

static void version_is_what_we_report_as(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "GET", "/v2/version", w->app_1, NULL, NULL);

	assert_string_equal(body_of(a),
			    "{\"status\":\"success\",\"version\":\"19.0.5+lockkeeper." LOCKKEEPER_VERSION "\"}");
}

/* ---- update ---- */

static void update_answers_204_with_the_number_to_wait_for(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "POST", "/v1/update", w->app_1, NULL, NULL);

	assert_int_equal(status_of(a), 204);
	assert_true(has_header(a, "X-Lockkeeper-Seq: 42"));
	assert_false(has_header(a, "Content-Type: text/html; charset=utf-8"));
	assert_string_equal(body_of(a), "");
	assert_int_equal(w->updates, 1);
	assert_false(w->force || w->cancel);
}

#define JSON_TYPE "Content-Type: application/json\r\n"
#define FORM_TYPE "Content-Type: application/x-www-form-urlencoded\r\n"

static void force_and_cancel_are_read_from_json_and_forms(void **state)
{
	static const struct {
		const char *headers, *body;
		bool force, cancel;
	} rows[] = {
		{JSON_TYPE, "{\"force\":true}", true, false},
		{JSON_TYPE, "{\"force\":1,\"cancel\":\"on\"}", true, true},
		{JSON_TYPE, "{\"force\":\"TRUE\"}", true, false},
		{JSON_TYPE, "{\"force\":\"yes\",\"cancel\":2}", false, false},
		{JSON_TYPE, "{\"force\":false,\"cancel\":null}", false, false},
		{JSON_TYPE, "[]", false, false},
		{JSON_TYPE, "", false, false},
		{"Content-Type: Application/JSON; charset=\"utf-8\"\r\n", "{\"force\":true}", true, false},
		{FORM_TYPE, "force=1&cancel=true", true, true},
		{FORM_TYPE, "%66orce=o%6e&x=1", true, false},
		{FORM_TYPE, "force=0&cancel=", false, false},
		{FORM_TYPE, "forced=1&force", false, false},
		{FORM_TYPE, "{\"force\":true}", true, false}, /* T20 */
		{"Content-Type: text/plain\r\n", "{\"force\":true}", false, false},
		{NULL, "force=1", false, false},
		{"Content-Type: application/jsonx\r\n", "{\"force\":true}", false, false},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *a = ask(w, "POST", "/v1/update", w->global, rows[i].headers, rows[i].body);

		assert_int_equal(status_of(a), 204);
		if (w->force != rows[i].force || w->cancel != rows[i].cancel)
			fail_msg("row %zu: force %d, cancel %d", i, w->force, w->cancel);
	}
}

static void a_broken_body_is_told_with_the_right_code(void **state)
{
	static const struct {
		const char *headers, *body;
		int status;
	} rows[] = {
		{JSON_TYPE, "{\"force\":", 400},
		{JSON_TYPE, "null", 400},
		{JSON_TYPE, "\"x\"", 400},
		{JSON_TYPE, "  ", 400},
		{FORM_TYPE, "{\"force\":", 400},
		{"Content-Type: application/json; charset=latin1\r\n", "{}", 415},
		{JSON_TYPE "Content-Encoding: br\r\n", "{}", 415},
		{JSON_TYPE "Content-Encoding: gzip\r\n", "{}", 400},
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ASSERT_FAILED(ask(w, "POST", "/v1/update", w->global, rows[i].headers, rows[i].body), rows[i].status);
	ASSERT_FAILED(ask(w, "POST", "/nope", w->global, JSON_TYPE, "{"), 400);
	assert_int_equal(w->updates, 0);
}

static size_t squeeze(const void *from, size_t len, int window_bits, char *to, size_t size)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)from, .avail_in = (uInt)len, .next_out = (Bytef *)to};

	z.avail_out = (uInt)size;
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static void compressed_bodies_are_inflated_up_to_the_limit(void **state)
{
	static const struct {
		const char *headers;
		int window_bits;
	} rows[] = {{JSON_TYPE "Content-Encoding: gzip\r\n", 31},
		    {JSON_TYPE "Content-Encoding: deflate\r\n", 15},
		    {JSON_TYPE "Content-Encoding: deflate\r\n", -15}};
	struct world *w = *state;
	char small[32768], *large = mem_new(1, API_BODY_MAX_BYTES + 1);
	struct ask a = {.method = "POST", .path = "/v1/update", .key = w->global, .body = small};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		w->force = false;
		a.headers = rows[i].headers;
		a.body_len = squeeze("{\"force\":true}", 14, rows[i].window_bits, small, sizeof(small));
		assert_int_equal(status_of(exchange(w, a)), 204);
		assert_true(w->force);
	}
	memset(large, ' ', API_BODY_MAX_BYTES + 1);
	memcpy(large, "{}", 2);
	a.headers = rows[0].headers;
	a.body_len = squeeze(large, API_BODY_MAX_BYTES, 31, small, sizeof(small));
	assert_int_equal(status_of(exchange(w, a)), 204);
	a.body_len = squeeze(large, API_BODY_MAX_BYTES + 1, 31, small, sizeof(small));
	ASSERT_FAILED(exchange(w, a), 413);
	free(large);
}

/* ---- plan for a document ---- */

static void a_bad_document_is_refused_with_every_error_and_its_path(void **state)
{
	struct world *w = *state;
	const char *a = ask(w, "POST", "/v2/plan", w->global, NULL, "{\"apps\":[]}");

	ASSERT_FAILED(a, 400);
	assert_non_null(strstr(a, "\"message\":\"apps: "));
	assert_non_null(strstr(a, "\"errors\":[{\"path\":\"apps\",\"message\":\""));
	ASSERT_FAILED(ask(w, "POST", "/v2/plan", w->global, NULL, "{"), 400);
	ASSERT_FAILED(ask(w, "POST", "/v2/plan", w->global, NULL, NULL), 400);
	assert_int_equal(fake.dry_runs, 0);
}

/* ---- kept bodies ---- */

static unsigned written_for(struct world *w, const char *path, const char *key)
{
	unsigned before = fake.views_written;

	assert_int_equal(status_of(ask(w, "GET", path, key, NULL, NULL)), 200);
	return fake.views_written - before;
}

static void a_body_is_kept_for_each_scope_until_something_changes(void **state)
{
	static const char *const paths[] = {"/v2/state/status", "/v2/plan"};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_not_equal(written_for(w, paths[i], w->global), 0);
		assert_int_equal(written_for(w, paths[i], w->global), 0);
		assert_int_not_equal(written_for(w, paths[i], w->app_1), 0);
		assert_int_equal(written_for(w, paths[i], w->app_1), 0);
		assert_int_equal(written_for(w, paths[i], w->global), 0);
		fake.version++;
		assert_int_not_equal(written_for(w, paths[i], w->global), 0);
		assert_int_not_equal(written_for(w, paths[i], w->app_1), 0);
		api_state_changed(w->api);
		assert_int_not_equal(written_for(w, paths[i], w->global), 0);
	}
	assert_int_not_equal(written_for(w, "/v2/state/status", w->global), 0);
	assert_int_not_equal(written_for(w, "/v2/state/status?apps=all", w->global), 0);
	assert_int_equal(written_for(w, "/v2/state/status", w->global), 0);
}

static void locks_are_never_kept_because_they_age(void **state)
{
	struct world *w = *state;

	assert_int_not_equal(written_for(w, "/v2/locks", w->global), 0);
	assert_int_not_equal(written_for(w, "/v2/locks", w->global), 0);
}

/* A connection that has sent a request. */
static int begin_asking(struct world *w, const struct ask *a)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char request[1024];
	size_t len = compose(w, a, request, sizeof(request));

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), (ssize_t)len);
	return fd;
}

/* ... for the locks, and the request arrived. */
static int ask_for_locks(struct world *w, const char *key)
{
	size_t before = fake.n_explains;
	int fd = begin_asking(w, &(struct ask){.method = "GET", .path = "/v2/locks", .key = key});

	RUN_UNTIL(w->f->loop, fake.n_explains == before + 1);
	return fd;
}

/* All the server sent, when it has closed. */
static const char *rest_of(struct world *w, int fd)
{
	size_t got = 0;
	ssize_t n;

	RUN_UNTIL(w->f->loop, (n = recv(fd, w->answer + got, sizeof(w->answer) - 1 - got, MSG_DONTWAIT)) == 0 ||
				      (n > 0 && (got += (size_t)n) == 0));
	w->answer[got] = '\0';
	close(fd);
	return w->answer;
}

static void locks_are_answered_when_it_is_known_who_holds_them_for_each_who_asks(void **state)
{
	struct world *w = *state;
	struct lock_view lock = {.app_id = 2, .path = TEXT("/l"), .uid = 1};
	int all, app_1;

	fake.thinking = true;
	all = ask_for_locks(w, w->global);
	app_1 = ask_for_locks(w, w->app_1);
	check_run_turns(w->f->loop, 5);
	assert_int_equal(recv(all, w->answer, 1, MSG_DONTWAIT), -1);
	lock.command = TEXT("found meanwhile");
	fake.locks = (struct lock_views){.v = &lock, .n = 1};
	fake_explain(NULL);
	assert_non_null(strstr(rest_of(w, all), "\"command\":\"found meanwhile\""));
	assert_non_null(strstr(rest_of(w, app_1), "\"locks\":[]"));
}

static void who_asked_for_locks_and_left_leaves_nothing_behind(void **state)
{
	struct world *w = *state;
	int fd;

	fake.thinking = true;
	fd = ask_for_locks(w, w->global);
	close(fd);
	check_run_turns(w->f->loop, 5);
	fake_explain(NULL);
	fake.thinking = false;
	assert_int_equal(status_of(ask(w, "GET", "/v2/locks", w->global, NULL, NULL)), 200);
}

static void an_api_that_ends_owes_nobody_an_answer_about_locks(void **state)
{
	struct world *w = *state;
	int first, second;

	fake.thinking = true;
	first = ask_for_locks(w, w->global);
	second = ask_for_locks(w, w->global);
	stop(w); /* cuts the connections, then frees the api */
	fake_explain(NULL);
	close(first);
	close(second);
	start(w, true);
}

static int ask_with_force(struct world *w)
{
	unsigned updates = w->updates;
	int fd = begin_asking(w, &(struct ask){.method = "POST",
					       .path = "/v1/update",
					       .key = w->global,
					       .headers = JSON_TYPE,
					       .body = "{\"force\":true}"});

	RUN_UNTIL(w->f->loop, w->updates > updates); /* at once, whatever the disk does */
	assert_true(w->force);
	return fd;
}

static void a_force_is_answered_when_it_is_on_disk(void **state)
{
	struct world *w = *state;
	int gone, fd;

	fake.saving = true;
	gone = ask_with_force(w);
	fd = ask_with_force(w);
	close(gone);
	check_run_turns(w->f->loop, 5);
	assert_int_equal(recv(fd, w->answer, 1, MSG_DONTWAIT), -1);
	assert_int_equal(status_of(ask(w, "POST", "/v1/update", w->global, NULL, NULL)), 204); /* owed nothing */
	fake_save(NULL);
	assert_true(has_header(rest_of(w, fd), "X-Lockkeeper-Seq: 42"));
	assert_int_equal(status_of(w->answer), 204);
}

static void a_force_that_is_saved_after_the_api_ended_is_answered_to_nobody(void **state)
{
	struct world *w = *state;
	int fd;

	fake.saving = true;
	fd = ask_with_force(w);
	stop(w);
	fake_save(NULL);
	close(fd);
	start(w, true);
}

static void a_local_target_is_refused_whatever_it_is(void **state)
{
	struct world *w = *state;
	const char *bodies[] = {NULL, "{\"local\":{}}", "{"};

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		const char *a = ask(w, "POST", "/v2/local/target-state", w->app_1, NULL, bodies[i]);

		ASSERT_FAILED(a, 400);
		assert_non_null(strstr(a, "\"message\":\"Target state can only set when device is in local mode\""));
	}
	assert_int_equal(status_of(ask(w, "POST", "/v2/local/target-state", NULL, NULL, NULL)), 401);
}

static void more_scopes_than_there_are_places_still_get_their_own_answers(void **state)
{
	struct world *w = *state;
	char wanted[32], service[16];

	fake.target = NULL;
	for (int i = 0; i < 40; i++) {
		int64_t app = 1 + i % 20;
		struct container one = device_containers[0];

		one.app_id = app;
		fake.current.containers = &one;
		fake.current.n_containers = 1;
		if (app % 2 == 0)
			fake.version++;
		snprintf(service, sizeof(service), "s%d", (int)app);
		snprintf(wanted, sizeof(wanted), "\"appId\":%d,", (int)app);
		assert_non_null(
			strstr(ask(w, "GET", "/v2/state/status", keys_for_service(w->keys, app, service), NULL, NULL),
			       wanted));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(ping_and_healthy_need_no_key),
		TEST(unhealthy_is_500),
		TEST(without_a_key_everything_else_is_401_even_what_does_not_exist),
		TEST(the_key_of_the_query_wins_over_the_header),
		TEST(only_the_global_key_may_plan_for_a_document),
		TEST(a_service_key_sees_its_app_only),
		TEST(a_web_page_is_refused_where_no_key_is_needed),
		TEST(with_keys_in_force_origin_and_host_do_not_matter),
		TEST(paths_match_in_any_case_with_one_trailing_slash),
		TEST(an_unknown_path_or_method_is_404_as_json),
		TEST(head_is_answered_like_get_without_a_body),
		TEST(options_names_the_methods_of_a_path),
		TEST(version_is_what_we_report_as),
		TEST(update_answers_204_with_the_number_to_wait_for),
		TEST(force_and_cancel_are_read_from_json_and_forms),
		TEST(a_force_is_answered_when_it_is_on_disk),
		TEST(a_force_that_is_saved_after_the_api_ended_is_answered_to_nobody),
		TEST(a_broken_body_is_told_with_the_right_code),
		TEST(compressed_bodies_are_inflated_up_to_the_limit),
		TEST(a_bad_document_is_refused_with_every_error_and_its_path),
		TEST(a_body_is_kept_for_each_scope_until_something_changes),
		TEST(locks_are_never_kept_because_they_age),
		TEST(locks_are_answered_when_it_is_known_who_holds_them_for_each_who_asks),
		TEST(who_asked_for_locks_and_left_leaves_nothing_behind),
		TEST(an_api_that_ends_owes_nobody_an_answer_about_locks),
		TEST(a_local_target_is_refused_whatever_it_is),
		TEST(more_scopes_than_there_are_places_still_get_their_own_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
