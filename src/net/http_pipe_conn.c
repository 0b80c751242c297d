/*
 * The socket side of http_pipe: one uv_pipe with a response parser, working for one call at a time. It keeps nothing
 * but the parser's state between two reads; what is received goes to the call, what is idle costs some 500 bytes.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "net/http_pipe_internal.h"
#include "util/mem.h"

struct pipe_upload {
	uv_write_t req;
	bool ended; /* the last chunk is on its way */
	char data[PIPE_CHUNK_BYTES + 24];
};

/* ---- the parser's callbacks: a call that its own callback cancelled stops the parser ---- */

static int stop_parser(struct pipe_call *c, int code, const char *what)
{
	pipe_call_fail(c, code, "%s", what);
	return HPE_USER;
}

static struct pipe_call *call_of(llhttp_t *parser)
{
	return CONTAINER_OF(parser, struct pipe_conn, parser)->call;
}

static int check_head(struct pipe_call *c, int rc)
{
	return rc < 0 ? stop_parser(c, -EPROTO, "head of the answer over 16384 bytes or 64 headers") : 0;
}

static int on_header_bytes(llhttp_t *parser, const char *at, size_t len)
{
	struct pipe_call *c = call_of(parser);

	return c->has_head ? 0 : check_head(c, http_head_add(&c->head, at, len)); /* trailers are of no interest */
}

static int on_header_field_complete(llhttp_t *parser)
{
	struct pipe_call *c = call_of(parser);

	return c->has_head ? 0 : check_head(c, http_head_end_name(&c->head));
}

static int on_header_value_complete(llhttp_t *parser)
{
	struct pipe_call *c = call_of(parser);

	return c->has_head ? 0 : check_head(c, http_head_end_value(&c->head));
}

static int on_headers_complete(llhttp_t *parser)
{
	struct pipe_call *c = call_of(parser);
	int status = parser->status_code;

	parser->upgrade = 0; /* we never ask for one */
	if (status < 200 && status != 101)
		return 0; /* an interim answer: the real one follows */
	c->status = status;
	c->has_head = true;
	c->is_streamed = c->on_data && status / 100 == 2;
	pipe_call_enter(c, CALL_BODY);
	if (c->on_head) {
		struct http_header list[HTTP_HEADERS_MAX];
		struct http_response r = {.status = status, .body = "", .headers = list};

		r.n_headers = http_head_list(&c->head, list);
		c->on_head(c->stream_ctx, &r);
		if (c->phase == CALL_ENDED)
			return HPE_USER;
	}
	return c->is_head_method || status == 204 || status == 304; /* 1: no body, whatever its Content-Length says */
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct pipe_call *c = call_of(parser);
	int rc;

	if (c->idle_timeout_ms)
		pipe_call_enter(c, CALL_BODY);
	if (c->is_streamed) {
		rc = c->on_data(c->stream_ctx, at, len);
		if (rc)
			pipe_call_fail(c, rc, "ended by its reader");
		return c->phase == CALL_ENDED ? HPE_USER : 0;
	}
	if (buf_add(&c->body, at, len) == 0)
		return 0;
	if (c->on_data) { /* the text of an error: its beginning is enough */
		c->body.failed = 0;
		buf_add(&c->body, at, c->body.max - c->body.len);
		return 0;
	}
	pipe_call_fail(c, -EMSGSIZE, "body of the answer over %zu bytes", c->body.max);
	return HPE_USER;
}

static int on_message_complete(llhttp_t *parser)
{
	struct pipe_conn *conn = CONTAINER_OF(parser, struct pipe_conn, parser);

	if (!conn->call->has_head) { /* interim */
		http_head_clear(&conn->call->head);
		return 0;
	}
	conn->is_complete = true;
	conn->may_stay = llhttp_should_keep_alive(parser) && conn->call->status != 101;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_header_field = on_header_bytes,
	.on_header_value = on_header_bytes,
	.on_header_field_complete = on_header_field_complete,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* -------- reading -------- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct pipe_conn *conn = h->data;

	(void)suggested;
	*buf = uv_buf_init(conn->pipe->read_buf, PIPE_READ_BYTES);
}

static void become_idle(struct pipe_conn *conn)
{
	struct http_pipe *p = conn->pipe;

	if (!conn->may_stay || conn->is_sending || conn->send_error || p->stopping || p->n_idle == HTTP_PIPE_IDLE_MAX) {
		pipe_conn_close(conn);
		return;
	}
	conn->is_idle = conn->was_used = true;
	conn->is_complete = false;
	p->n_idle++;
	TAILQ_INSERT_HEAD(&p->idle, conn, idle_link);
}

/* First the connection is free for others, then the caller hears of it: its next call can take it at once. */
static void finish(struct pipe_conn *conn, bool clean)
{
	struct pipe_call *c = STEAL(conn->call);

	c->conn = NULL;
	conn->may_stay = conn->may_stay && clean;
	become_idle(conn);
	pipe_call_finish(c);
}

static void on_bytes(struct pipe_conn *conn, const char *data, size_t len)
{
	struct pipe_call *c = conn->call;
	llhttp_errno_t rc;

	if (!c->has_answer) {
		c->has_answer = true;
		buf_deinit(&c->request);
	}
	rc = llhttp_execute(&conn->parser, data, len);
	if (!conn->call)
		return; /* it ended in a callback, and the connection with it */
	if (conn->is_complete)
		finish(conn, llhttp_get_error_pos(&conn->parser) == data + len);
	else if (rc != HPE_OK)
		pipe_call_fail(c, -EPROTO, "answer is not HTTP: %s", llhttp_get_error_reason(&conn->parser));
}

