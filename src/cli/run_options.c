/*
 * Options of `run`: one row each, with its flag, its variables, its default and the parser that both share, so that a
 * wrong value is refused in the same words wherever it came from. Order: flag, else variable, else default.
 */
#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/args.h"
#include "util/location.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

#define SOCKET_PATH_MAX  107 /* sun_path */
#define POLL_MAX_SECONDS (30 * 24 * 3600)

/* Puts `value` into `o`; false with what was expected in `*expected`. */
typedef bool parse_fn(struct run_options *o, const char *value, const char **expected);

struct run_row {
	const char *flag;         /* NULL: variable only */
	const char *what;         /* of its value; NULL: a switch */
	const char *variables[2]; /* the first that is set counts */
	const char *initial;      /* default, by the same parser; NULL: see finish() */
	parse_fn *parse;
	bool repeatable;
	const char *help; /* NULL: not in --help on its own */
};

/* ---- parsers ---- */

static void set(char **to, const char *value)
{
	free(*to);
	*to = mem_strdup(value);
}

/* A file that is not there yet is waited for; a directory is never going to be one. */
static bool parse_target(struct run_options *o, const char *value, const char **expected)
{
	struct err err = {0};
	struct stat st;

	*expected = "the path of a file (not a directory), or a URL: http://HOST… or https://HOST…, without spaces";
	if (location_check(value, &err) < 0)
		return false;
	if (!location_is_url(value) && stat(value, &st) == 0 && S_ISDIR(st.st_mode))
		return false;
	set(&o->target, value);
	return true;
}

static bool parse_interval(struct run_options *o, const char *value, const char **expected)
{
	int64_t seconds;

	*expected = "a number of seconds from 1 to 2592000 (30 days)";
	if (!str_to_i64(value, 1, POLL_MAX_SECONDS, &seconds))
		return false;
	o->poll_interval_ms = seconds * 1000;
	return true;
}

static bool parse_adopt(struct run_options *o, const char *value, const char **expected)
{
	static const char *const off[] = {"0", "false", "off"};

	*expected = "1, true, on, 0, false or off";
	o->adopt = str_truthy(value);
	for (size_t i = 0; i < ARRAY_LEN(off); i++)
		if (!strcasecmp(value, off[i]))
			return true;
	return o->adopt;
}

static bool parse_engine(struct run_options *o, const char *value, const char **expected)
{
	*expected = "the absolute path of a Unix socket (at most 107 bytes), or unix:// and that path";
	if (str_starts(value, "unix://"))
		value += 7;
	if (*value != '/' || strlen(value) > SOCKET_PATH_MAX)
		return false;
	set(&o->engine, value);
	return true;
}

/* Absolute, and without a ".." that could lead out of a root put in front of it. */
static bool parse_path(char **to, const char *value, const char **expected)
{
	*expected = "an absolute path without '..'";
	if (*value != '/' || strstr(value, "/../") || str_ends(value, "/.."))
		return false;
	set(to, value);
	return true;
}

#define PATH_PARSER(member)                                                                                            \
	static bool parse_##member(struct run_options *o, const char *value, const char **expected)                    \
	{                                                                                                              \
		return parse_path(&o->member, value, expected);                                                        \
	}
PATH_PARSER(root)
PATH_PARSER(lock_root)
PATH_PARSER(legacy_lock_root)
PATH_PARSER(legacy_data)

/* Where we are started from may be part of these. */
#define ANY_PATH_PARSER(member)                                                                                        \
	static bool parse_##member(struct run_options *o, const char *value, const char **expected)                    \
	{                                                                                                              \
		*expected = "a path";                                                                                  \
		if (!*value)                                                                                           \
			return false;                                                                                  \
		set(&o->member, value);                                                                                \
		return true;                                                                                           \
	}
ANY_PATH_PARSER(state)
ANY_PATH_PARSER(config)
ANY_PATH_PARSER(boot_mount)
ANY_PATH_PARSER(os_release)
ANY_PATH_PARSER(token_file)

