/*
 * A scripted engine for unit tests: our own HTTP server on a Unix socket, answering from a table. It writes down what
 * it was asked, can hold requests back, and can stream. For the engine's faults; what a real engine does is tested with
 * a real one (private-engine).
 */
#ifndef SUPPORT_ENGINE_PEER_H
#define SUPPORT_ENGINE_PEER_H

#include "check.h"

#include "engine/engine.h"
#include "net/http_server.h"
#include "util/mem.h"
#include "util/str.h"

#define PEER_HELD_MAX 64

enum peer_kind { PEER_ANSWER, PEER_HOLD, PEER_STREAM };
struct peer_answer {
	const char *request; /* "GET /version"; a '*' at its end: any rest */
	int status;
	const char *body;
	enum peer_kind kind;
};

struct peer;
struct peer_held { /* a request held back, or a stream */
	struct peer *peer;
	struct http_exchange *x;
};

struct peer {
	struct check_fixture *f;
	struct http_server *server;
	struct engine *engine;
	char socket[120];
	const struct peer_answer *answers;     /* the first that matches; NULL-ended; none: 501 */
	char asked[65536];                     /* "METHOD path?query[ body]\n" each */
	struct peer_held *held[PEER_HELD_MAX]; /* oldest first */
	size_t n_held, held_most;
	bool server_stopped, engine_stopped;
};

/* Forget one; gives its exchange. */
static inline struct http_exchange *peer_forget(struct peer *p, size_t i)
{
	struct http_exchange *x = p->held[i]->x;

	free(p->held[i]);
	memmove(p->held + i, p->held + i + 1, (--p->n_held - i) * sizeof(struct peer_held *));
	return x;
}

/* Our side hung up: a stream is over with this, its exchange must not be touched again. */
static inline void peer_on_stream_gone(void *ctx)
{
	struct peer_held *h = ctx;

	for (size_t i = 0; i < h->peer->n_held; i++)
		if (h->peer->held[i] == h) {
			peer_forget(h->peer, i);
			return;
		}
}

static inline const struct peer_answer *peer_find(const struct peer *p, const char *line)
{
	for (const struct peer_answer *a = p->answers; a && a->request; a++) {
		size_t len = strlen(a->request);

		if (len > 0 && a->request[len - 1] == '*' ? strncmp(a->request, line, len - 1) == 0
							  : strcmp(a->request, line) == 0)
			return a;
	}
	return NULL;
}

static inline void peer_hold(struct peer *p, struct http_exchange *x)
{
	struct peer_held *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	assert_true(p->n_held < PEER_HELD_MAX);
	*h = (struct peer_held){p, x};
	p->held[p->n_held++] = h;
	if (p->n_held > p->held_most)
		p->held_most = p->n_held;
}

static inline void peer_on_request(void *ctx, struct http_exchange *x)
{
	struct peer *p = ctx;
	const struct peer_answer *a;
	const char *query = http_exchange_query(x), *body;
	size_t at = strlen(p->asked), len;
	char line[4096];

	snprintf(line, sizeof(line), "%s %s%s%s", http_exchange_method(x), http_exchange_path(x), *query ? "?" : "",
		 query);
	body = http_exchange_body(x, &len);
	snprintf(p->asked + at, sizeof(p->asked) - at, "%s%s%.*s\n", line, len ? " " : "", (int)len, body);
	a = peer_find(p, line);
	if (!a) {
		http_respond(x, 501, "application/json", "{\"message\":\"not scripted\"}", 26, NULL);
		return;
	}
	if (a->kind == PEER_ANSWER) {
		http_respond(x, a->status, a->body ? "application/json" : NULL, a->body, a->body ? strlen(a->body) : 0,
			     NULL);
		return;
	}
	peer_hold(p, x);
	if (a->kind == PEER_STREAM) {
		http_exchange_on_close(x, peer_on_stream_gone, p->held[p->n_held - 1]);
		http_stream_begin(x, a->status, "application/json", NULL);
		if (a->body)
			assert_int_equal(http_stream_write(x, a->body, strlen(a->body)), 0);
	}
}

/* Take the oldest exchange that is held or streaming. */
static inline struct http_exchange *peer_take(struct peer *p)
{
	assert_true(p->n_held > 0);
	http_exchange_on_close(p->held[0]->x, NULL, NULL);
	return peer_forget(p, 0);
}

/* Say more on the oldest stream. */
static inline void peer_say(struct peer *p, const char *text)
{
	assert_true(p->n_held > 0);
	assert_int_equal(http_stream_write(p->held[0]->x, text, strlen(text)), 0);
}

static inline void peer_listen(struct peer *p)
{
	struct err err = {0};

	p->server_stopped = false;
	p->server = http_server_new(p->f->loop, NULL, peer_on_request, p);
	if (http_server_listen_unix(p->server, p->socket, &err) < 0)
		fail_msg("%s", err.msg);
}

static inline void peer_set_true(void *ctx)
{
	*(bool *)ctx = true;
}

/* The engine goes away; what it held or streamed is cut. */
static inline void peer_die(struct peer *p)
{
	while (p->n_held > 0)
		http_stream_abort(peer_take(p));
	http_server_stop(p->server, peer_set_true, &p->server_stopped);
	RUN_UNTIL(p->f->loop, p->server_stopped);
	p->server = NULL;
}

static inline int peer_setup(void **state)
{
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	check_setup((void **)&p->f);
	snprintf(p->socket, sizeof(p->socket), "%s/s", p->f->dir);
	peer_listen(p);
	p->engine = engine_new(p->f->loop, p->socket);
	*state = p;
	return 0;
}

static inline void peer_stop_engine(struct peer *p)
{
	engine_stop(p->engine, peer_set_true, &p->engine_stopped);
	assert_false(p->engine_stopped);
	RUN_UNTIL(p->f->loop, p->engine_stopped);
}

static inline int peer_teardown(void **state)
{
	struct peer *p = *state;
	void *f = p->f;

	if (!p->engine_stopped)
		peer_stop_engine(p);
	if (p->server)
		peer_die(p);
	check_run_turns(p->f->loop, 3);
	free(p);
	return check_teardown(&f);
}

/* Exactly these requests came since the last time. */
#define ASKED(p, expected)                                                                                             \
	do {                                                                                                           \
		assert_string_equal((p)->asked, expected);                                                             \
		(p)->asked[0] = '\0';                                                                                  \
	} while (0)

#endif
