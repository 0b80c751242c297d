/* What the tests of src/lock share: a host root with a sticky /tmp, a set on it, and a record of all it tells. */
#ifndef UNIT_LOCK_FIXTURE_H
#define UNIT_LOCK_FIXTURE_H

#include "check.h"

#include "lock/entry.h"
#include "lock/lock.h"
#include "util/mem.h"

#define LOCK_ROOT     "/tmp/balena-supervisor/services"
#define LEGACY_ROOT   "/tmp/resin-supervisor"
#define DATA_ROOT     "/resin-data"
#define BOOT_ID       "0e4dd5f2-0000-4000-8000-000000000001"
#define THIS_NONCE    "aaaa000000000001"
#define EARLIER_NONCE "bbbb000000000002"

struct told { /* one event, as text for easy comparison: "seen 1 web updates.lock"; for a whole app "seen 1 L2 ..." */
	char *text;
	enum lock_kind lock_kind;
	unsigned uid;
	int64_t since_ms, pid;
	char *detail, *by, *path;
};
struct lock_fixture {
	struct check_fixture *base;
	struct loop *loop;
	struct lock_set *set;
	const char *proc; /* of the set; NULL: below the host root, where there is none */
	int changed;
	bool closed;
	const char *legacy_root, *data_root; /* for set_open(); NULL: these places do not count */
	bool adopt_reference;
	struct told told[256];
	size_t n_told;
	struct err err;
	void (*on_changed)(struct lock_fixture *f); /* may be NULL */
};

static inline const char *told_name(enum lock_event_kind k)
{
	static const char *const names[] = {
		[LOCK_EVENT_SEEN] = "seen",
		[LOCK_EVENT_GONE] = "gone",
		[LOCK_EVENT_TAKEN] = "taken",
		[LOCK_EVENT_RELEASED] = "released",
		[LOCK_EVENT_OVERRIDDEN] = "overridden",
		[LOCK_EVENT_LEFTOVER_REMOVED] = "leftover_removed",
		[LOCK_EVENT_LOST] = "lost",
		[LOCK_EVENT_PROBLEM] = "problem",
	};
	return names[k];
}

static inline const char *told_place(const struct lock_event *e)
{
	if (e->service || !e->app_id)
		return e->service ? e->service : "-";
	return str_starts(e->path, DATA_ROOT "/") ? "L3" : str_starts(e->path, LEGACY_ROOT "/") ? "L2" : "-";
}

static inline void told_free(struct told *t)
{
	free(t->text);
	free(t->detail);
	free(t->by);
	free(t->path);
	*t = (struct told){0};
}

static inline void fixture_on_event(void *ctx, const struct lock_event *e)
{
	struct lock_fixture *f = ctx;
	const char *base = e->path ? strrchr(e->path, '/') + 1 : "";
	struct told *t = &f->told[f->n_told % ARRAY_LEN(f->told)];

	told_free(t);
	f->n_told++;
	t->text = e->kind == LOCK_EVENT_PROBLEM
			  ? mem_printf("problem %lld %s", (long long)e->app_id, told_place(e))
			  : mem_printf("%s %lld %s %s", told_name(e->kind), (long long)e->app_id, told_place(e), base);
	t->lock_kind = e->lock_kind;
	t->uid = e->uid;
	t->since_ms = e->since_ms;
	t->pid = e->pid;
	t->detail = mem_strdup(e->detail);
	t->by = mem_strdup(e->by);
	t->path = mem_strdup(e->path);
}

static inline void fixture_on_changed(void *ctx)
{
	struct lock_fixture *f = ctx;

	f->changed++;
	if (f->on_changed)
		f->on_changed(f);
}

static inline void fixture_on_closed(void *ctx)
{
	((struct lock_fixture *)ctx)->closed = true;
}

static inline void told_clear(struct lock_fixture *f)
{
	for (size_t i = 0; i < ARRAY_LEN(f->told); i++)
		told_free(&f->told[i]);
	f->n_told = 0;
}

static inline const struct told *told_find(const struct lock_fixture *f, const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(f->told); i++)
		if (f->told[i].text && strcmp(f->told[i].text, text) == 0)
			return &f->told[i];
	return NULL;
}

static inline int told_count(const struct lock_fixture *f, const char *prefix)
{
	int n = 0;

	for (size_t i = 0; i < ARRAY_LEN(f->told); i++)
		n += f->told[i].text && str_starts(f->told[i].text, prefix);
	return n;
}

#define ASSERT_TOLD(f, ...)                                                                                            \
	do {                                                                                                           \
		static const char *const _want[] = {__VA_ARGS__};                                                      \
		assert_int_equal((f)->n_told, ARRAY_LEN(_want));                                                       \
		for (size_t _i = 0; _i < ARRAY_LEN(_want); _i++)                                                       \
			assert_string_equal((f)->told[_i].text, _want[_i]);                                            \
		told_clear(f);                                                                                         \
	} while (0)

/* Path below the lock root, or one on the host when absolute, as this process sees it; static buffers in turn. */
static inline const char *below(const struct lock_fixture *f, const char *path)
{
	static char buffers[4][4600];
	static unsigned turn;
	char *out = buffers[turn++ % 4];

	snprintf(out, sizeof(buffers[0]), "%s%s%s", f->base->dir, path[0] == '/' ? "" : LOCK_ROOT "/", path);
	return out;
}

static inline bool exists(const struct lock_fixture *f, const char *path)
{
	struct stat st;

	return lstat(below(f, path), &st) == 0;
}

static inline void make_dir(const struct lock_fixture *f, const char *path)
{
	assert_int_equal(mkdir(below(f, path), 0755), 0);
}

