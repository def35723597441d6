/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The secondary: stages what comes, shows the committed image.
 *
 * secondary.c		the role as a whole, recovery, the connection
 * secondary_ablog.c	host bios; frames into the stages A and B
 * secondary_open.c	what is encrypted there: checked as it comes, decrypted as it is used
 */
#ifndef FZC_SECONDARY_H
#define FZC_SECONDARY_H

#include "blockcrypt.h"
#include "compress.h"
#include "core/score.h"
#include "dev.h"
#include "tagstore.h"

#define FZC_RECVS	8	/* frames from their head until they are written: 8 MiB at most */

/* A DATA frame on its way from the wire to the disk. */
struct fzc_recv {
	struct fzc_secondary *sec;
	struct fzc_rx *rx;
	struct page *page[FZC_COPY_PAGES];
	u32 slot[FZC_MAX_RUN];
	u32 crc[FZC_MAX_RUN];
	struct fzc_tag tag[FZC_MAX_RUN];	/* if @encrypted */
	u32 plain;		/* bytes of its blocks; 0 for zeroes */
	u32 packed;		/* bytes that came, if @compressed */
	u32 payload_crc;	/* of what came, which the link has verified; not if @encrypted */
	u32 compressed;		/* FZC_WIRE_LZ4, FZC_WIRE_ZSTD; 0: not, as a whole */
	bool encrypted;		/* each block by itself */
	atomic_t left;
	int err;
	bool cut_off;		/* its connection ended in the middle of the payload */
	unsigned long busy;	/* bit 0 */
};

/* NULL in all of it: stage_encryption off. */
struct fzc_open {
	/* The link's receiver's. */
	struct fzc_blockcrypt *checker;
	struct page **scratch;		/* a block: what it decrypts is not wanted */
	/* Of all others; protected by @lock, which is held for no disk but those of the stages. */
	struct mutex lock;
	struct fzc_blockcrypt *opener;
	struct fzc_compressor *decompressor;
	struct fzc_tagstore tags;
};

struct fzc_secondary {
	struct fzc_dev dev;		/* first */
	struct fzc_score core;		/* dev.lock */
	void *mem;
	bool dropped;			/* dev.lock: this connection is to end */
	struct fzc_recv *recv;
	/* The link's receiver's.  Always there: whether it is needed is the primary's to say. */
	struct fzc_compressor *decompressor;
	struct fzc_open *open;
};

static inline struct fzc_secondary *fzc_secondary_of(struct fzc_dev *dev)
{
	return container_of(dev, struct fzc_secondary, dev);
}

extern const struct fzc_role_ops fzc_secondary_role;

/*
 * Figure 9.  Returns when the volume is readable as its last image for good.
 * Holds the device's state for as long; sleeps.  @how: FZC_RECOVER_...
 */
int fzc_secondary_recover(struct fzc_dev *dev, u32 how, u64 *number, char *why);

/* Between the files of the secondary. */
/* May a frame be taken now, or (@err) none any more?  dev.lock is held. */
bool fzc_secondary_may_rx(struct fzc_secondary *sec, int *err);
extern const struct fzc_hio_ops fzc_secondary_hio;
int fzc_secondary_recv_init(struct fzc_secondary *sec);
void fzc_secondary_recv_exit(struct fzc_secondary *sec);
/* Frames whose connection is gone: report them as not written.  Under the lock. */
void fzc_secondary_recv_cut_off(struct fzc_secondary *sec);
bool fzc_secondary_recv_idle(struct fzc_secondary *sec);
/* Link ops. */
int fzc_secondary_rx_data(void *ctx, const struct fzc_frame *f, const struct fzc_tag *tag,
			  struct page **pages, void **cookie);
int fzc_secondary_rx_payload(void *ctx, void *cookie, int err);

/* Embodiment 4; both only where stages are encrypted, else nothing.  Sleep. */
int fzc_secondary_open_init(struct fzc_secondary *sec);
void fzc_secondary_open_exit(struct fzc_secondary *sec);
u64 fzc_secondary_open_bytes(const struct fzc_secondary *sec);
/* Does what came verify, and decompress, block by block?  -EBADMSG and the block's number. */
int fzc_secondary_check(struct fzc_secondary *sec, struct fzc_recv *r, u64 *block);
/* Note the tags of what goes to its slots on @which. */
int fzc_secondary_note(struct fzc_secondary *sec, struct fzc_recv *r, u8 which);
/* Tags that were noted, to the disk. */
int fzc_secondary_write_tags(struct fzc_dev *dev);
/*
 * What was read from slot @slot of @which into @pages becomes the content of @block.
 * -EBADMSG: it is not what the primary encrypted; -EIO: its tag cannot be read.
 */
int fzc_secondary_open(struct fzc_dev *dev, u8 which, u32 slot, u64 block, struct page **pages);
/* As struct fzc_engine_ops has it. */
int fzc_secondary_copied(struct fzc_dev *dev, const struct fzc_copy *c,
			 const struct fzc_copy_item *it, struct page **pages);

#endif /* FZC_SECONDARY_H */
