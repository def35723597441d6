/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernels; nothing else knows versions.  Built and run with 6.1, 6.12
 * and 7.3 (make check-kernels).
 */
#ifndef FZC_COMPAT_H
#define FZC_COMPAT_H

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/version.h>

/* -- limits of a queue */

/* A bio's pages must not change on the way.  From io_hints of a target. */
static inline void fzc_require_stable_writes(struct dm_target *ti, struct queue_limits *limits)
{
#ifdef BLK_FEAT_STABLE_WRITES
	limits->features |= BLK_FEAT_STABLE_WRITES;
#else
	ti->needs_stable_writes = true;
#endif
}

/* Zeroes and discards are of this many sectors at most, from anywhere, and free nothing. */
static inline void fzc_limit_zeroing(struct queue_limits *limits, unsigned int sectors)
{
	limits->discard_alignment = 0;
	limits->max_discard_sectors = sectors;
	limits->max_hw_discard_sectors = sectors;
	limits->max_write_zeroes_sectors = min(limits->max_write_zeroes_sectors, sectors);
#ifndef BLK_FLAG_MISALIGNED	/* there it is nothing that discards have of their own */
	limits->discard_misaligned = 0;
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	limits->max_hw_wzeroes_unmap_sectors = 0;	/* or equal to max_write_zeroes_sectors */
#endif
}

/* -- SHA-256 of the library: its state has another name */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
#define fzc_sha256_state	sha256_ctx
#else
#define fzc_sha256_state	sha256_state
#endif

/* -- timers: a function of a softirq, so many nanoseconds from a start on */

static inline void fzc_timer_init(struct hrtimer *timer,
				  enum hrtimer_restart (*function)(struct hrtimer *timer))
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, function, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	timer->function = function;
#endif
}

/* -- how dm_get_device() opens */

#ifdef BLK_OPEN_READ
#define FZC_OPEN_RW	(BLK_OPEN_READ | BLK_OPEN_WRITE)
#else
#define FZC_OPEN_RW	(FMODE_READ | FMODE_WRITE)
#endif

/* -- block devices, and the file systems on them */

/*
 * fzc_bdev_open():	a block device by its number, to freeze the file system on it.
 *			Read only, so that it does not count as a writer.
 * fzc_bdev_sync():	what can be written before the freeze; an error may not show until then
 * fzc_bdev_freeze():	-EBUSY: the user has frozen it, nothing was done
 * fzc_bdev_has_fs():	after it succeeded: is there a file system?
 * fzc_bdev_is_frozen(): of the freezes that others did before: is the file system
 *			really frozen?
 */
struct fzc_open_bdev {
	struct block_device *bdev;
	struct file *file;	/* since 6.9 */
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)

static inline int fzc_bdev_open(struct fzc_open_bdev *open, dev_t devt)
{
	open->file = bdev_file_open_by_dev(devt, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(open->file))
		return PTR_ERR(open->file);
	open->bdev = file_bdev(open->file);
	return 0;
}

/* At once: a device that waits for a deferred fput() cannot be removed.  From a work. */
static inline void fzc_bdev_close(struct fzc_open_bdev *open)
{
	__fput_sync(open->file);
}

static inline unsigned int fzc_bdev_partno(struct block_device *bdev)
{
	return bdev_partno(bdev);
}

static inline int fzc_bdev_sync(struct block_device *bdev)
{
	mutex_lock(&bdev->bd_holder_lock);
	if (bdev->bd_holder_ops && bdev->bd_holder_ops->sync) {
		bdev->bd_holder_ops->sync(bdev);	/* unlocks */
		return 0;
	}
	mutex_unlock(&bdev->bd_holder_lock);
	return sync_blockdev(bdev);
}

static inline bool fzc_bdev_has_fs(struct block_device *bdev)
{
	bool has;

	mutex_lock(&bdev->bd_holder_lock);
	has = bdev->bd_holder_ops && bdev->bd_holder_ops->freeze;
	mutex_unlock(&bdev->bd_holder_lock);
	return has;
}

static inline bool fzc_bdev_frozen_once(struct block_device *bdev)
{
	return atomic_read(&bdev->bd_fsfreeze_count) == 1;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)

/* The count is right: who comes second finds the file system frozen. */
static inline bool fzc_bdev_is_frozen(struct block_device *bdev)
{
	return fzc_bdev_has_fs(bdev);
}

/* Nests in the user's freeze.  -EBUSY is of who forbids to freeze this device. */
static inline int fzc_bdev_freeze(struct block_device *bdev)
{
	int r = bdev_freeze(bdev);

	return r == -EBUSY ? -EPERM : r;
}

#else

static inline bool fzc_bdev_is_frozen(struct block_device *bdev)
{
	struct super_block *sb;
	bool frozen = false;

	mutex_lock(&bdev->bd_holder_lock);
	if (bdev->bd_holder_ops == &fs_holder_ops) {
		sb = bdev->bd_holder;
		frozen = READ_ONCE(sb->s_writers.frozen) == SB_FREEZE_COMPLETE;
	}
	mutex_unlock(&bdev->bd_holder_lock);
	return frozen;
}

/* Not inside the user's freeze: the thaw would leave a count behind. */
static inline int fzc_bdev_freeze(struct block_device *bdev)
{
	return fzc_bdev_is_frozen(bdev) ? -EBUSY : bdev_freeze(bdev);
}

#endif /* 7.0 */

static inline int fzc_bdev_thaw(struct block_device *bdev)
{
	return bdev_thaw(bdev);
}

#else /* before 6.9 */

static inline int fzc_bdev_open(struct fzc_open_bdev *open, dev_t devt)
{
	open->bdev = blkdev_get_by_dev(devt, FMODE_READ, NULL);
	return PTR_ERR_OR_ZERO(open->bdev);
}

static inline void fzc_bdev_close(struct fzc_open_bdev *open)
{
	blkdev_put(open->bdev, FMODE_READ);
}

static inline unsigned int fzc_bdev_partno(struct block_device *bdev)
{
	return bdev->bd_partno;
}

static inline int fzc_bdev_sync(struct block_device *bdev)
{
	return fsync_bdev(bdev);
}

static inline bool fzc_bdev_has_fs(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_fsfreeze_sb);
}

static inline bool fzc_bdev_frozen_once(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_fsfreeze_count) == 1;
}

static inline bool fzc_bdev_is_frozen(struct block_device *bdev)
{
	struct super_block *sb = READ_ONCE(bdev->bd_fsfreeze_sb);

	return sb && sb->s_writers.frozen == SB_FREEZE_COMPLETE;
}

static inline int fzc_bdev_freeze(struct block_device *bdev)
{
	return freeze_bdev(bdev);
}

static inline int fzc_bdev_thaw(struct block_device *bdev)
{
	return thaw_bdev(bdev);
}

#endif /* 6.9 */

#endif /* FZC_COMPAT_H */
