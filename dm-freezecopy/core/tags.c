// SPDX-License-Identifier: GPL-2.0-only
#include "tags.h"

static __le64 epoch(const struct fzc_tag *tag)
{
	return cpu_to_le64(le64_to_cpu(tag->frame) / FZC_TAG_EPOCH);
}

int fzc_tag_key(const struct fzc_hmac *hmac, const u8 stage_key[FZC_KEY_BYTES],
		const struct fzc_tag *tag, u8 key[FZC_KEY_BYTES])
{
	u8 context[FZC_SALT_BYTES + 9];
	__le64 n = epoch(tag);

	memcpy(context, tag->salt, FZC_SALT_BYTES);
	memcpy(context + FZC_SALT_BYTES, &n, 8);
	context[FZC_SALT_BYTES + 8] = tag->cipher;
	return fzc_expand(hmac, stage_key, "block key", context, sizeof(context), key);
}

bool fzc_tag_same_key(const struct fzc_tag *a, const struct fzc_tag *b)
{
	return a->cipher == b->cipher && epoch(a) == epoch(b) &&
	       !memcmp(a->salt, b->salt, FZC_SALT_BYTES);
}

void fzc_tag_nonce(const struct fzc_tag *tag, u8 nonce[FZC_NONCE_BYTES])
{
	memcpy(nonce, &tag->index, 4);
	memcpy(nonce + 4, &tag->frame, 8);
}

void fzc_tag_ad(const struct fzc_tag *tag, u64 block, u8 ad[FZC_TAG_AD])
{
	__le64 number = cpu_to_le64(block);

	memset(ad, 0, FZC_TAG_AD);
	memcpy(ad, &number, 8);
	memcpy(ad + 8, &tag->length, 4);
	ad[12] = tag->packed;
}

static bool possible(u32 length, u8 packed, u32 bytes)
{
	if (packed)
		return (packed == FZC_WIRE_LZ4 || packed == FZC_WIRE_ZSTD) && length &&
		       length < bytes;
	return length == bytes;
}

bool fzc_tag_possible(const struct fzc_tag *tag, u32 bytes)
{
	return fzc_cipher_known(tag->cipher) &&
	       possible(le32_to_cpu(tag->length), tag->packed, bytes);
}

void fzc_tag_init(struct fzc_tag *tag, const u8 salt[FZC_SALT_BYTES], u8 cipher, u64 frame,
		  u32 index, u32 length, u8 packed)
{
	memset(tag, 0, sizeof(*tag));
	memcpy(tag->salt, salt, FZC_SALT_BYTES);
	tag->cipher = cipher;
	tag->frame = cpu_to_le64(frame);
	tag->index = cpu_to_le32(index);
	tag->length = cpu_to_le32(length);
	tag->packed = packed;
}

void fzc_wire_put_tag(struct fzc_wire_tag *wire, const struct fzc_tag *tag)
{
	memset(wire, 0, sizeof(*wire));
	memcpy(wire->tag, tag->tag, FZC_TAG_BYTES);
	wire->length = tag->length;
	wire->packed = tag->packed;
}

int fzc_wire_parse_tags(struct fzc_tag *tag, const struct fzc_wire_tag *wire,
			const struct fzc_frame *f, const struct fzc_geometry *geo,
			const u8 salt[FZC_SALT_BYTES], u8 cipher, char *why)
{
	u32 left = f->length, i;

	BUILD_BUG_ON(sizeof(struct fzc_wire_tag) != 24);
	for (i = 0; i < f->n; i++, wire++) {
		u32 length = le32_to_cpu(wire->length);
		u32 bytes = fzc_wire_data_length(geo, f->first + i, 1, 0);

		if (!possible(length, wire->packed, bytes) || length > left ||
		    wire->reserved[0] || wire->reserved[1] || wire->reserved[2]) {
			scnprintf(why, FZC_REASON_LEN,
				  "frame: tag of block %llu: %u bytes, packed %u, reserved %u; expected %u bytes and 0, or less, packed %u or %u, of a payload with %u left; reserved 0",
				  (unsigned long long)f->first + i, length, wire->packed,
				  wire->reserved[0] | wire->reserved[1] | wire->reserved[2],
				  bytes, FZC_WIRE_LZ4, FZC_WIRE_ZSTD, left);
			return -EPROTO;
		}
		fzc_tag_init(&tag[i], salt, cipher, f->frame, i, length, wire->packed);
		memcpy(tag[i].tag, wire->tag, FZC_TAG_BYTES);
		left -= length;
	}
	if (!left)
		return 0;
	scnprintf(why, FZC_REASON_LEN,
		  "frame: its blocks have %u bytes, expected %u, the length of the payload",
		  f->length - left, f->length);
	return -EPROTO;
}

u32 fzc_tag_span(const struct fzc_tag *tag, u32 n, u32 block_size, u32 *bytes)
{
	u32 span = 0, length;

	*bytes = 0;
	do {
		length = le32_to_cpu(tag[span++].length);
		*bytes += length;
	} while (span < n && length == block_size);
	return span;
}
