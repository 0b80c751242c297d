/* Certificates as text (RFC 7468), checked as far as one can without a cryptographic library. */
#ifndef HOST_PEM_H
#define HOST_PEM_H

#include <stddef.h>

struct buf;
struct err;

/*
 * Append every certificate in `text` to `out`, each as one clean block of lines; text between blocks is left out. All of
 * it may be in base64 once more, and line breaks may have become blanks on the way. Returns how many there are (at least
 * 1), or negative errno: -EINVAL, one is broken or there is none, and `out` is as it was; -E2BIG, `out` has no room.
 */
int pem_add_certificates(const char *text, struct buf *out, struct err *err);

#endif
