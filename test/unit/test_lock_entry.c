/* One lock path on disk: making ours in both ways, telling ours from others, removing only that, breaking by force. */
#include "lock_fixture.h"

#include <sys/sysmacros.h>

#define NAME "updates.lock"

static struct lock_entry look(const struct lock_fixture *f)
{
	struct lock_entry e;

	assert_int_equal(lock_entry_read(f->base->dir_fd, NAME, &e), 0);
	return e;
}

static int make_ours(struct lock_fixture *f, enum lock_make how, struct lock_entry *out)
{
	f->err = (struct err){0};
	return lock_entry_make(f->base->dir_fd, NAME, BOOT_ID, THIS_NONCE, &how, out, &f->err);
}

static int entries_in(const struct lock_fixture *f, const char *path)
{
	int fd = openat(f->base->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	DIR *d = fdopendir(fd);

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void ours_appears_with_owner_mode_and_content_in_both_ways(void **state)
{
	struct lock_fixture *f = *state;

	NEEDS_ROOT();
	for (int how = LOCK_MAKE_ANONYMOUS; how <= LOCK_MAKE_NAMED; how++) {
		mode_t old = umask(0777);
		struct lock_entry made, e;
		struct stat st;
		char *text;

		assert_int_equal(make_ours(f, (enum lock_make)how, &made), 0);
		umask(old);
		e = look(f);
		assert_true(e.exists && e.ours && made.ours);
		assert_true(e.ino == made.ino && e.dev == made.dev && e.ctime_ms == made.ctime_ms);
		assert_string_equal(e.nonce, THIS_NONCE);
		assert_int_equal(fstatat(f->base->dir_fd, NAME, &st, 0), 0);
		assert_int_equal(st.st_uid, 65534);
		assert_int_equal(st.st_gid, 65534);
		assert_int_equal(st.st_mode & 07777, 0444);
		assert_int_equal(st.st_nlink, 1);
		text = check_read_file(f->base->dir_fd, NAME);
		assert_string_equal(text, "lockkeeper-supervisor 1 " BOOT_ID " " THIS_NONCE "\n");
		free(text);
		assert_int_equal(entries_in(f, "."), 2); /* tmp of the fixture, and the lock */
		assert_int_equal(lock_entry_remove(f->base->dir_fd, NAME, &made), 0);
	}
}

static void a_spare_has_no_name_until_it_is_named_and_is_complete_then(void **state)
{
	struct lock_fixture *f = *state;
	struct lock_entry made, e;
	struct stat st;
	mode_t old;
	int fd = -1;

	NEEDS_ROOT();
	old = umask(0777);
	assert_int_equal(lock_entry_spare(f->base->dir_fd, BOOT_ID, THIS_NONCE, &fd, &f->err), 0);
	umask(old);
	assert_int_equal(entries_in(f, "."), 1); /* tmp of the fixture */
	assert_int_equal(symlinkat("nowhere", f->base->dir_fd, NAME), 0);
	assert_int_equal(lock_entry_name(fd, f->base->dir_fd, NAME, THIS_NONCE, &made, &f->err), -EEXIST);
	assert_int_equal(unlinkat(f->base->dir_fd, NAME, 0), 0);
	assert_int_equal(lock_entry_name(fd, f->base->dir_fd, NAME, THIS_NONCE, &made, &f->err),
			 0); /* as good as new */
	e = look(f);
	assert_true(e.exists && e.ours && made.ours);
	assert_true(e.ino == made.ino && e.dev == made.dev && e.ctime_ms == made.ctime_ms);
	assert_string_equal(e.nonce, THIS_NONCE);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(st.st_nlink, 1);
	close(fd);
	assert_int_equal(lock_entry_spare(f->base->dir_fd, BOOT_ID, THIS_NONCE, &fd, &f->err), 0);
	close(fd);
	assert_int_equal(entries_in(f, "."), 2); /* and the lock: a spare never named leaves nothing */
}

static void anything_in_the_way_is_an_exclusive_failure_in_both_ways(void **state)
{
	struct lock_fixture *f = *state;
	struct lock_entry e;

	NEEDS_ROOT();
	assert_int_equal(symlinkat("nowhere", f->base->dir_fd, NAME), 0);
	for (int how = LOCK_MAKE_ANONYMOUS; how <= LOCK_MAKE_NAMED; how++) {
		assert_int_equal(make_ours(f, (enum lock_make)how, &e), -EEXIST);
		assert_int_equal(entries_in(f, "."), 2);
	}
	e = look(f);
	assert_int_equal(e.kind, LOCK_SYMLINK);
}

static void a_temporary_that_was_left_does_not_keep_us_from_making_the_next(void **state)
{
	struct lock_fixture *f = *state;
	struct lock_entry e;

	NEEDS_ROOT();
	check_write_file(f->base->dir_fd, ".lk-" THIS_NONCE, "lockkeeper-superv");
	assert_int_equal(make_ours(f, LOCK_MAKE_NAMED, &e), 0);
	assert_true(look(f).ours);
	assert_int_equal(unlinkat(f->base->dir_fd, NAME, 0), 0);
	assert_int_equal(mkdirat(f->base->dir_fd, ".lk-" THIS_NONCE, 0700),
			 0); /* no file of ours: left alone, and said */
	assert_int_equal(make_ours(f, LOCK_MAKE_NAMED, &e), -EBUSY);
	assert_non_null(strstr(f->err.msg, "make the temporary .lk-" THIS_NONCE));
	assert_false(look(f).exists);
}

static void only_file_owner_and_content_together_make_it_ours(void **state)
{
	static const struct {
		const char *text;
		unsigned uid;
		bool ours;
	} rows[] = {
		{"lockkeeper-supervisor 1 old-boot old-nonce\n", 65534, true},
		{"lockkeeper-supervisor 1 old-boot old-nonce\n", 0, false}, /* a copy made by an application */
		{"lockkeeper-supervisor 1 old-boot\n", 65534, false},
		{"", 65534, false}, /* an application that runs as nobody */
		{"0", 65534, false},
	};
	struct lock_fixture *f = *state;

	NEEDS_ROOT();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_write_file(f->base->dir_fd, NAME, rows[i].text);
		assert_int_equal(fchownat(f->base->dir_fd, NAME, rows[i].uid, rows[i].uid, 0), 0);
		assert_int_equal(look(f).ours, rows[i].ours);
		assert_int_equal(look(f).uid, rows[i].uid);
		assert_int_equal(unlinkat(f->base->dir_fd, NAME, 0), 0);
	}
}

static void content_longer_than_ours_can_be_is_not_read_as_ours(void **state)
{
	struct lock_fixture *f = *state;
	char text[5000];

	NEEDS_ROOT();
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "lockkeeper-supervisor 1 a b\n", 28);
	check_write_file(f->base->dir_fd, NAME, text);
	assert_int_equal(fchownat(f->base->dir_fd, NAME, 65534, 65534, 0), 0);
	assert_false(look(f).ours);
}

