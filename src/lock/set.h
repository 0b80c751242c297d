/*
 * Inside src/lock: what the set knows. A tree: set -> app -> directory -> slot (one lock path). What a slot says is
 * always what was last read from disk, or made by us; the state of an app follows from its slots and `holding`.
 */
#ifndef LOCK_SET_H
#define LOCK_SET_H

#include "lock/entry.h"
#include "lock/lock.h"
#include "loop/dirwatch.h"

#define LOCK_NAMES_MAX  2
#define LOCK_SPARES_MAX 20 /* descriptors; an app with more services than ten makes the rest when it takes */

/* A kind of place where locks count (spec update-locks.md 2). */
struct lock_place {
	const char *names[LOCK_NAMES_MAX + 1]; /* sorted: the order of taking; NULL-ended */
	unsigned dir_mode;
};
extern const struct lock_place lock_place_service; /* L1: <lock root>/<appId>/<service>/ */

struct lock_watch { /* the watch of one directory; `entry` NULL: absent, or refused by the kernel */
	struct dirwatch_entry *entry;
	dev_t dev;
	ino_t ino;
	bool refused;
};
struct lock_slot {
	char *path; /* on the host */
	struct lock_entry e;
	int64_t since_ms, observed_ms;
};
struct lock_dir {
	struct lock_app *app;
	const struct lock_place *place;
	char *service, *below; /* the latter: its path below the lock root */
	bool declared;         /* counts now; else it is kept only for what is ours in it */
	struct lock_watch watch;
	char *problem;
	struct lock_slot slots[LOCK_NAMES_MAX];
};
struct lock_app {
	struct lock_set *set;
	int64_t id;
	char name[24];          /* its directory below the lock root */
	struct strv declared;   /* as given */
	struct lock_dir **dirs; /* sorted by service */
	size_t n_dirs, dirs_capacity;
	bool holding;  /* taken or adopted, and not released */
	bool leftover; /* adopted, and not taken since */
	struct lock_watch watch;
	char *problem;
	/* counted from the slots by lock_app_recount() */
	size_t n_foreign, n_ours, n_wanted_missing, n_refused;
};
struct lock_set {
	struct loop *loop;
	char *host_root, *lock_root, *boot_id, *nonce;
	loop_fn *changed;
	lock_event_fn *event;
	void *ctx;
	int root_fd, claim_fd;
	enum lock_make make;
	int spares[LOCK_SPARES_MAX]; /* lock files of ours without a name */
	size_t n_spares;
	struct loop_deferred stock;
	struct dirwatch *watcher; /* NULL: the kernel has no instance for us */
	bool watch_problem_told;
	struct lock_watch parent_watch, root_watch;
	char *root_problem;
	struct lock_app **apps; /* sorted by id */
	size_t n_apps, apps_capacity;
	bool dirty; /* something else than our own doing changed what the views say, `changed` not called yet */
	struct loop_deferred notify;
	struct loop_timer timer;
	int64_t timer_at_ms;
	struct lock_views views;
	size_t views_capacity, views_apps_capacity;
	bool views_stale;
	loop_fn *closed;
	void *closed_ctx;
};

/* set.c */
struct lock_app *lock_app_find(const struct lock_set *s, int64_t id);
struct lock_app *lock_app_get(struct lock_set *s, int64_t id); /* makes it */
struct lock_dir *lock_dir_find(const struct lock_app *a, const char *service);
struct lock_dir *lock_dir_get(struct lock_app *a, const char *service); /* makes it, not declared */
/* Forget (and remove from disk, when empty) directories that no longer count; then the app itself if nothing is left:
 * `a` may be gone after. */
void lock_app_trim(struct lock_app *a);
void lock_app_recount(struct lock_app *a);
/* Can `service` be the name of a directory? */
bool lock_service_valid(const char *service);
/* The end of every call into the set: arm the timer, tell of changes by `changed` in a next turn. */
void lock_set_settle(struct lock_set *s);

/* observe.c: from disk into the slots */
/* By its path at once (O_PATH). -ESTALE when that cannot be, or does not lead to the directory that is watched: then
 * every component must be looked at. */
int lock_dir_open_watched(const struct lock_dir *d, unsigned *mode, int *out);
int lock_dir_open(const struct lock_dir *d, int *out); /* O_PATH; the short way or the long one */
/* What is at this slot now? Tells SEEN, GONE and LOST. Negative errno: cannot tell. */
int lock_slot_read(struct lock_dir *d, size_t i, int dir_fd);
/* Note without any event what we did ourselves. */
void lock_slot_set(struct lock_dir *d, size_t i, const struct lock_entry *e);
/* Read the slots, after an event in the directory; false: it is not there as it was, refresh it. */
bool lock_dir_reread(struct lock_dir *d);
/* Arm the watch, read the slots; `app_fd` -1: the app has no directory. */
void lock_dir_refresh(struct lock_dir *d, int app_fd);
void lock_app_refresh(struct lock_app *a); /* its own directory and all in it; recounts */
/* Tell an event; `d` may be NULL, `i` < 0: about the directory. */
void lock_event_slot(struct lock_dir *d, size_t i, enum lock_event_kind kind);
/* Keeps the sentence (NULL: fine now) in *problem and tells a new one. `d` may be NULL. */
void lock_problem(struct lock_set *s, struct lock_app *a, struct lock_dir *d, char **problem, const char *sentence);

/* watch.c: who wakes us */
void lock_watch_arm_dir(struct lock_dir *d, int fd);
void lock_watch_arm_app(struct lock_app *a, int fd);
void lock_watch_arm_root(struct lock_set *s, int parent_fd);
void lock_watch_drop(struct lock_watch *w);
void lock_watch_timer(struct lock_set *s); /* arm it as far as something waits */
void lock_watch_on_timer(void *set);

/* spare.c: made while somebody's lock is waited for, so that the take has only to name them */
void lock_spares_on_stock(void *set);
bool lock_spares_short(const struct lock_set *s); /* fewer than the next takes need? */
/* As lock_entry_make(), with a spare if there is one. */
int lock_spares_make(struct lock_set *s, int dir_fd, const char *name, struct lock_entry *out, struct err *err);
void lock_spares_drop(struct lock_set *s);

/* scan.c */
void lock_scan_leftovers(struct lock_set *s);

#endif
