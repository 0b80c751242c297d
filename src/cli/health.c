/* `lockkeeper health`: for a container's HEALTHCHECK; says nothing while all is well. */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/args.h"
#include "cli/client.h"

static const char help[] =
	"lockkeeper health\n"
	"\n"
	"Asks the supervisor whether it is well (GET /v1/healthy, which needs no key). Prints nothing when it\n"
	"is. Made for a container's HEALTHCHECK; without an address in flags, environment or state directory\n"
	"it asks 127.0.0.1 at the port LISTEN_PORT, else 48484.\n"
	"\n" CLIENT_HELP "\n"
	"Exit code: 0 healthy, 1 not healthy, 2 bad usage, 3 no supervisor found.\n"
	"\n"
	"Example (Dockerfile):\n"
	"  HEALTHCHECK --interval=5m --start-period=1m --timeout=30s --retries=3 CMD [\"lockkeeper\", \"health\"]\n";

static int ask(struct client *c)
{
	struct client_answer a;
	int rc = client_call(c, "GET", "/v1/healthy", NULL, 0, &a);

	if (rc != 0)
		return client_unreachable(c);
	if (a.status == 500)
		fprintf(stderr, "lockkeeper health: the supervisor says that it is not healthy: see its log\n");
	else if (a.status != 200)
		client_refused(c, "/v1/healthy", &a);
	rc = a.status == 200 ? CLI_OK : CLI_FAILED;
	client_answer_deinit(&a);
	return rc;
}

int cli_health(int argc, char **argv)
{
	struct client_options o = {.command = "health", .health = true};
	const struct args_flag flags[] = {CLIENT_FLAGS(&o), {0}};
	const struct args_spec spec = {"health", help, flags, 0};
	struct client *c;
	int rc = args_parse(&spec, argc, argv, NULL, NULL);

	if (rc != 0)
		return rc < 0 ? CLI_OK : rc;
	rc = client_open(&o, &c);
	if (rc == 0)
		rc = ask(c);
	client_close(c);
	return rc;
}
