/*
 * Who holds a lock. The forms (contents, cgroups, /proc/locks) are tables; a /proc of our own making shows what no test
 * can arrange with real processes (containers, other pid name spaces); and real children hold real locks.
 */
#include "lock_fixture.h"

#include <sys/file.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include "lock/holder.h"
#include "lock/holder_proc.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define WEB  "1/web/updates.lock"

/* -------- forms -------- */

static void a_content_names_a_pid_only_in_the_forms_that_tools_write(void **state)
{
	static const struct {
		const char *text;
		int64_t pid;
		const char *reason;
	} rows[] = {
		{"", 0, NULL},
		{"0", 0, NULL},
		{"123", 123, NULL},
		{"123\n", 123, NULL},
		{"      123\n", 123, NULL}, /* as UUCP pads */
		{"4194304\n", 4194304, NULL},
		{"4194305\n", 0, NULL}, /* the kernel gives none above */
		{"00000000000000000012", 0, NULL},
		{"-1", 0, NULL},
		{"12 34\n", 0, NULL},
		{"12\nhost\n", 0, NULL},
		{"pid 12", 0, NULL},
		{"update-lock 1 77\ncopying files\n", 77, "copying files"},
		{"update-lock 1 77\ncopying files", 77, "copying files"},
		{"update-lock 1 77\r\ncopying\r\nmore\n", 77, "copying"},
		{"update-lock 1 77\n", 77, NULL},
		{"update-lock 1 77\n\n", 77, NULL},
		{"update-lock 1 77", 77, NULL},
		{"update-lock 1 \nwhy\n", 0, "why"},
		{"update-lock 2 77\nwhy\n", 0, NULL},
		{"other 1 77\nwhy\n", 0, NULL},
		{"update-lock 1 77\n\x1b[2Jx\x7f\xc2\x9by\n", 77, "\\x1b[2Jx\\x7f\\x9by"},
		{"update-lock 1 77\na\xff\xe2\x82 \xe2\x82\xac\n", 77,
		 "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xe2\x82\xac"},
	};
	struct holder_content c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		holder_content_parse(rows[i].text, strlen(rows[i].text), &c);
		assert_int_equal(c.pid, rows[i].pid);
		if (rows[i].reason)
			assert_string_equal(c.reason, rows[i].reason);
		else
			assert_null(c.reason);
		free(c.reason);
	}
	holder_content_parse("12\0", 3, &c);
	assert_int_equal(c.pid, 12);
	holder_content_parse("update-lock 1 7\na\0b", 19, &c);
	assert_string_equal(c.reason, "a\\x00b");
	free(c.reason);
}

static void a_reason_is_cut_between_two_characters(void **state)
{
	char text[HOLDER_CONTENT_MAX];
	struct holder_content c;
	size_t head = (size_t)snprintf(text, sizeof(text), "update-lock 1 7\nx");

	(void)state;
	for (size_t i = head; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	holder_content_parse(text, sizeof(text) - 2, &c);
	assert_int_equal(strlen(c.reason), HOLDER_REASON_MAX - 1); /* 'x' makes the last one straddle the limit */
	assert_true(str_is_utf8(c.reason, strlen(c.reason), &head));
	assert_null(strstr(c.reason, "\xef\xbf\xbd"));
	free(c.reason);
}

static void a_container_is_found_in_the_cgroups_of_every_driver(void **state)
{
	static const struct {
		const char *text, *id;
	} rows[] = {
		{"", ""},
		{"0::/\n", ""},
		{"0::/user.slice/session-1.scope\n", ""},
		{"0::/docker/" ID_A "\n", ID_A},
		{"0::/system.slice/docker-" ID_A ".scope\n", ID_A},
		{"0::/../" ID_A "\n", ID_A}, /* seen from another container's cgroup name space */
		{"0::/machine.slice/libpod-" ID_A ".scope/container\n", ID_A},
		{"12:pids:/docker/" ID_A "\n1:name=systemd:/docker/" ID_A "\n0::/\n", ID_A},
		{"0::/docker/" ID_A "/docker/" ID_C "\n", ID_A}, /* one inside another: the outermost */
		{"0::/docker/" ID_A "/docker/" ID_B "\n", ID_B}, /* but the one that is known to run */
		{"0::/docker/" ID_B "/docker/" ID_A "\n", ID_B},
		{"0::/docker/" ID_A "a\n", ""},
		{"0::/docker/x" ID_A "\n", ""},
		{"0::/docker/aaaa\n", ""},
	};
	struct holder_container runs = {.id = (char *)(uintptr_t)ID_B};
	struct holder_scan s = {.containers = &runs, .n_containers = 1};
	char id[65];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(holder_cgroup_container(&s, rows[i].text, id), *rows[i].id != '\0');
		assert_string_equal(id, rows[i].id);
	}
}

