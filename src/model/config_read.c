/*
 * Engine form -> canonical form: the other direction of config_create.c. What the engine fills in by itself (its 12
 * digit hostname, the container's id as alias, networks "bridge", "host", "none", two variables of ours that change
 * with the device's name) is taken out again.
 */
#include <errno.h>
#include <string.h>

#include "model/completed.h"
#include "model/config_text.h"
#include "model/read.h"
#include "util/mem.h"

#define READ_PORTS_MAX 65536

static void take_command(struct strv *l)
{
	if (l->n == 1 && !*l->v[0]) /* [""] resets an entry point, as [] does */
		strv_deinit(l);
}

int read_stop_timeout(const struct json *config, int *out, struct err *err)
{
	const struct json *v = json_get(config, "StopTimeout");
	int64_t seconds = STOP_TIMEOUT_S; /* 0 is 0: KILL at once */

	if (read_i64(v, "Config.StopTimeout", &seconds, err) < 0)
		return err->code;
	*out = seconds >= 0 && seconds <= INT32_MAX ? (int)seconds : STOP_TIMEOUT_S;
	return 0;
}

static int read_process(const struct json *inspect, struct service_config *out, struct err *err)
{
	const struct json *c = json_get(inspect, "Config");
	const char *id = json_str_or(json_get(inspect, "Id"), ""), *hostname;
	AUTO_FREE char *dir = NULL;

	if (read_strv(json_get(c, "Cmd"), "Config.Cmd", &out->command, err) < 0 ||
	    read_strv(json_get(c, "Entrypoint"), "Config.Entrypoint", &out->entrypoint, err) < 0 ||
	    read_env(json_get(c, "Env"), "Config.Env", &out->env, err) < 0 ||
	    read_map(json_get(c, "Labels"), "Config.Labels", &out->labels, err) < 0 ||
	    read_bool(json_get(c, "Tty"), "Config.Tty", &out->tty, err) < 0 ||
	    read_str(json_get(c, "User"), "Config.User", &out->user, err) < 0 ||
	    read_str(json_get(c, "WorkingDir"), "Config.WorkingDir", &dir, err) < 0 ||
	    read_stop_timeout(c, &out->stop_timeout_s, err) < 0 ||
	    read_str(json_get(c, "Hostname"), "Config.Hostname", &out->hostname, err) < 0 ||
	    read_keys(json_get(c, "Volumes"), "Config.Volumes", &out->anonymous, err) < 0)
		return err->code;
	take_command(&out->entrypoint);
	out->working_dir = path_clean(dir);
	strmap_unset(&out->env, "RESIN_DEVICE_NAME_AT_INIT");
	strmap_unset(&out->env, "BALENA_DEVICE_NAME_AT_INIT");
	labels_rename(&out->labels);
	strv_sort_unique(&out->anonymous);
	hostname = out->hostname;
	if (hostname && strlen(hostname) == 12 && str_starts(id, hostname)) {
		free(out->hostname);
		out->hostname = NULL;
	}
	return 0;
}

static int read_restart(const struct json *host, struct service_config *out, struct err *err)
{
	const struct json *policy = json_get(host, "RestartPolicy");
	int64_t max = 0;

	if (read_check(policy, JSON_OBJECT, "HostConfig.RestartPolicy", err) < 0 ||
	    read_str(json_get(policy, "Name"), "HostConfig.RestartPolicy.Name", &out->restart, err) < 0 ||
	    read_i64(json_get(policy, "MaximumRetryCount"), "HostConfig.RestartPolicy.MaximumRetryCount", &max, err) <
		    0)
		return err->code;
	if (!out->restart)
		out->restart = mem_strdup(json_is(policy, JSON_OBJECT) ? "no" : "always");
	out->restart_max = max > 0 && max <= INT32_MAX ? (int)max : 0;
	return 0;
}

/* "80/tcp" */
static bool parse_port_key(const char *key, struct port_map *to)
{
	const char *slash = strchrnul(key, '/'), *proto = *slash ? slash + 1 : "tcp";
	AUTO_FREE char *number = mem_strndup(key, (size_t)(slash - key));
	int64_t n;

	if (!str_to_i64(number, 1, 65535, &n) || strlen(proto) >= sizeof(to->proto))
		return false;
	to->container = (uint16_t)n;
	memcpy(to->proto, proto, strlen(proto) + 1);
	return true;
}

