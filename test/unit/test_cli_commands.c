/*
 * The sub-commands that are clients, against a real HTTP server with scripted answers in a process of its own. What is
 * asserted: what people read, and exit codes.
 */
#include "test_cli_capture.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "net/http_server.h"
#include "util/mem.h"
#include "util/str.h"

/* ---- a scripted API ---- */

struct reply {
	const char *request; /* "GET /v2/plan" with its query; for an update its body behind a blank */
	int status;
	const char *body;
};
struct api {
	struct check_fixture *f;
	pid_t pid;
	uint16_t port;
	char socket[128];
	const struct reply *script; /* replies to one request come in order, the last one again and again */
	size_t n;
	bool used[16];
	const char *key;              /* wanted; NULL: none */
	struct http_exchange *stream; /* "(stream)": an event after each answer, until the script is at its end */
};

static const struct reply *next_reply(struct api *a, const char *request)
{
	const struct reply *last = NULL;

	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->script[i].request, request))
			continue;
		last = &a->script[i];
		if (a->used[i])
			continue;
		a->used[i] = true;
		return last;
	}
	return last;
}

static void tell_of_the_next(struct api *a)
{
	for (size_t i = 0; i < a->n && a->stream; i++)
		if (!a->used[i]) {
			http_stream_write(a->stream, "id: 1\ndata: {}\n\n", 17);
			return;
		}
}

static void on_stream_gone(void *ctx)
{
	((struct api *)ctx)->stream = NULL;
}

static void begin_stream(struct api *a, struct http_exchange *x)
{
	a->stream = x;
	http_exchange_on_close(x, on_stream_gone, a);
	http_stream_begin(x, 200, "text/event-stream", NULL);
	http_stream_write(x, ": ok\n\n", 6);
}

static void on_request(void *ctx, struct http_exchange *x)
{
	static const struct http_header headers[] = {{"X-Lockkeeper-Seq", "7"}, {NULL, NULL}};
	const char *query = http_exchange_query(x), *authorization = http_exchange_header(x, "Authorization");
	size_t len;
	const char *body = http_exchange_body(x, &len);
	bool is_update = str_eq(http_exchange_path(x), "/v1/update");
	AUTO_FREE char *request =
		mem_printf("%s %s%s%s%s%.*s", http_exchange_method(x), http_exchange_path(x), *query ? "?" : "", query,
			   is_update ? " " : "", is_update ? (int)len : 0, body);
	struct api *a = ctx;
	AUTO_FREE char *wanted = a->key ? mem_printf("Bearer %s", a->key) : NULL;
	const struct reply *r = next_reply(a, request);

	if (wanted && !str_eq(authorization, wanted))
		http_respond(x, 401, "text/plain", "Unauthorized", 12, NULL);
	else if (!r)
		http_respond(x, 404, "text/plain", request, strlen(request), NULL);
	else if (!r->body)
		http_respond(x, r->status, NULL, NULL, 0, headers);
	else if (!strcmp(r->body, "(stream)"))
		begin_stream(a, x);
	else if (!strcmp(r->body, "(echo)"))
		http_respond(x, r->status, "application/json", body, len, NULL);
	else
		http_respond(x, r->status, "application/json", r->body, strlen(r->body), NULL);
	if (r && r->body && strcmp(r->body, "(stream)"))
		tell_of_the_next(a);
}

static void serve(struct api *a, int ready)
{
	struct loop *l = loop_new();
	struct http_server *s = http_server_new(l, NULL, on_request, a);
	struct err err = {0};
	uint16_t port;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGSEGV, SIG_DFL); /* not cmocka's: this process is no test */
	if (http_server_listen_tcp(s, "127.0.0.1", 0, &port, &err) < 0 ||
	    http_server_listen_unix(s, a->socket, &err) < 0 || write(ready, &port, sizeof(port)) != sizeof(port))
		_exit(1);
	loop_run(l);
	_exit(1);
}

static void play(struct api *a, const struct reply *script, size_t n, const char *key)
{
	int ready[2];

	assert_int_equal(a->pid, 0);
	a->script = script;
	a->n = n;
	a->key = key;
	snprintf(a->socket, sizeof(a->socket), "%s/api.sock", a->f->dir);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	fflush(NULL);
	a->pid = fork();
	if (a->pid == 0)
		serve(a, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &a->port, sizeof(a->port)), sizeof(a->port));
	close(ready[0]);
}
#define PLAY(a, script, key) play(a, script, ARRAY_LEN(script), key)

