// SPDX-License-Identifier: GPL-2.0-only
#include "blockmap.h"

#define WORDS_PER_GROUP	16U
#define GROUP_BITS	(WORDS_PER_GROUP * 64U)

static u64 words(u64 nbits)
{
	return FZC_DIV_ROUND_UP(nbits, GROUP_BITS) * WORDS_PER_GROUP;
}

static u64 groups(u64 nbits)
{
	return FZC_DIV_ROUND_UP(nbits, GROUP_BITS);
}

static u64 group_words(u64 nbits)
{
	return FZC_DIV_ROUND_UP(groups(nbits), 64);
}

static u64 super_words(u64 nbits)
{
	return FZC_DIV_ROUND_UP(group_words(nbits), 64);
}

u64 fzc_map_bytes(u64 nbits)
{
	return 8 * (words(nbits) + group_words(nbits) + super_words(nbits));
}

void fzc_map_init(struct fzc_map *map, void *mem, u64 nbits)
{
	map->nbits = nbits;
	map->count = 0;
	map->bits = mem;
	map->group = map->bits + words(nbits);
	map->super = map->group + group_words(nbits);
}

static void group_is_used(struct fzc_map *map, u64 g)
{
	map->group[g >> 6] |= 1ULL << (g & 63);
	map->super[g >> 12] |= 1ULL << (g >> 6 & 63);
}

static void group_may_be_empty(struct fzc_map *map, u64 g)
{
	const u64 *w = map->bits + g * WORDS_PER_GROUP;
	u32 i;

	for (i = 0; i < WORDS_PER_GROUP; i++)
		if (w[i])
			return;
	map->group[g >> 6] &= ~(1ULL << (g & 63));
	if (!map->group[g >> 6])
		map->super[g >> 12] &= ~(1ULL << (g >> 6 & 63));
}

bool fzc_map_set(struct fzc_map *map, u64 bit)
{
	u64 mask = 1ULL << (bit & 63);
	u64 *w = &map->bits[bit >> 6];

	if (*w & mask)
		return false;
	if (!*w)
		group_is_used(map, bit / GROUP_BITS);
	*w |= mask;
	map->count++;
	return true;
}

bool fzc_map_clear(struct fzc_map *map, u64 bit)
{
	u64 mask = 1ULL << (bit & 63);
	u64 *w = &map->bits[bit >> 6];

	if (!(*w & mask))
		return false;
	*w &= ~mask;
	map->count--;
	if (!*w)
		group_may_be_empty(map, bit / GROUP_BITS);
	return true;
}

void fzc_map_set_range(struct fzc_map *map, u64 first, u64 n)
{
	while (n--)
		fzc_map_set(map, first++);
}

void fzc_map_clear_range(struct fzc_map *map, u64 first, u64 n)
{
	while (n--)
		fzc_map_clear(map, first++);
}

bool fzc_map_any(const struct fzc_map *map, u64 first, u64 n)
{
	return map->count && fzc_map_next(map, first) < first + n;
}

void fzc_map_fill(struct fzc_map *map)
{
	u64 g, full = map->nbits / 64, w;

	for (w = 0; w < full; w++)
		map->bits[w] = U64_MAX;
	if (map->nbits & 63)
		map->bits[full] = (1ULL << (map->nbits & 63)) - 1;
	for (g = 0; g < groups(map->nbits); g++)
		group_is_used(map, g);
	map->count = map->nbits;
}

void fzc_map_zero(struct fzc_map *map)
{
	memset(map->bits, 0, fzc_map_bytes(map->nbits));
	map->count = 0;
}

/* First set bit >= @from in an array of @nwords words, or nwords * 64. */
static u64 next_bit(const u64 *array, u64 nwords, u64 from)
{
	u64 w = from >> 6, v;

	if (w >= nwords)
		return nwords * 64;
	v = array[w] & U64_MAX << (from & 63);
	while (!v) {
		if (++w == nwords)
			return nwords * 64;
		v = array[w];
	}
	return w * 64 + __ffs64(v);
}

/* First used group >= @from, or a number beyond the last. */
static u64 next_group(const struct fzc_map *map, u64 from)
{
	u64 nw = group_words(map->nbits), w = from >> 6, v;

	if (w >= nw)
		return groups(map->nbits);
	v = map->group[w] & U64_MAX << (from & 63);
	if (!v) {
		w = next_bit(map->super, super_words(map->nbits), w + 1);
		if (w >= nw)
			return groups(map->nbits);
		v = map->group[w];
	}
	return w * 64 + __ffs64(v);
}

u64 fzc_map_next(const struct fzc_map *map, u64 from)
{
	u64 g, bit;

	if (from >= map->nbits || !map->count)
		return map->nbits;
	g = from / GROUP_BITS;
	bit = next_bit(map->bits, (g + 1) * WORDS_PER_GROUP, from);
	if (bit < (g + 1) * GROUP_BITS)
		return min_t(u64, bit, map->nbits);
	g = next_group(map, g + 1);
	if (g >= groups(map->nbits))
		return map->nbits;
	return next_bit(map->bits, (g + 1) * WORDS_PER_GROUP, g * GROUP_BITS);
}

static void add_group(struct fzc_map *to, const struct fzc_map *from, u64 g)
{
	const u64 *f = from->bits + g * WORDS_PER_GROUP;
	u64 *t = to->bits + g * WORDS_PER_GROUP;
	u32 i;

	for (i = 0; i < WORDS_PER_GROUP; i++) {
		to->count += hweight64(f[i] & ~t[i]);
		t[i] |= f[i];
	}
	group_is_used(to, g);
}

void fzc_map_add(struct fzc_map *to, const struct fzc_map *from)
{
	u64 g, n = groups(from->nbits);

	for (g = next_group(from, 0); g < n; g = next_group(from, g + 1))
		add_group(to, from, g);
}

static void empty_group(struct fzc_map *map, u64 g)
{
	u64 *w = map->bits + g * WORDS_PER_GROUP;
	u32 i;

	for (i = 0; i < WORDS_PER_GROUP; i++) {
		map->count -= hweight64(w[i]);
		w[i] = 0;
	}
	group_may_be_empty(map, g);
}

bool fzc_map_move(struct fzc_map *from, struct fzc_map *to, u32 budget)
{
	u64 g = 0;

	while (from->count && budget--) {
		g = next_group(from, g);
		if (to)
			add_group(to, from, g);
		empty_group(from, g);
	}
	return !from->count;
}

void fzc_map_export(const struct fzc_map *map, u64 first_byte, u8 *buf, u32 n)
{
	u64 end = FZC_DIV_ROUND_UP(map->nbits, 8), i = 0;

	/* whole words as far as they go */
	for (; !(first_byte & 7) && i + 8 <= n && first_byte + i + 8 <= end; i += 8) {
		__le64 word = cpu_to_le64(map->bits[(first_byte + i) >> 3]);

		memcpy(buf + i, &word, 8);
	}
	for (; i < n && first_byte + i < end; i++) {
		u64 b = first_byte + i;

		buf[i] = map->bits[b >> 3] >> (8 * (b & 7));
	}
	memset(buf + i, 0, n - i);
}

void fzc_map_import(struct fzc_map *map, u64 first_byte, const u8 *buf, u32 n)
{
	u64 i;
	u32 k;

	for (i = 0; i < n; i++)
		for (k = 0; k < 8; k++) {
			u64 bit = (first_byte + i) * 8 + k;

			if (buf[i] >> k & 1 && bit < map->nbits)
				fzc_map_set(map, bit);
		}
}
