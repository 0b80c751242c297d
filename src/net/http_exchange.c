/*
 * What a handler sees of a request, and its answer. An answer is one head built in a buffer that all connections share
 * and one write together with the body where it lies; only what the socket does not take at once is copied.
 */
#include <stdlib.h>
#include <string.h>

#include "net/http_server_internal.h"
#include "util/mem.h"

#define SMALL_BODY 2048 /* copied behind its head: cheaper than a second piece to write */

const char *http_exchange_method(const struct http_exchange *x)
{
	return llhttp_method_name(x->method);
}

const char *http_exchange_path(const struct http_exchange *x)
{
	return x->head.text.data + x->path_at;
}

const char *http_exchange_query(const struct http_exchange *x)
{
	return x->head.text.data + x->query_at;
}

const char *http_exchange_header(const struct http_exchange *x, const char *name)
{
	return http_head_get(&x->head, name);
}

const char *http_exchange_body(const struct http_exchange *x, size_t *len)
{
	*len = x->body.len;
	return buf_str(&x->body);
}

bool http_exchange_is_unix(const struct http_exchange *x)
{
	return x->is_unix;
}

void http_exchange_on_close(struct http_exchange *x, loop_fn *fn, void *ctx)
{
	x->on_close = fn;
	x->close_ctx = ctx;
	if (fn && x->peer_gone && !x->told_gone)
		loop_deferred_schedule(&x->later);
}

/* -------- heads -------- */

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} rows[] = {
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{304, "Not Modified"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{413, "Payload Too Large"},
		{415, "Unsupported Media Type"},
		{417, "Expectation Failed"},
		{423, "Locked"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].status == status)
			return rows[i].text;
	return "Status";
}

static char *format_number(char end[24], uint64_t n, unsigned base)
{
	char *p = end + 23;

	*p = '\0';
	do
		*--p = "0123456789abcdef"[n % base];
	while (n /= base);
	return p;
}

static void add_line(struct buf *b, const char *name, const char *value)
{
	buf_adds(b, name);
	buf_add(b, ": ", 2);
	buf_adds(b, value);
	buf_add(b, "\r\n", 2);
}

static void begin_head(struct http_exchange *x, int status, const char *content_type, const struct http_header *headers)
{
	struct buf *b = &x->server->out;
	char n[24];

	buf_clear(b);
	buf_adds(b, "HTTP/1.1 ");
	buf_adds(b, format_number(n, (unsigned)status, 10));
	buf_add(b, " ", 1);
	buf_adds(b, reason(status));
	buf_add(b, "\r\n", 2);
	if (content_type)
		add_line(b, "Content-Type", content_type);
	for (; headers && headers->name; headers++)
		add_line(b, headers->name, headers->value);
}

static void end_head(struct http_exchange *x)
{
	struct buf *b = &x->server->out;
	char n[24];

	add_line(b, "Date", server_date(x->server));
	if (x->keep_alive) {
		buf_adds(b, "Connection: keep-alive\r\nKeep-Alive: timeout=");
		buf_adds(b, format_number(n, (uint64_t)x->server->limits.idle_timeout_ms / 1000, 10));
		buf_add(b, "\r\n\r\n", 4);
	} else {
		buf_adds(b, "Connection: close\r\n\r\n");
	}
}

static void send_answer(struct http_exchange *x, int status, const char *content_type, const void *body, size_t len,
			const struct http_header *headers)
{
	bool bodiless = status == 204 || status == 304;
	size_t body_len = bodiless || x->is_head ? 0 : len;
	struct buf *b = &x->server->out;
	uv_buf_t out[2];
	char n[24];

	begin_head(x, status, content_type, headers);
	if (!bodiless)
		add_line(b, "Content-Length", format_number(n, len, 10));
	end_head(x);
	if (body_len > 0 && body_len <= SMALL_BODY) {
		buf_add(b, body, body_len);
		body_len = 0;
	}
	out[0] = uv_buf_init(b->data, (unsigned)b->len);
	out[1] = uv_buf_init((char *)body, (unsigned)body_len);
	conn_send(x, out, body_len > 0 ? 2 : 1);
	conn_answered(x);
}

