// SPDX-License-Identifier: GPL-2.0-only
/*
 * A primary whose secondary has the key and is hostile: any frames in any order,
 * between the host's writes and reads, freezes, its own I/O, which may fail, power
 * cuts and restarts.
 *
 * What the host reads is what it wrote (P3), an image is counted as committed only
 * if it was offered, and when all is over no write is left waiting.
 */
#include "cores.h"
#include "../../dm-freezecopy/core/wire.h"

#define MAX_HOPS	6
#define MAX_WRITE	3U
#define MAX_READS	4
#define MAX_CRASHES	2
#define VALUES		32U	/* a write has so many: one for each block it could be for */
#define MAX_TICKS	30	/* until a write has ended that nothing disturbs */

enum hop_state { HOP_FREE, HOP_PARKED, HOP_BUSY };

struct hop {
	u8 state;
	bool again;		/* its divert failed */
	bool fails, in_slot;	/* as it ends */
	u64 first, last;
	u32 val;		/* of its first block: its number, modulo VALUES */
	u8 place[MAX_WRITE];
	u32 slot[MAX_WRITE];
};

struct read {
	bool used;
	u64 block;
	u32 slot, was;
};

static struct {
	bool sound;		/* what was on the disks to begin with can be told */
	u32 next_val;
	u32 last[MAX_BLOCKS];	/* newest completed write */
	u32 safe[MAX_BLOCKS];	/* known to survive a power cut, unless U32_MAX */
	u32 flushing[MAX_BLOCKS];	/* what the flush under way is to make safe */
	u64 ticket;		/* of that flush, 0: none */
	struct hop hop[MAX_HOPS];
	struct read read[MAX_READS];
	struct fzc_xfer *xfer[FZC_MAX_XFERS];
	u32 source[FZC_MAX_XFERS][FZC_MAX_RUN];	/* slots, FZC_NO_SLOT: none */
	struct fzc_img image;	/* committed, as far as was seen */
	struct fzc_img offered;	/* the last cut */
	u32 crashes;
	bool thorough;		/* in the end, stop and start */
} T;

/* ---- what its host reads ---- */

static u32 read_block(u64 block)
{
	u32 slot, val;

	if (fzc_p_read_begin(&P, block, block) == FZC_GO_DATA ||
	    fzc_p_read_place(&P, block, &slot) == FZC_AT_DATA)
		return W.cur[FZC_DATA].val[block];
	MUST(slot < W.geo.slots[0]);
	val = W.cur[FZC_DIFF].val[slot];
	fzc_p_slot_put(&P, slot);
	return val;
}

static bool busy(u64 block)
{
	const struct hop *h;

	for (h = T.hop; h < T.hop + MAX_HOPS; h++)
		if (h->state != HOP_FREE && h->first <= block && block <= h->last)
			return true;
	return false;
}

static void check_reads(void)
{
	u64 b;

	for (b = 0; b < MAX_BLOCKS && T.sound; b++)
		MUST(busy(b) || read_block(b) == T.last[b]);
}

static bool same_image(const struct fzc_img *a, const struct fzc_img *b)
{
	return a->number == b->number && fzc_id_equal(&a->id, &b->id);
}

static void look(void)
{
	MUST(fzc_slots_free(&P.slots) <= W.geo.slots[0] && P.wants <= FZC_MAX_WANTS);
	MUST(P.unsent.count <= MAX_BLOCKS && P.frozen.count <= MAX_BLOCKS &&
	     P.inflight.count <= MAX_BLOCKS);
	if (!T.sound)
		return;
	if (P.sb.flags & FZC_SB_FREEZE)
		T.offered = P.sb.freeze;
	if (!same_image(&P.sb.image, &T.image)) {
		MUST(P.sb.image.number > T.image.number && same_image(&P.sb.image, &T.offered));
		T.image = P.sb.image;
	}
}

/* ---- what its host writes ---- */

static void place_block(struct hop *h, u32 i, bool mixed)
{
	h->place[i] = FZC_AT_DATA;
	if (mixed)
		h->place[i] = fzc_p_write_place(&P, h->first + i, &h->slot[i]);
	if (h->place[i] != FZC_AT_DATA)
		MUST(h->slot[i] < W.geo.slots[0]);
}

