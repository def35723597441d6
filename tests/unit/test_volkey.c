// SPDX-License-Identifier: GPL-2.0-only
/* The keys of a volume in its superblock, and what signs its pages. */
#include "test.h"
#include "volkey.h"

static char why[FZC_REASON_LEN];
static const u8 nonce[FZC_NONCE_BYTES] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };

static struct fzc_keys shared_keys(u8 newer, u8 older)
{
	struct fzc_keys keys = { .n = older ? 2 : 1 };

	memset(keys.key[0], newer, FZC_KEY_BYTES);
	memset(keys.key[1], older, FZC_KEY_BYTES);
	return keys;
}

/* What a side has that got these shared keys. */
static struct fzc_volkey *volkey(u8 newer, u8 older)
{
	struct fzc_volkey *vk = test_alloc(sizeof(*vk));
	struct fzc_keys keys = shared_keys(newer, older);

	CHECK(!fzc_volkey_init(vk, test_hmac(), test_aead(), &keys));
	return vk;
}

static struct fzc_volume_keys some_keys(void)
{
	struct fzc_volume_keys keys;
	u32 i;

	for (i = 0; i < FZC_KEY_BYTES; i++) {
		keys.meta[i] = i;
		keys.stage[i] = 100 + i;
	}
	return keys;
}

static struct fzc_page *super_page(u32 flags)
{
	struct fzc_page *page = test_alloc(sizeof(*page));

	page->super.role = cpu_to_le32(FZC_PRIMARY);
	page->super.flags = cpu_to_le32(flags);
	fzc_page_seal(page, FZC_PAGE_SUPER, 77, 9, 0, 0);
	return page;
}

/* A superblock as it is written to the second place. */
static struct fzc_page *signed_super(struct fzc_volkey *vk)
{
	struct fzc_volume_keys keys = some_keys();
	struct fzc_page *page = super_page(FZC_SB_ENCRYPTED);

	CHECK(!fzc_volkey_sign(vk, &keys, FZC_META, FZC_PAGE, nonce, page));
	return page;
}

static bool is_hex(const void *bytes, u32 len, const char *digits)
{
	const u8 *b = bytes;
	char text[3];
	u32 i;

	for (i = 0; i < len; i++) {
		snprintf(text, sizeof(text), "%02x", b[i]);
		if (strncmp(text, digits + 2 * i, 2))
			return false;
	}
	return !digits[2 * len];
}

static int check(struct fzc_volkey *vk, u8 dev, u64 offset, const struct fzc_page *page)
{
	struct fzc_volume_keys keys = some_keys();

	why[0] = 0;
	return fzc_volkey_check(vk, &keys, dev, offset, page, why);
}

static int unwrap(struct fzc_volkey *vk, const struct fzc_page *page)
{
	struct fzc_volume_keys keys = { }, expected = some_keys();
	int err;

	why[0] = 0;
	err = fzc_volkey_unwrap(vk, page, &keys, why);
	CHECK(err || !memcmp(&keys, &expected, sizeof(keys)));
	return err;
}

static bool says(const char *one, const char *two, const char *three)
{
	bool good = strstr(why, one) && strstr(why, two) && strstr(why, three);

	if (!good)
		printf("said: %s\n", why);
	return good;
}

/* As on-disk-format.rst has it: the figures were made with another program. */
TEST(volkey_is_as_documented)
{
	struct fzc_volume_keys keys = some_keys();
	struct fzc_volkey *vk = volkey(0x5a, 0);
	struct fzc_page *page = test_alloc(sizeof(*page)), *super = signed_super(vk);
	const struct fzc_wrapped_keys *w = &super->super.wrapped;

	page->body[0] = 3;
	fzc_page_seal(page, FZC_PAGE_REGIONS, 77, 5, 0, 0);
	CHECK(!fzc_volkey_sign(vk, &keys, FZC_META, FZC_OFF_REGIONS, NULL, page));
	CHECK(is_hex(page->head.mac, 16, "e6e776516987000853292600677c74fc"));
	memset(page, 0, sizeof(*page));
	fzc_page_seal(page, FZC_PAGE_INDEX, 77, 6, 9, 5);
	CHECK(!fzc_volkey_sign(vk, &keys, FZC_DIFF_B, 12 * FZC_PAGE, NULL, page));
	CHECK(is_hex(page->head.mac, 16, "1751c53472468e6e3b76c4cbcfaec4cf"));
	CHECK(is_hex(w->key, 8, "dcc95fa7eb10af4d") && !memcmp(w->nonce, nonce, sizeof(nonce)));
	CHECK(is_hex(w->keys, 64, "130f1b90544bb8f5cbeafa43f52087fe334f37cf692528458003a619fa7d85505e9756fb1c45aad522e7d177480b0ff05ac803a309df573bf94c0837c74117b8"));
	CHECK(w->cipher == FZC_CIPHER_CHACHA &&
	      is_hex(w->tag, 16, "6a335db069a6daa3275b714a97889ed5"));
	CHECK(is_hex(super->head.mac, 16, "d4b1631b7f9938c881e5acecc8dd0a3c"));
	CHECK(fzc_page_sound(super) && fzc_page_sound(page));
	CHECK(!check(vk, FZC_META, FZC_PAGE, super) && !unwrap(vk, super));
	CHECK(!check(vk, FZC_DIFF_B, 12 * FZC_PAGE, page));
}

