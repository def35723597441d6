/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The primary's core: every decision of that side.
 *
 * The shell serialises all calls with one lock.  It keeps the host's bios and
 * the socket; what was given out by fzc_p_next() or fzc_p_sent() under the
 * lock goes to the wire in just that order.
 */
#ifndef FZC_PCORE_H
#define FZC_PCORE_H

#include "intent.h"
#include "slots.h"

#define FZC_MAX_WANTS	16
#define FZC_MAX_BACKOFF	300U	/* seconds */

#ifndef FZC_MAX_XFERS
#define FZC_MAX_XFERS	1024	/* what a long link holds in frames of one block */
#endif
#ifndef FZC_MAX_INFLIGHT
#define FZC_MAX_INFLIGHT	(64U << 20)	/* bytes; to make them durable must not take long */
#endif

enum fzc_phase {
	FZC_PHASE_IDLE,
	FZC_PHASE_CLOSE,	/* gate closed, waiting for writes in flight */
	FZC_PHASE_DELIVER,	/* cut made, `frozen` is being delivered */
	FZC_PHASE_SENT,		/* ALL_SENT may have been said */
	FZC_PHASE_DOUBT,	/* R13: after an unclean stop */
};

enum fzc_p_link {
	FZC_LINK_DOWN,
	FZC_LINK_REFUSED,	/* connected, the peer is being told why it is refused */
	FZC_LINK_HELLO,		/* connected, our hello is out */
	FZC_LINK_PENDING,	/* the new session id is being made durable as pending */
	FZC_LINK_SESSION,	/* SESSION is out */
	FZC_LINK_CURRENT,	/* the session id is being made durable as current */
	FZC_LINK_UP,
};

/* TOLD: durable on the secondary, which has to be recorded here (first copy only). */
enum fzc_xfer_state {
	FZC_XFER_FREE, FZC_XFER_PICKED, FZC_XFER_SENT, FZC_XFER_TOLD, FZC_XFER_ORPHAN,
};

/* A run of blocks on its way. */
struct fzc_xfer {
	u64 frame;	/* number on this connection, from 1 */
	u64 first;
	u64 image;	/* target */
	u64 record;	/* TOLD: superblock write that has the count */
	u32 n;
	u8 state;
	bool frozen;	/* read from DATA whatever was written since */
	bool direct;	/* first copy: goes straight to the volume */
	bool sweep;	/* part of the first copy's sweep */
	u64 stale[FZC_DIV_ROUND_UP(FZC_MAX_RUN, 64)];	/* blocks written after they were picked */
};

static inline bool fzc_xfer_stale(const struct fzc_xfer *x, u32 i)
{
	return x->stale[i / 64] >> (i % 64) & 1;
}

static inline void fzc_xfer_set_stale(struct fzc_xfer *x, u32 i)
{
	x->stale[i / 64] |= 1ULL << (i % 64);
}

struct fzc_volkey;

/* What the table and the machine say. */
struct fzc_opts {
	struct fzc_id pair;	/* zero: not given */
	u64 format;		/* random, used if meta has to be formatted */
	bool identical;		/* skip the first copy */
	bool take_all;		/* accept a data device that was changed behind our back */
	bool verify;		/* secondary: every slot before the commit */
	bool encrypt;		/* blocks are encrypted in the stages */
	struct fzc_volume_keys keys;	/* random, used if meta has to be formatted */
	struct fzc_volkey *vk;	/* what checks pages, while loading; NULL: they are not signed */
	u8 data_hash[32];	/* of the first and last MiB of data, now */
	struct {
		char id[FZC_DEVICE_ID_LEN];
		u64 sectors;
	} device[FZC_NR_DEVS];
};

/* A step of loading: read one page (@both: two) and give it back. */
struct fzc_load {
	u8 dev;
	bool both;
	u64 offset;
	u32 step;	/* the core's own */
	u32 page;
	struct fzc_chunk *chunk;	/* allocated because give said -EAGAIN */
};

struct fzc_pcore {
	struct fzc_geometry geo;
	struct fzc_super sb;
	struct fzc_opts opts;
	u64 seq;		/* of metadata pages */
	char reason[FZC_REASON_LEN];	/* why the last call refused, or the last trouble */

