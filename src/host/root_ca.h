/* Certificates of authorities that the owner of a device adds to those in the image. */
#ifndef HOST_ROOT_CA_H
#define HOST_ROOT_CA_H

struct err;
struct strv;

#define ROOT_CA_TEXT_MAX 65536UL   /* the text of BALENA_ROOT_CA */
#define ROOT_CA_FILE_MAX 1048576UL /* the file that NODE_EXTRA_CA_CERTS names */
#define ROOT_CA_BASE_MAX 4194304UL /* the bundle they are added to */
#define ROOT_CA_BUNDLE   "ca-bundle.pem"

struct root_ca_request {
	const char *text;      /* BALENA_ROOT_CA: PEM, or base64 of it; NULL: none */
	const char *file;      /* NODE_EXTRA_CA_CERTS: a path here, else below host_root; NULL: none */
	const char *base;      /* the bundle they are added to */
	const char *host_root; /* "" is our own root */
	const char *state_dir; /* the new bundle goes here, as ROOT_CA_BUNDLE; made if it is missing */
};

/*
 * Make a bundle of all of them, replaced at once, and only if it would change. A certificate that is broken or cannot be
 * read is left out, with a sentence in `problems`.
 * Returns 1 and the bundle's path (to be freed), 0 there is nothing to add, or negative errno: it cannot be written.
 */
int root_ca_bundle(const struct root_ca_request *r, char **path, struct strv *problems, struct err *err);

#endif
