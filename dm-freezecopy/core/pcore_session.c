// SPDX-License-Identifier: GPL-2.0-only
/* The primary's core: the session, sending, and what the secondary says. */
#include "pcore.h"
#include "session.h"

static bool freeze_exists(const struct fzc_pcore *p)
{
	return p->phase == FZC_PHASE_DELIVER || p->phase == FZC_PHASE_SENT ||
	       p->phase == FZC_PHASE_DOUBT;
}

static void fill_hello(const struct fzc_pcore *p, struct fzc_hello *h)
{
	memset(h, 0, sizeof(*h));
	h->role = FZC_PRIMARY;
	h->direct = p->sb.flags & FZC_SB_FIRST_COPY;
	h->encrypted = p->sb.flags & FZC_SB_ENCRYPTED;
	h->pair = p->sb.pair;
	h->sectors = p->geo.sectors;
	h->block_size = p->geo.block_size;
	h->image = p->sb.image;
	if (freeze_exists(p))
		h->freeze = p->freezing;
	h->stage = p->sb.stage;
	h->session = p->sb.session;
	h->durable = p->told;
}

void fzc_p_connected(struct fzc_pcore *p, const struct fzc_id *draw)
{
	p->link = FZC_LINK_HELLO;
	p->draw = *draw;
	p->frames = 0;
	p->all_sent = false;
	p->send_hello = true;
	p->send_refuse = false;
	p->drop = false;
}

static void xfer_free(struct fzc_pcore *p, struct fzc_xfer *x)
{
	p->sweep_inflight -= x->sweep;
	x->sweep = false;
	x->state = FZC_XFER_FREE;
	p->xfers--;
}

/* R7: what was on its way is unsent again (a frozen block never stopped being frozen). */
static void fold_xfer(struct fzc_pcore *p, struct fzc_xfer *x)
{
	fzc_map_clear_range(&p->inflight, x->first, x->n);
	if (!x->frozen)
		fzc_map_set_range(&p->unsent, x->first, x->n);
}

void fzc_p_disconnected(struct fzc_pcore *p)
{
	struct fzc_xfer *x;

	if (p->link == FZC_LINK_UP)
		fzc_p_event(p, FZC_EVENT_DISCONNECT);
	p->link = FZC_LINK_DOWN;
	p->all_sent = false;
	p->peer_full = false;
	p->send_hello = false;
	p->send_session = false;
	p->send_refuse = false;
	p->send_abort = 0;
	p->notify_freeze = false;
	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++) {
		if (x->state == FZC_XFER_FREE || x->state == FZC_XFER_ORPHAN)
			continue;
		if (x->state == FZC_XFER_TOLD)	/* it is there, and has changed at worst */
			fzc_map_clear_range(&p->inflight, x->first, x->n);
		else
			fold_xfer(p, x);
		if (x->state == FZC_XFER_PICKED)
			x->state = FZC_XFER_ORPHAN;
		else
			xfer_free(p, x);
	}
	p->swept = false;
	p->cursor = 0;
	p->frozen_cursor = 0;
	fzc_p_pace_wake(p);
}

/* All blocks that the secondary lacks, if it has nothing but its base image. */
void fzc_p_restage(struct fzc_pcore *p, bool all)
{
	if (all) {
		fzc_intent_fill(&p->in);
		fzc_map_fill(&p->unsent);
		p->sb.flags &= ~FZC_SB_COPIED;
		return;
	}
	fzc_map_add(&p->unsent, &p->in.changed[p->sb.cur]);
}

/*
 * An abort that a session demands must be complete before `unsent` is built
 * from `changed`: its chores are bounded work in memory.
 */
static void finish_chores(struct fzc_pcore *p)
{
	if (p->aborting)
		fzc_map_move(&p->frozen, &p->unsent, U32_MAX);
	if (p->in.folding)
		fzc_intent_add_closed(&p->in);
}

