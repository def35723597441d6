// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two cores with disks of memory and a link between: what the simulator,
 * whose sides are sound, never makes them do.
 */
#include "test.h"
#include "pcore.h"
#include "score.h"
#include "volkey.h"
#include "wire.h"

#define MAX_PAGES	256
#define MAX_SENT	600	/* more than NEED asks for at once */
#define SLOTS		32

static struct side {
	bool second;
	struct fzc_geometry geo;
	struct fzc_opts opts;
	struct fzc_page *disk[FZC_NR_DEVS];	/* pages of metadata, the slots are not kept */
	struct fzc_msg sent[MAX_SENT];
	u32 nsent, seen;
	bool written[FZC_NR_DEVS][MAX_PAGES];
	u64 bad_from, bad_to;	/* writes to meta between them fail */
	bool slow_super;	/* writes of the superblock take until end_super() */
	struct fzc_act super;	/* ...the one that is being written */
	u32 copies;		/* batches were copied so often */
	int flush_err;
	u8 copy_result;
	u32 tags;			/* so often tags were to be written */
	int tags_err;
} A, B;
static bool encrypted;			/* for the next two that are made */
static struct fzc_pcore P;
static struct fzc_score S;
static struct fzc_page page;

static void make(struct side *n, bool second, u64 blocks)
{
	char why[FZC_REASON_LEN];
	u32 i;

	memset(n, 0, sizeof(*n));
	n->second = second;
	CHECK(!fzc_geometry_init(&n->geo, 8 * blocks, 4096, why));
	n->geo.slots[0] = SLOTS;
	n->geo.slots[1] = second ? SLOTS : 0;
	n->opts.format = 1 + test_below(1000);
	n->opts.identical = true;
	n->opts.encrypt = encrypted;
	n->geo.tagged = second && encrypted;
	if (encrypted)
		test_fill(&n->opts.keys, sizeof(n->opts.keys));
	n->opts.pair = second ? (struct fzc_id){ } : test_id();
	for (i = 0; i < FZC_NR_DEVS; i++)
		n->disk[i] = test_alloc(MAX_PAGES * sizeof(struct fzc_page));
}

static struct fzc_page *page_at(struct side *n, u8 dev, u64 offset)
{
	CHECK(offset / FZC_PAGE < MAX_PAGES);
	return &n->disk[dev][offset / FZC_PAGE % MAX_PAGES];
}

static void done(struct side *n, const struct fzc_act *act, int err)
{
	if (n->second)
		fzc_s_done(&S, act, err);
	else
		fzc_p_done(&P, act, err);
}

static const u8 nonce[FZC_NONCE_BYTES];

static void write_page(struct side *n, const struct fzc_act *act)
{
	if (act->dev == FZC_META && act->offset >= n->bad_from && act->offset < n->bad_to) {
		done(n, act, -EIO);
		return;
	}
	if (n->opts.vk)
		CHECK(!fzc_volkey_sign(n->opts.vk, n->second ? &S.sb.keys : &P.sb.keys, act->dev,
				       act->offset, nonce, &page));
	*page_at(n, act->dev, act->offset) = page;
	n->written[act->dev][act->offset / FZC_PAGE % MAX_PAGES] = true;
	if (n->slow_super && act->dev == FZC_META && act->offset < FZC_OFF_REGIONS)
		n->super = *act;
	else
		done(n, act, 0);
}

static void end_super(struct side *n)
{
	CHECK(n->super.kind == FZC_ACT_WRITE);
	n->super.kind = FZC_ACT_NONE;
	done(n, &n->super, 0);
}

static void copy(struct side *n, const struct fzc_act *act)
{
	u32 i;

	n->copies++;
	for (i = 0; i < act->copy->n; i++)
		act->copy->item[i].result = n->copy_result;
	done(n, act, 0);
}

static void carry_out(struct side *n, struct fzc_act *act)
{
	switch (act->kind) {
	case FZC_ACT_WRITE:
		write_page(n, act);
		break;
	case FZC_ACT_COPY:
		copy(n, act);
		break;
	case FZC_ACT_FLUSH:
		done(n, act, n->flush_err);
		break;
	case FZC_ACT_TAGS:
		n->tags++;
		done(n, act, n->tags_err);
		break;
	case FZC_ACT_GROW:
		act->chunk = test_alloc(sizeof(*act->chunk));
		done(n, act, 0);
		break;
	case FZC_ACT_SEND:
		CHECK_OR_RETURN(n->nsent < MAX_SENT);
		n->sent[n->nsent++] = act->msg;
		break;
	}
}

/* Until an action of this kind, which is not carried out. */
static bool next_of(struct side *n, struct fzc_act *act, u8 kind)
{
	u32 i = 0;

	while (i++ < 10000 && (n->second ? fzc_s_next(&S, act, &page) :
					   fzc_p_next(&P, act, &page))) {
		if (act->kind == kind)
			return true;
		carry_out(n, act);
	}
	return false;
}

/* All that both have to do without each other. */
static void settle(void)
{
	struct fzc_act act;
	u32 n = 0;

	while (n < 10000 && fzc_p_next(&P, &act, &page) && ++n)
		carry_out(&A, &act);
	while (n < 10000 && fzc_s_next(&S, &act, &page) && ++n)
		carry_out(&B, &act);
	CHECK(n < 10000);
}

/* ...and with each other. */
static int converse(void)
{
	int err = 0, n = 0;

	for (settle(); !err && n++ < 1000 && (A.seen < A.nsent || B.seen < B.nsent); settle()) {
		if (A.seen < A.nsent && fzc_s_can_rx(&S))
			err = fzc_s_rx(&S, &A.sent[A.seen++]);
		else if (B.seen < B.nsent)
			err = fzc_p_rx(&P, &B.sent[B.seen++]);
		if (A.seen == A.nsent && B.seen == B.nsent)
			A.seen = A.nsent = B.seen = B.nsent = 0;
	}
	return err;
}

static int boot_p(void)
{
	void *mem = test_alloc(fzc_p_bytes(&A.geo));
	struct fzc_load load;
	int err = 0;

	fzc_p_init(&P, mem, &A.geo, &A.opts);
	while (!err && fzc_p_load_next(&P, &load))
		while ((err = fzc_p_load_give(&P, &load, page_at(&A, load.dev, load.offset),
					      page_at(&A, load.dev, load.offset + FZC_PAGE))) ==
		       -EAGAIN)
			load.chunk = test_alloc(sizeof(*load.chunk));
	return err ?: fzc_p_start(&P);
}

static int load_s(void)
{
	void *mem = test_alloc(fzc_s_bytes(&B.geo));
	struct fzc_load load;
	int err = 0;

	fzc_s_init(&S, mem, &B.geo, &B.opts);
	while (!err && fzc_s_load_next(&S, &load))
		while ((err = fzc_s_load_give(&S, &load, page_at(&B, load.dev, load.offset),
					      page_at(&B, load.dev, load.offset + FZC_PAGE))) ==
		       -EAGAIN)
			load.chunk = test_alloc(sizeof(*load.chunk));
	return err;
}

static int boot_s(void)
{
	return load_s() ?: fzc_s_start(&S);
}

static void both(u64 blocks)
{
	make(&A, false, blocks);
	make(&B, true, blocks);
	CHECK(!boot_p() && !boot_s());
	settle();
	CHECK(fzc_p_started(&P) && fzc_s_started(&S));
}

static void meet(void)
{
	struct fzc_id id = test_id();

	A.seen = A.nsent = B.seen = B.nsent = 0;
	fzc_p_connected(&P, &id);
	fzc_s_connected(&S);
	settle();
}

static void part(void)
{
	fzc_p_disconnected(&P);
	fzc_s_disconnected(&S);
	settle();
}

static void connect_both(void)
{
	meet();
	CHECK(!converse());
	CHECK(P.link == FZC_LINK_UP && S.link == FZC_SLINK_UP);
}

static int cut(bool force)
{
	struct fzc_img img = { .id = test_id() };

	return fzc_p_freeze(&P, &img, force);
}

/* With an image on both sides. */
static void paired(u64 blocks)
{
	both(blocks);
	connect_both();
	CHECK(!cut(false));
	CHECK(!converse());
	CHECK(P.sb.image.number == 1 && S.sb.image.number == 1);
}

static int p_gets(u8 type, u64 frame, u32 n)
{
	struct fzc_msg msg = { .type = type, .frame = frame, .first = frame, .n = n };

	return fzc_p_rx(&P, &msg);
}

static void paired_encrypted(u64 blocks)
{
	encrypted = true;
	paired(blocks);
	encrypted = false;
}

/* The peer of another volume is told why before its connection goes. */
TEST(cores_secondary_refuses_a_peer)
{
	paired(64);
	part();
	P.sb.pair.b[0] ^= 1;
	B.nsent = B.seen = 0;
	meet();
	CHECK(converse() == -ECONNREFUSED);
	CHECK(B.sent[0].type == FZC_MSG_REFUSE && strstr(B.sent[0].reason, "another volume"));
	CHECK(S.ended && !S.refuse && strstr(P.reason, "another volume"));
}

TEST(cores_primary_refuses_frames)
{
	struct fzc_msg msg = { .type = FZC_MSG_COMMITTED, .image = { .number = 5 } };

	paired(64);
	CHECK(!p_gets(FZC_MSG_PING, 0, 0));
	CHECK(p_gets(FZC_MSG_HELLO, 0, 0) == -EPROTO && strstr(P.reason, "second hello"));
	CHECK(p_gets(FZC_MSG_SESSION_OK, 0, 0) == -EPROTO && strstr(P.reason, "not offered"));
	CHECK(p_gets(FZC_MSG_DURABLE, 99, 0) == -EPROTO && strstr(P.reason, "99 frames"));
	CHECK(p_gets(FZC_MSG_NEED, 60, 5) == -EPROTO && strstr(P.reason, "less than 64"));
	CHECK(p_gets(FZC_MSG_NEED, 64, 1) == -EPROTO);
	CHECK(p_gets(FZC_MSG_NEED, 0, FZC_MAX_RUN + 1) == -EPROTO &&
	      strstr(P.reason, "257 blocks at once"));
	CHECK(fzc_p_rx(&P, &msg) == -EPROTO && strstr(P.reason, "committed image 5"));
	CHECK(p_gets(FZC_MSG_FREEZE, 0, 0) == -EPROTO && strstr(P.reason, "type 7"));
	CHECK(p_gets(FZC_MSG_REFUSE, 0, 0) == -ECONNREFUSED);
	part();
	meet();
	CHECK(p_gets(FZC_MSG_DURABLE, 0, 0) == -EPROTO && strstr(P.reason, "before the session"));
}

