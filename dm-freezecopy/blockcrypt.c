// SPDX-License-Identifier: GPL-2.0-only
#include <crypto/aead.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "blockcrypt.h"
#include "crypt.h"

#define MAX_PAGES	(FZC_MAX_RUN_BYTES / PAGE_SIZE)

struct fzc_blockcrypt {
	struct fzc_hmac hmac;
	struct fzc_ciphers ciphers;
	bool keyed;
	struct fzc_tag last;		/* @keyed: its key is set */
	u8 stage_key[FZC_KEY_BYTES];	/* ...and was derived from this */
	struct scatterlist in[MAX_PAGES + 2];
	struct scatterlist out[MAX_PAGES + 2];
	/* DMA may reach them, so that nothing else shares their lines */
	u8 nonce[FZC_NONCE_BYTES] ____cacheline_aligned;
	u8 ad[FZC_TAG_AD] ____cacheline_aligned;
	u8 tag[FZC_TAG_BYTES] ____cacheline_aligned;
};

struct fzc_blockcrypt *fzc_blockcrypt_create(void)
{
	struct fzc_blockcrypt *bc = kzalloc(sizeof(*bc), GFP_KERNEL);
	int err;

	if (!bc)
		return ERR_PTR(-ENOMEM);
	err = fzc_mac_init(&bc->hmac) ?: fzc_ciphers_init(&bc->ciphers, 0);
	if (!err)
		return bc;
	fzc_blockcrypt_destroy(bc);
	return ERR_PTR(err);
}

void fzc_blockcrypt_destroy(struct fzc_blockcrypt *bc)
{
	if (IS_ERR_OR_NULL(bc))
		return;
	fzc_ciphers_exit(&bc->ciphers);
	fzc_mac_exit(&bc->hmac);
	kfree_sensitive(bc);
}

/* Blocks that follow one another have the same key, nearly always. */
static int set_key(struct fzc_blockcrypt *bc, const u8 *stage_key, const struct fzc_tag *tag)
{
	u8 key[FZC_KEY_BYTES];
	int err;

	if (bc->keyed && fzc_tag_same_key(&bc->last, tag) &&
	    !fzc_memneq(bc->stage_key, stage_key, FZC_KEY_BYTES))
		return 0;
	bc->keyed = false;
	err = fzc_tag_key(&bc->hmac, stage_key, tag, key) ?:
	      crypto_aead_setkey(fzc_cipher_aead(&bc->ciphers, tag->cipher), key, sizeof(key));
	memzero_explicit(key, sizeof(key));
	if (err)
		return err;
	bc->keyed = true;
	bc->last = *tag;
	memcpy(bc->stage_key, stage_key, FZC_KEY_BYTES);
	return 0;
}

/* What is authenticated only, the content, its tag. */
static void put_in(struct fzc_blockcrypt *bc, struct scatterlist *sg, struct page **pages, u32 len)
{
	u32 n = DIV_ROUND_UP(len, PAGE_SIZE), i;

	sg_init_table(sg, n + 2);
	sg_set_buf(&sg[0], bc->ad, sizeof(bc->ad));
	for (i = 0; i < n; i++, len -= PAGE_SIZE)
		sg_set_page(&sg[1 + i], pages[i], min_t(u32, len, PAGE_SIZE), 0);
	sg_set_buf(&sg[n + 1], bc->tag, sizeof(bc->tag));
}

static int crypt(struct fzc_blockcrypt *bc, const u8 *stage_key, const struct fzc_tag *tag,
		 u64 block, struct page **from, struct page **to, bool seal)
{
	unsigned int noio = memalloc_noio_save();
	u32 len = le32_to_cpu(tag->length);
	int err = set_key(bc, stage_key, tag);

	if (!err) {
		fzc_tag_nonce(tag, bc->nonce);
		fzc_tag_ad(tag, block, bc->ad);
		put_in(bc, bc->in, from, len);
		if (to != from)
			put_in(bc, bc->out, to, len);
		err = fzc_cipher_run(&bc->ciphers, tag->cipher, seal, bc->in,
				     to != from ? bc->out : bc->in, FZC_TAG_AD, len, bc->nonce);
	}
	memalloc_noio_restore(noio);
	return err;
}

int fzc_block_encrypt(struct fzc_blockcrypt *bc, const u8 stage_key[FZC_KEY_BYTES],
		      struct fzc_tag *tag, u64 block, struct page **pages)
{
	int err = crypt(bc, stage_key, tag, block, pages, pages, true);

	memcpy(tag->tag, bc->tag, FZC_TAG_BYTES);
	return err;
}

int fzc_block_decrypt(struct fzc_blockcrypt *bc, const u8 stage_key[FZC_KEY_BYTES],
		      const struct fzc_tag *tag, u64 block, struct page **from,
		      struct page **to)
{
	memcpy(bc->tag, tag->tag, FZC_TAG_BYTES);
	return crypt(bc, stage_key, tag, block, from, to, false);
}
