// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>
#include "primary.h"

/* ---- what the engine wants ---- */

/*
 * A merge goes in batches.  After one during which the host had I/O as much
 * time passes as it took, but never more than MERGE_PAUSE, which is what makes
 * for a minimum rate; and none when a freeze was refused because of the merge.
 */
#define MERGE_PAUSE	(HZ / 50 ?: 1)

static bool hold_merge(struct fzc_primary *pr)
{
	if (!pr->core.slots.used)
		pr->merge_hurry = false;
	pr->merge_waits &= !pr->merge_hurry && time_before(jiffies, pr->merge_at);
	if (pr->merge_waits)
		fzc_engine_kick_soon(&pr->dev);
	return pr->merge_waits;
}

static void batch_begins(struct fzc_primary *pr)
{
	pr->copy_began = jiffies;
	pr->host_seen = pr->dev.hio.taken;
}

static void batch_ends(struct fzc_primary *pr)
{
	unsigned long took = jiffies - pr->copy_began;

	pr->merge_waits = pr->host_seen != pr->dev.hio.taken;
	pr->merge_at = jiffies + clamp_t(unsigned long, took, 1, MERGE_PAUSE);
}

/* A freeze gave way, or one was committed. */
static void note_trouble(struct fzc_primary *pr)
{
	if (pr->core.troubles > pr->troubles)
		pr->again_at = jiffies + fzc_p_backoff(&pr->core) * HZ;
	pr->troubles = pr->core.troubles;
}

/* Until the next freeze is taken without force. */
static u32 backoff_ms(const struct fzc_primary *pr)
{
	if (!pr->troubles || time_after_eq(jiffies, pr->again_at))
		return 0;
	return jiffies_to_msecs(pr->again_at - jiffies);
}

static bool primary_next(struct fzc_dev *dev, struct fzc_act *act, struct fzc_page *page)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	bool more;

	pr->core.merge_hold = hold_merge(pr);
	pr->core.in.gather = fzc_hio_gathers(&dev->hio);
	more = fzc_p_next(&pr->core, act, page);
	if (more && act->kind == FZC_ACT_COPY)
		batch_begins(pr);
	/*
	 * The later a block is sent, the fewer of its versions are.  But an image is
	 * waited for, also the first, and the next after one that had to be given up.
	 */
	WRITE_ONCE(pr->background, pr->core.phase == FZC_PHASE_IDLE && fzc_p_has_image(&pr->core) &&
		   !pr->core.troubles);
	fzc_primary_note_cut(pr);
	note_trouble(pr);
	return more;
}

static void primary_done(struct fzc_dev *dev, const struct fzc_act *act, int err)
{
	if (act->kind == FZC_ACT_COPY)
		batch_ends(fzc_primary_of(dev));
	fzc_p_done(&fzc_primary_of(dev)->core, act, err);
}

static void primary_tick(struct fzc_dev *dev)
{
	struct fzc_primary *pr = fzc_primary_of(dev);

	pr->send_retry = false;
	fzc_p_tick(&pr->core);
	if (fzc_p_awaits(&pr->core))
		fzc_link_await(dev->link);
}

static void primary_send(struct fzc_dev *dev, const struct fzc_msg *msg)
{
	fzc_link_send_msg(dev->link, msg);
}

static void primary_drop(struct fzc_dev *dev)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	char why[FZC_REASON_LEN];
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	strscpy(why, pr->core.reason, sizeof(why));
	dev->refused |= pr->core.link != FZC_LINK_UP;
	spin_unlock_irqrestore(&dev->lock, flags);
	fzc_link_drop(dev->link, why);
}

/* A session that comes up later is followed by another round of actions. */
static void primary_after(struct fzc_dev *dev)
{
	struct fzc_primary *pr = fzc_primary_of(dev);

	fzc_link_background(dev->link, READ_ONCE(pr->background));
	if (READ_ONCE(pr->core.link) == FZC_LINK_UP)
		fzc_primary_send_kick(pr);
}

static const struct fzc_engine_ops engine_ops = {
	.next = primary_next,
	.done = primary_done,
	.tick = primary_tick,
	.send = primary_send,
	.drop = primary_drop,
	.after = primary_after,
};

/* ---- the connection ---- */

