/* Order and texts of the parts of a configuration. One order for both sides is what makes comparing them plain. */
#include "model/config_text.h"

#include <inttypes.h>
#include <string.h>

#include "util/mem.h"

#define TEXT_MAX_BYTES (64 * 1024) /* what a change shows; longer ones end early */

char *strv_text(const struct strv *l)
{
	struct buf b;

	buf_init(&b, TEXT_MAX_BYTES);
	buf_adds(&b, "[");
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			buf_adds(&b, ",");
		json_quote(&b, l->v[i], strlen(l->v[i]));
	}
	buf_adds(&b, "]");
	return buf_steal(&b);
}

char *restart_text(const struct service_config *c)
{
	if (c->restart_max)
		return mem_printf("%s:%d", c->restart, c->restart_max);
	return mem_strdup(c->restart);
}

static char *port_text(const struct port_map *p)
{
	bool bracket = strchr(p->host_ip, ':');
	AUTO_FREE char *host = p->host ? mem_printf("%u", p->host) : mem_strdup("");

	return mem_printf("%s%s%s%s%s:%u/%s", bracket ? "[" : "", p->host_ip, bracket ? "]" : "",
			  *p->host_ip ? ":" : "", host, p->container, p->proto);
}

char *ports_text(const struct service_config *c)
{
	struct strv l = {0};
	char *text;

	for (size_t i = 0; i < c->n_ports; i++)
		strv_take(&l, port_text(&c->ports[i]));
	text = strv_text(&l);
	strv_deinit(&l);
	return text;
}

static char *mount_text(const struct mount *m)
{
	AUTO_FREE char *size = m->tmpfs_size_bytes ? mem_printf(",size=%" PRId64, m->tmpfs_size_bytes) : mem_strdup("");

	return mem_printf("%s %s -> %s%s%s%s", m->type, m->source ? m->source : "", m->target,
			  m->read_only ? ",read_only" : "", m->no_copy ? ",nocopy" : "", size);
}

char *volumes_text(const struct service_config *c)
{
	struct strv l = {0};
	char *text;

	for (size_t i = 0; i < c->binds.n; i++)
		strv_add(&l, c->binds.v[i]);
	for (size_t i = 0; i < c->anonymous.n; i++)
		strv_add(&l, c->anonymous.v[i]);
	for (size_t i = 0; i < c->n_mounts; i++)
		strv_take(&l, mount_text(&c->mounts[i]));
	text = strv_text(&l);
	strv_deinit(&l);
	return text;
}

char *join_text(const struct network_join *n)
{
	AUTO_FREE char *aliases = strv_text(&n->aliases), *local = n->link_local.n ? strv_text(&n->link_local) : NULL;

	return mem_printf("aliases %s%s%s%s%s%s%s", aliases, n->ipv4 ? " ipv4 " : "", n->ipv4 ? n->ipv4 : "",
			  n->ipv6 ? " ipv6 " : "", n->ipv6 ? n->ipv6 : "", local ? " link-local " : "",
			  local ? local : "");
}

int port_map_compare(const struct port_map *a, const struct port_map *b)
{
	int order = strcmp(a->proto, b->proto);

	if (!order)
		order = a->container - b->container;
	if (!order)
		order = strcmp(a->host_ip, b->host_ip);
	return order ? order : a->host - b->host;
}

static int compare_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

int mount_compare(const struct mount *a, const struct mount *b)
{
	int order = compare_text(a->target, b->target);

	if (!order)
		order = compare_text(a->type, b->type);
	if (!order)
		order = compare_text(a->source, b->source);
	if (!order)
		order = a->read_only - b->read_only;
	if (!order)
		order = a->no_copy - b->no_copy;
	return order ? order
		     : (a->tmpfs_size_bytes > b->tmpfs_size_bytes) - (a->tmpfs_size_bytes < b->tmpfs_size_bytes);
}

static int by_port(const void *a, const void *b)
{
	return port_map_compare(a, b);
}

static int by_mount(const void *a, const void *b)
{
	return mount_compare(a, b);
}

static int by_network(const void *a, const void *b)
{
	return strcmp(((const struct network_join *)a)->name, ((const struct network_join *)b)->name);
}

void ports_sort_unique(struct service_config *c)
{
	size_t n = 0;

	if (c->n_ports < 2)
		return;
	qsort(c->ports, c->n_ports, sizeof(*c->ports), by_port);
	for (size_t i = 0; i < c->n_ports; i++)
		if (!n || port_map_compare(&c->ports[n - 1], &c->ports[i]) != 0)
			c->ports[n++] = c->ports[i];
	c->n_ports = n;
}

void mounts_sort(struct service_config *c)
{
	if (c->n_mounts > 1)
		qsort(c->mounts, c->n_mounts, sizeof(*c->mounts), by_mount);
}

void networks_sort(struct service_config *c)
{
	if (c->n_networks > 1)
		qsort(c->networks, c->n_networks, sizeof(*c->networks), by_network);
}
