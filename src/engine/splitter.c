/*
 * Message boundaries are found without parsing: strings, escapes and nesting are all that matters. What arrives whole
 * is handed on from the caller's bytes; only a message cut by a read is copied, and never more than the limit of it.
 */
#include "engine/splitter.h"

#include <string.h>

void splitter_init(struct splitter *s, size_t max_bytes)
{
	*s = (struct splitter){.max = max_bytes};
	buf_init(&s->kept, max_bytes);
}

void splitter_deinit(struct splitter *s)
{
	buf_deinit(&s->kept);
}

/* Moves past one byte; true when it ends a message. */
static bool splitter_ends(struct splitter *s, char c)
{
	if (c == '\n') { /* illegal inside a string, and the engine never breaks lines between tokens */
		s->in_string = s->escaped = false;
		s->depth = 0;
		return true;
	}
	if (s->in_string) {
		if (s->escaped)
			s->escaped = false;
		else if (c == '\\')
			s->escaped = true;
		else if (c == '"')
			s->in_string = false;
		return false;
	}
	switch (c) {
	case '"':
		s->in_string = true;
		return false;
	case '{':
	case '[':
		s->depth++;
		return false;
	case '}':
	case ']':
		return s->depth > 0 && --s->depth == 0;
	default:
		return false;
	}
}

static void splitter_keep(struct splitter *s, const char *data, size_t len)
{
	if (s->too_long || len == 0)
		return;
	if (len > s->max - s->kept.len) {
		s->too_long = true;
		buf_deinit(&s->kept);
		buf_init(&s->kept, s->max);
		return;
	}
	buf_add(&s->kept, data, len);
}

static bool is_blank(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r\n", text[i]) || text[i] == '\0')
			return false;
	return true;
}

static int splitter_emit(struct splitter *s, const char *data, size_t len, splitter_fn *fn, void *ctx)
{
	int r = 0;

	if (s->kept.len > 0 || s->too_long || len > s->max) {
		splitter_keep(s, data, len);
		data = buf_str(&s->kept);
		len = s->kept.len;
	}
	if (s->too_long)
		r = fn(ctx, NULL, 0);
	else if (!is_blank(data, len))
		r = fn(ctx, data, len);
	s->too_long = false;
	buf_clear(&s->kept);
	return r;
}

int splitter_feed(struct splitter *s, const char *data, size_t len, splitter_fn *fn, void *ctx)
{
	size_t from = 0;

	for (size_t i = 0; i < len; i++) {
		int r;

		if (!splitter_ends(s, data[i]))
			continue;
		r = splitter_emit(s, data + from, i + 1 - from, fn, ctx);
		from = i + 1;
		if (r)
			return r;
	}
	splitter_keep(s, data + from, len - from);
	return 0;
}

bool splitter_is_inside(const struct splitter *s)
{
	return s->too_long || !is_blank(s->kept.data, s->kept.len);
}
