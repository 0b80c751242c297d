/*
 * Local API keys and their scopes (spec device-api.md 3): one global key, and one per (app, service) that uses the
 * supervisor API, made on demand and stable. 32 lower-case hex digits. Compared in constant time, never logged.
 */
#ifndef KEYS_KEYS_H
#define KEYS_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

#define KEY_LENGTH 32
struct keys;
struct key_scope {
	bool global;
	int64_t app_id; /* when not global */
};
/* Reads keys.json; makes the global key if there is none (saved; also written to <state>/api-key). A file that is
 * corrupt or of another schema is no failure: 0, keys are made anew, and err->code is -EBADMSG with the sentence to be
 * logged; where a newer program wrote it, err->code is 0 and the sentence is there all the same. */
int keys_open(struct store *s, struct keys **out, struct err *err);
void keys_free(struct keys *k); /* what is not saved yet is saved: close the store after */
const char *keys_global(const struct keys *k);
/* The key of a service, made (and saved) if there is none. Borrowed until the key is removed. */
const char *keys_for_service(struct keys *k, int64_t app_id, const char *service);
/* As above but never makes one: NULL. */
const char *keys_find_service(const struct keys *k, int64_t app_id, const char *service);
/* Drop the keys of an app that is gone, but for the services of the NULL-ended list `keep` (may be NULL). */
void keys_prune_app(struct keys *k, int64_t app_id, const char *const *keep);
/* Whose key is this? False: nobody's. */
bool keys_check(const struct keys *k, const char *key, struct key_scope *out);
bool key_scope_covers(const struct key_scope *s, int64_t app_id);
/* The key of a request (spec 3.2): query `apikey` (exact, single, non-empty) wins over Authorization. Returns false if
 * none; `out` has KEY_MAX bytes. */
#define KEY_MAX 128
bool keys_from_request(const char *query, const char *authorization, char out[KEY_MAX]);

#endif
