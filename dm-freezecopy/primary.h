/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The primary: host I/O that diverts while a freeze is delivered, and sending.
 *
 * primary.c		the role as a whole, freezes, what comes over the link
 * primary_divert.c	host bios
 * primary_send.c	from a picked run of blocks to a frame
 */
#ifndef FZC_PRIMARY_H
#define FZC_PRIMARY_H

#include "compress.h"
#include "dev.h"

#define FZC_SENDS	8	/* frames from picking until the socket has them: 8 MiB at most */

/*
 * Zeroes among other blocks get a frame of their own, which has no payload, but
 * no more than that from one run: every frame waits for its receipt.
 */
#define FZC_PIECES	16

struct fzc_piece {
	struct fzc_tx tx;
	struct fzc_xfer *x;
	u32 first;	/* of the run's blocks */
	bool zero;
	u32 packed;	/* bytes, compressed; 0: as it is */
};

/* A run of blocks on its way from the disk to the wire. */
struct fzc_send {
	struct fzc_primary *pr;
	struct llist_node read;		/* all of it was read, or not */
	struct fzc_piece piece[FZC_PIECES];
	atomic_t pieces;		/* the link has, and one more until all are queued */
	struct fzc_xfer *x;
	struct page *page[FZC_COPY_PAGES];
	u32 slot[FZC_MAX_RUN];		/* FZC_NO_SLOT: on data */
	u32 packed[FZC_MAX_RUN];	/* of blocks to be encrypted: bytes if compressed, or 0 */
	u32 length;
	atomic_t left;
	int err;
	unsigned long busy;		/* bit 0 */
};

struct fzc_primary {
	struct fzc_dev dev;		/* first */
	struct fzc_pcore core;		/* dev.lock, as all that follows */
	void *mem;
	bool closing;			/* somebody waits for a cut */
	bool background;		/* nothing that is sent is waited for */
	ktime_t closed_at;
	ktime_t cut_at;
	u32 stall_us;
	u64 tx_blocks;
	u64 merge_total;
	u32 troubles;			/* as the core counts them, when last looked at */
	unsigned long again_at;		/* @troubles: jiffies, when the next freeze may be */
	unsigned long copy_began;	/* jiffies: a batch of the merge */
	unsigned long merge_at;		/* @merge_waits: jiffies, when the next batch may be */
	bool merge_waits;
	bool merge_hurry;		/* somebody wants to freeze */
	u64 host_seen;			/* host bios when the last batch began */

	struct work_struct send_work;
	struct llist_head sends_read;
	bool send_retry;		/* no memory: the tick tries again */
	struct fzc_send *send;
	struct fzc_compressor *compressor;	/* the send work's; NULL: not wanted */
	u64 tx_saved;			/* bytes that were not sent for being compressed */
};

static inline struct fzc_primary *fzc_primary_of(struct fzc_dev *dev)
{
	return container_of(dev, struct fzc_primary, dev);
}

extern const struct fzc_role_ops fzc_primary_role;

/* A freeze, seen from the one who wants it. */
struct fzc_cut {
	bool force;
	bool given_up;			/* device's lock */
	bool begun;			/* device's lock: the core took it */
	char label[FZC_NAME_LEN];
	unsigned long deadline;		/* jiffies */
	struct fzc_img img;		/* out: number and id, when there is a cut */
	u32 stall_us;			/* out */
	char why[FZC_REASON_LEN];	/* out, with an error */
};

/*
 * Close the gate and wait until the cut is made.  -ETIMEDOUT, -EINTR: there is
 * none and will be none.  Then wait until its record is durable.  Sleep,
 * killably; callers hold a reference to the device and nothing else.
 */
int fzc_primary_cut(struct fzc_dev *dev, struct fzc_cut *cut);
int fzc_primary_recorded(struct fzc_dev *dev, struct fzc_cut *cut);
/* From elsewhere, while another waits in cut(): true if there is no cut and will be none. */
bool fzc_primary_give_up(struct fzc_dev *dev, struct fzc_cut *cut);

/* Between the files of the primary.  Under the lock. */
void fzc_primary_note_cut(struct fzc_primary *pr);
extern const struct fzc_hio_ops fzc_primary_hio;
int fzc_primary_send_init(struct fzc_primary *pr);
void fzc_primary_send_exit(struct fzc_primary *pr);
void fzc_primary_send_kick(struct fzc_primary *pr);
bool fzc_primary_send_idle(struct fzc_primary *pr);
/* Link op. */
void fzc_primary_tx_done(void *ctx, void *cookie);

#endif /* FZC_PRIMARY_H */
