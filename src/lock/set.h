/*
 * Inside src/lock: what the set knows. A tree: set -> app -> directory -> slot (one lock path). What a slot says is
 * always what was last read from disk, or made by us; the state of an app follows from its slots and `holding`.
 * Directories of a service (L1) are below the lock root; those of a whole app (L2, L3) below a base of their own, and
 * only a directory that exists is in the tree.
 */
#ifndef LOCK_SET_H
#define LOCK_SET_H

#include "lock/entry.h"
#include "lock/holder.h"
#include "lock/lock.h"
#include "loop/dirwatch.h"

#define LOCK_NAMES_MAX  2
#define LOCK_BASES      2
#define LOCK_SPARES_MAX 20 /* descriptors; an app with more services than ten makes the rest when it takes */

/* A kind of place where locks count (spec update-locks.md 2). */
struct lock_place {
	const char *names[LOCK_NAMES_MAX + 1]; /* sorted: the order of taking; NULL-ended */
	unsigned dir_mode;                     /* 0: never made or changed by us */
	bool makes_known;                      /* a directory here makes its app known */
	bool persistent;                       /* outlives a reboot, on a file system of its own */
};
extern const struct lock_place lock_place_service; /* L1: <lock root>/<appId>/<service>/ */
extern const struct lock_place lock_place_legacy;  /* L2: <legacy root>/<appId>/ */
extern const struct lock_place lock_place_data;    /* L3: <data root>/<appId>/ */

/* Why a lock of an application does not count (spec 6, 2). */
enum lock_lapse { LOCK_COUNTS, LOCK_LAPSE_STOPPED, LOCK_LAPSE_IGNORED, LOCK_LAPSE_AGE };

