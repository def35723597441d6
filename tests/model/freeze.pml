/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The protocol between a primary and its secondary, as steps that are atomic and happen in
 * any order.  tests/model/run explores it exhaustively.
 *
 * DOC: what is modelled
 *
 * The decisions of both cores: writes, cuts, picking and sending blocks, DURABLE, ALL_SENT,
 * commit, merge, abort and fold; superblock writes of the primary that come later than what they
 * record; sessions with their ids; a freeze in doubt; the caches that forget at a power cut.
 * Names of rules are those of Documentation/design.rst; the function of the core that a
 * part stands for is named beside it.
 *
 * A connection is two queues and a wire.  A cut wire takes nothing more, but what
 * is queued may still arrive until the receiver notices.  Each side notices on its own.  A
 * new connection begins when both have, and the secondary is idle (R15); so a frame or a commit
 * that is being written may outlive its connection, and nothing else of it does.
 *
 * A content is the number of its write.  History is exact: what the volume was at each cut.
 * What is not durable is one step with what makes it so where nothing can tell the two apart: a
 * power cut before is one that loses it, or a message that is lost.
 *
 * DOC: properties
 *
 * P1  what the secondary shows is the primary's volume at the cut of the image it claims
 * P2  that image never goes back, nor is it older than the one the primary knows committed
 * P3  after a power cut the primary is not older than the committed image
 * P4  nobody loses a stage, and with it a running freeze, because of the link alone
 * P5  two sound sides never refuse each other, and get no frame that they do not expect; a
 *     side with old disks is refused, or all of this holds with them
 * E   there is no cycle, and every run ends with no freeze under way and with the secondary
 *     holding, staged or merged, what the primary has.  (ENDS=1: faults and host may stop
 *     at any time, so nobody is rescued by a later fault.)
 *
 * DOC: what is not
 *
 * R1 to R6, R12: where the primary keeps a block.  There are no slots, regions or bitmap pages:
 *   `img` is the newest content, and what a cut froze can be read until it is delivered.
 * R14: a checksum, and the flush of a merge.  What ALL_SENT is compared with is asserted (P5).
 * R16, NEED, FULL: no disk fails and nothing is full.  A fold may find no room, though.
 * The first copy: both sides begin with image 0.  Recovery: what it would give is checked by P1
 *   in every state.  Several blocks in a frame; more than NX frames in flight; writes in flight
 *   at a cut.
 * The simulator (tests/sim) shows these with the real core.
 */

/*
 * Rules that can be taken away, one at a time: WITHOUT=number in the environment of pan,
 * or -DWITHOUT=number for cc.  tests/model/run reads this list.
 */
#define R7_PICK		1	/* a block is no longer unsent when it is sent, not when picked */
#define R7_DURABLE	2	/* DURABLE says that nothing newer has to be sent either */
#define R7_STALE	3	/* what is in flight at the cut counts as frozen content */
#define R7_FOLD		4	/* what is in flight when the link is lost counts as sent */
#define R8		5	/* two frames in flight for a block */
#define R9_SOURCE	6	/* frozen blocks are sent with their newest content */
#define R9_STAGE	7	/* the stage is chosen without the image's number */
#define R9_AHEAD	8	/* the image after the next is staged while the last is merged */
#define R9_MERGED	9	/* ALL_SENT does not wait for MERGED */
#define R10_FROZEN	10	/* ALL_SENT before all of it is durable there */
#define R10_FLUSH	11	/* ALL_SENT without a flush of the primary's own devices */
#define R11_CHANGED	12	/* an abort forgets what changed before the cut */
#define R11_UNSENT	13	/* an abort forgets what was not delivered */
#define R11_FOLD	14	/* an abort throws away what was sent ahead */
#define R11_RESTATE	15	/* an abort that was not heard is not restated */
#define R11_UNSAID	16	/* a cut is made before the last abort is said */
#define R11_EARLY	17	/* a fold does not wait for frames that are being written */
#define R13_REGIONS	18	/* open regions do not count as changed */
#define R13_STAGE	19	/* the stage is kept after an unclean stop */
#define R13_DOUBT	20	/* a freeze in doubt is aborted before the secondary is heard */
#define R13_REFUSE	21	/* a freeze in doubt does not keep the next from being made */
#define R13_SENT	22	/* a freeze is aborted after ALL_SENT */
#define R13_RECORD	23	/* a freeze is told before its record is durable */
#define R14_ONE		24	/* the commit takes two writes */
#define R14_AGAIN	25	/* a crash ends the merge */
#define R14_OTHER	26	/* the other stage does not become the current one */
#define R15_FRAMES	27	/* frames of the last connection are looked at */
#define R15_RX		28	/* a hello is answered while frames are being written */
#define R15_COMMIT	29	/* a hello is answered while a commit is being written */
#define R17_PENDING	30	/* SESSION is said before its id is stored as pending */
#define R17_STORED	31	/* SESSION_OK is said before the id is stored */
#define R17_KNOWN	32	/* any last session will do */
#define R17_TOLD	33	/* a secondary may come back with less than it had said */
#define R17_ADOPT	39	/* an adopted session is to have what the last one had told */
#define P5_ID		40	/* a freeze is known by its number alone */
#define P5_STAGE	34	/* stages are not compared */
#define P5_BASE		35	/* images are not compared */
#define RETRY_REPLY	36	/* that the reply to ALL_SENT was lost is not noticed */
#define RETRY_ALL_SENT	37	/* ALL_SENT is said once, not once a connection */
#define RETRY_MERGED	38	/* MERGED is said once, not once a connection */

