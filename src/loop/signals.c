/* Signals as callbacks: one handle a signal, one owner for all of them; the memory goes with the last that closes. */
#include "loop/signals.h"

#include "util/log.h"
#include "util/mem.h"

struct loop_signals {
	loop_signal_fn *fn;
	void *ctx;
	size_t n, open;
	uv_signal_t handles[];
};

static void on_signal(uv_signal_t *handle, int signo)
{
	struct loop_signals *s = handle->data;

	s->fn(s->ctx, signo);
}

static void on_signal_closed(uv_handle_t *handle)
{
	struct loop_signals *s = handle->data;

	if (--s->open == 0)
		free(s);
}

struct loop_signals *loop_signals_new(struct loop *l, const int *signos, loop_signal_fn *fn, void *ctx)
{
	struct loop_signals *s;
	size_t n = 0;

	while (signos[n])
		n++;
	s = mem_new(1, sizeof(*s) + n * sizeof(s->handles[0]));
	s->fn = fn;
	s->ctx = ctx;
	s->n = s->open = n;
	for (size_t i = 0; i < n; i++) {
		uv_signal_init(loop_uv(l), &s->handles[i]);
		s->handles[i].data = s;
		if (uv_signal_start(&s->handles[i], on_signal, signos[i]) <
		    0) { /* only for a signal nobody can catch */
			log_error("signal_refused", kv_i64("signal", signos[i]));
			abort();
		}
		uv_unref((uv_handle_t *)&s->handles[i]); /* waiting for a signal is no reason to run on */
	}
	return s;
}

void loop_signals_free(struct loop_signals *s)
{
	if (!s)
		return;
	if (!s->n)
		free(s);
	else
		for (size_t i = 0, n = s->n; i < n; i++)
			uv_close((uv_handle_t *)&s->handles[i], on_signal_closed);
}
