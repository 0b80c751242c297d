/*
 * One transfer of http_client: its options, what arrives, how it ends. The timeouts are ours, not curl's, so that the
 * error can name the one that ran out; the body's limit is checked on every piece, after decompression.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net/http_client_internal.h"
#include "util/mem.h"

#define REDIRECTS_MAX      5L
#define BODY_DEFAULT_BYTES (1024 * 1024)

/* -------- timeouts -------- */

static void enter(struct client_call *call, enum client_state state)
{
	const int64_t timeout[] = {[CLIENT_CONNECTING] = call->connect_timeout_ms,
				   [CLIENT_WAITING] = call->head_timeout_ms,
				   [CLIENT_RECEIVING] = call->idle_timeout_ms,
				   [CLIENT_ENDED] = 0};
	int64_t now = loop_now_ms(call->client->loop), at;

	call->state = state;
	call->state_at_ms = timeout[state] ? now + timeout[state] : DEADLINE_NONE;
	at = call->state_at_ms < call->total_at_ms ? call->state_at_ms : call->total_at_ms;
	deadline_set(&call->client->deadlines, &call->deadline, at);
}

void client_call_on_deadline(void *ctx, struct deadline *d)
{
	struct client_call *call = CONTAINER_OF(d, struct client_call, deadline);

	(void)ctx;
	if (loop_now_ms(call->client->loop) >= call->total_at_ms)
		client_call_fail(call, -ETIMEDOUT, "not done within %lld ms (total timeout)",
				 (long long)call->total_timeout_ms);
	else if (call->state == CLIENT_CONNECTING)
		client_call_fail(call, -ETIMEDOUT, "no connection within %lld ms (connect timeout)",
				 (long long)call->connect_timeout_ms);
	else if (call->state == CLIENT_WAITING)
		client_call_fail(call, -ETIMEDOUT, "no answer within %lld ms (head timeout)",
				 (long long)call->head_timeout_ms);
	else
		client_call_fail(call, -ETIMEDOUT, "nothing more of the answer within %lld ms (idle timeout)",
				 (long long)call->idle_timeout_ms);
}

/* -------- what curl tells while it works (never enter curl from here) -------- */

/*
 * Connected, the request is about to be written: also for each redirect. This is where a redirect that leaves https is
 * caught even when the chain began with http, before a byte of it is sent.
 */
static int on_ready(void *ctx, char *ip, char *local_ip, int port, int local_port)
{
	struct client_call *call = ctx;
	char *url = NULL;
	bool is_https;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &url);
	is_https = url && !strncasecmp(url, "https:", 6);
	if (call->was_https && !is_https) {
		client_call_fail(call, -EPROTO, "redirect from https to http refused");
		return CURL_PREREQFUNC_ABORT;
	}
	call->was_https = is_https;
	enter(call, CLIENT_WAITING);
	return call->err ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* While the request is still being sent, the wait for its answer has not begun. */
static int on_progress(void *ctx, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total, curl_off_t ul)
{
	struct client_call *call = ctx;

	(void)dl_total, (void)dl, (void)ul_total;
	if (ul != call->uploaded && call->state == CLIENT_WAITING)
		enter(call, CLIENT_WAITING);
	call->uploaded = ul;
	return call->err ? 1 : 0;
}

static void tell_head(struct client_call *call)
{
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_response r = {.status = call->status, .body = "", .headers = list};

	if (call->head_told)
		return;
	call->head_told = true;
	call->is_streamed = call->on_data && call->status / 100 == 2;
	enter(call, CLIENT_RECEIVING);
	r.n_headers = http_head_list(&call->head, list);
	if (call->on_head)
		call->on_head(call->stream_ctx, &r);
}

/* Interim answers and redirects that curl follows are not the caller's business. */
static bool is_final(const struct client_call *call)
{
	return call->status >= 200 && !(call->status / 100 == 3 && http_head_get(&call->head, "Location"));
}

static int add_header(struct client_call *call, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value;

	if (!colon)
		return 0; /* the end of a folded line: obsolete, ignored */
	value = colon + 1;
	while (value < line + len && (*value == ' ' || *value == '\t'))
		value++;
	if (http_head_add(&call->head, line, (size_t)(colon - line)) < 0 || http_head_end_name(&call->head) < 0 ||
	    http_head_add(&call->head, value, (size_t)(line + len - value)) < 0)
		return -E2BIG;
	return http_head_end_value(&call->head);
}