c_decl {
	\#include <stdio.h>
	\#include <stdlib.h>

	\#ifndef WITHOUT
	\#define WITHOUT 0
	\#endif
	\#define POINTS 20

	static struct {
		int without, blocks, writes, freezes, aborts, faults, backups, ends, split;
	} set;
	static unsigned long seen[POINTS];

	static int setting(const char *name, int otherwise)
	{
		const char *value = getenv(name);

		return value ? atoi(value) : otherwise;
	}

	static void tell_seen(void)
	{
		int i;

		for (i = 1; i < POINTS; i++)
			printf("reached %d: %lu times\n", i, seen[i]);
	}

	static void __attribute__((constructor)) read_settings(void)
	{
		set.without = setting("WITHOUT", WITHOUT);
		set.blocks = setting("BLOCKS", 2);	/* at most NB */
		set.writes = setting("WRITES", 2);	/* of the host */
		set.freezes = setting("FREEZES", 2);	/* at most MAXF */
		set.aborts = setting("ABORTS", 1);	/* by order, or for any other reason */
		set.faults = setting("FAULTS", 1);	/* see world() */
		set.backups = setting("BACKUPS", 0);	/* old disks: 1 secondary, 2 primary */
		set.ends = setting("ENDS", 0);	/* 1: faults and host may stop at any time */
		set.split = setting("SPLIT", 0);	/* 1: time passes between pick and read */
		atexit(tell_seen);
	}
}

#define OFF(rule)	c_expr { set.without == rule }
#define SET(what)	c_expr { set.what }

/* That a point is reached is counted, so that nothing holds because nothing happens. */
#define REACHED(point)	c_code { seen[point]++; }
#define A_STALE		1	/* a block was rewritten between its pick and the cut */
#define A_AHEAD		2	/* the other stage had content when an image was committed */
#define A_SECOND	3	/* a second image was committed */
#define A_ABORTED	4	/* ABORT was heard */
#define A_FOLDED	5	/* a fold took content from the newer stage */
#define A_RESTATED	6	/* an abort was first heard of in SESSION */
#define A_GIVEN_UP	7	/* a fold found no room */
#define A_DOUBT_YES	8	/* a freeze in doubt had been committed */
#define A_DOUBT_NO	9	/* a freeze in doubt had not been committed */
#define A_LOST_REPLY	10	/* COMMITTED was lost without a crash of the primary */
#define A_RESUMED	11	/* a freeze went on with a new connection */
#define A_ADOPTED	12	/* the pending session was the one */
#define A_NEW_STAGE	13	/* all that changed was sent again */
#define A_OUTLIVED	14	/* a frame was written after its connection had ended */
#define A_LATE_COMMIT	15	/* a commit was written after its connection had ended */
#define A_ROLLED_BACK	16	/* a power cut took writes back */
#define A_MID_FOLD	17	/* a power cut in a fold */
#define A_REFUSED	18	/* old disks were refused */
#define A_SETTLED	19	/* the end, with all sent */

#define NB	2
#define MAXF	3
#define NX	2	/* frames in flight */
#define CAP	2	/* messages queued in a direction */

/* Each names its property in what pan says of it. */
#define P1(cond)	assert(!(1 * !(cond)))
#define P2(cond)	assert(!(2 * !(cond)))
#define P3(cond)	assert(!(3 * !(cond)))
#define P4(cond)	assert(!(4 * !(cond)))
#define P5(cond)	assert(!(5 * !(cond)))
#define ENDED(cond)	assert(!(9 * !(cond)))

#define BIT(b)		(1 << (b))
#define NONE		255	/* no staged content */

/* enum fzc_phase, without CLOSE: a cut is one step */
#define IDLE		0
#define DELIVER		1
#define SENT		2
#define DOUBT		3

/* enum fzc_p_link, without HELLO: both hellos are one step */
#define DOWN		0
#define PENDING		1
#define SESSION		2
#define CURRENT		3
#define UP		4

/* orders of a session */
#define RESUME		0
#define NEW_STAGE	1

/* enum fzc_xfer_state */
#define FREE		0
#define PICKED		1
#define ON_WIRE		2

/* messages */
#define M_SESSION	1	/* order, freeze, building, id */
#define M_DATA		2	/* image number, block, content, frame */
#define M_FREEZE	3	/* freeze, base, stage */
#define M_ALL_SENT	4	/* freeze, base, stage */
#define M_ABORT		5	/* image number */
#define M_SESSION_OK	6	/* is the committed image merged? */
#define M_DURABLE	7	/* frame, how many in this session */
#define M_COMMITTED	8	/* freeze */
#define M_MERGED	9

chan to_s = [CAP] of { byte, byte, byte, byte, byte };
chan to_p = [CAP] of { byte, byte, byte };
bit wire;
byte conn = 1;		/* the session id that was drawn last */

/* ---- history and budgets ---- */

