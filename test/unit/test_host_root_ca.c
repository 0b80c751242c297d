/* The bundle of the image's certificates and the owner's: limits, and what happens to broken parts. */
#include "check.h"

#include "host/root_ca.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/str.h"

#define BLOCK "-----BEGIN CERTIFICATE-----\nMA4wAwIBATADAgEBAwIAAQ==\n-----END CERTIFICATE-----\n"
#define OTHER "-----BEGIN CERTIFICATE-----\nMA4wAwIBAjADAgEBAwIAAQ==\n-----END CERTIFICATE-----\n"

struct ca_test {
	char *dir, *base, *file, *state_dir;
	struct root_ca_request request;
	struct strv problems;
	struct err err;
	int fds_before;
};

static int setup(void **state)
{
	struct ca_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->fds_before = check_open_fds();
	t->dir = check_tmp_dir();
	t->base = mem_printf("%s/base.pem", t->dir);
	t->file = mem_printf("%s/extra.pem", t->dir);
	t->state_dir = mem_printf("%s/state", t->dir);
	check_write_file(AT_FDCWD, t->base, BLOCK);
	t->request = (struct root_ca_request){.base = t->base, .host_root = t->dir, .state_dir = t->state_dir};
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct ca_test *t = *state;

	strv_deinit(&t->problems);
	check_rm_dir(t->dir);
	free(t->base);
	free(t->file);
	free(t->state_dir);
	assert_int_equal(check_open_fds(), t->fds_before);
	free(t);
	return 0;
}

/* The bundle's text; NULL if there is none. */
static char *made(struct ca_test *t, int want)
{
	AUTO_FREE char *path = NULL;

	strv_deinit(&t->problems);
	if (root_ca_bundle(&t->request, &path, &t->problems, &t->err) != want)
		fail_msg("%s", t->err.msg);
	return path ? check_read_file(AT_FDCWD, path) : NULL;
}

/* `size` bytes that are a certificate and blanks. */
static char *padded(size_t size)
{
	char *text = mem_new(size + 1, 1);

	memset(text, ' ', size);
	memcpy(text, OTHER, strlen(OTHER));
	return text;
}

static void without_anything_to_add_no_bundle_is_made(void **state)
{
	struct ca_test *t = *state;

	assert_null(made(t, 0));
	assert_int_equal(t->problems.n, 0);
	assert_int_equal(access(t->state_dir, F_OK), -1);
}

static void the_bundle_of_the_image_is_not_added_to_itself(void **state)
{
	struct ca_test *t = *state;

	t->request.file = t->base;
	assert_null(made(t, 0));
	t->request.text = OTHER;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK OTHER);
}

static void text_and_file_follow_the_bundle_of_the_image(void **state)
{
	struct ca_test *t = *state;

	check_write_file(AT_FDCWD, t->file, OTHER);
	t->request.text = BLOCK;
	t->request.file = t->file;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK BLOCK OTHER);
	assert_int_equal(t->problems.n, 0);
}

static void a_bundle_without_a_last_newline_gets_one(void **state)
{
	struct ca_test *t = *state;

	check_write_file(AT_FDCWD, t->base, "no newline");
	t->request.text = OTHER;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, "no newline\n" OTHER);
}

static void a_broken_text_does_not_take_the_file_with_it(void **state)
{
	struct ca_test *t = *state;

	check_write_file(AT_FDCWD, t->file, OTHER);
	t->request.text = "broken";
	t->request.file = t->file;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK OTHER);
	assert_int_equal(t->problems.n, 1);
	assert_true(str_starts(t->problems.v[0], "BALENA_ROOT_CA is left out: there is no line"));
}

static void a_missing_file_is_told_unless_it_is_the_one_that_the_text_would_become(void **state)
{
	struct ca_test *t = *state;

	t->request.file = "/etc/ssl/certs/balenaRootCA.pem";
	assert_null(made(t, 0));
	assert_int_equal(t->problems.n, 1);
	assert_string_equal(t->problems.v[0], "NODE_EXTRA_CA_CERTS (/etc/ssl/certs/balenaRootCA.pem) is left out: read "
					      "/etc/ssl/certs/balenaRootCA.pem: No such file or directory");
	t->request.text = OTHER;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK OTHER);
	assert_int_equal(t->problems.n, 0);
}

