/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The simulator: the core of two nodes, disks with volatile caches, a link, a
 * host, and an oracle that trusts none of them.  One seed is one schedule.
 *
 * A sector's content is one number: 0 is zeroes, a write's own number is its
 * data, and a number with the top bit set names 512 bytes of metadata.
 */
#ifndef FZC_SIM_H
#define FZC_SIM_H

#include <stdlib.h>
#include "../../dm-freezecopy/core/pcore.h"
#include "../../dm-freezecopy/core/score.h"
#include "../../dm-freezecopy/core/wire.h"

#define SPB		8U		/* sectors of a block */
#define MAX_BLOCKS	32U
#define MAX_SECTORS	(MAX_BLOCKS * SPB)
#define MAX_HOPS	8
#define MAX_WRITE	3U	/* blocks, of a request */
#define MAX_IOS		256
#define MAX_IMAGES	512
#define QUEUE		256
#define HISTORY		96
#define DEAD_STEPS	300	/* a device that is dead for long */

/* ---- random numbers ---- */

void rng_seed(u64 seed);
u64 rng(void);
static inline u32 below(u32 n)
{
	return (u32)((rng() >> 32) * n >> 32);
}

static inline bool chance(u32 percent)
{
	return below(100) < percent;
}

/* ---- disks (disk.c) ---- */

struct disk {
	u32 n;
	u64 *cur;	/* what a read returns */
	u64 *dur;	/* what a power cut leaves at least */
	u32 *cur_seq;	/* of the write that made it */
	u32 *dur_seq;
	u32 *doomed;	/* the write that a failed flush has lost: read until the machine dies */
	u32 seq;
};

struct disk_mark {	/* what a flush found dirty */
	u32 n;
	u32 *sector;
	u32 *seq;
	u64 *val;
};

void disk_init(struct disk *d, u32 sectors);
void disk_copy(struct disk *to, const struct disk *from);
void disk_write(struct disk *d, u32 sector, u32 n, const u64 *val, bool fua);
void disk_crash(struct disk *d, u32 keep_percent);
void disk_lose(struct disk *d);
void disk_flush(struct disk *d);
void disk_forget(struct disk *d, const struct disk_mark *m, u32 end, u32 step);
void disk_doom(struct disk *d, const struct disk_mark *m, u32 step);
bool disk_is_doomed(const struct disk *d, u32 sector);
void data_hash(const struct disk *d, u8 hash[32]);
void disk_flush_begin(const struct disk *d, struct disk_mark *m);
void disk_flush_end(struct disk *d, struct disk_mark *m);
void blob_reset(void);
u64 blob_put(const void *bytes);
void page_get(const struct disk *d, u64 offset, struct fzc_page *page);
/* What a power cut leaves at least. */
void page_durable(const struct disk *d, u64 offset, struct fzc_page *page);

/* ---- I/O in flight ---- */

enum io_kind { IO_WRITE, IO_FLUSH, IO_COPY, IO_HOST, IO_READ, IO_FILL, IO_XFER, IO_RX, IO_GROW,
	       IO_TAGS };

struct hop;

/* Instead of a share of what was not flushed: a death without a power cut. */
#define KEEP_CACHE	1000U

struct io {
	bool used;
	u8 kind;
	u8 node;	/* 0: primary, 1: secondary */
	u8 what;	/* enum step */
	bool err;	/* some of it failed */
	bool torn;	/* in a power cut some of it gets to the disk, and some does not */
	bool fua;
	bool was_read;	/* an IO_XFER, with W.compresses: still to be sent */
	u32 step;	/* of those that take several */
	u32 until;	/* a slow one does nothing before this step of the world */
	struct disk *disk;
	u32 sector;
	u32 n;
	u64 val[SPB * 8];
	struct disk_mark mark;
	struct fzc_act act;
	struct hop *hop;
	struct fzc_xfer *x;
	struct fzc_rx *rx;
	bool encrypted;	/* an IO_RX */
	u32 slot[8];
	u8 place[8];
};

/* ---- the link ---- */

struct packet {
	bool data;
	bool backup;	/* sent by a secondary with old disks */
	struct fzc_msg msg;
	u64 frame;
	u64 image;
	u64 first;
	u32 n;
	u32 flags;
	u64 val[SPB * 8];
};

struct queue {
	u32 head, tail;
	struct packet *p[QUEUE];
};

struct conn {
	bool cut;
	bool taken;	/* the secondary has accepted it */
	struct queue ps, sp;
};

/* ---- the host and the oracle ---- */

enum hop_kind { HOP_WRITE, HOP_READ, HOP_FLUSH };
enum hop_state { HOP_FREE, HOP_PARKED, HOP_BUSY, HOP_SYNC };

