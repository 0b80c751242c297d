/* Inside src/lock: what /proc says of one process, and of locks on files. */
#ifndef LOCK_HOLDER_PROC_H
#define LOCK_HOLDER_PROC_H

#include "lock/holder.h"

struct proc_process {
	int64_t pid;              /* the name of its directory */
	bool is_known;            /* the rest was read */
	int64_t own_pid;          /* as it sees itself, in the innermost pid name space; 0: not known */
	int64_t start_ms, age_ms; /* Unix ms by today's clock; since then by a clock nobody sets. -1: not known */
	char container_id[65];    /* "": in none */
};
/* Who is process `p->pid`? False: it is gone, or hides. */
bool proc_process_read(const struct holder_scan *s, int proc_fd, struct proc_process *p);
/* Its name, escaped; NULL: gone. Caller frees. */
char *proc_command(int proc_fd, int64_t pid);
/* Does it run a program (else it is a thread of the kernel)? */
bool proc_has_program(int proc_fd, int64_t pid);
/* Our own pid there, 0 if it cannot be told. */
int64_t proc_self(int proc_fd);

struct proc_lock { /* a lock on a file that a process has (flock or POSIX) */
	dev_t dev;
	ino_t ino;
	int64_t pid;
	bool waits; /* it only waits for one */
};
/* One line of /proc/locks, NUL-ended. False: no lock of a known process on a file. */
bool proc_lock_parse(const char *line, struct proc_lock *out);

#endif
