/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Host bios: passed on to `data` as they are where that is right, else parked,
 * or carried out in parts, each to the place where its blocks are.
 */
#ifndef FZC_HIO_H
#define FZC_HIO_H

#include <linux/bio.h>
#include <linux/hrtimer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "core/types.h"

struct fzc_dev;
struct dm_target;

/* What is kept with every host bio (dm's per bio data). */
struct fzc_hio {
	struct fzc_dev *dev;
	struct bvec_iter iter;	/* as the bio came, as the next */
	unsigned short bio_flags;
	u32 slot;		/* @reads_slot */
	u64 first;		/* blocks; of a flush 0 */
	u64 last;
	u64 ticket;		/* of who waits for one */
	unsigned long late_at;	/* @paced: jiffies */
	atomic_t parts;
	blk_status_t status;	/* first error of a part; it and what follows begin as 0 */
	bool write;		/* changes data; else a read, or a flush */
	bool flush;
	bool fua;
	bool diff;		/* some of it went to DIFF */
	bool diff_err;
	bool again;		/* AGAIN was said, and it has not begun again yet */
	bool held;		/* was passed on, the role has to hear of its end */
	bool reads_slot;	/* ...and has a reference of slot @slot of @which */
	u8 which;		/* device that it was passed on to */
	bool paced;		/* was made to wait for a slot */
	bool pacing;		/* ...and waits now */
	u8 token;		/* the role's own */
};

/* Where a block is. */
enum fzc_spot_kind {
	FZC_SPOT_AT,	/* @dev: DATA in place, or slot @slot */
	FZC_SPOT_NEW,	/* slot @slot, whose first content this is (R2) */
	FZC_SPOT_CHECK,	/* reads: slot @slot of @dev, whose content has to have checksum @crc */
	FZC_SPOT_ZERO,	/* reads: zeroes */
	FZC_SPOT_BAD,	/* EIO */
};

struct fzc_spot {
	u8 kind;
	u8 dev;
	u32 slot;
	u32 crc;
};

/* DONE: complete it.  AGAIN: from the start.  WAIT: complete it when h->ticket is synced. */
enum fzc_hio_end { FZC_HIO_DONE, FZC_HIO_AGAIN, FZC_HIO_WAIT };

/* All but one are called under the device's lock. */
struct fzc_hio_ops {
	/* As a core's answer; for a flush MIXED means: wait for h->ticket. */
	enum fzc_go (*begin)(struct fzc_dev *dev, struct fzc_hio *h);
	/* Of a bio that is MIXED. */
	void (*place)(struct fzc_dev *dev, struct fzc_hio *h, u64 block, struct fzc_spot *spot);
	/* Reads of slots @slot...@slot + @n - 1 ended. */
	void (*put)(struct fzc_dev *dev, u8 which, u32 slot, u32 n);
	/*
	 * Without the lock, may sleep: what a slot to be checked had is in @pages, and is
	 * to become what the host reads.  NULL: it is that.
	 */
	int (*open)(struct fzc_dev *dev, u8 which, u32 slot, u64 block, struct page **pages);
	/* All of it ended with h->status. */
	enum fzc_hio_end (*end)(struct fzc_dev *dev, struct fzc_hio *h);
};

struct fzc_fill;

struct fzc_hio_set {
	const struct fzc_hio_ops *ops;
	struct bio_list parked;		/* device's lock, as the next two */
	struct bio_list mixed;		/* to be carried out in parts */
	struct bio_list waiting;	/* for a ticket */
	struct hrtimer gather;		/* who is parked has waited for others long enough */
	bool gathering;			/* device's lock, as the next: it runs */
	u32 nparked;
	u32 crowd;			/* so many are waited for */
	u32 wakes;
	struct work_struct mixed_work;
	struct bio_set parts;
	bool can_zero;			/* data executes write-zeroes */
	struct delayed_work pace_work;	/* the first of those who wait for a slot is late */
	u32 pacing;			/* device's lock: how many do */
	u64 paced;			/* device's lock: how many did */
	u64 taken;			/* device's lock: bios that came */

	/* Blocks that are completed from DATA before they go to a new slot, or are checked. */
	struct fzc_fill *fill;
	u32 nfill;
	struct list_head free_fills;	/* fill_lock, as the next */
	struct list_head read_fills;
	spinlock_t fill_lock;		/* innermost */
	wait_queue_head_t fill_wait;
	struct work_struct fill_work;
	struct workqueue_struct *fill_wq;	/* mixed_work waits for it: not the same rescuer */
};

/* Allocates.  Sleeps. */
int fzc_hio_init(struct fzc_dev *dev, const struct fzc_hio_ops *ops);
void fzc_hio_exit(struct fzc_dev *dev);

/* dm's map and end_io. */
int fzc_hio_map(struct fzc_dev *dev, struct bio *bio);
int fzc_hio_endio(struct fzc_dev *dev, struct bio *bio, blk_status_t *error);

/* Is there any that waits for a wake?  Under the device's lock. */
static inline bool fzc_hio_parked(const struct fzc_hio_set *s)
{
	return !bio_list_empty(&s->parked);
}

/* Are there any, and more about to come, so that it is too early?  Under the device's lock. */
static inline bool fzc_hio_gathers(const struct fzc_hio_set *s)
{
	return s->gathering;
}

/* Parked bios may try again.  Sleeps. */
void fzc_hio_wake(struct fzc_dev *dev);
/* Has it waited for a slot as long as it may?  Under the device's lock. */
bool fzc_hio_late(const struct fzc_dev *dev, const struct fzc_hio *h);
/* No host bio is left: end what may still run.  Sleeps. */
void fzc_hio_stop(struct fzc_dev *dev);
/* Complete what waits for a ticket <= @ticket.  Sleeps not. */
void fzc_hio_synced(struct fzc_dev *dev, u64 ticket, int err);

#endif /* FZC_HIO_H */
