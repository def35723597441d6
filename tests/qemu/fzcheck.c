// SPDX-License-Identifier: GPL-2.0-only
/*
 * The oracle: is this image of a volume one that the log allows?
 *
 *   fzcheck [--volume V] [--freeze N | --end] LOG IMAGE
 *
 * --freeze N: the image is freeze N.  --end (default): the volume as it is after
 * the last record; after a crash that means durability.  Positions are indexes of
 * log records.  With C the position of the freeze's call and R of its return:
 *
 *  legal    every sector holds zeroes or an intact stamp of itself, of a request
 *           submitted before R, that no other write to the sector has replaced:
 *           none that was submitted after it was done and was done before C.
 *  whole    a request of which one sector is there and another certainly not
 *           is torn.  A request is one bio as long as it is at most 1 MiB.
 *  instant  there is one moment between C and R such that no request that was done
 *           before it is missing and none submitted after it is there.
 *
 * A crash before C makes requests that were neither done with FUA nor followed by
 * a completed flush uncertain, also in part.  Requests that failed are uncertain.
 * Zeroes are not tied to a request: any that wrote zeroes, or a volume never
 * written, explains them.  A volume begins as zeroes.
 *
 * Exit code: 0 legal, 1 not, 2 cannot tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/stamp.h"

#define NEVER INT64_MAX

struct op {
	uint64_t seq, sector;
	uint32_t writer, sectors;
	uint16_t kind;
	bool uncertain;			/* may be there in part */
	int64_t submit, done;
	uint64_t shown, missing;	/* a sector + 1 that proves it, 0: none */
};

static struct op *ops;			/* [0]: the zeroes a volume begins with */
static size_t nr_ops = 1;
static uint32_t *table;			/* hash of (writer, seq) to ops */
static size_t table_size;
static const struct record *records;
static int64_t nr_records;
static uint32_t volume = 1;
static int64_t call_at = -1, return_at = -1;
static uint64_t sectors;
static size_t *first;			/* by sector, range of by_sector[] */
static uint32_t *by_sector;
static long errors;

static void __attribute__((noreturn, format(printf, 1, 2))) give_up(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "fzcheck: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	exit(2);
}

static void __attribute__((format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	va_list ap;

	if (++errors > 10)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void *grab(size_t n, size_t size)
{
	void *p = calloc(n + 1, size);

	if (!p)
		give_up("no memory");
	return p;
}

static const void *map_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st))
		give_up("%s: %s", path, strerror(errno));
	*len = st.st_size;
	if (!*len)
		give_up("%s is empty", path);
	p = mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		give_up("%s: %s", path, strerror(errno));
	close(fd);
	return p;
}

static size_t hash_slot(uint32_t writer, uint64_t seq)
{
	size_t i = (seq * 0x9e3779b97f4a7c15ULL + writer * 0xd1342543de82ef95ULL) >> 20;

	for (i &= table_size - 1; table[i]; i = (i + 1) & (table_size - 1))
		if (ops[table[i]].writer == writer && ops[table[i]].seq == seq)
			break;
	return i;
}

static struct op *find_op(uint32_t writer, uint64_t seq)
{
	uint32_t i = table[hash_slot(writer, seq)];

	return i ? &ops[i] : NULL;
}

static void add_op(const struct record *r, int64_t at)
{
	size_t slot = hash_slot(r->writer, r->seq);

	if (table[slot])
		give_up("record %ld: writer %u used sequence %lu twice; each run needs its own",
			(long)at, r->writer, r->seq);
	if (r->sector + r->sectors > sectors)
		give_up("record %ld: request beyond the end of the volume", (long)at);
	ops[nr_ops] = (struct op){
		.seq = r->seq, .sector = r->sector, .writer = r->writer, .sectors = r->sectors,
		.kind = r->kind, .submit = at, .done = NEVER };
	table[slot] = nr_ops++;
}

static void finish_op(const struct record *r, int64_t at)
{
	struct op *op = find_op(r->writer, r->seq);

	if (!op)
		give_up("record %ld: completion of a request that was not submitted", (long)at);
	if (r->error)
		op->uncertain = true;
	else
		op->done = at;
}

