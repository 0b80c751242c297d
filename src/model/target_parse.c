/*
 * The document from its root to its releases. Which part is ours (a bare device part, the only device, the one with
 * our uuid) is decided here, and ids that a standalone document leaves out are derived (interface "Target file").
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "model/parse.h"
#include "util/mem.h"

static bool is_config_key(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && *s != '_' && *s != ':')
			return false;
	return true;
}

/* In front of "_" in names of networks: an underscore would hide where it ends. */
static bool is_app_uuid(const char *s)
{
	return is_service_name(s) && !strchr(s, '_');
}

static bool is_commit(const char *s)
{
	for (const char *c = s; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("_.-", *c))
			return false;
	return *s;
}

static void check_key(struct parse *p, const struct at *at, bool is_fine, const char *rule)
{
	if (utf16_length(at->key) > PARSE_NAME_MAX)
		parse_error(p, at, "the name is longer than %d characters", PARSE_NAME_MAX);
	else if (!is_fine)
		parse_error(p, at, "%s", rule);
}

static void parse_releases(struct parse *p, const struct at *at, const struct json *v, struct target_app *a)
{
	if (is_null(v) || !parse_object(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));
		struct target_app rest = {.id = a->id, .uuid = a->uuid, .is_host = a->is_host};
		struct target_app *to = i == 0 ? a : &rest; /* the first one counts; all are checked */

		check_key(p, &here, is_commit(here.key),
			  "a release is named in containers' names: letters, digits, \"_\", \".\", \"-\" only");
		if (!parse_object(p, &here, json_at(v, i)))
			continue;
		to->commit = mem_strdup(here.key);
		parse_release(p, &here, json_at(v, i), to);
		rest.uuid = NULL;
		target_app_deinit(&rest);
	}
}

static void parse_class(struct parse *p, const struct at *at, const struct json *v, struct target_app *a)
{
	static const char *const classes[] = {"fleet", "app", "block", NULL};

	if (!is_null(v) && !is_one_of(json_str(v), classes))
		parse_expected(p, at, "fleet, app or block", v);
	a->app_class = mem_strdup(json_str_or(v, "fleet"));
}

static void parse_app(struct parse *p, const struct at *at, const struct json *v, struct target_app *a)
{
	struct at id = at_key(at, "id"), name = at_key(at, "name"), class = at_key(at, "class");
	struct at is_host = at_key(at, "is_host"), parent = at_key(at, "parent_app"), releases = at_key(at, "releases");
	const struct json *host = json_get(v, "is_host");

	a->uuid = mem_strdup(at->key);
	check_key(p, at, is_app_uuid(at->key),
		  "an app is named in networks' names: letters, digits, \".\", \"-\" only");
	if (!parse_object(p, at, v))
		return;
	if (!json_get(v, "id") && p->o->standalone)
		a->id = str_crc32(a->uuid) & 0x7fffffff;
	else
		parse_id(p, &id, json_get(v, "id"), 1, &a->id);
	a->name = mem_strdup(parse_name(p, &name, json_get(v, "name")));
	parse_class(p, &class, json_get(v, "class"), a);
	if (host && !json_is(host, JSON_BOOL))
		parse_expected(p, &is_host, "true or false", host);
	a->is_host = json_bool(host);
	if (json_get(v, "parent_app"))
		parse_name(p, &parent, json_get(v, "parent_app"));
	parse_releases(p, &releases, json_get(v, "releases"), a);
}

static int by_app_id(const void *a, const void *b)
{
	const struct target_app *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

struct owner {
	const struct target_app *app;
	const struct target_service *service;
	char *name; /* of the container */
};

static int by_service_id(const void *a, const void *b)
{
	int64_t x = ((const struct owner *)a)->service->id, y = ((const struct owner *)b)->service->id;

	return x < y ? -1 : x > y;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct owner *)a)->name, ((const struct owner *)b)->name);
}

static bool is_derived(const struct owner *o)
{
	return o->service->id == target_derived_service_id(o->app, o->service->name);
}

static void report_pair(struct parse *p, const struct at *apps, const struct owner *o, const char *what)
{
	struct at app = at_key(apps, o[1].app->uuid), releases = at_key(&app, "releases");
	struct at release = at_key(&releases, o[1].app->commit), services = at_key(&release, "services");
	struct at here = at_key(&services, o[1].service->name);

	parse_error(p, &here, "gets the same %s as service \"%.80s\" of app \"%.80s\"", what, o->service->name,
		    o->app->uuid);
}

/* Ids that were derived must not meet, and a container's name is one service's only. */
static void check_services(struct parse *p, const struct at *apps, const struct target *t)
{
	struct owner *all = NULL;
	size_t n = 0, capacity = 0;

	for (size_t i = 0; i < t->n_apps; i++) {
		const struct target_app *a = &t->apps[i];

		mem_reserve(&all, &capacity, n + a->n_services + 1, sizeof(*all));
		for (size_t k = 0; k < a->n_services; k++)
			all[n++] = (struct owner){a, &a->services[k], service_container_name(a, &a->services[k])};
	}
	if (n)
		qsort(all, n, sizeof(*all), by_service_id);
	for (size_t i = 1; i < n; i++)
		if (all[i].service->id == all[i - 1].service->id && (is_derived(&all[i]) || is_derived(&all[i - 1])))
			report_pair(p, apps, &all[i - 1], "id");
	if (n)
		qsort(all, n, sizeof(*all), by_name);
	for (size_t i = 1; i < n; i++)
		if (str_eq(all[i].name, all[i - 1].name))
			report_pair(p, apps, &all[i - 1], "container name");
	for (size_t i = 0; i < n; i++)
		free(all[i].name);
	free(all);
}

