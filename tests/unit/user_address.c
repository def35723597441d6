// SPDX-License-Identifier: GPL-2.0-only
/* Addresses against the C library's own parser; so this is no case of tests/kunit. */
#include <arpa/inet.h>
#include "test.h"
#include "args.h"

static char why[FZC_REASON_LEN];

/* Against the C library. */
TEST(args_address_like_inet)
{
	static const char alphabet[] = "::::0123f.::1:1.0";
	struct in6_addr in6;
	struct fzc_addr a, b;
	char s[64], buf[64];

	for (u32 i = 0; i < 300000; i++) {
		u32 n = 1, len = test_below(22);

		s[0] = '[';
		while (n <= len)
			s[n++] = alphabet[test_below(sizeof(alphabet) - 1)];
		s[n] = 0;
		bool want = inet_pton(AF_INET6, s + 1, &in6) == 1;

		strcpy(s + n, "]:1");
		CHECK_OR_RETURN(!fzc_addr_parse(&a, s, why) == want);
		if (!want)
			continue;
		CHECK_OR_RETURN(a.v6 && !memcmp(a.ip, &in6, 16));
		fzc_addr_print(&a, buf, sizeof(buf));
		CHECK_OR_RETURN(!fzc_addr_parse(&b, buf, why) && !memcmp(&a, &b, sizeof(a)));
	}
}
