// SPDX-License-Identifier: GPL-2.0-only
/*
 * DOC: threads of a link
 *
 * The manager gets a connection (the primary's dials, the secondary's waits
 * for one that the listener accepted), receives on it until it ends, and gets
 * the next.  The sender lives as long as the link and works off the queue; when
 * there is no connection it gives back what it finds there.  The listener
 * (listen.c) exists only on the secondary.
 *
 * A connection ends in this order: the state becomes CLOSING, so that nothing
 * more is queued; the sender gets a second to bring out the control frames that
 * were queued before (a REFUSE among them) and gives back the DATA frames; then
 * the socket is stopped, the queue runs empty, the owner is told, and the state
 * becomes DOWN.  DATA frames that come until then are kept aside (else an owner
 * that sends on at once what it gets back would keep the queue from running
 * empty) and given back then.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "blockcrypt.h"
#include "core/ondisk.h"
#include "io.h"
#include "link.h"
#include "listen.h"

#define CONNECT_TIMEOUT	(5 * HZ)
#define HELLO_TIMEOUT	(5 * HZ)	/* for the first frame of a connection */
#define SILENCE		(8 * HZ)	/* without a frame the connection is dropped */
#define PING_EVERY	(2 * HZ)
#define ANSWER_TIMEOUT	(60 * HZ)	/* for frames that have all arrived */
#define REPLACEABLE	(5 * HZ)	/* silent for that long, a new connection takes over */
#define DRAIN		HZ
#define BACKOFF_MIN	(HZ / 5)
#define BACKOFF_MAX	(5 * HZ)
#define STABLE		(5 * HZ)	/* a connection that lived that long resets the backoff */
#define BACKGROUND	10		/* nice: a tenth of a processor that others want */
#define RING		(64 + FZC_MAX_DAMAGED)	/* a secondary may NEED all of these at once */
#define MAX_PAGES	(FZC_MAX_RUN_BYTES / PAGE_SIZE)

enum link_state { LINK_DOWN, LINK_UP, LINK_CLOSING };

/* A control frame in the queue. */
struct ctl {
	struct fzc_tx tx;
	struct fzc_msg msg;
};

/* Of the blocks of one frame. */
struct tags {
	struct fzc_tag tag[FZC_MAX_RUN];
	struct fzc_wire_tag wire[FZC_MAX_RUN];
};

struct fzc_link {
	const struct fzc_link_ops *ops;
	void *ctx;
	bool primary;
	struct fzc_addr addr;
	const struct fzc_tcp *tcp;
	const struct fzc_geometry *geo;
	struct fzc_key *key;		/* NULL: in the clear */
	const char *name;

	/* Protects what follows up to @why.  May be taken under the owner's lock. */
	spinlock_t lock;
	struct list_head queue;		/* struct fzc_tx */
	struct list_head late;		/* struct fzc_tx that came while CLOSING */
	struct list_head free;		/* struct ctl, by tx.list */
	bool busy;			/* the sender holds a frame */
	bool stopping;
	u8 state;			/* enum link_state */
	struct fzc_sock *sock;		/* the manager's connection, or attempt */
	struct fzc_sock *next;		/* accepted, waits for the manager */
	struct fzc_secrets next_secrets;
	unsigned long heard;		/* jiffies */
	unsigned long owed;		/* jiffies: the peer has to answer since */
	u32 mark;			/* the end of the last DATA frame */
	char why[FZC_REASON_LEN];	/* the connection ends; empty: it does not */

	wait_queue_head_t wait;		/* for changes of the above */
	struct task_struct *manager;
	struct task_struct *sender;
	bool background;		/* the sender leaves the processor to others */
	struct fzc_listener *listener;	/* the secondary's */
	long backoff;			/* the manager's */
	int complained;			/* last error in connecting */

	atomic64_t tx_bytes;
	atomic64_t rx_bytes;
	atomic64_t last_contact;

