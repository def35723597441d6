// SPDX-License-Identifier: GPL-2.0-only
/* Against a byte a bit. */
#include "test.h"
#include "blockmap.h"

static struct fzc_map new_map(u64 nbits)
{
	struct fzc_map map;

	fzc_map_init(&map, test_alloc(fzc_map_bytes(nbits)), nbits);
	return map;
}

static u64 naive_next(const u8 *set, u64 nbits, u64 from)
{
	while (from < nbits && !set[from])
		from++;
	return min_t(u64, from, nbits);
}

static bool same(const struct fzc_map *map, const u8 *set)
{
	u64 count = 0, bit, want = 0;

	for (bit = 0; bit < map->nbits; bit++) {
		if (fzc_map_test(map, bit) != set[bit])
			return false;
		count += set[bit];
	}
	for (bit = fzc_map_next(map, 0); bit < map->nbits; bit = fzc_map_next(map, bit + 1)) {
		want = naive_next(set, map->nbits, want);
		if (bit != want++)
			return false;
	}
	return count == map->count && naive_next(set, map->nbits, want) == map->nbits;
}

static void change_range(struct fzc_map *map, u8 *set, u64 nbits)
{
	u64 first = test_below(nbits), n = test_below(min_t(u64, nbits - first, 2000) + 1);
	bool value = test_below(2);

	memset(set + first, value, n);
	if (value)
		fzc_map_set_range(map, first, n);
	else
		fzc_map_clear_range(map, first, n);
}

/* One random operation on both; false: the answers differ. */
static bool step(struct fzc_map *map, u8 *set, u64 nbits)
{
	u64 bit = test_below(nbits), n = 1 + test_below(min_t(u64, nbits - bit, 3000));
	bool was = set[bit];

	switch (test_below(20)) {
	case 0 ... 6:
		set[bit] = 1;
		return fzc_map_set(map, bit) == !was;
	case 7 ... 12:
		set[bit] = 0;
		return fzc_map_clear(map, bit) == was;
	case 13:
		change_range(map, set, nbits);
		return true;
	case 14 ... 16:
		return fzc_map_next(map, bit) == naive_next(set, nbits, bit);
	case 17 ... 18:
		return fzc_map_any(map, bit, n) == (naive_next(set, nbits, bit) < bit + n);
	}
	if (test_below(200))
		return fzc_map_test(map, bit) == was;
	memset(set, bit & 1, nbits);
	if (bit & 1)
		fzc_map_fill(map);
	else
		fzc_map_zero(map);
	return same(map, set);
}

static void run_steps(u64 nbits, u32 steps)
{
	struct fzc_map map = new_map(nbits);
	u8 *set = test_alloc(nbits);
	bool ok = true;

	while (steps-- && ok)
		ok = step(&map, set, nbits);
	CHECK(ok);
	CHECK(same(&map, set));
	CHECK(fzc_map_next(&map, nbits) == nbits);
}

TEST(blockmap_random_steps)
{
	static const u64 sizes[] = {
		1, 2, 63, 64, 65, 1023, 1024, 1025, 4096, 32767, 32768, 32769, 65536, 100000,
	};

	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
		run_steps(sizes[i], 20000);
}

/* Several words of the top level, members far apart: the summaries must agree. */
TEST(blockmap_sparse)
{
	const u64 nbits = 9000001;
	struct fzc_map map = new_map(nbits);
	u8 *set = test_alloc(nbits);
	u64 bits[40];

	for (u32 round = 0; round < 50; round++) {
		for (u32 i = 0; i < ARRAY_SIZE(bits); i++) {
			bits[i] = test_below(nbits);
			set[bits[i]] = 1;
			fzc_map_set(&map, bits[i]);
		}
		if (round % 10 == 0)
			CHECK(same(&map, set));
		for (u32 i = test_below(10); i < ARRAY_SIZE(bits); i++) {
			set[bits[i]] = 0;
			fzc_map_clear(&map, bits[i]);
		}
	}
	CHECK(same(&map, set));
	for (u64 bit = fzc_map_next(&map, 0); bit < nbits; bit = fzc_map_next(&map, bit))
		fzc_map_clear(&map, bit);
	CHECK(!map.count && fzc_map_next(&map, 0) == nbits);
}

