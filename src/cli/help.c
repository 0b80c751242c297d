/* `lockkeeper --help` and `lockkeeper --version`. */
#include "cli/cli.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>

#include "loop/loop.h"
#include "net/http_client.h"
#include "net/http_pipe.h"
#include "util/json.h"
#include "util/version.h"

static const char help[] =
	"lockkeeper keeps the containers of a device at the state its owner asked for, and never stops a\n"
	"service whose application holds an update lock.\n"
	"\n"
	"  lockkeeper run    [options]           the supervisor: converges the engine to a target\n"
	"  lockkeeper check  FILE                validate a target document; every error with its path\n"
	"  lockkeeper status [--json] [--watch]  services, releases, what is going on, what is waited for\n"
	"  lockkeeper locks  [--json] [--watch]  who holds which update lock, since when\n"
	"  lockkeeper plan   [--json] [--watch] [FILE]\n"
	"                                        what would be done now (or for FILE), and why\n"
	"  lockkeeper update [--force] [--cancel] [--wait]\n"
	"                                        look for a new target now\n"
	"  lockkeeper lock   [--wait SECONDS] [--reason TEXT] [--flock] [--dir DIR] -- COMMAND [ARG...]\n"
	"                                        hold this service's update lock while COMMAND runs\n"
	"  lockkeeper health                     exit 0 if the supervisor is well (for a HEALTHCHECK)\n"
	"  lockkeeper --version [--verbose]      ours and the one that is reported; the libraries inside, too\n"
	"  lockkeeper --help                     and for each: lockkeeper COMMAND --help\n"
	"\n"
	"Quick start, on a machine with a Docker engine:\n"
	"  lockkeeper check target.json\n"
	"  lockkeeper run --target target.json &\n"
	"  lockkeeper status\n"
	"\n"
	"Exit code: 0 done, 1 it did not work, 2 bad usage, 3 no supervisor found, 75 an update lock is in\n"
	"the way; 'lock' exits as COMMAND does.\n";

void cli_print_help(void)
{
	fputs(help, stdout);
}

/* Each library by its own word; "OpenSSL/3.0.22" is written as the others are. */
static void print_libraries(void)
{
	struct http_client_versions v;
	const char *tls_version;

	http_client_versions(&v);
	tls_version = v.tls ? strchr(v.tls, '/') : NULL;
	printf("libuv: %s\n", loop_library_version());
	printf("llhttp: %s\n", http_parser_version());
	printf("yajl: %s\n", json_parser_version());
	if (v.source)
		printf("libcurl: %s (small, source %s)\n", v.curl, v.source);
	else
		printf("libcurl: %s (of the system)\n", v.curl);
	if (tls_version)
		printf("%.*s: %s\n", (int)(tls_version - v.tls), v.tls, tls_version + 1);
	printf("zlib: %s\n", v.zlib ? v.zlib : "none");
	if (v.resolver)
		printf("c-ares: %s\n", v.resolver);
	else
		printf("c-ares: none (names are looked up by libc, in a thread)\n");
	printf("libc: glibc %s\n", gnu_get_libc_version());
#ifdef __clang__
	printf("compiler: %s\n", __VERSION__);
#else
	printf("compiler: gcc %s\n", __VERSION__);
#endif
}

void cli_print_version(bool verbose)
{
	printf("lockkeeper " LOCKKEEPER_VERSION " (reports " LOCKKEEPER_API_VERSION ")\n");
	if (verbose)
		print_libraries();
}
