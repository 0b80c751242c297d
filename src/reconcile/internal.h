/*
 * The inside of the reconciler, shared by its files only:
 *   reconcile.c  life, the round (gather, plan, start), what the outside asks
 *   targets.c    documents, forces, seq
 *   cache.c      current containers: inspects, stamps
 *   cache_lists.c  lists, image configurations
 *   watch.c      the engine comes and goes; its events
 *   declare.c    which lock directories count, and for how long a lock in them does
 *   steps.c      the life of a step
 *   steps_locks.c  those that are about locks
 *   failures.c   backoff by subject, and the brake on steps that have no effect
 *   holders.c    who holds the locks that make us wait
 *   waits.c      since when, app settled, blocked and resumed
 *   ledger.c     what is kept on disk
 *   lock_log.c   lock events as log lines
 *   flapping.c   fewer of them for a lock that comes and goes all the time
 *   events.c     what happens, for those who follow it live
 */
#ifndef RECONCILE_INTERNAL_H
#define RECONCILE_INTERNAL_H

#include "loop/loop.h"
#include "reconcile/reconcile.h"
#include "util/mem.h"

struct waiter {
	loop_fn *fn;
	void *ctx;
	struct waiter *next;
};

/* ---- ledger: durable facts (ledger.json) and the target document (target.json) ---- */
struct removed_row {
	int64_t app_id;
	char *service;
	bool armed; /* the app's locks were taken since: a stop may have been sent */
};
struct made_row { /* a container we made for the present target, so as to see whether the engine keeps what it was told
		   */
	int64_t app_id;
	char *service;
	char *container_id; /* NULL once it was found different */
	unsigned futile;    /* so often found different since the app settled */
	bool accepted;      /* taken as it is (durable) */
};
struct force_row {
	int64_t app_id;
	uint64_t generation;
};
struct commit_row {
	int64_t app_id;
	char *commit;
};
struct kept_wait { /* for a lock: since when, also over the runs of one boot */
	char *subject;
	int64_t since_ms; /* Unix */
};
struct ledger {
	int64_t *apps; /* ever in a target */
	size_t n_apps, apps_capacity;
	struct strv images; /* references ever wanted and not removed yet */
	struct removed_row *removed;
	size_t n_removed, removed_capacity;
	struct made_row *made;
	size_t n_made, made_capacity;
	struct force_row *forces;
	size_t n_forces, forces_capacity;
	struct commit_row *commits; /* release an app settled at last */
	size_t n_commits, commits_capacity;
	struct kept_wait *waits;
	size_t n_waits, waits_capacity;
	uint64_t generation, seq;
	bool look_forces;                  /* the look under way was asked for with force */
	char *boot_id;                     /* of the run that wrote it */
	char *uuid;                        /* of the device: as in device.json, in case that is lost */
	bool dirty;                        /* differs from what was handed to the store */
	uint64_t edition;                  /* grows with each change of `removed` */
	uint64_t durable;                  /* the edition that is on disk */
	uint64_t armings, armings_durable; /* the same for `armed` */
	struct waiter *waiters;            /* told when what is dirty now is on disk */
};

/* ---- current state ---- */
/* One kind of list: at most one is under way; what is asked meanwhile is answered by one begun later. */
struct lister {
	struct reconcile *r;
	void (*begin)(struct reconcile *r);
	struct waiter *now, *later;
	uint64_t stamp;
	bool in_flight, again;
};
enum list_kind { LIST_CONTAINERS, LIST_NETWORKS, LIST_VOLUMES, LIST_IMAGES, LIST_COUNT };
struct inspect;
struct tombstone {
	char *id;
	uint64_t stamp;
};
struct stopping_row { /* a stop whose end we could not see may still be at work in the engine */
	char *id;
	int64_t sent_ms; /* loop time */
};
struct cache {
	struct current current;
	uint64_t *stamps; /* beside current.containers */
	size_t containers_capacity, stamps_capacity;
	struct lister lists[LIST_COUNT];
	struct inspect *inspects;
	struct tombstone *gone;
	size_t n_gone, gone_capacity;
	struct stopping_row *stopping;
	size_t n_stopping, stopping_capacity;
	uint64_t stamp;      /* grows with each question to the engine */
	uint64_t sync;       /* the newest full listing; an older one that ends late is void */
	bool images_checked; /* every local image the target names has its configuration */
	bool kills_read;
	unsigned sync_failures;
	struct loop_timer sync_timer;
};

/* ---- steps ---- */
struct join {
	char *network;
	char *body;
};
struct running {
	struct reconcile *r;
	struct running *next;
	enum plan_step_kind kind;
	char *subject, *service, *image, *name, *container_id, *reason;
	int64_t app_id;
	int64_t started_ms;
	struct http_call *call; /* NULL when no call of it is under way */
	bool over;              /* no longer in flight for the planner; its call may still end */
	bool sent;              /* a stop: the engine was asked for it */
	bool settling;          /* the engine answered: the subject is being read again */
	struct err err;
	int percent;             /* pull */
	int64_t percent_told_ms; /* loop time of its last event */
	struct join *joins;      /* create: networks joined after it */
	size_t n_joins, next_join;
};

