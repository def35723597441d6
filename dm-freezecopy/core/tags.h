/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blocks that are encrypted once, by the primary, and stay so in a stage until they
 * are merged (embodiment 4): keys, nonces, and what of a tag can be at all.
 *
 * DOC: why no nonce is ever used twice
 *
 * A key is derived from the stage's key, which the primary draws with its metadata,
 * and from the salt of a connection, which both sides' fresh nonces make; it serves
 * FZC_TAG_EPOCH frames.  The nonce is the frame's number on that connection and the
 * block's place in the frame: a frame is encrypted once, and a lost one is not sent
 * again under its number.
 *
 * A block's number and length are authenticated with it; its image is not, because a
 * block that was sent for an image that is given up becomes part of the next (R11).
 * That a slot holds the newest of a block's contents is for the index to say, by a
 * checksum of the ciphertext.
 */
#ifndef FZC_TAGS_H
#define FZC_TAGS_H

#include "auth.h"
#include "ondisk.h"
#include "wire.h"

/* 64 GiB at most under one key: 2^32 blocks of the cipher. */
#define FZC_TAG_EPOCH		0x10000U
#define FZC_TAG_AD		16U	/* bytes that are authenticated beside a block */

/* On the wire: what the payload of an encrypted DATA frame is preceded by, one a block. */
struct fzc_wire_tag {
	u8 tag[FZC_TAG_BYTES];
	__le32 length;			/* of the ciphertext */
	u8 packed;			/* as in struct fzc_tag */
	u8 reserved[3];
};

#define FZC_WIRE_TAGS		(FZC_MAX_RUN * (u32)sizeof(struct fzc_wire_tag))

/* The key under which @tag's block is; 0 or -errno. */
int fzc_tag_key(const struct fzc_hmac *hmac, const u8 stage_key[FZC_KEY_BYTES],
		const struct fzc_tag *tag, u8 key[FZC_KEY_BYTES]);
/* Do two tags have the same key? */
bool fzc_tag_same_key(const struct fzc_tag *a, const struct fzc_tag *b);
void fzc_tag_nonce(const struct fzc_tag *tag, u8 nonce[FZC_NONCE_BYTES]);
void fzc_tag_ad(const struct fzc_tag *tag, u64 block, u8 ad[FZC_TAG_AD]);
/* Can it be of a block of @bytes?  Before anything of it is used. */
bool fzc_tag_possible(const struct fzc_tag *tag, u32 bytes);

/* The tag of the @index-th block of a frame; its own fields are still to come. */
void fzc_tag_init(struct fzc_tag *tag, const u8 salt[FZC_SALT_BYTES], u8 cipher, u64 frame,
		  u32 index, u32 length, u8 packed);
void fzc_wire_put_tag(struct fzc_wire_tag *wire, const struct fzc_tag *tag);
/*
 * The tags of a frame whose head was parsed.  -EPROTO with a reason, if one is not
 * possible or the lengths are not those of the payload.
 */
int fzc_wire_parse_tags(struct fzc_tag *tag, const struct fzc_wire_tag *wire,
			const struct fzc_frame *f, const struct fzc_geometry *geo,
			const u8 salt[FZC_SALT_BYTES], u8 cipher, char *why);

/*
 * Of the @n blocks that @tag begins with, how many are back to back in memory that has
 * room for whole blocks?  @bytes: theirs.
 */
u32 fzc_tag_span(const struct fzc_tag *tag, u32 n, u32 block_size, u32 *bytes);

#endif /* FZC_TAGS_H */
