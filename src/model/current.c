/* The life of the current state, and volumes and the supervisor's own network, which have little to them. */
#include "model/current.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "model/read.h"
#include "model/resource.h"
#include "util/mem.h"

void volume_deinit(struct volume *v)
{
	if (!v)
		return;
	free(v->name);
	free(v->app_uuid);
	free(v->key);
	free(v->driver);
	strmap_deinit(&v->options);
	strmap_deinit(&v->labels);
	*v = (struct volume){0};
}

void current_deinit(struct current *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_containers; i++)
		container_deinit(&c->containers[i]);
	for (size_t i = 0; i < c->n_networks; i++)
		network_deinit(&c->networks[i]);
	for (size_t i = 0; i < c->n_volumes; i++)
		volume_deinit(&c->volumes[i]);
	for (size_t i = 0; i < c->n_images; i++)
		image_deinit(&c->images[i]);
	free(c->containers);
	free(c->networks);
	free(c->volumes);
	free(c->images);
	*c = (struct current){0};
}

const char *key_of(const char *name, size_t *owner_len)
{
	const char *bar = strchr(name, '_');

	*owner_len = bar ? (size_t)(bar - name) : 0;
	return *owner_len && bar[1] ? bar + 1 : NULL;
}

/* "<appId>_<key>", anchored on both sides: "proj2_db" is nobody's. */
static void identify_volume(struct volume *v)
{
	size_t n;
	const char *key = key_of(v->name, &n);
	AUTO_FREE char *digits = mem_strndup(v->name, n);

	if (!key || strspn(v->name, "0123456789") != n || !str_to_i64(digits, 1, INT64_MAX, &v->app_id))
		return;
	for (const char *s = key; *s; s++) {
		if (isspace((unsigned char)*s)) {
			v->app_id = 0;
			return;
		}
	}
	v->key = mem_strdup(key);
}

int volume_from_engine(const struct json *inspect, struct volume *out, struct err *err)
{
	const struct json *name = json_get(inspect, "Name");

	*out = (struct volume){0};
	if (!json_str(name) || !*json_str(name))
		return err_set(err, -EPROTO, "Name: expected string, got %s", json_type_name(json_type(name)));
	out->name = mem_strdup(json_str(name));
	if (read_str(json_get(inspect, "Driver"), "Driver", &out->driver, err) < 0 ||
	    read_map(json_get(inspect, "Options"), "Options", &out->options, err) < 0 ||
	    read_map(json_get(inspect, "Labels"), "Labels", &out->labels, err) < 0) {
		volume_deinit(out);
		return err->code;
	}
	labels_rename(&out->labels);
	out->supervised = strmap_get(&out->labels, "io.balena.supervised");
	out->app_uuid = mem_strdup(strmap_get(&out->labels, "io.balena.app-uuid"));
	identify_volume(out);
	return 0;
}

void volume_create_body(const struct target_app *a, const struct target_volume *v, struct buf *to)
{
	struct json_writer *w = json_writer_new(to);
	struct strmap labels;

	strmap_copy(&labels, &v->labels);
	strmap_set(&labels, "io.balena.supervised", "true");
	strmap_set(&labels, "io.balena.app-uuid", a->uuid);
	json_open_object(w);
	json_kv_str(w, "Name", v->name);
	json_kv_str(w, "Driver", v->driver ? v->driver : "local");
	write_map(w, "DriverOpts", &v->options);
	write_map(w, "Labels", &labels);
	json_close_object(w);
	json_writer_free(w);
	strmap_deinit(&labels);
}
