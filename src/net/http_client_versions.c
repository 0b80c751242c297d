/* What libcurl says about itself and what it is made of. */
#include "net/http_client.h"

#include <curl/curl.h>

#ifndef LIBCURL_SOURCE_VERSION /* deps/curl/meson.build sets it for the small libcurl */
#define LIBCURL_SOURCE_VERSION NULL
#endif

void http_client_versions(struct http_client_versions *out)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);

	*out = (struct http_client_versions){
		.curl = v->version,
		.tls = v->ssl_version,
		.zlib = v->libz_version,
		.resolver = v->age >= CURLVERSION_SECOND ? v->ares : NULL,
		.source = LIBCURL_SOURCE_VERSION,
	};
}
