// SPDX-License-Identifier: GPL-2.0-only
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "core/request.h"
#include "ctl.h"
#include "fsfreeze.h"
#include "primary.h"
#include "query.h"
#include "secondary.h"

#define DEFAULT_DEADLINE_MS	30000U

static void say(struct fzc_head *head, const char *why)
{
	strscpy(head->message, why, sizeof(head->message));
}

static bool is_suspended(struct fzc_dev *dev)
{
	return READ_ONCE(dev->suspended);
}

static int ctl_freeze(struct fzc_dev *dev, void *arg)
{
	struct fzc_freeze *f = arg;
	struct fzc_cut cut = { .force = f->flags & FZC_FREEZE_FORCE };
	u32 state = FZC_FS_NONE;
	int r;

	cut.deadline = jiffies + msecs_to_jiffies(f->deadline_ms ?: DEFAULT_DEADLINE_MS);
	strscpy(cut.label, f->label, sizeof(cut.label));
	if (dev->role != &fzc_primary_role) {
		say(&f->head, "this is a secondary: freeze the primary");
		return -EOPNOTSUPP;
	}
	if (f->flags & FZC_FREEZE_FS)
		r = fzc_fsfreeze_cut(dev, &cut, &state);
	else
		r = fzc_primary_cut(dev, &cut) ?: fzc_primary_recorded(dev, &cut);
	say(&f->head, cut.why);
	if (r)
		return r;
	f->number = cut.img.number;
	memcpy(f->id, &cut.img.id, sizeof(f->id));
	f->fs_state = state;
	f->stall_us = cut.stall_us;
	return 0;
}

/* 1: reached; 0: not yet; -ESTALE: the device has gone, perhaps for another table. */
static int look(struct fzc_dev *dev, struct fzc_wait *w)
{
	unsigned long flags;
	int r = 0;

	spin_lock_irqsave(&dev->lock, flags);
	if (dev->gone)
		r = -ESTALE;
	else if (w->what == FZC_WAIT_CHANGE)
		r = dev->event_nr != w->number;
	else if (!dev->suspended)
		r = dev->role->reached(dev, w->what, w->number);
	spin_unlock_irqrestore(&dev->lock, flags);
	return r;
}

static int wait_on(struct fzc_dev *dev, struct fzc_wait *w, long *left)
{
	int r = 0;

	*left = wait_event_killable_timeout(dev->wait, (r = look(dev, w)), *left);
	if (*left < 0)
		return -EINTR;
	return *left ? r : -ETIMEDOUT;
}

static void wait_result(struct fzc_dev *dev, struct fzc_wait *w)
{
	struct fzc_query *q = kzalloc(sizeof(*q), GFP_KERNEL);

	if (!q)
		return;
	fzc_query_take(dev, q);
	w->number = w->what == FZC_WAIT_CHANGE ? q->event_nr : q->image.number;
	kfree(q);
}

static void wait_message(struct fzc_wait *w, int r)
{
	switch (r) {
	case -ETIMEDOUT:
		say(&w->head, "what was waited for did not come in time");
		break;
	case -ECANCELED:
		scnprintf(w->head.message, sizeof(w->head.message), "image %llu was given up",
			  w->number);
		break;
	case -EOPNOTSUPP:
		say(&w->head, "this role never reaches that state");
		break;
	case -ENODEV:
		say(&w->head, "the device was removed");
		break;
	}
}

static int ctl_wait(struct fzc_dev *dev, void *arg)
{
	struct fzc_wait *w = arg;
	dev_t devt = dev->devt;
	long left = w->timeout_ms ? msecs_to_jiffies(w->timeout_ms) + 1 : MAX_SCHEDULE_TIMEOUT;
	int r;

	if (is_suspended(dev)) {
		say(&w->head, "the device is suspended");
		return -EAGAIN;
	}
	kref_get(&dev->kref);
	while ((r = wait_on(dev, w, &left)) == -ESTALE) {
		fzc_dev_put(dev);
		dev = fzc_dev_find(devt);
		if (!dev) {
			r = -ENODEV;
			break;
		}
	}
	wait_message(w, r);
	if (r == 1)
		wait_result(dev, w);
	if (dev)
		fzc_dev_put(dev);
	return min(r, 0);
}

static int ctl_abort(struct fzc_dev *dev, void *arg)
{
	struct fzc_abort *a = arg;
	char why[FZC_REASON_LEN] = "";
	int r;

	r = dev->role->abort(dev, &a->number, why);
	say(&a->head, why);
	return r;
}

static int ctl_recover(struct fzc_dev *dev, void *arg)
{
	struct fzc_recover *f = arg;
	char why[FZC_REASON_LEN] = "";
	int r;

	if (dev->role != &fzc_secondary_role) {
		say(&f->head, "this is a primary: recover the secondary");
		return -EOPNOTSUPP;
	}
	r = fzc_secondary_recover(dev, f->flags, &f->number, why);
	say(&f->head, why);
	return r;
}

static int ctl_query(struct fzc_dev *dev, void *arg)
{
	fzc_query_take(dev, arg);
	return 0;
}

static int ctl_last_error(struct fzc_dev *dev, void *arg)
{
	struct fzc_last_error *e = arg;

	fzc_dev_last_error(e->head.message);
	return 0;
}

static const struct request {
	unsigned int cmd;
	bool no_device;
	int (*run)(struct fzc_dev *dev, void *arg);
} requests[] = {
	{ FZC_IOC_FREEZE, false, ctl_freeze },
	{ FZC_IOC_WAIT, false, ctl_wait },
	{ FZC_IOC_ABORT, false, ctl_abort },
	{ FZC_IOC_RECOVER, false, ctl_recover },
	{ FZC_IOC_QUERY, false, ctl_query },
	{ FZC_IOC_LAST_ERROR, true, ctl_last_error },
};

static const struct request *find_request(unsigned int cmd)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(requests); i++)
		if (requests[i].cmd == cmd)
			return &requests[i];
	return NULL;
}

static int carry_out(const struct request *rq, struct fzc_head *head)
{
	struct fzc_dev *dev = NULL;
	int r = fzc_request_check(rq->cmd, head);

	if (r)
		return r;
	if (!rq->no_device) {
		dev = fzc_dev_find(MKDEV(head->major, head->minor));
		if (!dev) {
			scnprintf(head->message, sizeof(head->message),
				  "%u:%u: no freezecopy device that was resumed", head->major,
				  head->minor);
			return -ENODEV;
		}
	}
	r = rq->run(dev, head);
	if (dev)
		fzc_dev_put(dev);
	return r;
}

static long ctl_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct request *rq = find_request(cmd);
	void __user *user = (void __user *)arg;
	struct fzc_head *head;
	long r;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!rq)
		return -ENOTTY;
	head = memdup_user(user, _IOC_SIZE(cmd));
	if (IS_ERR(head))
		return PTR_ERR(head);
	r = carry_out(rq, head);
	if (copy_to_user(user, head, _IOC_SIZE(cmd)))
		r = -EFAULT;
	kfree(head);
	return r;
}

static const struct file_operations ctl_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ctl_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice ctl_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = FZC_DEVICE_NAME,
	.fops = &ctl_fops,
	.mode = 0600,
};

int fzc_ctl_register(void)
{
	int r = fzc_fsfreeze_init();

	if (r)
		return r;
	r = misc_register(&ctl_device);
	if (r)
		fzc_fsfreeze_exit();
	return r;
}

void fzc_ctl_unregister(void)
{
	misc_deregister(&ctl_device);
	fzc_fsfreeze_exit();
}
