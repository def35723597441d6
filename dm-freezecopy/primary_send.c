// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sending: pick a run, read it, compress it if that is wanted, put it on the wire.
 *
 * A struct fzc_send is taken by the work, then belongs to its reads, then to
 * the work again, then to the link, which gives it back with tx_done.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include "core/wire.h"
#include "primary.h"

static u32 sends_busy(const struct fzc_primary *pr)
{
	u32 i, busy = 0;

	for (i = 0; i < FZC_SENDS; i++)
		busy += test_bit(0, &pr->send[i].busy);
	return busy;
}

/*
 * For some frames at a time: the work takes the processor from the host's
 * writes.  Of those that are with their reads or the link each kicks at its end.
 */
void fzc_primary_send_kick(struct fzc_primary *pr)
{
	if (sends_busy(pr) <= FZC_SENDS / 2)
		queue_work(pr->dev.wq, &pr->send_work);
}

static void free_pages_of(struct fzc_send *s)
{
	u32 i;

	for (i = 0; i < FZC_COPY_PAGES && s->page[i]; i++) {
		put_page(s->page[i]);
		s->page[i] = NULL;
	}
}

static void put_send(struct fzc_send *s)
{
	free_pages_of(s);
	clear_bit_unlock(0, &s->busy);
}

static void put_pieces(struct fzc_send *s)
{
	if (atomic_dec_and_test(&s->pieces))
		put_send(s);
}

/* The pages cannot be used again: the socket may still refer to them. */
void fzc_primary_tx_done(void *ctx, void *cookie)
{
	struct fzc_send *s = cookie;
	struct fzc_primary *pr = s->pr;

	put_pieces(s);
	fzc_primary_send_kick(pr);
}

static struct fzc_send *get_send(struct fzc_primary *pr)
{
	u32 i;

	for (i = 0; i < FZC_SENDS; i++)
		if (!test_and_set_bit_lock(0, &pr->send[i].busy))
			return &pr->send[i];
	return NULL;
}

bool fzc_primary_send_idle(struct fzc_primary *pr)
{
	return !sends_busy(pr);
}

/* Gives up at once where there is no memory: the host must not wait for it. */
static bool get_pages(struct fzc_send *s)
{
	u32 n = DIV_ROUND_UP(s->length, PAGE_SIZE), i;

	for (i = 0; i < n; i++) {
		s->page[i] = alloc_page(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
		if (!s->page[i])
			return false;
	}
	return true;
}

static void read_done(struct fzc_send *s)
{
	struct fzc_primary *pr = s->pr;
	unsigned long flags;

	if (!atomic_dec_and_test(&s->left))
		return;
	/* once it is on the list, only the lock keeps a stop from letting @pr go */
	spin_lock_irqsave(&pr->dev.lock, flags);
	llist_add(&s->read, &pr->sends_read);
	queue_work(pr->dev.wq, &pr->send_work);
	spin_unlock_irqrestore(&pr->dev.lock, flags);
}

static void read_ended(void *ctx, int err)
{
	struct fzc_send *s = ctx;

	if (err)
		s->err = err;
	read_done(s);
}

static void find_sources(struct fzc_send *s)
{
	struct fzc_primary *pr = s->pr;
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&pr->dev.lock, flags);
	for (i = 0; i < s->x->n; i++)
		if (fzc_p_source(&pr->core, s->x, s->x->first + i, &s->slot[i]) == FZC_AT_DATA)
			s->slot[i] = FZC_NO_SLOT;
	spin_unlock_irqrestore(&pr->dev.lock, flags);
}

static bool follows(u32 a, u32 b)
{
	return a == FZC_NO_SLOT ? b == FZC_NO_SLOT : b == a + 1;
}

static void read_run(struct fzc_send *s)
{
	struct fzc_dev *dev = &s->pr->dev;
	u32 per = dev->geo.block_size / PAGE_SIZE, n = s->x->n, i, run;

	find_sources(s);
	s->err = 0;
	atomic_set(&s->left, 1);
	for (i = 0; i < n; i += run) {
		u8 which = s->slot[i] == FZC_NO_SLOT ? FZC_DATA : FZC_DIFF;
		u64 block = s->x->first + i;
		u32 bytes;

		for (run = 1; i + run < n; run++)
			if (!follows(s->slot[i + run - 1], s->slot[i + run]))
				break;
		bytes = fzc_wire_data_length(&dev->geo, block, run, 0);
		atomic_inc(&s->left);
		fzc_io_pages(&dev->io, dev->bdev[which], REQ_OP_READ,
			     fzc_dev_at(dev, which, block, s->slot[i]), &s->page[i * per], bytes,
			     read_ended, s);
	}
	read_done(s);
}

