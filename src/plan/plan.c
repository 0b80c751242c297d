/* The planner's entry: the passes in their order, and the names of what comes out. */
#include "plan/plan.h"

#include "plan/internal.h"

const char *plan_step_kind_name(enum plan_step_kind k)
{
	static const char *const names[STEP_KIND_COUNT] = {
		[STEP_PULL] = "pull",
		[STEP_LOAD] = "load",
		[STEP_REMOVE_IMAGE] = "remove_image",
		[STEP_TAKE_LOCKS] = "take_locks",
		[STEP_RELEASE_LOCKS] = "release_locks",
		[STEP_STOP] = "stop",
		[STEP_REMOVE] = "remove",
		[STEP_CREATE] = "create",
		[STEP_START] = "start",
		[STEP_RENAME] = "rename",
		[STEP_HANDOVER] = "handover",
		[STEP_CREATE_NETWORK] = "create_network",
		[STEP_REMOVE_NETWORK] = "remove_network",
		[STEP_CREATE_VOLUME] = "create_volume",
		[STEP_REMOVE_VOLUME] = "remove_volume",
		[STEP_REBOOT] = "reboot",
		[STEP_SHUTDOWN] = "shutdown",
		[STEP_SET_CONFIG] = "set_config",
	};

	return (unsigned)k < STEP_KIND_COUNT ? names[k] : "none";
}

const char *plan_wait_kind_name(enum plan_wait_kind k)
{
	static const char *const names[WAIT_KIND_COUNT] = {
		[WAIT_LOCKED] = "locked", [WAIT_PULLING] = "pulling",     [WAIT_DEPENDENCY] = "dependency",
		[WAIT_HEALTH] = "health", [WAIT_HANDOVER] = "handover",   [WAIT_BACKOFF] = "backoff",
		[WAIT_ENGINE] = "engine", [WAIT_DISK] = "disk",           [WAIT_REBOOT] = "reboot",
		[WAIT_WINDOW] = "window", [WAIT_OPERATION] = "operation",
	};

	return (unsigned)k < WAIT_KIND_COUNT ? names[k] : "none";
}

bool plan_app_is_ours(const struct plan_input *in, int64_t app_id)
{
	if (in->facts->adopt || in->facts->owns_all || (in->target && target_find_app(in->target, app_id)))
		return true;
	for (size_t i = 0; i < in->n_owned_apps; i++)
		if (in->owned_apps[i] == app_id)
			return true;
	return false;
}

static bool is_wanted_pull(const struct plan_ctx *c, const struct plan_in_flight *f)
{
	for (size_t i = 0; i < c->n_references; i++)
		if (c->references[i].flight == f)
			return true;
	return false;
}

/*
 * Everything begun stays in the plan but pulls that nobody wants any more: those are to be cancelled. As long as the
 * engine is away nobody knows what is wanted, and nothing is.
 */
static void echo_flights(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->in->n_in_flight; i++) {
		const struct plan_in_flight *f = &c->in->in_flight[i];

		if (f->kind != STEP_PULL || !c->in->current->known || is_wanted_pull(c, f))
			plan_echo(c, f);
	}
}

static void compare(struct plan_ctx *c)
{
	plan_images_find(c);
	plan_services_resolve(c);
	plan_resources_find(c);
	plan_services_decide(c);
	plan_locks_guard(c);
	plan_units_order(c);
	plan_units_evaluate(c);
	echo_flights(c);
	plan_images_emit(c);
	plan_resources_emit(c);
	plan_units_emit(c);
	plan_locks_emit(c);
	plan_images_remove_old(c);
}

static void emit_engine_away(struct plan_ctx *c)
{
	echo_flights(c);
	plan_add_wait(c, WAIT_ENGINE, 0, "engine")->detail =
		mem_strdup("the container engine has not told its state yet; it goes on when it answers");
	for (size_t i = 0; i < c->n_apps; i++)
		c->apps[i].unsettled = true;
}

static void emit_apps(struct plan_ctx *c)
{
	struct plan *p = c->out;

	for (size_t i = 0; i < c->n_apps; i++) {
		struct plan_app *a = &c->apps[i];
		struct plan_app_state *s;

		mem_reserve(&p->apps, &p->apps_capacity, p->n_apps + 1, sizeof(*p->apps));
		s = &p->apps[p->n_apps++];
		*s = (struct plan_app_state){.app_id = a->id, .settled = !a->unsettled, .stopping = a->stopping};
		s->replaces = a->replaces;
		a->replaces = (struct strv){0};
	}
	p->settled = !p->n_steps && !p->n_waits;
}

static void deinit(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_services; i++) {
		struct plan_service *s = &c->services[i];

		free(s->subject);
		free(s->reason);
		free(s->wait_detail);
		field_changes_deinit(&s->changes);
	}
	for (size_t i = 0; i < c->n_apps; i++) {
		free(c->apps[i].lock_subject);
		strv_deinit(&c->apps[i].replaces);
	}
	for (size_t i = 0; i < c->n_references; i++)
		free(c->references[i].subject);
	for (size_t i = 0; i < c->n_resources; i++) {
		free(c->resources[i].subject);
		free(c->resources[i].reason);
	}
	strv_deinit(&c->listed_subjects);
	free(c->services);
	free(c->apps);
	free(c->own);
	free(c->containers);
	free(c->references);
	free(c->reference_users);
	free(c->resources);
	free(c->owned);
	free(c->forced);
	free(c->deps);
	free(c->order);
	free(c->flights.v);
	free(c->failures.v);
	free(c->removed.v);
	free(c->accepted.v);
	free(c->images.v);
	free(c->networks.v);
	free(c->volumes.v);
}

void plan_make(const struct plan_input *in, struct plan *out)
{
	struct plan_ctx c = {.in = in, .out = out, .memo = in->memo ? in->memo : plan_memo_new()};

	*out = (struct plan){0};
	plan_gather(&c);
	if (!in->current->known) {
		emit_engine_away(&c);
	} else if (!in->target) {
		echo_flights(&c);
		plan_locks_give_back(&c);
	} else {
		compare(&c);
	}
	emit_apps(&c);
	deinit(&c);
	if (!in->memo)
		plan_memo_free(c.memo);
}

void plan_deinit(struct plan *p)
{
	for (size_t i = 0; i < p->n_steps; i++)
		plan_step_deinit(&p->steps[i]);
	for (size_t i = 0; i < p->n_waits; i++)
		plan_wait_deinit(&p->waits[i]);
	for (size_t i = 0; i < p->n_apps; i++)
		strv_deinit(&p->apps[i].replaces);
	strv_deinit(&p->notes);
	free(p->steps);
	free(p->waits);
	free(p->apps);
	free(p->foreign);
	*p = (struct plan){0};
}
