// SPDX-License-Identifier: GPL-2.0-only
/*
 * The disks of emulated machines, in memory, behind one NBD socket; and the
 * recording of what they are told (recording.h).
 *
 *   recorder SOCKET LOADLOG MACHINE-ROLE:BYTES...
 *
 * One process for all disks, so that there is one order over all of them.  Each
 * has a volatile cache of its own.  A request takes a random time up to
 * MAX_DELAY; requests end in any order.
 *
 * Commands on stdin, each answered by one line "ok ENTRIES":
 *   record FILE BLOCK    from here on, with blank disks; the volume's block size is noted
 *   death MACHINE SEED   its power fails: of what was not flushed any part is lost
 *   note N               the primary reports image N as committed
 *   load DIR             all disks are what DIR/MACHINE-ROLE.img says
 *   save MACHINE-ROLE FILE
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "recording.h"

#define MAX_DELAY	400000	/* ns */
#define MAX_CONNS	64
#define MAX_BYTES	(32U << 20)
#define LOAD_RECORD	64	/* bytes of a record of the load's log */

/* The protocol, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md */
#define NBD_MAGIC		0x4e42444d41474943ULL
#define NBD_OPTION_MAGIC	0x49484156454f5054ULL
#define NBD_REPLY_MAGIC		0x3e889045565a9ULL
#define NBD_REQUEST		0x25609513U
#define NBD_SIMPLE_REPLY	0x67446698U
enum { NBD_READ, NBD_WRITE, NBD_DISC, NBD_FLUSH, NBD_TRIM, NBD_CACHE, NBD_WRITE_ZEROES };
enum { NBD_OPT_ABORT = 2, NBD_OPT_GO = 7 };
enum { NBD_REP_ACK = 1, NBD_REP_INFO = 3 };
#define NBD_REP_UNSUPPORTED	0x80000001U
#define NBD_CMD_FUA		1
/* has flags, flush, FUA, write-zeroes */
#define NBD_EXPORT_FLAGS	(1 << 0 | 1 << 2 | 1 << 3 | 1 << 6)

struct nbd_request {
	uint32_t magic;
	uint16_t flags;
	uint16_t type;
	uint64_t handle;
	uint64_t offset;
	uint32_t bytes;
} __attribute__((packed));

struct nbd_reply {
	uint32_t magic;
	uint32_t error;
	uint64_t handle;
} __attribute__((packed));

struct disk {
	struct pc_disk id;
	uint8_t *now;		/* what a read returns */
	uint8_t *durable;	/* what a power cut leaves at least */
	uint32_t *since;	/* by sector: entries there were when it became dirty; 0: clean */
};

struct request {
	struct request *next;
	struct conn *conn;
	uint64_t due;
	uint64_t handle;
	struct pc_entry e;
	uint8_t data[];
};

struct conn {
	int fd;		/* -1: not used */
	struct disk *disk;
};

static struct disk disks[PC_DISKS];
static unsigned int nr_disks;
static struct conn conns[MAX_CONNS];
static struct request *queue;
static FILE *out;
static int load_fd;
static uint32_t entries;
static uint64_t rnd = 1;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "recorder: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static bool get(int fd, void *to, size_t n)
{
	for (ssize_t r; n; n -= r, to = (char *)to + r) {
		r = read(fd, to, n);
		if (r <= 0)
			return false;
	}
	return true;
}

static bool put(int fd, const void *from, size_t n)
{
	for (ssize_t r; n; n -= r, from = (const char *)from + r) {
		r = send(fd, from, n, MSG_NOSIGNAL);
		if (r <= 0)
			return false;
	}
	return true;
}

/* ---- the recording ---- */

static void note(struct pc_entry e, const void *data)
{
	struct stat st;

	if (fstat(load_fd, &st))
		die("the load's log");
	e.magic = PC_MAGIC;
	e.records = st.st_size / LOAD_RECORD;
	entries++;
	if (!out)
		return;
	if (fwrite(&e, sizeof(e), 1, out) != 1 || (data && fwrite(data, e.bytes, 1, out) != 1))
		die("log");
}

/* ---- the disks ---- */

static void dirty(struct disk *d, const struct pc_entry *e, const void *data)
{
	if (data)
		memcpy(d->now + e->offset, data, e->bytes);
	else
		memset(d->now + e->offset, 0, e->bytes);
	if (e->flags & PC_FUA)
		memcpy(d->durable + e->offset, d->now + e->offset, e->bytes);
	for (uint32_t s = 0; s < e->bytes / PC_SECTOR; s++) {
		uint32_t *since = &d->since[e->offset / PC_SECTOR + s];

		if (e->flags & PC_FUA)
			*since = 0;
		else if (!*since)
			*since = entries + 1;
	}
}