static void a_fifo_device_or_socket_does_not_hang_and_is_kind_other(void **state)
{
	struct lock_fixture *f = *state;

	NEEDS_ROOT();
	assert_int_equal(mkfifoat(f->base->dir_fd, NAME, 0666), 0);
	assert_int_equal(fchownat(f->base->dir_fd, NAME, 65534, 65534, 0), 0);
	assert_int_equal(look(f).kind, LOCK_OTHER);
	assert_false(look(f).ours);
	assert_int_equal(unlinkat(f->base->dir_fd, NAME, 0), 0);
	if (mknodat(f->base->dir_fd, NAME, S_IFCHR | 0666, makedev(1, 3)) == 0)
		assert_int_equal(look(f).kind, LOCK_OTHER);
}

static void a_file_that_took_the_place_of_ours_is_not_removed(void **state)
{
	struct lock_fixture *f = *state;
	struct lock_entry e;

	NEEDS_ROOT();
	assert_int_equal(make_ours(f, LOCK_MAKE_ANONYMOUS, &e), 0);
	check_write_file(f->base->dir_fd, "thief", "");
	assert_int_equal(renameat(f->base->dir_fd, "thief", f->base->dir_fd, NAME), 0);
	assert_int_equal(lock_entry_remove(f->base->dir_fd, NAME, &e), 1);
	assert_true(look(f).exists);
	assert_int_equal(unlinkat(f->base->dir_fd, NAME, 0), 0);
	assert_int_equal(lock_entry_remove(f->base->dir_fd, NAME, &e), 0);
}

static void only_temporaries_of_our_form_are_swept(void **state)
{
	struct lock_fixture *f = *state;
	int fd = f->base->dir_fd;

	check_write_file(fd, ".lk-" THIS_NONCE, "lockkeeper-superv");
	check_write_file(fd, ".lk-", "");
	check_write_file(fd, ".lk-a_b", "");
	check_write_file(fd, ".lk", "");
	check_write_file(fd, "x.lk-abc", "");
	check_write_file(fd, ".lk-data", "of an application"); /* at L3 its data are beside the lock */
	assert_int_equal(mkdirat(fd, ".lk-dir", 0700), 0);
	assert_int_equal(symlinkat("x", fd, ".lk-link"), 0);
	if (geteuid() == 0) {
		check_write_file(fd, ".lk-foreign", "");
		assert_int_equal(fchownat(fd, ".lk-foreign", 1000, 1000, 0), 0);
	}
	lock_entry_sweep(fd);
	assert_int_equal(faccessat(fd, ".lk-" THIS_NONCE, F_OK, 0), -1);
	assert_int_equal(entries_in(f, "."), 8 + (geteuid() == 0)); /* and tmp */
}