/* `arguments` with --api (over TCP) in front of the others. */
static int ask(struct api *a, int (*command)(int argc, char **argv), const char *name, const char *arguments)
{
	char words[1024];

	snprintf(words, sizeof(words), "%s --api http://127.0.0.1:%u %s", name, a->port, arguments);
	return run_command(command, words);
}

static int setup(void **state)
{
	static const char *const variables[] = {"BALENA_SUPERVISOR_ADDRESS", "BALENA_SUPERVISOR_API_KEY",
						"STATE_DIRECTORY", "LISTEN_PORT"};
	struct api *a = calloc(1, sizeof(*a));

	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		unsetenv(variables[i]);
	setenv("http_proxy", "http://127.0.0.1:1", 1); /* must not be used */
	assert_int_equal(check_setup(state), 0);
	a->f = *state;
	*state = a;
	return 0;
}

static int teardown(void **state)
{
	struct api *a = *state;

	if (a->pid) {
		kill(a->pid, SIGKILL);
		waitpid(a->pid, NULL, 0);
	}
	*state = a->f;
	free(a);
	return check_teardown(state);
}

/* ---- finding the supervisor ---- */

static const struct reply no_locks[] = {{"GET /v2/locks", 200, "{\"override\":false,\"locks\":[],\"waiting\":[]}"},
					{"GET /v1/healthy", 200, "OK"}};

static void flags_say_where_the_api_is_and_with_which_key(void **state)
{
	struct api *a = *state;
	char words[256];

	PLAY(a, no_locks, "k1");
	assert_int_equal(ask(a, cli_locks, "locks", "--key k1"), 0);
	assert_string_equal(got.out, "no update locks\n");
	assert_string_equal(got.err, "");
	snprintf(words, sizeof(words), "locks --api=unix:%s --key=k1 --json", a->socket);
	assert_int_equal(run_command(cli_locks, words), 0);
	assert_string_equal(got.out, "{\"override\":false,\"locks\":[],\"waiting\":[]}\n");
}

static void the_environment_of_a_service_says_where_the_api_is(void **state)
{
	struct api *a = *state;
	char address[64];

	PLAY(a, no_locks, "k2");
	snprintf(address, sizeof(address), "http://127.0.0.1:%u", a->port);
	setenv("BALENA_SUPERVISOR_ADDRESS", address, 1);
	setenv("BALENA_SUPERVISOR_API_KEY", "k2", 1);
	assert_int_equal(run_command(cli_locks, "locks"), 0);
}

static void the_state_directory_says_where_the_api_is_unless_the_environment_does(void **state)
{
	struct api *a = *state;
	char words[256], address[160];

	PLAY(a, no_locks, "k3");
	snprintf(address, sizeof(address), "unix:%s\n", a->socket);
	check_write_file(a->f->dir_fd, "api-address", address);
	check_write_file(a->f->dir_fd, "api-key", "k3\n");
	setenv("STATE_DIRECTORY", a->f->dir, 1);
	assert_int_equal(run_command(cli_locks, "locks"), 0);
	setenv("BALENA_SUPERVISOR_ADDRESS", "http://127.0.0.1:1", 1);
	assert_int_equal(run_command(cli_locks, "locks"), CLI_UNREACHABLE);
	ASSERT_SAYS(got.err, "BALENA_SUPERVISOR_ADDRESS");
	snprintf(words, sizeof(words), "locks --state %s", a->f->dir); /* a flag wins */
	assert_int_equal(run_command(cli_locks, words), 0);
}

static void a_variable_that_says_nothing_counts_as_not_set(void **state)
{
	static const char *const nothing[] = {"", "null", "undefined"};
	struct api *a = *state;
	char address[160];

	PLAY(a, no_locks, "k3");
	snprintf(address, sizeof(address), "unix:%s\n", a->socket);
	check_write_file(a->f->dir_fd, "api-address", address);
	check_write_file(a->f->dir_fd, "api-key", "k3\n");
	for (size_t i = 0; i < ARRAY_LEN(nothing); i++) {
		setenv("BALENA_SUPERVISOR_ADDRESS", nothing[i], 1);
		setenv("BALENA_SUPERVISOR_API_KEY", nothing[i], 1);
		setenv("STATE_DIRECTORY", a->f->dir, 1);
		assert_int_equal(run_command(cli_locks, "locks"), 0);
		setenv("STATE_DIRECTORY", nothing[i], 1);
		assert_int_equal(run_command(cli_locks, "locks"), CLI_UNREACHABLE);
		ASSERT_SAYS(got.err, "/var/lib/lockkeeper/api-address");
	}
}

