/* Sub-commands that are clients of the local API, or work on files alone; one file each. `run` lives in
 * src/supervisor.c. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3, CLI_LOCKED = 75 };

/* argv[0] is the sub-command's name. Return the exit code. */
int cli_check(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_locks(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_update(int argc, char **argv);
int cli_health(int argc, char **argv);
int cli_lock(int argc, char **argv); /* exits as enum hold_exit of hold.h says */

/* Options of `run`: flag, else environment, else default; a wrong value is an error naming the flag or variable. */
struct run_options {
	char *target; /* NULL: none given */
	int64_t poll_interval_ms;
	bool adopt;
	char *engine; /* socket path */
	char *root, *state, *config, *lock_root, *legacy_lock_root;
	char *legacy_data; /* host path; application data of Resin OS 1.x */
	char *boot_mount, *os_release;
	char *token_file; /* LOCKKEEPER_TARGET_TOKEN_FILE */
	struct run_listen {
		char *ip; /* NULL: unix */
		char *unix_path;
		uint16_t port;
	} * listen; /* n_listen 0: the defaults of the mode */
	size_t n_listen;
	uint16_t port;             /* of the default listeners; 0: config.json or 48484 decide */
	int log_level, log_format; /* enum log_level, enum log_format */
};
/* 0; CLI_USAGE after a sentence on stderr; -1: --help was printed (exit 0). */
int cli_run_options(int argc, char **argv, struct run_options *out);
void run_options_deinit(struct run_options *o);

/* `lockkeeper --help`, `--version [--verbose]` */
void cli_print_help(void);
void cli_print_version(bool verbose);

#endif
