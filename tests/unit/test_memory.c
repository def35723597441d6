// SPDX-License-Identifier: GPL-2.0-only
/* What the cores take of memory, as it is stated in Documentation/freezecopy.rst. */
#include "test.h"
#include "score.h"

/* Bytes of all but the tables of slots, for a volume of @blocks. */
static u64 maps(u64 blocks, u64 (*bytes)(const struct fzc_geometry *))
{
	struct fzc_geometry geo;
	char why[FZC_REASON_LEN];

	if (fzc_geometry_init(&geo, blocks * 8, 4096, why))
		return U64_MAX;
	return bytes(&geo) - 2 * fzc_slots_bytes(0);
}

/* 5 bits a block on a primary, 4 on a secondary; 1 % and what flags of regions take at most. */
TEST(memory_of_maps)
{
	for (u64 blocks = 1000; blocks < FZC_MAX_BLOCKS; blocks *= 7) {
		CHECK(maps(blocks, fzc_p_bytes) <= blocks * 505 / 800 + 160 * 1024);
		CHECK(maps(blocks, fzc_s_bytes) <= blocks * 404 / 800 + 160 * 1024);
	}
}

/* What the table of slots takes as long as none is used: a 64th of a byte a slot. */
TEST(memory_of_unused_slots)
{
	u64 n = 1U << 24;

	CHECK(fzc_slots_bytes(n) - n / FZC_CHUNK_SLOTS * sizeof(void *) <= n / 64);
}
