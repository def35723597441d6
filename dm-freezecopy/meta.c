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

/*
 * What is in copy_page[].  A core asks for pages in the order of their places, for millions if the
 * index of slots is large: a MiB is read at a time.
 */
struct window {
	u8 dev;
	u64 at;
	u32 bytes;
	u64 sparing[FZC_NR_DEVS];	/* before this place: more than was asked for failed */
};

static int read_window(struct fzc_dev *dev, struct window *w, const struct fzc_load *load,
		       u32 need, char *why)
{
	static const char *const name[FZC_NR_DEVS] = { "meta", "data", "diff", "diff-b" };
	struct block_device *bdev = dev->bdev[load->dev];
	u64 left = bdev_nr_bytes(bdev) - load->offset;
	int r;

	w->dev = load->dev;
	w->at = load->offset;
	w->bytes = need;
	if (w->at >= w->sparing[w->dev] && left > need)
		w->bytes = min_t(u64, round_down(left, FZC_PAGE), FZC_COPY_PAGES * FZC_PAGE);
	r = fzc_io_read(&dev->io, bdev, w->at, dev->engine.copy_page, w->bytes);
	if (r && w->bytes > need) {	/* of what is behind nothing may be needed */
		w->sparing[w->dev] = w->at + w->bytes;
		w->bytes = need;
		r = fzc_io_read(&dev->io, bdev, w->at, dev->engine.copy_page, need);
	}
	if (r)
		scnprintf(why, FZC_REASON_LEN, "%s %s: cannot be read at byte %llu (error %d)",
			  name[w->dev], dev->dm[w->dev]->name, w->at, -r);
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
	struct window w = {};
	struct fzc_load load;
	int r = 0;

	while (!r && dev->role->load_next(dev, &load)) {
		u32 need = load.both ? 2 * FZC_PAGE : FZC_PAGE, k;

		if (w.dev != load.dev || load.offset < w.at ||
		    load.offset + need > w.at + w.bytes) {
			r = read_window(dev, &w, &load, need, why);
			if (r)
				break;
		}
		k = (load.offset - w.at) / FZC_PAGE;
		r = give(dev, &load, page_address(pages[k]),
			 load.both ? page_address(pages[k + 1]) : NULL, why);
		cond_resched();
	}
	return r;
}