/* What was dirty when the flush came; newer content may be on the medium then, too. */
static void flush(struct disk *d, uint32_t arrived)
{
	for (uint64_t s = 0; s < d->id.bytes / PC_SECTOR; s++) {
		if (!d->since[s] || d->since[s] > arrived)
			continue;
		memcpy(d->durable + s * PC_SECTOR, d->now + s * PC_SECTOR, PC_SECTOR);
		d->since[s] = 0;
	}
}

static void carry_out(const struct request *r, uint16_t flags)
{
	struct disk *d = &disks[r->e.disk];
	struct pc_entry e = r->e;
	const void *data = e.type == PC_WRITE ? r->data : NULL;

	e.flags &= flags;
	if (e.type == PC_FLUSH)
		flush(d, e.arrived);
	else
		dirty(d, &e, data);
	note(e, data);
}

static void lose(struct disk *d, uint64_t from, uint64_t to)
{
	struct pc_entry e = { .type = PC_SETTLE, .disk = d - disks, .offset = from * PC_SECTOR,
			      .bytes = (to - from) * PC_SECTOR, .arrived = entries };

	if (from == to)
		return;
	memcpy(d->now + e.offset, d->durable + e.offset, e.bytes);
	note(e, d->durable + e.offset);
}

static void lose_power(struct disk *d, uint64_t *seed)
{
	uint64_t end = d->id.bytes / PC_SECTOR, begin = 0, s;
	uint32_t keep = pc_below(seed, 5) * 25;

	for (s = 0; s < end; s++) {
		if (d->since[s] && pc_below(seed, 100) >= keep) {
			d->since[s] = 0;
			continue;	/* lost, one more of the run */
		}
		lose(d, begin, s);
		begin = s + 1;
		if (d->since[s])
			memcpy(d->durable + s * PC_SECTOR, d->now + s * PC_SECTOR, PC_SECTOR);
		d->since[s] = 0;
	}
	lose(d, begin, s);
}

/* ---- connections ---- */

static void hang_up(struct conn *c)
{
	struct request **at = &queue;

	close(c->fd);
	c->fd = -1;
	while (*at) {
		struct request *r = *at;

		if (r->conn != c) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		if (r->e.type != PC_FLUSH)
			carry_out(r, 0);	/* nobody was told that it is durable */
		free(r);
	}
}

static void reply(struct conn *c, uint64_t handle, uint32_t error)
{
	struct nbd_reply rep = { htobe32(NBD_SIMPLE_REPLY), htobe32(error), handle };

	put(c->fd, &rep, sizeof(rep));
}

static void serve_due(uint64_t now)
{
	struct request **at = &queue;

	while (*at) {
		struct request *r = *at;

		if (r->due > now) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		carry_out(r, PC_FUA);
		reply(r->conn, r->handle, 0);
		free(r);
	}
}

static bool is_inside(const struct disk *d, const struct nbd_request *q)
{
	return q->bytes <= MAX_BYTES && q->offset <= d->id.bytes &&
	       q->bytes <= d->id.bytes - q->offset && !((q->offset | q->bytes) % PC_SECTOR);
}

static bool enqueue(struct conn *c, const struct nbd_request *q, enum pc_type type)
{
	struct request *r = malloc(sizeof(*r) + (type == PC_WRITE ? q->bytes : 0));

	if (!r)
		die("memory");
	*r = (struct request){
		.next = queue, .conn = c, .handle = q->handle,
		.due = now_ns() + pc_below(&rnd, MAX_DELAY),
		.e = { .type = type, .disk = c->disk - disks, .offset = q->offset,
		       .flags = q->flags & NBD_CMD_FUA ? PC_FUA : 0, .bytes = q->bytes,
		       .arrived = entries },
	};
	queue = r;
	return type != PC_WRITE || get(c->fd, r->data, q->bytes);
}

static bool serve(struct conn *c)
{
	struct nbd_request q;

	if (!get(c->fd, &q, sizeof(q)) || be32toh(q.magic) != NBD_REQUEST)
		return false;
	q.flags = be16toh(q.flags);
	q.offset = be64toh(q.offset);
	q.bytes = be32toh(q.bytes);
	if (!is_inside(c->disk, &q))
		return false;
	switch (be16toh(q.type)) {
	case NBD_READ:
		reply(c, q.handle, 0);
		return put(c->fd, c->disk->now + q.offset, q.bytes);
	case NBD_WRITE:
		return enqueue(c, &q, PC_WRITE);
	case NBD_WRITE_ZEROES:
		return enqueue(c, &q, PC_ZERO);
	case NBD_FLUSH:
		return enqueue(c, &q, PC_FLUSH);
	case NBD_DISC:
		return false;
	default:
		reply(c, q.handle, EINVAL);
		return true;
	}
}

