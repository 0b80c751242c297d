/* `update-lock`: `lockkeeper lock` as a small static program, for the images of applications. */
#include "cli/hold.h"

int main(int argc, char **argv)
{
	return hold_main("update-lock", LOCKKEEPER_VERSION, argc, argv);
}
