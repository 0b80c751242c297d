/*
 * Update locks of one device: who holds them, taking and giving back ours. One small machine per app: FREE -> HELD ->
 * (LOST) -> FREE. The contract is spec update-locks.md. One loop, one thread; all calls are synchronous (a few system
 * calls on tmpfs, no fsync), but lock_set_explain().
 */
#ifndef LOCK_LOCK_H
#define LOCK_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"
#include "model/locks.h"
#include "util/err.h"
#include "util/str.h"

struct lock_set; /* opaque, owns its watches */

/* Things that happened, for the log (lock_seen, lock_gone, lock_taken, lock_released, lock_overridden,
 * lock_leftover_removed). Strings are borrowed. */
enum lock_event_kind {
	LOCK_EVENT_SEEN,
	LOCK_EVENT_GONE,
	LOCK_EVENT_TAKEN,
	LOCK_EVENT_RELEASED,
	LOCK_EVENT_OVERRIDDEN,
	LOCK_EVENT_LEFTOVER_REMOVED,
	LOCK_EVENT_LOST,   /* ours vanished or was replaced while held */
	LOCK_EVENT_PROBLEM /* the directory cannot be used or watched; `detail` says why; once per cause. App 0 and no
			      service: the lock root, the root of another place (by its path), or watching at all */
};
struct lock_event {
	enum lock_event_kind kind;
	int64_t app_id;
	const char *service, *path; /* path on the host */
	enum lock_kind lock_kind;
	unsigned uid;
	int64_t since_ms; /* Unix ms */
	int64_t held_ms;  /* GONE: by the monotonic clock */
	const char *detail;
	const char *by; /* OVERRIDDEN: api, config, max-age, ignore-when-stopped, stopped (L3: from before the start) */
	/* SEEN, GONE and OVERRIDDEN: the holder as explained last; 0 and NULL: not known */
	int64_t pid;
	const char *command, *reason;
};
/* From the call that caused it, or the loop. Must not call into the set. */
typedef void lock_event_fn(void *ctx, const struct lock_event *e);

struct lock_options {
	const char *host_root;       /* "/" or where the host's root is mounted; below it no link is followed */
	const char *lock_root;       /* absolute host path of L1: <lock_root>/<appId>/<service>/ */
	const char *legacy_root;     /* absolute host path of L2: <legacy_root>/<appId>/; NULL: none */
	const char *data_root;       /* absolute host path of L3: <data_root>/<appId>/; NULL: L3 does not count here */
	const char *proc;            /* where the host's processes are seen, from here; NULL: <host_root>/proc */
	bool adopt_reference;        /* lock files of the reference (uid 65534, content "0") found at this start are
					leftovers */
	const char *boot_id, *nonce; /* in our lock files */
	/* Something below the root changed, other than by our own doing: read the views again. From the loop, in the
	 * very callback that read a directory (so at most once a turn for each); may call anything of the set. */
	loop_fn *changed;
	lock_event_fn *event;
	void *ctx;
};

/*
 * Opens (and makes, mode 0755, the link rule of spec 2 included) the lock root, checks its components (root-owned, not
 * writable by others but sticky /tmp, no links), takes flock on <lock root>/.supervisor (-EBUSY: another supervisor;
 * the sentence names its pid when known), removes stale temporaries, finds and adopts leftovers of an earlier run. Host
 * paths in errors.
 */
int lock_set_new(struct loop *l, const struct lock_options *o, struct lock_set **out, struct err *err);
/* Our locks that remain are left on disk on purpose: release first what must go. Closes from the loop. */
void lock_set_free(struct lock_set *s, loop_fn *closed, void *ctx);

/*
 * Declare the services of an app whose lock directories count now (current and target ones). Directories that exist are
 * watched; missing ones are watched for through their parents. Called at every change of current or target; cheap when
 * nothing changed. An empty list forgets the app (empty directories of gone services are removed), but for locks of
 * ours, which stay known until the release. A HELD app that gets a service which is not ours yet is LOCK_LOST
 * (incomplete) until lock_take() completes it. A name that cannot be a directory is a problem of the app.
 */
