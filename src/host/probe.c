/*
 * Labels by libblkid. It is told the device by descriptor and reads from that alone: in a container, what /dev holds may
 * be of another machine's making, so that the names libblkid would look up by itself are worth nothing. That is also why
 * names of partitions are read from the table on the disk, and not asked of the partition.
 */
#include "host/probe.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "host/disk.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/str.h"

static int open_node(const char *dev_dir, const char *name, dev_t dev, struct err *err)
{
	AUTO_FREE char *path = mem_printf("%s/%s", dev_dir, name);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int good;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "open %s", path);
	if (!S_ISBLK(st.st_mode) || st.st_rdev != dev)
		return err_set(err, -ENODEV, "%s is not the device that the kernel calls so", path);
	good = fd;
	fd = -1;
	return good;
}

/* A label that says something. It may become part of a line in the log, so it must not begin a new one there. */
static char *label(const char *text)
{
	char *copy = text && *text ? mem_strdup(text) : NULL;

	for (char *c = copy; c && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7F)
			*c = '?';
	return copy;
}

static char *value(blkid_probe probe, const char *name)
{
	const char *text = NULL;

	return blkid_probe_lookup_value(probe, name, &text, NULL) < 0 ? NULL : label(text);
}

static int probe_file_system(int fd, const char *name, struct probe_result *out, struct err *err)
{
	/* What a host's partitions are made with. Fewer kinds are fewer reads, and fewer leftovers to stumble over. */
	static const char *const kinds[] = {"vfat", "ext4",     "ext3",  "ext2",        "btrfs", "xfs",
					    "f2fs", "squashfs", "erofs", "crypto_LUKS", NULL};
	AUTO_FREE char *usage = NULL;
	blkid_probe probe = blkid_new_probe();
	int rc = -1;

	if (probe && blkid_probe_set_device(probe, fd, 0, 0) == 0 && blkid_probe_enable_superblocks(probe, 1) == 0 &&
	    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE) ==
		    0 &&
	    blkid_probe_filter_superblocks_type(probe, BLKID_FLTR_ONLYIN, (char **)kinds) == 0)
		rc = blkid_do_safeprobe(probe);
	if (rc == 0) {
		usage = value(probe, "USAGE");
		if (str_eq(usage, "filesystem")) {
			out->type = value(probe, "TYPE");
			out->label = value(probe, "LABEL");
		}
	}
	blkid_free_probe(probe);
	if (rc == -2)
		return err_set(err, -EINVAL, "%s holds signs of several file systems", name);
	if (rc < 0)
		return err_set(err, -EIO, "%s cannot be read", name);
	return 0;
}

void probe_file_systems(const char *dev_dir, const struct disk *d, struct probe_result *out, struct strv *problems)
{
	for (size_t i = 0; i < d->n_nodes; i++) {
		const struct disk_node *n = &d->nodes[i];
		struct err err = {0};
		AUTO_CLOSE int fd = n->is_suspended ? -1 : open_node(dev_dir, n->name, n->dev, &err);

		if (!n->is_suspended && (fd < 0 || probe_file_system(fd, n->name, &out[i], &err) < 0))
			strv_add(problems, err.msg);
	}
}

void probe_part_labels(const char *dev_dir, const struct disk *d, struct probe_result *out, struct strv *problems)
{
	struct err err = {0};
	AUTO_CLOSE int fd = open_node(dev_dir, d->name, d->dev, &err);
	blkid_probe probe = blkid_new_probe();
	blkid_partlist list = NULL;

	if (fd < 0)
		strv_add(problems, err.msg);
	else if (probe && blkid_probe_set_device(probe, fd, 0, 0) == 0)
		list = blkid_probe_get_partitions(probe);
	for (size_t i = 0; list && i < d->n_nodes; i++) {
		blkid_partition p = blkid_partlist_get_partition_by_partno(list, (int)d->nodes[i].partition);

		out[i].part_label = p ? label(blkid_partition_get_name(p)) : NULL;
	}
	blkid_free_probe(probe);
}

void probe_result_deinit(struct probe_result *r)
{
	free(r->type);
	free(r->label);
	free(r->part_label);
	*r = (struct probe_result){0};
}
