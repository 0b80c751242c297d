/*
 * Parsing a target document: what its parts share. The place in the document is a chain of frames on the stack, turned
 * into a path only when there is an error to report; parsing goes on after an error, so that all of them are found.
 */
#ifndef MODEL_PARSE_H
#define MODEL_PARSE_H

#include "model/target.h"
#include "util/json.h"

#define PARSE_NAME_MAX  255              /* UTF-16 code units of names and keys */
#define PARSE_MAP_MAX   4096             /* members of an environment, labels, options */
#define PARSE_LIST_MAX  4096             /* elements of a list in a composition */
#define PARSE_PORTS_MAX 65536            /* published ports, all services together: a range is short to write */
#define PARSE_ID_MAX    9007199254740991 /* 2^53 - 1 */

struct at {
	const struct at *up;
	const char *key; /* NULL: an index */
	size_t index;
};
struct parse {
	const struct target_options *o;
	struct target_errors *errors;
	size_t n_ports;
};

static inline struct at at_key(const struct at *up, const char *key)
{
	return (struct at){.up = up, .key = key};
}

static inline struct at at_index(const struct at *up, size_t index)
{
	return (struct at){.up = up, .index = index};
}

/* One error at `at` (NULL: the whole document). */
void parse_error(struct parse *p, const struct at *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "expected <what>, got <value as JSON>" */
void parse_expected(struct parse *p, const struct at *at, const char *what, const struct json *got);
/* "not supported yet: <key>" */
void parse_unsupported(struct parse *p, const struct at *at, const char *key);

/* The value is an object (array); else an error. Missing is an error as well: callers ask for what is there. */
bool parse_object(struct parse *p, const struct at *at, const struct json *v);
bool parse_list(struct parse *p, const struct at *at, const struct json *v);
/* A string of at most PARSE_NAME_MAX code units; NULL after an error. Borrowed. */
const char *parse_name(struct parse *p, const struct at *at, const struct json *v);
/* A string of any length. */
const char *parse_str(struct parse *p, const struct at *at, const struct json *v);
/* true, false, or the same as strings. */
bool parse_bool(struct parse *p, const struct at *at, const struct json *v, bool *out);
/* A numeric id (spec cloud-api 4.2), at least `min`. */
bool parse_id(struct parse *p, const struct at *at, const struct json *v, int64_t min, int64_t *out);
bool parse_strings(struct parse *p, const struct at *at, const struct json *v, struct strv *out);
/* A map, or a list of "KEY=value"; numbers and booleans become text, null and (without `bare`) a key alone are left
 * out; with `bare` a key alone is "". */
void parse_map(struct parse *p, const struct at *at, const struct json *v, bool bare, struct strmap *out);
/* An object of strings only, its keys checked by `is_key` (`what` names the rule). */
void parse_string_map(struct parse *p, const struct at *at, const struct json *v, bool (*is_key)(const char *),
		      const char *what, struct strmap *out);
/* Code units of UTF-16. */
size_t utf16_length(const char *s);
bool is_service_name(const char *s); /* ^[a-zA-Z0-9][a-zA-Z0-9_.-]*$ */
/* json_get() under either spelling. *found names the one found. */
const struct json *get_either(const struct json *v, const char *snake, const char *camel, const char **found);
bool is_null(const struct json *v);                     /* missing, too */
bool is_one_of(const char *s, const char *const *list); /* NULL ends the list */

/* Memory in bytes: a number, or digits with b, k, m, g (powers of 1024) and an optional b. */
bool parse_memory(struct parse *p, const struct at *at, const struct json *v, int64_t *out);
/* Words of a command line, as a shell would split them, nothing expanded. False: a quote is left open. */
bool words_split(const char *text, struct strv *out);

/* What a service is read within. */
struct scope {
	const struct target_app *app;
	const struct json *services, *volumes, *networks; /* of the release */
};
void parse_ports(struct parse *p, const struct at *at, const struct json *v, struct service_config *out);
void parse_volumes(struct parse *p, const struct at *at, const struct json *v, const struct scope *scope,
		   struct service_config *out);
void parse_service_networks(struct parse *p, const struct at *at, const struct json *composition,
			    const struct scope *scope, struct target_service *s);
void parse_network(struct parse *p, const struct at *at, const struct json *v, const struct target_app *a,
		   const char *key, struct target_network *out);
void parse_volume(struct parse *p, const struct at *at, const struct json *v, const struct target_app *a,
		  const char *key, struct target_volume *out);
/* `composition` is NULL or an object. Environment and labels of the service are in s->spec already and win. */
void parse_composition(struct parse *p, const struct at *at, const struct json *composition, const struct scope *scope,
		       struct target_service *s);
/* Labels that ask for what we cannot do yet; `service_labels` tells where one came from. */
void parse_feature_labels(struct parse *p, const struct at *service, const struct json *service_labels,
			  struct target_service *s);
void parse_release(struct parse *p, const struct at *at, const struct json *v, struct target_app *a);
/* Every dependency cycle among the app's services (sorted by name). */
void parse_cycles(struct parse *p, const struct at *services, const struct target_app *a);

/* Stands in for a missing id: CRC-32 of the service's name followed by the app's uuid. */
int64_t target_derived_service_id(const struct target_app *a, const char *service);

void target_service_deinit(struct target_service *s);
void target_app_deinit(struct target_app *a);

#endif
