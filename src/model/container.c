/*
 * Containers as the engine has them. Who one is comes from its labels and its name; one that is not of our form, or
 * not supervised, is kept as a bare name and never stands in the way of the others.
 */
#include <errno.h>
#include <string.h>

#include "model/current.h"
#include "model/read.h"
#include "util/mem.h"

void container_deinit(struct container *c)
{
	if (!c)
		return;
	free(c->id);
	free(c->name);
	free(c->service);
	free(c->app_uuid);
	free(c->commit);
	free(c->image);
	free(c->docker_image_id);
	free(c->state_text);
	free(c->error);
	free(c->health);
	service_config_deinit(&c->config);
	*c = (struct container){0};
}

/* Digits at *s up to '_' or the end, a number; moves *s behind them. */
static bool take_number(const char **s, int64_t *out)
{
	size_t n = strspn(*s, "0123456789");
	AUTO_FREE char *digits = mem_strndup(*s, n);

	if (!n || ((*s)[n] && (*s)[n] != '_') || !str_to_i64(digits, 0, INT64_MAX, out))
		return false;
	*s += n;
	return true;
}

/*
 * "<service>_<imageId>_<releaseId>[_<commit>]", while being handed over with "old_" in front. The service is known from
 * a label, so that digits and underscores in names leave no doubt. Another name (somebody renamed it) tells no release;
 * the planner then gives the right one back.
 */
static bool parse_name(struct container *c, const char *service)
{
	const char *s = c->name ? c->name : "";
	size_t n = strlen(service);

	if (!(strncmp(s, service, n) == 0 && s[n] == '_') && str_starts(s, "old_"))
		s += 4;
	if (strncmp(s, service, n) != 0 || s[n] != '_')
		return false;
	s += n + 1;
	if (!take_number(&s, &c->image_id) || *s++ != '_' || !take_number(&s, &c->release_id))
		return false;
	if (*s && !s[1])
		return false;
	c->commit = *s ? mem_strdup(s + 1) : NULL;
	return true;
}

static void identify(struct container *c, const struct strmap *labels)
{
	const char *service = strmap_get(labels, "io.balena.service-name");
	const char *app_id = strmap_get(labels, "io.balena.app-id");
	const char *service_id = strmap_get(labels, "io.balena.service-id");

	if (!strmap_get(labels, "io.balena.supervised") || !service || !*service || !app_id || !service_id ||
	    !str_to_i64(app_id, 1, INT64_MAX, &c->app_id) || !str_to_i64(service_id, 0, INT64_MAX, &c->service_id)) {
		c->app_id = c->service_id = 0;
		return;
	}
	if (!parse_name(c, service))
		c->image_id = c->release_id = 0;
	c->service = mem_strdup(service);
	c->app_uuid = mem_strdup(strmap_get(labels, "io.balena.app-uuid"));
}

static enum container_state state_of(const struct json *state, const char *text)
{
	if (json_bool(json_get(state, "Running")))
		return CONTAINER_RUNNING;
	if (str_eq(text, "created"))
		return CONTAINER_CREATED;
	if (str_eq(text, "dead"))
		return CONTAINER_DEAD;
	return str_eq(text, "removing") ? CONTAINER_REMOVING : CONTAINER_EXITED;
}

static int64_t time_of(const struct json *v)
{
	int64_t ms;

	return json_str(v) && str_parse_time(json_str(v), &ms) && ms > 0 ? ms : 0; /* the engine's "never" is year 1 */
}

static int read_state(const struct json *inspect, struct container *out, struct err *err)
{
	const struct json *s = json_get(inspect, "State");
	int64_t code = 0;

	if (!json_is(s, JSON_OBJECT))
		return err_set(err, -EPROTO, "State: expected object, got %s", json_type_name(json_type(s)));
	if (read_str(json_get(s, "Status"), "State.Status", &out->state_text, err) < 0 ||
	    read_str(json_get(s, "Error"), "State.Error", &out->error, err) < 0 ||
	    read_i64(json_get(s, "ExitCode"), "State.ExitCode", &code, err) < 0 ||
	    read_str(json_dig(s, "Health", "Status", NULL), "State.Health.Status", &out->health, err) < 0 ||
	    read_stop_timeout(json_get(inspect, "Config"), &out->stop_timeout_s, err) < 0)
		return err->code;
	if (!out->state_text)
		out->state_text = mem_strdup(json_bool(json_get(s, "Running")) ? "running" : "exited");
	if (!out->health)
		out->health = mem_strdup("none");
	out->state = state_of(s, out->state_text);
	out->exit_code = (int)code;
	out->created_ms = time_of(json_get(inspect, "Created"));
	out->started_ms = time_of(json_get(s, "StartedAt"));
	out->finished_ms = time_of(json_get(s, "FinishedAt"));
	return 0;
}

static int read_identity(const struct json *inspect, struct container *out, struct err *err)
{
	const char *name = json_str_or(json_get(inspect, "Name"), "");
	struct strmap labels = {0};
	int rc = read_map(json_dig(inspect, "Config", "Labels", NULL), "Config.Labels", &labels, err);

	out->name = mem_strdup(*name == '/' ? name + 1 : name);
	labels_rename(&labels);
	if (rc == 0)
		identify(out, &labels);
	strmap_deinit(&labels);
	return rc;
}

int container_from_engine(const struct json *inspect, struct container *out, struct err *err)
{
	const struct json *id = json_get(inspect, "Id");

	*out = (struct container){0};
	if (!json_str(id) || !*json_str(id))
		return err_set(err, -EPROTO, "Id: expected string, got %s", json_type_name(json_type(id)));
	out->id = mem_strdup(json_str(id));
	if (read_str(json_dig(inspect, "Config", "Image", NULL), "Config.Image", &out->image, err) < 0 ||
	    read_str(json_get(inspect, "Image"), "Image", &out->docker_image_id, err) < 0 ||
	    read_state(inspect, out, err) < 0 || read_identity(inspect, out, err) < 0 ||
	    (out->service && service_config_from_engine(inspect, &out->config, err) < 0)) {
		container_deinit(out);
		return err->code;
	}
	return 0;
}

const char *container_status(const struct container *c)
{
	switch (c->state) {
	case CONTAINER_RUNNING:
		return "Running";
	case CONTAINER_CREATED:
		return "Installed";
	case CONTAINER_DEAD:
		return "Dead";
	default:
		return c->state_text ? c->state_text : "exited";
	}
}
