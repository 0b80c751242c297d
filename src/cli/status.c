/*
 * `lockkeeper status`: services, releases, what is going on and what is waited for. Three documents of the API in one
 * page: who runs, what each app is up to, and the plan.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/args.h"
#include "cli/show.h"
#include "cli/text.h"
#include "util/mem.h"
#include "util/str.h"

static const char help[] =
	"lockkeeper status [--json] [--watch]\n"
	"\n"
	"Shows what runs on this device, which release each app is at, what is being done right now, and\n"
	"what is waited for and why.\n"
	"\n"
	"  --json         print the API's body (GET /v2/state/status, all apps) instead of a table\n"
	"  --watch        go on, and show every change as it happens; with --json one document a line\n"
	"\n" CLIENT_HELP "\n"
	"Exit code: 0 shown (also while something waits), 1 refused, 2 bad usage, 3 no supervisor found.\n"
	"\n"
	"Examples:\n"
	"  lockkeeper status\n"
	"  lockkeeper status --watch\n"
	"  lockkeeper status --json | jq -r '.containers[] | \"\\(.serviceName) \\(.status)\"'\n";

struct page {
	FILE *to;
	bool colours;
	const struct json *status, *apps, *plan;
};

static enum text_style state_style(const char *state)
{
	if (str_eq(state, "Running"))
		return TEXT_GOOD;
	if (str_eq(state, "exited") || str_eq(state, "Dead"))
		return TEXT_BAD;
	return TEXT_BUSY;
}

static bool is_app(const struct json *v, int64_t app_id)
{
	int64_t id;

	return json_i64(json_get(v, "appId"), &id) && id == app_id;
}

static void add_row(struct table *t, const char *service, const char *state, const char *since, const char *note)
{
	char span[TEXT_SPAN_SIZE];

	table_add(t, TEXT_PLAIN, service);
	table_add(t, state_style(state), state);
	table_add(t, TEXT_DIM, since ? text_ago(since, span) : "-");
	table_add(t, TEXT_DIM, note);
}

/* Containers of one app; several of a service while a release replaces another. */
static size_t add_containers(const struct page *p, int64_t app_id, const char *service, struct table *t)
{
	const struct json *containers = json_get(p->status, "containers");
	size_t found = 0;

	for (size_t i = 0; i < json_size(containers); i++) {
		const struct json *c = json_at(containers, i);
		const char *name = json_str(json_get(c, "serviceName")), *id = json_str(json_get(c, "containerId"));
		const char *own =
			json_bool(json_get(c, "supervisor")) ? ", the supervisor itself: left to the host" : "";
		AUTO_FREE char *note = mem_printf("container %.12s%s", id ? id : "-", own);

		if (!is_app(c, app_id) || (service && !str_eq(name, service)))
			continue;
		add_row(t, name, json_str(json_get(c, "status")), json_str(json_get(c, "createdAt")), note);
		found++;
	}
	return found;
}

static void add_service(const struct page *p, int64_t app_id, const char *name, const struct json *service,
			struct table *t)
{
	const char *word = json_str_or(json_get(service, "status"), "not here yet");
	int64_t percent;
	AUTO_FREE char *downloading = json_i64(json_get(service, "downloadProgress"), &percent)
					      ? mem_printf("Downloading %" PRId64 " %%", percent)
					      : NULL;
	size_t shown = add_containers(p, app_id, name, t);

	if (shown == 0)
		add_row(t, name, downloading ? downloading : word, NULL, json_str_or(json_get(service, "image"), ""));
	else if (downloading) /* the old one runs while the new one comes */
		add_row(t, "", downloading, NULL, json_str_or(json_get(service, "image"), ""));
}

static const char *settled_release(const struct page *p, int64_t app_id)
{
	const struct json *releases = json_get(p->status, "releases");

	for (size_t i = 0; i < json_size(releases); i++)
		if (is_app(json_at(releases, i), app_id))
			return json_str(json_get(json_at(releases, i), "release"));
	return NULL;
}

static void print_table(const struct page *p, struct table *t)
{
	table_print(t, p->to, "  ", p->colours);
	table_deinit(t);
}

static void start_table(struct table *t)
{
	static const char *const heads[] = {"SERVICE", "STATE", "AGE", ""};

	table_init(t, ARRAY_LEN(heads));
	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		table_add(t, TEXT_DIM, heads[i]);
}

/* Containers of services that the target does not have (any more). */
static void add_leavers(const struct page *p, int64_t app_id, const struct json *services, struct table *t)
{
	const struct json *containers = json_get(p->status, "containers");

	for (size_t i = 0; i < json_size(containers); i++) {
		const struct json *c = json_at(containers, i);
		const char *name = json_str(json_get(c, "serviceName"));

		if (is_app(c, app_id) && name && !json_get(services, name) && !json_bool(json_get(c, "supervisor")))
			add_row(t, name, json_str(json_get(c, "status")), json_str(json_get(c, "createdAt")),
				"not in the target");
	}
}

