/* Fetch, print, watch; see show.h. */
#include "cli/show.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text.h"
#include "loop/loop.h"
#include "util/mem.h"
#include "util/str.h"

#define WATCH_INTERVAL_MS 1000

/* ---- for people ---- */

void show_subject(FILE *to, const struct json *v)
{
	AUTO_FREE char *service = text_clean(json_str_or(json_get(v, "serviceName"), ""));
	int64_t app_id = 0;
	bool has_app = json_i64(json_get(v, "appId"), &app_id) && app_id;

	if (*service && has_app)
		fprintf(to, " %s (app %" PRId64 ")", service, app_id);
	else if (*service)
		fprintf(to, " %s", service);
	else if (has_app)
		fprintf(to, " app %" PRId64, app_id);
}

static void show_wait(FILE *to, bool colours, const struct json *wait)
{
	AUTO_FREE char *kind = text_clean(json_str(json_get(wait, "kind")));
	AUTO_FREE char *detail = text_clean(json_str_or(json_get(wait, "detail"), ""));
	const char *since = json_str(json_get(wait, "since")), *until = json_str(json_get(wait, "until"));
	char span[TEXT_SPAN_SIZE];
	int64_t until_ms;

	fprintf(to, "  %s%s%s", text_on(colours, TEXT_BUSY), kind, text_off(colours, TEXT_BUSY));
	show_subject(to, wait);
	if (since)
		fprintf(to, ", for %s", text_ago(since, span));
	if (until && str_parse_time(until, &until_ms))
		fprintf(to, ", %s to go", text_span(until_ms - loop_wall_ms(), span));
	fprintf(to, "%s%s\n", *detail ? ": " : "", detail);
}

void show_waits(FILE *to, bool colours, const struct json *waits)
{
	if (json_size(waits) == 0)
		return;
	fprintf(to, "%swaiting for%s\n", text_on(colours, TEXT_BOLD), text_off(colours, TEXT_BOLD));
	for (size_t i = 0; i < json_size(waits); i++)
		show_wait(to, colours, json_at(waits, i));
}

void show_problems(FILE *to, bool colours, const struct json *document)
{
	static const char *const members[][2] = {{"engineProblem", "engine"}, {"targetProblem", "target"}};

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const char *sentence = json_str(json_get(document, members[i][0]));
		AUTO_FREE char *clean = text_clean(sentence);

		if (sentence)
			fprintf(to, "%s%s: %s%s\n", text_on(colours, TEXT_BAD), members[i][1], clean,
				text_off(colours, TEXT_BAD));
	}
}

/* ---- one look ---- */

struct look {
	struct client_answer answers[SHOW_DOCUMENTS_MAX];
	bool unreachable;
};

static int look_at(struct client *c, const struct show *s, bool json, bool quiet, struct look *l)
{
	int rc = 0;

	*l = (struct look){0};
	for (size_t i = 0; rc == 0 && i < (json ? 1 : s->n_paths); i++) {
		struct client_answer *a = &l->answers[i];

		if (!quiet) {
			rc = client_get(c, s->paths[i], a);
		} else if (client_call(c, "GET", s->paths[i], NULL, 0, a) != 0) {
			l->unreachable = true;
			rc = CLI_UNREACHABLE;
		} else if (a->status != 200 || !a->json) {
			rc = client_refused(c, s->paths[i], a);
		}
	}
	return rc;
}

static void look_deinit(struct look *l)
{
	for (size_t i = 0; i < SHOW_DOCUMENTS_MAX; i++)
		client_answer_deinit(&l->answers[i]);
}

/* All documents as one text, without what changes by the mere passing of time. */
static char *fingerprint(const struct look *l)
{
	static const char age[] = "\"ageMs\":";
	struct buf b;

	buf_init(&b, SHOW_DOCUMENTS_MAX * (CLIENT_ANSWER_MAX_BYTES + 1u));
	for (size_t i = 0; i < SHOW_DOCUMENTS_MAX; i++) {
		const char *p = l->answers[i].text ? l->answers[i].text : "", *found;

		for (; (found = strstr(p, age)); p = found) {
			found += sizeof(age) - 1;
			buf_add(&b, p, (size_t)(found - p));
			while (isdigit((unsigned char)*found))
				found++;
		}
		buf_adds(&b, p);
	}
	return buf_steal(&b);
}

static void print(const struct show *s, const struct look *l, bool json, bool colours)
{
	const struct json *documents[SHOW_DOCUMENTS_MAX];

	if (json) {
		printf("%s\n", l->answers[0].text);
		return;
	}
	for (size_t i = 0; i < SHOW_DOCUMENTS_MAX; i++)
		documents[i] = l->answers[i].json;
	s->render(stdout, colours, documents);
}

/* ---- again and again ---- */

struct watch {
	char *last;        /* fingerprint of what was printed */
	bool screen;       /* a terminal for people: redrawn at every look, so that ages go on */
	bool out_of_reach; /* and said so */
};

static void print_if_new(const struct show *s, const struct look *l, bool json, bool colours, struct watch *w)
{
	AUTO_FREE char *now = fingerprint(l);

	w->out_of_reach = false;
	if (!w->screen && str_eq(w->last, now))
		return;
	if (w->screen)
		fputs("\033[H\033[2J", stdout);
	else if (w->last && !json)
		putchar('\n');
	print(s, l, json, colours);
	free(w->last);
	w->last = STEAL(now);
}

/* It may be restarting: say so once and look again. */
static void note_out_of_reach(const struct client *c, struct watch *w)
{
	if (!w->out_of_reach)
		fprintf(stderr, "%s; looking again\n", client_problem(c));
	w->out_of_reach = true;
}

int show_run(struct client *c, const struct show *s, bool json, bool watch)
{
	bool colours = text_wants_colours(STDOUT_FILENO);
	struct watch w = {.screen = !json && colours};
	struct look l;
	int rc = look_at(c, s, json, false, &l);

	if (rc == 0 && !watch)
		print(s, &l, json, colours);
	while (rc == 0 && watch) {
		if (l.unreachable)
			note_out_of_reach(c, &w);
		else
			print_if_new(s, &l, json, colours, &w);
		if (fflush(stdout) != 0)
			break; /* whoever read us is gone */
		client_sleep(c, WATCH_INTERVAL_MS);
		look_deinit(&l);
		rc = look_at(c, s, json, true, &l);
		if (l.unreachable)
			rc = 0;
	}
	look_deinit(&l);
	free(w.last);
	return rc;
}
