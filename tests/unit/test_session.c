// SPDX-License-Identifier: GPL-2.0-only
/* Every line of Documentation/wire-protocol.rst, "What a connection begins with". */
#include "test.h"
#include "ondisk.h"
#include "session.h"

static struct fzc_session_view v;
static struct fzc_hello peer;
static struct fzc_decision d;
static char why[FZC_REASON_LEN];

/* Two sides that know each other, image 7 on both, in the same stage and session. */
static void paired(void)
{
	memset(&v, 0, sizeof(v));
	v.me = (struct fzc_hello){
		.role = FZC_PRIMARY, .pair = test_id(), .sectors = 1000, .block_size = 4096,
		.image = { .number = 7, .id = test_id() },
		.stage = test_id(), .session = test_id(),
	};
	v.pending = test_id();
	v.told = 40;
	peer = v.me;
	peer.role = FZC_SECONDARY;
	peer.durable = 50;
	why[0] = 0;
}

static void blank(void)
{
	paired();
	v.me.image = (struct fzc_img){ };
	peer = (struct fzc_hello){
		.role = FZC_SECONDARY, .blank = true, .sectors = 1000, .block_size = 4096,
	};
}

static void freezing(void)
{
	v.me.freeze = (struct fzc_img){ .number = 8, .id = test_id() };
}

static int decide(void)
{
	memset(&d, 0xff, sizeof(d));
	return fzc_session_decide(&v, &peer, &d, why);
}

static bool decided(u8 order, bool adopt, bool finish, bool abort, bool send_all)
{
	return !decide() && d.order == order && d.adopt_pending == adopt && d.finish == finish &&
	       d.abort == abort && d.send_all == send_all;
}

static bool refused(const char *word)
{
	return decide() == -EPROTO && strstr(why, word);
}

TEST(session_resumes)
{
	paired();
	CHECK(decided(FZC_ORDER_RESUME, 0, 0, 0, 0));
	peer.durable = 40;
	CHECK(decided(FZC_ORDER_RESUME, 0, 0, 0, 0));
	freezing();
	CHECK(decided(FZC_ORDER_RESUME, 0, 0, 0, 0));
	v.in_doubt = true;
	CHECK(decided(FZC_ORDER_RESUME, 0, 0, 1, 0));
	/* no image yet, the first copy goes on */
	paired();
	v.me.image = (struct fzc_img){ };
	peer.image = v.me.image;
	peer.direct = true;
	CHECK(decided(FZC_ORDER_RESUME, 0, 0, 0, 0));
}

TEST(session_blank_peer)
{
	blank();
	CHECK(decided(FZC_ORDER_FIRST_COPY, 0, 0, 0, 1));
	freezing();
	CHECK(decided(FZC_ORDER_FIRST_COPY, 0, 0, 1, 1));
	blank();
	v.me.image = (struct fzc_img){ .number = 3, .id = test_id() };
	CHECK(refused("blank"));
	blank();
	peer.sectors = 999;
	CHECK(refused("size"));
	blank();
	peer.block_size = 8192;
	CHECK(refused("block"));
	peer.block_size = v.me.block_size;
	peer.encrypted = true;
	CHECK(refused("stage_encryption: off here, on at the peer"));
	peer.encrypted = false;
}

TEST(session_identity)
{
	paired();
	peer.role = FZC_PRIMARY;
	CHECK(refused("role"));
	paired();
	v.me.role = FZC_SECONDARY;
	CHECK(refused("role"));
	paired();
	peer.recovered = true;
	CHECK(refused("recovered as image 7"));
	paired();
	peer.sectors++;
	CHECK(refused("1000 sectors here, 1001"));
	paired();
	peer.block_size = 65536;
	CHECK(refused("4096 bytes here, 65536"));
	paired();
	peer.pair = test_id();
	CHECK(refused("pair"));
}

TEST(session_last_session)
{
	paired();
	peer.session = v.pending;
	CHECK(decided(FZC_ORDER_RESUME, 1, 0, 0, 0));
	/* what it counts as durable is of another session than what it told */
	peer.durable = 0;
	CHECK(decided(FZC_ORDER_RESUME, 1, 0, 0, 0));
	peer.stage = test_id();
	CHECK(decided(FZC_ORDER_NEW_STAGE, 1, 0, 0, 0));
	peer.session = test_id();
	CHECK(refused("session"));
	/* no pending session: a peer that names none is a stranger */
	paired();
	v.pending = (struct fzc_id){ };
	peer.session = v.pending;
	CHECK(refused("session"));
}

