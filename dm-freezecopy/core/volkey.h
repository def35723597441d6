/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The keys of a volume: how they lie in the superblock, and what they prove of a
 * page of metadata.  Documentation/security.rst says what that gives and what not.
 *
 * The shared key wraps them, so that it can be replaced without writing anything
 * else anew.  The shell has the ciphers, the random numbers and the shared key.
 */
#ifndef FZC_VOLKEY_H
#define FZC_VOLKEY_H

#include "auth.h"
#include "ondisk.h"

struct fzc_volkey {
	const struct fzc_hmac *hmac;
	const struct fzc_aead *aead;
	u32 n;				/* shared keys that are known; the first is current */
	u8 id[FZC_KEYS][FZC_KEY_ID];
	u8 kek[FZC_KEYS][FZC_KEY_BYTES];	/* derived from them, to wrap with */
	struct fzc_page page;		/* a copy, while it is checked */
};

/*
 * None of these sleeps if the ciphers do not.  One call at a time on one @vk.
 * -errno of a cipher, or as said; @why holds FZC_REASON_LEN bytes.
 */

/* The shared keys, which are not kept: the caller wipes them.  Also when they have changed. */
int fzc_volkey_init(struct fzc_volkey *vk, const struct fzc_hmac *hmac,
		    const struct fzc_aead *aead, const struct fzc_keys *shared);
void fzc_volkey_wipe(struct fzc_volkey *vk);

/*
 * Complete a page that is about to be written to byte @offset of @dev (enum
 * fzc_dev_role): in a superblock @keys are wrapped with the current shared key and
 * @nonce, which is random and never used again; then the page is signed.  On an
 * error it must not be written.
 */
int fzc_volkey_sign(struct fzc_volkey *vk, const struct fzc_volume_keys *keys, u8 dev,
		    u64 offset, const u8 nonce[FZC_NONCE_BYTES], struct fzc_page *page);
/* A sound page that was read from there; -EBADMSG with a reason: it is not signed, or wrongly. */
int fzc_volkey_check(struct fzc_volkey *vk, const struct fzc_volume_keys *keys, u8 dev,
		     u64 offset, const struct fzc_page *page, char *why);
/*
 * The keys out of a sound superblock.  -EKEYREJECTED: they are wrapped with a shared
 * key that is not known; -EBADMSG: damaged or changed; -EINVAL: of another kind.
 */
int fzc_volkey_unwrap(const struct fzc_volkey *vk, const struct fzc_page *page,
		      struct fzc_volume_keys *keys, char *why);

#endif /* FZC_VOLKEY_H */
