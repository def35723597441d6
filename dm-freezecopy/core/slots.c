// SPDX-License-Identifier: GPL-2.0-only
#include "slots.h"

static u32 buckets(u32 nslots)
{
	u32 n = 8;

	while (n < nslots && n < 1U << 31)
		n <<= 1;
	return n;
}

static u32 pages(u32 nslots)
{
	return FZC_DIV_ROUND_UP(nslots, FZC_INDEX_ENTRIES);
}

u64 fzc_slots_bytes(u32 nslots, bool with_crc)
{
	return 2 * fzc_align8(4ULL * nslots) + fzc_align8(4ULL * buckets(nslots)) +
	       fzc_align8(2ULL * nslots) + 2 * fzc_align8(nslots) + fzc_align8(pages(nslots)) +
	       (with_crc ? fzc_align8(4ULL * nslots) : 0) + 2 * fzc_map_bytes(pages(nslots)) +
	       2 * fzc_map_bytes(nslots);
}

void fzc_slots_init(struct fzc_slots *s, void *mem, u32 nslots, bool with_crc)
{
	u8 *p = mem;

	memset(s, 0, sizeof(*s));
	s->nslots = nslots;
	s->mask = buckets(nslots) - 1;
	s->block = (u32 *)p;
	p += fzc_align8(4ULL * nslots);
	s->chain = (u32 *)p;
	p += fzc_align8(4ULL * nslots);
	s->bucket = (u32 *)p;
	p += fzc_align8(4ULL * buckets(nslots));
	s->reads = (u16 *)p;
	p += fzc_align8(2ULL * nslots);
	s->writes = p;
	p += fzc_align8(nslots);
	s->flags = p;
	p += fzc_align8(nslots);
	s->copy = p;
	p += fzc_align8(pages(nslots));
	if (with_crc) {
		s->crc = (u32 *)p;
		p += fzc_align8(4ULL * nslots);
	}
	fzc_map_init(&s->dirty, p, pages(nslots));
	p += fzc_map_bytes(pages(nslots));
	fzc_map_init(&s->todo, p, pages(nslots));
	p += fzc_map_bytes(pages(nslots));
	fzc_map_init(&s->free, p, nslots);
	p += fzc_map_bytes(nslots);
	fzc_map_init(&s->taken, p, nslots);
	fzc_slots_reset(s);
}

void fzc_slots_reset(struct fzc_slots *s)
{
	memset(s->bucket, 0xff, 4ULL * (s->mask + 1));
	memset(s->reads, 0, 2ULL * s->nslots);
	memset(s->writes, 0, s->nslots);
	memset(s->flags, 0, s->nslots);
	fzc_map_zero(&s->dirty);
	fzc_map_zero(&s->todo);
	fzc_map_fill(&s->free);
	fzc_map_zero(&s->taken);
	s->used = 0;
	s->hint = 0;
	s->epoch = 0;
}

static u32 *bucket_of(const struct fzc_slots *s, u64 block)
{
	return &s->bucket[(u32)(block * 0x9e3779b97f4a7c15ULL >> 32) & s->mask];
}

u32 fzc_slots_find(const struct fzc_slots *s, u64 block)
{
	u32 slot;

	if (!s->used)
		return FZC_NO_SLOT;
	for (slot = *bucket_of(s, block); slot != FZC_NO_SLOT; slot = s->chain[slot])
		if (s->block[slot] == block)
			break;
	return slot;
}

static void hash(struct fzc_slots *s, u32 slot)
{
	u32 *head = bucket_of(s, s->block[slot]);

	s->chain[slot] = *head;
	*head = slot;
}

static void take(struct fzc_slots *s, u32 slot)
{
	fzc_map_clear(&s->free, slot);
	fzc_map_set(&s->taken, slot);
	s->used++;
	hash(s, slot);
}

static void unhash(struct fzc_slots *s, u32 slot)
{
	u32 *link = bucket_of(s, s->block[slot]);

	while (*link != slot)
		link = &s->chain[*link];
	*link = s->chain[slot];
}

