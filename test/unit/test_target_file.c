/* A target file as source: on a real file system, with real inotify; only the owner is ours. */
#include "check.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "cloud/target_source.h"
#include "util/mem.h"
#include "util/str.h"

#define MAX_BYTES 64

/* What the owner was told, as text: "D:<document>", "F:<sentence>", "U", each ended by a newline. */
struct owner {
	struct check_fixture *f;
	struct target_source *source;
	char told[4096];
	int calls;
	bool refuses, stopped;
	char path[PATH_MAX];
};

static void tell(struct owner *o, const char *kind, const char *text, size_t len)
{
	size_t at = strlen(o->told);

	o->calls++;
	snprintf(o->told + at, sizeof(o->told) - at, "%s%.*s\n", kind, (int)len, text);
}

static bool on_document(void *ctx, const char *text, size_t len)
{
	struct owner *o = ctx;

	tell(o, "D:", text, len);
	return !o->refuses;
}

static void on_failed(void *ctx, const struct err *err)
{
	struct owner *o = ctx;
	const char *sentence = strstr(err->msg, ": ");

	assert_true(err->code < 0);
	assert_true(str_starts(err->msg, "target file /")); /* every sentence names the file */
	assert_non_null(sentence);
	tell(o, "F:", sentence + 2, strlen(sentence + 2));
}

static void on_unchanged(void *ctx)
{
	tell(ctx, "U", "", 0);
}

static void on_stopped(void *ctx)
{
	((struct owner *)ctx)->stopped = true;
}

/* The owner has heard exactly `expected` since the last time, and nothing more comes. */
#define TOLD(o, expected)                                                                                              \
	do {                                                                                                           \
		RUN_UNTIL((o)->f->loop, strlen((o)->told) >= strlen(expected));                                        \
		check_run_turns((o)->f->loop, 5);                                                                      \
		assert_string_equal((o)->told, expected);                                                              \
		(o)->told[0] = '\0';                                                                                   \
	} while (0)

static void start_at(struct owner *o, const char *location)
{
	struct target_source_options options = {
		.location = location,
		.max_bytes = MAX_BYTES,
		.poll_interval_ms = 600000,
		.document = on_document,
		.failed = on_failed,
		.unchanged = on_unchanged,
		.ctx = o,
	};
	struct err err = {0};

	assert_int_equal(target_source_new(o->f->loop, &options, &o->source, &err), 0);
	assert_false(target_source_is_url(o->source));
	assert_int_equal(o->calls, 0); /* nothing before the loop runs */
}

static void start(struct owner *o, const char *name)
{
	snprintf(o->path, sizeof(o->path), "%s/%s", o->f->dir, name);
	start_at(o, o->path);
}

static void put(struct owner *o, const char *name, const char *text)
{
	check_write_file(o->f->dir_fd, name, text);
}

static void move(struct owner *o, const char *from, const char *to)
{
	assert_int_equal(renameat(o->f->dir_fd, from, o->f->dir_fd, to), 0);
}

static void make_dir(struct owner *o, const char *name)
{
	assert_int_equal(mkdirat(o->f->dir_fd, name, 0755), 0);
}

static void make_link(struct owner *o, const char *to, const char *name)
{
	assert_int_equal(symlinkat(to, o->f->dir_fd, name), 0);
}

static int setup(void **state)
{
	struct owner *o;

	check_setup(state);
	o = calloc(1, sizeof(*o));
	o->f = *state;
	*state = o;
	return 0;
}

static int teardown(void **state)
{
	struct owner *o = *state;
	void *f = o->f;

	if (o->source && !o->stopped) {
		target_source_stop(o->source, on_stopped, o);
		assert_false(o->stopped);
		RUN_UNTIL(o->f->loop, o->stopped);
		check_run_turns(o->f->loop, 3);
	}
	free(o);
	return check_teardown(&f);
}

static void the_file_is_read_at_start_and_when_it_changes(void **state)
{
	struct owner *o = *state;

	put(o, "t", "one");
	start(o, "t");
	TOLD(o, "D:one\n");
	assert_true(target_source_last_ok_ms(o->source) > 0);
	put(o, "t", "two"); /* rewritten in place */
	TOLD(o, "D:two\n");
	put(o, "t.new", "three");
	move(o, "t.new", "t"); /* replaced by rename */
	TOLD(o, "D:three\n");
	put(o, "other", "nothing of ours");
	put(o, "t", "four");
	TOLD(o, "D:four\n");
}

