/*
 * Breaking a lock by force. The tree below a lock directory belongs to an application, which may change it while we
 * look: every step goes through a descriptor, follows no link, leaves no device, and the work of one call is bounded.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/entry.h"

struct breaking {
	dev_t dev;
	unsigned *budget;
	struct err *err;
};

static int tree_empty(struct breaking *b, DIR *dir, unsigned depth);

/* Opens the directory `name`; NULL: see *rc (0 when it is gone or no directory any more). */
static DIR *directory_open(struct breaking *b, int dir_fd, const char *name, int *rc)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	DIR *dir;

	*rc = 0;
	if (fd < 0) {
		if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
			*rc = err_sys(b->err, "open %s", name);
		return NULL;
	}
	if (fstat(fd, &st) < 0)
		*rc = err_sys(b->err, "look at %s", name);
	else if (st.st_dev != b->dev)
		*rc = err_set(b->err, -EXDEV, "%s is on another device: left alone", name);
	dir = *rc ? NULL : fdopendir(fd);
	if (!dir) {
		if (!*rc)
			*rc = err_sys(b->err, "open %s", name);
		close(fd);
	}
	return dir;
}

static int entry_break(struct breaking *b, int dir_fd, const char *name, unsigned depth)
{
	DIR *dir;
	int rc;

	for (int attempt = 0; attempt < 3; attempt++) {
		if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
			return 0;
		if (errno != EISDIR)
			return err_sys(b->err, "remove %s", name);
		if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
			return err_sys(b->err, "remove %s", name);
		if (depth >= LOCK_BREAK_DEPTH_MAX)
			return err_set(b->err, -ELOOP, "%s: more than %d directories deep", name, LOCK_BREAK_DEPTH_MAX);
		dir = directory_open(b, dir_fd, name, &rc);
		if (dir) {
			rc = tree_empty(b, dir, depth + 1);
			closedir(dir);
		}
		if (rc)
			return rc;
	}
	return err_set(b->err, -ENOTEMPTY, "remove %s: it is being filled all the time", name);
}

static int tree_empty(struct breaking *b, DIR *dir, unsigned depth)
{
	const struct dirent *d;
	int rc = 0;

	while (rc == 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.' && (!d->d_name[1] || (d->d_name[1] == '.' && !d->d_name[2])))
			continue;
		if (*b->budget == 0)
			return 1;
		--*b->budget;
		rc = entry_break(b, dirfd(dir), d->d_name, depth);
	}
	return rc;
}

int lock_entry_break(int dir_fd, const char *name, unsigned *budget, struct err *err)
{
	struct breaking b = {.budget = budget, .err = err};
	struct stat st;

	if (fstatat(dir_fd, ".", &st, 0) < 0)
		return err_sys(err, "look at the directory of %s", name);
	b.dev = st.st_dev;
	return entry_break(&b, dir_fd, name, 0);
}