void lock_set_services(struct lock_set *s, int64_t app_id, const struct strv *services);
/* Roots of older places that appeared, or were made anew, since the last look: nothing wakes us for those. Cheap. */
void lock_set_look(struct lock_set *s);
/* Apps known from declarations or found on disk. */
const struct lock_views *
lock_set_views(struct lock_set *s); /* valid until the next call into the set or the next loop turn */
/* Make the directory of a service, 1777, before its container is created or started (also repairs the mode). */
int lock_set_prepare(struct lock_set *s, int64_t app_id, const char *service, struct err *err);

/*
 * Lifetimes (spec 6, opt-in by label). `ignored`: the service has no running container and its owner wants no lock of
 * such a one to count; one that appears after that counts for ten seconds more, as the start of its container may not
 * have been told yet. `max_age_ms` (0: none): a lock older than this counts no more; its age is what we saw of it by
 * the monotonic clock, and touching the entry (mtime) makes it young again. When an age is reached `changed` follows. A
 * lock that does not count is broken by the next take, which says so (LOCK_EVENT_OVERRIDDEN). Cheap when nothing
 * changed; unknown services are ignored.
 */
void lock_set_lifetime(struct lock_set *s, int64_t app_id, const char *service, bool ignored, int64_t max_age_ms);
/* Does any container of the app run? While none does, a lock at L3 (it outlives reboots) does not count, by the same
 * rule. True until told. */
void lock_set_running(struct lock_set *s, int64_t app_id, bool running);
/* The first container of the app is about to be started: a lock at L3 that is not ours is removed (spec 2). */
void lock_set_starting(struct lock_set *s, int64_t app_id);

/*
 * Take every update lock of `app_id` (every name of every service declared, and of the app's L2 and L3 directories
 * where they count), all or none, now; leftovers and locks already ours count. Also completes a held set that grew or
 * lost members. Never waits: a release by the application calls `changed`, and the planner asks again. `force` breaks
 * the locks found, one LOCK_EVENT_OVERRIDDEN each. Returns
 * 0 taken (or already ours; also when no service is declared: then HELD by nothing), 1 held by an application (nothing
 * of ours remains, except what was held before the call; a lock directory with thousands of entries is broken in
 * several calls: 1, and `changed` follows), negative errno: the file system.
 */
int lock_take(struct lock_set *s, int64_t app_id, enum lock_force force, struct err *err);
/*
 * Remove our locks of `app_id`, checked by inode; those of others, and those replaced behind our back, stay. 0, also
 * when none is ours. Negative errno: at least one of ours could not be looked at or removed (no descriptor, say); the
 * app is still held by the rest, and releasing may be tried again.
 */
int lock_release(struct lock_set *s, int64_t app_id, struct err *err);

/*
 * For what stops the whole device (reboot, shutdown, a host configuration that reboots): the locks of every app known,
 * all or none. Returns as lock_take(); when not 0, apps that were free before are free again, and *blocked_app (may be
 * NULL) is the first in the way. lock_release_all() gives back those that lock_take_all() took and lock_take() has not
 * asked for since.
 */
int lock_take_all(struct lock_set *s, enum lock_force force, int64_t *blocked_app, struct err *err);
int lock_release_all(struct lock_set *s, struct err *err);

/*
 * Who holds the locks of applications (spec 6): fills pid, command, container_id, reason and stale of the views. Reads
 * the lock files and /proc on libuv's pool, so `done` runs from the loop, never before this returns, exactly once, also
 * when the set is freed (then from there on nothing was explained). At most one scan a second: a call within a second of
 * the last one that knew the same locks is answered from it; calls while a scan runs join it, or wait for the next when
 * a lock appeared since it began.
 */
struct lock_container { /* a running container of a service */
	int64_t app_id;
	const char *service, *id;
};
/* The end is near: who waits for a scan that has not begun is answered now, from what is known. */
void lock_set_explain_hurry(struct lock_set *s);
/* May a scan begin now? Else lock_set_explain() waits for the end of this second. */
bool lock_set_explain_is_due(const struct lock_set *s);
/* `known` false: nobody can tell now which containers run (the engine is away), so none is believed stopped. */
void lock_set_explain(struct lock_set *s, const struct lock_container *running, size_t n, bool known, loop_fn *done,
		      void *ctx);

#endif
