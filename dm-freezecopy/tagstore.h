/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tags of encrypted slots: a fixed number of pages of them in memory, the others
 * on the stages.  When they have to get there the core decides (FZC_ACT_TAGS).
 *
 * All calls sleep, for the disks of the stages at most, and may be made by several
 * threads at a time.
 */
#ifndef FZC_TAGSTORE_H
#define FZC_TAGSTORE_H

#include <linux/completion.h>
#include <linux/mutex.h>
#include "dev.h"

#define FZC_TAGSTORE_PAGES	128U
#define FZC_TAGSTORE_BYTES	(FZC_TAGSTORE_PAGES * FZC_PAGE)

struct fzc_tagstore;

struct fzc_tagpage {
	struct fzc_tagstore *store;
	struct page *page;
	u8 dev;			/* enum fzc_dev_role */
	u32 n;			/* which of its pages */
	bool used;		/* has the tags of that */
	bool dirty;		/* ...newer ones than the disk */
	bool recent;		/* was asked for since it was last passed over */
	int err;
};

struct fzc_tagstore {
	struct fzc_dev *dev;
	struct mutex lock;	/* everything below; held during I/O */
	struct fzc_tagpage page[FZC_TAGSTORE_PAGES];
	u32 last;		/* asked for last */
	u32 hand;		/* looked at next for one to be given up */
	atomic_t left;		/* writes in flight, and one */
	struct completion done;
};

int fzc_tagstore_init(struct fzc_tagstore *s, struct fzc_dev *dev);
void fzc_tagstore_exit(struct fzc_tagstore *s);
/* What is in memory is not to be written, nor used, any more. */
void fzc_tagstore_forget(struct fzc_tagstore *s);

/* Of slot @slot of @which; -errno: its page cannot be read, or none can be written. */
int fzc_tagstore_get(struct fzc_tagstore *s, u8 which, u32 slot, struct fzc_tag *tag);
int fzc_tagstore_put(struct fzc_tagstore *s, u8 which, u32 slot, const struct fzc_tag *tag);
/* Write all that were put; they are not flushed.  -errno: some are due again. */
int fzc_tagstore_write(struct fzc_tagstore *s);

#endif /* FZC_TAGSTORE_H */
