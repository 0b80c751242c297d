/* Which Host headers name this machine, and which may be a name that somebody turned against us. */
#include "test_api_fake.h"

static void a_host_is_local_when_it_is_an_address_or_localhost(void **state)
{
	static const struct {
		const char *host;
		bool is_local;
	} rows[] = {
		{"127.0.0.1", true},
		{"127.0.0.1:48484", true},
		{"10.114.104.1:48484", true},
		{"192.168.1.7", true},
		{"localhost", true},
		{"LocalHost:48484", true},
		{"[::1]", true},
		{"[fe80::1]:48484", true},
		{"", false},
		{":48484", false},
		{"supervisor", false},
		{"localhost.evil.example", false},
		{"evil.localhost", false},
		{"127.0.0.1.evil.example:48484", false},
		{"127.1", false},
		{"::1", false},
		{"[::1", false},
		{"[::1]x", false},
		{"[127.0.0.1]", false},
		{"127.0.0.1:80x", false},
		{"127.0.0.1 evil", false},
		{"localhost:80:80", false},
		{"a-name-that-is-much-longer-than-any-address-could-ever-be-in-any-notation", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (guard_host_is_local(rows[i].host) != rows[i].is_local)
			fail_msg("\"%s\" is taken as %s", rows[i].host, rows[i].is_local ? "foreign" : "local");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_is_local_when_it_is_an_address_or_localhost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
