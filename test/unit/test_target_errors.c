/* Everything that is wrong with a document is said, with its path; one error refuses it. */
#include <errno.h>

#include "model_fixture.h"

#define C "apps.cafe.releases.beef.services.main.composition"
#define S "apps.cafe.releases.beef.services.main"

static int parse(const char *text, bool standalone, const char *uuid, struct target_errors *errors)
{
	const struct target_options o = {.standalone = standalone, .device_uuid = uuid};
	struct target *t = NULL;
	int rc;

	*errors = (struct target_errors){0};
	rc = target_parse(text, strlen(text), &o, &t, errors);
	assert_int_equal(rc == 0, errors->total == 0);
	assert_int_equal(rc == 0, t != NULL);
	target_free(t);
	return rc;
}

static void check_one(const char *text, bool standalone, const char *path, const char *message)
{
	struct target_errors errors;

	assert_int_equal(parse(text, standalone, NULL, &errors), -EINVAL);
	if (errors.n != 1 || !str_eq(errors.v[0].path, path) || !str_eq(errors.v[0].message, message))
		fail_msg("%s\n%zu errors, the first: %s: %s\nwant: %s: %s", text, errors.n, errors.v[0].path,
			 errors.v[0].message, path, message);
	target_errors_deinit(&errors);
}

