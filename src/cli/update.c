/*
 * `lockkeeper update`: asks for a look at the target source now; with --wait it stays until what came of it is applied,
 * or an update lock is in the way.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/show.h"
#include "cli/text.h"
#include "util/mem.h"
#include "util/str.h"

#define POLL_MS        100
#define REACH_AGAIN_MS 30000 /* a supervisor that restarts meanwhile */

static const char help[] =
	"lockkeeper update [--force] [--cancel] [--wait]\n"
	"\n"
	"Looks for a new target now: reads the target file again, or polls its URL. Answers at once; with\n"
	"--wait it stays until the device is at its target, or until an update lock stands in the way.\n"
	"\n"
	"  --force        override update locks: whoever holds one is stopped all the same. Counts for the\n"
	"                 update that runs now and the one this look brings, until each app has settled\n"
	"  --cancel       drop downloads under way and end waiting times after failures\n"
	"  --wait         until it is applied (exit 0) or blocked by a lock (exit 75)\n"
	"\n" CLIENT_HELP "\n"
	"Exit code: 0 asked for, with --wait: applied; 1 it did not work, or the newest document is not valid;\n"
	"2 bad usage; 3 no supervisor found; 75 an update lock is in the way.\n"
	"\n"
	"Examples:\n"
	"  lockkeeper update --wait\n"
	"  lockkeeper update --force --wait\n";

struct waiting {
	struct client *c;
	uint64_t seq;
	char *last;            /* what was printed as going on */
	bool blocked;          /* a lock stood in the way at the last look already */
	int64_t lost_since_ms; /* loop time when it went out of reach; 0: it answers */
};

static bool is_wait(const struct json *plan, const char *kind, bool of_app)
{
	const struct json *waits = json_get(plan, "waits");

	for (size_t i = 0; i < json_size(waits); i++)
		if (str_eq(json_str(json_get(json_at(waits, i), "kind")), kind) &&
		    !!json_get(json_at(waits, i), "appId") == of_app)
			return true;
	return false;
}

/* Which application's lock it is, since when, and what can be done. */
static void explain_lock(const struct json *locks, const struct json *w)
{
	const struct json *names = json_get(w, "serviceNames"), *list = json_get(locks, "locks");
	AUTO_FREE char *since = text_clean(json_str(json_get(w, "since")));
	int64_t app_id = 0, id;

	json_i64(json_get(w, "appId"), &app_id);
	fprintf(stderr, "lockkeeper update: app %" PRId64 " waits since %s for the update lock of", app_id, since);
	for (size_t i = 0; i < json_size(names); i++) {
		AUTO_FREE char *name = text_clean(json_str(json_at(names, i)));

		fprintf(stderr, "%s %s", i ? "," : "", name);
	}
	fputc('\n', stderr);
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *l = json_at(list, i);
		AUTO_FREE char *path = text_clean(json_str(json_get(l, "path")));
		AUTO_FREE char *held = text_clean(json_str(json_get(l, "since")));

		if (str_eq(json_str(json_get(l, "owner")), "application") && json_i64(json_get(l, "appId"), &id) &&
		    id == app_id)
			fprintf(stderr, "  %s, held since %s\n", path, held);
	}
}

/* -1: the lock went away meanwhile. */
static int explain_locks(struct client *c)
{
	struct client_answer a;
	const struct json *list;
	int rc = client_get(c, "/v2/locks", &a);

	if (rc != 0)
		return rc;
	list = json_get(a.json, "waiting");
	rc = json_size(list) > 0 ? CLI_LOCKED : -1;
	for (size_t i = 0; i < json_size(list); i++)
		explain_lock(a.json, json_at(list, i));
	if (rc == CLI_LOCKED)
		fprintf(stderr, "The update goes on by itself when the lock is released; 'lockkeeper update --force' "
				"overrides it.\n");
	client_answer_deinit(&a);
	return rc;
}

static void write_steps(FILE *to, const struct json *steps)
{
	for (size_t i = 0; i < json_size(steps); i++) {
		AUTO_FREE char *kind = text_clean(json_str(json_get(json_at(steps, i), "kind")));

		if (!json_bool(json_get(json_at(steps, i), "inFlight")))
			continue;
		fprintf(to, "%s%s", ftell(to) ? ", " : "", kind);
		show_subject(to, json_at(steps, i));
	}
}

static void write_waits(FILE *to, const struct json *waits)
{
	for (size_t i = 0; i < json_size(waits); i++) {
		AUTO_FREE char *kind = text_clean(json_str(json_get(json_at(waits, i), "kind")));
		AUTO_FREE char *detail = text_clean(json_str_or(json_get(json_at(waits, i), "detail"), ""));

		fprintf(to, "%s%s", i ? "; " : "waiting: ", kind);
		show_subject(to, json_at(waits, i));
		fprintf(to, "%s%s", *detail ? ": " : "", detail);
	}
}