static int s_gets(const struct fzc_msg *msg, const char *word)
{
	int err = fzc_s_rx(&S, msg);

	return err == -EPROTO && !strstr(S.reason, word) ? 1 : err;
}

/* A sound SESSION, which is not delivered. */
static struct fzc_session offered(void)
{
	meet();
	while (!A.nsent || A.sent[A.nsent - 1].type != FZC_MSG_SESSION) {
		if (A.seen < A.nsent)
			CHECK(!fzc_s_rx(&S, &A.sent[A.seen++]));
		settle();
		if (B.seen < B.nsent)
			CHECK(!fzc_p_rx(&P, &B.sent[B.seen++]));
		settle();
	}
	return A.sent[A.nsent - 1].session;
}

static int session(struct fzc_session n, const char *word)
{
	struct fzc_msg msg = { .type = FZC_MSG_SESSION, .session = n };

	return s_gets(&msg, word);
}

TEST(cores_secondary_refuses_sessions)
{
	struct fzc_session good, n;

	both(64);
	good = offered();
	n = good;
	n.order = FZC_ORDER_RESUME;
	CHECK(session(n, "blank") == -EPROTO);
	part();
	connect_both();
	CHECK(session(good, "before a hello") == -EPROTO);
	CHECK(!cut(false) && !converse());
	part();
	good = offered();
	n = good;
	n.pair = test_id();
	CHECK(session(n, "another pair") == -EPROTO);
	n = good;
	n.order = FZC_ORDER_FIRST_COPY;
	CHECK(session(n, "over a committed image") == -EPROTO);
	n = good;
	n.stage = test_id();
	CHECK(session(n, "another stage") == -EPROTO);
	n = good;
	n.building = 1;
	CHECK(session(n, "impossible image numbers") == -EPROTO);
	n = good;
	n.freeze.number = n.building + 1;
	CHECK(session(n, "impossible image numbers") == -EPROTO);
	n = good;
	n.building = U64_MAX;
	n.freeze.number = 0;
	CHECK(session(n, "impossible image numbers") == -EPROTO);
	CHECK(!session(good, ""));
}

static int freeze_frame(struct fzc_msg msg, u8 type, const char *word)
{
	msg.type = type;
	return s_gets(&msg, word);
}

TEST(cores_secondary_refuses_freezes)
{
	struct fzc_msg good, m;

	paired(64);
	m = (struct fzc_msg){ .type = FZC_MSG_ABORT, .image.number = 7 };
	CHECK(s_gets(&m, "abort of freeze 7") == -EPROTO);
	m.type = FZC_MSG_PING;
	CHECK(!fzc_s_rx(&S, &m));
	m.type = FZC_MSG_DURABLE;
	CHECK(s_gets(&m, "type 6") == -EPROTO);
	m.type = FZC_MSG_HELLO;
	CHECK(s_gets(&m, "second hello") == -EPROTO);
	CHECK(!cut(false));
	settle();
	good = A.sent[0];
	CHECK_OR_RETURN(good.type == FZC_MSG_FREEZE);
	m = good;
	m.image.number = 9;
	CHECK(freeze_frame(m, FZC_MSG_FREEZE, "freeze of image 9") == -EPROTO);
	m = good;
	m.base.number = 0;
	CHECK(freeze_frame(m, FZC_MSG_FREEZE, "on top of image 0") == -EPROTO);
	m = good;
	m.base.id = test_id();
	CHECK(freeze_frame(m, FZC_MSG_FREEZE, "on top of image 1") == -EPROTO);
	m = good;
	m.stage = test_id();
	CHECK(freeze_frame(m, FZC_MSG_FREEZE, "another stage") == -EPROTO);
	CHECK(freeze_frame(good, FZC_MSG_ALL_SENT, "expected 0") == -EPROTO);
	CHECK(freeze_frame(m, FZC_MSG_ALL_SENT, "another stage") == -EPROTO);
	CHECK(!fzc_s_rx(&S, &good));
	settle();
	good.frames = 3;
	CHECK(freeze_frame(good, FZC_MSG_ALL_SENT, "3 frames") == -EPROTO);
	part();
	meet();
	CHECK(freeze_frame(good, FZC_MSG_FREEZE, "before the session") == -EPROTO);
}

/* Blocks @first...+@n of image @image come. */
static bool data_written(u64 image, u64 first, u32 n)
{
	struct fzc_rx *rx = fzc_s_data(&S, S.frames + 1, image, first, n, 0);
	u32 crc[FZC_MAX_RUN] = { 0 }, slot;
	u64 b;

	for (b = first; rx && !rx->full && b < first + n; b++)
		fzc_s_data_place(&S, rx, b, &slot);
	if (rx)
		fzc_s_data_done(&S, rx, crc, 0);
	return rx;
}

static bool data(u64 image, u64 first, u32 n)
{
	bool taken = data_written(image, first, n);

	settle();
	return taken;
}

/* What is staged is encrypted, or it is not: that is not for a frame to say (P6). */
TEST(cores_no_downgrade)
{
	u64 image;

	paired(64);
	image = S.sb.building;
	CHECK(!fzc_s_data(&S, 1, image, 1, 1, FZC_WIRE_ENCRYPTED));
	CHECK(!fzc_s_data(&S, 1, image, 1, 1, FZC_WIRE_ENCRYPTED | FZC_WIRE_DIRECT));
	CHECK(fzc_s_data(&S, 1, image, 1, 1, FZC_WIRE_LZ4));
	paired_encrypted(64);
	image = S.sb.building;
	CHECK(!fzc_s_data(&S, 1, image, 1, 1, 0) && strstr(S.reason, "encrypted (0x10)"));
	CHECK(!fzc_s_data(&S, 1, image, 1, 1, FZC_WIRE_LZ4));
	CHECK(!fzc_s_data(&S, 1, image, 1, 1, FZC_WIRE_ENCRYPTED | FZC_WIRE_ZERO));
	CHECK(fzc_s_data(&S, 1, image, 1, 1, FZC_WIRE_ZERO));
	CHECK(fzc_s_data(&S, 2, image, 2, 1, FZC_WIRE_ENCRYPTED));
}

/* The stage's key comes with the session, once both say that they encrypt. */
TEST(cores_stage_key)
{
	struct fzc_session good, n;

	paired_encrypted(64);
	CHECK(!memcmp(S.sb.keys.stage, P.sb.keys.stage, FZC_KEY_BYTES));
	CHECK(memcmp(S.sb.keys.meta, P.sb.keys.meta, FZC_KEY_BYTES));
	part();
	good = offered();
	n = good;
	memset(n.stage_key, 0, sizeof(n.stage_key));
	CHECK(session(n, "no stage key, expected one") == -EPROTO);
	n = good;
	n.stage_key[3] ^= 1;
	CHECK(session(n, "another stage key") == -EPROTO);
	CHECK(!memcmp(S.sb.keys.stage, P.sb.keys.stage, FZC_KEY_BYTES));
	paired(64);
	part();
	n = offered();
	n.stage_key[3] = 1;
	CHECK(session(n, "a stage key, expected none") == -EPROTO);
}

/* DURABLE is not said of blocks whose tags could not be written, until they are. */
TEST(cores_tags_before_durable)
{
	u32 crc[1] = { 0 };
	struct fzc_act act;
	struct fzc_rx *rx;

	paired_encrypted(64);
	B.tags = 0;
	rx = fzc_s_data(&S, 1, S.sb.building, 1, 1, FZC_WIRE_ENCRYPTED);
	CHECK_OR_RETURN(rx);
	fzc_s_data_done(&S, rx, crc, 0);
	B.tags_err = -EIO;
	CHECK(next_of(&B, &act, FZC_ACT_DROP));
	CHECK(B.tags && !S.durable && S.stage_failed && strstr(S.reason, "writing tags to"));
	B.tags_err = 0;
	part();
	connect_both();
	rx = fzc_s_data(&S, 1, S.sb.building, 1, 1, FZC_WIRE_ENCRYPTED);
	CHECK_OR_RETURN(rx);
	fzc_s_data_done(&S, rx, crc, 0);
	B.tags = 0;
	settle();
	CHECK(B.tags == 1 && S.durable == 1 && !S.stage_failed);
}

TEST(cores_frames_are_counted)
{
	u64 image;

	paired(1000);
	image = S.sb.building;
	CHECK(data(image, 0, 1) && S.frames == 1);
	CHECK(!fzc_s_data(&S, 1, image, 1, 1, 0) &&
	      strstr(S.reason, "frame number 1, expected 2"));
	CHECK(!fzc_s_data(&S, 3, image, 1, 1, 0) &&
	      strstr(S.reason, "frame number 3, expected 2"));
	CHECK(S.frames == 1 && data(image, 1, 1) && S.frames == 2);
}

/* The next freeze, with blocks @first...+@n in it, up to ALL_SENT; the primary knows nothing of it. */
static struct fzc_msg freeze_of(u64 first, u32 n)
{
	struct fzc_msg m = {
		.type = FZC_MSG_FREEZE, .image = { .number = S.sb.building, .id = test_id() },
		.base = S.sb.image, .stage = S.sb.stage,
	};

	B.nsent = 0;
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	CHECK(data(m.image.number, first, n));
	m.type = FZC_MSG_ALL_SENT;
	m.frames = S.frames;
	return m;
}

/* An image of which nothing can be read to merge it; its ALL_SENT. */
static struct fzc_msg stuck_merge(void)
{
	struct fzc_msg m;

	paired(64);
	m = freeze_of(0, 4);
	B.copy_result = FZC_COPY_EIO;
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	CHECK(fzc_s_merging(&S));
	return m;
}

