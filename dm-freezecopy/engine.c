// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>
#include "core/wire.h"
#include "dev.h"
#include "engine.h"

/*
 * The worker is the only one that takes and gives back elements of op[]; what
 * ended is handed to it over a lockless list, since most I/O ends in an
 * interrupt and done() may be followed by more work at once.
 */

void fzc_engine_kick(struct fzc_dev *dev)
{
	if (dev->engine.running)
		queue_work(dev->wq, &dev->engine.work);
}

void fzc_engine_kick_soon(struct fzc_dev *dev)
{
	/* one that is pending runs, and looks, after this */
	if (dev->engine.running && !delayed_work_pending(&dev->engine.soon))
		queue_delayed_work(dev->wq, &dev->engine.soon, 1);
}

static void op_ended(void *ctx, int err)
{
	struct fzc_op *op = ctx;
	struct fzc_dev *dev = op->dev;
	unsigned long flags;

	op->err = err;
	/*
	 * @op may be reaped as soon as it is on the list; the lock keeps stop(),
	 * which takes it after the last one was, from letting @dev go before the
	 * work is queued.
	 */
	spin_lock_irqsave(&dev->lock, flags);
	llist_add(&op->ended, &dev->engine.ended);
	/* what ends while the worker submits it is reaped by its next round */
	if (current_work() != &dev->engine.work)
		queue_work(dev->wq, &dev->engine.work);
	spin_unlock_irqrestore(&dev->lock, flags);
}

static void put_op(struct fzc_op *op)
{
	op->busy = false;
}

static struct fzc_op *get_op(struct fzc_engine *e)
{
	int i;

	for (i = 0; i < FZC_ENGINE_OPS; i++)
		if (!e->op[i].busy) {
			e->op[i].busy = true;
			return &e->op[i];
		}
	return NULL;
}

static void reap(struct fzc_dev *dev)
{
	struct fzc_engine *e = &dev->engine;
	struct llist_node *list = llist_reverse_order(llist_del_all(&e->ended));
	struct fzc_op *op, *next;
	unsigned long flags;

	llist_for_each_entry_safe(op, next, list, ended) {
		spin_lock_irqsave(&dev->lock, flags);
		e->ops->done(dev, &op->act, op->err);
		if (op->act.kind == FZC_ACT_WRITE && op->epoch && !op->err)
			fzc_dev_wrapped(dev, op->epoch);
		spin_unlock_irqrestore(&dev->lock, flags);
		put_op(op);
		atomic_dec(&e->inflight);
	}
}

/* The actions that end at once. */
static void run_now(struct fzc_dev *dev, const struct fzc_act *act)
{
	switch (act->kind) {
	case FZC_ACT_SYNCED:
		fzc_hio_synced(dev, act->ticket, act->err);
		break;
	case FZC_ACT_WAKE:
		fzc_hio_wake(dev);
		break;
	case FZC_ACT_EVENT:
		fzc_dev_event(dev, act->event);
		break;
	case FZC_ACT_DROP:
		dev->engine.ops->drop(dev);
		break;
	case FZC_ACT_SHRINK:
		vfree(act->chunk);
		break;
	default:	/* SEND was done under the lock, AGAIN asks for nothing */
		break;
	}
}

static void write_page(struct fzc_dev *dev, struct fzc_op *op)
{
	const struct fzc_act *act = &op->act;
	int err = 0;

	op->epoch = 0;
	if (dev->sign)
		err = fzc_sign_page(dev->sign, &op->keys, act->dev, act->offset,
				    page_address(op->page), &op->epoch);
	if (err)
		op_ended(op, err);
	else
		fzc_io_pages(&dev->io, dev->bdev[act->dev],
			     REQ_OP_WRITE | REQ_META | REQ_SYNC | (act->fua ? REQ_FUA : 0),
			     act->offset, &op->page, FZC_PAGE, op_ended, op);
}

