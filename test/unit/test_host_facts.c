/* Facts of the device, from a made-up host root. */
#include "check.h"

#include <sched.h>
#include <sys/utsname.h>

#include "host/facts.h"
#include "util/mem.h"

struct facts_test {
	struct check_fixture *base;
	struct device_facts facts;
	char *boot;
};

static int setup(void **state)
{
	struct facts_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	check_setup(state);
	t->base = *state;
	t->boot = mem_printf("%s/boot", t->base->dir);
	assert_int_equal(mkdir(t->boot, 0755), 0);
	assert_int_equal(mkdirat(t->base->dir_fd, "etc", 0755), 0);
	*state = t;
	return 0;
}

static void forget(struct facts_test *t)
{
	free(t->facts.type);
	free(t->facts.arch);
	free(t->facts.os_version);
	free(t->facts.hostname);
	free(t->facts.boot_id);
	memset(&t->facts, 0, sizeof(t->facts));
}

static int teardown(void **state)
{
	struct facts_test *t = *state;

	forget(t);
	free(t->boot);
	*state = t->base;
	free(t);
	return check_teardown(state);
}

static void gather(struct facts_test *t)
{
	forget(t);
	host_facts_read(t->base->dir, t->boot, NULL, &t->facts);
}

static void put(struct facts_test *t, const char *path, const char *text)
{
	check_write_file(t->base->dir_fd, path, text);
}

static void the_name_of_the_host_os_is_read_by_the_rule(void **state)
{
	static const struct {
		const char *text, *version;
	} rows[] = {
		{"NAME=\"x\"\nPRETTY_NAME=\"balenaOS 5.1.20\"\nVERSION=1\n", "balenaOS 5.1.20"},
		{"PRETTY_NAME=Debian\n", "Debian"},
		{"PRETTY_NAME=Debian", "Debian"},
		{" PRETTY_NAME =  \"a = b\"  \r\n", "a = b"},
		{"PRETTY_NAME=\"\"twice\"\"\n", "\"twice\""},
		{"PRETTY_NAME='single'\n", "'single'"},
		{"PRETTY_NAME=\"\n", "\""},
		{"XPRETTY_NAME=no\n#PRETTY_NAME=no\nPRETTY_NAME\n", NULL},
		{"PRETTY_NAME=\n", NULL},
		{"", NULL},
	};
	struct facts_test *t = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		put(t, "etc/os-release", rows[i].text);
		gather(t);
		if (!str_eq(t->facts.os_version, rows[i].version))
			fail_msg("%s: got %s", rows[i].text, t->facts.os_version ? t->facts.os_version : "nothing");
	}
}

static void a_given_os_release_wins(void **state)
{
	struct facts_test *t = *state;
	AUTO_FREE char *path = mem_printf("%s/other", t->base->dir);

	put(t, "etc/os-release", "PRETTY_NAME=a\n");
	put(t, "other", "PRETTY_NAME=b\n");
	host_facts_read(t->base->dir, t->boot, path, &t->facts);
	assert_string_equal(t->facts.os_version, "b");
}

static void links_of_the_host_are_followed_as_the_host_would(void **state)
{
	struct facts_test *t = *state;

	assert_int_equal(mkdirat(t->base->dir_fd, "lib", 0755), 0);
	put(t, "lib/os-release", "PRETTY_NAME=inside\n");
	assert_int_equal(symlinkat("../lib/os-release", t->base->dir_fd, "etc/os-release"), 0);
	gather(t);
	assert_string_equal(t->facts.os_version, "inside");
	assert_int_equal(unlinkat(t->base->dir_fd, "etc/os-release", 0), 0);
	assert_int_equal(symlinkat("/lib/os-release", t->base->dir_fd, "etc/os-release"),
			 0); /* absolute, of the host */
	gather(t);
	assert_string_equal(t->facts.os_version, "inside");
}

