/*
 * The inside of the planner, shared by its files only. One plan is made in passes over flat arrays, each file one topic:
 *
 *   plan.c       the order of the passes, names of kinds
 *   gather.c     apps and their services: what is wanted beside what is there
 *   images.c     which images are here, pulls, removal of old ones
 *   resources.c  networks and volumes that are to be made, made anew or removed
 *   services.c   what has to happen to each service, and why
 *   locks.c      may an app be stopped now; taking and giving back its locks
 *   units.c      order among services, what can start now
 *   slots.c      units side by side; the steps and waits of services
 *   memo.c       wanted configurations, kept for the next plan
 *   out.c        adding to the plan
 *   index.c      look-up by text
 */
#ifndef PLAN_INTERNAL_H
#define PLAN_INTERNAL_H

#include "plan/plan.h"
#include "util/mem.h"

/* ---- index.c: text -> things, sorted once, several things for one text in the order they were added ---- */
struct plan_entry {
	const char *key; /* borrowed */
	void *value;
	size_t order;
};
struct plan_index {
	struct plan_entry *v;
	size_t n, capacity;
};
void plan_index_add(struct plan_index *x, const char *key, const void *value);
void plan_index_sort(struct plan_index *x);
const struct plan_entry *plan_index_range(const struct plan_index *x, const char *key, size_t *n);
void *plan_index_get(const struct plan_index *x, const char *key); /* the first, or NULL */

/* ---- what is planned about ---- */
enum plan_guard {                /* may a step that stops, removes, renames or adds a service of this app begin now? */
		  GUARD_OPEN,    /* yes */
		  GUARD_TAKE,    /* as soon as the locks are taken; nothing known is in the way of that */
		  GUARD_TAKING,  /* a lock step is in flight */
		  GUARD_LOCKED,  /* no: an application holds a lock */
		  GUARD_BACKOFF, /* no: taking failed with the file system a moment ago */
		  GUARD_PULLING  /* no: images of the release are missing */
};
struct plan_service;
struct plan_app {
	int64_t id;
	const struct target_app *target; /* NULL: left the target */
	const struct target_app *want;   /* target with a release; NULL: everything of the app goes */
	bool ours;                       /* false: only a lock of ours is left to give back */
	struct plan_service *services;   /* sorted by name */
	size_t n_services, n_containers;
	bool needs_locks;    /* something of it may be at work: a container, or an app that an old supervisor started */
	size_t n_missing;    /* images of the release that are not here */
	const char *missing; /* one of them */
	bool pulling;        /* one of them is pulled or queued */
	size_t n_making;     /* networks and volumes being made for it */
	const struct lock_app_view *locks;
	char *lock_subject;
	const struct plan_in_flight *lock_flight;
	const struct plan_failure *lock_failure, *unlock_failure;
	enum plan_guard guard;
	enum lock_force forced;
	bool blocked, stopping;
	bool unrecorded;       /* it will stop services that are not recorded as stopped yet */
	bool uses_supervisor0; /* a container of it is in the way of making supervisor0 anew */
	bool want_take, want_lock_wait, want_lock_backoff, holds_locks;
	bool busy, unsettled; /* kept by out.c: a step other than a pull; any step or wait */
	struct strv replaces;
};

