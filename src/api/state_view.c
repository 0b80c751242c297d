/*
 * GET /v2/applications/state and /v2/state/status: what runs, in the words of spec device-api.md 10. Everything comes
 * from our own current state, never from a question to the engine: so both answer while the engine is away.
 *
 * Ours beside the reference's members: `targetProblem`, `engineProblem` and `foreign`, each only when there is
 * something to say, and with the query apps=all every app instead of the lowest one, with `releases`. A container of
 * the supervisor itself carries `"supervisor": true`.
 */
#include "api/internal.h"

#include <string.h>

#include "model/own.h"
#include "util/mem.h"
#include "util/str.h"

/* ---- who and what ---- */

static const struct target_app no_apps[1];

static size_t target_apps(const struct view *v, const struct target_app **out)
{
	const struct target *t = reconcile_target(v->reconcile);

	*out = t ? t->apps : no_apps;
	return t ? t->n_apps : 0;
}

static bool is_foreign(const struct view *v, int64_t app_id)
{
	const struct plan *p = reconcile_plan(v->reconcile);

	for (size_t i = 0; p && i < p->n_foreign; i++)
		if (p->foreign[i] == app_id)
			return true;
	return false;
}

const char *view_app_uuid(const struct view *v, int64_t app_id)
{
	const struct current *c = reconcile_current(v->reconcile);
	const struct target *t = reconcile_target(v->reconcile);
	const struct target_app *a = t ? target_find_app(t, app_id) : NULL;

	if (a)
		return a->uuid;
	for (size_t i = 0; i < c->n_containers; i++)
		if (c->containers[i].service && c->containers[i].app_id == app_id)
			return c->containers[i].app_uuid;
	return NULL;
}

void view_kv_time(struct json_writer *w, const char *key, int64_t unix_ms)
{
	char text[STR_TIME_SIZE];

	json_kv_str(w, key, unix_ms ? str_time(unix_ms, text) : NULL);
}

void view_add_problems(const struct view *v, struct json_writer *w)
{
	const char *target = reconcile_target_problem(v->reconcile);
	const char *engine = reconcile_engine_problem(v->reconcile);

	if (target && v->scope.global)
		json_kv_str(w, "targetProblem", target);
	else if (target) /* its words may quote another app */
		json_kv_str(w, "targetProblem",
			    "the newest target cannot be used; the global key shows why, and so does the log");
	if (engine)
		json_kv_str(w, "engineProblem", engine);
}

bool view_wants_all_apps(const char *query)
{
	while (*query) {
		size_t len = strcspn(query, "&");

		if (len == 8 && !strncmp(query, "apps=all", len))
			return true;
		query += len + (query[len] == '&');
	}
	return false;
}

/* ---- words ---- */

/* What our own step does to this container now; NULL: nothing. */
static const char *container_step_word(const struct view *v, const struct container *c)
{
	enum plan_step_kind kind = reconcile_service_step(v->reconcile, c->app_id, c->service);
	const struct plan *p = reconcile_plan(v->reconcile);

	for (size_t i = 0; p && i < p->n_steps; i++) {
		const struct plan_step *s = &p->steps[i];

		if (s->in_flight && s->kind == kind && s->app_id == c->app_id && str_eq(s->service, c->service) &&
		    s->container_id && !str_eq(s->container_id, c->id))
			return NULL; /* another container of the same service */
	}
	switch (kind) {
	case STEP_STOP:
	case STEP_REMOVE:
		return "Stopping";
	case STEP_START:
		return "Starting";
	case STEP_CREATE:
		return c->state == CONTAINER_CREATED ? "Installing" : NULL;
	default:
		return NULL;
	}
}

static const char *container_word(const struct view *v, const struct container *c)
{
	const char *step = container_step_word(v, c);

	return step ? step : container_status(c);
}

static const struct image *local_image(const struct view *v, const char *ref)
{
	const struct current *c = reconcile_current(v->reconcile);

	for (size_t i = 0; i < c->n_images; i++)
		if (image_matches(&c->images[i], ref))
			return &c->images[i];
	return NULL;
}

static void kv_percent(struct json_writer *w, const char *key, int percent)
{
	if (percent < 0)
		json_kv_null(w, key);
	else
		json_kv_i64(w, key, percent);
}

