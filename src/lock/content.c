/*
 * The content of our lock files. It is what tells ours from those of an application that runs as uid 65534 too, so the
 * form is exact: nothing before, between or behind. It is neither empty nor a bare pid, because lock tools steal such
 * locks (spec clients.md 4).
 */
#include "lock/content.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "lockkeeper-supervisor 1 "

static size_t token_length(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && ((s[n] >= '0' && s[n] <= '9') || (s[n] >= 'a' && s[n] <= 'z') ||
			   (s[n] >= 'A' && s[n] <= 'Z') || s[n] == '-'))
		n++;
	return n;
}

bool lock_token_valid(const char *token)
{
	size_t len = token ? strnlen(token, LOCK_TOKEN_MAX + 1) : 0;

	return len > 0 && len <= LOCK_TOKEN_MAX && token_length(token, len) == len;
}

size_t lock_content_format(char out[LOCK_CONTENT_MAX], const char *boot_id, const char *nonce)
{
	return (size_t)snprintf(out, LOCK_CONTENT_MAX, PREFIX "%s %s\n", boot_id, nonce);
}

/* Takes a token and the character behind it off the front of *text. */
static bool take_token(const char **text, size_t *len, char end, char out[LOCK_TOKEN_MAX + 1])
{
	size_t n = token_length(*text, *len);

	if (n == 0 || n > LOCK_TOKEN_MAX || n == *len || (*text)[n] != end)
		return false;
	memcpy(out, *text, n);
	out[n] = '\0';
	*text += n + 1;
	*len -= n + 1;
	return true;
}

bool lock_content_parse(const char *text, size_t len, struct lock_content *out)
{
	size_t skip = strlen(PREFIX);

	if (len < skip || memcmp(text, PREFIX, skip) != 0)
		return false;
	text += skip;
	len -= skip;
	return take_token(&text, &len, ' ', out->boot_id) && take_token(&text, &len, '\n', out->nonce) && len == 0;
}

bool lock_content_begins(const char *text, size_t len)
{
	return memcmp(text, PREFIX, len < strlen(PREFIX) ? len : strlen(PREFIX)) == 0;
}