static bool parse_listen(struct run_options *o, const char *value, const char **expected)
{
	const char *colon = strrchr(value, ':');
	bool bracketed = value[0] == '[';
	struct run_listen l = {0};
	struct in6_addr address;
	size_t len;
	int64_t port;

	*expected = "ADDRESS:PORT (an IPv6 address in brackets), or unix: and an absolute path of at most 107 bytes";
	if (str_starts(value, "unix:")) {
		if (value[5] != '/' || strlen(value + 5) > SOCKET_PATH_MAX)
			return false;
		l.unix_path = mem_strdup(value + 5);
	} else {
		if (!colon || !str_to_i64(colon + 1, 0, 65535, &port))
			return false;
		len = (size_t)(colon - value);
		if (bracketed && (len < 2 || value[len - 1] != ']'))
			return false;
		l.ip = mem_strndup(value + bracketed, len - (bracketed ? 2 : 0));
		l.port = (uint16_t)port;
		if (inet_pton(bracketed ? AF_INET6 : AF_INET, l.ip, &address) != 1) {
			free(l.ip);
			return false;
		}
	}
	o->listen = realloc(o->listen, (o->n_listen + 1) * sizeof(l));
	if (!o->listen)
		abort();
	o->listen[o->n_listen++] = l;
	return true;
}

static bool parse_port(struct run_options *o, const char *value, const char **expected)
{
	int64_t port;

	*expected = "a port from 1 to 65535";
	if (!str_to_i64(value, 1, 65535, &port))
		return false;
	o->port = (uint16_t)port;
	return true;
}

static bool parse_log_level(struct run_options *o, const char *value, const char **expected)
{
	enum log_level level;

	*expected = "error, warn, info or debug";
	if (!log_level_parse(value, &level))
		return false;
	o->log_level = (int)level;
	return true;
}

static bool parse_log_format(struct run_options *o, const char *value, const char **expected)
{
	enum log_format format;

	*expected = "text or json";
	if (!log_format_parse(value, &format))
		return false;
	o->log_format = (int)format;
	return true;
}

/* ---- the table ---- */

