/* How a JSON value lies in memory: shared by the reader, the accessors and the writer, and by nobody else. */
#ifndef UTIL_JSON_VALUE_H
#define UTIL_JSON_VALUE_H

#include "util/json.h"

#define JSON_LINEAR_MAX 8 /* members that are searched one by one; larger objects carry an index */

struct json {
	uint8_t type; /* enum json_type */
	uint32_t n;   /* elements, members, bytes of a string; 0 or 1 of a boolean */
	union {
		const char *text;           /* string, number */
		struct json *elements;      /* array */
		struct json_object *object; /* object */
	};
};

struct json_member {
	const char *key;
	struct json value;
};

struct json_object {
	uint32_t *sorted;             /* member numbers by key; NULL for at most JSON_LINEAR_MAX members */
	struct json_member members[]; /* in document order */
};

#endif