byte hist[(MAXF + 1) * NB];	/* the volume at each cut: freezes are known by their ordinal */
byte numb[MAXF + 1];		/* the image number of each */
byte nw, nf, na, nc;
bit over;			/* host and faults have stopped */

/* ---- primary ---- */

byte img[NB];		/* newest content */
byte flushed[NB];	/* what is safe of it: the other outcome of a power cut */
byte un, fz;		/* unsent, frozen */
byte ch, cl;		/* changed: current and closing generation; durable by R5 */
byte tx[NX], tb[NX];	/* transfers: state, block */
bit tf[NX], tt[NX];	/* ...of the closing image; written after it was picked */
byte phase, pl;
bit notify, allsent, pm;	/* pm: the peer is merging */
byte sendab;
bit folding;		/* an abort is being made durable */

/* superblock, in memory and on disk */
byte p_img, p_frz, p_last, p_ses = 1, p_pend, p_stage = 1;
bit p_new;
byte d_img, d_frz, d_last, d_ses = 1, d_pend, d_stage = 1, d_cl;
bit d_new;

#define DIRTY	(p_img != d_img || p_frz != d_frz || p_last != d_last || p_ses != d_ses || \
		 p_pend != d_pend || p_stage != d_stage || p_new != d_new || folding)
#define RECORDED	(p_frz == 0 || p_frz == d_frz || OFF(R13_RECORD))

/* ---- secondary ---- */

byte sd[NB];		/* its volume */
byte st[2 * NB] = NONE;	/* stages */
byte s_img, s_frz, s_bld = 1, s_ses = 1, s_stage = 1;
bit s_cur, s_mrg;
byte sl;
bit rx[NX], rst[NX];	/* frames being written: there is one, into which stage */
byte rb[NX], rv[NX];	/* ...block, content */
byte com;		/* the freeze whose commit is being written */
bit fold, fold_real;
bit s_new;		/* a session waits for the fold */
byte n_frz, n_bld;

#define RX_IDLE	(!rx[0] && !rx[1])
#define S_IDLE	(sl == DOWN && !fold && (com == 0 || OFF(R15_COMMIT)) && RX_IDLE)
#define HOLD	(com != 0 || fold)
#define OTHER	(1 - s_cur)

byte told, s_dur;	/* durable frames of the session: as said, as known there */

/* old disks of the secondary */
bit saved, restored, refused;
byte b_img, b_frz, b_bld, b_ses, b_stage, b_dur, b_sd[NB], b_st[2 * NB];
bit b_cur, b_mrg;

/* old disks of the primary, which had or had not been stopped */
bit p_saved, p_restored, q_clean, q_new;
byte q_img, q_frz, q_last, q_ses, q_pend, q_stage, q_ch, q_cl, q_un, q_fz, q_told, q_data[NB];

/* what only lives if a rule is away: R15_RX, R17_STORED, R7_PICK */
bit late, late_st;
byte late_b, late_v, s_old = 1, tv[NX];

/* Loop counters and choices; zero between steps. */
byte i, b, x, lost, msg, m1, m2, m3, m4;

/* Blocks are alike until they are written. */
inline any_block()
{
	if
	:: b = 0
	:: SET(blocks) > 1 -> b = 1
	fi
}

/* A message into a cut wire is lost, and its sender does not know. */
#define CAN(queue)	(!wire || nfull(queue))

inline put_s(kind, a1, a2, a3, a4)
{
	if
	:: wire -> to_s!kind, a1, a2, a3, a4
	:: else
	fi
}

inline put_p(kind, a1, a2)
{
	if
	:: wire && sl == UP -> to_p!kind, a1, a2
	:: else
	fi
}

inline drain_s()
{
	do
	:: nempty(to_s) -> to_s?_, _, _, _, _
	:: empty(to_s) -> break
	od
}

inline drain_p()
{
	do
	:: nempty(to_p) -> to_p?_, _, _
	:: empty(to_p) -> break
	od
}

/* ---- the primary's decisions ---- */

inline free_xfer(n)
{
	tv[n] = 0;
	tx[n] = FREE;
	tb[n] = 0;
	tf[n] = 0;
	tt[n] = 0
}

/* fzc_p_try_cut(), freeze_xfers() */
inline cut()
{
	nf++;
	p_last++;
	numb[nf] = p_last;
	p_frz = nf;
	i = 0;
	do
	:: i < NB -> hist[nf * NB + i] = img[i]; i++
	:: else -> break
	od;
	i = 0;
	fz = un;
	un = 0;
	cl = ch;
	ch = 0;
	do
	:: i < NX ->
		if
		:: tx[i] != FREE ->
			tf[i] = 1;
			tt[i] = 0;
			if
			:: (fz & BIT(tb[i])) && !OFF(R7_STALE) -> tt[i] = 1; REACHED(A_STALE)
			:: else
			fi;
			fz = fz | BIT(tb[i])
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	phase = DELIVER;
	notify = 1;
	allsent = 0
}

