// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "cipher.h"

/* To look it up and to make one anew takes longer than a page's checksum. */
static EVP_MAC_CTX *mac;

static bool find_mac(void)
{
	EVP_MAC *type = EVP_MAC_fetch(NULL, "HMAC", NULL);
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0), OSSL_PARAM_END,
	};

	mac = EVP_MAC_CTX_new(type);
	EVP_MAC_free(type);
	return mac && EVP_MAC_CTX_set_params(mac, params);
}

static int hmac(const struct fzc_hmac *unused, const u8 *key, u32 key_len, const void *data,
		u32 len, u8 out[FZC_KEY_BYTES])
{
	size_t n;

	(void)unused;
	return (mac || find_mac()) && EVP_MAC_init(mac, key, key_len, NULL) &&
	       EVP_MAC_update(mac, data, len) && EVP_MAC_final(mac, out, &n, FZC_KEY_BYTES) ?
	       0 : -EIO;
}

void cipher_wipe(void)
{
	EVP_MAC_CTX_free(mac);
	mac = NULL;
}

const struct fzc_hmac *cipher_hmac(void)
{
	static const struct fzc_hmac sha256 = { .fn = hmac };

	return &sha256;
}

static bool begin(EVP_CIPHER_CTX *ctx, u8 cipher, bool encrypt, const u8 *key, const u8 *nonce,
		  const void *ad, u32 ad_len)
{
	const EVP_CIPHER *type = cipher == FZC_CIPHER_AES_GCM ? EVP_aes_256_gcm() :
							       EVP_chacha20_poly1305();
	int n;

	return EVP_CipherInit_ex(ctx, type, NULL, key, nonce, encrypt) &&
	       EVP_CipherUpdate(ctx, NULL, &n, ad, ad_len);
}

static int aead(const struct fzc_aead *unused, u8 cipher, bool encrypt,
		const u8 key[FZC_KEY_BYTES], const u8 nonce[FZC_NONCE_BYTES], const void *ad,
		u32 ad_len, void *data, u32 len, u8 tag[FZC_TAG_BYTES])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int err = -EIO, n;

	(void)unused;
	if (ctx && begin(ctx, cipher, encrypt, key, nonce, ad, ad_len) &&
	    EVP_CipherUpdate(ctx, data, &n, data, len) &&
	    (encrypt || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, FZC_TAG_BYTES, tag))) {
		err = EVP_CipherFinal_ex(ctx, (u8 *)data + n, &n) ? 0 : encrypt ? -EIO : -EBADMSG;
		if (!err && encrypt &&
		    !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, FZC_TAG_BYTES, tag))
			err = -EIO;
	}
	EVP_CIPHER_CTX_free(ctx);
	return err;
}

const struct fzc_aead *cipher_aead(void)
{
	static const struct fzc_aead both = { .fn = aead };

	return &both;
}
