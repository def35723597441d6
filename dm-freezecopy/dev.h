/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One freezecopy device: what both roles share.
 *
 * DOC: life and references
 *
 * Made by the constructor with one reference, which the destructor drops.  The
 * registry, by which the control device finds it, holds none; who finds it
 * there takes one.  The table's own (dm devices, claims, md, ti) goes with the
 * destructor, under @state; everything else with the last reference.
 *
 * DOC: locks, outermost first
 *
 * registry and claims (dev.c) -> @state -> @lock -> queue of the link, fills
 */
#ifndef FZC_DEV_H
#define FZC_DEV_H

#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include "core/args.h"
#include "core/pcore.h"
#include "engine.h"
#include "hio.h"
#include "io.h"
#include "link.h"
#include "sign.h"
#include "uapi/dm-freezecopy.h"

#define DM_MSG_PREFIX	"freezecopy"

struct fzc_dev;

/* What a role adds. */
struct fzc_role_ops {
	const char *name;
	u8 role;		/* enum fzc_disk_role */
	u8 ndevs;
	size_t size;		/* of the struct that begins with struct fzc_dev */
	/* Allocate what the geometry asks for; -errno.  And free it.  Sleep. */
	int (*setup)(struct fzc_dev *dev);
	void (*release)(struct fzc_dev *dev);

	/* Core from scratch, before loading.  Sleeps. */
	void (*reset)(struct fzc_dev *dev, const struct fzc_opts *opts);
	/* The next: no lock is needed, nothing else runs yet. */
	bool (*load_next)(struct fzc_dev *dev, struct fzc_load *load);
	int (*load_give)(struct fzc_dev *dev, struct fzc_load *load,
			 const struct fzc_page *a, const struct fzc_page *b);
	/* Under the lock. */
	int (*start)(struct fzc_dev *dev);
	bool (*started)(struct fzc_dev *dev);
	void (*suspend)(struct fzc_dev *dev);	/* a freeze without a cut is void */
	bool (*idle)(struct fzc_dev *dev);	/* of what came or went over the link */
	bool (*drained)(struct fzc_dev *dev);	/* no disk I/O of that is in flight */
	void (*stop)(struct fzc_dev *dev, const u8 data_hash[32]);
	bool (*stopped)(struct fzc_dev *dev);
	/* ...and the next start is one after an unclean stop */
	bool (*stop_failed)(struct fzc_dev *dev);
	const char *(*reason)(struct fzc_dev *dev);
	const struct fzc_volume_keys *(*keys)(struct fzc_dev *dev);
	/* The superblock is to be written, though nothing in it has changed. */
	void (*dirty_super)(struct fzc_dev *dev);
	void (*query)(struct fzc_dev *dev, struct fzc_query *q);
	/* Has an image as WAIT asks been reached?  1 yes, 0 not yet, or -errno. */
	int (*reached)(struct fzc_dev *dev, u32 what, u64 number);
	/* May the host write? */
	bool (*writable)(struct fzc_dev *dev);
	/* Have all reads ended that began before the last commit?  Secondary. */
	bool (*reads_new)(struct fzc_dev *dev);

	int (*abort)(struct fzc_dev *dev, u64 *number, char *why);
};

struct fzc_dev {
	struct kref kref;
	struct list_head list;		/* all devices; registry */
	const struct fzc_role_ops *role;
	char name[64];			/* for messages: dm device's major:minor */
	dev_t devt;			/* of the dm device */
	bool listed;			/* registry: was resumed, may be found */

	/* The table's; @state.  NULL when it is gone. */
	struct mapped_device *md;
	struct dm_target *ti;
	struct dm_dev *dm[FZC_NR_DEVS];

	/* Fixed from the constructor on. */
	struct block_device *bdev[FZC_NR_DEVS];
	dev_t bdevt[FZC_NR_DEVS];
	struct fzc_geometry geo;
	struct fzc_addr addr;
	struct fzc_tcp tcp;
	u32 compress;			/* as in struct fzc_table */
	struct fzc_sock *tcp_sock;	/* never connected: see table.c; NULL: not needed */
	struct fzc_id pair;
	bool identical;
	bool take_all;
	bool has_pair;
	bool auth_none;
	char key_name[FZC_KEY_MAX];	/* its description */
	struct fzc_key *key;		/* NULL: auth none */
	bool verify;
	bool encrypt;
	struct fzc_sign *sign;		/* if so: signs metadata */
	u8 wrapped;			/* lock: superblocks under the shared key as it is */
	bool has_pace;
	u32 pace_ms;

