/* Networks: which ones a service joins and as what, and the networks and volumes that a release declares. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

#include "model/config_text.h"
#include "model/parse.h"
#include "model/read.h"
#include "util/mem.h"

static void parse_address(struct parse *p, const struct at *at, const struct json *v, char kind, char **out)
{
	const char *s = json_str(v);
	char ip[46];

	if (is_null(v))
		return;
	if (s && ip_canonical(s, ip) && !strchr(ip, ':') == (kind == '4')) {
		free(*out);
		*out = mem_strdup(ip);
	} else {
		parse_expected(p, at, kind == '4' ? "an IPv4 address" : "an IPv6 address", v);
	}
}

/* The members of one entry of a service's `networks` map. */
static void parse_join(struct parse *p, const struct at *at, const struct json *v, struct network_join *n)
{
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *member = json_at(v, i);
		struct at here = at_key(at, json_key_at(v, i));

		if (is_null(member))
			continue;
		if (str_eq(here.key, "aliases"))
			parse_strings(p, &here, member, &n->aliases);
		else if (str_eq(here.key, "ipv4_address") || str_eq(here.key, "ipv4Address"))
			parse_address(p, &here, member, '4', &n->ipv4);
		else if (str_eq(here.key, "ipv6_address") || str_eq(here.key, "ipv6Address"))
			parse_address(p, &here, member, '6', &n->ipv6);
		else if (str_eq(here.key, "link_local_ips") || str_eq(here.key, "linkLocalIps"))
			parse_strings(p, &here, member, &n->link_local);
		else
			parse_unsupported(p, &here, here.key);
	}
}

static bool is_declared(const struct scope *scope, const char *key)
{
	return str_eq(key, "default") || json_get(scope->networks, key);
}

/* The entry of a network in the service, made if there is none. */
static struct network_join *join_of(struct target_service *s, const struct scope *scope, const char *key)
{
	AUTO_FREE char *name = mem_printf("%s_%s", scope->app->uuid, key);
	struct network_join *n;

	for (size_t i = 0; i < s->spec.n_networks; i++)
		if (str_eq(s->spec.networks[i].name, name))
			return &s->spec.networks[i];
	n = &s->spec.networks[s->spec.n_networks++]; /* there is room: see parse_service_networks() */
	n->name = STEAL(name);
	return n;
}

static void finish_joins(struct target_service *s)
{
	for (size_t i = 0; i < s->spec.n_networks; i++) {
		struct network_join *n = &s->spec.networks[i];

		strv_add(&n->aliases, s->name);
		strv_sort_unique(&n->aliases);
		strv_sort_unique(&n->link_local);
	}
	networks_sort(&s->spec);
}

static void parse_joins(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			struct target_service *s)
{
	for (size_t i = 0; i < json_size(v); i++) {
		bool is_map = json_is(v, JSON_OBJECT);
		const struct json *entry = json_at(v, i);
		struct at here = is_map ? at_key(at, json_key_at(v, i)) : at_index(at, i);
		const char *key = is_map ? here.key : parse_str(p, &here, entry);

		if (!key)
			continue;
		if (!is_declared(scope, key)) {
			parse_error(p, &here, "the release has no network \"%.80s\"", key);
			continue;
		}
		if (is_map && !is_null(entry) && !parse_object(p, &here, entry))
			continue;
		parse_join(p, &here, is_map ? entry : NULL, join_of(s, scope, key));
		if (!s->spec.network_mode) /* the first one is the main one */
			s->spec.network_mode = mem_printf("%s_%s", scope->app->uuid, key);
	}
}

/* Networks that cannot be joined together with the mode are not: host and none have no others. */
static void drop_joins(struct target_service *s)
{
	struct service_config rest = {.networks = s->spec.networks, .n_networks = s->spec.n_networks};

	s->spec.networks = NULL;
	s->spec.n_networks = 0;
	service_config_deinit(&rest);
}

static void parse_mode(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		       struct target_service *s)
{
	static const char *const plain[] = {"host", "bridge", "none", NULL};
	const char *mode = parse_str(p, at, v);

	if (!mode)
		return;
	if (is_one_of(mode, plain)) {
		free(s->spec.network_mode);
		s->spec.network_mode = mem_strdup(mode);
		if (!str_eq(mode, "bridge"))
			drop_joins(s);
	} else if (str_starts(mode, "service:") || str_starts(mode, "container:")) {
		parse_error(p, at, "not supported yet: network_mode %.80s", mode);
	} else if (!is_declared(scope, mode)) {
		parse_error(p, at, "the release has no network \"%.80s\"", mode);
	} else {
		free(s->spec.network_mode);
		s->spec.network_mode = mem_printf("%s_%s", scope->app->uuid, mode);
		join_of(s, scope, mode);
	}
}

void parse_service_networks(struct parse *p, const struct at *at, const struct json *composition,
			    const struct scope *scope, struct target_service *s)
{
	const char *mode_key;
	const struct json *v = json_get(composition, "networks");
	const struct json *mode = get_either(composition, "network_mode", "networkMode", &mode_key);
	struct at networks = at_key(at, "networks"), network_mode = at_key(at, mode_key);

	if (!is_null(v) && !json_is(v, JSON_OBJECT) && !json_is(v, JSON_ARRAY))
		parse_expected(p, &networks, "a list or a map of networks", v);
	if (json_size(v) > PARSE_LIST_MAX) {
		parse_error(p, &networks, "more than %d elements", PARSE_LIST_MAX);
		return;
	}
	s->spec.networks = mem_new(json_size(v) + 2, sizeof(*s->spec.networks));
	parse_joins(p, &networks, v, scope, s);
	if (!is_null(mode))
		parse_mode(p, &network_mode, mode, scope, s);
	if (!s->spec.network_mode) {
		s->spec.network_mode = mem_printf("%s_default", scope->app->uuid);
		join_of(s, scope, "default");
	}
	finish_joins(s);
}

