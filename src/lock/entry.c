/*
 * One lock path on disk. A lock of ours appears by link(2): complete, with owner and content, and exclusively, as
 * everybody else makes theirs. It is told from others by what it is, never by what we remember, so that a leftover of a
 * killed run is ours as well.
 */
#include "lock/entry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/mem.h"
#include "util/str.h"

#define TEMPORARY_PREFIX  ".lk-"
#define SWEEP_ENTRIES_MAX 4096 /* an application may fill its directory; start-up must not suffer */

static enum lock_kind kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return LOCK_FILE;
	case S_IFDIR:
		return LOCK_DIRECTORY;
	case S_IFLNK:
		return LOCK_SYMLINK;
	default:
		return LOCK_OTHER;
	}
}

static void entry_fill(struct lock_entry *e, const struct stat *st)
{
	*e = (struct lock_entry){
		.exists = true,
		.kind = kind_of(st->st_mode),
		.uid = st->st_uid,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.ctime_ms = (int64_t)st->st_ctim.tv_sec * 1000 + st->st_ctim.tv_nsec / 1000000,
		.mtime = st->st_mtim,
	};
}

/*
 * Reads the content of a regular file that `e` described a moment ago. A file swapped in since has no content (*len 0):
 * it is somebody else's, and whoever swaps wakes us. Negative errno: cannot be read now (no descriptor, say).
 */
static int content_read(int dir_fd, const char *name, const struct lock_entry *e, char text[LOCK_CONTENT_MAX],
			size_t *len)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	*len = 0;
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_ino != e->ino || st.st_dev != e->dev || st.st_size >= LOCK_CONTENT_MAX)
		return 0;
	n = pread(fd, text, LOCK_CONTENT_MAX, 0);
	if (n < 0)
		return -errno;
	*len = (size_t)n;
	return 0;
}

int lock_entry_read(int dir_fd, const char *name, struct lock_entry *out)
{
	char text[LOCK_CONTENT_MAX];
	struct lock_content content;
	struct stat st;
	size_t len;
	int rc;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		*out = (struct lock_entry){.exists = errno != ENOENT, .kind = LOCK_OTHER};
		return errno == ENOENT ? 0 : -errno;
	}
	entry_fill(out, &st);
	if (!S_ISREG(st.st_mode) || st.st_uid != LOCK_OWNER_UID)
		return 0;
	rc = content_read(dir_fd, name, out, text, &len);
	if (rc < 0)
		return rc;
	out->reference = len == 1 && text[0] == '0';
	out->ours = lock_content_parse(text, len, &content);
	if (out->ours)
		memcpy(out->nonce, content.nonce, sizeof(out->nonce));
	return 0;
}

static int file_complete(int fd, const char *boot_id, const char *nonce, struct err *err)
{
	char text[LOCK_CONTENT_MAX];
	size_t len = lock_content_format(text, boot_id, nonce);
	ssize_t n = write(fd, text, len);

	if (n != (ssize_t)len) {
		errno = n < 0 ? errno : ENOSPC;
		return err_sys(err, "write %zu bytes", len);
	}
	if (fchown(fd, LOCK_OWNER_UID, LOCK_OWNER_UID) < 0)
		return err_sys(err, "change its owner to %d", LOCK_OWNER_UID);
	if (fchmod(fd, 0444) < 0) /* the umask may have taken bits away */
		return err_sys(err, "change its mode");
	return 0;
}

/* A temporary of ours may be of any stage: empty and root's, or complete. Its name has our form, and what it says is
 * the beginning of what ours say: at L3 it lies among an application's data. */
static bool is_stale_temporary(int dir_fd, const char *name)
{
	char text[LOCK_CONTENT_MAX];
	struct lock_entry e;
	struct stat st;
	size_t len;

	if (!str_starts(name, TEMPORARY_PREFIX) || !lock_token_valid(name + strlen(TEMPORARY_PREFIX)) ||
	    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    (st.st_uid != LOCK_OWNER_UID && st.st_uid != geteuid()))
		return false;
	entry_fill(&e, &st);
	return st.st_size == 0 ||
	       (content_read(dir_fd, name, &e, text, &len) == 0 && len > 0 && lock_content_begins(text, len));
}

