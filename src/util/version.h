/*
 * Who we are. LOCKKEEPER_VERSION comes from meson. What we report to others (/v2/version, User-Agent, state reports,
 * contracts) names the release whose interfaces we keep, then ours: clients compare the first part.
 */
#ifndef UTIL_VERSION_H
#define UTIL_VERSION_H

#define LOCKKEEPER_API_BASE    "19.0.5"
#define LOCKKEEPER_API_VERSION LOCKKEEPER_API_BASE "+lockkeeper." LOCKKEEPER_VERSION

#endif
