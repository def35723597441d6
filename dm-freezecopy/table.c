// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/err.h>
#include "compat.h"
#include "sock.h"
#include "table.h"

static const char *const names[2][FZC_NR_DEVS] = {
	{ "meta", "data", "diff" },
	{ "meta", "data", "diffA", "diffB" },
};

static const char *name_of(const struct fzc_dev *dev, u8 i)
{
	return names[dev->role->role == FZC_SECONDARY][i];
}

static u64 bytes_of(const struct fzc_dev *dev, u8 i)
{
	return bdev_nr_bytes(dev->bdev[i]);
}

/*
 * A congestion control is tried here, where its module may be loaded; the socket
 * is kept, so that the module stays and none of the threads that others wait for
 * has to load it.
 */
static int try_congestion(struct fzc_dev *dev, char *why)
{
	int r;

	if (!dev->tcp.congestion[0])
		return 0;
	dev->tcp_sock = fzc_sock_create(&dev->addr, &dev->tcp);
	r = PTR_ERR_OR_ZERO(dev->tcp_sock);
	if (!r)
		return 0;
	dev->tcp_sock = NULL;
	scnprintf(why, FZC_REASON_LEN,
		  "option congestion: %s, expected one that the kernel has (error %d): sysctl net.ipv4.tcp_available_congestion_control names those that are loaded, others are modules tcp_NAME",
		  dev->tcp.congestion, -r);
	return r;
}

static int open_devices(struct fzc_dev *dev, const struct fzc_table *t, char *why)
{
	u8 i;

	for (i = 0; i < dev->role->ndevs; i++) {
		int r = dm_get_device(dev->ti, t->dev[i], FZC_OPEN_RW, &dev->dm[i]);

		if (r) {
			dev->dm[i] = NULL;
			scnprintf(why, FZC_REASON_LEN, "%s %.200s: cannot be opened (error %d%s)",
				  name_of(dev, i), t->dev[i], -r,
				  r == -EBUSY ? ": in use" : "");
			return r;
		}
		dev->bdev[i] = dev->dm[i]->bdev;
		dev->bdevt[i] = dev->bdev[i]->bd_dev;
	}
	return 0;
}

static int check_data(struct fzc_dev *dev, char *why)
{
	u64 have = bdev_nr_sectors(dev->bdev[FZC_DATA]);

	if (dev->ti->begin) {
		scnprintf(why, FZC_REASON_LEN, "start %llu: expected 0",
			  (unsigned long long)dev->ti->begin);
		return -EINVAL;
	}
	if (have != dev->ti->len) {
		scnprintf(why, FZC_REASON_LEN,
			  "data %s: has %llu sectors, the table says %llu; expected the same",
			  dev->dm[FZC_DATA]->name, have, (unsigned long long)dev->ti->len);
		return -EINVAL;
	}
	return 0;
}

static int check_block(struct fzc_dev *dev, u32 block_size, char *why)
{
	u8 i;

	for (i = 0; i < dev->role->ndevs; i++) {
		u32 sector = bdev_logical_block_size(dev->bdev[i]);

		if (sector > FZC_PAGE || sector > block_size) {
			scnprintf(why, FZC_REASON_LEN,
				  "%s %s: has sectors of %u bytes, expected at most %u",
				  name_of(dev, i), dev->dm[i]->name, sector, FZC_PAGE);
			return -EINVAL;
		}
		/* a slot of the volume's last block may be shorter than a block */
		if (i != FZC_META && (dev->ti->len << SECTOR_SHIFT) & (sector - 1)) {
			scnprintf(why, FZC_REASON_LEN,
				  "%s %s: has sectors of %u bytes, expected the volume's size (%llu sectors of 512 bytes) to be a multiple",
				  name_of(dev, i), dev->dm[i]->name, sector,
				  (unsigned long long)dev->ti->len);
			return -EINVAL;
		}
	}
	return 0;
}

