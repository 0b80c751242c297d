/* Published ports: every way to write them ends in the same tuples (spec engine.md 1.7). */
#include <errno.h>

#include "model_fixture.h"

static char *tuples(const struct service_config *c)
{
	struct strv l = {0};
	char *text;

	for (size_t i = 0; i < c->n_ports; i++)
		strv_take(&l, mem_printf("%s,%s,%u,%u", c->ports[i].proto, c->ports[i].host_ip, c->ports[i].host,
					 c->ports[i].container));
	text = strv_join(&l, " ");
	strv_deinit(&l);
	return text;
}

static void ports_of_every_form_become_tuples(void **state)
{
	static const struct {
		const char *ports, *tuples;
	} rows[] = {
		{"\"80\"", "tcp,,80,80"},
		{"80", "tcp,,80,80"},
		{"\"8080:80/udp\"", "udp,,8080,80"},
		{"\"80/SCTP\"", "sctp,,80,80"},
		{"\"127.0.0.1:53:53\"", "tcp,127.0.0.1,53,53"},
		{"\"127.0.0.1::53\"", "tcp,127.0.0.1,0,53"},
		{"\"0:53\"", "tcp,,0,53"},
		{"\"[::1]:80:81\"", "tcp,::1,80,81"},
		{"\"FE80::1:80:81\"", "tcp,fe80::1,80,81"},
		{"\"80-81:100-101\"", "tcp,,80,100 tcp,,81,101"},
		{"\"80-81\",\"82-84\"", "tcp,,80,80 tcp,,81,81 tcp,,82,82 tcp,,83,83 tcp,,84,84"},
		{"\"81\",\"80-81\",80", "tcp,,80,80 tcp,,81,81"},
		{"{\"target\":80}", "tcp,,0,80"},
		{"{\"target\":80,\"published\":\"8080\",\"host_ip\":\"1.2.3.4\",\"protocol\":\"udp\",\"mode\":"
		 "\"host\"}",
		 "udp,1.2.3.4,8080,80"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *composition = mem_printf("{\"ports\":[%s]}", rows[i].ports);
		AUTO_FREE char *text = fixture_composition(composition), *got = NULL;
		struct target *t = fixture_target(text);

		got = tuples(&t->apps[0].services[0].spec);
		assert_string_equal(got, rows[i].tuples);
		target_free(t);
	}
}

static void ports_are_limited_in_the_whole_document(void **state)
{
	static const struct {
		const char *ports;
		int rc;
	} rows[] = {{"\"1-65535\",\"1/udp\"", 0}, {"\"1-65535\",\"1/udp\",\"2/udp\"", -EINVAL}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct target_options o = {.standalone = true};
		AUTO_FREE char *composition = mem_printf("{\"ports\":[%s]}", rows[i].ports);
		AUTO_FREE char *text = fixture_composition(composition);
		struct target_errors errors = {0};
		struct target *t = NULL;

		assert_int_equal(target_parse(text, strlen(text), &o, &t, &errors), rows[i].rc);
		assert_int_equal(errors.n, rows[i].rc ? 1 : 0);
		if (rows[i].rc)
			assert_string_equal(errors.v[0].message, "more than 65536 published ports in the document");
		target_errors_deinit(&errors);
		target_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_of_every_form_become_tuples),
		cmocka_unit_test(ports_are_limited_in_the_whole_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
