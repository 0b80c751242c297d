/*
 * Follows GET /v2/events for --watch: it tells only that something happened, so that the documents are read again.
 * Comes back by itself when the supervisor goes away.
 */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "cli/client.h"

struct feed {
	struct client *client;
	struct http_call *call; /* NULL: none under way */
	struct loop_timer retry;
	unsigned tries;
	bool open, line_start, stopping, timer_closed;
	/* For the reader, who clears them. */
	bool changed; /* something happened, or the connection stands anew: look again */
	bool failed;  /* it could not be opened; client_problem() says why */
};
void feed_start(struct feed *f, struct client *c);
void feed_stop(struct feed *f); /* returns once everything is closed */

#endif
