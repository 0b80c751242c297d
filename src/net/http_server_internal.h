/*
 * The inside of http_server, in three files: http_server.c (addresses, limits, start and stop), http_conn.c (a
 * connection and its parser), http_exchange.c (what the handler sees and answers).
 */
#ifndef NET_HTTP_SERVER_INTERNAL_H
#define NET_HTTP_SERVER_INTERNAL_H

#include <llhttp.h>
#include <sys/queue.h>
#include <time.h>

#include "net/deadline.h"
#include "net/http_internal.h"
#include "net/http_server.h"

#define SERVER_READ_BYTES    16384 /* one buffer for all connections: nothing is kept in it between two reads */
#define SERVER_AHEAD_BYTES   16384 /* received behind a request that is not answered yet; then reading pauses */
#define SERVER_BATCH         32    /* pipelined requests handled in one turn of the loop */
#define SERVER_REFUSED_MAX   32    /* connections over the limit that are told so; more are just closed */
#define SERVER_LINGER_MS     2000  /* to let a peer read why it is cut while it is still sending */
#define SERVER_KEPT_BODY_MAX 4096  /* buffer kept for the next body */

/*
 *            request whole          http_respond            written
 *  READING ----------------> HANDLING ------------> WRITING ---------> READING (or CLOSING)
 *     |                          `-- http_stream_begin --> STREAMING -- end --> WRITING
 *     `--- a limit broken --> WRITING --> LINGERING --> CLOSING
 */
enum conn_state { CONN_READING, CONN_HANDLING, CONN_STREAMING, CONN_WRITING, CONN_LINGERING, CONN_CLOSING };

/* A connection carries one exchange at a time, so it is the exchange. */
struct http_exchange {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	llhttp_t parser;
	struct http_server *server; /* NULL once the connection is gone and only a handler holds the exchange */
	LIST_ENTRY(http_exchange) link;
	struct deadline deadline;
	struct loop_deferred later; /* requests received ahead; on_close for a peer that went before it was set */
	enum conn_state state;
	bool is_unix, is_head, is_http10, keep_alive;
	bool in_request;          /* first byte of a request seen, its end not */
	bool has_head;            /* ... its head complete */
	bool is_whole;            /* ... all of it, not yet handed over */
	bool is_held;             /* the handler owes an answer, or a stream is open */
	bool is_stream;           /* ... of that kind */
	bool peer_gone;           /* end of file or error seen */
	bool told_gone;           /* on_close has run */
	bool telling;             /* ... is running */
	bool paused;              /* reading is off */
	bool counted;             /* within limits.connections, not one of those refused */
	bool refused;             /* answered by us, whatever the parser's state: the connection ends with it */
	int error_status;         /* a limit broken while parsing */
	uint8_t method;           /* llhttp's */
	size_t path_at, query_at; /* in head.text */
	int64_t request_deadline_ms;
	struct http_head head;
	struct buf body, ahead;
	size_t body_counted; /* in the server's sum */
	loop_fn *on_close, *on_drain;
	void *close_ctx, *drain_ctx;
};

struct listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	struct http_server *server;
	LIST_ENTRY(listener) link;
	bool is_unix, closing;
	char *address;
};

struct http_server {
	struct loop *loop;
	struct http_server_limits limits;
	http_handler_fn *handler;
	void *ctx;
	LIST_HEAD(, listener) listeners;
	LIST_HEAD(, http_exchange) conns;
	size_t n_conns, n_refused;
	size_t bodies_bytes; /* held by all connections */
	struct deadlines deadlines;
	struct buf out; /* the head being written */
	char date[40];
	time_t date_of;
	bool stopping, timer_closed;
	loop_fn *stopped;
	void *stopped_ctx;
	char read_buf[SERVER_READ_BYTES];
};

/* http_server.c */
void server_check_stopped(struct http_server *s);
const char *server_date(struct http_server *s);

/* http_conn.c */
void conn_accept(struct http_server *s, uv_stream_t *listener, bool is_unix);
void conn_close(struct http_exchange *x);
void conn_send(struct http_exchange *x, const uv_buf_t *bufs, unsigned n); /* a broken connection is closed */
void conn_answered(struct http_exchange *x); /* everything of the answer was given to conn_send() */
void conn_on_deadline(void *ctx, struct deadline *d);
void conn_tell_gone(struct http_exchange *x);
void conn_free(struct http_exchange *x);

/* http_exchange.c */
void exchange_refuse(struct http_exchange *x, int status); /* our own answer to a broken limit; closes after it */

#endif
