/*
 * Networks of the engine: reading, comparing, creating. The engine completes what a network leaves open (a gateway, a
 * pool of the other address family, options of its own); only what the target says is compared, in one direction.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "model/config_text.h"
#include "model/current.h"
#include "model/read.h"
#include "model/resource.h"
#include "util/mem.h"

#define SUPERVISOR_SUBNET "10.114.104.0/25"
#define BRIDGE_NAME       "com.docker.network.bridge.name"

static void pool_deinit(struct network_pool *p)
{
	free(p->subnet);
	free(p->gateway);
	free(p->ip_range);
	strmap_deinit(&p->aux);
}

void target_network_deinit(struct target_network *n)
{
	if (!n)
		return;
	free(n->key);
	free(n->name);
	free(n->driver);
	strmap_deinit(&n->options);
	strmap_deinit(&n->labels);
	free(n->ipam_driver);
	strmap_deinit(&n->ipam_options);
	for (size_t i = 0; i < n->n_pools; i++)
		pool_deinit(&n->pools[i]);
	free(n->pools);
	*n = (struct target_network){0};
}

void network_deinit(struct network *n)
{
	if (!n)
		return;
	free(n->id);
	free(n->name);
	free(n->app_uuid);
	free(n->key);
	target_network_deinit(&n->spec);
	*n = (struct network){0};
}

/* "<appUuid>_<key>"; of digits only and without an app label it is the old "<appId>_<key>". */
static void identify(struct network *n)
{
	const char *app_id = strmap_get(&n->spec.labels, "io.balena.app-id"), *key;
	size_t owner;
	AUTO_FREE char *text = NULL;

	if (!n->supervised || !(key = key_of(n->name, &owner)))
		return;
	text = mem_strndup(n->name, owner);
	if (app_id && str_to_i64(app_id, 1, INT64_MAX, &n->app_id)) {
		n->app_uuid = mem_strdup(text);
		n->key = mem_strdup(key);
	} else if (!app_id && str_to_i64(text, 1, INT64_MAX, &n->app_id)) {
		n->key = mem_strdup(key);
	}
}

static int read_pools(const struct json *list, struct target_network *n, struct err *err)
{
	if (read_check(list, JSON_ARRAY, "IPAM.Config", err) < 0)
		return err->code;
	n->pools = mem_new(json_size(list) + 1, sizeof(*n->pools));
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *v = json_at(list, i);
		struct network_pool *p = &n->pools[n->n_pools++];

		if (read_str(json_get(v, "Subnet"), "IPAM.Config.Subnet", &p->subnet, err) < 0 ||
		    read_str(json_get(v, "Gateway"), "IPAM.Config.Gateway", &p->gateway, err) < 0 ||
		    read_str(json_get(v, "IPRange"), "IPAM.Config.IPRange", &p->ip_range, err) < 0 ||
		    read_map(json_get(v, "AuxiliaryAddresses"), "IPAM.Config.AuxiliaryAddresses", &p->aux, err) < 0)
			return err->code;
	}
	return 0;
}

int network_from_engine(const struct json *inspect, struct network *out, struct err *err)
{
	const struct json *name = json_get(inspect, "Name"), *ipam = json_get(inspect, "IPAM");
	struct target_network *n = &out->spec;

	*out = (struct network){0};
	if (!json_str(name) || !*json_str(name))
		return err_set(err, -EPROTO, "Name: expected string, got %s", json_type_name(json_type(name)));
	out->name = mem_strdup(json_str(name));
	if (read_str(json_get(inspect, "Id"), "Id", &out->id, err) < 0 ||
	    read_str(json_get(inspect, "Driver"), "Driver", &n->driver, err) < 0 ||
	    read_map(json_get(inspect, "Options"), "Options", &n->options, err) < 0 ||
	    read_map(json_get(inspect, "Labels"), "Labels", &n->labels, err) < 0 ||
	    read_check(ipam, JSON_OBJECT, "IPAM", err) < 0 ||
	    read_str(json_get(ipam, "Driver"), "IPAM.Driver", &n->ipam_driver, err) < 0 ||
	    read_map(json_get(ipam, "Options"), "IPAM.Options", &n->ipam_options, err) < 0 ||
	    read_pools(json_get(ipam, "Config"), n, err) < 0 ||
	    read_bool(json_get(inspect, "EnableIPv6"), "EnableIPv6", &n->enable_ipv6, err) < 0 ||
	    read_bool(json_get(inspect, "Internal"), "Internal", &n->internal, err) < 0 ||
	    read_bool(json_get(inspect, "ConfigOnly"), "ConfigOnly", &n->config_only, err) < 0) {
		network_deinit(out);
		return err->code;
	}
	labels_rename(&n->labels);
	out->supervised = strmap_get(&n->labels, "io.balena.supervised");
	strmap_unset(&n->labels, "io.balena.supervised");
	n->name = mem_strdup(out->name);
	identify(out);
	n->key = mem_strdup(out->key);
	return 0;
}

