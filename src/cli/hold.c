/*
 * `lockkeeper lock` and `update-lock`: the order of things. Signals are caught before the lock is taken, so that there is
 * no moment in which one could end us and leave the lock behind; the lock goes when the command has ended, whatever
 * ended it. (SIGKILL cannot be caught: then the lock stays, and so does the command that it protects.)
 */
#include "cli/hold.h"

#include <stdarg.h>
#include <stdio.h>

void hold_say(const struct hold_options *o, const char *fmt, ...)
{
	char line[2 * HOLD_REASON_MAX + 512]; /* one write, so that it is not torn among the lines of the command */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: %s\n", o->program, line);
}

int hold_main(const char *program, const char *version, int argc, char **argv)
{
	struct hold_lock lock = {-1, -1};
	struct hold_options o = {0};
	struct hold_signals s;
	int rc;

	rc = hold_parse(program, version, argc, argv, &o);
	if (rc != 0)
		return rc < 0 ? 0 : rc;
	if (hold_signals_begin(&o, &s) != 0)
		return HOLD_ERROR;
	rc = hold_acquire(&o, &s, &lock);
	if (rc != 0)
		return rc;
	rc = hold_run(&o, &s);
	/* Whoever relies on the exit code must learn that updates are still held off. */
	if (hold_release(&o, &lock) != 0 && rc == 0)
		rc = HOLD_ERROR;
	return rc;
}
