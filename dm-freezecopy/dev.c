// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "dev.h"
#include "engine.h"
#include "hio.h"
#include "meta.h"

/* What starting and stopping may take before it is given up. */
#define START_TIMEOUT	(60 * HZ)
#define RECONNECT	(5 * HZ)	/* when there are no threads for the link */
#define ERRORS		8

static DEFINE_MUTEX(registry);	/* protects the list and, of its members, listed and md */
static LIST_HEAD(devices);	/* all that claim devices */

static DEFINE_SPINLOCK(errors_lock);
static struct {
	pid_t tgid;
	char why[FZC_MESSAGE_LEN];
} errors[ERRORS];
static unsigned int next_error;

void fzc_dev_complain(const char *name, const char *why)
{
	unsigned int i;

	DMERR("%s: %s", name, why);
	spin_lock(&errors_lock);
	i = next_error++ % ERRORS;
	errors[i].tgid = current->tgid;
	strscpy(errors[i].why, why, sizeof(errors[i].why));
	spin_unlock(&errors_lock);
}

void fzc_dev_last_error(char why[FZC_MESSAGE_LEN])
{
	unsigned int i, n;

	why[0] = 0;
	spin_lock(&errors_lock);
	for (n = 1; n <= ERRORS; n++) {
		i = (next_error - n) % ERRORS;
		if (errors[i].tgid == current->tgid) {
			strscpy(why, errors[i].why, FZC_MESSAGE_LEN);
			break;
		}
	}
	spin_unlock(&errors_lock);
}

void fzc_dev_event(struct fzc_dev *dev, enum fzc_event_kind event)
{
	char why[FZC_REASON_LEN] = "";
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	dev->event_nr++;
	dev->events[event]++;
	if (event == FZC_EVENT_ERROR || event == FZC_EVENT_ABORT || event == FZC_EVENT_SHORT ||
	    event == FZC_EVENT_PACED)
		strscpy(why, dev->role->reason(dev), sizeof(why));
	set_bit(event, &dev->news_bits);
	queue_work(system_unbound_wq, &dev->news);
	spin_unlock_irqrestore(&dev->lock, flags);
	if (why[0])
		DMWARN_LIMIT("%s: %s", dev->name, why);
}

/*
 * A page that was being read at the commit gets the old content, and is locked
 * when the cache is emptied.  So empty it again when all such reads have ended,
 * and once more, since a page is unlocked a little later than its read ends.
 */
#define STALE	2

static void invalidate_again(struct fzc_dev *dev)
{
	if (!dev->stale || !dev->role->reads_new(dev))
		return;
	dev->stale--;
	queue_work(system_unbound_wq, &dev->news);
}

/*
 * When the shared key is replaced, both copies of the superblock are written anew, so
 * that the key before can be forgotten.
 */
#define SUPERS	2

static void follow_key(struct fzc_dev *dev)
{
	if (!dev->sign)
		return;
	if (fzc_key_news(dev->key))
		queue_work(system_unbound_wq, &dev->news);
	if (dev->wrapped < SUPERS && dev->role->started(dev))
		dev->role->dirty_super(dev);
}

void fzc_dev_wrapped(struct fzc_dev *dev, u32 epoch)
{
	lockdep_assert_held(&dev->lock);
	if (epoch == READ_ONCE(dev->sign->epoch) && dev->wrapped < SUPERS)
		dev->wrapped++;
}

void fzc_dev_tick(struct fzc_dev *dev)
{
	lockdep_assert_held(&dev->lock);
	invalidate_again(dev);
	follow_key(dev);
}

/* -errno with a reason: the key before stays.  Sleeps. */
static int rekey(struct fzc_dev *dev, char *why)
{
	unsigned long flags;
	int r = dev->sign ? fzc_sign_rekey(dev->sign, dev->key, why) : 0;

	if (r <= 0)
		return r;
	spin_lock_irqsave(&dev->lock, flags);
	dev->wrapped = 0;
	spin_unlock_irqrestore(&dev->lock, flags);
	return 0;
}

