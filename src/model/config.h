/*
 * What a container runs as: the canonical form in which a target service and an existing container are compared. Both
 * sides are brought to this form first (spec engine.md 1.2, 2.2, 2.3), so that equal effective settings are equal
 * values.
 */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/json.h"
#include "util/str.h"

struct port_map {
	char proto[5];    /* tcp, udp, sctp */
	char host_ip[46]; /* "" any */
	uint16_t host;    /* 0: ephemeral */
	uint16_t container;
};
struct mount {        /* long-form volumes that do not fit a bind */
	char *type;   /* volume, tmpfs, bind (ours only: engine socket) */
	char *source; /* engine name, NULL: anonymous or tmpfs */
	char *target;
	bool read_only, no_copy;
	int64_t tmpfs_size_bytes;
};
struct network_join {
	char *name; /* engine name: <appUuid>_<key>, or supervisor0 */
	struct strv aliases;
	char *ipv4, *ipv6;
	struct strv link_local;
};

#define STOP_TIMEOUT_S 10 /* the default */

struct service_config {
	char *image; /* engine image id when the image is local, else the reference */
	struct strv command, entrypoint;
	struct strmap env, labels;
	char *restart; /* no, always, on-failure, unless-stopped */
	int restart_max;
	struct port_map *ports; /* expanded tuples, sorted, unique */
	size_t n_ports;
	struct strv binds;     /* "<source>:<target>[:<mode>]", sorted; named volumes carry their engine name */
	struct strv anonymous; /* container paths of anonymous volumes, sorted */
	struct mount *mounts;  /* sorted by canonical text */
	size_t n_mounts;
	char *network_mode;            /* engine form: host, none, bridge or the engine name of the main network */
	struct network_join *networks; /* sorted by name */
	size_t n_networks;
	bool privileged, tty;
	int stop_timeout_s; /* from TERM to KILL; the engine reads what is not set as 10 */
	char *hostname, *user, *working_dir;
	bool completed; /* read from an engine that fills in its own choices (podman): see completed.c */
};
void service_config_deinit(struct service_config *c); /* zeroed is fine; c is zeroed after */

struct field_change {
	char *field, *current, *target; /* texts for people; secrets (…_API_KEY values) are masked */
};
struct field_changes {
	struct field_change *v;
	size_t n, capacity;
};
void field_changes_add(struct field_changes *l, const char *field, const char *current, const char *target);
void field_changes_deinit(struct field_changes *l);

/*
 * What differs between a running container and its target, by the rules of spec 2.3 (device name at init, extra
 * networks not of the app, order of U lists, extra aliases do not count). `out` may be NULL. Returns true when equal.
 */
bool service_config_diff(const struct service_config *current, const struct service_config *target,
			 struct field_changes *out);

/*
 * Body of POST /containers/create. Carries the endpoint of the main network only; the others are joined with
 * service_connect_body(). `device_name` becomes {BALENA,RESIN}_DEVICE_NAME_AT_INIT. Appends to `to`. -EINVAL: a newline
 * in the device name.
 */
int service_create_body(const struct service_config *c, const char *device_name, struct buf *to, struct err *err);
/* Body of POST /networks/<n>/connect for one join. */
void service_connect_body(const struct network_join *n, const char *container, struct buf *to);

/* Engine form -> canonical form, from the parsed GET /containers/<id>/json. -EPROTO names the member that is not as
 * expected. */
int service_config_from_engine(const struct json *inspect, struct service_config *out, struct err *err);

#endif
