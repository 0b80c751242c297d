/*
 * Canonical form -> bodies of POST /containers/create and /networks/<n>/connect. Every field that is compared is sent,
 * also when empty, so that the engine's own defaults never decide; the last ones are the constants that devices
 * already run with (ipc, shm).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "model/config_text.h"
#include "util/mem.h"

#define SHM_BYTES  67108864
#define TMPFS_MODE 01777 /* Docker's default; with a size and no mode podman takes 0 */

static void add_strings(struct json_writer *w, const char *key, const struct strv *l)
{
	json_key(w, key);
	json_open_array(w);
	for (size_t i = 0; i < l->n; i++)
		json_add_str(w, l->v[i]);
	json_close_array(w);
}

static void add_map(struct json_writer *w, const char *key, const struct strmap *m)
{
	json_key(w, key);
	json_open_object(w);
	for (size_t i = 0; i < m->n; i++)
		json_kv_str(w, m->v[i].key, m->v[i].value);
	json_close_object(w);
}

static void add_pair(struct json_writer *w, const char *key, const char *value)
{
	AUTO_FREE char *pair = mem_printf("%s=%s", key, value);

	json_add_str(w, pair);
}

static void add_env(struct json_writer *w, const struct service_config *c, const char *device_name)
{
	json_key(w, "Env");
	json_open_array(w);
	if (device_name) {
		add_pair(w, "RESIN_DEVICE_NAME_AT_INIT", device_name);
		add_pair(w, "BALENA_DEVICE_NAME_AT_INIT", device_name);
	}
	for (size_t i = 0; i < c->env.n; i++)
		add_pair(w, c->env.v[i].key, c->env.v[i].value);
	json_close_array(w);
}

static void open_port(struct json_writer *w, const struct port_map *p)
{
	char key[16];

	snprintf(key, sizeof(key), "%u/%s", p->container, p->proto);
	json_key(w, key);
}

static bool same_container_port(const struct port_map *a, const struct port_map *b)
{
	return a->container == b->container && strcmp(a->proto, b->proto) == 0;
}

static void add_exposed_ports(struct json_writer *w, const struct service_config *c)
{
	json_key(w, "ExposedPorts");
	json_open_object(w);
	for (size_t i = 0; i < c->n_ports; i++) {
		if (i && same_container_port(&c->ports[i - 1], &c->ports[i]))
			continue;
		open_port(w, &c->ports[i]);
		json_open_object(w);
		json_close_object(w);
	}
	json_close_object(w);
}

/* The ports are sorted by protocol and container port, so each member's bindings stand side by side. */
static void add_port_bindings(struct json_writer *w, const struct service_config *c)
{
	json_key(w, "PortBindings");
	json_open_object(w);
	for (size_t i = 0; i < c->n_ports; i++) {
		const struct port_map *p = &c->ports[i];
		char host[8] = "";

		if (!i || !same_container_port(p - 1, p)) {
			open_port(w, p);
			json_open_array(w);
		}
		if (p->host)
			snprintf(host, sizeof(host), "%u", p->host);
		json_open_object(w);
		json_kv_str(w, "HostIp", p->host_ip);
		json_kv_str(w, "HostPort", host);
		json_close_object(w);
		if (i + 1 == c->n_ports || !same_container_port(p, p + 1))
			json_close_array(w);
	}
	json_close_object(w);
}

static void add_mount(struct json_writer *w, const struct mount *m)
{
	json_open_object(w);
	json_kv_str(w, "Type", m->type);
	json_kv_str(w, "Target", m->target);
	if (m->source)
		json_kv_str(w, "Source", m->source);
	if (m->read_only)
		json_kv_bool(w, "ReadOnly", true);
	if (m->no_copy) {
		json_key(w, "VolumeOptions");
		json_open_object(w);
		json_kv_bool(w, "NoCopy", true);
		json_close_object(w);
	}
	if (m->tmpfs_size_bytes) {
		json_key(w, "TmpfsOptions");
		json_open_object(w);
		json_kv_i64(w, "SizeBytes", m->tmpfs_size_bytes);
		json_kv_i64(w, "Mode", TMPFS_MODE);
		json_close_object(w);
	}
	json_close_object(w);
}