static void run(struct fzc_dev *dev, struct fzc_op *op)
{
	struct fzc_engine *e = &dev->engine;
	struct fzc_act *act = &op->act;

	switch (act->kind) {
	case FZC_ACT_WRITE:
		atomic_inc(&e->inflight);
		write_page(dev, op);
		break;
	case FZC_ACT_FLUSH:
		atomic_inc(&e->inflight);
		fzc_io_flush(&dev->io, dev->bdev[act->dev], op_ended, op);
		break;
	case FZC_ACT_GROW:
		atomic_inc(&e->inflight);
		act->chunk = fzc_dev_alloc_chunk();
		op_ended(op, 0);
		break;
	case FZC_ACT_TAGS:
		atomic_inc(&e->inflight);
		e->tagging = op;
		queue_work(dev->wq, &e->tags_work);
		break;
	case FZC_ACT_COPY:
		atomic_inc(&e->inflight);
		e->copying = op;
		queue_work(dev->wq, &e->copy_work);
		break;
	default:
		run_now(dev, act);
		put_op(op);
		break;
	}
}

static bool take(struct fzc_dev *dev, struct fzc_op *op)
{
	struct fzc_engine *e = &dev->engine;
	unsigned long flags;
	bool more;

	spin_lock_irqsave(&dev->lock, flags);
	more = e->running && !e->paused &&
	       e->ops->next(dev, &op->act, page_address(op->page));
	if (more && op->act.kind == FZC_ACT_SEND)
		e->ops->send(dev, &op->act.msg);
	if (more && op->act.kind == FZC_ACT_WRITE && dev->sign)
		op->keys = *dev->role->keys(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	return more;
}

static void engine_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(work, struct fzc_dev, engine.work);
	struct fzc_engine *e = &dev->engine;
	struct fzc_op *op;

	for (;;) {
		reap(dev);
		op = get_op(e);
		if (!op)	/* the end of one queues this work again */
			break;
		if (!take(dev, op)) {
			put_op(op);
			break;
		}
		run(dev, op);
		cond_resched();
	}
	e->ops->after(dev);
	wake_up_all(&dev->wait);
}

static void soon_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(to_delayed_work(work), struct fzc_dev, engine.soon);

	queue_work(dev->wq, &dev->engine.work);
}

static void tick_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(to_delayed_work(work), struct fzc_dev, engine.tick);
	struct fzc_engine *e = &dev->engine;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (e->running) {
		e->ops->tick(dev);
		fzc_dev_tick(dev);
		queue_delayed_work(dev->wq, &e->tick, HZ);
		queue_work(dev->wq, &e->work);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
}

/*
 * A batch of copies goes in groups of as many blocks as the pages hold (1 MiB):
 * all reads of a group, then all writes.  All of it is background work.
 */
static void copy_ended(void *ctx, int err)
{
	struct fzc_copy_io *io = ctx;

	io->err = err;
	if (atomic_dec_and_test(&io->engine->copy_left))
		complete(&io->engine->copy_done);
}

static void copy_wait(struct fzc_engine *e)
{
	if (!atomic_dec_and_test(&e->copy_left))
		wait_for_completion_io(&e->copy_done);
}

static void copy_begin(struct fzc_engine *e)
{
	reinit_completion(&e->copy_done);
	atomic_set(&e->copy_left, 1);
}

/* What was read: is it what it has to be? */
static u8 copy_check(struct fzc_dev *dev, const struct fzc_copy *c, const struct fzc_copy_item *it,
		     struct page **pages)
{
	const struct fzc_engine_ops *ops = dev->engine.ops;
	int err;

	if (it->check && fzc_io_crc(pages, fzc_dev_block_bytes(dev, it->block)) != it->crc)
		return FZC_COPY_BAD;
	err = dev->encrypt && ops->copied ? ops->copied(dev, c, it, pages) : 0;
	return err == -EBADMSG ? FZC_COPY_BAD : err ? FZC_COPY_EIO : FZC_COPY_OK;
}

/* Is there I/O for the item in this half of a copy? */
static bool copy_moves(const struct fzc_copy_item *it, bool write)
{
	return write ? it->result == FZC_COPY_OK : !it->zero;
}

/* Is its place behind that of the item before? */
static bool copy_follows(const struct fzc_copy *c, const struct fzc_copy_item *it, bool write)
{
	if ((write ? c->to_dev : c->from_dev) == FZC_DATA)
		return it->block == it[-1].block + 1;
	return write ? it->to == it[-1].to + 1 : it->from == it[-1].from + 1;
}

