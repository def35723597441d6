// SPDX-License-Identifier: GPL-2.0-only
#include "intent.h"

enum region_state { CLOSED, WANTED, OPENING, OPEN, CLOSING, CLEARING };

/* flags of a region */
#define FRESH	0x01	/* opened for a parked write that has not come back yet */
#define RESTED	0x02	/* not written since the last tick */
#define LOOSE	0x04	/* has changed blocks that are not durable, maybe, though it is closed */

/* Flags of the superblock while which the same goes for all regions. */
#define UNKNOWN	(FZC_SB_FIRST_COPY | FZC_SB_CHANGED_ALL | FZC_SB_FOLDING)

u64 fzc_intent_bytes(const struct fzc_geometry *geo)
{
	return 2 * fzc_map_bytes(geo->blocks) + 6 * fzc_map_bytes(geo->map_pages) +
	       2 * fzc_map_bytes(geo->regions) + 2 * fzc_align8(geo->map_pages) +
	       2 * fzc_align8(geo->regions) + fzc_align8(2ULL * geo->regions);
}

void fzc_intent_init(struct fzc_intent *in, void *mem, const struct fzc_geometry *geo,
		     struct fzc_super *sb, u64 *seq)
{
	u8 *p = mem;
	int i;

	memset(in, 0, sizeof(*in));
	in->geo = geo;
	in->sb = sb;
	in->seq = seq;
	for (i = 0; i < 2; i++) {
		fzc_map_init(&in->changed[i], p, geo->blocks);
		p += fzc_map_bytes(geo->blocks);
		fzc_map_init(&in->dirty[i], p, geo->map_pages);
		p += fzc_map_bytes(geo->map_pages);
		fzc_map_init(&in->todo[i], p, geo->map_pages);
		p += fzc_map_bytes(geo->map_pages);
		fzc_map_init(&in->wrote[i], p, geo->map_pages);
		p += fzc_map_bytes(geo->map_pages);
		in->copy[i] = p;
		p += fzc_align8(geo->map_pages);
	}
	fzc_map_init(&in->active, p, geo->regions);
	p += fzc_map_bytes(geo->regions);
	fzc_map_init(&in->opening, p, geo->regions);
	p += fzc_map_bytes(geo->regions);
	in->state = p;
	p += fzc_align8(geo->regions);
	in->flags = p;
	p += fzc_align8(geo->regions);
	in->busy = (u16 *)p;
}

static u32 region(const struct fzc_intent *in, u64 block)
{
	return block >> in->geo->region_shift;
}

/* First region >= @r that is not CLOSED, of which there are few; or their number. */
static u32 active(const struct fzc_intent *in, u32 r)
{
	return fzc_map_next(&in->active, r);
}

static void set_closed(struct fzc_intent *in, u32 r)
{
	in->state[r] = CLOSED;
	fzc_map_clear(&in->active, r);
}

static void set_wanted(struct fzc_intent *in, u32 r)
{
	in->state[r] = WANTED;
	fzc_map_set(&in->active, r);
	fzc_map_set(&in->opening, r);
}

static bool closable(const struct fzc_intent *in, u32 r)
{
	return in->state[r] == OPEN && !in->busy[r] && !(in->flags[r] & FRESH);
}

static bool any_closable(const struct fzc_intent *in)
{
	u32 r;

	for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1))
		if (closable(in, r))
			return true;
	return false;
}

/* Does it have to rest, so that it can be closed? */
static bool held(const struct fzc_intent *in, u32 r)
{
	if (in->state[r] == OPEN)
		return in->firm && in->ckpt == FZC_CKPT_IDLE && !(in->flags[r] & FRESH);
	return in->firm && in->state[r] == CLOSING;
}

/*
 * May @closed more regions be opened?  All that are open count as changed after
 * a crash, so that there is a limit.  It yields to a wide write, for which there
 * might never be room, one at a time; to split such a write would tear it when
 * an image is cut.  And if regions cannot be closed it is of no use.
 */
static bool room(const struct fzc_intent *in, u32 closed)
{
	u32 most = in->geo->max_open;

	if (in->ckpt_err && in->ckpt == FZC_CKPT_IDLE)
		return true;
	return in->active.count + (closed > most / 2 ? 0 : closed) <= most;
}

