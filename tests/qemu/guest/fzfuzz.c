// SPDX-License-Identifier: GPL-2.0-only
/*
 * A peer, and a program, that say anything: frames to the real sockets and
 * requests to the control device of a running module.
 *
 *   fzfuzz primary ADDRESS PORT SECTORS BLOCK SEED FRAMES   talks to a secondary
 *   fzfuzz secondary PORT SECTORS BLOCK SEED FRAMES         waits for a primary
 *   fzfuzz ioctl MAJOR MINOR SEED REQUESTS
 *
 * He begins most connections as a good peer would, so that what follows is not
 * refused for its beginning, and goes on with frames of any kind, of which half have a few
 * bytes changed, most of these with their checksums repaired.  Prints what was sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../dm-freezecopy/core/ondisk.h"
#include "../../../dm-freezecopy/core/wire.h"
#include "../../../dm-freezecopy/uapi/dm-freezecopy.h"

#define PATIENCE	2000	/* ms for an answer */
#define TRIES		30	/* to connect */
#define PER_CONNECTION	200	/* frames at most */

static struct fzc_geometry geo;
static u8 role;			/* ours */
static struct fzc_hello heard;	/* the peer's last */
static struct fzc_id pair, stage;
static u64 state, left, refusals, connections, kinds[FZC_NR_MSG];
static u8 out[FZC_WIRE_HEAD + FZC_MAX_RUN_BYTES], in[FZC_WIRE_HEAD + FZC_MAX_RUN_BYTES];

static void die(const char *what)
{
	fprintf(stderr, "fzfuzz: %s: %s\n", what, strerror(errno));
	exit(1);
}

static u64 rnd(u64 below)
{
	u64 z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % below;
}

static void fill(void *mem, size_t len)
{
	for (u8 *p = mem; len--; p++)
		*p = rnd(256);
}

static struct fzc_id some_id(const struct fzc_id *likely)
{
	struct fzc_id id = *likely;

	if (!rnd(4))
		fill(&id, sizeof(id));
	return id;
}

/* A number near @likely, or anything. */
static u64 some_number(u64 likely)
{
	static const u64 edges[] = { 0, 1, 255, 256, U32_MAX, U64_MAX - 1, U64_MAX, 1ULL << 63 };

	switch (rnd(6)) {
	case 0:
		return edges[rnd(ARRAY_SIZE(edges))];
	case 1:
		return rnd(U64_MAX);
	default:
		return likely + rnd(3);
	}
}

static struct fzc_img some_image(void)
{
	struct fzc_img img = rnd(2) ? heard.image : heard.freeze;

	img.number = some_number(heard.image.number);
	img.id = some_id(&img.id);
	return img;
}

/* --- frames --- */

static void good_hello(struct fzc_msg *m)
{
	m->type = FZC_MSG_HELLO;
	m->hello.role = role;
	m->hello.blank = role == FZC_SECONDARY && !rnd(2);
	m->hello.pair = pair;
	m->hello.sectors = geo.sectors;
	m->hello.block_size = geo.block_size;
	m->hello.stage = stage;
	m->hello.image = rnd(3) ? heard.image : some_image();
	m->hello.durable = rnd(3) ? 0 : some_number(0);
}

static void good_session(struct fzc_msg *m)
{
	struct fzc_session *s = &m->session;

	m->type = FZC_MSG_SESSION;
	s->pair = pair;
	fill(&s->session, sizeof(s->session));
	s->order = heard.image.number ? FZC_ORDER_NEW_STAGE : FZC_ORDER_FIRST_COPY;
	if (!rnd(4))
		s->order = 1 + rnd(3);
	fill(&s->stage, sizeof(s->stage));
	if (s->order == FZC_ORDER_RESUME)
		s->stage = heard.stage;
	stage = s->stage;
	s->building = heard.image.number + 1;
	if (!rnd(4))
		s->freeze = some_image();
}