/*
 * How many items from @i on, at most @most, one bio can serve: as their pages do, their places
 * follow one another.  Zeroes have a bio each.
 */
static u32 copy_run(const struct fzc_copy *c, u32 i, u32 most, bool write)
{
	const struct fzc_copy_item *it = &c->item[i];
	u32 n;

	for (n = 1; n < most && !it[n - 1].zero && !it[n].zero; n++)
		if (!copy_moves(&it[n], write) || !copy_follows(c, &it[n], write))
			break;
	return n;
}

/* @n items from @i on with one bio. */
static void copy_submit(struct fzc_dev *dev, const struct fzc_copy *c, u32 i, u32 n, blk_opf_t opf)
{
	struct fzc_engine *e = &dev->engine;
	const struct fzc_copy_item *it = &c->item[i];
	struct fzc_copy_io *io = &e->copy_io[i - e->copy_first];
	struct page **pages = &e->copy_page[(i - e->copy_first) * e->copy_pages];
	bool write = op_is_write(opf);
	u8 which = write ? c->to_dev : c->from_dev;
	u64 at = fzc_dev_at(dev, which, it->block, write ? it->to : it->from);
	/* the volume's last block is not whole; within a run it can only be of slots, which are */
	u32 bytes = (n - 1) * dev->geo.block_size + fzc_dev_block_bytes(dev, it[n - 1].block);

	io->items = n;
	atomic_inc(&e->copy_left);
	if (it->zero)
		fzc_io_zero(&dev->io, dev->bdev[which], at, bytes, copy_ended, io);
	else
		fzc_io_pages(&dev->io, dev->bdev[which], opf | REQ_BACKGROUND, at, pages, bytes,
			     copy_ended, io);
}

/*
 * Read or write @n items, as many as there are pages for; REQ_NOMERGE: those that failed, each by
 * itself.  What became of each is in copy_io[]; returns whether one has failed.
 */
static bool copy_pass(struct fzc_dev *dev, const struct fzc_copy *c, u32 n, blk_opf_t opf)
{
	struct fzc_engine *e = &dev->engine;
	struct fzc_copy_io *io = e->copy_io;
	bool again = opf & REQ_NOMERGE, bad = false;
	u32 i, k, run;

	for (i = 0; i < n; i++) {
		if (!again)
			io[i].err = 0;
		io[i].items = 1;
	}
	copy_begin(e);
	for (i = 0; i < n; i += io[i].items) {
		k = e->copy_first + i;
		if (!copy_moves(&c->item[k], op_is_write(opf)) || (again && !io[i].err))
			continue;
		run = again ? 1 : copy_run(c, k, n - i, op_is_write(opf));
		copy_submit(dev, c, k, run, opf);
	}
	copy_wait(e);
	for (i = 0; i < n; i += run)
		for (k = 0, run = io[i].items; k < run; k++) {
			io[i + k].err = io[i].err;
			bad |= io[i].err;
		}
	return bad;
}

/*
 * A bad block takes no others with it, unless a device below merges requests that it should not
 * (md).  That costs a disk which times out its time twice, and not once for each block.
 */
static void copy_all(struct fzc_dev *dev, const struct fzc_copy *c, u32 n, blk_opf_t opf)
{
	if (copy_pass(dev, c, n, opf))
		copy_pass(dev, c, n, opf | REQ_NOMERGE);
}

static void copy_reads(struct fzc_dev *dev, struct fzc_copy *c, u32 n)
{
	struct fzc_engine *e = &dev->engine;
	struct fzc_copy_item *it = &c->item[e->copy_first];
	u32 i;

	copy_all(dev, c, n, REQ_OP_READ);
	for (i = 0; i < n; i++) {
		it[i].result = FZC_COPY_OK;
		if (e->copy_io[i].err)
			it[i].result = FZC_COPY_EIO;
		else if (!it[i].zero)
			it[i].result = copy_check(dev, c, &it[i],
						  &e->copy_page[i * e->copy_pages]);
	}
}