static void without_any_address_it_says_where_it_looked(void **state)
{
	struct api *a = *state;
	char words[256];

	snprintf(words, sizeof(words), "locks --state %s", a->f->dir);
	assert_int_equal(run_command(cli_locks, words), CLI_UNREACHABLE);
	ASSERT_SAYS(got.err, "/api-address: No such file or directory");
	ASSERT_SAYS(got.err, "Is 'lockkeeper run' running");
	check_write_file(a->f->dir_fd, "api-address", "\n");
	assert_int_equal(run_command(cli_locks, words), CLI_UNREACHABLE);
	ASSERT_SAYS(got.err, "/api-address is empty");
}

static void nobody_listening_is_3_for_every_client(void **state)
{
	static const struct {
		int (*command)(int argc, char **argv);
		const char *name;
	} rows[] = {{cli_status, "status"},
		    {cli_locks, "locks"},
		    {cli_plan, "plan"},
		    {cli_update, "update"},
		    {cli_health, "health"}};
	char words[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(words, sizeof(words), "%s --api http://127.0.0.1:1 --key k", rows[i].name);
		assert_int_equal(run_command(rows[i].command, words), CLI_UNREACHABLE);
		ASSERT_SAYS(got.err, "cannot reach the supervisor at http://127.0.0.1:1 (from --api)");
		snprintf(words, sizeof(words), "%s --api unix:/nonexistent/sock --key k", rows[i].name);
		assert_int_equal(run_command(rows[i].command, words), CLI_UNREACHABLE);
		assert_string_equal(got.out, "");
	}
}

static void bad_usage_is_2_with_a_hint(void **state)
{
	static const struct {
		int (*command)(int argc, char **argv);
		const char *words, *says;
	} rows[] = {
		{cli_status, "status --jsom", "did you mean '--json'?"},
		{cli_status, "status x", "'x' is one argument too many"},
		{cli_locks, "locks --json=1", "--json takes no value"},
		{cli_plan, "plan a b", "'b' is one argument too many"},
		{cli_update, "update --api", "--api needs a value: --api URL"},
		{cli_update, "update --api ftp://x", "expected unix:/PATH or http://HOST:PORT"},
		{cli_health, "health --api unix:relative", "expected unix:/PATH or http://HOST:PORT"},
		{cli_check, "check", "which file?"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(run_command(rows[i].command, rows[i].words), CLI_USAGE);
		ASSERT_SAYS(got.err, rows[i].says);
		ASSERT_SAYS(got.err, "--help'.");
	}
}

static void help_is_on_standard_output_with_examples(void **state)
{
	static const struct {
		int (*command)(int argc, char **argv);
		const char *words;
	} rows[] = {{cli_check, "check --help"}, {cli_status, "status --help"}, {cli_locks, "locks -h"},
		    {cli_plan, "plan --help"},   {cli_update, "update --help"}, {cli_health, "health --help"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(run_command(rows[i].command, rows[i].words), CLI_OK);
		ASSERT_SAYS(got.out, "Exit code: 0 ");
		ASSERT_SAYS(got.out, "Example");
		assert_string_equal(got.err, "");
	}
}

static void a_refused_key_is_1_and_says_where_it_came_from(void **state)
{
	struct api *a = *state;
	char words[256];

	PLAY(a, no_locks, "right");
	assert_int_equal(ask(a, cli_locks, "locks", "--key wrong"), CLI_FAILED);
	ASSERT_SAYS(got.err, "does not accept this API key (from --key)");
	snprintf(words, sizeof(words), "--state %s", a->f->dir);
	assert_int_equal(ask(a, cli_locks, "locks", words), CLI_FAILED);
	ASSERT_SAYS(got.err, "wants an API key and none was found");
	ASSERT_SAYS(got.err, "/api-key");
	assert_int_equal(ask(a, cli_plan, "plan", "--key right"), CLI_FAILED);
	ASSERT_SAYS(got.err, "has no /v2/plan: is it lockkeeper?");
}

/* ---- health ---- */

static void health_is_quiet_when_all_is_well(void **state)
{
	struct api *a = *state;
	char port[16];

	PLAY(a, no_locks, NULL);
	assert_int_equal(ask(a, cli_health, "health", ""), CLI_OK);
	assert_string_equal(got.out, "");
	assert_string_equal(got.err, "");
	snprintf(port, sizeof(port), "%u", a->port);
	setenv("LISTEN_PORT", port, 1);
	setenv("STATE_DIRECTORY", a->f->dir, 1); /* nothing in it */
	assert_int_equal(run_command(cli_health, "health"), CLI_OK);
}

static void health_is_1_when_the_supervisor_says_so(void **state)
{
	static const struct reply script[] = {{"GET /v1/healthy", 500, "Unhealthy"}};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_health, "health", ""), CLI_FAILED);
	ASSERT_SAYS(got.err, "not healthy");
}

