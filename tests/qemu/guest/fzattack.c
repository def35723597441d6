// SPDX-License-Identifier: GPL-2.0-only
/*
 * An attacker on the way between a primary and its secondary, or anywhere else.
 * He knows the protocol and has no key.
 *
 *   fzattack way PORT ADDRESS TARGET ATTACK...
 *	what comes to PORT is passed on to ADDRESS and port TARGET; the first connection suffers
 *	the first ATTACK, and so on; those after the last are left alone.  A connection that ends
 *	before the place of its ATTACK leaves it to the next one; else a line is printed
 *	when it ends.  ATTACK is SIDE:KIND:OFFSET[:LENGTH], in the bytes that SIDE (p or s)
 *	sends, from 0:
 *	    flip	the lowest bit at OFFSET is another one
 *	    cut		the connection ends before OFFSET
 *	    end		...as soon as all before OFFSET has gone on
 *	    hold	nothing from OFFSET on goes on; what the other side sends does
 *	    dead	neither end hears anything from then on, not even that it is over
 *	    drop	LENGTH bytes at OFFSET are left out
 *	    repeat	LENGTH bytes at OFFSET go on twice
 *	    swap	LENGTH bytes at OFFSET and the LENGTH after them change places
 *	    record	nothing: all that SIDE sends is kept in /tmp/record
 *   fzattack flood FROM ADDRESS PORT N SECONDS
 *	keeps N connections from address FROM open that say nothing; what is closed is
 *	opened again.  Prints how many there were and the most that were open at once.
 *   fzattack say ADDRESS PORT FILE
 *	sends what a file holds and prints what the other end says to that
 *   fzattack primary ADDRESS PORT KEYID
 *   fzattack secondary PORT
 *	a whole handshake, with random proofs; prints the refusal
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../../dm-freezecopy/core/wire.h"

#define CHUNK	65536

static void die(const char *what)
{
	fprintf(stderr, "fzattack: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1)
		die(ip);
	return a;
}

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int connect_to(const char *ip, int port)
{
	struct sockaddr_in a = address(ip, port);
	struct timeval patience = { .tv_sec = 20 };
	int fd = new_socket();

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static int listen_on(int port)
{
	struct sockaddr_in a = address("0.0.0.0", port);
	int fd = new_socket();

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 8))
		die("listen");
	return fd;
}

/* On the way */

enum kind { NONE, FLIP, CUT, END, HOLD, DEAD, DROP, REPEAT, SWAP, RECORD };

struct attack {
	enum kind kind;
	int side;		/* 0: what the primary sends */
	size_t at, len;
};

static const char * const kinds[] = {
	"none", "flip", "cut", "end", "hold", "dead", "drop", "repeat", "swap", "record",
};

static struct attack parse(const char *text)
{
	struct attack a = { 0 };
	char side, kind[16];

	if (sscanf(text, "%c:%15[a-z]:%zu:%zu", &side, kind, &a.at, &a.len) < 3)
		die(text);
	a.side = side == 's';
	while (strcmp(kinds[a.kind], kind))
		if (++a.kind > RECORD)
			die(text);
	if (a.len > CHUNK)
		die(text);
	return a;
}

