/*
 * Arguments of a sub-command: "--flag value", "--flag=value", switches, operands, "--" before operands. What is wrong
 * is told with a hint, in the voice of the sub-command, and exits 2.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>

enum args_kind { ARGS_END, ARGS_FLAG, ARGS_OPERAND };

struct args { /* zeroed, then the first three set */
	const char *command;
	int argc;
	char **argv; /* argv[0] is the sub-command's name */
	int used;
	bool only_operands;
	char flag[40];     /* ARGS_FLAG: with its dashes */
	const char *value; /* ARGS_FLAG: behind '=', else NULL; ARGS_OPERAND: the operand */
};
enum args_kind args_next(struct args *a);
/* The value of the flag just met: behind '=' or the next argument. NULL after a sentence on stderr. */
const char *args_value(struct args *a, const char *what);

/*
 * An environment variable; NULL: not set. Empty, and what scripts write for nothing ("null", "undefined"), counts as not
 * set (spec host.md 1.4), as does the name NULL.
 */
const char *args_variable(const char *name);

/* "lockkeeper <command>: <sentence>" and "Try 'lockkeeper <command> --help'." on stderr; returns CLI_USAGE. */
int args_wrong(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The word of the NULL-ended list that `word` was probably meant to be; NULL: none is near. */
const char *args_nearest(const char *word, const char *const *known);
/* As args_wrong() for a flag nobody knows, with the nearest of the NULL-ended list. */
int args_unknown(const char *command, const char *flag, const char *const *known);

/* The simple sub-commands: a table of flags. */
struct args_flag {
	const char *name;  /* "--json"; NULL ends the table */
	const char *what;  /* of its value: "URL"; NULL: a switch */
	bool *on;          /* switch */
	const char **text; /* value; borrowed from argv */
};
struct args_spec {
	const char *command;
	const char *help; /* the whole text of --help */
	const struct args_flag *flags;
	size_t operands_max;
};
/* 0: go on; CLI_USAGE after a sentence; -1: --help was printed. `operands` has room for operands_max. */
int args_parse(const struct args_spec *s, int argc, char **argv, const char **operands, size_t *n_operands);

#endif
