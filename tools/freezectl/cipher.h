/* SPDX-License-Identifier: GPL-2.0-only */
/* The ciphers that the core asks for, of libcrypto. */
#ifndef FREEZECTL_CIPHER_H
#define FREEZECTL_CIPHER_H

#include "../../dm-freezecopy/core/auth.h"

const struct fzc_hmac *cipher_hmac(void);
const struct fzc_aead *cipher_aead(void);
/* Forget what is left in memory of the last key. */
void cipher_wipe(void);

#endif
