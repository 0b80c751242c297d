/* One message of GET /events as a value. Pure. */
#ifndef ENGINE_EVENT_H
#define ENGINE_EVENT_H

#include <stdbool.h>

#include "engine/engine.h"
#include "util/json.h"

/* False: no event, or of a type we do not follow. Strings are borrowed from `message`. */
bool engine_event_parse(const struct json *message, struct engine_event *out);

#endif
