/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the load generator writes and logs, and the checker reads.
 *
 * Every 512-byte sector that is written says which request wrote it.  The log
 * holds a record before each request is submitted, after each has completed,
 * before a freeze is called and after it has returned.  A record is outside the
 * machine when the call that logs it returns, so for any two events a and b, "a
 * is logged before b" is certain whenever a was over before b began.
 */
#ifndef FZ_STAMP_H
#define FZ_STAMP_H

#include <nmmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SECTOR		512
#define STAMP_MAGIC	0x31504d4154534346ULL	/* "FCSTAMP1" */
#define RECORD_MAGIC	0x31474c46U		/* "FLG1" */
#define FILL_WORDS	58

struct stamp {
	uint64_t magic;
	uint64_t seq;		/* of the request, by writer, from 1 */
	uint64_t sector;
	uint32_t volume;
	uint32_t writer;	/* number of the run */
	uint32_t epoch;		/* image number returned last when it was submitted */
	uint32_t sectors;	/* length of the request */
	uint64_t fill[FILL_WORDS];
	uint32_t zero;
	uint32_t crc;		/* of all before it */
};

enum record_type {
	REC_RUN = 1,		/* a load begins: arg sectors of the device, seq the seed */
	REC_SUBMIT = 2,
	REC_DONE = 3,		/* error: errno or 0 */
	REC_CALL = 4,		/* a freeze is called */
	REC_RETURN = 5,		/* and returned: arg image number, error */
	REC_CRASH = 6,		/* the machine was killed (written by the harness) */
	REC_END = 7,		/* a load ended, nothing in flight */
};

enum request_kind {
	OP_WRITE = 1 << 0,
	OP_FUA = 1 << 1,	/* with OP_WRITE: durable when done */
	OP_FLUSH = 1 << 2,
	OP_ZERO = 1 << 3,	/* write zeroes */
	OP_DISCARD = 1 << 4,	/* zeroes or no change at all */
};

struct record {
	uint32_t magic;
	uint16_t type;
	uint16_t kind;
	uint32_t writer;
	uint32_t volume;
	uint64_t seq;
	uint64_t sector;
	uint32_t sectors;
	int32_t error;
	uint64_t time_ns;	/* guest's monotonic clock, for people */
	uint64_t arg;
	uint32_t zero;
	uint32_t crc;
};

_Static_assert(sizeof(struct stamp) == SECTOR, "a stamp fills a sector");
_Static_assert(sizeof(struct record) == 64, "size of a log record");

static inline uint32_t crc32c(const void *data, size_t len)
{
	const uint64_t *p = data;
	uint64_t crc = ~0U;

	for (; len >= 8; len -= 8)
		crc = _mm_crc32_u64(crc, *p++);
	if (len)	/* 4: the lengths used here are multiples of 4 */
		crc = _mm_crc32_u32(crc, *(const uint32_t *)p);
	return ~(uint32_t)crc;
}

static inline uint32_t stamp_crc(const struct stamp *s)
{
	return crc32c(s, offsetof(struct stamp, crc));
}

static inline uint32_t record_crc(const struct record *r)
{
	return crc32c(r, offsetof(struct record, crc));
}

static inline uint64_t xorshift(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

enum content { CONTENT_ZERO, CONTENT_STAMP, CONTENT_BAD };

/* What a sector holds; "bad" is everything that no load has ever written there. */
static inline enum content classify(const struct stamp *s, uint64_t sector, uint32_t volume)
{
	static const struct stamp zero;

	if (s->magic == STAMP_MAGIC && s->crc == stamp_crc(s) && s->sector == sector &&
	    s->volume == volume)
		return CONTENT_STAMP;
	return memcmp(s, &zero, SECTOR) ? CONTENT_BAD : CONTENT_ZERO;
}

#endif /* FZ_STAMP_H */
