// SPDX-License-Identifier: GPL-2.0-only
/*
 * The points that a schedule can get to, and the one fault that a plan has for
 * one of them.  A power cut or a lost link comes when the activity that got
 * there has ended: between two activities anything may happen, never within.
 */
#include "sim.h"

void (*on_point)(u32 id, const struct point *at);

const char *const step_name[NR_STEPS] = {
	[STEP_SUPER] = "superblock", [STEP_REGIONS] = "region flags",
	[STEP_PROGRESS] = "progress page", [STEP_DAMAGED] = "list of damaged blocks",
	[STEP_CHANGED] = "changed bitmap", [STEP_UNSENT] = "unsent bitmap",
	[STEP_LABEL] = "first page of diff", [STEP_INDEX] = "index page",
	[STEP_FLUSH_META] = "flush of meta", [STEP_FLUSH_DATA] = "flush of data",
	[STEP_FLUSH_R10] = "flush of data before ALL_SENT", [STEP_FLUSH_DIFF] = "flush of diff",
	[STEP_MERGE_WRITE] = "write of a merge", [STEP_FOLD_WRITE] = "write of a fold",
	[STEP_HOST_WRITE_DATA] = "host write to data",
	[STEP_HOST_WRITE_SLOT] = "host write to diff",
	[STEP_FILL_WRITE] = "first write to a slot", [STEP_RX_SLOT] = "received block to a stage",
	[STEP_RX_DATA] = "received block to data", [STEP_TAGS] = "tags of a stage",
	[STEP_MERGE_READ] = "read of a merge",
	[STEP_FOLD_READ] = "read of a fold", [STEP_VERIFY] = "read of a verification",
	[STEP_HOST_READ_DATA] = "host read of data", [STEP_HOST_READ_SLOT] = "host read of diff",
	[STEP_FILL_READ] = "read that completes a slot",
	[STEP_SEND_DATA] = "read of data to send", [STEP_SEND_SLOT] = "read of diff to send",
	[STEP_TAGS_READ] = "read of tags to receive",
	[STEP_LOAD] = "read of metadata", [STEP_MEMORY] = "memory for slots",
	[STEP_FRAME + FZC_MSG_HELLO] = "HELLO", [STEP_FRAME + FZC_MSG_REFUSE] = "REFUSE",
	[STEP_FRAME + FZC_MSG_SESSION] = "SESSION",
	[STEP_FRAME + FZC_MSG_SESSION_OK] = "SESSION_OK", [STEP_FRAME + FZC_MSG_DATA] = "DATA",
	[STEP_FRAME + FZC_MSG_DURABLE] = "DURABLE", [STEP_FRAME + FZC_MSG_FREEZE] = "FREEZE",
	[STEP_FRAME + FZC_MSG_ALL_SENT] = "ALL_SENT",
	[STEP_FRAME + FZC_MSG_COMMITTED] = "COMMITTED",
	[STEP_FRAME + FZC_MSG_MERGED] = "MERGED", [STEP_FRAME + FZC_MSG_ABORT] = "ABORT",
	[STEP_FRAME + FZC_MSG_FULL] = "FULL", [STEP_FRAME + FZC_MSG_NEED] = "NEED",
};

const char *const p_state_name[NR_P_STATES] = {
	"away", "starting", "normal", "merging", "closing", "delivering", "all-sent", "in-doubt",
	"stopping",
};

const char *const s_state_name[NR_S_STATES] = {
	"away", "starting", "copying", "staging", "freezing", "merging", "recovered", "stopping",
};

u8 p_state(void)
{
	static const u8 of[] = {
		[FZC_PHASE_CLOSE] = P_CLOSING, [FZC_PHASE_DELIVER] = P_DELIVERING,
		[FZC_PHASE_SENT] = P_ALL_SENT, [FZC_PHASE_DOUBT] = P_IN_DOUBT,
	};

	switch (W.pstate) {
	case DOWN:
		return P_AWAY;
	case LOADING:
		return P_STARTING;
	case STOPPING:
		return P_STOPPING;
	}
	if (W.p.phase != FZC_PHASE_IDLE)
		return of[W.p.phase];
	return W.p.slots.used ? P_MERGING : P_NORMAL;
}

u8 s_state(void)
{
	switch (W.sstate) {
	case DOWN:
		return S_AWAY;
	case LOADING:
		return S_STARTING;
	case STOPPING:
		return S_STOPPING;
	}
	if (W.s.sb.flags & FZC_SB_RECOVERED)
		return S_RECOVERED;
	if (fzc_s_merging(&W.s))
		return S_MERGING;
	if (!W.s.has_image)
		return S_COPYING;
	return W.s.sb.freeze.number ? S_FREEZING : S_STAGING;
}

/* Of the other side only that it is not there, whatever it does. */
static struct point point_of(u8 node, u8 step, u8 instant)
{
	struct point at = { node, step, instant, p_state(), s_state() };

