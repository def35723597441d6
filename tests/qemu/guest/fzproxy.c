// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stands between a primary and its secondary, reads every frame, and does to a
 * chosen one what a network or a dying machine would do.
 *
 *   fzproxy run PORT TARGET   a connection to PORT is passed on to TARGET, here
 *   fzproxy ctl WORD...       command to the running proxy
 *	arm SIDE TYPE FAULT [N]  the N-th frame from now of that type (a number, enum
 *				 fzc_msg_type) that SIDE (p or s) sends
 *	state		idle, armed or fired, then connections so far, then the frames of
 *			each type of p, then of s
 *	heal		what is held goes on, what is half-open ends, nothing is armed
 *	cut		the connection ends
 *
 * Faults:
 *	cut-before, cut-within, cut-after  the connection ends, at both ends
 *	hold		nothing of this side goes on, until healed
 *	duplicate	it goes on twice
 *	half-open	its sender's connection ends, the other end hears nothing of it
 *	deaf		hold, but pings of the proxy's own keep both ends content
 * and what only somebody who knows the protocol can do, with checksums that fit:
 *	garbage		the payload is all ones
 *	truncate	the payload lacks its last byte
 *	fewer		DATA says that it is one block less
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../../dm-freezecopy/core/wire.h"

#define TYPES	FZC_NR_MSG

enum fault { CUT_BEFORE, CUT_WITHIN, CUT_AFTER, HOLD, DUPLICATE, HALF_OPEN, DEAF, GARBAGE, TRUNCATE,
	     FEWER, FAULTS };

static const char * const fault_name[FAULTS] = {
	"cut-before", "cut-within", "cut-after", "hold", "duplicate", "half-open", "deaf", "garbage",
	"truncate", "fewer",
};

/* A connection of both; p's end is 0, s's is 1. */
struct pair {
	int fd[2];
	int threads;
	bool dead;
	bool orphan;			/* half-open: nobody serves it any more */
	pthread_mutex_t tx[2];		/* one whole frame at a time */
};

struct way {
	struct pair *pair;
	int from;			/* 0: what the primary sends */
	char buf[FZC_WIRE_HEAD + FZC_MAX_RUN_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* of all below, but not the sockets */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct pair *newest;
static enum { IDLE, ARMED, FIRED } state;
static int side, type, left;
static enum fault fault;
static long healed, connections, frames[2][TYPES];

static void die(const char *what)
{
	fprintf(stderr, "fzproxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool move_all(int fd, char *buf, size_t len, bool out)
{
	while (len) {
		ssize_t n = out ? send(fd, buf, len, MSG_NOSIGNAL) : recv(fd, buf, len, 0);

		if (n <= 0)
			return false;
		buf += n;
		len -= n;
	}
	return true;
}

static bool pass(struct way *w, size_t len)
{
	struct pair *p = w->pair;
	bool ok;

	pthread_mutex_lock(&p->tx[!w->from]);
	ok = move_all(p->fd[!w->from], w->buf, len, true);
	pthread_mutex_unlock(&p->tx[!w->from]);
	return ok;
}

/* The lock is held. */
static void end_pair(struct pair *p)
{
	p->dead = true;
	shutdown(p->fd[0], SHUT_RDWR);
	shutdown(p->fd[1], SHUT_RDWR);
	pthread_cond_broadcast(&changed);
}

static void ping(struct pair *p)
{
	char buf[FZC_WIRE_HEAD + FZC_MAX_CTL];
	struct fzc_msg msg = { .type = FZC_MSG_PING };
	u32 len = fzc_wire_put_msg(buf, &msg);

	for (int i = 0; i < 2; i++) {
		/* the other way may be at work on it, and stuck */
		if (pthread_mutex_trylock(&p->tx[i]))
			continue;
		move_all(p->fd[i], buf, len, true);
		pthread_mutex_unlock(&p->tx[i]);
	}
}

/* Until it is healed, or the pair ends. */
static void wait_healed(struct pair *p, bool pings)
{
	long before = healed;

	while (healed == before && !p->dead) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&changed, &lock, &until);
		if (pings && !p->dead) {
			pthread_mutex_unlock(&lock);
			ping(p);
			pthread_mutex_lock(&lock);
		}
	}
}

/* All that was written has arrived, so that the end of the connection does not overtake it. */
static void drain(int fd)
{
	int unsent = 1;

	for (int i = 0; i < 200 && !ioctl(fd, SIOCOUTQ, &unsent) && unsent; i++)
		usleep(10000);
}

static void falsify(struct way *w)
{
	struct fzc_wire_head *h = (struct fzc_wire_head *)w->buf;
	char *payload = w->buf + FZC_WIRE_HEAD;
	u32 len = le32_to_cpu(h->length);

	if (fault == GARBAGE)
		memset(payload, 0xff, len);
	if (fault == TRUNCATE && len)
		h->length = cpu_to_le32(--len);
	if (fault == FEWER)
		h->n = cpu_to_le32(le32_to_cpu(h->n) - 1);
	h->payload_crc = cpu_to_le32(fzc_wire_crc(payload, len));
	h->head_crc = cpu_to_le32(fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)));
}