void exchange_refuse(struct http_exchange *x, int status)
{
	x->keep_alive = false;
	x->refused = true;
	x->is_head = false;
	send_answer(x, status, "text/plain; charset=utf-8", reason(status), strlen(reason(status)), NULL);
}

/* -------- answers -------- */

/* The handler's debt is paid. True when there is still somebody to pay it to. */
static bool settle(struct http_exchange *x)
{
	if (!x->is_held)
		abort(); /* answered twice: what `x` points to may be anything by now */
	x->is_held = false;
	if (x->server)
		return x->state != CONN_CLOSING;
	if (!x->telling)
		conn_free(x);
	return false;
}

static bool is_clean(const char *content_type, const struct http_header *headers)
{
	return (!content_type || http_is_value(content_type)) && http_are_headers(headers);
}

void http_respond(struct http_exchange *x, int status, const char *content_type, const void *body, size_t len,
		  const struct http_header *headers)
{
	static const char unclean[] = "a response header has a character that HTTP does not allow there";

	if (!settle(x))
		return;
	if (x->server->stopping || (x->peer_gone && x->ahead.len == 0))
		x->keep_alive = false;
	if (is_clean(content_type, headers))
		send_answer(x, status, content_type, body, len, headers);
	else
		send_answer(x, 500, "text/plain; charset=utf-8", unclean, sizeof(unclean) - 1, NULL);
}

/* A HEAD request gets the head only: the stream is over before it begins, as if the peer had gone. */
void http_stream_begin(struct http_exchange *x, int status, const char *content_type, const struct http_header *headers)
{
	uv_buf_t out;

	if (!x->is_held || x->is_stream)
		abort();
	x->is_stream = true;
	if (!x->server || x->state == CONN_CLOSING)
		return;
	if (!is_clean(content_type, headers)) {
		status = 500;
		content_type = NULL;
		headers = NULL;
	}
	if (x->is_http10 || x->is_head || x->peer_gone || x->server->stopping)
		x->keep_alive = false;
	begin_head(x, status, content_type, headers);
	if (!x->is_http10)
		buf_adds(&x->server->out, "Transfer-Encoding: chunked\r\n");
	end_head(x);
	out = uv_buf_init(x->server->out.data, (unsigned)x->server->out.len);
	x->state = CONN_STREAMING;
	conn_send(x, &out, 1);
	if (x->peer_gone || x->is_head)
		conn_close(x);
}

int http_stream_write(struct http_exchange *x, const void *data, size_t len)
{
	char number[24 + 2], *size;
	size_t queued, n = 0;
	uv_buf_t out[3];

	if (!x->server || x->state != CONN_STREAMING)
		return -EPIPE;
	if (len == 0)
		return 0; /* an empty chunk would end the answer */
	queued = uv_stream_get_write_queue_size(&x->uv.stream);
	if (queued > 0 && queued + len > x->server->limits.stream_queue_bytes)
		return -EAGAIN;
	if (!x->is_http10) {
		size = format_number(number, len, 16);
		memcpy(number + 23, "\r\n", 2);
		out[n++] = uv_buf_init(size, (unsigned)(number + 25 - size));
	}
	out[n++] = uv_buf_init((char *)data, (unsigned)len);
	if (!x->is_http10)
		out[n++] = uv_buf_init((char *)"\r\n", 2);
	conn_send(x, out, (unsigned)n);
	return x->state == CONN_STREAMING ? 0 : -EPIPE;
}

size_t http_stream_queued(const struct http_exchange *x)
{
	return x->server && x->state == CONN_STREAMING ? uv_stream_get_write_queue_size(&x->uv.stream) : 0;
}

void http_stream_on_drain(struct http_exchange *x, loop_fn *fn, void *ctx)
{
	x->on_drain = fn;
	x->drain_ctx = ctx;
}

void http_stream_end(struct http_exchange *x)
{
	uv_buf_t last = uv_buf_init((char *)"0\r\n\r\n", 5);

	if (x->telling || !settle(x))
		return;
	if (!x->is_http10)
		conn_send(x, &last, 1);
	conn_answered(x);
}

void http_stream_abort(struct http_exchange *x)
{
	if (!x->telling && settle(x))
		conn_close(x);
}
