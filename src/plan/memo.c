/*
 * Wanted configurations, kept from one plan to the next. They follow from the target, the image, the facts and the key
 * alone, are the larger part of the work of a plan, and the plan that is in a hurry, right after a lock was released,
 * asks for the same ones as the plan before it. Sorted by subject; a changed input replaces an entry.
 */
#include <string.h>

#include "plan/internal.h"

struct memo_entry {
	char *subject, *image, *key; /* image: its id, NULL: it is not here */
	bool has_config;             /* … and what it says is known */
	struct service_config config;
};
struct plan_memo {
	const struct target *target;
	uint64_t generation;
	struct memo_entry **v; /* each where it is: plans point at them */
	size_t n, capacity;
};

struct plan_memo *plan_memo_new(void)
{
	return mem_new(1, sizeof(struct plan_memo));
}

static void entry_free(struct memo_entry *e)
{
	free(e->subject);
	free(e->image);
	free(e->key);
	service_config_deinit(&e->config);
	free(e);
}

static void clear(struct plan_memo *m)
{
	for (size_t i = 0; i < m->n; i++)
		entry_free(m->v[i]);
	m->n = 0;
}

void plan_memo_free(struct plan_memo *m)
{
	if (!m)
		return;
	clear(m);
	free(m->v);
	free(m);
}

static size_t position(const struct plan_memo *m, const char *subject)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(m->v[mid]->subject, subject) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void plan_memo_begin(struct plan_memo *m, const struct plan_input *in)
{
	if (m->target == in->target && m->generation == in->generation)
		return;
	clear(m);
	m->target = in->target;
	m->generation = in->generation;
}

const struct service_config *plan_memo_config(struct plan_memo *m, const struct plan_input *in,
					      const struct plan_service *s, const char *key)
{
	const char *image = s->image ? s->image->id : NULL;
	bool has_config = s->image && s->image->has_config;
	size_t i = position(m, s->subject);
	struct memo_entry *e = i < m->n && strcmp(m->v[i]->subject, s->subject) == 0 ? m->v[i] : NULL;

	if (e && e->has_config == has_config && str_eq(e->image, image) && str_eq(e->key, key))
		return &e->config;
	if (!e) {
		mem_reserve(&m->v, &m->capacity, m->n + 1, sizeof(*m->v));
		memmove(&m->v[i + 1], &m->v[i], (m->n - i) * sizeof(*m->v));
		m->n++;
	} else {
		entry_free(e);
	}
	e = m->v[i] = mem_new(1, sizeof(*e));
	e->subject = mem_strdup(s->subject);
	e->image = mem_strdup(image);
	e->has_config = has_config;
	e->key = mem_strdup(key);
	service_resolve(in->target, s->app->want, s->want, s->image, in->facts, key, &e->config);
	return &e->config;
}
