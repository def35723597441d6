// SPDX-License-Identifier: GPL-2.0-only
/* The secondary's core: the session, what the primary sends, recovery. */
#include "score.h"
#include "session.h"
#include "wire.h"

static void fill_hello(const struct fzc_score *s, struct fzc_hello *h)
{
	memset(h, 0, sizeof(*h));
	h->role = FZC_SECONDARY;
	h->blank = s->sb.flags & FZC_SB_BLANK;
	h->recovered = s->sb.flags & FZC_SB_RECOVERED;
	h->merging = fzc_s_merging(s);
	h->direct = s->sb.flags & FZC_SB_FIRST_COPY;
	h->encrypted = s->sb.flags & FZC_SB_ENCRYPTED;
	h->pair = s->sb.pair;
	h->sectors = s->geo.sectors;
	h->block_size = s->geo.block_size;
	h->image = s->sb.image;
	h->freeze = s->sb.freeze;
	h->stage = s->sb.stage;
	h->session = s->sb.session;
	h->durable = s->last_durable;
}

u32 fzc_s_rx_busy(const struct fzc_score *s)
{
	u32 i, n = 0;

	for (i = 0; i < FZC_MAX_RX; i++)
		n += s->rx[i].busy && !s->rx[i].written;
	return n;
}

bool fzc_s_idle(const struct fzc_score *s)
{
	return s->link == FZC_SLINK_DOWN && !fzc_s_rx_busy(s) && !s->sync_step && !s->fold_step &&
	       !s->verify_busy && !s->verify_bad &&
	       !s->commit.number && !s->hold && !s->sb_busy && !s->format_step &&
	       s->sb_want == s->sb_done;
}

void fzc_s_connected(struct fzc_score *s)
{
	memset(s->rx, 0, sizeof(s->rx));
	s->link = FZC_SLINK_HELLO;
	s->frames = 0;
	s->durable = 0;
	s->full = false;
	s->full_frame = 0;
	s->drop = false;
	s->ended = false;
	s->refuse = false;
	s->fold_void = false;
}

void fzc_s_disconnected(struct fzc_score *s)
{
	if (s->link == FZC_SLINK_UP)
		fzc_s_event(s, FZC_EVENT_DISCONNECT);
	s->link = FZC_SLINK_DOWN;
	s->send_hello = false;
	s->send_session_ok = false;
	s->say_durable = false;
	s->say_committed = false;
	s->say_merged = false;
	s->full_frame = 0;
	s->need = 0;
	s->refuse = false;
	if (s->session_new && !s->fold_step)
		s->hold = false;
	s->session_new = false;
	/* R15: a commit that is not being written yet is void */
	if (s->commit.number && !s->commit_at) {
		s->commit.number = 0;
		s->hold = false;
	}
}

bool fzc_s_can_rx(const struct fzc_score *s)
{
	return !s->hold && !s->ended && s->frames - s->durable < FZC_MAX_RX - 1 &&
	       !s->full_frame && !fzc_s_grows(s, 0, FZC_MAX_RUN) &&
	       !fzc_s_grows(s, 1, FZC_MAX_RUN);
}

static int rx_hello(struct fzc_score *s, const struct fzc_hello *h)
{
	struct fzc_hello me;

	if (s->link != FZC_SLINK_HELLO) {
		fzc_s_say(s, "the primary sent a second hello");
		return -EPROTO;
	}
	fill_hello(s, &me);
	if (fzc_session_check(&me, h, s->reason)) {
		s->refuse = true;
		return 0;	/* the connection is dropped once the peer knows why */
	}
	s->send_hello = true;
	s->link = FZC_SLINK_SESSION;
	return 0;
}

static int session_refused(struct fzc_score *s, const char *what)
{
	fzc_s_say(s, "the primary's session does not fit: %s", what);
	return -EPROTO;
}

static bool has_key(const struct fzc_session *n)
{
	static const u8 none[FZC_KEY_BYTES];

	return fzc_memneq(n->stage_key, none, sizeof(none));
}