static int rx_hello(struct fzc_pcore *p, const struct fzc_hello *h)
{
	struct fzc_session_view v = { .pending = p->sb.pending, .told = p->told };
	struct fzc_decision d;
	int err;

	if (p->link != FZC_LINK_HELLO) {
		fzc_p_say(p, "the secondary sent a second hello");
		return -EPROTO;
	}
	fill_hello(p, &v.me);
	v.in_doubt = p->phase == FZC_PHASE_DOUBT;
	v.new_stage = p->sb.flags & FZC_SB_NEW_STAGE;
	err = fzc_session_decide(&v, h, &d, p->reason);
	if (err) {
		/* the connection is dropped once the peer knows why */
		p->send_refuse = true;
		p->link = FZC_LINK_REFUSED;
		fzc_p_event(p, FZC_EVENT_ERROR);
		return 0;
	}
	if (d.finish)
		fzc_p_finish(p);
	if (d.abort)
		fzc_p_void_freeze(p, "the secondary does not have what was delivered of it");
	p->order = d.order;
	if (d.order != FZC_ORDER_RESUME) {
		/* that both are equal is only believed of a pair that never met */
		bool equal = p->opts.identical && fzc_id_is_zero(&p->sb.session);

		/* what changes now would be of the generation that is about to close */
		if (d.send_all && p->phase == FZC_PHASE_CLOSE)
			fzc_p_void_freeze(p, "the secondary has lost all that it had");
		finish_chores(p);
		fzc_p_restage(p, d.send_all && !equal);
		p->sb.flags |= FZC_SB_NEW_STAGE;
	}
	if (d.adopt_pending) {
		/* nothing moved in it: what was told counts for the session before */
		p->told = 0;
		p->sb.told = 0;
	}
	p->peer_merging = h->merging;
	p->sb.session = h->session;
	p->sb.pending = p->draw;
	p->session_at = fzc_p_dirty_super(p);
	p->link = FZC_LINK_PENDING;
	return 0;
}

static int rx_session_ok(struct fzc_pcore *p)
{
	if (p->link != FZC_LINK_SESSION) {
		fzc_p_say(p, "the secondary accepted a session that was not offered");
		return -EPROTO;
	}
	p->sb.session = p->draw;
	memset(&p->sb.pending, 0, sizeof(p->sb.pending));
	if (p->order != FZC_ORDER_RESUME)
		p->sb.stage = p->draw;
	p->sb.flags &= ~FZC_SB_NEW_STAGE;
	p->told = 0;
	p->sb.told = 0;
	p->session_at = fzc_p_dirty_super(p);
	p->link = FZC_LINK_CURRENT;
	return 0;
}

static void check_copy_done(struct fzc_pcore *p)
{
	bool empty = !p->unsent.count && !p->inflight.count;

	if (!(p->sb.flags & FZC_SB_FIRST_COPY) || p->sb.flags & FZC_SB_COPIED)
		return;
	if (!empty && !(p->swept && !p->sweep_inflight))
		return;
	p->sb.flags |= FZC_SB_COPIED;
	fzc_p_dirty_super(p);
	fzc_p_event(p, FZC_EVENT_COPY_DONE);
}

/* R17: the id is durable on one side before the other is told. */
void fzc_p_session_done(struct fzc_pcore *p)
{
	if (p->sb_done < p->session_at)
		return;
	if (p->link == FZC_LINK_PENDING) {
		p->send_session = true;
		p->link = FZC_LINK_SESSION;
	} else if (p->link == FZC_LINK_CURRENT) {
		p->link = FZC_LINK_UP;
		p->cursor = 0;
		fzc_p_event(p, FZC_EVENT_CONNECT);
		check_copy_done(p);
	}
}

/* ---- what the secondary says of its progress ---- */