/* Whatever is changed in a page, its own checksum made right. */
TEST(volkey_every_byte_is_signed)
{
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_page *page = signed_super(vk), *bad = test_alloc(sizeof(*bad));
	const u32 features = offsetof(struct fzc_page_head, features);
	const u32 crc = offsetof(struct fzc_page_head, crc);
	u32 i;

	for (i = 0; i < FZC_PAGE; i++) {
		*bad = *page;
		((u8 *)bad)[i] ^= 1;
		if (i >= crc && i < crc + 4)
			continue;	/* nothing but a checksum of the rest */
		fzc_page_sum(bad);
		CHECK_OR_RETURN(check(vk, FZC_META, FZC_PAGE, bad) == -EBADMSG);
		CHECK_OR_RETURN(says("page at byte 4096", i == features ? "is not signed" :
				     "keyed checksum is not what this volume's key makes",
				     ": devices swapped, or changed by somebody"));
	}
	CHECK(!check(vk, FZC_META, FZC_PAGE, page));
}

/* A page of the same volume, but of another place. */
TEST(volkey_place_is_signed)
{
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_page *page = signed_super(vk);

	CHECK(check(vk, FZC_META, 0, page) == -EBADMSG);
	CHECK(check(vk, FZC_META, FZC_PAGE + (1ULL << 40), page) == -EBADMSG);
	CHECK(check(vk, FZC_DIFF, FZC_PAGE, page) == -EBADMSG);
}

TEST(volkey_of_another_volume)
{
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_volume_keys other = some_keys();
	struct fzc_page *page = signed_super(vk);

	other.meta[31] ^= 0x80;
	CHECK(fzc_volkey_check(vk, &other, FZC_META, FZC_PAGE, page, why) == -EBADMSG);
	/* that of the blocks has no part in it: a secondary gets another one */
	other = some_keys();
	other.stage[0] ^= 1;
	CHECK(!fzc_volkey_check(vk, &other, FZC_META, FZC_PAGE, page, why));
}

TEST(volkey_wrapped_and_changed)
{
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_page *page = signed_super(vk), *bad = test_alloc(sizeof(*bad));
	struct fzc_wrapped_keys *w = &bad->super.wrapped;
	u8 *bytes = (u8 *)w;
	u32 i;

	for (i = 0; i < sizeof(*w); i++) {
		int expected = i < offsetof(struct fzc_wrapped_keys, nonce) ? -EKEYREJECTED :
			       -EBADMSG;

		if (i >= offsetof(struct fzc_wrapped_keys, cipher) &&
		    i < offsetof(struct fzc_wrapped_keys, keys))
			continue;
		*bad = *page;
		bytes[i] ^= 1;
		CHECK_OR_RETURN(unwrap(vk, bad) == expected);
		CHECK_OR_RETURN(expected == -EKEYREJECTED ||
				says("tag of its wrapped keys", "not what the key makes",
				     "devices swapped, or changed by somebody"));
	}
	*bad = *page;
	w->cipher = FZC_CIPHER_AES_GCM;
	CHECK(unwrap(vk, bad) == -EBADMSG);
	w->cipher = 3;
	CHECK(unwrap(vk, bad) == -EINVAL && says("cipher 3", "expected 1 or 2", ""));
	w->cipher = 0;
	CHECK(unwrap(vk, bad) == -EINVAL);
	/* into the superblock of another volume, or of the other side */
	*bad = *page;
	bad->head.format = cpu_to_le64(78);
	CHECK(unwrap(vk, bad) == -EBADMSG);
	*bad = *page;
	bad->super.role = cpu_to_le32(FZC_SECONDARY);
	CHECK(unwrap(vk, bad) == -EBADMSG);
}

/* Not what is written, but what may be read. */
TEST(volkey_wrapped_with_aes)
{
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_page *page = signed_super(vk);
	struct fzc_wrapped_keys *w = &page->super.wrapped;
	struct {
		char label[32];
		__le64 format;
		__le32 role;
		__le32 zero;
	} ad = { "freezecopy 1 volume keys", cpu_to_le64(77), cpu_to_le32(FZC_PRIMARY), 0 };
	struct fzc_volume_keys keys = some_keys();

	w->cipher = FZC_CIPHER_AES_GCM;
	memcpy(w->keys, &keys, sizeof(w->keys));
	CHECK(!test_aead()->fn(test_aead(), w->cipher, true, vk->kek[0], w->nonce, &ad,
			       sizeof(ad), w->keys, sizeof(w->keys), w->tag));
	CHECK(!unwrap(vk, page));
}

