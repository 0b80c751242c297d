/*
 * The local HTTP API: request to intent, state to JSON. Routes and answers: spec device-api.md, interface.md "API
 * additions".
 */
#ifndef API_API_H
#define API_API_H

#include "keys/keys.h"
#include "net/http_server.h"
#include "reconcile/reconcile.h"

struct api;
struct api_options {
	struct loop *loop; /* all borrowed, must outlive the api */
	struct reconcile *reconcile;
	struct keys *keys;
	bool key_needed; /* standalone and managed: true; unmanaged or local mode: false, then the Origin and Host rules
			    hold */
	/* POST /v1/update: starts a look at the source; returns the seq */
	uint64_t (*update)(void *ctx, bool force, bool cancel);
	void *ctx;
	const char *version; /* what /v2/version reports */
};
struct api *api_new(const struct api_options *o);
/* The handler for http_server_new(); ctx is the struct api. */
void api_handle(void *api, struct http_exchange *x);
/* State changed: cached bodies are stale. */
void api_state_changed(struct api *a);
/* The reconciler's events, for those who follow them (GET /v2/events); ctx is the struct api. */
void api_event(void *api, const struct reconcile_event *e);
void api_free(struct api *a);

#endif
