/*
 * From the host's own mount to the disk below it, from there to the partitions of that disk and no other: a second disk
 * with the same labels (a stick with an installer, the old system on the eMMC) must never be taken.
 */
#include "host/partitions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host/disk.h"
#include "host/mapping.h"
#include "host/mounts.h"
#include "host/probe.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/mem.h"
#include "util/str.h"

static const char *const prefixes[] = {"resin-", "balena-"};

const char *partition_name(enum partition_kind kind)
{
	static const char *const names[PARTITION_KIND_COUNT] = {
		[PARTITION_BOOT] = "boot",
		[PARTITION_STATE] = "state",
		[PARTITION_DATA] = "data",
	};

	return names[kind];
}

bool partition_label_fits(const char *label, enum partition_kind kind)
{
	for (size_t i = 0; label && i < ARRAY_LEN(prefixes); i++)
		if (str_starts(label, prefixes[i]) && str_eq(label + strlen(prefixes[i]), partition_name(kind)))
			return true;
	return false;
}

int partition_choose(const struct probe_result *results, size_t n, enum partition_kind kind)
{
	bool empty = false;

	for (size_t i = 0; i < n; i++)
		if (results[i].type && partition_label_fits(results[i].label, kind))
			return (int)i;
	for (size_t i = 0; i < n; i++) {
		if (!partition_label_fits(results[i].part_label, kind))
			continue;
		if (results[i].type)
			return (int)i;
		empty = true;
	}
	return empty ? -2 : -1;
}

/* A crypt mapping that somebody left suspended would hold up whoever looks at it. */
static void resume_mappings(const char *dev_dir, struct disk *d, struct strv *notes)
{
	for (size_t i = 0; i < d->n_nodes; i++) {
		struct disk_node *n = &d->nodes[i];
		bool ours = false;
		struct err err = {0};

		for (size_t p = 0; n->mapping && p < ARRAY_LEN(prefixes); p++)
			for (int kind = 0; kind < PARTITION_KIND_COUNT; kind++) {
				AUTO_FREE char *label = mem_printf("%s%s", prefixes[p], partition_name(kind));

				ours = ours || strstr(n->mapping, label);
			}
		if (!n->is_suspended || !n->is_crypt || !ours)
			continue;
		if (mapping_resume(dev_dir, n->mapping, &err) < 0) {
			strv_add(notes, err.msg);
		} else {
			n->is_suspended = false;
			strv_take(notes, mem_printf("resumed the suspended mapping %s", n->mapping));
		}
	}
}

static int refuse(const struct disk *d, const struct probe_result *results, enum partition_kind kind, int why,
		  struct err *err)
{
	struct buf seen;
	const char *name = partition_name(kind);

	buf_init(&seen, 300);
	for (size_t i = 0; i < d->n_nodes; i++) {
		const char *label = results[i].label ? results[i].label : results[i].part_label;

		if (buf_printf(&seen, "%s%s \"%s\"", i ? ", " : "", d->nodes[i].name, label ? label : "") < 0)
			break;
	}
	if (!d->n_nodes)
		err_set(err, -ENOENT, "disk %s has no partitions", d->name);
	else if (why == -2)
		err_set(err, -ENOENT, "the %s partition of disk %s holds no file system that we know", name, d->name);
	else
		err_set(err, -ENOENT, "no partition of disk %s has the label resin-%s or balena-%s; it has: %s",
			d->name, name, name, buf_str(&seen));
	buf_deinit(&seen);
	return err->code;
}

static int mount_one(const char *table, const char *dev_dir, const struct disk_node *n, const struct probe_result *p,
		     const char *point, struct strv *notes, struct err *err)
{
	AUTO_FREE char *device = mem_printf("%s/%s", dev_dir, n->name);
	int rc = mounts_partition(table, device, n->dev, p->type, point, err);

	if (rc == 1)
		strv_take(notes, mem_printf("%s is already mounted at %s", n->name, point));
	else if (rc >= 0)
		strv_take(notes, mem_printf("mounted %s (%s, \"%s\") at %s%s", n->name, p->type,
					    p->label ? p->label : p->part_label, point, rc == 2 ? ", read-only" : ""));
	return rc < 0 ? rc : 0;
}

static bool choose_all(const struct probe_result *results, size_t n, int chosen[PARTITION_KIND_COUNT])
{
	bool found = true;

	for (int kind = 0; kind < PARTITION_KIND_COUNT; kind++) {
		chosen[kind] = partition_choose(results, n, kind);
		found = found && chosen[kind] >= 0;
	}
	return found;
}

/* Nothing is mounted before all are found. */
static int mount_all(const struct partitions_request *r, const char *table, const char *dev_dir, const struct disk *d,
		     struct strv *notes, struct err *err)
{
	struct probe_result *results = mem_new(d->n_nodes + 1, sizeof(*results));
	int chosen[PARTITION_KIND_COUNT], rc = 0;

	probe_file_systems(dev_dir, d, results, notes);
	if (!choose_all(results, d->n_nodes, chosen)) { /* the table is read only when it is needed */
		probe_part_labels(dev_dir, d, results, notes);
		choose_all(results, d->n_nodes, chosen);
	}
	for (int kind = 0; kind < PARTITION_KIND_COUNT && rc == 0; kind++)
		if (chosen[kind] < 0)
			rc = refuse(d, results, kind, chosen[kind], err);
	for (int kind = 0; kind < PARTITION_KIND_COUNT && rc == 0; kind++)
		rc = mount_one(table, dev_dir, &d->nodes[chosen[kind]], &results[chosen[kind]], r->points[kind], notes,
			       err);
	for (size_t i = 0; i < d->n_nodes; i++)
		probe_result_deinit(&results[i]);
	free(results);
	return rc;
}

int partitions_mount(const struct partitions_request *r, struct strv *notes, struct err *err)
{
	AUTO_FREE char *dev_dir = mem_printf("%s/dev", r->host_root), *table = NULL;
	const char *where = NULL;
	struct disk d = {0};
	dev_t boot = 0;
	int rc;

	if (mounts_read(&table, err) < 0 || mounts_boot_device(table, r->host_root, &boot, &where, err) < 0)
		return err->code;
	if (disk_find(r->sysfs, boot, &d, err) < 0)
		return err_wrap(err, "what is mounted at %s of the host", where);
	resume_mappings(dev_dir, &d, notes);
	rc = mount_all(r, table, dev_dir, &d, notes, err);
	disk_deinit(&d);
	return rc;
}