static void what_a_composition_cannot_have_is_named_with_its_path(void **state)
{
	static const struct {
		const char *composition, *path, *message;
	} rows[] = {
		{"{\"cap_add\":[\"SYS_ADMIN\"]}", C ".cap_add", "not supported yet: cap_add"},
		{"{\"commnad\":\"x\"}", C ".commnad", "not supported yet: commnad"},
		{"{\"command\":5}", C ".command", "expected a string or a list of strings, got 5"},
		{"{\"command\":[\"a\",5]}", C ".command[1]", "expected a string, got 5"},
		{"{\"command\":\"a 'b\"}", C ".command", "a quote is not closed"},
		{"{\"restart\":\"sometimes\"}", C ".restart",
		 "expected no, always, on-failure[:times] or unless-stopped, got \"sometimes\""},
		{"{\"restart\":\"always:3\"}", C ".restart",
		 "expected no, always, on-failure[:times] or unless-stopped, got \"always:3\""},
		{"{\"restart\":true}", C ".restart",
		 "expected no, always, on-failure[:times] or unless-stopped, got true"},
		{"{\"ports\":\"80\"}", C ".ports", "expected a list, got \"80\""},
		{"{\"ports\":[\"x\"]}", C ".ports[0]",
		 "\"x\" is no port mapping: the container port must be a number from 1 to 65535, or a range of them"},
		{"{\"ports\":[\"80\",\"65536\"]}", C ".ports[1]",
		 "\"65536\" is no port mapping: the container port must be a number from 1 to 65535, or a range of "
		 "them"},
		{"{\"ports\":[\"8000-9000:80\"]}", C ".ports[0]",
		 "not supported yet: a range of host ports for one container port"},
		{"{\"ports\":[\"80-82:80-81\"]}", C ".ports[0]", "the host range has 3 ports, the container range 2"},
		{"{\"ports\":[\"300.0.0.1:80:80\"]}", C ".ports[0]",
		 "\"300.0.0.1:80:80\" is no port mapping: the host address is no IP address"},
		{"{\"ports\":[\"80/icmp\"]}", C ".ports[0]",
		 "\"80/icmp\" is no port mapping: the protocol must be tcp, udp or sctp"},
		{"{\"ports\":[{\"published\":80}]}", C ".ports[0].target", "expected a port, but it is missing"},
		{"{\"ports\":[{\"target\":80,\"x\":1}]}", C ".ports[0].x", "not supported yet: x"},
		{"{\"ports\":[true]}", C ".ports[0]", "expected a port mapping, got true"},
		{"{\"volumes\":[\"/etc:/etc\"]}", C ".volumes[0]",
		 "a directory of the host cannot be mounted: use a named volume"},
		{"{\"volumes\":[\"./x:/etc\"]}", C ".volumes[0]",
		 "a directory of the host cannot be mounted: use a named volume"},
		{"{\"volumes\":[{\"type\":\"bind\",\"source\":\"/\",\"target\":\"/x\"}]}", C ".volumes[0].type",
		 "a directory of the host cannot be mounted: use a named volume"},
		{"{\"volumes\":[\"gone:/x\"]}", C ".volumes[0]", "the release has no volume \"gone\""},
		{"{\"volumes\":[\"vol:x\"]}", C ".volumes[0]",
		 "\"x\" is no place to mount at: expected an absolute path below /"},
		{"{\"volumes\":[\"vol:/..\"]}", C ".volumes[0]",
		 "\"/..\" is no place to mount at: expected an absolute path below /"},
		{"{\"volumes\":[\"vol:/x:rx\"]}", C ".volumes[0]",
		 "\"rx\" is no volume mode: expected ro, rw, z, Z, nocopy"},
		{"{\"volumes\":[\"vol:/x:ro:y\"]}", C ".volumes[0]", "\"vol:/x:ro:y\" has more than three parts"},
		{"{\"volumes\":[\"vol:/x\",\"db:/x/\"]}", C ".volumes", "\"/x\" is mounted twice"},
		{"{\"volumes\":[\"vol:/tmp/balena\"]}", C ".volumes", "\"/tmp/balena\" is mounted twice"},
		{"{\"volumes\":[{\"type\":\"volume\",\"target\":\"/x\",\"volume\":{\"subpath\":\"y\"}}]}",
		 C ".volumes[0].volume.subpath", "not supported yet: subpath"},
		{"{\"volumes\":[{\"type\":\"tmpfs\",\"target\":\"/x\",\"tmpfs\":{\"size\":\"1.5m\"}}]}",
		 C ".volumes[0].tmpfs.size", "expected a size such as 64m, got \"1.5m\""},
		{"{\"networks\":[\"gone\"]}", C ".networks[0]", "the release has no network \"gone\""},
		{"{\"networks\":{\"front\":{\"priority\":1}}}", C ".networks.front.priority",
		 "not supported yet: priority"},
		{"{\"networks\":{\"front\":{\"ipv4_address\":\"::1\"}}}", C ".networks.front.ipv4_address",
		 "expected an IPv4 address, got \"::1\""},
		{"{\"network_mode\":\"service:x\"}", C ".network_mode", "not supported yet: network_mode service:x"},
		{"{\"network_mode\":\"container:x\"}", C ".network_mode",
		 "not supported yet: network_mode container:x"},
		{"{\"network_mode\":\"gone\"}", C ".network_mode", "the release has no network \"gone\""},
		{"{\"privileged\":\"yes\"}", C ".privileged", "expected true or false, got \"yes\""},
		{"{\"stop_grace_period\":\"soon\"}", C ".stop_grace_period",
		 "expected a duration (10s, 1m30s), got \"soon\""},
		{"{\"stop_grace_period\":-1}", C ".stop_grace_period", "expected a duration (10s, 1m30s), got -1"},
		{"{\"stop_grace_period\":\"99999w\"}", C ".stop_grace_period",
		 "expected a duration (10s, 1m30s), got \"99999w\""},
		{"{\"labels\":{\"io.balena.update.lock.max-age\":\"old\"}}", C ".labels.io.balena.update.lock.max-age",
		 "expected a duration (90s, 1h30m), got \"old\""},
		{"{\"working_dir\":\"x\"}", C ".working_dir", "expected an absolute path, got \"x\""},
		{"{\"working_dir\":\"/a\",\"workingDir\":\"/b\"}", C ".workingDir",
		 "given twice: working_dir is the same"},
		{"{\"environment\":{\"A\":{}}}", C ".environment.A",
		 "expected a string, a number or a boolean, got {}"},
		{"{\"environment\":[\"=x\"]}", C ".environment[0]", "a key is empty"},
		{"{\"labels\":5}", C ".labels", "expected a map or a list of KEY=value, got 5"},
		{"{\"depends_on\":[\"gone\"]}", C ".depends_on[0]", "the release has no service \"gone\""},
		{"{\"depends_on\":[\"main\"]}", C ".depends_on", "dependency cycle: main -> main"},
		{"{\"depends_on\":{\"main\":{\"condition\":\"service_healthy\"},\"x\":{}}}",
		 C ".depends_on.main.condition", NULL},
		{"{\"labels\":{\"io.balena.features.dbus\":\"1\"}}", C ".labels.io.balena.features.dbus",
		 "not supported yet: label io.balena.features.dbus"},
		{"{\"labels\":{\"io.balena.update.strategy\":\"hand-over\"}}", C ".labels.io.balena.update.strategy",
		 "not supported yet: label io.balena.update.strategy=hand-over"},
		{"[]", C, "expected an object, got []"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text = fixture_composition(rows[i].composition);
		struct target_errors errors;

		if (rows[i].message) {
			check_one(text, true, rows[i].path, rows[i].message);
			continue;
		}
		parse(text, true, NULL, &errors); /* several at once */
		assert_string_equal(errors.v[0].path, rows[i].path);
		assert_string_equal(errors.v[0].message, "not supported yet: condition service_healthy");
		assert_string_equal(errors.v[1].path, C ".depends_on.x");
		assert_string_equal(errors.v[1].message, "the release has no service \"x\"");
		target_errors_deinit(&errors);
	}
}

static void the_schema_is_strict(void **state)
{
#define APP(more)           "{\"apps\":{\"cafe\":{" more "}}}"
#define NAME                "\"name\":\"n\""
#define SERVICE(name, more) APP(NAME ",\"releases\":{\"beef\":{\"services\":{\"" name "\":{" more "}}}}")
#define FINE                "\"image\":\"a\",\"environment\":{},\"labels\":{}"
	static const struct {
		const char *text, *path, *message;
	} rows[] = {
		{"", "", "empty document"},
		{"[]", "", "expected an object, got []"},
		{"{}", "", "there is no \"apps\" member and no device"},
		{"{\"config\":{}}", "apps", "is missing: only an explicit \"apps\": {} removes everything"},
		{"{\"apps\":null}", "apps", "expected an object, got null"},
		{"{\"apps\":{},\"apps\":{}}", "", "byte 11: duplicate key \"apps\""},
		{"{\"apps\":{},\"name\":\"a\\nb\"}", "name", "holds a newline"},
		{"{\"apps\":{},\"config\":{\"1a\":\"\"}}", "config.1a", "the name must match [a-zA-Z_][a-zA-Z0-9_:]*"},
		{"{\"apps\":{},\"config\":{\"a\":5}}", "config.a", "expected a string, got 5"},
		{"{\"a\":{\"apps\":{}},\"b\":{\"apps\":{}}}", "", "expected one device, got 2"},
		{"{\"a\":{}}", "a.apps", "is missing: only an explicit \"apps\": {} removes everything"},
		{APP(""), "apps.cafe.name", "expected a string, but it is missing"},
		{APP(NAME ",\"id\":0"), "apps.cafe.id", "expected a numeric id above 0, got 0"},
		{APP(NAME ",\"id\":null"), "apps.cafe.id", "expected a numeric id above 0, got null"},
		{APP(NAME ",\"class\":\"x\""), "apps.cafe.class", "expected fleet, app or block, got \"x\""},
		{APP(NAME ",\"is_host\":null"), "apps.cafe.is_host", "expected true or false, got null"},
		{APP(NAME ",\"parent_app\":null"), "apps.cafe.parent_app", "expected a string, got null"},
		{APP(NAME ",\"releases\":[]"), "apps.cafe.releases", "expected an object, got []"},
		{APP(NAME ",\"releases\":{\"a b\":{}}"), "apps.cafe.releases.a b",
		 "a release is named in containers' names: letters, digits, \"_\", \".\", \"-\" only"},
		{"{\"apps\":{\"a_b\":{\"name\":\"\"}}}", "apps.a_b",
		 "an app is named in networks' names: letters, digits, \".\", \"-\" only"},
		{"{\"apps\":{\"a\":{\"name\":\"\",\"id\":1},\"b\":{\"name\":\"\",\"id\":1}}}", "apps.b.id",
		 "app \"a\" has the same id 1"},
		{SERVICE("-x", FINE), "apps.cafe.releases.beef.services.-x",
		 "the name must match [a-zA-Z0-9][a-zA-Z0-9_.-]*"},
		{SERVICE("..", FINE), "apps.cafe.releases.beef.services...",
		 "the name must match [a-zA-Z0-9][a-zA-Z0-9_.-]*"},
		{SERVICE("main\\n", FINE), S "\n", "the name must match [a-zA-Z0-9][a-zA-Z0-9_.-]*"},
		{SERVICE("main", "\"image\":\"a\",\"labels\":{}"), S ".environment",
		 "expected an object, but it is missing"},
		{SERVICE("main", "\"image\":\"a\",\"environment\":{\"a-b\":\"\"},\"labels\":{}"), S ".environment.a-b",
		 "the name must match [a-zA-Z_][a-zA-Z0-9_]*"},
		{SERVICE("main", "\"image\":\"a\",\"environment\":{\"A\":1},\"labels\":{}"), S ".environment.A",
		 "expected a string, got 1"},
		{SERVICE("main", "\"image\":\"a\",\"environment\":{},\"labels\":{\"a b\":\"\"}"), S ".labels.a b",
		 "the name must match printable ASCII without space and quotes"},
		{SERVICE("main", "\"image\":\"A B\",\"environment\":{},\"labels\":{}"), S ".image",
		 "\"A B\" is no image reference: expected [registry/]name[:tag][@digest]"},
		{SERVICE("main", FINE ",\"running\":1"), S ".running", "expected true or false, got 1"},
		{SERVICE("main", FINE ",\"contract\":null"), S ".contract", "expected an object, got null"},
		{SERVICE("main", FINE ",\"composition\":null"), S ".composition", "expected an object, got null"},
		{SERVICE("main", FINE ",\"image_id\":\"1e3\""), S ".image_id", "expected a numeric id, got \"1e3\""},
		{APP(NAME ",\"releases\":{\"beef\":{\"volumes\":{\"v\":null}}}"), "apps.cafe.releases.beef.volumes.v",
		 "expected an object, got null"},
		{APP(NAME ",\"releases\":{\"beef\":{\"volumes\":{\"v\":{\"external\":true}}}}"),
		 "apps.cafe.releases.beef.volumes.v.external", "not supported yet: external"},
		{APP(NAME ",\"releases\":{\"beef\":{\"networks\":{\"v\":{\"ipam\":{\"config\":[5]}}}}}"),
		 "apps.cafe.releases.beef.networks.v.ipam.config[0]", "expected an object, got 5"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_one(rows[i].text, true, rows[i].path, rows[i].message);
}

static void numeric_ids_are_those_of_the_reference(void **state)
{
	static const struct {
		const char *text;
		int64_t id; /* -1: refused */
	} rows[] = {
		{"7", 7},
		{"\"7\"", 7},
		{"\" 12 \"", 12},
		{"\"+5\"", 5},
		{"\"1.0\"", 1},
		{"\"-0\"", 0},
		{"1e3", 1000},
		{"\"\"", -1},
		{"1.5", -1},
		{"-1", -1},
		{"\"0x10\"", -1},
		{"\"1e3\"", -1},
		{"1e21", -1},
		{"true", -1},
		{"null", -1},
		{"\"007\"", 7},
		{"\"1.5\"", -1},
		{"\"-1\"", -1},
		{"9007199254740991", 9007199254740991},
		{"9007199254740993", -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct target_options o = {.standalone = true};
		AUTO_FREE char *text =
			mem_printf("{\"apps\":{\"a\":{\"name\":\"\",\"releases\":{\"b\":{\"id\":%s}}}}}", rows[i].text);
		struct target_errors errors = {0};
		struct target *t = NULL;

		target_parse(text, strlen(text), &o, &t, &errors);
		if ((t != NULL) != (rows[i].id >= 0))
			fail_msg("%s", rows[i].text);
		if (t)
			assert_int_equal(t->apps[0].release_id, rows[i].id);
		target_free(t);
		target_errors_deinit(&errors);
	}
}

static void all_errors_come_at_once_the_first_fifty_in_full(void **state)
{
	struct target_errors errors;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	buf_adds(&b, "{\"apps\":{},\"config\":{");
	for (int i = 0; i < 60; i++)
		buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", i, i);
	buf_adds(&b, "}}");
	assert_int_equal(parse(buf_str(&b), true, NULL, &errors), -EINVAL);
	assert_int_equal(errors.n, TARGET_ERRORS_MAX);
	assert_int_equal(errors.total, 60);
	assert_string_equal(errors.v[0].path, "config.k0");
	assert_string_equal(errors.v[49].path, "config.k49");
	target_errors_deinit(&errors);
	buf_deinit(&b);
}

static void a_document_from_the_cloud_must_be_complete(void **state)
{
	struct target_errors errors;

	(void)state;
	assert_int_equal(
		parse("{\"u\":{\"apps\":{\"a\":{\"name\":\"\",\"releases\":{\"b\":{}}}}}}", false, "u", &errors),
		-EINVAL);
	assert_int_equal(errors.n, 4);
	assert_string_equal(errors.v[0].path, "u.name");
	assert_string_equal(errors.v[1].path, "u.config");
	assert_string_equal(errors.v[2].path, "u.apps.a.id");
	assert_string_equal(errors.v[3].path, "u.apps.a.releases.b.id");
	target_errors_deinit(&errors);
	assert_int_equal(parse("{\"u\":{\"name\":\"\",\"config\":{},\"apps\":{}}}", false, "w", &errors), -EINVAL);
	assert_string_equal(errors.v[0].message, "device w is not in it");
	target_errors_deinit(&errors);
	assert_int_equal(parse("{\"u\":{\"name\":\"\",\"config\":{},\"apps\":{}},\"w\":{\"name\":\"\",\"config\":{},"
			       "\"apps\":{}}}",
			       false, "w", &errors),
			 0);
}

static char *named(size_t n, const char *unit)
{
	struct buf b;

	buf_init(&b, 1 << 16);
	buf_adds(&b, "{\"apps\":{},\"name\":\"");
	while (n--)
		buf_adds(&b, unit);
	buf_adds(&b, "\"}");
	return buf_steal(&b);
}

static void names_are_counted_in_utf16_code_units(void **state)
{
	static const struct {
		size_t n;
		const char *unit;
		int rc;
	} rows[] = {{255, "a", 0},       {256, "a", -EINVAL}, {255, "é", 0},
		    {256, "é", -EINVAL}, {127, "😀", 0},       {128, "😀", -EINVAL}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *text = named(rows[i].n, rows[i].unit);
		struct target_errors errors;

		assert_int_equal(parse(text, true, NULL, &errors), rows[i].rc);
		target_errors_deinit(&errors);
	}
}

static void what_is_too_large_is_refused(void **state)
{
	AUTO_FREE char *spaces = mem_new(TARGET_MAX_BYTES + 2, 1);
	struct target_errors errors;
	struct buf b;

	(void)state;
	memset(spaces, ' ', TARGET_MAX_BYTES + 1);
	memcpy(spaces, "{\"apps\":{}}", 11);
	assert_int_equal(parse(spaces, true, NULL, &errors), -E2BIG);
	assert_string_equal(errors.v[0].path, "");
	target_errors_deinit(&errors);
	spaces[TARGET_MAX_BYTES] = 0;
	assert_int_equal(parse(spaces, true, NULL, &errors), 0);
	buf_init(&b, 1 << 20);
	buf_adds(&b, "{\"apps\":{},\"config\":{");
	for (int i = 0; i < 4097; i++)
		buf_printf(&b, "%s\"k%d\":\"\"", i ? "," : "", i);
	buf_adds(&b, "}}");
	assert_int_equal(parse(buf_str(&b), true, NULL, &errors), -EINVAL);
	assert_string_equal(errors.v[0].message, "more than 4096 members");
	target_errors_deinit(&errors);
	buf_deinit(&b);
}

#define NEEDS(name, list)                                                                                              \
	"\"" name "\":{\"image\":\"a\",\"environment\":{},\"labels\":{},\"composition\":{\"depends_on\":" list "}}"

static void a_dependency_cycle_is_named(void **state)
{
	AUTO_FREE char *text = fixture_document(
		NEEDS("a", "[\"b\"]") "," NEEDS("b", "{\"c\":{}}") "," NEEDS("c", "[\"b\"]") "," NEEDS("d", "[\"a\"]"),
		"");

	(void)state;
	check_one(text, true, "apps.cafe.releases.beef.services.c.composition.depends_on",
		  "dependency cycle: b -> c -> b");
}

static void a_long_chain_of_dependencies_is_no_cycle(void **state)
{
	struct target_errors errors;
	struct buf b;
	AUTO_FREE char *text = NULL;

	(void)state;
	buf_init(&b, 4 << 20);
	for (int i = 0; i < 20000; i++) {
		AUTO_FREE char *name = mem_printf("s%05d", i),
			       *list = i ? mem_printf("[\"s%05d\"]", i - 1) : mem_strdup("[]");

		buf_printf(&b, "%s" NEEDS("%s", "%s"), i ? "," : "", name, list);
	}
	text = fixture_document(buf_str(&b), "");
	assert_int_equal(parse(text, true, NULL, &errors), 0);
	buf_deinit(&b);
}

static void containers_names_and_derived_ids_must_not_meet(void **state)
{
#define WEB     "\"web\":{\"id\":1,\"image_id\":1,\"image\":\"a\",\"environment\":{},\"labels\":{}}"
#define ONE(id) "{\"id\":" id ",\"name\":\"\",\"releases\":{\"c\":{\"id\":1,\"services\":{" WEB "}}}}"
	(void)state;
	check_one("{\"apps\":{\"a\":" ONE("1") ",\"b\":" ONE("2") "}}", true, "apps.b.releases.c.services.web",
		  "gets the same container name as service \"web\" of app \"a\"");
}

/* These two commits have the same CRC-32, but for its highest bit. */
static void a_derived_release_id_stands_for_one_commit(void **state)
{
#define AT(id, commit, members) "{\"id\":" id ",\"name\":\"\",\"releases\":{\"" commit "\":{" members "}}}"
	static const char *const fine[] = {
		"{\"apps\":{\"a\":" AT("1", "2ff3ec42", "") ",\"b\":" AT("2", "2ff3ec42", "") "}}",
		"{\"apps\":{\"a\":" AT("1", "2ff3ec42", "") ",\"b\":" AT("2", "76f342c2", "\"id\":1") "}}",
	};
	struct target_errors errors;

	(void)state;
	check_one("{\"apps\":{\"a\":" AT("1", "76f342c2", "") ",\"b\":" AT("2", "2ff3ec42", "") "}}", true,
		  "apps.a.releases.76f342c2", "gets the same id as release \"2ff3ec42\" of app \"b\"");
	check_one("{\"apps\":{\"a\":" AT("1", "76f342c2", "") ",\"b\":" AT("2", "x", "\"id\":1192496280") "}}", true,
		  "apps.b.releases.x", "gets the same id as release \"76f342c2\" of app \"a\"");
	for (size_t i = 0; i < ARRAY_LEN(fine); i++)
		assert_int_equal(parse(fine[i], true, NULL, &errors), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_derived_release_id_stands_for_one_commit),
		cmocka_unit_test(what_a_composition_cannot_have_is_named_with_its_path),
		cmocka_unit_test(the_schema_is_strict),
		cmocka_unit_test(numeric_ids_are_those_of_the_reference),
		cmocka_unit_test(all_errors_come_at_once_the_first_fifty_in_full),
		cmocka_unit_test(a_document_from_the_cloud_must_be_complete),
		cmocka_unit_test(names_are_counted_in_utf16_code_units),
		cmocka_unit_test(what_is_too_large_is_refused),
		cmocka_unit_test(a_dependency_cycle_is_named),
		cmocka_unit_test(a_long_chain_of_dependencies_is_no_cycle),
		cmocka_unit_test(containers_names_and_derived_ids_must_not_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
