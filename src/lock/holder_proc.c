/*
 * /proc, read for one process at a time. Each fact is read when it is asked for and the process may be gone by then:
 * "not known" is always a possible answer. Texts that a process chooses itself (its name) are escaped.
 */
#include "lock/holder_proc.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "util/mem.h"
#include "util/str.h"

/* The first bytes of <pid>/<name>, NUL-ended; negative: gone. */
static ssize_t read_of(int proc_fd, int64_t pid, const char *name, char *out, size_t size)
{
	char path[48];
	AUTO_CLOSE int fd = -1;
	size_t len = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "%" PRId64 "/%s", pid, name);
	fd = openat(proc_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	return (ssize_t)len;
}

char *proc_command(int proc_fd, int64_t pid)
{
	char text[64];
	ssize_t n = read_of(proc_fd, pid, "comm", text, sizeof(text));

	if (n > 0 && text[n - 1] == '\n')
		n--;
	return n > 0 ? holder_escape(text, (size_t)n) : NULL;
}

bool proc_has_program(int proc_fd, int64_t pid)
{
	char text[2];

	return read_of(proc_fd, pid, "cmdline", text, sizeof(text)) > 0;
}

int64_t proc_self(int proc_fd)
{
	char text[24];
	ssize_t n = readlinkat(proc_fd, "self", text, sizeof(text) - 1);
	int64_t pid = 0;

	text[n > 0 ? n : 0] = '\0';
	str_to_i64(text, 1, INT64_MAX, &pid);
	return pid;
}

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Field 22 of stat, counted from behind the name, which may contain anything. In ticks since boot. */
static void read_start(int proc_fd, struct proc_process *p)
{
	char text[1024], *s, *end;
	long long ticks;

	p->start_ms = p->age_ms = -1;
	if (read_of(proc_fd, p->pid, "stat", text, sizeof(text)) <= 0 || !(s = strrchr(text, ')')))
		return;
	for (int field = 2; field < 22 && s; field++)
		s = strchr(s + 1, ' ');
	ticks = s ? strtoll(s, &end, 10) : -1;
	if (ticks < 0 || end == s || ticks > INT64_MAX / 1000)
		return;
	p->age_ms = clock_ms(CLOCK_BOOTTIME) - ticks * 1000 / sysconf(_SC_CLK_TCK);
	p->start_ms = clock_ms(CLOCK_REALTIME) - p->age_ms;
}

/* The last number of the line NSpid. Kernels before 4.1 have none. */
static int64_t read_own_pid(int proc_fd, int64_t pid)
{
	char text[4096], *line, *end;
	int64_t own = 0;

	if (read_of(proc_fd, pid, "status", text, sizeof(text)) <= 0 || !(line = strstr(text, "\nNSpid:")))
		return 0;
	line += strlen("\nNSpid:");
	end = line + strcspn(line, "\n");
	*end = '\0';
	while (end > line && isdigit((unsigned char)end[-1]))
		end--;
	str_to_i64(end, 1, INT64_MAX, &own);
	return own;
}

static const struct holder_container *find_container(const struct holder_scan *s, const char *id)
{
	for (size_t i = 0; i < s->n_containers; i++)
		if (strcmp(s->containers[i].id, id) == 0)
			return &s->containers[i];
	return NULL;
}

/* Every driver writes the id as a part of its own: /docker/<id>, /docker-<id>.scope, /libpod-<id>, … */
bool holder_cgroup_container(const struct holder_scan *s, const char *cgroup, char out[65])
{
	char id[65] = "";
	size_t n;

	out[0] = '\0';
	for (const char *p = cgroup; *p; p += n ? n : 1) {
		n = strspn(p, "0123456789abcdef");
		if (n != 64 || isalnum((unsigned char)p[n]) || (p > cgroup && isalnum((unsigned char)p[-1])))
			continue;
		memcpy(id, p, 64);
		if (find_container(s, id)) { /* it may run in, or hold, another one */
			memcpy(out, id, sizeof(id));
			return true;
		}
		if (!*out)
			memcpy(out, id, sizeof(id));
	}
	return *out;
}

bool proc_process_read(const struct holder_scan *s, int proc_fd, struct proc_process *p)
{
	char text[4096];

	if (read_of(proc_fd, p->pid, "cgroup", text, sizeof(text)) < 0)
		return false;
	holder_cgroup_container(s, text, p->container_id);
	read_start(proc_fd, p);
	p->own_pid = read_own_pid(proc_fd, p->pid);
	p->is_known = true;
	return true;
}

/* The next number up to `stop`; false: there is none. */
static bool next_number(const char **s, int base, char stop, unsigned long long *out)
{
	char *end;

	*out = strtoull(*s, &end, base);
	if (end == *s || *end != stop)
		return false;
	*s = end + 1;
	return true;
}

/* "1: FLOCK  ADVISORY  WRITE 708 00:13:511 0 EOF"; "1: -> FLOCK …" waits for the one above. */
bool proc_lock_parse(const char *line, struct proc_lock *out)
{
	unsigned long long pid, major, minor, ino;
	const char *s = strchr(line, ':');

	if (!s)
		return false;
	s += 1 + strspn(s + 1, " ");
	out->waits = str_starts(s, "->");
	if (out->waits)
		s += 2 + strspn(s + 2, " ");
	if (!str_starts(s, "FLOCK ") && !str_starts(s, "POSIX "))
		return false;
	for (int word = 0; word < 3; word++) { /* kind, advisory or not, read or write */
		s += strcspn(s, " ");
		s += strspn(s, " ");
	}
	if (*s == '-' || !next_number(&s, 10, ' ', &pid) || !next_number(&s, 16, ':', &major) ||
	    !next_number(&s, 16, ':', &minor) || !next_number(&s, 10, ' ', &ino) || pid == 0 || pid > INT32_MAX)
		return false;
	out->dev = makedev((unsigned)major, (unsigned)minor);
	out->ino = (ino_t)ino;
	out->pid = (int64_t)pid;
	return true;
}
