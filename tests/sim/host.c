// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host of the primary: random I/O that does not overlap itself, and what
 * P3 owes it.  Of each sector it keeps what was submitted since the newest
 * write known to be durable; after a power cut one of these must be there.
 */
#include "sim.h"

#define MAX_PARKED	4000U	/* steps */
#define HOT_SPOTS	6U	/* more than regions that may be open */

static u32 end_pos(u32 s)
{
	return W.hist_base[s] + W.hist_n[s] - 1;
}

/* Everything older than absolute position @pos is known to be overwritten durably. */
static void now_durable(u32 s, u32 pos)
{
	u32 drop = pos - W.hist_base[s];

	if (pos <= W.hist_base[s] || pos <= W.doomed_pos[s])
		return;
	memmove(W.hist[s], W.hist[s] + drop, 8ULL * (W.hist_n[s] - drop));
	W.hist_n[s] -= drop;
	W.hist_base[s] = pos;
}

/* What was written until now goes with the machine, if a failed flush was for it. */
static void note_doomed(u32 s)
{
	if (disk_is_doomed(&W.pd[FZC_DATA], s))
		W.doomed_pos[s] = end_pos(s);
}

/* A flush of data failed. */
void host_doomed(void)
{
	u32 s;

	for (s = 0; s < W.sectors; s++)
		note_doomed(s);
}

static bool overlaps(u32 first, u32 n)
{
	u32 s;

	for (s = first; s < first + n; s++)
		if (W.pending[s] || W.hist_n[s] == HISTORY)
			return true;
	return false;
}

static void part(struct hop *h, struct disk *d, u32 sector, u32 n, bool fua)
{
	struct io *io = io_new(0, IO_HOST);
	u32 i;

	io->disk = d;
	io->sector = sector;
	io->n = n;
	io->fua = fua;
	io->hop = h;
	io->what = d == &W.pd[FZC_DATA] ? STEP_HOST_WRITE_DATA : STEP_HOST_WRITE_SLOT;
	for (i = 0; i < n; i++)
		io->val[i] = h->val;
	h->parts++;
	reached(0, io->what, BEGUN, io);
}

static void write_block(struct hop *h, u64 block)
{
	u32 from = max(h->first, (u32)block * SPB), slot;
	u32 to = min(h->first + h->n, (u32)block * SPB + block_sectors(block));
	struct io *io;

	switch (fzc_p_write_place(&W.p, block, &slot)) {
	case FZC_AT_DATA:
		part(h, &W.pd[FZC_DATA], from, to - from, h->fua);
		break;
	case FZC_AT_SLOT:
		h->in_slot = true;
		part(h, &W.pd[FZC_DIFF], slot_sector(0, FZC_DIFF, slot) + from - block * SPB,
		     to - from, false);
		break;
	case FZC_AT_NEW:
		h->in_slot = true;
		h->parts++;
		io = io_new(0, IO_FILL);
		io->hop = h;
		io->act.offset = block;
		io->disk = &W.pd[FZC_DIFF];
		io->sector = slot_sector(0, FZC_DIFF, slot);
		reached(0, STEP_FILL_WRITE, BEGUN, io);
		break;
	}
}

/* Has it waited for a slot as long as it may? */
static bool is_late(const struct hop *h)
{
	return !W.pace || (h->paced_at && W.step - h->paced_at >= W.pace);
}

/* Does it need a slot, and there is none, and nothing else is in its way? */
static bool starved(const struct hop *h)
{
	u64 b, last = (h->first + h->n - 1) / SPB;
	bool need = false;

	for (b = h->first / SPB; b <= last; b++) {
		u32 slot = fzc_slots_find(&W.p.slots, b);

		if (slot == FZC_NO_SLOT)
			need |= fzc_map_test(&W.p.frozen, b);
		else if (fzc_slot_state(&W.p.slots, slot) == FZC_SLOT_FILLING)
			return false;
	}
	return need && W.p.phase == FZC_PHASE_DELIVER && !fzc_slots_ready(&W.p.slots) &&
	       !fzc_slots_more(&W.p.slots);
}

