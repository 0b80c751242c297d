/*
 * Telling the service manager how we are: the datagrams of sd_notify(3), written by ourselves. Nothing here blocks, and
 * where no manager asked to be told (no NOTIFY_SOCKET) all of it is a no-op.
 *
 * The watchdog. A manager with a watchdog kills and starts anew what does not ping in time. We ping from a timer of the
 * loop, so a loop that hangs or is stopped does not ping; and we ping only while `healthy` says so, which is what
 * GET /v1/healthy answers. That must be false for no reason that a restart could not mend: an engine that is away, a
 * target that is missing or refused, a lock that is held, a step that fails and fails again are all waited for, not
 * cured by killing us, so none of them makes us unhealthy. What does is a step that outlived every time limit of its
 * own: our book-keeping is wrong then, and a new process works it out afresh from the engine.
 */
#ifndef HOST_NOTIFY_H
#define HOST_NOTIFY_H

#include "loop/loop.h"

#define NOTIFY_STATUS_MAX_BYTES 240 /* of a sentence; longer ones are cut */

struct notify;
struct notify_options {
	struct loop *loop;
	char *(*status)(void *ctx); /* what to show now, one sentence; the caller's to free; never NULL */
	bool (*healthy)(void *ctx);
	void *ctx;
};

/*
 * Reads NOTIFY_SOCKET (a path, or an abstract name that begins with @), WATCHDOG_USEC and WATCHDOG_PID, and removes all
 * three from the environment, so that no child tells the manager anything in our name. NULL: nobody is to be told; `err`
 * is untouched when nobody asked, else it names the variable that cannot be used. It may also be set when there is a
 * result: then only the watchdog is left out. All functions below accept NULL and do nothing then.
 */
struct notify *notify_new(const struct notify_options *o, struct err *err);
/* We can serve. Once; the pings begin, and the state is told with it. */
void notify_ready(struct notify *n);
/* The sentence may have changed. Told when it did, after notify_ready(), at most once a second. */
void notify_changed(struct notify *n);
/* The last word: we end. `why` is shown; nothing is told after it, and the pings end. */
void notify_stopping(struct notify *n, const char *why);
/* Its timers close in the loop's next turn. */
void notify_free(struct notify *n);

#endif
