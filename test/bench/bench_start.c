/*
 * How long from execve() until the supervisor answers GET /ping, or until a log line says that the target of an app is
 * applied. A new process each time; one JSON line a sample, and the supervisor's own last words. A sample also holds the
 * CPU time and page faults of its first thread up to that moment, which other programs on the machine do not change.
 *
 *	bench_start ping N API_SOCKET ARGV...       spins on connect(), so it sees the first moment that one succeeds
 *	bench_start settled N API_SOCKET ARGV...    reads the log and sleeps meanwhile
 */
#include "bench.h"

#include <poll.h>

#define DEADLINE_NS INT64_C(20000000000)

static const char ping[] = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";

/* The moment the head of the answer was read. */
static int64_t await_ping(const struct child *c, const char *path)
{
	char answer[512];
	ssize_t n;
	int fd;

	while ((fd = unix_connect(path)) < 0) {
		if (now_ns() - c->exec_ns > DEADLINE_NS)
			die("nobody listened on %s in time", path);
	}
	if (write(fd, ping, sizeof(ping) - 1) != sizeof(ping) - 1)
		die("write: %s", strerror(errno));
	n = read(fd, answer, sizeof(answer) - 1);
	close(fd);
	if (n <= 0 || strncmp(answer, "HTTP/1.1 200", 12) != 0)
		die("GET /ping was not answered with 200");
	return now_ns();
}

static int64_t await_settled(struct child *c)
{
	struct pollfd p = {.fd = c->log, .events = POLLIN};
	char line[8192];

	for (;;) {
		int64_t read_at;

		if (poll(&p, 1, 20000) <= 0 || !child_read(c))
			die("no app settled in time");
		read_at = now_ns();
		while (child_line(c, line, sizeof(line)))
			if (strstr(line, "\"event\":\"app_settled\""))
				return read_at;
	}
}

int main(int argc, char **argv)
{
	static struct child c;
	bool is_ping;
	int n;

	if (argc < 5)
		die("usage: bench_start ping|settled N API_SOCKET ARGV...");
	is_ping = strcmp(argv[1], "ping") == 0;
	n = atoi(argv[2]);
	for (int i = 0; i < n; i++) {
		struct usage used;
		int64_t end;

		unlink(argv[3]);
		child_start(&c, argv + 4);
		end = is_ping ? await_ping(&c, argv[3]) : await_settled(&c);
		used = usage_of(c.pid);
		printf("{\"i\":%d,\"start_ns\":%" PRId64 ",\"ns\":%" PRId64 ",\"used_ns\":%" PRId64
		       ",\"minor_faults\":%ld,\"major_faults\":%ld,\"cpu_ns\":%" PRId64 "}\n",
		       i, c.exec_ns, end - c.exec_ns, used.cpu_ns, used.minor_faults, used.major_faults,
		       child_stop(&c, stdout));
		fflush(stdout);
	}
	return 0;
}
