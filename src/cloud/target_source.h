/*
 * Where the target comes from: a file that is watched, or a URL that is polled. Gives the bytes of each new document to
 * its owner; knows nothing of what is in them. Interface "Target file".
 */
#ifndef CLOUD_TARGET_SOURCE_H
#define CLOUD_TARGET_SOURCE_H

#include "loop/loop.h"
#include "util/err.h"

struct target_source;
struct target_source_options {
	const char *location; /* a path or an http(s) URL */
	const char *user_agent;
	const char *token_file;   /* bearer token; read at every poll; NULL: none */
	const char *ca_file;      /* NULL: the system's */
	int64_t poll_interval_ms; /* URL: plus up to jitter_max_ms */
	int64_t jitter_max_ms;    /* 60000; tests: 0 */
	size_t max_bytes;         /* TARGET_MAX_BYTES */
	/* A whole document was read that is not the accepted one (borrowed until it returns). Return true when it was
	 * accepted: only then its ETag is kept for If-None-Match. */
	bool (*document)(void *ctx, const char *text, size_t len);
	/* It cannot be read now (gone, refused, unreachable, too large): the sentence for people, which names the file
	 * or the server. Called when the sentence changes or at each failed poll. */
	void (*failed)(void *ctx, const struct err *err);
	/* What can be read is the accepted document, unchanged (304, same bytes): after a poll that was asked for with
	 * target_source_poll(), and after a failure or a refused document, which are over with this. */
	void (*unchanged)(void *ctx);
	void *ctx;
};
/* -EINVAL for a location that can never work (bad URL). First read happens in the loop, at once. */
int target_source_new(struct loop *l, const struct target_source_options *o, struct target_source **out,
		      struct err *err);
/* Look now (POST /v1/update): for a file: read it again; for a URL: poll at once, or join the poll in flight. Exactly
 * one of document, failed, unchanged follows per look. */
void target_source_poll(struct target_source *s);
/* While document, failed or unchanged runs: one more follows, for a look that was asked for in between. */
bool target_source_pending(const struct target_source *s);
/* Loop time of the last good answer (200 or 304, file read); 0 never. */
int64_t target_source_last_ok_ms(const struct target_source *s);
bool target_source_is_url(const struct target_source *s);
void target_source_stop(struct target_source *s, loop_fn *stopped, void *ctx);

#endif