/* Is one of the blocks on its way to its first slot, or out of one? */
static bool pending(const struct hop *h)
{
	u64 b = h->first / SPB, last = (h->first + h->n - 1) / SPB;

	for (; b <= last; b++) {
		u32 slot = fzc_slots_find(&W.p.slots, b);
		u8 state = slot == FZC_NO_SLOT ? FZC_SLOT_FREE : fzc_slot_state(&W.p.slots, slot);

		if (state == FZC_SLOT_FILLING || state == FZC_SLOT_RETIRING)
			return true;
	}
	return false;
}

/* It has to wait for a wake-up, or until it is late. */
static bool parked(struct hop *h, enum fzc_go go)
{
	if (go == FZC_GO_PACE && is_late(h))
		fail("P3: a write is made to wait for a slot beyond its time");
	if (go == FZC_GO_PARK && is_late(h) && starved(h))
		fail("P3: a full difference volume stops a write instead of the freeze");
	h->woken = false;
	h->pacing = go == FZC_GO_PACE;
	h->second = go == FZC_GO_PARK && !W.p.gate_closed && pending(h);
	h->hungry = go == FZC_GO_PARK && fzc_slots_more(&W.p.slots) &&
		    W.p.slots.least > W.p.slots.have;
	if (h->pacing && !h->paced_at) {
		h->paced_at = W.step;
		W.st.paced++;
	}
	if (go == FZC_GO_PARK || go == FZC_GO_PACE) {
		if (!h->parked_at)
			h->parked_at = W.step;
		return true;
	}
	if (h->paced_at)
		*(is_late(h) ? &W.st.paced_late : &W.st.paced_ok) += 1;
	h->parked_at = 0;
	h->paced_at = 0;
	return false;
}

/* P3: what a read of the primary returns now. */
static u64 read_sector(u32 s)
{
	u64 block = s / SPB, v;
	u32 slot;

	if (fzc_p_read_begin(&W.p, block, block) == FZC_GO_DATA ||
	    fzc_p_read_place(&W.p, block, &slot) == FZC_AT_DATA)
		return W.pd[FZC_DATA].cur[s];
	v = W.pd[FZC_DIFF].cur[slot_sector(0, FZC_DIFF, slot) + s % SPB];
	fzc_p_slot_put(&W.p, slot);
	return v;
}

/* The host is told of an error.  What is there now may be of the write, or not. */
static void refused(struct hop *h)
{
	u32 s;

	for (s = h->first; s < h->first + h->n; s++) {
		W.last[s] = read_sector(s);
		W.pending[s] = false;
		if (W.last[s] == h->val)
			W.done_pos[s] = end_pos(s);
		note_doomed(s);	/* it may be the same value */
	}
	h->state = HOP_FREE;
	W.st.host_errors++;
	say("host: error for sectors %u+%u: %llu", h->first, h->n, (unsigned long long)h->val);
}

/* Of a pair of pages of meta, the one that a power cut would leave at least; NULL: none. */
static const struct fzc_page *durable_page(struct fzc_page page[2], u64 at, u64 other,
					   enum fzc_page_kind kind, u64 gen)
{
	int pick;

	page_durable(&W.pd[FZC_META], at, &page[0]);
	page_durable(&W.pd[FZC_META], other, &page[1]);
	pick = fzc_page_pick(&page[0], &page[1], kind, W.p.sb.format, gen, 0);
	return pick < 0 ? NULL : &page[pick];
}

static bool durably(const struct fzc_page *page, u64 bit)
{
	return page && page->body[bit / 8] >> (bit % 8) & 1;
}

/*
 * R5: after a crash, a block whose write may start counts as changed: its region
 * is durably open, or it has durably changed in this generation.  Or all of the
 * write goes to slots: then the index tells, or the old content comes back.
 */
