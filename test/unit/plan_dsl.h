/*
 * Planner tests as rows: what is there, what is wanted, what happens. Items are separated by ';'.
 *
 *   services  web image=a [running|exited|created|dead|removing] [off] [after=db,cache] [net=x,y] [vol=db] [env=K] [api]
 *             [host] [app=2] [commit=c2] [error=text_with_underscores] [stopping=5] [named=other]
 *   both      network x [driver=d] [app=2]; volume db [driver=d] [app=2]
 *   current   image a [unreadable]; lock web [app=2]; held [app=2]; lost; leftover; removed web; accepted web; owned 2;
 *             force; fail SUBJECT_WITH/…;
 *             processors 1; delete-volumes; adopt; supervisor0 right|wrong; without-default (the default networks)
 *             legacy [app=2] (a lock directory of the whole app is there); lock whole [app=2] (a lock in it);
 *             lock web ignored (one that does not count)
 *             inside web [app=2] (the supervisor runs in this container)
 *   target    none [app=2] (the app has no release); override (of the device); services: [override] (of their app)
 *
 * What happens: rounds separated by ';', steps of one round by '+' ("stop web + stop db"), then '|' and what it waits
 * for when nothing can start any more. Steps of app 1 carry no number, others do: "stop 2/web".
 */
#ifndef TEST_PLAN_DSL_H
#define TEST_PLAN_DSL_H

#include "plan_model_engine.h"

#include "util/buf.h"

#define DSL_WORDS  16
#define DSL_ROUNDS 60

struct dsl_item {
	char *text; /* owns the words */
	char *word[DSL_WORDS];
	size_t n;
};
struct dsl_row {
	const char *name, *current, *target, *steps;
};

static inline bool dsl_next(const char **at, struct dsl_item *item)
{
	size_t len;

	*item = (struct dsl_item){0};
	*at += strspn(*at, " ;\n\t");
	if (!**at)
		return false;
	len = strcspn(*at, ";");
	item->text = mem_strndup(*at, len);
	*at += len;
	for (char *save = NULL, *w = strtok_r(item->text, " \n\t", &save); w; w = strtok_r(NULL, " \n\t", &save)) {
		assert_true(item->n < DSL_WORDS);
		item->word[item->n++] = w;
	}
	return true;
}

static inline const char *dsl_get(const struct dsl_item *item, const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 1; i < item->n; i++)
		if (strncmp(item->word[i], key, n) == 0 && item->word[i][n] == '=')
			return item->word[i] + n + 1;
	return NULL;
}

static inline bool dsl_has(const struct dsl_item *item, const char *word)
{
	for (size_t i = 1; i < item->n; i++)
		if (strcmp(item->word[i], word) == 0)
			return true;
	return false;
}

static inline int64_t dsl_app(const struct dsl_item *item)
{
	const char *app = dsl_get(item, "app");

	return app ? atoll(app) : 1;
}

static inline bool dsl_is(const struct dsl_item *item, const char *word)
{
	return strcmp(item->word[0], word) == 0;
}

static inline bool dsl_is_service(const struct dsl_item *item)
{
	return dsl_get(item, "image") != NULL;
}

/* ---- documents ---- */

static inline void dsl_list(struct buf *to, const char *key, const char *values, const char *suffix)
{
	AUTO_FREE char *copy = mem_strdup(values ? values : "");
	const char *comma = "";

	buf_printf(to, ",\"%s\":[", key);
	for (char *save = NULL, *v = strtok_r(copy, ",", &save); v; v = strtok_r(NULL, ",", &save)) {
		buf_printf(to, suffix[0] == '/' ? "%s\"%s:%s%s\"" : "%s\"%s\"", comma, v, suffix, v);
		comma = ",";
	}
	buf_adds(to, "]");
}

