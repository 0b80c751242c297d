/*
 * What the tests of the reconciler share: a world of a real loop, lock set, store and keys, and an engine of our own
 * behind a real socket. The engine remembers containers, images and networks as a real one does, writes down what it
 * was asked, and does what a test's rules say instead: refuse, hold back, cut the connection.
 */
#ifndef UNIT_RECONCILE_FIXTURE_H
#define UNIT_RECONCILE_FIXTURE_H

#include "check.h"

#include <fnmatch.h>

#include "host/facts.h"
#include "net/http_server.h"
#include "reconcile/reconcile.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

#define WORLD_LOCK_ROOT "/tmp/locks"
#define WORLD_MAX       64

struct fake_container {
	char id[65];
	char *name, *body; /* body: of its create */
	const char *state; /* created, running, exited */
	unsigned number;
};
struct fake_image {
	char id[80];
	char *ref;
};
enum rule_kind { RULE_ANSWER, RULE_HOLD, RULE_CUT };
struct rule { /* the newest that fits decides */
	const char *pattern;
	enum rule_kind kind;
	int status, times; /* times < 0: for ever */
};
struct world;
struct held { /* a request held back */
	struct world *w;
	struct http_exchange *x;
	char *line;
	bool gone; /* our side hung up */
};
struct world {
	struct check_fixture *f;
	struct loop *loop;
	/* the engine's side */
	struct http_server *server;
	char socket[160];
	struct fake_container containers[WORLD_MAX];
	struct fake_image images[WORLD_MAX];
	char *networks[WORLD_MAX];
	size_t n_containers, n_images, n_networks, n_rules, n_held;
	unsigned made;
	struct rule rules[WORLD_MAX];
	struct held *held[WORLD_MAX];
	struct http_exchange *events; /* the open stream */
	struct strv asked;            /* "METHOD path?query", without the version */
	bool quiet;                   /* tells no events by itself */
	bool silent_creates;          /* carries them out, and holds the answers back */
	bool drops_tty;               /* a setting that this engine does not keep */
	char past[1024];              /* what happened before: the answer to events?since */
	void (*on_asked)(struct world *w, const char *line);
	reconcile_event_fn *on_event; /* ctx is the world; NULL: nobody listens */
	/* our side */
	struct engine *engine;
	struct lock_set *locks;
	struct store *store;
	struct keys *keys;
	struct device_facts facts;
	struct reconcile *r;
	int64_t backoff_cap_ms;
	int log_fd, n_changed, n_stopped;
	unsigned parts_left;
	bool server_stopped;
};

/* -------- what the engine knows -------- */

static inline struct fake_container *fake_find(struct world *w, const char *id, size_t len)
{
	for (size_t i = 0; i < w->n_containers; i++)
		if (strlen(w->containers[i].id) == len && strncmp(w->containers[i].id, id, len) == 0)
			return &w->containers[i];
	return NULL;
}

/* The container of a service ("main"): the name begins with it. */
static inline struct fake_container *fake_of(struct world *w, const char *service)
{
	for (size_t i = 0; i < w->n_containers; i++)
		if (str_starts(w->containers[i].name, service))
			return &w->containers[i];
	return NULL;
}

static inline struct fake_image *fake_image_find(struct world *w, const char *ref)
{
	for (size_t i = 0; i < w->n_images; i++)
		if (strcmp(w->images[i].ref, ref) == 0 || strcmp(w->images[i].id, ref) == 0)
			return &w->images[i];
	return NULL;
}

static inline void fake_add_image(struct world *w, const char *ref)
{
	struct fake_image *i = &w->images[w->n_images++];

	assert_true(w->n_images < WORLD_MAX);
	snprintf(i->id, sizeof(i->id), "sha256:%064x", ++w->made);
	i->ref = mem_strdup(ref);
}

static inline void fake_say(struct world *w, const char *type, const char *action, const char *id)
{
	const struct fake_container *c = fake_find(w, id, strlen(id));
	AUTO_FREE char *text = mem_printf("{\"Type\":\"%s\",\"Action\":\"%s\",\"Actor\":{\"ID\":\"%s\","
					  "\"Attributes\":{\"name\":\"%s\"}},\"time\":1}\n",
					  type, action, id, c ? c->name : "");

	if (w->events)
		assert_int_equal(http_stream_write(w->events, text, strlen(text)), 0);
}