static void changed(struct field_changes *out, bool *equal, const char *field, const char *current, const char *target)
{
	*equal = false;
	if (out)
		field_changes_add(out, field, current, target);
}

static const char *bool_text(bool b)
{
	return b ? "true" : "false";
}

/* What the target leaves open is the engine's to choose. */
static bool same_if_set(const char *current, const char *target)
{
	return !target || str_eq(current, target);
}

static bool pool_satisfied(const struct network_pool *c, const struct network_pool *t, bool subnet_only)
{
	return same_if_set(c->subnet, t->subnet) && same_if_set(c->gateway, t->gateway) &&
	       (subnet_only || (str_eq(c->ip_range, t->ip_range) && strmap_eq(&c->aux, &t->aux)));
}

static bool is_ipv6(const struct network_pool *p)
{
	return p->subnet && strchr(p->subnet, ':');
}

/* How many pools of one family: the engine adds one of a family that the target has none of. */
static size_t count_pools(const struct target_network *n, bool ipv6)
{
	size_t count = 0;

	for (size_t i = 0; i < n->n_pools; i++)
		count += is_ipv6(&n->pools[i]) == ipv6;
	return count;
}

static bool same_pools(const struct target_network *c, const struct target_network *t, bool subnet_only)
{
	for (size_t i = 0; i < t->n_pools; i++) {
		bool found = false;

		for (size_t k = 0; !found && k < c->n_pools; k++)
			found = pool_satisfied(&c->pools[k], &t->pools[i], subnet_only);
		if (!found)
			return false;
	}
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		if (count_pools(t, ipv6) && count_pools(t, ipv6) != count_pools(c, ipv6))
			return false;
	return true;
}

/*
 * Podman keeps no options of IPAM and answers with one of its own instead; no pool's range, no auxiliary addresses, no
 * network for configuration only, and of the driver's options the MTU, by another name. What it does not tell is taken
 * as kept: making the network anew, and all containers on it, would not keep it either.
 */
static bool is_completed(const struct target_network *current)
{
	return str_eq(strmap_get(&current->ipam_options, "driver"), "host-local");
}

static void options_told(struct strmap *out, const struct strmap *options)
{
	static const char mtu[] = "com.docker.network.driver.mtu";
	const char *value = strmap_get(options, mtu);

	if (!value)
		value = strmap_get(options, "mtu");
	if (value)
		strmap_set(out, mtu, value);
}

/* The engine writes these into the options itself. */
static void own_options(struct strmap *options, const struct strmap *current, const struct strmap *target)
{
	static const char *const own[] = {"com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"};

	strmap_copy(options, current);
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (!strmap_get(target, own[i]))
			strmap_unset(options, own[i]);
}

static bool same_options(const struct target_network *c, const struct target_network *t, struct field_changes *out)
{
	struct strmap now = {0}, then = {0};
	bool equal;

	if (is_completed(c)) {
		options_told(&now, &c->options);
		options_told(&then, &t->options);
	} else {
		own_options(&now, &c->options, &t->options);
		strmap_copy(&then, &t->options);
	}
	equal = strmap_diff("driver_opts", &now, &then, out);
	strmap_deinit(&now);
	strmap_deinit(&then);
	return equal;
}

bool network_equal(const struct network *current, const struct target_network *t, struct field_changes *out)
{
	const struct target_network *c = &current->spec;
	bool equal = true, completed = is_completed(c);
	struct strmap labels;

	if (!t->config_only && !str_eq(c->driver, t->driver))
		changed(out, &equal, "driver", c->driver, t->driver);
	if (!str_eq(c->ipam_driver, t->ipam_driver))
		changed(out, &equal, "ipam.driver", c->ipam_driver, t->ipam_driver);
	if (!same_pools(c, t, completed))
		changed(out, &equal, "ipam.config", NULL, NULL);
	if (c->enable_ipv6 != t->enable_ipv6)
		changed(out, &equal, "enable_ipv6", bool_text(c->enable_ipv6), bool_text(t->enable_ipv6));
	if (c->internal != t->internal)
		changed(out, &equal, "internal", bool_text(c->internal), bool_text(t->internal));
	if (c->config_only != t->config_only && !completed)
		changed(out, &equal, "config_only", bool_text(c->config_only), bool_text(t->config_only));
	strmap_copy(&labels, &t->labels);
	strmap_unset(&labels, "io.balena.supervised");
	equal &= same_options(c, t, out);
	equal &= strmap_diff("labels", &c->labels, &labels, out);
	if (!completed)
		equal &= strmap_diff("ipam.options", &c->ipam_options, &t->ipam_options, out);
	strmap_deinit(&labels);
	return equal;
}