/* Is all durable that has changed in a closed region? */
static bool settled(const struct fzc_intent *in, u32 r)
{
	return !(in->flags[r] & LOOSE || in->sb->flags & UNKNOWN);
}

/* Have blocks @b to @end - 1? */
static bool all_changed(const struct fzc_intent *in, u64 b, u64 end)
{
	for (; b < end; b++)
		if (!fzc_map_test(&in->changed[in->sb->cur], b))
			return false;
	return true;
}

/*
 * Would a crash lose nothing of a write to blocks @first..@last in region @r
 * though that is closed?  When it was closed, all that had changed in it was
 * durable, and stays so for as long as the generation does.  Not in the first
 * copy, which takes blocks out of the set that may not be durable on DATA yet.
 */
static bool known(const struct fzc_intent *in, u32 r, u64 first, u64 last)
{
	u64 b = max_t(u64, first, (u64)r << in->geo->region_shift);
	u64 end = min_t(u64, last + 1, ((u64)r + 1) << in->geo->region_shift);

	return settled(in, r) && all_changed(in, b, end);
}

/* It has to be opened before such a write. */
static bool needed(const struct fzc_intent *in, u32 r, u64 first, u64 last)
{
	return in->state[r] == CLOSED && !known(in, r, first, last);
}

/* Ask for the @n regions of a write that are needed to be opened. */
static enum fzc_go want(struct fzc_intent *in, u64 first, u64 last, u32 n)
{
	u32 r;

	if (in->failed)
		return FZC_GO_FAIL;
	if (!room(in, n)) {
		in->refused = max(in->refused, n);
		/* woken when some are closed, or can be */
		if (in->ckpt == FZC_CKPT_IDLE && any_closable(in))
			in->ckpt_wanted = true;
		else if (in->ckpt == FZC_CKPT_IDLE)
			in->crowded = true;
		return FZC_GO_PARK;
	}
	for (r = region(in, first); r <= region(in, last); r++)
		if (needed(in, r, first, last))
			set_wanted(in, r);
	in->regions_wanted = true;
	return FZC_GO_PARK;
}

enum fzc_go fzc_intent_enter(struct fzc_intent *in, u64 first, u64 last)
{
	u32 from = region(in, first), to = region(in, last), r, closed = 0;
	bool wait = false;

	for (r = from; r <= to; r++) {
		if (needed(in, r, first, last))
			closed++;
		else if (in->state[r] != CLOSED && in->state[r] != OPEN && in->state[r] != CLOSING)
			wait = true;
		else if (in->busy[r] == 0xffff || held(in, r))
			wait = true;
	}
	if (closed)
		return want(in, first, last, closed);
	if (wait)
		return FZC_GO_PARK;
	for (r = from; r <= to; r++) {
		in->busy[r]++;
		if (in->state[r] == CLOSED)
			continue;
		in->state[r] = OPEN;	/* R5: out of a closing */
		in->flags[r] &= LOOSE;
	}
	return FZC_GO_DATA;
}

bool fzc_intent_again(struct fzc_intent *in, u64 block)
{
	u32 r = region(in, block);

	if (in->busy[r] == 0xffff || !fzc_map_test(&in->changed[in->sb->cur], block))
		return false;
	if (in->state[r] == OPEN && !held(in, r))
		in->flags[r] &= LOOSE;
	else if (in->state[r] != CLOSED || !settled(in, r))
		return false;
	in->busy[r]++;
	return true;
}

enum fzc_go fzc_intent_enter_slots(struct fzc_intent *in, u64 first, u64 last)
{
	u32 from = region(in, first), to = region(in, last), r;

	if (in->failed && !all_changed(in, first, last + 1))	/* nothing continues unrecorded */
		return fzc_intent_enter(in, first, last);
	for (r = from; r <= to; r++)
		if (in->busy[r] == 0xffff || (in->state[r] == OPEN && held(in, r)))
			return FZC_GO_PARK;
	for (r = from; r <= to; r++) {
		in->busy[r]++;
		if (in->state[r] == CLOSING && !in->firm)
			in->state[r] = OPEN;	/* R5: likewise */
	}
	return FZC_GO_DATA;
}

/* Who waits for a region that can be closed looks again. */
static void uncrowd(struct fzc_intent *in)
{
	in->wake |= in->crowded;
	in->crowded = false;
}

