/* Mounting for the container's own eyes: nothing here shows outside its mount name space. */
#ifndef HOST_MOUNTS_H
#define HOST_MOUNTS_H

#include <sys/types.h>

struct err;

/* This process's table of mounts, for mountinfo_find(); to be freed. */
int mounts_read(char **table, struct err *err);

/*
 * The device of the host's boot file system as seen below `host_root` ("" for our own): of what is mounted at mnt/boot,
 * else (a host that booted from an encrypted disk) at mnt/efi, mnt/rpi or mnt/imx. `*where`: that path, borrowed.
 * Returns 0, or -ENOENT: nothing that lies on a block device is mounted at any of them.
 */
int mounts_boot_device(const char *table, const char *host_root, dev_t *out, const char **where, struct err *err);

/*
 * Mount the block device `dev`, whose node is `device`, at `point`, which is made if it is missing. Where the device
 * is mounted already, it stays as it is. Returns 0 mounted, 1 it was, 2 mounted, but read-only, as the host has it; or
 * negative errno.
 */
int mounts_partition(const char *table, const char *device, dev_t dev, const char *type, const char *point,
		     struct err *err);

/*
 * Give `dir` a place on the data partition (mounted at `data`), unless it has one: unless `file` is in it, or something
 * is mounted there. Later mounts below the one are seen below the other. Returns 0 done, 1 not needed; or negative errno.
 */
int mounts_data_dir(const char *table, const char *data, const char *dir, const char *file, struct err *err);

#endif
