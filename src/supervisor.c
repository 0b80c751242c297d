/*
 * Wiring. The target source gives documents to the reconciler; the lock set and the engine tell it that something
 * changed; the API reads it and hands it intents. Start: what can refuse (state, locks, listeners) comes first, so that
 * an error costs nothing. Stop: everything is asked to stop at once, and what others use (engine, lock set, store) goes
 * last.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "cli/cli.h"
#include "cloud/target_source.h"
#include "engine/engine.h"
#include "host/ageing.h"
#include "host/facts.h"
#include "host/notify.h"
#include "host/own_container.h"
#include "keys/keys.h"
#include "lock/lock.h"
#include "loop/signals.h"
#include "net/http_server.h"
#include "reconcile/reconcile.h"
#include "store/store.h"
#include "util/location.h"
#include "util/log.h"
#include "util/mem.h"
#include "util/version.h"

#define DEFAULT_PORT     48484
#define PULLS_MAX        3
#define JITTER_MAX_MS    60000
#define STOP_DEADLINE_MS 1900
#define LOG_PIPE_BYTES   (1 << 20)
#define CONFIG_MAX_BYTES (1 << 20)

struct supervisor {
	const struct run_options *o;
	struct loop *loop;
	struct store *store;
	struct keys *keys;
	struct lock_set *locks;
	struct engine *engine;
	struct reconcile *reconcile;
	struct api *api;
	struct http_server *server;
	struct target_source *source;
	struct loop_signals *signals;
	struct notify *notify;
	struct device_facts facts;
	struct loop_timer deadline;
	uint16_t port;
	unsigned parts; /* that have not stopped yet */
	bool stopping, second_phase, on_supervisor0, supervisor0_failed;
	int exit_code;
};

/* ---- callbacks between the parts ---- */

static void on_locks_changed(void *ctx)
{
	struct supervisor *s = ctx;

	if (s->reconcile && !s->stopping)
		reconcile_poke(s->reconcile);
}

static void on_lock_event(void *ctx, const struct lock_event *e)
{
	struct supervisor *s = ctx;

	if (s->reconcile || !s->stopping) /* what is there at start is told before there is a reconciler */
		reconcile_lock_event(s->reconcile, e);
}

/* Containers reach us on supervisor0, which exists once a service asked for the API. */
static void follow_supervisor0(struct supervisor *s)
{
	const struct current *c = reconcile_current(s->reconcile);
	bool there = s->on_supervisor0 && !c->known;
	struct err err = {0};

	for (size_t i = 0; i < c->n_networks && !there; i++)
		there = network_is_supervisor0(&c->networks[i]);
	if (!there)
		s->supervisor0_failed = false;
	if (s->o->n_listen || there == s->on_supervisor0)
		return;
	if (!there) {
		http_server_unlisten_tcp(s->server, SUPERVISOR_GATEWAY);
		s->on_supervisor0 = false;
	} else if (http_server_listen_tcp(s->server, SUPERVISOR_GATEWAY, s->port, NULL, &err) < 0) {
		if (!s->supervisor0_failed) /* the bridge is not in our network name space, or (podman) not up yet */
			log_warn("api_listen_failed", kv_str("err", err.msg));
		s->supervisor0_failed = true;
	} else {
		s->on_supervisor0 = true;
		log_info("api_listening", kv_str("address", SUPERVISOR_GATEWAY), kv_i64("port", s->port));
	}
}

static void on_event(void *ctx, const struct reconcile_event *e)
{
	struct supervisor *s = ctx;

	if (s->api)
		api_event(s->api, e);
}

static void on_state_changed(void *ctx)
{
	struct supervisor *s = ctx;

	if (s->stopping)
		return;
	follow_supervisor0(s);
	api_state_changed(s->api);
	notify_changed(s->notify);
}

static char *on_status(void *ctx)
{
	const struct supervisor *s = ctx;

	return reconcile_sentence(s->reconcile);
}

static bool on_healthy(void *ctx)
{
	const struct supervisor *s = ctx;

	return reconcile_healthy(s->reconcile);
}

/* One result ends every look asked for before the question it answers. */
static void look_done(struct supervisor *s)
{
	if (!target_source_pending(s->source))
		reconcile_look_done(s->reconcile);
}

