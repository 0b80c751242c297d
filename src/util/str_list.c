/* Lists of strings, and string maps kept sorted by key: small, owned by one parent, compared and copied as values. */
#include <string.h>

#include "util/mem.h"
#include "util/str.h"

void strv_take(struct strv *l, char *s)
{
	mem_reserve(&l->v, &l->capacity, l->n + 1, sizeof(*l->v));
	l->v[l->n++] = s;
}

void strv_add(struct strv *l, const char *s)
{
	strv_take(l, mem_strdup(s));
}

bool strv_has(const struct strv *l, const char *s)
{
	for (size_t i = 0; i < l->n; i++)
		if (str_eq(l->v[i], s))
			return true;
	return false;
}

void strv_copy(struct strv *to, const struct strv *from)
{
	*to = (struct strv){0};
	for (size_t i = 0; i < from->n; i++)
		strv_add(to, from->v[i]);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_sort(struct strv *l)
{
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), by_text);
}

bool strv_eq(const struct strv *a, const struct strv *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!str_eq(a->v[i], b->v[i]))
			return false;
	return true;
}

char *strv_join(const struct strv *l, const char *separator)
{
	size_t gap = strlen(separator), len = 0, n;
	char *text, *at;

	for (size_t i = 0; i < l->n; i++)
		len += strlen(l->v[i]) + gap;
	at = text = mem_new(len + 1, 1);
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			at = mempcpy(at, separator, gap);
		n = strlen(l->v[i]);
		at = mempcpy(at, l->v[i], n);
	}
	return text;
}

void strv_deinit(struct strv *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct strv){0};
}

/* Where `key` is, or would be put. */
static bool find(const struct strmap *m, const char *key, size_t *at)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(m->v[mid].key, key);

		if (order == 0) {
			*at = mid;
			return true;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*at = low;
	return false;
}

static void insert(struct strmap *m, size_t at, const char *key, const char *value)
{
	mem_reserve(&m->v, &m->capacity, m->n + 1, sizeof(*m->v));
	memmove(m->v + at + 1, m->v + at, (m->n - at) * sizeof(*m->v));
	m->v[at] = (struct strmap_entry){mem_strdup(key), mem_strdup(value)};
	m->n++;
}

void strmap_set(struct strmap *m, const char *key, const char *value)
{
	size_t at;

	if (find(m, key, &at)) {
		char *copy = mem_strdup(value); /* `value` may be the old one */

		free(m->v[at].value);
		m->v[at].value = copy;
	} else {
		insert(m, at, key, value);
	}
}

void strmap_set_default(struct strmap *m, const char *key, const char *value)
{
	size_t at;

	if (!find(m, key, &at))
		insert(m, at, key, value);
}

const char *strmap_get(const struct strmap *m, const char *key)
{
	size_t at;

	return key && find(m, key, &at) ? m->v[at].value : NULL;
}

void strmap_unset(struct strmap *m, const char *key)
{
	size_t at;

	if (!find(m, key, &at))
		return;
	free(m->v[at].key);
	free(m->v[at].value);
	m->n--;
	memmove(m->v + at, m->v + at + 1, (m->n - at) * sizeof(*m->v));
}

void strmap_copy(struct strmap *to, const struct strmap *from)
{
	*to = (struct strmap){0};
	for (size_t i = 0; i < from->n; i++)
		insert(to, i, from->v[i].key, from->v[i].value);
}

bool strmap_eq(const struct strmap *a, const struct strmap *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!str_eq(a->v[i].key, b->v[i].key) || !str_eq(a->v[i].value, b->v[i].value))
			return false;
	return true;
}

void strmap_deinit(struct strmap *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		free(m->v[i].key);
		free(m->v[i].value);
	}
	free(m->v);
	*m = (struct strmap){0};
}
