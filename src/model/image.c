/*
 * Image references and local images. References are compared as normalised texts; the engine shortens names of its
 * default registry ("busybox:latest" for "docker.io/library/busybox:latest"), so matching shortens both sides first.
 */
#include "model/image.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "model/read.h"
#include "util/mem.h"

static bool is_digest(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+._-"), hex;

	if (!n || s[n] != ':')
		return false;
	for (hex = 0; isxdigit((unsigned char)s[n + 1 + hex]); hex++)
		;
	return hex >= 32 && !s[n + 1 + hex];
}

static bool is_tag(const char *s)
{
	size_t n = strlen(s);

	if (!n || n > 128 || *s == '.' || *s == '-')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_.-", *s))
			return false;
	return true;
}

/* The repository, `n` bytes. Upper case stands in a registry's name only. */
static bool is_repo(const char *s, size_t n)
{
	const char *slash = memchr(s, '/', n), *path = slash ? slash + 1 : s;
	size_t registry = slash ? (size_t)(slash - s) : 0;

	if (slash && !registry)
		return false;
	for (size_t i = 0; i < registry; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("._-:[]", s[i]))
			return false;
	for (size_t i = (size_t)(path - s); i < n; i++) {
		bool is_word = islower((unsigned char)s[i]) || isdigit((unsigned char)s[i]);
		bool at_edge = i == 0 || s[i - 1] == '/' || i + 1 == n || s[i + 1] == '/';

		if (!is_word && (at_edge || !strchr("._-/", s[i])))
			return false;
	}
	return path < s + n;
}

/* The tag's colon: the last one behind the last slash. */
static const char *tag_colon(const char *ref, size_t n)
{
	const char *slash = memrchr(ref, '/', n), *from = slash ? slash : ref;

	return memrchr(from, ':', n - (size_t)(from - ref));
}

char *image_normalise(const char *ref, struct err *err)
{
	const char *at = strchr(ref, '@');
	size_t n = at ? (size_t)(at - ref) : strlen(ref);
	const char *colon = tag_colon(ref, n);
	AUTO_FREE char *tag = colon ? mem_strndup(colon + 1, n - (size_t)(colon + 1 - ref)) : mem_strdup("latest");
	int repo = colon ? (int)(colon - ref) : (int)n;

	if (n > 4096 || !is_repo(ref, (size_t)repo)) {
		err_set(err, -EINVAL, "\"%.128s\" is no image reference: expected [registry/]name[:tag][@digest]", ref);
		return NULL;
	}
	if (!is_tag(tag)) {
		err_set(err, -EINVAL, "\"%.128s\" is no image reference: its tag is not valid", ref);
		return NULL;
	}
	if (at && !is_digest(at + 1)) {
		err_set(err, -EINVAL, "\"%.128s\" is no image reference: its digest is not valid", ref);
		return NULL;
	}
	return at ? mem_printf("%.*s%s", repo, ref, at) : mem_printf("%.*s:%s", repo, ref, tag);
}

void image_split(const char *ref, char **repo, char **tag)
{
	const char *at = strchr(ref, '@'), *colon = at ? at : tag_colon(ref, strlen(ref));

	*repo = colon ? mem_strndup(ref, (size_t)(colon - ref)) : mem_strdup(ref);
	*tag = mem_strdup(colon ? colon + 1 : "latest");
}

bool image_same_name(const char *a, const char *b)
{
	const char *da = strchr(a, '@'), *db = strchr(b, '@');

	return strcmp(a, b) == 0 || (da && db && strcmp(da, db) == 0);
}

void image_deinit(struct image *i)
{
	if (!i)
		return;
	free(i->id);
	strv_deinit(&i->tags);
	strv_deinit(&i->digests);
	strv_deinit(&i->command);
	strv_deinit(&i->entrypoint);
	strmap_deinit(&i->env);
	strmap_deinit(&i->labels);
	strv_deinit(&i->volumes);
	free(i->user);
	free(i->working_dir);
	*i = (struct image){0};
}

/* The name as the engine lists it: without its default registry and that one's default folder. */
static const char *familiar(const char *ref)
{
	if (str_starts(ref, "docker.io/"))
		ref += strlen("docker.io/");
	else if (str_starts(ref, "index.docker.io/"))
		ref += strlen("index.docker.io/");
	if (str_starts(ref, "library/") && !strchr(ref + strlen("library/"), '/'))
		ref += strlen("library/");
	return ref;
}

bool image_matches(const struct image *i, const char *ref)
{
	const char *digest = strchr(ref, '@');

	if (str_eq(i->id, ref))
		return true;
	for (size_t n = 0; !digest && n < i->tags.n; n++)
		if (strcmp(familiar(i->tags.v[n]), familiar(ref)) == 0)
			return true;
	for (size_t n = 0; digest && n < i->digests.n; n++)
		if (image_same_name(i->digests.v[n], ref))
			return true;
	return false;
}

int image_from_engine(const struct json *inspect, struct image *out, struct err *err)
{
	const struct json *c = json_get(inspect, "Config");

	*out = (struct image){.has_config = true};
	if (!json_is(json_get(inspect, "Id"), JSON_STRING))
		err_set(err, -EPROTO, "Id: expected string, got %s",
			json_type_name(json_type(json_get(inspect, "Id"))));
	else if (read_str(json_get(inspect, "Id"), "Id", &out->id, err) == 0 &&
		 read_strv(json_get(inspect, "RepoTags"), "RepoTags", &out->tags, err) == 0 &&
		 read_strv(json_get(inspect, "RepoDigests"), "RepoDigests", &out->digests, err) == 0 &&
		 read_check(c, JSON_OBJECT, "Config", err) == 0 &&
		 read_strv(json_get(c, "Cmd"), "Config.Cmd", &out->command, err) == 0 &&
		 read_strv(json_get(c, "Entrypoint"), "Config.Entrypoint", &out->entrypoint, err) == 0 &&
		 read_env(json_get(c, "Env"), "Config.Env", &out->env, err) == 0 &&
		 read_map(json_get(c, "Labels"), "Config.Labels", &out->labels, err) == 0 &&
		 read_keys(json_get(c, "Volumes"), "Config.Volumes", &out->volumes, err) == 0 &&
		 read_str(json_get(c, "User"), "Config.User", &out->user, err) == 0 &&
		 read_str(json_get(c, "WorkingDir"), "Config.WorkingDir", &out->working_dir, err) == 0) {
		strv_sort_unique(&out->volumes);
		return 0;
	}
	image_deinit(out);
	return err->code;
}
