/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proof of the shared key on a new connection, before anything else is
 * parsed: moves the messages of core/auth.h over a socket.
 */
#ifndef FZC_HANDSHAKE_H
#define FZC_HANDSHAKE_H

#include "conn.h"
#include "core/wire.h"
#include "key.h"

#define FZC_HANDSHAKE_TIMEOUT	(5 * HZ)	/* for all of it */

/* What one needs; all of what an unknown peer sends lies in @buf. */
struct fzc_handshake {
	struct fzc_hmac hmac;
	struct fzc_auth auth;
	struct fzc_keys keys;
	struct fzc_msg msg;
	__le64 buf[(FZC_WIRE_HEAD + FZC_MAX_CTL) / 8];
	char why[FZC_REASON_LEN];
};

/* -errno.  Sleeps. */
int fzc_handshake_init(struct fzc_handshake *hs);
void fzc_handshake_exit(struct fzc_handshake *hs);
/*
 * @ciphers: bits of what is fast here.  On success @secrets is filled, for the
 * caller to wipe.  An error ends the connection; hs->why tells, and what we
 * found wrong was told to the peer.  Sleeps, interruptibly, until
 * FZC_HANDSHAKE_TIMEOUT at most or the socket is told to end (-ESHUTDOWN).
 */
int fzc_handshake_run(struct fzc_handshake *hs, struct fzc_sock *sock, u8 role,
		      struct fzc_key *key, u8 ciphers, struct fzc_secrets *secrets);

#endif /* FZC_HANDSHAKE_H */
