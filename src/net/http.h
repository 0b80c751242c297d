/*
 * What the two HTTP clients have in common: a request, a response, one call. Rules of every call: starting cannot fail;
 * `done` runs exactly once, from the loop, never before the start function returned; strings of the request are copied
 * unless noted; a response and its strings are borrowed until `done` returns.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

struct http_header {
	const char *name, *value;
};

struct http_response {
	int status;
	const char *body; /* "" when streamed to on_data; NUL-terminated */
	size_t body_len;
	const struct http_header *headers; /* as received, at most HTTP_HEADERS_MAX */
	size_t n_headers;
};
#define HTTP_HEADERS_MAX    64
#define HTTP_HEAD_MAX_BYTES 16384

/* First header of that name (any case), NULL if none. */
const char *http_response_header(const struct http_response *r, const char *name);

/*
 * err NULL: `r` is whole. Else err->code is -ECANCELED (cancelled), -ETIMEDOUT (msg names which timeout), -EMSGSIZE
 * (body over max_body_bytes), -ENOENT/-ECONNREFUSED/... (connect), -EPIPE/-ECONNRESET (cut mid-answer), -EPROTO (not
 * HTTP, TLS not trusted, forbidden redirect), -EINVAL (the request itself), -ELOOP (redirects); then `r` is NULL, or
 * the head when it had arrived and the body was then cut.
 */
typedef void http_done_fn(void *ctx, const struct err *err, const struct http_response *r);
/* Streaming: the head arrived (once, before any data). */
typedef void http_head_fn(void *ctx, const struct http_response *head);
/* Streaming: bytes of the body as they come. Return non-zero to end the call with that code (negative errno). */
typedef int http_data_fn(void *ctx, const char *data, size_t len);
/* Streaming upload: fill `to` with up to `size` bytes; return the number, 0 at the end, negative errno to abort. Called
 * when the socket takes more. */
typedef long http_source_fn(void *ctx, char *to, size_t size);

struct http_request {
	const char *method;                /* "GET" */
	const char *target;                /* pipe: path and query; client: absolute URL */
	const struct http_header *headers; /* extra ones, NULL-name-ended; may be NULL */
	const char *content_type;          /* NULL: none */
	const void *body;                  /* copied */
	size_t body_len;
	http_source_fn *source; /* instead of body: sent chunked */
	/* Streaming of the answer. With on_data no body is kept for 2xx answers; other statuses are kept (up to the
	 * limit) so that the error text can be read. */
	http_head_fn *on_head;
	http_data_fn *on_data;
	void *stream_ctx;      /* ctx of source, on_head, on_data */
	size_t max_body_bytes; /* of a kept body; 0: 1 MiB */
	/* Timeouts; 0: none. The error names the one that fired. */
	int64_t connect_timeout_ms;
	int64_t head_timeout_ms; /* from the request being written to the head of the answer */
	int64_t idle_timeout_ms; /* between two pieces of the body */
	int64_t total_timeout_ms;
};

struct http_call;
/* End a call early: `done` follows with -ECANCELED from the loop. Not after `done`. */
void http_call_cancel(struct http_call *c);
#endif
