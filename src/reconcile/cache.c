/*
 * The current state, kept by full lists and by inspects of single containers. Every question to the engine gets a stamp
 * when it is sent; an answer never overwrites what a later question already told. Events only say where to look again.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"

/* Beyond the container's own stop timeout: the engine kills, waits and cleans up. */
#define STOP_MARGIN_MS 2000

struct inspect { /* one container being read */
	struct reconcile *r;
	struct inspect *next;
	char *id;
	uint64_t stamp;
	struct waiter *now, *later;
	bool again;
};

void cache_wait_add(struct waiter **list, loop_fn *fn, void *ctx)
{
	struct waiter *w;

	if (!fn)
		return;
	w = mem_new(1, sizeof(*w));
	*w = (struct waiter){.fn = fn, .ctx = ctx, .next = *list};
	*list = w;
}

void cache_wait_run(struct waiter *list)
{
	while (list) {
		struct waiter *next = list->next;

		list->fn(list->ctx);
		free(list);
		list = next;
	}
}

static size_t find(const struct cache *c, const char *id)
{
	size_t i;

	for (i = 0; i < c->current.n_containers; i++)
		if (strcmp(c->current.containers[i].id, id) == 0)
			break;
	return i;
}

const struct container *cache_find_container(const struct reconcile *r, const char *id)
{
	size_t i = find(&r->cache, id);

	return i < r->cache.current.n_containers ? &r->cache.current.containers[i] : NULL;
}

static void apply_stopping(struct reconcile *r, struct container *c)
{
	struct cache *cache = &r->cache;

	for (size_t i = 0; i < cache->n_stopping; i++) {
		if (strcmp(cache->stopping[i].id, c->id) != 0)
			continue;
		if (c->state == CONTAINER_RUNNING) {
			c->stopping_until_ms = cache->stopping[i].sent_ms + c->stop_timeout_s * 1000LL + STOP_MARGIN_MS;
			return;
		}
		free(cache->stopping[i].id);
		cache->stopping[i] = cache->stopping[--cache->n_stopping];
		return;
	}
}

void cache_mark_stopping(struct reconcile *r, const char *id, int64_t sent_ms)
{
	struct cache *c = &r->cache;
	size_t i = find(c, id), row;

	for (row = 0; row < c->n_stopping && strcmp(c->stopping[row].id, id) != 0; row++)
		;
	if (row == c->n_stopping) {
		mem_reserve(&c->stopping, &c->stopping_capacity, row + 1, sizeof(*c->stopping));
		c->stopping[c->n_stopping++] = (struct stopping_row){.id = mem_strdup(id), .sent_ms = sent_ms};
	} else if (c->stopping[row].sent_ms < sent_ms) { /* the last one sent is the last one to end */
		c->stopping[row].sent_ms = sent_ms;
	}
	if (i < c->current.n_containers)
		apply_stopping(r, &c->current.containers[i]);
}

void cache_forget_stopping(struct reconcile *r)
{
	struct cache *c = &r->cache;

	for (size_t i = c->n_stopping; i-- > 0;)
		if (find(c, c->stopping[i].id) == c->current.n_containers) {
			free(c->stopping[i].id);
			c->stopping[i] = c->stopping[--c->n_stopping];
		}
}

static void remove_at(struct cache *c, size_t i)
{
	size_t last = --c->current.n_containers;

	container_deinit(&c->current.containers[i]);
	c->current.containers[i] = c->current.containers[last];
	c->stamps[i] = c->stamps[last];
	memset(&c->current.containers[last], 0, sizeof(c->current.containers[last]));
}

/* Takes what `c` holds. */
static void merge(struct reconcile *r, struct container *c, uint64_t stamp)
{
	struct cache *cache = &r->cache;
	size_t i;

	for (i = 0; i < cache->n_gone; i++)
		if (strcmp(cache->gone[i].id, c->id) == 0 && cache->gone[i].stamp > stamp)
			return;
	i = find(cache, c->id);
	if (i < cache->current.n_containers && cache->stamps[i] > stamp)
		return;
	event_container(r, i < cache->current.n_containers ? &cache->current.containers[i] : NULL, c);
	if (i == cache->current.n_containers) {
		mem_reserve(&cache->current.containers, &cache->containers_capacity, i + 1,
			    sizeof(*cache->current.containers));
		mem_reserve(&cache->stamps, &cache->stamps_capacity, i + 1, sizeof(*cache->stamps));
		cache->current.n_containers++;
	} else {
		container_deinit(&cache->current.containers[i]);
	}
	cache->current.containers[i] = *c;
	cache->stamps[i] = stamp;
	memset(c, 0, sizeof(*c));
	apply_stopping(r, &cache->current.containers[i]);
	reconcile_mark_changed(r);
}