static int rx_session(struct fzc_score *s, const struct fzc_session *n)
{
	struct fzc_super *sb = &s->sb;
	bool blank = sb->flags & FZC_SB_BLANK;

	if (s->link != FZC_SLINK_SESSION)
		return session_refused(s, "it comes before a hello");
	if (!blank && !fzc_id_equal(&n->pair, &sb->pair))
		return session_refused(s, "another pair");
	if (n->order != FZC_ORDER_FIRST_COPY && blank)
		return session_refused(s, "nothing to go on with: this secondary is blank");
	if (n->order == FZC_ORDER_FIRST_COPY && sb->image.number)
		return session_refused(s, "a first copy over a committed image");
	if (n->order == FZC_ORDER_RESUME && !fzc_id_equal(&n->stage, &sb->stage))
		return session_refused(s, "another stage");
	if (n->building <= sb->image.number || n->building > FZC_MAX_NUMBER / 2 ||
	    (n->freeze.number && n->freeze.number != n->building))
		return session_refused(s, "impossible image numbers");
	if (has_key(n) == !(sb->flags & FZC_SB_ENCRYPTED))
		return session_refused(s, has_key(n) ? "a stage key, expected none" :
						       "no stage key, expected one");
	/* a pair has one: what is staged, and perhaps committed, would be lost with it */
	if (!blank && fzc_memneq(n->stage_key, sb->keys.stage, sizeof(n->stage_key)))
		return session_refused(s, "another stage key");
	s->session = *n;
	s->session_new = true;
	s->hold = true;
	s->hold_at = 0;
	/* an abort that was not heard, or is restated (R11) */
	if (n->order == FZC_ORDER_RESUME && sb->freeze.number &&
	    (n->freeze.number != sb->freeze.number || !fzc_id_equal(&n->freeze.id, &sb->freeze.id)))
		fzc_s_fold(s);
	return 0;
}

static void discard_stages(struct fzc_score *s)
{
	fzc_s_reset_stage(s, s->sb.stage_cur);
	if (!fzc_s_merging(s))
		fzc_s_reset_stage(s, !s->sb.stage_cur);
}

/* R17: store the session; only then is it answered. */
void fzc_s_session_step(struct fzc_score *s)
{
	const struct fzc_session *n = &s->session;
	struct fzc_super *sb = &s->sb;

	/* what came before is durable first: an ALL_SENT may count on it */
	if (!s->session_new || s->fold_step || s->sync_step || s->dirty)
		return;
	s->session_new = false;
	if (n->order != FZC_ORDER_RESUME)
		discard_stages(s);
	if (n->order == FZC_ORDER_FIRST_COPY)
		sb->flags |= FZC_SB_FIRST_COPY;
	sb->flags &= ~FZC_SB_BLANK;
	sb->pair = n->pair;
	sb->session = n->session;
	sb->stage = n->stage;
	sb->building = n->building;
	sb->freeze = n->freeze;
	memcpy(sb->keys.stage, n->stage_key, FZC_KEY_BYTES);
	s->last_durable = 0;
	s->session_at = fzc_s_dirty_super(s);
	s->hold_at = s->session_at;
	s->link = FZC_SLINK_STORING;
}

static int check_freeze(struct fzc_score *s, const struct fzc_msg *m)
{
	if (m->image.number != s->sb.building) {
		fzc_s_say(s, "freeze of image %llu, expected %llu",
			  (unsigned long long)m->image.number,
			  (unsigned long long)s->sb.building);
		return -EPROTO;
	}
	if (m->base.number != s->sb.image.number ||
	    (m->base.number && !fzc_id_equal(&m->base.id, &s->sb.image.id))) {
		fzc_s_say(s, "freeze on top of image %llu, expected %llu",
			  (unsigned long long)m->base.number,
			  (unsigned long long)s->sb.image.number);
		return -EPROTO;
	}
	if (!fzc_id_equal(&m->stage, &s->sb.stage)) {
		fzc_s_say(s, "freeze of another stage");
		return -EPROTO;
	}
	return 0;
}

static int rx_freeze(struct fzc_score *s, const struct fzc_msg *m)
{
	int err = check_freeze(s, m);

	if (err)
		return err;
	s->sb.freeze = m->image;
	s->hold = true;
	s->hold_at = fzc_s_dirty_super(s);
	fzc_s_event(s, FZC_EVENT_CUT);
	return 0;
}

/* The first frame for the image that is being built of which DURABLE was not said; 0: none. */
static u64 not_durable(const struct fzc_score *s)
{
	u64 f;

	for (f = s->durable + 1; f <= s->frames; f++)
		if (s->rx[f % FZC_MAX_RX].stage == s->sb.stage_cur)
			return f;
	return 0;
}

