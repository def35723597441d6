// SPDX-License-Identifier: GPL-2.0-only
/* The secondary's core: making durable, committing, merging, folding; what to do next. */
#include "score.h"

#define MAX_LOOK	4096	/* blocks of a stage that are passed over in one go */
#define MERGE_TRIES	30	/* seconds of trying to read a slot until it counts as bad */

enum {
	SYNC_IDLE, SYNC_TAGS, SYNC_FLUSH, SYNC_PAGES, SYNC_FLUSH2, SYNC_PROGRESS,
	SYNC_PROGRESS_WAIT,
};

enum { MERGE_IDLE, MERGE_COPY, MERGE_FLUSH, MERGE_DAMAGED, MERGE_READS, MERGE_SUPER };
enum { FOLD_IDLE, FOLD_PICK, FOLD_COPY, FOLD_SYNC, FOLD_SUPER };

enum fzc_s_job {
	JOB_SUPER = FZC_JOB_INTENT_END, JOB_SYNC_TAGS, JOB_SYNC_FLUSH, JOB_SYNC_PAGE,
	JOB_SYNC_FLUSH2, JOB_PROGRESS, JOB_MERGE, JOB_MERGE_FLUSH, JOB_DAMAGED, JOB_FOLD,
	JOB_IN_FLUSH, JOB_FORMAT, JOB_VERIFY, JOB_GROW_A, JOB_GROW_B,
};

u64 fzc_s_bytes(const struct fzc_geometry *geo)
{
	return fzc_align8(fzc_intent_bytes(geo)) +
	       fzc_align8(fzc_slots_bytes(geo->slots[0])) +
	       fzc_align8(fzc_slots_bytes(geo->slots[1])) + 2 * fzc_map_bytes(geo->blocks);
}

void fzc_s_init(struct fzc_score *s, void *mem, const struct fzc_geometry *geo,
		const struct fzc_opts *opts)
{
	u8 *m = mem;
	int i;

	memset(s, 0, sizeof(*s));
	s->geo = *geo;
	s->opts = *opts;
	fzc_intent_init(&s->in, m, &s->geo, &s->sb, &s->seq);
	m += fzc_align8(fzc_intent_bytes(geo));
	for (i = 0; i < 2; i++) {
		fzc_slots_init(&s->stage[i], m, geo->slots[i], true);
		m += fzc_align8(fzc_slots_bytes(geo->slots[i]));
		fzc_map_init(&s->staged[i], m, geo->blocks);
		m += fzc_map_bytes(geo->blocks);
	}
}

void fzc_s_event(struct fzc_score *s, enum fzc_event_kind kind)
{
	s->events |= 1U << kind;
}

/* A device fails: an event, and a flag that stays until it is seen to work again. */
void fzc_s_trouble(struct fzc_score *s, u8 dev, const char *what, int err)
{
	static const char *const name[FZC_NR_DEVS] = { "meta", "data", "diff-a", "diff-b" };
	bool *failed = dev == FZC_META ? &s->meta_failed :
		       dev == FZC_DATA ? &s->data_failed : &s->stage_failed;

	if (!*failed)
		fzc_s_event(s, FZC_EVENT_ERROR);
	*failed = true;
	if (dev == FZC_META) {	/* nothing continues unrecorded, and nobody waits for it */
		s->in.failed = true;
		s->wake = true;
	}
	fzc_s_say(s, "%s the %s device failed (%d)", what, name[dev], err);
}

/*
 * A flush of DATA failed, whoever asked for it: what it has lost, a later one need
 * not bring back.  The merge begins again from the first block on.
 */
static void data_lost(struct fzc_score *s, int err)
{
	s->tainted = true;
	s->merge_again |= s->overlay && s->merge_step < MERGE_DAMAGED;
	fzc_s_trouble(s, FZC_DATA, "flushing", err);
}

/* The connection is of no use any more: nothing that comes over it is looked at. */
void fzc_s_drop(struct fzc_score *s)
{
	s->drop = true;
	s->ended = true;
}

u64 fzc_s_dirty_super(struct fzc_score *s)
{
	return ++s->sb_want;
}

void fzc_s_reset_stage(struct fzc_score *s, u8 i)
{
	fzc_slots_reset(&s->stage[i]);
	fzc_map_zero(&s->staged[i]);
	s->sb.log[i] = ++s->sb.next_gen;
}

/* ---- superblock ---- */

static bool super_next(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	if (s->sb_busy || s->sb_retry || s->sb_want == s->sb_done)
		return false;
	s->sb_busy = true;
	s->sb_writing = s->sb_want;
	s->sb.seq = ++s->seq;
	fzc_super_encode(&s->sb, page);
	act->kind = FZC_ACT_WRITE;
	act->dev = FZC_META;
	act->job = JOB_SUPER;
	act->offset = FZC_OFF_SUPER + FZC_PAGE * !s->sb_copy;
	act->fua = true;
	return true;
}

