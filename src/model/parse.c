/* The small readers of the target document: one type each, one sentence each when a value is not of it. */
#include "model/parse.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/mem.h"

#define PATH_MAX_BYTES 8192
#define SHOWN_BYTES    120 /* of an offending value */

/* Keys come from outside: a path shows at most PARSE_NAME_MAX bytes of each, cut between characters. */
static void add_key(struct buf *b, const char *key)
{
	size_t n = strlen(key), cut = PARSE_NAME_MAX;

	if (n <= cut) {
		buf_adds(b, key);
		return;
	}
	while (cut && ((unsigned char)key[cut] & 0xc0) == 0x80)
		cut--;
	buf_add(b, key, cut);
	buf_adds(b, "…");
}

static void add_path(struct buf *b, const struct at *at)
{
	const struct at *chain[JSON_DEPTH_MAX + 8];
	size_t n = 0;

	for (; at && n < ARRAY_LEN(chain); at = at->up)
		chain[n++] = at;
	while (n--) {
		if (!chain[n]->key) {
			buf_printf(b, "[%zu]", chain[n]->index);
			continue;
		}
		if (b->len)
			buf_adds(b, ".");
		add_key(b, chain[n]->key);
	}
}

void parse_error(struct parse *p, const struct at *at, const char *fmt, ...)
{
	struct target_errors *l = p->errors;
	char message[512];
	struct buf path;
	va_list ap;

	l->total++;
	if (l->n == TARGET_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	buf_init(&path, PATH_MAX_BYTES);
	add_path(&path, at);
	mem_reserve(&l->v, &l->capacity, l->n + 1, sizeof(*l->v));
	l->v[l->n++] = (struct target_error){.path = buf_steal(&path), .message = mem_strdup(message)};
}

void target_errors_deinit(struct target_errors *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].path);
		free(l->v[i].message);
	}
	free(l->v);
	*l = (struct target_errors){0};
}

void parse_expected(struct parse *p, const struct at *at, const char *what, const struct json *got)
{
	struct buf b;

	if (!got) {
		parse_error(p, at, "expected %s, but it is missing", what);
		return;
	}
	buf_init(&b, 2 * SHOWN_BYTES + 16);
	json_print(got, &b, SHOWN_BYTES);
	parse_error(p, at, "expected %s, got %s", what, buf_str(&b));
	buf_deinit(&b);
}

void parse_unsupported(struct parse *p, const struct at *at, const char *key)
{
	parse_error(p, at, "not supported yet: %s", key);
}

bool parse_object(struct parse *p, const struct at *at, const struct json *v)
{
	if (json_is(v, JSON_OBJECT))
		return true;
	parse_expected(p, at, "an object", v);
	return false;
}

bool parse_list(struct parse *p, const struct at *at, const struct json *v)
{
	if (!json_is(v, JSON_ARRAY)) {
		parse_expected(p, at, "a list", v);
		return false;
	}
	if (json_size(v) <= PARSE_LIST_MAX)
		return true;
	parse_error(p, at, "more than %d elements", PARSE_LIST_MAX);
	return false;
}

size_t utf16_length(const char *s)
{
	size_t n = 0;

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		n += (c & 0xc0) != 0x80; /* not in the middle of a character */
		n += c >= 0xf0;          /* beyond the first plane: two units */
	}
	return n;
}

const char *parse_str(struct parse *p, const struct at *at, const struct json *v)
{
	if (!json_is(v, JSON_STRING))
		parse_expected(p, at, "a string", v);
	return json_str(v);
}

const char *parse_name(struct parse *p, const struct at *at, const struct json *v)
{
	const char *s = parse_str(p, at, v);

	if (s && utf16_length(s) > PARSE_NAME_MAX) {
		parse_error(p, at, "longer than %d characters", PARSE_NAME_MAX);
		return NULL;
	}
	return s;
}

bool parse_bool(struct parse *p, const struct at *at, const struct json *v, bool *out)
{
	const char *s = json_str(v);

	if (!json_is(v, JSON_BOOL) && !str_eq(s, "true") && !str_eq(s, "false")) {
		parse_expected(p, at, "true or false", v);
		return false;
	}
	*out = s ? str_eq(s, "true") : json_bool(v);
	return true;
}

/* A string whose number is what its leading digits say: " 12 ", "+5", "1.0", "-0"; not "0x10", "1e3", "1.5". */
static bool id_of_string(const char *s, int64_t *out)
{
	static const char space[] = " \t\n\v\f\r";
	AUTO_FREE char *digits = NULL;
	bool negative;
	size_t n;

	s += strspn(s, space);
	negative = *s == '-';
	s += *s == '-' || *s == '+';
	n = strspn(s, "0123456789");
	if (!n)
		return false;
	digits = mem_strndup(s, n);
	s += n;
	if (*s == '.')
		s += 1 + strspn(s + 1, "0");
	s += strspn(s, space);
	if (*s)
		return false;
	for (n = 0; digits[n] == '0' && digits[n + 1]; n++)
		;
	return str_to_i64(digits + n, 0, negative ? 0 : PARSE_ID_MAX, out);
}

