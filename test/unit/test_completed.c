/*
 * Podman's answers: what it tells of containers and networks made from our bodies is what we asked for, and a change of
 * the target is seen all the same. data/podman-*.json are answers of podman 4.3.1 to the bodies of data/target.json.
 */
#include "model_fixture.h"

struct pair {
	struct target *target;
	struct image image;
	struct container current;
	struct service_config want;
};

static struct pair pair_of(const char *service, const char *phase)
{
	AUTO_FREE char *name = mem_printf("podman-container-%s-%s", service, phase), *text = fixture_text("target");
	struct device_facts facts = fixture_facts();
	struct pair p = {.target = fixture_target(text)};

	p.image = fixture_image(str_ends(service, "-plain") ? "podman-image-plain" : "podman-image-rich");
	p.current = fixture_container(name);
	assert_string_equal(p.current.service, service);
	service_resolve(p.target, &p.target->apps[0], target_app_find_service(&p.target->apps[0], service), &p.image,
			&facts, "secretkey", &p.want);
	return p;
}

static void pair_deinit(struct pair *p)
{
	service_config_deinit(&p->want);
	container_deinit(&p->current);
	image_deinit(&p->image);
	target_free(p->target);
}

/* Exactly `field` differs; NULL: nothing. */
static void differs_in(const struct pair *p, const char *what, const char *field)
{
	struct field_changes changes = {0};
	bool equal = service_config_diff(&p->current.config, &p->want, &changes);

	assert_int_equal(equal, service_config_diff(&p->current.config, &p->want, NULL));
	if (equal != !field || changes.n != (field ? 1 : 0) || (field && !str_eq(changes.v[0].field, field)))
		fail_msg("%s: %zu changes: %s: %s, want %s", what, changes.n, changes.n ? changes.v[0].field : "",
			 changes.n ? changes.v[0].current : "", changes.n ? changes.v[0].target : "");
	field_changes_deinit(&changes);
}

/* Podman exposes no port of SCTP, so the recorded container was asked for without. */
static void drop_sctp(struct service_config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_ports; i++)
		if (!str_eq(c->ports[i].proto, "sctp"))
			c->ports[n++] = c->ports[i];
	c->n_ports = n;
}