/* What is durable there need not be sent again after a crash here. */
static void unmark(struct fzc_pcore *p, const struct fzc_xfer *x)
{
	u64 b;

	if ((p->phase != FZC_PHASE_IDLE && p->phase != FZC_PHASE_CLOSE) ||
	    p->sb.flags & FZC_SB_TAINTED)
		return;
	for (b = x->first; b < x->first + x->n; b++)
		if (!fzc_map_test(&p->unsent, b))
			fzc_intent_unmark(&p->in, b);
}

/*
 * First copy: a secondary that comes back with less than it told must be
 * noticed even after a crash here, so the count is durable before the bitmap
 * is.  If it cannot be written, the blocks stay changed.
 */
void fzc_p_copied(struct fzc_pcore *p, bool recorded)
{
	struct fzc_xfer *x;

	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++) {
		if (x->state != FZC_XFER_TOLD || (recorded && x->record > p->sb_done))
			continue;
		if (recorded)
			unmark(p, x);
		fzc_map_clear_range(&p->inflight, x->first, x->n);
		xfer_free(p, x);
	}
	check_copy_done(p);
}

/* A run of the closing image is durable there. */
static void delivered(struct fzc_pcore *p, const struct fzc_xfer *x)
{
	u32 i;

	for (i = 0; i < x->n; i++)
		if (!fzc_xfer_stale(x, i))
			fzc_map_clear(&p->frozen, x->first + i);
	fzc_p_pace_wake(p);
}

static int rx_durable(struct fzc_pcore *p, u64 frame)
{
	struct fzc_xfer *x;

	if (frame > p->frames || frame < p->told) {
		fzc_p_say(p, "%llu frames durable on the secondary, expected %llu to %llu",
			  (unsigned long long)frame, (unsigned long long)p->told,
			  (unsigned long long)p->frames);
		return -EPROTO;
	}
	p->told = frame;
	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++) {
		if (x->state != FZC_XFER_SENT || x->frame > frame)
			continue;
		if (x->direct && !x->frozen) {
			p->sb.told = p->told;
			x->state = FZC_XFER_TOLD;
			x->record = fzc_p_dirty_super(p);
			continue;
		}
		fzc_map_clear_range(&p->inflight, x->first, x->n);
		if (x->frozen)
			delivered(p, x);
		xfer_free(p, x);
	}
	check_copy_done(p);
	return 0;
}

static int rx_full(struct fzc_pcore *p, u64 frame)
{
	struct fzc_xfer *x;

	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++) {
		if (x->state != FZC_XFER_SENT || x->frame != frame)
			continue;
		fold_xfer(p, x);
		if (x->frozen)
			fzc_p_give_way(p, "the secondary's difference volume is full");
		xfer_free(p, x);
	}
	/*
	 * Only a commit or a new session makes room; until then nothing is sent
	 * ahead, and a freeze that needs more is aborted.
	 */
	if (!p->peer_full) {
		fzc_p_say(p, "the secondary's difference volume is full");
		fzc_p_event(p, FZC_EVENT_ERROR);
	}
	p->peer_full = true;
	return 0;
}

static int rx_need(struct fzc_pcore *p, u64 first, u32 n)
{
	/* one after the other is what it says; many at once would take long, under a lock */
	if (n > FZC_MAX_RUN) {
		fzc_p_say(p, "the secondary asks for %u blocks at once, expected at most %u", n,
			  FZC_MAX_RUN);
		return -EPROTO;
	}
	if (first >= p->geo.blocks || n > p->geo.blocks - first) {
		fzc_p_say(p, "the secondary asks for blocks %llu+%u, expected less than %llu",
			  (unsigned long long)first, n, (unsigned long long)p->geo.blocks);
		return -EPROTO;
	}
	for (; n; n--, first++) {
		fzc_intent_add(&p->in, first);
		fzc_map_set(&p->unsent, first);
	}
	return 0;
}