static void some_ctl(struct fzc_msg *m, u8 type)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	switch (type) {
	case FZC_MSG_HELLO:
		good_hello(m);
		break;
	case FZC_MSG_SESSION:
		good_session(m);
		break;
	case FZC_MSG_NEED:
		m->first = rnd(geo.blocks);
		m->n = 1 + rnd(rnd(2) ? 8 : geo.blocks - m->first);
		break;
	case FZC_MSG_DURABLE:
	case FZC_MSG_FULL:
		m->frame = some_number(kinds[FZC_MSG_DURABLE] % 70);
		break;
	case FZC_MSG_REFUSE:
		fill(m->reason, sizeof(m->reason) - 1);
		break;
	case FZC_MSG_AUTH:
		m->auth.step = 1 + rnd(3);
		m->auth.role = 1 + rnd(2);
		break;
	default:
		m->image = some_image();
		m->base = rnd(2) ? heard.image : some_image();
		m->stage = some_id(&stage);
		m->frames = some_number(rnd(70));
		break;
	}
}

static u32 some_data(u64 number)
{
	struct fzc_frame f = { .type = FZC_MSG_DATA };

	f.n = 1 + rnd(rnd(8) ? 4 : FZC_MAX_RUN);
	if ((u64)f.n << geo.block_shift > FZC_MAX_RUN_BYTES)
		f.n = FZC_MAX_RUN_BYTES >> geo.block_shift;
	f.first = rnd(geo.blocks - f.n + 1);
	f.flags = (rnd(2) ? 0 : FZC_WIRE_ZERO) | (heard.image.number ? 0 : FZC_WIRE_DIRECT);
	f.flags ^= rnd(8) ? 0 : FZC_WIRE_DIRECT;
	f.image = rnd(8) ? heard.image.number + 1 : some_number(heard.image.number);
	f.frame = rnd(16) ? number : some_number(number);
	f.length = fzc_wire_data_length(&geo, f.first, f.n, f.flags);
	fill(out + FZC_WIRE_HEAD, f.length < 512 ? f.length : 512);
	f.payload_crc = f.length ? fzc_wire_crc(out + FZC_WIRE_HEAD, f.length) : 0;
	fzc_wire_put_head(out, &f);
	return FZC_WIRE_HEAD + f.length;
}

static void damage(u32 len)
{
	struct fzc_wire_head *h = (struct fzc_wire_head *)out;
	u32 reach = rnd(2) ? FZC_WIRE_HEAD : len;

	for (u64 n = 1 + rnd(4); n; n--)
		out[rnd(reach < len ? reach : len)] ^= 1 + rnd(255);
	if (!rnd(8))
		return;
	h->magic = cpu_to_le32(FZC_WIRE_MAGIC);
	if (len > FZC_WIRE_HEAD)
		h->payload_crc = cpu_to_le32(fzc_wire_crc(out + FZC_WIRE_HEAD, len - FZC_WIRE_HEAD));
	h->head_crc = cpu_to_le32(fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)));
}

