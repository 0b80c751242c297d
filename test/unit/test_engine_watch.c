/* The event stream: up, lost and up again, and what comes between, against a scripted engine. */
#include "engine_peer.h"

#define FILTERS "%7B%22type%22%3A%5B%22container%22%2C%22image%22%2C%22network%22%2C%22volume%22%5D%7D"
#define EVENT(type, action, id)                                                                                        \
	"{\"Type\":\"" type "\",\"Action\":\"" action "\",\"Actor\":{\"ID\":\"" id                                     \
	"\",\"Attributes\":{\"name\":\"n\"}},\"time\":1700000000,\"timeNano\":1700000000123000000}\n"

static const struct peer_answer works[] = {
	{"GET /version", 200, "{\"Version\":\"20.10\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}",
	 PEER_ANSWER},
	{"GET /v1.41/events?filters=" FILTERS, 200, NULL, PEER_STREAM},
	{"GET /v1.41/containers/json*", 200, "[]", PEER_ANSWER},
	{0}};

/* What the owner was told, one line each. */
static struct told {
	char text[16384];
	int ups, losts, events;
} told;
static struct peer *peer;
static bool stop_at_event, list_at_up;

static void on_containers(void *ctx, const struct err *err, struct container *v, size_t n)
{
	(void)ctx;
	(void)v;
	assert_null(err);
	snprintf(told.text + strlen(told.text), 64, "listed %zu\n", n);
}

static void on_up(void *ctx, const struct engine_version *v)
{
	assert_ptr_equal(ctx, peer);
	assert_true(engine_is_up(peer->engine));
	assert_true(peer->n_held > 0); /* the stream is open: what happens from here on is not missed */
	told.ups++;
	snprintf(told.text + strlen(told.text), 64, "up %s\n", v->api);
	if (list_at_up)
		engine_containers_list(peer->engine, on_containers, NULL);
}

static void on_lost(void *ctx, const struct err *why)
{
	assert_ptr_equal(ctx, peer);
	assert_false(engine_is_up(peer->engine));
	told.losts++;
	snprintf(told.text + strlen(told.text), 512, "lost %s: %s\n", strerrorname_np(-why->code), why->msg);
}

static void on_event(void *ctx, const struct engine_event *ev)
{
	assert_ptr_equal(ctx, peer);
	told.events++;
	snprintf(told.text + strlen(told.text), 512, "event %d %s %s %s %lld\n", ev->type, ev->action, ev->id, ev->name,
		 (long long)ev->time_ms);
	if (stop_at_event)
		engine_stop(peer->engine, peer_set_true, &peer->engine_stopped);
}

static int setup(void **state)
{
	memset(&told, 0, sizeof(told));
	stop_at_event = list_at_up = false;
	peer_setup(state);
	peer = *state;
	return 0;
}

static void watch(void)
{
	const struct engine_watch w = {.up = on_up, .lost = on_lost, .event = on_event, .ctx = peer};

	engine_watch_start(peer->engine, &w);
	assert_string_equal(told.text, ""); /* nothing before the loop runs */
	assert_false(engine_is_up(peer->engine));
}

static void come_up(void)
{
	int before = told.ups;

	peer->answers = works;
	if (before == 0 && told.losts == 0)
		watch();
	RUN_UNTIL(peer->f->loop, told.ups == before + 1 && peer->n_held > 0);
}

#define TOLD(expected)                                                                                                 \
	do {                                                                                                           \
		check_run_turns(peer->f->loop, 3);                                                                     \
		assert_string_equal(told.text, expected);                                                              \
		told.text[0] = '\0';                                                                                   \
	} while (0)

static void up_means_version_agreed_and_stream_open(void **state)
{
	(void)state;
	come_up();
	TOLD("up 1.41\n");
	ASKED(peer, "GET /version\nGET /v1.41/events?filters=" FILTERS "\n");
}

