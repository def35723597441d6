// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <crypto/aead.h>
#include <crypto/hash.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "core/wire.h"
#include "crypt.h"

#define MAX_PAGES	(FZC_MAX_RUN_BYTES / PAGE_SIZE)

static const char *const names[FZC_CIPHERS] = { "gcm(aes)", "rfc7539(chacha20,poly1305)" };

struct fzc_crypt {
	bool seal;
	struct fzc_hmac hmac;
	struct fzc_seal state;
	struct fzc_ciphers ciphers;
	u8 cipher;			/* enum fzc_cipher, this connection's */
	struct scatterlist sg[MAX_PAGES + 1];
	/* a record's small parts; DMA may reach them, so that nothing else shares their lines */
	u8 nonce[FZC_NONCE_BYTES] ____cacheline_aligned;
	u8 buf[FZC_MAX_RECORD + FZC_TAG_BYTES] ____cacheline_aligned;
};

static int mac(const struct fzc_hmac *hmac, const u8 *key, u32 key_len, const void *data, u32 len,
	       u8 out[FZC_KEY_BYTES])
{
	struct crypto_shash *tfm = hmac->ctx;

	return crypto_shash_setkey(tfm, key, key_len) ?:
	       crypto_shash_tfm_digest(tfm, data, len, out);
}

int fzc_mac_init(struct fzc_hmac *hmac)
{
	struct crypto_shash *tfm = crypto_alloc_shash("hmac(sha256)", 0, 0);

	if (IS_ERR(tfm)) {
		pr_err("hmac(sha256) is not to be had: %pe\n", tfm);
		return PTR_ERR(tfm);
	}
	hmac->fn = mac;
	hmac->ctx = tfm;
	return 0;
}

void fzc_mac_exit(struct fzc_hmac *hmac)
{
	if (hmac->ctx)
		crypto_free_shash(hmac->ctx);
	hmac->ctx = NULL;
}

static int alloc_cipher(struct fzc_ciphers *c, u32 i, u32 without)
{
	struct crypto_aead *aead = crypto_alloc_aead(names[i], 0, without);

	if (IS_ERR(aead)) {
		pr_err("%s is not to be had: %pe\n", names[i], aead);
		return PTR_ERR(aead);
	}
	c->aead[i] = aead;
	c->req[i] = aead_request_alloc(aead, GFP_KERNEL);
	return c->req[i] ? crypto_aead_setauthsize(aead, FZC_TAG_BYTES) : -ENOMEM;
}

int fzc_ciphers_init(struct fzc_ciphers *c, u32 without)
{
	int err = 0;
	u32 i;

	for (i = 0; i < FZC_CIPHERS && !err; i++)
		err = alloc_cipher(c, i, without);
	return err;
}

void fzc_ciphers_exit(struct fzc_ciphers *c)
{
	u32 i;

	for (i = 0; i < FZC_CIPHERS; i++) {
		aead_request_free(c->req[i]);
		if (c->aead[i])
			crypto_free_aead(c->aead[i]);
	}
}

static struct aead_request *request_of(const struct fzc_ciphers *c, u8 cipher)
{
	return c->req[cipher - FZC_CIPHER_AES_GCM];
}

int fzc_cipher_run(const struct fzc_ciphers *c, u8 cipher, bool encrypt, struct scatterlist *in,
		   struct scatterlist *out, u32 ad_len, u32 len, u8 *nonce)
{
	struct aead_request *req = request_of(c, cipher);
	DECLARE_CRYPTO_WAIT(wait);

	aead_request_set_callback(req, CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				  crypto_req_done, &wait);
	aead_request_set_ad(req, ad_len);
	aead_request_set_crypt(req, in, out, encrypt ? len : len + FZC_TAG_BYTES, nonce);
	return crypto_wait_req(encrypt ? crypto_aead_encrypt(req) : crypto_aead_decrypt(req),
			       &wait);
}

/* What a struct fzc_aead has. */
struct small {
	struct fzc_ciphers ciphers;
	struct scatterlist sg;
	u8 nonce[FZC_NONCE_BYTES] ____cacheline_aligned;
	u8 buf[FZC_AEAD_SMALL + FZC_TAG_BYTES] ____cacheline_aligned;
};