struct hop {
	u8 kind;
	u8 state;
	bool fua;
	bool zeroes;
	bool in_slot;
	u32 first, n;	/* sectors */
	u64 val;
	u32 parts;
	bool err;	/* a part failed, the host is told */
	bool diff_err;	/* a write to DIFF failed, the core knows what to do */
	bool again;	/* parked: since its divert failed */
	bool woken;	/* parked: may try again */
	bool hungry;	/* ...for the memory of slots */
	bool pacing;	/* parked: for want of a slot */
	bool second;	/* ...for a divert of its block, or for the end of one */
	u32 parked_at;	/* parked: since this step, 0: not */
	u32 paced_at;	/* likewise, because slots are scarce */
	u64 ticket;
	u32 pos[MAX_SECTORS];	/* flush, read: newest completed write of each sector then */
	u64 was[SPB];	/* read: what that wrote */
};

struct image {
	struct fzc_img img;
	u64 val[MAX_SECTORS];
	u32 pos[MAX_SECTORS];	/* of the newest write in it, by sector */
	bool tight;	/* more blocks were frozen than there are slots */
};

enum fault { F_CUT, F_PCRASH, F_SCRASH, F_BOTH, F_PSTOP, F_SSTOP, F_NR };
#define P_MODES	4
#define S_MODES	3

struct stats {
	u64 schedules, steps, commits, crashes, aborts, merged, recoveries, told, rollbacks, heals;
	u64 tight, paced, paced_ok, paced_late, verify_bad, no_memory;
	u64 hits[P_MODES][S_MODES][F_NR];
	u64 io_errors, host_errors;
	u64 known;	/* blocks written in closed regions */
};

enum node_state { DOWN, LOADING, RUNNING, STOPPING };

/* ---- what happens, step by step (steps.c) ---- */

/* What a disk does for one of the two, then each frame by its type. */
enum step {
	STEP_SUPER, STEP_REGIONS, STEP_PROGRESS, STEP_DAMAGED, STEP_CHANGED, STEP_UNSENT,
	STEP_LABEL, STEP_INDEX, STEP_LAST_PAGE = STEP_INDEX,
	STEP_FLUSH_META, STEP_FLUSH_DATA, STEP_FLUSH_R10, STEP_FLUSH_DIFF,
	STEP_LAST_FLUSH = STEP_FLUSH_DIFF,
	STEP_MERGE_WRITE, STEP_FOLD_WRITE, STEP_HOST_WRITE_DATA, STEP_HOST_WRITE_SLOT,
	STEP_FILL_WRITE, STEP_RX_SLOT, STEP_RX_DATA, STEP_TAGS, STEP_LAST_WRITE = STEP_TAGS,
	STEP_MERGE_READ, STEP_FOLD_READ, STEP_VERIFY, STEP_HOST_READ_DATA, STEP_HOST_READ_SLOT,
	STEP_FILL_READ, STEP_SEND_DATA, STEP_SEND_SLOT, STEP_TAGS_READ,
	STEP_LOAD, STEP_MEMORY,
	STEP_FRAME, NR_STEPS = STEP_FRAME + FZC_NR_MSG,
};

/* A frame begins when it is sent, and has ended when the receiver has looked at it. */
enum instant { BEGUN, ENDING, ENDED, NR_INSTANTS };

enum p_state { P_AWAY, P_STARTING, P_NORMAL, P_MERGING, P_CLOSING, P_DELIVERING, P_ALL_SENT,
	       P_IN_DOUBT, P_STOPPING, NR_P_STATES };
enum s_state { S_AWAY, S_STARTING, S_COPYING, S_STAGING, S_FREEZING, S_MERGING, S_RECOVERED,
	       S_STOPPING, NR_S_STATES };

enum strike {
	X_P_LOST, X_P_SOME, X_P_KEPT, X_P_TWICE, X_S_LOST, X_S_SOME, X_S_KEPT, X_S_TWICE, X_BOTH,
	X_CUT, X_FLAP, X_OLD, X_TORN, X_ERROR, X_DEAD, NR_STRIKES,
};

/* Where a schedule stands: one number for node, step, instant and both states. */
struct point {
	u8 node, step, instant, p, s;
};

#define NR_POINTS	(2 * NR_STEPS * NR_INSTANTS * NR_P_STATES * NR_S_STATES)

static inline u32 point_id(const struct point *at)
{
	return (((at->node * NR_STEPS + at->step) * NR_INSTANTS + at->instant) * NR_P_STATES +
		at->p) * NR_S_STATES + at->s;
}

