// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsfreeze.h"
#include "say.h"
#include "timer.h"

#define MAX_FS	256

enum fs_state {
	FS_IDLE,
	FS_FREEZING,		/* the child is in FIFREEZE */
	FS_FROZEN,		/* by the child: whoever changes this state thaws */
	FS_THAWED,
	FS_OTHERS,		/* somebody else had frozen it */
};

enum step { STEP_SYNC, STEP_FREEZE };

struct shared {
	atomic_int state[MAX_FS];	/* enum fs_state */
	/* why the child gave up; valid after it reported so */
	size_t failed;
	enum step step;
	int err;		/* -errno */
};

struct fs {
	int fd;
	dev_t dev;
	char *path;
	char *type;
};

struct fs_set {
	struct shared *shared;
	struct fs fs[MAX_FS];
	size_t n;
	pid_t child;
	int order;		/* write end: closing it makes the child thaw and exit */
	int report;		/* read end: a byte when it is all frozen, or failed */
};

/* --- which --- */

static bool have(const struct fs_set *s, dev_t dev)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->fs[i].dev == dev)
			return true;
	return false;
}

/* A mount point may be hidden under another mount: then this opens something else. */
static int open_mount(const struct user *m)
{
	int fd = open(m->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	/* file systems with numbers of their own (btrfs) give each subvolume another */
	if (major(m->fs_dev) && (fstat(fd, &st) || st.st_dev != m->fs_dev)) {
		close(fd);
		errno = ENOTDIR;
		return -1;
	}
	return fd;
}

static int add(struct fs_set *s, const struct user *m)
{
	struct fs *fs = &s->fs[s->n];

	if (s->n == MAX_FS)
		return say(FC_REFUSED, "more than %d file systems above; use --no-fs", MAX_FS);
	fs->fd = open_mount(m);
	if (fs->fd < 0)
		return FC_DONE;		/* perhaps at another of its mount points */
	fs->dev = m->fs_dev;
	fs->path = strdup(m->path);
	fs->type = strdup(m->type);
	s->n++;
	return fs->path && fs->type ? FC_DONE : say(FC_FAILED, "out of memory");
}

int fs_set_open(const struct users *u, struct fs_set **set)
{
	struct fs_set *s = calloc(1, sizeof(*s));
	int rc = FC_DONE;

	*set = s;
	if (!s)
		return say(FC_FAILED, "out of memory");
	s->order = -1;
	s->report = -1;
	s->shared = mmap(NULL, sizeof(*s->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->shared == MAP_FAILED) {
		s->shared = NULL;
		return say(FC_FAILED, "out of memory");
	}
	for (size_t i = 0; i < u->n && !rc; i++)
		if (u->v[i].kind == USER_MOUNT && !have(s, u->v[i].fs_dev))
			rc = add(s, &u->v[i]);
	for (size_t i = 0; i < u->n && !rc; i++)
		if (u->v[i].kind == USER_MOUNT && !have(s, u->v[i].fs_dev))
			rc = say(FC_REFUSED,
				 "%s cannot be reached to freeze it (another mount covers it?); uncover it, or use --no-fs",
				 u->v[i].what);
	return rc;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void fs_set_free(struct fs_set *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		close(s->fs[i].fd);
		free(s->fs[i].path);
		free(s->fs[i].type);
	}
	close_fd(&s->order);
	close_fd(&s->report);
	if (s->shared)
		munmap(s->shared, sizeof(*s->shared));
	free(s);
}

/* --- both processes --- */

/* Returns whether everything had stayed frozen until now. */
static bool thaw_all(struct fs_set *s)
{
	bool held = true;

	for (size_t i = s->n; i-- > 0; ) {
		int frozen = FS_FROZEN;

		if (atomic_compare_exchange_strong(&s->shared->state[i], &frozen, FS_THAWED))
			held &= !ioctl(s->fs[i].fd, FITHAW, 0);
		else if (frozen != FS_OTHERS)
			held = false;
	}
	return held;
}

/* --- the child: no output, no file but the file systems --- */

static bool called_off(int order, uint64_t deadline)
{
	struct pollfd p = { .fd = order, .events = POLLIN };

	return poll(&p, 1, 0) || !ms_left(deadline, 1);
}

static int child_sync(struct fs_set *s)
{
	s->shared->step = STEP_SYNC;
	for (s->shared->failed = 0; s->shared->failed < s->n; s->shared->failed++)
		if (syncfs(s->fs[s->shared->failed].fd))
			return -errno;
	return 0;
}

static int child_freeze(struct fs_set *s, int order, uint64_t deadline)
{
	s->shared->step = STEP_FREEZE;
	for (size_t i = 0; i < s->n; i++) {
		s->shared->failed = i;
		if (called_off(order, deadline))
			return -ETIMEDOUT;
		atomic_store(&s->shared->state[i], FS_FREEZING);
		if (!ioctl(s->fs[i].fd, FIFREEZE, 0))
			atomic_store(&s->shared->state[i], FS_FROZEN);
		else if (errno == EBUSY)
			atomic_store(&s->shared->state[i], FS_OTHERS);
		else
			return -errno;
	}
	return 0;
}

/* What kills freezectl must not kill who thaws, and nobody waits for its output. */
static void child_detach(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP };
	int null = open("/dev/null", O_RDWR), adj;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
	setsid();
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (adj >= 0 && write(adj, "-1000", 5) < 0)
		errno = 0;	/* not allowed: then it is as likely a victim as others */
	close_fd(&adj);
}

static void child_main(struct fs_set *s, int order, int report, uint64_t deadline)
{
	struct pollfd p = { .fd = order, .events = POLLIN };

	child_detach();
	s->shared->err = child_sync(s);
	if (!s->shared->err)
		s->shared->err = child_freeze(s, order, deadline);
	if (s->shared->err)
		thaw_all(s);
	if (write(report, "", 1) == 1 && !s->shared->err)
		poll(&p, 1, ms_left(deadline, INT32_MAX));
	thaw_all(s);
	_exit(0);
}

/* --- the parent --- */

static bool start_child(struct fs_set *s, uint64_t deadline)
{
	int order[2] = { -1, -1 }, report[2] = { -1, -1 };

	if (pipe2(order, O_CLOEXEC) || pipe2(report, O_CLOEXEC))
		goto fail;
	s->child = fork();
	if (!s->child) {
		/* else its own copy of the write end would keep the parent alive for it */
		close(order[1]);
		close(report[0]);
		child_main(s, order[0], report[1], deadline);
	}
	if (s->child < 0)
		goto fail;
	close(order[0]);
	close(report[1]);
	s->order = order[1];
	s->report = report[0];
	return true;
fail:
	for (int i = 0; i < 2; i++) {
		close_fd(&order[i]);
		close_fd(&report[i]);
	}
	return false;
}

/* The deadline has passed, or the child has gone.  What it is still freezing, it thaws itself. */
static void give_up(struct fs_set *s)
{
	close_fd(&s->order);
	thaw_all(s);
}

/*
 * A child that is killed in FIFREEZE dies when that has ended: then nobody knows whether
 * the file system is frozen by it or, as it was before, by somebody else, for whom we do not thaw.
 */
static int explain_killed(const struct fs_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (atomic_load(&s->shared->state[i]) == FS_FREEZING)
			return say(FC_FAILED,
				   "the process that freezes and thaws was killed while it froze %s on %s, which may be frozen yet: thaw it with fsfreeze -u; no image was made",
				   s->fs[i].type, s->fs[i].path);
	return say(FC_FAILED,
		   "the process that freezes and thaws was killed; all that it had frozen is thawed, no image was made");
}

static int explain_child(struct fs_set *s)
{
	const struct shared *sh = s->shared;
	const struct fs *fs = &s->fs[sh->failed];

	waitpid(s->child, NULL, 0);
	if (sh->err == -ETIMEDOUT)
		return say(FC_TIMEOUT,
			   "the deadline passed before %s was frozen; all is thawed, no image was made; allow more with --deadline",
			   fs->path);
	if (sh->err == -EOPNOTSUPP)
		return say(FC_REFUSED, "%s on %s cannot be frozen; unmount it, or use --no-fs",
			   fs->type, fs->path);
	return say(FC_FAILED, "cannot %s %s on %s: %s; all is thawed, no image was made",
		   sh->step == STEP_SYNC ? "sync" : "freeze", fs->type, fs->path,
		   strerror(-sh->err));
}

int fs_freeze(struct fs_set *s, uint64_t deadline)
{
	struct pollfd p = { .events = POLLIN };
	char byte;
	int rc;

	if (!s->n)
		return FC_DONE;
	if (!start_child(s, deadline))
		return say(FC_FAILED, "cannot start the process that thaws: %s", strerror(errno));
	p.fd = s->report;
	do {
		rc = poll(&p, 1, ms_left(deadline, INT32_MAX));
	} while (rc < 0 && errno == EINTR);
	if (rc == 1 && read(s->report, &byte, 1) == 1)
		return s->shared->err ? explain_child(s) : FC_DONE;
	give_up(s);
	if (rc == 1)
		return explain_killed(s);
	return say(FC_TIMEOUT,
		   "%s not reached by the deadline; all is thawed, no image was made; allow more with --deadline",
		   s->shared->step == STEP_SYNC ? "end of sync" : "freeze of all file systems");
}

bool fs_thaw(struct fs_set *s)
{
	bool held = thaw_all(s);

	if (s->n) {
		close_fd(&s->order);
		waitpid(s->child, NULL, 0);
	}
	return held;
}

void fs_report(const struct fs_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (atomic_load(&s->shared->state[i]) == FS_OTHERS)
			note("%s on %s was frozen already and is left so; thaw it with fsfreeze -u",
			     s->fs[i].type, s->fs[i].path);
		else
			note("%s on %s was frozen for the cut and is thawed", s->fs[i].type,
			     s->fs[i].path);
}
