/*
 * Ownership made readable: cleanup on scope exit, hand-over, and allocations that abort when memory ends. Sizes that
 * come from outside are limited before they get here.
 */
#ifndef UTIL_MEM_H
#define UTIL_MEM_H

#include <stdlib.h>
#include <unistd.h>

/* Zeroed memory for `n` objects of `size` bytes; never NULL. Owned by the caller, freed with free(). */
void *mem_new(size_t n, size_t size);
/* Grow `*array` (of `*capacity` elements of `size` bytes) so that it holds at least `need`; new elements are zeroed. */
void mem_reserve(void *array_ptr, size_t *capacity, size_t need, size_t size);
/* Copies; NULL gives NULL. */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline void mem_auto_free(void *p)
{
	free(*(void **)p);
}

static inline void mem_auto_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define AUTO_FREE  __attribute__((cleanup(mem_auto_free)))
#define AUTO_CLOSE __attribute__((cleanup(mem_auto_close)))
/* Moves a pointer out of its variable, which becomes NULL. */
#define STEAL(p)                                                                                                       \
	__extension__({                                                                                                \
		__typeof__(p) _s = (p);                                                                                \
		(p) = NULL;                                                                                            \
		_s;                                                                                                    \
	})
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
