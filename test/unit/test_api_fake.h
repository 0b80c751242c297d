/*
 * The reconciler as the API sees it, played by plain values: each getter gives a member of `fake`. The symbols here win
 * over those of the library, which is then not linked at all.
 */
#ifndef TEST_API_FAKE_H
#define TEST_API_FAKE_H

#include "check.h"

#include "api/internal.h"
#include "util/mem.h"
#include "util/str.h"

#define TEXT(s) ((char *)(uintptr_t)(s)) /* values own their texts; these are never freed */

struct reconcile {
	struct target *target;
	struct current current;
	struct plan plan;
	struct lock_views locks;
	struct device_facts facts;
	const char *target_problem, *engine_problem;
	uint64_t seq, settled_seq, version;
	int64_t unsettled_app; /* 0: none */
	int64_t wait_since[4], wait_until[4], looking_since;
	const char *pulled_image;
	int percent;
	const char *stepped_service;
	enum plan_step_kind step;
	const char *commit;
	bool unhealthy;
	unsigned views_written; /* how often the plan was asked for */
	unsigned dry_runs;
	bool override;
	/* Questions who holds the locks; answered in the next turn of `loop`, or by fake_explain() while `thinking`. */
	struct {
		loop_fn *done;
		void *ctx;
	} explains[8];
	size_t n_explains;
	struct loop *loop;
	bool thinking;
	struct loop_deferred explained;
	/* Those who wait for the disk; told in the next turn, or by fake_save() while `saving`. */
	struct {
		loop_fn *done;
		void *ctx;
	} savers[8];
	size_t n_savers;
	bool saving;
	struct loop_deferred saved;
};
static struct reconcile fake;

const struct target *reconcile_target(const struct reconcile *r)
{
	return r->target;
}
const struct current *reconcile_current(const struct reconcile *r)
{
	return &r->current;
}
const struct plan *reconcile_plan(const struct reconcile *r)
{
	fake.views_written++;
	return &r->plan;
}
const struct lock_views *reconcile_locks(const struct reconcile *r)
{
	return &r->locks;
}
const struct device_facts *reconcile_facts(const struct reconcile *r)
{
	return &r->facts;
}
const char *reconcile_target_problem(const struct reconcile *r)
{
	return r->target_problem;
}
const char *reconcile_engine_problem(const struct reconcile *r)
{
	return r->engine_problem;
}
uint64_t reconcile_seq(const struct reconcile *r)
{
	return r->seq;
}
uint64_t reconcile_settled_seq(const struct reconcile *r)
{
	return r->settled_seq;
}
uint64_t reconcile_version(const struct reconcile *r)
{
	return r->version;
}
bool reconcile_app_settled(const struct reconcile *r, int64_t app_id)
{
	return r->unsettled_app != app_id;
}
int64_t reconcile_wait_since(const struct reconcile *r, size_t i)
{
	return r->wait_since[i];
}
int64_t reconcile_wait_until(const struct reconcile *r, size_t i)
{
	return r->wait_until[i];
}
int64_t reconcile_looking_since(const struct reconcile *r)
{
	return r->looking_since;
}
int reconcile_pull_percent(const struct reconcile *r, const char *image)
{
	return str_eq(r->pulled_image, image) ? r->percent : -1;
}
enum plan_step_kind reconcile_service_step(const struct reconcile *r, int64_t app_id, const char *service)
{
	return app_id == 1 && str_eq(r->stepped_service, service) ? r->step : STEP_KIND_COUNT;
}
const char *reconcile_settled_commit(const struct reconcile *r, int64_t app_id)
{
	return app_id == 1 ? r->commit : NULL;
}
bool reconcile_healthy(const struct reconcile *r)
{
	return !r->unhealthy;
}
bool reconcile_lock_override(const struct reconcile *r)
{
	return r->override;
}
static inline void fake_explain(void *ctx)
{
	(void)ctx;
	for (size_t i = 0; i < fake.n_explains; i++)
		fake.explains[i].done(fake.explains[i].ctx);
	fake.n_explains = 0;
}
void reconcile_explain_locks(struct reconcile *r, loop_fn *done, void *ctx)
{
	assert_true(r->n_explains < ARRAY_LEN(r->explains));
	r->explains[r->n_explains].done = done;
	r->explains[r->n_explains++].ctx = ctx;
	if (r->thinking)
		return;
	if (!r->explained.queued)
		loop_deferred_init(r->loop, &r->explained, fake_explain, NULL);
	loop_deferred_schedule(&r->explained);
}
static inline void fake_save(void *ctx)
{
	(void)ctx;
	for (size_t i = 0; i < fake.n_savers; i++)
		fake.savers[i].done(fake.savers[i].ctx);
	fake.n_savers = 0;
}
void reconcile_when_saved(struct reconcile *r, loop_fn *done, void *ctx)
{
	assert_true(r->n_savers < ARRAY_LEN(r->savers));
	r->savers[r->n_savers].done = done;
	r->savers[r->n_savers++].ctx = ctx;
	if (r->saving)
		return;
	if (!r->saved.queued)
		loop_deferred_init(r->loop, &r->saved, fake_save, NULL);
	loop_deferred_schedule(&r->saved);
}
void reconcile_dry_run(const struct reconcile *r, const struct target *t, struct plan *out)
{
	(void)r;
	(void)t;
	fake.dry_runs++;
	*out = (struct plan){0};
	out->steps = mem_new(1, sizeof(*out->steps));
	out->n_steps = out->steps_capacity = 1;
	out->steps[0].kind = STEP_CREATE;
	out->steps[0].app_id = 5;
	out->steps[0].service = mem_strdup("new");
	out->steps[0].reason = mem_strdup("not there yet");
}

