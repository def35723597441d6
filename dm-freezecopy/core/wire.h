/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames.  Documentation/wire-protocol.rst describes the same for people.
 *
 * A frame is a head of 64 bytes and a payload of @length bytes: for DATA the
 * content of the blocks, as it is, compressed or encrypted (nothing for a run of
 * zeroes), for the others the fixed structure of their type.  The head carries a
 * checksum of itself and one of the payload; blocks that are encrypted have tags
 * instead, which come between the head and the payload.  Little-endian.
 */
#ifndef FZC_WIRE_H
#define FZC_WIRE_H

#include "types.h"

#define FZC_WIRE_MAGIC		0x57435a46U	/* "FZCW" */
#define FZC_WIRE_VERSION	1
#define FZC_WIRE_FEATURES	0U
#define FZC_MAX_CTL		512U	/* payload of a control frame */

/* flags of a head */
#define FZC_WIRE_ZERO		0x1U	/* DATA: the blocks are zeroes, no payload */
#define FZC_WIRE_DIRECT		0x2U	/* DATA: first copy, straight to the volume */
#define FZC_WIRE_LZ4		0x4U	/* DATA: the payload is one LZ4 block */
#define FZC_WIRE_ZSTD		0x8U	/* DATA: the payload is zstd frames */
#define FZC_WIRE_ENCRYPTED	0x10U	/* DATA: each block by itself, see tags.h */
#define FZC_WIRE_COMPRESSED	(FZC_WIRE_LZ4 | FZC_WIRE_ZSTD)	/* one of them at most */

struct fzc_wire_head {
	__le32 magic;
	__le16 version;
	__le16 type;		/* enum fzc_msg_type */
	__le32 flags;
	__le32 length;		/* of the payload */
	__le64 frame;		/* DATA: number on this connection, from 1 */
	__le64 image;		/* DATA: target image */
	__le64 first;		/* DATA: first block */
	__le32 n;		/* DATA: blocks */
	__le32 payload_crc;
	__le32 features;
	__le32 reserved[2];
	__le32 head_crc;	/* of the 60 bytes before */
};

/* A head in the core's own form. */
struct fzc_frame {
	u8 type;
	u32 flags;
	u32 length;
	u64 frame;
	u64 image;
	u64 first;
	u32 n;
	u32 payload_crc;
};

#define FZC_WIRE_HEAD	64U

/*
 * Take a head apart and check it against what can be: -EPROTO with a reason.
 * @geo: what DATA frames are checked against (NULL: none are expected).
 */
int fzc_wire_parse_head(struct fzc_frame *f, const void *head, const struct fzc_geometry *geo,
			char *why);
void fzc_wire_put_head(void *head, const struct fzc_frame *f);
/*
 * Bytes that a DATA frame's payload has, before it is compressed: the last block of a
 * volume may be short.
 */
u32 fzc_wire_data_length(const struct fzc_geometry *geo, u64 first, u32 n, u32 flags);

/* Control frames: head and payload into @buf (FZC_WIRE_HEAD + FZC_MAX_CTL); returns the length. */
u32 fzc_wire_put_msg(void *buf, const struct fzc_msg *msg);
/* The payload of a control frame whose head was parsed. */
int fzc_wire_parse_msg(struct fzc_msg *msg, const struct fzc_frame *f, const void *payload,
		       char *why);

static inline u32 fzc_wire_crc(const void *data, u32 len)
{
	return ~fzc_crc32c(~0U, data, len);
}

#endif /* FZC_WIRE_H */