TEST(session_base)
{
	paired();
	peer.image.number = 6;
	CHECK(refused("image: 7"));
	paired();
	peer.image.id = test_id();
	CHECK(refused("image: 7"));
	paired();
	peer.image = (struct fzc_img){ };
	CHECK(refused("image: 7"));
	paired();
	v.me.image = (struct fzc_img){ };
	CHECK(refused("image: 0"));
	/* the number of the freeze, but of another history */
	paired();
	freezing();
	peer.image = v.me.freeze;
	peer.image.id = test_id();
	CHECK(refused("image: 7"));
}

TEST(session_finishes_a_freeze)
{
	for (int doubt = 0; doubt < 2; doubt++) {
		paired();
		freezing();
		v.in_doubt = doubt;
		peer.image = v.me.freeze;
		CHECK(decided(FZC_ORDER_RESUME, 0, 1, 0, 0));
		peer.stage = test_id();
		CHECK(decided(FZC_ORDER_NEW_STAGE, 0, 1, 0, 0));
		v.new_stage = true;
		CHECK(decided(FZC_ORDER_NEW_STAGE, 0, 1, 0, 0));
		peer.session = v.pending;
		CHECK(decided(FZC_ORDER_NEW_STAGE, 1, 1, 0, 0));
	}
	/* the first image ever */
	paired();
	v.me.image = (struct fzc_img){ };
	freezing();
	peer.image = v.me.freeze;
	peer.direct = true;
	peer.durable = 0;
	CHECK(decided(FZC_ORDER_NEW_STAGE, 0, 1, 0, 0));
}

TEST(session_new_stage)
{
	for (int freeze = 0; freeze < 2; freeze++) {
		for (int cause = 0; cause < 3; cause++) {
			paired();
			if (freeze)
				freezing();
			if (cause == 0)
				v.new_stage = true;
			else if (cause == 1)
				peer.stage = test_id();
			else
				peer.durable = 39;
			CHECK(decided(FZC_ORDER_NEW_STAGE, 0, 0, freeze, 0));
		}
	}
}

TEST(session_first_copy_again)
{
	for (int cause = 0; cause < 3; cause++) {
		paired();
		v.me.image = (struct fzc_img){ };
		peer.image = v.me.image;
		peer.direct = true;
		freezing();
		if (cause == 0)
			peer.stage = test_id();
		else if (cause == 1)
			peer.durable = 0;
		else
			v.new_stage = true;
		/* only the primary's loss of memory leaves what the secondary has in place */
		if (cause < 2)
			CHECK(decided(FZC_ORDER_FIRST_COPY, 0, 0, 1, 1));
		else
			CHECK(decided(FZC_ORDER_NEW_STAGE, 0, 0, 1, 0));
		/* volumes that were equal from the start have a base */
		peer.direct = false;
		CHECK(decided(FZC_ORDER_NEW_STAGE, 0, 0, 1, 0));
	}
}

TEST(session_secondary_checks)
{
	struct fzc_hello *me = &peer;

	paired();
	CHECK(!fzc_session_check(me, &v.me, why));
	v.me.pair = test_id();
	CHECK(fzc_session_check(me, &v.me, why) == -EPROTO && strstr(why, "pair"));
	me->blank = true;
	CHECK(!fzc_session_check(me, &v.me, why));
	v.me.sectors = 1;
	CHECK(fzc_session_check(me, &v.me, why) == -EPROTO && strstr(why, "size"));
	paired();
	v.me.block_size = 8192;
	CHECK(fzc_session_check(me, &v.me, why) == -EPROTO && strstr(why, "block"));
	paired();
	me->recovered = true;
	CHECK(fzc_session_check(me, &v.me, why) == -EPROTO && strstr(why, "recovered"));
	paired();
	v.me.role = FZC_SECONDARY;
	CHECK(fzc_session_check(me, &v.me, why) == -EPROTO && strstr(why, "role"));
}