static bool put(int fd, u32 len)
{
	left -= !!left;
	kinds[((struct fzc_wire_head *)out)->type % FZC_NR_MSG]++;
	return send(fd, out, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool put_msg(int fd, const struct fzc_msg *m)
{
	return put(fd, fzc_wire_put_msg(out, m));
}

static bool wait_for(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

/* One frame of the peer's; 0: closed, or nonsense. */
static u8 take(int fd)
{
	struct fzc_frame f;
	struct fzc_msg m;
	char why[FZC_REASON_LEN];

	if (recv(fd, in, FZC_WIRE_HEAD, MSG_WAITALL) != FZC_WIRE_HEAD ||
	    fzc_wire_parse_head(&f, in, &geo, why))
		return 0;
	if (f.length && recv(fd, in + FZC_WIRE_HEAD, f.length, MSG_WAITALL) != (ssize_t)f.length)
		return 0;
	if (f.type == FZC_MSG_DATA)
		return f.type;
	if (fzc_wire_parse_msg(&m, &f, in + FZC_WIRE_HEAD, why))
		return 0;
	if (f.type == FZC_MSG_HELLO) {
		heard = m.hello;
		if (!m.hello.blank)
			pair = m.hello.pair;
		if (role == FZC_PRIMARY)
			stage = m.hello.stage;
	}
	if (f.type == FZC_MSG_SESSION)
		stage = m.session.stage;
	refusals += f.type == FZC_MSG_REFUSE;
	return f.type;
}

static bool take_until(int fd, u8 type)
{
	while (wait_for(fd, PATIENCE)) {
		u8 got = take(fd);

		if (got == type || !got)
			return got;
	}
	return true;
}

/* As far as a good peer comes before it says anything of its own. */
static bool begin(int fd)
{
	struct fzc_msg m;

	memset(&m, 0, sizeof(m));
	if (role == FZC_SECONDARY && !take_until(fd, FZC_MSG_HELLO))
		return false;
	good_hello(&m);
	if (!put_msg(fd, &m))
		return false;
	if (!take_until(fd, role == FZC_PRIMARY ? FZC_MSG_HELLO : FZC_MSG_SESSION))
		return false;
	if (role == FZC_SECONDARY) {
		m = (struct fzc_msg){ .type = FZC_MSG_SESSION_OK };
		return put_msg(fd, &m);
	}
	memset(&m, 0, sizeof(m));
	good_session(&m);
	return put_msg(fd, &m) && take_until(fd, FZC_MSG_SESSION_OK);
}

static void talk(int fd)
{
	u64 number = 1, n = 1 + rnd(PER_CONNECTION);
	bool up = !rnd(8) || begin(fd);

	connections++;
	for (; up && n && left; n--) {
		u32 len;

		if (role == FZC_PRIMARY && rnd(2)) {
			len = some_data(number++);
		} else {
			struct fzc_msg m;
			u8 type = 1 + rnd(FZC_NR_MSG - 1);

			some_ctl(&m, type == FZC_MSG_DATA ? FZC_MSG_PING : type);
			len = fzc_wire_put_msg(out, &m);
		}
		if (!rnd(4))
			damage(len);
		up = put(fd, len);
		while (up && wait_for(fd, 0))
			up = take(fd);
	}
	close(fd);
}

static int tcp(struct sockaddr_in *a, const char *ip, int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	struct timeval patience = { .tv_sec = PATIENCE / 1000 };

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (fd < 0 || inet_pton(AF_INET, ip, &a->sin_addr) != 1)
		die(ip);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* A machine that has much else to do may take longer than PATIENCE to answer. */
static int call(const char *ip, int port)
{
	struct sockaddr_in a;
	int fd, tries = 0;

	for (;;) {
		fd = tcp(&a, ip, port);
		if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
			return fd;
		if (errno != EINPROGRESS || ++tries == TRIES)
			die("connect");
		close(fd);
	}
}

static void be_primary(const char *ip, int port)
{
	while (left)
		talk(call(ip, port));
}

static void be_secondary(int port)
{
	struct sockaddr_in a;
	int listener = tcp(&a, "0.0.0.0", port), fd;
	struct timeval for_ever = { 0 };

	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof(for_ever));
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 4))
		die("listen");
	while (left) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			die("accept");
		talk(fd);
	}
}

/* --- requests --- */

static const struct {
	unsigned long request;
	u32 size;
} requests[] = {
	{ FZC_IOC_FREEZE, sizeof(struct fzc_freeze) }, { FZC_IOC_WAIT, sizeof(struct fzc_wait) },
	{ FZC_IOC_ABORT, sizeof(struct fzc_abort) }, { FZC_IOC_QUERY, sizeof(struct fzc_query) },
	{ FZC_IOC_LAST_ERROR, sizeof(struct fzc_last_error) },
	{ FZC_IOC_RECOVER, sizeof(struct fzc_recover) },
};

