/* Files found as the host would find them, and what its os-release says. */
#include "check.h"

#include "host/below.h"
#include "util/mem.h"

static void links_of_the_host_stay_below_its_root(void **state)
{
	char *root = check_tmp_dir();
	AUTO_FREE char *etc = mem_printf("%s/etc", root), *file = mem_printf("%s/etc/real", root);
	AUTO_FREE char *absolute = mem_printf("%s/etc/absolute", root), *upwards = mem_printf("%s/etc/upwards", root);
	static const char *const paths[] = {"etc/real", "/etc/real", "etc/absolute", "etc/upwards"};

	(void)state;
	assert_int_equal(mkdir(etc, 0755), 0);
	check_write_file(AT_FDCWD, file, "text");
	assert_int_equal(symlink("/etc/real", absolute), 0);
	assert_int_equal(symlink("../../../../../../etc/real", upwards), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		AUTO_FREE char *text = NULL;

		assert_int_equal(host_read_text(host_open_below(root, paths[i]), 4, &text), 4);
		assert_string_equal(text, "text");
	}
	assert_int_equal(host_open_below(root, "etc/missing"), -ENOENT);
	assert_int_equal(host_open_below("/nowhere", "etc"), -ENOENT);
	check_rm_dir(root);
}

static void a_text_has_a_limit_and_is_a_text(void **state)
{
	char *root = check_tmp_dir(), *text = NULL;
	AUTO_FREE char *file = mem_printf("%s/file", root);
	int before = check_open_fds(), fd;

	(void)state;
	check_write_file(AT_FDCWD, file, "12345");
	assert_int_equal(host_read_text(host_open(file), 4, &text), -EFBIG);
	assert_int_equal(host_read_text(host_open(root), 4, &text), -EINVAL);
	assert_int_equal(host_read_text(-ENOENT, 4, &text), -ENOENT);
	fd = open(file, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "a\0b", 3), 3);
	close(fd);
	assert_int_equal(host_read_text(host_open(file), 4, &text), -EINVAL);
	assert_null(text);
	assert_int_equal(check_open_fds(), before);
	check_rm_dir(root);
}

static void balena_os_is_recognised_by_its_id_or_its_version(void **state)
{
	static const char *const ours[] = {
		"ID=\"balena-os\"\n",
		"NAME=\"balenaOS\"\nID=balena-os\nVERSION=\"6\"",
		"ID=\"resin-os\"\n",
		"ID=\"my-own\"\nMETA_BALENA_VERSION=\"2.100\"\n",
		"ID=old\nMETA_RESIN_VERSION=\"2.30\"\n",
	};
	static const char *const others[] = {
		"",
		"ID=debian\n",
		"NAME=\"balena-os\"\n",
		"ID=\"balena-os-like\"\n",
		"ID_LIKE=balena-os\n",
		"# ID=balena-os\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		assert_true(os_release_is_balena(ours[i]));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(os_release_is_balena(others[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_of_the_host_stay_below_its_root),
		cmocka_unit_test(a_text_has_a_limit_and_is_a_text),
		cmocka_unit_test(balena_os_is_recognised_by_its_id_or_its_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
