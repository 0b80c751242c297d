/*
 * A claim is a lock on an open file, so it ends with its process, however that ends, and works between containers that
 * share the directory: flock(2) belongs to the file, not to a name space. Only a pid does not mean the same everywhere,
 * so the name space it was taken in is written beside it.
 */
#include "util/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "util/mem.h"
#include "util/str.h"

#define TEXT_MAX 96

/* "pid:[4026531836]"; empty where it cannot be told. */
static void read_name_space(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/ns/pid", out, size - 1);

	out[n > 0 ? n : 0] = '\0';
}

static int claim_failed(int fd, const char *name, const char *where, struct err *err)
{
	char text[TEXT_MAX], *second, ours[40];
	int64_t pid;
	ssize_t n;

	if (errno != EWOULDBLOCK)
		return err_sys(err, "lock %s/%s", where, name);
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	second = text + strcspn(text, "\n");
	if (*second)
		*second++ = '\0';
	second[strcspn(second, "\n")] = '\0';
	read_name_space(ours, sizeof(ours));
	if (!str_to_i64(text, 1, INT32_MAX, &pid))
		return err_set(err, -EBUSY, "another supervisor uses %s", where);
	if (*second && *ours && strcmp(second, ours) != 0)
		return err_set(
			err, -EBUSY,
			"another supervisor (pid %d of another container, or of the host: not a pid of here) uses %s",
			(int)pid, where);
	return err_set(err, -EBUSY, "another supervisor (pid %d) uses %s", (int)pid, where);
}

int claim_take(int dir_fd, const char *name, mode_t mode, const char *where, int *out, struct err *err)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode);
	char text[TEXT_MAX], name_space[40];
	int len;

	if (fd < 0)
		return err_sys(err, "open %s/%s", where, name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return claim_failed(fd, name, where, err);
	read_name_space(name_space, sizeof(name_space));
	len = snprintf(text, sizeof(text), "%d\n%s\n", (int)getpid(), name_space);
	/* Cut last, to what is the length already in most cases: to empty a file costs ext4 a millisecond. */
	if (pwrite(fd, text, (size_t)len, 0) != len || ftruncate(fd, len) < 0)
		return err_sys(err, "write %s/%s", where, name);
	*out = fd;
	fd = -1;
	return 0;
}