	struct fzc_intent in;
	struct fzc_slots slots;
	struct fzc_map unsent;
	struct fzc_map inflight;
	struct fzc_map frozen;
	u64 frozen_total;

	/* a difference volume that is smaller than what is frozen (P3) */
	u64 short_by;		/* frozen blocks at the cut that have no slot */
	bool paced;		/* a write was told to wait, in this freeze */
	bool pacing;		/* one was since they were last woken */
	struct {
		u64 first;
		u64 last;
	} want[FZC_MAX_WANTS];	/* blocks that such writes wait for */
	u32 wants;

	/* superblock writes: want > done means dirty */
	u64 sb_want;
	u64 sb_writing;
	u64 sb_done;
	bool sb_busy;
	bool sb_retry;		/* failed, wait for the tick */
	u8 sb_copy;

	/* the gate and the freeze */
	u32 writes;		/* host writes that hold the gate */
	bool place_awaited;	/* one waits for a divert of its block */
	u32 again;		/* that begin again, parts of them done: no cut may be made */
	bool gate_closed;
	u8 phase;		/* enum fzc_phase */
	struct fzc_img freezing;
	u64 record_at;		/* superblock write that records the cut */
	bool notify_freeze;	/* FREEZE is to be sent */
	u64 r10_ticket;		/* the sync that does R10's flush since the cut; 0: none */
	bool r10_flushed;
	bool r10_pause;		/* it failed: wait for the tick */
	bool all_sent;		/* on this connection */
	bool aborting;		/* `frozen` is being moved back to `unsent` */
	u64 send_abort;		/* image number */
	u64 aborted;		/* last image number given up */
	u32 troubles;		/* freezes that gave way since the last commit */

	/* sync: flush everything, commit the index */
	u64 sync_started;
	u64 sync_ended;
	u8 sync_step;
	u8 sync_flushes;
	u8 sync_pages;
	int sync_err;
	bool sync_wanted;
	bool synced_news;
	bool sync_diff_due;
	u64 ckpt_ticket;

	/* merge */
	struct fzc_copy copy;
	u8 merge_step;
	u32 merge_cursor;
	u64 merge_ticket;
	bool merge_pause;	/* nothing to be had, or an error: wait for the tick */
	bool merge_void;	/* the running batch may be lost: its slots stay */
	bool merge_hold;	/* the shell's: no batch is begun now, the host goes first */
	bool merge_firm;	/* writes to slots wait, or the last would never be merged */

	/* sending */
	struct fzc_xfer xfer[FZC_MAX_XFERS];
	u32 xfers;		/* not free */
	u32 xfer_at;		/* where to look for one that is */
	u64 frames;		/* sent on this connection */
	u64 told;		/* durable, as the secondary said */
	u64 cursor;		/* of the elevator over unsent */
	u64 frozen_cursor;
	bool peer_merging;
	bool peer_full;
	bool read_trouble;	/* a read for sending failed: wait for the tick */
	u32 sweep_inflight;
	bool swept;

	/* session */
	u8 link;
	struct fzc_id draw;	/* the id drawn for this connection */
	u64 session_at;
	bool send_hello;
	bool send_session;
	bool send_refuse;	/* REFUSE with the reason, then drop */
	bool drop;
	u8 order;

	/* loading, formatting, stopping */
	u8 load_step;
	u32 load_page;
	u32 load_diverted;	/* frozen blocks with a slot, in the index pages so far */
	bool fresh;		/* meta is being formatted */
	u8 format_step;
	u8 format_busy;
	u8 stop_step;
	u8 stop_busy;
	u8 stop_area;
	u32 stop_page;
	bool stop_failed;

	bool wake;
	u32 events;		/* bits by enum fzc_event_kind */
	bool data_failed;	/* devices that failed and were not seen to work since */
	bool sync_lost;		/* the last sync's flush may have lost what was written before it */
	bool lost;		/* ...in a flush that failed, and no host FLUSH was told of it */
	bool diff_failed;
	bool meta_failed;
};

/* Memory that the core needs besides its struct, zeroed, aligned to 8 bytes. */
u64 fzc_p_bytes(const struct fzc_geometry *geo);
void fzc_p_init(struct fzc_pcore *p, void *mem, const struct fzc_geometry *geo,
		const struct fzc_opts *opts);