	if (node && (at.p == P_STARTING || at.p == P_STOPPING))
		at.p = P_AWAY;
	if (!node && (at.s == S_STARTING || at.s == S_STOPPING))
		at.s = S_AWAY;
	return at;
}

/* Is this where the plan's fault comes? */
static bool planned(const struct point *at)
{
	struct plan *pl = &W.plan;

	if (!pl->armed || pl->hit || memcmp(at, &pl->at, sizeof(*at)) || --pl->nth)
		return false;
	pl->hit = true;
	return true;
}

void reached(u8 node, u8 step, u8 instant, struct io *io)
{
	struct point at = point_of(node, step, instant);

	if (on_point)
		on_point(point_id(&at), &at);
	if (planned(&at))
		W.plan.io = io;
	if (W.plan.again && W.plan.fired && instant == BEGUN && step <= STEP_LAST_FLUSH &&
	    node == (W.plan.strike == X_S_TWICE) && !--W.plan.again)
		W.plan.hit = true;
}

static u8 io_class(u8 step)
{
	if (step > STEP_LAST_WRITE)
		return 2;
	return step >= STEP_FLUSH_META && step <= STEP_LAST_FLUSH;
}

/* Does what a disk is about to do fail?  By chance, or because it is planned. */
bool io_fails(u8 node, u8 step, u8 dev)
{
	bool *dead = &W.dead[node][dev][io_class(step)];
	struct point at = point_of(node, step, ENDING);
	bool fails = *dead;

	if (on_point)
		on_point(point_id(&at), &at);
	if (planned(&at)) {
		expect_begin();
		W.plan.hit = false;
		W.plan.armed = false;
		W.plan.fired = W.step ?: 1;
		*dead = W.plan.strike == X_DEAD;
		fails = true;
		say("node %u: %s fails, %s", node, step_name[step], *dead ? "for long" : "once");
	}
	if (W.faulty && !W.calm && chance(1))
		fails = true;
	if (fails) {
		W.errors = true;
		W.st.io_errors++;
	}
	return fails;
}

static void node_crash(u8 node, u32 keep)
{
	W.st.crashes++;
	if (node ? W.sstate == DOWN : W.pstate == DOWN)
		return;
	if (node)
		s_crash(keep);
	else
		p_crash(keep);
}

/* The secondary comes back with the disks that it had at step old_at. */
static void old_disks(void)
{
	u32 i;

	s_crash(100);
	for (i = 0; i < FZC_NR_DEVS; i++) {
		disk_copy(&W.saved[i], &W.sd[i]);
		disk_copy(&W.sd[i], &W.plan.old[i]);
	}
	W.on_backup = true;
	W.have_backup = false;
	W.st.rollbacks++;
}

void strike(void)
{
	struct plan *pl = &W.plan;

	if (!pl->hit)
		return;
	pl->hit = false;
	pl->armed = false;
	if (!pl->fired)
		expect_begin();
	pl->fired = W.step;
	say("fault: %u", pl->strike);
	switch (pl->strike) {
	case X_P_LOST:
	case X_P_SOME:
	case X_P_KEPT:
		node_crash(0, 50 * (pl->strike - X_P_LOST));
		break;
	case X_S_LOST:
	case X_S_SOME:
	case X_S_KEPT:
		node_crash(1, 50 * (pl->strike - X_S_LOST));
		break;
	case X_P_TWICE:
	case X_S_TWICE:
		node_crash(pl->strike == X_S_TWICE, 50);
		break;
	case X_BOTH:
		node_crash(0, 50);
		node_crash(1, 50);
		break;
	case X_CUT:
		conn_cut(W.pc);
		W.no_link = W.step + 100;
		break;
	case X_FLAP:
		p_disconnect();
		p_connect();
		break;
	case X_OLD:
		old_disks();
		break;
	case X_TORN:
		pl->io->torn = true;
		node_crash(pl->at.node, 0);
		break;
	}
}

/* Disks that died are replaced by as good ones with the same content. */
void strike_heals(void)
{
	if (!W.plan.fired || W.step != W.plan.fired + DEAD_STEPS)
		return;
	expect_healed();
	memset(W.dead, 0, sizeof(W.dead));
}

/* Keep what will be the old disks; no number is drawn, or the schedule would be another. */
void strike_prepare(void)
{
	struct plan *pl = &W.plan;
	u32 i;

	if (W.step % 64 == 1 && W.sstate == RUNNING && !W.on_backup) {
		W.ran_at = W.ran_before;
		W.ran_before = W.step;
	}
	if (!pl->armed || pl->strike != X_OLD || W.step != pl->old_at)
		return;
	for (i = 0; i < FZC_NR_DEVS; i++) {
		disk_copy(&pl->old[i], &W.sd[i]);
		disk_lose(&pl->old[i]);
	}
}
