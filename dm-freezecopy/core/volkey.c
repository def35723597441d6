// SPDX-License-Identifier: GPL-2.0-only
#include "volkey.h"

#define SWAPPED	"devices swapped, or changed by somebody"

/* What the wrapped keys belong to and what never changes: they open nowhere else. */
struct wrap_ad {
	char label[32];
	__le64 format;
	__le32 role;
	__le32 zero;
};

static struct wrap_ad wrap_ad(const struct fzc_page *page)
{
	struct wrap_ad ad = {
		.label = "freezecopy 1 volume keys", .format = page->head.format,
		.role = page->super.role,
	};

	BUILD_BUG_ON(sizeof(ad) != 48);
	return ad;
}

int fzc_volkey_init(struct fzc_volkey *vk, const struct fzc_hmac *hmac,
		    const struct fzc_aead *aead, const struct fzc_keys *shared)
{
	int err = 0;
	u32 i;

	fzc_volkey_wipe(vk);
	vk->hmac = hmac;
	vk->aead = aead;
	for (i = 0; i < shared->n && !err; i++)
		err = fzc_key_id(hmac, shared->key[i], vk->id[i]) ?:
		      fzc_expand(hmac, shared->key[i], "wrap", NULL, 0, vk->kek[i]);
	vk->n = shared->n;
	if (err)
		fzc_volkey_wipe(vk);
	return err;
}

void fzc_volkey_wipe(struct fzc_volkey *vk)
{
	fzc_wipe(vk, sizeof(*vk));
}

static int wrap(const struct fzc_volkey *vk, const struct fzc_volume_keys *keys, const u8 *nonce,
		struct fzc_page *page)
{
	struct fzc_wrapped_keys *w = &page->super.wrapped;
	struct wrap_ad ad = wrap_ad(page);
	int err;

	BUILD_BUG_ON(sizeof(*keys) != sizeof(w->keys));
	memset(w, 0, sizeof(*w));
	memcpy(w->key, vk->id[0], FZC_KEY_ID);
	memcpy(w->nonce, nonce, sizeof(w->nonce));
	/* as fast as it has to be on any CPU, in constant time */
	w->cipher = FZC_CIPHER_CHACHA;
	memcpy(w->keys, keys, sizeof(w->keys));
	err = vk->n ? vk->aead->fn(vk->aead, w->cipher, true, vk->kek[0], w->nonce, &ad, sizeof(ad),
				   w->keys, sizeof(w->keys), w->tag) : -ENOKEY;
	if (err)
		fzc_wipe(w, sizeof(*w));
	return err;
}

/* The shared key with this id; -1: there is none. */
static int find_key(const struct fzc_volkey *vk, const u8 *id)
{
	u32 i;

	for (i = 0; i < vk->n; i++)
		if (!memcmp(vk->id[i], id, FZC_KEY_ID))
			return i;
	return -1;
}

static int say_no_key(const struct fzc_volkey *vk, const u8 *id, char *why)
{
	char had[2 * FZC_KEY_ID + 1], has[FZC_KEYS][2 * FZC_KEY_ID + 1];
	u32 i;

	fzc_key_id_print(id, had);
	for (i = 0; i < FZC_KEYS; i++)
		fzc_key_id_print(vk->id[i], has[i]);
	scnprintf(why, FZC_REASON_LEN,
		  "under the key with the id %s, the key given has the id %s%s%s; expected that one: freezectl key import takes it",
		  had, has[0], vk->n > 1 ? " and before it " : "", vk->n > 1 ? has[1] : "");
	return -EKEYREJECTED;
}

int fzc_volkey_unwrap(const struct fzc_volkey *vk, const struct fzc_page *page,
		      struct fzc_volume_keys *keys, char *why)
{
	struct fzc_wrapped_keys w = page->super.wrapped;
	struct wrap_ad ad = wrap_ad(page);
	int i = find_key(vk, w.key), err;

