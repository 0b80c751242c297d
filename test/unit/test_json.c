/* JSON in: what is refused and where; looking into trees; limits. JSON out: golden texts, and misuse that aborts. */
#include "check.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "util/json.h"
#include "util/mem.h"
#include "util/str.h"

#define TEXT_MAX (1 << 20)

static struct json *parse(const char *text)
{
	struct err err;
	struct json *v;

	if (json_parse(text, strlen(text), TEXT_MAX, &v, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return v;
}

static void assert_refused(const char *text, size_t len, int code, const char *msg)
{
	AUTO_FREE char *exact = mem_new(len, 1); /* no NUL behind: the sanitizer sees a read too far */
	struct err err;
	struct json *v = (struct json *)&err;

	memcpy(exact, text, len);
	assert_int_equal(json_parse(exact, len, TEXT_MAX, &v, &err), code);
	assert_int_equal(err.code, code);
	assert_null(v);
	assert_string_equal(err.msg, msg);
}

static void assert_printed(const struct json *v, size_t max, const char *want)
{
	struct buf b;

	buf_init(&b, TEXT_MAX);
	json_print(v, &b, max);
	assert_string_equal(buf_str(&b), want);
	buf_deinit(&b);
}

/* -------- reading -------- */

static void bad_documents_are_refused_with_the_place(void **state)
{
	static const struct {
		const char *text, *msg;
	} rows[] = {
		{"", "empty document"},
		{" \t\r\n", "empty document"},
		{"[1,2", "byte 4: premature EOF"},
		{"{\"a\":", "byte 5: premature EOF"},
		{"\"abc", "byte 4: premature EOF"},
		{"nul", "byte 3: invalid string in json text"},
		{"[tru]", "byte 4: invalid string in json text"},
		{"-", "byte 1: malformed number, a digit is required after the minus sign"},
		{"01", "byte 2: trailing garbage"},
		{"[1] x", "byte 4: trailing garbage"},
		{"[1,2]]", "byte 5: trailing garbage"},
		{"{} {}", "byte 3: trailing garbage"},
		{"{} \"later\"", "byte 3: trailing garbage"},
		{"@", "byte 0: invalid char in json text"},
		{"{\"a\":@}", "byte 5: invalid char in json text"},
		{"{\"a\":1,}", "byte 7: invalid object key (must be a string)"},
		{"[1 2]", "byte 3: after array element, I expect ',' or ']'"},
		{"[1 -25.5]", "byte 3: after array element, I expect ',' or ']'"},
		{"[1 \"x\\\"y\"]", "byte 3: after array element, I expect ',' or ']'"},
		{"{\"a\" 1}", "byte 5: object key and value must be separated by a colon (':')"},
		{"[\"a\nb\"]", "byte 3: invalid character inside string"},
		{"[/* */1]", "byte 1: probable comment found in input text, comments are not enabled"},
		{"{\"a\":1,\"a\":2}", "byte 7: duplicate key \"a\""},
		{"{\"a\":1,\"b\":{\"c\":[],\"c\":0}}", "byte 19: duplicate key \"c\""},
		{"{\"x\\\"y\":1,\"z\":[],\"x\\\"y\":3}", "byte 17: duplicate key \"x\\\"y\""},
		{"{\"a\":1,\"\\u0061\":2}", "byte 7: duplicate key \"a\""},
		{"{\"\":1,\"\":2}", "byte 6: duplicate key \"\""},
		{"[\"a\\u0000\"]", "byte 1: NUL in a string"},
		{"{\"a\\u0000\":1}", "byte 1: NUL in a string"},
		{"[\"x\\ud800\"]", "byte 3: half of a surrogate pair"},
		{"[\"\\ud800\\n\"]", "byte 2: half of a surrogate pair"},
		{"[\"\\ud800\\ud800\"]", "byte 2: half of a surrogate pair"},
		{"[\"\\udc00\"]", "byte 2: half of a surrogate pair"},
		{"[\"\\ud83d\\ude00\\uDFFF\"]", "byte 14: half of a surrogate pair"},
		{"[\"\\\\\\udc00\"]", "byte 4: half of a surrogate pair"},
		{"[1,\"x\xFF\"]", "byte 5: not UTF-8"},
		{"[\"\xED\xA0\x80\"]", "byte 2: not UTF-8"},
		{"[\"\xC0\x80\"]", "byte 2: not UTF-8"},
		{"\xEF\xBB\xBF{}", "byte 0: invalid char in json text"}, /* byte order mark */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_refused(rows[i].text, strlen(rows[i].text), -EINVAL, rows[i].msg);
	assert_refused("[1]\0", 4, -EINVAL, "byte 3: trailing garbage");
	assert_refused("\"\0\"", 3, -EINVAL, "byte 1: invalid character inside string");
}

static void every_cut_of_a_document_is_refused(void **state)
{
	static const char text[] = "{\"a\\\"\\u00e9\":[1,-2.5e3,true,false,null,\"\\ud83d\\ude00é\"],\"b\":{\"c\":{}}}";
	struct err err;
	struct json *v;

	(void)state;
	for (size_t len = 0; len < strlen(text); len++) {
		AUTO_FREE char *exact = mem_new(len, 1);

		memcpy(exact, text, len);
		assert_int_equal(json_parse(exact, len, TEXT_MAX, &v, &err), -EINVAL);
		assert_null(v);
		assert_true(str_starts(err.msg, "byte ") || len == 0);
	}
	json_free(parse(text));
}

static void a_document_may_be_as_large_as_the_limit_and_no_larger(void **state)
{
	struct err err;
	struct json *v;

	(void)state;
	assert_int_equal(json_parse("[12]", 4, 4, &v, &err), 0);
	json_free(v);
	assert_int_equal(json_parse("[123]", 5, 4, &v, &err), -E2BIG);
	assert_string_equal(err.msg, "document of 5 bytes is larger than 4");
	assert_null(v);
}

static char *nested(size_t depth, const char *open, const char *middle, const char *close)
{
	struct buf b;

	buf_init(&b, SIZE_MAX);
	for (size_t i = 0; i < depth; i++)
		buf_adds(&b, open);
	buf_adds(&b, middle);
	for (size_t i = 0; i < depth; i++)
		buf_adds(&b, close);
	return buf_steal(&b);
}

static void nesting_goes_to_the_limit_and_no_deeper(void **state)
{
	AUTO_FREE char *arrays = nested(64, "[", "1", "]"), *deep_arrays = nested(65, "[", "1", "]");
	AUTO_FREE char *objects = nested(64, "{\"a\":", "1", "}"), *deep_objects = nested(65, "{\"a\":", "1", "}");
	const struct json *at;
	struct json *v = parse(arrays);

	(void)state;
	at = v;
	for (int i = 0; i < 64; i++)
		at = json_at(at, 0);
	assert_int_equal(json_double(at), 1);
	assert_printed(v, 1000, arrays);
	json_free(v);
	v = parse(objects);
	assert_printed(v, 1000, objects);
	json_free(v);
	assert_refused(deep_arrays, strlen(deep_arrays), -EINVAL, "byte 64: nested deeper than 64");
	assert_refused(deep_objects, strlen(deep_objects), -EINVAL, "byte 320: nested deeper than 64");
}

static void hostile_nesting_is_refused_at_once(void **state)
{
	AUTO_FREE char *text = nested(400000, "[", "", "");

	(void)state;
	assert_refused(text, strlen(text), -EINVAL, "byte 64: nested deeper than 64");
}

static void siblings_do_not_add_up_to_depth(void **state)
{
	AUTO_FREE char *many = nested(1000, "[[[]]],", "[]", "");
	AUTO_FREE char *text = mem_printf("[%s]", many);
	struct json *v = parse(text);

	(void)state;
	assert_int_equal(json_size(v), 1001);
	json_free(v);
}

static void values_are_read_by_type(void **state)
{
	struct json *v = parse("{\"s\":\"x\\n\\u00e9\\ud83d\\ude00\\/\",\"n\":-1.50,\"t\":true,\"f\":false,\"z\":null,"
			       "\"a\":[1,[2]],\"o\":{\"k\":{\"d\":\"deep\"}},\"e\":\"\",\"ea\":[],\"eo\":{}}");
	int64_t n = 4711;

	(void)state;
	assert_int_equal(json_type(v), JSON_OBJECT);
	assert_int_equal(json_size(v), 10);
	assert_string_equal(json_str(json_get(v, "s")), "x\né😀/");
	assert_string_equal(json_str(json_get(v, "e")), "");
	assert_string_equal(json_number_text(json_get(v, "n")), "-1.50");
	assert_true(json_double(json_get(v, "n")) < -1.4);
	assert_false(json_i64(json_get(v, "n"), &n));
	assert_int_equal(n, 4711);
	assert_true(json_bool(json_get(v, "t")));
	assert_false(json_bool(json_get(v, "f")));
	assert_true(json_is(json_get(v, "z"), JSON_NULL));
	assert_true(json_is(json_at(json_get(v, "a"), 1), JSON_ARRAY));
	assert_null(json_at(json_get(v, "a"), 2));
	assert_string_equal(json_str(json_dig(v, "o", "k", "d", NULL)), "deep");
	assert_null(json_dig(v, "o", "x", "d", NULL));
	assert_null(json_dig(v, "s", "k", NULL));
	assert_ptr_equal(json_dig(v, NULL), v);
	assert_string_equal(json_key_at(v, 0), "s");
	assert_string_equal(json_key_at(v, 9), "eo");
	assert_null(json_key_at(v, 10));
	assert_ptr_equal(json_at(v, 0), json_get(v, "s"));
	assert_int_equal(json_size(json_get(v, "ea")), 0);
	assert_int_equal(json_size(json_get(v, "eo")), 0);
	json_free(v);
}

static void nothing_and_the_wrong_type_are_answered_too(void **state)
{
	struct json *v = parse("[\"text\"]");
	const struct json *s = json_at(v, 0);
	int64_t n;

	(void)state;
	assert_int_equal(json_type(NULL), JSON_NULL);
	assert_false(json_is(NULL, JSON_NULL)); /* absent is not null */
	assert_null(json_get(NULL, "a"));
	assert_null(json_get(v, "a"));
	assert_null(json_get(v, NULL));
	assert_null(json_dig(NULL, "a", NULL));
	assert_null(json_at(NULL, 0));
	assert_null(json_at(s, 0));
	assert_null(json_key_at(NULL, 0));
	assert_null(json_key_at(v, 0));
	assert_int_equal(json_size(s), 0);
	assert_null(json_str(NULL));
	assert_null(json_str(v));
	assert_string_equal(json_str_or(v, "other"), "other");
	assert_string_equal(json_str_or(s, "other"), "text");
	assert_false(json_bool(s));
	assert_false(json_i64(s, &n));
	assert_false(json_i64(NULL, &n));
	assert_true(json_double(s) == 0);
	assert_null(json_number_text(s));
	json_free(v);
	json_free(NULL);
}

static void any_value_may_be_a_document(void **state)
{
	static const char *const rows[] = {"0", "-1.5e-3", "\"s\"", "true", "false", "null", "[]", "{}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO_FREE char *padded = mem_printf(" \t%s\r\n", rows[i]);
		struct json *v = parse(rows[i]);

		assert_printed(v, 100, rows[i]);
		json_free(v);
		v = parse(padded);
		assert_printed(v, 100, rows[i]);
		json_free(v);
	}
}

static void types_have_names(void **state)
{
	(void)state;
	assert_string_equal(json_type_name(JSON_NULL), "null");
	assert_string_equal(json_type_name(JSON_BOOL), "boolean");
	assert_string_equal(json_type_name(JSON_NUMBER), "number");
	assert_string_equal(json_type_name(JSON_STRING), "string");
	assert_string_equal(json_type_name(JSON_ARRAY), "array");
	assert_string_equal(json_type_name(JSON_OBJECT), "object");
}

static void whole_numbers_are_read_exactly_or_not_at_all(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t want;
	} rows[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"9223372036854775807", true, INT64_MAX},
		{"-9223372036854775808", true, INT64_MIN},
		{"9223372036854775808", false, 0},
		{"-9223372036854775809", false, 0},
		{"1.0", true, 1},
		{"1e3", true, 1000},
		{"-25e-1", false, 0},
		{"9007199254740992.0", true, INT64_C(9007199254740992)},
		{"9007199254740994.0", false, 0},
		{"1e400", false, 0},
		{"-1e400", false, 0},
		{"0.5", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json *v = parse(rows[i].text);
		int64_t n = 4711;

		assert_int_equal(json_i64(v, &n), rows[i].ok);
		assert_int_equal(n, rows[i].ok ? rows[i].want : 4711);
		json_free(v);
	}
}

/* An object of `n` members "k<i*7919 mod n>": its number. */
static char *wide_object(int n, const char *extra)
{
	struct buf b;

	buf_init(&b, SIZE_MAX);
	buf_adds(&b, "{");
	for (int i = 0; i < n; i++)
		buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", (int)(i * INT64_C(7919) % n), i);
	buf_adds(&b, extra);
	buf_adds(&b, "}");
	return buf_steal(&b);
}

static void members_of_small_and_large_objects_are_found_and_keep_their_order(void **state)
{
	static const int sizes[] = {1, 2, 7, 8, 9, 10, 100, 3000};

	(void)state;
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		AUTO_FREE char *text = wide_object(sizes[s], "");
		struct json *v = parse(text);

		assert_int_equal(json_size(v), sizes[s]);
		for (int i = 0; i < sizes[s]; i++) {
			int64_t n;

			assert_true(json_i64(json_at(v, (size_t)i), &n));
			assert_int_equal(n, i);
			assert_ptr_equal(json_get(v, json_key_at(v, (size_t)i)), json_at(v, (size_t)i));
		}
		assert_null(json_get(v, "k"));
		assert_null(json_get(v, "a"));
		assert_null(json_get(v, "z"));
		json_free(v);
	}
}

static void duplicates_in_large_objects_are_found_as_well(void **state)
{
	static const int sizes[] = {7, 8, 9, 100, 3000};

	(void)state;
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		AUTO_FREE char *text = wide_object(sizes[s], ",\"x\":0,\"k1\":0,\"k0\":0,\"k1\":0");
		AUTO_FREE char *msg =
			mem_printf("byte %td: duplicate key \"k1\"", strstr(text, ",\"k1\":0,\"k0\"") + 1 - text);

		assert_refused(text, strlen(text), -EINVAL, msg);
	}
}

