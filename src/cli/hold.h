/*
 * Holding this service's update lock while a command runs: what `lockkeeper lock` and the static `update-lock` share.
 * Nothing of it may need more than libc, so that the static program stays small enough for any image.
 */
#ifndef CLI_HOLD_H
#define CLI_HOLD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOLD_DIRECTORY  "/tmp/balena"
#define HOLD_NAME       "updates.lock"
#define HOLD_REASON_MAX 1024                  /* bytes */
#define HOLD_WAIT_MAX   ((int64_t)1000000000) /* seconds */

enum hold_exit { /* what else it exits with is the command's own code */
		 HOLD_USAGE = 2,
		 HOLD_LOCKED = 75,
		 HOLD_ERROR = 125,
		 HOLD_CANNOT_RUN = 126,
		 HOLD_NOT_FOUND = 127,
		 HOLD_SIGNAL = 128 /* + the signal's number */
};

struct hold_options {
	const char *program; /* how it speaks of itself: "lockkeeper lock", "update-lock" */
	const char *dir;
	const char *reason; /* NULL: none */
	int64_t wait_ms;    /* 0: not at all */
	bool flock;
	char **command; /* NULL-ended; not empty */
};

/* The whole program: argv[0] is skipped, `version` is NULL where there is no --version. Returns the exit code. Leaves
 * most signals blocked: the process is about to end. */
int hold_main(const char *program, const char *version, int argc, char **argv);

/* ---- its parts ---- */

/* 0; HOLD_USAGE after a sentence on stderr; -1: --help or --version was printed. `out` borrows from argv. */
int hold_parse(const char *program, const char *version, int argc, char **argv, struct hold_options *out);

/* "<program>: <sentence>" on standard error. */
void hold_say(const struct hold_options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct hold_lock {
	int dir, fd; /* while taken: the directory it was taken in, the lock file itself; else -1 */
};
enum hold_taken { HOLD_TAKEN, HOLD_HELD, HOLD_NO_DIRECTORY };
/* One attempt, exclusively: an enum hold_taken; or a negative errno after a sentence on stderr. */
int hold_take(const struct hold_options *o, struct hold_lock *lock);
/* Removes the lock if the name still is the file that we made; a sentence on stderr when not. 0, or -1 when it could not
 * be removed. Closes everything. */
int hold_release(const struct hold_options *o, struct hold_lock *lock);
/* Says who holds it, as far as can be seen, behind "<what>: ". */
void hold_explain(const struct hold_options *o, const char *what);

/*
 * Takes the lock, waiting for it up to wait_ms. 0 taken; else what to exit with: HOLD_LOCKED or HOLD_ERROR after a
 * sentence, HOLD_SIGNAL + n when a signal ended the waiting.
 */
struct hold_signals;
int hold_acquire(const struct hold_options *o, struct hold_signals *s, struct hold_lock *lock);

/* Signals come through a descriptor from begin on; the command gets the mask and dispositions of before. */
struct hold_signals {
	int fd;
	sigset_t mask_before;
	struct sigaction child_before;
};
int hold_signals_begin(const struct hold_options *o, struct hold_signals *s); /* 0, -1 after a sentence */
/* For as long as no command runs: takes in what came, and stops with SIGTSTP. The signal that is to end us, 0: none. */
int hold_signals_read(struct hold_signals *s);
/* Runs the command to its end, passing signals on. Returns its exit code, as a shell would give it. */
int hold_run(const struct hold_options *o, struct hold_signals *s);

#endif
