/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set of blocks: one bit a block, with two summary levels above it so that
 * the next member of a sparse set is found fast (0.1 % more memory).
 */
#ifndef FZC_BLOCKMAP_H
#define FZC_BLOCKMAP_H

#include "port.h"

struct fzc_map {
	u64 nbits;
	u64 count;	/* members */
	u64 *bits;
	u64 *group;	/* a bit for 1024 blocks: some word of the group is not zero */
	u64 *super;	/* a bit for 64 groups */
};

/* What is laid out one after the other in one piece of memory begins on a u64. */
static inline u64 fzc_align8(u64 n)
{
	return (n + 7) & ~7ULL;
}

/* Bytes of memory that fzc_map_init() needs for @nbits. */
u64 fzc_map_bytes(u64 nbits);
/* @mem: zeroed memory of fzc_map_bytes(@nbits) bytes, aligned for u64. */
void fzc_map_init(struct fzc_map *map, void *mem, u64 nbits);

static inline bool fzc_map_test(const struct fzc_map *map, u64 bit)
{
	return map->bits[bit >> 6] >> (bit & 63) & 1;
}

/* Both return whether the set changed. */
bool fzc_map_set(struct fzc_map *map, u64 bit);
bool fzc_map_clear(struct fzc_map *map, u64 bit);

void fzc_map_set_range(struct fzc_map *map, u64 first, u64 n);
void fzc_map_clear_range(struct fzc_map *map, u64 first, u64 n);
bool fzc_map_any(const struct fzc_map *map, u64 first, u64 n);
void fzc_map_fill(struct fzc_map *map);
void fzc_map_zero(struct fzc_map *map);

/* First member >= @from, or @nbits. */
u64 fzc_map_next(const struct fzc_map *map, u64 from);

/*
 * Move members of @from into @to (or drop them when @to is NULL), at most
 * @budget groups of 1024 blocks.  Returns true when @from is empty.  Keeps the
 * time that a lock is held bounded.
 */
bool fzc_map_move(struct fzc_map *from, struct fzc_map *to, u32 budget);

/* All members of @from into @to. */
void fzc_map_add(struct fzc_map *to, const struct fzc_map *from);

/* Raw bytes for pages on disk: bit b of the set is bit b % 8 of byte b / 8. */
void fzc_map_export(const struct fzc_map *map, u64 first_byte, u8 *buf, u32 n);
/* Adds members. */
void fzc_map_import(struct fzc_map *map, u64 first_byte, const u8 *buf, u32 n);

#endif /* FZC_BLOCKMAP_H */
