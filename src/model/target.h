/*
 * The target: what the owner asked for, as plain values. Parsing is strict and whole (spec cloud-api.md 4, interface
 * "Target file"): every error is found, with its JSON path; one error refuses the document.
 */
#ifndef MODEL_TARGET_H
#define MODEL_TARGET_H

#include "model/config.h"
#include "model/image.h"

#define TARGET_MAX_BYTES  (4u << 20)
#define TARGET_ERRORS_MAX 50

struct target_service {
	int64_t id, image_id;
	char *name;
	char *image; /* normalised reference */
	bool running;
	struct strv depends_on;
	struct service_config spec; /* what the document says, prefixed names resolved; gaps (image defaults, injected
				       env and labels) open: see service_resolve() */
	bool has_command, has_entrypoint, has_tty, has_hostname;
	bool supervisor_api; /* label io.balena.features.supervisor-api is truthy (document only; image labels are
				looked at in service_resolve) */
};
struct target_network {
	char *key;  /* compose name */
	char *name; /* engine name <appUuid>_<key> */
	char *driver;
	struct strmap options, labels;
	char *ipam_driver;
	struct strmap ipam_options;
	struct network_pool {
		char *subnet, *gateway, *ip_range;
		struct strmap aux;
	} * pools;
	size_t n_pools;
	bool enable_ipv6, internal, config_only;
};
struct target_volume {
	char *key;
	char *name; /* engine name <appId>_<key> */
	char *driver;
	struct strmap options, labels;
};
struct target_left_out { /* a service of the release that is the supervisor itself: the host runs it */
	char *name, *image;
};
struct target_app {
	int64_t id, release_id;
	char *uuid, *name;
	char *app_class; /* fleet, app, block */
	bool is_host;
	char *commit; /* NULL: no release, everything of the app goes */
	struct target_service *services;
	struct target_network *networks; /* includes "default" */
	struct target_volume *volumes;
	size_t n_services, n_networks, n_volumes;
	struct target_left_out *left_out;
	size_t n_left_out;
};
struct target {
	char *uuid; /* NULL when the document is the bare device part */
	char *name; /* device name, "local" by default */
	struct strmap config;
	struct target_app *apps; /* sorted by id */
	size_t n_apps;
};
void target_free(struct target *t);

struct target_error {
	char *path;    /* "apps.<uuid>.releases.<commit>.services.main.image"; "" for the whole document */
	char *message; /* "expected a string, got 5" */
};
struct target_errors {
	struct target_error *v;
	size_t n, capacity;
	size_t total; /* also those beyond TARGET_ERRORS_MAX */
};
void target_errors_deinit(struct target_errors *l);

struct target_options {
	bool standalone;         /* name, config and numeric ids are optional; bare device part accepted */
	const char *device_uuid; /* which device of a whole document; NULL: the only one */
};
/*
 * Parse. On success *out is the caller's (target_free). Returns -EINVAL (errors list says why; a JSON error is one
 * entry with path "" and its byte offset) or -E2BIG over TARGET_MAX_BYTES.
 */
int target_parse(const char *text, size_t len, const struct target_options *o, struct target **out,
		 struct target_errors *errors);
const struct target_app *target_find_app(const struct target *t, int64_t id);
const struct target_service *target_app_find_service(const struct target_app *a, const char *name);

/* Everything a container's environment needs that is not in the target. All may be NULL but the uuid. */
struct device_facts {
	char *uuid, *type, *arch, *os_version;
	char *hostname;    /* the host's, for host-network services */
	char *lock_root;   /* host path of update lock directories: <lock_root>/<appId>/<service> */
	uint16_t api_port; /* told to supervisor-api services */
	char *boot_id;
	unsigned processors; /* units that run side by side */
	bool keep_volumes;   /* standalone: never delete a volume because its app left */
	bool adopt;          /* foreign apps are ours */
	bool owns_all;       /* managed: every supervised app is ours */
	char *own_container; /* id (or the first 12 digits of it) of the container we run in; NULL: none, or not known */
	char *own_image;     /* a reference of the image we run from; NULL: not known */
};
void device_facts_deinit(struct device_facts *f);

/*
 * The complete wanted configuration of a service: document + image defaults + injected environment, labels, binds
 * (spec 1.4, 1.5b, 1.9, 2.4). `image` is the local image or NULL (then config.image is the reference and never equals a
 * container's). `api_key`: the key of this service, for supervisor-api; NULL if not needed. out is zeroed before; the
 * caller deinits it.
 */
void service_resolve(const struct target *t, const struct target_app *a, const struct target_service *s,
		     const struct image *image, const struct device_facts *f, const char *api_key,
		     struct service_config *out);
/* Does it want the supervisor API, counting image labels too (image may be NULL)? */
bool service_wants_api(const struct target_service *s, const struct image *image);
/* "<service>_<imageId>_<releaseId>_<commit>"; caller frees. */
char *service_container_name(const struct target_app *a, const struct target_service *s);

#endif