static bool is_writable(struct fzc_dev *dev)
{
	unsigned long flags;
	bool yes;

	spin_lock_irqsave(&dev->lock, flags);
	yes = dev->role->writable(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	return yes;
}

/* A new content of the volume: what is cached of it is old. */
static void new_content(struct fzc_dev *dev)
{
	if (atomic_read(&dm_disk(dev->md)->part0->bd_openers))
		DMINFO("%s: its content changes while somebody has it open", dev->name);
	spin_lock_irq(&dev->lock);
	dev->stale = STALE;
	spin_unlock_irq(&dev->lock);
}

/* Runs only between start and stop: @md and @ti stay. */
static void news_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(work, struct fzc_dev, news);
	unsigned long bits = xchg(&dev->news_bits, 0);
	/* a suspend waits for this, and host I/O for the suspend */
	unsigned int noio = memalloc_noio_save();
	char why[FZC_REASON_LEN];

	if (dev->sign && fzc_key_news(dev->key) && rekey(dev, why))
		DMWARN_LIMIT("%s: %s", dev->name, why);
	if (dev->role->role == FZC_SECONDARY) {
		bool fresh = bits & (BIT(FZC_EVENT_COMMIT) | BIT(FZC_EVENT_RECOVERED));

		if (fresh)
			new_content(dev);
		if (fresh || !bits)	/* or the tick */
			invalidate_bdev(dm_disk(dev->md)->part0);
		/* writable when recovered and merged, not before */
		set_disk_ro(dm_disk(dev->md), !is_writable(dev));
	}
	if (bits)
		dm_table_event(dev->ti->table);
	wake_up_all(&dev->wait);
	memalloc_noio_restore(noio);
}

static void start_link(struct fzc_dev *dev)
{
	dev->link_ending = false;
	dev->linked = !fzc_link_start(dev->link);
	if (dev->linked)
		return;
	DMERR_LIMIT("%s: no memory or threads for the connection, trying again", dev->name);
	queue_delayed_work(system_unbound_wq, &dev->connect, RECONNECT);
}

static void connect_work(struct work_struct *work)
{
	struct fzc_dev *dev = container_of(to_delayed_work(work), struct fzc_dev, connect);

	mutex_lock(&dev->state);
	if (dev->running && !dev->linked && !READ_ONCE(dev->suspended))
		start_link(dev);
	mutex_unlock(&dev->state);
}

void fzc_dev_connect(struct fzc_dev *dev)
{
	mod_delayed_work(system_unbound_wq, &dev->connect, 0);
}

struct fzc_dev *fzc_dev_create(const struct fzc_role_ops *role, struct dm_target *ti)
{
	struct fzc_dev *dev = kvzalloc(role->size, GFP_KERNEL);

	if (!dev)
		return NULL;
	kref_init(&dev->kref);
	INIT_LIST_HEAD(&dev->list);
	dev->role = role;
	dev->ti = ti;
	dev->md = dm_table_get_md(ti->table);
	dev->devt = disk_devt(dm_disk(dev->md));
	strscpy(dev->name, dm_device_name(dev->md), sizeof(dev->name));
	mutex_init(&dev->state);
	spin_lock_init(&dev->lock);
	init_waitqueue_head(&dev->wait);
	INIT_WORK(&dev->news, news_work);
	INIT_DELAYED_WORK(&dev->connect, connect_work);
	dev->suspended = true;
	return dev;
}

