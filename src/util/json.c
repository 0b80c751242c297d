/*
 * Reading JSON. yajl finds the tokens, this file keeps the rules it lacks: a depth limit before the tree exists, strict
 * UTF-8, no NUL inside strings, no lone surrogates, no duplicate keys. Values under construction wait on one stack;
 * when their container closes they move, side by side, into the arena of the root. So a tree is a few blocks, an
 * element is an array index away, and freeing walks blocks, not levels.
 */
#include "util/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_parse.h>
#include <yajl/yajl_version.h>

#include "util/json_value.h"
#include "util/mem.h"
#include "util/str.h"

/* -------- the arena -------- */

struct block {
	struct block *next;
	max_align_t bytes[];
};

struct root {
	struct json value; /* first: the root value's address is the tree's */
	struct block *blocks;
};

struct arena {
	struct block *blocks;
	char *at;
	size_t left, next_size;
};

#define BLOCK_MIN 256
#define BLOCK_MAX 65536

static void *arena_get(struct arena *a, size_t size, size_t align)
{
	size_t pad = -(uintptr_t)a->at & (align - 1);
	struct block *b;
	void *p;

	if (a->left < pad || a->left - pad < size) {
		size_t bytes = size > a->next_size ? size : a->next_size;

		b = mem_new(1, sizeof(*b) + bytes);
		b->next = a->blocks;
		a->blocks = b;
		if (size >= a->next_size)
			return b->bytes; /* a large one lives alone; the current block goes on */
		a->at = (char *)b->bytes;
		a->left = bytes;
		a->next_size = a->next_size < BLOCK_MAX / 2 ? a->next_size * 2 : BLOCK_MAX;
		pad = 0;
	}
	p = a->at + pad;
	a->at += pad + size;
	a->left -= pad + size;
	return p;
}

