/* Inside of src/cloud: what the two kinds of target source share, and what each of them offers. */
#ifndef CLOUD_SOURCE_H
#define CLOUD_SOURCE_H

#include "cloud/target_source.h"

struct fingerprint { /* of a document: its bytes need not stay in memory to be recognised */
	size_t len;
	uint64_t hash[2];
};
enum source_told { TOLD_NOTHING, TOLD_ACCEPTED, TOLD_REJECTED, TOLD_FAILED };

struct source_file;
struct source_url;
struct target_source {
	struct loop *loop;
	struct target_source_options o; /* strings are owned */
	bool asked;                     /* target_source_poll() waits for its answer */
	bool stopping;
	enum source_told told; /* the owner's last news */
	struct fingerprint accepted, delivered;
	struct err failure; /* the one told last */
	int64_t last_ok_ms;
	struct source_file *file; /* one of the two */
	struct source_url *url;
	loop_fn *stopped;
	void *stopped_ctx;
};

/*
 * A document was read. Tells the owner unless it is known already. True: it is what the owner accepted, now or before.
 * `quiet`: one that was just refused is not offered again unasked.
 */
bool source_deliver(struct target_source *s, const char *text, size_t len, bool quiet);
/* The far end says that nothing changed since the accepted document. */
void source_unchanged(struct target_source *s);
/* It cannot be read now. `repeat`: tell the same sentence again. */
void source_fail(struct target_source *s, const struct err *err, bool repeat);

struct source_file *source_file_new(struct target_source *s);
void source_file_look(struct source_file *f); /* in the loop */
void source_file_stop(struct source_file *f, loop_fn *stopped, void *ctx);

struct source_url *source_url_new(struct target_source *s);
void source_url_poll(struct source_url *u);
/* A look was asked for that the answer being told now does not serve: another poll follows. */
bool source_url_pending(const struct source_url *u);
void source_url_stop(struct source_url *u, loop_fn *stopped, void *ctx);

#endif
