// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include "compat.h"
#include "dev.h"
#include "hio.h"

#define PARTS		64	/* bios of the reserve */
#define SPOTS		64	/* blocks asked for under one hold of the lock */
#define FILL_BYTES	SZ_1M	/* memory for blocks being completed, but at least 2 blocks */
#define MAX_FILLS	64U
#define GATHER_NS	(200 * NSEC_PER_USEC)
#define MAX_CROWD	64U
#define TRY_EVERY	64U	/* wakes */

/* A part of a host bio: a run of blocks with the same place. */
struct part {
	struct bio *parent;
	u32 slot;	/* references to put, if @n */
	u32 n;
	u8 which;	/* device that it goes to, enum fzc_dev_role */
	struct bio bio;	/* last */
};

/*
 * A whole block in memory: its new slot gets the bytes of a bio and, around
 * them, those from DATA (R2); or (@check) a read takes its bytes from a slot
 * whose checksum is verified first (R16).
 */
struct fzc_fill {
	struct list_head list;
	struct bio *parent;
	struct page **pages;
	u64 block;
	u32 slot;
	u32 crc;
	u8 which;	/* with @check: the slot's device */
	bool check;
	u32 skip;	/* where the block's bytes begin in the bio */
	u32 from;	/* and in the block */
	u32 bytes;	/* how many */
	int err;
};

static struct fzc_hio *hio_of(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct fzc_hio));
}

static u64 start_of(const struct fzc_hio *h)
{
	return (u64)h->iter.bi_sector << SECTOR_SHIFT;
}

static u64 end_of(const struct fzc_hio *h)
{
	return start_of(h) + h->iter.bi_size;
}

static bool is_zeroes(struct bio *bio)
{
	return bio_op(bio) == REQ_OP_DISCARD || bio_op(bio) == REQ_OP_WRITE_ZEROES;
}

/* Discards are executed as write-zeroes that may unmap (R6). */
static blk_opf_t opf_of(struct bio *bio)
{
	if (bio_op(bio) == REQ_OP_DISCARD)
		return (bio->bi_opf & ~(blk_opf_t)REQ_OP_MASK) | REQ_OP_WRITE_ZEROES;
	return bio->bi_opf;
}

bool fzc_hio_late(const struct fzc_dev *dev, const struct fzc_hio *h)
{
	return !dev->pace_ms || (h->paced && time_after_eq(jiffies, h->late_at));
}

/* It waits for a slot until it is woken, or late. */
static void pace(struct fzc_dev *dev, struct fzc_hio *h)
{
	struct fzc_hio_set *s = &dev->hio;

	if (!h->paced) {
		h->paced = true;
		h->late_at = jiffies + msecs_to_jiffies(dev->pace_ms);
		s->paced++;
	}
	h->pacing = true;
	s->pacing++;
	/* if the work is queued already, it is for one who came before */
	queue_delayed_work(dev->wq, &s->pace_work, max_t(long, h->late_at - jiffies, 1));
}

/*
 * What a parked write waits for serves all that are parked by then, above all
 * the page of region flags.  So many are waited for as came in GATHER_NS when
 * that was tried last, but never for longer than that.
 */
static void park(struct fzc_dev *dev, struct bio *bio)
{
	struct fzc_hio_set *s = &dev->hio;

	lockdep_assert_held(&dev->lock);
	bio_list_add(&s->parked, bio);
	if (++s->nparked >= s->crowd) {
		if (s->gathering)
			hrtimer_try_to_cancel(&s->gather);
		s->gathering = false;
		fzc_engine_kick(dev);
	} else if (!s->gathering) {
		s->gathering = true;
		hrtimer_start(&s->gather, ns_to_ktime(GATHER_NS), HRTIMER_MODE_REL_SOFT);
	}
}

