// SPDX-License-Identifier: GPL-2.0-only
/* Blocks that stay encrypted in a stage: keys, nonces, and tags on the wire. */
#include "test.h"
#include "tags.h"

static char why[FZC_REASON_LEN];

static struct fzc_tag some_tag(u64 frame, u32 index, u8 cipher)
{
	u8 salt[FZC_SALT_BYTES];
	struct fzc_tag tag;
	u32 i;

	for (i = 0; i < FZC_SALT_BYTES; i++)
		salt[i] = 100 + i;
	fzc_tag_init(&tag, salt, cipher, frame, index, 4096, 0);
	return tag;
}

static void key_of(const struct fzc_tag *tag, u8 key[FZC_KEY_BYTES])
{
	u8 stage_key[FZC_KEY_BYTES];
	u32 i;

	for (i = 0; i < FZC_KEY_BYTES; i++)
		stage_key[i] = i;
	CHECK(!fzc_tag_key(test_hmac(), stage_key, tag, key));
}

/* Made by another program: HMAC-SHA-256 of Python's hashlib, put together as RFC 5869 says. */
TEST(tags_key_constants)
{
	static const u8 first[FZC_KEY_BYTES] = {
		0x12, 0x4e, 0x90, 0x96, 0xae, 0x1d, 0x80, 0xe8, 0x04, 0xa4, 0xa2,
		0x70, 0x4b, 0x5d, 0xb9, 0x8f, 0x15, 0xfa, 0x1c, 0x9c, 0x3e, 0x5f,
		0xa1, 0xe0, 0x51, 0x13, 0x2e, 0xf0, 0x67, 0x76, 0x7a, 0xf4,
	};
	static const u8 other[FZC_KEY_BYTES] = {
		0x81, 0x3d, 0x4f, 0xe5, 0x40, 0xe1, 0xe4, 0xac, 0xd0, 0xbc, 0xa6,
		0x04, 0xab, 0x05, 0x5d, 0xb2, 0x4e, 0x8e, 0xbe, 0x75, 0x0c, 0xe8,
		0xac, 0xda, 0x02, 0xd2, 0xd4, 0x2d, 0xd2, 0x2a, 0x3f, 0xa1,
	};
	struct fzc_tag tag = some_tag(1, 7, FZC_CIPHER_AES_GCM);
	u8 key[FZC_KEY_BYTES];

	key_of(&tag, key);
	CHECK(!memcmp(key, first, sizeof(key)));
	tag = some_tag(0x20001, 7, FZC_CIPHER_CHACHA);
	key_of(&tag, key);
	CHECK(!memcmp(key, other, sizeof(key)));
}

/* Whatever makes another key is seen to do so, and whatever is not has another nonce. */
TEST(tags_keys_and_nonces)
{
	u8 key[2][FZC_KEY_BYTES], nonce[2][FZC_NONCE_BYTES];
	u32 i;

	for (i = 0; i < 2000; i++) {
		struct fzc_tag a = some_tag(1 + test_below(0x30000), test_below(FZC_MAX_RUN),
					    1 + test_below(2));
		struct fzc_tag b = a;
		u32 what = test_below(4);

		if (what == 0)
			b.salt[test_below(FZC_SALT_BYTES)] ^= 1;
		else if (what == 1)
			b.cipher ^= 3;
		else if (what == 2)
			b.frame = cpu_to_le64(1 + test_below(0x30000));
		else
			b.index = cpu_to_le32(test_below(FZC_MAX_RUN));
		if (!memcmp(&a, &b, sizeof(a)))
			continue;
		key_of(&a, key[0]);
		key_of(&b, key[1]);
		fzc_tag_nonce(&a, nonce[0]);
		fzc_tag_nonce(&b, nonce[1]);
		CHECK_OR_RETURN(fzc_tag_same_key(&a, &b) ==
				!memcmp(key[0], key[1], FZC_KEY_BYTES));
		CHECK_OR_RETURN(!fzc_tag_same_key(&a, &b) ||
				memcmp(nonce[0], nonce[1], FZC_NONCE_BYTES));
	}
}

/* Number, length and form of a block are authenticated with it. */
TEST(tags_ad)
{
	struct fzc_tag tag = some_tag(1, 2, 1);
	u8 ad[4][FZC_TAG_AD];
	u32 i, k;

	fzc_tag_ad(&tag, 5, ad[0]);
	fzc_tag_ad(&tag, 5ULL << 32, ad[1]);
	tag.length = cpu_to_le32(4095);
	fzc_tag_ad(&tag, 5, ad[2]);
	tag.packed = FZC_WIRE_LZ4;
	fzc_tag_ad(&tag, 5, ad[3]);
	for (i = 0; i < 4; i++)
		for (k = 0; k < i; k++)
			CHECK(memcmp(ad[i], ad[k], FZC_TAG_AD));
}