/* By descriptor, so that it is this very file that gets the name. */
static int file_link(int fd, int dir_fd, const char *name, struct err *err)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0)
		return err_sys(err, "link it");
	return 0;
}

int lock_entry_spare(int dir_fd, const char *boot_id, const char *nonce, int *out, struct err *err)
{
	AUTO_CLOSE int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0444);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		return err_set(err, -EOPNOTSUPP, "this file system has no files without a name");
	if (fd < 0)
		return err_sys(err, "make a file in its directory");
	if (file_complete(fd, boot_id, nonce, err) < 0)
		return err->code;
	*out = fd;
	fd = -1;
	return 0;
}

static void entry_fill_ours(struct lock_entry *e, const struct stat *st, const char *nonce)
{
	entry_fill(e, st);
	e->ours = true;
	snprintf(e->nonce, sizeof(e->nonce), "%s", nonce);
}

int lock_entry_name(int spare_fd, int dir_fd, const char *name, const char *nonce, struct lock_entry *out,
		    struct err *err)
{
	struct stat st = {0};

	if (file_link(spare_fd, dir_fd, name, err) < 0)
		return err->code;
	fstat(spare_fd, &st); /* last, as link(2) changes ctime; it does not fail for a file of ours that is open */
	entry_fill_ours(out, &st, nonce);
	return 0;
}

static int make_anonymous(int dir_fd, const char *name, const char *boot_id, const char *nonce, struct lock_entry *out,
			  struct err *err)
{
	AUTO_CLOSE int fd = -1;

	if (lock_entry_spare(dir_fd, boot_id, nonce, &fd, err) < 0)
		return err->code;
	return lock_entry_name(fd, dir_fd, name, nonce, out, err);
}

static int make_named(int dir_fd, const char *name, const char *boot_id, const char *nonce, struct lock_entry *out,
		      struct err *err)
{
	struct stat st = {0};
	char temporary[sizeof(TEMPORARY_PREFIX) + LOCK_TOKEN_MAX];
	AUTO_CLOSE int fd = -1;
	int rc;

	snprintf(temporary, sizeof(temporary), TEMPORARY_PREFIX "%s", nonce);
	if (is_stale_temporary(dir_fd, temporary)) /* an earlier removal failed */
		unlinkat(dir_fd, temporary, 0);
	fd = openat(dir_fd, temporary, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (fd < 0) {
		rc = err_sys(err, "make the temporary %s", temporary);
		return rc == -EEXIST ? (err->code = -EBUSY) : rc; /* -EEXIST means the lock itself */
	}
	rc = file_complete(fd, boot_id, nonce, err);
	if (rc == 0)
		rc = file_link(fd, dir_fd, name, err);
	unlinkat(dir_fd, temporary, 0); /* if it stays, the next one or the next start removes it */
	if (rc < 0)
		return rc;
	fstat(fd, &st);
	entry_fill_ours(out, &st, nonce);
	return 0;
}

int lock_entry_make(int dir_fd, const char *name, const char *boot_id, const char *nonce, enum lock_make *make,
		    struct lock_entry *out, struct err *err)
{
	int rc = -EOPNOTSUPP;

	if (*make == LOCK_MAKE_ANONYMOUS)
		rc = make_anonymous(dir_fd, name, boot_id, nonce, out, err);
	if (rc == -EOPNOTSUPP) {
		*make = LOCK_MAKE_NAMED;
		*err = (struct err){0};
		rc = make_named(dir_fd, name, boot_id, nonce, out, err);
	}
	return rc;
}

int lock_entry_remove(int dir_fd, const char *name, const struct lock_entry *known)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_ino != known->ino || st.st_dev != known->dev)
		return 1;
	return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

void lock_entry_sweep(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (unsigned n = 0; n < SWEEP_ENTRIES_MAX && (d = readdir(dir)); n++)
		if (is_stale_temporary(dir_fd, d->d_name))
			unlinkat(dir_fd, d->d_name, 0);
	closedir(dir);
}
