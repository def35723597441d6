// SPDX-License-Identifier: GPL-2.0-only
/*
 * Load generator: random direct requests of many threads, every sector stamped,
 * every request logged (stamp.h), every read verified at once.
 *
 *   fzload run DEV [--OPTION N]...   until --ops or --seconds are over, or "fzload ctl stop"
 *   fzload ctl [--volume V] WORD...  command to the running load; without one, call, return
 *                                    and freeze are done (and logged) by this process itself
 *	freeze DM-NAME [WORD]...   call and return around the dm message "freeze"
 *	call | return N            the same around something else
 *	pause | resume             pause: returns with nothing in flight and all flushed
 *	stop | stats
 *	worst	  the longest that a request took since the last time this was asked, in ms
 *
 * Exit code: 0 good, 1 trouble, 2 usage, 3 a read returned what it must not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/dm-ioctl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "stamp.h"

#define DEFAULT_LOG	"/dev/virtio-ports/fz.log%ld"	/* the volume */
#define MAX_DEPTH	8
#define RING		16	/* writes remembered per sector, at least 2 * MAX_DEPTH */
#define MAX_OPS		(16U << 20)

static struct options {
	long seed, min, max, ops, seconds, depth, flush_every, fua_pct, discard_pct, zeroes_pct,
	     read_pct, hot, from, to, rate, writer, volume, fill, align;
} opt = {
	.seed = 1, .align = 512, .min = 512, .max = 262144, .depth = 4, .writer = 1, .volume = 1,
};

static const struct {
	const char *name;
	long *value;
} option_names[] = {
	{ "seed", &opt.seed },
	{ "min", &opt.min },			/* bytes of a request */
	{ "max", &opt.max },
	{ "ops", &opt.ops },			/* 0: no limit */
	{ "seconds", &opt.seconds },		/* 0: no limit */
	{ "depth", &opt.depth },		/* requests at a time */
	{ "flush-every", &opt.flush_every },	/* about so many requests; 0: never */
	{ "fua-pct", &opt.fua_pct },		/* of the writes */
	{ "discard-pct", &opt.discard_pct },	/* of all requests */
	{ "zeroes-pct", &opt.zeroes_pct },
	{ "read-pct", &opt.read_pct },
	{ "hot", &opt.hot },			/* percentage that goes to 1/32 of the device */
	{ "from", &opt.from },			/* sectors to use */
	{ "to", &opt.to },
	{ "rate", &opt.rate },			/* requests per second, 0: no limit */
	{ "writer", &opt.writer },		/* of the run: never the same twice on a volume */
	{ "volume", &opt.volume },
	{ "fill", &opt.fill },			/* 1: write everything once, in order */
	{ "align", &opt.align },		/* bytes; of what begins there or lasts so long */
};

#define NR_OPTIONS (sizeof(option_names) / sizeof(*option_names))

/*
 * Times are readings of one logical clock, under @lock.  A completed write @w
 * hides @u from reads that began after w.done if w.submit > u.done.
 */
struct op {
	uint32_t submit, done;	/* done: PENDING while in flight, or failed */
	uint16_t kind;
};

#define PENDING 0xffffffffU

static struct op *ops;			/* by sequence number; 0 stands for "before this run" */
static uint32_t (*ring)[RING];		/* by sector, sequence numbers of the writes to it */
static uint32_t *forgotten;		/* by sector, when the ring last lost something */
static uint32_t next_op = 1, logical_now = 1;
/* Of the six above, and of the order of the log. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int dev = -1, log_fd = -1;
static uint64_t sectors;
static uint32_t epoch;
static atomic_bool stopping, paused;
static atomic_int inflight;
static atomic_long issued, reads, writes, flushes, zeroes, unchecked, failed, bad;
static uint64_t fill_next;
static struct timespec begun;
static atomic_ulong worst_ns, since_ns[MAX_DEPTH + 1];	/* begin of a thread's request, or 0 */
static __thread long me = MAX_DEPTH;			/* who is no worker */

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "fzload: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Blocking: the virtio console driver returns when the host has taken the data. */
static void log_record(struct record r)
{
	r.magic = RECORD_MAGIC;
	r.writer = opt.writer;
	r.volume = opt.volume;
	r.time_ns = now_ns();
	r.crc = record_crc(&r);
	if (write(log_fd, &r, sizeof(r)) != sizeof(r))
		die("log: %s", strerror(errno));
}

