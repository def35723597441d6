/* SPDX-License-Identifier: GPL-2.0-only */
/* Sizes that follow from a volume's size and block size; the core computes them. */
#ifndef FREEZECTL_LAYOUT_H
#define FREEZECTL_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#define LAYOUT_DEFAULT_BLOCK	4096

struct layout {
	uint32_t block_size;
	uint64_t blocks;	/* of the volume */
	uint64_t map_pages;	/* pages of 4 KiB in one bitmap */
	uint64_t meta_bytes;	/* what meta must have at least */
	bool tagged;		/* for the caller to set: a secondary whose stages are encrypted */
};

/* False: the sizes are impossible, and @why (256 bytes) says why. */
bool layout_init(struct layout *l, uint64_t volume_bytes, uint32_t block_size, char *why);

/* Blocks that a difference volume of @bytes holds. */
uint32_t layout_slots(const struct layout *l, uint64_t bytes);

/* Bytes that a difference volume of @slots slots needs at least. */
uint64_t layout_diff_bytes(const struct layout *l, uint64_t slots);

/* Bytes at the head of such a volume that hold its index, and tags if it has them. */
uint64_t layout_index_bytes(const struct layout *l, uint64_t bytes);

#endif
