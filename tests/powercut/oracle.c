// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the primary may show after a power cut, by the load's log alone.
 *
 * A time is the number of a record, from 1.  A write is known to be durable when
 * it was done with FUA, or was done before a FLUSH that has returned was called.
 * A sector may show any write that was submitted and was not done when one that
 * is known to be durable was submitted; so one time a sector is enough: the
 * latest submission of a durable write.  Nothing shown may have been done before.
 */
#include "replay.h"
#include "../qemu/guest/stamp.h"

#define NEVER	U32_MAX

struct op {
	u64 sector;
	u32 sectors;
	u32 submit, done;	/* 0: not yet */
	u16 kind;
};

static const struct record *records;
static u32 nr_records;
static u32 taken, begun;	/* records of what was done, of what was submitted */
static struct op *ops;
static u32 nr_ops;
static u32 *first_op;		/* by writer: its op with the sequence number 1 */
static u32 writers;
static u32 sectors;
static u32 *waiting;		/* ops done that no flush has covered */
static u32 nr_waiting;
static u32 *floor_of;		/* by sector: see above */
static u32 *zero_done;		/* by sector: when zeroes were last written */
static u32 *zero_open;		/* requests in flight that would write zeroes */
static u32 *base;		/* what was shown after the last power cut */
static u32 died_at;
static char why[256];

static void add_op(const struct record *r, u32 at)
{
	if (r->writer > writers) {
		while (writers < r->writer)
			first_op[++writers] = nr_ops;
	}
	if (r->writer != writers || r->seq != nr_ops - first_op[writers] + 1 ||
	    r->sector + r->sectors > sectors)
		give_up("load.log: record %u is out of order", at);
	ops[nr_ops++] = (struct op){ .sector = r->sector, .sectors = r->sectors, .kind = r->kind };
}

static struct op *find_op(u32 writer, u64 seq)
{
	u32 end = writer < writers ? first_op[writer + 1] : nr_ops;

	if (!writer || writer > writers || !seq || seq > end - first_op[writer])
		return NULL;
	return &ops[first_op[writer] + seq - 1];
}

void oracle_open(const char *dir, u32 n)
{
	size_t len;

	records = map_file(dir, "load.log", &len);
	nr_records = len / sizeof(*records);
	sectors = n;
	ops = grab(nr_records, sizeof(*ops));
	waiting = grab(nr_records, sizeof(*waiting));
	first_op = grab(nr_records + 1, sizeof(*first_op));
	floor_of = grab(sectors, sizeof(u32));
	zero_done = grab(sectors, sizeof(u32));
	zero_open = grab(sectors, sizeof(u32));
	base = grab(sectors, sizeof(u32));
	for (u32 i = 0; i < nr_records; i++) {
		const struct record *r = &records[i];

		if (r->magic != RECORD_MAGIC || r->crc != record_crc(r))
			give_up("load.log: record %u is damaged", i);
		if (r->type == REC_SUBMIT)
			add_op(r, i);
	}
}

static void is_durable(const struct op *op)
{
	for (u64 s = op->sector; s < op->sector + op->sectors; s++)
		floor_of[s] = max(floor_of[s], op->submit);
}

static void flush_returned(u32 called)
{
	u32 left = 0;

	for (u32 i = 0; i < nr_waiting; i++)
		if (ops[waiting[i]].done < called)
			is_durable(&ops[waiting[i]]);
		else
			waiting[left++] = waiting[i];
	nr_waiting = left;
}

static void submitted(struct op *op, u32 at)
{
	op->submit = at;
	if (op->kind & (OP_ZERO | OP_DISCARD))
		for (u64 s = op->sector; s < op->sector + op->sectors; s++)
			zero_open[s]++;
}

static void done(struct op *op, u32 at)
{
	op->done = at;
	if (op->kind & (OP_ZERO | OP_DISCARD))
		for (u64 s = op->sector; s < op->sector + op->sectors; s++) {
			zero_open[s]--;
			zero_done[s] = at;
		}
	if (op->kind & OP_FLUSH)
		flush_returned(op->submit);
	else if (op->kind & OP_FUA)
		is_durable(op);
	else if (!(op->kind & OP_DISCARD))	/* which may change nothing */
		waiting[nr_waiting++] = op - ops;
}

void oracle_advance(u32 n, u32 soon)
{
	const struct record *r;

	for (; begun < soon && begun < nr_records; begun++) {
		r = &records[begun];
		if (r->type == REC_SUBMIT)
			submitted(find_op(r->writer, r->seq), begun + 1);
	}
	for (; taken < n && taken < nr_records; taken++) {
		r = &records[taken];
		if (r->type == REC_DONE && !r->error)
			done(find_op(r->writer, r->seq), taken + 1);
	}
}

void oracle_died(const u32 *view)
{
	memcpy(base, view, sectors * sizeof(u32));
	memset(floor_of, 0, sectors * sizeof(u32));
	memset(zero_done, 0, sectors * sizeof(u32));
	memset(zero_open, 0, sectors * sizeof(u32));
	nr_waiting = 0;
	died_at = taken;
}

static struct op *op_shown(u32 name, u32 sector)
{
	const struct stamp *s = (const void *)content(name);
	struct op *op;

	if (classify(s, sector, 1) != CONTENT_STAMP)
		return NULL;
	op = find_op(s->writer, s->seq);
	return op && op->kind & OP_WRITE && op->submit && sector >= op->sector &&
	       sector < op->sector + op->sectors ? op : NULL;
}

void oracle_committed(const u32 *view)
{
	for (u32 s = 0; s < sectors; s++) {
		const struct op *op = view[s] ? op_shown(view[s], s) : NULL;

		if (op && op->submit > died_at)
			floor_of[s] = max(floor_of[s], op->submit);
	}
}

static const char *wrong(u32 s, u32 name)
{
	const struct stamp *st = (const void *)content(name);
	const struct op *op = name ? op_shown(name, s) : NULL;

	if (!name)
		scnprintf(why, sizeof(why), "P3: sector %u of the primary is zeroes, last written at %u, but what was submitted at %u is durable",
			  s, zero_done[s], floor_of[s]);
	else if (!op)
		scnprintf(why, sizeof(why), "P3: sector %u of the primary holds what was never submitted for it",
			  s);
	else if (op->submit <= died_at)
		scnprintf(why, sizeof(why), "P3: sector %u of the primary shows request %u:%lu, which the power cut at %u had undone",
			  s, st->writer, st->seq, died_at);
	else
		scnprintf(why, sizeof(why), "P3: sector %u of the primary shows request %u:%lu, done at %u, but what was submitted at %u is durable",
			  s, st->writer, st->seq, op->done, floor_of[s]);
	return why;
}

static bool legal(u32 s, u32 name)
{
	const struct op *op;

	if (name == base[s] && died_at >= floor_of[s])
		return true;
	if (!name)
		return zero_open[s] || (zero_done[s] && zero_done[s] >= floor_of[s]);
	op = op_shown(name, s);
	return op && op->submit > died_at && (!op->done || op->done >= floor_of[s]);
}

const char *oracle_check(const u32 *view)
{
	for (u32 s = 0; s < sectors; s++)
		if (!legal(s, view[s]))
			return wrong(s, view[s]);
	return NULL;
}
