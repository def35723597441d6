// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <stddef.h>

#include "ctl.h"
#include "parse.h"
#include "verbs.h"
#include "volume.h"

static const struct option options[] = { { 0 } };

static const struct ctl_hint hints[] = {
	{ ENOENT, FC_REFUSED, "'freezectl status' shows what goes on" },
	{ EBUSY, FC_REFUSED,
		"everything was sent, the image commits by itself: 'freezectl wait NAME merged'" },
	{ EOPNOTSUPP, FC_REFUSED, "call this on the other side" },
	{ 0 }
};

static int run(int argc, char **argv)
{
	struct fzc_abort a = { 0 };
	const char *name;
	struct dmdev d;
	int rc;

	if (getopt_long(argc, argv, "", options, NULL) != -1)
		return say_usage("abort", NULL);
	name = only_argument(argc, argv);
	if (!name)
		return say_usage("abort", "expected the NAME of one volume");
	rc = volume_find(name, &d);
	if (rc)
		return rc;
	rc = CTL(FZC_IOC_ABORT, &a, d.dev);
	if (rc)
		return ctl_explain(name, &a.head, rc, hints);
	note("%s: image %llu is given up; its number is not used again", name,
	     (unsigned long long)a.number);
	return FC_DONE;
}

const struct verb verb_abort = {
	.name = "abort",
	.args = "NAME",
	.summary = "give up the freeze that runs",
	.help =
	"On the primary. The secondary keeps the image it has. Once everything was sent a\n"
	"freeze cannot be given up any more.\n"
	"\n"
	"Example:\n"
	"  freezectl abort db",
	.run = run,
};
