/* SPDX-License-Identifier: GPL-2.0-only */
/* A cut with the file system that is mounted directly on the device frozen. */
#ifndef FZC_FSFREEZE_H
#define FZC_FSFREEZE_H

#include "primary.h"

/*
 * As fzc_primary_cut() and then fzc_primary_recorded(); @state: enum FZC_FS_*.
 * Returns at cut->deadline at the latest if there is no cut then; what is left
 * to be thawed is thawed by a work as soon as it can be.  Sleeps, killably.
 */
int fzc_fsfreeze_cut(struct fzc_dev *dev, struct fzc_cut *cut, u32 *state);

int fzc_fsfreeze_init(void);
/* Waits for the works that are left. */
void fzc_fsfreeze_exit(void);

#endif /* FZC_FSFREEZE_H */
