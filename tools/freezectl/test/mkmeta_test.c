// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write metadata for test_freezectl.sh with the core's own encoders:
 *
 *	mkmeta_test META DIFF [KEY]
 *
 * A primary of 32 MiB in blocks of 4096 bytes, stopped in order: image 7
 * committed, blocks 0, 5 to 7 and 8191 changed, block 9 unsent, block 11 in
 * slot 2 of DIFF.  With the name of a shared key: signed, as with stage_encryption.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../cipher.h"
#include "../keyfile.h"
#include "../offline.h"

#define FORMAT	0x1122334455667788ULL
#define SECTORS	65536
#define BLOCK	4096
#define LOG	7

static struct fzc_volkey vk;
static struct fzc_volume_keys keys;

static void put(int fd, u8 dev, u64 offset, struct fzc_page *page)
{
	static const u8 nonce[FZC_NONCE_BYTES];

	if (vk.n && fzc_volkey_sign(&vk, &keys, dev, offset, nonce, page))
		exit(1);
	if (pwrite(fd, page, sizeof(*page), offset) != (ssize_t)sizeof(*page))
		exit(1);
}

static void set_bit(struct fzc_page *page, u32 bit)
{
	page->body[bit / 8] |= 1 << (bit % 8);
}

static void write_super(int fd, const struct fzc_geometry *geo)
{
	struct fzc_super sb = {
		.role = FZC_PRIMARY, .flags = FZC_SB_CLEAN, .format = FORMAT, .seq = 10,
		.pair.b = { 0x6f, 0x0c }, .sectors = SECTORS, .block_size = BLOCK,
		.regions = geo->regions, .image.number = 7, .image.label = "seven\033",
		.last_number = 7, .next_gen = 4, .gen = { 3, 0 }, .log = { LOG, 0 },
		.unsent_tag = 4,
	};
	struct fzc_page page;

	if (vk.n)
		sb.flags |= FZC_SB_ENCRYPTED;

	fzc_super_encode(&sb, &page);
	put(fd, FZC_META, FZC_OFF_SUPER, &page);
	sb.seq = 9;
	fzc_super_encode(&sb, &page);
	put(fd, FZC_META, FZC_OFF_SUPER + FZC_PAGE, &page);
}

static void write_meta(int fd, const struct fzc_geometry *geo)
{
	static const u32 changed[] = { 0, 5, 6, 7, 8191 };
	struct fzc_page page = { 0 };

	write_super(fd, geo);
	fzc_page_seal(&page, FZC_PAGE_REGIONS, FORMAT, 5, 0, 0);
	put(fd, FZC_META, FZC_OFF_REGIONS, &page);
	for (u32 i = 0; i < ARRAY_SIZE(changed); i++)
		set_bit(&page, changed[i]);
	fzc_page_seal(&page, FZC_PAGE_BITMAP, FORMAT, 6, 3, 0);
	put(fd, FZC_META, fzc_area_offset(geo, FZC_AREA_CHANGED0, 0, 1), &page);
	memset(&page, 0, sizeof(page));
	set_bit(&page, 9);
	fzc_page_seal(&page, FZC_PAGE_BITMAP, FORMAT, 7, 4, 0);
	put(fd, FZC_META, fzc_area_offset(geo, FZC_AREA_UNSENT, 0, 0), &page);
}

static void write_diff(int fd)
{
	struct fzc_page page = { 0 };
	struct fzc_diff_body *d = &page.diff;

	d->role = cpu_to_le32(FZC_PRIMARY);
	d->which = cpu_to_le32(FZC_DIFF);
	d->sectors = cpu_to_le64(SECTORS);
	d->block_size = cpu_to_le32(BLOCK);
	d->slots = cpu_to_le32(fzc_slots_fit(lseek(fd, 0, SEEK_END), BLOCK, false));
	fzc_page_seal(&page, FZC_PAGE_DIFF, FORMAT, 1, 0, 0);
	put(fd, FZC_DIFF, 0, &page);
	memset(&page, 0, sizeof(page));
	page.index.entry[2].block = cpu_to_le64(11);
	page.index.entry[2].flags = cpu_to_le32(FZC_ENTRY_USED);
	fzc_page_seal(&page, FZC_PAGE_INDEX, FORMAT, 8, LOG, 0);
	put(fd, FZC_DIFF, fzc_index_offset(0, 0), &page);
	/* left from an older log: does not count */
	page.index.entry[3].block = cpu_to_le64(12);
	page.index.entry[3].flags = cpu_to_le32(FZC_ENTRY_USED);
	fzc_page_seal(&page, FZC_PAGE_INDEX, FORMAT, 3, LOG - 1, 0);
	put(fd, FZC_DIFF, fzc_index_offset(0, 1), &page);
}

static void take_key(const char *name)
{
	struct fzc_keys shared;

	if (key_read(name, NULL, &shared) ||
	    fzc_volkey_init(&vk, cipher_hmac(), cipher_aead(), &shared))
		exit(1);
	memset(&keys, 0x5a, sizeof(keys));
}

int main(int argc, char **argv)
{
	struct fzc_geometry geo;
	char why[FZC_REASON_LEN];
	int meta, diff;

	if (argc < 3 || argc > 4 || fzc_geometry_init(&geo, SECTORS, BLOCK, why))
		return 2;
	if (argc > 3)
		take_key(argv[3]);
	meta = open(argv[1], O_RDWR);
	diff = open(argv[2], O_RDWR);
	if (meta < 0 || diff < 0)
		return 1;
	write_meta(meta, &geo);
	write_diff(diff);
	return fsync(meta) || fsync(diff);
}
