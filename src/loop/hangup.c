/* See hangup.h. The kernel reports an error on the writing end of a pipe once its last reader is gone. */
#include "loop/hangup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "util/mem.h"

struct loop_hangup {
	uv_poll_t uv;
	loop_fn *gone;
	void *ctx;
};

static void on_poll(uv_poll_t *uv, int status, int events)
{
	struct loop_hangup *h = uv->data;

	(void)status, (void)events;
	uv_poll_stop(uv);
	h->gone(h->ctx);
}

static void on_closed(uv_handle_t *uv)
{
	free(uv->data);
}

void loop_hangup_free(struct loop_hangup *h)
{
	if (h)
		uv_close((uv_handle_t *)&h->uv, on_closed);
}

struct loop_hangup *loop_hangup_new(struct loop *l, int fd, loop_fn *gone, void *ctx)
{
	int flags = fcntl(fd, F_GETFL);
	struct loop_hangup *h;
	struct stat st;

	if (flags < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return NULL;
	h = mem_new(1, sizeof(*h));
	*h = (struct loop_hangup){.gone = gone, .ctx = ctx};
	h->uv.data = h;
	if (uv_poll_init(loop_uv(l), &h->uv, fd) < 0) {
		free(h);
		return NULL;
	}
	fcntl(fd, F_SETFL, flags); /* libuv made it non-blocking, for everybody who shares it */
	if (uv_poll_start(&h->uv, UV_DISCONNECT, on_poll) < 0) {
		loop_hangup_free(h);
		return NULL;
	}
	return h;
}
