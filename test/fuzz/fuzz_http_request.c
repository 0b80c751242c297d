/*
 * Bytes from anybody to the server: the input goes through a real Unix socket, so parser, answers and closing are all
 * in it. The first byte chooses how the handler answers and into how many pieces the rest is cut. Afterwards no
 * connection may be left open.
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
#include "net/http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct http_server *server;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static unsigned mode;
static struct http_exchange *held;

static void on_gone(void *ctx)
{
	(void)ctx;
}

static void check(int condition)
{
	if (!condition)
		abort();
}

static void answer(struct http_exchange *x)
{
	size_t len;
	const char *body = http_exchange_body(x, &len);

	if (mode & 1) {
		http_stream_begin(x, 200, NULL, NULL);
		http_exchange_on_close(x, on_gone, NULL);
		if (http_stream_write(x, body, len) == 0)
			http_stream_end(x);
	} else {
		http_respond(x, 200, http_exchange_header(x, "content-type"), body, len,
			     (struct http_header[]){{"X-Path", http_exchange_path(x)}, {0}});
	}
}

static void on_request(void *ctx, struct http_exchange *x)
{
	(void)ctx;
	check(http_exchange_path(x)[0] == '/' || !strcmp(http_exchange_path(x), "*"));
	check(!strpbrk(http_exchange_query(x), " \r\n"));
	check(strcmp(http_exchange_method(x), "HEAD") != 0);
	if (mode & 2)
		held = x;
	else
		answer(x);
}

static void set_up(void)
{
	struct http_server_limits limits = {.head_bytes = 512, .body_bytes = 256};
	struct err err = {0};

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fuzz-http-request-%d.sock", (int)getpid());
	loop = loop_new();
	server = http_server_new(loop, &limits, on_request, NULL);
	check(http_server_listen_unix(server, address.sun_path, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char in[4096];
	size_t sent = 0;
	ssize_t n;
	int fd;

	if (!loop)
		set_up();
	if (size == 0 || size > 65536)
		return 0;
	mode = data[0];
	size_t piece = mode >> 2 ? mode >> 2 : size;
	data++;
	size--;
	held = NULL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	check(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	for (;;) {
		if (sent < size) {
			n = send(fd, data + sent, size - sent < piece ? size - sent : piece, MSG_NOSIGNAL);
			sent = n > 0 ? sent + (size_t)n : n < 0 && errno != EAGAIN ? size : sent;
		} else {
			shutdown(fd, SHUT_WR);
		}
		loop_run_once(loop, false);
		if (held) {
			struct http_exchange *x = held;

			held = NULL;
			answer(x);
		}
		n = recv(fd, in, sizeof(in), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
	}
	close(fd);
	for (int i = 0; i < 4; i++)
		loop_run_once(loop, false);
	return 0;
}
