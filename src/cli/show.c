/* Fetch, print, watch; see show.h. */
#include "cli/show.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/feed.h"
#include "cli/text.h"
#include "loop/hangup.h"
#include "loop/loop.h"
#include "util/mem.h"
#include "util/str.h"

#define WATCH_INTERVAL_MS 1000 /* a screen is drawn anew; a look that failed is tried again */

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
		} else if (a->status >= 500 || a->status == 429) { /* too busy, or restarting: it will be over */
			client_note_busy(c, s->paths[i], a->status);
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
	bool screen;       /* a terminal for people: drawn anew every second, so that ages go on */
	bool out_of_reach; /* and said so */
	bool tick, gone;   /* the timer fired; nobody reads us any more */
	struct feed feed;
	struct loop_timer timer;
	struct look look; /* the last one that succeeded */
};

static void draw(const struct show *s, bool json, bool colours, struct watch *w)
{
	if (w->screen)
		fputs("\033[H\033[2J", stdout);
	else if (w->last && !json)
		putchar('\n');
	print(s, &w->look, json, colours);
}

static void draw_if_new(const struct show *s, bool json, bool colours, struct watch *w)
{
	AUTO_FREE char *now = fingerprint(&w->look);

	w->out_of_reach = false;
	if (!w->screen && str_eq(w->last, now))
		return;
	draw(s, json, colours, w);
	free(w->last);
	w->last = STEAL(now);
}

/* It may be restarting: say so once and go on looking. */
static void note_out_of_reach(const struct client *c, struct watch *w)
{
	if (!w->out_of_reach)
		fprintf(stderr, "%s; looking again\n", client_problem(c));
	w->out_of_reach = true;
}

static void on_tick(void *ctx)
{
	((struct watch *)ctx)->tick = true;
}

static void on_gone(void *ctx)
{
	((struct watch *)ctx)->gone = true;
}

/* A look, and what it shows. Events that come while it is under way make one more. Returns an exit code. */
static int look_again(struct client *c, const struct show *s, bool json, bool colours, bool first, struct watch *w)
{
	struct look l;
	int rc;

	w->feed.changed = w->feed.failed = false;
	rc = look_at(c, s, json, !first, &l);
	if (rc == 0) {
		look_deinit(&w->look);
		w->look = l;
		draw_if_new(s, json, colours, w);
		return 0;
	}
	look_deinit(&l);
	if (first || !l.unreachable)
		return rc;
	note_out_of_reach(c, w);
	loop_timer_start(&w->timer, WATCH_INTERVAL_MS); /* the feed may not have noticed */
	return 0;
}

static int watch_on(struct client *c, const struct show *s, bool json, bool colours, struct watch *w)
{
	int rc;

	while (!w->feed.changed && !w->feed.failed) /* first the feed: what changes after the first look is told */
		loop_run_once(client_loop(c), true);
	rc = look_again(c, s, json, colours, true, w);
	while (rc == 0 && fflush(stdout) == 0 && !ferror(stdout)) { /* whoever read us is gone */
		if (w->screen && !loop_timer_active(&w->timer))
			loop_timer_start(&w->timer, WATCH_INTERVAL_MS);
		while (!w->feed.changed && !w->feed.failed && !w->tick && !w->gone)
			loop_run_once(client_loop(c), true);
		if (w->gone)
			break;
		if (w->feed.changed || (w->tick && w->out_of_reach && w->feed.open)) {
			rc = look_again(c, s, json, colours, false, w);
		} else if (w->feed.failed) {
			w->feed.failed = false;
			note_out_of_reach(c, w);
		} else if (w->screen && !w->out_of_reach) {
			draw(s, json, colours, w);
		}
		w->tick = false;
	}
	return rc;
}

static int watch_run(struct client *c, const struct show *s, bool json, bool colours)
{
	struct watch w = {.screen = !json && colours};
	struct loop_hangup *hangup = loop_hangup_new(client_loop(c), STDOUT_FILENO, on_gone, &w);
	int rc;

	loop_timer_init(client_loop(c), &w.timer, on_tick, &w);
	feed_start(&w.feed, c);
	rc = watch_on(c, s, json, colours, &w);
	feed_stop(&w.feed);
	loop_hangup_free(hangup);
	w.tick = false;
	loop_timer_deinit(&w.timer, on_tick, &w);
	while (!w.tick)
		loop_run_once(client_loop(c), true);
	look_deinit(&w.look);
	free(w.last);
	return rc;
}

int show_run(struct client *c, const struct show *s, bool json, bool watch)
{
	bool colours = text_wants_colours(STDOUT_FILENO);
	struct look l;
	int rc;

	if (watch)
		return watch_run(c, s, json, colours);
	rc = look_at(c, s, json, false, &l);
	if (rc == 0)
		print(s, &l, json, colours);
	look_deinit(&l);
	return rc;
}