TEST(cores_secondary_lists_damage)
{
	struct fzc_msg m;
	u32 i, n;

	paired(1000);
	CHECK(!data(9, 0, 1) && strstr(S.reason, "of image 9"));
	B.copy_result = FZC_COPY_BAD;
	for (i = 0; i <= FZC_MAX_DAMAGED / 30; i++) {
		m = freeze_of(30 * i, 30);
		CHECK(!fzc_s_rx(&S, &m));
		settle();
	}
	/* more than the list takes: the merge goes on to be one */
	CHECK(S.ndamaged == FZC_MAX_DAMAGED && fzc_s_merging(&S));
	CHECK(S.stage_failed && strstr(S.reason, "more than 480") && strstr(S.reason, "block 480"));
	B.copy_result = FZC_COPY_OK;
	fzc_s_tick(&S);
	settle();
	CHECK(!fzc_s_merging(&S));
	m = freeze_of(0, 30);
	B.bad_from = FZC_OFF_DAMAGED;
	B.bad_to = FZC_OFF_MAPS;
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	/* the list cannot be written: likewise */
	CHECK(fzc_s_merging(&S) && S.meta_failed);
	B.bad_to = 0;
	fzc_s_tick(&S);
	settle();
	CHECK(!fzc_s_merging(&S));
	n = S.ndamaged;
	CHECK(n == FZC_MAX_DAMAGED - 30);
	part();
	CHECK(!boot_s());
	settle();
	CHECK(S.ndamaged == n);
	for (i = 0; i < 2; i++) {
		struct fzc_page *d = page_at(&B, FZC_META, FZC_OFF_DAMAGED + i * FZC_PAGE);

		d->damaged.n = cpu_to_le32(FZC_MAX_DAMAGED + 1);
		fzc_page_seal(d, FZC_PAGE_DAMAGED, S.sb.format, 1000, 0, 0);
	}
	CHECK(boot_s() == -EINVAL && strstr(S.reason, "481 damaged blocks"));
	for (i = 0; i < 2; i++) {
		struct fzc_page *d = page_at(&B, FZC_META, FZC_OFF_DAMAGED + i * FZC_PAGE);

		d->damaged.n = cpu_to_le32(1);
		d->damaged.block[0] = cpu_to_le64(1000);
		fzc_page_seal(d, FZC_PAGE_DAMAGED, S.sb.format, 1000, 0, 0);
	}
	CHECK(boot_s() == -EINVAL && strstr(S.reason, "block 1000 listed, expected less than 1000"));
}

/* A primary that has the key and does not keep to R8 or R14. */
TEST(cores_all_sent_too_early)
{
	struct fzc_rx *early, *ahead;
	struct fzc_msg m;
	u32 crc[1] = { 0 };

	paired(64);
	m = freeze_of(0, 1);
	early = fzc_s_data(&S, S.frames + 1, m.image.number, 1, 1, 0);
	CHECK_OR_RETURN(early);
	/* one for the next image may be under way, one for this must not */
	ahead = fzc_s_data(&S, S.frames + 1, m.image.number + 1, 0, 1, 0);
	CHECK_OR_RETURN(ahead);
	m.frames = S.frames;
	CHECK(freeze_frame(m, FZC_MSG_ALL_SENT, "before frame 2 is durable") == -EPROTO);
	fzc_s_data_done(&S, early, crc, 0);
	settle();
	CHECK(!freeze_frame(m, FZC_MSG_ALL_SENT, ""));
	fzc_s_data_done(&S, ahead, crc, 0);
	settle();
	CHECK(S.sb.image.number == m.image.number && S.durable == S.frames);
}

TEST(cores_blocks_that_come_twice)
{
	struct fzc_rx *rx;
	u32 crc[2] = { 0 };
	u64 image;

	paired(64);
	image = S.sb.building;
	rx = fzc_s_data(&S, 1, image, 4, 2, 0);
	CHECK_OR_RETURN(rx);
	CHECK(!fzc_s_data(&S, 2, image, 5, 1, 0) &&
	      strstr(S.reason, "before frame 1 with some of them is durable"));
	CHECK(!fzc_s_data(&S, 2, image, 3, 2, FZC_WIRE_ZERO));
	/* written is not durable yet */
	fzc_s_data_done(&S, rx, crc, 0);
	CHECK(!fzc_s_data(&S, 2, image, 5, 1, 0));
	settle();
	CHECK(fzc_s_data(&S, 2, image, 5, 1, 0));
}

/* While every slot is looked at before the commit. */
TEST(cores_frames_after_all_sent)
{
	struct fzc_msg m;
	struct fzc_act act;

	paired(64);
	S.opts.verify = true;
	m = freeze_of(0, 4);
	CHECK(!fzc_s_rx(&S, &m));
	CHECK(next_of(&B, &act, FZC_ACT_COPY) && S.commit.number == m.image.number);
	CHECK(freeze_frame(m, FZC_MSG_ALL_SENT, "is being committed") == -EPROTO);
	CHECK(freeze_frame(m, FZC_MSG_ABORT, "is being committed") == -EPROTO);
	CHECK(!fzc_s_data(&S, S.frames + 1, m.image.number, 9, 1, 0));
	CHECK(fzc_s_data(&S, S.frames + 1, m.image.number + 1, 9, 1, FZC_WIRE_ZERO));
	carry_out(&B, &act);
	settle();
	CHECK(S.sb.image.number == m.image.number);
}

/* What was put away when the connection was gone already. */
TEST(cores_session_waits_for_what_came_before)
{
	struct fzc_session n;
	struct fzc_rx *rx;
	u32 crc[1] = { 7 }, slot;

	paired(64);
	rx = fzc_s_data(&S, 1, S.sb.building, 5, 1, 0);
	CHECK_OR_RETURN(rx);
	part();
	fzc_s_data_done(&S, rx, crc, 0);
	n = offered();
	CHECK(!session(n, ""));
	settle();
	CHECK(S.link == FZC_SLINK_UP);
	slot = fzc_slots_find(&S.stage[S.sb.stage_cur], 5);
	CHECK(slot != FZC_NO_SLOT &&
	      *fzc_slot_flags(&S.stage[S.sb.stage_cur], slot) & FZC_SLOT_NAMED);
}

TEST(cores_all_sent_while_merging)
{
	struct fzc_msg m = stuck_merge();

	/* as a primary would that does not wait for MERGED */
	m.base = m.image;
	m.image.number++;
	CHECK(!freeze_frame(m, FZC_MSG_FREEZE, ""));
	settle();
	CHECK(freeze_frame(m, FZC_MSG_ALL_SENT, "is being merged") == -EPROTO);
}

TEST(cores_secondary_recovers_once)
{
	u8 token;

	both(64);
	CHECK(fzc_s_recover(&S) == -ENODATA);
	CHECK(fzc_s_read_begin(&S, 0, 0, &token) == FZC_GO_FAIL);
	CHECK(fzc_s_write_begin(&S, 0, 0) == FZC_GO_DENY);
	paired(64);
	part();
	CHECK(!fzc_s_recover(&S) && !fzc_s_recovered(&S));
	settle();
	CHECK(fzc_s_recovered(&S));
	CHECK(fzc_s_recover(&S) == -EALREADY);
}

TEST(cores_data_that_changed)
{
	static const u8 one[32] = { 1 }, other[32] = { 2 };

	paired(64);
	part();
	fzc_p_stop(&P, one);
	fzc_s_stop(&S, one);
	settle();
	CHECK(fzc_p_stopped(&P) && fzc_s_stopped(&S));
	memcpy(A.opts.data_hash, other, 32);
	memcpy(B.opts.data_hash, other, 32);
	CHECK(boot_p() == -EINVAL && strstr(P.reason, "since the clean stop"));
	CHECK(boot_s() == -EINVAL && strstr(S.reason, "no longer image 1"));
	A.opts.take_all = true;
	CHECK(!boot_p());
	CHECK(P.in.changed[P.sb.cur].count == 64);
}

static void spoil_regions(struct side *n)
{
	memset(page_at(n, FZC_META, FZC_OFF_REGIONS), 1, 2 * FZC_PAGE);
}

TEST(cores_regions_that_are_lost)
{
	paired(64);
	spoil_regions(&A);
	spoil_regions(&B);
	CHECK(boot_p() == -EINVAL && strstr(P.reason, "region page"));
	CHECK(boot_s() == -EINVAL && strstr(S.reason, "region page"));
}

static enum fzc_go write_begin(u64 first, u64 last)
{
	enum fzc_go go = fzc_p_write_begin(&P, first, last, false);

	if (go == FZC_GO_PARK) {
		settle();
		go = fzc_p_write_begin(&P, first, last, false);
	}
	return go;
}

TEST(cores_more_writes_than_are_counted)
{
	u32 i, slot;

	paired(64);
	for (i = 0; i < 0xffff; i++)
		CHECK_OR_RETURN(write_begin(3, 3) == FZC_GO_DATA);
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_PARK);
	fzc_p_write_end(&P, 3, 3, 0, false);
	CHECK(P.wake);
	while (--i)
		fzc_p_write_end(&P, 3, 3, 0, false);
	/* likewise to a slot */
	part();
	CHECK(!cut(true));
	settle();
	for (i = 0; i < 0xff; i++) {
		CHECK_OR_RETURN(write_begin(3, 3) == FZC_GO_MIXED);
		if (!i) {
			CHECK(fzc_p_write_place(&P, 3, &slot) == FZC_AT_NEW);
			fzc_p_write_end(&P, 3, 3, 0, false);
			CHECK(write_begin(3, 3) == FZC_GO_MIXED);
		}
	}
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_PARK);
}

/* A divert that ends wakes those who wait for one, and nobody when there are none. */
TEST(cores_diverts_wake_who_waits_for_one)
{
	paired(64);
	part();
	CHECK(write_begin(3, 4) == FZC_GO_DATA);
	fzc_p_write_end(&P, 3, 4, 0, false);
	CHECK(!cut(true));
	settle();
	CHECK(write_begin(3, 3) == FZC_GO_MIXED);
	settle();
	fzc_p_write_end(&P, 3, 3, 0, false);
	CHECK(!P.wake);
	CHECK(write_begin(4, 4) == FZC_GO_MIXED);
	settle();
	CHECK(fzc_p_write_begin(&P, 4, 4, false) == FZC_GO_PARK);
	fzc_p_write_end(&P, 4, 4, 0, false);
	CHECK(P.wake);
	CHECK(fzc_p_write_begin(&P, 4, 4, false) == FZC_GO_MIXED);
}

/* Blocks 0 to 7 are frozen, and no region is open. */
static void freeze_and_close(void)
{
	CHECK(write_begin(0, 7) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 7, 0, false);
	CHECK(!cut(false));
	fzc_intent_close_all(&P.in);
	settle();
	CHECK(!P.in.active.count);
}

/* A freeze, and a write that goes to a slot. */
static void divert(void)
{
	paired(64);
	freeze_and_close();
	CHECK(write_begin(3, 3) == FZC_GO_MIXED);
	CHECK(!P.in.active.count);	/* none was opened for it */
	fzc_p_write_end(&P, 3, 3, 0, false);
	A.copies = 0;
}