static void commit_done(struct fzc_score *s)
{
	bool direct = !fzc_s_merging(s);

	s->commit_at = 0;
	s->commit.number = 0;
	s->full = false;
	s->say_committed = s->link == FZC_SLINK_UP;
	s->say_merged = direct && s->say_committed;
	s->overlay = !direct;
	s->has_image = true;
	s->shown = s->sb.image;
	s->parity ^= 1;
	s->merge_again = false;
	s->merge_cursor = 0;
	s->merge_total = direct ? 0 : s->staged[!s->sb.stage_cur].count;
	s->merge_left = s->merge_total;
	fzc_s_event(s, FZC_EVENT_COMMIT);
	if (direct)
		fzc_s_event(s, FZC_EVENT_MERGED);
}

static void merge_done(struct fzc_score *s)
{
	s->merge_step = MERGE_IDLE;
	s->merged_at = 0;
	s->merge_gives_up = false;
	s->merge_total = 0;
	s->data_failed = false;
	s->stage_failed = false;
	s->say_merged = s->link == FZC_SLINK_UP;
	s->need = s->ndamaged;
	fzc_s_event(s, FZC_EVENT_MERGED);
	s->wake = true;
}

static void super_done(struct fzc_score *s, int err)
{
	s->sb_busy = false;
	if (err) {
		fzc_s_trouble(s, FZC_META, "writing the superblock to", err);
		s->sb_retry = true;
		return;
	}
	s->wake |= s->in.failed;
	s->in.failed = false;
	s->meta_failed = false;
	s->sb_copy ^= 1;
	s->sb_done = s->sb_writing;
	if (s->commit_at && s->sb_done >= s->commit_at)
		commit_done(s);
	if (s->merge_step == MERGE_SUPER && s->sb_done >= s->merged_at)
		merge_done(s);
	if (s->fold_step == FOLD_SUPER && s->sb_done >= s->fold_at)
		s->fold_step = FOLD_IDLE;
	if (s->link == FZC_SLINK_STORING && s->sb_done >= s->session_at) {
		s->link = FZC_SLINK_UP;
		s->send_session_ok = true;
		/* the merge may have ended since the hello */
		s->say_merged = s->has_image && !fzc_s_merging(s);
		s->need = s->ndamaged;
		fzc_s_event(s, FZC_EVENT_CONNECT);
	}
	if (s->recover_at && s->sb_done >= s->recover_at) {
		s->recover_at = 0;
		fzc_s_event(s, FZC_EVENT_RECOVERED);
	}
}

/* ---- sync ---- */

/* Frames from the first on that are all written. */
static u64 written_prefix(const struct fzc_score *s)
{
	u64 f = s->durable;

	while (f < s->frames && s->rx[(f + 1) % FZC_MAX_RX].written)
		f++;
	return f;
}

/*
 * Frames that DURABLE may be said of at the end of a sync.  What a flush that
 * failed has lost is not looked for: the connection ends, and the primary sends
 * it again; so a later sync, be it a fold's, says nothing of those frames.
 */
static u64 sayable(const struct fzc_score *s)
{
	return s->link == FZC_SLINK_UP && !s->ended ? written_prefix(s) : 0;
}

/* Flush the next device of @mask, if any. */
static bool flush_due(struct fzc_score *s, struct fzc_act *act, u8 job)
{
	u8 dev;

	for (dev = 0; dev < FZC_NR_DEVS; dev++)
		if (s->sync_due & 1U << dev) {
			s->sync_due &= ~(1U << dev);
			s->sync_flushes++;
			return fzc_act_flush(act, dev, job);
		}
	return false;
}

static bool sync_page(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	u32 n;
	u8 i;

	for (i = 0; i < 2; i++) {
		struct fzc_slots *slots = &s->stage[i];

		if (!fzc_slots_sync_page(slots, &n))
			continue;
		fzc_slots_encode(slots, n, &page->index);
		fzc_page_seal(page, FZC_PAGE_INDEX, s->sb.format, ++s->seq, s->sb.log[i], n);
		s->sync_pages++;
		s->sync_paged |= 1U << fzc_stage_dev(i);
		act->kind = FZC_ACT_WRITE;
		act->dev = fzc_stage_dev(i);
		act->job = JOB_SYNC_PAGE;
		act->offset = fzc_index_offset(n, !fzc_slots_copy(slots, n));
		act->arg = n;
		return true;
	}
	return false;
}

/* What is staged is given up: the primary finds that in the next hello, and sends it again. */
static void stages_give_up(struct fzc_score *s, bool both)
{
	fzc_s_reset_stage(s, s->sb.stage_cur);
	if (both)
		fzc_s_reset_stage(s, !s->sb.stage_cur);
	memset(&s->sb.stage, 0, sizeof(s->sb.stage));
	s->sb.freeze.number = 0;
	s->session_new = false;	/* it relies on the stages: not to be stored any more */
	s->hold = true;
	s->hold_at = fzc_s_dirty_super(s);
	if (s->link != FZC_SLINK_DOWN)
		fzc_s_drop(s);
}

