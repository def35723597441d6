// SPDX-License-Identifier: GPL-2.0-only
#include <crypto/sha2.h>
#include <linux/blkdev.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sizes.h>
#include "compat.h"
#include "meta.h"

#define HASHED	SZ_1M

/*
 * A dm device by its uuid, a partition by its PARTUUID, a disk by its WWN; empty
 * where there is none (virtio disks).
 */
static void identify(struct block_device *bdev, char id[FZC_DEVICE_ID_LEN])
{
	struct gendisk *disk = bdev->bd_disk;
	struct mapped_device *md;
	char uuid[DM_UUID_LEN] = "";
	u8 wwn[16];
	int len;

	memset(id, 0, FZC_DEVICE_ID_LEN);
	if (bdev->bd_meta_info && bdev->bd_meta_info->uuid[0]) {
		scnprintf(id, FZC_DEVICE_ID_LEN, "partuuid-%s", bdev->bd_meta_info->uuid);
		return;
	}
	md = dm_get_md(bdev->bd_dev);
	if (md) {
		if (!dm_copy_name_and_uuid(md, NULL, uuid) && uuid[0])
			scnprintf(id, FZC_DEVICE_ID_LEN, "dm-%s", uuid);
		dm_put(md);
		return;
	}
	if (!disk->fops->get_unique_id)
		return;
	len = disk->fops->get_unique_id(disk, wwn, BLK_UID_NAA);
	if (len <= 0)
		len = disk->fops->get_unique_id(disk, wwn, BLK_UID_EUI64);
	if (len > 0)
		scnprintf(id, FZC_DEVICE_ID_LEN, "wwn-%*phN-%u", len, wwn,
			  fzc_bdev_partno(bdev));
}

int fzc_meta_hash(struct fzc_dev *dev, u8 hash[32], char *why)
{
	/* the memory of copies: no core is running, or its engine is paused */
	struct page **pages = dev->engine.copy_page;
	u64 size = dev->geo.sectors << SECTOR_SHIFT;
	u32 part = min_t(u64, size, HASHED);
	u64 at[2] = { 0, size - part };
	struct fzc_sha256_state sha;
	u32 i, k, left;
	int r;

	sha256_init(&sha);
	for (i = 0; i < 2; i++) {
		r = fzc_io_read(&dev->io, dev->bdev[FZC_DATA], at[i], pages, part);
		if (r) {
			scnprintf(why, FZC_REASON_LEN,
				  "data %s: cannot be read at byte %llu (error %d)",
				  dev->dm[FZC_DATA]->name, at[i], -r);
			return r;
		}
		for (k = 0, left = part; left; k++) {
			u32 n = min_t(u32, left, PAGE_SIZE);

			sha256_update(&sha, page_address(pages[k]), n);
			left -= n;
		}
	}
	sha256_final(&sha, hash);
	return 0;
}

int fzc_meta_opts(struct fzc_dev *dev, struct fzc_opts *opts, char *why)
{
	u8 i;

	opts->pair = dev->pair;
	opts->identical = dev->identical;
	opts->take_all = dev->take_all;
	opts->verify = dev->verify;
	opts->encrypt = dev->encrypt;
	opts->vk = dev->encrypt ? &dev->sign->vk : NULL;
	if (dev->encrypt)
		get_random_bytes(&opts->keys, sizeof(opts->keys));
	do {
		get_random_bytes(&opts->format, sizeof(opts->format));
	} while (!opts->format);
	for (i = 0; i < dev->role->ndevs; i++) {
		identify(dev->bdev[i], opts->device[i].id);
		opts->device[i].sectors = bdev_nr_sectors(dev->bdev[i]);
	}
	return fzc_meta_hash(dev, opts->data_hash, why);
}

static int read_page(struct fzc_dev *dev, const struct fzc_load *load, u64 at,
		     struct page *page, char *why)
{
	static const char *const name[FZC_NR_DEVS] = { "meta", "data", "diff", "diff-b" };
	int r = fzc_io_read(&dev->io, dev->bdev[load->dev], at, &page, FZC_PAGE);

	if (r)
		scnprintf(why, FZC_REASON_LEN, "%s %s: cannot be read at byte %llu (error %d)",
			  name[load->dev], dev->dm[load->dev]->name, at, -r);
	return r;
}

static int give(struct fzc_dev *dev, struct fzc_load *load, const struct fzc_page *a,
		const struct fzc_page *b, char *why)
{
	int r;

	while ((r = dev->role->load_give(dev, load, a, b)) == -EAGAIN) {
		load->chunk = fzc_dev_alloc_chunk();
		if (load->chunk)
			continue;
		strscpy(why, "no memory for the slots of a difference volume", FZC_REASON_LEN);
		return -ENOMEM;
	}
	if (r)
		strscpy(why, dev->role->reason(dev), FZC_REASON_LEN);
	return r;
}

int fzc_meta_load(struct fzc_dev *dev, char *why)
{
	struct page **pages = dev->engine.copy_page;
	struct fzc_load load;
	int r = 0;

	while (!r && dev->role->load_next(dev, &load)) {
		r = read_page(dev, &load, load.offset, pages[0], why);
		if (!r && load.both)
			r = read_page(dev, &load, load.offset + FZC_PAGE, pages[1], why);
		if (r)
			break;
		r = give(dev, &load, page_address(pages[0]),
			 load.both ? page_address(pages[1]) : NULL, why);
		cond_resched();
	}
	return r;
}
