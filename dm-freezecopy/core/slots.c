// SPDX-License-Identifier: GPL-2.0-only
#include "slots.h"

static u32 pages(u32 nslots)
{
	return FZC_DIV_ROUND_UP(nslots, FZC_INDEX_ENTRIES);
}

static u32 chunks(u32 nslots)
{
	return FZC_DIV_ROUND_UP(nslots, FZC_CHUNK_SLOTS);
}

u64 fzc_slots_bytes(u32 nslots)
{
	return sizeof(struct fzc_chunk *) * (u64)chunks(nslots) + 3 * fzc_map_bytes(pages(nslots));
}

void fzc_slots_init(struct fzc_slots *s, void *mem, u32 nslots, bool with_crc)
{
	u8 *p = mem;

	memset(s, 0, sizeof(*s));
	s->nslots = nslots;
	s->with_crc = with_crc;
	s->chunk = (struct fzc_chunk **)p;
	p += sizeof(struct fzc_chunk *) * (u64)chunks(nslots);
	fzc_map_init(&s->dirty, p, pages(nslots));
	p += fzc_map_bytes(pages(nslots));
	fzc_map_init(&s->todo, p, pages(nslots));
	p += fzc_map_bytes(pages(nslots));
	fzc_map_init(&s->second, p, pages(nslots));
}

/* Nothing is remembered of slots that are free: an empty table needs no chunk. */
static void forget_slots(struct fzc_slots *s)
{
	s->used = 0;
	s->hint = 0;
	s->chunks = 0;
	s->least = 0;
}

void fzc_slots_reset(struct fzc_slots *s)
{
	forget_slots(s);
	fzc_map_zero(&s->dirty);
	fzc_map_zero(&s->todo);
	s->next = 0;
	s->epoch = 0;
}

/* ---- memory ---- */

bool fzc_slots_wants(const struct fzc_slots *s)
{
	return !s->asked && fzc_slots_more(s) &&
	       (s->have < s->least || fzc_slots_ready(s) < FZC_CHUNK_SLOTS);
}

void fzc_slots_give(struct fzc_slots *s, struct fzc_chunk *chunk)
{
	s->asked = false;
	s->denied = !chunk;
	if (chunk)
		s->chunk[s->have++] = chunk;
}

void fzc_slots_retry(struct fzc_slots *s)
{
	s->denied = false;
}

void fzc_slots_expect(struct fzc_slots *s, u32 n)
{
	s->least = max(s->least, chunks(s->used + n));
}

struct fzc_chunk *fzc_slots_drop(struct fzc_slots *s)
{
	return s->have ? s->chunk[--s->have] : NULL;
}

/* Two that are not in use are kept, so that none comes and goes with every slot. */
struct fzc_chunk *fzc_slots_spare(struct fzc_slots *s)
{
	return s->have > s->chunks + 2 ? fzc_slots_drop(s) : NULL;
}

bool fzc_slots_next_act(struct fzc_slots *s, struct fzc_act *act, u8 job)
{
	act->chunk = fzc_slots_spare(s);
	if (act->chunk) {
		act->kind = FZC_ACT_SHRINK;
		return true;
	}
	if (!fzc_slots_wants(s))
		return false;
	s->asked = true;
	act->kind = FZC_ACT_GROW;
	act->job = job;
	return true;
}

/* ---- which slot holds a block ---- */

/*
 * Linear hashing: with every chunk buckets are added one by one, and each takes
 * from the one that it splits off what belongs to it.
 */
static u32 hash_of(u32 block)
{
	return block * 0x9e3779b97f4a7c15ULL >> 32;
}

static u32 *chain(const struct fzc_slots *s, u32 slot)
{
	return &s->chunk[slot / FZC_CHUNK_SLOTS]->chain[slot % FZC_CHUNK_SLOTS];
}

static u32 *bucket(const struct fzc_slots *s, u32 n)
{
	return &s->chunk[n / FZC_CHUNK_BUCKETS]->bucket[n % FZC_CHUNK_BUCKETS];
}

/* The lowest power of two that is more than @n. */
static u32 power_above(u32 n)
{
	return 1U << fls(n);
}

static u32 *bucket_of(const struct fzc_slots *s, u32 block)
{
	u32 last = s->chunks * FZC_CHUNK_BUCKETS - 1, size = power_above(last);
	u32 n = hash_of(block) & (size - 1);

	return bucket(s, n > last ? n & (size / 2 - 1) : n);
}

