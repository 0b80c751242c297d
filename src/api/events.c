/*
 * GET /v2/events: what happens, as Server-Sent Events. The last events are kept as text in a ring, and a follower is a
 * place in it: each turn of the loop a follower whose socket takes more gets what lies between its place and the
 * newest, in one write. So a replay is a place further back, a slow reader costs one piece of unsent text at most, and
 * one that falls out of the ring is cut. Events are only counted until the first follower comes: a device that nobody
 * looks at pays nothing for them.
 */
#include "api/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "util/mem.h"
#include "util/str.h"

#define PIECE_BYTES (32u << 10) /* given to a socket at once, and at least one event */
#define EVERYBODYS  (-1)

struct kept { /* one event as it goes over the wire */
	char *text;
	size_t len;
	int64_t app_id; /* 0: of no app, for global keys only; EVERYBODYS */
};

struct follower {
	LIST_ENTRY(follower) link;
	struct events *events;
	struct http_exchange *x;
	struct key_scope scope;
	uint64_t next; /* the event it gets next */
};

struct events {
	char nonce[17];       /* of this start: ids of another one mean nothing here */
	struct kept *ring;    /* event n is at n % EVENTS_KEPT_MAX; NULL until there was a follower */
	uint64_t first, last; /* numbers of the oldest one kept and of the newest; first is last + 1 when none is */
	size_t bytes;         /* of text in the ring */
	LIST_HEAD(, follower) followers;
	size_t n_followers;
	struct loop_deferred flush;
	struct buf view, text; /* the event being written, the piece being sent */
	/* What `text` holds, so that a piece is put together once for all who are at the same place. */
	struct key_scope text_scope;
	uint64_t text_from, text_to; /* text_from 0: nothing */
};

/* ---- the ring ---- */

static struct kept *slot(struct events *e, uint64_t n)
{
	return &e->ring[n % EVENTS_KEPT_MAX];
}

static void drop_oldest(struct events *e)
{
	struct kept *k = slot(e, e->first++);

	e->bytes -= k->len;
	free(k->text);
	*k = (struct kept){0};
}

static void on_flush(void *ctx);

/* More in one turn than the ring holds (five hundred apps take their locks): who can read gets it before it goes. */
static void flush_now(struct events *e)
{
	if (!e->flush.queued)
		return;
	loop_deferred_cancel(&e->flush);
	on_flush(e);
}

static void keep(struct events *e, char *text, size_t len, int64_t app_id)
{
	while (e->first <= e->last &&
	       (e->last + 1 - e->first == EVENTS_KEPT_MAX || e->bytes + len > EVENTS_KEPT_MAX_BYTES)) {
		flush_now(e);
		drop_oldest(e);
	}
	*slot(e, ++e->last) = (struct kept){.text = text, .len = len, .app_id = app_id};
	e->bytes += len;
}

/* Whose event is it? The words of a target's error may quote any app. */
static int64_t owner_of(const struct reconcile_event *ev)
{
	if (ev->app_id)
		return ev->app_id;
	if (ev->type == RECONCILE_EVENT_WAIT && view_wait_is_everybodys(ev->wait_kind))
		return EVERYBODYS;
	return ev->type == RECONCILE_EVENT_TARGET && !ev->err ? EVERYBODYS : 0;
}

void events_add(struct events *e, const struct reconcile_event *ev)
{
	char *text;

	if (!e->ring) {
		e->first = ++e->last + 1;
		return;
	}
	event_view(ev, loop_wall_ms(), &e->view);
	text = mem_printf("id: %s-%" PRIu64 "\nevent: %s\ndata: %s\n\n", e->nonce, e->last + 1,
			  event_type_name(ev->type), buf_str(&e->view));
	keep(e, text, strlen(text), owner_of(ev));
	if (e->n_followers)
		loop_deferred_schedule(&e->flush);
}

/* ---- followers ---- */

static void follower_free(struct follower *f)
{
	LIST_REMOVE(f, link);
	f->events->n_followers--;
	free(f);
}

static void cut(struct follower *f)
{
	http_stream_abort(f->x);
	follower_free(f);
}

static bool sees(const struct key_scope *scope, int64_t app_id)
{
	return scope->global || app_id == EVERYBODYS || (app_id && key_scope_covers(scope, app_id));
}

/* Puts what `f` sees from its place on into `text`; returns the place behind it. */
static uint64_t gather(struct events *e, const struct follower *f)
{
	const struct key_scope *s = &f->scope, *of = &e->text_scope;
	uint64_t n = f->next;

	if (e->text_from == n && s->global == of->global && (s->global || s->app_id == of->app_id))
		return e->text_to;
	buf_clear(&e->text);
	for (; n <= e->last; n++) {
		const struct kept *k = slot(e, n);

		if (!sees(s, k->app_id))
			continue;
		if (e->text.len > 0 && e->text.len + k->len > PIECE_BYTES)
			break;
		buf_add(&e->text, k->text, k->len);
	}
	e->text_scope = *s;
	e->text_from = f->next;
	e->text_to = n;
	return n;
}

