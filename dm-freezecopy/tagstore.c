// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>
#include "tagstore.h"

static u64 offset_of(const struct fzc_tagstore *s, u8 which, u32 n)
{
	return fzc_tag_page_offset(s->dev->geo.slots[which == FZC_DIFF_B],
				   n * FZC_TAGS_PER_PAGE);
}

static void written(void *ctx, int err)
{
	struct fzc_tagpage *p = ctx;

	p->err = err;
	if (atomic_dec_and_test(&p->store->left))
		complete(&p->store->done);
}

static void begin_write(struct fzc_tagstore *s, struct fzc_tagpage *p)
{
	atomic_inc(&s->left);
	p->err = 0;
	fzc_io_pages(&s->dev->io, s->dev->bdev[p->dev], REQ_OP_WRITE | REQ_SYNC,
		     offset_of(s, p->dev, p->n), &p->page, FZC_PAGE, written, p);
}

static int write_all(struct fzc_tagstore *s)
{
	struct fzc_tagpage *p;
	int err = 0;

	reinit_completion(&s->done);
	atomic_set(&s->left, 1);
	for (p = s->page; p < s->page + FZC_TAGSTORE_PAGES; p++)
		if (p->dirty)
			begin_write(s, p);
	if (!atomic_dec_and_test(&s->left))
		wait_for_completion_io(&s->done);
	for (p = s->page; p < s->page + FZC_TAGSTORE_PAGES; p++) {
		err = err ?: p->dirty ? p->err : 0;
		p->dirty &= !!p->err;
	}
	return err;
}

static struct fzc_tagpage *find(struct fzc_tagstore *s, u8 which, u32 n)
{
	u32 i, k;

	for (i = 0, k = s->last; i < FZC_TAGSTORE_PAGES; i++, k = (k + 1) % FZC_TAGSTORE_PAGES)
		if (s->page[k].used && s->page[k].dev == which && s->page[k].n == n) {
			s->last = k;
			return &s->page[k];
		}
	return NULL;
}

/* One that was not asked for of late, and is not newer than the disk; NULL: all are. */
static struct fzc_tagpage *give_up_one(struct fzc_tagstore *s)
{
	u32 i;

	for (i = 0; i < 2 * FZC_TAGSTORE_PAGES; i++) {
		struct fzc_tagpage *p = &s->page[s->hand];

		s->hand = (s->hand + 1) % FZC_TAGSTORE_PAGES;
		if (!p->dirty && !p->recent)
			return p;
		p->recent = false;
	}
	return NULL;
}

/* The page with the tag of @slot, and where it is in there. */
static int get_page_of(struct fzc_tagstore *s, u8 which, u32 slot, struct fzc_tagpage **page)
{
	u32 n = slot / FZC_TAGS_PER_PAGE;
	struct fzc_tagpage *p = find(s, which, n);
	int err = 0;

	if (!p) {
		p = give_up_one(s);
		if (!p) {
			err = write_all(s);
			p = give_up_one(s);
		}
		if (!p)
			return err;
		p->used = false;
		err = fzc_io_read(&s->dev->io, s->dev->bdev[which], offset_of(s, which, n),
				  &p->page, FZC_PAGE);
		if (err)
			return err;
		p->dev = which;
		p->n = n;
		p->used = true;
	}
	p->recent = true;
	*page = p;
	return 0;
}

static struct fzc_tag *tag_of(const struct fzc_tagpage *p, u32 slot)
{
	return (struct fzc_tag *)page_address(p->page) + slot % FZC_TAGS_PER_PAGE;
}

int fzc_tagstore_get(struct fzc_tagstore *s, u8 which, u32 slot, struct fzc_tag *tag)
{
	struct fzc_tagpage *p;
	int err;

	mutex_lock(&s->lock);
	err = get_page_of(s, which, slot, &p);
	if (!err)
		*tag = *tag_of(p, slot);
	mutex_unlock(&s->lock);
	return err;
}

int fzc_tagstore_put(struct fzc_tagstore *s, u8 which, u32 slot, const struct fzc_tag *tag)
{
	struct fzc_tagpage *p;
	int err;

	mutex_lock(&s->lock);
	err = get_page_of(s, which, slot, &p);
	if (!err) {
		*tag_of(p, slot) = *tag;
		p->dirty = true;
	}
	mutex_unlock(&s->lock);
	return err;
}

int fzc_tagstore_write(struct fzc_tagstore *s)
{
	int err;

	mutex_lock(&s->lock);
	err = write_all(s);
	mutex_unlock(&s->lock);
	return err;
}

void fzc_tagstore_forget(struct fzc_tagstore *s)
{
	u32 i;

	mutex_lock(&s->lock);
	for (i = 0; i < FZC_TAGSTORE_PAGES; i++) {
		s->page[i].used = false;
		s->page[i].dirty = false;
		s->page[i].recent = false;
	}
	mutex_unlock(&s->lock);
}

int fzc_tagstore_init(struct fzc_tagstore *s, struct fzc_dev *dev)
{
	u32 i;

	s->dev = dev;
	mutex_init(&s->lock);
	init_completion(&s->done);
	for (i = 0; i < FZC_TAGSTORE_PAGES; i++) {
		s->page[i].store = s;
		s->page[i].page = alloc_page(GFP_KERNEL);
		if (!s->page[i].page)
			return -ENOMEM;
	}
	return 0;
}

void fzc_tagstore_exit(struct fzc_tagstore *s)
{
	u32 i;

	for (i = 0; i < FZC_TAGSTORE_PAGES; i++)
		if (s->page[i].page)
			__free_page(s->page[i].page);
}
