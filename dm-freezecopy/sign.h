/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The shell of core/volkey.h: the kernel's ciphers, random numbers, and the shared
 * key, which may be replaced at any time.
 */
#ifndef FZC_SIGN_H
#define FZC_SIGN_H

#include "core/volkey.h"
#include "crypt.h"
#include "key.h"

struct fzc_sign {
	struct mutex lock;	/* protects @vk while the device runs; held for no I/O */
	struct fzc_volkey vk;
	struct fzc_hmac hmac;
	struct fzc_aead aead;
	u32 epoch;		/* of the shared key: counts its changes; from 1 */
};

/* Allocates, may load modules; ERR_PTR.  Sleep. */
struct fzc_sign *fzc_sign_create(void);
void fzc_sign_destroy(struct fzc_sign *s);

/*
 * Take the shared key as it is now: 1 if the current one is another than before, 0, or
 * -errno with a reason, and the one before stays.  Sleeps, allocates nothing.
 */
int fzc_sign_rekey(struct fzc_sign *s, struct fzc_key *key, char *why);

/*
 * Complete a page that is about to be written, see fzc_volkey_sign().  @keys are wiped.
 * In a worker of the device: sleeps, allocates nothing.  *@epoch: of the shared key
 * that a superblock's keys are wrapped with; 0: there are none in it.
 */
int fzc_sign_page(struct fzc_sign *s, struct fzc_volume_keys *keys, u8 dev, u64 offset,
		  struct fzc_page *page, u32 *epoch);

#endif /* FZC_SIGN_H */
