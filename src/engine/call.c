/* The table of Engine calls, and the one way a call is made and ends. */
#include "engine/call.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "util/mem.h"
#include "util/str.h"

#define REQUEST_TARGET_MAX 16384
#define SENTENCE_MAX       400 /* about a port it has 300 */

enum row_flag {
	READS = 1,       /* the answer's body is JSON that the op wants */
	GONE_OK = 2,     /* 404: what should go is gone */
	SAME_OK = 4,     /* 304: it is that way already */
	UNVERSIONED = 8, /* asked before a version is known */
};

struct engine_row {
	const char *method;
	int head_s; /* patience: from the request being written to the head of the answer */
	unsigned flags;
	const char *what, *path;
};

static const struct engine_row rows[CALL_COUNT] = {
	/* clang-format off */
	[CALL_VERSION]           = {"GET",    60,  READS | UNVERSIONED, "ask for the version", "/version"},
	[CALL_CONTAINER_LIST]    = {"GET",    60,  READS, "list containers", "/containers/json?all=1&filters=*"},
	[CALL_CONTAINER_INSPECT] = {"GET",    60,  READS, "inspect container", "/containers/*/json"},
	[CALL_CONTAINER_CREATE]  = {"POST",   300, READS, "create container", "/containers/create?name=*"},
	[CALL_CONTAINER_START]   = {"POST",   300, SAME_OK, "start container", "/containers/*/start"},
	[CALL_CONTAINER_STOP]    = {"POST",   60,  GONE_OK | SAME_OK, "stop container", "/containers/*/stop"},
	[CALL_CONTAINER_REMOVE]  = {"DELETE", 300, GONE_OK, "remove container", "/containers/*?v=1&force=*"},
	[CALL_CONTAINER_RENAME]  = {"POST",   300, 0, "rename container", "/containers/*/rename?name=*"},
	[CALL_NETWORK_LIST]      = {"GET",    60,  READS, "list networks", "/networks"},
	[CALL_NETWORK_CREATE]    = {"POST",   300, 0, "create network", "/networks/create"},
	[CALL_NETWORK_REMOVE]    = {"DELETE", 300, GONE_OK, "remove network", "/networks/*"},
	[CALL_NETWORK_CONNECT]   = {"POST",   300, 0, "connect to network", "/networks/*/connect"},
	[CALL_VOLUME_LIST]       = {"GET",    60,  READS, "list volumes", "/volumes"},
	[CALL_VOLUME_CREATE]     = {"POST",   300, 0, "create volume", "/volumes/create"},
	[CALL_VOLUME_REMOVE]     = {"DELETE", 300, GONE_OK, "remove volume", "/volumes/*"},
	[CALL_IMAGE_LIST]        = {"GET",    60,  READS, "list images", "/images/json"},
	[CALL_IMAGE_INSPECT]     = {"GET",    60,  READS, "inspect image", "/images/*/json"},
	[CALL_IMAGE_REMOVE]      = {"DELETE", 300, GONE_OK, "remove image", "/images/*"},
	[CALL_IMAGE_PULL]        = {"POST",   900, 0, "pull", "/images/create?fromImage=*&tag=*"},
	[CALL_EVENTS]            = {"GET",    60,  0, "follow events", "/events?filters=*"},
	[CALL_EVENTS_BETWEEN]    = {"GET",    60,  0, "read past events", "/events?since=*&until=*&filters=*"},
	/* clang-format on */
};

static void add_encoded(struct buf *to, const char *s)
{
	for (; *s; s++) {
		if (isalnum((unsigned char)*s) || strchr("-._~", *s))
			buf_add(to, s, 1);
		else
			buf_printf(to, "%%%02X", (unsigned char)*s);
	}
}

void engine_request_init(const struct engine *e, enum engine_call call, const char *const *args, struct buf *target,
			 struct http_request *out)
{
	const struct engine_row *row = &rows[call];

	if (!(row->flags & UNVERSIONED))
		buf_adds(target, e->prefix);
	for (const char *p = row->path; *p; p++) {
		if (*p == '*')
			add_encoded(target, *args++);
		else
			buf_add(target, p, 1);
	}
	*out = (struct http_request){
		.method = row->method,
		.target = target->failed ? "" : buf_str(target), /* never another object, for want of room */
		.connect_timeout_ms = ENGINE_CONNECT_MS,
		.head_timeout_ms = row->head_s * INT64_C(1000),
	};
}

int engine_error_from_http(const struct err *http_err, struct err *out)
{
	*out = *http_err;
	if (out->code == -ECANCELED || out->code == -EINVAL) /* -EINVAL: we asked what HTTP cannot carry */
		return out->code;
	if (out->code == -ETIMEDOUT)
		return err_wrap(out, "the engine does not answer");
	if (out->code == -EMSGSIZE || out->code == -EPROTO)
		return err_wrap(out, "the engine's answer");
	out->code = -EHOSTDOWN;
	return err_wrap(out, "the engine is away");
}

