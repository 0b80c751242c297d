/*
 * The local API: every endpoint is one row of `routes`, and api_handle() is the order in which a request is looked at
 * (spec device-api.md 3.1): routes without a key, then the key, then the body, then the route; so an unknown path
 * without a key is 401. What the views write is kept per (route, scope) until the reconciler says that something
 * changed: asking a thousand times a second costs one copy each.
 */
#include "api/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "loop/loop.h"
#include "util/log.h"
#include "util/mem.h"

#define CACHED_BODIES_MAX 16
#define PATH_MAX_BYTES    64 /* no path of ours is longer */

struct route;
struct cached_body {
	const struct route *route; /* NULL: unused */
	bool all_apps;
	struct key_scope scope;
	uint64_t version, changes;
	uint64_t used; /* for the choice of what to drop */
	struct buf body;
};

struct api {
	struct api_options o;
	uint64_t changes; /* calls of api_state_changed() */
	uint64_t clock;   /* grows with each use of the cache */
	struct cached_body cache[CACHED_BODIES_MAX];
	struct events *events;
	struct locks_ask *locks_asks;
};

struct request {
	struct api *api;
	struct http_exchange *x;
	const struct route *route;
	struct key_scope scope;
	struct body body;
};

enum route_auth { AUTH_NONE, AUTH_KEY, AUTH_GLOBAL };
typedef void handler_fn(struct request *q);
struct route {
	const char *method, *path; /* lower case, no trailing slash */
	enum route_auth auth;
	handler_fn *handle; /* NULL: answers with `view` */
	view_fn *view;
	bool cached;   /* nothing in the view depends on the clock */
	bool raw_body; /* the handler reads the body itself, or ignores it */
};

/* ---- handlers ---- */

static void on_ping(struct request *q)
{
	answer_text(q->x, 200, "OK");
}

static void on_healthy(struct request *q)
{
	if (reconcile_healthy(q->api->o.reconcile))
		answer_status(q->x, 200);
	else
		answer_text(q->x, 500, "Unhealthy");
}

static void answer_update(struct http_exchange *x, uint64_t seq)
{
	char text[24];
	struct http_header headers[] = {{"X-Lockkeeper-Seq", text}, {NULL, NULL}};

	snprintf(text, sizeof(text), "%" PRIu64, seq);
	http_respond(x, 204, NULL, NULL, 0, headers);
}

struct forced_update {
	struct http_exchange *x;
	uint64_t seq;
};

/* The peer may be gone by now; then the exchange drops the answer. */
static void on_force_saved(void *ctx)
{
	AUTO_FREE struct forced_update *f = ctx;

	answer_update(f->x, f->seq);
}

/* A force begins at once, but is answered when it is durable: who was told "yes" need not ask again after a crash. */
static void on_update(struct request *q)
{
	struct api_options *o = &q->api->o;
	bool force = body_truthy(&q->body, "force"), cancel = body_truthy(&q->body, "cancel");
	uint64_t seq = o->update(o->ctx, force, cancel);
	struct forced_update *f;

	if (!force) {
		answer_update(q->x, seq);
		return;
	}
	f = mem_new(1, sizeof(*f));
	*f = (struct forced_update){.x = q->x, .seq = seq};
	reconcile_when_saved(o->reconcile, on_force_saved, f);
}

static void on_version(struct request *q)
{
	struct json_writer *w;
	struct buf body;

	buf_init(&body, 1024);
	w = json_writer_new(&body);
	json_open_object(w);
	json_kv_str(w, "status", "success");
	json_kv_str(w, "version", q->api->o.version);
	json_close_object(w);
	json_writer_free(w);
	answer_json(q->x, 200, &body);
	buf_deinit(&body);
}

static void on_locks(struct request *q)
{
	locks_answer(&q->api->locks_asks, &q->api->o, q->x, &q->scope);
}

static void on_events(struct request *q)
{
	events_follow(q->api->events, q->x, &q->scope);
}

static void write_view(const struct request *q, const struct plan *dry_plan, bool all_apps, struct buf *to)
{
	struct view v = {
		.reconcile = q->api->o.reconcile,
		.scope = q->scope,
		.all_apps = all_apps,
		.wall_ms = loop_wall_ms(),
		.loop_ms = loop_now_ms(q->api->o.loop),
		.dry_plan = dry_plan,
	};
	struct json_writer *w = json_writer_new(to);

	q->route->view(&v, w);
	json_writer_free(w);
}