/* One fault at one point of one schedule, and what is true then. */
struct plan {
	bool armed;
	u8 strike;	/* enum strike */
	struct point at;
	u32 nth;	/* time that the schedule gets there */
	u32 old_at;	/* X_OLD: step from which the old disks are */
	u32 again;	/* X_..._TWICE: the node's writes until the next power cut */
	bool hit;	/* it is due as soon as the running activity has ended */
	u32 fired;	/* step, 0: not yet */
	struct io *io;	/* the one that it hits */
	struct disk old[FZC_NR_DEVS];
};

/* A stage's tags, as its shell has them in memory: all of them fit in a page. */
struct tags {
	bool loaded;
	bool dirty;
	u8 page[FZC_PAGE];
};

/* What is true of the two when it comes. */
struct expect {
	u32 demands;
	u64 number, other;	/* image of the secondary; the one before, if it is not durable */
	struct fzc_img freeze;
	bool recorded;	/* it was durable that this freeze is made */
	bool writing;	/* ...or that the one before has ended is being written */
	bool linked;
	bool recovered;
	bool aborted;
	bool s_known, s_comes, p_comes;
	u8 p_state;
	u64 host_errors;
};

struct outcome {
	const char *name;
	u32 demands;
};

#define ACTIVITIES	12

struct world {
	u32 weight[ACTIVITIES];
	u32 weight_sum;
	u64 seed;
	u32 step;
	bool verbose;
	bool failed;
	bool excused;	/* ended early, for no fault of the core */
	bool faulty;	/* any I/O may fail */
	bool dead[2][FZC_NR_DEVS][3];	/* by node, device: writes, flushes, reads all fail */
	bool errors;	/* some I/O failed on purpose */
	struct plan plan;
	struct expect expect;
	bool rotted;	/* what was to be committed */
	bool boundless;	/* regions could not be closed since the start: any number may be open */
	bool was_up;	/* the link, a step ago */
	u16 ran_at, ran_before;	/* steps in which the secondary ran */
	bool archivist;	/* backups are taken often */
	bool sick;	/* flushes fail now and then */
	bool lacks;	/* memory for slots, now and then */
	bool slow;	/* some I/O takes very long */
	bool reads_frozen;	/* what is read for sending now is a frozen block */
	bool compresses;	/* time passes from reading and splitting a run to sending it */
	bool hot;	/* the host writes mostly to a few places */
	bool p_drops, s_drops;	/* that side has to end its connection */
	bool calm;	/* no more faults: progress is owed */
	u32 pace;	/* steps that a write may be made to wait for a slot */
	u32 hung;	/* until this step nothing comes over the link */
	u32 no_link;	/* until this step nobody connects */
	u32 sectors;
	u32 blocks;
	struct fzc_geometry pgeo, sgeo;
	struct fzc_opts popts, sopts;

	struct disk pd[FZC_NR_DEVS], sd[FZC_NR_DEVS];
	struct disk backup[FZC_NR_DEVS];	/* of the secondary, of some time ago */
	struct disk saved[FZC_NR_DEVS];		/* the true ones while the backup is in use */
	bool have_backup, on_backup;
	struct fzc_pcore p;
	struct fzc_score s;
	struct tags tags[2];
	void *pmem, *smem;
	u64 pbytes, sbytes;
	u8 pstate, sstate;
	bool p_dead;		/* never to come back */
	bool p_want_stop, s_want_stop;
	bool p_reconnect;
	struct conn *pc, *sc;	/* each side's connection */
	struct conn *offer;	/* made by the primary, not yet accepted */

	struct io io[MAX_IOS];
	u32 ios;		/* of them, the ones that have been used */
	struct hop hop[MAX_HOPS];
	u64 next_val;

	/* what the host knows of each sector */
	u64 last[MAX_SECTORS];		/* newest completed write */
	u64 pend[MAX_SECTORS];
	bool pending[MAX_SECTORS];
	u64 hist[MAX_SECTORS][HISTORY];	/* submitted, from the newest known durable on */
	u32 hist_n[MAX_SECTORS];
	u32 hist_base[MAX_SECTORS];	/* absolute position of hist[][0] */
	u32 done_pos[MAX_SECTORS];	/* absolute position of `last` */
	bool hist_checked;
	bool p_died;		/* without a power cut */
	u32 cut_at;		/* step of the power cut that follows */

