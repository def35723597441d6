// SPDX-License-Identifier: GPL-2.0-only
/* The recording in memory, its contents named. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replay.h"

struct recording rec;

static const u8 zeroes[PC_SECTOR];
static const u8 **contents;	/* by name */
static u32 names = 1, max_names;
static u32 *table;		/* hash to name; 0: free */
static u32 table_mask;

void give_up(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "replay: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	exit(2);
}

void *grab(size_t n, size_t size)
{
	void *p = calloc(n + 1, size);

	if (!p)
		give_up("no memory");
	return p;
}

const void *map_file(const char *dir, const char *name, size_t *len)
{
	char path[4096];
	struct stat st;
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		give_up("%s: %s", path, strerror(errno));
	*len = st.st_size;
	p = *len ? mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	if (p == MAP_FAILED)
		give_up("%s: %s", path, *len ? strerror(errno) : "empty");
	close(fd);
	return p;
}

const u8 *content(u32 name)
{
	return contents[name];
}

/* No CRC: a sector that ends with its own has always the same. */
static u32 hash_of(const u8 *bytes)
{
	u64 hash = 0, word;

	for (u32 i = 0; i < PC_SECTOR; i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	return hash;
}

static u32 name_of(const u8 *bytes)
{
	u32 i, hash = hash_of(bytes);

	if (!memcmp(bytes, zeroes, PC_SECTOR))
		return 0;
	for (i = hash & table_mask; table[i]; i = (i + 1) & table_mask)
		if (!memcmp(contents[table[i]], bytes, PC_SECTOR))
			return table[i];
	if (names == max_names)
		give_up("more contents than sectors were written");
	contents[names] = bytes;
	return table[i] = names++;
}

static bool has_data(const struct pc_entry *e)
{
	return e->type == PC_WRITE || e->type == PC_SETTLE;
}

static const struct pc_entry *entry_at(const u8 *log, size_t len, size_t at)
{
	const struct pc_entry *e = (const void *)(log + at);

	/* the recorder may have been killed in the middle of one */
	if (at + sizeof(*e) > len || (has_data(e) && at + sizeof(*e) + e->bytes > len))
		return NULL;
	if (e->magic != PC_MAGIC || (e->type != PC_NOTE && e->disk >= rec.head.disks))
		give_up("log: byte %zu is no entry", at);
	return e;
}

static size_t next_entry(const struct pc_entry *e, size_t at)
{
	return at + sizeof(*e) + (has_data(e) ? e->bytes : 0);
}

static void add_event(const struct pc_entry *e, u32 **name)
{
	struct event *ev = &rec.event[rec.events++];
	const u8 *data = (const u8 *)(e + 1);

	*ev = (struct event){
		.type = e->type, .disk = e->disk, .fua = e->flags & PC_FUA, .arrived = e->arrived,
		.records = e->records, .sector = e->offset, .sectors = e->bytes / PC_SECTOR };
	if (e->type == PC_NOTE)
		return;
	ev->sector /= PC_SECTOR;
	if ((ev->sector + ev->sectors) * PC_SECTOR > rec.head.disk[e->disk].bytes)
		give_up("log: entry %u is beyond the end of its disk", rec.events - 1);
	if (!has_data(e))
		return;
	ev->name = *name;
	for (u32 i = 0; i < ev->sectors; i++)
		*(*name)++ = name_of(data + (size_t)i * PC_SECTOR);
}

void recording_open(const char *dir)
{
	const struct pc_entry *e;
	size_t len, at, sectors = 0;
	const u8 *log = map_file(dir, "log", &len);
	u32 *name, n = 0;

	if (len < sizeof(rec.head))
		give_up("%s/log has %zu bytes: no head", dir, len);
	memcpy(&rec.head, log, sizeof(rec.head));
	if (rec.head.magic != PC_MAGIC || rec.head.disks > PC_DISKS)
		give_up("%s/log is no recording", dir);
	for (at = sizeof(rec.head); (e = entry_at(log, len, at)); at = next_entry(e, at)) {
		n++;
		sectors += has_data(e) ? e->bytes / PC_SECTOR : 0;
	}
	max_names = sectors + 1;
	for (table_mask = 1023; table_mask < 2 * sectors; table_mask = 2 * table_mask + 1)
		;
	table = grab(table_mask + 1, sizeof(*table));
	contents = grab(max_names, sizeof(*contents));
	contents[0] = zeroes;
	name = grab(sectors, sizeof(*name));
	rec.event = grab(n, sizeof(*rec.event));
	for (at = sizeof(rec.head); (e = entry_at(log, len, at)); at = next_entry(e, at))
		add_event(e, &name);
}