/* ---- a small device: app 1 "shop" with main and db, app 2 "other" with one service ---- */

#define COMMIT_OLD "0000000000000000000000000000000000000aaa"
#define COMMIT_NEW "0000000000000000000000000000000000000bbb"

static struct target_service shop_services[] = {
	{.id = 11, .image_id = 111, .name = TEXT("main"), .image = TEXT("reg/main:2"), .running = true},
	{.id = 12, .image_id = 112, .name = TEXT("db"), .image = TEXT("reg/db:1"), .running = true},
};
static struct target_service other_services[] = {
	{.id = 21, .image_id = 211, .name = TEXT("web"), .image = TEXT("reg/web:1"), .running = true},
};
static struct target_app device_apps[] = {
	{.id = 1,
	 .release_id = 100,
	 .uuid = TEXT("uuid-shop"),
	 .name = TEXT("shop"),
	 .commit = TEXT(COMMIT_NEW),
	 .services = shop_services,
	 .n_services = 2},
	{.id = 2,
	 .release_id = 200,
	 .uuid = TEXT("uuid-other"),
	 .name = TEXT("other"),
	 .commit = TEXT(COMMIT_NEW),
	 .services = other_services,
	 .n_services = 1},
};
static struct target device_target = {.apps = device_apps, .n_apps = 2};

static struct container device_containers[] = {
	/* app 2 comes first, as the engine may list it */
	{.id = TEXT("c2web"),
	 .service = TEXT("web"),
	 .app_uuid = TEXT("uuid-other"),
	 .commit = TEXT(COMMIT_NEW),
	 .app_id = 2,
	 .service_id = 21,
	 .image_id = 211,
	 .image = TEXT("sha256:web"),
	 .docker_image_id = TEXT("sha256:web"),
	 .state = CONTAINER_RUNNING,
	 .state_text = TEXT("running"),
	 .created_ms = 1767323045678},
	{.id = TEXT("c1db"),
	 .service = TEXT("db"),
	 .app_uuid = TEXT("uuid-shop"),
	 .commit = TEXT(COMMIT_NEW),
	 .app_id = 1,
	 .service_id = 12,
	 .image_id = 112,
	 .image = TEXT("sha256:db"),
	 .docker_image_id = TEXT("sha256:db"),
	 .state = CONTAINER_RUNNING,
	 .state_text = TEXT("running"),
	 .created_ms = 1767323045678},
	{.id = TEXT("c1main"),
	 .service = TEXT("main"),
	 .app_uuid = TEXT("uuid-shop"),
	 .commit = TEXT(COMMIT_OLD),
	 .app_id = 1,
	 .service_id = 11,
	 .image_id = 110,
	 .image = TEXT("sha256:old"),
	 .docker_image_id = TEXT("sha256:old"),
	 .state = CONTAINER_RUNNING,
	 .state_text = TEXT("running"),
	 .created_ms = 1767323045678},
	{.id = TEXT("stranger")}, /* no container of ours: service NULL */
};
static char *web_tag[] = {TEXT("reg/web:1")}, *db_tag[] = {TEXT("reg/db:1")}, *old_tag[] = {TEXT("reg/main:1")};
static struct image device_images[] = {
	{.id = TEXT("sha256:web"), .tags = {web_tag, 1, 1}},
	{.id = TEXT("sha256:db"), .tags = {db_tag, 1, 1}},
	{.id = TEXT("sha256:old"), .tags = {old_tag, 1, 1}},
};
static struct plan_app_state device_app_states[] = {{.app_id = 1}, {.app_id = 2}};

static inline void fake_device(void)
{
	fake = (struct reconcile){.step = STEP_KIND_COUNT};
	fake.target = &device_target;
	fake.current = (struct current){.known = true,
					.containers = device_containers,
					.n_containers = ARRAY_LEN(device_containers),
					.images = device_images,
					.n_images = ARRAY_LEN(device_images)};
	fake.plan.apps = device_app_states;
	fake.plan.n_apps = 2;
}

#endif
