/*
 * What the reconciler keeps on disk, and nothing that can be asked again: apps ever targeted, images ever wanted,
 * services that the update in progress stops, forces, the release each app settled at, since when a lock makes us wait.
 * One small file, replaced whole.
 */
#include "reconcile/internal.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"

#define LEDGER_FILE   "ledger"
#define TARGET_FILE   "target"
#define LEDGER_SCHEMA 1

struct save { /* one write under way */
	struct reconcile *r;
	uint64_t edition, armings;
	struct waiter *waiters;
};

static void add_app(struct ledger *l, int64_t id)
{
	mem_reserve(&l->apps, &l->apps_capacity, l->n_apps + 1, sizeof(*l->apps));
	l->apps[l->n_apps++] = id;
}

static void add_removed(struct ledger *l, int64_t app_id, const char *service)
{
	mem_reserve(&l->removed, &l->removed_capacity, l->n_removed + 1, sizeof(*l->removed));
	l->removed[l->n_removed++] = (struct removed_row){.app_id = app_id, .service = mem_strdup(service)};
}

static void add_force(struct ledger *l, int64_t app_id, uint64_t generation)
{
	mem_reserve(&l->forces, &l->forces_capacity, l->n_forces + 1, sizeof(*l->forces));
	l->forces[l->n_forces++] = (struct force_row){.app_id = app_id, .generation = generation};
}

static struct made_row *find_made(struct ledger *l, int64_t app_id, const char *service)
{
	for (size_t i = 0; i < l->n_made; i++)
		if (l->made[i].app_id == app_id && str_eq(l->made[i].service, service))
			return &l->made[i];
	mem_reserve(&l->made, &l->made_capacity, l->n_made + 1, sizeof(*l->made));
	l->made[l->n_made] = (struct made_row){.app_id = app_id, .service = mem_strdup(service)};
	return &l->made[l->n_made++];
}

static void set_commit(struct ledger *l, int64_t app_id, const char *commit)
{
	for (size_t i = 0; i < l->n_commits; i++)
		if (l->commits[i].app_id == app_id) {
			free(l->commits[i].commit);
			l->commits[i].commit = mem_strdup(commit);
			return;
		}
	mem_reserve(&l->commits, &l->commits_capacity, l->n_commits + 1, sizeof(*l->commits));
	l->commits[l->n_commits++] = (struct commit_row){.app_id = app_id, .commit = mem_strdup(commit)};
}

static void add_wait(struct ledger *l, const char *subject, int64_t since_ms)
{
	mem_reserve(&l->waits, &l->waits_capacity, l->n_waits + 1, sizeof(*l->waits));
	l->waits[l->n_waits++] = (struct kept_wait){.subject = mem_strdup(subject), .since_ms = since_ms};
}

static void remove_wait(struct ledger *l, size_t i)
{
	free(l->waits[i].subject);
	l->waits[i] = l->waits[--l->n_waits];
	l->dirty = true;
}

bool ledger_has_app(const struct ledger *l, int64_t app_id)
{
	for (size_t i = 0; i < l->n_apps; i++)
		if (l->apps[i] == app_id)
			return true;
	return false;
}

static int64_t member_i64(const struct json *v, const char *key)
{
	int64_t n = 0;

	json_i64(json_get(v, key), &n);
	return n;
}

