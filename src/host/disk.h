/*
 * Which disk a device lies on, and what else lies on that disk: read from sysfs, so that no helper program and no daemon
 * is asked. A mapping of the device mapper (an encrypted partition) belongs to the disk below it.
 */
#ifndef HOST_DISK_H
#define HOST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

#define DISK_NODES_MAX 256 /* partitions and mappings of one disk */

struct disk_node {
	dev_t dev;
	unsigned partition; /* its number on the disk; a mapping has that of the partition below it */
	char *name;         /* below /dev, as the kernel calls it: "mmcblk0p1", "dm-0" */
	char *mapping;      /* NULL: a partition; else the name that whoever made the mapping gave it */
	bool is_crypt;      /* mapping: decrypts */
	bool is_suspended;  /* mapping: reading from it would wait for ever */
};

struct disk {
	dev_t dev;
	char *name;              /* as above: "mmcblk0" */
	struct disk_node *nodes; /* by number; a partition before its mappings */
	size_t n_nodes;
};

/*
 * The disk below `dev`, with its partitions and the mappings that lie on this disk alone. `sysfs`: "/sys".
 * Returns 0, or negative errno: -EXDEV `dev` lies on several disks; others: sysfs cannot be read.
 */
int disk_find(const char *sysfs, dev_t dev, struct disk *out, struct err *err);
void disk_deinit(struct disk *d);

#endif
