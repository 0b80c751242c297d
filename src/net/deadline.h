/*
 * Many deadlines, one timer. A deadline is a number in its owner, so moving it (each request moves some) costs no
 * system or heap work; the one timer is set to the earliest it was told of, and looks at all of them when it fires.
 * Nothing runs while no deadline is set.
 */
#ifndef NET_DEADLINE_H
#define NET_DEADLINE_H

#include <stdint.h>
#include <sys/queue.h>

#include "loop/loop.h"

#define DEADLINE_NONE INT64_MAX

struct deadline {
	LIST_ENTRY(deadline) link;
	int64_t at_ms; /* loop time; DEADLINE_NONE: none */
};
typedef void deadline_fn(void *ctx, struct deadline *d); /* passed; it is DEADLINE_NONE again */

struct deadlines {
	struct loop *loop;
	struct loop_timer timer;
	LIST_HEAD(, deadline) all;
	struct deadline *cursor; /* next to look at while the timer runs: callbacks may remove any */
	int64_t armed_ms;
	deadline_fn *fn;
	void *ctx;
};

void deadlines_init(struct deadlines *s, struct loop *l, deadline_fn *fn, void *ctx);
/* Every deadline must have been removed. `closed` comes from the loop; the memory may go then. */
void deadlines_deinit(struct deadlines *s, loop_fn *closed, void *ctx);
void deadline_add(struct deadlines *s, struct deadline *d);
void deadline_remove(struct deadlines *s, struct deadline *d);
void deadline_set(struct deadlines *s, struct deadline *d, int64_t at_ms);

#endif