void fzc_intent_exit(struct fzc_intent *in, u64 first, u64 last)
{
	u32 r;

	for (r = region(in, first); r <= region(in, last); r++) {
		if (in->busy[r]-- == 0xffff)
			in->wake = true;
		if (!closable(in, r))
			continue;
		uncrowd(in);
		if (in->firm && in->ckpt == FZC_CKPT_IDLE) {
			in->ckpt_wanted = true;
			in->wake = true;
		}
	}
}

static void set_changed(struct fzc_intent *in, u64 block)
{
	u8 cur = in->sb->cur;

	if (fzc_map_set(&in->changed[cur], block))
		fzc_map_set(&in->dirty[cur], (u32)block / (u32)FZC_MAP_BITS);
}

void fzc_intent_mark(struct fzc_intent *in, u64 block)
{
	WARN_ON_ONCE(!in->busy[region(in, block)]);
	set_changed(in, block);
}

void fzc_intent_add(struct fzc_intent *in, u64 block)
{
	if (fzc_map_test(&in->changed[in->sb->cur], block))
		return;
	in->flags[region(in, block)] |= LOOSE;
	in->loose = true;
	set_changed(in, block);
}

bool fzc_intent_settle(struct fzc_intent *in)
{
	if (!in->loose && !in->ckpt_loose) {
		in->settling = false;
		return true;
	}
	if (!in->settling)	/* once; if that fails the tick tries again */
		in->ckpt_wanted = true;
	in->settling = true;
	return false;
}

/* The pages that hold members of @changed. */
static void mark_pages(struct fzc_map *pages, const struct fzc_map *changed)
{
	u64 b;

	for (b = fzc_map_next(changed, 0); b < changed->nbits;
	     b = fzc_map_next(changed, (b / FZC_MAP_BITS + 1) * FZC_MAP_BITS))
		fzc_map_set(pages, b / FZC_MAP_BITS);
}

void fzc_intent_add_closed(struct fzc_intent *in)
{
	const struct fzc_map *closed = &in->changed[!in->sb->cur];
	u64 b;

	mark_pages(&in->dirty[in->sb->cur], closed);
	for (b = fzc_map_next(closed, 0); b < in->geo->blocks;
	     b = fzc_map_next(closed, ((u64)region(in, b) + 1) << in->geo->region_shift))
		in->flags[region(in, b)] |= LOOSE;
	in->loose = true;
	fzc_map_add(&in->changed[in->sb->cur], closed);
}

void fzc_intent_unmark(struct fzc_intent *in, u64 block)
{
	u8 cur = in->sb->cur;

	if (fzc_map_clear(&in->changed[cur], block))
		fzc_map_set(&in->dirty[cur], (u32)block / (u32)FZC_MAP_BITS);
}

void fzc_intent_fill(struct fzc_intent *in)
{
	fzc_map_fill(&in->changed[in->sb->cur]);
	fzc_map_fill(&in->dirty[in->sb->cur]);
	in->sb->flags |= FZC_SB_CHANGED_ALL;
	in->ckpt_full = false;
}

bool fzc_intent_can_cut(const struct fzc_intent *in)
{
	u8 other = !in->sb->cur;

	return !in->folding && !in->fold_ckpt && !in->wiping && !in->changed[other].count &&
	       !in->writing[other] && !(in->sb->flags & (FZC_SB_FOLDING | FZC_SB_CHANGED_ALL));
}

void fzc_intent_cut(struct fzc_intent *in)
{
	struct fzc_super *sb = in->sb;

	sb->cur = !sb->cur;
	sb->gen[sb->cur] = ++sb->next_gen;
}

/* What there was to write of an area is not written any more. */
static void drop_pages(struct fzc_intent *in, u8 area)
{
	fzc_map_zero(&in->dirty[area]);
	fzc_map_zero(&in->todo[area]);
	fzc_map_zero(&in->wrote[area]);
}

void fzc_intent_forget(struct fzc_intent *in)
{
	u8 other = !in->sb->cur;

	in->sb->gen[other] = 0;
	drop_pages(in, other);
	in->wiping = true;
}

/* No region is closed by the running checkpoint. */
static void keep_open(struct fzc_intent *in)
{
	u32 r;

	for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1))
		if (in->state[r] == CLOSING)
			in->state[r] = OPEN;
}

