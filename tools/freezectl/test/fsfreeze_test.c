// SPDX-License-Identifier: GPL-2.0-only
/*
 * Freeze what is mounted on a block device the way `freezectl freeze` does, hold
 * it, thaw it:
 *
 *	fsfreeze_test DEVICE DEADLINE_MS HOLD_MS
 *
 * Says "frozen" when it is, and at the end "held" or "lost".  test_freezectl.sh
 * kills and stops it meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fsfreeze.h"
#include "../say.h"
#include "../timer.h"
#include "../users.h"

int main(int argc, char **argv)
{
	struct fs_set *set = NULL;
	struct users u = { 0 };
	uint64_t deadline;
	struct stat st;
	int rc;

	if (argc != 4 || stat(argv[1], &st) || !S_ISBLK(st.st_mode))
		return FC_USAGE;
	deadline = now_ms() + strtoul(argv[2], NULL, 10);
	rc = users_find(st.st_rdev, USERS_ALL, &u) ? FC_FAILED : fs_set_open(&u, &set);
	users_free(&u);
	if (!rc)
		rc = fs_freeze(set, deadline);
	if (!rc) {
		puts("frozen");
		fflush(stdout);
		usleep(strtoul(argv[3], NULL, 10) * 1000);
		puts(fs_thaw(set) ? "held" : "lost");
		fs_report(set);
	}
	fs_set_free(set);
	return rc;
}