/* A fold that cannot be done must not keep the committed image from being recovered. */
static void fold_give_up(struct fzc_score *s, const char *why)
{
	stages_give_up(s, s->fold_real);
	s->fold_step = FOLD_IDLE;
	s->sync_fold = false;
	if (s->fold_void)	/* which is no trouble */
		return;
	fzc_s_say(s, "what was staged is discarded after an abort: %s", why);
	fzc_s_event(s, FZC_EVENT_ERROR);
}

static void sync_end(struct fzc_score *s)
{
	int i;

	s->sync_step = SYNC_IDLE;
	if (s->sync_err) {
		for (i = 0; i < 2; i++)
			fzc_slots_sync_failed(&s->stage[i]);
		s->dirty = 1U << FZC_DIFF | 1U << FZC_DIFF_B;
		if (s->sb.flags & FZC_SB_FIRST_COPY)	/* else only merges write there */
			s->dirty |= 1U << FZC_DATA;
		fzc_s_drop(s);
		if (s->fold_step == FOLD_SYNC && s->sync_fold)
			fold_give_up(s, "a stage could not be flushed");
		return;
	}
	for (i = 0; i < 2; i++)
		fzc_slots_sync_ended(&s->stage[i]);
	if (s->fold_step == FOLD_SYNC && s->sync_fold)
		s->sync_fold = false;
	if (s->link != FZC_SLINK_UP || s->batch <= s->durable)
		return;
	s->durable = s->batch;
	s->last_durable = s->batch;
	s->say_durable = true;
	s->stage_failed = s->merge_stuck;
	if (s->sb.flags & FZC_SB_FIRST_COPY)
		s->data_failed = false;
}

static void progress_page(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	memset(page, 0, sizeof(*page));
	memcpy(page->progress.session, s->sb.session.b, 16);
	page->progress.frames = cpu_to_le64(s->batch);
	fzc_page_seal(page, FZC_PAGE_PROGRESS, s->sb.format, ++s->seq, 0, 0);
	act->kind = FZC_ACT_WRITE;
	act->dev = FZC_META;
	act->job = JOB_PROGRESS;
	act->offset = FZC_OFF_PROGRESS + FZC_PAGE * !s->progress_copy;
	act->fua = true;
}

static bool sync_due(const struct fzc_score *s)
{
	if (s->fold_step == FOLD_SYNC)
		return s->sync_fold;
	/* what a fold has copied is made durable at its end, or the fold is given up */
	if (s->session_new && s->dirty && !s->fold_step && !s->ended)
		return true;
	return sayable(s) > s->durable;
}

/* Tags of what was written to the stages, as far as there are any to be written. */
static bool tags_due(const struct fzc_score *s)
{
	return s->geo.tagged && s->sync_due & (1U << FZC_DIFF | 1U << FZC_DIFF_B);
}

static bool sync_tags(struct fzc_score *s, struct fzc_act *act)
{
	s->sync_tags = true;
	act->kind = FZC_ACT_TAGS;
	act->dev = fzc_stage_dev(s->sb.stage_cur);
	act->job = JOB_SYNC_TAGS;
	return true;
}

/* DURABLE is said after: tags, flush of what was written, index, flush of that, progress. */
static bool sync_next(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	switch (s->sync_step) {
	case SYNC_IDLE:
		if (!sync_due(s))
			return false;
		s->sync_err = 0;
		s->sync_paged = 0;
		s->batch = sayable(s);
		s->sync_due = s->dirty;
		s->dirty = 0;
		fzc_slots_sync_begin(&s->stage[0]);
		fzc_slots_sync_begin(&s->stage[1]);
		s->sync_step = SYNC_TAGS;
		if (tags_due(s))
			return sync_tags(s, act);
		fallthrough;
	case SYNC_TAGS:
		if (s->sync_tags)
			return false;
		s->sync_step = SYNC_FLUSH;
		fallthrough;
	case SYNC_FLUSH:
		if (flush_due(s, act, JOB_SYNC_FLUSH))
			return true;
		if (s->sync_flushes)
			return false;
		if (s->sync_err) {
			sync_end(s);
			return false;
		}
		fzc_slots_sync_flushed(&s->stage[0]);
		fzc_slots_sync_flushed(&s->stage[1]);
		s->sync_step = SYNC_PAGES;
		fallthrough;
	case SYNC_PAGES:
		if (sync_page(s, act, page))
			return true;
		if (s->sync_pages)
			return false;
		s->sync_due = s->sync_paged;
		s->sync_step = SYNC_FLUSH2;
		fallthrough;
	case SYNC_FLUSH2:
		if (!s->sync_err && flush_due(s, act, JOB_SYNC_FLUSH2))
			return true;
		if (s->sync_flushes)
			return false;
		if (s->sync_err || s->batch <= s->durable || s->link != FZC_SLINK_UP) {
			sync_end(s);
			act->kind = FZC_ACT_AGAIN;	/* a session may wait for it */
			return true;
		}
		s->sync_step = SYNC_PROGRESS_WAIT;
		progress_page(s, act, page);
		return true;
	default:
		return false;
	}
}

