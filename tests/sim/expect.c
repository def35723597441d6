// SPDX-License-Identifier: GPL-2.0-only
/*
 * What must be true after the fault of a plan, besides what always has to be:
 * an outcome for each fault, step and state, and what it demands.
 */
#include "sim.h"

#define BIT64(n)	(1ULL << (n))
#define P_CUTS		(BIT(X_P_LOST) | BIT(X_P_SOME) | BIT(X_P_KEPT) | BIT(X_P_TWICE))
#define S_CUTS		(BIT(X_S_LOST) | BIT(X_S_SOME) | BIT(X_S_KEPT) | BIT(X_S_TWICE))
#define ERRORS		(BIT(X_ERROR) | BIT(X_DEAD))
#define RECORDED	(BIT(P_DELIVERING) | BIT(P_ALL_SENT) | BIT(P_IN_DOUBT))
#define META_STEPS	(BIT64(STEP_SUPER) | BIT64(STEP_REGIONS) | BIT64(STEP_CHANGED) | \
			 BIT64(STEP_FLUSH_META) | BIT64(STEP_UNSENT))
#define FLUSHES		(BIT64(STEP_FLUSH_DATA) | BIT64(STEP_FLUSH_R10))
#define INDEX_STEPS	(BIT64(STEP_INDEX) | BIT64(STEP_FLUSH_DIFF))
#define SLOT_STEPS	(INDEX_STEPS | BIT64(STEP_FILL_WRITE) | BIT64(STEP_HOST_WRITE_SLOT))
#define HOST_STEPS	(BIT64(STEP_HOST_WRITE_DATA) | BIT64(STEP_HOST_READ_DATA) | \
			 BIT64(STEP_HOST_READ_SLOT) | BIT64(STEP_FILL_READ))
#define MERGE_STEPS	(BIT64(STEP_MERGE_READ) | BIT64(STEP_MERGE_WRITE))
#define SEND_STEPS	(BIT64(STEP_SEND_DATA) | BIT64(STEP_SEND_SLOT))
#define FOLD_STEPS	(BIT64(STEP_FOLD_READ) | BIT64(STEP_FOLD_WRITE))
#define RX_STEPS	(BIT64(STEP_RX_SLOT) | BIT64(STEP_RX_DATA) | BIT64(STEP_TAGS) | \
			 BIT64(STEP_TAGS_READ) | INDEX_STEPS | \
			 BIT64(STEP_PROGRESS))

/* what an outcome demands */
#define E_HOST		BIT(0)	/* no request of the host fails */
#define E_IMAGE		BIT(1)	/* the secondary comes back with the image that it had */
#define E_EITHER	BIT(2)	/* ...or with the one whose commit was being written */
#define E_DOUBT		BIT(3)	/* the primary comes back with the recorded freeze in doubt */
#define E_NONE		BIT(4)	/* the primary comes back without a freeze */
#define E_KEEPS		BIT(5)	/* the running freeze is not aborted, whatever else happens */
#define E_ABORTS	BIT(6)	/* the running freeze is aborted */
#define E_RECOVERED	BIT(7)	/* the secondary comes back recovered */
#define E_STANDS	BIT(8)	/* nothing is committed while the device is dead */
#define E_MERGES	BIT(9)	/* a merge does not end while the device cannot be written */
#define E_FROZEN	BIT(10)	/* of a frozen block: E_ABORTS; of another, once: E_KEEPS */

/* In the order in which Documentation/failures.rst shows them. */
const struct outcome outcomes[] = {
	{ "replay", E_HOST | E_IMAGE | E_NONE },
	{ "void", E_HOST | E_IMAGE | E_NONE },
	{ "doubt", E_HOST | E_IMAGE | E_EITHER | E_DOUBT },
	{ "copy", E_HOST | E_IMAGE },
	{ "staged", E_HOST | E_IMAGE },
	{ "commit", E_HOST | E_IMAGE | E_EITHER },
	{ "merge", E_HOST | E_IMAGE },
	{ "recovered", E_IMAGE | E_RECOVERED },
	{ "resume", E_HOST },
	{ "goes-on", E_HOST | E_KEEPS },
	{ "old", E_HOST },
	{ "meta", 0 },
	{ "start", E_HOST },
	{ "flush", E_HOST | E_ABORTS },
	{ "diff", E_ABORTS },
	{ "host", 0 },
	{ "merge-again", E_HOST },
	{ "not-sent", E_HOST | E_FROZEN },
	{ "s-meta", E_HOST | E_STANDS | E_KEEPS },
	{ "s-stage", E_HOST | E_KEEPS },
	{ "s-merge", E_HOST | E_KEEPS | E_MERGES },
	{ "s-fold", E_HOST },
	{ "s-verify", E_HOST | E_ABORTS },
	{ "s-tracks", 0 },
	{ }
};

