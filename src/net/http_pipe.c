/*
 * Calls over one Unix socket. A call has one phase and one place where it ends: whole answers are reported right from
 * the read callback, everything else (errors, timeouts, cancels) through a deferred flush, so `done` never runs inside
 * http_pipe_call() or http_call_cancel(). connect(2) to a Unix socket does not wait, so a call's request is in the
 * engine's hands when http_pipe_call() returns, whether a connection was idle or not.
 */
#include "net/http_pipe.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net/http_pipe_internal.h"
#include "util/mem.h"

#define BUSY_RETRY_MS      10
#define BUSY_PATIENCE_MS   10000 /* without a connect timeout */
#define BODY_DEFAULT_BYTES (1024 * 1024)

static void on_timer_closed(void *ctx)
{
	struct http_pipe *p = ctx;

	p->timer_closed = true;
	pipe_check_stopped(p);
}

void pipe_check_stopped(struct http_pipe *p)
{
	if (!p->stopping || !p->timer_closed || !LIST_EMPTY(&p->conns) || !LIST_EMPTY(&p->calls) ||
	    !TAILQ_EMPTY(&p->ended))
		return;
	loop_fn *stopped = p->stopped;
	void *ctx = p->stopped_ctx;

	loop_deferred_cancel(&p->flush);
	free(p->read_buf);
	free(p);
	stopped(ctx);
}

static void call_free(struct pipe_call *c)
{
	http_head_deinit(&c->head);
	buf_deinit(&c->request);
	buf_deinit(&c->body);
	free(c->err);
	free(c);
}

/* The one place that tells the caller and lets the call go. */
static void call_report(struct pipe_call *c)
{
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_response r = {
		.status = c->status, .body = buf_str(&c->body), .body_len = c->body.len, .headers = list};

	r.n_headers = http_head_list(&c->head, list);
	c->done(c->ctx, c->err, !c->err || c->has_head ? &r : NULL);
	call_free(c);
}

static void on_flush(void *ctx)
{
	struct http_pipe *p = ctx;
	TAILQ_HEAD(, pipe_call) batch = TAILQ_HEAD_INITIALIZER(batch);
	struct pipe_call *c;

	TAILQ_CONCAT(&batch, &p->ended, ended_link);
	while ((c = TAILQ_FIRST(&batch))) {
		TAILQ_REMOVE(&batch, c, ended_link);
		call_report(c);
	}
	pipe_check_stopped(p);
}

/* Out of flight: no connection, no deadline. */
static void call_detach(struct pipe_call *c)
{
	c->phase = CALL_ENDED;
	LIST_REMOVE(c, link);
	deadline_remove(&c->pipe->deadlines, &c->deadline);
	if (c->conn) {
		c->conn->call = NULL;
		pipe_conn_close(STEAL(c->conn));
	}
}

void pipe_call_fail(struct pipe_call *c, int code, const char *fmt, ...)
{
	va_list ap;

	if (c->phase == CALL_ENDED)
		return;
	c->err = mem_new(1, sizeof(*c->err));
	c->err->code = code;
	va_start(ap, fmt);
	vsnprintf(c->err->msg, sizeof(c->err->msg), fmt, ap);
	va_end(ap);
	call_detach(c);
	TAILQ_INSERT_TAIL(&c->pipe->ended, c, ended_link);
	loop_deferred_schedule(&c->pipe->flush);
}

void pipe_call_finish(struct pipe_call *c)
{
	call_detach(c);
	call_report(c);
}

/*
 * The connection ended before the answer did. An idle connection that the engine had closed behind our back says
 * nothing about the request: it goes out once more, unless the engine may have acted on it.
 */
void pipe_call_cut(struct pipe_call *c, struct pipe_conn *conn, int code)
{
	bool not_taken = conn->is_sending; /* half a request is none */

	if (c->has_head) {
		pipe_call_fail(c, code, "connection closed within the answer");
		return;
	}
	if (conn->was_used && !c->has_answer && !c->was_retried && !c->source && (c->is_repeatable || not_taken)) {
		c->was_retried = true;
		c->conn = NULL;
		conn->call = NULL;
		pipe_conn_close(conn);
		pipe_call_start(c);
		return;
	}
	pipe_call_fail(c, conn->send_error ? conn->send_error : code, "connection closed before the answer");
}

