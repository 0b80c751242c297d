/* Looking into a parsed tree. Every function takes NULL and the wrong type, so a path is read without checks between.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "util/json.h"
#include "util/json_value.h"
#include "util/mem.h"

enum json_type json_type(const struct json *v)
{
	return v ? (enum json_type)v->type : JSON_NULL;
}

const char *json_type_name(enum json_type type)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",     [JSON_BOOL] = "boolean", [JSON_NUMBER] = "number",
		[JSON_STRING] = "string", [JSON_ARRAY] = "array",  [JSON_OBJECT] = "object",
	};

	return (size_t)type < ARRAY_LEN(names) ? names[type] : "unknown";
}

bool json_is(const struct json *v, enum json_type type)
{
	return v && (enum json_type)v->type == type;
}

const struct json *json_get(const struct json *obj, const char *key)
{
	const struct json_object *o;
	size_t low = 0, high;

	if (!json_is(obj, JSON_OBJECT) || !key)
		return NULL;
	o = obj->object;
	high = obj->n;
	if (!o->sorted) {
		for (; low < high; low++)
			if (strcmp(o->members[low].key, key) == 0)
				return &o->members[low].value;
		return NULL;
	}
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct json_member *m = &o->members[o->sorted[mid]];
		int order = strcmp(m->key, key);

		if (order == 0)
			return &m->value;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

const struct json *json_dig(const struct json *obj, ...)
{
	const char *key;
	va_list ap;

	va_start(ap, obj);
	while (obj && (key = va_arg(ap, const char *)))
		obj = json_get(obj, key);
	va_end(ap);
	return obj;
}

size_t json_size(const struct json *v)
{
	return json_is(v, JSON_ARRAY) || json_is(v, JSON_OBJECT) ? v->n : 0;
}

const struct json *json_at(const struct json *v, size_t i)
{
	if (i >= json_size(v))
		return NULL;
	return v->type == JSON_ARRAY ? &v->elements[i] : &v->object->members[i].value;
}

const char *json_key_at(const struct json *obj, size_t i)
{
	return json_is(obj, JSON_OBJECT) && i < obj->n ? obj->object->members[i].key : NULL;
}

const char *json_str(const struct json *v)
{
	return json_is(v, JSON_STRING) ? v->text : NULL;
}

const char *json_str_or(const struct json *v, const char *other)
{
	return json_is(v, JSON_STRING) ? v->text : other;
}

bool json_bool(const struct json *v)
{
	return json_is(v, JSON_BOOL) && v->n;
}

/* "3", and also "3.0" and "3e2" as far as a double is exact: JSON knows no difference. */
bool json_i64(const struct json *v, int64_t *out)
{
	const double exact = 9007199254740992.0; /* 2^53 */
	char *end;
	long long n;
	double d;

	if (!json_is(v, JSON_NUMBER))
		return false;
	errno = 0;
	n = strtoll(v->text, &end, 10);
	if (*end == '\0') {
		if (errno)
			return false;
		*out = n;
		return true;
	}
	d = strtod(v->text, NULL);
	if (!(d >= -exact && d <= exact) || d != (double)(int64_t)d)
		return false;
	*out = (int64_t)d;
	return true;
}

double json_double(const struct json *v)
{
	return json_is(v, JSON_NUMBER) ? strtod(v->text, NULL) : 0;
}

const char *json_number_text(const struct json *v)
{
	return json_is(v, JSON_NUMBER) ? v->text : NULL;
}
