/* `lockkeeper plan`: what would be done now, or for a document that nobody has applied yet, and why. */
#include "cli/cli.h"

#include <string.h>

#include "cli/args.h"
#include "cli/document.h"
#include "cli/show.h"
#include "cli/text.h"
#include "util/mem.h"

static const char help[] =
	"lockkeeper plan [--json] [--watch] [FILE]\n"
	"\n"
	"Shows which steps the supervisor would begin now, why, and what it waits for. With FILE (a target\n"
	"document, '-' for standard input) it shows what it would do if that were its target; this needs the\n"
	"global API key. Nothing is changed, and later steps show once the earlier ones are done.\n"
	"\n"
	"  --json         print the API's body (GET or POST /v2/plan)\n"
	"  --watch        go on, and show every change as it happens; with --json one document a line.\n"
	"                 Not with FILE\n"
	"\n" CLIENT_HELP "\n"
	"Exit code: 0 shown (also while something waits), 1 refused or FILE is not valid, 2 bad usage,\n"
	"3 no supervisor found.\n"
	"\n"
	"Examples:\n"
	"  lockkeeper plan --watch\n"
	"  lockkeeper plan new-target.json && mv new-target.json target.json\n";

static void show_change(FILE *to, const struct json *change)
{
	AUTO_FREE char *field = text_clean(json_str(json_get(change, "field")));
	AUTO_FREE char *current = text_clean(json_str_or(json_get(change, "current"), "(none)"));
	AUTO_FREE char *target = text_clean(json_str_or(json_get(change, "target"), "(none)"));

	fprintf(to, "      %s: %s -> %s\n", field, current, target);
}

static void show_step(FILE *to, bool colours, const struct json *s)
{
	AUTO_FREE char *kind = text_clean(json_str(json_get(s, "kind")));
	AUTO_FREE char *reason = text_clean(json_str_or(json_get(s, "reason"), ""));
	const char *image = json_str(json_get(s, "image")), *name = json_str(json_get(s, "name"));
	AUTO_FREE char *object = text_clean(image ? image : name ? name : "");
	const struct json *changes = json_get(s, "changes");

	fprintf(to, "  %s%s%s", text_on(colours, TEXT_GOOD), kind, text_off(colours, TEXT_GOOD));
	show_subject(to, s);
	if (*object)
		fprintf(to, " %s%s%s", text_on(colours, TEXT_DIM), object, text_off(colours, TEXT_DIM));
	fprintf(to, "%s%s%s\n", *reason ? ": " : "", reason, json_bool(json_get(s, "inFlight")) ? " (under way)" : "");
	for (size_t i = 0; i < json_size(changes); i++)
		show_change(to, json_at(changes, i));
}

static void render(FILE *to, bool colours, const struct json *const *documents)
{
	const struct json *steps = json_get(documents[0], "steps"), *waits = json_get(documents[0], "waits");

	show_problems(to, colours, documents[0]);
	if (json_size(steps) == 0)
		fprintf(to, "%s\n", json_size(waits) ? "no step now" : "nothing to do");
	else
		fprintf(to, "%ssteps%s\n", text_on(colours, TEXT_BOLD), text_off(colours, TEXT_BOLD));
	for (size_t i = 0; i < json_size(steps); i++)
		show_step(to, colours, json_at(steps, i));
	show_waits(to, colours, waits);
}

/* Errors of the document, each with its path, as `check` prints them. */
static int document_refused(const char *file, const struct client *c, const struct client_answer *a)
{
	const struct json *errors = json_get(a->json, "errors");

	if ((a->status != 400 && a->status != 413) || json_size(errors) == 0)
		return client_refused(c, "POST /v2/plan", a);
	for (size_t i = 0; i < json_size(errors); i++) {
		AUTO_FREE char *path = text_clean(json_str_or(json_get(json_at(errors, i), "path"), ""));
		AUTO_FREE char *message = text_clean(json_str(json_get(json_at(errors, i), "message")));

		fprintf(stderr, "%s: %s%s%s\n", file, path, *path ? ": " : "", message);
	}
	return CLI_FAILED;
}

static int plan_document(struct client *c, const char *file, const struct buf *text, bool json)
{
	struct client_answer a;
	int rc = client_call(c, "POST", "/v2/plan", buf_str(text), text->len, &a);
	const struct json *documents[1];

	if (rc != 0)
		return client_unreachable(c);
	documents[0] = a.json;
	if (a.status != 200 || !a.json)
		rc = document_refused(file, c, &a);
	else if (json)
		printf("%s\n", a.text);
	else
		render(stdout, text_wants_colours(STDOUT_FILENO), documents);
	client_answer_deinit(&a);
	return rc;
}

static int plan(const struct client_options *o, const char *file, bool json, bool watch)
{
	static const struct show show = {.paths = {"/v2/plan"}, .n_paths = 1, .render = render};
	struct client *c = NULL;
	struct buf text;
	int rc;

	if (file && watch)
		return args_wrong("plan", "--watch shows the plan of the target in use: it goes without FILE");
	buf_init(&text, 1);
	rc = file ? document_read("plan", file, &text) : 0;
	if (rc == 0)
		rc = client_open(o, &c);
	if (rc == 0)
		rc = file ? plan_document(c, file, &text, json) : show_run(c, &show, json, watch);
	client_close(c);
	buf_deinit(&text);
	return rc;
}

int cli_plan(int argc, char **argv)
{
	struct client_options o = {.command = "plan"};
	bool json = false, watch = false;
	const struct args_flag flags[] = {
		{"--json", NULL, &json, NULL}, {"--watch", NULL, &watch, NULL}, CLIENT_FLAGS(&o), {0}};
	const struct args_spec spec = {"plan", help, flags, 1};
	const char *file = NULL;
	size_t n;
	int rc = args_parse(&spec, argc, argv, &file, &n);

	if (rc != 0)
		return rc < 0 ? CLI_OK : rc;
	return plan(&o, n ? file : NULL, json, watch);
}
