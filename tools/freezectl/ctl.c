// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "ctl.h"

#define CTL_DEVICE	"/dev/" FZC_DEVICE_NAME

static const struct ctl_hint common[] = {
	{ ENOENT, FC_FAILED, "is the dm-freezecopy module loaded? (modprobe dm-freezecopy)" },
	{ EPERM, FC_FAILED, "freezectl must run as root" },
	{ EACCES, FC_FAILED, "freezectl must run as root" },
	{ ENODEV, FC_REFUSED, "'freezectl start' starts it" },
	{ EAGAIN, FC_REFUSED, "the device is suspended: dmsetup resume, then try again" },
	{ ENOTTY, FC_FAILED, "freezectl and the loaded module are of different versions" },
	{ 0 }
};

/* Opened once, and before anything is frozen; closed by exit. */
static int ctl_open(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(CTL_DEVICE, O_RDWR | O_CLOEXEC);
	return fd;
}

int ctl_call(unsigned long request, struct fzc_head *head, size_t size, dev_t dev)
{
	int fd = ctl_open();

	memset(head->message, 0, sizeof(head->message));
	if (fd < 0)
		return -errno;
	head->version = FZC_UAPI_VERSION;
	head->size = size;
	head->major = major(dev);
	head->minor = minor(dev);
	return ioctl(fd, request, head) < 0 ? -errno : 0;
}

static const struct ctl_hint *find_hint(const struct ctl_hint *h, int err)
{
	for (; h && h->err; h++)
		if (h->err == err)
			return h;
	return NULL;
}

int ctl_explain(const char *name, const struct fzc_head *head, int err,
		const struct ctl_hint *hints)
{
	const struct ctl_hint *h = find_hint(hints, -err);
	const char *text = head->message[0] ? head->message : strerror(-err);

	/* without the control device an errno is open()'s, and the verb's hints do not fit */
	if (!h || ctl_open() < 0)
		h = find_hint(common, -err);
	if (!h)
		return say(FC_FAILED, "%s: %s", name, text);
	return say(h->code, "%s: %s; %s", name, text, h->way_out);
}

void ctl_last_error(char message[FZC_MESSAGE_LEN])
{
	struct fzc_last_error e = { 0 };

	message[0] = '\0';
	if (!CTL(FZC_IOC_LAST_ERROR, &e, 0))
		memcpy(message, e.head.message, FZC_MESSAGE_LEN - 1);
	message[FZC_MESSAGE_LEN - 1] = '\0';
}

int ctl_query(dev_t dev, struct fzc_query *q)
{
	memset(q, 0, sizeof(*q));
	return CTL(FZC_IOC_QUERY, q, dev);
}