/*
 * Loading: while next returns true, read what it asks for and give it.
 * give: 0, or -EINVAL with a reason; -EAGAIN: again, with load->chunk.
 */
bool fzc_p_load_next(struct fzc_pcore *p, struct fzc_load *load);
int fzc_p_load_give(struct fzc_pcore *p, struct fzc_load *load, const struct fzc_page *a,
		    const struct fzc_page *b);
/* After loading: begin.  Host I/O may start when fzc_p_started(). */
int fzc_p_start(struct fzc_pcore *p);
bool fzc_p_started(const struct fzc_pcore *p);
/*
 * Stop in order: no host write is in flight, the link is down.  Carry out
 * actions until fzc_p_stopped(); p->stop_failed tells that the next start
 * will find an unclean stop.
 */
void fzc_p_stop(struct fzc_pcore *p, const u8 data_hash[32]);
bool fzc_p_stopped(const struct fzc_pcore *p);

/*
 * Host writes.  Blocks @first..@last; GO means that the gate and all places are
 * held.  @late: it has been answered PACE and has waited as long as it may; it
 * is not answered PACE again.
 */
enum fzc_go fzc_p_write_begin(struct fzc_pcore *p, u64 first, u64 last, bool late);

enum fzc_place {
	FZC_AT_DATA,
	FZC_AT_SLOT,	/* write into @slot */
	FZC_AT_NEW,	/* @slot's first content: a partial block is completed from DATA (R2) */
};

enum fzc_place fzc_p_write_place(struct fzc_pcore *p, u64 block, u32 *slot);
/*
 * The whole bio ended.  @diff_err: a write to DIFF failed.  Returns true when
 * the bio is to be tried again from write_begin: its divert failed, the freeze
 * is being aborted and the write will go to DATA.
 */
bool fzc_p_write_end(struct fzc_pcore *p, u64 first, u64 last, int err, bool diff_err);
/* That bio was given a place, or refused, by write_begin. */
static inline void fzc_p_write_again(struct fzc_pcore *p)
{
	p->again--;
}

/* Host reads. */
enum fzc_go fzc_p_read_begin(struct fzc_pcore *p, u64 first, u64 last);
/* Takes a reference when it says SLOT; put it with fzc_p_slot_put(). */
enum fzc_place fzc_p_read_place(struct fzc_pcore *p, u64 block, u32 *slot);
void fzc_p_slot_put(struct fzc_pcore *p, u32 slot);

/* The end of a FUA write that went to DIFF, or something of our own: the ticket to wait for. */
u64 fzc_p_sync(struct fzc_pcore *p);
/*
 * A host FLUSH.  DATA: a flush of that does for it; MIXED: it waits for @ticket;
 * FAIL: something was lost in a flush that no host asked for, it is told now.
 */
enum fzc_go fzc_p_flush_begin(struct fzc_pcore *p, u64 *ticket);
/* It was a flush of DATA and ended with @err; returns what the host is told. */
int fzc_p_flush_end(struct fzc_pcore *p, int err);

/*
 * Freeze.  begin: 0 (the cut is made, or the gate is closed and the cut comes
 * when the last write ends), or -EBUSY, -ENOTCONN, -ENODATA with a reason;
 * -EAGAIN: not yet, try again soon.  void: the deadline passed; true if there
 * is no cut and will be none.
 */
int fzc_p_freeze(struct fzc_pcore *p, const struct fzc_img *img, bool force);
bool fzc_p_freeze_void(struct fzc_pcore *p);
/* Blocks that the first copy has still to bring. */
u64 fzc_p_copy_left(const struct fzc_pcore *p);
/* The cut of the running freeze is made and its record durable. */
bool fzc_p_recorded(const struct fzc_pcore *p);
/* 0, -ENOENT (none runs) or -EBUSY (all sent). */
int fzc_p_abort(struct fzc_pcore *p, const char *why);
/*
 * Seconds that the shell lets pass after a freeze that gave way before it takes
 * another; 0: none.  What was in its way is likely to be in the next one's.
 */