static void only_locks_of_known_processes_on_files_count(void **state)
{
	static const struct {
		const char *line;
		bool good, waits;
		int64_t pid;
	} rows[] = {
		{"1: FLOCK  ADVISORY  WRITE 708 00:1f:511 0 EOF\n", true, false, 708},
		{"21: POSIX  ADVISORY  READ 709 00:1f:511 0 EOF\n", true, false, 709},
		{"1: -> FLOCK  ADVISORY  WRITE 710 00:1f:511 0 EOF\n", true, true, 710},
		{"1:  -> POSIX  ADVISORY  WRITE 710 00:1f:511 0 0\n", true, true, 710},
		{"2: OFDLCK ADVISORY  WRITE -1 00:1f:511 0 EOF\n", false, false, 0},
		{"3: LEASE  ACTIVE    READ 708 00:1f:511 0 EOF\n", false, false, 0},
		{"4: FLOCK  ADVISORY  WRITE 0 00:1f:511 0 EOF\n", false, false, 0},
		{"5: FLOCK  ADVISORY  WRITE 708 <none>:0 0 EOF\n", false, false, 0},
		{"FLOCK\n", false, false, 0},
		{"", false, false, 0},
	};
	struct proc_lock l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(proc_lock_parse(rows[i].line, &l), rows[i].good);
		if (!rows[i].good)
			continue;
		assert_int_equal(l.pid, rows[i].pid);
		assert_int_equal(l.waits, rows[i].waits);
		assert_int_equal(l.dev, makedev(0, 0x1f));
		assert_int_equal(l.ino, 511);
	}
}

/* -------- a /proc of our own -------- */

static int64_t clock_in_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct actor {
	int64_t pid, own_pid, age_ms;
	const char *container; /* NULL: of the host */
	const char *opens;     /* a file it has open, or NULL */
	const char *command;
	bool is_kernel, hides;
};

static void proc_write(const struct lock_fixture *f, int64_t pid, const char *name, const char *text)
{
	AUTO_FREE char *path = mem_printf("proc/%lld/%s", (long long)pid, name);

	check_write_file(f->base->dir_fd, path, text);
}

static void proc_add(const struct lock_fixture *f, const struct actor *a)
{
	AUTO_FREE char *dir = mem_printf("proc/%lld", (long long)a->pid), *fds = mem_printf("%s/fd", dir);
	AUTO_FREE char *fd = mem_printf("%s/3", fds), *name = mem_printf("%s\n", a->command ? a->command : "x");
	AUTO_FREE char *cgroup = a->container ? mem_printf("0::/docker/%s\n", a->container) : mem_strdup("0::/\n");
	AUTO_FREE char *status = mem_printf("Name:\tx\nNSpid:\t%lld\t%lld\n", (long long)a->pid, (long long)a->own_pid);
	long long ticks = (clock_in_ms(CLOCK_BOOTTIME) - a->age_ms) * sysconf(_SC_CLK_TCK) / 1000;
	AUTO_FREE char *stat = mem_printf("%lld (a) b) (c) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 %lld 1 1 1\n",
					  (long long)a->pid, ticks);

	assert_int_equal(mkdirat(f->base->dir_fd, dir, 0755), 0);
	if (!a->hides) {
		assert_int_equal(mkdirat(f->base->dir_fd, fds, 0755), 0);
		assert_int_equal(symlinkat("/dev/null", f->base->dir_fd, fd), 0);
	}
	if (a->opens) {
		AUTO_FREE char *other = mem_printf("%s/4", fds);

		assert_int_equal(symlinkat(below(f, a->opens), f->base->dir_fd, other), 0);
	}
	proc_write(f, a->pid, "comm", name);
	proc_write(f, a->pid, "cgroup", cgroup);
	proc_write(f, a->pid, "status", status);
	proc_write(f, a->pid, "stat", stat);
	proc_write(f, a->pid, "cmdline", a->is_kernel ? "" : "x");
}

