/*
 * A model of the device for tests of the planner: an engine, update locks and the notes that the reconciler keeps, all
 * as plain values. Steps are begun and completed one by one, so that a test can let them overlap, fail or be forgotten.
 * Whatever must never happen (a stop under an application's lock, a second container of one name, …) fails the test at
 * the step that would do it. Included by the tests that need it; every function is static.
 */
#ifndef TEST_PLAN_MODEL_ENGINE_H
#define TEST_PLAN_MODEL_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "plan/plan.h"
#include "util/backoff.h"
#include "util/mem.h"

#define WORLD_STOP_MS 10000

struct world_lock { /* our side of one app */
	int64_t app_id;
	enum lock_app_state state;
	bool leftover, legacy;
};
struct world_flight {
	enum plan_step_kind kind;
	char *subject, *service, *image, *name, *container_id;
	int64_t app_id;
	struct service_config config;
	struct strv locks, replaces;
	enum lock_force force;
	bool dead; /* a stop: the container died already */
};
struct world_failure {
	char *subject, *error;
	int64_t app_id, retry_at_ms;
	unsigned attempts;
};
struct world {
	struct target *target;
	bool target_is_borrowed; /* from a pool of the test */
	uint64_t generation;
	struct plan_memo *memo; /* NULL: a test that plans without */
	uint64_t seed;          /* 0: not a random test */
	struct current now;
	size_t containers_capacity, networks_capacity, volumes_capacity, images_capacity;
	struct world_lock *locks;
	size_t n_locks, locks_capacity;
	struct strv held_by_apps; /* "1/web"; "1/" of the app as a whole; "1/!web" one that does not count */
	struct strv removed;      /* "1/web" */
	struct strv accepted;     /* "1/web" */
	struct strv owned_images;
	int64_t owned[32], forced[32];
	size_t n_owned, n_forced;
	struct world_flight *flights;
	size_t n_flights, flights_capacity;
	struct world_failure *failures;
	size_t n_failures, failures_capacity;
	struct device_facts facts;
	int64_t now_ms;
	unsigned next_id, pulls_max;
	struct strv populated; /* apps that had a container when the input was made */
	/* the arrays behind the last input */
	struct lock_views views;
	struct plan_in_flight *in_flight;
	struct plan_failure *in_failures;
	struct plan_removed *in_removed, *in_accepted;
};

#define WORLD_CHECK(w, condition, ...)                                                                                 \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			print_error("seed %llu: ", (unsigned long long)(w)->seed);                                     \
			print_error(__VA_ARGS__);                                                                      \
			fail_msg(" [%s]", #condition);                                                                 \
		}                                                                                                      \
	} while (0)

static inline void world_init(struct world *w)
{
	*w = (struct world){.now_ms = 1000000, .pulls_max = 3, .now.known = true};
	w->facts.uuid = mem_strdup("0123456789abcdef0123456789abcdef");
	w->facts.type = mem_strdup("generic");
	w->facts.arch = mem_strdup("amd64");
	w->facts.os_version = mem_strdup("Test OS 1");
	w->facts.hostname = mem_strdup("box");
	w->facts.lock_root = mem_strdup("/tmp/locks");
	w->facts.boot_id = mem_strdup("b00t");
	w->facts.api_port = 48484;
	w->facts.processors = 2;
	w->facts.keep_volumes = true;
}

static inline void world_flight_deinit(struct world_flight *f)
{
	free(f->subject);
	free(f->service);
	free(f->image);
	free(f->name);
	free(f->container_id);
	service_config_deinit(&f->config);
	strv_deinit(&f->locks);
	strv_deinit(&f->replaces);
}

static inline void world_drop_views(struct world *w)
{
	for (size_t i = 0; i < w->views.n; i++) {
		free(w->views.v[i].service);
		free(w->views.v[i].path);
	}
	free(w->views.v);
	free(w->views.apps);
	w->views = (struct lock_views){0};
}

