/* SPDX-License-Identifier: GPL-2.0-only */
/* Own I/O: bios of pages, zeroes and flushes on one block device each. */
#ifndef FZC_IO_H
#define FZC_IO_H

#include <linux/bio.h>
#include <linux/workqueue.h>
#include "core/types.h"

/* Called when the I/O ended, maybe from an interrupt. */
typedef void (*fzc_io_end)(void *ctx, int err);

/*
 * Bios come from this set of 16, each with room for FZC_MAX_RUN_BYTES.  All of
 * them complete by their device alone, so that waiting for one always ends.
 */
struct fzc_io {
	struct bio_set bios;
	/* A failed write-zeroes is redone here: those who wait for its bio run elsewhere. */
	struct workqueue_struct *wq;
};

/* Sleeps. */
int fzc_io_init(struct fzc_io *io, const char *name);
void fzc_io_exit(struct fzc_io *io);

/*
 * The following sleep until a bio can be had (GFP_NOIO), not until it ended.
 * @at and @bytes: multiples of 512; @bytes at most FZC_MAX_RUN_BYTES.
 */
void fzc_io_pages(struct fzc_io *io, struct block_device *bdev, blk_opf_t opf, u64 at,
		  struct page **pages, u32 bytes, fzc_io_end end, void *ctx);
void fzc_io_zero(struct fzc_io *io, struct block_device *bdev, u64 at, u32 bytes,
		 fzc_io_end end, void *ctx);
void fzc_io_flush(struct fzc_io *io, struct block_device *bdev, fzc_io_end end, void *ctx);

/* crc32c of the first @bytes of @pages, as slots of a stage and frames have it.  Any context. */
u32 fzc_io_crc(struct page **pages, u32 bytes);

/* Read and wait for the end.  Sleeps. */
int fzc_io_read(struct fzc_io *io, struct block_device *bdev, u64 at, struct page **pages,
		u32 bytes);

#endif /* FZC_IO_H */