/* ---- status ---- */

#define STATUS                                                                                                         \
	"{\"status\":\"success\",\"appState\":\"applying\",\"containers\":["                                           \
	"{\"status\":\"Running\",\"serviceName\":\"main\",\"appId\":1,\"containerId\":\"0123456789abcdef\","           \
	"\"createdAt\":\"2020-01-02T03:04:05.678Z\"},"                                                                 \
	"{\"status\":\"exited\",\"serviceName\":\"old\",\"appId\":1,\"containerId\":\"c2\",\"createdAt\":null},"       \
	"{\"status\":\"Running\",\"serviceName\":\"alien\",\"appId\":9,\"containerId\":\"c3\",\"createdAt\":null}],"   \
	"\"images\":[],\"overallDownloadProgress\":null,\"releases\":[{\"appId\":1,\"release\":\"aaa\"}],"             \
	"\"targetProblem\":\"apps: \\u001b[2Jexpected an object\",\"foreign\":[9]}"

static const struct reply status_script[] = {
	{"GET /v2/state/status?apps=all", 200, STATUS},
	{"GET /v2/applications/state", 200,
	 "{\"shop\":{\"appId\":1,\"commit\":\"bbb\",\"updateStatus\":\"downloading\",\"services\":{"
	 "\"main\":{\"status\":\"Downloading\",\"image\":\"reg/main:2\",\"downloadProgress\":41},"
	 "\"db\":{\"image\":\"reg/db:1\",\"downloadProgress\":null}}}}"},
	{"GET /v2/plan", 200,
	 "{\"seq\":1,\"settledSeq\":0,\"steps\":[{\"kind\":\"pull\",\"appId\":1,\"serviceName\":\"main\","
	 "\"image\":\"reg/main:2\",\"reason\":\"new image\",\"inFlight\":true},{\"kind\":\"stop\",\"appId\":1,"
	 "\"serviceName\":\"later\",\"reason\":\"\",\"inFlight\":false}],\"waits\":[{\"kind\":\"pulling\",\"appId\":1,"
	 "\"since\":\"2020-01-02T03:04:05.678Z\",\"detail\":\"the images of the release\"}]}"},
};

static void status_shows_services_steps_waits_and_problems(void **state)
{
	static const char *const lines[] = {
		"state: applying\n",
		"target: apps: ?[2Jexpected an object\n",
		"shop (app 1), release bbb, downloading\n",
		"before: release aaa\n",
		"SERVICE  STATE",
		"  main     Running           ",
		"container 0123456789ab\n",
		"Downloading 41 %",
		"  db       not here yet",
		"  old      exited",
		"not in the target\n",
		"app 9, foreign: never in a target of ours, left alone",
		"  alien    Running",
		"doing\n  pull main (app 1): new image\n",
		"waiting for\n  pulling app 1, for ",
		": the images of the release\n",
	};
	struct api *a = *state;

	PLAY(a, status_script, NULL);
	assert_int_equal(ask(a, cli_status, "status", ""), CLI_OK);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		ASSERT_SAYS(got.out, lines[i]);
	assert_null(strstr(got.out, "later"));
	assert_null(strstr(got.out, "\033"));
	assert_int_equal(ask(a, cli_status, "status", "--json"), CLI_OK);
	assert_string_equal(got.out, STATUS "\n");
}

static void status_of_an_empty_device_says_so(void **state)
{
	static const struct reply script[] = {
		{"GET /v2/state/status?apps=all", 200,
		 "{\"status\":\"success\",\"appState\":\"applied\",\"containers\":[],\"images\":[]}"},
		{"GET /v2/applications/state", 200, "{}"},
		{"GET /v2/plan", 200, "{\"seq\":0,\"settledSeq\":0,\"steps\":[],\"waits\":[]}"},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_status, "status", ""), CLI_OK);
	assert_string_equal(got.out, "state: applied\nno apps\n");
}

/* ---- locks ---- */

