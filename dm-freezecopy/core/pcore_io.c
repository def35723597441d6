// SPDX-License-Identifier: GPL-2.0-only
/* The primary's core: host reads and writes, and what is read for sending. */
#include "pcore.h"

/*
 * Can all blocks of a write have a place now, how many need a new slot, and
 * does any go to DATA?  R1: a block whose divert is pending makes a second
 * write wait.
 */
static bool places_free(struct fzc_pcore *p, u64 first, u64 last, u32 *need, bool *in_place)
{
	u64 b;

	*need = 0;
	*in_place = false;
	for (b = first; b <= last; b++) {
		u32 slot = fzc_slots_find(&p->slots, b);

		if (slot == FZC_NO_SLOT) {
			if (fzc_map_test(&p->frozen, b))
				++*need;
			else
				*in_place = true;
			continue;
		}
		switch (fzc_slot_state(&p->slots, slot)) {
		case FZC_SLOT_FILLING:
		case FZC_SLOT_RETIRING:	/* R12 */
			return false;
		default:
			if (*fzc_slot_writes(&p->slots, slot) == 0xff || p->merge_firm)
				return false;
		}
	}
	return true;
}

static void take_places(struct fzc_pcore *p, u64 first, u64 last)
{
	u64 b;

	fzc_p_unwant(p, first, last);
	for (b = first; b <= last; b++) {
		u32 slot = fzc_slots_find(&p->slots, b);

		if (slot == FZC_NO_SLOT && fzc_map_test(&p->frozen, b))
			slot = fzc_slots_alloc(&p->slots, b);
		if (slot == FZC_NO_SLOT)
			continue;
		/* a block that is written again leaves the batch that is being merged */
		if (fzc_slot_state(&p->slots, slot) == FZC_SLOT_MERGING)
			fzc_slot_set_state(&p->slots, slot, FZC_SLOT_LIVE);
		(*fzc_slot_writes(&p->slots, slot))++;
	}
}

static noinline enum fzc_go write_begin(struct fzc_pcore *p, u64 first, u64 last, bool late)
{
	bool mixed = p->slots.used || p->frozen.count, in_place = true;
	enum fzc_go go;
	u32 need = 0;
	u64 b;

	/* R4: a parked write holds nothing */
	if (p->gate_closed)
		return FZC_GO_PARK;
	if (mixed && !places_free(p, first, last, &need, &in_place)) {
		p->place_awaited = true;
		return FZC_GO_PARK;
	}
	/* what a first copy brings is not void after a crash: it is on DATA there */
	in_place |= !!(p->sb.flags & FZC_SB_FIRST_COPY);
	if (need) {
		go = fzc_p_divert(p, first, last, need, late);
		if (go != FZC_GO_MIXED)
			return go;
	}
	go = in_place ? fzc_intent_enter(&p->in, first, last) :
			fzc_intent_enter_slots(&p->in, first, last);
	if (go == FZC_GO_FAIL)	/* it does not come again */
		fzc_p_unwant(p, first, last);
	if (go != FZC_GO_DATA)
		return go;
	if (mixed)
		take_places(p, first, last);
	for (b = first; b <= last; b++)
		if (in_place)
			fzc_intent_mark(&p->in, b);
		else
			fzc_intent_add(&p->in, b);
	p->writes++;
	return mixed ? FZC_GO_MIXED : FZC_GO_DATA;
}

/* Most writes are to one block that has changed already, with nothing frozen. */
enum fzc_go fzc_p_write_begin(struct fzc_pcore *p, u64 first, u64 last, bool late)
{
	if (first != last || p->slots.used || p->frozen.count || p->gate_closed ||
	    !fzc_intent_again(&p->in, first))
		return write_begin(p, first, last, late);
	p->writes++;
	return FZC_GO_DATA;
}

enum fzc_place fzc_p_write_place(struct fzc_pcore *p, u64 block, u32 *slot)
{
	*slot = fzc_slots_find(&p->slots, block);
	if (*slot == FZC_NO_SLOT)
		return FZC_AT_DATA;
	return fzc_slot_state(&p->slots, *slot) == FZC_SLOT_FILLING ? FZC_AT_NEW : FZC_AT_SLOT;
}

/* The sender may have read the old content after the write was submitted. */
static void to_be_sent(struct fzc_pcore *p, u64 b)
{
	if (!fzc_map_test(&p->unsent, b))
		fzc_map_set(&p->unsent, b);
	if (p->sb.flags & FZC_SB_FIRST_COPY)
		fzc_intent_mark(&p->in, b);
}

