// SPDX-License-Identifier: GPL-2.0-only
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/slab.h>
#include "compat.h"
#include "fsfreeze.h"

/*
 * Freezing a file system may hang as long as its I/O does, and cannot be
 * interrupted.  So a work does it, and the caller waits for the work no longer
 * than its deadline (P7).
 */
struct job {
	struct kref kref;	/* the work and the caller hold one each */
	struct work_struct work;
	struct completion done;
	struct fzc_dev *dev;
	struct fzc_cut cut;
	bool given_up;		/* the caller has left: no cut any more */
	bool ended;		/* before @done */
	u32 state;
	int err;
};

static struct workqueue_struct *jobs;

static void release(struct kref *kref)
{
	struct job *job = container_of(kref, struct job, kref);

	fzc_dev_put(job->dev);
	kfree(job);
}

static void put_job(struct job *job)
{
	kref_put(&job->kref, release);
}

/* Whose freeze is it?  Called after ours succeeded; -EDEADLK: it is none. */
static int look(struct job *job, struct block_device *bdev)
{
	if (fzc_bdev_frozen_once(bdev)) {
		job->state = fzc_bdev_has_fs(bdev) ? FZC_FS_FROZEN : FZC_FS_NONE;
		return 0;
	}
	if (fzc_bdev_is_frozen(bdev)) {
		job->state = FZC_FS_ALREADY_FROZEN;
		return 0;
	}
	strscpy(job->cut.why,
		"the file system cannot be frozen afresh, freeze it with fsfreeze: the kernel counts a freeze that is none",
		sizeof(job->cut.why));
	return -EDEADLK;
}

static int freeze_cut_thaw(struct job *job, struct block_device *bdev)
{
	int r;

	/* what can be written before the freeze does not lengthen it */
	r = fzc_bdev_sync(bdev);
	if (!r)
		r = READ_ONCE(job->given_up) ? -ETIMEDOUT : fzc_bdev_freeze(bdev);
	if (r == -EBUSY) {	/* fsfreeze by the user: theirs to thaw */
		job->state = FZC_FS_ALREADY_FROZEN;
		return fzc_primary_cut(job->dev, &job->cut);
	}
	if (r) {
		scnprintf(job->cut.why, sizeof(job->cut.why),
			  "the file system cannot be synced and frozen (error %d)", -r);
		return r;
	}
	r = look(job, bdev);
	if (!r)
		r = READ_ONCE(job->given_up) ? -ETIMEDOUT :
		    fzc_primary_cut(job->dev, &job->cut);
	if (fzc_bdev_thaw(bdev))
		DMERR("%s: the file system cannot be thawed", job->dev->name);
	return r;
}

static void job_work(struct work_struct *work)
{
	struct job *job = container_of(work, struct job, work);
	struct fzc_open_bdev open;

	job->err = fzc_bdev_open(&open, job->dev->devt);
	if (job->err) {
		strscpy(job->cut.why, "the device cannot be opened", sizeof(job->cut.why));
	} else {
		job->err = freeze_cut_thaw(job, open.bdev);
		fzc_bdev_close(&open);
	}
	if (!job->err)
		job->err = fzc_primary_recorded(job->dev, &job->cut);
	smp_store_release(&job->ended, true);	/* what it found is there: fzc_fsfreeze_cut() */
	complete(&job->done);
	put_job(job);
}

/* Cut and give-up exclude each other under the device's lock, in the core. */
static int give_up(struct job *job, long left)
{
	WRITE_ONCE(job->given_up, true);
	if (fzc_primary_give_up(job->dev, &job->cut))
		return left < 0 ? -EINTR : -ETIMEDOUT;
	/* the cut is made, its record is on its way */
	return wait_for_completion_killable(&job->done) ? -EINTR : job->err;
}

int fzc_fsfreeze_cut(struct fzc_dev *dev, struct fzc_cut *cut, u32 *state)
{
	struct job *job = kzalloc(sizeof(*job), GFP_KERNEL);
	long left;
	int r;

	if (!job)
		return -ENOMEM;
	kref_init(&job->kref);
	kref_get(&job->kref);
	kref_get(&dev->kref);
	job->dev = dev;
	job->cut = *cut;
	init_completion(&job->done);
	INIT_WORK(&job->work, job_work);
	queue_work(jobs, &job->work);

	left = max_t(long, cut->deadline - jiffies, 1);
	left = wait_for_completion_killable_timeout(&job->done, left);
	r = left > 0 ? job->err : give_up(job, left);
	if (smp_load_acquire(&job->ended)) {	/* job_work() */
		*cut = job->cut;
		*state = job->state;
	} else {
		strscpy(cut->why,
			"the file system was not frozen, or the cut not made, before the deadline",
			sizeof(cut->why));
	}
	put_job(job);
	return r;
}

int fzc_fsfreeze_init(void)
{
	jobs = alloc_workqueue("fzc_fsfreeze", WQ_UNBOUND, 0);
	return jobs ? 0 : -ENOMEM;
}

void fzc_fsfreeze_exit(void)
{
	destroy_workqueue(jobs);
}
