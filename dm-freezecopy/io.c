// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/ioprio.h>
#include <linux/mm.h>
#include "core/port.h"
#include "io.h"

#define IO_BIOS	16

/* Blocks are cut into pages, and a page of metadata is one of memory. */
static_assert(PAGE_SIZE == FZC_PAGE);

struct io_bio {
	fzc_io_end end;
	void *ctx;
	struct fzc_io *io;
	struct work_struct work;	/* zeroes: the device refused, write pages */
	struct block_device *bdev;	/* a device below may have changed the bio's */
	u64 at;
	u32 bytes;
	struct bio bio;			/* last: its vectors follow */
};

int fzc_io_init(struct fzc_io *io, const char *name)
{
	io->wq = alloc_workqueue("fzc_io/%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, name);
	if (!io->wq)
		return -ENOMEM;
	return bioset_init(&io->bios, IO_BIOS, offsetof(struct io_bio, bio), BIOSET_NEED_BVECS);
}

void fzc_io_exit(struct fzc_io *io)
{
	if (io->wq)
		destroy_workqueue(io->wq);
	bioset_exit(&io->bios);
}

static void io_ended(struct bio *bio)
{
	struct io_bio *b = container_of(bio, struct io_bio, bio);
	int err = blk_status_to_errno(bio->bi_status);
	fzc_io_end end = b->end;
	void *ctx = b->ctx;

	if (err && bio_op(bio) == REQ_OP_WRITE_ZEROES) {
		queue_work(b->io->wq, &b->work);
		return;
	}
	bio_put(bio);
	end(ctx, err);
}

static struct io_bio *io_alloc(struct fzc_io *io, struct block_device *bdev, u32 vecs,
			       blk_opf_t opf, u64 at, fzc_io_end end, void *ctx)
{
	struct bio *bio = bio_alloc_bioset(bdev, vecs, opf, GFP_NOIO, &io->bios);
	struct io_bio *b = container_of(bio, struct io_bio, bio);

	b->end = end;
	b->ctx = ctx;
	b->io = io;
	b->bdev = bdev;
	b->at = at;
	bio->bi_iter.bi_sector = at >> SECTOR_SHIFT;
	bio->bi_end_io = io_ended;
	/* behind others, but not only when there are none: somebody waits for the end */
	if (opf & REQ_BACKGROUND)
		bio->bi_ioprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IOPRIO_NR_LEVELS - 1);
	return b;
}

/* @pages NULL: zeroes. */
static void put_pages_in(struct bio *bio, struct page **pages, u32 bytes)
{
	u32 i;

	for (i = 0; bytes; i++) {
		u32 len = min_t(u32, bytes, PAGE_SIZE);

		__bio_add_page(bio, pages ? pages[i] : ZERO_PAGE(0), len, 0);
		bytes -= len;
	}
}

void fzc_io_pages(struct fzc_io *io, struct block_device *bdev, blk_opf_t opf, u64 at,
		  struct page **pages, u32 bytes, fzc_io_end end, void *ctx)
{
	struct io_bio *b = io_alloc(io, bdev, DIV_ROUND_UP(bytes, PAGE_SIZE), opf, at, end, ctx);

	put_pages_in(&b->bio, pages, bytes);
	submit_bio(&b->bio);
}

static void zero_by_pages(struct work_struct *work)
{
	struct io_bio *b = container_of(work, struct io_bio, work);
	struct bio *bio = &b->bio;

	bio_reset(bio, b->bdev, REQ_OP_WRITE);
	bio->bi_iter.bi_sector = b->at >> SECTOR_SHIFT;
	bio->bi_end_io = io_ended;
	put_pages_in(bio, NULL, b->bytes);
	submit_bio(bio);
}

void fzc_io_zero(struct fzc_io *io, struct block_device *bdev, u64 at, u32 bytes,
		 fzc_io_end end, void *ctx)
{
	bool able = bdev_write_zeroes_sectors(bdev);
	struct io_bio *b = io_alloc(io, bdev, DIV_ROUND_UP(bytes, PAGE_SIZE),
				    able ? REQ_OP_WRITE_ZEROES : REQ_OP_WRITE, at, end, ctx);

	b->bytes = bytes;
	INIT_WORK(&b->work, zero_by_pages);
	if (able)
		b->bio.bi_iter.bi_size = bytes;
	else
		put_pages_in(&b->bio, NULL, bytes);
	submit_bio(&b->bio);
}

void fzc_io_flush(struct fzc_io *io, struct block_device *bdev, fzc_io_end end, void *ctx)
{
	struct io_bio *b = io_alloc(io, bdev, 0, REQ_OP_WRITE | REQ_PREFLUSH | REQ_SYNC, 0, end,
				    ctx);

	submit_bio(&b->bio);
}

struct io_wait {
	struct completion done;
	int err;
};

static void read_ended(void *ctx, int err)
{
	struct io_wait *w = ctx;

	w->err = err;
	complete(&w->done);
}

int fzc_io_read(struct fzc_io *io, struct block_device *bdev, u64 at, struct page **pages,
		u32 bytes)
{
	struct io_wait w = { .done = COMPLETION_INITIALIZER_ONSTACK(w.done) };

	fzc_io_pages(io, bdev, REQ_OP_READ, at, pages, bytes, read_ended, &w);
	wait_for_completion_io(&w.done);
	return w.err;
}

u32 fzc_io_crc(struct page **pages, u32 bytes)
{
	u32 crc = ~0U, i;

	for (i = 0; bytes; i++) {
		u32 len = min_t(u32, bytes, PAGE_SIZE);

		crc = fzc_crc32c(crc, page_address(pages[i]), len);
		bytes -= len;
	}
	return ~crc;
}
