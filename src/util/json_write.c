/*
 * Writing JSON: compact text straight into a bounded buffer. The writer keeps one byte a level, enough to place commas
 * and to notice calls that would not give a document; those are bugs, and abort.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/json.h"
#include "util/json_value.h"
#include "util/mem.h"
#include "util/str.h"

#define WRITER_DEPTH_MAX 255 /* our own documents, with parsed ones (JSON_DEPTH_MAX) inside */

enum level {
	AT_START,     /* nothing written yet: one value may come */
	AT_END,       /* the document is complete */
	ARRAY_EMPTY,  /* "[" */
	ARRAY_MORE,   /* a value stands before */
	OBJECT_EMPTY, /* "{" */
	OBJECT_MORE,  /* a member stands before */
	OBJECT_VALUE, /* a key stands before */
};

struct json_writer {
	struct buf *to;
	unsigned depth;
	unsigned char level[WRITER_DEPTH_MAX + 1]; /* enum level; [0] is the document */
};

/* -------- strings -------- */

/* How the byte is written inside a string: NULL if as it is. */
static const char *escape(unsigned char c, char hex[7])
{
	static const char digits[] = "0123456789abcdef";

	switch (c) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\b':
		return "\\b";
	case '\f':
		return "\\f";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	default:
		if (c >= 0x20 && c < 0x7F)
			return NULL;
		memcpy(hex, "\\u00", 4);
		hex[4] = digits[c >> 4];
		hex[5] = digits[c & 15];
		hex[6] = '\0';
		return hex;
	}
}

void json_quote(struct buf *to, const char *s, size_t len)
{
	size_t plain = 0, i = 0; /* what stands in [plain, i) needs no change */
	char hex[7];

	buf_add(to, "\"", 1);
	while (i < len) {
		const unsigned char *u = (const unsigned char *)s + i;
		const char *instead;
		size_t n = str_utf8_char(s + i, len - i), skip = n ? n : 1;

		if (n == 0)
			instead = "\xEF\xBF\xBD"; /* U+FFFD */
		else if (n == 1)
			instead = escape(*u, hex);
		else if (n == 2 && u[0] == 0xC2 && u[1] < 0xA0)
			instead = escape(u[1], hex); /* U+0080 to U+009F steer terminals */
		else
			instead = NULL;
		if (instead) {
			buf_add(to, s + plain, i - plain);
			buf_adds(to, instead);
			plain = i + skip;
		}
		i += skip;
	}
	buf_add(to, s + plain, i - plain);
	buf_add(to, "\"", 1);
}

/* -------- structure -------- */

struct json_writer *json_writer_new(struct buf *to)
{
	struct json_writer *w = mem_new(1, sizeof(*w));

	w->to = to;
	return w;
}

void json_writer_free(struct json_writer *w)
{
	free(w);
}

/* A value may stand here, after a comma if need be; the level is moved past it. */
static void begin_value(struct json_writer *w)
{
	unsigned char *level = &w->level[w->depth];

	switch ((enum level) * level) {
	case AT_START:
		*level = AT_END;
		break;
	case ARRAY_MORE:
		buf_add(w->to, ",", 1);
		break;
	case ARRAY_EMPTY:
		*level = ARRAY_MORE;
		break;
	case OBJECT_VALUE:
		*level = OBJECT_MORE;
		break;
	case AT_END:
	case OBJECT_EMPTY:
	case OBJECT_MORE:
		abort();
	}
}

static void open_container(struct json_writer *w, enum level level, const char *bracket)
{
	begin_value(w);
	if (w->depth == WRITER_DEPTH_MAX)
		abort();
	w->level[++w->depth] = (unsigned char)level;
	buf_add(w->to, bracket, 1);
}

static void close_container(struct json_writer *w, enum level empty, enum level more, const char *bracket)
{
	if (w->level[w->depth] != empty && w->level[w->depth] != more)
		abort();
	w->depth--;
	buf_add(w->to, bracket, 1);
}

void json_open_object(struct json_writer *w)
{
	open_container(w, OBJECT_EMPTY, "{");
}

void json_close_object(struct json_writer *w)
{
	close_container(w, OBJECT_EMPTY, OBJECT_MORE, "}");
}