static void sync_done(struct fzc_score *s, const struct fzc_act *act, int err)
{
	if (err) {
		s->sync_err = err;
		if (act->kind == FZC_ACT_FLUSH && act->dev == FZC_DATA)
			data_lost(s, err);
		else
			fzc_s_trouble(s, act->dev, act->kind == FZC_ACT_FLUSH ? "flushing" :
				      act->kind == FZC_ACT_TAGS ? "writing tags to" :
				      "writing to", err);
	}
	switch (act->job) {
	case JOB_SYNC_PAGE:
		s->sync_pages--;
		fzc_slots_page_written(&s->stage[act->dev == FZC_DIFF_B], act->arg, !err);
		break;
	case JOB_SYNC_TAGS:
		s->sync_tags = false;
		break;
	case JOB_PROGRESS:
		s->progress_copy ^= !err;
		sync_end(s);
		break;
	default:
		s->sync_flushes--;
	}
}

/* ---- commit ---- */

/*
 * R14: all of it is durable, or the primary would not have said ALL_SENT: one
 * superblock write makes it the image.
 */
static void commit_step(struct fzc_score *s)
{
	struct fzc_super *sb = &s->sb;

	if (!s->commit.number || s->commit_at || !s->verified)
		return;
	sb->image = s->commit;
	sb->freeze.number = 0;
	sb->building = s->commit.number + 1;
	if (sb->flags & FZC_SB_FIRST_COPY) {
		sb->flags &= ~FZC_SB_FIRST_COPY;
	} else {
		sb->flags |= FZC_SB_MERGING;
		sb->stage_cur = !sb->stage_cur;
	}
	s->commit_at = fzc_s_dirty_super(s);
	s->hold_at = s->commit_at;
}

/* Next blocks of the stage that have content; false: none are left. */
static bool pick_verify(struct fzc_score *s)
{
	u8 cur = s->sb.stage_cur;
	struct fzc_slots *slots = &s->stage[cur];
	struct fzc_copy *c = &s->copy;
	u32 seen = 0;
	u64 b;

	c->n = 0;
	c->from_dev = fzc_stage_dev(cur);
	c->to_dev = FZC_NR_DEVS;
	for (b = fzc_map_next(&s->staged[cur], s->verify_cursor);
	     b < s->geo.blocks && c->n < FZC_COPY_BATCH && seen < MAX_LOOK;
	     b = fzc_map_next(&s->staged[cur], b + 1), seen++) {
		struct fzc_copy_item *it = &c->item[c->n];
		u32 slot = fzc_slots_find(slots, b);

		if (*fzc_slot_flags(slots, slot) & FZC_SLOT_ZERO)
			continue;
		memset(it, 0, sizeof(*it));
		it->block = b;
		it->from = slot;
		it->check = true;
		it->crc = *fzc_slot_crc(slots, slot);
		c->n++;
	}
	s->verify_cursor = b;
	return b < s->geo.blocks || c->n;
}

/* The commit may be made; from here on the receiver waits for it. */
void fzc_s_verified(struct fzc_score *s)
{
	s->verified = true;
	s->hold = true;
	s->hold_at = 0;
}

/*
 * The option to look at every slot before the commit.  Frames for the next
 * image are taken meanwhile; the receiver is held only for the commit itself.
 */
static bool verify_next(struct fzc_score *s, struct fzc_act *act)
{
	/* not before all that was received is put away */
	if (s->verify_bad && s->sync_step == SYNC_IDLE && !fzc_s_rx_busy(s)) {
		s->verify_bad = false;
		stages_give_up(s, true);
		act->kind = FZC_ACT_AGAIN;
		return true;
	}
	if (!s->commit.number || s->verified || s->verify_busy)
		return false;
	if (!pick_verify(s))
		fzc_s_verified(s);
	if (s->verified || !s->copy.n) {
		act->kind = FZC_ACT_AGAIN;
		return true;
	}
	s->verify_busy = true;
	return fzc_act_copy(act, JOB_VERIFY, &s->copy);
}

/*
 * A bad slot: the primary may have overwritten what belongs there, so this
 * image cannot be had any more.  The committed one stays.
 */
static void verify_done(struct fzc_score *s)
{
	const struct fzc_copy_item *it;

	s->verify_busy = false;
	if (!s->commit.number)	/* void meanwhile */
		return;
	for (it = s->copy.item; it < s->copy.item + s->copy.n; it++) {
		if (it->result == FZC_COPY_OK)
			continue;
		fzc_s_say(s,
			  "image %llu is not committed, what is staged is discarded: block %llu %s",
			  (unsigned long long)s->commit.number, (unsigned long long)it->block,
			  it->result == FZC_COPY_BAD ? "does not match its checksum" :
						       "cannot be read");
		s->commit.number = 0;
		s->verify_bad = true;
		fzc_s_drop(s);
		fzc_s_event(s, FZC_EVENT_ERROR);
		return;
	}
}

