/*
 * The command and the signals. All signals that somebody could send us are blocked and read from a descriptor: so none
 * is lost around the fork, and they come even where the kernel would drop them (process 1 of a container). The command
 * starts with the mask and the dispositions that we were started with.
 */
#include "cli/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_stop(int signal)
{
	return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

int hold_signals_begin(const struct hold_options *o, struct hold_signals *s)
{
	/* Sent by the processor in the midst of an instruction: nothing to pass on. */
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	const struct sigaction by_default = {.sa_handler = SIG_DFL};
	struct sigaction now;
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		sigdelset(&set, faults[i]);
	for (int n = 1; n <= SIGRTMAX; n++) /* what our parent made us ignore (nohup) stays ignored */
		if (n != SIGCHLD && sigaction(n, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
			sigdelset(&set, n);
	/* While SIGCHLD is ignored the kernel keeps no exit status. */
	sigaction(SIGCHLD, &by_default, &s->child_before);
	sigprocmask(SIG_BLOCK, &set, &s->mask_before);
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->fd >= 0)
		return 0;
	hold_say(o, "cannot catch signals: %s", strerror(errno));
	return -1;
}

/* The signal's own action: stop here, until SIGCONT. The kernel skips it where nobody could wake us (POSIX: an orphaned
 * process group). */
static void stop_here(int signal)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	sigprocmask(SIG_BLOCK, &one, NULL);
}

int hold_signals_read(struct hold_signals *s)
{
	struct signalfd_siginfo i;

	while (read(s->fd, &i, sizeof(i)) == sizeof(i)) {
		int n = (int)i.ssi_signo;

		if (is_stop(n))
			stop_here(n);
		else if (n != SIGCHLD && n != SIGCONT && n != SIGURG && n != SIGWINCH && n != SIGPIPE)
			return n;
	}
	return 0;
}

/* Did the command get it as well? The terminal sends to its whole foreground group; only a hang-up goes to the leader of
 * the session, who has to tell the others. */
static bool came_to_both(pid_t child, const struct signalfd_siginfo *i)
{
	if (i->ssi_code != SI_KERNEL || getpgid(child) != getpgrp())
		return false;
	return i->ssi_signo != SIGHUP || getsid(0) != getpid();
}

static void pass_on(pid_t child, const struct signalfd_siginfo *i)
{
	int n = (int)i->ssi_signo;

	if (n == SIGCHLD || (n == SIGPIPE && (pid_t)i->ssi_pid == getpid())) /* nobody reads our warnings */
		return;
	if (!came_to_both(child, i))
		kill(child, n);
	if (is_stop(n))
		stop_here(n);
}

/* execvp() without its last resort: a file that is no program is not given to a shell. Returns errno. */
static int execute(char **argv)
{
	const char *path = getenv("PATH"), *name = argv[0];
	char full[PATH_MAX];
	int error = ENOENT;

	if (strchr(name, '/')) {
		execv(name, argv);
		return errno;
	}
	if (!path)
		path = "/usr/local/bin:/bin:/usr/bin";
	while (*name) {
		size_t len = strcspn(path, ":");
		int n = snprintf(full, sizeof(full), "%.*s%s%s", (int)len, path, len ? "/" : "./", name);

		if (n > 0 && (size_t)n < sizeof(full)) {
			execv(full, argv);
			if (errno == EACCES)
				error = EACCES; /* perhaps there is another one further on */
			else if (errno != ENOENT && errno != ENOTDIR)
				return errno;
		}
		if (!path[len])
			break;
		path += len + 1;
	}
	return error;
}

static _Noreturn void become_command(const struct hold_options *o, const struct hold_signals *s, int report)
{
	int error;

	sigaction(SIGCHLD, &s->child_before, NULL);
	sigprocmask(SIG_SETMASK, &s->mask_before, NULL);
	error = execute(o->command);
	if (write(report, &error, sizeof(error)) < 0) /* then we are gone before the report can be read */
		_exit(HOLD_ERROR);
	_exit(HOLD_NOT_FOUND);
}

/* 0: it runs; else errno. */
static int start(const struct hold_options *o, const struct hold_signals *s, pid_t *child)
{
	int report[2], error = 0; /* closed by a successful exec: then nothing is read from it */

	if (pipe2(report, O_CLOEXEC) != 0)
		return -errno;
	*child = fork();
	if (*child == 0)
		become_command(o, s, report[1]);
	if (*child < 0)
		error = -errno;
	close(report[1]);
	if (*child > 0) {
		if (read(report[0], &error, sizeof(error)) != sizeof(error))
			error = 0;
		if (error != 0)
			waitpid(*child, NULL, 0);
	}
	close(report[0]);
	return error;
}

static int not_started(const struct hold_options *o, int error)
{
	if (error < 0) {
		hold_say(o, "cannot start a process: %s", strerror(-error));
		return HOLD_ERROR;
	}
	hold_say(o, "cannot run '%s': %s", o->command[0],
		 error == ENOENT ? "there is no such command" : strerror(error));
	return error == ENOENT ? HOLD_NOT_FOUND : HOLD_CANNOT_RUN;
}

/* Everybody's children come to process 1 of a container when their parents die: all of them are waited for. */
static bool reap(pid_t child, int *status)
{
	bool ended = false;
	pid_t pid;
	int st;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0)
		if (pid == child) {
			*status = st;
			ended = true;
		}
	return ended;
}

int hold_run(const struct hold_options *o, struct hold_signals *s)
{
	struct signalfd_siginfo i;
	pid_t child = -1;
	int status = 0, rc = start(o, s, &child);

	if (rc != 0)
		return not_started(o, rc);
	fcntl(s->fd, F_SETFL, 0); /* from here on there is nothing else to wait for */
	while (!reap(child, &status))
		if (read(s->fd, &i, sizeof(i)) == sizeof(i))
			pass_on(child, &i);
	return WIFEXITED(status) ? WEXITSTATUS(status) : HOLD_SIGNAL + WTERMSIG(status);
}