void pipe_call_enter(struct pipe_call *c, enum call_phase phase)
{
	const int64_t timeout[] = {
		[CALL_CONNECT] = 0,                                /* set where the connection begins */
		[CALL_WRITE] = c->source ? 0 : c->head_timeout_ms, /* an upload takes as long as its source */
		[CALL_HEAD] = c->head_timeout_ms,
		[CALL_BODY] = c->idle_timeout_ms,
		[CALL_ENDED] = 0,
	};
	int64_t at;

	c->phase = phase;
	c->phase_at_ms = timeout[phase] ? loop_now_ms(c->pipe->loop) + timeout[phase] : DEADLINE_NONE;
	at = c->phase_at_ms < c->total_at_ms ? c->phase_at_ms : c->total_at_ms;
	if (at != c->deadline.at_ms)
		deadline_set(&c->pipe->deadlines, &c->deadline, at);
}

static void on_deadline(void *ctx, struct deadline *d)
{
	struct pipe_call *c = CONTAINER_OF(d, struct pipe_call, deadline);
	struct http_pipe *p = ctx;
	int64_t now = loop_now_ms(p->loop);

	if (now >= c->total_at_ms)
		pipe_call_fail(c, -ETIMEDOUT, "not done within %lld ms (total timeout)",
			       (long long)c->total_timeout_ms);
	else if (now < c->phase_at_ms)
		pipe_call_start(c); /* only the busy listener was waited for */
	else if (c->phase == CALL_CONNECT)
		pipe_call_fail(c, -ETIMEDOUT, "no connection within %lld ms (connect timeout)",
			       (long long)c->connect_timeout_ms);
	else if (c->phase == CALL_WRITE)
		pipe_call_fail(c, -ETIMEDOUT, "the request was not taken within %lld ms (head timeout)",
			       (long long)c->head_timeout_ms);
	else if (c->phase == CALL_HEAD)
		pipe_call_fail(c, -ETIMEDOUT, "no answer within %lld ms (head timeout)", (long long)c->head_timeout_ms);
	else
		pipe_call_fail(c, -ETIMEDOUT, "nothing more of the answer within %lld ms (idle timeout)",
			       (long long)c->idle_timeout_ms);
}

/* The listener's queue is full: the kernel offers no event for its end, so ask again, within the connect timeout. */
static void call_wait_busy(struct pipe_call *c)
{
	int64_t at = loop_now_ms(c->pipe->loop) + BUSY_RETRY_MS;

	at = at < c->phase_at_ms ? at : c->phase_at_ms;
	at = at < c->total_at_ms ? at : c->total_at_ms;
	deadline_set(&c->pipe->deadlines, &c->deadline, at);
}

/* Give the call a connection (an idle one for its first try, if it can have a second) and its request to that. */
void pipe_call_start(struct pipe_call *c)
{
	struct http_pipe *p = c->pipe;
	struct pipe_conn *conn = NULL;
	int rc;

	while (!c->was_retried && !c->source && (conn = pipe_conn_take_idle(p))) {
		if (pipe_conn_send(conn, c) == 0)
			return;
		pipe_conn_close(conn); /* closed behind our back, nothing was taken */
	}
	rc = pipe_conn_open(p, &conn);
	if (rc == -EAGAIN) {
		call_wait_busy(c);
		return;
	}
	if (rc < 0) {
		pipe_call_fail(c, rc, "connect to %s: %s", p->address.sun_path, strerror(-rc));
		return;
	}
	rc = pipe_conn_send(conn, c);
	if (rc < 0) {
		pipe_conn_close(conn);
		pipe_call_fail(c, rc, "send the request: %s", strerror(-rc));
	}
}

static void on_cancel(struct http_call *base)
{
	pipe_call_fail(CONTAINER_OF(base, struct pipe_call, base), -ECANCELED, "cancelled");
}

static bool is_repeatable(const char *method)
{
	static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (!strcmp(method, methods[i]))
			return true;
	return false;
}

static void write_request(struct buf *to, const struct http_request *req)
{
	bool has_body = req->body_len > 0 || strcmp(req->method, "GET");

	buf_adds(to, req->method);
	buf_adds(to, " ");
	buf_adds(to, req->target);
	buf_adds(to, " HTTP/1.1\r\nHost: localhost\r\n");
	if (req->content_type)
		buf_printf(to, "Content-Type: %s\r\n", req->content_type);
	for (const struct http_header *h = req->headers; h && h->name; h++) {
		buf_adds(to, h->name);
		buf_adds(to, ": ");
		buf_adds(to, h->value);
		buf_adds(to, "\r\n");
	}
	if (req->source)
		buf_adds(to, "Transfer-Encoding: chunked\r\n");
	else if (has_body && strcmp(req->method, "HEAD"))
		buf_printf(to, "Content-Length: %zu\r\n", req->body_len);
	buf_adds(to, "\r\n");
	if (!req->source)
		buf_add(to, req->body, req->body_len);
}

