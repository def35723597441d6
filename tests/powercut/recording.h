/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A recording: everything that the disks of both machines were told, in one
 * order, as the recorder wrote it and the replay reads it.
 *
 * A header, then entries in the order in which requests were completed, those
 * with data followed by it.  An entry says how many entries there were when
 * its request came, so that one knows which writes were in flight at any time,
 * and which a flush covers: those completed before it came.  It also says how
 * long the log of the load was (qemu/guest/stamp.h): what stands there had
 * happened.
 */
#ifndef PC_RECORDING_H
#define PC_RECORDING_H

#include <stdint.h>

#define PC_MAGIC	0x31434650U	/* "PFC1" */
#define PC_DISKS	16
#define PC_SECTOR	512

enum pc_type {
	PC_WRITE = 1,
	PC_ZERO = 2,	/* a write of zeroes, without data */
	PC_FLUSH = 3,
	PC_DEATH = 4,	/* disk: any of the machine, whose disks lose power */
	PC_SETTLE = 5,	/* follows DEATH: what was lost, as it is since */
	PC_NOTE = 6,	/* the harness saw the primary report image @offset as committed */
};

#define PC_FUA	1

struct pc_disk {
	char machine[12];
	char role[12];
	uint64_t bytes;
};

struct pc_head {
	uint32_t magic;
	uint32_t disks;
	uint32_t block;		/* of the volume, in bytes */
	uint32_t zero;
	struct pc_disk disk[PC_DISKS];
};

struct pc_entry {
	uint32_t magic;
	uint8_t type;
	uint8_t disk;
	uint16_t flags;
	uint64_t offset;
	uint32_t bytes;
	uint32_t arrived;	/* entries there were when the request came */
	uint32_t records;	/* in the load's log now */
	uint32_t zero;
};

_Static_assert(sizeof(struct pc_entry) == 32, "size of an entry");

static inline uint64_t pc_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline uint32_t pc_below(uint64_t *state, uint32_t n)
{
	return (pc_random(state) >> 32) * n >> 32;
}

#endif /* PC_RECORDING_H */
