// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include "compat.h"
#include "primary.h"
#include "query.h"
#include "secondary.h"
#include "table.h"
#include "target.h"

/*
 * One bio's worst case walks its blocks under the lock and needs all of its
 * regions open at once; writes are bounded by their pages, these by this.
 */
#define MAX_ZERO_BYTES	SZ_1M
#define MESSAGE_DEADLINE	(30 * HZ)

static const struct fzc_role_ops *role_of(u8 role)
{
	return role == FZC_PRIMARY ? &fzc_primary_role : &fzc_secondary_role;
}

static void set_up_target(struct dm_target *ti, struct fzc_dev *dev)
{
	ti->private = dev;
	ti->per_io_data_size = sizeof(struct fzc_hio);
	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	ti->num_discard_bios = 1;
	ti->discards_supported = true;
	ti->num_write_zeroes_bios = 1;
}

static void explain(const struct fzc_dev *dev, int err, char *why)
{
	if (err == -ENOENT)
		strscpy(why,
			"key: this kernel lacks gcm(aes), rfc7539(chacha20,poly1305) or hmac(sha256), expected all of them: see its modules gcm, chacha20poly1305, hmac",
			FZC_REASON_LEN);
	else
		scnprintf(why, FZC_REASON_LEN, "no memory for %llu blocks (error %d)",
			  dev->geo.blocks, -err);
}

/* Everything but the device: writes nothing, binds nothing. */
static int build(struct dm_target *ti, const struct fzc_table *t, char *why)
{
	struct fzc_dev *dev = fzc_dev_create(role_of(t->role), ti);
	int r;

	if (!dev) {
		strscpy(why, "no memory", FZC_REASON_LEN);
		return -ENOMEM;
	}
	r = fzc_table_take(dev, t, why);
	if (!r) {
		r = fzc_dev_setup(dev);
		if (r)
			explain(dev, r, why);
	}
	if (r) {
		fzc_dev_end(dev);
		fzc_table_put(dev, ti);
		fzc_dev_put(dev);
		return r;
	}
	set_up_target(ti, dev);
	return 0;
}

static int target_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	const char *name = dm_device_name(dm_table_get_md(ti->table));
	char why[FZC_REASON_LEN] = "";
	struct fzc_table *t = kzalloc(sizeof(*t), GFP_KERNEL);
	int r;

	if (!t) {
		ti->error = "no memory";
		return -ENOMEM;
	}
	r = fzc_table_parse(t, argc, argv, why);
	if (!r)
		r = build(ti, t, why);
	kfree(t);
	if (r) {
		ti->error = "refused, the line before says why";
		fzc_dev_complain(name, why);
	}
	return r;
}

static void target_dtr(struct dm_target *ti)
{
	struct fzc_dev *dev = ti->private;

	fzc_dev_end(dev);
	fzc_table_put(dev, ti);
	fzc_dev_put(dev);
}

static int target_map(struct dm_target *ti, struct bio *bio)
{
	return fzc_hio_map(ti->private, bio);
}

static int target_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	return fzc_hio_endio(ti->private, bio, error);
}

static void set_suspended(struct fzc_dev *dev, bool suspended)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	dev->suspended = suspended;
	if (suspended)
		dev->role->suspend(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	wake_up_all(&dev->wait);
}

/*
 * Host I/O still flows.  From here on nothing depends on the peer: the gate is
 * open and the session ends; bios that are parked go on as the engine, which
 * runs until postsuspend, wakes them.
 */
static void target_presuspend(struct dm_target *ti)
{
	struct fzc_dev *dev = ti->private;

	set_suspended(dev, true);
	mutex_lock(&dev->state);
	fzc_dev_link_stop(dev);
	mutex_unlock(&dev->state);
}

static void target_presuspend_undo(struct dm_target *ti)
{
	struct fzc_dev *dev = ti->private;

	set_suspended(dev, false);
	fzc_dev_connect(dev);
}

/* No I/O to any device after this. */
static void target_postsuspend(struct dm_target *ti)
{
	struct fzc_dev *dev = ti->private;

	mutex_lock(&dev->state);
	if (dev->running)
		fzc_dev_stop(dev);
	mutex_unlock(&dev->state);
}

static int target_preresume(struct dm_target *ti)
{
	struct fzc_dev *dev = ti->private;
	char why[FZC_REASON_LEN] = "";
	int r = 0;

	mutex_lock(&dev->state);
	if (!dev->running)
		r = fzc_dev_start(dev, why);
	mutex_unlock(&dev->state);
	if (r)
		fzc_dev_complain(dev->name, why);
	else
		fzc_dev_list(dev);
	return r;
}

static void target_resume(struct dm_target *ti)
{
	struct fzc_dev *dev = ti->private;
	bool writable;

	spin_lock_irq(&dev->lock);
	writable = dev->role->writable(dev);
	spin_unlock_irq(&dev->lock);
	if (dev->role->role == FZC_SECONDARY) {
		set_disk_ro(dm_disk(dev->md), !writable);
		/* looks once more: a merge may have ended meanwhile */
		queue_work(system_unbound_wq, &dev->news);
	}
	set_suspended(dev, false);
	fzc_dev_connect(dev);
}

