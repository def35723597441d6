// SPDX-License-Identifier: GPL-2.0-only
#include <blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blk.h"
#include "say.h"
#include "users.h"

static int check_free(const struct blk *b)
{
	struct users u = { 0 };
	int rc = users_find(b->dev, USERS_LOCAL, &u);

	if (rc)
		rc = say(FC_FAILED, "%s %s: cannot find out who uses it: %s", b->label, b->path,
			 strerror(-rc));
	else if (u.n)
		rc = say(FC_REFUSED, "%s %s is in use: %s; %s", b->label, b->path, u.v[0].what,
			 u.v[0].way_out);
	users_free(&u);
	return rc;
}

static int open_excl(struct blk *b)
{
	int ro = 0;

	b->fd = open(b->path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (b->fd < 0 && errno == EBUSY)
		return say(FC_REFUSED,
			   "%s %s is in use by the kernel (RAID, LVM, swap, another target, or the device of another role); stop that first",
			   b->label,
			   b->path);
	if (b->fd < 0)
		return say(errno == EROFS || errno == EACCES ? FC_REFUSED : FC_FAILED,
			   "%s %s: cannot open for writing: %s", b->label, b->path,
			   strerror(errno));
	if (ioctl(b->fd, BLKROGET, &ro) || ro)
		return say(FC_REFUSED, "%s %s is read-only; 'blockdev --setrw' or another device",
			   b->label, b->path);
	if (ioctl(b->fd, BLKGETSIZE64, &b->bytes))
		return say(FC_FAILED, "%s %s: cannot read its size: %s", b->label, b->path,
			   strerror(errno));
	return FC_DONE;
}

int blk_open(struct blk *b, const char *label, const char *path)
{
	struct stat st;
	int rc;

	*b = (struct blk){ .label = label, .fd = -1 };
	snprintf(b->path, sizeof(b->path), "%s", path);
	if (stat(path, &st))
		return say(FC_REFUSED, "%s %s: %s; name an existing block device", label, path,
			   strerror(errno));
	if (!S_ISBLK(st.st_mode))
		return say(FC_REFUSED,
			   "%s %s is not a block device; for a file, make a loop device with losetup",
			   label, path);
	b->dev = st.st_rdev;
	rc = check_free(b);
	if (!rc)
		rc = open_excl(b);
	if (rc)
		blk_close(b);
	return rc;
}

void blk_close(struct blk *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}

/* --- content --- */

static blkid_probe probe(int fd)
{
	blkid_probe pr = blkid_new_probe();

	if (!pr)
		return NULL;
	if (blkid_probe_set_device(pr, fd, 0, 0)) {
		blkid_free_probe(pr);
		return NULL;
	}
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_DEFAULT | BLKID_SUBLKS_USAGE |
					  BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_MAGIC);
	return pr;
}

static const char *value(blkid_probe pr, const char *key)
{
	const char *v;

	return blkid_probe_lookup_value(pr, key, &v, NULL) ? NULL : v;
}

int blk_content(int fd, char *text, size_t len)
{
	blkid_probe pr = probe(fd);
	const char *type, *uuid, *fs_label;
	int rc;

	snprintf(text, len, "libblkid failed");
	if (!pr)
		return -1;
	rc = blkid_do_safeprobe(pr);
	if (rc == -2) {
		snprintf(text, len, "signatures of several kinds at once");
		rc = 1;
	} else if (rc == 1) {
		rc = 0;		/* nothing found */
	} else if (!rc) {
		type = value(pr, "TYPE");
		uuid = value(pr, "UUID");
		fs_label = value(pr, "LABEL");
		if (!type)
			snprintf(text, len, "a %s partition table", value(pr, "PTTYPE") ?: "?");
		else
			snprintf(text, len, "%s%s%s%s%s%s", type, fs_label ? ", label \"" : "",
				 fs_label ?: "", fs_label ? "\"" : "", uuid ? ", UUID " : "",
				 uuid ?: "");
		rc = 1;
	}
	blkid_free_probe(pr);
	return rc;
}