static enum hrtimer_restart gathered(struct hrtimer *timer)
{
	struct fzc_dev *dev = container_of(timer, struct fzc_dev, hio.gather);
	struct fzc_hio_set *s = &dev->hio;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (s->gathering) {	/* else the crowd came just now */
		s->gathering = false;
		s->crowd = s->nparked;
		fzc_engine_kick(dev);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	return HRTIMER_NORESTART;
}

/* A first content that is whole needs no completing. */
static void simplify(const struct fzc_hio *h, u64 block, struct fzc_spot *spot)
{
	u64 head = block << h->dev->geo.block_shift;

	if (spot->kind == FZC_SPOT_NEW && start_of(h) <= head &&
	    end_of(h) >= head + fzc_dev_block_bytes(h->dev, block))
		spot->kind = FZC_SPOT_AT;
}

/*
 * A bio within one block is passed on to wherever that is, unless that takes
 * more than another address.  False: it has to be carried out in parts.
 */
static noinline bool pass_on(struct fzc_dev *dev, struct bio *bio, struct fzc_hio *h)
{
	struct fzc_hio_set *s = &dev->hio;
	struct fzc_spot spot;
	bool slot;

	if (h->first != h->last || is_zeroes(bio))
		return false;
	s->ops->place(dev, h, h->first, &spot);
	simplify(h, h->first, &spot);
	if (spot.kind == FZC_SPOT_CHECK)	/* will be taken again */
		s->ops->put(dev, spot.dev, spot.slot, 1);
	if (spot.kind != FZC_SPOT_AT)
		return false;
	slot = spot.dev != FZC_DATA;
	h->held = true;
	h->which = spot.dev;
	h->slot = spot.slot;
	h->diff = slot && h->write;
	h->reads_slot = slot && !h->write;
	bio_set_dev(bio, dev->bdev[spot.dev]);
	if (slot)	/* the ticket that it waits for flushes DIFF */
		bio->bi_opf &= ~REQ_FUA;
	bio->bi_iter.bi_sector = (fzc_dev_at(dev, spot.dev, h->first, spot.slot) + start_of(h) -
				  (h->first << dev->geo.block_shift)) >> SECTOR_SHIFT;
	return true;
}

/* DM_MAPIO_*: REMAPPED is to be submitted, else the bio is taken or refused. */
static int begin(struct fzc_dev *dev, struct bio *bio, struct fzc_hio *h)
{
	struct fzc_hio_set *s = &dev->hio;

	lockdep_assert_held(&dev->lock);
	s->pacing -= h->pacing;
	h->pacing = false;
	switch (s->ops->begin(dev, h)) {
	case FZC_GO_DATA:
		h->which = FZC_DATA;
		bio_set_dev(bio, dev->bdev[FZC_DATA]);
		bio->bi_opf = opf_of(bio);
		return DM_MAPIO_REMAPPED;
	case FZC_GO_MIXED:
		if (h->flush) {
			bio_list_add(&s->waiting, bio);
			fzc_engine_kick(dev);
			return DM_MAPIO_SUBMITTED;
		}
		if (pass_on(dev, bio, h))
			return DM_MAPIO_REMAPPED;
		bio_list_add(&s->mixed, bio);
		queue_work(dev->wq, &s->mixed_work);
		return DM_MAPIO_SUBMITTED;
	case FZC_GO_PACE:
		pace(dev, h);
		fallthrough;
	case FZC_GO_PARK:
		park(dev, bio);
		return DM_MAPIO_SUBMITTED;
	default:
		return DM_MAPIO_KILL;
	}
}

int fzc_hio_map(struct fzc_dev *dev, struct bio *bio)
{
	struct fzc_hio *h = hio_of(bio);
	int r;

	memset_startat(h, 0, status);
	h->dev = dev;
	h->iter = bio->bi_iter;
	h->bio_flags = bio->bi_flags;
	h->flush = bio->bi_opf & REQ_PREFLUSH;
	if (!bio_sectors(bio) && !h->flush) {
		bio_set_dev(bio, dev->bdev[FZC_DATA]);
		return DM_MAPIO_REMAPPED;
	}
	if (bio_op(bio) == REQ_OP_DISCARD && !dev->hio.can_zero) {
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	}
	h->write = op_is_write(bio_op(bio)) && !h->flush;
	h->fua = bio->bi_opf & REQ_FUA;
	h->first = 0;
	h->last = 0;
	if (!h->flush) {
		h->first = start_of(h) >> dev->geo.block_shift;
		h->last = (end_of(h) - 1) >> dev->geo.block_shift;
	}
	bio_clear_polled(bio);
	spin_lock_irq(&dev->lock);
	dev->hio.taken++;
	r = begin(dev, bio, h);
	spin_unlock_irq(&dev->lock);
	return r;
}

static void note_error(struct fzc_hio *h, u8 which, blk_status_t status)
{
	if (!status)
		return;
	if (h->write && which != FZC_DATA)
		h->diff_err = true;
	else
		h->status = status;
}

/* Even if it was submitted, and split on the way. */
static void as_it_came(struct bio *bio)
{
	struct fzc_hio *h = hio_of(bio);

	bio->bi_iter = h->iter;
	bio->bi_flags = h->bio_flags;
	bio->bi_opf |= h->fua ? REQ_FUA : 0;
	bio->bi_status = BLK_STS_OK;
	atomic_set(&bio->__bi_remaining, 1);
}

/* All of a bio ended.  True: complete it. */
static bool finish(struct fzc_dev *dev, struct bio *bio, struct fzc_hio *h)
{
	unsigned long flags;
	bool done = false;

	spin_lock_irqsave(&dev->lock, flags);
	if (h->reads_slot)
		dev->hio.ops->put(dev, h->which, h->slot, 1);
	h->reads_slot = false;
	switch (dev->hio.ops->end(dev, h)) {
	case FZC_HIO_AGAIN:
		as_it_came(bio);
		h->status = BLK_STS_OK;
		h->diff = false;
		h->diff_err = false;
		park(dev, bio);
		fzc_engine_kick(dev);
		break;
	case FZC_HIO_WAIT:
		bio_list_add(&dev->hio.waiting, bio);
		fzc_engine_kick(dev);
		break;
	case FZC_HIO_DONE:
		done = true;
		break;
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	return done;
}

int fzc_hio_endio(struct fzc_dev *dev, struct bio *bio, blk_status_t *error)
{
	struct fzc_hio *h = hio_of(bio);

	if (!h->held)
		return DM_ENDIO_DONE;
	h->held = false;
	note_error(h, h->which, *error);
	if (!finish(dev, bio, h))
		return DM_ENDIO_INCOMPLETE;
	*error = h->status;
	return DM_ENDIO_DONE;
}

static void part_done(struct bio *parent)
{
	struct fzc_hio *h = hio_of(parent);

	if (!atomic_dec_and_test(&h->parts))
		return;
	if (finish(h->dev, parent, h)) {
		parent->bi_status = h->status;
		bio_endio(parent);
	}
}

static void part_ended(struct bio *bio)
{
	struct part *part = container_of(bio, struct part, bio);
	struct bio *parent = part->parent;
	struct fzc_dev *dev = hio_of(parent)->dev;
	unsigned long flags;

	note_error(hio_of(parent), part->which, bio->bi_status);
	if (part->n) {
		spin_lock_irqsave(&dev->lock, flags);
		dev->hio.ops->put(dev, part->which, part->slot, part->n);
		spin_unlock_irqrestore(&dev->lock, flags);
	}
	bio_put(bio);
	part_done(parent);
}

/* Bytes @skip...@skip + @bytes - 1 of the bio go to, or come from, byte @at of @which. */
static void submit_part(struct bio *parent, u8 which, u64 at, u32 skip, u32 bytes, u32 slot, u32 n)
{
	struct fzc_hio *h = hio_of(parent);
	struct bio *bio = bio_alloc_clone(h->dev->bdev[which], parent, GFP_NOIO,
					  &h->dev->hio.parts);
	struct part *part = container_of(bio, struct part, bio);

	part->parent = parent;
	part->which = which;
	part->slot = slot;
	part->n = n;
	bio->bi_opf = opf_of(parent);
	if (which != FZC_DATA)	/* the ticket that it waits for flushes DIFF */
		bio->bi_opf &= ~REQ_FUA;
	bio->bi_end_io = part_ended;
	if (is_zeroes(parent))
		bio->bi_iter.bi_sector += skip >> SECTOR_SHIFT;
	else
		bio_advance(bio, skip);
	bio->bi_iter.bi_size = bytes;
	bio->bi_iter.bi_sector = at >> SECTOR_SHIFT;
	atomic_inc(&h->parts);
	submit_bio_noacct(bio);
}

static void zero_part_ended(void *ctx, int err)
{
	struct bio *parent = ctx;

	note_error(hio_of(parent), FZC_DIFF, errno_to_blk_status(err));
	part_done(parent);
}

/* Write-zeroes to slots. */
static void zero_slots(struct bio *parent, u8 which, u64 at, u32 bytes)
{
	struct fzc_hio *h = hio_of(parent);
	struct fzc_dev *dev = h->dev;

	while (bytes) {
		u32 n = min(bytes, FZC_MAX_RUN_BYTES);

		atomic_inc(&h->parts);
		fzc_io_zero(&dev->io, dev->bdev[which], at, n, zero_part_ended, parent);
		at += n;
		bytes -= n;
	}
}

/* A read of what is known to be zero. */
static void zero_bytes(struct bio *parent, u32 skip, u32 bytes)
{
	struct bvec_iter iter = hio_of(parent)->iter, start;
	struct bio_vec bv;

	bio_advance_iter(parent, &iter, skip);
	iter.bi_size = bytes;
	start = iter;
	__bio_for_each_segment(bv, parent, iter, start)
		memzero_bvec(&bv);
}

static struct fzc_fill *try_get_fill(struct fzc_hio_set *s)
{
	struct fzc_fill *f;
	unsigned long flags;

	spin_lock_irqsave(&s->fill_lock, flags);
	f = list_first_entry_or_null(&s->free_fills, struct fzc_fill, list);
	if (f)
		list_del(&f->list);
	spin_unlock_irqrestore(&s->fill_lock, flags);
	return f;
}

static void put_fill(struct fzc_hio_set *s, struct fzc_fill *f)
{
	unsigned long flags;

	spin_lock_irqsave(&s->fill_lock, flags);
	list_add(&f->list, &s->free_fills);
	/* under the lock: the parent, which keeps @s, may end right after */
	wake_up(&s->fill_wait);
	spin_unlock_irqrestore(&s->fill_lock, flags);
}

static void fill_written(void *ctx, int err)
{
	struct fzc_fill *f = ctx;
	struct bio *parent = f->parent;
	struct fzc_hio *h = hio_of(parent);

	note_error(h, FZC_DIFF, errno_to_blk_status(err));
	put_fill(&h->dev->hio, f);
	part_done(parent);
}

static void fill_read(void *ctx, int err)
{
	struct fzc_fill *f = ctx;
	struct fzc_hio_set *s = &hio_of(f->parent)->dev->hio;
	unsigned long flags;

	f->err = err;
	spin_lock_irqsave(&s->fill_lock, flags);
	list_add_tail(&f->list, &s->read_fills);
	queue_work(s->fill_wq, &s->fill_work);
	spin_unlock_irqrestore(&s->fill_lock, flags);
}

/* Byte @at of the block on into @to. */
static void from_block(struct fzc_fill *f, u32 at, void *to, u32 len)
{
	while (len) {
		u32 n = min_t(u32, len, PAGE_SIZE - at % PAGE_SIZE);

		memcpy(to, page_address(f->pages[at / PAGE_SIZE]) + at % PAGE_SIZE, n);
		to += n;
		at += n;
		len -= n;
	}
}

static void to_block(struct fzc_fill *f, u32 at, const void *from, u32 len)
{
	while (len) {
		u32 n = min_t(u32, len, PAGE_SIZE - at % PAGE_SIZE);
		u8 *to = (u8 *)page_address(f->pages[at / PAGE_SIZE]) + at % PAGE_SIZE;

		if (from) {
			memcpy(to, from, n);
			from += n;
		} else {
			memset(to, 0, n);
		}
		at += n;
		len -= n;
	}
}

/* Lay the bio's bytes over the block; or, for a read, the other way round. */
static void overlay(struct fzc_fill *f)
{
	struct bio *bio = f->parent;
	struct bvec_iter iter = hio_of(bio)->iter, start;
	struct bio_vec bv;
	u32 at = f->from;

	if (is_zeroes(bio)) {
		to_block(f, at, NULL, f->bytes);
		return;
	}
	bio_advance_iter(bio, &iter, f->skip);
	iter.bi_size = f->bytes;
	start = iter;
	__bio_for_each_segment(bv, bio, iter, start) {
		void *from = bvec_kmap_local(&bv);

		if (f->check)
			from_block(f, at, from, bv.bv_len);
		else
			to_block(f, at, from, bv.bv_len);
		kunmap_local(from);
		at += bv.bv_len;
	}
}

/* R16: what a stage gives is not trusted. */
static void check_one(struct fzc_dev *dev, struct fzc_fill *f)
{
	struct bio *parent = f->parent;
	unsigned long flags;

	if (!f->err && fzc_io_crc(f->pages, fzc_dev_block_bytes(dev, f->block)) != f->crc)
		f->err = -EBADMSG;
	if (!f->err && dev->hio.ops->open)
		f->err = dev->hio.ops->open(dev, f->which, f->slot, f->block, f->pages);
	if (f->err == -EBADMSG) {
		pr_err_ratelimited("%s: block %llu: the staged content does not match its checksum or tag\n",
				   dev->name, f->block);
		f->err = -EIO;
	}
	if (f->err)
		hio_of(parent)->status = errno_to_blk_status(f->err);
	else
		overlay(f);
	spin_lock_irqsave(&dev->lock, flags);
	dev->hio.ops->put(dev, f->which, f->slot, 1);
	spin_unlock_irqrestore(&dev->lock, flags);
	put_fill(&dev->hio, f);
	part_done(parent);
}

static void fill_one(struct fzc_dev *dev, struct fzc_fill *f)
{
	if (f->check) {
		check_one(dev, f);
		return;
	}
	if (f->err) {
		/* not the slot's failure: the host gets its error, as from any disk */
		struct bio *parent = f->parent;

		hio_of(parent)->status = errno_to_blk_status(f->err);
		put_fill(&dev->hio, f);
		part_done(parent);
		return;
	}
	overlay(f);
	fzc_io_pages(&dev->io, dev->bdev[FZC_DIFF], REQ_OP_WRITE | REQ_SYNC,
		     fzc_dev_at(dev, FZC_DIFF, f->block, f->slot), f->pages,
		     fzc_dev_block_bytes(dev, f->block), fill_written, f);
}

static void fill_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(work, struct fzc_dev, hio.fill_work);
	struct fzc_hio_set *s = &dev->hio;
	struct fzc_fill *f, *next;
	unsigned long flags;
	LIST_HEAD(list);

	spin_lock_irqsave(&s->fill_lock, flags);
	list_splice_init(&s->read_fills, &list);
	spin_unlock_irqrestore(&s->fill_lock, flags);
	list_for_each_entry_safe(f, next, &list, list)
		fill_one(dev, f);
}

static void submit_fill(struct bio *parent, u64 block, const struct fzc_spot *spot, u32 skip,
			u32 from, u32 bytes)
{
	struct fzc_hio *h = hio_of(parent);
	struct fzc_dev *dev = h->dev;
	struct fzc_hio_set *s = &dev->hio;
	struct fzc_fill *f;

	wait_event(s->fill_wait, (f = try_get_fill(s)));
	f->parent = parent;
	f->block = block;
	f->slot = spot->slot;
	f->check = spot->kind == FZC_SPOT_CHECK;
	f->which = f->check ? spot->dev : FZC_DATA;
	f->crc = spot->crc;
	f->skip = skip;
	f->from = from;
	f->bytes = bytes;
	atomic_inc(&h->parts);
	fzc_io_pages(&dev->io, dev->bdev[f->which], REQ_OP_READ | REQ_SYNC,
		     fzc_dev_at(dev, f->which, block, f->slot), f->pages,
		     fzc_dev_block_bytes(dev, block), fill_read, f);
}

/* Blocks @block...@block + @n - 1 have places that follow @spot. */
static void submit_run(struct bio *parent, u64 block, u32 n, const struct fzc_spot *spot)
{
	struct fzc_hio *h = hio_of(parent);
	struct fzc_dev *dev = h->dev;
	u64 head = block << dev->geo.block_shift;
	u64 from = max(start_of(h), head);
	u64 to = min(end_of(h), (block + n) << dev->geo.block_shift);
	u32 skip = from - start_of(h), bytes = to - from;
	u64 at = fzc_dev_at(dev, spot->dev, block, spot->slot) + (from - head);
	bool slots = spot->dev != FZC_DATA;

	switch (spot->kind) {
	case FZC_SPOT_NEW:
		h->diff = true;
		submit_fill(parent, block, spot, skip, from - head, bytes);
		break;
	case FZC_SPOT_CHECK:
		submit_fill(parent, block, spot, skip, from - head, bytes);
		break;
	case FZC_SPOT_ZERO:
		zero_bytes(parent, skip, bytes);
		break;
	case FZC_SPOT_BAD:
		h->status = BLK_STS_IOERR;
		break;
	case FZC_SPOT_AT:
		if (h->write && slots)
			h->diff = true;
		if (slots && is_zeroes(parent))
			zero_slots(parent, spot->dev, at, bytes);
		else
			submit_part(parent, spot->dev, at, skip, bytes, spot->slot,
				    slots && !h->write ? n : 0);
		break;
	}
}

static bool follows(const struct fzc_spot *a, const struct fzc_spot *b)
{
	if (a->kind != b->kind || a->kind == FZC_SPOT_NEW || a->kind == FZC_SPOT_CHECK ||
	    a->dev != b->dev)
		return false;
	return a->kind != FZC_SPOT_AT || a->dev == FZC_DATA || b->slot == a->slot + 1;
}

/* Sleeps for memory that comes back by itself: every part is submitted as it is allocated. */
static void carry_out(struct fzc_dev *dev, struct bio *bio)
{
	struct fzc_hio *h = hio_of(bio);
	struct fzc_spot spot[SPOTS];
	unsigned long flags;
	u64 block;
	u32 i, n, run;

	atomic_set(&h->parts, 1);
	for (block = h->first; block <= h->last; block += n) {
		n = min_t(u64, h->last - block + 1, SPOTS);
		spin_lock_irqsave(&dev->lock, flags);
		for (i = 0; i < n; i++) {
			dev->hio.ops->place(dev, h, block + i, &spot[i]);
			simplify(h, block + i, &spot[i]);
		}
		spin_unlock_irqrestore(&dev->lock, flags);
		for (i = 0; i < n; i += run) {
			for (run = 1; i + run < n; run++)
				if (!follows(&spot[i + run - 1], &spot[i + run]))
					break;
			submit_run(bio, block + i, run, &spot[i]);
		}
	}
	part_done(bio);
}

static void mixed_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(work, struct fzc_dev, hio.mixed_work);
	struct bio *bio;
	unsigned long flags;

