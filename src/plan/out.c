/* Adding to the plan: steps, waits and notes, and with them what each app knows of itself (busy, unsettled). */
#include "plan/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void mark_step(struct plan_ctx *c, enum plan_step_kind kind, int64_t app_id)
{
	struct plan_app *a = plan_find_app(c, app_id);

	if (kind != STEP_REMOVE_IMAGE)
		c->unrest = true;
	if (!a)
		return;
	a->unsettled = true;
	if (kind != STEP_PULL && kind != STEP_RELEASE_LOCKS)
		a->busy = true;
}

struct plan_step *plan_add_step(struct plan_ctx *c, enum plan_step_kind kind, const char *subject, int64_t app_id)
{
	struct plan *p = c->out;
	struct plan_step *s;

	mem_reserve(&p->steps, &p->steps_capacity, p->n_steps + 1, sizeof(*p->steps));
	s = &p->steps[p->n_steps++];
	*s = (struct plan_step){.kind = kind, .subject = mem_strdup(subject), .app_id = app_id};
	mark_step(c, kind, app_id);
	return s;
}

static char *format(const char *fmt, va_list args)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, args) < 0)
		abort();
	return text;
}

struct plan_wait *plan_add_wait(struct plan_ctx *c, enum plan_wait_kind kind, int64_t app_id, const char *subject_fmt,
				...)
{
	struct plan *p = c->out;
	struct plan_app *a = plan_find_app(c, app_id);
	struct plan_wait *w;
	va_list args;

	mem_reserve(&p->waits, &p->waits_capacity, p->n_waits + 1, sizeof(*p->waits));
	w = &p->waits[p->n_waits++];
	*w = (struct plan_wait){.kind = kind, .app_id = app_id};
	va_start(args, subject_fmt);
	w->subject = format(subject_fmt, args);
	va_end(args);
	if (a)
		a->unsettled = true;
	if (kind == WAIT_DEPENDENCY || kind == WAIT_OPERATION ||
	    (kind == WAIT_BACKOFF && !strstr(w->subject, "image ")))
		c->unrest = true;
	return w;
}

void plan_add_backoff(struct plan_ctx *c, const struct plan_failure *f, int64_t app_id, const char *service,
		      const char *suffix)
{
	struct plan_wait *w = plan_add_wait(c, WAIT_BACKOFF, app_id, "backoff %s%s", f->subject, suffix);

	w->service = mem_strdup(service);
	w->until_ms = f->retry_at_ms;
	w->detail = mem_printf("attempt %u failed: %s", f->attempts, f->error ? f->error : "no reason given");
}

void plan_add_note(struct plan_ctx *c, const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	text = format(fmt, args);
	va_end(args);
	strv_take(&c->out->notes, text);
}

void plan_copy_changes(struct field_changes *to, const struct field_changes *from)
{
	for (size_t i = 0; i < from->n; i++)
		field_changes_add(to, from->v[i].field, from->v[i].current, from->v[i].target);
}

/* A step begun earlier, as far as its subject and kind tell what it is about. */
void plan_echo(struct plan_ctx *c, const struct plan_in_flight *f)
{
	struct plan_step *s = plan_add_step(c, f->kind, f->subject, f->app_id);
	const char *rest = strchr(f->subject, ' ');

	s->in_flight = true;
	s->container_id = mem_strdup(f->container_id);
	s->reason = mem_strdup(f->reason ? f->reason : "under way");
	if (str_starts(f->subject, "image "))
		s->image = mem_strdup(rest + 1);
	if (str_starts(f->subject, "network ") || str_starts(f->subject, "volume "))
		s->name = mem_strdup(rest + 1);
	if (str_starts(f->subject, "service ")) {
		const char *name = strchr(f->subject, '/');
		struct plan_app *a = plan_find_app(c, f->app_id);
		struct plan_service *v = a && name ? plan_find_service(a, name + 1) : NULL;

		s->service = mem_strdup(name ? name + 1 : rest + 1);
		if (v)
			plan_copy_changes(&s->changes, &v->changes);
	}
}

void plan_step_deinit(struct plan_step *s)
{
	free(s->subject);
	free(s->service);
	free(s->image);
	free(s->name);
	free(s->container_id);
	free(s->reason);
	field_changes_deinit(&s->changes);
	service_config_deinit(&s->config);
	strv_deinit(&s->locks);
	strv_deinit(&s->replaces);
}

void plan_wait_deinit(struct plan_wait *w)
{
	free(w->subject);
	free(w->service);
	free(w->detail);
	strv_deinit(&w->services);
}
