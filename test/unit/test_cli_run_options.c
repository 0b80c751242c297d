/* Options of `run`: flag, else variable, else default; and what is wrong names its place. */
#include "test_cli_capture.h"

#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

static struct run_options o;

static int parse(int argc, char **argv)
{
	return cli_run_options(argc, argv, &o);
}

static int setup(void **state)
{
	static const char *const variables[] = {
		"LOCKKEEPER_TARGET",
		"LOCKKEEPER_POLL_INTERVAL",
		"LOCKKEEPER_ADOPT",
		"DOCKER_SOCKET",
		"DOCKER_HOST",
		"ROOT_MOUNTPOINT",
		"STATE_DIRECTORY",
		"CONFIG_MOUNT_POINT",
		"BOOT_MOUNTPOINT",
		"LOCKKEEPER_LOCK_ROOT",
		"LOCKKEEPER_LEGACY_LOCK_ROOT",
		"LISTEN_PORT",
		"LOCKKEEPER_LOG_LEVEL",
		"LOCKKEEPER_LOG_FORMAT",
		"HOST_OS_VERSION_PATH",
		"LOCKKEEPER_TARGET_TOKEN_FILE",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		unsetenv(variables[i]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	run_options_deinit(&o);
	return 0;
}

static void without_flags_and_variables_the_defaults_hold(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "run --target t.json"), 0);
	assert_string_equal(o.target, "t.json");
	assert_int_equal(o.poll_interval_ms, 900000);
	assert_false(o.adopt);
	assert_string_equal(o.engine, "/var/run/docker.sock");
	assert_string_equal(o.root, "/");
	assert_string_equal(o.state, "/var/lib/lockkeeper");
	assert_string_equal(o.config, "/mnt/boot/config.json");
	assert_string_equal(o.lock_root, "/tmp/balena-supervisor/services");
	assert_string_equal(o.legacy_lock_root, "/tmp/resin-supervisor");
	assert_string_equal(o.boot_mount, "/mnt/boot");
	assert_string_equal(o.os_release, "/etc/os-release");
	assert_null(o.token_file);
	assert_int_equal(o.n_listen, 0);
	assert_int_equal(o.port, 0);
	assert_int_equal(o.log_level, LOG_LEVEL_INFO);
	assert_int_equal(o.log_format, LOG_FORMAT_TEXT);
}

static void every_flag_is_understood_in_both_forms(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "run --target=http://h/t.json --poll-interval 60 --adopt --engine=/e.sock "
					    "--root /mnt/root --state=s --config c.json"),
			 0);
	assert_string_equal(o.target, "http://h/t.json");
	assert_int_equal(o.poll_interval_ms, 60000);
	assert_true(o.adopt);
	assert_string_equal(o.engine, "/e.sock");
	assert_string_equal(o.root, "/mnt/root");
	assert_string_equal(o.state, "s");
	assert_string_equal(o.config, "c.json");
	assert_string_equal(o.os_release, "/mnt/root/etc/os-release");
	run_options_deinit(&o);
	assert_int_equal(run_command(parse, "run --target t --lock-root=/l --legacy-lock-root /ll --log-level=debug "
					    "--log-format json"),
			 0);
	assert_string_equal(o.lock_root, "/l");
	assert_string_equal(o.legacy_lock_root, "/ll");
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(o.log_format, LOG_FORMAT_JSON);
}

static void listen_may_be_given_several_times(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "run --target t --listen 127.0.0.1:48484 --listen=[::1]:0 "
					    "--listen unix:/run/lk.sock"),
			 0);
	assert_int_equal(o.n_listen, 3);
	assert_string_equal(o.listen[0].ip, "127.0.0.1");
	assert_int_equal(o.listen[0].port, 48484);
	assert_string_equal(o.listen[1].ip, "::1");
	assert_int_equal(o.listen[1].port, 0);
	assert_null(o.listen[2].ip);
	assert_string_equal(o.listen[2].unix_path, "/run/lk.sock");
}