static void split(struct fzc_slots *s, u32 n)
{
	u32 size = power_above(n), *to = bucket(s, n), *from, slot;

	*to = FZC_NO_SLOT;
	if (!n)
		return;
	from = bucket(s, n & (size / 2 - 1));
	while ((slot = *from) != FZC_NO_SLOT) {
		if ((hash_of(*fzc_slot_block(s, slot)) & (size - 1)) != n) {
			from = chain(s, slot);
			continue;
		}
		*from = *chain(s, slot);
		*chain(s, slot) = *to;
		*to = slot;
	}
}

/* Put the next chunk to use. */
static void add_chunk(struct fzc_slots *s)
{
	struct fzc_chunk *chunk = s->chunk[s->chunks];
	u32 n = s->chunks * FZC_CHUNK_BUCKETS, end = n + FZC_CHUNK_BUCKETS;

	chunk->used = 0;
	memset(chunk->crc, 0, sizeof(chunk->crc));
	memset(chunk->flags, 0, sizeof(chunk->flags));
	memset(chunk->taken, 0, sizeof(chunk->taken));
	for (; n < end; n++)
		split(s, n);
	s->chunks++;
}

u32 fzc_slots_find(const struct fzc_slots *s, u64 block)
{
	u32 slot;

	if (!s->used)
		return FZC_NO_SLOT;
	for (slot = *bucket_of(s, block); slot != FZC_NO_SLOT; slot = *chain(s, slot))
		if (*fzc_slot_block(s, slot) == block)
			break;
	return slot;
}

/* First slot >= @from that is taken, or is free; nslots: none in the chunks in use. */
static u32 next_slot(const struct fzc_slots *s, u32 from, bool taken)
{
	u32 n, i, end;

	for (n = from / FZC_CHUNK_SLOTS; n < s->chunks; n++, from = n * FZC_CHUNK_SLOTS) {
		const struct fzc_chunk *chunk = s->chunk[n];

		end = min_t(u32, FZC_CHUNK_SLOTS, s->nslots - n * FZC_CHUNK_SLOTS);
		if (chunk->used == (taken ? 0 : end))
			continue;
		for (i = from % FZC_CHUNK_SLOTS; i < end; i = (i | 63) + 1) {
			u64 word = (taken ? chunk->taken[i / 64] : ~chunk->taken[i / 64]) >>
				   i % 64;

			if (word && i + __ffs64(word) < end)
				return n * FZC_CHUNK_SLOTS + i + __ffs64(word);
		}
	}
	return s->nslots;
}

u32 fzc_slots_next(const struct fzc_slots *s, u32 from)
{
	return next_slot(s, from, true);
}

static void take(struct fzc_slots *s, u32 slot, u32 block, u8 flags)
{
	struct fzc_chunk *chunk = s->chunk[slot / FZC_CHUNK_SLOTS];
	u32 i = slot % FZC_CHUNK_SLOTS, *head = bucket_of(s, block);

	chunk->block[i] = block;
	chunk->flags[i] = flags;
	chunk->chain[i] = *head;
	chunk->taken[i / 64] |= 1ULL << i % 64;
	chunk->used++;
	*head = slot;
	s->used++;
}

static void unhash(struct fzc_slots *s, u32 slot)
{
	u32 *link = bucket_of(s, *fzc_slot_block(s, slot));

	while (*link != slot)
		link = chain(s, *link);
	*link = *chain(s, slot);
}

static void make_free(struct fzc_slots *s, u32 slot)
{
	struct fzc_chunk *chunk = s->chunk[slot / FZC_CHUNK_SLOTS];
	u32 i = slot % FZC_CHUNK_SLOTS;

	chunk->flags[i] = FZC_SLOT_FREE;
	chunk->taken[i / 64] &= ~(1ULL << i % 64);
	chunk->used--;
	s->hint = min(s->hint, slot);
	if (!--s->used)
		forget_slots(s);
}

u32 fzc_slots_alloc(struct fzc_slots *s, u64 block)
{
	u32 slot = next_slot(s, s->hint, false);

	if (slot == s->nslots) {
		slot = s->chunks * FZC_CHUNK_SLOTS;
		if (s->chunks == s->have || slot >= s->nslots)
			return FZC_NO_SLOT;
		add_chunk(s);
	}
	s->hint = slot + 1;
	take(s, slot, block, FZC_SLOT_FILLING);
	return slot;
}

/* ---- what the index on disk may say ---- */

void fzc_slot_set_state(struct fzc_slots *s, u32 slot, enum fzc_slot_state state)
{
	u8 *flags = fzc_slot_flags(s, slot);

	*flags = (*flags & ~FZC_SLOT_STATE) | state;
}