static void open_log(const char *path)
{
	struct stat st;

	log_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (log_fd < 0 && errno == ENOENT)
		log_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (log_fd < 0 || fstat(log_fd, &st))
		die("%s: %s", path, strerror(errno));
	if (S_ISREG(st.st_mode))
		lseek(log_fd, 0, SEEK_END);
}

/* Does a completed write hide @u from a read that began at @since? */
static bool hidden(uint64_t sector, const struct op *u, uint32_t since)
{
	for (int i = 0; i < RING; i++) {
		const struct op *w = &ops[ring[sector][i]];

		if (ring[sector][i] && !(w->kind & OP_DISCARD) && w->submit > u->done &&
		    w->done < since)
			return true;
	}
	return false;
}

/* Make room in a sector's ring: preferably of what is hidden from everybody by now. */
static void remember(uint64_t sector, uint32_t seq)
{
	int oldest = 0;

	for (int i = 0; i < RING; i++) {
		if (!ring[sector][i]) {
			ring[sector][i] = seq;
			return;
		}
		if (ring[sector][i] < ring[sector][oldest])
			oldest = i;
	}
	for (int i = 0; i < RING; i++)
		if (hidden(sector, &ops[ring[sector][i]], logical_now)) {
			oldest = i;
			break;
		}
	ring[sector][oldest] = seq;
	forgotten[sector] = logical_now;
}

/* Between these two a request is the device's. */
static void clock_starts(void)
{
	since_ns[me] = now_ns();
}

static void note_worst(unsigned long since)
{
	unsigned long took = since ? now_ns() - since : 0, worst = worst_ns;

	while (took > worst && !atomic_compare_exchange_weak(&worst_ns, &worst, took))
		;
}

static void clock_stops(void)
{
	note_worst(since_ns[me]);
	since_ns[me] = 0;
}

/* Those that have not ended count, too. */
static unsigned long take_worst(void)
{
	for (long i = 0; i <= MAX_DEPTH; i++)
		note_worst(since_ns[i]);
	return atomic_exchange(&worst_ns, 0);
}

static uint32_t submit(uint16_t kind, uint64_t sector, uint32_t count)
{
	uint32_t seq;

	pthread_mutex_lock(&lock);
	seq = next_op++;
	if (seq >= MAX_OPS)
		die("more than %u requests in a run", MAX_OPS);
	ops[seq] = (struct op){ logical_now++, PENDING, kind };
	if (kind != OP_FLUSH)
		for (uint32_t i = 0; i < count; i++)
			remember(sector + i, seq);
	log_record((struct record){
		.type = REC_SUBMIT, .kind = kind, .seq = seq, .sector = sector, .sectors = count });
	pthread_mutex_unlock(&lock);
	return seq;
}

static void done(uint32_t seq, uint16_t kind, int error)
{
	pthread_mutex_lock(&lock);
	if (!error)
		ops[seq].done = logical_now++;
	log_record((struct record){ .type = REC_DONE, .kind = kind, .seq = seq, .error = error });
	pthread_mutex_unlock(&lock);
	if (error && ++failed <= 10)
		fprintf(stderr, "fzload: request %u (kind %u): %s\n", seq, kind, strerror(error));
}

static void make_stamps(struct stamp *s, uint32_t seq, uint64_t sector, uint32_t count)
{
	uint64_t state = (opt.seed + 1) * 0x9e3779b97f4a7c15ULL ^ seq << 20 ^ sector;

	state |= !state;
	for (uint32_t i = 0; i < count; i++, s++) {
		*s = (struct stamp){ .magic = STAMP_MAGIC, .seq = seq, .sector = sector + i,
				     .volume = opt.volume, .writer = opt.writer, .epoch = epoch,
				     .sectors = count };
		for (int k = 0; k < FILL_WORDS; k++)
			s->fill[k] = xorshift(&state);
		s->crc = stamp_crc(s);
	}
}

