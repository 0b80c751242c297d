/* What networks and volumes share. Inside the model only. */
#ifndef MODEL_RESOURCE_H
#define MODEL_RESOURCE_H

#include "util/json.h"
#include "util/str.h"

/* "<owner>_<key>": the key, and the owner's length; NULL if it is not of that form. */
const char *key_of(const char *name, size_t *owner_len);
void write_map(struct json_writer *w, const char *key, const struct strmap *m);

#endif
