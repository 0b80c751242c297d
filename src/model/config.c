/*
 * Comparing what a container runs as with what it should run as. Both sides are canonical here, so equality is plain;
 * what the engine decides by itself (extra aliases, which joined network is the main one) is left out of it.
 */
#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "model/completed.h"
#include "model/config_text.h"
#include "util/mem.h"

static void network_join_deinit(struct network_join *n)
{
	free(n->name);
	strv_deinit(&n->aliases);
	free(n->ipv4);
	free(n->ipv6);
	strv_deinit(&n->link_local);
}

void mount_deinit(struct mount *m)
{
	free(m->type);
	free(m->source);
	free(m->target);
}

void service_config_deinit(struct service_config *c)
{
	if (!c)
		return;
	free(c->image);
	strv_deinit(&c->command);
	strv_deinit(&c->entrypoint);
	strmap_deinit(&c->env);
	strmap_deinit(&c->labels);
	free(c->restart);
	free(c->ports);
	strv_deinit(&c->binds);
	strv_deinit(&c->anonymous);
	for (size_t i = 0; i < c->n_mounts; i++)
		mount_deinit(&c->mounts[i]);
	free(c->mounts);
	free(c->network_mode);
	for (size_t i = 0; i < c->n_networks; i++)
		network_join_deinit(&c->networks[i]);
	free(c->networks);
	free(c->hostname);
	free(c->user);
	free(c->working_dir);
	*c = (struct service_config){0};
}

void field_changes_add(struct field_changes *l, const char *field, const char *current, const char *target)
{
	static const char secret[] = "(secret)";
	bool masked = str_ends(field, "_API_KEY");

	mem_reserve(&l->v, &l->capacity, l->n + 1, sizeof(*l->v));
	l->v[l->n++] = (struct field_change){
		.field = mem_strdup(field),
		.current = mem_strdup(masked && current ? secret : current),
		.target = mem_strdup(masked && target ? secret : target),
	};
}

void field_changes_deinit(struct field_changes *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].field);
		free(l->v[i].current);
		free(l->v[i].target);
	}
	free(l->v);
	*l = (struct field_changes){0};
}

/* One comparison under way: whether anything differed, and where to write it (may be NULL). */
struct diff {
	bool differs;
	struct field_changes *out;
};

static void changed(struct diff *d, const char *field, const char *current, const char *target)
{
	d->differs = true;
	if (d->out)
		field_changes_add(d->out, field, current, target);
}

static bool same_text(const char *a, const char *b) /* NULL is "" here: neither says anything */
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static void diff_text(struct diff *d, const char *field, const char *current, const char *target)
{
	if (!same_text(current, target))
		changed(d, field, current, target);
}

static void diff_bool(struct diff *d, const char *field, bool current, bool target)
{
	if (current != target)
		changed(d, field, current ? "true" : "false", target ? "true" : "false");
}

static void diff_list(struct diff *d, const char *field, const struct strv *current, const struct strv *target)
{
	AUTO_FREE char *c = NULL, *t = NULL;

	if (strv_eq(current, target))
		return;
	if (d->out) {
		c = strv_text(current);
		t = strv_text(target);
	}
	changed(d, field, c, t);
}

bool strmap_diff(const char *prefix, const struct strmap *current, const struct strmap *target,
		 struct field_changes *out)
{
	struct diff d = {.out = out};

	for (size_t c = 0, t = 0; c < current->n || t < target->n;) {
		int order = c == current->n ? 1 : t == target->n ? -1 : strcmp(current->v[c].key, target->v[t].key);
		const char *key = order <= 0 ? current->v[c].key : target->v[t].key;
		const char *now = order <= 0 ? current->v[c].value : NULL;
		const char *then = order >= 0 ? target->v[t].value : NULL;

		if (order != 0 || strcmp(now, then) != 0) {
			AUTO_FREE char *field = out ? mem_printf("%s.%s", prefix, key) : NULL;

			changed(&d, field, now, then);
			if (!out)
				return false;
		}
		c += order <= 0;
		t += order >= 0;
	}
	return !d.differs;
}

static void diff_map(struct diff *d, const char *prefix, const struct strmap *current, const struct strmap *target)
{
	if (!strmap_diff(prefix, current, target, d->out))
		d->differs = true;
}

static void diff_env(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	struct strmap asked = {0};

	if (!current->completed) {
		diff_map(d, "environment", &current->env, &target->env);
		return;
	}
	completed_env(&current->env, &target->env, &asked);
	diff_map(d, "environment", &asked, &target->env);
	strmap_deinit(&asked);
}

static void diff_restart(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	AUTO_FREE char *c = NULL, *t = NULL;

	if (same_text(current->restart, target->restart) && current->restart_max == target->restart_max)
		return;
	if (d->out) {
		c = restart_text(current);
		t = restart_text(target);
	}
	changed(d, "restart", c, t);
}

static void diff_stop_timeout(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	AUTO_FREE char *c = mem_printf("%d s", current->stop_timeout_s);
	AUTO_FREE char *t = mem_printf("%d s", target->stop_timeout_s);

	diff_text(d, "stop_grace_period", c, t);
}

static bool same_ports(const struct service_config *a, const struct service_config *b)
{
	if (a->completed)
		return completed_same_ports(a, b);
	if (a->n_ports != b->n_ports)
		return false;
	for (size_t i = 0; i < a->n_ports; i++)
		if (port_map_compare(&a->ports[i], &b->ports[i]) != 0)
			return false;
	return true;
}