/* The first that fits counts; 0 in a mask: any. */
static const struct rule {
	u32 strikes;
	u8 node;	/* where the step is; 2: any */
	u64 steps;
	u32 p, s;	/* states */
	const char *outcome;
} rules[] = {
	{ P_CUTS | BIT(X_BOTH), 2, 0, RECORDED, 0, "doubt" },
	{ BIT(X_TORN), 0, 0, RECORDED, 0, "doubt" },
	{ P_CUTS | BIT(X_BOTH), 2, 0, BIT(P_CLOSING), 0, "void" },
	{ BIT(X_TORN), 0, 0, BIT(P_CLOSING), 0, "void" },
	{ P_CUTS | BIT(X_BOTH), 2, 0, 0, 0, "replay" },
	{ BIT(X_TORN), 0, 0, 0, 0, "replay" },
	{ S_CUTS | BIT(X_TORN), 2, 0, 0, BIT(S_RECOVERED), "recovered" },
	{ S_CUTS | BIT(X_TORN), 2, 0, 0, BIT(S_COPYING), "copy" },
	{ S_CUTS | BIT(X_TORN), 2, 0, 0, BIT(S_MERGING), "merge" },
	{ S_CUTS | BIT(X_TORN), 2, 0, 0, BIT(S_FREEZING), "commit" },
	{ S_CUTS | BIT(X_TORN), 2, 0, 0, 0, "staged" },
	{ BIT(X_CUT) | BIT(X_FLAP), 2, 0, BIT(P_DELIVERING) | BIT(P_ALL_SENT), 0, "goes-on" },
	{ BIT(X_CUT) | BIT(X_FLAP), 2, 0, 0, 0, "resume" },
	{ BIT(X_OLD), 2, 0, 0, 0, "old" },
	{ ERRORS, 2, BIT64(STEP_LOAD) | BIT64(STEP_LABEL), 0, 0, "start" },
	/* of a checkpoint: the start does not wait for it */
	{ ERRORS, 0, BIT64(STEP_CHANGED) | BIT64(STEP_FLUSH_META), BIT(P_STARTING), 0, "meta" },
	{ ERRORS, 0, META_STEPS, BIT(P_STARTING), 0, "start" },
	{ ERRORS, 1, META_STEPS, 0, BIT(S_STARTING), "start" },
	{ ERRORS, 0, META_STEPS, 0, 0, "meta" },
	{ ERRORS, 0, FLUSHES, 0, 0, "flush" },
	{ ERRORS, 0, SLOT_STEPS, 0, 0, "diff" },
	{ ERRORS, 0, HOST_STEPS, 0, 0, "host" },
	{ ERRORS, 0, MERGE_STEPS, 0, 0, "merge-again" },
	{ ERRORS, 0, SEND_STEPS, 0, 0, "not-sent" },
	{ ERRORS, 1, 0, 0, BIT(S_RECOVERED), "s-tracks" },
	{ ERRORS, 1, META_STEPS | BIT64(STEP_DAMAGED), 0, 0, "s-meta" },
	{ ERRORS, 1, FOLD_STEPS, 0, 0, "s-fold" },
	{ ERRORS, 1, BIT64(STEP_VERIFY), 0, 0, "s-verify" },
	{ ERRORS, 1, MERGE_STEPS, 0, 0, "s-merge" },
	{ ERRORS, 1, BIT64(STEP_FLUSH_DATA), 0, BIT(S_MERGING), "s-merge" },
	{ ERRORS, 1, RX_STEPS | FLUSHES, 0, 0, "s-stage" },
	{ }
};

const struct outcome *outcome_of(const struct point *at, u8 strike)
{
	const struct rule *r;
	const struct outcome *o;

	for (r = rules; r->strikes; r++)
		if (r->strikes & BIT(strike) && (r->node == 2 || r->node == at->node) &&
		    (!r->steps || r->steps & BIT64(at->step)) && (!r->p || r->p & BIT(at->p)) &&
		    (!r->s || r->s & BIT(at->s)))
			break;
	for (o = outcomes; r->strikes && o->name; o++)
		if (!strcmp(o->name, r->outcome))
			return o;
	return NULL;
}

/* ---- before ---- */

