// SPDX-License-Identifier: GPL-2.0-only
/* The primary's core: freeze, sync, merge, superblock; what to do next. */
#include "pcore.h"

enum { SYNC_IDLE, SYNC_FLUSH, SYNC_PAGES, SYNC_FLUSH2 };
enum { MERGE_IDLE, MERGE_COPY, MERGE_SYNC };

u64 fzc_p_bytes(const struct fzc_geometry *geo)
{
	return fzc_align8(fzc_intent_bytes(geo)) +
	       fzc_align8(fzc_slots_bytes(geo->slots[0])) +
	       3 * fzc_map_bytes(geo->blocks);
}

void fzc_p_init(struct fzc_pcore *p, void *mem, const struct fzc_geometry *geo,
		const struct fzc_opts *opts)
{
	u8 *m = mem;

	memset(p, 0, sizeof(*p));
	p->geo = *geo;
	p->opts = *opts;
	fzc_intent_init(&p->in, m, &p->geo, &p->sb, &p->seq);
	m += fzc_align8(fzc_intent_bytes(geo));
	fzc_slots_init(&p->slots, m, geo->slots[0], false);
	m += fzc_align8(fzc_slots_bytes(geo->slots[0]));
	fzc_map_init(&p->unsent, m, geo->blocks);
	m += fzc_map_bytes(geo->blocks);
	fzc_map_init(&p->inflight, m, geo->blocks);
	m += fzc_map_bytes(geo->blocks);
	fzc_map_init(&p->frozen, m, geo->blocks);
}

void fzc_p_event(struct fzc_pcore *p, enum fzc_event_kind kind)
{
	p->events |= 1U << kind;
}

u64 fzc_p_dirty_super(struct fzc_pcore *p)
{
	return ++p->sb_want;
}

bool fzc_p_in_sync(const struct fzc_pcore *p)
{
	return p->link == FZC_LINK_UP && !p->unsent.count && !p->inflight.count &&
	       !p->frozen.count;
}

/* ---- freeze ---- */

int fzc_p_freeze(struct fzc_pcore *p, const struct fzc_img *img, bool force)
{
	u64 running = p->freezing.number;

	if (p->phase == FZC_PHASE_DOUBT) {
		fzc_p_say(p, "image %llu is in doubt until the secondary is heard",
			  (unsigned long long)running);
		return -EBUSY;
	}
	if (p->phase != FZC_PHASE_IDLE) {
		fzc_p_say(p, "freeze %llu is running", (unsigned long long)running);
		return -EBUSY;
	}
	if (!fzc_p_has_image(p) && !(p->sb.flags & FZC_SB_COPIED)) {
		fzc_p_say(p, "no image yet: the first copy is not done (%llu blocks of %llu left)",
			  (unsigned long long)fzc_p_copy_left(p),
			  (unsigned long long)p->geo.blocks);
		return -ENODATA;
	}
	if (p->meta_failed || (p->diff_failed && p->slots.used)) {
		fzc_p_say(p, "the %s device failed", p->meta_failed ? "meta" : "diff");
		return -EIO;
	}
	if (p->slots.used || p->aborting) {
		fzc_p_say(p, "%u diverted blocks of the last freeze are still being merged",
			  p->slots.used);
		return -EBUSY;
	}
	if (!force && p->link != FZC_LINK_UP) {
		fzc_p_say(p, "not connected to the secondary (force makes the cut all the same)");
		return -ENOTCONN;
	}
	if (p->again) {
		fzc_p_say(p, "writes that could not be diverted are being done in place");
		return -EAGAIN;
	}
	if (p->stop_step || p->send_abort || !fzc_intent_can_cut(&p->in)) {
		fzc_p_say(p, "the last generation is still being put away");
		return -EAGAIN;
	}
	p->diff_failed = false;	/* nothing is in it: it gets another chance */
	p->freezing = *img;
	p->freezing.number = fzc_p_next_number(p);
	p->gate_closed = true;
	p->phase = FZC_PHASE_CLOSE;
	fzc_p_try_cut(p);
	return 0;
}

