/*
 * One release: its services, networks and volumes. The schema is checked for all services; what a service asks for
 * only for those that we are to run (not the host's own, not the supervisor's).
 */
#include <inttypes.h>
#include <string.h>

#include "model/own.h"
#include "model/parse.h"
#include "model/read.h"
#include "util/mem.h"

static bool is_env_key(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == strlen(s) &&
	       !(*s >= '0' && *s <= '9');
}

static bool is_label_key(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s > '~' || strchr("\"'`", *s))
			return false;
	return true;
}

int64_t target_derived_service_id(const struct target_app *a, const char *service)
{
	AUTO_FREE char *key = mem_printf("%s%s", service, a->uuid);

	return str_crc32(key) & 0x7fffffff;
}

static void parse_service_id(struct parse *p, const struct at *at, const struct json *service, const char *key,
			     int64_t derived, int64_t *out)
{
	struct at here = at_key(at, key);
	const struct json *v = json_get(service, key);

	if (!v && p->o->standalone)
		*out = derived;
	else
		parse_id(p, &here, v, 0, out);
}

static void parse_image(struct parse *p, const struct at *at, const struct json *v, struct target_service *s)
{
	struct err err = {0};
	const char *ref = parse_name(p, at, v);

	if (!ref)
		return;
	s->image = image_normalise(ref, &err);
	if (!s->image)
		parse_error(p, at, "%s", err.msg);
	s->spec.image = mem_strdup(s->image);
}

static void force_labels(const struct target_app *a, struct target_service *s)
{
	AUTO_FREE char *app = mem_printf("%" PRId64, a->id), *id = mem_printf("%" PRId64, s->id);
	struct strmap *l = &s->spec.labels;

	labels_rename(l);
	strmap_set(l, "io.balena.supervised", "true");
	strmap_set(l, "io.balena.app-id", app);
	strmap_set(l, "io.balena.service-id", id);
	strmap_set(l, "io.balena.service-name", s->name);
	strmap_set(l, "io.balena.app-uuid", a->uuid);
}

/* Of the host or the supervisor itself: not ours to run (spec engine.md 7.3, 7.4). */
static bool is_left_out(const struct target_app *a, const struct target_service *s)
{
	const char *class = strmap_get(&s->spec.labels, "io.balena.image.class");
	const char *store = strmap_get(&s->spec.labels, "io.balena.image.store");

	if (own_app_service(a->uuid, s->name))
		return true;
	return a->is_host && ((class && !str_eq(class, "service")) || (store && !str_eq(store, "data")));
}

static void parse_running(struct parse *p, const struct at *at, const struct json *v, bool *out)
{
	*out = true;
	if (is_null(v))
		return;
	if (json_is(v, JSON_BOOL))
		*out = json_bool(v);
	else
		parse_expected(p, at, "true or false", v);
}

/* Members of fixed type that a service has; what it asks for comes after. */
static void parse_members(struct parse *p, const struct at *at, const struct json *v, const struct target_app *a,
			  struct target_service *s)
{
	int64_t derived = target_derived_service_id(a, s->name);
	struct at image = at_key(at, "image"), env = at_key(at, "environment"), labels = at_key(at, "labels");
	struct at running = at_key(at, "running"), contract = at_key(at, "contract");

	parse_service_id(p, at, v, "id", derived, &s->id);
	parse_service_id(p, at, v, "image_id", derived, &s->image_id);
	parse_image(p, &image, json_get(v, "image"), s);
	parse_string_map(p, &env, json_get(v, "environment"), is_env_key, "[a-zA-Z_][a-zA-Z0-9_]*", &s->spec.env);
	parse_string_map(p, &labels, json_get(v, "labels"), is_label_key, "printable ASCII without space and quotes",
			 &s->spec.labels);
	parse_running(p, &running, json_get(v, "running"), &s->running);
	if (json_get(v, "contract"))
		parse_object(p, &contract, json_get(v, "contract"));
}

/* False: the service is not ours to run, and `s` to be dropped. */
static bool parse_service(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			  struct target_service *s)
{
	struct at composition = at_key(at, "composition");
	const struct json *c = json_get(v, "composition");
	struct strmap document = {0};

	if (!parse_object(p, at, v))
		return true;
	parse_members(p, at, v, scope->app, s);
	if (c && !parse_object(p, &composition, c))
		return true;
	strmap_copy(&document, &s->spec.labels);
	labels_rename(&s->spec.labels);
	if (is_left_out(scope->app, s)) {
		strmap_deinit(&document);
		return false;
	}
	strmap_deinit(&s->spec.labels);
	s->spec.labels = document;
	parse_composition(p, &composition, c, scope, s);
	force_labels(scope->app, s);
	parse_feature_labels(p, at, json_get(v, "labels"), s);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct target_service *)a)->name, ((const struct target_service *)b)->name);
}

