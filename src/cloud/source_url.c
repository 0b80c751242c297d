/*
 * A target behind a URL: one GET at a time, at an interval, conditional on the ETag of the document that was accepted.
 * Whatever fails is tried again after a growing pause, never sooner than the server asked for.
 */
#include "cloud/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "net/http_client.h"
#include "util/backoff.h"
#include "util/location.h"
#include "util/mem.h"
#include "util/str.h"

#define BACKOFF_MS         15000
#define RETRY_AFTER_MAX_MS (INT64_C(24) * 3600 * 1000)
#define CONNECT_MS         30000
#define ANSWER_MS          60000
#define TOTAL_MS           900000
#define ETAG_MAX           1024
#define TOKEN_MAX          8192

struct source_url {
	struct target_source *source;
	struct http_client *client;
	struct loop_timer timer;     /* the next poll by plan */
	struct loop_deferred look;   /* ... at once */
	bool in_flight, conditional; /* conditional: this GET carried If-None-Match */
	bool again;                  /* asked for while one was under way: its answer may be older than the question */
	char *etag;                  /* of the accepted document */
	char *origin;                /* scheme, host and port: what sentences name; a URL may carry secrets */
	unsigned failures;
	unsigned closing;
	loop_fn *stopped;
	void *stopped_ctx;
};

static int64_t random_below(int64_t limit)
{
	uint64_t r = 0;

	if (limit <= 0 || getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return 0;
	return (int64_t)(r % (uint64_t)limit);
}

/* Seconds or an HTTP date, from now; 0: none that we understand. */
static int64_t retry_after_ms(const struct http_response *r)
{
	const char *text = http_response_header(r, "Retry-After");
	struct tm tm = {0};
	const char *end;
	int64_t s, ms;

	if (!text || (r->status != 429 && r->status != 503))
		return 0;
	if (str_to_i64(text, 0, INT64_MAX / 1000, &s))
		ms = s * 1000;
	else if ((end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm)) && *end == '\0')
		ms = (int64_t)timegm(&tm) * 1000 - loop_wall_ms();
	else
		return 0;
	if (ms < 0)
		return 0;
	return ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms;
}

static void plan_next(struct source_url *u)
{
	const struct target_source_options *o = &u->source->o;

	u->failures = 0;
	loop_timer_start(&u->timer, o->poll_interval_ms + random_below(o->jitter_max_ms));
}

static void plan_retry(struct source_url *u, int64_t at_least_ms)
{
	const struct target_source_options *o = &u->source->o;
	int64_t delay = backoff_ms(BACKOFF_MS, u->failures++, o->poll_interval_ms);

	if (delay < at_least_ms)
		delay = at_least_ms;
	/* a little jitter, so that a fleet hit by one outage does not come back in step */
	loop_timer_start(&u->timer, delay + random_below(o->jitter_max_ms < delay / 2 ? o->jitter_max_ms : delay / 2));
}

static void take_document(struct source_url *u, const struct http_response *r)
{
	const char *etag = http_response_header(r, "ETag");

	if (!source_deliver(u->source, r->body, r->body_len, false))
		return;
	free(u->etag);
	u->etag = etag && *etag && strlen(etag) <= ETAG_MAX ? mem_strdup(etag) : NULL;
}

static void take_answer(struct source_url *u, const struct err *http_err, const struct http_response *r)
{
	struct target_source *s = u->source;
	struct err err = {0};
	int64_t wait_ms = 0;

	if (http_err && http_err->code == -EMSGSIZE)
		err_set(&err, -EMSGSIZE, "the document is larger than %zu bytes", s->o.max_bytes);
	else if (http_err)
		err = *http_err;
	else if (r->status == 200 && r->body_len == 0)
		err_set(&err, -ENODATA, "the document is empty");
	else if (r->status == 304 && !u->conditional)
		err_set(&err, -EPROTO, "status 304, but the request was unconditional");
	else if (r->status != 200 && r->status != 304) {
		err_set(&err, -EPROTO, "status %d", r->status);
		wait_ms = retry_after_ms(r);
	}
	if (err.code) {
		plan_retry(u, wait_ms);
		err_wrap(&err, "target from %s", u->origin);
		source_fail(s, &err, true);
		return;
	}
	plan_next(u);
	if (r->status == 304)
		source_unchanged(s);
	else
		take_document(u, r);
}

