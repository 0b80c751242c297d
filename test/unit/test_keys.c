/* API keys: stable, scoped, pruned, durable; and finding the key of a request. */
#include "check.h"

#include "keys/keys.h"
#include "util/mem.h"
#include "util/str.h"

struct keys_test {
	struct check_fixture *base;
	struct store *store;
	struct keys *keys;
	struct err err;
	bool closed;
};

static void on_closed(void *ctx)
{
	((struct keys_test *)ctx)->closed = true;
}

static void keys_stop(struct keys_test *t)
{
	keys_free(STEAL(t->keys));
	t->closed = false;
	store_close(STEAL(t->store), on_closed, t);
	RUN_UNTIL(t->base->loop, t->closed);
}

static void keys_start(struct keys_test *t)
{
	t->err = (struct err){0};
	assert_int_equal(store_open(t->base->loop, t->base->dir, &t->store, &t->err), 0);
	assert_int_equal(keys_open(t->store, &t->keys, &t->err), 0);
}

static void keys_restart(struct keys_test *t)
{
	keys_stop(t);
	keys_start(t);
}

static int setup(void **state)
{
	struct keys_test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	check_setup(state);
	t->base = *state;
	*state = t;
	keys_start(t);
	return 0;
}

static int teardown(void **state)
{
	struct keys_test *t = *state;

	keys_stop(t);
	*state = t->base;
	free(t);
	return check_teardown(state);
}

static void a_key_is_32_hex_digits_and_no_two_are_equal(void **state)
{
	struct keys_test *t = *state;
	char a[KEY_LENGTH + 1];

	assert_int_equal(strlen(keys_global(t->keys)), KEY_LENGTH);
	assert_int_equal(strspn(keys_global(t->keys), "0123456789abcdef"), KEY_LENGTH);
	strcpy(a, keys_for_service(t->keys, 1, "web"));
	assert_int_equal(strspn(a, "0123456789abcdef"), KEY_LENGTH);
	assert_string_not_equal(a, keys_global(t->keys));
	assert_string_not_equal(a, keys_for_service(t->keys, 1, "api"));
	assert_string_not_equal(a, keys_for_service(t->keys, 2, "web"));
	assert_string_equal(a, keys_for_service(t->keys, 1, "web"));
}

static void a_borrowed_key_stays_while_others_come_and_go(void **state)
{
	struct keys_test *t = *state;
	const char *borrowed = keys_for_service(t->keys, 5, "m"), *global = keys_global(t->keys);
	AUTO_FREE char *before = mem_strdup(borrowed);
	char name[16];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%d", i);
		keys_for_service(t->keys, 1 + i % 9, name);
	}
	keys_prune_app(t->keys, 1, NULL);
	assert_string_equal(borrowed, before);
	assert_ptr_equal(keys_find_service(t->keys, 5, "m"), borrowed);
	assert_ptr_equal(keys_global(t->keys), global);
}

static void keys_survive_a_restart(void **state)
{
	struct keys_test *t = *state;
	AUTO_FREE char *global = mem_strdup(keys_global(t->keys));
	char kept[300][KEY_LENGTH + 1], name[16];

	for (int i = 0; i < 300; i++) { /* a burst, and stopped at once */
		snprintf(name, sizeof(name), "s%d", i * 7 % 300);
		strcpy(kept[i * 7 % 300], keys_for_service(t->keys, i % 3, name));
	}
	keys_restart(t);
	assert_string_equal(keys_global(t->keys), global);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "s%d", i * 7 % 300);
		assert_string_equal(keys_find_service(t->keys, i % 3, name), kept[i * 7 % 300]);
	}
}

