/* Facts that the engine does not know, from small files read once at start. A file that is missing or strange leaves
 * its fact open: a container without BALENA_DEVICE_TYPE is better than a device without a supervisor. */
#include "host/facts.h"

#include <sched.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "host/below.h"
#include "util/json.h"
#include "util/mem.h"

#define FILE_MAX_BYTES 65536

static char *text_of(int fd)
{
	char *text = NULL;

	return host_read_text(fd, FILE_MAX_BYTES, &text) < 0 ? NULL : text;
}

static char *read_path(const char *path)
{
	return path ? text_of(host_open(path)) : NULL;
}

/* As the host itself would resolve it: /etc/os-release is a link on most systems, sometimes an absolute one. */
static char *read_below(const char *host_root, const char *path)
{
	return text_of(host_open_below(host_root, path));
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
			name = str_trimmed(text, strlen(text));
	}
	return name;
}

static char *read_boot_id(const char *host_root)
{
	AUTO_FREE char *text = read_below(host_root, "proc/sys/kernel/random/boot_id");

	if (!text)
		text = read_path("/proc/sys/kernel/random/boot_id");
	return text ? str_trimmed(text, strlen(text)) : NULL;
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
