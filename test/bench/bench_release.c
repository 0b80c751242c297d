/*
 * How long from the release of the last update lock, or from a forced update, until the request that stops a service
 * reaches the engine. The engine is scripted and lives in this program, so both moments are stamped by one clock in one
 * thread: the first right before unlink() or write(), the second right after the read() that ends the request. The
 * figure so holds two wake-ups, the supervisor's and this program's; mode `floor` measures just these: a program that
 * does nothing but see the unlink and write the same bytes.
 *
 *	bench_release release|force|blocked|updates DIR N SERVICES REST_MS ARGV...
 *	bench_release floor DIR N REST_MS
 *
 * DIR holds what test/bench/run made: target.1 and target.2, the documents to alternate between (app 1, release rN),
 * and gets engine.sock. ARGV is the supervisor: its API on DIR/api.sock, its locks in DIR/locks. An update has been
 * blocked for REST_MS when its obstacle goes: what the supervisor writes to its disk when a wait begins is over, or not.
 * Mode `blocked` holds the lock for N seconds and tells what was asked of the engine meanwhile. Mode `updates` makes N
 * updates as fast as they go, half of them blocked by a lock first, and tells every 100 what the process holds.
 */
#include "scripted_engine.h"

#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define DEADLINE_MS 20000

static const char *const images[] = {"lk-bench/app:1", "lk-bench/app:2", NULL};

struct bench {
	struct scripted_engine *engine;
	struct child child;
	const char *dir;
	char lock[4096], api[4096], *key;
	char *documents[2];
	int64_t stop_ns; /* when the first stop request of this update was read; 0: none yet */
	unsigned stops, requests;
	int rest_ms;
	bool wants_log; /* not while a time is taken: the log has a pipe to itself, and room in it */
};

static void on_request(void *ctx, const char *method, const char *path, int64_t read_ns)
{
	struct bench *b = ctx;

	(void)method;
	b->requests++;
	if (!strstr(path, "/stop"))
		return;
	b->stops++;
	if (!b->stop_ns)
		b->stop_ns = read_ns;
}

/* Serves the engine, and reads the log when wanted, until something came or `timeout_ms` is over; false: over. */
static bool turn(struct bench *b, int timeout_ms)
{
	struct pollfd fds[ENGINE_FDS_MAX + 1];
	size_t n = scripted_engine_poll(b->engine, fds);

	fds[n] = (struct pollfd){.fd = b->child.log, .events = POLLIN};
	if (poll(fds, n + b->wants_log, timeout_ms) <= 0)
		return false;
	scripted_engine_serve(b->engine, fds, n);
	if (b->wants_log && fds[n].revents && !child_read(&b->child))
		die("the supervisor ended");
	return true;
}

/* Until a line of the log holds all three texts. */
static void await_line(struct bench *b, const char *first, const char *second, const char *third)
{
	static char line[16384];
	int64_t end = now_ns() + DEADLINE_MS * INT64_C(1000000);

	b->wants_log = true;
	for (;;) {
		while (child_line(&b->child, line, sizeof(line)))
			if (strstr(line, first) && strstr(line, second) && strstr(line, third))
				return;
		turn(b, 100);
		if (now_ns() > end)
			die("%s %s %s did not come in time", first, second, third);
	}
}

static void await_settled(struct bench *b, unsigned version)
{
	char release[32];

	snprintf(release, sizeof(release), "\"release\":\"r%u\"", version);
	await_line(b, "\"event\":\"app_settled\"", "\"app\":1,", release);
}

static void write_target(struct bench *b, unsigned version)
{
	const char *text = b->documents[version - 1];
	char path[4096], fresh[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/target.json", b->dir);
	snprintf(fresh, sizeof(fresh), "%s/target.json.new", b->dir);
	f = fopen(fresh, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0 || rename(fresh, path) < 0)
		die("write %s: %s", path, strerror(errno));
}

static void take_lock(struct bench *b)
{
	int fd = open(b->lock, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		die("take %s: %s", b->lock, strerror(errno));
	close(fd);
}

/* The connection is there before the time is taken. */
static int open_api(struct bench *b)
{
	int fd = unix_connect(b->api);

	if (fd < 0)
		die("connect to %s: %s", b->api, strerror(errno));
	return fd;
}

static int64_t force_update(struct bench *b, int api)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "POST /v1/update HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
			 "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"force\":true}",
			 b->key);
	int64_t begin = now_ns();

	if (write(api, text, (size_t)n) != n)
		die("write: %s", strerror(errno));
	return begin;
}

