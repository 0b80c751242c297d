/*
 * Published ports of a composition: short and long form, expanded to one tuple a port, so that it does not matter how
 * they were written (spec engine.md 1.7, traps T16, T17, T55).
 */
#include <ctype.h>
#include <string.h>

#include "model/config_text.h"
#include "model/parse.h"
#include "model/read.h"
#include "util/mem.h"

struct range {
	int64_t first, last;
};
struct mapping {
	char proto[5], host_ip[46];
	bool ephemeral;
	struct range host, container;
};

static bool parse_range(const char *text, int64_t min, struct range *r)
{
	const char *dash = strchr(text, '-');
	AUTO_FREE char *first = mem_strndup(text, dash ? (size_t)(dash - text) : strlen(text));

	if (!isdigit((unsigned char)*first) || !str_to_i64(first, min, 65535, &r->first))
		return false;
	r->last = r->first;
	if (dash && (!isdigit((unsigned char)dash[1]) || !str_to_i64(dash + 1, min, 65535, &r->last)))
		return false;
	return r->last >= r->first;
}

static bool set_proto(struct mapping *m, const char *text)
{
	static const char *const known[] = {"tcp", "udp", "sctp", NULL};
	AUTO_FREE char *lower = mem_strdup(text);

	for (char *c = lower; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (!is_one_of(lower, known))
		return false;
	memcpy(m->proto, lower, strlen(lower) + 1);
	return true;
}

static bool set_host_ip(struct mapping *m, const char *text)
{
	size_t n = strlen(text);
	AUTO_FREE char *bare =
		n > 2 && *text == '[' && text[n - 1] == ']' ? mem_strndup(text + 1, n - 2) : mem_strdup(text);

	return ip_canonical(bare, m->host_ip);
}

/* Adds the tuples, or says why there are none. */
static void add_mapping(struct parse *p, const struct at *at, const struct mapping *m, size_t *capacity,
			struct service_config *out)
{
	int64_t span = m->container.last - m->container.first, host_span = m->host.last - m->host.first;

	if (!m->ephemeral && span != host_span) {
		if (span == 0)
			parse_unsupported(p, at, "a range of host ports for one container port");
		else
			parse_error(p, at, "the host range has %lld ports, the container range %lld",
				    (long long)host_span + 1, (long long)span + 1);
		return;
	}
	p->n_ports += (size_t)span + 1;
	if (p->n_ports > PARSE_PORTS_MAX) {
		parse_error(p, at, "more than %d published ports in the document", PARSE_PORTS_MAX);
		p->n_ports -= (size_t)span + 1;
		return;
	}
	mem_reserve(&out->ports, capacity, out->n_ports + (size_t)span + 1, sizeof(*out->ports));
	for (int64_t i = 0; i <= span; i++) {
		struct port_map *to = &out->ports[out->n_ports++];

		memcpy(to->proto, m->proto, sizeof(to->proto));
		memcpy(to->host_ip, m->host_ip, sizeof(to->host_ip));
		to->container = (uint16_t)(m->container.first + i);
		to->host = m->ephemeral ? 0 : (uint16_t)(m->host.first + i);
	}
}

/* [[host:][ext[-ext]]:]int[-int][/proto]; NULL when it is fine, else what is wrong. */
static const char *parse_short(char *text, struct mapping *m)
{
	char *slash = strrchr(text, '/'), *colon, *host = NULL;

	if (slash)
		*slash = 0;
	if (slash && !set_proto(m, slash + 1))
		return "the protocol must be tcp, udp or sctp";
	colon = strrchr(text, ':');
	if (!parse_range(colon ? colon + 1 : text, 1, &m->container))
		return "the container port must be a number from 1 to 65535, or a range of them";
	if (!colon) {
		m->host = m->container;
		return NULL;
	}
	*colon = 0;
	colon = strrchr(text, ':');
	if (colon) {
		host = text;
		text = colon + 1;
		*colon = 0;
	}
	if (host && !set_host_ip(m, host))
		return "the host address is no IP address";
	m->ephemeral = host && !*text;
	if (!m->ephemeral && !parse_range(text, 0, &m->host))
		return "the host port must be a number up to 65535, or a range of them";
	if (!m->ephemeral && m->host.first == 0) {
		m->ephemeral = m->host.last == 0;
		return m->ephemeral ? NULL : "a range of host ports cannot start at 0";
	}
	return NULL;
}

/* A member that is a number, or a string holding one (or a range). */
static bool long_port(struct parse *p, const struct at *at, const struct json *v, const char *key, int64_t min,
		      struct range *r)
{
	struct at here = at_key(at, key);
	const char *text = json_is(v, JSON_NUMBER) ? json_number_text(v) : json_str(v);

	if (text && parse_range(text, min, r))
		return true;
	parse_expected(p, &here, "a port", v);
	return false;
}

static bool check_long_members(struct parse *p, const struct at *at, const struct json *v)
{
	static const char *const known[] = {"target", "published", "protocol",     "host_ip",     "hostIp",
					    "mode",   "name",      "app_protocol", "appProtocol", NULL};
	static const char *const modes[] = {"host", "ingress", NULL};
	const struct json *mode = json_get(v, "mode");
	bool fine = true;

	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));

		if (is_one_of(here.key, known) || is_null(json_at(v, i)))
			continue;
		parse_unsupported(p, &here, here.key);
		fine = false;
	}
	if (!is_null(mode) && !is_one_of(json_str(mode), modes)) {
		struct at here = at_key(at, "mode");

		parse_expected(p, &here, "host or ingress", mode);
		fine = false;
	}
	return fine;
}

static bool parse_long(struct parse *p, const struct at *at, const struct json *v, struct mapping *m)
{
	const char *ip_key;
	const struct json *proto = json_get(v, "protocol"), *ip = get_either(v, "host_ip", "hostIp", &ip_key);
	const struct json *published = json_get(v, "published");
	bool fine = check_long_members(p, at, v);

	fine &= long_port(p, at, json_get(v, "target"), "target", 1, &m->container);
	m->ephemeral = is_null(published) || str_eq(json_str(published), "");
	if (!m->ephemeral && (fine &= long_port(p, at, published, "published", 0, &m->host)))
		m->ephemeral = m->host.last == 0;
	if (!is_null(proto) && (!json_str(proto) || !set_proto(m, json_str(proto)))) {
		struct at here = at_key(at, "protocol");

		parse_expected(p, &here, "tcp, udp or sctp", proto);
		fine = false;
	}
	if (!is_null(ip) && !str_eq(json_str(ip), "") && (!json_str(ip) || !set_host_ip(m, json_str(ip)))) {
		struct at here = at_key(at, ip_key);

		parse_expected(p, &here, "an IP address", ip);
		fine = false;
	}
	return fine;
}

void parse_ports(struct parse *p, const struct at *at, const struct json *v, struct service_config *out)
{
	size_t capacity = 0;

	if (!parse_list(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *entry = json_at(v, i);
		struct at here = at_index(at, i);
		struct mapping m = {.proto = "tcp"};
		const char *text = json_is(entry, JSON_NUMBER) ? json_number_text(entry) : json_str(entry);
		AUTO_FREE char *copy = mem_strdup(text);
		const char *wrong = text ? parse_short(copy, &m) : NULL;

		if (wrong)
			parse_error(p, &here, "\"%.80s\" is no port mapping: %s", text, wrong);
		else if (!text && !json_is(entry, JSON_OBJECT))
			parse_expected(p, &here, "a port mapping", entry);
		else if (text || parse_long(p, &here, entry, &m))
			add_mapping(p, &here, &m, &capacity, out);
	}
	ports_sort_unique(out);
}
