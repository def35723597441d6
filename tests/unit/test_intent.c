// SPDX-License-Identifier: GPL-2.0-only
/* Write intent: what a closed region lets through, and pages that a flush has lost. */
#include "test.h"
#include "intent.h"

static struct {
	struct fzc_geometry geo;
	struct fzc_super sb;
	u64 seq;
	struct fzc_intent in;
	struct fzc_page page;
	u32 pages;	/* of the bitmaps, written */
	bool flush_fails;
	bool clearing_fails;	/* the write that takes flags away */
	bool in_use;		/* regions are written to whenever one is to be closed */
} G;

static void set_up(void)
{
	char why[FZC_REASON_LEN];

	memset(&G, 0, sizeof(G));
	CHECK(!fzc_geometry_init(&G.geo, 8 * 100000, 4096, why));
	G.sb.gen[0] = 1;
	G.sb.next_gen = 1;
	fzc_intent_init(&G.in, test_alloc(fzc_intent_bytes(&G.geo)), &G.geo, &G.sb, &G.seq);
}

static u64 size(void)
{
	return 1ULL << G.geo.region_shift;
}

/* A block that has not changed, of each region that may be open; returns how many are not let in. */
static u32 use_regions(void)
{
	u32 r, parked = 0;
	u64 b;

	for (r = 0; r < G.geo.max_open; r++) {
		for (b = r * size(); fzc_map_test(&G.in.changed[G.sb.cur], b); b++)
			;
		if (fzc_intent_enter(&G.in, b, b) != FZC_GO_DATA) {
			parked++;
			continue;
		}
		fzc_intent_mark(&G.in, b);
		fzc_intent_exit(&G.in, b, b);
	}
	return parked;
}

static void carry_out(void)
{
	struct fzc_act act;

	for (;;) {
		if (fzc_intent_next(&G.in, &act, &G.page)) {
			bool fails = act.kind == FZC_ACT_FLUSH ? G.flush_fails :
				     act.job == FZC_JOB_REGIONS && G.in.ckpt == FZC_CKPT_CLEAR &&
				     G.clearing_fails;

			G.pages += act.job == FZC_JOB_CKPT_PAGE;
			fzc_intent_done(&G.in, &act, fails ? -EIO : 0);
		} else if (G.in.sync_wanted) {
			G.in.sync_wanted = false;
			if (G.in_use)
				use_regions();
			fzc_intent_synced(&G.in, 0);
		} else {
			break;
		}
	}
}

/* The running checkpoint, up to this step of it. */
static void checkpoint_until(u8 step)
{
	struct fzc_act act;

	while (G.in.ckpt != step) {
		if (fzc_intent_next(&G.in, &act, &G.page))
			fzc_intent_done(&G.in, &act, 0);
		else
			fzc_intent_synced(&G.in, 0);
	}
}

/* A write of one block from start to end; whether it had to wait for its region. */
static bool waits(u64 block)
{
	enum fzc_go go = fzc_intent_enter(&G.in, block, block);
	bool parked = go == FZC_GO_PARK;

	if (parked) {
		carry_out();
		go = fzc_intent_enter(&G.in, block, block);
	}
	CHECK(go == FZC_GO_DATA);
	fzc_intent_mark(&G.in, block);
	fzc_intent_exit(&G.in, block, block);
	return parked;
}

static void close_all(void)
{
	fzc_intent_close_all(&G.in);
	carry_out();
}

TEST(intent_closed_region_knows_its_blocks)
{
	set_up();
	CHECK(waits(100));
	CHECK(!waits(101));
	close_all();
	CHECK(fzc_intent_clean(&G.in));
	CHECK(!waits(100));
	CHECK(!waits(101));
	CHECK(!G.in.active.count);
	CHECK(waits(102));
	/* in the next generation none has changed */
	close_all();
	fzc_intent_cut(&G.in);
	CHECK(waits(100));
}

TEST(intent_all_changed_is_not_known)
{
	set_up();
	fzc_intent_fill(&G.in);
	CHECK(waits(100));
	close_all();	/* all pages are written: now it is */
	CHECK(!(G.sb.flags & FZC_SB_CHANGED_ALL));
	CHECK(!waits(5000));
	G.sb.flags |= FZC_SB_FOLDING;
	CHECK(waits(5001));
}

