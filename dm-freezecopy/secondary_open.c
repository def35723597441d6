// SPDX-License-Identifier: GPL-2.0-only
#include <linux/err.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "secondary.h"

static u32 pages_of_block(const struct fzc_dev *dev)
{
	return dev->geo.block_size / PAGE_SIZE;
}

static void stage_key(struct fzc_secondary *sec, u8 key[FZC_KEY_BYTES])
{
	unsigned long flags;

	spin_lock_irqsave(&sec->dev.lock, flags);
	memcpy(key, sec->core.sb.keys.stage, FZC_KEY_BYTES);
	spin_unlock_irqrestore(&sec->dev.lock, flags);
}

/* ---- what comes ---- */

/* The rest of the last page in use, and those behind it: nothing old gets to the disk. */
static void clear_rest(struct page **pages, u32 length, u32 bytes)
{
	u32 i = length / PAGE_SIZE, at = length % PAGE_SIZE;

	for (; i < DIV_ROUND_UP(bytes, PAGE_SIZE); i++, at = 0)
		memset(page_address(pages[i]) + at, 0, PAGE_SIZE - at);
}

/* Can it be opened?  What it is then is of no interest. */
static int try_block(struct fzc_secondary *sec, const u8 *key, const struct fzc_tag *tag,
		     u64 block, struct page **pages)
{
	struct page **scratch = sec->open->scratch;
	int err = fzc_block_decrypt(sec->open->checker, key, tag, block, pages, scratch);

	if (err || !tag->packed)
		return err;
	return fzc_decompress(sec->decompressor, tag->packed, scratch, le32_to_cpu(tag->length),
			      fzc_dev_block_bytes(&sec->dev, block));
}

int fzc_secondary_check(struct fzc_secondary *sec, struct fzc_recv *r, u64 *block)
{
	struct fzc_dev *dev = &sec->dev;
	u8 key[FZC_KEY_BYTES];
	int err = 0;
	u32 i;

	stage_key(sec, key);
	for (i = 0; i < r->rx->n && !err; i++) {
		struct page **pages = &r->page[i * pages_of_block(dev)];

		*block = r->rx->first + i;
		err = try_block(sec, key, &r->tag[i], *block, pages);
		clear_rest(pages, le32_to_cpu(r->tag[i].length), fzc_dev_block_bytes(dev, *block));
		cond_resched();
	}
	memzero_explicit(key, sizeof(key));
	return err;
}

int fzc_secondary_note(struct fzc_secondary *sec, struct fzc_recv *r, u8 which)
{
	int err = 0;
	u32 i;

	for (i = 0; i < r->rx->n && !err; i++)
		err = fzc_tagstore_put(&sec->open->tags, which, r->slot[i], &r->tag[i]);
	return err;
}

int fzc_secondary_write_tags(struct fzc_dev *dev)
{
	return fzc_tagstore_write(&fzc_secondary_of(dev)->open->tags);
}

/* ---- what is used ---- */

/*
 * The index's checksum covers what is behind the ciphertext, the tag does not: with a free
 * choice there, an older content of the block could be given the newest one's checksum.
 */
static bool rest_is_clear(struct page **pages, u32 length, u32 bytes)
{
	u32 i = length / PAGE_SIZE, at = length % PAGE_SIZE;

	for (; i < DIV_ROUND_UP(bytes, PAGE_SIZE); i++, at = 0) {
		u32 end = min_t(u32, bytes - i * PAGE_SIZE, PAGE_SIZE);

		if (memchr_inv(page_address(pages[i]) + at, 0, end - at))
			return false;
	}
	return true;
}

static int open_block(struct fzc_secondary *sec, const struct fzc_tag *tag, u64 block,
		      struct page **pages)
{
	u32 bytes = fzc_dev_block_bytes(&sec->dev, block);
	struct fzc_open *o = sec->open;
	u8 key[FZC_KEY_BYTES];
	int err;