static inline void world_deinit(struct world *w)
{
	if (!w->target_is_borrowed)
		target_free(w->target);
	current_deinit(&w->now);
	strv_deinit(&w->held_by_apps);
	strv_deinit(&w->removed);
	strv_deinit(&w->accepted);
	strv_deinit(&w->owned_images);
	strv_deinit(&w->populated);
	for (size_t i = 0; i < w->n_flights; i++)
		world_flight_deinit(&w->flights[i]);
	for (size_t i = 0; i < w->n_failures; i++) {
		free(w->failures[i].subject);
		free(w->failures[i].error);
	}
	world_drop_views(w);
	device_facts_deinit(&w->facts);
	plan_memo_free(w->memo);
	free(w->locks);
	free(w->flights);
	free(w->failures);
	free(w->in_flight);
	free(w->in_failures);
	free(w->in_removed);
	free(w->in_accepted);
	*w = (struct world){0};
}

/* ---- the engine's things ---- */

static inline char *world_image_id(const char *reference)
{
	return mem_printf("sha256:%08x", str_crc32(reference));
}

static inline struct image *world_find_image(struct world *w, const char *reference)
{
	for (size_t i = 0; i < w->now.n_images; i++)
		if (image_matches(&w->now.images[i], reference))
			return &w->now.images[i];
	return NULL;
}

static inline struct image *world_add_image(struct world *w, const char *reference)
{
	struct image *image = world_find_image(w, reference);

	if (image)
		return image;
	mem_reserve(&w->now.images, &w->images_capacity, w->now.n_images + 1, sizeof(*image));
	image = &w->now.images[w->now.n_images++];
	*image = (struct image){.id = world_image_id(reference), .has_config = true};
	strv_add(&image->tags, reference);
	return image;
}

static inline void world_remove_image(struct world *w, const char *reference)
{
	struct image *image = world_find_image(w, reference);

	if (!image)
		return;
	image_deinit(image);
	*image = w->now.images[--w->now.n_images];
}

static inline struct container *world_find_container(struct world *w, const char *id)
{
	for (size_t i = 0; i < w->now.n_containers; i++)
		if (str_eq(w->now.containers[i].id, id))
			return &w->now.containers[i];
	return NULL;
}

/* Some container of the service, if there is any. */
static inline struct container *world_service(struct world *w, int64_t app_id, const char *service)
{
	for (size_t i = 0; i < w->now.n_containers; i++)
		if (w->now.containers[i].app_id == app_id && str_eq(w->now.containers[i].service, service))
			return &w->now.containers[i];
	return NULL;
}

static inline struct container *world_newest(struct world *w, int64_t app_id, const char *service)
{
	struct container *newest = NULL;

	for (size_t i = 0; i < w->now.n_containers; i++) {
		struct container *k = &w->now.containers[i];

		if (k->app_id == app_id && str_eq(k->service, service) &&
		    (!newest || k->created_ms > newest->created_ms))
			newest = k;
	}
	return newest;
}

static inline void world_remove_container(struct world *w, struct container *k)
{
	container_deinit(k);
	*k = w->now.containers[--w->now.n_containers];
}

/* Takes the configuration over. Its name ends in the commit. */
static inline struct container *world_add_container(struct world *w, int64_t app_id, const char *service,
						    const char *name, struct service_config *config,
						    enum container_state state)
{
	struct container *k;

	mem_reserve(&w->now.containers, &w->containers_capacity, w->now.n_containers + 1, sizeof(*k));
	k = &w->now.containers[w->now.n_containers++];
	*k = (struct container){.app_id = app_id, .state = state};
	k->id = mem_printf("c%011u", ++w->next_id);
	k->name = mem_strdup(name);
	k->service = mem_strdup(service);
	k->commit = mem_strdup(strrchr(name, '_') + 1);
	k->image = mem_strdup(config->image);
	k->docker_image_id = mem_strdup(config->image);
	k->created_ms = w->next_id;
	k->config = *config;
	*config = (struct service_config){0};
	return k;
}

/* By hand: a name that is not "<service>_<number>_<number>_<commit>" tells no commit. */
static inline void world_rename(struct container *k, const char *name)
{
	int end = 0;

	free(k->name);
	free(k->commit);
	k->name = mem_strdup(name);
	if (str_starts(name, k->service))
		sscanf(name + strlen(k->service), "_%*u_%*u_%n", &end);
	k->commit = end ? mem_strdup(name + strlen(k->service) + end) : NULL;
}

