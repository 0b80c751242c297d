/* Content of lock files: whatever an application writes into one. What is taken for ours must be exactly what we would
 * write ourselves. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lock/content.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lock_content c;
	char again[LOCK_CONTENT_MAX];
	char *text = malloc(size ? size : 1); /* exactly as long as it is: reading behind it is seen */

	if (!text)
		return 0;
	memcpy(text, data, size);
	if (lock_content_parse(text, size, &c)) {
		if (!lock_token_valid(c.boot_id) || !lock_token_valid(c.nonce))
			abort();
		if (lock_content_format(again, c.boot_id, c.nonce) != size || memcmp(again, text, size) != 0)
			abort();
	}
	free(text);
	return 0;
}