static inline void fake_tell(struct world *w, const char *type, const char *action, const char *id)
{
	if (!w->quiet)
		fake_say(w, type, action, id);
}

static inline void fake_die(struct world *w, struct fake_container *c)
{
	c->state = "exited";
	fake_tell(w, "container", "die", c->id);
}

static inline void fake_forget(struct world *w, struct fake_container *c)
{
	AUTO_FREE char *id = mem_strdup(c->id);

	free(c->name);
	free(c->body);
	*c = w->containers[--w->n_containers];
	fake_tell(w, "container", "destroy", id);
}

/* -------- answers -------- */

static inline void fake_answer(struct http_exchange *x, int status, const char *body)
{
	http_respond(x, status, body ? "application/json" : NULL, body, body ? strlen(body) : 0, NULL);
}

static inline void fake_write_config(struct world *w, const struct fake_container *c, const struct json *body,
				     struct json_writer *j)
{
	json_key(j, "Config");
	json_open_object(j);
	for (size_t i = 0; i < json_size(body); i++) {
		const char *key = json_key_at(body, i);
		AUTO_FREE char *short_id = mem_strndup(c->id, 12);

		if (strcmp(key, "HostConfig") == 0 || strcmp(key, "NetworkingConfig") == 0)
			continue;
		if (strcmp(key, "Hostname") == 0)
			json_kv_str(j, key, short_id);
		else if (strcmp(key, "Tty") == 0 && w->drops_tty)
			json_kv_bool(j, key, false);
		else {
			json_key(j, key);
			json_add_value(j, json_at(body, i));
		}
	}
	json_close_object(j);
	json_key(j, "HostConfig");
	json_add_value(j, json_get(body, "HostConfig"));
}

static inline void fake_inspect(struct world *w, struct http_exchange *x, const struct fake_container *c)
{
	AUTO_FREE char *name = mem_printf("/%s", c->name), *made = NULL;
	bool running = strcmp(c->state, "running") == 0;
	struct json *body = NULL;
	const struct fake_image *image;
	struct err err = {0};
	struct json_writer *j;
	struct buf text;

	assert_int_equal(json_parse(c->body, strlen(c->body), 1 << 20, &body, &err), 0);
	image = fake_image_find(w, json_str_or(json_get(body, "Image"), ""));
	made = mem_printf("2026-01-01T00:00:%02uZ", c->number % 60);
	buf_init(&text, 1 << 20);
	j = json_writer_new(&text);
	json_open_object(j);
	json_kv_str(j, "Id", c->id);
	json_kv_str(j, "Name", name);
	json_kv_str(j, "Created", made);
	json_kv_str(j, "Image", image ? image->id : "sha256:gone");
	json_key(j, "State");
	json_open_object(j);
	json_kv_str(j, "Status", c->state);
	json_kv_bool(j, "Running", running);
	json_close_object(j);
	fake_write_config(w, c, body, j);
	json_close_object(j);
	json_writer_free(j);
	fake_answer(x, 200, buf_str(&text));
	buf_deinit(&text);
	json_free(body);
}

static inline void fake_list_containers(struct world *w, struct http_exchange *x)
{
	bool old = strstr(http_exchange_query(x), "resin") != NULL;
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_adds(&text, "[");
	for (size_t i = 0; i < w->n_containers && !old; i++)
		buf_printf(&text, "%s{\"Id\":\"%s\"}", i ? "," : "", w->containers[i].id);
	buf_adds(&text, "]");
	fake_answer(x, 200, buf_str(&text));
	buf_deinit(&text);
}

static inline void fake_list_images(struct world *w, struct http_exchange *x)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_adds(&text, "[");
	for (size_t i = 0; i < w->n_images; i++)
		buf_printf(&text, "%s{\"Id\":\"%s\",\"RepoTags\":[\"%s\"]}", i ? "," : "", w->images[i].id,
			   w->images[i].ref);
	buf_adds(&text, "]");
	fake_answer(x, 200, buf_str(&text));
	buf_deinit(&text);
}