static void open_gate(struct fzc_pcore *p)
{
	p->gate_closed = false;
	p->wake = true;
}

/* One that was written again since it was sent is among both. */
u64 fzc_p_copy_left(const struct fzc_pcore *p)
{
	return min_t(u64, p->unsent.count + p->inflight.count, p->geo.blocks);
}

bool fzc_p_freeze_void(struct fzc_pcore *p)
{
	if (p->phase != FZC_PHASE_CLOSE)
		return false;
	p->phase = FZC_PHASE_IDLE;
	p->freezing.number = 0;
	open_gate(p);
	return true;
}

/*
 * What is on its way belongs to the image that closes now.  A block that was
 * written since it was picked is on its way with content that does not count
 * (R7): when it is durable there, it still has to be sent.
 */
static void freeze_xfers(struct fzc_pcore *p)
{
	struct fzc_xfer *x;
	u32 i;

	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++) {
		if (x->state != FZC_XFER_PICKED && x->state != FZC_XFER_SENT)
			continue;
		x->frozen = true;
		for (i = 0; i < x->n; i++)
			if (!fzc_map_set(&p->frozen, x->first + i))
				fzc_xfer_set_stale(x, i);
	}
}

/* The cut: made as soon as the gate is closed and the last write has ended. */
void fzc_p_try_cut(struct fzc_pcore *p)
{
	struct fzc_map empty = p->frozen;

	if (p->phase != FZC_PHASE_CLOSE || p->writes)
		return;
	p->frozen = p->unsent;
	p->unsent = empty;
	freeze_xfers(p);
	p->frozen_total = p->frozen.count;
	p->frozen_cursor = 0;
	p->merge_firm = false;
	fzc_intent_cut(&p->in);
	p->in.hold = true;
	p->sb.last_number = p->freezing.number;
	p->sb.freeze = p->freezing;
	p->sb.flags |= FZC_SB_FREEZE;
	p->sb.log[0] = p->freezing.number;
	p->record_at = fzc_p_dirty_super(p);
	p->phase = FZC_PHASE_DELIVER;
	p->notify_freeze = true;
	p->all_sent = false;
	p->r10_ticket = 0;
	p->r10_flushed = false;
	fzc_p_event(p, FZC_EVENT_CUT);
	fzc_p_pace_cut(p, 0);
	open_gate(p);
}

bool fzc_p_recorded(const struct fzc_pcore *p)
{
	return p->phase != FZC_PHASE_CLOSE && p->sb_done >= p->record_at;
}

/* R11.  A freeze runs. */
void fzc_p_void_freeze(struct fzc_pcore *p, const char *why)
{
	struct fzc_xfer *x;

	fzc_p_say(p, "freeze %llu aborted: %s", (unsigned long long)p->freezing.number, why);
	if (fzc_p_freeze_void(p))
		return;
	p->phase = FZC_PHASE_IDLE;
	/* before SESSION is out there is nothing to take back */
	if (p->link >= FZC_LINK_SESSION)
		p->send_abort = p->freezing.number;
	p->aborted = p->freezing.number;
	p->freezing.number = 0;
	p->notify_freeze = false;
	p->sb.freeze.number = 0;
	p->sb.flags &= ~FZC_SB_FREEZE;
	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++) {
		if (x->frozen && x->state == FZC_XFER_PICKED) {
			x->state = FZC_XFER_ORPHAN;
			fzc_map_clear_range(&p->inflight, x->first, x->n);
		}
		x->frozen = false;
	}
	p->aborting = true;
	fzc_intent_fold(&p->in);
	fzc_p_dirty_super(p);
	fzc_p_event(p, FZC_EVENT_ABORT);
	p->merge_pause = false;
}

