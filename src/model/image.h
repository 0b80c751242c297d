/* Image references and what an image gives to a container. Spec engine.md 3.1, 1.1(6). */
#ifndef MODEL_IMAGE_H
#define MODEL_IMAGE_H

#include <stdbool.h>

#include "util/err.h"
#include "util/json.h"
#include "util/str.h"

/* "repo:tag" (default latest) or "repo@digest" (tag dropped). Caller frees; NULL and -EINVAL with a sentence when it is
 * no reference. */
char *image_normalise(const char *ref, struct err *err);
/* Split a normalised reference for POST /images/create: repo with registry, and tag or digest. Caller frees both. */
void image_split(const char *ref, char **repo, char **tag);
/* Same image by name: equal, or equal digests. Both normalised. */
bool image_same_name(const char *a, const char *b);

struct image {                     /* a local image */
	char *id;                  /* sha256:… */
	struct strv tags, digests; /* repo:tag, repo@digest */
	bool has_config;           /* the rest is filled (inspected) */
	bool inspecting;           /* the owner of the list is asking for the rest */
	bool unreadable;           /* the engine cannot tell the rest: counts as not there, so that a pull mends it */
	struct strv command, entrypoint;
	struct strmap env, labels;
	struct strv volumes; /* container paths */
	char *user, *working_dir;
};
void image_deinit(struct image *i);
/* Is this the image that `ref` (normalised) names: a tag, a digest, or its id? */
bool image_matches(const struct image *i, const char *ref);
/* From GET /images/<n>/json. */
int image_from_engine(const struct json *inspect, struct image *out, struct err *err);

#endif
