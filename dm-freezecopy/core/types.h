/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Words and types that all of the core shares.
 *
 * DOC: the core decides, the shell acts
 *
 * The core is plain C without I/O, locks, allocation or time.  The shell (the
 * kernel module, or the simulator) serialises all calls on one object, tells
 * it what happened (a bio came, a write is done, a frame arrived) and asks it
 * with ..._next() what to do.  What is to be done is a struct fzc_act; the
 * shell carries it out and reports with ..._done().  Every rule of the kind
 * "this must be durable before that" is kept by the core issuing the second
 * action only after the first was reported done.
 *
 * No core function sleeps, and all may be called from any context in which the
 * shell's lock may be held.
 */
#ifndef FZC_TYPES_H
#define FZC_TYPES_H

#include "port.h"

#define FZC_PAGE		4096U	/* unit of metadata I/O */
#define FZC_SECTOR		512U
#define FZC_MIN_BLOCK		4096U
#define FZC_MAX_BLOCK		0x100000U
#define FZC_MAX_BLOCKS		((u64)U32_MAX - 1)	/* slots name blocks with 32 bits */
#define FZC_MAX_SLOTS		0xfffff000U
#define FZC_MAX_NUMBER		(U64_MAX >> 1)	/* of an image, a generation, a page's sequence */
#ifndef FZC_MAX_RUN		/* the simulator wants small bounds, to reach them */
#define FZC_MAX_RUN		256U	/* blocks in one frame */
#define FZC_COPY_BATCH		64	/* blocks in one step of a merge */
#endif
#define FZC_MAX_RUN_BYTES	0x100000U
#define FZC_SHORT_RUN_BYTES	0x10000U
#define FZC_REASON_LEN		256
#define FZC_NAME_LEN		64	/* label of an image */

/* The devices of one side.  A secondary's two stages live on DIFF and DIFF_B. */
enum fzc_dev_role { FZC_META, FZC_DATA, FZC_DIFF, FZC_DIFF_B, FZC_NR_DEVS };

struct fzc_id {
	u8 b[16];
};

