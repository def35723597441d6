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

#define SPB		8U		/* sectors of a block */
#define MAX_BLOCKS	32U
#define MAX_SECTORS	(MAX_BLOCKS * SPB)
#define MAX_HOPS	8
#define MAX_IOS		256
#define MAX_IMAGES	512
#define QUEUE		256
#define HISTORY		96

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
void disk_flush_begin(const struct disk *d, struct disk_mark *m);
void disk_flush_end(struct disk *d, struct disk_mark *m);
void blob_reset(void);
u64 blob_put(const void *bytes);
void page_get(const struct disk *d, u64 offset, struct fzc_page *page);

/* ---- I/O in flight ---- */

enum io_kind { IO_WRITE, IO_FLUSH, IO_COPY, IO_HOST, IO_READ, IO_FILL, IO_XFER, IO_RX };

struct hop;

struct io {
	bool used;
	u8 kind;
	u8 node;	/* 0: primary, 1: secondary */
	bool fua;
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
	u32 slot[8];
	u8 place[8];
};

/* ---- the link ---- */

struct packet {
	bool data;
	bool zero;
	bool direct;
	bool backup;	/* sent by a secondary with old disks */
	struct fzc_msg msg;
	u64 image;
	u64 first;
	u32 n;
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
	bool woken;	/* parked: may try again */
	bool pacing;	/* parked: for want of a slot */
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
	u64 schedules, steps, commits, crashes, aborts, merged, recoveries, rollbacks, heals;
	u64 tight, paced, paced_ok, paced_late, verify_bad;
	u64 hits[P_MODES][S_MODES][F_NR];
};

enum node_state { DOWN, LOADING, RUNNING, STOPPING };

#define ACTIVITIES	12

struct world {
	u32 weight[ACTIVITIES];
	u32 weight_sum;
	u64 seed;
	u32 step;
	bool verbose;
	bool failed;
	bool excused;	/* ended early, for no fault of the core */
	bool archivist;	/* backups are taken often */
	bool sick;	/* flushes fail now and then */
	bool slow;	/* some I/O takes very long */
	bool p_drops, s_drops;	/* that side has to end its connection */
	bool calm;	/* no more faults: progress is owed */
	u32 pace;	/* steps that a write may be made to wait for a slot */
	u32 hung;	/* until this step nothing comes over the link */
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
	void *pmem, *smem;
	u64 pbytes, sbytes;
	u8 pstate, sstate;
	bool p_dead;		/* never to come back */
	bool p_want_stop, s_want_stop;
	bool p_reconnect;
	struct conn *pc, *sc;	/* each side's connection */
	struct conn *offer;	/* made by the primary, not yet accepted */

	struct io io[MAX_IOS];
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

	struct image image[MAX_IMAGES];
	u32 images;
	struct fzc_id last_cut;
	u64 seen_number;	/* the newest image ever seen on the secondary */
	u64 acked_number;	/* the newest that the primary knows to be committed */
	u32 freeze_at;		/* step at which the gate was closed, 0: no */
	bool recovering;
	bool recovered_checked;
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
void io_action(u8 node, const struct fzc_act *act, const struct fzc_page *page);

/* host.c: the host and its view of the primary (P3) */
bool host_new(void);
bool host_retry(void);
void host_wake(void);
void host_check_woken(void);
void host_check_paced(const struct fzc_xfer *x, u64 wanted);
u64 host_wanted(void);
void host_part_done(struct hop *h);
void host_read_done(struct hop *h, const u64 *val);
void host_synced(u64 ticket, int err);
void host_check_primary(bool after_crash);
void host_crash(void);
bool host_busy(void);
void host_image_committed(const struct image *im);

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
u32 s_mode(void);
struct conn *conn_new(void);
void conn_push(struct queue *q, struct packet *pk, bool lost);
void conn_put(struct conn *c);
void conn_cut(struct conn *c);

#endif /* FZC_SIM_H */
