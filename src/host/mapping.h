/* Mappings of the device mapper (encrypted partitions). */
#ifndef HOST_MAPPING_H
#define HOST_MAPPING_H

struct err;

/* Let a suspended mapping go on: until then whoever reads from it waits for ever. `dev_dir`: the host's /dev. */
int mapping_resume(const char *dev_dir, const char *name, struct err *err);

#endif