/* ---- merge ---- */

static u32 damaged_find(const struct fzc_score *s, u64 block)
{
	u32 i;

	for (i = 0; i < s->ndamaged; i++)
		if (s->damaged[i] == block)
			break;
	return i;
}

static bool pick_merge(struct fzc_score *s)
{
	u8 m = !s->sb.stage_cur;
	struct fzc_slots *slots = &s->stage[m];
	struct fzc_copy *c = &s->copy;
	u64 b;

	c->n = 0;
	c->from_dev = fzc_stage_dev(m);
	c->to_dev = FZC_DATA;
	for (b = fzc_map_next(&s->staged[m], s->merge_cursor);
	     b < s->geo.blocks && c->n < FZC_COPY_BATCH; b = fzc_map_next(&s->staged[m], b + 1)) {
		struct fzc_copy_item *it = &c->item[c->n++];

		memset(it, 0, sizeof(*it));
		it->block = b;
		it->from = fzc_slots_find(slots, b);
		it->zero = *fzc_slot_flags(slots, it->from) & FZC_SLOT_ZERO;
		it->check = !it->zero;
		it->crc = *fzc_slot_crc(slots, it->from);
	}
	return c->n;
}

static bool damaged_page(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	u32 i;

	memset(page, 0, sizeof(*page));
	page->damaged.n = cpu_to_le32(s->ndamaged);
	for (i = 0; i < s->ndamaged; i++)
		page->damaged.block[i] = cpu_to_le64(s->damaged[i]);
	fzc_page_seal(page, FZC_PAGE_DAMAGED, s->sb.format, ++s->seq, 0, 0);
	act->kind = FZC_ACT_WRITE;
	act->dev = FZC_META;
	act->job = JOB_DAMAGED;
	act->offset = FZC_OFF_DAMAGED + FZC_PAGE * !s->damaged_copy;
	act->fua = true;
	s->damaged_dirty = false;
	return true;
}

static bool merge_next(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	u8 m = !s->sb.stage_cur;

	if (!s->overlay && s->merge_step < MERGE_READS)
		return false;
	switch (s->merge_step) {
	case MERGE_IDLE:
		/*
		 * Reads that began on the old image still expect to find it in DATA;
		 * and the superblock may still say that nobody wrote to it since a stop.
		 */
		if (s->merge_pause || s->stop_step || s->reads[!s->parity] || !s->sb_done)
			return false;
		if (pick_merge(s)) {
			s->merge_step = MERGE_COPY;
			return fzc_act_copy(act, JOB_MERGE, &s->copy);
		}
		s->merge_step = MERGE_FLUSH;
		return fzc_act_flush(act, FZC_DATA, JOB_MERGE_FLUSH);
	case MERGE_DAMAGED:
		if (s->merge_pause)
			return false;
		if (s->damaged_busy)
			return false;
		if (s->damaged_dirty) {
			s->damaged_busy = true;
			return damaged_page(s, act, page);
		}
		s->merge_step = MERGE_READS;
		s->overlay = false;
		fallthrough;
	case MERGE_READS:
		if (s->stage_reads[m])
			return false;
		fzc_s_reset_stage(s, m);
		s->sb.flags &= ~FZC_SB_MERGING;
		s->merged_at = fzc_s_dirty_super(s);
		s->merge_step = MERGE_SUPER;
		act->kind = FZC_ACT_AGAIN;
		return true;
	default:
		return false;
	}
}

/* R16: a slot whose checksum does not match is not merged. */
static bool note_damage(struct fzc_score *s, const struct fzc_copy_item *it)
{
	u32 i = damaged_find(s, it->block);

	if (it->result == FZC_COPY_OK && i < s->ndamaged) {
		s->damaged[i] = s->damaged[--s->ndamaged];
		s->damaged_dirty = true;
	} else if (it->result == FZC_COPY_BAD && i == s->ndamaged) {
		if (s->ndamaged == FZC_MAX_DAMAGED)
			return false;
		s->damaged[s->ndamaged++] = it->block;
		s->damaged_dirty = true;
		fzc_s_say(s, "block %llu: the staged content %s", (unsigned long long)it->block,
			  s->merge_tries ? "cannot be read" : "does not match its checksum");
		fzc_s_event(s, FZC_EVENT_ERROR);
	}
	return true;
}

/* Nobody is there who can send again what cannot be read, nor who said that it may be lost. */
static bool must_be_ordered(const struct fzc_score *s)
{
	return s->merge_tries == MERGE_TRIES && s->sb.flags & FZC_SB_RECOVERED &&
	       !s->merge_gives_up;
}

bool fzc_s_give_up_unreadable(struct fzc_score *s)
{
	if (!must_be_ordered(s))
		return false;
	s->merge_gives_up = true;
	return true;
}

