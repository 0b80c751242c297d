/*
 * Any bytes as a JSON document: the parser must refuse or give a tree, and a tree must survive the round trip: what is
 * written from it parses again and is written the same.
 */
#include <stdlib.h>
#include <string.h>

#include "util/json.h"
#include "util/str.h"

#define LIMIT 65536

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void visit(const struct json *v)
{
	int64_t n;

	(void)json_i64(v, &n);
	(void)json_double(v);
	for (size_t i = 0; i < json_size(v); i++) {
		const char *key = json_key_at(v, i);

		if (key && json_get(v, key) != json_at(v, i))
			abort();
		visit(json_at(v, i)); /* at most JSON_DEPTH_MAX deep */
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct json *v, *again;
	struct buf once, twice;
	struct err err = {0};

	if (json_parse((const char *)data, size, LIMIT, &v, &err) < 0) {
		if (v || !err.code || !err.msg[0] || !str_is_utf8(err.msg, strlen(err.msg), NULL))
			abort();
		return 0;
	}
	if (size > LIMIT || err.code)
		abort();
	visit(v);
	buf_init(&once, 8 * LIMIT);
	buf_init(&twice, 8 * LIMIT);
	json_print(v, &once, 8 * LIMIT);
	if (once.failed || json_parse(buf_str(&once), once.len, 8 * LIMIT, &again, &err) < 0)
		abort();
	json_print(again, &twice, 8 * LIMIT);
	if (!str_eq(buf_str(&once), buf_str(&twice)))
		abort();
	buf_clear(&twice);
	json_print(v, &twice, size / 2); /* cut somewhere */
	if (!str_is_utf8(buf_str(&twice), twice.len, NULL))
		abort();
	json_free(v);
	json_free(again);
	buf_deinit(&once);
	buf_deinit(&twice);
	return 0;
}