static const struct run_row rows[] = {
	{.flag = "--target",
	 .what = "FILE|URL",
	 .variables = {"LOCKKEEPER_TARGET"},
	 .parse = parse_target,
	 .help = "the target document: a file that is watched, or a URL that is polled"},
	{.flag = "--poll-interval",
	 .what = "SECONDS",
	 .variables = {"LOCKKEEPER_POLL_INTERVAL"},
	 .initial = "900",
	 .parse = parse_interval,
	 .help = "how often a URL is polled (plus up to 60 s of jitter), and the longest wait after a failure"},
	{.flag = "--adopt",
	 .variables = {"LOCKKEEPER_ADOPT"},
	 .initial = "0",
	 .parse = parse_adopt,
	 .help = "take over supervised apps that were never in a target of this state directory"},
	{.flag = "--engine",
	 .what = "SOCKET",
	 .variables = {"DOCKER_SOCKET", "DOCKER_HOST"},
	 .initial = "/var/run/docker.sock",
	 .parse = parse_engine,
	 .help = "the engine's socket (DOCKER_HOST: unix://PATH)"},
	{.flag = "--root",
	 .what = "DIR",
	 .variables = {"ROOT_MOUNTPOINT"},
	 .initial = "/",
	 .parse = parse_root,
	 .help = "the host's root as seen from here"},
	{.flag = "--state",
	 .what = "DIR",
	 .variables = {"STATE_DIRECTORY"},
	 .initial = "/var/lib/lockkeeper",
	 .parse = parse_state,
	 .help = "where we keep our own files, among them api-key and api-address"},
	{.flag = "--config",
	 .what = "FILE",
	 .variables = {"CONFIG_MOUNT_POINT"},
	 .parse = parse_config,
	 .help = "the device's config.json (default: in $BOOT_MOUNTPOINT)"},
	{.flag = "--lock-root",
	 .what = "DIR",
	 .variables = {"LOCKKEEPER_LOCK_ROOT"},
	 .initial = "/tmp/balena-supervisor/services",
	 .parse = parse_lock_root,
	 .help = "update lock directories, on the host"},
	{.flag = "--legacy-lock-root",
	 .what = "DIR",
	 .variables = {"LOCKKEEPER_LEGACY_LOCK_ROOT"},
	 .initial = "/tmp/resin-supervisor",
	 .parse = parse_legacy_lock_root,
	 .help = "those of old supervisors, on the host"},
	{.flag = "--listen",
	 .what = "ADDRESS",
	 .parse = parse_listen,
	 .repeatable = true,
	 .help = "ADDR:PORT or unix:PATH of the local API; may be given several times\n"
		 "(default: 127.0.0.1 and, while it exists, the bridge supervisor0; port 48484)"},
	{.flag = "--log-level",
	 .what = "LEVEL",
	 .variables = {"LOCKKEEPER_LOG_LEVEL"},
	 .initial = "info",
	 .parse = parse_log_level,
	 .help = "error, warn, info or debug"},
	{.flag = "--log-format",
	 .what = "FORMAT",
	 .variables = {"LOCKKEEPER_LOG_FORMAT"},
	 .initial = "text",
	 .parse = parse_log_format,
	 .help = "text or json"},
	{.variables = {"LISTEN_PORT"}, .parse = parse_port, .help = "the port of the default addresses"},
	{.variables = {"BOOT_MOUNTPOINT"},
	 .initial = "/mnt/boot",
	 .parse = parse_boot_mount,
	 .help = "the boot partition (default: /mnt/boot)"},
	{.variables = {"HOST_OS_VERSION_PATH"},
	 .parse = parse_os_release,
	 .help = "the host's os-release (default: etc/os-release in the host's root)"},
	{.variables = {"RESIN_DATA_PATH"},
	 .initial = "/resin-data",
	 .parse = parse_legacy_data,
	 .help = "data directories of applications on Resin OS 1.x, on the host (default: /resin-data)"},
	{.variables = {"LOCKKEEPER_TARGET_TOKEN_FILE"},
	 .parse = parse_token_file,
	 .help = "a file with the bearer token for a target URL"},
};

static void print_row(const struct run_row *r)
{
	const char *line = r->help, *end;

	if (r->flag)
		printf("  %s%s%s\n", r->flag, r->what ? " " : "", r->what ? r->what : "");
	else
		printf("  %s\n", r->variables[0]);
	for (; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		printf("        %.*s\n", (int)(end - line), line);
	}
	if (!r->flag || !r->variables[0])
		return;
	printf("        environment: %s", r->variables[0]);
	if (r->variables[1])
		printf(", else %s", r->variables[1]);
	if (r->initial && r->what)
		printf("; default: %s", r->initial);
	putchar('\n');
}

