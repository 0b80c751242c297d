/* mount(2) and what has to be known before. The table of mounts is read once: whoever mounts something here is us. */
#include "host/mounts.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "host/below.h"
#include "host/mountinfo.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/str.h"

#define DATA_SUB "resin-data/balena-supervisor" /* where the host itself keeps the directory it binds to /data */

int mounts_read(char **table, struct err *err)
{
	long n = host_read_text(host_open("/proc/self/mountinfo"), MOUNTINFO_MAX_BYTES, table);

	if (n >= 0)
		return 0;
	errno = (int)-n;
	return err_sys(err, "read /proc/self/mountinfo");
}

/* Some file systems (btrfs) have a number of their own: then what they were mounted from counts. */
static bool device_of(const struct mount_line *m, const char *host_root, dev_t *out)
{
	AUTO_FREE char *path = str_starts(m->source, "/dev/") ? mem_printf("%s%s", host_root, m->source) : NULL;
	struct stat st;

	*out = m->dev;
	if (major(m->dev))
		return true;
	if (!path || stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	*out = st.st_rdev;
	return true;
}

int mounts_boot_device(const char *table, const char *host_root, dev_t *out, const char **where, struct err *err)
{
	static const char *const places[] = {"/mnt/boot", "/mnt/efi", "/mnt/rpi", "/mnt/imx"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		AUTO_FREE char *point = mem_printf("%s%s", host_root, places[i]);
		struct mount_line m;
		bool found;

		if (!mountinfo_find(table, point, &m))
			continue;
		found = device_of(&m, host_root, out);
		mount_line_deinit(&m);
		if (found) {
			*where = places[i];
			return 0;
		}
	}
	return err_set(err, -ENOENT,
		       "the host has its boot partition mounted at none of /mnt/boot, /mnt/efi, /mnt/rpi and /mnt/imx "
		       "(below \"%s\", the host's root as seen from here)",
		       host_root);
}

static int make_dirs(const char *path, struct err *err)
{
	AUTO_FREE char *part = mem_strdup(path);

	for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return err_sys(err, "make directory %s", part);
		if (!slash)
			return 0;
		*slash = '/';
	}
}

/* The directory, as the table of mounts names it. */
static int point_ready(const char *path, char **real, struct err *err)
{
	struct stat st;

	if (*path != '/')
		return err_set(err, -EINVAL, "%s is not an absolute path", path);
	if (stat(path, &st) < 0 && make_dirs(path, err) < 0)
		return err->code;
	*real = realpath(path, NULL);
	return *real ? 0 : err_sys(err, "resolve %s", path);
}

static bool is_mounted(const char *table, const char *device, dev_t dev, const char *point)
{
	struct mount_line m;
	bool same;

	if (!mountinfo_find(table, point, &m))
		return false;
	same = major(m.dev) ? m.dev == dev : str_eq(m.source, device);
	mount_line_deinit(&m);
	return same;
}

int mounts_partition(const char *table, const char *device, dev_t dev, const char *type, const char *point,
		     struct err *err)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_RELATIME;
	AUTO_FREE char *real = NULL;

	if (point_ready(point, &real, err) < 0)
		return err->code;
	if (is_mounted(table, device, dev, real))
		return 1;
	if (mount(device, real, type, flags, NULL) == 0)
		return 0;
	/* Write-protected; or mounted read-only by the host, which the kernel calls busy. */
	if ((errno == EROFS || errno == EACCES || errno == EBUSY) &&
	    mount(device, real, type, flags | MS_RDONLY, NULL) == 0)
		return 2;
	return err_sys(err, "mount %s (%s) at %s", device, type, point);
}

int mounts_data_dir(const char *table, const char *data, const char *dir, const char *file, struct err *err)
{
	AUTO_FREE char *from = mem_printf("%s/" DATA_SUB, data), *there = mem_printf("%s/%s", dir, file), *real = NULL;
	struct mount_line m;

	if (access(there, F_OK) == 0)
		return 1;
	if (point_ready(dir, &real, err) < 0)
		return err->code;
	if (mountinfo_find(table, real, &m)) {
		mount_line_deinit(&m);
		return 1;
	}
	if (make_dirs(from, err) < 0)
		return err->code;
	if (mount(from, real, NULL, MS_BIND, NULL) < 0 || mount(NULL, real, NULL, MS_SHARED, NULL) < 0)
		return err_sys(err, "bind %s to %s", from, dir);
	return 0;
}