/* It goes on to be a merge (R16). */
static void merge_failed(struct fzc_score *s, const struct fzc_copy_item *it)
{
	bool read = it->result != FZC_COPY_EWRITE;

	s->merge_pause = true;
	s->merge_stuck = read;
	if (it->result == FZC_COPY_EIO && s->merge_tries < MERGE_TRIES)
		s->merge_tries++;
	fzc_s_trouble(s, read ? s->copy.from_dev : FZC_DATA,
		      read ? "merging: reading" : "merging: writing to", -EIO);
	if (it->result == FZC_COPY_EIO && must_be_ordered(s))
		fzc_s_say(s,
			  "merging: the staged content of block %llu cannot be read (recover give-up gives up such blocks)",
			  (unsigned long long)it->block);
	if (it->result == FZC_COPY_BAD)	/* and there is no room to note it */
		fzc_s_say(s,
			  "merging does not end: more than %u damaged blocks, the next is block %llu",
			  FZC_MAX_DAMAGED, (unsigned long long)it->block);
}

static void merge_copied(struct fzc_score *s)
{
	struct fzc_copy_item *it;

	s->merge_step = MERGE_IDLE;
	for (it = s->copy.item; it < s->copy.item + s->copy.n; it++) {
		/* only while there is somebody who can send it again, or by order */
		if (it->result == FZC_COPY_EIO && s->merge_tries == MERGE_TRIES &&
		    (s->link == FZC_SLINK_UP || s->merge_gives_up))
			it->result = FZC_COPY_BAD;
		if (it->result >= FZC_COPY_EIO || !note_damage(s, it)) {
			merge_failed(s, it);
			return;
		}
	}
	s->merge_tries = 0;
	s->merge_stuck = false;
	s->merge_left -= min_t(u64, s->copy.n, s->merge_left);
	s->merge_cursor = s->copy.item[s->copy.n - 1].block + 1;
}

/* ---- fold (R11) ---- */

void fzc_s_fold(struct fzc_score *s)
{
	/* while the other stage is being merged, nothing was sent ahead (R9) */
	s->fold_real = !fzc_s_merging(s);
	s->fold_step = s->fold_real ? FOLD_PICK : FOLD_SYNC;
	s->fold_cursor = 0;
	s->hold = true;
	s->hold_at = 0;
}

/* Next blocks of the newer stage, each with a slot in the older; false: no room. */
static bool pick_fold(struct fzc_score *s)
{
	u8 cur = s->sb.stage_cur;
	struct fzc_slots *from = &s->stage[!cur], *to = &s->stage[cur];
	struct fzc_copy *c = &s->copy;
	u64 b;

	c->n = 0;
	c->from_dev = fzc_stage_dev(!cur);
	c->to_dev = fzc_stage_dev(cur);
	for (b = fzc_map_next(&s->staged[!cur], s->fold_cursor);
	     b < s->geo.blocks && c->n < FZC_COPY_BATCH;
	     b = fzc_map_next(&s->staged[!cur], b + 1)) {
		struct fzc_copy_item *it = &c->item[c->n++];

		memset(it, 0, sizeof(*it));
		it->block = b;
		it->from = fzc_slots_find(from, b);
		it->zero = *fzc_slot_flags(from, it->from) & FZC_SLOT_ZERO;
		it->crc = *fzc_slot_crc(from, it->from);
		it->to = fzc_slots_find(to, b);
		if (it->to == FZC_NO_SLOT)
			it->to = fzc_slots_alloc(to, b);
		if (it->to == FZC_NO_SLOT)
			return false;
		fzc_slot_set_state(to, it->to, FZC_SLOT_FILLING);
	}
	return true;
}

static bool fold_given_up(struct fzc_score *s, struct fzc_act *act, const char *why)
{
	fold_give_up(s, why);
	act->kind = FZC_ACT_AGAIN;
	return true;
}

static bool fold_next(struct fzc_score *s, struct fzc_act *act)
{
	switch (s->fold_step) {
	case FOLD_PICK:
		/* what came before the abort is staged first */
		if (s->sync_step != SYNC_IDLE || fzc_s_rx_busy(s))
			return false;
		if (s->fold_void)
			return fold_given_up(s, act, "the volume is to be recovered");
		if (s->merge_pause || fzc_s_grows(s, s->sb.stage_cur, FZC_COPY_BATCH))
			return false;
		if (!pick_fold(s))
			return fold_given_up(s, act, "no room to add one stage to the other");
		if (s->copy.n) {
			s->fold_step = FOLD_COPY;
			return fzc_act_copy(act, JOB_FOLD, &s->copy);
		}
		s->fold_step = FOLD_SYNC;
		s->sync_fold = true;
		act->kind = FZC_ACT_AGAIN;
		return true;
	case FOLD_SYNC:
		if (s->sync_fold || s->sync_step != SYNC_IDLE)
			return false;
		/* emptied in the write that ends the freeze, or its blocks come back */
		if (s->fold_real)
			fzc_s_reset_stage(s, !s->sb.stage_cur);
		s->sb.freeze.number = 0;
		s->sb.building++;	/* the number of an aborted freeze is not used again */
		s->fold_at = fzc_s_dirty_super(s);
		s->hold_at = s->fold_at;
		s->fold_step = FOLD_SUPER;
		act->kind = FZC_ACT_AGAIN;
		return true;
	default:
		return false;
	}
}

