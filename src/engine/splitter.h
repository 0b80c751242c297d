/*
 * Cuts a byte stream into JSON messages. The engine ends each with a newline, but concatenated ones are cut too. A
 * newline always ends a message, so a broken one never hides its successors.
 */
#ifndef ENGINE_SPLITTER_H
#define ENGINE_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"

#define SPLITTER_MAX_BYTES (1u << 20)

struct splitter {
	struct buf kept; /* the begun message; empty while messages arrive whole */
	size_t max, depth;
	bool in_string, escaped, too_long;
};

/* One message, not NUL-terminated, maybe malformed; NULL: one of more than `max` bytes was dropped. Non-zero ends the
 * feed with that value. */
typedef int splitter_fn(void *ctx, const char *text, size_t len);

void splitter_init(struct splitter *s, size_t max_bytes);
void splitter_deinit(struct splitter *s);
int splitter_feed(struct splitter *s, const char *data, size_t len, splitter_fn *fn, void *ctx);
/* Has a message begun that did not end? */
bool splitter_is_inside(const struct splitter *s);

#endif
