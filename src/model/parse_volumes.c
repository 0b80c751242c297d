/*
 * Volumes of a composition. A service gets named volumes of its release, anonymous ones and tmpfs; a directory of the
 * host it never gets (spec engine.md 1.9, traps T2, T19).
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "model/config_text.h"
#include "model/parse.h"
#include "model/read.h"
#include "util/mem.h"

static const char bind_denied[] = "a directory of the host cannot be mounted: use a named volume";

static bool check_target(struct parse *p, const struct at *at, const char *target)
{
	AUTO_FREE char *clean = path_clean(target);

	if (*target == '/' && clean[1] && !strchr(target, ':'))
		return true;
	parse_error(p, at, "\"%.80s\" is no place to mount at: expected an absolute path below /", target);
	return false;
}

static bool check_source(struct parse *p, const struct at *at, const char *source, const struct scope *scope)
{
	if (strchr("/.~\\", *source))
		parse_error(p, at, "%s", bind_denied);
	else if (!is_service_name(source))
		parse_error(p, at, "\"%.80s\" is no volume name", source);
	else if (!json_get(scope->volumes, source))
		parse_error(p, at, "the release has no volume \"%.80s\"", source);
	else
		return true;
	return false;
}

static bool check_mode(struct parse *p, const struct at *at, const char *mode)
{
	static const char *const known[] = {"ro", "rw", "z", "Z", "nocopy", NULL};
	AUTO_FREE char *copy = mem_strdup(mode);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, ","));) {
		if (is_one_of(word, known))
			continue;
		parse_error(p, at, "\"%.80s\" is no volume mode: expected ro, rw, z, Z, nocopy", word);
		return false;
	}
	return true;
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

/* "/path", or "name:/path[:mode]" */
static void parse_short(struct parse *p, const struct at *at, const char *text, const struct scope *scope,
			struct service_config *out)
{
	AUTO_FREE char *copy = mem_strdup(text), *bind = NULL;
	char *rest = copy, *source, *target, *mode;

	if (!strchr(text, ':')) {
		if (check_target(p, at, text))
			strv_add(&out->anonymous, text);
		return;
	}
	source = trim(strsep(&rest, ":"));
	target = trim(strsep(&rest, ":"));
	mode = rest ? trim(strsep(&rest, ":")) : NULL;
	if (rest) {
		parse_error(p, at, "\"%.80s\" has more than three parts", text);
		return;
	}
	if (!check_source(p, at, source, scope) || !check_target(p, at, target) || (mode && !check_mode(p, at, mode)))
		return;
	bind = mem_printf("%" PRId64 "_%s:%s%s%s", scope->app->id, source, target, mode ? ":" : "", mode ? mode : "");
	strv_take(&out->binds, bind_canonical(bind));
}

static bool check_members(struct parse *p, const struct at *at, const struct json *v, const char *const *known)
{
	bool fine = true;

	for (size_t i = 0; i < json_size(v); i++) {
		struct at here = at_key(at, json_key_at(v, i));

		if (is_one_of(here.key, known) || is_null(json_at(v, i)))
			continue;
		parse_unsupported(p, &here, here.key);
		fine = false;
	}
	return fine;
}

/* One of the sub-maps volume, tmpfs, bind: missing, null and empty are the same. */
static bool check_sub_map(struct parse *p, const struct at *at, const struct json *v, const char *const *known)
{
	return is_null(v) || (parse_object(p, at, v) && check_members(p, at, v, known));
}

