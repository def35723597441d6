// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>
#include "secondary.h"

#define RECOVER_TIMEOUT	(60 * HZ)

/* ---- what the engine wants ---- */

static bool secondary_next(struct fzc_dev *dev, struct fzc_act *act, struct fzc_page *page)
{
	return fzc_s_next(&fzc_secondary_of(dev)->core, act, page);
}

static void secondary_done(struct fzc_dev *dev, const struct fzc_act *act, int err)
{
	fzc_s_done(&fzc_secondary_of(dev)->core, act, err);
}

static void secondary_tick(struct fzc_dev *dev)
{
	fzc_s_tick(&fzc_secondary_of(dev)->core);
}

static void secondary_send(struct fzc_dev *dev, const struct fzc_msg *msg)
{
	if (msg->type == FZC_MSG_REFUSE)
		dev->refused = true;
	fzc_link_send_msg(dev->link, msg);
}

static void secondary_drop(struct fzc_dev *dev)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	char why[FZC_REASON_LEN];
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	strscpy(why, sec->core.reason, sizeof(why));
	dev->refused |= sec->core.link != FZC_SLINK_UP;
	sec->dropped = true;
	spin_unlock_irqrestore(&dev->lock, flags);
	fzc_link_drop(dev->link, why);
	wake_up_all(&dev->wait);
}

static void secondary_after(struct fzc_dev *dev)
{
}

static const struct fzc_engine_ops engine_ops = {
	.next = secondary_next,
	.done = secondary_done,
	.tick = secondary_tick,
	.send = secondary_send,
	.drop = secondary_drop,
	.write_tags = fzc_secondary_write_tags,
	.copied = fzc_secondary_copied,
	.after = secondary_after,
};

/* ---- the connection ---- */

static bool is_idle(struct fzc_dev *dev)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	unsigned long flags;
	bool idle;

	spin_lock_irqsave(&dev->lock, flags);
	idle = fzc_s_idle(&sec->core);
	spin_unlock_irqrestore(&dev->lock, flags);
	return idle && fzc_secondary_recv_idle(sec);
}

/* R15 */
static int secondary_prepare(void *ctx)
{
	struct fzc_dev *dev = ctx;

	wait_event_idle(dev->wait, is_idle(dev) || READ_ONCE(dev->link_ending));
	return READ_ONCE(dev->link_ending) ? -ESHUTDOWN : 0;
}

