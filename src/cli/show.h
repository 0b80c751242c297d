/*
 * What `status`, `locks` and `plan` have in common: fetch documents, print the first as it is (--json) or all of them
 * for people, once or whenever they change (--watch).
 */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include "cli/client.h"

#define SHOW_DOCUMENTS_MAX 3

struct show {
	const char *paths[SHOW_DOCUMENTS_MAX]; /* of GET requests; the first is what --json prints */
	size_t n_paths;
	void (*render)(FILE *to, bool colours, const struct json *const *documents);
};
/*
 * Returns the exit code. `watch`: reads the documents again whenever the supervisor tells that something happened, and
 * returns when the output goes away, or at once when the first look fails.
 */
int show_run(struct client *c, const struct show *s, bool json, bool watch);

/* Shared by what they render. */
/* "main (app 1)", "app 1", "" */
void show_subject(FILE *to, const struct json *step_or_wait);
/* The lines of `waits`: what, for how long, until when, why. Prints nothing when there is none. */
void show_waits(FILE *to, bool colours, const struct json *waits);
/* targetProblem and engineProblem of a document. */
void show_problems(FILE *to, bool colours, const struct json *document);

#endif