static void primary_connected(void *ctx)
{
	struct fzc_dev *dev = ctx;
	struct fzc_id draw;
	unsigned long flags;

	get_random_bytes(&draw, sizeof(draw));
	spin_lock_irqsave(&dev->lock, flags);
	fzc_p_connected(&fzc_primary_of(dev)->core, &draw);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

static void primary_disconnected(void *ctx, const char *why)
{
	struct fzc_dev *dev = ctx;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	fzc_p_disconnected(&fzc_primary_of(dev)->core);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

static int primary_rx_msg(void *ctx, const struct fzc_msg *msg)
{
	struct fzc_dev *dev = ctx;
	struct fzc_pcore *p = &fzc_primary_of(dev)->core;
	char why[FZC_REASON_LEN];
	unsigned long flags;
	int r;

	spin_lock_irqsave(&dev->lock, flags);
	r = fzc_p_rx(p, msg);
	if (r) {
		strscpy(why, p->reason, sizeof(why));
		dev->refused |= p->link != FZC_LINK_UP;
	} else if (p->link == FZC_LINK_UP) {
		dev->refused = false;
	}
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	if (r)
		fzc_link_drop(dev->link, why);
	return r;
}

static int primary_rx_data(void *ctx, const struct fzc_frame *f, const struct fzc_tag *tag,
			   struct page **pages, void **cookie)
{
	struct fzc_dev *dev = ctx;

	fzc_link_drop(dev->link, "the secondary sent blocks");
	return -EPROTO;
}

static void primary_refused(void *ctx, const char *why)
{
	struct fzc_dev *dev = ctx;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	fzc_p_say(&fzc_primary_of(dev)->core, "%s", why);
	dev->refused = true;
	spin_unlock_irqrestore(&dev->lock, flags);
}

static int primary_rx_wait(void *ctx)
{
	return 0;
}

static const struct fzc_link_ops link_ops = {
	.connected = primary_connected,
	.disconnected = primary_disconnected,
	.rx_msg = primary_rx_msg,
	.rx_data = primary_rx_data,
	.rx_wait = primary_rx_wait,
	.refused = primary_refused,
	.tx_done = fzc_primary_tx_done,
};

/* ---- life ---- */

static int primary_setup(struct fzc_dev *dev)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	int r;

	pr->mem = fzc_dev_alloc(fzc_p_bytes(&dev->geo));
	if (!pr->mem)
		return -ENOMEM;
	r = fzc_engine_init(dev, &engine_ops) ?: fzc_hio_init(dev, &fzc_primary_hio) ?:
	    fzc_primary_send_init(pr);
	if (r)
		return r;
	dev->link = fzc_link_create(&link_ops, dev, true, &dev->addr, &dev->tcp, &dev->geo,
				    dev->key, dev->name);
	return PTR_ERR_OR_ZERO(dev->link);
}

static void primary_release(struct fzc_dev *dev)
{
	struct fzc_primary *pr = fzc_primary_of(dev);

	fzc_primary_send_exit(pr);
	fzc_dev_free_chunks(&pr->core.slots);
	vfree(pr->mem);
}

static void primary_reset(struct fzc_dev *dev, const struct fzc_opts *opts)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	bool lost = pr->core.lost;	/* over a suspension, too */

	fzc_dev_free_chunks(&pr->core.slots);
	memset(&pr->core, 0, sizeof(pr->core));
	pr->troubles = 0;
	pr->merge_waits = false;
	memset(pr->mem, 0, fzc_p_bytes(&dev->geo));
	fzc_p_init(&pr->core, pr->mem, &dev->geo, opts);
	pr->core.lost = lost;
}

static bool primary_load_next(struct fzc_dev *dev, struct fzc_load *load)
{
	return fzc_p_load_next(&fzc_primary_of(dev)->core, load);
}

static int primary_load_give(struct fzc_dev *dev, struct fzc_load *load,
			     const struct fzc_page *a, const struct fzc_page *b)
{
	return fzc_p_load_give(&fzc_primary_of(dev)->core, load, a, b);
}

static int primary_start(struct fzc_dev *dev)
{
	return fzc_p_start(&fzc_primary_of(dev)->core);
}

static bool primary_started(struct fzc_dev *dev)
{
	return fzc_p_started(&fzc_primary_of(dev)->core);
}

static void primary_suspend(struct fzc_dev *dev)
{
	fzc_p_freeze_void(&fzc_primary_of(dev)->core);
	fzc_engine_kick(dev);
}

static bool primary_idle(struct fzc_dev *dev)
{
	return fzc_primary_send_idle(fzc_primary_of(dev));
}