/* One line when something else is going on, or waited for, than at the look before. */
static void tell(struct waiting *w, const struct json *plan)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return;
	write_steps(to, json_get(plan, "steps"));
	if (ftell(to) == 0)
		write_waits(to, json_get(plan, "waits"));
	fclose(to);
	if (len > 0 && !str_eq(text, w->last)) {
		printf("%s\n", text);
		fflush(stdout);
		free(w->last);
		w->last = STEAL(text);
	}
}

static uint64_t number(const struct json *plan, const char *member)
{
	int64_t n = 0;

	json_i64(json_get(plan, member), &n);
	return n > 0 ? (uint64_t)n : 0;
}

static int say_unusable(const char *problem)
{
	AUTO_FREE char *clean = text_clean(problem);

	fprintf(stderr, "lockkeeper update: the target cannot be used: %s\n", clean);
	fprintf(stderr,
		"What runs stays as it is. If it is the document, 'lockkeeper check FILE' names every error.\n");
	return CLI_FAILED;
}

/* -1: not over yet; else the exit code. */
static int judge(struct waiting *w, const struct json *plan)
{
	const char *problem = json_str(json_get(plan, "targetProblem"));
	bool looking = is_wait(plan, "operation", false), blocked = !looking && is_wait(plan, "locked", true);
	bool still_blocked = blocked && w->blocked; /* seen twice: the look that just ended has had its say */

	w->blocked = blocked;
	if (number(plan, "seq") < w->seq) /* it was started anew, and counts anew */
		w->seq = number(plan, "seq");
	if (problem && !looking)
		return say_unusable(problem); /* the look brought nothing to wait for */
	if (number(plan, "settledSeq") >= w->seq) {
		printf("applied\n");
		return CLI_OK;
	}
	return still_blocked ? explain_locks(w->c) : -1;
}

/* Nobody answered a question asked at `asked_ms`, which may have taken long by itself. -1: it may come back. */
static int look_failed(struct waiting *w, int64_t asked_ms)
{
	if (!w->lost_since_ms)
		w->lost_since_ms = asked_ms;
	return loop_now_ms(client_loop(w->c)) - w->lost_since_ms < REACH_AGAIN_MS ? -1 : client_unreachable(w->c);
}

static int look(struct waiting *w)
{
	int64_t asked_ms = loop_now_ms(client_loop(w->c));
	struct client_answer a;
	int rc = client_call(w->c, "GET", "/v2/plan", NULL, 0, &a);

	if (rc != 0)
		return look_failed(w, asked_ms);
	w->lost_since_ms = 0;
	if (a.status != 200 || !a.json) {
		rc = client_refused(w->c, "/v2/plan", &a);
	} else {
		tell(w, a.json);
		rc = judge(w, a.json);
	}
	client_answer_deinit(&a);
	return rc;
}

static int wait_for(struct client *c, uint64_t seq)
{
	struct waiting w = {.c = c, .seq = seq};
	int rc;

	while ((rc = look(&w)) < 0)
		client_sleep(c, POLL_MS);
	free(w.last);
	return rc;
}

static int update(struct client *c, bool force, bool cancel, bool wait)
{
	AUTO_FREE char *body =
		mem_printf("{\"force\":%s,\"cancel\":%s}", force ? "true" : "false", cancel ? "true" : "false");
	struct client_answer a;
	uint64_t seq;
	int rc = client_call(c, "POST", "/v1/update", body, strlen(body), &a), status;

	if (rc != 0)
		return client_unreachable(c);
	seq = a.seq;
	status = a.status;
	if (status != 204)
		rc = client_refused(c, "/v1/update", &a);
	client_answer_deinit(&a);
	if (rc != 0)
		return rc;
	if (wait)
		return wait_for(c, seq);
	printf("looking for a new target; 'lockkeeper status' shows what comes of it\n");
	return CLI_OK;
}

int cli_update(int argc, char **argv)
{
	struct client_options o = {.command = "update"};
	bool force = false, cancel = false, wait = false;
	const struct args_flag flags[] = {{"--force", NULL, &force, NULL},
					  {"--cancel", NULL, &cancel, NULL},
					  {"--wait", NULL, &wait, NULL},
					  CLIENT_FLAGS(&o),
					  {0}};
	const struct args_spec spec = {"update", help, flags, 0};
	struct client *c;
	int rc = args_parse(&spec, argc, argv, NULL, NULL);

	if (rc != 0)
		return rc < 0 ? CLI_OK : rc;
	rc = client_open(&o, &c);
	if (rc == 0)
		rc = update(c, force, cancel, wait);
	client_close(c);
	return rc;
}
