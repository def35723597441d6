/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests to /dev/freezecopy; uapi/dm-freezecopy.h is their specification. */
#ifndef FREEZECTL_CTL_H
#define FREEZECTL_CTL_H

#include <stddef.h>
#include <sys/types.h>

#include "dm-freezecopy.h"
#include "say.h"

/* 0 or -errno.  @head is filled in here; head->message tells more about a failure. */
int ctl_call(unsigned long request, struct fzc_head *head, size_t size, dev_t dev);

#define CTL(request, arg, dev)	ctl_call(request, &(arg)->head, sizeof(*(arg)), dev)

/* What a verb knows about an error of its request: the exit code and the way out. */
struct ctl_hint {
	int err;		/* positive; 0 ends the list */
	enum fc_exit code;
	const char *way_out;
};

/* Say why a request on @name failed, return the exit code. */
int ctl_explain(const char *name, const struct fzc_head *head, int err,
		const struct ctl_hint *hints);

/* Why our last table load failed, in the kernel's words; empty: it does not say. */
void ctl_last_error(char message[FZC_MESSAGE_LEN]);

int ctl_query(dev_t dev, struct fzc_query *q);

#endif