static void print_help(void)
{
	printf("lockkeeper run [options]\n\n"
	       "The supervisor: keeps the containers of this device at a target, in the foreground, until SIGTERM or\n"
	       "SIGINT, which leave the containers running. Writes one event a line to standard output.\n\n"
	       "Options (a flag wins over its variable, a variable over the default):\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].flag)
			print_row(&rows[i]);
	printf("\nVariables without a flag:\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!rows[i].flag)
			print_row(&rows[i]);
	printf("\nStarted by systemd (Type=notify), it says when it is ready and how it is (NOTIFY_SOCKET), and feeds\n"
	       "the watchdog while it is healthy (WATCHDOG_USEC).\n");
	printf("\nExit code: 0 stopped by a signal, 1 it cannot run (standard error says why), 2 bad "
	       "usage.\n\n"
	       "Examples:\n"
	       "  lockkeeper run --target /etc/lockkeeper/target.json\n"
	       "  lockkeeper run --target https://example.org/fleet/target.json --poll-interval 300\n"
	       "  lockkeeper run --target ./t.json --state ./state --listen unix:$PWD/api.sock --log-level debug\n");
}

/* ---- flag, else variable, else default ---- */

static int put(struct run_options *o, const struct run_row *r, const char *value, const char *from)
{
	AUTO_FREE char *shown = location_shown(value);
	const char *expected = NULL;

	if (r->parse(o, value, &expected))
		return 0;
	return args_wrong("run", "%s: '%s' is not right: expected %s", from, shown, expected);
}

static int take_flag(struct run_options *o, struct args *a, bool given[ARRAY_LEN(rows)])
{
	const char *known[ARRAY_LEN(rows) + 2] = {"--help"}, *value = "1";
	size_t n = 1;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct run_row *r = &rows[i];

		if (!r->flag)
			continue;
		known[n++] = r->flag;
		if (strcmp(r->flag, a->flag))
			continue;
		if (given[i] && !r->repeatable)
			return args_wrong("run", "%s is given twice", r->flag);
		given[i] = true;
		if (!r->what && a->value)
			return args_wrong("run", "%s takes no value", r->flag);
		if (r->what && !(value = args_value(a, r->what)))
			return CLI_USAGE;
		return put(o, r, value, r->flag);
	}
	return args_unknown("run", a->flag, known);
}

/* What no flag said. */
static int fill(struct run_options *o, const bool given[ARRAY_LEN(rows)])
{
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows) && rc == 0; i++) {
		const struct run_row *r = &rows[i];
		const char *name = args_variable(r->variables[0]) ? r->variables[0] : r->variables[1];
		const char *value = args_variable(name);

		if (given[i])
			continue;
		if (value)
			rc = put(o, r, value, name);
		else if (r->initial)
			rc = put(o, r, r->initial, "default");
	}
	return rc;
}

/* Defaults that depend on other options, and what must be there at all. */
static int finish(struct run_options *o)
{
	bool at_root = !strcmp(o->root, "/");

	if (!o->config)
		o->config = mem_printf("%s/config.json", o->boot_mount);
	if (!o->os_release)
		o->os_release = mem_printf("%s/etc/os-release", at_root ? "" : o->root);
	if (!o->target && access(o->config, F_OK) < 0)
		return args_wrong("run",
				  "no target: give --target (or LOCKKEEPER_TARGET), a file or a URL; there is no "
				  "config.json either (%s: %s)",
				  o->config, strerror(errno));
	return 0;
}

int cli_run_options(int argc, char **argv, struct run_options *out)
{
	struct args a = {.command = "run", .argc = argc, .argv = argv};
	bool given[ARRAY_LEN(rows)] = {false};
	enum args_kind kind;
	int rc;

	*out = (struct run_options){0};
	while ((kind = args_next(&a)) != ARGS_END) {
		if (kind == ARGS_OPERAND)
			return args_wrong("run", "'%s' is no option; a target is given with --target", a.value);
		if (!strcmp(a.flag, "--help") || !strcmp(a.flag, "-h")) {
			print_help();
			return -1;
		}
		rc = take_flag(out, &a, given);
		if (rc != 0)
			return rc;
	}
	rc = fill(out, given);
	return rc == 0 ? finish(out) : rc;
}

void run_options_deinit(struct run_options *o)
{
	char **texts[] = {&o->target,    &o->engine,           &o->root,        &o->state,      &o->config,
			  &o->lock_root, &o->legacy_lock_root, &o->legacy_data, &o->boot_mount, &o->os_release,
			  &o->token_file};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(*texts[i]);
	for (size_t i = 0; i < o->n_listen; i++) {
		free(o->listen[i].ip);
		free(o->listen[i].unix_path);
	}
	free(o->listen);
	*o = (struct run_options){0};
}
