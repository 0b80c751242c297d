/*
 * Lists of what the engine has: one of a kind at a time, a later question answered by a later list. Images are listed
 * without, and read once with their configuration when the target names them.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <string.h>

#include "util/backoff.h"
#include "util/log.h"

#define SYNC_RETRY_MS     250
#define SYNC_RETRY_CAP_MS 5000

struct image_inspect {
	struct reconcile *r;
	char *id;
};

/* Until it is known what is there nothing is done about it; asked again as a whole, after a while that grows. */
void cache_list_again_later(struct reconcile *r, const struct err *err)
{
	if (r->stopping)
		return;
	log_debug("list_failed", kv_str("err", err->msg));
	r->cache.sync = ++r->cache.stamp; /* a full listing under way is not whole */
	r->cache.current.known = false;
	reconcile_mark_changed(r);
	if (engine_is_up(r->o.engine) && !loop_timer_active(&r->cache.sync_timer))
		loop_timer_start(&r->cache.sync_timer,
				 backoff_ms(SYNC_RETRY_MS, r->cache.sync_failures++, SYNC_RETRY_CAP_MS));
}

static void list_ended(struct reconcile *r, enum list_kind kind, const struct err *err)
{
	struct lister *l = &r->cache.lists[kind];
	struct waiter *waiters = l->now;

	if (err && err->code != -ECANCELED)
		cache_list_again_later(r, err);
	l->in_flight = false;
	l->now = NULL;
	if (l->again && !r->stopping) {
		l->again = false;
		l->now = l->later;
		l->later = NULL;
		l->in_flight = true;
		l->stamp = ++r->cache.stamp;
		reconcile_hold(r);
		l->begin(r);
	} else { /* stopping: nothing is asked any more, and nobody waits for ever */
		struct waiter *later = l->later;

		l->later = NULL;
		cache_wait_run(later);
	}
	cache_bury(&r->cache);
	cache_wait_run(waiters);
	reconcile_poke(r);
	reconcile_drop(r);
}

static void on_containers(void *ctx, const struct err *err, struct container *v, size_t n)
{
	struct reconcile *r = ctx;

	if (!err)
		cache_merge_list(r, v, n);
	list_ended(r, LIST_CONTAINERS, err);
}

static void on_networks(void *ctx, const struct err *err, struct network *v, size_t n)
{
	struct reconcile *r = ctx;
	struct current *c = &r->cache.current;

	if (!err) {
		for (size_t i = 0; i < c->n_networks; i++)
			network_deinit(&c->networks[i]);
		free(c->networks);
		c->networks = mem_new(n ? n : 1, sizeof(*v));
		memcpy(c->networks, v, n * sizeof(*v));
		memset(v, 0, n * sizeof(*v));
		c->n_networks = n;
		reconcile_mark_changed(r);
	}
	list_ended(r, LIST_NETWORKS, err);
}

static void on_volumes(void *ctx, const struct err *err, struct volume *v, size_t n)
{
	struct reconcile *r = ctx;
	struct current *c = &r->cache.current;

	if (!err) {
		for (size_t i = 0; i < c->n_volumes; i++)
			volume_deinit(&c->volumes[i]);
		free(c->volumes);
		c->volumes = mem_new(n ? n : 1, sizeof(*v));
		memcpy(c->volumes, v, n * sizeof(*v));
		memset(v, 0, n * sizeof(*v));
		c->n_volumes = n;
		reconcile_mark_changed(r);
	}
	list_ended(r, LIST_VOLUMES, err);
}

/* An image never changes under its id: what was inspected once stays. */
static void keep_config(struct image *fresh, struct image *old)
{
	struct image tmp = *old;

	if (!old->has_config)
		return;
	memset(old, 0, sizeof(*old));
	free(tmp.id);
	strv_deinit(&tmp.tags);
	strv_deinit(&tmp.digests);
	tmp.id = fresh->id;
	tmp.tags = fresh->tags;
	tmp.digests = fresh->digests;
	*fresh = tmp;
}

