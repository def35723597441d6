// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blk.h"
#include "ctl.h"
#include "parse.h"
#include "progress.h"
#include "timer.h"
#include "verbs.h"
#include "volume.h"

#define TRIES		10
#define RETRY_USEC	200000

static const struct option options[] = {
	{ "force", no_argument, NULL, 'f' },
	{ "give-up", no_argument, NULL, 'g' },
	{ "no-wait", no_argument, NULL, 'n' },
	{ 0 }
};

static const struct ctl_hint hints[] = {
	{ ENODATA, FC_REFUSED, "'freezectl freeze' on the primary makes one" },
	{ EISCONN, FC_REFUSED,
		"stop the primary, or recover --force to leave behind what it sends from now on" },
	{ EBUSY, FC_REFUSED, "close what has the device open, or recover --force" },
	{ EALREADY, FC_REFUSED, "'freezectl wait NAME merged' returns when it can be written" },
	{ EOPNOTSUPP, FC_REFUSED, "call this on the other side" },
	{ 0 }
};

/* Options that mount a file system without its UUID in the way, and without writing. */
static const struct {
	const char *type, *rw, *ro;
} mounts[] = {
	{ "xfs", " -o nouuid", "ro,norecovery,nouuid" },
	{ "ext4", "", "ro,noload" },
	{ "ext3", "", "ro,noload" },
	{ "ext2", "", "ro" },
	{ "btrfs", "", "ro,rescue=nologreplay" },
};

static void print_mount(const char *path, const char *type, bool read_only)
{
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		if (strcmp(mounts[i].type, type))
			continue;
		if (read_only)
			printf("mount -t %s -o %s %s /mnt\n", type, mounts[i].ro, path);
		else
			printf("mount -t %s%s %s /mnt\n", type, mounts[i].rw, path);
		return;
	}
	printf("mount -t %s%s %s /mnt\n", type, read_only ? " -o ro" : "", path);
}

/* What the user most likely does next. */
static void print_next(const char *name, bool read_only)
{
	char path[160], type[64] = "", usage[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		note("freezectl: %s: %s", path, strerror(errno));
		return;
	}
	blk_value(fd, "TYPE", type, sizeof(type));
	blk_value(fd, "USAGE", usage, sizeof(usage));
	if (!strcmp(usage, "filesystem"))
		print_mount(path, type, read_only);
	else if (!strcmp(type, "LVM2_member"))
		printf("vgchange -ay --devices %s   # 'pvs' names the volume group\n", path);
	else if (!strcmp(type, "crypto_LUKS"))
		printf("cryptsetup open%s %s %s-plain\n", read_only ? " --readonly" : "", path,
		       name);
	else
		note("%s: no file system known to libblkid on it (%s)", path,
		     *type ? type : "nothing found");
	fflush(stdout);
	close(fd);
}

static int recover(const struct dmdev *d, uint32_t flags, bool wait)
{
	struct fzc_recover r = { .flags = flags };
	int rc = -EBUSY;

	for (int i = 0; i < TRIES && rc == -EBUSY; i++) {
		if (i)
			usleep(RETRY_USEC);	/* udev may be looking at it in passing */
		rc = CTL(FZC_IOC_RECOVER, &r, d->dev);
	}
	if (rc == -EBUSY)
		volume_check_unused(d, true);
	if (rc)
		return ctl_explain(d->name, &r.head, rc, hints);
	note("%s is image %llu, readable now:", d->name, (unsigned long long)r.number);
	print_next(d->name, true);
	if (!wait)
		return FC_DONE;
	rc = progress_wait(d->name, d->dev, FZC_WAIT_MERGED, 0, NEVER);
	if (rc)
		return rc;
	blk_announce(d->dev);	/* it was hidden from others up to now */
	note("%s is merged and writable:", d->name);
	print_next(d->name, false);
	return FC_DONE;
}

static int run(int argc, char **argv)
{
	uint32_t flags = 0;
	bool wait = true;
	const char *name;
	struct dmdev d;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'f')
			flags |= FZC_RECOVER_FORCE;
		else if (opt == 'g')
			flags |= FZC_RECOVER_GIVE_UP;
		else if (opt == 'n')
			wait = false;
		else
			return say_usage("recover", NULL);
	}
	name = only_argument(argc, argv);
	if (!name)
		return say_usage("recover", "expected the NAME of one volume");
	rc = volume_find(name, &d);
	return rc ? rc : recover(&d, flags, wait);
}

const struct verb verb_recover = {
	.name = "recover",
	.args = "NAME [--force] [--give-up] [--no-wait]",
	.summary = "make a secondary usable as its last committed image",
	.help =
	"On the secondary, when the primary is gone. The device can be read at once, and\n"
	"written when the image is merged, which is waited for. The lines on stdout mount\n"
	"what was found on it, first read-only, then for good.\n"
	"\n"
	"  --force     although the primary is connected or the device is open\n"
	"  --give-up   if it is recovered: give up blocks that its merge could not read for\n"
	"              30 seconds; they read as EIO from then on\n"
	"  --no-wait   return as soon as it is readable\n"
	"\n"
	"Afterwards the old primary is refused. Until failback exists, start over with\n"
	"'freezectl remove --wipe' and 'freezectl create' on both sides.\n"
	"\n"
	"Example:\n"
	"  freezectl recover db && mount -o nouuid /dev/mapper/db /srv/db",
	.run = run,
};