static void read_rows(struct ledger *l, const struct json *doc)
{
	const struct json *list = json_get(doc, "apps");
	int64_t n;

	for (size_t i = 0; i < json_size(list); i++)
		if (json_i64(json_at(list, i), &n) && !ledger_has_app(l, n))
			add_app(l, n);
	list = json_get(doc, "images");
	for (size_t i = 0; i < json_size(list); i++)
		if (json_str(json_at(list, i)))
			strv_add(&l->images, json_str(json_at(list, i)));
	list = json_get(doc, "removed");
	for (size_t i = 0; i < json_size(list); i++) {
		const char *service = json_str(json_get(json_at(list, i), "service"));

		if (!service)
			continue;
		add_removed(l, member_i64(json_at(list, i), "app"), service);
		l->removed[l->n_removed - 1].armed = json_bool(json_get(json_at(list, i), "armed"));
	}
	list = json_get(doc, "accepted");
	for (size_t i = 0; i < json_size(list); i++) {
		const char *service = json_str(json_get(json_at(list, i), "service"));

		if (service)
			find_made(l, member_i64(json_at(list, i), "app"), service)->accepted = true;
	}
	list = json_get(doc, "forces");
	for (size_t i = 0; i < json_size(list); i++)
		add_force(l, member_i64(json_at(list, i), "app"), (uint64_t)member_i64(json_at(list, i), "generation"));
	list = json_get(doc, "commits");
	for (size_t i = 0; i < json_size(list); i++) {
		const char *commit = json_str(json_get(json_at(list, i), "commit"));

		if (commit)
			set_commit(l, member_i64(json_at(list, i), "app"), commit);
	}
	list = json_get(doc, "waits");
	for (size_t i = 0; i < json_size(list); i++)
		if (json_str(json_get(json_at(list, i), "subject")) && member_i64(json_at(list, i), "since") > 0)
			add_wait(l, json_str(json_get(json_at(list, i), "subject")),
				 member_i64(json_at(list, i), "since"));
	l->generation = (uint64_t)member_i64(doc, "generation");
	l->seq = (uint64_t)member_i64(doc, "seq");
	l->look_forces = json_bool(json_get(doc, "lookForces"));
	l->boot_id = mem_strdup(json_str(json_get(doc, "boot")));
	l->uuid = mem_strdup(json_str(json_get(doc, "uuid")));
}

static struct json *load(struct reconcile *r, const char *name)
{
	struct json *doc = NULL;
	struct err err = {0};
	int rc = store_load(r->o.store, name, LEDGER_SCHEMA, &doc, &err);

	if (rc < 0 && rc != -ENOENT)
		log_error("store_corrupt", kv_str("name", name), kv_str("err", err.msg));
	else if (rc == STORE_NEWER)
		log_warn("store_newer", kv_str("name", name), kv_str("err", err.msg));
	return doc;
}

/*
 * Rows are written while an update is still blocked. What an earlier run wrote counts only if it also took the locks
 * (they are still there), or if a reboot has taken the locks with it.
 */
static void arm_kept_rows(struct reconcile *r)
{
	const struct lock_views *views = lock_set_views(r->o.locks);
	bool rebooted = !str_eq(r->ledger.boot_id, r->o.facts->boot_id);

	for (size_t i = 0; i < r->ledger.n_removed; i++) {
		const struct lock_app_view *app = lock_views_app(views, r->ledger.removed[i].app_id);

		if (r->ledger.removed[i].armed || !(rebooted || (app && app->leftover)))
			continue;
		r->ledger.removed[i].armed = r->ledger.dirty = true; /* the next run may find no leftover any more */
	}
}

void ledger_load(struct reconcile *r)
{
	struct json *doc = load(r, LEDGER_FILE);

	if (doc) {
		read_rows(&r->ledger, doc);
		arm_kept_rows(r);
		while (r->ledger.n_waits && !str_eq(r->ledger.boot_id, r->o.facts->boot_id))
			remove_wait(&r->ledger, 0); /* the locks they were for are gone */
	}
	json_free(doc);
	free(r->ledger.boot_id);
	r->ledger.boot_id = mem_strdup(r->o.facts->boot_id);
	doc = load(r, TARGET_FILE);
	if (doc)
		r->target_text = mem_strdup(json_str(json_get(doc, "document")));
	json_free(doc);
}

static void open_row(struct json_writer *w, int64_t app_id)
{
	json_open_object(w);
	json_kv_i64(w, "app", app_id);
}

