// SPDX-License-Identifier: GPL-2.0-only
/* The shell of the simulated secondary, and the check of what it shows (P1, P2). */
#include "sim.h"

static const struct image *find_image(const struct fzc_img *img)
{
	u32 i;

	for (i = 0; i < W.images; i++)
		if (fzc_id_equal(&W.image[i].img.id, &img->id))
			return &W.image[i];
	return NULL;
}

/* What a read of the secondary shows; damage that was found reads as an error, which is honest. */
static bool shown(u32 s, u64 *v)
{
	u64 block = s / SPB;
	u32 slot;
	u8 dev;

	switch (fzc_s_read_place(&W.s, block, &dev, &slot)) {
	case FZC_S_DATA:
		*v = W.sd[FZC_DATA].cur[s];
		return true;
	case FZC_S_ZERO:
		*v = 0;
		return true;
	case FZC_S_SLOT: {
		const u64 *at = W.sd[dev].cur + slot_sector(1, dev, slot);

		fzc_s_slot_put(&W.s, dev);
		*v = at[s % SPB];
		/* the shell verifies what it reads through a stage */
		return block_crc(at, block_sectors(block)) ==
		       *fzc_slot_crc(&W.s.stage[dev == FZC_DIFF_B], slot) &&
		       tag_is(dev, slot, block_crc(at, block_sectors(block)));
	}
	default:
		return false;
	}
}

bool s_damaged(u64 block)
{
	u32 i;

	for (i = 0; i < W.s.ndamaged; i++)
		if (W.s.damaged[i] == block)
			return true;
	return false;
}

static void check_image(const struct image *im)
{
	u8 token;
	u32 s;
	u64 v;

	if (fzc_s_read_begin(&W.s, 0, W.blocks - 1, &token) == FZC_GO_FAIL) {
		fail("P2: the secondary has image %llu and cannot be read",
		     (unsigned long long)im->img.number);
		return;
	}
	for (s = 0; s < W.sectors && !W.failed; s++) {
		if (!shown(s, &v)) {
			if (s / SPB != W.rot_block && !W.errors)
				fail("P1: block %u reads as an error", s / SPB);
			continue;
		}
		if (v != im->val[s])
			fail("P1: sector %u of image %llu is %llu, expected %llu", s,
			     (unsigned long long)im->img.number, (unsigned long long)v,
			     (unsigned long long)im->val[s]);
	}
	fzc_s_read_end(&W.s, token);
}

/* The image that counts now: what is durable if the superblock write has not ended. */
void s_check(void)
{
	const struct fzc_img *img = &W.s.sb.image;
	bool new = img->number > W.seen_number;
	const struct image *im;

	if (W.sstate != RUNNING || W.recovered_checked || !W.s.has_image || W.s.commit_at)
		return;
	if (img->number < W.acked_number && !W.on_backup)
		fail("P2: the secondary is back at image %llu, %llu was committed",
		     (unsigned long long)img->number, (unsigned long long)W.acked_number);
	if (new) {
		W.seen_number = img->number;
		W.st.commits++;
		say("secondary: image %llu", (unsigned long long)img->number);
	}
	im = find_image(img);
	if (im && new) {
		host_image_committed(im);
		W.st.tight += im->tight;
	}
	if (!im)
		fail("P1: the secondary committed image %llu, which was never made",
		     (unsigned long long)img->number);
	else
		check_image(im);
}

static void send_msg(const struct fzc_msg *msg)
{
	struct packet *pk = calloc(1, sizeof(*pk));

	say("secondary: sends %u", msg->type);
	pk->msg = *msg;
	pk->backup = W.on_backup;
	if (!W.sc)
		free(pk);
	else
		conn_push(&W.sc->sp, pk, W.sc->cut);
	reached(1, STEP_FRAME + msg->type, BEGUN, NULL);
}

void s_disconnect(void)
{
	struct conn *c = W.sc;

	if (!c)
		return;
	say("secondary: disconnected");
	fzc_s_disconnected(&W.s);
	if (!c->cut)
		conn_cut(c);
	W.sc = NULL;
	W.s_drops = false;
	conn_put(c);
}

void s_accept(void)
{
	if (W.sstate != RUNNING || W.sc || !W.offer || !fzc_s_idle(&W.s))
		return;
	W.sc = W.offer;
	W.offer = NULL;
	if (W.s.commit.number || W.s.sb_want != W.s.sb_done)
		fail("R15: a session begins while a commit is in progress");
	fzc_s_connected(&W.s);
}

static void boot_done(void)
{
	if (W.sstate != LOADING || !fzc_s_started(&W.s))
		return;
	W.sstate = RUNNING;
	expect_s_up();
	say("secondary: up, image %llu, merging %d", (unsigned long long)W.s.sb.image.number,
	    fzc_s_merging(&W.s));
}

static void stop_done(void)
{
	if (W.sstate != STOPPING || !fzc_s_stopped(&W.s) || io_any(1))
		return;
	W.sstate = DOWN;
	if (W.s.stop_failed && !W.sick && !W.errors)
		fail("a clean stop of the secondary failed: %s", W.s.reason);
	if (W.s.stop_failed)
		s_crash(50);
	say("secondary: stopped");
}

