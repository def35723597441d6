/* SPDX-License-Identifier: GPL-2.0-only */
/* Who uses a block device: what is mounted on it or on what is built upon it, swap, programs. */
#ifndef FREEZECTL_USERS_H
#define FREEZECTL_USERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum user_kind {
	USER_MOUNT,		/* a file system; @fs_dev, @path and @type tell which */
	USER_SWAP,
	USER_HOLDER,		/* a device built on it */
	USER_WRITER,		/* a program that has the device itself open for writing */
	USER_READER,		/* the same, for reading only */
	USER_UNKNOWN,		/* dm counts somebody whom we cannot find */
};

struct user {
	enum user_kind kind;
	dev_t dev;		/* the device that is used: the one asked for, or one above it */
	dev_t fs_dev;		/* st_dev of the files on it */
	char *path;		/* where it is mounted */
	char *type;		/* file system type */
	char *what;		/* "mounted on /srv" */
	const char *way_out;	/* "unmount it first" */
};

struct users {
	struct user *v;
	size_t n;
};

enum users_depth {
	USERS_LOCAL,		/* of the device and its partitions; who only reads is left out */
	USERS_ALL,		/* of everything above it, too */
};

/*
 * 0 or -errno; in both cases users_free() releases what was found.  Takes up to
 * a second when somebody is counted who is not found, because udev looks at
 * devices in passing.
 */
int users_find(dev_t dev, enum users_depth depth, struct users *u);
void users_free(struct users *u);

#endif
