/*
 * Where a target is: a path, or an http(s) URL. Pure text; nothing is opened. A URL may carry a password and a token,
 * so people and logs are shown its origin alone.
 */
#ifndef UTIL_LOCATION_H
#define UTIL_LOCATION_H

#include <stdbool.h>

#include "util/err.h"

#define LOCATION_URL_MAX 8000

/* "scheme://…", whatever the scheme; everything else is a path. */
bool location_is_url(const char *location);
/* -EINVAL with a sentence, which holds nothing of a URL: this can never be a target. */
int location_check(const char *location, struct err *err);
/* What may be shown: of a URL its scheme, host and port, of a path all; NULL of NULL. Caller frees. */
char *location_shown(const char *location);

#endif
