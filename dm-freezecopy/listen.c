// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOC: the waiting room
 *
 * Where a key is needed, who connects becomes a guest: one of GUESTS, with a
 * work of its own that runs the handshake and hands the connection on, or
 * closes it.  A handshake that is stretched ends by its timeout; a room that is
 * full loses the guest that has been in it longest, of the newcomer's own
 * address (IPv6: /64) if that has PER_HOST there: so many connections from one
 * place keep nobody out who comes from another.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "core/ondisk.h"
#include "listen.h"

#define GUESTS		8
#define PER_HOST	2
#define RETRY		HZ

struct guest {
	struct work_struct work;
	struct fzc_listener *listener;
	bool busy;			/* lock: this place is taken */
	struct fzc_sock *sock;		/* lock; NULL: nobody may stop it any more */
	unsigned long since;		/* jiffies */
	struct fzc_handshake hs;
	struct fzc_secrets secrets;
};

struct fzc_listener {
	const struct fzc_listener_ops *ops;
	void *ctx;
	const struct fzc_addr *addr;
	struct fzc_key *key;
	u8 ciphers;
	const char *name;

	spinlock_t lock;		/* protects what follows, and what the guests say */
	bool stopping;
	struct fzc_sock *sock;
	wait_queue_head_t wait;		/* for changes of the above */

	struct task_struct *task;
	int complained;			/* the task's */
	struct workqueue_struct *wq;
	struct guest *guest;		/* GUESTS of them */
};

void fzc_complain(const char *name, const char *what, const struct fzc_addr *addr, int err,
		  int *last)
{
	char text[64];

	if (err == -ESHUTDOWN || err == *last)
		return;
	*last = err;
	fzc_addr_print(addr, text, sizeof(text));
	pr_info_ratelimited("%s: cannot %s %s: %pe, trying again\n", name, what, text,
			    ERR_PTR(err));
}

/* The reference lets kthread_stop() find a thread that has already returned. */
int fzc_thread_start(struct task_struct **place, int (*fn)(void *), void *arg, const char *what,
		     const char *name)
{
	struct task_struct *task = kthread_create(fn, arg, "fzc-%s/%s", what, name);

	if (IS_ERR(task))
		return PTR_ERR(task);
	*place = get_task_struct(task);
	wake_up_process(task);
	return 0;
}

void fzc_thread_stop(struct task_struct **place)
{
	if (!*place)
		return;
	kthread_stop(*place);
	put_task_struct(*place);
	*place = NULL;
}

static bool stopping(struct fzc_listener *l)
{
	return READ_ONCE(l->stopping);
}

/* Guests */

static void guest_work(struct work_struct *work)
{
	struct guest *g = container_of(work, struct guest, work);
	unsigned int noio = memalloc_noio_save();
	struct fzc_listener *l = g->listener;
	struct fzc_sock *sock = g->sock;
	char why[FZC_REASON_LEN], peer[64];
	int err;

	fzc_sock_peer(sock, peer, sizeof(peer));
	err = fzc_handshake_run(&g->hs, sock, FZC_SECONDARY, l->key, l->ciphers, &g->secrets);
	spin_lock_irq(&l->lock);
	g->sock = NULL;		/* from here on nobody else stops it */
	spin_unlock_irq(&l->lock);
	if (!err) {
		l->ops->arrived(l->ctx, sock, &g->secrets);
	} else {
		fzc_sock_release(sock);
		scnprintf(why, sizeof(why), "%s: %.180s", peer, g->hs.why);
		if (err != -ESHUTDOWN)
			l->ops->refused(l->ctx, why);
	}
	memzero_explicit(&g->secrets, sizeof(g->secrets));
	spin_lock_irq(&l->lock);
	g->busy = false;
	spin_unlock_irq(&l->lock);
	wake_up_all(&l->wait);
	memalloc_noio_restore(noio);
}

/* The one who is to go for @sock, if somebody has to.  The lock is held. */
static struct guest *oldest(struct fzc_listener *l, struct fzc_sock *sock)
{
	struct guest *all = NULL, *same = NULL;
	u32 i, n = 0;

	for (i = 0; i < GUESTS; i++) {
		struct guest *g = &l->guest[i];

		if (!g->sock)
			continue;
		if (!all || time_before(g->since, all->since))
			all = g;
		if (!fzc_sock_same_host(g->sock, sock))
			continue;
		n++;
		if (!same || time_before(g->since, same->since))
			same = g;
	}
	return n >= PER_HOST ? same : all;
}

/* A place that @sock has now, or NULL: somebody was told to go. */
static struct guest *find_place(struct fzc_listener *l, struct fzc_sock *sock)
{
	struct guest *g = NULL, *leaves = NULL;
	u32 i, same = 0;

	spin_lock_irq(&l->lock);
	for (i = 0; i < GUESTS; i++) {
		struct guest *other = &l->guest[i];

		if (!other->busy)
			g = other;
		else if (other->sock)
			same += fzc_sock_same_host(other->sock, sock);
	}
	if (g && same < PER_HOST) {
		g->busy = true;
		g->sock = sock;
		g->since = jiffies;
	} else {
		g = NULL;
		leaves = oldest(l, sock);
		if (leaves)
			fzc_sock_stop(leaves->sock);
	}
	spin_unlock_irq(&l->lock);
	return g;
}

