/* Strings, lists of strings, and small string maps. `char *` members are owned by the struct, NULL-safe throughout. */
#ifndef UTIL_STR_H
#define UTIL_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* The first `len` bytes of `s` without white space at both ends; NULL if nothing is left. Caller frees. */
char *str_trimmed(const char *s, size_t len);
/* 1, true, on (any case): the reference's idea of truth in labels and variables. NULL is false. */
bool str_truthy(const char *s);
/* Whole string as a decimal number within [min, max]; false leaves *out alone. */
bool str_to_i64(const char *s, int64_t min, int64_t max, int64_t *out);
/* Is `s` valid UTF-8? On false, *bad_offset is the first offending byte. */
bool str_is_utf8(const char *s, size_t len, size_t *bad_offset);
/* Bytes of the well-formed UTF-8 character at `s` (of which `left` bytes may be read); 0 if there is none. */
size_t str_utf8_char(const char *s, size_t left);
/* CRC-32 (IEEE, as zlib's), for derived ids. */
uint32_t str_crc32(const char *s);
/* `n` random bytes from the kernel as 2n lower-case hex digits plus NUL. Aborts if the kernel has none. */
void str_random_hex(char *out, size_t n_bytes);
/* Equal in time that depends on the lengths only. */
bool str_eq_constant_time(const char *a, const char *b);
/* Wall-clock milliseconds as RFC 3339 UTC with ms: "2026-01-02T03:04:05.678Z" (24 characters and NUL). */
#define STR_TIME_SIZE 32
const char *str_time(int64_t unix_ms, char out[STR_TIME_SIZE]);
/* RFC 3339 (any fraction, Z or offset) to Unix ms; false if it is not one. */
bool str_parse_time(const char *s, int64_t *unix_ms);

struct strv {
	char **v;
	size_t n, capacity;
};
void strv_add(struct strv *l, const char *s);
void strv_take(struct strv *l, char *s); /* takes ownership */
bool strv_has(const struct strv *l, const char *s);
void strv_copy(struct strv *to, const struct strv *from); /* `to` is empty before */
void strv_sort(struct strv *l);
bool strv_eq(const struct strv *a, const struct strv *b);     /* in order */
char *strv_join(const struct strv *l, const char *separator); /* caller frees; never NULL */
void strv_deinit(struct strv *l);

/* String -> string, kept sorted by key; a second set replaces. */
struct strmap_entry {
	char *key, *value;
};
struct strmap {
	struct strmap_entry *v;
	size_t n, capacity;
};
void strmap_set(struct strmap *m, const char *key, const char *value);
void strmap_set_default(struct strmap *m, const char *key, const char *value); /* only if absent */
const char *strmap_get(const struct strmap *m, const char *key);               /* NULL if absent */
void strmap_unset(struct strmap *m, const char *key);
void strmap_copy(struct strmap *to, const struct strmap *from); /* `to` is empty before */
bool strmap_eq(const struct strmap *a, const struct strmap *b);
void strmap_deinit(struct strmap *m);

#endif
