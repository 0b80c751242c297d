/* Small durable files: one owner, old or new content, corrupt files set aside, bursts coalesced. */
#include "check.h"

#include <sys/file.h>
#include <sys/wait.h>

#include "store/store.h"
#include "util/mem.h"
#include "util/str.h"

struct store_test {
	struct check_fixture *base;
	char *dir;
	struct store *store;
	struct err err;
	bool closed;
	int done, failed;
	char order[64];
	struct err last;
};

static void on_closed(void *ctx)
{
	((struct store_test *)ctx)->closed = true;
}

static void on_saved(void *ctx, const struct err *err)
{
	struct store_test *t = ctx;

	t->done++;
	if (err) {
		t->failed++;
		t->last = *err;
	}
}

static int open_store(struct store_test *t)
{
	t->err = (struct err){0};
	t->closed = false;
	return store_open(t->base->loop, t->dir, &t->store, &t->err);
}

static void close_store(struct store_test *t)
{
	if (!t->store)
		return;
	store_close(STEAL(t->store), on_closed, t);
	assert_false(t->closed); /* never before it returns */
	RUN_UNTIL(t->base->loop, t->closed);
}

static int setup(void **state)
{
	struct store_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	check_setup(state);
	t->base = *state;
	t->dir = mem_printf("%s/var/lib/lockkeeper", t->base->dir);
	*state = t;
	return open_store(t);
}

static int teardown(void **state)
{
	struct store_test *t = *state;

	close_store(t);
	free(t->dir);
	*state = t->base;
	free(t);
	return check_teardown(state);
}

static char *content(struct store_test *t, const char *name)
{
	AUTO_FREE char *path = mem_printf("%s/%s", t->dir, name);

	return check_read_file(AT_FDCWD, path);
}

static void put(struct store_test *t, const char *name, const char *text)
{
	AUTO_FREE char *path = mem_printf("%s/%s", t->dir, name);

	check_write_file(AT_FDCWD, path, text);
}

static unsigned mode_of(struct store_test *t, const char *name)
{
	AUTO_FREE char *path = mem_printf("%s/%s", t->dir, name);
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void save(struct store_test *t, const char *name, const char *text)
{
	store_save(t->store, name, text, strlen(text), on_saved, t);
}

static void the_directory_is_made_private(void **state)
{
	struct store_test *t = *state;

	assert_int_equal(mode_of(t, "."), 0700);
	assert_string_equal(store_dir(t->store), t->dir);
}

static void a_second_store_is_told_the_pid_of_the_first(void **state)
{
	struct store_test *t = *state;
	struct store *second = NULL;
	char want[300];

	assert_int_equal(store_open(t->base->loop, t->dir, &second, &t->err), -EBUSY);
	snprintf(want, sizeof(want), "another supervisor (pid %d) uses %s", (int)getpid(), t->dir);
	assert_string_equal(t->err.msg, want);
	close_store(t);
	assert_int_equal(open_store(t), 0); /* the lock went with the store */
}

static void a_directory_that_cannot_be_used_is_named(void **state)
{
	struct store_test *t = *state;
	struct store *s;

	put(t, "file", "");
	{
		AUTO_FREE char *below_file = mem_printf("%s/file/state", t->dir);
		AUTO_FREE char *the_file = mem_printf("%s/file", t->dir);

		assert_int_equal(store_open(t->base->loop, below_file, &s, &t->err), -ENOTDIR);
		assert_non_null(strstr(t->err.msg, below_file));
		assert_int_equal(store_open(t->base->loop, the_file, &s, &t->err), -ENOTDIR);
		assert_non_null(strstr(t->err.msg, the_file));
	}
	assert_int_equal(store_open(t->base->loop, "", &s, &t->err), -EINVAL);
	assert_true(store_open(t->base->loop, "/proc/lockkeeper", &s, &t->err) < 0);
	assert_non_null(strstr(t->err.msg, "/proc/lockkeeper"));
}

static int open_unprivileged(struct store_test *t)
{
	struct store *s;

	if (setgid(1000) < 0 || setuid(1000) < 0)
		return 100;
	if (store_open(NULL, t->base->dir, &s, &t->err) != -EACCES)
		return 101;
	return strstr(t->err.msg, t->base->dir) && strstr(t->err.msg, "Permission denied") ? 0 : 102;
}

static void a_directory_that_is_not_writable_is_named(void **state)
{
	struct store_test *t = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(t->base->dir, 0755), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(open_unprivileged(t));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_is_saved_is_loaded_again(void **state)
{
	struct store_test *t = *state;
	struct json *root = NULL;

	assert_int_equal(store_load(t->store, "target", 1, &root, &t->err), -ENOENT);
	save(t, "target", "{\"schema\": 1, \"a\": [1, 2]}");
	assert_int_equal(t->done, 0);
	RUN_UNTIL(t->base->loop, t->done == 1);
	assert_int_equal(t->failed, 0);
	assert_int_equal(mode_of(t, "target.json"), 0600);
	close_store(t);
	assert_int_equal(open_store(t), 0);
	assert_int_equal(store_load(t->store, "target", 1, &root, &t->err), 0);
	assert_int_equal(json_size(json_get(root, "a")), 2);
	json_free(root);
}

static void a_burst_writes_the_newest_and_answers_everybody(void **state)
{
	struct store_test *t = *state;
	char text[32], *found;

	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "{\"n\":%d}", i);
		save(t, "state", text);
	}
	store_save(t->store, "state", "{\"n\":100}", 9, NULL, NULL); /* nobody waits for this one */
	RUN_UNTIL(t->base->loop, t->done == 100);
	assert_int_equal(t->failed, 0);
	close_store(t);
	assert_int_equal(t->done, 100);
	found = content(t, "state.json");
	assert_string_equal(found, "{\"n\":100}");
	free(found);
}

