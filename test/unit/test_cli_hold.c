/*
 * The parts of `lockkeeper lock` that need no process of their own: arguments, the lock file, waiting. The whole program
 * with its commands and signals is test/system/test_lock_tool.py.
 */
#include "test_cli_capture.h"

#include <sys/file.h>
#include <sys/wait.h>

#include "cli/hold.h"

#define TEXT_MAX 4096

static struct hold_options options_in(const char *dir)
{
	static char *command[] = {(char *)"true", NULL};

	return (struct hold_options){.program = "tool", .dir = dir, .command = command};
}

static const char *lock_in(const char *dir)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/" HOLD_NAME, dir);
	return path;
}

static void put(const char *dir, const char *text)
{
	FILE *f;

	f = fopen(lock_in(dir), "wx");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void drop(const char *dir)
{

	assert_int_equal(unlink(lock_in(dir)), 0);
}

static bool there(const char *dir)
{
	struct stat st;

	return lstat(lock_in(dir), &st) == 0;
}

static void content(const char *dir, char out[TEXT_MAX])
{
	FILE *f;
	size_t n;

	f = fopen(lock_in(dir), "r");
	assert_non_null(f);
	n = fread(out, 1, TEXT_MAX - 1, f);
	out[n] = '\0';
	fclose(f);
}

struct place {
	char *dir;
	int fds;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	p->dir = check_tmp_dir();
	p->fds = check_open_fds();
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	assert_int_equal(check_open_fds(), p->fds);
	check_rm_dir(p->dir);
	free(p);
	return 0;
}

/* ---- arguments ---- */

static int parse(int argc, char **argv)
{
	struct hold_options o;
	int rc = hold_parse("tool", "1.2.3", argc, argv, &o);

	if (rc == 0)
		printf("dir=%s reason=%s wait=%lld flock=%d command=%s", o.dir, o.reason ? o.reason : "-",
		       (long long)o.wait_ms, o.flock, o.command[0]);
	return rc;
}

static void options_are_read_up_to_the_two_dashes(void **state)
{
	static const struct {
		const char *given, *read;
	} rows[] = {
		{"lock -- true", "dir=/tmp/balena reason=- wait=0 flock=0 command=true"},
		{"lock --wait 60 --reason busy --flock --dir /d -- true",
		 "dir=/d reason=busy wait=60000 flock=1 command=true"},
		{"lock --wait=0.5 --reason=a=b --dir=/d -- true", "dir=/d reason=a=b wait=500 flock=0 command=true"},
		{"lock --wait 1 --wait 2 -- true", "dir=/tmp/balena reason=- wait=2000 flock=0 command=true"},
		{"lock --reason \"\" -- true", "dir=/tmp/balena reason=- wait=0 flock=0 command=true"},
		{"lock --reason -x -- --flock", "dir=/tmp/balena reason=-x wait=0 flock=0 command=--flock"},
		{"lock --wait 0.0001 -- true", "dir=/tmp/balena reason=- wait=1 flock=0 command=true"},
		{"lock --wait 1.2345 -- true", "dir=/tmp/balena reason=- wait=1235 flock=0 command=true"},
		{"lock --wait 1000000000 -- true", "dir=/tmp/balena reason=- wait=1000000000000 flock=0 command=true"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(run_command(parse, rows[i].given), 0);
		assert_string_equal(got.out, rows[i].read);
		assert_string_equal(got.err, "");
	}
}

static void bad_usage_is_one_sentence_and_a_hint(void **state)
{
	static const struct {
		const char *given, *said;
	} rows[] = {
		{"lock", "tool: say what to run"},
		{"lock --", "tool: say what to run"},
		{"lock true", "tool: put -- in front of the command: tool -- true"},
		{"lock - -- true", "tool: put -- in front of the command"},
		{"lock --wait -- true", "tool: --wait needs a value: --wait SECONDS"},
		{"lock --reason", "tool: --reason needs a value: --reason TEXT"},
		{"lock --wait 1000000001 -- true", "tool: --wait '1000000001': a number of seconds is wanted"},
		{"lock --wait 99999999999999999999999 -- true", "a number of seconds is wanted"},
		{"lock --wait -1 -- true", "tool: --wait '-1'"},
		{"lock --wait 1.5s -- true", "tool: --wait '1.5s'"},
		{"lock --wait . -- true", "tool: --wait '.'"},
		{"lock --waits 1 -- true", "tool: there is no option '--waits'"},
		{"lock --dir= -- true", "tool: --dir needs a directory"},
		{"lock --flock=1 -- true", "tool: --flock takes no value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(run_command(parse, rows[i].given), HOLD_USAGE);
		ASSERT_SAYS(got.err, rows[i].said);
		ASSERT_SAYS(got.err, "\nTry 'tool --help'.\n");
		assert_string_equal(got.out, "");
	}
}

static void help_and_version_go_to_standard_output(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "lock --help"), -1);
	ASSERT_SAYS(got.out, "tool [--wait SECONDS] [--reason TEXT] [--flock] [--dir DIR] -- COMMAND [ARG...]\n");
	ASSERT_SAYS(got.out, "  --version\n");
	assert_int_equal(run_command(parse, "lock --version"), -1);
	assert_string_equal(got.out, "tool 1.2.3\n");
	assert_int_equal(run_command(cli_lock, "lock --help"), 0);
	ASSERT_SAYS(got.out, "lockkeeper lock --wait 60");
	assert_null(strstr(got.out, "--version"));
}

static int parse_reason(size_t len)
{
	char *reason = malloc(len + 1);
	char *argv[] = {(char *)"tool", (char *)"--reason", reason, (char *)"--", (char *)"true", NULL};
	struct hold_options o;
	int rc;

	memset(reason, 'x', len);
	reason[len] = '\0';
	rc = hold_parse("tool", NULL, 5, argv, &o);
	free(reason);
	return rc;
}

static void a_reason_has_a_limit(void **state)
{
	(void)state;
	assert_int_equal(parse_reason(HOLD_REASON_MAX), 0);
	assert_int_equal(parse_reason(HOLD_REASON_MAX + 1), HOLD_USAGE);
}

/* ---- the lock file ---- */

static void one_takes_it_and_the_next_finds_it_held(void **state)
{
	struct place *p = *state;
	struct hold_options o = options_in(p->dir);
	struct hold_lock lock, second;
	char text[TEXT_MAX], wanted[64];

	assert_int_equal(hold_take(&o, &lock), HOLD_TAKEN);
	snprintf(wanted, sizeof(wanted), "update-lock 1 %d\n", (int)getpid());
	content(p->dir, text);
	assert_string_equal(text, wanted);
	assert_int_equal(hold_take(&o, &second), HOLD_HELD);
	assert_int_equal(hold_release(&o, &lock), 0);
	assert_false(there(p->dir));
	assert_int_equal(hold_take(&o, &second), HOLD_TAKEN);
	assert_int_equal(hold_release(&o, &second), 0);
}

static void with_flock_it_appears_locked_and_complete(void **state)
{
	struct place *p = *state;
	struct hold_options o = options_in(p->dir);
	struct hold_lock lock, second;
	char text[TEXT_MAX];
	int fd;

	o.flock = true;
	o.reason = "busy";
	assert_int_equal(hold_take(&o, &lock), HOLD_TAKEN);
	content(p->dir, text);
	ASSERT_SAYS(text, "\nbusy\n");
	fd = open(lock_in(p->dir), O_RDONLY);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	close(fd);
	assert_int_equal(hold_take(&o, &second), HOLD_HELD);
	assert_int_equal(hold_release(&o, &lock), 0);
	assert_false(there(p->dir));
}

static void only_the_file_that_was_made_is_removed(void **state)
{
	struct place *p = *state;
	struct hold_options o = options_in(p->dir);
	struct hold_lock lock;
	char text[TEXT_MAX];

	assert_int_equal(hold_take(&o, &lock), HOLD_TAKEN);
	drop(p->dir);
	put(p->dir, "theirs");
	assert_int_equal(hold_release(&o, &lock), 0);
	content(p->dir, text);
	assert_string_equal(text, "theirs");
	drop(p->dir);
	assert_int_equal(hold_take(&o, &lock), HOLD_TAKEN);
	drop(p->dir);
	assert_int_equal(hold_release(&o, &lock), 0);
	assert_false(there(p->dir));
}

static void a_missing_directory_is_told_from_other_errors(void **state)
{
	struct place *p = *state;
	struct hold_options o = options_in("/nowhere/at/all");
	struct hold_lock lock;

	assert_int_equal(hold_take(&o, &lock), HOLD_NO_DIRECTORY);
	put(p->dir, "");
	o.dir = "/dev/null";
	assert_int_equal(hold_take(&o, &lock), -ENOTDIR);
}

static const char *explain_dir;
static int explain(int argc, char **argv)
{
	struct hold_options o = options_in(explain_dir);

	(void)argc, (void)argv;
	hold_explain(&o, "what");
	return 0;
}

static void the_holder_is_told_as_far_as_the_lock_says(void **state)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{"", "a file of uid 0\n"},
		{"4711\n", "a file of uid 0\n"},
		{"update-lock 1 12\n", "a file of uid 0, made by update-lock, process 12\n"},
		{"update-lock 1 12\nwhy not\n", "made by update-lock, process 12: why not\n"},
		{"update-lock 1 12\nwhy not", "made by update-lock, process 12: why not\n"},
		{"update-lock 1 12\nwhy\nthird\n", "made by update-lock, process 12: why\n"},
		{"update-lock 1 12\n\x1b[31m\xc2\x9b x\r\n", "process 12: ?[31m?? x?\n"},
		{"lockkeeper-supervisor 1 a b\n", "a file of uid 0\n"}, /* the supervisor's is uid 65534's */
	};
	struct place *p = *state;

	explain_dir = p->dir;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		put(p->dir, rows[i].text);
		run_command(explain, "");
		ASSERT_SAYS(got.err, rows[i].said);
		drop(p->dir);
	}
	run_command(explain, "");
	ASSERT_SAYS(got.err, "by somebody who is gone by now\n");
	assert_int_equal(mkfifo(lock_in(p->dir), 0600), 0);
	run_command(explain, "");
	ASSERT_SAYS(got.err, "a special file of uid 0\n");
}

