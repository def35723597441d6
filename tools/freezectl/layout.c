// SPDX-License-Identifier: GPL-2.0-only
#include "../../dm-freezecopy/core/ondisk.h"
#include "layout.h"

bool layout_init(struct layout *l, uint64_t volume_bytes, uint32_t block_size, char *why)
{
	struct fzc_geometry geo;

	if (fzc_geometry_init(&geo, volume_bytes / FZC_SECTOR, block_size, why))
		return false;
	l->block_size = block_size;
	l->blocks = geo.blocks;
	l->map_pages = geo.map_pages;
	l->meta_bytes = fzc_meta_bytes(&geo);
	return true;
}

uint32_t layout_slots(const struct layout *l, uint64_t bytes)
{
	return fzc_slots_fit(bytes, l->block_size, l->tagged);
}

uint64_t layout_diff_bytes(const struct layout *l, uint64_t slots)
{
	return fzc_slots_start(slots, l->block_size, l->tagged) + slots * l->block_size;
}

uint64_t layout_index_bytes(const struct layout *l, uint64_t bytes)
{
	return fzc_slots_start(fzc_slots_fit(bytes, l->block_size, false), l->block_size, true);
}