/* R14 */
static int rx_all_sent(struct fzc_score *s, const struct fzc_msg *m)
{
	int err = check_freeze(s, m);

	if (err)
		return err;
	if (s->sb.freeze.number != m->image.number ||
	    !fzc_id_equal(&s->sb.freeze.id, &m->image.id)) {
		fzc_s_say(s, "all sent of freeze %llu, expected %llu",
			  (unsigned long long)m->image.number,
			  (unsigned long long)s->sb.freeze.number);
		return -EPROTO;
	}
	if (m->frames != s->frames) {
		fzc_s_say(s, "all sent after %llu frames, %llu came",
			  (unsigned long long)m->frames, (unsigned long long)s->frames);
		return -EPROTO;
	}
	if (not_durable(s)) {
		fzc_s_say(s, "all sent before frame %llu is durable",
			  (unsigned long long)not_durable(s));
		return -EPROTO;
	}
	if (fzc_s_merging(s)) {
		fzc_s_say(s, "all sent while the image before is being merged");
		return -EPROTO;
	}
	s->commit = m->image;
	s->verify_cursor = 0;
	s->verified = false;
	/* what a first copy brought is on the volume, not in a stage */
	if (!s->opts.verify || s->sb.flags & FZC_SB_FIRST_COPY)
		fzc_s_verified(s);
	return 0;
}

static int rx_abort(struct fzc_score *s, u64 number)
{
	if (number != s->sb.building) {
		fzc_s_say(s, "abort of freeze %llu, expected %llu", (unsigned long long)number,
			  (unsigned long long)s->sb.building);
		return -EPROTO;
	}
	fzc_s_event(s, FZC_EVENT_ABORT);
	if (s->sb.freeze.number) {
		fzc_s_fold(s);
		return 0;
	}
	s->sb.building = number + 1;
	s->hold = true;
	s->hold_at = fzc_s_dirty_super(s);
	return 0;
}

int fzc_s_rx(struct fzc_score *s, const struct fzc_msg *msg)
{
	/* what is staged may be given up already; the reason is there */
	if (s->ended)
		return -ESHUTDOWN;
	switch (msg->type) {
	case FZC_MSG_PING:
		return 0;
	case FZC_MSG_HELLO:
		return rx_hello(s, &msg->hello);
	case FZC_MSG_SESSION:
		return rx_session(s, &msg->session);
	case FZC_MSG_REFUSE:
		fzc_s_say(s, "refused by the primary: %.200s", msg->reason);
		return -ECONNREFUSED;
	}
	if (s->link != FZC_SLINK_UP) {
		fzc_s_say(s, "frame of type %u before the session", msg->type);
		return -EPROTO;
	}
	if (s->commit.number) {
		fzc_s_say(s, "frame of type %u while image %llu is being committed", msg->type,
			  (unsigned long long)s->commit.number);
		return -EPROTO;
	}
	switch (msg->type) {
	case FZC_MSG_FREEZE:
		return rx_freeze(s, msg);
	case FZC_MSG_ALL_SENT:
		return rx_all_sent(s, msg);
	case FZC_MSG_ABORT:
		return rx_abort(s, msg->image.number);
	default:
		fzc_s_say(s, "unexpected frame of type %u", msg->type);
		return -EPROTO;
	}
}

bool fzc_s_session_next(struct fzc_score *s, struct fzc_act *act)
{
	struct fzc_msg *m = &act->msg;

	act->kind = FZC_ACT_SEND;
	if (s->refuse) {
		s->refuse = false;
		fzc_s_drop(s);
		m->type = FZC_MSG_REFUSE;
		memcpy(m->reason, s->reason, FZC_REASON_LEN);
	} else if (s->send_hello) {
		s->send_hello = false;
		m->type = FZC_MSG_HELLO;
		fill_hello(s, &m->hello);
	} else if (s->send_session_ok) {
		s->send_session_ok = false;
		m->type = FZC_MSG_SESSION_OK;
	} else if (s->full_frame) {
		m->type = FZC_MSG_FULL;
		m->frame = s->full_frame;
		s->full_frame = 0;
		s->wake = true;
	} else if (s->say_durable) {
		s->say_durable = false;
		m->type = FZC_MSG_DURABLE;
		m->frame = s->durable;
	} else if (s->say_committed) {
		s->say_committed = false;
		m->type = FZC_MSG_COMMITTED;
		m->image = s->sb.image;
	} else if (s->say_merged) {
		s->say_merged = false;
		m->type = FZC_MSG_MERGED;
		m->image = s->sb.image;
	} else if (s->need && s->need <= s->ndamaged && s->link == FZC_SLINK_UP) {
		m->type = FZC_MSG_NEED;
		m->first = s->damaged[--s->need];
		m->n = 1;
	} else {
		act->kind = FZC_ACT_NONE;
		return false;
	}
	return true;
}