static char *arena_text(struct arena *a, const void *s, size_t len)
{
	char *copy = arena_get(a, len + 1, 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

/* -------- the parser -------- */

struct pending { /* a value whose container is still open */
	struct json value;
	const char *key; /* in an object */
	size_t key_end;  /* offset behind the key, for the error */
};

struct parser {
	yajl_handle yajl;
	const unsigned char *text;
	size_t len;
	struct arena arena;
	struct pending *stack;
	size_t n, capacity;
	size_t open[JSON_DEPTH_MAX]; /* where the values of each open container begin on the stack */
	unsigned depth;
	const char *key; /* of the member whose value comes next */
	size_t key_end;
	struct err *err;
};

#define GO_ON 1
#define STOP  0

static int add(struct parser *p, struct json value)
{
	mem_reserve(&p->stack, &p->capacity, p->n + 1, sizeof(*p->stack));
	p->stack[p->n++] = (struct pending){.value = value, .key = STEAL(p->key), .key_end = p->key_end};
	return GO_ON;
}

/* Inside a string every quote stands behind a backslash, and the opening one never does. */
static size_t string_start(const struct parser *p, size_t end)
{
	size_t at = end - 1;

	while (at > 0) {
		at--;
		if (p->text[at] == '"' && (at == 0 || p->text[at - 1] != '\\'))
			break;
	}
	return at;
}

static unsigned hex4(const unsigned char *s)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 4 | (unsigned)(s[i] <= '9' ? s[i] - '0' : (s[i] | 0x20) - 'a' + 10);
	return value;
}

/* yajl lets halves of surrogate pairs through, as '?' or as bytes that are not UTF-8. Offset of the first, or 0. */
static size_t lone_surrogate(const struct parser *p, size_t start, size_t end)
{
	const unsigned char *s = p->text;

	for (size_t i = start + 1; i + 1 < end; i++) {
		unsigned unit;

		if (s[i] != '\\')
			continue;
		if (s[++i] != 'u')
			continue;
		unit = hex4(s + i + 1);
		i += 4;
		if (unit < 0xD800 || unit > 0xDFFF)
			continue;
		if (unit >= 0xDC00 || s[i + 1] != '\\' || s[i + 2] != 'u' || (hex4(s + i + 3) & 0xFC00) != 0xDC00)
			return i - 5;
		i += 6;
	}
	return 0;
}

/* A decoded string, checked; NULL with the error set. */
static const char *take_string(struct parser *p, const unsigned char *s, size_t len)
{
	size_t end = yajl_get_bytes_consumed(p->yajl), bad;
	bool had_escapes = s < p->text || s > p->text + p->len;

	if (had_escapes) { /* a raw NUL is no JSON at all, so only an escape can give one */
		size_t start = string_start(p, end);

		if (memchr(s, '\0', len)) {
			err_set(p->err, -EINVAL, "byte %zu: NUL in a string", start);
			return NULL;
		}
		bad = lone_surrogate(p, start, end);
		if (bad) {
			err_set(p->err, -EINVAL, "byte %zu: half of a surrogate pair", bad);
			return NULL;
		}
	}
	return arena_text(&p->arena, s, len);
}

static int on_null(void *ctx)
{
	return add(ctx, (struct json){.type = JSON_NULL});
}

static int on_boolean(void *ctx, int value)
{
	return add(ctx, (struct json){.type = JSON_BOOL, .n = value ? 1 : 0});
}

static int on_number(void *ctx, const char *s, size_t len)
{
	struct parser *p = ctx;

	return add(p, (struct json){.type = JSON_NUMBER, .text = arena_text(&p->arena, s, len)});
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	struct parser *p = ctx;
	const char *text = take_string(p, s, len);

	return text ? add(p, (struct json){.type = JSON_STRING, .n = (uint32_t)len, .text = text}) : STOP;
}

static int on_map_key(void *ctx, const unsigned char *s, size_t len)
{
	struct parser *p = ctx;

	p->key = take_string(p, s, len);
	p->key_end = yajl_get_bytes_consumed(p->yajl);
	return p->key ? GO_ON : STOP;
}

static int start_container(struct parser *p, enum json_type type)
{
	if (p->depth == JSON_DEPTH_MAX) {
		err_set(p->err, -EINVAL, "byte %zu: nested deeper than %d", yajl_get_bytes_consumed(p->yajl) - 1,
			JSON_DEPTH_MAX);
		return STOP;
	}
	add(p, (struct json){.type = type});
	p->open[p->depth++] = p->n;
	return GO_ON;
}

static int on_start_array(void *ctx)
{
	return start_container(ctx, JSON_ARRAY);
}

static int on_start_map(void *ctx)
{
	return start_container(ctx, JSON_OBJECT);
}

static int on_end_array(void *ctx)
{
	struct parser *p = ctx;
	size_t first = p->open[--p->depth], n = p->n - first;
	struct json *elements = n ? arena_get(&p->arena, n * sizeof(*elements), _Alignof(struct json)) : NULL;

	for (size_t i = 0; i < n; i++)
		elements[i] = p->stack[first + i].value;
	p->n = first;
	p->stack[first - 1].value.n = (uint32_t)n;
	p->stack[first - 1].value.elements = elements;
	return GO_ON;
}

static int refuse_duplicate(struct parser *p, const struct pending *member)
{
	size_t start = string_start(p, member->key_end);
	struct buf quoted;

	buf_init(&quoted, 1024);
	json_quote(&quoted, member->key, strnlen(member->key, 64));
	err_set(p->err, -EINVAL, "byte %zu: duplicate key %s", start, buf_str(&quoted));
	buf_deinit(&quoted);
	return STOP;
}

static int by_key(const void *a, const void *b, void *ctx)
{
	const struct pending *members = ctx;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int order = strcmp(members[i].key, members[j].key);

	return order ? order : (i > j) - (i < j);
}

/* The second member that has the key of an earlier one; NULL if there is none. `sorted`: NULL for small objects. */
static const struct pending *find_duplicate(const struct pending *m, size_t n, const uint32_t *sorted)
{
	uint32_t first = UINT32_MAX;

	if (!sorted) {
		for (size_t i = 1; i < n; i++)
			for (size_t j = 0; j < i; j++)
				if (strcmp(m[i].key, m[j].key) == 0)
					return &m[i];
		return NULL;
	}
	for (size_t i = 1; i < n; i++)
		if (strcmp(m[sorted[i]].key, m[sorted[i - 1]].key) == 0 && sorted[i] < first)
			first = sorted[i];
	return first < UINT32_MAX ? &m[first] : NULL;
}

static int on_end_map(void *ctx)
{
	struct parser *p = ctx;
	size_t first = p->open[--p->depth], n = p->n - first;
	struct pending *from = p->stack + first;
	const struct pending *duplicate;
	struct json_object *o =
		arena_get(&p->arena, sizeof(*o) + n * sizeof(o->members[0]), _Alignof(struct json_object));

	o->sorted = NULL;
	if (n > JSON_LINEAR_MAX) {
		uint32_t *sorted = arena_get(&p->arena, n * sizeof(*sorted), _Alignof(uint32_t));

		for (size_t i = 0; i < n; i++)
			sorted[i] = (uint32_t)i;
		qsort_r(sorted, n, sizeof(*sorted), by_key, from);
		o->sorted = sorted;
	}
	duplicate = find_duplicate(from, n, o->sorted);
	if (duplicate)
		return refuse_duplicate(p, duplicate);
	for (size_t i = 0; i < n; i++)
		o->members[i] = (struct json_member){.key = from[i].key, .value = from[i].value};
	p->n = first;
	p->stack[first - 1].value.n = (uint32_t)n;
	p->stack[first - 1].value.object = o;
	return GO_ON;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_map_key,
	.yajl_end_map = on_end_map,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end_array,
};

/*
 * Where the trouble starts. yajl stands behind a token that does not belong, and behind a character that begins none,
 * but at the character that spoils a token.
 */
static size_t error_offset(const struct parser *p, const char *words)
{
	size_t at = yajl_get_bytes_consumed(p->yajl);
	const char *in_token = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.";

	if (at == 0)
		return 0;
	if (strstr(words, "invalid char in json"))
		return at - 1;
	if (!str_starts(words, "parse error"))
		return at;
	if (p->text[at - 1] == '"')
		return string_start(p, at);
	at--;
	while (at > 0 && memchr(in_token, p->text[at], strlen(in_token)) &&
	       memchr(in_token, p->text[at - 1], strlen(in_token)))
		at--;
	return at;
}

/* yajl's own words, without its "lexical error: " and its full stop. */
static void report(struct parser *p, bool at_end)
{
	char *words = (char *)yajl_get_error(p->yajl, 0, p->text, p->len);
	size_t at = at_end ? p->len : error_offset(p, words);
	char *from = strstr(words, ": ");

	from = from ? from + 2 : words;
	from[strcspn(from, "\n")] = '\0';
	if (str_ends(from, "."))
		from[strlen(from) - 1] = '\0';
	err_set(p->err, -EINVAL, "byte %zu: %s", at, from);
	yajl_free_error(p->yajl, (unsigned char *)words);
}

static int run(struct parser *p)
{
	yajl_status status;
	bool at_end = false;

	p->yajl = yajl_alloc(&callbacks, NULL, p);
	if (!p->yajl)
		abort();
	yajl_config(p->yajl, yajl_dont_validate_strings, 1); /* done already, and more strictly */
	status = yajl_parse(p->yajl, p->text, p->len);
	if (status == yajl_status_ok) {
		at_end = true;
		status = yajl_complete_parse(p->yajl);
	}
	if (status == yajl_status_error)
		report(p, at_end);
	yajl_free(p->yajl);
	return p->err->code;
}

static void free_blocks(struct block *b)
{
	while (b) {
		struct block *next = b->next;

		free(b);
		b = next;
	}
}

int json_parse(const char *text, size_t len, size_t max_bytes, struct json **out, struct err *err)
{
	struct parser p = {.text = (const unsigned char *)text, .len = len, .err = err};
	size_t bad;

	*out = NULL;
	*err = (struct err){0};
	if (len > max_bytes || len >= UINT32_MAX)
		return err_set(err, -E2BIG, "document of %zu bytes is larger than %zu", len, max_bytes);
	if (!str_is_utf8(text, len, &bad))
		return err_set(err, -EINVAL, "byte %zu: not UTF-8", bad);
	for (bad = 0; bad < len && strchr(" \t\r\n", text[bad]) && text[bad];)
		bad++;
	if (bad == len)
		return err_set(err, -EINVAL, "empty document");
	p.arena.next_size = len < BLOCK_MIN ? BLOCK_MIN : len > BLOCK_MAX ? BLOCK_MAX : len;
	if (run(&p) == 0) {
		struct root *root = mem_new(1, sizeof(*root));

		root->value = p.stack[0].value;
		root->blocks = STEAL(p.arena.blocks);
		*out = &root->value;
	}
	free_blocks(p.arena.blocks);
	free(p.stack);
	return err->code;
}

void json_free(struct json *root)
{
	if (!root)
		return;
	free_blocks(((struct root *)root)->blocks);
	free(root);
}

const char *json_parser_version(void)
{
	static char text[24];
	int v = yajl_version();

	snprintf(text, sizeof(text), "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
	return text;
}
