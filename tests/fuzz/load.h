/* SPDX-License-Identifier: GPL-2.0-only */
/* Disks to be loaded: those that the stories of either side leave, and damage to them. */
#ifndef FUZZ_LOAD_H
#define FUZZ_LOAD_H

#include "cores.h"

#define NR_IMAGES	(SECONDARY_SEEDS + PRIMARY_SEEDS)
#define SIGNED		0x80	/* with a number below that: the same story, its metadata signed */

/* Onto the disks of W, whose role and sizes it gives.  @n: a number, perhaps SIGNED. */
void image_take(u8 n);
/* Some fields of its pages become others. */
void image_damage(struct in *in);

#endif /* FUZZ_LOAD_H */
