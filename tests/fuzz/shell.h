/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the targets that run a whole core have around it: disks of memory with a
 * volatile cache, and the actions that are under way.
 *
 * The content of a block, or of a slot, is one number; 0 is zeroes.  Nothing is
 * encrypted: a tag is the number that it came with.
 */
#ifndef FUZZ_SHELL_H
#define FUZZ_SHELL_H

#include "fuzz.h"
#include "../../dm-freezecopy/core/pcore.h"
#include "../../dm-freezecopy/core/score.h"
#include "../../dm-freezecopy/core/volkey.h"

#define MAX_BLOCKS	24U
#define MAX_SLOTS	130U	/* two pages of an index */
#define MAX_PAGES	16U
#define MAX_PENDING	32U
#define TAG_PAGES	FZC_DIV_ROUND_UP(MAX_SLOTS, FZC_TAGS_PER_PAGE)

struct tag {
	u32 val;
	u8 key;				/* a byte of the stage's */
};

struct disk {
	struct fzc_page page[MAX_PAGES];
	u32 used;			/* pages that were written, a bit each */
	u32 val[MAX_SLOTS];		/* by block on DATA, else by slot */
	struct tag tag[MAX_SLOTS];
};

/* The tags of a stage, as they were noted. */
struct tags {
	struct tag tag[MAX_SLOTS];
	bool dirty[TAG_PAGES];
};

struct pending {
	bool used;
	struct fzc_act act;
	struct fzc_page page;
};

struct shell {
	bool second;
	struct fzc_geometry geo;
	struct fzc_opts opts;
	void *mem;
	struct disk cur[FZC_NR_DEVS];	/* what a read returns */
	struct disk dur[FZC_NR_DEVS];	/* what a power cut leaves */
	struct tags tags[2];
	struct pending pending[MAX_PENDING];
	u32 chunks;			/* that the core holds */
	bool dropped;			/* the core gave up the connection */
	bool errors;			/* some I/O failed, or a disk holds what nobody wrote */
	bool damaged;			/* a page of it */
	u64 synced;			/* host flushes up to this ticket are done... */
	int sync_err;
	struct fzc_msg sent;		/* the last control frame */
	u64 sends[FZC_NR_MSG];
	u64 events[FZC_NR_EVENTS];
};

/* One runs at a time. */
extern struct shell W;
extern struct fzc_pcore P;
extern struct fzc_score S;

/* A node of @role with blank disks and a volume of all blocks but some sectors. */
void shell_make(bool second, u32 slots_a, u32 slots_b);
/* From now on its blocks are encrypted in the stages; and its metadata is signed, too. */
void shell_encrypt(void);
void shell_sign(void);
/* What signs the pages of a side that runs, or could; a page as it would be written there. */
void shell_sign_page(u8 dev, u64 offset, const struct fzc_volume_keys *keys,
		     struct fzc_page *page);
/* The shared key. */
#define SHARED_KEY	0x5a
/* Load and start: 0, or what the core said. */
int shell_boot(void);
/* Power is cut.  Then boot, or give the memory back. */
void shell_crash(void);
void shell_free(void);

/* A block was encrypted and put into a slot. */
void shell_note_tag(u8 dev, u32 slot, u32 val);
/* What is in a slot, and is what its index says, can be decrypted. */
void shell_check_tag(u8 dev, u32 slot, u32 val);

/* Ask the core once; false: nothing to do. */
bool shell_next(void);
/* The @n-th action under way ends; false: there is none. */
bool shell_end(u32 n, bool fails);
/* All that there is to do, without errors. */
void shell_settle(void);
/* As much as @n steps of it. */
void shell_run(struct in *in, u32 n);

/* What a number, an id of the peer may be: the right one, one near by, or any. */
u64 any_number(struct in *in, u64 right);
struct fzc_id any_id(struct in *in, const struct fzc_id *right);
struct fzc_img any_image(struct in *in, const struct fzc_img *right);
struct fzc_id fresh_id(void);

static inline u32 value_crc(u32 val)
{
	return val * 2654435761U ^ 0x5a5a;
}

#endif /* FUZZ_SHELL_H */
