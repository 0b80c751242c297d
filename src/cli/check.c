/*
 * `lockkeeper check`: validates a target document by the very parser that `run` uses, without a supervisor, and names
 * every error by its path.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/document.h"
#include "cli/text.h"
#include "model/target.h"
#include "util/mem.h"

static const char help[] =
	"lockkeeper check FILE\n"
	"\n"
	"Validates a target document (what 'lockkeeper run --target FILE' takes) and prints every error with\n"
	"the path of the member it is about. Needs no supervisor and changes nothing. FILE may be '-' for\n"
	"standard input.\n"
	"\n"
	"Exit code: 0 valid, 1 invalid or unreadable, 2 bad usage.\n"
	"\n"
	"Examples:\n"
	"  lockkeeper check target.json\n"
	"  generate-target | lockkeeper check - && generate-target > target.json.new && mv target.json.new "
	"target.json\n";

static size_t count_services(const struct target *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_apps; i++)
		n += t->apps[i].n_services;
	return n;
}

static void print_left_out(const char *file, const struct target *t)
{
	for (size_t i = 0; i < t->n_apps; i++)
		for (size_t j = 0; j < t->apps[i].n_left_out; j++)
			printf("%s: service %s of app %s is the supervisor itself: left to the host\n", file,
			       t->apps[i].left_out[j].name, t->apps[i].uuid);
}

static void print_errors(const char *file, const struct target_errors *errors)
{
	size_t total = errors->total > errors->n ? errors->total : errors->n;

	for (size_t i = 0; i < errors->n; i++) {
		AUTO_FREE char *path = text_clean(errors->v[i].path), *message = text_clean(errors->v[i].message);

		fprintf(stderr, "%s: %s%s%s\n", file, path, *path ? ": " : "", message);
	}
	if (total > errors->n)
		fprintf(stderr, "%s: … and %zu more\n", file, total - errors->n);
	fprintf(stderr, "%s: not valid, %zu error%s\n", file, total, total == 1 ? "" : "s");
}

static int check(const char *file)
{
	const struct target_options standalone = {.standalone = true};
	const char *name = strcmp(file, "-") ? file : "standard input";
	struct target_errors errors = {0};
	struct target *t = NULL;
	size_t services;
	struct buf text;
	int rc = document_read("check", file, &text);

	if (rc == 0 && target_parse(buf_str(&text), text.len, &standalone, &t, &errors) < 0) {
		print_errors(name, &errors);
		rc = CLI_FAILED;
	}
	if (rc == 0) {
		services = count_services(t);
		printf("%s: ok, %zu app%s, %zu service%s\n", name, t->n_apps, t->n_apps == 1 ? "" : "s", services,
		       services == 1 ? "" : "s");
		print_left_out(name, t);
		target_free(t);
	}
	target_errors_deinit(&errors);
	buf_deinit(&text);
	return rc;
}

int cli_check(int argc, char **argv)
{
	const struct args_flag flags[] = {{0}};
	const struct args_spec spec = {"check", help, flags, 1};
	const char *file;
	size_t n;
	int rc = args_parse(&spec, argc, argv, &file, &n);

	if (rc != 0)
		return rc < 0 ? CLI_OK : rc;
	if (n == 0)
		return args_wrong("check", "which file? For example: lockkeeper check target.json");
	return check(file);
}