	/* the manager's; the sender has @tx of @conn, and reads @secrets, while it is connected */
	struct fzc_conn conn;
	struct fzc_secrets secrets;
	struct fzc_handshake *hs;	/* the primary's */
	u8 cipher;			/* of this connection, or the last; for status */
	u8 key_id[FZC_KEY_ID];
	/* of encrypted blocks: the primary's sender's, the secondary's manager's; NULL: no key */
	struct tags *tags;
	struct fzc_blockcrypt *blockcrypt;	/* the primary's */
	struct page *pages[MAX_PAGES];
	struct fzc_msg msg;
	char reason[FZC_REASON_LEN];
	char reported[FZC_REASON_LEN];	/* the last @why in the log */
	__le64 rx_buf[FZC_MAX_CTL / 8];
	/* the sender's */
	__le64 tx_buf[(FZC_WIRE_HEAD + FZC_MAX_CTL) / 8];

	struct ctl ring[RING];
};

static bool stopping(struct fzc_link *link)
{
	return READ_ONCE(link->stopping);
}

/* The first reason counts.  The lock is held. */
static void set_why(struct fzc_link *link, const char *why)
{
	lockdep_assert_held(&link->lock);
	if (!link->why[0])
		strscpy(link->why, why, sizeof(link->why));
}

void fzc_link_drop(struct fzc_link *link, const char *why)
{
	unsigned long flags;

	spin_lock_irqsave(&link->lock, flags);
	if (link->state == LINK_UP) {
		set_why(link, why);
		fzc_sock_stop_recv(link->sock);
	}
	spin_unlock_irqrestore(&link->lock, flags);
}

void fzc_link_await(struct fzc_link *link)
{
	unsigned long flags;
	bool late = false;

	spin_lock_irqsave(&link->lock, flags);
	if (link->state == LINK_UP && !link->busy && fzc_sock_arrived(link->sock, link->mark))
		late = time_after(jiffies, link->owed + ANSWER_TIMEOUT);
	else	/* still on the way: that is TCP's to watch */
		link->owed = jiffies;
	spin_unlock_irqrestore(&link->lock, flags);
	if (late)
		fzc_link_drop(link, "frames arrived, and for 60 seconds came nothing but pings");
}

/* Nothing can be sent any more.  Told to end, somebody else knows the reason. */
static void broken(struct fzc_link *link, struct fzc_sock *sock, int err)
{
	char why[48];

	if (err != -ESHUTDOWN) {
		snprintf(why, sizeof(why), "sending failed: %pe", ERR_PTR(err));
		spin_lock_irq(&link->lock);
		set_why(link, why);
		spin_unlock_irq(&link->lock);
	}
	/* the manager does not release it while this thread is busy */
	fzc_sock_stop(sock);
}

void fzc_link_background(struct fzc_link *link, bool background)
{
	WRITE_ONCE(link->background, background);
}

/* The queue */

void fzc_link_send_data(struct fzc_link *link, struct fzc_tx *tx)
{
	unsigned long flags;

	spin_lock_irqsave(&link->lock, flags);
	list_add_tail(&tx->list, link->state == LINK_CLOSING ? &link->late : &link->queue);
	spin_unlock_irqrestore(&link->lock, flags);
	wake_up(&link->wait);
}

void fzc_link_send_msg(struct fzc_link *link, const struct fzc_msg *msg)
{
	struct ctl *ctl = NULL;
	unsigned long flags;

	spin_lock_irqsave(&link->lock, flags);
	if (link->state == LINK_UP) {
		ctl = list_first_entry_or_null(&link->free, struct ctl, tx.list);
		if (ctl) {
			ctl->msg = *msg;
			ctl->tx.frame.type = msg->type;
			list_move_tail(&ctl->tx.list, &link->queue);
		} else {
			set_why(link, "too many control frames wait to be sent");
			fzc_sock_stop_recv(link->sock);
		}
	}
	spin_unlock_irqrestore(&link->lock, flags);
	if (ctl)
		wake_up(&link->wait);
}

static bool is_data(const struct fzc_tx *tx)
{
	return tx->frame.type == FZC_MSG_DATA;
}

/*
 * Take the next frame off the queue; *@sock is where to send it, or NULL to
 * give it back.  Until put_tx() the socket stays.
 */
static struct fzc_tx *get_tx(struct fzc_link *link, struct fzc_sock **sock, bool *more)
{
	struct fzc_tx *tx;