static void check_flagged(u64 first, u64 last)
{
	static struct fzc_page flags[2], bits[2];
	const struct fzc_page *open, *changed = NULL;
	u8 cur = W.p.sb.cur;
	u64 b;

	for (b = first; b <= last && fzc_slots_find(&W.p.slots, b) != FZC_NO_SLOT; b++)
		;
	if (b > last)
		return;
	open = durable_page(flags, FZC_OFF_REGIONS, FZC_OFF_REGIONS + FZC_PAGE, FZC_PAGE_REGIONS, 0);
	for (b = first; b <= last; b++) {
		if (durably(open, b >> W.pgeo.region_shift))
			continue;
		if (!changed)
			changed = durable_page(bits, fzc_area_offset(&W.pgeo, cur, 0, 0),
					       fzc_area_offset(&W.pgeo, cur, 0, 1), FZC_PAGE_BITMAP,
					       W.p.sb.gen[cur]);
		if (!durably(changed, b))
			fail("R5: a write to block %llu starts that would not count as changed after a crash",
			     (unsigned long long)b);
		W.st.known++;
	}
}

static void try_write(struct hop *h)
{
	u64 first = h->first / SPB, last = (h->first + h->n - 1) / SPB, b;
	enum fzc_go go = fzc_p_write_begin(&W.p, first, last, is_late(h));

	h->state = HOP_PARKED;
	if (parked(h, go))
		return;
	if (h->again)
		fzc_p_write_again(&W.p);
	h->again = false;
	if (go == FZC_GO_FAIL && W.p.in.failed && W.errors) {
		refused(h);	/* nothing continues unrecorded */
		return;
	}
	if (go != FZC_GO_DATA && go != FZC_GO_MIXED) {
		fail("P3: a write was refused (%d)", go);
		return;
	}
	check_flagged(first, last);
	h->state = HOP_BUSY;
	h->err = false;
	h->diff_err = false;
	h->parts = 1;
	h->in_slot = false;
	for (b = first; b <= last; b++) {
		if (go == FZC_GO_DATA)
			part(h, &W.pd[FZC_DATA], max(h->first, (u32)b * SPB),
			     min(h->first + h->n, (u32)b * SPB + block_sectors(b)) -
			     max(h->first, (u32)b * SPB), h->fua);
		else
			write_block(h, b);
	}
	host_part_done(h);
}

static void acked(struct hop *h)
{
	u32 s;

	for (s = h->first; s < h->first + h->n; s++) {
		W.last[s] = h->val;
		W.pending[s] = false;
		W.done_pos[s] = end_pos(s);
		if (h->fua)
			now_durable(s, W.done_pos[s]);
	}
	h->state = HOP_FREE;
	say("host: wrote sectors %u+%u: %llu", h->first, h->n, (unsigned long long)h->val);
}

void host_part_done(struct hop *h)
{
	if (--h->parts)
		return;
	if (fzc_p_write_end(&W.p, h->first / SPB, (h->first + h->n - 1) / SPB,
			    h->err || h->diff_err ? -EIO : 0, h->diff_err)) {
		h->state = HOP_PARKED;	/* its divert failed: it goes in place */
		h->again = true;
		return;
	}
	if (h->err || h->diff_err) {
		refused(h);
		return;
	}
	if (!(h->fua && h->in_slot)) {
		acked(h);
		return;
	}
	/* the write counts as ended for a cut that comes now, though the host waits */
	h->ticket = fzc_p_sync(&W.p);
	h->state = HOP_SYNC;
}

void host_part_failed(struct hop *h, bool diff)
{
	*(diff ? &h->diff_err : &h->err) = true;
	host_part_done(h);
}

void host_synced(u64 ticket, int err)
{
	struct hop *h;
	u32 s;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++) {
		if (h->state != HOP_SYNC || h->ticket > ticket)
			continue;
		if (h->kind == HOP_WRITE) {
			h->fua &= !err;	/* it is there, but the host is told that it may be lost */
			acked(h);
			continue;
		}
		for (s = 0; s < W.sectors && !err; s++)
			now_durable(s, h->pos[s]);
		h->state = HOP_FREE;
	}
}

/* R10: what the secondary has committed is durable on the primary too. */
void host_image_committed(const struct image *im)
{
	u32 s;

	for (s = 0; s < W.sectors; s++)
		now_durable(s, im->pos[s]);
}

bool host_busy(void)
{
	struct hop *h;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		if (h->state != HOP_FREE)
			return true;
	return false;
}

