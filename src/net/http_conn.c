/*
 * One connection of the server: bytes to whole requests, one request at a time. While a request is with its handler,
 * what the peer sends ahead is kept (bounded, then reading pauses), which makes answers leave in order by construction.
 * The parser runs from the read callback or a deferred call only, so a handler is never entered twice.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "net/http_server_internal.h"
#include "util/mem.h"

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

static int64_t now_of(const struct http_exchange *x)
{
	return loop_now_ms(x->server->loop);
}

static void set_deadline(struct http_exchange *x, int64_t at_ms)
{
	deadline_set(&x->server->deadlines, &x->deadline, at_ms);
}

/* -------- the parser's callbacks -------- */

static struct http_exchange *exchange_of(llhttp_t *parser)
{
	return CONTAINER_OF(parser, struct http_exchange, parser);
}

static int refuse_with(struct http_exchange *x, int status)
{
	x->error_status = status;
	return HPE_USER;
}

static int on_message_begin(llhttp_t *parser)
{
	struct http_exchange *x = exchange_of(parser);
	const struct http_server_limits *limits = &x->server->limits;
	int64_t now = now_of(x), head_at = now + limits->head_timeout_ms;

	x->in_request = true;
	x->request_deadline_ms = now + limits->request_timeout_ms;
	set_deadline(x, head_at < x->request_deadline_ms ? head_at : x->request_deadline_ms);
	return 0;
}

static int check_head(struct http_exchange *x, int rc)
{
	return rc < 0 ? refuse_with(x, 431) : 0;
}

/* Chunk extensions and trailers mean nothing to us; they count as head so that they cannot be endless. */
static int on_ignored(llhttp_t *parser, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(parser);

	(void)at;
	x->head.bytes += len + 1;
	return check_head(x, x->head.bytes > x->head.max_bytes ? -E2BIG : 0);
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(parser);

	return check_head(x, http_head_add(&x->head, at, len));
}

static int on_url_complete(llhttp_t *parser)
{
	struct http_exchange *x = exchange_of(parser);
	size_t line = strlen(llhttp_method_name(parser->method)) + sizeof("  HTTP/1.1\r\n") - 1;

	return check_head(x, http_head_end_target(&x->head, line));
}

static int on_header_bytes(llhttp_t *parser, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(parser);

	return x->has_head ? on_ignored(parser, at, len) : check_head(x, http_head_add(&x->head, at, len));
}

static int on_header_field_complete(llhttp_t *parser)
{
	struct http_exchange *x = exchange_of(parser);

	if (x->has_head)
		return 0;
	if (!http_is_token(buf_str(&x->head.text) + x->head.piece_at)) /* llhttp lets spaces pass */
		return refuse_with(x, 400);
	return check_head(x, http_head_end_name(&x->head));
}

static int on_header_value_complete(llhttp_t *parser)
{
	struct http_exchange *x = exchange_of(parser);

	return x->has_head ? 0 : check_head(x, http_head_end_value(&x->head));
}

/* The body is refused before the peer sends it where it says beforehand how long it will be. */
static int on_headers_complete(llhttp_t *parser)
{
	struct http_exchange *x = exchange_of(parser);
	bool has_body = parser->flags & F_CHUNKED || parser->content_length > 0;
	const char *expect = http_head_get(&x->head, "Expect");
	uv_buf_t line = uv_buf_init((char *)continue_line, sizeof(continue_line) - 1);

	parser->upgrade = 0; /* we speak nothing else; asking for more is allowed and ignored */
	x->has_head = true;
	x->is_http10 = parser->http_minor == 0;
	if (parser->http_major != 1 || parser->http_minor > 1)
		return refuse_with(x, 400);
	if (parser->flags & F_CONTENT_LENGTH && parser->content_length > x->server->limits.body_bytes)
		return refuse_with(x, 413);
	if (expect && !x->is_http10) {
		if (strcasecmp(expect, "100-continue"))
			return refuse_with(x, 417);
		if (has_body)
			conn_send(x, &line, 1);
	}
	if (x->state == CONN_CLOSING)
		return HPE_USER;
	set_deadline(x, x->request_deadline_ms);
	return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct http_exchange *x = exchange_of(parser);

	if (x->server->bodies_bytes + len > x->server->limits.bodies_bytes) /* many may add up to what one may not */
		return refuse_with(x, 503);
	if (buf_add(&x->body, at, len) < 0)
		return refuse_with(x, 413);
	x->server->bodies_bytes += len;
	x->body_counted += len;
	return 0;
}

