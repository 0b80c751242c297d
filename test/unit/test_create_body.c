/* The body of POST /containers/create, byte for byte: other supervisors compare containers made with it. */
#include <errno.h>

#include "model_fixture.h"

static void a_body_carries_every_field_and_the_main_network_only(void **state)
{
	static const char want[] =
		"{\"Image\":\"sha256:1\",\"Cmd\":[\"sleep\",\"1\"],\"Entrypoint\":[],\"Env\":["
		"\"RESIN_DEVICE_NAME_AT_INIT=dev\",\"BALENA_DEVICE_NAME_AT_INIT=dev\",\"A=1\"],"
		"\"Labels\":{\"l\":\"v\"},\"Hostname\":\"\",\"User\":\"\",\"WorkingDir\":\"\",\"Tty\":true,"
		"\"StopTimeout\":10,\"Volumes\":{\"/anon\":{}},"
		"\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},\"HostConfig\":{\"Binds\":[\"7_vol:/x\"],"
		"\"Mounts\":[{\"Type\":\"tmpfs\",\"Target\":\"/"
		"t\",\"TmpfsOptions\":{\"SizeBytes\":1024,\"Mode\":1023}}],"
		"\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"},"
		"{\"HostIp\":\"\",\"HostPort\":\"8081\"}],\"53/udp\":[{\"HostIp\":\"1.2.3.4\",\"HostPort\":\"\"}]},"
		"\"RestartPolicy\":{\"Name\":\"always\",\"MaximumRetryCount\":0},\"NetworkMode\":\"cafe_front\","
		"\"Privileged\":false,\"IpcMode\":\"shareable\",\"ShmSize\":67108864},"
		"\"NetworkingConfig\":{\"EndpointsConfig\":{\"cafe_front\":{\"IPAMConfig\":{},"
		"\"Aliases\":[\"main\"]}}}}";
	AUTO_FREE char *text = fixture_composition(
		"{\"command\":\"sleep 1\",\"ports\":[\"8081:80\",\"8080:80\",\"1.2.3.4::53/udp\"],"
		"\"networks\":[\"front\",\"back\"],\"volumes\":[\"vol:/x\",\"/anon\",{\"type\":\"tmpfs\","
		"\"target\":\"/t\",\"tmpfs\":{\"size\":\"1k\"}}]}");
	struct target *t = fixture_target(text);
	struct service_config *c = &t->apps[0].services[0].spec;
	struct err err = {0};
	struct buf b;

	(void)state;
	free(c->image);
	c->image = mem_strdup("sha256:1");
	strmap_deinit(&c->labels);
	strmap_set(&c->labels, "l", "v");
	strmap_set(&c->env, "A", "1");
	buf_init(&b, 1 << 16);
	assert_int_equal(service_create_body(c, "dev", &b, &err), 0);
	assert_string_equal(buf_str(&b), want);
	buf_deinit(&b);
	target_free(t);
}

static void further_networks_are_joined_one_by_one(void **state)
{
	AUTO_FREE char *text =
		fixture_composition("{\"networks\":{\"front\":{\"ipv4_address\":\"1.2.3.4\","
				    "\"ipv6_address\":\"FD00::1\",\"link_local_ips\":[\"169.254.1.1\"]}}}");
	struct target *t = fixture_target(text);
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	service_connect_body(&t->apps[0].services[0].spec.networks[0], "abc", &b);
	assert_string_equal(buf_str(&b), "{\"Container\":\"abc\",\"EndpointConfig\":{\"IPAMConfig\":{\"IPv4Address\":"
					 "\"1.2.3.4\",\"IPv6Address\":\"fd00::1\",\"LinkLocalIPs\":[\"169.254.1.1\"]},"
					 "\"Aliases\":[\"main\"]}}");
	buf_deinit(&b);
	target_free(t);
}

static void a_newline_in_the_devices_name_is_refused(void **state)
{
	struct service_config c = {0};
	struct err err = {0};
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	assert_int_equal(service_create_body(&c, "a\nb", &b, &err), -EINVAL);
	assert_int_equal(b.len, 0);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_carries_every_field_and_the_main_network_only),
		cmocka_unit_test(further_networks_are_joined_one_by_one),
		cmocka_unit_test(a_newline_in_the_devices_name_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
