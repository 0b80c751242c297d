/* Any bytes as a target document: errors or a target that resolves, writes its bodies and compares equal to itself. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/current.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_service(const struct target *t, const struct target_app *a, const struct target_service *s)
{
	static const struct device_facts facts = {.api_port = 48484};
	struct service_config c;
	struct err err = {0};
	struct buf b;

	service_resolve(t, a, s, NULL, &facts, "key", &c);
	if (!service_config_diff(&c, &c, NULL))
		abort();
	buf_init(&b, 64u << 20);
	service_create_body(&c, t->name, &b, &err);
	buf_deinit(&b);
	service_config_deinit(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int standalone = 0; standalone < 2; standalone++) {
		const struct target_options o = {.standalone = standalone};
		struct target_errors errors = {0};
		struct target *t = NULL;
		int rc = target_parse((const char *)data, size, &o, &t, &errors);

		if ((rc == 0) != (t != NULL) || (rc == 0) != (errors.total == 0) || errors.n > TARGET_ERRORS_MAX)
			abort();
		for (size_t i = 0; t && i < t->n_apps; i++)
			for (size_t k = 0; k < t->apps[i].n_services; k++)
				use_service(t, &t->apps[i], &t->apps[i].services[k]);
		target_errors_deinit(&errors);
		target_free(t);
	}
	return 0;
}
