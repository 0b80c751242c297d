/* What a lock file of ours says: "lockkeeper-supervisor 1 <boot id> <nonce>", one line. Others need not read it. */
#ifndef LOCK_CONTENT_H
#define LOCK_CONTENT_H

#include <stdbool.h>
#include <stddef.h>

#define LOCK_TOKEN_MAX   64  /* characters of a boot id or nonce */
#define LOCK_CONTENT_MAX 192 /* bytes that the longest line and its NUL need */

struct lock_content {
	char boot_id[LOCK_TOKEN_MAX + 1], nonce[LOCK_TOKEN_MAX + 1];
};

/* 1 to 64 letters, digits and dashes. */
bool lock_token_valid(const char *token);
/* The line into `out`. Both tokens must be valid. Returns its length. */
size_t lock_content_format(char out[LOCK_CONTENT_MAX], const char *boot_id, const char *nonce);
/* Is this, byte for byte, the form of ours? Any boot id and nonce will do: leftovers of an earlier run count. */
bool lock_content_parse(const char *text, size_t len, struct lock_content *out);

/* Is this how ours begin, or shorter than that and the same so far? */
bool lock_content_begins(const char *text, size_t len);

#endif