static void on_first(void *ctx, const struct err *err)
{
	struct store_test *t = ctx;

	assert_null(err);
	strcat(t->order, "1");
	if (strlen(t->order) < 3) /* save from inside the answer */
		store_save(t->store, "state", "[1]", 3, on_first, t);
}

static void an_answer_may_save_again(void **state)
{
	struct store_test *t = *state;

	store_save(t->store, "state", "[0]", 3, on_first, t);
	RUN_UNTIL(t->base->loop, strlen(t->order) == 3);
}

static void who_waits_for_a_name_is_told_with_its_newest_text(void **state)
{
	struct store_test *t = *state;
	char *found;

	assert_false(store_wait(t->store, "state", on_saved, t)); /* nothing is being written: never told */
	save(t, "state", "1");
	assert_true(store_wait(t->store, "state", on_saved, t)); /* with the first */
	RUN_UNTIL(t->base->loop, t->done == 2);
	save(t, "state", "2");
	save(t, "state", "3");
	assert_false(store_wait(t->store, "other", on_saved, t));
	assert_true(store_wait(t->store, "state", on_saved, t));
	RUN_UNTIL(t->base->loop, t->done == 5);
	found = content(t, "state.json");
	assert_string_equal(found, "3");
	free(found);
	check_run_turns(t->base->loop, 3);
	assert_int_equal(t->done, 5);
}

static void names_do_not_wait_for_each_other(void **state)
{
	struct store_test *t = *state;
	char *a, *b;

	save(t, "a", "1");
	save(t, "b", "2");
	RUN_UNTIL(t->base->loop, t->done == 2);
	a = content(t, "a.json");
	b = content(t, "b.json");
	assert_string_equal(a, "1");
	assert_string_equal(b, "2");
	free(a);
	free(b);
}

static void closing_waits_for_all_that_was_saved(void **state)
{
	struct store_test *t = *state;
	char *found;

	save(t, "state", "[1]");
	save(t, "state", "[2]");
	save(t, "state", "[3]");
	close_store(t);
	assert_int_equal(t->done, 3);
	found = content(t, "state.json");
	assert_string_equal(found, "[3]");
	free(found);
}

static void a_write_that_fails_tells_why_and_keeps_the_old(void **state)
{
	struct store_test *t = *state;
	AUTO_FREE char *blocker = mem_printf("%s/state.json.new", t->dir);
	char *found;

	save(t, "state", "[1]");
	RUN_UNTIL(t->base->loop, t->done == 1);
	assert_int_equal(mkdir(blocker, 0700), 0);
	save(t, "state", "[2]");
	RUN_UNTIL(t->base->loop, t->done == 2);
	assert_int_equal(t->failed, 1);
	assert_non_null(strstr(t->last.msg, "lockkeeper/state.json"));
	found = content(t, "state.json");
	assert_string_equal(found, "[1]");
	free(found);
	assert_int_equal(rmdir(blocker), 0);
	save(t, "state", "[3]"); /* and the next one works */
	RUN_UNTIL(t->base->loop, t->done == 3);
	assert_int_equal(t->failed, 1);
}