	spin_lock_irq(&link->lock);
	tx = list_first_entry_or_null(&link->queue, struct fzc_tx, list);
	if (tx) {
		list_del(&tx->list);
		link->busy = true;
		*sock = link->state == LINK_UP || (link->state == LINK_CLOSING && !is_data(tx)) ?
			link->sock : NULL;
		*more = !list_empty(&link->queue);
	}
	spin_unlock_irq(&link->lock);
	return tx;
}

static void put_tx(struct fzc_link *link, struct fzc_tx *tx)
{
	bool data = is_data(tx);

	if (data)
		link->ops->tx_done(link->ctx, tx->cookie);
	spin_lock_irq(&link->lock);
	if (!data)
		list_add_tail(&tx->list, &link->free);
	link->busy = false;
	spin_unlock_irq(&link->lock);
	wake_up(&link->wait);
}

static bool tx_idle(struct fzc_link *link)
{
	bool idle;

	spin_lock_irq(&link->lock);
	idle = !link->busy && list_empty(&link->queue);
	spin_unlock_irq(&link->lock);
	return idle;
}

/* The sender */

/* @bytes of the wire follow that belong to it. */
static int transmit_head(struct fzc_link *link, u32 bytes, bool more)
{
	int err = fzc_conn_send(&link->conn, link->tx_buf, FZC_WIRE_HEAD, bytes || more);

	if (!err)
		atomic64_add(fzc_conn_bytes(&link->conn, FZC_WIRE_HEAD) + bytes, &link->tx_bytes);
	return err;
}

static int transmit_plain(struct fzc_link *link, struct fzc_tx *tx, bool more)
{
	struct fzc_frame *f = &tx->frame;

	f->payload_crc = fzc_io_crc(tx->pages, f->length);
	fzc_wire_put_head(link->tx_buf, f);
	return transmit_head(link, fzc_conn_bytes(&link->conn, f->length), more) ?:
	       fzc_conn_send_pages(&link->conn, tx->pages, f->length, more);
}

static u32 pages_per_block(const struct fzc_link *link)
{
	return link->geo->block_size / PAGE_SIZE;
}

/* Embodiment 4: once, for the wire and the stage. */
static int encrypt_blocks(struct fzc_link *link, struct fzc_tx *tx)
{
	const struct fzc_frame *f = &tx->frame;
	u32 i;
	int err = 0;

	for (i = 0; i < f->n && !err; i++) {
		u32 packed = tx->packed ? tx->packed[i] : 0;
		u32 length = packed ?: fzc_wire_data_length(link->geo, f->first + i, 1, 0);
		struct fzc_tag *tag = &link->tags->tag[i];

		fzc_tag_init(tag, link->secrets.salt, link->secrets.cipher, f->frame, i, length,
			     packed ? tx->way : 0);
		err = fzc_block_encrypt(link->blockcrypt, tx->stage_key, tag, f->first + i,
					tx->pages + i * pages_per_block(link));
		fzc_wire_put_tag(&link->tags->wire[i], tag);
		cond_resched();
	}
	return err;
}

static int transmit_blocks(struct fzc_link *link, struct fzc_tx *tx, bool more)
{
	u32 n = tx->frame.n, i, span, bytes;
	int err = 0;

	for (i = 0; i < n && !err; i += span) {
		span = fzc_tag_span(&link->tags->tag[i], n - i, link->geo->block_size, &bytes);
		err = fzc_sock_send_pages(link->conn.sock, tx->pages + i * pages_per_block(link),
					  bytes, more || i + span < n);
	}
	return err;
}

/* The head and the tags are records of the connection; the blocks have their tags. */
static int transmit_encrypted(struct fzc_link *link, struct fzc_tx *tx, bool more)
{
	u32 tags = tx->frame.n * sizeof(struct fzc_wire_tag);
	int err = encrypt_blocks(link, tx);

	if (err)
		return err;
	fzc_wire_put_head(link->tx_buf, &tx->frame);
	return transmit_head(link, fzc_conn_bytes(&link->conn, tags) + tx->frame.length, more) ?:
	       fzc_conn_send(&link->conn, link->tags->wire, tags, true) ?:
	       transmit_blocks(link, tx, more);
}