static void a_container_that_podman_made_from_our_body_reads_back_equal(void **state)
{
	static const struct {
		const char *service, *phase;
	} rows[] = {
		{"plain-plain", "created"}, {"none-plain", "created"},   {"none-rich", "created"},
		{"none-rich", "started"},   {"host-rich", "created"},    {"host-rich", "started"},
		{"hosth-rich", "created"},  {"bridge-rich", "created"},  {"bridge-rich", "started"},
		{"ports-rich", "created"},  {"vols-rich", "created"},    {"vols-rich", "started"},
		{"nets-rich", "created"},   {"nets-rich", "started"},    {"net1-rich", "created"},
		{"six-rich", "created"},    {"res-rich", "created"},     {"resno-rich", "created"},
		{"unl-rich", "created"},    {"misc-rich", "created"},    {"api-rich", "created"},
		{"api-rich", "started"},    {"sec-rich", "created"},     {"ep-rich", "created"},
		{"plain-rich", "created"},  {"apihost-rich", "created"}, {"emptycmd-rich", "created"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pair p = pair_of(rows[i].service, rows[i].phase);

		drop_sctp(&p.want);
		differs_in(&p, rows[i].service, NULL);
		pair_deinit(&p);
	}
}

/* The planner then makes it anew once, and takes it as it is ("setting_not_kept"). */
static void an_emptied_entry_point_is_told_as_what_podman_made_of_it(void **state)
{
	struct pair p = pair_of("all-rich", "created");

	(void)state;
	differs_in(&p, "all-rich", "entrypoint");
	pair_deinit(&p);
}

static void env_value(struct service_config *c)
{
	strmap_set(&c->env, "FOO", "other");
}
static void env_more(struct service_config *c)
{
	strmap_set(&c->env, "NEW", "");
}
static void env_less(struct service_config *c)
{
	strmap_unset(&c->env, "FOO");
}
static void env_path(struct service_config *c)
{
	strmap_set(&c->env, "PATH", "/bin");
}
static void env_home(struct service_config *c)
{
	strmap_set(&c->env, "HOME", "/home");
}
static void label_less(struct service_config *c)
{
	strmap_unset(&c->labels, "l.x");
}
static void command(struct service_config *c)
{
	strv_add(&c->command, "more");
}
static void no_entrypoint(struct service_config *c)
{
	strv_deinit(&c->entrypoint);
}
static void restart(struct service_config *c)
{
	c->restart_max = 5;
}
static void dir(struct service_config *c)
{
	free(c->working_dir);
	c->working_dir = mem_strdup("/elsewhere");
}
static void root_dir(struct service_config *c)
{
	free(c->working_dir);
	c->working_dir = NULL;
}
static void privileged(struct service_config *c)
{
	c->privileged = !c->privileged;
}
static void timeout(struct service_config *c)
{
	c->stop_timeout_s++;
}
static void hostname(struct service_config *c)
{
	free(c->hostname);
	c->hostname = mem_strdup("bee");
}
static void image(struct service_config *c)
{
	c->image[10] = c->image[10] == 'a' ? 'b' : 'a';
}
static void port_of_host(struct service_config *c)
{
	for (size_t i = 0; i < c->n_ports; i++)
		if (c->ports[i].host == 8081)
			c->ports[i].host = 9081;
}
static void port_less(struct service_config *c)
{
	c->n_ports--;
}
static void port_address(struct service_config *c)
{
	for (size_t i = 0; i < c->n_ports; i++)
		if (c->ports[i].host == 8080)
			memcpy(c->ports[i].host_ip, "127.0.0.1", sizeof("127.0.0.1"));
}
static void volume_more(struct service_config *c)
{
	strv_add(&c->binds, "7_v9:/new");
}
static void volume_mode(struct service_config *c)
{
	for (size_t i = 0; i < c->binds.n; i++)
		if (str_eq(c->binds.v[i], "7_v2:/b:ro"))
			c->binds.v[i][strlen("7_v2:/b")] = 0;
}
static void volume_anonymous_less(struct service_config *c)
{
	for (size_t i = 0; i < c->anonymous.n; i++)
		if (str_eq(c->anonymous.v[i], "/anon"))
			memcpy(c->anonymous.v[i], "/data", sizeof("/data")); /* of the image, there already */
}
static void tmpfs_size(struct service_config *c)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (str_eq(c->mounts[i].type, "tmpfs"))
			c->mounts[i].tmpfs_size_bytes *= 2;
}
static void mount_mode(struct service_config *c)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (c->mounts[i].read_only)
			c->mounts[i].read_only = false;
}
static void alias_more(struct service_config *c)
{
	strv_add(&c->networks[1].aliases, "www");
}
static void address(struct service_config *c)
{
	free(c->networks[1].ipv4);
	c->networks[1].ipv4 = mem_strdup("172.30.7.10");
}
static void mode(struct service_config *c)
{
	free(c->network_mode);
	c->network_mode = mem_strdup("none");
}

