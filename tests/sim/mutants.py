#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Remove one rule at a time from the core (or from the simulated shell, where the rule is the
shell's) and see whether the simulator notices.  A mutant that survives is a hole in the oracle.

usage: mutants.py BUILD-FOLDER SEEDS [NAME...]

With MATRIX=1 in the environment the matrix alone has to notice, having learnt from SEEDS schedules."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
CORE = HERE.parent.parent / "dm-freezecopy/core"
BOUNDS = ["-DFZC_MAX_RUN=4U", "-DFZC_COPY_BATCH=3", "-DFZC_MAX_XFERS=6", "-DFZC_MAX_RX=8",
          "-DFZC_CHUNK_SLOTS=4U"]
CFLAGS = ["-std=gnu11", "-O2", "-w", *BOUNDS]
SECONDS = 600  # for one mutant

# (name, what is broken, file, text, replacement)
MUTANTS = [
    ("R1-write", "a write does not wait for a pending divert of its block", "pcore_io.c",
     "		case FZC_SLOT_FILLING:\n		case FZC_SLOT_RETIRING:	/* R12 */",
     "		case FZC_SLOT_RETIRING:	/* R12 */"),
    ("R1-wake", "a write that waits for a pending divert is not woken when that has ended", "pcore_io.c",
     "		p->wake |= p->place_awaited;\n", ""),
    ("R1-read", "a read goes to a slot whose first write is pending", "pcore_io.c",
     "	case FZC_SLOT_LIVE:\n	case FZC_SLOT_MERGING:\n		fzc_slot_read_get",
     "	case FZC_SLOT_FILLING:\n	case FZC_SLOT_LIVE:\n	case FZC_SLOT_MERGING:\n"
     "		fzc_slot_read_get"),
    ("R2", "the rest of a partly written block is not completed", "ios.c",
     "		memcpy(io->val, W.pd[FZC_DATA].cur + block * SPB, 8 * n);",
     "		memset(io->val, 0, 8 * n);"),
    ("R3-flush", "the index names slots that were not flushed", "pcore.c",
     "		p->sync_diff_due = p->slots.used;\n		p->sync_flushes = p->slots.used ? 2 : 1;",
     "		p->sync_flushes = 1;"),
    ("R3-wait", "FLUSH does not wait for the index", "pcore.c",
     "	if (p->slots.todo.count)\n		p->sync_step = SYNC_PAGES;\n	else\n		sync_end(p);",
     "	sync_end(p);"),
    ("R3-index-flush", "FLUSH does not flush the index", "pcore.c",
     "		p->sync_step = SYNC_FLUSH2;\n"
     "		return fzc_act_flush(act, FZC_DIFF, FZC_JOB_SYNC_FLUSH2);",
     "		sync_end(p);\n		return false;"),
    ("R3-epoch", "a change made while a commit runs counts as part of it", "slots.c",
     "	return flags & FZC_SLOT_PEND && (flags & FZC_SLOT_EPOCH) != s->epoch;",
     "	return flags & FZC_SLOT_PEND;"),
    ("R3-retired", "a slot that the running commit was to name is retired first", "slots.c",
     "	if (due(s, slot))\n		*fzc_slot_flags(s, slot) |= FZC_SLOT_NAMED;\n", ""),
    ("tags", "DURABLE is said of blocks whose tags are in memory only", "score.c",
     "		if (tags_due(s))\n			return sync_tags(s, act);\n", ""),
    ("tags-flush", "a stage is flushed before its tags are written", "score.c",
     "	case SYNC_TAGS:\n		if (s->sync_tags)\n			return false;\n", "	case SYNC_TAGS:\n"),
    ("tags-fold", "a fold leaves the tags behind", "ios.c",
     "	tag_put(c->to_dev, it->to, tag_get(c->from_dev, it->from));\n", ""),
    ("tags-key", "the stage's key is not stored with the session", "score_session.c",
     "	memcpy(sb->keys.stage, n->stage_key, FZC_KEY_BYTES);\n	s->last_durable = 0;",
     "	s->last_durable = 0;"),
    ("R4", "a parked write holds the gate", "pcore_io.c",
     "	if (go != FZC_GO_DATA)\n		return go;\n	if (mixed)",
     "	if (go != FZC_GO_DATA) {\n		p->writes += go == FZC_GO_PARK;\n		return go;\n"
     "	}\n	if (mixed)"),
    ("R4-again", "a cut is made while a write is to be done again, parts of it being done", "pcore.c",
     "	if (p->again) {", "	if (0) {"),
    ("R5-cancel", "a write does not take its region out of a closing", "intent.c",
     "		in->state[r] = OPEN;	/* R5: out of a closing */\n", ""),
    ("R5-busy", "a region is closed with a write in flight", "intent.c",
     "	return in->state[r] == OPEN && !in->busy[r] && !(in->flags[r] & FRESH);",
     "	return in->state[r] == OPEN && !(in->flags[r] & FRESH);"),
    ("R5-limit", "any number of regions may be open", "intent.c",
     "	return in->active.count + (closed > most / 2 ? 0 : closed) <= most;", "	return most;"),
    ("P4-open", "more regions are open than may be", "intent.c",
     "(closed > most / 2 ? 0 : closed) <= most;", "(closed > most / 2 ? 0 : closed) <= most + 1;"),
    ("format-error", "a page that could not be written is not missed while meta is formatted",
     "pcore.c", "			p->format_step--;\n", "			;\n"),
    ("merge-error", "a write of a merge that failed is taken for done", "ios.c",
     "			it->result = FZC_COPY_EWRITE;", "			;"),
    ("flush-error", "a flush that failed is not told to the host", "pcore.c",
     "		act->err = p->sync_err;", ""),
    ("R5-pages", "a region is closed before its bitmap is durable", "intent.c",
     "	for (a = 0; a < 2; a++)\n		if (in->sb->gen[a])\n"
     "			fzc_map_move(&in->dirty[a], &in->todo[a], U32_MAX);", ""),
    ("R5-closing-gen", "only the current generation's bitmap is made durable", "intent.c",
     "		if (in->sb->gen[a])\n			fzc_map_move(&in->dirty[a]",
     "		if (a == in->sb->cur)\n			fzc_map_move(&in->dirty[a]"),
    ("R5-flush", "a region is closed before its data is flushed", "pcore.c",
     "		p->ckpt_ticket = fzc_p_sync(p);", "		fzc_intent_synced(&p->in, 0);"),
    ("R5-map-flush", "the bitmap is not flushed before the flag is cleared", "intent.c",
     "	if (in->ckpt == FZC_CKPT_FLUSH && !in->flushing) {",
     "	if (in->ckpt == FZC_CKPT_FLUSH) {\n		in->ckpt = FZC_CKPT_CLEAR;\n"
     "		in->regions_wanted = true;\n		act->kind = FZC_ACT_AGAIN;\n		return true;\n"
     "	}\n	if (0) {"),
    ("known-part", "a closed region does for a write whose first block has changed", "intent.c",
     "	u64 end = min_t(u64, last + 1, (", "	u64 end = min_t(u64, b + 1, ("),
    ("known-closing-gen", "...for one to what has changed in the closing generation", "intent.c",
     "		if (!fzc_map_test(&in->changed[in->sb->cur], b))",
     "		if (!fzc_map_test(&in->changed[0], b) && !fzc_map_test(&in->changed[1], b))"),
    ("known-loose", "...for one to what has changed without being durable", "intent.c",
     "	return !(in->flags[r] & LOOSE || in->sb->flags & UNKNOWN);", "	return !(in->sb->flags & UNKNOWN);"),
    ("known-folding", "...while a generation is being folded", "intent.c",
     "(FZC_SB_FIRST_COPY | FZC_SB_CHANGED_ALL | FZC_SB_FOLDING)", "(FZC_SB_FIRST_COPY | FZC_SB_CHANGED_ALL)"),
    ("known-copy", "...in the first copy, which takes what was not flushed for delivered", "intent.c",
     "(FZC_SB_FIRST_COPY | FZC_SB_CHANGED_ALL | FZC_SB_FOLDING)", "(FZC_SB_CHANGED_ALL | FZC_SB_FOLDING)"),
    ("slot-merge", "the index forgets slots before it is durable that their blocks have changed", "pcore.c",
     "	if (!fzc_intent_settle(&p->in)) {", "	if (0) {"),
    ("slot-replay", "blocks of slots do not count as changed after a crash", "pcore_load.c",
     "		fzc_intent_add(&p->in, *fzc_slot_block(&p->slots, slot));", "		;"),
    ("slot-part", "no region is opened for a write of which a part goes in place", "pcore_io.c",
     "			else\n				*in_place = true;", "			else\n				*in_place |= b == first;"),
    ("start-flush", "what is read at a start need not be durable", "primary.c",
     "	disk_flush(&W.pd[FZC_DIFF]);\n", ""),
    ("index-lost", "index pages that a flush may have lost are not written again", "slots.c",
     "	fzc_map_move(&s->todo, &s->dirty, U32_MAX);\n	s->next = 0;",
     "	fzc_map_move(&s->todo, NULL, U32_MAX);\n	s->next = 0;"),
    ("R6", "write-zeroes goes in place whatever is frozen", "host.c",
     "	switch (fzc_p_write_place(&W.p, block, &slot)) {",
     "	switch (h->zeroes ? FZC_AT_DATA : fzc_p_write_place(&W.p, block, &slot)) {"),
    ("R7-durable", "DURABLE clears unsent as well", "pcore_session.c",
     "		fzc_map_clear_range(&p->inflight, x->first, x->n);\n		if (x->frozen)",
     "		fzc_map_clear_range(&p->inflight, x->first, x->n);\n"
     "		fzc_map_clear_range(&p->unsent, x->first, x->n);\n		if (x->frozen)"),
    ("R7-stale", "what was in flight at the cut counts as the frozen content", "pcore.c",
     "				fzc_xfer_set_stale(x, i);", "				;"),
    ("R7-split", "a run that is split forgets which blocks were written meanwhile",
     "pcore_session.c", "			fzc_xfer_set_stale(rest, i);", "			;"),
    ("R7-fold", "what was in flight when the link was lost counts as sent", "pcore_session.c",
     "		fzc_map_set_range(&p->unsent, x->first, x->n);\n}\n\nvoid fzc_p_disconnected",
     "		;\n}\n\nvoid fzc_p_disconnected"),
    ("R8", "two frames in flight for one block", "pcore_session.c",
     "		if (!fzc_map_test(&p->inflight, from) && (!not", "		if ((!not"),
    ("R9-source", "frozen blocks are sent with their newest content", "pcore_io.c",
     "	if (x->frozen)\n		return FZC_AT_DATA;", ""),
    ("R9-stage", "the stage is chosen without the image's number", "score_session.c",
     "		return !s->sb.stage_cur;\n	return -1;", "		return s->sb.stage_cur;\n	return -1;"),
    ("R9-ahead", "data is sent ahead while the stage for it is being merged", "pcore_session.c",
     "	       (!p->peer_merging && fzc_p_recorded(p)", "	       (fzc_p_recorded(p)"),
    ("R10-flush", "ALL_SENT without a flush of the primary's own devices", "pcore.c",
     "	p->r10_flushed = false;\n	fzc_p_event", "	p->r10_flushed = true;\n	fzc_p_event"),
    ("R10-frozen", "ALL_SENT before everything is durable there", "pcore_session.c",
     "	       !p->frozen.count && p->r10_flushed", "	       true"),
    ("R11-changed", "an abort forgets what changed before the cut", "pcore.c",
     "	fzc_intent_fold(&p->in);\n	fzc_p_dirty_super(p);\n	fzc_p_event(p, FZC_EVENT_ABORT);",
     "	fzc_intent_forget(&p->in);\n	fzc_p_dirty_super(p);\n"
     "	fzc_p_event(p, FZC_EVENT_ABORT);"),
    ("R11-unsent", "an abort forgets what was not delivered", "pcore.c",
     "fzc_map_move(&p->frozen, &p->unsent, 256)", "fzc_map_move(&p->frozen, NULL, 256)"),
    ("R11-fold", "an abort throws away what was sent ahead", "score.c",
     "	s->fold_step = s->fold_real ? FOLD_PICK : FOLD_SYNC;", "	s->fold_step = FOLD_SYNC;"),
    ("R11-restate", "an abort that was not heard is not restated", "score_session.c",
     "	if (n->order == FZC_ORDER_RESUME && sb->freeze.number &&", "	if (0 && n->order &&"),
    ("R11-closing", "an abort lets a running checkpoint close regions", "intent.c",
     "	drop_pages(in, other);\n	keep_open(in);", "	drop_pages(in, other);"),
    ("R11-unsaid", "the next cut does not wait until an abort is out", "pcore.c",
     "	if (p->stop_step || p->send_abort || ", "	if (p->stop_step || "),
    ("R11-early-fold", "a fold begins while blocks sent ahead are still being written", "score.c",
     "		if (s->sync_step != SYNC_IDLE || fzc_s_rx_busy(s))\n", "		if (s->sync_step != SYNC_IDLE)\n"),
    ("R12-retiring", "a block is written while its retirement is not durable", "pcore_io.c",
     "		case FZC_SLOT_RETIRING:	/* R12 */\n			return false;",
     "			return false;"),
    ("R12-early", "a block is written in place before its retirement is durable", "pcore.c",
     "	if (p->merge_step != MERGE_SYNC || p->sync_ended < p->merge_ticket)",
     "	if (p->merge_step != MERGE_SYNC)"),
    ("R12-flush", "a slot is retired before the copy is flushed", "slots.c",
     "	fzc_slot_set_state(s, slot, FZC_SLOT_RETIRING);\n	touch(s, slot);",
     "	fzc_slot_set_state(s, slot, FZC_SLOT_RETIRING);\n	touch(s, slot);\n"
     "	*fzc_slot_flags(s, slot) ^= FZC_SLOT_EPOCH;"),
    ("R12-reads", "a slot is reused while it is being read", "slots.c",
     "	if (*fzc_slot_reads(s, slot))\n		fzc_slot_set_state(s, slot, FZC_SLOT_ZOMBIE);\n"
     "	else\n		make_free(s, slot);",
     "	*fzc_slot_reads(s, slot) = 0;\n	make_free(s, slot);"),
    ("R13-regions", "open regions do not count as changed", "pcore_load.c",
     "	fzc_intent_replay(&p->in);", ""),
    ("R13-stage", "the stage is kept after an unclean stop", "pcore_load.c",
     "	p->sb.flags |= FZC_SB_NEW_STAGE;\n	fzc_map_zero",
     "	fzc_map_zero(&p->unsent);\n	fzc_map_zero"),
    ("R13-doubt", "a freeze in doubt is aborted before the secondary is heard", "pcore_load.c",
     "		p->phase = FZC_PHASE_DOUBT;",
     "	{\n		p->phase = FZC_PHASE_DOUBT;\n		fzc_p_void_freeze(p, \"mutant\");\n	}"),
    ("R13-trouble", "trouble after ALL_SENT aborts what may be committed", "pcore.c",
     "	if (p->phase == FZC_PHASE_CLOSE || p->phase == FZC_PHASE_DELIVER)\n"
     "		fzc_p_void_freeze(p, why);", "	fzc_p_void_freeze(p, why);"),
    ("R14-verify", "slots are merged without a look at their checksum", "score.c",
     "		it->check = !it->zero;", "		it->check = false;"),
    ("R14-early", "the commit does not wait until all slots are verified", "score.c",
     "	if (!s->commit.number || s->commit_at || !s->verified)\n		return;\n	sb->image",
     "	if (!s->commit.number || s->commit_at)\n		return;\n	sb->image"),
    ("R14-bad", "a bad slot found before the commit is passed over", "score.c",
     "		if (it->result == FZC_COPY_OK)\n			continue;\n		fzc_s_say",
     "		if (it)\n			continue;\n		fzc_s_say"),
    ("R14-merge-flush", "the merge ends without a flush", "score.c",
     "		s->merge_step = MERGE_FLUSH;\n"
     "		return fzc_act_flush(act, FZC_DATA, JOB_MERGE_FLUSH);",
     "		s->merge_step = MERGE_DAMAGED;\n		return false;"),
    ("R15-rx", "a new session begins while frames of the old one are being written",
     "score_session.c",
     "	return s->link == FZC_SLINK_DOWN && !fzc_s_rx_busy(s) && !s->sync_step",
     "	return s->link == FZC_SLINK_DOWN && !s->sync_step"),
    ("R15-commit", "a new session begins while a commit is in progress", "score_session.c",
     "	       !s->commit.number && !s->hold && !s->sb_busy && !s->format_step &&\n"
     "	       s->sb_want == s->sb_done;",
     "	       !s->format_step;"),
    ("R15-ended", "frames are taken although the connection is to be dropped",
     "score_session.c", "	return !s->hold && !s->ended && ", "	return !s->hold && "),
    ("R16-note", "a bad slot is passed over in silence", "score.c",
     "		s->damaged[s->ndamaged++] = it->block;", "		return true;"),
    ("R16-need", "a bad slot is not asked for again", "score_session.c",
     "	} else if (s->need && s->need <= s->ndamaged", "	} else if (0 && s->need <= s->ndamaged"),
    ("recovered-lost", "a recovered volume's host is not told of what a flush that it did not ask for has lost", "score.c",
     "		s->lost |= !!err;\n", ""),
    ("R17", "any last session is accepted", "session.c",
     "	if (fzc_id_equal(&peer->session, &v->me.session))\n		return 0;",
     "	if (v || peer)\n		return 0;"),
    ("R17-adopt", "what was told in the session before is expected of the one that is adopted",
     "pcore_session.c", "	if (d.adopt_pending) {", "	if (0) {"),
    ("R17-told", "a secondary that lost durable frames goes on with its stage", "session.c",
     "peer->durable < v->told", "0"),
    ("flaw-1", "writes after the cut join what is being delivered", "pcore_io.c",
     "	if (!fzc_map_test(&p->unsent, b))\n		fzc_map_set(&p->unsent, b);",
     "	fzc_map_set(p->phase == FZC_PHASE_DELIVER ? &p->frozen : &p->unsent, b);"),
    ("flaw-2", "a block counts as sent when it is sent", "pcore_session.c",
     "	x->frame = ++p->frames;",
     "	if (x->frozen)\n		fzc_map_clear_range(&p->frozen, x->first, x->n);\n"
     "	x->frame = ++p->frames;"),
    ("flaw-3", "unsent is set when a write is submitted, not when it ends", "pcore_io.c",
     "	if (!fzc_map_test(&p->unsent, b))\n		fzc_map_set(&p->unsent, b);\n	if (p->sb.flags",
     "	if (p->sb.flags"),
    ("again-part", "a write to a closed region needs nothing, whatever has changed", "intent.c",
     "	if (in->busy[r] == 0xffff || !fzc_map_test(&in->changed[in->sb->cur], block))",
     "	if (in->busy[r] == 0xffff)"),
    ("again-closing", "a write to one block does not take its region out of a closing", "intent.c",
     "	if (in->state[r] == OPEN && !held(in, r))\n		in->flags[r] &= LOOSE;\n	else if (in->state[r] != CLOSED ||",
     "	if (in->state[r] == OPEN && !held(in, r))\n		in->flags[r] &= LOOSE;\n	else if (in->state[r] == CLOSED &&"),

    ("flaw-4", "the receipt comes before the data is on disk", "score.c",
     "		s->sync_due = s->dirty;\n", "		s->sync_due = 0;\n"),
    ("flaw-5", "a merge overwrites what the host wrote meanwhile", "pcore_io.c",
     "			fzc_slot_set_state(&p->slots, slot, FZC_SLOT_LIVE);\n		(*fzc_slot_writes",
     "			;\n		(*fzc_slot_writes"),
    ("flaw-6", "what changed is only remembered in memory", "intent.c",
     "	in->state[r] = WANTED;", "	in->state[r] = OPEN;"),
    ("flaw-7", "a part of a block is written to a slot without the rest", "ios.c",
     "		memcpy(io->val, W.pd[FZC_DATA].cur + block * SPB",
     "		memcpy(io->val, W.pd[FZC_DIFF].cur + block * SPB"),
    ("flaw-9-full", "a full difference volume lets writes through", "pcore_io.c",
     "	if (need) {\n		go = fzc_p_divert",
     "	if (0) {\n		go = fzc_p_divert"),
    ("flaw-9-stage", "a stage that was discarded is taken for the one delivered to", "session.c",
     "	bool lost = !fzc_id_equal(&peer->stage, &me->stage) ||", "	bool lost = 0 ||"),
    ("flaw-10", "what stage B holds is lost after the merge of A", "score.c",
     "		fzc_s_reset_stage(s, m);\n		s->sb.flags &= ~FZC_SB_MERGING;",
     "		fzc_s_reset_stage(s, m);\n		fzc_s_reset_stage(s, !m);\n"
     "		s->sb.flags &= ~FZC_SB_MERGING;"),
    ("flaw-11", "the index of an erased stage survives", "score.c",
     "	s->sb.log[i] = ++s->sb.next_gen;\n}", "}"),
    ("flaw-12-read", "after the freeze reads look in the data volume only", "pcore_io.c",
     "	return p->slots.used ? FZC_GO_MIXED : FZC_GO_DATA;",
     "	return p->slots.used && p->phase != FZC_PHASE_IDLE ? FZC_GO_MIXED : FZC_GO_DATA;"),
    ("flaw-12-write", "after the freeze writes go in place, and the merge overwrites them",
     "pcore_io.c", "	bool mixed = p->slots.used || p->frozen.count, in_place = true;",
     "	bool mixed = p->frozen.count, in_place = true;"),
    ("P3-wake", "a write that waits for a slot is not woken by a delivery", "pcore_session.c",
     "			fzc_map_clear(&p->frozen, x->first + i);\n	fzc_p_pace_wake(p);\n",
     "			fzc_map_clear(&p->frozen, x->first + i);\n"),
    ("P3-bound", "a write waits for a slot however late it is", "pcore_pace.c",
     "	bool wait = !late && ", "	bool wait = "),
    ("P3-first", "what a write waits for is not sent first", "pcore_session.c",
     "	u64 b = fzc_p_wanted(p, &most);", "	u64 b = p->geo.blocks;"),
    ("P3-abort", "a full difference volume stops writes instead of the freeze", "pcore_pace.c",
     "	fzc_p_give_way(p, p->diff_failed ?", "	(void)(p->diff_failed ?"),
    ("memory-abort", "a write waits for memory that is not to be had", "pcore_pace.c",
     "	if (room && fzc_slots_more(&p->slots)) {", "	if (room) {"),
    ("memory-wake", "a write that waited for memory is not woken", "pcore.c",
     "		fzc_slots_give(&p->slots, act->chunk);\n		p->wake = true;",
     "		fzc_slots_give(&p->slots, act->chunk);"),
    ("memory-retry", "memory that was lacking once is never asked for again", "score.c",
     "	fzc_slots_retry(&s->stage[0]);\n	fzc_slots_retry(&s->stage[1]);\n", ""),
    ("memory-hold", "a frame is taken although there are no slots for it", "score_session.c",
     " && !fzc_s_grows(s, 0, FZC_MAX_RUN) &&\n	       !fzc_s_grows(s, 1, FZC_MAX_RUN)", ""),
    ("memory-split", "a bucket that is split keeps what belongs to the new one", "slots.c",
     "& (size - 1)) != n) {", "& (size - 1)) != n || 1) {"),
]


