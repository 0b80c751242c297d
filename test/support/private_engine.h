/* A real dockerd for one test program: starts test/support/private-engine and talks to it. */
#ifndef SUPPORT_PRIVATE_ENGINE_H
#define SUPPORT_PRIVATE_ENGINE_H

#include "check.h"

#include <sys/wait.h>

struct private_engine {
	pid_t pid;
	FILE *to, *from;
	char dir[64], socket[80];
	char reply[128];
};

/* One command; its answer is in `reply`. Blocks: the loop under test does not run meanwhile. */
static inline const char *private_engine_do(struct private_engine *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static inline const char *private_engine_do(struct private_engine *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(e->to, fmt, ap);
	va_end(ap);
	fputc('\n', e->to);
	fflush(e->to);
	if (!fgets(e->reply, sizeof(e->reply), e->from))
		snprintf(e->reply, sizeof(e->reply), "gone");
	e->reply[strcspn(e->reply, "\n")] = '\0';
	return e->reply;
}

/* The script lies beside this header. */
static inline void private_engine_script(char path[4096])
{
	char *slash;

	snprintf(path, 4096, "%s", __FILE__);
	slash = strrchr(path, '/');
	snprintf(slash ? slash + 1 : path, 32, "private-engine");
}

/* Can an engine be run here at all? */
static inline bool private_engine_possible(void)
{
	return geteuid() == 0 && access("/usr/sbin/dockerd", X_OK) == 0;
}

/* False: it did not come up. */
static inline bool private_engine_start(struct private_engine *e)
{
	int in[2], out[2];
	char script[4096];

	private_engine_script(script);
	snprintf(e->dir, sizeof(e->dir), "/tmp/lk-engine-XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	snprintf(e->socket, sizeof(e->socket), "%s/s", e->dir);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	e->pid = fork();
	assert_true(e->pid >= 0);
	if (e->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl("/bin/sh", "sh", script, e->dir, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	e->to = fdopen(in[1], "w");
	e->from = fdopen(out[0], "r");
	return strcmp(private_engine_do(e, "start"), "ready") == 0;
}

static inline void private_engine_end(struct private_engine *e)
{
	if (!e->to)
		return;
	fclose(e->to); /* the script's sign to clean up */
	while (fgetc(e->from) != EOF)
		;
	fclose(e->from);
	waitpid(e->pid, NULL, 0);
	memset(e, 0, sizeof(*e));
}

#endif
