/* Lines of /proc/self/mountinfo: whoever can mount something chooses the bytes of its paths. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1); /* exactly as long as it is: reading behind it is seen */
	struct mount_line m, again;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (mount_line_parse(text, size, &m)) {
		if (m.point[0] != '/')
			abort();
		/* What a line says is found by it, unless it has lines in it. */
		if (!strchr(text, '\n')) {
			if (!mountinfo_find(text, m.point, &again) || again.dev != m.dev)
				abort();
			mount_line_deinit(&again);
		}
		mount_line_deinit(&m);
	}
	if (mountinfo_find(text, "/mnt/boot", &m))
		mount_line_deinit(&m);
	free(text);
	return 0;
}