static int read_binding(const struct json *binding, struct port_map p, size_t *capacity, struct service_config *out,
			struct err *err)
{
	const char *ip = json_str_or(json_get(binding, "HostIp"), "");
	const char *port = json_str_or(json_get(binding, "HostPort"), "");
	int64_t host = 0;

	if (*ip && !ip_canonical(ip, p.host_ip))
		return err_set(err, -EPROTO, "HostConfig.PortBindings: \"%.64s\" is no address", ip);
	if (str_to_i64(port, 0, 65535, &host))
		p.host = (uint16_t)host; /* a range, which we never ask for, lets the engine choose: like none */
	if (out->n_ports == READ_PORTS_MAX)
		return err_set(err, -EPROTO, "HostConfig.PortBindings: more than %d", READ_PORTS_MAX);
	mem_reserve(&out->ports, capacity, out->n_ports + 1, sizeof(*out->ports));
	out->ports[out->n_ports++] = p;
	return 0;
}

static int read_ports(const struct json *host, struct service_config *out, struct err *err)
{
	const struct json *ports = json_get(host, "PortBindings");
	size_t capacity = 0;

	if (read_check(ports, JSON_OBJECT, "HostConfig.PortBindings", err) < 0)
		return err->code;
	for (size_t i = 0; i < json_size(ports); i++) {
		const struct json *bindings = json_at(ports, i);
		struct port_map p = {0};

		if (!parse_port_key(json_key_at(ports, i), &p))
			return err_set(err, -EPROTO, "HostConfig.PortBindings: \"%.64s\" is no port",
				       json_key_at(ports, i));
		if (read_check(bindings, JSON_ARRAY, "HostConfig.PortBindings", err) < 0)
			return err->code;
		for (size_t n = 0; n < json_size(bindings); n++)
			if (read_binding(json_at(bindings, n), p, &capacity, out, err) < 0)
				return err->code;
	}
	ports_sort_unique(out);
	return 0;
}

static int read_mount(const struct json *v, struct mount *m, struct err *err)
{
	if (read_str(json_get(v, "Type"), "HostConfig.Mounts.Type", &m->type, err) < 0 ||
	    read_str(json_get(v, "Source"), "HostConfig.Mounts.Source", &m->source, err) < 0 ||
	    read_str(json_get(v, "Target"), "HostConfig.Mounts.Target", &m->target, err) < 0 ||
	    read_bool(json_get(v, "ReadOnly"), "HostConfig.Mounts.ReadOnly", &m->read_only, err) < 0 ||
	    read_bool(json_dig(v, "VolumeOptions", "NoCopy", NULL), "HostConfig.Mounts.VolumeOptions.NoCopy",
		      &m->no_copy, err) < 0 ||
	    read_i64(json_dig(v, "TmpfsOptions", "SizeBytes", NULL), "HostConfig.Mounts.TmpfsOptions.SizeBytes",
		     &m->tmpfs_size_bytes, err) < 0)
		return err->code;
	if (!m->type || !m->target)
		return err_set(err, -EPROTO, "HostConfig.Mounts: one lacks its Type or Target");
	return 0;
}

static int read_volumes(const struct json *host, struct service_config *out, struct err *err)
{
	const struct json *mounts = json_get(host, "Mounts");
	struct strv binds = {0};
	int rc = read_strv(json_get(host, "Binds"), "HostConfig.Binds", &binds, err);

	for (size_t i = 0; i < binds.n; i++)
		strv_take(&out->binds, bind_canonical(binds.v[i]));
	strv_deinit(&binds);
	strv_sort_unique(&out->binds);
	if (rc < 0 || read_check(mounts, JSON_ARRAY, "HostConfig.Mounts", err) < 0)
		return err->code;
	out->mounts = mem_new(json_size(mounts) + 1, sizeof(*out->mounts));
	for (size_t i = 0; i < json_size(mounts); i++)
		if (read_mount(json_at(mounts, i), &out->mounts[out->n_mounts++], err) < 0)
			return err->code;
	mounts_sort(out);
	return out->completed ? completed_read_tmpfs(host, out, err) : 0;
}

static int read_address(const struct json *v, const char *name, char **out, struct err *err)
{
	char ip[46];

	if (read_str(v, name, out, err) < 0)
		return err->code;
	if (*out && ip_canonical(*out, ip)) {
		free(*out);
		*out = mem_strdup(ip);
	}
	return 0;
}

