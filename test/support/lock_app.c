/*
 * An application with an update lock, for the stories in which a shell script would be too slow or too forgiving. It
 * plays by the contract to the letter, so what it records is evidence: SIGTERM is blocked while the lock is being
 * created, thus a signal is judged by whether the lock existed, not by how far we were in looking.
 * APP_MODE:
 * cycles    takes and gives back the lock for ever, holding it for a random while; at SIGTERM says "term free" or "term
 *           HELD", and ends
 * stubborn  waits for SIGTERM, ignores it and from then on tries to take both names; says "TOOK name" if it ever does,
 *           "still N" each second, and lives until it is killed
 * wants     tries to take the lock from its start until it has it ("took"), says "refused" once before; keeps it
 * Lines go to $RECORD (appended; "GENERATION words"), numbers to $RECORD.counts, which all incarnations share.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DIRECTORY "/tmp/balena/"
#define LOCK      DIRECTORY "updates.lock"
#define OLD_LOCK  DIRECTORY "resin-updates.lock"

struct counts { /* lock_app.py reads it */
	uint64_t cycles, refused, term_free, term_held, tries, taken;
};
static struct counts *counts;
static int record = STDOUT_FILENO, counts_fd = -1;
static volatile sig_atomic_t held, told;

static void say(const char *words)
{
	const char *generation = getenv("GENERATION");
	char line[128];
	int n = snprintf(line, sizeof(line), "%s %s\n", generation ? generation : "0", words);

	if (write(record, line, (size_t)n) != n)
		abort();
}

static void fail(const char *what)
{
	fprintf(stderr, "lock_app: %s: %s\n", what, strerror(errno));
	exit(9);
}

static void open_record(void)
{
	const char *path = getenv("RECORD");
	char name[256];

	if (!path)
		fail("RECORD is not set");
	record = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	snprintf(name, sizeof(name), "%s.counts", path);
	counts_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (record < 0 || counts_fd < 0 || ftruncate(counts_fd, sizeof(*counts)) < 0)
		fail(path);
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, counts_fd, 0);
	if (counts == MAP_FAILED)
		fail("mmap");
}

static void on_term_end(int signo)
{
	(void)signo;
	if (held)
		counts->term_held++;
	else
		counts->term_free++;
	say(held ? "term HELD" : "term free");
	_exit(0);
}

static void on_term_stay(int signo)
{
	(void)signo;
	told = 1;
}

static int create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd >= 0)
		close(fd);
	else if (errno != EEXIST)
		fail(path);
	return fd >= 0;
}

/* With SIGTERM held back: one that comes in here is delivered with `held` saying what became of the attempt. */
static int take(const sigset_t *term)
{
	int taken;

	sigprocmask(SIG_BLOCK, term, NULL);
	taken = held = create(LOCK);
	sigprocmask(SIG_UNBLOCK, term, NULL);
	return taken;
}

static void pass_microseconds(long us)
{
	struct timespec t = {.tv_nsec = us * 1000};

	if (us > 0)
		(void)!ppoll(NULL, 0, &t, NULL);
}

static void cycle(const sigset_t *term)
{
	unsigned seed = (unsigned)getpid() ^ (unsigned)time(NULL);

	for (;;) {
		if (take(term)) {
			pass_microseconds(rand_r(&seed) % 8 ? 0 : rand_r(&seed) % 100);
			if (++counts->cycles % 256 == 0)
				futimens(counts_fd, NULL); /* whoever watches the file gets an event */
			held = 0; /* before it goes: a stop that follows the unlink at once is no offence */
			if (unlink(LOCK) < 0)
				fail("unlink"); /* somebody took our lock away */
		} else {
			counts->refused++;
		}
		pass_microseconds(rand_r(&seed) % 4 ? 0 : rand_r(&seed) % 200);
	}
}

static void want(void)
{
	int refused = 0;

	while (!create(LOCK)) {
		counts->refused++;
		if (!refused++)
			say("refused");
		pass_microseconds(200);
	}
	held = 1;
	say("took");
	for (;;)
		pause();
}

static void insist(const sigset_t *term)
{
	static const char *const names[] = {LOCK, OLD_LOCK};
	struct timespec began, now;
	int seconds = 0;
	sigset_t open;

	sigprocmask(SIG_BLOCK, term, &open);
	while (!told)
		sigsuspend(&open);
	say("told");
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (unsigned i = 0;; i ^= 1) {
		counts->tries++;
		if (create(names[i])) {
			counts->taken++;
			say(i ? "TOOK old name" : "TOOK name");
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - began.tv_sec - (now.tv_nsec < began.tv_nsec) > seconds) {
			char words[32];

			snprintf(words, sizeof(words), "still %d", ++seconds);
			say(words);
		}
		pass_microseconds(100);
	}
}

int main(void)
{
	const char *mode = getenv("APP_MODE");
	struct sigaction action = {.sa_handler = on_term_end};
	sigset_t term;

	if (mode && !strcmp(mode, "stubborn"))
		action.sa_handler = on_term_stay;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	open_record();
	prctl(PR_SET_TIMERSLACK, 1UL); /* sleeps of microseconds are meant */
	sigaction(SIGTERM, &action, NULL);
	say("up");
	if (mode && !strcmp(mode, "cycles"))
		cycle(&term);
	else if (mode && !strcmp(mode, "stubborn"))
		insist(&term);
	else
		want();
	return 0;
}