static inline void dsl_print_service(struct buf *to, const struct dsl_item *item)
{
	buf_printf(to, "\"%s\":{\"id\":%u,\"image_id\":%lld,\"image\":\"%s\",\"running\":%s,", item->word[0],
		   str_crc32(item->word[0]) & 0xffffff, (long long)dsl_app(item), dsl_get(item, "image"),
		   dsl_has(item, "off") ? "false" : "true");
	buf_printf(to, "\"labels\":{%s},", dsl_has(item, "api") ? "\"io.balena.features.supervisor-api\":\"1\"" : "");
	buf_printf(to, "\"environment\":{%s", dsl_has(item, "override") ? "\"RESIN_OVERRIDE_LOCK\":\"1\"" : "");
	if (dsl_get(item, "env"))
		buf_printf(to, "%s\"K\":\"%s\"", dsl_has(item, "override") ? "," : "", dsl_get(item, "env"));
	buf_adds(to, "},\"composition\":{");
	buf_adds(to, "\"tty\":true");
	if (dsl_has(item, "host"))
		buf_adds(to, ",\"network_mode\":\"host\"");
	if (dsl_get(item, "net"))
		dsl_list(to, "networks", dsl_get(item, "net"), "");
	if (dsl_get(item, "vol"))
		dsl_list(to, "volumes", dsl_get(item, "vol"), "/");
	buf_adds(to, "}}");
}

/* Names used by `key=` of the services and items `kind` of the app, each once, with their driver. */
static inline void dsl_print_things(struct buf *to, const char *text, int64_t app, const char *kind, const char *key)
{
	struct strmap things = {0};
	struct dsl_item item;

	for (const char *at = text; dsl_next(&at, &item); free(item.text)) {
		const char *used = dsl_is_service(&item) ? dsl_get(&item, key) : NULL;
		AUTO_FREE char *names = mem_strdup(used);

		if (dsl_app(&item) != app)
			continue;
		if (dsl_is(&item, kind))
			strmap_set(&things, item.word[1], dsl_get(&item, "driver") ? dsl_get(&item, "driver") : "");
		for (char *save = NULL, *v = names ? strtok_r(names, ",", &save) : NULL; v;
		     v = strtok_r(NULL, ",", &save))
			strmap_set_default(&things, v, "");
	}
	buf_printf(to, "\"%ss\":{", kind);
	for (size_t i = 0; i < things.n; i++) {
		buf_printf(to, "%s\"%s\":{", i ? "," : "", things.v[i].key);
		if (*things.v[i].value)
			buf_printf(to, "\"driver\":\"%s\"", things.v[i].value);
		buf_adds(to, "}");
	}
	buf_adds(to, "}");
	strmap_deinit(&things);
}

/* The commit its services name; false: the app has no release. */
static inline bool dsl_commit(const char *text, int64_t app, char commit[32])
{
	bool has_release = true;
	struct dsl_item item;

	snprintf(commit, 32, "c1");
	for (const char *at = text; dsl_next(&at, &item); free(item.text)) {
		if (dsl_app(&item) != app)
			continue;
		if (dsl_is(&item, "none"))
			has_release = false;
		if (dsl_get(&item, "commit"))
			snprintf(commit, 32, "%s", dsl_get(&item, "commit"));
	}
	return has_release;
}

static inline void dsl_print_app(struct buf *to, const char *text, int64_t app)
{
	struct dsl_item item;
	const char *comma = "";
	char commit[32];

	buf_printf(to, "\"%032llx\":{\"id\":%lld,\"name\":\"app\",\"releases\":{", (long long)app, (long long)app);
	if (!dsl_commit(text, app, commit)) {
		buf_adds(to, "}}");
		return;
	}
	buf_printf(to, "\"%s\":{\"id\":1,", commit);
	dsl_print_things(to, text, app, "network", "net");
	buf_adds(to, ",");
	dsl_print_things(to, text, app, "volume", "vol");
	buf_adds(to, ",\"services\":{");
	for (const char *at = text; dsl_next(&at, &item); free(item.text)) {
		if (dsl_app(&item) != app || !dsl_is_service(&item))
			continue;
		buf_adds(to, comma);
		dsl_print_service(to, &item);
		comma = ",";
	}
	buf_adds(to, "}}}}");
}

static inline struct target *dsl_parse(const char *document)
{
	struct target_options options = {.standalone = true};
	struct target_errors errors = {0};
	struct target *t = NULL;

	if (target_parse(document, strlen(document), &options, &t, &errors) < 0)
		fail_msg("%s: %s in %s", errors.n ? errors.v[0].path : "?", errors.n ? errors.v[0].message : "?",
			 document);
	target_errors_deinit(&errors);
	return t;
}

