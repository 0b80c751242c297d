/*
 * Local API keys: a sorted table in memory, kept in keys.json. A change is saved at once, but changes that come while a
 * save is under way share the next one. The table is small (one key a service), so a check looks at every key and its
 * time tells nothing about which one matched.
 */
#include "keys/keys.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"
#include "util/mem.h"
#include "util/str.h"

#define SCHEMA 1

struct key {
	int64_t app_id; /* 0 with service NULL: the global key */
	char *service;
	char *text; /* its own memory: callers borrow it while the table grows */
};
struct keys {
	struct store *store;
	struct key *v; /* sorted by app and service; the global key comes first */
	size_t n, capacity;
	bool is_saving, is_dirty, is_freed;
};

static int key_compare(const struct key *k, int64_t app_id, const char *service)
{
	if (k->app_id != app_id)
		return k->app_id < app_id ? -1 : 1;
	if (!k->service || !service)
		return (k->service ? 1 : 0) - (service ? 1 : 0);
	return strcmp(k->service, service);
}

/* Index of the key, or where it would be. */
static size_t key_position(const struct keys *k, int64_t app_id, const char *service, bool *found)
{
	size_t low = 0, high = k->n;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = key_compare(&k->v[mid], app_id, service);

		*found |= order == 0;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* `text` is handed over; NULL: a new key. */
static void key_insert(struct keys *k, size_t at, int64_t app_id, const char *service, char *text)
{
	if (!text) {
		text = mem_new(KEY_LENGTH + 1, 1);
		str_random_hex(text, KEY_LENGTH / 2);
	}
	mem_reserve(&k->v, &k->capacity, k->n + 1, sizeof(k->v[0]));
	memmove(&k->v[at + 1], &k->v[at], (k->n - at) * sizeof(k->v[0]));
	k->n++;
	k->v[at] = (struct key){.app_id = app_id, .service = mem_strdup(service), .text = text};
}

static void keys_write(const struct keys *k, struct buf *out)
{
	struct json_writer *w = json_writer_new(out);

	json_open_object(w);
	json_kv_i64(w, "schema", SCHEMA);
	json_key(w, "keys");
	json_open_array(w);
	for (size_t i = 0; i < k->n; i++) {
		json_open_object(w);
		json_kv_i64(w, "appId", k->v[i].app_id);
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): keys_prune_app() moved the kept ones over the freed */
		json_kv_str(w, "service", k->v[i].service);
		json_kv_str(w, "key", k->v[i].text);
		json_close_object(w);
	}
	json_close_array(w);
	json_close_object(w);
	json_writer_free(w);
}

static void key_deinit(struct key *key)
{
	free(key->service);
	free(key->text);
}

static void keys_destroy(struct keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		key_deinit(&k->v[i]);
	free(k->v);
	free(k);
}

static void on_saved(void *ctx, const struct err *err);

static void save_now(struct keys *k)
{
	struct buf text;

	buf_init(&text, STORE_FILE_MAX_BYTES);
	keys_write(k, &text);
	k->is_saving = true;
	k->is_dirty = false;
	store_save(k->store, "keys", text.data, text.len, on_saved, k);
	buf_deinit(&text);
}

static void on_saved(void *ctx, const struct err *err)
{
	struct keys *k = ctx;

	if (err) /* the keys in memory stay good; the next change tries again */
		log_error("store_failed", kv_str("name", "keys"), kv_str("err", err->msg));
	k->is_saving = false;
	if (k->is_dirty)
		save_now(k);
	else if (k->is_freed)
		keys_destroy(k);
}

static void keys_changed(struct keys *k)
{
	k->is_dirty = true;
	if (!k->is_saving)
		save_now(k);
}

static bool is_key_text(const char *s)
{
	return s && strlen(s) == KEY_LENGTH && strspn(s, "0123456789abcdef") == KEY_LENGTH;
}

/* One entry of the file; one that makes no sense is left out, and its service gets a new key. */
static void key_read(struct keys *k, const struct json *v)
{
	const char *service = json_str(json_get(v, "service")), *text = json_str(json_get(v, "key"));
	int64_t app_id;
	bool found;
	size_t at;

	if (!json_i64(json_get(v, "appId"), &app_id) || app_id < 0 || !is_key_text(text) || (!service && app_id != 0))
		return;
	at = key_position(k, app_id, service, &found);
	if (!found)
		key_insert(k, at, app_id, service, mem_strdup(text));
}

static int keys_read(struct keys *k, struct err *err)
{
	struct json *root = NULL;
	const struct json *list;
	int rc = store_load(k->store, "keys", SCHEMA, &root, err);

	if (rc == -ENOENT)
		*err = (struct err){0};
	if (rc == -ENOENT || rc == -EBADMSG)
		return 0;
	if (rc < 0)
		return rc;
	list = json_get(root, "keys");
	for (size_t i = 0; i < json_size(list); i++)
		key_read(k, json_at(list, i));
	json_free(root);
	return 0;
}

int keys_open(struct store *s, struct keys **out, struct err *err)
{
	struct keys *k = mem_new(1, sizeof(*k));
	bool found;
	size_t at;

	k->store = s;
	if (keys_read(k, err) < 0)
		goto failed;
	at = key_position(k, 0, NULL, &found);
	if (!found)
		key_insert(k, at, 0, NULL, NULL);
	if (store_write_plain(s, "api-key", keys_global(k), err) < 0)
		goto failed;
	if (!found)
		keys_changed(k);
	*out = k;
	return 0;
failed:
	keys_destroy(k);
	return err->code;
}

void keys_free(struct keys *k)
{
	if (!k)
		return;
	if (k->is_saving)
		k->is_freed = true; /* on_saved() saves what is still to be saved, and is the last to need it */
	else
		keys_destroy(k);
}

const char *keys_global(const struct keys *k)
{
	return k->v[0].text;
}

const char *keys_for_service(struct keys *k, int64_t app_id, const char *service)
{
	bool found;
	size_t at = key_position(k, app_id, service, &found);

	if (!found) {
		key_insert(k, at, app_id, service, NULL);
		keys_changed(k);
	}
	return k->v[at].text;
}

const char *keys_find_service(const struct keys *k, int64_t app_id, const char *service)
{
	bool found;
	size_t at = key_position(k, app_id, service, &found);

	return found ? k->v[at].text : NULL;
}

static bool is_listed(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (str_eq(*list, name))
			return true;
	return false;
}

void keys_prune_app(struct keys *k, int64_t app_id, const char *const *keep)
{
	size_t kept = 0, before = k->n;

	for (size_t i = 0; i < before; i++) {
		if (k->v[i].app_id == app_id && k->v[i].service && !is_listed(keep, k->v[i].service))
			key_deinit(&k->v[i]);
		else
			k->v[kept++] = k->v[i];
	}
	k->n = kept;
	if (kept != before)
		keys_changed(k);
}

bool keys_check(const struct keys *k, const char *key, struct key_scope *out)
{
	const struct key *match = NULL;

	if (!key || strlen(key) != KEY_LENGTH)
		return false;
	for (size_t i = 0; i < k->n; i++)
		if (str_eq_constant_time(k->v[i].text, key))
			match = &k->v[i];
	if (!match)
		return false;
	*out = (struct key_scope){.global = !match->service, .app_id = match->app_id};
	return true;
}

bool key_scope_covers(const struct key_scope *s, int64_t app_id)
{
	return s->global || s->app_id == app_id;
}
