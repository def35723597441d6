// SPDX-License-Identifier: GPL-2.0-only
#include <linux/err.h>
#include <linux/string.h>

#include "conn.h"

int fzc_conn_init(struct fzc_conn *c)
{
	c->tx = fzc_crypt_create(true);
	c->rx = fzc_crypt_create(false);
	return PTR_ERR_OR_ZERO(c->tx) ?: PTR_ERR_OR_ZERO(c->rx);
}

void fzc_conn_exit(struct fzc_conn *c)
{
	fzc_crypt_destroy(c->tx);
	fzc_crypt_destroy(c->rx);
}

int fzc_conn_begin(struct fzc_conn *c, struct fzc_sock *sock, struct fzc_secrets *secrets)
{
	int err = 0;

	c->sock = sock;
	if (c->tx)
		err = fzc_crypt_begin(c->tx, secrets->cipher, secrets->tx) ?:
		      fzc_crypt_begin(c->rx, secrets->cipher, secrets->rx);
	memzero_explicit(secrets->tx, sizeof(secrets->tx));
	memzero_explicit(secrets->rx, sizeof(secrets->rx));
	return err;
}

u32 fzc_conn_bytes(const struct fzc_conn *c, u32 len)
{
	return len + (c->tx && len ? FZC_TAG_BYTES : 0);
}

int fzc_conn_send(struct fzc_conn *c, void *buf, u32 len, bool more)
{
	int err;

	if (!c->tx || !len)
		return fzc_sock_send(c->sock, buf, len, more);
	memcpy(fzc_crypt_buf(c->tx), buf, len);
	err = fzc_crypt_small(c->tx, len);
	return err ?: fzc_sock_send(c->sock, fzc_crypt_buf(c->tx), len + FZC_TAG_BYTES, more);
}

int fzc_conn_recv(struct fzc_conn *c, void *buf, u32 len, long timeout)
{
	int err;

	if (!c->rx || !len)
		return fzc_sock_recv(c->sock, buf, len, timeout);
	err = fzc_sock_recv(c->sock, fzc_crypt_buf(c->rx), len + FZC_TAG_BYTES, timeout) ?:
	      fzc_crypt_small(c->rx, len);
	if (!err)
		memcpy(buf, fzc_crypt_buf(c->rx), len);
	return err;
}

int fzc_conn_send_pages(struct fzc_conn *c, struct page **pages, u32 len, bool more)
{
	int err;

	if (!c->tx || !len)
		return fzc_sock_send_pages(c->sock, pages, len, more);
	err = fzc_crypt_pages(c->tx, pages, len) ?:
	      fzc_sock_send_pages(c->sock, pages, len, true);
	return err ?: fzc_sock_send(c->sock, fzc_crypt_buf(c->tx), FZC_TAG_BYTES, more);
}

int fzc_conn_recv_pages(struct fzc_conn *c, struct page **pages, u32 len, long timeout)
{
	int err = fzc_sock_recv_pages(c->sock, pages, len, timeout);

	if (err || !c->rx || !len)
		return err;
	return fzc_sock_recv(c->sock, fzc_crypt_buf(c->rx), FZC_TAG_BYTES, timeout) ?:
	       fzc_crypt_pages(c->rx, pages, len);
}
