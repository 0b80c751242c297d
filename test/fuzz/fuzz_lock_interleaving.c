/*
 * Any interleaving of what applications do in their lock directories with what we do: the input is a list of operations
 * on one set and one app. The truth is what lies on disk, looked at anew after each; whatever the set believes, it may
 * not remove what an application made, say that it holds what it does not, leave a lock of ours, or keep a view that
 * differs from the disk once the loop has run. Needs root, as files of ours belong to uid 65534.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock/lock.h"
#include "util/mem.h"

#define LOCK_ROOT      "/tmp/balena-supervisor/services"
#define LEGACY_ROOT    "/tmp/resin-supervisor"
#define SERVICES       3
#define PATHS          (2 * SERVICES + 1) /* two names a service, and the one of place L2 */
#define OPERATIONS_MAX 200
#define TURNS          4 /* enough for what an event causes */

static char base[64];
static const char *const services[SERVICES] = {"a", "b", "c"};
static const char *const names[2] = {"resin-updates.lock", "updates.lock"};

struct truth { /* of one path */
	bool exists, ours;
	enum lock_kind kind;
	ino_t ino;
};
struct fuzz {
	struct loop *loop;
	struct lock_set *set;
	unsigned nonce, moved;
	unsigned declared; /* mask of services */
	bool ignored[SERVICES];
	bool unread; /* an application changed something, and the loop has not run since */
	bool closed;
	struct truth before[PATHS];
	const char *doing;
};

#define CHECK(f, condition, ...)                                                                                       \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s: not so: %s\n", (f)->doing, #condition);                                   \
			fprintf(stderr, __VA_ARGS__);                                                                  \
			fputc('\n', stderr);                                                                           \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static char *format_path(char out[256], const char *place, const char *name)
{
	snprintf(out, 256, "%s%s", base, place);
	if (name)
		snprintf(out + strlen(out), 256 - strlen(out), "/%s", name);
	return out;
}

static char *dir_path(char out[256], size_t dir) /* of a service; SERVICES: of the app, L2 */
{
	if (dir == SERVICES)
		return format_path(out, LEGACY_ROOT, "1");
	return format_path(out, LOCK_ROOT "/1", services[dir]);
}

static char *lock_path(char out[256], size_t path)
{
	dir_path(out, path / 2);
	snprintf(out + strlen(out), 256 - strlen(out), "/%s", names[path % 2]);
	return out;
}

static int on_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) < 0 && errno != EBUSY;
}

