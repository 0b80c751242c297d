/*
 * The body of a request as named values. JSON and forms are understood, anything else is taken as no body, as the
 * reference does; but what is broken is told (400, 413, 415), and JSON that a command-line client labelled as a form is
 * read as JSON: otherwise its `force` would get lost without a word.
 */
#include "api/internal.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "util/mem.h"
#include "util/str.h"

/* Is the media type of this Content-Type value `type`? */
static bool type_is(const char *value, const char *type)
{
	size_t len = strlen(type);

	if (!value || strncasecmp(value, type, len))
		return false;
	value += len + strspn(value + len, " \t");
	return !*value || *value == ';';
}

/* "charset" of a Content-Type value, unquoted and in upper case; "" if there is none. */
static void charset_of(const char *value, char out[32])
{
	const char *p = value;
	size_t n = 0;

	out[0] = '\0';
	while ((p = strchr(p, ';'))) {
		p += 1 + strspn(p + 1, " \t");
		if (strncasecmp(p, "charset=", 8))
			continue;
		for (p += 8; *p && *p != ';' && *p != ' ' && n < 31; p++)
			if (*p != '"')
				out[n++] = (char)toupper((unsigned char)*p);
		out[n] = '\0';
		return;
	}
}

/* zlib reads gzip and zlib heads by itself (32 + window bits); some clients' "deflate" has no head at all (negative).
 */
static int inflate_bytes(const char *text, size_t len, int window_bits, char **out, size_t *out_len)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)text, .avail_in = (uInt)len};
	AUTO_FREE char *to = NULL;
	size_t capacity = 0;
	int rc = Z_OK;

	if (inflateInit2(&z, window_bits) != Z_OK)
		return -ENOMEM;
	do {
		if (z.total_out > API_BODY_MAX_BYTES)
			break;
		mem_reserve(&to, &capacity, z.total_out + 16384, 1);
		z.next_out = (Bytef *)to + z.total_out;
		z.avail_out = (uInt)(capacity - z.total_out);
		rc = inflate(&z, Z_NO_FLUSH);
	} while (rc == Z_OK);
	inflateEnd(&z);
	if (z.total_out > API_BODY_MAX_BYTES)
		return -E2BIG;
	if (rc != Z_STREAM_END)
		return -EINVAL;
	*out = STEAL(to);
	*out_len = z.total_out; /* not before: what failed is tried again in another form */
	return 0;
}

int body_decode(const char *coding, const char **text, size_t *len, char **inflated, struct err *err)
{
	bool deflate = coding && !strcasecmp(coding, "deflate");
	int rc;

	*inflated = NULL;
	if (*len > API_BODY_MAX_BYTES)
		goto too_large;
	if (*len == 0 || !coding || !strcasecmp(coding, "identity"))
		return 0;
	if (!deflate && strcasecmp(coding, "gzip")) {
		err_set(err, -EINVAL, "unsupported content encoding \"%s\"", coding);
		return 415;
	}
	rc = inflate_bytes(*text, *len, 32 + MAX_WBITS, inflated, len);
	if (rc == -EINVAL && deflate)
		rc = inflate_bytes(*text, *len, -MAX_WBITS, inflated, len);
	if (rc == -E2BIG)
		goto too_large;
	if (rc < 0) {
		err_set(err, rc, "the body is not what its Content-Encoding says");
		return 400;
	}
	*text = *inflated;
	return 0;
too_large:
	err_set(err, -E2BIG, "request entity too large");
	return 413;
}

static int read_json(const char *text, size_t len, struct body *out, struct err *err)
{
	int rc = json_parse(text, len, API_BODY_MAX_BYTES, &out->json, err);

	if (rc < 0) {
		err_wrap(err, "malformed JSON");
		return rc == -E2BIG ? 413 : 400;
	}
	if (!json_is(out->json, JSON_OBJECT) && !json_is(out->json, JSON_ARRAY)) {
		err_set(err, -EINVAL, "malformed JSON: expected an object or an array, got a %s",
			json_type_name(json_type(out->json)));
		return 400;
	}
	return 0;
}

int body_parse(const char *type, const char *coding, const char *text, size_t len, struct body *out, struct err *err)
{
	bool is_json = type_is(type, "application/json"), is_form = type_is(type, "application/x-www-form-urlencoded");
	AUTO_FREE char *inflated = NULL;
	char charset[32];
	int status;

	if (len == 0 || (!is_json && !is_form))
		return 0;
	charset_of(type, charset);
	if (charset[0] && strcmp(charset, "UTF-8")) {
		err_set(err, -EINVAL, "unsupported charset \"%s\"", charset);
		return 415;
	}
	status = body_decode(coding, &text, &len, &inflated, err);
	if (status)
		return status;
	if (is_json || (len > 0 && text[0] == '{'))
		return read_json(text, len, out, err);
	out->form = mem_strndup(text, len);
	return 0;
}

int body_bytes(const struct http_exchange *x, const char **text, size_t *len, char **inflated, struct err *err)
{
	*text = http_exchange_body(x, len);
	return body_decode(http_exchange_header(x, "Content-Encoding"), text, len, inflated, err);
}

int body_read(const struct http_exchange *x, struct body *out, struct err *err)
{
	size_t len;
	const char *text = http_exchange_body(x, &len);

	return body_parse(http_exchange_header(x, "Content-Type"), http_exchange_header(x, "Content-Encoding"), text,
			  len, out, err);
}

/* Percent-decodes [from, to) into `out`; false when it does not fit. */
static bool form_decode(const char *from, const char *to, char *out, size_t size)
{
	char hex[3] = {0};
	size_t n = 0;

	for (; from < to; from++) {
		if (n + 1 >= size)
			return false;
		if (*from == '%' && to - from > 2 && isxdigit((unsigned char)from[1]) &&
		    isxdigit((unsigned char)from[2])) {
			memcpy(hex, from + 1, 2);
			out[n++] = (char)strtol(hex, NULL, 16);
			from += 2;
		} else {
			out[n++] = *from == '+' ? ' ' : *from;
		}
	}
	out[n] = '\0';
	return true;
}

static bool form_truthy(const char *form, const char *name)
{
	char key[32], value[32];
	bool truthy = false;

	while (*form) {
		const char *end = form + strcspn(form, "&");
		const char *equals = memchr(form, '=', (size_t)(end - form));

		if (form_decode(form, equals ? equals : end, key, sizeof(key)) && !strcmp(key, name))
			truthy = equals && form_decode(equals + 1, end, value, sizeof(value)) && str_truthy(value);
		form = *end ? end + 1 : end;
	}
	return truthy;
}

bool body_truthy(const struct body *b, const char *name)
{
	const struct json *v = json_get(b->json, name);
	int64_t n;

	if (b->form)
		return form_truthy(b->form, name);
	return json_bool(v) || str_truthy(json_str(v)) || (json_i64(v, &n) && n == 1);
}

void body_deinit(struct body *b)
{
	json_free(b->json);
	free(b->form);
	*b = (struct body){0};
}
