// SPDX-License-Identifier: GPL-2.0-only
#include <linux/bvec.h>
#include <linux/err.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/sockptr.h>
#include <linux/tcp.h>
#include <linux/uio.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "sock.h"

#define KEEP_IDLE	2	/* seconds without traffic until the peer is probed */
#define KEEP_INTERVAL	1
#define KEEP_COUNT	3
/*
 * What was sent and is not acknowledged, or a receive window that stays shut,
 * ends the connection after this.  Longer than a busy peer may take to read
 * on: a dead one is noticed sooner, by the silence.
 */
#define USER_TIMEOUT_MS	30000
#define BACKLOG		4
#define UNSENT_BYTES	SZ_512K	/* so much waits in the socket for its turn */
#define PAGES_AT_ONCE	16U

struct fzc_sock {
	struct socket *sock;
	bool stop_recv;
	bool stop_send;
};

static wait_queue_head_t *wait_head(struct fzc_sock *s)
{
	return sk_sleep(s->sock->sk);
}

static bool polled(struct fzc_sock *s, __poll_t events)
{
	return s->sock->ops->poll(NULL, s->sock, NULL) & (events | EPOLLERR | EPOLLHUP);
}

/*
 * Wait until @events or @stop.  Interruptible, since that is what sockets wake;
 * no thread of ours gets signals.
 */
static int wait_for(struct fzc_sock *s, __poll_t events, const bool *stop, long *timeout)
{
	long left = wait_event_interruptible_timeout(*wait_head(s),
						     READ_ONCE(*stop) || polled(s, events),
						     *timeout);

	if (READ_ONCE(*stop))
		return -ESHUTDOWN;
	if (left <= 0)
		return left ? (int)left : -ETIMEDOUT;
	*timeout = left;
	return 0;
}

static void set_options(struct sock *sk)
{
	sock_set_keepalive(sk);
	tcp_sock_set_keepidle(sk, KEEP_IDLE);
	tcp_sock_set_keepintvl(sk, KEEP_INTERVAL);
	tcp_sock_set_keepcnt(sk, KEEP_COUNT);
	tcp_sock_set_user_timeout(sk, USER_TIMEOUT_MS);
	tcp_sock_set_nodelay(sk);
	/* Memory for a frame must not wait for I/O that may wait for this frame. */
	sk->sk_allocation = GFP_NOIO;
	sk->sk_use_task_frag = false;
}

static struct fzc_sock *wrap(struct socket *sock)
{
	int unsent = UNSENT_BYTES;
	struct fzc_sock *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s) {
		sock_release(sock);
		return ERR_PTR(-ENOMEM);
	}
	s->sock = sock;
	set_options(sock->sk);
	/* what is behind it in the queue would be late by what it holds */
	sock->ops->setsockopt(sock, SOL_TCP, TCP_NOTSENT_LOWAT, KERNEL_SOCKPTR(&unsent),
			      sizeof(unsent));
	return s;
}

/* TCP spaces its packets, all that goes to the peer among them. */
static int set_rate(struct socket *sock, u64 rate)
{
	unsigned long max = min_t(u64, rate, ULONG_MAX - 1);

	if (!rate)
		return 0;
	return sock_setsockopt(sock, SOL_SOCKET, SO_MAX_PACING_RATE, KERNEL_SOCKPTR(&max),
			       sizeof(max));
}

static int set_congestion(struct socket *sock, const char *name)
{
	if (!name[0])
		return 0;
	return sock->ops->setsockopt(sock, SOL_TCP, TCP_CONGESTION,
				     KERNEL_SOCKPTR((void *)name), strlen(name));
}

struct fzc_sock *fzc_sock_create(const struct fzc_addr *addr, const struct fzc_tcp *tcp)
{
	struct socket *sock;
	int err = sock_create_kern(&init_net, addr->v6 ? AF_INET6 : AF_INET, SOCK_STREAM,
				   IPPROTO_TCP, &sock);

