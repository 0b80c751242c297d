/* The two halves of http_client: curl on the loop (http_client.c) and one transfer (http_client_call.c). */
#ifndef NET_HTTP_CLIENT_INTERNAL_H
#define NET_HTTP_CLIENT_INTERNAL_H

#include <curl/curl.h>
#include <sys/queue.h>

#include "net/deadline.h"
#include "net/http_client.h"
#include "net/http_internal.h"

enum client_state { CLIENT_NEW, CLIENT_CONNECTING, CLIENT_WAITING, CLIENT_RECEIVING, CLIENT_ENDED };

/* CURL_WARMING: `multi` belongs to a pool thread. CURL_BROKEN: there is no curl. */
enum client_curl { CURL_UNUSED, CURL_WARMING, CURL_READY, CURL_BROKEN };

struct client_call {
	struct http_call base;
	struct http_client *client;
	TAILQ_ENTRY(client_call) link, todo_link;
	bool is_todo;
	enum client_state state;
	http_done_fn *done;
	void *ctx;
	http_source_fn *source;
	http_head_fn *on_head;
	http_data_fn *on_data;
	void *stream_ctx;
	CURL *easy;
	struct curl_slist *headers;
	char *method, *url;
	struct buf request_body, body;
	struct http_head head;
	bool has_head, head_told, was_https, is_streamed;
	int status;
	int64_t connect_timeout_ms, head_timeout_ms, idle_timeout_ms, total_timeout_ms;
	int64_t total_at_ms, state_at_ms;
	curl_off_t uploaded;
	struct deadline deadline;
	struct err *err;
	char curl_message[CURL_ERROR_SIZE];
};

struct http_client {
	struct loop *loop;
	CURLM *multi; /* NULL until the first call */
	enum client_curl curl;
	bool wants_tls; /* the first call does */
	char *user_agent, *ca_file;
	TAILQ_HEAD(, client_call) calls, todo;
	struct loop_deferred work;
	struct loop_timer timer; /* curl's */
	struct deadlines deadlines;
	LIST_HEAD(, client_socket) sockets;
	unsigned timers_open;
	bool stopping, timers_closing;
	loop_fn *stopped;
	void *stopped_ctx;
};

/* http_client.c: the loop's next turn looks at this call. */
void client_todo(struct client_call *call);

/* http_client_warm.c: on a pool thread. */
void client_warm_up(CURLM *multi, const char *ca_file);

/* http_client_call.c */
void client_call_start(struct client_call *call);
/* Marks a call as failed; it ends in the next turn. The first failure stays. */
void client_call_fail(struct client_call *call, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void client_call_finish(struct client_call *call, CURLcode result); /* out of curl's hands */
void client_call_report(struct client_call *call);                  /* runs `done`; the call is gone then */
void client_call_on_deadline(void *ctx, struct deadline *d);

#endif
