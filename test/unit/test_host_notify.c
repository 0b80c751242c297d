/* What the service manager is told: over a real socket, by path and by abstract name. */
#include "check.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "host/notify.h"
#include "util/mem.h"
#include "util/str.h"

struct manager {
	struct check_fixture *f;
	struct notify *notify;
	int fd;
	const char *status; /* what we would say now */
	bool healthy;
	unsigned n_asked;
};

static char *on_status(void *ctx)
{
	struct manager *m = ctx;

	m->n_asked++;
	return mem_strdup(m->status);
}

static bool on_healthy(void *ctx)
{
	return ((struct manager *)ctx)->healthy;
}

static int listen_on(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && len < sizeof(a.sun_path));
	memcpy(a.sun_path, name, len);
	if (*name == '@')
		a.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
	return fd;
}

static void open_named(struct manager *m, const char *name, struct err *err)
{
	setenv("NOTIFY_SOCKET", name, 1);
	m->notify = notify_new(&(struct notify_options){m->f->loop, on_status, on_healthy, m}, err);
}

/* A manager that listens; with a watchdog of so many microseconds, NULL: without. */
static void manager_open(struct manager *m, struct check_fixture *f, const char *watchdog_usec)
{
	AUTO_FREE char *name = mem_printf("%s/notify", f->dir);
	struct err err = {0};

	*m = (struct manager){.f = f, .status = "all is well", .healthy = true, .fd = listen_on(name)};
	if (watchdog_usec)
		setenv("WATCHDOG_USEC", watchdog_usec, 1);
	open_named(m, name, &err);
	assert_non_null(m->notify);
	assert_int_equal(err.code, 0);
}

static void manager_close(struct manager *m)
{
	notify_free(m->notify);
	check_run_turns(m->f->loop, 2);
	close(m->fd);
}

