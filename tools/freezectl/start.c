// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "say.h"
#include "timer.h"
#include "verbs.h"
#include "volume.h"

#define POLL_USEC	200000

static const struct option options[] = {
	{ "take-all-changed", no_argument, NULL, 't' },
	{ "wait-devices", required_argument, NULL, 'w' },
	{ 0 }
};

/* At boot disks turn up when they like.  Which one never did is said by volume_open(). */
static void wait_devices(const struct conf *c, uint32_t ms)
{
	uint64_t deadline = now_ms() + ms;

	for (int i = 0; i < role_devices(c->role); i++)
		while (access(c->device[i], F_OK) && ms_left(deadline, 1))
			usleep(POLL_USEC);
}

static int check_running(const struct conf *c, bool *running)
{
	struct dmdev d;
	int rc = dmdev_find(c->name, &d);

	*running = !rc;
	if (rc)		/* what is wrong, if it is not just that there is none */
		return rc == -ENODEV ? FC_DONE : volume_find(c->name, &d);
	if (strcmp(d.uuid + (d.ours ? strlen(DMDEV_UUID_PREFIX) : 0), c->uuid))
		return say(FC_REFUSED,
			   "%s: a device-mapper device of that name has uuid '%s', expected %s%s; stop that one first",
			   c->name, d.uuid, DMDEV_UUID_PREFIX, c->uuid);
	note("%s runs already", c->name);
	return FC_DONE;
}

static int run(int argc, char **argv)
{
	static struct volume v;
	const char *name, *once = NULL;
	uint32_t wait_ms = 0;
	bool running;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 't')
			once = "take_all_changed yes";
		else if (opt != 'w')
			return say_usage("start", NULL);
		else if (!parse_seconds(optarg, &wait_ms))
			return say_usage("start", "--wait-devices %s: expected seconds", optarg);
	}
	name = only_argument(argc, argv);
	if (!name || !parse_name(name))
		return say_usage("start", "expected the NAME of one volume");
	rc = conf_read(name, &v.conf);
	if (rc)
		return rc;
	wait_devices(&v.conf, wait_ms);
	rc = conf_lock();
	if (!rc)	/* while that took its time it may have been removed, or made anew */
		rc = conf_read(name, &v.conf);
	if (!rc)
		rc = check_running(&v.conf, &running);
	if (rc || running)
		return rc;
	rc = volume_open(&v);
	return rc ? rc : volume_start(&v, once);
}

const struct verb verb_start = {
	.name = "start",
	.args = "NAME [--wait-devices S] [--take-all-changed]",
	.summary = "start a volume from its conf",
	.help =
	"Reads NAME.conf, checks that nobody uses the devices, loads the table. A volume\n"
	"that runs is left as it is.\n"
	"\n"
	"  --wait-devices S     wait so many seconds for devices that are missing\n"
	"  --take-all-changed   when somebody wrote to the backing device meanwhile: go on,\n"
	"                       and take every block as changed\n"
	"\n"
	"Example:\n"
	"  freezectl start db",
	.run = run,
};