static int rx_committed(struct fzc_pcore *p, const struct fzc_img *img)
{
	if (p->phase != FZC_PHASE_SENT || img->number != p->freezing.number ||
	    !fzc_id_equal(&img->id, &p->freezing.id)) {
		fzc_p_say(p, "the secondary committed image %llu, expected %llu",
			  (unsigned long long)img->number,
			  (unsigned long long)p->freezing.number);
		return -EPROTO;
	}
	fzc_p_finish(p);
	p->peer_merging = true;
	p->peer_full = false;
	return 0;
}

static int rx_up(struct fzc_pcore *p, const struct fzc_msg *msg)
{
	switch (msg->type) {
	case FZC_MSG_DURABLE:
		return rx_durable(p, msg->frame);
	case FZC_MSG_FULL:
		return rx_full(p, msg->frame);
	case FZC_MSG_NEED:
		return rx_need(p, msg->first, msg->n);
	case FZC_MSG_COMMITTED:
		return rx_committed(p, &msg->image);
	case FZC_MSG_MERGED:
		if (p->peer_merging)
			fzc_p_event(p, FZC_EVENT_MERGED);
		p->peer_merging = false;
		return 0;
	default:
		fzc_p_say(p, "unexpected frame of type %u", msg->type);
		return -EPROTO;
	}
}

int fzc_p_rx(struct fzc_pcore *p, const struct fzc_msg *msg)
{
	switch (msg->type) {
	case FZC_MSG_PING:
		return 0;
	case FZC_MSG_REFUSE:
		fzc_p_say(p, "refused by the secondary: %.200s", msg->reason);
		return -ECONNREFUSED;
	case FZC_MSG_HELLO:
		return rx_hello(p, &msg->hello);
	case FZC_MSG_SESSION_OK:
		return rx_session_ok(p);
	}
	if (p->link == FZC_LINK_UP || p->link == FZC_LINK_CURRENT)
		return rx_up(p, msg);
	fzc_p_say(p, "frame of type %u before the session", msg->type);
	return -EPROTO;
}

/* ---- control frames to send ---- */

static void session_msg(const struct fzc_pcore *p, struct fzc_session *s)
{
	s->order = p->order;
	s->pair = p->sb.pair;
	s->session = p->draw;
	s->stage = p->order == FZC_ORDER_RESUME ? p->sb.stage : p->draw;
	s->building = p->sb.last_number + 1;
	memcpy(s->stage_key, p->sb.keys.stage, FZC_KEY_BYTES);
	if (freeze_exists(p)) {
		s->freeze = p->freezing;
		s->building = p->freezing.number;
	}
}

static void freeze_msg(const struct fzc_pcore *p, struct fzc_msg *m, u8 type)
{
	m->type = type;
	m->image = p->freezing;
	m->base = p->sb.image;
	m->stage = p->sb.stage;
	m->frames = p->frames;
}

/* R9, R10: everything of `frozen` is durable there, flushed here, and the stage is free. */
static bool all_sent_due(const struct fzc_pcore *p)
{
	return (p->phase == FZC_PHASE_DELIVER || p->phase == FZC_PHASE_SENT) && !p->all_sent &&
	       !p->frozen.count && p->r10_flushed && fzc_p_recorded(p) && !p->peer_merging &&
	       !p->stop_step;
}

