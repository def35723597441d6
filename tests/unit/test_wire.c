// SPDX-License-Identifier: GPL-2.0-only
#include "test.h"
#include "ondisk.h"
#include "wire.h"

#define CTL_BYTES	(FZC_WIRE_HEAD + FZC_MAX_CTL)

static char why[FZC_REASON_LEN];
static struct fzc_geometry geo;

/* Not a whole number of blocks: the last one has one sector. */
static void small_volume(u32 block_size)
{
	fzc_geometry_init(&geo, 1000 * (block_size / FZC_SECTOR) + 1, block_size, why);
}

static struct fzc_img some_image(void)
{
	struct fzc_img img = { .number = test_random(), .time = test_random(), .id = test_id() };

	snprintf(img.label, sizeof(img.label), "label %llu",
		 (unsigned long long)test_below(1000000));
	return img;
}

static struct fzc_msg some_msg(u8 type)
{
	struct fzc_msg m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	switch (type) {
	case FZC_MSG_HELLO:
		m.hello = (struct fzc_hello){
			.role = 1 + test_below(2), .blank = test_below(2),
			.recovered = test_below(2), .merging = test_below(2),
			.direct = test_below(2), .encrypted = test_below(2), .pair = test_id(),
			.sectors = 1 + test_below(1ULL << 40),
			.block_size = 4096U << test_below(9), .image = some_image(),
			.freeze = some_image(), .stage = test_id(), .session = test_id(),
			.durable = test_random(),
		};
		break;
	case FZC_MSG_SESSION:
		m.session = (struct fzc_session){
			.order = 1 + test_below(3), .pair = test_id(), .session = test_id(),
			.stage = test_id(), .building = test_random(), .freeze = some_image(),
		};
		for (u32 i = 0; i < FZC_KEY_BYTES; i++)
			m.session.stage_key[i] = test_random();
		break;
	case FZC_MSG_DURABLE:
	case FZC_MSG_FULL:
		m.frame = test_random();
		break;
	case FZC_MSG_NEED:
		m.first = test_below(1000);
		m.n = 1 + test_below(1000);
		break;
	case FZC_MSG_FREEZE:
	case FZC_MSG_ALL_SENT:
	case FZC_MSG_COMMITTED:
	case FZC_MSG_MERGED:
	case FZC_MSG_ABORT:
		m.image = some_image();
		m.base = some_image();
		m.stage = test_id();
		m.frames = test_random();
		break;
	case FZC_MSG_AUTH:
		m.auth = (struct fzc_auth_msg){ .step = 2, .role = 1 + test_below(2), .ciphers = 4 };
		test_fill(m.auth.key[0], FZC_KEY_ID);
		test_fill(m.auth.nonce, FZC_AUTH_NONCE);
		test_fill(m.auth.proof, FZC_KEY_BYTES);
		break;
	case FZC_MSG_REFUSE:
		snprintf(m.reason, sizeof(m.reason), "reason %llu",
			 (unsigned long long)test_random());
		break;
	}
	return m;
}

/* As a receiver does it, with buffers just as long as said. */
static int take(struct fzc_msg *m, const void *buf)
{
	struct fzc_frame f;
	int err = fzc_wire_parse_head(&f, buf, &geo, why);

	if (err)
		return err;
	if (f.type == FZC_MSG_DATA)
		return 0;
	u8 *payload = malloc(f.length);

	memcpy(payload, (const u8 *)buf + FZC_WIRE_HEAD, f.length);
	err = fzc_wire_parse_msg(m, &f, payload, why);
	free(payload);
	return err;
}

static void reseal(void *buf)
{
	struct fzc_wire_head *h = buf;
	u32 len = le32_to_cpu(h->length);

	if (len <= FZC_MAX_CTL && le16_to_cpu(h->type) != FZC_MSG_DATA)
		h->payload_crc = cpu_to_le32(fzc_wire_crc(h + 1, len));
	h->head_crc = cpu_to_le32(fzc_wire_crc(h, 60));
}

