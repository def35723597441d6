// SPDX-License-Identifier: GPL-2.0-only
/* Disks with a volatile write cache, and the bytes of metadata sectors. */
#include "sim.h"

#define BLOB	(1ULL << 63)

static u8 (*blobs)[FZC_SECTOR];
static u32 nblobs, max_blobs;

void blob_reset(void)
{
	nblobs = 0;
}

u64 blob_put(const void *bytes)
{
	if (nblobs == max_blobs) {
		max_blobs = max_blobs ? 2 * max_blobs : 4096;
		blobs = realloc(blobs, (size_t)max_blobs * FZC_SECTOR);
	}
	memcpy(blobs[nblobs], bytes, FZC_SECTOR);
	return BLOB | nblobs++;
}

static void get(const u64 *sectors, u64 offset, struct fzc_page *page)
{
	u32 s = offset / FZC_SECTOR, i;

	for (i = 0; i < SPB; i++) {
		u8 *to = (u8 *)page + i * FZC_SECTOR;
		u64 v = sectors[s + i];

		if (v & BLOB)
			memcpy(to, blobs[v & ~BLOB], FZC_SECTOR);
		else
			memset(to, v ? 0x55 : 0, FZC_SECTOR);
	}
}

void page_get(const struct disk *d, u64 offset, struct fzc_page *page)
{
	get(d->cur, offset, page);
}

void page_durable(const struct disk *d, u64 offset, struct fzc_page *page)
{
	get(d->dur, offset, page);
}

void disk_init(struct disk *d, u32 sectors)
{
	if (d->n < sectors) {
		d->cur = realloc(d->cur, 8ULL * sectors);
		d->dur = realloc(d->dur, 8ULL * sectors);
		d->cur_seq = realloc(d->cur_seq, 4ULL * sectors);
		d->dur_seq = realloc(d->dur_seq, 4ULL * sectors);
		d->doomed = realloc(d->doomed, 4ULL * sectors);
	}
	d->n = sectors;
	d->seq = 0;
	memset(d->cur, 0, 8ULL * sectors);
	memset(d->dur, 0, 8ULL * sectors);
	memset(d->cur_seq, 0, 4ULL * sectors);
	memset(d->dur_seq, 0, 4ULL * sectors);
	memset(d->doomed, 0, 4ULL * sectors);
}

void disk_copy(struct disk *to, const struct disk *from)
{
	disk_init(to, from->n);
	to->seq = from->seq;
	memcpy(to->cur, from->cur, 8ULL * from->n);
	memcpy(to->dur, from->dur, 8ULL * from->n);
	memcpy(to->cur_seq, from->cur_seq, 4ULL * from->n);
	memcpy(to->dur_seq, from->dur_seq, 4ULL * from->n);
}

void disk_write(struct disk *d, u32 sector, u32 n, const u64 *val, bool fua)
{
	u32 i;

	d->seq++;
	for (i = 0; i < n; i++) {
		d->cur[sector + i] = val[i];
		d->cur_seq[sector + i] = d->seq;
		if (fua) {
			d->dur[sector + i] = val[i];
			d->dur_seq[sector + i] = d->seq;
		}
	}
}

/* Only what is durable is there. */
static void lose(struct disk *d, u32 sector)
{
	d->cur[sector] = d->dur[sector];
	d->cur_seq[sector] = d->dur_seq[sector];
}

/* A power cut: of what was not flushed, any subset of sectors survives. */
void disk_crash(struct disk *d, u32 keep_percent)
{
	u32 i;

	for (i = 0; i < d->n; i++)
		if (disk_is_doomed(d, i))
			lose(d, i);
	if (keep_percent == KEEP_CACHE)
		return;
	for (i = 0; i < d->n; i++) {
		if (d->cur_seq[i] > d->dur_seq[i] && chance(keep_percent)) {
			d->dur[i] = d->cur[i];
			d->dur_seq[i] = d->cur_seq[i];
		}
		lose(d, i);
	}
}

/* All that was not flushed. */
void disk_lose(struct disk *d)
{
	memcpy(d->cur, d->dur, 8ULL * d->n);
	memcpy(d->cur_seq, d->dur_seq, 4ULL * d->n);
}

void disk_flush(struct disk *d)
{
	memcpy(d->dur, d->cur, 8ULL * d->n);
	memcpy(d->dur_seq, d->cur_seq, 4ULL * d->n);
}

/* A flush that failed: every @step-th sector before @end that it was to make durable is lost. */
void disk_forget(struct disk *d, const struct disk_mark *m, u32 end, u32 step)
{
	u32 i, s;

	for (i = 0; i < m->n; i += step) {
		s = m->sector[i];
		if (s >= end || m->seq[i] != d->cur_seq[s])
			continue;
		lose(d, s);
	}
}

/* ...or will be, when the machine dies, unless they are written again. */
void disk_doom(struct disk *d, const struct disk_mark *m, u32 step)
{
	u32 i;

	for (i = 0; i < m->n; i += step)
		if (m->seq[i] == d->cur_seq[m->sector[i]])
			d->doomed[m->sector[i]] = m->seq[i];
}

bool disk_is_doomed(const struct disk *d, u32 sector)
{
	return d->doomed[sector] && d->doomed[sector] == d->cur_seq[sector];
}

/* As that of the real shell: of the beginning and the end. */
void data_hash(const struct disk *d, u8 hash[32])
{
	const u64 value[4] = { d->cur[0], d->cur[1], d->cur[d->n - 2], d->cur[d->n - 1] };

	memcpy(hash, value, 32);
	hash[31] |= 1;	/* all zeroes stand for none */
}

void disk_flush_begin(const struct disk *d, struct disk_mark *m)
{
	u32 i;

	if (!m->sector) {
		m->sector = malloc(4 * 8192);
		m->seq = malloc(4 * 8192);
		m->val = malloc(8 * 8192);
	}
	m->n = 0;
	for (i = 0; i < d->n; i++)
		if (d->cur_seq[i] > d->dur_seq[i]) {
			m->sector[m->n] = i;
			m->seq[m->n] = d->cur_seq[i];
			m->val[m->n++] = d->cur[i];
		}
}

void disk_flush_end(struct disk *d, struct disk_mark *m)
{
	u32 i;

	for (i = 0; i < m->n; i++) {
		u32 s = m->sector[i];

		if (m->seq[i] <= d->dur_seq[s] || m->seq[i] == d->doomed[s])
			continue;
		d->dur[s] = m->val[i];
		d->dur_seq[s] = m->seq[i];
	}
}
