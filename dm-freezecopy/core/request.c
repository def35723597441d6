// SPDX-License-Identifier: GPL-2.0-only
#include "request.h"

static int refuse(struct fzc_head *head, const char *why)
{
	scnprintf(head->message, sizeof(head->message), "%s", why);
	return -EINVAL;
}

static bool is_used(const __u64 reserved[4])
{
	return reserved[0] | reserved[1] | reserved[2] | reserved[3];
}

static int check_reserved(struct fzc_head *head, const __u64 reserved[4])
{
	return is_used(reserved) ? refuse(head, "reserved: expected zero") : 0;
}

static int check_freeze(struct fzc_freeze *f)
{
	if (f->flags & ~(FZC_FREEZE_FS | FZC_FREEZE_FORCE))
		return refuse(&f->head, "flags that are not known: expected zero");
	if (strnlen(f->label, sizeof(f->label)) == sizeof(f->label))
		return refuse(&f->head, "label: expected a NUL within 64 bytes");
	return check_reserved(&f->head, f->reserved);
}

static int check_wait(struct fzc_wait *w)
{
	if (w->what < FZC_WAIT_CONNECTED || w->what > FZC_WAIT_CHANGE) {
		scnprintf(w->head.message, sizeof(w->head.message),
			  "what %u: expected %u to %u", w->what, FZC_WAIT_CONNECTED,
			  FZC_WAIT_CHANGE);
		return -EINVAL;
	}
	return check_reserved(&w->head, w->reserved);
}

static int check_recover(struct fzc_recover *r)
{
	if (r->flags & ~(FZC_RECOVER_FORCE | FZC_RECOVER_GIVE_UP))
		return refuse(&r->head, "flags that are not known: expected zero");
	if (r->pad || is_used(r->reserved))
		return refuse(&r->head, "pad and reserved: expected zero");
	return 0;
}

static int check_query(struct fzc_query *q)
{
	static const __u8 zero[sizeof(q->pad2)];

	if (q->pad || memcmp(q->pad2, zero, sizeof(zero)) || is_used(q->reserved))
		return refuse(&q->head, "pad and reserved: expected zero");
	return 0;
}

static int check_last_error(struct fzc_last_error *e)
{
	if (e->head.major || e->head.minor)
		return refuse(&e->head, "major and minor: expected zero");
	return check_reserved(&e->head, e->reserved);
}

static int check_body(unsigned int cmd, void *arg)
{
	struct fzc_abort *a = arg;

	switch (cmd) {
	case FZC_IOC_FREEZE:
		return check_freeze(arg);
	case FZC_IOC_WAIT:
		return check_wait(arg);
	case FZC_IOC_ABORT:
		return check_reserved(&a->head, a->reserved);
	case FZC_IOC_RECOVER:
		return check_recover(arg);
	case FZC_IOC_QUERY:
		return check_query(arg);
	default:
		return check_last_error(arg);
	}
}

static bool is_known(unsigned int cmd)
{
	return cmd == FZC_IOC_FREEZE || cmd == FZC_IOC_WAIT || cmd == FZC_IOC_ABORT ||
	       cmd == FZC_IOC_RECOVER || cmd == FZC_IOC_QUERY || cmd == FZC_IOC_LAST_ERROR;
}

int fzc_request_check(unsigned int cmd, struct fzc_head *head)
{
	if (!is_known(cmd))
		return -ENOTTY;
	memset(head->message, 0, sizeof(head->message));
	if (head->version != FZC_UAPI_VERSION || head->size != _IOC_SIZE(cmd)) {
		scnprintf(head->message, sizeof(head->message),
			  "version %u, size %u: expected version %u, size %u", head->version,
			  head->size, FZC_UAPI_VERSION, (u32)_IOC_SIZE(cmd));
		return -EINVAL;
	}
	return check_body(cmd, head);
}