/* ---- waiting ---- */

struct waiter {
	struct hold_options o;
	struct hold_signals s;
	struct hold_lock lock;
};

static void waiter_begin(struct waiter *w, const char *dir, int64_t wait_ms)
{
	w->o = options_in(dir);
	w->o.wait_ms = wait_ms;
	assert_int_equal(hold_signals_begin(&w->o, &w->s), 0);
}

static void waiter_end(struct waiter *w)
{
	close(w->s.fd);
	assert_int_equal(sigprocmask(SIG_SETMASK, &w->s.mask_before, NULL), 0);
}

static void a_free_lock_is_taken_whether_or_not_one_would_wait(void **state)
{
	struct place *p = *state;
	struct waiter w;

	for (int64_t wait = 0; wait < 2; wait++) {
		waiter_begin(&w, p->dir, wait * 100000);
		assert_int_equal(hold_acquire(&w.o, &w.s, &w.lock), 0);
		assert_int_equal(hold_release(&w.o, &w.lock), 0);
		waiter_end(&w);
	}
}

static void a_held_lock_is_given_up_when_the_time_is_over(void **state)
{
	struct place *p = *state;
	struct waiter w;

	put(p->dir, "");
	for (int64_t wait = 0; wait < 3; wait++) {
		waiter_begin(&w, p->dir, wait);
		assert_int_equal(hold_acquire(&w.o, &w.s, &w.lock), HOLD_LOCKED);
		waiter_end(&w);
	}
	assert_true(there(p->dir));
}

