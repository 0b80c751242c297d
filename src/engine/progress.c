/*
 * Progress of a pull from its stream of messages. A layer is downloaded, then extracted; the percentage is the mean of
 * both means over layers. Layers that turn out to be tiny say nothing about the time that is left, so they do not count
 * while others do.
 */
#include "engine/progress.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/splitter.h"
#include "util/json.h"
#include "util/mem.h"
#include "util/str.h"

enum half { HALF_DOWNLOAD, HALF_EXTRACT, HALF_COUNT };

struct pull_layer {
	char *id;
	struct {
		double percent;
		bool measured, tiny;
	} half[HALF_COUNT];
};

static const int64_t counted_from_bytes[HALF_COUNT] = {[HALF_DOWNLOAD] = 100 << 10, [HALF_EXTRACT] = 1 << 20};

void pull_progress_init(struct pull_progress *p, bool balena)
{
	*p = (struct pull_progress){.balena = balena, .percent = -1};
}

void pull_progress_deinit(struct pull_progress *p)
{
	for (size_t i = 0; i < p->n_layers; i++)
		free(p->layers[i].id);
	free(p->layers);
	*p = (struct pull_progress){.percent = -1};
}

static struct pull_layer *layer_of(struct pull_progress *p, const char *id)
{
	for (size_t i = 0; i < p->n_layers; i++)
		if (str_eq(p->layers[i].id, id))
			return &p->layers[i];
	if (p->n_layers == PULL_LAYERS_MAX)
		return NULL;
	mem_reserve(&p->layers, &p->capacity, p->n_layers + 1, sizeof(*p->layers));
	p->layers[p->n_layers].id = mem_strdup(id);
	return &p->layers[p->n_layers++];
}

static double share(const struct json *detail, int64_t *total)
{
	double current = json_double(json_get(detail, "current"));

	if (!json_i64(json_get(detail, "total"), total) || *total <= 0 || current <= 0)
		return 0;
	return current >= (double)*total ? 100 : 100 * current / (double)*total;
}

static void layer_measure(struct pull_layer *l, enum half h, const struct json *detail)
{
	int64_t total = 0;
	double percent = share(detail, &total);

	if (total <= 0)
		return;
	if (!l->half[h].measured)
		l->half[h].tiny = total < counted_from_bytes[h];
	l->half[h].measured = true;
	l->half[h].percent = percent;
}

static void layer_seen(struct pull_layer *l, const struct json *detail)
{
	(void)l;
	(void)detail;
}

static void layer_downloading(struct pull_layer *l, const struct json *detail)
{
	layer_measure(l, HALF_DOWNLOAD, detail);
}

static void layer_downloaded(struct pull_layer *l, const struct json *detail)
{
	(void)detail;
	l->half[HALF_DOWNLOAD].percent = 100;
}

static void layer_extracting(struct pull_layer *l, const struct json *detail)
{
	layer_measure(l, HALF_EXTRACT, detail);
}

static void layer_complete(struct pull_layer *l, const struct json *detail)
{
	(void)detail;
	l->half[HALF_DOWNLOAD].percent = l->half[HALF_EXTRACT].percent = 100;
}

static const struct {
	const char *status;
	void (*apply)(struct pull_layer *l, const struct json *detail);
} layer_statuses[] = {
	{"Pulling fs layer", layer_seen},        {"Waiting", layer_seen},
	{"Downloading", layer_downloading},      {"Verifying Checksum", layer_downloaded},
	{"Download complete", layer_downloaded}, {"Extracting", layer_extracting},
	{"Pull complete", layer_complete},       {"Already exists", layer_complete},
};

static double mean(const struct pull_progress *p, enum half h, bool with_tiny)
{
	double sum = 0;
	size_t n = 0;

	for (size_t i = 0; i < p->n_layers; i++)
		if (with_tiny || !p->layers[i].half[h].tiny) {
			sum += p->layers[i].half[h].percent;
			n++;
		}
	if (n > 0)
		return sum / (double)n;
	return with_tiny ? 0 : mean(p, h, true);
}

static void progress_raise(struct pull_progress *p, int percent)
{
	if (percent > p->percent)
		p->percent = percent;
}

static void progress_layer(struct pull_progress *p, const char *id, const char *status, const struct json *detail)
{
	for (size_t i = 0; i < ARRAY_LEN(layer_statuses); i++) {
		struct pull_layer *l;

		if (!str_eq(layer_statuses[i].status, status))
			continue;
		l = layer_of(p, id);
		if (l)
			layer_statuses[i].apply(l, detail);
	}
	progress_raise(p, (int)((mean(p, HALF_DOWNLOAD, false) + mean(p, HALF_EXTRACT, false)) / 2));
}

static int progress_error(const struct json *message, struct err *err)
{
	const char *sentence = json_str(json_dig(message, "errorDetail", "message", NULL));

	if (!sentence || !*sentence)
		sentence = json_str_or(json_get(message, "error"), "the pull failed, the engine does not say why");
	return err_set(err, pull_error_code(sentence), "%s", sentence);
}

int pull_progress_message(struct pull_progress *p, const char *text, size_t len, struct err *err)
{
	struct json *m = NULL;
	const struct json *detail;
	const char *id, *status;
	int64_t total = 0;
	int r = 0;

	if (json_parse(text, len, SPLITTER_MAX_BYTES, &m, err) < 0 || !json_is(m, JSON_OBJECT)) {
		r = err_set(err, -EPROTO, "a message of the pull is not a JSON object");
		goto out;
	}
	if (json_get(m, "error") || json_get(m, "errorDetail")) {
		r = progress_error(m, err);
		goto out;
	}
	id = json_str_or(json_get(m, "id"), "");
	status = json_str_or(json_get(m, "status"), "");
	detail = json_get(m, "progressDetail");
	progress_raise(p, 0);
	if (str_starts(status, "Status: Downloaded newer image") || str_starts(status, "Status: Image is up to date"))
		progress_raise(p, 100);
	else if (!p->balena)
		progress_layer(p, id, status, detail);
	else if (str_eq(id, "Total"))
		progress_raise(p, (int)share(detail, &total));
out:
	json_free(m);
	return r;
}

/* The first row wins: Docker says "pull access denied for X, repository does not exist or may require …". */
static const struct {
	const char *part;
	int code;
} pull_failures[] = {
	{"no space left on device", -ENOSPC},
	{"denied", -EACCES},
	{"unauthorized", -EACCES},
	{"authentication required", -EACCES},
	{"no basic auth credentials", -EACCES},
	{"manifest unknown", -ENOENT},
	{"name unknown", -ENOENT},
	{"does not exist", -ENOENT},
	{"not found", -ENOENT},
};

int pull_error_code(const char *sentence)
{
	for (size_t i = 0; i < ARRAY_LEN(pull_failures); i++)
		if (strcasestr(sentence, pull_failures[i].part))
			return pull_failures[i].code;
	return -EIO;
}