static void events_are_handed_on_as_they_come(void **state)
{
	(void)state;
	come_up();
	peer_say(peer, EVENT("container", "die", "abc") EVENT("image", "pull", "a:1") "{\"Type\":\"netw");
	RUN_UNTIL(peer->f->loop, told.events == 2);
	peer_say(peer, "ork\",\"Action\":\"connect\",\"Actor\":{\"ID\":\"n1\"},\"time\":5}"
		       "{\"Type\":\"volume\",\"Action\":\"destroy\",\"Actor\":{\"ID\":\"1_d\"},\"time\":6}");
	RUN_UNTIL(peer->f->loop, told.events == 4);
	TOLD("up 1.41\nevent 0 die abc n 1700000000123\nevent 1 pull a:1 n 1700000000123\n"
	     "event 2 connect n1  5000\nevent 3 destroy 1_d  6000\n");
}

static void unreadable_and_over_long_events_are_skipped(void **state)
{
	AUTO_FREE char *x = mem_new(1, 100001);

	(void)state;
	memset(x, 'x', 100000);
	come_up();
	peer_say(peer, "oops\n{\"Type\":\"container\"\n" EVENT("plugin", "enable", "p") EVENT("container", "die", "a"));
	RUN_UNTIL(peer->f->loop, told.events == 1);
	peer_say(peer, "{\"Type\":\"");
	for (int i = 0; i < 11; i++) { /* more than 1 MiB of one message */
		peer_say(peer, x);
		check_run_turns(peer->f->loop, 10);
	}
	peer_say(peer, "\"}\n" EVENT("container", "die", "b"));
	RUN_UNTIL(peer->f->loop, told.events == 2);
	TOLD("up 1.41\nevent 0 die a n 1700000000123\nevent 0 die b n 1700000000123\n");
}

static void a_lost_stream_is_opened_again(void **state)
{
	(void)state;
	list_at_up = true;
	come_up();
	RUN_UNTIL(peer->f->loop, strstr(told.text, "listed"));
	peer->asked[0] = '\0';
	http_stream_abort(peer_take(peer)); /* cut */
	RUN_UNTIL(peer->f->loop, told.losts == 1);
	assert_non_null(strstr(told.text, "lost EHOSTDOWN: the engine is away: "));
	told.text[0] = '\0';
	come_up();
	RUN_UNTIL(peer->f->loop, strstr(told.text, "listed"));
	TOLD("up 1.41\nlisted 0\n"); /* once more, all of it */
	assert_true(str_starts(peer->asked, "GET /version\nGET /v1.41/events?filters=" FILTERS "\nGET /v1.41/cont"));
	http_stream_end(peer_take(peer)); /* ended without a fault: no less lost */
	RUN_UNTIL(peer->f->loop, told.losts == 2);
	TOLD("lost EHOSTDOWN: the engine is away: it ended the event stream\n");
	come_up();
	RUN_UNTIL(peer->f->loop, strstr(told.text, "listed"));
}

static void an_engine_that_is_away_is_lost_once_and_found_when_it_comes(void **state)
{
	char expected[400];

	(void)state;
	peer_die(peer);
	watch();
	RUN_UNTIL(peer->f->loop, told.losts == 1);
	snprintf(expected, sizeof(expected),
		 "lost EHOSTDOWN: the engine is away: connect to %s: No such file or directory\n", peer->socket);
	TOLD(expected);
	/* several attempts more: 100, 200, 400 ms */
	for (int i = 0; i < 3; i++) {
		int64_t from = loop_now_ms(peer->f->loop);

		RUN_UNTIL(peer->f->loop, loop_now_ms(peer->f->loop) >= from + 100);
	}
	TOLD("");
	peer_listen(peer);
	come_up();
	TOLD("up 1.41\n");
}

