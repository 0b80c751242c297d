/* Facts that the engine does not know, from small files read once at start. A file that is missing or strange leaves
 * its fact open: a container without BALENA_DEVICE_TYPE is better than a device without a supervisor. */
#include "host/facts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "util/json.h"
#include "util/mem.h"

#define FILE_MAX_BYTES 65536

/* The first bytes of a regular (or /proc) file, NUL-terminated; NULL if it cannot be read. Closes `fd`. */
static char *read_fd(int fd)
{
	AUTO_CLOSE int file = fd;
	AUTO_FREE char *text = NULL;
	struct stat st;
	size_t len = 0;
	ssize_t n;

	if (file < 0 || fstat(file, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	text = mem_new(FILE_MAX_BYTES + 1, 1);
	while (len < FILE_MAX_BYTES && (n = read(file, text + len, FILE_MAX_BYTES - len)) > 0)
		len += (size_t)n;
	return STEAL(text);
}

static char *read_path(const char *path)
{
	return path ? read_fd(open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) : NULL;
}

/* `path` as the host itself would resolve it: /etc/os-release is a link on most systems, sometimes an absolute one. */
static char *read_below(const char *host_root, const char *path)
{
	AUTO_CLOSE int root = open(host_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *joined = mem_printf("%s/%s", host_root, path);
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};
	long fd;

	if (root < 0)
		return NULL;
	fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* a kernel before 5.6, a seccomp profile of that age */
		return read_path(joined);
	return read_fd((int)fd);
}

static char *trimmed(const char *s, size_t len)
{
	while (len && isspace((unsigned char)*s)) {
		s++;
		len--;
	}
	while (len && isspace((unsigned char)s[len - 1]))
		len--;
	return len ? mem_strndup(s, len) : NULL;
}

/* Value of `key` in os-release: split at the first "=", trimmed, one pair of double quotes taken off. */
static char *os_release_value(const char *text, const char *key)
{
	for (const char *line = text; line && *line;) {
		size_t len = strcspn(line, "\n"), name_len = strcspn(line, "=\n");
		AUTO_FREE char *name = trimmed(line, name_len);

		if (name_len < len && str_eq(name, key)) {
			AUTO_FREE char *value = trimmed(line + name_len + 1, len - name_len - 1);
			size_t n = value ? strlen(value) : 0;

			if (n >= 2 && value[0] == '"' && value[n - 1] == '"')
				return mem_strndup(value + 1, n - 2);
			return STEAL(value);
		}
		line += len + (line[len] == '\n');
	}
	return NULL;
}

static char *own_arch(void)
{
	static const struct {
		const char *machine, *arch;
	} known[] = {
		{"x86_64", "amd64"},   {"i386", "i386"},      {"i486", "i386"},
		{"i586", "i386"},      {"i686", "i386"},      {"aarch64", "aarch64"},
		{"armv8l", "armv7hf"}, {"armv7l", "armv7hf"}, {"armv6l", "rpi"},
	};
	struct utsname u;

	if (uname(&u) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (str_eq(u.machine, known[i].machine))
			return mem_strdup(known[i].arch);
	return mem_strdup(u.machine);
}

static void read_device_type(const char *boot_mount, struct device_facts *out)
{
	AUTO_FREE char *path = boot_mount ? mem_printf("%s/device-type.json", boot_mount) : NULL;
	AUTO_FREE char *text = read_path(path);
	struct json *root = NULL;
	struct err err = {0};

	if (text && json_parse(text, strlen(text), FILE_MAX_BYTES, &root, &err) == 0) {
		out->type = mem_strdup(json_str(json_get(root, "slug")));
		out->arch = mem_strdup(json_str(json_get(root, "arch")));
		json_free(root);
	}
	if (!out->arch)
		out->arch = own_arch();
}

/* The kernel's answer is that of *our* UTS name space: right on the host itself, a container's name in a container. */
static char *read_hostname(const char *host_root)
{
	static const char *const paths[] = {"proc/sys/kernel/hostname", "etc/hostname"};
	bool on_host = str_eq(host_root, "/");
	char *name = NULL;

	for (size_t i = 0; i < 2 && !name; i++) {
		AUTO_FREE char *text = read_below(host_root, paths[on_host ? i : 1 - i]);

		if (text)
			name = trimmed(text, strlen(text));
	}
	return name;
}

static char *read_boot_id(const char *host_root)
{
	AUTO_FREE char *text = read_below(host_root, "proc/sys/kernel/random/boot_id");

	if (!text)
		text = read_path("/proc/sys/kernel/random/boot_id");
	return text ? trimmed(text, strlen(text)) : NULL;
}

static unsigned count_processors(void)
{
	cpu_set_t set;
	long n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	n = sysconf(_SC_NPROCESSORS_ONLN); /* more than the set can hold */
	return n > 0 ? (unsigned)n : 1;
}

void host_facts_read(const char *host_root, const char *boot_mount, const char *os_release_path,
		     struct device_facts *out)
{
	AUTO_FREE char *os_release =
		os_release_path ? read_path(os_release_path) : read_below(host_root, "etc/os-release");

	out->os_version = os_release_value(os_release, "PRETTY_NAME");
	read_device_type(boot_mount, out);
	out->hostname = read_hostname(host_root);
	out->boot_id = read_boot_id(host_root);
	out->processors = count_processors();
}
