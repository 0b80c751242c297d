/*
 * The lock root. It lies in /tmp, where on a box with several users anybody could have made it first, so every
 * component is opened without following links and must be one that only root can change; then all that lies below is
 * ours to walk. (One openat() a component is openat2(RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS) that also runs on old
 * kernels and under old seccomp profiles, and the check of each component needs its descriptor anyway. Where neither
 * matters, on the way to a directory reached before, openat2() is the shorter way.)
 */
#include "lock/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/claim.h"
#include "util/mem.h"
#include "util/str.h"

#define BASE_NAME   "balena-supervisor"
#define LEGACY_NAME "resin-supervisor"
#define CLAIM_NAME  ".supervisor"

int lock_dir_at(int dir_fd, const char *name, int flags, int *out)
{
	int fd = openat(dir_fd, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ELOOP ? -ENOTDIR : -errno;
	*out = fd;
	return 0;
}

int lock_dir_at_path(int dir_fd, const char *path, int *out)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how)); /* the C library has no name for it */

	if (fd < 0)
		return errno == ELOOP ? -ENOTDIR : -errno;
	*out = (int)fd;
	return 0;
}

int lock_dir_ensure(int dir_fd, const char *name, unsigned mode, bool make, int *out)
{
	struct stat st;
	int fd = -1, rc = lock_dir_at(dir_fd, name, O_RDONLY, &fd);

	if (rc == -ENOENT && make) {
		if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
			return -errno;
		rc = lock_dir_at(dir_fd, name, O_RDONLY, &fd);
	}
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0 || ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	*out = fd;
	return 0;
}

/* `path`: the host path of this component, for the sentence. */
static int component_check(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "look at %s", path);
	if (S_ISLNK(st.st_mode))
		return err_set(err, -EPERM, "%s is a symbolic link: no place for update locks", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "%s is not a directory", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(err, -EPERM, "%s belongs to uid %u, not to root: no place for update locks", path,
			       (unsigned)st.st_uid);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
		return err_set(err, -EPERM, "%s (mode %04o) is writable by others: no place for update locks", path,
			       (unsigned)st.st_mode & 07777);
	return 0;
}

static bool is_link_to_legacy(int dir_fd, const char *name)
{
	char target[sizeof("./" LEGACY_NAME) + 1];
	const char *to = target;
	struct stat st;
	ssize_t n;

	if (!str_eq(name, BASE_NAME) || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode) ||
	    (st.st_uid != 0 && st.st_uid != geteuid()))
		return false;
	n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	if (str_starts(target, "./")) /* as the reference writes it */
		to += 2;
	return str_eq(to, LEGACY_NAME);
}

/* An application started by an old supervisor may hold a lock below the old name: both names must be one directory. */
static void link_to_legacy(int dir_fd, const char *name)
{
	struct stat st;

	if (str_eq(name, BASE_NAME) && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT &&
	    fstatat(dir_fd, LEGACY_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		(void)!symlinkat(LEGACY_NAME, dir_fd, name); /* when this fails, opening it will say why */
}

static int component_open(int dir_fd, const char *name, const char *path, bool make, int *out, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int made = -1;

	if (make)
		link_to_legacy(dir_fd, name);
	if (is_link_to_legacy(dir_fd, name))
		name = LEGACY_NAME;
	fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && make) {
		int rc = lock_dir_ensure(dir_fd, name, 0755, true, &made);

		if (rc < 0) {
			errno = -rc;
			return err_sys(err, "make %s", path);
		}
		close(made);
		fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return err_sys(err, "open %s", path);
	if (component_check(fd, path, err) < 0)
		return err->code;
	*out = fd;
	fd = -1;
	return 0;
}

/* From the host's root down, one component after the other; `parent` may be NULL. */
static int walk(const char *host_root, const char *root, bool make, int *parent, int *out, struct err *err)
{
	AUTO_CLOSE int above = -1;
	AUTO_CLOSE int fd = open(host_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *rest = mem_strdup(root);
	char *save = NULL;

	if (fd < 0)
		return err_sys(err, "open the host's root %s", host_root);
	if (root[0] != '/' || !root[strspn(root, "/")])
		return err_set(err, -EINVAL, "the lock root \"%s\" is not an absolute path", root);
	for (char *name = strtok_r(rest, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		AUTO_FREE char *path = mem_strndup(root, (size_t)(name - rest) + strlen(name));
		int next = -1;

		if (str_eq(name, ".") || str_eq(name, ".."))
			return err_set(err, -EINVAL, "the lock root \"%s\" has a component %s", root, name);
		if (component_open(fd, name, path, make, &next, err) < 0)
			return err->code;
		if (above >= 0)
			close(above);
		above = fd;
		fd = next;
	}
	*out = fd;
	fd = -1;
	if (parent) {
		*parent = above;
		above = -1;
	}
	return 0;
}

int lock_root_open(const char *host_root, const char *lock_root, int *parent_fd, int *root_fd, struct err *err)
{
	return walk(host_root, lock_root, true, parent_fd, root_fd, err);
}

int lock_root_find(const char *host_root, const char *root, int *root_fd, struct err *err)
{
	return walk(host_root, root, false, NULL, root_fd, err);
}

int lock_root_claim(int root_fd, const char *lock_root, int *claim_fd, struct err *err)
{
	return claim_take(root_fd, CLAIM_NAME, 0644, lock_root, claim_fd, err);
}
