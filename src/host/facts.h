/* Facts of the device that the engine does not know: boot id, host OS, device type, host name, processors. Spec
 * host.md 1.4, engine.md 1.4. */
#ifndef HOST_FACTS_H
#define HOST_FACTS_H

#include "model/target.h"

/* Fills type, arch, os_version, hostname, boot_id, processors of `out` from the host root and boot mount point; what
 * cannot be read stays NULL (arch falls back to uname). Reads small files; start-up only. */
void host_facts_read(const char *host_root, const char *boot_mount, const char *os_release_path,
		     struct device_facts *out);

#endif
