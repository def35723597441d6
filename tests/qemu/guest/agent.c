// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control channel of a test guest: runs commands that the host sends over
 * the virtio-serial port "fz.agent".
 *
 * Frames in both directions: struct frame, then @len bytes.  @id is chosen by
 * the host and names the command in every answer.
 *   RUN   host  struct run, argv as NUL-terminated strings, standard input
 *   KILL  host  end the command
 *   HELLO guest first frame after a boot, text: the kernel's release
 *   OUT, ERR guest  what the command wrote
 *   EXIT  guest struct exit; last frame of an id.  Not sent before the process
 *         has ended; what a background child of it still holds open is dropped.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT		"/dev/virtio-ports/fz.agent"
#define MAGIC		0x315a4641	/* "AFZ1" */
#define MAX_FRAME	(64U << 20)
#define MAX_JOBS	64
#define MAX_ARGS	256

enum { RUN = 1, KILL = 2, HELLO = 10, OUT = 11, ERR = 12, EXIT = 13 };

struct frame {
	uint32_t magic, id, type, len;
};

struct run {
	uint32_t timeout_ms;	/* 0: none */
	uint32_t argc;
};

struct exit {
	int32_t status;		/* exit code, or minus the signal */
	uint32_t timed_out;
};

struct job {
	uint32_t id;
	pid_t pid;		/* 0: slot is free */
	int out[2];		/* read ends of stdout, stderr; -1: at its end */
	int64_t deadline;	/* ms, 0: none */
	int timed_out;
};

static struct job jobs[MAX_JOBS];
static int port, sigfd;

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "fz-agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Read or write all of it; while the host is away, wait for it. */
static void transfer(void *buf, size_t len, int out)
{
	struct pollfd p = { .fd = port, .events = out ? POLLOUT : POLLIN };
	ssize_t n;

	while (len) {
		n = out ? write(port, buf, len) : read(port, buf, len);
		if (n > 0) {
			buf = (char *)buf + n;
			len -= n;
		} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
			die("port");
		} else {
			poll(&p, 1, 100);
			if (p.revents & POLLHUP)
				usleep(20000);
		}
	}
}

static void send_frame(uint32_t id, uint32_t type, const void *data, uint32_t len)
{
	struct frame f = { MAGIC, id, type, len };

	transfer(&f, sizeof(f), 1);
	transfer((void *)data, len, 1);
}

static void send_exit(uint32_t id, int status, int timed_out)
{
	struct exit e = { status, timed_out };

	send_frame(id, EXIT, &e, sizeof(e));
}

/* Forward what is there; close at the end. */
static void drain(struct job *j, int which)
{
	static char buf[65536];
	ssize_t n;

	if (j->out[which] < 0)
		return;
	while ((n = read(j->out[which], buf, sizeof(buf))) > 0)
		send_frame(j->id, which ? ERR : OUT, buf, n);
	if (n == 0 || errno != EAGAIN) {
		close(j->out[which]);
		j->out[which] = -1;
	}
}

static void reap(void)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	while (read(sigfd, &si, sizeof(si)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (struct job *j = jobs; j < jobs + MAX_JOBS; j++) {
			if (j->pid != pid)
				continue;
			for (int i = 0; i < 2; i++) {
				drain(j, i);
				if (j->out[i] >= 0)
					close(j->out[i]);
			}
			status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
			send_exit(j->id, status, j->timed_out);
			j->pid = 0;
		}
	}
}

static void __attribute__((noreturn)) child(char **argv, int in, int out, int err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void start(uint32_t id, char *data, uint32_t len)
{
	struct run *r = (struct run *)data;
	char *p = data + sizeof(*r), *end = data + len;
	char *argv[MAX_ARGS + 1] = { 0 };
	int in, out[2], err[2];
	struct job *j = jobs;

	while (j < jobs + MAX_JOBS && j->pid)
		j++;
	if (len < sizeof(*r) || !r->argc || r->argc > MAX_ARGS || j == jobs + MAX_JOBS) {
		send_exit(id, 126, 0);
		return;
	}
	for (uint32_t i = 0; i < r->argc && p < end; i++, p += strlen(p) + 1)
		argv[i] = p;
	in = memfd_create("stdin", MFD_CLOEXEC);
	if (in < 0 || write(in, p, end - p) != end - p || pipe2(out, O_CLOEXEC) ||
	    pipe2(err, O_CLOEXEC))
		die("cannot start a command");
	lseek(in, 0, SEEK_SET);
	j->pid = fork();
	if (j->pid < 0)
		die("fork");
	if (!j->pid)
		child(argv, in, out[1], err[1]);
	close(in);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	j->id = id;
	j->out[0] = out[0];
	j->out[1] = err[0];
	j->timed_out = 0;
	j->deadline = r->timeout_ms ? now_ms() + r->timeout_ms : 0;
}

static void receive(void)
{
	struct frame f;
	char *data;

	transfer(&f, sizeof(f), 0);
	if (f.magic != MAGIC || f.len > MAX_FRAME) {
		errno = EPROTO;
		die("frame");
	}
	data = malloc(f.len + 1);
	if (!data)
		die("memory");
	transfer(data, f.len, 0);
	data[f.len] = 0;
	if (f.type == RUN)
		start(f.id, data, f.len);
	for (struct job *j = jobs; f.type == KILL && j < jobs + MAX_JOBS; j++)
		if (j->pid && j->id == f.id)
			kill(-j->pid, SIGKILL);
	free(data);
}

/* Kill what is over its time; returns the milliseconds to the next deadline. */
static int check_deadlines(void)
{
	int64_t now = now_ms(), next = 60000;

	for (struct job *j = jobs; j < jobs + MAX_JOBS; j++) {
		if (!j->pid || !j->deadline)
			continue;
		if (j->deadline <= now) {
			j->timed_out = 1;
			j->deadline = 0;
			kill(-j->pid, SIGKILL);
		} else if (j->deadline - now < next) {
			next = j->deadline - now;
		}
	}
	return next;
}

static void loop(void)
{
	struct pollfd p[2 + 2 * MAX_JOBS];

	p[0] = (struct pollfd){ .fd = port, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = sigfd, .events = POLLIN };
	for (int i = 0; i < MAX_JOBS; i++)
		for (int k = 0; k < 2; k++)
			p[2 + 2 * i + k] = (struct pollfd){
				.fd = jobs[i].pid ? jobs[i].out[k] : -1, .events = POLLIN };
	if (poll(p, 2 + 2 * MAX_JOBS, check_deadlines()) < 0)
		return;
	for (int i = 0; i < 2 * MAX_JOBS; i++)
		if (p[2 + i].revents)
			drain(&jobs[i / 2], i % 2);
	if (p[1].revents)
		reap();
	if (p[0].revents & POLLIN)
		receive();
	else if (p[0].revents & POLLHUP)
		usleep(50000);
}

int main(void)
{
	struct utsname u;
	sigset_t mask;

	for (int tries = 0; (port = open(PORT, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0; tries++) {
		if (tries == 200)
			die(PORT);
		usleep(50000);
	}
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sigfd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	setenv("PATH", "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C", 1);
	uname(&u);
	send_frame(0, HELLO, u.release, strlen(u.release));
	for (;;)
		loop();
}
