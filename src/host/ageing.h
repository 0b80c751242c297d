/* Directories in /tmp that the host's own housekeeping must leave alone. */
#ifndef HOST_AGEING_H
#define HOST_AGEING_H

#include "util/err.h"

/*
 * systemd-tmpfiles removes what nobody touched for days, also an empty lock directory, which a running container would
 * then still have mounted: its lock would be seen by nobody. Writes <host_root>/run/tmpfiles.d/lockkeeper-<name>.conf,
 * which excludes the entry of /tmp or /var/tmp that each of the host paths (NULL-ended) lies in; <name> is that of the
 * first. Does nothing where systemd does not run or no path lies there. Start-up only. Negative errno: not written.
 */
int host_keep_from_ageing(const char *host_root, const char *const *paths, struct err *err);

#endif
