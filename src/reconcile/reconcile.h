/*
 * The reconciler: gathers {target, current, locks, in flight, failures, clock}, asks the planner, starts the steps that
 * are not in flight, keeps the waits, and does so again whenever anything changed. Level-triggered, no sleeping between
 * rounds. What it knows is read through the getters below; pointers are borrowed until the next loop turn.
 */
#ifndef RECONCILE_RECONCILE_H
#define RECONCILE_RECONCILE_H

#include "engine/engine.h"
#include "keys/keys.h"
#include "lock/lock.h"
#include "plan/plan.h"
#include "store/store.h"

struct reconcile;

/*
 * What happens, as it happens: for those who follow it live (GET /v2/events). Only the members that the type names are
 * set; the rest is 0 or NULL. Strings are borrowed until the callback returns.
 */
enum reconcile_event_type {
	RECONCILE_EVENT_STEP, /* started, done, failed, cancelled: kind image name reason took_ms err */
	RECONCILE_EVENT_WAIT, /* began, ended: wait_kind kind services detail since_ms */
	RECONCILE_EVENT_LOCK, /* `lock`; seen, gone, taken, released, overridden, lost, leftover_removed, problem */
	RECONCILE_EVENT_PULL, /* progress: image percent; a few a second at most */
	RECONCILE_EVENT_CONTAINER, /* changed, gone: id name state health exit_code */
	RECONCILE_EVENT_APP,       /* settled: name release seq took_ms */
	RECONCILE_EVENT_TARGET,    /* requested, accepted, refused, unchanged, settled: seq err */
	RECONCILE_EVENT_TYPE_COUNT
};
struct reconcile_event {
	enum reconcile_event_type type;
	const char *what;
	int64_t app_id; /* 0: of no app */
	const char *service, *kind, *image, *name, *reason, *err, *detail, *id, *state, *health, *release;
	enum plan_wait_kind wait_kind;
	const struct strv *services;
	const struct lock_event *lock;
	int64_t since_ms; /* Unix ms */
	int64_t took_ms, seq;
	int percent, exit_code;
};
/* From the loop or from a call into the reconciler. Must not call into it. */
typedef void reconcile_event_fn(void *ctx, const struct reconcile_event *e);

/* Of <state>/device.json, which the reconciler writes and its owner reads before there is a reconciler. */
#define RECONCILE_DEVICE_SCHEMA 1

struct reconcile_options {
	struct loop *loop; /* all borrowed, must outlive the reconciler */
	struct engine *engine;
	struct lock_set *locks;
	struct store *store;
	struct keys *keys;
	struct device_facts *facts;
	int64_t backoff_cap_ms; /* poll interval */
	unsigned pulls_max;
	loop_fn *changed;          /* what the getters tell has changed; from the loop, at most once a turn */
	reconcile_event_fn *event; /* NULL: nobody wants to know */
	void *ctx;
};

/* Loads what it kept (last good target, ledger) from the store. -EBADMSG entries are logged and set aside, never fatal.
 */
struct reconcile *reconcile_new(const struct reconcile_options *o);
/* Begin: watches the engine, converges to the stored target if there is one. */
void reconcile_start(struct reconcile *r);
/*
 * Stop: cancels pulls, gives back locks but those of apps whose stop was already sent, closes; `stopped` once from the
 * loop; the object is gone then. The engine must still be there (stop it after).
 */
void reconcile_stop(struct reconcile *r, loop_fn *stopped, void *ctx);

/* Something outside changed (lock set, facts): look again in this turn. */
void reconcile_poke(struct reconcile *r);
/* Events of the lock set, to be logged and remembered. NULL: from before there is a reconciler, logged only. */
void reconcile_lock_event(struct reconcile *r, const struct lock_event *e);

/*
 * A document arrived from the target source. Parses it and takes it as the target when it is good and differs from the
 * present one; it is stored for the next start. 0: accepted (also when it equals the present one); -EINVAL: refused,
 * logged as target_rejected, and `errors` (may be NULL) says why.
 */