/* Trouble here: the freeze gives way, unless only the secondary knows what became of it. */
void fzc_p_give_way(struct fzc_pcore *p, const char *why)
{
	p->troubles += p->phase == FZC_PHASE_DELIVER;
	if (p->phase == FZC_PHASE_CLOSE || p->phase == FZC_PHASE_DELIVER)
		fzc_p_void_freeze(p, why);
}

/*
 * What a flush that failed has lost may have been sent since the last image, or
 * in the first copy: the next image is what can be read here, now.  And as that,
 * too, may prove to be lost, with a power cut, nothing makes these blocks
 * unchanged, and no stop is clean, until the next start has sent them again.
 */
static void taint(struct fzc_pcore *p)
{
	if (!(p->sb.flags & FZC_SB_TAINTED))
		fzc_p_dirty_super(p);
	p->sb.flags |= FZC_SB_TAINTED;
	fzc_p_restage(p, p->sb.flags & FZC_SB_FIRST_COPY);
	fzc_map_add(&p->unsent, &p->in.changed[!p->sb.cur]);
}

/* A flag of @failed stays until the device is seen to work again. */
void fzc_p_trouble(struct fzc_pcore *p, bool *failed, const char *what, int err)
{
	*failed = true;
	fzc_p_say(p, "%s (%d)", what, err);
	fzc_p_event(p, FZC_EVENT_ERROR);
	fzc_p_give_way(p, what);
}

u32 fzc_p_backoff(const struct fzc_pcore *p)
{
	if (!p->troubles)
		return 0;
	return min_t(u32, 1U << min_t(u32, p->troubles - 1, 16), FZC_MAX_BACKOFF);
}

int fzc_p_abort(struct fzc_pcore *p, const char *why)
{
	switch (p->phase) {
	case FZC_PHASE_IDLE:
		fzc_p_say(p, "no freeze is running");
		return -ENOENT;
	case FZC_PHASE_SENT:
	case FZC_PHASE_DOUBT:
		fzc_p_say(p, "freeze %llu: too late, the secondary may have committed it",
			  (unsigned long long)p->freezing.number);
		return -EBUSY;
	default:
		fzc_p_void_freeze(p, why);
		return 0;
	}
}

/* The secondary committed the running freeze. */
void fzc_p_finish(struct fzc_pcore *p)
{
	p->sb.image = p->freezing;
	p->sb.freeze.number = 0;
	p->sb.flags &= ~(FZC_SB_FREEZE | FZC_SB_FIRST_COPY);
	p->freezing.number = 0;
	p->phase = FZC_PHASE_IDLE;
	p->notify_freeze = false;
	p->troubles = 0;
	p->data_failed = false;	/* all of it was read and flushed */
	fzc_map_move(&p->frozen, NULL, U32_MAX);
	if (p->sb.flags & FZC_SB_TAINTED)
		fzc_intent_fold(&p->in);
	else
		fzc_intent_forget(&p->in);
	fzc_p_dirty_super(p);
	fzc_p_event(p, FZC_EVENT_COMMIT);
	p->merge_pause = false;
}

/* A bounded part of an abort's moving; true when some remains. */
static bool abort_chore(struct fzc_pcore *p)
{
	if (!p->aborting)
		return false;
	if (!fzc_map_move(&p->frozen, &p->unsent, 256))
		return true;
	p->aborting = false;
	p->merge_pause = false;
	p->wake = true;
	return false;
}

/*
 * R10: before ALL_SENT, what the image holds is durable on this side too.  That is
 * a sync's flush: one of our own beside it might fail, and lose what this one is for.
 */
static void r10_step(struct fzc_pcore *p)
{
	if ((p->phase != FZC_PHASE_DELIVER && p->phase != FZC_PHASE_SENT) || p->frozen.count ||
	    p->r10_flushed || p->r10_ticket || p->r10_pause || p->stop_step)
		return;
	p->r10_ticket = fzc_p_sync(p);
}

static void r10_done(struct fzc_pcore *p, int err)
{
	if (!p->r10_ticket || p->sync_started < p->r10_ticket)
		return;
	p->r10_ticket = 0;
	p->r10_pause = err;
	p->r10_flushed = !err;
}

