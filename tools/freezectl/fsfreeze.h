/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Freeze file systems together, and be sure that they are thawed.
 *
 * A child process does it, because syncfs() and FIFREEZE can hang: the parent
 * goes on at the deadline.  The child thaws when the parent dies, however it
 * dies, and when the deadline passes.  Each file system's state stands in
 * memory that both share; who takes it from "frozen" to "thawed" is the one who
 * thaws, so that nothing is thawed twice (it may be somebody else's by then) or
 * never.  What was found frozen already is left alone.
 */
#ifndef FREEZECTL_FSFREEZE_H
#define FREEZECTL_FSFREEZE_H

#include <stdbool.h>
#include <stdint.h>

#include "users.h"

struct fs_set;

/*
 * Open one mount point of every file system in @u.  Says what cannot be opened,
 * returns an exit code.  fs_set_free() takes NULL, too.
 */
int fs_set_open(const struct users *u, struct fs_set **set);
void fs_set_free(struct fs_set *set);

/*
 * Sync all, freeze all, by @deadline (a now_ms() time).  FC_DONE: they are
 * frozen, and nobody must write to any file until fs_thaw(); otherwise nothing
 * is frozen and it was said why.
 */
int fs_freeze(struct fs_set *set, uint64_t deadline);

/* True: everything stayed frozen up to this call, which ended it. */
bool fs_thaw(struct fs_set *set);

/* Say what was frozen, and what the user has to thaw. */
void fs_report(const struct fs_set *set);

#endif