/* FUA and nothing else: after pwritev2() with RWF_DSYNC the kernel flushes, too. */
static ssize_t write_fua(const void *buf, size_t len, off_t at)
{
	static __thread aio_context_t ctx;
	struct iocb cb = { .aio_fildes = dev, .aio_lio_opcode = IOCB_CMD_PWRITE,
			   .aio_rw_flags = RWF_DSYNC, .aio_buf = (uintptr_t)buf,
			   .aio_nbytes = len, .aio_offset = at };
	struct iocb *list[] = { &cb };
	struct io_event event;

	if (!ctx && syscall(SYS_io_setup, 1, &ctx))
		die("io_setup: %s", strerror(errno));
	if (syscall(SYS_io_submit, ctx, 1, list) != 1)
		return -1;
	while (syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) != 1)
		;	/* a signal */
	if (event.res < 0)
		errno = -event.res;
	return event.res;
}

static void do_write(struct stamp *buf, uint64_t sector, uint32_t count, bool fua)
{
	uint16_t kind = OP_WRITE | (fua ? OP_FUA : 0);
	size_t len = (size_t)count * SECTOR;
	uint32_t seq = submit(kind, sector, count);
	ssize_t n;

	make_stamps(buf, seq, sector, count);
	clock_starts();
	n = fua ? write_fua(buf, len, sector * SECTOR) : pwrite(dev, buf, len, sector * SECTOR);
	clock_stops();
	done(seq, kind, n == (ssize_t)len ? 0 : n < 0 ? errno : EIO);
	writes++;
}

static void do_flush(void)
{
	uint32_t seq = submit(OP_FLUSH, 0, 0);
	int err;

	clock_starts();
	err = fdatasync(dev) ? errno : 0;
	clock_stops();
	done(seq, OP_FLUSH, err);
	flushes++;
}

/* A block device takes these as REQ_OP_WRITE_ZEROES and REQ_OP_DISCARD. */
static void do_zero(uint64_t sector, uint32_t count, bool discard)
{
	uint16_t kind = discard ? OP_DISCARD : OP_ZERO;
	uint32_t seq = submit(kind, sector, count);
	uint64_t range[2] = { sector * SECTOR, (uint64_t)count * SECTOR };
	int err;

	clock_starts();
	if (discard)
		err = ioctl(dev, BLKDISCARD, range) ? errno : 0;
	else
		err = fallocate(dev, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, range[0],
				range[1]) ? errno : 0;
	clock_stops();
	if (discard && (err == EOPNOTSUPP || err == ENOTTY))
		err = 0;	/* allowed to change nothing */
	done(seq, kind, err);
	zeroes++;
}

/*
 * Was the sector written while it was read?  Then any mixture may be found: a disk that is a
 * file of the emulator's machine is not atomic by sectors, who reads it sees half a copy.
 */
static bool in_flight(uint64_t sector, uint32_t since)
{
	for (int i = 0; i < RING; i++)
		if (ring[sector][i] && ops[ring[sector][i]].done > since)
			return true;
	return false;
}

/* Called under the lock: may a read that began at @since find this in the sector? */
static bool legal(const struct stamp *s, uint64_t sector, uint32_t since)
{
	enum content c = classify(s, sector, opt.volume);

	if (c == CONTENT_BAD && in_flight(sector, since)) {
		unchecked++;
		return true;
	}
	if (c == CONTENT_BAD)
		return false;
	if (c == CONTENT_STAMP && s->writer == opt.writer && s->seq >= next_op)
		return false;
	if (forgotten[sector] > since) {
		unchecked++;
		return true;
	}
	for (int i = 0; i < RING; i++) {
		const struct op *u = &ops[ring[sector][i]];
		bool match = c == CONTENT_ZERO ? u->kind & (OP_ZERO | OP_DISCARD) :
			     s->writer == opt.writer && s->seq == ring[sector][i];

		if (ring[sector][i] && match && !hidden(sector, u, since))
			return true;
	}
	/* from before this run (zeroes included): then nothing of this run may hide it */
	return (c == CONTENT_ZERO || s->writer != opt.writer) && !hidden(sector, &ops[0], since);
}

static void report_bad(const struct stamp *s, uint64_t sector, uint32_t since)
{
	static const char * const what[] = { "zeroes", "a stamp", "garbage" };

	if (++bad > 10)
		return;
	fprintf(stderr, "fzload: sector %lu: read at %u found %s (writer %u seq %lu sector %lu):",
		sector, since, what[classify(s, sector, opt.volume)], s->writer, s->seq, s->sector);
	for (int i = 0; i < RING; i++)
		if (ring[sector][i])
			fprintf(stderr, " %u(%u..%u)", ring[sector][i], ops[ring[sector][i]].submit,
				ops[ring[sector][i]].done);
	fprintf(stderr, "\n");
}