TEST(wire_round_trip)
{
	__le64 buf[CTL_BYTES / 8];
	struct fzc_msg in, out;

	for (u8 type = 1; type < FZC_NR_MSG; type++) {
		if (type == FZC_MSG_DATA)
			continue;
		for (u32 i = 0; i < 200; i++) {
			in = some_msg(type);
			u32 len = fzc_wire_put_msg(buf, &in);

			CHECK_OR_RETURN(len >= FZC_WIRE_HEAD && len <= CTL_BYTES);
			memset(&out, 0xa5, sizeof(out));
			CHECK_OR_RETURN(!take(&out, buf));
			/* not memcmp: what the struct's padding holds is nobody's business */
			__le64 again[CTL_BYTES / 8];

			CHECK_OR_RETURN(out.type == type && fzc_wire_put_msg(again, &out) == len &&
					!memcmp(buf, again, len));
		}
	}
}

/* The fields themselves, once: a codec that forgets one both ways passes the round trip. */
TEST(wire_fields)
{
	__le64 buf[CTL_BYTES / 8];
	struct fzc_msg m = some_msg(FZC_MSG_HELLO), o;

	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf));
	const struct fzc_hello *a = &m.hello, *b = &o.hello;

	CHECK(a->encrypted == b->encrypted);
	CHECK(a->role == b->role && a->blank == b->blank && a->recovered == b->recovered &&
	      a->merging == b->merging && a->direct == b->direct && a->sectors == b->sectors &&
	      a->block_size == b->block_size && a->durable == b->durable);
	CHECK(fzc_id_equal(&a->pair, &b->pair) && fzc_id_equal(&a->stage, &b->stage) &&
	      fzc_id_equal(&a->session, &b->session));
	CHECK(a->image.number == b->image.number && a->image.time == b->image.time &&
	      fzc_id_equal(&a->image.id, &b->image.id) &&
	      !strcmp(a->image.label, b->image.label) && a->freeze.number == b->freeze.number);
	m = some_msg(FZC_MSG_SESSION);
	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf));
	CHECK(!memcmp(m.session.stage_key, o.session.stage_key, FZC_KEY_BYTES));
	CHECK(m.session.order == o.session.order && m.session.building == o.session.building &&
	      fzc_id_equal(&m.session.pair, &o.session.pair) &&
	      fzc_id_equal(&m.session.session, &o.session.session) &&
	      fzc_id_equal(&m.session.stage, &o.session.stage) &&
	      m.session.freeze.number == o.session.freeze.number);
	m = some_msg(FZC_MSG_ALL_SENT);
	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf));
	CHECK(m.image.number == o.image.number && m.base.number == o.base.number &&
	      fzc_id_equal(&m.base.id, &o.base.id) && fzc_id_equal(&m.stage, &o.stage) &&
	      m.frames == o.frames);
	m = some_msg(FZC_MSG_NEED);
	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf) && m.first == o.first && m.n == o.n);
	m = some_msg(FZC_MSG_DURABLE);
	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf) && m.frame == o.frame);
}

TEST(wire_every_flipped_bit)
{
	__le64 buf[CTL_BYTES / 8];
	struct fzc_msg m, out;

	for (u8 type = 1; type < FZC_NR_MSG; type++) {
		if (type == FZC_MSG_DATA)
			continue;
		m = some_msg(type);
		u32 len = fzc_wire_put_msg(buf, &m);

		for (u32 bit = 0; bit < len * 8; bit++) {
			((u8 *)buf)[bit / 8] ^= 1 << bit % 8;
			CHECK_OR_RETURN(take(&out, buf) == -EPROTO);
			((u8 *)buf)[bit / 8] ^= 1 << bit % 8;
		}
	}
}

static void put_data(void *buf, u64 first, u32 n, u32 flags)
{
	struct fzc_frame f = {
		.type = FZC_MSG_DATA, .flags = flags, .frame = 1, .image = 2, .first = first,
		.n = n, .length = fzc_wire_data_length(&geo, first, n, flags),
	};

	fzc_wire_put_head(buf, &f);
}

TEST(wire_data_length)
{
	small_volume(4096);
	CHECK(geo.blocks == 1001);
	CHECK(fzc_wire_data_length(&geo, 0, 1, 0) == 4096);
	CHECK(fzc_wire_data_length(&geo, 990, 10, 0) == 40960);
	CHECK(fzc_wire_data_length(&geo, 1000, 1, 0) == 512);
	CHECK(fzc_wire_data_length(&geo, 990, 11, 0) == 40960 + 512);
	CHECK(fzc_wire_data_length(&geo, 990, 11, FZC_WIRE_ZERO) == 0);
	small_volume(1 << 20);
	CHECK(fzc_wire_data_length(&geo, 5, 1, FZC_WIRE_DIRECT) == 1 << 20);
	CHECK(fzc_wire_data_length(&geo, 1000, 1, 0) == 512);
	fzc_geometry_init(&geo, 1ULL << 41, 1 << 20, why);	/* a petabyte */
	CHECK(fzc_wire_data_length(&geo, geo.blocks - 1, 1, 0) == 1 << 20);
}