static void kv_id(struct json_writer *w, const char *key, int64_t id)
{
	if (id)
		json_kv_i64(w, key, id);
}

/* ---- /v2/applications/state ---- */

/* The container that runs this service of this release. */
static const struct container *release_container(const struct view *v, const struct target_app *a,
						 const struct target_service *s)
{
	const struct current *c = reconcile_current(v->reconcile);

	for (size_t i = 0; i < c->n_containers; i++) {
		const struct container *one = &c->containers[i];

		if (one->app_id == a->id && str_eq(one->service, s->name) && str_eq(one->commit, a->commit))
			return one;
	}
	return NULL;
}

/* NULL: nothing of it is on this device yet. */
static const char *service_word(const struct view *v, const struct target_app *a, const struct target_service *s)
{
	const struct container *c = release_container(v, a, s);

	if (c)
		return container_word(v, c);
	if (reconcile_service_step(v->reconcile, a->id, s->name) == STEP_CREATE)
		return "Installing";
	if (reconcile_pull_percent(v->reconcile, s->image) >= 0)
		return "Downloading";
	return local_image(v, s->image) ? "Downloaded" : NULL;
}

enum update_status { UPDATE_DONE, UPDATE_APPLYING, UPDATE_DOWNLOADED, UPDATE_DOWNLOADING };
static const char *const update_status_names[] = {
	[UPDATE_DONE] = "done",
	[UPDATE_APPLYING] = "applying changes",
	[UPDATE_DOWNLOADED] = "downloaded",
	[UPDATE_DOWNLOADING] = "downloading",
};

static enum update_status service_update_status(const struct view *v, const struct target_app *a, const char *word,
						int percent)
{
	if (percent >= 0 && percent != 100)
		return UPDATE_DOWNLOADING;
	if (str_eq(word, "Downloaded"))
		return UPDATE_DOWNLOADED;
	if (str_eq(word, "Installing") || str_eq(word, "Installed"))
		return UPDATE_APPLYING;
	/* Its image is neither here nor on its way: a pull that is queued or backs off. */
	return word || reconcile_app_settled(v->reconcile, a->id) ? UPDATE_DONE : UPDATE_APPLYING;
}

static void add_service(const struct view *v, const struct target_app *a, const struct target_service *s,
			struct json_writer *w, enum update_status *status)
{
	const char *word = service_word(v, a, s);
	int percent = str_eq(word, "Downloading") ? reconcile_pull_percent(v->reconcile, s->image) : -1;
	enum update_status own = service_update_status(v, a, word, percent);

	if (own > *status)
		*status = own;
	json_key(w, s->name);
	json_open_object(w);
	if (word)
		json_kv_str(w, "status", word);
	json_kv_str(w, "image", s->image);
	kv_percent(w, "downloadProgress", percent);
	json_kv_i64(w, "releaseId", a->release_id);
	json_close_object(w);
}

/* Run by the host, and to answer this it does run (spec engine.md 7.3). */
static void add_left_out(const struct target_app *a, const struct target_left_out *s, struct json_writer *w)
{
	json_key(w, s->name);
	json_open_object(w);
	json_kv_str(w, "status", "Running");
	json_kv_str(w, "image", s->image);
	json_kv_null(w, "downloadProgress");
	json_kv_i64(w, "releaseId", a->release_id);
	json_close_object(w);
}

static void add_application(const struct view *v, const struct target_app *a, struct json_writer *w)
{
	enum update_status status = UPDATE_DONE;

	json_open_object(w);
	json_kv_i64(w, "appId", a->id);
	json_kv_str(w, "appUuid", a->uuid);
	json_kv_str(w, "commit", a->commit);
	json_key(w, "services");
	json_open_object(w);
	for (size_t i = 0; a->commit && i < a->n_services; i++)
		add_service(v, a, &a->services[i], w, &status);
	for (size_t i = 0; a->commit && i < a->n_left_out; i++)
		add_left_out(a, &a->left_out[i], w);
	json_close_object(w);
	json_kv_str(w, "updateStatus", update_status_names[status]);
	json_close_object(w);
}