static void do_read(struct stamp *buf, uint64_t sector, uint32_t count)
{
	uint32_t since;
	ssize_t n;

	pthread_mutex_lock(&lock);
	since = logical_now++;
	pthread_mutex_unlock(&lock);
	clock_starts();
	n = pread(dev, buf, (size_t)count * SECTOR, sector * SECTOR);
	clock_stops();
	reads++;
	if (n != (ssize_t)count * SECTOR) {
		fprintf(stderr, "fzload: read of %u sectors at %lu: %s\n", count, sector,
			n < 0 ? strerror(errno) : "short");
		failed++;
		return;
	}
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < count; i++)
		if (!legal(buf + i, sector + i, since))
			report_bad(buf + i, sector + i, since);
	pthread_mutex_unlock(&lock);
	if (bad)
		stopping = true;
}

/* A length between min and max with all orders of magnitude equally likely. */
static uint32_t pick_count(uint64_t *rnd)
{
	uint32_t lo = opt.min / SECTOR, hi = opt.max / SECTOR, top = lo;
	int steps = 0;

	while (top < hi) {
		top *= 2;
		steps++;
	}
	top = lo << (steps ? xorshift(rnd) % (steps + 1) : 0);
	top = top > hi ? hi : top;
	return top <= lo ? lo : lo + xorshift(rnd) % (top - lo + 1);
}

static void one_request(struct stamp *buf, uint64_t *rnd)
{
	uint64_t from = opt.from, to = opt.to, sector;
	uint32_t align = opt.align / SECTOR;
	uint32_t count = (pick_count(rnd) + align - 1) / align * align, dice = xorshift(rnd) % 100;

	if ((long)(xorshift(rnd) % 100) < opt.hot)
		to = from + (to - from + 31) / 32;
	if (count > to - from)
		count = to - from;
	sector = from + xorshift(rnd) % (to - from - count + 1);
	sector -= (sector - from) % align;
	if (opt.flush_every && xorshift(rnd) % opt.flush_every == 0)
		do_flush();
	if (dice < opt.read_pct)
		do_read(buf, sector, count);
	else if (dice < opt.read_pct + opt.discard_pct)
		do_zero(sector, count, true);
	else if (dice < opt.read_pct + opt.discard_pct + opt.zeroes_pct)
		do_zero(sector, count, false);
	else
		do_write(buf, sector, count, (long)(xorshift(rnd) % 100) < opt.fua_pct);
}

/* False when everything is written. */
static bool fill_request(struct stamp *buf)
{
	uint32_t count = opt.max / SECTOR;
	uint64_t sector;

	pthread_mutex_lock(&lock);
	sector = fill_next;
	fill_next += count;
	pthread_mutex_unlock(&lock);
	if (sector >= (uint64_t)opt.to)
		return false;
	if (count > opt.to - sector)
		count = opt.to - sector;
	do_write(buf, sector, count, false);
	return true;
}

static void keep_rate(long n)
{
	uint64_t due;

	if (!opt.rate)
		return;
	due = begun.tv_sec * 1000000000ULL + begun.tv_nsec + n * (1000000000ULL / opt.rate);
	while (now_ns() < due && !stopping)
		usleep(due - now_ns() > 20000000 ? 20000 : 1000);
}

static bool time_is_up(long n)
{
	return (opt.ops && n >= opt.ops) ||
	       (opt.seconds && now_ns() - begun.tv_sec * 1000000000ULL - begun.tv_nsec >
		(uint64_t)opt.seconds * 1000000000ULL);
}

static void *worker(void *arg)
{
	uint64_t rnd = (opt.seed + 1) * 0xd1342543de82ef95ULL + (long)arg * 0x9e3779b97f4a7c15ULL;
	struct stamp *buf = aligned_alloc(4096, (opt.max + 4095) & ~4095L);
	bool more = true;

	if (!buf)
		die("no memory");
	me = (long)arg;
	rnd |= !rnd;
	for (int i = 0; i < 8; i++)
		xorshift(&rnd);
	while (more && !stopping) {
		if (paused) {
			usleep(5000);
			continue;
		}
		long n = issued++;

		keep_rate(n);
		if (time_is_up(n))
			break;
		inflight++;
		if (!paused) {
			if (opt.fill)
				more = fill_request(buf);
			else
				one_request(buf, &rnd);
		}
		inflight--;
	}
	free(buf);
	return NULL;
}

