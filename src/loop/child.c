/*
 * Child processes. One call is one object that ends when the process is gone, its output has ended and every handle is
 * closed; only then `done` runs. A grandchild may hold the output open for ever, so after a timeout or SIGKILL the end
 * of the process is enough.
 */
#include "loop/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "util/mem.h"

struct loop_child {
	uv_process_t process;
	uv_pipe_t pipe;
	struct loop_timer timer;
	loop_child_fn *done;
	void *ctx;
	struct buf output;
	char chunk[4096];
	struct err err;
	int status;
	int handles; /* not closed yet */
	char *name;
	int64_t timeout_ms;
	bool running, reading, killed, closing;
};

/* -------- the end -------- */

static void on_all_closed(struct loop_child *c)
{
	if (--c->handles > 0)
		return;
	c->done(c->ctx, c->err.code ? &c->err : NULL, c->status, &c->output);
	buf_deinit(&c->output);
	free(c->name);
	free(c);
}

static void on_timer_gone(void *ctx)
{
	on_all_closed(ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
	on_all_closed(h->data);
}

static void end_if_over(struct loop_child *c)
{
	if (c->closing || c->running || (c->reading && !c->killed))
		return;
	c->closing = true;
	if (c->process.type == UV_PROCESS) /* uv_spawn() was called, whatever became of it */
		uv_close((uv_handle_t *)&c->process, on_handle_closed);
	else
		c->handles--;
	uv_close((uv_handle_t *)&c->pipe, on_handle_closed);
	loop_timer_deinit(&c->timer, on_timer_gone, c);
}

/* -------- events -------- */

static void on_exit_status(uv_process_t *process, int64_t status, int signo)
{
	struct loop_child *c = process->data;

	c->running = false;
	c->status = signo ? 128 + signo : (int)status;
	end_if_over(c);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct loop_child *c = h->data;

	(void)suggested;
	*buf = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct loop_child *c = stream->data;
	size_t room = c->output.max - c->output.len;

	if (n > 0)
		buf_add(&c->output, buf->base, (size_t)n < room ? (size_t)n : room);
	if (n >= 0)
		return;
	c->reading = false; /* the end, or an error that ends it as well */
	end_if_over(c);
}

static void on_time_out(void *ctx)
{
	struct loop_child *c = ctx;

	err_set(&c->err, -ETIMEDOUT, "%s: killed after %lld ms", c->name, (long long)c->timeout_ms);
	loop_child_kill(c, SIGKILL);
}

/* -------- the start -------- */

static int spawn(struct loop *l, struct loop_child *c, const struct loop_child_options *o)
{
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_IGNORE}, /* libuv opens /dev/null there */
		{.flags = UV_IGNORE},
		{.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
	};
	uv_process_options_t options = {
		.exit_cb = on_exit_status,
		.file = o->argv[0],
		.args = (char **)(uintptr_t)o->argv, /* libuv does not write to them */
		.env = (char **)(uintptr_t)o->env,
		.stdio = stdio,
		.stdio_count = 3,
	};
	int r;

	if (o->output_max) {
		stdio[1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
		stdio[1].data.stream = (uv_stream_t *)&c->pipe;
	}
	if (!o->argv[0])
		return err_set(&c->err, -EINVAL, "run: no command");
	if (fcntl(STDERR_FILENO, F_GETFD) < 0)
		stdio[2].flags = UV_IGNORE;
	r = uv_spawn(loop_uv(l), &c->process, &options);
	if (r < 0)
		return err_set(&c->err, r, "run %s: %s", o->argv[0], uv_strerror(r));
	c->running = true;
	if (o->output_max)
		c->reading = uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_output) == 0;
	return 0;
}

struct loop_child *loop_child_run(struct loop *l, const struct loop_child_options *o, loop_child_fn *done, void *ctx)
{
	struct loop_child *c = mem_new(1, sizeof(*c));

	c->done = done;
	c->ctx = ctx;
	c->handles = 3;
	buf_init(&c->output, o->output_max);
	c->name = mem_strdup(o->argv[0]);
	c->timeout_ms = o->timeout_ms;
	uv_pipe_init(loop_uv(l), &c->pipe, 0);
	loop_timer_init(l, &c->timer, on_time_out, c);
	c->process.data = c->pipe.data = c;
	if (spawn(l, c, o) == 0 && o->timeout_ms > 0)
		loop_timer_start(&c->timer, o->timeout_ms);
	end_if_over(c); /* did not start: closing the handles makes the callback come from the loop */
	return c;
}

void loop_child_kill(struct loop_child *c, int signo)
{
	if (signo == SIGKILL)
		c->killed = true;
	if (c->running)
		uv_process_kill(&c->process, signo);
	end_if_over(c);
}