	if (err)
		return ERR_PTR(err);
	if (tcp)
		err = set_congestion(sock, tcp->congestion) ?: set_rate(sock, tcp->rate);
	if (err) {
		sock_release(sock);
		return ERR_PTR(err);
	}
	return wrap(sock);
}

void fzc_sock_release(struct fzc_sock *s)
{
	kernel_sock_shutdown(s->sock, SHUT_RDWR);
	sock_release(s->sock);
	kfree(s);
}

static int put_address(struct sockaddr_storage *to, const struct fzc_addr *addr)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
	struct sockaddr_in *in = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	if (addr->v6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(addr->port);
		memcpy(&in6->sin6_addr, addr->ip, 16);
		return sizeof(*in6);
	}
	in->sin_family = AF_INET;
	in->sin_port = htons(addr->port);
	memcpy(&in->sin_addr, addr->ip, 4);
	return sizeof(*in);
}

int fzc_sock_connect(struct fzc_sock *s, const struct fzc_addr *addr, long timeout)
{
	struct sockaddr_storage to;
	int len = put_address(&to, addr);
	int err;

	for (;;) {
		/* called again, it tells how the first call ended */
		err = kernel_connect(s->sock, (void *)&to, len, O_NONBLOCK);
		if (err != -EINPROGRESS && err != -EALREADY)
			return err;
		err = wait_for(s, EPOLLOUT, &s->stop_recv, &timeout);
		if (err)
			return err;
	}
}

int fzc_sock_listen(struct fzc_sock *s, const struct fzc_addr *addr)
{
	struct sockaddr_storage at;
	int len = put_address(&at, addr);
	int err = 0;

	sock_set_reuseaddr(s->sock->sk);
	if (addr->v6)
		err = ip6_sock_set_v6only(s->sock->sk);
	if (!err)
		err = kernel_bind(s->sock, (void *)&at, len);
	if (!err)
		err = kernel_listen(s->sock, BACKLOG);
	return err;
}

struct fzc_sock *fzc_sock_accept(struct fzc_sock *s)
{
	long timeout = MAX_SCHEDULE_TIMEOUT;
	struct socket *sock;
	int err;

	for (;;) {
		err = kernel_accept(s->sock, &sock, O_NONBLOCK);
		if (!err)
			return wrap(sock);
		if (err != -EAGAIN)
			return ERR_PTR(err);
		err = wait_for(s, EPOLLIN, &s->stop_recv, &timeout);
		if (err)
			return ERR_PTR(err);
	}
}

/*
 * The socket takes nothing now: for want of room, which it will tell, or for
 * want of memory, which it will not.
 */
static int wait_for_room(struct fzc_sock *s)
{
	long timeout = MAX_SCHEDULE_TIMEOUT;

	if (polled(s, EPOLLOUT))
		schedule_timeout_idle(msecs_to_jiffies(2));
	return wait_for(s, EPOLLOUT, &s->stop_send, &timeout);
}

static int send_all(struct fzc_sock *s, struct msghdr *msg)
{
	int n, err;

	msg->msg_flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
	while (msg_data_left(msg)) {
		if (READ_ONCE(s->stop_send))
			return -ESHUTDOWN;
		n = sock_sendmsg(s->sock, msg);
		if (n > 0)
			continue;
		if (n != -EAGAIN)
			return n ? n : -EPIPE;
		err = wait_for_room(s);
		if (err)
			return err;
	}
	return 0;
}

static int recv_all(struct fzc_sock *s, struct msghdr *msg, long timeout)
{
	int n, err;

	while (msg_data_left(msg)) {
		if (READ_ONCE(s->stop_recv))
			return -ESHUTDOWN;
		n = sock_recvmsg(s->sock, msg, MSG_DONTWAIT);
		if (n > 0)
			continue;
		if (n != -EAGAIN)
			return n ? n : -ENOTCONN;
		err = wait_for(s, EPOLLIN, &s->stop_recv, &timeout);
		if (err)
			return err;
	}
	return 0;
}