#define LOCK(age)                                                                                                      \
	"{\"override\":false,\"locks\":[{\"appId\":1,\"appUuid\":\"u\",\"serviceName\":\"main\","                      \
	"\"path\":\"/locks/1/main/updates.lock\",\"kind\":\"file\",\"owner\":\"application\",\"uid\":0,"               \
	"\"since\":\"2020-01-02T03:04:05.678Z\",\"ageMs\":" age "}],\"waiting\":[{\"appId\":1,"                        \
	"\"serviceNames\":[\"main\",\"db\"],\"since\":\"2020-01-02T03:04:05.678Z\",\"action\":\"update\"}]}"

static void locks_show_whose_they_are_and_who_waits(void **state)
{
	static const struct reply script[] = {{"GET /v2/locks", 200, LOCK("5")}};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_locks, "locks", ""), CLI_OK);
	ASSERT_SAYS(got.out, "APP  SERVICE  OWNER        KIND  AGE ");
	ASSERT_SAYS(got.out, "1    main     application  file  ");
	ASSERT_SAYS(got.out, "  -\n  /locks/1/main/updates.lock\n");
	assert_null(strstr(got.out, "reason"));
	ASSERT_SAYS(got.out, "\nwaiting\n  update of app 1, for ");
	ASSERT_SAYS(got.out, ": locked by main, db\n");
}

#define WIDE_LOCK                                                                                                      \
	"{\"appId\":1234567,\"path\":\"/tmp/balena-supervisor/services/1234567/a-service/resin-updates.lock\","        \
	"\"kind\":\"directory\",\"owner\":\"application\",\"since\":\"2020-01-02T03:04:05.678Z\","
#define LONG_REASON                                                                                                    \
	"copying one two three four five six seven eight nine ten eleven twelve thirteen fourteen \\u00e4 fifteen"

static void locks_show_their_holders_and_reasons_within_a_hundred_columns(void **state)
{
	static const char known[] = WIDE_LOCK "\"serviceName\":\"a-service\",\"pid\":1234567,\"stale\":false,"
					      "\"command\":\"fifteen-letters\",\"reason\":\"" LONG_REASON "\"}";
	static const char stale[] = WIDE_LOCK "\"serviceName\":\"a-service\",\"pid\":null,\"stale\":true,"
					      "\"command\":null,\"reason\":\"a\\u001b[2J\"}";
	static const char unknown[] = WIDE_LOCK "\"serviceName\":null,\"pid\":null,\"stale\":null,"
						"\"command\":null,\"reason\":null}";
	AUTO_FREE char *body =
		mem_printf("{\"override\":true,\"locks\":[%s,%s,%s],\"waiting\":[]}", known, stale, unknown);
	const struct reply script[] = {{"GET /v2/locks", 200, body}};
	struct api *a = *state;
	size_t width;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_locks, "locks", ""), CLI_OK);
	ASSERT_SAYS(got.out, "overridden: the device's configuration lets no lock hold back an update\n\nAPP ");
	ASSERT_SAYS(got.out, "  fifteen-letters (1234567)\n  /tmp/balena-supervisor/services/1234567/a-service/");
	ASSERT_SAYS(got.out, "\n  reason: copying one two three four five six seven eight nine ten eleven twelve "
			     "thirteen …\n");
	ASSERT_SAYS(got.out, "  nobody (stale)\n");
	ASSERT_SAYS(got.out, "\n  reason: a?[2J\n");
	ASSERT_SAYS(got.out, "\n1234567  -          application  directory  ");
	for (const char *line = got.out; *line; line += width + 1) {
		width = strcspn(line, "\n");
		assert_true(width <= 100);
	}
}

static void read_line_of(FILE *from, char *to, size_t size)
{
	assert_non_null(fgets(to, (int)size, from));
}

#define NO_LOCKS "{\"override\":false,\"locks\":[],\"waiting\":[]}"

/* One lock, then none, each once; then it ends, because nobody reads it any more. */
static void watch(struct api *a, bool by_socket)
{
	char line[4096], words[512];
	char *argv[ARGS_MAX];
	int to[2], argc, status;
	pid_t pid;
	FILE *from;

	if (by_socket)
		snprintf(words, sizeof(words), "locks --watch --json --api unix:%s", a->socket);
	else
		snprintf(words, sizeof(words), "locks --watch --json --api http://127.0.0.1:%u", a->port);
	argc = split_arguments(words, argv);
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(to[1], STDOUT_FILENO);
		close(to[1]);
		close(to[0]);
		_exit(cli_locks(argc, argv));
	}
	close(to[1]);
	from = fdopen(to[0], "r");
	read_line_of(from, line, sizeof(line));
	assert_string_equal(line, LOCK("5") "\n");
	read_line_of(from, line, sizeof(line));
	assert_string_equal(line, NO_LOCKS "\n");
	fclose(from); /* nothing happens any more: it has to notice by itself */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void watch_prints_one_document_a_line_when_more_than_the_age_changed(void **state)
{
	static const struct reply script[] = {
		{"GET /v2/events", 200, "(stream)"},
		{"GET /v2/locks", 200, LOCK("5")},
		{"GET /v2/locks", 200, LOCK("1005")},
		{"GET /v2/locks", 200, NO_LOCKS},
	};
	PLAY(*state, script, NULL);
	watch(*state, false);
}

