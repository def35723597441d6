// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <linux/dm-ioctl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dmdev.h"

#define LEVEL_MASK	7	/* libdevmapper's log levels are syslog's, with flags above */
#define LEVEL_ERR	3

static char last_error[512];

/* libdevmapper prints to stderr by itself; we say it once and in context. */
static void collect(int level, const char *file, int line, int dm_errno, const char *fmt, ...)
{
	va_list ap;

	(void)file;
	(void)line;
	(void)dm_errno;
	if ((level & LEVEL_MASK) > LEVEL_ERR)
		return;
	va_start(ap, fmt);
	vsnprintf(last_error, sizeof(last_error), fmt, ap);
	va_end(ap);
}

const char *dmdev_error(void)
{
	return last_error;
}

static struct dm_task *task(int type, const char *name)
{
	struct dm_task *t;

	dm_log_with_errno_init(collect);
	last_error[0] = '\0';
	t = dm_task_create(type);
	if (t && name && !dm_task_set_name(t, name)) {
		dm_task_destroy(t);
		t = NULL;
	}
	return t;
}

static int task_error(struct dm_task *t)
{
	int err = t ? dm_task_get_errno(t) : ENOMEM;

	return err ? -err : -EIO;
}

/* Whoever may not ask hears of versions from libdevmapper, which asks for that first. */
static int may_ask(void)
{
	struct dm_ioctl io = { .version = { DM_VERSION_MAJOR, 0, 0 }, .data_size = sizeof(io) };
	int fd = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC), err = 0;

	if (fd < 0 || ioctl(fd, DM_VERSION, &io))
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err != EACCES && err != EPERM)
		return 0;
	snprintf(last_error, sizeof(last_error),
		 "device-mapper: %s; freezectl must run as root", strerror(err));
	return -err;
}

/* Asking a kernel without device-mapper must neither load it nor fail: -ENODEV. */
static int have_dm(void)
{
	return access("/sys/class/misc/device-mapper", F_OK) ? -ENODEV : may_ask();
}

static int fill(struct dm_task *t, struct dmdev *d)
{
	struct dm_info info;

	if (!dm_task_run(t))
		return task_error(t);
	if (!dm_task_get_info(t, &info) || !info.exists)
		return -ENODEV;
	snprintf(d->name, sizeof(d->name), "%s", dm_task_get_name(t));
	snprintf(d->uuid, sizeof(d->uuid), "%s", dm_task_get_uuid(t));
	d->dev = makedev(info.major, info.minor);
	d->open_count = info.open_count;
	d->suspended = info.suspended;
	d->ours = !strncmp(d->uuid, DMDEV_UUID_PREFIX, strlen(DMDEV_UUID_PREFIX));
	return 0;
}

int dmdev_find(const char *name, struct dmdev *d)
{
	struct dm_task *t;
	int rc = have_dm();

	if (rc)
		return rc;
	t = task(DM_DEVICE_INFO, name);
	if (!t)
		return task_error(t);
	rc = fill(t, d);
	dm_task_destroy(t);
	return rc;
}

int dmdev_find_dev(dev_t dev, struct dmdev *d)
{
	struct dm_task *t;
	int rc = have_dm();

	if (rc)
		return rc;
	t = task(DM_DEVICE_INFO, NULL);
	if (!t)
		return task_error(t);
	rc = -ENOMEM;
	if (dm_task_set_major(t, major(dev)) && dm_task_set_minor(t, minor(dev)))
		rc = fill(t, d);
	dm_task_destroy(t);
	return rc;
}

int dmdev_each(int (*fn)(const struct dmdev *d, void *arg), void *arg)
{
	struct dm_names *names;
	struct dm_task *t;
	struct dmdev d;
	int rc = have_dm();

	if (rc)
		return rc == -ENODEV ? 0 : rc;
	t = task(DM_DEVICE_LIST, NULL);
	if (!t || !dm_task_run(t)) {
		rc = task_error(t);
		goto out;
	}
	names = dm_task_get_names(t);
	if (!names || !names->dev)
		goto out;
	while (!rc) {
		if (!dmdev_find(names->name, &d) && d.ours)
			rc = fn(&d, arg);
		if (!names->next)
			break;
		names = (struct dm_names *)((char *)names + names->next);
	}
out:
	if (t)
		dm_task_destroy(t);
	return rc;
}

int dmdev_create(const char *name, const char *uuid, uint64_t sectors, const char *params,
		 bool read_only)
{
	char dm_uuid[sizeof(DMDEV_UUID_PREFIX) + 36];
	struct dm_task *t = task(DM_DEVICE_CREATE, name);
	uint32_t cookie = 0;
	int rc = 0;

	snprintf(dm_uuid, sizeof(dm_uuid), DMDEV_UUID_PREFIX "%s", uuid);
	if (!t || !dm_task_set_uuid(t, dm_uuid) ||
	    !dm_task_add_target(t, 0, sectors, "freezecopy", params) ||
	    (read_only && !dm_task_set_ro(t)) || !dm_task_set_cookie(t, &cookie, 0)) {
		rc = task_error(t);
		goto out;
	}
	if (!dm_task_run(t))
		rc = task_error(t);
	dm_udev_wait(cookie);
out:
	if (t)
		dm_task_destroy(t);
	return rc;
}

int dmdev_remove(const char *name)
{
	struct dm_task *t = task(DM_DEVICE_REMOVE, name);
	uint32_t cookie = 0;
	int rc = 0;

	/* udev may be looking at the device at this moment: try again for a few seconds */
	if (!t || !dm_task_retry_remove(t) || !dm_task_set_cookie(t, &cookie, 0)) {
		rc = task_error(t);
		goto out;
	}
	if (!dm_task_run(t))
		rc = task_error(t);
	dm_udev_wait(cookie);
out:
	if (t)
		dm_task_destroy(t);
	return rc;
}