bool blk_value(int fd, const char *key, char *out, size_t len)
{
	blkid_probe pr = probe(fd);
	const char *v = NULL;

	if (!pr)
		return false;
	if (!blkid_do_safeprobe(pr))
		v = value(pr, key);
	if (v)
		snprintf(out, len, "%s", v);
	blkid_free_probe(pr);
	return v;
}

int blk_wipe_signatures(struct blk *b)
{
	blkid_probe pr = probe(b->fd);
	int rc = pr ? FC_DONE : FC_FAILED;

	while (!rc && !blkid_do_probe(pr))
		if (blkid_do_wipe(pr, 0))
			rc = FC_FAILED;
	if (rc)
		say(FC_FAILED, "%s %s: cannot erase what is on it: %s", b->label, b->path,
		    strerror(errno));
	if (pr)
		blkid_free_probe(pr);
	return rc;
}

int blk_zero(struct blk *b, uint64_t bytes)
{
	uint64_t range[2] = { 0, bytes < b->bytes ? bytes : b->bytes };

	range[1] &= ~511ULL;
	if (ioctl(b->fd, BLKZEROOUT, range) || fsync(b->fd))
		return say(FC_FAILED, "%s %s: cannot write zeroes to the first %llu bytes: %s",
			   b->label, b->path, (unsigned long long)range[1], strerror(errno));
	return FC_DONE;
}

/* --- names --- */

void blk_announce(dev_t dev)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/uevent", major(dev), minor(dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* no udev, no rules to apply: nothing is lost when this fails */
	if (write(fd, "change", 6) != 6)
		note("freezectl: %s: %s; udev keeps its old view of the device", path,
		     strerror(errno));
	close(fd);
}

static bool leads_to(const char *path, dev_t dev)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode) && st.st_rdev == dev;
}

static int is_identity(const struct dirent *d)
{
	/* names that follow the content of a device, or say nothing */
	static const char *const no[] = { ".", "dm-", "lvm-pv-uuid-" };

	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		if (!strncmp(d->d_name, no[i], strlen(no[i])))
			return 0;
	return 1;
}

static bool find_link(const char *dir, dev_t dev, char out[PATH_MAX])
{
	struct dirent **list;
	bool found = false;
	int n = scandir(dir, &list, is_identity, alphasort);

	for (int i = 0; i < n; i++) {
		if (!found) {
			snprintf(out, PATH_MAX, "%s/%s", dir, list[i]->d_name);
			found = leads_to(out, dev);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return found;
}

static bool find_mapper(dev_t dev, char out[PATH_MAX])
{
	char path[64], name[NAME_MAX];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/dm/name", major(dev), minor(dev));
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fscanf(f, "%200s", name) == 1;
	fclose(f);
	snprintf(out, PATH_MAX, "/dev/mapper/%s", name);
	return ok && leads_to(out, dev);
}

void blk_stable_path(const char *path, dev_t dev, char out[PATH_MAX])
{
	struct stat st;

	/* a symbolic link (by-id, /dev/VG/LV, /dev/mapper/X) was made to be stable */
	if (*path == '/' && !lstat(path, &st) && S_ISLNK(st.st_mode))
		snprintf(out, PATH_MAX, "%s", path);
	else if (!find_mapper(dev, out) && !find_link("/dev/disk/by-id", dev, out) &&
		 !find_link("/dev/disk/by-path", dev, out) && !realpath(path, out))
		snprintf(out, PATH_MAX, "%s", path);
}

const char *blk_kernel_name(dev_t dev, char *buf, size_t len)
{
	char link[64], target[PATH_MAX], mapper[PATH_MAX];
	const char *base;
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0) {
		snprintf(buf, len, "%u:%u", major(dev), minor(dev));
		return buf;
	}
	target[n] = '\0';
	base = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
	if (find_mapper(dev, mapper))
		snprintf(buf, len, "%s (%s)", base, mapper);
	else
		snprintf(buf, len, "%s", base);
	return buf;
}
