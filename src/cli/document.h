/* A target document named on the command line. */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include "util/buf.h"

/* Reads all of `path` ("-": standard input) into `to`, which is initialised here. 0, or CLI_FAILED after a sentence. */
int document_read(const char *command, const char *path, struct buf *to);

#endif
