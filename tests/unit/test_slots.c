// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slots against a model that knows what is durable: which block's content a
 * slot holds for certain, and what the index on disk says.  After every random
 * step the index must be true (R3, R12), after every commit complete, and its
 * replay must give the same table.
 */
#include "test.h"
#include "slots.h"

#define NSLOTS	300U	/* three pages of index, the last not full */
#define NPAGES	3U
#define NBLOCKS	1000U
#define NOTHING	U64_MAX

static struct model {
	struct fzc_slots s;
	bool crc;
	u64 now;			/* steps so far */
	u32 most;			/* slots used at once, since the table was empty */
	u64 filled[NSLOTS];		/* when the slot's block was first filled in; 0: not */
	u64 retired[NSLOTS];
	u64 durable[NSLOTS];		/* block whose content certainly is in the slot */
	u32 reads[NSLOTS];
	struct fzc_index_body disk[NPAGES];	/* the newer copy of each */
	struct copy { struct fzc_index_body body; u64 seq; } cached[2][NPAGES], safe[2][NPAGES];
	u64 committed[NPAGES];		/* what each copy of the last commit is */
	u64 seq;
	/* the running commit */
	u64 began;			/* 0: none runs */
	bool flushed;
	bool failed;
} m;

static void grow(struct fzc_slots *s)
{
	while (fzc_slots_wants(s))
		fzc_slots_give(s, malloc(sizeof(struct fzc_chunk)));
}

static void shrink(struct fzc_slots *s)
{
	struct fzc_chunk *chunk;

	while ((chunk = fzc_slots_spare(s)))
		free(chunk);
}

static void drop(struct fzc_slots *s)
{
	struct fzc_chunk *chunk;

	while ((chunk = fzc_slots_drop(s)))
		free(chunk);
}

static void model_init(bool crc)
{
	memset(&m, 0, sizeof(m));
	memset(m.durable, 0xff, sizeof(m.durable));
	fzc_slots_init(&m.s, test_alloc(fzc_slots_bytes(NSLOTS)), NSLOTS, crc);
	m.crc = crc;
	m.now = 1;
}

static void model_exit(void)
{
	drop(&m.s);
}

static u8 state(u32 slot)
{
	return fzc_slot_state(&m.s, slot);
}

static u64 said(u32 slot, u32 *flags)
{
	const struct fzc_index_entry *e = &m.disk[slot / FZC_INDEX_ENTRIES].entry
					  [slot % FZC_INDEX_ENTRIES];

	*flags = le32_to_cpu(e->flags);
	return *flags & FZC_ENTRY_USED ? le64_to_cpu(e->block) : NOTHING;
}

/* What the index on disk says is true at every moment: a crash may come now. */
static bool disk_is_true(void)
{
	for (u32 slot = 0; slot < NSLOTS; slot++) {
		u32 flags;
		u64 block = said(slot, &flags);

		if (block == NOTHING)
			continue;
		if (m.durable[slot] != block || *fzc_slot_block(&m.s, slot) != block ||
		    state(slot) == FZC_SLOT_FREE || state(slot) == FZC_SLOT_ZOMBIE)
			return false;
	}
	return true;
}

/* A commit without errors brought out all that happened before it began. */
static bool commit_is_complete(void)
{
	for (u32 slot = 0; slot < NSLOTS; slot++) {
		u32 flags;
		u64 block = said(slot, &flags);
		u8 st = state(slot);

		if ((st == FZC_SLOT_LIVE || st == FZC_SLOT_MERGING) && m.filled[slot] < m.began &&
		    block != *fzc_slot_block(&m.s, slot))
			return false;
		if (st == FZC_SLOT_RETIRING && m.retired[slot] < m.began && block != NOTHING)
			return false;
	}
	return true;
}

static int load_page(struct fzc_slots *s, u32 page, const struct fzc_index_body *body, char *why)
{
	int err;

	while ((err = fzc_slots_load(s, page, page & 1, body, NBLOCKS, why, FZC_REASON_LEN)) ==
	       -EAGAIN)
		fzc_slots_give(s, malloc(sizeof(struct fzc_chunk)));
	return err;
}

static bool replay_agrees(void)
{
	void *mem2 = calloc(1, fzc_slots_bytes(NSLOTS));
	char why[FZC_REASON_LEN];
	struct fzc_slots s;
	bool ok = true;
	u32 flags, used = 0;

	fzc_slots_init(&s, mem2, NSLOTS, m.crc);
	for (u32 page = 0; page < NPAGES; page++)
		ok = ok && !load_page(&s, page, &m.disk[page], why);
	for (u32 slot = 0; ok && slot < NSLOTS; slot++) {
		u64 block = said(slot, &flags);

		if (block == NOTHING)
			continue;
		used++;
		ok = fzc_slots_find(&s, block) == slot &&
		     fzc_slot_state(&s, slot) == FZC_SLOT_LIVE;
	}
	ok = ok && s.used == used && !fzc_slots_dirty(&s);
	drop(&s);
	free(mem2);
	return ok;
}

