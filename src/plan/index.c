/*
 * Look-up by text. Sorted arrays instead of hashing: the cost does not depend on what others chose as names, and
 * walking them gives the same order every time.
 */
#include "plan/internal.h"

#include <string.h>

void plan_index_add(struct plan_index *x, const char *key, const void *value)
{
	mem_reserve(&x->v, &x->capacity, x->n + 1, sizeof(*x->v));
	x->v[x->n] = (struct plan_entry){.key = key, .value = (void *)(uintptr_t)value, .order = x->n};
	x->n++;
}

static int compare_entries(const void *a, const void *b)
{
	const struct plan_entry *x = a, *y = b;
	int d = strcmp(x->key, y->key);

	return d ? d : (x->order > y->order) - (x->order < y->order);
}

void plan_index_sort(struct plan_index *x)
{
	if (x->n > 1)
		qsort(x->v, x->n, sizeof(*x->v), compare_entries);
}

const struct plan_entry *plan_index_range(const struct plan_index *x, const char *key, size_t *n)
{
	size_t low = 0, high = x->n, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(x->v[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < x->n && strcmp(x->v[end].key, key) == 0;)
		end++;
	*n = end - low;
	return x->v + low;
}

void *plan_index_get(const struct plan_index *x, const char *key)
{
	size_t n;
	const struct plan_entry *e;

	if (x->n == 0)
		return NULL;
	e = plan_index_range(x, key, &n);
	return n ? e->value : NULL;
}
