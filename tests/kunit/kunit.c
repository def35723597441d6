// SPDX-License-Identifier: GPL-2.0-only
/* The part of tests/unit/main.c for a kernel; the lists are made by scripts/kunit. */
#include <linux/module.h>
#include <crypto/aead.h>
#include <crypto/hash.h>
#include <linux/scatterlist.h>
#include "test.h"
#include "auth.h"

static struct kunit *running;
static u64 state;
static void *memory;

void test_begin(struct kunit *test)
{
	running = test;
	state = 1;
}

void test_failed(const char *file, int line, const char *what)
{
	KUNIT_FAIL(running, "%s:%d: %s", file, line, what);
}

static int hmac_fn(const struct fzc_hmac *hmac, const u8 *key, u32 key_len, const void *data,
		   u32 len, u8 out[FZC_KEY_BYTES])
{
	return crypto_shash_setkey(hmac->ctx, key, key_len) ?:
	       crypto_shash_tfm_digest(hmac->ctx, data, len, out);
}

/* Never freed: the machine ends with the last case. */
const struct fzc_hmac *test_hmac(void)
{
	static struct fzc_hmac hmac = { .fn = hmac_fn };

	if (!hmac.ctx)
		hmac.ctx = crypto_alloc_shash("hmac(sha256)", 0, 0);
	KUNIT_ASSERT_FALSE(running, IS_ERR(hmac.ctx));
	return &hmac;
}

static int aead_fn(const struct fzc_aead *aead, u8 cipher, bool encrypt,
		   const u8 key[FZC_KEY_BYTES], const u8 nonce[FZC_NONCE_BYTES], const void *ad,
		   u32 ad_len, void *data, u32 len, u8 tag[FZC_TAG_BYTES])
{
	static u8 buf[256], iv[FZC_NONCE_BYTES];
	struct crypto_aead *tfm = ((struct crypto_aead **)aead->ctx)[cipher - 1];
	struct aead_request *req = aead_request_alloc(tfm, GFP_KERNEL);
	struct scatterlist sg;
	int err;

	memcpy(iv, nonce, sizeof(iv));
	memcpy(buf, ad, ad_len);
	memcpy(buf + ad_len, data, len);
	memcpy(buf + ad_len + len, tag, FZC_TAG_BYTES);
	sg_init_one(&sg, buf, ad_len + len + FZC_TAG_BYTES);
	aead_request_set_callback(req, 0, NULL, NULL);
	aead_request_set_ad(req, ad_len);
	aead_request_set_crypt(req, &sg, &sg, encrypt ? len : len + FZC_TAG_BYTES, iv);
	err = crypto_aead_setkey(tfm, key, FZC_KEY_BYTES) ?:
	      (encrypt ? crypto_aead_encrypt(req) : crypto_aead_decrypt(req));
	if (!err) {
		memcpy(data, buf + ad_len, len);
		memcpy(tag, buf + ad_len + len, FZC_TAG_BYTES);
	}
	aead_request_free(req);
	return err;
}

const struct fzc_aead *test_aead(void)
{
	static struct crypto_aead *both[2];
	static struct fzc_aead aead = { .fn = aead_fn, .ctx = both };

	if (!both[0])
		both[0] = crypto_alloc_aead("gcm(aes)", 0, CRYPTO_ALG_ASYNC);
	if (!both[1])
		both[1] = crypto_alloc_aead("rfc7539(chacha20,poly1305)", 0, CRYPTO_ALG_ASYNC);
	KUNIT_ASSERT_FALSE(running, IS_ERR(both[0]) || IS_ERR(both[1]));
	return &aead;
}

void *test_alloc(size_t bytes)
{
	/* the first 16 bytes hold the list together, and the rest aligned */
	void **mem = kvzalloc(16 + bytes, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(running, mem);
	*mem = memory;
	memory = mem;
	return (u8 *)mem + 16;
}

void test_end(struct kunit *test)
{
	while (memory) {
		void *next = *(void **)memory;

		kvfree(memory);
		memory = next;
	}
}

u64 test_random(void)
{
	u64 z;

	state += 0x9e3779b97f4a7c15ULL;
	z = state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

char *strtok(char *text, const char *separators)
{
	static char *rest;
	char *word;

	if (text)
		rest = text;
	do {
		word = strsep(&rest, separators);
	} while (word && !*word);
	return word;
}

MODULE_DESCRIPTION("unit tests of dm-freezecopy's core");
MODULE_LICENSE("GPL");
