/*
 * A Docker engine that answers from memory at once, so that a measurement holds the supervisor's time and no engine's.
 * It knows what the supervisor needs: versions, lists, inspects, events, networks, and the life of containers. Not a
 * test double: nothing is checked here, and system tests run against a real engine.
 */
#ifndef BENCH_SCRIPTED_ENGINE_H
#define BENCH_SCRIPTED_ENGINE_H

#include "bench.h"

#include <poll.h>

#define ENGINE_FDS_MAX 32

struct scripted_engine;
/* A whole request was read; `read_ns` is the moment right after the read() that ended it. */
typedef void request_fn(void *ctx, const char *method, const char *path, int64_t read_ns);

/* `images`: references that are there for ever, up to NULL. */
struct scripted_engine *scripted_engine_new(const char *socket, const char *const *images, request_fn *fn, void *ctx);
/* Fills up to ENGINE_FDS_MAX entries to be polled; returns how many. */
size_t scripted_engine_poll(struct scripted_engine *e, struct pollfd *fds);
/* Serves what poll() found in the same entries. */
void scripted_engine_serve(struct scripted_engine *e, const struct pollfd *fds, size_t n);
unsigned scripted_engine_running(const struct scripted_engine *e);

#endif
