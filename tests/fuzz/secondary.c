// SPDX-License-Identifier: GPL-2.0-only
/*
 * A secondary whose primary has the key and is hostile: any frames in any order,
 * between its own I/O, which may fail, its host's reads, power cuts and restarts.
 *
 * What it shows is one image, always the same, until an ALL_SENT that was right
 * makes it another; and when all is over it comes to rest and can be recovered.
 */
#include "cores.h"
#include "../../dm-freezecopy/core/wire.h"

#define MAX_READS	4
#define MAX_CRASHES	2

struct rx_io {
	struct fzc_rx *rx;
	bool encrypted;
	u32 val[FZC_MAX_RUN];
};

struct read {
	bool used, slot;
	u8 token, dev;
};

static struct {
	bool sound;		/* what is shown can be told */
	bool up;		/* a session on this connection */
	u64 frames;		/* of DATA, taken on it */
	struct fzc_img freeze;	/* that the primary announced; number 0: none */
	struct fzc_img sent;	/* an ALL_SENT that was taken; number 0: none */
	struct fzc_img image;	/* committed, as far as was seen */
	u32 shown[MAX_BLOCKS];	/* what that reads as */
	bool unread[MAX_BLOCKS];	/* which has not been seen: it could not be read */
	bool wrote;		/* its own host did */
	bool rotten;		/* a slot may hold what its checksum does not say */
	struct rx_io rx[FZC_MAX_RX];
	struct read read[MAX_READS];
	u32 next_val;
	u32 crashes;
	bool thorough;		/* in the end, stop and start */
} T;

/* ---- what it shows ---- */

/* False: an error, which is honest where something failed before. */
static bool read_block(u64 block, u32 *val)
{
	u32 slot;
	u8 dev;

	switch (fzc_s_read_place(&S, block, &dev, &slot)) {
	case FZC_S_DATA:
		*val = W.cur[FZC_DATA].val[block];
		return true;
	case FZC_S_ZERO:
		*val = 0;
		return true;
	case FZC_S_SLOT:
		fzc_s_slot_put(&S, dev);
		MUST(slot < W.geo.slots[dev == FZC_DIFF_B]);
		*val = W.cur[dev].val[slot];
		if (value_crc(*val) != fzc_s_slot_crc(&S, dev, slot))
			return false;
		shell_check_tag(dev, slot, *val);
		return true;
	default:
		return false;
	}
}

static bool same_image(const struct fzc_img *a, const struct fzc_img *b)
{
	return a->number == b->number && fzc_id_equal(&a->id, &b->id);
}

static void check_shown(bool fresh)
{
	u8 token;
	u64 b;
	u32 v;

	MUST(fzc_s_read_begin(&S, 0, MAX_BLOCKS - 1, &token) != FZC_GO_FAIL);
	for (b = 0; b < MAX_BLOCKS; b++) {
		T.unread[b] |= fresh;
		if (!read_block(b, &v)) {
			MUST(T.rotten);
			continue;
		}
		if (T.unread[b])
			T.shown[b] = v;
		T.unread[b] = false;
		MUST(v == T.shown[b]);
	}
	fzc_s_read_end(&S, token);
}

/* A commit is seen when its superblock is durable. */
static void look(void)
{
	const struct fzc_img *img = &S.sb.image;
	bool fresh;
	u8 token;

	MUST(fzc_slots_free(&S.stage[0]) <= W.geo.slots[0] &&
	     fzc_slots_free(&S.stage[1]) <= W.geo.slots[1] && S.ndamaged <= FZC_MAX_DAMAGED);
	if (!T.sound || S.commit_at)
		return;
	if (!S.has_image) {
		MUST(!T.image.number && fzc_s_read_begin(&S, 0, 0, &token) == FZC_GO_FAIL);
		return;
	}
	fresh = !same_image(img, &T.image);
	if (fresh) {
		MUST(img->number > T.image.number && T.sent.number && same_image(img, &T.sent));
		SAY("image %llu is committed", (unsigned long long)img->number);
		T.image = *img;
		T.sent.number = 0;
		T.freeze.number = 0;
	}
	check_shown(fresh);
}