static void variables_stand_in_for_flags_and_flags_win(void **state)
{
	(void)state;
	setenv("LOCKKEEPER_TARGET", "env.json", 1);
	setenv("LOCKKEEPER_POLL_INTERVAL", "5", 1);
	setenv("LOCKKEEPER_ADOPT", "on", 1);
	setenv("DOCKER_HOST", "unix:///host.sock", 1);
	setenv("ROOT_MOUNTPOINT", "/r", 1);
	setenv("STATE_DIRECTORY", "/s", 1);
	setenv("BOOT_MOUNTPOINT", "/b", 1);
	setenv("LISTEN_PORT", "1234", 1);
	setenv("HOST_OS_VERSION_PATH", "/osr", 1);
	setenv("LOCKKEEPER_TARGET_TOKEN_FILE", "/tok", 1);
	setenv("LOCKKEEPER_LOG_LEVEL", "warn", 1);
	assert_int_equal(run_command(parse, "run --log-level error"), 0);
	assert_string_equal(o.target, "env.json");
	assert_int_equal(o.poll_interval_ms, 5000);
	assert_true(o.adopt);
	assert_string_equal(o.engine, "/host.sock");
	assert_string_equal(o.root, "/r");
	assert_string_equal(o.state, "/s");
	assert_string_equal(o.config, "/b/config.json");
	assert_int_equal(o.port, 1234);
	assert_string_equal(o.os_release, "/osr");
	assert_string_equal(o.token_file, "/tok");
	assert_int_equal(o.log_level, LOG_LEVEL_ERROR);
	run_options_deinit(&o);
	setenv("DOCKER_SOCKET", "/first.sock", 1);
	setenv("STATE_DIRECTORY", "", 1);
	setenv("LISTEN_PORT", "null", 1);
	assert_int_equal(run_command(parse, "run"), 0);
	assert_string_equal(o.engine, "/first.sock");
	assert_string_equal(o.state, "/var/lib/lockkeeper");
	assert_int_equal(o.port, 0);
}

static void a_wrong_value_names_its_flag(void **state)
{
	static const char *const rows[][2] = {
		{"run --target \"\"", "--target:"},
		{"run --target ftp://h/t", "--target: 'ftp://h'"},
		{"run --target http://", "--target: 'http://'"},
		{"run --target https://h:x/t", "--target:"},
		{"run --target /proc", "--target: '/proc' is not right: expected the path of a file (not a directory)"},
		{"run --target /nonexistent/", "--target: '/nonexistent/'"},
		{"run --target t --poll-interval 0", "--poll-interval: '0'"},
		{"run --target t --poll-interval 2592001", "--poll-interval:"},
		{"run --target t --poll-interval 5m", "--poll-interval:"},
		{"run --target t --engine tcp://h:1", "--engine:"},
		{"run --target t --engine docker.sock", "--engine:"},
		{"run --target t --root r", "--root:"},
		{"run --target t --lock-root /a/../b", "--lock-root:"},
		{"run --target t --legacy-lock-root /a/..", "--legacy-lock-root:"},
		{"run --target t --listen 48484", "--listen: '48484'"},
		{"run --target t --listen localhost:1", "--listen:"},
		{"run --target t --listen 127.0.0.1:65536", "--listen:"},
		{"run --target t --listen ::1:80", "--listen:"},
		{"run --target t --listen [::1:80", "--listen:"},
		{"run --target t --listen [127.0.0.1]:80", "--listen:"},
		{"run --target t --listen unix:relative", "--listen:"},
		{"run --target t --log-level loud", "expected error, warn, info or debug"},
		{"run --target t --log-format xml", "expected text or json"},
		{"run --target t --adopt=1", "--adopt takes no value"},
		{"run --target t --state", "--state needs a value: --state DIR"},
		{"run --target --adopt", "--target needs a value"},
		{"run --target t --target u", "--target is given twice"},
		{"run --target t --pol-interval 5", "did you mean '--poll-interval'?"},
		{"run --target t --nothing-like-it", "there is no option '--nothing-like-it'"},
		{"run t.json", "a target is given with --target"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(run_command(parse, rows[i][0]), CLI_USAGE);
		ASSERT_SAYS(got.err, rows[i][1]);
		ASSERT_SAYS(got.err, "lockkeeper run: ");
		ASSERT_SAYS(got.err, "Try 'lockkeeper run --help'.");
		run_options_deinit(&o);
	}
}

static void a_wrong_value_names_its_variable(void **state)
{
	static const char *const rows[][2] = {
		{"LOCKKEEPER_POLL_INTERVAL", "x"},
		{"LOCKKEEPER_ADOPT", "maybe"},
		{"DOCKER_HOST", "tcp://h:2375"},
		{"DOCKER_SOCKET", "x"},
		{"ROOT_MOUNTPOINT", "relative"},
		{"LISTEN_PORT", "0"},
		{"LISTEN_PORT", "65536"},
		{"LOCKKEEPER_LOG_LEVEL", "LOUD"},
		{"LOCKKEEPER_LOG_FORMAT", "x"},
		{"LOCKKEEPER_LOCK_ROOT", "x"},
		{"LOCKKEEPER_TARGET", "gopher://x"},
		{"LOCKKEEPER_TARGET", "http://"},
		{"LOCKKEEPER_TARGET", "/proc"},
	};
	char wanted[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		setenv(rows[i][0], rows[i][1], 1);
		assert_int_equal(run_command(parse, str_eq(rows[i][0], "LOCKKEEPER_TARGET") ? "run" : "run --target t"),
				 CLI_USAGE);
		snprintf(wanted, sizeof(wanted), "%s: '%s'", rows[i][0], rows[i][1]);
		ASSERT_SAYS(got.err, wanted);
		unsetenv(rows[i][0]);
		run_options_deinit(&o);
	}
}

static void a_password_in_a_wrong_url_is_not_shown(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "run --target ftp://user:secret@h/t?token=secret"), CLI_USAGE);
	ASSERT_SAYS(got.err, "'ftp://h'");
	assert_null(strstr(got.err, "secret"));
	run_options_deinit(&o);
	setenv("LOCKKEEPER_TARGET", "https://user:secret@h/a b?token=secret", 1);
	assert_int_equal(run_command(parse, "run"), CLI_USAGE);
	ASSERT_SAYS(got.err, "LOCKKEEPER_TARGET: 'https://h'");
	assert_null(strstr(got.err, "secret"));
}

