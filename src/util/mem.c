/* Allocation that does not fail: an agent that restarts from disk gains nothing from limping on without memory. */
#include "util/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void *checked(void *p)
{
	static const char msg[] = "lockkeeper: out of memory\n";

	if (!p) {
		if (write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0)
			abort();
		abort();
	}
	return p;
}

void *mem_new(size_t n, size_t size)
{
	return checked(calloc(n ? n : 1, size ? size : 1));
}

void mem_reserve(void *array_ptr, size_t *capacity, size_t need, size_t size)
{
	size_t next = *capacity ? *capacity : 8;
	char *array;

	if (need <= *capacity)
		return;
	while (next < need)
		next = next > SIZE_MAX / 2 ? need : next * 2;
	memcpy(&array, array_ptr, sizeof(array)); /* whatever the pointer's type, without aliasing it */
	array = checked(reallocarray(array, next, size));
	memset(array + *capacity * size, 0, (next - *capacity) * size);
	memcpy(array_ptr, &array, sizeof(array));
	*capacity = next;
}

char *mem_strdup(const char *s)
{
	return s ? checked(strdup(s)) : NULL;
}

char *mem_strndup(const char *s, size_t n)
{
	return s ? checked(strndup(s, n)) : NULL;
}

char *mem_printf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return checked(s);
}