/* "HTTP/1.1 200 OK": curl has checked it. */
static int status_of(const char *line, size_t len)
{
	const char *p = memchr(line, ' ', len);
	int status = 0;

	for (int i = 1; p && i <= 3 && p + i < line + len && p[i] >= '0' && p[i] <= '9'; i++)
		status = status * 10 + (p[i] - '0');
	return status;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct client_call *call = ctx;
	size_t len = size * n, all = len;

	while (len > 0 && strchr("\r\n", line[len - 1]))
		len--;
	if (len >= 5 && !memcmp(line, "HTTP/", 5)) {
		http_head_clear(&call->head);
		call->has_head = false;
		call->status = status_of(line, len);
	} else if (call->has_head) {
		return all; /* a trailer */
	} else if (len == 0) {
		call->has_head = true;
		if (is_final(call))
			tell_head(call);
	} else if (add_header(call, line, len) < 0) {
		client_call_fail(call, -EPROTO, "head of the answer over 16384 bytes or 64 headers");
	}
	return call->err ? 0 : all;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct client_call *call = ctx;
	size_t len = size * n;
	int rc;

	tell_head(call);
	if (call->idle_timeout_ms)
		enter(call, CLIENT_RECEIVING);
	if (call->err)
		return 0;
	if (call->is_streamed) {
		rc = call->on_data(call->stream_ctx, data, len);
		if (rc)
			client_call_fail(call, rc, "ended by its reader");
	} else if (buf_add(&call->body, data, len) < 0) {
		if (!call->on_data) {
			client_call_fail(call, -EMSGSIZE, "body of the answer over %zu bytes", call->body.max);
			return 0;
		}
		call->body.failed = 0; /* the text of an error: its beginning is enough */
		buf_add(&call->body, data, call->body.max - call->body.len);
	}
	return call->err ? 0 : len;
}

static size_t on_source(char *to, size_t size, size_t n, void *ctx)
{
	struct client_call *call = ctx;
	long got = call->source(call->stream_ctx, to, size * n);

	if (got < 0)
		client_call_fail(call, (int)got, "request body: %s", strerror((int)-got));
	return call->err ? CURL_READFUNC_ABORT : (size_t)got;
}

/* -------- options -------- */

static void set_method(struct client_call *call)
{
	CURL *e = call->easy;
	bool is_post = !strcmp(call->method, "POST");

	if (call->source) {
		curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_source);
		curl_easy_setopt(e, CURLOPT_READDATA, call);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->method);
		return;
	}
	if (is_post || call->request_body.len > 0) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->request_body.len);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, buf_str(&call->request_body));
	}
	if (!strcmp(call->method, "HEAD"))
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	else if (!is_post && strcmp(call->method, "GET")) /* curl knows these two, and what a redirect makes of them */
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->method);
}

static void set_options(struct client_call *call)
{
	struct http_client *c = call->client;
	CURL *e = call->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, call);
	curl_easy_setopt(e, CURLOPT_URL, call->url);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->curl_message);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(e, CURLOPT_USERAGENT, c->user_agent);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* never join a resolver thread that waits for a dead server */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	/* Ours ends the call; curl's, a little later, is what it divides among the addresses of a name. */
	if (call->connect_timeout_ms)
		curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)call->connect_timeout_ms + 1000);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, strncasecmp(call->url, "https:", 6) ? "http,https" : "https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(e, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
	curl_easy_setopt(e, CURLOPT_CAPATH, NULL); /* one file and no directory: only then is the parsed bundle kept */
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_ready);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, call);
	curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(e, CURLOPT_XFERINFODATA, call);
	curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
	set_method(call);
}

static void add_request_header(struct client_call *call, const char *name, const char *value)
{
	AUTO_FREE char *line = *value ? mem_printf("%s: %s", name, value) : mem_printf("%s;", name);

	call->headers = curl_slist_append(call->headers, line);
}

static void set_headers(struct client_call *call, const struct http_request *req)
{
	/* curl waits a second for "100 Continue" that many servers never send, and names a type nobody asked for. */
	call->headers = curl_slist_append(NULL, "Expect:");
	if (req->content_type)
		add_request_header(call, "Content-Type", req->content_type);
	else
		call->headers = curl_slist_append(call->headers, "Content-Type:");
	if (req->source)
		call->headers = curl_slist_append(call->headers, "Transfer-Encoding: chunked");
	for (const struct http_header *h = req->headers; h && h->name; h++)
		add_request_header(call, h->name, h->value);
}

/* -------- life -------- */

void client_call_start(struct client_call *call)
{
	CURLMcode rc;

	enter(call, CLIENT_CONNECTING);
	call->easy = curl_easy_init();
	if (!call->easy) {
		client_call_fail(call, -ENOMEM, "curl has no memory");
		return;
	}
	set_options(call);
	rc = curl_multi_add_handle(call->client->multi, call->easy);
	if (rc != CURLM_OK)
		client_call_fail(call, -ENOMEM, "%s", curl_multi_strerror(rc));
}