static void a_target_file_that_is_not_there_yet_is_right(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "run --target /nonexistent/t.json"), 0);
	assert_string_equal(o.target, "/nonexistent/t.json");
}

static void a_socket_path_has_a_limit(void **state)
{
	char path[110], arguments[512];

	(void)state;
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[107] = '\0';
	snprintf(arguments, sizeof(arguments), "run --target t --engine %s --listen unix:%s", path, path);
	assert_int_equal(run_command(parse, arguments), 0);
	run_options_deinit(&o);
	path[107] = 'a';
	path[108] = '\0';
	snprintf(arguments, sizeof(arguments), "run --target t --engine %s", path);
	assert_int_equal(run_command(parse, arguments), CLI_USAGE);
	run_options_deinit(&o);
	snprintf(arguments, sizeof(arguments), "run --target t --listen unix:%s", path);
	assert_int_equal(run_command(parse, arguments), CLI_USAGE);
}

static void neither_a_target_nor_a_config_is_bad_usage(void **state)
{
	(void)state;
	assert_int_equal(run_command(parse, "run --config /nonexistent/config.json"), CLI_USAGE);
	ASSERT_SAYS(got.err, "no target: give --target (or LOCKKEEPER_TARGET)");
	ASSERT_SAYS(got.err, "/nonexistent/config.json");
	run_options_deinit(&o);
	assert_int_equal(run_command(parse, "run --config /proc/self/status"), 0);
	assert_null(o.target);
}

static void help_shows_every_flag_and_variable(void **state)
{
	static const char *const words[] = {
		"--target FILE|URL",
		"LOCKKEEPER_TARGET",
		"--poll-interval SECONDS",
		"default: 900",
		"--adopt",
		"--engine SOCKET",
		"DOCKER_SOCKET, else DOCKER_HOST",
		"--root DIR",
		"ROOT_MOUNTPOINT",
		"--state DIR",
		"STATE_DIRECTORY",
		"--config FILE",
		"CONFIG_MOUNT_POINT",
		"--lock-root DIR",
		"LOCKKEEPER_LOCK_ROOT",
		"--legacy-lock-root",
		"--listen ADDRESS",
		"--log-level LEVEL",
		"--log-format FORMAT",
		"LISTEN_PORT",
		"BOOT_MOUNTPOINT",
		"HOST_OS_VERSION_PATH",
		"Examples:",
		"LOCKKEEPER_TARGET_TOKEN_FILE",
	};

	(void)state;
	assert_int_equal(run_command(parse, "run --nothing=1"), CLI_USAGE);
	assert_int_equal(run_command(parse, "run --help"), -1);
	assert_string_equal(got.err, "");
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		ASSERT_SAYS(got.out, words[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(without_flags_and_variables_the_defaults_hold),
		TEST(every_flag_is_understood_in_both_forms),
		TEST(listen_may_be_given_several_times),
		TEST(variables_stand_in_for_flags_and_flags_win),
		TEST(a_wrong_value_names_its_flag),
		TEST(a_wrong_value_names_its_variable),
		TEST(a_password_in_a_wrong_url_is_not_shown),
		TEST(a_target_file_that_is_not_there_yet_is_right),
		TEST(a_socket_path_has_a_limit),
		TEST(neither_a_target_nor_a_config_is_bad_usage),
		TEST(help_shows_every_flag_and_variable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