static void proc_locks(const struct lock_fixture *f, const char *path, int64_t pid, int64_t waiter)
{
	struct stat st;
	AUTO_FREE char *text = NULL;

	assert_int_equal(lstat(below(f, path), &st), 0);
	text = mem_printf("1: FLOCK  ADVISORY  WRITE 1 00:00:1 0 EOF\n"
			  "2: FLOCK  ADVISORY  WRITE %lld %02x:%02x:%llu 0 EOF\n"
			  "2: -> FLOCK  ADVISORY  WRITE %lld %02x:%02x:%llu 0 EOF\n",
			  (long long)pid, major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino,
			  (long long)waiter, major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino);
	check_write_file(f->base->dir_fd, "proc/locks", text);
}

/* One scan by hand: the lock WEB and its service's containers A (and B of another service). */
struct trial {
	struct holder_scan s;
	struct holder_question *q;
};

static void trial_container(struct trial *t, int64_t app_id, const char *service, const char *id)
{
	mem_reserve(&t->s.containers, &t->s.containers_capacity, t->s.n_containers + 1, sizeof(*t->s.containers));
	t->s.containers[t->s.n_containers++] =
		(struct holder_container){.app_id = app_id, .service = mem_strdup(service), .id = mem_strdup(id)};
}

static void trial_begin(struct lock_fixture *f, struct trial *t, const char *content)
{
	AUTO_FREE char *proc = mem_printf("%s/proc", f->base->dir);
	struct stat st;
	int fd;

	if (content) {
		fd = open(below(f, WEB), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		assert_int_equal(write(fd, content, strlen(content)), strlen(content));
		assert_int_equal(close(fd), 0);
	}
	holder_scan_init(&t->s, proc);
	t->s.roots[0] = open(below(f, "."), O_PATH | O_CLOEXEC);
	t->s.containers_known = true;
	assert_int_equal(lstat(below(f, WEB), &st), 0);
	mem_reserve(&t->s.questions, &t->s.questions_capacity, 1, sizeof(*t->s.questions));
	t->s.n_questions = 1;
	t->q = t->s.questions;
	*t->q = (struct holder_question){
		.app_id = 1,
		.service = mem_strdup("web"),
		.root_fd = t->s.roots[0],
		.below = mem_strdup("1/web"),
		.name = mem_strdup("updates.lock"),
		.dev = st.st_dev,
		.ino = st.st_ino,
		.ctime_ms = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000,
	};
	trial_container(t, 1, "web", ID_A);
	trial_container(t, 1, "db", ID_B);
}

static void trial_end(struct trial *t)
{
	holder_scan_deinit(&t->s);
	*t = (struct trial){0};
}

static int fake_setup(void **state)
{
	struct lock_fixture *f;

	lock_setup(state);
	f = *state;
	DECLARE(f, 1, "web", "db");
	prepare(f, 1, "web");
	assert_int_equal(mkdirat(f->base->dir_fd, "proc", 0755), 0);
	return 0;
}

#define FAKE_TEST(name) cmocka_unit_test_setup_teardown(name, fake_setup, lock_teardown)

static void a_pid_in_the_content_is_looked_for_among_the_processes_of_that_service_only(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 12, .own_pid = 12, .age_ms = 9000, .is_kernel = true});
	proc_add(f, &(struct actor){.pid = 900, .own_pid = 1, .age_ms = 9000, .container = ID_A});
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 12, .age_ms = 9000, .container = ID_B});
	proc_add(f, &(struct actor){.pid = 902, .own_pid = 12, .age_ms = 9000, .container = ID_C});
	proc_add(f, &(struct actor){.pid = 903, .own_pid = 12, .age_ms = 8000, .container = ID_A, .command = "app"});
	trial_begin(f, &t, "12\n");
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 903);
	assert_string_equal(t.q->found.command, "app");
	assert_string_equal(t.q->found.container_id, ID_A);
	assert_null(t.q->found.reason);
	assert_int_equal(t.q->found.stale, LOCK_STALE_NO);
	trial_end(&t);

	trial_begin(f, &t, "update-lock 1 13\nlong copy\n"); /* dead: only what has other pids is left */
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 0);
	assert_null(t.q->found.command);
	assert_string_equal(t.q->found.reason, "long copy");
	assert_int_equal(t.q->found.stale, LOCK_STALE_YES);
	trial_end(&t);
}

static void a_lock_of_the_whole_app_is_looked_for_in_all_its_containers(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 900, .own_pid = 1, .age_ms = 9000, .container = ID_A});
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 12, .age_ms = 9000, .container = ID_B});
	trial_begin(f, &t, "12\n");
	free(STEAL(t.q->service));
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 901);
	trial_end(&t);
}

