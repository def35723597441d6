// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hidden verb that 62-freezecopy.rules calls: is this device one of those
 * that a conf names?  It prints FREEZECOPY_BACKING=NAME if so, and as
 * FREEZECOPY_LINKS the links that it may keep.  A device has no links yet when
 * its first event is handled, so udev gives those that it is about to make.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "conf.h"
#include "say.h"
#include "verbs.h"

struct suspect {
	dev_t dev;
	dev_t disk;		/* whose partition it is, else 0 */
	char **link;		/* relative to /dev, NULL at the end */
};

static dev_t whole_disk(dev_t dev)
{
	unsigned int maj = 0, min = 0;
	char path[80];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(dev), minor(dev));
	f = fopen(path, "re");
	if (!f)
		return 0;
	fclose(f);
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(dev), minor(dev));
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%u:%u", &maj, &min) != 2)
		maj = 0;
	fclose(f);
	return maj ? makedev(maj, min) : 0;
}

static bool is_named(const char *path, const struct suspect *s)
{
	struct stat st;

	for (char **link = s->link; *link; link++)
		if (!strncmp(path, "/dev/", 5) && !strcmp(path + 5, *link))
			return true;
	return !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       (st.st_rdev == s->dev || (s->disk && st.st_rdev == s->disk));
}

/* Those that follow from the content go: it is the volume's, not the device's. */
static void print_links(char **link)
{
	fputs("FREEZECOPY_LINKS=", stdout);
	for (; *link; link++)
		if (strncmp(*link, "disk/by-uuid/", 13) && strncmp(*link, "disk/by-label/", 14))
			printf("%s ", *link);
	putchar('\n');
}

static int check(const struct conf *c, void *arg)
{
	for (int i = 0; i < role_devices(c->role); i++) {
		if (!is_named(c->device[i], arg))
			continue;
		printf("FREEZECOPY_BACKING=%s\nFREEZECOPY_DEVICE=%s\n", c->name,
		       device_name(c->role, i));
		return 1;
	}
	return 0;
}

static int run(int argc, char **argv)
{
	struct suspect s;
	struct stat st;

	if (argc < 2)
		return say_usage("udev-probe", "expected a device node, or -");
	if (!strcmp(argv[1], "-")) {
		print_links(argv + 2);
		return FC_DONE;
	}
	if (stat(argv[1], &st) || !S_ISBLK(st.st_mode))
		return FC_FAILED;
	s = (struct suspect){ .dev = st.st_rdev, .disk = whole_disk(st.st_rdev),
			      .link = argv + 2 };
	if (!conf_each(CONF_SKIP, check, &s))
		return FC_FAILED;
	print_links(s.link);
	return FC_DONE;
}

const struct verb verb_udev_probe = {
	.name = "udev-probe",
	.args = "DEVNODE|- [LINK]...",
	.help = "For 62-freezecopy.rules: prints FREEZECOPY_BACKING=NAME when DEVNODE, or the\n"
		"disk it is a partition of, is a device of the volume NAME; else exits 1.\n"
		"Prints the links that do not follow from the content.",
	.run = run,
};
