/*
 * The shapes of an answer. Types follow the reference byte for byte, because clients compare them; every answer forbids
 * type guessing, because texts typed as HTML may carry what a request said.
 */
#include "api/internal.h"

#include <string.h>

#include "util/mem.h"

static const struct http_header no_sniff[] = {{"X-Content-Type-Options", "nosniff"}, {NULL, NULL}};

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 202:
		return "Accepted";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	default:
		return "Error";
	}
}

void answer_text(struct http_exchange *x, int status, const char *text)
{
	http_respond(x, status, "text/html; charset=utf-8", text, strlen(text), no_sniff);
}

void answer_status(struct http_exchange *x, int status)
{
	http_respond(x, status, "text/plain; charset=utf-8", reason(status), strlen(reason(status)), no_sniff);
}

void answer_json(struct http_exchange *x, int status, const struct buf *body)
{
	if (body->failed) {
		answer_failed(x, 503, "the answer is too large");
		return;
	}
	http_respond(x, status, "application/json; charset=utf-8", body->data, body->len, no_sniff);
}

void answer_failed(struct http_exchange *x, int status, const char *message)
{
	struct json_writer *w;
	struct buf body;

	buf_init(&body, 64 << 10);
	w = json_writer_new(&body);
	json_open_object(w);
	json_kv_str(w, "status", "failed");
	json_kv_str(w, "message", message);
	json_close_object(w);
	json_writer_free(w);
	answer_json(x, status, &body);
	buf_deinit(&body);
}