/* Put in behind the parser's back: it refuses circles and unknown names, and the planner must bear them. */
static inline void dsl_add_dependencies(struct target *t, const char *text)
{
	struct dsl_item item;

	for (const char *at = text; dsl_next(&at, &item); free(item.text)) {
		const struct target_app *a = target_find_app(t, dsl_app(&item));
		AUTO_FREE char *names = mem_strdup(dsl_get(&item, "after"));

		for (size_t i = 0; names && a && i < a->n_services; i++) {
			struct target_service *s = &a->services[i];

			if (strcmp(s->name, item.word[0]) != 0)
				continue;
			for (char *save = NULL, *v = strtok_r(names, ",", &save); v; v = strtok_r(NULL, ",", &save))
				strv_add(&s->depends_on, v);
			break;
		}
	}
}

static inline struct target *dsl_target(const char *text)
{
	int64_t apps[8];
	size_t n = 0;
	bool override = false;
	struct dsl_item item;
	struct buf doc;
	struct target *t;

	for (const char *at = text; dsl_next(&at, &item); free(item.text)) {
		bool known = dsl_is(&item, "override");

		override |= known;
		for (size_t i = 0; i < n; i++)
			known |= apps[i] == dsl_app(&item);
		if (!known)
			apps[n++] = dsl_app(&item);
	}
	buf_init(&doc, 1 << 20);
	buf_printf(&doc, "{\"config\":{%s},\"apps\":{", override ? "\"BALENA_SUPERVISOR_OVERRIDE_LOCK\":\"1\"" : "");
	for (size_t i = 0; i < n; i++) {
		buf_adds(&doc, i ? "," : "");
		dsl_print_app(&doc, text, apps[i]);
	}
	buf_adds(&doc, "}}");
	t = dsl_parse(buf_str(&doc));
	dsl_add_dependencies(t, text);
	buf_deinit(&doc);
	return t;
}

/* ---- the current state ---- */

static inline enum container_state dsl_state(const struct dsl_item *item)
{
	return dsl_has(item, "exited")     ? CONTAINER_EXITED
	       : dsl_has(item, "created")  ? CONTAINER_CREATED
	       : dsl_has(item, "dead")     ? CONTAINER_DEAD
	       : dsl_has(item, "removing") ? CONTAINER_REMOVING
					   : CONTAINER_RUNNING;
}

/* A document of its own for each container: two of one service may differ. */
static inline void dsl_add_service(struct world *w, const struct dsl_item *item, bool defaults)
{
	const struct target_app *a;
	struct container *k;
	struct target *t;
	struct buf text;

	buf_init(&text, 1 << 16);
	for (size_t i = 0; i < item->n; i++)
		buf_printf(&text, "%s ", item->word[i]);
	t = dsl_target(buf_str(&text));
	buf_deinit(&text);
	a = &t->apps[0];
	k = world_spawn(w, t, a, &a->services[0], dsl_state(item));
	k->error = mem_strdup(dsl_get(item, "error"));
	for (char *c = k->error; c && *c; c++)
		*c = *c == '_' ? ' ' : *c;
	if (dsl_get(item, "named"))
		world_rename(k, dsl_get(item, "named"));
	if (dsl_get(item, "stopping"))
		k->stopping_until_ms = w->now_ms + 1000 * atoll(dsl_get(item, "stopping"));
	for (size_t i = 0; i < a->n_networks; i++)
		if (!world_find_network(w, a->networks[i].name) && defaults &&
		    strcmp(a->networks[i].key, "default") == 0)
			world_add_network(w, a, &a->networks[i]);
	world_own(w, a->id);
	if (!strv_has(&w->owned_images, a->services[0].image))
		strv_add(&w->owned_images, a->services[0].image);
	target_free(t);
}

static inline void dsl_add_thing(struct world *w, const struct dsl_item *item)
{
	struct buf text;
	struct target *t;

	buf_init(&text, 1 << 16);
	for (size_t i = 0; i < item->n; i++)
		buf_printf(&text, "%s ", item->word[i]);
	t = dsl_target(buf_str(&text));
	for (size_t i = 0; i < t->apps[0].n_networks; i++)
		if (dsl_is(item, "network") && strcmp(t->apps[0].networks[i].key, item->word[1]) == 0)
			world_add_network(w, &t->apps[0], &t->apps[0].networks[i]);
	for (size_t i = 0; i < t->apps[0].n_volumes; i++)
		world_add_volume(w, &t->apps[0], &t->apps[0].volumes[i]);
	world_own(w, t->apps[0].id);
	target_free(t);
	buf_deinit(&text);
}

