/* Calls about one container, network, volume or image. Each is a row of call.c, its arguments, and its result. */
#include "engine/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/mem.h"

static void set_subject(struct engine_op *op, const char *subject)
{
	snprintf(op->subject, sizeof(op->subject), "%s", subject);
	if (strlen(subject) == 64 && strspn(subject, "0123456789abcdef") == 64) /* an id: its usual short form */
		op->subject[12] = '\0';
}

static void on_plain(struct engine_op *op, const struct err *err, const struct json *body)
{
	(void)body;
	op->done.plain(op->ctx, err);
}

static struct http_call *plain_call(struct engine *e, enum engine_call call, const char *const args[2],
				    const struct buf *body, int64_t patience_ms, engine_done_fn *done, void *ctx)
{
	struct engine_op op = {.engine = e, .call = call, .finish = on_plain, .done.plain = done, .ctx = ctx};

	if (args && args[0])
		set_subject(&op, args[0]);
	return engine_op_start(&op, args, body, patience_ms);
}

static void on_created(struct engine_op *op, const struct err *err, const struct json *body)
{
	const char *id = err ? NULL : json_str(json_get(body, "Id"));
	struct err why = {0};

	if (!err && !id) {
		err_set(&why, -EPROTO, "create container %s: the engine's answer has no Id", op->subject);
		err = &why;
	}
	op->done.id(op->ctx, err, id);
}

struct http_call *engine_container_create(struct engine *e, const char *name, const struct buf *body,
					  engine_id_fn *done, void *ctx)
{
	struct engine_op op = {
		.engine = e, .call = CALL_CONTAINER_CREATE, .finish = on_created, .done.id = done, .ctx = ctx};

	set_subject(&op, name);
	return engine_op_start(&op, (const char *[]){name}, body, 0);
}

struct http_call *engine_container_start(struct engine *e, const char *id, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_CONTAINER_START, (const char *[]){id, NULL}, NULL, 0, done, ctx);
}

struct http_call *engine_container_stop(struct engine *e, const char *id, int stop_timeout_s, engine_done_fn *done,
					void *ctx)
{
	/* A negative StopTimeout means that the engine waits for ever, so we do too. */
	int64_t patience_ms = stop_timeout_s < 0 ? -1 : stop_timeout_s * INT64_C(1000) + ENGINE_STOP_MARGIN_MS;

	return plain_call(e, CALL_CONTAINER_STOP, (const char *[]){id, NULL}, NULL, patience_ms, done, ctx);
}

struct http_call *engine_container_remove(struct engine *e, const char *id, bool force, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_CONTAINER_REMOVE, (const char *[]){id, force ? "1" : "0"}, NULL, 0, done, ctx);
}

struct http_call *engine_container_rename(struct engine *e, const char *id, const char *name, engine_done_fn *done,
					  void *ctx)
{
	return plain_call(e, CALL_CONTAINER_RENAME, (const char *[]){id, name}, NULL, 0, done, ctx);
}

static void on_container(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct container c = {0};
	struct err why = {0};

	if (!err && container_from_engine(body, &c, &why) < 0) {
		err_wrap(&why, "inspect container %s", op->subject);
		err = &why;
	}
	op->done.container(op->ctx, err, err ? NULL : &c);
	container_deinit(&c);
}

struct http_call *engine_container_inspect(struct engine *e, const char *id, engine_container_fn *done, void *ctx)
{
	struct engine_op op = {.engine = e,
			       .call = CALL_CONTAINER_INSPECT,
			       .finish = on_container,
			       .done.container = done,
			       .ctx = ctx};

	set_subject(&op, id);
	return engine_op_start(&op, (const char *[]){id}, NULL, 0);
}

struct http_call *engine_network_create(struct engine *e, const struct buf *body, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_NETWORK_CREATE, NULL, body, 0, done, ctx);
}

struct http_call *engine_network_remove(struct engine *e, const char *id_or_name, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_NETWORK_REMOVE, (const char *[]){id_or_name, NULL}, NULL, 0, done, ctx);
}

struct http_call *engine_network_connect(struct engine *e, const char *network, const struct buf *body,
					 engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_NETWORK_CONNECT, (const char *[]){network, NULL}, body, 0, done, ctx);
}

struct http_call *engine_volume_create(struct engine *e, const struct buf *body, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_VOLUME_CREATE, NULL, body, 0, done, ctx);
}

struct http_call *engine_volume_remove(struct engine *e, const char *name, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_VOLUME_REMOVE, (const char *[]){name, NULL}, NULL, 0, done, ctx);
}

static void on_image(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct image i = {0};
	struct err why = {0};

	if (!err && image_from_engine(body, &i, &why) < 0) {
		err_wrap(&why, "inspect image %s", op->subject);
		err = &why;
	}
	op->done.image(op->ctx, err, err ? NULL : &i);
	image_deinit(&i);
}

struct http_call *engine_image_inspect(struct engine *e, const char *ref, engine_image_fn *done, void *ctx)
{
	struct engine_op op = {
		.engine = e, .call = CALL_IMAGE_INSPECT, .finish = on_image, .done.image = done, .ctx = ctx};

	set_subject(&op, ref);
	return engine_op_start(&op, (const char *[]){ref}, NULL, 0);
}

struct http_call *engine_image_remove(struct engine *e, const char *ref, engine_done_fn *done, void *ctx)
{
	return plain_call(e, CALL_IMAGE_REMOVE, (const char *[]){ref, NULL}, NULL, 0, done, ctx);
}
