// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"
#include "ondisk.h"

static char why[FZC_REASON_LEN];

TEST(ondisk_geometry)
{
	static const u32 bad_blocks[] = { 0, 512, 2048, 4095, 4097, 12288, 1 << 21, U32_MAX };
	struct fzc_geometry geo;

	for (u32 i = 0; i < ARRAY_SIZE(bad_blocks); i++)
		CHECK(fzc_geometry_init(&geo, 1000, bad_blocks[i], why) == -EINVAL);
	CHECK(fzc_geometry_init(&geo, 0, 4096, why) == -EINVAL);
	CHECK(!fzc_geometry_init(&geo, 1, 4096, why) && geo.blocks == 1 && geo.regions == 1);
	CHECK(!fzc_geometry_init(&geo, 8, 4096, why) && geo.blocks == 1);
	CHECK(!fzc_geometry_init(&geo, 9, 4096, why) && geo.blocks == 2);
	CHECK(!fzc_geometry_init(&geo, 2049, 1 << 20, why) && geo.blocks == 2);
	CHECK(!fzc_geometry_init(&geo, FZC_MAX_BLOCKS * 8, 4096, why));
	CHECK(fzc_geometry_init(&geo, FZC_MAX_BLOCKS * 8 + 1, 4096, why) == -EINVAL);
	CHECK(fzc_geometry_init(&geo, 1ULL << 63, 1 << 20, why) == -EINVAL);
	for (u64 sectors = 1; sectors < 1ULL << 44; sectors = sectors * 3 + test_below(3)) {
		if (fzc_geometry_init(&geo, sectors, 4096U << test_below(9), why))
			continue;
		CHECK(geo.blocks << geo.block_shift >= sectors * FZC_SECTOR);
		CHECK((geo.blocks - 1) << geo.block_shift < sectors * FZC_SECTOR);
		CHECK((u64)geo.regions << geo.region_shift >= geo.blocks);
		CHECK((u64)(geo.regions - 1) << geo.region_shift < geo.blocks);
		CHECK(geo.regions <= FZC_MAP_BITS);
		CHECK(geo.map_pages * FZC_MAP_BITS >= geo.blocks);
		CHECK((geo.map_pages - 1) * FZC_MAP_BITS < geo.blocks);
		/* what a crash adds to `changed`: 1 %, or 4 blocks of a small volume */
		CHECK(geo.max_open * 100 <= geo.regions ||
		      (!geo.region_shift && geo.max_open == 4));
	}
}

/* Every page of meta has one owner, and meta is just long enough. */
TEST(ondisk_areas_do_not_overlap)
{
	static const struct {
		enum fzc_area area;
		u8 copies;
	} areas[] = {
		{ FZC_AREA_CHANGED0, 2 }, { FZC_AREA_CHANGED1, 2 },
		{ FZC_AREA_UNSENT, 1 }, { FZC_AREA_FROZEN, 1 },
	};
	struct fzc_geometry geo;

	CHECK_OR_RETURN(!fzc_geometry_init(&geo, 5 * FZC_MAP_BITS * 8 - 7, 4096, why));
	CHECK(geo.map_pages == 5);
	u64 npages = fzc_meta_bytes(&geo) / FZC_PAGE;
	u8 *owned = test_alloc(npages);

	memset(owned, 1, FZC_OFF_MAPS / FZC_PAGE);
	for (u32 a = 0; a < ARRAY_SIZE(areas); a++)
		for (u32 page = 0; page < geo.map_pages; page++)
			for (u8 copy = 0; copy < areas[a].copies; copy++) {
				u64 at = fzc_area_offset(&geo, areas[a].area, page, copy);

				CHECK_OR_RETURN(at % FZC_PAGE == 0 && at / FZC_PAGE < npages);
				CHECK_OR_RETURN(!owned[at / FZC_PAGE]++);
			}
	CHECK(!memchr(owned, 0, npages));
}

TEST(ondisk_slots_fit)
{
	for (u32 i = 0; i < 20000; i++) {
		bool tagged = test_below(2);
		u32 block = 4096U << test_below(9);
		u64 bytes = test_below(1ULL << (10 + test_below(35))) & ~511ULL;
		u32 n = fzc_slots_fit(bytes, block, tagged);
		u64 end = fzc_slots_start(n, block, tagged) + (u64)n * block;

		CHECK_OR_RETURN(!n || end <= bytes);
		CHECK_OR_RETURN(fzc_slots_start(n, block, tagged) % block == 0);
		CHECK_OR_RETURN(fzc_slots_start(n, block, tagged) >=
				fzc_index_offset(FZC_DIV_ROUND_UP((u64)n, FZC_INDEX_ENTRIES), 0));
		end = fzc_slots_start(n + 1, block, tagged) + (n + 1ULL) * block;
		CHECK_OR_RETURN(end > bytes);
	}
	CHECK(fzc_slots_fit(U64_MAX, 4096, false) == FZC_MAX_SLOTS);
	CHECK(fzc_slots_fit(U64_MAX, 4096, true) == FZC_MAX_SLOTS);
}

