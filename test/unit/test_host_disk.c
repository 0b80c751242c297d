/* Which disk a device lies on, and what else lies there: from a made-up sysfs. */
#include "check.h"

#include <sys/sysmacros.h>

#include "host/disk.h"
#include "util/err.h"
#include "util/mem.h"

struct disk_test {
	char *sysfs;
	struct disk disk;
	struct err err;
	int fds_before;
};

static void make_dir(const struct disk_test *t, const char *path)
{
	AUTO_FREE char *full = mem_printf("%s/%s", t->sysfs, path);

	for (char *slash = strchr(full + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
		if (!slash)
			return;
		*slash = '/';
	}
}

static void put(const struct disk_test *t, const char *dir, const char *name, const char *text)
{
	AUTO_FREE char *path = mem_printf("%s/%s/%s", t->sysfs, dir, name), *line = mem_printf("%s\n", text);

	check_write_file(AT_FDCWD, path, line);
}

static void link_to(const struct disk_test *t, const char *at, const char *to)
{
	AUTO_FREE char *from = mem_printf("%s/%s", t->sysfs, at), *target = mem_printf("%s/%s", t->sysfs, to);

	assert_int_equal(symlink(target, from), 0);
}

/* A device in sysfs; `partition`: NULL for none. */
static void device(const struct disk_test *t, const char *dir, const char *number, const char *name,
		   const char *partition)
{
	AUTO_FREE char *node = mem_printf("MAJOR=8\nDEVNAME=%s\nDEVTYPE=x", name);
	AUTO_FREE char *by_number = mem_printf("dev/block/%s", number);
	AUTO_FREE char *holders = mem_printf("%s/holders", dir), *slaves = mem_printf("%s/slaves", dir);

	make_dir(t, dir);
	make_dir(t, holders);
	make_dir(t, slaves);
	put(t, dir, "dev", number);
	put(t, dir, "uevent", node);
	if (partition)
		put(t, dir, "partition", partition);
	link_to(t, by_number, dir);
}

static void mapping(const struct disk_test *t, unsigned number, const char *name, const char *uuid,
		    const char *suspended)
{
	AUTO_FREE char *dir = mem_printf("devices/dm-%u", number), *dm = mem_printf("%s/dm", dir);
	AUTO_FREE char *dev = mem_printf("253:%u", number), *node = mem_printf("dm-%u", number);

	device(t, dir, dev, node, NULL);
	make_dir(t, dm);
	put(t, dm, "name", name);
	put(t, dm, "uuid", uuid);
	put(t, dm, "suspended", suspended);
}

static void lies_on(const struct disk_test *t, unsigned number, const char *below)
{
	AUTO_FREE char *dir = mem_printf("devices/dm-%u", number);
	AUTO_FREE char *slave = mem_printf("%s/slaves/%s", dir, strrchr(below, '/') + 1);
	AUTO_FREE char *holder = mem_printf("%s/holders/dm-%u", below, number);

	link_to(t, slave, below);
	link_to(t, holder, dir);
}

static int setup(void **state)
{
	struct disk_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->fds_before = check_open_fds();
	t->sysfs = check_tmp_dir();
	make_dir(t, "dev/block");
	device(t, "devices/sda", "8:0", "sda", NULL);
	device(t, "devices/sda/sda10", "8:10", "sda10", "10");
	device(t, "devices/sda/sda2", "8:2", "sda2", "2");
	device(t, "devices/sda/sda1", "8:1", "sda1", "1");
	make_dir(t, "devices/sda/queue");
	device(t, "devices/sdb", "8:16", "sdb", NULL);
	device(t, "devices/sdb/sdb1", "8:17", "sdb1", "1");
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct disk_test *t = *state;

	disk_deinit(&t->disk);
	check_rm_dir(t->sysfs);
	assert_int_equal(check_open_fds(), t->fds_before);
	free(t);
	return 0;
}

/* "sda: sda1 sda2": what was found from this device on. */
static char *found(struct disk_test *t, unsigned high, unsigned low)
{
	char *text;

	disk_deinit(&t->disk);
	if (disk_find(t->sysfs, makedev(high, low), &t->disk, &t->err) < 0)
		fail_msg("%s", t->err.msg);
	text = mem_printf("%s:", t->disk.name);
	for (size_t i = 0; i < t->disk.n_nodes; i++) {
		char *more = mem_printf("%s %s", text, t->disk.nodes[i].name);

		free(text);
		text = more;
	}
	return text;
}

static void a_partition_leads_to_its_disk_and_all_its_partitions_by_number(void **state)
{
	AUTO_FREE char *from_first = found(*state, 8, 1), *from_last = found(*state, 8, 10),
		       *from_disk = found(*state, 8, 0);
	AUTO_FREE char *other = found(*state, 8, 17);

	assert_string_equal(from_first, "sda: sda1 sda2 sda10");
	assert_string_equal(from_last, from_first);
	assert_string_equal(from_disk, from_first);
	assert_string_equal(other, "sdb: sdb1");
}

static void mappings_stand_behind_their_partition_with_what_is_known_of_them(void **state)
{
	struct disk_test *t = *state;

	mapping(t, 3, "resin-state", "CRYPT-LUKS2-0-resin-state", "1");
	lies_on(t, 3, "devices/sda/sda2");
	mapping(t, 4, "top", "LVM-x", "0");
	lies_on(t, 4, "devices/dm-3");
	{
		AUTO_FREE char *list = found(t, 253, 4);

		assert_string_equal(list, "sda: sda1 sda2 dm-3 dm-4 sda10");
	}
	assert_null(t->disk.nodes[1].mapping);
	assert_string_equal(t->disk.nodes[2].mapping, "resin-state");
	assert_int_equal(t->disk.nodes[2].partition, 2);
	assert_true(t->disk.nodes[2].is_crypt && t->disk.nodes[2].is_suspended);
	assert_false(t->disk.nodes[3].is_crypt || t->disk.nodes[3].is_suspended);
}

static void a_mapping_over_two_disks_belongs_to_none_of_them(void **state)
{
	struct disk_test *t = *state;

	mapping(t, 0, "raid", "LVM-raid", "0");
	lies_on(t, 0, "devices/sda/sda2");
	lies_on(t, 0, "devices/sdb/sdb1");
	{
		AUTO_FREE char *list = found(t, 8, 1);

		assert_string_equal(list, "sda: sda1 sda2 sda10");
	}
	disk_deinit(&t->disk);
	assert_int_equal(disk_find(t->sysfs, makedev(253, 0), &t->disk, &t->err), -EXDEV);
	assert_string_equal(t->err.msg, "find the disk of device 253:0: it lies on more than one disk");
}

static void a_mapping_over_two_partitions_of_the_disk_is_listed_once(void **state)
{
	struct disk_test *t = *state;

	mapping(t, 0, "both", "LVM-both", "0");
	lies_on(t, 0, "devices/sda/sda1");
	lies_on(t, 0, "devices/sda/sda2");
	AUTO_FREE char *list = found(t, 253, 0);

	assert_string_equal(list, "sda: sda1 dm-0 sda2 sda10");
}

static void mappings_that_lie_on_each_other_in_a_circle_end(void **state)
{
	struct disk_test *t = *state;

	mapping(t, 0, "a", "", "0");
	mapping(t, 1, "b", "", "0");
	lies_on(t, 0, "devices/dm-1");
	lies_on(t, 1, "devices/dm-0");
	assert_int_equal(disk_find(t->sysfs, makedev(253, 0), &t->disk, &t->err), -ELOOP);
}

static void a_name_with_a_slash_is_taken_from_the_kernel_and_one_that_leads_away_is_refused(void **state)
{
	struct disk_test *t = *state;

	device(t, "devices/sdb/c0!p2", "8:18", "c0/p2", "2");
	{
		AUTO_FREE char *list = found(t, 8, 17);

		assert_string_equal(list, "sdb: sdb1 c0/p2");
	}
	device(t, "devices/sdb/evil", "8:19", "../evil", "3");
	disk_deinit(&t->disk);
	assert_int_equal(disk_find(t->sysfs, makedev(8, 17), &t->disk, &t->err), -ENODEV);
	assert_string_equal(t->err.msg, "device 8:19 on disk sdb has no name");
}

static void the_number_of_partitions_has_a_limit(void **state)
{
	struct disk_test *t = *state;

	for (unsigned i = 2; i <= DISK_NODES_MAX + 1; i++) {
		AUTO_FREE char *dir = mem_printf("devices/sdb/sdb%u", i), *name = mem_printf("sdb%u", i);
		AUTO_FREE char *dev = mem_printf("259:%u", i), *number = mem_printf("%u", i);

		if (i == DISK_NODES_MAX + 1) {
			AUTO_FREE char *list = found(t, 8, 16); /* as many as there may be */

			assert_non_null(strstr(list, " sdb256"));
		}
		device(t, dir, dev, name, number);
	}
	disk_deinit(&t->disk);
	assert_int_equal(disk_find(t->sysfs, makedev(8, 16), &t->disk, &t->err), -E2BIG);
	assert_string_equal(t->err.msg, "disk sdb has more than 256 partitions and mappings");
}

static void what_sysfs_does_not_know_is_named(void **state)
{
	struct disk_test *t = *state;

	assert_int_equal(disk_find(t->sysfs, makedev(9, 9), &t->disk, &t->err), -ENOENT);
	assert_string_equal(t->err.msg,
			    "find the disk of device 9:9: open dev/block/9:9 of sysfs: No such file or directory");
	assert_int_equal(disk_find("/nowhere", makedev(9, 9), &t->disk, &t->err), -ENOENT);
	assert_non_null(strstr(t->err.msg, "/nowhere"));
}

#define DISK_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(a_partition_leads_to_its_disk_and_all_its_partitions_by_number),
		DISK_TEST(mappings_stand_behind_their_partition_with_what_is_known_of_them),
		DISK_TEST(a_mapping_over_two_disks_belongs_to_none_of_them),
		DISK_TEST(a_mapping_over_two_partitions_of_the_disk_is_listed_once),
		DISK_TEST(mappings_that_lie_on_each_other_in_a_circle_end),
		DISK_TEST(a_name_with_a_slash_is_taken_from_the_kernel_and_one_that_leads_away_is_refused),
		DISK_TEST(the_number_of_partitions_has_a_limit),
		DISK_TEST(what_sysfs_does_not_know_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
