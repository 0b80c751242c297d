/* The current state: what the engine has, as plain values. Spec engine.md 2.1, 2.2, 4. */
#ifndef MODEL_CURRENT_H
#define MODEL_CURRENT_H

#include "model/config.h"
#include "model/image.h"
#include "model/target.h"

enum container_state {
	CONTAINER_CREATED,
	CONTAINER_RUNNING, /* also paused and restarting: the engine's Running flag */
	CONTAINER_EXITED,
	CONTAINER_DEAD,
	CONTAINER_REMOVING,
	CONTAINER_STATE_COUNT
};
struct container {
	char *id, *name; /* name without the leading slash */
	/* identity, from labels and name; service NULL: not a supervised container of the expected form */
	char *service, *app_uuid, *commit;
	int64_t app_id, service_id, image_id, release_id;
	char *image;           /* Config.Image */
	char *docker_image_id; /* Image */
	enum container_state state;
	char *state_text; /* the engine's own word: exited, paused, … */
	char *error;      /* State.Error */
	int exit_code;
	char *health;                                /* none, starting, healthy, unhealthy */
	int64_t created_ms, started_ms, finished_ms; /* Unix ms, 0 unknown */
	int stop_timeout_s;
	int64_t stopping_until_ms; /* loop time: a stop sent by an earlier run may still be at work; 0: no. Set by
				      reconcile */
	struct service_config config;
};
struct network {
	char *id, *name;
	bool supervised;
	int64_t app_id;       /* 0 unknown */
	char *app_uuid, *key; /* from the name; NULL when not ours by form */
	struct target_network spec;
};
struct volume {
	char *name;
	bool supervised;
	int64_t app_id;
	char *app_uuid, *key;
	char *driver;
	struct strmap options, labels;
};
struct current {
	bool known; /* false until the first full list of the engine was merged */
	struct container *containers;
	size_t n_containers;
	struct network *networks;
	size_t n_networks;
	struct volume *volumes;
	size_t n_volumes;
	struct image *images;
	size_t n_images;
};
void container_deinit(struct container *c);
void network_deinit(struct network *n);
void volume_deinit(struct volume *v);
void target_network_deinit(struct target_network *n);
void current_deinit(struct current *c);

/* From GET /containers/<id>/json. `service` stays NULL (and 0 is returned) for a container that is not supervised or
 * not of our form. */
int container_from_engine(const struct json *inspect, struct container *out, struct err *err);
int network_from_engine(const struct json *inspect, struct network *out, struct err *err);
int volume_from_engine(const struct json *inspect, struct volume *out, struct err *err);
/* Equality by spec 4.1; one direction: current to target. */
bool network_equal(const struct network *current, const struct target_network *target, struct field_changes *out);
/* Bodies of POST /networks/create and /volumes/create. */
void network_create_body(const struct target_app *a, const struct target_network *n, struct buf *to);
void volume_create_body(const struct target_app *a, const struct target_volume *v, struct buf *to);
/* The supervisor's own network (constants of spec 0): is this one right, and its create body. */
#define SUPERVISOR_NETWORK "supervisor0"
#define SUPERVISOR_GATEWAY "10.114.104.1"
bool network_is_supervisor0(const struct network *n);
void supervisor0_create_body(struct buf *to);
/* Status word of spec 10.6: Running, Installed, Dead or the engine's own. */
const char *container_status(const struct container *c);

#endif
