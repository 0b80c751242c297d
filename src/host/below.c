/* Reading from the host's root. The kernel resolves the path (openat2), so that no link leads out of it. */
#include "host/below.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "util/mem.h"
#include "util/str.h"

#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

int host_open(const char *path)
{
	int fd = open(path, OPEN_FLAGS);

	return fd < 0 ? -errno : fd;
}

int host_open_below(const char *host_root, const char *path)
{
	AUTO_CLOSE int root = open(host_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *joined = mem_printf("%s/%s", host_root, path);
	struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_IN_ROOT};
	long fd;

	if (root < 0)
		return -errno;
	fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* a kernel before 5.6, a seccomp profile of that age */
		return host_open(joined);
	return fd < 0 ? -errno : (int)fd;
}

long host_read_text(int fd, unsigned long max, char **out)
{
	AUTO_CLOSE int file = fd;
	AUTO_FREE char *text = NULL;
	size_t len = 0, capacity = 0;
	struct stat st;
	ssize_t n;

	if (file < 0)
		return fd;
	if (fstat(file, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	do { /* files of /proc have no size */
		mem_reserve(&text, &capacity, len + 4097, 1);
		n = read(file, text + len, capacity - len - 1);
		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	} while (n > 0);
	text[len] = '\0';
	if (strlen(text) != len)
		return -EINVAL;
	*out = STEAL(text);
	return (long)len;
}

char *os_release_value(const char *text, const char *key)
{
	for (const char *line = text; line && *line;) {
		size_t len = strcspn(line, "\n"), name_len = strcspn(line, "=\n");
		AUTO_FREE char *name = str_trimmed(line, name_len);

		if (name_len < len && str_eq(name, key)) {
			AUTO_FREE char *value = str_trimmed(line + name_len + 1, len - name_len - 1);
			size_t n = value ? strlen(value) : 0;

			if (n >= 2 && value[0] == '"' && value[n - 1] == '"')
				return mem_strndup(value + 1, n - 2);
			return STEAL(value);
		}
		line += len + (line[len] == '\n');
	}
	return NULL;
}

bool os_release_is_balena(const char *text)
{
	static const char *const ids[] = {"balena-os", "resin-os"}, *const keys[] = {"META_BALENA_VERSION",
										     "META_RESIN_VERSION"};
	AUTO_FREE char *id = os_release_value(text, "ID");
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		AUTO_FREE char *version = os_release_value(text, keys[i]);

		found = found || str_eq(id, ids[i]) || version;
	}
	return found;
}