static void try_write(struct hop *h, bool late)
{
	enum fzc_go go = fzc_p_write_begin(&P, h->first, h->last, late);
	u32 i;

	MUST(go != FZC_GO_PACE || !late);
	h->state = HOP_PARKED;
	if (go == FZC_GO_PARK || go == FZC_GO_PACE)
		return;
	if (h->again)
		fzc_p_write_again(&P);
	h->again = false;
	if (go == FZC_GO_FAIL) {
		MUST(W.errors);
		h->state = HOP_FREE;
		for (i = 0; i <= h->last - h->first; i++)
			T.last[h->first + i] = read_block(h->first + i);
		return;
	}
	MUST(go == FZC_GO_DATA || go == FZC_GO_MIXED);
	h->state = HOP_BUSY;
	for (i = 0; i <= h->last - h->first; i++) {
		place_block(h, i, go == FZC_GO_MIXED);
		T.safe[h->first + i] = U32_MAX;
	}
}

static void write_begin(struct in *in)
{
	u64 first = take(in) % MAX_BLOCKS, b;
	u8 n = 1 + take(in) % MAX_WRITE;
	struct hop *h = T.hop;

	while (h < T.hop + MAX_HOPS && h->state != HOP_FREE)
		h++;
	if (h == T.hop + MAX_HOPS || P.stop_step)
		return;
	memset(h, 0, sizeof(*h));
	h->first = first;
	h->last = min_t(u64, first + n, MAX_BLOCKS) - 1;
	for (b = h->first; b <= h->last; b++)
		if (busy(b))
			return;
	T.next_val += VALUES;
	h->val = T.next_val + first;
	try_write(h, false);
}

/* All parts of it are done, or one is not. */
static void write_ends(struct hop *h, bool fails)
{
	u32 n = h->last - h->first + 1, i;
	bool diff = false;

	W.errors |= fails;
	for (i = 0; i < n; i++) {
		if (fails && i == n - 1) {
			diff = h->place[i] != FZC_AT_DATA;
			continue;
		}
		if (h->place[i] == FZC_AT_DATA)
			W.cur[FZC_DATA].val[h->first + i] = h->val + i;
		else
			W.cur[FZC_DIFF].val[h->slot[i]] = h->val + i;
	}
	if (fzc_p_write_end(&P, h->first, h->last, fails ? -EIO : 0, diff)) {
		MUST(fails);
		h->state = HOP_PARKED;
		h->again = true;
		return;
	}
	h->state = HOP_FREE;
	for (i = 0; i < n; i++)
		T.last[h->first + i] = fails ? read_block(h->first + i) : h->val + i;
}

static void write_end(struct in *in)
{
	u8 c = take(in);
	struct hop *h = &T.hop[(c >> 1) % MAX_HOPS];

	if (h->state == HOP_BUSY)
		write_ends(h, (c & 0xc1) == 0xc1);
	else if (h->state == HOP_PARKED)
		try_write(h, c & 1);
}

static void read_begin(struct in *in)
{
	u64 block = take(in) % MAX_BLOCKS;
	struct read *r = T.read;

	while (r < T.read + MAX_READS && r->used)
		r++;
	if (r == T.read + MAX_READS || fzc_p_read_begin(&P, block, block) == FZC_GO_DATA ||
	    fzc_p_read_place(&P, block, &r->slot) == FZC_AT_DATA)
		return;
	r->used = true;
	r->block = block;
	r->was = W.cur[FZC_DIFF].val[r->slot];
}

/* R12: nobody else's content comes to a slot that is being read. */
static void read_ends(struct read *r)
{
	u32 val = W.cur[FZC_DIFF].val[r->slot];

	MUST(val == r->was || val % VALUES == r->block || !T.sound);
	fzc_p_slot_put(&P, r->slot);
	r->used = false;
}

static void read_end(struct in *in)
{
	struct read *r = &T.read[take(in) % MAX_READS];

	if (r->used)
		read_ends(r);
}

static void flush(struct in *in)
{
	(void)in;
	if (T.ticket || P.stop_step)
		return;
	memcpy(T.flushing, T.last, sizeof(T.last));
	T.ticket = fzc_p_sync(&P);
}

static void flush_ends(void)
{
	u64 b;

	if (!T.ticket || W.synced < T.ticket)
		return;
	T.ticket = 0;
	for (b = 0; b < MAX_BLOCKS && !W.sync_err; b++)
		if (!busy(b) && T.flushing[b] == T.last[b])
			T.safe[b] = T.last[b];
}

