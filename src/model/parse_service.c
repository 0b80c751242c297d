/*
 * The composition of a service. Each key we can do is a row; any other is an error that names it, so that nothing a
 * target asks for is silently left out.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "model/duration.h"
#include "model/lock_rules.h"
#include "model/parse.h"
#include "model/read.h"
#include "util/mem.h"

typedef void composition_fn(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			    struct target_service *s);

static void set_text(char **to, const char *text)
{
	free(*to);
	*to = mem_strdup(text);
}

/* A string (split into words) or a list of strings; the canonical form of "reset" is the empty list. */
static bool parse_command(struct parse *p, const struct at *at, const struct json *v, struct strv *out)
{
	strv_deinit(out);
	if (json_str(v)) {
		if (!words_split(json_str(v), out))
			parse_error(p, at, "a quote is not closed");
	} else if (json_is(v, JSON_ARRAY)) {
		parse_strings(p, at, v, out);
	} else {
		parse_expected(p, at, "a string or a list of strings", v);
	}
	return true;
}

static void on_command(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		       struct target_service *s)
{
	(void)scope;
	s->has_command = parse_command(p, at, v, &s->spec.command);
}

static void on_entrypoint(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			  struct target_service *s)
{
	(void)scope;
	s->has_entrypoint = parse_command(p, at, v, &s->spec.entrypoint);
	if (s->spec.entrypoint.n == 1 && !*s->spec.entrypoint.v[0])
		strv_deinit(&s->spec.entrypoint);
}

/* What the service itself says stands; the composition fills gaps. */
static void merge(struct strmap *to, struct strmap *from)
{
	for (size_t i = 0; i < from->n; i++)
		strmap_set_default(to, from->v[i].key, from->v[i].value);
	strmap_deinit(from);
}

static void on_environment(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			   struct target_service *s)
{
	struct strmap env = {0};

	(void)scope;
	parse_map(p, at, v, false, &env);
	merge(&s->spec.env, &env);
}

static void on_labels(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		      struct target_service *s)
{
	struct strmap labels = {0};

	(void)scope;
	parse_map(p, at, v, true, &labels);
	merge(&s->spec.labels, &labels);
}

static void on_restart(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		       struct target_service *s)
{
	static const char *const policies[] = {"no", "always", "on-failure", "unless-stopped", NULL};
	AUTO_FREE char *text = mem_strdup(json_is(v, JSON_BOOL) && !json_bool(v) ? "no" : json_str_or(v, ""));
	char *word = text + strspn(text, " \t\r\n"), *colon;
	int64_t max = 0;

	(void)scope;
	for (char *c = word; *c; c++)
		*c = isspace((unsigned char)*c) ? 0 : (char)tolower((unsigned char)*c);
	colon = strchr(word, ':');
	if (colon)
		*colon = 0;
	if (!is_one_of(word, policies) ||
	    (colon && (!str_eq(word, "on-failure") || !str_to_i64(colon + 1, 0, INT32_MAX, &max)))) {
		parse_expected(p, at, "no, always, on-failure[:times] or unless-stopped", v);
		return;
	}
	set_text(&s->spec.restart, word);
	s->spec.restart_max = (int)max;
}

static void on_ports(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		     struct target_service *s)
{
	(void)scope;
	parse_ports(p, at, v, &s->spec);
}

static void on_volumes(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		       struct target_service *s)
{
	parse_volumes(p, at, v, scope, &s->spec);
}

static void on_privileged(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			  struct target_service *s)
{
	(void)scope;
	parse_bool(p, at, v, &s->spec.privileged);
}

static void on_tty(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		   struct target_service *s)
{
	(void)scope;
	s->has_tty = parse_bool(p, at, v, &s->spec.tty);
}

static void on_hostname(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			struct target_service *s)
{
	const char *name = parse_str(p, at, v);

	(void)scope;
	if (!name || !*name)
		return;
	if (strlen(name) > 64) { /* the kernel's limit */
		parse_error(p, at, "longer than 64 bytes");
		return;
	}
	set_text(&s->spec.hostname, name);
	s->has_hostname = true;
}

/* Whole seconds, as the engine has it; a number, or text without a unit, is seconds. */
static void on_stop_grace_period(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
				 struct target_service *s)
{
	const char *text = json_is(v, JSON_NUMBER) ? json_number_text(v) : json_str(v);
	int64_t ms;

	(void)scope;
	if (!text || !duration_parse(text, &ms) || ms / 1000 > INT32_MAX)
		parse_expected(p, at, "a duration (10s, 1m30s)", v);
	else
		s->spec.stop_timeout_s = (int)(ms / 1000);
}

static void on_user(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		    struct target_service *s)
{
	const char *user = json_is(v, JSON_NUMBER) ? json_number_text(v) : parse_str(p, at, v);

	(void)scope;
	if (user && *user)
		set_text(&s->spec.user, user);
}

static void on_working_dir(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			   struct target_service *s)
{
	const char *dir = parse_str(p, at, v);

	(void)scope;
	if (!dir || !*dir)
		return;
	if (*dir != '/') {
		parse_expected(p, at, "an absolute path", v);
		return;
	}
	free(s->spec.working_dir);
	s->spec.working_dir = path_clean(dir);
}