/* ...which is about to be merged. */
static void diverted(void)
{
	divert();
	P.merge_hold = true;
	CHECK(!fzc_p_abort(&P, "test"));
	settle();
	fzc_p_tick(&P);
	settle();
	CHECK(P.slots.used == 1 && !fzc_slots_dirty(&P.slots));
}

static void write_slot(u64 b)
{
	CHECK(fzc_p_write_begin(&P, b, b, false) == FZC_GO_MIXED);
	fzc_p_write_end(&P, b, b, 0, false);
}

/* All that both have to do; block 3 is written again whenever it is being merged. */
static void settle_beside_writes(void)
{
	struct fzc_act act;
	u32 n = 0;

	while (n++ < 1000 && fzc_p_next(&P, &act, &page)) {
		if (act.kind == FZC_ACT_COPY && fzc_p_write_begin(&P, 3, 3, false) != FZC_GO_PARK)
			fzc_p_write_end(&P, 3, 3, 0, false);
		carry_out(&A, &act);
	}
	CHECK(n < 1000);
}

/* Of so many writes to a slot the next waits for one to end. */
TEST(cores_writes_to_a_slot)
{
	u32 i;

	divert();
	for (i = 0; i < 255; i++)
		CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_MIXED);
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_PARK);
	P.wake = false;
	fzc_p_write_end(&P, 3, 3, 0, false);
	CHECK(P.wake && fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_MIXED);
}

/* A slot with more reads than can be counted is not given to another block. */
TEST(cores_reads_of_a_slot)
{
	u32 slot, i;

	divert();
	slot = fzc_slots_find(&P.slots, 3);
	for (i = 0; i < 0x10000; i++)
		fzc_slot_read_get(&P.slots, slot);
	CHECK(!fzc_p_abort(&P, "test"));
	settle();
	CHECK(fzc_slots_find(&P.slots, 3) == FZC_NO_SLOT);
	for (i = 0; i < 0x10000; i++)
		fzc_slot_read_put(&P.slots, slot);
	CHECK(fzc_slot_state(&P.slots, slot) == FZC_SLOT_ZOMBIE && P.slots.used == 1);
}

/* A block that is written all the time is merged, and the next freeze can be made. */
TEST(cores_merge_of_a_block_that_is_written_again)
{
	divert();
	CHECK(!fzc_p_abort(&P, "test"));
	settle_beside_writes();
	CHECK(!P.slots.used && !P.merge_firm && !cut(false));
}

/* ...with the next write before the last has ended. */
TEST(cores_merge_of_a_block_that_is_always_written)
{
	divert();
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_MIXED);
	CHECK(!fzc_p_abort(&P, "test"));
	settle();
	CHECK(P.slots.used == 1 && fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_PARK);
	fzc_p_write_end(&P, 3, 3, 0, false);
	settle();
	CHECK(!P.slots.used && write_begin(3, 3) == FZC_GO_DATA);
}

/* If the merge cannot begin, nobody waits for it for long. */
TEST(cores_writes_to_slots_wait_for_a_tick_at_most)
{
	divert();
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_MIXED);
	CHECK(!fzc_p_abort(&P, "test"));
	settle();
	P.merge_pause = true;
	CHECK(P.merge_firm);
	fzc_p_tick(&P);
	write_slot(3);
	CHECK(P.wake);
	fzc_p_write_end(&P, 3, 3, 0, false);
	settle();
	CHECK(!P.slots.used);
}

static void stop_p(void)
{
	static const u8 hash[32] = { 1 };

	part();
	memcpy(A.opts.data_hash, hash, 32);
	fzc_p_stop(&P, hash);
	settle();
	CHECK(fzc_p_stopped(&P) && !P.stop_failed);
}

/* A primary that was stopped with a slot in use. */
static void diverted_and_stopped(void)
{
	diverted();
	stop_p();
	CHECK(P.slots.used == 1);
}

/* Or the next start finds that somebody wrote to it since. */
TEST(cores_merge_waits_for_the_superblock)
{
	diverted_and_stopped();
	A.slow_super = true;
	CHECK(!boot_p());
	settle();
	CHECK(!A.copies && P.slots.used == 1);
	end_super(&A);
	A.slow_super = false;
	settle();
	CHECK(A.copies && !P.slots.used);
}

TEST(cores_merge_of_a_secondary_waits_for_the_superblock)
{
	static const u8 hash[32] = { 1 };
	struct fzc_msg m;
	u8 token;

	paired(64);
	m = freeze_of(0, 4);
	CHECK(fzc_s_read_begin(&S, 0, 0, &token) == FZC_GO_DATA);
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	CHECK(fzc_s_merging(&S));
	part();
	memcpy(B.opts.data_hash, hash, 32);
	fzc_s_stop(&S, hash);
	fzc_s_read_end(&S, token);
	settle();
	CHECK(fzc_s_stopped(&S));
	B.slow_super = true;
	B.copies = 0;
	CHECK(!boot_s());
	settle();
	CHECK(!B.copies && fzc_s_merging(&S));
	end_super(&B);
	B.slow_super = false;
	settle();
	CHECK(B.copies && !fzc_s_merging(&S));
}

static u32 said(const struct side *n, u8 type)
{
	u32 i, times = 0;

	for (i = 0; i < n->nsent; i++)
		times += n->sent[i].type == type;
	return times;
}

/* A secondary merges until the read of @token ends, and a connection has begun. */
static struct fzc_session offered_while_merging(u8 *token)
{
	paired(64);
	CHECK(fzc_s_read_begin(&S, 0, 0, token) == FZC_GO_DATA);
	CHECK(!cut(false));
	CHECK(!converse());
	CHECK(P.sb.image.number == 2 && fzc_s_merging(&S));
	part();
	return offered();
}

/* The merge ends while a session is stored: the next write of the superblock says so. */
TEST(cores_merged_is_durable_before_it_is_said)
{
	u8 token;
	struct fzc_session n = offered_while_merging(&token);

	B.slow_super = true;
	CHECK(!session(n, ""));
	settle();
	CHECK(S.link == FZC_SLINK_STORING);
	fzc_s_read_end(&S, token);
	settle();
	end_super(&B);
	settle();
	CHECK(S.link == FZC_SLINK_UP && fzc_s_merging(&S) && !said(&B, FZC_MSG_MERGED));
	end_super(&B);
	settle();
	CHECK(!fzc_s_merging(&S) && said(&B, FZC_MSG_MERGED) == 1);
}

/* A block in a slot has changed, which must be durable before the index forgets it. */
TEST(cores_slots_are_kept_until_what_changed_is_durable)
{
	divert();
	A.bad_from = fzc_area_offset(&A.geo, 0, 0, 0);
	A.bad_to = U64_MAX;
	CHECK(!fzc_p_abort(&P, "test"));
	settle();
	CHECK(!A.copies && P.slots.used == 1);
	fzc_p_tick(&P);
	settle();
	CHECK(!A.copies && P.slots.used == 1);
	A.bad_to = 0;
	fzc_p_tick(&P);
	settle();
	CHECK(A.copies && !P.slots.used);
}

/* meta fails as the cut is to be recorded: nobody waits for that for ever. */
TEST(cores_flush_ends_without_a_record)
{
	u64 ticket;

	paired(64);
	CHECK(write_begin(0, 7) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 7, 0, false);
	settle();
	A.bad_to = FZC_OFF_REGIONS;
	CHECK(!cut(false));
	CHECK(write_begin(3, 3) == FZC_GO_MIXED);
	fzc_p_write_end(&P, 3, 3, 0, false);
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_MIXED);
	settle();
	CHECK(P.meta_failed && P.sync_ended >= ticket && P.sync_err);
	A.bad_to = 0;
	fzc_p_tick(&P);
	settle();
	CHECK(!P.meta_failed);
	CHECK(fzc_p_flush_begin(&P, &ticket) != FZC_GO_FAIL);
}

/* A flush that nobody asked for fails: the next that somebody does ask for is told. */
TEST(cores_lost_in_a_flush)
{
	u64 ticket;

	paired(64);
	fzc_p_sync(&P);
	A.flush_err = -EIO;
	settle();
	A.flush_err = 0;
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_FAIL);
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_DATA);
}

/* One of our own that has not ended may have failed: the host's is not passed to DATA beside it. */
TEST(cores_flush_beside_one_of_ours)
{
	struct fzc_act act;
	u64 ticket;

	paired(64);
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_DATA);
	fzc_p_sync(&P);
	CHECK(next_of(&A, &act, FZC_ACT_FLUSH) && act.dev == FZC_DATA);
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_MIXED);
	done(&A, &act, -EIO);
	settle();
	CHECK(P.sync_ended >= ticket && fzc_p_flush_end(&P, 0) == -EIO);
}

/* A secondary that is recovered, and its host has written block 0. */
static void recovered_and_written(void)
{
	paired(64);
	part();
	CHECK(!fzc_s_recover(&S));
	settle();
	CHECK(fzc_s_write_begin(&S, 0, 0) == FZC_GO_PARK);
	settle();
	CHECK(fzc_s_write_begin(&S, 0, 0) == FZC_GO_DATA);
	fzc_s_write_end(&S, 0, 0);
}

TEST(cores_flush_of_a_recovered_volume_beside_one_of_ours)
{
	struct fzc_act act = { };
	u32 i;

	recovered_and_written();
	fzc_s_tick(&S);
	for (i = 0; i < 3 && !next_of(&B, &act, FZC_ACT_FLUSH); i++)
		fzc_s_tick(&S);
	CHECK(act.kind == FZC_ACT_FLUSH && act.dev == FZC_DATA);
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_PARK);
	done(&B, &act, -EIO);
	CHECK(S.wake && fzc_s_flush_begin(&S) == FZC_GO_FAIL);
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA);
}

/* What no host was told of: the next start is not to take it for a clean stop. */
TEST(cores_stop_after_a_flush_that_failed)
{
	static const u8 hash[32] = { 1 };

	paired(64);
	fzc_p_sync(&P);
	settle();
	fzc_p_stop(&P, hash);
	A.flush_err = -EIO;
	settle();
	CHECK(fzc_p_stopped(&P) && P.stop_failed && !(P.sb.flags & FZC_SB_CLEAN));
	recovered_and_written();
	fzc_s_stop(&S, hash);
	B.flush_err = -EIO;
	settle();
	CHECK(fzc_s_stopped(&S) && S.stop_failed && !(S.sb.flags & FZC_SB_CLEAN));
}