static void a_deleted_file_fails_once_and_is_seen_when_it_is_back(void **state)
{
	struct owner *o = *state;

	put(o, "t", "one");
	start(o, "t");
	TOLD(o, "D:one\n");
	assert_int_equal(unlinkat(o->f->dir_fd, "t", 0), 0);
	TOLD(o, "F:it is missing\n");
	put(o, "new", "two");
	move(o, "new", "t");
	TOLD(o, "D:two\n");
	assert_int_equal(unlinkat(o->f->dir_fd, "t", 0), 0);
	TOLD(o, "F:it is missing\n");
	put(o, "new", "two"); /* the accepted one is back: that is news, but no new document */
	move(o, "new", "t");
	TOLD(o, "U\n");
}

static void a_missing_directory_may_come_later(void **state)
{
	struct owner *o = *state;

	start(o, "a/b/t");
	TOLD(o, "F:it is missing, as is the directory a\n");
	make_dir(o, "a");
	TOLD(o, "F:it is missing, as is the directory b\n");
	make_dir(o, "new");
	put(o, "new/t", "one");
	move(o, "new", "a/b");
	TOLD(o, "D:one\n");
}

static void a_replaced_directory_is_followed(void **state)
{
	struct owner *o = *state;

	make_dir(o, "a");
	put(o, "a/t", "one");
	start(o, "a/t");
	TOLD(o, "D:one\n");
	make_dir(o, "b");
	put(o, "b/t", "two");
	move(o, "a", "old");
	TOLD(o, "F:it is missing, as is the directory a\n");
	move(o, "b", "a");
	TOLD(o, "D:two\n");
	put(o, "old/t", "nobody looks here any more");
	put(o, "a/t", "three");
	TOLD(o, "D:three\n");
}

static void symbolic_links_on_the_way_are_watched(void **state)
{
	struct owner *o = *state;

	make_dir(o, "v1");
	make_dir(o, "v2");
	put(o, "v1/t", "one");
	put(o, "v2/t", "two");
	make_link(o, "v1", "data");
	make_link(o, "data/t", "t"); /* as Kubernetes mounts a config map */
	start(o, "t");
	TOLD(o, "D:one\n");
	make_link(o, "v2", "data.new");
	move(o, "data.new", "data");
	TOLD(o, "D:two\n");
	put(o, "v2/t", "three");
	TOLD(o, "D:three\n");
}

static void a_link_as_parent_directory_is_followed_when_turned(void **state)
{
	struct owner *o = *state;
	AUTO_FREE char *absolute = NULL;

	make_dir(o, "v1");
	make_dir(o, "v2");
	put(o, "v1/t", "one");
	put(o, "v2/t", "two");
	make_link(o, "v1/", "now");
	start(o, "now/t");
	TOLD(o, "D:one\n");
	absolute = mem_printf("%s/./v1/../v2", o->f->dir);
	make_link(o, absolute, "now.new");
	move(o, "now.new", "now");
	TOLD(o, "D:two\n");
}

static void links_in_a_circle_are_refused(void **state)
{
	struct owner *o = *state;

	make_link(o, "b", "a");
	make_link(o, "a", "b");
	start(o, "a");
	TOLD(o, "F:too many symbolic links\n");
}

static void what_is_no_safe_file_is_refused(void **state)
{
	struct owner *o = *state;

	put(o, "t", "");
	start(o, "t");
	TOLD(o, "F:it is empty\n");
	put(o, "t", "one");
	TOLD(o, "D:one\n");
	assert_int_equal(fchmodat(o->f->dir_fd, "t", 0646, 0), 0);
	TOLD(o, "F:it is writable by others\n");
	assert_int_equal(fchmodat(o->f->dir_fd, "t", 0644, 0), 0);
	TOLD(o, "U\n");
	assert_int_equal(unlinkat(o->f->dir_fd, "t", 0), 0);
	TOLD(o, "F:it is missing\n");
	make_dir(o, "t");
	TOLD(o, "F:it is not a regular file\n");
	assert_int_equal(unlinkat(o->f->dir_fd, "t", AT_REMOVEDIR), 0);
	TOLD(o, "F:it is missing\n");
	assert_int_equal(mkfifoat(o->f->dir_fd, "t", 0644), 0); /* nobody writes to it: opening must not wait */
	TOLD(o, "F:it is not a regular file\n");
}

static void a_file_of_another_user_is_refused(void **state)
{
	struct owner *o = *state;

	if (geteuid() != 0)
		skip();
	put(o, "t", "one");
	assert_int_equal(fchownat(o->f->dir_fd, "t", 1234, 0, 0), 0);
	start(o, "t");
	TOLD(o, "F:it belongs to user 1234, neither root nor us\n");
	assert_int_equal(fchownat(o->f->dir_fd, "t", 0, 0, 0), 0);
	TOLD(o, "D:one\n");
}

