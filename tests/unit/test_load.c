// SPDX-License-Identifier: GPL-2.0-only
/* Metadata that does not fit the table is refused, in words that name both. */
#include "test.h"
#include "load.h"

static struct fzc_geometry geo;
static struct fzc_opts opts;
static struct fzc_super sb;
static struct fzc_page copy[2];
static char why[FZC_REASON_LEN];

static void sound(u8 role)
{
	u32 i;

	memset(&opts, 0, sizeof(opts));
	memset(&sb, 0, sizeof(sb));
	CHECK(!fzc_geometry_init(&geo, 8000, 4096, why));
	geo.slots[0] = 10;
	opts.pair = test_id();
	for (i = 0; i < FZC_NR_DEVS; i++) {
		snprintf(opts.device[i].id, FZC_DEVICE_ID_LEN, "device%u", i);
		opts.device[i].sectors = 1000 * (i + 1);
	}
	sb.role = role;
	sb.format = 77;
	sb.seq = 5;
	sb.pair = opts.pair;
	sb.sectors = geo.sectors;
	sb.block_size = geo.block_size;
	sb.regions = geo.regions;
	fzc_note_devices(&sb, &opts);
	memset(copy, 0, sizeof(copy));
}

/* The superblock as @sb is now. */
static int load(const char *word)
{
	struct fzc_super got;
	bool fresh;
	u8 which;
	int err;

	fzc_super_encode(&sb, &copy[1]);
	err = fzc_load_super(&got, &geo, &opts, FZC_PRIMARY, &copy[0], &copy[1], &which, &fresh,
			     why);
	if (err && !strstr(why, word)) {
		printf("'%s' does not hold '%s'\n", why, word);
		return 1;
	}
	return err;
}

TEST(load_superblock)
{
	sound(FZC_PRIMARY);
	CHECK(!load(""));
	sound(FZC_SECONDARY);
	CHECK(load("meta belongs to a secondary, the table says primary") == -EINVAL);
	sound(FZC_PRIMARY);
	sb.sectors++;
	CHECK(load("meta is for 8001 sectors, the table says 8000") == -EINVAL);
	sound(FZC_PRIMARY);
	sb.block_size = 8192;
	CHECK(load("meta has block 8192, the table says 4096") == -EINVAL);
	sound(FZC_PRIMARY);
	sb.regions++;
	CHECK(load("regions, expected") == -EINVAL);
	sound(FZC_PRIMARY);
	sb.pair = test_id();
	CHECK(load("meta is of pair") == -EINVAL);
}

TEST(load_devices)
{
	sound(FZC_PRIMARY);
	sb.device[FZC_DATA].sectors++;
	CHECK(load("data device has 2000 sectors, expected at least 2001") == -EINVAL);
	sound(FZC_PRIMARY);
	strcpy(opts.device[FZC_DIFF].id, "device1");
	CHECK(load("diff device is device1, expected device2") == -EINVAL);
}

TEST(load_damaged_superblock)
{
	struct fzc_super got;
	bool fresh;
	u8 which;

	sound(FZC_PRIMARY);
	fzc_super_encode(&sb, &copy[1]);
	copy[1].body[0] ^= 1;
	CHECK(fzc_load_super(&got, &geo, &opts, FZC_PRIMARY, &copy[0], &copy[1], &which, &fresh,
			     why) == -EINVAL && strstr(why, "superblock 1: checksum"));
	copy[0] = copy[1];
	CHECK(fzc_load_super(&got, &geo, &opts, FZC_PRIMARY, &copy[0], &copy[1], &which, &fresh,
			     why) == -EINVAL && strstr(why, "superblock 0: checksum"));
}

/* What the second sector of the first superblock would hold is not in it: it cannot tear. */
TEST(load_first_superblock_is_one_sector)
{
	struct fzc_act act;
	const u8 *p = (const u8 *)copy;
	u32 i;

	sound(FZC_PRIMARY);
	CHECK(fzc_format_page(&sb, &geo, 0, copy, &act));
	for (i = FZC_SECTOR; i < FZC_PAGE; i++)
		CHECK_OR_RETURN(!p[i]);
}

TEST(load_first_page_of_diff)
{
	struct fzc_act act;

	sound(FZC_PRIMARY);
	CHECK(fzc_format_page(&sb, &geo, 2, copy, &act) && act.dev == FZC_DIFF);
	CHECK(!fzc_load_diff(&sb, &geo, copy, FZC_DIFF, false, why));
	CHECK(fzc_load_diff(&sb, &geo, copy, FZC_DIFF_B, false, why) == -EINVAL &&
	      strstr(why, "belongs to another volume"));
	geo.tagged = true;
	CHECK(fzc_load_diff(&sb, &geo, copy, FZC_DIFF, false, why) == -EINVAL &&
	      strstr(why, "flags 0") && strstr(why, ", expected 0x1"));	/* 0 or 0x0 */
	geo.tagged = false;
	geo.slots[0]++;
	CHECK(fzc_load_diff(&sb, &geo, copy, FZC_DIFF, false, why) == -EINVAL &&
	      strstr(why, "formatted with 10 slots, its size now gives 11"));
}