/* fzc_p_void_freeze() and its chores (R11) */
inline void_freeze()
{
	if
	:: pl >= SESSION -> sendab = numb[p_frz]
	:: else
	fi;
	ch = (OFF(R11_CHANGED) -> ch : ch | cl);
	un = (OFF(R11_UNSENT) -> un : un | fz);
	cl = 0;
	fz = 0;
	do
	:: i < NX ->
		if
		:: tx[i] == PICKED && tf[i] -> free_xfer(i)
		:: else
		fi;
		tf[i] = 0;
		tt[i] = 0;
		i++
	:: else -> break
	od;
	i = 0;
	phase = IDLE;
	p_frz = 0;
	notify = 0;
	allsent = 0;
	folding = 1
}

/* fzc_p_finish() */
inline finish()
{
	p_img = p_frz;
	p_frz = 0;
	fz = 0;
	cl = 0;
	phase = IDLE;
	notify = 0;
	allsent = 0
}

/* fzc_p_disconnected() */
inline p_down()
{
	wire = 0;
	pl = DOWN;
	drain_p();
	notify = 0;
	sendab = 0;
	pm = 0;
	allsent = (OFF(RETRY_ALL_SENT) -> allsent : 0);
	do
	:: i < NX ->
		if
		:: tx[i] != FREE && !tf[i] && !OFF(R7_FOLD) -> un = un | BIT(tb[i])
		:: else
		fi;
		free_xfer(i);
		i++
	:: else -> break
	od;
	i = 0
}

/* A region with writes that were not flushed is open, and counts as changed. */
#define UNSURE(n)	(OFF(R13_REGIONS) -> 0 : BIT(n))

/* A power cut, and start_unclean() (R13) */
inline p_crash()
{
	p_down();
	if
	:: d_frz == 0 -> ch = ch | cl; cl = 0
	:: d_frz != 0 && d_frz != p_frz -> ch = ch | cl; cl = d_cl
	:: else
	fi;
	if
	:: OFF(R13_REGIONS) -> ch = 0
	:: else
	fi;
	do
	:: i < NB ->
		if
		:: img[i] != flushed[i] ->
			img[i] = flushed[i];
			ch = ch | UNSURE(i);
			REACHED(A_ROLLED_BACK)
		:: img[i] != flushed[i] -> flushed[i] = img[i]; ch = ch | UNSURE(i)
		:: img[i] == flushed[i]
		fi;
		P3(p_restored || img[i] >= hist[s_img * NB + i]);
		i++
	:: else -> break
	od;
	i = 0;
	p_img = d_img;
	p_frz = d_frz;
	p_last = d_last;
	p_ses = d_ses;
	p_pend = d_pend;
	p_stage = d_stage;
	/* stored by the start, or said again by the next one */
	p_new = (OFF(R13_STAGE) -> d_new : 1);
	d_new = p_new;
	un = (OFF(R13_STAGE) -> 0 : ch);
	fz = 0;
	folding = 0;
	allsent = 0;
	phase = (p_frz -> DOUBT : IDLE);
	told = 0;
	if
	:: p_frz && OFF(R13_DOUBT) -> void_freeze()
	:: else
	fi
}

/* An orderly stop and the start after it: fzc_p_stop(), fzc_p_start() */
inline p_restart()
{
	do
	:: i < NB -> flushed[i] = img[i]; i++
	:: else -> break
	od;
	i = 0;
	if
	:: p_frz && fz -> phase = DELIVER
	:: p_frz && !fz -> phase = SENT
	:: else
	fi
}

/* ---- the secondary's decisions ---- */

#define SHOWN(n)	((s_mrg && st[OTHER * NB + n] != NONE) -> st[OTHER * NB + n] : sd[n])

/* What the next image has of a block so far. */
#define BUILT(n)	(st[s_cur * NB + n] != NONE -> st[s_cur * NB + n] : sd[n])

/* P1, in whatever state a host might read or recover */
inline look()
{
	do
	:: i < NB -> P1(SHOWN(i) == hist[s_img * NB + i]); i++
	:: else -> break
	od;
	i = 0;
	P2(restored || numb[s_img] >= numb[p_img])
}

/* fzc_s_reset_stage() */
inline reset_stage(stage)
{
	do
	:: i < NB -> st[(stage) * NB + i] = NONE; i++
	:: else -> break
	od;
	i = 0
}

inline free_rx(n)
{
	rx[n] = 0;
	rb[n] = 0;
	rv[n] = 0;
	rst[n] = 0
}

/* A frame's content is durable in its slot; DURABLE only on its own connection. */
inline write_slot(n)
{
	st[rst[n] * NB + rb[n]] = rv[n];
	free_rx(n);
	if
	:: sl == UP -> s_dur++
	:: sl == DOWN -> REACHED(A_OUTLIVED)
	:: else
	fi;
	put_p(M_DURABLE, n, s_dur)
}

/* fzc_s_session_step() */
inline store_session(order, freeze, building, id)
{
	if
	:: order == NEW_STAGE ->
		reset_stage(s_cur);
		if
		:: !s_mrg -> reset_stage(OTHER)
		:: else
		fi;
		s_stage = id
	:: else
	fi;
	s_old = (OFF(R17_STORED) -> s_ses : s_old);
	s_ses = id;
	s_bld = building;
	s_frz = freeze;
	s_dur = 0;
	sl = UP;
	x = !s_mrg && !OFF(RETRY_MERGED);
	put_p(M_SESSION_OK, x, 0);
	x = 0
}

