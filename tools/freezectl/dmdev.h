/* SPDX-License-Identifier: GPL-2.0-only */
/* Device-mapper devices, through libdevmapper. */
#ifndef FREEZECTL_DMDEV_H
#define FREEZECTL_DMDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DMDEV_UUID_PREFIX	"FREEZECOPY-"

struct dmdev {
	char name[128];
	char uuid[130];
	dev_t dev;
	int open_count;
	bool suspended;
	bool ours;		/* its uuid starts with DMDEV_UUID_PREFIX */
};

/* 0, -ENODEV when there is none, or another -errno. */
int dmdev_find(const char *name, struct dmdev *d);
int dmdev_find_dev(dev_t dev, struct dmdev *d);

/* Call @fn for each freezecopy device until it returns non-zero, which is returned. */
int dmdev_each(int (*fn)(const struct dmdev *d, void *arg), void *arg);

/*
 * Create, load and resume @name and wait for udev.  Nothing is left of it when
 * it fails: -errno.
 */
int dmdev_create(const char *name, const char *uuid, uint64_t sectors, const char *params,
		 bool read_only);

/* Remove it and wait for udev; -EBUSY when it stays open. */
int dmdev_remove(const char *name);

/* What libdevmapper had to say about the last failure; empty: nothing. */
const char *dmdev_error(void);

#endif
