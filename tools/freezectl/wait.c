// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <string.h>

#include "parse.h"
#include "progress.h"
#include "timer.h"
#include "verbs.h"
#include "volume.h"

static const struct option options[] = {
	{ "timeout", required_argument, NULL, 't' },
	{ 0 }
};

static bool parse_state(const char *s, enum fzc_wait_for *what, uint64_t *number)
{
	*number = 0;
	if (!strcmp(s, "connected"))
		*what = FZC_WAIT_CONNECTED;
	else if (!strcmp(s, "in-sync"))
		*what = FZC_WAIT_IN_SYNC;
	else if (!strcmp(s, "merged"))
		*what = FZC_WAIT_MERGED;
	else if (!strncmp(s, "image=", 6) && parse_u64(s + 6, number) && *number)
		*what = FZC_WAIT_IMAGE;
	else
		return false;
	return true;
}

static int run(int argc, char **argv)
{
	enum fzc_wait_for what;
	uint32_t timeout = 0;
	uint64_t number;
	struct dmdev d;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 't')
			return say_usage("wait", NULL);
		if (!parse_seconds(optarg, &timeout) || !timeout)
			return say_usage("wait", "--timeout %s: expected seconds", optarg);
	}
	if (argc - optind != 2)
		return say_usage("wait", "expected NAME and a state");
	if (!parse_state(argv[optind + 1], &what, &number))
		return say_usage("wait",
				 "state '%s': expected connected, in-sync, image=N or merged",
				 argv[optind + 1]);
	rc = volume_find(argv[optind], &d);
	if (rc)
		return rc;
	return progress_wait(d.name, d.dev, what, number, timeout ? now_ms() + timeout : NEVER);
}

const struct verb verb_wait = {
	.name = "wait",
	.args = "NAME connected|in-sync|image=N|merged [--timeout S]",
	.summary = "wait for a state",
	.help =
	"  connected   a session with the peer is established\n"
	"  in-sync     the secondary holds all that was written (primary only)\n"
	"  image=N     image N or a later one is committed\n"
	"  merged      nothing is left to merge, here and on the peer\n"
	"\n"
	"  --timeout S   give up after S seconds, exit code 3; for ever by default\n"
	"\n"
	"Example:\n"
	"  freezectl wait db in-sync --timeout 600",
	.run = run,
};