static int transmit_data(struct fzc_link *link, struct fzc_tx *tx, bool more)
{
	int err = tx->frame.flags & FZC_WIRE_ENCRYPTED ? transmit_encrypted(link, tx, more) :
							 transmit_plain(link, tx, more);

	if (err)
		return err;
	spin_lock_irq(&link->lock);
	link->mark = fzc_sock_mark(link->conn.sock);
	link->owed = jiffies;
	spin_unlock_irq(&link->lock);
	return 0;
}

static int transmit_msg(struct fzc_link *link, struct fzc_tx *tx, bool more)
{
	struct ctl *ctl = container_of(tx, struct ctl, tx);
	u32 length = fzc_wire_put_msg(link->tx_buf, &ctl->msg) - FZC_WIRE_HEAD;

	return transmit_head(link, fzc_conn_bytes(&link->conn, length), more) ?:
	       fzc_conn_send(&link->conn, (u8 *)link->tx_buf + FZC_WIRE_HEAD, length, more);
}

/* Send one frame, or give it back; false: there is none. */
static bool send_next(struct fzc_link *link)
{
	struct fzc_sock *sock;
	struct fzc_tx *tx;
	bool more;
	int err = 0;

	tx = get_tx(link, &sock, &more);
	if (!tx)
		return false;
	if (sock)
		err = is_data(tx) ? transmit_data(link, tx, more) :
				    transmit_msg(link, tx, more);
	if (err)
		broken(link, sock, err);
	put_tx(link, tx);
	return true;
}

/* Once a change, so that what an administrator gives it stays. */
static bool take_priority(struct fzc_link *link, bool background)
{
	bool wanted = READ_ONCE(link->background);

	if (wanted != background)
		set_user_nice(current, wanted ? BACKGROUND : 0);
	return wanted;
}

static int sender_main(void *arg)
{
	static const struct fzc_msg ping = { .type = FZC_MSG_PING };
	unsigned int noio = memalloc_noio_save();
	struct fzc_link *link = arg;
	bool background = false;

	while (!kthread_should_stop()) {
		background = take_priority(link, background);
		if (send_next(link))
			cond_resched();
		else if (!wait_event_idle_timeout(link->wait,
						  !tx_idle(link) || kthread_should_stop(),
						  PING_EVERY))
			fzc_link_send_msg(link, &ping);
	}
	memalloc_noio_restore(noio);
	return 0;
}

/* The manager: receiving */

static void heard(struct fzc_link *link, u32 bytes)
{
	WRITE_ONCE(link->heard, jiffies);
	atomic64_add(bytes, &link->rx_bytes);
	atomic64_set(&link->last_contact, ktime_get_real_seconds());
}

static void answered(struct fzc_link *link)
{
	spin_lock_irq(&link->lock);
	link->owed = jiffies;
	spin_unlock_irq(&link->lock);
}

/* Drop the connection because of what came; returns @err. */
static int refuse(struct fzc_link *link, int err, const char *why)
{
	if (!err || err == -ESHUTDOWN)
		return err;
	if (!why)
		snprintf(link->reason, sizeof(link->reason), "frame refused: %pe", ERR_PTR(err));
	fzc_link_drop(link, why ? why : link->reason);
	return err;
}

static int wait_for_owner(struct fzc_link *link)
{
	return link->ops->rx_wait ? link->ops->rx_wait(link->ctx) : 0;
}

/* It came, and is not what the peer's key has made: that is not the same as a bad line. */
static int verified(struct fzc_link *link, int err)
{
	return err != -EBADMSG ? err :
	       refuse(link, err,
		      "frame: its tag, expected that of the session's key: forged or damaged on the way");
}

static int receive_plain(struct fzc_link *link, const struct fzc_frame *f)
{
	int err = fzc_conn_recv_pages(&link->conn, link->pages, f->length, SILENCE);

	if (err)
		return verified(link, err);
	heard(link, fzc_conn_bytes(&link->conn, f->length));
	if (fzc_io_crc(link->pages, f->length) != f->payload_crc)
		return refuse(link, -EBADMSG, "frame: payload_crc, expected that of the payload");
	return 0;
}