def sources():
    return sorted(HERE.glob("*.c")) + sorted(CORE.glob("*.c"))


def compile_one(src, obj):
    subprocess.run(["cc", *CFLAGS, "-I", str(src.parent), "-c", str(src), "-o", str(obj)],
                   check=True)


def base_objects(build):
    objs = {}
    jobs = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for src in sources():
            objs[src.name + str(src.parent == CORE)] = build / (
                ("core-" if src.parent == CORE else "sim-") + src.stem + ".o")
            jobs.append(pool.submit(compile_one, src,
                                    objs[src.name + str(src.parent == CORE)]))
        for job in jobs:
            job.result()
    return objs


def mutate(build, mutant):
    """The mutated source as a file in build, included under its own folder."""
    name, _, file, old, new = mutant
    src = CORE / file if (CORE / file).exists() else HERE / file
    text = src.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"mutants: {name}: its text stands {text.count(old)} times in {file}, "
                         "expected once: bring mutants.py up to date")
    # relative includes must still be found
    text = re.sub(r'#include "\.\./\.\./', f'#include "{HERE.parent.parent}/', text.replace(old, new))
    out = build / f"{name}.c"
    out.write_text(text)
    return src, out


def rows_of(text):
    """How many rows of the matrix failed, and the first of them."""
    rows = re.findall(r"^  (.*)\n  again:", text, re.M)
    return f"{len(rows)} rows, as {rows[0]}" if rows else ""


