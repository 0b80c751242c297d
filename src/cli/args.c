/* Arguments of a sub-command; see args.h. */
#include "cli/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "util/mem.h"

enum args_kind args_next(struct args *a)
{
	const char *arg, *equals;
	size_t len;

	for (;;) {
		if (++a->used >= a->argc)
			return ARGS_END;
		arg = a->argv[a->used];
		if (a->only_operands || strcmp(arg, "--"))
			break;
		a->only_operands = true;
	}
	a->value = arg;
	if (a->only_operands || arg[0] != '-' || !arg[1])
		return ARGS_OPERAND;
	equals = strchr(arg, '=');
	len = equals ? (size_t)(equals - arg) : strlen(arg);
	if (len >= sizeof(a->flag))
		len = sizeof(a->flag) - 1;
	memcpy(a->flag, arg, len);
	a->flag[len] = '\0';
	a->value = equals ? equals + 1 : NULL;
	return ARGS_FLAG;
}

const char *args_value(struct args *a, const char *what)
{
	if (a->value)
		return a->value;
	if (a->used + 1 < a->argc && strncmp(a->argv[a->used + 1], "--", 2)) /* not the next flag by accident */
		return a->argv[++a->used];
	args_wrong(a->command, "%s needs a value: %s %s", a->flag, a->flag, what);
	return NULL;
}

const char *args_variable(const char *name)
{
	const char *value = name ? getenv(name) : NULL;

	return value && *value && strcmp(value, "null") && strcmp(value, "undefined") ? value : NULL;
}

static int hint(const char *command)
{
	fprintf(stderr, "Try 'lockkeeper %s --help'.\n", command);
	return CLI_USAGE;
}

int args_wrong(const char *command, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "lockkeeper %s: ", command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return hint(command);
}

/* Edit distance of two short words (Levenshtein, one row). */
static size_t distance(const char *a, const char *b)
{
	size_t row[41], n = strlen(b), diagonal, above;

	if (n > 40)
		return n;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			above = row[j];
			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = above;
			row[j] = best;
		}
	}
	return row[n];
}

const char *args_nearest(const char *word, const char *const *known)
{
	const char *nearest = NULL;
	size_t least = 4; /* further away is no typing error */

	for (; *known; known++) {
		size_t d = distance(word, *known);

		if (d < least && d < strlen(word)) {
			least = d;
			nearest = *known;
		}
	}
	return nearest;
}

int args_unknown(const char *command, const char *flag, const char *const *known)
{
	const char *nearest = args_nearest(flag, known);

	if (nearest)
		return args_wrong(command, "there is no option '%s'; did you mean '%s'?", flag, nearest);
	return args_wrong(command, "there is no option '%s'", flag);
}

static const struct args_flag *find(const struct args_spec *s, const char *name)
{
	for (const struct args_flag *f = s->flags; f->name; f++)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

static int unknown(const struct args_spec *s, const char *flag)
{
	const char *known[16] = {"--help"};
	size_t n = 1;

	for (const struct args_flag *f = s->flags; f->name && n < ARRAY_LEN(known) - 1; f++)
		known[n++] = f->name;
	return args_unknown(s->command, flag, known);
}

static int take_flag(const struct args_spec *s, struct args *a)
{
	const struct args_flag *f = find(s, a->flag);

	if (!f)
		return unknown(s, a->flag);
	if (f->what) {
		*f->text = args_value(a, f->what);
		return *f->text ? 0 : CLI_USAGE;
	}
	if (a->value)
		return args_wrong(s->command, "%s takes no value", a->flag);
	*f->on = true;
	return 0;
}

int args_parse(const struct args_spec *s, int argc, char **argv, const char **operands, size_t *n_operands)
{
	struct args a = {.command = s->command, .argc = argc, .argv = argv};
	enum args_kind kind;
	size_t n = 0;

	while ((kind = args_next(&a)) != ARGS_END) {
		if (kind == ARGS_OPERAND) {
			if (n == s->operands_max)
				return args_wrong(s->command, "'%s' is one argument too many", a.value);
			operands[n++] = a.value;
			continue;
		}
		if (!strcmp(a.flag, "--help") || !strcmp(a.flag, "-h")) {
			fputs(s->help, stdout);
			return -1;
		}
		if (take_flag(s, &a) != 0)
			return CLI_USAGE;
	}
	if (n_operands)
		*n_operands = n;
	return 0;
}
