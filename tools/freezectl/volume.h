/* SPDX-License-Identifier: GPL-2.0-only */
/* A volume on this machine: its conf, its devices, its device-mapper table. */
#ifndef FREEZECTL_VOLUME_H
#define FREEZECTL_VOLUME_H

#include "blk.h"
#include "conf.h"
#include "dmdev.h"

struct volume {
	struct conf conf;
	struct blk blk[FZC_DEV_NR];
	int n;			/* devices that are open */
};

/* Open all devices of v->conf, which nobody may be using; says why not, returns an exit code. */
int volume_open(struct volume *v);
void volume_close(struct volume *v);

/*
 * Close the devices and load the table; @once are words that only this load
 * gets, as "assume identical", or NULL.  Says why it failed, returns an exit code.
 */
int volume_start(struct volume *v, const char *once);

/* Find the running device @name; says that there is none, returns an exit code. */
int volume_find(const char *name, struct dmdev *d);

/* Name all who use it, @readers too; FC_DONE: nobody does. */
int volume_check_unused(const struct dmdev *d, bool readers);

/*
 * Remove its device, which is a clean stop, unless somebody uses it.  Says who,
 * returns an exit code.
 */
int volume_stop(const struct dmdev *d);

/* Have udev look at the backing devices again. */
void volume_announce(const struct conf *c);

#endif