/* ---- the connection ---- */

static bool receiving(void)
{
	u32 i;

	for (i = 0; i < FZC_MAX_RX; i++)
		if (T.rx[i].rx)
			return true;
	return false;
}

static void disconnect(void)
{
	W.dropped = false;
	if (S.link == FZC_SLINK_DOWN)
		return;
	look();	/* at what came about until now */
	fzc_s_disconnected(&S);
	T.up = false;
	/* R15 */
	if (!S.commit_at)
		T.sent.number = 0;
}

static void connect(struct in *in)
{
	(void)in;
	if (!fzc_s_idle(&S) || receiving() || S.stop_step)
		return;
	fzc_s_connected(&S);
	T.frames = 0;
	T.sent.number = 0;
}

/* As the shell does: a frame waits until it may be looked at. */
static bool may_look(void)
{
	if (S.link != FZC_SLINK_DOWN && !fzc_s_can_rx(&S))
		shell_settle();
	look();
	if (W.dropped)
		disconnect();
	return S.link != FZC_SLINK_DOWN && fzc_s_can_rx(&S);
}

/* R14, told by what this side has heard. */
static bool all_sent_is_right(const struct fzc_msg *m)
{
	return T.up && T.freeze.number && same_image(&m->image, &T.freeze) &&
	       m->frames == T.frames && m->base.number == T.image.number &&
	       (!m->base.number || fzc_id_equal(&m->base.id, &T.image.id)) && !T.sent.number &&
	       !S.overlay;
}

static void note_taken(const struct fzc_msg *m, bool right)
{
	switch (m->type) {
	case FZC_MSG_SESSION:
		T.up = true;
		T.freeze = m->session.freeze;
		break;
	case FZC_MSG_FREEZE:
		T.freeze = m->image;
		break;
	case FZC_MSG_ABORT:
		T.freeze.number = 0;
		break;
	case FZC_MSG_ALL_SENT:
		MUST(right || !T.sound);
		T.sent = m->image;
		break;
	}
}

/* Over the wire and to the core. */
static void deliver(const struct fzc_msg *msg)
{
	u8 buf[FZC_WIRE_HEAD + FZC_MAX_CTL] __attribute__((aligned(8)));
	struct fzc_frame f;
	struct fzc_msg m;
	bool right;

	fzc_wire_put_msg(buf, msg);
	if (fzc_wire_parse_head(&f, buf, &W.geo, S.reason) ||
	    fzc_wire_parse_msg(&m, &f, buf + FZC_WIRE_HEAD, S.reason)) {
		disconnect();
		return;
	}
	right = m.type == FZC_MSG_ALL_SENT && all_sent_is_right(&m);
	if (fzc_s_rx(&S, &m)) {
		MUST(memchr(S.reason, 0, FZC_REASON_LEN) && *S.reason);
		disconnect();
		return;
	}
	note_taken(&m, right);
}

/* ---- its frames: right, unless the input says which fields are not ---- */

static void hello(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_HELLO };
	struct fzc_hello *h = &m.hello;
	u8 twist = take(in);

	h->role = FZC_PRIMARY;
	h->pair = fzc_id_is_zero(&S.sb.pair) ? fresh_id() : S.sb.pair;
	h->sectors = W.geo.sectors;
	h->block_size = W.geo.block_size;
	h->encrypted = W.opts.encrypt;
	h->image = S.sb.image;
	h->freeze = S.sb.freeze;
	if (twist) {
		h->role = twist & 3 ?: FZC_PRIMARY;
		h->recovered = twist & 4;
		h->blank = twist & 8;
		h->pair = any_id(in, &h->pair);
		h->sectors = any_number(in, h->sectors);
		h->block_size = any_number(in, h->block_size);
		h->image = any_image(in, &h->image);
		h->encrypted ^= twist >> 4 & 1;
	}
	deliver(&m);
}

