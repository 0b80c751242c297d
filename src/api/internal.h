/*
 * The inside of the local API, shared by its files only:
 *   api.c        routes as table rows, the order in which a request is looked at
 *   guard.c      who may ask: keys, and web pages that may not
 *   body.c       the body of a request as named values
 *   answer.c     the few shapes of an answer
 *   state_view.c, plan_view.c, locks_view.c   what the reconciler knows, as JSON
 *   events.c     what happens, to those who follow it live; event_view.c: one of it as JSON
 */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include "api/api.h"
#include "util/buf.h"
#include "util/json.h"

#define API_BODY_MAX_BYTES   (10u << 20) /* of a request, after inflating */
#define API_ANSWER_MAX_BYTES (16u << 20)

/* ---- answers (spec device-api.md 2 and 5.1) ---- */
void answer_text(struct http_exchange *x, int status, const char *text); /* a "plain string": typed text/html */
void answer_status(struct http_exchange *x, int status);                 /* the bare reason phrase, text/plain */
void answer_json(struct http_exchange *x, int status, const struct buf *body);
/* Shape F: {"status":"failed","message":…}. */
void answer_failed(struct http_exchange *x, int status, const char *message);

/* ---- who may ask ---- */
enum guard_verdict { GUARD_PASSED, GUARD_UNAUTHORIZED, GUARD_FORBIDDEN };
enum guard_verdict guard_check(const struct api_options *o, const struct http_exchange *x, struct key_scope *scope);
/* Is this Host header an IP address or localhost, with or without a port? */
bool guard_host_is_local(const char *host);

/* ---- bodies (spec 4.1) ---- */
struct body {
	struct json *json; /* an object or array, or NULL */
	char *form;        /* application/x-www-form-urlencoded, or NULL */
};
/*
 * The body of a request. 0, or the status to answer with (400, 413, 415) and its sentence in `err`. What the content
 * type does not make a form or JSON counts as no body.
 */
int body_read(const struct http_exchange *x, struct body *out, struct err *err);
/* The bytes as the client meant them: `*text` is borrowed from the exchange, or from `*inflated` (caller frees). */
int body_bytes(const struct http_exchange *x, const char **text, size_t *len, char **inflated, struct err *err);
/* What both are made of, on plain values: headers (NULL: absent) and bytes. */
int body_parse(const char *type, const char *coding, const char *text, size_t len, struct body *out, struct err *err);
int body_decode(const char *coding, const char **text, size_t *len, char **inflated, struct err *err);
bool body_truthy(const struct body *b, const char *name); /* spec 4.2 */
void body_deinit(struct body *b);

/* ---- views: JSON of what the reconciler knows, as one caller may see it ---- */
struct view {
	const struct reconcile *reconcile;
	struct key_scope scope;
	bool all_apps;               /* state/status?apps=all: not only the lowest app */
	int64_t wall_ms, loop_ms;    /* now */
	const struct plan *dry_plan; /* POST /v2/plan: instead of the reconciler's */
};
typedef void view_fn(const struct view *v, struct json_writer *w);
view_fn view_applications, view_status, view_locks, view_plan;

/* A wait of no app that concerns everybody, because the whole device waits. */
bool view_wait_is_everybodys(enum plan_wait_kind kind);
/* Does the query say apps=all? (Ours: the command line shows every app; the reference's answer shows one.) */
bool view_wants_all_apps(const char *query);
/* Uuid of an app from the target, else from its containers; NULL: not known. */
const char *view_app_uuid(const struct view *v, int64_t app_id);
/* The members targetProblem and engineProblem, when there is something to say. */
void view_add_problems(const struct view *v, struct json_writer *w);
void view_kv_time(struct json_writer *w, const char *key, int64_t unix_ms); /* 0 writes null */

/* ---- GET /v2/locks: answered when it is known who holds them ---- */
struct locks_ask;
/* `asks`: those under way, for locks_abandon(). `o` must live until then. */
void locks_answer(struct locks_ask **asks, const struct api_options *o, struct http_exchange *x,
		  const struct key_scope *scope);
void locks_abandon(struct locks_ask **asks); /* answers them now: the API ends */

/* ---- events ---- */
#define EVENTS_KEPT_MAX       1024 /* for replay, and for readers that are behind: whichever ends first */
#define EVENTS_KEPT_MAX_BYTES (512u << 10)
#define EVENTS_FOLLOWERS_MAX  100
#define EVENT_MAX_BYTES       (16u << 10) /* of one; a larger one is told without its details */

/* One event as its JSON object, never more than EVENT_MAX_BYTES. */
void event_view(const struct reconcile_event *e, int64_t wall_ms, struct buf *to);
const char *event_type_name(enum reconcile_event_type type);

struct events;
struct events *events_new(struct loop *l);
void events_free(struct events *e);
void events_add(struct events *e, const struct reconcile_event *ev);
/* GET /v2/events: answers the exchange, now or for as long as it lasts. */
void events_follow(struct events *e, struct http_exchange *x, const struct key_scope *scope);

#endif
