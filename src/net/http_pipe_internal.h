/* The two halves of http_pipe: calls (what the caller asked for) and connections (the socket that carries one). */
#ifndef NET_HTTP_PIPE_INTERNAL_H
#define NET_HTTP_PIPE_INTERNAL_H

#include <llhttp.h>
#include <sys/queue.h>
#include <sys/un.h>

#include "net/deadline.h"
#include "net/http_internal.h"
#include "net/http_pipe.h"

#define PIPE_READ_BYTES  32768 /* one buffer for all connections: nothing is kept in it between two reads */
#define PIPE_CHUNK_BYTES 32768 /* a piece of a streamed upload */

enum call_phase { CALL_CONNECT, CALL_WRITE, CALL_HEAD, CALL_BODY, CALL_ENDED };

struct pipe_call {
	struct http_call base;
	struct http_pipe *pipe;
	struct pipe_conn *conn; /* only while the socket works for this call */
	LIST_ENTRY(pipe_call) link;
	TAILQ_ENTRY(pipe_call) ended_link;
	http_done_fn *done;
	void *ctx;
	http_source_fn *source;
	http_head_fn *on_head;
	http_data_fn *on_data;
	void *stream_ctx;
	enum call_phase phase;
	bool is_head_method, is_repeatable, was_retried, has_answer, has_head, is_streamed;
	int status;
	struct http_head head;
	struct buf request; /* kept until the first byte of the answer, so that it can be sent again */
	struct buf body;
	int64_t connect_timeout_ms, head_timeout_ms, idle_timeout_ms, total_timeout_ms;
	int64_t total_at_ms, phase_at_ms;
	struct deadline deadline;
	struct err *err; /* of an ended call */
};

struct pipe_conn {
	uv_pipe_t uv;
	llhttp_t parser;
	struct http_pipe *pipe;
	struct pipe_call *call; /* NULL: idle or closing */
	LIST_ENTRY(pipe_conn) link;
	TAILQ_ENTRY(pipe_conn) idle_link;
	bool is_idle, was_used, is_complete, may_stay, closing;
	bool is_sending;        /* of the request, something is not written yet */
	int send_error;         /* the engine stopped reading; its answer may still come */
	struct pipe_upload *up; /* of a streamed upload */
};

struct http_pipe {
	struct loop *loop;
	struct sockaddr_un address;
	bool path_too_long, stopping, timer_closed;
	LIST_HEAD(, pipe_call) calls;
	TAILQ_HEAD(, pipe_call) ended;
	LIST_HEAD(, pipe_conn) conns;
	TAILQ_HEAD(pipe_idle, pipe_conn) idle; /* newest first */
	unsigned n_idle;
	struct deadlines deadlines;
	struct loop_deferred flush; /* runs `done` of ended calls */
	loop_fn *stopped;
	void *stopped_ctx;
	char *read_buf;
};

/* call: http_pipe.c */
void pipe_call_start(struct pipe_call *c);
void pipe_call_fail(struct pipe_call *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void pipe_call_finish(struct pipe_call *c);                                /* the answer is whole: runs `done` */
void pipe_call_cut(struct pipe_call *c, struct pipe_conn *conn, int code); /* the connection ended before the answer */
void pipe_call_enter(struct pipe_call *c, enum call_phase phase);
void pipe_check_stopped(struct http_pipe *p);

/* conn: http_pipe_conn.c */
int pipe_conn_open(struct http_pipe *p, struct pipe_conn **out);
int pipe_conn_send(struct pipe_conn *conn, struct pipe_call *c); /* error: nothing of the request was taken */
void pipe_conn_close(struct pipe_conn *conn);
struct pipe_conn *pipe_conn_take_idle(struct http_pipe *p);

#endif