static int receive_tags(struct fzc_link *link, const struct fzc_frame *f)
{
	u32 len = f->n * sizeof(struct fzc_wire_tag);
	int err;

	if (!link->tags)
		return refuse(link, -EPROTO,
			      "frame: encrypted blocks, expected none: there is no key");
	err = fzc_conn_recv(&link->conn, link->tags->wire, len, SILENCE);
	if (err)
		return verified(link, err);
	heard(link, fzc_conn_bytes(&link->conn, len));
	err = fzc_wire_parse_tags(link->tags->tag, link->tags->wire, f, link->geo,
				  link->secrets.salt, link->secrets.cipher, link->reason);
	return refuse(link, err, link->reason);
}

/* What they are is for their tags to say, and for the owner to look at. */
static int receive_blocks(struct fzc_link *link, const struct fzc_frame *f)
{
	u32 i, span, bytes;
	int err = 0;

	for (i = 0; i < f->n && !err; i += span) {
		span = fzc_tag_span(&link->tags->tag[i], f->n - i, link->geo->block_size, &bytes);
		err = fzc_sock_recv_pages(link->conn.sock, link->pages + i * pages_per_block(link),
					  bytes, SILENCE);
		if (!err)
			heard(link, bytes);
	}
	return err;
}

static int receive_data(struct fzc_link *link, const struct fzc_frame *f)
{
	bool encrypted = f->flags & FZC_WIRE_ENCRYPTED;
	void *cookie;
	int err, taken;

	err = wait_for_owner(link);
	if (!err && encrypted)
		err = receive_tags(link, f);
	if (!err)
		err = link->ops->rx_data(link->ctx, f, encrypted ? link->tags->tag : NULL,
					 link->pages, &cookie);
	if (err)
		return refuse(link, err, NULL);
	err = encrypted ? receive_blocks(link, f) : receive_plain(link, f);
	taken = link->ops->rx_payload(link->ctx, cookie, err);
	return err ? err : refuse(link, taken, NULL);
}

/* The peer has a key and this side has none, or has proven it already. */
static int refuse_auth(struct fzc_link *link)
{
	static const struct fzc_msg msg = {
		.type = FZC_MSG_REFUSE,
		.reason =
		"authentication: the proof of a key, expected none: the table here says auth none, expected the same key on both sides",
	};

	fzc_link_send_msg(link, &msg);
	link->ops->refused(link->ctx, msg.reason);
	return refuse(link, -EPROTO, msg.reason);
}

static int receive_msg(struct fzc_link *link, const struct fzc_frame *f, bool first)
{
	int err = fzc_conn_recv(&link->conn, link->rx_buf, f->length, SILENCE);

	if (err)
		return verified(link, err);
	heard(link, fzc_conn_bytes(&link->conn, f->length));
	err = fzc_wire_parse_msg(&link->msg, f, link->rx_buf, link->reason);
	if (err)
		return refuse(link, err, link->reason);
	if (f->type == FZC_MSG_PING && !first)
		return 0;
	/* else a stranger who says nothing but this would keep the only connection */
	if (f->type == FZC_MSG_PING && !link->primary)
		return refuse(link, -EPROTO, "frame: a ping, expected a hello first");
	if (f->type == FZC_MSG_AUTH)
		return refuse_auth(link);
	answered(link);
	err = wait_for_owner(link);
	if (!err)
		err = link->ops->rx_msg(link->ctx, &link->msg);
	return refuse(link, err, NULL);
}

static int receive_frame(struct fzc_link *link, bool first)
{
	struct fzc_frame f;
	int err;

	err = fzc_conn_recv(&link->conn, link->rx_buf, FZC_WIRE_HEAD,
			    first ? HELLO_TIMEOUT : SILENCE);
	if (err)
		return verified(link, err);
	heard(link, fzc_conn_bytes(&link->conn, FZC_WIRE_HEAD));
	err = link->key ? fzc_key_check(link->key, link->secrets.print, link->reason) : 0;
	if (err)
		return refuse(link, err, link->reason);
	err = fzc_wire_parse_head(&f, link->rx_buf, link->primary ? NULL : link->geo,
				  link->reason);
	if (err)
		return refuse(link, err, link->reason);
	return f.type == FZC_MSG_DATA ? receive_data(link, &f) : receive_msg(link, &f, first);
}

