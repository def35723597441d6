/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A connection's bytes: in the clear, or as records that are encrypted and
 * authenticated.  A record is what one call sends or receives, and a tag.
 * The calls are those of sock.h, with the same contexts and errors; -EBADMSG: a
 * record does not verify.
 */
#ifndef FZC_CONN_H
#define FZC_CONN_H

#include "crypt.h"
#include "sock.h"

struct fzc_conn {
	struct fzc_sock *sock;
	struct fzc_crypt *tx;	/* NULL, as @rx: in the clear */
	struct fzc_crypt *rx;
};

/* What a handshake has agreed on. */
struct fzc_secrets {
	u8 cipher;		/* enum fzc_cipher; 0: none, the connection is in the clear */
	u8 key[FZC_KEY_ID];	/* id of the key that was proven */
	u64 print;		/* as fzc_key_read() had it */
	u8 tx[FZC_KEY_BYTES];
	u8 rx[FZC_KEY_BYTES];
	u8 salt[FZC_SALT_BYTES];	/* of the connection's blocks */
};

/* Allocate what a protected connection needs; -errno.  Sleeps. */
int fzc_conn_init(struct fzc_conn *c);
void fzc_conn_exit(struct fzc_conn *c);
/* A connection begins; what is secret of @secrets is wiped.  Sleeps. */
int fzc_conn_begin(struct fzc_conn *c, struct fzc_sock *sock, struct fzc_secrets *secrets);

/* Bytes of the wire that @len of a record take. */
u32 fzc_conn_bytes(const struct fzc_conn *c, u32 len);
/* @buf: FZC_MAX_RECORD bytes at most where the connection is protected. */
int fzc_conn_send(struct fzc_conn *c, void *buf, u32 len, bool more);
int fzc_conn_recv(struct fzc_conn *c, void *buf, u32 len, long timeout);
/* Encrypts in place: @pages are of no use after it. */
int fzc_conn_send_pages(struct fzc_conn *c, struct page **pages, u32 len, bool more);
int fzc_conn_recv_pages(struct fzc_conn *c, struct page **pages, u32 len, long timeout);

#endif /* FZC_CONN_H */
