/* Directory watches on real directories, and what we assume about inotify. */
#include "check.h"

#include <sys/inotify.h>
#include <sys/resource.h>

#include "loop/dirwatch.h"
#include "util/mem.h"

#define EVERYTHING (DIRWATCH_CHANGED | DIRWATCH_GONE | DIRWATCH_OVERFLOW)

struct seen {
	int calls;
	unsigned events; /* all so far */
	struct dirwatch_entry *entry;
	struct dirwatch_entry **remove[2]; /* what the callback removes */
	struct dirwatch *free_this;
	struct add_args {
		struct dirwatch *w;
		int dir_fd;
		struct seen *to;
	} add;
};

static void on_events(void *ctx, unsigned events);

static void watch(struct dirwatch *w, int dir_fd, const char *const *names, bool content, struct seen *s)
{
	struct err err = {0};

	if (dirwatch_add(w, dir_fd, names, content, on_events, s, &s->entry, &err) < 0)
		fail_msg("%s", err.msg);
}

static void on_events(void *ctx, unsigned events)
{
	struct seen *s = ctx;

	assert_true(events && !(events & ~(unsigned)EVERYTHING));
	s->calls++;
	s->events |= events;
	for (size_t i = 0; i < ARRAY_LEN(s->remove); i++)
		if (s->remove[i])
			dirwatch_remove(STEAL(*s->remove[i]));
	if (s->add.to) {
		watch(s->add.w, s->add.dir_fd, NULL, false, s->add.to);
		s->add.to = NULL;
	}
	if (s->free_this)
		dirwatch_free(STEAL(s->free_this));
}

static struct dirwatch *new_watch(struct check_fixture *f)
{
	struct dirwatch *w;
	struct err err = {0};

	if (dirwatch_new(f->loop, &w, &err) < 0)
		fail_msg("%s", err.msg);
	return w;
}

