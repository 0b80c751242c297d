/*
 * What the content of a lock file says of its holder. Anybody may have written it, so it is a claim of a form: a bare
 * number as many tools write it, or two lines of our own tool. Anything else says nothing. And anything may be at the
 * path: only a regular file is ever opened for reading.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/holder.h"
#include "lock/root.h"
#include "util/buf.h"
#include "util/mem.h"
#include "util/str.h"

#define TOOL_LINE "update-lock 1 "
#define PID_LIMIT 4194304 /* PID_MAX_LIMIT of the kernel */

/* Digits, perhaps blanks around them (some tools pad) and a NUL behind (some write their buffer). 0: no pid. */
static int64_t parse_pid(const char *s, size_t len)
{
	int64_t pid = 0;

	while (len && (s[0] == ' ' || s[0] == '\t'))
		s++, len--;
	while (len && memchr(" \t\r\n", s[len - 1], sizeof(" \t\r\n")))
		len--;
	if (len == 0 || len > 7)
		return 0;
	for (; len; s++, len--) {
		if (*s < '0' || *s > '9')
			return 0;
		pid = pid * 10 + (*s - '0');
	}
	return pid <= PID_LIMIT ? pid : 0;
}

char *holder_escape(const char *text, size_t len)
{
	static const char replacement[] = "\xef\xbf\xbd";
	struct buf b;

	buf_init(&b, len * 4 + 16);
	for (size_t i = 0, n; i < len; i += n) {
		unsigned char c = (unsigned char)text[i];

		n = str_utf8_char(text + i, len - i);
		if (n == 0) {
			buf_adds(&b, replacement);
			n = 1;
		} else if (c < 0x20 || c == 0x7f) {
			buf_printf(&b, "\\x%02x", c);
		} else if (n == 2 && c == 0xc2 && (unsigned char)text[i + 1] < 0xa0) { /* C1 controls */
			buf_printf(&b, "\\x%02x", (unsigned char)text[i + 1]);
		} else {
			buf_add(&b, text + i, n);
		}
	}
	return buf_steal(&b);
}

static char *parse_reason(const char *s, size_t len)
{
	const char *end = memchr(s, '\n', len);

	if (end)
		len = (size_t)(end - s);
	if (len && s[len - 1] == '\r')
		len--;
	if (len > HOLDER_REASON_MAX)
		for (len = HOLDER_REASON_MAX; ((unsigned char)s[len] & 0xc0) == 0x80 && len > HOLDER_REASON_MAX - 4;)
			len--; /* between two characters */
	return len ? holder_escape(s, len) : NULL;
}

void holder_content_parse(const char *text, size_t len, struct holder_content *out)
{
	size_t prefix = strlen(TOOL_LINE);
	const char *end;

	*out = (struct holder_content){0};
	if (len < prefix || memcmp(text, TOOL_LINE, prefix) != 0) {
		out->pid = parse_pid(text, len);
		return;
	}
	end = memchr(text, '\n', len);
	out->pid = parse_pid(text + prefix, (end ? (size_t)(end - text) : len) - prefix);
	if (end)
		out->reason = parse_reason(end + 1, len - (size_t)(end + 1 - text));
}

/* -------- the file -------- */

/* Its directory (O_PATH), no link in any component. */
static int open_dir(const struct holder_question *q)
{
	AUTO_FREE char *path = mem_strdup(q->below);
	int fd = -1, next = -1;

	if (lock_dir_at_path(q->root_fd, q->below, &fd) == 0)
		return fd;
	for (char *save, *part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		int rc = lock_dir_at(fd < 0 ? q->root_fd : fd, part, O_PATH, &next);

		if (fd >= 0)
			close(fd);
		if (rc < 0)
			return -1;
		fd = next;
	}
	return fd;
}

/*
 * The file is looked at before it is opened for reading, and it is that very file that is opened then: what somebody
 * puts in its place meanwhile (a FIFO, a device) is never opened, so nothing hangs and no device notices.
 */
static void read_content(const struct holder_question *q, int file_fd, struct holder_content *out)
{
	char path[32], text[HOLDER_CONTENT_MAX];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file_fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != q->ino || st.st_dev != q->dev)
		return;
	n = pread(fd, text, sizeof(text), 0);
	if (n > 0)
		holder_content_parse(text, (size_t)n, out);
}

bool holder_file_read(const struct holder_question *q, struct holder_content *out)
{
	AUTO_CLOSE int dir_fd = open_dir(q), file_fd = -1;
	struct stat st;

	*out = (struct holder_content){0};
	if (dir_fd < 0)
		return false;
	file_fd = openat(dir_fd, q->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (file_fd < 0 || fstat(file_fd, &st) < 0 || st.st_ino != q->ino || st.st_dev != q->dev)
		return false;
	if (S_ISREG(st.st_mode))
		read_content(q, file_fd, out);
	return true;
}