/* One dependency in map form: only "it was started" can be waited for. */
static void check_dependency(struct parse *p, const struct at *at, const struct json *v)
{
	if (is_null(v) || !parse_object(p, at, v))
		return;
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *member = json_at(v, i);
		struct at here = at_key(at, json_key_at(v, i));
		bool flag = false;

		if (is_null(member))
			continue;
		if (str_eq(here.key, "condition")) {
			if (parse_str(p, &here, member) && !str_eq(json_str(member), "service_started"))
				parse_error(p, &here, "not supported yet: condition %.80s", json_str(member));
		} else if (str_eq(here.key, "restart") || str_eq(here.key, "required")) {
			if (parse_bool(p, &here, member, &flag) && flag != str_eq(here.key, "required"))
				parse_error(p, &here, "not supported yet: %s: %s", here.key, flag ? "true" : "false");
		} else {
			parse_unsupported(p, &here, here.key);
		}
	}
}

static void on_depends_on(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			  struct target_service *s)
{
	bool is_map = json_is(v, JSON_OBJECT);

	if (!is_map && !json_is(v, JSON_ARRAY)) {
		parse_expected(p, at, "a list or a map of services", v);
		return;
	}
	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = is_map ? at_key(at, json_key_at(v, i)) : at_index(at, i);
		const char *name = is_map ? here.key : parse_str(p, &here, json_at(v, i));

		if (is_map)
			check_dependency(p, &here, json_at(v, i));
		if (name && !json_get(scope->services, name))
			parse_error(p, &here, "the release has no service \"%.80s\"", name);
		else if (name)
			strv_add(&s->depends_on, name);
	}
	strv_sort_unique(&s->depends_on);
}

static void on_image(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		     struct target_service *s)
{
	(void)scope;
	(void)s;
	parse_str(p, at, v); /* the service's own `image` is the one */
}

static void on_networks(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
			struct target_service *s)
{
	(void)p, (void)at, (void)v, (void)scope, (void)s; /* together with network_mode: parse_service_networks() */
}

static const struct {
	const char *snake, *camel;
	composition_fn *fn;
} rows[] = {
	{"command", "command", on_command},
	{"depends_on", "dependsOn", on_depends_on},
	{"entrypoint", "entrypoint", on_entrypoint},
	{"environment", "environment", on_environment},
	{"hostname", "hostname", on_hostname},
	{"image", "image", on_image},
	{"labels", "labels", on_labels},
	{"network_mode", "networkMode", on_networks},
	{"networks", "networks", on_networks},
	{"ports", "ports", on_ports},
	{"privileged", "privileged", on_privileged},
	{"restart", "restart", on_restart},
	{"stop_grace_period", "stopGracePeriod", on_stop_grace_period},
	{"tty", "tty", on_tty},
	{"user", "user", on_user},
	{"volumes", "volumes", on_volumes},
	{"working_dir", "workingDir", on_working_dir},
};

static void parse_key(struct parse *p, const struct at *at, const struct json *v, const struct json *composition,
		      const struct scope *scope, struct target_service *s)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!str_eq(at->key, rows[i].snake) && !str_eq(at->key, rows[i].camel))
			continue;
		if (str_eq(at->key, rows[i].snake) || !json_get(composition, rows[i].snake))
			rows[i].fn(p, at, v, scope, s);
		else
			parse_error(p, at, "given twice: %s is the same", rows[i].snake);
		return;
	}
	parse_unsupported(p, at, at->key);
}

void parse_composition(struct parse *p, const struct at *at, const struct json *composition, const struct scope *scope,
		       struct target_service *s)
{
	s->spec.restart = mem_strdup("always");
	s->spec.tty = true;
	s->spec.stop_timeout_s = STOP_TIMEOUT_S;
	for (size_t i = 0; i < json_size(composition); i++) {
		struct at here = at_key(at, json_key_at(composition, i));

		if (!is_null(json_at(composition, i)))
			parse_key(p, &here, json_at(composition, i), composition, scope, s);
	}
	parse_service_networks(p, at, composition, scope, s);
}

/* A label of the merged map is reported where it stands: the service's own, or the composition's. */
static void label_error(struct parse *p, const struct at *service, const struct json *service_labels, const char *key,
			const char *text)
{
	struct at composition = at_key(service, "composition");
	struct at labels = at_key(json_get(service_labels, key) ? service : &composition, "labels");
	struct at here = at_key(&labels, key);

	parse_error(p, &here, "%.250s", text);
}

void parse_feature_labels(struct parse *p, const struct at *service, const struct json *service_labels,
			  struct target_service *s)
{
	for (size_t i = 0; i < s->spec.labels.n; i++) {
		const char *key = s->spec.labels.v[i].key, *value = s->spec.labels.v[i].value;
		AUTO_FREE char *text = NULL;
		int64_t ignored;

		if (str_eq(key, "io.balena.features.supervisor-api")) {
			s->supervisor_api = str_truthy(value);
		} else if ((str_starts(key, "io.balena.features.") ||
			    str_eq(key, "io.balena.update.requires-reboot")) &&
			   str_truthy(value)) {
			text = mem_printf("not supported yet: label %.200s", key);
		} else if (str_eq(key, "io.balena.update.strategy") && !str_eq(value, "download-then-kill")) {
			text = mem_printf("not supported yet: label %s=%.100s", key, value);
		} else if (str_eq(key, LABEL_LOCK_MAX_AGE) && !duration_parse(value, &ignored)) {
			text = mem_printf("expected a duration (90s, 1h30m), got \"%.80s\"", value);
		}
		if (text)
			label_error(p, service, service_labels, key, text);
	}
}