void fzc_intent_fold(struct fzc_intent *in)
{
	u8 other = !in->sb->cur;

	in->sb->flags |= FZC_SB_FOLDING;
	in->folding = true;
	/*
	 * The other area's set empties in memory while its pages still count:
	 * they are not written any more, and no region may rely on it.
	 */
	drop_pages(in, other);
	keep_open(in);
}

/* A bounded part of wiping or folding; true when some remains. */
static bool chores(struct fzc_intent *in)
{
	u8 cur = in->sb->cur;

	if (in->wiping && fzc_map_move(&in->changed[!cur], NULL, 256)) {
		in->wiping = false;
		in->wake = true;
	}
	if (!in->folding)
		return in->wiping;
	mark_pages(&in->dirty[cur], &in->changed[!cur]);
	if (fzc_map_move(&in->changed[!cur], &in->changed[cur], 256)) {
		in->folding = false;
		in->fold_ckpt = true;
		in->ckpt_wanted = true;
	}
	return in->wiping || in->folding;
}

void fzc_intent_tick(struct fzc_intent *in)
{
	u32 r;

	if (in->fold_ckpt || in->settling)
		in->ckpt_wanted = true;
	for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1)) {
		if (in->state[r] != OPEN || in->busy[r])
			continue;
		if (in->flags[r] & RESTED)
			in->ckpt_wanted = true;
		in->flags[r] = (in->flags[r] & LOOSE) | RESTED;	/* and no longer FRESH */
	}
	in->firm |= in->crowded;
	in->ckpt_wanted |= in->firm && any_closable(in);
	uncrowd(in);
	/* the first copy notes its progress */
	if (in->sb->flags & (FZC_SB_FIRST_COPY | FZC_SB_CHANGED_ALL) &&
	    in->dirty[in->sb->cur].count)
		in->ckpt_wanted = true;
}

void fzc_intent_close_all(struct fzc_intent *in)
{
	in->ckpt_all = true;
	in->ckpt_wanted = true;
}

bool fzc_intent_clean(const struct fzc_intent *in)
{
	return !in->active.count && in->ckpt == FZC_CKPT_IDLE && !in->regions_writing &&
	       !in->dirty[0].count && !in->dirty[1].count && !in->folding && !in->fold_ckpt &&
	       !in->wiping;
}

/* All that rest. */
static void pick_victims(struct fzc_intent *in)
{
	u32 r;

	for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1)) {
		if (in->ckpt_all)
			in->flags[r] &= ~FRESH;
		if (!closable(in, r))
			continue;
		in->state[r] = CLOSING;
		in->flags[r] &= ~LOOSE;	/* what changes without it from now on sets it again */
	}
}

static void ckpt_end(struct fzc_intent *in)
{
	in->ckpt = FZC_CKPT_IDLE;
	in->wake = true;
	in->loose |= in->ckpt_loose && in->ckpt_err;
	in->ckpt_loose = false;
	if (room(in, in->refused))
		in->refused = 0;
	in->firm = in->refused;
	in->ckpt_wanted |= in->firm && any_closable(in);
	/* the pages are durable, even if no region could be closed */
	if (in->ckpt_full)
		in->sb->flags &= ~FZC_SB_CHANGED_ALL;
	if (in->ckpt_fold) {
		in->fold_ckpt = false;
		in->sb->flags &= ~FZC_SB_FOLDING;
		in->sb->gen[!in->sb->cur] = 0;
	}
	if (in->ckpt_full || in->ckpt_fold)
		in->sb_dirty = true;
}

/* What was written may be lost, whatever a later flush says: once more, over that. */
static void write_again(struct fzc_intent *in, u8 area)
{
	u64 p;

	for (p = fzc_map_next(&in->wrote[area], 0); p < in->geo->map_pages;
	     p = fzc_map_next(&in->wrote[area], p + 1))
		in->copy[area][p] ^= 1;
	fzc_map_move(&in->wrote[area], &in->dirty[area], U32_MAX);
}

/* Give up a checkpoint: nothing is closed.  The next tick tries again. */
static void ckpt_fail(struct fzc_intent *in)
{
	write_again(in, 0);
	write_again(in, 1);
	keep_open(in);
	in->ckpt_err = true;
	in->ckpt_full = false;
	in->ckpt_fold = false;
	ckpt_end(in);
}

