/*
 * Small durable files. Each name has at most one write under way and one text waiting: whoever saves meanwhile replaces
 * the waiting text and joins those who wait for it, so that a burst of changes costs two writes, not hundreds. What is
 * on disk is the old or the new content at any instant (loop_file_replace), and a rest of a killed write ("NAME.new")
 * is overwritten by the next.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop/file.h"
#include "util/claim.h"
#include "util/fd.h"
#include "util/mem.h"
#include "util/str.h"

struct waiter { /* one store_save() that wants to hear */
	struct waiter *next;
	store_done_fn *done;
	void *ctx;
};
struct waiters {
	struct waiter *first, **end;
};
struct store_file {
	struct store_file *next;
	struct store *store;
	char *file; /* NAME.json */
	bool is_writing;
	struct waiters writing, waiting;
	char *text; /* waiting to be written; NULL: none */
	size_t text_len;
};
struct store {
	struct loop *loop;
	char *dir;
	int dir_fd, lock_fd;
	struct store_file *files;
	struct waiters refused; /* texts too large: told in a next turn */
	struct loop_deferred deferred;
	bool is_closing;
	loop_fn *closed;
	void *closed_ctx;
};

static void waiters_add(struct waiters *l, store_done_fn *done, void *ctx)
{
	struct waiter *w;

	if (!done)
		return;
	w = mem_new(1, sizeof(*w));
	w->done = done;
	w->ctx = ctx;
	if (!l->first)
		l->end = &l->first;
	*l->end = w;
	l->end = &w->next;
}

/* Empties the list, then calls: what is called may save again. */
static void waiters_tell(struct waiters *l, const struct err *err)
{
	struct waiter *w = STEAL(l->first);

	while (w) {
		struct waiter *next = w->next;

		w->done(w->ctx, err);
		free(w);
		w = next;
	}
}

/* `path` and what is missing above it. */
static int make_directories(const char *path, struct err *err)
{
	AUTO_FREE char *part = mem_strdup(path);

	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return err_sys(err, "make directory %s", part);
		*slash = '/';
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, "make directory %s", path);
	return 0;
}

static void store_destroy(struct store *s)
{
	for (struct store_file *f = s->files, *next; f; f = next) {
		next = f->next;
		free(f->file);
		free(f);
	}
	close(s->dir_fd);
	close(s->lock_fd);
	free(s->dir);
	free(s);
}

static bool is_busy(const struct store *s)
{
	for (const struct store_file *f = s->files; f; f = f->next)
		if (f->is_writing || f->text)
			return true;
	return s->refused.first;
}

static void on_deferred(void *ctx)
{
	struct store *s = ctx;
	struct err err = {0};

	err_set(&err, -E2BIG, "more than %u bytes", STORE_FILE_MAX_BYTES);
	waiters_tell(&s->refused, &err);
	if (s->is_closing && !is_busy(s)) {
		loop_fn *closed = s->closed;
		void *closed_ctx = s->closed_ctx;

		loop_deferred_cancel(&s->deferred);
		store_destroy(s);
		if (closed)
			closed(closed_ctx);
	}
}

int store_open(struct loop *l, const char *dir, struct store **out, struct err *err)
{
	AUTO_CLOSE int fd = -1, lock_fd = -1;
	struct store *s;

	if (!dir[0])
		return err_set(err, -EINVAL, "the state directory has no name");
	if (make_directories(dir, err) < 0)
		return err->code;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "open %s", dir);
	if (claim_take(fd, "lock", 0600, dir, &lock_fd, err) < 0)
		return err->code;
	s = mem_new(1, sizeof(*s));
	s->loop = l;
	s->dir = mem_strdup(dir);
	s->dir_fd = fd;
	s->lock_fd = lock_fd;
	fd = lock_fd = -1;
	loop_deferred_init(l, &s->deferred, on_deferred, s);
	*out = s;
	return 0;
}

void store_close(struct store *s, loop_fn *closed, void *ctx)
{
	s->is_closing = true;
	s->closed = closed;
	s->closed_ctx = ctx;
	loop_deferred_schedule(&s->deferred);
}

const char *store_dir(const struct store *s)
{
	return s->dir;
}

/* The whole regular file; at most STORE_FILE_MAX_BYTES, else -EBADMSG. */
static int read_whole(struct store *s, const char *file, char **text, size_t *len, struct err *err)
{
	AUTO_CLOSE int fd = openat(s->dir_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	AUTO_FREE char *data = NULL;
	struct stat st;
	size_t n = 0;

	if (fd < 0 && errno == ELOOP)
		return err_set(err, -EBADMSG, "it is a symbolic link");
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "open it");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EBADMSG, "it is not a regular file");
	if (st.st_size > (off_t)STORE_FILE_MAX_BYTES)
		return err_set(err, -EBADMSG, "more than %u bytes", STORE_FILE_MAX_BYTES);
	data = mem_new((size_t)st.st_size + 1, 1);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, data + n, (size_t)st.st_size - n);

		if (got < 0)
			return err_sys(err, "read it");
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*text = STEAL(data);
	*len = n;
	return 0;
}

static int set_aside(struct store *s, const char *file, struct err *err)
{
	AUTO_FREE char *aside = mem_printf("%s.corrupt", file);

	if (renameat(s->dir_fd, file, s->dir_fd, aside) < 0) {
		err_sys(err, "set aside %s/%s", s->dir, file);
		return err->code;
	}
	err_wrap(err, "%s/%s was corrupt and is now %s", s->dir, file, aside);
	return -EBADMSG;
}