static int make_dir(struct check_fixture *f, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(f->dir_fd, name, 0755), 0);
	fd = openat(f->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* What has happened so far is reported in the next turn; anything later would be a bug. */
static int calls_now(struct check_fixture *f, struct seen *s)
{
	int before = s->calls;

	s->events = 0;
	check_run_turns(f->loop, 2);
	return s->calls - before;
}

/* -------- what is reported -------- */

static void each_kind_of_change_is_reported(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int other = make_dir(f, "other"), dir = make_dir(f, "dir");
	struct seen s = {0};

	watch(w, dir, NULL, false, &s);
	assert_int_equal(calls_now(f, &s), 0);
	check_write_file(dir, "a", "");
	assert_int_equal(calls_now(f, &s), 1); /* made */
	assert_int_equal(renameat(dir, "a", dir, "b"), 0);
	assert_int_equal(calls_now(f, &s), 1); /* renamed */
	assert_int_equal(fchmodat(dir, "b", 0600, 0), 0);
	assert_int_equal(calls_now(f, &s), 1); /* attributes */
	assert_int_equal(renameat(dir, "b", other, "b"), 0);
	assert_int_equal(calls_now(f, &s), 1); /* out */
	assert_int_equal(renameat(other, "b", dir, "b"), 0);
	assert_int_equal(calls_now(f, &s), 1); /* in */
	assert_int_equal(linkat(dir, "b", dir, "hard", 0), 0);
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(symlinkat("x", dir, "sym"), 0);
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(mkdirat(dir, "sub", 0755), 0);
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(unlinkat(dir, "sub", AT_REMOVEDIR), 0);
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(unlinkat(dir, "b", 0), 0);
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(fchmod(dir, 0700), 0);
	assert_int_equal(calls_now(f, &s), 1); /* its own attributes */
	assert_int_equal(s.events, DIRWATCH_CHANGED);
	dirwatch_remove(s.entry);
	dirwatch_free(w);
	close(dir);
	close(other);
}

static void written_content_is_reported_only_if_asked_for(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen with = {0}, without = {0};

	check_write_file(f->dir_fd, "a", "1");
	watch(w, f->dir_fd, NULL, false, &without);
	check_write_file(f->dir_fd, "a", "2");
	assert_int_equal(calls_now(f, &without), 0);
	watch(w, f->dir_fd, NULL, true, &with); /* the same directory: the first entry must not get more */
	check_write_file(f->dir_fd, "a", "3");
	assert_int_equal(calls_now(f, &with), 1);
	assert_int_equal(without.calls, 0);
	dirwatch_remove(without.entry);
	check_write_file(f->dir_fd, "a", "4");
	assert_int_equal(calls_now(f, &with), 1);
	dirwatch_remove(with.entry);
	dirwatch_free(w);
}

static void many_changes_are_one_call(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen s = {0};

	watch(w, f->dir_fd, NULL, true, &s);
	for (int i = 0; i < 1000; i++) {
		AUTO_FREE char *name = mem_printf("a-name-of-some-length-%d", i);

		check_write_file(f->dir_fd, name, "x");
	}
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(s.events, DIRWATCH_CHANGED);
	dirwatch_remove(s.entry);
	dirwatch_free(w);
}

static void only_the_names_of_interest_are_reported(void **state)
{
	const char *names[] = {"updates.lock", "resin-updates.lock", NULL};
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen s = {0}, all = {0};

	watch(w, f->dir_fd, names, false, &s);
	watch(w, f->dir_fd, NULL, false, &all);
	names[0] = names[1] = "gone"; /* they were copied */
	check_write_file(f->dir_fd, "updates.loc", "");
	check_write_file(f->dir_fd, "updates.lock.tmp", "");
	check_write_file(f->dir_fd, "#12345", "");
	assert_int_equal(calls_now(f, &s), 0);
	assert_int_equal(all.calls, 1);
	check_write_file(f->dir_fd, "updates.lock", "");
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(unlinkat(f->dir_fd, "updates.lock", 0), 0);
	check_write_file(f->dir_fd, "resin-updates.lock", "");
	assert_int_equal(calls_now(f, &s), 1);
	assert_int_equal(fchmod(f->dir_fd, 0700), 0);
	assert_int_equal(calls_now(f, &s), 1); /* the directory itself has no name */
	dirwatch_remove(s.entry);
	dirwatch_remove(all.entry);
	dirwatch_free(w);
}

static void a_file_linked_into_place_is_reported_under_its_name(void **state)
{
	static const char *const names[] = {"updates.lock", NULL};
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen s = {0};
	int fd = openat(f->dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
	char path[40];

	if (fd < 0)
		skip(); /* a file system without O_TMPFILE */
	watch(w, f->dir_fd, names, false, &s);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, path, f->dir_fd, "updates.lock", AT_SYMLINK_FOLLOW), 0);
	assert_int_equal(calls_now(f, &s), 1);
	close(fd);
	dirwatch_remove(s.entry);
	dirwatch_free(w);
}

static void entries_of_one_directory_all_report_until_removed(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen a = {0}, b = {0}, c = {0};
	int again = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC); /* another descriptor, the same inode */

	watch(w, f->dir_fd, NULL, false, &a);
	watch(w, again, NULL, false, &b);
	watch(w, f->dir_fd, NULL, false, &c);
	close(again); /* was borrowed for the call only */
	check_write_file(f->dir_fd, "x", "");
	assert_int_equal(calls_now(f, &a), 1);
	assert_int_equal(b.calls, 1);
	assert_int_equal(c.calls, 1);
	dirwatch_remove(b.entry);
	check_write_file(f->dir_fd, "y", "");
	assert_int_equal(calls_now(f, &a), 1);
	assert_int_equal(b.calls, 1);
	assert_int_equal(c.calls, 2);
	dirwatch_remove(a.entry);
	dirwatch_remove(c.entry);
	check_write_file(f->dir_fd, "z", "");
	assert_int_equal(calls_now(f, &a), 0);
	watch(w, f->dir_fd, NULL, false, &a); /* and it may be watched again */
	assert_int_equal(calls_now(f, &a), 0);
	check_write_file(f->dir_fd, "zz", "");
	assert_int_equal(calls_now(f, &a), 1);
	dirwatch_remove(a.entry);
	dirwatch_free(w);
}

