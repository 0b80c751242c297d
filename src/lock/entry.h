/* One lock path on disk: look at it, make ours, take ours away, break somebody else's. Directories are given as
 * descriptors (O_PATH will do); names are single components; symbolic links are never followed. */
#ifndef LOCK_ENTRY_H
#define LOCK_ENTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "lock/content.h"
#include "model/locks.h"
#include "util/err.h"

#define LOCK_OWNER_UID 65534

struct lock_entry { /* what is at a lock path now */
	bool exists, ours;
	bool reference; /* looks like one of the reference supervisor: uid 65534, content exactly "0" */
	enum lock_kind kind;
	unsigned uid;
	dev_t dev;
	ino_t ino;
	int64_t ctime_ms;               /* Unix ms */
	struct timespec mtime;          /* as an application set it: any value */
	char nonce[LOCK_TOKEN_MAX + 1]; /* of ours */
};

/* 0, also when there is nothing; negative errno when the system cannot tell, for want of a descriptor, say (then `out`
 * says: exists, not ours). */
int lock_entry_read(int dir_fd, const char *name, struct lock_entry *out);

enum lock_make { LOCK_MAKE_ANONYMOUS, LOCK_MAKE_NAMED }; /* O_TMPFILE; or a temporary name, for where that is missing */
/*
 * Make ours at `name`, complete before it appears. 0 and *out; -EEXIST: something is there. *make turns from anonymous
 * to named for good when the file system does not know O_TMPFILE.
 */
int lock_entry_make(int dir_fd, const char *name, const char *boot_id, const char *nonce, enum lock_make *make,
		    struct lock_entry *out, struct err *err);
/*
 * The two halves of making an anonymous one. A spare is complete and has no name; it goes with its descriptor (*out,
 * which the caller closes). -EOPNOTSUPP: the file system does not know O_TMPFILE. Named, in any directory of the same
 * mount: as lock_entry_make(); -EXDEV: another one. A spare is named once: two locks must not be one file, or who
 * writes into one of them changes both.
 */
int lock_entry_spare(int dir_fd, const char *boot_id, const char *nonce, int *out, struct err *err);
int lock_entry_name(int spare_fd, int dir_fd, const char *name, const char *nonce, struct lock_entry *out,
		    struct err *err);
/* Unlink `name` if it is still the file `known`. 0: gone; 1: it is something else now and stays; negative errno. */
int lock_entry_remove(int dir_fd, const char *name, const struct lock_entry *known);
/* Remove temporaries that a run killed inside lock_entry_make() left in the directory (of the named kind). */
void lock_entry_sweep(int dir_fd);

#define LOCK_BREAK_DEPTH_MAX 32
/*
 * Remove whatever is at `name`: unlink; a directory with all in it, on the same device only, at most 32 deep, at most
 * *budget entries (counted down). 0: gone; 1: the budget ended first, ask again; negative errno.
 */
int lock_entry_break(int dir_fd, const char *name, unsigned *budget, struct err *err);

#endif