static int receive(struct fzc_link *link)
{
	int err = receive_frame(link, true);

	while (!err) {
		cond_resched();
		err = receive_frame(link, false);
	}
	return err;
}

/* The manager: one connection */

static void begin(struct fzc_link *link)
{
	/* what was queued after the previous connection is not for this one */
	wait_event_idle(link->wait, tx_idle(link));
	spin_lock_irq(&link->lock);
	link->why[0] = 0;
	link->heard = jiffies;
	link->owed = jiffies;
	link->mark = fzc_sock_mark(link->sock);
	link->state = LINK_UP;
	spin_unlock_irq(&link->lock);
}

static void end(struct fzc_link *link, int err)
{
	char why[64];

	if (err == -ETIMEDOUT)
		snprintf(why, sizeof(why), "nothing heard from the peer");
	else if (err == -ENOTCONN)
		snprintf(why, sizeof(why), "closed by the peer");
	else if (err == -ESHUTDOWN)
		snprintf(why, sizeof(why), "stopped");
	else
		snprintf(why, sizeof(why), "receiving failed: %pe", ERR_PTR(err));
	spin_lock_irq(&link->lock);
	set_why(link, why);
	link->state = LINK_CLOSING;
	spin_unlock_irq(&link->lock);
	if (!wait_event_idle_timeout(link->wait, tx_idle(link), DRAIN))
		fzc_sock_stop(link->sock);
	wait_event_idle(link->wait, tx_idle(link));
}

static void ended(struct fzc_link *link)
{
	spin_lock_irq(&link->lock);
	link->state = LINK_DOWN;
	list_splice_tail_init(&link->late, &link->queue);
	spin_unlock_irq(&link->lock);
	wake_up(&link->wait);
}

/* A peer that refuses us will do so at every attempt: once a reason. */
static void report(struct fzc_link *link, const char *peer, bool stable)
{
	if (!stable && !strcmp(link->reported, link->why))
		return;
	strscpy(link->reported, link->why, sizeof(link->reported));
	pr_info_ratelimited("%s: connection to %s ended: %s\n", link->name, peer, link->why);
}

static void note_secrets(struct fzc_link *link)
{
	WRITE_ONCE(link->cipher, link->secrets.cipher);
	memcpy(link->key_id, link->secrets.key, FZC_KEY_ID);
}

static void talk(struct fzc_link *link)
{
	unsigned long since = jiffies;
	char peer[64];
	bool stable;

	fzc_sock_peer(link->sock, peer, sizeof(peer));
	note_secrets(link);
	if (fzc_conn_begin(&link->conn, link->sock, &link->secrets))
		return;
	if (link->ops->prepare && link->ops->prepare(link->ctx))
		return;
	begin(link);
	link->ops->connected(link->ctx);
	end(link, receive(link));
	stable = time_after(jiffies, since + STABLE);
	if (stable)
		link->backoff = 0;
	report(link, peer, stable);
	link->ops->disconnected(link->ctx, link->why);
	ended(link);
}

/* Let fzc_link_stop() know of a socket that a thread is going to wait for. */
static bool publish(struct fzc_link *link, struct fzc_sock *sock)
{
	bool ok;

	spin_lock_irq(&link->lock);
	ok = !link->stopping;
	if (ok) {
		link->sock = sock;
		link->heard = jiffies;
	}
	spin_unlock_irq(&link->lock);
	if (!ok)
		fzc_sock_release(sock);
	return ok;
}

static void retract(struct fzc_link *link, struct fzc_sock **place)
{
	struct fzc_sock *sock;

	spin_lock_irq(&link->lock);
	sock = *place;
	*place = NULL;
	spin_unlock_irq(&link->lock);
	if (sock)
		fzc_sock_release(sock);
}

