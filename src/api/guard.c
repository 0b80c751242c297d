/*
 * Who may ask. Where a key is needed, it must be a known one. Where none is needed (unmanaged, local mode), a web page
 * in somebody's browser could ask as well: such requests give themselves away by an Origin header, or, after DNS was
 * turned against us, by a Host that is a name.
 */
#include "api/internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool port_or_end(const char *s)
{
	if (!*s)
		return true;
	if (*s++ != ':')
		return false;
	return s[strspn(s, "0123456789")] == '\0';
}

bool guard_host_is_local(const char *host)
{
	char name[INET6_ADDRSTRLEN + 1];
	struct in6_addr address;
	bool bracketed = *host == '[';
	size_t len = strcspn(host += bracketed, bracketed ? "]" : ":");

	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	host += len;
	if (bracketed)
		return *host == ']' && port_or_end(host + 1) && inet_pton(AF_INET6, name, &address) == 1;
	return port_or_end(host) && (!strcasecmp(name, "localhost") || inet_pton(AF_INET, name, &address) == 1);
}

static bool from_web_page(const struct http_exchange *x)
{
	const char *host;

	if (http_exchange_is_unix(x))
		return false; /* no browser gets here */
	if (http_exchange_header(x, "Origin"))
		return true;
	host = http_exchange_header(x, "Host");
	return host && !guard_host_is_local(host);
}

enum guard_verdict guard_check(const struct api_options *o, const struct http_exchange *x, struct key_scope *scope)
{
	const char *authorization = http_exchange_header(x, "Authorization");
	char key[KEY_MAX];

	if (keys_from_request(http_exchange_query(x), authorization, key) && keys_check(o->keys, key, scope)) {
		if (!o->key_needed)
			scope->global = true;
		return GUARD_PASSED;
	}
	if (o->key_needed)
		return GUARD_UNAUTHORIZED;
	*scope = (struct key_scope){.global = true};
	return from_web_page(x) ? GUARD_FORBIDDEN : GUARD_PASSED;
}
