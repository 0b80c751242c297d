/*
 * The lock file itself: taken exclusively like every application does it, told from anybody else's by its inode. What
 * it says is for those who look: "update-lock 1 <pid>", and the reason on a second line.
 */
#include "cli/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUPERVISOR     "lockkeeper-supervisor 1 "
#define SUPERVISOR_UID 65534
#define OURS           "update-lock 1 "

static int write_content(const struct hold_options *o, int fd)
{
	char text[HOLD_REASON_MAX + 64];
	int len = snprintf(text, sizeof(text), OURS "%ld\n%s%s", (long)getpid(), o->reason ? o->reason : "",
			   o->reason ? "\n" : "");
	ssize_t n = write(fd, text, (size_t)len);

	if (n == len)
		return 0;
	return n < 0 ? -errno : -ENOSPC; /* a regular file takes less than it is given only when it is full */
}

/* Whoever has a name for the file may hold flock on it before we do: so it gets its name last. */
static int create_flocked(const struct hold_options *o, int dir)
{
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644), rc;
	char link[64];

	if (fd < 0)
		return -EOPNOTSUPP; /* this file system has no nameless files */
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		rc = -EOPNOTSUPP;
	} else {
		rc = write_content(o, fd);
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (rc == 0 && linkat(AT_FDCWD, link, dir, HOLD_NAME, AT_SYMLINK_FOLLOW) != 0)
			rc = errno == EEXIST ? -EEXIST : -EOPNOTSUPP; /* without /proc, say */
	}
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* The descriptor, or negative errno with nothing left behind. */
static int create(const struct hold_options *o, int dir)
{
	int fd, rc;

	if (o->flock) {
		fd = create_flocked(o, dir);
		if (fd != -EOPNOTSUPP)
			return fd;
	}
	fd = openat(dir, HOLD_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = o->flock && flock(fd, LOCK_EX | LOCK_NB) != 0 ? -errno : write_content(o, fd);
	if (rc == 0)
		return fd;
	unlinkat(dir, HOLD_NAME, 0);
	close(fd);
	return rc;
}

/* Not one of the three where others write, if we were started without them: what we say is no content of the lock. */
static int beyond_standard(int fd)
{
	int moved;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (moved < 0)
		return fd;
	close(fd);
	return moved;
}

int hold_take(const struct hold_options *o, struct hold_lock *lock)
{
	int dir = open(o->dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	if (dir < 0 && errno == ENOENT)
		return HOLD_NO_DIRECTORY;
	fd = dir < 0 ? -errno : beyond_standard(create(o, dir));
	if (fd >= 0) {
		*lock = (struct hold_lock){dir, fd};
		return HOLD_TAKEN;
	}
	if (dir >= 0)
		close(dir);
	if (fd == -EEXIST)
		return HOLD_HELD;
	if (fd == -ENOENT) /* somebody removed the directory just now */
		return HOLD_NO_DIRECTORY;
	hold_say(o, "cannot take %s/" HOLD_NAME ": %s", o->dir, strerror(-fd));
	return fd;
}

/* The first bytes of a regular file, as text without control characters but its newlines; "" when it cannot be read.
 * A FIFO or a device under that name must not make us hang. */
static void read_text(int dir, char *out, size_t size)
{
	int fd = openat(dir, HOLD_NAME, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	ssize_t n = 0;

	if (fd >= 0) {
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			n = read(fd, out, size - 1);
		close(fd);
	}
	out[n > 0 ? n : 0] = '\0';
	for (unsigned char *c = (unsigned char *)out; *c; c++) {
		if ((*c < ' ' && *c != '\n') || *c == 0x7f)
			*c = '?';
		else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* control characters too, in UTF-8 */
			c[0] = c[1] = '?';
	}
}

static const char *kind(const struct stat *st)
{
	if (S_ISREG(st->st_mode))
		return "a file";
	if (S_ISDIR(st->st_mode))
		return "a directory";
	return S_ISLNK(st->st_mode) ? "a symbolic link" : "a special file";
}

void hold_explain(const struct hold_options *o, const char *what)
{
	int dir = open(o->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char text[HOLD_REASON_MAX + 64] = "", *line = text, *pid = NULL;
	struct stat st;
	bool there = dir >= 0 && fstatat(dir, HOLD_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0;

	if (there && S_ISREG(st.st_mode))
		read_text(dir, text, sizeof(text));
	if (dir >= 0)
		close(dir);
	if (!there) {
		hold_say(o, "%s: %s/" HOLD_NAME " was held, by somebody who is gone by now", what, o->dir);
		return;
	}
	if (st.st_uid == SUPERVISOR_UID && !strncmp(text, SUPERVISOR, strlen(SUPERVISOR))) {
		hold_say(o, "%s: lockkeeper holds %s/" HOLD_NAME ": it is about to stop this service", what, o->dir);
		return;
	}
	if (!strncmp(text, OURS, strlen(OURS))) {
		pid = text + strlen(OURS);
		line = pid + strcspn(pid, "\n");
		if (*line)
			*line++ = '\0';
		line[strcspn(line, "\n")] = '\0';
	}
	hold_say(o, "%s: somebody else holds %s/" HOLD_NAME ": %s of uid %u%s%s%s%s", what, o->dir, kind(&st),
		 st.st_uid, pid ? ", made by update-lock, process " : "", pid ? pid : "", pid && *line ? ": " : "",
		 pid ? line : "");
}

int hold_release(const struct hold_options *o, struct hold_lock *lock)
{
	struct stat ours, there;
	int rc = 0;

	if (fstat(lock->fd, &ours) != 0 || fstatat(lock->dir, HOLD_NAME, &there, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno == ENOENT)
			hold_say(o, "warning: somebody removed the lock while the command ran");
		else
			rc = -errno;
	} else if (ours.st_dev != there.st_dev || ours.st_ino != there.st_ino) {
		hold_say(o,
			 "warning: somebody replaced the lock while the command ran (a forced update?); theirs stays");
	} else if (unlinkat(lock->dir, HOLD_NAME, 0) != 0 && errno != ENOENT) {
		rc = -errno;
	}
	if (rc != 0)
		hold_say(o, "cannot remove %s/" HOLD_NAME ": %s; it holds off updates until somebody does", o->dir,
			 strerror(-rc));
	close(lock->fd);
	close(lock->dir);
	*lock = (struct hold_lock){-1, -1};
	return rc ? -1 : 0;
}
