/*
 * The log. Lines are put together in memory and leave whole, in one write(2), so that lines of several processes on one
 * pipe do not mix. When a pipe or socket has a reader that does not keep up, lines are dropped and counted, and the
 * count is the next line that gets through.
 */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/json.h"
#include "util/mem.h"
#include "util/str.h"

#define VALUE_MAX_BYTES 4096
#define HELD_MAX_BYTES  262144
#define LINE_MAX_BYTES  262144 /* some 10 values of which every byte is escaped; a longer line is cut and marked */

static struct {
	enum log_level level;
	enum log_format format;
	int fd, own_fd; /* own_fd: one that we opened */
	bool is_socket;
	uint64_t dropped; /* lines since the last that was written */
	bool torn;        /* a line stopped in its middle: end it before the next */
} out = {.level = LOG_LEVEL_INFO, .format = LOG_FORMAT_TEXT, .fd = STDOUT_FILENO, .own_fd = -1};

static struct {
	struct buf lines;
	unsigned depth; /* of log_hold() */
} held;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/*
 * A reader that stalls must not stall us. A pipe is opened anew, because the non-blocking flag belongs to the open file that we
 * may share with others; a socket is asked at each write.
 */
static void set_output(int fd)
{
	char path[32];
	struct stat st = {0};

	if (out.own_fd >= 0)
		close(out.own_fd);
	out.own_fd = -1;
	out.fd = fd;
	out.is_socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	if (out.is_socket || !S_ISFIFO(st.st_mode))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	out.own_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (out.own_fd >= 0)
		out.fd = out.own_fd;
}

void log_setup(enum log_level level, enum log_format format, int fd)
{
	out.level = level;
	out.format = format;
	out.dropped = 0;
	out.torn = false;
	set_output(fd);
}

bool log_enabled(enum log_level level)
{
	return level <= out.level;
}

bool log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; name && i < ARRAY_LEN(level_names); i++) {
		if (strcasecmp(name, level_names[i]) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

bool log_format_parse(const char *name, enum log_format *format)
{
	if (name && strcasecmp(name, "text") == 0)
		*format = LOG_FORMAT_TEXT;
	else if (name && strcasecmp(name, "json") == 0)
		*format = LOG_FORMAT_JSON;
	else
		return false;
	return true;
}

/* -------- one field -------- */

/* Bytes of `s` to print: all, or as many whole characters as fit the limit. */
static size_t value_len(const char *s)
{
	size_t len = strnlen(s, VALUE_MAX_BYTES + 1);

	if (len <= VALUE_MAX_BYTES)
		return len;
	for (len = VALUE_MAX_BYTES; len > VALUE_MAX_BYTES - 4; len--)
		if (((unsigned char)s[len] & 0xC0) != 0x80)
			break;
	return len;
}

/* Can the value stand in text as it is, and be read back? */
static bool is_plain(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)s[i], next = (unsigned char)s[i + 1];
		size_t n = str_utf8_char(s + i, len - i);

		if (n == 0 || c <= ' ' || c == '"' || c == '=' || c == 0x7F || (n == 2 && c == 0xC2 && next < 0xA0))
			return false;
		i += n;
	}
	return len > 0;
}

static void add_str(struct buf *line, const char *s)
{
	size_t len = value_len(s);
	AUTO_FREE char *cut = NULL;

	if (s[len] != '\0') {
		cut = mem_printf("%.*s…", (int)len, s);
		s = cut;
		len = strlen(cut);
	}
	if (out.format == LOG_FORMAT_TEXT && is_plain(s, len))
		buf_add(line, s, len);
	else
		json_quote(line, s, len);
}

static void add_value(struct buf *line, const struct kv *f)
{
	char time_text[STR_TIME_SIZE];

	switch (f->type) {
	case KV_STR:
		add_str(line, f->str);
		break;
	case KV_I64:
		buf_printf(line, "%lld", (long long)f->num);
		break;
	case KV_BOOL:
		buf_adds(line, f->num ? "true" : "false");
		break;
	case KV_TIME:
		add_str(line, str_time(f->num, time_text));
		break;
	case KV_US:
		buf_printf(line, "%.3f", (double)f->num / 1000);
		break;
	case KV_END:
	case KV_SKIP:
		break;
	}
}

/* A field that does not fit leaves the line as it was. */
static void add_field(struct buf *line, const struct kv *f)
{
	size_t before = line->len;

	if (f->type == KV_SKIP)
		return;
	if (out.format == LOG_FORMAT_TEXT)
		buf_printf(line, " %s=", f->key);
	else
		buf_printf(line, ",\"%s\":", f->key);
	add_value(line, f);
	if (line->failed) {
		line->len = before;
		line->failed = 0;
	}
}

/* -------- one line -------- */

static void make_line(struct buf *line, enum log_level level, const char *event, const struct kv *fields)
{
	bool text = out.format == LOG_FORMAT_TEXT;
	char now_text[STR_TIME_SIZE];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	str_time((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, now_text);
	buf_printf(line, text ? "%s %s %s" : "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", now_text,
		   level_names[level], event);
	for (; fields->type != KV_END; fields++)
		add_field(line, fields);
	line->max += 2; /* the end always fits */
	buf_adds(line, text ? "\n" : "}\n");
	line->max -= 2;
}

/* All of it, or what the descriptor takes now. */
static size_t write_bytes(const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = out.is_socket ? send(out.fd, data + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL)
					  : write(out.fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	return done;
}

/* Lines, whole or cut where the descriptor took no more; what it did not take is counted. */
static void write_lines(const char *data, size_t len)
{
	size_t done = 0;

	if (!out.torn || write_bytes("\n", 1) == 1) {
		out.torn = false;
		done = write_bytes(data, len);
		out.torn = done > 0 && data[done - 1] != '\n';
	}
	for (; done < len; done++)
		out.dropped += data[done] == '\n';
}

static void flush(void)
{
	if (held.lines.len)
		write_lines(held.lines.data, held.lines.len);
	buf_clear(&held.lines);
}

void log_hold(void)
{
	if (held.depth++ == 0)
		buf_init(&held.lines, HELD_MAX_BYTES);
}

void log_release(void)
{
	if (--held.depth)
		return;
	flush();
	buf_deinit(&held.lines);
}

/* The line that tells of lost ones goes first, and only if it goes itself does another follow. */
static bool tell_dropped(struct buf *line)
{
	struct kv lost[] = {kv_i64("count", (int64_t)out.dropped), {.type = KV_END}};
	size_t dropped = out.dropped;

	make_line(line, LOG_LEVEL_WARN, "log_lines_dropped", lost);
	out.dropped = 0;
	write_lines(line->data, line->len);
	buf_clear(line);
	if (!out.dropped)
		return true;
	out.dropped = dropped;
	return false;
}

void log_write(enum log_level level, const char *event, const struct kv *fields)
{
	int saved = errno; /* a log line between a failure and its report changes nothing */
	struct buf line;

	buf_init(&line, LINE_MAX_BYTES);
	if (out.dropped)
		flush();
	if (out.dropped && !tell_dropped(&line)) {
		out.dropped++;
	} else {
		make_line(&line, level, event, fields);
		if (!held.depth) {
			write_lines(line.data, line.len);
		} else if (buf_add(&held.lines, line.data, line.len) < 0) {
			flush();
			buf_add(&held.lines, line.data, line.len);
		}
	}
	buf_deinit(&line);
	errno = saved;
}