static void end_block(struct fzc_pcore *p, u64 b, int err, bool *retry)
{
	u32 slot = fzc_slots_find(&p->slots, b);

	to_be_sent(p, b);
	if (slot == FZC_NO_SLOT)
		return;
	if ((*fzc_slot_writes(&p->slots, slot))-- == 0xff)
		p->wake = true;
	if (p->merge_firm && !p->merge_step && !*fzc_slot_writes(&p->slots, slot)) {
		p->merge_pause = false;	/* it can be merged now */
		p->wake = true;
	}
	if (fzc_slot_state(&p->slots, slot) != FZC_SLOT_FILLING) {
		fzc_slot_filled(&p->slots, slot);
	} else if (!err) {
		fzc_slot_filled(&p->slots, slot);
		p->wake |= p->place_awaited;
		p->place_awaited = false;
	} else {
		fzc_slot_cancel(&p->slots, slot);
		p->wake = true;
		*retry = true;
	}
}

static void exit_regions(struct fzc_pcore *p, u64 first, u64 last)
{
	fzc_intent_exit(&p->in, first, last);
	p->wake |= p->in.wake;
	p->in.wake = false;
}

static noinline bool write_end(struct fzc_pcore *p, u64 first, u64 last, int err, bool diff_err)
{
	bool retry = false;
	u64 b;

	for (b = first; b <= last; b++)
		end_block(p, b, err, &retry);
	exit_regions(p, first, last);
	if (diff_err && !p->diff_failed)
		fzc_p_trouble(p, &p->diff_failed, "writing to the diff device failed", err);
	p->writes--;
	retry &= diff_err;
	p->again += retry;
	fzc_p_try_cut(p);
	return retry;
}

/* A write that is running keeps its slots: where none is used it has none. */
bool fzc_p_write_end(struct fzc_pcore *p, u64 first, u64 last, int err, bool diff_err)
{
	if (first != last || p->slots.used || diff_err || p->phase == FZC_PHASE_CLOSE)
		return write_end(p, first, last, err, diff_err);
	to_be_sent(p, first);
	exit_regions(p, first, first);
	p->writes--;
	return false;
}

enum fzc_go fzc_p_read_begin(struct fzc_pcore *p, u64 first, u64 last)
{
	(void)first;
	(void)last;
	return p->slots.used ? FZC_GO_MIXED : FZC_GO_DATA;
}

/* Where the newest completed content of a block is. */
static enum fzc_place newest(struct fzc_pcore *p, u64 block, u32 *slot)
{
	*slot = fzc_slots_find(&p->slots, block);
	if (*slot == FZC_NO_SLOT)
		return FZC_AT_DATA;
	switch (fzc_slot_state(&p->slots, *slot)) {
	case FZC_SLOT_LIVE:
	case FZC_SLOT_MERGING:
		fzc_slot_read_get(&p->slots, *slot);
		return FZC_AT_SLOT;
	default:
		return FZC_AT_DATA;
	}
}

enum fzc_place fzc_p_read_place(struct fzc_pcore *p, u64 block, u32 *slot)
{
	return newest(p, block, slot);
}

enum fzc_place fzc_p_source(struct fzc_pcore *p, const struct fzc_xfer *x, u64 block, u32 *slot)
{
	/* R9: what is frozen is read from DATA, whatever was written since */
	if (x->frozen)
		return FZC_AT_DATA;
	return newest(p, block, slot);
}

void fzc_p_slot_put(struct fzc_pcore *p, u32 slot)
{
	fzc_slot_read_put(&p->slots, slot);
}

enum fzc_go fzc_p_flush_begin(struct fzc_pcore *p, u64 *ticket)
{
	if (p->lost) {
		p->lost = false;
		return FZC_GO_FAIL;
	}
	/* one of our own that is in flight may lose what this one then does not see */
	if (!p->slots.used && !p->sync_flushes)
		return FZC_GO_DATA;
	*ticket = fzc_p_sync(p);
	return FZC_GO_MIXED;
}

int fzc_p_flush_end(struct fzc_pcore *p, int err)
{
	if (err)
		fzc_p_data_lost(p, err);
	else if (p->lost)	/* beside it */
		err = -EIO;
	p->lost &= !err;
	return err;
}

u64 fzc_p_sync(struct fzc_pcore *p)
{
	p->sync_wanted = true;
	return p->sync_started + 1;
}