/* ---- superblock ---- */

static bool super_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	if (p->in.sb_dirty) {
		p->in.sb_dirty = false;
		fzc_p_dirty_super(p);
	}
	if (p->sb_busy || p->sb_retry || p->sb_want == p->sb_done || p->format_step)
		return false;
	p->sb_busy = true;
	p->sb_writing = p->sb_want;
	p->sb.seq = ++p->seq;
	fzc_super_encode(&p->sb, page);
	act->kind = FZC_ACT_WRITE;
	act->dev = FZC_META;
	act->job = FZC_JOB_SUPER;
	act->offset = FZC_OFF_SUPER + FZC_PAGE * !p->sb_copy;
	act->fua = true;
	return true;
}

static void meta_trouble(struct fzc_pcore *p, const char *what, int err)
{
	if (!p->meta_failed)
		fzc_p_event(p, FZC_EVENT_ERROR);
	fzc_p_say(p, "%s to the meta device failed (%d)", what, err);
	p->meta_failed = true;
	/* nothing continues unrecorded, and nobody waits for what may never come */
	p->in.failed = true;
	p->wake = true;
}

static void super_done(struct fzc_pcore *p, int err)
{
	p->sb_busy = false;
	if (err) {
		meta_trouble(p, "writing the superblock", err);
		p->sb_retry = true;
		fzc_p_copied(p, false);
		/* the caller of the freeze must not wait for as long as it lasts */
		if (p->phase == FZC_PHASE_DELIVER && !fzc_p_recorded(p) && !p->stop_step)
			fzc_p_give_way(p, "the cut cannot be recorded, the meta device failed");
		return;
	}
	p->wake |= p->in.failed;
	p->in.failed = false;
	p->meta_failed = false;
	p->sb_copy ^= 1;
	p->sb_done = p->sb_writing;
	if (p->sb_done >= p->record_at)
		p->in.hold = false;
	fzc_p_copied(p, true);
	fzc_p_session_done(p);
}

/* ---- sync ---- */

static void sync_end(struct fzc_pcore *p)
{
	p->sync_step = SYNC_IDLE;
	p->sync_ended = p->sync_started;
	p->synced_news = true;
	if (p->sync_err)
		fzc_slots_sync_failed(&p->slots);
	else
		fzc_slots_sync_ended(&p->slots);
	if (p->ckpt_ticket && p->sync_ended >= p->ckpt_ticket) {
		p->ckpt_ticket = 0;
		fzc_intent_synced(&p->in, p->sync_err);
	}
}

static bool sync_page(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	u32 n;

	/* replay needs the record to know which log counts */
	if (p->sb_done < p->record_at || !fzc_slots_sync_page(&p->slots, &n))
		return false;
	fzc_slots_encode(&p->slots, n, &page->index);
	fzc_page_seal(page, FZC_PAGE_INDEX, p->sb.format, ++p->seq, p->sb.log[0], n);
	p->sync_pages++;
	act->kind = FZC_ACT_WRITE;
	act->dev = FZC_DIFF;
	act->job = FZC_JOB_SYNC_PAGE;
	act->offset = fzc_index_offset(n, !fzc_slots_copy(&p->slots, n));
	act->arg = n;
	return true;
}

