/* http_server on real sockets, spoken to byte by byte by clients that lie on the same thread. */
#include "net/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "check.h"
#include "util/buf.h"
#include "util/mem.h"

static struct http_server *server;
static uint16_t port;
static char sock_path[100];

/* What the handler saw and does. */
static struct seen {
	int n_requests, n_closed, n_drained;
	struct buf log; /* "GET /path?query" a line */
	struct buf body;
	struct http_exchange *held[64];
	int n_held;
} seen;
static void (*handle)(struct http_exchange *x);

static void on_request(void *ctx, struct http_exchange *x)
{
	size_t len;
	const char *body = http_exchange_body(x, &len);

	assert_null(ctx);
	seen.n_requests++;
	buf_printf(&seen.log, "%s %s?%s\n", http_exchange_method(x), http_exchange_path(x), http_exchange_query(x));
	buf_clear(&seen.body);
	buf_add(&seen.body, body, len);
	handle(x);
}

static void say_path(struct http_exchange *x)
{
	const char *path = http_exchange_path(x);

	http_respond(x, 200, "text/plain", path, strlen(path), NULL);
}

static void hold(struct http_exchange *x)
{
	seen.held[seen.n_held++] = x;
}

static void start(struct check_fixture *f, struct http_server_limits limits)
{
	struct err err = {0};

	server = http_server_new(f->loop, &limits, on_request, NULL);
	assert_int_equal(http_server_listen_tcp(server, "127.0.0.1", 0, &port, &err), 0);
	snprintf(sock_path, sizeof(sock_path), "%s/api.sock", f->dir);
	assert_int_equal(http_server_listen_unix(server, sock_path, &err), 0);
}

static void stop(struct check_fixture *f)
{
	bool stopped = false;

	http_server_stop(server, check_set_flag, &stopped);
	assert_false(stopped);
	RUN_UNTIL(f->loop, stopped);
	server = NULL;
}

static int setup(void **state)
{
	check_setup(state);
	memset(&seen, 0, sizeof(seen));
	buf_init(&seen.log, 1 << 20);
	buf_init(&seen.body, 1 << 20);
	handle = say_path;
	start(*state, (struct http_server_limits){0});
	return 0;
}

static int teardown(void **state)
{
	if (server)
		stop(*state);
	buf_deinit(&seen.log);
	buf_deinit(&seen.body);
	return check_teardown(state);
}

static void restart(struct check_fixture *f, struct http_server_limits limits)
{
	stop(f);
	start(f, limits);
}

/* -------- the client -------- */

struct client {
	int fd;
	struct buf in;
	bool eof, reset;
};

static void dial_unix(struct client *c)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	*c = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)};
	buf_init(&c->in, 64 << 20);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", sock_path);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static void dial(struct client *c)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*c = (struct client){.fd = fd};
	buf_init(&c->in, 64 << 20);
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void send_bytes(struct client *c, const void *data, size_t len)
{
	assert_int_equal(send(c->fd, data, len, MSG_NOSIGNAL), len);
}

static void say(struct client *c, const char *text)
{
	send_bytes(c, text, strlen(text));
}

/* Takes what is there; always true, for use in conditions. */
static bool hear(struct client *c)
{
	char piece[65536];
	ssize_t n;

	while ((n = recv(c->fd, piece, sizeof(piece), 0)) > 0)
		buf_add(&c->in, piece, (size_t)n);
	if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN)
		c->eof = c->reset = true;
	return true;
}

static void hang_up(struct client *c)
{
	close(c->fd);
	buf_deinit(&c->in);
}

static bool heard(struct client *c, const char *what)
{
	return hear(c) && strstr(buf_str(&c->in), what);
}

#define HEAR(f, c, what) RUN_UNTIL((f)->loop, heard(c, what))
#define HEAR_END(f, c)   RUN_UNTIL((f)->loop, hear(c) && (c)->eof)

/* One request on its own connection; what came back until the server closed it. */
static char *ask_and_end(struct check_fixture *f, const char *request, size_t len)
{
	struct client c;

	dial(&c);
	send_bytes(&c, request, len);
	HEAR_END(f, &c);
	assert_false(c.reset);
	close(c.fd);
	return buf_steal(&c.in);
}