/* What the index says of this slot has to change, with the next commit. */
static void touch(struct fzc_slots *s, u32 slot)
{
	u8 *flags = fzc_slot_flags(s, slot);

	*flags = (*flags & ~FZC_SLOT_EPOCH) | s->epoch | FZC_SLOT_PEND;
	fzc_map_set(&s->dirty, slot / FZC_INDEX_ENTRIES);
}

/* Was @slot changed before the running commit began, and not encoded since? */
static bool due(struct fzc_slots *s, u32 slot)
{
	u8 flags = *fzc_slot_flags(s, slot);

	return flags & FZC_SLOT_PEND && (flags & FZC_SLOT_EPOCH) != s->epoch;
}

void fzc_slot_filled(struct fzc_slots *s, u32 slot)
{
	u8 flags = *fzc_slot_flags(s, slot);

	fzc_slot_set_state(s, slot, FZC_SLOT_LIVE);
	/*
	 * A change that the running commit is about to make durable stays in
	 * it: a host flush may be waiting for just that.
	 */
	if (flags & FZC_SLOT_PEND)
		return;
	if (!(flags & FZC_SLOT_NAMED) || s->with_crc)
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
		*fzc_slot_flags(s, slot) |= FZC_SLOT_NAMED;
	fzc_slot_set_state(s, slot, FZC_SLOT_RETIRING);
	touch(s, slot);
}

void fzc_slot_unretire(struct fzc_slots *s, u32 slot)
{
	/* whether the disk still names it is not known: named again, and what names it stays */
	fzc_slot_set_state(s, slot, FZC_SLOT_LIVE);
	touch(s, slot);
}

void fzc_slot_release(struct fzc_slots *s, u32 slot)
{
	unhash(s, slot);
	if (*fzc_slot_reads(s, slot))
		fzc_slot_set_state(s, slot, FZC_SLOT_ZOMBIE);
	else
		make_free(s, slot);
}

/* A count that is full stays so: the slot is not used again until the next start. */
void fzc_slot_read_get(struct fzc_slots *s, u32 slot)
{
	if (*fzc_slot_reads(s, slot) != 0xffff)
		(*fzc_slot_reads(s, slot))++;
}

void fzc_slot_read_put(struct fzc_slots *s, u32 slot)
{
	if (*fzc_slot_reads(s, slot) == 0xffff)
		return;
	if (!--*fzc_slot_reads(s, slot) && fzc_slot_state(s, slot) == FZC_SLOT_ZOMBIE)
		make_free(s, slot);
}

static void set_copy(struct fzc_slots *s, u32 page, u8 copy)
{
	if (copy)
		fzc_map_set(&s->second, page);
	else
		fzc_map_clear(&s->second, page);
}

void fzc_slots_sync_begin(struct fzc_slots *s)
{
	s->epoch ^= FZC_SLOT_EPOCH;
}

void fzc_slots_sync_flushed(struct fzc_slots *s)
{
	fzc_map_move(&s->dirty, &s->todo, U32_MAX);
}

void fzc_slots_sync_ended(struct fzc_slots *s)
{
	fzc_map_move(&s->todo, NULL, U32_MAX);
	s->next = 0;
}

void fzc_slots_sync_failed(struct fzc_slots *s)
{
	u32 slot, end;
	u64 p;

	/* the copy that was written may be lost, whatever a later flush says */
	for (p = fzc_map_next(&s->todo, 0); p < s->next; p = fzc_map_next(&s->todo, p + 1))
		set_copy(s, p, !fzc_slots_copy(s, p));
	fzc_map_move(&s->todo, &s->dirty, U32_MAX);
	s->next = 0;
	for (p = fzc_map_next(&s->dirty, 0); p < s->dirty.nbits;
	     p = fzc_map_next(&s->dirty, p + 1)) {
		end = fzc_slots_page_end(s, p);
		slot = fzc_slots_next(s, p * FZC_INDEX_ENTRIES);
		for (; slot < end; slot = fzc_slots_next(s, slot + 1)) {
			u8 *flags = fzc_slot_flags(s, slot);

			if (*flags & FZC_SLOT_PEND)
				*flags = (*flags & ~FZC_SLOT_EPOCH) | s->epoch;
		}
	}
}

bool fzc_slots_sync_page(struct fzc_slots *s, u32 *page)
{
	u64 p = fzc_map_next(&s->todo, s->next);

	if (p == s->todo.nbits)
		return false;
	*page = p;
	s->next = p + 1;
	return true;
}

bool fzc_slots_sync_left(const struct fzc_slots *s)
{
	return fzc_map_next(&s->todo, s->next) < s->todo.nbits;
}