static void watch_follows_over_a_socket(void **state)
{
	static const struct reply script[] = {
		{"GET /v2/events", 200, "(stream)"},
		{"GET /v2/locks", 200, LOCK("5")},
		{"GET /v2/locks", 200, NO_LOCKS},
	};
	PLAY(*state, script, NULL);
	watch(*state, true);
}

static void watch_looks_again_now_and_then_where_there_are_no_events(void **state)
{
	static const struct reply script[] = {
		{"GET /v2/events", 503, "{}"},
		{"GET /v2/locks", 200, LOCK("5")},
		{"GET /v2/locks", 200, NO_LOCKS},
	};
	PLAY(*state, script, NULL);
	watch(*state, false);
}

static void watch_looks_again_when_the_supervisor_is_too_busy_for_a_moment(void **state)
{
	static const struct reply script[] = {
		{"GET /v2/events", 200, "(stream)"},
		{"GET /v2/locks", 200, LOCK("5")},
		{"GET /v2/locks", 503, "too many connections"},
		{"GET /v2/locks", 200, NO_LOCKS},
	};

	PLAY(*state, script, NULL);
	watch(*state, false);
}

static void watch_ends_when_the_first_look_fails(void **state)
{
	struct api *a = *state;

	PLAY(a, no_locks, "k1");
	assert_int_equal(ask(a, cli_locks, "locks", "--watch --key k2"), CLI_FAILED);
	ASSERT_SAYS(got.err, "does not accept this API key");
	assert_int_equal(run_command(cli_locks, "locks --watch --key k --api http://127.0.0.1:1"), CLI_UNREACHABLE);
	assert_int_equal(run_command(cli_plan, "plan --watch --key k --api http://127.0.0.1:1 file"), CLI_USAGE);
}

/* ---- plan ---- */

static void plan_shows_steps_with_reasons_and_differences(void **state)
{
	static const struct reply script[] = {
		{"GET /v2/plan", 200,
		 "{\"seq\":1,\"settledSeq\":0,\"steps\":[{\"kind\":\"stop\",\"appId\":1,\"serviceName\":\"main\","
		 "\"name\":\"main_1\",\"reason\":\"image changed\",\"changes\":[{\"field\":\"image\","
		 "\"current\":\"a\",\"target\":\"b\"},{\"field\":\"tty\",\"current\":null,\"target\":\"true\"}],"
		 "\"inFlight\":true},{\"kind\":\"remove_image\",\"appId\":null,\"image\":\"x\",\"reason\":\"unused\","
		 "\"inFlight\":false}],\"waits\":[]}"},
		{"GET /v2/plan", 200, "{\"seq\":1,\"settledSeq\":1,\"steps\":[],\"waits\":[]}"},
		{"GET /v2/plan", 200,
		 "{\"seq\":1,\"settledSeq\":0,\"steps\":[],\"waits\":[{\"kind\":\"locked\",\"appId\":1,"
		 "\"serviceName\":\"main\",\"since\":\"2020-01-02T03:04:05.678Z\",\"until\":\"2999-01-01T00:00:00Z\","
		 "\"detail\":\"d\"}],\"engineProblem\":\"gone\"}"},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_plan, "plan", ""), CLI_OK);
	assert_string_equal(got.out, "steps\n"
				     "  stop main (app 1) main_1: image changed (under way)\n"
				     "      image: a -> b\n"
				     "      tty: (none) -> true\n"
				     "  remove_image x: unused\n");
	assert_int_equal(ask(a, cli_plan, "plan", ""), CLI_OK);
	assert_string_equal(got.out, "nothing to do\n");
	assert_int_equal(ask(a, cli_plan, "plan", ""), CLI_OK);
	ASSERT_SAYS(got.out, "engine: gone\nno step now\nwaiting for\n  locked main (app 1), for ");
	ASSERT_SAYS(got.out, " to go: d\n");
}

