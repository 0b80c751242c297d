/* Strings: comparison, numbers, UTF-8, checksums, random text and RFC 3339 times; nothing here depends on the locale.
 */
#include "util/str.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "util/mem.h"

bool str_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_starts(const char *s, const char *prefix)
{
	return s && prefix && strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n, m;

	if (!s || !suffix)
		return false;
	n = strlen(s);
	m = strlen(suffix);
	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_truthy(const char *s)
{
	return s && (strcmp(s, "1") == 0 || strcasecmp(s, "true") == 0 || strcasecmp(s, "on") == 0);
}

/* strtoll() accepts white space and a plus sign in front; a number from outside is digits with at most a minus. */
bool str_to_i64(const char *s, int64_t min, int64_t max, int64_t *out)
{
	const char *digits = s && *s == '-' ? s + 1 : s;
	char *end;
	long long n;

	if (!digits || *digits < '0' || *digits > '9')
		return false;
	errno = 0;
	n = strtoll(s, &end, 10);
	if (errno || *end || n < min || n > max)
		return false;
	*out = n;
	return true;
}

/* No overlong forms, no surrogates, nothing past U+10FFFF: the second byte's range says it all. */
size_t str_utf8_char(const char *text, size_t left)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xBF;
	size_t n;

	if (!left)
		return 0;
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xC2 && s[0] <= 0xDF) {
		n = 2;
	} else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
		n = 3;
		low = s[0] == 0xE0 ? 0xA0 : 0x80;
		high = s[0] == 0xED ? 0x9F : 0xBF;
	} else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
		n = 4;
		low = s[0] == 0xF0 ? 0x90 : 0x80;
		high = s[0] == 0xF4 ? 0x8F : 0xBF;
	} else {
		return 0;
	}
	if (left < n || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xC0) != 0x80)
			return 0;
	return n;
}

bool str_is_utf8(const char *s, size_t len, size_t *bad_offset)
{
	size_t i = 0, n;
	uint64_t word;

	while (i < len) {
		if (len - i >= sizeof(word)) { /* plain ASCII, the common case, eight bytes at a time */
			memcpy(&word, s + i, sizeof(word));
			if (!(word & UINT64_C(0x8080808080808080))) {
				i += sizeof(word);
				continue;
			}
		}
		n = str_utf8_char(s + i, len - i);
		if (!n) {
			if (bad_offset)
				*bad_offset = i;
			return false;
		}
		i += n;
	}
	return true;
}

uint32_t str_crc32(const char *s)
{
	uint32_t crc = UINT32_MAX;

	for (; *s; s++) {
		crc ^= (unsigned char)*s;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xEDB88320) : crc >> 1;
	}
	return ~crc;
}

void str_random_hex(char *out, size_t n_bytes)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[64];

	while (n_bytes > 0) {
		size_t want = n_bytes < sizeof(bytes) ? n_bytes : sizeof(bytes);
		ssize_t got = getrandom(bytes, want, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		for (ssize_t i = 0; i < got; i++) {
			*out++ = digits[bytes[i] >> 4];
			*out++ = digits[bytes[i] & 15];
		}
		n_bytes -= (size_t)got;
	}
	*out = '\0';
}

/* Every byte of the longer string is looked at, whatever the first difference. */
bool str_eq_constant_time(const char *a, const char *b)
{
	size_t n, m, longer;
	volatile unsigned char diff;

	if (!a || !b)
		return false;
	n = strlen(a);
	m = strlen(b);
	longer = n > m ? n : m;
	diff = n != m;
	for (size_t i = 0; i < longer; i++)
		diff |= (unsigned char)a[i < n ? i : n] ^ (unsigned char)b[i < m ? i : m];
	return diff == 0;
}

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar; years count from March, so that leap days end
 * them. */