/* As if this service had been installed from that document. */
static inline struct container *world_spawn(struct world *w, const struct target *t, const struct target_app *a,
					    const struct target_service *s, enum container_state state)
{
	struct service_config config;
	const char *key = service_wants_api(s, NULL) ? "secret" : NULL;
	AUTO_FREE char *name = service_container_name(a, s);

	service_resolve(t, a, s, world_add_image(w, s->image), &w->facts, key, &config);
	return world_add_container(w, a->id, s->name, name, &config, state);
}

static inline struct network *world_find_network(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->now.n_networks; i++)
		if (str_eq(w->now.networks[i].name, name))
			return &w->now.networks[i];
	return NULL;
}

static inline void world_copy_pool(struct network_pool *to, const struct network_pool *from)
{
	to->subnet = mem_strdup(from->subnet);
	to->gateway = mem_strdup(from->gateway);
	to->ip_range = mem_strdup(from->ip_range);
	strmap_copy(&to->aux, &from->aux);
}

static inline struct network *world_new_network(struct world *w, const char *name)
{
	struct network *n;

	mem_reserve(&w->now.networks, &w->networks_capacity, w->now.n_networks + 1, sizeof(*n));
	n = &w->now.networks[w->now.n_networks++];
	*n = (struct network){.id = mem_printf("n%04u", ++w->next_id), .name = mem_strdup(name)};
	n->spec.name = mem_strdup(name);
	n->spec.driver = mem_strdup("bridge");
	n->spec.ipam_driver = mem_strdup("default");
	return n;
}

static inline struct network *world_add_network(struct world *w, const struct target_app *a,
						const struct target_network *t)
{
	struct network *n = world_new_network(w, t->name);

	n->supervised = true;
	n->app_id = a->id;
	n->app_uuid = mem_strdup(a->uuid);
	n->key = mem_strdup(t->key);
	n->spec.key = mem_strdup(t->key);
	free(n->spec.driver);
	n->spec.driver = mem_strdup(t->driver);
	free(n->spec.ipam_driver);
	n->spec.ipam_driver = mem_strdup(t->ipam_driver);
	strmap_copy(&n->spec.options, &t->options);
	strmap_copy(&n->spec.labels, &t->labels);
	strmap_copy(&n->spec.ipam_options, &t->ipam_options);
	n->spec.pools = mem_new(t->n_pools + 1, sizeof(*t->pools));
	for (size_t i = 0; i < t->n_pools; i++)
		world_copy_pool(&n->spec.pools[n->spec.n_pools++], &t->pools[i]);
	n->spec.enable_ipv6 = t->enable_ipv6;
	n->spec.internal = t->internal;
	n->spec.config_only = t->config_only;
	return n;
}

static inline void world_add_supervisor0(struct world *w, bool right)
{
	struct network *n = world_new_network(w, SUPERVISOR_NETWORK);

	strmap_set(&n->spec.options, "com.docker.network.bridge.name", SUPERVISOR_NETWORK);
	n->spec.pools = mem_new(1, sizeof(*n->spec.pools));
	n->spec.n_pools = 1;
	n->spec.pools[0].subnet = mem_strdup(right ? "10.114.104.0/25" : "10.9.9.0/24");
	n->spec.pools[0].gateway = mem_strdup(right ? SUPERVISOR_GATEWAY : "10.9.9.1");
}

static inline void world_remove_network(struct world *w, struct network *n)
{
	network_deinit(n);
	*n = w->now.networks[--w->now.n_networks];
}

static inline struct volume *world_find_volume(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->now.n_volumes; i++)
		if (str_eq(w->now.volumes[i].name, name))
			return &w->now.volumes[i];
	return NULL;
}

static inline struct volume *world_add_volume(struct world *w, const struct target_app *a,
					      const struct target_volume *t)
{
	struct volume *v;

	mem_reserve(&w->now.volumes, &w->volumes_capacity, w->now.n_volumes + 1, sizeof(*v));
	v = &w->now.volumes[w->now.n_volumes++];
	*v = (struct volume){.name = mem_strdup(t->name), .supervised = true, .app_id = a->id};
	v->key = mem_strdup(t->key);
	v->driver = mem_strdup(t->driver);
	strmap_copy(&v->options, &t->options);
	return v;
}

static inline void world_remove_volume(struct world *w, struct volume *v)
{
	volume_deinit(v);
	*v = w->now.volumes[--w->now.n_volumes];
}