static void many_directories_report_for_themselves(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen s[100] = {0};
	int fds[100];

	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		AUTO_FREE char *name = mem_printf("d%zu", i);

		fds[i] = make_dir(f, name);
		watch(w, fds[i], NULL, false, &s[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(s); i += 3)
		dirwatch_remove(STEAL(s[i].entry));
	for (size_t i = 0; i < ARRAY_LEN(s); i += 2)
		check_write_file(fds[i], "x", "");
	check_run_turns(f->loop, 3);
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		assert_int_equal(s[i].calls, i % 3 && i % 2 == 0);
		dirwatch_remove(s[i].entry);
		close(fds[i]);
	}
	dirwatch_free(w);
}

/* -------- the end of a directory -------- */

static void a_deleted_directory_is_gone_once_and_reports_nothing_more(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int dir = make_dir(f, "dir");
	struct seen a = {0}, b = {0};

	watch(w, dir, NULL, false, &a);
	watch(w, dir, NULL, false, &b);
	close(dir);
	assert_int_equal(unlinkat(f->dir_fd, "dir", AT_REMOVEDIR), 0);
	assert_int_equal(calls_now(f, &a), 1);
	assert_true(a.events & DIRWATCH_GONE);
	assert_true(b.events & DIRWATCH_GONE);
	dirwatch_remove(a.entry);
	dir = make_dir(f, "dir"); /* under its old name, watched anew beside the dead entry */
	watch(w, dir, NULL, false, &a);
	check_write_file(dir, "x", "");
	assert_int_equal(calls_now(f, &a), 1);
	assert_int_equal(a.events, DIRWATCH_CHANGED);
	assert_int_equal(b.calls, 1);
	dirwatch_remove(a.entry);
	dirwatch_remove(b.entry);
	close(dir);
	dirwatch_free(w);
}

static void a_moved_directory_is_gone_and_may_be_watched_again(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int dir = make_dir(f, "dir");
	struct seen a = {0}, b = {0};

	watch(w, dir, NULL, false, &a);
	assert_int_equal(renameat(f->dir_fd, "dir", f->dir_fd, "moved"), 0);
	assert_int_equal(calls_now(f, &a), 1);
	assert_int_equal(a.events, DIRWATCH_GONE);
	watch(w, dir, NULL, false, &b); /* the same inode, so the same watch of the kernel */
	check_write_file(dir, "x", "");
	assert_int_equal(calls_now(f, &b), 1);
	assert_int_equal(a.calls, 1);
	dirwatch_remove(a.entry);
	check_write_file(dir, "y", "");
	assert_int_equal(calls_now(f, &b), 1);
	dirwatch_remove(b.entry);
	close(dir);
	dirwatch_free(w);
}

static void a_deleted_directory_is_silent_while_somebody_has_it_open(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int dir = make_dir(f, "dir");
	struct seen s = {0};

	watch(w, dir, NULL, false, &s);
	assert_int_equal(unlinkat(f->dir_fd, "dir", AT_REMOVEDIR), 0);
	assert_int_equal(calls_now(f, &s), 0); /* the kernel's rule: who keeps it open watches the parent too */
	close(dir);
	assert_int_equal(calls_now(f, &s), 1);
	assert_true(s.events & DIRWATCH_GONE);
	dirwatch_remove(s.entry);
	dirwatch_free(w);
}

/* -------- overflow and limits -------- */

static int read_limit(const char *path)
{
	AUTO_FREE char *text = check_read_file(AT_FDCWD, path);

	return text ? atoi(text) : 0;
}

