/*
 * The log: one event a line on standard output, with typed fields, as text or JSON (docs: interface "Log lines").
 * Event names are stable, past-tense snake_case. Secrets have no key.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum kv_type { KV_END, KV_SKIP, KV_STR, KV_I64, KV_BOOL, KV_TIME, KV_US };
struct kv {
	const char *key;
	enum kv_type type;
	const char *str; /* borrowed */
	int64_t num;
};

static inline struct kv kv_str(const char *key, const char *value) /* NULL: the field is left out */
{
	return (struct kv){.key = key, .type = value ? KV_STR : KV_SKIP, .str = value};
}
static inline struct kv kv_i64(const char *key, int64_t value)
{
	return (struct kv){.key = key, .type = KV_I64, .num = value};
}
static inline struct kv kv_bool(const char *key, bool value)
{
	return (struct kv){.key = key, .type = KV_BOOL, .num = value};
}
static inline struct kv kv_time(const char *key, int64_t unix_ms) /* 0: the field is left out */
{
	return (struct kv){.key = key, .type = unix_ms ? KV_TIME : KV_SKIP, .num = unix_ms};
}

/* A duration in microseconds; written in milliseconds with three decimals, so its key ends in _ms as any duration's. */
static inline struct kv kv_us(const char *key, int64_t us)
{
	return (struct kv){.key = key, .type = KV_US, .num = us};
}

/* Before the first line; the default is info, text, standard output. `fd` is borrowed; writing to
 * a pipe or socket never blocks: what a slow reader does not take is dropped and counted. */
void log_setup(enum log_level level, enum log_format format, int fd);
bool log_enabled(enum log_level level);
bool log_level_parse(const char *name, enum log_level *out);
bool log_format_parse(const char *name, enum log_format *out);
/* One line, written with one write(2). `fields` ends with KV_END. Long values are cut at 4 KiB. */
void log_write(enum log_level level, const char *event, const struct kv *fields);

/*
 * Between the two, lines are kept and then written at once: what they tell of need not wait for their way out. Pairs
 * may be nested; much text (256 KiB) is written before its time.
 */
void log_hold(void);
void log_release(void);

#define LOG_AT(level, event, ...)                                                                                      \
	do {                                                                                                           \
		if (log_enabled(level))                                                                                \
			log_write(level, event, (const struct kv[]){__VA_ARGS__ __VA_OPT__(, ){.type = KV_END}});      \
	} while (0)
#define log_error(event, ...) LOG_AT(LOG_LEVEL_ERROR, event __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(event, ...)  LOG_AT(LOG_LEVEL_WARN, event __VA_OPT__(, ) __VA_ARGS__)
#define log_info(event, ...)  LOG_AT(LOG_LEVEL_INFO, event __VA_OPT__(, ) __VA_ARGS__)
#define log_debug(event, ...) LOG_AT(LOG_LEVEL_DEBUG, event __VA_OPT__(, ) __VA_ARGS__)

#endif
