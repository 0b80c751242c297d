/*
 * `lockkeeper locks`: who holds which update lock, since when, and who waits because of it. What has a width of its own
 * (the path, the reason) stands below the row of its lock, so that a narrow terminal does.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/args.h"
#include "cli/show.h"
#include "cli/text.h"
#include "util/mem.h"
#include "util/str.h"

#define REASON_CHARACTERS_MAX 80

static const char help[] =
	"lockkeeper locks [--json] [--watch]\n"
	"\n"
	"Shows every update lock on this device: whose it is, for how long, its path on the host, and which\n"
	"updates wait because of it. While an application holds one, no service of its app is stopped; the\n"
	"update goes on the moment the file is gone. 'lockkeeper update --force' overrides it.\n"
	"\n"
	"HOLDER is the process (its pid on the host) that has the file open, locked it with flock, or wrote\n"
	"its pid into it; '-' when that cannot be known. 'nobody (stale)': that process is dead, or the\n"
	"service has no running container. A stale lock counts all the same until somebody removes it.\n"
	"\n"
	"  --json         print the API's body (GET /v2/locks)\n"
	"  --watch        go on, and show every change as it happens; with --json one document a line\n"
	"\n" CLIENT_HELP "\n"
	"Exit code: 0 shown, 1 refused, 2 bad usage, 3 no supervisor found.\n"
	"\n"
	"Examples:\n"
	"  lockkeeper locks\n"
	"  lockkeeper locks --json | jq '.locks[] | select(.owner == \"application\")'\n";

static void add_holder(struct table *t, const struct json *l)
{
	const char *command = json_str(json_get(l, "command"));
	AUTO_FREE char *holder = NULL;
	int64_t pid;

	if (json_bool(json_get(l, "stale"))) {
		table_add(t, TEXT_BAD, "nobody (stale)");
	} else if (json_i64(json_get(l, "pid"), &pid)) {
		holder = mem_printf("%s (%" PRId64 ")", command ? command : "?", pid);
		table_add(t, TEXT_PLAIN, holder);
	} else {
		table_add(t, TEXT_DIM, NULL);
	}
}

static void add_lock(struct table *t, const struct json *l)
{
	bool ours = str_eq(json_str(json_get(l, "owner")), "supervisor");
	char app[24] = "-", span[TEXT_SPAN_SIZE];
	int64_t id;

	if (json_i64(json_get(l, "appId"), &id))
		snprintf(app, sizeof(app), "%" PRId64, id);
	table_add(t, TEXT_PLAIN, app);
	table_add(t, TEXT_BOLD, json_str(json_get(l, "serviceName")));
	table_add(t, ours ? TEXT_DIM : TEXT_BUSY, json_str(json_get(l, "owner")));
	table_add(t, TEXT_PLAIN, json_str(json_get(l, "kind")));
	table_add(t, TEXT_PLAIN, text_ago(json_str(json_get(l, "since")), span));
	add_holder(t, l);
}

/* Bytes of the first `max` characters. */
static int cut(const char *s, int max)
{
	int n = 0;

	for (; s[n]; n++)
		if (((unsigned char)s[n] & 0xc0) != 0x80 && max-- == 0)
			break;
	return n;
}

static void show_details(FILE *to, bool colours, const struct json *l)
{
	AUTO_FREE char *path = text_clean(json_str(json_get(l, "path")));
	AUTO_FREE char *reason = text_clean(json_str(json_get(l, "reason")));
	int n = cut(reason, REASON_CHARACTERS_MAX);

	fprintf(to, "  %s%s%s\n", text_on(colours, TEXT_DIM), path, text_off(colours, TEXT_DIM));
	if (json_str(json_get(l, "reason")))
		fprintf(to, "  reason: %.*s%s\n", n, reason, reason[n] ? "…" : "");
}

/* The columns of all rows are as wide as the widest, so the table is made whole and then taken apart. */
static void show_locks(FILE *to, bool colours, const struct json *locks)
{
	static const char *const heads[] = {"APP", "SERVICE", "OWNER", "KIND", "AGE", "HOLDER"};
	char *text = NULL, *line, *save = NULL;
	size_t size;
	struct table t;
	FILE *memory = open_memstream(&text, &size);

	if (!memory)
		abort();
	table_init(&t, ARRAY_LEN(heads));
	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		table_add(&t, TEXT_DIM, heads[i]);
	for (size_t i = 0; i < json_size(locks); i++)
		add_lock(&t, json_at(locks, i));
	table_print(&t, memory, "", colours);
	table_deinit(&t);
	fclose(memory);
	line = strtok_r(text, "\n", &save);
	fprintf(to, "%s\n", line);
	for (size_t i = 0; i < json_size(locks) && (line = strtok_r(NULL, "\n", &save)); i++) {
		fprintf(to, "%s\n", line);
		show_details(to, colours, json_at(locks, i));
	}
	free(text);
}

static void show_waiting(FILE *to, const struct json *w)
{
	const struct json *names = json_get(w, "serviceNames");
	AUTO_FREE char *action = text_clean(json_str(json_get(w, "action")));
	char span[TEXT_SPAN_SIZE];
	int64_t id = 0;

	json_i64(json_get(w, "appId"), &id);
	fprintf(to, "  %s of app %" PRId64 ", for %s: locked by", action, id,
		text_ago(json_str(json_get(w, "since")), span));
	for (size_t i = 0; i < json_size(names); i++) {
		AUTO_FREE char *name = text_clean(json_str(json_at(names, i)));

		fprintf(to, "%s %s", i ? "," : "", name);
	}
	fputc('\n', to);
}

static void render(FILE *to, bool colours, const struct json *const *documents)
{
	const struct json *locks = json_get(documents[0], "locks"), *waiting = json_get(documents[0], "waiting");

	if (json_bool(json_get(documents[0], "override")))
		fprintf(to, "%soverridden: the device's configuration lets no lock hold back an update%s\n\n",
			text_on(colours, TEXT_BAD), text_off(colours, TEXT_BAD));
	if (json_size(locks) == 0)
		fprintf(to, "no update locks\n");
	else
		show_locks(to, colours, locks);
	if (json_size(waiting) > 0)
		fprintf(to, "\n%swaiting%s\n", text_on(colours, TEXT_BOLD), text_off(colours, TEXT_BOLD));
	for (size_t i = 0; i < json_size(waiting); i++)
		show_waiting(to, json_at(waiting, i));
}

int cli_locks(int argc, char **argv)
{
	static const struct show show = {.paths = {"/v2/locks"}, .n_paths = 1, .render = render};
	struct client_options o = {.command = "locks"};
	bool json = false, watch = false;
	const struct args_flag flags[] = {
		{"--json", NULL, &json, NULL}, {"--watch", NULL, &watch, NULL}, CLIENT_FLAGS(&o), {0}};
	const struct args_spec spec = {"locks", help, flags, 0};
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