static void a_socket_replaced_by_a_new_file_is_found(void **state)
{
	struct stat before, after;

	(void)state;
	come_up();
	assert_int_equal(fstatat(peer->f->dir_fd, "s", &before, 0), 0);
	peer_die(peer);
	RUN_UNTIL(peer->f->loop, told.losts == 1);
	check_write_file(peer->f->dir_fd, "keeps the old inode number busy", "");
	peer_listen(peer);
	assert_int_equal(fstatat(peer->f->dir_fd, "s", &after, 0), 0);
	assert_true(before.st_ino != after.st_ino || before.st_ctim.tv_nsec != after.st_ctim.tv_nsec);
	come_up();
	peer_say(peer, EVENT("container", "start", "c"));
	RUN_UNTIL(peer->f->loop, told.events == 1);
}

static void an_engine_too_old_says_so_until_it_was_updated(void **state)
{
	static const struct peer_answer old[] = {
		{"GET /version", 200, "{\"ApiVersion\":\"1.40\",\"MinAPIVersion\":\"1.12\"}", PEER_ANSWER}, {0}};

	(void)state;
	peer->answers = old;
	watch();
	RUN_UNTIL(peer->f->loop, told.losts == 1);
	TOLD("lost EPROTO: the engine speaks API 1.12 to 1.40, we speak 1.41 to 1.47\n");
	come_up();
	TOLD("up 1.41\n");
}

static void a_refused_event_stream_is_no_up(void **state)
{
	static const struct peer_answer refuses[] = {
		{"GET /version", 200, "{\"ApiVersion\":\"1.41\"}", PEER_ANSWER},
		{"GET /v1.41/events*", 500, "{\"message\":\"no events today\"}", PEER_ANSWER},
		{0}};

	(void)state;
	peer->answers = refuses;
	watch();
	RUN_UNTIL(peer->f->loop, told.losts == 1);
	TOLD("lost EIO: no events today\n");
	come_up();
	TOLD("up 1.41\n");
}

static void the_engine_can_be_stopped_from_within_an_event(void **state)
{
	(void)state;
	stop_at_event = true;
	come_up();
	peer_say(peer, EVENT("container", "die", "a") EVENT("container", "die", "b"));
	RUN_UNTIL(peer->f->loop, peer->engine_stopped);
	check_run_turns(peer->f->loop, 3);
	TOLD("up 1.41\nevent 0 die a n 1700000000123\n"); /* no second event, and not lost */
}

static void stop_works_in_every_state(void **state)
{
	static const struct peer_answer holds_version[] = {{"GET /version", 0, NULL, PEER_HOLD}, {0}};
	static const struct peer_answer holds_events[] = {
		{"GET /version", 200, "{\"ApiVersion\":\"1.41\"}", PEER_ANSWER}, {"*", 0, NULL, PEER_HOLD}, {0}};
	const struct peer_answer *const scripts[] = {NULL, holds_version, holds_events, works};

	(void)state;
	for (size_t i = 0; i <= ARRAY_LEN(scripts); i++) {
		peer->answers = i < ARRAY_LEN(scripts) ? scripts[i] : holds_version;
		watch();
		if (i == 0) /* pausing: every call is refused */
			RUN_UNTIL(peer->f->loop, told.losts == 1);
		else if (i < ARRAY_LEN(scripts)) /* negotiating, opening, up */
			RUN_UNTIL(peer->f->loop, peer->n_held == 1);
		told.text[0] = '\0';
		peer_stop_engine(peer); /* at last: just started */
		assert_null(strstr(told.text, "lost"));
		told.text[0] = '\0';
		while (peer->n_held > 0)
			http_stream_abort(peer_take(peer));
		peer->engine = engine_new(peer->f->loop, peer->socket);
		peer->engine_stopped = false;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, peer_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(up_means_version_agreed_and_stream_open),
		TEST(events_are_handed_on_as_they_come),
		TEST(unreadable_and_over_long_events_are_skipped),
		TEST(a_lost_stream_is_opened_again),
		TEST(an_engine_that_is_away_is_lost_once_and_found_when_it_comes),
		TEST(a_socket_replaced_by_a_new_file_is_found),
		TEST(an_engine_too_old_says_so_until_it_was_updated),
		TEST(a_refused_event_stream_is_no_up),
		TEST(the_engine_can_be_stopped_from_within_an_event),
		TEST(stop_works_in_every_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
