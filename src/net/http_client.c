/*
 * libcurl's multi interface on the loop. curl is entered from two loop callbacks (a socket is ready, its timer ran out)
 * and from one deferred call that starts and ends transfers; never from inside its own callbacks. After each entry the
 * finished transfers are drained, after timers too: a transfer that times out reports nothing on any socket.
 */
#include "net/http_client.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "loop/file.h"
#include "net/http_client_internal.h"
#include "util/mem.h"

#define CONNECTIONS_KEPT 4

struct client_socket {
	uv_poll_t uv;
	LIST_ENTRY(client_socket) link;
	struct http_client *client;
	curl_socket_t fd;
};

/* -------- finished transfers -------- */

static void check_stopped(struct http_client *c)
{
	loop_fn *stopped = c->stopped;
	void *ctx = c->stopped_ctx;

	if (!c->stopping || c->multi || !LIST_EMPTY(&c->sockets) || c->timers_open > 0 || !TAILQ_EMPTY(&c->calls))
		return;
	loop_deferred_cancel(&c->work);
	free(c->user_agent);
	free(c->ca_file);
	free(c);
	stopped(ctx);
}

static void drain(struct http_client *c)
{
	struct client_call *ended[16];
	bool more = true;

	while (more) {
		size_t n = 0;
		CURLMsg *msg;
		int left;

		while (n < ARRAY_LEN(ended) && (msg = curl_multi_info_read(c->multi, &left))) {
			CURLcode result = msg->data.result;

			curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&ended[n]);
			client_call_finish(ended[n], result); /* `msg` is gone with the handle */
			n++;
		}
		more = n == ARRAY_LEN(ended);
		for (size_t i = 0; i < n; i++)
			client_call_report(ended[i]);
		more = more && c->multi;
	}
}

/* -------- curl on the loop -------- */

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
	struct client_socket *s = poll->data;
	struct http_client *c = s->client;
	int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0),
	    running;

	curl_multi_socket_action(c->multi, s->fd, status < 0 ? CURL_CSELECT_ERR : flags, &running);
	drain(c);
}

static void on_curl_timer(void *ctx)
{
	struct http_client *c = ctx;
	int running;

	if (!c->multi)
		return;
	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	drain(c);
}

static int on_curl_wants_timer(CURLM *multi, long timeout_ms, void *ctx)
{
	struct http_client *c = ctx;

	(void)multi;
	if (timeout_ms < 0)
		loop_timer_stop(&c->timer);
	else
		loop_timer_start(&c->timer, timeout_ms);
	return 0;
}

static void on_socket_closed(uv_handle_t *h)
{
	struct client_socket *s = h->data;
	struct http_client *c = s->client;

	LIST_REMOVE(s, link);
	free(s);
	check_stopped(c);
}

static void socket_close(struct client_socket *s)
{
	if (!uv_is_closing((uv_handle_t *)&s->uv))
		uv_close((uv_handle_t *)&s->uv, on_socket_closed);
}

static struct client_socket *socket_new(struct http_client *c, curl_socket_t fd)
{
	struct client_socket *s = mem_new(1, sizeof(*s));

	s->client = c;
	s->fd = fd;
	s->uv.data = s;
	if (uv_poll_init_socket(loop_uv(c->loop), &s->uv, fd) < 0) {
		free(s);
		return NULL;
	}
	LIST_INSERT_HEAD(&c->sockets, s, link);
	curl_multi_assign(c->multi, fd, s);
	return s;
}

static int on_curl_wants_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct http_client *c = ctx;
	struct client_socket *s = socket_ctx;
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s) {
			curl_multi_assign(c->multi, fd, NULL);
			socket_close(s);
		}
		return 0;
	}
	if (!s)
		s = socket_new(c, fd);
	return s && uv_poll_start(&s->uv, events, on_socket_ready) == 0 ? 0 : -1;
}

/* -------- starting and ending -------- */

/* Debian's and most systems' place, where curl was built without one of its own. */
static const char *system_ca_file(void)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);

	return v->age >= CURLVERSION_SEVENTH && v->cainfo ? v->cainfo : "/etc/ssl/certs/ca-certificates.crt";
}

