/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The secondary's core: every decision of that side.
 *
 * As with the primary's core, the shell serialises all calls with one lock and
 * puts what fzc_s_next() gives out on the wire in that order.
 */
#ifndef FZC_SCORE_H
#define FZC_SCORE_H

#include "intent.h"
#include "pcore.h"
#include "load.h"
#include "slots.h"

#ifndef FZC_MAX_RX
#define FZC_MAX_RX	1024
#endif

/* A DATA frame whose blocks are being written. */
struct fzc_rx {
	u64 frame;
	u64 first;
	u32 n;
	u8 stage;	/* 0 or 1 */
	bool busy;
	bool written;
	bool direct;	/* straight to the volume */
	bool zero;
	bool full;	/* could not be staged */
	bool stale;	/* its connection is gone */
};

enum fzc_s_link {
	FZC_SLINK_DOWN, FZC_SLINK_HELLO, FZC_SLINK_SESSION, FZC_SLINK_STORING, FZC_SLINK_UP,
};

/* Where a block is read from. */
enum fzc_s_place { FZC_S_DATA, FZC_S_SLOT, FZC_S_ZERO, FZC_S_BAD };

struct fzc_score {
	struct fzc_geometry geo;
	struct fzc_super sb;
	struct fzc_opts opts;
	u64 seq;
	char reason[FZC_REASON_LEN];

	struct fzc_intent in;	/* counts once recovered */
	struct fzc_slots stage[2];
	struct fzc_map staged[2];
	u64 damaged[FZC_MAX_DAMAGED];
	u32 ndamaged;

	u64 sb_want;
	u64 sb_writing;
	u64 sb_done;
	bool sb_busy;
	bool sb_retry;
	u8 sb_copy;
	u8 progress_copy;
	u8 damaged_copy;

	/* session */
	u8 link;
	bool send_hello;
	bool send_session_ok;
	bool drop;		/* DROP is to be given out */
	bool ended;		/* ...or was: nothing more is received */
	bool refuse;		/* REFUSE with the reason */
	struct fzc_session session;
	bool session_new;	/* a SESSION was accepted and has to be stored */
	u64 session_at;
	u64 frames;		/* taken on this connection */
	u64 durable;		/* of them, durable and said so */
	u64 batch;		/* ...will be, when the running sync ends */
	u64 last_durable;	/* frames durable in sb.session, for the hello */
	struct fzc_rx rx[FZC_MAX_RX];
	bool hold;		/* the receiver has to wait before it takes another frame */
	u64 full_frame;		/* FULL is to be sent */
	bool full;		/* and was announced */
	u32 need;		/* NEED is to be sent for so many damaged blocks */

	/* sync: what was received becomes durable */
	u8 sync_step;
	bool sync_tags;		/* tags are being written */
	u8 sync_due;		/* devices that have to be flushed, a bit each */
	u8 sync_flushes;
	u8 sync_pages;
	u8 sync_paged;		/* stages whose index was written */
	int sync_err;
	u8 dirty;		/* devices written since the last sync began, a bit each */
	bool sync_fold;		/* the fold needs one */
	bool say_durable;

	/* freeze */
	struct fzc_img commit;	/* ALL_SENT was accepted; number 0: none */
	u64 commit_at;		/* superblock write that is the commit; 0: not issued */
	bool verified;		/* every slot of @commit's stage, if that is asked for */
	bool verify_busy;
	bool verify_bad;	/* what is staged is to be given up */
	u64 verify_cursor;
	u64 hold_at;		/* superblock write that the receiver waits for */
	bool say_committed;
	bool say_merged;

	/* merge of the stage that is not current into the volume */
	struct fzc_copy copy;
	u8 merge_step;
	u64 merge_cursor;
	u64 merge_total;
	u64 merge_left;
	u64 merged_at;		/* superblock write that ends it */
	bool merge_again;	/* what was merged may be lost: from the first block on */
	bool merge_pause;
	u8 merge_tries;		/* so often a slot could not be read */
	bool merge_stuck;	/* on what a stage has, whose writes and flushes may well succeed */
	bool merge_gives_up;	/* then it counts as bad, though nobody sends its block again */
	bool damaged_dirty;
	bool damaged_busy;
	bool overlay;		/* reads go through that stage */

	/* fold of the stage that is not current into the current one (R11) */
	u8 fold_step;
	u64 fold_cursor;
	u64 fold_at;
	bool fold_real;		/* the other stage holds blocks sent ahead */
	bool fold_void;		/* a recovery waits for it, and would discard both stages */

	/* reads */
	bool has_image;
	struct fzc_img shown;	/* the image that reads give: committed, and durably so */
	u32 reads[2];		/* by the parity of the commits before them */
	u8 parity;
	u32 stage_reads[2];	/* reads of slots, by stage */

	/* recovery */
	u64 recover_at;
	bool tainted;		/* a flush of DATA failed since the start: the stop is not clean */
	bool in_flushing;	/* the intent's flush of DATA */
	bool lost;		/* ...failed, and no host FLUSH was told of it */

	u8 load_step;
	u32 load_page;
	bool fresh;
	u8 format_step;
	u8 format_busy;
	u8 stop_step;
	bool stop_failed;
	u64 stop_at;

	bool wake;
	u32 events;
	bool meta_failed;	/* devices that failed and were not seen to work since */
	bool data_failed;
	bool stage_failed;
};

u64 fzc_s_bytes(const struct fzc_geometry *geo);
void fzc_s_init(struct fzc_score *s, void *mem, const struct fzc_geometry *geo,
		const struct fzc_opts *opts);
