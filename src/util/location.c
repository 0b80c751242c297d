/* Where a target is; see location.h. */
#include "util/location.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "util/mem.h"
#include "util/str.h"

/* Bytes of "scheme://"; 0: a path. */
static size_t scheme_len(const char *location)
{
	size_t len = strcspn(location, "/");

	return len > 1 && location[len - 1] == ':' && location[len] && location[len + 1] == '/' ? len + 2 : 0;
}

bool location_is_url(const char *location)
{
	return scheme_len(location) > 0;
}

/* Host and port of a URL behind its scheme, without user and password. */
static const char *find_host(const char *url, size_t *len)
{
	const char *from = url + scheme_len(url);
	size_t all = strcspn(from, "/?#");
	const char *at = memrchr(from, '@', all);

	if (at)
		at++;
	else
		at = from;
	*len = all - (size_t)(at - from);
	return at;
}

static bool is_port(const char *s, size_t len)
{
	AUTO_FREE char *text = mem_strndup(s, len);
	int64_t port;

	return len == 0 || str_to_i64(text, 1, 65535, &port);
}

static int check_url(const char *url, struct err *err)
{
	size_t host_len;
	const char *host = find_host(url, &host_len), *colon = memrchr(host, ':', host_len);

	if (strncasecmp(url, "http://", 7) && strncasecmp(url, "https://", 8))
		return err_set(err, -EINVAL, "the target is neither a path nor an http or https URL");
	if (strlen(url) > LOCATION_URL_MAX)
		return err_set(err, -EINVAL, "the target's URL is longer than %d bytes", LOCATION_URL_MAX);
	for (const char *p = url; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return err_set(err, -EINVAL, "the target's URL has a space or control character at byte %zu",
				       (size_t)(p - url));
	if (host_len == 0 || host[0] == ':')
		return err_set(err, -EINVAL, "the target's URL names no host");
	if (colon && host[host_len - 1] != ']' && !is_port(colon + 1, host_len - (size_t)(colon + 1 - host)))
		return err_set(err, -EINVAL, "the target's URL has a port that is no number from 1 to 65535");
	return 0;
}

int location_check(const char *location, struct err *err)
{
	size_t len = strlen(location);

	if (len == 0)
		return err_set(err, -EINVAL, "the target has no name");
	if (location_is_url(location))
		return check_url(location, err);
	if (len >= PATH_MAX)
		return err_set(err, -EINVAL, "the target's path is longer than %d bytes", PATH_MAX - 1);
	if (location[len - 1] == '/')
		return err_set(err, -EINVAL, "%s names a directory, not a target file", location);
	return 0;
}

char *location_shown(const char *location)
{
	size_t len;
	const char *host;

	if (!location || !location_is_url(location))
		return mem_strdup(location);
	host = find_host(location, &len);
	return mem_printf("%.*s%.*s", (int)scheme_len(location), location, (int)len, host);
}
