/* Update locks as the rest of the program sees them: plain values filled by src/lock. */
#ifndef MODEL_LOCKS_H
#define MODEL_LOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lock_kind { LOCK_FILE, LOCK_DIRECTORY, LOCK_SYMLINK, LOCK_OTHER };
const char *lock_kind_name(enum lock_kind kind); /* file, directory, symlink, other */

enum lock_force { LOCK_FORCE_NONE, LOCK_FORCE_API, LOCK_FORCE_CONFIG }; /* who wants locks broken */
enum lock_stale { LOCK_STALE_UNKNOWN, LOCK_STALE_NO, LOCK_STALE_YES };

struct lock_view { /* one lock path that exists */
	int64_t app_id;
	char *service; /* NULL: of the app as a whole (places L2 and L3) */
	char *path;    /* on the host */
	enum lock_kind kind;
	bool ours;   /* owner: supervisor */
	bool counts; /* an application's, and it holds back the app; false also for one whose lifetime is over */
	unsigned uid;
	int64_t since_ms;    /* Unix ms: ctime at first sight */
	int64_t observed_ms; /* loop time of first sight */
	/* Who holds it, as far as lock_set_explain() found out; 0 and NULL: not known. */
	int64_t pid; /* the host's */
	char *command, *container_id, *reason;
	enum lock_stale stale;
};

enum lock_app_state {
	LOCK_FREE, /* none of ours */
	LOCK_HELD, /* all of ours, for every service declared */
	LOCK_LOST  /* ours, but at least one vanished or was replaced: no further stop begins; take again */
};
struct lock_app_view {
	int64_t app_id;
	enum lock_app_state state;
	bool leftover;       /* held since an earlier run */
	bool blocked;        /* an application holds at least one that counts */
	bool legacy;         /* a lock directory of the app as a whole (L2, or L3 where it counts) is there */
	const char *problem; /* the directory cannot be used: sentence; NULL if fine */
};
struct lock_views {
	struct lock_view *v; /* sorted by app, service, path */
	size_t n;
	struct lock_app_view *apps; /* sorted by app */
	size_t n_apps;
};
const struct lock_app_view *lock_views_app(const struct lock_views *l, int64_t app_id); /* NULL: nothing known, free */
void lock_views_deinit(struct lock_views *l);

#endif