static void answer_target_errors(struct http_exchange *x, int status, const struct target_errors *errors)
{
	const struct target_error *first = errors->n ? &errors->v[0] : NULL;
	AUTO_FREE char *message = NULL;
	struct json_writer *w;
	struct buf body;

	if (!first)
		message = mem_strdup("not a valid target document");
	else if (*first->path)
		message = mem_printf("%s: %s", first->path, first->message);
	else
		message = mem_strdup(first->message);
	buf_init(&body, API_ANSWER_MAX_BYTES);
	w = json_writer_new(&body);
	json_open_object(w);
	json_kv_str(w, "status", "failed");
	json_kv_str(w, "message", message);
	json_key(w, "errors");
	json_open_array(w);
	for (size_t i = 0; first && i < errors->n; i++) {
		json_open_object(w);
		json_kv_str(w, "path", errors->v[i].path);
		json_kv_str(w, "message", errors->v[i].message);
		json_close_object(w);
	}
	json_close_array(w);
	json_close_object(w);
	json_writer_free(w);
	answer_json(x, status, &body);
	buf_deinit(&body);
}

static void on_plan_for_document(struct request *q)
{
	struct target_options options = {.standalone = true};
	const struct device_facts *facts = reconcile_facts(q->api->o.reconcile);
	struct target_errors errors = {0};
	AUTO_FREE char *inflated = NULL;
	struct target *target = NULL;
	struct err err = {0};
	const char *text;
	struct plan plan;
	struct buf body;
	size_t len;
	int rc;

	rc = body_bytes(q->x, &text, &len, &inflated, &err);
	if (rc) {
		answer_failed(q->x, rc, err.msg);
		return;
	}
	options.device_uuid = facts ? facts->uuid : NULL;
	rc = target_parse(text, len, &options, &target, &errors);
	if (rc == 0) {
		reconcile_dry_run(q->api->o.reconcile, target, &plan);
		buf_init(&body, API_ANSWER_MAX_BYTES);
		write_view(q, &plan, false, &body);
		answer_json(q->x, 200, &body);
		buf_deinit(&body);
		plan_deinit(&plan);
		target_free(target);
	} else {
		answer_target_errors(q->x, rc == -E2BIG ? 413 : 400, &errors);
	}
	target_errors_deinit(&errors);
}

/* Where the target comes from was decided at the start; the reference's words. */
static void on_local_target(struct request *q)
{
	answer_failed(q->x, 400, "Target state can only set when device is in local mode");
}

/* ---- routes ---- */

static const struct route routes[] = {
	{"GET", "/ping", AUTH_NONE, on_ping, NULL, false, true},
	{"GET", "/v1/healthy", AUTH_NONE, on_healthy, NULL, false, true},
	{"POST", "/v1/update", AUTH_KEY, on_update, NULL, false, false},
	{"GET", "/v2/version", AUTH_KEY, on_version, NULL, false, false},
	{"GET", "/v2/applications/state", AUTH_KEY, NULL, view_applications, true, false},
	{"GET", "/v2/state/status", AUTH_KEY, NULL, view_status, true, false},
	{"GET", "/v2/locks", AUTH_KEY, on_locks, NULL, false, false},
	{"GET", "/v2/events", AUTH_KEY, on_events, NULL, false, true},
	{"GET", "/v2/plan", AUTH_KEY, NULL, view_plan, true, false},
	{"POST", "/v2/plan", AUTH_GLOBAL, on_plan_for_document, view_plan, false, true},
	{"POST", "/v2/local/target-state", AUTH_KEY, on_local_target, NULL, false, true},
};

/* Lower case, without one trailing slash; "" when longer than any path of ours. */
static void normalise_path(const char *path, char out[PATH_MAX_BYTES])
{
	size_t n = 0;

	for (; *path && n < PATH_MAX_BYTES - 1; path++)
		out[n++] = (char)tolower((unsigned char)*path);
	if (n > 1 && out[n - 1] == '/')
		n--;
	out[*path ? 0 : n] = '\0';
}

static const struct route *find_route(const char *method, const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(routes[i].path, path) && !strcmp(routes[i].method, method))
			return &routes[i];
	return NULL;
}

/* OPTIONS on a known path: its methods, as header and as text. False: the path is not known. */
static bool answer_options(struct http_exchange *x, const char *path)
{
	char allow[64] = "";
	struct http_header headers[] = {{"Allow", allow}, {"X-Content-Type-Options", "nosniff"}, {NULL, NULL}};

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		size_t n = strlen(allow);

		if (strcmp(routes[i].path, path))
			continue;
		snprintf(allow + n, sizeof(allow) - n, "%s%s", n ? "," : "",
			 strcmp(routes[i].method, "GET") ? routes[i].method : "GET,HEAD");
	}
	if (!*allow)
		return false;
	http_respond(x, 200, "text/html; charset=utf-8", allow, strlen(allow), headers);
	return true;
}