/* Keyed by name, as clients expect; where an earlier app has that name, the id tells them apart. */
void view_applications(const struct view *v, struct json_writer *w)
{
	const struct target_app *apps;
	size_t n = target_apps(v, &apps);

	json_open_object(w);
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *key = NULL;
		bool taken = false;

		if (!key_scope_covers(&v->scope, apps[i].id))
			continue;
		for (size_t j = 0; j < i && !taken; j++)
			taken = str_eq(apps[j].name, apps[i].name) && key_scope_covers(&v->scope, apps[j].id);
		key = taken ? mem_printf("%s (%lld)", apps[i].name, (long long)apps[i].id) : mem_strdup(apps[i].name);
		json_key(w, key);
		add_application(v, &apps[i], w);
	}
	json_close_object(w);
}

/* ---- /v2/state/status ---- */

/* Which apps one answer is about: one, or with apps=all every one the key covers. */
struct chosen {
	const struct view *view;
	int64_t app_id;
	bool any; /* is there one at all? */
	int64_t percent_sum;
	unsigned downloads;
};

static void choose(struct chosen *c, int64_t app_id)
{
	if (!key_scope_covers(&c->view->scope, app_id) || is_foreign(c->view, app_id))
		return;
	if (!c->any || app_id < c->app_id)
		c->app_id = app_id;
	c->any = true;
}

static void choose_containers(struct chosen *c, bool own)
{
	const struct current *current = reconcile_current(c->view->reconcile);
	const struct device_facts *facts = reconcile_facts(c->view->reconcile);

	for (size_t i = 0; i < current->n_containers; i++)
		if (current->containers[i].service && own_container(&current->containers[i], facts) == own)
			choose(c, current->containers[i].app_id);
}

/* The lowest app that has something to show; the supervisor's own only when there is no other. */
static struct chosen choose_app(const struct view *v)
{
	struct chosen c = {.view = v};
	const struct target_app *apps;
	size_t n = target_apps(v, &apps);

	choose_containers(&c, false);
	for (size_t i = 0; i < n; i++)
		if (apps[i].n_services > 0)
			choose(&c, apps[i].id);
	if (!c.any)
		choose_containers(&c, true);
	return c;
}

static bool shows(const struct chosen *c, int64_t app_id)
{
	if (c->view->all_apps)
		return key_scope_covers(&c->view->scope, app_id);
	return c->any && app_id == c->app_id;
}

static bool is_applied(const struct view *v)
{
	const struct plan *p = reconcile_plan(v->reconcile);

	if (reconcile_engine_problem(v->reconcile) || !reconcile_current(v->reconcile)->known)
		return false;
	for (size_t i = 0; p && i < p->n_apps; i++)
		if (!reconcile_app_settled(v->reconcile, p->apps[i].app_id))
			return false;
	return true;
}

static void add_container(const struct view *v, const struct container *c, struct json_writer *w)
{
	json_open_object(w);
	json_kv_str(w, "status", container_word(v, c));
	json_kv_str(w, "serviceName", c->service);
	json_kv_i64(w, "appId", c->app_id);
	kv_id(w, "imageId", c->image_id);
	kv_id(w, "serviceId", c->service_id);
	json_kv_str(w, "containerId", c->id);
	view_kv_time(w, "createdAt", c->created_ms);
	if (own_container(c, reconcile_facts(v->reconcile)))
		json_kv_bool(w, "supervisor", true);
	json_close_object(w);
}

struct image_row {
	const char *name, *service, *docker_id;
	int64_t app_id, image_id;
	int percent; /* -1: on the device */
};

static void add_image(struct chosen *c, const struct image_row *row, struct json_writer *w)
{
	json_open_object(w);
	json_kv_str(w, "name", row->name);
	json_kv_i64(w, "appId", row->app_id);
	json_kv_str(w, "serviceName", row->service);
	kv_id(w, "imageId", row->image_id);
	if (row->docker_id)
		json_kv_str(w, "dockerImageId", row->docker_id);
	json_kv_str(w, "status", row->percent >= 0 ? "Downloading" : "Downloaded");
	kv_percent(w, "downloadProgress", row->percent);
	json_close_object(w);
	if (row->percent >= 0) {
		c->percent_sum += row->percent;
		c->downloads++;
	}
}

