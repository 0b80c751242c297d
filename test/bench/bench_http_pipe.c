/*
 * What http_pipe costs: CPU of one call on a kept connection, and the heap of one open stream that says nothing. The far
 * end is a forked child that answers from a fixed text.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop.h"
#include "net/http_pipe.h"

#define CALLS   100000
#define STREAMS 500

static const char answer[] =
	"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nDocker-Experimental: "
	"false\r\nOstype: linux\r\nServer: Docker/20.10.24 (linux)\r\nContent-Length: 2\r\n\r\n{}";
static const char stream[] =
	"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nDocker-Experimental: "
	"false\r\nOstype: linux\r\nServer: Docker/20.10.24 (linux)\r\nTransfer-Encoding: "
	"chunked\r\n\r\n";

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
	static char data[65536];

	(void)h;
	(void)size;
	*b = uv_buf_init(data, sizeof(data));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	bool is_stream = n > 0 && strstr(b->base, "GET /events");
	uv_buf_t out = is_stream ? uv_buf_init((char *)stream, sizeof(stream) - 1)
				 : uv_buf_init((char *)answer, sizeof(answer) - 1);

	if (n > 0)
		uv_try_write(s, &out, 1);
	else if (n < 0)
		uv_close((uv_handle_t *)s, NULL);
}

static void on_connection(uv_stream_t *s, int status)
{
	uv_pipe_t *c = calloc(1, sizeof(*c));

	(void)status;
	uv_pipe_init(s->loop, c, 0);
	uv_accept(s, (uv_stream_t *)c);
	uv_read_start((uv_stream_t *)c, on_alloc, on_read);
}

static void far_end(int fd)
{
	uv_pipe_t p;

	uv_pipe_init(uv_default_loop(), &p, 0);
	uv_pipe_open(&p, fd);
	uv_listen((uv_stream_t *)&p, 511, on_connection);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

static struct loop *l;
static struct http_pipe *p;
static int left = CALLS, heads;

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void on_done(void *ctx, const struct err *err, const struct http_response *r)
{
	(void)ctx;
	if (err || r->status != 200) {
		fprintf(stderr, "%s\n", err ? err->msg : "status");
		exit(1);
	}
	if (--left > 0)
		http_pipe_call(p,
			       &(struct http_request){
				       .method = "POST", .target = "/containers/x/stop", .head_timeout_ms = 30000},
			       on_done, NULL);
	else
		loop_stop(l);
}

static void on_head(void *ctx, const struct http_response *r)
{
	(void)ctx;
	(void)r;
	if (++heads == STREAMS)
		loop_stop(l);
}

static int on_data(void *ctx, const char *data, size_t len)
{
	(void)ctx;
	(void)data;
	(void)len;
	return 0;
}

static void ignore(void *ctx, const struct err *err, const struct http_response *r)
{
	(void)ctx;
	(void)err;
	(void)r;
}

int main(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct rlimit files = {4096, 4096};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t before;
	pid_t child;
	double cpu;

	setrlimit(RLIMIT_NOFILE, &files);
	snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/bench-http-pipe-%d.sock", (int)getpid());
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 511) < 0)
		return 1;
	child = fork();
	if (child == 0)
		far_end(fd);
	l = loop_new();
	p = http_pipe_new(l, a.sun_path);
	cpu = cpu_us();
	http_pipe_call(p, &(struct http_request){.method = "GET", .target = "/version"}, on_done, NULL);
	loop_run(l);
	printf("cpu_us_per_call %.1f\n", (cpu_us() - cpu) / CALLS);
	before = mallinfo2().uordblks;
	for (int i = 0; i < STREAMS; i++)
		http_pipe_call(p,
			       &(struct http_request){
				       .method = "GET", .target = "/events", .on_head = on_head, .on_data = on_data},
			       ignore, NULL);
	loop_run(l);
	printf("heap_bytes_per_stream %zu\n", (mallinfo2().uordblks - before) / STREAMS);
	unlink(a.sun_path);
	kill(child, SIGTERM);
	return 0;
}
