/*
 * Lists of what the engine has. Networks, volumes and images come whole from one answer; containers are listed once for
 * each of the two labels, then inspected, a few at a time. One object that cannot be read never hides the others.
 */
#include "engine/call.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

static const struct err *check_array(const struct err *err, const struct json *array, const char *what, struct err *why)
{
	if (err || json_is(array, JSON_ARRAY))
		return err;
	err_set(why, -EPROTO, "%s: expected an array, got %s", what, json_type_name(json_type(array)));
	return why;
}

static void log_skipped(const char *what, const struct err *why)
{
	log_debug("engine_object_skipped", kv_str("kind", what), kv_str("err", why->msg));
}

static void on_networks(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct err why = {0};
	struct network *v;
	size_t n = 0;

	err = check_array(err, body, "list networks", &why);
	v = mem_new(json_size(body) + 1, sizeof(*v));
	for (size_t i = 0; !err && i < json_size(body); i++) {
		struct err skip = {0};

		if (network_from_engine(json_at(body, i), &v[n], &skip) < 0)
			log_skipped("network", &skip);
		else if (v[n].supervised || str_eq(v[n].name, SUPERVISOR_NETWORK)) {
			n++;
			continue;
		}
		network_deinit(&v[n]);
		v[n] = (struct network){0};
	}
	op->done.networks(op->ctx, err, err ? NULL : v, n);
	for (size_t i = 0; i < n; i++)
		network_deinit(&v[i]);
	free(v);
}

void engine_networks_list(struct engine *e, engine_networks_fn *done, void *ctx)
{
	struct engine_op op = {
		.engine = e, .call = CALL_NETWORK_LIST, .finish = on_networks, .done.networks = done, .ctx = ctx};

	engine_op_start(&op, NULL, NULL, 0);
}

static void on_volumes(struct engine_op *op, const struct err *err, const struct json *body)
{
	/* an engine without volumes says null */
	const struct json *list = json_get(body, "Volumes");
	struct err why = {0};
	struct volume *v;
	size_t n = 0;

	if (!err && !json_is(list, JSON_NULL))
		err = check_array(err, list, "list volumes", &why);
	v = mem_new(json_size(list) + 1, sizeof(*v));
	for (size_t i = 0; !err && i < json_size(list); i++) {
		struct err skip = {0};

		if (volume_from_engine(json_at(list, i), &v[n], &skip) == 0) {
			n++;
			continue;
		}
		log_skipped("volume", &skip);
		volume_deinit(&v[n]);
		v[n] = (struct volume){0};
	}
	op->done.volumes(op->ctx, err, err ? NULL : v, n);
	for (size_t i = 0; i < n; i++)
		volume_deinit(&v[i]);
	free(v);
}

void engine_volumes_list(struct engine *e, engine_volumes_fn *done, void *ctx)
{
	struct engine_op op = {
		.engine = e, .call = CALL_VOLUME_LIST, .finish = on_volumes, .done.volumes = done, .ctx = ctx};

	engine_op_start(&op, NULL, NULL, 0);
}

/*
 * Untagged images are listed as "<none>:<none>" and "<none>@<none>" by some engines, as null by others. Podman lists
 * the digest that an image was pulled by among its tags as well.
 */
static void read_names(const struct json *list, const char *none, bool is_tags, struct strv *out)
{
	for (size_t i = 0; i < json_size(list); i++) {
		const char *name = json_str(json_at(list, i));

		if (name && !str_starts(name, none) && !(is_tags && strchr(name, '@')))
			strv_add(out, name);
	}
}

static void on_images(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct err why = {0};
	struct image *v;
	size_t n = 0;

	err = check_array(err, body, "list images", &why);
	v = mem_new(json_size(body) + 1, sizeof(*v));
	for (size_t i = 0; !err && i < json_size(body); i++) {
		const struct json *image = json_at(body, i);
		const char *id = json_str(json_get(image, "Id"));

		if (!id)
			continue;
		v[n].id = mem_strdup(id);
		read_names(json_get(image, "RepoTags"), "<none>:", true, &v[n].tags);
		read_names(json_get(image, "RepoDigests"), "<none>@", false, &v[n].digests);
		n++;
	}
	op->done.images(op->ctx, err, err ? NULL : v, n);
	for (size_t i = 0; i < n; i++)
		image_deinit(&v[i]);
	free(v);
}