static void session(struct in *in)
{
	struct fzc_msg m = { .type = FZC_MSG_SESSION };
	struct fzc_session *n = &m.session;
	bool blank = S.sb.flags & FZC_SB_BLANK;
	u8 twist = take(in);

	n->order = blank ? FZC_ORDER_FIRST_COPY : FZC_ORDER_RESUME;
	n->pair = blank ? fresh_id() : S.sb.pair;
	n->session = fresh_id();
	memset(n->stage_key, W.opts.encrypt, sizeof(n->stage_key));
	n->stage = blank ? fresh_id() : S.sb.stage;
	n->building = max(S.sb.building, S.sb.image.number + 1);
	n->freeze = S.sb.freeze;
	if (twist) {
		n->order = twist & 3 ?: n->order;
		if (n->order != FZC_ORDER_RESUME)
			n->stage = fresh_id();
		n->pair = any_id(in, &n->pair);
		n->stage = any_id(in, &n->stage);
		n->building = any_number(in, n->building);
		n->freeze = any_image(in, &n->freeze);
		if (twist & 4)	/* an abort that was not heard */
			n->freeze.number = 0;
		if (twist & 0x20)
			memset(n->stage_key, take(in), sizeof(n->stage_key));
	}
	deliver(&m);
}

/* FREEZE, ALL_SENT, ABORT. */
static void freezing(struct in *in, u8 type)
{
	struct fzc_msg m = { .type = type };
	u8 twist = take(in);

	m.image = S.sb.freeze;
	m.image.number = S.sb.building;
	if (type == FZC_MSG_FREEZE)
		m.image.id = fresh_id();
	m.base = S.sb.image;
	m.stage = S.sb.stage;
	m.frames = S.frames;
	if (twist) {
		m.image = any_image(in, &m.image);
		m.base = any_image(in, &m.base);
		m.stage = any_id(in, &m.stage);
		m.frames = any_number(in, m.frames);
	}
	deliver(&m);
}

static void freeze(struct in *in)
{
	freezing(in, FZC_MSG_FREEZE);
}

static void all_sent(struct in *in)
{
	freezing(in, FZC_MSG_ALL_SENT);
}

static void abort_freeze(struct in *in)
{
	freezing(in, FZC_MSG_ABORT);
}

/* What a primary has no business to say, and what has nothing to it. */
static void other(struct in *in)
{
	struct fzc_msg m = { .type = 1 + take(in) % (FZC_NR_MSG - 1) };

	switch (m.type) {
	case FZC_MSG_HELLO:
	case FZC_MSG_SESSION:
	case FZC_MSG_DATA:
		return;
	case FZC_MSG_NEED:
		m.first = any_number(in, 0);
		m.n = any_number(in, 1);
		break;
	case FZC_MSG_DURABLE:
	case FZC_MSG_FULL:
		m.frame = any_number(in, S.frames);
		break;
	case FZC_MSG_REFUSE:
		m.reason[0] = take(in);
		break;
	default:
		m.image = any_image(in, &S.sb.image);
	}
	deliver(&m);
}

/* ---- DATA ---- */

static struct rx_io *rx_new(struct fzc_rx *rx)
{
	u32 i = 0;

	while (T.rx[i].rx)
		MUST(++i < FZC_MAX_RX);	/* or it takes more than it has room for */
	T.rx[i].rx = rx;
	return &T.rx[i];
}

