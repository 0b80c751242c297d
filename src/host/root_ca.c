/*
 * The root file system of the container is read-only, so that the store in it cannot be refreshed as the reference does:
 * one file in the state directory holds the image's certificates and the owner's, and TLS is told to read that one.
 */
#include "host/root_ca.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "host/below.h"
#include "host/pem.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/mem.h"
#include "util/str.h"

#define BUNDLE_MAX (ROOT_CA_BASE_MAX + 2 * ROOT_CA_FILE_MAX)

static int read_limited(int fd, unsigned long max, const char *what, char **out, struct err *err)
{
	long n = host_read_text(fd, max, out);

	if (n == -EFBIG)
		return err_set(err, -EFBIG, "%s has more than %lu bytes", what, max);
	if (n == -EINVAL)
		return err_set(err, -EINVAL, "%s is not a text file", what);
	if (n < 0) {
		errno = (int)-n;
		return err_sys(err, "read %s", what);
	}
	return 0;
}

static void add_text(const struct root_ca_request *r, struct buf *added, struct strv *problems)
{
	struct err err = {0};
	int rc;

	if (!r->text)
		return;
	if (strlen(r->text) > ROOT_CA_TEXT_MAX)
		rc = err_set(&err, -EFBIG, "it has more than %lu bytes", ROOT_CA_TEXT_MAX);
	else
		rc = pem_add_certificates(r->text, added, &err);
	if (rc < 0)
		strv_take(problems, mem_printf("BALENA_ROOT_CA is left out: %s", err.msg));
}

/* On a device the variable often names the file that the reference makes of BALENA_ROOT_CA: then that one will do. */
static bool is_made_of_text(const struct root_ca_request *r)
{
	return r->text && str_eq(strrchr(r->file, '/'), "/balenaRootCA.pem");
}

static void add_file(const struct root_ca_request *r, struct buf *added, struct strv *problems)
{
	AUTO_FREE char *text = NULL;
	struct err err = {0};
	int fd, rc;

	if (!r->file || str_eq(r->file, r->base)) /* nothing to add */
		return;
	fd = host_open(r->file);
	if (fd == -ENOENT && *r->host_root)
		fd = host_open_below(r->host_root, r->file);
	if (fd == -ENOENT && is_made_of_text(r))
		return;
	rc = read_limited(fd, ROOT_CA_FILE_MAX, r->file, &text, &err);
	if (rc == 0)
		rc = pem_add_certificates(text, added, &err);
	if (rc < 0)
		strv_take(problems, mem_printf("NODE_EXTRA_CA_CERTS (%s) is left out: %s", r->file, err.msg));
}

static int dir_open(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && mkdir(path, 0700) == 0)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(err, "open %s", path) : fd;
}

/* A half-written one never has the name: kill and power cut at any instant. */
static int replace(const char *state_dir, const struct buf *b, struct err *err)
{
	AUTO_CLOSE int dir = dir_open(state_dir, err);
	AUTO_CLOSE int fd = -1;
	AUTO_FREE char *old = NULL;

	if (dir < 0)
		return dir;
	fd = openat(dir, ROOT_CA_BUNDLE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && host_read_text(dup(fd), BUNDLE_MAX, &old) == (long)b->len && str_eq(old, buf_str(b)))
		return 0;
	if (fd >= 0)
		close(fd);
	fd = openat(dir, ROOT_CA_BUNDLE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0 || fd_write_all(fd, b->data, b->len) < 0 || fsync(fd) < 0 ||
	    renameat(dir, ROOT_CA_BUNDLE ".new", dir, ROOT_CA_BUNDLE) < 0 || fsync(dir) < 0)
		return err_sys(err, "write %s/" ROOT_CA_BUNDLE, state_dir);
	return 0;
}

int root_ca_bundle(const struct root_ca_request *r, char **path, struct strv *problems, struct err *err)
{
	AUTO_FREE char *base = NULL;
	struct buf added, all;
	int rc = 0;

	buf_init(&added, 2 * ROOT_CA_FILE_MAX);
	buf_init(&all, BUNDLE_MAX + 1);
	add_text(r, &added, problems);
	add_file(r, &added, problems);
	if (!added.len)
		goto out;
	/* Without the public authorities the owner's own are still worth having. */
	if (read_limited(host_open(r->base), ROOT_CA_BASE_MAX, r->base, &base, err) < 0)
		strv_add(problems, err->msg);
	else if (*base)
		buf_printf(&all, "%s%s", base, str_ends(base, "\n") ? "" : "\n");
	buf_add(&all, added.data, added.len);
	rc = replace(r->state_dir, &all, err);
	if (rc == 0) {
		*path = mem_printf("%s/" ROOT_CA_BUNDLE, r->state_dir);
		rc = 1;
	}
out:
	buf_deinit(&added);
	buf_deinit(&all);
	return rc;
}