static void a_process_that_started_after_the_lock_was_made_is_not_its_holder(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 900, .own_pid = 12, .age_ms = 5000, .container = ID_A});
	trial_begin(f, &t, "12\n");
	t.q->ctime_ms -= 60000;
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 0);
	assert_int_equal(t.q->found.stale, LOCK_STALE_UNKNOWN); /* the clock may have been set */
	trial_end(&t);

	trial_begin(f, &t, "12\n");
	t.q->ctime_ms -= 60000;
	t.q->seen_ms = 50000; /* no clock matters: we saw the lock before the process was there */
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 0);
	assert_int_equal(t.q->found.stale, LOCK_STALE_YES);
	trial_end(&t);
}

static void the_same_pid_in_two_containers_of_the_service_says_nothing(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 900, .own_pid = 12, .age_ms = 9000, .container = ID_A});
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 12, .age_ms = 9500, .container = ID_C});
	trial_begin(f, &t, "12\n");
	trial_container(&t, 1, "web", ID_C);
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 0);
	assert_null(t.q->found.command);
	assert_int_equal(t.q->found.stale, LOCK_STALE_UNKNOWN);
	trial_end(&t);
}

static void without_a_look_at_every_process_no_pid_is_called_dead(void **state)
{
	static const struct {
		bool no_proc, engine_away, unseen, host_twin, no_name_space;
		size_t processes_max;
	} rows[] = {
		{.no_proc = true},   {.engine_away = true},   {.unseen = true},
		{.host_twin = true}, {.no_name_space = true}, {.processes_max = 1},
	};
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 900, .own_pid = 1, .age_ms = 9000, .container = ID_A});
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 1, .age_ms = 9000, .container = ID_B});
	proc_add(f, &(struct actor){.pid = 14, .own_pid = 14, .age_ms = 9000}); /* a program of the host */
	proc_add(f, &(struct actor){.pid = 1, .own_pid = 1, .age_ms = 9000});   /* the host's first takes no locks */
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		trial_begin(f, &t, rows[i].host_twin ? "14\n" : "13\n");
		if (rows[i].no_proc)
			strcpy(t.s.proc, "/nil");
		t.s.containers_known = !rows[i].engine_away;
		if (rows[i].unseen)
			trial_container(&t, 1, "web", ID_C);
		if (rows[i].processes_max)
			t.s.processes_max = rows[i].processes_max;
		if (rows[i].no_name_space)
			proc_write(f, 900, "status", "Name:\tx\n");
		holder_scan_run(&t.s);
		assert_int_equal(t.q->found.pid, 0);
		assert_int_equal(t.q->found.stale, LOCK_STALE_UNKNOWN);
		trial_end(&t);
		if (rows[i].no_name_space)
			proc_write(f, 900, "status", "Name:\tx\nNSpid:\t900\t1\n");
	}
	for (int first = 0; first < 2; first++) { /* and with all of that right it is */
		trial_begin(f, &t, first ? "1\n" : "13\n");
		t.q->ctime_ms -= first ? 60000 : 0; /* the container's own first process is younger */
		t.q->seen_ms = 50000;
		holder_scan_run(&t.s);
		assert_int_equal(t.q->found.stale, LOCK_STALE_YES);
		trial_end(&t);
	}
}

static void a_service_without_a_running_container_makes_its_lock_stale(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 900, .own_pid = 12, .age_ms = 9000, .container = ID_A});
	trial_begin(f, &t, "");
	free(t.q->service);
	t.q->service = mem_strdup("gone");
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.stale, LOCK_STALE_YES);
	trial_end(&t);

	proc_add(f,
		 &(struct actor){.pid = 77, .own_pid = 77, .age_ms = 9000, .opens = WEB}); /* but somebody holds it */
	trial_begin(f, &t, "");
	free(t.q->service);
	t.q->service = mem_strdup("gone");
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 77);
	assert_null(t.q->found.container_id);
	assert_int_equal(t.q->found.stale, LOCK_STALE_NO);
	trial_end(&t);
}

static void a_lock_on_the_file_tells_more_than_its_content_and_that_more_than_an_open_file(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	proc_add(f, &(struct actor){.pid = 900, .own_pid = 5, .age_ms = 9000, .container = ID_A, .opens = WEB});
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 6, .age_ms = 9500, .container = ID_A, .opens = WEB});
	trial_begin(f, &t, "");
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 901); /* the older of two */
	trial_end(&t);

	proc_add(f, &(struct actor){.pid = 902, .own_pid = 7, .age_ms = 4000, .container = ID_A});
	trial_begin(f, &t, "7\n");
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 902);
	trial_end(&t);

	proc_locks(f, WEB, 900, 901);
	trial_begin(f, &t, "7\n");
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 900);
	assert_int_equal(t.q->found.stale, LOCK_STALE_NO);
	trial_end(&t);
}