/* Primary: it came to nothing, and trying again will not help by itself. */
static void unproven(struct fzc_link *link, const char *why)
{
	char addr[64];

	fzc_addr_print(&link->addr, addr, sizeof(addr));
	strscpy(link->why, why, sizeof(link->why));
	report(link, addr, false);
	link->ops->refused(link->ctx, why);
}

/* Primary: both sides prove the key, if there is one. */
static bool prove(struct fzc_link *link)
{
	int err = link->key ? fzc_handshake_run(link->hs, link->sock, FZC_PRIMARY, link->key,
						fzc_crypt_fast(link->conn.tx), &link->secrets) : 0;

	if (!err)
		return true;
	if (err != -ESHUTDOWN)
		unproven(link, link->hs->why);
	retract(link, &link->sock);
	return false;
}

/* Primary: connect, or wait a while. */
static bool dial(struct fzc_link *link)
{
	struct fzc_sock *sock;
	int err;

	wait_event_idle_timeout(link->wait, stopping(link), link->backoff);
	link->backoff = clamp(2 * link->backoff, (long)BACKOFF_MIN, (long)BACKOFF_MAX);
	if (link->key && fzc_key_valid(link->key, link->reason)) {
		unproven(link, link->reason);
		return false;
	}
	sock = fzc_sock_create(&link->addr, link->tcp);
	if (IS_ERR(sock)) {
		fzc_complain(link->name, "open a socket for", &link->addr, PTR_ERR(sock),
			     &link->complained);
		return false;
	}
	if (!publish(link, sock))
		return false;
	err = fzc_sock_connect(sock, &link->addr, CONNECT_TIMEOUT);
	if (err) {
		fzc_complain(link->name, "connect to", &link->addr, err, &link->complained);
		retract(link, &link->sock);
		return false;
	}
	link->complained = 0;
	return prove(link);
}

/* Secondary: wait for what the listener accepts. */
static bool answer(struct fzc_link *link)
{
	wait_event_idle(link->wait, stopping(link) || READ_ONCE(link->next));
	spin_lock_irq(&link->lock);
	if (!link->stopping) {
		link->sock = link->next;
		link->next = NULL;
		link->secrets = link->next_secrets;
		memzero_explicit(&link->next_secrets, sizeof(link->next_secrets));
		link->heard = jiffies;
	}
	spin_unlock_irq(&link->lock);
	return link->sock;
}

static int manager_main(void *arg)
{
	unsigned int noio = memalloc_noio_save();
	struct fzc_link *link = arg;

	while (!stopping(link)) {
		if (link->primary ? dial(link) : answer(link)) {
			talk(link);
			retract(link, &link->sock);
		}
	}
	memalloc_noio_restore(noio);
	return 0;
}

/* The secondary's door */

/* Is the connection that there is dead, as far as one can tell?  The lock is held. */
static bool silent(struct fzc_link *link)
{
	lockdep_assert_held(&link->lock);
	return time_after(jiffies, READ_ONCE(link->heard) + REPLACEABLE) &&
	       !fzc_sock_readable(link->sock);
}

/* A peer came.  It waits for its turn, or is closed. */
static void arrived(void *ctx, struct fzc_sock *sock, const struct fzc_secrets *secrets)
{
	struct fzc_link *link = ctx;
	struct fzc_sock *closed = sock;

	spin_lock_irq(&link->lock);
	if (!link->stopping && (!link->sock || silent(link))) {
		if (link->sock) {
			set_why(link, "silent, and the peer has connected anew");
			fzc_sock_stop(link->sock);
		}
		closed = link->next;
		link->next = sock;
		link->next_secrets = *secrets;
	}
	spin_unlock_irq(&link->lock);
	wake_up(&link->wait);
	if (closed)
		fzc_sock_release(closed);
}

/* Somebody tried.  For the log, and for the owner to show. */
static void not_proven(void *ctx, const char *why)
{
	struct fzc_link *link = ctx;

	pr_info_ratelimited("%s: connection refused: %s\n", link->name, why);
	link->ops->refused(link->ctx, why);
}

static const struct fzc_listener_ops listener_ops = {
	.arrived = arrived,
	.refused = not_proven,
};

/* From without */

