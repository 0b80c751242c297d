/*
 * The engine's streams, as hostile as they come: the first two bytes choose the engine and how reads fall, the rest is
 * the stream. Each message goes through both readers, as pull progress and as event.
 */
#include <stdint.h>
#include <stdlib.h>

#include "engine/event.h"
#include "engine/progress.h"
#include "engine/splitter.h"

#define LIMIT 4096

static int on_message(void *ctx, const char *text, size_t len)
{
	struct pull_progress *p = ctx;
	struct err err = {0};
	struct json *tree = NULL;
	struct engine_event event;
	int before = p->percent;

	if (!text)
		return 0;
	if (len == 0 || len > LIMIT)
		abort();
	if (pull_progress_message(p, text, len, &err) != err.code)
		abort();
	if (p->percent < before || p->percent > 100)
		abort();
	if (json_parse(text, len, LIMIT, &tree, &err) == 0 && engine_event_parse(tree, &event) &&
	    (!event.action || !event.id || !event.name))
		abort();
	json_free(tree);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct splitter s;
	struct pull_progress p;
	size_t piece;

	if (size < 2)
		return 0;
	piece = (size_t)data[1] + 1;
	splitter_init(&s, LIMIT);
	pull_progress_init(&p, data[0] & 1);
	for (size_t at = 2; at < size; at += piece)
		splitter_feed(&s, (const char *)data + at, size - at < piece ? size - at : piece, on_message, &p);
	splitter_is_inside(&s);
	pull_progress_deinit(&p);
	splitter_deinit(&s);
	return 0;
}
