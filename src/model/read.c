/*
 * Typed reading of Engine answers, and the few texts that both sides of a comparison are brought to (labels, binds,
 * paths, addresses). The engine writes null for most empty members, so null and missing are one thing here.
 */
#include "model/read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "util/mem.h"

int read_check(const struct json *v, enum json_type type, const char *name, struct err *err)
{
	if (!v || json_is(v, JSON_NULL) || json_is(v, type))
		return 0;
	return err_set(err, -EPROTO, "%s: expected %s, got %s", name, json_type_name(type),
		       json_type_name(json_type(v)));
}

int read_str(const struct json *v, const char *name, char **out, struct err *err)
{
	const char *s = json_str(v);

	if (read_check(v, JSON_STRING, name, err) < 0)
		return err->code;
	*out = s && *s ? mem_strdup(s) : NULL;
	return 0;
}

int read_strv(const struct json *v, const char *name, struct strv *out, struct err *err)
{
	if (read_check(v, JSON_ARRAY, name, err) < 0)
		return err->code;
	for (size_t i = 0; i < json_size(v); i++) {
		const char *s = json_str(json_at(v, i));

		if (!s)
			return err_set(err, -EPROTO, "%s[%zu]: expected string, got %s", name, i,
				       json_type_name(json_type(json_at(v, i))));
		strv_add(out, s);
	}
	return 0;
}

int read_map(const struct json *v, const char *name, struct strmap *out, struct err *err)
{
	if (read_check(v, JSON_OBJECT, name, err) < 0)
		return err->code;
	for (size_t i = 0; i < json_size(v); i++) {
		const char *s = json_str(json_at(v, i));

		if (!s)
			return err_set(err, -EPROTO, "%s.%.64s: expected string, got %s", name, json_key_at(v, i),
				       json_type_name(json_type(json_at(v, i))));
		strmap_set(out, json_key_at(v, i), s);
	}
	return 0;
}

int read_keys(const struct json *v, const char *name, struct strv *out, struct err *err)
{
	if (read_check(v, JSON_OBJECT, name, err) < 0)
		return err->code;
	for (size_t i = 0; i < json_size(v); i++)
		strv_add(out, json_key_at(v, i));
	return 0;
}

int read_bool(const struct json *v, const char *name, bool *out, struct err *err)
{
	if (read_check(v, JSON_BOOL, name, err) < 0)
		return err->code;
	*out = json_bool(v);
	return 0;
}

int read_i64(const struct json *v, const char *name, int64_t *out, struct err *err)
{
	if (!v || json_is(v, JSON_NULL))
		return 0;
	if (!json_i64(v, out))
		return err_set(err, -EPROTO, "%s: expected an integer, got %s", name, json_type_name(json_type(v)));
	return 0;
}

int read_env(const struct json *v, const char *name, struct strmap *out, struct err *err)
{
	if (read_check(v, JSON_ARRAY, name, err) < 0)
		return err->code;
	for (size_t i = 0; i < json_size(v); i++) {
		const char *s = json_str(json_at(v, i)), *eq = s ? strchr(s, '=') : NULL;
		AUTO_FREE char *key = NULL;

		if (!s)
			return err_set(err, -EPROTO, "%s[%zu]: expected string, got %s", name, i,
				       json_type_name(json_type(json_at(v, i))));
		if (!eq || eq == s)
			continue;
		key = mem_strndup(s, (size_t)(eq - s));
		strmap_set(out, key, eq + 1);
	}
	return 0;
}

static char *renamed_key(const char *key)
{
	size_t n = 0;
	char *out = mem_new(strlen(key) * 2 + 1, 1), *to = out;

	for (; *key; key += n) {
		n = str_starts(key, "resin") ? 5 : 1;
		if (n == 5)
			to = mempcpy(to, "balena", 6);
		else
			*to++ = *key;
	}
	return out;
}

void labels_rename(struct strmap *labels)
{
	struct strmap old = {0};

	for (size_t i = 0; i < labels->n; i++)
		if (str_starts(labels->v[i].key, "io.resin."))
			strmap_set(&old, labels->v[i].key, labels->v[i].value);
	for (size_t i = 0; i < old.n; i++) {
		AUTO_FREE char *key = renamed_key(old.v[i].key);

		strmap_unset(labels, old.v[i].key);
		strmap_set_default(labels, key, old.v[i].value);
	}
	strmap_deinit(&old);
}

void strv_sort_unique(struct strv *l)
{
	size_t n = 0;

	strv_sort(l);
	for (size_t i = 0; i < l->n; i++) {
		if (n && strcmp(l->v[n - 1], l->v[i]) == 0)
			free(l->v[i]);
		else
			l->v[n++] = l->v[i];
	}
	l->n = n;
}

char *path_clean(const char *path)
{
	char *out, *to;

	if (!path || *path != '/')
		return mem_strdup(path);
	out = to = mem_new(strlen(path) + 2, 1);
	while (*path) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 2 && memcmp(path, "..", 2) == 0) {
			while (to > out && *--to != '/')
				;
		} else if (n && !(n == 1 && *path == '.')) {
			*to++ = '/';
			to = mempcpy(to, path, n);
		}
		path += n;
	}
	if (to == out)
		*to++ = '/';
	*to = 0;
	return out;
}

char *bind_canonical(const char *bind)
{
	const char *target = strchr(bind, ':'), *mode = target ? strchr(target + 1, ':') : NULL;
	AUTO_FREE char *words = NULL, *joined = NULL;
	struct strv list = {0};
	char *rest, *out;

	if (!mode)
		return mem_strdup(bind);
	rest = words = mem_strdup(mode + 1);
	for (char *word; (word = strsep(&rest, ","));)
		if (*word && strcmp(word, "rw") != 0)
			strv_add(&list, word);
	strv_sort_unique(&list);
	joined = strv_join(&list, ",");
	out = mem_printf("%.*s%s%s", (int)(mode - bind), bind, *joined ? ":" : "", joined);
	strv_deinit(&list);
	return out;
}

bool ip_canonical(const char *text, char out[46])
{
	struct in6_addr a;
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	return inet_pton(family, text, &a) == 1 && inet_ntop(family, &a, out, 46);
}