/* Tags follow the index, 64 a page, and end before the first slot. */
TEST(ondisk_tags)
{
	for (u32 i = 0; i < 2000; i++) {
		u32 n = 1 + test_below(1 << test_below(24));
		u64 index = fzc_index_offset(FZC_DIV_ROUND_UP(n, FZC_INDEX_ENTRIES), 0);

		CHECK_OR_RETURN(fzc_tag_page_offset(n, 0) == index);
		CHECK_OR_RETURN(fzc_tag_page_offset(n, 63) == index);
		CHECK_OR_RETURN(fzc_tag_page_offset(n, 64) == index + FZC_PAGE);
		CHECK_OR_RETURN(fzc_tag_page_offset(n, n - 1) + FZC_PAGE ==
				fzc_slots_start(n, FZC_PAGE, true));
		CHECK_OR_RETURN(index == fzc_slots_start(n, FZC_PAGE, false));
	}
}

static void some_page(struct fzc_page *page)
{
	test_fill(page, sizeof(*page));
	fzc_page_seal(page, FZC_PAGE_BITMAP, 11, 22, 33, 44);
}

TEST(ondisk_page_verdicts)
{
	struct fzc_page page;

	memset(&page, 0, sizeof(page));
	CHECK(fzc_page_check(&page, FZC_PAGE_BITMAP, why) == FZC_PAGE_EMPTY);
	test_fill(&page, sizeof(page));
	CHECK(fzc_page_check(&page, FZC_PAGE_BITMAP, why) == FZC_PAGE_FOREIGN);
	some_page(&page);
	CHECK(fzc_page_check(&page, FZC_PAGE_BITMAP, why) == FZC_PAGE_OK);
	CHECK(fzc_page_check(&page, FZC_PAGE_SUPER, why) == FZC_PAGE_FOREIGN);
	page.body[FZC_BODY - 1] ^= 1;
	CHECK(fzc_page_check(&page, FZC_PAGE_BITMAP, why) == FZC_PAGE_DAMAGED_CRC);
	some_page(&page);
	page.head.version = cpu_to_le16(FZC_DISK_VERSION + 1);
	CHECK(fzc_page_check(&page, FZC_PAGE_BITMAP, why) == FZC_PAGE_NEWER);
	some_page(&page);
	page.head.features = cpu_to_le32(1U << 31);
	CHECK(fzc_page_check(&page, FZC_PAGE_BITMAP, why) == FZC_PAGE_NEWER);
}

TEST(ondisk_page_is)
{
	struct fzc_page page;

	some_page(&page);
	CHECK(fzc_page_is(&page, FZC_PAGE_BITMAP, 11, 33, 44));
	CHECK(!fzc_page_is(&page, FZC_PAGE_INDEX, 11, 33, 44));
	CHECK(!fzc_page_is(&page, FZC_PAGE_BITMAP, 12, 33, 44));
	CHECK(!fzc_page_is(&page, FZC_PAGE_BITMAP, 11, 34, 44));
	CHECK(!fzc_page_is(&page, FZC_PAGE_BITMAP, 11, 33, 45));
	for (u32 byte = 0; byte < FZC_PAGE; byte++) {
		((u8 *)&page)[byte] ^= 1 << byte % 8;
		CHECK_OR_RETURN(!fzc_page_is(&page, FZC_PAGE_BITMAP, 11, 33, 44));
		((u8 *)&page)[byte] ^= 1 << byte % 8;
	}
}

static int pick(u64 seq_a, u64 seq_b, int spoil)
{
	struct fzc_page a, b;

	test_fill(&a, sizeof(a));
	test_fill(&b, sizeof(b));
	fzc_page_seal(&a, FZC_PAGE_INDEX, 1, seq_a, 2, 3);
	fzc_page_seal(&b, FZC_PAGE_INDEX, 1, seq_b, 2, 3);
	if (spoil & 1)
		a.body[100] ^= 4;
	if (spoil & 2)
		b.body[100] ^= 4;
	return fzc_page_pick(&a, &b, FZC_PAGE_INDEX, 1, 2, 3);
}

