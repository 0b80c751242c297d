/*
 * What a client of the local API says about itself and what it wants: Content-Type, Content-Encoding and Host, one line
 * each, then the body. A refusal must come with a sentence, an acceptance without.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "util/mem.h"

/* The next line of the input as a string of its own. */
static char *take_line(const char **p, const char *end)
{
	const char *newline = memchr(*p, '\n', (size_t)(end - *p));
	const char *stop = newline ? newline : end;
	char *line = mem_strndup(*p, (size_t)(stop - *p));

	*p = newline ? newline + 1 : end;
	return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = p + size;
	AUTO_FREE char *type = take_line(&p, end);
	AUTO_FREE char *coding = take_line(&p, end);
	AUTO_FREE char *host = take_line(&p, end);
	struct body body = {0};
	struct err err = {0};
	int status;

	guard_host_is_local(host);
	view_wants_all_apps(host);
	status = body_parse(type, *coding ? coding : NULL, p, (size_t)(end - p), &body, &err);
	if (!!status != !!err.msg[0])
		abort();
	if (status && status != 400 && status != 413 && status != 415)
		abort();
	body_truthy(&body, "force");
	body_deinit(&body);
	return 0;
}
