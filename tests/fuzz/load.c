// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata that is not what it was: a stopped or a crashed side's disks, some bytes
 * of them changed, with checksums made right or left wrong.  Loading refuses with a
 * reason, or what was loaded is worked with.
 */
#include "load.h"

#define FEW_SLOTS	100	/* fewer than a page of an index names */

struct image {
	bool made;
	bool second;
	u32 slots[2];
	struct fzc_opts opts;
	struct fzc_volume_keys keys;
	struct disk disk[FZC_NR_DEVS];
};

static struct image images[2][NR_IMAGES];
static const struct fzc_volume_keys *keys;	/* of what is on the disks now */

/* The n-th story's disks at its end, as a power cut leaves them. */
static void make_image(struct image *img, u32 n, bool is_signed)
{
	u8 story[MAX_SEED];
	struct in in = { story, story };
	u32 i;

	img->made = true;
	img->second = n < SECONDARY_SEEDS;
	img->slots[0] = n & 1 ? FEW_SLOTS : MAX_SLOTS;
	img->slots[1] = img->second ? 20 : 0;
	in.end += img->second ? secondary_seed(n, story) : primary_seed(n - SECONDARY_SEEDS, story);
	in.p++;		/* which sizes they have */
	shell_make(img->second, img->slots[0], img->slots[1]);
	if (is_signed)
		shell_sign();
	if (!img->second)
		W.opts.pair = fresh_id();
	MUST(!shell_boot());
	shell_settle();
	if (img->second) {
		secondary_begin(true);
		secondary_steps(&in);
	} else {
		primary_begin(true);
		primary_steps(&in);
	}
	img->keys = img->second ? S.sb.keys : P.sb.keys;
	shell_crash();
	img->opts = W.opts;
	for (i = 0; i < FZC_NR_DEVS; i++)
		img->disk[i] = W.cur[i];
}

void image_take(u8 n)
{
	bool is_signed = n & SIGNED;
	u32 i, p;
	struct image *img;

	n = (n & ~SIGNED) % NR_IMAGES;
	img = &images[is_signed][n];
	if (!img->made)
		make_image(img, n, is_signed);
	keys = &img->keys;
	shell_make(img->second, img->slots[0], img->slots[1]);
	W.opts = img->opts;
	W.geo.tagged = W.second && W.opts.encrypt;
	for (i = 0; i < FZC_NR_DEVS; i++) {
		W.cur[i].used = img->disk[i].used;
		for (p = 0; p < MAX_PAGES; p++)
			if (img->disk[i].used >> p & 1)
				W.cur[i].page[p] = img->disk[i].page[p];
		memcpy(W.cur[i].val, img->disk[i].val, sizeof(W.cur[i].val));
		memcpy(W.cur[i].tag, img->disk[i].tag, sizeof(W.cur[i].tag));
	}
	W.errors = true;
}

/* As the core does it, over whatever the page says. */
static void seal(struct fzc_page *page)
{
	struct fzc_page_head h = page->head;

	fzc_page_seal(page, le16_to_cpu(h.kind), le64_to_cpu(h.format), le64_to_cpu(h.seq),
		      le64_to_cpu(h.tag), le32_to_cpu(h.index));
}

void image_damage(struct in *in)
{
	static const u8 devs[] = { FZC_META, FZC_META, FZC_DIFF, FZC_DIFF_B };
	u8 n = take(in) % 8, where, how;

	W.damaged = n;
	while (n--) {
		struct fzc_page *page;
		struct disk *d;
		u32 p, at;

		where = take(in);
		how = take(in);
		d = &W.cur[devs[where & 3]];
		p = (where >> 2) % MAX_PAGES;
		page = &d->page[p];
		/* the header and the superblock's fields more often than the rest */
		at = how & 0x20 ? take_n(in, 2) % (FZC_PAGE - 7) : 4 * take(in) % (FZC_PAGE - 7);
		d->used |= 1U << p;
		change_field(in, (u8 *)page + at, how);
		if (how & 0x40)		/* as if the other copy had never been */
			memset(&d->page[p ^ 1], 0, FZC_PAGE);
		d->used |= how & 0x40 ? 1U << (p ^ 1) : 0;
		if (!(how & 0x80))
			seal(page);
		if (!(how & 0x90))	/* as nobody can who has not the key */
			shell_sign_page(devs[where & 3], p * FZC_PAGE, keys, page);
	}
}

static void run(const u8 *data, size_t len)
{
	struct in in = { data, data + len };

	image_take(take(&in));
	image_damage(&in);
	if (W.second)
		secondary_begin(false);
	else
		primary_begin(false);
	if (shell_boot()) {
		SAY("refused: %s", W.second ? S.reason : P.reason);
		shell_free();
		return;
	}
	shell_settle();
	if (W.second) {
		secondary_steps(&in);
		secondary_end();
	} else {
		primary_steps(&in);
		primary_end();
	}
}

/* What to damage to begin with: so many fields, each with page, how, place, value. */
static const u8 stage_number[] = { 1, FZC_META, 0x40, 83, 2 };
static const u8 index_block[] = { 2, 3 << 2 | 2, 0x40, 16, 200, 3 << 2 | 2, 0x40, 18, 1 };
static const u8 index_slot[] = { 2, 3 << 2 | 2, 0x60, 14, 0, 23, 3 << 2 | 2, 0x60, 14, 8, 1 };

static const struct {
	const u8 *what;
	u32 len;
} damages[] = {
	{ stage_number, sizeof(stage_number) }, { index_block, sizeof(index_block) },
	{ index_slot, sizeof(index_slot) },
};

static void seeds(void (*emit)(const void *data, size_t len))
{
	u8 buf[2 + MAX_SEED] = { 0 };
	u32 n, i;

	for (n = 0; n < 2 * NR_IMAGES; n++) {
		u32 story = n % NR_IMAGES;

		buf[0] = story | (n < NR_IMAGES ? 0 : SIGNED);
		buf[1] = 0;
		emit(buf, 2 + (story < SECONDARY_SEEDS ?
			       secondary_seed(story, buf + 2) :
			       primary_seed(story - SECONDARY_SEEDS, buf + 2)));
		for (i = 0; i < ARRAY_SIZE(damages); i++) {
			memcpy(buf + 1, damages[i].what, damages[i].len);
			emit(buf, 1 + damages[i].len);
		}
	}
}

const struct target target_load = { "load", run, seeds };
