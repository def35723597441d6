// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata and peers of another version, or with features that are not known
 * here, are refused, and the reason names field, value and what was expected.
 */
#include "test.h"
#include "load.h"
#include "wire.h"

static char why[FZC_REASON_LEN];
static struct fzc_geometry geo;
static struct fzc_opts opts;
static struct fzc_page copy[2];

static bool says(const char *field, const char *value, const char *expected)
{
	bool good = strstr(why, field) && strstr(why, value) && strstr(why, expected);

	if (!good)
		printf("said: %s\n", why);
	return good;
}

static void make_supers(void)
{
	struct fzc_super sb;

	fzc_geometry_init(&geo, 100000, 4096, why);
	memset(&opts, 0, sizeof(opts));
	memset(&sb, 0, sizeof(sb));
	sb.role = FZC_PRIMARY;
	sb.format = 77;
	sb.sectors = geo.sectors;
	sb.block_size = geo.block_size;
	sb.regions = geo.regions;
	for (u64 i = 0; i < 2; i++) {
		sb.seq = 5 + i;
		fzc_super_encode(&sb, &copy[i]);
	}
}

static int load(void)
{
	struct fzc_super sb;
	bool fresh;
	u8 which;

	why[0] = 0;
	return fzc_load_super(&sb, &geo, &opts, FZC_PRIMARY, &copy[0], &copy[1], &which, &fresh,
			      why);
}

/* As another version writes it: all but this field is in order, the checksum too. */
static void reseal(struct fzc_page *page, u16 version, u32 features)
{
	page->head.version = cpu_to_le16(version);
	page->head.features = cpu_to_le32(features);
	page->head.crc = 0;
	page->head.crc = cpu_to_le32(~fzc_crc32c(~0U, page, FZC_PAGE));
}

TEST(versions_metadata_as_it_is)
{
	make_supers();
	CHECK(!load());
	/* that a sound checksum is not what is missed below */
	reseal(&copy[1], FZC_DISK_VERSION, FZC_DISK_FEATURES);
	CHECK(!load());
}

/* Whichever of the copies it is: it may be the newer one. */
TEST(versions_superblock)
{
	for (u32 i = 0; i < 2; i++) {
		make_supers();
		reseal(&copy[i], 0, 0);
		CHECK(load() == -EINVAL && says("meta: superblock", "version 0", "version 1"));
		make_supers();
		reseal(&copy[i], 2, 0);
		CHECK(load() == -EINVAL && says("meta: superblock", "version 2", "version 1"));
		make_supers();
		reseal(&copy[i], 1, 0x40);
		CHECK(load() == -EINVAL &&
		      says("meta: superblock", "features 0x40", "no features but"));
	}
}

/* Of a superblock that says nothing of a feature, but uses a flag of it. */
TEST(versions_superblock_flag)
{
	make_supers();
	copy[1].super.flags |= cpu_to_le32(0x2000);
	reseal(&copy[1], FZC_DISK_VERSION, 0);
	CHECK(load() == -EINVAL && says("superblock: flags", "0x2000", "none but 0x1fff"));
}

TEST(versions_difference_volume)
{
	struct fzc_super sb = { .role = FZC_PRIMARY, .format = 77 };
	struct fzc_page page;

	make_supers();
	geo.slots[0] = 100;
	memset(&page, 0, sizeof(page));
	page.diff.which = cpu_to_le32(FZC_DIFF);
	page.diff.slots = cpu_to_le32(100);
	fzc_page_seal(&page, FZC_PAGE_DIFF, 77, 1, 0, 0);
	CHECK(!fzc_load_diff(&sb, &geo, &page, FZC_DIFF, false, why));
	reseal(&page, 2, 0);
	/* nor is it formatted anew: it is somebody's */
	CHECK(fzc_load_diff(&sb, &geo, &page, FZC_DIFF, true, why) == -EINVAL &&
	      says("diff: first page", "version 2", "version 1"));
	reseal(&page, 1, 2);
	CHECK(fzc_load_diff(&sb, &geo, &page, FZC_DIFF, false, why) == -EINVAL &&
	      says("diff: first page", "features 0x2", "no features but"));
}

static int hello(u16 version, u32 features)
{
	__le64 buf[(FZC_WIRE_HEAD + FZC_MAX_CTL) / 8];
	struct fzc_msg msg = { .type = FZC_MSG_HELLO };
	struct fzc_wire_head *h = (void *)buf;
	struct fzc_frame f;

	msg.hello.role = FZC_SECONDARY;
	msg.hello.sectors = 1000;
	msg.hello.block_size = 4096;
	fzc_wire_put_msg(buf, &msg);
	h->version = cpu_to_le16(version);
	h->features = cpu_to_le32(features);
	h->head_crc = cpu_to_le32(fzc_wire_crc(h, offsetof(struct fzc_wire_head, head_crc)));
	why[0] = 0;
	return fzc_wire_parse_head(&f, buf, NULL, why) ?:
	       fzc_wire_parse_msg(&msg, &f, (u8 *)buf + FZC_WIRE_HEAD, why);
}

TEST(versions_peer)
{
	CHECK(!hello(1, 0));
	CHECK(hello(0, 0) == -EPROTO && says("version", " 0,", "expected 1"));
	CHECK(hello(2, 0) == -EPROTO && says("version", " 2,", "expected 1"));
	CHECK(hello(1, 1) == -EPROTO && says("features", " 1,", "expected 0"));
	CHECK(hello(1, 1U << 31) == -EPROTO && says("features", " 2147483648,", "expected 0"));
}

/* The head of another version may be laid out and summed up in another way. */
TEST(versions_come_before_checksums)
{
	struct fzc_wire_head h = {
		.magic = cpu_to_le32(FZC_WIRE_MAGIC), .version = cpu_to_le16(9),
	};
	struct fzc_frame f;

	CHECK(fzc_wire_parse_head(&f, &h, NULL, why) == -EPROTO &&
	      says("version", " 9,", "run the same version on both sides"));
	make_supers();
	copy[0].head.version = cpu_to_le16(9);
	CHECK(load() == -EINVAL && says("superblock 0", "version 9", "version 1"));
}
