/*
 * Inside of src/engine: one typed call as a row of a table. A row says how to ask and which answers are success; the op
 * carries who asked. Everything the engine or the socket can answer becomes one error with a sentence here.
 */
#ifndef ENGINE_CALL_H
#define ENGINE_CALL_H

#include "engine/engine.h"
#include "engine/splitter.h"
#include "net/http_pipe.h"
#include "util/json.h"

#define ENGINE_LIST_MAX_BYTES   (16u << 20)
#define ENGINE_CONNECT_MS       5000
#define ENGINE_QUERY_MS         60000
#define ENGINE_STOP_MARGIN_MS   60000
#define ENGINE_PULL_IDLE_MS     900000
#define ENGINE_INSPECT_PARALLEL 8

enum engine_call {
	CALL_VERSION,
	CALL_CONTAINER_LIST,
	CALL_CONTAINER_INSPECT,
	CALL_CONTAINER_CREATE,
	CALL_CONTAINER_START,
	CALL_CONTAINER_STOP,
	CALL_CONTAINER_REMOVE,
	CALL_CONTAINER_RENAME,
	CALL_NETWORK_LIST,
	CALL_NETWORK_CREATE,
	CALL_NETWORK_REMOVE,
	CALL_NETWORK_CONNECT,
	CALL_VOLUME_LIST,
	CALL_VOLUME_CREATE,
	CALL_VOLUME_REMOVE,
	CALL_IMAGE_LIST,
	CALL_IMAGE_INSPECT,
	CALL_IMAGE_REMOVE,
	CALL_IMAGE_PULL,
	CALL_EVENTS,
	CALL_EVENTS_BETWEEN,
	CALL_COUNT
};

struct engine_watcher {
	struct engine_watch owner;
	int state; /* enum watch_state of watch.c */
	unsigned failures;
	bool is_away; /* `lost` was said and `up` not yet again */
	int64_t up_since_ms;
	struct err why;
	struct loop_timer timer;
	struct splitter splitter;
};

struct engine {
	struct loop *loop;
	struct http_pipe *pipe;
	char prefix[24]; /* "/v1.41", "" until negotiated */
	struct engine_version version;
	struct engine_watcher watch;
	unsigned closing; /* parts that have not reported yet */
	loop_fn *stopped;
	void *stopped_ctx;
};

struct engine_op;
/* The one end of an op. Exactly one of `err` and success; `body` is the parsed answer of rows that read it. */
typedef void engine_finish_fn(struct engine_op *op, const struct err *err, const struct json *body);
struct engine_op {
	struct engine *engine;
	enum engine_call call;
	char subject[40]; /* what it is about, for the sentence */
	engine_finish_fn *finish;
	union {
		engine_done_fn *plain;
		engine_version_fn *version;
		engine_id_fn *id;
		engine_container_fn *container;
		engine_networks_fn *networks;
		engine_volumes_fn *volumes;
		engine_images_fn *images;
		engine_image_fn *image;
	} done;
	void *ctx;
};

/*
 * Start the call of `op->call`: its '*'s are replaced by `args`, percent-encoded. `op` is copied, so it may live on
 * the stack. `patience_ms` replaces the row's time for the answer's head; 0: the row's; negative: none.
 */
struct http_call *engine_op_start(const struct engine_op *op, const char *const *args, const struct buf *body,
				  int64_t patience_ms);
/* Fill method, target (appended to `target`) and the timeouts of a row. */
void engine_request_init(const struct engine *e, enum engine_call call, const char *const *args, struct buf *target,
			 struct http_request *out);
/* What the socket said: "the engine is away: …" (-EHOSTDOWN) unless cancelled or too slow. Returns the code. */
int engine_error_from_http(const struct err *http_err, struct err *out);
/* What a status says, with the engine's own sentence. Returns the code. */
int engine_error_from_answer(const struct http_response *r, struct err *out);

/* watch.c */
void engine_watch_init(struct engine *e);
/* Ends the watch; `closed` runs once its handles are closed. Its calls end with those of the pipe. */
void engine_watch_end(struct engine *e, loop_fn *closed, void *ctx);
void engine_watch_deinit(struct engine *e);

#endif
