// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "progress.h"
#include "timer.h"
#include "view.h"

#define REDRAW_MS	500
#define LONGEST_MS	3600000	/* of one request */

static const struct ctl_hint hints[] = {
	{ ECANCELED, FC_FAILED, "'freezectl freeze' makes another" },
	{ EOPNOTSUPP, FC_REFUSED, "ask the other side" },
	{ ENODEV, FC_FAILED, "'freezectl start' starts it again" },
	{ 0 }
};

/* One line that is drawn over until it is erased. */
static void draw(const struct fzc_query *q)
{
	char line[160];

	view_progress(q, line, sizeof(line));
	if (!line[0] && q->connection != FZC_CONN_CONNECTED)
		snprintf(line, sizeof(line), "not connected to %.*s", FZC_PEER_LEN, q->peer);
	fprintf(stderr, "\r\033[K%s", line);
}

static void erase(void)
{
	fputs("\r\033[K", stderr);
}

void progress_pause(dev_t dev, const struct fzc_query *q, uint32_t ms)
{
	struct fzc_wait w = { .what = FZC_WAIT_CHANGE, .number = q->event_nr, .timeout_ms = ms };
	bool tty = isatty(STDERR_FILENO);
	int rc;

	if (!ms)
		return;
	if (tty)
		draw(q);
	/* whatever it answers, the caller looks again */
	rc = CTL(FZC_IOC_WAIT, &w, dev);
	if (rc && rc != -ETIMEDOUT)
		usleep(ms * 1000);
	if (tty)
		erase();
}

static int wait_until(dev_t dev, struct fzc_wait *w, uint64_t deadline, bool *drawn)
{
	const uint64_t number = w->number;
	bool tty = isatty(STDERR_FILENO);
	struct fzc_query q;
	int rc;

	for (;;) {
		w->number = number;	/* the kernel answers in the same field */
		w->timeout_ms = ms_left(deadline, tty ? REDRAW_MS : LONGEST_MS);
		if (!w->timeout_ms)
			return -ETIMEDOUT;
		rc = CTL(FZC_IOC_WAIT, w, dev);
		if (rc == -EAGAIN)		/* suspended: it will be resumed */
			usleep(ms_left(deadline, REDRAW_MS) * 1000);
		else if (rc != -ETIMEDOUT)
			return rc;
		if (tty && !ctl_query(dev, &q)) {
			draw(&q);
			*drawn = true;
		}
	}
}

int progress_wait(const char *name, dev_t dev, enum fzc_wait_for what, uint64_t number,
		  uint64_t deadline)
{
	struct fzc_wait w = { .what = what, .number = number };
	bool drawn = false;
	int rc = wait_until(dev, &w, deadline, &drawn);

	if (drawn)
		erase();
	if (rc == -ETIMEDOUT)
		return say(FC_TIMEOUT,
			   "%s: not reached in time; 'freezectl status %s' tells how far it is",
			   name, name);
	return rc ? ctl_explain(name, &w.head, rc, hints) : FC_DONE;
}
