/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection to the peer: threads that connect or accept, send and
 * receive.  Knows frames (core/wire.h), not what they mean.
 */
#ifndef FZC_LINK_H
#define FZC_LINK_H

#include <linux/list.h>
#include <linux/types.h>
#include "core/args.h"
#include "core/tags.h"
#include "key.h"

struct fzc_link;
struct page;

/* All are called from the link's threads, may sleep, and hold no lock of the link. */
struct fzc_link_ops {
	/*
	 * Secondary: may a new connection be talked to now (R15)?  Waits until
	 * all of the previous one has ended; -ESHUTDOWN when the link stops.
	 */
	int (*prepare)(void *ctx);
	void (*connected)(void *ctx);
	/* After this returns nothing of that connection is delivered any more. */
	void (*disconnected)(void *ctx, const char *why);
	/* An error drops the connection; the reason goes to fzc_link_drop() first. */
	int (*rx_msg)(void *ctx, const struct fzc_msg *msg);
	/*
	 * Secondary: the head of a DATA frame.  Returns where the payload goes:
	 * fills @pages with those for its blocks; link reads the payload into them,
	 * checks its checksum and calls rx_payload.  @tag: one a block, if they are
	 * encrypted; then each block begins where it would if none were compressed.
	 * May wait (back pressure).
	 */
	int (*rx_data)(void *ctx, const struct fzc_frame *f, const struct fzc_tag *tag,
		       struct page **pages, void **cookie);
	/* The payload is there (@err 0), or the connection failed in the middle of it. */
	int (*rx_payload)(void *ctx, void *cookie, int err);
	/*
	 * Before a frame is looked at: wait while the core holds the receiver.
	 * -ESHUTDOWN when the link stops.
	 */
	int (*rx_wait)(void *ctx);
	/* A connection came to nothing, since the peer did not prove the key, or refused us. */
	void (*refused)(void *ctx, const char *why);
	/* A queued DATA frame was handed to the socket or dropped: its pages are free again. */
	void (*tx_done)(void *ctx, void *cookie);
};

/* A DATA frame on its way out. */
struct fzc_tx {
	struct list_head list;
	struct fzc_frame frame;		/* payload_crc is filled in by the link */
	struct page **pages;		/* f->length bytes; NULL for zeroes */
	/* FZC_WIRE_ENCRYPTED: each block begins where it would if none were compressed */
	const u8 *stage_key;
	const u32 *packed;		/* bytes of each that is compressed, else 0 */
	u8 way;				/* ...how: FZC_WIRE_LZ4, FZC_WIRE_ZSTD */
	void *cookie;
};

struct fzc_link_stats {
	u64 tx_bytes;
	u64 rx_bytes;
	u64 last_contact;	/* ktime_get_real_seconds(), 0: never */
	bool connected;
	u8 cipher;		/* enum fzc_cipher, 0: in the clear; of the last connection */
	u8 key[FZC_KEY_ID];
};

/*
 * Create: allocates only, and loads the crypto it needs (-ENOENT: the kernel has
 * none).  What the pointers name must outlive the link.  @tcp: how the sockets
 * send.  @geo: what DATA heads are checked against.  @key: what both sides prove
 * before anything else, NULL: nothing is proven and nothing encrypted.  @primary:
 * connects to @addr, with backoff, for ever; else listens on it.  ERR_PTR.
 */
struct fzc_link *fzc_link_create(const struct fzc_link_ops *ops, void *ctx, bool primary,
				 const struct fzc_addr *addr, const struct fzc_tcp *tcp,
				 const struct fzc_geometry *geo, struct fzc_key *key,
				 const char *name);
void fzc_link_destroy(struct fzc_link *link);
/* Start the threads.  A listening address that cannot be bound is retried, and reported. */
int fzc_link_start(struct fzc_link *link);
/*
 * Ends the connection and joins all threads; disconnected has been called when
 * it returns.  Sleeps.
 */
void fzc_link_stop(struct fzc_link *link);

/*
 * Queue for sending, in call order.  Any context, may be called under the
 * core's spinlock.  Without a connection the message is dropped, and the data
 * frame is given back through tx_done.  Messages come from a preallocated
 * ring; when it is full the connection is dropped.
 */
void fzc_link_send_msg(struct fzc_link *link, const struct fzc_msg *msg);
void fzc_link_send_data(struct fzc_link *link, struct fzc_tx *tx);
/*
 * Whether what is sent can wait for others who want the processor: no later than
 * with its next frame the sender takes nice 10, or 0.  Any context.
 */
void fzc_link_background(struct fzc_link *link, bool background);
/* Ask for the connection to be dropped, e.g. with a reason for the log.  Any context. */
void fzc_link_drop(struct fzc_link *link, const char *why);
/*
 * DATA frames wait for an answer: drop the connection when they have arrived a
 * minute ago and nothing came but pings, as from a peer whose disk hangs.  For
 * a tick of about a second; may be called under the owner's lock.
 */
void fzc_link_await(struct fzc_link *link);
void fzc_link_stats(struct fzc_link *link, struct fzc_link_stats *stats);

#endif /* FZC_LINK_H */