/* ---- DATA frames ---- */

/* Which stage takes a block of @image; -1: none (R9). */
static int stage_for(const struct fzc_score *s, u64 image)
{
	/* after ALL_SENT that stage is only read, and then emptied */
	if (image == s->sb.building)
		return s->commit.number ? -1 : s->sb.stage_cur;
	if (image == s->sb.building + 1 && s->sb.freeze.number == s->sb.building &&
	    !fzc_s_merging(s) && !(s->sb.flags & FZC_SB_FIRST_COPY))
		return !s->sb.stage_cur;
	return -1;
}

/*
 * R8: a frame of which DURABLE was not said and that has one of these blocks.  None
 * is what it has to be: a slot is not written twice before the index names it.
 */
static const struct fzc_rx *same_blocks(const struct fzc_score *s, u64 first, u32 n)
{
	u64 f;

	for (f = s->durable + 1; f <= s->frames; f++) {
		const struct fzc_rx *rx = &s->rx[f % FZC_MAX_RX];

		if (!rx->full && first < rx->first + rx->n && rx->first < first + n)
			return rx;
	}
	return NULL;
}

static void stage_run(struct fzc_score *s, struct fzc_rx *rx)
{
	struct fzc_slots *slots = &s->stage[rx->stage];
	u32 need = 0;
	u64 b;

	for (b = rx->first; b < rx->first + rx->n; b++)
		need += fzc_slots_find(slots, b) == FZC_NO_SLOT;
	rx->full = need > fzc_slots_ready(slots);
	for (b = rx->first; b < rx->first + rx->n && !rx->full; b++) {
		u32 slot = fzc_slots_find(slots, b);

		if (slot == FZC_NO_SLOT)
			slot = fzc_slots_alloc(slots, b);
		fzc_slot_set_state(slots, slot, FZC_SLOT_FILLING);
	}
}

/* P6: what is staged is encrypted, or it is not; that is not for a frame to say. */
static bool good_form(const struct fzc_score *s, u32 flags)
{
	bool staged = !(flags & (FZC_WIRE_DIRECT | FZC_WIRE_ZERO));

	return !(flags & FZC_WIRE_ENCRYPTED) == !(staged && s->sb.flags & FZC_SB_ENCRYPTED) &&
	       !(flags & FZC_WIRE_DIRECT) == !(s->sb.flags & FZC_SB_FIRST_COPY);
}

struct fzc_rx *fzc_s_data(struct fzc_score *s, u64 frame, u64 image, u64 first, u32 n,
			  u32 flags)
{
	int stage = stage_for(s, image);
	struct fzc_rx *rx;

	/* DURABLE and ALL_SENT count frames: one too many makes a later one pass for durable */
	if (frame != s->frames + 1) {
		fzc_s_say(s, "frame number %llu, expected %llu", (unsigned long long)frame,
			  (unsigned long long)s->frames + 1);
		return NULL;
	}
	if (s->link != FZC_SLINK_UP || !fzc_s_can_rx(s) || stage < 0 || !good_form(s, flags) ||
	    first + n > s->geo.blocks || first + n < first) {
		fzc_s_say(s,
			  "blocks %llu+%u, flags %#x, of image %llu; expected%s blocks%s of image %llu",
			  (unsigned long long)first, n, flags, (unsigned long long)image,
			  s->sb.flags & FZC_SB_FIRST_COPY ? " direct (0x2)" : "",
			  s->sb.flags & FZC_SB_ENCRYPTED ? ", encrypted (0x10) if staged," : "",
			  (unsigned long long)s->sb.building);
		return NULL;
	}
	if (same_blocks(s, first, n)) {
		fzc_s_say(s, "blocks %llu+%u come before frame %llu with some of them is durable",
			  (unsigned long long)first, n,
			  (unsigned long long)same_blocks(s, first, n)->frame);
		return NULL;
	}
	rx = &s->rx[++s->frames % FZC_MAX_RX];
	memset(rx, 0, sizeof(*rx));
	rx->frame = s->frames;
	rx->first = first;
	rx->n = n;
	rx->stage = stage;
	rx->direct = flags & FZC_WIRE_DIRECT;
	rx->zero = flags & FZC_WIRE_ZERO;
	rx->busy = true;
	if (!rx->direct)
		stage_run(s, rx);
	return rx;
}

