/*
 * HTTP/1.1 client over one Unix socket path: llhttp on uv_pipe. For the engine. Connections are kept and reused (at
 * most HTTP_PIPE_IDLE_MAX idle ones); every call in flight has its own; a thousand streams are fine. A reused
 * connection that turns out closed before any byte of the answer is retried once on a new one when nothing of the
 * request can have been acted on (idempotent method or write failed). The path is opened anew for each connection, so a
 * socket file that was replaced is found again.
 */
#ifndef NET_HTTP_PIPE_H
#define NET_HTTP_PIPE_H

#include "loop/loop.h"
#include "net/http.h"

#define HTTP_PIPE_IDLE_MAX 8
struct http_pipe;

struct http_pipe *
http_pipe_new(struct loop *l,
	      const char *socket_path); /* at most 107 bytes; longer: every call ends with -ENAMETOOLONG */
struct http_call *http_pipe_call(struct http_pipe *p, const struct http_request *req, http_done_fn *done, void *ctx);
/* Close idle connections (the engine was restarted). */
void http_pipe_drop_idle(struct http_pipe *p);
/*
 * Cancels what is in flight (each `done` runs with -ECANCELED), closes all, then calls `stopped` once from the loop;
 * the object is gone then.
 */
void http_pipe_stop(struct http_pipe *p, loop_fn *stopped, void *ctx);

/* The version of llhttp, which reads HTTP here and in http_server: "8.1.0". */
const char *http_parser_version(void);

#endif
