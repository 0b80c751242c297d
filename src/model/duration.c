/* Spans of time in text. Counted in nanoseconds, as that is the smallest unit, in a width that cannot overflow. */
#include "model/duration.h"

#include <ctype.h>
#include <string.h>

#include "util/mem.h"

#define DIGITS_MAX 18 /* of a number, and of its fraction */

static const struct {
	const char *name;
	int64_t ns;
} units[] = {
	/* a name before those that it begins */
	{"ns", 1},
	{"us", 1000},
	{"\u00b5s", 1000}, /* micro sign */
	{"\u03bcs", 1000}, /* the Greek letter, which looks the same */
	{"ms", 1000000},
	{"s", INT64_C(1000000000)},
	{"m", INT64_C(60) * 1000000000},
	{"h", INT64_C(3600) * 1000000000},
	{"d", INT64_C(86400) * 1000000000},
	{"w", INT64_C(604800) * 1000000000},
};

/* Digits at *text, as a number; `scale` is ten to the power of how many. False: none, or more than fit. */
static bool take_digits(const char **text, int64_t *value, int64_t *scale)
{
	const char *start = *text;

	for (*value = 0, *scale = 1; isdigit((unsigned char)**text); ++*text, *scale *= 10)
		if (*text - start < DIGITS_MAX)
			*value = *value * 10 + (**text - '0');
		else
			return false;
	return *text > start;
}

/* 0: no unit of ours. */
static int64_t take_unit(const char **text)
{
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		size_t n = strlen(units[i].name);

		if (strncmp(*text, units[i].name, n) == 0) {
			*text += n;
			return units[i].ns;
		}
	}
	return 0;
}

/* part/scale of a unit, rounded down. Digit by digit, from the last: no product is too large for 64 bits. */
static int64_t part_of_unit(int64_t part, int64_t scale, int64_t unit)
{
	int64_t ns = 0;

	for (; scale > 1; scale /= 10, part /= 10)
		ns = (part % 10 * unit + ns) / 10;
	return ns;
}

bool duration_parse(const char *text, int64_t *ms)
{
	const int64_t most = DURATION_MAX_MS * 1000000;
	int64_t sum = 0;
	bool first = true;

	do {
		int64_t whole, part = 0, scale, unit;

		if (!take_digits(&text, &whole, &scale))
			return false;
		scale = 1;
		if (*text == '.' && (++text, !take_digits(&text, &part, &scale)))
			return false;
		unit = first && !*text ? INT64_C(1000000000) : take_unit(&text);
		if (!unit)
			return false;
		if (whole > (most - sum) / unit)
			return false;
		sum += whole * unit + part_of_unit(part, scale, unit); /* less than one unit above most: it fits */
		if (sum > most)
			return false;
		first = false;
	} while (*text);
	*ms = sum / 1000000;
	return true;
}