void fzc_slot_set_state(struct fzc_slots *s, u32 slot, enum fzc_slot_state state)
{
	s->flags[slot] = (s->flags[slot] & ~FZC_SLOT_STATE) | state;
}

/* What the index says of this slot has to change, with the next commit. */
static void touch(struct fzc_slots *s, u32 slot)
{
	s->flags[slot] = (s->flags[slot] & ~FZC_SLOT_EPOCH) | s->epoch | FZC_SLOT_PEND;
	fzc_map_set(&s->dirty, slot / FZC_INDEX_ENTRIES);
}

/* Was @slot changed before the running commit began, and not encoded since? */
static bool due(struct fzc_slots *s, u32 slot)
{
	return s->flags[slot] & FZC_SLOT_PEND &&
	       (s->flags[slot] & FZC_SLOT_EPOCH) != s->epoch;
}

u32 fzc_slots_alloc(struct fzc_slots *s, u64 block)
{
	u32 slot;

	if (s->used == s->nslots)
		return FZC_NO_SLOT;
	slot = fzc_map_next(&s->free, s->hint);
	if (slot == s->nslots)
		slot = fzc_map_next(&s->free, 0);
	s->hint = slot + 1;
	s->block[slot] = block;
	s->flags[slot] = FZC_SLOT_FILLING;
	take(s, slot);
	return slot;
}

static void make_free(struct fzc_slots *s, u32 slot)
{
	s->flags[slot] = FZC_SLOT_FREE;
	fzc_map_set(&s->free, slot);
	fzc_map_clear(&s->taken, slot);
	s->used--;
}

void fzc_slot_filled(struct fzc_slots *s, u32 slot)
{
	fzc_slot_set_state(s, slot, FZC_SLOT_LIVE);
	/*
	 * A change that the running commit is about to make durable stays in
	 * it: a host flush may be waiting for just that.
	 */
	if (s->flags[slot] & FZC_SLOT_PEND)
		return;
	if (!(s->flags[slot] & FZC_SLOT_NAMED) || s->crc)
		touch(s, slot);
}

void fzc_slot_cancel(struct fzc_slots *s, u32 slot)
{
	unhash(s, slot);
	make_free(s, slot);
}

void fzc_slot_retire(struct fzc_slots *s, u32 slot)
{
	/*
	 * The running commit's flush came before the copy to DATA: if it was to
	 * name the slot, it still has to.
	 */
	if (due(s, slot))
		s->flags[slot] |= FZC_SLOT_NAMED;
	fzc_slot_set_state(s, slot, FZC_SLOT_RETIRING);
	touch(s, slot);
}

void fzc_slot_unretire(struct fzc_slots *s, u32 slot)
{
	/* whether the disk still names it is not known: name it again */
	fzc_slot_set_state(s, slot, FZC_SLOT_LIVE);
	s->flags[slot] &= ~FZC_SLOT_NAMED;
	touch(s, slot);
}

void fzc_slot_release(struct fzc_slots *s, u32 slot)
{
	unhash(s, slot);
	if (s->reads[slot])
		fzc_slot_set_state(s, slot, FZC_SLOT_ZOMBIE);
	else
		make_free(s, slot);
}

void fzc_slot_read_get(struct fzc_slots *s, u32 slot)
{
	s->reads[slot]++;
}

void fzc_slot_read_put(struct fzc_slots *s, u32 slot)
{
	if (!--s->reads[slot] && fzc_slot_state(s, slot) == FZC_SLOT_ZOMBIE)
		make_free(s, slot);
}

void fzc_slots_sync_begin(struct fzc_slots *s)
{
	s->epoch ^= FZC_SLOT_EPOCH;
}

void fzc_slots_sync_flushed(struct fzc_slots *s)
{
	fzc_map_move(&s->dirty, &s->todo, U32_MAX);
}

