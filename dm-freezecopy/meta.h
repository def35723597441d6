/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads what a core wants to know when it starts. */
#ifndef FZC_META_H
#define FZC_META_H

#include "dev.h"

/* All sleep; the reason goes to @why (FZC_REASON_LEN). */

/* What the core is told of the devices: identities, sizes, the hash of data. */
int fzc_meta_opts(struct fzc_dev *dev, struct fzc_opts *opts, char *why);
/* SHA-256 of the first and the last MiB of the volume. */
int fzc_meta_hash(struct fzc_dev *dev, u8 hash[32], char *why);
/* Give the core every page that it asks for. */
int fzc_meta_load(struct fzc_dev *dev, char *why);

#endif /* FZC_META_H */
