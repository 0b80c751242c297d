/*
 * What is the supervisor's own. The host starts and replaces it; it may still carry the labels of a supervised service,
 * and its app may be in the target. Each sign alone is enough: to leave a container alone wrongly costs a line in the
 * status, to stop ourselves costs the device.
 */
#include "model/own.h"

#include <string.h>

#include "util/mem.h"

#define SHORT_ID 12 /* as a container's host name has it */

bool own_app(const char *app_uuid)
{
	static const char *const uuids[] = {
		"52e35121417640b1b28a680504e4039b", "900de4f3cbac4b9bbd232885a35e407b",
		"2e66a95795c149959c69472a8c2f92b8", "531b357e155c480cbec0fdd33041a1f5",
		"6822565f766e413e96d9bebe2227cdcc",
	};

	for (size_t i = 0; app_uuid && i < ARRAY_LEN(uuids); i++)
		if (strcmp(app_uuid, uuids[i]) == 0)
			return true;
	return false;
}

bool own_app_service(const char *app_uuid, const char *service)
{
	return own_app(app_uuid) &&
	       (str_eq(service, "main") || str_eq(service, "balena-supervisor") || str_eq(service, "core"));
}

static bool is_own_name(const char *name)
{
	return str_eq(name, "balena_supervisor") || str_eq(name, "resin_supervisor");
}

bool own_container(const struct container *c, const struct device_facts *f)
{
	size_t n = f && f->own_container ? strlen(f->own_container) : 0;

	if (n >= SHORT_ID && c->id && strncmp(c->id, f->own_container, n) == 0)
		return true;
	return is_own_name(c->name) || own_app_service(c->app_uuid, c->service);
}

/* "registry:5000/path/name" of "registry:5000/path/name:tag" or "…@digest". Caller frees. */
static char *repository(const char *reference)
{
	const char *slash = strrchr(reference, '/');
	const char *end = strpbrk(slash ? slash : reference, ":@");

	return end ? mem_strndup(reference, (size_t)(end - reference)) : mem_strdup(reference);
}

static bool is_own_reference(const char *reference, const char *own)
{
	AUTO_FREE char *have = repository(reference);
	const char *slash = strrchr(have, '/');

	return is_own_name(slash ? slash + 1 : have) || str_eq(have, own);
}

bool own_image(const struct image *image, const struct device_facts *f)
{
	AUTO_FREE char *own = f && f->own_image ? repository(f->own_image) : NULL;

	for (size_t i = 0; i < image->tags.n; i++)
		if (is_own_reference(image->tags.v[i], own))
			return true;
	for (size_t i = 0; i < image->digests.n; i++)
		if (is_own_reference(image->digests.v[i], own))
			return true;
	return false;
}