static inline bool fzc_id_equal(const struct fzc_id *a, const struct fzc_id *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static inline bool fzc_id_is_zero(const struct fzc_id *a)
{
	static const struct fzc_id zero;

	return fzc_id_equal(a, &zero);
}

/* An image: one freeze.  Number 0 means that there is none. */
struct fzc_img {
	u64 number;
	struct fzc_id id;
	u64 time;	/* seconds since 1970, the primary's clock */
	char label[FZC_NAME_LEN];
};

/* What a device is and how big; fixed while a table is loaded. */
struct fzc_geometry {
	u64 sectors;		/* size of the volume */
	u64 blocks;
	u32 block_size;		/* bytes */
	u32 block_shift;	/* log2 of it */
	u32 region_shift;	/* log2 of blocks in a region */
	u32 regions;
	u32 max_open;		/* regions that may be open at once */
	u32 map_pages;		/* pages of one bitmap */
	u32 slots[2];		/* on DIFF and DIFF_B */
	bool tagged;		/* each has a tag there: a secondary's, if they are encrypted */
};

enum fzc_event_kind {
	FZC_EVENT_CONNECT, FZC_EVENT_DISCONNECT, FZC_EVENT_CUT, FZC_EVENT_COMMIT,
	FZC_EVENT_MERGED, FZC_EVENT_ABORT, FZC_EVENT_COPY_DONE, FZC_EVENT_ERROR,
	FZC_EVENT_RECOVERED, FZC_EVENT_SHORT, FZC_EVENT_PACED, FZC_NR_EVENTS,
};

enum fzc_act_kind {
	FZC_ACT_NONE,
	FZC_ACT_WRITE,	/* write the page buffer to @dev at byte @offset, with FUA if @fua */
	FZC_ACT_FLUSH,	/* flush the volatile cache of @dev */
	FZC_ACT_COPY,	/* carry out the items of @copy, set each result */
	FZC_ACT_TAGS,	/* write the tags that were noted of slots and are not written yet */
	FZC_ACT_SEND,	/* send the control frame @msg on the session; no fzc_*_done() */
	FZC_ACT_SYNCED,	/* complete host flushes with a ticket <= @ticket, with @err; no done */
	FZC_ACT_WAKE,	/* parked bios may try again; no done */
	FZC_ACT_EVENT,	/* tell user space of @event; no done */
	FZC_ACT_AGAIN,	/* there is more, but let others have the lock first; no done */
	FZC_ACT_DROP,	/* drop the connection, reason in the core's @reason; no done */
	FZC_ACT_GROW,	/* allocate @chunk; done with NULL there when no memory is to be had */
	FZC_ACT_SHRINK,	/* free @chunk; no done */
};

enum fzc_copy_result {
	FZC_COPY_OK,
	FZC_COPY_BAD,		/* checksum */
	FZC_COPY_EIO,		/* reading @from_dev failed */
	FZC_COPY_EWRITE,	/* writing @to_dev did */
};

struct fzc_copy_item {
	u64 block;
	u32 from;	/* slot on @from_dev */
	u32 to;		/* slot on @to_dev, if that is not DATA */
	u32 crc;
	bool zero;	/* the content is zeroes: nothing to read */
	bool check;	/* verify @crc (over the whole block, or what the volume has of it) */
	u8 result;	/* enum fzc_copy_result, set by the shell */
};

struct fzc_copy {
	u8 from_dev;
	u8 to_dev;	/* DATA: to the block's own place; FZC_NR_DEVS: only look */
	u32 n;
	struct fzc_copy_item item[FZC_COPY_BATCH];
};

/* Control frames.  DATA frames have an interface of their own. */
enum fzc_msg_type {
	FZC_MSG_HELLO = 1,
	FZC_MSG_REFUSE = 2,
	FZC_MSG_SESSION = 3,
	FZC_MSG_SESSION_OK = 4,
	FZC_MSG_DATA = 5,
	FZC_MSG_DURABLE = 6,
	FZC_MSG_FREEZE = 7,
	FZC_MSG_ALL_SENT = 8,
	FZC_MSG_COMMITTED = 9,
	FZC_MSG_MERGED = 10,
	FZC_MSG_ABORT = 11,
	FZC_MSG_FULL = 12,
	FZC_MSG_NEED = 13,
	FZC_MSG_PING = 14,
	FZC_MSG_AUTH = 15,	/* before all others, where the table names a key */
	FZC_NR_MSG,
};

#define FZC_KEY_BYTES		32U
#define FZC_KEY_ID		8U
#define FZC_AUTH_NONCE		32U
#define FZC_TAG_BYTES		16U
#define FZC_SALT_BYTES		16U
#define FZC_NONCE_BYTES		12U

/*
 * The keys of a volume, drawn when its metadata is formatted; the shared key only
 * wraps them, so that it can be replaced.
 */
struct fzc_volume_keys {
	u8 meta[FZC_KEY_BYTES];		/* for the checksums of this side's metadata */
	u8 stage[FZC_KEY_BYTES];	/* for blocks in the stages; the primary's, on both sides */
};

/* A step of the proof that both have the key; what a step does not use is zero.  See auth.h. */
struct fzc_auth_msg {
	u8 step;
	u8 role;		/* enum fzc_disk_role */
	u8 ciphers;		/* bits: 1 << enum fzc_cipher */
	u8 key[2][FZC_KEY_ID];
	u8 nonce[FZC_AUTH_NONCE];
	u8 proof[FZC_KEY_BYTES];
};

/* What each side states before any data moves. */
struct fzc_hello {
	u8 role;		/* enum fzc_disk_role */
	bool blank;		/* secondary: no pair yet */
	bool recovered;
	bool merging;
	bool direct;		/* first copy: blocks go straight to the volume */
	bool encrypted;		/* blocks are encrypted in the stages */
	struct fzc_id pair;
	u64 sectors;
	u32 block_size;
	struct fzc_img image;	/* committed */
	struct fzc_img freeze;	/* running or in doubt; number 0: none */
	struct fzc_id stage;
	struct fzc_id session;	/* last one */
	u64 durable;		/* frames durable in that session */
};

enum fzc_order { FZC_ORDER_RESUME = 1, FZC_ORDER_NEW_STAGE = 2, FZC_ORDER_FIRST_COPY = 3 };

/* The primary's decision. */
struct fzc_session {
	u8 order;		/* enum fzc_order */
	struct fzc_id pair;
	struct fzc_id session;
	struct fzc_id stage;
	u64 building;		/* image number that the current stage builds */
	struct fzc_img freeze;	/* number 0: none, any that the secondary has is void */
	u8 stage_key[FZC_KEY_BYTES];	/* zero: blocks are not encrypted */
};

struct fzc_msg {
	u8 type;	/* enum fzc_msg_type */
	union {
		struct fzc_hello hello;
		struct fzc_session session;
		struct {	/* DURABLE, FULL: frame; NEED: first, n */
			u64 frame;
			u64 first;
			u32 n;
		};
		struct {	/* FREEZE, ALL_SENT, COMMITTED, MERGED, ABORT */
			struct fzc_img image;
			struct fzc_img base;
			struct fzc_id stage;
			u64 frames;
		};
		char reason[FZC_REASON_LEN];	/* REFUSE */
		struct fzc_auth_msg auth;
	};
};

struct fzc_act {
	u8 kind;	/* enum fzc_act_kind */
	u8 dev;		/* enum fzc_dev_role */
	u8 job;		/* the core's own: who asked */
	u8 event;	/* enum fzc_event_kind */
	bool fua;
	int err;
	u64 offset;
	u64 ticket;
	u32 arg;	/* the core's own */
	struct fzc_copy *copy;
	struct fzc_chunk *chunk;
	struct fzc_msg msg;
};

/* True: @act is to be carried out. */
static inline bool fzc_act_flush(struct fzc_act *act, u8 dev, u8 job)
{
	act->kind = FZC_ACT_FLUSH;
	act->dev = dev;
	act->job = job;
	return true;
}

static inline bool fzc_act_copy(struct fzc_act *act, u8 job, struct fzc_copy *copy)
{
	act->kind = FZC_ACT_COPY;
	act->job = job;
	act->copy = copy;
	return true;
}

/* What a core answers to a bio. */
enum fzc_go {
	FZC_GO_DATA,	/* all of it is on, or goes to, DATA */
	FZC_GO_MIXED,	/* ask block by block */
	FZC_GO_PARK,	/* nothing was taken; try again after FZC_ACT_WAKE */
	FZC_GO_PACE,	/* likewise, or when it has waited as long as it may */
	FZC_GO_FAIL,	/* EIO */
	FZC_GO_DENY,	/* read-only */
};

#endif /* FZC_TYPES_H */
