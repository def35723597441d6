/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The replay of a recording (recording.h): what a power cut would have left at
 * any point of it, and whether that is right.
 *
 * A sector's content is one number, its name: equal contents have equal names,
 * zeroes are 0.  So a disk is an array of names and a cut costs little.
 */
#ifndef PC_REPLAY_H
#define PC_REPLAY_H

#include "recording.h"
#include "pcore.h"
#include "score.h"

void __attribute__((noreturn, format(printf, 1, 2))) give_up(const char *fmt, ...);
void *grab(size_t n, size_t size);
const void *map_file(const char *dir, const char *name, size_t *len);

/* ---- recording.c ---- */

struct event {
	u8 type;	/* enum pc_type */
	u8 disk;
	bool fua;
	u32 arrived;
	u32 records;
	u32 sectors;
	u64 sector;	/* NOTE: the number */
	const u32 *name;	/* WRITE, SETTLE: one a sector */
};

struct recording {
	struct pc_head head;
	struct event *event;
	u32 events;
};

extern struct recording rec;

void recording_open(const char *dir);
/* The 512 bytes that have this name. */
const u8 *content(u32 name);

/* ---- media.c ---- */

struct medium {
	u32 sectors;
	u32 *now;		/* what the machine reads */
	u32 *durable;		/* what is certainly there after a power cut */
	u32 *durable_at;	/* by sector: 1 + the event that made it */
	u32 *cut;		/* what is there after the one under test */
	u32 *open;		/* writes that no flush has covered */
	u32 opens;
};

extern struct medium media[PC_DISKS];
extern int media_liar;	/* the flushes of this one do nothing; -1: of none */

/* How a cut is drawn. */
struct cut {
	u32 event;	/* the last that was completed */
	u64 seed;
	bool strict;	/* all that was completed is there, nothing else */
};

int medium_of(const char *machine, const char *role);
void media_open(void);
void media_apply(u32 event);
void media_cut(const struct cut *cut);

/* ---- oracle.c: what the primary may show (P3) ---- */

void oracle_open(const char *dir, u32 sectors);
/*
 * @records of the load's log have been written; and those up to @soon may have
 * been under way: a guest does not wait until what it logs is in the file.
 */
void oracle_advance(u32 records, u32 soon);
/* The primary lost its power and shows @view since. */
void oracle_died(const u32 *view);
/* The secondary shows this image: the primary must not be older (R10). */
void oracle_committed(const u32 *view);
/* NULL, or what is wrong. */
const char *oracle_check(const u32 *view);

/* ---- sides.c: what a machine shows that starts on these disks ---- */

enum state { NOW, DURABLE, CUT };

struct shown {
	struct fzc_img image;	/* number 0: none; and a secondary shows nothing */
	u32 *view;
	const struct fzc_map *changed[2];	/* primary: one of them says what differs */
};

void sides_open(void);
/* NULL, or why it does not start. */
const char *primary_show(enum state which, struct shown *s);
const char *secondary_show(enum state which, struct shown *s);
/* The image that the superblock names; cheap. */
u64 image_number(bool primary, enum state which);
u32 volume_sectors(void);
u32 block_sectors(void);

#endif /* PC_REPLAY_H */