static void move_once(u64 nbits, bool drop)
{
	struct fzc_map from = new_map(nbits), to = new_map(nbits);
	u8 *set = test_alloc(nbits), *none = test_alloc(nbits);
	u32 calls = 0;

	for (u64 k = test_below(200); k; k--) {
		u64 a = test_below(nbits), b = test_below(nbits);

		fzc_map_set(&from, a);
		fzc_map_set(&to, b);
		set[b] = 1;
		set[a] |= !drop;
	}
	while (!fzc_map_move(&from, drop ? NULL : &to, 1 + test_below(3)))
		CHECK_OR_RETURN(++calls <= nbits / 1024 + 1);
	CHECK(same(&from, none));
	CHECK(same(&to, set));
}

TEST(blockmap_move)
{
	static const u64 sizes[] = { 1, 1023, 1024, 1025, 5000, 100000 };

	for (u32 i = 0; i < 40 * ARRAY_SIZE(sizes); i++)
		move_once(sizes[i % ARRAY_SIZE(sizes)], i & 1);
}

TEST(blockmap_add)
{
	static const u64 sizes[] = { 1, 1023, 1024, 1025, 5000, 300000 };

	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct fzc_map to = new_map(sizes[i]), from = new_map(sizes[i]);
		u8 *sum = test_alloc(sizes[i]), *set = test_alloc(sizes[i]);

		change_range(&to, sum, sizes[i]);
		change_range(&from, set, sizes[i]);
		for (u64 k = 0; k < sizes[i]; k++)
			sum[k] |= set[k];
		fzc_map_add(&to, &from);
		CHECK(same(&to, sum) && same(&from, set));
	}
}

static void export_once(u64 nbits)
{
	struct fzc_map a = new_map(nbits), b = new_map(nbits);
	u8 *set = test_alloc(nbits), buf[100];

	for (u64 k = test_below(nbits + 1); k; k--) {
		u64 bit = test_below(nbits);

		fzc_map_set(&a, bit);
		set[bit] = 1;
	}
	for (u64 at = 0; at < (nbits + 7) / 8; at += sizeof(buf)) {
		fzc_map_export(&a, at, buf, sizeof(buf));
		for (u32 i = 0; i < 8 * sizeof(buf); i++)
			CHECK_OR_RETURN((buf[i / 8] >> i % 8 & 1) ==
					(at * 8 + i < nbits && set[at * 8 + i]));
		fzc_map_import(&b, at, buf, sizeof(buf));
	}
	CHECK(same(&b, set));
	/* what is beyond the last bit does not count, and import only adds */
	memset(buf, 0xff, sizeof(buf));
	fzc_map_import(&b, (nbits + 7) / 8 - 1, buf, 1);
	for (u64 bit = ((nbits + 7) / 8 - 1) * 8; bit < nbits; bit++)
		set[bit] = 1;
	CHECK(same(&b, set));
}

TEST(blockmap_export)
{
	static const u64 sizes[] = { 1, 7, 8, 9, 500, 512, 800, 5001 };

	for (u32 i = 0; i < 5 * ARRAY_SIZE(sizes); i++)
		export_once(sizes[i % ARRAY_SIZE(sizes)]);
}

/* Nothing follows a bit in the last word of the highest level but one. */
TEST(blockmap_end_of_a_level)
{
	const u64 nbits = 64 * 64 * 1024;
	struct fzc_map map;

	fzc_map_init(&map, test_alloc(fzc_map_bytes(nbits)), nbits);
	fzc_map_set(&map, nbits - 1024 * 64 - 1);
	fzc_map_set(&map, nbits - 1);
	fzc_map_clear(&map, nbits - 1);
	CHECK(fzc_map_next(&map, nbits - 1024 * 32) == nbits);
	CHECK(fzc_map_next(&map, 0) == nbits - 1024 * 64 - 1);
}
