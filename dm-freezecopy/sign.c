// SPDX-License-Identifier: GPL-2.0-only
#include <linux/err.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "sign.h"

struct fzc_sign *fzc_sign_create(void)
{
	struct fzc_sign *s = kvzalloc(sizeof(*s), GFP_KERNEL);
	int err;

	if (!s)
		return ERR_PTR(-ENOMEM);
	mutex_init(&s->lock);
	err = fzc_mac_init(&s->hmac) ?: fzc_aead_init(&s->aead);
	if (err) {
		fzc_sign_destroy(s);
		return ERR_PTR(err);
	}
	return s;
}

void fzc_sign_destroy(struct fzc_sign *s)
{
	if (IS_ERR_OR_NULL(s))
		return;
	fzc_mac_exit(&s->hmac);
	fzc_aead_exit(&s->aead);
	kvfree_sensitive(s, sizeof(*s));
}

int fzc_sign_rekey(struct fzc_sign *s, struct fzc_key *key, char *why)
{
	u8 was[FZC_KEY_ID];
	struct fzc_keys keys;
	int err = fzc_key_keep(key, &keys, why);

	if (err)
		return err;
	mutex_lock(&s->lock);
	memcpy(was, s->vk.id[0], sizeof(was));
	err = fzc_volkey_init(&s->vk, &s->hmac, &s->aead, &keys);
	if (err)
		scnprintf(why, FZC_REASON_LEN, "key: nothing can be derived from it: error %d",
			  -err);
	else if (memcmp(was, s->vk.id[0], sizeof(was)))
		err = 1;
	s->epoch += err == 1;
	mutex_unlock(&s->lock);
	memzero_explicit(&keys, sizeof(keys));
	return err;
}

int fzc_sign_page(struct fzc_sign *s, struct fzc_volume_keys *keys, u8 dev, u64 offset,
		  struct fzc_page *page, u32 *epoch)
{
	bool super = le16_to_cpu(page->head.kind) == FZC_PAGE_SUPER;
	unsigned int noio = memalloc_noio_save();
	u8 nonce[FZC_NONCE_BYTES];
	int err;

	if (super)
		get_random_bytes(nonce, sizeof(nonce));
	mutex_lock(&s->lock);
	err = fzc_volkey_sign(&s->vk, keys, dev, offset, nonce, page);
	*epoch = super && page->head.features ? s->epoch : 0;
	mutex_unlock(&s->lock);
	memalloc_noio_restore(noio);
	memzero_explicit(keys, sizeof(*keys));
	return err;
}