static void fold_copied(struct fzc_score *s)
{
	u8 cur = s->sb.stage_cur;
	struct fzc_slots *to = &s->stage[cur];
	struct fzc_copy_item *it;

	s->fold_step = FOLD_PICK;
	s->dirty |= 1U << fzc_stage_dev(cur);
	for (it = s->copy.item; it < s->copy.item + s->copy.n; it++) {
		if (it->result != FZC_COPY_OK) {
			fold_give_up(s, "a block of one could not be added to the other");
			return;
		}
		*fzc_slot_crc(to, it->to) = it->crc;
		*fzc_slot_flags(to, it->to) &= ~FZC_SLOT_ZERO;
		if (it->zero)
			*fzc_slot_flags(to, it->to) |= FZC_SLOT_ZERO;
		fzc_slot_filled(to, it->to);
		fzc_map_set(&s->staged[cur], it->block);
	}
	if (s->copy.n)
		s->fold_cursor = s->copy.item[s->copy.n - 1].block + 1;
}

/* ---- next, done, tick ---- */

static bool news_next(struct fzc_score *s, struct fzc_act *act)
{
	if (s->drop && !s->refuse) {
		s->drop = false;
		act->kind = FZC_ACT_DROP;
		return true;
	}
	s->wake |= s->in.wake;
	s->in.wake = false;
	if (s->hold && s->hold_at && s->sb_done >= s->hold_at && s->fold_step == FOLD_IDLE) {
		s->hold = false;
		s->hold_at = 0;
		s->wake = true;
	}
	if (s->wake) {
		s->wake = false;
		act->kind = FZC_ACT_WAKE;
		return true;
	}
	if (s->events) {
		act->event = __ffs64(s->events);
		s->events &= s->events - 1;
		act->kind = FZC_ACT_EVENT;
		return true;
	}
	return false;
}

/* A flush of DATA that was for what the host wrote. */
static void data_flushed(struct fzc_score *s, int err)
{
	if (err)
		data_lost(s, err);
	else if (fzc_s_writable(s))	/* else that is for the merge to say */
		s->data_failed = false;
}

static bool intent_flush(struct fzc_score *s, struct fzc_act *act)
{
	if (!s->in.sync_wanted || s->in_flushing)
		return false;
	s->in.sync_wanted = false;
	s->in_flushing = true;
	return fzc_act_flush(act, FZC_DATA, JOB_IN_FLUSH);
}

static bool format_next(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	if (s->format_busy || s->sb_retry)
		return false;
	if (fzc_format_page(&s->sb, &s->geo, s->format_step - 1, page, act)) {
		act->job = JOB_FORMAT;
		s->format_busy++;
		s->format_step++;
		return true;
	}
	s->format_step = 0;
	s->sb.flags &= ~FZC_SB_FORMATTING;
	fzc_s_dirty_super(s);
	act->kind = FZC_ACT_AGAIN;
	return true;
}

bool fzc_s_next(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page)
{
	memset(act, 0, sizeof(*act));
	fzc_s_session_step(s);
	commit_step(s);
	if (news_next(s, act))
		return true;
	if (fzc_slots_next_act(&s->stage[0], act, JOB_GROW_A) ||
	    fzc_slots_next_act(&s->stage[1], act, JOB_GROW_B))
		return true;
	if (s->format_step)
		return format_next(s, act, page);
	return super_next(s, act, page) || fzc_s_session_next(s, act) ||
	       fzc_intent_next(&s->in, act, page) || intent_flush(s, act) ||
	       sync_next(s, act, page) || fold_next(s, act) || verify_next(s, act) ||
	       merge_next(s, act, page) ||
	       fzc_s_stop_next(s, act) || news_next(s, act);
}