/* The frame in the buffer is the one.  False: the pair has ended.  The lock is held. */
static bool strike(struct way *w, size_t len)
{
	struct pair *p = w->pair;
	bool ok = true;

	state = FIRED;
	switch (fault) {
	case CUT_WITHIN:
	case CUT_AFTER:
		pthread_mutex_unlock(&lock);
		pass(w, fault == CUT_AFTER ? len : len - len / 2);
		drain(p->fd[!w->from]);
		pthread_mutex_lock(&lock);
		/* fallthrough */
	case CUT_BEFORE:
		end_pair(p);
		return false;
	case HOLD:
	case DEAF:
		wait_healed(p, fault == DEAF);
		break;
	case DUPLICATE:
		pthread_mutex_unlock(&lock);
		ok = pass(w, len);
		pthread_mutex_lock(&lock);
		break;
	case HALF_OPEN:
		p->orphan = true;
		shutdown(p->fd[w->from], SHUT_RDWR);
		wait_healed(p, false);
		end_pair(p);
		return false;
	case GARBAGE:
	case TRUNCATE:
	case FEWER:
		falsify(w);
		break;
	default:
		break;
	}
	return ok && !p->dead;
}

static bool look(struct way *w, size_t len)
{
	u16 t = le16_to_cpu(((struct fzc_wire_head *)w->buf)->type);
	bool ok = true;

	pthread_mutex_lock(&lock);
	if (t < TYPES)
		frames[w->from][t]++;
	if (state == ARMED && side == w->from && type == t && !--left)
		ok = strike(w, len);
	pthread_mutex_unlock(&lock);
	return ok;
}

static bool one_frame(struct way *w)
{
	struct fzc_wire_head *h = (struct fzc_wire_head *)w->buf;
	int fd = w->pair->fd[w->from];
	u32 len;

	if (!move_all(fd, w->buf, FZC_WIRE_HEAD, false))
		return false;
	len = le32_to_cpu(h->length);
	if (len > FZC_MAX_RUN_BYTES || !move_all(fd, w->buf + FZC_WIRE_HEAD, len, false))
		return false;
	return look(w, FZC_WIRE_HEAD + len) && pass(w, FZC_WIRE_HEAD + le32_to_cpu(h->length));
}

static void *serve_way(void *arg)
{
	struct way *w = arg;
	struct pair *p = w->pair;

	while (one_frame(w))
		;
	pthread_mutex_lock(&lock);
	if (p->orphan)
		wait_healed(p, false);
	end_pair(p);
	if (!--p->threads) {
		if (newest == p)
			newest = NULL;
		close(p->fd[0]);
		close(p->fd[1]);
		free(p);
	}
	pthread_mutex_unlock(&lock);
	free(w);
	return NULL;
}

