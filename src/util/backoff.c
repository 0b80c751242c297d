/* Exponential backoff without overflow: the doubling stops where the cap is. */
#include "util/backoff.h"

int64_t backoff_ms(int64_t unit_ms, unsigned n, int64_t cap_ms)
{
	int64_t delay = unit_ms;

	if (unit_ms <= 0 || cap_ms <= 0)
		return 0;
	while (n-- > 0 && delay < cap_ms)
		delay = delay > cap_ms / 2 ? cap_ms : delay * 2;
	return delay < cap_ms ? delay : cap_ms;
}
