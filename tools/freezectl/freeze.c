// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "ctl.h"
#include "fsfreeze.h"
#include "parse.h"
#include "progress.h"
#include "timer.h"
#include "users.h"
#include "verbs.h"
#include "volume.h"

#define DEADLINE_MS	30000
#define CUT_MARGIN_MS	50	/* the kernel gives up this much before the file systems thaw */
#define TRIES		6
#define PAUSE_MS	500
#define LOCK_FILE	"/run/freezecopy.lock"
#define LOCK_USEC	50000

enum until { UNTIL_CUT, UNTIL_COMMITTED, UNTIL_MERGED };

struct request {
	struct dmdev d;
	bool no_fs, force;
	uint32_t deadline_ms;
	uint64_t give_up;	/* when to stop waiting for other freezes and for this one */
	enum until until;
	char label[FZC_LABEL_LEN];
};

static const struct option options[] = {
	{ "no-fs", no_argument, NULL, 'n' },
	{ "force", no_argument, NULL, 'f' },
	{ "deadline", required_argument, NULL, 'd' },
	{ "timeout", required_argument, NULL, 't' },
	{ "wait", required_argument, NULL, 'w' },
	{ "label", required_argument, NULL, 'l' },
	{ 0 }
};

static const struct ctl_hint hints[] = {
	{ EBUSY, FC_REFUSED,
		"another freeze is not over; 'freezectl wait NAME merged', then try again" },
	{ ENOTCONN, FC_REFUSED,
		"'freezectl wait NAME connected' first, or --force to cut now and deliver later" },
	{ ENODATA, FC_REFUSED, "'freezectl wait NAME in-sync' first" },
	{ EOPNOTSUPP, FC_REFUSED, "call this on the other side" },
	{ ETIMEDOUT, FC_TIMEOUT, "no image was made; allow more with --deadline" },
	{ 0 }
};

/* --- arguments --- */

static int take_option(struct request *r, int opt)
{
	static const char *const until[] = { "cut", "committed", "merged" };
	uint32_t ms;

	switch (opt) {
	case 'n':
		r->no_fs = true;
		return FC_DONE;
	case 'f':
		r->force = true;
		return FC_DONE;
	case 'd':
		if (parse_seconds(optarg, &r->deadline_ms) && r->deadline_ms > 2 * CUT_MARGIN_MS)
			return FC_DONE;
		return say_usage("freeze", "--deadline %s: expected seconds, more than 0.1",
				 optarg);
	case 't':
		if (!parse_seconds(optarg, &ms) || !ms)
			return say_usage("freeze", "--timeout %s: expected seconds", optarg);
		r->give_up = now_ms() + ms;
		return FC_DONE;
	case 'w':
		for (int i = UNTIL_CUT; i <= UNTIL_MERGED; i++)
			if (!strcmp(optarg, until[i])) {
				r->until = i;
				return FC_DONE;
			}
		return say_usage("freeze", "--wait %s: expected cut, committed or merged", optarg);
	case 'l':
		if (strlen(optarg) < sizeof(r->label)) {
			strcpy(r->label, optarg);
			return FC_DONE;
		}
		return say_usage("freeze", "--label: %zu bytes, expected at most %zu",
				 strlen(optarg), sizeof(r->label) - 1);
	default:
		return say_usage("freeze", NULL);
	}
}

/* --- before --- */

static bool is_busy(const struct fzc_query *q)
{
	return q->freezing.number || q->merge_total || q->mode == FZC_MODE_MERGING ||
	       q->mode == FZC_MODE_FREEZING;
}

/* What the kernel would refuse is better known before anything is frozen. */
static int check_state(const struct request *r, const struct fzc_query *q)
{
	const char *name = r->d.name;

	if (q->role != FZC_ROLE_PRIMARY)
		return say(FC_REFUSED,
			   "%s is a secondary; freeze its primary, on the other side (%.*s)",
			   name, FZC_PEER_LEN, q->peer);
	if (q->connection != FZC_CONN_CONNECTED && !r->force)
		return say(FC_REFUSED,
			   "%s has no connection to %.*s; 'freezectl wait %s connected' first, or --force to cut now and deliver later",
			   name, FZC_PEER_LEN,
			   q->peer, name);
	if (q->connection != FZC_CONN_CONNECTED && is_busy(q))
		return say(FC_REFUSED,
			   "%s: image %llu is under way and cannot go on without a connection; 'freezectl wait %s connected' first",
			   name,
			   (unsigned long long)q->freezing.number, name);
	return FC_DONE;
}

