/* SPDX-License-Identifier: GPL-2.0-only */
/* Wait for a state, and show how far it is when there is a terminal to show it on. */
#ifndef FREEZECTL_PROGRESS_H
#define FREEZECTL_PROGRESS_H

#include <stdint.h>
#include <sys/types.h>

#include "dm-freezecopy.h"

/*
 * Until @deadline (a now_ms() time, or NEVER).  Says what went wrong, returns an
 * exit code.
 */
int progress_wait(const char *name, dev_t dev, enum fzc_wait_for what, uint64_t number,
		  uint64_t deadline);

/* Show the progress of @q and wait until something happens, at most @ms. */
void progress_pause(dev_t dev, const struct fzc_query *q, uint32_t ms);

#endif