TEST(intent_nothing_is_known_after_a_crash)
{
	set_up();
	CHECK(waits(100));
	close_all();
	fzc_intent_replay(&G.in);
	CHECK(waits(100));
}

TEST(intent_wide_write_opens_only_what_it_needs)
{
	u64 first;

	set_up();
	first = 100 * size();
	CHECK(waits(first));
	close_all();
	CHECK(fzc_intent_enter(&G.in, first, first) == FZC_GO_DATA);
	fzc_intent_exit(&G.in, first, first);
	CHECK(fzc_intent_enter(&G.in, first - 1, first) == FZC_GO_PARK);
	carry_out();
	CHECK(G.in.active.count == 1);
	CHECK(fzc_intent_enter(&G.in, first - 1, first) == FZC_GO_DATA);
	/* the closed one counts the write, too */
	CHECK(G.in.busy[99] == 1 && G.in.busy[100] == 1);
	fzc_intent_exit(&G.in, first - 1, first);
	CHECK(!G.in.busy[99] && !G.in.busy[100]);
}

TEST(intent_changed_while_its_region_is_closed_is_not_known)
{
	struct fzc_act act;

	set_up();
	CHECK(waits(100));
	fzc_intent_close_all(&G.in);
	CHECK(!fzc_intent_next(&G.in, &act, &G.page) && G.in.sync_wanted);
	G.in.sync_wanted = false;
	fzc_intent_synced(&G.in, 0);
	CHECK(fzc_intent_next(&G.in, &act, &G.page) && act.job == FZC_JOB_CKPT_PAGE);
	fzc_intent_add(&G.in, 101);	/* the page that is being written has not got it */
	fzc_intent_done(&G.in, &act, 0);
	carry_out();
	CHECK(!G.in.active.count);
	CHECK(waits(101));
	close_all();
	CHECK(!waits(101));
}

TEST(intent_pages_that_a_flush_lost_are_written_again)
{
	set_up();
	CHECK(waits(100));
	G.flush_fails = true;
	close_all();
	CHECK(G.pages == 1 && G.in.active.count == 1);
	G.flush_fails = false;
	close_all();
	CHECK(G.pages == 2 && fzc_intent_clean(&G.in));
}

/* ...and is what all-changed waits for: a flag that cannot be cleared then holds up no cut. */
TEST(intent_all_changed_is_durable_though_no_region_closes)
{
	set_up();
	fzc_intent_fill(&G.in);
	CHECK(waits(100));
	G.clearing_fails = true;
	close_all();
	CHECK(G.in.ckpt_err && !(G.sb.flags & FZC_SB_CHANGED_ALL));
	fzc_intent_fill(&G.in);
	G.clearing_fails = false;
	G.flush_fails = true;
	close_all();
	CHECK(G.in.ckpt_err && G.sb.flags & FZC_SB_CHANGED_ALL);
}

/* R5: it may have got to the disk all the same, and the region's next write needs its flag. */
TEST(intent_flag_that_may_be_gone_is_set_again)
{
	set_up();
	CHECK(waits(100));
	G.clearing_fails = true;
	close_all();
	CHECK(G.in.failed && G.in.ckpt_err);
	CHECK(fzc_intent_enter(&G.in, 101, 101) != FZC_GO_DATA);
	G.in.failed = false;
	CHECK(waits(101));
}

TEST(intent_regions_gather_but_a_checkpoint_does_not_wait)
{
	struct fzc_act act;

	set_up();
	G.in.gather = true;
	CHECK(fzc_intent_enter(&G.in, 100, 100) == FZC_GO_PARK);
	CHECK(!fzc_intent_next(&G.in, &act, &G.page));
	CHECK(fzc_intent_enter(&G.in, 5000, 5000) == FZC_GO_PARK);
	G.in.gather = false;
	CHECK(fzc_intent_next(&G.in, &act, &G.page) && act.job == FZC_JOB_REGIONS);
	fzc_intent_done(&G.in, &act, 0);
	CHECK(!waits(100) && !waits(5000));	/* one page for both */
	G.in.gather = true;
	close_all();
	CHECK(fzc_intent_clean(&G.in));
}

