// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>

#include "say.h"
#include "verbs.h"
#include "volume.h"

static const struct option options[] = { { 0 } };

static int run(int argc, char **argv)
{
	struct dmdev d;
	const char *name;
	int rc;

	if (getopt_long(argc, argv, "", options, NULL) != -1)
		return say_usage("stop", NULL);
	name = only_argument(argc, argv);
	if (!name || !parse_name(name))
		return say_usage("stop", "expected the NAME of one volume");
	if (conf_exists(name) && dmdev_find(name, &d) == -ENODEV) {
		note("%s is not running", name);
		return FC_DONE;
	}
	rc = volume_find(name, &d);
	return rc ? rc : volume_stop(&d);
}

const struct verb verb_stop = {
	.name = "stop",
	.args = "NAME",
	.summary = "stop a volume in order; a freeze that runs goes on after the next start",
	.help =
	"Flushes and removes the device. Refused while it is mounted or open, naming who.\n"
	"\n"
	"Example:\n"
	"  umount /srv/db && freezectl stop db",
	.run = run,
};