static void secondary_connected(void *ctx)
{
	struct fzc_dev *dev = ctx;
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	sec->dropped = false;
	fzc_s_connected(&sec->core);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

static void secondary_disconnected(void *ctx, const char *why)
{
	struct fzc_dev *dev = ctx;
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	fzc_s_disconnected(&sec->core);
	fzc_secondary_recv_cut_off(sec);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

static int secondary_rx_msg(void *ctx, const struct fzc_msg *msg)
{
	struct fzc_dev *dev = ctx;
	struct fzc_score *s = &fzc_secondary_of(dev)->core;
	char why[FZC_REASON_LEN];
	unsigned long flags;
	int r;

	spin_lock_irqsave(&dev->lock, flags);
	r = fzc_s_rx(s, msg);
	if (r) {
		strscpy(why, s->reason, sizeof(why));
		dev->refused |= s->link != FZC_SLINK_UP;
	} else if (msg->type == FZC_MSG_SESSION) {
		dev->refused = false;
	}
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	if (r)
		fzc_link_drop(dev->link, why);
	return r;
}

bool fzc_secondary_may_rx(struct fzc_secondary *sec, int *err)
{
	lockdep_assert_held(&sec->dev.lock);
	*err = sec->dropped || READ_ONCE(sec->dev.link_ending) ? -ESHUTDOWN : 0;
	return *err || fzc_s_can_rx(&sec->core);
}

static bool may_rx(struct fzc_secondary *sec, int *r)
{
	unsigned long flags;
	bool may;

	spin_lock_irqsave(&sec->dev.lock, flags);
	may = fzc_secondary_may_rx(sec, r);
	spin_unlock_irqrestore(&sec->dev.lock, flags);
	return may;
}

static int secondary_rx_wait(void *ctx)
{
	struct fzc_dev *dev = ctx;
	int r = 0;

	wait_event_idle(dev->wait, may_rx(fzc_secondary_of(dev), &r));
	return r;
}

/* A stranger changes nothing for a peer that was heard, and hides no failure of a device. */
static void secondary_refused(void *ctx, const char *why)
{
	struct fzc_dev *dev = ctx;
	struct fzc_score *s = &fzc_secondary_of(dev)->core;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (s->link <= FZC_SLINK_HELLO && !s->meta_failed && !s->data_failed && !s->stage_failed) {
		fzc_s_say(s, "%s", why);
		dev->refused = true;
	}
	spin_unlock_irqrestore(&dev->lock, flags);
}

static const struct fzc_link_ops link_ops = {
	.prepare = secondary_prepare,
	.connected = secondary_connected,
	.disconnected = secondary_disconnected,
	.rx_msg = secondary_rx_msg,
	.rx_data = fzc_secondary_rx_data,
	.rx_payload = fzc_secondary_rx_payload,
	.rx_wait = secondary_rx_wait,
	.refused = secondary_refused,
};

/* ---- life ---- */

static void free_chunks(struct fzc_secondary *sec)
{
	fzc_dev_free_chunks(&sec->core.stage[0]);
	fzc_dev_free_chunks(&sec->core.stage[1]);
}

static int secondary_setup(struct fzc_dev *dev)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	int r;

	sec->mem = fzc_dev_alloc(fzc_s_bytes(&dev->geo));
	if (!sec->mem)
		return -ENOMEM;
	r = fzc_engine_init(dev, &engine_ops) ?: fzc_hio_init(dev, &fzc_secondary_hio) ?:
	    fzc_secondary_recv_init(sec) ?: fzc_secondary_open_init(sec);
	if (r)
		return r;
	dev->link = fzc_link_create(&link_ops, dev, false, &dev->addr, &dev->tcp, &dev->geo,
				    dev->key, dev->name);
	return PTR_ERR_OR_ZERO(dev->link);
}

static void secondary_release(struct fzc_dev *dev)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);

	fzc_secondary_recv_exit(sec);
	fzc_secondary_open_exit(sec);
	free_chunks(sec);
	vfree(sec->mem);
}

static void secondary_reset(struct fzc_dev *dev, const struct fzc_opts *opts)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	bool lost = sec->core.lost;	/* over a suspension, too */

	free_chunks(sec);
	memset(&sec->core, 0, sizeof(sec->core));
	memset(sec->mem, 0, fzc_s_bytes(&dev->geo));
	fzc_s_init(&sec->core, sec->mem, &dev->geo, opts);
	sec->core.lost = lost;
	if (sec->open)
		fzc_tagstore_forget(&sec->open->tags);
}

static bool secondary_load_next(struct fzc_dev *dev, struct fzc_load *load)
{
	return fzc_s_load_next(&fzc_secondary_of(dev)->core, load);
}

static int secondary_load_give(struct fzc_dev *dev, struct fzc_load *load,
			       const struct fzc_page *a, const struct fzc_page *b)
{
	return fzc_s_load_give(&fzc_secondary_of(dev)->core, load, a, b);
}

static int secondary_start(struct fzc_dev *dev)
{
	return fzc_s_start(&fzc_secondary_of(dev)->core);
}

static bool secondary_started(struct fzc_dev *dev)
{
	return fzc_s_started(&fzc_secondary_of(dev)->core);
}

static void secondary_suspend(struct fzc_dev *dev)
{
}

static bool secondary_idle(struct fzc_dev *dev)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);

	return fzc_s_idle(&sec->core) && fzc_secondary_recv_idle(sec);
}

static bool secondary_drained(struct fzc_dev *dev)
{
	return fzc_secondary_recv_idle(fzc_secondary_of(dev));
}

static void secondary_stop(struct fzc_dev *dev, const u8 data_hash[32])
{
	fzc_s_stop(&fzc_secondary_of(dev)->core, data_hash);
}

static bool secondary_stop_failed(struct fzc_dev *dev)
{
	return fzc_secondary_of(dev)->core.stop_failed;
}

static bool secondary_stopped(struct fzc_dev *dev)
{
	return fzc_s_stopped(&fzc_secondary_of(dev)->core);
}

static const char *secondary_reason(struct fzc_dev *dev)
{
	return fzc_secondary_of(dev)->core.reason;
}