void fzc_s_done(struct fzc_score *s, const struct fzc_act *act, int err)
{
	switch (act->job) {
	case JOB_SUPER:
		super_done(s, err);
		break;
	case JOB_SYNC_TAGS:
	case JOB_SYNC_FLUSH:
	case JOB_SYNC_PAGE:
	case JOB_SYNC_FLUSH2:
	case JOB_PROGRESS:
		sync_done(s, act, err);
		break;
	case JOB_MERGE:
		merge_copied(s);
		break;
	case JOB_MERGE_FLUSH:
		/* R16: on an error the merge goes on to be one */
		if (err)
			data_lost(s, err);
		s->merge_pause = s->merge_again;
		s->merge_step = s->merge_again ? MERGE_IDLE : MERGE_DAMAGED;
		if (s->merge_again) {
			s->merge_cursor = 0;
			s->merge_left = s->merge_total;
		}
		s->merge_again = false;
		break;
	case JOB_DAMAGED:
		s->damaged_busy = false;
		s->damaged_copy ^= !err;
		s->damaged_dirty |= !!err;
		s->merge_pause |= !!err;
		if (err)
			fzc_s_trouble(s, FZC_META, "writing damaged blocks to", err);
		break;
	case JOB_FOLD:
		fold_copied(s);
		break;
	case JOB_VERIFY:
		verify_done(s);
		break;
	case JOB_GROW_A:
	case JOB_GROW_B:
		fzc_slots_give(&s->stage[act->job == JOB_GROW_B], act->chunk);
		s->wake = true;
		break;
	case JOB_IN_FLUSH:
		s->in_flushing = false;
		s->wake = true;
		s->lost |= !!err;
		data_flushed(s, err);
		fzc_intent_synced(&s->in, err);
		break;
	case JOB_FORMAT:
		s->format_busy--;
		if (err) {	/* the same page again, after the tick */
			s->format_step--;
			s->sb_retry = true;
		}
		break;
	default:
		fzc_intent_done(&s->in, act, err);
		if (err)
			fzc_s_trouble(s, FZC_META, "writing regions or bitmaps to", err);
	}
}

void fzc_s_tick(struct fzc_score *s)
{
	s->sb_retry = false;
	s->merge_pause = false;
	if (s->meta_failed)	/* does it work again? */
		fzc_s_dirty_super(s);
	fzc_slots_retry(&s->stage[0]);
	fzc_slots_retry(&s->stage[1]);
	if (s->sb.flags & FZC_SB_RECOVERED)
		fzc_intent_tick(&s->in);
}

/* ---- host I/O ---- */

enum fzc_go fzc_s_read_begin(struct fzc_score *s, u64 first, u64 last, u8 *token)
{
	u64 b;

	if (!s->has_image)
		return FZC_GO_FAIL;
	*token = s->parity;
	s->reads[s->parity]++;
	for (b = first; b <= last; b++)
		if ((s->overlay && fzc_map_test(&s->staged[!s->sb.stage_cur], b)) || s->ndamaged)
			return FZC_GO_MIXED;
	return FZC_GO_DATA;
}

enum fzc_s_place fzc_s_read_place(struct fzc_score *s, u64 block, u8 *dev, u32 *slot)
{
	u8 m = !s->sb.stage_cur;

	/* what is being merged counts, whatever is below; who reads it checks it */
	if (!s->overlay || !fzc_map_test(&s->staged[m], block))
		return s->ndamaged && damaged_find(s, block) < s->ndamaged ? FZC_S_BAD : FZC_S_DATA;
	*slot = fzc_slots_find(&s->stage[m], block);
	if (*fzc_slot_flags(&s->stage[m], *slot) & FZC_SLOT_ZERO)
		return FZC_S_ZERO;
	*dev = fzc_stage_dev(m);
	s->stage_reads[m]++;
	return FZC_S_SLOT;
}

void fzc_s_slot_put(struct fzc_score *s, u8 dev)
{
	s->stage_reads[dev == FZC_DIFF_B]--;
}

void fzc_s_read_end(struct fzc_score *s, u8 token)
{
	s->reads[token]--;
}

bool fzc_s_writable(const struct fzc_score *s)
{
	return s->sb.flags & FZC_SB_RECOVERED && !s->recover_at && !fzc_s_merging(s) &&
	       s->merge_step == MERGE_IDLE;
}

enum fzc_go fzc_s_write_begin(struct fzc_score *s, u64 first, u64 last)
{
	enum fzc_go go;
	u64 b;

	if (!fzc_s_writable(s))
		return FZC_GO_DENY;
	go = fzc_intent_enter(&s->in, first, last);
	if (go != FZC_GO_DATA)
		return go;
	for (b = first; b <= last; b++)
		fzc_intent_mark(&s->in, b);
	return FZC_GO_DATA;
}

void fzc_s_write_end(struct fzc_score *s, u64 first, u64 last)
{
	fzc_intent_exit(&s->in, first, last);
}

enum fzc_go fzc_s_flush_begin(struct fzc_score *s)
{
	if (s->lost) {
		s->lost = false;
		return FZC_GO_FAIL;
	}
	/* one of our own that is in flight may lose what this one then does not see */
	return s->in_flushing ? FZC_GO_PARK : FZC_GO_DATA;
}

/* What a first copy brought and is not said to be durable the primary sends again. */
static void first_copy_lost(struct fzc_score *s, int err)
{
	if (!(s->sb.flags & FZC_SB_FIRST_COPY))
		return;
	s->sync_err = err;	/* if one is running */
	if (s->link == FZC_SLINK_UP)
		fzc_s_drop(s);
}

int fzc_s_flush_end(struct fzc_score *s, int err)
{
	data_flushed(s, err);
	if (err)
		first_copy_lost(s, err);
	if (!err && s->lost)	/* beside it */
		err = -EIO;
	s->lost &= !err;
	return err;
}