	struct image *image;	/* [MAX_IMAGES], not cleared for a new world */
	u32 images;
	struct fzc_id last_cut;
	u64 seen_number;	/* the newest image ever seen on the secondary */
	u64 acked_number;	/* the newest that the primary knows to be committed */
	u32 written[MAX_BLOCKS];	/* number of cuts at the last submission, plus 1; 0: never */
	bool extra[MAX_BLOCKS];		/* counts as changed, for a reason other than that */
	u32 extra_cuts;			/* ...since the last image, of which this is the cut */
	bool extra_before[MAX_BLOCKS];	/* the same when the image before was the last one */
	u32 extra_before_cuts;
	bool tainted;		/* before the last start */
	u32 doomed_pos[MAX_SECTORS];	/* up to this write none is known to be durable */
	u32 freeze_at;		/* step at which the gate was closed, 0: no */
	bool recovering;
	bool recovered_checked;
	u32 s_deaths;		/* of the secondary */
	u64 rec_val[MAX_SECTORS];	/* after recovery: what its host wrote */
	u64 rot_block;		/* a staged slot that rotted; U64_MAX: none */

	struct stats st;
};

extern struct world W;

__attribute__((format(printf, 1, 2))) void fail(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void say(const char *fmt, ...);
struct fzc_id random_id(void);

/* ios.c: I/O in flight */
struct io *io_new(u8 node, u8 kind);
bool io_any(u8 node);
void io_delay(struct io *io, u32 percent, u32 steps);
void io_crash(u8 node, u32 keep_percent);
bool io_step(u8 node);
u32 block_crc(const u64 *val, u32 n);
u32 block_sectors(u64 block);
struct disk *disk_of(u8 node, u8 dev);
u32 slot_sector(u8 node, u8 dev, u32 slot);
void slots_drop(struct fzc_slots *s);
bool tag_is(u8 dev, u32 slot, u32 crc);
void io_action(u8 node, const struct fzc_act *act, struct fzc_page *page);
void keys_get(const struct disk *d, struct fzc_super *sb);

/* steps.c: where schedules get, and the fault that is planned for one of these points */
extern const char *const step_name[NR_STEPS];
extern const char *const p_state_name[NR_P_STATES];
extern const char *const s_state_name[NR_S_STATES];
extern void (*on_point)(u32 id, const struct point *at);
u8 p_state(void);
u8 s_state(void);
void reached(u8 node, u8 step, u8 instant, struct io *io);
bool io_fails(u8 node, u8 step, u8 dev);
void strike(void);
void strike_heals(void);
void strike_prepare(void);

/* expect.c: what must be true after it */
extern const struct outcome outcomes[];
const struct outcome *outcome_of(const struct point *at, u8 strike);
void expect_begin(void);
void expect_s_up(void);
void expect_p_up(void);
void expect_connected(void);
void expect_aborted(u64 number);
void expect_healed(void);
void expect_end(void);

/* matrix.c */
extern const char *const strike_name[NR_STRIKES];
int matrix_list(const char *list, u64 seeds, u32 jobs, u32 steps);
int matrix(const char *list, u64 seeds, u32 jobs, u32 part, u32 hits, u32 steps);
int matrix_outcomes(const char *list);
int matrix_again(const char *what, u64 seed, u32 steps, bool verbose);

/* main.c */
extern struct plan next_plan;
bool schedule(u64 seed, u32 steps, bool verbose);


/* host.c: the host and its view of the primary (P3) */
bool host_new(void);
bool host_retry(void);
void host_wake(void);
void host_check_woken(void);
void host_check_paced(const struct fzc_xfer *x, u64 wanted);
u64 host_wanted(void);
void host_part_done(struct hop *h);
void host_part_failed(struct hop *h, bool diff);
void host_read_done(struct hop *h, const u64 *val);
void host_synced(u64 ticket, int err);
void host_check_primary(bool after_crash);
u32 host_most_open(void);
void host_crash(void);
void host_cut(void);
void host_asked(u64 first, u32 n);
bool host_busy(void);
void host_image_committed(const struct image *im);
void host_doomed(void);

/* primary.c, secondary.c: the shells */
bool p_step(void);
bool p_send_step(void);
void p_boot(void);
void p_crash(u32 keep);
void p_connect(void);
void p_disconnect(void);
void p_check_cut(void);
void p_freeze(bool force);
u32 p_mode(void);
bool s_step(void);
void s_boot(void);
void s_crash(u32 keep);
bool s_rot(u8 stage, u64 block);
void s_accept(void);
void s_disconnect(void);
bool s_deliver(void);
bool p_deliver(void);
void s_check(void);
bool s_damaged(u64 block);
u32 s_mode(void);
struct conn *conn_new(void);
void conn_push(struct queue *q, struct packet *pk, bool lost);
void conn_put(struct conn *c);
void conn_cut(struct conn *c);

#endif /* FZC_SIM_H */