	if (!fzc_tag_possible(tag, bytes) ||
	    !rest_is_clear(pages, le32_to_cpu(tag->length), bytes))
		return -EBADMSG;
	stage_key(sec, key);
	mutex_lock(&o->lock);
	err = fzc_block_decrypt(o->opener, key, tag, block, pages, pages);
	if (!err && tag->packed)
		err = fzc_decompress(o->decompressor, tag->packed, pages,
				     le32_to_cpu(tag->length), bytes);
	mutex_unlock(&o->lock);
	memzero_explicit(key, sizeof(key));
	return err;
}

int fzc_secondary_open(struct fzc_dev *dev, u8 which, u32 slot, u64 block, struct page **pages)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	struct fzc_tag tag;
	int err;

	if (!sec->open)
		return 0;
	err = fzc_tagstore_get(&sec->open->tags, which, slot, &tag);
	return err ? -EIO : open_block(sec, &tag, block, pages);
}

/* Into the volume it is decrypted; from stage to stage it stays what it is. */
int fzc_secondary_copied(struct fzc_dev *dev, const struct fzc_copy *c,
			 const struct fzc_copy_item *it, struct page **pages)
{
	struct fzc_secondary *sec = fzc_secondary_of(dev);
	struct fzc_tag tag;

	if (c->to_dev == FZC_DATA || c->to_dev == FZC_NR_DEVS)
		return fzc_secondary_open(dev, c->from_dev, it->from, it->block, pages);
	if (!sec->open)
		return 0;
	return fzc_tagstore_get(&sec->open->tags, c->from_dev, it->from, &tag) ?:
	       fzc_tagstore_put(&sec->open->tags, c->to_dev, it->to, &tag);
}

/* ---- life ---- */

static int alloc_scratch(struct fzc_open *o, u32 n)
{
	u32 i;

	o->scratch = kvcalloc(n, sizeof(*o->scratch), GFP_KERNEL);
	for (i = 0; o->scratch && i < n; i++) {
		o->scratch[i] = alloc_page(GFP_KERNEL);
		if (!o->scratch[i])
			return -ENOMEM;
	}
	return o->scratch ? 0 : -ENOMEM;
}

int fzc_secondary_open_init(struct fzc_secondary *sec)
{
	struct fzc_open *o;

	if (!sec->dev.encrypt)
		return 0;
	o = kvzalloc(sizeof(*o), GFP_KERNEL);
	if (!o)
		return -ENOMEM;
	sec->open = o;
	mutex_init(&o->lock);
	o->checker = fzc_blockcrypt_create();
	o->opener = fzc_blockcrypt_create();
	o->decompressor = fzc_compressor_create(0);
	if (!o->decompressor)
		return -ENOMEM;
	return PTR_ERR_OR_ZERO(o->checker) ?: PTR_ERR_OR_ZERO(o->opener) ?:
	       alloc_scratch(o, pages_of_block(&sec->dev)) ?:
	       fzc_tagstore_init(&o->tags, &sec->dev);
}

void fzc_secondary_open_exit(struct fzc_secondary *sec)
{
	struct fzc_open *o = sec->open;
	u32 i;

	if (!o)
		return;
	fzc_tagstore_exit(&o->tags);
	for (i = 0; o->scratch && i < pages_of_block(&sec->dev) && o->scratch[i]; i++)
		__free_page(o->scratch[i]);
	kvfree(o->scratch);
	fzc_compressor_destroy(o->decompressor);
	fzc_blockcrypt_destroy(o->opener);
	fzc_blockcrypt_destroy(o->checker);
	kvfree(o);
}

u64 fzc_secondary_open_bytes(const struct fzc_secondary *sec)
{
	const struct fzc_open *o = sec->open;

	return o ? FZC_TAGSTORE_BYTES + sec->dev.geo.block_size +
		   fzc_compressor_bytes(o->decompressor) : 0;
}