void fzc_intent_synced(struct fzc_intent *in, int err)
{
	int a;

	if (in->ckpt != FZC_CKPT_SYNC)
		return;
	if (err) {
		ckpt_fail(in);
		return;
	}
	in->ckpt = FZC_CKPT_PAGES;
	for (a = 0; a < 2; a++)
		if (in->sb->gen[a])
			fzc_map_move(&in->dirty[a], &in->todo[a], U32_MAX);
	in->ckpt_loose = in->loose;
	in->loose = false;
	in->ckpt_fold = in->fold_ckpt;
	in->ckpt_full = in->sb->flags & FZC_SB_CHANGED_ALL &&
			in->todo[in->sb->cur].count == in->geo->map_pages;
}

static void write_act(struct fzc_act *act, u8 job, u64 offset, bool fua)
{
	act->kind = FZC_ACT_WRITE;
	act->dev = FZC_META;
	act->job = job;
	act->offset = offset;
	act->fua = fua;
}

static bool next_page(struct fzc_intent *in, struct fzc_act *act, struct fzc_page *page)
{
	int a;

	for (a = 0; a < 2; a++) {
		u64 p = fzc_map_next(&in->todo[a], 0);

		if (p == in->geo->map_pages)
			continue;
		fzc_map_clear(&in->todo[a], p);
		fzc_map_set(&in->wrote[a], p);
		fzc_map_export(&in->changed[a], p * FZC_BODY, page->body, FZC_BODY);
		fzc_page_seal(page, FZC_PAGE_BITMAP, in->sb->format, ++*in->seq, in->sb->gen[a], p);
		write_act(act, FZC_JOB_CKPT_PAGE,
			  fzc_area_offset(in->geo, a, p, !in->copy[a][p]), false);
		act->arg = p;
		act->ticket = a;
		in->writing[a]++;
		return true;
	}
	return false;
}

static u32 opening(const struct fzc_intent *in, u32 r)
{
	return fzc_map_next(&in->opening, r);
}

static void encode_regions(struct fzc_intent *in, struct fzc_page *page)
{
	u32 r;

	for (r = opening(in, 0); r < in->geo->regions; r = opening(in, r + 1))
		in->state[r] = OPENING;
	fzc_map_export(&in->active, 0, page->body, FZC_BODY);
	in->clearing = in->ckpt == FZC_CKPT_CLEAR;
	if (in->clearing)
		for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1)) {
			if (in->state[r] != CLOSING)
				continue;
			in->state[r] = CLEARING;
			page->body[r / 8] &= ~(1 << (r % 8));
		}
	fzc_page_seal(page, FZC_PAGE_REGIONS, in->sb->format, ++*in->seq, 0, 0);
}

static void opened(struct fzc_intent *in, u32 r, int err)
{
	fzc_map_clear(&in->opening, r);
	if (err) {	/* the flag may be there all the same: do not rely on it */
		set_closed(in, r);
		return;
	}
	in->state[r] = OPEN;
	in->flags[r] = (in->flags[r] & LOOSE) | FRESH;
}

static void regions_done(struct fzc_intent *in, int err)
{
	u32 r;

	in->regions_writing = false;
	in->wake = true;
	if (err)
		in->failed = true;
	else
		in->region_copy ^= 1;
	for (r = opening(in, 0); r < in->geo->regions; r = opening(in, r + 1))
		if (in->state[r] == OPENING)
			opened(in, r, err);
	if (!in->clearing)
		return;
	in->clearing = false;
	for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1))
		if (in->state[r] == CLEARING)
			set_closed(in, r);	/* failed or not: the flag may be gone */
	in->ckpt_err = err;
	ckpt_end(in);
}

static void ckpt_step(struct fzc_intent *in)
{
	if (in->ckpt == FZC_CKPT_IDLE && in->ckpt_wanted) {
		in->ckpt_wanted = false;
		in->ckpt_err = false;
		in->ckpt_full = false;
		pick_victims(in);
		in->ckpt_all = false;
		in->ckpt = FZC_CKPT_SYNC;
		in->sync_wanted = true;
	}
	if (in->ckpt == FZC_CKPT_PAGES && !in->todo[0].count && !in->todo[1].count &&
	    !in->writing[0] && !in->writing[1]) {
		if (in->ckpt_err)
			ckpt_fail(in);
		else
			in->ckpt = FZC_CKPT_FLUSH;
	}
}

