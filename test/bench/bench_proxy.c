/*
 * Stands between the supervisor and a real engine, passes every byte on at once, and writes down when: so the engine's
 * own time for the very calls of an update is known, in the same run. No HTTP is parsed but the request's first line;
 * a call ends with the last byte that the engine sent before the next request of that connection.
 *
 *	bench_proxy LISTEN_SOCKET ENGINE_SOCKET    lines on standard output:
 *	q CONNECTION NS METHOD PATH                a request began
 *	a CONNECTION NS                            bytes of its answer came
 */
#include "bench.h"

#include <poll.h>

#define PAIRS_MAX 64

struct pair {
	int client, engine; /* -1: unused */
	bool answered;      /* so that the next bytes of the client begin a request */
};

static struct pair pairs[PAIRS_MAX];

static void close_pair(struct pair *p)
{
	close(p->client);
	close(p->engine);
	*p = (struct pair){.client = -1, .engine = -1};
}

static bool pass_on(int to, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(to, data, len, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void on_client(struct pair *p)
{
	char data[65536];
	ssize_t n = read(p->client, data, sizeof(data) - 1);
	int64_t at = now_ns();

	if (n <= 0 || !pass_on(p->engine, data, (size_t)n)) {
		close_pair(p);
		return;
	}
	data[n] = '\0';
	if (p->answered)
		printf("q %d %" PRId64 " %.*s\n", (int)(p - pairs), at, (int)strcspn(data, "\r\n"), data);
	p->answered = false;
}

static void on_engine(struct pair *p)
{
	char data[65536];
	ssize_t n = read(p->engine, data, sizeof(data));

	if (n <= 0 || !pass_on(p->client, data, (size_t)n)) {
		close_pair(p);
		return;
	}
	printf("a %d %" PRId64 "\n", (int)(p - pairs), now_ns());
	p->answered = true;
}

static void on_connection(int listener, const char *engine)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct pair *p = pairs;

	if (fd < 0)
		return;
	while (p < pairs + PAIRS_MAX && p->client >= 0)
		p++;
	if (p == pairs + PAIRS_MAX)
		die("more than %d connections", PAIRS_MAX);
	*p = (struct pair){.client = fd, .engine = unix_connect(engine), .answered = true};
	if (p->engine < 0)
		close_pair(p);
}

int main(int argc, char **argv)
{
	struct pollfd fds[2 * PAIRS_MAX + 1];
	int listener;

	if (argc != 3)
		die("usage: bench_proxy LISTEN_SOCKET ENGINE_SOCKET");
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	listener = unix_listen(argv[1]);
	for (size_t i = 0; i < PAIRS_MAX; i++)
		pairs[i] = (struct pair){.client = -1, .engine = -1};
	for (;;) {
		fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
		for (size_t i = 0; i < PAIRS_MAX; i++) { /* poll() skips what is negative */
			fds[1 + 2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
			fds[2 + 2 * i] = (struct pollfd){.fd = pairs[i].engine, .events = POLLIN};
		}
		fflush(stdout);
		if (poll(fds, 2 * PAIRS_MAX + 1, -1) < 0)
			die("poll: %s", strerror(errno));
		for (size_t i = 0; i < PAIRS_MAX; i++) {
			if (fds[2 + 2 * i].revents && pairs[i].engine >= 0)
				on_engine(&pairs[i]);
			if (fds[1 + 2 * i].revents && pairs[i].client >= 0)
				on_client(&pairs[i]);
		}
		if (fds[0].revents)
			on_connection(listener, argv[2]);
	}
}