void client_call_fail(struct client_call *call, int code, const char *fmt, ...)
{
	va_list ap;

	if (call->err || call->state == CLIENT_ENDED)
		return;
	call->err = mem_new(1, sizeof(*call->err));
	call->err->code = code;
	va_start(ap, fmt);
	vsnprintf(call->err->msg, sizeof(call->err->msg), fmt, ap);
	va_end(ap);
	client_todo(call);
}

static int code_of(const struct client_call *call, CURLcode result)
{
	long os_errno = 0;

	switch (result) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -ENOENT;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_errno);
		return os_errno > 0 ? -(int)os_errno : -ECONNREFUSED;
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		return -ECONNRESET;
	case CURLE_TOO_MANY_REDIRECTS:
		return -ELOOP;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return call->state == CLIENT_CONNECTING ? -EINVAL
							: -EPROTO; /* the caller's URL, or what a server said */
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	default:
		return -EPROTO;
	}
}

void client_call_finish(struct client_call *call, CURLcode result)
{
	struct http_client *c = call->client;

	if (result != CURLE_OK && !call->err) {
		const char *text = call->curl_message[0] ? call->curl_message : curl_easy_strerror(result);

		call->err = mem_new(1, sizeof(*call->err));
		err_set(call->err, code_of(call, result), "%s", text);
	}
	if (result == CURLE_OK && !call->err)
		tell_head(call); /* a redirect that could not be followed is an answer like any other */
	call->state = CLIENT_ENDED;
	if (call->is_todo) {
		TAILQ_REMOVE(&c->todo, call, todo_link);
		call->is_todo = false;
	}
	deadline_remove(&c->deadlines, &call->deadline);
	if (call->easy) {
		curl_multi_remove_handle(c->multi, call->easy);
		curl_easy_cleanup(STEAL(call->easy));
	}
}

void client_call_report(struct client_call *call)
{
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_response r = {
		.status = call->status, .body = buf_str(&call->body), .body_len = call->body.len, .headers = list};

	r.n_headers = http_head_list(&call->head, list);
	call->done(call->ctx, call->err, !call->err || call->head_told ? &r : NULL);
	TAILQ_REMOVE(&call->client->calls, call, link);
	if (call->client->stopping)
		loop_deferred_schedule(&call->client->work);
	curl_slist_free_all(call->headers);
	http_head_deinit(&call->head);
	buf_deinit(&call->body);
	buf_deinit(&call->request_body);
	free(call->method);
	free(call->url);
	free(call->err);
	free(call);
}

static void on_cancel(struct http_call *base)
{
	client_call_fail(CONTAINER_OF(base, struct client_call, base), -ECANCELED, "cancelled");
}

struct http_call *http_client_call(struct http_client *c, const struct http_request *req, http_done_fn *done, void *ctx)
{
	struct client_call *call = mem_new(1, sizeof(*call));

	call->base.cancel = on_cancel;
	call->client = c;
	call->done = done;
	call->ctx = ctx;
	call->source = req->source;
	call->on_head = req->on_head;
	call->on_data = req->on_data;
	call->stream_ctx = req->stream_ctx;
	call->method = mem_strdup(req->method);
	call->url = mem_strdup(req->target);
	call->connect_timeout_ms = req->connect_timeout_ms;
	call->head_timeout_ms = req->head_timeout_ms;
	call->idle_timeout_ms = req->idle_timeout_ms;
	call->total_timeout_ms = req->total_timeout_ms;
	call->total_at_ms = req->total_timeout_ms ? loop_now_ms(c->loop) + req->total_timeout_ms : DEADLINE_NONE;
	http_head_init(&call->head, HTTP_HEAD_MAX_BYTES);
	buf_init(&call->body, req->max_body_bytes ? req->max_body_bytes : BODY_DEFAULT_BYTES);
	buf_init(&call->request_body, req->body_len);
	buf_add(&call->request_body, req->body, req->body_len);
	TAILQ_INSERT_TAIL(&c->calls, call, link);
	deadline_add(&c->deadlines, &call->deadline);
	if (call->total_at_ms != DEADLINE_NONE)
		deadline_set(&c->deadlines, &call->deadline, call->total_at_ms);
	if (c->stopping)
		client_call_fail(call, -ECANCELED, "cancelled: stopping");
	else if (!http_is_token(req->method) || !http_is_target(req->target) || !http_are_headers(req->headers) ||
		 (req->content_type && !http_is_value(req->content_type)))
		client_call_fail(call, -EINVAL,
				 "method, URL or a header has a character that HTTP does not allow there");
	else
		set_headers(call, req);
	client_todo(call);
	return &call->base;
}