/* Who was told to go goes at once. */
static void receive_guest(struct fzc_listener *l, struct fzc_sock *sock)
{
	struct guest *g = NULL;

	wait_event_idle(l->wait, (g = find_place(l, sock)) || stopping(l));
	if (g)
		queue_work(l->wq, &g->work);
	else
		fzc_sock_release(sock);
}

/* The door */

static int accept_all(struct fzc_listener *l)
{
	struct fzc_secrets none = { };
	struct fzc_sock *sock;

	for (;;) {
		sock = fzc_sock_accept(l->sock);
		if (IS_ERR(sock))
			return PTR_ERR(sock);
		if (l->key)
			receive_guest(l, sock);
		else
			l->ops->arrived(l->ctx, sock, &none);
	}
}

static bool publish(struct fzc_listener *l, struct fzc_sock *sock)
{
	bool ok;

	spin_lock_irq(&l->lock);
	ok = !l->stopping;
	if (ok)
		l->sock = sock;
	spin_unlock_irq(&l->lock);
	if (!ok)
		fzc_sock_release(sock);
	return ok;
}

static void retract(struct fzc_listener *l)
{
	struct fzc_sock *sock = l->sock;

	spin_lock_irq(&l->lock);
	l->sock = NULL;
	spin_unlock_irq(&l->lock);
	fzc_sock_release(sock);
}

static int listen_once(struct fzc_listener *l)
{
	struct fzc_sock *sock = fzc_sock_create(l->addr, NULL);
	int err;

	if (IS_ERR(sock))
		return PTR_ERR(sock);
	if (!publish(l, sock))
		return -ESHUTDOWN;
	err = fzc_sock_listen(sock, l->addr);
	if (!err) {
		l->complained = 0;
		err = accept_all(l);
	}
	retract(l);
	return err;
}

static int listener_main(void *arg)
{
	unsigned int noio = memalloc_noio_save();
	struct fzc_listener *l = arg;

	while (!stopping(l)) {
		fzc_complain(l->name, "listen on", l->addr, listen_once(l), &l->complained);
		wait_event_idle_timeout(l->wait, stopping(l), RETRY);
	}
	memalloc_noio_restore(noio);
	return 0;
}

/* From without */

static int make_room(struct fzc_listener *l)
{
	int err = 0;
	u32 i;

	l->wq = alloc_workqueue("fzc-auth/%s", WQ_UNBOUND | WQ_MEM_RECLAIM, GUESTS, l->name);
	l->guest = kvcalloc(GUESTS, sizeof(*l->guest), GFP_KERNEL);
	if (!l->wq || !l->guest)
		return -ENOMEM;
	for (i = 0; i < GUESTS && !err; i++) {
		l->guest[i].listener = l;
		INIT_WORK(&l->guest[i].work, guest_work);
		err = fzc_handshake_init(&l->guest[i].hs);
	}
	return err;
}

struct fzc_listener *fzc_listener_create(const struct fzc_listener_ops *ops, void *ctx,
					 const struct fzc_addr *addr, struct fzc_key *key,
					 u8 ciphers, const char *name)
{
	struct fzc_listener *l = kzalloc(sizeof(*l), GFP_KERNEL);
	int err;

	if (!l)
		return ERR_PTR(-ENOMEM);
	l->ops = ops;
	l->ctx = ctx;
	l->addr = addr;
	l->key = key;
	l->ciphers = ciphers;
	l->name = name;
	spin_lock_init(&l->lock);
	init_waitqueue_head(&l->wait);
	err = key ? make_room(l) : 0;
	if (err) {
		fzc_listener_destroy(l);
		return ERR_PTR(err);
	}
	return l;
}

void fzc_listener_destroy(struct fzc_listener *l)
{
	u32 i;

	if (IS_ERR_OR_NULL(l))
		return;
	for (i = 0; l->guest && i < GUESTS; i++)
		fzc_handshake_exit(&l->guest[i].hs);
	if (l->wq)
		destroy_workqueue(l->wq);
	kvfree(l->guest);
	kfree(l);
}

int fzc_listener_start(struct fzc_listener *l)
{
	l->stopping = false;
	l->complained = 0;
	return fzc_thread_start(&l->task, listener_main, l, "accept", l->name);
}

static void stop_socks(struct fzc_listener *l)
{
	u32 i;

	spin_lock_irq(&l->lock);
	l->stopping = true;
	if (l->sock)
		fzc_sock_stop(l->sock);
	for (i = 0; l->guest && i < GUESTS; i++)
		if (l->guest[i].sock)
			fzc_sock_stop(l->guest[i].sock);
	spin_unlock_irq(&l->lock);
	wake_up_all(&l->wait);
}

void fzc_listener_stop(struct fzc_listener *l)
{
	if (!l || !l->task)
		return;
	stop_socks(l);
	fzc_thread_stop(&l->task);
	/* one that came in between */
	stop_socks(l);
	if (l->wq)
		flush_workqueue(l->wq);
}
