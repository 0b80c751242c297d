/* What the files of this folder share: calls, received heads, checks of what is written, and the write helper. */
#ifndef NET_HTTP_INTERNAL_H
#define NET_HTTP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "net/http.h"
#include "util/buf.h"

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* First member of each client's own call. */
struct http_call {
	void (*cancel)(struct http_call *c);
};

/*
 * The head of a message as it arrives in pieces: header names and values, packed one behind the other and each ended by
 * a NUL, so that a parked connection holds no table of pointers. A request keeps its target in front of them.
 */
struct http_head {
	struct buf text;
	size_t headers_at; /* where the first name starts in `text` */
	size_t bytes;      /* of the head on the wire so far */
	size_t max_bytes;
	size_t piece_at; /* where the piece being received starts */
	unsigned n;
};
void http_head_init(struct http_head *h, size_t max_bytes);
void http_head_deinit(struct http_head *h);
void http_head_clear(struct http_head *h);
/* Each returns 0, or -E2BIG when the head breaks max_bytes or HTTP_HEADERS_MAX. */
int http_head_add(struct http_head *h, const char *at, size_t len);
int http_head_end_target(struct http_head *h, size_t line_bytes); /* line_bytes: the rest of the request line */
int http_head_end_name(struct http_head *h);
int http_head_end_value(struct http_head *h);
const char *http_head_get(const struct http_head *h, const char *name);
size_t http_head_list(const struct http_head *h, struct http_header out[HTTP_HEADERS_MAX]);

/* May it be written into a head? Nothing that could end a line or a token early. */
bool http_is_token(const char *s);
bool http_is_value(const char *s);
bool http_is_target(const char *s);
bool http_are_headers(const struct http_header *headers); /* NULL-name-ended or NULL */

/*
 * Write now what the socket takes, queue a copy of the rest. Returns 0: all written; 1: `cb` will run and must free()
 * its request; else the error.
 */
int http_stream_send(uv_stream_t *s, const uv_buf_t *bufs, unsigned n, uv_write_cb cb);

#endif