TEST(tags_possible)
{
	struct fzc_tag tag = some_tag(1, 2, FZC_CIPHER_CHACHA);

	CHECK(fzc_tag_possible(&tag, 4096) && !fzc_tag_possible(&tag, 4095) &&
	      !fzc_tag_possible(&tag, 8192));
	tag.packed = FZC_WIRE_ZSTD;
	CHECK(!fzc_tag_possible(&tag, 4096) && fzc_tag_possible(&tag, 4097));
	tag.length = 0;
	CHECK(!fzc_tag_possible(&tag, 4096));
	tag.length = cpu_to_le32(1);
	CHECK(fzc_tag_possible(&tag, 4096));
	tag.packed = FZC_WIRE_LZ4 | FZC_WIRE_ZSTD;
	CHECK(!fzc_tag_possible(&tag, 4096));
	tag = some_tag(1, 2, 0);
	CHECK(!fzc_tag_possible(&tag, 4096));
	tag.cipher = 3;
	CHECK(!fzc_tag_possible(&tag, 4096));
}

static struct fzc_geometry geo;
static struct fzc_wire_tag wire[8];
static struct fzc_tag got[8];

/* Four blocks, the last of which is half a block. */
static struct fzc_frame some_frame(void)
{
	struct fzc_frame f = { .type = FZC_MSG_DATA, .flags = FZC_WIRE_ENCRYPTED, .frame = 9,
			       .first = 96, .n = 4, .length = 4096 + 100 + 4096 + 2048 };
	static const u32 length[4] = { 4096, 100, 4096, 2048 };
	u32 i;

	CHECK(!fzc_geometry_init(&geo, 100 * 8 - 4, 4096, why));
	for (i = 0; i < 4; i++) {
		struct fzc_tag tag = some_tag(9, i, 2);

		tag.length = cpu_to_le32(length[i]);
		tag.packed = i == 1 ? FZC_WIRE_LZ4 : 0;
		test_fill(tag.tag, FZC_TAG_BYTES);
		fzc_wire_put_tag(&wire[i], &tag);
	}
	return f;
}

static int parse(const struct fzc_frame *f)
{
	struct fzc_tag salt = some_tag(1, 1, 1);

	return fzc_wire_parse_tags(got, wire, f, &geo, salt.salt, 2, why);
}

TEST(tags_wire)
{
	struct fzc_frame f = some_frame();
	struct fzc_tag expected;
	u32 i, bytes;

	CHECK(!parse(&f));
	for (i = 0; i < 4; i++) {
		expected = some_tag(9, i, 2);
		expected.length = got[i].length;
		expected.packed = i == 1 ? FZC_WIRE_LZ4 : 0;
		memcpy(expected.tag, wire[i].tag, FZC_TAG_BYTES);
		CHECK(!memcmp(&expected, &got[i], sizeof(expected)));
		CHECK(fzc_tag_possible(&got[i], fzc_wire_data_length(&geo, 96 + i, 1, 0)));
	}
	CHECK(fzc_tag_span(got, 4, 4096, &bytes) == 2 && bytes == 4196);
	CHECK(fzc_tag_span(got + 2, 2, 4096, &bytes) == 2 && bytes == 6144);
	CHECK(fzc_tag_span(got, 1, 4096, &bytes) == 1 && bytes == 4096);
}

TEST(tags_wire_refused)
{
	struct fzc_frame f = some_frame();

	f.length++;
	CHECK(parse(&f) == -EPROTO && strstr(why, "have 10340 bytes, expected 10341"));
	f.length -= 2;
	CHECK(parse(&f) == -EPROTO && strstr(why, "tag of block 99"));
	f = some_frame();
	wire[0].length = cpu_to_le32(4095);
	CHECK(parse(&f) == -EPROTO && strstr(why, "tag of block 96: 4095 bytes, packed 0"));
	f = some_frame();
	wire[1].length = 0;
	CHECK(parse(&f) == -EPROTO && strstr(why, "tag of block 97: 0 bytes, packed 4"));
	f = some_frame();
	wire[1].length = cpu_to_le32(4096);
	f.length += 4096 - 100;
	CHECK(parse(&f) == -EPROTO && strstr(why, "tag of block 97"));
	f = some_frame();
	wire[2].packed = 1;
	CHECK(parse(&f) == -EPROTO && strstr(why, "packed 1"));
	f = some_frame();
	wire[3].reserved[1] = 1;
	CHECK(parse(&f) == -EPROTO && strstr(why, "reserved 1"));
	f = some_frame();
	wire[2].length = cpu_to_le32(U32_MAX);
	CHECK(parse(&f) == -EPROTO && strstr(why, "tag of block 98"));
}
