/* Events of the engine. They are hints, so what is odd about one is ignored rather than reported. */
#include "engine/event.h"

#include "util/mem.h"
#include "util/str.h"

static const char *const event_types[] = {
	[ENGINE_CONTAINER] = "container",
	[ENGINE_IMAGE] = "image",
	[ENGINE_NETWORK] = "network",
	[ENGINE_VOLUME] = "volume",
};

static int64_t event_time_ms(const struct json *message)
{
	int64_t t;

	if (json_i64(json_get(message, "timeNano"), &t) && t > 0)
		return t / 1000000;
	if (json_i64(json_get(message, "time"), &t) && t > 0 && t < INT64_MAX / 1000)
		return t * 1000;
	return 0;
}

/* Podman's words for what Docker calls otherwise. Its images are removed, too, but any event of an image will do. */
static const char *event_action(const char *action)
{
	if (str_eq(action, "remove"))
		return "destroy";
	return str_eq(action, "died") ? "die" : action;
}

bool engine_event_parse(const struct json *message, struct engine_event *out)
{
	const char *type = json_str(json_get(message, "Type"));
	const struct json *actor = json_get(message, "Actor");

	*out = (struct engine_event){
		.action = event_action(json_str(json_get(message, "Action"))),
		.id = json_str(json_get(actor, "ID")),
		.name = json_str_or(json_dig(actor, "Attributes", "name", NULL), ""),
		.time_ms = event_time_ms(message),
	};
	if (!type || !out->action || !out->id)
		return false;
	if (!*out->id) /* podman names a volume, and an image by its reference, in the attributes only */
		out->id = out->name;
	for (size_t i = 0; i < ARRAY_LEN(event_types); i++)
		if (str_eq(event_types[i], type)) {
			out->type = (enum engine_event_type)i;
			return true;
		}
	return false;
}