/* ---- freezes ---- */

static void cut(struct in *in)
{
	struct fzc_img img = { .id = fresh_id() };

	fzc_p_freeze(&P, &img, take(in) & 1);
}

static void deadline(struct in *in)
{
	(void)in;
	fzc_p_freeze_void(&P);
}

static void abort_freeze(struct in *in)
{
	(void)in;
	fzc_p_abort(&P, "asked for");
}

/* ---- the connection ---- */

static void disconnect(void)
{
	W.dropped = false;
	if (P.link != FZC_LINK_DOWN)
		fzc_p_disconnected(&P);
}

static void part(struct in *in)
{
	(void)in;
	disconnect();
}

static void connect(struct in *in)
{
	struct fzc_id draw = fresh_id();

	(void)in;
	if (P.link == FZC_LINK_DOWN && !P.stop_step)
		fzc_p_connected(&P, &draw);
}

static void deliver(const struct fzc_msg *msg)
{
	u8 buf[FZC_WIRE_HEAD + FZC_MAX_CTL] __attribute__((aligned(8)));
	struct fzc_img before = P.sb.image;
	struct fzc_frame f;
	struct fzc_msg m;

	if (P.link == FZC_LINK_DOWN)
		return;
	fzc_wire_put_msg(buf, msg);
	if (fzc_wire_parse_head(&f, buf, NULL, P.reason) ||
	    fzc_wire_parse_msg(&m, &f, buf + FZC_WIRE_HEAD, P.reason)) {
		disconnect();
		return;
	}
	look();
	if (fzc_p_rx(&P, &m)) {
		MUST(memchr(P.reason, 0, FZC_REASON_LEN) && *P.reason);
		disconnect();
	}
	/* only these two make an image, and only of the cut that was offered */
	MUST(same_image(&before, &P.sb.image) || m.type == FZC_MSG_HELLO ||
	     (m.type == FZC_MSG_COMMITTED && W.sends[FZC_MSG_ALL_SENT]));
}

static void hello(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_HELLO };
	struct fzc_hello *h = &m.hello;
	u8 twist = take(in);

	h->role = FZC_SECONDARY;
	h->blank = fzc_id_is_zero(&P.sb.session) && fzc_id_is_zero(&P.sb.pending);
	h->pair = P.sb.pair;
	h->sectors = W.geo.sectors;
	h->block_size = W.geo.block_size;
	h->image = P.sb.image;
	h->stage = P.sb.stage;
	h->session = P.sb.session;
	h->encrypted = W.opts.encrypt;
	h->durable = P.told;
	if (twist) {
		h->role = twist & 3 ?: FZC_SECONDARY;
		h->recovered = (twist & 12) == 12;
		h->encrypted ^= (twist & 12) == 8;
		h->merging = twist & 16;
		h->direct = twist & 32;
		if (twist & 64)		/* it says that it has committed what runs */
			h->image = P.freezing;
		h->blank ^= twist >> 7;
		h->pair = any_id(in, &h->pair);
		h->sectors = any_number(in, h->sectors);
		h->image = any_image(in, &h->image);
		h->stage = any_id(in, &h->stage);
		h->session = any_id(in, take(in) & 1 ? &P.sb.pending : &h->session);
		h->durable = any_number(in, h->durable);
	}
	deliver(&m);
}

static void session_ok(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_SESSION_OK };

	(void)in;
	deliver(&m);
}

static void durable(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_DURABLE, .frame = any_number(in, P.frames) };

	deliver(&m);
}

static void full(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_FULL, .frame = any_number(in, P.frames) };

	deliver(&m);
}

static void need(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_NEED };

	m.first = any_number(in, take(in) % MAX_BLOCKS);
	m.n = any_number(in, 1);
	deliver(&m);
}

static void committed(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_COMMITTED };

	m.image = any_image(in, &P.freezing);
	deliver(&m);
}

static void merged(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_MERGED };

	m.image = any_image(in, &P.sb.image);
	deliver(&m);
}