static void a_change_of_the_target_is_seen_in_a_container_of_podman(void **state)
{
	static const struct {
		const char *service, *phase;
		void (*change)(struct service_config *c);
		const char *field;
	} rows[] = {
		{"none-rich", "started", env_value, "environment.FOO"},
		{"none-rich", "started", env_more, "environment.NEW"},
		{"none-rich", "started", env_less, "environment.FOO"},
		{"none-rich", "started", env_path, "environment.PATH"},
		{"none-rich", "started", env_home, "environment.HOME"},
		{"none-rich", "started", label_less, "labels.l.x"},
		{"none-rich", "started", command, "command"},
		{"none-rich", "started", no_entrypoint, "entrypoint"},
		{"res-rich", "created", restart, "restart"},
		{"none-rich", "started", dir, "working_dir"},
		{"none-rich", "started", root_dir, "working_dir"},
		{"none-rich", "started", privileged, "privileged"},
		{"misc-rich", "created", privileged, "privileged"},
		{"none-rich", "started", timeout, "stop_grace_period"},
		{"none-rich", "started", hostname, "hostname"},
		{"none-rich", "started", image, "image"},
		{"ports-rich", "created", port_of_host, "ports"},
		{"ports-rich", "created", port_less, "ports"},
		{"ports-rich", "created", port_address, "ports"},
		{"vols-rich", "started", volume_more, "volumes"},
		{"vols-rich", "started", volume_mode, "volumes"},
		{"vols-rich", "started", volume_anonymous_less, "volumes"},
		{"vols-rich", "started", tmpfs_size, "volumes"},
		{"vols-rich", "started", mount_mode, "volumes"},
		{"nets-rich", "started", alias_more, "networks.cafe01_front"},
		{"nets-rich", "started", address, "networks.cafe01_front"},
		{"bridge-rich", "started", mode, "network_mode"},
		{"nets-rich", "created", mode, "network_mode"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *what = mem_printf("row %zu", i);
		struct pair p = pair_of(rows[i].service, rows[i].phase);

		drop_sctp(&p.want);
		rows[i].change(&p.want);
		differs_in(&p, what, rows[i].field);
		pair_deinit(&p);
	}
}

/* The same words in an answer of Docker were asked for by somebody. */
static void what_podman_fills_in_counts_when_docker_tells_it(void **state)
{
	static const struct {
		const char *env, *field;
	} rows[] = {{"TERM=xterm", "environment.TERM"},
		    {"container=podman", "environment.container"},
		    {"HOME=/", "environment.HOME"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pair p = pair_of("none-rich", "started");

		p.current.config.completed = false;
		strmap_deinit(&p.current.config.env);
		strmap_copy(&p.current.config.env, &p.want.env);
		strv_deinit(&p.current.config.binds);
		strv_copy(&p.current.config.binds, &p.want.binds);
		strv_copy(&p.current.config.anonymous, &p.want.anonymous);
		differs_in(&p, "asked", NULL);
		strmap_set(&p.current.config.env, rows[i].field + strlen("environment."), strchr(rows[i].env, '=') + 1);
		differs_in(&p, rows[i].env, rows[i].field);
		p.current.config.completed = true;
		differs_in(&p, rows[i].env, NULL);
		pair_deinit(&p);
	}
}

static struct network read_network(const char *name)
{
	struct json *v = fixture_json(name);
	struct network n;
	struct err err = {0};

	assert_int_equal(network_from_engine(v, &n, &err), 0);
	json_free(v);
	return n;
}

static void a_network_that_podman_made_from_our_body_is_the_targets(void **state)
{
	AUTO_FREE char *text = fixture_text("target");
	struct target *t = fixture_target(text);
	struct network own = read_network("podman-network-supervisor0");

	(void)state;
	assert_true(t->apps[0].n_networks >= 4);
	for (size_t i = 0; i < t->apps[0].n_networks; i++) {
		struct target_network *want = &t->apps[0].networks[i];
		AUTO_FREE char *name = mem_printf("podman-network-%s", want->name);
		struct network n = read_network(name);
		struct field_changes changes = {0};

		assert_true(n.supervised);
		if (!network_equal(&n, want, &changes))
			fail_msg("%s: %s", name, changes.v[0].field);
		want->internal = !want->internal;
		assert_false(network_equal(&n, want, &changes));
		assert_int_equal(changes.n, 1);
		assert_string_equal(changes.v[0].field, "internal");
		want->internal = !want->internal;
		strmap_set(&want->options, "com.docker.network.driver.mtu", "1300");
		assert_false(network_equal(&n, want, NULL));
		network_deinit(&n);
		field_changes_deinit(&changes);
	}
	assert_true(network_is_supervisor0(&own));
	own.spec.pools[0].subnet[0] = '9';
	assert_false(network_is_supervisor0(&own));
	network_deinit(&own);
	target_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_container_that_podman_made_from_our_body_reads_back_equal),
		cmocka_unit_test(an_emptied_entry_point_is_told_as_what_podman_made_of_it),
		cmocka_unit_test(a_change_of_the_target_is_seen_in_a_container_of_podman),
		cmocka_unit_test(what_podman_fills_in_counts_when_docker_tells_it),
		cmocka_unit_test(a_network_that_podman_made_from_our_body_is_the_targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
