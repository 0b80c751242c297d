/*
 * A store with one broken block in it is refused whole by who reads it, and then no server at all can be reached. So each
 * block must decode, and be what X.509 is on the outside: a SEQUENCE of SEQUENCE, SEQUENCE and BIT STRING, to the byte.
 */
#include "host/pem.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"

#define BEGIN     "-----BEGIN CERTIFICATE-----"
#define END       "-----END CERTIFICATE-----"
#define DASHES    "-----BEGIN "
#define LINE_SIZE 64

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* White space left out: *len bytes, to be freed. NULL: something else is no base64, or its length does not fit. */
static unsigned char *base64_decode(const char *text, size_t text_len, size_t *len)
{
	AUTO_FREE unsigned char *out = mem_new(text_len / 4 * 3 + 4, 1);
	unsigned value = 0, n = 0, padding = 0;

	*len = 0;
	for (size_t i = 0; i < text_len; i++) {
		const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

		if (isspace((unsigned char)text[i]))
			continue;
		if (text[i] == '=' && n % 4 >= 2 && padding < 2) {
			padding++;
			n++;
			value <<= 6;
		} else if (!digit || padding) {
			return NULL;
		} else {
			value = value << 6 | (unsigned)(digit - digits);
			n++;
		}
		if (n % 4)
			continue;
		for (unsigned byte = 0; byte < 3 - padding; byte++)
			out[(*len)++] = (unsigned char)(value >> (16 - 8 * byte));
		value = 0;
	}
	return n && n % 4 == 0 ? STEAL(out) : NULL;
}

/* The element at `*at`, which must have `tag` and end within `left` bytes; moves both behind it. NULL if not. */
static const unsigned char *der_element(const unsigned char **at, size_t *left, unsigned char tag, size_t *len)
{
	const unsigned char *content;
	size_t head = 2;

	if (*left < 2 || (*at)[0] != tag)
		return NULL;
	*len = (*at)[1];
	if (*len & 0x80) {
		size_t bytes = *len & 0x7F;

		head += bytes;
		if (!bytes || bytes > 3 || *left < head)
			return NULL;
		*len = 0;
		for (size_t i = 0; i < bytes; i++)
			*len = *len << 8 | (*at)[2 + i];
	}
	if (*len > *left - head)
		return NULL;
	content = *at + head;
	*at = content + *len;
	*left -= head + *len;
	return content;
}

static bool is_certificate(const unsigned char *der, size_t len)
{
	static const unsigned char tags[] = {0x30, 0x30, 0x03};
	size_t inner = 0, part;
	const unsigned char *at = der_element(&der, &len, 0x30, &inner);

	if (!at || len)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		if (!der_element(&at, &inner, tags[i], &part) || !part)
			return false;
	return inner == 0;
}

static void add_block(struct buf *out, const char *base64, size_t len)
{
	size_t column = 0, run;

	buf_adds(out, BEGIN "\n");
	for (size_t i = 0; i < len; i += run) {
		run = 1;
		if (isspace((unsigned char)base64[i]))
			continue;
		while (i + run < len && column + run < LINE_SIZE && !isspace((unsigned char)base64[i + run]))
			run++;
		buf_add(out, base64 + i, run);
		column = (column + run) % LINE_SIZE;
		if (!column)
			buf_adds(out, "\n");
	}
	buf_adds(out, column ? "\n" END "\n" : END "\n");
}

static int add_blocks(const char *text, struct buf *out, struct err *err)
{
	int n = 0;

	for (const char *at = strstr(text, BEGIN); at; at = strstr(at, BEGIN)) {
		const char *from = at + strlen(BEGIN), *to = strstr(from, END);
		AUTO_FREE unsigned char *der = NULL;
		size_t len;

		n++;
		if (!to)
			return err_set(err, -EINVAL, "certificate %d has no line \"" END "\"", n);
		der = base64_decode(from, (size_t)(to - from), &len);
		if (!der)
			return err_set(err, -EINVAL, "certificate %d is not in base64", n);
		if (!is_certificate(der, len))
			return err_set(err, -EINVAL, "certificate %d is none: what it decodes to is something else", n);
		add_block(out, from, (size_t)(to - from));
		at = to + strlen(END);
	}
	if (!n)
		return err_set(err, -EINVAL, "there is no line \"" BEGIN "\" in it");
	return n;
}

int pem_add_certificates(const char *text, struct buf *out, struct err *err)
{
	AUTO_FREE unsigned char *decoded = NULL;
	const char *pem = text;
	struct buf blocks;
	size_t len;
	int n;

	if (!strstr(text, DASHES)) {
		decoded = base64_decode(text, strlen(text), &len);
		if (decoded && !memchr(decoded, '\0', len)) {
			decoded[len] = '\0'; /* there is room: base64_decode() never fills all */
			pem = (const char *)decoded;
		}
	}
	buf_init(&blocks, out->max);
	n = add_blocks(pem, &blocks, err);
	if (n > 0 && (blocks.failed || buf_add(out, buf_str(&blocks), blocks.len) < 0))
		n = err_set(err, -E2BIG, "the certificates have more than %zu bytes", out->max);
	buf_deinit(&blocks);
	return n;
}