TEST(ondisk_page_pick)
{
	CHECK(pick(5, 6, 0) == 1 && pick(6, 5, 0) == 0);
	CHECK(pick(5, 6, 2) == 0 && pick(6, 5, 1) == 1);
	CHECK(pick(5, 6, 1) == 1 && pick(6, 5, 2) == 0);
	CHECK(pick(5, 6, 3) == -1);
	CHECK(pick(U64_MAX - 1, U64_MAX, 0) == 1);
}

static struct fzc_super some_super(void)
{
	struct fzc_super sb;

	test_fill(&sb, sizeof(sb));
	sb.role = 1 + test_below(2);
	sb.flags &= FZC_SB_FLAGS;
	sb.cur = test_below(2);
	sb.stage_cur = test_below(2);
	sb.last_number = FZC_MAX_NUMBER - test_below(1000);
	sb.image.number &= FZC_MAX_NUMBER / 2;
	sb.freeze.number &= FZC_MAX_NUMBER;
	sb.building &= FZC_MAX_NUMBER;
	sb.next_gen &= FZC_MAX_NUMBER;
	sb.seq &= FZC_MAX_NUMBER;
	sb.image.label[FZC_NAME_LEN - 1] = 0;
	sb.freeze.label[FZC_NAME_LEN - 1] = 0;
	for (u32 i = 0; i < FZC_NR_DEVS; i++)
		sb.device[i].id[FZC_DEVICE_ID_LEN - 1] = 0;
	return sb;
}

/* Two encodings are equal if and only if all fields are: each field has a place of its own. */
TEST(ondisk_super_round_trip)
{
	struct fzc_page page, again;
	struct fzc_super in, out;

	for (u32 i = 0; i < 200; i++) {
		in = some_super();
		fzc_super_encode(&in, &page);
		CHECK_OR_RETURN(fzc_page_check(&page, FZC_PAGE_SUPER, why) == FZC_PAGE_OK);
		CHECK_OR_RETURN(!fzc_super_decode(&out, &page, why));
		fzc_super_encode(&out, &again);
		CHECK_OR_RETURN(!memcmp(&page, &again, sizeof(page)));
		CHECK_OR_RETURN(in.role == out.role && in.flags == out.flags &&
				in.format == out.format && in.seq == out.seq &&
				in.sectors == out.sectors && in.block_size == out.block_size &&
				in.regions == out.regions && in.last_number == out.last_number &&
				in.next_gen == out.next_gen && in.cur == out.cur &&
				in.stage_cur == out.stage_cur &&
				in.unsent_tag == out.unsent_tag && in.building == out.building &&
				in.told == out.told && in.image.number == out.image.number &&
				in.freeze.number == out.freeze.number &&
				in.image.time == out.image.time);
		CHECK_OR_RETURN(!memcmp(in.gen, out.gen, sizeof(in.gen)) &&
				!memcmp(in.log, out.log, sizeof(in.log)) &&
				!memcmp(in.data_hash, out.data_hash, sizeof(in.data_hash)) &&
				!memcmp(in.device, out.device, sizeof(in.device)) &&
				!memcmp(in.image.label, out.image.label, FZC_NAME_LEN) &&
				fzc_id_equal(&in.freeze.id, &out.freeze.id) &&
				fzc_id_equal(&in.pair, &out.pair) &&
				fzc_id_equal(&in.stage, &out.stage) &&
				fzc_id_equal(&in.session, &out.session) &&
				fzc_id_equal(&in.pending, &out.pending));
	}
}

static int decode(const struct fzc_super *sb)
{
	struct fzc_page page;
	struct fzc_super out;

	fzc_super_encode(sb, &page);
	return fzc_super_decode(&out, &page, why);
}

TEST(ondisk_super_refused)
{
	struct fzc_super sb = some_super();

	sb.role = 0;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "role"));
	sb.role = 3;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "role"));
	sb = some_super();
	sb.flags |= 2 * FZC_SB_TAINTED;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "flags"));
	sb = some_super();
	sb.cur = 2;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "area"));
	sb = some_super();
	sb.role = FZC_PRIMARY;
	sb.last_number = sb.image.number - 1;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "image"));
	sb = some_super();
	sb.next_gen = FZC_MAX_NUMBER + 1;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "generation is 9223372036854775808"));
	sb = some_super();
	sb.building = U64_MAX;
	CHECK(decode(&sb) == -EINVAL && strstr(why, "generation is 18446744073709551615"));
}