/* The next datagram, "" if there is none now. */
static const char *heard(struct manager *m)
{
	static char text[2048];
	ssize_t n = recv(m->fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* Runs the loop until a datagram comes. */
static const char *hears(struct manager *m)
{
	const char *text = "";

	RUN_UNTIL(m->f->loop, *(text = heard(m)) != '\0');
	return text;
}

/* -------- what we were started with -------- */

static void without_a_socket_nobody_is_told_and_every_call_is_nothing(void **state)
{
	struct check_fixture *f = *state;
	struct manager m = {.f = f};
	struct err err = {0};

	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "1000000", 1);
	m.notify = notify_new(&(struct notify_options){f->loop, on_status, on_healthy, &m}, &err);
	assert_null(m.notify);
	assert_int_equal(err.code, 0);
	assert_null(getenv("WATCHDOG_USEC"));
	open_named(&m, "", &err);
	assert_null(m.notify);
	assert_int_equal(err.code, 0);
	notify_ready(NULL);
	notify_changed(NULL);
	notify_stopping(NULL, "end");
	notify_free(NULL);
	assert_int_equal(m.n_asked, 0);
}

static void the_variables_are_gone_after_they_were_read(void **state)
{
	struct manager m;

	setenv("WATCHDOG_PID", "1", 1);
	manager_open(&m, *state, "1000000");
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	manager_close(&m);
}

static void a_name_that_is_neither_path_nor_abstract_or_too_long_is_refused(void **state)
{
	struct check_fixture *f = *state;
	struct manager m = {.f = f};
	char name[110];
	struct err err = {0};

	open_named(&m, "relative", &err);
	assert_null(m.notify);
	assert_int_equal(err.code, -EAFNOSUPPORT);
	open_named(&m, "/", &err);
	assert_null(m.notify);
	assert_int_equal(err.code, -ENAMETOOLONG);
	memset(name, 'x', sizeof(name));
	name[0] = '/';
	name[108] = '\0'; /* one more than fits */
	open_named(&m, name, &err);
	assert_null(m.notify);
	assert_int_equal(err.code, -ENAMETOOLONG);
	assert_non_null(strstr(err.msg, "NOTIFY_SOCKET: 108 bytes"));
	err = (struct err){0};
	name[107] = '\0';
	open_named(&m, name, &err);
	assert_non_null(m.notify); /* nobody listens, which is found out later and changes nothing */
	assert_int_equal(err.code, 0);
	m.status = "unheard";
	notify_ready(m.notify);
	notify_stopping(m.notify, "end");
	notify_free(m.notify);
	check_run_turns(f->loop, 2);
}

static void an_abstract_name_is_told_too(void **state)
{
	struct check_fixture *f = *state;
	AUTO_FREE char *name = mem_printf("@lockkeeper-test-%d", (int)getpid());
	struct manager m = {.f = f, .status = "x", .fd = listen_on(name)};
	struct err err = {0};

	open_named(&m, name, &err);
	assert_non_null(m.notify);
	notify_ready(m.notify);
	assert_string_equal(heard(&m), "READY=1\nSTATUS=x\n");
	manager_close(&m);
}

/* -------- the sentence -------- */

static void ready_comes_once_and_first_with_the_state(void **state)
{
	struct manager m;

	manager_open(&m, *state, NULL);
	notify_changed(m.notify);
	assert_string_equal(heard(&m), "");
	notify_ready(m.notify);
	notify_ready(m.notify);
	assert_string_equal(heard(&m), "READY=1\nSTATUS=all is well\n");
	assert_string_equal(heard(&m), "");
	manager_close(&m);
}

static void changes_are_told_together_and_what_is_the_same_is_not_told_again(void **state)
{
	struct manager m;

	manager_open(&m, *state, NULL);
	notify_ready(m.notify);
	heard(&m);
	for (int i = 0; i < 100; i++) {
		m.status = i % 2 ? "odd" : "even";
		notify_changed(m.notify);
		check_run_turns(m.f->loop, 1);
	}
	assert_string_equal(heard(&m), "");
	assert_int_equal(m.n_asked, 1);
	m.status = "at last";
	assert_string_equal(hears(&m), "STATUS=at last\n");
	assert_int_equal(m.n_asked, 2);
	notify_changed(m.notify);
	RUN_UNTIL(m.f->loop, m.n_asked == 3);
	assert_string_equal(heard(&m), "");
	check_run_turns(m.f->loop, 1);
	assert_false(uv_loop_alive(loop_uv(m.f->loop))); /* no timer is left running */
	manager_close(&m);
}

static void a_sentence_cannot_begin_another_assignment_and_is_cut_between_characters(void **state)
{
	char longer[NOTIFY_STATUS_MAX_BYTES + 10], expected[sizeof(longer) + 32];
	struct manager m;

	manager_open(&m, *state, NULL);
	m.status = "a\nMAINPID=1\tb\x7f \xff\xc3\xa4";
	notify_ready(m.notify);
	assert_string_equal(heard(&m), "READY=1\nSTATUS=a?MAINPID=1?b? ?\xc3\xa4\n");
	memset(longer, 'y', sizeof(longer));
	memcpy(longer + NOTIFY_STATUS_MAX_BYTES - 1, "\xc3\xa4", 3); /* the last that fits would be its first half */
	m.status = longer;
	snprintf(expected, sizeof(expected), "STATUS=%.*s\n", NOTIFY_STATUS_MAX_BYTES - 1, longer);
	notify_changed(m.notify);
	assert_string_equal(hears(&m), expected);
	manager_close(&m);
}

/* Fills the manager's queue. One sender alone would first come to the end of what it may have under way. */
static void fill_queue(struct manager *m)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int sent = 1;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/notify", m->f->dir);
	for (int sender = 0; sender < 100 && sent; sender++) {
		AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		for (sent = 0; sendto(fd, "filler", 6, 0, (struct sockaddr *)&a, sizeof(a)) == 6;)
			sent++;
		assert_int_equal(errno, EAGAIN);
	}
	assert_int_equal(sent, 0);
}

static void a_manager_whose_queue_is_full_hears_it_later(void **state)
{
	struct manager m;

	manager_open(&m, *state, NULL);
	fill_queue(&m);
	notify_ready(m.notify);
	while (str_eq(heard(&m), "filler"))
		;
	assert_string_equal(hears(&m), "READY=1\nSTATUS=all is well\n");
	manager_close(&m);
}

