/* What both HTTP clients and the server have in common: cancelling, received heads, and what may be written in one. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "net/http.h"
#include "net/http_internal.h"
#include "util/mem.h"

void http_call_cancel(struct http_call *c)
{
	c->cancel(c);
}

const char *http_response_header(const struct http_response *r, const char *name)
{
	for (size_t i = 0; i < r->n_headers; i++)
		if (!strcasecmp(r->headers[i].name, name))
			return r->headers[i].value;
	return NULL;
}

void http_head_init(struct http_head *h, size_t max_bytes)
{
	*h = (struct http_head){.max_bytes = max_bytes};
	buf_init(&h->text, max_bytes + 1);
}

void http_head_deinit(struct http_head *h)
{
	buf_deinit(&h->text);
}

void http_head_clear(struct http_head *h)
{
	buf_clear(&h->text);
	h->headers_at = h->bytes = h->piece_at = h->n = 0;
}

static int count(struct http_head *h, size_t bytes)
{
	h->bytes += bytes;
	return h->bytes > h->max_bytes ? -E2BIG : 0;
}

int http_head_add(struct http_head *h, const char *at, size_t len)
{
	if (count(h, len) < 0)
		return -E2BIG;
	return buf_add(&h->text, at, len);
}

/* A piece costs its separator on the wire (": " or CRLF) and one byte here, so `text` cannot outgrow max_bytes. */
static int end_piece(struct http_head *h, size_t separator)
{
	if (count(h, separator) < 0 || buf_add(&h->text, "", 1) < 0)
		return -E2BIG;
	h->piece_at = h->text.len;
	return 0;
}

int http_head_end_target(struct http_head *h, size_t line_bytes)
{
	if (end_piece(h, line_bytes) < 0)
		return -E2BIG;
	h->headers_at = h->text.len;
	return 0;
}

int http_head_end_name(struct http_head *h)
{
	return h->n == HTTP_HEADERS_MAX ? -E2BIG : end_piece(h, 2);
}

int http_head_end_value(struct http_head *h)
{
	while (h->text.len > h->piece_at && strchr(" \t", h->text.data[h->text.len - 1]))
		h->text.len--;
	h->n++;
	return end_piece(h, 2);
}

const char *http_head_get(const struct http_head *h, const char *name)
{
	const char *p = buf_str(&h->text) + h->headers_at;

	for (unsigned i = 0; i < h->n; i++) {
		const char *value = p + strlen(p) + 1;

		if (!strcasecmp(p, name))
			return value;
		p = value + strlen(value) + 1;
	}
	return NULL;
}

size_t http_head_list(const struct http_head *h, struct http_header out[HTTP_HEADERS_MAX])
{
	const char *p = buf_str(&h->text) + h->headers_at;

	for (unsigned i = 0; i < h->n; i++) {
		out[i].name = p;
		out[i].value = p += strlen(p) + 1;
		p += strlen(p) + 1;
	}
	return h->n;
}

bool http_is_token(const char *s)
{
	static const bool is_token_char[256] = {
		['!'] = true, ['#' ... '\''] = true, ['*'] = true,         ['+'] = true, ['-'] = true,
		['.'] = true, ['0' ... '9'] = true,  ['A' ... 'Z'] = true, ['^'] = true, ['_'] = true,
		['`'] = true, ['a' ... 'z'] = true,  ['|'] = true,         ['~'] = true,
	};

	if (!*s)
		return false;
	for (; *s; s++)
		if (!is_token_char[(unsigned char)*s])
			return false;
	return true;
}

bool http_is_value(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

bool http_is_target(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || *s == 0x7f)
			return false;
	return true;
}

bool http_are_headers(const struct http_header *headers)
{
	for (; headers && headers->name; headers++)
		if (!http_is_token(headers->name) || !http_is_value(headers->value))
			return false;
	return true;
}

struct queued_write {
	uv_write_t req; /* first, so that freeing the request frees all */
	char data[];
};

int http_stream_send(uv_stream_t *s, const uv_buf_t *bufs, unsigned n, uv_write_cb cb)
{
	int rc = uv_try_write(s, bufs, n);
	size_t skip = rc > 0 ? (size_t)rc : 0, rest = 0;
	struct queued_write *w;
	char *to;
	uv_buf_t all;

	if (rc < 0 && rc != UV_EAGAIN)
		return rc;
	for (unsigned i = 0; i < n; i++)
		rest += bufs[i].len;
	rest -= skip;
	if (rest == 0)
		return 0;
	w = malloc(sizeof(*w) + rest);
	if (!w)
		abort();
	to = w->data;
	for (unsigned i = 0; i < n; i++) {
		size_t drop = skip < bufs[i].len ? skip : bufs[i].len;

		memcpy(to, bufs[i].base + drop, bufs[i].len - drop);
		to += bufs[i].len - drop;
		skip -= drop;
	}
	all = uv_buf_init(w->data, (unsigned)rest);
	rc = uv_write(&w->req, s, &all, 1, cb);
	if (rc == 0)
		return 1;
	free(w);
	return rc;
}
