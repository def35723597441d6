// SPDX-License-Identifier: GPL-2.0-only
#include <openssl/hmac.h>
#include "test.h"
#include "auth.h"

static int hmac_fn(const struct fzc_hmac *hmac, const u8 *key, u32 key_len, const void *data,
		   u32 len, u8 out[FZC_KEY_BYTES])
{
	(void)hmac;
	return HMAC(EVP_sha256(), key, key_len, data, len, out, NULL) ? 0 : -EIO;
}

const struct fzc_hmac *test_hmac(void)
{
	static const struct fzc_hmac hmac = { .fn = hmac_fn };

	return &hmac;
}