static inline void fake_list_networks(struct world *w, struct http_exchange *x)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_adds(&text, "[");
	for (size_t i = 0; i < w->n_networks; i++)
		buf_printf(&text, "%s%s", i ? "," : "", w->networks[i]);
	buf_adds(&text, "]");
	fake_answer(x, 200, buf_str(&text));
	buf_deinit(&text);
}

static inline char *fake_decode(const char *s, size_t len)
{
	char *out = mem_new(len + 1, 1);
	size_t n = 0;
	unsigned byte;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == '%' && sscanf(s + i + 1, "%2x", &byte) == 1) {
			out[n++] = (char)byte;
			i += 2;
		} else {
			out[n++] = s[i];
		}
	}
	return out;
}

static inline void held_on_close(void *ctx)
{
	((struct held *)ctx)->gone = true;
}

static inline void held_add(struct world *w, struct http_exchange *x, const char *line)
{
	struct held *h = mem_new(1, sizeof(*h));

	assert_true(w->n_held < WORLD_MAX);
	*h = (struct held){.w = w, .x = x, .line = mem_strdup(line)};
	w->held[w->n_held++] = h;
	http_exchange_on_close(x, held_on_close, h);
}

static inline void fake_create(struct world *w, struct http_exchange *x)
{
	struct fake_container *c = &w->containers[w->n_containers];
	const char *name = strstr(http_exchange_query(x), "name=") + 5, *body;
	AUTO_FREE char *answer = NULL;
	size_t len;

	for (size_t i = 0; i < w->n_containers; i++)
		if (strcmp(w->containers[i].name, name) == 0) {
			fake_answer(x, 409, "{\"message\":\"The container name is already in use by another\"}");
			return;
		}
	assert_true(w->n_containers + 1 < WORLD_MAX);
	w->n_containers++;
	c->number = ++w->made;
	snprintf(c->id, sizeof(c->id), "%08x%056x", c->number, 0);
	c->name = mem_strdup(name);
	body = http_exchange_body(x, &len);
	c->body = mem_strndup(body, len);
	c->state = "created";
	answer = mem_printf("{\"Id\":\"%s\"}", c->id);
	fake_tell(w, "container", "create", c->id);
	if (w->silent_creates)
		held_add(w, x, "created");
	else
		fake_answer(x, 201, answer);
}

static inline void fake_change(struct world *w, struct http_exchange *x, struct fake_container *c, const char *verb)
{
	if (strcmp(verb, "json") == 0) {
		fake_inspect(w, x, c);
		return;
	}
	if (strcmp(verb, "start") == 0) {
		c->state = "running";
		fake_tell(w, "container", "start", c->id);
	} else if (strcmp(verb, "stop") == 0) {
		fake_die(w, c);
		fake_tell(w, "container", "stop", c->id);
	} else if (strcmp(verb, "rename") == 0) {
		free(c->name);
		c->name = mem_strdup(strstr(http_exchange_query(x), "name=") + 5);
		fake_tell(w, "container", "rename", c->id);
	} else if (strcmp(c->state, "running") == 0 && !strstr(http_exchange_query(x), "force=1")) {
		fake_answer(x, 409, "{\"message\":\"it runs\"}");
		return;
	} else {
		fake_forget(w, c);
	}
	fake_answer(x, 204, NULL);
}

static inline void fake_container_call(struct world *w, struct http_exchange *x, const char *rest)
{
	size_t len = strcspn(rest, "/");
	struct fake_container *c = fake_find(w, rest, len);

	if (strcmp(rest, "json") == 0)
		fake_list_containers(w, x);
	else if (strcmp(rest, "create") == 0)
		fake_create(w, x);
	else if (!c)
		fake_answer(x, 404, "{\"message\":\"No such container\"}");
	else
		fake_change(w, x, c, rest[len] ? rest + len + 1 : "");
}

static inline void fake_pull(struct world *w, struct http_exchange *x)
{
	const char *from = strstr(http_exchange_query(x), "fromImage=") + 10, *tag = strstr(from, "&tag=");
	AUTO_FREE char *repo = fake_decode(from, (size_t)(tag - from)), *ref = mem_printf("%s:%s", repo, tag + 5);

	if (!fake_image_find(w, ref))
		fake_add_image(w, ref);
	fake_tell(w, "image", "pull", ref);
	fake_answer(x, 200, "{\"status\":\"Status: Downloaded newer image\"}");
}

