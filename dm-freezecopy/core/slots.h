/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The slots of one difference volume: which block is in which slot, who uses
 * it now, and which of that the durable index may say.
 *
 * DOC: life of a slot
 *
 *	FREE -> FILLING -> LIVE <-> MERGING -> RETIRING -> (ZOMBIE) -> FREE
 *
 * FILLING  allocated, its first content is being written.  Writes to the block
 *	    wait, reads still go to DATA (R1).
 * LIVE	    newest content of the block is here; rewritten in place.
 * MERGING  in a batch that is being copied to DATA.  A write sends it back to
 *	    LIVE, which takes it out of the batch.
 * RETIRING the copy is done, the index forgets the slot.  Writes to the block
 *	    wait (R12), reads go to DATA.
 * ZOMBIE   forgotten, but reads on the slot have not ended.
 *
 * What the index on disk may say follows in commits (slots_sync_*).  A change
 * of state made after a commit began (after its flush was issued) is not part
 * of it: R3.  One bit a slot, its epoch, tells: a change carries the current
 * epoch, a commit begins by toggling it and encodes the other epoch's changes.
 */
#ifndef FZC_SLOTS_H
#define FZC_SLOTS_H

#include "blockmap.h"
#include "ondisk.h"

#define FZC_NO_SLOT	U32_MAX

enum fzc_slot_state {
	FZC_SLOT_FREE, FZC_SLOT_FILLING, FZC_SLOT_LIVE, FZC_SLOT_MERGING,
	FZC_SLOT_RETIRING, FZC_SLOT_ZOMBIE,
};

/* Slots are kept in chunks, which come when they are needed. */
#ifndef FZC_CHUNK_SLOTS
#define FZC_CHUNK_SLOTS		4096U
#endif
#define FZC_CHUNK_BUCKETS	(FZC_CHUNK_SLOTS / 2)

/* 15 bytes and a bit for each slot. */
struct fzc_chunk {
	u32 used;			/* not FREE */
	u32 block[FZC_CHUNK_SLOTS];	/* a slot's block */
	u32 chain[FZC_CHUNK_SLOTS];	/* next slot of the same bucket */
	u32 bucket[FZC_CHUNK_BUCKETS];
	union {
		struct {		/* a primary's; only its slots are read and retired */
			u16 reads[FZC_CHUNK_SLOTS];
			u8 writes[FZC_CHUNK_SLOTS];
		};
		u32 crc[FZC_CHUNK_SLOTS];	/* a secondary's */
	};
	u8 flags[FZC_CHUNK_SLOTS];	/* state and the flags below */
	u64 taken[FZC_DIV_ROUND_UP(FZC_CHUNK_SLOTS, 64)];
};

struct fzc_slots {
	u32 nslots;
	u32 used;		/* not FREE */
	u32 hint;		/* no slot below is free */
	u32 chunks;		/* of @chunk, in use */
	u32 have;		/* ...and got from the shell */
	u32 least;		/* loading needs so many */
	u8 epoch;
	bool with_crc;
	bool asked;		/* the shell is looking for memory */
	bool denied;		/* it had none */
	struct fzc_chunk **chunk;
	struct fzc_map dirty;	/* index pages that differ from disk */
	struct fzc_map todo;	/* pages of the running commit but those whose write failed */
	u32 next;		/* ...from here on they have yet to be written */
	struct fzc_map second;	/* pages whose second copy on disk is the valid one */
};

#define FZC_SLOT_STATE	0x07
#define FZC_SLOT_EPOCH	0x08	/* of the last change */
#define FZC_SLOT_NAMED	0x10	/* the durable index may name it */
#define FZC_SLOT_ZERO	0x20	/* content is zeroes, nothing is stored */
#define FZC_SLOT_PEND	0x40	/* changed since the index was last encoded */

/* A field of @slot, which is in use. */
static inline u32 *fzc_slot_block(const struct fzc_slots *s, u32 slot)
{
	return &s->chunk[slot / FZC_CHUNK_SLOTS]->block[slot % FZC_CHUNK_SLOTS];
}

/* A secondary's. */
static inline u32 *fzc_slot_crc(const struct fzc_slots *s, u32 slot)
{
	return &s->chunk[slot / FZC_CHUNK_SLOTS]->crc[slot % FZC_CHUNK_SLOTS];
}

/* A primary's. */
static inline u16 *fzc_slot_reads(const struct fzc_slots *s, u32 slot)
{
	return &s->chunk[slot / FZC_CHUNK_SLOTS]->reads[slot % FZC_CHUNK_SLOTS];
}

static inline u8 *fzc_slot_writes(const struct fzc_slots *s, u32 slot)
{
	return &s->chunk[slot / FZC_CHUNK_SLOTS]->writes[slot % FZC_CHUNK_SLOTS];
}

static inline u8 *fzc_slot_flags(const struct fzc_slots *s, u32 slot)
{
	return &s->chunk[slot / FZC_CHUNK_SLOTS]->flags[slot % FZC_CHUNK_SLOTS];
}

/* Fixed memory; each chunk comes on top of it. */
u64 fzc_slots_bytes(u32 nslots);
void fzc_slots_init(struct fzc_slots *s, void *mem, u32 nslots, bool with_crc);
/* Forget everything.  Takes no time. */
void fzc_slots_reset(struct fzc_slots *s);