static void a_text_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(void **state)
{
	struct store_test *t = *state;
	AUTO_FREE char *text = mem_new(STORE_FILE_MAX_BYTES + 2, 1);
	struct json *root = NULL;

	memset(text, ' ', STORE_FILE_MAX_BYTES + 1);
	memcpy(text, "{\"schema\":1}", 12);
	store_save(t->store, "big", text, STORE_FILE_MAX_BYTES + 1, on_saved, t);
	assert_int_equal(t->done, 0);
	RUN_UNTIL(t->base->loop, t->done == 1);
	assert_int_equal(t->last.code, -E2BIG);
	store_save(t->store, "big", text, STORE_FILE_MAX_BYTES, on_saved, t);
	RUN_UNTIL(t->base->loop, t->done == 2);
	assert_int_equal(t->failed, 1);
	assert_int_equal(store_load(t->store, "big", 1, &root, &t->err), 0);
	json_free(root);
	put(t, "big.json", text); /* one byte more */
	assert_int_equal(store_load(t->store, "big", 1, &root, &t->err), -EBADMSG);
}

static void a_corrupt_file_is_set_aside_and_what_was_wrong_is_told(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"{\"schema\":1}x",
		"\xff",
		"{\"schema\":1,\"a\":1,\"a\":2}",
		"[]",
		"7",
		"{\"schema\":0}",
		"{\"schema\":-9}",
		"{\"schema\":\"1\"}",
		"{\"schema\":1.5}",
		"{}",
		"{\"schema\":null}",
	};
	struct store_test *t = *state;
	struct json *root = NULL;
	char *found;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put(t, "keys.json", bad[i]);
		assert_int_equal(store_load(t->store, "keys", 1, &root, &t->err), -EBADMSG);
		assert_int_equal(t->err.code, -EBADMSG);
		assert_non_null(strstr(t->err.msg, "keys.json was corrupt and is now keys.json.corrupt: "));
		found = content(t, "keys.json.corrupt");
		assert_string_equal(found, bad[i]);
		free(found);
		assert_int_equal(store_load(t->store, "keys", 1, &root, &t->err), -ENOENT);
	}
}

static void what_a_newer_program_wrote_is_kept_for_it_and_read_all_the_same(void **state)
{
	struct store_test *t = *state;
	struct json *root = NULL;
	AUTO_FREE char *now = NULL, *kept = NULL;
	int64_t n;

	put(t, "state.json.schema-7", "of an earlier time");
	put(t, "state.json", "{\"schema\":7,\"n\":3,\"odd\":[]}");
	for (int i = 0; i < 2; i++) { /* nothing was written after the first start */
		assert_int_equal(store_load(t->store, "state", 1, &root, &t->err), STORE_NEWER);
		assert_int_equal(t->err.code, 0);
		assert_non_null(strstr(t->err.msg, "state.json was written by a newer version (schema 7): kept as "
						   "state.json.schema-7"));
		assert_true(json_i64(json_get(root, "n"), &n));
		assert_int_equal(n, 3);
		json_free(STEAL(root));
	}
	save(t, "state", "{\"schema\":1,\"n\":4}");
	RUN_UNTIL(t->base->loop, t->done == 1);
	now = content(t, "state.json");
	kept = content(t, "state.json.schema-7");
	assert_string_equal(now, "{\"schema\":1,\"n\":4}");
	assert_string_equal(kept, "{\"schema\":7,\"n\":3,\"odd\":[]}");
	assert_int_equal(store_load(t->store, "state", 1, &root, &t->err), 0);
	json_free(root);
}