/* R3: flush what the index will name, write the index, flush it. */
static bool sync_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	if (p->in.sync_wanted) {
		p->in.sync_wanted = false;
		p->ckpt_ticket = fzc_p_sync(p);
	}
	switch (p->sync_step) {
	case SYNC_IDLE:
		if (!p->sync_wanted || p->synced_news)
			return false;
		p->sync_wanted = false;
		p->sync_started++;
		p->sync_err = 0;
		p->sync_lost = false;
		p->sync_step = SYNC_FLUSH;
		p->sync_diff_due = p->slots.used;
		p->sync_flushes = p->slots.used ? 2 : 1;
		fzc_slots_sync_begin(&p->slots);
		return fzc_act_flush(act, FZC_DATA, FZC_JOB_SYNC_FLUSH);
	case SYNC_PAGES:
		if (sync_page(p, act, page))
			return true;
		if (p->sync_pages)
			return false;
		/* nobody waits for a record that may never be written */
		if (fzc_slots_sync_left(&p->slots) && p->meta_failed)
			p->sync_err = -EIO;
		if (p->sync_err) {
			sync_end(p);
			return false;
		}
		if (fzc_slots_sync_left(&p->slots))
			return false;
		p->sync_step = SYNC_FLUSH2;
		return fzc_act_flush(act, FZC_DIFF, FZC_JOB_SYNC_FLUSH2);
	default:
		return false;
	}
}

static void sync_lost(struct fzc_pcore *p, int err)
{
	if (!err)
		return;
	p->sync_err = err;
	p->sync_lost = true;
	p->lost = true;
}

static void diff_lost(struct fzc_pcore *p, int err)
{
	taint(p);
	fzc_p_trouble(p, &p->diff_failed, "flushing the diff device failed", err);
}

static void sync_flushed(struct fzc_pcore *p, const struct fzc_act *act, int err)
{
	sync_lost(p, err);
	if (err && act->dev == FZC_DIFF)
		diff_lost(p, err);
	else if (err)
		fzc_p_data_lost(p, err);
	if (act->dev == FZC_DATA)
		r10_done(p, err);
	if (--p->sync_flushes)
		return;
	if (p->sync_err) {
		sync_end(p);
		return;
	}
	fzc_slots_sync_flushed(&p->slots);
	if (p->slots.todo.count)
		p->sync_step = SYNC_PAGES;
	else
		sync_end(p);
}

static void sync_page_done(struct fzc_pcore *p, const struct fzc_act *act, int err)
{
	p->sync_pages--;
	fzc_slots_page_written(&p->slots, act->arg, !err);
	if (err) {
		p->sync_err = err;
		fzc_p_trouble(p, &p->diff_failed, "writing the index to the diff device failed",
			      err);
	}
}

/* The second flush of a sync's first step: DATA's was given out before. */
static bool sync_diff_flush(struct fzc_pcore *p, struct fzc_act *act)
{
	if (!p->sync_diff_due)
		return false;
	p->sync_diff_due = false;
	return fzc_act_flush(act, FZC_DIFF, FZC_JOB_SYNC_FLUSH);
}

/* ---- merge ---- */

static bool mergeable(struct fzc_pcore *p, u32 slot)
{
	return fzc_slot_state(&p->slots, slot) == FZC_SLOT_LIVE &&
	       !*fzc_slot_writes(&p->slots, slot) &&
	       !fzc_map_test(&p->frozen, *fzc_slot_block(&p->slots, slot));
}

static void pick_batch(struct fzc_pcore *p)
{
	struct fzc_copy *c = &p->copy;
	u32 slot = fzc_slots_next(&p->slots, p->merge_cursor), seen;

	c->n = 0;
	c->from_dev = FZC_DIFF;
	c->to_dev = FZC_DATA;
	for (seen = 0; seen < p->slots.used && c->n < FZC_COPY_BATCH;
	     seen++, slot = fzc_slots_next(&p->slots, slot + 1)) {
		if (slot >= p->slots.nslots)
			slot = fzc_slots_next(&p->slots, 0);
		if (!mergeable(p, slot))
			continue;
		fzc_slot_set_state(&p->slots, slot, FZC_SLOT_MERGING);
		memset(&c->item[c->n], 0, sizeof(c->item[0]));
		c->item[c->n].block = *fzc_slot_block(&p->slots, slot);
		c->item[c->n++].from = slot;
	}
	p->merge_cursor = slot;
}

