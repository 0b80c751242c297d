/*
 * Who holds a lock. One pass over the processes collects evidence for all locks at once, and the best piece decides: a
 * lock (flock, POSIX) on the file, else the pid in its content, else an open descriptor. What is doubtful stays
 * unknown: "stale" needs proof that nobody is left, not just that nobody was found.
 */
#include "lock/holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lock/holder_proc.h"
#include "util/mem.h"
#include "util/str.h"

#define LOCKS_BYTES_MAX (1u << 20) /* of /proc/locks */
/* A process starts at a tick of 10 ms, a file at one of up to 10 ms, both rounded down. */
#define TICKS_MS 20

enum evidence { EVIDENCE_NONE, EVIDENCE_OPEN, EVIDENCE_NAMED, EVIDENCE_LOCKED };

struct finding { /* beside each question */
	struct holder_question *q;
	bool there;             /* the lock is still the one asked for */
	int64_t named;          /* pid in its content */
	unsigned named_seen;    /* processes it may mean */
	bool named_doubtful;    /* the pid may have been given anew, or mean a process of the host */
	enum evidence evidence; /* for the process in q->found */
	int64_t start_ms;
};
struct pass {
	struct holder_scan *s;
	int proc_fd;
	struct finding *f; /* sorted by device and inode */
	struct proc_lock *locks;
	size_t n_locks, locks_capacity;
	size_t descriptors;
	int64_t self, ends_ms;
	bool names;      /* some content names a pid */
	bool over;       /* a limit was reached */
	bool incomplete; /* not every process could be judged */
};

void lock_holder_deinit(struct lock_holder *h)
{
	free(h->command);
	free(h->container_id);
	free(h->reason);
	*h = (struct lock_holder){0};
}

void holder_scan_init(struct holder_scan *s, const char *proc)
{
	*s = (struct holder_scan){
		.proc = mem_strdup(proc),
		.processes_max = HOLDER_PROCESSES_MAX,
		.descriptors_max = HOLDER_DESCRIPTORS_MAX,
		.ms_max = HOLDER_MS_MAX,
	};
	for (size_t i = 0; i < ARRAY_LEN(s->roots); i++)
		s->roots[i] = -1;
}

void holder_scan_deinit(struct holder_scan *s)
{
	for (size_t i = 0; i < s->n_questions; i++) {
		free(s->questions[i].service);
		free(s->questions[i].below);
		free(s->questions[i].name);
		lock_holder_deinit(&s->questions[i].found);
	}
	for (size_t i = 0; i < s->n_containers; i++) {
		free(s->containers[i].service);
		free(s->containers[i].id);
	}
	for (size_t i = 0; i < ARRAY_LEN(s->roots); i++)
		if (s->roots[i] >= 0)
			close(s->roots[i]);
	free(s->questions);
	free(s->containers);
	free(s->proc);
}

/* -------- evidence -------- */

static int compare_file(dev_t dev_a, ino_t ino_a, dev_t dev_b, ino_t ino_b)
{
	if (ino_a != ino_b)
		return ino_a < ino_b ? -1 : 1;
	return dev_a < dev_b ? -1 : dev_a > dev_b;
}

static int compare_findings(const void *a, const void *b)
{
	const struct holder_question *x = ((const struct finding *)a)->q, *y = ((const struct finding *)b)->q;

	return compare_file(x->dev, x->ino, y->dev, y->ino);
}

/* The first of the locks that are this file (an application may link both names to one), NULL if none is. */
static struct finding *find_file(const struct pass *p, dev_t dev, ino_t ino)
{
	size_t low = 0, high = p->s->n_questions;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare_file(p->f[mid].q->dev, p->f[mid].q->ino, dev, ino) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < p->s->n_questions && p->f[low].q->dev == dev && p->f[low].q->ino == ino ? &p->f[low] : NULL;
}

static bool is_file(const struct pass *p, const struct finding *f, dev_t dev, ino_t ino)
{
	return f < p->f + p->s->n_questions && f->q->dev == dev && f->q->ino == ino;
}