bool fzc_intent_next(struct fzc_intent *in, struct fzc_act *act, struct fzc_page *page)
{
	if (chores(in)) {
		act->kind = FZC_ACT_AGAIN;
		return true;
	}
	ckpt_step(in);
	if (in->regions_wanted && !in->regions_writing &&
	    (!in->gather || in->ckpt == FZC_CKPT_CLEAR)) {
		in->regions_wanted = false;
		in->regions_writing = true;
		encode_regions(in, page);
		write_act(act, FZC_JOB_REGIONS, FZC_OFF_REGIONS + FZC_PAGE * !in->region_copy,
			  true);
		return true;
	}
	if (in->ckpt == FZC_CKPT_PAGES && !in->hold)
		return next_page(in, act, page);
	if (in->ckpt == FZC_CKPT_FLUSH && !in->flushing) {
		in->flushing = true;
		act->kind = FZC_ACT_FLUSH;
		act->dev = FZC_META;
		act->job = FZC_JOB_CKPT_FLUSH;
		return true;
	}
	return false;
}

static void page_failed(struct fzc_intent *in, u8 area, u32 page)
{
	in->ckpt_err = true;
	if (fzc_map_clear(&in->wrote[area], page))
		fzc_map_set(&in->dirty[area], page);
}

void fzc_intent_done(struct fzc_intent *in, const struct fzc_act *act, int err)
{
	switch (act->job) {
	case FZC_JOB_REGIONS:
		regions_done(in, err);
		break;
	case FZC_JOB_CKPT_PAGE:
		in->writing[act->ticket]--;
		if (!err)
			in->copy[act->ticket][act->arg] ^= 1;
		else	/* unless the area is not written any more */
			page_failed(in, act->ticket, act->arg);
		break;
	case FZC_JOB_CKPT_FLUSH:
		in->flushing = false;
		if (err) {
			ckpt_fail(in);
			break;
		}
		fzc_map_zero(&in->wrote[0]);
		fzc_map_zero(&in->wrote[1]);
		in->ckpt = FZC_CKPT_CLEAR;
		in->regions_wanted = true;
		break;
	}
}

bool fzc_intent_load_regions(struct fzc_intent *in, const struct fzc_page *a,
			     const struct fzc_page *b)
{
	int pick = fzc_page_pick(a, b, FZC_PAGE_REGIONS, in->sb->format, 0, 0);
	const struct fzc_page *page = pick ? b : a;
	u32 r;

	if (pick < 0)
		return false;
	in->region_copy = pick;
	*in->seq = max(*in->seq, le64_to_cpu(page->head.seq));
	for (r = 0; r < in->geo->regions; r++)
		if (page->body[r / 8] >> (r % 8) & 1) {
			in->state[r] = OPEN;
			fzc_map_set(&in->active, r);
		}
	return true;
}

void fzc_intent_load_page(struct fzc_intent *in, u8 area, u32 page, const struct fzc_page *a,
			  const struct fzc_page *b)
{
	int pick = fzc_page_pick(a, b, FZC_PAGE_BITMAP, in->sb->format, in->sb->gen[area], page);
	const struct fzc_page *p = pick ? b : a;

	if (!in->sb->gen[area] || pick < 0)
		return;
	in->copy[area][page] = pick;
	*in->seq = max(*in->seq, le64_to_cpu(p->head.seq));
	fzc_map_import(&in->changed[area], (u64)page * FZC_BODY, p->body, FZC_BODY);
}

void fzc_intent_replay(struct fzc_intent *in)
{
	u64 b;
	u32 r;

	/* what was read need not be durable, when there was no power cut */
	memset(in->flags, LOOSE, in->geo->regions);
	for (r = active(in, 0); r < in->geo->regions; r = active(in, r + 1)) {
		u64 end = min_t(u64, ((u64)r + 1) << in->geo->region_shift, in->geo->blocks);

		for (b = (u64)r << in->geo->region_shift; b < end; b++)
			set_changed(in, b);
	}
}
