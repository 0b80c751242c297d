/*
 * The event stream as a small machine: negotiate, open the stream, be up; whatever fails leads to a pause and back to
 * the start. Events are hints: one that cannot be read is dropped, as the owner lists everything after each `up`.
 */
#include "engine/call.h"

#include <errno.h>

#include "engine/event.h"
#include "engine/splitter.h"
#include "util/backoff.h"
#include "util/log.h"
#include "util/mem.h"

#define WATCH_BACKOFF_MS     100
#define WATCH_BACKOFF_MAX_MS 5000

enum watch_state {
	WATCH_NONE, /* a hole of the table */
	WATCH_OFF,
	WATCH_NEGOTIATING,
	WATCH_OPENING,
	WATCH_UP,
	WATCH_PAUSED,
	WATCH_ENDED,
	WATCH_STATE_COUNT
};
enum watch_event { EV_START, EV_VERSION, EV_HEAD, EV_FAILED, EV_TIMER, EV_END, EV_COUNT };

static const char *const state_names[WATCH_STATE_COUNT] = {
	[WATCH_NONE] = "none",       [WATCH_OFF] = "off", [WATCH_NEGOTIATING] = "negotiating",
	[WATCH_OPENING] = "opening", [WATCH_UP] = "up",   [WATCH_PAUSED] = "paused",
	[WATCH_ENDED] = "ended",
};

static const unsigned char next_state[WATCH_STATE_COUNT][EV_COUNT] = {
	[WATCH_OFF] = {[EV_START] = WATCH_NEGOTIATING, [EV_END] = WATCH_ENDED},
	[WATCH_NEGOTIATING] = {[EV_VERSION] = WATCH_OPENING, [EV_FAILED] = WATCH_PAUSED, [EV_END] = WATCH_ENDED},
	[WATCH_OPENING] = {[EV_HEAD] = WATCH_UP, [EV_FAILED] = WATCH_PAUSED, [EV_END] = WATCH_ENDED},
	[WATCH_UP] = {[EV_FAILED] = WATCH_PAUSED, [EV_END] = WATCH_ENDED},
	[WATCH_PAUSED] = {[EV_TIMER] = WATCH_NEGOTIATING, [EV_END] = WATCH_ENDED},
};

static void enter_negotiating(struct engine *e);
static void enter_opening(struct engine *e);
static void enter_up(struct engine *e);
static void enter_paused(struct engine *e);

static void (*const enter[WATCH_STATE_COUNT])(struct engine *e) = {
	[WATCH_NEGOTIATING] = enter_negotiating,
	[WATCH_OPENING] = enter_opening,
	[WATCH_UP] = enter_up,
	[WATCH_PAUSED] = enter_paused,
};

static void watch_move(struct engine *e, enum watch_event ev)
{
	struct engine_watcher *w = &e->watch;
	enum watch_state to = next_state[w->state][ev];

	if (to == WATCH_NONE) {
		log_debug("engine_watch_event_ignored", kv_str("state", state_names[w->state]), kv_i64("on", ev));
		return;
	}
	log_debug("engine_watch_moved", kv_str("from", state_names[w->state]), kv_str("to", state_names[to]));
	loop_timer_stop(&w->timer); /* no timer outlives the state that armed it */
	w->state = to;
	if (enter[to])
		enter[to](e);
}

static void on_version(void *ctx, const struct err *err, const struct engine_version *v)
{
	struct engine *e = ctx;

	(void)v;
	if (err)
		e->watch.why = *err;
	watch_move(e, err ? EV_FAILED : EV_VERSION);
}

static void enter_negotiating(struct engine *e)
{
	engine_negotiate(e, on_version, e);
}

static void on_head(void *ctx, const struct http_response *head)
{
	if (head->status == 200)
		watch_move(ctx, EV_HEAD);
}

