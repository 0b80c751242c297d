/* Lock views: lookup and lifetime. The views are sorted by app, so that finding one stays cheap for many apps. */
#include "model/locks.h"

#include <stdlib.h>

#include "util/mem.h"

const char *lock_kind_name(enum lock_kind kind)
{
	static const char *const names[] = {
		[LOCK_FILE] = "file",
		[LOCK_DIRECTORY] = "directory",
		[LOCK_SYMLINK] = "symlink",
		[LOCK_OTHER] = "other",
	};

	return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "other";
}

static int compare_app(const void *key, const void *element)
{
	int64_t id = *(const int64_t *)key, other = ((const struct lock_app_view *)element)->app_id;

	return id < other ? -1 : id > other;
}

const struct lock_app_view *lock_views_app(const struct lock_views *l, int64_t app_id)
{
	return l->n_apps ? bsearch(&app_id, l->apps, l->n_apps, sizeof(*l->apps), compare_app) : NULL;
}

void lock_views_deinit(struct lock_views *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].service);
		free(l->v[i].path);
	}
	free(l->v);
	free(l->apps);
	*l = (struct lock_views){0};
}
