/*
 * The host's boot, state and data partitions, found by their labels on the disk that the host booted from, and mounted
 * for us. The host itself does not hand them into the container.
 */
#ifndef HOST_PARTITIONS_H
#define HOST_PARTITIONS_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct probe_result;
struct strv;

enum partition_kind { PARTITION_BOOT, PARTITION_STATE, PARTITION_DATA, PARTITION_KIND_COUNT };

/* "boot", "state", "data" */
const char *partition_name(enum partition_kind kind);
/* resin-<name> or balena-<name>, and nothing else */
bool partition_label_fits(const char *label, enum partition_kind kind);

/*
 * Which of the `n` results is the partition of this kind: the first whose file system has its label; else the first with
 * a file system on a partition of that label. Negative: none, -2 if a partition of that label is there, but has no file
 * system that we know.
 */
int partition_choose(const struct probe_result *results, size_t n, enum partition_kind kind);

struct partitions_request {
	const char *host_root; /* without a slash at its end; "" is our own root */
	const char *sysfs;
	const char *points[PARTITION_KIND_COUNT]; /* where each is wanted */
};

/*
 * Find all of them, then mount each where it is wanted, unless it is there already. `notes` receives sentences for the
 * person who reads the log: what was mounted, and what could not be looked at.
 * Returns 0, or negative errno: not one of them is missing without a sentence that names it.
 */
int partitions_mount(const struct partitions_request *r, struct strv *notes, struct err *err);

#endif