/* The engine's sentence on one line, without the newline it likes to end with. */
static void add_sentence(struct buf *to, const char *text)
{
	for (; *text && to->len < SENTENCE_MAX; text++)
		buf_add(to, (unsigned char)*text < ' ' ? " " : text, 1);
	while (to->len > 0 && to->data[to->len - 1] == ' ')
		to->data[--to->len] = '\0';
}

static int status_code(int status, const char *sentence)
{
	switch (status) {
	case 400:
		return -EINVAL;
	case 401:
		return -EACCES;
	case 403: /* a network in use, and what a plugin or the kernel forbids */
		return strstr(sentence, "active endpoints") ? -EBUSY : -EPERM;
	case 404:
		return -ENOENT;
	case 409:
		return strstr(sentence, "already in use by") || strstr(sentence, "already exists") ? -EEXIST : -EBUSY;
	default:
		if (status < 400)
			return -EPROTO;
		return strstr(sentence, "no space left on device") ? -ENOSPC : -EIO;
	}
}

/* Podman answers 500 to what Docker has a status for, and names it in a member of its own. */
static int cause_code(const char *cause)
{
	static const struct {
		const char *cause;
		int code;
	} known[] = {
		{"that name is already in use", -EEXIST}, {"network already exists", -EEXIST},
		{"volume already exists", -EEXIST},       {"network is being used", -EBUSY},
		{"container state improper", -EBUSY},     {"network not found", -ENOENT},
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (str_eq(known[i].cause, cause))
			return known[i].code;
	return 0;
}

int engine_error_from_answer(const struct http_response *r, struct err *out)
{
	struct buf sentence;
	struct json *body = NULL;
	struct err ignored = {0};
	int code;

	buf_init(&sentence, SENTENCE_MAX + 1);
	if (json_parse(r->body, r->body_len, ENGINE_LIST_MAX_BYTES, &body, &ignored) == 0)
		add_sentence(&sentence, json_str_or(json_get(body, "message"), ""));
	else
		add_sentence(&sentence, r->body);
	if (sentence.len == 0)
		buf_printf(&sentence, "status %d", r->status);
	code = r->status == 500 ? cause_code(json_str(json_get(body, "cause"))) : 0;
	err_set(out, code ? code : status_code(r->status, buf_str(&sentence)), "%s", buf_str(&sentence));
	json_free(body);
	buf_deinit(&sentence);
	return out->code;
}

static bool is_success(const struct engine_row *row, int status)
{
	return (status >= 200 && status < 300) || (status == 304 && (row->flags & SAME_OK)) ||
	       (status == 404 && (row->flags & GONE_OK));
}

static void on_answer(void *ctx, const struct err *http_err, const struct http_response *r)
{
	AUTO_FREE struct engine_op *op = ctx;
	const struct engine_row *row = &rows[op->call];
	struct json *body = NULL;
	struct err err = {0};

	if (http_err)
		engine_error_from_http(http_err, &err);
	else if (!is_success(row, r->status))
		engine_error_from_answer(r, &err);
	else if ((row->flags & READS) && json_parse(r->body, r->body_len, ENGINE_LIST_MAX_BYTES, &body, &err) < 0) {
		err.code = -EPROTO;
		err_wrap(&err, "the engine's answer");
	}
	if (err.code && err.code != -EHOSTDOWN && err.code != -ECANCELED)
		err_wrap(&err, "%s%s%s", row->what, op->subject[0] ? " " : "", op->subject);
	op->finish(op, err.code ? &err : NULL, body);
	json_free(body);
}

struct http_call *engine_op_start(const struct engine_op *op, const char *const *args, const struct buf *body,
				  int64_t patience_ms)
{
	struct engine_op *copy = mem_new(1, sizeof(*copy));
	struct http_request request;
	struct buf target;
	struct http_call *call;

	*copy = *op;
	buf_init(&target, REQUEST_TARGET_MAX);
	engine_request_init(op->engine, op->call, args, &target, &request);
	if (patience_ms)
		request.head_timeout_ms = patience_ms > 0 ? patience_ms : 0;
	request.idle_timeout_ms = ENGINE_QUERY_MS;
	request.max_body_bytes = ENGINE_LIST_MAX_BYTES;
	if (body) {
		request.content_type = "application/json";
		request.body = body->data;
		request.body_len = body->len;
	}
	call = http_pipe_call(op->engine->pipe, &request, on_answer, copy);
	buf_deinit(&target);
	return call;
}