/* -------- requests and answers -------- */

static void a_request_is_answered_and_the_connection_kept(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	say(&c, "GET /ping?apikey=k HTTP/1.1\r\nHost: x\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/ping");
	assert_non_null(
		strstr(c.in.data, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nDate: "));
	assert_non_null(strstr(c.in.data, " GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"));
	say(&c, "POST /v1/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
	HEAR(f, &c, "\r\n\r\n/v1/x");
	assert_string_equal(seen.log.data, "GET /ping?apikey=k\nPOST /v1/x?\n");
	assert_string_equal(seen.body.data, "abc");
	hang_up(&c);
}

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char request[] = "\r\nPOST /slow HTTP/1.1\r\nX-Long: value \r\nTransfer-Encoding: chunked\r\n\r\n"
				      "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n";
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	for (const char *p = request; *p; p++) {
		send_bytes(&c, p, 1);
		check_run_turns(f->loop, 2);
	}
	HEAR(f, &c, "\r\n\r\n/slow");
	assert_string_equal(seen.body.data, "abcde");
	assert_int_equal(seen.n_requests, 1);
	hang_up(&c);
}

static void say_header(struct http_exchange *x)
{
	const char *a = http_exchange_header(x, "AUTHORIZATION"), *b = http_exchange_header(x, "x-none");

	assert_null(b);
	assert_string_equal(http_exchange_header(x, "x-empty"), "");
	http_respond(x, 200, NULL, a, strlen(a),
		     (struct http_header[]){{"X-Unix", http_exchange_is_unix(x) ? "1" : "0"}, {0}});
}

static void headers_are_found_in_any_case_and_the_first_wins(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = say_header;
	dial_unix(&c);
	say(&c, "GET / HTTP/1.1\r\nauthorization: Bearer one \r\nX-Empty:\r\nAuthorization: Bearer two\r\n\r\n");
	HEAR(f, &c, "\r\n\r\nBearer one");
	assert_non_null(strstr(c.in.data, "X-Unix: 1\r\n"));
	assert_null(strstr(c.in.data, "Content-Type"));
	hang_up(&c);
}

static void say_204(struct http_exchange *x)
{
	http_respond(x, 204, NULL, NULL, 0, NULL);
}

static void no_body_follows_a_head_request_or_a_204(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	say(&c, "HEAD /abc HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/next");
	assert_null(strstr(c.in.data, "\r\n\r\n/abc"));
	assert_non_null(strstr(c.in.data, "Content-Length: 4\r\n"));
	assert_string_equal(seen.log.data, "GET /abc?\nGET /next?\n");
	handle = say_204;
	buf_clear(&c.in);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "HTTP/1.1 204 No Content\r\n");
	assert_null(strstr(c.in.data, "Content-Length"));
	hang_up(&c);
}

static void http_1_0_and_connection_close_end_with_the_answer(void **state)
{
	static const char *const requests[] = {"GET /a HTTP/1.0\r\n\r\n",
					       "GET /a HTTP/1.1\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\n\r\n"};

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		AUTO_FREE char *in = ask_and_end(*state, requests[i], strlen(requests[i]));

		assert_non_null(strstr(in, "Connection: close\r\n\r\n/a"));
		assert_null(strstr(in, "/b"));
	}
}