def try_mutant(build, objs, mutant, seeds):
    name = mutant[0]
    src, out = mutate(build, mutant)
    obj = build / f"{name}.o"
    exe = build / f"{name}.sim"
    subprocess.run(["cc", *CFLAGS, "-I", str(src.parent), "-c", str(out), "-o", str(obj)],
                   check=True)
    key = src.name + str(src.parent == CORE)
    subprocess.run(["cc", "-o", str(exe), str(obj),
                    *(str(o) for k, o in objs.items() if k != key)], check=True)
    begin = time.monotonic()
    matrix = os.environ.get("MATRIX")
    how = ["-m", str(HERE / "points.txt")] if matrix else ["-f", "1"]
    try:
        run = subprocess.run([str(exe), "-j", "1", "-n", str(seeds), *how],
                             capture_output=True, text=True, timeout=SECONDS, check=False)
        how = next((l for l in (run.stdout + run.stderr).splitlines()
                    if l.startswith("seed ") or "died" in l or "ssert" in l), "")
        if matrix:
            how = rows_of(run.stdout)
        found = bool(how)
    except subprocess.TimeoutExpired:
        found, how = False, f"no end within {SECONDS} s"
    exe.unlink()
    return found, how, time.monotonic() - begin


def main():
    build = pathlib.Path(sys.argv[1])
    seeds = int(sys.argv[2])
    wanted = [m for m in MUTANTS if m[0] in sys.argv[3:] or not sys.argv[3:]]
    build.mkdir(parents=True, exist_ok=True)
    objs = base_objects(build)
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda m: try_mutant(build, objs, m, seeds), wanted)
        for mutant, (found, how, seconds) in zip(wanted, results):
            print(f"{'found   ' if found else 'SURVIVES'} {mutant[0]:16} {seconds:5.1f} s  "
                  f"{mutant[1]}\n         {how[:150]}", flush=True)
            passed += found
            failed += not found
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