static void on_end(struct pipe_conn *conn, int code)
{
	if (code == UV_EOF && conn->call->has_head) {
		llhttp_finish(&conn->parser);
		if (!conn->call)
			return;
		if (conn->is_complete) { /* its end was the end of the body */
			finish(conn, false);
			return;
		}
	}
	pipe_call_cut(conn->call, conn, code == UV_EOF ? -ECONNRESET : code);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct pipe_conn *conn = s->data;

	if (n == 0)
		return;
	if (!conn->call)
		pipe_conn_close(conn); /* idle: closed by the engine, or bytes nobody asked for */
	else if (n > 0)
		on_bytes(conn, buf->base, (size_t)n);
	else
		on_end(conn, (int)n);
}

/* -------- writing -------- */

static void sent(struct pipe_conn *conn)
{
	conn->is_sending = false;
	if (conn->call && conn->call->phase < CALL_HEAD)
		pipe_call_enter(conn->call, CALL_HEAD);
}

/* A failed write is not the end: the engine may have answered before it stopped reading. The read side tells. */
static void on_sent(uv_write_t *req, int status)
{
	struct pipe_conn *conn = req->handle->data;

	free(req);
	if (status < 0)
		conn->send_error = status;
	else
		sent(conn);
}

static void pump(struct pipe_conn *conn);

static void on_pumped(uv_write_t *req, int status)
{
	struct pipe_conn *conn = req->handle->data;

	if (status < 0)
		conn->send_error = status;
	else if (conn->up->ended)
		sent(conn);
	else if (conn->call)
		pump(conn);
}

/* One chunk of the upload: "size CRLF data CRLF", built in place around what the source gives. */
static void pump(struct pipe_conn *conn)
{
	struct pipe_upload *up = conn->up;
	struct pipe_call *c = conn->call;
	char size[16];
	uv_buf_t b;
	int len, rc;
	long n;

	n = c->source(c->stream_ctx, up->data + 10, PIPE_CHUNK_BYTES);
	if (conn->call != c)
		return; /* it cancelled its own call */
	if (n < 0) {
		pipe_call_fail(c, (int)n, "request body: %s", strerror((int)-n));
		return;
	}
	up->ended = n == 0;
	len = snprintf(size, sizeof(size), "%lx\r\n", n);
	memcpy(up->data + 10 - len, size, (size_t)len);
	memcpy(up->data + 10 + n, "\r\n", 2);
	b = uv_buf_init(up->data + 10 - len, (unsigned)(len + n + 2));
	rc = uv_write(&up->req, (uv_stream_t *)&conn->uv, &b, 1, on_pumped);
	if (rc < 0)
		conn->send_error = rc;
}

/* The head of an upload is queued, so that its source is asked from the loop. */
static int send_upload(struct pipe_conn *conn, struct pipe_call *c)
{
	uv_buf_t b;

	conn->up = mem_new(1, sizeof(*conn->up));
	b = uv_buf_init(conn->up->data, (unsigned)c->request.len);
	if (c->request.len > sizeof(conn->up->data))
		return -E2BIG;
	memcpy(conn->up->data, c->request.data, c->request.len);
	return uv_write(&conn->up->req, (uv_stream_t *)&conn->uv, &b, 1, on_pumped);
}

int pipe_conn_send(struct pipe_conn *conn, struct pipe_call *c)
{
	uv_buf_t b = uv_buf_init(c->request.data, (unsigned)c->request.len);
	int rc;

	if (c->source)
		rc = send_upload(conn, c);
	else
		rc = http_stream_send((uv_stream_t *)&conn->uv, &b, 1, on_sent);
	if (rc < 0)
		return rc;
	conn->call = c;
	c->conn = conn;
	llhttp_init(&conn->parser, HTTP_RESPONSE, &settings);
	conn->is_sending = true;
	pipe_call_enter(c, CALL_WRITE);
	if (rc == 0 && !c->source)
		sent(conn);
	return 0;
}

/* -------- life -------- */

static void on_closed(uv_handle_t *h)
{
	struct pipe_conn *conn = h->data;
	struct http_pipe *p = conn->pipe;

	LIST_REMOVE(conn, link);
	free(conn->up);
	free(conn);
	pipe_check_stopped(p);
}

void pipe_conn_close(struct pipe_conn *conn)
{
	if (conn->closing)
		return;
	conn->closing = true;
	if (conn->is_idle) {
		TAILQ_REMOVE(&conn->pipe->idle, conn, idle_link);
		conn->pipe->n_idle--;
		conn->is_idle = false;
	}
	uv_close((uv_handle_t *)&conn->uv, on_closed);
}

struct pipe_conn *pipe_conn_take_idle(struct http_pipe *p)
{
	struct pipe_conn *conn = TAILQ_FIRST(&p->idle);

	if (conn) {
		TAILQ_REMOVE(&p->idle, conn, idle_link);
		p->n_idle--;
		conn->is_idle = false;
	}
	return conn;
}

int pipe_conn_open(struct http_pipe *p, struct pipe_conn **out)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pipe_conn *conn;
	int rc;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&p->address, sizeof(p->address)) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	conn = mem_new(1, sizeof(*conn));
	conn->pipe = p;
	uv_pipe_init(loop_uv(p->loop), &conn->uv, 0);
	conn->uv.data = conn;
	LIST_INSERT_HEAD(&p->conns, conn, link);
	rc = uv_pipe_open(&conn->uv, fd);
	if (rc == 0)
		rc = uv_read_start((uv_stream_t *)&conn->uv, on_alloc, on_read);
	else
		close(fd);
	if (rc < 0) {
		pipe_conn_close(conn);
		return rc;
	}
	*out = conn;
	return 0;
}
