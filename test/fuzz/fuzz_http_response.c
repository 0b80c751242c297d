/*
 * Bytes from the engine to http_pipe: the input is the answer to one call, through a real Unix socket, then the end.
 * The first byte chooses method and streaming. The call must end exactly once.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "loop/loop.h"
#include "net/http_pipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct http_pipe *pipe_;
static int listener;
static int n_done;

static void check(int condition)
{
	if (!condition)
		abort();
}

static void on_done(void *ctx, const struct err *err, const struct http_response *r)
{
	(void)ctx;
	n_done++;
	check(err || r);
	if (r) {
		check(strlen(r->body) <= r->body_len && r->n_headers <= HTTP_HEADERS_MAX);
		for (size_t i = 0; i < r->n_headers; i++)
			check(!strpbrk(r->headers[i].value, "\r\n"));
	}
}

static void on_head(void *ctx, const struct http_response *head)
{
	(void)ctx;
	check(head->status >= 0 && n_done == 0);
}

static int on_data(void *ctx, const char *data, size_t len)
{
	(void)ctx;
	check(n_done == 0 && len > 0);
	return data[0] == '!' ? -ECANCELED : 0;
}

static void set_up(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/fuzz-http-response-%d.sock", (int)getpid());
	unlink(a.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 8) == 0);
	loop = loop_new();
	pipe_ = http_pipe_new(loop, a.sun_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request req = {.method = "GET", .target = "/", .max_body_bytes = 256};
	size_t sent = 0, piece;
	int fd;

	if (!loop)
		set_up();
	if (size == 0 || size > 65536)
		return 0;
	if (data[0] & 1)
		req.method = "HEAD";
	if (data[0] & 2) {
		req.on_head = on_head;
		req.on_data = on_data;
	}
	piece = data[0] >> 2 ? data[0] >> 2 : size;
	n_done = 0;
	http_pipe_call(pipe_, &req, on_done, NULL);
	fd = accept(listener, NULL, NULL);
	for (data++, size--; sent < size && !n_done;) {
		ssize_t n =
			send(fd, data + sent, size - sent < piece ? size - sent : piece, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
		loop_run_once(loop, false);
	}
	close(fd);
	for (int i = 0; i < 8; i++)
		loop_run_once(loop, false);
	check(n_done == 1);
	http_pipe_drop_idle(pipe_);
	loop_run_once(loop, false);
	return 0;
}
