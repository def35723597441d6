// SPDX-License-Identifier: GPL-2.0-only
/* The disks along the recording, and what a power cut leaves of them. */
#include <stdlib.h>

#include "replay.h"

#define IN_FLIGHT	256	/* that many events on, nothing is that had come by now */
#define PAGE_SECTORS	(FZC_PAGE / PC_SECTOR)

struct medium media[PC_DISKS];
int media_liar = -1;

int medium_of(const char *machine, const char *role)
{
	for (u32 i = 0; i < rec.head.disks; i++)
		if (!strcmp(rec.head.disk[i].machine, machine) &&
		    !strcmp(rec.head.disk[i].role, role))
			return i;
	give_up("the recording has no disk %s-%s", machine, role);
}

void media_open(void)
{
	for (u32 i = 0; i < rec.head.disks; i++) {
		struct medium *m = &media[i];

		m->sectors = rec.head.disk[i].bytes / PC_SECTOR;
		m->now = grab(m->sectors, sizeof(u32));
		m->durable = grab(m->sectors, sizeof(u32));
		m->durable_at = grab(m->sectors, sizeof(u32));
		m->cut = grab(m->sectors, sizeof(u32));
		m->open = grab(rec.events, sizeof(u32));
	}
}

static u32 name_in(const struct event *ev, u32 i)
{
	return ev->name ? ev->name[i] : 0;
}

static void make_durable(struct medium *m, u32 event)
{
	const struct event *ev = &rec.event[event];

	for (u32 i = 0; i < ev->sectors; i++) {
		u64 s = ev->sector + i;

		if (m->durable_at[s] > event)
			continue;
		m->durable[s] = name_in(ev, i);
		m->durable_at[s] = event + 1;
	}
}

/* The writes that were completed before @arrived are durable. */
static void flushed(struct medium *m, u32 arrived)
{
	u32 left = 0;

	for (u32 i = 0; i < m->opens; i++)
		if (m->open[i] < arrived)
			make_durable(m, m->open[i]);
		else
			m->open[left++] = m->open[i];
	m->opens = left;
}

void media_apply(u32 event)
{
	const struct event *ev = &rec.event[event];
	struct medium *m = &media[ev->disk];

	switch (ev->type) {
	case PC_FLUSH:
		if (ev->disk != media_liar)
			flushed(m, ev->arrived);
		break;
	case PC_DEATH:	/* what follows says what was lost */
		for (u32 i = 0; i < rec.head.disks; i++)
			if (!strcmp(rec.head.disk[i].machine, rec.head.disk[ev->disk].machine))
				flushed(&media[i], event);
		break;
	case PC_WRITE:
	case PC_ZERO:
	case PC_SETTLE:
		for (u32 i = 0; i < ev->sectors; i++)
			m->now[ev->sector + i] = name_in(ev, i);
		if ((ev->fua && ev->disk != media_liar) || ev->type == PC_SETTLE)
			make_durable(m, event);
		else
			m->open[m->opens++] = event;
	}
}

/* Some of what a write wrote has reached the medium: in units of @unit sectors. */
static void keep_some(struct medium *m, u32 event, u32 unit, u32 percent, u64 *seed)
{
	const struct event *ev = &rec.event[event];
	bool keep = false;

	for (u32 i = 0; i < ev->sectors; i++) {
		u64 s = ev->sector + i;

		if (!i || s % unit == 0)
			keep = pc_below(seed, 100) < percent;
		if (keep && m->durable_at[s] <= event)
			m->cut[s] = name_in(ev, i);
	}
}

/*
 * Every disk keeps a share of its own of what was not flushed: all, nothing,
 * or any sectors or pages; and of what was in flight.
 */
static void cut_one(u32 disk, const struct cut *cut, u64 *seed)
{
	static const u8 shares[] = { 0, 0, 5, 50, 95, 100, 100 };
	struct medium *m = &media[disk];
	u32 percent = shares[pc_below(seed, ARRAY_SIZE(shares))];
	u32 late = shares[pc_below(seed, ARRAY_SIZE(shares))];
	u32 unit = pc_below(seed, 2) ? PAGE_SECTORS : 1;
	u32 end = min(cut->event + IN_FLIGHT, rec.events);

	memcpy(m->cut, m->durable, m->sectors * sizeof(u32));
	for (u32 i = 0; i < m->opens; i++)
		keep_some(m, m->open[i], unit, percent, seed);
	for (u32 e = cut->event + 1; e < end && rec.event[e].type != PC_DEATH; e++)
		if (rec.event[e].disk == disk && rec.event[e].arrived <= cut->event &&
		    (rec.event[e].type == PC_WRITE || rec.event[e].type == PC_ZERO))
			keep_some(m, e, unit, late, seed);
}

void media_cut(const struct cut *cut)
{
	u64 seed = cut->seed;

	for (u32 i = 0; i < rec.head.disks; i++)
		if (cut->strict)
			memcpy(media[i].cut, media[i].now, media[i].sectors * sizeof(u32));
		else
			cut_one(i, cut, &seed);
}
