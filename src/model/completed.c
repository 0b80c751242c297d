/*
 * Docker's inspect repeats what create was told. Podman's tells what came of it, with its own choices filled in and one
 * form of a setting turned into another. So for its containers both sides are brought to what this engine makes of a
 * setting before they are compared; what it does not tell at all (named at each place) is taken as kept, since
 * replacing a container again and again would not keep it either.
 */
#include "model/completed.h"

#include <inttypes.h>
#include <string.h>

#include "model/config_text.h"
#include "model/read.h"
#include "util/mem.h"

/* The one word of an inspect that podman always says and Docker never: there it is the name of a runtime. */
bool completed_is(const struct json *host)
{
	return str_eq(json_str(json_get(host, "Runtime")), "oci");
}

/* "size=1048576,ro,nosuid": the words that a target can ask for. */
static void read_tmpfs_words(const char *text, struct mount *m)
{
	AUTO_FREE char *copy = mem_strdup(text);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, ","));) {
		if (strcmp(word, "ro") == 0)
			m->read_only = true;
		else if (str_starts(word, "size="))
			str_to_i64(word + strlen("size="), 0, INT64_MAX, &m->tmpfs_size_bytes);
	}
}

int completed_read_tmpfs(const struct json *host, struct service_config *out, struct err *err)
{
	const struct json *list = json_get(host, "Tmpfs");
	size_t capacity = out->n_mounts;

	if (read_check(list, JSON_OBJECT, "HostConfig.Tmpfs", err) < 0)
		return err->code;
	for (size_t i = 0; i < json_size(list); i++) {
		struct mount *m;

		mem_reserve(&out->mounts, &capacity, out->n_mounts + 1, sizeof(*out->mounts));
		m = &out->mounts[out->n_mounts++];
		*m = (struct mount){.type = mem_strdup("tmpfs"), .target = mem_strdup(json_key_at(list, i))};
		read_tmpfs_words(json_str_or(json_at(list, i), ""), m);
	}
	mounts_sort(out);
	return 0;
}

/* Every network of its own is "bridge" to podman, whose own default network is "podman". */
void completed_name_network(struct service_config *c)
{
	const char *uuid = strmap_get(&c->labels, "io.balena.app-uuid");
	const struct network_join *main_network = NULL;

	if (!str_eq(c->network_mode, "bridge") || service_config_network(c, "podman"))
		return;
	for (size_t i = 0; i < c->n_networks; i++) /* one of the app, if it has any: what is named at create */
		if (!main_network || (uuid && !str_starts(main_network->name, uuid)))
			main_network = &c->networks[i];
	if (!main_network)
		return;
	free(c->network_mode);
	c->network_mode = mem_strdup(main_network->name);
}

/*
 * Podman shows the whole environment of the process. HOME (from the image's passwd) and HOSTNAME have no one value, so
 * a container whose target lost its own HOME goes on with it until it is replaced for another reason.
 */
void completed_env(const struct strmap *current, const struct strmap *target, struct strmap *out)
{
	static const struct {
		const char *key, *value; /* NULL: any */
	} added[] = {
		{"HOME", NULL},
		{"HOSTNAME", NULL},
		{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"TERM", "xterm"},
		{"container", "podman"},
	};

	strmap_copy(out, current);
	for (size_t i = 0; i < ARRAY_LEN(added); i++) {
		const char *value = strmap_get(out, added[i].key);

		if (value && !strmap_get(target, added[i].key) && (!added[i].value || str_eq(value, added[i].value)))
			strmap_unset(out, added[i].key);
	}
}

static bool same_port(const struct port_map *current, const struct port_map *target)
{
	struct port_map as_asked = *current;

	if (!target->host) /* podman chose it at create, and tells it as if it had been asked for */
		as_asked.host = 0;
	return port_map_compare(&as_asked, target) == 0;
}

bool completed_same_ports(const struct service_config *current, const struct service_config *target)
{
	if (current->n_ports != target->n_ports)
		return false;
	for (size_t i = 0; i < target->n_ports; i++)
		if (!same_port(&current->ports[i], &target->ports[i]))
			return false;
	return true;
}

static bool is_anonymous(const char *bind) /* the source is a name that the engine made up */
{
	return strspn(bind, "0123456789abcdef") == 64 && bind[64] == ':';
}

/* "source:target[:mode]" without the words that podman adds to every bind and volume. */
static char *bind_as_asked(const char *bind)
{
	static const char *const added[] = {"rprivate", "rbind", "nosuid", "nodev"};
	const char *target = strchr(bind, ':'), *mode = target ? strchr(target + 1, ':') : NULL;
	AUTO_FREE char *words = mode ? mem_strdup(mode + 1) : NULL;
	struct buf b;
	char *rest = words;
	const char *separator = ":";

	if (!mode)
		return mem_strdup(bind);
	buf_init(&b, strlen(bind) + 1);
	buf_add(&b, bind, (size_t)(mode - bind));
	for (char *word; (word = strsep(&rest, ","));) {
		bool is_added = false;

		for (size_t i = 0; i < ARRAY_LEN(added); i++)
			is_added |= strcmp(word, added[i]) == 0;
		if (is_added)
			continue;
		buf_printf(&b, "%s%s", separator, word);
		separator = ",";
	}
	return buf_steal(&b);
}

/* Podman's form of a mount: a bind where there can be one. It does not tell whether a mount was asked for with nocopy. */
static char *mount_place(const struct mount *m)
{
	if (str_eq(m->type, "tmpfs"))
		return mem_printf("tmpfs %s%s %" PRId64, m->target, m->read_only ? " ro" : "", m->tmpfs_size_bytes);
	if (!m->source) /* whether it is read-only is not compared: nobody could have written to it */
		return mem_printf("anonymous %s", m->target);
	return mem_printf("%s:%s%s", m->source, m->target, m->read_only ? ":ro" : "");
}

/* Is a bind or a mount at `path`? Then there is no anonymous volume: podman makes none, and Docker's is never seen. */
static bool is_covered(const struct service_config *c, const char *path)
{
	size_t n = strlen(path);

	for (size_t i = 0; i < c->binds.n; i++) {
		const char *target = strchr(c->binds.v[i], ':');

		if (target && strncmp(target + 1, path, n) == 0 && (!target[n + 1] || target[n + 1] == ':'))
			return true;
	}
	for (size_t i = 0; i < c->n_mounts; i++)
		if (str_eq(c->mounts[i].target, path))
			return true;
	return false;
}

/* What is mounted where, in podman's form, sorted. */
static void list_places(const struct service_config *c, struct strv *out)
{
	for (size_t i = 0; i < c->binds.n; i++) {
		AUTO_FREE char *bind = bind_as_asked(c->binds.v[i]);
		const char *target = strchr(bind, ':');

		if (is_anonymous(bind))
			strv_take(out, mem_printf("anonymous %.*s", (int)strcspn(target + 1, ":"), target + 1));
		else
			strv_take(out, STEAL(bind));
	}
	for (size_t i = 0; i < c->n_mounts; i++)
		strv_take(out, mount_place(&c->mounts[i]));
	for (size_t i = 0; i < c->anonymous.n; i++)
		if (!is_covered(c, c->anonymous.v[i]))
			strv_take(out, mem_printf("anonymous %s", c->anonymous.v[i]));
	strv_sort_unique(out);
}

bool completed_same_volumes(const struct service_config *current, const struct service_config *target)
{
	struct strv now = {0}, then = {0};
	bool same;

	list_places(current, &now);
	list_places(target, &then);
	same = strv_eq(&now, &then);
	strv_deinit(&now);
	strv_deinit(&then);
	return same;
}
