/*
 * The Docker Engine API, typed. Every call: starting cannot fail, `done` runs once from the loop, never before the
 * start function returned; results are borrowed until `done` returns. Errors: -ENOENT 404, -EEXIST/-EBUSY 409
 * (conflict; -EEXIST when a name is taken; -EBUSY too for a network with active endpoints), -EINVAL 400, -EACCES 401,
 * -EPERM 403, -ENOSPC the engine's disk is full, -EIO 5xx, -ECONNREFUSED/-ENOENT-on-connect etc. become -EHOSTDOWN
 * ("the engine is away: …"), -ETIMEDOUT, -EMSGSIZE, -ECANCELED, -EPROTO; the engine's own sentence is kept. Spec
 * engine.md 8, 3.4, 3.7.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "loop/loop.h"
#include "model/current.h"
#include "net/http.h"

struct engine;
struct engine *engine_new(struct loop *l, const char *socket_path);
/* Cancels everything in flight, closes, then `stopped` once. */
void engine_stop(struct engine *e, loop_fn *stopped, void *ctx);

struct engine_version {
	char api[16];  /* negotiated */
	char name[64]; /* Docker Engine version text */
	bool balena;   /* balenaEngine: progress comes as Total */
};
/* GET /version, then the newest API both know, down to 1.41; -EPROTO with a clear sentence outside. Until it succeeded,
 * calls go to unversioned paths. */
typedef void engine_version_fn(void *ctx, const struct err *err, const struct engine_version *v);
void engine_negotiate(struct engine *e, engine_version_fn *done, void *ctx);

/* Calls without a result beyond success. Return a handle for http_call_cancel(); a stop that was sent is never
 * cancelled by us. */
typedef void engine_done_fn(void *ctx, const struct err *err);
typedef void engine_id_fn(void *ctx, const struct err *err, const char *id);
/* The request of this call has been handed to the socket: for lag measurement; may be NULL */
struct http_call *engine_container_create(struct engine *e, const char *name, const struct buf *body,
					  engine_id_fn *done, void *ctx);
struct http_call *engine_container_start(struct engine *e, const char *id, engine_done_fn *done,
					 void *ctx); /* 304 is success */
/* No `t`: the container's StopTimeout. `timeout_s`: our patience = that plus margin. 304 and 404 are success. */
struct http_call *engine_container_stop(struct engine *e, const char *id, int stop_timeout_s, engine_done_fn *done,
					void *ctx);
struct http_call *engine_container_remove(
	struct engine *e, const char *id, bool force, engine_done_fn *done,
	void *ctx); /* v=1; 404 is success; 409 "removal in progress": waits are the caller's (-EBUSY) */
struct http_call *engine_container_rename(struct engine *e, const char *id, const char *name, engine_done_fn *done,
					  void *ctx);
typedef void engine_container_fn(void *ctx, const struct err *err,
				 struct container *c); /* c: members may be moved out (zero what you take) */
struct http_call *engine_container_inspect(struct engine *e, const char *id, engine_container_fn *done, void *ctx);
/* All supervised containers (label io.balena.supervised or io.resin.supervised, any state), inspected, in no order; one
 * that vanished in between, cannot be read or is not of our form is skipped (log_debug): no `service` is NULL here. */
typedef void engine_containers_fn(void *ctx, const struct err *err, struct container *v,
				  size_t n); /* array borrowed, members may be moved out */
void engine_containers_list(struct engine *e, engine_containers_fn *done, void *ctx);

struct http_call *engine_network_create(struct engine *e, const struct buf *body, engine_done_fn *done, void *ctx);
struct http_call *engine_network_remove(struct engine *e, const char *id_or_name, engine_done_fn *done,
					void *ctx); /* 404 is success */
struct http_call *engine_network_connect(struct engine *e, const char *network, const struct buf *body,
					 engine_done_fn *done, void *ctx);
typedef void engine_networks_fn(void *ctx, const struct err *err, struct network *v, size_t n);
/* Supervised networks and supervisor0, with full IPAM. */
void engine_networks_list(struct engine *e, engine_networks_fn *done, void *ctx);
struct http_call *engine_volume_create(struct engine *e, const struct buf *body, engine_done_fn *done, void *ctx);
struct http_call *engine_volume_remove(struct engine *e, const char *name, engine_done_fn *done,
				       void *ctx); /* 404 is success */
typedef void engine_volumes_fn(void *ctx, const struct err *err, struct volume *v, size_t n);
void engine_volumes_list(struct engine *e, engine_volumes_fn *done, void *ctx);

/* All local images: id, tags, digests (has_config false). */
typedef void engine_images_fn(void *ctx, const struct err *err, struct image *v, size_t n);
void engine_images_list(struct engine *e, engine_images_fn *done, void *ctx);
typedef void engine_image_fn(void *ctx, const struct err *err, struct image *image);
struct http_call *engine_image_inspect(struct engine *e, const char *ref, engine_image_fn *done, void *ctx);
struct http_call *engine_image_remove(struct engine *e, const char *ref, engine_done_fn *done,
				      void *ctx); /* 404 is success */
/* Pull a normalised reference. A failure arrives inside a 200 stream and becomes `err` with the engine's sentence
 * (-EIO; -ENOENT manifest or repository not found; -EACCES denied; -ENOSPC). `auth`: X-Registry-Auth or NULL. A pull
 * may be silent for long: idle timeout 15 min. Progress: 0-100, never falling; from the loop. */
typedef void engine_progress_fn(void *ctx, int percent);
struct http_call *engine_image_pull(struct engine *e, const char *ref, const char *auth, engine_progress_fn *progress,
				    engine_done_fn *done, void *ctx);

/* GET /events?since&until with type container, event kill: for leftovers of an earlier run. Oldest first, the
 * latest 1024 (the engine itself remembers 256 events). */
struct engine_kill {
	const char *id;
	int64_t at_ms; /* Unix */
};
typedef void engine_kills_fn(void *ctx, const struct err *err, const struct engine_kill *v, size_t n);
void engine_kills_since(struct engine *e, int64_t since_unix_ms, engine_kills_fn *done, void *ctx);

/*
 * The event stream. Hints only. Lost, or not there at start -> `lost` once with the reason, reconnect with backoff from
 * 100 ms (cap 5 s) for ever; each time it is up again (also the first): negotiate, then open the stream, then `up`: the
 * owner then lists everything (the stream is open before, so nothing is missed).
 */
enum engine_event_type { ENGINE_CONTAINER, ENGINE_IMAGE, ENGINE_NETWORK, ENGINE_VOLUME };
struct engine_event {
	enum engine_event_type type;
	const char *action; /* die, start, destroy, create, kill, stop, rename, health_status: healthy, pull, tag,
			       untag, delete, connect, … */
	const char *id;     /* container or network id, image ref or id, volume name */
	const char *name;   /* attributes.name when given, else "" */
	int64_t time_ms;
};
struct engine_watch {
	void (*up)(void *ctx, const struct engine_version *v);
	void (*lost)(void *ctx, const struct err *why);
	void (*event)(void *ctx, const struct engine_event *ev);
	void *ctx;
};
void engine_watch_start(struct engine *e, const struct engine_watch *w);
bool engine_is_up(const struct engine *e);

#endif
