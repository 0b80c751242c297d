/*
 * A growing byte buffer with a maximum it is created with: what others can fill has a limit. Always NUL-terminated
 * behind `len` once anything was added (`buf_str` gives "" before).
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include <stddef.h>

struct buf {
	char *data;
	size_t len, capacity, max;
	int failed; /* -E2BIG once an append did not fit; stays, and later appends are refused */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_deinit(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory, clears `failed` */
/* Append; 0, or -E2BIG when `max` would be exceeded (nothing is added then). */
int buf_add(struct buf *b, const void *data, size_t len);
int buf_adds(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drop `n` bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/* The text so far, valid until the next change. */
const char *buf_str(const struct buf *b);
/* Hands the memory (NUL-terminated, to be freed by the caller) over; the buffer is empty after. Never NULL. */
char *buf_steal(struct buf *b);

#endif
