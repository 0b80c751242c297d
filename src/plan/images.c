/*
 * Images: which of those the target names are here, pulls for the rest (each image once, however many services and apps
 * name it), and removal of those nobody names any more, when all is calm.
 */
#include "plan/internal.h"

#include <string.h>

#include "model/own.h"

static const char *digest_of(const char *reference)
{
	const char *at = strrchr(reference, '@');

	return at ? at + 1 : NULL;
}

/* Engines leave out default registry and folder: only what is behind the last slash is the same in every spelling. */
static const char *last_part(const char *reference)
{
	const char *slash = strrchr(reference, '/');

	return slash ? slash + 1 : reference;
}

static void index_images(struct plan_ctx *c)
{
	const struct current *now = c->in->current;

	for (size_t i = 0; i < now->n_images; i++) {
		const struct image *image = &now->images[i];

		if (image->unreadable)
			continue; /* as good as not here */
		if (image->id)
			plan_index_add(&c->images, image->id, image);
		for (size_t j = 0; j < image->tags.n; j++)
			plan_index_add(&c->images, last_part(image->tags.v[j]), image);
		for (size_t j = 0; j < image->digests.n; j++)
			if (digest_of(image->digests.v[j]))
				plan_index_add(&c->images, digest_of(image->digests.v[j]), image);
	}
	plan_index_sort(&c->images);
}

static const struct image *find_by_key(const struct plan_ctx *c, const char *key, const char *reference)
{
	size_t n;
	const struct plan_entry *e = plan_index_range(&c->images, key, &n);

	for (size_t i = 0; i < n; i++)
		if (image_matches(e[i].value, reference))
			return e[i].value;
	return NULL;
}

static const struct image *find_image(const struct plan_ctx *c, const char *reference)
{
	const char *digest = digest_of(reference);

	return find_by_key(c, digest ? digest : last_part(reference), reference);
}

static void note_missing(const struct plan_reference *r)
{
	const struct plan_app *last = NULL;

	for (size_t i = 0; i < r->n_users; i++) {
		struct plan_app *a = r->users[i]->app;

		if (a == last)
			continue;
		last = a;
		a->n_missing++;
		if (!a->missing)
			a->missing = r->name;
		if (!r->failure || r->flight)
			a->pulling = true;
	}
}

void plan_images_find(struct plan_ctx *c)
{
	struct plan_index wanted = {0};

	index_images(c);
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].want && c->services[i].want->image)
			plan_index_add(&wanted, c->services[i].want->image, &c->services[i]);
	plan_index_sort(&wanted);
	c->references = mem_new(wanted.n + 1, sizeof(*c->references));
	c->reference_users = mem_new(wanted.n + 1, sizeof(struct plan_service *));
	for (size_t i = 0; i < wanted.n; i++) {
		struct plan_reference *r = &c->references[c->n_references];

		c->reference_users[i] = wanted.v[i].value;
		if (r->n_users++ == 0) {
			r->name = wanted.v[i].key;
			r->local = find_image(c, r->name);
			r->subject = mem_printf("image %s", r->name);
			r->flight = plan_flight(c, r->subject);
			r->failure = plan_backoff(c, r->subject);
			r->users = &c->reference_users[i];
		}
		c->reference_users[i]->image = r->local;
		if (i + 1 == wanted.n || strcmp(wanted.v[i + 1].key, r->name) != 0) {
			if (!r->local)
				note_missing(r);
			c->n_references++;
		}
	}
	free(wanted.v);
}

/* Every app that waits for this image says so itself. */
static void emit_backoff(struct plan_ctx *c, const struct plan_reference *r)
{
	const struct plan_app *last = NULL;

	for (size_t i = 0; i < r->n_users; i++) {
		const struct plan_app *a = r->users[i]->app;
		AUTO_FREE char *suffix = last ? mem_printf(" for %lld", (long long)a->id) : mem_strdup("");

		if (a == last)
			continue;
		plan_add_backoff(c, r->failure, a->id, NULL, suffix);
		last = a;
	}
}

static void emit_pull(struct plan_ctx *c, const struct plan_reference *r)
{
	struct plan_step *s = plan_add_step(c, STEP_PULL, r->subject, r->users[0]->app->id);

	s->image = mem_strdup(r->name);
	s->reason = mem_printf("wanted by service %s and not here", r->users[0]->name);
}

