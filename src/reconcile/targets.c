/*
 * Documents become the target; looks and forces get their sequence numbers; and everything the planner may know is
 * gathered here into one value.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"

static size_t count_services(const struct target *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_apps; i++)
		n += t->apps[i].n_services;
	return n;
}

static void set_problem(char **problem, const char *text)
{
	free(*problem);
	*problem = mem_strdup(text);
}

static void on_device_saved(void *ctx, const struct err *err)
{
	struct reconcile *r = ctx;

	if (err) /* the uuid in memory stays good, and the ledger has it too */
		log_error("store_failed", kv_str("name", "device"), kv_str("err", err->msg));
	reconcile_drop(r);
}

static void save_device(struct reconcile *r)
{
	struct json_writer *w;
	struct buf text;

	buf_init(&text, 4096);
	w = json_writer_new(&text);
	json_open_object(w);
	json_kv_i64(w, "schema", RECONCILE_DEVICE_SCHEMA);
	json_kv_str(w, "uuid", r->o.facts->uuid);
	json_close_object(w);
	json_writer_free(w);
	reconcile_hold(r);
	store_save(r->o.store, "device", buf_str(&text), text.len, on_device_saved, r);
	buf_deinit(&text);
}

/* device.json is lost, but the ledger knows: a device that changed its uuid would replace every container. */
static void restore_uuid(struct reconcile *r)
{
	if (r->o.facts->uuid || !r->ledger.uuid)
		return;
	r->o.facts->uuid = mem_strdup(r->ledger.uuid);
	save_device(r);
}

static int parse(struct reconcile *r, const char *text, size_t len, struct target **out, struct target_errors *errors)
{
	const struct target_options o = {.standalone = true, .device_uuid = r->o.facts->uuid};

	return target_parse(text, len, &o, out, errors);
}

/* The stored target: it was good when it was stored; a newer program may be stricter, and then says so. */
void targets_load(struct reconcile *r)
{
	struct target_errors errors = {0};

	restore_uuid(r);
	if (r->ledger.look_forces) { /* what the source says first is what that look would have brought */
		r->looks = 1;
		r->looking_since = loop_wall_ms();
	}
	if (!r->target_text)
		return;
	if (parse(r, r->target_text, strlen(r->target_text), &r->target, &errors) < 0) {
		log_error("target_rejected", kv_str("source", "store"),
			  kv_str("path", errors.n ? errors.v[0].path : NULL),
			  kv_str("err", errors.n ? errors.v[0].message : NULL));
		free(r->target_text);
		r->target_text = NULL;
	} else {
		ledger_note_target(r); /* also when the ledger was lost: what is wanted is ours */
	}
	target_errors_deinit(&errors);
}

static void reject(struct reconcile *r, const struct target_errors *errors)
{
	const struct target_error *first = errors->n ? &errors->v[0] : NULL;
	AUTO_FREE char *text = first ? mem_printf("%s%s%s", first->path, *first->path ? ": " : "", first->message)
				     : mem_strdup("invalid");

	if (str_eq(r->target_problem, text))
		return;
	set_problem(&r->target_problem, text);
	log_error("target_rejected", kv_str("path", first && *first->path ? first->path : NULL),
		  kv_str("err", first ? first->message : text), kv_i64("errors", (int64_t)errors->total));
	for (size_t i = 1; first && i < errors->n; i++)
		log_error("target_error", kv_str("path", errors->v[i].path), kv_str("err", errors->v[i].message));
	event_target(r, "refused", text);
	reconcile_mark_changed(r);
}

/* A stop not sent yet is not owed: what was only recorded for the old target is forgotten. */
static void forget_unarmed(struct reconcile *r)
{
	for (size_t i = r->ledger.n_removed; i-- > 0;)
		if (!r->ledger.removed[i].armed) {
			free(r->ledger.removed[i].service);
			r->ledger.removed[i] = r->ledger.removed[--r->ledger.n_removed];
			r->ledger.dirty = true;
		}
}