static void remove_tree(const char *path)
{
	nftw(path, on_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static struct truth look(size_t path)
{
	char name[256], text[64] = "";
	struct truth t = {0};
	struct stat st;
	int fd;

	lock_path(name, path);
	if (lstat(name, &st) < 0)
		return t;
	t = (struct truth){.exists = true, .ino = st.st_ino};
	t.kind = S_ISREG(st.st_mode)   ? LOCK_FILE
		 : S_ISDIR(st.st_mode) ? LOCK_DIRECTORY
		 : S_ISLNK(st.st_mode) ? LOCK_SYMLINK
				       : LOCK_OTHER;
	if (t.kind != LOCK_FILE || st.st_uid != 65534)
		return t;
	fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		t.ours = str_starts(text, "lockkeeper-supervisor 1 ");
	if (fd >= 0)
		close(fd);
	return t;
}

static void look_all(struct truth out[PATHS])
{
	for (size_t i = 0; i < PATHS; i++)
		out[i] = look(i);
}

/* What an application made is still there, and the same; `forced`: unless the set was told to break it. */
static void check_foreign(struct fuzz *f, bool forced)
{
	for (size_t i = 0; i < PATHS; i++) {
		struct truth now = look(i);
		bool may_go = forced || (i / 2 < SERVICES && f->ignored[i / 2] && strncmp(f->doing, "take", 4) == 0);

		if (f->before[i].exists && !f->before[i].ours && !may_go)
			CHECK(f, now.exists && now.ino == f->before[i].ino, "an application's lock is gone: path %zu",
			      i);
	}
}

/* -------- the set -------- */

static void on_changed(void *ctx)
{
	(void)ctx;
}

static void on_event(void *ctx, const struct lock_event *e)
{
	(void)ctx;
	(void)e;
}

static void on_closed(void *ctx)
{
	((struct fuzz *)ctx)->closed = true;
}

static void set_open(struct fuzz *f)
{
	char nonce[32];
	struct lock_options o = {
		.host_root = base,
		.lock_root = LOCK_ROOT,
		.legacy_root = LEGACY_ROOT,
		.boot_id = "0e4dd5f2",
		.nonce = nonce,
		.changed = on_changed,
		.event = on_event,
		.ctx = f,
	};
	struct err err = {0};

	snprintf(nonce, sizeof(nonce), "nonce%u", f->nonce++);
	CHECK(f, lock_set_new(f->loop, &o, &f->set, &err) == 0, "%s", err.msg);
	f->declared = 0;
	memset(f->ignored, 0, sizeof(f->ignored));
	f->unread = false;
}

static void set_close(struct fuzz *f)
{
	f->closed = false;
	lock_set_free(STEAL(f->set), on_closed, f);
	for (int i = 0; i < 100 && !f->closed; i++)
		loop_run_once(f->loop, false);
	CHECK(f, f->closed, "the set does not close");
}

static void declare(struct fuzz *f, unsigned mask)
{
	struct strv list = {0};

	for (unsigned i = 0; i < SERVICES; i++)
		if (mask & (1u << i))
			strv_add(&list, services[i]);
	lock_set_services(f->set, 1, &list);
	strv_deinit(&list);
	f->declared = mask;
}

static bool legacy_exists(void)
{
	char path[256];
	struct stat st;

	return lstat(dir_path(path, SERVICES), &st) == 0 && S_ISDIR(st.st_mode);
}

static void check_held(struct fuzz *f)
{
	const struct lock_app_view *v = lock_views_app(lock_set_views(f->set), 1);

	for (size_t i = 0; i < PATHS; i++) {
		bool counts = i / 2 < SERVICES ? f->declared & (1u << i / 2) : !f->unread && legacy_exists();

		CHECK(f, !counts || look(i).ours, "taken, but path %zu is not ours", i);
	}
	CHECK(f, !f->declared || (v && v->state == LOCK_HELD), "taken, but the view says state %d",
	      v ? (int)v->state : -1);
}

static void check_took_nothing(struct fuzz *f)
{
	for (size_t i = 0; i < PATHS; i++)
		CHECK(f, !look(i).ours || f->before[i].ours, "not taken, but path %zu is ours now", i);
}

static void take(struct fuzz *f, enum lock_force force)
{
	struct err err = {0};
	int rc;

	f->doing = force ? "take by force" : "take";
	rc = lock_take(f->set, 1, force, &err);
	if (rc == 0)
		check_held(f);
	else
		check_took_nothing(f);
	CHECK(f, rc >= 0 || err.msg[0], "%d without a sentence", rc);
	check_foreign(f, force != LOCK_FORCE_NONE);
}

static void release(struct fuzz *f)
{
	struct err err = {0};
	int rc = lock_release(f->set, 1, &err);

	CHECK(f, rc == 0, "%s", err.msg);
	for (size_t i = 0; i < PATHS; i++)
		CHECK(f, !look(i).ours, "released, but path %zu is ours", i);
	check_foreign(f, false);
}

static const struct lock_view *view_of(const struct lock_views *l, size_t path)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct lock_view *v = &l->v[i];
		const char *name = strrchr(v->path, '/') + 1;

		if (v->app_id == 1 && strcmp(name, names[path % 2]) == 0 &&
		    (v->service ? path / 2 < SERVICES && strcmp(v->service, services[path / 2]) == 0
				: path / 2 == SERVICES))
			return v;
	}
	return NULL;
}

static void check_views(struct fuzz *f)
{
	const struct lock_views *l = lock_set_views(f->set);

	for (size_t i = 0; i < PATHS; i++) {
		const struct lock_view *v = view_of(l, i);
		struct truth now = look(i);
		bool known = i / 2 == SERVICES || (f->declared & (1u << i / 2));

		if (known)
			CHECK(f, now.exists == !!v, "path %zu is %s, the view says otherwise", i,
			      now.exists ? "there" : "not there");
		if (v)
			CHECK(f, now.exists && v->ours == now.ours && v->kind == now.kind,
			      "path %zu: ours %d, kind %d; the view says %d, %d", i, now.ours, (int)now.kind, v->ours,
			      (int)v->kind);
	}
}

static void turns(struct fuzz *f)
{
	for (int i = 0; i < TURNS; i++)
		loop_run_once(f->loop, false);
	f->unread = false;
	check_foreign(f, false);
	check_views(f);
}

/* -------- applications -------- */

