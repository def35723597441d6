/* SPDX-License-Identifier: GPL-2.0-only */
/* From the words of a table line to a device, and back. */
#ifndef FZC_TABLE_H
#define FZC_TABLE_H

#include "dev.h"

/*
 * Open, measure and claim the devices that @t names and fill in what is fixed
 * from now on.  Writes nothing.  Sleeps.  -errno with a reason (FZC_REASON_LEN).
 */
int fzc_table_take(struct fzc_dev *dev, const struct fzc_table *t, char *why);
/* Give the devices back, when nothing uses them any more.  Sleeps. */
void fzc_table_put(struct fzc_dev *dev, struct dm_target *ti);
/* What the constructor accepts again. */
void fzc_table_print(const struct fzc_dev *dev, char *buf, unsigned int len);

#endif /* FZC_TABLE_H */