bool fzc_s_load_next(struct fzc_score *s, struct fzc_load *load);
int fzc_s_load_give(struct fzc_score *s, struct fzc_load *load, const struct fzc_page *a,
		    const struct fzc_page *b);
int fzc_s_start(struct fzc_score *s);
bool fzc_s_started(const struct fzc_score *s);
/* The link is down and fzc_s_idle(). */
void fzc_s_stop(struct fzc_score *s, const u8 data_hash[32]);
bool fzc_s_stopped(const struct fzc_score *s);

/*
 * A connection was accepted.  R15: only when fzc_s_idle(), that is when all
 * that came over the previous one is done or dropped.
 */
bool fzc_s_idle(const struct fzc_score *s);
void fzc_s_connected(struct fzc_score *s);
void fzc_s_disconnected(struct fzc_score *s);
/* A control frame.  Error: drop the connection, the reason says why. */
int fzc_s_rx(struct fzc_score *s, const struct fzc_msg *msg);
/* May the next frame of the connection be looked at now? */
bool fzc_s_can_rx(const struct fzc_score *s);
/*
 * The header of a DATA frame came, with its FZC_WIRE_... flags.  NULL: drop the
 * connection.  rx->full: read the payload and throw it away, then call done.
 * Otherwise the payload goes where place says, block by block.
 */
struct fzc_rx *fzc_s_data(struct fzc_score *s, u64 frame, u64 image, u64 first, u32 n,
			  u32 flags);
/* Device and slot of one of its blocks; DATA: in place. */
u8 fzc_s_data_place(struct fzc_score *s, const struct fzc_rx *rx, u64 block, u32 *slot);
/*
 * Written.  @crc: one a block (NULL for zeroes).  If the connection broke in
 * the middle of the payload, fzc_s_disconnected() comes first.
 */
void fzc_s_data_done(struct fzc_score *s, struct fzc_rx *rx, const u32 *crc, int err);

/* Host reads: token for read_end.  FAIL: no image yet. */
enum fzc_go fzc_s_read_begin(struct fzc_score *s, u64 first, u64 last, u8 *token);
enum fzc_s_place fzc_s_read_place(struct fzc_score *s, u64 block, u8 *dev, u32 *slot);
/* The checksum that the content of a staged slot must have (R16); the shell looks. */
static inline u32 fzc_s_slot_crc(const struct fzc_score *s, u8 dev, u32 slot)
{
	return *fzc_slot_crc(&s->stage[dev == FZC_DIFF_B], slot);
}

/* SLOT took a reference. */
void fzc_s_slot_put(struct fzc_score *s, u8 dev);
void fzc_s_read_end(struct fzc_score *s, u8 token);

/* Host writes, once recovered and merged. */
bool fzc_s_writable(const struct fzc_score *s);
enum fzc_go fzc_s_write_begin(struct fzc_score *s, u64 first, u64 last);
void fzc_s_write_end(struct fzc_score *s, u64 first, u64 last);

/* A host FLUSH.  DATA: pass it on; FAIL: one that no host asked for lost something. */
enum fzc_go fzc_s_flush_begin(struct fzc_score *s);
/* It was passed on and ended with @err; returns what the host is told. */
int fzc_s_flush_end(struct fzc_score *s, int err);

/*
 * Figure 9.  expected: the link is down, and is to stay so until fzc_s_idle(), which
 * comes soon, since nothing is folded any more.  Then recover.  0: fzc_s_recovered() follows
 * when it is durable; -ENODATA, -EALREADY with a reason.
 */
void fzc_s_recover_expected(struct fzc_score *s);
int fzc_s_recover(struct fzc_score *s);
bool fzc_s_recovered(const struct fzc_score *s);
/*
 * By order: of a recovered volume, slots that cannot be read are given up from now on.
 * False: there is none that was tried for long enough.
 */
bool fzc_s_give_up_unreadable(struct fzc_score *s);

void fzc_s_tick(struct fzc_score *s);
bool fzc_s_next(struct fzc_score *s, struct fzc_act *act, struct fzc_page *page);
void fzc_s_done(struct fzc_score *s, const struct fzc_act *act, int err);

static inline u8 fzc_stage_dev(u8 stage)
{
	return stage ? FZC_DIFF_B : FZC_DIFF;
}

/* Until it is durable that the merge has ended: a crash would begin it again. */
static inline bool fzc_s_merging(const struct fzc_score *s)
{
	return s->sb.flags & FZC_SB_MERGING || s->merged_at;
}

/* Is memory for @n more slots of a stage still to be found?  What needs them waits. */
static inline bool fzc_s_grows(const struct fzc_score *s, u8 stage, u32 n)
{
	const struct fzc_slots *slots = &s->stage[stage];

	return fzc_slots_ready(slots) < min(n, fzc_slots_free(slots));
}

/* Between the files of the secondary's core. */
void fzc_s_event(struct fzc_score *s, enum fzc_event_kind kind);
void fzc_s_trouble(struct fzc_score *s, u8 dev, const char *what, int err);
u64 fzc_s_dirty_super(struct fzc_score *s);
void fzc_s_drop(struct fzc_score *s);
void fzc_s_reset_stage(struct fzc_score *s, u8 i);
void fzc_s_fold(struct fzc_score *s);
void fzc_s_verified(struct fzc_score *s);
u32 fzc_s_rx_busy(const struct fzc_score *s);
void fzc_s_session_step(struct fzc_score *s);
bool fzc_s_session_next(struct fzc_score *s, struct fzc_act *act);
bool fzc_s_stop_next(struct fzc_score *s, struct fzc_act *act);

#define fzc_s_say(s, fmt, ...) scnprintf((s)->reason, FZC_REASON_LEN, fmt, ##__VA_ARGS__)

#endif /* FZC_SCORE_H */
