/* An exclusion for systemd-tmpfiles (tmpfiles.d(5), type "x": a path and all below it). It lives in /run, as the
 * directories do not outlive a reboot either. */
#include "host/ageing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/mem.h"
#include "util/str.h"

#define TEXT_MAX_BYTES 8192

/* "/tmp/name" of "/tmp/name/any/thing"; NULL: not in a directory that is aged. Caller frees. */
static char *aged_entry(const char *path)
{
	static const char *const aged[] = {"/tmp/", "/var/tmp/"};

	for (size_t i = 0; path && i < ARRAY_LEN(aged); i++) {
		size_t n = strlen(aged[i]), name = str_starts(path, aged[i]) ? strcspn(path + n, "/") : 0;

		if (name)
			return mem_strndup(path, n + name);
	}
	return NULL;
}

/* tmpfiles.d has quotes, specifiers and glob patterns: a path that could be taken for more than itself is refused. */
static bool is_plain(const char *path)
{
	return !path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@")];
}

static int compose(const char *const *paths, struct buf *text, char **name, struct err *err)
{
	buf_adds(text, "# Update lock directories of lockkeeper: mounted into containers, never to be aged.\n");
	for (; *paths; paths++) {
		AUTO_FREE char *entry = aged_entry(*paths);

		if (!entry)
			continue;
		if (!is_plain(entry))
			return err_set(err, -EINVAL, "the name %.200s cannot be written to tmpfiles.d", entry);
		if (!*name)
			*name = mem_printf("lockkeeper-%s.conf", strrchr(entry, '/') + 1);
		buf_adds(text, "x ");
		buf_adds(text, entry);
		buf_adds(text, "\n");
	}
	return 0;
}

static bool says(int dir_fd, const char *name, const struct buf *text)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char now[TEXT_MAX_BYTES + 1];
	ssize_t n = fd < 0 ? -1 : read(fd, now, sizeof(now));

	return n >= 0 && (size_t)n == text->len && memcmp(now, text->data, text->len) == 0;
}

/* Under another name first: systemd-tmpfiles may read the directory at any moment. */
static int replace(int dir_fd, const char *name, const struct buf *text, struct err *err)
{
	AUTO_FREE char *temporary = mem_printf("%s.new", name); /* no .conf at its end: not read */
	AUTO_CLOSE int fd = -1;

	unlinkat(dir_fd, temporary, 0);
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text->data, text->len) != (ssize_t)text->len ||
	    renameat(dir_fd, temporary, dir_fd, name) < 0)
		return err_sys(err, "write run/tmpfiles.d/%s on the host", name);
	return 0;
}

int host_keep_from_ageing(const char *host_root, const char *const *paths, struct err *err)
{
	AUTO_CLOSE int run = -1, dir = -1;
	AUTO_FREE char *path = mem_printf("%s/run", host_root), *name = NULL;
	struct stat st;
	struct buf text;
	int rc;

	run = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (run < 0 || fstatat(run, "systemd/system", &st, AT_SYMLINK_NOFOLLOW) < 0) /* sd_booted(3) */
		return 0;
	buf_init(&text, TEXT_MAX_BYTES);
	rc = compose(paths, &text, &name, err);
	if (rc == 0 && name) {
		if (mkdirat(run, "tmpfiles.d", 0755) < 0 && errno != EEXIST)
			rc = err_sys(err, "make run/tmpfiles.d on the host");
		else
			dir = openat(run, "tmpfiles.d", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (rc == 0 && dir < 0)
			rc = err_sys(err, "open run/tmpfiles.d on the host");
		else if (rc == 0 && !says(dir, name, &text))
			rc = replace(dir, name, &text, err);
	}
	buf_deinit(&text);
	return rc;
}