static bool merge_allowed(const struct fzc_pcore *p)
{
	/* not while the superblock may say that nobody wrote to DATA since a stop */
	return p->sb_done && p->slots.used && !p->merge_pause &&
	       (!p->merge_hold || p->merge_firm) &&
	       (p->phase == FZC_PHASE_IDLE || p->phase == FZC_PHASE_SENT ||
		p->phase == FZC_PHASE_DOUBT);
}

static bool merge_next(struct fzc_pcore *p, struct fzc_act *act)
{
	if (p->merge_step != MERGE_IDLE || !merge_allowed(p) || p->stop_step)
		return false;
	/* the index is about to forget what only it tells of */
	if (!fzc_intent_settle(&p->in)) {
		act->kind = p->in.ckpt_wanted ? FZC_ACT_AGAIN : FZC_ACT_NONE;
		return p->in.ckpt_wanted && p->in.ckpt == FZC_CKPT_IDLE;
	}
	pick_batch(p);
	if (!p->copy.n) {
		p->merge_firm = true;
		p->merge_pause = true;
		return false;
	}
	p->merge_step = MERGE_COPY;
	return fzc_act_copy(act, FZC_JOB_MERGE, &p->copy);
}

static void merge_failed(struct fzc_pcore *p, const struct fzc_copy_item *it)
{
	bool read = it->result == FZC_COPY_EIO;

	if (read)
		p->diff_failed = true;
	else
		p->data_failed = true;
	fzc_p_say(p, "merging block %llu failed: the %s device cannot be %s, trying again",
		  (unsigned long long)it->block, read ? "diff" : "data",
		  read ? "read" : "written");
	fzc_p_event(p, FZC_EVENT_ERROR);
}

/* The copies are done: retire those that nobody wrote meanwhile. */
static void merge_copied(struct fzc_pcore *p)
{
	struct fzc_copy_item *it;
	u32 n = 0;

	for (it = p->copy.item; it < p->copy.item + p->copy.n; it++) {
		if (fzc_slot_state(&p->slots, it->from) != FZC_SLOT_MERGING) {
			it->result = FZC_COPY_BAD;	/* written again */
		} else if (p->merge_void) {
			it->result = FZC_COPY_BAD;
			fzc_slot_set_state(&p->slots, it->from, FZC_SLOT_LIVE);
			p->merge_pause = true;
		} else if (it->result != FZC_COPY_OK) {
			fzc_slot_set_state(&p->slots, it->from, FZC_SLOT_LIVE);
			p->merge_pause = true;
			merge_failed(p, it);
		} else {
			fzc_slot_retire(&p->slots, it->from);
			n++;
		}
	}
	p->merge_void = false;
	p->wake |= p->merge_firm;
	/* all were written again: the next batch has to come to something */
	p->merge_firm = !n && !p->merge_pause;
	p->merge_step = n ? MERGE_SYNC : MERGE_IDLE;
	if (n)
		p->merge_ticket = fzc_p_sync(p);
}

/* The slots that were to be retired are free; or (@keep) the retirement did not come about. */
static void end_batch(struct fzc_pcore *p, bool keep)
{
	struct fzc_copy_item *it;

	for (it = p->copy.item; it < p->copy.item + p->copy.n; it++) {
		if (it->result != FZC_COPY_OK)
			continue;
		if (keep)
			fzc_slot_unretire(&p->slots, it->from);
		else
			fzc_slot_release(&p->slots, it->from);
	}
	p->merge_pause |= keep;
	p->merge_step = MERGE_IDLE;
	p->wake = true;
}

/* R12: flushed and durably retired; now the blocks may be written in place. */
static void merge_step(struct fzc_pcore *p)
{
	if (p->merge_step != MERGE_SYNC || p->sync_ended < p->merge_ticket)
		return;
	end_batch(p, p->sync_err);
	if (p->slots.used)
		return;
	p->diff_failed = false;	/* likewise */
	fzc_p_event(p, FZC_EVENT_MERGED);
}

/*
 * A flush of DATA failed: what it has lost, a later one need not bring back.  A
 * batch that was being merged stays in its slots.
 */