/* The better evidence wins; of two alike the process that is older. */
static void consider(struct pass *p, struct finding *f, const struct proc_process *process, enum evidence evidence)
{
	struct lock_holder *h = &f->q->found;
	char *command;

	if (!f->there || evidence < f->evidence ||
	    (evidence == f->evidence && (h->pid == process->pid || process->start_ms >= f->start_ms)))
		return;
	command = proc_command(p->proc_fd, process->pid);
	if (!command) /* gone */
		return;
	free(h->command);
	free(h->container_id);
	h->pid = process->pid;
	h->command = command;
	h->container_id = *process->container_id ? mem_strdup(process->container_id) : NULL;
	f->evidence = evidence;
	f->start_ms = process->start_ms;
}

/* Most processes have nothing to do with locks: who one is is read when it matters. False: it is gone. */
static bool know(const struct pass *p, struct proc_process *process)
{
	return process->is_known || proc_process_read(p->s, p->proc_fd, process);
}

static const struct proc_lock *find_lock(const struct pass *p, dev_t dev, ino_t ino, int64_t pid, bool waits)
{
	for (size_t i = 0; i < p->n_locks; i++)
		if (p->locks[i].ino == ino && p->locks[i].dev == dev && p->locks[i].pid == pid &&
		    p->locks[i].waits == waits)
			return &p->locks[i];
	return NULL;
}

/* It has the file open: as the one that locked it, as one that only waits for that (no holder), or who knows why. */
static void note_open(struct pass *p, struct proc_process *process, dev_t dev, ino_t ino)
{
	enum evidence evidence = EVIDENCE_OPEN;

	if (!know(p, process))
		return;
	if (find_lock(p, dev, ino, process->pid, false))
		evidence = EVIDENCE_LOCKED;
	else if (find_lock(p, dev, ino, process->pid, true))
		return;
	for (struct finding *f = find_file(p, dev, ino); f && is_file(p, f, dev, ino); f++)
		consider(p, f, process, evidence);
}

static bool is_over(struct pass *p)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	p->over |= (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 >= p->ends_ms;
	return p->over;
}

/* False: its descriptors cannot be read. */
static bool look_at_descriptors(struct pass *p, struct proc_process *process)
{
	char path[32];
	DIR *dir;
	int fd;
	const struct dirent *d;
	struct statx st;

	snprintf(path, sizeof(path), "%lld/fd", (long long)process->pid);
	fd = openat(p->proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		p->over |= ++p->descriptors > p->s->descriptors_max;
		if (p->over || (p->descriptors % 256 == 0 && is_over(p)))
			break;
		/* What is known is enough: a file server that is away must not hold us. */
		if (statx(fd, d->d_name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &st) == 0 &&
		    find_file(p, makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino))
			note_open(p, process, makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino);
	}
	closedir(dir);
	return true;
}

/* Its descriptors are hidden from us; but somebody locked the file, and that is its pid. */
static void note_locks_of_hidden(struct pass *p, struct proc_process *process)
{
	for (size_t i = 0; i < p->n_locks; i++) {
		const struct proc_lock *l = &p->locks[i];

		if (l->pid != process->pid || l->waits || !know(p, process))
			continue;
		for (struct finding *f = find_file(p, l->dev, l->ino); f && is_file(p, f, l->dev, l->ino); f++)
			consider(p, f, process, EVIDENCE_LOCKED);
	}
}

static bool is_of(const struct holder_container *c, const struct holder_question *q)
{
	return c->app_id == q->app_id && (!q->service || str_eq(c->service, q->service));
}

/*
 * Is this the process whose pid the content gives? A container's pid is no host pid, so only processes of this
 * service's containers can be meant; one that started after the lock was made got the pid of a dead one. The clock may
 * have been set between the two, so that is sure only for what started while we saw the lock.
 */
static void note_named(struct pass *p, struct finding *f, const struct proc_process *process,
		       const struct holder_container *c)
{
	if (!c) {
		/* Perhaps a script on the host, alive; its first process is none. */
		if (!*process->container_id && process->pid == f->named && process->pid != 1 &&
		    proc_has_program(p->proc_fd, process->pid))
			f->named_doubtful = true;
		return;
	}
	if (!is_of(c, f->q) || process->own_pid != f->named)
		return;
	if (process->age_ms < 0 || process->start_ms > f->q->ctime_ms + TICKS_MS) {
		if (process->age_ms < 0 || process->age_ms + TICKS_MS >= f->q->seen_ms)
			f->named_doubtful = true;
		return;
	}
	if (++f->named_seen == 1)
		consider(p, f, process, EVIDENCE_NAMED);
}