void write_map(struct json_writer *w, const char *key, const struct strmap *m)
{
	json_key(w, key);
	json_open_object(w);
	for (size_t i = 0; i < m->n; i++)
		json_kv_str(w, m->v[i].key, m->v[i].value);
	json_close_object(w);
}

static void write_pool(struct json_writer *w, const struct network_pool *p)
{
	json_open_object(w);
	if (p->subnet)
		json_kv_str(w, "Subnet", p->subnet);
	if (p->gateway)
		json_kv_str(w, "Gateway", p->gateway);
	if (p->ip_range)
		json_kv_str(w, "IPRange", p->ip_range);
	if (p->aux.n)
		write_map(w, "AuxiliaryAddresses", &p->aux);
	json_close_object(w);
}

static void write_ipam(struct json_writer *w, const struct target_network *n)
{
	json_key(w, "IPAM");
	json_open_object(w);
	json_kv_str(w, "Driver", n->ipam_driver);
	write_map(w, "Options", &n->ipam_options);
	json_key(w, "Config");
	json_open_array(w);
	for (size_t i = 0; i < n->n_pools; i++)
		write_pool(w, &n->pools[i]);
	json_close_array(w);
	json_close_object(w);
}

void network_create_body(const struct target_app *a, const struct target_network *n, struct buf *to)
{
	AUTO_FREE char *id = mem_printf("%" PRId64, a->id);
	struct json_writer *w = json_writer_new(to);
	struct strmap labels;

	strmap_copy(&labels, &n->labels);
	strmap_set(&labels, "io.balena.supervised", "true");
	strmap_set(&labels, "io.balena.app-id", id);
	json_open_object(w);
	json_kv_str(w, "Name", n->name);
	json_kv_bool(w, "CheckDuplicate", true);
	json_kv_str(w, "Driver", n->driver);
	write_map(w, "Options", &n->options);
	write_ipam(w, n);
	json_kv_bool(w, "EnableIPv6", n->enable_ipv6);
	json_kv_bool(w, "Internal", n->internal);
	json_kv_bool(w, "ConfigOnly", n->config_only);
	write_map(w, "Labels", &labels);
	json_close_object(w);
	json_writer_free(w);
	strmap_deinit(&labels);
}

bool network_is_supervisor0(const struct network *n)
{
	const struct target_network *s = &n->spec;

	return str_eq(n->name, SUPERVISOR_NETWORK) && s->n_pools &&
	       (is_completed(s) || str_eq(strmap_get(&s->options, BRIDGE_NAME), SUPERVISOR_NETWORK)) &&
	       str_eq(s->pools[0].subnet, SUPERVISOR_SUBNET) && str_eq(s->pools[0].gateway, SUPERVISOR_GATEWAY);
}

void supervisor0_create_body(struct buf *to)
{
	struct json_writer *w = json_writer_new(to);

	json_open_object(w);
	json_kv_str(w, "Name", SUPERVISOR_NETWORK);
	json_kv_bool(w, "CheckDuplicate", true);
	json_kv_str(w, "Driver", "bridge"); /* Docker's default; podman has none */
	json_key(w, "Options");
	json_open_object(w);
	json_kv_str(w, BRIDGE_NAME, SUPERVISOR_NETWORK);
	json_close_object(w);
	json_key(w, "IPAM");
	json_open_object(w);
	json_kv_str(w, "Driver", "default");
	json_key(w, "Config");
	json_open_array(w);
	json_open_object(w);
	json_kv_str(w, "Subnet", SUPERVISOR_SUBNET);
	json_kv_str(w, "Gateway", SUPERVISOR_GATEWAY);
	json_close_object(w);
	json_close_array(w);
	json_close_object(w);
	json_close_object(w);
	json_writer_free(w);
}
