// SPDX-License-Identifier: GPL-2.0-only
/* Those of libcrypto, as freezectl has them. */
#include "test.h"
#include "../../tools/freezectl/cipher.h"

const struct fzc_hmac *test_hmac(void)
{
	return cipher_hmac();
}

const struct fzc_aead *test_aead(void)
{
	return cipher_aead();
}