/* fzc_s_fold(), R11 */
inline begin_fold()
{
	fold = 1;
	fold_real = !s_mrg
}

/* Blocks of the newer stage over the older: all of them, or (a crash) any of them. */
inline copy_stage(all)
{
	if
	:: OFF(R11_FOLD) -> fold_real = 0; reset_stage(OTHER)
	:: else
	fi;
	do
	:: i < NB ->
		if
		:: fold_real && st[OTHER * NB + i] != NONE ->
			st[s_cur * NB + i] = st[OTHER * NB + i];
			REACHED(A_FOLDED)
		:: !all || !fold_real || st[OTHER * NB + i] == NONE
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* commit_done(), after commit_step() */
inline commit()
{
	P2(numb[com] > numb[s_img]);
	P5(!s_mrg || OFF(R9_MERGED));
	if
	:: st[OTHER * NB] != NONE || st[OTHER * NB + 1] != NONE -> REACHED(A_AHEAD)
	:: else
	fi;
	if
	:: s_img -> REACHED(A_SECOND)
	:: else
	fi;
	if
	:: sl == DOWN -> REACHED(A_LATE_COMMIT)
	:: else
	fi;
	s_img = com;
	s_frz = 0;
	s_bld = numb[s_img] + 1;
	s_mrg = 1;
	s_cur = OTHER;
	com = 0;
	look()
}

/* R15_RX is away: what is being written goes on beside the next connection. */
inline keep_late()
{
	do
	:: i < NX ->
		if
		:: rx[i] ->
			late = 1;
			late_st = rst[i];
			late_b = rb[i];
			late_v = rv[i]
		:: else
		fi;
		free_rx(i);
		i++
	:: else -> break
	od;
	i = 0
}

/* fzc_s_disconnected() */
inline s_down()
{
	wire = 0;
	sl = DOWN;
	if
	:: OFF(R15_FRAMES)
	:: OFF(R15_RX) -> drain_s(); keep_late()
	:: else -> drain_s()
	fi;
	s_new = 0;
	n_frz = 0;
	n_bld = 0
}

/* A power cut; what was not flushed may be lost. */
inline s_crash()
{
	s_down();
	if
	:: com && OFF(R14_ONE) -> s_img = com; s_frz = 0; s_bld++; com = 0
	:: com && !OFF(R14_ONE) -> commit()
	:: com = 0
	fi;
	if
	:: s_mrg && OFF(R14_AGAIN) -> reset_stage(OTHER); s_mrg = 0
	:: else
	fi;
	if
	:: OFF(R17_STORED) -> s_ses = s_old
	:: skip
	fi;
	do
	:: x < NX ->
		if
		:: rx[x] -> st[rst[x] * NB + rb[x]] = rv[x]
		:: skip
		fi;
		free_rx(x);
		x++
	:: else -> break
	od;
	x = 0;
	if
	:: fold -> copy_stage(false); REACHED(A_MID_FOLD)
	:: else
	fi;
	fold = 0;
	fold_real = 0;
	look()
}

/* ---- both hellos: fzc_session_decide() and what follows from it ---- */

#define KNOWN_SESSION	(s_ses == p_ses || (p_pend != 0 && s_ses == p_pend) || OFF(R17_KNOWN))
#define STAGE_LOST	((s_stage != p_stage && !OFF(P5_STAGE)) || \
			 (s_ses == p_ses && s_dur < told && !OFF(R17_TOLD)))

#define IS_FREEZE	(s_img == p_frz || (OFF(P5_ID) && numb[s_img] == numb[p_frz]))

inline resume_or_not()
{
	lost = STAGE_LOST;
	P4(!lost || p_new || s_stage == 0 || restored || p_restored);
	if
	:: p_frz && (lost || p_new || phase == DOUBT) ->
		if
		:: phase == DOUBT -> REACHED(A_DOUBT_NO)
		:: else
		fi;
		void_freeze()
	:: p_frz && !(lost || p_new || phase == DOUBT) -> REACHED(A_RESUMED)
	:: else
	fi;
	if
	:: lost || p_new -> un = un | ch; p_new = 1; REACHED(A_NEW_STAGE)
	:: else
	fi;
	if
	:: s_ses != p_ses -> told = (OFF(R17_ADOPT) -> told : 0); REACHED(A_ADOPTED)
	:: else
	fi;
	lost = 0;
	p_ses = s_ses;
	p_pend = conn;
	pm = s_mrg;
	pl = PENDING;
	wire = 1;
	sl = PENDING
}

inline refuse()
{
	P5(restored || p_restored);
	refused = 1;
	REACHED(A_REFUSED)
}

inline meet()
{
	conn++;
	if
	:: !KNOWN_SESSION -> refuse()
	:: else ->
		if
		:: p_frz && IS_FREEZE && !OFF(RETRY_REPLY) ->
			if
			:: phase == DOUBT -> REACHED(A_DOUBT_YES)
			:: else -> REACHED(A_LOST_REPLY)
			fi;
			finish();
			resume_or_not()
		:: else ->
			if
			:: s_img == p_img || OFF(P5_BASE) -> resume_or_not()
			:: else -> refuse()
			fi
		fi
	fi
}

/* ---- sending and receiving ---- */

