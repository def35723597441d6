// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include "cipher.h"
#include "keyfile.h"
#include "prove.h"
#include "say.h"

static int unwrap(struct offline *o, const struct offline *meta)
{
	u64 at = FZC_OFF_SUPER + meta->copy * FZC_PAGE;
	char why[FZC_REASON_LEN];
	struct fzc_page page;

	if (!offline_read(meta, at, &page))
		return say(FC_FAILED, "%s: cannot be read at byte %llu", meta->path,
			   (unsigned long long)at);
	if (fzc_volkey_unwrap(o->vk, &page, &o->keys, why))
		return say(FC_FAILED, "%s: superblock %d: %s", meta->path, meta->copy, why);
	return FC_DONE;
}

/* The keys of a difference volume are on the other device. */
static int unwrap_from(struct offline *o, const char *path)
{
	struct offline meta;
	int rc = offline_open(&meta, path);

	if (!rc && (meta.kind != OFFLINE_META || meta.format != o->format))
		rc = say(FC_FAILED,
			 "%s: format %016llx, expected the meta device of the volume with format %016llx, to which %s belongs",
			 path, (unsigned long long)meta.format, (unsigned long long)o->format,
			 o->path);
	if (!rc)
		rc = unwrap(o, &meta);
	offline_close(&meta);
	return rc;
}

int prove(struct offline *o, const struct prove *with)
{
	struct fzc_keys shared;
	int rc;

	if (!with->key || !o->is_signed)
		return FC_DONE;
	if (o->kind == OFFLINE_DIFF && !with->meta)
		return FC_DONE;
	key_protect();
	rc = key_read(with->key, NULL, &shared);
	if (rc)
		return rc;
	o->vk = calloc(1, sizeof(*o->vk));
	if (!o->vk || fzc_volkey_init(o->vk, cipher_hmac(), cipher_aead(), &shared))
		rc = say(FC_FAILED, "key %s: nothing can be derived from it", with->key);
	explicit_bzero(&shared, sizeof(shared));
	if (!rc)
		rc = o->kind == OFFLINE_META ? unwrap(o, o) : unwrap_from(o, with->meta);
	return rc;
}

void prove_wipe(struct offline *o)
{
	if (o->vk)
		fzc_volkey_wipe(o->vk);
	free(o->vk);
	o->vk = NULL;
	explicit_bzero(&o->keys, sizeof(o->keys));
	cipher_wipe();
}

const char *prove_state(const struct offline *o)
{
	if (!o->is_signed)
		return "not signed";
	if (o->vk)
		return "signed, checked";
	return o->kind == OFFLINE_META ?
	       "signed, not checked: no key given (--key NAME)" :
	       "signed, not checked: no key and meta device given (--key NAME --meta DEVICE)";
}