static void the_device_type_comes_from_the_boot_partition(void **state)
{
	struct facts_test *t = *state;

	put(t, "boot/device-type.json", "{\"slug\": \"raspberrypi4-64\", \"arch\": \"aarch64\", \"x\": 1}");
	gather(t);
	assert_string_equal(t->facts.type, "raspberrypi4-64");
	assert_string_equal(t->facts.arch, "aarch64");
}

static void without_it_the_type_is_open_and_the_processor_tells_the_architecture(void **state)
{
	static const char *const bad[] = {NULL, "", "{", "[]", "{\"slug\": 5, \"arch\": null}"};
	struct facts_test *t = *state;
	struct utsname u;

	assert_int_equal(uname(&u), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (bad[i])
			put(t, "boot/device-type.json", bad[i]);
		gather(t);
		assert_null(t->facts.type);
		assert_non_null(t->facts.arch);
		if (strcmp(u.machine, "x86_64") == 0)
			assert_string_equal(t->facts.arch, "amd64");
	}
	forget(t);
	host_facts_read(t->base->dir, NULL, NULL, &t->facts);
	assert_null(t->facts.type);
}

static void the_host_name_is_the_hosts_not_ours(void **state)
{
	struct facts_test *t = *state;

	assert_int_equal(mkdirat(t->base->dir_fd, "proc", 0755), 0);
	assert_int_equal(mkdirat(t->base->dir_fd, "proc/sys", 0755), 0);
	assert_int_equal(mkdirat(t->base->dir_fd, "proc/sys/kernel", 0755), 0);
	gather(t);
	assert_null(t->facts.hostname);
	put(t, "proc/sys/kernel/hostname", "of-this-name-space\n");
	gather(t);
	assert_string_equal(t->facts.hostname, "of-this-name-space");
	put(t, "etc/hostname", "  the-device \n");
	gather(t);
	assert_string_equal(t->facts.hostname, "the-device");
}

static void on_the_host_itself_the_kernel_knows_the_name(void **state)
{
	struct facts_test *t = *state;
	struct utsname u;

	assert_int_equal(uname(&u), 0);
	host_facts_read("/", t->boot, NULL, &t->facts);
	assert_string_equal(t->facts.hostname, u.nodename);
}

static void the_boot_id_is_always_there(void **state)
{
	struct facts_test *t = *state;
	char *own = check_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id");

	gather(t); /* no proc below this root: then ours, which is the same kernel */
	assert_int_equal(strlen(t->facts.boot_id), 36);
	assert_memory_equal(own, t->facts.boot_id, 36);
	free(own);
}

static void the_processors_are_those_we_may_use(void **state)
{
	struct facts_test *t = *state;
	cpu_set_t all, one;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	gather(t);
	assert_int_equal(t->facts.processors, CPU_COUNT(&all));
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	gather(t);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(t->facts.processors, 1);
}

static void a_fifo_or_directory_in_place_of_a_file_does_not_hang(void **state)
{
	struct facts_test *t = *state;

	assert_int_equal(mkfifoat(t->base->dir_fd, "etc/os-release", 0644), 0);
	assert_int_equal(mkdirat(t->base->dir_fd, "etc/hostname", 0755), 0);
	assert_int_equal(mkfifoat(t->base->dir_fd, "boot/device-type.json", 0644), 0);
	gather(t);
	assert_null(t->facts.os_version);
	assert_null(t->facts.hostname);
	assert_null(t->facts.type);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_name_of_the_host_os_is_read_by_the_rule),
		TEST(a_given_os_release_wins),
		TEST(links_of_the_host_are_followed_as_the_host_would),
		TEST(the_device_type_comes_from_the_boot_partition),
		TEST(without_it_the_type_is_open_and_the_processor_tells_the_architecture),
		TEST(the_host_name_is_the_hosts_not_ours),
		TEST(on_the_host_itself_the_kernel_knows_the_name),
		TEST(the_boot_id_is_always_there),
		TEST(the_processors_are_those_we_may_use),
		TEST(a_fifo_or_directory_in_place_of_a_file_does_not_hang),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
