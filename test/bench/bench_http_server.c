/* A server that answers GET /ping as the API does; to be measured with wrk. Usage: bench_http_server [PORT]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/loop.h"
#include "net/http_server.h"

static void on_request(void *ctx, struct http_exchange *x)
{
	static const char not_found[] = "Not Found";

	(void)ctx;
	if (!strcmp(http_exchange_path(x), "/ping"))
		http_respond(x, 200, "text/html; charset=utf-8", "OK", 2, NULL);
	else
		http_respond(x, 404, "text/plain; charset=utf-8", not_found, strlen(not_found), NULL);
}

int main(int argc, char **argv)
{
	struct loop *l = loop_new();
	struct http_server *s = http_server_new(l, NULL, on_request, NULL);
	uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 0;
	struct err err = {0};

	if (http_server_listen_tcp(s, "127.0.0.1", port, &port, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	printf("%u\n", port);
	fflush(stdout);
	loop_run(l);
	return 0;
}