static int tcp(int port, bool listens)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(listens ? INADDR_ANY : 0xc0000202) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listens ? bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4) :
		      connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void start_pair(int p, int s)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int one = 1;

	if (!pair)
		die("memory");
	*pair = (struct pair){ .fd = { p, s }, .threads = 2,
			       .tx = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER } };
	pthread_mutex_lock(&lock);
	newest = pair;
	connections++;
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 2; i++) {
		struct way *w = malloc(sizeof(*w));
		pthread_t t;

		if (!w)
			die("memory");
		w->pair = pair;
		w->from = i;
		setsockopt(pair->fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&t, NULL, serve_way, w))
			die("thread");
		pthread_detach(t);
	}
}

static void command(char *text, char *reply, size_t len)
{
	char from, name[32];
	int t, n = 1;

	snprintf(reply, len, "ok");
	pthread_mutex_lock(&lock);
	if (sscanf(text, "arm %c %d %31s %d", &from, &t, name, &n) >= 3) {
		for (fault = 0; fault < FAULTS && strcmp(name, fault_name[fault]); fault++)
			;
		side = from == 's';
		type = t;
		left = n;
		state = fault < FAULTS && t > 0 && t < TYPES ? ARMED : IDLE;
		if (state == IDLE)
			snprintf(reply, len, "err what is %s of type %d", name, t);
	} else if (!strcmp(text, "heal")) {
		healed++;
		state = IDLE;
		pthread_cond_broadcast(&changed);
	} else if (!strcmp(text, "cut")) {
		if (newest)
			end_pair(newest);
	} else if (!strcmp(text, "state")) {
		char *at = reply + sprintf(reply, "%s %ld", state == ARMED ? "armed" :
					   state == FIRED ? "fired" : "idle", connections);

		for (int i = 0; i < 2 * TYPES; i++)
			at += sprintf(at, " %ld", frames[i / TYPES][i % TYPES]);
	} else {
		snprintf(reply, len, "err unknown command %s", text);
	}
	pthread_mutex_unlock(&lock);
}

static int control_socket(struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(a->sun_path + 1, "fzproxy");
	if (fd < 0)
		die("socket");
	return fd;
}

static void *serve_control(void *arg)
{
	int s = (long)arg, c;
	char text[256], reply[1024];
	ssize_t n;

	while ((c = accept(s, NULL, NULL)) >= 0) {
		n = read(c, text, sizeof(text) - 1);
		text[n < 0 ? 0 : n] = 0;
		command(text, reply, sizeof(reply));
		if (write(c, reply, strlen(reply)) < 0)
			perror("fzproxy: reply");
		close(c);
	}
	return NULL;
}

static int run(int port, int target)
{
	int listener = tcp(port, true), p, s;
	struct sockaddr_un a;
	pthread_t t;

	if (listener < 0)
		die("listen");
	s = control_socket(&a);
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 4))
		die("control socket");
	pthread_create(&t, NULL, serve_control, (void *)(long)s);
	while ((p = accept(listener, NULL, NULL)) >= 0) {
		s = tcp(target, false);
		if (s < 0)
			close(p);
		else
			start_pair(p, s);
	}
	die("accept");
	return 1;
}

static int control(char **words)
{
	char text[256] = "", reply[1024];
	struct sockaddr_un a;
	int s = control_socket(&a);
	ssize_t n;

	for (; *words; words++) {
		strncat(text, *words, sizeof(text) - strlen(text) - 2);
		if (words[1])
			strcat(text, " ");
	}
	if (connect(s, (struct sockaddr *)&a, sizeof(a)) || write(s, text, strlen(text)) < 0)
		die("no proxy is running");
	n = read(s, reply, sizeof(reply) - 1);
	if (n <= 0)
		die("the proxy went away");
	reply[n] = 0;
	puts(reply);
	return !strncmp(reply, "err", 3);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "run"))
		return run(atoi(argv[2]), atoi(argv[3]));
	if (argc >= 3 && !strcmp(argv[1], "ctl"))
		return control(argv + 2);
	fprintf(stderr, "usage: fzproxy run PORT TARGET\n       fzproxy ctl WORD...\n");
	return 2;
}