static void say_waiting(const char *name, const struct fzc_query *q)
{
	if (!is_busy(q))
		note("%s: waiting for %u s: freezes had to be given up lately, 'dmesg' says why; --force does not wait",
		     name, (unsigned int)(q->backoff_ms + 999) / 1000);
	else if (q->freezing.number)
		note("%s: waiting for image %llu, which is under way", name,
		     (unsigned long long)q->freezing.number);
	else
		note("%s: waiting for the merge of image %llu", name,
		     (unsigned long long)q->image.number);
}

static int wait_turn(const struct request *r)
{
	bool said = false;
	struct fzc_query q;
	int rc;

	for (;;) {
		rc = ctl_query(r->d.dev, &q);
		if (rc)
			return ctl_explain(r->d.name, &q.head, rc, hints);
		rc = check_state(r, &q);
		if (rc || !(is_busy(&q) || (q.backoff_ms && !r->force)))
			return rc;
		if (!said)
			say_waiting(r->d.name, &q);
		said = true;
		if (!ms_left(r->give_up, 1))
			return say(FC_TIMEOUT, is_busy(&q) ?
				   "%s: image %llu is not over in time; no image was made" :
				   "%s: no image was made, image %llu stays: freezes had to be given up lately",
				   r->d.name, (unsigned long long)(q.freezing.number ?
				   q.freezing.number : q.image.number));
		progress_pause(r->d.dev, &q, ms_left(r->give_up, PAUSE_MS));
	}
}

/* Everything that uses the volume is a file system that can be frozen, or just looks. */
static int find_file_systems(const struct request *r, struct fs_set **set)
{
	struct users u = { 0 };
	int rc = r->no_fs ? 0 : users_find(r->d.dev, USERS_ALL, &u);

	if (rc)
		rc = say(FC_FAILED, "%s: cannot find out who uses it: %s", r->d.name,
			 strerror(-rc));
	for (size_t i = 0; i < u.n; i++)
		if (u.v[i].kind == USER_SWAP || u.v[i].kind == USER_WRITER ||
		    u.v[i].kind == USER_UNKNOWN)
			rc = say(FC_REFUSED, "%s: %s, which cannot be frozen; %s, or use --no-fs",
				 r->d.name, u.v[i].what, u.v[i].way_out);
	if (!rc)
		rc = fs_set_open(&u, set);
	users_free(&u);
	return rc;
}

/* --- the cut --- */

/* Nothing here may write to a file, which could be on a frozen file system. */
static int cut_frozen(const struct request *r, struct fzc_freeze *f, uint64_t deadline)
{
	uint32_t left = ms_left(deadline, UINT32_MAX);

	*f = (struct fzc_freeze){ .flags = r->force ? FZC_FREEZE_FORCE : 0 };
	memcpy(f->label, r->label, sizeof(f->label));
	if (left <= CUT_MARGIN_MS)
		return -ETIMEDOUT;
	f->deadline_ms = left - CUT_MARGIN_MS;
	return CTL(FZC_IOC_FREEZE, f, r->d.dev);
}

/* The file systems were thawed before the kernel said that the cut was made: it is no good. */
static int void_image(const struct request *r, uint64_t number)
{
	struct fzc_abort a = { 0 };

	if (CTL(FZC_IOC_ABORT, &a, r->d.dev))
		return say(FC_FAILED,
			   "image %llu of %s was cut after its file systems had thawed, and cannot be given up any more: treat it as crash-consistent",
			   (unsigned long long)number, r->d.name);
	return say(FC_TIMEOUT,
		   "the deadline passed before the cut was made, or somebody thawed for us; image %llu is given up; allow more with --deadline",
		   (unsigned long long)number);
}

/*
 * One freezectl at a time, of whatever volume: what another one has frozen looks
 * like frozen by the user, and is thawed without warning.  The child that thaws
 * inherits the lock, so that it outlives a parent that is killed.
 */
static int lock_cuts(const struct request *r, int *fd)
{
	*fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd < 0)
		return say(FC_FAILED, "%s: %s", LOCK_FILE, strerror(errno));
	while (flock(*fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return say(FC_FAILED, "%s: %s", LOCK_FILE, strerror(errno));
		if (!ms_left(r->give_up, 1))
			return say(FC_TIMEOUT, "%s: another freezectl is freezing; no image made",
				   r->d.name);
		usleep(LOCK_USEC);
	}
	return FC_DONE;
}