static const struct fzc_volume_keys *secondary_keys(struct fzc_dev *dev)
{
	return &fzc_secondary_of(dev)->core.sb.keys;
}

static void secondary_dirty_super(struct fzc_dev *dev)
{
	fzc_s_dirty_super(&fzc_secondary_of(dev)->core);
	fzc_engine_kick(dev);
}

static bool secondary_writable(struct fzc_dev *dev)
{
	return fzc_s_writable(&fzc_secondary_of(dev)->core);
}

/* The core counts reads by the parity of the commits before them. */
static bool secondary_reads_new(struct fzc_dev *dev)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;

	return !s->reads[!s->parity];
}

static int secondary_abort(struct fzc_dev *dev, u64 *number, char *why)
{
	strscpy(why, "this is a secondary: only a primary aborts a freeze", FZC_REASON_LEN);
	return -EOPNOTSUPP;
}

/* ---- recovery ---- */

static bool recovered(struct fzc_dev *dev)
{
	unsigned long flags;
	bool yes;

	spin_lock_irqsave(&dev->lock, flags);
	yes = fzc_s_recovered(&fzc_secondary_of(dev)->core);
	spin_unlock_irqrestore(&dev->lock, flags);
	return yes;
}

static int may_recover(struct fzc_dev *dev, u32 how, char *why)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;
	int r = 0;

	if (!dev->running || dev->suspended) {
		strscpy(why, "the device is suspended", FZC_REASON_LEN);
		return dev->md ? -EAGAIN : -ENODEV;
	}
	if (how & FZC_RECOVER_FORCE)
		return 0;
	spin_lock_irq(&dev->lock);
	if (s->link == FZC_SLINK_UP && !(s->sb.flags & FZC_SB_RECOVERED)) {
		strscpy(why, "the primary is connected (force recovers all the same)",
			FZC_REASON_LEN);
		r = -EISCONN;
	}
	spin_unlock_irq(&dev->lock);
	/* the blocks of one that is in use can be given up */
	if (!r && !(how & FZC_RECOVER_GIVE_UP && recovered(dev)) &&
	    atomic_read(&dm_disk(dev->md)->part0->bd_openers)) {
		strscpy(why, "the device is open (force recovers all the same)", FZC_REASON_LEN);
		r = -EBUSY;
	}
	return r;
}

/* The session is down: R15, as for a new connection. */
static int do_recover(struct fzc_dev *dev, u32 how, u64 *number, char *why)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;
	int r;

	spin_lock_irq(&dev->lock);
	fzc_s_recover_expected(s);
	fzc_engine_kick(dev);
	spin_unlock_irq(&dev->lock);
	if (!wait_event_timeout(dev->wait, is_idle(dev), RECOVER_TIMEOUT)) {
		strscpy(why, "what the primary sent cannot be put away", FZC_REASON_LEN);
		return -EIO;
	}
	spin_lock_irq(&dev->lock);
	r = how & FZC_RECOVER_GIVE_UP && fzc_s_give_up_unreadable(s) ? 0 : fzc_s_recover(s);
	strscpy(why, r ? s->reason : "", FZC_REASON_LEN);
	*number = s->sb.image.number;
	fzc_engine_kick(dev);
	spin_unlock_irq(&dev->lock);
	if (r)
		return r;
	if (!wait_event_timeout(dev->wait, recovered(dev), RECOVER_TIMEOUT)) {
		strscpy(why, "meta cannot be written; it is recovered as soon as it can be",
			FZC_REASON_LEN);
		return -EIO;
	}
	return 0;
}

int fzc_secondary_recover(struct fzc_dev *dev, u32 how, u64 *number, char *why)
{
	int r;

	mutex_lock(&dev->state);
	r = may_recover(dev, how, why);
	if (!r) {
		fzc_dev_link_stop(dev);
		r = do_recover(dev, how, number, why);
		/* listen again: a recovered secondary says so to its old primary */
		fzc_dev_connect(dev);
	}
	mutex_unlock(&dev->state);
	return r;
}

/* ---- what others want to know ---- */