static void all_open(void)
{
	u32 r;

	set_up();
	for (r = 0; r < G.geo.max_open; r++)
		CHECK(waits(r * size()));
	CHECK(G.in.active.count == G.geo.max_open);
}

/* Nobody waits for ever because others write to all the regions that may be open. */
TEST(intent_room_among_regions_in_use)
{
	u64 b;
	u32 n;

	all_open();
	b = G.geo.max_open * size();
	G.in_use = true;
	for (n = 0; n < 4 && fzc_intent_enter(&G.in, b, b) == FZC_GO_PARK; n++)
		carry_out();
	CHECK(n < 4 && !G.in.firm);
	CHECK(G.in.active.count <= G.geo.max_open);
}

/* ...or have a write in each of them at any time. */
TEST(intent_room_among_writes_that_overlap)
{
	u64 b;
	u32 r;

	all_open();
	b = G.geo.max_open * size();
	for (r = 0; r < G.geo.max_open; r++)
		CHECK(fzc_intent_enter(&G.in, r * size(), r * size()) == FZC_GO_DATA);
	CHECK(fzc_intent_enter(&G.in, b, b) == FZC_GO_PARK);
	CHECK(!use_regions());
	fzc_intent_tick(&G.in);
	CHECK(use_regions() == G.geo.max_open);
	CHECK(!fzc_intent_again(&G.in, 0));
	carry_out();
	for (r = 0; r < G.geo.max_open; r++)
		fzc_intent_exit(&G.in, r * size(), r * size());
	carry_out();
	CHECK(!waits(0) && waits(b) && !G.in.firm);
}

TEST(intent_flags_are_cleared_while_regions_are_wanted)
{
	struct fzc_act act;

	set_up();
	CHECK(waits(0));
	fzc_intent_close_all(&G.in);
	checkpoint_until(FZC_CKPT_CLEAR);
	CHECK(fzc_intent_next(&G.in, &act, &G.page) && act.job == FZC_JOB_REGIONS);
	CHECK(fzc_intent_enter(&G.in, size(), size()) == FZC_GO_PARK);
	fzc_intent_done(&G.in, &act, 0);
	CHECK(G.in.ckpt == FZC_CKPT_IDLE);
	CHECK(fzc_intent_next(&G.in, &act, &G.page) && act.job == FZC_JOB_REGIONS);
	fzc_intent_done(&G.in, &act, 0);
	CHECK(fzc_intent_enter(&G.in, size(), size()) == FZC_GO_DATA);
}

/* A write that needs many is not passed over for ever by others that need one each. */
TEST(intent_room_for_a_wide_write)
{
	u64 first, last;
	u32 r;

	all_open();
	first = (u64)G.geo.max_open * size();
	last = first + 2 * size();
	CHECK(fzc_intent_enter(&G.in, first, last) == FZC_GO_PARK);
	fzc_intent_close_all(&G.in);
	CHECK(!fzc_intent_next(&G.in, &(struct fzc_act){ }, &G.page) && G.in.sync_wanted);
	for (r = 1; r < G.geo.max_open; r++)	/* all but one are written again */
		waits(r * size() + 1);
	checkpoint_until(FZC_CKPT_IDLE);
	CHECK(G.in.active.count == G.geo.max_open - 1 && G.in.firm);
	G.in_use = true;
	carry_out();
	CHECK(!G.in.firm && fzc_intent_enter(&G.in, first, last) == FZC_GO_PARK);
	carry_out();
	CHECK(fzc_intent_enter(&G.in, first, last) == FZC_GO_DATA);
}

/* Those to slots are held, too: else nobody else gets in for as long as there is always one. */
TEST(intent_slots_beside_a_firm_checkpoint)
{
	u32 r;

	all_open();
	for (r = 0; r < G.geo.max_open; r++)
		CHECK(fzc_intent_enter_slots(&G.in, r * size(), r * size()) == FZC_GO_DATA);
	CHECK(fzc_intent_enter(&G.in, r * size(), r * size()) == FZC_GO_PARK);
	CHECK(!use_regions());
	fzc_intent_tick(&G.in);
	CHECK(fzc_intent_enter_slots(&G.in, 0, 0) == FZC_GO_PARK);
	/* a closed one is not */
	CHECK(fzc_intent_enter_slots(&G.in, r * size(), r * size()) == FZC_GO_DATA);
}