void fzc_p_data_lost(struct fzc_pcore *p, int err)
{
	taint(p);
	p->merge_void = p->merge_step == MERGE_COPY;
	if (p->merge_step == MERGE_SYNC)
		end_batch(p, true);
	fzc_p_trouble(p, &p->data_failed, "flushing the data device failed", err);
}

/* ---- next, done, tick ---- */

static bool news_next(struct fzc_pcore *p, struct fzc_act *act)
{
	if (p->drop) {
		p->drop = false;
		act->kind = FZC_ACT_DROP;
		return true;
	}
	if (p->synced_news) {
		p->synced_news = false;
		act->kind = FZC_ACT_SYNCED;
		/* who waits for the next may have written before this one lost it */
		act->ticket = p->sync_ended + p->sync_lost;
		act->err = p->sync_err;
		return true;
	}
	p->wake |= p->in.wake;
	p->in.wake = false;
	if (p->wake) {
		p->wake = false;
		act->kind = FZC_ACT_WAKE;
		return true;
	}
	if (p->events) {
		act->event = __ffs64(p->events);
		p->events &= p->events - 1;
		act->kind = FZC_ACT_EVENT;
		return true;
	}
	return false;
}

bool fzc_p_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	memset(act, 0, sizeof(*act));
	if (abort_chore(p)) {
		act->kind = FZC_ACT_AGAIN;
		return true;
	}
	if (p->sync_step == SYNC_IDLE)
		merge_step(p);
	r10_step(p);
	if (news_next(p, act))
		return true;
	if (fzc_slots_next_act(&p->slots, act, FZC_JOB_GROW))
		return true;
	if (p->format_step)
		return fzc_p_start_next(p, act, page);
	return super_next(p, act, page) || fzc_intent_next(&p->in, act, page) ||
	       sync_diff_flush(p, act) || sync_next(p, act, page) ||
	       fzc_p_session_next(p, act) || merge_next(p, act) || fzc_p_stop_next(p, act, page) ||
	       news_next(p, act);
}

void fzc_p_done(struct fzc_pcore *p, const struct fzc_act *act, int err)
{
	switch (act->job) {
	case FZC_JOB_SUPER:
		super_done(p, err);
		break;
	case FZC_JOB_SYNC_FLUSH:
		sync_flushed(p, act, err);
		break;
	case FZC_JOB_SYNC_PAGE:
		sync_page_done(p, act, err);
		break;
	case FZC_JOB_SYNC_FLUSH2:
		sync_lost(p, err);
		if (err)
			diff_lost(p, err);
		sync_end(p);
		break;
	case FZC_JOB_MERGE:
		merge_copied(p);
		break;
	case FZC_JOB_FORMAT:
		p->format_busy--;
		if (err) {	/* the same page again, after the tick */
			p->format_step--;
			p->sb_retry = true;
		}
		break;
	case FZC_JOB_GROW:
		fzc_slots_give(&p->slots, act->chunk);
		p->wake = true;
		break;
	case FZC_JOB_STOP_PAGE:
	case FZC_JOB_STOP_FLUSH:
		p->stop_busy--;
		p->stop_failed |= !!err;
		break;
	default:
		fzc_intent_done(&p->in, act, err);
		if (err)
			meta_trouble(p, "writing regions or bitmaps", err);
	}
}

void fzc_p_tick(struct fzc_pcore *p)
{
	p->sb_retry = false;
	if (p->meta_failed)	/* does it work again? */
		fzc_p_dirty_super(p);
	p->merge_pause = false;
	if (p->merge_step == MERGE_IDLE) {	/* one that cannot begin holds nobody up */
		p->wake |= p->merge_firm;
		p->merge_firm = false;
	}
	p->read_trouble = false;
	p->r10_pause = false;
	fzc_slots_retry(&p->slots);
	if (fzc_slots_dirty(&p->slots))	/* what is not flushed is not lost for ever so long */
		p->sync_wanted = true;
	fzc_intent_tick(&p->in);
}