static inline void dsl_add_image(struct world *w, const char *name, bool unreadable)
{
	struct err err;
	AUTO_FREE char *reference = image_normalise(name, &err);

	world_add_image(w, reference)->unreadable = unreadable;
	if (!strv_has(&w->owned_images, reference))
		strv_add(&w->owned_images, reference);
}

static inline void dsl_be_inside(struct world *w, const char *service, int64_t app)
{
	for (size_t i = 0; i < w->now.n_containers; i++)
		if (w->now.containers[i].app_id == app && strcmp(w->now.containers[i].service, service) == 0)
			w->facts.own_container = mem_strdup(w->now.containers[i].id);
	assert_non_null(w->facts.own_container);
}

static inline void dsl_add_other(struct world *w, const struct dsl_item *item)
{
	int64_t app = dsl_app(item);

	if (dsl_is(item, "network") || dsl_is(item, "volume")) {
		dsl_add_thing(w, item);
	} else if (dsl_is(item, "image")) {
		dsl_add_image(w, item->word[1], dsl_has(item, "unreadable"));
	} else if (dsl_is(item, "lock")) {
		const char *service = strcmp(item->word[1], "whole") ? item->word[1] : "";

		strv_take(&w->held_by_apps,
			  mem_printf("%lld/%s%s", (long long)app, dsl_has(item, "ignored") ? "!" : "", service));
	} else if (dsl_is(item, "legacy")) {
		world_lock(w, app)->legacy = true;
	} else if (dsl_is(item, "held") || dsl_is(item, "leftover")) {
		world_lock(w, app)->state = LOCK_HELD;
		world_lock(w, app)->leftover = dsl_is(item, "leftover");
	} else if (dsl_is(item, "lost")) {
		world_lock(w, app)->state = LOCK_LOST;
	} else if (dsl_is(item, "removed")) {
		strv_take(&w->removed, mem_printf("%lld/%s", (long long)app, item->word[1]));
	} else if (dsl_is(item, "accepted")) {
		strv_take(&w->accepted, mem_printf("%lld/%s", (long long)app, item->word[1]));
	} else if (dsl_is(item, "owned")) {
		world_own(w, atoll(item->word[1]));
	} else if (dsl_is(item, "foreign")) {
		w->n_owned = 0;
	} else if (dsl_is(item, "force")) {
		w->forced[w->n_forced++] = app;
	} else if (dsl_is(item, "fail")) {
		AUTO_FREE char *subject = mem_printf("%s %s", item->word[1], item->word[2]);

		world_fail(w, subject, app, "it did not work");
	} else if (dsl_is(item, "processors")) {
		w->facts.processors = (unsigned)atoi(item->word[1]);
	} else if (dsl_is(item, "pulls")) {
		w->pulls_max = (unsigned)atoi(item->word[1]);
	} else if (dsl_is(item, "delete-volumes")) {
		w->facts.keep_volumes = false;
	} else if (dsl_is(item, "adopt")) {
		w->facts.adopt = true;
	} else if (dsl_is(item, "managed")) {
		w->facts.owns_all = true;
	} else if (dsl_is(item, "inside")) {
		dsl_be_inside(w, item->word[1], app);
	} else if (dsl_is(item, "supervisor0")) {
		world_add_supervisor0(w, dsl_has(item, "right"));
	} else if (!dsl_is(item, "without-default")) {
		fail_msg("what is '%s'?", item->word[0]);
	}
}

static inline void dsl_setup(struct world *w, const char *current)
{
	struct dsl_item item;
	bool defaults = true;

	world_init(w);
	for (const char *at = current; dsl_next(&at, &item); free(item.text))
		defaults &= !dsl_is(&item, "without-default");
	for (const char *at = current; dsl_next(&at, &item); free(item.text)) {
		if (dsl_is_service(&item))
			dsl_add_service(w, &item, defaults);
		else
			dsl_add_other(w, &item);
	}
}

/* ---- what happens ---- */

static inline const char *dsl_short_name(enum plan_step_kind kind)
{
	switch (kind) {
	case STEP_TAKE_LOCKS:
		return "lock";
	case STEP_RELEASE_LOCKS:
		return "unlock";
	case STEP_REMOVE_IMAGE:
		return "rmi";
	case STEP_CREATE_NETWORK:
		return "+net";
	case STEP_REMOVE_NETWORK:
		return "-net";
	case STEP_CREATE_VOLUME:
		return "+vol";
	case STEP_REMOVE_VOLUME:
		return "-vol";
	default:
		return plan_step_kind_name(kind);
	}
}

