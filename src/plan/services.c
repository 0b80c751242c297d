/*
 * What has to happen to each service: its newest container beside the complete wanted configuration. A container that
 * is equal stays as it is, whatever else changed; one that somebody stopped by hand stays stopped (spec engine.md 2.5).
 */
#include "plan/internal.h"

#include <string.h>

#define FIELDS_MAX 5 /* named in one sentence */

static const char *api_key(const struct plan_ctx *c, const struct plan_service *s)
{
	return c->in->api_key && service_wants_api(s->want, s->image)
		       ? c->in->api_key(c->in->api_key_ctx, s->app->id, s->name)
		       : NULL;
}

void plan_services_resolve(struct plan_ctx *c)
{
	plan_memo_begin(c->memo, c->in);
	for (size_t i = 0; i < c->n_services; i++) {
		struct plan_service *s = &c->services[i];

		if (s->want)
			s->config = plan_memo_config(c->memo, c->in, s, api_key(c, s));
	}
}

/* A copy of its own, for a step that goes its way. */
void plan_service_config(const struct plan_ctx *c, const struct plan_service *s, struct service_config *out)
{
	service_resolve(c->in->target, s->app->want, s->want, s->image, c->in->facts, api_key(c, s), out);
}

/* "environment, ports changed": the members are in the changes themselves. */
static char *changes_text(const struct field_changes *l)
{
	struct strv names = {0};
	AUTO_FREE char *joined = NULL;

	for (size_t i = 0; i < l->n; i++) {
		AUTO_FREE char *name = mem_strndup(l->v[i].field, strcspn(l->v[i].field, "."));

		if (!strv_has(&names, name))
			strv_add(&names, name);
	}
	joined = strv_join(&names, ", ");
	strv_deinit(&names);
	return mem_printf("%s changed", joined);
}

/* The one exit that is not the engine's or a person's business: it could not publish a port it had before. */
static bool lost_its_port(const struct container *k)
{
	static const char tail[] = "cannot assign requested address";
	size_t n = k->error ? strlen(k->error) : 0;

	return n >= sizeof(tail) - 1 && strcasestr(k->error, "userland proxy") &&
	       strcasecmp(k->error + n - (sizeof(tail) - 1), tail) == 0;
}

static void set_work(struct plan_service *s, enum plan_work work, char *reason)
{
	free(s->reason);
	s->work = work;
	s->reason = reason;
}

/* Why an equal container that does not run is to be started; NULL: it is not, the engine or a person stopped it. */
static char *start_reason(const struct plan_service *s)
{
	const struct container *k = s->current;

	if (k->state == CONTAINER_CREATED)
		return mem_strdup("created and not started yet");
	if (k->state == CONTAINER_EXITED && s->removed)
		return mem_strdup("stopped by this update");
	if (k->state == CONTAINER_EXITED && lost_its_port(k))
		return mem_printf("its port could not be published: %s", k->error);
	return NULL;
}

/* What is down comes up first; a new name may have to wait for a lock. */
static void decide_equal(struct plan_service *s)
{
	const struct container *k = s->current;
	char *start = s->want->running ? start_reason(s) : NULL;

	if (start)
		set_work(s, WORK_START, start);
	else if (!k->commit)
		set_work(s, WORK_RENAME, mem_printf("its name %s tells no release", k->name));
	else if (!str_eq(k->commit, s->app->want->commit))
		set_work(s, WORK_RENAME,
			 mem_printf("release %.7s -> %.7s, nothing else changed", k->commit, s->app->want->commit));
	else if (!s->want->running && k->state == CONTAINER_RUNNING)
		set_work(s, WORK_STOP, mem_strdup("the target says that it does not run"));
}

/* "image, environment.FOO, …": no more than `most` of them. */
static char *fields_text(const struct field_changes *l, size_t most)
{
	struct strv names = {0};
	char *joined;

	for (size_t i = 0; i < l->n && i < most; i++)
		strv_add(&names, l->v[i].field);
	if (most < l->n)
		strv_add(&names, "…");
	joined = strv_join(&names, ", ");
	strv_deinit(&names);
	return joined;
}

static void decide_accepted(struct plan_ctx *c, struct plan_service *s)
{
	AUTO_FREE char *fields = fields_text(&s->changes, FIELDS_MAX);

	plan_add_note(c, "service %s of app %lld: the engine keeps another %s; left as it is", s->name,
		      (long long)s->app->id, fields);
	field_changes_deinit(&s->changes);
}

static void decide_wait(struct plan_ctx *c, struct plan_service *s, const struct container *k)
{
	s->wait = WAIT_OPERATION;
	if (k->state == CONTAINER_REMOVING) {
		s->wait_detail = mem_printf("the engine is removing container %.12s", k->id);
		return;
	}
	s->wait_until = k->stopping_until_ms;
	s->wait_detail = mem_printf("a stop of container %.12s sent earlier, in %lld s at most", k->id,
				    (long long)((k->stopping_until_ms - c->in->now_ms + 999) / 1000));
}

/* The newest container beside what is wanted. */
static void decide_wanted(struct plan_ctx *c, struct plan_service *s)
{
	bool equal = service_config_diff(&s->current->config, s->config, &s->changes);

	if (!equal && !s->accepted) {
		set_work(s, WORK_REPLACE, changes_text(&s->changes));
		return;
	}
	if (!equal)
		decide_accepted(c, s);
	if (s->doomed)
		set_work(s, WORK_REPLACE,
			 mem_printf("network %s %s", s->doomed->name,
				    s->doomed->work == RESOURCE_GONE ? "is no longer in the target" : "changed"));
	else
		decide_equal(s);
}