static void load_log(const char *path)
{
	size_t len;

	records = map_file(path, &len);
	nr_records = len / sizeof(*records);
	ops = grab(nr_records + 1, sizeof(*ops));
	for (table_size = 1024; table_size < 2 * (size_t)nr_records; table_size *= 2)
		;
	table = grab(table_size, sizeof(*table));
	ops[0] = (struct op){ .kind = OP_ZERO, .submit = -1, .done = -1 };
	for (int64_t i = 0; i < nr_records; i++) {
		const struct record *r = &records[i];

		if (r->magic != RECORD_MAGIC || r->crc != record_crc(r))
			give_up("%s: record %ld is damaged", path, (long)i);
		if (r->type != REC_CRASH && r->volume != volume)
			continue;
		if (r->type == REC_RUN && r->arg > sectors)
			sectors = r->arg;
		else if (r->type == REC_SUBMIT)
			add_op(r, i);
		else if (r->type == REC_DONE)
			finish_op(r, i);
	}
	if (!sectors)
		give_up("%s: no load ran on volume %u", path, volume);
}

/*
 * Position of the call and the return of freeze @n.  A call that never returned,
 * because the machine died in it, may have made the image that comes next.
 */
static void find_freeze(uint64_t n)
{
	int64_t call = -1;

	call_at = -1;
	for (int64_t i = 0; i < nr_records; i++) {
		const struct record *r = &records[i];

		if (r->type == REC_CALL && r->volume == volume)
			call = i;
		if (r->type == REC_CRASH && call >= 0 && call_at < 0) {
			call_at = call;
			return_at = i;
			call = -1;
		}
		if (r->type != REC_RETURN || r->volume != volume || r->error)
			continue;
		if (r->arg == n) {
			call_at = call;
			return_at = i;
			return;
		}
		if (r->arg > n)
			break;
		call = -1;	/* it belongs to an earlier freeze */
		call_at = -1;
	}
	if (call_at < 0) {
		call_at = call;
		return_at = nr_records;
	}
	if (call_at < 0)
		give_up("the log has no freeze %lu", (unsigned long)n);
}

/* Everything that a crash at @at did not have to leave behind is uncertain after it. */
static void crash(int64_t at)
{
	int64_t flushed = -1;

	for (size_t i = 1; i < nr_ops; i++)
		if ((ops[i].kind & OP_FLUSH) && ops[i].done < at && ops[i].submit > flushed)
			flushed = ops[i].submit;
	for (size_t i = 1; i < nr_ops; i++) {
		struct op *op = &ops[i];

		if (op->submit > at)
			continue;
		if (op->done < at && ((op->kind & OP_FUA) || op->done < flushed))
			continue;
		op->done = NEVER;
		op->uncertain = true;
	}
}

static void index_sectors(void)
{
	size_t *next;

	first = grab(sectors + 1, sizeof(*first));
	for (size_t i = 1; i < nr_ops; i++)
		for (uint64_t s = 0; s < ops[i].sectors; s++)
			first[ops[i].sector + s + 1]++;
	for (uint64_t s = 0; s < sectors; s++)
		first[s + 1] += first[s];
	by_sector = grab(first[sectors], sizeof(*by_sector));
	next = grab(sectors, sizeof(*next));
	memcpy(next, first, sectors * sizeof(*next));
	for (size_t i = 1; i < nr_ops; i++)
		for (uint64_t s = 0; s < ops[i].sectors; s++)
			by_sector[next[ops[i].sector + s]++] = i;
	free(next);
}

/* The write that had certainly replaced @u before the call, if any. */
static const struct op *replaced_by(uint64_t sector, const struct op *u)
{
	for (size_t i = first[sector]; i < first[sector + 1]; i++) {
		const struct op *w = &ops[by_sector[i]];

		if (!(w->kind & OP_DISCARD) && w->done < call_at && w->submit > u->done)
			return w;
	}
	return NULL;
}

/* The sector shows @u: what was written after @u was done is missing. */
static void note_missing(uint64_t sector, const struct op *u)
{
	for (size_t i = first[sector]; i < first[sector + 1]; i++) {
		struct op *w = &ops[by_sector[i]];

		if (!(w->kind & OP_DISCARD) && w->submit > u->done)
			w->missing = sector + 1;
	}
}

static void check_zero(uint64_t sector)
{
	const struct op *u = NULL, *w = replaced_by(sector, &ops[0]);

	if (!w)
		u = &ops[0];
	for (size_t i = first[sector]; i < first[sector + 1]; i++) {
		const struct op *z = &ops[by_sector[i]];

		if ((z->kind & (OP_ZERO | OP_DISCARD)) && z->submit < return_at &&
		    !replaced_by(sector, z) && (!u || z->done > u->done))
			u = z;
	}
	if (u)
		note_missing(sector, u);
	else
		wrong("sector %lu: zeroes, but %u:%lu had replaced them (done %ld, cut %ld)",
		      sector, w->writer, w->seq, (long)w->done, (long)call_at);
}