static void data(struct in *in)
{
	struct fzc_frame f = { .type = FZC_MSG_DATA }, got;
	u8 head[FZC_WIRE_HEAD] __attribute__((aligned(8))), how = take(in), twist;
	struct fzc_rx *rx;
	struct rx_io *io;
	u32 i;

	f.frame = S.frames + 1;
	f.image = S.sb.building + (how & 1);
	f.first = take(in) % MAX_BLOCKS;
	f.n = min_t(u32, 1 + (how >> 1 & 3), MAX_BLOCKS - f.first);
	f.flags = (how & 8 ? FZC_WIRE_ZERO : 0) |
		  (S.sb.flags & FZC_SB_FIRST_COPY ? FZC_WIRE_DIRECT : 0);
	if (W.opts.encrypt && !f.flags)
		f.flags = FZC_WIRE_ENCRYPTED;
	twist = how & 0x80 ? take(in) : 0;
	if (twist) {
		f.frame = any_number(in, f.frame);
		f.image = any_number(in, f.image);
		f.first = any_number(in, f.first);
		f.n = any_number(in, f.n);
		f.flags ^= twist & 0x17;
	}
	f.length = fzc_wire_data_length(&W.geo, f.first % MAX_BLOCKS, min(f.n, MAX_BLOCKS),
					f.flags);
	fzc_wire_put_head(head, &f);
	if (fzc_wire_parse_head(&got, head, &W.geo, S.reason)) {
		disconnect();
		return;
	}
	rx = fzc_s_data(&S, got.frame, got.image, got.first, got.n, got.flags);
	if (!rx) {
		disconnect();
		return;
	}
	/* P6 */
	MUST(!(got.flags & FZC_WIRE_ENCRYPTED) == !(W.opts.encrypt && !rx->direct && !rx->zero));
	T.frames++;
	SAY("frame %llu: blocks %llu+%u to stage %u%s%s", (unsigned long long)rx->frame,
	    (unsigned long long)rx->first, rx->n, rx->stage, rx->direct ? ", direct" : "",
	    rx->full ? ", full" : "");
	io = rx_new(rx);
	io->encrypted = got.flags & FZC_WIRE_ENCRYPTED;
	for (i = 0; i < rx->n; i++)
		io->val[i] = rx->zero ? 0 : ++T.next_val;
}

/* The payload of a frame was written, or was not. */
static void put_away(struct rx_io *io, bool fails)
{
	struct fzc_rx *rx = io->rx;
	u32 crc[FZC_MAX_RUN], i, slot = 0;

	io->rx = NULL;
	SAY("frame %llu: blocks %llu+%u of stage %u are%s put away", (unsigned long long)rx->frame,
	    (unsigned long long)rx->first, rx->n, rx->stage, fails ? " not" : "");
	/* of a broken connection some of the payload may be missing */
	W.errors |= fails;
	T.rotten |= fails;
	for (i = 0; i < rx->n; i++) {
		crc[i] = value_crc(io->val[i]);
		if (rx->full)
			continue;
		u8 dev = fzc_s_data_place(&S, rx, rx->first + i, &slot);

		MUST(dev == FZC_DATA ? rx->first + i < MAX_BLOCKS :
		     slot < W.geo.slots[dev == FZC_DIFF_B]);
		if (!(fails && i & 1) && (dev == FZC_DATA || !rx->zero))
			W.cur[dev].val[dev == FZC_DATA ? rx->first + i : slot] = io->val[i];
		if (io->encrypted && !fails)
			shell_note_tag(dev, slot, io->val[i]);
	}
	fzc_s_data_done(&S, rx, rx->zero ? NULL : crc, fails ? -EIO : 0);
}

static void data_end(struct in *in)
{
	u8 c = take(in);
	u32 i;

	for (i = 0; i < FZC_MAX_RX; i++) {
		struct rx_io *io = &T.rx[(i + c / 4) % FZC_MAX_RX];

		if (!io->rx)
			continue;
		put_away(io, (c & 3) == 3);
		if (!(c & 1))
			return;
	}
}

/* ---- its own host, its operator, its power ---- */

static void read_begin(struct in *in)
{
	u64 block = take(in) % MAX_BLOCKS;
	struct read *r = T.read;
	u32 slot;

	while (r < T.read + MAX_READS && r->used)
		r++;
	if (r == T.read + MAX_READS || fzc_s_read_begin(&S, block, block, &r->token) == FZC_GO_FAIL)
		return;
	r->used = true;
	r->slot = fzc_s_read_place(&S, block, &r->dev, &slot) == FZC_S_SLOT;
}