/* A service that is left out is nobody's to wait for. */
static void drop_dependency(struct target_service *s, const struct target_app *a)
{
	size_t n = 0;

	for (size_t i = 0; i < s->depends_on.n; i++) {
		if (target_app_find_service(a, s->depends_on.v[i]))
			s->depends_on.v[n++] = s->depends_on.v[i];
		else
			free(s->depends_on.v[i]);
	}
	s->depends_on.n = n;
}

/* The supervisor itself is not run by us, but told to be there (spec engine.md 7.3). Takes what `s` holds. */
static void leave_out(struct target_app *a, struct target_service *s)
{
	if (own_app_service(a->uuid, s->name))
		a->left_out[a->n_left_out++] = (struct target_left_out){STEAL(s->name), STEAL(s->image)};
	target_service_deinit(s);
}

/* Checks a key that names a service, network or volume. */
static bool check_key(struct parse *p, const struct at *at)
{
	if (utf16_length(at->key) > PARSE_NAME_MAX)
		parse_error(p, at, "the name is longer than %d characters", PARSE_NAME_MAX);
	else if (!is_service_name(at->key))
		parse_error(p, at, "the name must match [a-zA-Z0-9][a-zA-Z0-9_.-]*");
	else
		return true;
	return false;
}

/* A declared network or volume: both its name and its value are looked at. */
static bool check_entry(struct parse *p, const struct at *at, const struct json *v)
{
	bool fine = check_key(p, at);

	return parse_object(p, at, v) && fine;
}

static void parse_services(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			   struct target_app *a)
{
	if (is_null(v) || !parse_object(p, at, v))
		return;
	a->services = mem_new(json_size(v) + 1, sizeof(*a->services));
	a->left_out = mem_new(json_size(v) + 1, sizeof(*a->left_out));
	for (size_t i = 0; i < json_size(v); i++) {
		struct target_service *s = &a->services[a->n_services];
		struct at here = at_key(at, json_key_at(v, i));

		check_key(p, &here);
		s->name = mem_strdup(here.key);
		if (parse_service(p, &here, json_at(v, i), scope, s))
			a->n_services++;
		else
			leave_out(a, s);
	}
	if (a->n_services)
		qsort(a->services, a->n_services, sizeof(*a->services), by_name);
	for (size_t i = 0; i < a->n_services; i++)
		drop_dependency(&a->services[i], a);
	parse_cycles(p, at, a);
}

static bool all_on_host(const struct target_app *a)
{
	for (size_t i = 0; i < a->n_services; i++)
		if (!str_eq(a->services[i].spec.network_mode, "host"))
			return false;
	return a->n_services > 0;
}

static void parse_networks(struct parse *p, const struct at *at, const struct json *v, struct target_app *a)
{
	a->networks = mem_new(json_size(v) + 2, sizeof(*a->networks));
	for (size_t i = 0; json_is(v, JSON_OBJECT) && i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));

		if (check_entry(p, &here, json_at(v, i)))
			parse_network(p, &here, json_at(v, i), a, here.key, &a->networks[a->n_networks++]);
	}
	if (!json_get(v, "default")) {
		struct target_network *n = &a->networks[a->n_networks++];

		parse_network(p, at, NULL, a, "default", n);
		n->config_only = all_on_host(a);
	}
}

static void parse_release_volumes(struct parse *p, const struct at *at, const struct json *v, struct target_app *a)
{
	a->volumes = mem_new(json_size(v) + 1, sizeof(*a->volumes));
	for (size_t i = 0; json_is(v, JSON_OBJECT) && i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));

		if (check_entry(p, &here, json_at(v, i)))
			parse_volume(p, &here, json_at(v, i), a, here.key, &a->volumes[a->n_volumes++]);
	}
}

void parse_release(struct parse *p, const struct at *at, const struct json *v, struct target_app *a)
{
	struct at id = at_key(at, "id"), services = at_key(at, "services"), volumes = at_key(at, "volumes");
	struct at networks = at_key(at, "networks");
	struct scope scope = {.app = a,
			      .services = json_get(v, "services"),
			      .volumes = json_get(v, "volumes"),
			      .networks = json_get(v, "networks")};

	if (!json_get(v, "id") && p->o->standalone)
		a->release_id = str_crc32(a->commit) & 0x7fffffff;
	else
		parse_id(p, &id, json_get(v, "id"), 0, &a->release_id);
	if (!is_null(scope.volumes))
		parse_object(p, &volumes, scope.volumes);
	if (!is_null(scope.networks))
		parse_object(p, &networks, scope.networks);
	parse_services(p, &services, scope.services, &scope, a);
	parse_networks(p, &networks, scope.networks, a);
	parse_release_volumes(p, &volumes, scope.volumes, a);
}
