/*
 * Services that wait for each other would wait for ever. A depth-first walk with its own stack: a long chain from
 * outside must not use up ours.
 */
#include <string.h>

#include "model/parse.h"
#include "util/mem.h"

enum colour { UNSEEN, ON_PATH, DONE };
struct frame {
	size_t service, next; /* next: dependency to look at */
};
struct walk {
	const struct target_app *app;
	enum colour *colour;
	struct frame *stack;
	size_t depth;
};

static size_t index_of(const struct target_app *a, const char *name)
{
	const struct target_service *s = target_app_find_service(a, name);

	return s ? (size_t)(s - a->services) : a->n_services;
}

/* "a -> b -> a", from the frame where the cycle begins; a very long one is cut by the message's size. */
static void report(struct parse *p, const struct at *services, const struct walk *w, size_t first)
{
	const char *name = w->app->services[w->stack[w->depth - 1].service].name;
	struct at service = at_key(services, name), composition = at_key(&service, "composition");
	struct at here = at_key(&composition, "depends_on");
	struct buf b;

	buf_init(&b, 400);
	for (size_t i = 0; i < w->depth; i++)
		if (i >= first && !b.failed)
			buf_printf(&b, "%s -> ", w->app->services[w->stack[i].service].name);
	parse_error(p, &here, "dependency cycle: %s%s", buf_str(&b), w->app->services[w->stack[first].service].name);
	buf_deinit(&b);
}

static void push(struct walk *w, size_t service)
{
	w->colour[service] = ON_PATH;
	w->stack[w->depth++] = (struct frame){.service = service};
}

static void step(struct parse *p, const struct at *services, struct walk *w)
{
	struct frame *top = &w->stack[w->depth - 1];
	const struct strv *needs = &w->app->services[top->service].depends_on;
	size_t next, first;

	if (top->next == needs->n) {
		w->colour[top->service] = DONE;
		w->depth--;
		return;
	}
	next = index_of(w->app, needs->v[top->next++]);
	if (next == w->app->n_services || w->colour[next] == DONE)
		return;
	if (w->colour[next] == UNSEEN) {
		push(w, next);
		return;
	}
	for (first = 0; w->stack[first].service != next; first++)
		;
	report(p, services, w, first);
}

void parse_cycles(struct parse *p, const struct at *services, const struct target_app *a)
{
	AUTO_FREE enum colour *colour = mem_new(a->n_services + 1, sizeof(*colour));
	AUTO_FREE struct frame *stack = mem_new(a->n_services + 1, sizeof(*stack));
	struct walk w = {.app = a, .colour = colour, .stack = stack};

	for (size_t i = 0; i < a->n_services; i++) {
		if (colour[i] == UNSEEN)
			push(&w, i);
		while (w.depth)
			step(p, services, &w);
	}
}
