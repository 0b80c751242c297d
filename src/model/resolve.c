/*
 * What a service is to run as in the end: the document, completed by the image and by what the device gives. The image
 * is merged here because the engine writes the merged values into the container, and a comparison sees those.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/config_text.h"
#include "model/current.h"
#include "model/read.h"
#include "model/target.h"
#include "util/mem.h"

#define SUPERVISOR_API "io.balena.features.supervisor-api"

static void copy_networks(struct service_config *to, const struct service_config *from)
{
	to->networks = mem_new(from->n_networks + 2, sizeof(*to->networks)); /* room for one more: supervisor0 */
	for (size_t i = 0; i < from->n_networks; i++) {
		const struct network_join *f = &from->networks[i];
		struct network_join *n = &to->networks[to->n_networks++];

		n->name = mem_strdup(f->name);
		strv_copy(&n->aliases, &f->aliases);
		n->ipv4 = mem_strdup(f->ipv4);
		n->ipv6 = mem_strdup(f->ipv6);
		strv_copy(&n->link_local, &f->link_local);
	}
}

static void copy_volumes(struct service_config *to, const struct service_config *from)
{
	strv_copy(&to->binds, &from->binds);
	strv_copy(&to->anonymous, &from->anonymous);
	to->mounts = mem_new(from->n_mounts + 1, sizeof(*to->mounts));
	for (size_t i = 0; i < from->n_mounts; i++) {
		struct mount *m = &to->mounts[to->n_mounts++];

		*m = from->mounts[i];
		m->type = mem_strdup(m->type);
		m->source = mem_strdup(m->source);
		m->target = mem_strdup(m->target);
	}
}

/* Everything but environment and labels, which are merged from several sources. */
static void copy_plain(struct service_config *to, const struct service_config *from)
{
	to->restart = mem_strdup(from->restart);
	to->restart_max = from->restart_max;
	to->ports = mem_new(from->n_ports + 1, sizeof(*to->ports));
	if (from->n_ports)
		memcpy(to->ports, from->ports, from->n_ports * sizeof(*to->ports));
	to->n_ports = from->n_ports;
	copy_volumes(to, from);
	to->network_mode = mem_strdup(from->network_mode);
	copy_networks(to, from);
	to->privileged = from->privileged;
	to->tty = from->tty;
	to->stop_timeout_s = from->stop_timeout_s;
	to->hostname = mem_strdup(from->hostname);
}

/* As the engine merges: with neither entry point nor command, the image's command; an entry point keeps it. */
static void resolve_process(const struct target_service *s, const struct image *i, struct service_config *out)
{
	static const struct image none;
	const char *dir, *user;

	if (!i)
		i = &none;
	out->image = mem_strdup(i->id ? i->id : s->image);
	strv_copy(&out->entrypoint, s->has_entrypoint ? &s->spec.entrypoint : &i->entrypoint);
	if (out->entrypoint.n == 1 && !*out->entrypoint.v[0])
		strv_deinit(&out->entrypoint);
	if (s->has_command && (s->spec.command.n || out->entrypoint.n))
		strv_copy(&out->command, &s->spec.command);
	else
		strv_copy(&out->command, &i->command);
	user = s->spec.user ? s->spec.user : i->user;
	dir = s->spec.working_dir ? s->spec.working_dir : i->working_dir;
	out->user = mem_strdup(user);
	out->working_dir = path_clean(dir);
}

struct pair {
	const char *key, *value;
};

/* Views of what the maps own: merging several sources copies only what is left in the end. */
struct view {
	struct pair *v;
	size_t n;
};

static struct view view_of(const struct strmap *m)
{
	struct view l = {.v = mem_new(m->n + 1, sizeof(*l.v))};

	for (; l.n < m->n; l.n++)
		l.v[l.n] = (struct pair){m->v[l.n].key, m->v[l.n].value};
	return l;
}

/* The union of two views sorted by key; the first wins, values that are NULL are left out. Frees `first`'s list. */
static struct view merge(struct view first, const struct pair *second, size_t n_second)
{
	struct view l = {.v = mem_new(first.n + n_second + 1, sizeof(*l.v))};
	size_t a = 0, b = 0;

	while (a < first.n || b < n_second) {
		int order = a == first.n ? 1 : b == n_second ? -1 : strcmp(first.v[a].key, second[b].key);
		const struct pair *from = order > 0 ? &second[b] : &first.v[a];

		if (from->value)
			l.v[l.n++] = *from;
		a += order <= 0;
		b += order >= 0;
	}
	free(first.v);
	return l;
}

/* Copies into a map (empty before), and frees the list. */
static void copy_view(struct strmap *to, struct view l)
{
	mem_reserve(&to->v, &to->capacity, l.n + 1, sizeof(*to->v));
	for (; to->n < l.n; to->n++)
		to->v[to->n] = (struct strmap_entry){mem_strdup(l.v[to->n].key), mem_strdup(l.v[to->n].value)};
	free(l.v);
}

