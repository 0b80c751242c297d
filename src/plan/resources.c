/*
 * Networks and volumes. What is missing is made at once; a changed network is made anew after its users are gone; a
 * volume of an app that stays is never removed, whatever differs. Only what is not as wanted becomes an entry here, so
 * that a settled device costs nothing.
 */
#include "plan/internal.h"

#include <string.h>

#include "model/own.h"

static struct plan_resource *add(struct plan_ctx *c, enum plan_resource_kind kind, enum plan_resource_work work,
				 const char *name, struct plan_app *app)
{
	struct plan_resource *r;

	mem_reserve(&c->resources, &c->resources_capacity, c->n_resources + 1, sizeof(*c->resources));
	r = &c->resources[c->n_resources++];
	*r = (struct plan_resource){.kind = kind, .work = work, .name = name, .app = app};
	r->subject = mem_printf("%s %s", kind == RESOURCE_NETWORK ? "network" : "volume", name);
	r->flight = plan_flight(c, r->subject);
	r->failure = r->flight ? NULL : plan_backoff(c, r->subject);
	return r;
}

static char *changed_text(const struct field_changes *l)
{
	struct strv names = {0};
	AUTO_FREE char *joined = NULL;

	for (size_t i = 0; i < l->n; i++)
		strv_add(&names, l->v[i].field);
	joined = strv_join(&names, ", ");
	strv_deinit(&names);
	return mem_printf("%s changed", joined);
}

/* Of a supervisor app nothing but the supervisor: whatever that uses, the host makes. */
static bool is_hosts(const struct target_app *a)
{
	return a && a->n_services == 0 && a->n_left_out > 0;
}

static void find_app_networks(struct plan_ctx *c, struct plan_app *a, const struct plan_index *present,
			      struct plan_index *wanted)
{
	for (size_t i = 0; i < a->want->n_networks; i++) {
		const struct target_network *n = &a->want->networks[i];
		const struct network *now = plan_index_get(present, n->name);
		struct field_changes changes = {0};

		plan_index_add(wanted, n->name, n);
		if (!now)
			add(c, RESOURCE_NETWORK, RESOURCE_CREATE, n->name, a)->reason = mem_strdup("not there yet");
		else if (!network_equal(now, n, &changes))
			add(c, RESOURCE_NETWORK, RESOURCE_CHANGE, n->name, a)->reason = changed_text(&changes);
		field_changes_deinit(&changes);
	}
}

static bool joins(const struct service_config *config, const char *network)
{
	for (size_t i = 0; i < config->n_networks; i++)
		if (str_eq(config->networks[i].name, network))
			return true;
	return false;
}

static void find_supervisor0(struct plan_ctx *c, const struct plan_index *present)
{
	const struct network *now = plan_index_get(present, SUPERVISOR_NETWORK);

	if (now && network_is_supervisor0(now))
		return;
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].want && joins(c->services[i].config, SUPERVISOR_NETWORK)) {
			add(c, RESOURCE_NETWORK, now ? RESOURCE_CHANGE : RESOURCE_CREATE, SUPERVISOR_NETWORK, NULL)
				->reason = mem_strdup(now ? "it is not as the supervisor needs it"
							  : "services use the supervisor's API");
			return;
		}
}

static void find_networks(struct plan_ctx *c)
{
	const struct current *now = c->in->current;
	struct plan_index present = {0}, wanted = {0};

	for (size_t i = 0; i < now->n_networks; i++)
		plan_index_add(&present, now->networks[i].name, &now->networks[i]);
	plan_index_sort(&present);
	for (size_t i = 0; i < c->n_apps; i++)
		if (c->apps[i].want && !is_hosts(c->apps[i].want))
			find_app_networks(c, &c->apps[i], &present, &wanted);
	plan_index_sort(&wanted);
	find_supervisor0(c, &present);
	for (size_t i = 0; i < now->n_networks; i++) {
		const struct network *n = &now->networks[i];
		struct plan_app *a = n->supervised && n->key ? plan_find_app(c, n->app_id) : NULL;

		if (a && a->ours && !own_app(n->app_uuid) && !plan_index_get(&wanted, n->name) &&
		    !str_eq(n->name, SUPERVISOR_NETWORK))
			add(c, RESOURCE_NETWORK, RESOURCE_GONE, n->name, a)->reason =
				mem_strdup("no longer in the target");
	}
	free(present.v);
	free(wanted.v);
}