static void print_ledger(const struct ledger *l, struct buf *to)
{
	struct json_writer *w = json_writer_new(to);

	json_open_object(w);
	json_kv_i64(w, "schema", LEDGER_SCHEMA);
	json_kv_i64(w, "generation", (int64_t)l->generation);
	json_kv_i64(w, "seq", (int64_t)l->seq);
	json_kv_bool(w, "lookForces", l->look_forces);
	json_kv_str(w, "boot", l->boot_id);
	json_kv_str(w, "uuid", l->uuid);
	json_key(w, "apps");
	json_open_array(w);
	for (size_t i = 0; i < l->n_apps; i++)
		json_add_i64(w, l->apps[i]);
	json_close_array(w);
	json_key(w, "images");
	json_open_array(w);
	for (size_t i = 0; i < l->images.n; i++)
		json_add_str(w, l->images.v[i]);
	json_close_array(w);
	json_key(w, "removed");
	json_open_array(w);
	for (size_t i = 0; i < l->n_removed; i++) {
		open_row(w, l->removed[i].app_id);
		json_kv_str(w, "service", l->removed[i].service);
		json_kv_bool(w, "armed", l->removed[i].armed);
		json_close_object(w);
	}
	json_close_array(w);
	json_key(w, "accepted");
	json_open_array(w);
	for (size_t i = 0; i < l->n_made; i++) {
		if (!l->made[i].accepted)
			continue;
		open_row(w, l->made[i].app_id);
		json_kv_str(w, "service", l->made[i].service);
		json_close_object(w);
	}
	json_close_array(w);
	json_key(w, "forces");
	json_open_array(w);
	for (size_t i = 0; i < l->n_forces; i++) {
		open_row(w, l->forces[i].app_id);
		json_kv_i64(w, "generation", (int64_t)l->forces[i].generation);
		json_close_object(w);
	}
	json_close_array(w);
	json_key(w, "commits");
	json_open_array(w);
	for (size_t i = 0; i < l->n_commits; i++) {
		open_row(w, l->commits[i].app_id);
		json_kv_str(w, "commit", l->commits[i].commit);
		json_close_object(w);
	}
	json_close_array(w);
	json_key(w, "waits");
	json_open_array(w);
	for (size_t i = 0; i < l->n_waits; i++) {
		json_open_object(w);
		json_kv_str(w, "subject", l->waits[i].subject);
		json_kv_i64(w, "since", l->waits[i].since_ms);
		json_close_object(w);
	}
	json_close_array(w);
	json_close_object(w);
	json_writer_free(w);
}

static void on_saved(void *ctx, const struct err *err)
{
	AUTO_FREE struct save *save = ctx;
	struct reconcile *r = save->r;

	if (err) {
		log_error("store_failed", kv_str("name", LEDGER_FILE), kv_str("err", err->msg));
		failure_add(r, "store " LEDGER_FILE, 0, err->msg);
		r->ledger.dirty = true;
	} else {
		failure_clear(r, "store " LEDGER_FILE);
		if (save->edition > r->ledger.durable)
			r->ledger.durable = save->edition;
		r->ledger.armings_durable = save->armings;
	}
	cache_wait_run(save->waiters);
	reconcile_poke(r);
	reconcile_drop(r);
}

void ledger_save(struct reconcile *r)
{
	const struct failure *failed = failure_find(r, "store " LEDGER_FILE);
	struct save *save;
	struct buf text;

	if (!r->ledger.dirty || (failed && failed->retry_at_ms > loop_now_ms(r->o.loop))) {
		cache_wait_run(STEAL(r->ledger.waiters));
		return;
	}
	r->ledger.dirty = false;
	buf_init(&text, STORE_FILE_MAX_BYTES);
	print_ledger(&r->ledger, &text);
	save = mem_new(1, sizeof(*save));
	*save = (struct save){.r = r,
			      .edition = r->ledger.edition,
			      .armings = r->ledger.armings,
			      .waiters = STEAL(r->ledger.waiters)};
	reconcile_hold(r);
	store_save(r->o.store, LEDGER_FILE, buf_str(&text), text.len, on_saved, save);
	buf_deinit(&text);
}

static void on_target_saved(void *ctx, const struct err *err)
{
	struct reconcile *r = ctx;

	if (err)
		log_error("store_failed", kv_str("name", TARGET_FILE), kv_str("err", err->msg));
	reconcile_drop(r);
}

_Static_assert(STORE_FILE_MAX_BYTES >= 6 * TARGET_MAX_BYTES + 100, "every document that is accepted can be kept");

void ledger_save_target(struct reconcile *r)
{
	struct json_writer *w;
	struct buf text;

	buf_init(&text, STORE_FILE_MAX_BYTES);
	w = json_writer_new(&text);
	json_open_object(w);
	json_kv_i64(w, "schema", LEDGER_SCHEMA);
	json_kv_str(w, "document", r->target_text);
	json_close_object(w);
	json_writer_free(w);
	reconcile_hold(r);
	store_save(r->o.store, TARGET_FILE, buf_str(&text), text.len, on_target_saved, r);
	buf_deinit(&text);
}

