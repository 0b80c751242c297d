/*
 * One error: a code for the program and a sentence for the person. It lives on the caller's stack, is filled where
 * something failed and gains context on its way up. Code 0 means "unused".
 */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

struct err {
	int code;      /* negative errno; 0 while unused */
	char msg[480]; /* an engine's sentence about a port has 300 */
};

/* Fill `err` with `code` (negative errno) and a sentence. Returns `code`, so that a failing function can return it. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set() with -errno, and the system's own words appended: "<sentence>: No such file or directory". */
int err_sys(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put context in front: "<context>: <what was there>". Keeps and returns the code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