int reconcile_offer_target(struct reconcile *r, const char *text, size_t len, struct target_errors *errors);
/* The source cannot be read: logged as target_rejected/target_unreachable when the sentence changes; shown by status.
 */
void reconcile_target_failed(struct reconcile *r, const struct err *err);
/* The source gives the accepted document again: what was wrong with it is over. */
void reconcile_target_unchanged(struct reconcile *r);
/*
 * POST /v1/update: a look at the source begins (the caller starts it) and ends with reconcile_look_done(), after
 * document/failed/unchanged was passed on. force: locks are overridden for every app, in the apply that is running now
 * and in the one that the look brings, each until the app settles. cancel: pulls under way are dropped, backoffs end.
 * Returns the seq that settledSeq reaches when it is done.
 */
uint64_t reconcile_update(struct reconcile *r, bool force, bool cancel);
/*
 * `done` once from the loop, never from within this call: what was asked for so far is on disk and outlives us, or
 * could not be saved, which is logged. Also when the reconciler ends meanwhile.
 */
void reconcile_when_saved(struct reconcile *r, loop_fn *done, void *ctx);
void reconcile_look_done(struct reconcile *r);

/* What is going on. */
const struct target *reconcile_target(const struct reconcile *r);   /* NULL: none yet */
const struct current *reconcile_current(const struct reconcile *r); /* ->known */
const struct plan *reconcile_plan(const struct reconcile *r);
const struct lock_views *reconcile_locks(const struct reconcile *r);
const struct device_facts *reconcile_facts(const struct reconcile *r);
const char *
reconcile_target_problem(const struct reconcile *r); /* why the source's newest document is not used; NULL: it is */
const char *reconcile_engine_problem(const struct reconcile *r); /* why the engine cannot be used; NULL: it can */
uint64_t reconcile_seq(const struct reconcile *r);
uint64_t reconcile_settled_seq(const struct reconcile *r);
uint64_t reconcile_version(const struct reconcile *r); /* changes with every visible change: for caches */
bool reconcile_app_settled(const struct reconcile *r, int64_t app_id);
/* When wait `i` of the plan began, and its deadline, as Unix ms (0: none). */
int64_t reconcile_wait_since(const struct reconcile *r, size_t i);
int64_t reconcile_wait_until(const struct reconcile *r, size_t i);
/* A look at the source is under way since (Unix ms); 0: none. */
int64_t reconcile_looking_since(const struct reconcile *r);
/* Percent of a pull in flight, -1 if `image` is not being pulled. */
int reconcile_pull_percent(const struct reconcile *r, const char *image);
/* The step in flight on a service; STEP_KIND_COUNT: none. */
enum plan_step_kind reconcile_service_step(const struct reconcile *r, int64_t app_id, const char *service);
/* Release whose services all ran last (commit), NULL if none. */
const char *reconcile_settled_commit(const struct reconcile *r, int64_t app_id);
/* The device's configuration overrides all update locks. */
bool reconcile_lock_override(const struct reconcile *r);
/*
 * Find out who holds the locks, with the containers that run now: reconcile_locks() tells after it. `done` once, from
 * the loop, never before this returns; it may be answered by what was found a moment ago. Not while stopping.
 */
void reconcile_explain_locks(struct reconcile *r, loop_fn *done, void *ctx);
/* Not stuck: no step has outlived every timeout of its own. */
bool reconcile_healthy(const struct reconcile *r);
/* All of it as one sentence, e.g. "2 apps settled"; changes only when something does. The caller frees it; never NULL. */
char *reconcile_sentence(const struct reconcile *r);
/* What would be done for another target; changes nothing. `out` as plan_make(). */
void reconcile_dry_run(const struct reconcile *r, const struct target *t, struct plan *out);

#endif