/* Where the engine does not repeat what was asked, what came of it, if it runs. */
static int read_addresses_given(const struct json *v, struct network_join *n, struct err *err)
{
	if ((!n->ipv4 && read_address(json_get(v, "IPAddress"), "Networks.IPAddress", &n->ipv4, err) < 0) ||
	    (!n->ipv6 &&
	     read_address(json_get(v, "GlobalIPv6Address"), "Networks.GlobalIPv6Address", &n->ipv6, err) < 0))
		return err->code;
	return 0;
}

static int read_join(const struct json *v, const char *id, struct network_join *n, struct err *err)
{
	const struct json *ipam = json_get(v, "IPAMConfig");
	struct strv aliases = {0};
	int rc = read_strv(json_get(v, "Aliases"), "NetworkSettings.Networks.Aliases", &aliases, err);

	for (size_t i = 0; i < aliases.n; i++)
		if (strlen(aliases.v[i]) < 12 || !str_starts(id, aliases.v[i]))
			strv_add(&n->aliases, aliases.v[i]);
	strv_deinit(&aliases);
	strv_sort_unique(&n->aliases);
	if (rc < 0 || read_check(ipam, JSON_OBJECT, "NetworkSettings.Networks.IPAMConfig", err) < 0 ||
	    read_address(json_get(ipam, "IPv4Address"), "IPAMConfig.IPv4Address", &n->ipv4, err) < 0 ||
	    read_address(json_get(ipam, "IPv6Address"), "IPAMConfig.IPv6Address", &n->ipv6, err) < 0 ||
	    read_strv(json_get(ipam, "LinkLocalIPs"), "IPAMConfig.LinkLocalIPs", &n->link_local, err) < 0)
		return err->code;
	strv_sort_unique(&n->link_local);
	return 0;
}

static int read_networks(const struct json *inspect, struct service_config *out, struct err *err)
{
	const struct json *networks = json_dig(inspect, "NetworkSettings", "Networks", NULL);
	const char *id = json_str_or(json_get(inspect, "Id"), "");

	if (read_str(json_dig(inspect, "HostConfig", "NetworkMode", NULL), "HostConfig.NetworkMode", &out->network_mode,
		     err) < 0 ||
	    read_check(networks, JSON_OBJECT, "NetworkSettings.Networks", err) < 0)
		return err->code;
	if (!out->network_mode || str_eq(out->network_mode, "default")) {
		free(out->network_mode);
		out->network_mode = mem_strdup("bridge");
	}
	out->networks = mem_new(json_size(networks) + 1, sizeof(*out->networks));
	for (size_t i = 0; i < json_size(networks); i++) {
		const char *name = json_key_at(networks, i);
		struct network_join *n = &out->networks[out->n_networks];

		if (str_eq(name, "bridge") || str_eq(name, "host") || str_eq(name, "none"))
			continue;
		out->n_networks++;
		n->name = mem_strdup(name);
		if (read_join(json_at(networks, i), id, n, err) < 0 ||
		    (out->completed && read_addresses_given(json_at(networks, i), n, err) < 0))
			return err->code;
	}
	networks_sort(out);
	if (out->completed)
		completed_name_network(out);
	return 0;
}

int service_config_from_engine(const struct json *inspect, struct service_config *out, struct err *err)
{
	const struct json *host = json_get(inspect, "HostConfig"), *config = json_get(inspect, "Config");
	const struct json *image = json_get(inspect, "Image"); /* the id, whatever name create was called with */

	*out = (struct service_config){.completed = completed_is(host)};
	if (!json_is(config, JSON_OBJECT))
		return err_set(err, -EPROTO, "Config: expected object, got %s", json_type_name(json_type(config)));
	if (!json_is(host, JSON_OBJECT))
		return err_set(err, -EPROTO, "HostConfig: expected object, got %s", json_type_name(json_type(host)));
	if (!json_is(image, JSON_STRING))
		image = json_get(config, "Image");
	if (read_str(image, "Image", &out->image, err) < 0 || read_process(inspect, out, err) < 0 ||
	    read_restart(host, out, err) < 0 || read_ports(host, out, err) < 0 || read_volumes(host, out, err) < 0 ||
	    read_networks(inspect, out, err) < 0 ||
	    read_bool(json_get(host, "Privileged"), "HostConfig.Privileged", &out->privileged, err) < 0) {
		service_config_deinit(out);
		return err->code;
	}
	return 0;
}
