// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>
#include <linux/slab.h>
#include "core/wire.h"
#include "secondary.h"

/* ---- host bios ---- */

static enum fzc_go ablog_begin(struct fzc_dev *dev, struct fzc_hio *h)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;
	enum fzc_go go;

	if (h->flush)
		go = fzc_s_flush_begin(s);
	else if (h->write)
		go = fzc_s_write_begin(s, h->first, h->last);
	else
		go = fzc_s_read_begin(s, h->first, h->last, &h->token);
	h->held = go == FZC_GO_DATA;
	return go;
}

static void ablog_place(struct fzc_dev *dev, struct fzc_hio *h, u64 block, struct fzc_spot *spot)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;

	spot->kind = FZC_SPOT_AT;
	spot->dev = FZC_DATA;
	spot->slot = FZC_NO_SLOT;
	switch (fzc_s_read_place(s, block, &spot->dev, &spot->slot)) {
	case FZC_S_ZERO:
		spot->kind = FZC_SPOT_ZERO;
		break;
	case FZC_S_BAD:
		spot->kind = FZC_SPOT_BAD;
		break;
	case FZC_S_SLOT:
		spot->kind = FZC_SPOT_CHECK;
		spot->crc = fzc_s_slot_crc(s, spot->dev, spot->slot);
		break;
	default:
		break;
	}
}

static void ablog_put(struct fzc_dev *dev, u8 which, u32 slot, u32 n)
{
	while (n--)
		fzc_s_slot_put(&fzc_secondary_of(dev)->core, which);
	fzc_engine_kick_soon(dev);
}

static enum fzc_hio_end ablog_end(struct fzc_dev *dev, struct fzc_hio *h)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;

	if (h->flush)
		h->status = errno_to_blk_status(fzc_s_flush_end(s, blk_status_to_errno(h->status)));
	else if (h->write)
		fzc_s_write_end(s, h->first, h->last);
	else
		fzc_s_read_end(s, h->token);
	fzc_engine_kick_soon(dev);
	return FZC_HIO_DONE;
}

const struct fzc_hio_ops fzc_secondary_hio = {
	.begin = ablog_begin,
	.place = ablog_place,
	.put = ablog_put,
	.open = fzc_secondary_open,
	.end = ablog_end,
};

/* ---- frames ---- */

/* fzc_s_grows(): a frame waits for as many slots as are got in advance, or for ever. */
static_assert(FZC_CHUNK_SLOTS >= FZC_MAX_RUN);

static void free_pages_of(struct fzc_recv *r)
{
	u32 i;

	for (i = 0; i < FZC_COPY_PAGES && r->page[i]; i++) {
		__free_page(r->page[i]);
		r->page[i] = NULL;
	}
}

static void put_recv(struct fzc_recv *r)
{
	free_pages_of(r);
	r->rx = NULL;
	r->cut_off = false;
	clear_bit_unlock(0, &r->busy);
	wake_up_all(&r->sec->dev.wait);
}

static struct fzc_recv *try_get_recv(struct fzc_secondary *sec)
{
	u32 i;

	for (i = 0; i < FZC_RECVS; i++)
		if (!test_and_set_bit_lock(0, &sec->recv[i].busy))
			return &sec->recv[i];
	return NULL;
}

bool fzc_secondary_recv_idle(struct fzc_secondary *sec)
{
	u32 i;

	for (i = 0; i < FZC_RECVS; i++)
		if (test_bit(0, &sec->recv[i].busy))
			return false;
	return true;
}

static bool get_pages(struct fzc_recv *r, u32 length)
{
	u32 i;

	for (i = 0; i < DIV_ROUND_UP(length, PAGE_SIZE); i++) {
		r->page[i] = alloc_page(GFP_NOIO);
		if (!r->page[i])
			return false;
	}
	return true;
}

/*
 * Tell the core of the frame: false while it holds the receiver, which it may have begun
 * to do since the head was looked at (a commit, when all was verified).
 */