static void on_answer(void *ctx, const struct err *http_err, const struct http_response *r)
{
	struct source_url *u = ctx;

	u->in_flight = false;
	if (u->source->stopping)
		return;
	take_answer(u, http_err, r);
	if (u->again && !u->source->stopping)
		loop_deferred_schedule(&u->look);
	u->again = false;
}

/* The bearer token, read anew so that it can be rotated. 0 with "" when there is no token file. */
static int read_token(const char *path, char token[TOKEN_MAX + 1], struct err *err)
{
	size_t len = 0;
	AUTO_CLOSE int fd = -1;

	token[0] = '\0';
	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "open token file %s", path);
	while (len <= TOKEN_MAX) {
		ssize_t n = read(fd, token + len, TOKEN_MAX + 1 - len);

		if (n < 0)
			return err_sys(err, "read token file %s", path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len > TOKEN_MAX)
		return err_set(err, -EMSGSIZE, "token file %s is larger than %d bytes", path, TOKEN_MAX);
	while (len > 0 && strchr(" \t\r\n", token[len - 1]))
		len--;
	token[len] = '\0';
	if (len == 0)
		return err_set(err, -ENODATA, "token file %s is empty", path);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)token[i] <= ' ' || (unsigned char)token[i] >= 0x7f)
			return err_set(err, -EINVAL, "token file %s holds more than one token", path);
	return 0;
}

static void poll_now(struct source_url *u)
{
	const struct target_source_options *o = &u->source->o;
	char token[TOKEN_MAX + 1];
	AUTO_FREE char *bearer = NULL;
	struct http_header headers[4] = {{"Accept", "application/json"}};
	size_t n = 1;
	struct http_request request = {
		.method = "GET",
		.target = o->location,
		.headers = headers,
		.max_body_bytes = o->max_bytes,
		.connect_timeout_ms = CONNECT_MS,
		.head_timeout_ms = ANSWER_MS,
		.idle_timeout_ms = ANSWER_MS,
		.total_timeout_ms = TOTAL_MS,
	};
	struct err err = {0};

	if (u->in_flight)
		return;
	if (read_token(o->token_file, token, &err) < 0) {
		plan_retry(u, 0);
		source_fail(u->source, &err, true);
		return;
	}
	if (token[0]) {
		bearer = mem_printf("Bearer %s", token);
		headers[n++] = (struct http_header){"Authorization", bearer};
	}
	u->conditional = u->etag != NULL;
	if (u->etag)
		headers[n++] = (struct http_header){"If-None-Match", u->etag};
	if (!u->client)
		u->client = http_client_new(u->source->loop, &(struct http_client_options){.user_agent = o->user_agent,
											   .ca_file = o->ca_file});
	u->in_flight = true;
	http_client_call(u->client, &request, on_answer, u);
	if (bearer)
		explicit_bzero(bearer, strlen(bearer));
	explicit_bzero(token, sizeof(token));
}

static void on_poll(void *ctx)
{
	struct source_url *u = ctx;

	loop_timer_stop(&u->timer);
	poll_now(u);
}

struct source_url *source_url_new(struct target_source *s)
{
	struct source_url *u = mem_new(1, sizeof(*u));

	u->source = s;
	u->origin = location_shown(s->o.location);
	loop_timer_init(s->loop, &u->timer, on_poll, u);
	loop_deferred_init(s->loop, &u->look, on_poll, u);
	loop_deferred_schedule(&u->look);
	return u;
}

void source_url_poll(struct source_url *u)
{
	if (u->in_flight)
		u->again = true;
	else
		loop_deferred_schedule(&u->look);
}

bool source_url_pending(const struct source_url *u)
{
	return u->again;
}

static void on_part_closed(void *ctx)
{
	struct source_url *u = ctx;
	loop_fn *stopped = u->stopped;
	void *stopped_ctx = u->stopped_ctx;

	if (--u->closing > 0)
		return;
	free(u->etag);
	free(u->origin);
	free(u);
	stopped(stopped_ctx);
}

void source_url_stop(struct source_url *u, loop_fn *stopped, void *ctx)
{
	u->stopped = stopped;
	u->stopped_ctx = ctx;
	u->closing = u->client ? 2 : 1;
	loop_deferred_cancel(&u->look);
	loop_timer_deinit(&u->timer, on_part_closed, u);
	if (u->client)
		http_client_stop(u->client, on_part_closed, u);
}
