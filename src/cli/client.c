/* A client of the local API; see client.h. Sockets go through http_pipe, URLs through http_client (libcurl). */
#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "net/http_client.h"
#include "net/http_pipe.h"
#include "util/mem.h"
#include "util/str.h"
#include "util/version.h"

struct client {
	const char *command;
	struct loop *loop;
	struct http_pipe *pipe; /* one of the two */
	struct http_client *http;
	char *address, *address_from; /* for people: "--api", a variable, a file */
	char *key, *key_from;         /* NULL: none found */
	struct err problem;
	/* the call under way */
	struct client_answer *answer;
	struct err call_err;
	bool done;
};

/* ---- finding the API ---- */

/* First line of a small file, without white space at its ends. NULL: errno says why (ENODATA: it is empty). */
static char *read_line(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[4096];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	char *start, *end;

	if (n < 0)
		return NULL;
	text[n] = '\0';
	start = text + strspn(text, " \t\r\n");
	end = start + strcspn(start, "\r\n");
	while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	errno = ENODATA;
	return end > start ? mem_strndup(start, (size_t)(end - start)) : NULL;
}

static const char *state_dir(const struct client_options *o)
{
	const char *dir = o->state ? o->state : args_variable("STATE_DIRECTORY");

	return dir ? dir : "/var/lib/lockkeeper";
}

/*
 * One of address and key: the flag, else the variable (unless --state says where to look), else the file. `from` names
 * the place, also of a failure; then the result is NULL and errno says why the file did not help.
 */
static char *find(const struct client_options *o, const char *flag, const char *flag_name, const char *variable_name,
		  const char *file, char **from)
{
	const char *value = args_variable(variable_name);

	if (flag) {
		*from = mem_strdup(flag_name);
		return mem_strdup(flag);
	}
	if (value && !o->state) {
		*from = mem_strdup(variable_name);
		return mem_strdup(value);
	}
	*from = mem_printf("%s/%s", state_dir(o), file);
	return read_line(*from);
}

static int no_address(const struct client *c, const struct client_options *o, int error)
{
	bool empty = error == ENODATA;

	fprintf(stderr, "lockkeeper %s: cannot find the supervisor: no --api, %s, and %s%s%s\n", c->command,
		o->state ? "--state was given" : "no BALENA_SUPERVISOR_ADDRESS", c->address_from,
		empty ? " is empty" : ": ", empty ? "" : strerror(error));
	if (error == EACCES)
		fprintf(stderr, "Run this as root, or give --api and --key.\n");
	else
		fprintf(stderr,
			"Is 'lockkeeper run' running, with this state directory? Say where with --state or --api.\n");
	return CLI_UNREACHABLE;
}

/* Accepts http(s)://…, unix:PATH, unix://PATH and HOST:PORT; opens the client for it. */
static int connect_to(struct client *c)
{
	struct http_client_options o = {.user_agent = "lockkeeper/" LOCKKEEPER_VERSION};
	const char *path;
	size_t len;

	if (str_starts(c->address, "unix:")) {
		path = c->address + 5 + (str_starts(c->address, "unix://") ? 2 : 0);
		if (*path != '/')
			return args_wrong(c->command, "%s: '%s' is no address: expected unix:/PATH or http://HOST:PORT",
					  c->address_from, c->address);
		c->pipe = http_pipe_new(c->loop, path);
		return 0;
	}
	if (!strstr(c->address, "://")) {
		char *url = mem_printf("http://%s", c->address);

		free(c->address);
		c->address = url;
	}
	if (strncasecmp(c->address, "http://", 7) && strncasecmp(c->address, "https://", 8))
		return args_wrong(c->command, "%s: '%s' is no address: expected unix:/PATH or http://HOST:PORT",
				  c->address_from, c->address);
	len = strlen(c->address);
	while (len > 0 && c->address[len - 1] == '/')
		c->address[--len] = '\0';
	setenv("no_proxy", "*", 1); /* the supervisor is next to us; a proxy of this environment is for the outside */
	c->http = http_client_new(c->loop, &o);
	return 0;
}

int client_open(const struct client_options *o, struct client **out)
{
	struct client *c = mem_new(1, sizeof(*c));
	const char *port = args_variable("LISTEN_PORT");
	int error, rc = 0;

	*out = NULL;
	c->command = o->command;
	c->loop = loop_new();
	c->address = find(o, o->api, "--api", "BALENA_SUPERVISOR_ADDRESS", "api-address", &c->address_from);
	error = errno;
	if (!c->address && o->health) {
		c->address = mem_printf("http://127.0.0.1:%s", port ? port : "48484");
		free(c->address_from);
		c->address_from = mem_strdup(port ? "LISTEN_PORT" : "the default port");
	}
	if (!c->address)
		rc = no_address(c, o, error);
	c->key = find(o, o->key, "--key", "BALENA_SUPERVISOR_API_KEY", "api-key", &c->key_from);
	if (rc == 0)
		rc = connect_to(c);
	if (rc == 0)
		*out = c;
	else
		client_close(c);
	return rc;
}

static void on_stopped(void *ctx)
{
	((struct client *)ctx)->done = true;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	c->done = !c->pipe && !c->http;
	if (c->pipe)
		http_pipe_stop(c->pipe, on_stopped, c);
	if (c->http)
		http_client_stop(c->http, on_stopped, c);
	while (!c->done)
		loop_run_once(c->loop, true);
	loop_free(c->loop);
	free(c->address);
	free(c->address_from);
	free(c->key);
	free(c->key_from);
	free(c);
}