static inline bool world_uses_network(const struct service_config *c, const char *name)
{
	for (size_t i = 0; i < c->n_networks; i++)
		if (str_eq(c->networks[i].name, name))
			return true;
	return str_eq(c->network_mode, name);
}

/* ---- locks ---- */

static inline struct world_lock *world_lock(struct world *w, int64_t app_id)
{
	for (size_t i = 0; i < w->n_locks; i++)
		if (w->locks[i].app_id == app_id)
			return &w->locks[i];
	mem_reserve(&w->locks, &w->locks_capacity, w->n_locks + 1, sizeof(*w->locks));
	w->locks[w->n_locks] = (struct world_lock){.app_id = app_id};
	return &w->locks[w->n_locks++];
}

static inline bool world_splits(const char *entry, int64_t app_id, const char **service)
{
	char prefix[32];
	int n = snprintf(prefix, sizeof(prefix), "%lld/", (long long)app_id);

	*service = entry + n;
	return strncmp(entry, prefix, (size_t)n) == 0;
}

/* Does an application hold the lock of a service that is there or wanted? */
static inline bool world_is_locked(struct world *w, int64_t app_id)
{
	const struct target_app *a = w->target ? target_find_app(w->target, app_id) : NULL;
	const char *service;

	for (size_t i = 0; i < w->held_by_apps.n; i++)
		if (world_splits(w->held_by_apps.v[i], app_id, &service) &&
		    (!*service || world_service(w, app_id, service) || (a && target_app_find_service(a, service))))
			return true;
	return false;
}

static inline void world_drop_rows(struct strv *rows, int64_t app_id, const char *only)
{
	size_t kept = 0;
	const char *service;

	for (size_t i = 0; i < rows->n; i++) {
		if (world_splits(rows->v[i], app_id, &service) && (!only || str_eq(only, service)))
			free(rows->v[i]);
		else
			rows->v[kept++] = rows->v[i];
	}
	rows->n = kept;
}

static inline bool world_is_removed(const struct world *w, int64_t app_id, const char *service)
{
	AUTO_FREE char *row = mem_printf("%lld/%s", (long long)app_id, service);

	return strv_has(&w->removed, row);
}

static inline bool world_is_forced(const struct world *w, int64_t app_id)
{
	for (size_t i = 0; i < w->n_forced; i++)
		if (w->forced[i] == app_id)
			return true;
	return false;
}

static inline void world_own(struct world *w, int64_t app_id)
{
	for (size_t i = 0; i < w->n_owned; i++)
		if (w->owned[i] == app_id)
			return;
	assert_true(w->n_owned < ARRAY_LEN(w->owned));
	w->owned[w->n_owned++] = app_id;
}

/* Takes the target over, as the reconciler does: its apps and images are ours from now on. */
static inline void world_set_target(struct world *w, struct target *t)
{
	if (!w->target_is_borrowed)
		target_free(w->target);
	w->target = t;
	w->generation++;
	for (size_t i = 0; t && i < t->n_apps; i++) {
		world_own(w, t->apps[i].id);
		for (size_t j = 0; j < t->apps[i].n_services; j++)
			if (!strv_has(&w->owned_images, t->apps[i].services[j].image))
				strv_add(&w->owned_images, t->apps[i].services[j].image);
	}
}

/* ---- the planner's input ---- */

static inline int world_compare_views(const void *a, const void *b)
{
	const struct lock_view *x = a, *y = b;

	if (x->app_id != y->app_id)
		return x->app_id < y->app_id ? -1 : 1;
	return strcmp(x->service ? x->service : "", y->service ? y->service : "");
}

static inline int world_compare_locks(const void *a, const void *b)
{
	const struct lock_app_view *x = a, *y = b;

	return x->app_id < y->app_id ? -1 : x->app_id > y->app_id;
}