static void add_restart(struct json_writer *w, const struct service_config *c)
{
	json_key(w, "RestartPolicy");
	json_open_object(w);
	json_kv_str(w, "Name", c->restart ? c->restart : "no");
	json_kv_i64(w, "MaximumRetryCount", c->restart_max);
	json_close_object(w);
}

static void add_host_config(struct json_writer *w, const struct service_config *c)
{
	json_key(w, "HostConfig");
	json_open_object(w);
	add_strings(w, "Binds", &c->binds);
	json_key(w, "Mounts");
	json_open_array(w);
	for (size_t i = 0; i < c->n_mounts; i++)
		add_mount(w, &c->mounts[i]);
	json_close_array(w);
	add_port_bindings(w, c);
	add_restart(w, c);
	json_kv_str(w, "NetworkMode", c->network_mode);
	json_kv_bool(w, "Privileged", c->privileged);
	json_kv_str(w, "IpcMode", "shareable");
	json_kv_i64(w, "ShmSize", SHM_BYTES);
	json_close_object(w);
}

static void add_endpoint(struct json_writer *w, const struct network_join *n)
{
	json_open_object(w);
	json_key(w, "IPAMConfig");
	json_open_object(w);
	if (n->ipv4)
		json_kv_str(w, "IPv4Address", n->ipv4);
	if (n->ipv6)
		json_kv_str(w, "IPv6Address", n->ipv6);
	if (n->link_local.n)
		add_strings(w, "LinkLocalIPs", &n->link_local);
	json_close_object(w);
	add_strings(w, "Aliases", &n->aliases);
	json_close_object(w);
}

int service_create_body(const struct service_config *c, const char *device_name, struct buf *to, struct err *err)
{
	const struct network_join *main_network = service_config_network(c, c->network_mode);
	struct json_writer *w;

	if (device_name && strchr(device_name, '\n'))
		return err_set(err, -EINVAL, "the device name holds a newline");
	w = json_writer_new(to);
	json_open_object(w);
	json_kv_str(w, "Image", c->image);
	add_strings(w, "Cmd", &c->command);
	add_strings(w, "Entrypoint", &c->entrypoint);
	add_env(w, c, device_name);
	add_map(w, "Labels", &c->labels);
	json_kv_str(w, "Hostname", c->hostname ? c->hostname : "");
	json_kv_str(w, "User", c->user ? c->user : "");
	json_kv_str(w, "WorkingDir", c->working_dir ? c->working_dir : "");
	json_kv_bool(w, "Tty", c->tty);
	json_kv_i64(w, "StopTimeout", c->stop_timeout_s);
	json_key(w, "Volumes");
	json_open_object(w);
	for (size_t i = 0; i < c->anonymous.n; i++) {
		json_key(w, c->anonymous.v[i]);
		json_open_object(w);
		json_close_object(w);
	}
	json_close_object(w);
	add_exposed_ports(w, c);
	add_host_config(w, c);
	json_key(w, "NetworkingConfig");
	json_open_object(w);
	json_key(w, "EndpointsConfig");
	json_open_object(w);
	if (main_network) {
		json_key(w, main_network->name);
		add_endpoint(w, main_network);
	}
	json_close_object(w);
	json_close_object(w);
	json_close_object(w);
	json_writer_free(w);
	return 0;
}

void service_connect_body(const struct network_join *n, const char *container, struct buf *to)
{
	struct json_writer *w = json_writer_new(to);

	json_open_object(w);
	json_kv_str(w, "Container", container);
	json_key(w, "EndpointConfig");
	add_endpoint(w, n);
	json_close_object(w);
	json_writer_free(w);
}