static void check_volume(struct plan_ctx *c, const struct volume *now, const struct target_volume *want)
{
	const char *driver = want->driver ? want->driver : "local", *have = now->driver ? now->driver : "local";

	if (!str_eq(driver, have))
		plan_add_note(
			c, "volume %s: driver differs (%s, the target says %s); kept, data is never deleted implicitly",
			now->name, have, driver);
	else if (!strmap_eq(&now->options, &want->options))
		plan_add_note(c, "volume %s: driver options differ; kept, data is never deleted implicitly", now->name);
}

static void find_volumes(struct plan_ctx *c)
{
	const struct current *now = c->in->current;
	struct plan_index present = {0};

	for (size_t i = 0; i < now->n_volumes; i++)
		plan_index_add(&present, now->volumes[i].name, &now->volumes[i]);
	plan_index_sort(&present);
	for (size_t i = 0; i < c->n_apps; i++) {
		struct plan_app *a = &c->apps[i];

		for (size_t j = 0; a->want && !is_hosts(a->want) && j < a->want->n_volumes; j++) {
			const struct target_volume *v = &a->want->volumes[j];
			const struct volume *there = plan_index_get(&present, v->name);

			if (there)
				check_volume(c, there, v);
			else
				add(c, RESOURCE_VOLUME, RESOURCE_CREATE, v->name, a)->reason =
					mem_strdup("not there yet");
		}
	}
	for (size_t i = 0; i < now->n_volumes && !c->in->facts->keep_volumes; i++) {
		const struct volume *v = &now->volumes[i];
		struct plan_app *a = v->supervised && v->key ? plan_find_app(c, v->app_id) : NULL;

		if (a && a->ours && !a->target && !own_app(v->app_uuid))
			add(c, RESOURCE_VOLUME, RESOURCE_GONE, v->name, a)->reason =
				mem_strdup("its app left the target");
	}
	free(present.v);
}

static struct plan_resource *find_bind_source(const struct plan_ctx *c, const char *bind)
{
	const char *colon = strchr(bind, ':');
	AUTO_FREE char *source = mem_strndup(bind, colon ? (size_t)(colon - bind) : strlen(bind));

	return *source == '/' ? NULL : plan_index_get(&c->volumes, source);
}

void plan_each_use(const struct plan_ctx *c, const struct service_config *config, plan_resource_fn *fn, void *ctx)
{
	struct plan_resource *r;

	for (size_t i = 0; c->networks.n && i < config->n_networks; i++)
		if ((r = plan_index_get(&c->networks, config->networks[i].name)))
			fn(r, ctx);
	if (c->networks.n && config->network_mode && !joins(config, config->network_mode) &&
	    (r = plan_index_get(&c->networks, config->network_mode)))
		fn(r, ctx);
	for (size_t i = 0; c->volumes.n && i < config->binds.n; i++)
		if ((r = find_bind_source(c, config->binds.v[i])))
			fn(r, ctx);
	for (size_t i = 0; c->volumes.n && i < config->n_mounts; i++)
		if (config->mounts[i].source && (r = plan_index_get(&c->volumes, config->mounts[i].source)))
			fn(r, ctx);
}

static void on_user(struct plan_resource *r, void *ctx)
{
	r->n_users++;
	(void)ctx;
}

static void on_foreign_user(struct plan_resource *r, void *ctx)
{
	r->n_users++;
	r->foreign_user = ctx;
}

static void on_doomed(struct plan_resource *r, void *ctx)
{
	struct plan_service *s = ctx;

	if (r->kind != RESOURCE_NETWORK || r->work == RESOURCE_CREATE)
		return;
	if (!s->doomed || !r->app)
		s->doomed = r;
	s->app->uses_supervisor0 |= !r->app;
}