static void allocate(void)
{
	u64 block = test_below(NBLOCKS);
	u32 slot;

	if (fzc_slots_find(&m.s, block) != FZC_NO_SLOT)
		return;
	slot = fzc_slots_alloc(&m.s, block);
	if (slot == FZC_NO_SLOT)
		return;
	m.filled[slot] = 0;
	m.retired[slot] = 0;
	m.durable[slot] = NOTHING;
	if (m.crc)
		*fzc_slot_crc(&m.s, slot) = block;
}

static void finish_retiring(u32 slot)
{
	if (m.failed)
		fzc_slot_unretire(&m.s, slot);
	else
		fzc_slot_release(&m.s, slot);
	m.retired[slot] = 0;
}

static void look_at_disk(void)
{
	for (u32 page = 0; page < NPAGES; page++)
		m.disk[page] = m.cached[m.cached[1][page].seq > m.cached[0][page].seq][page].body;
}

/* One that fails may lose what it should have made durable. */
static bool flush(void)
{
	bool ok = test_below(8);

	for (u32 i = 0; i < 2 * NPAGES; i++) {
		struct copy *cached = &m.cached[i & 1][i / 2], *safe = &m.safe[i & 1][i / 2];

		if (ok)
			*safe = *cached;
		else if (test_below(2))
			*cached = *safe;
	}
	look_at_disk();
	return ok;
}

static void end_commit(void)
{
	if (!m.failed)
		m.failed = !flush();
	if (m.failed)
		fzc_slots_sync_failed(&m.s);
	else
		fzc_slots_sync_ended(&m.s);
	if (!m.failed) {
		for (u32 page = 0; page < NPAGES; page++)
			m.committed[page] = max(m.safe[0][page].seq, m.safe[1][page].seq);
		CHECK(commit_is_complete());
		CHECK(replay_agrees());
	}
	for (u32 slot = 0; slot < NSLOTS; slot++)
		if (state(slot) == FZC_SLOT_RETIRING && m.retired[slot] < m.began)
			finish_retiring(slot);
	m.began = 0;
}

static void write_page(u32 page)
{
	u8 copy = !fzc_slots_copy(&m.s, page);
	struct fzc_index_body body;
	bool ok = test_below(10);

	/* this write may tear, and what else was not flushed be lost */
	CHECK(m.safe[!copy][page].seq == m.committed[page]);
	fzc_slots_encode(&m.s, page, &body);
	/* of a write that failed, nobody knows whether it is on disk */
	if (ok || test_below(2))
		m.cached[copy][page] = (struct copy){ body, ++m.seq };
	look_at_disk();
	m.failed |= !ok;
	fzc_slots_page_written(&m.s, page, ok);
}

static void commit_step(void)
{
	u32 page;

	if (!m.began) {
		m.began = m.now;
		m.flushed = false;
		m.failed = false;
		fzc_slots_sync_begin(&m.s);
	} else if (!m.flushed && !test_below(10)) {
		m.failed = true;	/* the flush before the pages */
		end_commit();
	} else if (!m.flushed) {
		m.flushed = true;
		for (u32 slot = 0; slot < NSLOTS; slot++)
			if (m.filled[slot] && m.filled[slot] < m.began)
				m.durable[slot] = *fzc_slot_block(&m.s, slot);
		fzc_slots_sync_flushed(&m.s);
	} else if (fzc_slots_sync_page(&m.s, &page)) {
		write_page(page);
	} else {
		end_commit();
	}
}

static void slot_step(u32 slot)
{
	switch (state(slot)) {
	case FZC_SLOT_FILLING:
		if (test_below(8)) {
			fzc_slot_filled(&m.s, slot);
			m.filled[slot] = m.now;
		} else {
			fzc_slot_cancel(&m.s, slot);
		}
		break;
	case FZC_SLOT_LIVE:
		if (test_below(2))
			fzc_slot_set_state(&m.s, slot, FZC_SLOT_MERGING);
		else
			fzc_slot_filled(&m.s, slot);
		break;
	case FZC_SLOT_MERGING:
		if (!m.crc && test_below(4)) {
			fzc_slot_retire(&m.s, slot);
			m.retired[slot] = m.now;
		} else {
			fzc_slot_set_state(&m.s, slot, FZC_SLOT_LIVE);
		}
		break;
	}
}

static void read_step(u32 slot)
{
	if (m.reads[slot] && test_below(2)) {
		m.reads[slot]--;
		fzc_slot_read_put(&m.s, slot);
	} else if (!m.crc &&	/* a secondary counts its reads by the stage */
		   (state(slot) == FZC_SLOT_LIVE || state(slot) == FZC_SLOT_MERGING)) {
		m.reads[slot]++;
		fzc_slot_read_get(&m.s, slot);
	}
}