static bool parse_options(struct parse *p, const struct at *at, const struct json *v, struct mount *m)
{
	static const char *const volume_keys[] = {"nocopy", NULL}, *const tmpfs_keys[] = {"size", NULL};
	static const char *const no_keys[] = {NULL};
	struct at volume = at_key(at, "volume"), tmpfs = at_key(at, "tmpfs"), bind = at_key(at, "bind");
	struct at nocopy = at_key(&volume, "nocopy"), size = at_key(&tmpfs, "size"), read_only = at_key(at, "");
	const struct json *ro = get_either(v, "read_only", "readOnly", &read_only.key);
	const struct json *no_copy = json_dig(v, "volume", "nocopy", NULL);
	const struct json *bytes = json_dig(v, "tmpfs", "size", NULL);

	bool fine = check_sub_map(p, &volume, json_get(v, "volume"), volume_keys);

	fine = check_sub_map(p, &tmpfs, json_get(v, "tmpfs"), tmpfs_keys) && fine;
	fine = check_sub_map(p, &bind, json_get(v, "bind"), no_keys) && fine;
	fine = (is_null(ro) || parse_bool(p, &read_only, ro, &m->read_only)) && fine;
	fine = (is_null(no_copy) || parse_bool(p, &nocopy, no_copy, &m->no_copy)) && fine;
	return (is_null(bytes) || parse_memory(p, &size, bytes, &m->tmpfs_size_bytes)) && fine;
}

static bool parse_long(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		       struct mount *m)
{
	static const char *const known[] = {"type",   "source", "target", "read_only", "readOnly",
					    "volume", "tmpfs",  "bind",   NULL};
	struct at type = at_key(at, "type"), source = at_key(at, "source"), target = at_key(at, "target");
	const char *kind = json_str(json_get(v, "type")), *to;
	const struct json *from = json_get(v, "source");

	if (str_eq(kind, "bind")) {
		parse_error(p, &type, "%s", bind_denied);
		return false;
	}
	if (!str_eq(kind, "volume") && !str_eq(kind, "tmpfs")) {
		parse_expected(p, &type, "volume or tmpfs", json_get(v, "type"));
		return false;
	}
	if (!check_members(p, at, v, known) || !parse_options(p, at, v, m))
		return false;
	to = parse_str(p, &target, json_get(v, "target"));
	if (!to || !check_target(p, &target, to))
		return false;
	if (!is_null(from) && str_eq(kind, "tmpfs")) {
		parse_error(p, &source, "tmpfs has no source");
		return false;
	}
	if (!is_null(from) && (!parse_str(p, &source, from) || !check_source(p, &source, json_str(from), scope)))
		return false;
	m->type = mem_strdup(kind);
	m->target = mem_strdup(to);
	m->source = is_null(from) ? NULL : mem_printf("%" PRId64 "_%s", scope->app->id, json_str(from));
	return true;
}

static char *bind_target(const char *bind)
{
	const char *from = strchr(bind, ':') + 1;
	AUTO_FREE char *raw = mem_strndup(from, strcspn(from, ":"));

	return path_clean(raw);
}

/* The engine refuses two mounts at one place, and ours are at two more. */
static void check_duplicates(struct parse *p, const struct at *at, const struct service_config *c)
{
	struct strv places = {0};

	strv_add(&places, "/tmp/balena");
	strv_add(&places, "/tmp/resin");
	for (size_t i = 0; i < c->binds.n; i++)
		strv_take(&places, bind_target(c->binds.v[i]));
	for (size_t i = 0; i < c->n_mounts; i++)
		strv_take(&places, path_clean(c->mounts[i].target));
	strv_sort(&places);
	for (size_t i = 1; i < places.n; i++)
		if (str_eq(places.v[i - 1], places.v[i]))
			parse_error(p, at, "\"%.80s\" is mounted twice", places.v[i]);
	strv_deinit(&places);
}

void parse_volumes(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		   struct service_config *out)
{
	if (!parse_list(p, at, v))
		return;
	out->mounts = mem_new(json_size(v) + 1, sizeof(*out->mounts));
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *entry = json_at(v, i);
		struct at here = at_index(at, i);

		if (json_str(entry))
			parse_short(p, &here, json_str(entry), scope, out);
		else if (!json_is(entry, JSON_OBJECT))
			parse_expected(p, &here, "a volume", entry);
		else if (parse_long(p, &here, entry, scope, &out->mounts[out->n_mounts]))
			out->n_mounts++;
	}
	strv_sort_unique(&out->binds);
	strv_sort_unique(&out->anonymous);
	mounts_sort(out);
	check_duplicates(p, at, out);
}
