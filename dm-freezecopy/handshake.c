// SPDX-License-Identifier: GPL-2.0-only
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/string.h>

#include "core/ondisk.h"
#include "handshake.h"

int fzc_handshake_init(struct fzc_handshake *hs)
{
	return fzc_mac_init(&hs->hmac);
}

void fzc_handshake_exit(struct fzc_handshake *hs)
{
	fzc_mac_exit(&hs->hmac);
}

static int send(struct fzc_handshake *hs, struct fzc_sock *sock)
{
	return fzc_sock_send(sock, hs->buf, fzc_wire_put_msg(hs->buf, &hs->msg), false);
}

/* @until: jiffies. */
static int recv_part(struct fzc_sock *sock, void *buf, u32 len, unsigned long until)
{
	long left = until - jiffies;

	return len ? fzc_sock_recv(sock, buf, len, max(left, 1L)) : 0;
}

static int recv(struct fzc_handshake *hs, struct fzc_sock *sock, unsigned long until)
{
	struct fzc_frame f;
	int err = recv_part(sock, hs->buf, FZC_WIRE_HEAD, until) ?:
		  fzc_wire_parse_head(&f, hs->buf, NULL, hs->why);

	if (err)
		return err;
	if (f.type != FZC_MSG_AUTH && f.type != FZC_MSG_REFUSE) {
		scnprintf(hs->why, sizeof(hs->why),
			  "authentication: a frame of type %u, expected the proof of a key (type %u): the other side's table says auth none, expected the same key on both sides",
			  f.type, FZC_MSG_AUTH);
		return -EPROTO;
	}
	return recv_part(sock, hs->buf, f.length, until) ?:
	       fzc_wire_parse_msg(&hs->msg, &f, hs->buf, hs->why);
}

/* The peer's word, which nothing vouches for: only for people to read. */
static int turned_away(struct fzc_handshake *hs)
{
	scnprintf(hs->why, sizeof(hs->why),
		  "refused by the other side, which has proven nothing: %.190s", hs->msg.reason);
	return -ECONNREFUSED;
}

static int exchange(struct fzc_handshake *hs, struct fzc_sock *sock)
{
	unsigned long until = jiffies + FZC_HANDSHAKE_TIMEOUT;
	int err = 0;

	while (!err && hs->auth.step != FZC_AUTH_DONE) {
		if (fzc_auth_next(&hs->auth, &hs->msg)) {
			err = send(hs, sock);
			continue;
		}
		err = recv(hs, sock, until);
		if (!err)
			err = hs->msg.type == FZC_MSG_REFUSE ? turned_away(hs) :
			      fzc_auth_take(&hs->auth, &hs->msg, hs->why);
	}
	return err;
}

/* Tell the peer what is wrong, if that is what ended it. */
static void tell(struct fzc_handshake *hs, struct fzc_sock *sock, int err)
{
	if (err != -EPROTO && err != -EKEYREJECTED)
		return;
	memset(&hs->msg, 0, sizeof(hs->msg));
	hs->msg.type = FZC_MSG_REFUSE;
	strscpy(hs->msg.reason, hs->why, sizeof(hs->msg.reason));
	send(hs, sock);
}

static void explain(struct fzc_handshake *hs, int err)
{
	if (hs->why[0])
		return;
	if (err == -ETIMEDOUT)
		scnprintf(hs->why, sizeof(hs->why),
			  "authentication: nothing heard for %d seconds, expected the proof of a key",
			  FZC_HANDSHAKE_TIMEOUT / HZ);
	else if (err == -ENOTCONN)
		scnprintf(hs->why, sizeof(hs->why),
			  "authentication: closed by the other side, expected the proof of a key");
	else
		scnprintf(hs->why, sizeof(hs->why), "authentication: %pe", ERR_PTR(err));
}

int fzc_handshake_run(struct fzc_handshake *hs, struct fzc_sock *sock, u8 role,
		      struct fzc_key *key, u8 ciphers, struct fzc_secrets *secrets)
{
	u8 nonce[FZC_AUTH_NONCE];
	int err;

	hs->why[0] = 0;
	get_random_bytes(nonce, sizeof(nonce));
	err = fzc_key_read(key, &hs->keys, &secrets->print, hs->why) ?:
	      fzc_auth_begin(&hs->auth, &hs->hmac, role, ciphers, &hs->keys, nonce) ?:
	      exchange(hs, sock) ?:
	      fzc_auth_secrets(&hs->auth, secrets->tx, secrets->rx) ?:
	      fzc_auth_salt(&hs->auth, secrets->salt);
	if (!err) {
		secrets->cipher = hs->auth.cipher;
		memcpy(secrets->key, hs->auth.id[hs->auth.used], FZC_KEY_ID);
		if (!hs->auth.used)
			fzc_key_settle(key, secrets->print);
	} else {
		tell(hs, sock, err);
		explain(hs, err);
	}
	fzc_auth_wipe(&hs->auth);
	memzero_explicit(&hs->keys, sizeof(hs->keys));
	return err;
}