static int measure(struct fzc_dev *dev, const struct fzc_table *t, char *why)
{
	u64 need;
	u8 i;
	int r = check_data(dev, why) ?: check_block(dev, t->block_size, why) ?:
		fzc_geometry_init(&dev->geo, dev->ti->len, t->block_size, why);

	if (r)
		return r;
	dev->geo.tagged = t->encrypt && t->role == FZC_SECONDARY;
	need = fzc_meta_bytes(&dev->geo);
	if (bytes_of(dev, FZC_META) < need) {
		scnprintf(why, FZC_REASON_LEN, "meta %s: has %llu bytes, expected at least %llu",
			  dev->dm[FZC_META]->name, bytes_of(dev, FZC_META), need);
		return -EINVAL;
	}
	for (i = FZC_DIFF; i < dev->role->ndevs; i++) {
		u32 slots = fzc_slots_fit(bytes_of(dev, i), t->block_size,
					  dev->geo.tagged);

		if (!slots) {
			scnprintf(why, FZC_REASON_LEN,
				  "%s %s: has %llu bytes, too small for one block of %u bytes and its index",
				  name_of(dev, i), dev->dm[i]->name, bytes_of(dev, i),
				  t->block_size);
			return -EINVAL;
		}
		dev->geo.slots[i - FZC_DIFF] = slots;
	}
	return 0;
}

/* The key itself goes with the device's last reference. */
static int take_key(struct fzc_dev *dev, const char *description, char *why)
{
	struct fzc_key *key = description ? fzc_key_get(description, why) : NULL;

	if (!key)
		return 0;
	if (IS_ERR(key))
		return PTR_ERR(key);
	dev->key = key;
	strscpy(dev->key_name, description, sizeof(dev->key_name));
	return 0;
}

int fzc_table_take(struct fzc_dev *dev, const struct fzc_table *t, char *why)
{
	dev->addr = t->addr;
	dev->identical = t->identical;
	dev->take_all = t->take_all;
	dev->verify = t->verify;
	dev->encrypt = t->encrypt;
	dev->has_pace = t->has_pace;
	dev->pace_ms = t->pace_ms;
	dev->has_pair = t->has_pair;
	dev->auth_none = t->auth_none;
	dev->pair = t->pair;
	dev->tcp = t->tcp;
	dev->compress = t->compress;
	return take_key(dev, t->key, why) ?: try_congestion(dev, why) ?:
	       open_devices(dev, t, why) ?: measure(dev, t, why) ?: fzc_dev_claim(dev, why);
}

void fzc_table_put(struct fzc_dev *dev, struct dm_target *ti)
{
	u8 i;

	for (i = 0; i < FZC_NR_DEVS; i++) {
		if (dev->dm[i])
			dm_put_device(ti, dev->dm[i]);
		dev->dm[i] = NULL;
		dev->bdev[i] = NULL;
	}
	if (dev->tcp_sock)
		fzc_sock_release(dev->tcp_sock);
	dev->tcp_sock = NULL;
}

/* Those that are printed: address and block always are. */
static unsigned int option_words(const struct fzc_dev *dev)
{
	return 2 * (3 + dev->identical + dev->has_pair + dev->take_all +
		    dev->verify + dev->has_pace + !!dev->tcp.congestion[0] +
		    !!dev->tcp.rate + !!dev->compress + (dev->key && !dev->encrypt));
}

void fzc_table_print(const struct fzc_dev *dev, char *result, unsigned int maxlen)
{
	bool primary = dev->role->role == FZC_PRIMARY;
	unsigned int sz = 0;
	char addr[FZC_PEER_LEN], pair[37], rate[FZC_RATE_LEN];
	u8 i;

	fzc_addr_print(&dev->addr, addr, sizeof(addr));
	fzc_uuid_print(&dev->pair, pair);
	fzc_rate_print(dev->tcp.rate, rate);
	DMEMIT("%s", dev->role->name);
	for (i = 0; i < dev->role->ndevs; i++)
		DMEMIT(" %s", dev->dm[i]->name);
	DMEMIT(" %u %s %s block %u", option_words(dev), primary ? "peer" : "listen", addr,
	       dev->geo.block_size);
	if (dev->auth_none)
		DMEMIT(" auth none");
	else
		DMEMIT(" key %s%s", FZC_KEY_PREFIX, dev->key_name);
	if (dev->identical)
		DMEMIT(" assume identical");
	if (dev->has_pair)
		DMEMIT(" pair %s", pair);
	if (dev->take_all)
		DMEMIT(" take_all_changed yes");
	if (dev->verify)
		DMEMIT(" verify yes");
	if (dev->has_pace)
		DMEMIT(" pace_ms %u", dev->pace_ms);
	if (dev->tcp.congestion[0])
		DMEMIT(" congestion %s", dev->tcp.congestion);
	if (dev->tcp.rate)
		DMEMIT(" rate %s", rate);
	if (dev->compress)
		DMEMIT(" compress %s", fzc_compress_name(dev->compress));
	if (dev->key && !dev->encrypt)
		DMEMIT(" stage_encryption off");
}