bool fzc_p_session_next(struct fzc_pcore *p, struct fzc_act *act)
{
	struct fzc_msg *m = &act->msg;

	act->kind = FZC_ACT_SEND;
	if (p->send_hello) {
		p->send_hello = false;
		m->type = FZC_MSG_HELLO;
		fill_hello(p, &m->hello);
		return true;
	}
	if (p->send_refuse) {
		p->send_refuse = false;
		p->drop = true;
		m->type = FZC_MSG_REFUSE;
		memcpy(m->reason, p->reason, FZC_REASON_LEN);
		return true;
	}
	if (p->send_session && fzc_p_recorded(p)) {
		p->send_session = false;
		/* it says which freeze runs; frames about that are only for later changes */
		p->notify_freeze = false;
		p->send_abort = 0;
		m->type = FZC_MSG_SESSION;
		session_msg(p, &m->session);
		return true;
	}
	if (p->link != FZC_LINK_UP) {
		act->kind = FZC_ACT_NONE;
		return false;
	}
	if (p->send_abort) {
		m->type = FZC_MSG_ABORT;
		m->image.number = p->send_abort;
		p->send_abort = 0;
		return true;
	}
	if (p->notify_freeze && fzc_p_recorded(p)) {
		p->notify_freeze = false;
		freeze_msg(p, m, FZC_MSG_FREEZE);
		return true;
	}
	if (all_sent_due(p) && !p->notify_freeze) {
		p->all_sent = true;
		p->phase = FZC_PHASE_SENT;
		freeze_msg(p, m, FZC_MSG_ALL_SENT);
		return true;
	}
	act->kind = FZC_ACT_NONE;
	return false;
}

/* ---- DATA frames ---- */

/* One that is free.  In turn: those that were taken first are free again first. */
static struct fzc_xfer *take_xfer(struct fzc_pcore *p)
{
	struct fzc_xfer *x;

	if (p->xfers == FZC_MAX_XFERS)
		return NULL;
	do {
		x = &p->xfer[p->xfer_at++ % FZC_MAX_XFERS];
	} while (x->state != FZC_XFER_FREE);
	p->xfers++;
	return x;
}

/* Short where slots are: what a write waits for must not wait for much else. */
static u32 max_run(const struct fzc_pcore *p)
{
	u32 bytes = fzc_p_scarce(p) ? FZC_SHORT_RUN_BYTES : FZC_MAX_RUN_BYTES;

	return min_t(u32, FZC_MAX_RUN, max_t(u32, bytes >> p->geo.block_shift, 1));
}

/* R8: a block that is in flight is passed over, in either generation. */
static u64 next_idle(const struct fzc_pcore *p, const struct fzc_map *set,
		     const struct fzc_map *not, u64 from)
{
	for (from = fzc_map_next(set, from); from < p->geo.blocks;
	     from = fzc_map_next(set, from + 1))
		if (!fzc_map_test(&p->inflight, from) && (!not || !fzc_map_test(not, from)))
			break;
	return from;
}

static struct fzc_xfer *take_run(struct fzc_pcore *p, struct fzc_map *set,
				 const struct fzc_map *not, u64 first, u32 most)
{
	struct fzc_xfer *x = take_xfer(p);
	u32 n = 0;

	if (!x)
		return NULL;
	memset(x, 0, sizeof(*x));
	while (n < most && next_idle(p, set, not, first + n) == first + n &&
	       first + n < p->geo.blocks)
		n++;
	fzc_map_set_range(&p->inflight, first, n);
	x->state = FZC_XFER_PICKED;
	x->first = first;
	x->n = n;
	x->direct = p->sb.flags & FZC_SB_FIRST_COPY;
	return x;
}

static struct fzc_xfer *pick_frozen(struct fzc_pcore *p)
{
	u32 most = max_run(p);
	u64 b = fzc_p_wanted(p, &most);
	bool wanted = b < p->geo.blocks;
	struct fzc_xfer *x;

	if (!wanted)
		b = next_idle(p, &p->frozen, NULL, p->frozen_cursor);
	if (b == p->geo.blocks)
		b = next_idle(p, &p->frozen, NULL, 0);
	if (b == p->geo.blocks)
		return NULL;
	x = take_run(p, &p->frozen, NULL, b, most);
	if (!x)
		return NULL;
	x->frozen = true;
	x->image = p->freezing.number;
	if (!wanted)
		p->frozen_cursor = b + x->n;
	return x;
}

static struct fzc_xfer *pick_unsent(struct fzc_pcore *p)
{
	const struct fzc_map *not = p->frozen.count ? &p->frozen : NULL;
	u64 b = next_idle(p, &p->unsent, not, p->cursor);
	struct fzc_xfer *x;