static int data_head(u64 first, u32 n, u32 flags)
{
	__le64 buf[FZC_WIRE_HEAD / 8];
	struct fzc_frame f;

	put_data(buf, first, n, flags);
	return fzc_wire_parse_head(&f, buf, &geo, why);
}

TEST(wire_data_bounds)
{
	small_volume(4096);
	CHECK(!data_head(0, 1, 0));
	CHECK(!data_head(0, FZC_MAX_RUN, 0));
	CHECK(!data_head(1000, 1, 0));
	CHECK(!data_head(1001 - FZC_MAX_RUN, FZC_MAX_RUN, FZC_WIRE_ZERO | FZC_WIRE_DIRECT));
	CHECK(data_head(0, 0, 0) == -EPROTO);
	CHECK(data_head(0, FZC_MAX_RUN + 1, 0) == -EPROTO);
	CHECK(data_head(1000, 2, 0) == -EPROTO);
	CHECK(data_head(1001, 1, FZC_WIRE_ZERO) == -EPROTO);
	CHECK(data_head(U64_MAX, 1, FZC_WIRE_ZERO) == -EPROTO);
	CHECK(data_head(U64_MAX - 1, 3, FZC_WIRE_ZERO) == -EPROTO);
	CHECK(data_head(0, 1, 32) == -EPROTO && strstr(why, "flags 32"));
	small_volume(1 << 16);
	CHECK(!data_head(0, 16, 0));
	CHECK(data_head(0, 17, 0) == -EPROTO);
	CHECK(data_head(0, 17, FZC_WIRE_ZERO) == -EPROTO);
	small_volume(1 << 20);
	CHECK(!data_head(1000, 1, 0));
	CHECK(data_head(0, 2, 0) == -EPROTO);
}

static int compressed_head(u64 first, u32 n, u32 flags, u32 length)
{
	__le64 buf[FZC_WIRE_HEAD / 8];
	struct fzc_frame f = {
		.type = FZC_MSG_DATA, .flags = flags, .frame = 1, .image = 2, .first = first,
		.n = n, .length = length,
	}, got;
	int err;

	fzc_wire_put_head(buf, &f);
	err = fzc_wire_parse_head(&got, buf, &geo, why);
	if (!err)
		CHECK(got.flags == flags && got.length == length);
	return err;
}

/* Less than the blocks, more than nothing, in one way. */
TEST(wire_data_compressed)
{
	static const u32 ways[] = { FZC_WIRE_LZ4, FZC_WIRE_ZSTD, FZC_WIRE_LZ4 | FZC_WIRE_DIRECT,
				    FZC_WIRE_ZSTD | FZC_WIRE_DIRECT };
	u32 i;

	small_volume(4096);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		CHECK(fzc_wire_data_length(&geo, 0, 2, ways[i]) == 8192);
		CHECK(!compressed_head(0, 1, ways[i], 1));
		CHECK(!compressed_head(0, 1, ways[i], 4095));
		CHECK(!compressed_head(0, FZC_MAX_RUN, ways[i], FZC_MAX_RUN_BYTES - 1));
		CHECK(!compressed_head(1000, 1, ways[i], 511));	/* the short one */
		CHECK(compressed_head(0, 1, ways[i], 0) == -EPROTO && strstr(why, "length 0"));
		CHECK(compressed_head(0, 1, ways[i], 4096) == -EPROTO && strstr(why, "length"));
		CHECK(compressed_head(1000, 1, ways[i], 512) == -EPROTO);
		CHECK(compressed_head(0, 1, ways[i], U32_MAX) == -EPROTO);
		CHECK(compressed_head(0, 257, ways[i], 1) == -EPROTO && strstr(why, "n 257"));
		CHECK(compressed_head(1001, 1, ways[i], 1) == -EPROTO && strstr(why, "first"));
		CHECK(compressed_head(0, 1, ways[i] | FZC_WIRE_ZERO, 1) == -EPROTO &&
		      strstr(why, "flags"));
		CHECK(compressed_head(0, 1, ways[i] | FZC_WIRE_ZERO, 0) == -EPROTO);
	}
	CHECK(compressed_head(0, 1, FZC_WIRE_LZ4 | FZC_WIRE_ZSTD, 1) == -EPROTO &&
	      strstr(why, "flags 12"));
}