TEST(volkey_shared_key_is_replaced)
{
	struct fzc_page *page = signed_super(volkey(1, 0));
	char id[2 * FZC_KEY_ID + 1];

	/* the other one of two, whichever is current */
	CHECK(!unwrap(volkey(2, 1), page) && !unwrap(volkey(1, 2), page));
	fzc_key_id_print(volkey(1, 0)->id[0], id);
	CHECK(unwrap(volkey(2, 0), page) == -EKEYREJECTED);
	CHECK(says("under the key with the id ", id, "freezectl key import"));
	fzc_key_id_print(volkey(2, 0)->id[0], id);
	CHECK(says("the key given has the id ", id, "; expected that one"));
	CHECK(unwrap(volkey(3, 2), page) == -EKEYREJECTED);
	CHECK(says(" and before it ", id, "; expected that one"));
	/* written again while both are known: from then on the new one does */
	page = signed_super(volkey(2, 1));
	CHECK(!unwrap(volkey(2, 0), page));
	CHECK(unwrap(volkey(1, 0), page) == -EKEYREJECTED);
	/* which signs nothing: the volume's own key does */
	CHECK(!check(volkey(5, 0), FZC_META, FZC_PAGE, page));
}

/* It has one sector, and nothing to protect. */
TEST(volkey_formatting_is_not_signed)
{
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_volume_keys keys = some_keys();
	struct fzc_page *page = super_page(FZC_SB_ENCRYPTED | FZC_SB_FORMATTING);
	struct fzc_page *before = test_alloc(sizeof(*before));

	*before = *page;
	CHECK(!fzc_volkey_sign(vk, &keys, FZC_META, FZC_PAGE, nonce, page));
	CHECK(!memcmp(page, before, sizeof(*page)));
}

static int no_hmac(const struct fzc_hmac *hmac, const u8 *key, u32 key_len, const void *data,
		   u32 len, u8 out[FZC_KEY_BYTES])
{
	(void)hmac, (void)key, (void)key_len, (void)data, (void)len, (void)out;
	return -ENOMEM;
}

static int no_aead(const struct fzc_aead *aead, u8 cipher, bool encrypt, const u8 *key,
		   const u8 *iv, const void *ad, u32 ad_len, void *data, u32 len, u8 *tag)
{
	(void)aead, (void)cipher, (void)encrypt, (void)key, (void)iv, (void)ad, (void)ad_len;
	(void)data, (void)len, (void)tag;
	return -ENOMEM;
}

static bool holds(const struct fzc_page *page, const void *bytes, u32 len)
{
	const u8 *p = (const u8 *)page;
	u32 i;

	for (i = 0; i + len <= FZC_PAGE; i++)
		if (!memcmp(p + i, bytes, len))
			return true;
	return false;
}

/* Then nothing is written, and no key stays in the page. */
TEST(volkey_ciphers_fail)
{
	static const struct fzc_hmac bad_hmac = { .fn = no_hmac };
	static const struct fzc_aead bad_aead = { .fn = no_aead };
	struct fzc_volume_keys keys = some_keys();
	struct fzc_volkey *vk = volkey(1, 0);
	struct fzc_page *page = signed_super(vk), *fresh = super_page(FZC_SB_ENCRYPTED);
	struct fzc_keys shared = shared_keys(1, 2);

	CHECK(!holds(page, keys.meta, 16) && !holds(page, keys.stage, 16));
	vk->aead = &bad_aead;
	CHECK(fzc_volkey_sign(vk, &keys, FZC_META, 0, nonce, fresh) == -ENOMEM);
	CHECK(!holds(fresh, keys.meta, 16) && !holds(fresh, keys.stage, 16));
	CHECK(unwrap(vk, page) == -ENOMEM && says("cannot be unwrapped", "error 12", ""));
	vk->aead = test_aead();
	vk->hmac = &bad_hmac;
	CHECK(fzc_volkey_sign(vk, &keys, FZC_META, 0, nonce, fresh) == -ENOMEM);
	CHECK(!holds(fresh, keys.meta, 16) && !holds(fresh, keys.stage, 16));
	CHECK(check(vk, FZC_META, FZC_PAGE, page) == -ENOMEM);
	CHECK(says("keyed checksum cannot be made", "error 12", ""));
	CHECK(fzc_volkey_init(vk, &bad_hmac, test_aead(), &shared) == -ENOMEM);
	/* nothing is known then, and nothing wrapped with nothing */
	CHECK(!vk->n && fzc_volkey_sign(vk, &keys, FZC_META, 0, nonce, fresh) == -ENOKEY);
}