static bool on_document(void *ctx, const char *text, size_t len)
{
	struct supervisor *s = ctx;
	bool good = reconcile_offer_target(s->reconcile, text, len, NULL) == 0;

	look_done(s);
	return good;
}

static void on_source_failed(void *ctx, const struct err *err)
{
	struct supervisor *s = ctx;

	reconcile_target_failed(s->reconcile, err);
	look_done(s);
}

static void on_source_unchanged(void *ctx)
{
	struct supervisor *s = ctx;

	reconcile_target_unchanged(s->reconcile);
	look_done(s);
}

static uint64_t on_update(void *ctx, bool force, bool cancel)
{
	struct supervisor *s = ctx;
	uint64_t seq = reconcile_update(s->reconcile, force, cancel);

	target_source_poll(s->source);
	return seq;
}

/* ---- start ---- */

/* What this version needs of config.json; absent is fine, broken is not. */
static int read_config(struct supervisor *s, bool *has_file, bool *has_endpoint, struct err *err)
{
	AUTO_FREE char *text = mem_new(1, CONFIG_MAX_BYTES + 1);
	struct json *doc = NULL;
	int64_t port = 0;
	FILE *f = fopen(s->o->config, "re");
	size_t n;

	*has_file = *has_endpoint = false;
	if (!f)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(err, "read %s", s->o->config);
	n = fread(text, 1, CONFIG_MAX_BYTES + 1, f);
	fclose(f);
	if (json_parse(text, n, CONFIG_MAX_BYTES, &doc, err) < 0)
		return err_wrap(err, "%s", s->o->config);
	*has_file = true;
	*has_endpoint = *json_str_or(json_get(doc, "apiEndpoint"), "") != '\0';
	if (json_str(json_get(doc, "uuid")) && *json_str(json_get(doc, "uuid")))
		s->facts.uuid = mem_strdup(json_str(json_get(doc, "uuid")));
	if (json_i64(json_get(doc, "listenPort"), &port) && port > 0 && port < 65536)
		s->port = (uint16_t)port;
	json_free(doc);
	return 0;
}

static int check_mode(struct supervisor *s, struct err *err)
{
	bool has_file, has_endpoint;
	int rc = read_config(s, &has_file, &has_endpoint, err);

	if (rc < 0)
		return CLI_FAILED;
	if (s->o->target)
		return CLI_OK;
	if (!has_file) {
		err_set(err, -EINVAL, "nothing to run: give --target FILE or URL (or a config.json: %s does not exist)",
			s->o->config);
		return CLI_USAGE;
	}
	err_set(err, -ENOSYS, "%s mode (%s) is not supported yet: give --target FILE or URL",
		has_endpoint ? "managed" : "unmanaged", s->o->config);
	return CLI_FAILED;
}

/* config.json's uuid wins; another one that was kept earlier means that this state belongs to another device. */
static int check_identity(struct supervisor *s, struct err *err)
{
	struct json *doc = NULL;
	const char *kept;
	int rc = store_load(s->store, "device", RECONCILE_DEVICE_SCHEMA, &doc, err);

	if (rc < 0 && rc != -ENOENT)
		log_error("store_corrupt", kv_str("name", "device"), kv_str("err", err->msg));
	else if (rc == STORE_NEWER)
		log_warn("store_newer", kv_str("name", "device"), kv_str("err", err->msg));
	*err = (struct err){0};
	kept = json_str(json_get(doc, "uuid"));
	if (kept && !s->facts.uuid)
		s->facts.uuid = mem_strdup(kept);
	else if (kept && !str_eq(kept, s->facts.uuid))
		err_set(err, -EEXIST, "%s belongs to device %.64s, but %s says %.64s", s->o->state, kept, s->o->config,
			s->facts.uuid);
	json_free(doc);
	return err->code;
}

static int listen_default(struct supervisor *s, char *address, size_t size, struct err *err)
{
	uint16_t port;

	if (http_server_listen_tcp(s->server, "127.0.0.1", s->port, &port, err) < 0)
		return err->code;
	s->port = port;
	snprintf(address, size, "http://127.0.0.1:%u", port);
	return 0;
}