int fzc_sock_send(struct fzc_sock *s, void *buf, u32 len, bool more)
{
	struct msghdr msg = { .msg_flags = more ? MSG_MORE : 0 };
	struct kvec vec = { .iov_base = buf, .iov_len = len };

	iov_iter_kvec(&msg.msg_iter, ITER_SOURCE, &vec, 1, len);
	return send_all(s, &msg);
}

int fzc_sock_recv(struct fzc_sock *s, void *buf, u32 len, long timeout)
{
	struct msghdr msg = { };
	struct kvec vec = { .iov_base = buf, .iov_len = len };

	iov_iter_kvec(&msg.msg_iter, ITER_DEST, &vec, 1, len);
	return recv_all(s, &msg, timeout);
}

/* The next pages of @len bytes as an iterator; returns the bytes. */
static u32 pages_iter(struct iov_iter *iter, unsigned int direction, struct bio_vec *vec,
		      struct page **pages, u32 len)
{
	u32 i, bytes = min_t(u32, len, PAGES_AT_ONCE * PAGE_SIZE), left = bytes;

	for (i = 0; left; i++) {
		vec[i] = (struct bio_vec){
			.bv_page = pages[i],
			.bv_len = min_t(u32, left, PAGE_SIZE),
		};
		left -= vec[i].bv_len;
	}
	iov_iter_bvec(iter, direction, vec, i, bytes);
	return bytes;
}

int fzc_sock_send_pages(struct fzc_sock *s, struct page **pages, u32 len, bool more)
{
	struct bio_vec vec[PAGES_AT_ONCE];
	int err = 0;

	for (; len && !err; pages += PAGES_AT_ONCE) {
		struct msghdr msg = { };

		len -= pages_iter(&msg.msg_iter, ITER_SOURCE, vec, pages, len);
		msg.msg_flags = len || more ? MSG_MORE : 0;
		err = send_all(s, &msg);
	}
	return err;
}

int fzc_sock_recv_pages(struct fzc_sock *s, struct page **pages, u32 len, long timeout)
{
	struct bio_vec vec[PAGES_AT_ONCE];
	int err = 0;

	for (; len && !err; pages += PAGES_AT_ONCE) {
		struct msghdr msg = { };

		len -= pages_iter(&msg.msg_iter, ITER_DEST, vec, pages, len);
		err = recv_all(s, &msg, timeout);
	}
	return err;
}

void fzc_sock_stop_recv(struct fzc_sock *s)
{
	WRITE_ONCE(s->stop_recv, true);
	wake_up_all(wait_head(s));
}

void fzc_sock_stop(struct fzc_sock *s)
{
	WRITE_ONCE(s->stop_send, true);
	fzc_sock_stop_recv(s);
}

bool fzc_sock_readable(struct fzc_sock *s)
{
	return polled(s, EPOLLIN);
}

u32 fzc_sock_mark(struct fzc_sock *s)
{
	return READ_ONCE(tcp_sk(s->sock->sk)->write_seq);
}

bool fzc_sock_arrived(struct fzc_sock *s, u32 mark)
{
	return !before(READ_ONCE(tcp_sk(s->sock->sk)->snd_una), mark);
}

bool fzc_sock_same_host(struct fzc_sock *a, struct fzc_sock *b)
{
	const struct sock *x = a->sock->sk, *y = b->sock->sk;

	if (x->sk_family != y->sk_family)
		return false;
#if IS_ENABLED(CONFIG_IPV6)
	if (x->sk_family == AF_INET6)	/* one that has a network has all its addresses */
		return ipv6_prefix_equal(&x->sk_v6_daddr, &y->sk_v6_daddr, 64);
#endif
	return x->sk_daddr == y->sk_daddr;
}

void fzc_sock_peer(struct fzc_sock *s, char *buf, u32 len)
{
	struct sockaddr_storage peer;

	if (kernel_getpeername(s->sock, (void *)&peer) < 0)
		snprintf(buf, len, "unknown");
	else
		snprintf(buf, len, "%pISpc", &peer);
}