TEST(wire_data_not_expected)
{
	__le64 buf[FZC_WIRE_HEAD / 8];
	struct fzc_frame f;

	small_volume(4096);
	put_data(buf, 0, 1, 0);
	CHECK(!fzc_wire_parse_head(&f, buf, &geo, why));
	CHECK(fzc_wire_parse_head(&f, buf, NULL, why) == -EPROTO && strstr(why, "DATA"));
}

/* Fields of a sealed head with a value that cannot be, by offset and width. */
static const struct {
	u32 offset, width;
	u64 value;
	const char *field;
} bad_heads[] = {
	{ 0, 4, 0x12345678, "magic" }, { 4, 2, 0, "version" }, { 4, 2, 2, "version" },
	{ 6, 2, 0, "type" }, { 6, 2, FZC_NR_MSG, "type" }, { 6, 2, 0x105, "type" },
	{ 8, 4, 32, "flags" }, { 8, 4, 12, "flags" }, { 8, 4, 17, "flags" },
	{ 8, 4, 24, "flags" },
	{ 8, 4, 5, "flags" }, { 8, 4, 4, "length" }, { 8, 4, 0x80000000, "flags" }, { 12, 4, 0, "length" },
	{ 12, 4, 4095, "length" }, { 12, 4, 4097, "length" }, { 12, 4, U32_MAX, "length" },
	{ 16, 8, 0, "number" }, { 32, 8, 1ULL << 63, "first" }, { 40, 4, 0, "n" },
	{ 40, 4, U32_MAX, "n" }, { 48, 4, 1, "features" }, { 48, 4, 1U << 31, "features" },
	{ 52, 4, 1, "reserved" }, { 56, 4, 1, "reserved" },
};

TEST(wire_bad_heads)
{
	__le64 buf[FZC_WIRE_HEAD / 8];
	struct fzc_frame f;

	small_volume(4096);
	for (u32 i = 0; i < ARRAY_SIZE(bad_heads); i++) {
		put_data(buf, 0, 1, 0);
		__le64 value = cpu_to_le64(bad_heads[i].value);

		memcpy((u8 *)buf + bad_heads[i].offset, &value, bad_heads[i].width);
		reseal(buf);
		CHECK_OR_RETURN(fzc_wire_parse_head(&f, buf, &geo, why) == -EPROTO &&
				strstr(why, bad_heads[i].field));
	}
	/* a run of zeroes has no payload to have a checksum */
	put_data(buf, 0, 1, FZC_WIRE_ZERO);
	((struct fzc_wire_head *)buf)->payload_crc = cpu_to_le32(1);
	reseal(buf);
	CHECK(fzc_wire_parse_head(&f, buf, &geo, why) == -EPROTO && strstr(why, "payload_crc"));
	/* nor has a control frame what only DATA has */
	static const u8 data_only[] = { 8, 12, 16, 24, 32, 40 };

	for (u32 i = 0; i < ARRAY_SIZE(data_only); i++) {
		struct fzc_msg ping = { .type = FZC_MSG_PING };

		fzc_wire_put_msg(buf, &ping);
		((u8 *)buf)[data_only[i]] = 1;
		((struct fzc_wire_head *)buf)->head_crc = cpu_to_le32(fzc_wire_crc(buf, 60));
		CHECK(fzc_wire_parse_head(&f, buf, &geo, why) == -EPROTO);
	}
}

