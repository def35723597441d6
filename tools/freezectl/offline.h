/* SPDX-License-Identifier: GPL-2.0-only */
/* Metadata on a device, read with the core and without the module, never written. */
#ifndef FREEZECTL_OFFLINE_H
#define FREEZECTL_OFFLINE_H

#include "../../dm-freezecopy/core/blockmap.h"
#include "../../dm-freezecopy/core/ondisk.h"
#include "../../dm-freezecopy/core/slots.h"
#include "../../dm-freezecopy/core/volkey.h"

/*
 * 1: the first page holds freezecopy metadata, or some data that is not zero,
 * and @text names it; 0: it is zero; -1: it cannot be read.
 */
int offline_name(int fd, char *text, size_t len);

enum offline_kind { OFFLINE_META, OFFLINE_DIFF };

struct offline {
	const char *path;
	int fd;
	u64 bytes;
	enum offline_kind kind;
	struct fzc_geometry geo;	/* block_size 0: the sizes on the device are impossible */
	char why[FZC_REASON_LEN];	/* ...because */

	/* meta: its superblock, which of two copies, and what was found in both places */
	struct fzc_super sb;
	int copy;
	enum fzc_page_verdict verdict[2];
	char text[2][FZC_REASON_LEN];

	/* a difference volume: its head, and the newest log of which there are pages */
	struct fzc_diff_body diff;
	u64 format;
	u64 log;
	bool is_signed;

	/* by prove(): what its pages are signed with */
	struct fzc_volkey *vk;
	struct fzc_volume_keys keys;
};

/*
 * Open @path, a block device or a copy of one in a file, and find out what it
 * is.  Says what is wrong, returns an exit code; offline_close() in any case.
 */
int offline_open(struct offline *o, const char *path);
void offline_close(struct offline *o);

bool offline_read(const struct offline *o, u64 offset, struct fzc_page *page);

struct offline_signed {
	u64 pages;
	u64 wrong;
};

/* How many pages of an array count, have a torn copy, or have nothing but torn copies. */
struct offline_pages {
	u64 valid;
	u64 torn;
	u64 lost;
};

/*
 * Bitmap @area of meta into @map, which the caller frees with
 * offline_free_map().  @stray counts bits that stand for no block.  False: no
 * memory, or a read failed.
 */
bool offline_bitmap(const struct offline *o, enum fzc_area area, struct fzc_map *map, void **mem,
		    struct offline_pages *pages, u64 *stray);

/* Slots that a difference volume of this size has at most. */
u32 offline_slots_fit(const struct offline *o);

/*
 * How many pages are sound and of this volume, and signed; each of them is told to @bad
 * that is not signed though the others are, or, after prove(), signed wrongly.
 * False: a read failed.
 */
bool offline_signatures(const struct offline *o, struct offline_signed *n,
			void (*bad)(const char *why, void *arg), void *arg);

/*
 * Ids of the shared keys that the superblocks on @path are wrapped with, past what
 * memory has of it; how many there are, or -errno: it cannot be read.
 */
int offline_wrapped(const char *path, u8 id[2][FZC_KEY_ID]);

/* Open regions: their number and bits that stand for none; false: no valid copy. */
bool offline_regions(const struct offline *o, u64 *open, u64 *stray);

/* The valid one of two copies at @offset; false: there is none. */
bool offline_pair(const struct offline *o, u64 offset, enum fzc_page_kind kind,
		  struct fzc_page *page);

/*
 * Replay the index of a difference volume.  A page that contradicts itself or
 * another is told to @bad and left out.  False: no memory, or a read failed.
 */
bool offline_index(const struct offline *o, struct fzc_slots *slots, void **mem,
		   struct offline_pages *pages, void (*bad)(const char *why, void *arg), void *arg);
/* Of both, when it was tried; @mem may be NULL. */
void offline_index_free(struct fzc_slots *slots, void *mem);

#endif
