// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blk.h"
#include "dmdev.h"
#include "users.h"

#define TRIES		6
#define RETRY_USEC	200000
#define MAX_DEVICES	1024

/* The device asked for and what is built upon it. */
struct walk {
	enum users_depth depth;
	struct users *u;
	dev_t dev[MAX_DEVICES];
	size_t n;
};

void users_free(struct users *u)
{
	for (size_t i = 0; i < u->n; i++) {
		free(u->v[i].path);
		free(u->v[i].type);
		free(u->v[i].what);
	}
	free(u->v);
	*u = (struct users){ 0 };
}

static struct user *add(struct users *u, enum user_kind kind, dev_t dev, const char *way_out,
			const char *fmt, ...)
{
	struct user *v = reallocarray(u->v, u->n + 1, sizeof(*v));
	va_list ap;
	int n;

	if (!v)
		return NULL;
	u->v = v;
	v += u->n;
	*v = (struct user){ .kind = kind, .dev = dev, .way_out = way_out };
	va_start(ap, fmt);
	n = vasprintf(&v->what, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	u->n++;
	return v;
}

static bool known(const struct walk *w, dev_t dev)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->dev[i] == dev)
			return true;
	return false;
}

/* --- devices above --- */

static bool read_dev(const char *dir, const char *entry, dev_t *dev)
{
	unsigned int maj, min;
	char path[PATH_MAX];
	bool ok;
	FILE *f;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s/dev", dir, entry) >= sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fscanf(f, "%u:%u", &maj, &min) == 2;
	fclose(f);
	*dev = ok ? makedev(maj, min) : 0;
	return ok;
}

static bool is_partition(const char *dir, const char *entry)
{
	char path[PATH_MAX];

	return (size_t)snprintf(path, sizeof(path), "%s/%s/partition", dir, entry) <
	       sizeof(path) && !access(path, F_OK);
}

static int visit(struct walk *w, dev_t dev)
{
	if (known(w, dev))
		return 0;
	if (w->n == MAX_DEVICES)
		return -E2BIG;
	w->dev[w->n++] = dev;
	return 0;
}

static int find_holders(struct walk *w, dev_t dev)
{
	char dir[64], name[PATH_MAX];
	struct dirent *e;
	dev_t above;
	int rc = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!rc && (e = readdir(d))) {
		if (*e->d_name == '.' || !read_dev(dir, e->d_name, &above))
			continue;
		if (!add(w->u, USER_HOLDER, dev,
			 "stop it first (vgchange -an, cryptsetup close, mdadm --stop, dmsetup remove)",
			 "%s is built on it",
			 blk_kernel_name(above, name, sizeof(name))))
			rc = -ENOMEM;
		else if (w->depth == USERS_ALL)
			rc = visit(w, above);
	}
	closedir(d);
	return rc;
}

static int find_partitions(struct walk *w, dev_t dev)
{
	struct dirent *e;
	char dir[64];
	dev_t part;
	int rc = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!rc && (e = readdir(d)))
		if (is_partition(dir, e->d_name) && read_dev(dir, e->d_name, &part))
			rc = visit(w, part);
	closedir(d);
	return rc;
}

/* --- mounts and swap --- */

static bool is_device(const char *path, dev_t dev)
{
	struct stat st;

	return path && *path == '/' && !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       st.st_rdev == dev;
}

static int add_mount(struct walk *w, struct libmnt_fs *fs)
{
	dev_t devno = mnt_fs_get_devno(fs);
	const char *target = mnt_fs_get_target(fs), *type = mnt_fs_get_fstype(fs);
	struct user *v;

	for (size_t i = 0; i < w->n; i++) {
		/* btrfs and others show a number of their own, and the device as the source */
		if (devno != w->dev[i] &&
		    (major(devno) || !is_device(mnt_fs_get_source(fs), w->dev[i])))
			continue;
		v = add(w->u, USER_MOUNT, w->dev[i], "unmount it first", "%s mounted on %s",
			type, target);
		if (!v)
			return -ENOMEM;
		v->fs_dev = devno;
		v->path = strdup(target);
		v->type = strdup(type);
		if (!v->path || !v->type)
			return -ENOMEM;
	}
	return 0;
}

static int find_mounts(struct walk *w)
{
	struct libmnt_table *tb = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	int rc = tb && it ? 0 : -EIO;

	while (!rc && !mnt_table_next_fs(tb, it, &fs))
		if (mnt_fs_get_target(fs) && mnt_fs_get_fstype(fs))
			rc = add_mount(w, fs);
	mnt_free_iter(it);
	mnt_unref_table(tb);
	return rc;
}