static void the_size_limit_is_exact(void **state)
{
	struct owner *o = *state;
	char text[MAX_BYTES + 2], expected[MAX_BYTES + 8];

	memset(text, 'x', sizeof(text));
	text[MAX_BYTES] = '\0';
	put(o, "t", text);
	start(o, "t");
	snprintf(expected, sizeof(expected), "D:%s\n", text);
	TOLD(o, expected);
	text[MAX_BYTES] = 'x';
	text[MAX_BYTES + 1] = '\0';
	put(o, "t", text);
	TOLD(o, "F:it is larger than 64 bytes\n");
}

static void a_look_that_was_asked_for_has_exactly_one_answer(void **state)
{
	struct owner *o = *state;

	put(o, "t", "one");
	start(o, "t");
	target_source_poll(o->source); /* joins the first read */
	assert_int_equal(o->calls, 0);
	TOLD(o, "D:one\n");
	target_source_poll(o->source);
	assert_int_equal(o->calls, 1);
	TOLD(o, "U\n");
	put(o, "t", "two");
	target_source_poll(o->source); /* the event of this write is no second answer */
	TOLD(o, "D:two\n");
	assert_int_equal(unlinkat(o->f->dir_fd, "t", 0), 0);
	TOLD(o, "F:it is missing\n");
	target_source_poll(o->source); /* the same sentence, since somebody asked */
	TOLD(o, "F:it is missing\n");
}

static void a_refused_document_is_offered_again_when_asked_for_or_changed(void **state)
{
	struct owner *o = *state;

	put(o, "t", "good");
	start(o, "t");
	TOLD(o, "D:good\n");
	o->refuses = true;
	put(o, "t", "bad");
	TOLD(o, "D:bad\n");
	assert_int_equal(fchmodat(o->f->dir_fd, "t", 0600, 0), 0); /* an event, the same bytes */
	put(o, "mark", "");
	check_run_turns(o->f->loop, 5);
	assert_string_equal(o->told, "");
	target_source_poll(o->source);
	TOLD(o, "D:bad\n");
	put(o, "t", "good"); /* what stands is what was accepted before */
	TOLD(o, "U\n");
}

static void running_out_of_descriptors_is_a_failure_that_the_next_look_mends(void **state)
{
	struct owner *o = *state;
	struct rlimit limit, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	put(o, "t", "one");
	start(o, "t");
	none = limit;
	none.rlim_cur = 0; /* inotify_init() and open() fail alike */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	target_source_poll(o->source);
	check_run_turns(o->f->loop, 2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	TOLD(o, "F:open the root directory: Too many open files\n");
	target_source_poll(o->source);
	TOLD(o, "D:one\n");
	put(o, "t", "two"); /* and the watch stands now */
	TOLD(o, "D:two\n");
}

static void nothing_is_said_after_stop(void **state)
{
	struct owner *o = *state;

	put(o, "t", "one");
	start(o, "t");
	target_source_poll(o->source);
	target_source_stop(o->source, on_stopped, o);
	assert_false(o->stopped);
	RUN_UNTIL(o->f->loop, o->stopped);
	check_run_turns(o->f->loop, 3);
	assert_int_equal(o->calls, 0);
}

static void a_location_that_can_never_work_is_refused_at_once(void **state)
{
	static const char *const locations[] = {
		"",           "/tmp/",         "ftp://host/x", "file:///x",       "http://",
		"http:///x",  "https://:80/x", "http://u@/x",  "http://host/a b", "http://host/\n",
		"https://?x",
	};
	struct owner *o = *state;
	char *longest = mem_printf("/%*s", PATH_MAX, "x");
	struct target_source_options options = {.document = on_document};
	struct err err = {0};

	for (size_t i = 0; i <= ARRAY_LEN(locations); i++) {
		options.location = i < ARRAY_LEN(locations) ? locations[i] : longest;
		err = (struct err){0};
		assert_int_equal(target_source_new(o->f->loop, &options, &o->source, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		assert_true(strlen(err.msg) > 10);
		assert_null(o->source);
	}
	free(longest);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_file_is_read_at_start_and_when_it_changes),
		TEST(a_deleted_file_fails_once_and_is_seen_when_it_is_back),
		TEST(a_missing_directory_may_come_later),
		TEST(a_replaced_directory_is_followed),
		TEST(symbolic_links_on_the_way_are_watched),
		TEST(a_link_as_parent_directory_is_followed_when_turned),
		TEST(links_in_a_circle_are_refused),
		TEST(what_is_no_safe_file_is_refused),
		TEST(a_file_of_another_user_is_refused),
		TEST(the_size_limit_is_exact),
		TEST(a_look_that_was_asked_for_has_exactly_one_answer),
		TEST(a_refused_document_is_offered_again_when_asked_for_or_changed),
		TEST(running_out_of_descriptors_is_a_failure_that_the_next_look_mends),
		TEST(nothing_is_said_after_stop),
		TEST(a_location_that_can_never_work_is_refused_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
