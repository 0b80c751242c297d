/*
 * The planner: what differs between current and target becomes steps that may start now and waits that name what ends
 * them. Pure: no I/O, no clock, no loop; everything it knows is in struct plan_input. Level-triggered: call it again
 * whenever anything changed; it holds no state. Facts: spec engine.md 2.5, 4.3, 5.7, 5.9 (download-then-kill),
 * update-locks.md 1 and 3.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "model/current.h"
#include "model/locks.h"
#include "model/target.h"

/* Names on the wire: interface.md "API additions". Kinds no step of this version uses keep their place in the list. */
enum plan_step_kind {
	STEP_PULL,
	STEP_LOAD,
	STEP_REMOVE_IMAGE,
	STEP_TAKE_LOCKS,
	STEP_RELEASE_LOCKS,
	STEP_STOP,
	STEP_REMOVE,
	STEP_CREATE,
	STEP_START,
	STEP_RENAME,
	STEP_HANDOVER,
	STEP_CREATE_NETWORK,
	STEP_REMOVE_NETWORK,
	STEP_CREATE_VOLUME,
	STEP_REMOVE_VOLUME,
	STEP_REBOOT,
	STEP_SHUTDOWN,
	STEP_SET_CONFIG,
	STEP_KIND_COUNT
};
enum plan_wait_kind {
	WAIT_LOCKED,
	WAIT_PULLING,
	WAIT_DEPENDENCY,
	WAIT_HEALTH,
	WAIT_HANDOVER,
	WAIT_BACKOFF,
	WAIT_ENGINE,
	WAIT_DISK,
	WAIT_REBOOT,
	WAIT_WINDOW,
	WAIT_OPERATION,
	WAIT_KIND_COUNT
};
const char *plan_step_kind_name(enum plan_step_kind k); /* "pull", "take_locks", … */
const char *plan_wait_kind_name(enum plan_wait_kind k);

/*
 * Subjects: what one step is about; at most one step per subject at a time.
 * "service <appId>/<name>", "image <ref>", "network <engine name>", "volume <engine name>", "locks <appId>"; a failure to
 * give locks back has the subject "unlock <appId>", so that it does not put off taking them.
 */

struct plan_in_flight { /* a step begun and not merged yet */
	const char *subject;
	enum plan_step_kind kind;
	int64_t app_id;
	const char *container_id; /* of stop, remove, start, rename; else NULL */
	const char *reason;
};
struct plan_failure { /* a subject whose last step failed */
	const char *subject;
	int64_t app_id;
	unsigned attempts;   /* consecutive, from 1 */
	int64_t retry_at_ms; /* loop time */
	const char *error;   /* the sentence */
	int64_t since_ms;    /* loop time of the failure */
};
struct plan_removed { /* durable: the update in progress stops or stopped this service (recorded before its first stop)
		       */
	int64_t app_id;
	const char *service;
};
/*
 * What one plan worked out and the next may use again, as long as target, generation and facts are the same (make
 * another one when the facts change). A plan is the same with it and without.
 */
struct plan_memo;
struct plan_memo *plan_memo_new(void);
void plan_memo_free(struct plan_memo *m);

struct plan_input {
	const struct target *target; /* NULL: none yet, then nothing is planned */
	uint64_t generation;
	const struct current *current;
	const struct lock_views *locks;
	const struct plan_in_flight *in_flight;
	size_t n_in_flight;
	const struct plan_failure *failures;
	size_t n_failures;
	const struct plan_removed *removed;
	size_t n_removed;
	/*
	 * Services whose container was made anew for this target and still reads back different (an engine that
	 * discards a setting): taken as they are, with a note that names the fields, instead of being replaced for ever
	 * (spec 9.1 b).
	 */
	const struct plan_removed *accepted;
	size_t n_accepted;
	const int64_t *owned_apps; /* ever in a target of this state directory */
	size_t n_owned_apps;
	const int64_t *forced_apps;      /* force is on for these */
	size_t n_forced_apps;            /* by request; override variables are the target's */
	const struct strv *owned_images; /* references we ever wanted: candidates for removal */
	const struct device_facts *facts;
	/* key of a supervisor-api service; pure look-up given by the caller (keys exist before a plan is made). NULL
	 * result: no key */
	const char *(*api_key)(void *ctx, int64_t app_id, const char *service);
	void *api_key_ctx;
	unsigned pulls_max;     /* pulls in flight at a time */
	int64_t now_ms;         /* loop time */
	struct plan_memo *memo; /* borrowed; NULL: none */
};

struct plan_step {
	enum plan_step_kind kind;
	char *subject;
	int64_t app_id;               /* 0: none (image removal) */
	char *service;                /* NULL: not about a service */
	char *image;                  /* reference: pull, remove_image, create, start */
	char *name;                   /* container, network or volume name (rename: the new one) */
	char *container_id;           /* stop, remove, start, rename */
	char *reason;                 /* for people: "image changed", "no longer in the target", … */
	struct field_changes changes; /* of the service whose replacement this is part of */
	struct service_config config; /* create: resolved */
	struct strv locks;            /* take_locks: every service of the app; */
	struct strv replaces;         /* take_locks: the services this update will stop (to be recorded first) */
	enum lock_force force;        /* take_locks: break what is found, for whom */
	bool in_flight;               /* echoed from the input: already begun */
};
struct plan_wait {
	enum plan_wait_kind kind;
	char *subject;  /* stable identity of the wait, so that since can be kept: "locked 1", "backoff service 1/main",
			   … */
	int64_t app_id; /* 0: none */
	char *service;  /* NULL: the app or nothing */
	struct strv services; /* locked: whose locks are in the way */
	const char *action;   /* locked: update, remove, … (static) */
	int64_t until_ms;     /* loop time; 0: no deadline */
	char *detail;         /* for people: what it waits for and what ends it */
};
struct plan_app_state {
	int64_t app_id;
	bool settled;         /* no step and no wait of the app */
	struct strv replaces; /* running services this update stops sooner or later, also while it is still blocked:
				 recorded durably before the locks are taken */
	bool stopping;        /* a stop is in flight, or one of an earlier run may be: its locks must stay */
};
struct plan {
	struct plan_step *steps;
	size_t n_steps, steps_capacity;
	struct plan_wait *waits;
	size_t n_waits, waits_capacity;
	struct plan_app_state *apps; /* target and owned current apps, sorted by id */
	size_t n_apps, apps_capacity;
	int64_t *foreign; /* app ids with supervised containers that are not ours */
	size_t n_foreign, foreign_capacity;
	struct strv notes; /* things nobody will do anything about, each once: "volume 1_db: driver differs; kept, data
			      is never deleted implicitly" */
	bool settled;      /* no step and no wait at all */
};

/* Always succeeds. `out` is zeroed before; plan_deinit() frees. Same input, same output, same order. */
void plan_make(const struct plan_input *in, struct plan *out);
void plan_deinit(struct plan *p);
/* Is this app ours by the rules of interface.md "Foreign"? */
bool plan_app_is_ours(const struct plan_input *in, int64_t app_id);

#endif
