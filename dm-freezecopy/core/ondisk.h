/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is on the meta device and at the head of the difference volumes.
 * Documentation/on-disk-format.rst describes the same for people.
 *
 * Everything is in pages of 4 KiB, little-endian, each with a header that
 * names and checksums it.  A page that is rewritten while it counts has two
 * copies, written in turn; the valid one with the higher sequence counts, so
 * that a torn write loses nothing.
 *
 * meta:
 *	page 0, 1	superblock
 *	page 2, 3	regions: one bit each, set before the first write to it
 *	page 4, 5	progress (secondary): frames durable in the last session
 *	page 6, 7	damaged blocks (secondary)
 *	then		changed area 0, area 1 (each page twice), unsent, frozen
 *			(each page once: they count only after a clean stop)
 * diff, A, B:
 *	page 0		whose it is
 *	pages 2..	the index, each page twice
 *	then		on A and B, if blocks are encrypted there: a tag for each slot
 *	then		the slots, aligned to the block size
 */
#ifndef FZC_ONDISK_H
#define FZC_ONDISK_H

#include "types.h"

#define FZC_DISK_MAGIC		0x315a4346U	/* "FCZ1" */
#define FZC_DISK_VERSION	1
/* Features that a reader must know, or refuse. */
#define FZC_DISK_SIGNED		BIT(0)	/* @mac is a keyed checksum: see volkey.h */
#define FZC_DISK_FEATURES	((u32)FZC_DISK_SIGNED)

enum fzc_disk_role { FZC_PRIMARY = 1, FZC_SECONDARY = 2 };

enum fzc_page_kind {
	FZC_PAGE_SUPER = 1, FZC_PAGE_REGIONS = 2, FZC_PAGE_PROGRESS = 3, FZC_PAGE_DAMAGED = 4,
	FZC_PAGE_BITMAP = 5, FZC_PAGE_DIFF = 6, FZC_PAGE_INDEX = 7,
};

struct fzc_page_head {
	__le32 magic;
	__le32 crc;		/* crc32c of the page, this field taken as zero */
	__le16 version;
	__le16 kind;		/* enum fzc_page_kind */
	__le32 features;
	__le64 format;		/* drawn when the device was formatted */
	__le64 seq;		/* of two copies, the higher counts */
	__le64 tag;		/* the generation or log that the page belongs to */
	__le32 index;		/* page number within its array */
	__le32 reserved;
	u8 mac[16];		/* keyed checksum, if FZC_DISK_SIGNED; else zero */
};

#define FZC_BODY	(FZC_PAGE - sizeof(struct fzc_page_head))

struct fzc_disk_image {
	__le64 number;
	__le64 time;
	u8 id[16];
	char label[FZC_NAME_LEN];
};

/* Flags of a superblock */
#define FZC_SB_CLEAN		BIT(0)	/* stopped in order, nothing to replay */
#define FZC_SB_FIRST_COPY	BIT(1)	/* no image was ever committed */
#define FZC_SB_CHANGED_ALL	BIT(2)	/* no bitmap yet: all blocks count as changed */
#define FZC_SB_NEW_STAGE	BIT(3)	/* primary: what the secondary staged is void */
#define FZC_SB_FREEZE		BIT(4)	/* a freeze is recorded */
#define FZC_SB_FOLDING		BIT(5)	/* primary: the other area is being folded in */
#define FZC_SB_BLANK		BIT(6)	/* secondary: belongs to no pair yet */
#define FZC_SB_MERGING		BIT(7)	/* secondary: the other stage is being merged */
#define FZC_SB_RECOVERED	BIT(8)	/* secondary: recovered, writable when merged */
#define FZC_SB_COPIED		BIT(9)	/* primary: the first copy went over all blocks */
#define FZC_SB_FORMATTING	BIT(10)	/* the rest of the metadata is not written yet */
#define FZC_SB_ENCRYPTED	BIT(11)	/* blocks are encrypted in the stages */
#define FZC_SB_TAINTED		BIT(12)	/* primary: a flush failed, nobody knows what is lost */

#define FZC_SB_FLAGS		(2 * FZC_SB_TAINTED - 1)	/* all of them */

#define FZC_DEVICE_ID_LEN	64

