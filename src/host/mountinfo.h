/*
 * The kernel's table of mounts (proc(5), /proc/self/mountinfo), one line at a time. Paths in it come from whoever
 * mounted something, so they are taken for bytes and nothing more.
 */
#ifndef HOST_MOUNTINFO_H
#define HOST_MOUNTINFO_H

#include <stdbool.h>
#include <sys/types.h>

#define MOUNTINFO_MAX_BYTES (16UL << 20) /* of the whole table; an engine with 100 containers has some 200 KiB */

struct mount_line {
	dev_t dev;    /* of the file system; major 0: not directly a block device */
	char *point;  /* absolute, octal escapes undone */
	char *type;   /* file system type */
	char *source; /* "/dev/mmcblk0p1", "tmpfs", anything */
};

/* Takes one line (`len` bytes, without the newline) apart; false if it is not one. `*out` then holds nothing. */
bool mount_line_parse(const char *line, unsigned long len, struct mount_line *out);
void mount_line_deinit(struct mount_line *m);

/*
 * The file system that is visible at `point` (an absolute path without links, trailing slashes or dots): the last line
 * of the table that names it. False if none does.
 */
bool mountinfo_find(const char *table, const char *point, struct mount_line *out);

#endif