bool parse_id(struct parse *p, const struct at *at, const struct json *v, int64_t min, int64_t *out)
{
	double d = json_double(v);
	int64_t n = -1;

	if (json_is(v, JSON_NUMBER) && d >= 0 && d <= (double)PARSE_ID_MAX && (double)(int64_t)d == d)
		n = (int64_t)d;
	else if (json_str(v))
		id_of_string(json_str(v), &n);
	if (n < min) {
		parse_expected(p, at, min ? "a numeric id above 0" : "a numeric id", v);
		return false;
	}
	*out = n;
	return true;
}

bool parse_strings(struct parse *p, const struct at *at, const struct json *v, struct strv *out)
{
	bool fine = parse_list(p, at, v);

	for (size_t i = 0; fine && i < json_size(v); i++) {
		struct at here = at_index(at, i);
		const char *s = parse_str(p, &here, json_at(v, i));

		if (s)
			strv_add(out, s);
	}
	return fine;
}

static bool is_small_map(struct parse *p, const struct at *at, const struct json *v)
{
	if (json_size(v) <= PARSE_MAP_MAX)
		return true;
	parse_error(p, at, "more than %d members", PARSE_MAP_MAX);
	return false;
}

/* Keys of environments end up in front of a "=". */
static bool is_plain_key(const char *key)
{
	return *key && !strchr(key, '=');
}

static void map_member(struct parse *p, const struct at *at, const char *key, const struct json *v, struct strmap *out)
{
	if (!is_plain_key(key)) {
		parse_error(p, at, "a key is empty or holds \"=\"");
		return;
	}
	switch (json_type(v)) {
	case JSON_STRING:
		strmap_set(out, key, json_str(v));
		break;
	case JSON_NUMBER:
		strmap_set(out, key, json_number_text(v));
		break;
	case JSON_BOOL:
		strmap_set(out, key, json_bool(v) ? "true" : "false");
		break;
	case JSON_NULL:
		break;
	default:
		parse_expected(p, at, "a string, a number or a boolean", v);
	}
}

static void map_pair(struct parse *p, const struct at *at, const struct json *v, bool bare, struct strmap *out)
{
	const char *s = parse_str(p, at, v), *eq = s ? strchr(s, '=') : NULL;
	AUTO_FREE char *key = s ? mem_strndup(s, eq ? (size_t)(eq - s) : strlen(s)) : NULL;

	if (!s)
		return;
	if (!*key)
		parse_error(p, at, "a key is empty");
	else if (eq || bare)
		strmap_set(out, key, eq ? eq + 1 : "");
}

void parse_map(struct parse *p, const struct at *at, const struct json *v, bool bare, struct strmap *out)
{
	if (!json_is(v, JSON_OBJECT) && !json_is(v, JSON_ARRAY)) {
		parse_expected(p, at, "a map or a list of KEY=value", v);
		return;
	}
	if (!is_small_map(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		if (json_is(v, JSON_OBJECT)) {
			struct at here = at_key(at, json_key_at(v, i));

			map_member(p, &here, here.key, json_at(v, i), out);
		} else {
			struct at here = at_index(at, i);

			map_pair(p, &here, json_at(v, i), bare, out);
		}
	}
}

void parse_string_map(struct parse *p, const struct at *at, const struct json *v, bool (*is_key)(const char *),
		      const char *what, struct strmap *out)
{
	if (!parse_object(p, at, v) || !is_small_map(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		const char *key = json_key_at(v, i), *s;
		struct at here = at_key(at, key);

		if (utf16_length(key) > PARSE_NAME_MAX)
			parse_error(p, &here, "the name is longer than %d characters", PARSE_NAME_MAX);
		else if (!is_key(key))
			parse_error(p, &here, "the name must match %s", what);
		s = parse_str(p, &here, json_at(v, i));
		if (s)
			strmap_set(out, key, s);
	}
}

bool is_service_name(const char *s)
{
	if (!isalnum((unsigned char)*s))
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_.-", *s))
			return false;
	return true;
}

const struct json *get_either(const struct json *v, const char *snake, const char *camel, const char **found)
{
	const struct json *a = json_get(v, snake);

	*found = a ? snake : camel;
	return a ? a : json_get(v, camel);
}

bool is_null(const struct json *v)
{
	return json_is(v, JSON_NULL) || !v;
}

bool is_one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (str_eq(s, *list))
			return true;
	return false;
}

bool parse_memory(struct parse *p, const struct at *at, const struct json *v, int64_t *out)
{
	const char *s = json_str(v), *end;
	AUTO_FREE char *digits = NULL;
	int64_t n = 0;
	int shift = 0;

	if (json_i64(v, &n) && n >= 0) {
		*out = n;
		return true;
	}
	if (s) {
		end = s + strspn(s, "0123456789");
		digits = mem_strndup(s, (size_t)(end - s));
		switch (*end | 0x20) {
		case 'k':
			shift = 10;
			break;
		case 'm':
			shift = 20;
			break;
		case 'g':
			shift = 30;
			break;
		}
		end += shift ? 1 : 0;
		end += (*end | 0x20) == 'b';
		end += !shift && (*end | 0x20) == 'b'; /* the grammar allows "bb" */
		if (!*end && str_to_i64(digits, 0, INT64_MAX >> shift, &n)) {
			*out = n << shift;
			return true;
		}
	}
	parse_expected(p, at, "a size such as 64m", v);
	return false;
}