struct failure {
	char *subject;
	int64_t app_id;
	unsigned attempts;
	unsigned stops; /* of them: the container would not stop */
	int64_t retry_at_ms, since_ms;
	char *error;
};
struct history { /* a step that succeeded: the brake for steps without effect */
	char *subject;
	enum plan_step_kind kind;
	int64_t app_id;
	unsigned times, brakes;
};

struct wait_row {
	char *subject;
	int64_t since_ms;   /* Unix */
	int64_t since_loop; /* loop time */
	enum plan_wait_kind kind;
	int64_t app_id;
	char *services; /* locked: joined names */
	char *service;  /* NULL: the app or nothing */
	char *path;
	bool seen;
	uint64_t explaining; /* locked: number of the question who holds the locks */
	bool blocked_told;
	char *lock_service; /* of the oldest lock when the wait began; NULL: it is the whole app's */
	int64_t lock_since_ms;
};
struct app_row {
	int64_t app_id;
	bool settled, announced;
	uint64_t announced_seq;
	int64_t busy_since;   /* loop time; 0: settled, and said so */
	int64_t lock_gone_ms; /* loop time of the last lock_gone */
	int64_t taken_ms;     /* loop time when its locks were taken or seen whole last */
};

struct reconcile {
	struct reconcile_options o;
	struct target *target;
	char *target_text;
	char *target_problem, *engine_problem;
	struct ledger ledger;
	struct cache cache;
	struct running *running;
	struct failure *failures;
	size_t n_failures, failures_capacity;
	struct history *history;
	size_t n_history, history_capacity;
	struct plan plan;
	struct plan_memo *memo;
	struct wait_row *waits;
	size_t n_waits, waits_capacity;
	struct app_row *apps;
	size_t n_apps, apps_capacity;
	struct flap_row *flaps; /* flapping.c */
	struct loop_timer flap_timer;
	size_t n_flaps, flaps_capacity;
	struct strmap declared; /* app id -> names of its services, as told to the lock set */
	uint64_t settled_seq, version;
	uint64_t explains; /* questions who holds the locks that began a wait */
	unsigned looks;    /* under way */
	int64_t looking_since;
	unsigned pending;    /* callbacks that will still come */
	bool identity_write; /* a create waits for it: device.json or keys.json */
	bool started, stopping, changed;
	loop_fn *stopped;
	void *stopped_ctx;
	struct loop_deferred round;
	struct loop_deferred save; /* of the ledger */
	struct loop_timer timer;   /* the earliest deadline of the plan */
	unsigned timers_open;
};

/* A callback will come back with `r` (or something that owns a pointer to it): the reconciler stays until all have. */
void reconcile_hold(struct reconcile *r);
void reconcile_drop(struct reconcile *r);
void reconcile_mark_changed(struct reconcile *r);

/* cache.c, cache_lists.c, watch.c */
void cache_list_again_later(struct reconcile *r,
			    const struct err *err); /* something could not be read: look at everything again */
void cache_forget_stopping(struct reconcile *r);    /* of containers that are not there */
void cache_init(struct reconcile *r);
void cache_init_lists(struct reconcile *r);
void cache_deinit(struct reconcile *r);
void cache_watch(struct reconcile *r);
/* `fn` (may be NULL) runs once a list begun after this call was merged, or failed. */
void cache_refresh(struct reconcile *r, enum list_kind kind, loop_fn *fn, void *ctx);
void cache_refresh_container(struct reconcile *r, const char *id, loop_fn *fn, void *ctx);
void cache_container_gone(struct reconcile *r, const char *id);
const struct container *cache_find_container(const struct reconcile *r, const char *id);
void cache_mark_stopping(struct reconcile *r, const char *id, int64_t sent_ms);
/* Ask for the configuration of local images the target names. True when nothing is missing. */
bool cache_images_ready(struct reconcile *r);

void cache_merge_list(struct reconcile *r, struct container *v, size_t n);
void cache_bury(struct cache *c);                                  /* tombstones nothing needs any more */
void cache_wait_add(struct waiter **list, loop_fn *fn, void *ctx); /* fn NULL: nothing */
void cache_wait_run(struct waiter *list);

/* steps.c */
void steps_start(struct reconcile *r, struct plan_step *s);
void steps_drop_unwanted(struct reconcile *r, const struct plan *p);
void steps_cancel_pulls(struct reconcile *r);
/* steps_locks.c: take_locks and release_locks, at once */
void steps_run_locks(struct reconcile *r, const struct plan_step *step);
/*
 * Once more the truth, right before what cannot be recalled: an event may be unread that says that a lock of ours is
 * gone and an application's stands in its place. Taken in this very turn, there is nothing to look at. 0, or s->err.
 */
int steps_check_locks(struct running *s);
/* Does this event only tell of a step of ours that reads its container again anyway? */
bool steps_will_look(const struct reconcile *r, const struct engine_event *ev);
void steps_container_changed(struct reconcile *r, const char *id);
void running_free(struct running *s);