void json_open_array(struct json_writer *w)
{
	open_container(w, ARRAY_EMPTY, "[");
}

void json_close_array(struct json_writer *w)
{
	close_container(w, ARRAY_EMPTY, ARRAY_MORE, "]");
}

void json_key(struct json_writer *w, const char *key)
{
	unsigned char *level = &w->level[w->depth];

	if (*level == OBJECT_MORE)
		buf_add(w->to, ",", 1);
	else if (*level != OBJECT_EMPTY)
		abort();
	*level = OBJECT_VALUE;
	json_quote(w->to, key, strlen(key));
	buf_add(w->to, ":", 1);
}

/* -------- values -------- */

void json_add_null(struct json_writer *w)
{
	begin_value(w);
	buf_adds(w->to, "null");
}

void json_add_str(struct json_writer *w, const char *s)
{
	if (!s) {
		json_add_null(w);
		return;
	}
	begin_value(w);
	json_quote(w->to, s, strlen(s));
}

void json_add_i64(struct json_writer *w, int64_t n)
{
	begin_value(w);
	buf_printf(w->to, "%lld", (long long)n);
}

/* The shortest of the precisions that reads back as the same number. */
void json_add_double(struct json_writer *w, double n)
{
	char text[40];

	if (!isfinite(n)) { /* JSON has no word for it */
		json_add_null(w);
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, n);
		if (!(strtod(text, NULL) < n) && !(strtod(text, NULL) > n))
			break;
	}
	begin_value(w);
	buf_adds(w->to, text);
}

void json_add_bool(struct json_writer *w, bool b)
{
	begin_value(w);
	buf_adds(w->to, b ? "true" : "false");
}

/* One that is no container. `max`: bytes of a string of interest. */
static void add_scalar(struct json_writer *w, const struct json *v, size_t max)
{
	switch (json_type(v)) {
	case JSON_STRING:
		begin_value(w);
		json_quote(w->to, v->text, v->n < max ? v->n : max);
		break;
	case JSON_NUMBER:
		begin_value(w);
		buf_adds(w->to, v->text);
		break;
	case JSON_BOOL:
		json_add_bool(w, v->n);
		break;
	default:
		json_add_null(w);
	}
}

/* Recursion is bounded: a parsed tree is at most JSON_DEPTH_MAX deep. Stops once more than `max` bytes are written. */
static void add_value(struct json_writer *w, const struct json *v, size_t max)
{
	if (json_is(v, JSON_OBJECT)) {
		json_open_object(w);
		for (size_t i = 0; i < v->n && w->to->len <= max; i++) {
			json_key(w, v->object->members[i].key);
			add_value(w, &v->object->members[i].value, max);
		}
		json_close_object(w);
	} else if (json_is(v, JSON_ARRAY)) {
		json_open_array(w);
		for (size_t i = 0; i < v->n && w->to->len <= max; i++)
			add_value(w, &v->elements[i], max);
		json_close_array(w);
	} else {
		add_scalar(w, v, max);
	}
}

void json_add_value(struct json_writer *w, const struct json *v)
{
	add_value(w, v, SIZE_MAX);
}

void json_print(const struct json *v, struct buf *to, size_t max)
{
	struct json_writer w = {0};
	struct buf text;

	buf_init(&text, SIZE_MAX);
	w.to = &text;
	add_value(&w, v, max);
	if (text.len > max) {
		size_t cut = max;

		while (cut > 0 && ((unsigned char)text.data[cut] & 0xC0) == 0x80)
			cut--; /* not inside a character */
		buf_add(to, text.data, cut);
		buf_adds(to, "…");
	} else {
		buf_add(to, text.data, text.len);
	}
	buf_deinit(&text);
}

/* -------- members -------- */

void json_kv_str(struct json_writer *w, const char *key, const char *s)
{
	json_key(w, key);
	json_add_str(w, s);
}

void json_kv_i64(struct json_writer *w, const char *key, int64_t n)
{
	json_key(w, key);
	json_add_i64(w, n);
}

void json_kv_bool(struct json_writer *w, const char *key, bool b)
{
	json_key(w, key);
	json_add_bool(w, b);
}

void json_kv_null(struct json_writer *w, const char *key)
{
	json_key(w, key);
	json_add_null(w);
}