/* ---- asking ---- */

void client_answer_deinit(struct client_answer *a)
{
	free(a->text);
	json_free(a->json);
	*a = (struct client_answer){0};
}

static void on_answer(void *ctx, const struct err *err, const struct http_response *r)
{
	struct client *c = ctx;
	struct err ignored = {0};
	const char *seq;
	int64_t n;

	c->done = true;
	if (err) {
		c->call_err = *err;
		return;
	}
	c->answer->status = r->status;
	c->answer->text = mem_strndup(r->body, r->body_len);
	c->answer->len = r->body_len;
	json_parse(r->body, r->body_len, CLIENT_ANSWER_MAX_BYTES, &c->answer->json, &ignored);
	seq = http_response_header(r, "X-Lockkeeper-Seq");
	if (seq && str_to_i64(seq, 0, INT64_MAX, &n))
		c->answer->seq = (uint64_t)n;
}

/* Starts a request with the key, at the address, of `c`. */
static struct http_call *start_call(struct client *c, const char *path, struct http_request *req, http_done_fn *done,
				    void *ctx)
{
	AUTO_FREE char *authorization = c->key ? mem_printf("Bearer %s", c->key) : NULL;
	AUTO_FREE char *url = c->http ? mem_printf("%s%s", c->address, path) : NULL;
	struct http_header headers[] = {{authorization ? "Authorization" : NULL, authorization}, {NULL, NULL}};

	req->target = url ? url : path;
	req->headers = headers;
	req->connect_timeout_ms = 3000;
	return c->pipe ? http_pipe_call(c->pipe, req, done, ctx) : http_client_call(c->http, req, done, ctx);
}

struct http_call *client_stream(struct client *c, const char *path, http_head_fn *head, http_data_fn *data,
				http_done_fn *done, void *ctx)
{
	struct http_request req = {
		.method = "GET",
		.on_head = head,
		.on_data = data,
		.stream_ctx = ctx,
		.head_timeout_ms = 30000,
	};

	return start_call(c, path, &req, done, ctx);
}

struct loop *client_loop(struct client *c)
{
	return c->loop;
}

void client_note_unreachable(struct client *c, const struct err *err)
{
	err_set(&c->problem, err->code, "cannot reach the supervisor at %s (from %s): %s", c->address, c->address_from,
		err->msg);
}

void client_note_busy(struct client *c, const char *path, int status)
{
	err_set(&c->problem, -EAGAIN, "the supervisor at %s answers %d to %s for now", c->address, status, path);
}

int client_call(struct client *c, const char *method, const char *path, const char *json_body, size_t len,
		struct client_answer *out)
{
	struct http_request req = {
		.method = method,
		.content_type = json_body ? "application/json" : NULL,
		.body = json_body,
		.body_len = len,
		.max_body_bytes = CLIENT_ANSWER_MAX_BYTES,
		.total_timeout_ms = 30000,
	};

	*out = (struct client_answer){0};
	c->answer = out;
	c->done = false;
	c->call_err = (struct err){0};
	start_call(c, path, &req, on_answer, c);
	while (!c->done)
		loop_run_once(c->loop, true);
	if (!c->call_err.code)
		return 0;
	client_note_unreachable(c, &c->call_err);
	return CLI_UNREACHABLE;
}

const char *client_problem(const struct client *c)
{
	return c->problem.msg;
}

int client_unreachable(const struct client *c)
{
	fprintf(stderr, "lockkeeper %s: %s\n", c->command, c->problem.msg);
	fprintf(stderr, "Is 'lockkeeper run' running? Another address can be given with --api.\n");
	return CLI_UNREACHABLE;
}

int client_refused(const struct client *c, const char *path, const struct client_answer *a)
{
	const char *message = json_str(json_get(a->json, "message"));

	if (a->status == 401 && !c->key)
		fprintf(stderr,
			"lockkeeper %s: the supervisor wants an API key and none was found: give --key, or run as root "
			"(%s)\n",
			c->command, c->key_from);
	else if (a->status == 401)
		fprintf(stderr,
			"lockkeeper %s: the supervisor does not accept this API key (from %s) for %s: give the right "
			"one with --key\n",
			c->command, c->key_from, path);
	else if (a->status == 404)
		fprintf(stderr, "lockkeeper %s: what answers at %s has no %s: is it lockkeeper?\n", c->command,
			c->address, path);
	else if (message)
		fprintf(stderr, "lockkeeper %s: the supervisor answered %d: %s\n", c->command, a->status, message);
	else
		fprintf(stderr, "lockkeeper %s: the supervisor answered %d to %s, which is not understood\n",
			c->command, a->status, path);
	return CLI_FAILED;
}

int client_get(struct client *c, const char *path, struct client_answer *out)
{
	int rc = client_call(c, "GET", path, NULL, 0, out);

	if (rc != 0)
		return client_unreachable(c);
	if (out->status == 200 && out->json)
		return 0;
	rc = client_refused(c, path, out);
	client_answer_deinit(out);
	return rc;
}

static void on_timer(void *ctx)
{
	*(bool *)ctx = true;
}

void client_sleep(struct client *c, int64_t ms)
{
	struct loop_timer timer;
	bool over = false;

	loop_timer_init(c->loop, &timer, on_timer, &over);
	loop_timer_start(&timer, ms);
	while (!over)
		loop_run_once(c->loop, true);
	over = false;
	loop_timer_deinit(&timer, on_timer, &over);
	while (!over)
		loop_run_once(c->loop, true);
}