static int small_fn(const struct fzc_aead *ops, u8 cipher, bool encrypt,
		    const u8 key[FZC_KEY_BYTES], const u8 nonce[FZC_NONCE_BYTES], const void *ad,
		    u32 ad_len, void *data, u32 len, u8 tag[FZC_TAG_BYTES])
{
	struct small *s = ops->ctx;
	struct aead_request *req;
	int err;

	if (!fzc_cipher_known(cipher) || len > FZC_AEAD_SMALL || ad_len > FZC_AEAD_SMALL - len)
		return -EINVAL;
	memcpy(s->nonce, nonce, sizeof(s->nonce));
	memcpy(s->buf, ad, ad_len);
	memcpy(s->buf + ad_len, data, len);
	memcpy(s->buf + ad_len + len, tag, FZC_TAG_BYTES);
	sg_init_one(&s->sg, s->buf, ad_len + len + FZC_TAG_BYTES);
	req = request_of(&s->ciphers, cipher);
	aead_request_set_callback(req, 0, NULL, NULL);
	aead_request_set_ad(req, ad_len);
	aead_request_set_crypt(req, &s->sg, &s->sg, encrypt ? len : len + FZC_TAG_BYTES,
			       s->nonce);
	err = crypto_aead_setkey(fzc_cipher_aead(&s->ciphers, cipher), key, FZC_KEY_BYTES) ?:
	      (encrypt ? crypto_aead_encrypt(req) : crypto_aead_decrypt(req));
	if (!err) {
		memcpy(data, s->buf + ad_len, len);
		memcpy(tag, s->buf + ad_len + len, FZC_TAG_BYTES);
	}
	memzero_explicit(s->buf, sizeof(s->buf));
	return err;
}

int fzc_aead_init(struct fzc_aead *aead)
{
	struct small *s = kzalloc(sizeof(*s), GFP_KERNEL);
	int err;

	if (!s)
		return -ENOMEM;
	aead->fn = small_fn;
	aead->ctx = s;
	/* none that hands on to another thread, which may wait for what waits for us */
	err = fzc_ciphers_init(&s->ciphers, CRYPTO_ALG_ASYNC | CRYPTO_ALG_ALLOCATES_MEMORY);
	if (err)
		fzc_aead_exit(aead);
	return err;
}

void fzc_aead_exit(struct fzc_aead *aead)
{
	struct small *s = aead->ctx;

	if (s)
		fzc_ciphers_exit(&s->ciphers);
	kfree_sensitive(s);
	aead->ctx = NULL;
}

struct fzc_crypt *fzc_crypt_create(bool seal)
{
	struct fzc_crypt *c = kzalloc(sizeof(*c), GFP_KERNEL);
	int err;

	if (!c)
		return ERR_PTR(-ENOMEM);
	c->seal = seal;
	err = fzc_mac_init(&c->hmac) ?: fzc_ciphers_init(&c->ciphers, 0);
	if (err) {
		fzc_crypt_destroy(c);
		return ERR_PTR(err);
	}
	return c;
}

void fzc_crypt_destroy(struct fzc_crypt *c)
{
	if (IS_ERR_OR_NULL(c))
		return;
	fzc_ciphers_exit(&c->ciphers);
	fzc_mac_exit(&c->hmac);
	kfree_sensitive(c);
}

/* Plain C is the only implementation whose name says so; ChaCha is better then. */
u8 fzc_crypt_fast(const struct fzc_crypt *c)
{
	struct crypto_aead *aead = fzc_cipher_aead(&c->ciphers, FZC_CIPHER_AES_GCM);
	const char *driver = crypto_tfm_alg_driver_name(crypto_aead_tfm(aead));
	bool slow = strstr(driver, "aes-generic") || strstr(driver, "aes-fixed-time");

	return 1U << FZC_CIPHER_CHACHA | (slow ? 0 : 1U << FZC_CIPHER_AES_GCM);
}

static int set_key(struct fzc_crypt *c, u8 key[FZC_KEY_BYTES])
{
	struct crypto_aead *aead = fzc_cipher_aead(&c->ciphers, c->cipher);
	int err = crypto_aead_setkey(aead, key, FZC_KEY_BYTES);

	memzero_explicit(key, FZC_KEY_BYTES);
	return err;
}

int fzc_crypt_begin(struct fzc_crypt *c, u8 cipher, const u8 secret[FZC_KEY_BYTES])
{
	u8 key[FZC_KEY_BYTES];

	c->cipher = cipher;
	return fzc_seal_begin(&c->state, &c->hmac, secret, key) ?: set_key(c, key);
}

void *fzc_crypt_buf(struct fzc_crypt *c)
{
	return c->buf;
}

/* c->sg has the record and its tag. */
static int crypt(struct fzc_crypt *c, u32 len)
{
	u8 key[FZC_KEY_BYTES];
	int r = fzc_seal_next(&c->state, len, c->nonce, key);

	if (r > 0)
		r = set_key(c, key);
	return r ?: fzc_cipher_run(&c->ciphers, c->cipher, c->seal, c->sg, c->sg, 0, len, c->nonce);
}

int fzc_crypt_small(struct fzc_crypt *c, u32 len)
{
	sg_init_one(c->sg, c->buf, len + FZC_TAG_BYTES);
	return crypt(c, len);
}

int fzc_crypt_pages(struct fzc_crypt *c, struct page **pages, u32 len)
{
	u32 n = DIV_ROUND_UP(len, PAGE_SIZE), left = len, i;

	sg_init_table(c->sg, n + 1);
	for (i = 0; i < n; i++) {
		sg_set_page(&c->sg[i], pages[i], min_t(u32, left, PAGE_SIZE), 0);
		left -= c->sg[i].length;
	}
	sg_set_buf(&c->sg[n], c->buf, FZC_TAG_BYTES);
	return crypt(c, len);
}