static void plan_for_a_file_sends_it_and_tells_every_error(void **state)
{
	static const struct reply script[] = {
		{"POST /v2/plan", 200, "(echo)"},
		{"POST /v2/plan", 400,
		 "{\"status\":\"failed\",\"message\":\"apps: no\",\"errors\":[{\"path\":\"apps\",\"message\":\"no\"},"
		 "{\"path\":\"\",\"message\":\"whole\"}]}"},
		{"POST /v2/plan", 401, "{\"status\":\"failed\",\"message\":\"Unauthorized\"}"},
	};
	struct api *a = *state;
	char words[256], wanted[512];

	PLAY(a, script, NULL);
	check_write_file(a->f->dir_fd, "t.json", "{\"steps\":[],\"waits\":[]}");
	snprintf(words, sizeof(words), "--json --key k %s/t.json", a->f->dir);
	assert_int_equal(ask(a, cli_plan, "plan", words), CLI_OK);
	assert_string_equal(got.out, "{\"steps\":[],\"waits\":[]}\n");
	assert_int_equal(ask(a, cli_plan, "plan", words), CLI_FAILED);
	snprintf(wanted, sizeof(wanted), "%s/t.json: apps: no\n%s/t.json: whole\n", a->f->dir, a->f->dir);
	assert_string_equal(got.err, wanted);
	assert_int_equal(ask(a, cli_plan, "plan", words), CLI_FAILED);
	ASSERT_SAYS(got.err, "does not accept this API key (from --key) for POST /v2/plan");
	snprintf(words, sizeof(words), "%s/none.json", a->f->dir);
	assert_int_equal(ask(a, cli_plan, "plan", words), CLI_FAILED);
	ASSERT_SAYS(got.err, "none.json: No such file or directory");
}

/* ---- update ---- */

#define UPDATE "POST /v1/update {\"force\":false,\"cancel\":false}"
#define LOOKING                                                                                                        \
	"{\"kind\":\"operation\",\"since\":\"2020-01-02T03:04:05.678Z\",\"detail\":\"looking for a new target\"}"
#define LOCKED                                                                                                         \
	"{\"kind\":\"locked\",\"appId\":1,\"serviceName\":\"main\",\"since\":\"2020-01-02T03:04:05.678Z\","            \
	"\"detail\":\"d\"}"
#define PLAN(settled, waits) "{\"seq\":7,\"settledSeq\":" settled ",\"steps\":[],\"waits\":[" waits "]}"

static void update_asks_and_does_not_wait(void **state)
{
	static const struct reply script[] = {{UPDATE, 204, NULL}};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_update, "update", ""), CLI_OK);
	ASSERT_SAYS(got.out, "looking for a new target");
}

static void update_sends_force_and_cancel(void **state)
{
	static const struct reply script[] = {
		{"POST /v1/update {\"force\":false,\"cancel\":false}", 503, "{\"message\":\"plain\"}"},
		{"POST /v1/update {\"force\":true,\"cancel\":false}", 503, "{\"message\":\"forced\"}"},
		{"POST /v1/update {\"force\":true,\"cancel\":true}", 503, "{\"message\":\"both\"}"},
	};
	static const char *const rows[][2] = {{"", "plain"}, {"--force", "forced"}, {"--cancel --force", "both"}};
	struct api *a = *state;
	char wanted[64];

	PLAY(a, script, NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask(a, cli_update, "update", rows[i][0]), CLI_FAILED);
		snprintf(wanted, sizeof(wanted), "the supervisor answered 503: %s", rows[i][1]);
		ASSERT_SAYS(got.err, wanted);
	}
}

static void waiting_ends_when_the_number_is_settled(void **state)
{
	static const struct reply script[] = {
		{UPDATE, 204, NULL},
		{"GET /v2/plan", 200, PLAN("6", LOOKING)},
		{"GET /v2/plan", 200,
		 "{\"seq\":7,\"settledSeq\":6,\"steps\":[{\"kind\":\"pull\",\"appId\":1,\"serviceName\":\"main\","
		 "\"inFlight\":true}],\"waits\":[]}"},
		{"GET /v2/plan", 200, PLAN("7", "")},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_update, "update", "--wait"), CLI_OK);
	assert_string_equal(got.out, "waiting: operation: looking for a new target\npull main (app 1)\napplied\n");
}

