/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests on the control device: what can be said of them without knowing the device. */
#ifndef FZC_REQUEST_H
#define FZC_REQUEST_H

#include "types.h"
#include "../uapi/dm-freezecopy.h"

/*
 * Before anything else is done with a request: @head begins the _IOC_SIZE(@cmd) bytes that
 * user space gave.  Its message becomes empty, or, with -EINVAL, says which field is wrong
 * and what was expected there; nothing else of it is changed.  -ENOTTY: there is no such
 * request, and @head was not looked at.
 */
int fzc_request_check(unsigned int cmd, struct fzc_head *head);

#endif /* FZC_REQUEST_H */