/* The device's identity: the document's when there is none yet, else made up once; kept from then on, twice. */
static void ensure_uuid(struct reconcile *r, const struct target *t)
{
	struct device_facts *f = r->o.facts;
	char made[33];

	str_random_hex(made, 16);
	if (!f->uuid)
		f->uuid = mem_strdup(t->uuid ? t->uuid : made);
	if (str_eq(r->ledger.uuid, f->uuid))
		return;
	free(r->ledger.uuid);
	r->ledger.uuid = mem_strdup(f->uuid);
	r->ledger.dirty = true;
	save_device(r);
}

static void adopt(struct reconcile *r, struct target *t, const char *text, size_t len)
{
	bool keep_force = r->ledger.look_forces;

	ensure_uuid(r, t);
	target_free(r->target);
	r->target = t;
	free(r->target_text);
	r->target_text = mem_strndup(text, len);
	r->ledger.generation++;
	r->ledger.seq++;
	r->ledger.dirty = true;
	ledger_clear_force(r, 0);
	forget_unarmed(r);
	failures_clear_all(r);
	history_clear_all(r);
	ledger_clear_made(r);
	ledger_note_target(r);
	for (size_t i = 0; keep_force && i < r->ledger.n_apps; i++) /* also those that the new target removes */
		ledger_set_force(r, r->ledger.apps[i], r->ledger.generation);
	ledger_save_target(r);
	r->cache.images_checked = false;
	if (r->cache.current.known) /* somebody may have loaded its images a moment ago: look before pulling */
		cache_refresh(r, LIST_IMAGES, NULL, NULL);
	log_info("target_accepted", kv_i64("seq", (int64_t)r->ledger.seq), kv_i64("apps", (int64_t)t->n_apps),
		 kv_i64("services", (int64_t)count_services(t)));
	event_target(r, "accepted", NULL);
}

int reconcile_offer_target(struct reconcile *r, const char *text, size_t len, struct target_errors *errors)
{
	struct target_errors own = {0};
	struct target *t = NULL;
	bool same = r->target_text && strlen(r->target_text) == len && memcmp(r->target_text, text, len) == 0;

	if (!same && parse(r, text, len, &t, &own) < 0) {
		reject(r, &own);
		if (errors)
			*errors = own;
		else
			target_errors_deinit(&own);
		return -EINVAL;
	}
	target_errors_deinit(&own);
	if (same && r->target_problem)
		event_target(r, "unchanged", NULL);
	set_problem(&r->target_problem, NULL);
	if (!same)
		adopt(r, t, text, len);
	reconcile_mark_changed(r);
	reconcile_poke(r);
	return 0;
}

void reconcile_target_failed(struct reconcile *r, const struct err *err)
{
	if (str_eq(r->target_problem, err->msg))
		return;
	set_problem(&r->target_problem, err->msg);
	log_error("target_rejected", kv_str("err", err->msg));
	event_target(r, "refused", err->msg);
	reconcile_mark_changed(r);
}

void reconcile_target_unchanged(struct reconcile *r)
{
	if (!r->target_problem)
		return;
	set_problem(&r->target_problem, NULL);
	log_info("target_unchanged", kv_i64("seq", (int64_t)r->ledger.seq));
	event_target(r, "unchanged", NULL);
	reconcile_mark_changed(r);
	reconcile_poke(r);
}

uint64_t reconcile_update(struct reconcile *r, bool force, bool cancel)
{
	r->ledger.seq++;
	r->ledger.dirty = true;
	if (!r->looks++) {
		r->looking_since = loop_wall_ms();
		event_look(r, "began");
	}
	event_target(r, "requested", NULL);
	if (force) {
		r->ledger.look_forces = true;
		for (size_t i = 0; r->target && i < r->target->n_apps; i++)
			ledger_set_force(r, r->target->apps[i].id, r->ledger.generation);
		for (size_t i = 0; i < r->ledger.n_apps; i++) /* also those that are on their way out */
			ledger_set_force(r, r->ledger.apps[i], r->ledger.generation);
	}
	if (cancel)
		steps_cancel_pulls(r);
	failures_clear_all(r); /* somebody wants it now */
	log_info("update_requested", kv_i64("seq", (int64_t)r->ledger.seq), kv_bool("force", force),
		 kv_bool("cancel", cancel));
	reconcile_mark_changed(r);
	reconcile_poke(r);
	return r->ledger.seq;
}