static void note_written(const struct hop *h)
{
	u32 b;

	for (b = h->first / SPB; b <= (h->first + h->n - 1) / SPB; b++)
		W.written[b] = W.images + 1;
}

static void new_write(struct hop *h)
{
	u32 s;

	h->n = chance(50) ? 1 + below(SPB) : 1 + below(MAX_WRITE * SPB);
	h->first = W.hot && chance(80) ? below(HOT_SPOTS) * (W.sectors / HOT_SPOTS) + below(SPB) : below(W.sectors);
	h->n = min(h->n, W.sectors - h->first);
	if (chance(30)) {	/* whole blocks */
		h->first = h->first / SPB * SPB;
		h->n = block_sectors(h->first / SPB);
	}
	if (overlaps(h->first, h->n))
		return;
	h->kind = HOP_WRITE;
	h->zeroes = chance(15);
	h->fua = chance(15);
	h->val = h->zeroes ? 0 : ++W.next_val;
	note_written(h);
	for (s = h->first; s < h->first + h->n; s++) {
		W.pending[s] = true;
		W.pend[s] = h->val;
		W.hist[s][W.hist_n[s]++] = h->val;
	}
	try_write(h);
}

/* Reads a block; what it returns may have been written while it ran. */
static void new_read(struct hop *h)
{
	struct io *io = io_new(0, IO_READ);
	u64 block = below(W.blocks);
	u32 i;

	if (chance(60))	/* one that is in a slot, if there is any */
		for (i = 0; i < W.blocks &&
		     fzc_slots_find(&W.p.slots, block) == FZC_NO_SLOT; i++)
			block = (block + 1) % W.blocks;

	h->kind = HOP_READ;
	h->state = HOP_BUSY;
	h->first = block * SPB;
	h->n = block_sectors(block);
	memcpy(h->pos + h->first, W.done_pos + h->first, h->n * sizeof(h->pos[0]));
	for (i = 0; i < h->n; i++)
		h->was[i] = W.last[h->first + i];
	io->hop = h;
	io->disk = &W.pd[FZC_DATA];
	io->sector = h->first;
	if (fzc_p_read_begin(&W.p, block, block) != FZC_GO_DATA)
		io->place[0] = fzc_p_read_place(&W.p, block, &io->slot[0]);
	if (io->place[0] == FZC_AT_SLOT) {
		io->disk = &W.pd[FZC_DIFF];
		io->sector = slot_sector(0, FZC_DIFF, io->slot[0]);
		io_delay(io, 50, 2000);
	}
	reached(0, io->place[0] == FZC_AT_SLOT ? STEP_HOST_READ_SLOT : STEP_HOST_READ_DATA, BEGUN,
		io);
}

static bool written_since(u32 s, u32 pos, u64 v)
{
	u32 i;

	if (W.hist_base[s] > pos)	/* some of it is forgotten */
		return true;
	for (i = pos - W.hist_base[s]; i < W.hist_n[s]; i++)
		if (W.hist[s][i] == v)
			return true;
	return false;
}

/* P3: as it was when the read began, or anything written since; NULL: an error. */
void host_read_done(struct hop *h, const u64 *val)
{
	u32 s, i;

	for (i = 0; i < h->n && val; i++) {
		s = h->first + i;
		if (val[i] != h->was[i] && !written_since(s, h->pos[s], val[i]))
			fail("P3: a read of sector %u returns %llu, which was %llu when it began and has not been written since",
			     s, (unsigned long long)val[i], (unsigned long long)h->was[i]);
	}
	h->state = HOP_FREE;
}

static void new_flush(struct hop *h)
{
	h->kind = HOP_FLUSH;
	memcpy(h->pos, W.done_pos, sizeof(h->pos));
	switch (fzc_p_flush_begin(&W.p, &h->ticket)) {
	case FZC_GO_FAIL:	/* what a flush that nobody asked for has lost */
		if (!W.errors && !W.sick)
			fail("P3: a flush was refused");
		return;
	case FZC_GO_DATA:	/* the long way does as well */
		h->ticket = fzc_p_sync(&W.p);
		break;
	default:
		break;
	}
	h->state = HOP_SYNC;
}