/* Every file of ours is an object that says by which rules it was written. Positive: by newer ones. */
static int check_schema(const struct json *doc, int schema, int64_t *found, struct err *err)
{
	const struct json *member = json_get(doc, "schema");

	if (!json_is(doc, JSON_OBJECT))
		return err_set(err, -EBADMSG, "expected an object, got %s", json_type_name(json_type(doc)));
	if (!member)
		return err_set(err, -EBADMSG, "it has no \"schema\"");
	if (!json_i64(member, found) || *found < schema)
		return err_set(err, -EBADMSG, "its \"schema\" is not %d", schema);
	return *found > schema;
}

/*
 * A newer program wrote it, and the host went back to this one. What it says is kept for that program under a name that
 * nothing of ours writes: as a second name of the same file, so that it is never missing, whenever we are killed.
 */
static int keep_newer(struct store *s, const char *file, int64_t schema, struct err *err)
{
	AUTO_FREE char *kept = mem_printf("%s.schema-%lld", file, (long long)schema);

	unlinkat(s->dir_fd, kept, 0); /* of an earlier time: this one is the later */
	if (linkat(s->dir_fd, file, s->dir_fd, kept, 0) < 0 && renameat(s->dir_fd, file, s->dir_fd, kept) < 0)
		return err_sys(err, "keep %s/%s as %s", s->dir, file, kept);
	err_set(err, 0,
		"%s/%s was written by a newer version (schema %lld): kept as %s, and read as far as it is understood",
		s->dir, file, (long long)schema, kept);
	return STORE_NEWER;
}

int store_load(struct store *s, const char *name, int schema, struct json **out, struct err *err)
{
	AUTO_FREE char *file = mem_printf("%s.json", name);
	AUTO_FREE char *text = NULL;
	int64_t found = 0;
	size_t len = 0;
	int rc = read_whole(s, file, &text, &len, err);

	if (rc == 0 && json_parse(text, len, STORE_FILE_MAX_BYTES, out, err) < 0)
		rc = err->code = -EBADMSG;
	if (rc == 0) {
		rc = check_schema(*out, schema, &found, err);
		if (rc > 0)
			rc = keep_newer(s, file, found, err);
		if (rc < 0)
			json_free(STEAL(*out));
	}
	if (rc == -EBADMSG)
		return set_aside(s, file, err);
	return rc >= 0 ? rc : err_wrap(err, "%s/%s", s->dir, file);
}

static struct store_file *file_get(struct store *s, const char *name)
{
	AUTO_FREE char *file = mem_printf("%s.json", name);
	struct store_file *f = s->files;

	while (f && !str_eq(f->file, file))
		f = f->next;
	if (f)
		return f;
	f = mem_new(1, sizeof(*f));
	f->store = s;
	f->file = STEAL(file);
	f->next = s->files;
	s->files = f;
	return f;
}

static void on_written(void *ctx, const struct err *err);

static void file_write(struct store_file *f)
{
	AUTO_FREE char *text = STEAL(f->text);

	f->is_writing = true;
	f->writing = f->waiting;
	f->waiting = (struct waiters){0};
	loop_file_replace(f->store->loop, f->store->dir_fd, f->file, 0600, text, f->text_len, on_written, f);
}

static void on_written(void *ctx, const struct err *err)
{
	struct store_file *f = ctx;
	struct store *s = f->store;
	struct waiters told = f->writing;
	struct err named = {0};

	f->writing = (struct waiters){0};
	f->is_writing = false;
	if (f->text)
		file_write(f);
	if (err) {
		named = *err;
		err_wrap(&named, "write %s/%s", s->dir, f->file);
	}
	waiters_tell(&told, err ? &named : NULL);
	if (s->is_closing)
		loop_deferred_schedule(&s->deferred);
}

void store_save(struct store *s, const char *name, const char *text, size_t len, store_done_fn *done, void *ctx)
{
	struct store_file *f = file_get(s, name);

	if (len > STORE_FILE_MAX_BYTES) {
		waiters_add(&s->refused, done, ctx);
		loop_deferred_schedule(&s->deferred);
		return;
	}
	free(f->text);
	f->text = mem_new(len + 1, 1);
	memcpy(f->text, text, len);
	f->text_len = len;
	waiters_add(&f->waiting, done, ctx);
	if (!f->is_writing)
		file_write(f);
}

bool store_wait(struct store *s, const char *name, store_done_fn *done, void *ctx)
{
	struct store_file *f = file_get(s, name);

	if (!f->is_writing)
		return false;
	waiters_add(f->text ? &f->waiting : &f->writing, done, ctx);
	return true;
}

/* Is it there already, as it should be? Then nothing is written, and a start waits for no disk. */
static bool plain_is(struct store *s, const char *name, const char *text)
{
	AUTO_CLOSE int fd = openat(s->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	size_t len = strlen(text);
	char have[512];
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0600 &&
	       len < sizeof(have) && read(fd, have, sizeof(have)) == (ssize_t)len && memcmp(have, text, len) == 0;
}

int store_write_plain(struct store *s, const char *name, const char *text, struct err *err)
{
	AUTO_FREE char *temporary = mem_printf("%s.new", name);
	AUTO_CLOSE int fd = -1;

	if (plain_is(s, name, text))
		return 0;
	unlinkat(s->dir_fd, temporary, 0); /* of a killed run, perhaps with another mode */
	fd = openat(s->dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0 || fsync(fd) < 0 ||
	    renameat(s->dir_fd, temporary, s->dir_fd, name) < 0 || fsync(s->dir_fd) < 0)
		return err_sys(err, "write %s/%s", s->dir, name);
	return 0;
}