static void wide_documents_and_long_strings_are_kept_whole(void **state)
{
	struct buf b;
	struct json *v;
	char *text;

	(void)state;
	buf_init(&b, SIZE_MAX);
	buf_adds(&b, "[");
	for (int i = 0; i < 5000; i++)
		buf_printf(&b, "%s{\"id\":%d,\"text\":\"%0*d\"}", i ? "," : "", i, i % 90 == 89 ? 3000 : i % 90, i);
	buf_adds(&b, "]");
	text = buf_steal(&b);
	v = parse(text);
	for (size_t i = 0; i < 5000; i++) {
		char want[3001];

		snprintf(want, sizeof(want), "%0*zu", i % 90 == 89 ? 3000 : (int)(i % 90), i);
		assert_string_equal(json_str(json_get(json_at(v, i), "text")), want);
	}
	assert_printed(v, TEXT_MAX, text);
	json_free(v);
	free(text);
}

static void a_long_value_is_cut_between_characters_for_messages(void **state)
{
	struct json *v = parse("[\"aé€😀\",{\"k\":[1,2,3]},\"end\"]");

	(void)state;
	assert_printed(v, 100, "[\"aé€😀\",{\"k\":[1,2,3]},\"end\"]");
	assert_printed(v, 3, "[\"a…");
	assert_printed(v, 4, "[\"a…");
	assert_printed(v, 5, "[\"aé…");
	assert_printed(v, 11, "[\"aé€…");
	assert_printed(v, 12, "[\"aé€😀…");
	assert_printed(v, 19, "[\"aé€😀\",{\"k\":…");
	assert_printed(v, 0, "…");
	assert_printed(NULL, 10, "null");
	json_free(v);
}