static bool release(const char *dir)
{

	return unlink(lock_in(dir)) == 0;
}

/* At once, so that there is no moment without a directory. */
static bool replace_directory(const char *dir)
{
	char other[256];

	snprintf(other, sizeof(other), "%s.new", dir);
	if (mkdir(other, 0700) != 0 || renameat2(AT_FDCWD, other, AT_FDCWD, dir, RENAME_EXCHANGE) != 0)
		return false;
	return release(other) && rmdir(other) == 0;
}

/* Does it in a process of its own, before this one waits or while it does: both must do. */
static pid_t meanwhile(bool (*act)(const char *dir), const char *dir)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(act(dir) ? 0 : 1);
	return pid;
}

static void a_release_and_a_new_directory_end_the_waiting(void **state)
{
	static bool (*const acts[])(const char *dir) = {release, replace_directory};
	struct place *p = *state;
	struct waiter w;
	int status;

	for (int i = 0; i < 50; i++) {
		pid_t pid;

		put(p->dir, "");
		waiter_begin(&w, p->dir, 1000000);
		pid = meanwhile(acts[i % 2], p->dir);
		assert_int_equal(hold_acquire(&w.o, &w.s, &w.lock), 0);
		assert_int_equal(hold_release(&w.o, &w.lock), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		waiter_end(&w);
	}
}

static void a_signal_ends_the_waiting_and_others_do_not(void **state)
{
	struct place *p = *state;
	struct waiter w;

	put(p->dir, "");
	waiter_begin(&w, p->dir, 1000000);
	raise(SIGWINCH);
	raise(SIGCONT);
	assert_int_equal(hold_signals_read(&w.s), 0);
	raise(SIGTERM);
	assert_int_equal(hold_acquire(&w.o, &w.s, &w.lock), HOLD_SIGNAL + SIGTERM);
	waiter_end(&w);
	assert_true(there(p->dir));
}

/* ---- the command ---- */

static int run_shell(const char *script)
{
	char *command[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};
	struct waiter w;
	int rc;

	waiter_begin(&w, "/", 0);
	w.o.command = command;
	rc = hold_run(&w.o, &w.s);
	waiter_end(&w);
	return rc;
}

static void the_exit_code_of_the_command_is_told_as_a_shell_would(void **state)
{
	(void)state;
	assert_int_equal(run_shell("exit 0"), 0);
	assert_int_equal(run_shell("exit 42"), 42);
	assert_int_equal(run_shell("kill -KILL $$"), HOLD_SIGNAL + SIGKILL);
	assert_int_equal(run_shell("kill -USR1 $PPID; exec tail -f /dev/null"), HOLD_SIGNAL + SIGUSR1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_read_up_to_the_two_dashes),
		cmocka_unit_test(bad_usage_is_one_sentence_and_a_hint),
		cmocka_unit_test(help_and_version_go_to_standard_output),
		cmocka_unit_test(a_reason_has_a_limit),
		cmocka_unit_test_setup_teardown(one_takes_it_and_the_next_finds_it_held, setup, teardown),
		cmocka_unit_test_setup_teardown(with_flock_it_appears_locked_and_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(only_the_file_that_was_made_is_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_missing_directory_is_told_from_other_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(the_holder_is_told_as_far_as_the_lock_says, setup, teardown),
		cmocka_unit_test_setup_teardown(a_free_lock_is_taken_whether_or_not_one_would_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(a_held_lock_is_given_up_when_the_time_is_over, setup, teardown),
		cmocka_unit_test_setup_teardown(a_release_and_a_new_directory_end_the_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(a_signal_ends_the_waiting_and_others_do_not, setup, teardown),
		cmocka_unit_test(the_exit_code_of_the_command_is_told_as_a_shell_would),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
