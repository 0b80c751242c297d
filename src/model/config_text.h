/* Parts of a configuration as texts for people, and their order. Inside the model only. */
#ifndef MODEL_CONFIG_TEXT_H
#define MODEL_CONFIG_TEXT_H

#include "model/config.h"

/* All texts: the caller frees. */
char *strv_text(const struct strv *l); /* a JSON list: word boundaries stay visible */
char *restart_text(const struct service_config *c);
char *ports_text(const struct service_config *c);
char *volumes_text(const struct service_config *c);
char *join_text(const struct network_join *n);

int port_map_compare(const struct port_map *a, const struct port_map *b);
int mount_compare(const struct mount *a, const struct mount *b);
void mount_deinit(struct mount *m);
/* Sort, drop duplicates. */
void ports_sort_unique(struct service_config *c);
void mounts_sort(struct service_config *c);
void networks_sort(struct service_config *c);
const struct network_join *service_config_network(const struct service_config *c, const char *name);

/* One change per differing key, named "<prefix>.<key>"; true when equal. `out` may be NULL. */
bool strmap_diff(const char *prefix, const struct strmap *current, const struct strmap *target,
		 struct field_changes *out);

#endif