/* On the pool: making curl and its TLS ready takes longer than a turn of the loop may. */
static void on_pool(void *ctx)
{
	struct http_client *c = ctx;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return;
	c->multi = curl_multi_init();
	if (!c->ca_file)
		c->ca_file = mem_strdup(system_ca_file());
	if (c->multi && c->wants_tls)
		client_warm_up(c->multi, c->ca_file);
}

static void on_warm(void *ctx)
{
	struct http_client *c = ctx;
	struct client_call *call;

	c->curl = c->multi ? CURL_READY : CURL_BROKEN;
	if (c->multi) {
		curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_curl_wants_socket);
		curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
		curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_curl_wants_timer);
		curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
		curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
	}
	TAILQ_FOREACH(call, &c->calls, link)
	client_todo(call);
	loop_deferred_schedule(&c->work); /* a stop may be waiting */
}

static void begin_call(struct http_client *c, struct client_call *call)
{
	if (c->curl == CURL_READY)
		client_call_start(call);
	else if (c->curl == CURL_BROKEN)
		client_call_fail(call, -ENOMEM, "curl cannot be initialised");
	else if (c->curl == CURL_UNUSED) {
		c->curl = CURL_WARMING; /* on_warm() comes back to every call */
		c->wants_tls = !strncasecmp(call->url, "https:", 6);
		loop_work(c->loop, on_pool, on_warm, c);
	}
}

/* The socket callback still runs inside curl_multi_cleanup(), so the handles close after it. */
static void stop_curl(struct http_client *c)
{
	struct client_socket *s;

	if (c->multi)
		curl_multi_cleanup(STEAL(c->multi));
	LIST_FOREACH(s, &c->sockets, link)
	socket_close(s);
}

static void on_timer_closed(void *ctx)
{
	struct http_client *c = ctx;

	c->timers_open--;
	check_stopped(c);
}

/* Starts what is new, ends what was cancelled or failed. */
static void on_work(void *ctx)
{
	struct http_client *c = ctx;
	TAILQ_HEAD(, client_call) batch = TAILQ_HEAD_INITIALIZER(batch);
	struct client_call *call;

	TAILQ_CONCAT(&batch, &c->todo, todo_link);
	while ((call = TAILQ_FIRST(&batch))) {
		TAILQ_REMOVE(&batch, call, todo_link);
		call->is_todo = false;
		if (call->state == CLIENT_NEW && !call->err)
			begin_call(c, call);
		if (call->err) {
			client_call_finish(call, CURLE_OK);
			client_call_report(call);
		}
	}
	if (c->timers_closing) { /* one that came while stopping was the last; nothing is touched after this */
		check_stopped(c);
		return;
	}
	if (!c->stopping || !TAILQ_EMPTY(&c->calls) || c->curl == CURL_WARMING)
		return;
	stop_curl(c);
	c->timers_closing = true;
	loop_timer_deinit(&c->timer, on_timer_closed, c);
	deadlines_deinit(&c->deadlines, on_timer_closed, c);
}

void client_todo(struct client_call *call)
{
	if (!call->is_todo)
		TAILQ_INSERT_TAIL(&call->client->todo, call, todo_link);
	call->is_todo = true;
	loop_deferred_schedule(&call->client->work);
}

struct http_client *http_client_new(struct loop *l, const struct http_client_options *o)
{
	struct http_client *c = mem_new(1, sizeof(*c));

	c->loop = l;
	c->user_agent = mem_strdup(o->user_agent);
	c->ca_file = mem_strdup(o->ca_file);
	LIST_INIT(&c->sockets);
	TAILQ_INIT(&c->calls);
	TAILQ_INIT(&c->todo);
	loop_deferred_init(l, &c->work, on_work, c);
	loop_timer_init(l, &c->timer, on_curl_timer, c);
	deadlines_init(&c->deadlines, l, client_call_on_deadline, c);
	c->timers_open = 2;
	return c;
}

void http_client_stop(struct http_client *c, loop_fn *stopped, void *ctx)
{
	struct client_call *call;

	c->stopping = true;
	c->stopped = stopped;
	c->stopped_ctx = ctx;
	TAILQ_FOREACH(call, &c->calls, link)
	client_call_fail(call, -ECANCELED, "cancelled: stopping");
	loop_deferred_schedule(&c->work);
}