static void read_end(struct in *in)
{
	struct read *r = &T.read[take(in) % MAX_READS];

	if (!r->used)
		return;
	r->used = false;
	if (r->slot)
		fzc_s_slot_put(&S, r->dev);
	fzc_s_read_end(&S, r->token);
}

/* Once recovered. */
static void write_block(struct in *in)
{
	u64 block = take(in) % MAX_BLOCKS;

	if (fzc_s_write_begin(&S, block, block) != FZC_GO_DATA)
		return;
	W.cur[FZC_DATA].val[block] = T.shown[block] = ++T.next_val;
	T.wrote = true;
	fzc_s_write_end(&S, block, block);
}

static void recover(struct in *in)
{
	(void)in;
	disconnect();
	if (fzc_s_idle(&S) && !receiving() && !S.stop_step)
		fzc_s_recover(&S);
}

static void tick(struct in *in)
{
	(void)in;
	fzc_s_tick(&S);
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

static void forget_io(void)
{
	memset(T.rx, 0, sizeof(T.rx));
	memset(T.read, 0, sizeof(T.read));
	T.up = false;
}

static void boot(void)
{
	MUST(!shell_boot() || !T.sound);
	if (T.sound)
		shell_settle();
}

/* A power cut: what was written since the last flush is lost, here all of it. */
static void crash(struct in *in)
{
	u32 i;

	(void)in;
	if (++T.crashes > MAX_CRASHES)	/* they take most of the time */
		return;
	/* a slot that was rewritten, and whose index was not */
	T.rotten = true;
	/* what its host wrote is not durable, and not asked for */
	if (T.wrote)
		for (i = 0; i < MAX_BLOCKS; i++)
			T.shown[i] = W.dur[FZC_DATA].val[i];
	forget_io();
	shell_crash();
	boot();
	T.sent.number = S.sb.image.number == T.sent.number ? T.sent.number : 0;
}

static void part(struct in *in)
{
	(void)in;
	disconnect();
}

enum { HELLO, SESSION, DATA, FREEZE, ALL_SENT, ABORT, OTHER, LAST_FRAME = OTHER, CONNECT, PART,
       DATA_END, RUN, SETTLE, READ, READ_END, WRITE, RECOVER, TICK, CRASH, NR_STEPS };

static const struct {
	const char *name;
	void (*run)(struct in *in);
} steps[NR_STEPS] = {
	[HELLO] = { "HELLO", hello }, [SESSION] = { "SESSION", session }, [DATA] = { "DATA", data },
	[FREEZE] = { "FREEZE", freeze }, [ALL_SENT] = { "ALL_SENT", all_sent },
	[ABORT] = { "ABORT", abort_freeze }, [OTHER] = { "another frame", other },
	[CONNECT] = { "connect", connect }, [PART] = { "disconnect", part },
	[DATA_END] = { "DATA put away", data_end }, [RUN] = { "run", run_some },
	[SETTLE] = { "settle", settle }, [READ] = { "read", read_begin },
	[READ_END] = { "read ends", read_end }, [WRITE] = { "write", write_block },
	[RECOVER] = { "recover", recover }, [TICK] = { "tick", tick }, [CRASH] = { "crash", crash },
};

void secondary_begin(bool sound)
{
	memset(&T, 0, sizeof(T));
	T.sound = sound;
}

void secondary_steps(struct in *in)
{
	while (in->p < in->end) {
		u8 step = take(in) % NR_STEPS;

		if (step > LAST_FRAME || may_look())
			steps[step].run(in);
		SAY("%s: link %u, image %llu, building %llu, freeze %llu%s%s", steps[step].name,
		    S.link, (unsigned long long)S.sb.image.number,
		    (unsigned long long)S.sb.building, (unsigned long long)S.sb.freeze.number,
		    *S.reason ? ": " : "", S.reason);
		if (!W.mem)
			return;
		if (W.dropped)
			disconnect();
		look();
	}
}

/* All that is under way ends. */
static void come_to_rest(void)
{
	u32 i;

	for (i = 0; i < FZC_MAX_RX; i++)
		if (T.rx[i].rx)
			put_away(&T.rx[i], false);
	for (i = 0; i < MAX_READS; i++) {
		struct read *r = &T.read[i];

		if (r->used && r->slot)
			fzc_s_slot_put(&S, r->dev);
		if (r->used)
			fzc_s_read_end(&S, r->token);
		r->used = false;
	}
	for (i = 0; i < 3; i++) {
		fzc_s_tick(&S);
		shell_settle();
	}
}

void secondary_end(void)
{
	static const u8 hash[32];

	if (!W.mem)
		return;
	disconnect();
	come_to_rest();
	look();
	MUST(fzc_s_idle(&S) || !T.sound);
	if (!T.sound || !S.has_image || !T.thorough) {
		shell_free();
		return;
	}
	/* whatever was said, the image can be had, now and after a restart */
	MUST(!fzc_s_recover(&S) || S.sb.flags & FZC_SB_RECOVERED);
	come_to_rest();
	look();
	MUST(fzc_s_writable(&S));
	fzc_s_stop(&S, hash);
	come_to_rest();
	MUST(fzc_s_stopped(&S) && !S.stop_failed);
	shell_free();
	boot();
	look();
	shell_free();
}

static void run(const u8 *data, size_t len)
{
	static const u32 slots[][2] = { { 8, 8 }, { 3, 5 }, { MAX_BLOCKS, MAX_BLOCKS }, { 130, 20 } };
	struct in in = { data, data + len };
	u8 c = take(&in);

	shell_make(true, slots[c & 3][0], slots[c & 3][1]);
	W.opts.verify = c & 4;
	if (c & ENCRYPTS)
		shell_encrypt();
	secondary_begin(true);
	T.thorough = !(c & 0x18);
	boot();
	look();
	secondary_steps(&in);
	secondary_end();
}

/* ---- stories to begin with ---- */

#define MEET		CONNECT, HELLO, 0, SETTLE, SESSION, 0, SETTLE
#define ONE(b)		DATA, 0, b, DATA_END, 1
#define AHEAD(b)	DATA, 1, b, DATA_END, 1
#define IMAGE		FREEZE, 0, SETTLE, ALL_SENT, 0, SETTLE
#define COPIED		2, MEET, ONE(0), ONE(5), DATA, 8, 7, DATA_END, 1, SETTLE, IMAGE

static const u8 first_copy[] = { COPIED };
static const u8 next_image[] = { COPIED, ONE(1), ONE(2), SETTLE, IMAGE, ONE(3), IMAGE };
static const u8 ahead[] = { COPIED, ONE(1), FREEZE, 0, SETTLE, AHEAD(1), AHEAD(9), SETTLE,
			    ALL_SENT, 0, SETTLE, ONE(4), IMAGE };
static const u8 aborted[] = { COPIED, ONE(1), FREEZE, 0, SETTLE, AHEAD(1), AHEAD(2), SETTLE,
			      ABORT, 0, SETTLE, ONE(6), IMAGE };
static const u8 resumed[] = { COPIED, ONE(1), SETTLE, PART, SETTLE, MEET, ONE(2), IMAGE };
static const u8 recovered[] = { COPIED, ONE(1), SETTLE, PART, SETTLE, RECOVER, SETTLE,
				WRITE, 3, SETTLE, WRITE, 3, TICK, TICK, SETTLE, CRASH };
static const u8 merging[] = { COPIED, ONE(1), ONE(2), ONE(8), ONE(9), SETTLE, FREEZE, 0, SETTLE,
			      ALL_SENT, 0, RUN, 6, 0, 0, 1, 0, 0, 1, READ, 1, CRASH, READ, 2, SETTLE,
			      READ_END, 0, READ_END, 1 };
static const u8 restated[] = { COPIED, ONE(1), FREEZE, 0, SETTLE, AHEAD(2), SETTLE, PART,
			       SETTLE, CONNECT, HELLO, 0, SETTLE, SESSION, 5, 0, 0, 0, 0, 0, SETTLE,
			       ONE(3), IMAGE };
static const u8 verified[] = { 6, MEET, ONE(0), SETTLE, IMAGE, ONE(1), ONE(2), SETTLE, IMAGE,
			       OTHER, 13, 0, OTHER, 1 };

/* an ALL_SENT too early, or of one frame more; two frames for one block */
static const u8 early[] = { COPIED, DATA, 0, 1, FREEZE, 0, SETTLE, ALL_SENT, 0, SETTLE, DATA_END, 1,
			    SETTLE };
static const u8 miscounted[] = { COPIED, ONE(1), FREEZE, 0, SETTLE, ALL_SENT, 1, 0, 0, 0, 0, 0, 0x84,
				 SETTLE };
static const u8 twice[] = { COPIED, DATA, 0, 1, DATA, 0, 1, DATA_END, 4, DATA_END, 0, SETTLE, IMAGE };

/* power is cut once blocks are durable, and while those of a fold are being written */
static const u8 kept[] = { COPIED, ONE(1), ONE(2), SETTLE, CRASH, MEET, ONE(3), IMAGE };
static const u8 folded[] = { COPIED, ONE(1), FREEZE, 0, SETTLE, AHEAD(1), AHEAD(2), SETTLE,
			     ABORT, 0, SETTLE, CRASH, MEET, ONE(6), IMAGE };
/* tags that are not written, and lost */
static const u8 untagged[] = { COPIED, ONE(1), RUN, 3, 0, 0, 0, 3, SETTLE, CRASH, MEET, ONE(2), IMAGE };
/* the primary goes on, with another stage's key */
static const u8 other_key[] = { COPIED, ONE(1), SETTLE, PART, SETTLE, CONNECT, HELLO, 0, SETTLE,
				SESSION, 0x21, 0, 0, 0, 0, 0, 9, SETTLE, IMAGE };

u32 secondary_seed(u32 n, u8 *buf)
{
	static const struct {
		const u8 *story;
		u32 len;
	} seed[SECONDARY_SEEDS] = {
		{ first_copy, sizeof(first_copy) }, { next_image, sizeof(next_image) },
		{ ahead, sizeof(ahead) }, { aborted, sizeof(aborted) },
		{ resumed, sizeof(resumed) }, { recovered, sizeof(recovered) },
		{ merging, sizeof(merging) }, { restated, sizeof(restated) },
		{ verified, sizeof(verified) },
	};

	memcpy(buf, seed[n].story, seed[n].len);
	return seed[n].len;
}

static void seeds(void (*emit)(const void *data, size_t len))
{
	static const struct {
		const u8 *story;
		u32 len;
	} more[] = {
		{ early, sizeof(early) }, { miscounted, sizeof(miscounted) },
		{ twice, sizeof(twice) }, { kept, sizeof(kept) }, { folded, sizeof(folded) },
		{ untagged, sizeof(untagged) }, { other_key, sizeof(other_key) },
	};
	u8 buf[MAX_SEED];
	u32 n, len;

	for (n = 0; n < SECONDARY_SEEDS + ARRAY_SIZE(more); n++) {
		if (n < SECONDARY_SEEDS) {
			len = secondary_seed(n, buf);
		} else {
			len = more[n - SECONDARY_SEEDS].len;
			memcpy(buf, more[n - SECONDARY_SEEDS].story, len);
		}
		emit(buf, len);
		buf[0] |= ENCRYPTS;
		emit(buf, len);
	}
}

const struct target target_secondary = { "secondary", run, seeds };