void expect_begin(void)
{
	struct expect *e = &W.expect;
	const struct fzc_pcore *p = &W.p;
	u8 x = W.plan.strike;
	const struct outcome *o = outcome_of(&W.plan.at, x);

	if (!o) {
		fail("matrix: nothing is said about this fault");
		return;
	}
	e->demands = o->demands;
	/* without a connection it is read again, whatever it was */
	if (o->demands & E_FROZEN && W.reads_frozen && p->link == FZC_LINK_UP)
		e->demands |= E_ABORTS;
	else if (o->demands & E_FROZEN && x == X_ERROR)
		e->demands |= E_KEEPS;
	/* a device that is dead for long fails what the host wants of it, too */
	if (x == X_DEAD && !W.plan.at.node)
		e->demands &= ~E_HOST;
	e->number = W.s.sb.image.number;
	e->other = W.s.commit_at ? W.seen_number : e->number;
	e->freeze = p->freezing;
	/* what is loaded was recorded */
	e->recorded = p->sb.flags & FZC_SB_FREEZE &&
		      (W.plan.at.p == P_STARTING || p->sb_done >= p->record_at);
	e->writing = p->sb_done != p->sb_want;
	e->linked = p->link == FZC_LINK_UP;
	e->p_state = W.plan.at.p;
	e->host_errors = W.st.host_errors;
	e->s_known = W.sstate != DOWN && W.sstate != LOADING;
	e->recovered = W.s.sb.flags & FZC_SB_RECOVERED && !W.s.recover_at;
	e->s_comes = S_CUTS & BIT(x) || x == X_BOTH || (x == X_TORN && W.plan.at.node);
	e->p_comes = P_CUTS & BIT(x) || x == X_BOTH || (x == X_TORN && !W.plan.at.node);
}

/* ---- after ---- */

static bool wants(u32 what)
{
	return W.plan.fired && W.expect.demands & what;
}

/* The secondary runs again, after its power cut. */
void expect_s_up(void)
{
	struct expect *e = &W.expect;
	u64 n = W.s.sb.image.number;

	if (!wants(E_IMAGE) || !e->s_comes || !e->s_known || W.on_backup)
		return;
	e->s_comes = false;
	if (n != e->number && n != e->other)
		fail("matrix: the secondary comes back with image %llu, expected %llu or %llu",
		     (unsigned long long)n, (unsigned long long)e->number,
		     (unsigned long long)e->other);
	if (wants(E_RECOVERED) && e->recovered && !(W.s.sb.flags & FZC_SB_RECOVERED))
		fail("matrix: a recovered secondary comes back as one that is not");
}

/* The primary runs again, after its power cut. */
void expect_p_up(void)
{
	struct expect *e = &W.expect;
	bool doubt = W.p.phase == FZC_PHASE_DOUBT;

	if (!wants(E_DOUBT | E_NONE) || !e->p_comes)
		return;
	e->p_comes = false;
	if (wants(E_DOUBT) && e->recorded &&
	    !(doubt && fzc_id_equal(&W.p.freezing.id, &e->freeze.id)))
		fail("matrix: freeze %llu was recorded and is not in doubt",
		     (unsigned long long)e->freeze.number);
	if (wants(E_NONE) && doubt && !e->recorded && !e->writing)
		fail("matrix: freeze %llu is in doubt, which was never made",
		     (unsigned long long)W.p.freezing.number);
}

/* Both talk again: they agree on the image. */
void expect_connected(void)
{
	const struct fzc_img *a = &W.p.sb.image, *b = &W.s.sb.image;

	if (!W.plan.fired || W.on_backup || W.sstate != RUNNING || W.s.commit_at ||
	    W.s.link != FZC_SLINK_UP)
		return;
	if (a->number != b->number || (a->number && !fzc_id_equal(&a->id, &b->id)))
		fail("matrix: after the fault the primary has image %llu and the secondary %llu",
		     (unsigned long long)a->number, (unsigned long long)b->number);
}

void expect_aborted(u64 number)
{
	struct expect *e = &W.expect;

	if (!W.plan.fired || number != e->freeze.number)
		return;
	e->aborted = true;
	if (wants(E_KEEPS) && e->linked && (BIT(P_DELIVERING) | BIT(P_ALL_SENT)) & BIT(e->p_state) &&
	    !W.rotted && !W.lacks && !W.p.short_by && !W.p.peer_full)
		fail("matrix: freeze %llu is aborted because of the fault: %s",
		     (unsigned long long)number, W.p.reason);
}

/* The disks are good again: while they were not nothing was committed. */
void expect_healed(void)
{
	struct expect *e = &W.expect;

	if (wants(E_MERGES) && W.plan.strike == X_DEAD && W.plan.at.step == STEP_MERGE_WRITE &&
	    W.sstate == RUNNING && !fzc_s_merging(&W.s))
		fail("matrix: a merge has ended on a dead device");
	if (wants(E_STANDS) && W.plan.strike == X_DEAD && W.plan.at.step <= STEP_LAST_PAGE &&
	    !W.s.commit_at && W.sstate == RUNNING && W.s.sb.image.number != e->number &&
	    W.s.sb.image.number != e->other)
		fail("matrix: image %llu was committed on a dead device",
		     (unsigned long long)W.s.sb.image.number);
}

void expect_end(void)
{
	struct expect *e = &W.expect;

	if (wants(E_HOST) && W.st.host_errors != e->host_errors)
		fail("matrix: a request of the host failed");
	if (wants(E_ABORTS) && e->p_state == (W.plan.at.node ? P_ALL_SENT : P_DELIVERING) &&
	    !e->aborted)
		fail("matrix: freeze %llu was not aborted",
		     (unsigned long long)e->freeze.number);
}