/* failures.c */
struct failure *failure_find(struct reconcile *r, const char *subject);
void failure_add(struct reconcile *r, const char *subject, int64_t app_id, const char *error);
void failure_clear(struct reconcile *r, const char *subject);
void failures_clear_all(struct reconcile *r);
/* True: this step already succeeded too often without the app settling; a failure was recorded instead. */
bool history_brakes(struct reconcile *r, const struct plan_step *s);
void history_add(struct reconcile *r, const char *subject, enum plan_step_kind kind, int64_t app_id);
void history_clear(struct reconcile *r, int64_t app_id);
void history_clear_all(struct reconcile *r);

/* waits.c */
void waits_update(struct reconcile *r);
void apps_update(struct reconcile *r);
struct app_row *app_row(struct reconcile *r, int64_t app_id);
void waits_deinit(struct reconcile *r);

/* ledger.c */
void ledger_load(struct reconcile *r);
void ledger_save(struct reconcile *r); /* if dirty */
void ledger_deinit(struct ledger *l);
bool ledger_has_app(const struct ledger *l, int64_t app_id);
void ledger_note_target(struct reconcile *r); /* apps and images of the present target are ours from now on */
/* Is it durably recorded that an update stops these services? If not, recording begins and ends in another round. */
bool ledger_record_removed(struct reconcile *r, int64_t app_id, const struct strv *services);
void ledger_clear_removed(struct reconcile *r, int64_t app_id);
void ledger_arm_removed(struct reconcile *r, int64_t app_id);
/*
 * Would the next run know which services of the app we took down, although the locks that say so are given back? If
 * not, it is being written, and its end comes back to the round. A ledger that cannot be written holds nobody up.
 */
bool ledger_keeps_what_is_down(struct reconcile *r, int64_t app_id);
void ledger_disarm_running(struct reconcile *r, int64_t app_id); /* its locks are given back: nothing more is stopped */
void ledger_clear_removed_service(struct reconcile *r, int64_t app_id, const char *service); /* it was started again */
void ledger_note_app(struct reconcile *r, int64_t app_id);
void ledger_forget_images(struct reconcile *r);                                         /* neither wanted nor local */
struct made_row *ledger_made(struct reconcile *r, int64_t app_id, const char *service); /* made if there is none */
void ledger_clear_made(struct reconcile *r);                /* a new target: everything may be tried again */
void ledger_calm_made(struct reconcile *r, int64_t app_id); /* the app settled */
void ledger_forget_image(struct reconcile *r, const char *ref);
void ledger_set_force(struct reconcile *r, int64_t app_id, uint64_t generation);
void ledger_clear_force(struct reconcile *r, int64_t app_id); /* 0: all */
void ledger_set_commit(struct reconcile *r, int64_t app_id, const char *commit);
void ledger_save_target(struct reconcile *r);
/* Since when this wait lasts: as an earlier run noted, else `now_ms`, which is noted. */
int64_t ledger_wait_began(struct reconcile *r, const char *subject, int64_t now_ms);
void ledger_wait_ended(struct reconcile *r, const char *subject);
void ledger_drop_waits(struct reconcile *r); /* those of an earlier run that nobody waits for any more */

/* targets.c */
void targets_load(struct reconcile *r);
/* declare.c: tell the lock set which services count, where that changed */
void declare_locks(struct reconcile *r);
void declare_app(struct reconcile *r, int64_t app_id, const struct strv *names);

/* The planner's view of everything; arrays live until input_deinit(). */
void input_gather(const struct reconcile *r, const struct target *t, bool dry, struct plan_input *in);
void input_deinit(struct plan_input *in);

/* events.c: cheap when nobody listens */
void event_step(const struct running *s, const char *what);
void event_locks_failed(struct reconcile *r, const struct plan_step *step, const char *err);
void event_pull(struct running *s);
void event_wait_began(struct reconcile *r, const struct plan_wait *w, const struct wait_row *row);
void event_wait_ended(struct reconcile *r, const struct wait_row *row);
void event_look(struct reconcile *r, const char *what);
void event_lock(struct reconcile *r, const struct lock_event *e);
void event_container(struct reconcile *r, const struct container *before, const struct container *now);
void event_container_gone(struct reconcile *r, const struct container *c);
void event_app_settled(struct reconcile *r, const struct app_row *row, const struct target_app *a);
void event_target(struct reconcile *r, const char *what, const char *err);

/* holders.c */
char *holder_text(int64_t pid, const char *command); /* "python3 (pid 1234)"; NULL: not known. Caller frees. */
void holders_wait_began(struct reconcile *r,
			struct wait_row *row); /* of kind locked: tells it when the holder is known */
void holders_tell_blocked(struct reconcile *r, struct wait_row *row); /* now, if it was not told */
void holders_tell_all(struct reconcile *r);

/* flapping.c */
void flapping_init(struct reconcile *r);
/* Is the line of this event (seen or gone) written? */
bool flapping_allows(struct reconcile *r, const struct lock_event *e);
void flapping_tell_all(struct reconcile *r); /* what was held back, now */
void flapping_deinit(struct reconcile *r);

#endif
