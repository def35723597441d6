// SPDX-License-Identifier: GPL-2.0-only
/* The primary's core: from disk to memory, formatting, and back to disk at a clean stop. */
#include "load.h"

enum {
	LOAD_SUPER, LOAD_DIFF, LOAD_REGIONS, LOAD_CHANGED0, LOAD_CHANGED1, LOAD_UNSENT,
	LOAD_FROZEN, LOAD_INDEX, LOAD_END,
};

enum { STOP_NO, STOP_CLOSE, STOP_PAGES, STOP_FLUSH, STOP_SUPER, STOP_DONE };

/* How many pages a step has. */
static u32 step_pages(const struct fzc_pcore *p, u8 step)
{
	bool clean = p->sb.flags & FZC_SB_CLEAN;

	if (p->fresh && step > LOAD_DIFF)
		return 0;
	switch (step) {
	case LOAD_CHANGED0:
	case LOAD_CHANGED1:
		return p->sb.gen[step - LOAD_CHANGED0] ? p->geo.map_pages : 0;
	case LOAD_UNSENT:
		return clean ? p->geo.map_pages : 0;
	case LOAD_FROZEN:
		return clean && p->sb.flags & FZC_SB_FREEZE ? p->geo.map_pages : 0;
	case LOAD_INDEX:
		return p->sb.log[0] ? FZC_DIV_ROUND_UP(p->geo.slots[0], FZC_INDEX_ENTRIES) : 0;
	default:
		return 1;
	}
}

static u64 step_offset(const struct fzc_pcore *p, u8 step, u32 page)
{
	switch (step) {
	case LOAD_REGIONS:
		return FZC_OFF_REGIONS;
	case LOAD_CHANGED0:
	case LOAD_CHANGED1:
		return fzc_area_offset(&p->geo, FZC_AREA_CHANGED0 + step - LOAD_CHANGED0, page, 0);
	case LOAD_UNSENT:
		return fzc_area_offset(&p->geo, FZC_AREA_UNSENT, page, 0);
	case LOAD_FROZEN:
		return fzc_area_offset(&p->geo, FZC_AREA_FROZEN, page, 0);
	case LOAD_INDEX:
		return fzc_index_offset(page, 0);
	default:
		return 0;
	}
}

bool fzc_p_load_next(struct fzc_pcore *p, struct fzc_load *load)
{
	while (p->load_step < LOAD_END && p->load_page >= step_pages(p, p->load_step)) {
		p->load_step++;
		p->load_page = 0;
	}
	if (p->load_step == LOAD_END)
		return false;
	memset(load, 0, sizeof(*load));
	load->step = p->load_step;
	load->page = p->load_page++;
	load->dev = load->step == LOAD_DIFF || load->step == LOAD_INDEX ? FZC_DIFF : FZC_META;
	load->both = load->step != LOAD_DIFF && load->step != LOAD_UNSENT &&
		     load->step != LOAD_FROZEN;
	load->offset = step_offset(p, load->step, load->page);
	return true;
}

static void load_once(struct fzc_pcore *p, struct fzc_map *map, const struct fzc_page *page,
		      u32 n)
{
	if (fzc_page_is(page, FZC_PAGE_BITMAP, p->sb.format, p->sb.unsent_tag, n))
		fzc_map_import(map, (u64)n * FZC_BODY, page->body, FZC_BODY);
}

/* Frozen blocks that have a slot are counted page by page: the start is under a lock. */
static int load_index(struct fzc_pcore *p, struct fzc_load *load, const struct fzc_page *a,
		      const struct fzc_page *b)
{
	u32 end = fzc_slots_page_end(&p->slots, load->page), slot;
	int err;

	err = fzc_load_index(&p->slots, &p->sb, p->sb.log[0], p->geo.blocks, &p->seq, load, a, b,
			     p->reason);
	if (err)
		return err;
	for (slot = fzc_slots_next(&p->slots, load->page * FZC_INDEX_ENTRIES); slot < end;
	     slot = fzc_slots_next(&p->slots, slot + 1))
		p->load_diverted += fzc_map_test(&p->frozen, *fzc_slot_block(&p->slots, slot));
	return 0;
}