static void who_only_waits_for_a_lock_on_the_file_does_not_hold_it(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	app_locks(f, WEB);
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 6, .age_ms = 9500, .container = ID_A, .opens = WEB});
	proc_locks(f, WEB, 555,
		   901); /* and the pid that locked it is dead: its file went on to somebody we cannot see */
	trial_begin(f, &t, NULL);
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 0);
	assert_int_equal(t.q->found.stale, LOCK_STALE_UNKNOWN);
	trial_end(&t);
}

static void a_lock_by_a_process_that_hides_its_descriptors_counts_and_by_one_that_shows_them_must_be_open(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	app_locks(f, WEB);
	proc_add(f, &(struct actor){.pid = 901, .own_pid = 6, .age_ms = 9500, .container = ID_A});
	proc_locks(f, WEB, 901, 1);
	trial_begin(f, &t, NULL);
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 0); /* it got the pid of the one that locked it and died */
	trial_end(&t);

	proc_add(f, &(struct actor){.pid = 902, .own_pid = 7, .age_ms = 9500, .container = ID_A, .hides = true});
	proc_locks(f, WEB, 902, 1);
	trial_begin(f, &t, NULL);
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 902);
	trial_end(&t);
}

static void the_name_of_a_process_cannot_steer_a_terminal(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	app_locks(f, WEB);
	proc_add(f, &(struct actor){.pid = 9, .own_pid = 9, .opens = WEB, .command = "a\x1b[2J\nb\xff"});
	trial_begin(f, &t, NULL);
	holder_scan_run(&t.s);
	assert_string_equal(t.q->found.command, "a\\x1b[2J\\x0ab\xef\xbf\xbd");
	trial_end(&t);
}

static void both_names_linked_to_one_file_have_one_holder(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	app_locks(f, WEB);
	assert_int_equal(link(below(f, WEB), below(f, "1/web/resin-updates.lock")), 0);
	proc_add(f, &(struct actor){.pid = 9, .own_pid = 9, .opens = WEB});
	trial_begin(f, &t, NULL);
	mem_reserve(&t.s.questions, &t.s.questions_capacity, 2, sizeof(*t.s.questions));
	t.s.questions[1] = t.s.questions[0];
	t.s.questions[1].service = mem_strdup("web");
	t.s.questions[1].below = mem_strdup("1/web");
	t.s.questions[1].name = mem_strdup("resin-updates.lock");
	t.s.n_questions = 2;
	holder_scan_run(&t.s);
	assert_int_equal(t.s.questions[0].found.pid, 9);
	assert_int_equal(t.s.questions[1].found.pid, 9);
	trial_end(&t);
}

static void every_limit_of_a_scan_ends_it(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	app_locks(f, WEB);
	proc_add(f, &(struct actor){.pid = 9, .own_pid = 9, .opens = WEB});
	for (int limit = 0; limit <= 3; limit++) {
		trial_begin(f, &t, NULL);
		if (limit == 1)
			t.s.processes_max = 0;
		if (limit == 2)
			t.s.descriptors_max = 0;
		if (limit == 3)
			t.s.ms_max = 0;
		holder_scan_run(&t.s);
		assert_int_equal(t.q->found.pid, limit ? 0 : 9);
		assert_int_equal(t.q->found.stale, limit ? LOCK_STALE_UNKNOWN : LOCK_STALE_NO);
		trial_end(&t);
	}
	trial_begin(f, &t, NULL); /* exactly at the limit: all of it */
	t.s.processes_max = 1;
	t.s.descriptors_max = 2;
	holder_scan_run(&t.s);
	assert_int_equal(t.q->found.pid, 9);
	trial_end(&t);
}

/* -------- the lock file -------- */

