/*
 * A client of the local API for one sub-command: finds address and key (interface.md "Command line"), asks one thing at
 * a time, and turns what goes wrong into one sentence that says what to do next, and an exit code.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "net/http.h"
#include "util/json.h"

#define CLIENT_ANSWER_MAX_BYTES (16u << 20)

struct client_options {      /* flags; NULL: not given */
	const char *command; /* for the sentences */
	const char *api, *key, *state;
	bool health; /* no address found: the port of LISTEN_PORT on this machine */
};
/* The rows every client has in its table of flags, and their part of --help. */
#define CLIENT_FLAGS(o)                                                                                                \
	{"--api", "URL", NULL, &(o)->api}, {"--key", "KEY", NULL, &(o)->key},                                          \
	{                                                                                                              \
		"--state", "DIR", NULL, &(o)->state                                                                    \
	}
#define CLIENT_HELP                                                                                                    \
	"Where the supervisor is:\n"                                                                                   \
	"  --api URL      its local API: http://HOST:PORT or unix:PATH\n"                                              \
	"  --key KEY      its API key\n"                                                                               \
	"  --state DIR    the state directory of 'lockkeeper run', which keeps both\n"                                 \
	"                 (default: $STATE_DIRECTORY, else /var/lib/lockkeeper)\n"                                     \
	"  Without --api and --key: BALENA_SUPERVISOR_ADDRESS and BALENA_SUPERVISOR_API_KEY (so this works\n"          \
	"  inside a service with the label io.balena.features.supervisor-api), else the state directory.\n"

struct client;
/* 0; CLI_UNREACHABLE or CLI_USAGE after a sentence on stderr. */
int client_open(const struct client_options *o, struct client **out);
void client_close(struct client *c); /* NULL is fine */

struct client_answer {
	int status;
	char *text; /* the body, NUL-terminated */
	size_t len;
	struct json *json; /* NULL: the body is not JSON */
	uint64_t seq;      /* X-Lockkeeper-Seq; 0: none */
};
void client_answer_deinit(struct client_answer *a);

/*
 * Ask, and wait for the answer. 0: an answer of any status is in `out`. CLI_UNREACHABLE: client_problem() is the
 * sentence; nothing was printed.
 */
int client_call(struct client *c, const char *method, const char *path, const char *json_body, size_t len,
		struct client_answer *out);
const char *client_problem(const struct client *c);
/* Says on stderr why this answer is no success; returns CLI_FAILED. */
int client_refused(const struct client *c, const char *path, const struct client_answer *a);
/* The supervisor answers, but not now (5xx, 429): the words of client_problem() from here on. */
void client_note_busy(struct client *c, const char *path, int status);
/* Says client_problem() on stderr; returns CLI_UNREACHABLE. */
int client_unreachable(const struct client *c);
/* GET that must be answered 200 with JSON. 0, or an exit code after a sentence. */
int client_get(struct client *c, const char *path, struct client_answer *out);
void client_sleep(struct client *c, int64_t ms);

/*
 * GET of an answer without end, beside the calls above: its callbacks come from the loop, which client_call() runs while
 * it waits; else it is the caller's to run. End it with http_call_cancel().
 */
struct http_call *client_stream(struct client *c, const char *path, http_head_fn *head, http_data_fn *data,
				http_done_fn *done, void *ctx);
struct loop *client_loop(struct client *c);
/* Makes the sentence of client_problem() from how a stream ended. */
void client_note_unreachable(struct client *c, const struct err *err);

#endif
