/* Engines that write their own choices in with what was asked. Inside the model only. */
#ifndef MODEL_COMPLETED_H
#define MODEL_COMPLETED_H

#include "model/config.h"

/* Does this engine (by a container's HostConfig) do so? */
bool completed_is(const struct json *host);
/* HostConfig.Tmpfs, where such an engine shows the mounts of type tmpfs that it was asked for. */
int completed_read_tmpfs(const struct json *host, struct service_config *out, struct err *err);
/* The engine form of the main network, for one that says "bridge" of every bridge. */
void completed_name_network(struct service_config *c);
/* `current` without the variables that the engine added to those that `target` sets. */
void completed_env(const struct strmap *current, const struct strmap *target, struct strmap *out);
bool completed_same_ports(const struct service_config *current, const struct service_config *target);
bool completed_same_volumes(const struct service_config *current, const struct service_config *target);

#endif