void ledger_note_target(struct reconcile *r)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < r->target->n_apps; i++) {
		const struct target_app *a = &r->target->apps[i];

		ledger_note_app(r, a->id);
		for (size_t j = 0; j < a->n_services; j++) {
			if (strv_has(&l->images, a->services[j].image))
				continue;
			strv_add(&l->images, a->services[j].image);
			l->dirty = true;
		}
	}
}

bool ledger_record_removed(struct reconcile *r, int64_t app_id, const struct strv *services)
{
	struct ledger *l = &r->ledger;
	bool added = false;

	for (size_t i = 0; i < services->n; i++) {
		bool known = false;

		for (size_t j = 0; j < l->n_removed && !known; j++)
			known = l->removed[j].app_id == app_id && str_eq(l->removed[j].service, services->v[i]);
		if (!known)
			add_removed(l, app_id, services->v[i]);
		added |= !known;
	}
	if (added) {
		l->edition++;
		l->dirty = true;
	}
	ledger_save(r);
	return l->durable >= l->edition;
}

void ledger_arm_removed(struct reconcile *r, int64_t app_id)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < l->n_removed; i++)
		if (l->removed[i].app_id == app_id && !l->removed[i].armed) {
			l->removed[i].armed = l->dirty = true;
			l->armings++;
		}
}

static bool is_running(const struct current *c, const struct removed_row *row)
{
	for (size_t i = 0; i < c->n_containers; i++)
		if (c->containers[i].app_id == row->app_id && c->containers[i].state == CONTAINER_RUNNING &&
		    str_eq(c->containers[i].service, row->service))
			return true;
	return false;
}

bool ledger_keeps_what_is_down(struct reconcile *r, int64_t app_id)
{
	struct ledger *l = &r->ledger;

	if (l->armings_durable == l->armings || failure_find(r, "store " LEDGER_FILE))
		return true;
	for (size_t i = 0; i < l->n_removed; i++)
		if (l->removed[i].app_id == app_id && l->removed[i].armed &&
		    !is_running(&r->cache.current, &l->removed[i])) {
			ledger_save(r);
			return false;
		}
	return true;
}

void ledger_disarm_running(struct reconcile *r, int64_t app_id)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < l->n_removed; i++)
		if (l->removed[i].app_id == app_id && l->removed[i].armed &&
		    is_running(&r->cache.current, &l->removed[i])) {
			l->removed[i].armed = false;
			l->dirty = true;
		}
}

void ledger_clear_removed_service(struct reconcile *r, int64_t app_id, const char *service)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < l->n_removed; i++)
		if (l->removed[i].app_id == app_id && str_eq(l->removed[i].service, service)) {
			free(l->removed[i].service);
			l->removed[i] = l->removed[--l->n_removed];
			l->dirty = true;
			return;
		}
}

void ledger_note_app(struct reconcile *r, int64_t app_id)
{
	if (ledger_has_app(&r->ledger, app_id))
		return;
	add_app(&r->ledger, app_id);
	r->ledger.dirty = true;
}

static bool is_wanted(const struct reconcile *r, const char *ref)
{
	for (size_t i = 0; r->target && i < r->target->n_apps; i++)
		for (size_t k = 0; k < r->target->apps[i].n_services; k++)
			if (str_eq(r->target->apps[i].services[k].image, ref))
				return true;
	return false;
}

void ledger_forget_images(struct reconcile *r)
{
	const struct current *c = &r->cache.current;
	struct strv *images = &r->ledger.images;

	for (size_t i = images->n; i-- > 0;) {
		bool needed = is_wanted(r, images->v[i]);

		for (size_t k = 0; k < c->n_images && !needed; k++)
			needed = image_matches(&c->images[k], images->v[i]);
		if (needed)
			continue;
		free(images->v[i]);
		images->v[i] = images->v[--images->n];
		r->ledger.dirty = true;
	}
}

struct made_row *ledger_made(struct reconcile *r, int64_t app_id, const char *service)
{
	return find_made(&r->ledger, app_id, service);
}

