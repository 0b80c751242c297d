/* The typed calls against a scripted engine: what is asked, what each answer means, and every way to fail. */
#include "engine_peer.h"

/* What came back, as text: each result one line. */
static struct heard {
	char text[65536];
	int calls;
} heard;

static void hear(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void hear(const char *fmt, ...)
{
	size_t at = strlen(heard.text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(heard.text + at, sizeof(heard.text) - at, fmt, ap);
	va_end(ap);
	strcat(heard.text, "\n");
	heard.calls++;
}

static bool hear_error(const struct err *err)
{
	if (err)
		hear("%s: %s", strerrorname_np(-err->code), err->msg);
	return err != NULL;
}

#define HEARD(p, n, expected)                                                                                          \
	do {                                                                                                           \
		RUN_UNTIL((p)->f->loop, heard.calls >= (n));                                                           \
		check_run_turns((p)->f->loop, 3);                                                                      \
		assert_int_equal(heard.calls, n);                                                                      \
		assert_string_equal(heard.text, expected);                                                             \
		memset(&heard, 0, sizeof(heard));                                                                      \
	} while (0)

static void on_done(void *ctx, const struct err *err)
{
	(void)ctx;
	if (!hear_error(err))
		hear("done");
}

static void on_id(void *ctx, const struct err *err, const char *id)
{
	(void)ctx;
	if (!hear_error(err))
		hear("id %s", id);
}

static void on_version(void *ctx, const struct err *err, const struct engine_version *v)
{
	(void)ctx;
	if (!hear_error(err))
		hear("api %s name %s%s", v->api, v->name, v->balena ? " balena" : "");
}

static void on_container(void *ctx, const struct err *err, struct container *c)
{
	(void)ctx;
	if (!hear_error(err))
		hear("container %s %s", c->id, c->service ? c->service : "-");
}

static void on_containers(void *ctx, const struct err *err, struct container *v, size_t n)
{
	struct strv ids = {0};

	(void)ctx;
	for (size_t i = 0; i < n; i++)
		strv_add(&ids, v[i].id);
	strv_sort(&ids);
	if (!hear_error(err)) {
		AUTO_FREE char *all = strv_join(&ids, " ");

		hear("containers %s", all);
	} else {
		assert_null(v);
		assert_int_equal(n, 0);
	}
	strv_deinit(&ids);
}

static void on_networks(void *ctx, const struct err *err, struct network *v, size_t n)
{
	(void)ctx;
	if (hear_error(err))
		return;
	hear("networks %zu", n);
	for (size_t i = 0; i < n; i++)
		hear("%s", v[i].name);
}

static void on_volumes(void *ctx, const struct err *err, struct volume *v, size_t n)
{
	(void)ctx;
	if (hear_error(err))
		return;
	hear("volumes %zu", n);
	for (size_t i = 0; i < n; i++)
		hear("%s", v[i].name);
}

static void on_images(void *ctx, const struct err *err, struct image *v, size_t n)
{
	(void)ctx;
	if (hear_error(err))
		return;
	hear("images %zu", n);
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *tags = strv_join(&v[i].tags, ","), *digests = strv_join(&v[i].digests, ",");

		hear("%s [%s] [%s]%s", v[i].id, tags, digests, v[i].has_config ? " config" : "");
	}
}

static void on_image(void *ctx, const struct err *err, struct image *i)
{
	(void)ctx;
	if (!hear_error(err))
		hear("image %s", i->id);
}

static void on_progress(void *ctx, int percent)
{
	(void)ctx;
	hear("%d %%", percent);
}

static void on_kills(void *ctx, const struct err *err, const struct engine_kill *v, size_t n)
{
	(void)ctx;
	if (hear_error(err))
		return;
	hear("kills %zu", n);
	for (size_t i = 0; i < n; i++)
		hear("%s %lld", v[i].id, (long long)v[i].at_ms);
}

/* -------- what is asked -------- */

static void every_call_asks_what_the_engine_knows(void **state)
{
	static const struct peer_answer fine[] = {{"*", 200, "{\"Id\":\"x\"}", PEER_ANSWER}, {0}};
	struct peer *p = *state;
	struct engine *e = p->engine;
	struct buf body;

	buf_init(&body, 100);
	buf_adds(&body, "{\"a\":1}");
	p->answers = fine;
	engine_container_create(e, "main_1_2_ab", &body, on_id, NULL);
	HEARD(p, 1, "id x\n");
	ASKED(p, "POST /containers/create?name=main_1_2_ab {\"a\":1}\n");
	engine_container_start(e, "id", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /containers/id/start\n");
	engine_container_stop(e, "id", 10, on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /containers/id/stop\n"); /* no t: the container's own StopTimeout */
	engine_container_remove(e, "id", false, on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "DELETE /containers/id?v=1&force=0\n");
	engine_container_remove(e, "id", true, on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "DELETE /containers/id?v=1&force=1\n");
	engine_container_rename(e, "id", "old_main", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /containers/id/rename?name=old_main\n");
	engine_network_create(e, &body, on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /networks/create {\"a\":1}\n");
	engine_network_remove(e, "n", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "DELETE /networks/n\n");
	engine_network_connect(e, "n", &body, on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /networks/n/connect {\"a\":1}\n");
	engine_volume_create(e, &body, on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /volumes/create {\"a\":1}\n");
	engine_volume_remove(e, "v", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "DELETE /volumes/v\n");
	engine_image_remove(e, "sha256:ab", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "DELETE /images/sha256%3Aab\n");
	buf_deinit(&body);
}

static void names_are_percent_encoded_in_paths_and_queries(void **state)
{
	static const struct peer_answer fine[] = {{"*", 200, "", PEER_ANSWER}, {0}};
	struct peer *p = *state;

	p->answers = fine;
	engine_image_remove(p->engine, "r.io:80/a/b:1?x=1&y#z", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "DELETE /images/r.io%3A80%2Fa%2Fb%3A1%3Fx%3D1%26y%23z\n");
	engine_container_rename(p->engine, "../x y", "a&force=1\r\n\xc3\xa9~-._", on_done, NULL);
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /containers/..%2Fx%20y/rename?name=a%26force%3D1%0D%0A%C3%A9~-._\n");
}

/* -------- what answers mean -------- */

enum about { START, STOP, REMOVE, RENAME, NET_REMOVE, NET_CONNECT, VOL_REMOVE, IMG_REMOVE };

static void ask_about(struct engine *e, enum about about)
{
	struct buf body;

	buf_init(&body, 100);
	buf_adds(&body, "{}");
	switch (about) {
	case START:
		engine_container_start(e, "c", on_done, NULL);
		break;
	case STOP:
		engine_container_stop(e, "c", -1, on_done, NULL);
		break;
	case REMOVE:
		engine_container_remove(e, "c", false, on_done, NULL);
		break;
	case RENAME:
		engine_container_rename(e, "c", "d", on_done, NULL);
		break;
	case NET_REMOVE:
		engine_network_remove(e, "n", on_done, NULL);
		break;
	case NET_CONNECT:
		engine_network_connect(e, "n", &body, on_done, NULL);
		break;
	case VOL_REMOVE:
		engine_volume_remove(e, "v", on_done, NULL);
		break;
	case IMG_REMOVE:
		engine_image_remove(e, "i", on_done, NULL);
		break;
	}
	buf_deinit(&body);
}

#define SAYS(sentence)     "{\"message\":\"" sentence "\"}"
#define CAUSE(cause, text) "{\"cause\":\"" cause "\",\"message\":\"" text "\",\"response\":500}\n"

static void statuses_mean_what_the_spec_says_and_sentences_are_kept(void **state)
{
	static const struct {
		enum about about;
		int status;
		const char *body, *heard;
	} rows[] = {
		{START, 204, NULL, "done\n"},
		{START, 304, NULL, "done\n"},
		{START, 404, SAYS("No such container: c"), "ENOENT: start container c: No such container: c\n"},
		{START, 500, SAYS("driver failed: bind: address already in use"),
		 "EIO: start container c: driver failed: bind: address already in use\n"},
		{START, 500, SAYS("write /x: no space left on device"),
		 "ENOSPC: start container c: write /x: no space left on device\n"},
		{STOP, 204, NULL, "done\n"},
		{STOP, 304, NULL, "done\n"},
		{STOP, 404, SAYS("No such container: c"), "done\n"},
		{STOP, 500, SAYS("cannot stop"), "EIO: stop container c: cannot stop\n"},
		{REMOVE, 404, SAYS("No such container: c"), "done\n"},
		{REMOVE, 409, SAYS("removal of container c is already in progress"),
		 "EBUSY: remove container c: removal of container c is already in progress\n"},
		{RENAME, 404, SAYS("No such container: c"), "ENOENT: rename container c: No such container: c\n"},
		{RENAME, 409, SAYS("Conflict. The name \\\"/d\\\" is already in use by container \\\"e\\\"."),
		 "EEXIST: rename container c: Conflict. The name \"/d\" is already in use by container \"e\".\n"},
		{RENAME, 304, NULL, "EPROTO: rename container c: status 304\n"},
		{NET_REMOVE, 404, SAYS("network n not found"), "done\n"},
		{NET_REMOVE, 403, SAYS("error while removing network: network n has active endpoints"),
		 "EBUSY: remove network n: error while removing network: network n has active endpoints\n"},
		{NET_CONNECT, 403, SAYS("not allowed"), "EPERM: connect to network n: not allowed\n"},
		{NET_CONNECT, 409, SAYS("endpoint with name c already exists in network n"),
		 "EEXIST: connect to network n: endpoint with name c already exists in network n\n"},
		{VOL_REMOVE, 404, SAYS("get v: no such volume"), "done\n"},
		{VOL_REMOVE, 409, SAYS("remove v: volume is in use - [c]"),
		 "EBUSY: remove volume v: remove v: volume is in use - [c]\n"},
		{IMG_REMOVE, 404, SAYS("No such image: i"), "done\n"},
		{IMG_REMOVE, 409, SAYS("conflict: unable to remove"),
		 "EBUSY: remove image i: conflict: unable to remove\n"},
		{START, 400, SAYS("bad parameter"), "EINVAL: start container c: bad parameter\n"},
		{START, 401, SAYS("who are you?"), "EACCES: start container c: who are you?\n"},
		/* podman says 500 and a cause */
		{RENAME, 500, CAUSE("that name is already in use", "creating storage: the name is already in use by c"),
		 "EEXIST: rename container c: creating storage: the name is already in use by c\n"},
		{NET_REMOVE, 500, CAUSE("network is being used", "n has associated containers with it"),
		 "EBUSY: remove network n: n has associated containers with it\n"},
		{REMOVE, 500, CAUSE("container state improper", "cannot remove container c as it is running"),
		 "EBUSY: remove container c: cannot remove container c as it is running\n"},
		{START, 500, CAUSE("address already in use", "cannot listen on the TCP port"),
		 "EIO: start container c: cannot listen on the TCP port\n"},
		{START, 503, "not JSON,\ntwo lines\n", "EIO: start container c: not JSON, two lines\n"},
		{START, 500, "", "EIO: start container c: status 500\n"},
		{START, 500, "[1]", "EIO: start container c: status 500\n"},
		{START, 301, "", "EPROTO: start container c: status 301\n"},
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct peer_answer answers[] = {{"*", rows[i].status, rows[i].body, PEER_ANSWER}, {0}};

		p->answers = answers;
		ask_about(p->engine, rows[i].about);
		HEARD(p, 1, rows[i].heard);
	}
}

static void a_long_sentence_is_cut_not_lost(void **state)
{
	struct peer *p = *state;
	char body[2000];
	const struct peer_answer answers[] = {{"*", 500, body, PEER_ANSWER}, {0}};

	snprintf(body, sizeof(body), "{\"message\":\"start%01000dend\"}", 0);
	p->answers = answers;
	engine_container_start(p->engine, "c", on_done, NULL);
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_true(str_starts(heard.text, "EIO: start container c: start000"));
	memset(&heard, 0, sizeof(heard));
}

static void a_create_without_an_id_is_an_error(void **state)
{
	static const struct peer_answer answers[] = {{"POST /containers/create?name=a", 201, "{}", PEER_ANSWER},
						     {"POST /containers/create?name=b", 201, "oops", PEER_ANSWER},
						     {0}};
	struct peer *p = *state;
	struct buf body;

	buf_init(&body, 100);
	buf_adds(&body, "{}");
	p->answers = answers;
	engine_container_create(p->engine, "a", &body, on_id, NULL);
	HEARD(p, 1, "EPROTO: create container a: the engine's answer has no Id\n");
	engine_container_create(p->engine, "b", &body, on_id, NULL);
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_true(str_starts(heard.text, "EPROTO: create container b: the engine's answer: "));
	memset(&heard, 0, sizeof(heard));
	buf_deinit(&body);
}

/* -------- versions -------- */

static void the_newest_version_that_both_know_is_chosen(void **state)
{
	static const struct {
		const char *body, *heard;
	} rows[] = {
		{"{\"Version\":\"20.10.24\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}",
		 "api 1.41 name 20.10.24\n"},
		{"{\"Version\":\"24\",\"ApiVersion\":\"1.43\",\"MinAPIVersion\":\"1.12\"}", "api 1.43 name 24\n"},
		{"{\"Version\":\"29\",\"ApiVersion\":\"1.52\",\"MinAPIVersion\":\"1.44\"}", "api 1.47 name 29\n"},
		{"{\"Version\":\"20.10\",\"ApiVersion\":\"1.41\",\"Engine\":\"balena-engine\"}",
		 "api 1.41 name 20.10 balena\n"},
		{"{\"ApiVersion\":\"1.47\",\"Engine\":\"moby\"}", "api 1.47 name \n"},
		{"{\"ApiVersion\":\"1.40\",\"MinAPIVersion\":\"1.12\"}",
		 "EPROTO: the engine speaks API 1.12 to 1.40, we speak 1.41 to 1.47\n"},
		{"{\"ApiVersion\":\"1.60\",\"MinAPIVersion\":\"1.48\"}",
		 "EPROTO: the engine speaks API 1.48 to 1.60, we speak 1.41 to 1.47\n"},
		{"{\"ApiVersion\":\"2.0\"}", "EPROTO: the engine tells no API version that we can read: \"2.0\"\n"},
		{"{\"ApiVersion\":\"1.4x\"}", "EPROTO: the engine tells no API version that we can read: \"1.4x\"\n"},
		{"{\"ApiVersion\":141}", "EPROTO: the engine tells no API version that we can read: \"\"\n"},
		{"{}", "EPROTO: the engine tells no API version that we can read: \"\"\n"},
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct peer_answer answers[] = {{"GET /version", 200, rows[i].body, PEER_ANSWER}, {0}};

		p->answers = answers;
		engine_negotiate(p->engine, on_version, NULL);
		HEARD(p, 1, rows[i].heard);
	}
}

static void calls_go_to_unversioned_paths_until_a_version_is_agreed(void **state)
{
	static const struct peer_answer answers[] = {
		{"GET /version", 200, "{\"ApiVersion\":\"1.43\"}", PEER_ANSWER}, {"*", 204, NULL, PEER_ANSWER}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_container_start(p->engine, "c", on_done, NULL);
	HEARD(p, 1, "done\n");
	engine_negotiate(p->engine, on_version, NULL);
	HEARD(p, 1, "api 1.43 name \n");
	engine_container_start(p->engine, "c", on_done, NULL);
	HEARD(p, 1, "done\n");
	engine_negotiate(p->engine, on_version, NULL);
	HEARD(p, 1, "api 1.43 name \n");
	ASKED(p, "POST /containers/c/start\nGET /version\nPOST /v1.43/containers/c/start\nGET /version\n");
}

/* -------- lists -------- */

#define LIST_BALENA "GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22io.balena.supervised%22%5D%7D"
#define LIST_RESIN  "GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22io.resin.supervised%22%5D%7D"

/* An inspect answer that the model can read. */
static const char *inspect_body(const char *id, const char *labels)
{
	static char body[2048];

	snprintf(body, sizeof(body),
		 "{\"Id\":\"%s\",\"Name\":\"/main_1_2_abcdef\",\"Created\":\"2026-01-02T03:04:05.678Z\",\"Image\":"
		 "\"sha256:00\",\"State\":{\"Status\":\"running\",\"Running\":true,\"ExitCode\":0,\"Error\":\"\","
		 "\"StartedAt\":\"2026-01-02T03:04:06.678Z\",\"FinishedAt\":\"0001-01-01T00:00:00Z\"},\"Config\":{"
		 "\"Hostname\":\"x\",\"User\":\"\",\"Env\":[],\"Cmd\":[\"sh\"],\"Image\":\"sha256:00\",\"WorkingDir\":"
		 "\"\","
		 "\"Labels\":{%s}},\"HostConfig\":{\"NetworkMode\":\"none\",\"RestartPolicy\":{\"Name\":\"always\","
		 "\"MaximumRetryCount\":0},\"Binds\":null,\"PortBindings\":{}},\"NetworkSettings\":{\"Networks\":{}},"
		 "\"Mounts\":[]}",
		 id, labels);
	return body;
}

#define OURS                                                                                                           \
	"\"io.balena.supervised\":\"true\",\"io.balena.app-id\":\"1\",\"io.balena.service-id\":\"3\","                 \
	"\"io.balena.service-name\":\"main\",\"io.balena.app-uuid\":\"aa\""

static void one_container_is_inspected(void **state)
{
	struct peer *p = *state;
	struct peer_answer answers[] = {{"GET /containers/c1/json", 200, NULL, PEER_ANSWER}, {0}};

	p->answers = answers;
	answers[0].body = inspect_body("c1", OURS);
	engine_container_inspect(p->engine, "c1", on_container, NULL);
	HEARD(p, 1, "container c1 main\n");
	answers[0].body = "[]";
	engine_container_inspect(p->engine, "c1", on_container, NULL);
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_non_null(strstr(heard.text, ": inspect container c1: "));
	memset(&heard, 0, sizeof(heard));
	engine_container_inspect(p->engine, "c2", on_container, NULL);
	HEARD(p, 1, "EIO: inspect container c2: not scripted\n");
}

static void containers_of_both_labels_are_listed_once_each(void **state)
{
	struct peer *p = *state;
	AUTO_FREE char *c1 = mem_strdup(inspect_body("c1", OURS)), *c2 = mem_strdup(inspect_body("c2", OURS)),
		       *c3 = mem_strdup(inspect_body("c3", OURS)), *foreign = mem_strdup(inspect_body("c6", ""));
	const struct peer_answer answers[] = {
		{LIST_BALENA, 200,
		 "[{\"Id\":\"c1\"},{\"Id\":\"c2\"},{\"Id\":\"c4\"},{\"Id\":\"c5\"},{\"Id\":\"c6\"},{}]", PEER_ANSWER},
		{LIST_RESIN, 200, "[{\"Id\":\"c2\"},{\"Id\":\"c3\"},{\"Id\":\"c7\"}]", PEER_ANSWER},
		{"GET /containers/c1/json", 200, c1, PEER_ANSWER},
		{"GET /containers/c2/json", 200, c2, PEER_ANSWER},
		{"GET /containers/c3/json", 200, c3, PEER_ANSWER},
		{"GET /containers/c4/json", 404, "{\"message\":\"vanished\"}", PEER_ANSWER},
		{"GET /containers/c5/json", 200, "[\"not a container\"]", PEER_ANSWER},
		{"GET /containers/c6/json", 200, foreign, PEER_ANSWER}, /* labelled once, not of our form */
		{"GET /containers/c7/json", 500, "{\"message\":\"RWLayer is unexpectedly nil\"}", PEER_ANSWER},
		{0},
	};

	p->answers = answers;
	engine_containers_list(p->engine, on_containers, NULL);
	HEARD(p, 1, "containers c1 c2 c3\n");
	assert_null(strstr(strstr(p->asked, "c2/json") + 1, "c2/json")); /* c2 was inspected once */
}

static void no_containers_is_an_empty_list(void **state)
{
	static const struct peer_answer answers[] = {{"*", 200, "[]", PEER_ANSWER}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_containers_list(p->engine, on_containers, NULL);
	HEARD(p, 1, "containers \n");
}

static void a_list_inspects_eight_at_a_time(void **state)
{
	struct peer *p = *state;
	struct buf list;
	struct peer_answer answers[] = {{LIST_BALENA, 200, NULL, PEER_ANSWER},
					{LIST_RESIN, 200, "[]", PEER_ANSWER},
					{"GET /containers/*", 200, NULL, PEER_HOLD},
					{0}};

	buf_init(&list, 4096);
	for (int i = 0; i < 20; i++)
		buf_printf(&list, "%s{\"Id\":\"c%d\"}", i ? "," : "[", i);
	buf_adds(&list, "]");
	answers[0].body = buf_str(&list);
	p->answers = answers;
	engine_containers_list(p->engine, on_containers, NULL);
	for (int i = 0; i < 20; i++) {
		const char *body = inspect_body(i % 2 ? "odd" : "even", OURS);
		size_t expected = 20 - i < 8 ? (size_t)(20 - i) : 8;

		RUN_UNTIL(p->f->loop, p->n_held == expected);
		http_respond(peer_take(p), 200, "application/json", body, strlen(body), NULL);
	}
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_int_equal(p->held_most, 8);
	assert_int_equal(strlen(heard.text), strlen("containers\n") + 10 * strlen(" odd even"));
	memset(&heard, 0, sizeof(heard));
	buf_deinit(&list);
}

static void an_engine_that_dies_within_a_list_fails_the_list(void **state)
{
	struct peer *p = *state;
	const struct peer_answer answers[] = {{LIST_BALENA, 200, "[{\"Id\":\"c1\"},{\"Id\":\"c2\"}]", PEER_ANSWER},
					      {LIST_RESIN, 200, "[]", PEER_ANSWER},
					      {"GET /containers/*", 200, NULL, PEER_HOLD},
					      {0}};

	p->answers = answers;
	engine_containers_list(p->engine, on_containers, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 2);
	peer_die(p);
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_true(str_starts(heard.text, "EHOSTDOWN: the engine is away: "));
	memset(&heard, 0, sizeof(heard));
}

static void a_list_that_is_no_array_is_an_error(void **state)
{
	static const struct peer_answer answers[] = {{"*", 200, "{\"Volumes\":5}", PEER_ANSWER}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_containers_list(p->engine, on_containers, NULL);
	HEARD(p, 1, "EPROTO: list containers: expected an array, got object\n");
	engine_networks_list(p->engine, on_networks, NULL);
	HEARD(p, 1, "EPROTO: list networks: expected an array, got object\n");
	engine_volumes_list(p->engine, on_volumes, NULL);
	HEARD(p, 1, "EPROTO: list volumes: expected an array, got number\n");
	engine_images_list(p->engine, on_images, NULL);
	HEARD(p, 1, "EPROTO: list images: expected an array, got object\n");
}

#define NETWORK(name, labels)                                                                                          \
	"{\"Name\":\"" name "\",\"Id\":\"n\",\"Driver\":\"bridge\",\"EnableIPv6\":false,\"Internal\":false,"           \
	"\"IPAM\":{\"Driver\":\"default\",\"Options\":{},\"Config\":[]},\"Options\":{},\"Labels\":{" labels "}}"

static void supervised_networks_and_the_supervisors_own_are_listed(void **state)
{
	static const struct peer_answer answers[] = {
		{"GET /networks", 200,
		 "[" NETWORK("bridge", "") ",5," NETWORK("aa_default", "\"io.balena.supervised\":\"true\"") "," NETWORK(
			 "supervisor0", "") "," NETWORK("supervisor00", "") "]",
		 PEER_ANSWER},
		{0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_networks_list(p->engine, on_networks, NULL);
	HEARD(p, 3, "networks 2\naa_default\nsupervisor0\n");
}

static void volumes_are_listed_and_null_is_none(void **state)
{
	struct peer *p = *state;
	struct peer_answer answers[] = {{"GET /volumes", 200, "{\"Volumes\":null,\"Warnings\":null}", PEER_ANSWER},
					{0}};

	p->answers = answers;
	engine_volumes_list(p->engine, on_volumes, NULL);
	HEARD(p, 1, "volumes 0\n");
	answers[0].body =
		"{\"Volumes\":[{\"Name\":\"1_data\",\"Driver\":\"local\",\"Labels\":{\"io.balena.supervised\":"
		"\"true\"},\"Options\":null},7,{\"Name\":\"x\",\"Driver\":\"local\",\"Labels\":null,"
		"\"Options\":{}}]}";
	engine_volumes_list(p->engine, on_volumes, NULL);
	HEARD(p, 3, "volumes 2\n1_data\nx\n");
}

static void images_are_listed_with_tags_and_digests(void **state)
{
	static const struct peer_answer answers[] = {
		{"GET /images/json", 200,
		 "[{\"Id\":\"sha256:a\",\"RepoTags\":[\"a:1\",\"a:2\"],\"RepoDigests\":[\"a@sha256:d\"]},"
		 "{\"Id\":\"sha256:b\",\"RepoTags\":null,\"RepoDigests\":null},"
		 "{\"Id\":\"sha256:c\",\"RepoTags\":[\"<none>:<none>\"],\"RepoDigests\":[\"<none>@<none>\"]},{\"Id\":5}"
		 ","
		 "{\"Id\":\"sha256:d\",\"RepoTags\":[\"r/a@sha256:e\",\"r/a:1\"],\"RepoDigests\":[\"r/a@sha256:e\"]}]",
		 PEER_ANSWER},
		{0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_images_list(p->engine, on_images, NULL);
	HEARD(p, 5,
	      "images 4\nsha256:a [a:1,a:2] [a@sha256:d]\nsha256:b [] []\nsha256:c [] []\n"
	      "sha256:d [r/a:1] [r/a@sha256:e]\n");
	engine_image_inspect(p->engine, "a:1", on_image, NULL);
	HEARD(p, 1, "EIO: inspect image a:1: not scripted\n");
}

/* -------- pulls -------- */

#define PULL "POST /images/create?fromImage=r.io%2Fa&tag=1"

static void a_pull_reports_progress_and_ends(void **state)
{
	static const struct peer_answer answers[] = {{PULL, 200, NULL, PEER_STREAM}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_image_pull(p->engine, "r.io/a:1", "e30=", on_progress, on_done, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 1);
	assert_string_equal(http_exchange_header(p->held[0]->x, "X-Registry-Auth"), "e30=");
	peer_say(p, "{\"status\":\"Pulling from "
		    "a\",\"id\":\"1\"}\r\n{\"status\":\"Downloading\",\"progressDetail\":{\"cur");
	HEARD(p, 1, "0 %\n");
	peer_say(p, "rent\":1000000,\"total\":2000000},\"id\":\"l\"}\r\n");
	HEARD(p, 1, "25 %\n");
	peer_say(p,
		 "{\"status\":\"Waiting\",\"id\":\"m\"}\r\n{\"status\":\"Status: Downloaded newer image for a\"}\r\n");
	http_stream_end(peer_take(p));
	HEARD(p, 2, "100 %\ndone\n");
	ASKED(p, PULL "\n");
}

static void a_digest_is_pulled_as_tag_and_no_auth_is_no_header(void **state)
{
	static const struct peer_answer answers[] = {{"*", 200, NULL, PEER_STREAM}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_image_pull(p->engine, "a@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", NULL,
			  NULL, on_done, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 1);
	assert_null(http_exchange_header(p->held[0]->x, "X-Registry-Auth"));
	http_stream_end(peer_take(p));
	HEARD(p, 1, "done\n");
	ASKED(p, "POST /images/create?fromImage=a&tag=sha256%3A00112233445566778899aabbccddeeff00112233445566778899"
		 "aabbccddeeff\n");
}

static void a_failure_inside_the_200_stream_fails_the_pull(void **state)
{
	static const struct peer_answer answers[] = {
		{PULL, 200,
		 "{\"status\":\"Pulling from a\"}\n{\"errorDetail\":{\"message\":\"manifest for r.io/a:1 not found\"},"
		 "\"error\":\"manifest for r.io/a:1 not found\"}\n{\"status\":\"Status: Downloaded newer image\"}\n",
		 PEER_STREAM},
		{0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_image_pull(p->engine, "r.io/a:1", NULL, on_progress, on_done, NULL);
	HEARD(p, 2, "0 %\nENOENT: manifest for r.io/a:1 not found\n");
}

static void a_refused_pull_keeps_the_sentence(void **state)
{
	struct peer *p = *state;
	struct peer_answer answers[] = {{PULL, 404, "{\"message\":\"pull access denied for a\"}", PEER_ANSWER}, {0}};

	p->answers = answers;
	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	HEARD(p, 1, "EACCES: pull access denied for a\n");
	answers[0] =
		(struct peer_answer){PULL, 500, "{\"message\":\"Get https://r.io/v2/: no such host\"}", PEER_ANSWER};
	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	HEARD(p, 1, "EIO: Get https://r.io/v2/: no such host\n");
	answers[0] = (struct peer_answer){PULL, 304, NULL, PEER_ANSWER};
	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	HEARD(p, 1, "EPROTO: status 304\n");
}

static void a_pull_that_is_cut_or_broken_is_no_success(void **state)
{
	static const struct peer_answer answers[] = {{PULL, 200, "{\"status\":\"Wai", PEER_STREAM}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 1);
	http_stream_abort(peer_take(p));
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_true(str_starts(heard.text, "EHOSTDOWN: the engine is away: "));
	memset(&heard, 0, sizeof(heard));

	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 1);
	http_stream_end(peer_take(p));
	HEARD(p, 1, "EPROTO: the pull's answer ends within a message\n");

	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 1);
	peer_say(p, "\n{}\n");
	HEARD(p, 1, "EPROTO: a message of the pull is not a JSON object\n");
}

static void a_pull_message_over_a_mebibyte_is_an_error(void **state)
{
	static const struct peer_answer answers[] = {{PULL, 200, "{\"x\":\"", PEER_STREAM}, {0}};
	struct peer *p = *state;
	AUTO_FREE char *x = mem_new(1, 100001);

	memset(x, 'x', 100000);
	p->answers = answers;
	engine_image_pull(p->engine, "r.io/a:1", NULL, NULL, on_done, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 1);
	for (int i = 0; i < 11; i++) {
		peer_say(p, x);
		check_run_turns(p->f->loop, 10);
	}
	assert_int_equal(heard.calls, 0);
	peer_say(p, "\"}\n");
	HEARD(p, 1, "EPROTO: a message of the pull is larger than 1048576 bytes\n");
}

static struct http_call *to_cancel;

static void on_progress_cancel(void *ctx, int percent)
{
	(void)ctx;
	(void)percent;
	http_call_cancel(to_cancel);
}

static void a_pull_can_be_cancelled_even_from_its_progress(void **state)
{
	static const struct peer_answer answers[] = {
		{PULL, 200, "{\"status\":\"a\"}\n{\"error\":\"b\"}\n", PEER_STREAM}, {0}};
	struct peer *p = *state;

	p->answers = answers;
	to_cancel = engine_image_pull(p->engine, "r.io/a:1", NULL, on_progress_cancel, on_done, NULL);
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_true(str_starts(heard.text, "ECANCELED: "));
	check_run_turns(p->f->loop, 3);
	assert_int_equal(heard.calls, 1);
	memset(&heard, 0, sizeof(heard));
}

/* -------- past kills -------- */

static void kills_of_the_past_are_read_from_the_event_buffer(void **state)
{
	static const struct peer_answer answers[] = {
		{"GET /events?since=1700000000.005&until=*", 200,
		 "{\"Type\":\"container\",\"Action\":\"kill\",\"Actor\":{\"ID\":\"a\"},\"timeNano\":"
		 "1700000001000000000}\n"
		 "broken\n{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"a\"},\"time\":1}\n"
		 "{\"Type\":\"container\",\"Action\":\"kill\",\"Actor\":{\"ID\":\"b\"},\"time\":1700000002}\n",
		 PEER_ANSWER},
		{0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_kills_since(p->engine, INT64_C(1700000000005), on_kills, NULL);
	HEARD(p, 3, "kills 2\na 1700000001000\nb 1700000002000\n");
	assert_non_null(strstr(p->asked, "&filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22kill%22"
					 "%5D%7D\n"));
}

static void only_the_latest_kills_are_kept(void **state)
{
	struct peer *p = *state;
	struct buf body;
	struct peer_answer answers[] = {{"*", 200, NULL, PEER_ANSWER}, {0}};

	buf_init(&body, 1 << 20);
	for (int i = 0; i < 1025; i++)
		buf_printf(&body,
			   "{\"Type\":\"container\",\"Action\":\"kill\",\"Actor\":{\"ID\":\"k%d\"},\"time\":1}\n", i);
	answers[0].body = buf_str(&body);
	p->answers = answers;
	engine_kills_since(p->engine, 0, on_kills, NULL);
	RUN_UNTIL(p->f->loop, heard.calls == 1025);
	assert_true(str_starts(heard.text, "kills 1024\nk1 1000\n"));
	memset(&heard, 0, sizeof(heard));
	buf_deinit(&body);
}

/* -------- an engine that is away, and the end -------- */

static void without_an_engine_every_call_says_that_it_is_away(void **state)
{
	struct peer *p = *state;
	char expected[400];

	peer_die(p);
	engine_container_start(p->engine, "c", on_done, NULL);
	assert_int_equal(heard.calls, 0); /* never before the start function returned */
	snprintf(expected, sizeof(expected),
		 "EHOSTDOWN: the engine is away: connect to %s: No such file or directory\n", p->socket);
	HEARD(p, 1, expected);
	engine_images_list(p->engine, on_images, NULL);
	HEARD(p, 1, expected);
	engine_containers_list(p->engine, on_containers, NULL);
	HEARD(p, 1, expected);
	engine_image_pull(p->engine, "a:1", NULL, NULL, on_done, NULL);
	HEARD(p, 1, expected);
	engine_kills_since(p->engine, 0, on_kills, NULL);
	HEARD(p, 1, expected);
	engine_negotiate(p->engine, on_version, NULL);
	HEARD(p, 1, expected);
}

static void an_answer_over_the_limit_is_an_error(void **state)
{
	struct peer *p = *state;
	size_t len = (16u << 20) + 1;
	AUTO_FREE char *body = mem_new(1, len + 1);
	struct peer_answer answers[] = {{"*", 200, body, PEER_ANSWER}, {0}};

	memset(body, ' ', len);
	body[0] = '[';
	body[len - 2] = ']';
	body[len - 1] = '\0'; /* exactly the limit */
	p->answers = answers;
	engine_images_list(p->engine, on_images, NULL);
	HEARD(p, 1, "images 0\n");
	body[len - 1] = ' ';
	engine_images_list(p->engine, on_images, NULL);
	RUN_UNTIL(p->f->loop, heard.calls == 1);
	assert_true(str_starts(heard.text, "EMSGSIZE: list images: the engine's answer: "));
	memset(&heard, 0, sizeof(heard));
}

static void stop_ends_every_call_once(void **state)
{
	static const struct peer_answer answers[] = {{"GET /events*", 200, "{", PEER_STREAM},
						     {"POST /images/*", 200, "{", PEER_STREAM},
						     {"*", 200, NULL, PEER_HOLD},
						     {0}};
	struct peer *p = *state;

	p->answers = answers;
	engine_container_start(p->engine, "c", on_done, NULL);
	engine_containers_list(p->engine, on_containers, NULL);
	engine_image_pull(p->engine, "a:1", NULL, on_progress, on_done, NULL);
	engine_kills_since(p->engine, 0, on_kills, NULL);
	RUN_UNTIL(p->f->loop, p->n_held == 5);
	engine_container_start(p->engine, "d", on_done, NULL); /* not even sent */
	peer_stop_engine(p);
	assert_int_equal(heard.calls, 5);
	for (char *line = strtok(heard.text, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(str_starts(line, "ECANCELED: "));
	memset(&heard, 0, sizeof(heard));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_call_asks_what_the_engine_knows),
		TEST(names_are_percent_encoded_in_paths_and_queries),
		TEST(statuses_mean_what_the_spec_says_and_sentences_are_kept),
		TEST(a_long_sentence_is_cut_not_lost),
		TEST(a_create_without_an_id_is_an_error),
		TEST(the_newest_version_that_both_know_is_chosen),
		TEST(calls_go_to_unversioned_paths_until_a_version_is_agreed),
		TEST(one_container_is_inspected),
		TEST(containers_of_both_labels_are_listed_once_each),
		TEST(no_containers_is_an_empty_list),
		TEST(a_list_inspects_eight_at_a_time),
		TEST(an_engine_that_dies_within_a_list_fails_the_list),
		TEST(a_list_that_is_no_array_is_an_error),
		TEST(supervised_networks_and_the_supervisors_own_are_listed),
		TEST(volumes_are_listed_and_null_is_none),
		TEST(images_are_listed_with_tags_and_digests),
		TEST(a_pull_reports_progress_and_ends),
		TEST(a_digest_is_pulled_as_tag_and_no_auth_is_no_header),
		TEST(a_failure_inside_the_200_stream_fails_the_pull),
		TEST(a_refused_pull_keeps_the_sentence),
		TEST(a_pull_that_is_cut_or_broken_is_no_success),
		TEST(a_pull_message_over_a_mebibyte_is_an_error),
		TEST(a_pull_can_be_cancelled_even_from_its_progress),
		TEST(kills_of_the_past_are_read_from_the_event_buffer),
		TEST(only_the_latest_kills_are_kept),
		TEST(without_an_engine_every_call_says_that_it_is_away),
		TEST(an_answer_over_the_limit_is_an_error),
		TEST(stop_ends_every_call_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
