/*
 * POST /images/create. The engine answers 200 at once and tells the truth in the stream, so the end of the stream alone
 * is no success and no failure: what its messages said counts.
 */
#include "engine/call.h"

#include <errno.h>

#include "engine/progress.h"
#include "engine/splitter.h"
#include "util/mem.h"

struct pull {
	struct engine *engine;
	engine_progress_fn *progress;
	engine_done_fn *done;
	void *ctx;
	struct splitter splitter;
	struct pull_progress state;
	struct err err; /* what the stream said */
};

static int on_message(void *ctx, const char *text, size_t len)
{
	struct pull *p = ctx;
	int before = p->state.percent;

	if (!text)
		return err_set(&p->err, -EPROTO, "a message of the pull is larger than %u bytes", SPLITTER_MAX_BYTES);
	if (pull_progress_message(&p->state, text, len, &p->err) < 0)
		return p->err.code;
	if (p->progress && p->state.percent > before)
		p->progress(p->ctx, p->state.percent);
	return 0;
}

static int on_data(void *ctx, const char *data, size_t len)
{
	struct pull *p = ctx;

	return splitter_feed(&p->splitter, data, len, on_message, p);
}

static void on_done(void *ctx, const struct err *http_err, const struct http_response *r)
{
	AUTO_FREE struct pull *p = ctx;
	struct err err = p->err;

	if (err.code && http_err && http_err->code == -ECANCELED)
		err = *http_err;
	else if (!err.code && http_err)
		engine_error_from_http(http_err, &err);
	else if (!err.code && r->status != 200) {
		engine_error_from_answer(r, &err);
		if (r->status >= 400)
			err.code = pull_error_code(err.msg);
	} else if (!err.code && splitter_is_inside(&p->splitter))
		err_set(&err, -EPROTO, "the pull's answer ends within a message");
	p->done(p->ctx, err.code ? &err : NULL);
	splitter_deinit(&p->splitter);
	pull_progress_deinit(&p->state);
}

struct http_call *engine_image_pull(struct engine *e, const char *ref, const char *auth, engine_progress_fn *progress,
				    engine_done_fn *done, void *ctx)
{
	struct pull *p = mem_new(1, sizeof(*p));
	const struct http_header headers[] = {{auth ? "X-Registry-Auth" : NULL, auth}, {NULL, NULL}};
	AUTO_FREE char *repo = NULL, *tag = NULL;
	struct http_request request;
	struct http_call *call;
	struct buf target;

	*p = (struct pull){.engine = e, .progress = progress, .done = done, .ctx = ctx};
	splitter_init(&p->splitter, SPLITTER_MAX_BYTES);
	pull_progress_init(&p->state, e->version.balena);
	image_split(ref, &repo, &tag);
	buf_init(&target, 16384);
	engine_request_init(e, CALL_IMAGE_PULL, (const char *[]){repo, tag}, &target, &request);
	request.headers = headers;
	request.on_data = on_data;
	request.stream_ctx = p;
	request.idle_timeout_ms = ENGINE_PULL_IDLE_MS;
	call = http_pipe_call(e->pipe, &request, on_done, p);
	buf_deinit(&target);
	return call;
}
