/*
 * GET /v2/events over real sockets: the reconciler's events are given to the api by hand. Requests are HTTP/1.0 where
 * the framing does not matter, so that what a follower reads is the bare stream.
 */
#include "test_api_fake.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS_MAX 128
#define TEXT_MAX    (4u << 20)

struct client {
	int fd; /* -1: not open */
	bool ended, idle /* does not read */;
	char *text;
	size_t len;
	size_t counted, n_events; /* see count() */
};
struct world {
	struct check_fixture *f;
	struct store *store;
	struct keys *keys;
	struct http_server *server;
	struct api *api;
	uint16_t port;
	char path[128];
	char global[KEY_LENGTH + 1], app_1[KEY_LENGTH + 1];
	struct client clients[CLIENTS_MAX];
	size_t n_clients;
};

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static uint64_t on_update_asked(void *ctx, bool force, bool cancel)
{
	(void)ctx, (void)force, (void)cancel;
	return 1;
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
	w->api = api_new(&(struct api_options){.loop = w->f->loop,
					       .reconcile = &fake,
					       .keys = w->keys,
					       .key_needed = true,
					       .update = on_update_asked,
					       .version = "1"});
	w->server = http_server_new(w->f->loop, NULL, api_handle, w->api);
	snprintf(w->path, sizeof(w->path), "%s/api.sock", w->f->dir);
	assert_int_equal(http_server_listen_tcp(w->server, "127.0.0.1", 0, &w->port, &err), 0);
	assert_int_equal(http_server_listen_unix(w->server, w->path, &err), 0);
	*state = w;
	return 0;
}

/* Stops the server with every follower still there. */
static int teardown(void **state)
{
	struct world *w = *state;
	bool closed = false, stopped = false;

	http_server_stop(w->server, on_closed, &stopped);
	RUN_UNTIL(w->f->loop, stopped);
	api_free(w->api);
	for (size_t i = 0; i < w->n_clients; i++) {
		if (w->clients[i].fd >= 0)
			close(w->clients[i].fd);
		free(w->clients[i].text);
	}
	keys_free(w->keys);
	store_close(w->store, on_closed, &closed);
	RUN_UNTIL(w->f->loop, closed);
	*state = w->f;
	free(w);
	return check_teardown(state);
}

/* ---- clients ---- */