static void what_is_no_file_is_never_read(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	NEEDS_ROOT();
	for (int kind = 0; kind < 5; kind++) {
		if (kind == 0)
			assert_int_equal(mkfifo(below(f, WEB), 0666), 0);
		else if (kind == 1)
			assert_int_equal(mknod(below(f, WEB), S_IFCHR | 0666, makedev(1, 9)), 0); /* urandom */
		else if (kind == 2)
			assert_int_equal(mkdir(below(f, WEB), 0755), 0);
		else if (kind == 3)
			assert_int_equal(symlink("/proc/self/status", below(f, WEB)), 0);
		else
			assert_int_equal(symlink("nowhere", below(f, WEB)), 0);
		trial_begin(f, &t, NULL);
		holder_scan_run(&t.s);
		assert_null(t.q->found.reason);
		assert_int_equal(t.q->found.pid, 0);
		assert_int_equal(t.q->found.stale, LOCK_STALE_UNKNOWN);
		trial_end(&t);
		assert_int_equal(kind == 2 ? rmdir(below(f, WEB)) : unlink(below(f, WEB)), 0);
	}
}

static void of_a_huge_file_only_the_beginning_is_read(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	trial_begin(f, &t, "update-lock 1 5\nwhy\n");
	assert_int_equal(truncate(below(f, WEB), 1LL << 40), 0);
	holder_scan_run(&t.s);
	assert_string_equal(t.q->found.reason, "why");
	trial_end(&t);
}

static void a_lock_that_was_replaced_after_the_question_gets_no_answer(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	trial_begin(f, &t, "update-lock 1 5\nwhy\n");
	assert_int_equal(rename(below(f, WEB), below(f, "1/web/old")), 0);
	app_locks(f, WEB);
	proc_add(f, &(struct actor){.pid = 9, .own_pid = 9, .opens = "1/web/old"});
	holder_scan_run(&t.s);
	assert_null(t.q->found.reason);
	assert_int_equal(t.q->found.pid, 0);
	assert_int_equal(t.q->found.stale, LOCK_STALE_UNKNOWN);
	trial_end(&t);
}

static void no_link_leads_to_a_lock_file(void **state)
{
	struct lock_fixture *f = *state;
	struct trial t = {0};

	trial_begin(f, &t, "update-lock 1 5\nwhy\n");
	assert_int_equal(rename(below(f, "1/web"), below(f, "1/moved")), 0);
	assert_int_equal(symlink("moved", below(f, "1/web")), 0);
	holder_scan_run(&t.s);
	assert_null(t.q->found.reason);
	trial_end(&t);
}

/* -------- the set: real processes, real /proc -------- */

static int real_setup(void **state)
{
	struct lock_fixture *f;

	lock_setup_without_set(state);
	f = *state;
	f->proc = "/proc";
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	DECLARE(f, 1, "web", "db");
	prepare(f, 1, "web");
	return 0;
}

#define REAL_TEST(name) cmocka_unit_test_setup_teardown(name, real_setup, lock_teardown)

struct answer {
	struct lock_fixture *f;
	int times;
	bool inside; /* of the call */
	bool frees;
};

static void on_explained(void *ctx)
{
	struct answer *a = ctx;

	assert_false(a->inside);
	a->times++;
	if (a->frees)
		lock_set_free(STEAL(a->f->set), fixture_on_closed, a->f);
}

static void explain(struct lock_fixture *f, struct answer *a, bool web_runs)
{
	static const struct lock_container running[] = {{1, "db", ID_B}, {1, "web", ID_A}};

	a->f = f;
	a->inside = true;
	lock_set_explain(f->set, running, web_runs ? 2 : 1, true, on_explained, a);
	a->inside = false;
}

static const struct lock_view *view_of(struct lock_fixture *f, size_t i)
{
	const struct lock_views *v = lock_set_views(f->set);

	assert_true(i < v->n);
	return &v->v[i];
}

static void lock_and_notice(struct lock_fixture *f, const char *path)
{
	int before = f->changed;

	app_locks(f, path);
	RUN_UNTIL(f->loop, f->changed > before);
}