struct fzc_disk_device {
	char id[FZC_DEVICE_ID_LEN];	/* WWN, dm uuid or PARTUUID; empty: unknown */
	__le64 sectors;
};

/* A volume's keys, encrypted with a key derived from the shared one; all zero: none. */
struct fzc_wrapped_keys {
	u8 key[FZC_KEY_ID];	/* id of the shared key */
	u8 nonce[12];
	u8 cipher;		/* enum fzc_cipher */
	u8 reserved[3];
	u8 keys[2 * FZC_KEY_BYTES];
	u8 tag[16];
};

struct fzc_super_body {
	__le32 role;
	__le32 flags;
	u8 pair[16];
	__le64 sectors;
	__le32 block_size;
	__le32 regions;
	struct fzc_disk_image image;	/* the committed one */
	struct fzc_disk_image freeze;	/* the recorded one */
	__le64 last_number;	/* last image number given out */
	__le64 next_gen;	/* next generation or log tag to give out */
	__le64 gen[2];		/* generation in each changed area, 0: empty */
	__le32 cur;		/* area of the current generation */
	__le32 stage_cur;	/* secondary: current stage, 0: A, 1: B */
	__le64 log[2];		/* tag of the index of diff, or of A and B; 0: empty */
	__le64 unsent_tag;	/* of the unsent and frozen areas, when clean */
	__le64 building;	/* secondary: image number that the current stage builds */
	u8 stage[16];
	u8 session[16];
	u8 pending[16];		/* primary: session id not yet known to be on the secondary */
	__le64 told;		/* primary: frames it was told are durable in @session */
	u8 data_hash[32];	/* of the first and the last MiB of data, when clean */
	struct fzc_disk_device device[FZC_NR_DEVS];
	struct fzc_wrapped_keys wrapped;
};

struct fzc_progress_body {
	u8 session[16];
	__le64 frames;
};

#define FZC_MAX_DAMAGED	480U
struct fzc_damaged_body {
	__le32 n;
	__le32 pad;
	__le64 block[FZC_MAX_DAMAGED];
};

struct fzc_diff_body {
	u8 pair[16];
	__le32 role;
	__le32 which;		/* enum fzc_dev_role */
	__le64 sectors;
	__le32 block_size;
	__le32 slots;
	__le32 flags;
};

#define FZC_DIFF_TAGGED	BIT(0)	/* there is a tag for each slot */

#define FZC_ENTRY_USED	BIT(0)
#define FZC_ENTRY_ZERO	BIT(1)

struct fzc_index_entry {
	__le64 block;
	__le32 flags;
	__le32 crc;		/* crc32c of the content; secondary only */
	u8 reserved[16];
};

#define FZC_INDEX_ENTRIES	126U

struct fzc_index_body {
	struct fzc_index_entry entry[FZC_INDEX_ENTRIES];
};

/*
 * What it takes, beside the stage's key, to decrypt the block in a slot.  A page has
 * nothing else: no header, and one copy, since a page that tears keeps the tags of all
 * slots that were not being written, and what those hold is sent again.
 */
struct fzc_tag {
	u8 tag[FZC_TAG_BYTES];
	u8 salt[FZC_SALT_BYTES];	/* of the connection that it came over */
	__le64 frame;			/* on that connection */
	__le32 index;			/* of the block in the frame */
	__le32 length;			/* of the ciphertext; zeroes follow it in the slot */
	u8 cipher;			/* enum fzc_cipher */
	u8 packed;			/* compressed before: FZC_WIRE_LZ4, FZC_WIRE_ZSTD; 0: not */
	u8 reserved[14];
};

#define FZC_TAGS_PER_PAGE	(FZC_PAGE / (u32)sizeof(struct fzc_tag))

struct fzc_page {
	struct fzc_page_head head;
	union {
		u8 body[FZC_BODY];
		struct fzc_super_body super;
		struct fzc_progress_body progress;
		struct fzc_damaged_body damaged;
		struct fzc_diff_body diff;
		struct fzc_index_body index;
	};
};

