/*
 * Directory watch: inotify through the loop (libuv's own swallows queue overflow). It says only "something changed in
 * this directory", at most once a turn per watch; the reader looks at the truth again.
 */
#ifndef LOOP_DIRWATCH_H
#define LOOP_DIRWATCH_H

#include "loop/loop.h"

struct dirwatch;       /* one inotify instance */
struct dirwatch_entry; /* one watched directory */
enum dirwatch_event {
	DIRWATCH_CHANGED = 1, /* an entry appeared, vanished, was renamed or changed; for `name` filters see add */
	DIRWATCH_GONE =
		2, /* the directory itself was deleted, moved or unmounted: the entry is dead, remove and add again */
	DIRWATCH_OVERFLOW = 4 /* events were lost: look at everything */
};
typedef void dirwatch_fn(void *ctx, unsigned events);

/* -EMFILE and -ENFILE when the kernel has no more instances. */
int dirwatch_new(struct loop *l, struct dirwatch **out, struct err *err);
void dirwatch_free(struct dirwatch *w); /* all entries must have been removed; closes from the loop */
/*
 * Watch the directory open as `dir_fd` (borrowed; watched through /proc/self/fd so that a path race cannot redirect
 * it). `names`: NULL-ended list of entry names of interest, or NULL for all; copied. `fn` runs from the loop.
 * `content`: also report writes finished (CLOSE_WRITE). -ENOSPC: out of watches. Watching the same directory twice
 * gives two entries that both report.
 * The kernel tells of a deletion only once nobody has the directory open: close `dir_fd` after adding, or also watch
 * the parent for the directory's name (a test proves it: "a_deleted_directory_is_silent_while_somebody_has_it_open").
 */
int dirwatch_add(struct dirwatch *w, int dir_fd, const char *const *names, bool content, dirwatch_fn *fn, void *ctx,
		 struct dirwatch_entry **out, struct err *err);
void dirwatch_remove(struct dirwatch_entry *e); /* NULL is fine; no callback after */

#endif
