/* The supervisor itself among what it looks after: which containers, images, networks and volumes are its own, and so
 * nobody's to stop, replace or remove (spec engine.md 7.3, host.md 1.7). */
#ifndef MODEL_OWN_H
#define MODEL_OWN_H

#include "model/current.h"

/* One of the known supervisor apps. */
bool own_app(const char *app_uuid);
/* … and one of the services by which the supervisor goes in them; its other services are run like anybody's. */
bool own_app_service(const char *app_uuid, const char *service);
/* By its id (facts.own_container), its name (the host starts it as balena_supervisor), or its labels. */
bool own_container(const struct container *c, const struct device_facts *f);
/*
 * Does it carry a tag of the supervisor's image: those that the host gives (balena_supervisor:<version>), or one of
 * facts.own_image's repository? So that the next version, pulled and not started yet, stays as well.
 */
bool own_image(const struct image *image, const struct device_facts *f);

#endif
