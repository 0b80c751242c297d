/* `lockkeeper run`: makes every part, joins them with callbacks, and takes them down again in reverse order. */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

struct run_options;

/* Runs until SIGTERM or SIGINT. Returns the exit code: 0 after a clean stop, 1 when it could not start (a sentence is
 * on stderr and in the log), 2 for options that do not go together. */
int supervisor_run(const struct run_options *o);

#endif
