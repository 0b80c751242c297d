/* Runs a sub-command in this process and keeps what it wrote to standard output and standard error. */
#ifndef TEST_CLI_CAPTURE_H
#define TEST_CLI_CAPTURE_H

#include "check.h"

#include "cli/cli.h"

#define ARGS_MAX 16

struct captured {
	int rc;
	char out[65536], err[65536];
};
static struct captured got;

static inline int capture_begin(int fd, FILE *to)
{
	int saved = dup(fd);

	assert_true(saved >= 0);
	assert_int_equal(dup2(fileno(to), fd), fd);
	return saved;
}

static inline void capture_end(int fd, int saved, FILE *from, char *to, size_t size)
{
	size_t n;

	assert_int_equal(dup2(saved, fd), fd);
	close(saved);
	rewind(from);
	n = fread(to, 1, size - 1, from);
	to[n] = '\0';
	fclose(from);
}

/* `arguments`: separated by blanks. An argument '""' is the empty string. */
static inline int split_arguments(char *arguments, char *argv[ARGS_MAX])
{
	int argc = 0;

	for (char *word = strtok(arguments, " "); word; word = strtok(NULL, " ")) {
		assert_true(argc < ARGS_MAX - 1);
		argv[argc++] = strcmp(word, "\"\"") ? word : word + 2;
	}
	argv[argc] = NULL;
	return argc;
}

static inline int run_command(int (*command)(int argc, char **argv), const char *arguments)
{
	char words[1024], *argv[ARGS_MAX];
	FILE *out = tmpfile(), *err = tmpfile();
	int argc, saved_out, saved_err;

	assert_true(strlen(arguments) < sizeof(words));
	strcpy(words, arguments);
	argc = split_arguments(words, argv);
	fflush(NULL);
	saved_out = capture_begin(STDOUT_FILENO, out);
	saved_err = capture_begin(STDERR_FILENO, err);
	got.rc = command(argc, argv);
	fflush(NULL);
	capture_end(STDOUT_FILENO, saved_out, out, got.out, sizeof(got.out));
	capture_end(STDERR_FILENO, saved_err, err, got.err, sizeof(got.err));
	return got.rc;
}

#define ASSERT_SAYS(text, part)                                                                                        \
	do {                                                                                                           \
		if (!strstr(text, part))                                                                               \
			fail_msg("expected \"%s\" in:\n%s", part, text);                                               \
	} while (0)

#endif