static bool take(struct fzc_recv *r, const struct fzc_frame *f, int *err, char *why)
{
	struct fzc_secondary *sec = r->sec;
	unsigned long flags;
	bool may;

	spin_lock_irqsave(&sec->dev.lock, flags);
	may = fzc_secondary_may_rx(sec, err);
	if (may && !*err) {
		r->rx = fzc_s_data(&sec->core, f->frame, f->image, f->first, f->n, f->flags);
		*err = r->rx ? 0 : -EPROTO;
		if (*err)
			strscpy(why, sec->core.reason, FZC_REASON_LEN);
	}
	spin_unlock_irqrestore(&sec->dev.lock, flags);
	return may;
}

int fzc_secondary_rx_data(void *ctx, const struct fzc_frame *f, const struct fzc_tag *tag,
			  struct page **pages, void **cookie)
{
	struct fzc_dev *dev = ctx;
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	char why[FZC_REASON_LEN];
	struct fzc_recv *r;
	int err;

	/* those that are busy end by their disk alone, which may hang: a stop waits for us */
	wait_event_idle(dev->wait, (r = try_get_recv(sec)) || READ_ONCE(dev->link_ending));
	if (!r)
		return -ESHUTDOWN;
	r->plain = fzc_wire_data_length(&dev->geo, f->first, f->n, f->flags);
	r->packed = f->length;
	r->payload_crc = f->payload_crc;
	r->compressed = f->flags & FZC_WIRE_COMPRESSED;
	r->encrypted = tag;
	if (tag)
		memcpy(r->tag, tag, f->n * sizeof(*tag));
	if (!get_pages(r, r->plain)) {
		put_recv(r);
		fzc_link_drop(dev->link, "no memory for a frame");
		return -ENOMEM;
	}
	wait_event_idle(dev->wait, take(r, f, &err, why));
	if (err) {
		put_recv(r);
		if (err == -EPROTO)
			fzc_link_drop(dev->link, why);
		return err;
	}
	memcpy(pages, r->page, DIV_ROUND_UP(r->plain, PAGE_SIZE) * sizeof(*pages));
	*cookie = r;
	return 0;
}

/* In the pages that it came in: -EBADMSG, and the connection is to end. */
static int decompress(struct fzc_recv *r)
{
	char why[FZC_REASON_LEN];

	if (!r->compressed || !fzc_decompress(r->sec->decompressor, r->compressed, r->page,
					      r->packed, r->plain))
		return 0;
	scnprintf(why, sizeof(why),
		  "frame: blocks %llu+%u, %u bytes of %s, expected to be %u when decompressed",
		  r->rx->first, r->rx->n, r->packed, fzc_compress_name(r->compressed), r->plain);
	fzc_link_drop(r->sec->dev.link, why);
	return -EBADMSG;
}

/* P6: nothing is kept that the primary did not encrypt. */
static int check(struct fzc_recv *r)
{
	char why[FZC_REASON_LEN];
	u64 block;
	int err = r->encrypted ? fzc_secondary_check(r->sec, r, &block) : 0;

	if (!err)
		return 0;
	if (err == -EBADMSG)
		scnprintf(why, sizeof(why),
			  "frame: block %llu does not verify, expected one under the stage's key: forged or damaged on the way",
			  block);
	else
		scnprintf(why, sizeof(why), "block %llu cannot be checked: %pe", block,
			  ERR_PTR(err));
	fzc_link_drop(r->sec->dev.link, why);
	return err;
}

static void report(struct fzc_recv *r)
{
	struct fzc_dev *dev = &r->sec->dev;
	unsigned long flags;

	free_pages_of(r);
	spin_lock_irqsave(&dev->lock, flags);
	fzc_s_data_done(&r->sec->core, r->rx, r->rx->zero ? NULL : r->crc, r->err);
	fzc_engine_kick(dev);
	/* under the lock: once it is put, only that keeps a stop from letting @dev go */
	put_recv(r);
	spin_unlock_irqrestore(&dev->lock, flags);
}

static void run_ended(void *ctx, int err)
{
	struct fzc_recv *r = ctx;

	if (err)
		r->err = err;
	if (atomic_dec_and_test(&r->left))
		report(r);
}

