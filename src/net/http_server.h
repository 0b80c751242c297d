/*
 * HTTP/1.1 server: llhttp on uv_stream; TCP and Unix sockets. Keep-alive, pipelining (answers in order), chunked and
 * sized bodies, Expect: 100-continue, streaming answers with back-pressure. Whole requests only reach the handler; what
 * breaks a limit is answered here: 400 malformed, 408 too slow, 413 body, 431 head, 503 too many connections.
 */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "net/http.h"
#include "util/err.h"

struct http_server;
struct http_exchange; /* one request and its answer; lives until answered and the response is written or the peer is
			 gone */

struct http_server_limits {         /* 0: the default in brackets */
	size_t head_bytes;          /* [16384] */
	size_t body_bytes;          /* [10 MiB] */
	size_t bodies_bytes;        /* [32 MiB] of all bodies being held at once, per server -> 503 */
	size_t connections;         /* [256] per server */
	int64_t head_timeout_ms;    /* [60000] from the first byte to the end of the head -> 408 */
	int64_t request_timeout_ms; /* [300000] from the first byte to the end of the body -> 408 */
	int64_t idle_timeout_ms;    /* [5000] keep-alive between requests: closed without a word */
	size_t stream_queue_bytes;  /* [262144] unsent bytes of one streaming answer; a write beyond it is refused */
};

/* A whole request. The handler must answer now or later through the exchange, exactly once. Never called re-entrantly.
 */
typedef void http_handler_fn(void *ctx, struct http_exchange *x);

struct http_server *http_server_new(struct loop *l, const struct http_server_limits *limits, http_handler_fn *handler,
				    void *ctx);
/* -EADDRINUSE, -EADDRNOTAVAIL, ...; the sentence names the address. Port 0 picks one. `port_out` may be NULL. */
int http_server_listen_tcp(struct http_server *s, const char *ip, uint16_t port, uint16_t *port_out, struct err *err);
/* A stale socket file nobody listens on is replaced; a live one is -EADDRINUSE. Mode 0600. Removed again at stop. */
int http_server_listen_unix(struct http_server *s, const char *path, struct err *err);
/* Stop listening on that address (supervisor0 went away); connections stay. */
void http_server_unlisten_tcp(struct http_server *s, const char *ip);
/* Refuse new connections, cut the open ones, then `stopped` once from the loop. Exchanges still held by handlers see
 * on_close. */
void http_server_stop(struct http_server *s, loop_fn *stopped, void *ctx);

/* Request. Strings are borrowed until the exchange is answered. */
const char *
http_exchange_method(const struct http_exchange *x); /* "GET"; HEAD is reported as "GET" and answered without body */
const char *http_exchange_path(const struct http_exchange *x);  /* before '?', as received (percent-encoded) */
const char *http_exchange_query(const struct http_exchange *x); /* behind '?', "" if none */
const char *http_exchange_header(const struct http_exchange *x,
				 const char *name); /* NULL if absent; repeated ones: the first */
const char *http_exchange_body(const struct http_exchange *x, size_t *len);
bool http_exchange_is_unix(const struct http_exchange *x);
/* The peer went away before the answer was complete: `fn` once, from the loop; the exchange must still be answered (the
 * answer is dropped) unless it is a stream, which is over then. */
void http_exchange_on_close(struct http_exchange *x, loop_fn *fn, void *ctx);

/* Answer. `headers`: extra, NULL-name-ended, may be NULL. content_type NULL: none (204). `body` is copied.
 * Content-Length and Date are added. A header with CR, LF or the like is never written: the answer becomes a 500. */
void http_respond(struct http_exchange *x, int status, const char *content_type, const void *body, size_t len,
		  const struct http_header *headers);
/* Streaming answer: chunked (HTTP/1.0: until close). The exchange stays valid until http_stream_end() or on_close. */
void http_stream_begin(struct http_exchange *x, int status, const char *content_type,
		       const struct http_header *headers);
/*
 * 0; -EAGAIN: the queue is full, nothing was taken (wait for on_drain, or drop the reader); -EPIPE: the peer is gone,
 * or asked with HEAD (on_close follows). While nothing is queued a write of any length is taken, so nobody waits for
 * ever.
 */
int http_stream_write(struct http_exchange *x, const void *data, size_t len);
/* Bytes of the stream that the socket has not taken yet; 0 also when the peer is gone. */
size_t http_stream_queued(const struct http_exchange *x);
void http_stream_on_drain(struct http_exchange *x, loop_fn *fn, void *ctx); /* whenever the queue empties */
void http_stream_end(struct http_exchange *x);
void http_stream_abort(struct http_exchange *x); /* cut the connection */

#endif