static int64_t after(const struct http_pipe *p, int64_t timeout_ms)
{
	return timeout_ms ? loop_now_ms(p->loop) + timeout_ms : DEADLINE_NONE;
}

static struct pipe_call *call_new(struct http_pipe *p, const struct http_request *req, http_done_fn *done, void *ctx)
{
	struct pipe_call *c = mem_new(1, sizeof(*c));

	c->base.cancel = on_cancel;
	c->pipe = p;
	c->done = done;
	c->ctx = ctx;
	c->source = req->source;
	c->on_head = req->on_head;
	c->on_data = req->on_data;
	c->stream_ctx = req->stream_ctx;
	c->is_head_method = !strcmp(req->method, "HEAD");
	c->is_repeatable = is_repeatable(req->method);
	c->connect_timeout_ms = req->connect_timeout_ms ? req->connect_timeout_ms : BUSY_PATIENCE_MS;
	c->head_timeout_ms = req->head_timeout_ms;
	c->idle_timeout_ms = req->idle_timeout_ms;
	c->total_timeout_ms = req->total_timeout_ms;
	c->total_at_ms = after(p, req->total_timeout_ms);
	c->phase_at_ms = after(p, c->connect_timeout_ms);
	http_head_init(&c->head, HTTP_HEAD_MAX_BYTES);
	buf_init(&c->body, req->max_body_bytes ? req->max_body_bytes : BODY_DEFAULT_BYTES);
	buf_init(&c->request, SIZE_MAX / 2); /* our own text; what it holds was limited where it came from */
	LIST_INSERT_HEAD(&p->calls, c, link);
	deadline_add(&p->deadlines, &c->deadline);
	return c;
}

struct http_call *http_pipe_call(struct http_pipe *p, const struct http_request *req, http_done_fn *done, void *ctx)
{
	struct pipe_call *c = call_new(p, req, done, ctx);

	if (p->stopping) {
		pipe_call_fail(c, -ECANCELED, "cancelled: stopping");
	} else if (p->path_too_long) {
		pipe_call_fail(c, -ENAMETOOLONG, "socket path over %zu bytes: %s", sizeof(p->address.sun_path) - 1,
			       p->address.sun_path);
	} else if (!http_is_token(req->method) || !http_is_target(req->target) || !http_are_headers(req->headers) ||
		   (req->content_type && !http_is_value(req->content_type))) {
		pipe_call_fail(c, -EINVAL, "method, target or a header has a character that HTTP does not allow there");
	} else {
		write_request(&c->request, req);
		if (c->total_at_ms != DEADLINE_NONE)
			deadline_set(&p->deadlines, &c->deadline, c->total_at_ms);
		pipe_call_start(c);
	}
	return &c->base;
}

struct http_pipe *http_pipe_new(struct loop *l, const char *socket_path)
{
	struct http_pipe *p = mem_new(1, sizeof(*p));

	p->loop = l;
	p->address.sun_family = AF_UNIX;
	p->path_too_long = strlen(socket_path) >= sizeof(p->address.sun_path);
	snprintf(p->address.sun_path, sizeof(p->address.sun_path), "%s", socket_path);
	LIST_INIT(&p->calls);
	TAILQ_INIT(&p->ended);
	LIST_INIT(&p->conns);
	TAILQ_INIT(&p->idle);
	deadlines_init(&p->deadlines, l, on_deadline, p);
	loop_deferred_init(l, &p->flush, on_flush, p);
	p->read_buf = mem_new(1, PIPE_READ_BYTES);
	return p;
}

void http_pipe_drop_idle(struct http_pipe *p)
{
	struct pipe_conn *conn;

	while ((conn = pipe_conn_take_idle(p)))
		pipe_conn_close(conn);
}

void http_pipe_stop(struct http_pipe *p, loop_fn *stopped, void *ctx)
{
	struct pipe_call *c;

	p->stopping = true;
	p->stopped = stopped;
	p->stopped_ctx = ctx;
	while ((c = LIST_FIRST(&p->calls)))
		pipe_call_fail(c, -ECANCELED, "cancelled: stopping");
	http_pipe_drop_idle(p);
	deadlines_deinit(&p->deadlines, on_timer_closed, p);
}

#define TEXT_OF(x)  TEXT_OF_(x)
#define TEXT_OF_(x) #x

const char *http_parser_version(void)
{
	return TEXT_OF(LLHTTP_VERSION_MAJOR) "." TEXT_OF(LLHTTP_VERSION_MINOR) "." TEXT_OF(LLHTTP_VERSION_PATCH);
}
