/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's crypto for a protected session: HMAC-SHA-256 for core/auth.h,
 * and one direction's records, each encrypted and authenticated in place.
 */
#ifndef FZC_CRYPT_H
#define FZC_CRYPT_H

#include "core/tags.h"

struct page;
struct fzc_crypt;
struct crypto_aead;
struct aead_request;
struct scatterlist;

#define FZC_CIPHERS	2
/* The largest record that does not lie in pages. */
#define FZC_MAX_RECORD	FZC_WIRE_TAGS

/* Both ciphers, each with a request: nothing is allocated or loaded when they are used. */
struct fzc_ciphers {
	struct crypto_aead *aead[FZC_CIPHERS];
	struct aead_request *req[FZC_CIPHERS];
};

/* @without: CRYPTO_ALG_... of the kernel's, that none of them may have. */
int fzc_ciphers_init(struct fzc_ciphers *c, u32 without);
void fzc_ciphers_exit(struct fzc_ciphers *c);
/* @cipher: enum fzc_cipher. */
static inline struct crypto_aead *fzc_cipher_aead(const struct fzc_ciphers *c, u8 cipher)
{
	return c->aead[cipher - FZC_CIPHER_AES_GCM];
}

/*
 * Encrypt @len bytes, or decrypt and verify them and their tag: from @in to @out, which
 * may be the same list; each begins with the @ad_len bytes that are authenticated only,
 * and has room for the tag behind.  The key is set.  -EBADMSG: it does not verify.  Sleeps.
 */
int fzc_cipher_run(const struct fzc_ciphers *c, u8 cipher, bool encrypt, struct scatterlist *in,
		   struct scatterlist *out, u32 ad_len, u32 len, u8 *nonce);

/* Allocates; may load modules.  -errno: -ENOENT if the kernel has none.  Sleep. */
int fzc_mac_init(struct fzc_hmac *hmac);
void fzc_mac_exit(struct fzc_hmac *hmac);

/*
 * Either cipher, on a few bytes: FZC_AEAD_SMALL at most with what is associated.  Works
 * at once, in the caller, and allocates nothing.  One thread at a time.
 */
#define FZC_AEAD_SMALL	128U
int fzc_aead_init(struct fzc_aead *aead);
void fzc_aead_exit(struct fzc_aead *aead);

/*
 * For sending if @seal, else for receiving.  Both ciphers are allocated, so
 * that a connection allocates nothing and loads nothing.  ERR_PTR.  Sleeps.
 */
struct fzc_crypt *fzc_crypt_create(bool seal);
void fzc_crypt_destroy(struct fzc_crypt *c);
/* Bits of the ciphers that are fast on this CPU, as struct fzc_auth wants them. */
u8 fzc_crypt_fast(const struct fzc_crypt *c);

/* A connection begins.  -errno.  Sleeps. */
int fzc_crypt_begin(struct fzc_crypt *c, u8 cipher, const u8 secret[FZC_KEY_BYTES]);

/*
 * One record, in place; -EBADMSG: it does not verify.  One thread at a time.
 * Sleep, and allocate nothing that waits for I/O if the caller does not.
 *
 * A small one, of FZC_MAX_RECORD bytes at most, lies in fzc_crypt_buf(), and its
 * tag right behind it; that of a large one is in fzc_crypt_buf() alone.
 */
void *fzc_crypt_buf(struct fzc_crypt *c);
int fzc_crypt_small(struct fzc_crypt *c, u32 len);
int fzc_crypt_pages(struct fzc_crypt *c, struct page **pages, u32 len);

#endif /* FZC_CRYPT_H */