static int64_t days_from_date(int64_t y, int m, int d)
{
	int64_t era, year_of_era, day_of_year;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	year_of_era = y - era * 400;
	day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void date_from_days(int64_t days, int64_t *y, int *m, int *d)
{
	int64_t era, day_of_era, year_of_era, day_of_year, month;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	day_of_era = days - era * 146097;
	year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	month = (5 * day_of_year + 2) / 153;
	*d = (int)(day_of_year - (153 * month + 2) / 5 + 1);
	*m = (int)(month < 10 ? month + 3 : month - 9);
	*y = year_of_era + era * 400 + (*m <= 2);
}

#define DAY_MS      INT64_C(86400000)
#define TIME_MIN_MS (-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define TIME_MAX_MS 253402300799999   /* 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year */

const char *str_time(int64_t unix_ms, char out[STR_TIME_SIZE])
{
	int64_t days, y;
	int m, d, ms;

	unix_ms = unix_ms < TIME_MIN_MS ? TIME_MIN_MS : unix_ms > TIME_MAX_MS ? TIME_MAX_MS : unix_ms;
	days = (unix_ms >= 0 ? unix_ms : unix_ms - (DAY_MS - 1)) / DAY_MS;
	ms = (int)(unix_ms - days * DAY_MS);
	date_from_days(days, &y, &m, &d);
	snprintf(out, STR_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)y % 10000, (unsigned)m % 100,
		 (unsigned)d % 100, (unsigned)ms / 3600000 % 100, (unsigned)ms / 60000 % 60, (unsigned)ms / 1000 % 60,
		 (unsigned)ms % 1000);
	return out;
}

/* `n` digits at *s, advancing it; -1 if they are not all digits. */
static int digits(const char **s, int n)
{
	int value = 0;

	for (; n > 0; n--, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		value = value * 10 + (**s - '0');
	}
	return value;
}

static bool skip(const char **s, char c)
{
	return *(*s)++ == c;
}

/* "Z" or "+hh:mm": minutes east of Greenwich, and nothing after. */
static bool parse_offset(const char *s, int *minutes)
{
	int sign = *s == '-' ? -1 : 1, hh, mm;

	*minutes = 0;
	if (*s == 'Z' || *s == 'z')
		return s[1] == '\0';
	if (*s != '+' && *s != '-')
		return false;
	s++;
	hh = digits(&s, 2);
	if (hh < 0 || hh > 23 || *s++ != ':')
		return false;
	mm = digits(&s, 2);
	*minutes = sign * (hh * 60 + mm);
	return mm >= 0 && mm <= 59 && *s == '\0';
}

static int days_in_month(int y, int m)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 29 : days[m - 1];
}

bool str_parse_time(const char *s, int64_t *unix_ms)
{
	int y, mo, d, h, mi, sec, offset, ms = 0;

	if (!s)
		return false;
	if ((y = digits(&s, 4)) < 0 || !skip(&s, '-') || (mo = digits(&s, 2)) < 1 || mo > 12 || !skip(&s, '-'))
		return false;
	if ((d = digits(&s, 2)) < 1 || d > days_in_month(y, mo) || (*s != 'T' && *s != 't' && *s != ' '))
		return false;
	s++;
	if ((h = digits(&s, 2)) < 0 || h > 23 || !skip(&s, ':') || (mi = digits(&s, 2)) < 0 || mi > 59 ||
	    !skip(&s, ':') || (sec = digits(&s, 2)) < 0 || sec > 60)
		return false;
	if (*s == '.') {
		int unit = 100;

		if (*++s < '0' || *s > '9')
			return false;
		for (; *s >= '0' && *s <= '9'; s++, unit /= 10)
			ms += (*s - '0') * unit; /* digits past the third weigh nothing */
	}
	if (!parse_offset(s, &offset))
		return false;
	*unix_ms = ((days_from_date(y, mo, d) * 24 + h) * 60 + mi - offset) * 60000 + sec * INT64_C(1000) + ms;
	return true;
}

char *str_trimmed(const char *s, size_t len)
{
	while (len && isspace((unsigned char)*s)) {
		s++;
		len--;
	}
	while (len && isspace((unsigned char)s[len - 1]))
		len--;
	return len ? mem_strndup(s, len) : NULL;
}
