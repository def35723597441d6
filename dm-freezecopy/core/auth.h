/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may talk to us: the proof of the shared key, and the keys and nonces of a
 * protected session.  Documentation/security.rst has the protocol and what it
 * does and does not give.
 *
 * The shell moves the messages and runs HMAC-SHA-256 and the AEAD; what is
 * proven to whom, and when a key or a nonce is used, is decided here.
 */
#ifndef FZC_AUTH_H
#define FZC_AUTH_H

#include "types.h"

#define FZC_KEYS		2U	/* the current one, and the one before it */
#ifndef FZC_REKEY_BYTES		/* tests want less */
#define FZC_REKEY_BYTES		(64ULL << 20)
#endif

/* HMAC-SHA-256 of the world around; 0 or -errno.  @ctx is the owner's own. */
struct fzc_hmac {
	int (*fn)(const struct fzc_hmac *hmac, const u8 *key, u32 key_len, const void *data,
		  u32 len, u8 out[FZC_KEY_BYTES]);
	void *ctx;
};

/*
 * The world's AEADs: @data in place, with @tag apart from it; 0, -EBADMSG when it
 * does not verify, or -errno.  @cipher: enum fzc_cipher.
 */
struct fzc_aead {
	int (*fn)(const struct fzc_aead *aead, u8 cipher, bool encrypt,
		  const u8 key[FZC_KEY_BYTES], const u8 nonce[FZC_NONCE_BYTES], const void *ad,
		  u32 ad_len, void *data, u32 len, u8 tag[FZC_TAG_BYTES]);
	void *ctx;
};

/* What the keyring has: key[0] is current; key[1] is valid until the peer has switched. */
struct fzc_keys {
	u32 n;
	u8 key[FZC_KEYS][FZC_KEY_BYTES];
};

enum fzc_cipher {
	FZC_CIPHER_AES_GCM = 1,		/* AES-256-GCM */
	FZC_CIPHER_CHACHA = 2,		/* ChaCha20-Poly1305 */
};

static inline bool fzc_cipher_known(u8 cipher)
{
	return cipher == FZC_CIPHER_AES_GCM || cipher == FZC_CIPHER_CHACHA;
}

/* One side's part in one handshake. */
struct fzc_auth {
	const struct fzc_hmac *hmac;
	struct fzc_keys keys;
	u8 role;		/* enum fzc_disk_role */
	u8 ciphers;		/* bits: 1 << enum fzc_cipher, that we would use */
	u8 step;		/* the message that comes or goes next; FZC_AUTH_DONE or _OVER */
	u8 cipher;		/* enum fzc_cipher, agreed on */
	u32 used;		/* index of the key agreed on */
	u8 id[FZC_KEYS][FZC_KEY_ID];
	struct fzc_auth_msg first;
	struct fzc_auth_msg second;	/* without its proof */
	u8 prk[FZC_KEY_BYTES];
};

#define FZC_AUTH_DONE	4
#define FZC_AUTH_OVER	5	/* a proof was wrong: nothing is said or taken any more */

/*
 * HKDF-Expand of RFC 5869 to 32 bytes: a key for @label alone, which tells the
 * project's own apart, and @context of @len bytes, at most
 * 2 * sizeof(struct fzc_auth_msg).  0 or -errno.
 */
int fzc_expand(const struct fzc_hmac *hmac, const u8 prk[FZC_KEY_BYTES], const char *label,
	       const void *context, u32 len, u8 out[FZC_KEY_BYTES]);
/* Identifies a key without telling it.  0 or -errno. */
int fzc_key_id(const struct fzc_hmac *hmac, const u8 key[FZC_KEY_BYTES], u8 id[FZC_KEY_ID]);
/* As text: 16 digits. */
void fzc_key_id_print(const u8 id[FZC_KEY_ID], char buf[2 * FZC_KEY_ID + 1]);

/* @nonce is fresh and random, @ciphers what this side does fast (0: all alike). */
int fzc_auth_begin(struct fzc_auth *a, const struct fzc_hmac *hmac, u8 role, u8 ciphers,
		   const struct fzc_keys *keys, const u8 nonce[FZC_AUTH_NONCE]);
/* True: @msg is to be sent next.  After that, or else, one is to be received. */
bool fzc_auth_next(struct fzc_auth *a, struct fzc_msg *msg);
/* A message came.  An error, with a reason, ends the connection. */
int fzc_auth_take(struct fzc_auth *a, const struct fzc_msg *msg, char *why);
/* When done: the secrets of what this side sends and receives. */
int fzc_auth_secrets(const struct fzc_auth *a, u8 tx[FZC_KEY_BYTES], u8 rx[FZC_KEY_BYTES]);
/* ...and what makes the nonces of its blocks unique; no secret. */
int fzc_auth_salt(const struct fzc_auth *a, u8 salt[FZC_SALT_BYTES]);
void fzc_auth_wipe(struct fzc_auth *a);

/*
 * One direction of a session: every record has a nonce of its own, by counting,
 * and the key is replaced, one way, after FZC_REKEY_BYTES at most.  Both sides
 * count the same records, so that no message says when.
 */
struct fzc_seal {
	const struct fzc_hmac *hmac;
	u8 secret[FZC_KEY_BYTES];
	u64 records;		/* under this key */
	u64 bytes;
};

/* @key: what the AEAD is to use from now on.  0 or -errno. */
int fzc_seal_begin(struct fzc_seal *s, const struct fzc_hmac *hmac,
		   const u8 secret[FZC_KEY_BYTES], u8 key[FZC_KEY_BYTES]);
/* The next record's nonce; 1: @key is to be used from this record on.  -errno. */
int fzc_seal_next(struct fzc_seal *s, u32 len, u8 nonce[FZC_NONCE_BYTES],
		  u8 key[FZC_KEY_BYTES]);

#endif /* FZC_AUTH_H */