/* Does the index say that @slot holds its block, once the running commit is done? */
static bool named(struct fzc_slots *s, u32 slot)
{
	bool was = *fzc_slot_flags(s, slot) & FZC_SLOT_NAMED;
	bool news = due(s, slot);

	switch (fzc_slot_state(s, slot)) {
	case FZC_SLOT_LIVE:
	case FZC_SLOT_MERGING:
		return news || was;
	case FZC_SLOT_RETIRING:
		return !news && was;
	case FZC_SLOT_FILLING:	/* a secondary rewrites a staged block */
		return was;
	default:
		return false;
	}
}

static void encode_slot(struct fzc_slots *s, u32 slot, struct fzc_index_entry *e)
{
	u8 *flags = fzc_slot_flags(s, slot);
	bool is_named = named(s, slot);

	if (due(s, slot))
		*flags &= ~FZC_SLOT_PEND;
	else if (*flags & FZC_SLOT_PEND)	/* for the next commit */
		fzc_map_set(&s->dirty, slot / FZC_INDEX_ENTRIES);
	*flags &= ~FZC_SLOT_NAMED;
	if (!is_named)
		return;
	*flags |= FZC_SLOT_NAMED;
	e->block = cpu_to_le64(*fzc_slot_block(s, slot));
	e->flags = cpu_to_le32(FZC_ENTRY_USED |
			       (*flags & FZC_SLOT_ZERO ? FZC_ENTRY_ZERO : 0));
	if (s->with_crc)
		e->crc = cpu_to_le32(*fzc_slot_crc(s, slot));
}

void fzc_slots_encode(struct fzc_slots *s, u32 page, struct fzc_index_body *body)
{
	u32 first = page * FZC_INDEX_ENTRIES, end = fzc_slots_page_end(s, page), slot;

	memset(body, 0, sizeof(*body));
	for (slot = fzc_slots_next(s, first); slot < end; slot = fzc_slots_next(s, slot + 1))
		encode_slot(s, slot, &body->entry[slot - first]);
}

void fzc_slots_page_written(struct fzc_slots *s, u32 page, bool ok)
{
	if (ok)
		set_copy(s, page, !fzc_slots_copy(s, page));
	else if (fzc_map_clear(&s->todo, page))	/* unless the slots were reset */
		fzc_map_set(&s->dirty, page);
}

/* One entry; false: it cannot be. */
static bool load_slot(struct fzc_slots *s, u32 slot, const struct fzc_index_entry *e, u64 blocks)
{
	u64 block = le64_to_cpu(e->block);
	bool zero = le32_to_cpu(e->flags) & FZC_ENTRY_ZERO;

	if (slot >= s->nslots || block >= blocks || fzc_slots_find(s, block) != FZC_NO_SLOT)
		return false;
	while (s->chunks <= slot / FZC_CHUNK_SLOTS)
		add_chunk(s);
	take(s, slot, block, FZC_SLOT_LIVE | FZC_SLOT_NAMED | (zero ? FZC_SLOT_ZERO : 0));
	if (s->with_crc)
		*fzc_slot_crc(s, slot) = le32_to_cpu(e->crc);
	return true;
}

/* So many chunks hold what @body names. */
static u32 chunks_of(const struct fzc_slots *s, u32 first, const struct fzc_index_body *body)
{
	u32 i = FZC_INDEX_ENTRIES;

	while (i--)
		if (le32_to_cpu(body->entry[i].flags) & FZC_ENTRY_USED)
			return chunks(min(first + i + 1, s->nslots));
	return 0;
}

int fzc_slots_load(struct fzc_slots *s, u32 page, u8 copy, const struct fzc_index_body *body,
		   u64 blocks, char *why, u32 why_len)
{
	u32 first = page * FZC_INDEX_ENTRIES, i;

	s->least = max(s->least, chunks_of(s, first, body));
	if (s->have < s->least)
		return -EAGAIN;
	set_copy(s, page, copy);
	for (i = 0; i < FZC_INDEX_ENTRIES; i++) {
		const struct fzc_index_entry *e = &body->entry[i];

		if (!(le32_to_cpu(e->flags) & FZC_ENTRY_USED) ||
		    load_slot(s, first + i, e, blocks))
			continue;
		scnprintf(why, why_len,
			  "index page %u: slot %u says block %llu, expected a slot below %u and a block below %llu that no other slot holds",
			  page, first + i, (unsigned long long)le64_to_cpu(e->block), s->nslots,
			  (unsigned long long)blocks);
		return -EINVAL;
	}
	return 0;
}