/* What the socket does not take stays in the ring, and on_drain comes back here. */
static void send_pieces(struct follower *f)
{
	struct events *e = f->events;

	if (f->next < e->first) { /* it lost what it has not read: it may come back and is told so */
		cut(f);
		return;
	}
	while (f->next <= e->last && http_stream_queued(f->x) == 0) {
		uint64_t next = gather(e, f);

		if (e->text.len > 0 && http_stream_write(f->x, e->text.data, e->text.len) < 0)
			return; /* gone: on_close follows */
		f->next = next;
	}
}

static void on_drain(void *ctx)
{
	struct follower *f = ctx;

	f->events->text_from = 0;
	send_pieces(f);
}

static void on_flush(void *ctx)
{
	struct events *e = ctx;
	struct follower *next;

	e->text_from = 0;
	for (struct follower *f = LIST_FIRST(&e->followers); f; f = next) {
		next = LIST_NEXT(f, link);
		send_pieces(f);
	}
}

static void on_gone(void *ctx)
{
	follower_free(ctx);
}

/* ---- a new one ---- */

/* The number in "<nonce>-<n>"; false: not of this start, or of an event that never was. */
static bool parse_id(const struct events *e, const char *id, uint64_t *n)
{
	size_t len = strlen(e->nonce);
	int64_t value;

	if (strncmp(id, e->nonce, len) || id[len] != '-' || id[len + 1] < '0' || id[len + 1] > '9' ||
	    !str_to_i64(id + len + 1, 0, INT64_MAX, &value) || (uint64_t)value > e->last)
		return false;
	*n = (uint64_t)value;
	return true;
}

/*
 * Begin behind the event that the client saw last; what it cannot be given again is told first, with the id of the
 * newest event, from which it goes on.
 */
static void resume(struct follower *f, const char *last_id)
{
	struct events *e = f->events;
	char time[STR_TIME_SIZE];
	uint64_t seen;

	if (parse_id(e, last_id, &seen) && seen + 1 >= e->first) {
		f->next = seen + 1;
		return;
	}
	buf_clear(&e->text);
	e->text_from = 0;
	buf_printf(&e->text,
		   "id: %s-%" PRIu64 "\nevent: reset\ndata: {\"what\":\"reset\",\"time\":\"%s\",\"reason\":\"what came "
		   "after the last event id is not kept\"}\n\n",
		   e->nonce, e->last, str_time(loop_wall_ms(), time));
	http_stream_write(f->x, e->text.data, e->text.len);
}

void events_follow(struct events *e, struct http_exchange *x, const struct key_scope *scope)
{
	static const struct http_header headers[] = {
		{"Cache-Control", "no-cache"}, {"X-Content-Type-Options", "nosniff"}, {NULL, NULL}};
	AUTO_FREE char *last_id = mem_strdup(http_exchange_header(x, "Last-Event-ID"));
	struct follower *f;

	if (e->n_followers == EVENTS_FOLLOWERS_MAX) {
		answer_failed(x, 503, "too many clients follow the events already (at most 100)");
		return;
	}
	if (!e->ring)
		e->ring = mem_new(EVENTS_KEPT_MAX, sizeof(*e->ring));
	f = mem_new(1, sizeof(*f));
	*f = (struct follower){.events = e, .x = x, .scope = *scope, .next = e->last + 1};
	LIST_INSERT_HEAD(&e->followers, f, link);
	e->n_followers++;
	http_exchange_on_close(x, on_gone, f);
	http_stream_on_drain(x, on_drain, f);
	http_stream_begin(x, 200, "text/event-stream", headers);
	http_stream_write(x, ": ok\n\n", 6); /* it stands: what happens from here on is told */
	if (last_id && *last_id)
		resume(f, last_id);
	e->text_from = 0;
	send_pieces(f);
}

/* ---- life ---- */

struct events *events_new(struct loop *l)
{
	struct events *e = mem_new(1, sizeof(*e));

	str_random_hex(e->nonce, 8);
	e->first = 1;
	LIST_INIT(&e->followers);
	loop_deferred_init(l, &e->flush, on_flush, e);
	buf_init(&e->view, EVENT_MAX_BYTES);
	buf_init(&e->text, PIECE_BYTES + EVENT_MAX_BYTES + 1024);
	return e;
}

void events_free(struct events *e)
{
	struct follower *next;

	if (!e)
		return;
	for (struct follower *f = LIST_FIRST(&e->followers); f; f = next) {
		next = LIST_NEXT(f, link);
		cut(f);
	}
	loop_deferred_cancel(&e->flush);
	while (e->ring && e->first <= e->last)
		drop_oldest(e);
	free(e->ring);
	buf_deinit(&e->view);
	buf_deinit(&e->text);
	free(e);
}