/* What a protected connection needs is there before there is one. */
static int create_parts(struct fzc_link *link)
{
	int err = 0;

	if (link->key) {
		link->tags = kvzalloc(sizeof(*link->tags), GFP_KERNEL);
		err = link->tags ? fzc_conn_init(&link->conn) : -ENOMEM;
	}
	if (!err && link->key && link->primary) {
		link->blockcrypt = fzc_blockcrypt_create();
		err = PTR_ERR_OR_ZERO(link->blockcrypt);
	}
	if (!err && link->key && link->primary) {
		link->hs = kzalloc(sizeof(*link->hs), GFP_KERNEL);
		err = link->hs ? fzc_handshake_init(link->hs) : -ENOMEM;
	}
	if (!err && !link->primary) {
		link->listener = fzc_listener_create(&listener_ops, link, &link->addr, link->key,
						     link->key ? fzc_crypt_fast(link->conn.tx) : 0,
						     link->name);
		err = PTR_ERR_OR_ZERO(link->listener);
	}
	return err;
}

struct fzc_link *fzc_link_create(const struct fzc_link_ops *ops, void *ctx, bool primary,
				 const struct fzc_addr *addr, const struct fzc_tcp *tcp,
				 const struct fzc_geometry *geo, struct fzc_key *key,
				 const char *name)
{
	struct fzc_link *link = kvzalloc(sizeof(*link), GFP_KERNEL);
	int err;
	u32 i;

	if (!link)
		return ERR_PTR(-ENOMEM);
	link->ops = ops;
	link->ctx = ctx;
	link->primary = primary;
	link->addr = *addr;
	link->tcp = tcp;
	link->geo = geo;
	link->key = key;
	link->name = name;
	spin_lock_init(&link->lock);
	init_waitqueue_head(&link->wait);
	INIT_LIST_HEAD(&link->queue);
	INIT_LIST_HEAD(&link->late);
	INIT_LIST_HEAD(&link->free);
	for (i = 0; i < RING; i++)
		list_add_tail(&link->ring[i].tx.list, &link->free);
	err = create_parts(link);
	if (err) {
		fzc_link_destroy(link);
		return ERR_PTR(err);
	}
	return link;
}

void fzc_link_destroy(struct fzc_link *link)
{
	if (IS_ERR_OR_NULL(link))
		return;
	/* the sender is gone: what was queued since then is given back here */
	while (send_next(link))
		;
	fzc_listener_destroy(link->listener);
	if (link->hs)
		fzc_handshake_exit(link->hs);
	kfree(link->hs);
	fzc_conn_exit(&link->conn);
	fzc_blockcrypt_destroy(link->blockcrypt);
	kvfree(link->tags);
	kvfree_sensitive(link, sizeof(*link));
}

int fzc_link_start(struct fzc_link *link)
{
	int err;

	link->stopping = false;
	link->backoff = 0;
	link->complained = 0;
	err = fzc_thread_start(&link->sender, sender_main, link, "send", link->name);
	if (!err)
		err = fzc_thread_start(&link->manager, manager_main, link, "link", link->name);
	if (!err && !link->primary)
		err = fzc_listener_start(link->listener);
	if (err)
		fzc_link_stop(link);
	return err;
}

void fzc_link_stop(struct fzc_link *link)
{
	spin_lock_irq(&link->lock);
	link->stopping = true;
	if (link->sock)
		fzc_sock_stop(link->sock);
	spin_unlock_irq(&link->lock);
	wake_up_all(&link->wait);
	fzc_listener_stop(link->listener);
	fzc_thread_stop(&link->manager);
	fzc_thread_stop(&link->sender);
	retract(link, &link->next);
	while (send_next(link))
		;
}

void fzc_link_stats(struct fzc_link *link, struct fzc_link_stats *stats)
{
	stats->tx_bytes = atomic64_read(&link->tx_bytes);
	stats->rx_bytes = atomic64_read(&link->rx_bytes);
	stats->last_contact = atomic64_read(&link->last_contact);
	stats->connected = READ_ONCE(link->state) == LINK_UP;
	stats->cipher = READ_ONCE(link->cipher);
	memcpy(stats->key, link->key_id, sizeof(stats->key));
}
