/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's crypto for blocks that stay encrypted in a stage, see core/tags.h. */
#ifndef FZC_BLOCKCRYPT_H
#define FZC_BLOCKCRYPT_H

#include "core/tags.h"

struct page;
struct fzc_blockcrypt;

/* All that is needed is allocated here; may load modules.  ERR_PTR.  Sleeps. */
struct fzc_blockcrypt *fzc_blockcrypt_create(void);
void fzc_blockcrypt_destroy(struct fzc_blockcrypt *bc);	/* NULL, ERR_PTR: fine */

/*
 * Block @block, whose content begins in the first of the pages and has as many bytes as
 * @tag says.  Encrypt in place, and fill in tag->tag; decrypt to @to, which may be @from.
 * -EBADMSG: the tag is not that of the content, and what is in @to is of no use.  One
 * thread at a time.  Sleep; no memory is waited for that needs I/O.
 */
int fzc_block_encrypt(struct fzc_blockcrypt *bc, const u8 stage_key[FZC_KEY_BYTES],
		      struct fzc_tag *tag, u64 block, struct page **pages);
int fzc_block_decrypt(struct fzc_blockcrypt *bc, const u8 stage_key[FZC_KEY_BYTES],
		      const struct fzc_tag *tag, u64 block, struct page **from,
		      struct page **to);

#endif /* FZC_BLOCKCRYPT_H */