/* What a secondary has no business to say, and what has nothing to it. */
static void other(struct in *in)
{
	struct fzc_msg m = { .type = 1 + take(in) % (FZC_NR_MSG - 1) };

	switch (m.type) {
	case FZC_MSG_HELLO:
	case FZC_MSG_DATA:
	case FZC_MSG_NEED:
		return;
	case FZC_MSG_SESSION:
		m.session.order = FZC_ORDER_NEW_STAGE;
		break;
	case FZC_MSG_REFUSE:
		m.reason[0] = take(in);
		break;
	default:
		m.image = any_image(in, &P.freezing);
	}
	deliver(&m);
}

/* ---- sending ---- */

static void begin_xfer(struct fzc_xfer *x)
{
	u32 n = 0, i;

	while (T.xfer[n])
		MUST(++n < FZC_MAX_XFERS);
	MUST(x->n && x->n <= FZC_MAX_RUN && x->first + x->n <= MAX_BLOCKS);
	T.xfer[n] = x;
	for (i = 0; i < x->n; i++)
		if (fzc_p_source(&P, x, x->first + i, &T.source[n][i]) != FZC_AT_SLOT)
			T.source[n][i] = FZC_NO_SLOT;
}

static void pick(struct in *in)
{
	struct fzc_xfer *x = fzc_p_pick(&P);

	(void)in;
	if (x)
		begin_xfer(x);
}

static void xfer_ends(u32 n, u8 how)
{
	struct fzc_xfer *x = T.xfer[n], *rest = NULL;
	u32 i;

	T.xfer[n] = NULL;
	for (i = 0; i < x->n; i++)
		if (T.source[n][i] != FZC_NO_SLOT)
			fzc_p_slot_put(&P, T.source[n][i]);
	W.errors |= how == 3;
	if (how == 3) {
		fzc_p_unpick(&P, x, true);
		return;
	}
	if (how == 2 && x->n > 1)
		rest = fzc_p_split(&P, x, 1 + x->n / 3);
	fzc_p_sent(&P, x);
	if (rest)
		fzc_p_sent(&P, rest);
}

static void sent(struct in *in)
{
	u8 c = take(in);
	u32 i, n;

	for (i = 0; i < FZC_MAX_XFERS; i++) {
		n = (i + c / 4) % FZC_MAX_XFERS;
		if (!T.xfer[n])
			continue;
		xfer_ends(n, c & 3);
		return;
	}
}

/* As a sender does that has nothing else to do. */
static void send_all(struct in *in)
{
	u32 i;

	for (i = 0; i < 2 * MAX_BLOCKS; i++) {
		pick(in);
		if (!T.xfer[0])
			return;
		xfer_ends(0, 0);
	}
}

/* ---- its operator, its power ---- */

static void tick(struct in *in)
{
	(void)in;
	fzc_p_tick(&P);
}

static void run_some(struct in *in)
{
	shell_run(in, 1 + take(in) % 16);
}

static void settle(struct in *in)
{
	(void)in;
	shell_settle();
}

static void hold_merge(struct in *in)
{
	u8 hold = take(in);

	P.merge_hold = hold & 1;
	P.in.gather = hold & 2;
}

static void forget_io(void)
{
	memset(T.hop, 0, sizeof(T.hop));
	memset(T.read, 0, sizeof(T.read));
	memset(T.xfer, 0, sizeof(T.xfer));
	T.ticket = 0;
}

static void boot(void)
{
	u64 b;

	MUST(!shell_boot() || !T.sound);
	if (!T.sound)
		return;
	shell_settle();
	for (b = 0; b < MAX_BLOCKS; b++) {
		T.last[b] = read_block(b);
		MUST(T.safe[b] == U32_MAX || T.safe[b] == T.last[b]);
	}
}

/* A power cut: all that was written since the last flush is lost. */
static void crash(struct in *in)
{
	(void)in;
	if (++T.crashes > MAX_CRASHES)	/* they take most of the time */
		return;
	forget_io();
	shell_crash();
	/* the commit of what is in doubt may be heard later */
	boot();
	if (T.sound)
		T.image = P.sb.image;
}

enum { HELLO, SESSION_OK, DURABLE, FULL, NEED, COMMITTED, MERGED, OTHER, CONNECT, PART, WRITE,
       WRITE_END, READ, READ_END, FLUSH, CUT, DEADLINE, ABORT, PICK, SENT, SEND, RUN, SETTLE, TICK,
       HOLD, CRASH, NR_STEPS };