static void an_http_1_0_client_may_ask_to_stay(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	say(&c, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	HEAR(f, &c, "Connection: keep-alive\r\n");
	say(&c, "GET /b HTTP/1.0\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/b");
	HEAR_END(f, &c);
	hang_up(&c);
}

static void the_target_may_be_absolute(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	say(&c, "GET http://device:48484/v2/x?y=1 HTTP/1.1\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n*");
	assert_string_equal(seen.log.data, "GET /v2/x?y=1\nOPTIONS *?\n");
	hang_up(&c);
}

static void an_upgrade_offer_is_ignored(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	say(&c, "GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/b");
	hang_up(&c);
}

static void what_is_malformed_gets_400_and_the_end(void **state)
{
	static const char *const requests[] = {
		"\x16\x03\x01\x02\x00\x01\x00", /* TLS */
		"GET\r\n\r\n",
		"GET / HTTP/3.1\r\n\r\n",
		"GET / HTTP/2.0\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"BREW /pot HTTP/1.1\r\n\r\n",
		"GET nowhere HTTP/1.1\r\n\r\n",
		"CONNECT host:80 HTTP/1.1\r\n\r\n",
		"GET http://host HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
		"GET / HTTP/1.1\r\nBad name: x\r\n\r\n",
		"GET / HTTP/1.1\r\nX: a\x01z\r\n\r\n",
		"GET / HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc",
		"GET / HTTP/1.1\r\n: nameless\r\n\r\n",
		"GET /\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 5x\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		AUTO_FREE char *in = ask_and_end(*state, requests[i], strlen(requests[i]));

		if (strncmp(in, "HTTP/1.1 400 Bad Request\r\n", 26))
			fail_msg("row %zu: %s", i, in);
		assert_non_null(strstr(in, "Connection: close\r\n"));
	}
	assert_int_equal(seen.n_requests, 0);
}

/* -------- limits -------- */

/* A request whose head has exactly `bytes` bytes. */
static char *head_of(size_t bytes)
{
	char *text = malloc(bytes + 1);
	size_t rest = bytes - strlen("GET / HTTP/1.1\r\nX: \r\n\r\n");

	assert_true(snprintf(text, bytes + 1, "GET / HTTP/1.1\r\nX: %0*d\r\n\r\n", (int)rest, 0) == (int)bytes);
	return text;
}

static void a_head_over_its_limit_gets_431(void **state)
{
	struct check_fixture *f = *state;
	AUTO_FREE char *fits = head_of(16384), *over = head_of(16384 + 3), *url = malloc(20001), *in = NULL,
		       *in2 = NULL;
	struct client c;

	dial(&c);
	say(&c, fits);
	HEAR(f, &c, "200 OK");
	hang_up(&c);
	in = ask_and_end(f, over, strlen(over));
	assert_non_null(strstr(in, "HTTP/1.1 431 Request Header Fields Too Large\r\n"));
	memset(url, 'u', 20000);
	memcpy(url, "GET /", 5);
	in2 = ask_and_end(f, url, 20000);
	assert_non_null(strstr(in2, "HTTP/1.1 431 "));
	assert_int_equal(seen.n_requests, 1);
}

static void more_than_64_headers_get_431(void **state)
{
	for (int n = 64; n <= 65; n++) {
		struct buf b;
		AUTO_FREE char *in = NULL;

		buf_init(&b, 4096);
		buf_adds(&b, "GET / HTTP/1.1\r\nConnection: close\r\n");
		for (int i = 1; i < n; i++)
			buf_adds(&b, "A: b\r\n");
		buf_adds(&b, "\r\n");
		in = ask_and_end(*state, b.data, b.len);
		assert_non_null(strstr(in, n == 64 ? "HTTP/1.1 200 " : "HTTP/1.1 431 "));
		buf_deinit(&b);
	}
}

static void a_body_over_its_limit_gets_413_however_it_is_sent(void **state)
{
	static const struct {
		const char *request, *status;
	} rows[] = {
		{"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 8\r\n\r\n12345678", "HTTP/1.1 200 "},
		{"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 413 "},
		{"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789", "HTTP/1.1 413 "},
		{"POST / HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413 "},
		{"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n",
		 "HTTP/1.1 200 "},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n4\r\n1234\r\n0\r\n\r\n",
		 "HTTP/1.1 413 "},
	};
	struct check_fixture *f = *state;

	restart(f, (struct http_server_limits){.body_bytes = 8});
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *in = ask_and_end(f, rows[i].request, strlen(rows[i].request));

		assert_int_equal(strncmp(in, rows[i].status, 13), 0);
	}
}

static void many_bodies_together_have_a_limit_too(void **state)
{
	struct check_fixture *f = *state;
	struct client a, b, c;

	restart(f, (struct http_server_limits){.body_bytes = 100, .bodies_bytes = 12});
	dial(&a);
	say(&a, "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12345678"); /* the last byte is withheld */
	check_run_turns(f->loop, 20);
	dial(&b);
	say(&b, "POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\n12345678");
	HEAR_END(f, &b);
	assert_non_null(strstr(b.in.data, "HTTP/1.1 503 "));
	hang_up(&b);
	hang_up(&a); /* what it held is free again */
	check_run_turns(f->loop, 20);
	dial(&c);
	say(&c, "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 12\r\n\r\n123456789012");
	HEAR_END(f, &c);
	assert_non_null(strstr(c.in.data, "HTTP/1.1 200 "));
	hang_up(&c);
}

