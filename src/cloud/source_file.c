/*
 * A target file. Its path is walked one component at a time, following symbolic links ourselves, and every directory
 * that was asked for a name is watched for that name: a file or a directory that appears, vanishes, is replaced by a
 * rename or lies behind a link that is turned is seen at once. An event is a hint: the whole path is walked again.
 */
#include "cloud/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "loop/dirwatch.h"
#include "util/log.h"
#include "util/mem.h"

#define LINKS_MAX      40  /* as the kernel */
#define WATCHES_MAX    256 /* directories on the way */
#define WATCH_RETRY_MS 5000

struct source_file {
	struct target_source *source;
	struct dirwatch *watch; /* NULL: the kernel has none for us; then the timer looks */
	struct dirwatch_entry *entries[WATCHES_MAX];
	size_t n_entries;
	struct loop_deferred look;
	struct loop_timer timer; /* the slow pass, for file systems that tell nothing */
	loop_fn *stopped;
	void *stopped_ctx;
};

/* One walk down the path. */
struct walk {
	struct source_file *file;
	struct dirwatch_entry *entries[WATCHES_MAX];
	size_t n_entries;
	bool blind; /* the file's own directory could not be watched */
	int dir;
	unsigned links;
	char rest[2 * PATH_MAX]; /* what is still ahead */
};

static void on_change(void *ctx, unsigned events)
{
	struct source_file *f = ctx;

	(void)events;
	loop_deferred_schedule(&f->look);
}

/* Watch first, look then: what changes after the look has an event. */
static void walk_watch(struct walk *w, const char *name, bool is_last)
{
	struct err err = {0};

	if (!w->file->watch || w->n_entries == WATCHES_MAX ||
	    dirwatch_add(w->file->watch, w->dir, (const char *const[]){name, NULL}, is_last, on_change, w->file,
			 &w->entries[w->n_entries], &err) < 0) {
		w->blind |= is_last; /* what is above changes rarely enough for the slow pass */
		log_debug("target_watch_failed", kv_str("name", name), kv_str("err", err.msg));
		return;
	}
	w->n_entries++;
}

static void walk_enter(struct walk *w, int dir)
{
	if (w->dir >= 0)
		close(w->dir);
	w->dir = dir;
}

/* Cut the next component off `rest`; "" at the end. True when nothing follows it. */
static bool walk_next(struct walk *w, char name[NAME_MAX + 1], struct err *err)
{
	const char *from = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(from, "/");
	const char *after = from + len;

	if (len > NAME_MAX) {
		err_set(err, -ENAMETOOLONG, "a name in it is longer than %d bytes", NAME_MAX);
		return true;
	}
	memcpy(name, from, len);
	name[len] = '\0';
	after += strspn(after, "/");
	memmove(w->rest, after, strlen(after) + 1);
	return w->rest[0] == '\0';
}

