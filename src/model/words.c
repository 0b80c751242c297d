/*
 * A command line into words, as a shell splits it, without expanding anything: what the document says is what the
 * program gets. A "#" starts a comment at the start of a word only (spec engine.md 1.3, trap T13).
 */
#include <string.h>

#include "model/parse.h"
#include "util/buf.h"
#include "util/mem.h"

static bool is_space(char c)
{
	return c && strchr(" \t\n\r", c);
}

/* Length of the operator at `s`, 0 if there is none: operators are words of their own. */
static size_t operator_at(const char *s)
{
	static const char *const operators[] = {"||", "&&", ";;", "|&", "<(", "<<<", ">>", ">&",
						"<&", "&",  ";",  "(",  ")",  "|",   "<",  ">"};

	for (size_t i = 0; i < ARRAY_LEN(operators); i++)
		if (str_starts(s, operators[i]))
			return strlen(operators[i]);
	return 0;
}

/* A quoted part; *s stands on the quote, then behind the closing one. False: there is no closing one. */
static bool take_quoted(const char **s, struct buf *word)
{
	char quote = *(*s)++;

	for (; **s && **s != quote; (*s)++) {
		if (quote == '"' && **s == '\\' && (*s)[1] && strchr("\"\\$", (*s)[1]))
			(*s)++;
		buf_add(word, *s, 1);
	}
	if (!**s)
		return false;
	(*s)++;
	return true;
}

static bool take_word(const char **s, struct buf *word)
{
	while (**s && !is_space(**s) && !operator_at(*s)) {
		if (**s == '\'' || **s == '"') {
			if (!take_quoted(s, word))
				return false;
			continue;
		}
		if (**s == '\\' && (*s)[1])
			(*s)++;
		if (**s == '$' && (*s)[1] == '{') { /* kept as it is, with what is in the braces */
			size_t n = strcspn(*s, "}");

			if ((*s)[n]) {
				buf_add(word, *s, n);
				*s += n;
			}
		}
		buf_add(word, (*s)++, 1);
	}
	return true;
}

bool words_split(const char *text, struct strv *out)
{
	struct buf word;
	bool fine = true;

	buf_init(&word, TARGET_MAX_BYTES);
	while (fine && *text) {
		size_t n = operator_at(text);

		if (is_space(*text)) {
			text++;
		} else if (*text == '#') {
			text += strcspn(text, "\n");
		} else if (n) {
			strv_take(out, mem_strndup(text, n));
			text += n;
		} else {
			fine = take_word(&text, &word);
			strv_add(out, buf_str(&word));
			buf_clear(&word);
		}
	}
	buf_deinit(&word);
	return fine;
}