static void target_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			  char *result, unsigned int maxlen)
{
	struct fzc_dev *dev = ti->private;
	struct fzc_query *q;

	result[0] = 0;
	if (type == STATUSTYPE_TABLE) {
		fzc_table_print(dev, result, maxlen);
		return;
	}
	if (type != STATUSTYPE_INFO)
		return;
	q = kzalloc(sizeof(*q), GFP_NOIO);
	if (!q)
		return;
	fzc_query_take(dev, q);
	fzc_query_print(q, result, maxlen);
	kfree(q);
}

/* freeze [force] [label]: never freezes a file system. */
static int message_freeze(struct fzc_dev *dev, unsigned int argc, char **argv, char *result,
			  unsigned int maxlen, char *why)
{
	struct fzc_cut cut = { .deadline = jiffies + MESSAGE_DEADLINE };
	unsigned int i = 1, sz = 0;
	int r;

	if (dev->role != &fzc_primary_role) {
		strscpy(why, "freeze: this is a secondary", FZC_REASON_LEN);
		return -EOPNOTSUPP;
	}
	if (i < argc && !strcasecmp(argv[i], "force")) {
		cut.force = true;
		i++;
	}
	if (i < argc && strscpy(cut.label, argv[i++], sizeof(cut.label)) < 0) {
		scnprintf(why, FZC_REASON_LEN, "label: expected at most %u characters",
			  FZC_NAME_LEN - 1);
		return -EINVAL;
	}
	if (i < argc) {
		scnprintf(why, FZC_REASON_LEN, "freeze: unexpected word %.64s", argv[i]);
		return -EINVAL;
	}
	r = fzc_primary_cut(dev, &cut) ?: fzc_primary_recorded(dev, &cut);
	strscpy(why, cut.why, FZC_REASON_LEN);
	if (!r)
		DMEMIT("%llu", cut.img.number);
	return r;
}

static int message_recover(struct fzc_dev *dev, unsigned int argc, char **argv, char *why)
{
	u64 number;
	u32 how = 0;

	if (dev->role != &fzc_secondary_role) {
		strscpy(why, "recover: this is a primary", FZC_REASON_LEN);
		return -EOPNOTSUPP;
	}
	if (argc == 2 && !strcasecmp(argv[1], "force"))
		how = FZC_RECOVER_FORCE;
	else if (argc == 2 && !strcasecmp(argv[1], "give-up"))
		how = FZC_RECOVER_GIVE_UP;
	if (argc > 2 || (argc == 2 && !how)) {
		scnprintf(why, FZC_REASON_LEN,
			  "recover: unexpected word %.64s, expected force or give-up",
			  argv[argc - 1]);
		return -EINVAL;
	}
	return fzc_secondary_recover(dev, how, &number, why);
}

static int target_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			  unsigned int maxlen)
{
	struct fzc_dev *dev = ti->private;
	char why[FZC_REASON_LEN] = "";
	u64 number;
	int r = -EINVAL;

	result[0] = 0;
	if (!strcasecmp(argv[0], "freeze"))
		r = message_freeze(dev, argc, argv, result, maxlen, why);
	else if (!strcasecmp(argv[0], "recover"))
		r = message_recover(dev, argc, argv, why);
	else if (!strcasecmp(argv[0], "abort") && argc == 1)
		r = dev->role->abort(dev, &number, why);
	else
		scnprintf(why, sizeof(why),
			  "message %.64s: expected freeze [force] [label], abort, or recover [force|give-up]",
			  argv[0]);
	if (r < 0)
		fzc_dev_complain(dev->name, why);
	/* dm returns a result to user space when the message says 1 */
	return r ?: result[0] != 0;
}

static int target_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct fzc_dev *dev = ti->private;

	return fn(ti, dev->dm[FZC_DATA], 0, ti->len, data);
}

static void raise_sizes(struct queue_limits *limits, struct block_device *bdev)
{
	limits->logical_block_size = max_t(u32, limits->logical_block_size,
					   bdev_logical_block_size(bdev));
	limits->physical_block_size = max_t(u32, limits->physical_block_size,
					    bdev_physical_block_size(bdev));
	limits->dma_alignment = max_t(u32, limits->dma_alignment, bdev_dma_alignment(bdev));
}

/*
 * A bio may be diverted, and dm asks DATA only: the difference volume has to bear its
 * alignment, too, and may want pages that do not change.
 */
static void target_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct fzc_dev *dev = ti->private;

	raise_sizes(limits, dev->bdev[FZC_DIFF]);
	limits->discard_granularity = dev->geo.block_size;
	fzc_limit_zeroing(limits, MAX_ZERO_BYTES >> SECTOR_SHIFT);
	if (bdev_stable_writes(dev->bdev[FZC_DIFF]))
		fzc_require_stable_writes(ti, limits);
}

static struct target_type target = {
	.name = "freezecopy",
	.version = { 0, 1, 0 },
	.features = DM_TARGET_SINGLETON,
	.module = THIS_MODULE,
	.ctr = target_ctr,
	.dtr = target_dtr,
	.map = target_map,
	.end_io = target_end_io,
	.presuspend = target_presuspend,
	.presuspend_undo = target_presuspend_undo,
	.postsuspend = target_postsuspend,
	.preresume = target_preresume,
	.resume = target_resume,
	.status = target_status,
	.message = target_message,
	.iterate_devices = target_iterate_devices,
	.io_hints = target_io_hints,
};

int fzc_target_register(void)
{
	return dm_register_target(&target);
}

void fzc_target_unregister(void)
{
	dm_unregister_target(&target);
}