static void a_peer_still_sending_can_read_its_413(void **state)
{
	struct check_fixture *f = *state;
	struct client c;
	static char junk[65536];

	restart(f, (struct http_server_limits){.body_bytes = 8});
	dial(&c);
	say(&c, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
	for (int i = 0; i < 16; i++) {
		send_bytes(&c, junk, sizeof(junk));
		check_run_turns(f->loop, 20);
	}
	HEAR_END(f, &c);
	assert_false(c.reset);
	assert_non_null(strstr(c.in.data, "413 Payload Too Large"));
	hang_up(&c);
}

static void endless_chunk_extensions_and_trailers_get_431(void **state)
{
	static const char *const starts[] = {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
					     "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "};

	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		AUTO_FREE char *request = malloc(20001), *in = NULL;

		memset(request, 'e', 20000);
		memcpy(request, starts[i], strlen(starts[i]));
		in = ask_and_end(*state, request, 20000);
		assert_non_null(strstr(in, "HTTP/1.1 431 "));
	}
}

static void expect_100_is_answered_before_the_body(void **state)
{
	struct check_fixture *f = *state;
	struct client c;
	AUTO_FREE char *in = NULL;
	static const char odd[] = "POST / HTTP/1.1\r\nExpect: wonders\r\nContent-Length: 1\r\n\r\n";

	dial(&c);
	say(&c, "POST /up HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
	HEAR(f, &c, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_int_equal(seen.n_requests, 0);
	say(&c, "hi");
	HEAR(f, &c, "\r\n\r\n/up");
	assert_string_equal(seen.body.data, "hi");
	hang_up(&c);
	in = ask_and_end(f, odd, strlen(odd));
	assert_non_null(strstr(in, "HTTP/1.1 417 "));
}

static void a_connection_over_the_limit_is_told_503(void **state)
{
	struct check_fixture *f = *state;
	struct client a, b, c;

	restart(f, (struct http_server_limits){.connections = 2});
	dial(&a);
	dial_unix(&b);
	check_run_turns(f->loop, 3);
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	HEAR_END(f, &c);
	assert_false(c.reset);
	assert_non_null(strstr(c.in.data, "HTTP/1.1 503 Service Unavailable\r\n"));
	hang_up(&c);
	say(&a, "GET /a HTTP/1.1\r\n\r\n");
	HEAR(f, &a, "200 OK");
	hang_up(&a);
	check_run_turns(f->loop, 3);
	dial(&c);
	say(&c, "GET /again HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "200 OK");
	hang_up(&b);
	hang_up(&c);
}

static void a_request_that_takes_too_long_gets_408(void **state)
{
	static const struct {
		struct http_server_limits limits;
		const char *request;
	} rows[] = {
		{{.head_timeout_ms = 10}, "GET / HTTP/1.1\r\nX: "},
		{{.request_timeout_ms = 10}, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"},
		{{.request_timeout_ms = 10}, "GET"},
	};
	struct check_fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *in = NULL;

		restart(f, rows[i].limits);
		in = ask_and_end(f, rows[i].request, strlen(rows[i].request));
		assert_non_null(strstr(in, "HTTP/1.1 408 Request Timeout\r\n"));
	}
}

static void dripping_a_head_does_not_prolong_it(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	restart(f, (struct http_server_limits){.head_timeout_ms = 40, .idle_timeout_ms = 60000});
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\nX: ");
	RUN_UNTIL(f->loop, (send(c.fd, "a", 1, MSG_NOSIGNAL), hear(&c) && c.eof));
	assert_non_null(strstr(buf_str(&c.in), "HTTP/1.1 408 "));
	hang_up(&c);
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
	struct check_fixture *f = *state;
	struct client fresh, used;

	restart(f, (struct http_server_limits){.idle_timeout_ms = 10});
	dial(&fresh);
	dial(&used);
	say(&used, "GET /u HTTP/1.1\r\n\r\n");
	HEAR(f, &used, "\r\n\r\n/u");
	HEAR_END(f, &fresh);
	HEAR_END(f, &used);
	assert_int_equal(fresh.in.len, 0);
	assert_string_equal(strstr(used.in.data, "\r\n\r\n"), "\r\n\r\n/u");
	hang_up(&fresh);
	hang_up(&used);
}

/* -------- order -------- */

static void pipelined_requests_are_answered_in_order_one_at_a_time(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = hold;
	dial(&c);
	say(&c, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.n_held, 1);
	say_path(seen.held[0]);
	assert_int_equal(seen.n_held, 1); /* the next one comes from the loop */
	RUN_UNTIL(f->loop, seen.n_held == 2);
	handle = say_path;
	say_path(seen.held[1]);
	HEAR(f, &c, "\r\n\r\n/3");
	assert_true(strstr(c.in.data, "\r\n\r\n/1") < strstr(c.in.data, "\r\n\r\n/2"));
	assert_true(strstr(c.in.data, "\r\n\r\n/2") < strstr(c.in.data, "\r\n\r\n/3"));
	hang_up(&c);
}

static void reading_pauses_while_a_slow_answer_is_awaited(void **state)
{
	struct check_fixture *f = *state;
	AUTO_FREE char *request = head_of(1000);
	struct client c;
	int sent = 0, refused = 0;

	handle = hold;
	dial_unix(&c);         /* its socket takes a request whole or not at all */
	while (refused < 20) { /* until neither the socket nor the server takes more, whatever the loop does */
		bool taken = send(c.fd, request, 1000, MSG_NOSIGNAL) == 1000;

		sent += taken;
		refused = taken ? 0 : refused + 1;
		check_run_turns(f->loop, 2);
		assert_true(sent < 10000);
	}
	assert_int_equal(seen.n_held, 1);
	handle = say_path;
	say_path(seen.held[0]);
	RUN_UNTIL(f->loop, hear(&c) && seen.n_requests == sent);
	hang_up(&c);
}

static void many_pipelined_requests_are_all_answered(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	dial(&c);
	for (int i = 0; i < 500; i++)
		say(&c, "GET /q HTTP/1.1\r\n\r\n");
	shutdown(c.fd, SHUT_WR);
	HEAR_END(f, &c);
	assert_int_equal(seen.n_requests, 500);
	hang_up(&c);
}

static void a_large_answer_to_a_slow_reader_arrives_whole(void **state)
{
	struct check_fixture *f = *state;
	static char big[8 << 20];
	struct client c;

	memset(big, 'b', sizeof(big));
	handle = hold;
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	handle = say_path;
	http_respond(seen.held[0], 200, NULL, big, sizeof(big), NULL);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.n_requests, 1); /* nothing more is taken from one who does not read */
	HEAR(f, &c, "\r\n\r\n/next");
	assert_true(c.in.len > sizeof(big));
	hang_up(&c);
}

/* -------- streams -------- */

static void on_gone(void *ctx)
{
	(void)ctx;
	seen.n_closed++;
}

static void begin_stream(struct http_exchange *x)
{
	http_stream_begin(x, 200, "text/event-stream", (struct http_header[]){{"Cache-Control", "no-cache"}, {0}});
	http_exchange_on_close(x, on_gone, NULL);
	hold(x);
}

static void a_stream_is_chunked_and_the_connection_kept(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream;
	dial(&c);
	say(&c, "GET /v2/events HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "Transfer-Encoding: chunked\r\n");
	assert_int_equal(http_stream_write(seen.held[0], "hello", 5), 0);
	assert_int_equal(http_stream_write(seen.held[0], "", 0), 0);
	assert_int_equal(http_stream_write(seen.held[0], "0123456789abcdefgh", 18), 0);
	http_stream_end(seen.held[0]);
	HEAR(f, &c, "\r\n\r\n5\r\nhello\r\n12\r\n0123456789abcdefgh\r\n0\r\n\r\n");
	handle = say_path;
	say(&c, "GET /after HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/after");
	assert_int_equal(seen.n_closed, 0);
	hang_up(&c);
}

static void a_stream_to_http_1_0_ends_with_the_connection(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream;
	dial(&c);
	say(&c, "GET / HTTP/1.0\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	assert_int_equal(http_stream_write(seen.held[0], "raw", 3), 0);
	http_stream_end(seen.held[0]);
	HEAR_END(f, &c);
	assert_null(strstr(c.in.data, "chunked"));
	assert_string_equal(strstr(c.in.data, "\r\n\r\n"), "\r\n\r\nraw");
	hang_up(&c);
}

static void on_drained(void *ctx)
{
	(void)ctx;
	seen.n_drained++;
}

static void a_reader_that_cannot_keep_up_is_reported_and_then_drains(void **state)
{
	struct check_fixture *f = *state;
	static char piece[20000];
	struct client c;
	int rc;
	size_t sent = 0;

	restart(f, (struct http_server_limits){.stream_queue_bytes = 50000});
	handle = begin_stream;
	dial(&c);
	say(&c, "GET / HTTP/1.0\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	http_stream_on_drain(seen.held[0], on_drained, NULL);
	while ((rc = http_stream_write(seen.held[0], piece, sizeof(piece))) == 0)
		sent += sizeof(piece);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(seen.n_drained, 0);
	RUN_UNTIL(f->loop, hear(&c) && seen.n_drained == 1);
	assert_int_equal(http_stream_write(seen.held[0], piece, sizeof(piece)), 0);
	sent += sizeof(piece);
	http_stream_end(seen.held[0]);
	HEAR_END(f, &c);
	assert_int_equal(c.in.len - (size_t)(strstr(c.in.data, "\r\n\r\n") + 4 - c.in.data), sent);
	hang_up(&c);
}

static void a_stream_is_over_when_its_reader_leaves(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream;
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	assert_int_equal(http_stream_write(seen.held[0], "x", 1), 0);
	hang_up(&c);
	RUN_UNTIL(f->loop, seen.n_closed == 1);
	check_run_turns(f->loop, 3);
	assert_int_equal(seen.n_closed, 1);
}

static void a_write_to_a_reader_that_left_is_refused_until_on_close(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream;
	dial_unix(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	hang_up(&c); /* and the loop does not know yet */
	assert_int_equal(http_stream_write(seen.held[0], "x", 1), -EPIPE);
	assert_int_equal(http_stream_write(seen.held[0], "x", 1), -EPIPE);
	assert_int_equal(seen.n_closed, 0);
	RUN_UNTIL(f->loop, seen.n_closed == 1);
}

static void ending_a_stream_whose_reader_left_is_the_end_of_it(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream;
	dial_unix(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	hang_up(&c);
	assert_int_equal(http_stream_write(seen.held[0], "x", 1), -EPIPE);
	http_stream_end(seen.held[0]);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.n_closed, 0);
}

static void an_aborted_stream_has_no_last_chunk(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream;
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	http_stream_write(seen.held[0], "x", 1);
	http_stream_abort(seen.held[0]);
	HEAR_END(f, &c);
	assert_null(strstr(c.in.data, "\r\n0\r\n"));
	check_run_turns(f->loop, 3);
	assert_int_equal(seen.n_closed, 0);
	hang_up(&c);
}

static void begin_stream_and_write(struct http_exchange *x)
{
	begin_stream(x);
	assert_int_equal(http_stream_write(x, "x", 1), -EPIPE);
	assert_int_equal(seen.n_closed, 0);
}

static void a_head_request_to_a_stream_gets_the_head_and_the_end(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = begin_stream_and_write;
	dial(&c);
	say(&c, "HEAD / HTTP/1.1\r\n\r\n");
	HEAR_END(f, &c);
	assert_non_null(strstr(c.in.data, "200 OK"));
	RUN_UNTIL(f->loop, seen.n_closed == 1);
	hang_up(&c);
}

/* -------- peers that leave, servers that stop -------- */

static void a_peer_that_leaves_before_the_answer_is_reported_once(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = hold;
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	http_exchange_on_close(seen.held[0], on_gone, NULL);
	hang_up(&c);
	RUN_UNTIL(f->loop, seen.n_closed == 1);
	assert_string_equal(http_exchange_path(seen.held[0]), "/"); /* still ours */
	say_path(seen.held[0]);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.n_closed, 1);
}

static void on_close_asked_for_too_late_and_an_answer_in_the_same_turn_are_fine(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = hold;
	dial(&c);
	say(&c, "GET / HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	hang_up(&c);
	check_run_turns(f->loop, 20);
	http_exchange_on_close(seen.held[0], on_gone, NULL);
	say_path(seen.held[0]);
	check_run_turns(f->loop, 5);
	assert_int_equal(seen.n_closed, 0);
}

static void a_peer_that_only_stopped_sending_gets_its_answer(void **state)
{
	struct check_fixture *f = *state;
	struct client c;

	handle = hold;
	dial(&c);
	say(&c, "GET /half HTTP/1.1\r\n\r\n");
	shutdown(c.fd, SHUT_WR);
	RUN_UNTIL(f->loop, seen.n_held == 1);
	check_run_turns(f->loop, 5);
	say_path(seen.held[0]);
	HEAR_END(f, &c);
	assert_non_null(strstr(c.in.data, "\r\n\r\n/half"));
	hang_up(&c);
}

static void answer_in_on_close(void *ctx)
{
	seen.n_closed++;
	say_path(ctx);
}

static void stopping_cuts_connections_and_held_requests_hear_of_it(void **state)
{
	struct check_fixture *f = *state;
	struct client a, b, c, d;

	handle = hold;
	dial(&a);
	dial(&b);
	dial(&c);
	dial(&d);
	say(&a, "GET /a HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 1);
	say(&b, "GET /b HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 2);
	say(&d, "GET /d HTTP/1.1\r\n\r\n");
	RUN_UNTIL(f->loop, seen.n_held == 3);
	http_exchange_on_close(seen.held[0], on_gone, NULL);
	http_exchange_on_close(seen.held[2], answer_in_on_close, seen.held[2]);
	stop(f);
	assert_int_equal(seen.n_closed, 2);
	assert_string_equal(http_exchange_path(seen.held[0]), "/a");
	say_path(seen.held[0]); /* answered after the server is gone: dropped */
	http_exchange_on_close(seen.held[1], answer_in_on_close, seen.held[1]);
	RUN_UNTIL(f->loop, seen.n_closed == 3); /* told late, as it asked late */
	HEAR_END(f, &a);
	HEAR_END(f, &c);
	hang_up(&a);
	hang_up(&b);
	hang_up(&c);
	hang_up(&d);
}

static void inject(struct http_exchange *x)
{
	static const struct http_header rows[][2] = {
		{{"X", "a\r\nSet-Cookie: b"}, {0}},
		{{"X", "a\nb"}, {0}},
		{{"X\r\nY", "a"}, {0}},
		{{"X:", "a"}, {0}},
		{{"", "a"}, {0}},
	};
	size_t i = strtoul(http_exchange_path(x) + 1, NULL, 10);

	if (i < ARRAY_LEN(rows))
		http_respond(x, 200, "text/plain", "", 0, rows[i]);
	else
		http_respond(x, 200, "text/plain\r\nSet-Cookie: b", "", 0, NULL);
}

static void a_response_header_cannot_inject_another(void **state)
{
	handle = inject;
	for (int i = 0; i < 6; i++) {
		char request[64];
		AUTO_FREE char *in = NULL;

		snprintf(request, sizeof(request), "GET /%d HTTP/1.0\r\n\r\n", i);
		in = ask_and_end(*state, request, strlen(request));
		assert_int_equal(strncmp(in, "HTTP/1.1 500 ", 13), 0);
		assert_null(strstr(in, "Cookie"));
	}
}

/* -------- addresses -------- */

static void addresses_that_cannot_be_had_are_named(void **state)
{
	struct check_fixture *f = *state;
	struct err err = {0};
	char taken[32], path[300];

	assert_int_equal(http_server_listen_tcp(server, "127.0.0.1", port, NULL, &err), -EADDRINUSE);
	snprintf(taken, sizeof(taken), "127.0.0.1:%u", port);
	assert_non_null(strstr(err.msg, taken));
	assert_int_equal(http_server_listen_tcp(server, "203.0.113.9", 0, NULL, &err), -EADDRNOTAVAIL);
	assert_int_equal(http_server_listen_tcp(server, "nonsense", 0, NULL, &err), -EINVAL);
	assert_int_equal(http_server_listen_unix(server, sock_path, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, sock_path));
	check_write_file(f->dir_fd, "file", "precious");
	snprintf(path, sizeof(path), "%s/file", f->dir);
	assert_int_equal(http_server_listen_unix(server, path, &err), -EEXIST);
	assert_int_equal(access(path, F_OK), 0);
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(http_server_listen_unix(server, path, &err), -ENAMETOOLONG);
}

static void a_stale_socket_is_replaced_and_ours_is_private_and_removed(void **state)
{
	struct check_fixture *f = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct err err = {0};
	struct stat st;
	char path[100];

	snprintf(path, sizeof(path), "%s/stale.sock", f->dir);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	assert_int_equal(http_server_listen_unix(server, path, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	stop(f);
	assert_int_equal(stat(path, &st), -1);
}

static void an_address_given_up_refuses_but_its_connections_stay(void **state)
{
	struct check_fixture *f = *state;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct client c;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	dial(&c);
	say(&c, "GET /1 HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/1");
	http_server_unlisten_tcp(server, "10.114.104.1"); /* another: nothing happens */
	http_server_unlisten_tcp(server, "127.0.0.1");
	check_run_turns(f->loop, 3);
	inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	say(&c, "GET /2 HTTP/1.1\r\n\r\n");
	HEAR(f, &c, "\r\n\r\n/2");
	hang_up(&c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_is_answered_and_the_connection_kept),
		T(a_request_may_come_byte_by_byte),
		T(headers_are_found_in_any_case_and_the_first_wins),
		T(no_body_follows_a_head_request_or_a_204),
		T(http_1_0_and_connection_close_end_with_the_answer),
		T(an_http_1_0_client_may_ask_to_stay),
		T(the_target_may_be_absolute),
		T(an_upgrade_offer_is_ignored),
		T(what_is_malformed_gets_400_and_the_end),
		T(a_head_over_its_limit_gets_431),
		T(more_than_64_headers_get_431),
		T(a_body_over_its_limit_gets_413_however_it_is_sent),
		T(many_bodies_together_have_a_limit_too),
		T(a_peer_still_sending_can_read_its_413),
		T(endless_chunk_extensions_and_trailers_get_431),
		T(expect_100_is_answered_before_the_body),
		T(a_connection_over_the_limit_is_told_503),
		T(a_request_that_takes_too_long_gets_408),
		T(dripping_a_head_does_not_prolong_it),
		T(an_idle_connection_is_closed_without_a_word),
		T(pipelined_requests_are_answered_in_order_one_at_a_time),
		T(reading_pauses_while_a_slow_answer_is_awaited),
		T(many_pipelined_requests_are_all_answered),
		T(a_large_answer_to_a_slow_reader_arrives_whole),
		T(a_stream_is_chunked_and_the_connection_kept),
		T(a_stream_to_http_1_0_ends_with_the_connection),
		T(a_reader_that_cannot_keep_up_is_reported_and_then_drains),
		T(a_stream_is_over_when_its_reader_leaves),
		T(a_write_to_a_reader_that_left_is_refused_until_on_close),
		T(ending_a_stream_whose_reader_left_is_the_end_of_it),
		T(an_aborted_stream_has_no_last_chunk),
		T(a_head_request_to_a_stream_gets_the_head_and_the_end),
		T(a_peer_that_leaves_before_the_answer_is_reported_once),
		T(on_close_asked_for_too_late_and_an_answer_in_the_same_turn_are_fine),
		T(a_peer_that_only_stopped_sending_gets_its_answer),
		T(stopping_cuts_connections_and_held_requests_hear_of_it),
		T(a_response_header_cannot_inject_another),
		T(addresses_that_cannot_be_had_are_named),
		T(a_stale_socket_is_replaced_and_ours_is_private_and_removed),
		T(an_address_given_up_refuses_but_its_connections_stay),
	};

	return cmocka_run_group_tests_name("http_server", tests, NULL, NULL);
}