int fzc_p_load_give(struct fzc_pcore *p, struct fzc_load *load, const struct fzc_page *a,
		    const struct fzc_page *b)
{
	int err;

	err = fzc_load_check(&p->sb, &p->opts, load, a, b, p->reason);
	if (err)
		return err;
	switch (load->step) {
	case LOAD_SUPER:
		err = fzc_load_super(&p->sb, &p->geo, &p->opts, FZC_PRIMARY, a, b, &p->sb_copy,
				     &p->fresh, p->reason);
		p->seq = p->sb.seq;
		return err;
	case LOAD_DIFF:
		return fzc_load_diff(&p->sb, &p->geo, a, FZC_DIFF, p->fresh, p->reason);
	case LOAD_REGIONS:
		if (fzc_intent_load_regions(&p->in, a, b))
			return 0;
		fzc_p_say(p, "meta: both copies of the region page are damaged");
		return -EINVAL;
	case LOAD_CHANGED0:
	case LOAD_CHANGED1:
		fzc_intent_load_page(&p->in, load->step - LOAD_CHANGED0, load->page, a, b);
		return 0;
	case LOAD_UNSENT:
		load_once(p, &p->unsent, a, load->page);
		return 0;
	case LOAD_FROZEN:
		load_once(p, &p->frozen, a, load->page);
		return 0;
	default:
		return load_index(p, load, a, b);
	}
}

static void start_fresh(struct fzc_pcore *p)
{
	p->sb.flags = FZC_SB_FORMATTING | FZC_SB_FIRST_COPY |
		      (p->opts.encrypt ? FZC_SB_ENCRYPTED : 0);
	p->sb.keys = p->opts.keys;
	if (p->opts.identical) {
		p->sb.flags |= FZC_SB_COPIED;
	} else {
		fzc_intent_fill(&p->in);
		fzc_map_fill(&p->unsent);
	}
	fzc_note_devices(&p->sb, &p->opts);
	p->sb.seq = ++p->seq;
	p->sb_copy = 1;	/* where the formatting puts it */
	p->format_step = 1;
}

/* R13 */
static void start_unclean(struct fzc_pcore *p)
{
	u32 slot;

	fzc_intent_replay(&p->in);
	for (slot = fzc_slots_next(&p->slots, 0); slot < p->slots.nslots;
	     slot = fzc_slots_next(&p->slots, slot + 1))
		fzc_intent_add(&p->in, *fzc_slot_block(&p->slots, slot));
	p->sb.flags |= FZC_SB_NEW_STAGE;
	fzc_map_zero(&p->frozen);
	fzc_map_add(&p->unsent, &p->in.changed[p->sb.cur]);
	if (p->sb.flags & FZC_SB_FREEZE)	/* what is lost may be in its image */
		p->phase = FZC_PHASE_DOUBT;
	else
		p->sb.flags &= ~FZC_SB_TAINTED;
}

int fzc_p_start(struct fzc_pcore *p)
{
	static const u8 none[32];
	bool clean = p->sb.flags & FZC_SB_CLEAN;

	if (p->fresh) {
		start_fresh(p);
		return 0;
	}
	if (clean && memcmp(p->sb.data_hash, none, 32) &&
	    memcmp(p->sb.data_hash, p->opts.data_hash, 32) && !p->opts.take_all) {
		fzc_p_say(p, "data was written since the clean stop (see take_all_changed)");
		return -EINVAL;
	}
	p->freezing = p->sb.freeze;
	p->told = p->sb.told;
	if (p->sb.flags & FZC_SB_CHANGED_ALL)
		fzc_intent_fill(&p->in);
	/* with nothing left to deliver ALL_SENT may have been said */
	if (clean && p->sb.flags & FZC_SB_FREEZE)
		p->phase = p->frozen.count ? FZC_PHASE_DELIVER : FZC_PHASE_SENT;
	if (clean && !p->opts.take_all) {
		p->frozen_total = p->frozen.count;
	} else {
		if (p->opts.take_all)
			fzc_intent_fill(&p->in);
		start_unclean(p);
	}
	if (p->sb.flags & FZC_SB_FOLDING)
		fzc_intent_fold(&p->in);
	if (p->phase == FZC_PHASE_DELIVER)
		fzc_p_pace_cut(p, p->load_diverted);
	/* clean is removed before the first write */
	p->sb.flags &= ~FZC_SB_CLEAN;
	fzc_note_devices(&p->sb, &p->opts);
	fzc_p_dirty_super(p);
	return 0;
}

bool fzc_p_started(const struct fzc_pcore *p)
{
	return !p->format_step && p->sb_done && !p->sb_busy;
}