static void check_stamp(uint64_t sector, const struct stamp *s)
{
	struct op *u = find_op(s->writer, s->seq);
	const struct op *w;

	if (!u || !(u->kind & OP_WRITE) || sector < u->sector || sector >= u->sector + u->sectors) {
		wrong("sector %lu: writer %u seq %lu was never submitted here", sector, s->writer,
		      s->seq);
		return;
	}
	u->shown = sector + 1;
	if (u->submit > return_at) {
		wrong("sector %lu: writer %u seq %lu is from the future (submitted %ld, cut %ld)",
		      sector, s->writer, s->seq, (long)u->submit, (long)return_at);
		return;
	}
	w = replaced_by(sector, u);
	if (w)
		wrong("sector %lu: writer %u seq %lu is old: %u:%lu was done %ld, cut %ld",
		      sector, s->writer, s->seq, w->writer, w->seq, (long)w->done, (long)call_at);
	note_missing(sector, u);
}

static void check_requests(void)
{
	const struct op *last = NULL, *lost = NULL;

	for (size_t i = 1; i < nr_ops; i++) {
		const struct op *op = &ops[i];

		if (op->uncertain || op->submit > return_at)
			continue;
		if (op->shown && op->missing)
			wrong("writer %u seq %lu (%u at %lu) is torn: sector %lu has it, %lu not",
			      op->writer, op->seq, op->sectors, op->sector, op->shown - 1,
			      op->missing - 1);
		if (op->shown && (!last || op->submit > last->submit))
			last = op;
		if (op->missing && (!lost || op->done < lost->done))
			lost = op;
	}
	if (last && lost && last->submit > lost->done)
		wrong("no one moment: %lu has seq %lu (from %ld), %lu lacks seq %lu (done %ld)",
		      last->shown - 1, last->seq, (long)last->submit, lost->missing - 1, lost->seq,
		      (long)lost->done);
}

static void check_image(const char *path)
{
	long stamps = 0, zero = 0, window = 0;
	const struct stamp *s;
	size_t len;

	s = map_file(path, &len);
	if (len < sectors * SECTOR)
		give_up("%s has %zu bytes, the volume %lu", path, len, sectors * SECTOR);
	for (uint64_t i = 0; i < sectors; i++) {
		switch (classify(s + i, i, volume)) {
		case CONTENT_ZERO:
			zero++;
			check_zero(i);
			break;
		case CONTENT_STAMP:
			stamps++;
			check_stamp(i, s + i);
			break;
		case CONTENT_BAD:
			wrong("sector %lu: not its stamp (magic %lx, sector %lu, volume %u, crc %s)",
			      i, s[i].magic, s[i].sector, s[i].volume,
			      s[i].crc == stamp_crc(s + i) ? "good" : "wrong");
		}
	}
	check_requests();
	for (size_t i = 1; i < nr_ops; i++)
		window += ops[i].submit < return_at && ops[i].done > call_at;
	printf("%s: %lu sectors, %ld stamped, %ld zero, %zu requests (%ld unsure), %ld wrong\n",
	       errors ? "ILLEGAL" : "legal", sectors, stamps, zero, nr_ops - 1, window, errors);
}

static void usage(void)
{
	fprintf(stderr, "usage: fzcheck [--volume V] [--freeze N | --end] LOG IMAGE\n");
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t freeze = 0;
	int i = 1;

	for (; i < argc && !strncmp(argv[i], "--", 2); i++) {
		if (!strcmp(argv[i], "--end"))
			continue;
		if (i + 1 == argc)
			usage();
		if (!strcmp(argv[i], "--volume"))
			volume = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--freeze"))
			freeze = strtoull(argv[++i], NULL, 0);
		else
			usage();
	}
	if (argc - i != 2)
		usage();
	load_log(argv[i]);
	call_at = nr_records;
	return_at = nr_records;
	if (freeze)
		find_freeze(freeze);
	for (int64_t k = 0; k < call_at && k < nr_records; k++)
		if (records[k].type == REC_CRASH)
			crash(k);
	index_sectors();
	check_image(argv[i + 1]);
	return errors ? 1 : 0;
}