/* r10_next(): what was frozen is safe, wherever it is by now. */
inline flush_frozen()
{
	do
	:: i < NB ->
		if
		:: hist[p_frz * NB + i] > flushed[i] && !OFF(R10_FLUSH) ->
			flushed[i] = hist[p_frz * NB + i]
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* session_msg(): it says which freeze runs, so nothing else has to */
inline say_session()
{
	notify = 0;
	sendab = 0;
	m3 = (p_frz -> numb[p_frz] : p_last + 1);
	put_s(M_SESSION, p_new, p_frz, m3, p_pend);
	m3 = 0;
	pl = SESSION
}

/* fzc_p_source(), fzc_p_sent() */
inline send_block(n)
{
	b = tb[n];
	x = img[b];
	if
	:: OFF(R7_PICK) && !tf[n] -> x = tv[n]; un = un & ~BIT(b)
	:: tf[n] && !OFF(R9_SOURCE) -> x = hist[p_frz * NB + b]
	:: else
	fi;
	m1 = (tf[n] -> numb[p_frz] : p_last + 1);
	put_s(M_DATA, m1, b, x, n);
	b = 0;
	x = 0;
	m1 = 0;
	tx[n] = ON_WIRE
}

inline pick(n, frozen)
{
	x = (tx[0] == FREE -> 0 : 1);
	tx[x] = PICKED;
	tb[x] = n;
	tf[x] = frozen;
	tv[x] = (OFF(R7_PICK) -> img[n] : 0);
	if
	:: !frozen && !OFF(R7_PICK) -> un = un & ~BIT(n)
	:: else
	fi;
	x = 0;
	if
	:: SET(split)
	:: else ->
		if
		:: tx[0] == PICKED -> send_block(0)
		:: else -> send_block(1)
		fi
	fi
}

/* delivered() */
inline rx_durable(n)
{
	if
	:: tf[n] && !tt[n] -> fz = fz & ~BIT(tb[n])
	:: else
	fi;
	un = (OFF(R7_DURABLE) -> un & ~BIT(tb[n]) : un);
	free_xfer(n)
}

/* rx_session() */
inline rx_session()
{
	P5(m3 > numb[s_img]);
	if
	:: m1 == RESUME && s_frz && s_frz != m2 && !OFF(R11_RESTATE) ->
		REACHED(A_RESTATED);
		begin_fold();
		s_new = 1;
		n_frz = m2;
		n_bld = m3
	:: else -> store_session(m1, m2, m3, m4)
	fi
}

/* stage_for() and fzc_s_data() */
inline rx_data()
{
	P5(!rx[m4]);
	if
	:: m1 == s_bld || OFF(R9_STAGE) -> rst[m4] = s_cur
	:: else ->
		P5(m1 == s_bld + 1 && s_frz && numb[s_frz] == s_bld && (!s_mrg || OFF(R9_AHEAD)));
		rst[m4] = OTHER
	fi;
	rx[m4] = 1;
	rb[m4] = m2;
	rv[m4] = m3
}

inline merge()
{
	do
	:: i < NB -> sd[i] = SHOWN(i); i++
	:: else -> break
	od;
	i = 0;
	reset_stage(OTHER);
	if
	:: OFF(R14_OTHER) -> reset_stage(s_cur)
	:: else
	fi;
	s_mrg = 0;
	look();
	put_p(M_MERGED, 0, 0)
}

inline end_fold()
{
	if
	:: fold_real -> reset_stage(OTHER)
	:: else
	fi;
	fold = 0;
	fold_real = 0;
	s_frz = 0;
	s_bld++;
	if
	:: s_new ->
		store_session(RESUME, n_frz, n_bld, conn);
		s_new = 0;
		n_frz = 0;
		n_bld = 0
	:: else
	fi
}

/* ---- old disks ---- */

#define COPY_DISKS(to_data, to_stages, data, stages) \
	do \
	:: i < NB -> \
		to_data[i] = data[i]; \
		to_stages[i] = stages[i]; \
		to_stages[NB + i] = stages[NB + i]; \
		i++ \
	:: else -> break \
	od; \
	i = 0

inline save()
{
	saved = 1;
	b_img = s_img;
	b_frz = s_frz;
	b_bld = s_bld;
	b_ses = s_ses;
	b_stage = s_stage;
	b_dur = s_dur;
	b_cur = s_cur;
	b_mrg = s_mrg;
	COPY_DISKS(b_sd, b_st, sd, st)
}

inline restore()
{
	s_down();
	restored = 1;
	s_img = b_img;
	s_frz = b_frz;
	s_bld = b_bld;
	s_ses = b_ses;
	s_stage = b_stage;
	s_dur = b_dur;
	s_cur = b_cur;
	s_mrg = b_mrg;
	COPY_DISKS(sd, st, b_sd, b_st)
}

/* What a primary that is started with these disks makes of them: see p_crash(), p_restart(). */
inline p_save(clean)
{
	p_saved = 1;
	q_clean = clean;
	q_img = d_img;
	q_frz = d_frz;
	q_last = d_last;
	q_ses = d_ses;
	q_pend = d_pend;
	q_stage = d_stage;
	q_new = (clean -> d_new : 1);
	q_cl = (d_frz == 0 || d_frz == p_frz -> 0 : d_cl);
	q_ch = (d_frz == p_frz -> ch : ch | cl);
	q_cl = (d_frz && d_frz == p_frz -> cl : q_cl);
	do
	:: i < NB ->
		q_data[i] = (clean -> img[i] : flushed[i]);
		q_ch = (q_data[i] == img[i] -> q_ch : q_ch | BIT(i));
		i++
	:: else -> break
	od;
	i = 0;
	q_un = (clean -> un : q_ch);
	q_fz = (clean -> fz : 0);
	q_told = (clean -> told : 0)
}

inline p_restore()
{
	p_down();
	p_restored = 1;
	p_img = q_img;
	p_frz = q_frz;
	p_last = q_last;
	p_ses = q_ses;
	p_pend = q_pend;
	p_stage = q_stage;
	p_new = q_new;
	d_img = q_img;
	d_frz = q_frz;
	d_last = q_last;
	d_ses = q_ses;
	d_pend = q_pend;
	d_stage = q_stage;
	d_new = q_new;
	d_cl = q_cl;
	ch = q_ch;
	cl = q_cl;
	un = q_un;
	fz = q_fz;
	told = q_told;
	folding = 0;
	allsent = 0;
	do
	:: i < NB ->
		img[i] = q_data[i];
		flushed[i] = q_data[i];
		i++
	:: else -> break
	od;
	i = 0;
	if
	:: !p_frz -> phase = IDLE
	:: p_frz && !q_clean -> phase = DOUBT
	:: else -> phase = (fz -> DELIVER : SENT)
	fi
}

/* ---- steps ---- */

#define MORE	(!over && !refused)
#define FAULT	(MORE && nc < SET(faults))
#define P_UP	(pl == UP && CAN(to_s))

/* fzc_p_pick(): pick_frozen(), pick_unsent(), next_idle(), ahead_allowed() */
#define IDLE_XFER	(tx[0] == FREE || tx[1] == FREE)
#define INFLIGHT(n)	((tx[0] != FREE && tb[0] == n) || (tx[1] != FREE && tb[1] == n))
#define MAY_PICK(n)	(P_UP && !sendab && IDLE_XFER && (!INFLIGHT(n) || OFF(R8)))
#define AHEAD		(p_frz == 0 || ((!pm || OFF(R9_AHEAD)) && RECORDED && !notify))
#define PICK_FROZEN(n)	(MAY_PICK(n) && phase == DELIVER && (fz & BIT(n)))
#define PICK_UNSENT(n)	(MAY_PICK(n) && AHEAD && (un & BIT(n)) && !(fz & BIT(n)))

#define ALL_SENT_DUE	((phase == DELIVER || phase == SENT) && !allsent && \
			 (fz == 0 || OFF(R10_FROZEN)) && RECORDED && \
			 (!pm || OFF(R9_MERGED)) && !notify && !sendab)