static void waiting_ends_with_75_when_a_lock_is_in_the_way(void **state)
{
	static const struct reply script[] = {
		{UPDATE, 204, NULL},
		{"GET /v2/plan", 200, PLAN("6", LOCKED "," LOOKING)}, /* of before: the look may change it */
		{"GET /v2/plan", 200, PLAN("6", LOCKED)},
		{"GET /v2/locks", 200, LOCK("5")},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_update, "update", "--wait"), CLI_LOCKED);
	ASSERT_SAYS(got.err, "app 1 waits since 2020-01-02T03:04:05.678Z for the update lock of main, db\n");
	ASSERT_SAYS(got.err, "  /locks/1/main/updates.lock, held since 2020-01-02T03:04:05.678Z\n");
	ASSERT_SAYS(got.err, "'lockkeeper update --force' overrides it");
}

static void a_lock_that_goes_away_meanwhile_does_not_end_the_wait(void **state)
{
	static const struct reply script[] = {
		{UPDATE, 204, NULL},
		{"GET /v2/plan", 200, PLAN("6", LOCKED)},
		{"GET /v2/plan", 200, PLAN("6", LOCKED)},
		{"GET /v2/plan", 200, PLAN("7", "")},
		{"GET /v2/locks", 200, "{\"override\":false,\"locks\":[],\"waiting\":[]}"},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_update, "update", "--wait"), CLI_OK);
}

static void a_refused_document_is_no_success_and_nothing_to_wait_for(void **state)
{
	static const struct reply script[] = {
		{UPDATE, 204, NULL},
		{"GET /v2/plan", 200,
		 "{\"seq\":7,\"settledSeq\":6,\"steps\":[],\"waits\":[" LOOKING "],\"targetProblem\":\"an old one\"}"},
		{"GET /v2/plan", 200,
		 "{\"seq\":7,\"settledSeq\":6,\"steps\":[],\"waits\":[],\"targetProblem\":\"apps: expected an "
		 "object\"}"},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_update, "update", "--wait"), CLI_FAILED);
	ASSERT_SAYS(got.err, "the target cannot be used: apps: expected an object");
}

static void a_supervisor_that_counts_anew_is_waited_for_by_its_own_count(void **state)
{
	static const struct reply script[] = {
		{UPDATE, 204, NULL},
		{"GET /v2/plan", 200, "{\"seq\":2,\"settledSeq\":1,\"steps\":[],\"waits\":[]}"},
		{"GET /v2/plan", 200, "{\"seq\":2,\"settledSeq\":2,\"steps\":[],\"waits\":[]}"},
	};
	struct api *a = *state;

	PLAY(a, script, NULL);
	assert_int_equal(ask(a, cli_update, "update", "--wait"), CLI_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(flags_say_where_the_api_is_and_with_which_key),
		TEST(the_environment_of_a_service_says_where_the_api_is),
		TEST(the_state_directory_says_where_the_api_is_unless_the_environment_does),
		TEST(a_variable_that_says_nothing_counts_as_not_set),
		TEST(without_any_address_it_says_where_it_looked),
		TEST(nobody_listening_is_3_for_every_client),
		TEST(bad_usage_is_2_with_a_hint),
		TEST(help_is_on_standard_output_with_examples),
		TEST(a_refused_key_is_1_and_says_where_it_came_from),
		TEST(health_is_quiet_when_all_is_well),
		TEST(health_is_1_when_the_supervisor_says_so),
		TEST(status_shows_services_steps_waits_and_problems),
		TEST(status_of_an_empty_device_says_so),
		TEST(locks_show_whose_they_are_and_who_waits),
		TEST(locks_show_their_holders_and_reasons_within_a_hundred_columns),
		TEST(watch_prints_one_document_a_line_when_more_than_the_age_changed),
		TEST(watch_follows_over_a_socket),
		TEST(watch_looks_again_now_and_then_where_there_are_no_events),
		TEST(watch_looks_again_when_the_supervisor_is_too_busy_for_a_moment),
		TEST(watch_ends_when_the_first_look_fails),
		TEST(plan_shows_steps_with_reasons_and_differences),
		TEST(plan_for_a_file_sends_it_and_tells_every_error),
		TEST(update_asks_and_does_not_wait),
		TEST(update_sends_force_and_cancel),
		TEST(waiting_ends_when_the_number_is_settled),
		TEST(waiting_ends_with_75_when_a_lock_is_in_the_way),
		TEST(a_lock_that_goes_away_meanwhile_does_not_end_the_wait),
		TEST(a_refused_document_is_no_success_and_nothing_to_wait_for),
		TEST(a_supervisor_that_counts_anew_is_waited_for_by_its_own_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