static inline void fake_image_call(struct world *w, struct http_exchange *x, const char *rest)
{
	AUTO_FREE char *ref = NULL, *text = NULL;
	struct fake_image *i;

	if (strcmp(rest, "json") == 0) {
		fake_list_images(w, x);
		return;
	}
	if (strcmp(rest, "create") == 0) {
		fake_pull(w, x);
		return;
	}
	ref = fake_decode(rest, strcspn(rest, "/"));
	i = fake_image_find(w, ref);
	if (!i) {
		fake_answer(x, 404, "{\"message\":\"No such image\"}");
		return;
	}
	if (strcmp(http_exchange_method(x), "GET") == 0) {
		text = mem_printf("{\"Id\":\"%s\",\"RepoTags\":[\"%s\"],\"Config\":{\"Cmd\":[\"/app\"]}}", i->id,
				  i->ref);
		fake_answer(x, 200, text);
		return;
	}
	free(i->ref);
	*i = w->images[--w->n_images];
	fake_tell(w, "image", "delete", ref);
	fake_answer(x, 200, "[]");
}

static inline void fake_network_call(struct world *w, struct http_exchange *x, const char *rest)
{
	const char *body;
	size_t len;

	if (strcmp(http_exchange_method(x), "GET") == 0) {
		fake_list_networks(w, x);
	} else if (strcmp(rest, "/create") == 0) {
		body = http_exchange_body(x, &len);
		assert_true(w->n_networks < WORLD_MAX);
		w->networks[w->n_networks++] = mem_printf("{\"Id\":\"net%u\",%.*s", ++w->made, (int)len - 1, body + 1);
		fake_answer(x, 201, "{}");
	} else { /* removal: by its name */
		AUTO_FREE char *name = mem_printf("\"Name\":\"%s\"", rest + 1);

		for (size_t i = 0; i < w->n_networks; i++)
			if (strstr(w->networks[i], name)) {
				free(w->networks[i]);
				w->networks[i] = w->networks[--w->n_networks];
				break;
			}
		fake_answer(x, 204, NULL);
	}
}

static inline void fake_on_stream_gone(void *ctx)
{
	((struct world *)ctx)->events = NULL;
}

static inline void fake_events(struct world *w, struct http_exchange *x)
{
	if (strstr(http_exchange_query(x), "since=")) {
		http_stream_begin(x, 200, "application/json", NULL);
		if (*w->past)
			assert_int_equal(http_stream_write(x, w->past, strlen(w->past)), 0);
		http_stream_end(x);
		return;
	}
	w->events = x;
	http_exchange_on_close(x, fake_on_stream_gone, w);
	http_stream_begin(x, 200, "application/json", NULL);
}

/* As an engine without faults. */
static inline void fake_serve(struct world *w, struct http_exchange *x)
{
	const char *path = http_exchange_path(x);

	path += str_starts(path, "/v1.41") ? strlen("/v1.41") : 0;
	if (strcmp(path, "/version") == 0)
		fake_answer(x, 200, "{\"Version\":\"20.10\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}");
	else if (strcmp(path, "/events") == 0)
		fake_events(w, x);
	else if (str_starts(path, "/containers/"))
		fake_container_call(w, x, path + strlen("/containers/"));
	else if (str_starts(path, "/images/"))
		fake_image_call(w, x, path + strlen("/images/"));
	else if (str_starts(path, "/networks"))
		fake_network_call(w, x, path + strlen("/networks"));
	else if (strcmp(path, "/volumes") == 0)
		fake_answer(x, 200, "{\"Volumes\":null}");
	else
		fake_answer(x, 501, "{\"message\":\"not scripted\"}");
}

/* -------- rules -------- */

/* From now on, `times` requests that fit (fnmatch; -1: all) are treated so. */
static inline void rule_add(struct world *w, const char *pattern, enum rule_kind kind, int status, int times)
{
	assert_true(w->n_rules < WORLD_MAX);
	w->rules[w->n_rules++] = (struct rule){pattern, kind, status, times};
}

