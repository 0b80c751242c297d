/* Text for people; see text.h. */
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop/loop.h"
#include "util/mem.h"
#include "util/str.h"

bool text_wants_colours(int fd)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fd) && !(no_color && *no_color) && !str_eq(term, "dumb");
}

const char *text_on(bool colours, enum text_style style)
{
	static const char *const codes[] = {
		[TEXT_PLAIN] = "",        [TEXT_BOLD] = "\033[1m",  [TEXT_DIM] = "\033[2m",
		[TEXT_GOOD] = "\033[32m", [TEXT_BUSY] = "\033[33m", [TEXT_BAD] = "\033[31m",
	};

	return colours ? codes[style] : "";
}

const char *text_off(bool colours, enum text_style style)
{
	return colours && style != TEXT_PLAIN ? "\033[0m" : "";
}

char *text_clean(const char *s)
{
	char *copy = mem_strdup(s ? s : "-");

	for (unsigned char *p = (unsigned char *)copy; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
		else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?'; /* C1 controls, as UTF-8 */
	}
	return copy;
}

const char *text_span(int64_t ms, char out[TEXT_SPAN_SIZE])
{
	long long s = ms > 0 ? ms / 1000 : 0;

	if (s < 60)
		snprintf(out, TEXT_SPAN_SIZE, "%lld s", s);
	else if (s < 3600)
		snprintf(out, TEXT_SPAN_SIZE, "%lld min", s / 60);
	else if (s < 86400)
		snprintf(out, TEXT_SPAN_SIZE, "%lld h %lld min", s / 3600, s / 60 % 60);
	else
		snprintf(out, TEXT_SPAN_SIZE, "%lld d %lld h", s / 86400, s / 3600 % 24);
	return out;
}

const char *text_ago(const char *time, char out[TEXT_SPAN_SIZE])
{
	int64_t ms;

	if (!time || !str_parse_time(time, &ms))
		return "-";
	return text_span(loop_wall_ms() - ms, out);
}

void table_init(struct table *t, size_t columns)
{
	*t = (struct table){.columns = columns};
}

void table_add(struct table *t, enum text_style style, const char *text)
{
	mem_reserve(&t->cells, &t->capacity, t->n + 1, sizeof(*t->cells));
	t->cells[t->n++] = (struct table_cell){text_clean(text), style};
}

/* Characters, not bytes: continuation bytes of UTF-8 take no column. */
static int width(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void table_print(const struct table *t, FILE *to, const char *indent, bool colours)
{
	AUTO_FREE int *widths = mem_new(t->columns, sizeof(*widths));

	for (size_t i = 0; i < t->n; i++) {
		int w = width(t->cells[i].text);

		if (w > widths[i % t->columns])
			widths[i % t->columns] = w;
	}
	for (size_t i = 0; i < t->n; i++) {
		const struct table_cell *c = &t->cells[i];
		bool last = (i + 1) % t->columns == 0 || i + 1 == t->n;

		fprintf(to, "%s%s%s%s", i % t->columns ? "  " : indent, text_on(colours, c->style), c->text,
			text_off(colours, c->style));
		if (last)
			fputc('\n', to);
		else
			fprintf(to, "%*s", widths[i % t->columns] - width(c->text), "");
	}
}

void table_deinit(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i].text);
	free(t->cells);
	*t = (struct table){0};
}
