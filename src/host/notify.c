/*
 * The protocol is lines of NAME=value in one datagram. What is to be said is kept as a few facts (ready, ping, the
 * sentence) until the kernel took it, so that a manager whose queue is full hears it a second later instead of never.
 * The socket is not connected: each datagram goes to the name, as the manager may make the socket anew.
 */
#include "host/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

#define SPACING_MS         1000
#define DATAGRAM_MAX_BYTES 1024

struct notify {
	struct notify_options o;
	int fd;
	struct sockaddr_un address;
	socklen_t address_len;
	int64_t ping_ms; /* 0: no watchdog */
	struct loop_timer spacing, watchdog;
	char *told; /* the sentence that the manager has */
	bool is_ready, ready_pending, ping_pending, changed;
	unsigned open; /* timers not closed yet */
};

/* ---- what we were started with ---- */

static int parse_address(const char *name, struct notify *n, struct err *err)
{
	size_t len = strlen(name);

	if (*name != '/' && *name != '@')
		return err_set(err, -EAFNOSUPPORT, "NOTIFY_SOCKET: neither a path nor an abstract name: %.100s", name);
	if (len < 2 || len >= sizeof(n->address.sun_path))
		return err_set(err, -ENAMETOOLONG, "NOTIFY_SOCKET: %zu bytes, expected 2 to %zu", len,
			       sizeof(n->address.sun_path) - 1);
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, name, len);
	n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (*name == '@')
		n->address.sun_path[0] = '\0';
	else
		n->address_len++; /* the NUL of a path; in an abstract name it would be part of it */
	return 0;
}

/* Half of what the manager allows; 0: it does not want to be pinged by us. */
static int64_t read_watchdog(struct err *err)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t value, owner;

	if (!usec)
		return 0;
	if (pid && !str_to_i64(pid, 1, INT32_MAX, &owner)) {
		err_set(err, -EINVAL, "WATCHDOG_PID: '%.40s' is no process id; no watchdog", pid);
		return 0;
	}
	if (pid && owner != getpid()) /* meant for the one who started us */
		return 0;
	if (!str_to_i64(usec, 1, INT64_MAX - 1, &value)) {
		err_set(err, -EINVAL, "WATCHDOG_USEC: '%.40s' is no number of microseconds; no watchdog", usec);
		return 0;
	}
	return value < 2000 ? 1 : value / 2000;
}

/* ---- sending ---- */

/* A line feed would begin another assignment, and the manager refuses what is not UTF-8. */
static void add_clean(struct buf *b, const char *s)
{
	size_t left = strlen(s), end = b->len + NOTIFY_STATUS_MAX_BYTES;

	while (left) {
		size_t n = str_utf8_char(s, left);
		bool good = n > 1 || (n == 1 && (unsigned char)*s >= ' ' && *s != 0x7f);

		if (!n)
			n = 1;
		if (b->len + n > end)
			return;
		buf_add(b, good ? s : "?", good ? n : 1);
		s += n;
		left -= n;
	}
}

/* False: the manager's queue is full, so it is worth another try. What fails otherwise fails again. */
static bool send_text(struct notify *n, const struct buf *b)
{
	int err = 0;

	if (sendto(n->fd, b->data, b->len, MSG_NOSIGNAL, (const struct sockaddr *)&n->address, n->address_len) < 0)
		err = errno;
	if (err)
		log_debug("notify_failed", kv_str("err", strerror(err)));
	return err != EAGAIN && err != ENOBUFS;
}

/* Everything that is pending, in one datagram. */
static void flush(struct notify *n)
{
	AUTO_FREE char *now = n->changed ? n->o.status(n->o.ctx) : NULL;
	bool differs = now && !str_eq(now, n->told);
	struct buf b;

	n->changed = false;
	if (!n->ready_pending && !n->ping_pending && !differs)
		return;
	buf_init(&b, DATAGRAM_MAX_BYTES);
	if (n->ready_pending)
		buf_adds(&b, "READY=1\n");
	if (n->ping_pending)
		buf_adds(&b, "WATCHDOG=1\n");
	if (differs) {
		buf_adds(&b, "STATUS=");
		add_clean(&b, now);
		buf_adds(&b, "\n");
	}
	if (send_text(n, &b)) {
		n->ready_pending = n->ping_pending = false;
		if (differs) {
			free(n->told);
			n->told = STEAL(now);
		}
	} else {
		n->changed = true;
	}
	buf_deinit(&b);
	if (differs || n->changed) /* a ping alone does not wake us twice */
		loop_timer_start(&n->spacing, SPACING_MS);
}

static void on_spacing_over(void *ctx)
{
	flush(ctx);
}

static void on_ping_due(void *ctx)
{
	struct notify *n = ctx;

	loop_timer_start(&n->watchdog, n->ping_ms);
	n->changed = true; /* that we are not healthy shows, though nothing happened */
	n->ping_pending = n->o.healthy(n->o.ctx);
	flush(n);
}

/* ---- life ---- */

struct notify *notify_new(const struct notify_options *o, struct err *err)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct notify *n = NULL;

	if (name && *name) {
		n = mem_new(1, sizeof(*n));
		n->o = *o;
		if (parse_address(name, n, err) < 0) {
			free(STEAL(n));
		} else if ((n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0) {
			err_sys(err, "NOTIFY_SOCKET: make a socket");
			free(STEAL(n));
		}
	}
	if (n) {
		n->ping_ms = read_watchdog(err);
		loop_timer_init(o->loop, &n->spacing, on_spacing_over, n);
		loop_timer_init(o->loop, &n->watchdog, on_ping_due, n);
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return n;
}

void notify_ready(struct notify *n)
{
	if (!n || n->is_ready)
		return;
	n->is_ready = n->ready_pending = n->changed = true;
	if (n->ping_ms)
		loop_timer_start(&n->watchdog, n->ping_ms);
	flush(n);
}

void notify_changed(struct notify *n)
{
	if (!n || !n->is_ready)
		return;
	n->changed = true;
	if (!loop_timer_active(&n->spacing))
		flush(n);
}

void notify_stopping(struct notify *n, const char *why)
{
	struct buf b;

	if (!n)
		return;
	n->is_ready = n->ready_pending = n->ping_pending = n->changed = false;
	loop_timer_stop(&n->spacing);
	loop_timer_stop(&n->watchdog);
	buf_init(&b, DATAGRAM_MAX_BYTES);
	buf_adds(&b, "STOPPING=1\nSTATUS=");
	add_clean(&b, why);
	buf_adds(&b, "\n");
	send_text(n, &b);
	buf_deinit(&b);
}

static void on_timer_closed(void *ctx)
{
	struct notify *n = ctx;

	if (--n->open)
		return;
	free(n->told);
	free(n);
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	close(n->fd);
	n->open = 2;
	loop_timer_deinit(&n->spacing, on_timer_closed, n);
	loop_timer_deinit(&n->watchdog, on_timer_closed, n);
}