static struct holder_container *container_of_process(const struct pass *p, const struct proc_process *process)
{
	for (size_t i = 0; *process->container_id && i < p->s->n_containers; i++)
		if (str_eq(p->s->containers[i].id, process->container_id))
			return &p->s->containers[i];
	return NULL;
}

static void look_at_process(struct pass *p, int64_t pid)
{
	struct proc_process process = {.pid = pid};
	struct holder_container *c;

	if (!look_at_descriptors(p, &process))
		note_locks_of_hidden(p, &process);
	if (!p->names || !know(p, &process))
		return;
	c = container_of_process(p, &process);
	if (c) {
		c->seen = true;
		p->incomplete |= !process.own_pid;
	}
	for (size_t i = 0; i < p->s->n_questions; i++)
		if (p->f[i].named)
			note_named(p, &p->f[i], &process, c);
}

static void look_at_processes(struct pass *p)
{
	int fd = dup(p->proc_fd);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;
	int64_t pid;
	size_t n = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		p->incomplete = true;
		return;
	}
	while ((d = readdir(dir))) {
		if (!str_to_i64(d->d_name, 1, INT64_MAX, &pid) || pid == p->self)
			continue;
		p->over |= ++n > p->s->processes_max;
		if (is_over(p))
			break;
		look_at_process(p, pid);
	}
	closedir(dir);
}

static void read_locks(struct pass *p)
{
	AUTO_CLOSE int fd = openat(p->proc_fd, "locks", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FILE *from = fd < 0 ? NULL : fdopen(fd, "r");
	char line[256];
	size_t bytes = 0;
	struct proc_lock l;

	if (!from)
		return;
	fd = -1; /* it is the stream's now */
	while (bytes < LOCKS_BYTES_MAX && fgets(line, sizeof(line), from)) {
		bytes += strlen(line);
		if (!proc_lock_parse(line, &l) || !find_file(p, l.dev, l.ino))
			continue;
		mem_reserve(&p->locks, &p->locks_capacity, p->n_locks + 1, sizeof(*p->locks));
		p->locks[p->n_locks++] = l;
	}
	fclose(from);
}

/* -------- the verdict -------- */

static void judge(const struct pass *p, struct finding *f)
{
	struct lock_holder *h = &f->q->found;
	bool running = false, all_seen = true;

	if (!f->there) {
		lock_holder_deinit(h);
		return;
	}
	if (f->evidence == EVIDENCE_NAMED && f->named_seen > 1) { /* two containers, the same pid: which? */
		free(h->command);
		free(h->container_id);
		*h = (struct lock_holder){.reason = h->reason};
		return;
	}
	if (h->pid) {
		h->stale = LOCK_STALE_NO;
		return;
	}
	for (size_t i = 0; i < p->s->n_containers; i++) {
		if (!is_of(&p->s->containers[i], f->q))
			continue;
		running = true;
		all_seen &= p->s->containers[i].seen;
	}
	if (p->s->containers_known && (!running || (f->named && !f->named_seen && !f->named_doubtful && all_seen &&
						    p->proc_fd >= 0 && !p->over && !p->incomplete)))
		h->stale = LOCK_STALE_YES;
}

void holder_scan_run(struct holder_scan *s)
{
	struct pass p = {.s = s};
	struct holder_content content;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	p.ends_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + s->ms_max;
	p.f = mem_new(s->n_questions, sizeof(*p.f));
	for (size_t i = 0; i < s->n_questions; i++) {
		p.f[i].q = &s->questions[i];
		p.f[i].there = holder_file_read(&s->questions[i], &content);
		p.f[i].named = content.pid;
		s->questions[i].found.reason = content.reason;
		p.names |= p.f[i].named != 0;
	}
	qsort(p.f, s->n_questions, sizeof(*p.f), compare_findings);
	p.proc_fd = open(s->proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p.proc_fd >= 0) {
		p.self = proc_self(p.proc_fd);
		read_locks(&p);
		look_at_processes(&p);
		close(p.proc_fd);
	}
	for (size_t i = 0; i < s->n_questions; i++)
		judge(&p, &p.f[i]);
	free(p.locks);
	free(p.f);
}