static int on_message_complete(llhttp_t *parser)
{
	struct http_exchange *x = exchange_of(parser);

	x->is_whole = true;
	x->keep_alive = llhttp_should_keep_alive(parser);
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_message_begin,
	.on_url = on_url,
	.on_url_complete = on_url_complete,
	.on_header_field = on_header_bytes,
	.on_header_value = on_header_bytes,
	.on_header_field_complete = on_header_field_complete,
	.on_header_value_complete = on_header_value_complete,
	.on_chunk_extension_name = on_ignored,
	.on_chunk_extension_value = on_ignored,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* -------- requests -------- */

/* Finds path and query in the target, which may be in absolute form. False: malformed. */
static bool split_target(struct http_exchange *x)
{
	char *text = (char *)buf_str(&x->head.text), *path = text, *query;

	if (strlen(text) + 1 != x->head.headers_at || !http_is_target(text))
		return false;
	if (!strncasecmp(text, "http://", 7)) {
		path = strpbrk(text + 7, "/?");
		if (!path || *path == '?')
			return false;
	}
	if (*path != '/' && strcmp(path, "*"))
		return false;
	query = strpbrk(path, "?#");
	x->path_at = (size_t)(path - text);
	x->query_at = query && *query == '?' ? (size_t)(query + 1 - text) : x->head.headers_at - 1;
	if (query)
		*query = '\0';
	return true;
}

static void hand_over(struct http_exchange *x)
{
	x->is_whole = false;
	if (!split_target(x)) {
		exchange_refuse(x, 400);
		return;
	}
	x->is_head = x->parser.method == HTTP_HEAD;
	x->method = x->is_head ? HTTP_GET : x->parser.method;
	x->state = CONN_HANDLING;
	x->is_held = true;
	set_deadline(x, DEADLINE_NONE);
	x->server->handler(x->server->ctx, x);
}

/* Parses and handles until a request has to wait for its answer. Returns the number of bytes it is done with. */
static size_t parse(struct http_exchange *x, const char *data, size_t len)
{
	size_t used = 0;

	for (int batch = 0; used < len && x->state == CONN_READING && batch < SERVER_BATCH; batch++) {
		llhttp_errno_t rc = llhttp_execute(&x->parser, data + used, len - used);

		if (rc == HPE_OK)
			return len;
		if (rc != HPE_PAUSED || !x->is_whole) {
			exchange_refuse(x, x->error_status ? x->error_status : 400);
			return len;
		}
		used = (size_t)(llhttp_get_error_pos(&x->parser) - data);
		llhttp_resume(&x->parser);
		hand_over(x);
	}
	return x->state <= CONN_WRITING && !x->refused ? used : len;
}

/* -------- reading -------- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct http_exchange *x = h->data;

	(void)suggested;
	*buf = uv_buf_init(x->server->read_buf, sizeof(x->server->read_buf));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void pause_or_resume(struct http_exchange *x)
{
	bool full = x->ahead.len >= SERVER_AHEAD_BYTES;

	if (full == x->paused || x->peer_gone || x->state == CONN_CLOSING)
		return;
	x->paused = full;
	if (full)
		uv_read_stop(&x->uv.stream);
	else if (uv_read_start(&x->uv.stream, on_alloc, on_read) < 0)
		conn_close(x);
}

static void on_bytes(struct http_exchange *x, const char *data, size_t len)
{
	size_t used = 0;

	if (x->refused || x->state >= CONN_LINGERING)
		return; /* the peer may finish its sentence, nobody listens */
	if (x->state == CONN_READING && x->ahead.len == 0)
		used = parse(x, data, len);
	if (used == len)
		return;
	buf_add(&x->ahead, data + used, len - used);
	pause_or_resume(x);
	if (x->state == CONN_READING)
		loop_deferred_schedule(&x->later);
}