static bool option_reply(int fd, uint32_t option, uint32_t type, const void *data, uint32_t n)
{
	struct { uint64_t magic; uint32_t option, type, n; } __attribute__((packed)) r = {
		htobe64(NBD_REPLY_MAGIC), htobe32(option), htobe32(type), htobe32(n) };

	return put(fd, &r, sizeof(r)) && put(fd, data, n);
}

static struct disk *find_disk(const char *name)
{
	char text[32];

	for (unsigned int i = 0; i < nr_disks; i++) {
		snprintf(text, sizeof(text), "%s-%s", disks[i].id.machine, disks[i].id.role);
		if (!strcmp(text, name))
			return &disks[i];
	}
	return NULL;
}

/* NBD_OPT_GO: length and name of the export come first. */
static struct disk *open_export(int fd, const uint8_t *data, uint32_t n)
{
	struct { uint16_t type; uint64_t bytes; uint16_t flags; } __attribute__((packed)) info;
	char name[32] = "";
	struct disk *d;
	uint32_t len;

	memcpy(&len, data, 4);
	len = be32toh(len);
	if (n < 4 || len > n - 4 || len >= sizeof(name))
		return NULL;
	memcpy(name, data + 4, len);
	d = find_disk(name);
	if (!d)
		return NULL;
	info.type = 0;
	info.bytes = htobe64(d->id.bytes);
	info.flags = htobe16(NBD_EXPORT_FLAGS);
	if (!option_reply(fd, NBD_OPT_GO, NBD_REP_INFO, &info, sizeof(info)) ||
	    !option_reply(fd, NBD_OPT_GO, NBD_REP_ACK, NULL, 0))
		return NULL;
	return d;
}

static struct disk *handshake(int fd)
{
	struct { uint64_t magic, option; uint16_t flags; } __attribute__((packed)) hello = {
		htobe64(NBD_MAGIC), htobe64(NBD_OPTION_MAGIC), htobe16(3) };
	struct { uint64_t magic; uint32_t option, n; } __attribute__((packed)) o;
	uint8_t data[4096];
	uint32_t flags;

	if (!put(fd, &hello, sizeof(hello)) || !get(fd, &flags, sizeof(flags)))
		return NULL;
	for (;;) {
		if (!get(fd, &o, sizeof(o)) || be64toh(o.magic) != NBD_OPTION_MAGIC ||
		    be32toh(o.n) > sizeof(data) || !get(fd, data, be32toh(o.n)))
			return NULL;
		if (be32toh(o.option) == NBD_OPT_GO)
			return open_export(fd, data, be32toh(o.n));
		if (be32toh(o.option) == NBD_OPT_ABORT)
			return NULL;
		if (!option_reply(fd, be32toh(o.option), NBD_REP_UNSUPPORTED, NULL, 0))
			return NULL;
	}
}

static void take_conn(int listener)
{
	int fd = accept(listener, NULL, NULL);
	struct conn *c = conns;

	if (fd < 0)
		die("accept");
	while (c->fd >= 0)
		if (++c == conns + MAX_CONNS)
			die("too many connections");
	c->disk = handshake(fd);
	if (c->disk)
		c->fd = fd;
	else
		close(fd);
}

/* ---- commands ---- */

static bool is_of(const struct disk *d, const char *machine)
{
	return !strcmp(d->id.machine, machine);
}

static bool death(const char *machine, uint64_t seed)
{
	struct pc_entry e = { .type = PC_DEATH, .arrived = entries };
	unsigned int i, first = nr_disks;

	for (i = 0; i < MAX_CONNS; i++)
		if (conns[i].fd >= 0 && is_of(conns[i].disk, machine))
			hang_up(&conns[i]);
	for (i = nr_disks; i--; )
		if (is_of(&disks[i], machine))
			first = i;
	if (first == nr_disks)
		return false;
	e.disk = first;
	note(e, NULL);
	for (i = first; i < nr_disks; i++)
		if (is_of(&disks[i], machine))
			lose_power(&disks[i], &seed);
	return true;
}

static bool load(const char *dir)
{
	char path[4096];

	for (unsigned int i = 0; i < nr_disks; i++) {
		struct disk *d = &disks[i];
		int fd;

		snprintf(path, sizeof(path), "%s/%s-%s.img", dir, d->id.machine, d->id.role);
		fd = open(path, O_RDONLY);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || !get(fd, d->now, d->id.bytes))
			die("%s", path);
		close(fd);
		memcpy(d->durable, d->now, d->id.bytes);
		memset(d->since, 0, d->id.bytes / PC_SECTOR * sizeof(*d->since));
	}
	return true;
}