static inline void world_make_views(struct world *w)
{
	world_drop_views(w);
	w->views.v = mem_new(w->held_by_apps.n + 1, sizeof(*w->views.v));
	for (size_t i = 0; i < w->held_by_apps.n; i++) {
		char *end;
		int64_t app_id = strtoll(w->held_by_apps.v[i], &end, 10);

		w->views.v[w->views.n++] = (struct lock_view){
			.app_id = app_id,
			.service = end[1] ? mem_strdup(end + 1 + (end[1] == '!')) : NULL,
			.counts = end[1] != '!',
			.path = mem_printf("%s/%s/updates.lock", w->facts.lock_root, w->held_by_apps.v[i])};
		world_lock(w, app_id);
	}
	qsort(w->views.v, w->views.n, sizeof(*w->views.v), world_compare_views);
	w->views.apps = mem_new(w->n_locks + 1, sizeof(*w->views.apps));
	for (size_t i = 0; i < w->n_locks; i++)
		w->views.apps[w->views.n_apps++] = (struct lock_app_view){.app_id = w->locks[i].app_id,
									  .state = w->locks[i].state,
									  .leftover = w->locks[i].leftover,
									  .legacy = w->locks[i].legacy};
	qsort(w->views.apps, w->views.n_apps, sizeof(*w->views.apps), world_compare_locks);
}

static inline const char *world_key(void *ctx, int64_t app_id, const char *service)
{
	(void)ctx;
	(void)app_id;
	(void)service;
	return "secret";
}

static inline struct plan_removed *world_listed(const struct strv *rows)
{
	struct plan_removed *list = mem_new(rows->n + 1, sizeof(*list));

	for (size_t i = 0; i < rows->n; i++) {
		char *end;
		int64_t app_id = strtoll(rows->v[i], &end, 10);

		list[i] = (struct plan_removed){.app_id = app_id, .service = end + 1};
	}
	return list;
}

static inline struct plan_input world_input(struct world *w)
{
	struct plan_input in = {.target = w->target,
				.current = &w->now,
				.facts = &w->facts,
				.now_ms = w->now_ms,
				.generation = w->generation,
				.memo = w->memo};

	world_make_views(w);
	strv_deinit(&w->populated);
	for (size_t i = 0; i < w->now.n_containers; i++)
		strv_take(&w->populated, mem_printf("%lld", (long long)w->now.containers[i].app_id));
	free(w->in_flight);
	free(w->in_failures);
	free(w->in_removed);
	free(w->in_accepted);
	w->in_flight = mem_new(w->n_flights + 1, sizeof(*w->in_flight));
	w->in_failures = mem_new(w->n_failures + 1, sizeof(*w->in_failures));
	w->in_removed = world_listed(&w->removed);
	w->in_accepted = world_listed(&w->accepted);
	for (size_t i = 0; i < w->n_flights; i++)
		if (!w->flights[i].dead) /* a die event ends a stop, whatever the answer does */
			w->in_flight[in.n_in_flight++] =
				(struct plan_in_flight){.subject = w->flights[i].subject,
							.kind = w->flights[i].kind,
							.app_id = w->flights[i].app_id,
							.container_id = w->flights[i].container_id,
							.reason = "begun"};
	for (size_t i = 0; i < w->n_failures; i++)
		w->in_failures[in.n_failures++] = (struct plan_failure){.subject = w->failures[i].subject,
									.app_id = w->failures[i].app_id,
									.attempts = w->failures[i].attempts,
									.retry_at_ms = w->failures[i].retry_at_ms,
									.error = w->failures[i].error};
	in.locks = &w->views;
	in.in_flight = w->in_flight;
	in.failures = w->in_failures;
	in.removed = w->in_removed;
	in.n_removed = w->removed.n;
	in.accepted = w->in_accepted;
	in.n_accepted = w->accepted.n;
	in.owned_apps = w->owned;
	in.n_owned_apps = w->n_owned;
	in.forced_apps = w->forced;
	in.n_forced_apps = w->n_forced;
	in.owned_images = &w->owned_images;
	in.api_key = world_key;
	in.pulls_max = w->pulls_max;
	return in;
}

/* ---- failures, and what the reconciler does when an app settles ---- */

static inline struct world_failure *world_failure(struct world *w, const char *subject)
{
	for (size_t i = 0; i < w->n_failures; i++)
		if (str_eq(w->failures[i].subject, subject))
			return &w->failures[i];
	return NULL;
}

static inline void world_clear_failure(struct world *w, const char *subject)
{
	struct world_failure *f = world_failure(w, subject);

	if (!f)
		return;
	free(f->subject);
	free(f->error);
	*f = w->failures[--w->n_failures];
}