/* The peer has said all it will. It may still listen (half-closed), so a pending answer is tried. */
static void on_end(struct http_exchange *x)
{
	x->peer_gone = true;
	uv_read_stop(&x->uv.stream);
	if (x->state == CONN_HANDLING && x->on_close && !x->told_gone)
		conn_tell_gone(x);
	else if (x->state == CONN_STREAMING || x->state == CONN_LINGERING ||
		 (x->state == CONN_READING && x->ahead.len == 0))
		conn_close(x);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct http_exchange *x = stream->data;

	if (n > 0)
		on_bytes(x, buf->base, (size_t)n);
	else if (n == UV_EOF)
		on_end(x);
	else if (n < 0)
		conn_close(x);
}

/* What was received ahead has its turn. */
static void on_later(void *ctx)
{
	struct http_exchange *x = ctx;
	size_t used;

	if (x->is_held && x->peer_gone && x->on_close && !x->told_gone) {
		conn_tell_gone(x);
		return;
	}
	if (x->state != CONN_READING)
		return;
	used = parse(x, buf_str(&x->ahead), x->ahead.len);
	buf_consume(&x->ahead, used);
	if (x->ahead.len == 0)
		buf_deinit(&x->ahead);
	pause_or_resume(x);
	if (x->state != CONN_READING)
		return;
	if (x->ahead.len > 0)
		loop_deferred_schedule(&x->later);
	else if (x->peer_gone)
		conn_close(x);
}

/* -------- writing -------- */

static void on_shutdown(uv_shutdown_t *req, int status)
{
	(void)status;
	free(req);
}

/*
 * Our last word is written. Closing with unread bytes would reset the connection and could take that word back, so the
 * peer gets a moment to close first.
 */
static void linger(struct http_exchange *x)
{
	uv_shutdown_t *req;

	if (x->peer_gone) {
		conn_close(x);
		return;
	}
	x->state = CONN_LINGERING;
	buf_deinit(&x->ahead);
	pause_or_resume(x);
	if (x->state == CONN_CLOSING)
		return;
	set_deadline(x, now_of(x) + SERVER_LINGER_MS);
	req = mem_new(1, sizeof(*req));
	if (uv_shutdown(req, &x->uv.stream, on_shutdown) < 0) {
		free(req);
		conn_close(x);
	}
}

static void drop_large(struct buf *b, size_t kept_max)
{
	if (b->capacity > kept_max)
		buf_deinit(b);
	else
		buf_clear(b);
}

static void uncount_body(struct http_exchange *x)
{
	x->server->bodies_bytes -= x->body_counted;
	x->body_counted = 0;
}

static void await_request(struct http_exchange *x)
{
	uncount_body(x);
	x->state = CONN_READING;
	x->in_request = x->has_head = x->is_stream = x->told_gone = false;
	x->on_close = x->on_drain = NULL;
	drop_large(&x->head.text, SERVER_KEPT_BODY_MAX);
	http_head_clear(&x->head);
	drop_large(&x->body, SERVER_KEPT_BODY_MAX);
	set_deadline(x, now_of(x) + x->server->limits.idle_timeout_ms);
	if (x->ahead.len > 0 || x->peer_gone)
		loop_deferred_schedule(&x->later);
}

static void written(struct http_exchange *x)
{
	if (x->keep_alive && !x->refused)
		await_request(x);
	else
		linger(x);
}

void conn_answered(struct http_exchange *x)
{
	if (x->state == CONN_CLOSING)
		return;
	x->state = CONN_WRITING;
	if (uv_stream_get_write_queue_size(&x->uv.stream) == 0)
		written(x);
	else
		set_deadline(x, now_of(x) + x->server->limits.request_timeout_ms);
}

static void on_written(uv_write_t *req, int status)
{
	struct http_exchange *x = req->handle->data;

	free(req);
	if (x->state == CONN_CLOSING)
		return;
	if (status < 0)
		conn_close(x);
	else if (uv_stream_get_write_queue_size(&x->uv.stream) > 0)
		return;
	else if (x->state == CONN_WRITING)
		written(x);
	else if (x->state == CONN_STREAMING && x->on_drain)
		x->on_drain(x->drain_ctx);
}