static int find_swap(struct walk *w)
{
	struct libmnt_table *tb = mnt_new_table();
	struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	int rc = tb && it ? 0 : -ENOMEM;

	if (!rc && !access("/proc/swaps", F_OK) && mnt_table_parse_swaps(tb, NULL))
		rc = -EIO;
	while (!rc && !mnt_table_next_fs(tb, it, &fs))
		for (size_t i = 0; i < w->n && !rc; i++)
			if (is_device(mnt_fs_get_source(fs), w->dev[i]) &&
			    !add(w->u, USER_SWAP, w->dev[i], "swapoff it first", "swap on %s",
				 mnt_fs_get_source(fs)))
				rc = -ENOMEM;
	mnt_free_iter(it);
	mnt_unref_table(tb);
	return rc;
}

/* --- programs --- */

static bool opened_for_writing(const char *pid, const char *fd)
{
	char path[NAME_MAX], line[128];
	unsigned int flags = O_RDWR;	/* when in doubt */
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, fd);
	f = fopen(path, "re");
	if (!f)
		return true;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "flags: %o", &flags) == 1)
			break;
	fclose(f);
	return (flags & O_ACCMODE) != O_RDONLY;
}

static void program_name(const char *pid, char *name, int len)
{
	char path[64];
	FILE *f;

	snprintf(name, len, "?");
	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(name, len, f))
		name[strcspn(name, "\n")] = '\0';
	fclose(f);
}

static int add_program(struct walk *w, dev_t dev, const char *pid, const char *fd)
{
	bool writer = opened_for_writing(pid, fd);
	char comm[32], name[PATH_MAX];

	if (!writer && w->depth == USERS_LOCAL)
		return 0;
	program_name(pid, comm, sizeof(comm));
	return add(w->u, writer ? USER_WRITER : USER_READER, dev, "stop that program first",
		   "process %s (%s) has %s open", pid, comm,
		   blk_kernel_name(dev, name, sizeof(name))) ? 0 : -ENOMEM;
}

static int find_fds(struct walk *w, const char *pid)
{
	char dir[32], target[PATH_MAX];
	struct dirent *e;
	struct stat st;
	int rc = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%.20s/fd", pid);
	d = opendir(dir);
	if (!d)
		return 0;		/* it has gone meanwhile */
	while (!rc && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		/* stat() only what can be a device: a dead network file system would hang it */
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (!strstr(target, "/dev/") || fstatat(dirfd(d), e->d_name, &st, 0) ||
		    !S_ISBLK(st.st_mode))
			continue;
		if (known(w, st.st_rdev))
			rc = add_program(w, st.st_rdev, pid, e->d_name);
	}
	closedir(d);
	return rc;
}

static int find_programs(struct walk *w)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int rc = 0;

	if (!d)
		return -errno;
	while (!rc && (e = readdir(d)))
		if (*e->d_name >= '1' && *e->d_name <= '9' && atoi(e->d_name) != getpid())
			rc = find_fds(w, e->d_name);
	closedir(d);
	return rc;
}

/* --- whom the kernel counts and we do not see --- */

static int explained(const struct users *u, dev_t dev)
{
	int count = 0;

	for (size_t i = 0; i < u->n; i++) {
		bool again = false;	/* mounted twice is open once */

		for (size_t j = 0; j < i; j++)
			again |= u->v[i].kind == USER_MOUNT && u->v[j].kind == USER_MOUNT &&
				 u->v[i].dev == u->v[j].dev && u->v[i].fs_dev == u->v[j].fs_dev;
		if (u->v[i].dev == dev && !again)
			count += u->v[i].kind == USER_SWAP ? 2 : 1;	/* swapon opens twice */
	}
	return count;
}

static int find_unknown(struct walk *w)
{
	char name[PATH_MAX];
	struct dmdev d;

	for (size_t i = 0; i < w->n; i++) {
		if (dmdev_find_dev(w->dev[i], &d) || d.open_count <= explained(w->u, w->dev[i]))
			continue;
		if (!add(w->u, USER_UNKNOWN, w->dev[i],
			 "look for a loop device, an export (nbd, iSCSI) or a container",
			 "%s is open %d times, by something that is neither a mount here nor a program",
			 blk_kernel_name(w->dev[i], name, sizeof(name)), d.open_count))
			return -ENOMEM;
	}
	return 0;
}

static int find_once(dev_t dev, enum users_depth depth, struct users *u)
{
	struct walk w = { .depth = depth, .u = u };
	int rc = visit(&w, dev);

	for (size_t i = 0; i < w.n && !rc; i++) {
		rc = find_holders(&w, w.dev[i]);
		if (!rc)
			rc = find_partitions(&w, w.dev[i]);
	}
	if (!rc)
		rc = find_mounts(&w);
	if (!rc)
		rc = find_swap(&w);
	if (!rc)
		rc = find_programs(&w);
	if (!rc && depth == USERS_ALL)
		rc = find_unknown(&w);
	return rc;
}

int users_find(dev_t dev, enum users_depth depth, struct users *u)
{
	int rc;

	for (int i = 0; i < TRIES; i++) {
		users_free(u);
		rc = find_once(dev, depth, u);
		if (rc || !u->n || u->v[u->n - 1].kind != USER_UNKNOWN)
			break;
		usleep(RETRY_USEC);
	}
	return rc;
}