void ledger_clear_made(struct reconcile *r)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < l->n_made; i++) {
		l->dirty |= l->made[i].accepted;
		free(l->made[i].service);
		free(l->made[i].container_id);
	}
	l->n_made = 0;
}

void ledger_calm_made(struct reconcile *r, int64_t app_id)
{
	for (size_t i = 0; i < r->ledger.n_made; i++)
		if (r->ledger.made[i].app_id == app_id)
			r->ledger.made[i].futile = 0;
}

void ledger_clear_removed(struct reconcile *r, int64_t app_id)
{
	struct ledger *l = &r->ledger;
	size_t kept = 0;

	for (size_t i = 0; i < l->n_removed; i++) {
		if (l->removed[i].app_id == app_id)
			free(l->removed[i].service);
		else
			l->removed[kept++] = l->removed[i];
	}
	if (kept != l->n_removed)
		l->dirty = true;
	l->n_removed = kept;
}

void ledger_forget_image(struct reconcile *r, const char *ref)
{
	struct strv *images = &r->ledger.images;

	for (size_t i = 0; i < images->n; i++)
		if (str_eq(images->v[i], ref)) {
			free(images->v[i]);
			images->v[i] = images->v[--images->n];
			r->ledger.dirty = true;
			return;
		}
}

void ledger_set_force(struct reconcile *r, int64_t app_id, uint64_t generation)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < l->n_forces; i++)
		if (l->forces[i].app_id == app_id) {
			l->forces[i].generation = generation;
			l->dirty = true;
			return;
		}
	add_force(l, app_id, generation);
	l->dirty = true;
}

void ledger_clear_force(struct reconcile *r, int64_t app_id)
{
	struct ledger *l = &r->ledger;
	size_t kept = 0;

	for (size_t i = 0; i < l->n_forces; i++)
		if (app_id && l->forces[i].app_id != app_id)
			l->forces[kept++] = l->forces[i];
	if (kept != l->n_forces)
		l->dirty = true;
	l->n_forces = kept;
}

void ledger_set_commit(struct reconcile *r, int64_t app_id, const char *commit)
{
	if (commit && !str_eq(reconcile_settled_commit(r, app_id), commit)) {
		set_commit(&r->ledger, app_id, commit);
		r->ledger.dirty = true;
	}
}

int64_t ledger_wait_began(struct reconcile *r, const char *subject, int64_t now_ms)
{
	struct ledger *l = &r->ledger;

	for (size_t i = 0; i < l->n_waits; i++)
		if (str_eq(l->waits[i].subject, subject))
			return l->waits[i].since_ms < now_ms ? l->waits[i].since_ms : now_ms;
	add_wait(l, subject, now_ms);
	l->dirty = true;
	return now_ms;
}

void ledger_wait_ended(struct reconcile *r, const char *subject)
{
	for (size_t i = 0; i < r->ledger.n_waits; i++)
		if (str_eq(r->ledger.waits[i].subject, subject)) {
			remove_wait(&r->ledger, i);
			return;
		}
}

void ledger_drop_waits(struct reconcile *r)
{
	struct ledger *l = &r->ledger;

	for (size_t i = l->n_waits; i-- > 0;) {
		bool lasts = false;

		for (size_t k = 0; k < r->n_waits && !lasts; k++)
			lasts = str_eq(r->waits[k].subject, l->waits[i].subject);
		if (!lasts)
			remove_wait(l, i);
	}
}

void ledger_deinit(struct ledger *l)
{
	for (size_t i = 0; i < l->n_waits; i++)
		free(l->waits[i].subject);
	free(l->waits);
	for (size_t i = 0; i < l->n_removed; i++)
		free(l->removed[i].service);
	for (size_t i = 0; i < l->n_commits; i++)
		free(l->commits[i].commit);
	for (size_t i = 0; i < l->n_made; i++) {
		free(l->made[i].service);
		free(l->made[i].container_id);
	}
	free(l->made);
	strv_deinit(&l->images);
	free(l->boot_id);
	free(l->uuid);
	free(l->apps);
	free(l->removed);
	free(l->forces);
	free(l->commits);
	*l = (struct ledger){0};
}