/* ---- kept bodies ---- */

static bool scope_eq(const struct key_scope *a, const struct key_scope *b)
{
	return a->global == b->global && (a->global || a->app_id == b->app_id);
}

/* The place for this body: the one it has, else the one used longest ago. */
static struct cached_body *cache_slot(struct api *a, const struct request *q, bool all_apps)
{
	struct cached_body *oldest = &a->cache[0];

	for (size_t i = 0; i < CACHED_BODIES_MAX; i++) {
		struct cached_body *c = &a->cache[i];

		if (c->route == q->route && c->all_apps == all_apps && scope_eq(&c->scope, &q->scope))
			return c;
		if (c->used < oldest->used)
			oldest = c;
	}
	oldest->route = NULL;
	return oldest;
}

static void answer_view(struct request *q)
{
	struct api *a = q->api;
	bool all_apps = view_wants_all_apps(http_exchange_query(q->x));
	uint64_t version = reconcile_version(a->o.reconcile);
	struct cached_body *c = cache_slot(a, q, all_apps);

	c->used = ++a->clock;
	if (!c->route || !q->route->cached || c->version != version || c->changes != a->changes) {
		buf_clear(&c->body);
		write_view(q, NULL, all_apps, &c->body);
		c->route = q->route;
		c->all_apps = all_apps;
		c->scope = q->scope;
		c->version = version;
		c->changes = a->changes;
	}
	answer_json(q->x, 200, &c->body);
}

/* ---- the order of a request ---- */

/* True when the caller may go on; else it was answered. */
static bool pass_guard(struct request *q)
{
	bool open = q->route && q->route->auth == AUTH_NONE && q->api->o.key_needed;

	if (open)
		return true;
	switch (guard_check(&q->api->o, q->x, &q->scope)) {
	case GUARD_FORBIDDEN:
		answer_failed(q->x, 403,
			      "no key, and a web page is not a client: Origin and foreign Host headers are refused");
		return false;
	case GUARD_UNAUTHORIZED:
		answer_status(q->x, 401);
		return false;
	case GUARD_PASSED:
		break;
	}
	if (q->route && q->route->auth == AUTH_GLOBAL && !q->scope.global) {
		answer_failed(q->x, 401, "Unauthorized");
		return false;
	}
	return true;
}

static void serve(struct request *q, const char *path)
{
	struct err err = {0};
	int status;

	if (!q->route || !q->route->raw_body) {
		status = body_read(q->x, &q->body, &err);
		if (status) {
			answer_failed(q->x, status, err.msg);
			return;
		}
	}
	if (q->route && q->route->handle)
		q->route->handle(q);
	else if (q->route)
		answer_view(q);
	else if (strcmp(http_exchange_method(q->x), "OPTIONS") || !answer_options(q->x, path))
		answer_failed(q->x, 404, "no such endpoint");
}

void api_handle(void *ctx, struct http_exchange *x)
{
	struct request q = {.api = ctx, .x = x};
	char path[PATH_MAX_BYTES];

	normalise_path(http_exchange_path(x), path);
	q.route = find_route(http_exchange_method(x), path);
	log_debug("api_request", kv_str("method", http_exchange_method(x)), kv_str("path", http_exchange_path(x)));
	if (pass_guard(&q))
		serve(&q, path);
	body_deinit(&q.body);
}

/* ---- life ---- */

struct api *api_new(const struct api_options *o)
{
	struct api *a = mem_new(1, sizeof(*a));

	a->o = *o;
	a->events = events_new(o->loop);
	for (size_t i = 0; i < CACHED_BODIES_MAX; i++)
		buf_init(&a->cache[i].body, API_ANSWER_MAX_BYTES);
	return a;
}

void api_state_changed(struct api *a)
{
	a->changes++;
}

void api_event(void *api, const struct reconcile_event *e)
{
	events_add(((struct api *)api)->events, e);
}

void api_free(struct api *a)
{
	if (!a)
		return;
	locks_abandon(&a->locks_asks);
	events_free(a->events);
	for (size_t i = 0; i < CACHED_BODIES_MAX; i++)
		buf_deinit(&a->cache[i].body);
	free(a);
}
