/* The life of a target, and finding things in it: apps are sorted by id, services by name. */
#include "model/target.h"

#include <inttypes.h>
#include <string.h>

#include "model/current.h"
#include "model/parse.h"
#include "util/mem.h"

void target_service_deinit(struct target_service *s)
{
	free(s->name);
	free(s->image);
	strv_deinit(&s->depends_on);
	service_config_deinit(&s->spec);
	*s = (struct target_service){0};
}

static void target_volume_deinit(struct target_volume *v)
{
	free(v->key);
	free(v->name);
	free(v->driver);
	strmap_deinit(&v->options);
	strmap_deinit(&v->labels);
}

void target_app_deinit(struct target_app *a)
{
	free(a->uuid);
	free(a->name);
	free(a->app_class);
	free(a->commit);
	for (size_t i = 0; i < a->n_services; i++)
		target_service_deinit(&a->services[i]);
	for (size_t i = 0; i < a->n_networks; i++)
		target_network_deinit(&a->networks[i]);
	for (size_t i = 0; i < a->n_volumes; i++)
		target_volume_deinit(&a->volumes[i]);
	for (size_t i = 0; i < a->n_left_out; i++) {
		free(a->left_out[i].name);
		free(a->left_out[i].image);
	}
	free(a->left_out);
	free(a->services);
	free(a->networks);
	free(a->volumes);
	*a = (struct target_app){0};
}

void target_free(struct target *t)
{
	if (!t)
		return;
	free(t->uuid);
	free(t->name);
	strmap_deinit(&t->config);
	for (size_t i = 0; i < t->n_apps; i++)
		target_app_deinit(&t->apps[i]);
	free(t->apps);
	free(t);
}

static int compare_id(const void *key, const void *element)
{
	int64_t id = *(const int64_t *)key, other = ((const struct target_app *)element)->id;

	return id < other ? -1 : id > other;
}

const struct target_app *target_find_app(const struct target *t, int64_t id)
{
	return t && t->n_apps ? bsearch(&id, t->apps, t->n_apps, sizeof(*t->apps), compare_id) : NULL;
}

static int compare_name(const void *key, const void *element)
{
	return strcmp(key, ((const struct target_service *)element)->name);
}

const struct target_service *target_app_find_service(const struct target_app *a, const char *name)
{
	return a && name && a->n_services
		       ? bsearch(name, a->services, a->n_services, sizeof(*a->services), compare_name)
		       : NULL;
}

char *service_container_name(const struct target_app *a, const struct target_service *s)
{
	return mem_printf("%s_%" PRId64 "_%" PRId64 "_%s", s->name, s->image_id, a->release_id, a->commit);
}

void device_facts_deinit(struct device_facts *f)
{
	if (!f)
		return;
	free(f->uuid);
	free(f->type);
	free(f->arch);
	free(f->os_version);
	free(f->hostname);
	free(f->lock_root);
	free(f->boot_id);
	free(f->own_container);
	free(f->own_image);
	*f = (struct device_facts){0};
}
