// SPDX-License-Identifier: GPL-2.0-only
/* The secondary's core: from disk to memory, formatting, clean stop. */
#include "load.h"
#include "score.h"

enum {
	LOAD_SUPER, LOAD_DIFF, LOAD_DIFF_B, LOAD_REGIONS, LOAD_PROGRESS, LOAD_DAMAGED,
	LOAD_CHANGED, LOAD_INDEX_A, LOAD_INDEX_B, LOAD_END,
};

enum { STOP_NO, STOP_CLOSE, STOP_SUPER, STOP_DONE };

static u32 step_pages(const struct fzc_score *s, u8 step)
{
	if (s->fresh && step > LOAD_DIFF_B)
		return 0;
	switch (step) {
	case LOAD_CHANGED:
		return s->sb.flags & FZC_SB_RECOVERED ? s->geo.map_pages : 0;
	case LOAD_INDEX_A:
	case LOAD_INDEX_B:
		return FZC_DIV_ROUND_UP(s->geo.slots[step - LOAD_INDEX_A], FZC_INDEX_ENTRIES);
	default:
		return 1;
	}
}

static u64 step_offset(const struct fzc_score *s, u8 step, u32 page)
{
	switch (step) {
	case LOAD_REGIONS:
		return FZC_OFF_REGIONS;
	case LOAD_PROGRESS:
		return FZC_OFF_PROGRESS;
	case LOAD_DAMAGED:
		return FZC_OFF_DAMAGED;
	case LOAD_CHANGED:
		return fzc_area_offset(&s->geo, FZC_AREA_CHANGED0, page, 0);
	case LOAD_INDEX_A:
	case LOAD_INDEX_B:
		return fzc_index_offset(page, 0);
	default:
		return 0;
	}
}

static u8 step_dev(u8 step)
{
	if (step == LOAD_DIFF || step == LOAD_INDEX_A)
		return FZC_DIFF;
	return step == LOAD_DIFF_B || step == LOAD_INDEX_B ? FZC_DIFF_B : FZC_META;
}

bool fzc_s_load_next(struct fzc_score *s, struct fzc_load *load)
{
	while (s->load_step < LOAD_END && s->load_page >= step_pages(s, s->load_step)) {
		s->load_step++;
		s->load_page = 0;
	}
	if (s->load_step == LOAD_END)
		return false;
	memset(load, 0, sizeof(*load));
	load->step = s->load_step;
	load->page = s->load_page++;
	load->dev = step_dev(load->step);
	load->both = load->step != LOAD_DIFF && load->step != LOAD_DIFF_B;
	load->offset = step_offset(s, load->step, load->page);
	return true;
}

static void load_progress(struct fzc_score *s, const struct fzc_page *a, const struct fzc_page *b)
{
	int pick = fzc_page_pick(a, b, FZC_PAGE_PROGRESS, s->sb.format, 0, 0);
	const struct fzc_page *page = pick ? b : a;

	if (pick < 0)
		return;
	s->progress_copy = pick;
	s->seq = max(s->seq, le64_to_cpu(page->head.seq));
	if (!memcmp(page->progress.session, s->sb.session.b, 16))
		s->last_durable = le64_to_cpu(page->progress.frames);
}

static int load_damaged(struct fzc_score *s, const struct fzc_page *a, const struct fzc_page *b)
{
	int pick = fzc_page_pick(a, b, FZC_PAGE_DAMAGED, s->sb.format, 0, 0);
	const struct fzc_page *page = pick ? b : a;
	u32 n, i;

	if (pick < 0)
		return 0;
	s->damaged_copy = pick;
	s->seq = max(s->seq, le64_to_cpu(page->head.seq));
	n = le32_to_cpu(page->damaged.n);
	if (n > FZC_MAX_DAMAGED) {
		fzc_s_say(s, "meta: %u damaged blocks listed, expected at most %u", n,
			  FZC_MAX_DAMAGED);
		return -EINVAL;
	}
	for (i = 0; i < n; i++) {
		s->damaged[i] = le64_to_cpu(page->damaged.block[i]);
		if (s->damaged[i] < s->geo.blocks)
			continue;
		fzc_s_say(s, "meta: damaged block %llu listed, expected less than %llu",
			  (unsigned long long)s->damaged[i], (unsigned long long)s->geo.blocks);
		return -EINVAL;
	}
	s->ndamaged = n;
	return 0;
}

/* Which blocks are staged is noted page by page: the start, of all at once, is under a lock. */
static int load_index(struct fzc_score *s, struct fzc_load *load, const struct fzc_page *a,
		      const struct fzc_page *b)
{
	u8 i = load->step - LOAD_INDEX_A;
	struct fzc_slots *slots = &s->stage[i];
	u32 end = fzc_slots_page_end(slots, load->page), slot;
	int err;

	err = fzc_load_index(slots, &s->sb, s->sb.log[i], s->geo.blocks, &s->seq, load, a, b,
			     s->reason);
	if (err)
		return err;
	for (slot = fzc_slots_next(slots, load->page * FZC_INDEX_ENTRIES); slot < end;
	     slot = fzc_slots_next(slots, slot + 1))
		fzc_map_set(&s->staged[i], *fzc_slot_block(slots, slot));
	return 0;
}