/* ...nor what was lost before it. */
TEST(cores_stop_with_something_lost)
{
	static const u8 hash[32] = { 1 };

	paired(64);
	fzc_p_sync(&P);
	A.flush_err = -EIO;
	settle();
	A.flush_err = 0;
	fzc_p_stop(&P, hash);
	settle();
	CHECK(fzc_p_stopped(&P) && P.stop_failed);
	recovered_and_written();
	CHECK(fzc_s_flush_end(&S, -EIO) == -EIO);
	fzc_s_stop(&S, hash);
	settle();
	CHECK(fzc_s_stopped(&S) && S.stop_failed);
}

/* A flush of data that is under way while blocks are merged, and fails, may lose these. */
TEST(cores_merge_beside_a_flush_that_fails)
{
	struct fzc_act flush, act;

	diverted();
	fzc_p_sync(&P);
	CHECK(next_of(&A, &flush, FZC_ACT_FLUSH) && flush.dev == FZC_DATA);
	P.merge_hold = false;
	while (!A.copies && fzc_p_next(&P, &act, &page))
		carry_out(&A, &act);
	CHECK(A.copies == 1);
	done(&A, &flush, -EIO);
	settle();
	CHECK(P.slots.used == 1);
	fzc_p_tick(&P);
	settle();
	CHECK(A.copies == 2 && !P.slots.used);
}

/* ...as may one that comes while they are read and written. */
TEST(cores_flush_fails_beside_a_merge)
{
	struct fzc_act copied;

	diverted();
	P.merge_hold = false;
	CHECK(next_of(&A, &copied, FZC_ACT_COPY));
	CHECK(fzc_p_flush_end(&P, -EIO) == -EIO);
	carry_out(&A, &copied);
	settle();
	CHECK(P.slots.used == 1);
	fzc_p_tick(&P);
	settle();
	CHECK(A.copies == 2 && !P.slots.used);
}

/* Who asks for a flush while another is under way hears what that has lost. */
TEST(cores_waits_for_the_flush_after_one_that_fails)
{
	struct fzc_act flush, act;
	u64 ticket;

	diverted();
	fzc_p_sync(&P);
	CHECK(next_of(&A, &flush, FZC_ACT_FLUSH));
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_MIXED);
	done(&A, &flush, -EIO);
	CHECK(next_of(&A, &act, FZC_ACT_SYNCED) && act.ticket >= ticket && act.err);
}

/* meta fails: what is in slots already can be written again. */
TEST(cores_slots_are_written_without_meta)
{
	diverted();
	P.in.failed = true;
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_MIXED);
	fzc_p_write_end(&P, 3, 3, 0, false);
}

/* What a flush has lost, a second need not bring back: the primary sends it again. */
TEST(cores_durable_is_not_said_after_a_flush_that_failed)
{
	paired(64);
	B.nsent = 0;
	B.flush_err = -EIO;
	CHECK(data(S.sb.building, 5, 1));
	B.flush_err = 0;
	settle();
	CHECK(!said(&B, FZC_MSG_DURABLE));
	part();
}

/* What was merged may be lost in a flush that was for something else. */
TEST(cores_merge_of_a_secondary_beside_a_flush_that_fails)
{
	u8 token;
	struct fzc_session n = offered_while_merging(&token);

	S.dirty = 1U << FZC_DATA;	/* as after one that failed before */
	B.flush_err = -EIO;
	CHECK(!session(n, ""));
	settle();
	B.flush_err = 0;
	fzc_s_read_end(&S, token);
	settle();
	CHECK(fzc_s_merging(&S));
	fzc_s_tick(&S);
	settle();
	CHECK(!fzc_s_merging(&S));
}

TEST(cores_bytes_in_flight)
{
	paired(64);
	CHECK(write_begin(0, 7) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 7, 0, false);
	P.inflight.count = FZC_MAX_INFLIGHT >> P.geo.block_shift;
	CHECK(!fzc_p_pick(&P));
	P.inflight.count = 0;
	CHECK(fzc_p_pick(&P));
}

/* With all transfers in flight nothing is looked for: there may be very much of it. */
TEST(cores_pick_without_a_transfer)
{
	struct fzc_xfer *x;

	paired(64);
	CHECK(write_begin(0, 7) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 7, 0, false);
	for (x = P.xfer; x < P.xfer + FZC_MAX_XFERS; x++)
		x->state = FZC_XFER_SENT;
	P.xfers = FZC_MAX_XFERS;
	P.cursor = 60;
	CHECK(!fzc_p_pick(&P) && !P.swept);
	P.xfer[5].state = FZC_XFER_FREE;
	P.xfers--;
	CHECK(fzc_p_pick(&P) == &P.xfer[5] && P.swept);
}

/* What waits for a slot is sent first; a write that is refused waits for nothing any more. */
TEST(cores_writes_that_are_refused_want_nothing)
{
	u32 n = 8;
	u64 b;

	paired(64);
	CHECK(write_begin(0, 63) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 63, 0, false);
	CHECK(!cut(false));
	settle();
	for (b = 0; write_begin(b, b) == FZC_GO_MIXED; b++)
		fzc_p_write_end(&P, b, b, 0, false);
	CHECK(b < SLOTS && fzc_p_write_begin(&P, b, b, false) == FZC_GO_PACE);
	CHECK(fzc_p_wanted(&P, &n) == b);
	/* it is late, but nothing continues unrecorded */
	fzc_intent_close_all(&P.in);
	settle();
	P.in.failed = true;
	CHECK(fzc_p_write_begin(&P, b, b, true) == FZC_GO_FAIL);
	CHECK(fzc_p_wanted(&P, &n) == P.geo.blocks);
}

/* What the peer owes an answer for: frames that went out, and not what is read or was given up. */
TEST(cores_frames_that_wait_for_durable)
{
	struct fzc_xfer *x;

	paired(64);
	CHECK(write_begin(3, 3) == FZC_GO_DATA);
	fzc_p_write_end(&P, 3, 3, 0, false);
	x = fzc_p_pick(&P);
	CHECK_OR_RETURN(x && x->first == 3 && x->n == 1);
	CHECK(!fzc_p_awaits(&P));
	CHECK(fzc_p_sent(&P, x) && fzc_p_awaits(&P));
	CHECK(p_gets(FZC_MSG_DURABLE, x->frame, 0) == 0);
	CHECK(!fzc_p_awaits(&P) && !P.inflight.count);
	CHECK(write_begin(4, 4) == FZC_GO_DATA);
	fzc_p_write_end(&P, 4, 4, 0, false);
	x = fzc_p_pick(&P);
	CHECK_OR_RETURN(x && fzc_p_sent(&P, x) && fzc_p_awaits(&P));
	part();
	CHECK(!fzc_p_awaits(&P) && P.unsent.count == 1);
}

static bool copy_run(void)
{
	struct fzc_xfer *x = fzc_p_pick(&P);

	return x && x->direct && fzc_p_sent(&P, x) && !p_gets(FZC_MSG_DURABLE, x->frame, 0);
}

static void first_copy(void)
{
	make(&A, false, 8 * FZC_MAX_RUN);
	make(&B, true, 8 * FZC_MAX_RUN);
	A.opts.identical = false;
	B.opts.identical = false;
	CHECK(!boot_p() && !boot_s());
	settle();
	connect_both();
	CHECK(P.in.changed[P.sb.cur].count == P.geo.blocks);
}

/* Block @b, all that is unsent, is durable on the secondary; which has not heard of it. */
static void send(u64 b)
{
	struct fzc_xfer *x = fzc_p_pick(&P);

	CHECK(x && x->first == b && fzc_p_sent(&P, x));
	CHECK(!p_gets(FZC_MSG_DURABLE, P.frames, 0));
	CHECK(!P.unsent.count && !P.inflight.count);
}

static void deliver(u64 b)
{
	CHECK(write_begin(b, b) == FZC_GO_DATA);
	fzc_p_write_end(&P, b, b, 0, false);
	send(b);
}

/* R10's flush loses what a host's that comes meanwhile is for: the host is told. */
TEST(cores_flush_beside_r10)
{
	struct fzc_act r10, act;
	u64 ticket;

	paired(64);
	deliver(5);
	CHECK(!cut(false));
	CHECK(next_of(&A, &r10, FZC_ACT_FLUSH) && r10.dev == FZC_DATA && P.r10_ticket);
	CHECK(fzc_p_flush_begin(&P, &ticket) == FZC_GO_MIXED);
	CHECK(!next_of(&A, &act, FZC_ACT_FLUSH));
	done(&A, &r10, -EIO);
	CHECK(P.phase == FZC_PHASE_IDLE);
	CHECK(next_of(&A, &act, FZC_ACT_SYNCED) && act.ticket >= ticket && act.err);
}

/* The secondary has what a flush has lost here: the next image is what is read here. */
TEST(cores_sent_again_after_a_flush_that_failed)
{
	paired(64);
	deliver(5);
	CHECK(fzc_p_flush_end(&P, -EIO) == -EIO);
	CHECK(P.unsent.count == 1 && fzc_map_test(&P.unsent, 5));
	first_copy();
	CHECK(fzc_p_pick(&P) && P.unsent.count < P.geo.blocks);
	P.sb.flags |= FZC_SB_COPIED;
	CHECK(fzc_p_flush_end(&P, -EIO) == -EIO);
	CHECK(P.unsent.count == P.geo.blocks && !(P.sb.flags & FZC_SB_COPIED));
}

/* ...and as a power cut may show yet another loss, it counts as changed until it was sent after a start. */
TEST(cores_changed_until_the_start_after_a_flush_that_failed)
{
	paired(64);
	deliver(5);
	fzc_p_sync(&P);
	A.flush_err = -EIO;
	settle();
	A.flush_err = 0;
	send(5);
	P.frames = P.told = 0;	/* as the secondary has it */
	CHECK(!cut(false) && !converse());
	CHECK(P.sb.image.number == 2 && !P.unsent.count);
	fzc_intent_close_all(&P.in);
	settle();
	CHECK(!boot_p());
	CHECK(fzc_map_test(&P.unsent, 5) && !(P.sb.flags & FZC_SB_TAINTED));
}

/* ...also with a freeze that was in doubt when the machine died, and was committed. */
TEST(cores_changed_after_a_doubt)
{
	paired(64);
	CHECK(write_begin(5, 5) == FZC_GO_DATA);
	fzc_p_write_end(&P, 5, 5, 0, false);
	CHECK(fzc_p_flush_end(&P, -EIO) == -EIO);
	CHECK(!cut(false));
	fzc_intent_close_all(&P.in);
	settle();
	CHECK(!boot_p());
	CHECK(P.phase == FZC_PHASE_DOUBT && P.sb.flags & FZC_SB_TAINTED);
	fzc_p_finish(&P);
	settle();
	CHECK(fzc_map_test(&P.in.changed[P.sb.cur], 5));
}

