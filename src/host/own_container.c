/*
 * Which container are we in? Engines write the id into three places: the source of the files they mount over /etc
 * (right under every cgroup version), the name of the cgroup, and the host name, unless that is the host's. Where all
 * are silent nothing is lost but one of several signs (model/own.h).
 */
#include "host/own_container.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/mem.h"
#include "util/str.h"

#define ID_DIGITS       64
#define SHORT_ID_DIGITS 12
#define HEX             "0123456789abcdef"

/* The last run of exactly 64 hexadecimal digits in it. Caller frees. */
static char *last_id(const char *text)
{
	const char *found = NULL;

	while (*text) {
		size_t n = strspn(text, HEX);

		if (n == ID_DIGITS)
			found = text;
		text += n ? n : strcspn(text, HEX);
	}
	return found ? mem_strndup(found, ID_DIGITS) : NULL;
}

/* "36 35 98:0 /docker/containers/<id>/hostname /etc/hostname rw … - ext4 …": fields 4 and 5. Other containers' files are
 * listed too when the host's root is mounted here, but never at these places. */
static char *id_of_mount(char *line)
{
	static const char *const places[] = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"};
	char *save = NULL, *field[5] = {strtok_r(line, " ", &save)};

	for (size_t i = 1; i < ARRAY_LEN(field) && field[i - 1]; i++)
		field[i] = strtok_r(NULL, " ", &save);
	for (size_t i = 0; field[4] && i < ARRAY_LEN(places); i++)
		if (strcmp(field[4], places[i]) == 0)
			return last_id(field[3]);
	return NULL;
}

static char *id_of_cgroup(char *line)
{
	return last_id(line);
}

static char *search(const char *proc, const char *name, char *(*id_of)(char *line))
{
	AUTO_FREE char *path = mem_printf("%s/%s", proc, name);
	FILE *f = fopen(path, "re");
	char *line = NULL, *id = NULL;
	size_t size = 0;

	while (f && !id && getline(&line, &size, f) > 0)
		id = id_of(line);
	free(line);
	if (f)
		fclose(f);
	return id;
}

char *host_own_container(const char *proc, const char *hostname)
{
	char *id = search(proc, "mountinfo", id_of_mount);

	if (!id)
		id = search(proc, "cgroup", id_of_cgroup);
	if (!id && hostname && strlen(hostname) == SHORT_ID_DIGITS && strspn(hostname, HEX) == SHORT_ID_DIGITS)
		id = mem_strdup(hostname);
	return id;
}

/* By mount, not by device: some engines make a container's root of a directory of the host's own file system. */
bool host_is_in_own_root(const char *path)
{
	struct statx root, place;

	if (statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &root) < 0 || statx(AT_FDCWD, path, 0, STATX_MNT_ID, &place) < 0)
		return false;
	return (root.stx_mask & place.stx_mask & STATX_MNT_ID) && root.stx_mnt_id == place.stx_mnt_id;
}
