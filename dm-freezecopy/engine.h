/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries out the actions of a core.  Knows nothing of roles: what differs
 * comes through struct fzc_engine_ops.
 */
#ifndef FZC_ENGINE_H
#define FZC_ENGINE_H

#include <linux/llist.h>
#include <linux/workqueue.h>
#include "core/ondisk.h"

struct fzc_dev;

struct fzc_engine_ops {
	/* Under the device's lock. */
	bool (*next)(struct fzc_dev *dev, struct fzc_act *act, struct fzc_page *page);
	void (*done)(struct fzc_dev *dev, const struct fzc_act *act, int err);
	void (*tick)(struct fzc_dev *dev);
	/* FZC_ACT_SEND: queue to the wire. */
	void (*send)(struct fzc_dev *dev, const struct fzc_msg *msg);
	/* FZC_ACT_DROP; and the core's reason. */
	void (*drop)(struct fzc_dev *dev);
	/*
	 * Without the lock, from work of their own, and may sleep.  FZC_ACT_TAGS; and of
	 * FZC_ACT_COPY: what a slot had is in @pages, and has to become what the target
	 * of the copy gets.  0, -EBADMSG: it is not what it has to be; others: no telling.
	 * copied() is asked only where blocks are encrypted; NULL: a role that has neither.
	 */
	int (*write_tags)(struct fzc_dev *dev);
	int (*copied)(struct fzc_dev *dev, const struct fzc_copy *c,
		      const struct fzc_copy_item *it, struct page **pages);
	/* Without the lock, in the worker, after a round of actions. */
	void (*after)(struct fzc_dev *dev);
};

#define FZC_ENGINE_OPS	16	/* actions in flight */
#define FZC_COPY_PAGES	(FZC_MAX_RUN_BYTES / FZC_PAGE)
#define FZC_ENGINE_BYTES	((FZC_ENGINE_OPS + FZC_COPY_PAGES) * FZC_PAGE)

struct fzc_op {
	struct llist_node ended;
	struct fzc_dev *dev;
	struct page *page;
	struct fzc_act act;
	struct fzc_volume_keys keys;	/* until the page is signed */
	u32 epoch;			/* see fzc_sign_page() */
	int err;
	bool busy;
};

struct fzc_copy_io {
	struct fzc_engine *engine;
	int err;
	u32 items;	/* what the bio is for */
};

struct fzc_engine {
	const struct fzc_engine_ops *ops;
	struct work_struct work;	/* takes actions, reports ended ones */
	struct work_struct copy_work;
	struct work_struct tags_work;
	struct delayed_work soon;
	struct delayed_work tick;
	struct llist_head ended;
	struct fzc_op op[FZC_ENGINE_OPS];	/* the worker's */
	struct fzc_op *copying;		/* a core has one FZC_ACT_COPY in flight at a time */
	struct fzc_op *tagging;		/* ...and one FZC_ACT_TAGS */
	/* the worker of copies, for the items that the pages have room for */
	struct page *copy_page[FZC_COPY_PAGES];
	struct fzc_copy_io copy_io[FZC_COPY_BATCH];
	u32 copy_first;			/* the first of these items */
	u32 copy_pages;			/* of each */
	atomic_t copy_left;
	struct completion copy_done;
	atomic_t inflight;
	bool running;			/* device's lock */
	bool paused;			/* device's lock: take no new actions */
};

/* Allocates.  Sleeps. */
int fzc_engine_init(struct fzc_dev *dev, const struct fzc_engine_ops *ops);
void fzc_engine_exit(struct fzc_dev *dev);

/* Sleep. */
void fzc_engine_start(struct fzc_dev *dev);
/* Take no new actions; returns when none is in flight. */
void fzc_engine_pause(struct fzc_dev *dev);
void fzc_engine_go_on(struct fzc_dev *dev);
/* Nothing runs any more when this returns. */
void fzc_engine_stop(struct fzc_dev *dev);

/* Something happened that the core may answer with actions.  Under the device's lock. */
void fzc_engine_kick(struct fzc_dev *dev);
/* The same where it is not urgent: within a jiffy or two. */
void fzc_engine_kick_soon(struct fzc_dev *dev);

#endif /* FZC_ENGINE_H */