static inline void rules_end(struct world *w)
{
	w->n_rules = 0;
}

static inline struct held *held_find(struct world *w, const char *pattern)
{
	for (size_t i = 0; i < w->n_held; i++)
		if (fnmatch(pattern, w->held[i]->line, 0) == 0)
			return w->held[i];
	return NULL;
}

static inline struct http_exchange *held_take(struct world *w, const char *pattern)
{
	struct held *h = held_find(w, pattern);
	struct http_exchange *x;

	if (!h)
		fail_msg("nothing is held that fits %s", pattern);
	x = h->x;
	http_exchange_on_close(x, NULL, NULL);
	for (size_t i = 0; i < w->n_held; i++)
		if (w->held[i] == h)
			w->held[i] = w->held[--w->n_held];
	free(h->line);
	free(h);
	return x;
}

static inline void world_on_request(void *ctx, struct http_exchange *x)
{
	struct world *w = ctx;
	const char *path = http_exchange_path(x), *query = http_exchange_query(x);
	AUTO_FREE char *line =
		mem_printf("%s %s%s%s", http_exchange_method(x),
			   path + (str_starts(path, "/v1.41") ? strlen("/v1.41") : 0), *query ? "?" : "", query);

	strv_add(&w->asked, line);
	if (w->on_asked)
		w->on_asked(w, line);
	for (size_t i = w->n_rules; i-- > 0;) {
		struct rule *rule = &w->rules[i];

		if (!rule->times || fnmatch(rule->pattern, line, 0) != 0)
			continue;
		rule->times -= rule->times > 0;
		if (rule->kind == RULE_HOLD)
			held_add(w, x, line);
		else if (rule->kind == RULE_CUT)
			http_stream_abort(x);
		else
			fake_answer(x, rule->status, "{\"message\":\"as the test says\"}");
		return;
	}
	fake_serve(w, x);
}

/* Requests that fit, since the last asked_clear(). */
static inline size_t asked_count(const struct world *w, const char *pattern)
{
	size_t n = 0;

	for (size_t i = 0; i < w->asked.n; i++)
		n += fnmatch(pattern, w->asked.v[i], 0) == 0;
	return n;
}

/* Place of the first request that fits; fails the test if there is none. */
static inline size_t asked_at(const struct world *w, const char *pattern)
{
	for (size_t i = 0; i < w->asked.n; i++)
		if (fnmatch(pattern, w->asked.v[i], 0) == 0)
			return i;
	fail_msg("nobody asked %s", pattern);
	return 0;
}

static inline void asked_clear(struct world *w)
{
	strv_deinit(&w->asked);
}

#define STOPS    "POST /containers/*/stop"
#define STARTS   "POST /containers/*/start"
#define CREATES  "POST /containers/create*"
#define REMOVALS "DELETE /containers/*"
#define PULLS    "POST /images/create*"
#define CHANGES  "[PD]*" /* whatever changes something */

/* -------- our side -------- */

static inline char *world_log(struct world *w)
{
	return check_read_file(w->f->dir_fd, "log");
}

static inline size_t logged(struct world *w, const char *text)
{
	AUTO_FREE char *all = world_log(w);
	size_t n = 0;

	for (const char *s = all; (s = strstr(s, text)); s += strlen(text))
		n++;
	return n;
}

static inline void world_on_locks_changed(void *ctx)
{
	struct world *w = ctx;

	if (w->r)
		reconcile_poke(w->r);
}

static inline void world_on_lock_event(void *ctx, const struct lock_event *e)
{
	struct world *w = ctx;

	if (w->r)
		reconcile_lock_event(w->r, e);
}

static inline void world_on_changed(void *ctx)
{
	((struct world *)ctx)->n_changed++;
}

