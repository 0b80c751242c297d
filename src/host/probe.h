/* What a partition says about itself: its file system and labels. The only door to libblkid. */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include <sys/types.h>

struct disk;
struct strv;

struct probe_result {
	char *type;       /* of its file system, as mount(2) wants it; NULL: none that could be mounted */
	char *label;      /* of its file system; NULL: none */
	char *part_label; /* from the partition table; a mapping has that of its partition; NULL: none */
};

/*
 * Read the file systems of the disk's nodes: type and label of `out[i]`, as many as there are nodes, and zeroed. Nodes are
 * opened below `dev_dir` ("/dev" of the host), and must be the devices they are taken for. What cannot be read stays
 * empty, with its reason appended to `problems`. Suspended mappings are left out.
 */
void probe_file_systems(const char *dev_dir, const struct disk *d, struct probe_result *out, struct strv *problems);

/* The same for the labels in the disk's partition table. */
void probe_part_labels(const char *dev_dir, const struct disk *d, struct probe_result *out, struct strv *problems);
void probe_result_deinit(struct probe_result *r);

#endif