void reconcile_look_done(struct reconcile *r)
{
	if (!r->looks)
		return;
	event_look(r, "ended");
	r->looks = 0; /* looks that came meanwhile were joined to the one that ended */
	r->looking_since = 0;
	if (r->ledger.look_forces) {
		r->ledger.look_forces = false;
		r->ledger.dirty = true;
	}
	reconcile_mark_changed(r);
	reconcile_poke(r);
}

/* ---- the planner's input ---- */

static const char *make_key(void *ctx, int64_t app_id, const char *service)
{
	return keys_for_service(ctx, app_id, service);
}

static const char *find_key(void *ctx, int64_t app_id, const char *service)
{
	return keys_find_service(ctx, app_id, service);
}

static void gather_in_flight(const struct reconcile *r, struct plan_input *in)
{
	struct plan_in_flight *v;
	size_t n = 0;

	for (const struct running *s = r->running; s; s = s->next)
		n += !s->over;
	v = mem_new(n + 1, sizeof(*v));
	for (const struct running *s = r->running; s; s = s->next)
		if (!s->over)
			v[in->n_in_flight++] = (struct plan_in_flight){
				.subject = s->subject,
				.kind = s->kind,
				.app_id = s->app_id,
				.container_id = s->kind == STEP_CREATE ? NULL : s->container_id,
				.reason = s->reason,
			};
	in->in_flight = v;
}

static void gather_failures(const struct reconcile *r, struct plan_input *in)
{
	struct plan_failure *v = mem_new(r->n_failures + 1, sizeof(*v));

	for (size_t i = 0; i < r->n_failures; i++)
		v[in->n_failures++] = (struct plan_failure){
			.subject = r->failures[i].subject,
			.app_id = r->failures[i].app_id,
			.attempts = r->failures[i].attempts,
			.retry_at_ms = r->failures[i].retry_at_ms,
			.error = r->failures[i].error,
			.since_ms = r->failures[i].since_ms,
		};
	in->failures = v;
}

static void gather_ledger(const struct reconcile *r, struct plan_input *in)
{
	const struct ledger *l = &r->ledger;
	struct plan_removed *removed = mem_new(l->n_removed + 1, sizeof(*removed));
	struct plan_removed *accepted = mem_new(l->n_made + 1, sizeof(*accepted));
	int64_t *forced = mem_new(l->n_forces + 1, sizeof(*forced));

	for (size_t i = 0; i < l->n_removed; i++)
		if (l->removed[i].armed)
			removed[in->n_removed++] = (struct plan_removed){
				.app_id = l->removed[i].app_id,
				.service = l->removed[i].service,
			};
	for (size_t i = 0; i < l->n_made; i++)
		if (l->made[i].accepted)
			accepted[in->n_accepted++] = (struct plan_removed){
				.app_id = l->made[i].app_id,
				.service = l->made[i].service,
			};
	for (size_t i = 0; i < l->n_forces; i++)
		if (l->forces[i].generation == l->generation)
			forced[in->n_forced_apps++] = l->forces[i].app_id;
	in->accepted = accepted;
	in->removed = removed;
	in->forced_apps = forced;
	in->owned_apps = l->apps;
	in->n_owned_apps = l->n_apps;
	in->owned_images = &l->images;
}

void input_gather(const struct reconcile *r, const struct target *t, bool dry, struct plan_input *in)
{
	*in = (struct plan_input){
		.target = t,
		.generation = r->ledger.generation,
		.current = &r->cache.current,
		.locks = lock_set_views(r->o.locks),
		.facts = r->o.facts,
		.api_key = dry ? find_key : make_key,
		.api_key_ctx = r->o.keys,
		.pulls_max = r->o.pulls_max,
		.now_ms = loop_now_ms(r->o.loop),
		.memo = dry ? NULL : r->memo,
	};
	gather_in_flight(r, in);
	gather_failures(r, in);
	gather_ledger(r, in);
}

void input_deinit(struct plan_input *in)
{
	free((void *)in->in_flight);
	free((void *)in->failures);
	free((void *)in->removed);
	free((void *)in->accepted);
	free((void *)in->forced_apps);
}