static void lost_events_are_reported_to_every_entry(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int limit = read_limit("/proc/sys/fs/inotify/max_queued_events"), other = make_dir(f, "other");
	struct seen busy = {0}, quiet = {0};

	if (limit <= 0 || limit > 1000000)
		skip();
	watch(w, f->dir_fd, NULL, false, &busy);
	watch(w, other, NULL, false, &quiet);
	check_write_file(f->dir_fd, "a", "");
	check_write_file(f->dir_fd, "b", "");
	for (int i = 0; i < limit / 2 + 10; i++) { /* two that differ: equal neighbours are merged by the kernel */
		fchmodat(f->dir_fd, "a", i & 1 ? 0600 : 0644, 0);
		fchmodat(f->dir_fd, "b", i & 1 ? 0600 : 0644, 0);
	}
	RUN_UNTIL(f->loop, quiet.calls == 1);
	assert_int_equal(quiet.events, DIRWATCH_OVERFLOW);
	assert_int_equal(busy.events, DIRWATCH_CHANGED | DIRWATCH_OVERFLOW);
	check_write_file(other, "x", ""); /* and it goes on */
	assert_int_equal(calls_now(f, &quiet), 1);
	assert_int_equal(quiet.events, DIRWATCH_CHANGED);
	dirwatch_remove(busy.entry);
	dirwatch_remove(quiet.entry);
	close(other);
	dirwatch_free(w);
}

static void no_descriptor_left_is_an_error(void **state)
{
	struct check_fixture *f = *state;
	struct rlimit old, none;
	struct err err = {0};
	struct dirwatch *w;
	int r;

	getrlimit(RLIMIT_NOFILE, &old);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	r = dirwatch_new(f->loop, &w, &err);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(r, -EMFILE);
	assert_string_equal(err.msg, "inotify: Too many open files");
	assert_null(w);
}

static void what_is_no_directory_cannot_be_watched(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct dirwatch_entry *e = (struct dirwatch_entry *)w;
	struct err err = {0};
	int fd;

	check_write_file(f->dir_fd, "file", "");
	fd = openat(f->dir_fd, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(dirwatch_add(w, fd, NULL, false, on_events, NULL, &e, &err), -ENOTDIR);
	assert_string_equal(err.msg, "watch directory: Not a directory");
	assert_null(e);
	close(fd);
	assert_int_equal(dirwatch_add(w, fd, NULL, false, on_events, NULL, &e, &err), -ENOENT); /* closed */
	dirwatch_remove(NULL);
	dirwatch_free(w);
	dirwatch_free(NULL);
}

/* -------- callbacks that change the watches -------- */

static void a_callback_may_remove_itself_and_others_that_are_due(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int one = make_dir(f, "one"), two = make_dir(f, "two"), three = make_dir(f, "three");
	struct seen a = {0}, b = {0}, c = {0};

	watch(w, one, NULL, false, &a);
	watch(w, two, NULL, false, &b);
	watch(w, three, NULL, false, &c);
	a.remove[0] = &a.entry;
	a.remove[1] = &b.entry;
	check_write_file(one, "x", "");
	check_write_file(two, "x", "");
	check_write_file(three, "x", "");
	check_run_turns(f->loop, 3);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 0); /* no callback after its removal */
	assert_int_equal(c.calls, 1);
	check_write_file(one, "y", "");
	check_write_file(two, "y", "");
	check_run_turns(f->loop, 3);
	assert_int_equal(a.calls + b.calls, 1);
	dirwatch_remove(c.entry);
	dirwatch_free(w);
	close(one);
	close(two);
	close(three);
}

