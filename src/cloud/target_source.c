/*
 * The part that a file and a URL have in common: what the owner is told, and when. Every look ends in exactly one word
 * to the owner if it was asked for; looks of our own speak only when there is news. A document is recognised by its
 * fingerprint, so that up to 4 MiB of it need not stay in memory.
 */
#include "cloud/target_source.h"

#include <string.h>

#include "cloud/source.h"
#include "util/location.h"
#include "util/mem.h"
#include "util/str.h"

#define POLL_INTERVAL_MS 900000

/* Two independent multiply-and-fold chains. Whoever writes the document is trusted: this guards against chance only. */
static struct fingerprint fingerprint_of(const char *text, size_t len)
{
	struct fingerprint f = {.len = len, .hash = {UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xc2b2ae3d27d4eb4f)}};

	for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
		uint64_t word = 0;

		memcpy(&word, text + at, len - at < sizeof(word) ? len - at : sizeof(word));
		f.hash[0] = (f.hash[0] ^ word) * UINT64_C(0xff51afd7ed558ccd);
		f.hash[0] ^= f.hash[0] >> 32;
		f.hash[1] = (f.hash[1] + word) * UINT64_C(0xc4ceb9fe1a85ec53);
		f.hash[1] ^= f.hash[1] >> 29;
	}
	return f;
}

static bool fingerprint_eq(const struct fingerprint *a, const struct fingerprint *b)
{
	return a->len == b->len && a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

static bool take_asked(struct target_source *s)
{
	bool asked = s->asked;

	s->asked = target_source_pending(s); /* another answer follows for the looks of meanwhile */
	return asked;
}

void source_unchanged(struct target_source *s)
{
	bool asked = take_asked(s), is_news = s->told == TOLD_FAILED || s->told == TOLD_REJECTED;

	s->last_ok_ms = loop_now_ms(s->loop);
	if (s->stopping)
		return;
	s->told = TOLD_ACCEPTED;
	if ((asked || is_news) && s->o.unchanged)
		s->o.unchanged(s->o.ctx);
}

bool source_deliver(struct target_source *s, const char *text, size_t len, bool quiet)
{
	struct fingerprint f = fingerprint_of(text, len);
	bool asked;

	if (s->stopping)
		return false;
	if (fingerprint_eq(&f, &s->accepted)) {
		source_unchanged(s);
		return true;
	}
	asked = take_asked(s);
	s->last_ok_ms = loop_now_ms(s->loop);
	if (quiet && !asked && s->told == TOLD_REJECTED && fingerprint_eq(&f, &s->delivered))
		return false;
	s->delivered = f;
	if (!s->o.document(s->o.ctx, text, len)) {
		s->told = TOLD_REJECTED;
		return false;
	}
	s->told = TOLD_ACCEPTED;
	s->accepted = f;
	return true;
}

void source_fail(struct target_source *s, const struct err *err, bool repeat)
{
	bool asked = take_asked(s);

	if (s->stopping)
		return;
	if (!asked && !repeat && s->told == TOLD_FAILED && str_eq(s->failure.msg, err->msg))
		return;
	s->told = TOLD_FAILED;
	s->failure = *err;
	if (s->o.failed)
		s->o.failed(s->o.ctx, err);
}

int target_source_new(struct loop *l, const struct target_source_options *o, struct target_source **out,
		      struct err *err)
{
	struct target_source *s;

	if (location_check(o->location, err) < 0)
		return err->code;
	s = mem_new(1, sizeof(*s));
	s->loop = l;
	s->o = *o;
	if (s->o.poll_interval_ms <= 0)
		s->o.poll_interval_ms = POLL_INTERVAL_MS;
	s->o.location = mem_strdup(o->location);
	s->o.user_agent = mem_strdup(o->user_agent);
	s->o.token_file = mem_strdup(o->token_file);
	s->o.ca_file = mem_strdup(o->ca_file);
	if (location_is_url(o->location))
		s->url = source_url_new(s);
	else
		s->file = source_file_new(s);
	*out = s;
	return 0;
}

bool target_source_pending(const struct target_source *s)
{
	return s->url && source_url_pending(s->url);
}

void target_source_poll(struct target_source *s)
{
	if (s->stopping)
		return;
	s->asked = true;
	if (s->url)
		source_url_poll(s->url);
	else
		source_file_look(s->file);
}

int64_t target_source_last_ok_ms(const struct target_source *s)
{
	return s->last_ok_ms;
}

bool target_source_is_url(const struct target_source *s)
{
	return s->url != NULL;
}

static void on_part_stopped(void *ctx)
{
	struct target_source *s = ctx;
	loop_fn *stopped = s->stopped;
	void *stopped_ctx = s->stopped_ctx;

	free((char *)s->o.location);
	free((char *)s->o.user_agent);
	free((char *)s->o.token_file);
	free((char *)s->o.ca_file);
	free(s);
	stopped(stopped_ctx);
}

void target_source_stop(struct target_source *s, loop_fn *stopped, void *ctx)
{
	s->stopping = true;
	s->stopped = stopped;
	s->stopped_ctx = ctx;
	if (s->url)
		source_url_stop(s->url, on_part_stopped, s);
	else
		source_file_stop(s->file, on_part_stopped, s);
}