	for (;;) {
		spin_lock_irqsave(&dev->lock, flags);
		bio = bio_list_pop(&dev->hio.mixed);
		spin_unlock_irqrestore(&dev->lock, flags);
		if (!bio)
			break;
		carry_out(dev, bio);
		cond_resched();
	}
}

void fzc_hio_wake(struct fzc_dev *dev)
{
	struct fzc_hio_set *s = &dev->hio;
	struct bio_list list;
	struct bio *bio;
	int r;

	spin_lock_irq(&dev->lock);
	list = s->parked;
	bio_list_init(&s->parked);
	s->nparked = 0;
	if (++s->wakes % TRY_EVERY == 0)
		s->crowd = MAX_CROWD;
	spin_unlock_irq(&dev->lock);

	while ((bio = bio_list_pop(&list))) {
		spin_lock_irq(&dev->lock);
		r = begin(dev, bio, hio_of(bio));
		spin_unlock_irq(&dev->lock);
		if (r == DM_MAPIO_REMAPPED)
			submit_bio_noacct(bio);
		else if (r == DM_MAPIO_KILL)
			bio_io_error(bio);
	}
}

static void pace_work(struct work_struct *work)
{
	fzc_hio_wake(container_of(to_delayed_work(work), struct fzc_dev, hio.pace_work));
}

