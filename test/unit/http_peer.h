/*
 * The far end of an HTTP client's test: a listener (Unix or TCP) on the test's own loop that counts connections and
 * requests, and says what the test scripted. Only the words are scripted; the sockets are real.
 */
#ifndef UNIT_HTTP_PEER_H
#define UNIT_HTTP_PEER_H

#include "check.h"
#include "util/buf.h"
#include "util/mem.h"

struct http_peer;
struct peer_conn {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	struct http_peer *peer;
	struct peer_conn *next;
	struct buf in; /* received and not looked at yet */
	unsigned n;    /* of this connection: 1, 2, ... */
	unsigned n_requests;
	bool closed;
};

struct http_peer {
	struct loop *loop;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	bool is_unix, has_listener;
	char address[160]; /* path, or http://127.0.0.1:port */
	unsigned n_conns, n_requests, n_open;
	struct peer_conn *conns; /* newest first; kept until the end */
	const char *answer;      /* to every request; NULL: silence */
	bool hang_up;            /* after each answer */
	char last[8192];         /* the last request */
	/* Instead of `answer`: called with each whole request in `last`. */
	void (*on_request)(struct peer_conn *c);
};

static inline void peer_say_bytes(struct peer_conn *c, const void *data, size_t len)
{
	uv_buf_t b = uv_buf_init((char *)data, (unsigned)len);
	int rc = uv_try_write(&c->uv.stream, &b, 1);

	assert_true(rc == (int)len || rc == UV_EPIPE || rc == UV_ECONNRESET); /* the client may have given up */
}

static inline void peer_say(struct peer_conn *c, const char *text)
{
	peer_say_bytes(c, text, strlen(text));
}

static inline void peer_hang_up(struct peer_conn *c)
{
	if (c->closed)
		return;
	c->closed = true;
	c->peer->n_open--;
	uv_close(&c->uv.handle, NULL);
}

/* Length of the first whole request in `in`, 0 if there is none yet. */
static inline size_t peer_request_len(const struct peer_conn *c)
{
	const char *end = strstr(buf_str(&c->in), "\r\n\r\n");
	const char *length = strcasestr(buf_str(&c->in), "\r\nContent-Length: ");
	const char *chunked = strcasestr(buf_str(&c->in), "chunked\r\n");
	size_t len;

	if (!end)
		return 0;
	if (chunked && chunked < end) {
		const char *last = strstr(end, "\r\n0\r\n\r\n");

		return last ? (size_t)(last + 7 - c->in.data) : 0;
	}
	len = (size_t)(end + 4 - c->in.data);
	if (length && length < end)
		len += strtoul(length + 18, NULL, 10);
	return len <= c->in.len ? len : 0;
}

static inline void peer_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct peer_conn *c = s->data;
	size_t len;

	if (n > 0)
		buf_add(&c->in, buf->base, (size_t)n);
	free(buf->base);
	if (n < 0)
		peer_hang_up(c);
	while (!c->closed && (len = peer_request_len(c)) > 0) {
		snprintf(c->peer->last, sizeof(c->peer->last), "%.*s", (int)len, c->in.data);
		buf_consume(&c->in, len);
		c->n_requests++;
		c->peer->n_requests++;
		if (c->peer->on_request)
			c->peer->on_request(c);
		else if (c->peer->answer)
			peer_say(c, c->peer->answer);
		if (c->peer->hang_up)
			peer_hang_up(c);
	}
}

static inline void peer_on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	(void)h;
	*buf = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static inline void peer_on_connection(uv_stream_t *s, int status)
{
	struct http_peer *p = s->data;
	struct peer_conn *c = calloc(1, sizeof(*c));

	assert_int_equal(status, 0);
	c->peer = p;
	c->n = ++p->n_conns;
	p->n_open++;
	c->next = p->conns;
	p->conns = c;
	buf_init(&c->in, 8 << 20);
	if (p->is_unix)
		uv_pipe_init(loop_uv(p->loop), &c->uv.pipe, 0);
	else
		uv_tcp_init(loop_uv(p->loop), &c->uv.tcp);
	c->uv.handle.data = c;
	assert_int_equal(uv_accept(s, &c->uv.stream), 0);
	assert_int_equal(uv_read_start(&c->uv.stream, peer_on_alloc, peer_on_read), 0);
}

static inline void peer_start_unix(struct http_peer *p, struct loop *l, const char *dir)
{
	*p = (struct http_peer){.loop = l, .is_unix = true, .has_listener = true};
	snprintf(p->address, sizeof(p->address), "%s/engine.sock", dir);
	uv_pipe_init(loop_uv(l), &p->uv.pipe, 0);
	p->uv.handle.data = p;
	assert_int_equal(uv_pipe_bind(&p->uv.pipe, p->address), 0);
	assert_int_equal(uv_listen(&p->uv.stream, 128, peer_on_connection), 0);
}

static inline void peer_start_tcp(struct http_peer *p, struct loop *l)
{
	struct sockaddr_in a;
	int len = sizeof(a);

	*p = (struct http_peer){.loop = l, .has_listener = true};
	uv_tcp_init(loop_uv(l), &p->uv.tcp);
	p->uv.handle.data = p;
	uv_ip4_addr("127.0.0.1", 0, &a);
	assert_int_equal(uv_tcp_bind(&p->uv.tcp, (struct sockaddr *)&a, 0), 0);
	assert_int_equal(uv_listen(&p->uv.stream, 128, peer_on_connection), 0);
	assert_int_equal(uv_tcp_getsockname(&p->uv.tcp, (struct sockaddr *)&a, &len), 0);
	snprintf(p->address, sizeof(p->address), "http://127.0.0.1:%u", ntohs(a.sin_port));
}

static inline void peer_stop(struct http_peer *p)
{
	struct peer_conn *c;

	if (p->has_listener)
		uv_close(&p->uv.handle, NULL);
	for (c = p->conns; c; c = c->next)
		peer_hang_up(c);
	check_run_turns(p->loop, 3);
	while ((c = p->conns)) {
		p->conns = c->next;
		buf_deinit(&c->in);
		free(c);
	}
}

/* What a call came to. */
struct outcome {
	int n_done, code, status, n_heads, n_data;
	char msg[480], body[8192], type[64];
	size_t body_len;
	bool has_response;
	struct buf *streamed;
};

static inline void outcome_done(void *ctx, const struct err *err, const struct http_response *r)
{
	struct outcome *o = ctx;

	o->n_done++;
	if (err) {
		o->code = err->code;
		snprintf(o->msg, sizeof(o->msg), "%s", err->msg);
	}
	if (!r)
		return;
	o->has_response = true;
	o->status = r->status;
	o->body_len = r->body_len;
	snprintf(o->body, sizeof(o->body), "%s", r->body);
	if (http_response_header(r, "content-type"))
		snprintf(o->type, sizeof(o->type), "%s", http_response_header(r, "content-type"));
}

#endif
