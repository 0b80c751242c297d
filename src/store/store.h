/*
 * Small durable files in one directory: JSON documents replaced atomically, synced off the loop; a corrupt one is set
 * aside as NAME.json.corrupt and reported, never fatal. Only what cannot be asked again lives here.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "loop/loop.h"
#include "util/err.h"
#include "util/json.h"

/* The largest is a target document of 4 MiB as a JSON string, where one byte may take six ("\u007f"). */
#define STORE_FILE_MAX_BYTES ((24u << 20) + 4096)
struct store;

/*
 * Opens (and makes, 0700) the directory, takes flock on <dir>/lock and writes our pid into it. -EBUSY: another
 * supervisor holds it; the sentence says which pid. -EACCES, -EROFS, ...: the sentence names the path.
 */
int store_open(struct loop *l, const char *dir, struct store **out, struct err *err);
/* Waits for all that was saved (a `done` may still save), then `closed` once from the loop. The lock goes with it. */
void store_close(struct store *s, loop_fn *closed, void *ctx);
const char *store_dir(const struct store *s);

/*
 * Read "<name>.json" whole, now (start-up only). 0: *out is the caller's. -ENOENT: there is none. -EBADMSG: it was
 * corrupt, or no object whose member "schema" is `schema`; it has been renamed to NAME.json.corrupt and the sentence
 * says what was wrong. STORE_NEWER: as 0, but a newer program wrote it, by rules that this one does not know: it is kept
 * for that program as NAME.json.schema-N, the sentence says so, and of *out only what is as expected may be used.
 */
#define STORE_NEWER 1
int store_load(struct store *s, const char *name, int schema, struct json **out, struct err *err);
typedef void store_done_fn(void *ctx, const struct err *err); /* err NULL: durable */
/*
 * Replace "<name>.json". `text` is copied. Writes of one name are serialised and coalesced: only the newest waiting
 * text is written; every `done` (may be NULL) runs once, from the loop, when its text or a newer one is durable, or
 * with the error.
 */
void store_save(struct store *s, const char *name, const char *text, size_t len, store_done_fn *done, void *ctx);
/* Is "<name>.json" being written? Then `done` runs as if the newest text had been given with it; else it never runs. */
bool store_wait(struct store *s, const char *name, store_done_fn *done, void *ctx);
/* Small plain files for others to read (api-key, api-address): mode 0600, atomic, synchronous, start-up only. */
int store_write_plain(struct store *s, const char *name, const char *text, struct err *err);

#endif
