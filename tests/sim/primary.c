// SPDX-License-Identifier: GPL-2.0-only
/* The shell of the simulated primary. */
#include "sim.h"

struct conn *conn_new(void)
{
	return calloc(1, sizeof(struct conn));
}

static void queue_clear(struct queue *q)
{
	while (q->head != q->tail)
		free(q->p[q->head++ % QUEUE]);
}

void conn_put(struct conn *c)
{
	if (!c || c == W.pc || c == W.sc || c == W.offer)
		return;
	queue_clear(&c->ps);
	queue_clear(&c->sp);
	free(c);
}

void conn_push(struct queue *q, struct packet *pk, bool lost)
{
	if (lost || q->tail - q->head == QUEUE) {
		if (!lost)
			fail("simulator: the link's queue is full");
		free(pk);
		return;
	}
	q->p[q->tail++ % QUEUE] = pk;
}

/* Of what is on the way, a beginning may still arrive. */
void conn_cut(struct conn *c)
{
	struct queue *q[2] = { &c->ps, &c->sp };
	int i;

	c->cut = true;
	for (i = 0; i < 2; i++) {
		u32 keep = below(q[i]->tail - q[i]->head + 1);

		while (q[i]->tail - q[i]->head > keep)
			free(q[i]->p[--q[i]->tail % QUEUE]);
	}
}

void p_disconnect(void)
{
	struct conn *c = W.pc;

	if (!c)
		return;
	say("primary: disconnected");
	fzc_p_disconnected(&W.p);
	if (!c->cut)
		conn_cut(c);
	queue_clear(&c->sp);
	W.pc = NULL;
	W.p_drops = false;
	conn_put(c);
}

void p_connect(void)
{
	struct fzc_id draw = random_id();
	struct conn *old = W.offer;

	W.offer = NULL;
	conn_put(old);
	W.pc = W.offer = conn_new();
	fzc_p_connected(&W.p, &draw);
	say("primary: connects");
}

/* A cut shows as a new freeze record; the host's view is the image. */
void p_check_cut(void)
{
	const struct fzc_img *img = &W.p.sb.freeze;
	struct image *n;

	if (W.pstate != RUNNING || !(W.p.sb.flags & FZC_SB_FREEZE) ||
	    fzc_id_equal(&img->id, &W.last_cut))
		return;
	W.last_cut = img->id;
	W.freeze_at = 0;
	if (W.images == MAX_IMAGES) {
		fail("simulator: more than %u images", MAX_IMAGES);
		return;
	}
	n = &W.image[W.images++];
	n->img = *img;
	memcpy(n->val, W.last, sizeof(n->val));
	memcpy(n->pos, W.done_pos, sizeof(n->pos));
	n->tight = W.p.frozen.count > W.p.slots.nslots;
	for (u32 i = 0; i < MAX_HOPS; i++) {
		struct hop *h = &W.hop[i];

		/* ended, only its FUA is not acknowledged: it is in */
		if (h->state == HOP_SYNC && h->kind == HOP_WRITE)
			for (u32 s = h->first; s < h->first + h->n; s++)
				n->val[s] = h->val;
		if (h->kind == HOP_WRITE &&
		    (h->state == HOP_BUSY || (h->state == HOP_PARKED && h->again)))
			fail("P1: cut %llu is made with a write in flight",
			     (unsigned long long)img->number);
	}
	host_cut();
	say("primary: cut %llu, %llu blocks frozen", (unsigned long long)img->number,
	    (unsigned long long)W.p.frozen.count);
}

void p_freeze(bool force)
{
	struct fzc_img img = { .id = random_id(), .time = W.step };

	if (!fzc_p_freeze(&W.p, &img, force)) {
		W.freeze_at = W.step;
		p_check_cut();
	}
}

static void send_msg(const struct fzc_msg *msg)
{
	struct packet *pk = calloc(1, sizeof(*pk));

	say("primary: sends %u", msg->type);
	pk->msg = *msg;
	if (!W.pc)
		free(pk);
	else
		conn_push(&W.pc->ps, pk, W.pc->cut);
	reached(0, STEP_FRAME + msg->type, BEGUN, NULL);
}