/* What a merge retires comes back in the middle of the sync that was to forget it. */
TEST(cores_slot_is_named_again_during_a_sync)
{
	struct fzc_act data, diff;

	diverted();
	P.merge_hold = false;
	CHECK(next_of(&A, &data, FZC_ACT_COPY));
	carry_out(&A, &data);
	CHECK(next_of(&A, &data, FZC_ACT_FLUSH) && data.dev == FZC_DATA);
	CHECK(next_of(&A, &diff, FZC_ACT_FLUSH) && diff.dev == FZC_DIFF);
	CHECK(fzc_p_flush_end(&P, -EIO) == -EIO);
	done(&A, &data, 0);
	done(&A, &diff, 0);
	P.merge_hold = true;
	CHECK(next_of(&A, &data, FZC_ACT_SYNCED));
	CHECK(P.slots.used == 1);
	CHECK(!boot_p());
	CHECK(P.slots.used == 1);
}

/* What a merge has written may be lost: data's hash is not that of a clean stop. */
TEST(cores_stop_of_a_merge_whose_flush_failed)
{
	static const u8 hash[32] = { 1 }, other[32] = { 2 };
	u8 token;

	offered_while_merging(&token);
	B.flush_err = -EIO;
	fzc_s_read_end(&S, token);
	settle();
	CHECK(S.data_failed && fzc_s_merging(&S));
	B.flush_err = 0;
	part();
	fzc_s_stop(&S, hash);
	settle();
	CHECK(fzc_s_stopped(&S) && S.stop_failed);
	memcpy(B.opts.data_hash, other, 32);
	CHECK(!boot_s());
}

/* The secondary tells of more whenever a superblock is being written: regions are closed all the same. */
TEST(cores_regions_close_in_the_first_copy)
{
	int n;

	first_copy();
	CHECK(write_begin(0, 0) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 0, 0, false);
	CHECK(P.in.active.count == 1);
	fzc_intent_close_all(&P.in);
	A.slow_super = true;
	CHECK(copy_run());
	settle();
	for (n = 0; n < 6; n++) {
		CHECK(copy_run());
		settle();
		end_super(&A);
		settle();
	}
	CHECK(!P.in.active.count);
}

/* That a block is there counts when the number of frames is durable, and not if it cannot be written. */
TEST(cores_first_copy_is_recorded)
{
	first_copy();
	A.slow_super = true;
	CHECK(copy_run());
	settle();
	CHECK(copy_run());
	CHECK(P.in.changed[P.sb.cur].count == P.geo.blocks);
	end_super(&A);
	CHECK(P.in.changed[P.sb.cur].count == P.geo.blocks - FZC_MAX_RUN);
	CHECK(P.inflight.count == FZC_MAX_RUN);
	settle();
	end_super(&A);
	CHECK(P.in.changed[P.sb.cur].count == P.geo.blocks - 2 * FZC_MAX_RUN);
	A.slow_super = false;
	A.bad_to = FZC_OFF_REGIONS;
	CHECK(copy_run());
	settle();
	CHECK(P.meta_failed && !P.inflight.count);
	CHECK(P.in.changed[P.sb.cur].count == P.geo.blocks - 2 * FZC_MAX_RUN);
}

/* What was told and not recorded is not sent again because the link is lost, only because of a crash. */
TEST(cores_first_copy_is_cut_off)
{
	first_copy();
	A.slow_super = true;
	CHECK(copy_run());
	settle();
	CHECK(copy_run());
	part();
	CHECK(!P.inflight.count && P.unsent.count == P.geo.blocks - 2 * FZC_MAX_RUN);
	CHECK(P.in.changed[P.sb.cur].count == P.geo.blocks);
}

/* What it brings is on the secondary's DATA, and not void after a crash as what is staged. */
TEST(cores_slots_in_the_first_copy)
{
	u32 n;

	first_copy();
	for (n = 0; n < 8; n++)
		CHECK(copy_run());
	fzc_intent_close_all(&P.in);
	settle();
	CHECK(P.sb.flags & FZC_SB_COPIED);
	freeze_and_close();
	CHECK(fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_PARK);
	settle();
	CHECK(P.in.active.count == 1 && fzc_p_write_begin(&P, 3, 3, false) == FZC_GO_MIXED);
}

TEST(cores_first_copy_has_no_more_left_than_there_is)
{
	struct fzc_xfer *x;

	first_copy();
	x = fzc_p_pick(&P);
	CHECK_OR_RETURN(x && fzc_p_sent(&P, x));
	CHECK(fzc_p_copy_left(&P) == P.geo.blocks);
	CHECK(write_begin(0, 9) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 9, 0, false);
	CHECK(fzc_p_copy_left(&P) == P.geo.blocks);
}

/* What could not be read for lack of memory is of the first copy still. */
TEST(cores_first_copy_goes_back)
{
	struct fzc_xfer *x;
	u32 n;

	first_copy();
	x = fzc_p_pick(&P);
	CHECK_OR_RETURN(x);
	for (n = 0; n < 7; n++)
		CHECK(copy_run());
	fzc_p_unpick(&P, x, false);
	settle();
	x = fzc_p_pick(&P);
	CHECK(x && x->sweep && !P.swept);
}

/* A secondary that is blank comes while a cut waits for a write: nothing is frozen then. */
TEST(cores_blank_secondary_before_the_cut)
{
	both(64);
	connect_both();
	part();
	make(&B, true, 64);
	CHECK(!boot_s());
	settle();
	CHECK(write_begin(3, 3) == FZC_GO_DATA);
	CHECK(!cut(true) && P.phase == FZC_PHASE_CLOSE);
	connect_both();
	CHECK(P.phase == FZC_PHASE_IDLE && !P.gate_closed && strstr(P.reason, "lost all"));
	fzc_p_write_end(&P, 3, 3, 0, false);
	fzc_p_tick(&P);
	settle();
	CHECK(!(P.sb.flags & FZC_SB_CHANGED_ALL));
}

TEST(cores_abort_before_the_cut_says_why)
{
	paired(64);
	CHECK(write_begin(3, 3) == FZC_GO_DATA);
	CHECK(!cut(false) && P.phase == FZC_PHASE_CLOSE);
	CHECK(!fzc_p_abort(&P, "by order"));
	CHECK(P.phase == FZC_PHASE_IDLE && strstr(P.reason, "freeze 2 aborted: by order"));
}

static void restart(void)
{
	stop_p();
	CHECK(!boot_p());
	settle();
}

/* A difference volume that is too small for a freeze is so after a restart, too. */
TEST(cores_short_of_slots_after_a_restart)
{
	paired(64);
	CHECK(write_begin(0, 39) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 39, 0, false);
	CHECK(!cut(false) && P.short_by == 40 - SLOTS);
	settle();
	restart();
	CHECK(P.phase == FZC_PHASE_DELIVER && P.short_by == 40 - SLOTS && fzc_p_scarce(&P));
}

/* ...and one that is not, is not: what is in it needs no more room. */
TEST(cores_not_short_of_slots_after_a_restart)
{
	u64 b;

	paired(64);
	CHECK(write_begin(0, 29) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, 29, 0, false);
	CHECK(!cut(false) && !P.short_by);
	settle();
	for (b = 0; b < 28; b++)
		write_slot(b);
	restart();
	CHECK(P.phase == FZC_PHASE_DELIVER && P.slots.used == 28 && !P.short_by);
}

/* With nothing left in it a difference volume that failed is no reason for an unclean stop. */
TEST(cores_diff_that_failed_and_is_empty)
{
	divert();
	A.copy_result = FZC_COPY_EIO;
	CHECK(!fzc_p_abort(&P, "test"));
	settle();
	CHECK(P.diff_failed && P.slots.used);
	A.copy_result = FZC_COPY_OK;
	fzc_p_tick(&P);
	settle();
	CHECK(!P.diff_failed && !P.slots.used);
	restart();
}

TEST(cores_freezes_that_are_refused)
{
	u32 i, was = 0;

	paired(64);
	CHECK(!fzc_p_backoff(&P));
	CHECK(write_begin(0, 0) == FZC_GO_DATA);
	CHECK(!cut(false));
	CHECK(P.phase == FZC_PHASE_CLOSE);
	CHECK(cut(false) == -EBUSY && strstr(P.reason, "is running"));
	fzc_p_write_end(&P, 0, 0, 0, false);
	settle();
	CHECK(P.phase == FZC_PHASE_DELIVER);
	CHECK(!boot_p());
	CHECK(cut(true) == -EBUSY && strstr(P.reason, "in doubt"));
	for (i = 1; i < 20; i++, was = fzc_p_backoff(&P)) {
		P.troubles = i;
		CHECK(fzc_p_backoff(&P) >= was && fzc_p_backoff(&P) <= FZC_MAX_BACKOFF);
	}
	CHECK(was == FZC_MAX_BACKOFF);
}

/* The secondary */

/* The host of a recovered volume writes; the flush before the region is closed fails. */
TEST(cores_lost_by_a_recovered_volume)
{
	u32 i;

	recovered_and_written();
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA && !fzc_s_flush_end(&S, 0));
	/* one that the host asked for is told to it alone */
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA && fzc_s_flush_end(&S, -EIO) == -EIO);
	CHECK(S.data_failed && fzc_s_flush_begin(&S) == FZC_GO_DATA);
	CHECK(!fzc_s_flush_end(&S, 0) && !S.data_failed);
	B.flush_err = -EIO;
	for (i = 0; i < 3; i++) {
		fzc_s_tick(&S);
		settle();
	}
	B.flush_err = 0;
	CHECK(S.data_failed && strstr(S.reason, "flushing the data device"));
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_FAIL);
	/* ...to the next, or to one that is under way */
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA);
	S.lost = true;
	CHECK(fzc_s_flush_end(&S, 0) == -EIO);
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA && !fzc_s_flush_end(&S, 0));
	for (i = 0; i < 3; i++) {
		fzc_s_tick(&S);
		settle();
	}
	CHECK(fzc_intent_clean(&S.in) && !S.data_failed);
}