int fzc_dev_setup(struct fzc_dev *dev)
{
	int r;

	dev->wq = alloc_workqueue("fzc/%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, dev->name);
	if (!dev->wq)
		return -ENOMEM;
	if (dev->encrypt)
		dev->sign = fzc_sign_create();
	r = PTR_ERR_OR_ZERO(dev->sign) ?: fzc_io_init(&dev->io, dev->name);
	return r ?: dev->role->setup(dev);
}

/*
 * The last reference: the table is gone, so that nothing of the engine, the
 * link or the host runs; an ioctl may have held us until now.
 */
static void release(struct kref *kref)
{
	struct fzc_dev *dev = container_of(kref, struct fzc_dev, kref);

	fzc_link_destroy(dev->link);
	fzc_key_put(dev->key);
	if (dev->wq)
		destroy_workqueue(dev->wq);
	dev->role->release(dev);
	fzc_hio_exit(dev);
	fzc_engine_exit(dev);
	fzc_io_exit(&dev->io);
	fzc_sign_destroy(dev->sign);
	/* the core has the volume's keys */
	kvfree_sensitive(dev, dev->role->size);
}

void fzc_dev_put(struct fzc_dev *dev)
{
	kref_put(&dev->kref, release);
}

void *fzc_dev_alloc(u64 bytes)
{
	/* kvzalloc() takes no more than INT_MAX */
	if (bytes != (size_t)bytes)
		return NULL;
	return __vmalloc(bytes, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
}

/*
 * In the worker, which others wait for: no I/O, and it is rather not had than
 * waited for.
 */
struct fzc_chunk *fzc_dev_alloc_chunk(void)
{
	unsigned int noio = memalloc_noio_save();
	struct fzc_chunk *chunk;

	chunk = __vmalloc(sizeof(*chunk), GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
	memalloc_noio_restore(noio);
	return chunk;
}

void fzc_dev_free_chunks(struct fzc_slots *slots)
{
	struct fzc_chunk *chunk;

	while ((chunk = fzc_slots_drop(slots)))
		vfree(chunk);
}

static const char *const device_name[FZC_NR_DEVS] = { "meta", "data", "diff", "diff-b" };

/* Do @a and @b name a device twice?  A device may be @b's only if both are of one dm device. */
static bool clashes(const struct fzc_dev *a, const struct fzc_dev *b, u8 *which)
{
	u8 i, k;

	for (i = 0; i < a->role->ndevs; i++)
		for (k = 0; k < (a == b ? i : b->role->ndevs); k++)
			if (a->bdevt[i] == b->bdevt[k]) {
				*which = i;
				return true;
			}
	return false;
}

static int check_claim(struct fzc_dev *dev, char *why)
{
	struct fzc_dev *other;
	u8 i;

	if (clashes(dev, dev, &i)) {
		scnprintf(why, FZC_REASON_LEN, "%s %s: is named twice in this table",
			  device_name[i], dev->dm[i]->name);
		return -EINVAL;
	}
	list_for_each_entry(other, &devices, list) {
		if (other->md == dev->md) {
			if (other->role == dev->role)
				continue;
			scnprintf(why, FZC_REASON_LEN,
				  "role %s: the device is a %s; a table cannot change that, remove the device first",
				  dev->role->name, other->role->name);
			return -EINVAL;
		}
		if (clashes(dev, other, &i)) {
			scnprintf(why, FZC_REASON_LEN, "%s %s: is used by freezecopy device %s",
				  device_name[i], dev->dm[i]->name, other->name);
			return -EBUSY;
		}
	}
	return 0;
}

int fzc_dev_claim(struct fzc_dev *dev, char *why)
{
	int r;

	mutex_lock(&registry);
	r = check_claim(dev, why);
	if (!r)
		list_add(&dev->list, &devices);
	mutex_unlock(&registry);
	return r;
}

void fzc_dev_list(struct fzc_dev *dev)
{
	struct fzc_dev *other;

	mutex_lock(&registry);
	list_for_each_entry(other, &devices, list)
		if (other->devt == dev->devt)
			other->listed = false;
	dev->listed = true;
	mutex_unlock(&registry);
}

struct fzc_dev *fzc_dev_find(dev_t devt)
{
	struct fzc_dev *dev, *found = NULL;

	mutex_lock(&registry);
	list_for_each_entry(dev, &devices, list)
		if (dev->listed && dev->devt == devt) {
			kref_get(&dev->kref);
			found = dev;
			break;
		}
	mutex_unlock(&registry);
	return found;
}

void fzc_dev_end(struct fzc_dev *dev)
{
	unsigned long flags;

	mutex_lock(&registry);
	list_del_init(&dev->list);
	dev->listed = false;
	mutex_unlock(&registry);

	mutex_lock(&dev->state);
	if (dev->running) {
		fzc_dev_link_stop(dev);
		fzc_dev_stop(dev);
	}
	spin_lock_irqsave(&dev->lock, flags);
	dev->gone = true;
	spin_unlock_irqrestore(&dev->lock, flags);
	/* a start that failed may have left some */
	cancel_work_sync(&dev->news);
	dev->md = NULL;
	dev->ti = NULL;
	mutex_unlock(&dev->state);
	/* takes @state, and does nothing from now on */
	cancel_delayed_work_sync(&dev->connect);
	wake_up_all(&dev->wait);
}

void fzc_dev_link_stop(struct fzc_dev *dev)
{
	lockdep_assert_held(&dev->state);
	if (!dev->linked)
		return;
	WRITE_ONCE(dev->link_ending, true);
	wake_up_all(&dev->wait);
	fzc_link_stop(dev->link);
	dev->linked = false;
}

static bool ask(struct fzc_dev *dev, bool (*question)(struct fzc_dev *dev))
{
	unsigned long flags;
	bool yes;

	spin_lock_irqsave(&dev->lock, flags);
	yes = question(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	return yes;
}

/*
 * What is read at a start may still be in a volatile cache, after a death without a
 * power cut.  From here on it counts as durable, above all that slots were given up.
 */
static int flush_metadata(struct fzc_dev *dev, char *why)
{
	int r;
	u8 i;

	for (i = 0; i < dev->role->ndevs; i++) {
		if (i == FZC_DATA)
			continue;
		r = blkdev_issue_flush(dev->bdev[i]);
		if (r) {
			scnprintf(why, FZC_REASON_LEN, "%s %s: cannot be flushed (error %d)",
				  device_name[i], dev->dm[i]->name, -r);
			return r;
		}
	}
	return 0;
}

/* Take up what meta says; then the core writes what has to be written first. */
static int load_and_start(struct fzc_dev *dev, char *why)
{
	unsigned long flags;
	int r = flush_metadata(dev, why) ?: fzc_meta_load(dev, why);

	if (r)
		return r;
	fzc_engine_start(dev);
	spin_lock_irqsave(&dev->lock, flags);
	r = dev->role->start(dev);
	if (r)
		strscpy(why, dev->role->reason(dev), FZC_REASON_LEN);
	fzc_engine_kick(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
	if (!r && !wait_event_timeout(dev->wait, ask(dev, dev->role->started), START_TIMEOUT)) {
		strscpy(why, "meta cannot be written", FZC_REASON_LEN);
		r = -EIO;
	}
	if (r)
		fzc_engine_stop(dev);
	return r;
}

int fzc_dev_start(struct fzc_dev *dev, char *why)
{
	struct fzc_opts *opts;
	int r;

	lockdep_assert_held(&dev->state);
	/* a key that is gone by now ends the session, not the volume */
	r = rekey(dev, why);
	if (r && !dev->sign->vk.n)
		return r;
	dev->wrapped = 0;
	opts = kzalloc(sizeof(*opts), GFP_NOIO);
	if (!opts) {
		strscpy(why, "no memory", FZC_REASON_LEN);
		return -ENOMEM;
	}
	r = fzc_meta_opts(dev, opts, why);
	if (!r) {
		dev->role->reset(dev, opts);
		r = load_and_start(dev, why);
	}
	kfree_sensitive(opts);
	dev->running = !r;
	return r;
}

/* The link is down and no host I/O is in flight. */
void fzc_dev_stop(struct fzc_dev *dev)
{
	u8 hash[32] = { };
	unsigned long flags;
	char why[FZC_REASON_LEN];
	bool idle;

	lockdep_assert_held(&dev->state);
	idle = wait_event_timeout(dev->wait, ask(dev, dev->role->idle), START_TIMEOUT);
	if (!idle)
		DMERR("%s: what came over the link does not end", dev->name);
	/* a merge that goes on would change what is hashed, as may what does not end */
	fzc_engine_pause(dev);
	if (idle && fzc_meta_hash(dev, hash, why))
		DMERR("%s: %s", dev->name, why);
	/* what is written last is under the key that the next start finds */
	if (rekey(dev, why))
		DMWARN_LIMIT("%s: %s", dev->name, why);
	spin_lock_irqsave(&dev->lock, flags);
	dev->role->stop(dev, hash);
	spin_unlock_irqrestore(&dev->lock, flags);
	fzc_engine_go_on(dev);
	if (!wait_event_timeout(dev->wait, ask(dev, dev->role->stopped), START_TIMEOUT))
		DMERR("%s: meta cannot be written, the next start will be after an unclean stop",
		      dev->name);
	else if (ask(dev, dev->role->stop_failed))
		DMWARN("%s: a device failed, the next start will be after an unclean stop",
		       dev->name);
	fzc_engine_stop(dev);
	fzc_hio_stop(dev);
	/* whatever was given up: @dev must not go before what refers to it has ended */
	wait_event(dev->wait, ask(dev, dev->role->drained));
	/* not flushed: no worker may be had for it now */
	if (cancel_work_sync(&dev->news))
		news_work(&dev->news);
	dev->running = false;
}
