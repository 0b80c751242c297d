/*
 * Blocking file work on libuv's pool. Replacing a file is: write a neighbour, make it durable, rename it over the old
 * one, make the directory durable; a kill between any two of these leaves the old content or the new, never a mixture.
 */
#include "loop/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/fd.h"
#include "util/mem.h"
#include "util/str.h"

/* -------- any work -------- */

struct work {
	uv_work_t uv;
	loop_fn *work, *done;
	void *ctx;
};

static void on_work(uv_work_t *uv)
{
	struct work *w = uv->data;

	w->work(w->ctx);
}

static void on_work_done(uv_work_t *uv, int status)
{
	struct work *w = uv->data;

	(void)status; /* nobody cancels */
	w->done(w->ctx);
	free(w);
}

void loop_work(struct loop *l, loop_fn *work, loop_fn *done, void *ctx)
{
	struct work *w = mem_new(1, sizeof(*w));

	*w = (struct work){.work = work, .done = done, .ctx = ctx};
	w->uv.data = w;
	uv_queue_work(loop_uv(l), &w->uv, on_work, on_work_done); /* fails only without a function */
}

/* -------- replacing a file -------- */

struct replace {
	loop_file_fn *done;
	void *ctx;
	int dir_fd;
	unsigned mode;
	char *name;
	char *data;
	size_t len;
	struct err err;
};

/* The neighbour, complete and durable. A leftover of an earlier run is emptied first; a symbolic link is refused. */
static int write_new(struct replace *r, const char *tmp)
{
	AUTO_CLOSE int fd = openat(r->dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, r->mode);

	if (fd < 0)
		return err_sys(&r->err, "create %s", tmp);
	if (fchmod(fd, r->mode) < 0) /* whatever the umask and the leftover say */
		return err_sys(&r->err, "set mode of %s", tmp);
	if (fd_write_all(fd, r->data, r->len) < 0)
		return err_sys(&r->err, "write %s", tmp);
	if (fsync(fd) < 0)
		return err_sys(&r->err, "sync %s", tmp);
	return 0;
}

static void on_replace(void *ctx)
{
	struct replace *r = ctx;
	AUTO_FREE char *tmp = mem_printf("%s.new", r->name);
	AUTO_CLOSE int dir = -1;

	if (!*r->name || strchr(r->name, '/') || str_eq(r->name, ".") || str_eq(r->name, "..")) {
		err_set(&r->err, -EINVAL, "replace \"%s\": not the name of a file", r->name);
		return;
	}
	if (write_new(r, tmp) == 0 && renameat(r->dir_fd, tmp, r->dir_fd, r->name) < 0)
		err_sys(&r->err, "replace %s", r->name);
	if (r->err.code) {
		unlinkat(r->dir_fd, tmp, 0);
		return;
	}
	dir = openat(r->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* dir_fd may be O_PATH, which cannot sync */
	if (dir < 0 || fsync(dir) < 0)
		err_sys(&r->err, "sync the directory of %s", r->name);
}

static void on_replaced(void *ctx)
{
	struct replace *r = ctx;

	r->done(r->ctx, r->err.code ? &r->err : NULL);
	free(r->name);
	free(r->data);
	free(r);
}

void loop_file_replace(struct loop *l, int dir_fd, const char *name, unsigned mode, const void *data, size_t len,
		       loop_file_fn *done, void *ctx)
{
	struct replace *r = mem_new(1, sizeof(*r));

	r->done = done;
	r->ctx = ctx;
	r->dir_fd = dir_fd;
	r->mode = mode;
	r->name = mem_strdup(name);
	r->data = mem_new(len, 1);
	r->len = len;
	if (len)
		memcpy(r->data, data, len);
	loop_work(l, on_replace, on_replaced, r);
}
