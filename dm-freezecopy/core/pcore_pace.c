// SPDX-License-Identifier: GPL-2.0-only
/* The primary's core: what a difference volume that is too small means for host writes (P3). */
#include "pcore.h"

/*
 * DOC: the ladder
 *
 * While a freeze is delivered, a write to a frozen block needs a slot.  If
 * there are fewer slots than frozen blocks at the cut this is announced.  Slots
 * that get scarce are left to those who need them: nothing is sent ahead and
 * frames are short.  Of the last ones, the reserve, none is given out to a
 * write that has not waited: what it waits for is sent first, and once that is
 * delivered the write goes in place.  A write that has waited as long as it may
 * takes a slot of the reserve; if there is none the freeze is aborted, which
 * needs no room, and the write goes in place.  How long a write may wait is
 * measured by the shell.
 */
#define MAX_RESERVE	256U
#define SCARCE		16	/* times the reserve */

static u32 reserve(const struct fzc_pcore *p)
{
	return min_t(u32, FZC_DIV_ROUND_UP(p->slots.nslots, 8), MAX_RESERVE);
}

/* Are there less than @slots left, and more frozen blocks than that? */
static bool below(const struct fzc_pcore *p, u64 slots)
{
	u32 left = fzc_slots_free(&p->slots);

	return p->phase == FZC_PHASE_DELIVER && p->short_by && left < slots &&
	       left < p->frozen.count;
}

bool fzc_p_scarce(const struct fzc_pcore *p)
{
	return below(p, SCARCE * reserve(p));
}

void fzc_p_pace_cut(struct fzc_pcore *p, u32 diverted)
{
	u32 room = fzc_slots_free(&p->slots) + diverted;

	p->paced = false;
	p->pacing = false;
	p->wants = 0;
	p->short_by = p->frozen.count > room ? p->frozen.count - room : 0;
	if (!p->short_by)
		return;
	fzc_p_say(p,
		  "freeze %llu: %llu blocks are to be delivered, the difference volume has room for %u: if more of them are written before, these writes are slowed down, and then it is aborted",
		  (unsigned long long)p->freezing.number, (unsigned long long)p->frozen.count,
		  room);
	fzc_p_event(p, FZC_EVENT_SHORT);
}

static u32 want_find(const struct fzc_pcore *p, u64 first, u64 last)
{
	u32 i;

	for (i = 0; i < p->wants; i++)
		if (p->want[i].first == first && p->want[i].last == last)
			break;
	return i;
}

/* Not more than there are writes that wait: what finds no room here comes again. */
static void want(struct fzc_pcore *p, u64 first, u64 last)
{
	if (want_find(p, first, last) < p->wants || p->wants == FZC_MAX_WANTS)
		return;
	p->want[p->wants].first = first;
	p->want[p->wants++].last = last;
}

void fzc_p_unwant(struct fzc_pcore *p, u64 first, u64 last)
{
	u32 i = want_find(p, first, last);

	if (i < p->wants)
		p->want[i] = p->want[--p->wants];
}

static enum fzc_go pace(struct fzc_pcore *p, u64 first, u64 last)
{
	want(p, first, last);
	p->pacing = true;
	if (!p->paced) {
		p->paced = true;
		fzc_p_say(p,
			  "freeze %llu: the difference volume is nearly full, writes to blocks that are not delivered are slowed down",
			  (unsigned long long)p->freezing.number);
		fzc_p_event(p, FZC_EVENT_PACED);
	}
	return FZC_GO_PACE;
}

enum fzc_go fzc_p_divert(struct fzc_pcore *p, u64 first, u64 last, u32 need, bool late)
{
	bool room = !p->diff_failed && need <= fzc_slots_free(&p->slots);
	/* without a connection there is nothing to wait for */
	bool wait = !late && !p->diff_failed && p->link == FZC_LINK_UP;

	if (wait && below(p, (u64)need + reserve(p)))
		return pace(p, first, last);
	if (room && need <= fzc_slots_ready(&p->slots))
		return FZC_GO_MIXED;
	if (room && fzc_slots_more(&p->slots)) {
		fzc_slots_expect(&p->slots, need);
		return FZC_GO_PARK;	/* until the shell has found memory, or has not */
	}
	fzc_p_give_way(p, p->diff_failed ? "the difference volume failed" :
		       room ? "no memory for more slots of the difference volume" :
			      "the difference volume is full");
	return FZC_GO_PARK;	/* until `frozen` is empty */
}

/* Something was delivered, or nothing will be: those who wait look again. */
void fzc_p_pace_wake(struct fzc_pcore *p)
{
	p->wake |= p->pacing;
	p->pacing = false;
}

/* The first block that a write waits for and that is not on its way; with @n at most. */
u64 fzc_p_wanted(struct fzc_pcore *p, u32 *n)
{
	u32 i = 0;
	u64 b;

	while (i < p->wants) {
		bool left = false;

		for (b = p->want[i].first; b <= p->want[i].last; b++) {
			if (!fzc_map_test(&p->frozen, b))
				continue;
			left = true;
			if (fzc_map_test(&p->inflight, b))
				continue;
			*n = min_t(u64, *n, p->want[i].last - b + 1);
			return b;
		}
		if (left)
			i++;
		else
			p->want[i] = p->want[--p->wants];
	}
	return p->geo.blocks;
}