static void the_global_key_is_left_for_the_command_line(void **state)
{
	struct keys_test *t = *state;
	struct stat st;
	char *text = check_read_file(t->base->dir_fd, "api-key");

	assert_string_equal(text, keys_global(t->keys));
	free(text);
	assert_int_equal(fstatat(t->base->dir_fd, "api-key", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void finding_a_key_never_makes_one(void **state)
{
	struct keys_test *t = *state;

	assert_null(keys_find_service(t->keys, 1, "web"));
	assert_null(keys_find_service(t->keys, 0, "web"));
	assert_non_null(keys_for_service(t->keys, 1, "web"));
	assert_non_null(keys_find_service(t->keys, 1, "web"));
}

static void a_key_opens_its_scope_and_no_other(void **state)
{
	struct keys_test *t = *state;
	struct key_scope scope;
	char wrong[KEY_LENGTH + 1];

	assert_true(keys_check(t->keys, keys_global(t->keys), &scope));
	assert_true(scope.global);
	assert_true(key_scope_covers(&scope, 1) && key_scope_covers(&scope, 77));
	assert_true(keys_check(t->keys, keys_for_service(t->keys, 1, "web"), &scope));
	assert_false(scope.global);
	assert_true(key_scope_covers(&scope, 1));
	assert_false(key_scope_covers(&scope, 0) || key_scope_covers(&scope, 2));
	strcpy(wrong, keys_global(t->keys));
	wrong[31] ^= 1;
	assert_false(keys_check(t->keys, wrong, &scope));
	wrong[31] = '\0';
	assert_false(keys_check(t->keys, wrong, &scope));
	assert_false(keys_check(t->keys, "", &scope) || keys_check(t->keys, NULL, &scope));
}

static void pruning_drops_the_keys_of_gone_services_only(void **state)
{
	struct keys_test *t = *state;
	AUTO_FREE char *web = mem_strdup(keys_for_service(t->keys, 1, "web"));
	AUTO_FREE char *api = mem_strdup(keys_for_service(t->keys, 1, "api"));
	struct key_scope scope;

	keys_for_service(t->keys, 2, "web");
	keys_for_service(t->keys, 0, "zero");
	keys_prune_app(t->keys, 1, (const char *const[]){"web", "new", NULL});
	assert_string_equal(keys_find_service(t->keys, 1, "web"), web);
	assert_null(keys_find_service(t->keys, 1, "api"));
	assert_false(keys_check(t->keys, api, &scope));
	keys_prune_app(t->keys, 0, NULL); /* an app with id 0 does not take the global key along */
	assert_null(keys_find_service(t->keys, 0, "zero"));
	assert_true(keys_check(t->keys, keys_global(t->keys), &scope));
	keys_prune_app(t->keys, 1, NULL);
	keys_restart(t);
	assert_null(keys_find_service(t->keys, 1, "web"));
	assert_non_null(keys_find_service(t->keys, 2, "web"));
}

static void the_file_has_a_schema_and_a_list(void **state)
{
	struct keys_test *t = *state;
	AUTO_FREE char *want = mem_printf("{\"schema\":1,\"keys\":[{\"appId\":0,\"service\":null,\"key\":\"%s\"}]}",
					  keys_global(t->keys));
	char *text;

	keys_restart(t);
	text = check_read_file(t->base->dir_fd, "keys.json");
	assert_string_equal(text, want);
	free(text);
}

static void a_corrupt_or_foreign_file_gives_new_keys_and_a_sentence(void **state)
{
	static const char *const bad[] = {"{", "[]", "{\"schema\":0,\"keys\":[]}", "{\"keys\":[]}"};
	struct keys_test *t = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FREE char *before = mem_strdup(keys_global(t->keys));

		keys_stop(t);
		check_write_file(t->base->dir_fd, "keys.json", bad[i]);
		keys_start(t);
		assert_int_equal(t->err.code, -EBADMSG);
		assert_non_null(strstr(t->err.msg, "keys.json"));
		assert_string_not_equal(keys_global(t->keys), before);
		assert_int_equal(faccessat(t->base->dir_fd, "keys.json.corrupt", F_OK, 0), 0);
		assert_int_equal(unlinkat(t->base->dir_fd, "keys.json.corrupt", 0), 0);
		keys_restart(t);
		assert_int_equal(t->err.code, 0);
	}
}

static void keys_that_a_newer_program_wrote_stay_good(void **state)
{
	struct keys_test *t = *state;
	AUTO_FREE char *before = mem_strdup(keys_global(t->keys)), *text = NULL;

	keys_restart(t); /* they are on disk */
	keys_stop(t);
	text = mem_printf("{\"schema\":2,\"keys\":[{\"appId\":0,\"service\":null,\"key\":\"%s\",\"new\":[]}]}", before);
	check_write_file(t->base->dir_fd, "keys.json", text);
	keys_start(t);
	assert_int_equal(t->err.code, 0);
	assert_non_null(strstr(t->err.msg, "keys.json was written by a newer version"));
	assert_string_equal(keys_global(t->keys), before);
	assert_int_equal(faccessat(t->base->dir_fd, "keys.json.schema-2", F_OK, 0), 0);
}

static void entries_that_make_no_sense_are_left_out(void **state)
{
	struct keys_test *t = *state;
	const char *good = "0123456789abcdef0123456789abcdef";

	keys_stop(t);
	check_write_file(t->base->dir_fd, "keys.json",
			 "{\"schema\":1,\"keys\":[1,null,{},{\"appId\":1},"
			 "{\"appId\":1,\"service\":null,\"key\":\"0123456789abcdef0123456789abcde0\"},"
			 "{\"appId\":-1,\"service\":\"a\",\"key\":\"0123456789abcdef0123456789abcde1\"},"
			 "{\"appId\":1,\"service\":\"short\",\"key\":\"0123\"},"
			 "{\"appId\":1,\"service\":\"upper\",\"key\":\"0123456789ABCDEF0123456789abcdef\"},"
			 "{\"appId\":1,\"service\":\"web\",\"key\":\"0123456789abcdef0123456789abcdef\"},"
			 "{\"appId\":1,\"service\":\"web\",\"key\":\"0123456789abcdef0123456789abcde2\"}]}");
	keys_start(t);
	assert_string_equal(keys_find_service(t->keys, 1, "web"), good);
	assert_null(keys_find_service(t->keys, 1, "short"));
	assert_null(keys_find_service(t->keys, 1, "upper"));
	assert_null(keys_find_service(t->keys, -1, "a"));
	assert_int_equal(strlen(keys_global(t->keys)), KEY_LENGTH);
}

static void the_key_of_a_request_is_found_by_the_rules(void **state)
{
	static const struct {
		const char *query, *authorization, *key;
	} rows[] = {
		{NULL, NULL, NULL},
		{"", "", NULL},
		{"apikey=abc", NULL, "abc"},
		{"x=1&apikey=abc&y", NULL, "abc"},
		{"apikey=abc", "Bearer def", "abc"}, /* the query wins, even if wrong */
		{"apikey=", "Bearer def", "def"},
		{"apikey", "Bearer def", "def"},
		{"apikey=a&apikey=a", "Bearer def", "def"}, /* repeated: ignored */
		{"apikey&apikey=a", NULL, NULL},
		{"apikey[]=a", NULL, NULL}, /* structured: ignored */
		{"apikey[x]=a&apikey=b", NULL, NULL},
		{"apikey%5B%5D=a&apikey=b", NULL, NULL},
		{"ApiKey=a", NULL, NULL},
		{"apikeys=a", NULL, NULL},
		{"apikey2=a&apikey=b", NULL, "b"},
		{"api%6bey=a", NULL, "a"},
		{"apikey=a%62c", NULL, "abc"},
		{"apikey=a+b%20c", NULL, "a b c"},
		{"apikey=%zz%4", NULL, "%zz%4"},
		{"apikey=ab%00cd", NULL, "ab\001cd"}, /* never the key "ab" */
		{"apikey=a=b", NULL, "a=b"},
		{"&&apikey=a&", NULL, "a"},
		{NULL, "ApiKey abc", "abc"},
		{NULL, "aPIkEY aB_9", "aB_9"},
		{NULL, "bearer abc", "abc"},
		{NULL, "Bearer  abc", NULL},
		{NULL, "Bearer\tabc", NULL},
		{NULL, " Bearer abc", NULL},
		{NULL, "Bearer abc ", NULL},
		{NULL, "Bearer ab-c", NULL},
		{NULL, "Bearer ", NULL},
		{NULL, "Bearer", NULL},
		{NULL, "Basic abc", NULL},
		{NULL, "abc", NULL},
	};
	char out[KEY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool found = keys_from_request(rows[i].query, rows[i].authorization, out);

		if (found != (rows[i].key != NULL) || (found && strcmp(out, rows[i].key) != 0))
			fail_msg("row %zu: query %s, authorization %s: %s", i, rows[i].query ? rows[i].query : "-",
				 rows[i].authorization ? rows[i].authorization : "-", found ? out : "none");
	}
}

static void a_key_that_is_too_long_is_cut_and_still_wins(void **state)
{
	AUTO_FREE char *query = mem_new(1, 70000), *header = mem_new(1, 70000);
	char out[KEY_MAX];

	(void)state;
	memset(query, 'a', 69999);
	memcpy(query, "apikey=", 7);
	assert_true(keys_from_request(query, "Bearer def", out));
	assert_int_equal(strlen(out), KEY_MAX - 1);
	memset(header, 'a', 69999);
	memcpy(header, "Bearer ", 7);
	assert_true(keys_from_request(NULL, header, out));
	assert_int_equal(strlen(out), KEY_MAX - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_key_is_32_hex_digits_and_no_two_are_equal),
		TEST(a_borrowed_key_stays_while_others_come_and_go),
		TEST(keys_survive_a_restart),
		TEST(the_global_key_is_left_for_the_command_line),
		TEST(finding_a_key_never_makes_one),
		TEST(a_key_opens_its_scope_and_no_other),
		TEST(pruning_drops_the_keys_of_gone_services_only),
		TEST(the_file_has_a_schema_and_a_list),
		TEST(a_corrupt_or_foreign_file_gives_new_keys_and_a_sentence),
		TEST(keys_that_a_newer_program_wrote_stay_good),
		TEST(entries_that_make_no_sense_are_left_out),
		cmocka_unit_test(the_key_of_a_request_is_found_by_the_rules),
		cmocka_unit_test(a_key_that_is_too_long_is_cut_and_still_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