	struct mutex state;		/* start, stop, recover, end: one at a time */
	bool running;			/* state: the core is loaded and started */
	bool linked;			/* state: the link was started */
	bool link_ending;		/* its threads are to come to an end */

	spinlock_t lock;		/* all calls of the core; irqsave */
	bool suspended;			/* lock; read without it as a hint */
	bool gone;			/* lock */
	bool refused;			/* lock: the last connection was */
	struct workqueue_struct *wq;
	struct fzc_io io;
	struct fzc_engine engine;
	struct fzc_hio_set hio;
	struct fzc_link *link;
	wait_queue_head_t wait;		/* woken at every event, tick and round of actions */

	/* On the system's workqueue: they allocate, or wait for those who wait for @wq. */
	struct work_struct news;	/* what events ask for and may sleep */
	struct delayed_work connect;	/* starts the link: resume must not allocate */
	u8 stale;			/* lock: so often the page cache has to be emptied yet */
	unsigned long news_bits;	/* bits by enum fzc_event_kind */
	u64 event_nr;			/* lock */
	u64 events[FZC_NR_EVENTS];
};

/* Allocate; only name, lock and the like.  Sleeps. */
struct fzc_dev *fzc_dev_create(const struct fzc_role_ops *role, struct dm_target *ti);
/* Allocate the rest, when the geometry is known.  Sleeps. */
int fzc_dev_setup(struct fzc_dev *dev);
/* The table is going: nothing of it is used after this.  Sleeps. */
void fzc_dev_end(struct fzc_dev *dev);
void fzc_dev_put(struct fzc_dev *dev);
/* A core's memory, zeroed, which may be gigabytes; NULL.  For vfree().  Sleeps. */
void *fzc_dev_alloc(u64 bytes);
/* Memory for slots, by FZC_ACT_GROW; NULL.  Sleeps.  And all that they have; sleeps. */
struct fzc_chunk *fzc_dev_alloc_chunk(void);
void fzc_dev_free_chunks(struct fzc_slots *slots);

/* Claim the devices in dev->bdevt for the table's dm device: -EBUSY with a reason. */
int fzc_dev_claim(struct fzc_dev *dev, char *why);
/* Make it the one that is found by its number. */
void fzc_dev_list(struct fzc_dev *dev);
/* Takes a reference; NULL: none. */
struct fzc_dev *fzc_dev_find(dev_t devt);

/* Load, format if blank, start; stop in order.  Under @state; sleep. */
int fzc_dev_start(struct fzc_dev *dev, char *why);
void fzc_dev_stop(struct fzc_dev *dev);
/* Start the link soon, if the device is running.  Does not sleep; not after fzc_dev_end(). */
void fzc_dev_connect(struct fzc_dev *dev);
/* Under @state; sleeps. */
void fzc_dev_link_stop(struct fzc_dev *dev);

/* Tell user space. */
void fzc_dev_event(struct fzc_dev *dev, enum fzc_event_kind event);
/* A superblock was written, its keys wrapped as of @epoch of dev->sign.  Under the lock. */
void fzc_dev_wrapped(struct fzc_dev *dev, u32 epoch);
/* About once a second, under the lock. */
void fzc_dev_tick(struct fzc_dev *dev);
/* A trouble that a command of the current process ran into: dmesg and FZC_IOC_LAST_ERROR. */
void fzc_dev_complain(const char *name, const char *why);
void fzc_dev_last_error(char why[FZC_MESSAGE_LEN]);

static inline void fzc_dev_put_image(struct fzc_image *to, const struct fzc_img *from)
{
	to->number = from->number;
	memcpy(to->id, &from->id, sizeof(to->id));
	to->time = from->time;
	memcpy(to->label, from->label, sizeof(to->label));
}

/* Bytes that the volume has of a block. */
static inline u32 fzc_dev_block_bytes(const struct fzc_dev *dev, u64 block)
{
	u64 at = block << dev->geo.block_shift;
	u64 size = dev->geo.sectors << SECTOR_SHIFT;

	return min_t(u64, size - at, dev->geo.block_size);
}

/* Where a block is, in bytes: on DATA its own place, else slot @slot of @which. */
static inline u64 fzc_dev_at(const struct fzc_dev *dev, u8 which, u64 block, u32 slot)
{
	const struct fzc_geometry *geo = &dev->geo;

	if (which == FZC_DATA)
		return block << geo->block_shift;
	return fzc_slot_offset(geo, geo->slots[which == FZC_DIFF_B], slot);
}

#endif /* FZC_DEV_H */
