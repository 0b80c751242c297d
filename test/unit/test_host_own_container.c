/* Which container we are in, from files as engines make them. */
#include "check.h"

#include "host/own_container.h"
#include "util/mem.h"
#include "util/str.h"

#define ID    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static const struct {
	const char *what, *mountinfo, *cgroup, *hostname, *id;
} rows[] = {
	{"no container", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/system.slice/lockkeeper.service\n", "device",
	 NULL},
	{"no files at all", NULL, NULL, "device", NULL},
	{"docker, by the file it mounts", "99 50 8:1 /docker/containers/" ID "/hostname /etc/hostname rw - ext4 x rw\n",
	 "0::/\n", "device", ID},
	{"podman, by the file it mounts",
	 "99 50 8:1 /lib/containers/overlay-containers/" ID "/userdata/hosts /etc/hosts rw - ext4 x rw\n", "0::/\n",
	 "device", ID},
	{"files of other containers below the host's root are not ours",
	 "99 50 8:1 /docker/containers/" OTHER "/hostname /mnt/root/etc/hostname rw - ext4 x rw\n"
	 "98 50 8:1 /docker/containers/" OTHER "/mounts/shm /mnt/root/x/shm rw - ext4 x rw\n"
	 "97 50 8:1 /docker/containers/" ID "/resolv.conf /etc/resolv.conf rw - ext4 x rw\n",
	 NULL, "device", ID},
	{"an old cgroup", "22 1 8:1 / / rw - ext4 x rw\n", "12:pids:/docker/" ID "\n", "device", ID},
	{"a cgroup of systemd", NULL, "0::/system.slice/docker-" ID ".scope\n", "device", ID},
	{"the inner one of two", NULL, "0::/docker/" OTHER "/docker/" ID "\n", "device", ID},
	{"a cgroup of another length", NULL, "0::/docker/" ID "0\n", "device", NULL},
	{"a host name that an engine gave", NULL, "0::/\n", "0123456789ab", "0123456789ab"},
	{"a host name that only looks like it", NULL, "0::/\n", "0123456789abc", NULL},
	{"a line that ends early", "99 50 8:1\n\n \n", "\n", "device", NULL},
};

static void the_container_is_found_by_what_its_engine_left(void **state)
{
	struct check_fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *id = NULL;

		unlinkat(f->dir_fd, "mountinfo", 0);
		unlinkat(f->dir_fd, "cgroup", 0);
		if (rows[i].mountinfo)
			check_write_file(f->dir_fd, "mountinfo", rows[i].mountinfo);
		if (rows[i].cgroup)
			check_write_file(f->dir_fd, "cgroup", rows[i].cgroup);
		id = host_own_container(f->dir, rows[i].hostname);
		if (!str_eq(id, rows[i].id))
			fail_msg("%s: %s", rows[i].what, id ? id : "none");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_container_is_found_by_what_its_engine_left, check_setup,
						check_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