static inline void world_fail(struct world *w, const char *subject, int64_t app_id, const char *error)
{
	struct world_failure *f = world_failure(w, subject);

	if (!f) {
		mem_reserve(&w->failures, &w->failures_capacity, w->n_failures + 1, sizeof(*f));
		f = &w->failures[w->n_failures++];
		*f = (struct world_failure){.subject = mem_strdup(subject), .app_id = app_id};
	}
	free(f->error);
	f->error = mem_strdup(error);
	f->attempts++;
	f->retry_at_ms = w->now_ms + backoff_ms(500, f->attempts, 900000);
}

static inline void world_settle_apps(struct world *w, const struct plan *p)
{
	for (size_t i = 0; i < p->n_apps; i++) {
		if (!p->apps[i].settled)
			continue;
		world_drop_rows(&w->removed, p->apps[i].app_id, NULL);
		for (size_t j = 0; j < w->n_forced; j++)
			if (w->forced[j] == p->apps[i].app_id)
				w->forced[j--] = w->forced[--w->n_forced];
	}
}

/* ---- steps ---- */

static inline void world_check_stop(struct world *w, const struct plan_step *s)
{
	struct container *k = world_find_container(w, s->container_id);

	WORLD_CHECK(w, k, "%s of %s: no such container %s", plan_step_kind_name(s->kind), s->subject, s->container_id);
	if (s->kind == STEP_START || k->state == CONTAINER_DEAD)
		return;
	if (s->kind == STEP_REMOVE) {
		WORLD_CHECK(w, k->state != CONTAINER_RUNNING, "%s is removed while it runs", s->subject);
		if (world_is_removed(w, s->app_id, s->service))
			return;
	}
	WORLD_CHECK(w, world_lock(w, s->app_id)->state == LOCK_HELD, "%s of %s without the locks",
		    plan_step_kind_name(s->kind), s->subject);
	WORLD_CHECK(w, !world_is_locked(w, s->app_id), "%s of %s under a lock of the application",
		    plan_step_kind_name(s->kind), s->subject);
	WORLD_CHECK(w,
		    s->kind != STEP_STOP || k != world_newest(w, s->app_id, s->service) ||
			    world_is_removed(w, s->app_id, s->service),
		    "%s is stopped and not recorded", s->subject);
}

static inline void world_check_create(struct world *w, const struct plan_step *s)
{
	AUTO_FREE char *app = mem_printf("%lld", (long long)s->app_id);

	WORLD_CHECK(w, !world_service(w, s->app_id, s->service), "%s exists already", s->subject);
	WORLD_CHECK(w, world_find_image(w, s->image) && !world_find_image(w, s->image)->unreadable,
		    "%s is made without image %s", s->subject, s->image);
	WORLD_CHECK(w, s->name && s->config.image, "%s: no name or configuration", s->subject);
	for (size_t i = 0; i < s->config.n_networks; i++)
		WORLD_CHECK(w, world_find_network(w, s->config.networks[i].name), "%s is made without network %s",
			    s->subject, s->config.networks[i].name);
	if (strv_has(&w->populated, app) && !world_is_removed(w, s->app_id, s->service)) {
		WORLD_CHECK(w, world_lock(w, s->app_id)->state == LOCK_HELD, "%s is added without the locks",
			    s->subject);
		WORLD_CHECK(w, !world_is_locked(w, s->app_id), "%s is added under a lock", s->subject);
	}
}

/* Does `from` depend on `on`, over any number of others? Circles make it true in both directions. */
static inline bool world_depends(const struct target_app *a, const struct target_service *from, const char *on,
				 unsigned depth)
{
	for (size_t i = 0; from && depth && i < from->depends_on.n; i++)
		if (str_eq(from->depends_on.v[i], on) ||
		    world_depends(a, target_app_find_service(a, from->depends_on.v[i]), on, depth - 1))
			return true;
	return false;
}

static inline void world_check_start(struct world *w, const struct plan_step *s)
{
	const struct target_app *a = target_find_app(w->target, s->app_id);
	const struct target_service *t = target_app_find_service(a, s->service);

	for (size_t i = 0; i < t->depends_on.n; i++) {
		const struct target_service *on = target_app_find_service(a, t->depends_on.v[i]);
		const struct container *k = on ? world_service(w, a->id, on->name) : NULL;

		if (on && on->running && !world_depends(a, on, s->service, 5))
			WORLD_CHECK(w, k && k->state != CONTAINER_CREATED, "%s starts before %s", s->subject, on->name);
	}
}