static void the_size_of_the_text_has_a_limit(void **state)
{
	struct ca_test *t = *state;
	AUTO_FREE char *most = padded(ROOT_CA_TEXT_MAX), *more = padded(ROOT_CA_TEXT_MAX + 1);

	t->request.text = most;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK OTHER);
	t->request.text = more;
	assert_null(made(t, 0));
	assert_string_equal(t->problems.v[0], "BALENA_ROOT_CA is left out: it has more than 65536 bytes");
}

static void the_size_of_the_file_has_a_limit(void **state)
{
	struct ca_test *t = *state;
	AUTO_FREE char *most = padded(ROOT_CA_FILE_MAX), *more = padded(ROOT_CA_FILE_MAX + 1);

	t->request.file = t->file;
	check_write_file(AT_FDCWD, t->file, most);
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK OTHER);
	check_write_file(AT_FDCWD, t->file, more);
	assert_null(made(t, 0));
	assert_non_null(strstr(t->problems.v[0], "has more than 1048576 bytes"));
}

static void the_size_of_the_image_s_bundle_has_a_limit_and_without_it_the_owner_s_stay(void **state)
{
	struct ca_test *t = *state;
	AUTO_FREE char *more = padded(ROOT_CA_BASE_MAX + 1);

	t->request.text = OTHER;
	check_write_file(AT_FDCWD, t->base, more);
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, OTHER);
	assert_non_null(strstr(t->problems.v[0], "has more than 4194304 bytes"));
}

static void what_is_no_regular_file_is_not_read(void **state)
{
	struct ca_test *t = *state;

	assert_int_equal(mkfifo(t->file, 0600), 0);
	t->request.file = t->file;
	assert_null(made(t, 0));
	assert_non_null(strstr(t->problems.v[0], "is not a text file"));
}

static void a_leftover_of_a_killed_write_and_a_link_in_the_bundle_s_place_are_replaced(void **state)
{
	struct ca_test *t = *state;
	AUTO_FREE char *half = mem_printf("%s/ca-bundle.pem.new", t->state_dir);
	AUTO_FREE char *link = mem_printf("%s/ca-bundle.pem", t->state_dir), *victim = NULL;
	struct stat st;

	assert_int_equal(mkdir(t->state_dir, 0700), 0);
	check_write_file(AT_FDCWD, half, "half a bundle that is much longer than what comes now" BLOCK BLOCK BLOCK);
	check_write_file(AT_FDCWD, t->file, "untouched");
	assert_int_equal(symlink(t->file, link), 0);
	t->request.text = OTHER;
	AUTO_FREE char *text = made(t, 1);

	assert_string_equal(text, BLOCK OTHER);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(access(half, F_OK), -1);
	victim = check_read_file(AT_FDCWD, t->file);
	assert_string_equal(victim, "untouched");
}

static void a_place_that_cannot_be_written_is_an_error_that_names_it(void **state)
{
	struct ca_test *t = *state;
	AUTO_FREE char *path = NULL;

	t->request.text = OTHER;
	t->request.state_dir = t->base; /* a file */
	assert_int_equal(root_ca_bundle(&t->request, &path, &t->problems, &t->err), -ENOTDIR);
	assert_non_null(strstr(t->err.msg, t->base));
	assert_null(path);
}

#define CA_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CA_TEST(without_anything_to_add_no_bundle_is_made),
		CA_TEST(the_bundle_of_the_image_is_not_added_to_itself),
		CA_TEST(text_and_file_follow_the_bundle_of_the_image),
		CA_TEST(a_bundle_without_a_last_newline_gets_one),
		CA_TEST(a_broken_text_does_not_take_the_file_with_it),
		CA_TEST(a_missing_file_is_told_unless_it_is_the_one_that_the_text_would_become),
		CA_TEST(the_size_of_the_text_has_a_limit),
		CA_TEST(the_size_of_the_file_has_a_limit),
		CA_TEST(the_size_of_the_image_s_bundle_has_a_limit_and_without_it_the_owner_s_stay),
		CA_TEST(what_is_no_regular_file_is_not_read),
		CA_TEST(a_leftover_of_a_killed_write_and_a_link_in_the_bundle_s_place_are_replaced),
		CA_TEST(a_place_that_cannot_be_written_is_an_error_that_names_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
