/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of a volume that is read offline. */
#ifndef FREEZECTL_PROVE_H
#define FREEZECTL_PROVE_H

#include "offline.h"

/* What dump and check are given for it; NULL: not. */
struct prove {
	const char *key;	/* name of the shared key */
	const char *meta;	/* for a difference volume: where its superblock is */
};

/*
 * With a key: get @o's keys out of its superblock, so that signatures can be checked.
 * Says what is wrong, returns an exit code.  prove_wipe() in any case.
 */
int prove(struct offline *o, const struct prove *with);
void prove_wipe(struct offline *o);

/* "not signed", ...: what is known of them without counting. */
const char *prove_state(const struct offline *o);

#endif