static void stopping_is_the_last_word(void **state)
{
	struct manager m;

	manager_open(&m, *state, "20000");
	notify_ready(m.notify);
	heard(&m);
	m.status = "unsaid";
	notify_changed(m.notify);
	notify_stopping(m.notify, "stopping");
	notify_changed(m.notify);
	assert_string_equal(heard(&m), "STOPPING=1\nSTATUS=stopping\n");
	check_run_turns(m.f->loop, 3);
	assert_string_equal(heard(&m), "");
	assert_false(uv_loop_alive(loop_uv(m.f->loop)));
	manager_close(&m);
}

/* -------- the watchdog -------- */

static void pings_come_while_healthy_and_begin_when_ready(void **state)
{
	struct manager m;

	manager_open(&m, *state, "20000");
	assert_false(uv_loop_alive(loop_uv(m.f->loop)));
	notify_ready(m.notify);
	assert_string_equal(heard(&m), "READY=1\nSTATUS=all is well\n");
	for (int i = 0; i < 3; i++)
		assert_string_equal(hears(&m), "WATCHDOG=1\n");
	m.healthy = false;
	m.status = "stuck";
	while (heard(&m)[0])
		;
	assert_string_equal(hears(&m), "STATUS=stuck\n"); /* shown, though nothing happened */
	for (unsigned asked = m.n_asked; m.n_asked < asked + 3;)
		loop_run_once(m.f->loop, true);
	assert_string_equal(heard(&m), "");
	m.healthy = true;
	assert_string_equal(hears(&m), "WATCHDOG=1\n");
	manager_close(&m);
}

static void a_watchdog_of_another_process_is_not_ours(void **state)
{
	struct manager m;
	char pid[16];

	setenv("WATCHDOG_PID", "1", 1);
	manager_open(&m, *state, "20000");
	notify_ready(m.notify);
	heard(&m);
	notify_stopping(m.notify, "end");
	manager_close(&m);
	assert_int_equal(unlinkat(m.f->dir_fd, "notify", 0), 0);

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	manager_open(&m, *state, "20000");
	notify_ready(m.notify);
	heard(&m);
	assert_string_equal(hears(&m), "WATCHDOG=1\n");
	manager_close(&m);
}

static void garbage_in_the_watchdogs_variables_leaves_out_the_watchdog_alone(void **state)
{
	static const char *const garbage[][2] = {{"", NULL},   {"0", NULL},  {"-5", NULL},
						 {"5s", NULL}, {" 1", NULL}, {"18446744073709551615", NULL},
						 {"1", "me"},  {"1", "0"}};
	struct check_fixture *f = *state;
	AUTO_FREE char *name = mem_printf("%s/notify", f->dir);
	struct manager m = {.f = f, .status = "x", .healthy = true, .fd = listen_on(name)};

	for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
		struct err err = {0};

		setenv("WATCHDOG_USEC", garbage[i][0], 1);
		if (garbage[i][1])
			setenv("WATCHDOG_PID", garbage[i][1], 1);
		open_named(&m, name, &err);
		assert_non_null(m.notify);
		assert_int_equal(err.code, -EINVAL);
		assert_non_null(strstr(err.msg, garbage[i][1] ? "WATCHDOG_PID" : "WATCHDOG_USEC"));
		notify_ready(m.notify);
		assert_string_equal(heard(&m), "READY=1\nSTATUS=x\n");
		notify_free(m.notify);
		check_run_turns(f->loop, 2);
	}
	close(m.fd);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, check_setup, check_teardown)
	const struct CMUnitTest tests[] = {
		TEST(without_a_socket_nobody_is_told_and_every_call_is_nothing),
		TEST(the_variables_are_gone_after_they_were_read),
		TEST(a_name_that_is_neither_path_nor_abstract_or_too_long_is_refused),
		TEST(an_abstract_name_is_told_too),
		TEST(ready_comes_once_and_first_with_the_state),
		TEST(changes_are_told_together_and_what_is_the_same_is_not_told_again),
		TEST(a_sentence_cannot_begin_another_assignment_and_is_cut_between_characters),
		TEST(a_manager_whose_queue_is_full_hears_it_later),
		TEST(stopping_is_the_last_word),
		TEST(pings_come_while_healthy_and_begin_when_ready),
		TEST(a_watchdog_of_another_process_is_not_ours),
		TEST(garbage_in_the_watchdogs_variables_leaves_out_the_watchdog_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