static void emit_pulling(struct plan_ctx *c, const struct plan_app *a)
{
	struct plan_wait *w = plan_add_wait(c, WAIT_PULLING, a->id, "pulling %lld", (long long)a->id);
	AUTO_FREE char *why = plan_app_why(a, true);
	AUTO_FREE char *what = a->n_missing == 1
				       ? mem_printf("image %s of the release is not here yet", a->missing)
				       : mem_printf("%zu images of the release are not here yet, %s among them",
						    a->n_missing, a->missing);

	w->detail = why ? mem_printf("%s (%s)", what, why) : mem_strdup(what);
}

void plan_images_emit(struct plan_ctx *c)
{
	size_t pulls = 0;

	for (size_t i = 0; i < c->n_references; i++)
		pulls += c->references[i].flight && c->references[i].flight->kind == STEP_PULL;
	for (size_t i = 0; i < c->n_references; i++) {
		const struct plan_reference *r = &c->references[i];

		if (r->local || r->flight)
			continue;
		if (r->failure)
			emit_backoff(c, r);
		else if (pulls < c->in->pulls_max) {
			emit_pull(c, r);
			pulls++;
		}
	}
	for (size_t i = 0; i < c->n_apps; i++)
		if (c->apps[i].pulling)
			emit_pulling(c, &c->apps[i]);
}

/* Ids of images that some container, whoever's, was made from. */
static void index_used(const struct plan_ctx *c, struct plan_index *used)
{
	const struct current *now = c->in->current;

	for (size_t i = 0; i < now->n_containers; i++) {
		const struct container *k = &now->containers[i];

		if (k->docker_image_id)
			plan_index_add(used, k->docker_image_id, k);
		if (k->config.image)
			plan_index_add(used, k->config.image, k);
	}
	plan_index_sort(used);
}

/* References the target names, and their digests: whoever names the same digest names the same image. */
static void index_wanted(const struct plan_ctx *c, struct plan_index *wanted)
{
	for (size_t i = 0; i < c->n_references; i++) {
		const struct plan_reference *r = &c->references[i];

		plan_index_add(wanted, r->name, r);
		if (digest_of(r->name))
			plan_index_add(wanted, digest_of(r->name), r);
	}
	/* The supervisor's are the host's to remove. */
	for (size_t i = 0; c->in->target && i < c->in->target->n_apps; i++) {
		const struct target_app *a = &c->in->target->apps[i];

		for (size_t j = 0; j < a->n_left_out; j++) {
			const char *image = a->left_out[j].image;

			if (image)
				plan_index_add(wanted, image, a);
			if (image && digest_of(image))
				plan_index_add(wanted, digest_of(image), a);
		}
	}
	plan_index_sort(wanted);
}

static bool is_wanted(const struct plan_index *wanted, const char *reference)
{
	return plan_index_get(wanted, reference) ||
	       (digest_of(reference) && plan_index_get(wanted, digest_of(reference)));
}

/* At best effort: one that the engine keeps costs nothing but disk, so nothing waits for it. */
static void remove_one(struct plan_ctx *c, const char *reference, unsigned *slots)
{
	AUTO_FREE char *subject = mem_printf("image %s", reference);
	const struct plan_failure *failure = plan_backoff(c, subject);
	struct plan_step *s;

	if (plan_flight(c, subject))
		return;
	if (failure) {
		plan_add_note(c, "image %s is kept: %s; tried again later", reference,
			      failure->error ? failure->error : "no reason given");
		return;
	}
	if (*slots == 0)
		return;
	--*slots;
	s = plan_add_step(c, STEP_REMOVE_IMAGE, subject, 0);
	s->image = mem_strdup(reference);
	s->reason = mem_strdup("no longer used by any service");
}

/*
 * The last thing of all: removal takes disk and engine time that belongs to services on their way up, and while a
 * service is not up yet its old image is the way back.
 */
void plan_images_remove_old(struct plan_ctx *c)
{
	struct plan_index used = {0}, wanted = {0};
	const struct strv *owned = c->in->owned_images;
	unsigned slots = c->in->facts->processors ? c->in->facts->processors : 1;

	for (size_t i = 0; i < c->in->n_in_flight; i++)
		slots -= slots && c->in->in_flight[i].kind == STEP_REMOVE_IMAGE;
	if (c->unrest || !owned)
		return;
	index_used(c, &used);
	index_wanted(c, &wanted);
	for (size_t i = 0; i < owned->n; i++) {
		const struct image *image;

		if (is_wanted(&wanted, owned->v[i]))
			continue;
		image = find_image(c, owned->v[i]);
		if (image && (!image->id || !plan_index_get(&used, image->id)) && !own_image(image, c->in->facts))
			remove_one(c, owned->v[i], &slots);
	}
	free(used.v);
	free(wanted.v);
}