enum plan_work { /* what a service needs, looking at its newest container */
		 WORK_NONE,
		 WORK_WAIT,    /* the engine is at work on it: a stop of an earlier run, a removal */
		 WORK_DEAD,    /* remove what the engine could not */
		 WORK_GONE,    /* stop and remove */
		 WORK_REPLACE, /* stop, remove; then it is WORK_CREATE */
		 WORK_CREATE,
		 WORK_START,
		 WORK_STOP, /* not to run, but to stay */
		 WORK_RENAME
};
enum plan_outcome { /* can its next step begin? */
		    OUT_NONE,
		    OUT_FLIGHT, /* a step of it is under way */
		    OUT_READY,
		    OUT_READY_LOCK, /* but for the locks, which can be taken */
		    OUT_SHORT,      /* waits for something under way; keeps locks and slot */
		    OUT_LONG        /* waits for something that may take long: gives both away */
};
struct plan_resource;
struct plan_service {
	struct plan_app *app;
	const char *name;
	char *subject;
	const struct target_service *want;   /* NULL: left the target */
	const struct container **containers; /* newest first */
	size_t n_containers;
	const struct container *current;     /* the newest, or NULL */
	const struct image *image;           /* local image of want, or NULL */
	const struct service_config *config; /* resolved; NULL: not wanted */
	struct field_changes changes;
	const struct plan_in_flight *flight;
	const struct plan_failure *failure;   /* only while it backs off */
	bool removed;                         /* recorded: this update stopped it */
	bool accepted;                        /* what still differs is the engine's doing: as good as equal */
	const struct plan_resource *doomed;   /* used by the container, changed or gone */
	const struct plan_resource *making;   /* needed by the target, to be made: a failing one if there is any */
	const struct plan_resource *remaking; /* needed by the target, to be made anew */
	enum plan_work work;
	enum plan_step_kind next;   /* STEP_KIND_COUNT: none */
	const struct container *on; /* the container of `next` */
	bool guarded;               /* next needs the locks */
	char *reason;
	size_t first_dep, n_deps;               /* in plan_ctx.deps */
	const struct plan_service *stop_after;  /* a dependent that is stopped first */
	const struct plan_service *start_after; /* a dependency that is not up yet */
	const struct plan_service *stuck_on;    /* … or will not be for long */
	bool stuck;
	size_t unit;    /* union-find parent: index of a service */
	bool slot_free; /* does not count among those that run side by side */
	enum plan_outcome outcome;
	enum plan_wait_kind wait; /* of a service that waits by itself; WAIT_KIND_COUNT: its app says it */
	char *wait_detail;
	int64_t wait_until;
};
enum plan_resource_kind { RESOURCE_NETWORK, RESOURCE_VOLUME };
enum plan_resource_work { RESOURCE_CREATE, RESOURCE_CHANGE, RESOURCE_GONE };
struct plan_resource { /* only those that are not as wanted */
	enum plan_resource_kind kind;
	enum plan_resource_work work;
	const char *name;
	char *subject;
	struct plan_app *app; /* NULL: supervisor0 */
	const struct plan_in_flight *flight;
	const struct plan_failure *failure; /* only while it backs off */
	size_t n_users;                     /* containers */
	bool held_long;                     /* one of them stays for long: made anew only after that */
	const struct container *foreign_user;
	char *reason;
};
struct plan_reference { /* one distinct image the target names */
	const char *name;
	const struct image *local;
	char *subject;
	const struct plan_in_flight *flight;
	const struct plan_failure *failure;
	struct plan_service **users;
	size_t n_users;
};
struct plan_ctx {
	const struct plan_input *in;
	struct plan_memo *memo; /* the input's, or one for this plan alone */
	struct plan *out;
	int64_t *owned, *forced; /* sorted */
	struct plan_app *apps;
	size_t n_apps;
	struct plan_service *services;
	size_t n_services;
	const struct container **containers; /* of our form: by app, service, newest first */
	size_t n_containers;
	const struct container **own; /* of our form too, but the supervisor itself: nothing is planned about them */
	size_t n_own;
	struct plan_index flights, failures, removed, accepted, images;
	struct strv listed_subjects; /* keys of removed and accepted */
	struct plan_reference *references;
	struct plan_service **reference_users;
	size_t n_references;
	struct plan_resource *resources;
	size_t n_resources, resources_capacity;
	struct plan_index networks, volumes; /* name -> plan_resource */
	bool supervisor0_waits_long, supervisor0_waits_short;
	const struct plan_app *supervisor0_waits_for;
	size_t *deps; /* indices of services; SIZE_MAX: left out to break a cycle */
	size_t n_deps;
	size_t *order; /* services, dependencies first */
	bool override; /* the device's configuration overrides locks */
	bool unrest;   /* something is going on that old images must not be removed beside */
};

/* gather.c */
void plan_gather(struct plan_ctx *c);
struct plan_app *plan_find_app(const struct plan_ctx *c, int64_t id);
struct plan_service *plan_find_service(const struct plan_app *a, const char *name);
const struct plan_in_flight *plan_flight(const struct plan_ctx *c, const char *subject);
const struct plan_failure *plan_backoff(const struct plan_ctx *c,
					const char *subject); /* NULL once it may be retried */

/* images.c */
void plan_images_find(struct plan_ctx *c);
void plan_images_emit(struct plan_ctx *c);
void plan_images_remove_old(struct plan_ctx *c);

/* resources.c: needs the resolved configurations */
void plan_resources_find(struct plan_ctx *c);
void plan_resources_emit(struct plan_ctx *c);
/* Calls `fn` for each use of a resource that is not as wanted; one resource may come twice. */
typedef void plan_resource_fn(struct plan_resource *r, void *ctx);
void plan_each_use(const struct plan_ctx *c, const struct service_config *config, plan_resource_fn *fn, void *ctx);

/* services.c */
void plan_services_resolve(struct plan_ctx *c);
void plan_services_decide(struct plan_ctx *c);
bool plan_service_has_work(const struct plan_service *s);
bool plan_service_will_stop(const struct plan_service *s);
bool plan_service_is_down(const struct plan_service *s); /* wanted up, and not */
/*
 * Why services of the app wait for its locks, in a few words: "main: image; db: no longer in the target". Without
 * `fields`: only those whose reason is not a difference of fields. NULL: none does. The caller frees it.
 */
char *plan_app_why(const struct plan_app *a, bool fields);

void plan_service_config(const struct plan_ctx *c, const struct plan_service *s, struct service_config *out);

/* memo.c */
void plan_memo_begin(struct plan_memo *m, const struct plan_input *in); /* drops what another target left */
const struct service_config *plan_memo_config(struct plan_memo *m, const struct plan_input *in,
					      const struct plan_service *s, const char *key);

/* locks.c */
void plan_locks_guard(struct plan_ctx *c);
void plan_locks_emit(struct plan_ctx *c);
void plan_locks_give_back(struct plan_ctx *c); /* there is no target */

/* units.c, slots.c */
void plan_units_order(struct plan_ctx *c);
void plan_units_evaluate(struct plan_ctx *c);
void plan_units_emit(struct plan_ctx *c);

/* out.c */
struct plan_step *plan_add_step(struct plan_ctx *c, enum plan_step_kind kind, const char *subject, int64_t app_id);
struct plan_wait *plan_add_wait(struct plan_ctx *c, enum plan_wait_kind kind, int64_t app_id, const char *subject_fmt,
				...) __attribute__((format(printf, 4, 5)));
void plan_add_backoff(struct plan_ctx *c, const struct plan_failure *f, int64_t app_id, const char *service,
		      const char *suffix);
void plan_add_note(struct plan_ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void plan_echo(struct plan_ctx *c, const struct plan_in_flight *f);
void plan_copy_changes(struct field_changes *to, const struct field_changes *from);
void plan_step_deinit(struct plan_step *s);
void plan_wait_deinit(struct plan_wait *w);

#endif