static void on_images(void *ctx, const struct err *err, struct image *v, size_t n)
{
	struct reconcile *r = ctx;
	struct current *c = &r->cache.current;

	if (!err) {
		for (size_t i = 0; i < c->n_images; i++)
			for (size_t j = 0; j < n && c->images[i].has_config; j++)
				if (str_eq(c->images[i].id, v[j].id)) {
					keep_config(&v[j], &c->images[i]);
					break;
				}
		for (size_t i = 0; i < c->n_images; i++)
			image_deinit(&c->images[i]);
		free(c->images);
		c->images = mem_new(n ? n : 1, sizeof(*v));
		memcpy(c->images, v, n * sizeof(*v));
		memset(v, 0, n * sizeof(*v));
		c->n_images = n;
		r->cache.images_checked = false;
		reconcile_mark_changed(r);
	}
	list_ended(r, LIST_IMAGES, err);
}

static void begin_containers(struct reconcile *r)
{
	engine_containers_list(r->o.engine, on_containers, r);
}

static void begin_networks(struct reconcile *r)
{
	engine_networks_list(r->o.engine, on_networks, r);
}

static void begin_volumes(struct reconcile *r)
{
	engine_volumes_list(r->o.engine, on_volumes, r);
}

static void begin_images(struct reconcile *r)
{
	engine_images_list(r->o.engine, on_images, r);
}

void cache_refresh(struct reconcile *r, enum list_kind kind, loop_fn *fn, void *ctx)
{
	struct lister *l = &r->cache.lists[kind];

	if (l->in_flight) {
		l->again = true;
		cache_wait_add(&l->later, fn, ctx);
		return;
	}
	cache_wait_add(&l->now, fn, ctx);
	l->in_flight = true;
	l->stamp = ++r->cache.stamp;
	reconcile_hold(r);
	l->begin(r);
}

/* ---- image configurations ---- */

static void on_image_inspected(void *ctx, const struct err *err, struct image *image)
{
	AUTO_FREE struct image_inspect *op = ctx;
	AUTO_FREE char *id = op->id;
	struct reconcile *r = op->r;
	struct current *c = &r->cache.current;

	for (size_t i = 0; i < c->n_images; i++) {
		if (!str_eq(c->images[i].id, id))
			continue;
		c->images[i].inspecting = false;
		if (!err && !c->images[i].has_config)
			keep_config(&c->images[i], image);
		else if (err && err->code != -ECANCELED && err->code != -ENOENT)
			c->images[i].unreadable = true; /* until the next list */
	}
	r->cache.images_checked = false;
	if (err && err->code != -ECANCELED)
		log_debug("image_inspect_failed", kv_str("image", id), kv_str("err", err->msg));
	if (err && err->code == -ENOENT && !r->stopping)
		cache_refresh(r, LIST_IMAGES, NULL, NULL); /* it went away in between */
	reconcile_poke(r);
	reconcile_drop(r);
}

static void image_inspect_begin(struct reconcile *r, struct image *image)
{
	struct image_inspect *op = mem_new(1, sizeof(*op));

	*op = (struct image_inspect){.r = r, .id = mem_strdup(image->id)};
	image->inspecting = true;
	reconcile_hold(r);
	engine_image_inspect(r->o.engine, image->id, on_image_inspected, op);
}

bool cache_images_ready(struct reconcile *r)
{
	struct current *c = &r->cache.current;
	bool ready = true;

	if (r->cache.images_checked || !r->target || !c->known)
		return true;
	for (size_t a = 0; a < r->target->n_apps; a++)
		for (size_t s = 0; s < r->target->apps[a].n_services; s++) {
			const char *ref = r->target->apps[a].services[s].image;

			for (size_t i = 0; i < c->n_images; i++) {
				if (c->images[i].has_config || c->images[i].unreadable ||
				    !image_matches(&c->images[i], ref))
					continue;
				ready = false;
				if (!c->images[i].inspecting)
					image_inspect_begin(r, &c->images[i]);
			}
		}
	r->cache.images_checked = ready;
	return ready;
}

void cache_init_lists(struct reconcile *r)
{
	static void (*const begin[LIST_COUNT])(struct reconcile *) = {
		[LIST_CONTAINERS] = begin_containers,
		[LIST_NETWORKS] = begin_networks,
		[LIST_VOLUMES] = begin_volumes,
		[LIST_IMAGES] = begin_images,
	};

	for (enum list_kind k = 0; k < LIST_COUNT; k++)
		r->cache.lists[k] = (struct lister){.r = r, .begin = begin[k]};
}
