/* `lockkeeper lock`: holds this service's update lock while a command runs. All of it is in hold.c, which needs libc
 * alone. */
#include "cli/cli.h"

#include "cli/hold.h"

int cli_lock(int argc, char **argv)
{
	return hold_main("lockkeeper lock", NULL, argc, argv);
}
