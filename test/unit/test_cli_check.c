/* `check`: the verdict of the very parser that `run` uses, without a supervisor. */
#include "test_cli_capture.h"

#include "model/target.h"

static int check(struct check_fixture *f, const char *document)
{
	char words[256];

	check_write_file(f->dir_fd, "t.json", document);
	snprintf(words, sizeof(words), "check %s/t.json", f->dir);
	return run_command(cli_check, words);
}

#define SERVICE "{\"image\":\"alpine\",\"environment\":{},\"labels\":{},\"composition\":{}}"
#define APP(services)                                                                                                  \
	"{\"apps\":{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":{\"name\":\"a\",\"class\":\"fleet\",\"releases\":{"           \
	"\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\":{\"services\":{" services "},\"networks\":{},\"volumes\":{}}}}}}"

static void a_valid_document_is_counted(void **state)
{
	struct check_fixture *f = *state;

	assert_int_equal(check(f, "{\"apps\":{}}"), CLI_OK);
	ASSERT_SAYS(got.out, "/t.json: ok, 0 apps, 0 services\n");
	assert_int_equal(check(f, APP("\"one\":" SERVICE ",\"two\":" SERVICE)), CLI_OK);
	ASSERT_SAYS(got.out, "/t.json: ok, 1 app, 2 services\n");
	assert_int_equal(check(f, APP("\"one\":" SERVICE)), CLI_OK);
	ASSERT_SAYS(got.out, "/t.json: ok, 1 app, 1 service\n");
	assert_string_equal(got.err, "");
}

static void every_error_is_told_with_its_path(void **state)
{
	struct check_fixture *f = *state;

	assert_int_equal(check(f, APP("\"one\":{\"image\":5},\"two\":{\"image\":6}")), CLI_FAILED);
	ASSERT_SAYS(got.err, "/t.json: apps.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.releases.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."
			     "services.one.image: ");
	ASSERT_SAYS(got.err, "services.two.image: ");
	ASSERT_SAYS(got.err, "/t.json: not valid, ");
	assert_string_equal(got.out, "");
	assert_int_equal(check(f, "{"), CLI_FAILED);
	ASSERT_SAYS(got.err, "/t.json: not valid, 1 error\n");
	assert_int_equal(check(f, ""), CLI_FAILED);
}

static void a_file_that_cannot_be_read_is_1(void **state)
{
	(void)state;
	assert_int_equal(run_command(cli_check, "check /nonexistent/t.json"), CLI_FAILED);
	ASSERT_SAYS(got.err, "cannot read /nonexistent/t.json: No such file or directory");
	assert_int_equal(run_command(cli_check, "check /"), CLI_FAILED);
	ASSERT_SAYS(got.err, "cannot read /: Is a directory");
}

static void standard_input_is_a_dash(void **state)
{
	struct check_fixture *f = *state;
	int saved = dup(STDIN_FILENO), fd;

	check_write_file(f->dir_fd, "in.json", "{\"apps\":{}}");
	fd = openat(f->dir_fd, "in.json", O_RDONLY | O_CLOEXEC);
	assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	close(fd);
	run_command(cli_check, "check -");
	dup2(saved, STDIN_FILENO);
	close(saved);
	assert_int_equal(got.rc, CLI_OK);
	assert_string_equal(got.out, "standard input: ok, 0 apps, 0 services\n");
}

static void a_document_has_a_limit(void **state)
{
	struct check_fixture *f = *state;
	char *text = malloc(TARGET_MAX_BYTES + 2);

	assert_non_null(text);
	memset(text, ' ', TARGET_MAX_BYTES + 1);
	memcpy(text, "{\"apps\":{}}", 11);
	text[TARGET_MAX_BYTES] = '\0';
	assert_int_equal(check(f, text), CLI_OK);
	text[TARGET_MAX_BYTES] = ' ';
	text[TARGET_MAX_BYTES + 1] = '\0';
	assert_int_equal(check(f, text), CLI_FAILED);
	ASSERT_SAYS(got.err, "is larger than 4194304 bytes");
	free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, check_setup, check_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_valid_document_is_counted),     TEST(every_error_is_told_with_its_path),
		TEST(a_file_that_cannot_be_read_is_1), TEST(standard_input_is_a_dash),
		TEST(a_document_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
