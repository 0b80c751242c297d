/*
 * /sys/dev/block/MAJOR:MINOR leads to a device's directory. A partition has a file "partition" there and lies in its
 * disk's directory; a mapping has "dm", and names what it is made of in "slaves"; what is made of a device stands in its
 * "holders". So all of it is found by walking directories.
 */
#include "host/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "util/err.h"
#include "util/mem.h"
#include "util/str.h"

#define MAPPINGS_DEEP_MAX 8    /* a mapping of a mapping of … */
#define ATTRIBUTE_MAX     4096 /* sysfs gives a page at most */

static int open_dir(int at, const char *path)
{
	return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_device(int sysfs, dev_t dev)
{
	char path[64];

	snprintf(path, sizeof(path), "dev/block/%u:%u", major(dev), minor(dev));
	return open_dir(sysfs, path);
}

/* An attribute without its newline; NULL if there is none. */
static char *attribute(int dir, const char *name)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = mem_new(ATTRIBUTE_MAX + 1, 1);
	ssize_t n = fd < 0 ? -1 : read(fd, text, ATTRIBUTE_MAX);

	if (n < 0)
		return NULL;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return STEAL(text);
}

static bool device_number(int dir, dev_t *out)
{
	AUTO_FREE char *text = attribute(dir, "dev");
	char *colon = text ? strchr(text, ':') : NULL;
	int64_t high, low;

	if (!colon)
		return false;
	*colon = '\0';
	if (!str_to_i64(text, 0, UINT32_MAX, &high) || !str_to_i64(colon + 1, 0, UINT32_MAX, &low))
		return false;
	*out = makedev((unsigned)high, (unsigned)low);
	return true;
}

static bool partition_number(int dir, unsigned *out)
{
	AUTO_FREE char *text = attribute(dir, "partition");
	int64_t number;

	if (!text || !str_to_i64(text, 1, INT32_MAX, &number))
		return false;
	*out = (unsigned)number;
	return true;
}