void fzc_hio_stop(struct fzc_dev *dev)
{
	cancel_delayed_work_sync(&dev->hio.pace_work);
	hrtimer_cancel(&dev->hio.gather);
	dev->hio.gathering = false;
}

void fzc_hio_synced(struct fzc_dev *dev, u64 ticket, int err)
{
	struct bio_list list, later, ended;
	struct bio *bio;
	unsigned long flags;

	bio_list_init(&later);
	bio_list_init(&ended);
	spin_lock_irqsave(&dev->lock, flags);
	list = dev->hio.waiting;
	while ((bio = bio_list_pop(&list)))
		bio_list_add(hio_of(bio)->ticket <= ticket ? &ended : &later, bio);
	dev->hio.waiting = later;
	spin_unlock_irqrestore(&dev->lock, flags);

	while ((bio = bio_list_pop(&ended))) {
		bio->bi_status = errno_to_blk_status(err);
		bio_endio(bio);
	}
}

static int alloc_fills(struct fzc_dev *dev)
{
	struct fzc_hio_set *s = &dev->hio;
	u32 pages = DIV_ROUND_UP(dev->geo.block_size, PAGE_SIZE), i, k;

	s->nfill = clamp(FILL_BYTES / dev->geo.block_size, 2U, MAX_FILLS);
	s->fill = kcalloc(s->nfill, sizeof(*s->fill), GFP_KERNEL);
	if (!s->fill)
		return -ENOMEM;
	for (i = 0; i < s->nfill; i++) {
		s->fill[i].pages = kcalloc(pages, sizeof(struct page *), GFP_KERNEL);
		if (!s->fill[i].pages)
			return -ENOMEM;
		for (k = 0; k < pages; k++) {
			s->fill[i].pages[k] = alloc_page(GFP_KERNEL);
			if (!s->fill[i].pages[k])
				return -ENOMEM;
		}
		list_add_tail(&s->fill[i].list, &s->free_fills);
	}
	s->fill_wq = alloc_workqueue("fzc_fill/%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, dev->name);
	return s->fill_wq ? 0 : -ENOMEM;
}

int fzc_hio_init(struct fzc_dev *dev, const struct fzc_hio_ops *ops)
{
	struct fzc_hio_set *s = &dev->hio;
	int r;

	s->ops = ops;
	bio_list_init(&s->parked);
	bio_list_init(&s->mixed);
	bio_list_init(&s->waiting);
	fzc_timer_init(&s->gather, gathered);
	INIT_WORK(&s->mixed_work, mixed_work);
	INIT_DELAYED_WORK(&s->pace_work, pace_work);
	INIT_WORK(&s->fill_work, fill_work);
	INIT_LIST_HEAD(&s->free_fills);
	INIT_LIST_HEAD(&s->read_fills);
	spin_lock_init(&s->fill_lock);
	init_waitqueue_head(&s->fill_wait);
	s->can_zero = bdev_write_zeroes_sectors(dev->bdev[FZC_DATA]);
	r = bioset_init(&s->parts, PARTS, offsetof(struct part, bio), 0);
	return r ?: alloc_fills(dev);
}

void fzc_hio_exit(struct fzc_dev *dev)
{
	struct fzc_hio_set *s = &dev->hio;
	u32 pages = DIV_ROUND_UP(dev->geo.block_size, PAGE_SIZE), i, k;

	if (s->fill_wq)
		destroy_workqueue(s->fill_wq);
	for (i = 0; s->fill && i < s->nfill; i++) {
		for (k = 0; s->fill[i].pages && k < pages; k++)
			if (s->fill[i].pages[k])
				__free_page(s->fill[i].pages[k]);
		kfree(s->fill[i].pages);
	}
	kfree(s->fill);
	bioset_exit(&s->parts);
}