/* The dm message @words to device @name; the answer goes to @reply. */
static int dm_message(const char *name, const char *words, char *reply, size_t len)
{
	union {
		struct dm_ioctl head;
		char space[4096];
	} arg = { .head = { .version = { 4, 0, 0 }, .data_size = sizeof(arg),
			    .data_start = sizeof(struct dm_ioctl) } };
	struct dm_target_msg *msg = (void *)(arg.space + sizeof(struct dm_ioctl));
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), err = 0;

	if (fd < 0)
		return errno;
	snprintf(arg.head.name, sizeof(arg.head.name), "%s", name);
	snprintf(msg->message, 1024, "%s", words);
	*reply = 0;
	if (ioctl(fd, DM_TARGET_MSG, &arg))
		err = errno;
	else if (arg.head.flags & DM_DATA_OUT_FLAG)
		snprintf(reply, len, "%s", arg.space + arg.head.data_start);
	close(fd);
	return err;
}

static void log_event(enum record_type type, uint64_t number, int error)
{
	pthread_mutex_lock(&lock);
	if (type == REC_RETURN && !error)
		epoch = number;
	log_record((struct record){ .type = type, .arg = number, .error = error });
	pthread_mutex_unlock(&lock);
}

static void command_freeze(char *words, char *reply, size_t len)
{
	char *name = strtok(words, " "), *rest = strtok(NULL, ""), message[1024], number[256];
	int err;

	if (!name) {
		snprintf(reply, len, "err freeze needs a name");
		return;
	}
	snprintf(message, sizeof(message), "freeze%s%s", rest ? " " : "", rest ? rest : "");
	log_event(REC_CALL, 0, 0);
	err = dm_message(name, message, number, sizeof(number));
	log_event(REC_RETURN, strtoull(number, NULL, 10), err);
	if (err)
		snprintf(reply, len, "err %s", strerror(err));
	else
		snprintf(reply, len, "ok %s", number);
}

static void print_stats(char *text, size_t len)
{
	snprintf(text, len, "writes %ld reads %ld flushes %ld zeroes %ld unchecked %ld failed %ld "
		 "bad %ld", writes, reads, flushes, zeroes, unchecked, failed, bad);
}

static void command(char *text, char *reply, size_t len)
{
	char *word = strtok(text, " "), *rest = strtok(NULL, "");

	snprintf(reply, len, "ok");
	if (!word)
		word = "";
	if (!strcmp(word, "freeze")) {
		command_freeze(rest, reply, len);
	} else if (!strcmp(word, "call")) {
		log_event(REC_CALL, 0, 0);
	} else if (!strcmp(word, "return") && rest) {
		log_event(REC_RETURN, strtoull(rest, NULL, 10), *rest == '0' ? EIO : 0);
	} else if (!strcmp(word, "pause") && dev >= 0) {
		paused = true;
		while (inflight)
			usleep(2000);
		do_flush();
	} else if (!strcmp(word, "resume")) {
		paused = false;
	} else if (!strcmp(word, "stop")) {
		stopping = true;
	} else if (!strcmp(word, "worst")) {
		snprintf(reply, len, "ok %lu", take_worst() / 1000000);
	} else if (!strcmp(word, "stats")) {
		snprintf(reply, len, "ok ");
		print_stats(reply + 3, len - 3);
	} else {
		snprintf(reply, len, "err unknown command %s", word);
	}
}

static void socket_address(struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "fzload-%ld", opt.volume);
}

static void *serve(void *arg)
{
	int s = (long)arg, c;
	char text[1024], reply[1024];
	ssize_t n;

	while ((c = accept(s, NULL, NULL)) >= 0) {
		n = read(c, text, sizeof(text) - 1);
		text[n < 0 ? 0 : n] = 0;
		command(text, reply, sizeof(reply));
		if (write(c, reply, strlen(reply)) < 0)
			perror("fzload: reply");
		close(c);
	}
	return NULL;
}

static void start_server(void)
{
	struct sockaddr_un a;
	pthread_t t;
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	socket_address(&a);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 4))
		die("control socket: %s (is a load on this volume running?)", strerror(errno));
	pthread_create(&t, NULL, serve, (void *)(long)s);
}

