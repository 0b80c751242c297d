/*
 * Where the server listens, and its start and stop. Everything per connection is in http_conn.c; here is only what all
 * share: the limits, the one timer for all deadlines, the read buffer, the Date line.
 */
#include "net/http_server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/http_server_internal.h"
#include "util/mem.h"

#define BACKLOG 511

static void set_limits(struct http_server_limits *to, const struct http_server_limits *from)
{
	if (from)
		*to = *from;
	to->head_bytes = to->head_bytes ? to->head_bytes : 16384;
	to->body_bytes = to->body_bytes ? to->body_bytes : 10 * 1024 * 1024;
	to->bodies_bytes = to->bodies_bytes ? to->bodies_bytes : 32 * 1024 * 1024;
	to->connections = to->connections ? to->connections : 256;
	to->head_timeout_ms = to->head_timeout_ms ? to->head_timeout_ms : 60000;
	to->request_timeout_ms = to->request_timeout_ms ? to->request_timeout_ms : 300000;
	to->idle_timeout_ms = to->idle_timeout_ms ? to->idle_timeout_ms : 5000;
	to->stream_queue_bytes = to->stream_queue_bytes ? to->stream_queue_bytes : 262144;
}

struct http_server *http_server_new(struct loop *l, const struct http_server_limits *limits, http_handler_fn *handler,
				    void *ctx)
{
	struct http_server *s = mem_new(1, sizeof(*s));

	s->loop = l;
	s->handler = handler;
	s->ctx = ctx;
	set_limits(&s->limits, limits);
	LIST_INIT(&s->listeners);
	LIST_INIT(&s->conns);
	deadlines_init(&s->deadlines, l, conn_on_deadline, s);
	buf_init(&s->out, SIZE_MAX / 2); /* our own answer's head */
	return s;
}

/* RFC 9110's form of now; made once a second. */
const char *server_date(struct http_server *s)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now != s->date_of) {
		static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
		static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
						     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

		gmtime_r(&now, &tm); /* not strftime: its names follow the locale */
		snprintf(s->date, sizeof(s->date), "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
			 (unsigned)tm.tm_mday % 100, months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
			 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
		s->date_of = now;
	}
	return s->date;
}

/* -------- listening -------- */

static void on_listener_closed(uv_handle_t *h)
{
	struct listener *ln = h->data;
	struct http_server *s = ln->server;

	LIST_REMOVE(ln, link);
	free(ln->address);
	free(ln);
	server_check_stopped(s);
}

static void listener_close(struct listener *ln)
{
	if (ln->closing)
		return;
	ln->closing = true;
	uv_close(&ln->uv.handle, on_listener_closed);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct listener *ln = stream->data;

	if (status == 0)
		conn_accept(ln->server, stream, ln->is_unix);
}

static struct listener *listener_new(struct http_server *s, const char *address, bool is_unix)
{
	struct listener *ln = mem_new(1, sizeof(*ln));

	ln->server = s;
	ln->is_unix = is_unix;
	ln->address = mem_strdup(address);
	if (is_unix)
		uv_pipe_init(loop_uv(s->loop), &ln->uv.pipe, 0);
	else
		uv_tcp_init(loop_uv(s->loop), &ln->uv.tcp);
	ln->uv.handle.data = ln;
	LIST_INSERT_HEAD(&s->listeners, ln, link);
	return ln;
}

static int bind_tcp(struct listener *ln, const char *ip, uint16_t port)
{
	struct sockaddr_storage a;
	int rc = uv_ip4_addr(ip, port, (struct sockaddr_in *)&a);

	if (rc < 0)
		rc = uv_ip6_addr(ip, port, (struct sockaddr_in6 *)&a);
	if (rc == 0)
		rc = uv_tcp_bind(&ln->uv.tcp, (struct sockaddr *)&a, 0);
	if (rc == 0)
		rc = uv_listen(&ln->uv.stream, BACKLOG, on_connection);
	return rc;
}

static uint16_t port_of(const struct listener *ln)
{
	struct sockaddr_storage a;
	int len = sizeof(a);

	if (uv_tcp_getsockname(&ln->uv.tcp, (struct sockaddr *)&a, &len) < 0)
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
					     : ((struct sockaddr_in *)&a)->sin_port);
}

int http_server_listen_tcp(struct http_server *s, const char *ip, uint16_t port, uint16_t *port_out, struct err *err)
{
	struct listener *ln = listener_new(s, ip, false);
	int rc = bind_tcp(ln, ip, port);

	if (rc < 0) {
		listener_close(ln);
		return err_set(err, rc, strchr(ip, ':') ? "listen on [%s]:%u: %s" : "listen on %s:%u: %s", ip, port,
			       uv_strerror(rc));
	}
	if (port_out)
		*port_out = port_of(ln);
	return 0;
}

/* 0: nobody is there (a stale socket file is removed), else why the path cannot be had. */
static int claim_path(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	if (fd < 0)
		return -errno;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return errno == ENOENT ? 0 : -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int http_server_listen_unix(struct http_server *s, const char *path, struct err *err)
{
	int rc = claim_path(path);
	struct listener *ln;

	if (rc < 0)
		return err_set(err, rc, "listen on %s: %s", path, uv_strerror(rc));
	ln = listener_new(s, path, true);
	rc = uv_pipe_bind(&ln->uv.pipe, path);
	/* Nobody can connect between the two: until it listens, a socket refuses. */
	if (rc == 0 && chmod(path, 0600) < 0)
		rc = -errno;
	if (rc == 0)
		rc = uv_listen(&ln->uv.stream, BACKLOG, on_connection);
	if (rc < 0) {
		listener_close(ln);
		return err_set(err, rc, "listen on %s: %s", path, uv_strerror(rc));
	}
	return 0;
}

void http_server_unlisten_tcp(struct http_server *s, const char *ip)
{
	struct listener *ln;

	LIST_FOREACH(ln, &s->listeners, link)
	if (!ln->is_unix && !strcmp(ln->address, ip))
		listener_close(ln);
}

/* -------- stopping -------- */

void server_check_stopped(struct http_server *s)
{
	loop_fn *stopped = s->stopped;
	void *ctx = s->stopped_ctx;

	if (!s->stopping || !s->timer_closed || !LIST_EMPTY(&s->listeners) || !LIST_EMPTY(&s->conns))
		return;
	buf_deinit(&s->out);
	free(s);
	stopped(ctx);
}

static void on_timer_closed(void *ctx)
{
	struct http_server *s = ctx;

	s->timer_closed = true;
	server_check_stopped(s);
}

static void close_timer(struct http_server *s)
{
	deadlines_deinit(&s->deadlines, on_timer_closed, s);
}

void http_server_stop(struct http_server *s, loop_fn *stopped, void *ctx)
{
	struct listener *ln;
	struct http_exchange *x;

	s->stopping = true;
	s->stopped = stopped;
	s->stopped_ctx = ctx;
	LIST_FOREACH(ln, &s->listeners, link)
	listener_close(ln);
	LIST_FOREACH(x, &s->conns, link)
	conn_close(x);
	close_timer(s);
}