static void boot_done(void)
{
	if (W.pstate != LOADING || !fzc_p_started(&W.p))
		return;
	W.pstate = RUNNING;
	host_check_primary(true);
	W.boundless = W.p.in.active.count > host_most_open();
	expect_p_up();
	say("primary: up, image %llu, phase %u", (unsigned long long)W.p.sb.image.number, W.p.phase);
}

static void stop_done(void)
{
	if (W.pstate != STOPPING || !fzc_p_stopped(&W.p) || io_any(0))
		return;
	W.pstate = DOWN;
	if (W.p.stop_failed && !W.sick && !W.errors)
		fail("a clean stop failed: %s", W.p.reason);
	if (W.p.stop_failed)	/* what a flush did not take is lost sooner or later: now */
		p_crash(50);
	say("primary: stopped");
}

static void check_open(void)
{
	const struct fzc_intent *in = &W.p.in;
	u32 most = host_most_open();

	W.boundless |= in->ckpt_err || in->failed;
	if (in->active.count > most && !W.boundless)
		fail("P4: %u regions are open, expected %u at most", (u32)in->active.count, most);
}

/* One action. */
bool p_step(void)
{
	static struct fzc_page page;
	struct fzc_act act;

	if (W.pstate == DOWN)
		return false;
	W.p.merge_hold = !W.calm && chance(20);
	W.p.in.gather = W.p.merge_hold;
	check_open();
	if (!fzc_p_next(&W.p, &act, &page)) {
		host_check_woken();
		boot_done();
		stop_done();
		return false;
	}
	switch (act.kind) {
	case FZC_ACT_SEND:
		send_msg(&act.msg);
		break;
	case FZC_ACT_SYNCED:
		host_synced(act.ticket, act.err);
		break;
	case FZC_ACT_WAKE:
		host_wake();
		break;
	case FZC_ACT_DROP:
		W.p_drops = true;
		break;
	case FZC_ACT_SHRINK:
		free(act.chunk);
		break;
	case FZC_ACT_EVENT:
		W.st.aborts += act.event == FZC_EVENT_ABORT;
		if (act.event == FZC_EVENT_ABORT) {
			say("primary: %s", W.p.reason);
			expect_aborted(W.p.aborted);
		}
		break;
	case FZC_ACT_WRITE:
	case FZC_ACT_FLUSH:
	case FZC_ACT_COPY:
	case FZC_ACT_GROW:
		io_action(0, &act, &page);
		break;
	}
	boot_done();
	return true;
}

/* Pick a run and start to read it. */
bool p_send_step(void)
{
	struct fzc_xfer *x;
	struct io *io;
	u64 wanted;
	u32 i;

	if (W.pstate != RUNNING || !W.pc)
		return false;
	wanted = host_wanted();
	x = fzc_p_pick(&W.p);
	if (!x)
		return false;
	host_check_paced(x, wanted);
	io = io_new(0, IO_XFER);
	io->x = x;
	for (i = 0; i < x->n; i++)
		io->place[i] = fzc_p_source(&W.p, x, x->first + i, &io->slot[i]);
	reached(0, io->place[0] == FZC_AT_SLOT ? STEP_SEND_SLOT : STEP_SEND_DATA, BEGUN, io);
	return true;
}

/* P4: a sound secondary that kept its stage is not taken for one that lost it. */
static void check_order(const struct packet *pk, bool resumable)
{
	if (pk->msg.type != FZC_MSG_HELLO || W.p.link != FZC_LINK_PENDING || pk->backup ||
	    pk->msg.hello.blank)
		return;
	if (resumable && fzc_id_equal(&pk->msg.hello.stage, &W.p.sb.stage) &&
	    W.p.order != FZC_ORDER_RESUME)
		fail("P4: order %u to a secondary that lost nothing", W.p.order);
}