static void unpick(struct fzc_send *s, bool read_error)
{
	struct fzc_dev *dev = &s->pr->dev;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	fzc_p_unpick(&s->pr->core, s->x, read_error);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	put_send(s);
}

/* False: nothing to be sent now. */
static bool pick(struct fzc_primary *pr)
{
	struct fzc_send *s = get_send(pr);
	struct fzc_dev *dev = &pr->dev;
	unsigned long flags;

	if (!s)
		return false;
	spin_lock_irqsave(&dev->lock, flags);
	s->x = dev->engine.running && !pr->send_retry ? fzc_p_pick(&pr->core) : NULL;
	if (s->x)
		fzc_engine_kick_soon(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	if (!s->x) {
		put_send(s);
		return false;
	}
	s->length = fzc_wire_data_length(&dev->geo, s->x->first, s->x->n, 0);
	if (!get_pages(s)) {
		pr->send_retry = true;
		unpick(s, false);
		return false;
	}
	read_run(s);
	return true;
}

static bool is_zero(const struct fzc_send *s, u32 block)
{
	const struct fzc_geometry *geo = &s->pr->dev.geo;
	u32 left = fzc_wire_data_length(geo, s->x->first + block, 1, 0);
	u32 i = block * (geo->block_size / PAGE_SIZE);

	for (; left; i++) {
		u32 n = min_t(u32, left, PAGE_SIZE);

		if (memchr_inv(page_address(s->page[i]), 0, n))
			return false;
		left -= n;
	}
	return true;
}

/* Where zeroes begin and end; the last piece takes the rest as it is.  Returns their number. */
static u32 find_pieces(struct fzc_send *s)
{
	struct fzc_piece *last = s->piece;
	u32 n = 0, i;

	for (i = 0; i < s->x->n; i++) {
		bool zero = is_zero(s, i);

		if (!n || (zero != last->zero && n < FZC_PIECES)) {
			last = &s->piece[n++];
			last->first = i;
			last->zero = zero;
		}
		last->zero &= zero;
	}
	return n;
}

/* A transfer for each of the @n pieces, or as many as there are. */
static u32 split_pieces(struct fzc_send *s, u32 n)
{
	struct fzc_piece *piece = s->piece;
	struct fzc_xfer *rest;
	u32 i;

	lockdep_assert_held(&s->pr->dev.lock);
	piece[0].x = s->x;
	for (i = 0; i + 1 < n; i++) {
		rest = fzc_p_split(&s->pr->core, piece[i].x, piece[i + 1].first - piece[i].first);
		if (!rest) {	/* all that is left in one, with its zeroes */
			piece[i].zero = false;
			return i + 1;
		}
		piece[i + 1].x = rest;
	}
	return n;
}

static struct page **pages_of(struct fzc_send *s, const struct fzc_piece *piece)
{
	return s->page + piece->first * (s->pr->dev.geo.block_size / PAGE_SIZE);
}

/* Embodiment 4: is it staged, and encrypted there? */
static bool is_encrypted(const struct fzc_send *s, const struct fzc_piece *piece)
{
	return s->pr->dev.encrypt && !piece->zero && !piece->x->direct;
}

static u32 plain_length(const struct fzc_send *s, const struct fzc_piece *piece)
{
	return fzc_wire_data_length(&s->pr->dev.geo, piece->x->first, piece->x->n, 0);
}

/* Each by itself: that is how a stage has them.  Returns what they take then. */
static u32 compress_blocks(struct fzc_send *s, const struct fzc_piece *piece)
{
	struct fzc_primary *pr = s->pr;
	u32 per = pr->dev.geo.block_size / PAGE_SIZE, total = 0, i;

	for (i = piece->first; i < piece->first + piece->x->n; i++) {
		u32 bytes = fzc_wire_data_length(&pr->dev.geo, s->x->first + i, 1, 0);

		s->packed[i] = fzc_compress(pr->compressor, s->page + i * per, bytes);
		total += s->packed[i] ?: bytes;
		cond_resched();
	}
	return total;
}

/* Without the lock: it takes milliseconds. */
static void compress_pieces(struct fzc_send *s, u32 n)
{
	struct fzc_primary *pr = s->pr;
	u32 i;

	for (i = 0; i < n; i++) {
		struct fzc_piece *piece = &s->piece[i];

		piece->packed = 0;
		if (!pr->compressor || piece->zero)
			continue;
		if (is_encrypted(s, piece))
			piece->packed = compress_blocks(s, piece);
		else
			piece->packed = fzc_compress(pr->compressor, pages_of(s, piece),
						     plain_length(s, piece));
		cond_resched();
	}
}

/* What the payload is. */
static u32 form_of(const struct fzc_send *s, const struct fzc_piece *piece)
{
	if (piece->zero)
		return FZC_WIRE_ZERO;
	if (is_encrypted(s, piece))
		return FZC_WIRE_ENCRYPTED;
	return piece->packed ? s->pr->dev.compress : 0;
}

static void send_piece(struct fzc_send *s, struct fzc_piece *piece)
{
	struct fzc_primary *pr = s->pr;
	struct fzc_frame *f = &piece->tx.frame;
	const struct fzc_xfer *x = piece->x;

	memset(f, 0, sizeof(*f));
	f->type = FZC_MSG_DATA;
	f->flags = form_of(s, piece) | (x->direct ? FZC_WIRE_DIRECT : 0);
	f->length = fzc_wire_data_length(&pr->dev.geo, x->first, x->n, f->flags);
	if (piece->packed) {
		pr->tx_saved += f->length - piece->packed;
		f->length = piece->packed;
	}
	f->frame = x->frame;
	f->first = x->first;
	f->n = x->n;
	f->image = x->image;
	piece->tx.pages = piece->zero ? NULL : pages_of(s, piece);
	piece->tx.stage_key = pr->core.sb.keys.stage;
	piece->tx.packed = piece->packed ? s->packed + piece->first : NULL;
	piece->tx.way = pr->dev.compress;
	piece->tx.cookie = s;
	pr->tx_blocks += x->n;
	atomic_inc(&s->pieces);
	fzc_link_send_data(pr->dev.link, &piece->tx);
}

static void send_one(struct fzc_send *s)
{
	struct fzc_primary *pr = s->pr;
	struct fzc_dev *dev = &pr->dev;
	u32 i, n = s->err ? 0 : find_pieces(s);
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	for (i = 0; i < s->x->n; i++)
		if (s->slot[i] != FZC_NO_SLOT)
			fzc_p_slot_put(&pr->core, s->slot[i]);
	if (n)
		n = split_pieces(s, n);
	spin_unlock_irqrestore(&dev->lock, flags);
	if (!n) {
		unpick(s, true);
		return;
	}
	compress_pieces(s, n);
	atomic_set(&s->pieces, 1);
	/* what fzc_p_sent() gives a number goes to the wire under the same hold of the lock */
	spin_lock_irqsave(&dev->lock, flags);
	for (i = 0; i < n; i++)
		if (fzc_p_sent(&pr->core, s->piece[i].x))
			send_piece(s, &s->piece[i]);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	put_pieces(s);
}

static void send_work(struct work_struct *work)
{
	struct fzc_primary *pr = container_of(work, struct fzc_primary, send_work);
	struct llist_node *list = llist_reverse_order(llist_del_all(&pr->sends_read));
	struct fzc_send *s, *next;

	llist_for_each_entry_safe(s, next, list, read)
		send_one(s);
	while (pick(pr))
		cond_resched();
	wake_up_all(&pr->dev.wait);
}

int fzc_primary_send_init(struct fzc_primary *pr)
{
	u32 i;

	INIT_WORK(&pr->send_work, send_work);
	init_llist_head(&pr->sends_read);
	pr->send = kvcalloc(FZC_SENDS, sizeof(*pr->send), GFP_KERNEL);
	if (!pr->send)
		return -ENOMEM;
	if (pr->dev.compress) {
		pr->compressor = fzc_compressor_create(pr->dev.compress);
		if (!pr->compressor)
			return -ENOMEM;
	}
	for (i = 0; i < FZC_SENDS; i++)
		pr->send[i].pr = pr;
	return 0;
}

void fzc_primary_send_exit(struct fzc_primary *pr)
{
	fzc_compressor_destroy(pr->compressor);
	kvfree(pr->send);
}