static int walk_follow(struct walk *w, const char *to, struct err *err)
{
	char joined[2 * PATH_MAX];
	int n = snprintf(joined, sizeof(joined), "%s/%s", to, w->rest);

	if (++w->links > LINKS_MAX || n < 0 || (size_t)n >= sizeof(joined))
		return err_set(err, -ELOOP, "too many symbolic links");
	if (w->rest[0] == '\0')
		joined[n - 1] = '\0'; /* a link in the last place may name a file */
	memcpy(w->rest, joined, sizeof(joined));
	if (to[0] == '/')
		walk_enter(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
	return 0;
}

/* One component. 1: go on; 0: *fd is the file; negative: the error. */
static int walk_step(struct walk *w, int *fd, struct err *err)
{
	char name[NAME_MAX + 1], link[PATH_MAX];
	bool is_last = walk_next(w, name, err);
	ssize_t n;

	if (err->code)
		return err->code;
	walk_watch(w, name, is_last);
	n = readlinkat(w->dir, name, link, sizeof(link) - 1);
	if (n >= 0) {
		link[n] = '\0';
		return walk_follow(w, link, err) < 0 ? err->code : 1;
	}
	if (is_last) {
		/* never blocks: a FIFO or a device is opened, looked at and left alone */
		*fd = openat(w->dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
		if (*fd >= 0)
			return 0;
		return errno == ENOENT ? err_set(err, -ENOENT, "it is missing") : err_sys(err, "open it");
	}
	n = openat(w->dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (n < 0)
		return errno == ENOENT ? err_set(err, -ENOENT, "it is missing, as is the directory %s", name)
				       : err_sys(err, "enter %s", name);
	walk_enter(w, (int)n);
	return 1;
}

/* Open the file and watch the way to it. The descriptor, or a negative code. */
static int file_open(struct source_file *f, bool *blind, struct err *err)
{
	const char *path = f->source->o.location;
	struct walk w = {.file = f, .dir = -1};
	int fd = -1, r = 1;

	snprintf(w.rest, sizeof(w.rest), "%s", path);
	w.dir = open(path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (r == 1)
		r = w.dir < 0 ? err_sys(err, "open the root directory") : walk_step(&w, &fd, err);
	walk_enter(&w, -1);
	/* the new watches stand before the old ones go, so no event falls between */
	for (size_t i = 0; i < f->n_entries; i++)
		dirwatch_remove(f->entries[i]);
	memcpy(f->entries, w.entries, w.n_entries * sizeof(*w.entries));
	f->n_entries = w.n_entries;
	*blind = w.blind;
	return r < 0 ? r : fd;
}

static int file_check(const struct stat *st, size_t max_bytes, struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return err_set(err, -EINVAL, "it is not a regular file");
	if (st->st_mode & S_IWOTH)
		return err_set(err, -EPERM, "it is writable by others");
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(err, -EPERM, "it belongs to user %u, neither root nor us", st->st_uid);
	if (st->st_size == 0)
		return err_set(err, -ENODATA, "it is empty");
	if ((uint64_t)st->st_size > max_bytes)
		return err_set(err, -EMSGSIZE, "it is larger than %zu bytes", max_bytes);
	return 0;
}

/* Reads on while the file grows under our hands, up to the limit. */
static int file_read(int fd, size_t size, size_t max_bytes, char **text, size_t *len, struct err *err)
{
	size_t capacity = 0;

	for (;;) {
		ssize_t n;

		mem_reserve(text, &capacity, *len == 0 ? size + 1 : *len + 1, 1);
		n = read(fd, *text + *len, capacity - *len);
		if (n < 0)
			return err_sys(err, "read it");
		if (n == 0)
			break;
		*len += (size_t)n;
		if (*len > max_bytes)
			return err_set(err, -EMSGSIZE, "it is larger than %zu bytes", max_bytes);
	}
	return *len == 0 ? err_set(err, -ENODATA, "it is empty") : 0;
}

static void file_look(struct source_file *f)
{
	struct target_source *s = f->source;
	AUTO_FREE char *text = NULL;
	struct err err = {0};
	struct stat st;
	size_t len = 0;
	bool blind = false;
	AUTO_CLOSE int fd = file_open(f, &blind, &err);

	loop_timer_start(&f->timer, blind ? WATCH_RETRY_MS : s->o.poll_interval_ms);
	if (fd >= 0 && fstat(fd, &st) < 0)
		err_sys(&err, "look at it");
	else if (fd >= 0 && file_check(&st, s->o.max_bytes, &err) == 0)
		file_read(fd, (size_t)st.st_size, s->o.max_bytes, &text, &len, &err);
	if (err.code) {
		err_wrap(&err, "target file %s", s->o.location);
		source_fail(s, &err, false);
		return;
	}
	source_deliver(s, text, len, true);
}

static void on_look(void *ctx)
{
	struct source_file *f = ctx;
	struct err err = {0};

	if (!f->watch && dirwatch_new(f->source->loop, &f->watch, &err) < 0)
		log_debug("target_watch_failed", kv_str("err", err.msg));
	file_look(f);
}

struct source_file *source_file_new(struct target_source *s)
{
	struct source_file *f = mem_new(1, sizeof(*f));

	f->source = s;
	loop_deferred_init(s->loop, &f->look, on_look, f);
	loop_timer_init(s->loop, &f->timer, on_look, f);
	loop_deferred_schedule(&f->look);
	return f;
}

void source_file_look(struct source_file *f)
{
	loop_deferred_schedule(&f->look);
}

static void on_timer_closed(void *ctx)
{
	struct source_file *f = ctx;
	loop_fn *stopped = f->stopped;
	void *stopped_ctx = f->stopped_ctx;

	free(f);
	stopped(stopped_ctx);
}

void source_file_stop(struct source_file *f, loop_fn *stopped, void *ctx)
{
	f->stopped = stopped;
	f->stopped_ctx = ctx;
	loop_deferred_cancel(&f->look);
	for (size_t i = 0; i < f->n_entries; i++)
		dirwatch_remove(f->entries[i]);
	f->n_entries = 0;
	if (f->watch)
		dirwatch_free(f->watch);
	loop_timer_deinit(&f->timer, on_timer_closed, f);
}
