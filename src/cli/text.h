/*
 * Text for people: columns, colours (only where somebody looks at them), spans of time. Strings that come from outside
 * lose their control characters here: a service name must not steer a terminal.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum text_style { TEXT_PLAIN, TEXT_BOLD, TEXT_DIM, TEXT_GOOD, TEXT_BUSY, TEXT_BAD };

/* On: a terminal, and neither NO_COLOR nor TERM=dumb. */
bool text_wants_colours(int fd);
/* The start of a style and its end; "" when `colours` is off or the style is plain. */
const char *text_on(bool colours, enum text_style style);
const char *text_off(bool colours, enum text_style style);
/* A copy without control characters ('?' instead); NULL gives "-". Caller frees. */
char *text_clean(const char *s);
/* "12 s", "5 min", "2 h 10 min", "3 d 4 h". Negative: "0 s". */
#define TEXT_SPAN_SIZE 32
const char *text_span(int64_t ms, char out[TEXT_SPAN_SIZE]);
/* How long ago an RFC 3339 time was; "-" if it is none. */
const char *text_ago(const char *time, char out[TEXT_SPAN_SIZE]);

struct table_cell {
	char *text;
	enum text_style style;
};
struct table {
	size_t columns;
	struct table_cell *cells; /* row by row */
	size_t n, capacity;
};
void table_init(struct table *t, size_t columns);
void table_add(struct table *t, enum text_style style, const char *text); /* cleaned and copied; "" stays empty */
/* Columns as wide as their widest cell, two blanks between; a last row that is not full is fine. */
void table_print(const struct table *t, FILE *to, const char *indent, bool colours);
void table_deinit(struct table *t);

#endif