#define MAY_CUT		((phase == IDLE || (phase == DOUBT && OFF(R13_REFUSE))) && !folding && \
			 (!sendab || OFF(R11_UNSAID)))
#define MAY_ABORT	(phase == DELIVER || (phase == SENT && OFF(R13_SENT)))

active proctype host()
{
end:	do
	/* where a write goes is not modelled: `hist` has what is frozen */
	:: atomic { MORE && nw < SET(writes) ->
		any_block();
		nw++;
		img[b] = nw;
		ch = ch | BIT(b);
		un = un | BIT(b);
		b = 0 }
	/* connected or not: a freeze can be forced */
	:: d_step { MORE && nf < SET(freezes) && MAY_CUT -> cut() }
	/* by order, or because of whatever else voids a freeze */
	:: d_step { MORE && na < SET(aborts) && MAY_ABORT -> na++; void_freeze() }
	:: d_step { SET(ends) && !over -> over = 1 }
	od
}

active proctype primary()
{
end:	do
	/* the superblock: what waits for it goes on */
	:: d_step { DIRTY && (pl != PENDING || CAN(to_s)) ->
		d_img = p_img;
		d_frz = p_frz;
		d_last = p_last;
		d_ses = p_ses;
		d_pend = p_pend;
		d_stage = p_stage;
		d_new = p_new;
		d_cl = (p_frz -> cl : 0);
		folding = 0;
		if
		:: pl == PENDING -> say_session()
		:: pl == CURRENT -> pl = UP
		:: else
		fi }
	:: d_step { OFF(R17_PENDING) && pl == PENDING && CAN(to_s) -> say_session() }
	/* fzc_p_session_next() */
	:: d_step { P_UP && sendab -> put_s(M_ABORT, sendab, 0, 0, 0); sendab = 0 }
	:: d_step { P_UP && !sendab && notify && RECORDED ->
		put_s(M_FREEZE, p_frz, p_img, p_stage, 0);
		notify = 0 }
	:: d_step { P_UP && ALL_SENT_DUE ->
		flush_frozen();
		put_s(M_ALL_SENT, p_frz, p_img, p_stage, 0);
		allsent = 1;
		phase = SENT }
	/* fzc_p_pick() */
	:: d_step { PICK_FROZEN(0) -> pick(0, 1) }
	:: d_step { PICK_UNSENT(0) -> pick(0, 0) }
	:: d_step { PICK_FROZEN(1) -> pick(1, 1) }
	:: d_step { PICK_UNSENT(1) -> pick(1, 0) }
	:: d_step { P_UP && tx[0] == PICKED -> send_block(0) }
	:: d_step { P_UP && tx[1] == PICKED -> send_block(1) }
	/* fzc_p_rx() */
	:: d_step { pl != DOWN && nempty(to_p) ->
		to_p?msg, m1, m2;
		if
		:: msg == M_SESSION_OK ->
			P5(pl == SESSION);
			p_ses = p_pend;
			p_pend = 0;
			p_stage = (p_new -> p_ses : p_stage);
			p_new = 0;
			pm = (m1 -> 0 : pm);
			told = 0;
			pl = CURRENT
		:: msg == M_DURABLE -> rx_durable(m1); told = m2
		:: msg == M_COMMITTED ->
			P5(phase == SENT && m1 == p_frz);
			finish();
			pm = 1
		:: msg == M_MERGED -> pm = 0
		fi;
		msg = 0;
		m1 = 0;
		m2 = 0 }
	:: d_step { pl != DOWN && !wire -> p_down() }
	od
}