static void gone(struct reconcile *r, const char *id, uint64_t stamp)
{
	struct cache *c = &r->cache;
	size_t i = find(c, id);

	if (i < c->current.n_containers && c->stamps[i] <= stamp) {
		event_container_gone(r, &c->current.containers[i]);
		remove_at(c, i);
		cache_forget_stopping(r);
		reconcile_mark_changed(r);
		reconcile_poke(r);
	}
	if (c->lists[LIST_CONTAINERS].in_flight || c->inspects) { /* what was asked earlier may still tell of it */
		mem_reserve(&c->gone, &c->gone_capacity, c->n_gone + 1, sizeof(*c->gone));
		c->gone[c->n_gone++] = (struct tombstone){.id = mem_strdup(id), .stamp = stamp};
	}
}

void cache_bury(struct cache *c)
{
	if (c->lists[LIST_CONTAINERS].in_flight || c->inspects)
		return;
	for (size_t i = 0; i < c->n_gone; i++)
		free(c->gone[i].id);
	c->n_gone = 0;
}

void cache_container_gone(struct reconcile *r, const char *id)
{
	gone(r, id, ++r->cache.stamp);
	cache_bury(&r->cache);
	steps_container_changed(r, id);
}

static void inspect_begin(struct inspect *op);

static void on_inspected(void *ctx, const struct err *err, struct container *c)
{
	struct inspect *op = ctx, **at;
	struct reconcile *r = op->r;
	struct waiter *waiters = op->now;
	uint64_t version = r->version;

	if (!err && c->service)
		merge(r, c, op->stamp);
	else if (!err || err->code == -ENOENT)
		gone(r, op->id, op->stamp);
	else if (err->code != -ECANCELED)
		cache_list_again_later(r, err);
	steps_container_changed(r, op->id);
	op->now = NULL;
	if (op->again && !r->stopping) {
		op->again = false;
		op->now = op->later;
		op->later = NULL;
		inspect_begin(op);
	} else {
		for (at = &r->cache.inspects; *at != op; at = &(*at)->next)
			;
		*at = op->next;
		cache_bury(&r->cache);
		cache_wait_run(op->later);
		free(op->id);
		free(op);
	}
	cache_wait_run(waiters);
	if (r->version != version) /* else it was none of ours */
		reconcile_poke(r);
	reconcile_drop(r);
}

static void inspect_begin(struct inspect *op)
{
	op->stamp = ++op->r->cache.stamp;
	reconcile_hold(op->r);
	engine_container_inspect(op->r->o.engine, op->id, on_inspected, op);
}

void cache_refresh_container(struct reconcile *r, const char *id, loop_fn *fn, void *ctx)
{
	struct inspect *op;

	for (op = r->cache.inspects; op; op = op->next)
		if (strcmp(op->id, id) == 0) {
			op->again = true;
			cache_wait_add(&op->later, fn, ctx);
			return;
		}
	op = mem_new(1, sizeof(*op));
	*op = (struct inspect){.r = r, .id = mem_strdup(id), .next = r->cache.inspects};
	r->cache.inspects = op;
	cache_wait_add(&op->now, fn, ctx);
	inspect_begin(op);
}

/* The whole list, as asked with the stamp of its lister. Takes what the members hold. */
void cache_merge_list(struct reconcile *r, struct container *v, size_t n)
{
	struct cache *c = &r->cache;
	uint64_t stamp = c->lists[LIST_CONTAINERS].stamp;

	for (size_t i = c->current.n_containers; i-- > 0;) {
		bool listed = false;

		for (size_t j = 0; j < n && !listed; j++)
			listed = v[j].id && strcmp(v[j].id, c->current.containers[i].id) == 0;
		if (listed || c->stamps[i] >= stamp)
			continue;
		event_container_gone(r, &c->current.containers[i]);
		remove_at(c, i);
	}
	for (size_t i = 0; i < n; i++)
		if (v[i].id && v[i].service)
			merge(r, &v[i], stamp);
	reconcile_mark_changed(r);
}

void cache_deinit(struct reconcile *r)
{
	struct cache *c = &r->cache;

	for (size_t i = 0; i < c->n_gone; i++)
		free(c->gone[i].id);
	for (size_t i = 0; i < c->n_stopping; i++)
		free(c->stopping[i].id);
	free(c->gone);
	free(c->stopping);
	free(c->stamps);
	current_deinit(&c->current);
}