/* A superblock in the core's own form. */
struct fzc_super {
	u8 role;
	u32 flags;
	u64 format;
	u64 seq;
	struct fzc_id pair;
	u64 sectors;
	u32 block_size;
	u32 regions;
	struct fzc_img image;
	struct fzc_img freeze;
	u64 last_number;
	u64 next_gen;
	u64 gen[2];
	u8 cur;
	u8 stage_cur;
	u64 log[2];
	u64 unsent_tag;
	u64 building;
	struct fzc_id stage;
	struct fzc_id session;
	struct fzc_id pending;
	u64 told;
	u8 data_hash[32];
	struct {
		char id[FZC_DEVICE_ID_LEN];
		u64 sectors;
	} device[FZC_NR_DEVS];
	struct fzc_volume_keys keys;	/* in memory only; on disk they are wrapped */
};

/* Bits of one bitmap page. */
#define FZC_MAP_BITS	(FZC_BODY * 8ULL)

/* Where things are, in bytes. */
#define FZC_OFF_SUPER		0ULL
#define FZC_OFF_REGIONS		(2ULL * FZC_PAGE)
#define FZC_OFF_PROGRESS	(4ULL * FZC_PAGE)
#define FZC_OFF_DAMAGED		(6ULL * FZC_PAGE)
#define FZC_OFF_MAPS		(8ULL * FZC_PAGE)
#define FZC_OFF_INDEX		(2ULL * FZC_PAGE)

enum fzc_area { FZC_AREA_CHANGED0, FZC_AREA_CHANGED1, FZC_AREA_UNSENT, FZC_AREA_FROZEN };

u64 fzc_area_offset(const struct fzc_geometry *geo, enum fzc_area area, u32 page, u8 copy);
static inline u64 fzc_index_offset(u32 page, u8 copy)
{
	return FZC_OFF_INDEX + (2ULL * page + copy) * FZC_PAGE;
}

/* Of the page with a slot's tag, on a difference volume of @nslots slots that has tags. */
u64 fzc_tag_page_offset(u32 nslots, u32 slot);
/* First byte of the slots on a difference volume of @nslots slots; @tagged: with tags. */
u64 fzc_slots_start(u32 nslots, u32 block_size, bool tagged);
static inline u64 fzc_slot_offset(const struct fzc_geometry *geo, u32 nslots, u32 slot)
{
	return fzc_slots_start(nslots, geo->block_size, geo->tagged) +
	       ((u64)slot << geo->block_shift);
}

/* How many slots fit on a difference volume of @bytes. */
u32 fzc_slots_fit(u64 bytes, u32 block_size, bool tagged);

/* Fill in all but the slots; -EINVAL with a reason if the sizes are not possible. */
int fzc_geometry_init(struct fzc_geometry *geo, u64 sectors, u32 block_size, char *why);
/* Bytes that meta must have. */
u64 fzc_meta_bytes(const struct fzc_geometry *geo);

/* Complete a page whose body is filled in. */
void fzc_page_seal(struct fzc_page *page, enum fzc_page_kind kind, u64 format, u64 seq, u64 tag,
		   u32 index);

/* Its checksum, when the rest of it is final. */
void fzc_page_sum(struct fzc_page *page);
/* Is it ours, of this version, and as it was written?  Whatever kind it is. */
bool fzc_page_sound(const struct fzc_page *page);

enum fzc_page_verdict {
	FZC_PAGE_OK,
	FZC_PAGE_EMPTY,		/* all zero */
	FZC_PAGE_FOREIGN,	/* some other content */
	FZC_PAGE_DAMAGED_CRC,	/* ours, but the checksum does not match */
	FZC_PAGE_NEWER,		/* ours, of a version or with features not known here */
};

enum fzc_page_verdict fzc_page_check(const struct fzc_page *page, enum fzc_page_kind kind,
				     char *why);
/* Is @page a sound page of this kind, format, tag and index? */
bool fzc_page_is(const struct fzc_page *page, enum fzc_page_kind kind, u64 format, u64 tag,
		 u32 index);
/* Which of two copies counts: 0, 1, or -1 for none.  Same conditions as fzc_page_is(). */
int fzc_page_pick(const struct fzc_page *a, const struct fzc_page *b, enum fzc_page_kind kind,
		  u64 format, u64 tag, u32 index);

void fzc_super_encode(const struct fzc_super *sb, struct fzc_page *page);
/* @page passed fzc_page_check(); -EINVAL with a reason if a field is impossible. */
int fzc_super_decode(struct fzc_super *sb, const struct fzc_page *page, char *why);

#endif /* FZC_ONDISK_H */