	if (!fzc_cipher_known(w.cipher)) {
		scnprintf(why, FZC_REASON_LEN,
			  "its keys are wrapped with cipher %u, expected %u or %u", w.cipher,
			  FZC_CIPHER_AES_GCM, FZC_CIPHER_CHACHA);
		return -EINVAL;
	}
	if (i < 0)
		return say_no_key(vk, w.key, why);
	err = vk->aead->fn(vk->aead, w.cipher, false, vk->kek[i], w.nonce, &ad, sizeof(ad), w.keys,
			   sizeof(w.keys), w.tag);
	if (!err)
		memcpy(keys, w.keys, sizeof(*keys));
	else if (err == -EBADMSG)
		scnprintf(why, FZC_REASON_LEN,
			  "the tag of its wrapped keys is not what the key makes: " SWAPPED);
	else
		scnprintf(why, FZC_REASON_LEN, "its keys cannot be unwrapped: error %d", -err);
	fzc_wipe(&w, sizeof(w));
	return err;
}

/*
 * The page as it is summed up: no checksum in it, and in place of the keyed one
 * where it belongs, so that it proves nothing elsewhere.
 */
static void put_place(struct fzc_page *page, u8 dev, u64 offset)
{
	struct {
		__le32 dev;
		__le32 zero;
		__le64 offset;
	} place = { .dev = cpu_to_le32(dev), .offset = cpu_to_le64(offset) };

	BUILD_BUG_ON(sizeof(place) != sizeof(page->head.mac));
	page->head.crc = 0;
	memcpy(page->head.mac, &place, sizeof(place));
}

/* Changes @page. */
static int page_mac(const struct fzc_volkey *vk, const struct fzc_volume_keys *keys, u8 dev,
		    u64 offset, struct fzc_page *page, u8 mac[FZC_KEY_BYTES])
{
	u8 key[FZC_KEY_BYTES];
	int err;

	put_place(page, dev, offset);
	err = fzc_expand(vk->hmac, keys->meta, "metadata", NULL, 0, key) ?:
	      vk->hmac->fn(vk->hmac, key, sizeof(key), page, FZC_PAGE, mac);
	fzc_wipe(key, sizeof(key));
	return err;
}

int fzc_volkey_sign(struct fzc_volkey *vk, const struct fzc_volume_keys *keys, u8 dev,
		    u64 offset, const u8 nonce[FZC_NONCE_BYTES], struct fzc_page *page)
{
	bool super = le16_to_cpu(page->head.kind) == FZC_PAGE_SUPER;
	u8 mac[FZC_KEY_BYTES];
	int err;

	/* of one sector, which has no room for keys: it says that there is nothing yet */
	if (super && le32_to_cpu(page->super.flags) & FZC_SB_FORMATTING)
		return 0;
	err = super ? wrap(vk, keys, nonce, page) : 0;
	if (err)
		return err;
	page->head.features |= cpu_to_le32(FZC_DISK_SIGNED);
	err = page_mac(vk, keys, dev, offset, page, mac);
	memcpy(page->head.mac, mac, sizeof(page->head.mac));
	fzc_page_sum(page);
	return err;
}

int fzc_volkey_check(struct fzc_volkey *vk, const struct fzc_volume_keys *keys, u8 dev,
		     u64 offset, const struct fzc_page *page, char *why)
{
	u8 mac[FZC_KEY_BYTES];
	int err;

	if (!(le32_to_cpu(page->head.features) & FZC_DISK_SIGNED)) {
		scnprintf(why, FZC_REASON_LEN,
			  "page at byte %llu is not signed, expected the keyed checksum of this volume: "
			  SWAPPED, (unsigned long long)offset);
		return -EBADMSG;
	}
	vk->page = *page;
	err = page_mac(vk, keys, dev, offset, &vk->page, mac);
	if (!err && fzc_memneq(mac, page->head.mac, sizeof(page->head.mac))) {
		scnprintf(why, FZC_REASON_LEN,
			  "page at byte %llu: its keyed checksum is not what this volume's key makes: "
			  SWAPPED, (unsigned long long)offset);
		err = -EBADMSG;
	} else if (err) {
		scnprintf(why, FZC_REASON_LEN,
			  "page at byte %llu: its keyed checksum cannot be made: error %d",
			  (unsigned long long)offset, -err);
	}
	return err;
}
