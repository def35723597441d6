/* SPDX-License-Identifier: GPL-2.0-only */
/* What both roles do to take up, check and format their metadata. */
#ifndef FZC_LOAD_H
#define FZC_LOAD_H

#include "pcore.h"

/*
 * Take the superblock that counts from its two copies and check it against the
 * table.  @fresh: all zero, or a formatting that was not finished.
 */
int fzc_load_super(struct fzc_super *sb, const struct fzc_geometry *geo,
		   const struct fzc_opts *opts, u8 role, const struct fzc_page *a,
		   const struct fzc_page *b, u8 *copy, bool *fresh, char *why);
/*
 * Pages that were read for @load.  When the superblock is known and has keys: each one
 * that is sound and of its format is signed with them, or is not what was written.
 */
int fzc_load_check(const struct fzc_super *sb, const struct fzc_opts *opts,
		   const struct fzc_load *load, const struct fzc_page *a,
		   const struct fzc_page *b, char *why);
/* Check the head of a difference volume. */
int fzc_load_diff(const struct fzc_super *sb, const struct fzc_geometry *geo,
		  const struct fzc_page *page, u8 which, bool fresh, char *why);
/*
 * Take up the page of the index that @load asked for, if it is of @log, the one
 * that counts.  @seq: the highest number of a page so far.  Returns as give does.
 */
int fzc_load_index(struct fzc_slots *slots, const struct fzc_super *sb, u64 log, u64 blocks,
		   u64 *seq, struct fzc_load *load, const struct fzc_page *a,
		   const struct fzc_page *b, char *why);
/* Note the devices in the superblock. */
void fzc_note_devices(struct fzc_super *sb, const struct fzc_opts *opts);
/* The @step-th page of a formatting (from 0) into @page; false: there are no more. */
bool fzc_format_page(const struct fzc_super *sb, const struct fzc_geometry *geo, u32 step,
		     struct fzc_page *page, struct fzc_act *act);

#endif /* FZC_LOAD_H */
