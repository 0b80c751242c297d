/*
 * The engine comes and goes: after each connect everything is listed before anything is planned. Its events are hints
 * where to look again.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"

#define KILLS_RETRY_MS 250

struct sync { /* one full listing */
	struct reconcile *r;
	uint64_t id;
	unsigned left;
};

static void sync_part(void *ctx)
{
	struct sync *s = ctx;
	struct reconcile *r = s->r;

	if (--s->left)
		return;
	if (s->id == r->cache.sync && !r->cache.current.known && engine_is_up(r->o.engine)) {
		r->cache.current.known = true;
		r->cache.sync_failures = 0;
		cache_forget_stopping(r);
		failures_clear_all(r);
		log_info("engine_listed", kv_i64("containers", (int64_t)r->cache.current.n_containers),
			 kv_i64("images", (int64_t)r->cache.current.n_images));
		reconcile_mark_changed(r);
		reconcile_poke(r);
	}
	free(s);
}

static void sync_lists(struct reconcile *r)
{
	struct sync *s = mem_new(1, sizeof(*s));

	*s = (struct sync){.r = r, .id = ++r->cache.stamp, .left = LIST_COUNT};
	r->cache.sync = s->id;
	for (enum list_kind k = 0; k < LIST_COUNT; k++)
		cache_refresh(r, k, sync_part, s);
}

/*
 * A stop that an earlier run sent is still carried out by the engine: a container that got a signal since our left-over
 * lock was made, and still runs, counts as stopping until its stop timeout is over (update-locks.md 3).
 */
static void on_kills(void *ctx, const struct err *err, const struct engine_kill *v, size_t n)
{
	struct reconcile *r = ctx;

	if (err) {
		if (err->code != -ECANCELED && !r->stopping)
			loop_timer_start(&r->cache.sync_timer, KILLS_RETRY_MS);
		reconcile_drop(r);
		return;
	}
	r->cache.kills_read = true;
	for (size_t i = 0; i < n; i++)
		cache_mark_stopping(r, v[i].id, loop_now_ms(r->o.loop) + v[i].at_ms - loop_wall_ms());
	if (!r->stopping)
		sync_lists(r);
	reconcile_drop(r);
}

static int64_t oldest_leftover(const struct lock_views *views)
{
	int64_t oldest = 0;

	for (size_t i = 0; i < views->n; i++) {
		const struct lock_app_view *app = lock_views_app(views, views->v[i].app_id);

		if (views->v[i].ours && app && app->leftover && (!oldest || views->v[i].since_ms < oldest))
			oldest = views->v[i].since_ms;
	}
	return oldest;
}

static void sync_begin(struct reconcile *r)
{
	int64_t since = r->cache.kills_read ? 0 : oldest_leftover(lock_set_views(r->o.locks));

	if (!since) {
		r->cache.kills_read = true;
		sync_lists(r);
		return;
	}
	reconcile_hold(r);
	engine_kills_since(r->o.engine, since, on_kills, r);
}

static void on_sync_timer(void *ctx)
{
	struct reconcile *r = ctx;

	if (r->stopping || !engine_is_up(r->o.engine))
		return;
	r->cache.current.known = false;
	sync_begin(r);
}

static void on_up(void *ctx, const struct engine_version *v)
{
	struct reconcile *r = ctx;

	if (r->stopping)
		return;
	log_info("engine_back", kv_str("version", v->name), kv_str("api", v->api));
	free(r->engine_problem);
	r->engine_problem = NULL;
	r->cache.current.known = false;
	sync_begin(r);
	reconcile_mark_changed(r);
}

static void on_lost(void *ctx, const struct err *why)
{
	struct reconcile *r = ctx;

	if (r->stopping)
		return;
	if (!str_eq(r->engine_problem, why->msg))
		log_warn("engine_lost", kv_str("err", why->msg));
	free(r->engine_problem);
	r->engine_problem = mem_strdup(why->msg);
	r->cache.current.known = false;
	loop_timer_stop(&r->cache.sync_timer);
	reconcile_mark_changed(r);
	reconcile_poke(r);
}

static bool container_event_matters(const char *action)
{
	static const char *const actions[] = {"create", "start",   "restart", "die", "stop",  "rename",
					      "pause",  "unpause", "update",  "oom", "detach"};

	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(action, actions[i]) == 0)
			return true;
	return str_starts(action, "health_status");
}

/* The signal of a stop that an earlier run sent may come only now. */
static void on_kill(struct reconcile *r, const char *id)
{
	const struct container *c = cache_find_container(r, id);
	const struct lock_app_view *locks = c ? lock_views_app(lock_set_views(r->o.locks), c->app_id) : NULL;

	if (locks && locks->leftover)
		cache_mark_stopping(r, id, loop_now_ms(r->o.loop));
}

static void on_event(void *ctx, const struct engine_event *ev)
{
	struct reconcile *r = ctx;

	if (r->stopping)
		return;
	switch (ev->type) {
	case ENGINE_CONTAINER:
		if (strcmp(ev->action, "destroy") == 0)
			cache_container_gone(r, ev->id);
		else if (strcmp(ev->action, "kill") == 0)
			on_kill(r, ev->id);
		else if (container_event_matters(ev->action) && !steps_will_look(r, ev))
			cache_refresh_container(r, ev->id, NULL, NULL);
		break;
	case ENGINE_NETWORK:
		if (strcmp(ev->action, "create") == 0 || strcmp(ev->action, "destroy") == 0)
			cache_refresh(r, LIST_NETWORKS, NULL, NULL);
		break;
	case ENGINE_VOLUME:
		if (strcmp(ev->action, "create") == 0 || strcmp(ev->action, "destroy") == 0)
			cache_refresh(r, LIST_VOLUMES, NULL, NULL);
		break;
	case ENGINE_IMAGE:
		cache_refresh(r, LIST_IMAGES, NULL, NULL);
		break;
	}
}

void cache_watch(struct reconcile *r)
{
	engine_watch_start(r->o.engine,
			   &(struct engine_watch){.up = on_up, .lost = on_lost, .event = on_event, .ctx = r});
}

void cache_init(struct reconcile *r)
{
	cache_init_lists(r);
	loop_timer_init(r->o.loop, &r->cache.sync_timer, on_sync_timer, r);
}
