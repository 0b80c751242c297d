/* Lines of /proc/self/mountinfo, and where the host's boot partition is found in them. */
#include "check.h"

#include <sys/sysmacros.h>

#include "host/mountinfo.h"
#include "host/mounts.h"
#include "util/err.h"
#include "util/mem.h"

static void a_line_is_taken_apart_whatever_the_number_of_its_tags(void **state)
{
	static const char *const lines[] = {
		"36 35 179:1 / /mnt/boot rw,relatime - vfat /dev/mmcblk0p1 rw,fmask=0022",
		"36 35 179:1 / /mnt/boot rw,relatime shared:1 - vfat /dev/mmcblk0p1 rw,fmask=0022",
		"36 35 179:1 / /mnt/boot rw,relatime shared:1 master:2 unbindable - vfat /dev/mmcblk0p1 rw",
		"36 35 179:1 / /mnt/boot rw,relatime - vfat /dev/mmcblk0p1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct mount_line m;

		assert_true(mount_line_parse(lines[i], strlen(lines[i]), &m));
		assert_int_equal(m.dev, makedev(179, 1));
		assert_string_equal(m.point, "/mnt/boot");
		assert_string_equal(m.type, "vfat");
		assert_string_equal(m.source, "/dev/mmcblk0p1");
		mount_line_deinit(&m);
	}
}

static void what_is_no_line_is_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"36",
		"36 35 179:1 / /mnt/boot rw,relatime",
		"36 35 179:1 / /mnt/boot rw,relatime shared:1",
		"36 35 179:1 / /mnt/boot rw,relatime -",
		"36 35 179:1 / /mnt/boot rw,relatime - vfat",
		"36 35 179:1 / /mnt/boot rw,relatime - vfat ",
		"36 35 179:1 / mnt/boot rw,relatime - vfat /dev/x rw",
		"36 35 179 / /mnt/boot rw,relatime - vfat /dev/x rw",
		"36 35 179:-1 / /mnt/boot rw,relatime - vfat /dev/x rw",
		"36 35 179:4294967296 / /mnt/boot rw,relatime - vfat /dev/x rw",
		"36 35  179:1 / /mnt/boot rw,relatime - vfat /dev/x rw",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct mount_line m;

		if (mount_line_parse(lines[i], strlen(lines[i]), &m))
			fail_msg("taken for a line: %s", lines[i]);
		assert_null(m.point);
	}
}

static void escaped_blanks_and_backslashes_are_undone_and_nothing_else(void **state)
{
	const char *line = "36 35 8:1 / /a\\040b\\134c\\011\\777\\08\\000 rw - ext4 //server/\\040x rw";
	struct mount_line m;

	(void)state;
	assert_true(mount_line_parse(line, strlen(line), &m));
	assert_string_equal(m.point, "/a b\\c\t\\777\\08\\000");
	assert_string_equal(m.source, "//server/ x");
	mount_line_deinit(&m);
}

static void the_last_mount_at_a_place_is_the_one_that_is_seen(void **state)
{
	const char *table = "1 0 8:1 / /mnt/boot rw - ext4 /dev/sda1 rw\n"
			    "garbage\n"
			    "2 1 0:20 / /mnt/boot rw - tmpfs none rw\n"
			    "3 1 8:2 / /mnt/boots rw - ext4 /dev/sda2 rw\n"
			    "4 1 8:3 / /mnt/boot/x rw - ext4 /dev/sda3 rw"; /* the last newline may be missing */
	struct mount_line m;

	(void)state;
	assert_true(mountinfo_find(table, "/mnt/boot", &m));
	assert_string_equal(m.type, "tmpfs");
	mount_line_deinit(&m);
	assert_true(mountinfo_find(table, "/mnt/boot/x", &m));
	assert_int_equal(m.dev, makedev(8, 3));
	mount_line_deinit(&m);
	assert_false(mountinfo_find(table, "/mnt", &m));
	assert_false(mountinfo_find("", "/", &m));
}

struct boot_row {
	const char *table, *where;
	unsigned minor;
};

static void the_boot_device_is_that_of_the_first_of_four_places(void **state)
{
	static const struct boot_row rows[] = {
		{"1 0 8:9 / /r/mnt/efi rw - vfat /dev/sda9 rw\n2 0 8:1 / /r/mnt/boot rw - vfat /dev/sda1 rw\n",
		 "/mnt/boot", 1},
		{"1 0 8:4 / /r/mnt/imx rw - vfat /dev/x rw\n1 0 8:3 / /r/mnt/rpi rw - vfat /dev/x rw\n", "/mnt/rpi", 3},
		{"1 0 8:4 / /r/mnt/imx rw - vfat /dev/x rw\n", "/mnt/imx", 4},
		/* mounted on demand: nothing behind it yet */
		{"1 0 0:30 / /r/mnt/boot rw - autofs systemd-1 rw\n1 0 8:2 / /r/mnt/efi rw - vfat /dev/x rw\n",
		 "/mnt/efi", 2},
		{"1 0 0:30 / /r/mnt/boot rw - btrfs /dev/none rw\n", NULL, 0},
		{"1 0 8:1 / /mnt/boot rw - vfat /dev/sda1 rw\n", NULL, 0}, /* ours, not the host's */
		{"", NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		const char *where = NULL;
		dev_t dev = 0;
		int rc = mounts_boot_device(rows[i].table, "/r", &dev, &where, &err);

		if (!rows[i].where) {
			assert_int_equal(rc, -ENOENT);
			assert_non_null(strstr(err.msg, "\"/r\""));
			continue;
		}
		assert_int_equal(rc, 0);
		assert_string_equal(where, rows[i].where);
		assert_int_equal(dev, makedev(8, rows[i].minor));
	}
}

static void our_own_table_has_a_root(void **state)
{
	AUTO_FREE char *table = NULL;
	struct err err = {0};
	struct mount_line m;

	(void)state;
	assert_int_equal(mounts_read(&table, &err), 0);
	assert_true(mountinfo_find(table, "/proc", &m));
	assert_string_equal(m.type, "proc");
	mount_line_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_taken_apart_whatever_the_number_of_its_tags),
		cmocka_unit_test(what_is_no_line_is_refused),
		cmocka_unit_test(escaped_blanks_and_backslashes_are_undone_and_nothing_else),
		cmocka_unit_test(the_last_mount_at_a_place_is_the_one_that_is_seen),
		cmocka_unit_test(the_boot_device_is_that_of_the_first_of_four_places),
		cmocka_unit_test(our_own_table_has_a_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