bool host_new(void)
{
	struct hop *h;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		if (h->state == HOP_FREE)
			break;
	if (h == W.hop + MAX_HOPS)
		return false;
	switch (below(8)) {
	case 0:
		new_flush(h);
		break;
	case 1:
		new_read(h);
		break;
	default:
		new_write(h);
	}
	p_check_cut();
	return true;
}

bool host_retry(void)
{
	u32 n = below(MAX_HOPS), i;

	for (i = 0; i < MAX_HOPS; i++) {
		struct hop *h = &W.hop[(n + i) % MAX_HOPS];

		if (h->state != HOP_PARKED || !(h->woken || (h->paced_at && is_late(h))))
			continue;
		try_write(h);
		p_check_cut();
		return true;
	}
	return false;
}

void host_wake(void)
{
	struct hop *h;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		h->woken |= h->state == HOP_PARKED;
}

/*
 * A block that a write waits for and that could be sent; none when those who
 * wait are about to look again: another write may have got a slot for it.
 */
u64 host_wanted(void)
{
	struct hop *h;
	u64 b;

	if (W.p.wake)
		return W.blocks;
	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		for (b = h->first / SPB; h->state == HOP_PARKED && h->pacing && !h->woken &&
		     b <= (h->first + h->n - 1) / SPB; b++)
			if (fzc_map_test(&W.p.frozen, b) && !fzc_map_test(&W.p.inflight, b))
				return b;
	return W.blocks;
}

/* P3: what a write waits for is sent before what nobody waits for. */
void host_check_paced(const struct fzc_xfer *x, u64 wanted)
{
	struct hop *h;

	if (wanted == W.blocks || W.p.phase != FZC_PHASE_DELIVER)
		return;
	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		if (h->state == HOP_PARKED && x->first * SPB < h->first + h->n &&
		    (x->first + x->n) * SPB > h->first)
			return;
	fail("P3: blocks %llu+%u are sent while a write waits for block %llu",
	     (unsigned long long)x->first, x->n, (unsigned long long)wanted);
}

/* Called when the core has nothing to do: who could go on has been woken. */
void host_check_woken(void)
{
	struct hop *h;
	u64 b, last;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++) {
		if (h->state != HOP_PARKED || h->woken)
			continue;
		if (h->second && !pending(h))
			fail("P3: a write waits for a divert of its block that has ended");
		if (h->hungry && !W.p.slots.asked)
			fail("P3: a write waits for memory that is not looked for any more");
		if (!h->pacing)
			continue;
		last = (h->first + h->n - 1) / SPB;
		for (b = h->first / SPB; b <= last && !fzc_map_test(&W.p.frozen, b); b++)
			;
		if (b > last)
			fail("P3: a write waits for a slot though its blocks %llu..%llu are delivered",
			     (unsigned long long)h->first / SPB, (unsigned long long)last);
	}
}

/* P3: nobody waits for ever, whatever the peer does. */
static void check_parked(void)
{
	struct hop *h;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		if (h->state == HOP_PARKED && W.step - h->parked_at > MAX_PARKED + W.pace)
			fail("P3: a write of sectors %u+%u is parked for more than %u steps",
			     h->first, h->n, MAX_PARKED + W.pace);
}

/* After a power cut any write since the newest durable one may be the one that is there. */
static void check_survivor(u32 s, u64 v)
{
	u32 i;

	for (i = W.hist_n[s]; i && W.hist[s][i - 1] != v; i--)
		;
	if (!i--)
		fail("P3: after a power cut sector %u has %llu, which is older than %llu, known to be durable, or was never written",
		     s, (unsigned long long)v, (unsigned long long)W.hist[s][0]);
	W.last[s] = v;
	W.pending[s] = false;
	if (W.p_died) {		/* what is there need not be durable */
		while (++i < W.hist_n[s])
			W.hist[s][i] = v;
		W.done_pos[s] = end_pos(s);
		return;
	}
	W.hist_base[s] += W.hist_n[s];	/* a position never comes again */
	W.hist[s][0] = v;
	W.hist_n[s] = 1;
	W.done_pos[s] = W.hist_base[s];
}

