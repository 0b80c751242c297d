/* A target document named on the command line; see document.h. */
#include "cli/document.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "model/target.h"
#include "util/mem.h"

int document_read(const char *command, const char *path, struct buf *to)
{
	bool is_stdin = !strcmp(path, "-");
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char piece[16384];
	ssize_t n = -1;

	buf_init(to, TARGET_MAX_BYTES);
	while (fd >= 0 && (n = read(fd, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || buf_add(to, piece, (size_t)n) < 0)
			break;
	}
	if (n < 0)
		fprintf(stderr, "lockkeeper %s: cannot read %s: %s\n", command, path, strerror(errno));
	else if (to->failed)
		fprintf(stderr, "lockkeeper %s: %s is larger than %u bytes, the most a target may have\n", command,
			path, TARGET_MAX_BYTES);
	if (fd >= 0 && !is_stdin)
		close(fd);
	return n < 0 || to->failed ? CLI_FAILED : 0;
}