/* A lock with this content and owner, as somebody left it. */
static inline void lock_with(const struct lock_fixture *f, const char *path, const char *text, unsigned uid)
{
	int fd = open(below(f, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchown(fd, uid, uid), 0);
	assert_int_equal(close(fd), 0);
}

/* A lock of an earlier run of ours. */
static inline void leave_behind(const struct lock_fixture *f, const char *path)
{
	char text[LOCK_CONTENT_MAX];

	lock_content_format(text, BOOT_ID, EARLIER_NONCE);
	lock_with(f, path, text, LOCK_OWNER_UID);
}

/* As an application does: O_CREAT | O_EXCL. */
static inline void app_locks(const struct lock_fixture *f, const char *path)
{
	int fd = open(below(f, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
}

static inline void app_unlocks(const struct lock_fixture *f, const char *path)
{
	assert_int_equal(unlink(below(f, path)), 0);
}

static inline int set_open(struct lock_fixture *f, const char *nonce)
{
	struct lock_options o = {
		.host_root = f->base->dir,
		.lock_root = LOCK_ROOT,
		.legacy_root = f->legacy_root,
		.data_root = f->data_root,
		.adopt_reference = f->adopt_reference,
		.proc = f->proc,
		.boot_id = BOOT_ID,
		.nonce = nonce,
		.changed = fixture_on_changed,
		.event = fixture_on_event,
		.ctx = f,
	};

	f->closed = false;
	f->err = (struct err){0};
	return lock_set_new(f->loop, &o, &f->set, &f->err);
}

static inline void set_close(struct lock_fixture *f)
{
	if (!f->set)
		return;
	lock_set_free(STEAL(f->set), fixture_on_closed, f);
	RUN_UNTIL(f->loop, f->closed);
}

static inline void declare(struct lock_fixture *f, int64_t app_id, const char *const *services)
{
	struct strv list = {0};

	for (; *services; services++)
		strv_add(&list, *services);
	lock_set_services(f->set, app_id, &list);
	strv_deinit(&list);
}
#define DECLARE(f, app_id, ...) declare(f, app_id, (const char *const[]){__VA_ARGS__, NULL})
#define FORGET(f, app_id)       declare(f, app_id, (const char *const[]){NULL})

static inline void prepare(struct lock_fixture *f, int64_t app_id, const char *service)
{
	if (lock_set_prepare(f->set, app_id, service, &f->err) < 0)
		fail_msg("%s", f->err.msg);
}

static inline const struct lock_app_view *app_view(struct lock_fixture *f, int64_t app_id)
{
	const struct lock_views *v = lock_set_views(f->set);

	for (size_t i = 0; i < v->n_apps; i++)
		if (v->apps[i].app_id == app_id)
			return &v->apps[i];
	return NULL;
}

static inline bool is_blocked(struct lock_fixture *f, int64_t app_id)
{
	const struct lock_app_view *v = app_view(f, app_id);

	return v && v->blocked;
}

static inline int count_ours(struct lock_fixture *f, int64_t app_id)
{
	const struct lock_views *v = lock_set_views(f->set);
	int n = 0;

	for (size_t i = 0; i < v->n; i++)
		n += v->v[i].app_id == app_id && v->v[i].ours;
	return n;
}

static inline enum lock_app_state state_of(struct lock_fixture *f, int64_t app_id)
{
	const struct lock_app_view *v = app_view(f, app_id);

	return v ? v->state : LOCK_FREE;
}

/* The clock of the loop goes on, as it does from turn to turn; no event is read. */
static inline void a_moment_passes(struct lock_fixture *f)
{
	int64_t before = loop_now_ms(f->loop);

	while (loop_now_ms(f->loop) == before)
		uv_update_time(loop_uv(f->loop));
}

static inline int take(struct lock_fixture *f, int64_t app_id, bool force)
{
	a_moment_passes(f);
	f->err = (struct err){0};
	return lock_take(f->set, app_id, force ? LOCK_FORCE_API : LOCK_FORCE_NONE, &f->err);
}

static inline int release(struct lock_fixture *f, int64_t app_id)
{
	f->err = (struct err){0};
	return lock_release(f->set, app_id, &f->err);
}

static inline int lock_setup_without_set(void **state)
{
	struct lock_fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	check_setup(state);
	f->base = *state;
	f->loop = f->base->loop;
	assert_int_equal(mkdirat(f->base->dir_fd, "tmp", 0700), 0);
	assert_int_equal(fchmodat(f->base->dir_fd, "tmp", 01777, 0), 0);
	*state = f;
	return 0;
}

static inline int lock_setup(void **state)
{
	lock_setup_without_set(state);
	assert_int_equal(set_open(*state, THIS_NONCE), 0);
	return 0;
}

static inline int lock_teardown(void **state)
{
	struct lock_fixture *f = *state;

	set_close(f);
	told_clear(f);
	*state = f->base;
	free(f);
	return check_teardown(state);
}

#define LOCK_TEST(name)        cmocka_unit_test_setup_teardown(name, lock_setup, lock_teardown)
#define LOCK_TEST_NO_SET(name) cmocka_unit_test_setup_teardown(name, lock_setup_without_set, lock_teardown)

/* For a whole file of tests. */
static inline int root_only(void **state)
{
	(void)state;
	if (geteuid() == 0)
		return 0;
	print_message("these tests give files to uid 65534: they need root\n");
	exit(77); /* meson: skipped */
}

/* Only root gives files away to uid 65534. */
#define NEEDS_ROOT()                                                                                                   \
	do {                                                                                                           \
		if (geteuid() != 0)                                                                                    \
			skip();                                                                                        \
	} while (0)

#endif
