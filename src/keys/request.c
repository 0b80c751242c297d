/*
 * Finding the key of a request. Pure text: the query as it stood behind the question mark, and the value of the
 * Authorization header. Whatever is found only has to be compared, so what is too long is cut: it is no key anyway.
 */
#include <string.h>
#include <strings.h>

#include "keys/keys.h"

#define PARAMETER "apikey"

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

	return at && (c >= 'A' || (c >= '0' && c <= '9')) ? (int)(at - digits) : -1;
}

/* Decodes %xx and + into at most `size` - 1 bytes; NUL bytes become 0x01, so that nothing is cut by them. */
static size_t form_decode(const char *text, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		int high = -1, low = -1;

		if (text[i] == '%' && i + 2 < len) {
			high = hex_digit(text[i + 1]);
			low = hex_digit(text[i + 2]);
		}
		if (high >= 0 && low >= 0) {
			out[n++] = high || low ? (char)(high << 4 | low) : 1;
			i += 2;
		} else {
			out[n++] = text[i] == '+' ? ' ' : text[i];
		}
	}
	out[n] = '\0';
	return n;
}

/* 0: the parameter is absent, repeated, structured (apikey[]=) or empty; else its value is in `out`. */
static bool key_of_query(const char *query, char out[KEY_MAX])
{
	char name[sizeof(PARAMETER) + 1] = ""; /* room to see what is behind */
	unsigned seen = 0;

	while (query && *query) {
		size_t len = strcspn(query, "&"), name_len = strcspn(query, "=&");
		const char *value = name_len < len ? query + name_len + 1 : query + len;

		form_decode(query, name_len, name, sizeof(name));
		if (strncmp(name, PARAMETER, strlen(PARAMETER)) == 0) {
			char behind = name[strlen(PARAMETER)];

			if (behind == '[')
				seen += 2;
			else if (!behind && ++seen == 1)
				form_decode(value, (size_t)(query + len - value), out, KEY_MAX);
		}
		query += len + (query[len] == '&');
	}
	return seen == 1 && out[0];
}

static bool key_of_header(const char *value, char out[KEY_MAX])
{
	static const char *const schemes[] = {"ApiKey ", "Bearer "};
	size_t n = 0;

	for (size_t i = 0; value && i < 2; i++) {
		const char *key = value + strlen(schemes[i]);

		if (strncasecmp(value, schemes[i], strlen(schemes[i])) != 0)
			continue;
		n = strspn(key, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz");
		if (n == 0 || key[n])
			return false;
		n = n < KEY_MAX ? n : KEY_MAX - 1;
		memcpy(out, key, n);
		out[n] = '\0';
		return true;
	}
	return false;
}

bool keys_from_request(const char *query, const char *authorization, char out[KEY_MAX])
{
	return key_of_query(query, out) || key_of_header(authorization, out);
}