static bool is_mapping(int dir)
{
	struct stat st;

	return fstatat(dir, "dm", &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* The node below /dev is named by the line DEVNAME of "uevent"; the directory's own name has "!" for each "/". */
static char *node_name(int dir)
{
	AUTO_CLOSE int fd = openat(dir, "uevent", O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = mem_new(ATTRIBUTE_MAX + 1, 1);
	char *save = NULL;

	if (fd < 0 || read(fd, text, ATTRIBUTE_MAX) < 0)
		return NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (str_starts(line, "DEVNAME=") && line[8] != '/' && !strstr(line, ".."))
			return mem_strdup(line + 8);
	return NULL;
}

/* ---- from a device down to its disk ---- */

static int disk_below(int sysfs, dev_t dev, unsigned depth, dev_t *out, struct err *err);

/* All that the mapping is made of must lie on one disk: with two there is no telling whose partitions are meant. */
static int disk_below_mapping(int sysfs, int dir, unsigned depth, dev_t *out, struct err *err)
{
	int fd = open_dir(dir, "slaves");
	DIR *slaves = fd < 0 ? NULL : fdopendir(fd);
	bool found = false;
	struct dirent *e;
	int rc = 0;

	if (!slaves)
		return err_sys(err, "read what the mapping is made of");
	while (rc == 0 && (e = readdir(slaves))) {
		AUTO_CLOSE int slave = e->d_name[0] == '.' ? -1 : open_dir(dirfd(slaves), e->d_name);
		dev_t dev, disk = 0;

		if (slave < 0 || !device_number(slave, &dev))
			continue;
		rc = disk_below(sysfs, dev, depth + 1, &disk, err);
		if (rc == 0 && found && disk != *out)
			rc = err_set(err, -EXDEV, "it lies on more than one disk");
		*out = disk;
		found = true;
	}
	closedir(slaves);
	if (rc == 0 && !found)
		rc = err_set(err, -ENODEV, "it is made of no device");
	return rc;
}

static int disk_below(int sysfs, dev_t dev, unsigned depth, dev_t *out, struct err *err)
{
	AUTO_CLOSE int dir = open_device(sysfs, dev);
	AUTO_CLOSE int parent = -1;
	unsigned number;

	if (dir < 0)
		return err_sys(err, "open dev/block/%u:%u of sysfs", major(dev), minor(dev));
	if (depth > MAPPINGS_DEEP_MAX)
		return err_set(err, -ELOOP, "more than %d mappings lie on each other", MAPPINGS_DEEP_MAX);
	if (is_mapping(dir))
		return disk_below_mapping(sysfs, dir, depth, out, err);
	*out = dev;
	if (!partition_number(dir, &number))
		return 0; /* a disk already */
	parent = open_dir(dir, "..");
	if (parent < 0 || !device_number(parent, out))
		return err_set(err, -ENODEV, "partition %u:%u is on no disk", major(dev), minor(dev));
	return 0;
}

/* ---- from the disk up to all that lies on it ---- */

struct walk {
	int sysfs;
	struct disk *disk;
	size_t capacity;
	struct err *err;
};

/* NULL with the error set; valid until the next one. */
static struct disk_node *add_node(struct walk *w, int dir, unsigned partition)
{
	struct disk *d = w->disk;
	struct disk_node *n;
	dev_t dev;

	if (!device_number(dir, &dev)) {
		err_set(w->err, -ENODEV, "a device on disk %s has no number", d->name);
		return NULL;
	}
	if (d->n_nodes == DISK_NODES_MAX) {
		err_set(w->err, -E2BIG, "disk %s has more than %d partitions and mappings", d->name, DISK_NODES_MAX);
		return NULL;
	}
	mem_reserve(&d->nodes, &w->capacity, d->n_nodes + 1, sizeof(*d->nodes));
	n = &d->nodes[d->n_nodes];
	*n = (struct disk_node){.dev = dev, .partition = partition, .name = node_name(dir)};
	if (!n->name) {
		err_set(w->err, -ENODEV, "device %u:%u on disk %s has no name", major(dev), minor(dev), d->name);
		return NULL;
	}
	d->n_nodes++;
	return n;
}

static int add_holders(struct walk *w, int dir, unsigned partition, unsigned depth);

static int add_mapping(struct walk *w, int dir, unsigned partition, unsigned depth)
{
	AUTO_FREE char *suspended = attribute(dir, "dm/suspended"), *uuid = attribute(dir, "dm/uuid");
	struct err ignored = {0};
	struct disk_node *n;
	dev_t dev, disk = 0;

	if (!device_number(dir, &dev) || disk_below(w->sysfs, dev, 0, &disk, &ignored) < 0 || disk != w->disk->dev)
		return 0; /* a part of it is elsewhere: not this disk's */
	for (size_t i = 0; i < w->disk->n_nodes; i++)
		if (w->disk->nodes[i].dev == dev)
			return 0; /* one mapping over two partitions */
	n = add_node(w, dir, partition);
	if (!n)
		return w->err->code;
	n->mapping = attribute(dir, "dm/name");
	if (!n->mapping)
		n->mapping = mem_strdup("");
	n->is_suspended = str_eq(suspended, "1");
	n->is_crypt = uuid && str_starts(uuid, "CRYPT-");
	return add_holders(w, dir, partition, depth + 1);
}

static int add_holders(struct walk *w, int dir, unsigned partition, unsigned depth)
{
	int fd = open_dir(dir, "holders");
	DIR *holders = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!holders || depth > MAPPINGS_DEEP_MAX) {
		if (holders)
			closedir(holders);
		return 0;
	}
	while (rc == 0 && (e = readdir(holders))) {
		AUTO_CLOSE int holder = e->d_name[0] == '.' ? -1 : open_dir(dirfd(holders), e->d_name);

		if (holder >= 0 && is_mapping(holder))
			rc = add_mapping(w, holder, partition, depth);
	}
	closedir(holders);
	return rc;
}

static int add_partitions(struct walk *w, DIR *disk)
{
	struct dirent *e;
	int rc = 0;

	while (rc == 0 && (e = readdir(disk))) {
		AUTO_CLOSE int dir = e->d_name[0] == '.' ? -1 : open_dir(dirfd(disk), e->d_name);
		unsigned number;

		if (dir >= 0 && partition_number(dir, &number))
			rc = add_node(w, dir, number) ? add_holders(w, dir, number, 0) : w->err->code;
	}
	return rc;
}

static int by_number(const void *a, const void *b)
{
	const struct disk_node *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return !x->mapping != !y->mapping ? (x->mapping ? 1 : -1) : x->dev < y->dev ? -1 : x->dev > y->dev;
}

int disk_find(const char *sysfs_path, dev_t dev, struct disk *out, struct err *err)
{
	AUTO_CLOSE int sysfs = open_dir(AT_FDCWD, sysfs_path);
	struct walk w = {.sysfs = sysfs, .disk = out, .err = err};
	DIR *dir = NULL;
	int rc, fd;

	*out = (struct disk){0};
	if (sysfs < 0)
		return err_sys(err, "open %s", sysfs_path);
	rc = disk_below(sysfs, dev, 0, &out->dev, err);
	if (rc < 0)
		return err_wrap(err, "find the disk of device %u:%u", major(dev), minor(dev));
	fd = open_device(sysfs, out->dev);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return err_sys(err, "open dev/block/%u:%u of %s", major(out->dev), minor(out->dev), sysfs_path);
	out->name = node_name(fd);
	rc = out->name ? add_partitions(&w, dir) : err_set(err, -ENODEV, "the disk has no name");
	closedir(dir);
	if (rc == 0 && out->n_nodes)
		qsort(out->nodes, out->n_nodes, sizeof(*out->nodes), by_number);
	if (rc < 0)
		disk_deinit(out);
	return rc;
}

void disk_deinit(struct disk *d)
{
	for (size_t i = 0; i < d->n_nodes; i++) {
		free(d->nodes[i].name);
		free(d->nodes[i].mapping);
	}
	free(d->nodes);
	free(d->name);
	*d = (struct disk){0};
}