/* Nothing that waits for long: what it does meanwhile is not the matter here. */
static void some_request(u8 *arg, u32 which, u32 major, u32 minor)
{
	struct fzc_head *h = (struct fzc_head *)arg;
	u32 size = requests[which].size;

	memset(arg, 0, size);
	h->version = FZC_UAPI_VERSION;
	h->size = size;
	h->major = major;
	h->minor = minor;
	if (requests[which].request == FZC_IOC_FREEZE) {
		((struct fzc_freeze *)arg)->deadline_ms = 1 + rnd(20);
		((struct fzc_freeze *)arg)->flags = rnd(4);
	} else if (requests[which].request == FZC_IOC_WAIT) {
		((struct fzc_wait *)arg)->what = rnd(7);
		((struct fzc_wait *)arg)->timeout_ms = 1 + rnd(5);
		((struct fzc_wait *)arg)->number = some_number(3);
	}
	if (rnd(2))
		for (u64 n = 1 + rnd(4); n; n--)
			arg[rnd(8) ? rnd(16) : rnd(size)] = rnd(256);
	if (requests[which].request == FZC_IOC_WAIT)
		((struct fzc_wait *)arg)->timeout_ms = 1 + ((struct fzc_wait *)arg)->timeout_ms % 5;
	if (requests[which].request == FZC_IOC_FREEZE)
		((struct fzc_freeze *)arg)->deadline_ms = 1 + ((struct fzc_freeze *)arg)->deadline_ms % 20;
}

static int ask(u32 major, u32 minor)
{
	int fd = open("/dev/" FZC_DEVICE_NAME, O_RDWR | O_CLOEXEC);
	u64 good = 0, asked = 0;

	if (fd < 0)
		die("/dev/" FZC_DEVICE_NAME);
	for (; left; left--, asked++) {
		/* a recovery once in a while: there is only one in the life of a volume */
		u32 which = rnd(200) ? rnd(ARRAY_SIZE(requests) - 1) : ARRAY_SIZE(requests) - 1;
		unsigned long request = rnd(16) ? requests[which].request :
				_IOC(rnd(4), rnd(4) ? FZC_IOC_MAGIC : rnd(256), rnd(10), rnd(1024));
		u8 arg[2048];

		some_request(arg, which, major, minor);
		good += !ioctl(fd, request, rnd(64) ? arg : (void *)rnd(4096));
	}
	printf("%llu requests, %llu done\n", (unsigned long long)asked, (unsigned long long)good);
	return 0;
}

static int report(u64 asked)
{
	printf("%llu frames on %llu connections, %llu refused;", (unsigned long long)asked,
	       (unsigned long long)connections, (unsigned long long)refusals);
	for (int i = 1; i < FZC_NR_MSG; i++)
		printf(" %llu", (unsigned long long)kinds[i]);
	printf("\n");
	return 0;
}

static int frames(int argc, char **argv)
{
	char why[FZC_REASON_LEN];
	u64 asked = strtoull(argv[argc - 1], NULL, 0);

	state = strtoull(argv[argc - 2], NULL, 0);
	left = asked;
	if (fzc_geometry_init(&geo, strtoull(argv[argc - 4], NULL, 0), atoi(argv[argc - 3]), why)) {
		fprintf(stderr, "fzfuzz: %s\n", why);
		return 1;
	}
	fill(&pair, sizeof(pair));
	if (role == FZC_PRIMARY)
		be_primary(argv[2], atoi(argv[3]));
	else
		be_secondary(atoi(argv[2]));
	return report(asked);
}

int main(int argc, char **argv)
{
	if (argc == 8 && !strcmp(argv[1], "primary"))
		role = FZC_PRIMARY;
	else if (argc == 7 && !strcmp(argv[1], "secondary"))
		role = FZC_SECONDARY;
	else if (argc != 6 || strcmp(argv[1], "ioctl"))
		return fprintf(stderr, "usage: see the head of tests/qemu/guest/fzfuzz.c\n"), 2;
	if (role)
		return frames(argc, argv);
	state = strtoull(argv[4], NULL, 0);
	left = strtoull(argv[5], NULL, 0);
	return ask(atoi(argv[2]), atoi(argv[3]));
}
