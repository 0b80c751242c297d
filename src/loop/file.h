/* File work that may block (fsync), done on libuv's pool; the result comes from the loop. */
#ifndef LOOP_FILE_H
#define LOOP_FILE_H

#include "loop/loop.h"

typedef void loop_file_fn(void *ctx, const struct err *err); /* err NULL: durable */
/*
 * Replace `name` in directory `dir_fd` (borrowed until `done`) by `len` bytes, atomically and durably: name.new with
 * O_TRUNC, fsync, rename, fsync of the directory. `data` is copied. `done` runs once, from the loop, never before this
 * returns. Writes of one name must not overlap (the store serialises them).
 */
void loop_file_replace(struct loop *l, int dir_fd, const char *name, unsigned mode, const void *data, size_t len,
		       loop_file_fn *done, void *ctx);
/* Run `work` on the pool, then `done` on the loop. `work` touches only what `ctx` owns. */
void loop_work(struct loop *l, loop_fn *work, loop_fn *done, void *ctx);

#endif