static void on_needed(struct plan_resource *r, void *ctx)
{
	struct plan_service *s = ctx;
	const struct plan_resource **at = r->work == RESOURCE_CHANGE ? &s->remaking : &s->making;

	if (r->work != RESOURCE_GONE && (!*at || (r->failure && !(*at)->failure)))
		*at = r;
}

static bool is_ours(const struct plan_ctx *c, const struct container *k)
{
	const struct plan_app *a = k->service ? plan_find_app(c, k->app_id) : NULL;

	return a && a->ours && !own_container(k, c->in->facts);
}

/* A container we must not touch holds the network: changing it would take our services down and lead nowhere. */
static void drop_held_by_foreigners(struct plan_ctx *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->n_resources; i++) {
		struct plan_resource *r = &c->resources[i];

		if (r->work == RESOURCE_CREATE || !r->foreign_user || r->flight) {
			c->resources[kept++] = *r;
			continue;
		}
		if (!own_container(r->foreign_user,
				   c->in->facts)) /* that of the supervisor itself is as it should be */
			plan_add_note(c, "%s: %s; left as it is, container %s uses it and is not ours", r->subject,
				      r->reason, r->foreign_user->name ? r->foreign_user->name : r->foreign_user->id);
		free(r->subject);
		free(r->reason);
	}
	c->n_resources = kept;
}

static void index_resources(struct plan_ctx *c)
{
	c->networks.n = c->volumes.n = 0;
	for (size_t i = 0; i < c->n_resources; i++)
		plan_index_add(c->resources[i].kind == RESOURCE_NETWORK ? &c->networks : &c->volumes,
			       c->resources[i].name, &c->resources[i]);
	plan_index_sort(&c->networks);
	plan_index_sort(&c->volumes);
}

void plan_resources_find(struct plan_ctx *c)
{
	const struct current *now = c->in->current;

	find_networks(c);
	find_volumes(c);
	index_resources(c);
	for (size_t i = 0; c->n_resources && i < now->n_containers; i++) {
		const struct container *k = &now->containers[i];

		if (is_ours(c, k))
			plan_each_use(c, &k->config, on_user, NULL);
		else
			plan_each_use(c, &k->config, on_foreign_user, (void *)(uintptr_t)k);
	}
	drop_held_by_foreigners(c);
	index_resources(c);
	for (size_t i = 0; c->n_resources && i < c->n_services; i++) {
		struct plan_service *s = &c->services[i];

		if (s->current)
			plan_each_use(c, &s->current->config, on_doomed, s);
		if (s->want)
			plan_each_use(c, s->config, on_needed, s);
		if (s->making && !s->making->app && !s->making->failure)
			s->app->n_making++;
	}
	for (size_t i = 0; i < c->n_resources; i++)
		if (c->resources[i].app && c->resources[i].work == RESOURCE_CREATE && !c->resources[i].failure)
			c->resources[i].app->n_making++;
}

static enum plan_step_kind step_kind(const struct plan_resource *r)
{
	if (r->kind == RESOURCE_NETWORK)
		return r->work == RESOURCE_CREATE ? STEP_CREATE_NETWORK : STEP_REMOVE_NETWORK;
	return r->work == RESOURCE_CREATE ? STEP_CREATE_VOLUME : STEP_REMOVE_VOLUME;
}

void plan_resources_emit(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_resources; i++) {
		const struct plan_resource *r = &c->resources[i];
		int64_t app_id = r->app ? r->app->id : 0;

		if (r->flight)
			continue; /* echoed with the others */
		if (r->work != RESOURCE_CREATE && r->n_users) {
			plan_add_wait(c, WAIT_DEPENDENCY, app_id, "dependency %s", r->subject)->detail =
				mem_printf("%s; it is removed once the containers that use it (%zu) are gone",
					   r->reason, r->n_users);
		} else if (r->failure) {
			plan_add_backoff(c, r->failure, app_id, NULL, "");
		} else {
			struct plan_step *s = plan_add_step(c, step_kind(r), r->subject, app_id);

			s->name = mem_strdup(r->name);
			s->reason = mem_strdup(r->reason);
		}
	}
}