static void show_app(const struct page *p, const char *name, const struct json *app)
{
	const struct json *services = json_get(app, "services");
	AUTO_FREE char *clean = text_clean(name), *update = text_clean(json_str(json_get(app, "updateStatus")));
	AUTO_FREE char *commit = text_clean(json_str_or(json_get(app, "commit"), "none"));
	AUTO_FREE char *settled = NULL;
	struct table t;
	int64_t id = 0;

	json_i64(json_get(app, "appId"), &id);
	settled = text_clean(settled_release(p, id));
	fprintf(p->to, "\n%s%s%s (app %" PRId64 "), release %s, %s\n", text_on(p->colours, TEXT_BOLD), clean,
		text_off(p->colours, TEXT_BOLD), id, commit, update);
	if (strcmp(settled, "-") && strcmp(settled, commit))
		fprintf(p->to, "  before: release %s\n", settled);
	start_table(&t);
	for (size_t i = 0; i < json_size(services); i++)
		add_service(p, id, json_key_at(services, i), json_at(services, i), &t);
	add_leavers(p, id, services, &t);
	if (t.n > t.columns)
		print_table(p, &t);
	table_deinit(&t);
}

static bool in_target(const struct page *p, int64_t app_id)
{
	for (size_t i = 0; i < json_size(p->apps); i++)
		if (is_app(json_at(p->apps, i), app_id))
			return true;
	return false;
}

static bool listed_before(const struct json *containers, size_t i, int64_t app_id)
{
	while (i-- > 0)
		if (is_app(json_at(containers, i), app_id))
			return true;
	return false;
}

static bool is_foreign(const struct page *p, int64_t app_id)
{
	const struct json *foreign = json_get(p->status, "foreign");
	int64_t id;

	for (size_t i = 0; i < json_size(foreign); i++)
		if (json_i64(json_at(foreign, i), &id) && id == app_id)
			return true;
	return false;
}

static const char *other_word(const struct page *p, const struct json *container, int64_t app_id)
{
	if (is_foreign(p, app_id))
		return "foreign: never in a target of ours, left alone ('run --adopt' takes it over)";
	return json_bool(json_get(container, "supervisor")) ? "the supervisor's own" : "not in the target";
}

/* Apps with containers that no target names: ours and on their way out, foreign and left alone, or our own. */
static void show_others(const struct page *p)
{
	const struct json *containers = json_get(p->status, "containers");
	struct table t;
	int64_t id;

	for (size_t i = 0; i < json_size(containers); i++) {
		if (!json_i64(json_get(json_at(containers, i), "appId"), &id) || in_target(p, id) ||
		    listed_before(containers, i, id))
			continue;
		fprintf(p->to, "\n%sapp %" PRId64 "%s, %s\n", text_on(p->colours, TEXT_BOLD), id,
			text_off(p->colours, TEXT_BOLD), other_word(p, json_at(containers, i), id));
		start_table(&t);
		add_containers(p, id, NULL, &t);
		print_table(p, &t);
	}
}

static void show_doing(const struct page *p)
{
	const struct json *steps = json_get(p->plan, "steps");
	bool first = true;

	for (size_t i = 0; i < json_size(steps); i++) {
		const struct json *s = json_at(steps, i);
		AUTO_FREE char *kind = text_clean(json_str(json_get(s, "kind")));
		AUTO_FREE char *reason = text_clean(json_str_or(json_get(s, "reason"), ""));

		if (!json_bool(json_get(s, "inFlight")))
			continue;
		if (first)
			fprintf(p->to, "\n%sdoing%s\n", text_on(p->colours, TEXT_BOLD),
				text_off(p->colours, TEXT_BOLD));
		first = false;
		fprintf(p->to, "  %s", kind);
		show_subject(p->to, s);
		fprintf(p->to, "%s%s\n", *reason ? ": " : "", reason);
	}
}

static void render(FILE *to, bool colours, const struct json *const *documents)
{
	struct page p = {to, colours, documents[0], documents[1], documents[2]};
	const struct json *waits = json_get(p.plan, "waits");
	const char *state = json_str(json_get(p.status, "appState"));
	enum text_style style = str_eq(state, "applied") ? TEXT_GOOD : TEXT_BUSY;
	AUTO_FREE char *clean = text_clean(state);

	fprintf(to, "state: %s%s%s\n", text_on(colours, style), clean, text_off(colours, style));
	show_problems(to, colours, p.status);
	for (size_t i = 0; i < json_size(p.apps); i++)
		show_app(&p, json_key_at(p.apps, i), json_at(p.apps, i));
	show_others(&p);
	if (json_size(p.apps) == 0 && json_size(json_get(p.status, "containers")) == 0)
		fprintf(to, "no apps\n");
	show_doing(&p);
	if (json_size(waits) > 0)
		fputc('\n', to);
	show_waits(to, colours, waits);
}

int cli_status(int argc, char **argv)
{
	static const struct show show = {
		.paths = {"/v2/state/status?apps=all", "/v2/applications/state", "/v2/plan"},
		.n_paths = 3,
		.render = render,
	};
	struct client_options o = {.command = "status"};
	bool json = false, watch = false;
	const struct args_flag flags[] = {
		{"--json", NULL, &json, NULL}, {"--watch", NULL, &watch, NULL}, CLIENT_FLAGS(&o), {0}};
	const struct args_spec spec = {"status", help, flags, 0};
	struct client *c;
	int rc = args_parse(&spec, argc, argv, NULL, NULL);

	if (rc != 0)
		return rc < 0 ? CLI_OK : rc;
	rc = client_open(&o, &c);
	if (rc == 0)
		rc = show_run(c, &show, json, watch);
	client_close(c);
	return rc;
}