u8 fzc_s_data_place(struct fzc_score *s, const struct fzc_rx *rx, u64 block, u32 *slot)
{
	if (rx->direct)
		return FZC_DATA;
	*slot = fzc_slots_find(&s->stage[rx->stage], block);
	return fzc_stage_dev(rx->stage);
}

static void staged(struct fzc_score *s, struct fzc_rx *rx, u64 block, const u32 *crc, int err)
{
	struct fzc_slots *slots = &s->stage[rx->stage];
	u32 slot = fzc_slots_find(slots, block);

	if (err && !(*fzc_slot_flags(slots, slot) & (FZC_SLOT_NAMED | FZC_SLOT_PEND))) {
		fzc_slot_cancel(slots, slot);
		return;
	}
	*fzc_slot_flags(slots, slot) &= ~FZC_SLOT_ZERO;
	if (rx->zero)
		*fzc_slot_flags(slots, slot) |= FZC_SLOT_ZERO;
	*fzc_slot_crc(slots, slot) = crc && !err ? crc[block - rx->first] : 0;
	fzc_slot_filled(slots, slot);
	fzc_map_set(&s->staged[rx->stage], block);
}

/* Once for as long as it lasts: until a commit, or a connection that begins anew. */
static void note_full(struct fzc_score *s, const struct fzc_rx *rx)
{
	s->full_frame = rx->frame;
	if (s->full)
		return;
	s->full = true;
	fzc_s_say(s,
		  "no room in diff-%c for blocks %llu+%u of image %llu: %u of %u slots are in use",
		  rx->stage ? 'b' : 'a', (unsigned long long)rx->first, rx->n,
		  (unsigned long long)s->sb.building + (rx->stage != s->sb.stage_cur),
		  s->stage[rx->stage].used, s->stage[rx->stage].nslots);
	fzc_s_event(s, FZC_EVENT_SHORT);
}

void fzc_s_data_done(struct fzc_score *s, struct fzc_rx *rx, const u32 *crc, int err)
{
	u64 b;

	if (rx->full)
		note_full(s, rx);
	else if (!rx->direct)
		for (b = rx->first; b < rx->first + rx->n; b++)
			staged(s, rx, b, crc, err);
	s->dirty |= 1U << (rx->direct ? FZC_DATA : fzc_stage_dev(rx->stage));
	rx->busy = false;
	if (s->link == FZC_SLINK_DOWN)
		return;
	if (err) {
		fzc_s_trouble(s, rx->direct ? FZC_DATA : fzc_stage_dev(rx->stage), "writing to",
			      err);
		fzc_s_drop(s);
		return;
	}
	rx->written = true;
}

/* ---- recovery, figure 9 ---- */

void fzc_s_recover_expected(struct fzc_score *s)
{
	s->fold_void = s->has_image;
}

int fzc_s_recover(struct fzc_score *s)
{
	struct fzc_super *sb = &s->sb;

	if (!s->has_image) {
		fzc_s_say(s, "no image yet: nothing to recover");
		return -ENODATA;
	}
	if (sb->flags & FZC_SB_RECOVERED) {
		fzc_s_say(s, "recovered already, as image %llu",
			  (unsigned long long)sb->image.number);
		return -EALREADY;
	}
	discard_stages(s);
	memset(&sb->stage, 0, sizeof(sb->stage));
	sb->freeze.number = 0;
	sb->flags |= FZC_SB_RECOVERED;
	s->recover_at = fzc_s_dirty_super(s);
	return 0;
}

bool fzc_s_recovered(const struct fzc_score *s)
{
	return s->sb.flags & FZC_SB_RECOVERED && !s->recover_at;
}