bool fzc_p_start_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	/* one page at a time: the superblock says that the rest is ours */
	if (p->format_busy || p->sb_retry)
		return false;
	if (fzc_format_page(&p->sb, &p->geo, p->format_step - 1, page, act)) {
		act->job = FZC_JOB_FORMAT;
		p->format_busy++;
		p->format_step++;
		return true;
	}
	p->format_step = 0;
	p->sb.flags &= ~FZC_SB_FORMATTING;
	fzc_p_dirty_super(p);
	act->kind = FZC_ACT_AGAIN;
	return true;
}

/* ---- clean stop ---- */

void fzc_p_stop(struct fzc_pcore *p, const u8 data_hash[32])
{
	fzc_p_freeze_void(p);
	memcpy(p->sb.data_hash, data_hash, 32);
	p->sb.told = p->told;
	p->stop_failed = false;
	p->stop_step = STOP_CLOSE;
	p->stop_area = 0;
	p->stop_page = 0;
	p->sb.unsent_tag = ++p->sb.next_gen;
	fzc_intent_close_all(&p->in);
}

bool fzc_p_stopped(const struct fzc_pcore *p)
{
	return p->stop_step == STOP_DONE;
}

static bool quiet(const struct fzc_pcore *p)
{
	return !p->aborting && !p->merge_step && !p->sync_step && !p->sync_wanted &&
	       !p->sb_busy && fzc_intent_clean(&p->in) &&
	       !p->ckpt_ticket && p->sb_done >= p->record_at;
}

static bool stop_page(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	while (p->stop_area < 2) {
		const struct fzc_map *map = p->stop_area ? &p->frozen : &p->unsent;
		u64 n = fzc_map_next(map, (u64)p->stop_page * FZC_MAP_BITS);

		if (n == p->geo.blocks) {
			p->stop_area++;
			p->stop_page = 0;
			continue;
		}
		n = (u32)n / (u32)FZC_MAP_BITS;
		p->stop_page = n + 1;
		fzc_map_export(map, n * FZC_BODY, page->body, FZC_BODY);
		fzc_page_seal(page, FZC_PAGE_BITMAP, p->sb.format, ++p->seq, p->sb.unsent_tag, n);
		act->kind = FZC_ACT_WRITE;
		act->dev = FZC_META;
		act->job = FZC_JOB_STOP_PAGE;
		act->offset = fzc_area_offset(&p->geo, FZC_AREA_UNSENT + p->stop_area, n, 0);
		p->stop_busy++;
		return true;
	}
	return false;
}

/* Stop without the clean mark: the next start replays. */
static bool give_up(struct fzc_pcore *p)
{
	p->stop_failed = true;
	p->stop_step = STOP_DONE;
	return false;
}

bool fzc_p_stop_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page)
{
	switch (p->stop_step) {
	case STOP_CLOSE:
		if (p->meta_failed || p->in.failed || (p->diff_failed && p->slots.used))
			return !p->merge_step && !p->sync_step && !p->sb_busy ? give_up(p) : false;
		if (!quiet(p)) {
			if (p->in.ckpt == FZC_CKPT_IDLE && !p->in.ckpt_wanted &&
			    !fzc_intent_clean(&p->in) && !p->in.ckpt_err)
				fzc_intent_close_all(&p->in);
			return p->in.ckpt_err && p->in.ckpt == FZC_CKPT_IDLE ? give_up(p) : false;
		}
		if (p->sb.flags & FZC_SB_TAINTED || p->in.ckpt_err)
			return give_up(p);
		p->stop_step = STOP_PAGES;
		fallthrough;
	case STOP_PAGES:
		if (stop_page(p, act, page))
			return true;
		if (p->stop_busy)
			return false;
		p->stop_step = STOP_FLUSH;
		p->stop_busy++;
		act->kind = FZC_ACT_FLUSH;
		act->dev = FZC_META;
		act->job = FZC_JOB_STOP_FLUSH;
		return true;
	case STOP_FLUSH:
		if (p->stop_busy)
			return false;
		if (p->stop_failed)
			return give_up(p);
		p->sb.flags |= FZC_SB_CLEAN;
		p->record_at = fzc_p_dirty_super(p);
		p->stop_step = STOP_SUPER;
		act->kind = FZC_ACT_AGAIN;
		return true;
	case STOP_SUPER:
		if (p->meta_failed)
			return give_up(p);
		if (p->sb_done >= p->record_at)
			p->stop_step = STOP_DONE;
		return false;
	default:
		return false;
	}
}
