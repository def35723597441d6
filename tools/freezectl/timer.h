/* SPDX-License-Identifier: GPL-2.0-only */
/* Deadlines on a clock that nobody sets. */
#ifndef FREEZECTL_TIMER_H
#define FREEZECTL_TIMER_H

#include <stdint.h>
#include <time.h>

#define NEVER	UINT64_MAX

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* Milliseconds until @deadline: 0 when it has passed, at most @max. */
static inline uint32_t ms_left(uint64_t deadline, uint32_t max)
{
	uint64_t now = now_ms();

	if (deadline <= now)
		return 0;
	return deadline - now < max ? deadline - now : max;
}

#endif
