// SPDX-License-Identifier: GPL-2.0-only
/* The part of tests/unit/main.c for a kernel; the lists are made by scripts/kunit. */
#include <linux/module.h>
#include <crypto/hash.h>
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
