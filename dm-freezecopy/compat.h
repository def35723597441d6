/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between kernels; nothing else knows versions. */
#ifndef FZC_COMPAT_H
#define FZC_COMPAT_H

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/version.h>

/*
 * A block device by its number, to freeze the file system on it.  Read only, so
 * that it does not count as a writer.  ERR_PTR.
 */
static inline struct block_device *fzc_bdev_get(dev_t devt)
{
	return blkdev_get_by_dev(devt, FMODE_READ, NULL);
}

static inline void fzc_bdev_put(struct block_device *bdev)
{
	blkdev_put(bdev, FMODE_READ);
}

/* After freeze_bdev(): is there a file system, and was it frozen by this call alone? */
static inline bool fzc_bdev_has_fs(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_fsfreeze_sb);
}

static inline bool fzc_bdev_frozen_once(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_fsfreeze_count) == 1;
}

/* Of the freezes that others did before: is the file system really frozen? */
static inline bool fzc_bdev_is_frozen(struct block_device *bdev)
{
	struct super_block *sb = READ_ONCE(bdev->bd_fsfreeze_sb);

	return sb && sb->s_writers.frozen == SB_FREEZE_COMPLETE;
}

#endif /* FZC_COMPAT_H */