static void primary_stop(struct fzc_dev *dev, const u8 data_hash[32])
{
	fzc_p_stop(&fzc_primary_of(dev)->core, data_hash);
}

static bool primary_stop_failed(struct fzc_dev *dev)
{
	return fzc_primary_of(dev)->core.stop_failed;
}

static bool primary_stopped(struct fzc_dev *dev)
{
	return fzc_p_stopped(&fzc_primary_of(dev)->core);
}

static const char *primary_reason(struct fzc_dev *dev)
{
	return fzc_primary_of(dev)->core.reason;
}

static const struct fzc_volume_keys *primary_keys(struct fzc_dev *dev)
{
	return &fzc_primary_of(dev)->core.sb.keys;
}

static void primary_dirty_super(struct fzc_dev *dev)
{
	fzc_p_dirty_super(&fzc_primary_of(dev)->core);
	fzc_engine_kick(dev);
}

static bool primary_writable(struct fzc_dev *dev)
{
	return true;
}

/* ---- freezes ---- */

void fzc_primary_note_cut(struct fzc_primary *pr)
{
	lockdep_assert_held(&pr->dev.lock);
	if (!pr->closing || pr->core.phase == FZC_PHASE_CLOSE)
		return;
	pr->closing = false;
	pr->cut_at = ktime_get();
	pr->stall_us = ktime_us_delta(pr->cut_at, pr->closed_at);
	fzc_engine_kick(&pr->dev);
	wake_up_all(&pr->dev.wait);
}

enum cut_state { CUT_CLOSING, CUT_MADE, CUT_RECORDED, CUT_VOID };

/* A freeze that is void before its cut leaves its number to the next. */
static bool is_image(const struct fzc_img *a, const struct fzc_img *b)
{
	return a->number == b->number && fzc_id_equal(&a->id, &b->id);
}

static enum cut_state cut_state(struct fzc_dev *dev, const struct fzc_img *img)
{
	struct fzc_pcore *p = &fzc_primary_of(dev)->core;
	enum cut_state state = CUT_VOID;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (is_image(&p->freezing, img))
		state = p->phase == FZC_PHASE_CLOSE ? CUT_CLOSING :
			fzc_p_recorded(p) ? CUT_RECORDED : CUT_MADE;
	else if (is_image(&p->sb.image, img) || p->sb.image.number > img->number)
		state = CUT_RECORDED;
	if (dev->gone || (dev->suspended && state == CUT_MADE))
		state = CUT_VOID;
	spin_unlock_irqrestore(&dev->lock, flags);
	return state;
}

static int void_error(struct fzc_dev *dev, struct fzc_cut *cut)
{
	unsigned long flags;
	int r = -EIO;

	spin_lock_irqsave(&dev->lock, flags);
	if (dev->gone)
		r = -ENODEV;
	else if (dev->suspended)
		r = -EAGAIN;
	strscpy(cut->why, r == -EIO ? fzc_primary_of(dev)->core.reason :
		"the device was suspended before the cut was recorded", sizeof(cut->why));
	spin_unlock_irqrestore(&dev->lock, flags);
	return r;
}

/* -EAGAIN: soon; -ESHUTDOWN: that is an EAGAIN for the caller. */
static int try_freeze(struct fzc_dev *dev, struct fzc_cut *cut)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	struct fzc_img img = { .time = ktime_get_real_seconds() };
	unsigned long flags;
	ktime_t now;
	int r;

	get_random_bytes(&img.id, sizeof(img.id));
	strscpy(img.label, cut->label, sizeof(img.label));
	spin_lock_irqsave(&dev->lock, flags);
	if (cut->given_up) {
		r = -ETIMEDOUT;
	} else if (dev->gone || dev->suspended) {
		r = dev->gone ? -ENODEV : -ESHUTDOWN;
		strscpy(cut->why, "the device is suspended", sizeof(cut->why));
	} else if (backoff_ms(pr) && !cut->force) {
		r = -ESHUTDOWN;
		scnprintf(cut->why, sizeof(cut->why),
			  "%u freezes in a row had to be given up: the next one may be in %u s (force: now)",
			  pr->troubles, DIV_ROUND_UP(backoff_ms(pr), 1000));
	} else {
		img.number = fzc_p_next_number(&pr->core);
		now = ktime_get();
		r = fzc_p_freeze(&pr->core, &img, cut->force);
		if (r) {	/* perhaps because another waits for its cut */
			strscpy(cut->why, pr->core.reason, sizeof(cut->why));
			pr->merge_hurry |= r == -EBUSY;
		} else {
			pr->closed_at = now;
			pr->closing = true;
		}
		cut->img = img;
		cut->begun = !r;
		fzc_primary_note_cut(pr);
		fzc_engine_kick(dev);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	return r;
}

