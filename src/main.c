/*
 * Arguments to sub-command. What each one does stands in its own file of src/cli; `run` is src/supervisor.c.
 */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "supervisor.h"
#include "util/mem.h"

static int run(int argc, char **argv)
{
	struct run_options o = {0};
	int rc = cli_run_options(argc, argv, &o);

	if (rc == 0)
		rc = supervisor_run(&o);
	else if (rc < 0)
		rc = CLI_OK; /* --help was all that was asked for */
	run_options_deinit(&o);
	return rc;
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", run},       {"check", cli_check},   {"status", cli_status}, {"locks", cli_locks},
	{"plan", cli_plan}, {"update", cli_update}, {"health", cli_health}, {"lock", cli_lock},
};

static int unknown(const char *name)
{
	const char *known[ARRAY_LEN(commands) + 1] = {NULL}, *nearest;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		known[i] = commands[i].name;
	nearest = args_nearest(name, known);
	if (nearest)
		fprintf(stderr, "lockkeeper: there is no command '%s'; did you mean '%s'?\n", name, nearest);
	else
		fprintf(stderr, "lockkeeper: there is no command '%s'\n", name);
	fprintf(stderr, "Try 'lockkeeper --help', which lists them.\n");
	return CLI_USAGE;
}

static int version(int argc, char **argv)
{
	bool verbose = argc > 2 && !strcmp(argv[2], "--verbose");

	if (argc > (verbose ? 3 : 2)) {
		fprintf(stderr, "lockkeeper: --version takes --verbose and nothing else\n");
		return CLI_USAGE;
	}
	cli_print_version(verbose);
	return CLI_OK;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		fprintf(stderr, "lockkeeper: say what to do, for example: lockkeeper run --target target.json\n");
		fprintf(stderr, "Try 'lockkeeper --help'.\n");
		return CLI_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		cli_print_help();
		return CLI_OK;
	}
	if (!strcmp(name, "--version"))
		return version(argc, argv);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(commands[i].name, name))
			return commands[i].run(argc - 1, argv + 1);
	return unknown(name);
}