static inline void world_check_network_removal(struct world *w, const struct plan_step *s)
{
	for (size_t i = 0; i < w->now.n_containers; i++)
		WORLD_CHECK(w, !world_uses_network(&w->now.containers[i].config, s->name),
			    "network %s is removed while %s uses it", s->name, w->now.containers[i].name);
}

static inline void world_check_image_removal(struct world *w, const struct plan_step *s)
{
	const struct image *image = world_find_image(w, s->image);

	WORLD_CHECK(w, image, "image %s is not here", s->image);
	for (size_t i = 0; i < w->now.n_containers; i++)
		WORLD_CHECK(w, !str_eq(w->now.containers[i].docker_image_id, image->id), "image %s is in use",
			    s->image);
	for (size_t i = 0; i < w->target->n_apps; i++)
		for (size_t j = 0; j < w->target->apps[i].n_services; j++)
			WORLD_CHECK(w, !str_eq(w->target->apps[i].services[j].image, s->image),
				    "image %s is in the target", s->image);
}

static inline void world_check(struct world *w, const struct plan_step *s)
{
	WORLD_CHECK(w, s->reason && *s->reason, "%s %s has no reason", plan_step_kind_name(s->kind), s->subject);
	for (size_t i = 0; i < w->n_flights; i++)
		WORLD_CHECK(w, w->flights[i].dead || !str_eq(w->flights[i].subject, s->subject), "%s begins twice",
			    s->subject);
	switch (s->kind) {
	case STEP_STOP:
	case STEP_REMOVE:
	case STEP_RENAME:
		world_check_stop(w, s);
		break;
	case STEP_CREATE:
		world_check_create(w, s);
		break;
	case STEP_START:
		world_check_stop(w, s);
		world_check_start(w, s);
		break;
	case STEP_REMOVE_NETWORK:
		world_check_network_removal(w, s);
		break;
	case STEP_REMOVE_VOLUME:
		WORLD_CHECK(w, !w->facts.keep_volumes && !target_find_app(w->target, s->app_id),
			    "volume %s of an app that stays is removed", s->name);
		break;
	case STEP_REMOVE_IMAGE:
		world_check_image_removal(w, s);
		break;
	case STEP_RELEASE_LOCKS:
		for (size_t i = 0; i < w->n_flights; i++)
			WORLD_CHECK(w,
				    w->flights[i].app_id != s->app_id || w->flights[i].kind != STEP_STOP ||
					    w->flights[i].dead,
				    "locks of %lld are released during a stop", (long long)s->app_id);
		break;
	default:
		break;
	}
}

/* Begin a step: the checks, then it is in flight. The configuration moves out of the step. */
static inline void world_begin(struct world *w, struct plan_step *s)
{
	struct world_flight *f;

	world_check(w, s);
	mem_reserve(&w->flights, &w->flights_capacity, w->n_flights + 1, sizeof(*f));
	f = &w->flights[w->n_flights++];
	*f = (struct world_flight){.kind = s->kind, .app_id = s->app_id, .force = s->force};
	f->subject = mem_strdup(s->subject);
	f->service = mem_strdup(s->service);
	f->image = mem_strdup(s->image);
	f->name = mem_strdup(s->name);
	f->container_id = mem_strdup(s->container_id);
	f->config = s->config;
	s->config = (struct service_config){0};
	strv_copy(&f->locks, &s->locks);
	strv_copy(&f->replaces, &s->replaces);
}

static inline void world_take(struct world *w, const struct world_flight *f)
{
	struct world_lock *l = world_lock(w, f->app_id);

	if (f->force)
		world_drop_rows(&w->held_by_apps, f->app_id, NULL);
	if (world_is_locked(w, f->app_id))
		return;
	for (size_t i = 0; i < f->replaces.n; i++)
		if (!world_is_removed(w, f->app_id, f->replaces.v[i]))
			strv_take(&w->removed, mem_printf("%lld/%s", (long long)f->app_id, f->replaces.v[i]));
	l->state = LOCK_HELD;
	l->leftover = false;
}

