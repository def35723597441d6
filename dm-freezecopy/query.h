/* SPDX-License-Identifier: GPL-2.0-only */
/* What status and FZC_IOC_QUERY say. */
#ifndef FZC_QUERY_H
#define FZC_QUERY_H

#include "dev.h"

/* One consistent snapshot; @q is zeroed but for its head.  Waits for nothing but the lock. */
void fzc_query_take(struct fzc_dev *dev, struct fzc_query *q);
/* The line of `dmsetup status`. */
void fzc_query_print(const struct fzc_query *q, char *result, unsigned int maxlen);

#endif /* FZC_QUERY_H */
