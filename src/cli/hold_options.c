/* Arguments and help of `lockkeeper lock` and `update-lock`: the same for both, but for the name. */
#include "cli/hold.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* %1$s: the program. */
static const char help[] =
	"%1$s [--wait SECONDS] [--reason TEXT] [--flock] [--dir DIR] -- COMMAND [ARG...]\n"
	"\n"
	"Holds this service's update lock while COMMAND runs: the supervisor does not stop, restart or update\n"
	"the service until COMMAND has ended. Works on the lock directory alone; needs no key and no API.\n"
	"\n"
	"  --wait SECONDS   when somebody else holds the lock: wait that long for it (0.5 is half a second);\n"
	"                   without it, or with 0, give up at once\n"
	"  --reason TEXT    why, for those who look at the locks ('lockkeeper locks'); one line, 1 KiB at most\n"
	"  --flock          hold flock(2) on the file too, which a host looks at before it reboots by itself\n"
	"  --dir DIR        the lock directory, instead of " HOLD_DIRECTORY "\n"
	"  --help\n"
	"%2$s"
	"\n"
	"Signals (TERM, INT, HUP, USR1, ...) are passed on to COMMAND. The lock is removed once COMMAND has\n"
	"ended, whatever ended it; one that was broken meanwhile, by a forced update say, is left to its new\n"
	"owner, and a warning says so. After SIGKILL of this program the lock stays, and COMMAND\n"
	"may go on: remove the lock by hand once COMMAND has ended, too.\n"
	"COMMAND is run as it is, without a shell.\n"
	"\n"
	"Exit code: COMMAND's own; 128+n when signal n ended it, or ended the waiting; 75 somebody else holds\n"
	"the lock; 125 it could not be taken or removed; 126 COMMAND cannot be run; 127 there is no such\n"
	"COMMAND; 2 bad usage. A COMMAND may well exit with one of these itself: standard error tells, as this\n"
	"program says what it did not like.\n"
	"\n"
	"Examples:\n"
	"  %1$s -- rsync -a /data backup:\n"
	"  %1$s --wait 60 --reason \"charging\" -- ./charge --to 80\n"
	"  %1$s -- sh -c 'fetch && convert'\n";

static int wrong(const struct hold_options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int wrong(const struct hold_options *o, const char *fmt, ...)
{
	char sentence[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	hold_say(o, "%s", sentence);
	fprintf(stderr, "Try '%s --help'.\n", o->program);
	return HOLD_USAGE;
}

/* Seconds with an optional fraction, nothing else (no sign, exponent, nan); milliseconds, rounded up. */
static bool read_wait(const char *text, int64_t *ms)
{
	int64_t seconds = 0, thousandths = 0, unit = 100;
	bool digits = false, more = false;

	for (; *text >= '0' && *text <= '9'; text++, digits = true) {
		seconds = seconds * 10 + (*text - '0');
		if (seconds > HOLD_WAIT_MAX)
			return false;
	}
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++, digits = true, unit /= 10) {
			thousandths += unit * (*text - '0');
			more = more || (unit == 0 && *text != '0');
		}
	*ms = seconds * 1000 + thousandths + more;
	return digits && !*text;
}

static int set_reason(struct hold_options *o, const char *text)
{
	if (strlen(text) > HOLD_REASON_MAX)
		return wrong(o, "--reason is longer than %d bytes", HOLD_REASON_MAX);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			return wrong(o, "--reason is one line of text: no control character may be in it");
	o->reason = *text ? text : NULL;
	return 0;
}

static int set_value(struct hold_options *o, const char *flag, const char *value)
{
	if (!strcmp(flag, "--reason"))
		return set_reason(o, value);
	if (!strcmp(flag, "--dir")) {
		if (!*value)
			return wrong(o, "--dir needs a directory");
		o->dir = value;
		return 0;
	}
	if (!read_wait(value, &o->wait_ms))
		return wrong(o, "--wait '%s': a number of seconds is wanted, such as 60 or 0.5", value);
	return 0;
}

/* One flag at argv[*at], which moves over a value that stands apart. */
static int take_flag(struct hold_options *o, int argc, char **argv, int *at)
{
	static const struct {
		const char *name, *what;
	} valued[] = {{"--wait", "SECONDS"}, {"--reason", "TEXT"}, {"--dir", "DIR"}};
	const char *arg = argv[*at];

	if (!strcmp(arg, "--flock")) {
		o->flock = true;
		return 0;
	}
	if (!strncmp(arg, "--flock=", 8))
		return wrong(o, "--flock takes no value");
	for (size_t i = 0; i < sizeof(valued) / sizeof(*valued); i++) {
		const char *name = valued[i].name;
		size_t len = strlen(name);

		if (strncmp(arg, name, len) != 0 || (arg[len] && arg[len] != '='))
			continue;
		if (arg[len])
			return set_value(o, name, arg + len + 1);
		if (*at + 1 >= argc || !strcmp(argv[*at + 1], "--"))
			return wrong(o, "%s needs a value: %s %s", name, name, valued[i].what);
		return set_value(o, name, argv[++*at]);
	}
	if (arg[0] == '-' && arg[1])
		return wrong(o, "there is no option '%s'", arg);
	return wrong(o, "put -- in front of the command: %s -- %s", o->program, arg);
}

int hold_parse(const char *program, const char *version, int argc, char **argv, struct hold_options *out)
{
	*out = (struct hold_options){.program = program, .dir = HOLD_DIRECTORY};
	for (int at = 1; at < argc; at++) {
		int rc;

		if (!strcmp(argv[at], "--")) {
			out->command = argv + at + 1;
			break;
		}
		if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h")) {
			printf(help, program, version ? "  --version\n" : "");
			return -1;
		}
		if (version && !strcmp(argv[at], "--version")) {
			printf("%s %s\n", program, version);
			return -1;
		}
		rc = take_flag(out, argc, argv, &at);
		if (rc != 0)
			return rc;
	}
	if (!out->command || !out->command[0])
		return wrong(out, "say what to run: %s -- COMMAND [ARG...]", program);
	return 0;
}