static int copy_writes(struct fzc_dev *dev, struct fzc_copy *c, u32 n)
{
	struct fzc_engine *e = &dev->engine;
	int err = 0;
	u32 i;

	copy_all(dev, c, n, REQ_OP_WRITE);
	for (i = 0; i < n; i++) {
		if (e->copy_io[i].err)
			c->item[e->copy_first + i].result = FZC_COPY_EWRITE;
		err = err ?: e->copy_io[i].err;
	}
	return err;
}

static void copy_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(work, struct fzc_dev, engine.copy_work);
	struct fzc_engine *e = &dev->engine;
	struct fzc_copy *c = e->copying->act.copy;
	u32 n, group;
	int err = 0;

	e->copy_pages = DIV_ROUND_UP(dev->geo.block_size, PAGE_SIZE);
	group = clamp_t(u32, FZC_COPY_PAGES / e->copy_pages, 1, FZC_COPY_BATCH);
	for (e->copy_first = 0; e->copy_first < c->n; e->copy_first += n) {
		int r;

		n = min(group, c->n - e->copy_first);
		copy_reads(dev, c, n);
		r = c->to_dev == FZC_NR_DEVS ? 0 : copy_writes(dev, c, n);
		err = err ?: r;
	}
	op_ended(e->copying, err);
}

static void tags_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(work, struct fzc_dev, engine.tags_work);

	op_ended(dev->engine.tagging, dev->engine.ops->write_tags(dev));
}

int fzc_engine_init(struct fzc_dev *dev, const struct fzc_engine_ops *ops)
{
	struct fzc_engine *e = &dev->engine;
	int i;

	e->ops = ops;
	INIT_WORK(&e->work, engine_work);
	INIT_WORK(&e->copy_work, copy_work);
	INIT_WORK(&e->tags_work, tags_work);
	INIT_DELAYED_WORK(&e->soon, soon_work);
	INIT_DELAYED_WORK(&e->tick, tick_work);
	init_llist_head(&e->ended);
	init_completion(&e->copy_done);
	atomic_set(&e->inflight, 0);
	for (i = 0; i < FZC_COPY_BATCH; i++)
		e->copy_io[i].engine = e;
	for (i = 0; i < FZC_ENGINE_OPS; i++) {
		e->op[i].dev = dev;
		e->op[i].page = alloc_page(GFP_KERNEL);
		if (!e->op[i].page)
			return -ENOMEM;
	}
	for (i = 0; i < FZC_COPY_PAGES; i++) {
		e->copy_page[i] = alloc_page(GFP_KERNEL);
		if (!e->copy_page[i])
			return -ENOMEM;
	}
	return 0;
}

void fzc_engine_exit(struct fzc_dev *dev)
{
	struct fzc_engine *e = &dev->engine;
	int i;

	for (i = 0; i < FZC_ENGINE_OPS; i++)
		if (e->op[i].page)
			__free_page(e->op[i].page);
	for (i = 0; i < FZC_COPY_PAGES; i++)
		if (e->copy_page[i])
			__free_page(e->copy_page[i]);
}

static void set_state(struct fzc_dev *dev, bool running, bool paused)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	dev->engine.running = running;
	dev->engine.paused = paused;
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

void fzc_engine_start(struct fzc_dev *dev)
{
	set_state(dev, true, false);
	queue_delayed_work(dev->wq, &dev->engine.tick, HZ);
}

void fzc_engine_pause(struct fzc_dev *dev)
{
	set_state(dev, true, true);
	/* an action that is being taken holds the worker: let it come to its end */
	flush_work(&dev->engine.work);
	wait_event(dev->wait, !atomic_read(&dev->engine.inflight));
}

void fzc_engine_go_on(struct fzc_dev *dev)
{
	set_state(dev, true, false);
}

void fzc_engine_stop(struct fzc_dev *dev)
{
	struct fzc_engine *e = &dev->engine;

	fzc_engine_pause(dev);
	set_state(dev, false, false);
	cancel_delayed_work_sync(&e->tick);
	cancel_delayed_work_sync(&e->soon);
	cancel_work_sync(&e->work);
}