static void diff_ports(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	AUTO_FREE char *c = NULL, *t = NULL;

	if (same_ports(current, target))
		return;
	if (d->out) {
		c = ports_text(current);
		t = ports_text(target);
	}
	changed(d, "ports", c, t);
}

static bool same_mounts(const struct service_config *a, const struct service_config *b)
{
	if (a->n_mounts != b->n_mounts)
		return false;
	for (size_t i = 0; i < a->n_mounts; i++)
		if (mount_compare(&a->mounts[i], &b->mounts[i]) != 0)
			return false;
	return true;
}

static bool same_volumes(const struct service_config *a, const struct service_config *b)
{
	if (a->completed)
		return completed_same_volumes(a, b);
	return strv_eq(&a->binds, &b->binds) && strv_eq(&a->anonymous, &b->anonymous) && same_mounts(a, b);
}

/* Binds, anonymous volumes and mounts are one thing to the reader of a target: its volumes. */
static void diff_volumes(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	AUTO_FREE char *c = NULL, *t = NULL;

	if (same_volumes(current, target))
		return;
	if (d->out) {
		c = volumes_text(current);
		t = volumes_text(target);
	}
	changed(d, "volumes", c, t);
}

const struct network_join *service_config_network(const struct service_config *c, const char *name)
{
	for (size_t i = 0; i < c->n_networks; i++)
		if (str_eq(c->networks[i].name, name))
			return &c->networks[i];
	return NULL;
}

/*
 * Is what `target` asks of a network given by `current`? More aliases are fine: the engine adds some. With
 * `is_completed` an address is told only while the container runs, and a link-local one never.
 */
static bool join_satisfied(const struct network_join *current, const struct network_join *target, bool is_completed)
{
	for (size_t i = 0; i < target->aliases.n; i++)
		if (!strv_has(&current->aliases, target->aliases.v[i]))
			return false;
	return (!target->ipv4 || (is_completed && !current->ipv4) || str_eq(current->ipv4, target->ipv4)) &&
	       (!target->ipv6 || (is_completed && !current->ipv6) || str_eq(current->ipv6, target->ipv6)) &&
	       (!target->link_local.n || is_completed || strv_eq(&current->link_local, &target->link_local));
}

/* A network of the target's app: named after it. Others somebody joined by hand; they are theirs. */
static bool is_of_app(const struct service_config *target, const char *network)
{
	const char *uuid = strmap_get(&target->labels, "io.balena.app-uuid");
	size_t n = uuid ? strlen(uuid) : 0;

	return n && strncmp(network, uuid, n) == 0 && network[n] == '_';
}

static void diff_networks(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	for (size_t i = 0; i < target->n_networks; i++) {
		const struct network_join *t = &target->networks[i], *c = service_config_network(current, t->name);
		AUTO_FREE char *field = NULL, *now = NULL, *then = NULL;

		if (c && join_satisfied(c, t, current->completed))
			continue;
		if (d->out) {
			field = mem_printf("networks.%s", t->name);
			now = c ? join_text(c) : NULL;
			then = join_text(t);
		}
		changed(d, field, now, then);
	}
	for (size_t i = 0; i < current->n_networks; i++) {
		const struct network_join *c = &current->networks[i];
		AUTO_FREE char *field = NULL, *now = NULL;

		if (!is_of_app(target, c->name) || service_config_network(target, c->name))
			continue;
		if (d->out) {
			field = mem_printf("networks.%s", c->name);
			now = join_text(c);
		}
		changed(d, field, now, NULL);
	}
}

/* Which of the joined networks was named at create does not matter: all are joined in the end. */
static void diff_network_mode(struct diff *d, const struct service_config *current, const struct service_config *target)
{
	bool swapped = service_config_network(current, target->network_mode) &&
		       service_config_network(target, current->network_mode);
	/* without a name of its own a service on the host's network gets the host's; unknown: not compared */
	bool any_hostname = str_eq(target->network_mode, "host") && same_text(target->hostname, NULL);

	if (!swapped)
		diff_text(d, "network_mode", current->network_mode, target->network_mode);
	if (!any_hostname)
		diff_text(d, "hostname", current->hostname, target->hostname);
}

/* Without one of its own a process starts in "/", and some engines say so. */
static void diff_dir(struct diff *d, const char *current, const char *target)
{
	static const char root[] = "/";

	if (!same_text(str_eq(current, root) ? NULL : current, str_eq(target, root) ? NULL : target))
		changed(d, "working_dir", current, target);
}

bool service_config_diff(const struct service_config *current, const struct service_config *target,
			 struct field_changes *out)
{
	struct diff d = {.out = out};

	diff_text(&d, "image", current->image, target->image);
	diff_list(&d, "command", &current->command, &target->command);
	diff_list(&d, "entrypoint", &current->entrypoint, &target->entrypoint);
	diff_env(&d, current, target);
	diff_map(&d, "labels", &current->labels, &target->labels);
	diff_restart(&d, current, target);
	diff_ports(&d, current, target);
	diff_volumes(&d, current, target);
	diff_network_mode(&d, current, target);
	diff_networks(&d, current, target);
	diff_bool(&d, "privileged", current->privileged, target->privileged);
	diff_bool(&d, "tty", current->tty, target->tty);
	diff_stop_timeout(&d, current, target);
	diff_text(&d, "user", current->user, target->user);
	diff_dir(&d, current->working_dir, target->working_dir);
	return !d.differs;
}
