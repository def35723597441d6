/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel TCP: bytes in, bytes out.  Knows nothing of frames.
 *
 * All calls but the two of "Ending" sleep, as threads of ours: interruptibly,
 * so that they never count as hung, and are over at once when told to end.
 * A socket may be used by one thread that sends and one that receives.
 */
#ifndef FZC_SOCK_H
#define FZC_SOCK_H

#include <linux/types.h>
#include "core/args.h"

struct fzc_sock;
struct page;

/*
 * A socket of @addr's family, not connected, that sends as @tcp says (NULL: as the
 * system has it).  ERR_PTR;
 * -ENOENT, -EPERM: the kernel has no such congestion control, or not for the
 * caller.  If it is in a module that is not loaded this loads it, and waits for
 * user space; the module stays for as long as the socket.
 */
struct fzc_sock *fzc_sock_create(const struct fzc_addr *addr, const struct fzc_tcp *tcp);
void fzc_sock_release(struct fzc_sock *s);

int fzc_sock_connect(struct fzc_sock *s, const struct fzc_addr *addr, long timeout);
int fzc_sock_listen(struct fzc_sock *s, const struct fzc_addr *addr);
/* The next connection.  ERR_PTR; -ESHUTDOWN when told to end. */
struct fzc_sock *fzc_sock_accept(struct fzc_sock *s);

/*
 * All of it, or an error: -ESHUTDOWN when told to end, -ENOTCONN when the peer
 * has closed the connection.  @more: there is more to come at once.  @timeout,
 * in jiffies, is for all of a buffer; of pages, for every 16.
 */
int fzc_sock_send(struct fzc_sock *s, void *buf, u32 len, bool more);
int fzc_sock_send_pages(struct fzc_sock *s, struct page **pages, u32 len, bool more);
int fzc_sock_recv(struct fzc_sock *s, void *buf, u32 len, long timeout);
int fzc_sock_recv_pages(struct fzc_sock *s, struct page **pages, u32 len, long timeout);

/* Ending: any context, the socket must not be released meanwhile. */
void fzc_sock_stop_recv(struct fzc_sock *s);	/* connect, accept and receive end */
void fzc_sock_stop(struct fzc_sock *s);		/* sending, too */

/* Is there something to be received?  Any context. */
bool fzc_sock_readable(struct fzc_sock *s);
/* The place of what was sent last in the stream, and whether all up to it has arrived. */
u32 fzc_sock_mark(struct fzc_sock *s);
bool fzc_sock_arrived(struct fzc_sock *s, u32 mark);
/* Do the peers of both have the same address, whatever the port? */
bool fzc_sock_same_host(struct fzc_sock *a, struct fzc_sock *b);
/* The peer's address as text. */
void fzc_sock_peer(struct fzc_sock *s, char *buf, u32 len);

#endif /* FZC_SOCK_H */
