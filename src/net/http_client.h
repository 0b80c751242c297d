/*
 * HTTP(S) client for TCP: libcurl's multi interface on the loop; the only door to libcurl. libcurl (and the CA bundle)
 * is initialised by the first call, never before. TLS verification is always on. Redirects (at most 5) are followed
 * within the same scheme or to https; never from https to http. Answers may be compressed. Connections are kept.
 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include "loop/loop.h"
#include "net/http.h"

struct http_client;
struct http_client_options {
	const char *user_agent; /* copied */
	const char *ca_file;    /* extra CA bundle (PEM) instead of the system's; NULL: the system's. For tests and
				   BALENA_ROOT_CA */
};
struct http_client *http_client_new(struct loop *l, const struct http_client_options *o);
struct http_call *http_client_call(struct http_client *c, const struct http_request *req, http_done_fn *done,
				   void *ctx);
void http_client_stop(struct http_client *c, loop_fn *stopped, void *ctx);

/* What is inside, as the libraries tell it: "7.88.1", "OpenSSL/3.0.22". Initialises nothing; the strings are static. */
struct http_client_versions {
	const char *curl, *tls, *zlib;
	const char *resolver; /* c-ares; NULL: a thread asks libc */
	const char *source;   /* the small libcurl's source package, by version; NULL: the system's libcurl */
};
void http_client_versions(struct http_client_versions *out);

#endif