void fzc_slots_sync_failed(struct fzc_slots *s)
{
	u32 slot, end;
	u64 p;

	fzc_map_move(&s->todo, &s->dirty, U32_MAX);
	for (p = fzc_map_next(&s->dirty, 0); p < s->dirty.nbits;
	     p = fzc_map_next(&s->dirty, p + 1)) {
		slot = p * FZC_INDEX_ENTRIES;
		end = min_t(u32, slot + FZC_INDEX_ENTRIES, s->nslots);
		for (; slot < end; slot++)
			if (s->flags[slot] & FZC_SLOT_PEND)
				s->flags[slot] = (s->flags[slot] & ~FZC_SLOT_EPOCH) | s->epoch;
	}
}

bool fzc_slots_sync_page(struct fzc_slots *s, u32 *page)
{
	u64 p = fzc_map_next(&s->todo, 0);

	if (p == s->todo.nbits)
		return false;
	fzc_map_clear(&s->todo, p);
	*page = p;
	return true;
}

/* Does the index say that @slot holds its block, once the running commit is done? */
static bool named(struct fzc_slots *s, u32 slot)
{
	bool news = due(s, slot);

	switch (fzc_slot_state(s, slot)) {
	case FZC_SLOT_LIVE:
	case FZC_SLOT_MERGING:
		return news || s->flags[slot] & FZC_SLOT_NAMED;
	case FZC_SLOT_RETIRING:
		return !news && s->flags[slot] & FZC_SLOT_NAMED;
	case FZC_SLOT_FILLING:	/* a secondary rewrites a staged block */
		return s->flags[slot] & FZC_SLOT_NAMED;
	default:
		return false;
	}
}

void fzc_slots_encode(struct fzc_slots *s, u32 page, struct fzc_index_body *body)
{
	u32 first = page * FZC_INDEX_ENTRIES, i;

	memset(body, 0, sizeof(*body));
	for (i = 0; i < FZC_INDEX_ENTRIES && first + i < s->nslots; i++) {
		struct fzc_index_entry *e = &body->entry[i];
		u32 slot = first + i;

		bool is_named = named(s, slot);

		if (due(s, slot))
			s->flags[slot] &= ~FZC_SLOT_PEND;
		else if (s->flags[slot] & FZC_SLOT_PEND)
			fzc_map_set(&s->dirty, page);	/* for the next commit */
		s->flags[slot] &= ~FZC_SLOT_NAMED;
		if (!is_named)
			continue;
		s->flags[slot] |= FZC_SLOT_NAMED;
		e->block = cpu_to_le64(s->block[slot]);
		e->flags = cpu_to_le32(FZC_ENTRY_USED |
				       (s->flags[slot] & FZC_SLOT_ZERO ? FZC_ENTRY_ZERO : 0));
		if (s->crc)
			e->crc = cpu_to_le32(s->crc[slot]);
	}
}

void fzc_slots_page_written(struct fzc_slots *s, u32 page, bool ok)
{
	if (ok)
		s->copy[page] ^= 1;
	else
		fzc_map_set(&s->dirty, page);
}

bool fzc_slots_load(struct fzc_slots *s, u32 page, u8 copy, const struct fzc_index_body *body,
		    u64 blocks, char *why, u32 why_len)
{
	u32 first = page * FZC_INDEX_ENTRIES, i;

	s->copy[page] = copy;
	for (i = 0; i < FZC_INDEX_ENTRIES; i++) {
		const struct fzc_index_entry *e = &body->entry[i];
		u32 slot = first + i, flags = le32_to_cpu(e->flags);
		u64 block = le64_to_cpu(e->block);

		if (!(flags & FZC_ENTRY_USED))
			continue;
		if (slot >= s->nslots || block >= blocks ||
		    fzc_slots_find(s, block) != FZC_NO_SLOT) {
			scnprintf(why, why_len,
				  "index page %u: slot %u says block %llu, expected a slot below %u and a block below %llu that no other slot holds",
				  page, slot, (unsigned long long)block, s->nslots,
				  (unsigned long long)blocks);
			return false;
		}
		s->block[slot] = block;
		s->flags[slot] = FZC_SLOT_LIVE | FZC_SLOT_NAMED |
				 (flags & FZC_ENTRY_ZERO ? FZC_SLOT_ZERO : 0);
		if (s->crc)
			s->crc[slot] = le32_to_cpu(e->crc);
		take(s, slot);
	}
	return true;
}