static void parse_pool(struct parse *p, const struct at *at, const struct json *v, struct network_pool *pool)
{
	if (!parse_object(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *member = json_at(v, i);
		struct at here = at_key(at, json_key_at(v, i));
		char **text = NULL;

		if (is_null(member))
			continue;
		if (str_eq(here.key, "subnet"))
			text = &pool->subnet;
		else if (str_eq(here.key, "gateway"))
			text = &pool->gateway;
		else if (str_eq(here.key, "ip_range") || str_eq(here.key, "ipRange"))
			text = &pool->ip_range;
		else if (str_eq(here.key, "aux_addresses") || str_eq(here.key, "auxAddresses"))
			parse_map(p, &here, member, false, &pool->aux);
		else
			parse_unsupported(p, &here, here.key);
		if (text && parse_str(p, &here, member)) {
			free(*text);
			*text = mem_strdup(json_str(member));
		}
	}
}

static void parse_pools(struct parse *p, const struct at *at, const struct json *v, struct target_network *n)
{
	if (!parse_list(p, at, v))
		return;
	n->pools = mem_new(json_size(v) + 1, sizeof(*n->pools));
	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = at_index(at, i);

		parse_pool(p, &here, json_at(v, i), &n->pools[n->n_pools++]);
	}
}

static void parse_ipam(struct parse *p, const struct at *at, const struct json *v, struct target_network *n)
{
	if (!parse_object(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *member = json_at(v, i);
		struct at here = at_key(at, json_key_at(v, i));

		if (is_null(member))
			continue;
		if (str_eq(here.key, "driver") && parse_str(p, &here, member)) {
			free(n->ipam_driver);
			n->ipam_driver = mem_strdup(json_str(member));
		} else if (str_eq(here.key, "options")) {
			parse_map(p, &here, member, false, &n->ipam_options);
		} else if (str_eq(here.key, "config")) {
			parse_pools(p, &here, member, n);
		} else if (!str_eq(here.key, "driver")) {
			parse_unsupported(p, &here, here.key);
		}
	}
}

/* `driver`, `driver_opts` and `labels`, which networks and volumes share. False: it is none of them. */
static bool parse_common(struct parse *p, const struct at *at, const struct json *v, char **driver,
			 struct strmap *options, struct strmap *labels)
{
	if (str_eq(at->key, "driver")) {
		if (parse_str(p, at, v) && *json_str(v)) {
			free(*driver);
			*driver = mem_strdup(json_str(v));
		}
	} else if (str_eq(at->key, "driver_opts") || str_eq(at->key, "driverOpts")) {
		parse_map(p, at, v, false, options);
	} else if (str_eq(at->key, "labels")) {
		parse_map(p, at, v, true, labels);
		labels_rename(labels);
	} else {
		return str_eq(at->key, "external") && json_is(v, JSON_BOOL) && !json_bool(v);
	}
	return true;
}

void parse_network(struct parse *p, const struct at *at, const struct json *v, const struct target_app *a,
		   const char *key, struct target_network *out)
{
	AUTO_FREE char *id = mem_printf("%" PRId64, a->id);

	*out = (struct target_network){.key = mem_strdup(key),
				       .name = mem_printf("%s_%s", a->uuid, key),
				       .driver = mem_strdup("bridge"),
				       .ipam_driver = mem_strdup("default")};
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *member = json_at(v, i);
		struct at here = at_key(at, json_key_at(v, i));

		if (is_null(member) || parse_common(p, &here, member, &out->driver, &out->options, &out->labels))
			continue;
		if (str_eq(here.key, "ipam"))
			parse_ipam(p, &here, member, out);
		else if (str_eq(here.key, "enable_ipv6") || str_eq(here.key, "enableIpv6"))
			parse_bool(p, &here, member, &out->enable_ipv6);
		else if (str_eq(here.key, "internal"))
			parse_bool(p, &here, member, &out->internal);
		else if (str_eq(here.key, "config_only") || str_eq(here.key, "configOnly"))
			parse_bool(p, &here, member, &out->config_only);
		else
			parse_unsupported(p, &here, here.key);
	}
	strmap_unset(&out->labels, "io.balena.supervised");
	strmap_set(&out->labels, "io.balena.app-id", id);
	if (out->n_pools)
		strmap_set(&out->labels, "io.balena.private.ipam.config", "true");
}

void parse_volume(struct parse *p, const struct at *at, const struct json *v, const struct target_app *a,
		  const char *key, struct target_volume *out)
{
	*out = (struct target_volume){.key = mem_strdup(key),
				      .name = mem_printf("%" PRId64 "_%s", a->id, key),
				      .driver = mem_strdup("local")};
	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));

		if (!is_null(json_at(v, i)) &&
		    !parse_common(p, &here, json_at(v, i), &out->driver, &out->options, &out->labels))
			parse_unsupported(p, &here, here.key);
	}
}