/* Everything of ours as at the program's start. */
static inline void world_open(struct world *w, const char *nonce)
{
	AUTO_FREE char *state = mem_printf("%s/state", w->f->dir);
	struct err err = {0};

	if (store_open(w->loop, state, &w->store, &err) < 0 || keys_open(w->store, &w->keys, &err) < 0 ||
	    lock_set_new(w->loop,
			 &(struct lock_options){.host_root = w->f->dir,
						.lock_root = WORLD_LOCK_ROOT,
						.boot_id = w->facts.boot_id,
						.nonce = nonce,
						.changed = world_on_locks_changed,
						.event = world_on_lock_event,
						.ctx = w},
			 &w->locks, &err) < 0)
		fail_msg("%s", err.msg);
	w->engine = engine_new(w->loop, w->socket);
	w->n_stopped = 0;
	w->r = reconcile_new(&(struct reconcile_options){.loop = w->loop,
							 .engine = w->engine,
							 .locks = w->locks,
							 .store = w->store,
							 .keys = w->keys,
							 .facts = &w->facts,
							 .backoff_cap_ms = w->backoff_cap_ms,
							 .pulls_max = 3,
							 .changed = world_on_changed,
							 .event = w->on_event,
							 .ctx = w});
	reconcile_start(w->r);
}

static inline void world_on_part_closed(void *ctx)
{
	((struct world *)ctx)->parts_left--;
}

static inline void world_on_stopped(void *ctx)
{
	struct world *w = ctx;

	w->r = NULL;
	w->n_stopped++;
	w->parts_left--;
}

/* As the program ends. */
static inline void world_close(struct world *w)
{
	if (!w->r)
		return;
	w->parts_left = 2;
	reconcile_stop(w->r, world_on_stopped, w);
	assert_int_equal(w->n_stopped, 0); /* never before it returns */
	engine_stop(STEAL(w->engine), world_on_part_closed, w);
	RUN_UNTIL(w->loop, !w->parts_left);
	assert_int_equal(w->n_stopped, 1);
	w->parts_left = 2;
	lock_set_free(STEAL(w->locks), world_on_part_closed, w);
	keys_free(STEAL(w->keys));
	store_close(STEAL(w->store), world_on_part_closed, w);
	RUN_UNTIL(w->loop, !w->parts_left);
	assert_int_equal(w->n_stopped, 1);
}

static inline int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err err = {0};

	assert_non_null(w);
	check_setup((void **)&w->f);
	w->loop = w->f->loop;
	w->backoff_cap_ms = 50;
	assert_int_equal(mkdirat(w->f->dir_fd, "tmp", 0700), 0);
	assert_int_equal(fchmodat(w->f->dir_fd, "tmp", 01777, 0), 0);
	w->log_fd = openat(w->f->dir_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(w->log_fd >= 0);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, w->log_fd);
	w->facts = (struct device_facts){.boot_id = mem_strdup("boot-1"),
					 .lock_root = mem_strdup(WORLD_LOCK_ROOT),
					 .processors = 2,
					 .api_port = 48484,
					 .keep_volumes = true};
	snprintf(w->socket, sizeof(w->socket), "%s/s", w->f->dir);
	w->server = http_server_new(w->loop, NULL, world_on_request, w);
	if (http_server_listen_unix(w->server, w->socket, &err) < 0)
		fail_msg("%s", err.msg);
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;
	void *f = w->f;

	world_close(w);
	while (w->n_held > 0)
		http_stream_abort(held_take(w, "*"));
	http_server_stop(w->server, check_set_flag, &w->server_stopped);
	RUN_UNTIL(w->loop, w->server_stopped);
	check_run_turns(w->loop, 3);
	log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, STDOUT_FILENO);
	close(w->log_fd);
	w->quiet = true;
	while (w->n_containers > 0)
		fake_forget(w, &w->containers[0]);
	for (size_t i = 0; i < w->n_images; i++)
		free(w->images[i].ref);
	for (size_t i = 0; i < w->n_networks; i++)
		free(w->networks[i]);
	strv_deinit(&w->asked);
	device_facts_deinit(&w->facts);
	free(w);
	return check_teardown(&f);
}

/* -------- targets -------- */

/*
 * Apps as "1 r1: main=img:1 db=img:1+tty; 2 r1: web=img:1+api". An image that the engine does not have is pulled.
 * Services use no network, so that few requests are made, and have a second to stop.
 */