static void checksum(struct fzc_recv *r)
{
	struct fzc_dev *dev = &r->sec->dev;
	u32 per = dev->geo.block_size / PAGE_SIZE, i;

	if (r->rx->n == 1 && !r->compressed && !r->encrypted) {
		r->crc[0] = r->payload_crc;
		return;
	}
	for (i = 0; i < r->rx->n; i++)
		r->crc[i] = fzc_io_crc(&r->page[i * per],
				       fzc_dev_block_bytes(dev, r->rx->first + i));
}

static u8 find_places(struct fzc_recv *r)
{
	struct fzc_dev *dev = &r->sec->dev;
	unsigned long flags;
	u8 which = FZC_DATA;
	u32 i;

	spin_lock_irqsave(&dev->lock, flags);
	for (i = 0; i < r->rx->n; i++)
		which = fzc_s_data_place(&r->sec->core, r->rx, r->rx->first + i, &r->slot[i]);
	spin_unlock_irqrestore(&dev->lock, flags);
	return which;
}

static void write_run(struct fzc_recv *r, u8 which, u32 i, u32 run)
{
	struct fzc_dev *dev = &r->sec->dev;
	u64 block = r->rx->first + i;
	u64 at = fzc_dev_at(dev, which, block, r->slot[i]);
	u32 bytes = fzc_wire_data_length(&dev->geo, block, run, 0);

	atomic_inc(&r->left);
	if (r->rx->zero)
		fzc_io_zero(&dev->io, dev->bdev[which], at, bytes, run_ended, r);
	else
		fzc_io_pages(&dev->io, dev->bdev[which], REQ_OP_WRITE,
			     at, &r->page[i * (dev->geo.block_size / PAGE_SIZE)], bytes, run_ended,
			     r);
}

/* Before it is reported as written: the core has them written with the rest. */
static void note_tags(struct fzc_recv *r, u8 which)
{
	int err = fzc_secondary_note(r->sec, r, which);

	if (err)
		r->err = err;
}

static void write_all(struct fzc_recv *r)
{
	u8 which = find_places(r);
	u32 n = r->rx->n, i, run;

	for (i = 0; i < n; i += run) {
		for (run = 1; i + run < n; run++)
			if (which != FZC_DATA && r->slot[i + run] != r->slot[i + run - 1] + 1)
				break;
		write_run(r, which, i, run);
	}
	if (r->encrypted)
		note_tags(r, which);
}

int fzc_secondary_rx_payload(void *ctx, void *cookie, int err)
{
	struct fzc_recv *r = cookie;
	struct fzc_rx *rx = r->rx;

	if (!err && !rx->full)
		err = decompress(r) ?: check(r);
	if (err) {	/* to be reported when the core knows that the connection is gone */
		r->cut_off = true;
		return err;
	}
	r->err = 0;
	atomic_set(&r->left, 1);
	if (!rx->full) {
		if (!rx->zero)
			checksum(r);
		/* zeroes in a stage are only noted */
		if (!rx->zero || rx->direct)
			write_all(r);
	}
	run_ended(r, 0);
	return 0;
}

void fzc_secondary_recv_cut_off(struct fzc_secondary *sec)
{
	u32 i;

	lockdep_assert_held(&sec->dev.lock);
	for (i = 0; i < FZC_RECVS; i++) {
		struct fzc_recv *r = &sec->recv[i];

		if (!r->cut_off)
			continue;
		fzc_s_data_done(&sec->core, r->rx, NULL, -ECONNRESET);
		put_recv(r);
	}
}

int fzc_secondary_recv_init(struct fzc_secondary *sec)
{
	u32 i;

	sec->recv = kvcalloc(FZC_RECVS, sizeof(*sec->recv), GFP_KERNEL);
	sec->decompressor = fzc_compressor_create(0);
	if (!sec->recv || !sec->decompressor)
		return -ENOMEM;
	for (i = 0; i < FZC_RECVS; i++)
		sec->recv[i].sec = sec;
	return 0;
}

void fzc_secondary_recv_exit(struct fzc_secondary *sec)
{
	fzc_compressor_destroy(sec->decompressor);
	kvfree(sec->recv);
}
