/*
 * What tells who holds a lock: the content of a lock file, a /proc/<pid>/cgroup, a line of /proc/locks. The first byte
 * chooses. Whatever comes in, what goes out must be safe to print.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lock/holder_proc.h"
#include "util/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void content(const char *text, size_t size)
{
	struct holder_content c;
	size_t bad;

	holder_content_parse(text, size, &c);
	if (c.pid < 0 || c.pid > 4194304)
		abort();
	if (c.reason &&
	    (!*c.reason || strlen(c.reason) > 4 * HOLDER_REASON_MAX || !str_is_utf8(c.reason, strlen(c.reason), &bad)))
		abort();
	for (const char *p = c.reason ? c.reason : ""; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			abort();
	free(c.reason);
}

static void cgroup(const char *text)
{
	struct holder_scan s = {0};
	char id[65];

	if (holder_cgroup_container(&s, text, id) ? strspn(id, "0123456789abcdef") != 64 || !strstr(text, id) : *id)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = size ? malloc(size) : NULL; /* the rest, with a NUL behind */
	struct proc_lock l;

	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (data[0] == 'c') {
		char *exact = malloc(size > 1 ? size - 1 : 1); /* a content has no NUL behind: reading there is seen */

		if (exact) {
			memcpy(exact, text, size - 1);
			content(exact, size - 1);
		}
		free(exact);
	} else if (data[0] == 'g') {
		cgroup(text);
	} else if (proc_lock_parse(text, &l) && l.pid <= 0) {
		abort();
	}
	free(text);
	return 0;
}
