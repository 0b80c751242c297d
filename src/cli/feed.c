/* See feed.h. Events are hints: what they say is left to the documents. */
#include "cli/feed.h"

#include "util/backoff.h"

#define RETRY_MS     250
#define RETRY_CAP_MS 5000

static void on_head(void *ctx, const struct http_response *head)
{
	struct feed *f = ctx;

	if (head->status != 200)
		return;
	f->open = f->line_start = f->changed = true;
	f->tries = 0;
}

/* Of the lines an event has, one begins with a "d": data. Comments and names of fields are no news. */
static int on_data(void *ctx, const char *data, size_t len)
{
	struct feed *f = ctx;

	for (size_t i = 0; i < len; i++) {
		if (f->line_start && data[i] == 'd')
			f->changed = true;
		f->line_start = data[i] == '\n';
	}
	return 0;
}

/* No stream to be had (a supervisor without it, or with too many readers): every try is a look at the documents. */
static void on_done(void *ctx, const struct err *err, const struct http_response *r)
{
	struct feed *f = ctx;

	(void)r;
	f->call = NULL;
	if (f->stopping)
		return;
	if (!f->open && err) {
		client_note_unreachable(f->client, err);
		f->failed = true;
	} else if (!f->open) {
		f->changed = true;
	}
	f->open = false;
	loop_timer_start(&f->retry, backoff_ms(RETRY_MS, f->tries++, RETRY_CAP_MS));
}

static void on_retry(void *ctx)
{
	struct feed *f = ctx;

	f->call = client_stream(f->client, "/v2/events", on_head, on_data, on_done, f);
}

void feed_start(struct feed *f, struct client *c)
{
	*f = (struct feed){.client = c};
	loop_timer_init(client_loop(c), &f->retry, on_retry, f);
	on_retry(f);
}

static void on_timer_closed(void *ctx)
{
	((struct feed *)ctx)->timer_closed = true;
}

void feed_stop(struct feed *f)
{
	f->stopping = true;
	if (f->call)
		http_call_cancel(f->call);
	loop_timer_deinit(&f->retry, on_timer_closed, f);
	while (f->call || !f->timer_closed)
		loop_run_once(client_loop(f->client), true);
}