static bool put(int fd, const void *buf, size_t len)
{
	return !len || send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* What the attack is about: kept until there is all of it. */
static char held[2 * CHUNK];

static size_t wanted(const struct attack *a)
{
	return a->kind == FLIP ? 1 : a->kind == SWAP ? 2 * a->len : a->len;
}

static bool strike(int fd, const struct attack *a)
{
	switch (a->kind) {
	case FLIP:
		held[0] ^= 1;
		return put(fd, held, 1);
	case DROP:
		return true;
	case REPEAT:
		return put(fd, held, a->len) && put(fd, held, a->len);
	case SWAP:
		return put(fd, held + a->len, a->len) && put(fd, held, a->len);
	default:
		return false;
	}
}

/* @n bytes, of which the first is byte @from of what the side sends.  False: it ends here. */
static bool forward(int fd, const struct attack *a, const char *buf, size_t from, size_t n)
{
	size_t want = wanted(a), before, have, part;
	bool behind = a->kind != HOLD && from >= a->at + want + !want;

	if (a->kind == END)
		return put(fd, buf, from + n < a->at ? n : a->at - from) && from + n < a->at;
	if (a->kind == NONE || a->kind == RECORD || from + n <= a->at || behind)
		return put(fd, buf, n);
	before = from < a->at ? a->at - from : 0;
	if (!put(fd, buf, before) || a->kind == CUT || a->kind == DEAD)
		return false;
	if (a->kind == HOLD)
		return true;
	have = from + before - a->at;
	part = n - before < want - have ? n - before : want - have;
	memcpy(held + have, buf + before, part);
	if (have + part == want && !strike(fd, a))
		return false;
	return put(fd, buf + before + part, n - before - part);
}

static bool was_made(const struct attack *a, size_t seen)
{
	return seen >= a->at + wanted(a) + (!wanted(a) && a->kind != END);
}

/* False: it ended before the attack was made. */
static bool serve(int p, int s, const struct attack *a, const char *text)
{
	struct pollfd fd[2] = { { .fd = p, .events = POLLIN }, { .fd = s, .events = POLLIN } };
	FILE *record = a->kind == RECORD ? fopen("/tmp/record", "w") : NULL;
	size_t seen[2] = { 0, 0 };
	static char buf[CHUNK];
	bool open = true;

	while (open && poll(fd, 2, -1) > 0) {
		for (int i = 0; i < 2 && open; i++) {
			ssize_t n;

			if (!fd[i].revents)
				continue;
			n = recv(fd[i].fd, buf, sizeof(buf), 0);
			open = n > 0;
			if (!open)
				break;
			if (record && a->side == i)
				fwrite(buf, 1, n, record);
			if (a->side == i)
				open = forward(fd[!i].fd, a, buf, seen[i], n);
			else
				open = put(fd[!i].fd, buf, n);
			seen[i] += n;
		}
	}
	if (record)
		fclose(record);
	if (a->kind != DEAD || !was_made(a, seen[a->side])) {
		close(p);
		close(s);
	}
	if (!was_made(a, seen[a->side]))
		return false;
	printf("%s: %zu %zu\n", text, seen[0], seen[1]);
	return true;
}

static int way(int port, const char *ip, int target, char **attacks)
{
	static const struct attack none;
	int listener = listen_on(port), p;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((p = accept(listener, NULL, NULL)) >= 0) {
		struct attack a = *attacks ? parse(*attacks) : none;

		if (serve(p, connect_to(ip, target), &a, *attacks ? *attacks : "none"))
			attacks += !!*attacks;
	}
	die("accept");
	return 1;
}

/* From anywhere */

static int begin(const struct sockaddr_in *from, const struct sockaddr_in *to)
{
	int fd = new_socket();

	if (bind(fd, (struct sockaddr *)from, sizeof(*from)))
		die("bind");
	if (connect(fd, (struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

static int flood(const char *from, const char *ip, int port, int n, int seconds)
{
	struct sockaddr_in here = address(from, 0), there = address(ip, port);
	struct pollfd *fd = calloc(n, sizeof(*fd));
	time_t end = time(NULL) + seconds;
	long made = 0;
	int most = 0;

	for (int i = 0; i < n; i++)
		fd[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	while (time(NULL) < end) {
		int open = 0;

		poll(fd, n, 10);
		for (int i = 0; i < n; i++) {
			if (fd[i].fd >= 0 && fd[i].revents) {
				close(fd[i].fd);
				fd[i].fd = -1;
			}
			if (fd[i].fd < 0) {
				fd[i].fd = begin(&here, &there);
				fd[i].revents = 0;
				made += fd[i].fd >= 0;
			}
			open += fd[i].fd >= 0;
		}
		most = open > most ? open : most;
	}
	printf("%ld made, %d at once\n", made, most);
	return 0;
}

static bool receive(int fd, struct fzc_msg *msg)
{
	char buf[FZC_WIRE_HEAD + FZC_MAX_CTL], why[FZC_REASON_LEN];
	struct fzc_frame f;

	if (recv(fd, buf, FZC_WIRE_HEAD, MSG_WAITALL) != FZC_WIRE_HEAD)
		return false;
	if (fzc_wire_parse_head(&f, buf, NULL, why))
		return false;
	if (f.length && recv(fd, buf, f.length, MSG_WAITALL) != (ssize_t)f.length)
		return false;
	return !fzc_wire_parse_msg(msg, &f, buf, why);
}

/* What the other end says last. */
static int print_answer(int fd)
{
	struct fzc_msg msg;

	while (receive(fd, &msg))
		if (msg.type == FZC_MSG_REFUSE) {
			printf("refused: %s\n", msg.reason);
			return 0;
		}
	printf("closed\n");
	return 0;
}

static int say(const char *ip, int port, const char *file)
{
	FILE *f = fopen(file, "r");
	int fd = connect_to(ip, port);
	char buf[4096];
	size_t n;

	if (!f)
		die(file);
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0 && put(fd, buf, n))
		;
	return print_answer(fd);
}

static void send_auth(int fd, struct fzc_auth_msg *auth)
{
	struct fzc_msg msg = { .type = FZC_MSG_AUTH, .auth = *auth };
	char buf[FZC_WIRE_HEAD + FZC_MAX_CTL];

	put(fd, buf, fzc_wire_put_msg(buf, &msg));
}

static void fill(void *mem, size_t len)
{
	if (getrandom(mem, len, 0) != (ssize_t)len)
		die("getrandom");
}

static int primary(const char *ip, int port, const char *id)
{
	struct fzc_auth_msg auth = { .step = 1, .role = 1, .ciphers = 6 };
	int fd = connect_to(ip, port);
	struct fzc_msg msg;

	for (unsigned int i = 0; i < FZC_KEY_ID; i++)
		if (sscanf(id + 2 * i, "%2hhx", &auth.key[0][i]) != 1)
			die(id);
	fill(auth.nonce, sizeof(auth.nonce));
	send_auth(fd, &auth);
	if (!receive(fd, &msg) || msg.type != FZC_MSG_AUTH) {
		printf("refused: %s\n", msg.type == FZC_MSG_REFUSE ? msg.reason : "closed");
		return 0;
	}
	auth = (struct fzc_auth_msg){ .step = 3, .role = 1 };
	fill(auth.proof, sizeof(auth.proof));
	send_auth(fd, &auth);
	return print_answer(fd);
}

static int secondary(int port)
{
	int listener = listen_on(port), fd = accept(listener, NULL, NULL);
	struct fzc_auth_msg auth = { .step = 2, .role = 2, .ciphers = 2 };
	struct fzc_msg msg;

	if (fd < 0 || !receive(fd, &msg) || msg.type != FZC_MSG_AUTH)
		die("no primary came");
	memcpy(auth.key[0], msg.auth.key[0], FZC_KEY_ID);
	fill(auth.nonce, sizeof(auth.nonce));
	fill(auth.proof, sizeof(auth.proof));
	send_auth(fd, &auth);
	return print_answer(fd);
}

int main(int argc, char **argv)
{
	if (argc >= 5 && !strcmp(argv[1], "way"))
		return way(atoi(argv[2]), argv[3], atoi(argv[4]), argv + 5);
	if (argc == 7 && !strcmp(argv[1], "flood"))
		return flood(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
	if (argc == 5 && !strcmp(argv[1], "say"))
		return say(argv[2], atoi(argv[3]), argv[4]);
	if (argc == 5 && !strcmp(argv[1], "primary"))
		return primary(argv[2], atoi(argv[3]), argv[4]);
	if (argc == 3 && !strcmp(argv[1], "secondary"))
		return secondary(atoi(argv[2]));
	fprintf(stderr, "usage: see the head of tests/qemu/guest/fzattack.c\n");
	return 2;
}
