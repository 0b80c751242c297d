/*
 * Who holds a lock (spec update-locks.md 6), found out from the lock file and from /proc. It reads and blocks, so it
 * runs on libuv's pool, on questions of its own: nothing of the lock set is touched. It never locks anything itself: a
 * probe could make an application's own attempt fail.
 */
#ifndef LOCK_HOLDER_H
#define LOCK_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/locks.h"

#define HOLDER_CONTENT_MAX     4096    /* bytes read of a lock file */
#define HOLDER_REASON_MAX      1024    /* bytes of a reason that are shown, before escaping */
#define HOLDER_QUESTIONS_MAX   4096    /* locks looked at in one scan, lower app ids first; others stay unknown */
#define HOLDER_PROCESSES_MAX   65536   /* looked at in one scan */
#define HOLDER_DESCRIPTORS_MAX 1000000 /* of all processes together */
#define HOLDER_ROOTS_MAX       4
#define HOLDER_MS_MAX          1000 /* that a scan may take */

struct lock_holder {
	int64_t pid;                           /* the host's; 0: not known */
	char *command, *container_id, *reason; /* NULL: not known */
	enum lock_stale stale;
};
void lock_holder_deinit(struct lock_holder *h);

struct holder_question {
	int64_t app_id;
	char *service;      /* NULL: of the whole app */
	int root_fd;        /* one of the scan's roots */
	char *below, *name; /* the lock's directory below that, its name in it */
	dev_t dev;
	ino_t ino;
	int64_t ctime_ms; /* Unix ms */
	int64_t seen_ms;  /* for how long we have been seeing it, by the monotonic clock */
	struct lock_holder found;
};
struct holder_container { /* that runs now */
	int64_t app_id;
	char *service, *id;
	bool seen; /* set by the scan: at least one process of it */
};
struct holder_scan {
	char *proc;                    /* where the host's processes are seen */
	int roots[HOLDER_ROOTS_MAX];   /* -1: unused; closed by the deinit */
	int root_of[HOLDER_ROOTS_MAX]; /* the caller's note of what each is a copy of */
	struct holder_question *questions;
	size_t n_questions, questions_capacity;
	struct holder_container *containers;
	size_t n_containers, containers_capacity;
	bool containers_known;
	size_t processes_max, descriptors_max;
	int64_t ms_max;
};
/* No questions yet, the limits above. */
void holder_scan_init(struct holder_scan *s, const char *proc);
void holder_scan_deinit(struct holder_scan *s);
/* Fills `found` of every question. */
void holder_scan_run(struct holder_scan *s);

/* What the content of a lock file tells. `reason` is escaped, owned by the caller, NULL if there is none. */
struct holder_content {
	int64_t pid; /* as its writer sees itself; 0: none */
	char *reason;
};
/* A bare pid, or "update-lock 1 <pid>" with a reason on the second line. */
void holder_content_parse(const char *text, size_t len, struct holder_content *out);
/* The same of the lock's file. False: the lock that is asked about is not there any more. */
bool holder_file_read(const struct holder_question *q, struct holder_content *out);
/* Control characters as \xNN, bytes that are not UTF-8 as U+FFFD. Caller frees. */
char *holder_escape(const char *text, size_t len);
/* The 64 hex digits of the container in a /proc/<pid>/cgroup: one of those that run if there is one, else the
 * outermost. */
bool holder_cgroup_container(const struct holder_scan *s, const char *cgroup, char out[65]);

#endif