/* -------- writing -------- */

static void documents_are_written_compactly_in_the_order_of_the_calls(void **state)
{
	struct json *v = parse("{ \"b\" : [ 1.50 , {} ] , \"a\" : null }");
	struct json_writer *w;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	w = json_writer_new(&b);
	json_open_object(w);
	json_kv_str(w, "s", "x");
	json_kv_str(w, "none", NULL);
	json_kv_i64(w, "n", INT64_MIN);
	json_kv_bool(w, "t", true);
	json_kv_null(w, "z");
	json_key(w, "list");
	json_open_array(w);
	json_open_object(w);
	json_close_object(w);
	json_open_array(w);
	json_close_array(w);
	json_add_null(w);
	json_add_bool(w, false);
	json_add_double(w, 0.1);
	json_add_i64(w, 7);
	json_add_str(w, "");
	json_add_value(w, v);
	json_add_value(w, NULL);
	json_close_array(w);
	json_close_object(w);
	json_writer_free(w);
	json_writer_free(NULL);
	assert_string_equal(buf_str(&b), "{\"s\":\"x\",\"none\":null,\"n\":-9223372036854775808,\"t\":true,\"z\":null,"
					 "\"list\":[{},[],null,false,0.1,7,\"\",{\"b\":[1.50,{}],\"a\":null},null]}");
	buf_deinit(&b);
	json_free(v);
}