bool p_deliver(void)
{
	struct conn *c = W.pc;
	struct packet *pk;
	bool resumable = !(W.p.sb.flags & FZC_SB_NEW_STAGE);
	int err;

	if (W.pstate != RUNNING || !c || c->sp.head == c->sp.tail || W.step < W.hung)
		return false;
	pk = c->sp.p[c->sp.head++ % QUEUE];
	if (pk->msg.type == FZC_MSG_COMMITTED)
		W.acked_number = max(W.acked_number, pk->msg.image.number);
	if (pk->msg.type == FZC_MSG_NEED)
		host_asked(pk->msg.first, pk->msg.n);
	err = fzc_p_rx(&W.p, &pk->msg);
	check_order(pk, resumable);
	if (!err && W.p.link == FZC_LINK_PENDING && pk->backup) {
		/* accepted and meanwhile swapped for the true disks: these are refused from now on */
		if (!W.on_backup)
			W.failed = W.excused = true;
		/* a secondary that was accepted with old disks goes on with them */
		W.on_backup = W.have_backup = false;
		W.acked_number = W.s.sb.image.number;
	}
	if (err == -EPROTO && W.p.link > FZC_LINK_HELLO)
		fail("the primary does not understand its peer: %s", W.p.reason);
	if (W.p.link == FZC_LINK_REFUSED) {
		say("primary: refuses: %s", W.p.reason);
		if (W.calm && !W.on_backup && !pk->backup && !W.recovering)
			fail("P5: refused for no reason: %s", W.p.reason);
	}
	if (err)
		p_disconnect();
	reached(0, STEP_FRAME + pk->msg.type, ENDED, NULL);
	free(pk);
	p_check_cut();
	return true;
}

void p_boot(void)
{
	static struct fzc_page a, b;
	struct fzc_load load;
	int err;

	W.tainted |= W.p.sb.flags & FZC_SB_TAINTED;
	slots_drop(&W.p.slots);
	/* what is read is durable from here on, also after a death without a power cut */
	disk_flush(&W.pd[FZC_META]);
	disk_flush(&W.pd[FZC_DIFF]);
	data_hash(&W.pd[FZC_DATA], W.popts.data_hash);
	memset(W.pmem, 0, W.pbytes);
	fzc_p_init(&W.p, W.pmem, &W.pgeo, &W.popts);
	W.pstate = LOADING;
	while (fzc_p_load_next(&W.p, &load)) {
		if (io_fails(0, STEP_LOAD, load.dev)) {
			W.pstate = DOWN;	/* refused; it is tried again */
			return;
		}
		page_get(&W.pd[load.dev], load.offset, &a);
		if (load.both)
			page_get(&W.pd[load.dev], load.offset + FZC_PAGE, &b);
		while ((err = fzc_p_load_give(&W.p, &load, &a, &b)) == -EAGAIN)
			load.chunk = malloc(sizeof(*load.chunk));
		if (err) {
			fail("the primary does not start: %s", W.p.reason);
			return;
		}
	}
	keys_get(&W.pd[FZC_META], &W.p.sb);
	if (fzc_p_start(&W.p))
		fail("the primary does not start: %s", W.p.reason);
	W.last_cut = W.p.sb.freeze.id;
	W.freeze_at = 0;
}

void p_crash(u32 keep)
{
	struct conn *c = W.pc;
	int i;

	io_crash(0, keep);
	W.p_died = keep == KEEP_CACHE;
	/* what was read then, and taken for durable, must be */
	W.cut_at = W.p_died && chance(50) ? W.step + 20 + below(200) : 0;
	for (i = 0; i < FZC_NR_DEVS; i++)
		disk_crash(&W.pd[i], keep);
	host_crash();
	if (c) {
		if (!c->cut)
			conn_cut(c);
		W.pc = NULL;
		conn_put(c);
	}
	W.p_drops = false;
	W.pstate = DOWN;
	W.p_want_stop = false;
	W.freeze_at = 0;
	say(keep == KEEP_CACHE ? "primary: dies" : "primary: power cut");
}

u32 p_mode(void)
{
	if (W.pstate != RUNNING)
		return 0;
	if (W.p.phase == FZC_PHASE_DOUBT)
		return 3;
	if (W.p.phase != FZC_PHASE_IDLE)
		return 1;
	return W.p.slots.used ? 2 : 0;
}