/* -------- force -------- */

static int break_it(struct lock_fixture *f, unsigned budget)
{
	f->err = (struct err){0};
	return lock_entry_break(f->base->dir_fd, NAME, &budget, &f->err);
}

static void force_removes_files_links_and_trees_but_nothing_that_links_point_to(void **state)
{
	struct lock_fixture *f = *state;
	int fd = f->base->dir_fd;

	check_write_file(fd, "precious", "x");
	assert_int_equal(mkdirat(fd, "keep", 0755), 0);
	check_write_file(fd, "keep/me", "x");

	check_write_file(fd, NAME, "");
	assert_int_equal(break_it(f, 100), 0);
	assert_int_equal(symlinkat("keep", fd, NAME), 0);
	assert_int_equal(break_it(f, 100), 0);
	assert_int_equal(mkdirat(fd, NAME, 0), 0);
	assert_int_equal(break_it(f, 100), 0);
	assert_int_equal(mkdirat(fd, NAME, 0755), 0);
	assert_int_equal(mkdirat(fd, NAME "/sub", 0755), 0);
	check_write_file(fd, NAME "/sub/host-1.1", "");
	assert_int_equal(symlinkat("../keep", fd, NAME "/dir"), 0);
	assert_int_equal(linkat(fd, "precious", fd, NAME "/sub/hard", 0), 0);
	assert_int_equal(break_it(f, 100), 0);
	assert_false(look(f).exists);
	assert_int_equal(faccessat(fd, "keep/me", F_OK, 0), 0);
	assert_int_equal(faccessat(fd, "precious", F_OK, 0), 0);
	assert_int_equal(break_it(f, 100), 0); /* nothing there is as good as removed */
}

/* `levels` directories inside the lock directory, a file in the deepest. */
static void make_nested(int dir_fd, int levels)
{
	int fd, parent = dup(dir_fd);

	for (int i = 0; i <= levels; i++) {
		const char *name = i ? "d" : NAME;

		assert_int_equal(mkdirat(parent, name, 0755), 0);
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(parent);
		parent = fd;
	}
	check_write_file(parent, "file", "");
	close(parent);
}

static void a_tree_is_broken_down_to_its_depth_limit_and_no_further(void **state)
{
	struct lock_fixture *f = *state;

	make_nested(f->base->dir_fd, LOCK_BREAK_DEPTH_MAX - 1);
	assert_int_equal(break_it(f, 1000), 0);
	assert_false(look(f).exists);
	make_nested(f->base->dir_fd, LOCK_BREAK_DEPTH_MAX);
	assert_int_equal(break_it(f, 1000), -ELOOP);
	assert_non_null(strstr(f->err.msg, "more than 32 directories deep"));
	assert_true(look(f).exists);
}

static void a_large_tree_goes_in_slices(void **state)
{
	struct lock_fixture *f = *state;
	char name[64];
	int calls = 1;

	assert_int_equal(mkdirat(f->base->dir_fd, NAME, 0755), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), NAME "/%d", i);
		check_write_file(f->base->dir_fd, name, "");
	}
	assert_int_equal(break_it(f, 30), 1);
	assert_int_equal(entries_in(f, NAME), 70);
	while (break_it(f, 30) == 1)
		calls++;
	assert_int_equal(calls, 3);
	assert_false(look(f).exists);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST_NO_SET(ours_appears_with_owner_mode_and_content_in_both_ways),
		LOCK_TEST_NO_SET(a_spare_has_no_name_until_it_is_named_and_is_complete_then),
		LOCK_TEST_NO_SET(anything_in_the_way_is_an_exclusive_failure_in_both_ways),
		LOCK_TEST_NO_SET(a_temporary_that_was_left_does_not_keep_us_from_making_the_next),
		LOCK_TEST_NO_SET(only_file_owner_and_content_together_make_it_ours),
		LOCK_TEST_NO_SET(content_longer_than_ours_can_be_is_not_read_as_ours),
		LOCK_TEST_NO_SET(a_fifo_device_or_socket_does_not_hang_and_is_kind_other),
		LOCK_TEST_NO_SET(a_file_that_took_the_place_of_ours_is_not_removed),
		LOCK_TEST_NO_SET(only_temporaries_of_our_form_are_swept),
		LOCK_TEST_NO_SET(force_removes_files_links_and_trees_but_nothing_that_links_point_to),
		LOCK_TEST_NO_SET(a_tree_is_broken_down_to_its_depth_limit_and_no_further),
		LOCK_TEST_NO_SET(a_large_tree_goes_in_slices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