struct lock_watch { /* the watch of one directory; `entry` NULL: absent, or refused by the kernel */
	struct dirwatch_entry *entry;
	dev_t dev;
	ino_t ino;
	bool refused;
};
struct lock_base { /* the root of L2 or L3 */
	struct lock_set *set;
	const struct lock_place *place;
	char *path; /* on the host; NULL: this place does not count */
	int fd;     /* -1: missing, or not usable */
	enum lock_make make;
	struct lock_watch watch;
	char *problem;
};
struct lock_slot {
	char *path; /* on the host */
	struct lock_entry e;
	int64_t since_ms, observed_ms;
	int64_t read_ms, young_ms; /* loop time: last read; from when its age counts */
	enum lock_lapse lapse;     /* as counted last */
	enum lock_lapse breaking;  /* we have begun to remove it, for this reason */
	/* A lock file of the reference, adopted at start: as long as it is this very file, untouched. */
	ino_t adopted_ino;
	int64_t adopted_ctime_ms;
	struct lock_holder holder; /* as the last scan that knew this lock found */
	size_t question;           /* its place in the scan under way, from 1; 0: none */
	bool asked;                /* a scan knew it */
};
struct lock_dir {
	struct lock_app *app;
	const struct lock_place *place;
	struct lock_base *base; /* NULL: the lock root */
	char *service, *below;  /* NULL with a base; its path below the root */
	bool declared;          /* counts now; else it is kept only for what is ours in it */
	bool unsure;            /* could not be read (no descriptor, say): the slots are as they were */
	bool ignored;           /* lock_set_lifetime() */
	int64_t ignored_ms;     /* loop time: since when */
	int64_t max_age_ms;
	struct lock_watch watch;
	char *problem;
	struct lock_slot slots[LOCK_NAMES_MAX];
};
struct lock_app {
	struct lock_set *set;
	int64_t id;
	char name[24];          /* its directory below the lock root */
	struct strv declared;   /* as given */
	struct lock_dir **dirs; /* in the order of taking: L3, L2, then L1 sorted by service */
	size_t n_dirs, dirs_capacity;
	bool holding;       /* taken or adopted, and not released */
	bool leftover;      /* adopted, and not taken since */
	bool for_all;       /* held by lock_take_all() alone */
	bool stopped;       /* no container of it runs, */
	int64_t stopped_ms; /* loop time: since when */
	struct lock_watch watch;
	char *problem;
	char *dir_problem; /* of its directory below the lock root */
	/* Counted from the slots by lock_app_recount(). Blocking: foreign and counts. */
	size_t n_foreign, n_blocking, n_ours, n_wanted_missing, n_refused, n_unsure;
	int64_t age_at_ms; /* loop time when the next blocking lock may count no more; 0: none */
};
struct lock_waiter;
struct lock_explain { /* scans for holders */
	struct lock_waiter *now, *later, *known_already;
	struct loop_deferred answer; /* to the last of these */
	struct holder_container *containers;
	size_t n_containers;
	bool known;
	bool outdated, working; /* other containers run than the last scan knew; a scan is under way */
	bool began;             /* ever; then began_ms says when the last did */
	struct loop_timer pace; /* until the next may begin, with somebody waiting for it */
	int64_t began_ms;
	loop_fn *closed;
};
struct lock_set {
	struct loop *loop;
	char *host_root, *lock_root, *boot_id, *nonce, *proc;
	struct lock_explain explain;
	unsigned parts_open; /* of a set being freed: what still ends from the loop */
	loop_fn *changed;
	lock_event_fn *event;
	void *ctx;
	int root_fd, claim_fd;
	struct lock_base bases[LOCK_BASES]; /* L3, L2 */
	enum lock_make make;
	bool taking;                 /* the tree is being walked: no app or directory goes */
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

/* tree.c */
struct lock_app *lock_app_find(const struct lock_set *s, int64_t id);
struct lock_app *lock_app_get(struct lock_set *s, int64_t id); /* makes it */
struct lock_dir *lock_dir_find(const struct lock_app *a, const char *service);
struct lock_dir *lock_dir_get(struct lock_app *a, const char *service); /* makes it, not declared */
struct lock_dir *lock_dir_find_in(const struct lock_app *a, const struct lock_base *b);
struct lock_dir *lock_dir_get_in(struct lock_app *a, struct lock_base *b);
int lock_dir_root(const struct lock_dir *d);   /* the descriptor that `below` is below; -1: missing */
char *lock_dir_path(const struct lock_dir *d); /* on the host; the caller frees it */
/* Forget (and remove from disk, when empty) directories that no longer count; then the app itself if nothing is left:
 * `a` may be gone after. */
void lock_app_trim(struct lock_app *a);
void lock_app_recount(struct lock_app *a);
void lock_app_free(struct lock_app *a);

/* set.c */
/* Can `service` be the name of a directory? */
bool lock_service_valid(const char *service);
/* The end of every call into the set: arm the timer, tell of changes by `changed` in a next turn. */
void lock_set_settle(struct lock_set *s);

/* place.c: the places of a whole app */
void lock_bases_init(struct lock_set *s, const struct lock_options *o);
void lock_bases_deinit(struct lock_set *s);
bool lock_base_open(struct lock_base *b); /* true: it is another one than it was */
/* Is each root still there, or there at last? Then all apps are looked for in it, and some may be gone after. */
void lock_bases_look(struct lock_set *s);
/* Directories of `a` that are there now become part of it, not yet read. */
void lock_bases_find(struct lock_app *a);
void lock_base_on_event(void *base, unsigned events);

/* lifetime.c */
enum lock_lapse lock_slot_lapse(const struct lock_dir *d, size_t i); /* now */
/* Loop time when a lock that counts now will do so no more, if nothing happens to it; 0: never. */
int64_t lock_slot_lapses_at(const struct lock_dir *d, size_t i);
const char *lock_lapse_name(enum lock_lapse lapse);
/* The slot was read again and is the same lock. */
void lock_slot_renew(struct lock_dir *d, size_t i, const struct lock_entry *now);

/* observe.c: from disk into the slots */
int lock_app_open(const struct lock_app *a); /* O_PATH; or a negative errno */
/* By its path at once (O_PATH). -ESTALE when that cannot be, or does not lead to the directory that is watched: then
 * every component must be looked at. */
int lock_dir_open_watched(const struct lock_dir *d, unsigned *mode, int *out);
int lock_dir_open(const struct lock_dir *d, int *out); /* O_PATH; the short way or the long one */
/* What is at this slot now? Tells SEEN, GONE and LOST. Negative errno: cannot tell, what was known stays. */
int lock_slot_read(struct lock_dir *d, size_t i, int dir_fd);
/* Note without any event what we did ourselves. */
void lock_slot_set(struct lock_dir *d, size_t i, const struct lock_entry *e);
/* Read the slots, after an event in the directory; false: it is not there as it was, refresh it. */
bool lock_dir_reread(struct lock_dir *d);
/* Arm the watch, read the slots; `app_fd`: as lock_app_open() gave it; of no meaning below a base. */
void lock_dir_refresh(struct lock_dir *d, int app_fd);
void lock_app_refresh(struct lock_app *a); /* its own directory, all in it, and those of the bases; recounts */
/* Tell an event; `by`: of an override. */
void lock_event_slot(struct lock_dir *d, size_t i, enum lock_event_kind kind, const char *by);
/* Keeps the sentence (NULL: fine now) in *problem and tells a new one. `a` and `d` may be NULL. */
void lock_problem(struct lock_set *s, struct lock_app *a, struct lock_dir *d, char **problem, const char *sentence);
void lock_base_problem(struct lock_base *b, const char *sentence);

/* watch.c: who wakes us */
void lock_watch_arm_dir(struct lock_dir *d, int fd);
void lock_watch_arm_app(struct lock_app *a, int fd);
void lock_watch_arm_root(struct lock_set *s, int parent_fd);
void lock_watch_arm_base(struct lock_base *b);
/* Is what is called `name` now the directory that is watched (or absent, and no watch)? One system call. */
bool lock_watch_matches(const struct lock_watch *w, int dir_fd, const char *name);
/* The end of a callback of the loop. It calls `changed`, which may do anything: nothing is touched after it. */
void lock_watch_report(struct lock_set *s);
void lock_watch_drop(struct lock_watch *w);
void lock_watch_timer(struct lock_set *s); /* arm it as far as something waits */
void lock_watch_on_timer(void *set);

/* spare.c: made while somebody's lock is waited for, so that the take has only to name them */
void lock_spares_on_stock(void *set);
bool lock_spares_short(const struct lock_set *s); /* fewer than the next takes need? */
/* As lock_entry_make() in the directory `d`, with a spare if there is one. */
int lock_spares_make(struct lock_dir *d, int dir_fd, const char *name, struct lock_entry *out, struct err *err);
void lock_spares_drop(struct lock_set *s);

/* explain.c */
void lock_explain_init(struct lock_set *s);
/* Calls `closed` (ctx: the set) so many times as it returns: for its timer, and for a scan at work when that has ended. */
unsigned lock_explain_close(struct lock_set *s, loop_fn *closed);
void lock_explain_deinit(struct lock_set *s); /* answers whoever still waits */

/* scan.c */
/* `adopt_reference`: lock files of the reference are leftovers too. */
void lock_scan_leftovers(struct lock_set *s, bool adopt_reference);
/* Apps that have a directory in the base become known; nothing is read yet. */
void lock_scan_base(struct lock_base *b);

#endif