static int on_message(void *ctx, const char *text, size_t len)
{
	struct engine *e = ctx;
	struct json *message = NULL;
	struct engine_event event;
	struct err err = {0};

	if (!text)
		err_set(&err, -EMSGSIZE, "larger than %u bytes", SPLITTER_MAX_BYTES);
	else if (json_parse(text, len, SPLITTER_MAX_BYTES, &message, &err) == 0 &&
		 engine_event_parse(message, &event) && e->watch.owner.event)
		e->watch.owner.event(e->watch.owner.ctx, &event);
	if (err.code)
		log_debug("engine_event_unreadable", kv_str("err", err.msg));
	json_free(message);
	return e->watch.state == WATCH_UP ? 0 : -ECANCELED; /* the owner may have stopped us */
}

static int on_data(void *ctx, const char *data, size_t len)
{
	struct engine *e = ctx;

	return splitter_feed(&e->watch.splitter, data, len, on_message, e);
}

static void on_stream_end(void *ctx, const struct err *http_err, const struct http_response *r)
{
	struct engine *e = ctx;
	struct engine_watcher *w = &e->watch;

	if (http_err)
		engine_error_from_http(http_err, &w->why);
	else if (r->status != 200)
		engine_error_from_answer(r, &w->why);
	else
		err_set(&w->why, -EHOSTDOWN, "the engine is away: it ended the event stream");
	watch_move(e, EV_FAILED);
}

static void enter_opening(struct engine *e)
{
	static const char *const filters[] = {"{\"type\":[\"container\",\"image\",\"network\",\"volume\"]}"};
	struct http_request request;
	struct buf target;

	splitter_deinit(&e->watch.splitter);
	splitter_init(&e->watch.splitter, SPLITTER_MAX_BYTES);
	buf_init(&target, 1024);
	engine_request_init(e, CALL_EVENTS, filters, &target, &request);
	request.on_head = on_head;
	request.on_data = on_data;
	request.stream_ctx = e;
	http_pipe_call(e->pipe, &request, on_stream_end, e);
	buf_deinit(&target);
}

static void enter_up(struct engine *e)
{
	struct engine_watcher *w = &e->watch;

	w->is_away = false;
	w->up_since_ms = loop_now_ms(e->loop);
	if (w->owner.up)
		w->owner.up(w->owner.ctx, &e->version);
}

static void enter_paused(struct engine *e)
{
	struct engine_watcher *w = &e->watch;
	bool was_away = w->is_away;

	/* An engine that was up for long starts anew; one that flaps gets the growing pauses too. */
	if (w->up_since_ms && loop_now_ms(e->loop) - w->up_since_ms >= WATCH_BACKOFF_MAX_MS)
		w->failures = 0;
	w->up_since_ms = 0;
	w->is_away = true;
	loop_timer_start(&w->timer, backoff_ms(WATCH_BACKOFF_MS, w->failures++, WATCH_BACKOFF_MAX_MS));
	http_pipe_drop_idle(e->pipe);
	if (!was_away && w->owner.lost)
		w->owner.lost(w->owner.ctx, &w->why);
}

static void on_timer(void *ctx)
{
	watch_move(ctx, EV_TIMER);
}

void engine_watch_init(struct engine *e)
{
	e->watch.state = WATCH_OFF;
	splitter_init(&e->watch.splitter, SPLITTER_MAX_BYTES);
	loop_timer_init(e->loop, &e->watch.timer, on_timer, e);
}

void engine_watch_end(struct engine *e, loop_fn *closed, void *ctx)
{
	watch_move(e, EV_END);
	loop_timer_deinit(&e->watch.timer, closed, ctx);
}

void engine_watch_deinit(struct engine *e)
{
	splitter_deinit(&e->watch.splitter);
}

void engine_watch_start(struct engine *e, const struct engine_watch *w)
{
	e->watch.owner = *w;
	watch_move(e, EV_START);
}

bool engine_is_up(const struct engine *e)
{
	return e->watch.state == WATCH_UP;
}