static inline void world_create_network(struct world *w, const struct world_flight *f)
{
	const struct target_app *a = target_find_app(w->target, f->app_id);

	if (str_eq(f->name, SUPERVISOR_NETWORK))
		world_add_supervisor0(w, true);
	for (size_t i = 0; a && i < a->n_networks; i++)
		if (str_eq(a->networks[i].name, f->name))
			world_add_network(w, a, &a->networks[i]);
}

static inline void world_create_volume(struct world *w, const struct world_flight *f)
{
	const struct target_app *a = target_find_app(w->target, f->app_id);

	for (size_t i = 0; a && i < a->n_volumes; i++)
		if (str_eq(a->volumes[i].name, f->name))
			world_add_volume(w, a, &a->volumes[i]);
}

/* What the engine does; a container that vanished meanwhile is as good as stopped and removed. */
static inline void world_effect(struct world *w, struct world_flight *f)
{
	struct container *k = f->container_id ? world_find_container(w, f->container_id) : NULL;

	switch (f->kind) {
	case STEP_PULL:
		world_add_image(w, f->image)->unreadable = false;
		break;
	case STEP_REMOVE_IMAGE:
		world_remove_image(w, f->image);
		break;
	case STEP_TAKE_LOCKS:
		world_take(w, f);
		break;
	case STEP_RELEASE_LOCKS:
		world_lock(w, f->app_id)->state = LOCK_FREE;
		world_lock(w, f->app_id)->leftover = false;
		break;
	case STEP_STOP:
		if (k)
			k->state = CONTAINER_EXITED;
		break;
	case STEP_REMOVE:
		if (k)
			world_remove_container(w, k);
		break;
	case STEP_CREATE:
		world_add_container(w, f->app_id, f->service, f->name, &f->config, CONTAINER_CREATED);
		break;
	case STEP_START:
		if (k) {
			k->state = CONTAINER_RUNNING;
			free(k->error);
			k->error = NULL;
			world_drop_rows(&w->removed, f->app_id, f->service);
		}
		break;
	case STEP_RENAME:
		if (k)
			world_rename(k, f->name);
		break;
	case STEP_CREATE_NETWORK:
		world_create_network(w, f);
		break;
	case STEP_REMOVE_NETWORK:
		if (world_find_network(w, f->name))
			world_remove_network(w, world_find_network(w, f->name));
		break;
	case STEP_CREATE_VOLUME:
		world_create_volume(w, f);
		break;
	case STEP_REMOVE_VOLUME:
		if (world_find_volume(w, f->name))
			world_remove_volume(w, world_find_volume(w, f->name));
		break;
	default:
		fail_msg("step kind %s is none of this version's", plan_step_kind_name(f->kind));
	}
}

/* End the i-th step in flight. */
static inline void world_end(struct world *w, size_t i, const char *error)
{
	struct world_flight f = w->flights[i];

	w->flights[i] = w->flights[--w->n_flights];
	if (error) {
		world_fail(w, f.subject, f.app_id, error);
	} else {
		world_effect(w, &f);
		world_clear_failure(w, f.subject);
	}
	world_flight_deinit(&f);
}

/* A plan must be well formed, whatever the state: one step a subject, sorted apps, waits that say what they wait for.
 */
static inline void world_check_plan(struct world *w, const struct plan *p)
{
	for (size_t i = 0; i < p->n_steps; i++)
		for (size_t j = 0; j < i; j++)
			WORLD_CHECK(w, !str_eq(p->steps[i].subject, p->steps[j].subject), "two steps on %s",
				    p->steps[i].subject);
	for (size_t i = 0; i < p->n_waits; i++) {
		WORLD_CHECK(w, p->waits[i].detail && *p->waits[i].detail, "%s has no detail", p->waits[i].subject);
		for (size_t j = 0; j < i; j++)
			WORLD_CHECK(w, !str_eq(p->waits[i].subject, p->waits[j].subject), "two waits %s",
				    p->waits[i].subject);
	}
	for (size_t i = 1; i < p->n_apps; i++)
		WORLD_CHECK(w, p->apps[i - 1].app_id < p->apps[i].app_id, "apps are not sorted");
	WORLD_CHECK(w, p->settled == (!p->n_steps && !p->n_waits), "settled is wrong");
}

#endif
