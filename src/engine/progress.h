/* What a pull's stream says: percentage and failure. Pure. Spec engine.md 3.7. */
#ifndef ENGINE_PROGRESS_H
#define ENGINE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

#define PULL_LAYERS_MAX 512 /* an image has at most 127; more are not counted */

struct pull_layer;
struct pull_progress {
	bool balena; /* balenaEngine: one sum under the id "Total" */
	int percent; /* 0-100, never falls; -1 before the first message */
	struct pull_layer *layers;
	size_t n_layers, capacity;
};

void pull_progress_init(struct pull_progress *p, bool balena);
void pull_progress_deinit(struct pull_progress *p);
/* One message. 0; -EPROTO it is not a JSON object; pull_error_code() when it tells that the pull failed. */
int pull_progress_message(struct pull_progress *p, const char *text, size_t len, struct err *err);
/* Why a pull failed, from the engine's sentence: -EACCES, -ENOENT, -ENOSPC, else -EIO. */
int pull_error_code(const char *sentence);

#endif