static const struct {
	const char *name;
	void (*run)(struct in *in);
} steps[NR_STEPS] = {
	[HELLO] = { "HELLO", hello }, [SESSION_OK] = { "SESSION_OK", session_ok },
	[DURABLE] = { "DURABLE", durable }, [FULL] = { "FULL", full }, [NEED] = { "NEED", need },
	[COMMITTED] = { "COMMITTED", committed }, [MERGED] = { "MERGED", merged },
	[OTHER] = { "another frame", other }, [CONNECT] = { "connect", connect },
	[PART] = { "disconnect", part }, [WRITE] = { "write", write_begin },
	[WRITE_END] = { "write ends", write_end }, [READ] = { "read", read_begin },
	[READ_END] = { "read ends", read_end }, [FLUSH] = { "flush", flush }, [CUT] = { "cut", cut },
	[DEADLINE] = { "deadline", deadline }, [ABORT] = { "abort", abort_freeze },
	[PICK] = { "pick", pick }, [SENT] = { "sent", sent }, [SEND] = { "send all", send_all },
	[RUN] = { "run", run_some }, [SETTLE] = { "settle", settle }, [TICK] = { "tick", tick },
	[HOLD] = { "hold the merge", hold_merge }, [CRASH] = { "crash", crash },
};

void primary_begin(bool sound)
{
	memset(&T, 0, sizeof(T));
	T.sound = sound;
}

void primary_steps(struct in *in)
{
	while (in->p < in->end) {
		u8 step = take(in) % NR_STEPS;

		steps[step].run(in);
		SAY("%s: link %u, phase %u, image %llu, unsent %llu, frozen %llu, slots %u%s%s",
		    steps[step].name, P.link, P.phase, (unsigned long long)P.sb.image.number,
		    (unsigned long long)P.unsent.count, (unsigned long long)P.frozen.count,
		    P.slots.used, *P.reason ? ": " : "", P.reason);
		if (!W.mem)
			return;
		if (W.dropped)
			disconnect();
		flush_ends();
		look();
		check_reads();
	}
}

static bool waiting(void)
{
	const struct hop *h;

	for (h = T.hop; h < T.hop + MAX_HOPS; h++)
		if (h->state != HOP_FREE)
			return true;
	return false;
}

/* All that is under way ends; who waits for a slot has waited long enough. */
static void come_to_rest(void)
{
	u32 i, k;

	P.merge_hold = false;
	P.in.gather = false;
	fzc_p_freeze_void(&P);
	for (i = 0; i < FZC_MAX_XFERS; i++)
		if (T.xfer[i])
			xfer_ends(i, 0);
	for (i = 0; i < MAX_READS; i++)
		if (T.read[i].used)
			read_ends(&T.read[i]);
	for (k = 0; k < 4 * MAX_TICKS && (k < 12 || waiting()); k++) {
		if (!(k % 4))
			fzc_p_tick(&P);
		shell_settle();
		for (i = 0; i < MAX_HOPS; i++) {
			if (T.hop[i].state == HOP_PARKED)
				try_write(&T.hop[i], true);
			if (T.hop[i].state == HOP_BUSY)
				write_ends(&T.hop[i], false);
		}
	}
	shell_settle();
	flush_ends();
}

void primary_end(void)
{
	static const u8 hash[32];
	u32 i;

	if (!W.mem)
		return;
	disconnect();
	come_to_rest();
	look();
	check_reads();
	/* P3: nobody is kept waiting by a peer, whatever it said */
	MUST(!waiting() || !T.sound);
	if (!T.sound || !T.thorough) {
		shell_free();
		return;
	}
	fzc_p_stop(&P, hash);
	for (i = 0; i < 3; i++) {
		shell_settle();
		fzc_p_tick(&P);
	}
	MUST(fzc_p_stopped(&P) && (!P.stop_failed || W.errors));
	for (i = 0; i < MAX_BLOCKS && !P.stop_failed; i++)
		T.safe[i] = T.last[i];
	shell_crash();	/* after a stop in order nothing may be lost by it */
	boot();
	look();
	shell_free();
}

static void run(const u8 *data, size_t len)
{
	static const u32 slots[] = { 8, 3, MAX_BLOCKS, 130 };
	struct in in = { data, data + len };
	u8 c = take(&in);

	shell_make(false, slots[c & 3], 0);
	W.opts.pair = fresh_id();
	W.opts.identical = c & 4;
	if (c & ENCRYPTS)
		shell_encrypt();
	primary_begin(true);
	T.thorough = !(c & 0x18);
	boot();
	primary_steps(&in);
	primary_end();
}