static void strings_are_escaped_and_made_valid(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"", "\"\""},
		{"plain/é€😀", "\"plain/é€😀\""},
		{"\"\\\b\f\n\r\t", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
		{"\x01\x1B\x1F\x7F", "\"\\u0001\\u001b\\u001f\\u007f\""},
		{"\xC2\x9B", "\"\\u009b\""},
		{"a\xFF"
		 "b",
		 "\"a\xEF\xBF\xBD"
		 "b\""},
		{"\xC3", "\"\xEF\xBF\xBD\""},
		{"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json *back;
		struct buf b;

		buf_init(&b, 1000);
		json_quote(&b, rows[i].text, strlen(rows[i].text));
		assert_string_equal(buf_str(&b), rows[i].want);
		back = parse(buf_str(&b));
		if (str_is_utf8(rows[i].text, strlen(rows[i].text), NULL))
			assert_string_equal(json_str(back), rows[i].text);
		json_free(back);
		buf_deinit(&b);
	}
}

static void doubles_are_short_and_read_back_the_same(void **state)
{
	static const struct {
		double n;
		const char *want;
	} rows[] = {
		{0, "0"},
		{3, "3"},
		{-2.5, "-2.5"},
		{0.1, "0.1"},
		{0.1 + 0.2, "0.30000000000000004"},
		{1e300, "1e+300"},
		{1.0 / 3, "0.3333333333333333"},
		{__builtin_inf(), "null"},
		{-__builtin_inf(), "null"},
		{__builtin_nan(""), "null"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json_writer *w;
		struct buf b;

		buf_init(&b, 100);
		w = json_writer_new(&b);
		json_add_double(w, rows[i].n);
		assert_string_equal(buf_str(&b), rows[i].want);
		json_writer_free(w);
		buf_deinit(&b);
	}
}

static void what_does_not_fit_marks_the_buffer(void **state)
{
	struct json_writer *w;
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	w = json_writer_new(&b);
	json_open_object(w);
	json_kv_str(w, "key", "too long");
	json_close_object(w);
	json_writer_free(w);
	assert_int_equal(b.failed, -E2BIG);
	assert_true(b.len <= 10);
	buf_deinit(&b);
}

static void value_without_key(struct json_writer *w)
{
	json_open_object(w);
	json_add_null(w);
}

static void key_in_array(struct json_writer *w)
{
	json_open_array(w);
	json_key(w, "a");
}

static void key_without_value(struct json_writer *w)
{
	json_open_object(w);
	json_key(w, "a");
	json_close_object(w);
}

static void two_keys(struct json_writer *w)
{
	json_open_object(w);
	json_key(w, "a");
	json_key(w, "b");
}

static void wrong_bracket(struct json_writer *w)
{
	json_open_object(w);
	json_close_array(w);
}

static void close_nothing(struct json_writer *w)
{
	json_close_array(w);
}

static void two_documents(struct json_writer *w)
{
	json_add_null(w);
	json_add_null(w);
}

static void endless_depth(struct json_writer *w)
{
	for (int i = 0; i < 300; i++)
		json_open_array(w);
}

static void misuse_of_the_writer_aborts(void **state)
{
	static void (*const misuses[])(struct json_writer *) = {
		value_without_key, key_in_array,  key_without_value, two_keys,
		wrong_bracket,     close_nothing, two_documents,     endless_depth,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(misuses); i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			const struct rlimit no_core = {0, 0};
			struct buf b;

			setrlimit(RLIMIT_CORE, &no_core);
			signal(SIGABRT, SIG_DFL);
			buf_init(&b, 1000);
			misuses[i](json_writer_new(&b));
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}

/* -------- both -------- */

static void written_documents_are_fixed_points(void **state)
{
	static const char text[] =
		"{\"a\":[1,-2.50e+3,\"\\\"\\\\\\n\\u0001é😀\",{\"b\":{}},[[]]],\"c\":true,\"d\":null}";
	struct json *v = parse(text);

	(void)state;
	assert_printed(v, 1000, text);
	json_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_documents_are_refused_with_the_place),
		cmocka_unit_test(every_cut_of_a_document_is_refused),
		cmocka_unit_test(a_document_may_be_as_large_as_the_limit_and_no_larger),
		cmocka_unit_test(nesting_goes_to_the_limit_and_no_deeper),
		cmocka_unit_test(hostile_nesting_is_refused_at_once),
		cmocka_unit_test(siblings_do_not_add_up_to_depth),
		cmocka_unit_test(values_are_read_by_type),
		cmocka_unit_test(nothing_and_the_wrong_type_are_answered_too),
		cmocka_unit_test(any_value_may_be_a_document),
		cmocka_unit_test(types_have_names),
		cmocka_unit_test(whole_numbers_are_read_exactly_or_not_at_all),
		cmocka_unit_test(members_of_small_and_large_objects_are_found_and_keep_their_order),
		cmocka_unit_test(duplicates_in_large_objects_are_found_as_well),
		cmocka_unit_test(wide_documents_and_long_strings_are_kept_whole),
		cmocka_unit_test(a_long_value_is_cut_between_characters_for_messages),
		cmocka_unit_test(documents_are_written_compactly_in_the_order_of_the_calls),
		cmocka_unit_test(strings_are_escaped_and_made_valid),
		cmocka_unit_test(doubles_are_short_and_read_back_the_same),
		cmocka_unit_test(what_does_not_fit_marks_the_buffer),
		cmocka_unit_test(misuse_of_the_writer_aborts),
		cmocka_unit_test(written_documents_are_fixed_points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
