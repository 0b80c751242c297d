/* One ioctl of the device mapper; its library would be a hundred times the code. */
#include "host/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "util/err.h"
#include "util/mem.h"

int mapping_resume(const char *dev_dir, const char *name, struct err *err)
{
	AUTO_FREE char *path = mem_printf("%s/mapper/control", dev_dir);
	AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
	struct dm_ioctl command = {.version = {4, 0, 0}, .data_size = sizeof(command), .data_start = sizeof(command)};

	if (fd < 0)
		return err_sys(err, "open %s", path);
	if (strlen(name) >= sizeof(command.name))
		return err_set(err, -ENAMETOOLONG, "the mapping's name \"%s\" is too long", name);
	snprintf(command.name, sizeof(command.name), "%s", name);
	if (ioctl(fd, DM_DEV_SUSPEND, &command) < 0) /* without the flag DM_SUSPEND_FLAG, this resumes */
		return err_sys(err, "resume the mapping %s", name);
	return 0;
}