/* Frames and ALL_SENT are looked at by fzc_s_can_rx(). */
active proctype secondary()
{
end:	do
	:: d_step { sl != DOWN && !HOLD && nempty(to_s) && CAN(to_p) ->
		to_s?msg, m1, m2, m3, m4;
		if
		:: msg == M_SESSION -> rx_session()
		:: msg == M_DATA -> rx_data()
		:: msg == M_FREEZE ->
			P5(numb[m1] == s_bld && m2 == s_img && m3 == s_stage);
			s_frz = m1
		:: msg == M_ALL_SENT ->
			P5(m1 == s_frz && m2 == s_img && m3 == s_stage);
			com = m1
		:: msg == M_ABORT ->
			P5(m1 == s_bld);
			REACHED(A_ABORTED);
			if
			:: s_frz -> begin_fold()
			:: else -> s_bld++
			fi
		fi;
		msg = 0;
		m1 = 0;
		m2 = 0;
		m3 = 0;
		m4 = 0 }
	/* fzc_s_data_done(), sync_next(): flushed, then said */
	:: d_step { rx[0] && CAN(to_p) -> write_slot(0) }
	:: d_step { rx[1] && CAN(to_p) -> write_slot(1) }
	/* commit_done(); one that is not being written yet is as if ALL_SENT had not come */
	:: d_step { com && CAN(to_p) -> put_p(M_COMMITTED, com, 0); commit() }
	/* merge_next(): as long as it runs it shows nothing, and a crash begins it anew */
	:: d_step { s_mrg && com == 0 && CAN(to_p) -> merge() }
	/* fold_next() */
	:: d_step { fold && (RX_IDLE || OFF(R11_EARLY)) && CAN(to_p) ->
		copy_stage(true);
		end_fold() }
	/* fold_give_up() */
	:: d_step { MORE && fold && RX_IDLE ->
		REACHED(A_GIVEN_UP);
		reset_stage(s_cur);
		if
		:: fold_real -> reset_stage(OTHER)
		:: else
		fi;
		s_stage = 0;
		s_frz = 0;
		fold = 0;
		fold_real = 0;
		s_down() }
	:: d_step { sl != DOWN && !wire -> s_down() }
	:: d_step { late ->
		st[late_st * NB + late_b] = late_v;
		late = 0;
		late_st = 0;
		late_b = 0;
		late_v = 0 }
	:: d_step { s_old != s_ses && OFF(R17_STORED) -> s_old = s_ses }
	od
}

active proctype world()
{
end:	do
	:: d_step { pl == DOWN && sl == DOWN && S_IDLE && !refused -> meet() }
	:: d_step { FAULT && wire -> nc++; wire = 0 }
	:: atomic { FAULT -> nc++; p_crash() }
	:: atomic { FAULT -> nc++; s_crash() }
	:: d_step { FAULT && pl == DOWN && !DIRTY -> nc++; p_restart() }
	:: d_step { MORE && SET(backups) == 2 && !p_saved -> p_save(0) }
	:: d_step { MORE && SET(backups) == 2 && !p_saved && pl == DOWN && !DIRTY -> p_save(1) }
	:: d_step { MORE && p_saved && !p_restored -> p_restore() }
	:: d_step { MORE && SET(backups) == 1 && !saved && RX_IDLE && !com && !fold -> save() }
	:: d_step { MORE && saved && !restored && RX_IDLE && !com && !fold -> restore() }
	od
}

/* E: nothing more can happen. */
#define SETTLED	(phase == IDLE && pl == UP && sl == UP && un == 0 && fz == 0 && s_frz == 0 && \
		 tx[0] == FREE && tx[1] == FREE && !s_mrg && !pm && p_img == s_img)

active proctype judge()
{
end:	atomic { timeout ->
		ENDED(refused || SETTLED);
		do
		:: i < NB -> ENDED(refused || img[i] == BUILT(i)); i++
		:: else -> break
		od;
		i = 0;
		REACHED(A_SETTLED);
		assert(!i && !b && !x && !lost && !msg && !m1 && !m2 && !m3 && !m4) }
}