/* What was merged may be lost in a flush that somebody asked for who only reads. */
TEST(cores_merge_of_a_secondary_beside_a_flush_from_outside)
{
	struct fzc_msg m;
	struct fzc_act act;
	u32 n = 0;

	paired(64);
	m = freeze_of(0, 4);
	CHECK(!fzc_s_rx(&S, &m));
	while (n++ < 1000 && !B.copies && fzc_s_next(&S, &act, &page))
		carry_out(&B, &act);
	CHECK(B.copies == 1 && S.overlay);
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA);
	CHECK(fzc_s_flush_end(&S, -EIO) == -EIO);
	settle();
	CHECK(fzc_s_merging(&S));
	fzc_s_tick(&S);
	settle();
	CHECK(B.copies == 2 && !fzc_s_merging(&S));
}

/* ...or what a first copy brought, while it is made durable. */
TEST(cores_first_copy_beside_a_flush_from_outside)
{
	struct fzc_act flush;
	struct fzc_rx *rx;
	u32 crc[1] = { 7 };

	first_copy();
	B.nsent = B.seen = 0;
	rx = fzc_s_data(&S, 1, S.sb.building, 5, 1, FZC_WIRE_DIRECT);
	CHECK_OR_RETURN(rx);
	fzc_s_data_done(&S, rx, crc, 0);
	CHECK(next_of(&B, &flush, FZC_ACT_FLUSH) && flush.dev == FZC_DATA);
	CHECK(fzc_s_flush_begin(&S) == FZC_GO_DATA);
	CHECK(fzc_s_flush_end(&S, -EIO) == -EIO);
	carry_out(&B, &flush);
	settle();
	CHECK(!said(&B, FZC_MSG_DURABLE) && S.ended);
	part();
	connect_both();
	CHECK(!S.last_durable && !S.durable);
}

/* A slot is found bad before the commit: what is staged goes, and no fold may begin in it. */
TEST(cores_frames_after_the_end)
{
	struct fzc_msg m, abort = { .type = FZC_MSG_ABORT };
	struct fzc_act act;

	paired(64);
	S.opts.verify = true;
	m = freeze_of(0, 4);
	CHECK(data(m.image.number + 1, 10, 4));
	m.frames = S.frames;
	abort.image = m.image;
	CHECK(!fzc_s_rx(&S, &m));
	CHECK(next_of(&B, &act, FZC_ACT_COPY));
	B.copy_result = FZC_COPY_BAD;
	carry_out(&B, &act);
	CHECK(S.ended && S.verify_bad);
	CHECK(fzc_s_rx(&S, &abort) == -ESHUTDOWN && strstr(S.reason, "checksum"));
	CHECK(!S.fold_step);
	settle();
	CHECK(!S.staged[0].count && !S.staged[1].count && S.sb.image.number == 1);
}

/* Who asks is told of an image when it is durable and can be read, not while that is written. */
TEST(cores_image_is_shown_when_it_is_durable)
{
	struct fzc_msg m;
	u32 slot;
	u8 dev;

	paired(64);
	m = freeze_of(0, 4);
	B.slow_super = true;
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	CHECK(S.commit_at && S.sb.image.number == 2 && S.shown.number == 1);
	CHECK(fzc_s_read_place(&S, 0, &dev, &slot) == FZC_S_DATA);
	B.copy_result = FZC_COPY_EIO;
	end_super(&B);
	settle();
	CHECK(!S.commit_at && S.shown.number == 2 && fzc_id_equal(&S.shown.id, &m.image.id));
	CHECK(fzc_s_read_place(&S, 0, &dev, &slot) == FZC_S_SLOT);
	fzc_s_slot_put(&S, dev);
	part();
	CHECK(!boot_s() && S.shown.number == 2);
}

/* What a recovery would discard is not folded first, however long that would take. */
TEST(cores_recovery_ends_a_fold)
{
	struct fzc_msg m, abort = { .type = FZC_MSG_ABORT };
	struct fzc_act act;

	paired(64);
	m = freeze_of(0, 4);
	CHECK(data(m.image.number + 1, 10, 4));
	abort.image = m.image;
	CHECK(!fzc_s_rx(&S, &abort));
	CHECK(next_of(&B, &act, FZC_ACT_COPY) && S.fold_step);
	part();
	CHECK(!fzc_s_idle(&S));
	fzc_s_recover_expected(&S);
	settle();
	CHECK(!fzc_s_idle(&S));
	carry_out(&B, &act);
	settle();
	CHECK(fzc_s_idle(&S));
	CHECK(!S.staged[0].count && !S.staged[1].count);
	CHECK(!S.drop && !(S.events & BIT(FZC_EVENT_ERROR)));	/* nobody is to blame */
	CHECK(!fzc_s_recover(&S));
	settle();
	CHECK(fzc_s_recovered(&S) && S.sb.image.number == 1);
}

/* What a flush has lost is not said to be durable by the sync of a fold that is under way. */
TEST(cores_fold_after_a_flush_that_failed)
{
	struct fzc_msg m, abort = { .type = FZC_MSG_ABORT };
	struct fzc_act flush;
	u64 durable;

	paired(64);
	m = freeze_of(0, 4);
	durable = S.durable;
	CHECK(data_written(m.image.number + 1, 10, 4));
	CHECK(next_of(&B, &flush, FZC_ACT_FLUSH));
	abort.image = m.image;
	CHECK(!fzc_s_rx(&S, &abort) && S.fold_step);
	B.nsent = 0;
	done(&B, &flush, -EIO);
	settle();
	CHECK(S.ended && !S.fold_step && !S.dirty);
	CHECK(S.durable == durable && !said(&B, FZC_MSG_DURABLE));
	part();
}

/* Page by page, since the start is not to take long: that is under the lock. */
TEST(cores_staged_is_loaded_before_the_start)
{
	paired(64);
	CHECK(data(S.sb.building, 5, 20) && S.durable == 1);
	part();
	CHECK(!load_s());
	CHECK(S.staged[S.sb.stage_cur].count == 20 && !S.staged[!S.sb.stage_cur].count);
	CHECK(fzc_map_test(&S.staged[S.sb.stage_cur], 24));
	CHECK(!fzc_s_start(&S) && S.staged[S.sb.stage_cur].count == 20);
}

/* Writes and flushes of stages work: that a slot cannot be read to merge it is still said. */
TEST(cores_merge_that_cannot_read_is_named)
{
	u64 durable;

	stuck_merge();
	CHECK(S.stage_failed);
	durable = S.durable;
	CHECK(data(S.sb.building, 8, 2) && S.durable > durable && S.stage_failed);
	B.copy_result = FZC_COPY_OK;
	fzc_s_tick(&S);
	settle();
	CHECK(!fzc_s_merging(&S) && !S.stage_failed);
}

/* Nobody sends again what a recovered volume cannot read: it is given up by order alone. */
TEST(cores_recovered_slot_that_cannot_be_read)
{
	u32 i;

	stuck_merge();
	part();
	CHECK(!fzc_s_give_up_unreadable(&S) && !fzc_s_recover(&S));
	settle();
	CHECK(fzc_s_recovered(&S) && !fzc_s_give_up_unreadable(&S));
	for (i = 0; i < 100; i++) {
		fzc_s_tick(&S);
		settle();
	}
	CHECK(fzc_s_merging(&S) && !S.ndamaged && strstr(S.reason, "recover give-up"));
	CHECK(fzc_s_recover(&S) == -EALREADY && fzc_s_give_up_unreadable(&S));
	fzc_s_tick(&S);
	settle();
	CHECK(fzc_s_writable(&S) && S.ndamaged == 4 && !S.merge_gives_up);
	CHECK(!fzc_s_give_up_unreadable(&S));
}

/* An abort and a commit of so much that moving it takes several goes. */
TEST(cores_large_sets)
{
	const u64 blocks = 300000;

	paired(blocks);
	CHECK(write_begin(0, blocks - 1) == FZC_GO_DATA);
	fzc_p_write_end(&P, 0, blocks - 1, 0, false);
	CHECK(!cut(false));
	CHECK(P.frozen.count == blocks);
	CHECK(!fzc_p_abort(&P, "test"));
	CHECK(!converse());
	CHECK(P.unsent.count == blocks && !P.frozen.count);
	CHECK(P.in.changed[P.sb.cur].count == blocks);
	CHECK(!cut(false));
	settle();
	P.freezing.number = 3;
	fzc_p_finish(&P);
	settle();
	CHECK(!P.in.changed[0].count && !P.in.changed[1].count);
}

/* It counts as bad in the end; and a slot that is being read outlives the merge. */
TEST(cores_slot_that_cannot_be_read)
{
	u32 i, slot;
	u8 dev;

	stuck_merge();
	CHECK(fzc_s_read_place(&S, 0, &dev, &slot) == FZC_S_SLOT);
	for (i = 0; i < 32; i++) {
		fzc_s_tick(&S);
		settle();
	}
	CHECK(S.ndamaged == 4 && fzc_s_merging(&S));
	fzc_s_slot_put(&S, dev);
	settle();
	CHECK(!fzc_s_merging(&S));
}

/* A block that was damaged can be read again as soon as an image with another content of it is committed. */
TEST(cores_damaged_until_the_next_image)
{
	struct fzc_msg m;
	u32 slot;
	u8 dev, token;

	paired(64);
	m = freeze_of(0, 2);
	B.copy_result = FZC_COPY_BAD;
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	CHECK(S.ndamaged == 2 && !fzc_s_merging(&S));
	B.copy_result = FZC_COPY_OK;
	m = freeze_of(0, 1);
	/* a read that began before keeps it from being merged */
	CHECK(fzc_s_read_begin(&S, 5, 5, &token) == FZC_GO_MIXED);
	CHECK(fzc_s_read_place(&S, 0, &dev, &slot) == FZC_S_BAD);
	CHECK(!fzc_s_rx(&S, &m));
	settle();
	CHECK(S.sb.image.number == m.image.number && fzc_s_merging(&S));
	CHECK(fzc_s_read_place(&S, 0, &dev, &slot) == FZC_S_SLOT);
	fzc_s_slot_put(&S, dev);
	CHECK(fzc_s_read_place(&S, 1, &dev, &slot) == FZC_S_BAD);
	fzc_s_read_end(&S, token);
	settle();
	CHECK(!fzc_s_merging(&S) && S.ndamaged == 1);
	CHECK(fzc_s_read_place(&S, 0, &dev, &slot) == FZC_S_DATA);
	CHECK(fzc_s_read_place(&S, 1, &dev, &slot) == FZC_S_BAD);
}

/* Metadata that is signed */

static struct fzc_volkey *volkey(u8 newer, u8 older)
{
	struct fzc_volkey *vk = test_alloc(sizeof(*vk));
	struct fzc_keys keys = { .n = older ? 2 : 1 };