static bool record(const char *path, unsigned int block)
{
	struct pc_head head = { .magic = PC_MAGIC, .disks = nr_disks, .block = block };

	if (out && fclose(out))
		die("log");
	out = fopen(path, "w");
	if (!out)
		die("%s", path);
	entries = 0;
	for (unsigned int i = 0; i < nr_disks; i++) {
		head.disk[i] = disks[i].id;
		memset(disks[i].now, 0, disks[i].id.bytes);
		memset(disks[i].durable, 0, disks[i].id.bytes);
		memset(disks[i].since, 0, disks[i].id.bytes / PC_SECTOR * sizeof(uint32_t));
	}
	return fwrite(&head, sizeof(head), 1, out) == 1;
}

static bool save(const char *name, const char *path)
{
	struct disk *d = find_disk(name);
	FILE *f = d ? fopen(path, "w") : NULL;
	bool good = f && fwrite(d->now, d->id.bytes, 1, f) == 1;

	return f && !fclose(f) && good;
}

static bool obey(char *line)
{
	char *word = strtok(line, " "), *a = strtok(NULL, " "), *b = strtok(NULL, " ");
	struct pc_entry e = { .type = PC_NOTE, .arrived = entries };

	if (!word || !a)
		return false;
	if (!strcmp(word, "death") && b)
		return death(a, strtoull(b, NULL, 0));
	if (!strcmp(word, "record") && b)
		return record(a, atoi(b));
	if (!strcmp(word, "load"))
		return load(a);
	if (!strcmp(word, "save") && b)
		return save(a, b);
	if (strcmp(word, "note"))
		return false;
	e.offset = strtoull(a, NULL, 0);
	note(e, NULL);
	return true;
}

static void command(void)
{
	char line[4096];

	if (!fgets(line, sizeof(line), stdin)) {
		if (out && fclose(out))
			die("log");
		exit(0);
	}
	line[strcspn(line, "\n")] = 0;
	printf("%s %u\n", obey(line) ? "ok" : "refused", entries);
	fflush(stdout);
}

/* ---- life ---- */

static void *memory(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("memory");
	return p;
}

static void add_disk(const char *words)
{
	struct disk *d = &disks[nr_disks++];

	if (nr_disks > PC_DISKS ||
	    sscanf(words, "%11[^-]-%11[^:]:%lu", d->id.machine, d->id.role, &d->id.bytes) != 3 ||
	    d->id.bytes % PC_SECTOR)
		die("%s: expected MACHINE-ROLE:BYTES", words);
	d->now = memory(d->id.bytes);
	d->durable = memory(d->id.bytes);
	d->since = memory(d->id.bytes / PC_SECTOR * sizeof(*d->since));
}

static int start(char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(at.sun_path, argv[1], sizeof(at.sun_path) - 1);
	if (s < 0 || bind(s, (struct sockaddr *)&at, sizeof(at)) || listen(s, 16))
		die("%s", argv[1]);
	load_fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (load_fd < 0)
		die("%s", argv[2]);
	for (char **arg = argv + 3; *arg; arg++)
		add_disk(*arg);
	return s;
}

/* Until the next request is due, or something comes. */
static void wait_for(struct pollfd *pfd)
{
	uint64_t now = now_ns(), due = now + 1000000000;
	struct timespec ts;

	for (const struct request *r = queue; r; r = r->next)
		due = r->due < due ? r->due : due;
	due = due > now ? due - now : 0;
	ts = (struct timespec){ due / 1000000000, due % 1000000000 };
	for (int i = 0; i < MAX_CONNS; i++)
		pfd[2 + i] = (struct pollfd){ .fd = conns[i].fd, .events = POLLIN };
	if (ppoll(pfd, 2 + MAX_CONNS, &ts, NULL) < 0 && errno != EINTR)
		die("poll");
}

int main(int argc, char **argv)
{
	struct pollfd pfd[2 + MAX_CONNS] = { { .fd = 0, .events = POLLIN } };

	if (argc < 4) {
		fprintf(stderr, "usage: recorder SOCKET LOADLOG MACHINE-ROLE:BYTES...\n");
		return 2;
	}
	for (int i = 0; i < MAX_CONNS; i++)
		conns[i].fd = -1;
	pfd[1] = (struct pollfd){ .fd = start(argv), .events = POLLIN };
	setvbuf(stdin, NULL, _IONBF, 0);	/* what is buffered would not be seen by poll() */
	for (;;) {
		wait_for(pfd);
		serve_due(now_ns());
		for (int i = 0; i < MAX_CONNS; i++)
			if (pfd[2 + i].revents && conns[i].fd == pfd[2 + i].fd && !serve(&conns[i]))
				hang_up(&conns[i]);
		if (pfd[1].revents)
			take_conn(pfd[1].fd);
		if (pfd[0].revents)
			command();
	}
}
