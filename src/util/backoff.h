/* Exponential backoff: min(unit * 2^n, cap), without overflow for any n. */
#ifndef UTIL_BACKOFF_H
#define UTIL_BACKOFF_H

#include <stdint.h>

int64_t backoff_ms(int64_t unit_ms, unsigned n, int64_t cap_ms);

#endif
