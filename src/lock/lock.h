/*
 * Update locks of one device: who holds them, taking and giving back ours. One small machine per app: FREE -> HELD ->
 * (LOST) -> FREE. The contract is spec update-locks.md; this version knows place L1. One loop, one thread; all calls
 * are synchronous (a few system calls on tmpfs, no fsync).
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
			      service: the lock root, or watching at all */
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
};
/* From the call that caused it, or the loop. Must not call into the set. */
typedef void lock_event_fn(void *ctx, const struct lock_event *e);

struct lock_options {
	const char *host_root;       /* "/" or where the host's root is mounted; below it no link is followed */
	const char *lock_root;       /* absolute host path of L1 */
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
/* Apps known from declarations or found on disk. */
const struct lock_views *
lock_set_views(struct lock_set *s); /* valid until the next call into the set or the next loop turn */
/* Make the directory of a service, 1777, before its container is created or started (also repairs the mode). */
int lock_set_prepare(struct lock_set *s, int64_t app_id, const char *service, struct err *err);

/*
 * Take every update lock of `app_id` (both names for every service declared), all or none, now; leftovers and locks
 * already ours count. Also completes a held set that grew or lost members. Never waits: a release by the application
 * calls `changed`, and the planner asks again. `force` breaks the locks found, one LOCK_EVENT_OVERRIDDEN each. Returns
 * 0 taken (or already ours; also when no service is declared: then HELD by nothing), 1 held by an application (nothing
 * of ours remains, except what was held before the call; a lock directory with thousands of entries is broken in
 * several calls: 1, and `changed` follows), negative errno: the file system.
 */
int lock_take(struct lock_set *s, int64_t app_id, bool force, struct err *err);
/* Remove our locks of `app_id`, checked by inode; those of others, and those replaced behind our back, stay. No-op when
 * none is ours. */
void lock_release(struct lock_set *s, int64_t app_id);

#endif