/* Images the target names, as far as they are here or on their way. */
static void add_target_images(struct chosen *c, const struct target_app *a, struct json_writer *w)
{
	for (size_t i = 0; i < a->n_services; i++) {
		const struct target_service *s = &a->services[i];
		const struct image *local = local_image(c->view, s->image);
		struct image_row row = {s->image, s->name, local ? local->id : NULL, a->id, s->image_id, -1};

		row.percent = reconcile_pull_percent(c->view->reconcile, s->image);
		if (local || row.percent >= 0)
			add_image(c, &row, w);
	}
}

/* The image of a container whose release is not the target's any more. */
static void add_old_image(struct chosen *c, const struct container *one, struct json_writer *w)
{
	const struct current *current = reconcile_current(c->view->reconcile);
	const struct target *t = reconcile_target(c->view->reconcile);
	const struct target_app *a = t ? target_find_app(t, one->app_id) : NULL;
	const struct target_service *s = a ? target_app_find_service(a, one->service) : NULL;
	struct image_row row = {one->image, one->service, one->docker_image_id, one->app_id, one->image_id, -1};

	if (s && s->image_id == one->image_id)
		return; /* named by the target as well */
	for (size_t i = 0; i < current->n_images; i++) {
		const struct image *image = &current->images[i];

		if (str_eq(image->id, one->docker_image_id) && image->digests.n + image->tags.n > 0)
			row.name = image->digests.n ? image->digests.v[0] : image->tags.v[0];
	}
	add_image(c, &row, w);
}

static void add_images(struct chosen *c, struct json_writer *w)
{
	const struct current *current = reconcile_current(c->view->reconcile);
	const struct target_app *apps;
	size_t n = target_apps(c->view, &apps);

	json_key(w, "images");
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		if (shows(c, apps[i].id))
			add_target_images(c, &apps[i], w);
	for (size_t i = 0; i < current->n_containers; i++)
		if (current->containers[i].service && shows(c, current->containers[i].app_id))
			add_old_image(c, &current->containers[i], w);
	json_close_array(w);
}

static void add_containers(const struct chosen *c, struct json_writer *w)
{
	const struct current *current = reconcile_current(c->view->reconcile);

	json_key(w, "containers");
	json_open_array(w);
	for (size_t i = 0; i < current->n_containers; i++)
		if (current->containers[i].service && shows(c, current->containers[i].app_id))
			add_container(c->view, &current->containers[i], w);
	json_close_array(w);
}

static void add_overall_progress(const struct chosen *c, struct json_writer *w)
{
	if (c->downloads == 0)
		json_kv_null(w, "overallDownloadProgress");
	else if (c->percent_sum % c->downloads == 0)
		json_kv_i64(w, "overallDownloadProgress", c->percent_sum / c->downloads);
	else {
		json_key(w, "overallDownloadProgress");
		json_add_double(w, (double)c->percent_sum / c->downloads);
	}
}

static void add_releases(const struct chosen *c, struct json_writer *w)
{
	const char *commit = c->any ? reconcile_settled_commit(c->view->reconcile, c->app_id) : NULL;
	const struct target_app *apps;
	size_t n = target_apps(c->view, &apps);

	if (commit)
		json_kv_str(w, "release", commit);
	if (!c->view->all_apps)
		return;
	json_key(w, "releases");
	json_open_array(w);
	for (size_t i = 0; i < n; i++) {
		if (!shows(c, apps[i].id))
			continue;
		json_open_object(w);
		json_kv_i64(w, "appId", apps[i].id);
		json_kv_str(w, "release", reconcile_settled_commit(c->view->reconcile, apps[i].id));
		json_close_object(w);
	}
	json_close_array(w);
}

static void add_foreign(const struct view *v, struct json_writer *w)
{
	const struct plan *p = reconcile_plan(v->reconcile);

	if (!v->scope.global || !p || p->n_foreign == 0)
		return;
	json_key(w, "foreign");
	json_open_array(w);
	for (size_t i = 0; i < p->n_foreign; i++)
		json_add_i64(w, p->foreign[i]);
	json_close_array(w);
}

void view_status(const struct view *v, struct json_writer *w)
{
	struct chosen c = choose_app(v);

	json_open_object(w);
	json_kv_str(w, "status", "success");
	json_kv_str(w, "appState", is_applied(v) ? "applied" : "applying");
	add_containers(&c, w);
	add_images(&c, w);
	add_overall_progress(&c, w);
	add_releases(&c, w);
	view_add_problems(v, w);
	add_foreign(v, w);
	json_close_object(w);
}