/* ---- `changed` against the truth ---- */

/* What did not get through the gate before the cut belongs to the next image. */
void host_cut(void)
{
	struct hop *h;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++)
		if (h->state == HOP_PARKED)
			note_written(h);
}

/* The secondary asks for what it cannot read: that is changed, too. */
void host_asked(u64 first, u32 n)
{
	for (; n && first < W.blocks; n--)
		W.extra[first++] = true;
}

/* Cuts up to that of the image that the primary takes for the last committed one. */
static u32 base_cuts(void)
{
	u32 i;

	for (i = 0; i < W.images; i++)
		if (fzc_id_equal(&W.image[i].img.id, &W.p.sb.image.id))
			return i + 1;
	return 0;
}

static bool changed(u64 b)
{
	const struct fzc_map *gen = W.p.in.changed;

	return fzc_map_test(&gen[0], b) || fzc_map_test(&gen[1], b);
}

/* The limit, and on top of it one write so wide that there might never be room for it. */
u32 host_most_open(void)
{
	u32 wide = ((MAX_WRITE - 1) >> W.pgeo.region_shift) + 2;	/* it begins anywhere */

	return W.pgeo.max_open + (wide > W.pgeo.max_open / 2 ? wide : 0);
}

/*
 * What the primary takes for the last image has changed.  After a power cut it
 * may be the one before again, and with it what counted as changed then.
 */
static void rebase_extra(u32 cuts)
{
	u32 b;

	if (cuts == W.extra_cuts)
		return;
	if (cuts == W.extra_before_cuts) {
		for (b = 0; b < W.blocks; b++)
			W.extra[b] |= W.extra_before[b];
	} else {
		memcpy(W.extra_before, W.extra, sizeof(W.extra));
		W.extra_before_cuts = W.extra_cuts;
	}
	W.extra_cuts = cuts;
}

/*
 * After a power cut open regions count as changed, of which there are at most
 * host_most_open() unless they could not be closed; otherwise what was written.
 */
static void check_changed(bool after_crash)
{
	u32 cuts = base_cuts(), most = 0, region = U32_MAX, regions = 0, b;

	if (after_crash)
		most = W.boundless ? W.pgeo.regions : host_most_open();
	rebase_extra(cuts);
	if (W.p.sb.flags & FZC_SB_TAINTED || (after_crash && W.tainted)) {	/* until it was sent again */
		for (b = 0; b < W.blocks; b++)
			W.extra[b] = changed(b);
		W.tainted = W.p.sb.flags & FZC_SB_TAINTED;
		return;
	}
	for (b = 0; b < W.blocks; b++) {
		W.extra[b] &= changed(b);
		if (!changed(b) || W.extra[b])
			continue;
		/* a region that was open at the last cut counts in the next generation, too */
		W.extra[b] = after_crash && W.written[b] <= W.images;
		if (W.written[b] > cuts)
			continue;
		regions += region != b >> W.pgeo.region_shift;
		region = b >> W.pgeo.region_shift;
	}
	if (regions > most && W.p.sb.image.number)
		fail("P4: %u regions count as changed that are not, expected %u at most", regions,
		     most);
}

void host_check_primary(bool after_crash)
{
	u32 s;

	check_parked();
	if (after_crash || !(W.p.in.wiping || W.p.in.folding))
		check_changed(after_crash);
	for (s = 0; s < W.sectors && !W.failed; s++) {
		u64 v = read_sector(s);

		if (after_crash)
			check_survivor(s, v);
		else if (v != W.last[s] && !(W.pending[s] && v == W.pend[s]))
			fail("P3: sector %u reads %llu, expected %llu", s, (unsigned long long)v,
			     (unsigned long long)W.last[s]);
	}
}

void host_crash(void)
{
	struct hop *h;

	for (h = W.hop; h < W.hop + MAX_HOPS; h++) {
		h->state = HOP_FREE;
		h->again = false;
		h->parked_at = 0;
		h->paced_at = 0;
	}
}