static void a_link_fifo_or_directory_is_no_file_of_ours(void **state)
{
	struct store_test *t = *state;
	AUTO_FREE char *path = mem_printf("%s/x.json", t->dir);
	AUTO_FREE char *aside = mem_printf("%s/x.json.corrupt", t->dir);
	struct json *root = NULL;

	put(t, "other", "[]");
	assert_int_equal(symlink("other", path), 0);
	assert_int_equal(store_load(t->store, "x", 1, &root, &t->err), -EBADMSG);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(store_load(t->store, "x", 1, &root, &t->err), -EBADMSG);
	assert_int_equal(unlink(aside), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(store_load(t->store, "x", 1, &root, &t->err), -EBADMSG);
	assert_int_equal(rmdir(aside), 0);
}

static void the_rest_of_a_killed_write_is_harmless(void **state)
{
	struct store_test *t = *state;
	struct json *root = NULL;
	char *found;

	put(t, "state.json", "{\"schema\":1,\"n\":1}");
	put(t, "state.json.new", "[1,2,3,4,5,6,7,8,9"); /* longer than what comes */
	assert_int_equal(store_load(t->store, "state", 1, &root, &t->err), 0);
	json_free(root);
	save(t, "state", "[2]");
	RUN_UNTIL(t->base->loop, t->done == 1);
	found = content(t, "state.json");
	assert_string_equal(found, "[2]");
	free(found);
	assert_null(content(t, "state.json.new"));
}

static void plain_files_are_private_and_replaced_whole(void **state)
{
	struct store_test *t = *state;
	char *found;

	put(t, "api-key.new", "rest of a killed run, longer");
	assert_int_equal(store_write_plain(t->store, "api-key", "first", &t->err), 0);
	assert_int_equal(store_write_plain(t->store, "api-key", "2nd", &t->err), 0);
	found = content(t, "api-key");
	assert_string_equal(found, "2nd");
	free(found);
	assert_int_equal(mode_of(t, "api-key"), 0600);
	assert_null(content(t, "api-key.new"));
	assert_true(store_write_plain(t->store, "no/such", "x", &t->err) < 0);
	assert_non_null(strstr(t->err.msg, "lockkeeper/no/such"));
}

/* Writes without end until it is killed. */
static void child_saves(const char *dir, int ready)
{
	struct loop *l = loop_new();
	struct store *s;
	struct err err = {0};
	char text[4096];

	if (store_open(l, dir, &s, &err) < 0)
		_exit(1);
	for (unsigned n = 0;; n++) {
		struct store_test t = {.done = 0};
		int len = snprintf(text, sizeof(text), "{\"schema\":1,\"n\":%u,\"same\":%u}", n, n);

		store_save(s, "state", text, (size_t)len, on_saved, &t);
		while (t.done == 0)
			loop_run_once(l, true);
		if (t.failed || write(ready, "x", 1) != 1)
			_exit(2);
	}
}

static void killed_anywhere_the_old_or_the_new_content_is_there(void **state)
{
	struct store_test *t = *state;

	close_store(t);
	for (int round = 0; round < 40; round++) {
		int64_t n = -1, same = -2;
		struct json *root = NULL;
		int ends[2], status;
		pid_t pid;
		char c;

		assert_int_equal(pipe(ends), 0);
		fflush(NULL);
		pid = fork();
		if (pid == 0)
			child_saves(t->dir, ends[1]);
		close(ends[1]);
		for (int i = 0; i <= round % 3; i++)
			assert_int_equal(read(ends[0], &c, 1), 1);
		for (volatile int i = 0; i < round * 10000; i++)
			;
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		close(ends[0]);
		assert_int_equal(open_store(t), 0);
		assert_int_equal(store_load(t->store, "state", 1, &root, &t->err), 0);
		assert_true(json_i64(json_get(root, "n"), &n) && json_i64(json_get(root, "same"), &same));
		assert_int_equal(n, same);
		json_free(root);
		close_store(t);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_directory_is_made_private),
		TEST(a_second_store_is_told_the_pid_of_the_first),
		TEST(a_directory_that_cannot_be_used_is_named),
		TEST(a_directory_that_is_not_writable_is_named),
		TEST(what_is_saved_is_loaded_again),
		TEST(a_burst_writes_the_newest_and_answers_everybody),
		TEST(an_answer_may_save_again),
		TEST(who_waits_for_a_name_is_told_with_its_newest_text),
		TEST(names_do_not_wait_for_each_other),
		TEST(closing_waits_for_all_that_was_saved),
		TEST(a_write_that_fails_tells_why_and_keeps_the_old),
		TEST(a_text_beyond_the_limit_is_refused_and_one_at_the_limit_is_not),
		TEST(a_corrupt_file_is_set_aside_and_what_was_wrong_is_told),
		TEST(what_a_newer_program_wrote_is_kept_for_it_and_read_all_the_same),
		TEST(a_link_fifo_or_directory_is_no_file_of_ours),
		TEST(the_rest_of_a_killed_write_is_harmless),
		TEST(plain_files_are_private_and_replaced_whole),
		TEST(killed_anywhere_the_old_or_the_new_content_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
