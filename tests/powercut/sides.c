// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module would show after a start: its own core loads the metadata
 * and says where each block is.  Compare tests/sim/primary.c, p_boot().
 */
#include <openssl/evp.h>
#include <stdlib.h>

#include "replay.h"

#define HASHED	(1U << 20)	/* bytes at either end of data that a clean stop hashes */

/* A machine that is started; its media by enum fzc_dev_role. */
struct side {
	struct fzc_geometry geo;
	struct fzc_opts opts;
	struct medium *medium[FZC_NR_DEVS];
	void *mem;
	u64 bytes;
	u32 *view;
};

static struct side pri, sec;
static struct fzc_pcore p;
static struct fzc_score s;
static char why[512];

static u32 slots_on(const struct medium *m)
{
	return fzc_slots_fit((u64)m->sectors * PC_SECTOR, rec.head.block, false);
}

static void side_open(struct side *side, const char *machine, const char *const role[])
{
	char text[FZC_REASON_LEN];

	for (int i = 0; i < FZC_NR_DEVS && role[i]; i++) {
		side->medium[i] = &media[medium_of(machine, role[i])];
		side->opts.device[i].sectors = side->medium[i]->sectors;
	}
	if (fzc_geometry_init(&side->geo, side->medium[FZC_DATA]->sectors, rec.head.block, text))
		give_up("the volume: %s", text);
	for (int i = 0; i < 2 && side->medium[FZC_DIFF + i]; i++)
		side->geo.slots[i] = slots_on(side->medium[FZC_DIFF + i]);
	side->opts.format = 1;
	side->view = grab(side->geo.sectors, sizeof(u32));
}

void sides_open(void)
{
	static const char *const primary[] = { "meta", "data", "diff", NULL };
	static const char *const secondary[] = { "meta", "data", "diffa", "diffb" };

	side_open(&pri, "primary", primary);
	side_open(&sec, "secondary", secondary);
	pri.bytes = fzc_p_bytes(&pri.geo);
	pri.mem = grab(pri.bytes, 1);
	sec.bytes = fzc_s_bytes(&sec.geo);
	sec.mem = grab(sec.bytes, 1);
}

u32 volume_sectors(void)
{
	return pri.geo.sectors;
}

u32 block_sectors(void)
{
	return pri.geo.block_size / PC_SECTOR;
}

static const u32 *state_of(const struct medium *m, enum state which)
{
	return which == NOW ? m->now : which == DURABLE ? m->durable : m->cut;
}

static void get_page(const u32 *name, u64 offset, struct fzc_page *page)
{
	name += offset / PC_SECTOR;
	for (u32 i = 0; i < FZC_PAGE / PC_SECTOR; i++)
		memcpy((u8 *)page + i * PC_SECTOR, content(name[i]), PC_SECTOR);
}

static void get_pages(const struct side *side, enum state which, const struct fzc_load *load,
		      struct fzc_page page[2])
{
	const u32 *name = state_of(side->medium[load->dev], which);

	get_page(name, load->offset, &page[0]);
	if (load->both)
		get_page(name, load->offset + FZC_PAGE, &page[1]);
}

/* As fzc_meta_hash(); only looked at after a clean stop. */
static void hash_data(struct side *side, enum state which)
{
	const u32 *name = state_of(side->medium[FZC_DATA], which);
	u32 part = min(side->geo.sectors, (u64)HASHED / PC_SECTOR);
	u32 at[2] = { 0, side->geo.sectors - part };
	EVP_MD_CTX *sha = EVP_MD_CTX_new();

	if (!sha || !EVP_DigestInit_ex(sha, EVP_sha256(), NULL))
		abort();
	for (int i = 0; i < 2; i++)
		for (u32 k = 0; k < part; k++)
			EVP_DigestUpdate(sha, content(name[at[i] + k]), PC_SECTOR);
	EVP_DigestFinal_ex(sha, side->opts.data_hash, NULL);
	EVP_MD_CTX_free(sha);
}

static void show_block(struct side *side, u64 block, const u32 *from)
{
	u64 at = block * block_sectors(), n = min(side->geo.sectors - at, (u64)block_sectors());

	if (from)
		memcpy(side->view + at, from, n * sizeof(u32));
	else
		memset(side->view + at, 0, n * sizeof(u32));
}

static const u32 *slot_at(const struct side *side, enum state which, u8 dev, u32 slot)
{
	u32 slots = side->geo.slots[dev == FZC_DIFF_B];

	return state_of(side->medium[dev], which) +
	       fzc_slot_offset(&side->geo, slots, slot) / PC_SECTOR;
}

static const u32 *data_at(const struct side *side, enum state which, u64 block)
{
	return state_of(side->medium[FZC_DATA], which) + block * block_sectors();
}

static void forget(struct fzc_slots *slots)
{
	struct fzc_chunk *chunk;

	while ((chunk = fzc_slots_drop(slots)))
		free(chunk);
}