bool s_step(void)
{
	static struct fzc_page page;
	struct fzc_act act;

	if (W.sstate == DOWN)
		return false;
	if (!fzc_s_next(&W.s, &act, &page)) {
		boot_done();
		stop_done();
		return false;
	}
	switch (act.kind) {
	case FZC_ACT_SEND:
		send_msg(&act.msg);
		break;
	case FZC_ACT_DROP:
		say("secondary: drops: %s", W.s.reason);
		W.s_drops = true;
		break;
	case FZC_ACT_SHRINK:
		free(act.chunk);
		break;
	case FZC_ACT_EVENT:
		W.st.merged += act.event == FZC_EVENT_MERGED;
		break;
	case FZC_ACT_WRITE:
	case FZC_ACT_FLUSH:
	case FZC_ACT_COPY:
	case FZC_ACT_GROW:
	case FZC_ACT_TAGS:
		io_action(1, &act, &page);
		break;
	}
	boot_done();
	return true;
}

static bool deliver_data(const struct packet *pk)
{
	struct fzc_rx *rx = fzc_s_data(&W.s, pk->frame, pk->image, pk->first, pk->n,
				       pk->flags);
	struct io *io;

	if (!rx)
		return false;
	io = io_new(1, IO_RX);
	io->rx = rx;
	io->encrypted = pk->flags & FZC_WIRE_ENCRYPTED;
	memcpy(io->val, pk->val, sizeof(io->val));
	reached(1, rx->direct ? STEP_RX_DATA : STEP_RX_SLOT, BEGUN, io);
	return true;
}

/* A sector of a block's slot rots; false: zeroes have none on the disk. */
bool s_rot(u8 stage, u64 block)
{
	u32 slot = fzc_slots_find(&W.s.stage[stage], block), at;
	u8 dev = fzc_stage_dev(stage);

	if (*fzc_slot_flags(&W.s.stage[stage], slot) & FZC_SLOT_ZERO)
		return false;
	at = slot_sector(1, dev, slot) + below(block_sectors(block));
	W.sd[dev].cur[at] ^= 0x40000000;
	W.sd[dev].dur[at] ^= 0x40000000;
	return true;
}

/* A slot of the image that is to be committed rots, and is found. */
static void rot_before_commit(void)
{
	u8 cur = W.s.sb.stage_cur;
	u64 b = fzc_map_next(&W.s.staged[cur], below(W.blocks));

	if (b == W.blocks || W.calm || W.on_backup || !W.s.commit.number || W.s.verified ||
	    !chance(10) || !s_rot(cur, b))
		return;
	W.st.verify_bad++;
	W.rotted = true;
	say("secondary: block %llu rots before the commit", (unsigned long long)b);
}

bool s_deliver(void)
{
	struct conn *c = W.sc;
	struct packet *pk;
	bool ok;

	if (W.sstate != RUNNING || !c || c->ps.head == c->ps.tail || !fzc_s_can_rx(&W.s) ||
	    W.step < W.hung)
		return false;
	pk = c->ps.p[c->ps.head++ % QUEUE];
	ok = pk->data ? deliver_data(pk) : !fzc_s_rx(&W.s, &pk->msg);
	if (!pk->data && pk->msg.type == FZC_MSG_ALL_SENT)
		rot_before_commit();
	if (!ok && !pk->data && pk->msg.type == FZC_MSG_REFUSE) {
		s_disconnect();
	} else if (!ok) {
		say("secondary: refuses: %s", W.s.reason);
		/* a protocol error between two sound peers is a bug */
		if (!W.on_backup)
			fail("the secondary does not understand its peer: %s", W.s.reason);
		s_disconnect();
	}
	if (!pk->data)
		reached(1, STEP_FRAME + pk->msg.type, ENDED, NULL);
	free(pk);
	return true;
}

void s_boot(void)
{
	static struct fzc_page a, b;
	struct fzc_load load;
	int err;

	slots_drop(&W.s.stage[0]);
	slots_drop(&W.s.stage[1]);
	disk_flush(&W.sd[FZC_META]);
	disk_flush(&W.sd[FZC_DIFF]);
	disk_flush(&W.sd[FZC_DIFF_B]);
	data_hash(&W.sd[FZC_DATA], W.sopts.data_hash);
	memset(W.smem, 0, W.sbytes);
	fzc_s_init(&W.s, W.smem, &W.sgeo, &W.sopts);
	memset(W.tags, 0, sizeof(W.tags));
	W.sstate = LOADING;
	while (fzc_s_load_next(&W.s, &load)) {
		if (io_fails(1, STEP_LOAD, load.dev)) {
			W.sstate = DOWN;
			return;
		}
		page_get(&W.sd[load.dev], load.offset, &a);
		if (load.both)
			page_get(&W.sd[load.dev], load.offset + FZC_PAGE, &b);
		while ((err = fzc_s_load_give(&W.s, &load, &a, &b)) == -EAGAIN)
			load.chunk = malloc(sizeof(*load.chunk));
		if (err) {
			fail("the secondary does not start: %s", W.s.reason);
			return;
		}
	}
	keys_get(&W.sd[FZC_META], &W.s.sb);
	if (fzc_s_start(&W.s))
		fail("the secondary does not start: %s", W.s.reason);
}

void s_crash(u32 keep)
{
	struct conn *c = W.sc;
	int i;

	io_crash(1, keep);
	for (i = 0; i < FZC_NR_DEVS; i++)
		disk_crash(&W.sd[i], keep);
	if (c) {
		if (!c->cut)
			conn_cut(c);
		W.sc = NULL;
		conn_put(c);
	}
	W.s_deaths++;
	W.s_drops = false;
	W.sstate = DOWN;
	W.s_want_stop = false;
	say(keep == KEEP_CACHE ? "secondary: dies" : "secondary: power cut");
}

u32 s_mode(void)
{
	if (W.sstate != RUNNING)
		return 0;
	if (fzc_s_merging(&W.s))
		return 2;
	return W.s.sb.freeze.number ? 1 : 0;
}
