// SPDX-License-Identifier: GPL-2.0-only
#include <unistd.h>

#include "../../dm-freezecopy/core/ondisk.h"
#include "offline.h"
#include "parse.h"

int offline_name(int fd, char *text, size_t len)
{
	char why[FZC_REASON_LEN], uuid[FC_UUID_LEN];
	struct fzc_super sb;
	struct fzc_page page;
	enum fzc_page_verdict v;

	snprintf(text, len, "cannot read its first page");
	if (pread(fd, &page, sizeof(page), 0) != (ssize_t)sizeof(page))
		return -1;
	v = fzc_page_check(&page, FZC_PAGE_SUPER, why);
	if (v == FZC_PAGE_EMPTY)
		return 0;
	if (v == FZC_PAGE_OK && !fzc_super_decode(&sb, &page, why)) {
		uuid_print(sb.pair.b, uuid);
		snprintf(text, len, "the metadata of a freezecopy %s, pair %s",
			 sb.role == FZC_PRIMARY ? "primary" : "secondary", uuid);
	} else if (le32_to_cpu(page.head.magic) == FZC_DISK_MAGIC) {
		snprintf(text, len, "freezecopy metadata");
	} else {
		snprintf(text, len, "data of a kind that is not known");
	}
	return 1;
}