static void close_api(int api)
{
	char answer[1024];
	ssize_t n = read(api, answer, sizeof(answer) - 1);

	if (n < 12 || strncmp(answer, "HTTP/1.1 2", 10) != 0)
		die("the forced update was refused: %.*s", (int)(n > 0 ? n : 0), answer);
	close(api);
}

/* An update of app 1 to `version` that is blocked by the lock of its service s1. */
static void block(struct bench *b, unsigned version)
{
	take_lock(b);
	write_target(b, version);
	await_line(b, "\"event\":\"update_blocked\"", "\"app\":1,", "");
	b->wants_log = false;
	for (int64_t end = now_ns() + b->rest_ms * INT64_C(1000000); now_ns() < end;)
		turn(b, b->rest_ms);
	if (b->stop_ns)
		die("a service was stopped although its lock was held");
}

static long number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static int count_fds(pid_t pid)
{
	char path[64];
	DIR *dir;
	int n = -2; /* . and .. */

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Between two measurements: what the process holds after so many updates. */
static void print_memory(const struct bench *b, int updates)
{
	struct usage used = usage_of(b->child.pid);
	char path[64], *text;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)b->child.pid);
	text = read_file(path);
	printf("{\"updates\":%d,\"rss_kib\":%ld,\"pss_kib\":%ld,\"anonymous_kib\":%ld,\"minor_faults\":%ld,"
	       "\"major_faults\":%ld,\"fds\":%d}\n",
	       updates, number_after(text, "Rss:"), number_after(text, "Pss:"), number_after(text, "Anonymous:"),
	       used.minor_faults, used.major_faults, count_fds(b->child.pid));
	free(text);
}

static void update_one(struct bench *b, int i)
{
	unsigned version = i % 2 == 0 ? 2 : 1;

	b->stop_ns = 0;
	if (i / 2 % 2) {
		block(b, version);
		if (unlink(b->lock) < 0)
			die("unlink %s: %s", b->lock, strerror(errno));
	} else {
		write_target(b, version);
	}
	await_settled(b, version);
	if (i % 100 == 99)
		print_memory(b, i + 1);
}

static void measure_one(struct bench *b, int i, bool force)
{
	unsigned version = i % 2 == 0 ? 2 : 1;
	int64_t begin, end;
	int api = -1;

	b->stop_ns = 0;
	block(b, version);
	if (force) {
		api = open_api(b);
		turn(b, 1);
		begin = force_update(b, api);
	} else {
		begin = now_ns();
		if (unlink(b->lock) < 0)
			die("unlink %s: %s", b->lock, strerror(errno));
	}
	for (end = begin + DEADLINE_MS * INT64_C(1000000); !b->stop_ns;) {
		turn(b, 100);
		if (now_ns() > end)
			die("no stop came in time");
	}
	printf("{\"i\":%d,\"ns\":%" PRId64 "}\n", i, b->stop_ns - begin);
	await_settled(b, version);
	if (force)
		close_api(api);
}

/* Nothing but the lock and time: what is asked of the engine then is asked for nothing. */
static void stay_blocked(struct bench *b, int seconds)
{
	int64_t end;
	unsigned requests;

	block(b, 2);
	requests = b->requests;
	printf("{\"blocked\":%d}\n", (int)b->child.pid);
	fflush(stdout);
	for (end = now_ns() + seconds * INT64_C(1000000000); now_ns() < end;)
		turn(b, 100);
	printf("{\"seconds\":%d,\"requests\":%u,\"stops\":%u}\n", seconds, b->requests - requests, b->stops);
	fflush(stdout);
	unlink(b->lock);
	await_settled(b, 2);
}

