/*
 * What the tests of the model share: real answers of an engine (20.10, saved under data/) and the target document that
 * the containers among them were created from.
 */
#ifndef MODEL_FIXTURE_H
#define MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/current.h"
#include "util/mem.h"

#define FIXTURE_MAX (1 << 20)

/* The text of data/<name>.json beside this file; freed by the caller. */
static inline char *fixture_text(const char *name)
{
	AUTO_FREE char *dir = mem_strndup(__FILE__, strlen(__FILE__) - strlen("model_fixture.h"));
	AUTO_FREE char *path = mem_printf("%sdata/%s.json", dir, name);
	FILE *f = fopen(path, "r");
	char *text = mem_new(FIXTURE_MAX + 1, 1);

	if (!f)
		fail_msg("%s cannot be opened: run the test in the build directory", path);
	assert_in_range(fread(text, 1, FIXTURE_MAX, f), 1, FIXTURE_MAX - 1);
	fclose(f);
	return text;
}

static inline struct json *fixture_parse(const char *text)
{
	struct json *v = NULL;
	struct err err = {0};

	if (json_parse(text, strlen(text), FIXTURE_MAX, &v, &err) < 0)
		fail_msg("%s", err.msg);
	return v;
}

static inline struct json *fixture_json(const char *name)
{
	AUTO_FREE char *text = fixture_text(name);

	return fixture_parse(text);
}

static inline struct image fixture_image(const char *name)
{
	struct json *v = fixture_json(name);
	struct image i;
	struct err err = {0};

	if (image_from_engine(v, &i, &err) < 0)
		fail_msg("%s", err.msg);
	json_free(v);
	return i;
}

static inline struct container fixture_container(const char *name)
{
	struct json *v = fixture_json(name);
	struct container c;
	struct err err = {0};

	if (container_from_engine(v, &c, &err) < 0)
		fail_msg("%s", err.msg);
	json_free(v);
	return c;
}

/* Parses a standalone document that must be fine. */
static inline struct target *fixture_target(const char *text)
{
	const struct target_options o = {.standalone = true};
	struct target_errors errors = {0};
	struct target *t = NULL;

	target_parse(text, strlen(text), &o, &t, &errors);
	if (errors.n)
		fail_msg("%s: %s", errors.v[0].path, errors.v[0].message);
	target_errors_deinit(&errors);
	return t;
}

/* One app "cafe" (id 7), one release "beef", with these services, volumes and networks (JSON members). */
static inline char *fixture_document(const char *services, const char *more)
{
	return mem_printf("{\"apps\":{\"cafe\":{\"id\":7,\"name\":\"my app\",\"releases\":{\"beef\":{\"id\":1,"
			  "\"services\":{%s}%s}}}}}",
			  services, more);
}

/* The same with one service "main" of this composition. */
static inline char *fixture_composition(const char *composition)
{
	AUTO_FREE char *service = mem_printf("\"main\":{\"id\":3,\"image_id\":11,\"image\":\"a/b\",\"environment\":{},"
					     "\"labels\":{},\"composition\":%s}",
					     composition);

	return fixture_document(service, ",\"volumes\":{\"vol\":{},\"db\":{}},\"networks\":{\"front\":{},\"back\":{}}");
}

static inline struct device_facts fixture_facts(void)
{
	static char uuid[] = "devuuid", type[] = "qemux86-64", arch[] = "amd64", os[] = "balenaOS 5", host[] = "myhost";
	static char root[] = "/tmp/dC/locks";

	return (struct device_facts){.uuid = uuid,
				     .type = type,
				     .arch = arch,
				     .os_version = os,
				     .hostname = host,
				     .lock_root = root,
				     .api_port = 48484};
}

#endif