	if (b == p->geo.blocks) {
		p->swept = true;
		b = next_idle(p, &p->unsent, not, 0);
	}
	if (b == p->geo.blocks)
		return NULL;
	x = take_run(p, &p->unsent, not, b, max_run(p));
	if (!x)
		return NULL;
	/* R7: a write that ends from now on makes it unsent again */
	fzc_map_clear_range(&p->unsent, x->first, x->n);
	x->image = p->sb.last_number + 1;
	x->sweep = !p->swept;
	p->sweep_inflight += x->sweep;
	p->cursor = b + x->n;
	return x;
}

/* R9: may content of the image after the running freeze's be sent? */
static bool ahead_allowed(const struct fzc_pcore *p)
{
	return !freeze_exists(p) ||
	       (!p->peer_merging && fzc_p_recorded(p) && fzc_p_has_image(p) && !p->notify_freeze);
}

struct fzc_xfer *fzc_p_pick(struct fzc_pcore *p)
{
	struct fzc_xfer *x = NULL;

	/* without a free one it would look at all that there is, for nothing */
	if (p->link != FZC_LINK_UP || p->read_trouble || p->send_abort || p->aborting ||
	    p->stop_step || p->xfers == FZC_MAX_XFERS ||
	    p->inflight.count << p->geo.block_shift >= FZC_MAX_INFLIGHT)
		return NULL;
	if (p->phase == FZC_PHASE_DELIVER)
		x = pick_frozen(p);
	if (!x && ahead_allowed(p) && !p->peer_full && !fzc_p_scarce(p))
		x = pick_unsent(p);
	return x;
}

/* R8 holds: every block stays in just one of them. */
struct fzc_xfer *fzc_p_split(struct fzc_pcore *p, struct fzc_xfer *x, u32 n)
{
	struct fzc_xfer *rest = x->state == FZC_XFER_PICKED ? take_xfer(p) : NULL;
	u32 i;

	if (!rest)
		return NULL;
	*rest = *x;
	rest->first += n;
	rest->n -= n;
	memset(rest->stale, 0, sizeof(rest->stale));
	for (i = 0; i < rest->n; i++)
		if (fzc_xfer_stale(x, n + i))
			fzc_xfer_set_stale(rest, i);
	p->sweep_inflight += rest->sweep;
	x->n = n;
	return rest;
}

bool fzc_p_sent(struct fzc_pcore *p, struct fzc_xfer *x)
{
	if (x->state == FZC_XFER_ORPHAN || p->link != FZC_LINK_UP) {
		fzc_p_unpick(p, x, false);
		return false;
	}
	x->frame = ++p->frames;
	x->state = FZC_XFER_SENT;
	return true;
}

bool fzc_p_awaits(const struct fzc_pcore *p)
{
	const struct fzc_xfer *x;

	for (x = p->xfer; x < p->xfer + FZC_MAX_XFERS; x++)
		if (x->state == FZC_XFER_SENT)
			return true;
	return false;
}

void fzc_p_unpick(struct fzc_pcore *p, struct fzc_xfer *x, bool read_error)
{
	bool orphan = x->state == FZC_XFER_ORPHAN;

	if (!orphan)
		fold_xfer(p, x);
	if (x->sweep && !read_error)	/* the sweep comes by again */
		p->cursor = min(p->cursor, x->first);
	if (read_error) {
		/* once a second: it is not to hide what was said of a freeze */
		if (!p->read_trouble) {
			fzc_p_say(p, "reading blocks %llu+%u for sending from %s failed",
				  (unsigned long long)x->first, x->n,
				  p->slots.used && !x->frozen ? "the data or the diff device" :
								"the data device");
			fzc_p_event(p, FZC_EVENT_ERROR);
		}
		p->data_failed = true;
		p->read_trouble = true;
		if (x->frozen && !orphan)
			fzc_p_give_way(p, "reading a frozen block failed");
	}
	xfer_free(p, x);
}