/* What every service is told; a NULL value is not known and left out. */
static void resolve_env(const struct target_app *a, const struct target_service *s, const struct image *image,
			const struct device_facts *f, struct strmap *out)
{
	char app_id[24];
	const struct pair pairs[] = {
		{"BALENA", "1"},
		{"BALENA_APP_ID", app_id},
		{"BALENA_APP_LOCK_PATH", "/tmp/balena/updates.lock"},
		{"BALENA_APP_NAME", a->name},
		{"BALENA_APP_UUID", a->uuid},
		{"BALENA_DEVICE_ARCH", f->arch},
		{"BALENA_DEVICE_TYPE", f->type},
		{"BALENA_DEVICE_UUID", f->uuid},
		{"BALENA_HOST_OS_VERSION", f->os_version},
		{"BALENA_SERVICE_HANDOVER_COMPLETE_PATH", "/tmp/balena/handover-complete"},
		{"BALENA_SERVICE_NAME", s->name},
		{"RESIN", "1"},
		{"RESIN_APP_ID", app_id},
		{"RESIN_APP_LOCK_PATH", "/tmp/balena/updates.lock"},
		{"RESIN_APP_NAME", a->name},
		{"RESIN_APP_UUID", a->uuid},
		{"RESIN_DEVICE_ARCH", f->arch},
		{"RESIN_DEVICE_TYPE", f->type},
		{"RESIN_DEVICE_UUID", f->uuid},
		{"RESIN_HOST_OS_VERSION", f->os_version},
		{"RESIN_SERVICE_KILL_ME_PATH", "/tmp/balena/handover-complete"},
		{"RESIN_SERVICE_NAME", s->name},
		{"USER", "root"},
	}; /* sorted by key */
	struct view l = merge(view_of(&s->spec.env), pairs, ARRAY_LEN(pairs));

	snprintf(app_id, sizeof(app_id), "%" PRId64, a->id);
	if (image) {
		struct view i = view_of(&image->env);

		l = merge(l, i.v, i.n);
		free(i.v);
	}
	copy_view(out, l);
	/* the device's name is added at create only: it never makes a difference */
	strmap_unset(out, "BALENA_DEVICE_NAME_AT_INIT");
	strmap_unset(out, "RESIN_DEVICE_NAME_AT_INIT");
}

static void resolve_labels(const struct target_service *s, const struct image *image, struct strmap *out)
{
	struct view l = view_of(&s->spec.labels);
	struct strmap labels = {0};

	if (image) {
		struct view i;

		strmap_copy(&labels, &image->labels);
		labels_rename(&labels);
		i = view_of(&labels);
		l = merge(l, i.v, i.n);
		free(i.v);
	}
	copy_view(out, l);
	strmap_deinit(&labels);
}

static bool label_wants_api(const struct strmap *labels)
{
	return str_truthy(strmap_get(labels, SUPERVISOR_API));
}

bool service_wants_api(const struct target_service *s, const struct image *image)
{
	struct strmap labels;
	bool wants;

	if (s->supervisor_api || strmap_get(&s->spec.labels, SUPERVISOR_API) || !image)
		return s->supervisor_api;
	strmap_copy(&labels, &image->labels);
	labels_rename(&labels);
	wants = label_wants_api(&labels);
	strmap_deinit(&labels);
	return wants;
}

/* Networks other than the own one cannot be joined then. */
static bool is_closed_mode(const char *mode)
{
	return str_eq(mode, "host") || str_eq(mode, "none");
}

static void set_twice(struct strmap *env, const char *suffix, const char *value)
{
	char key[64];

	snprintf(key, sizeof(key), "BALENA_SUPERVISOR_%s", suffix);
	strmap_set(env, key, value);
	snprintf(key, sizeof(key), "RESIN_SUPERVISOR_%s", suffix);
	strmap_set(env, key, value);
}

/* These overwrite what a document says (spec 1.4), and join the supervisor's network where one can. */
static void resolve_api(const struct device_facts *f, const char *api_key, struct service_config *out)
{
	bool closed = is_closed_mode(out->network_mode);
	const char *host = closed ? "127.0.0.1" : SUPERVISOR_GATEWAY;
	char port[8], address[64];

	snprintf(port, sizeof(port), "%u", f->api_port);
	snprintf(address, sizeof(address), "http://%s:%s", host, port);
	if (api_key)
		set_twice(&out->env, "API_KEY", api_key);
	set_twice(&out->env, "PORT", port);
	set_twice(&out->env, "HOST", host);
	set_twice(&out->env, "ADDRESS", address);
	if (closed)
		return;
	out->networks[out->n_networks].name = mem_strdup(SUPERVISOR_NETWORK);
	out->n_networks++;
	networks_sort(out);
}

static void resolve_volumes(const struct target_app *a, const struct target_service *s, const struct image *image,
			    const struct device_facts *f, struct service_config *out)
{
	static const char *const places[] = {"/tmp/resin", "/tmp/balena"};

	for (size_t i = 0; image && i < image->volumes.n; i++)
		strv_add(&out->anonymous, image->volumes.v[i]);
	if (image)
		strv_sort_unique(&out->anonymous);
	for (size_t i = 0; f->lock_root && i < ARRAY_LEN(places); i++)
		strv_take(&out->binds, mem_printf("%s/%" PRId64 "/%s:%s", f->lock_root, a->id, s->name, places[i]));
	strv_sort_unique(&out->binds);
}

void service_resolve(const struct target *t, const struct target_app *a, const struct target_service *s,
		     const struct image *image, const struct device_facts *f, const char *api_key,
		     struct service_config *out)
{
	(void)t;
	*out = (struct service_config){0};
	resolve_process(s, image, out);
	copy_plain(out, &s->spec);
	resolve_env(a, s, image, f, &out->env);
	resolve_labels(s, image, &out->labels);
	resolve_volumes(a, s, image, f, out);
	if (str_eq(out->network_mode, "host") && !s->has_hostname) {
		free(out->hostname);
		out->hostname = mem_strdup(f->hostname);
	}
	if (service_wants_api(s, image))
		resolve_api(f, api_key, out);
}
