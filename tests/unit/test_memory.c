// SPDX-License-Identifier: GPL-2.0-only
/* What the cores take of memory, as it is stated in Documentation/freezecopy.rst. */
#include "test.h"
#include "score.h"

#define CHUNK_SLOTS	4096U	/* the module's; in these tests they may be small */

static u64 slots_bytes(u32 n)
{
	u64 here = FZC_DIV_ROUND_UP(n, FZC_CHUNK_SLOTS), there = FZC_DIV_ROUND_UP(n, CHUNK_SLOTS);

	return fzc_slots_bytes(n) - (here - there) * sizeof(void *);
}

/* Fixed bytes for a volume of @blocks and @diffs difference volumes of as many slots. */
static u64 fixed(u64 blocks, u64 (*bytes)(const struct fzc_geometry *), u32 diffs)
{
	struct fzc_geometry geo;
	char why[FZC_REASON_LEN];

	if (fzc_geometry_init(&geo, blocks * 8, 4096, why))
		return U64_MAX;
	return bytes(&geo) + diffs * slots_bytes(min_t(u64, blocks, FZC_MAX_SLOTS));
}

/* 5 bits a block and 1 % of that on a primary, 4 and 3 % on a secondary; and flags of regions. */
TEST(memory_of_maps)
{
	for (u64 blocks = 1000; blocks < FZC_MAX_BLOCKS; blocks *= 7) {
		CHECK(fixed(blocks, fzc_p_bytes, 1) <= blocks * 505 / 800 + 72 * 1024);
		CHECK(fixed(blocks, fzc_s_bytes, 2) <= blocks * 412 / 800 + 72 * 1024);
	}
	/* all of it for 1 TiB */
	CHECK(fixed(1 << 28, fzc_p_bytes, 1) <= (1ULL << 28) * 505 / 800);
}

/* What the table of slots takes as long as none is used: a 200th of a byte a slot. */
TEST(memory_of_unused_slots)
{
	CHECK(slots_bytes(1U << 24) <= (1U << 24) / 200);
}