/*
 * Memory for slots, so much that a chunk is ready beyond what is used.  wants:
 * ask the shell for another; then give it one, or NULL: there is none to be
 * had until fzc_slots_retry().  spare: one to be given back, or NULL.  drop:
 * likewise, one after the other, when the slots are not used any more.
 */
bool fzc_slots_wants(const struct fzc_slots *s);
/* As many as @n slots more, which somebody waits for. */
void fzc_slots_expect(struct fzc_slots *s, u32 n);
void fzc_slots_give(struct fzc_slots *s, struct fzc_chunk *chunk);
void fzc_slots_retry(struct fzc_slots *s);
struct fzc_chunk *fzc_slots_spare(struct fzc_slots *s);
struct fzc_chunk *fzc_slots_drop(struct fzc_slots *s);
/* GROW or SHRINK, if that is due. */
bool fzc_slots_next_act(struct fzc_slots *s, struct fzc_act *act, u8 job);

/* The slot that holds @block, or FZC_NO_SLOT. */
u32 fzc_slots_find(const struct fzc_slots *s, u64 block);
static inline u32 fzc_slots_free(const struct fzc_slots *s)
{
	return s->nslots - s->used;
}

/* Of them, those that can be had at once. */
static inline u32 fzc_slots_ready(const struct fzc_slots *s)
{
	return min_t(u64, (u64)s->have * FZC_CHUNK_SLOTS, s->nslots) - s->used;
}

/* Bytes of memory, besides fzc_slots_bytes(). */
static inline u64 fzc_slots_memory(const struct fzc_slots *s)
{
	return (u64)s->have * sizeof(struct fzc_chunk);
}

/* May more than are ready be waited for? */
static inline bool fzc_slots_more(const struct fzc_slots *s)
{
	return !s->denied && (u64)s->have * FZC_CHUNK_SLOTS < s->nslots;
}

static inline u8 fzc_slot_state(const struct fzc_slots *s, u32 slot)
{
	return slot < s->chunks * FZC_CHUNK_SLOTS ?
	       *fzc_slot_flags(s, slot) & FZC_SLOT_STATE : FZC_SLOT_FREE;
}

/* First slot >= @from that is not FREE, or nslots. */
u32 fzc_slots_next(const struct fzc_slots *s, u32 from);
/* The slot behind the last that index page @page is for. */
static inline u32 fzc_slots_page_end(const struct fzc_slots *s, u32 page)
{
	return min_t(u64, (page + 1ULL) * FZC_INDEX_ENTRIES, s->nslots);
}

/* A FILLING slot for @block, which has none; FZC_NO_SLOT when none is ready. */
u32 fzc_slots_alloc(struct fzc_slots *s, u64 block);
/* FILLING or LIVE -> LIVE with new content, to be named by the next commit. */
void fzc_slot_filled(struct fzc_slots *s, u32 slot);
/* FILLING -> FREE: its first write failed, nothing on disk names it. */
void fzc_slot_cancel(struct fzc_slots *s, u32 slot);
void fzc_slot_set_state(struct fzc_slots *s, u32 slot, enum fzc_slot_state state);
/* MERGING -> RETIRING: the next commit leaves it out. */
void fzc_slot_retire(struct fzc_slots *s, u32 slot);
/* RETIRING -> LIVE: the commit failed. */
void fzc_slot_unretire(struct fzc_slots *s, u32 slot);
/* RETIRING -> ZOMBIE or FREE: its retirement is durable. */
void fzc_slot_release(struct fzc_slots *s, u32 slot);
void fzc_slot_read_get(struct fzc_slots *s, u32 slot);
void fzc_slot_read_put(struct fzc_slots *s, u32 slot);

/*
 * A commit of the index: begin (when the flush of the named slots is issued),
 * then, after that flush, encode every page that next returns, and end.  When
 * it failed, the same changes are tried again by the next commit.
 */
void fzc_slots_sync_begin(struct fzc_slots *s);
void fzc_slots_sync_flushed(struct fzc_slots *s);
bool fzc_slots_sync_page(struct fzc_slots *s, u32 *page);
/* Are there any that it has not returned yet? */
bool fzc_slots_sync_left(const struct fzc_slots *s);
/*
 * All of it is durable.  Or it failed: what it should have made durable is due
 * again, with the next one, which writes over what may have been lost.
 */
void fzc_slots_sync_ended(struct fzc_slots *s);
void fzc_slots_sync_failed(struct fzc_slots *s);
void fzc_slots_encode(struct fzc_slots *s, u32 page, struct fzc_index_body *body);
/* The page's valid copy on disk, 0 or 1: the other is written. */
static inline u8 fzc_slots_copy(const struct fzc_slots *s, u32 page)
{
	return fzc_map_test(&s->second, page);
}

/* The page's write was reported: the copy that it went to counts now. */
void fzc_slots_page_written(struct fzc_slots *s, u32 page, bool ok);
static inline bool fzc_slots_dirty(const struct fzc_slots *s)
{
	return s->dirty.count || s->todo.count;
}

/*
 * Replay: take over what one valid index page says.  -EINVAL: it contradicts
 * itself; -EAGAIN: give a chunk and try again.
 */
int fzc_slots_load(struct fzc_slots *s, u32 page, u8 copy, const struct fzc_index_body *body,
		   u64 blocks, char *why, u32 why_len);

#endif /* FZC_SLOTS_H */
