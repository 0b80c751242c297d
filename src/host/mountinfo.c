/* Fields of a line: id, parent, major:minor, root, mount point, options, any number of tags, "-", type, source, options
 * of the file system. Blanks and backslashes in them are written \ooo. */
#include "host/mountinfo.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "util/mem.h"
#include "util/str.h"

#define FIELDS_BEFORE_TAGS 6

struct field {
	const char *at;
	size_t len;
};

/* The next field of a line that ends at `end`; false at its end, or where two blanks follow each other. */
static bool next_field(const char **at, const char *end, struct field *out)
{
	const char *blank;

	if (*at >= end)
		return false;
	blank = memchr(*at, ' ', (size_t)(end - *at));
	out->at = *at;
	out->len = (size_t)((blank ? blank : end) - *at);
	*at = blank ? blank + 1 : end;
	return out->len > 0;
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

static char *unescaped(const struct field *f)
{
	char *text = mem_new(f->len + 1, 1);
	size_t n = 0;

	for (size_t i = 0; i < f->len; i++) {
		const char *s = f->at + i;
		int byte = 0;

		if (*s == '\\' && f->len - i > 3 && s[1] <= '3' && is_octal(s[1]) && is_octal(s[2]) && is_octal(s[3]))
			byte = (s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0');
		text[n++] = byte ? (char)byte : *s;
		i += byte ? 3 : 0;
	}
	return text;
}

static bool device_number(const struct field *f, dev_t *out)
{
	AUTO_FREE char *text = mem_strndup(f->at, f->len);
	char *colon = strchr(text, ':');
	int64_t high, low;

	if (!colon)
		return false;
	*colon = '\0';
	if (!str_to_i64(text, 0, UINT32_MAX, &high) || !str_to_i64(colon + 1, 0, UINT32_MAX, &low))
		return false;
	*out = makedev((unsigned)high, (unsigned)low);
	return true;
}

bool mount_line_parse(const char *line, unsigned long len, struct mount_line *out)
{
	const char *at = line, *end = line + len;
	struct field fields[FIELDS_BEFORE_TAGS], tag, type, source;

	*out = (struct mount_line){0};
	if (memchr(line, '\0', len))
		return false;
	for (size_t i = 0; i < FIELDS_BEFORE_TAGS; i++)
		if (!next_field(&at, end, &fields[i]))
			return false;
	do {
		if (!next_field(&at, end, &tag))
			return false;
	} while (tag.len != 1 || tag.at[0] != '-');
	if (!next_field(&at, end, &type) || !next_field(&at, end, &source) || fields[4].at[0] != '/' ||
	    !device_number(&fields[2], &out->dev))
		return false;
	out->point = unescaped(&fields[4]);
	out->type = unescaped(&type);
	out->source = unescaped(&source);
	return true;
}

void mount_line_deinit(struct mount_line *m)
{
	free(m->point);
	free(m->type);
	free(m->source);
	*m = (struct mount_line){0};
}

bool mountinfo_find(const char *table, const char *point, struct mount_line *out)
{
	const char *last = NULL;
	size_t last_len = 0, len;

	for (const char *line = table; *line; line += len + (line[len] == '\n')) {
		struct mount_line m;

		len = strcspn(line, "\n");
		if (mount_line_parse(line, len, &m) && !strcmp(m.point, point)) {
			last = line;
			last_len = len;
		}
		mount_line_deinit(&m);
	}
	return last && mount_line_parse(last, last_len, out);
}
