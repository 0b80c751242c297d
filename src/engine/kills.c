/* Kills of the past, from the engine's own event buffer: which stops were asked for before we started. */
#include "engine/call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/event.h"
#include "engine/splitter.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

#define KILLS_MAX 1024 /* the engine keeps 256 events; beyond this the oldest are forgotten */

struct kills {
	engine_kills_fn *done;
	void *ctx;
	struct splitter splitter;
	struct engine_kill *v; /* each id is owned here */
	size_t n, capacity;
};

static void kills_add(struct kills *k, const struct engine_event *event)
{
	if (k->n == KILLS_MAX) {
		free((char *)k->v[0].id);
		memmove(&k->v[0], &k->v[1], --k->n * sizeof(*k->v));
	}
	mem_reserve(&k->v, &k->capacity, k->n + 1, sizeof(*k->v));
	k->v[k->n++] = (struct engine_kill){.id = mem_strdup(event->id), .at_ms = event->time_ms};
}

static int on_message(void *ctx, const char *text, size_t len)
{
	struct json *message = NULL;
	struct engine_event event;
	struct err err = {0};

	if (!text)
		err_set(&err, -EMSGSIZE, "larger than %u bytes", SPLITTER_MAX_BYTES);
	else if (json_parse(text, len, SPLITTER_MAX_BYTES, &message, &err) == 0 &&
		 engine_event_parse(message, &event) && event.type == ENGINE_CONTAINER && str_eq(event.action, "kill"))
		kills_add(ctx, &event);
	if (err.code)
		log_debug("engine_event_unreadable", kv_str("err", err.msg));
	json_free(message);
	return 0;
}

static int on_data(void *ctx, const char *data, size_t len)
{
	struct kills *k = ctx;

	return splitter_feed(&k->splitter, data, len, on_message, k);
}

static void on_done(void *ctx, const struct err *http_err, const struct http_response *r)
{
	AUTO_FREE struct kills *k = ctx;
	struct err err = {0};

	if (http_err)
		engine_error_from_http(http_err, &err);
	else if (r->status != 200)
		engine_error_from_answer(r, &err);
	k->done(k->ctx, err.code ? &err : NULL, err.code ? NULL : k->v, err.code ? 0 : k->n);
	for (size_t i = 0; i < k->n; i++)
		free((char *)k->v[i].id);
	free(k->v);
	splitter_deinit(&k->splitter);
}

static void print_time(char out[32], int64_t unix_ms)
{
	snprintf(out, 32, "%" PRId64 ".%03d", unix_ms / 1000, (int)(unix_ms % 1000));
}

void engine_kills_since(struct engine *e, int64_t since_unix_ms, engine_kills_fn *done, void *ctx)
{
	struct kills *k = mem_new(1, sizeof(*k));
	struct http_request request;
	struct buf target;
	char since[32], until[32];
	int64_t now = loop_wall_ms();

	*k = (struct kills){.done = done, .ctx = ctx};
	splitter_init(&k->splitter, SPLITTER_MAX_BYTES);
	print_time(since, since_unix_ms);
	/* Without it the answer would never end; the engine refuses one before `since`, as after a clock set back. */
	print_time(until, now > since_unix_ms ? now : since_unix_ms);
	buf_init(&target, 1024);
	engine_request_init(e, CALL_EVENTS_BETWEEN,
			    (const char *[]){since, until, "{\"type\":[\"container\"],\"event\":[\"kill\"]}"}, &target,
			    &request);
	request.on_data = on_data;
	request.stream_ctx = k;
	request.idle_timeout_ms = ENGINE_QUERY_MS;
	http_pipe_call(e->pipe, &request, on_done, k);
	buf_deinit(&target);
}