static void read_setup(struct bench *b, const char *dir)
{
	char path[4096];

	b->dir = dir;
	snprintf(b->lock, sizeof(b->lock), "%s/locks/1/s1/updates.lock", dir);
	snprintf(b->api, sizeof(b->api), "%s/api.sock", dir);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/target.%d", dir, i + 1);
		b->documents[i] = read_file(path);
	}
	snprintf(path, sizeof(path), "%s/engine.sock", dir);
	b->engine = scripted_engine_new(path, images, on_request, b);
}

static int run(const char *mode, const char *dir, int n, unsigned services, int rest_ms, char **argv)
{
	static struct bench b;
	char path[4096];

	b.rest_ms = rest_ms;
	read_setup(&b, dir);
	write_target(&b, 1);
	child_start(&b.child, argv);
	await_settled(&b, 1);
	if (scripted_engine_running(b.engine) < services)
		die("%u services run, not %u", scripted_engine_running(b.engine), services);
	snprintf(path, sizeof(path), "%s/state/api-key", dir);
	b.key = read_file(path);
	b.key[strcspn(b.key, "\n")] = '\0';
	if (strcmp(mode, "blocked") == 0)
		stay_blocked(&b, n);
	else
		for (int i = 0; i < n; i++)
			if (strcmp(mode, "updates") == 0)
				update_one(&b, i);
			else
				measure_one(&b, i, strcmp(mode, "force") == 0);
	child_stop(&b.child, stdout);
	return 0;
}

/* ---- the floor ---- */

/* As a supervisor with nothing to think about: wait, read the event, look whether the lock is gone, write. */
static void see_and_write(const char *dir, const char *lock, const char *socket)
{
	static const char stop[] =
		"POST /v1.41/containers/0000000000000000000000000000000000000000000000000000000000000001"
		"/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
	int watch = inotify_init1(IN_CLOEXEC), out = unix_connect(socket);
	struct pollfd p = {.fd = watch, .events = POLLIN};
	char events[4096];
	struct stat st;

	if (watch < 0 || out < 0 || inotify_add_watch(watch, dir, IN_CREATE | IN_DELETE) < 0)
		die("the floor's watch: %s", strerror(errno));
	if (write(out, "!", 1) != 1)
		_exit(1);
	while (poll(&p, 1, -1) > 0 && read(watch, events, sizeof(events)) > 0)
		if (lstat(lock, &st) < 0 && write(out, stop, sizeof(stop) - 1) < 0)
			break;
	_exit(0);
}

static int floor_of(const char *dir, int n, int rest_ms)
{
	char socket[4096], lock[4096], text[4096];
	struct bench b = {0};
	int listener, in;
	pid_t pid;

	snprintf(socket, sizeof(socket), "%s/floor.sock", dir);
	snprintf(lock, sizeof(lock), "%s/floor.lock", dir);
	snprintf(b.lock, sizeof(b.lock), "%s", lock);
	listener = unix_listen(socket);
	pid = fork();
	if (pid == 0)
		see_and_write(dir, lock, socket);
	while ((in = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
		pause_us(1000);
	if (read(in, text, 1) != 1)
		die("the floor's child did not begin");
	for (int i = 0; i < n; i++) {
		struct pollfd p = {.fd = in, .events = POLLIN};
		int64_t begin;

		take_lock(&b);
		pause_us(rest_ms * 1000L);
		begin = now_ns();
		unlink(lock);
		if (poll(&p, 1, DEADLINE_MS) <= 0 || read(in, text, sizeof(text)) <= 0)
			die("the floor's child said nothing");
		printf("{\"i\":%d,\"ns\":%" PRId64 "}\n", i, now_ns() - begin);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "floor") == 0)
		return floor_of(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc < 7)
		die("usage: bench_release release|force|blocked|updates DIR N SERVICES REST_MS ARGV... | floor DIR N "
		    "REST_MS");
	return run(argv[1], argv[2], atoi(argv[3]), (unsigned)atoi(argv[4]), atoi(argv[5]), argv + 6);
}