void conn_send(struct http_exchange *x, const uv_buf_t *bufs, unsigned n)
{
	if (x->state != CONN_CLOSING && http_stream_send(&x->uv.stream, bufs, n, on_written) < 0)
		conn_close(x);
}

/* -------- life -------- */

void conn_on_deadline(void *ctx, struct deadline *d)
{
	struct http_exchange *x = CONTAINER_OF(d, struct http_exchange, deadline);

	(void)ctx;
	if (x->state == CONN_READING && x->in_request)
		exchange_refuse(x, 408);
	else
		conn_close(x);
}

void conn_free(struct http_exchange *x)
{
	loop_deferred_cancel(&x->later); /* on_close may have been asked for, and answered, in this very turn */
	http_head_deinit(&x->head);
	buf_deinit(&x->body);
	buf_deinit(&x->ahead);
	free(x);
}

/* Runs on_close, from the loop. A stream is over with it; a request not yet answered stays until it is. */
void conn_tell_gone(struct http_exchange *x)
{
	x->told_gone = true;
	x->telling = true;
	if (x->is_stream)
		x->is_held = false;
	x->on_close(x->close_ctx);
	x->telling = false;
	if (!x->server && !x->is_held)
		conn_free(x);
}

static void on_closed(uv_handle_t *h)
{
	struct http_exchange *x = h->data;
	struct http_server *s = x->server;

	uncount_body(x);
	LIST_REMOVE(x, link);
	deadline_remove(&s->deadlines, &x->deadline);
	loop_deferred_cancel(&x->later);
	*(x->counted ? &s->n_conns : &s->n_refused) -= 1;
	x->peer_gone = true;
	if (x->is_held && x->on_close && !x->told_gone)
		conn_tell_gone(x);
	if (x->is_held) /* NOLINT(clang-analyzer-unix.Malloc): x->server is set, so conn_tell_gone() freed nothing */
		x->server = NULL; /* the handler's answer, or its on_close, ends it */
	else
		conn_free(x);
	server_check_stopped(s);
}

void conn_close(struct http_exchange *x)
{
	if (x->state == CONN_CLOSING)
		return;
	x->state = CONN_CLOSING;
	uv_close(&x->uv.handle, on_closed);
}

static struct http_exchange *conn_new(struct http_server *s, bool is_unix)
{
	struct http_exchange *x = mem_new(1, sizeof(*x));

	x->server = s;
	x->is_unix = is_unix;
	http_head_init(&x->head, s->limits.head_bytes);
	buf_init(&x->body, s->limits.body_bytes);
	buf_init(&x->ahead, SERVER_AHEAD_BYTES + SERVER_READ_BYTES);
	loop_deferred_init(s->loop, &x->later, on_later, x);
	deadline_add(&s->deadlines, &x->deadline);
	llhttp_init(&x->parser, HTTP_REQUEST, &settings);
	LIST_INSERT_HEAD(&s->conns, x, link);
	if (is_unix)
		uv_pipe_init(loop_uv(s->loop), &x->uv.pipe, 0);
	else
		uv_tcp_init(loop_uv(s->loop), &x->uv.tcp);
	x->uv.handle.data = x;
	return x;
}

void conn_accept(struct http_server *s, uv_stream_t *listener, bool is_unix)
{
	struct http_exchange *x = conn_new(s, is_unix);

	x->counted = s->n_conns < s->limits.connections;
	*(x->counted ? &s->n_conns : &s->n_refused) += 1;
	if (uv_accept(listener, &x->uv.stream) < 0 || uv_read_start(&x->uv.stream, on_alloc, on_read) < 0) {
		conn_close(x);
		return;
	}
	if (!is_unix)
		uv_tcp_nodelay(&x->uv.tcp, 1);
	set_deadline(x, now_of(x) + s->limits.idle_timeout_ms);
	if (x->counted)
		return;
	if (s->n_refused <= SERVER_REFUSED_MAX)
		exchange_refuse(x, 503);
	else
		conn_close(x);
}