/* -EBUSY: another freeze was faster; else an exit code. */
static int make_cut(const struct request *r, uint64_t *number)
{
	uint64_t deadline = now_ms() + r->deadline_ms;
	struct fs_set *set = NULL;
	struct fzc_freeze f;
	bool held;
	int rc;

	rc = find_file_systems(r, &set);
	if (!rc)
		rc = fs_freeze(set, deadline);
	if (rc)
		goto out;
	rc = cut_frozen(r, &f, deadline);
	held = fs_thaw(set);
	*number = f.number;
	if (rc == -EAGAIN)		/* the last generation is still being put away */
		rc = -EBUSY;
	if (rc && rc != -EBUSY)
		rc = ctl_explain(r->d.name, &f.head, rc, hints);
	else if (!rc && !held)
		rc = void_image(r, f.number);
	else if (!rc)
		fs_report(set);
	if (!rc && f.head.message[0])
		note("%s: %s", r->d.name, f.head.message);
	if (!rc)
		note("%s: image %llu is cut; writes stood still for %u.%03u ms", r->d.name,
		     (unsigned long long)f.number, f.stall_us / 1000, f.stall_us % 1000);
out:
	fs_set_free(set);
	return rc;
}

static int cut_once(const struct request *r, uint64_t *number)
{
	int lock, rc = wait_turn(r);

	if (rc)
		return rc;
	rc = lock_cuts(r, &lock);
	if (!rc)
		rc = make_cut(r, number);
	if (lock >= 0)
		close(lock);
	return rc;
}

static int cut_in_turn(const struct request *r, uint64_t *number)
{
	int rc = -EBUSY;

	for (int i = 0; i < TRIES && rc == -EBUSY; i++) {
		if (i)
			usleep((500000 << i) / 2);	/* after an abort the kernel backs off */
		rc = cut_once(r, number);
	}
	if (rc == -EBUSY)
		rc = say(FC_REFUSED, "%s: other freezes keep it busy; try again later", r->d.name);
	return rc;
}

static int freeze(const struct request *r)
{
	uint64_t number = 0;
	int rc = cut_in_turn(r, &number);

	if (rc)
		return rc;
	if (r->no_fs)
		note("no file system was frozen: what a mount finds is as after a crash");
	printf("%llu\n", (unsigned long long)number);
	fflush(stdout);
	if (r->until >= UNTIL_COMMITTED)
		rc = progress_wait(r->d.name, r->d.dev, FZC_WAIT_IMAGE, number, r->give_up);
	if (!rc && r->until >= UNTIL_MERGED)
		rc = progress_wait(r->d.name, r->d.dev, FZC_WAIT_MERGED, 0, r->give_up);
	return rc;
}

static int run(int argc, char **argv)
{
	struct request r = {
		.deadline_ms = DEADLINE_MS, .give_up = NEVER, .until = UNTIL_COMMITTED,
	};
	const char *name;
	int opt, rc = FC_DONE;

	while (!rc && (opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		rc = take_option(&r, opt);
	if (rc)
		return rc;
	name = only_argument(argc, argv);
	if (!name)
		return say_usage("freeze", "expected the NAME of one volume");
	rc = volume_find(name, &r.d);
	return rc ? rc : freeze(&r);
}

const struct verb verb_freeze = {
	.name = "freeze",
	.args = "NAME [OPTION]...",
	.summary = "make an image of a primary as it is now",
	.help =
	"Syncs and freezes every file system on the volume, also through LVM, LUKS and\n"
	"partitions, cuts, thaws, and waits until the secondary has committed the image.\n"
	"Prints the number of the image on stdout and nothing else. A file system that\n"
	"somebody else froze stays frozen. A freeze that runs already is waited for.\n"
	"\n"
	"  --no-fs          freeze no file system: a crash-consistent image\n"
	"  --deadline S     give up, thawing at once, when the cut is not made after S\n"
	"                   seconds (30), the sync included\n"
	"  --wait cut|committed|merged   return when this is reached (committed)\n"
	"  --timeout S      stop waiting for that, or for another freeze, after S seconds;\n"
	"                   exit code 3, and the freeze goes on; for ever by default\n"
	"  --label TEXT     stored with the image\n"
	"  --force          cut although the secondary is not connected\n"
	"\n"
	"Example:\n"
	"  freezectl freeze db --label \"before upgrade\"",
	.run = run,
};
