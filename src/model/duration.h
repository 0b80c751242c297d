/* Spans of time as people write them in documents and labels. */
#ifndef MODEL_DURATION_H
#define MODEL_DURATION_H

#include <stdbool.h>
#include <stdint.h>

#define DURATION_MAX_MS (INT64_C(100) * 365 * 24 * 3600 * 1000)

/*
 * "1h30m", "500ms", "1.5s": one or more numbers with a unit (ns us µs ms s m h d w), added up (spec engine.md 1.3); a
 * number alone is seconds. Rounded down to ms, at most 100 years. False: it is none; *ms is left alone.
 */
bool duration_parse(const char *text, int64_t *ms);

#endif
