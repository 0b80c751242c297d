/* Life of the engine client, and the API version both sides speak. */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/call.h"
#include "util/mem.h"
#include "util/str.h"

#define API_MAJOR     1
#define API_MINOR_MIN 41
#define API_MINOR_MAX 47

struct engine *engine_new(struct loop *l, const char *socket_path)
{
	struct engine *e = mem_new(1, sizeof(*e));

	e->loop = l;
	e->pipe = http_pipe_new(l, socket_path);
	engine_watch_init(e);
	return e;
}

static void on_part_closed(void *ctx)
{
	struct engine *e = ctx;
	loop_fn *stopped = e->stopped;
	void *stopped_ctx = e->stopped_ctx;

	if (--e->closing > 0)
		return;
	engine_watch_deinit(e);
	free(e);
	stopped(stopped_ctx);
}

void engine_stop(struct engine *e, loop_fn *stopped, void *ctx)
{
	e->stopped = stopped;
	e->stopped_ctx = ctx;
	e->closing = 2;
	engine_watch_end(e, on_part_closed, e);
	http_pipe_stop(e->pipe, on_part_closed, e);
}

/* "1.41" -> 41; negative when it is not of this form or of another major version. */
static int api_minor(const char *text)
{
	int64_t major, minor;
	char head[8] = "";
	const char *dot = text ? strchr(text, '.') : NULL;

	if (!dot || (size_t)(dot - text) >= sizeof(head))
		return -1;
	memcpy(head, text, (size_t)(dot - text));
	if (!str_to_i64(head, 0, 1000, &major) || !str_to_i64(dot + 1, 0, 1000, &minor) || major != API_MAJOR)
		return -1;
	return (int)minor;
}

static bool is_balena(const char *engine_name)
{
	static const char *const names[] = {"balena", "balaena", "balena-engine"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq(engine_name, names[i]))
			return true;
	return false;
}

static int choose_version(const struct json *body, struct engine_version *out, struct err *err)
{
	const char *newest_text = json_str(json_get(body, "ApiVersion"));
	const char *oldest_text = json_str_or(json_get(body, "MinAPIVersion"), newest_text);
	int newest = api_minor(newest_text), oldest = api_minor(oldest_text);
	int both = newest < API_MINOR_MAX ? newest : API_MINOR_MAX;

	if (newest < 0 || oldest < 0)
		return err_set(err, -EPROTO, "the engine tells no API version that we can read: \"%.16s\"",
			       newest_text ? newest_text : "");
	if (both < API_MINOR_MIN || both < oldest)
		return err_set(err, -EPROTO, "the engine speaks API %d.%d to %d.%d, we speak %d.%d to %d.%d", API_MAJOR,
			       oldest, API_MAJOR, newest, API_MAJOR, API_MINOR_MIN, API_MAJOR, API_MINOR_MAX);
	*out = (struct engine_version){.balena = is_balena(json_str(json_get(body, "Engine")))};
	snprintf(out->api, sizeof(out->api), "%d.%d", API_MAJOR, both);
	snprintf(out->name, sizeof(out->name), "%s", json_str_or(json_get(body, "Version"), ""));
	return 0;
}

static void on_version(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct engine *e = op->engine;
	struct err why = {0};

	if (err)
		why = *err;
	else if (choose_version(body, &e->version, &why) == 0)
		snprintf(e->prefix, sizeof(e->prefix), "/v%s", e->version.api);
	op->done.version(op->ctx, why.code ? &why : NULL, why.code ? NULL : &e->version);
}

void engine_negotiate(struct engine *e, engine_version_fn *done, void *ctx)
{
	struct engine_op op = {
		.engine = e, .call = CALL_VERSION, .finish = on_version, .done.version = done, .ctx = ctx};

	engine_op_start(&op, NULL, NULL, 0);
}