static long left_of(const struct fzc_cut *cut)
{
	return max_t(long, cut->deadline - jiffies, 0);
}

/* Cut and void exclude each other: the core says which it is. */
bool fzc_primary_give_up(struct fzc_dev *dev, struct fzc_cut *cut)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	unsigned long flags;
	bool none;

	spin_lock_irqsave(&dev->lock, flags);
	cut->given_up = true;
	none = !cut->begun;
	if (cut->begun && is_image(&pr->core.freezing, &cut->img) &&
	    fzc_p_freeze_void(&pr->core)) {
		pr->closing = false;
		none = true;
		fzc_engine_kick(dev);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	wake_up_all(&dev->wait);
	return none;
}

int fzc_primary_cut(struct fzc_dev *dev, struct fzc_cut *cut)
{
	long r;

	while ((r = try_freeze(dev, cut)) == -EAGAIN) {
		if (!left_of(cut))
			return -ETIMEDOUT;
		schedule_timeout_killable(HZ / 50 ?: 1);
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	if (r)
		return r == -ESHUTDOWN ? -EAGAIN : r;
	r = wait_event_killable_timeout(dev->wait, cut_state(dev, &cut->img) != CUT_CLOSING,
					left_of(cut));
	if (r <= 0 && fzc_primary_give_up(dev, cut)) {
		strscpy(cut->why, "writes in flight did not end before the deadline",
			sizeof(cut->why));
		return r ? -EINTR : -ETIMEDOUT;
	}
	cut->stall_us = fzc_primary_of(dev)->stall_us;
	return cut_state(dev, &cut->img) == CUT_VOID ? void_error(dev, cut) : 0;
}

int fzc_primary_recorded(struct fzc_dev *dev, struct fzc_cut *cut)
{
	if (wait_event_killable(dev->wait, cut_state(dev, &cut->img) >= CUT_RECORDED))
		return -EINTR;
	return cut_state(dev, &cut->img) == CUT_VOID ? void_error(dev, cut) : 0;
}

static int primary_abort(struct fzc_dev *dev, u64 *number, char *why)
{
	struct fzc_pcore *p = &fzc_primary_of(dev)->core;
	unsigned long flags;
	int r = -EAGAIN;

	strscpy(why, "the device is suspended", FZC_REASON_LEN);
	spin_lock_irqsave(&dev->lock, flags);
	*number = p->freezing.number;
	if (!dev->suspended && !dev->gone) {
		r = fzc_p_abort(p, "by order");
		strscpy(why, r ? p->reason : "", FZC_REASON_LEN);
		fzc_primary_note_cut(fzc_primary_of(dev));
		fzc_engine_kick(dev);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	return r;
}

/* ---- what others want to know ---- */

static u32 connection(const struct fzc_dev *dev, const struct fzc_pcore *p)
{
	if (p->link == FZC_LINK_UP)
		return FZC_CONN_CONNECTED;
	if (p->link != FZC_LINK_DOWN)
		return FZC_CONN_HANDSHAKE;
	if (dev->suspended)
		return FZC_CONN_DOWN;
	return dev->refused ? FZC_CONN_REFUSED : FZC_CONN_CONNECTING;
}

static u32 phase(const struct fzc_pcore *p)
{
	static const u8 of[] = {
		[FZC_PHASE_IDLE] = FZC_PHASE_NONE,
		[FZC_PHASE_CLOSE] = FZC_PHASE_CLOSING,
		[FZC_PHASE_DELIVER] = FZC_PHASE_DELIVERING,
		[FZC_PHASE_SENT] = FZC_PHASE_ALL_SENT,
		[FZC_PHASE_DOUBT] = FZC_PHASE_IN_DOUBT,
	};

	return of[p->phase];
}

static void query_progress(struct fzc_primary *pr, struct fzc_query *q)
{
	struct fzc_pcore *p = &pr->core;

	if (p->phase != FZC_PHASE_IDLE) {
		q->diff_short = p->phase == FZC_PHASE_DELIVER ? p->short_by : 0;
		q->freeze_total = p->frozen_total;
		q->freeze_left = p->frozen.count;
		if (pr->cut_at && p->phase != FZC_PHASE_CLOSE)
			q->freeze_ms = ktime_ms_delta(ktime_get(), pr->cut_at);
	} else {
		pr->merge_total = p->slots.used ? max_t(u64, pr->merge_total, p->slots.used) : 0;
		q->merge_total = pr->merge_total;
		q->merge_left = p->slots.used;
	}
	if (!fzc_p_has_image(p) && !(p->sb.flags & FZC_SB_COPIED)) {
		q->copy_total = p->geo.blocks;
		q->copy_left = fzc_p_copy_left(p);
	}
}

static void query_error(const struct fzc_dev *dev, const struct fzc_pcore *p, struct fzc_query *q)
{
	q->meta_error = p->meta_failed;
	q->data_error = p->data_failed;
	q->diff_error = p->diff_failed;
	if (p->meta_failed || p->data_failed || p->diff_failed ||
	    q->connection == FZC_CONN_REFUSED)
		strscpy(q->error, p->reason, sizeof(q->error));
}

static void primary_query(struct fzc_dev *dev, struct fzc_query *q)
{
	struct fzc_primary *pr = fzc_primary_of(dev);
	struct fzc_pcore *p = &pr->core;

	q->mode = p->phase != FZC_PHASE_IDLE ? FZC_MODE_FREEZING :
		  p->slots.used || p->aborting ? FZC_MODE_MERGING : FZC_MODE_NORMAL;
	q->connection = connection(dev, p);
	q->phase = phase(p);
	memcpy(q->pair_uuid, &p->sb.pair, sizeof(q->pair_uuid));
	fzc_dev_put_image(&q->image, &p->sb.image);
	fzc_dev_put_image(&q->freezing, &p->freezing);
	query_progress(pr, q);
	q->changed = p->in.changed[0].count + p->in.changed[1].count;
	q->unsent = p->unsent.count;
	q->inflight = p->inflight.count;
	q->frozen = p->frozen.count;
	q->diverted = p->slots.used;
	q->diff_slots = p->slots.nslots;
	q->diff_used = p->slots.used;
	q->tx_blocks = pr->tx_blocks;
	q->in_sync = fzc_p_in_sync(p);
	q->backoff_ms = backoff_ms(pr);
	q->mem_maps = fzc_p_bytes(&dev->geo);
	q->mem_slots = fzc_slots_memory(&p->slots);
	q->tx_saved = pr->tx_saved;
	q->mem_io = FZC_SENDS * FZC_MAX_RUN_BYTES + fzc_compressor_bytes(pr->compressor);
	query_error(dev, p, q);
}

static int primary_reached(struct fzc_dev *dev, u32 what, u64 number)
{
	struct fzc_pcore *p = &fzc_primary_of(dev)->core;

	switch (what) {
	case FZC_WAIT_CONNECTED:
		return p->link == FZC_LINK_UP;
	case FZC_WAIT_IN_SYNC:
		return fzc_p_in_sync(p);
	case FZC_WAIT_IMAGE:
		if (p->sb.image.number >= number)
			return 1;
		/* given out, but neither running nor committed: given up */
		if (number <= p->sb.last_number && p->freezing.number != number)
			return -ECANCELED;
		return 0;
	case FZC_WAIT_MERGED:
		return p->phase == FZC_PHASE_IDLE && !p->slots.used && !p->aborting &&
		       !p->peer_merging;
	default:
		return -EINVAL;
	}
}

const struct fzc_role_ops fzc_primary_role = {
	.name = "primary",
	.role = FZC_PRIMARY,
	.ndevs = 3,
	.size = sizeof(struct fzc_primary),
	.setup = primary_setup,
	.release = primary_release,
	.reset = primary_reset,
	.load_next = primary_load_next,
	.load_give = primary_load_give,
	.start = primary_start,
	.started = primary_started,
	.suspend = primary_suspend,
	.idle = primary_idle,
	.drained = primary_idle,
	.stop = primary_stop,
	.stopped = primary_stopped,
	.stop_failed = primary_stop_failed,
	.reason = primary_reason,
	.keys = primary_keys,
	.dirty_super = primary_dirty_super,
	.query = primary_query,
	.reached = primary_reached,
	.writable = primary_writable,
	.abort = primary_abort,
};