static void check_app_ids(struct parse *p, const struct at *apps, const struct target *t)
{
	for (size_t i = 1; i < t->n_apps; i++) {
		const struct target_app *a = &t->apps[i];
		struct at app = at_key(apps, a->uuid), here = at_key(&app, "id");

		if (a->id && a->id == a[-1].id)
			parse_error(p, &here, "app \"%.80s\" has the same id %" PRId64, a[-1].uuid, a->id);
	}
}

static int by_release_id(const void *a, const void *b)
{
	const struct target_app *x = *(const struct target_app *const *)a, *y = *(const struct target_app *const *)b;

	if (x->release_id != y->release_id)
		return x->release_id < y->release_id ? -1 : 1;
	return strcmp(x->commit, y->commit);
}

static bool has_derived_release(const struct target_app *a)
{
	return a->release_id == (str_crc32(a->commit) & 0x7fffffff);
}

/* A derived id must stand for one commit. That two apps are at the same commit is no collision: it is the same key. */
static void check_releases(struct parse *p, const struct at *apps, const struct target *t)
{
	const struct target_app **all = mem_new(t->n_apps + 1, sizeof(struct target_app *));
	size_t n = 0;

	for (size_t i = 0; i < t->n_apps; i++)
		if (t->apps[i].commit)
			all[n++] = &t->apps[i];
	if (n)
		qsort(all, n, sizeof(struct target_app *), by_release_id);
	for (size_t i = 1; i < n; i++) {
		const struct target_app *a = all[i], *other = all[i - 1];
		struct at app = at_key(apps, a->uuid), releases = at_key(&app, "releases");
		struct at here = at_key(&releases, a->commit);

		if (a->release_id == other->release_id && !str_eq(a->commit, other->commit) &&
		    (has_derived_release(a) || has_derived_release(other)))
			parse_error(p, &here, "gets the same id as release \"%.80s\" of app \"%.80s\"", other->commit,
				    other->uuid);
	}
	free(all);
}

static void parse_apps(struct parse *p, const struct at *at, const struct json *v, struct target *t)
{
	if (!parse_object(p, at, v))
		return;
	t->apps = mem_new(json_size(v) + 1, sizeof(*t->apps));
	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));

		parse_app(p, &here, json_at(v, i), &t->apps[t->n_apps++]);
	}
	if (t->n_apps)
		qsort(t->apps, t->n_apps, sizeof(*t->apps), by_app_id);
	check_app_ids(p, at, t);
	if (!p->errors->total) {
		check_services(p, at, t);
		check_releases(p, at, t);
	}
}

static void parse_device(struct parse *p, const struct at *at, const struct json *v, struct target *t)
{
	struct at name = at_key(at, "name"), config = at_key(at, "config"), apps = at_key(at, "apps");
	bool standalone = p->o->standalone;

	if (!json_get(v, "name") && standalone)
		t->name = mem_strdup("local");
	else
		t->name = mem_strdup(parse_name(p, &name, json_get(v, "name")));
	if (t->name && strchr(t->name, '\n'))
		parse_error(p, &name, "holds a newline");
	if (json_get(v, "config") || !standalone)
		parse_string_map(p, &config, json_get(v, "config"), is_config_key, "[a-zA-Z_][a-zA-Z0-9_:]*",
				 &t->config);
	if (json_get(v, "apps"))
		parse_apps(p, &apps, json_get(v, "apps"), t);
	else
		parse_error(p, &apps, "is missing: only an explicit \"apps\": {} removes everything");
}

/* The whole document: every device is checked, ours is kept. */
static struct target *parse_devices(struct parse *p, const struct json *root)
{
	struct target *ours = NULL;

	if (!json_size(root))
		parse_error(p, NULL, "there is no \"apps\" member and no device");
	else if (!p->o->device_uuid && json_size(root) > 1)
		parse_error(p, NULL, "expected one device, got %zu", json_size(root));
	for (size_t i = 0; i < json_size(root); i++) {
		struct at here = at_key(NULL, json_key_at(root, i));
		struct target *t = mem_new(1, sizeof(*t));

		check_key(p, &here, *here.key, "a device needs a uuid");
		t->uuid = mem_strdup(here.key);
		if (parse_object(p, &here, json_at(root, i)))
			parse_device(p, &here, json_at(root, i), t);
		if (!ours && (!p->o->device_uuid || str_eq(p->o->device_uuid, t->uuid)))
			ours = t;
		else
			target_free(t);
	}
	if (!ours && json_size(root))
		parse_error(p, NULL, "device %.80s is not in it", p->o->device_uuid);
	return ours;
}

static bool is_bare(const struct json *root)
{
	return json_get(root, "apps") || json_get(root, "config") || json_get(root, "name");
}

int target_parse(const char *text, size_t len, const struct target_options *o, struct target **out,
		 struct target_errors *errors)
{
	struct parse p = {.o = o, .errors = errors};
	struct json *root = NULL;
	struct target *t = NULL;
	struct err err = {0};
	int rc = json_parse(text, len, TARGET_MAX_BYTES, &root, &err);

	*out = NULL;
	if (rc < 0) {
		parse_error(&p, NULL, "%s", err.msg);
		return rc == -E2BIG ? -E2BIG : -EINVAL;
	}
	if (parse_object(&p, NULL, root)) {
		if (o->standalone && is_bare(root)) {
			t = mem_new(1, sizeof(*t));
			parse_device(&p, NULL, root, t);
		} else {
			t = parse_devices(&p, root);
		}
	}
	json_free(root);
	if (errors->total) {
		target_free(t);
		return -EINVAL;
	}
	*out = t;
	return 0;
}