static void app_makes(size_t path, unsigned how)
{
	char name[256], inside[300];
	int fd;

	lock_path(name, path);
	switch (how) {
	case 0:
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd >= 0)
			close(fd);
		break;
	case 1: /* with something in it */
		if (mkdir(name, 0755) == 0) {
			snprintf(inside, sizeof(inside), "%s/host.1", name);
			fd = open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
			if (fd >= 0)
				close(fd);
		}
		break;
	case 2:
		(void)!symlink("nowhere", name);
		break;
	case 3: /* as nobody, with what lockfile(1) writes */
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		if (fd >= 0) {
			(void)!write(fd, "0", 1);
			(void)!fchown(fd, 65534, 65534);
			close(fd);
		}
		break;
	default: /* a rename is not exclusive: it replaces ours, too */
		snprintf(inside, sizeof(inside), "%s.new", name);
		fd = open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd >= 0)
			close(fd);
		if (rename(inside, name) < 0)
			unlink(inside);
	}
}

static void app_removes(size_t path)
{
	char name[256];

	remove_tree(lock_path(name, path));
}

static void dir_replace(struct fuzz *f, size_t dir, bool make)
{
	char name[256], aside[256], moved[32];

	snprintf(moved, sizeof(moved), "moved%u", f->moved++);
	if (rename(dir_path(name, dir), format_path(aside, "", moved)) == 0)
		remove_tree(aside);
	if (make && mkdir(name, 0755) == 0)
		chmod(name, 01777);
}

/* -------- operations -------- */

static void supervisor_does(struct fuzz *f, unsigned what, unsigned arg)
{
	struct err err = {0};

	switch (what) {
	case 0:
		f->doing = "declare";
		declare(f, arg % (1u << SERVICES));
		break;
	case 1:
		take(f, LOCK_FORCE_NONE);
		break;
	case 2:
		take(f, LOCK_FORCE_API);
		break;
	case 3:
		f->doing = "release";
		release(f);
		break;
	case 4:
		f->doing = "prepare";
		lock_set_prepare(f->set, 1, services[arg % SERVICES], &err);
		break;
	case 5:
		f->doing = "turns";
		turns(f);
		break;
	case 6:
		f->doing = "lifetime";
		f->ignored[arg % SERVICES] = arg & 8;
		lock_set_lifetime(f->set, 1, services[arg % SERVICES], arg & 8, 0);
		break;
	case 7:
		f->doing = "restart";
		set_close(f);
		set_open(f);
		break;
	case 8:
		f->doing = "take all";
		if (lock_take_all(f->set, LOCK_FORCE_NONE, NULL, &err) == 0) {
			if (f->declared)
				check_held(f);
			lock_release_all(f->set, &err);
		} else {
			check_took_nothing(f);
		}
		break;
	default:
		f->doing = "running";
		lock_set_running(f->set, 1, arg & 1);
	}
	if (what > 3)
		check_foreign(f, false);
}

static void step(struct fuzz *f, unsigned op, unsigned arg)
{
	look_all(f->before);
	if (op % 2) {
		supervisor_does(f, op / 2 % 10, arg);
		return;
	}
	f->doing = "application";
	f->unread = true;
	switch (op / 2 % 6) {
	case 0:
	case 1:
		app_makes(arg % PATHS, arg / PATHS % 5);
		break;
	case 2:
	case 3:
		app_removes(arg % PATHS);
		break;
	case 4:
		dir_replace(f, arg % (SERVICES + 1), true);
		break;
	default:
		dir_replace(f, arg % (SERVICES + 1), false);
	}
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void tree_make(void)
{
	static const char *const dirs[] = {"/tmp", "/tmp/balena-supervisor", LEGACY_ROOT};
	char path[256];

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		mkdir(format_path(path, dirs[i], NULL), 0755);
	chmod(format_path(path, "/tmp", NULL), 01777);
}

static void on_exit_remove(void)
{
	remove_tree(base);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (geteuid() != 0) {
		fprintf(stderr, "fuzz_lock_interleaving: only root can make locks of ours\n");
		exit(1);
	}
	snprintf(base, sizeof(base), "%s/lk-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(base))
		abort();
	umask(022);
	atexit(on_exit_remove);
	loop_free(loop_new()); /* libuv opens a signal pipe with the first loop and keeps it */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.doing = "start"};
	char path[256];
	int fds;

	tree_make();
	fds = open_fds();
	f.loop = loop_new();
	set_open(&f);
	declare(&f, 3);
	for (size_t i = 0; i + 1 < size && i < 2 * OPERATIONS_MAX; i += 2)
		step(&f, data[i], data[i + 1]);
	look_all(f.before);
	f.doing = "last turns";
	turns(&f);
	f.doing = "last release";
	release(&f);
	set_close(&f);
	CHECK(&f, loop_free(f.loop) == 0, "handles are left");
	CHECK(&f, open_fds() == fds, "descriptors are left");
	remove_tree(format_path(path, "/tmp", NULL));
	return 0;
}