static void *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("no memory");
	return p;
}

static void open_device(const char *path)
{
	struct stat st;
	uint64_t bytes;

	dev = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (dev < 0 || fstat(dev, &st))
		die("%s: %s", path, strerror(errno));
	bytes = st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(dev, BLKGETSIZE64, &bytes))
		die("%s: %s", path, strerror(errno));
	sectors = bytes / SECTOR;
	if (!opt.to || opt.to > (long)sectors)
		opt.to = sectors;
	fill_next = opt.from;
	if (opt.min < SECTOR || opt.min % SECTOR || opt.max < opt.min || opt.max % SECTOR ||
	    opt.depth < 1 || opt.depth > MAX_DEPTH || opt.from < 0 || opt.from >= opt.to ||
	    opt.writer < 1)
		die("a value is out of range (sizes: multiples of 512; depth: 1 to %d; "
		    "writer: from 1)", MAX_DEPTH);
	ops = map(sizeof(*ops) * MAX_OPS);
	ring = map(sizeof(*ring) * sectors);
	forgotten = map(sizeof(*forgotten) * sectors);
}

static int run(const char *path)
{
	pthread_t t[MAX_DEPTH];
	char stats[256];

	open_device(path);
	log_record((struct record){ .type = REC_RUN, .seq = opt.seed, .arg = sectors });
	start_server();
	/* on one emulated CPU what the harness asks in between would wait for long */
	if (nice(10) < 0)
		die("nice: %s", strerror(errno));
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (long i = 0; i < opt.depth; i++)
		pthread_create(&t[i], NULL, worker, (void *)i);
	for (long i = 0; i < opt.depth; i++)
		pthread_join(t[i], NULL);
	log_event(REC_END, 0, 0);
	print_stats(stats, sizeof(stats));
	printf("%s seconds %.1f\n", stats,
	       (now_ns() - begun.tv_sec * 1e9 - begun.tv_nsec) / 1e9);
	return bad ? 3 : failed ? 1 : 0;
}

static int control(char **words, const char *log)
{
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char text[1024] = "", reply[1024] = "";
	struct sockaddr_un a;
	ssize_t n;

	for (char *p = text; *words; words++)
		p += snprintf(p, text + sizeof(text) - p, "%s%s", p > text ? " " : "", *words);
	socket_address(&a);
	if (!connect(s, (struct sockaddr *)&a, sizeof(a))) {
		n = write(s, text, strlen(text));
		n = n < 0 ? n : read(s, reply, sizeof(reply) - 1);
		if (n <= 0)
			die("the load went away");
		reply[n] = 0;
	} else if (!strncmp(text, "freeze", 6) || !strcmp(text, "call") ||
		   !strncmp(text, "return", 6)) {
		open_log(log);
		command(text, reply, sizeof(reply));
	} else {
		die("no load is running");
	}
	printf("%s\n", reply);
	return strncmp(reply, "ok", 2) ? 1 : 0;
}

static void usage(void)
{
	fprintf(stderr, "usage: fzload run DEV [--log PATH]");
	for (size_t i = 0; i < NR_OPTIONS; i++)
		fprintf(stderr, " [--%s N]", option_names[i].name);
	fprintf(stderr, "\n       fzload ctl [--log PATH] [--volume N] WORD...\n");
	exit(2);
}

int main(int argc, char **argv)
{
	char *words[64] = { 0 }, port[64], *log = port;
	int n = 0;

	for (int i = 1; i < argc && n < 63; i++) {
		bool known = false;

		if (strncmp(argv[i], "--", 2)) {
			words[n++] = argv[i];
			continue;
		}
		if (++i == argc)
			usage();
		for (size_t k = 0; k < NR_OPTIONS; k++)
			if (!strcmp(argv[i - 1] + 2, option_names[k].name)) {
				*option_names[k].value = strtol(argv[i], NULL, 0);
				known = true;
			}
		if (!strcmp(argv[i - 1], "--log"))
			log = argv[i];
		else if (!known)
			usage();
	}
	snprintf(port, sizeof(port), DEFAULT_LOG, opt.volume);
	if (n == 2 && !strcmp(words[0], "run")) {
		open_log(log);
		return run(words[1]);
	}
	if (n >= 2 && !strcmp(words[0], "ctl"))
		return control(words + 1, log);
	usage();
}