static inline void dsl_print_image(struct buf *to, const char *reference)
{
	buf_printf(to, " %.*s", (int)strcspn(reference, ":"), reference);
}

static inline void dsl_print_step(struct buf *to, const struct plan_step *s)
{
	buf_adds(to, dsl_short_name(s->kind));
	if (s->kind == STEP_PULL || s->kind == STEP_REMOVE_IMAGE)
		dsl_print_image(to, s->image);
	else if (s->service && s->app_id == 1)
		buf_printf(to, " %s", s->service);
	else if (s->service)
		buf_printf(to, " %lld/%s", (long long)s->app_id, s->service);
	else if (s->name && strchr(s->name, '_') && s->app_id > 1)
		buf_printf(to, " %lld/%s", (long long)s->app_id, strchr(s->name, '_') + 1);
	else if (s->name)
		buf_printf(to, " %s", strchr(s->name, '_') ? strchr(s->name, '_') + 1 : s->name);
	else if (s->app_id != 1)
		buf_printf(to, " %lld", (long long)s->app_id);
}

static inline void dsl_print_wait(struct buf *to, const struct plan_wait *w)
{
	buf_printf(to, " %s", plan_wait_kind_name(w->kind));
	if (w->kind == WAIT_BACKOFF)
		buf_printf(to, " %s", w->subject + strlen("backoff "));
	else if (w->service)
		buf_printf(to, " %s", w->service);
	for (size_t i = 0; i < w->services.n; i++)
		buf_printf(to, " %s", w->services.v[i]);
	if (w->app_id > 1)
		buf_printf(to, " (%lld)", (long long)w->app_id);
}

/* Begins and ends every step of the plan. */
static inline void dsl_round(struct world *w, struct plan *p)
{
	for (size_t i = 0; i < p->n_steps; i++) {
		world_begin(w, &p->steps[i]);
		world_end(w, w->n_flights - 1, NULL);
	}
	world_settle_apps(w, p);
}

/* Runs until nothing can start any more, and tells what happened. */
static inline void dsl_run(struct world *w, struct buf *trace)
{
	for (unsigned round = 0; round < DSL_ROUNDS; round++) {
		struct plan_input in = world_input(w);
		struct plan p;

		plan_make(&in, &p);
		world_check_plan(w, &p);
		for (size_t i = 0; i < p.n_steps; i++) {
			buf_adds(trace, i ? " + " : trace->len ? "; " : "");
			dsl_print_step(trace, &p.steps[i]);
		}
		dsl_round(w, &p);
		if (!p.n_steps) {
			buf_adds(trace, p.n_waits ? (trace->len ? " |" : "|") : "");
			for (size_t i = 0; i < p.n_waits; i++) {
				buf_adds(trace, i ? "," : "");
				dsl_print_wait(trace, &p.waits[i]);
			}
			plan_deinit(&p);
			return;
		}
		plan_deinit(&p);
	}
	buf_adds(trace, "; and so on without an end");
}

/* One row is one test: its name is the sentence, its state the row. */
static inline void dsl_check_row(void **state)
{
	const struct dsl_row *row = *state;
	struct buf trace;
	struct world w;

	buf_init(&trace, 1 << 16);
	dsl_setup(&w, row->current);
	world_set_target(&w, dsl_target(row->target));
	dsl_run(&w, &trace);
	if (strcmp(buf_str(&trace), row->steps) != 0)
		fail_msg("\n  expected %s\n  got      %s", row->steps, buf_str(&trace));
	buf_deinit(&trace);
	world_deinit(&w);
}

/* The rows, then tests that need more than a row. */
static inline int dsl_run_tests(const char *group, const struct dsl_row *rows, size_t n_rows,
				const struct CMUnitTest *more, size_t n_more)
{
	struct CMUnitTest *tests = mem_new(n_rows + n_more + 1, sizeof(*tests));
	int failed;

	for (size_t i = 0; i < n_rows; i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = dsl_check_row, .initial_state = (void *)(uintptr_t)&rows[i]};
	for (size_t i = 0; i < n_more; i++)
		tests[n_rows + i] = more[i];
	failed = _cmocka_run_group_tests(group, tests, n_rows + n_more, NULL, NULL);
	free(tests);
	return failed;
}

#endif
