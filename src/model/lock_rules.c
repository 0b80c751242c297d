/* What a target says about update locks. */
#include "model/lock_rules.h"

#include "model/duration.h"
#include "util/mem.h"

/* Device variables come with one of these in front; the earlier one wins (spec host.md 3.1). */
static const char *const prefixes[] = {"BALENA_", "RESIN_", ""};

static const char *variable(const struct strmap *config, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		AUTO_FREE char *key = mem_printf("%s%s", prefixes[i], name);
		const char *value = strmap_get(config, key);

		if (value)
			return value;
	}
	return NULL;
}

bool target_overrides_locks(const struct target *t)
{
	const char *old = t ? variable(&t->config, "OVERRIDE_LOCK") : NULL; /* it is copied over the new one */

	return t && str_truthy(old ? old : variable(&t->config, "SUPERVISOR_OVERRIDE_LOCK"));
}

bool target_app_overrides_locks(const struct target_app *a)
{
	static const char *const names[] = {"BALENA_OVERRIDE_LOCK", "RESIN_OVERRIDE_LOCK"};

	for (size_t i = 0; a && i < a->n_services; i++)
		for (size_t n = 0; n < ARRAY_LEN(names); n++)
			if (str_truthy(strmap_get(&a->services[i].spec.env, names[n])))
				return true;
	return false;
}

static const char *label(const struct strmap *target, const struct strmap *current, const char *key)
{
	const char *value = target ? strmap_get(target, key) : NULL;

	return !value && current ? strmap_get(current, key) : value;
}

struct lock_lifetime lock_lifetime_of(const struct strmap *target_labels, const struct strmap *current_labels)
{
	const char *max_age = label(target_labels, current_labels, LABEL_LOCK_MAX_AGE);
	struct lock_lifetime l = {0};

	l.ignore_when_stopped = str_truthy(label(target_labels, current_labels, LABEL_LOCK_IGNORE_WHEN_STOPPED));
	if (max_age && !duration_parse(max_age, &l.max_age_ms)) /* of a container: nobody checked it */
		l.max_age_ms = 0;
	return l;
}
