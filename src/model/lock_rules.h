/* What a target says about update locks: variables that override them, labels that limit their life (spec
 * update-locks.md 5 and 6). */
#ifndef MODEL_LOCK_RULES_H
#define MODEL_LOCK_RULES_H

#include "model/target.h"

/* (BALENA_|RESIN_)SUPERVISOR_OVERRIDE_LOCK, or its old name (…_)OVERRIDE_LOCK, in the device's configuration. */
bool target_overrides_locks(const struct target *t); /* NULL: no */
/* (BALENA_|RESIN_)OVERRIDE_LOCK in the environment of one of its services. */
bool target_app_overrides_locks(const struct target_app *a); /* NULL: no */

#define LABEL_LOCK_IGNORE_WHEN_STOPPED "io.balena.update.lock.ignore-when-stopped"
#define LABEL_LOCK_MAX_AGE             "io.balena.update.lock.max-age"
struct lock_lifetime {
	bool ignore_when_stopped;
	int64_t max_age_ms; /* 0: no limit */
};
/*
 * Of a service: a label of the target counts before the same label of the container that runs (the owner's last word;
 * so a device that is stuck can be freed by a new release). Both may be NULL.
 */
struct lock_lifetime lock_lifetime_of(const struct strmap *target_labels, const struct strmap *current_labels);

#endif