/* Each block in one slot at most, found by its number; counts agree. */
static bool table_is_sound(void)
{
	u32 used = 0;

	for (u32 slot = 0; slot < NSLOTS; slot++) {
		u8 st = state(slot);

		used += st != FZC_SLOT_FREE;
		if (st == FZC_SLOT_FREE && m.reads[slot])
			return false;
		if (st != FZC_SLOT_FREE && st != FZC_SLOT_ZOMBIE &&
		    fzc_slots_find(&m.s, *fzc_slot_block(&m.s, slot)) != slot)
			return false;
	}
	/* a chunk beyond what is needed at most, and two that are kept */
	return used == m.s.used && fzc_slots_free(&m.s) == NSLOTS - used &&
	       m.s.have <= m.s.chunks + 2 && m.s.chunks <= m.most / FZC_CHUNK_SLOTS + 1;
}

static void run(bool crc, u32 steps)
{
	model_init(crc);
	for (; steps; steps--, m.now++) {
		u32 slot = test_below(NSLOTS);

		if (!m.s.used)
			m.most = 0;
		switch (test_below(12)) {
		case 0 ... 2:
			grow(&m.s);
			allocate();
			m.most = max(m.most, m.s.used);
			break;
		case 3 ... 7:
			slot_step(slot);
			break;
		case 8 ... 9:
			read_step(slot);
			break;
		default:
			commit_step();
			CHECK_OR_RETURN(disk_is_true());
		}
		if (steps % 64)
			continue;
		shrink(&m.s);
		CHECK_OR_RETURN(table_is_sound());
	}
	model_exit();
}

TEST(slots_random_steps)
{
	run(false, 200000);
	run(true, 200000);
}

TEST(slots_until_full)
{
	u32 slot, n = 0;

	model_init(false);
	CHECK(fzc_slots_alloc(&m.s, 0) == FZC_NO_SLOT && fzc_slots_free(&m.s) == NSLOTS);
	fzc_slots_expect(&m.s, NSLOTS);
	grow(&m.s);
	CHECK(fzc_slots_ready(&m.s) == NSLOTS && !fzc_slots_more(&m.s));
	for (u64 block = 0; (slot = fzc_slots_alloc(&m.s, block)) != FZC_NO_SLOT; block++) {
		CHECK(fzc_slots_find(&m.s, block) == slot);
		n++;
	}
	CHECK(n == NSLOTS && !fzc_slots_free(&m.s));
	fzc_slot_cancel(&m.s, 17);
	CHECK(fzc_slots_free(&m.s) == 1 && fzc_slots_alloc(&m.s, 999) == 17);
	fzc_slots_reset(&m.s);
	CHECK(fzc_slots_free(&m.s) == NSLOTS && fzc_slots_find(&m.s, 1) == FZC_NO_SLOT);
	shrink(&m.s);
	CHECK(m.s.have <= 2);
	model_exit();
}

static bool loads(u32 page, u32 entry, u64 block)
{
	struct fzc_index_body body;
	char why[FZC_REASON_LEN];

	memset(&body, 0, sizeof(body));
	body.entry[entry].block = cpu_to_le64(block);
	body.entry[entry].flags = cpu_to_le32(FZC_ENTRY_USED);
	return !load_page(&m.s, page, &body, why);
}

TEST(slots_replay_refuses)
{
	model_init(false);
	CHECK(loads(0, 5, NBLOCKS - 1));
	CHECK(!loads(0, 6, NBLOCKS));		/* beyond the volume */
	CHECK(!loads(0, 7, U64_MAX));
	CHECK(!loads(1, 5, NBLOCKS - 1));	/* in two slots */
	CHECK(!loads(NPAGES - 1, NSLOTS % FZC_INDEX_ENTRIES, 3));	/* no such slot */
	CHECK(loads(NPAGES - 1, NSLOTS % FZC_INDEX_ENTRIES - 1, 3));
	model_exit();
}

/* Memory is asked for once, not while there is none, and again later. */
TEST(slots_without_memory)
{
	model_init(false);
	CHECK(fzc_slots_wants(&m.s) && fzc_slots_more(&m.s));
	fzc_slots_give(&m.s, NULL);
	CHECK(!fzc_slots_wants(&m.s) && !fzc_slots_more(&m.s) && !fzc_slots_ready(&m.s));
	fzc_slots_retry(&m.s);
	CHECK(fzc_slots_wants(&m.s) && fzc_slots_more(&m.s));
	grow(&m.s);
	CHECK(fzc_slots_ready(&m.s) == min(FZC_CHUNK_SLOTS, NSLOTS));
	model_exit();
}

/* What a slot costs in memory is stated: 15.5 bytes at most. */
TEST(slots_memory)
{
	CHECK(2 * sizeof(struct fzc_chunk) <= 31 * FZC_CHUNK_SLOTS);
	CHECK(fzc_slots_bytes(NSLOTS) < NSLOTS * sizeof(void *));
}
