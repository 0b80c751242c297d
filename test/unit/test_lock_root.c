/* The lock root: made, checked component by component, and claimed by one supervisor. */
#include "lock_fixture.h"

#include <sys/file.h>
#include <sys/wait.h>

static void make_dir_mode(const struct lock_fixture *f, const char *path, unsigned mode)
{
	assert_int_equal(mkdirat(f->base->dir_fd, path, 0700), 0);
	assert_int_equal(fchmodat(f->base->dir_fd, path, mode, 0), 0);
}

static unsigned mode_of(const struct lock_fixture *f, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(f->base->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void missing_components_are_made_0755_whatever_the_umask(void **state)
{
	struct lock_fixture *f = *state;
	mode_t old = umask(0077);

	assert_int_equal(set_open(f, THIS_NONCE), 0);
	umask(old);
	assert_int_equal(mode_of(f, "tmp/balena-supervisor"), 0755);
	assert_int_equal(mode_of(f, "tmp/balena-supervisor/services"), 0755);
}

static void a_component_that_others_may_write_is_refused_by_name(void **state)
{
	struct lock_fixture *f = *state;

	make_dir_mode(f, "tmp/balena-supervisor", 0775);
	assert_int_equal(set_open(f, THIS_NONCE), -EPERM);
	assert_string_equal(f->err.msg,
			    "/tmp/balena-supervisor (mode 0775) is writable by others: no place for update locks");
	assert_int_equal(fchmodat(f->base->dir_fd, "tmp/balena-supervisor", 0757, 0), 0);
	assert_int_equal(set_open(f, THIS_NONCE), -EPERM);
	assert_int_equal(fchmodat(f->base->dir_fd, "tmp/balena-supervisor", 0755, 0), 0);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
}

static void a_component_of_another_user_is_refused_by_name(void **state)
{
	struct lock_fixture *f = *state;

	NEEDS_ROOT();
	make_dir_mode(f, "tmp/balena-supervisor", 0755);
	assert_int_equal(fchownat(f->base->dir_fd, "tmp/balena-supervisor", 1000, 0, 0), 0);
	assert_int_equal(set_open(f, THIS_NONCE), -EPERM);
	assert_string_equal(f->err.msg,
			    "/tmp/balena-supervisor belongs to uid 1000, not to root: no place for update locks");
}

static void a_link_or_file_on_the_way_is_refused(void **state)
{
	struct lock_fixture *f = *state;

	make_dir_mode(f, "elsewhere", 0755);
	assert_int_equal(symlinkat("../elsewhere", f->base->dir_fd, "tmp/balena-supervisor"), 0);
	assert_int_equal(set_open(f, THIS_NONCE), -EPERM);
	assert_string_equal(f->err.msg, "/tmp/balena-supervisor is a symbolic link: no place for update locks");
	assert_int_equal(unlinkat(f->base->dir_fd, "tmp/balena-supervisor", 0), 0);
	check_write_file(f->base->dir_fd, "tmp/balena-supervisor", "");
	assert_int_equal(set_open(f, THIS_NONCE), -ENOTDIR);
	assert_string_equal(f->err.msg, "/tmp/balena-supervisor is not a directory");
}

static void an_old_root_gets_a_relative_link_and_keeps_its_directory(void **state)
{
	struct lock_fixture *f = *state;
	char target[64] = "";

	make_dir_mode(f, "tmp/resin-supervisor", 0755);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(readlinkat(f->base->dir_fd, "tmp/balena-supervisor", target, sizeof(target) - 1), 16);
	assert_string_equal(target, "resin-supervisor");
	prepare(f, 1, "web");
	assert_int_equal(mode_of(f, "tmp/resin-supervisor/services/1/web"), 01777);
	set_close(f);
	assert_int_equal(set_open(f, THIS_NONCE), 0); /* and the link is accepted at the next start */
}

static void the_link_is_known_as_the_reference_writes_it(void **state)
{
	struct lock_fixture *f = *state;

	make_dir_mode(f, "tmp/resin-supervisor", 0755);
	assert_int_equal(symlinkat("./resin-supervisor", f->base->dir_fd, "tmp/balena-supervisor"), 0);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	prepare(f, 1, "web");
	assert_int_equal(mode_of(f, "tmp/resin-supervisor/services/1/web"), 01777);
}

static void an_old_root_beside_the_new_one_changes_nothing(void **state)
{
	struct lock_fixture *f = *state;
	struct stat st;

	make_dir_mode(f, "tmp/resin-supervisor", 0755);
	make_dir_mode(f, "tmp/balena-supervisor", 0755);
	assert_int_equal(set_open(f, THIS_NONCE), 0);
	assert_int_equal(fstatat(f->base->dir_fd, "tmp/balena-supervisor", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISDIR(st.st_mode));
}

static void a_root_that_is_no_absolute_path_is_refused(void **state)
{
	static const char *const bad[] = {"", "/", "//", "tmp/x", "/tmp/../etc", "/tmp/./x"};
	struct lock_fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct lock_options o = {.host_root = f->base->dir, .lock_root = bad[i], .boot_id = "b", .nonce = "n"};

		assert_int_equal(lock_set_new(f->loop, &o, &f->set, &f->err), -EINVAL);
	}
}

static void a_nonce_that_would_not_be_recognised_again_is_refused(void **state)
{
	struct lock_fixture *f = *state;

	assert_int_equal(set_open(f, "with space"), -EINVAL);
	assert_int_equal(set_open(f, ""), -EINVAL);
}

static void a_second_supervisor_is_told_the_pid_of_the_first(void **state)
{
	struct lock_fixture *f = *state;
	struct lock_set *first;
	char want[200];

	assert_int_equal(set_open(f, THIS_NONCE), 0);
	first = STEAL(f->set);
	assert_int_equal(set_open(f, EARLIER_NONCE), -EBUSY);
	snprintf(want, sizeof(want), "another supervisor (pid %d) uses " LOCK_ROOT, (int)getpid());
	assert_string_equal(f->err.msg, want);
	f->set = first;
	set_close(f);
	assert_int_equal(set_open(f, EARLIER_NONCE), 0);
}

static void a_holder_that_wrote_no_pid_is_not_guessed(void **state)
{
	struct lock_fixture *f = *state;
	int fd;

	assert_int_equal(set_open(f, THIS_NONCE), 0);
	set_close(f);
	fd = open(below(f, ".supervisor"), O_RDWR | O_TRUNC | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(set_open(f, THIS_NONCE), -EBUSY);
	assert_string_equal(f->err.msg, "another supervisor uses " LOCK_ROOT);
	close(fd);
}

/* What runs as uid 1000 in a tree of its own: everything but giving a file away. */
static int unprivileged_take(struct lock_fixture *f)
{
	struct strv services = {0};
	struct loop *l;

	if (setgid(1000) < 0 || setuid(1000) < 0)
		return 100;
	l = loop_new();
	f->loop = l;
	if (set_open(f, THIS_NONCE) != 0)
		return 101;
	strv_add(&services, "web");
	lock_set_services(f->set, 1, &services);
	strv_deinit(&services);
	if (take(f, 1, false) != -EPERM || !strstr(f->err.msg, "change its owner to 65534"))
		return 102;
	return exists(f, "1/web/updates.lock") || exists(f, "1/web/resin-updates.lock") ? 103 : 0;
}

static void one_who_may_not_give_files_away_gets_an_error_and_leaves_nothing(void **state)
{
	struct lock_fixture *f = *state;
	int status;
	pid_t pid;

	NEEDS_ROOT();
	assert_int_equal(chown(f->base->dir, 1000, 1000), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(unprivileged_take(f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOCK_TEST_NO_SET(missing_components_are_made_0755_whatever_the_umask),
		LOCK_TEST_NO_SET(a_component_that_others_may_write_is_refused_by_name),
		LOCK_TEST_NO_SET(a_component_of_another_user_is_refused_by_name),
		LOCK_TEST_NO_SET(a_link_or_file_on_the_way_is_refused),
		LOCK_TEST_NO_SET(an_old_root_gets_a_relative_link_and_keeps_its_directory),
		LOCK_TEST_NO_SET(the_link_is_known_as_the_reference_writes_it),
		LOCK_TEST_NO_SET(an_old_root_beside_the_new_one_changes_nothing),
		LOCK_TEST_NO_SET(a_root_that_is_no_absolute_path_is_refused),
		LOCK_TEST_NO_SET(a_nonce_that_would_not_be_recognised_again_is_refused),
		LOCK_TEST_NO_SET(a_second_supervisor_is_told_the_pid_of_the_first),
		LOCK_TEST_NO_SET(a_holder_that_wrote_no_pid_is_not_guessed),
		LOCK_TEST_NO_SET(one_who_may_not_give_files_away_gets_an_error_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