int fzc_s_load_give(struct fzc_score *s, struct fzc_load *load, const struct fzc_page *a,
		    const struct fzc_page *b)
{
	int err;

	err = fzc_load_check(&s->sb, &s->opts, load, a, b, s->reason);
	if (err)
		return err;
	switch (load->step) {
	case LOAD_SUPER:
		err = fzc_load_super(&s->sb, &s->geo, &s->opts, FZC_SECONDARY, a, b, &s->sb_copy,
				     &s->fresh, s->reason);
		s->seq = s->sb.seq;
		return err;
	case LOAD_DIFF:
	case LOAD_DIFF_B:
		return fzc_load_diff(&s->sb, &s->geo, a, load->dev, s->fresh, s->reason);
	case LOAD_REGIONS:
		if (fzc_intent_load_regions(&s->in, a, b))
			return 0;
		fzc_s_say(s, "meta: both copies of the region page are damaged");
		return -EINVAL;
	case LOAD_PROGRESS:
		load_progress(s, a, b);
		return 0;
	case LOAD_DAMAGED:
		return load_damaged(s, a, b);
	case LOAD_CHANGED:
		fzc_intent_load_page(&s->in, 0, load->page, a, b);
		return 0;
	default:
		return load_index(s, load, a, b);
	}
}

static void start_fresh(struct fzc_score *s)
{
	/* a formatting that was interrupted may have fresh logs already */
	s->sb.flags = FZC_SB_FORMATTING | FZC_SB_BLANK |
		      (s->opts.encrypt ? FZC_SB_ENCRYPTED : 0);
	s->sb.keys = s->opts.keys;
	s->sb.log[0] = ++s->sb.next_gen;
	s->sb.log[1] = ++s->sb.next_gen;
	fzc_note_devices(&s->sb, &s->opts);
	s->sb.seq = ++s->seq;
	s->sb_copy = 1;	/* where the formatting puts it */
	s->format_step = 1;
}

int fzc_s_start(struct fzc_score *s)
{
	static const u8 none[32];

	if (s->fresh) {
		start_fresh(s);
		return 0;
	}
	if (s->sb.flags & FZC_SB_CLEAN && memcmp(s->sb.data_hash, none, 32) &&
	    memcmp(s->sb.data_hash, s->opts.data_hash, 32)) {
		fzc_s_say(s, "data was written to: no longer image %llu (remove --wipe and create)",
			  (unsigned long long)s->sb.image.number);
		return -EINVAL;
	}
	s->has_image = s->sb.image.number;
	s->shown = s->sb.image;
	s->overlay = fzc_s_merging(s);
	s->merge_total = s->overlay ? s->staged[!s->sb.stage_cur].count : 0;
	s->merge_left = s->merge_total;
	if (s->sb.flags & FZC_SB_RECOVERED)
		fzc_intent_replay(&s->in);
	s->sb.flags &= ~FZC_SB_CLEAN;
	fzc_note_devices(&s->sb, &s->opts);
	fzc_s_dirty_super(s);
	return 0;
}

bool fzc_s_started(const struct fzc_score *s)
{
	return !s->format_step && s->sb_done && !s->sb_busy;
}

void fzc_s_stop(struct fzc_score *s, const u8 data_hash[32])
{
	memcpy(s->sb.data_hash, data_hash, 32);
	s->stop_failed = false;
	s->stop_step = STOP_CLOSE;
	fzc_intent_close_all(&s->in);
}

bool fzc_s_stopped(const struct fzc_score *s)
{
	return s->stop_step == STOP_DONE;
}

static bool give_up(struct fzc_score *s)
{
	s->stop_failed = true;
	s->stop_step = STOP_DONE;
	return false;
}

bool fzc_s_stop_next(struct fzc_score *s, struct fzc_act *act)
{
	switch (s->stop_step) {
	case STOP_CLOSE:
		if (s->meta_failed || s->in.failed || s->in.ckpt_err)
			return give_up(s);
		/* a merge goes on at the next start */
		if (!fzc_intent_clean(&s->in) || s->merge_step || s->recover_at ||
		    !fzc_s_idle(s))
			return false;
		if (s->tainted)
			return give_up(s);
		s->sb.flags |= FZC_SB_CLEAN;
		s->stop_at = fzc_s_dirty_super(s);
		s->stop_step = STOP_SUPER;
		act->kind = FZC_ACT_AGAIN;
		return true;
	case STOP_SUPER:
		if (s->meta_failed)
			return give_up(s);
		if (s->sb_done >= s->stop_at)
			s->stop_step = STOP_DONE;
		return false;
	default:
		return false;
	}
}
