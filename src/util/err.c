/*
 * Errors as values. Text is formatted beside the target first, so that a message may quote the one it replaces, and cut
 * between characters: half a character would make the JSON around it invalid.
 */
#include "util/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drop an incomplete UTF-8 sequence from the end of a text that was cut. */
static void trim_cut(char *s)
{
	size_t len = strlen(s), lead = len;

	while (lead > 0 && len - lead < 3 && ((unsigned char)s[lead - 1] & 0xC0) == 0x80)
		lead--;
	if (lead > 0) {
		unsigned char c = (unsigned char)s[lead - 1];
		size_t want = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;

		if (want > 1 && len - (lead - 1) < want)
			s[lead - 1] = '\0';
	}
}

static void format(char *to, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(to, size, fmt, ap);

	if (n < 0)
		to[0] = '\0';
	else if ((size_t)n >= size)
		trim_cut(to);
}

static void join(struct err *err, const char *front, const char *back)
{
	int n = snprintf(err->msg, sizeof(err->msg), "%s: %s", front, back);

	if (n >= (int)sizeof(err->msg))
		trim_cut(err->msg);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	format(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	memcpy(err->msg, msg, sizeof(msg));
	err->code = code;
	return code;
}

int err_sys(struct err *err, const char *fmt, ...)
{
	int no = errno ? errno : EIO; /* a caller that lost errno still reports a failure */
	const char *words = strerrordesc_np(no);
	char msg[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	format(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	join(err, msg, words ? words : "Unknown error");
	err->code = -no;
	return err->code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char front[sizeof(err->msg)], back[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	format(front, sizeof(front), fmt, ap);
	va_end(ap);
	memcpy(back, err->msg, sizeof(back));
	join(err, front, back);
	return err->code;
}