/* A child that has the lock open, and locked with flock if `locks`; it lives until the pipe closes. */
static pid_t holder_child(const struct lock_fixture *f, const char *path, bool locks, int *pipe_fd)
{
	int ready[2], stay[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(stay, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(below(f, path), O_RDONLY | O_CLOEXEC);

		close(stay[1]);
		if (fd < 0 || (locks && flock(fd, LOCK_EX | LOCK_NB) < 0) || write(ready[1], "x", 1) != 1)
			_exit(1);
		(void)!read(stay[0], &byte, 1);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(stay[0]);
	*pipe_fd = stay[1];
	return pid;
}

static void child_ends(pid_t pid, int pipe_fd)
{
	int status;

	close(pipe_fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_real_process_that_holds_the_file_is_found_and_we_never_are(void **state)
{
	struct lock_fixture *f = *state;
	struct answer first = {0}, second = {0};
	int ours, pipe_fd;
	pid_t child;

	lock_and_notice(f, WEB);
	ours = open(below(f, WEB), O_RDONLY | O_CLOEXEC); /* as ourselves while we read it */
	explain(f, &first, true);
	RUN_UNTIL(f->loop, first.times);
	assert_int_equal(view_of(f, 0)->pid, 0);
	assert_int_equal(view_of(f, 0)->stale, LOCK_STALE_UNKNOWN);

	close(ours);
	child = holder_child(f, WEB, true, &pipe_fd);
	explain(f, &second, false); /* another set of containers: the last answer is not good enough */
	RUN_UNTIL(f->loop, second.times);
	assert_int_equal(view_of(f, 0)->pid, child);
	assert_string_equal(view_of(f, 0)->command, "test_lock_holde");
	assert_int_equal(view_of(f, 0)->stale, LOCK_STALE_NO);
	child_ends(child, pipe_fd);

	told_clear(f);
	app_unlocks(f, WEB);
	RUN_UNTIL(f->loop, f->n_told);
	assert_string_equal(f->told[0].text, "gone 1 web updates.lock");
	assert_int_equal(f->told[0].pid, child); /* as it was explained last */
	lock_and_notice(f, WEB);
	assert_int_equal(view_of(f, 0)->pid, 0); /* of a new lock nothing is known */
	assert_null(view_of(f, 0)->command);
}

static void a_call_is_answered_from_the_last_scan_until_a_lock_or_a_container_comes_or_a_second_passes(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a = {0};
	int64_t began_ms;
	int pipe_fd;
	pid_t child;

	lock_and_notice(f, WEB);
	explain(f, &a, true);
	began_ms = loop_now_ms(f->loop);
	RUN_UNTIL(f->loop, a.times == 1);
	child = holder_child(f, WEB, false, &pipe_fd);
	loop_run_once(f->loop, false); /* the time of the loop */
	explain(f, &a, true);
	RUN_UNTIL(f->loop, a.times == 2);
	assert_int_equal(view_of(f, 0)->pid, 0); /* as it was found a moment ago */

	lock_and_notice(f, "1/web/resin-updates.lock");
	explain(f, &a, true);
	RUN_UNTIL(f->loop, a.times == 3);
	assert_int_equal(view_of(f, 1)->pid, child);
	assert_true(loop_now_ms(f->loop) - began_ms >= 1000); /* a new lock is asked about, but not at once */
	child_ends(child, pipe_fd);

	while (view_of(f, 1)->pid) { /* asked again and again, the second passes */
		int before = a.times;

		explain(f, &a, true);
		RUN_UNTIL(f->loop, a.times == before + 1);
	}
}

static void calls_during_a_scan_join_it_or_wait_for_the_next_and_each_is_answered_once(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a[4] = {0};
	int pipe_fd;
	pid_t child;

	lock_and_notice(f, WEB);
	explain(f, &a[0], true);
	explain(f, &a[1], true);
	app_locks(f, "1/web/resin-updates.lock");
	child = holder_child(f, "1/web/resin-updates.lock", false, &pipe_fd);
	prepare(f, 1, "web"); /* reads the directory now */
	assert_int_equal(lock_set_views(f->set)->n, 2);
	explain(f, &a[2], true);
	explain(f, &a[3], true);
	RUN_UNTIL(f->loop, a[3].times);
	for (size_t i = 0; i < ARRAY_LEN(a); i++)
		assert_int_equal(a[i].times, 1);
	assert_int_equal(view_of(f, 0)->pid, child);
	child_ends(child, pipe_fd);
}

static void without_a_lock_there_is_nothing_to_scan_and_an_answer_all_the_same(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a = {0};

	explain(f, &a, true);
	loop_run_once(f->loop, false);
	assert_int_equal(a.times, 1);
}

static void a_lock_of_the_whole_app_gets_its_holder_too(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a = {0};
	int pipe_fd;
	pid_t child;

	set_close(f);
	make_dir(f, LEGACY_ROOT);
	make_dir(f, LEGACY_ROOT "/1");
	app_locks(f, LEGACY_ROOT "/1/resin-updates.lock");
	f->legacy_root = LEGACY_ROOT;
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	DECLARE(f, 1, "web");
	child = holder_child(f, LEGACY_ROOT "/1/resin-updates.lock", false, &pipe_fd);
	explain(f, &a, true);
	RUN_UNTIL(f->loop, a.times);
	assert_null(view_of(f, 0)->service);
	assert_int_equal(view_of(f, 0)->pid, child);
	child_ends(child, pipe_fd);
}

static void a_lock_that_goes_during_the_scan_takes_its_answer_along(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a = {0};
	int pipe_fd;
	pid_t child;

	lock_and_notice(f, WEB);
	child = holder_child(f, WEB, false, &pipe_fd);
	explain(f, &a, true);
	app_unlocks(f, WEB);
	app_locks(f, WEB);
	prepare(f, 1, "web");
	RUN_UNTIL(f->loop, a.times);
	assert_int_equal(view_of(f, 0)->pid, 0);
	child_ends(child, pipe_fd);
}

static void a_set_that_is_freed_during_a_scan_answers_first_and_then_is_closed(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a[2] = {0};

	lock_and_notice(f, WEB);
	explain(f, &a[0], true);
	explain(f, &a[1], false); /* for the next scan, which never comes */
	lock_set_free(STEAL(f->set), fixture_on_closed, f);
	assert_int_equal(a[0].times + a[1].times, 0);
	RUN_UNTIL(f->loop, f->closed);
	assert_int_equal(a[0].times, 1);
	assert_int_equal(a[1].times, 1);
}

static void a_set_may_be_freed_by_the_answer_and_while_an_answer_is_under_way(void **state)
{
	struct lock_fixture *f = *state;
	struct answer a = {.frees = true}, b = {0};

	explain(f, &b, true);
	lock_set_free(STEAL(f->set), fixture_on_closed, f);
	RUN_UNTIL(f->loop, f->closed);
	assert_int_equal(b.times, 1);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	DECLARE(f, 1, "web");
	app_locks(f, WEB);
	prepare(f, 1, "web");
	explain(f, &a, true);
	RUN_UNTIL(f->loop, f->closed);
	assert_int_equal(a.times, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_content_names_a_pid_only_in_the_forms_that_tools_write),
		cmocka_unit_test(a_reason_is_cut_between_two_characters),
		cmocka_unit_test(a_container_is_found_in_the_cgroups_of_every_driver),
		cmocka_unit_test(only_locks_of_known_processes_on_files_count),
		FAKE_TEST(a_pid_in_the_content_is_looked_for_among_the_processes_of_that_service_only),
		FAKE_TEST(a_lock_of_the_whole_app_is_looked_for_in_all_its_containers),
		FAKE_TEST(a_process_that_started_after_the_lock_was_made_is_not_its_holder),
		FAKE_TEST(the_same_pid_in_two_containers_of_the_service_says_nothing),
		FAKE_TEST(without_a_look_at_every_process_no_pid_is_called_dead),
		FAKE_TEST(a_service_without_a_running_container_makes_its_lock_stale),
		FAKE_TEST(a_lock_on_the_file_tells_more_than_its_content_and_that_more_than_an_open_file),
		FAKE_TEST(who_only_waits_for_a_lock_on_the_file_does_not_hold_it),
		FAKE_TEST(
			a_lock_by_a_process_that_hides_its_descriptors_counts_and_by_one_that_shows_them_must_be_open),
		FAKE_TEST(the_name_of_a_process_cannot_steer_a_terminal),
		FAKE_TEST(both_names_linked_to_one_file_have_one_holder),
		FAKE_TEST(every_limit_of_a_scan_ends_it),
		FAKE_TEST(what_is_no_file_is_never_read),
		FAKE_TEST(of_a_huge_file_only_the_beginning_is_read),
		FAKE_TEST(a_lock_that_was_replaced_after_the_question_gets_no_answer),
		FAKE_TEST(no_link_leads_to_a_lock_file),
		REAL_TEST(a_real_process_that_holds_the_file_is_found_and_we_never_are),
		REAL_TEST(a_call_is_answered_from_the_last_scan_until_a_lock_or_a_container_comes_or_a_second_passes),
		REAL_TEST(calls_during_a_scan_join_it_or_wait_for_the_next_and_each_is_answered_once),
		REAL_TEST(without_a_lock_there_is_nothing_to_scan_and_an_answer_all_the_same),
		REAL_TEST(a_lock_of_the_whole_app_gets_its_holder_too),
		REAL_TEST(a_lock_that_goes_during_the_scan_takes_its_answer_along),
		REAL_TEST(a_set_that_is_freed_during_a_scan_answers_first_and_then_is_closed),
		REAL_TEST(a_set_may_be_freed_by_the_answer_and_while_an_answer_is_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
