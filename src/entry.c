/*
 * The entry point of the container image: prepares what the host gives us, then becomes `lockkeeper run`. It is a program
 * of its own, so that the supervisor carries none of this in memory, and it ends in exec, never in fork: process 1 of
 * the container stays the process that the engine watches and stops.
 *
 * Left out of what the reference's script does: links to the host's journal, engine data and kernel modules, and
 * modprobe, which are for tools that this image does not have; and the link of the lock directory, which `run` makes
 * itself.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "host/below.h"
#include "host/mounts.h"
#include "host/partitions.h"
#include "host/root_ca.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/str.h"

#define OS_RELEASE_MAX 65536
#define IMAGE_BUNDLE   "/etc/ssl/certs/ca-certificates.crt"
#define DATABASE       "database.sqlite"

static void say(const char *sentence)
{
	fprintf(stderr, "lockkeeper-entry: %s\n", sentence);
}

static void say_all(struct strv *sentences)
{
	for (size_t i = 0; i < sentences->n; i++)
		say(sentences->v[i]);
	strv_deinit(sentences);
}

/* ---- the environment ---- */

/* What hosts pass for "nothing" counts as nothing. */
static const char *variable(const char *name)
{
	static const char *const nothing[] = {"", "null", "undefined"};
	const char *value = getenv(name);

	for (size_t i = 0; value && i < ARRAY_LEN(nothing); i++)
		if (!strcmp(value, nothing[i]))
			return NULL;
	return value;
}

static const char *variable_default(const char *name, const char *front, const char *back)
{
	AUTO_FREE char *value = mem_printf("%s%s", front, back);

	if (!variable(name))
		setenv(name, value, 1);
	return getenv(name);
}

/* Where the host's root is, for a path to be put behind it: no slash at its end. */
static char *host_root(void)
{
	char *root = mem_strdup(variable_default("ROOT_MOUNTPOINT", "/mnt/root", ""));
	size_t len = strlen(root);

	while (len && root[len - 1] == '/')
		root[--len] = '\0';
	return root;
}

static void set_defaults(const char *root)
{
	AUTO_FREE char *bus = mem_printf("unix:path=%s", root);
	const char *boot = variable_default("BOOT_MOUNTPOINT", "/mnt/boot", "");

	variable_default("STATE_MOUNTPOINT", "/mnt/state", "");
	variable_default("DATA_MOUNTPOINT", "/mnt/data", "");
	variable_default("CONFIG_MOUNT_POINT", boot, "/config.json");
	variable_default("HOST_OS_VERSION_PATH", root, "/etc/os-release");
	variable_default("DATABASE_PATH", "/data/" DATABASE, "");
	variable_default("STATE_DIRECTORY", "/data", "");
	variable_default("DBUS_SYSTEM_BUS_ADDRESS", bus, "/run/dbus/system_bus_socket");
}

/* ---- duties ---- */

/* A host that is not balenaOS has no such partitions; one that is cannot be looked after without them. */
static bool is_balena_os(const char *root)
{
	AUTO_FREE char *text = NULL;

	if (host_read_text(host_open_below(*root ? root : "/", "etc/os-release"), OS_RELEASE_MAX, &text) < 0)
		return false;
	return os_release_is_balena(text);
}

static int mount_partitions(const char *root)
{
	struct partitions_request request = {
		.host_root = root,
		.sysfs = "/sys",
		.points[PARTITION_BOOT] = getenv("BOOT_MOUNTPOINT"),
		.points[PARTITION_STATE] = getenv("STATE_MOUNTPOINT"),
		.points[PARTITION_DATA] = getenv("DATA_MOUNTPOINT"),
	};
	struct strv notes = {0};
	struct err err = {0};
	int rc = partitions_mount(&request, &notes, &err);

	say_all(&notes);
	if (rc < 0)
		say(err.msg);
	return rc;
}

/* The directory of the reference's database is on the data partition, unless the host gave us one. */
static int bind_data(void)
{
	AUTO_FREE char *dir = mem_strdup(getenv("DATABASE_PATH")), *table = NULL;
	char *slash = strrchr(dir, '/');
	struct err err = {0};
	int rc;

	if (!slash || slash == dir) {
		fprintf(stderr, "lockkeeper-entry: DATABASE_PATH (%s) names no file in a directory\n", dir);
		return -1;
	}
	*slash = '\0';
	rc = mounts_read(&table, &err);
	if (rc == 0)
		rc = mounts_data_dir(table, getenv("DATA_MOUNTPOINT"), dir, slash + 1, &err);
	if (rc < 0)
		say(err.msg);
	return rc;
}

static void add_root_ca(const char *root)
{
	AUTO_FREE char *bundle = NULL, *own = mem_printf("%s/" ROOT_CA_BUNDLE, getenv("STATE_DIRECTORY"));
	const char *base = variable("SSL_CERT_FILE");
	struct root_ca_request request = {
		.text = variable("BALENA_ROOT_CA"),
		.file = variable("NODE_EXTRA_CA_CERTS"),
		.base = base && strcmp(base, own) ? base : IMAGE_BUNDLE, /* ours holds its own old additions */
		.host_root = root,
		.state_dir = getenv("STATE_DIRECTORY"),
	};
	struct strv problems = {0};
	struct err err = {0};
	int rc = root_ca_bundle(&request, &bundle, &problems, &err);

	say_all(&problems);
	if (rc < 0)
		fprintf(stderr, "lockkeeper-entry: additional certificates are left out: %s\n", err.msg);
	else if (rc > 0)
		setenv("SSL_CERT_FILE", bundle, 1);
}

static int prepare(void)
{
	AUTO_FREE char *root = host_root();

	set_defaults(root);
	if (!str_eq(variable("TEST"), "1") && is_balena_os(root) && (mount_partitions(root) < 0 || bind_data() < 0))
		return -1;
	add_root_ca(root);
	return 0;
}

/* ---- becoming lockkeeper ---- */

/* `lockkeeper` lies beside this program, wherever both were put. */
static char *beside(const char *name)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return mem_printf("/usr/bin/%s", name); /* no /proc: where the image has it */
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	return mem_printf("%s/%s", self, name);
}

/* A sub-command, or a question about the program itself, has nothing to do with the host. */
static bool is_for_lockkeeper(int argc, char **argv)
{
	static const char *const asked[] = {"--version", "--help", "-h"};

	if (argc < 2)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(asked); i++)
		if (!strcmp(argv[1], asked[i]))
			return true;
	return argv[1][0] != '-';
}

int main(int argc, char **argv)
{
	char run[] = "run";
	bool as_given = is_for_lockkeeper(argc, argv);
	AUTO_FREE char *program = beside("lockkeeper");
	AUTO_FREE char **args = mem_new((size_t)argc + 2, sizeof(*args));
	struct err err = {0};
	size_t n = 0;

	if (!as_given && prepare() < 0)
		return 1;
	args[n++] = program;
	if (!as_given)
		args[n++] = run;
	for (int i = 1; i < argc; i++)
		args[n++] = argv[i];
	execv(program, args);
	err_sys(&err, "start %s", program);
	say(err.msg);
	return 1;
}