const char *primary_show(enum state which, struct shown *sh)
{
	struct fzc_page page[2];
	struct fzc_load load;
	int err;
	u64 b;

	forget(&p.slots);
	memset(pri.mem, 0, pri.bytes);
	fzc_p_init(&p, pri.mem, &pri.geo, &pri.opts);
	while (fzc_p_load_next(&p, &load)) {
		get_pages(&pri, which, &load, page);
		while ((err = fzc_p_load_give(&p, &load, &page[0], &page[1])) == -EAGAIN)
			load.chunk = grab(1, sizeof(*load.chunk));
		if (err)
			goto refused;
	}
	if (p.sb.flags & FZC_SB_CLEAN) {
		hash_data(&pri, which);
		p.opts = pri.opts;
	}
	if (fzc_p_start(&p))
		goto refused;
	for (b = 0; b < pri.geo.blocks; b++) {
		u32 slot;

		show_block(&pri, b, fzc_p_read_place(&p, b, &slot) == FZC_AT_SLOT ?
			   slot_at(&pri, which, FZC_DIFF, slot) : data_at(&pri, which, b));
	}
	sh->image = p.sb.image;
	sh->view = pri.view;
	sh->changed[0] = &p.in.changed[0];
	sh->changed[1] = &p.in.changed[1];
	return NULL;
refused:
	scnprintf(why, sizeof(why), "the primary does not start: %s", p.reason);
	return why;
}

static bool slot_is_sound(u64 block, u8 dev, u32 slot, const u32 *name)
{
	u64 at = block * block_sectors(), n = min(sec.geo.sectors - at, (u64)block_sectors());
	u32 crc = ~0U;

	for (u64 i = 0; i < n; i++)
		crc = fzc_crc32c(crc, content(name[i]), PC_SECTOR);
	return ~crc == fzc_s_slot_crc(&s, dev, slot);
}

static const char *show_secondary_block(enum state which, u64 b)
{
	const u32 *from;
	u32 slot;
	u8 dev;

	switch (fzc_s_read_place(&s, b, &dev, &slot)) {
	case FZC_S_DATA:
		show_block(&sec, b, data_at(&sec, which, b));
		return NULL;
	case FZC_S_ZERO:
		show_block(&sec, b, NULL);
		return NULL;
	case FZC_S_SLOT:
		from = slot_at(&sec, which, dev, slot);
		show_block(&sec, b, from);
		if (slot_is_sound(b, dev, slot, from))
			return NULL;
		scnprintf(why, sizeof(why), "P1: block %llu of the secondary: slot %u of stage %c does not match its checksum",
			  (unsigned long long)b, slot, dev == FZC_DIFF_B ? 'B' : 'A');
		return why;
	default:
		scnprintf(why, sizeof(why), "P1: block %llu of the secondary is marked as damaged",
			  (unsigned long long)b);
		return why;
	}
}

const char *secondary_show(enum state which, struct shown *sh)
{
	const char *wrong = NULL;
	struct fzc_page page[2];
	struct fzc_load load;
	int err;

	forget(&s.stage[0]);
	forget(&s.stage[1]);
	memset(sec.mem, 0, sec.bytes);
	fzc_s_init(&s, sec.mem, &sec.geo, &sec.opts);
	while (fzc_s_load_next(&s, &load)) {
		get_pages(&sec, which, &load, page);
		while ((err = fzc_s_load_give(&s, &load, &page[0], &page[1])) == -EAGAIN)
			load.chunk = grab(1, sizeof(*load.chunk));
		if (err)
			goto refused;
	}
	if (s.sb.flags & FZC_SB_CLEAN) {
		hash_data(&sec, which);
		s.opts = sec.opts;
	}
	if (fzc_s_start(&s))
		goto refused;
	sh->image = s.sb.image;
	sh->view = sec.view;
	if (!s.has_image)
		return NULL;
	for (u64 b = 0; b < sec.geo.blocks && !wrong; b++)
		wrong = show_secondary_block(which, b);
	return wrong;
refused:
	scnprintf(why, sizeof(why), "the secondary does not start: %s", s.reason);
	return why;
}

u64 image_number(bool primary, enum state which)
{
	const u32 *name = state_of((primary ? &pri : &sec)->medium[FZC_META], which);
	u64 number = 0, seq = 0;
	char text[FZC_REASON_LEN];
	struct fzc_page page;
	struct fzc_super sb;

	for (int i = 0; i < 2; i++) {
		get_page(name, FZC_OFF_SUPER + i * FZC_PAGE, &page);
		if (fzc_page_check(&page, FZC_PAGE_SUPER, text) != FZC_PAGE_OK ||
		    fzc_super_decode(&sb, &page, text) || sb.seq < seq)
			continue;
		seq = sb.seq;
		number = sb.image.number;
	}
	return number;
}