static int listen_given(struct supervisor *s, char *address, size_t size, struct err *err)
{
	for (size_t i = 0; i < s->o->n_listen; i++) {
		const struct run_listen *l = &s->o->listen[i];
		uint16_t port = 0;
		int rc = l->unix_path ? http_server_listen_unix(s->server, l->unix_path, err)
				      : http_server_listen_tcp(s->server, l->ip, l->port, &port, err);

		if (rc < 0)
			return rc;
		if (port && !s->facts.api_port)
			s->facts.api_port = port;
		if (*address)
			continue; /* the first is the one we tell */
		if (l->unix_path)
			snprintf(address, size, "unix:%s", l->unix_path);
		else
			snprintf(address, size, strchr(l->ip, ':') ? "http://[%s]:%u" : "http://%s:%u", l->ip, port);
	}
	return 0;
}

static int listen_all(struct supervisor *s, struct err *err)
{
	char address[256] = "";
	int rc;

	s->api = api_new(&(struct api_options){
		.loop = s->loop,
		.reconcile = s->reconcile,
		.keys = s->keys,
		.key_needed = true,
		.update = on_update,
		.ctx = s,
		.version = LOCKKEEPER_API_VERSION,
	});
	s->server = http_server_new(s->loop, &(struct http_server_limits){0}, api_handle, s->api);
	rc = s->o->n_listen ? listen_given(s, address, sizeof(address), err)
			    : listen_default(s, address, sizeof(address), err);
	if (rc < 0)
		return rc;
	if (!s->facts.api_port)
		s->facts.api_port = s->port;
	rc = store_write_plain(s->store, "api-address", address, err);
	if (rc == 0) /* whoever reads this line finds the file */
		log_info("api_listening", kv_str("address", address));
	return rc;
}

static int open_source(struct supervisor *s, struct err *err)
{
	return target_source_new(s->loop,
				 &(struct target_source_options){
					 .location = s->o->target,
					 .user_agent = "Supervisor/" LOCKKEEPER_API_VERSION,
					 .token_file = s->o->token_file,
					 .ca_file = getenv("SSL_CERT_FILE"), /* as OpenSSL itself would */
					 .poll_interval_ms = s->o->poll_interval_ms,
					 .jitter_max_ms = JITTER_MAX_MS,
					 .max_bytes = TARGET_MAX_BYTES,
					 .document = on_document,
					 .failed = on_source_failed,
					 .unchanged = on_source_unchanged,
					 .ctx = s,
				 },
				 &s->source, err);
}

/* Applications of supervisors before v4 lock in their data directory; on other systems such a file means nothing. */
static bool is_resin_os_1(const struct supervisor *s)
{
	return s->facts.os_version && str_starts(s->facts.os_version, "Resin OS 1.");
}

/* The first start on a device that ran the reference: its database is there, and nothing of ours. */
static bool follows_reference(const struct supervisor *s)
{
	AUTO_FREE char *theirs = mem_printf("%s/database.sqlite", s->o->state);
	AUTO_FREE char *ours = mem_printf("%s/ledger.json", s->o->state);

	return access(theirs, F_OK) == 0 && access(ours, F_OK) < 0;
}

/* Services have the host's directory mounted: a lock that one of them takes would never be seen in a copy of ours. */
static void check_lock_place(const struct supervisor *s)
{
	AUTO_FREE char *path = mem_printf("%s%s", s->o->root, s->o->lock_root);

	if (s->facts.own_container && !str_eq(s->o->root, "/") && host_is_in_own_root(path))
		log_error("lock_problem", kv_str("path", s->o->lock_root),
			  kv_str("err", "it lies in this container alone, so no update lock of a service can be seen: "
					"mount the host's directory here"));
}

