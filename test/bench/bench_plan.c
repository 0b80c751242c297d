/*
 * How long a plan takes: for growing numbers of services, settled and with every service to be replaced. Prints median
 * and 99th percentile of plan_make() in microseconds of CPU time, and what one service costs, so that a line that is
 * not straight shows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plan/plan.h"
#include "util/mem.h"

#define RUNS    200
#define PER_APP 50

static struct target *make_target(unsigned n, unsigned version)
{
	struct target_options options = {.standalone = true};
	struct target_errors errors = {0};
	struct target *t = NULL;
	struct buf text;

	buf_init(&text, TARGET_MAX_BYTES);
	buf_adds(&text, "{\"config\":{},\"apps\":{");
	for (unsigned i = 0; i < n; i++) {
		char on[32] = "";

		if (i % PER_APP)
			snprintf(on, sizeof(on), "\"s%u\"", i - 1);
		if (i % PER_APP == 0)
			buf_printf(&text,
				   "%s\"%032x\":{\"id\":%u,\"name\":\"app\",\"releases\":{\"c0ffee\":{\"id\":1,"
				   "\"volumes\":{\"d\":{}},\"services\":{",
				   i ? "}}}}," : "", i / PER_APP + 1, i / PER_APP + 1);
		buf_printf(
			&text,
			"%s\"s%u\":{\"id\":%u,\"image_id\":%u,\"image\":\"registry.example/v2/img%u:%u\",\"labels\":{},"
			"\"environment\":{\"VERSION\":\"%u\"},\"composition\":{\"ports\":[\"%u:80\"],\"volumes\":[\"d:/"
			"d\"],"
			"\"depends_on\":[%s]}}",
			i % PER_APP ? "," : "", i, i + 1, i + 1, i, version, version, 10000 + i, on);
	}
	buf_adds(&text, "}}}}}}");
	if (target_parse(buf_str(&text), text.len, &options, &t, &errors) < 0) {
		fprintf(stderr, "%s: %s\n", errors.v[0].path, errors.v[0].message);
		exit(1);
	}
	target_errors_deinit(&errors);
	buf_deinit(&text);
	return t;
}

static void add_images(struct current *now, const struct target *t, size_t *n)
{
	for (size_t i = 0; i < t->n_apps; i++)
		for (size_t j = 0; j < t->apps[i].n_services; j++) {
			struct image *image = &now->images[(*n)++];

			image->id = mem_printf("sha256:%064zx", *n);
			image->has_config = true;
			strv_add(&image->tags, t->apps[i].services[j].image);
		}
}

static void add_app(struct current *now, const struct target *t, const struct target_app *a,
		    const struct device_facts *facts)
{
	for (size_t i = 0; i < a->n_services; i++) {
		const struct target_service *s = &a->services[i];
		struct container *k = &now->containers[now->n_containers];

		k->id = mem_printf("%064zx", now->n_containers);
		k->name = service_container_name(a, s);
		k->service = mem_strdup(s->name);
		k->commit = mem_strdup(a->commit);
		k->app_id = a->id;
		k->state = CONTAINER_RUNNING;
		service_resolve(t, a, s, &now->images[now->n_containers], facts, NULL, &k->config);
		k->docker_image_id = mem_strdup(k->config.image);
		now->n_containers++;
	}
	for (size_t i = 0; i < a->n_networks; i++) {
		struct network *n = &now->networks[now->n_networks++];

		n->id = mem_strdup(a->networks[i].name);
		n->name = mem_strdup(a->networks[i].name);
		n->key = mem_strdup(a->networks[i].key);
		n->supervised = true;
		n->app_id = a->id;
		n->spec.driver = mem_strdup(a->networks[i].driver);
		n->spec.ipam_driver = mem_strdup(a->networks[i].ipam_driver);
		strmap_copy(&n->spec.options, &a->networks[i].options);
		strmap_copy(&n->spec.labels, &a->networks[i].labels);
	}
}

static void add_volumes(struct current *now, const struct target_app *a)
{
	for (size_t i = 0; i < a->n_volumes; i++) {
		struct volume *v = &now->volumes[now->n_volumes++];

		v->name = mem_strdup(a->volumes[i].name);
		v->key = mem_strdup(a->volumes[i].key);
		v->driver = mem_strdup(a->volumes[i].driver);
		v->supervised = true;
		v->app_id = a->id;
	}
}

static void make_current(struct current *now, const struct target *t, const struct target *next,
			 const struct device_facts *facts)
{
	size_t services = 0, networks = 0, volumes = 0, images = 0;

	for (size_t i = 0; i < t->n_apps; i++) {
		services += t->apps[i].n_services;
		networks += t->apps[i].n_networks;
		volumes += t->apps[i].n_volumes;
	}
	now->known = true;
	now->containers = mem_new(services + 1, sizeof(*now->containers));
	now->networks = mem_new(networks + 1, sizeof(*now->networks));
	now->volumes = mem_new(volumes + 1, sizeof(*now->volumes));
	now->images = mem_new(2 * services + 1, sizeof(*now->images));
	add_images(now, t, &images);
	add_images(now, next, &images);
	now->n_images = images;
	for (size_t i = 0; i < t->n_apps; i++) {
		add_app(now, t, &t->apps[i], facts);
		add_volumes(now, &t->apps[i]);
	}
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const char *what, unsigned n, const struct plan_input *in)
{
	static double us[RUNS];
	size_t steps = 0, waits = 0;

	for (int i = 0; i < RUNS; i++) {
		double begin = now_us();
		struct plan p;

		plan_make(in, &p);
		us[i] = now_us() - begin;
		steps = p.n_steps;
		waits = p.n_waits;
		plan_deinit(&p);
	}
	qsort(us, RUNS, sizeof(*us), compare);
	printf("%-8s %5u services: median %8.0f us, p99 %8.0f us, %5.2f us a service (%zu steps, %zu waits)\n", what, n,
	       us[RUNS / 2], us[RUNS * 99 / 100], us[RUNS / 2] / n, steps, waits);
}

static void run(unsigned n)
{
	struct device_facts facts = {.uuid = mem_strdup("0123456789abcdef"),
				     .lock_root = mem_strdup("/tmp/locks"),
				     .hostname = mem_strdup("box"),
				     .type = mem_strdup("generic"),
				     .arch = mem_strdup("amd64"),
				     .os_version = mem_strdup("Bench OS"),
				     .processors = 4};
	struct target *old = make_target(n, 1), *next = make_target(n, 2);
	struct strv no_images = {0};
	struct lock_views locks = {0};
	struct current now = {0};
	struct plan_input in = {.target = old,
				.current = &now,
				.locks = &locks,
				.facts = &facts,
				.owned_images = &no_images,
				.pulls_max = 3};

	make_current(&now, old, next, &facts);
	measure("settled", n, &in);
	in.target = next;
	measure("update", n, &in);
	current_deinit(&now);
	target_free(old);
	target_free(next);
	device_facts_deinit(&facts);
}

int main(void)
{
	static const unsigned sizes[] = {50, 100, 250, 500, 1000, 2000};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		run(sizes[i]);
	return 0;
}