void engine_images_list(struct engine *e, engine_images_fn *done, void *ctx)
{
	struct engine_op op = {
		.engine = e, .call = CALL_IMAGE_LIST, .finish = on_images, .done.images = done, .ctx = ctx};

	engine_op_start(&op, NULL, NULL, 0);
}

/* Containers: two lists, then inspects. Lives until its last call came back. */
struct listing {
	struct engine *engine;
	engine_containers_fn *done;
	void *ctx;
	struct strv ids;
	struct container *v; /* as long as ids; filled from the front */
	size_t n, next;      /* next: index of the id to inspect */
	unsigned in_flight;
	struct err err; /* the first that fails the whole list */
};

static void listing_finish(struct listing *l)
{
	l->done(l->ctx, l->err.code ? &l->err : NULL, l->err.code ? NULL : l->v, l->err.code ? 0 : l->n);
	for (size_t i = 0; i < l->n; i++)
		container_deinit(&l->v[i]);
	free(l->v);
	strv_deinit(&l->ids);
	free(l);
}

static void on_listed_container(struct engine_op *op, const struct err *err, const struct json *body);

static void listing_go_on(struct listing *l)
{
	struct engine_op op = {
		.engine = l->engine, .call = CALL_CONTAINER_INSPECT, .finish = on_listed_container, .ctx = l};

	while (!l->err.code && l->next < l->ids.n && l->in_flight < ENGINE_INSPECT_PARALLEL) {
		l->in_flight++;
		engine_op_start(&op, (const char *[]){l->ids.v[l->next++]}, NULL, 0);
	}
	if (l->in_flight == 0)
		listing_finish(l);
}

/* Did the socket fail, rather than the engine answer about this one container? */
static bool is_about_the_engine(const struct err *err)
{
	return err->code == -EHOSTDOWN || err->code == -ETIMEDOUT || err->code == -ECANCELED;
}

static void on_listed_container(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct listing *l = op->ctx;
	struct container *c = &l->v[l->n];
	struct err skip = {0};

	l->in_flight--;
	if (err && is_about_the_engine(err)) {
		if (!l->err.code)
			l->err = *err;
	} else if (err)
		log_skipped("container", err);
	else if (container_from_engine(body, c, &skip) < 0)
		log_skipped("container", &skip);
	else if (c->service) {
		l->n++;
		c = NULL;
	}
	if (c) {
		container_deinit(c);
		*c = (struct container){0};
	}
	listing_go_on(l);
}

static void listing_unite(struct listing *l)
{
	size_t n = 0;

	strv_sort(&l->ids);
	for (size_t i = 0; i < l->ids.n; i++) {
		if (n > 0 && str_eq(l->ids.v[n - 1], l->ids.v[i]))
			free(l->ids.v[i]);
		else
			l->ids.v[n++] = l->ids.v[i];
	}
	l->ids.n = n;
	l->v = mem_new(n + 1, sizeof(*l->v));
}

static void on_container_ids(struct engine_op *op, const struct err *err, const struct json *body)
{
	struct listing *l = op->ctx;
	struct err why = {0};

	l->in_flight--;
	err = check_array(err, body, "list containers", &why);
	if (err && !l->err.code)
		l->err = *err;
	for (size_t i = 0; !err && i < json_size(body); i++) {
		const char *id = json_str(json_get(json_at(body, i), "Id"));

		if (id)
			strv_add(&l->ids, id);
	}
	if (l->in_flight > 0)
		return;
	listing_unite(l);
	listing_go_on(l);
}

void engine_containers_list(struct engine *e, engine_containers_fn *done, void *ctx)
{
	static const char *const filters[] = {
		"{\"label\":[\"io.balena.supervised\"]}",
		"{\"label\":[\"io.resin.supervised\"]}",
	};
	struct listing *l = mem_new(1, sizeof(*l));
	struct engine_op op = {.engine = e, .call = CALL_CONTAINER_LIST, .finish = on_container_ids, .ctx = l};

	l->engine = e;
	l->done = done;
	l->ctx = ctx;
	l->in_flight = ARRAY_LEN(filters);
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		engine_op_start(&op, &filters[i], NULL, 0);
}