static int open_locks(struct supervisor *s, struct err *err)
{
	const char *const aged[] = {s->o->lock_root, s->o->legacy_lock_root, NULL};
	struct err ageing_err = {0};
	char nonce[17];

	if (host_keep_from_ageing(s->o->root, aged, &ageing_err) < 0)
		log_info("lock_ageing_not_told", kv_str("path", s->o->lock_root), kv_str("err", ageing_err.msg));
	str_random_hex(nonce, 8);
	return lock_set_new(s->loop,
			    &(struct lock_options){
				    .host_root = s->o->root,
				    .lock_root = s->o->lock_root,
				    .legacy_root = s->o->legacy_lock_root,
				    .data_root = is_resin_os_1(s) ? s->o->legacy_data : NULL,
				    .adopt_reference = follows_reference(s),
				    .boot_id = s->facts.boot_id,
				    .nonce = nonce,
				    .changed = on_locks_changed,
				    .event = on_lock_event,
				    .ctx = s,
			    },
			    &s->locks, err);
}

/* Variables of the host's start script; it passes these words where it has nothing to say (spec host.md 1.4). */
static const char *host_variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value && !str_eq(value, "null") && !str_eq(value, "undefined") ? value : NULL;
}

/* Who we are among the containers, so that we leave ourselves alone. */
static void find_ourselves(struct device_facts *facts)
{
	const char *id = host_variable("SUPERVISOR_CONTAINER_ID");
	char hostname[65] = "";

	gethostname(hostname, sizeof(hostname) - 1);
	free(facts->own_container);
	free(facts->own_image);
	facts->own_container = id ? mem_strdup(id) : host_own_container("/proc/self", hostname);
	facts->own_image = mem_strdup(host_variable("SUPERVISOR_IMAGE"));
	if (facts->own_container)
		log_debug("own_container_found", kv_str("container", facts->own_container));
}

static void read_facts(struct supervisor *s)
{
	char *uuid = STEAL(s->facts.uuid);

	host_facts_read(s->o->root, s->o->boot_mount, s->o->os_release, &s->facts);
	free(s->facts.uuid);
	s->facts.uuid = uuid;
	free(s->facts.lock_root);
	s->facts.lock_root = mem_strdup(s->o->lock_root);
	s->facts.keep_volumes = true; /* standalone */
	s->facts.adopt = s->o->adopt;
	find_ourselves(&s->facts);
}

/* Everything that can refuse, in the order in which a person would want to hear of it. */
static int open_parts(struct supervisor *s, struct err *err)
{
	int rc = check_mode(s, err);

	if (rc)
		return rc;
	read_facts(s);
	if (store_open(s->loop, s->o->state, &s->store, err) < 0 || check_identity(s, err) < 0 ||
	    keys_open(s->store, &s->keys, err) < 0)
		return CLI_FAILED;
	if (err->code) /* it was set aside; new keys are made, and the services that had old ones are made anew */
		log_error("store_corrupt", kv_str("name", "keys"), kv_str("err", err->msg));
	else if (*err->msg)
		log_warn("store_newer", kv_str("name", "keys"), kv_str("err", err->msg));
	*err = (struct err){0};
	if (open_locks(s, err) < 0)
		return CLI_FAILED;
	check_lock_place(s);
	s->engine = engine_new(s->loop, s->o->engine);
	s->reconcile = reconcile_new(&(struct reconcile_options){
		.loop = s->loop,
		.engine = s->engine,
		.locks = s->locks,
		.store = s->store,
		.keys = s->keys,
		.facts = &s->facts,
		.backoff_cap_ms = s->o->poll_interval_ms,
		.pulls_max = PULLS_MAX,
		.changed = on_state_changed,
		.event = on_event,
		.ctx = s,
	});
	if (listen_all(s, err) < 0)
		return CLI_FAILED;
	if (open_source(s, err) < 0)
		return err->code == -EINVAL ? CLI_USAGE : CLI_FAILED;
	return CLI_OK;
}

/* ---- stop ---- */

static void on_deadline(void *ctx)
{
	struct supervisor *s = ctx;

	log_error("stop_deadline", kv_i64("parts", s->parts));
	s->exit_code = CLI_FAILED;
	loop_stop(s->loop);
}

static void on_part_stopped(void *ctx);

/* The parts that use the others are gone; now those that were used. */
static void stop_second(struct supervisor *s)
{
	s->second_phase = true;
	s->parts = 1; /* this function itself, so that parts that end at once do not end it twice */
	if (s->locks) {
		s->parts++;
		lock_set_free(STEAL(s->locks), on_part_stopped, s);
	}
	api_free(STEAL(s->api));
	keys_free(STEAL(s->keys));
	if (s->store) {
		s->parts++;
		store_close(STEAL(s->store), on_part_stopped, s);
	}
	on_part_stopped(s);
}

