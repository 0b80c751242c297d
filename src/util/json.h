/*
 * JSON in and out; the only door to yajl. Reading checks size, depth, UTF-8, duplicate keys and embedded NULs while
 * parsing, before a deeper tree exists. Trees are immutable; every string they give is borrowed and NUL-terminated.
 */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/err.h"

#define JSON_DEPTH_MAX 64

/* The version of yajl in the program: "2.1.0". */
const char *json_parser_version(void);

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
struct json; /* one value; a root owns its whole tree */

/*
 * Parse one whole document of at most `max_bytes`. Errors (-EINVAL; too large: -E2BIG) say what and at which byte
 * offset: "byte 17: duplicate key \"a\"". Trailing bytes other than white space are an error. Caller owns *out.
 */
int json_parse(const char *text, size_t len, size_t max_bytes, struct json **out, struct err *err);
void json_free(struct json *root); /* NULL is fine; does not recurse on the C stack */

enum json_type json_type(const struct json *v);  /* NULL counts as JSON_NULL */
const char *json_type_name(enum json_type type); /* "null", "boolean", "number", "string", "array", "object" */
bool json_is(const struct json *v, enum json_type type);
/* Value of a member; NULL if `obj` is not an object or has none. Constant or logarithmic time for large objects. */
const struct json *json_get(const struct json *obj, const char *key);
/* json_get() for a path of keys: json_dig(v, "HostConfig", "Binds", NULL). */
const struct json *json_dig(const struct json *obj, ...) __attribute__((sentinel));
size_t json_size(const struct json *v);                           /* elements or members, else 0 */
const struct json *json_at(const struct json *v, size_t i);       /* element, or member value in document order */
const char *json_key_at(const struct json *obj, size_t i);        /* member name in document order */
const char *json_str(const struct json *v);                       /* NULL if not a string */
const char *json_str_or(const struct json *v, const char *other); /* `other` if not a string */
bool json_bool(const struct json *v);                             /* false unless true */
bool json_i64(const struct json *v, int64_t *out);                /* integral numbers within range only */
double json_double(const struct json *v);                         /* 0 if not a number */
const char *json_number_text(const struct json *v);               /* as written; NULL if not a number */
/* Append `v` as compact JSON (at most `max` bytes of it, then "…"): for messages. */
void json_print(const struct json *v, struct buf *to, size_t max);

/* Append `s` as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void json_quote(struct buf *to, const char *s, size_t len);

/* Writer: compact JSON into a buffer. Keys and values in the order of the calls; misuse aborts (it is a bug).
 * What does not fit shows in `to->failed`. */
struct json_writer;
struct json_writer *json_writer_new(struct buf *to); /* `to` is borrowed */
void json_writer_free(struct json_writer *w);
void json_open_object(struct json_writer *w);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w);
void json_close_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_add_str(struct json_writer *w, const char *s); /* NULL writes null; bytes that are not UTF-8 become U+FFFD */
void json_add_i64(struct json_writer *w, int64_t n);
void json_add_double(struct json_writer *w, double n);
void json_add_bool(struct json_writer *w, bool b);
void json_add_null(struct json_writer *w);
void json_add_value(struct json_writer *w, const struct json *v); /* a copy of a parsed value */
/* key and value at once */
void json_kv_str(struct json_writer *w, const char *key, const char *s);
void json_kv_i64(struct json_writer *w, const char *key, int64_t n);
void json_kv_bool(struct json_writer *w, const char *key, bool b);
void json_kv_null(struct json_writer *w, const char *key);

#endif