static void removing_the_last_or_the_middle_of_those_due_keeps_the_rest(void **state)
{
	struct check_fixture *f = *state;
	static const char *const names[] = {"0", "1", "2", "3"};

	for (size_t victim = 1; victim < 4; victim++) {
		struct dirwatch *w = new_watch(f);
		struct seen s[4] = {0};
		int fds[4];

		for (size_t i = 0; i < 4; i++) {
			fds[i] = make_dir(f, names[i]);
			watch(w, fds[i], NULL, false, &s[i]);
			check_write_file(fds[i], "x", "");
		}
		s[0].remove[0] = &s[victim].entry;
		check_run_turns(f->loop, 3);
		for (size_t i = 0; i < 4; i++) {
			assert_int_equal(s[i].calls, i != victim);
			dirwatch_remove(s[i].entry);
			unlinkat(fds[i], "x", 0);
			close(fds[i]);
			unlinkat(f->dir_fd, names[i], AT_REMOVEDIR);
		}
		dirwatch_free(w);
	}
}

static void a_callback_may_add_a_watch(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int other = make_dir(f, "other");
	struct seen a = {0}, same = {0}, b = {0};

	watch(w, f->dir_fd, NULL, false, &a);
	a.add = (struct add_args){w, f->dir_fd, &same};
	check_write_file(f->dir_fd, "x", "");
	check_run_turns(f->loop, 3);
	assert_non_null(same.entry);
	assert_int_equal(same.calls, 0); /* it was not there when that happened */
	a.add = (struct add_args){w, other, &b};
	check_write_file(f->dir_fd, "y", "");
	check_run_turns(f->loop, 3);
	assert_int_equal(same.calls, 1);
	check_write_file(other, "z", "");
	check_run_turns(f->loop, 3);
	assert_int_equal(b.calls, 1);
	dirwatch_remove(a.entry);
	dirwatch_remove(same.entry);
	dirwatch_remove(b.entry);
	dirwatch_free(w);
	close(other);
}

static void a_callback_may_end_the_whole_watch(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	int other = make_dir(f, "other");
	struct seen a = {0}, b = {0};

	watch(w, f->dir_fd, NULL, false, &a);
	watch(w, other, NULL, false, &b);
	a.remove[0] = &a.entry;
	a.remove[1] = &b.entry;
	a.free_this = w;
	check_write_file(f->dir_fd, "x", "");
	check_write_file(other, "x", "");
	check_run_turns(f->loop, 3);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 0);
	close(other);
}

static void without_entries_nothing_wakes_the_loop(void **state)
{
	struct check_fixture *f = *state;
	struct dirwatch *w = new_watch(f);
	struct seen s = {0};

	loop_run(f->loop); /* would not come back while the handle is active */
	watch(w, f->dir_fd, NULL, false, &s);
	check_write_file(f->dir_fd, "x", "");
	dirwatch_remove(s.entry); /* its events, and the kernel's IN_IGNORED, are still unread */
	loop_run(f->loop);
	watch(w, f->dir_fd, NULL, false, &s);
	assert_int_equal(calls_now(f, &s), 0); /* and are not taken for the new entry's */
	dirwatch_remove(s.entry);
	dirwatch_free(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_kind_of_change_is_reported),
		TEST(written_content_is_reported_only_if_asked_for),
		TEST(many_changes_are_one_call),
		TEST(only_the_names_of_interest_are_reported),
		TEST(a_file_linked_into_place_is_reported_under_its_name),
		TEST(entries_of_one_directory_all_report_until_removed),
		TEST(many_directories_report_for_themselves),
		TEST(a_deleted_directory_is_gone_once_and_reports_nothing_more),
		TEST(a_moved_directory_is_gone_and_may_be_watched_again),
		TEST(a_deleted_directory_is_silent_while_somebody_has_it_open),
		TEST(lost_events_are_reported_to_every_entry),
		TEST(no_descriptor_left_is_an_error),
		TEST(what_is_no_directory_cannot_be_watched),
		TEST(a_callback_may_remove_itself_and_others_that_are_due),
		TEST(removing_the_last_or_the_middle_of_those_due_keeps_the_rest),
		TEST(a_callback_may_add_a_watch),
		TEST(a_callback_may_end_the_whole_watch),
		TEST(without_entries_nothing_wakes_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