/* ---- stories to begin with ---- */

#define MEET		CONNECT, SETTLE, HELLO, 0, SETTLE, SESSION_OK, SETTLE
#define SOME(b, more)	WRITE, b, more, SETTLE, WRITE_END, 0, SETTLE, WRITE_END, 0
#define ONE(b)		SOME(b, 0)
#define THREE(b)	SOME(b, 2)
#define COPIED		2, MEET, SEND, SETTLE, DURABLE, 0, SEND, SETTLE, DURABLE, 0, TICK, SETTLE
#define IMAGE		CUT, 0, SETTLE, SEND, DURABLE, 0, SETTLE, SEND, DURABLE, 0, SETTLE, \
			COMMITTED, 0, 0, MERGED, 0, 0, SETTLE

static const u8 first_image[] = { COPIED, IMAGE };
static const u8 next_image[] = { COPIED, IMAGE, ONE(3), FLUSH, SETTLE, SEND, DURABLE, 0, ONE(4),
				 IMAGE };
static const u8 diverted[] = { COPIED, IMAGE, ONE(3), ONE(4), CUT, 0, SETTLE, ONE(3), ONE(4), READ, 3,
			       FLUSH, SETTLE, SEND, DURABLE, 0, SETTLE, COMMITTED, 0, 0, SETTLE,
			       READ_END, 0, SETTLE, TICK, SETTLE, CRASH };
static const u8 aborted[] = { COPIED, IMAGE, ONE(3), ONE(4), CUT, 0, SETTLE, ONE(3), ONE(4), PICK,
			      ABORT, SETTLE, SENT, 0, SEND, DURABLE, 0, ONE(5), IMAGE };
static const u8 doubt[] = { COPIED, IMAGE, ONE(1), FLUSH, SETTLE, CUT, 0, SETTLE, ONE(1), CRASH,
			    CONNECT, SETTLE, HELLO, 64, 0, 0, 0, 0, 0, 0, 0, SETTLE, SESSION_OK, SETTLE,
			    TICK, SETTLE };
static const u8 lost[] = { COPIED, IMAGE, ONE(3), SEND, PART, SETTLE, MEET, NEED, 7, 0, 0, SEND, FULL,
			   0, TICK, SEND, DURABLE, 0, IMAGE };
static const u8 tight[] = { 5, MEET, ONE(0), ONE(1), ONE(2), ONE(3), ONE(4), ONE(5), CUT, 0, SETTLE,
			    WRITE, 0, 2, WRITE, 3, 2, SETTLE, WRITE_END, 0, WRITE_END, 2, WRITE_END, 3,
			    SETTLE, WRITE_END, 1, SEND, DURABLE, 0 };

/* a slot that is read until others want it */
static const u8 held[] = { 5, MEET, ONE(0), IMAGE, ONE(3), CUT, 0, SETTLE, ONE(3), READ, 3, SEND,
			   DURABLE, 0, SETTLE, COMMITTED, 0, 0, MERGED, 0, 0, SETTLE, TICK, SETTLE, TICK,
			   SETTLE, THREE(7), CUT, 0, SETTLE, WRITE, 7, 2, SETTLE, WRITE_END, 1, SETTLE,
			   WRITE_END, 1, SETTLE, WRITE_END, 0, READ_END, 0 };

u32 primary_seed(u32 n, u8 *buf)
{
	static const struct {
		const u8 *story;
		u32 len;
	} seed[PRIMARY_SEEDS] = {
		{ first_image, sizeof(first_image) }, { next_image, sizeof(next_image) },
		{ diverted, sizeof(diverted) }, { aborted, sizeof(aborted) },
		{ doubt, sizeof(doubt) }, { lost, sizeof(lost) }, { tight, sizeof(tight) },
	};

	memcpy(buf, seed[n].story, seed[n].len);
	return seed[n].len;
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	u8 buf[MAX_SEED];
	u32 n, len;

	for (n = 0; n < PRIMARY_SEEDS; n++) {
		len = primary_seed(n, buf);
		emit(buf, len);
		buf[0] |= ENCRYPTS;
		emit(buf, len);
	}
	emit(held, sizeof(held));
}

const struct target target_primary = { "primary", run, seeds };
