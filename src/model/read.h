/*
 * What the readers of Engine answers share: members that may be null or missing, each checked for its type, so that an
 * answer of another shape is named instead of half read. All return 0, or -EPROTO naming `name`.
 */
#ifndef MODEL_READ_H
#define MODEL_READ_H

#include "util/err.h"
#include "util/json.h"
#include "util/str.h"

/* A value is of `type`, null or missing. */
int read_check(const struct json *v, enum json_type type, const char *name, struct err *err);
/* An owned copy; NULL if null, missing or empty. */
int read_str(const struct json *v, const char *name, char **out, struct err *err);
int read_strv(const struct json *v, const char *name, struct strv *out, struct err *err);
int read_map(const struct json *v, const char *name, struct strmap *out, struct err *err);
int read_keys(const struct json *v, const char *name, struct strv *out, struct err *err); /* the members' names */
int read_bool(const struct json *v, const char *name, bool *out, struct err *err);
int read_i64(const struct json *v, const char *name, int64_t *out, struct err *err);
/* Config.StopTimeout of a container; the default when it has none. */
int read_stop_timeout(const struct json *config, int *out, struct err *err);
/* A list of "KEY=value"; entries without "=" name nothing and are left out. */
int read_env(const struct json *v, const char *name, struct strmap *out, struct err *err);

/* Labels as they count: a key that starts with io.resin. has every "resin" in it replaced by "balena"; an explicit
 * io.balena. key wins over a renamed one. In place. */
void labels_rename(struct strmap *labels);
/* Sorted, every string once. */
void strv_sort_unique(struct strv *l);
/* The path without "//", "/./", "/../" and a trailing slash, as the engine writes it back; NULL and "" as they are. */
char *path_clean(const char *path);
/* The canonical text of a bind: "rw" is the default and left out, mode words in order. */
char *bind_canonical(const char *bind);
/* Writes the canonical text of an IP address (without brackets); false if it is none. */
bool ip_canonical(const char *text, char out[46]);

#endif
