/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Write intent: region flags that are durable before the first write to a
 * region, and the `changed` sets of two generations with their checkpoints.
 * A primary has one from the start, a secondary from its recovery on.
 *
 * DOC: what survives a crash
 *
 * The union of an area's durable pages and of the regions whose flag is
 * durably set is a superset of the truth, because a flag is cleared only when,
 * in this order (R5): no write to the region is parked or in flight; what its
 * writes touched was flushed; the pages of every generation are durable.  A
 * write that arrives meanwhile takes its region out of the closing.  If because
 * of that there is no room yet for a write that waits for it, the next
 * checkpoint is firm: such writes wait for it.
 *
 * A block that is written to a slot needs no flag: once the slot's index says
 * so, that the block has changed can be told from it, and before that a crash
 * brings back the old content (R13).  It is added to the set all the same, and
 * must be durable there before the index forgets the slot: _settle().
 */
#ifndef FZC_INTENT_H
#define FZC_INTENT_H

#include "blockmap.h"
#include "ondisk.h"

/* Values of fzc_act.job below this are the intent's. */
enum fzc_intent_job {
	FZC_JOB_REGIONS = 1, FZC_JOB_CKPT_PAGE, FZC_JOB_CKPT_FLUSH, FZC_JOB_INTENT_END,
};

enum fzc_ckpt { FZC_CKPT_IDLE, FZC_CKPT_SYNC, FZC_CKPT_PAGES, FZC_CKPT_FLUSH, FZC_CKPT_CLEAR };

struct fzc_intent {
	const struct fzc_geometry *geo;
	struct fzc_super *sb;	/* the owner's; flags, gen[] and cur are ours to change */
	u64 *seq;		/* the owner's page sequence */

	struct fzc_map changed[2];
	struct fzc_map dirty[2];	/* pages of an area that differ from disk */
	struct fzc_map todo[2];		/* pages that the checkpoint still has to write */
	struct fzc_map wrote[2];	/* pages that it wrote, not flushed yet */
	u8 *copy[2];
	struct fzc_map active;	/* regions not CLOSED */
	struct fzc_map opening;	/* of them those WANTED or OPENING, which are fewer still */
	u8 *state;		/* of a region */
	u8 *flags;
	u16 *busy;		/* writes in flight in it */
	u8 region_copy;
	bool regions_wanted;	/* the region page has to be written */
	bool regions_writing;

	u8 ckpt;		/* enum fzc_ckpt */
	bool ckpt_wanted;
	bool ckpt_all;		/* close every idle region, FRESH ones as well */
	bool ckpt_full;		/* this checkpoint makes SB_CHANGED_ALL unnecessary */
	bool ckpt_err;
	bool flushing;
	u32 writing[2];		/* page writes in flight, by area */
	bool gather;		/* the shell's: more writes are about to want regions */
	bool hold;		/* the owner's superblock does not name the areas yet */
	bool sync_wanted;	/* owner: flush data, diff and index, then call _synced() */
	bool sb_dirty;		/* owner: write the superblock */
	bool wake;		/* owner: parked writes may go on */
	bool failed;		/* meta cannot be written: closed regions stay closed */
	bool crowded;		/* a write waits until some region can be closed */
	u32 refused;		/* regions that one needs, which had no room for them */
	bool firm;		/* who writes to open regions waits, or none would ever be closed */
	bool clearing;		/* the region page that is written clears flags */
	bool loose;		/* blocks changed without a region, and are in no checkpoint yet */
	bool ckpt_loose;	/* ...but the running one will */
	bool settling;		/* somebody waits for that */
	bool wiping;		/* the other area's set is being emptied */
	bool folding;		/* the other area's set is being added to the current one */
	bool fold_ckpt;		/* ...and that addition has to be made durable */
	bool ckpt_fold;		/* ...by the running checkpoint */
};

u64 fzc_intent_bytes(const struct fzc_geometry *geo);
void fzc_intent_init(struct fzc_intent *in, void *mem, const struct fzc_geometry *geo,
		     struct fzc_super *sb, u64 *seq);

/*
 * May a write to blocks @first..@last start?  GO takes references; PARK: after
 * a wake, again.
 */
enum fzc_go fzc_intent_enter(struct fzc_intent *in, u64 first, u64 last);
/* The same of a write that goes to slots, all of it: no region has to be open. */
enum fzc_go fzc_intent_enter_slots(struct fzc_intent *in, u64 first, u64 last);
/*
 * The short way of _enter() and _mark() for a block that has changed already,
 * in a region that is open or needs not be.  False: not so, nothing was done.
 */
bool fzc_intent_again(struct fzc_intent *in, u64 block);
void fzc_intent_exit(struct fzc_intent *in, u64 first, u64 last);
/* Record that a block changes; its region is entered. */
void fzc_intent_mark(struct fzc_intent *in, u64 block);
/* The same without a region: the caller can tell again after a crash. */
void fzc_intent_add(struct fzc_intent *in, u64 block);
/* All that changed in the closed generation, likewise. */
void fzc_intent_add_closed(struct fzc_intent *in);
/* Is all durable that was added?  Else a checkpoint is on its way, or begins with a tick. */
bool fzc_intent_settle(struct fzc_intent *in);
/* The block need not be sent again (first copy only). */
void fzc_intent_unmark(struct fzc_intent *in, u64 block);
void fzc_intent_fill(struct fzc_intent *in);

bool fzc_intent_can_cut(const struct fzc_intent *in);
/* The current generation closes, a new one begins. */
void fzc_intent_cut(struct fzc_intent *in);
/* The closed generation is in the committed image: forget it. */
void fzc_intent_forget(struct fzc_intent *in);
/* The freeze was aborted: the closed generation is changed again (R11). */
void fzc_intent_fold(struct fzc_intent *in);

/* Regular call, about once a second: regions that rest are closed. */
void fzc_intent_tick(struct fzc_intent *in);
/* Close everything; done when fzc_intent_clean(). */
void fzc_intent_close_all(struct fzc_intent *in);
bool fzc_intent_clean(const struct fzc_intent *in);
void fzc_intent_synced(struct fzc_intent *in, int err);

bool fzc_intent_next(struct fzc_intent *in, struct fzc_act *act, struct fzc_page *page);
void fzc_intent_done(struct fzc_intent *in, const struct fzc_act *act, int err);

/* Loading. */
bool fzc_intent_load_regions(struct fzc_intent *in, const struct fzc_page *a,
			     const struct fzc_page *b);
void fzc_intent_load_page(struct fzc_intent *in, u8 area, u32 page, const struct fzc_page *a,
			  const struct fzc_page *b);
/* After an unclean stop: open regions count as changed. */
void fzc_intent_replay(struct fzc_intent *in);

#endif /* FZC_INTENT_H */