static u32 mode(const struct fzc_score *s)
{
	if (fzc_s_merging(s))
		return FZC_MODE_MERGING;
	if (s->sb.flags & FZC_SB_RECOVERED)
		return FZC_MODE_RECOVERED;
	return s->sb.freeze.number ? FZC_MODE_RECEIVING : FZC_MODE_STAGING;
}

static u32 connection(const struct fzc_dev *dev, const struct fzc_score *s)
{
	if (s->link == FZC_SLINK_UP)
		return FZC_CONN_CONNECTED;
	if (s->link != FZC_SLINK_DOWN)
		return FZC_CONN_HANDSHAKE;
	if (dev->suspended)
		return FZC_CONN_DOWN;
	return dev->refused ? FZC_CONN_REFUSED : FZC_CONN_CONNECTING;
}

static void secondary_query(struct fzc_dev *dev, struct fzc_query *q)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	struct fzc_score *s = &sec->core;

	q->mode = mode(s);
	q->connection = connection(dev, s);
	q->phase = s->sb.freeze.number ? FZC_PHASE_DELIVERING : FZC_PHASE_NONE;
	memcpy(q->pair_uuid, &s->sb.pair, sizeof(q->pair_uuid));
	fzc_dev_put_image(&q->image, &s->shown);
	fzc_dev_put_image(&q->freezing, &s->sb.freeze);
	if (fzc_s_merging(s)) {
		q->merge_total = s->merge_total;
		q->merge_left = s->merge_left;
	}
	if (s->sb.flags & FZC_SB_RECOVERED)
		q->changed = s->in.changed[0].count + s->in.changed[1].count;
	q->staged = s->staged[0].count + s->staged[1].count;
	q->damaged = s->ndamaged;
	q->diff_slots = (u64)s->stage[0].nslots + s->stage[1].nslots;
	q->diff_used = (u64)s->stage[0].used + s->stage[1].used;
	q->mem_maps = fzc_s_bytes(&dev->geo);
	q->mem_slots = fzc_slots_memory(&s->stage[0]) + fzc_slots_memory(&s->stage[1]);
	q->mem_io = FZC_RECVS * FZC_MAX_RUN_BYTES + fzc_compressor_bytes(sec->decompressor) +
		    fzc_secondary_open_bytes(sec);
	q->meta_error = s->meta_failed;
	q->data_error = s->data_failed;
	q->diff_error = s->stage_failed;
	if (s->meta_failed || s->data_failed || s->stage_failed ||
	    q->connection == FZC_CONN_REFUSED)
		strscpy(q->error, s->reason, sizeof(q->error));
}

/* Not before a mount finds it writable, if it is to be: news_work() wakes who waits for that. */
static bool merged(struct fzc_dev *dev)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;

	return !fzc_s_merging(s) &&
	       !(s->sb.flags & FZC_SB_RECOVERED &&
		 test_bit(GD_READ_ONLY, &dm_disk(dev->md)->state));
}

static int secondary_reached(struct fzc_dev *dev, u32 what, u64 number)
{
	struct fzc_score *s = &fzc_secondary_of(dev)->core;

	switch (what) {
	case FZC_WAIT_CONNECTED:
		return s->link == FZC_SLINK_UP;
	case FZC_WAIT_IN_SYNC:
		return -EOPNOTSUPP;
	case FZC_WAIT_IMAGE:
		return s->shown.number >= number;
	case FZC_WAIT_MERGED:
		return merged(dev);
	default:
		return -EINVAL;
	}
}

const struct fzc_role_ops fzc_secondary_role = {
	.name = "secondary",
	.role = FZC_SECONDARY,
	.ndevs = 4,
	.size = sizeof(struct fzc_secondary),
	.setup = secondary_setup,
	.release = secondary_release,
	.reset = secondary_reset,
	.load_next = secondary_load_next,
	.load_give = secondary_load_give,
	.start = secondary_start,
	.started = secondary_started,
	.suspend = secondary_suspend,
	.idle = secondary_idle,
	.drained = secondary_drained,
	.stop = secondary_stop,
	.stopped = secondary_stopped,
	.stop_failed = secondary_stop_failed,
	.reason = secondary_reason,
	.keys = secondary_keys,
	.dirty_super = secondary_dirty_super,
	.query = secondary_query,
	.reached = secondary_reached,
	.writable = secondary_writable,
	.reads_new = secondary_reads_new,
	.abort = secondary_abort,
};