	memset(keys.key[0], newer, FZC_KEY_BYTES);
	memset(keys.key[1], older, FZC_KEY_BYTES);
	CHECK(!fzc_volkey_init(vk, test_hmac(), test_aead(), &keys));
	return vk;
}

static void make_signed(struct side *n, bool second)
{
	make(n, second, 64);
	n->opts.encrypt = true;
	n->opts.vk = volkey(1, 0);
	test_fill(&n->opts.keys, sizeof(n->opts.keys));
}

/* With an image on both sides, stopped in order. */
static void signed_pair(void)
{
	static const u8 hash[32] = { 1 };
	u32 slot;

	make_signed(&A, false);
	make_signed(&B, true);
	CHECK(!boot_p() && !boot_s());
	settle();
	connect_both();
	CHECK(!cut(false));
	CHECK(!converse());
	CHECK(P.sb.image.number == 1 && S.sb.image.number == 1);
	part();
	/* a changed block, so that there are bitmaps */
	CHECK(write_begin(5, 5) == FZC_GO_DATA && fzc_p_write_place(&P, 5, &slot) == FZC_AT_DATA);
	fzc_p_write_end(&P, 5, 5, 0, false);
	settle();
	memcpy(A.opts.data_hash, hash, 32);
	memcpy(B.opts.data_hash, hash, 32);
	fzc_p_stop(&P, hash);
	fzc_s_stop(&S, hash);
	settle();
	CHECK(fzc_p_stopped(&P) && fzc_s_stopped(&S));
	/* what the next start has no use for, and does not take from here */
	memset(&A.opts.keys, 0xee, sizeof(A.opts.keys));
	memset(&B.opts.keys, 0xee, sizeof(B.opts.keys));
}

static int boot(struct side *n)
{
	return n->second ? boot_s() : boot_p();
}

static const char *reason(const struct side *n)
{
	return n->second ? S.reason : P.reason;
}

TEST(cores_keys_survive)
{
	struct fzc_volume_keys p, s;

	signed_pair();
	p = P.sb.keys;
	s = S.sb.keys;
	CHECK(!memcmp(p.stage, s.stage, FZC_KEY_BYTES) && memcmp(p.meta, s.meta, FZC_KEY_BYTES));
	CHECK(!boot_p() && !boot_s());
	CHECK(!memcmp(&P.sb.keys, &p, sizeof(p)) && !memcmp(&S.sb.keys, &s, sizeof(s)));
	settle();
	connect_both();
	CHECK(!memcmp(&S.sb.keys, &s, sizeof(s)));
}

static void all_refused(struct side *n, void (*spoil)(struct fzc_page *page), const char *words)
{
	struct fzc_page *was = test_alloc(sizeof(*was));
	u32 dev, i, tried = 0;

	for (dev = 0; dev < FZC_NR_DEVS; dev++)
		for (i = 0; i < MAX_PAGES; i++) {
			struct fzc_page *p = &n->disk[dev][i];

			if (!n->written[dev][i])
				continue;
			*was = *p;
			spoil(p);
			fzc_page_sum(p);
			CHECK_OR_RETURN(boot(n) && strstr(reason(n), words) &&
					strstr(reason(n), "swapped, or changed by somebody"));
			*p = *was;
			tried++;
		}
	CHECK(tried >= 6);
	CHECK(!boot(n));
}

static void unsign(struct fzc_page *p)
{
	p->head.features = 0;
	memset(p->head.mac, 0, sizeof(p->head.mac));
}

static void flip(struct fzc_page *p)
{
	((u8 *)p)[FZC_PAGE - 1] ^= 1;
}

/* Each page that was written, its checksum right: nobody starts with it. */
TEST(cores_pages_that_are_not_signed)
{
	signed_pair();
	all_refused(&A, unsign, " is not signed, expected the keyed checksum");
	all_refused(&B, unsign, " is not signed, expected the keyed checksum");
}

TEST(cores_pages_that_were_changed)
{
	signed_pair();
	all_refused(&A, flip, " its keyed checksum is not what this volume's key makes");
	all_refused(&B, flip, " its keyed checksum is not what this volume's key makes");
}

/* What is damaged is what it always was: another copy counts, if there is one. */
TEST(cores_signed_pages_that_are_torn)
{
	u32 dev, i;

	signed_pair();
	for (dev = 0; dev < FZC_NR_DEVS; dev++)
		for (i = 0; i < MAX_PAGES; i++) {
			struct fzc_page *p = &B.disk[dev][i];

			if (!B.written[dev][i])
				continue;
			flip(p);
			/* of regions and of the heads of A and B there is one copy, unless they changed */
			if (boot_s())
				CHECK_OR_RETURN(!strstr(S.reason, "swapped") &&
						((dev == FZC_META && i / 2 == 1) ||
						 (dev != FZC_META && !i)));
			flip(p);
		}
	CHECK(!boot_s());
}

/* Both are formatted alike; the difference volumes are exchanged. */
TEST(cores_devices_of_another_volume)
{
	struct fzc_page *meta, *diff;

	signed_pair();
	meta = A.disk[FZC_META];
	diff = A.disk[FZC_DIFF];
	signed_pair();
	A.disk[FZC_DIFF] = diff;
	CHECK(boot_p() == -EINVAL && strstr(P.reason, "diff belongs to another volume"));
	/* ...and he who did it made the format the same */
	diff->head.format = A.disk[FZC_META]->head.format;
	fzc_page_sum(diff);
	CHECK(boot_p() == -EBADMSG && strstr(P.reason, "diff: page at byte 0: its keyed"));
	/* the metadata of either is good with its own difference volume alone */
	A.disk[FZC_META] = meta;
	CHECK(boot_p());
}

static struct fzc_page *newer_super(struct side *n)
{
	struct fzc_page *p = n->disk[FZC_META];

	return p + (le64_to_cpu(p[1].head.seq) > le64_to_cpu(p[0].head.seq));
}

static struct fzc_page *older_super(struct side *n)
{
	return n->disk[FZC_META] + (newer_super(n) == n->disk[FZC_META]);
}

TEST(cores_superblocks_that_were_changed)
{
	struct fzc_page *was = test_alloc(sizeof(*was)), *super;

	signed_pair();
	super = newer_super(&A);
	*was = *super;
	super->super.wrapped.tag[0] ^= 1;
	fzc_page_sum(super);
	CHECK(boot_p() == -EBADMSG && strstr(P.reason, "meta: superblock") &&
	      strstr(P.reason, "the tag of its wrapped keys"));
	/* torn: then the one before counts */
	super->super.wrapped.tag[0] ^= 3;
	CHECK(!boot_p());
	*super = *was;
	/* a formatting that nobody began */
	super->super.flags |= cpu_to_le32(FZC_SB_FORMATTING);
	fzc_page_sum(super);
	CHECK(boot_p() == -EBADMSG &&
	      strstr(P.reason, "says that formatting has only begun: devices swapped, or changed"));
	/* ...and that says of itself that it is not to be signed */
	super->super.flags &= ~cpu_to_le32(FZC_SB_ENCRYPTED);
	super->head.features = 0;
	fzc_page_sum(super);
	CHECK(boot_p() == -EBADMSG &&
	      strstr(P.reason, "says that formatting has only begun: devices swapped, or changed"));
	/* back to blocks in the clear */
	*super = *was;
	super->super.flags &= ~cpu_to_le32(FZC_SB_ENCRYPTED);
	fzc_page_sum(super);
	CHECK(boot_p() == -EINVAL && strstr(P.reason, "meta was created with stage_encryption off"));
	*super = *was;
	super = older_super(&A);
	super->head.format = cpu_to_le64(1 + le64_to_cpu(super->head.format));
	fzc_page_sum(super);
	CHECK(boot_p() == -EBADMSG && strstr(P.reason, "of another volume: devices swapped"));
}

/* The first superblock of a formatting is not signed: it is begun again, with new keys. */
TEST(cores_formatting_begins_again)
{
	struct fzc_act act;
	u32 steps, n;

	for (steps = 1; steps < 5; steps++) {
		make_signed(&B, true);
		CHECK(!boot_s());
		for (n = 0; n < steps && fzc_s_next(&S, &act, &page); )
			if (act.kind == FZC_ACT_WRITE) {
				carry_out(&B, &act);
				n++;
			}
		test_fill(&B.opts.keys, sizeof(B.opts.keys));
		CHECK(!boot_s());
		CHECK(!memcmp(&S.sb.keys, &B.opts.keys, sizeof(S.sb.keys)));
		make_signed(&A, false);
		CHECK(!boot_p());
		settle();
		CHECK(fzc_s_started(&S) && !boot_s());
		CHECK(!memcmp(&S.sb.keys, &B.opts.keys, sizeof(S.sb.keys)));
	}
}

/* Of a superblock that says so nothing is believed but which formatting it is. */
TEST(cores_formatting_takes_no_image)
{
	struct fzc_page *super;
	u64 format;

	signed_pair();
	super = newer_super(&B);
	super->super.flags = cpu_to_le32(FZC_SB_FORMATTING);
	super->super.image.number = cpu_to_le64(7);
	super->super.building = cpu_to_le64(8);
	super->super.stage_cur = cpu_to_le32(1);
	memset(super->super.session, 1, sizeof(super->super.session));
	super->head.features = 0;
	fzc_page_sum(super);
	memset(older_super(&B), 0, FZC_PAGE);
	format = le64_to_cpu(super->head.format);
	CHECK(!boot_s());
	CHECK(S.sb.flags & FZC_SB_BLANK && S.sb.format == format);
	CHECK(!S.sb.image.number && !S.sb.building && !S.sb.stage_cur &&
	      fzc_id_is_zero(&S.sb.session));
}

/* After a start with both keys, and another write, the one before can be forgotten. */
TEST(cores_shared_key_is_replaced)
{
	signed_pair();
	A.opts.vk = volkey(2, 0);
	CHECK(boot_p() == -EKEYREJECTED && strstr(P.reason, "meta: superblock") &&
	      strstr(P.reason, "under the key with the id"));
	A.opts.vk = volkey(2, 1);
	CHECK(!boot_p());
	settle();
	/* the older copy is under the key before, and is not what counts */
	A.opts.vk = volkey(2, 0);
	CHECK(!boot_p());
	fzc_p_dirty_super(&P);
	settle();
	memset(newer_super(&A), 1, FZC_PAGE);
	CHECK(!boot_p());
}