static void decide(struct plan_ctx *c, struct plan_service *s)
{
	const struct container *k = s->current;

	if (!k) {
		set_work(s, WORK_CREATE,
			 mem_strdup(s->removed ? "replaces the container removed by this update" : "new service"));
	} else if (k->state == CONTAINER_REMOVING ||
		   (k->state == CONTAINER_RUNNING && k->stopping_until_ms > c->in->now_ms)) {
		set_work(s, WORK_WAIT, NULL);
		decide_wait(c, s, k);
	} else if (k->state == CONTAINER_DEAD) {
		set_work(s, WORK_DEAD, mem_strdup("the engine could not remove it (dead)"));
	} else if (!s->want) {
		set_work(s, WORK_GONE, mem_strdup("no longer in the target"));
	} else {
		decide_wanted(c, s);
	}
}

static bool is_stopping(const struct plan_ctx *c, const struct container *k)
{
	return k->state == CONTAINER_RUNNING && k->stopping_until_ms > c->in->now_ms;
}

/* Stop, then remove. What is dead is held by nobody; what we stopped (recorded) needs no lock a second time. */
static void next_of_removal(struct plan_service *s, const struct container *k)
{
	s->on = k;
	s->next = k->state == CONTAINER_RUNNING ? STEP_STOP : STEP_REMOVE;
	s->guarded = s->next == STEP_STOP || (k->state != CONTAINER_DEAD && !s->removed);
}

/* Older containers of the same service go first: the engine keeps names and ports for them. */
static bool next_of_older(struct plan_ctx *c, struct plan_service *s)
{
	const struct container *k = s->n_containers > 1 ? s->containers[s->n_containers - 1] : NULL;

	if (!k || s->work == WORK_WAIT)
		return false;
	if (k->state == CONTAINER_REMOVING || is_stopping(c, k)) {
		set_work(s, WORK_WAIT, NULL);
		decide_wait(c, s, k);
		return false;
	}
	free(s->reason);
	s->reason = mem_strdup("an older container of the same service");
	next_of_removal(s, k);
	return true;
}

static void decide_next(struct plan_ctx *c, struct plan_service *s)
{
	if (next_of_older(c, s))
		return;
	s->on = s->current;
	switch (s->work) {
	case WORK_DEAD:
	case WORK_GONE:
	case WORK_REPLACE:
		next_of_removal(s, s->current);
		break;
	case WORK_CREATE:
		s->next = STEP_CREATE;
		s->guarded = !s->removed && s->app->needs_locks;
		break;
	case WORK_START:
		s->next = STEP_START;
		break;
	case WORK_STOP:
		s->next = STEP_STOP;
		s->guarded = true;
		break;
	case WORK_RENAME:
		s->next = STEP_RENAME;
		s->guarded = true;
		break;
	case WORK_NONE:
	case WORK_WAIT:
		break;
	}
}

/* Now, or once it has its new name. */
static bool goes_down(const struct plan_service *s)
{
	return plan_service_will_stop(s) ||
	       (s->work == WORK_RENAME && !s->want->running && s->current->state == CONTAINER_RUNNING);
}

void plan_services_decide(struct plan_ctx *c)
{
	for (size_t i = 0; i < c->n_services; i++) {
		struct plan_service *s = &c->services[i];

		decide(c, s);
		decide_next(c, s);
		if (!s->app->n_missing && goes_down(s)) {
			strv_add(&s->app->replaces, s->name);
			s->app->unrecorded |= !s->removed;
		}
	}
}

bool plan_service_has_work(const struct plan_service *s)
{
	return s->next != STEP_KIND_COUNT || s->work == WORK_WAIT;
}

bool plan_service_will_stop(const struct plan_service *s)
{
	return s->current && s->current->state == CONTAINER_RUNNING &&
	       (s->work == WORK_GONE || s->work == WORK_REPLACE || s->work == WORK_STOP);
}

bool plan_service_is_down(const struct plan_service *s)
{
	switch (s->work) {
	case WORK_DEAD:
	case WORK_REPLACE:
	case WORK_CREATE:
	case WORK_START:
		return s->want && s->want->running && (!s->current || s->current->state != CONTAINER_RUNNING);
	case WORK_WAIT:
		return s->want && s->want->running;
	case WORK_NONE:
	case WORK_GONE:
	case WORK_STOP:
	case WORK_RENAME:
		break;
	}
	return false;
}

char *plan_app_why(const struct plan_app *a, bool fields)
{
	struct strv parts = {0};
	char *joined = NULL;
	size_t left = FIELDS_MAX;

	for (size_t i = 0; i < a->n_services; i++) {
		const struct plan_service *s = &a->services[i];
		size_t n = s->changes.n ? s->changes.n : 1;
		AUTO_FREE char *text = NULL;

		if (!s->guarded || !s->reason || s->flight || (s->changes.n && !fields))
			continue;
		text = left == 0 ? NULL : s->changes.n ? fields_text(&s->changes, left) : mem_strdup(s->reason);
		strv_take(&parts, text ? mem_printf("%s: %s", s->name, text) : mem_strdup("…"));
		if (!text || n > left)
			break;
		left -= n;
	}
	if (parts.n)
		joined = strv_join(&parts, "; ");
	strv_deinit(&parts);
	return joined;
}