/* Bytes of a sealed payload with a value that cannot be. */
static const struct {
	u8 type;
	u32 offset, len;
	u8 byte;
	const char *field;
} bad_payloads[] = {
	{ FZC_MSG_HELLO, 0, 1, 0, "role" }, { FZC_MSG_HELLO, 0, 1, 3, "role" },
	{ FZC_MSG_HELLO, 1, 1, 2, "blank" }, { FZC_MSG_HELLO, 2, 1, 0xff, "recovered" },
	{ FZC_MSG_HELLO, 3, 1, 2, "merging" }, { FZC_MSG_HELLO, 4, 1, 2, "direct" },
	{ FZC_MSG_HELLO, 5, 1, 2, "encrypted" }, { FZC_MSG_HELLO, 6, 1, 1, "reserved" },
	{ FZC_MSG_HELLO, 7, 1, 1, "reserved" },
	{ FZC_MSG_HELLO, 24, 8, 0, "sectors" }, { FZC_MSG_HELLO, 32, 4, 0, "block size" },
	{ FZC_MSG_HELLO, 32, 1, 1, "block size" }, { FZC_MSG_HELLO, 35, 1, 1, "block size" },
	{ FZC_MSG_HELLO, 36, 1, 1, "reserved" }, { FZC_MSG_HELLO, 72, 64, 'x', "label" },
	{ FZC_MSG_HELLO, 168, 64, 'x', "label" }, { FZC_MSG_SESSION, 0, 1, 0, "order" },
	{ FZC_MSG_SESSION, 0, 1, 4, "order" }, { FZC_MSG_SESSION, 7, 1, 1, "reserved" },
	{ FZC_MSG_SESSION, 96, 64, 'x', "label" }, { FZC_MSG_DURABLE, 8, 1, 1, "first" },
	{ FZC_MSG_DURABLE, 16, 1, 1, "n" }, { FZC_MSG_DURABLE, 20, 1, 1, "reserved" },
	{ FZC_MSG_FULL, 16, 1, 1, "n" }, { FZC_MSG_NEED, 0, 1, 1, "frame" },
	{ FZC_MSG_NEED, 8, 8, 0xff, "first" }, { FZC_MSG_NEED, 16, 4, 0, "n" },
	{ FZC_MSG_NEED, 16, 4, 0xff, "n" }, { FZC_MSG_FREEZE, 32, 64, 'x', "label" },
	{ FZC_MSG_ABORT, 128, 64, 'x', "label" }, { FZC_MSG_REFUSE, 0, 255, 'x', NULL },
	{ FZC_MSG_REFUSE, 0, 256, 'x', "reason" },
};

TEST(wire_bad_payloads)
{
	__le64 buf[CTL_BYTES / 8];
	struct fzc_msg m;

	for (u32 i = 0; i < ARRAY_SIZE(bad_payloads); i++) {
		m = some_msg(bad_payloads[i].type);
		fzc_wire_put_msg(buf, &m);
		memset((u8 *)buf + FZC_WIRE_HEAD + bad_payloads[i].offset, bad_payloads[i].byte,
		       bad_payloads[i].len);
		reseal(buf);
		int err = take(&m, buf);
		bool good = bad_payloads[i].field ?
			    err == -EPROTO && strstr(why, bad_payloads[i].field) : !err;

		if (!good)
			printf("case %u: %d %s\n", i, err, why);
		CHECK(good);
	}
}

TEST(wire_reason_is_printable)
{
	__le64 buf[CTL_BYTES / 8];
	struct fzc_msg m = { .type = FZC_MSG_REFUSE }, o;

	strcpy(m.reason, "a\nb\x1b[2J\xff~ c");
	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf) && !strcmp(o.reason, "a?b?[2J?~ c"));
	/* a text without an end is cut, not read beyond */
	memset(m.reason, 'x', sizeof(m.reason));
	fzc_wire_put_msg(buf, &m);
	CHECK(!take(&o, buf) && strlen(o.reason) == FZC_REASON_LEN - 1);
}

/* Anything may come with a good checksum: it is refused, or it makes sense. */
TEST(wire_random_bytes)
{
	__le64 buf[CTL_BYTES / 8];
	struct fzc_msg m;

	small_volume(4096);
	for (u32 i = 0; i < 200000; i++) {
		m = some_msg(1 + test_below(FZC_NR_MSG - 1));
		if (m.type == FZC_MSG_DATA)
			put_data(buf, test_below(900), 1 + test_below(100), test_below(16));
		else
			fzc_wire_put_msg(buf, &m);
		u32 len = FZC_WIRE_HEAD + le32_to_cpu(((struct fzc_wire_head *)buf)->length);

		for (u64 k = test_below(4); k; k--)
			((u8 *)buf)[test_below(min_t(u32, len, CTL_BYTES))] = test_random();
		reseal(buf);
		if (take(&m, buf))
			continue;
		if (m.type == FZC_MSG_HELLO)
			CHECK_OR_RETURN(m.hello.sectors && m.hello.role && m.hello.role <= 2 &&
					strlen(m.hello.image.label) < FZC_NAME_LEN);
		if (m.type == FZC_MSG_NEED)
			CHECK_OR_RETURN(m.n && m.first + m.n <= FZC_MAX_BLOCKS);
	}
}