u32 fzc_p_backoff(const struct fzc_pcore *p);
/* The number that the next freeze gets. */
static inline u64 fzc_p_next_number(const struct fzc_pcore *p)
{
	return p->sb.last_number + 1;
}

/* The connection. */
void fzc_p_connected(struct fzc_pcore *p, const struct fzc_id *draw);
void fzc_p_disconnected(struct fzc_pcore *p);
/* A frame from the peer.  Error: drop the connection; the reason says why. */
int fzc_p_rx(struct fzc_pcore *p, const struct fzc_msg *msg);

/* Sending: a run to be read and sent, or NULL.  Then sent or unpick, in any order. */
struct fzc_xfer *fzc_p_pick(struct fzc_pcore *p);
/* Where to read @block of @x from; FZC_AT_SLOT takes a reference. */
enum fzc_place fzc_p_source(struct fzc_pcore *p, const struct fzc_xfer *x, u64 block, u32 *slot);
/*
 * A frame of its own for all but the first @n blocks of @x, which was read: the
 * rest, to be sent or unpicked as @x is; NULL: there is none to be had.
 */
struct fzc_xfer *fzc_p_split(struct fzc_pcore *p, struct fzc_xfer *x, u32 n);
/* About to be queued to the wire as frame x->frame; false: drop it. */
bool fzc_p_sent(struct fzc_pcore *p, struct fzc_xfer *x);
void fzc_p_unpick(struct fzc_pcore *p, struct fzc_xfer *x, bool read_error);
/* Has the peer frames to answer? */
bool fzc_p_awaits(const struct fzc_pcore *p);

/* About once a second. */
void fzc_p_tick(struct fzc_pcore *p);
/* Next action; false: nothing to do now. */
bool fzc_p_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page);
void fzc_p_done(struct fzc_pcore *p, const struct fzc_act *act, int err);

bool fzc_p_in_sync(const struct fzc_pcore *p);
static inline bool fzc_p_has_image(const struct fzc_pcore *p)
{
	return p->sb.image.number;
}

/* Between the files of the primary's core. */
void fzc_p_event(struct fzc_pcore *p, enum fzc_event_kind kind);
u64 fzc_p_dirty_super(struct fzc_pcore *p);
void fzc_p_try_cut(struct fzc_pcore *p);
void fzc_p_void_freeze(struct fzc_pcore *p, const char *why);
void fzc_p_give_way(struct fzc_pcore *p, const char *why);
void fzc_p_trouble(struct fzc_pcore *p, bool *failed, const char *what, int err);
void fzc_p_data_lost(struct fzc_pcore *p, int err);
void fzc_p_finish(struct fzc_pcore *p);
/* @diverted frozen blocks have a slot, as after a restart. */
void fzc_p_pace_cut(struct fzc_pcore *p, u32 diverted);
enum fzc_go fzc_p_divert(struct fzc_pcore *p, u64 first, u64 last, u32 need, bool late);
bool fzc_p_scarce(const struct fzc_pcore *p);
void fzc_p_unwant(struct fzc_pcore *p, u64 first, u64 last);
u64 fzc_p_wanted(struct fzc_pcore *p, u32 *n);
void fzc_p_pace_wake(struct fzc_pcore *p);
bool fzc_p_start_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page);
bool fzc_p_stop_next(struct fzc_pcore *p, struct fzc_act *act, struct fzc_page *page);
bool fzc_p_session_next(struct fzc_pcore *p, struct fzc_act *act);
void fzc_p_session_done(struct fzc_pcore *p);
void fzc_p_copied(struct fzc_pcore *p, bool recorded);
void fzc_p_restage(struct fzc_pcore *p, bool all);
#define fzc_p_say(p, fmt, ...) scnprintf((p)->reason, FZC_REASON_LEN, fmt, ##__VA_ARGS__)

enum fzc_p_job {
	FZC_JOB_SUPER = FZC_JOB_INTENT_END, FZC_JOB_SYNC_FLUSH, FZC_JOB_SYNC_PAGE,
	FZC_JOB_SYNC_FLUSH2, FZC_JOB_MERGE, FZC_JOB_FORMAT, FZC_JOB_STOP_PAGE,
	FZC_JOB_STOP_FLUSH, FZC_JOB_GROW,
};

#endif /* FZC_PCORE_H */
