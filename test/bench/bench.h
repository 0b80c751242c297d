/* What the measuring programs share: the clock, one JSON line a sample, a child whose log is read, and giving up. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static inline void pause_us(long us)
{
	nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

static inline struct sockaddr_un unix_address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(a.sun_path))
		die("%s: too long for a socket", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	return a;
}

/* -1 while nobody listens there. */
static inline int unix_connect(const char *path)
{
	struct sockaddr_un a = unix_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static inline int unix_listen(const char *path)
{
	struct sockaddr_un a = unix_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
		die("listen on %s: %s", path, strerror(errno));
	return fd;
}

static inline char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = calloc(1, 65536);

	if (!f || !text)
		die("read %s: %s", path, strerror(errno));
	text[fread(text, 1, 65535, f)] = '\0';
	fclose(f);
	return text;
}

/* ---- the program under test: its standard output is its log ---- */

struct child {
	pid_t pid;
	int log; /* read end */
	int64_t exec_ns;
	char text[65536]; /* what was read and is no whole line yet */
	size_t len;
};

/* `exec_ns` is stamped in the child, as the last thing before execv(). BENCH_ROOT: a chroot that it runs in. */
static inline void child_start(struct child *c, char **argv)
{
	int log[2], stamp[2];

	if (pipe2(log, O_CLOEXEC) < 0 || pipe2(stamp, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	c->pid = fork();
	if (c->pid < 0)
		die("fork: %s", strerror(errno));
	if (c->pid == 0) {
		const char *root = getenv("BENCH_ROOT");
		int64_t t;

		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(log[1], STDOUT_FILENO);
		if (root && (chroot(root) < 0 || chdir("/") < 0))
			_exit(126);
		t = now_ns();
		if (write(stamp[1], &t, sizeof(t)) == sizeof(t))
			execv(argv[0], argv);
		_exit(127);
	}
	close(log[1]);
	close(stamp[1]);
	if (read(stamp[0], &c->exec_ns, sizeof(c->exec_ns)) != sizeof(c->exec_ns))
		die("%s did not begin", argv[0]);
	close(stamp[0]);
	c->log = log[0];
	c->len = 0;
}

/* Reads once; false at the end of the log. */
static inline bool child_read(struct child *c)
{
	ssize_t n = read(c->log, c->text + c->len, sizeof(c->text) - 1 - c->len);

	if (n > 0)
		c->len += (size_t)n;
	c->text[c->len] = '\0';
	return n > 0;
}

/* Cuts the next whole line into `line`; false: none is there. */
static inline bool child_line(struct child *c, char *line, size_t size)
{
	char *end = memchr(c->text, '\n', c->len);
	size_t n;

	if (!end && c->len == sizeof(c->text) - 1)
		die("a log line of more than %zu bytes", c->len);
	if (!end)
		return false;
	n = (size_t)(end - c->text);
	snprintf(line, size, "%.*s", (int)n, c->text);
	c->len -= n + 1;
	memmove(c->text, end + 1, c->len + 1);
	return true;
}

/* What a process has used so far. CPU time and faults tell what a busy machine blurs in every time by the clock. */
struct usage {
	int64_t cpu_ns;
	long minor_faults, major_faults;
};

static inline struct usage usage_of(pid_t pid)
{
	struct usage u = {0};
	char path[64], *text, *rest;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid); /* of its first thread: the loop */
	text = read_file(path);
	u.cpu_ns = strtoll(text, NULL, 10);
	free(text);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	text = read_file(path);
	rest = strrchr(text, ')'); /* the name before it may hold anything */
	if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %ld %*u %ld", &u.minor_faults, &u.major_faults) != 2)
		die("%s is not as expected", path);
	free(text);
	return u;
}

/*
 * SIGTERM, then its last line, which tells the longest turns of its loop, goes to `out` as it is. Returns the CPU time of
 * its whole life.
 */
static inline int64_t child_stop(struct child *c, FILE *out)
{
	struct rusage used = {0};
	char line[8192];
	int status;

	kill(c->pid, SIGTERM);
	do {
		while (child_line(c, line, sizeof(line)))
			if (strstr(line, "\"event\":\"stopped\""))
				fprintf(out, "%s\n", line);
	} while (child_read(c));
	close(c->log);
	wait4(c->pid, &status, 0, &used);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("it ended with status %#x", status);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * INT64_C(1000000000) +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * INT64_C(1000);
}

#endif