static inline char *document_of(const char *text)
{
	AUTO_FREE char *copy = mem_strdup(text);
	struct buf out;
	char *apps, *app, *words, *word;

	buf_init(&out, 1 << 20);
	buf_adds(&out, "{\"apps\":{");
	for (app = strtok_r(copy, ";", &apps); app; app = strtok_r(NULL, ";", &apps)) {
		int id = atoi(app + strspn(app, " "));
		const char *comma = "";

		word = strtok_r(app, " ", &words);
		word = strtok_r(NULL, " :", &words);
		buf_printf(&out,
			   "%s\"%032d\":{\"id\":%d,\"name\":\"app%d\",\"releases\":{\"%s\":{\"id\":1,\"services\":{",
			   buf_str(&out)[out.len - 1] == '{' ? "" : ",", id, id, id, word);
		while ((word = strtok_r(NULL, " ", &words))) {
			char *image = strchr(word, '=');
			char *flag = image ? strchr(image, '+') : NULL;

			if (!image)
				continue;
			*image++ = '\0';
			if (flag)
				*flag++ = '\0';
			buf_printf(&out,
				   "%s\"%s\":{\"image\":\"%s\",\"image_id\":1,\"environment\":{},\"labels\":{%s},"
				   "\"composition\":{\"network_mode\":\"none\",\"stop_grace_period\":1%s}}",
				   comma, word, image,
				   str_eq(flag, "api") ? "\"io.balena.features.supervisor-api\":\"1\"" : "",
				   str_eq(flag, "tty") ? ",\"tty\":true" : "");
			comma = ",";
		}
		buf_adds(&out, "}}}}");
	}
	buf_adds(&out, "}}");
	return buf_steal(&out);
}

static inline void offer(struct world *w, const char *apps)
{
	AUTO_FREE char *text = document_of(apps);
	struct target_errors errors = {0};

	if (reconcile_offer_target(w->r, text, strlen(text), &errors) < 0)
		fail_msg("%s: %s", errors.v[0].path, errors.v[0].message);
	target_errors_deinit(&errors);
}

static inline bool world_settled(const struct world *w)
{
	return reconcile_settled_seq(w->r) == reconcile_seq(w->r);
}

/* The usual beginning: everything of this target runs, and what was asked for that is forgotten. */
static inline void world_run(struct world *w, const char *apps)
{
	world_open(w, "nonce-1");
	offer(w, apps);
	RUN_UNTIL(w->loop, world_settled(w));
	asked_clear(w);
}

static inline const struct plan_wait *wait_of(struct world *w, enum plan_wait_kind kind)
{
	const struct plan *p = reconcile_plan(w->r);

	for (size_t i = 0; i < p->n_waits; i++)
		if (p->waits[i].kind == kind)
			return &p->waits[i];
	return NULL;
}

/* -------- locks, as an application sees them -------- */

static inline char *lock_path_of(const struct world *w, int app, const char *service)
{
	return mem_printf("%s" WORLD_LOCK_ROOT "/%d/%s/updates.lock", w->f->dir, app, service);
}

static inline bool app_locks(const struct world *w, int app, const char *service)
{
	AUTO_FREE char *path = lock_path_of(w, app, service);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd >= 0)
		close(fd);
	else
		assert_int_equal(errno, EEXIST);
	return fd >= 0;
}

static inline void app_unlocks(const struct world *w, int app, const char *service)
{
	AUTO_FREE char *path = lock_path_of(w, app, service);

	assert_int_equal(unlink(path), 0);
}

static inline bool lock_exists(const struct world *w, int app, const char *service)
{
	AUTO_FREE char *path = lock_path_of(w, app, service);

	return access(path, F_OK) == 0;
}

/* A file of the state directory; the caller frees. */
static inline char *kept(const struct world *w, const char *name)
{
	AUTO_FREE char *path = mem_printf("state/%s", name);

	return check_read_file(w->f->dir_fd, path);
}

/* Runs the loop for so long: a chance for what must not happen. */
static inline void world_pass(struct world *w, int64_t ms)
{
	struct loop_timer timer;
	bool passed = false;

	loop_timer_init(w->loop, &timer, check_set_flag, &passed);
	loop_timer_start(&timer, ms);
	RUN_UNTIL(w->loop, passed);
	check_close_timer(w->loop, &timer);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

#endif