static void on_part_stopped(void *ctx)
{
	struct supervisor *s = ctx;

	if (--s->parts)
		return;
	if (!s->second_phase) {
		stop_second(s);
		return;
	}
	loop_timer_deinit(&s->deadline, NULL, NULL);
	loop_signals_free(STEAL(s->signals));
}

static void on_reconcile_stopped(void *ctx)
{
	struct supervisor *s = ctx;

	s->reconcile = NULL; /* lock events may still come */
	on_part_stopped(s);
}

static void stop(struct supervisor *s, const char *why)
{
	if (s->stopping)
		return;
	s->stopping = true;
	notify_stopping(s->notify, why);
	notify_free(STEAL(s->notify));
	loop_timer_start(&s->deadline, STOP_DEADLINE_MS);
	s->parts = 1;
	if (s->source) {
		s->parts++;
		target_source_stop(STEAL(s->source), on_part_stopped, s);
	}
	if (s->server) {
		s->parts++;
		http_server_stop(STEAL(s->server), on_part_stopped, s);
	}
	if (s->reconcile) {
		s->parts++;
		reconcile_stop(s->reconcile, on_reconcile_stopped, s);
	}
	if (s->engine) {
		s->parts++;
		engine_stop(STEAL(s->engine), on_part_stopped, s);
	}
	on_part_stopped(s);
}

static void on_signal(void *ctx, int signo)
{
	log_info("stopping", kv_str("signal", signo == SIGINT ? "SIGINT" : "SIGTERM"));
	stop(ctx, "stopping");
}

static void log_started(const struct run_options *o)
{
	AUTO_FREE char *target = location_shown(o->target);

	log_info("started", kv_str("version", LOCKKEEPER_API_VERSION), kv_str("target", target),
		 kv_str("engine", o->engine), kv_str("state", o->state));
}

/* Not to be able to tell is no reason not to run: what is missing then shows in the manager, as a start without end. */
static void open_notify(struct supervisor *s)
{
	struct err err = {0};

	s->notify = notify_new(&(struct notify_options){s->loop, on_status, on_healthy, s}, &err);
	if (err.code)
		log_warn("notify_unusable", kv_str("err", err.msg));
}

int supervisor_run(const struct run_options *o)
{
	static const int signals[] = {SIGTERM, SIGINT, 0};
	struct supervisor s = {.o = o, .port = o->port ? o->port : DEFAULT_PORT};
	struct loop_stalls stalls;
	struct err err = {0};

	mallopt(M_ARENA_MAX, 1);              /* one heap for all: what the pool's threads free is used again */
	setenv("UV_THREADPOOL_SIZE", "2", 0); /* one writes to the disk, one reads /proc; a thread is a stack */
	fcntl(STDOUT_FILENO, F_SETPIPE_SZ, LOG_PIPE_BYTES); /* bursts fit; refused, or no pipe: it stays as it is */
	log_setup((enum log_level)o->log_level, (enum log_format)o->log_format, STDOUT_FILENO);
	s.loop = loop_new();
	loop_timer_init(s.loop, &s.deadline, on_deadline, &s);
	s.signals = loop_signals_new(s.loop, signals, on_signal, &s);
	open_notify(&s);
	s.exit_code = open_parts(&s, &err);
	if (s.exit_code) {
		fprintf(stderr, "lockkeeper: %s\n", err.msg);
		log_error("start_failed", kv_str("err", err.msg));
		stop(&s, err.msg);
	} else {
		log_started(o);
		reconcile_start(s.reconcile);
		notify_ready(s.notify);
	}
	loop_run(s.loop);
	loop_stalls(s.loop, &stalls);
	if (loop_free(s.loop) < 0 && s.exit_code == CLI_OK)
		s.exit_code = CLI_FAILED;
	device_facts_deinit(&s.facts);
	if (!s.exit_code)
		log_info("stopped", kv_us("worst_turn_cpu_ms", stalls.worst_cpu_us),
			 kv_i64("turns", (int64_t)stalls.turns));
	return s.exit_code;
}