static void read_some(struct client *c)
{
	ssize_t n;

	while (c->fd >= 0 && !c->ended && c->len + 1 < TEXT_MAX) {
		n = recv(c->fd, c->text + c->len, TEXT_MAX - 1 - c->len, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			c->ended = true;
		else
			c->len += (size_t)n;
		c->text[c->len] = '\0';
	}
}

static void turn(struct world *w)
{
	loop_run_once(w->f->loop, false);
	for (size_t i = 0; i < w->n_clients; i++)
		if (!w->clients[i].idle)
			read_some(&w->clients[i]);
}

/* Turns of the loop, with every client reading, until `condition`. */
#define UNTIL(w, condition)                                                                                            \
	do {                                                                                                           \
		struct check_deadline *_deadline = check_deadline_new((w)->f->loop);                                   \
		bool _met;                                                                                             \
		while (!(_met = (condition)) && !_deadline->passed)                                                    \
			turn(w);                                                                                       \
		check_deadline_free(_deadline);                                                                        \
		if (!_met)                                                                                             \
			fail_msg("not in time: %s", #condition);                                                       \
	} while (0)

static struct client *ask(struct world *w, bool over_unix, const char *request)
{
	struct client *c = &w->clients[w->n_clients++];
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(w->port)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	assert_true(w->n_clients <= CLIENTS_MAX);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	strcpy(un.sun_path, w->path);
	c->text = calloc(1, TEXT_MAX);
	c->fd = socket(over_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (over_unix)
		assert_int_equal(connect(c->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	else
		assert_int_equal(connect(c->fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(send(c->fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	return c;
}

static struct client *ask_for_events(struct world *w, const char *key, const char *last_id)
{
	char request[512];

	snprintf(request, sizeof(request), "GET /v2/events HTTP/1.0\r\nAuthorization: Bearer %s\r\n%s%s%s\r\n", key,
		 last_id ? "Last-Event-ID: " : "", last_id ? last_id : "", last_id ? "\r\n" : "");
	return ask(w, true, request);
}

/* One that stands. */
static struct client *follow(struct world *w, const char *key, const char *last_id)
{
	struct client *c = ask_for_events(w, key, last_id);

	UNTIL(w, strstr(c->text, ": ok\n\n"));
	return c;
}

static void leave(struct client *c)
{
	close(c->fd);
	c->fd = -1;
}

/* ---- what they read ---- */

static const char *find_event(const struct client *c, size_t i)
{
	const char *at = strstr(c->text, ": ok\n\n");

	for (at = at ? strstr(at, "id: ") : NULL; at && i > 0; i--)
		at = strstr(at + 1, "\nid: ") ? strstr(at + 1, "\nid: ") + 1 : NULL;
	return at && strstr(at, "\n\n") ? at : NULL;
}

/* Goes on where it ended: sanitizers look at the whole rest of the text for every search in it. */
static size_t count(struct client *c)
{
	static const char begin[] = "\ndata: ";
	const char *at;

	while ((at = memmem(c->text + c->counted, c->len - c->counted, begin, sizeof(begin) - 1))) {
		c->counted = (size_t)(at + 1 - c->text);
		c->n_events++;
	}
	return c->n_events;
}

/* The value of a line ("id", "event", "data") of event `i`; in one of a few buffers, used in turn. */
static const char *field(const struct client *c, size_t i, const char *name)
{
	static char values[8][20000];
	static unsigned next;
	char *value = values[next++ % 8], begin[16];
	const char *at = find_event(c, i), *end;

	assert_non_null(at);
	end = strstr(at, "\n\n");
	snprintf(begin, sizeof(begin), "%s: ", name);
	while (at < end && strncmp(at, begin, strlen(begin)))
		at = strchr(at, '\n') + 1;
	assert_true(at < end);
	at += strlen(begin);
	snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(at, "\n"), at);
	return value;
}

static uint64_t number(const struct client *c, size_t i)
{
	return strtoull(strchr(field(c, i, "id"), '-') + 1, NULL, 10);
}

/* ---- what happens ---- */

/* A step of an app whose reason is a number, so that it can be found again. */
static void happen(struct world *w, int64_t app_id, unsigned n)
{
	char reason[32];

	snprintf(reason, sizeof(reason), "reason %u.", n);
	api_event(w->api, &(struct reconcile_event){.type = RECONCILE_EVENT_STEP,
						    .what = "started",
						    .app_id = app_id,
						    .service = "main",
						    .kind = "stop",
						    .reason = reason});
}

/* About `bytes` of text. */
static void happen_large(struct world *w, size_t bytes)
{
	AUTO_FREE char *reason = mem_new(1, bytes + 1);

	memset(reason, 'x', bytes);
	api_event(w->api, &(struct reconcile_event){.type = RECONCILE_EVENT_STEP,
						    .what = "started",
						    .app_id = 1,
						    .kind = "stop",
						    .reason = reason});
}

/* ---- tests ---- */

static void a_follower_is_told_at_once_that_it_stands_and_then_what_happens_in_order(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL);

	assert_non_null(strstr(c->text, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(c->text, "Content-Type: text/event-stream\r\n"));
	assert_non_null(strstr(c->text, "Cache-Control: no-cache\r\n"));
	for (unsigned i = 0; i < 100; i++)
		happen(w, 1 + i % 2, i);
	UNTIL(w, count(c) == 100);
	for (unsigned i = 0; i < 100; i++) {
		char reason[32];

		snprintf(reason, sizeof(reason), "\"reason %u.\"", i);
		assert_non_null(strstr(field(c, i, "data"), reason));
		assert_string_equal(field(c, i, "event"), "step");
		assert_int_equal(number(c, i), number(c, 0) + i);
	}
}

static void numbers_count_what_happened_before_anybody_looked(void **state)
{
	struct world *w = *state;
	struct client *c;

	happen(w, 1, 0);
	happen(w, 1, 1);
	c = follow(w, w->global, NULL);
	happen(w, 1, 2);
	UNTIL(w, count(c) == 1);
	assert_int_equal(number(c, 0), 3);
	assert_non_null(strstr(field(c, 0, "data"), "reason 2."));
}

static void a_service_sees_its_app_and_what_concerns_everybody(void **state)
{
	struct world *w = *state;
	struct client *all = follow(w, w->global, NULL), *own = follow(w, w->app_1, NULL);
	const struct reconcile_event pull = {
		.type = RECONCILE_EVENT_STEP, .what = "started", .kind = "remove_image", .image = "unused"};
	const struct reconcile_event wait = {
		.type = RECONCILE_EVENT_WAIT, .what = "began", .kind = "engine", .wait_kind = WAIT_ENGINE};
	const struct reconcile_event disk = {
		.type = RECONCILE_EVENT_WAIT, .what = "began", .kind = "disk", .wait_kind = WAIT_DISK};
	const struct reconcile_event refused = {
		.type = RECONCILE_EVENT_TARGET, .what = "refused", .err = "apps.x: other"};

	happen(w, 2, 0);
	happen(w, 1, 1);
	api_event(w->api, &pull);
	api_event(w->api, &disk);
	api_event(w->api, &wait);
	api_event(w->api, &refused);
	happen(w, 2, 2);
	happen(w, 1, 3);
	UNTIL(w, count(all) == 8 && count(own) >= 3);
	assert_int_equal(count(own), 3);
	assert_null(strstr(own->text, "\"appId\":2"));
	assert_non_null(strstr(field(own, 0, "data"), "reason 1."));
	assert_non_null(strstr(field(own, 1, "data"), "\"kind\":\"engine\""));
	assert_non_null(strstr(field(own, 2, "data"), "reason 3."));
	assert_int_equal(number(own, 1), number(all, 4));
}

static void a_last_event_id_brings_what_came_after_it_and_goes_on(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL), *again, *own;
	const char *id;

	for (unsigned i = 0; i < 4; i++)
		happen(w, 1 + i % 2, i);
	UNTIL(w, count(c) == 4);
	id = field(c, 1, "id");
	leave(c);
	happen(w, 1, 4);
	again = follow(w, w->global, id);
	own = follow(w, w->app_1, id);
	happen(w, 1, 5);
	UNTIL(w, count(again) == 4 && count(own) == 3);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(number(again, i), i + 3);
	assert_int_equal(number(own, 0), 3);
	assert_int_equal(number(own, 1), 5);
	assert_int_equal(number(own, 2), 6);
	assert_null(strstr(again->text, "event: reset"));
}

static void the_newest_id_brings_nothing_back(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL), *again;

	happen(w, 1, 0);
	UNTIL(w, count(c) == 1);
	again = follow(w, w->global, field(c, 0, "id"));
	happen(w, 1, 1);
	UNTIL(w, count(again) == 1);
	assert_int_equal(number(again, 0), 2);
	assert_string_equal(field(again, 0, "event"), "step");
}

static void an_id_that_cannot_be_resumed_is_answered_by_a_reset_from_which_it_goes_on(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL);
	char nonce[32], ids[8][64];

	happen(w, 1, 0);
	happen(w, 1, 1);
	UNTIL(w, count(c) == 2);
	snprintf(nonce, sizeof(nonce), "%.16s", field(c, 0, "id"));
	snprintf(ids[0], 64, "0123456789abcdef-1"); /* another start */
	snprintf(ids[1], 64, "%s-1000", nonce);     /* has not happened */
	snprintf(ids[2], 64, "%s--1", nonce);       /* no number */
	snprintf(ids[3], 64, "%s- 1", nonce);
	snprintf(ids[4], 64, "%s-", nonce);
	snprintf(ids[5], 64, "%s", nonce);
	snprintf(ids[6], 64, "%s-99999999999999999999999", nonce);
	snprintf(ids[7], 64, "%s-1x", nonce);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct client *lost = follow(w, w->global, ids[i]), *again;

		UNTIL(w, count(lost) == 1);
		assert_string_equal(field(lost, 0, "event"), "reset");
		assert_non_null(strstr(field(lost, 0, "data"), "{\"what\":\"reset\",\"time\":\"20"));
		again = follow(w, w->global, field(lost, 0, "id"));
		happen(w, 1, 9);
		UNTIL(w, count(lost) == 2 && count(again) == 1);
		assert_int_equal(number(lost, 1), number(lost, 0) + 1);
		assert_int_equal(number(again, 0), number(lost, 1));
	}
}

static void the_ring_keeps_a_number_of_events(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL), *within, *lost;
	char id[64];

	for (unsigned i = 0; i < EVENTS_KEPT_MAX + 50; i++)
		happen(w, 1, i);
	UNTIL(w, count(c) == EVENTS_KEPT_MAX + 50); /* all in one turn: who reads loses nothing */
	assert_int_equal(number(c, EVENTS_KEPT_MAX + 49), EVENTS_KEPT_MAX + 50);
	happen(w, 1, 0);
	snprintf(id, sizeof(id), "%.16s-%u", field(c, 0, "id"), 51u); /* kept: 52 to the newest */
	within = follow(w, w->global, id);
	snprintf(id, sizeof(id), "%.16s-%u", field(c, 0, "id"), 50u);
	lost = follow(w, w->global, id);
	UNTIL(w, count(within) == EVENTS_KEPT_MAX && count(lost) == 1);
	assert_int_equal(number(within, 0), 52);
	assert_int_equal(number(within, EVENTS_KEPT_MAX - 1), EVENTS_KEPT_MAX + 51);
	assert_string_equal(field(lost, 0, "event"), "reset");
	assert_int_equal(number(lost, 0), EVENTS_KEPT_MAX + 51);
}

static void the_ring_keeps_an_amount_of_text(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL), *again;
	char id[64];
	uint64_t first = 1;

	for (unsigned i = 0; i < 100; i++) {
		happen_large(w, 10000);
		UNTIL(w, count(c) == i + 1);
	}
	do { /* the oldest one kept */
		snprintf(id, sizeof(id), "%.16s-%" PRIu64, field(c, 0, "id"), first++);
		again = follow(w, w->global, id);
		UNTIL(w, count(again) > 0);
		leave(again);
	} while (strstr(again->text, "event: reset"));
	again = follow(w, w->global, id);
	UNTIL(w, count(again) == 101 - first);
	assert_true(again->len < EVENTS_KEPT_MAX_BYTES + 1000);
	assert_true(again->len > EVENTS_KEPT_MAX_BYTES - 11000); /* another would not have fitted */
	assert_int_equal(number(again, 100 - first), 100);
}

static void an_event_that_is_too_large_is_told_without_its_details(void **state)
{
	struct world *w = *state;
	struct client *c = follow(w, w->global, NULL);

	happen_large(w, EVENT_MAX_BYTES);
	happen(w, 1, 1);
	UNTIL(w, count(c) == 2);
	assert_non_null(strstr(field(c, 0, "data"), "\"appId\":1,\"kind\":\"stop\",\"truncated\":true}"));
	assert_int_equal(number(c, 1), 2);
}

static void a_hundred_may_follow_and_the_next_is_told_so(void **state)
{
	struct world *w = *state;
	struct client *refused, *other, *late;
	char request[256];

	for (unsigned i = 0; i < EVENTS_FOLLOWERS_MAX; i++)
		follow(w, w->global, NULL);
	refused = ask_for_events(w, w->global, NULL);
	UNTIL(w, refused->ended);
	assert_non_null(strstr(refused->text, "HTTP/1.1 503 "));
	assert_non_null(
		strstr(refused->text, "{\"status\":\"failed\",\"message\":\"too many clients follow the events"));
	snprintf(request, sizeof(request), "GET /v2/version HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n", w->global);
	other = ask(w, false, request); /* there is room for others */
	UNTIL(w, other->ended);
	assert_non_null(strstr(other->text, "HTTP/1.1 200 OK"));
	happen(w, 1, 0);
	for (unsigned i = 0; i < EVENTS_FOLLOWERS_MAX; i++)
		UNTIL(w, count(&w->clients[i]) == 1);
	leave(&w->clients[17]);
	do { /* its place is free once the server has noticed */
		late = ask_for_events(w, w->global, NULL);
		UNTIL(w, late->ended || strstr(late->text, ": ok\n\n"));
	} while (late->ended);
	happen(w, 1, 1);
	UNTIL(w, count(late) == 1 && count(&w->clients[99]) == 2);
}

static void one_that_does_not_read_is_cut_and_the_others_get_everything(void **state)
{
	struct world *w = *state;
	struct client *good = follow(w, w->global, NULL), *bad = follow(w, w->global, NULL);
	unsigned n = 120;

	bad->idle = true;
	for (unsigned i = 0; i < n; i++) {
		happen_large(w, 12000);
		UNTIL(w, count(good) == i + 1);
	}
	assert_int_equal(number(good, n - 1), n);
	bad->idle = false;
	UNTIL(w, bad->ended);
	assert_true(count(bad) > 0 && count(bad) < n / 2); /* what the kernel had taken, without a hole */
	for (size_t i = 0; i + 1 < count(bad); i++)
		assert_int_equal(number(bad, i), i + 1);
}

static void one_that_reads_late_loses_nothing_that_is_still_kept(void **state)
{
	struct world *w = *state;
	struct client *good = follow(w, w->global, NULL), *late = follow(w, w->global, NULL);
	unsigned n = 50; /* more than the kernel takes, less than the ring holds behind it */

	late->idle = true;
	for (unsigned i = 0; i < n; i++) {
		happen_large(w, 12000);
		UNTIL(w, count(good) == i + 1);
	}
	late->idle = false;
	UNTIL(w, count(late) == n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(number(late, i), i + 1);
}

static void events_of_one_turn_are_written_together(void **state)
{
	struct world *w = *state;
	char request[256];
	struct client *c;
	const char *at;
	unsigned long chunk;

	snprintf(request, sizeof(request),
		 "GET /v2/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", w->global);
	c = ask(w, false, request);
	UNTIL(w, strstr(c->text, ": ok\n\n"));
	for (unsigned i = 0; i < 5; i++)
		happen(w, 1, i);
	UNTIL(w, count(c) == 5);
	at = strstr(c->text, ": ok\n\n\r\n") + 8;
	chunk = strtoul(at, NULL, 16);
	assert_int_equal(strlen(strstr(at, "\r\n") + 2), chunk + 2);
}

static void only_who_has_a_key_may_follow(void **state)
{
	struct world *w = *state;
	struct client *c = ask_for_events(w, "0123456789abcdef0123456789abcdef", NULL);

	UNTIL(w, c->ended);
	assert_non_null(strstr(c->text, "HTTP/1.1 401 "));
}

static void head_gets_the_head_and_takes_no_place(void **state)
{
	struct world *w = *state;
	char request[256];

	snprintf(
		request, sizeof(request),
		"HEAD /v2/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: x-1\r\nAuthorization: Bearer %s\r\n\r\n",
		w->global);
	for (unsigned i = 0; i < EVENTS_FOLLOWERS_MAX + 1; i++) {
		struct client *c = ask(w, true, request);

		UNTIL(w, c->ended);
		assert_non_null(strstr(c->text, "HTTP/1.1 200 OK"));
		assert_non_null(strstr(c->text, "text/event-stream"));
		assert_null(strstr(c->text, "ok\n"));
		leave(c);
	}
	follow(w, w->global, NULL);
}

static void followers_are_cut_when_the_api_goes_before_its_server(void **state)
{
	struct world *w = *state;
	struct client *a = follow(w, w->global, NULL), *b = follow(w, w->app_1, NULL);

	happen(w, 1, 0);
	api_free(w->api);
	w->api = NULL;
	UNTIL(w, a->ended && b->ended);
}

static void each_kind_of_event_has_its_members(void **state)
{
	const struct strv services = {(char *[]){TEXT("db"), TEXT("main")}, 2, 2};
	const struct lock_event seen = {.kind = LOCK_EVENT_SEEN,
					.app_id = 1,
					.service = "main",
					.path = "/l/1/main/updates.lock",
					.lock_kind = LOCK_FILE,
					.uid = 1000,
					.since_ms = 1767323045678,
					.pid = 12,
					.command = "python3",
					.reason = "busy"};
	const struct lock_event gone = {.kind = LOCK_EVENT_GONE, .app_id = 1, .path = "/l", .held_ms = 5};
	const struct lock_event broken = {.kind = LOCK_EVENT_OVERRIDDEN,
					  .app_id = 1,
					  .service = "main",
					  .path = "/l",
					  .by = "config",
					  .since_ms = 1};
	const struct lock_event taken = {.kind = LOCK_EVENT_TAKEN, .app_id = 1, .service = "main", .path = "/l"};
	const struct lock_event problem = {.kind = LOCK_EVENT_PROBLEM, .path = "/l", .detail = "too many watches"};
	const struct {
		struct reconcile_event e;
		const char *type, *json;
	} rows[] = {
		{{.type = RECONCILE_EVENT_STEP,
		  .what = "failed",
		  .app_id = 1,
		  .service = "main",
		  .kind = "start",
		  .name = "main_1",
		  .took_ms = 7,
		  .err = "no \"port\""},
		 "step",
		 "\"appId\":1,\"serviceName\":\"main\",\"kind\":\"start\",\"name\":\"main_1\",\"tookMs\":7,"
		 "\"error\":\"no \\\"port\\\"\"}"},
		{{.type = RECONCILE_EVENT_WAIT,
		  .what = "began",
		  .app_id = 1,
		  .kind = "locked",
		  .services = &services,
		  .since_ms = 1767323045678,
		  .detail = "update lock of db, main"},
		 "wait",
		 "\"appId\":1,\"kind\":\"locked\",\"serviceNames\":[\"db\",\"main\"],"
		 "\"since\":\"2026-01-02T03:04:05.678Z\",\"detail\":\"update lock of db, main\"}"},
		{{.type = RECONCILE_EVENT_LOCK, .what = "seen", .app_id = 1, .service = "main", .lock = &seen},
		 "lock",
		 "\"appId\":1,\"serviceName\":\"main\",\"path\":\"/l/1/main/updates.lock\",\"owner\":\"application\","
		 "\"kind\":\"file\",\"uid\":1000,\"since\":\"2026-01-02T03:04:05.678Z\",\"pid\":12,"
		 "\"command\":\"python3\",\"reason\":\"busy\"}"},
		{{.type = RECONCILE_EVENT_LOCK, .what = "gone", .app_id = 1, .lock = &gone},
		 "lock",
		 "\"appId\":1,\"serviceName\":null,\"path\":\"/l\",\"owner\":\"application\",\"heldMs\":5}"},
		{{.type = RECONCILE_EVENT_LOCK, .what = "overridden", .app_id = 1, .service = "main", .lock = &broken},
		 "lock",
		 "\"appId\":1,\"serviceName\":\"main\",\"path\":\"/l\",\"owner\":\"application\",\"kind\":\"file\","
		 "\"uid\":0,\"since\":\"1970-01-01T00:00:00.001Z\",\"by\":\"config\"}"},
		{{.type = RECONCILE_EVENT_LOCK, .what = "taken", .app_id = 1, .service = "main", .lock = &taken},
		 "lock",
		 "\"appId\":1,\"serviceName\":\"main\",\"path\":\"/l\",\"owner\":\"supervisor\"}"},
		{{.type = RECONCILE_EVENT_LOCK, .what = "problem", .lock = &problem},
		 "lock",
		 "\"path\":\"/l\",\"error\":\"too many watches\"}"},
		{{.type = RECONCILE_EVENT_PULL, .what = "progress", .app_id = 1, .image = "reg/a:1", .percent = 40},
		 "pull",
		 "\"appId\":1,\"image\":\"reg/a:1\",\"percent\":40}"},
		{{.type = RECONCILE_EVENT_CONTAINER,
		  .what = "changed",
		  .app_id = 1,
		  .service = "main",
		  .id = "c1",
		  .name = "main_1",
		  .state = "exited",
		  .health = "none",
		  .exit_code = 3},
		 "container",
		 "\"appId\":1,\"serviceName\":\"main\",\"containerId\":\"c1\",\"name\":\"main_1\",\"state\":\"exited\","
		 "\"health\":\"none\",\"exitCode\":3}"},
		{{.type = RECONCILE_EVENT_APP,
		  .what = "settled",
		  .app_id = 1,
		  .name = "shop",
		  .release = "abc",
		  .seq = 4,
		  .took_ms = 9},
		 "app",
		 "\"appId\":1,\"name\":\"shop\",\"release\":\"abc\",\"seq\":4,\"tookMs\":9}"},
		{{.type = RECONCILE_EVENT_TARGET, .what = "refused", .seq = 4, .err = "apps: missing"},
		 "target",
		 "\"seq\":4,\"error\":\"apps: missing\"}"},
	};
	struct buf b;

	(void)state;
	buf_init(&b, EVENT_MAX_BYTES);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char want[1024];

		snprintf(want, sizeof(want), "{\"what\":\"%s\",\"time\":\"2026-01-02T03:04:05.678Z\",%s",
			 rows[i].e.what, rows[i].json);
		event_view(&rows[i].e, 1767323045678, &b);
		assert_string_equal(buf_str(&b), want);
		assert_string_equal(event_type_name(rows[i].e.type), rows[i].type);
	}
	buf_deinit(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_follower_is_told_at_once_that_it_stands_and_then_what_happens_in_order),
		TEST(numbers_count_what_happened_before_anybody_looked),
		TEST(a_service_sees_its_app_and_what_concerns_everybody),
		TEST(a_last_event_id_brings_what_came_after_it_and_goes_on),
		TEST(the_newest_id_brings_nothing_back),
		TEST(an_id_that_cannot_be_resumed_is_answered_by_a_reset_from_which_it_goes_on),
		TEST(the_ring_keeps_a_number_of_events),
		TEST(the_ring_keeps_an_amount_of_text),
		TEST(an_event_that_is_too_large_is_told_without_its_details),
		TEST(a_hundred_may_follow_and_the_next_is_told_so),
		TEST(one_that_does_not_read_is_cut_and_the_others_get_everything),
		TEST(one_that_reads_late_loses_nothing_that_is_still_kept),
		TEST(events_of_one_turn_are_written_together),
		TEST(only_who_has_a_key_may_follow),
		TEST(head_gets_the_head_and_takes_no_place),
		TEST(followers_are_cut_when_the_api_goes_before_its_server),
		cmocka_unit_test(each_kind_of_event_has_its_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
